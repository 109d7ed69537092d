/* What a program of somebody else's looks like: snug.h alone, load, generate, free. usage: use_snug MODEL
 * Prints the eight tokens that follow "Once upon a time,". */
#include <snug.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    struct snug_error error;
    struct snug_open_options how = {.exact = true, .threads = 1};
    snug_model *model;
    if (snug_open(argv[1], &how, &model, &error)) {
        fprintf(stderr, "%s\n", error.message);
        return error.exit_status;
    }
    const char *prompt = "Once upon a time,";
    struct snug_generate_options what = {.prompt = prompt, .prompt_bytes = strlen(prompt), .max_tokens = 8};
    what.sampling.set = SNUG_SET_TEMP; /* temperature 0: always the likeliest token */
    struct snug_generate_result result;
    int rc = snug_generate(model, &what, &result, &error);
    if (rc) {
        fprintf(stderr, "%s\n", error.message);
        snug_close(model);
        return error.exit_status;
    }
    for (size_t i = 0; i < result.generated_tokens; i++) printf("%d ", (int)result.tokens[i]);
    printf("\n%s\n", result.text);
    snug_generate_free(&result);
    snug_close(model);
    return 0;
}
