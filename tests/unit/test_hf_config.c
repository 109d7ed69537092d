/* JSON documents by path. The documents stand in fuzz/make_corpus.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "format/hf_config.h"
#include "format_files.h"

static void values_are_found(void **state) {
    (void)state;
    struct hf_config *c;
    uint64_t u64;
    uint32_t u32;
    double f64;
    float f32;
    bool b, found;
    const char *s;
    assert_int_equal(hf_config_open(corpus("config/llama.json"), &c, NULL), ERR_NONE);
    assert_true(!hf_config_u64(c, "hidden_size", &u64, NULL, NULL) && u64 == 2048);
    assert_true(!hf_config_u32(c, "vocab_size", &u32, NULL, NULL) && u32 == 128256); /* written 128256.0 */
    assert_true(!hf_config_f64(c, "rope_parameters.rope_theta", &f64, NULL, NULL) && f64 == 500000);
    assert_true(!hf_config_f64(c, "hidden_size", &f64, NULL, NULL) && f64 == 2048);
    assert_true(!hf_config_f32(c, "rms_norm_eps", &f32, NULL, NULL) && f32 == 1e-5f);
    assert_true(!hf_config_str(c, "architectures.0", &s, NULL, NULL) && !strcmp(s, "LlamaForCausalLM"));
    assert_true(!hf_config_u64(c, "eos_token_id.1", &u64, NULL, NULL) && u64 == 128008);
    assert_true(!hf_config_bool(c, "tie_word_embeddings", &b, NULL, NULL) && b);
    assert_int_equal(hf_config_count(c, "eos_token_id"), 2);
    assert_int_equal(hf_config_count(c, "rope_parameters"), 3);
    assert_int_equal(hf_config_count(c, "hidden_size"), 0);
    static const struct { const char *path; enum hf_kind kind;
    } kinds[] = {
        { "architectures", HF_ARRAY },         { "hidden_size", HF_INT },
        { "rms_norm_eps", HF_REAL },           { "head_dim", HF_ABSENT },
        { "rope_parameters", HF_OBJECT },      { "rope_parameters.rope_type", HF_STRING },
        { "tie_word_embeddings", HF_BOOL },    { "none", HF_ABSENT },
        { "rope_parameters.none", HF_ABSENT }, { "eos_token_id.2", HF_ABSENT },
        { "eos_token_id.x", HF_ABSENT },       { "eos_token_id.", HF_ABSENT },
        { "hidden_size.0", HF_ABSENT },        { "", HF_ABSENT },
        { "eos_token_id.-1", HF_ABSENT },
    };
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (hf_config_kind(c, kinds[i].path) != kinds[i].kind) fail_msg("%s", kinds[i].path);
    u64 = 64;
    assert_true(!hf_config_u64(c, "head_dim", &u64, &found, NULL) && !found && u64 == 64); /* null */
    assert_true(!hf_config_u64(c, "hidden_size", &u64, &found, NULL) && found && u64 == 2048);
    u32 = 64;
    assert_true(!hf_config_u32(c, "head_dim", &u32, &found, NULL) && !found && u32 == 64);
    hf_config_close(c);
}

static void refusals_name_file_and_key(void **state) {
    (void)state;
    static const char json[] = "{\"neg\": -1, \"frac\": 1.5, \"big\": 4294967296, \"huge\": 1e300, \"text\": \"x\"}";
    struct hf_config *c;
    struct err e;
    uint64_t u64;
    uint32_t u32;
    float f32;
    bool b, found;
    const char *s;
    assert_int_equal(hf_config_parse((struct span){ (const uint8_t *)json, strlen(json) }, "my.json", &c, &e),
                     ERR_NONE);
    assert_int_equal(hf_config_u64(c, "neg", &u64, &found, &e), ERR_FORMAT);
    assert_string_equal(e.where, "my.json");
    assert_non_null(strstr(e.msg, "neg"));
    assert_int_equal(hf_config_u64(c, "frac", &u64, &found, &e), ERR_FORMAT);
    assert_int_equal(hf_config_u64(c, "huge", &u64, &found, &e), ERR_FORMAT);
    assert_int_equal(hf_config_u32(c, "big", &u32, &found, &e), ERR_FORMAT);
    assert_int_equal(hf_config_f32(c, "huge", &f32, &found, &e), ERR_FORMAT);
    assert_int_equal(hf_config_bool(c, "text", &b, &found, &e), ERR_FORMAT);
    assert_int_equal(hf_config_str(c, "neg", &s, &found, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "neg should be text; it is an integer"));
    assert_int_equal(hf_config_f32(c, "gone", &f32, NULL, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "gone is missing"));
    hf_config_close(c);
}

static void odd_documents(void **state) {
    (void)state;
    static const char *const bad[] = {
        "", "{", "[]", "3", "{} x", "{\"a\": NaN}", "{\"a\": 1e999}", "{\"a\": \"\xFF\"}"
    };
    struct hf_config *c;
    struct err e;
    double f64;
    bool b;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct span json = { (const uint8_t *)bad[i], strlen(bad[i]) };
        assert_int_equal(hf_config_parse(json, "f", &c, &e), ERR_FORMAT);
        assert_null(c);
    }
    assert_int_equal(hf_config_open(corpus("config/bad_duplicate.json"), &c, &e), ERR_FORMAT);
    assert_non_null(strstr(e.where, "bad_duplicate.json"));
    assert_int_equal(hf_config_open(corpus("config/bad_deep.json"), &c, &e), ERR_FORMAT);
    assert_int_equal(hf_config_open(corpus("config/absent.json"), &c, &e), ERR_NOT_FOUND);
    /* An integer of 31 digits, which transformers writes for "no limit". */
    assert_int_equal(hf_config_open(corpus("config/tokenizer_config.json"), &c, &e), ERR_NONE);
    assert_true(!hf_config_f64(c, "model_max_length", &f64, NULL, NULL) && f64 == 1e30);
    assert_true(!hf_config_bool(c, "add_bos_token", &b, NULL, NULL) && b);
    hf_config_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_found),
        cmocka_unit_test(refusals_name_file_and_key),
        cmocka_unit_test(odd_documents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
