/* iq_grids FILE: prints C source with the grids of qtype/iq_grids.txt as `const struct iq_grid NAME_grid` and, of
 * those that kernels look up in registers, `const uint8_t NAME_places[2][]` (qtype/codec.h). Runs while the project is
 * built. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LEN = 8, MAX_LEVELS = 8, MAX_CODES = 8192, LOOK_UP_POINTS = 1024 };

struct grid {
    char name[16], levels[64];
    unsigned len, n_points;
    long level[MAX_LEVELS];
    unsigned n_levels, n_codes;  /* n_levels^len */
    unsigned char has[MAX_CODES];
};

static int bad(const char *what) { return fprintf(stderr, "iq_grids: %s\n", what), 1; }

static int parse_head(const char *line, struct grid *g) {
    memset(g, 0, sizeof *g);
    if (sscanf(line, "grid %15s %u %u %63s", g->name, &g->len, &g->n_points, g->levels) != 4) return bad("bad record");
    for (char *p = g->levels; *p && g->n_levels < MAX_LEVELS; p += *p == ',')
        g->level[g->n_levels++] = strtol(p, &p, 10);
    g->n_codes = 1;
    for (unsigned i = 0; i < g->len && g->n_codes <= MAX_CODES; i++) g->n_codes *= g->n_levels;
    if (!g->len || g->len % 2) return bad("a length is not even");
    return g->len > MAX_LEN || g->n_codes > MAX_CODES ? bad("a record is too large") : 0;
}

/* Reads lines of the bitmap until all codes are known. */
static int parse_bitmap(FILE *f, struct grid *g) {
    unsigned n = 0, found = 0;
    for (char pair[3]; n < g->n_codes; n += 8) {
        if (fscanf(f, " %2[0-9a-f]", pair) != 1 || !pair[1]) return bad("a bitmap is too short");
        unsigned long bits = strtoul(pair, NULL, 16);
        for (unsigned i = 0; i < 8 && n + i < g->n_codes; i++) found += g->has[n + i] = bits >> i & 1;
    }
    return found == g->n_points ? 0 : bad("a grid has another number of points than it says");
}

static void print_grid(const struct grid *g) {
    unsigned half = 1; /* patterns of half a point */
    for (unsigned i = 0; i < g->len / 2; i++) half *= g->n_levels;
    printf("static const int8_t %s_points[] = {\n", g->name);
    for (unsigned c = 0; c < g->n_codes; c++) {
        if (!g->has[c]) continue;
        for (unsigned i = 0, rest = c; i < g->len; i++, rest /= g->n_levels)
            printf("%ld,", g->level[rest % g->n_levels]);
        printf("\n");
    }
    printf("};\nstatic const uint8_t %s_low[] = {\n", g->name);
    for (unsigned c = 0; c < g->n_codes; c++)
        if (g->has[c]) printf("%u,", c % half);
    printf("\n};\nstatic const uint16_t %s_first[] = { ", g->name);
    for (unsigned c = 0, n = 0; c < g->n_codes; c++) {
        if (c % half == 0) printf("%u, ", n);
        n += g->has[c];
    }
    printf("%u };\n", g->n_points);
    printf("const struct iq_grid %s_grid = { %u, %u, %u, %u, { %s }, ", g->name, g->len, g->n_points, g->n_levels, half,
           g->levels);
    printf("%s_points, %s_low, %s_first };\n\n", g->name, g->name, g->name);
}

/* A point's places in 16 bits, its lower half in the first byte. */
static void print_places(const struct grid *g) {
    const unsigned half = g->len / 2, bits = 8 / half;
    printf("_Alignas(64) const uint8_t %s_places[2][%u] = {\n", g->name, g->n_points);
    for (unsigned h = 0, part = 1; h < 2; h++) {
        printf("{ ");
        for (unsigned c = 0; c < g->n_codes; c++) {
            unsigned places = 0;
            for (unsigned i = 0, rest = c / part; i < half; i++, rest /= g->n_levels)
                places |= rest % g->n_levels << bits * i;
            if (g->has[c]) printf("%u,", places);
        }
        printf(" },\n");
        for (unsigned i = 0; i < half; i++) part *= g->n_levels;
    }
    printf("};\n\n");
}

int main(int argc, char **argv) {
    static struct grid g;
    char line[256];
    if (argc != 2) return bad("usage: iq_grids FILE");
    FILE *f = fopen(argv[1], "r");
    if (!f) return perror(argv[1]), 1;
    printf("#include \"qtype/codec.h\"\n\n");
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "grid ", 5)) continue;
        if (parse_head(line, &g) || parse_bitmap(f, &g)) return 1;
        print_grid(&g);
        if (g.n_points <= LOOK_UP_POINTS) print_places(&g);
    }
    fclose(f);
    return fflush(stdout) || ferror(stdout);
}
