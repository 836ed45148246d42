/*
 * threads FOLDER NAME VKEY-FILE [model]: eight threads share one verifier and, if the last argument is there, one model. Run by the
 * gate below valgrind; drd does not know the locks of a model, which are no pthreads.
 */

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <weighbridge.h>

enum { THREADS = 8 };

static wb_model *model;
static wb_verifier *verifier;
/* The bytes of all files, one after the other. */
static uint8_t *content;
static int reads_model;

static void must(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "failed: %s\n", what);
        exit(1);
    }
}

/* Where the bytes of a file begin in `content`. */
static uint64_t place_of(size_t position)
{
    uint64_t place = 0;
    wb_file file;
    size_t at;

    for (at = 0; at < position; at++) {
        must(wb_files_get(wb_model_files(model), at, &file), "a file");
        place += file.size;
    }
    return place;
}

/* Offers each chunk of each file, first with a byte changed. */
static void *offer(void *argument)
{
    const size_t thread = (size_t)argument;
    const wb_files *files = wb_model_files(model);
    const uint64_t chunk_size = wb_head_chunk_size(wb_model_head(model));
    uint8_t *chunk = malloc(chunk_size);
    wb_error error;
    wb_file file;
    size_t nth;

    must(chunk != NULL, "memory");
    for (nth = 0; nth < wb_files_count(files); nth++) {
        /* Half of the threads go the other way round, so that they meet. */
        const size_t at = thread % 2 ? wb_files_count(files) - 1 - nth : nth;
        uint64_t step;

        must(wb_files_get(files, at, &file), "a file");
        for (step = 0; step < file.chunks; step++) {
            const uint64_t index = thread % 2 ? file.chunks - 1 - step : step;
            const uint64_t start = index * chunk_size;
            const uint64_t len = file.size - start < chunk_size ? file.size - start : chunk_size;
            wb_code code;

            memcpy(chunk, content + place_of(at) + start, len);
            chunk[len / 2] ^= 1;
            code = wb_verifier_accept(verifier, at, index, chunk, len, &error);
            must(code == WB_ERR_CHUNK_MISMATCH, "a changed chunk is refused");
            must(error.chunk == index && error.start == start && error.end == start + len, "its place");
            chunk[len / 2] ^= 1;
            must(wb_verifier_accept(verifier, at, index, chunk, len, &error) == WB_OK, "a chunk is accepted");
            must(wb_verifier_has(verifier, at, start, start + len), "it is there");
            if (reads_model) {
                memset(chunk, 0, len);
                must(wb_model_read(model, at, start, chunk, len, &error) == WB_OK, "a read of the model");
                must(memcmp(chunk, content + place_of(at) + start, len) == 0, "the bytes that are read");
            }
        }
    }
    free(chunk);
    return NULL;
}

int main(int count, char **arguments)
{
    static uint8_t vkey[4096];
    pthread_t threads[THREADS];
    wb_expected expected = {0};
    wb_policy *policy;
    wb_error error;
    wb_file file;
    size_t thread, at;
    uint8_t *layers;
    char path[4096];
    ssize_t len;
    int opened;

    must(count == 4 || count == 5, "usage: threads FOLDER NAME VKEY-FILE [model]");
    reads_model = count == 5;
    opened = open(arguments[3], O_RDONLY);
    len = read(opened, vkey, sizeof vkey);
    must(len > 0 && close(opened) == 0, "the vkey");
    must(wb_policy_of_vkeys(vkey, (size_t)len, &policy, &error) == WB_OK, "the policy");
    expected.name = arguments[2];
    must(wb_model_open(arguments[1], NULL, policy, &expected, &model, &error) == WB_OK, error.message);
    must(wb_verifier_of_all(wb_model_files(model), &verifier, &error) == WB_OK, "the verifier");
    wb_policy_free(policy);

    snprintf(path, sizeof path, "%s/weighbridge/chunks.layer", arguments[1]);
    opened = open(path, O_RDONLY);
    len = lseek(opened, 0, SEEK_END);
    layers = malloc(len > 0 ? (size_t)len : 1);
    must(pread(opened, layers, (size_t)len, 0) == len && close(opened) == 0, "the layers");
    for (at = 0; wb_files_get(wb_model_files(model), at, &file); at++)
        must(wb_verifier_accept_layer(verifier, at, layers + file.layer_offset, file.layer_len, &error) == WB_OK,
             "a layer");
    free(layers);
    content = malloc(wb_head_bytes(wb_model_head(model)));
    must(content != NULL, "memory");
    for (at = 0; wb_files_get(wb_model_files(model), at, &file); at++)
        must(wb_model_read(model, at, 0, content + place_of(at), file.size, &error) == WB_OK, "a whole file");

    for (thread = 0; thread < THREADS; thread++)
        must(pthread_create(&threads[thread], NULL, offer, (void *)thread) == 0, "a thread");
    for (thread = 0; thread < THREADS; thread++)
        must(pthread_join(threads[thread], NULL) == 0, "its end");
    must(wb_verifier_is_complete(verifier), "all chunks are accepted");
    must(wb_verifier_accepted_bytes(verifier) == wb_head_bytes(wb_model_head(model)), "all bytes are counted once");
    wb_verifier_free(verifier);
    wb_model_free(model);
    free(content);
    printf("%d threads, one verifier\n", THREADS);
    return 0;
}
