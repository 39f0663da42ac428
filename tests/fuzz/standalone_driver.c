/* standalone_driver.c - replays a corpus folder through LLVMFuzzerTestOneInput, and each file's prefixes and byte flips, in ordinary CTest.
 * Not a fuzzer. Linked with every fuzz_*.c when libFuzzer is not used. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILE_MAX = 1 << 20, MUTATIONS_MAX = 2000 };

static int replay(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) return 0;
    uint8_t *data = malloc(FILE_MAX);
    if (!data) abort();
    size_t size = fread(data, 1, FILE_MAX, file);
    fclose(file);
    LLVMFuzzerTestOneInput(data, size);
    size_t step = size / MUTATIONS_MAX + 1;
    for (size_t cut = 0; cut < size; cut += step) {
        uint8_t *exact = malloc(cut ? cut : 1); /* exact size, so that a sanitizer sees one byte too far */
        if (!exact) abort();
        memcpy(exact, data, cut);
        LLVMFuzzerTestOneInput(exact, cut);
        free(exact);
    }
    for (size_t at = 0; at < size; at += step) {
        data[at] ^= 0x81;
        LLVMFuzzerTestOneInput(data, size);
        data[at] ^= 0x81;
    }
    free(data);
    return 1;
}

int main(int argc, char **argv) {
    int replayed = 0;
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        if (!folder) {
            fprintf(stderr, "no corpus at %s: every fuzz target has one\n", argv[i]);
            return 1;
        }
        for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
            char path[4096];
            if (entry->d_name[0] == '.') continue;
            snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name);
            replayed += replay(path);
        }
        closedir(folder);
    }
    printf("replayed %d inputs\n", replayed);
    return replayed > 0 ? 0 : 1;
}
