#include "bed.h"

#include "proc.h"
#include "text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define READY_MS 30000
#define STOP_MS 30000
#define SILENCE_MS 60000

static char folder[PATH_MAX] = ".";

void bed_fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs("bench: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

void bed_set_folder(const char *path)
{
    if (realpath(path, folder) == NULL)
        bed_fail("%s: %s", path, strerror(errno));
}

/* ---------------------------------------------------------------- members */

static void add_word(struct bed *b, int m, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void add_word(struct bed *b, int m, const char *format, ...)
{
    size_t n = 0;
    va_list args;

    while (b->argv[m][n] != NULL)
        n++;
    va_start(args, format);
    vsnprintf(b->words[m][n], sizeof b->words[m][n], format, args);
    va_end(args);
    b->argv[m][n] = b->words[m][n];
}

static const char *program_of(int m)
{
    static const char *const programs[BED_MEMBERS] = {[BED_VENTILATOR] = "dtq-ventilator",
                                                      [BED_SINK] = "dtq-sink",
                                                      [BED_UP] = "dtq",
                                                      [BED_PRODUCER] = "dtq_bench_producer"};

    return programs[m] != NULL ? programs[m] : "dtq-worker";
}

static bool is_watched(const struct bed *b, int m)
{
    return b->cfg.is_watched && b->cfg.watched == m;
}

static void add_sink_words(struct bed *b, int m)
{
    add_word(b, m, "--intake=tcp://127.0.0.1:*");
    add_word(b, m, "--results=tcp://127.0.0.1:*");
}

static void add_up_words(struct bed *b, int m)
{
    add_word(b, m, "up");
    add_word(b, m, "--bind=tcp://127.0.0.1:*");
    add_word(b, m, "--data=%s", b->dir);
    add_word(b, m, "--module=%s", BENCH_MODULE);
    add_sink_words(b, m);
}

static void add_member_words(struct bed *b, int m)
{
    add_word(b, m, "--log-level=warn");
    if (m == BED_VENTILATOR)
        add_word(b, m, "--bind=%s", b->control[0] != '\0' ? b->control : "tcp://127.0.0.1:*");
    else
        add_word(b, m, "--ventilator=%s", b->control);
    if (m < BED_WORKER) {
        add_word(b, m, "--data=%s/%s", b->dir, program_of(m));
        add_word(b, m, "--durability=%s", b->cfg.is_async ? "async" : "sync");
    } else {
        add_word(b, m, "--concurrency=%u", b->cfg.slots);
        add_word(b, m, "--module=%s", BENCH_MODULE);
    }
    if (m == BED_SINK)
        add_sink_words(b, m);
    if (m < BED_WORKER && is_watched(b, m)) /* it cannot map as much as it likes */
        add_word(b, m, m == BED_SINK ? "--max-results-bytes=1g" : "--max-backlog-bytes=1g");
}

/* callgrind needs the program's path. */
static void add_program(struct bed *b, int m)
{
    char folder_of_programs[PATH_MAX] = "";
    ssize_t n = readlink("/proc/self/exe", folder_of_programs, sizeof folder_of_programs - 1);

    if (!is_watched(b, m)) {
        add_word(b, m, "%s", program_of(m));
        return;
    }
    while (n > 0 && folder_of_programs[n - 1] != '/')
        n--;
    add_word(b, m, "valgrind");
    add_word(b, m, "--quiet");
    add_word(b, m, "--tool=callgrind");
    add_word(b, m, "--callgrind-out-file=%s/callgrind", b->dir);
    add_word(b, m, "%.*s%s", (int)n, folder_of_programs, program_of(m));
}

static void make_words(struct bed *b, int m)
{
    memset(b->argv[m], 0, sizeof b->argv[m]);
    add_program(b, m);
    if (m == BED_UP)
        add_up_words(b, m);
    else if (m == BED_PRODUCER)
        add_word(b, m, "%s", b->control);
    else
        add_member_words(b, m);
}

static void wait_ready(struct child *c)
{
    uint64_t until_ms = proc_now_ms() + READY_MS;

    while (!c->ready) {
        struct pollfd p = {.fd = c->out, .events = POLLIN};

        if (proc_now_ms() > until_ms || child_reap(c))
            bed_fail("%s did not become ready", c->program);
        poll(&p, 1, 100);
        child_read(c);
    }
}

static void start(struct bed *b, int m)
{
    struct child *c = &b->members[m];
    char why[PATH_MAX + 128];

    *c = (struct child){.program = b->argv[m][0], .argv = b->argv[m], .stop_signal = SIGKILL};
    if (child_start(c, why, sizeof why) != DTQ_OK)
        bed_fail("%s", why);
}

void bed_start(struct bed *b, int m)
{
    struct child *c = &b->members[m];

    make_words(b, m);
    start(b, m);
    wait_ready(c);
    if (m == BED_VENTILATOR || m == BED_UP)
        (void)!child_ready_value(c, m == BED_UP ? "ventilator" : "control", b->control,
                                 sizeof b->control);
}

void bed_stop(struct bed *b, int m)
{
    struct child *c = &b->members[m];
    uint64_t until_ms = proc_now_ms() + STOP_MS;

    if (c->pid == 0)
        return;
    child_signal(c, SIGTERM);
    while (!child_reap(c)) {
        struct pollfd p = {.fd = c->pidfd, .events = POLLIN};

        poll(&p, 1, 100);
        if (proc_now_ms() > until_ms)
            child_signal(c, SIGKILL);
    }
}

void bed_produce(struct bed *b, uint64_t tasks)
{
    struct child *c = &b->members[BED_PRODUCER];
    char text[TEXT_HUMAN_BYTES];

    make_words(b, BED_PRODUCER);
    add_word(b, BED_PRODUCER, "%llu", (unsigned long long)tasks);
    start(b, BED_PRODUCER);
    while (!child_reap(c)) {
        struct pollfd p = {.fd = c->pidfd, .events = POLLIN};

        poll(&p, 1, -1);
    }
    child_status_text(c->status, text, sizeof text);
    if (c->status != 0)
        bed_fail("the producer %s", text);
}

void bed_make_folder(char *ret, size_t bytes)
{
    if (snprintf(ret, bytes, "%s/data-XXXXXX", folder) >= (int)bytes || mkdtemp(ret) == NULL)
        bed_fail("cannot make a folder in %s: %s", folder, strerror(errno));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void bed_remove_folder(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void bed_up(struct bed *b)
{
    *b = (struct bed){0};
    bed_make_folder(b->dir, sizeof b->dir);
    bed_start(b, BED_UP);
}

void bed_open(struct bed *b, struct bed_cfg cfg)
{
    *b = (struct bed){.cfg = cfg};
    bed_make_folder(b->dir, sizeof b->dir);
    bed_start(b, BED_VENTILATOR);
    bed_start(b, BED_SINK);
    for (unsigned w = 0; w < cfg.workers; w++)
        bed_start(b, BED_WORKER + (int)w);
}

static void connect_with(struct bed *b, dtq_follow follow, uint32_t open_max)
{
    dtq_options options;

    dtq_client_close(b->client);
    dtq_options_init(&options);
    options.ventilator = b->control;
    options.follow = follow;
    options.open_max = open_max;
    options.unconfirmed_max = open_max;
    if (dtq_client_open(&options, &b->client) != DTQ_OK)
        bed_fail("cannot open a client");
}

void bed_connect(struct bed *b, dtq_follow follow)
{
    connect_with(b, follow, 0); /* the defaults */
}

void bed_connect_wide(struct bed *b, uint32_t open_max)
{
    connect_with(b, DTQ_FOLLOW_OWN, open_max);
}

void bed_close(struct bed *b)
{
    dtq_client_close(b->client);
    b->client = NULL;
    for (int m = BED_MEMBERS - 1; m >= 0; m--)
        bed_stop(b, m);
    bed_remove_folder(b->dir);
}

uint64_t bed_disk_bytes(const struct bed *b, int m)
{
    char path[PATH_MAX + 32];
    uint64_t bytes = 0;
    struct dirent *entry;
    struct stat st;
    DIR *dir;

    snprintf(path, sizeof path, "%s/%s", b->dir, program_of(m));
    dir = opendir(path);
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
            bytes += (uint64_t)st.st_blocks * 512;
    if (dir != NULL)
        closedir(dir);
    return bytes;
}

/* ---------------------------------------------------------------- loads */

struct load bed_noops(struct bed *b)
{
    static const char payload[128] = {1};

    return (struct load){.client = b->client,
                         .task = {"bench.noop", "default", payload, sizeof payload},
                         .window = LOAD_WINDOW,
                         .silence_ms = SILENCE_MS};
}

struct load bed_sleeps(struct bed *b)
{
    return (struct load){
        .client = b->client, .task = {"bench.sleep", "default", NULL, 0}, .silence_ms = SILENCE_MS};
}

/* ---------------------------------------------------------------- the network */

static bool bring_loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool is_up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0;

    if (fd >= 0)
        close(fd);
    return is_up;
}

bool bed_isolate(void)
{
    if (unshare(CLONE_NEWNET) == 0)
        return bring_loopback_up();
    return false;
}
