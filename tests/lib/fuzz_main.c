/*
 * Drives a fuzz target without libFuzzer, so that every build replays it:
 *   fuzz_x                  its seeds, and 200 mutations of each
 *   fuzz_x FILE|DIR..       these inputs, too
 *   fuzz_x --write-seeds D  write the seeds to files of directory D, as a corpus for libFuzzer
 */
#include "../fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>

#define INPUT_BYTES_MAX 65536
#define MUTATIONS 200

static uint8_t input[INPUT_BYTES_MAX];
static unsigned tried;

/* In memory of its own, so that a read behind the end is found. */
static void try(const uint8_t *at, size_t bytes)
{
    uint8_t *copy = malloc(bytes + 1);

    assert(copy != NULL);
    memcpy(copy, at, bytes);
    copy = realloc(copy, bytes != 0 ? bytes : 1);
    LLVMFuzzerTestOneInput(copy, bytes);
    free(copy);
    tried++;
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void try_mutations(const uint8_t *seed, size_t bytes, uint64_t random)
{
    uint8_t *copy = malloc(bytes);

    assert(copy != NULL);
    for (unsigned i = 0; i < MUTATIONS; i++) {
        size_t cut = next_random(&random) % 8 == 0 ? next_random(&random) % bytes + 1 : bytes;

        memcpy(copy, seed, bytes);
        for (uint64_t flips = next_random(&random) % 4; flips != 0; flips--)
            copy[next_random(&random) % bytes] ^= (uint8_t)(1u << next_random(&random) % 8);
        try(copy, cut);
    }
    free(copy);
}

static int try_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    size_t bytes;

    if (f == NULL) {
        perror(path);
        return 1;
    }
    bytes = fread(input, 1, sizeof input, f);
    fclose(f);
    try(input, bytes);
    return 0;
}

static int try_dir(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    char file[4096];
    int failed = 0;

    if (dir == NULL) {
        perror(path);
        return 1;
    }
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        failed |= try_file(file);
    }
    closedir(dir);
    return failed;
}

static int try_path(const char *path)
{
    struct stat st;

    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return try_dir(path);
    return try_file(path);
}

static int write_seeds(const char *dir)
{
    size_t bytes;

    for (unsigned i = 0; (bytes = fuzz_seed(i, input, sizeof input)) != 0; i++) {
        char path[4096];
        FILE *f;

        snprintf(path, sizeof path, "%s/seed-%03u", dir, i);
        f = fopen(path, "wb");
        if (f == NULL || fwrite(input, 1, bytes, f) != bytes || fclose(f) != 0) {
            perror(path);
            return 1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    size_t bytes;

    if (argc == 3 && strcmp(argv[1], "--write-seeds") == 0)
        return write_seeds(argv[2]);
    try(input, 0);
    for (unsigned i = 0; (bytes = fuzz_seed(i, input, sizeof input)) != 0; i++) {
        try(input, bytes);
        try_mutations(input, bytes, i + 1);
    }
    for (int i = 1; i < argc; i++)
        if (try_path(argv[i]) != 0)
            return 1;
    printf("%u inputs\n", tried);
    return 0;
}
