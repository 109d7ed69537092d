/* One token's experts. Float arithmetic in the order of the formulas, without threads. */
#include "backend/experts.h"

#include <assert.h>
#include <float.h>
#include <math.h>

#include "base/num.h"

static void softmax(const float *x, uint32_t n, float *out) {
    float max = x[0], sum = 0;
    for (uint32_t i = 1; i < n; i++) max = fmaxf(max, x[i]);
    for (uint32_t i = 0; i < n; i++) sum += out[i] = expf(x[i] - max);
    for (uint32_t i = 0; i < n; i++) out[i] /= sum;
}

static float score_of(enum expert_score kind, float logit) {
    return kind == SCORE_SIGMOID ? 1.0f / (1.0f + expf(-logit)) : logit;
}

static bool better(const float *score, int32_t a, int32_t b) {
    return score[a] > score[b] || (score[a] == score[b] && a < b);
}

/* Brings the `best` highest of the n indices to the front, in order. */
static void sort_front(const float *score, int32_t *index, uint32_t n, uint32_t best) {
    for (uint32_t i = 0; i < best; i++) {
        uint32_t top = i;
        for (uint32_t k = i + 1; k < n; k++)
            if (better(score, index[k], index[top])) top = k;
        const int32_t id = index[top];
        index[top] = index[i];
        index[i] = id;
    }
}

/* A group's worth: of its n scores the largest, or the sum of the two largest. */
static float group_score(const float *score, uint32_t n, uint32_t group_best) {
    float first = score[0], second = -INFINITY;
    for (uint32_t i = 1; i < n; i++) {
        second = fmaxf(second, fminf(first, score[i]));
        first = fmaxf(first, score[i]);
    }
    return group_best == 2 ? first + second : first;
}

/* Lists the experts of the best groups; worth and group: (n_group). Returns their number. */
static uint32_t list_best_groups(const struct pick_desc *d, const float *score, uint32_t n_expert, float *worth,
                                 int32_t *group, int32_t *index) {
    const uint32_t size = n_expert / d->n_group, n = d->n_group_used * size;
    for (uint32_t i = 0; i < d->n_group; i++) {
        worth[i] = group_score(score + i * size, size, d->group_best);
        group[i] = (int32_t)i;
    }
    sort_front(worth, group, d->n_group, d->n_group_used);
    for (uint32_t i = 0; i < n; i++) index[i] = group[i / size] * (int32_t)size + (int32_t)(i % size);
    return n;
}

static uint32_t list_all(uint32_t n_expert, int32_t *index) {
    for (uint32_t i = 0; i < n_expert; i++) index[i] = (int32_t)i;
    return n_expert;
}

void experts_pick(const struct pick_desc *d, const float *logits, const float *bias, uint32_t n_expert, float *scratch,
                  int32_t *ids) {
    float *score = scratch, *worth = score + n_expert;
    int32_t *index = (int32_t *)(void *)(worth + n_expert), *group = index + n_expert;
    if (d->score == SCORE_SOFTMAX) softmax(logits, n_expert, score);
    for (uint32_t i = 0; i < n_expert; i++) {
        if (d->score != SCORE_SOFTMAX) score[i] = score_of(d->score, logits[i]);
        if (bias) score[i] += bias[i];
    }
    const uint32_t n = d->n_group > 1 ? list_best_groups(d, score, n_expert, worth, group, index)
                                      : list_all(n_expert, index);
    sort_front(score, index, n, d->n_used);
    for (uint32_t i = 0; i < d->n_used; i++) ids[i] = index[i];
}

void experts_weigh(const struct weigh_desc *d, const float *logits, uint32_t n_expert, const int32_t *ids,
                   uint32_t n_used, float *scratch, float *weights) {
    float sum = 0;
    if (d->score == SCORE_SOFTMAX) softmax(logits, n_expert, scratch);
    for (uint32_t i = 0; i < n_used; i++) {
        assert(ids[i] >= 0 && (uint32_t)ids[i] < n_expert);
        weights[i] = d->score == SCORE_SOFTMAX ? scratch[ids[i]] : score_of(d->score, logits[ids[i]]);
    }
    if (d->score == SCORE_SOFTMAX_CHOSEN) softmax(weights, n_used, weights);
    for (uint32_t i = 0; i < n_used; i++) sum += weights[i];
    const float scale = d->normalize && sum != 0 ? d->scale / sum : d->scale;
    for (uint32_t i = 0; i < n_used; i++) weights[i] *= scale;
}
