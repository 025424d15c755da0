/* Handlers that do what handlers must not: the worker's I/O process and its other slots must not
 * mind. For tests. */
#include <dtq/handler.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int run_spin(dtq_context *ctx, const void *payload, size_t bytes)
{
    volatile int forever = 1;

    (void)ctx;
    (void)payload;
    (void)bytes;
    while (forever)
        ;
    return 0;
}

/* Blocks all that can be blocked, and ignores what it is told. */
static int run_deaf(dtq_context *ctx, const void *payload, size_t bytes)
{
    sigset_t all;

    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    return run_spin(ctx, payload, bytes);
}

static int run_close(dtq_context *ctx, const void *payload, size_t bytes)
{
    (void)payload;
    (void)bytes;
    for (int fd = 0; fd < 1024; fd++)
        close(fd);
    return dtq_set_result_text(ctx, "closed");
}

static int run_print(dtq_context *ctx, const void *payload, size_t bytes)
{
    (void)ctx;
    printf("printed: %.*s\n", (int)bytes, (const char *)payload);
    return 0;
}

/* Leaves a child and a grandchild behind that ignore everything, tells their process ids, and
 * returns, or spins if the payload says so. */
static int run_fork(dtq_context *ctx, const void *payload, size_t bytes)
{
    int ids[2];
    int p[2];
    char text[64];

    (void)bytes;
    if (pipe(p) != 0)
        return 1;
    ids[0] = fork();
    if (ids[0] == 0) {
        int grandchild = fork();

        signal(SIGTERM, SIG_IGN);
        if (grandchild != 0 && write(p[1], &grandchild, sizeof grandchild) < 0)
            _exit(1);
        for (;;)
            pause();
    }
    if (read(p[0], &ids[1], sizeof ids[1]) != sizeof ids[1])
        return 1;
    close(p[0]);
    close(p[1]);
    snprintf(text, sizeof text, "%d %d\n", ids[0], ids[1]);
    if (((const char *)payload)[0] == '/') { /* a file to write them to, before it spins */
        FILE *f = fopen(payload, "w");

        if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0)
            return 1;
        return run_spin(ctx, payload, bytes);
    }
    return dtq_set_result_text(ctx, text);
}

/* Writes over all the memory that it shares with the worker. */
static int run_scribble(dtq_context *ctx, const void *payload, size_t bytes)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];

    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        char *dash;
        unsigned long from = strtoul(line, &dash, 16);

        if (strstr(line, "dtq-ring") != NULL && *dash == '-')
            memset((void *)from, 0xa5, strtoul(dash + 1, NULL, 16) - from);
    }
    return run_spin(ctx, payload, bytes);
}

static unsigned open_files(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* Keeps a mebibyte and an open file, and tells how often it has done so in this process, and how
 * many files are open by then. */
static int run_leak(dtq_context *ctx, const void *payload, size_t bytes)
{
    struct kept {
        struct kept *before; /* reachable: else a sanitizer would tell what is known */
        char more[1 << 20];
    };
    static struct kept *last;
    static unsigned times;
    struct kept *kept = malloc(sizeof *kept);
    char text[64];

    (void)payload;
    (void)bytes;
    if (kept == NULL || open("/dev/null", O_RDONLY) < 0)
        return 1;
    memset(kept, 1, sizeof *kept);
    kept->before = last;
    last = kept;
    snprintf(text, sizeof text, "leaks %u %u", ++times, open_files());
    return dtq_set_result_text(ctx, text);
}

static int run_told(dtq_context *ctx, const void *payload, size_t bytes)
{
    char text[512];

    (void)payload;
    (void)bytes;
    snprintf(text, sizeof text, "%s %s %s %u %d %d %d", dtq_context_id(ctx), dtq_context_name(ctx),
             dtq_context_queue(ctx), dtq_context_attempt(ctx),
             dtq_context_deadline_wall_ms(ctx) != 0, dtq_context_time_left_ms(ctx) <= 60000,
             dtq_context_cancelled(ctx));
    return dtq_set_result_text(ctx, text);
}

static int run_retry(dtq_context *ctx, const void *payload, size_t bytes)
{
    (void)payload;
    (void)bytes;
    dtq_retry_after(ctx, 1500);
    dtq_no_retry(ctx);
    return dtq_failf(ctx, "not %s", "now") + 6;
}

static int run_number(dtq_context *ctx, const void *payload, size_t bytes)
{
    (void)ctx;
    (void)bytes;
    return (int)strtol(payload, NULL, 10);
}

/* A result that is replaced, one that is too large and then is not, one that is. */
static int run_results(dtq_context *ctx, const void *payload, size_t bytes)
{
    static char large[5000000];

    (void)bytes;
    dtq_set_result(ctx, large, 1000000);
    if (dtq_set_result(ctx, large, sizeof large) == 0)
        return dtq_fail(ctx, "nobody said that it is too large");
    return strcmp(payload, "small") == 0 ? dtq_set_result_text(ctx, "small") : 0;
}

/* Fails, though it says that it succeeded. */
static int run_both(dtq_context *ctx, const void *payload, size_t bytes)
{
    dtq_fail(ctx, "failed after all");
    dtq_set_result(ctx, payload, bytes);
    return 0;
}

static int run_allocate(dtq_context *ctx, const void *payload, size_t bytes)
{
    char *text = calloc(1, 6001);

    (void)payload;
    (void)bytes;
    if (text == NULL)
        return 1;
    memset(text, 'x', 6000);
    dtq_fail(ctx, text); /* longer than a text may be */
    free(text);
    return 1;
}

static const dtq_handler handlers[] = {
    {"spin", run_spin},       {"deaf", run_deaf},   {"close", run_close},
    {"print", run_print},     {"fork", run_fork},   {"scribble", run_scribble},
    {"told", run_told},       {"retry", run_retry}, {"number", run_number},
    {"results", run_results}, {"both", run_both},   {"long.text", run_allocate},
    {"leak", run_leak},
};
DTQ_MODULE("rogue", handlers);
