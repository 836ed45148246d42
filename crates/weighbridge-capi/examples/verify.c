/*
 * verify FOLDER NAME VKEY-FILE: verifies the listed files of a model folder, one by one; files that are not listed are not looked at.
 * Exit status: 0 verified, 1 refused, 2 could not tell.
 */

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <weighbridge.h>

/* Says what is wrong, and returns the exit status. */
static int failed(const wb_error *error)
{
    fprintf(stderr, "%s [W%d]\n", error->message, error->code);
    return wb_is_refusal(error->code) ? 1 : 2;
}

static size_t read_file(const char *path, uint8_t *bytes, size_t room)
{
    FILE *file = fopen(path, "rb");
    size_t len;

    if (!file) {
        perror(path);
        exit(2);
    }
    len = fread(bytes, 1, room, file);
    fclose(file);
    return len;
}

int main(int count, char **arguments)
{
    static uint8_t vkey[4096];
    wb_expected expected = {0};
    wb_policy *policy;
    wb_model *model;
    wb_error error;
    wb_file file;
    wb_code code;
    int status = 0;
    size_t at;

    if (count != 4) {
        fprintf(stderr, "usage: %s FOLDER NAME VKEY-FILE\n", arguments[0]);
        return 2;
    }
    /* Whom do you trust, and which model do you mean? */
    code = wb_policy_of_vkeys(vkey, read_file(arguments[3], vkey, sizeof vkey), &policy, &error);
    if (code != WB_OK)
        return failed(&error);
    expected.name = arguments[2];
    expected.now = (int64_t)time(NULL);
    code = wb_model_open(arguments[1], NULL, policy, &expected, &model, &error);
    wb_policy_free(policy);
    if (code != WB_OK)
        return failed(&error);

    /* Each chunk of each file. */
    for (at = 0; wb_files_get(wb_model_files(model), at, &file); at++) {
        code = wb_model_verify_file(model, at, &error);
        printf("%s %.*s\n", code == WB_OK ? "ok" : "bad", (int)file.path.len, file.path.data);
        if (code != WB_OK) {
            status = failed(&error);
            if (error.chunk != WB_NO_CHUNK)
                fprintf(stderr, "fetch bytes %llu..%llu again\n", (unsigned long long)error.start,
                        (unsigned long long)error.end);
        }
    }
    wb_model_free(model);
    return status;
}
