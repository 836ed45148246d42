/* PROOF VKEY: checks a proof by a key, then expects a refusal for each changed byte of the proof. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WB_FREESTANDING
#include <weighbridge.h>

/* Checks a proof of any model by a key. A light node has no clock. */
static wb_code check_proof(const unsigned char *text, size_t text_length, const wb_policy *policy, wb_error *error)
{
    wb_expected expected = {0};
    wb_proof *proof;
    wb_code code;

    expected.any_model = true;
    code = wb_proof_verify(text, text_length, policy, &expected, &proof, error);
    wb_proof_free(proof);
    return code;
}

static unsigned char *read_file(const char *path, size_t *length)
{
    static const size_t limit = 1 << 16;
    unsigned char *bytes = malloc(limit);
    FILE *file = fopen(path, "rb");
    if (!bytes || !file) {
        perror(path);
        exit(2);
    }
    *length = fread(bytes, 1, limit, file);
    fclose(file);
    return bytes;
}

int main(int count, char **arguments)
{
    size_t proof_length, vkey_length, i;
    unsigned char *proof, *vkey;
    wb_policy *policy;
    wb_error error;
    wb_code code;

    if (count != 3) {
        fprintf(stderr, "usage: %s PROOF VKEY\n", arguments[0]);
        return 2;
    }
    proof = read_file(arguments[1], &proof_length);
    vkey = read_file(arguments[2], &vkey_length);
    code = wb_policy_of_vkeys(vkey, vkey_length, &policy, &error);
    if (code == WB_OK)
        code = check_proof(proof, proof_length, policy, &error);
    if (code != WB_OK) {
        fprintf(stderr, "%s [W%d]\n", error.message, code);
        return 1;
    }
    for (i = 0; i < proof_length; i++) {
        /* The model may lack the changed path too, so `absent` lines are skipped. */
        if (i > 0 && proof[i - 1] == '\n' && proof_length - i > 7 && memcmp(proof + i, "absent ", 7) == 0) {
            while (proof[i] != '\n')
                i++;
        }
        proof[i] ^= 1;
        code = check_proof(proof, proof_length, policy, &error);
        proof[i] ^= 1;
        if (!wb_is_refusal(code)) {
            fprintf(stderr, "not refused with byte %zu changed\n", i);
            return 1;
        }
    }
    wb_policy_free(policy);
    free(proof);
    free(vkey);
    printf("accepted; refused with any byte changed\n");
    return 0;
}
