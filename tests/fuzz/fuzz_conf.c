/*
 * Words of a command line, up to a zero byte, and behind it a configuration file: the options are
 * parsed, or one sentence says why not. Everything that they may hold is read.
 */
#include "fuzz.h"

#include "opt.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define WORDS_MAX 32

struct values {
    const char *bind;
    struct opt_strings modules;
    struct opt_strings queues;
    uint64_t slots;
    double number;
    uint64_t duration_ms;
    uint64_t bytes;
    uint64_t wall_ms;
    struct opt_strings peers;
    struct opt_range ports;
    const char *path;
    int durability;
    bool insecure;
    bool slots_given;
};

static const char *const words[] = {"sync", "async", NULL};
static const struct opt table[] = {
    {.name = "bind",
     .letter = 'b',
     .type = OPT_ENDPOINT,
     OPT_AT(struct values, bind),
     .meta = "E",
     .help = "h",
     .initial = "tcp://127.0.0.1:5570"},
    {.name = "module",
     .letter = 'm',
     .type = OPT_STRINGS,
     OPT_AT(struct values, modules),
     .meta = "F",
     .help = "h"},
    {.name = "queue",
     .letter = 'q',
     .type = OPT_NAMES,
     OPT_AT(struct values, queues),
     .meta = "N",
     .help = "h"},
    {.name = "slots",
     .type = OPT_INTEGER,
     OPT_AT(struct values, slots),
     OPT_GIVEN(struct values, slots_given),
     .meta = "N",
     .help = "h",
     .initial = "2",
     .min = 1,
     .max = 1024},
    {.name = "number",
     .type = OPT_NUMBER,
     OPT_AT(struct values, number),
     .meta = "N",
     .help = "h",
     .initial = "1.5",
     .max = 100},
    {.name = "heartbeat",
     .type = OPT_DURATION,
     OPT_AT(struct values, duration_ms),
     .meta = "T",
     .help = "h",
     .initial = "1s",
     .min = 10,
     .max = 60000},
    {.name = "limit",
     .type = OPT_SIZE,
     OPT_AT(struct values, bytes),
     .meta = "S",
     .help = "h",
     .initial = "64k"},
    {.name = "eta", .type = OPT_TIME, OPT_AT(struct values, wall_ms), .meta = "T", .help = "h"},
    {.name = "peers",
     .type = OPT_ENDPOINTS,
     OPT_AT(struct values, peers),
     .meta = "E",
     .help = "h"},
    {.name = "ports",
     .type = OPT_RANGE,
     OPT_AT(struct values, ports),
     .meta = "R",
     .help = "h",
     .initial = "20000-29999",
     .min = 1,
     .max = 65535},
    {.name = "path", .type = OPT_PATH, OPT_AT(struct values, path), .meta = "P", .help = "h"},
    {.name = "durability",
     .type = OPT_ENUM,
     OPT_AT(struct values, durability),
     .meta = "W",
     .help = "h",
     .initial = "sync",
     .words = words},
    {.name = "insecure", .type = OPT_FLAG, OPT_AT(struct values, insecure), .help = "h"},
};

static void look(const struct opt_strings *list)
{
    size_t bytes = 0;

    for (size_t i = 0; i < list->n; i++)
        bytes += strlen(list->at[i]);
    assert(bytes < SIZE_MAX);
}

static void check(const struct values *v)
{
    assert(v->slots >= 1 && v->slots <= 1024);
    assert(v->number >= 0 && v->number <= 100);
    assert(v->duration_ms >= 10 && v->duration_ms <= 60000);
    assert(v->ports.lo >= 1 && v->ports.lo <= v->ports.hi && v->ports.hi <= 65535);
    assert(v->durability == 0 || v->durability == 1);
    assert(v->bind != NULL && strlen(v->bind) > 0);
    look(&v->modules);
    look(&v->queues);
    look(&v->peers);
}

static void parse(int argc, char **argv)
{
    struct values values;
    struct opt_group group = {.title = "Options", OPT_TABLE(table), .values = &values};
    struct opt_spec spec = {.program = "dtq-thing",
                            .usage = "[OPTION...]",
                            .summary = "Does things.",
                            .groups = &group,
                            .groups_n = 1,
                            .operands_max = 3};
    struct opt_result result = {0};

    if (opt_parse(&spec, argc, argv, &result) == OPT_GO) {
        assert(result.operands_n <= 3);
        check(&values);
    }
    opt_done(&result);
}

/* What would be printed is no output of the fuzzer's. */
static FILE *silence(void)
{
    static FILE *null;

    if (null == NULL)
        null = fopen("/dev/null", "w");
    assert(null != NULL);
    return null;
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t bytes)
{
    const uint8_t *zero = bytes != 0 ? memchr(at, 0, bytes) : NULL;
    size_t line_bytes = zero != NULL ? (size_t)(zero - at) : bytes;
    size_t file_bytes = zero != NULL ? bytes - line_bytes - 1 : 0;
    char *line = malloc(line_bytes + 1);
    char *argv[WORDS_MAX + 2] = {(char *)(uintptr_t) "dtq-thing"};
    int argc = 1;
    int file = memfd_create("conf", MFD_CLOEXEC);
    FILE *out = stdout;
    FILE *err = stderr;
    char path[64];

    assert(line != NULL && file >= 0);
    if (line_bytes != 0)
        memcpy(line, at, line_bytes);
    line[line_bytes] = 0;
    if (file_bytes != 0)
        assert(write(file, zero + 1, file_bytes) == (ssize_t)file_bytes);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    setenv("DTQ_CONFIG", path, 1);
    for (char *word = strtok(line, "\n"); word != NULL && argc < WORDS_MAX;
         word = strtok(NULL, "\n"))
        argv[argc++] = word;
    stdout = stderr = silence();
    parse(argc, argv);
    stdout = out;
    stderr = err;
    close(file);
    free(line);
    return 0;
}

size_t fuzz_seed(unsigned number, uint8_t *at, size_t bytes_max)
{
    static const struct {
        const char *words;
        const char *file;
    } seeds[] = {
        {"", ""},
        {"--bind=tcp://*:1\n-m\nx.so\n-my.so\n--queue\na,b\n--\n-x", "slots = 3\n"},
        {"--slots=4\n--number\n2.5\n--heartbeat=2s\n--limit=1g\n--insecure", "bind = ipc:///x\n"},
        {"--eta=2026-11-22T23:00:00Z\n--ports=1-2\n--path=~/x\n--durability=async\nfile",
         "dtq-thing\n    slots = 5\n    module = \"a b\"\nother\n    slots = 1\n"},
        {"--peers=tcp://a:1,tcp://b:2\n--no-such", "# comment\nqueue = \"a,b\"\nqueue = c\n"},
        {"--help", "  odd indent = 1\n"},
        {"--show-config", "insecure = yes\neta = \"2026-11-22T23:00:00Z\"\n"},
    };
    size_t words_bytes;
    size_t file_bytes;

    if (number >= sizeof seeds / sizeof *seeds)
        return 0;
    words_bytes = strlen(seeds[number].words);
    file_bytes = strlen(seeds[number].file);
    assert(words_bytes + 1 + file_bytes <= bytes_max);
    memcpy(at, seeds[number].words, words_bytes + 1);
    memcpy(at + words_bytes + 1, seeds[number].file, file_bytes);
    return words_bytes + 1 + file_bytes;
}
