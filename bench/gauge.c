#include "gauge.h"

#include <dirent.h>
#include <inttypes.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PATH_BYTES 128
#define LINE_BYTES 512

/* ---------------------------------------------------------------- threads and children */

typedef void visit_thread(void *arg, pid_t pid, pid_t tid);

static void each_thread(pid_t pid, visit_thread *visit, void *arg)
{
    char path[PATH_BYTES];
    struct dirent *entry;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%d/task", pid);
    dir = opendir(path);
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            visit(arg, pid, (pid_t)atoi(entry->d_name));
    if (dir != NULL)
        closedir(dir);
}

static void each_thread_below(pid_t pid, visit_thread *visit, void *arg);

struct below {
    visit_thread *visit;
    void *arg;
};

static void visit_children(void *arg, pid_t pid, pid_t tid)
{
    const struct below *below = arg;
    char path[PATH_BYTES];
    FILE *f;
    int child;

    snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, tid);
    f = fopen(path, "re");
    while (f != NULL && fscanf(f, "%d", &child) == 1) {
        each_thread(child, below->visit, below->arg);
        each_thread_below(child, below->visit, below->arg);
    }
    if (f != NULL)
        fclose(f);
}

static void each_thread_below(pid_t pid, visit_thread *visit, void *arg)
{
    struct below below = {visit, arg};

    each_thread(pid, visit_children, &below);
}

/* ---------------------------------------------------------------- CPU */

static void add_cpu(void *arg, pid_t pid, pid_t tid)
{
    uint64_t *sum = arg;
    uint64_t ns;
    char path[PATH_BYTES];
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/task/%d/schedstat", pid, tid);
    f = fopen(path, "re");
    if (f == NULL)
        return;
    if (fscanf(f, "%" SCNu64, &ns) == 1)
        *sum += ns;
    fclose(f);
}

uint64_t gauge_cpu_ns(pid_t pid)
{
    uint64_t sum = 0;

    each_thread(pid, add_cpu, &sum);
    return sum;
}

uint64_t gauge_descendants_cpu_ns(pid_t pid)
{
    uint64_t sum = 0;

    each_thread_below(pid, add_cpu, &sum);
    return sum;
}

/* All but what was idle, waited for the disk, or was taken by the host. */
uint64_t gauge_machine_cpu_ns(void)
{
    uint64_t user = 0;
    uint64_t nice = 0;
    uint64_t system = 0;
    uint64_t irq = 0;
    uint64_t softirq = 0;
    FILE *f = fopen("/proc/stat", "re");

    if (f == NULL)
        return 0;
    if (fscanf(f, "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %*u %*u %" SCNu64 " %" SCNu64, &user,
               &nice, &system, &irq, &softirq) != 5)
        user = 0;
    fclose(f);
    return (user + nice + system + irq + softirq) * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK));
}

double gauge_load(unsigned ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    uint64_t before = gauge_machine_cpu_ns();

    nanosleep(&t, NULL);
    return (double)(gauge_machine_cpu_ns() - before) / 1e6 / ms;
}

/* ---------------------------------------------------------------- bytes */

uint64_t gauge_wire_bytes(void)
{
    char line[LINE_BYTES];
    uint64_t bytes = 0;
    FILE *f = fopen("/proc/net/dev", "re");

    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, " lo: %" SCNu64, &bytes) == 1)
            break;
    if (f != NULL)
        fclose(f);
    return bytes;
}

/* A line of its status: "NAME:  N kB". */
static uint64_t status_bytes(pid_t pid, const char *name)
{
    size_t name_bytes = strlen(name);
    char path[PATH_BYTES];
    char line[LINE_BYTES];
    uint64_t kib = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/status", pid);
    f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, name, name_bytes) == 0 && line[name_bytes] == ':' &&
            sscanf(line + name_bytes + 1, "%" SCNu64, &kib) == 1)
            break;
    if (f != NULL)
        fclose(f);
    return kib * 1024;
}

uint64_t gauge_anonymous_bytes(pid_t pid)
{
    return status_bytes(pid, "RssAnon");
}

uint64_t gauge_resident_bytes(pid_t pid)
{
    return status_bytes(pid, "VmRSS");
}

/* ---------------------------------------------------------------- system calls */

static uint64_t tracepoint(enum gauge_call type)
{
    static const char *const names[GAUGE_CALL_TYPES] = {
        [GAUGE_CALLS] = "raw_syscalls/sys_enter",
        [GAUGE_FDATASYNC] = "syscalls/sys_enter_fdatasync",
        [GAUGE_FSYNC] = "syscalls/sys_enter_fsync",
        [GAUGE_MSYNC] = "syscalls/sys_enter_msync",
    };
    char path[PATH_BYTES];
    uint64_t id = 0;
    FILE *f;

    snprintf(path, sizeof path, "/sys/kernel/tracing/events/%s/id", names[type]);
    f = fopen(path, "re");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%" SCNu64, &id) != 1)
        id = 0;
    fclose(f);
    return id;
}

static int open_counter(enum gauge_call type, pid_t tid)
{
    struct perf_event_attr attr = {
        .type = PERF_TYPE_TRACEPOINT,
        .size = sizeof attr,
        .config = tracepoint(type),
        .inherit = 1,
    };

    if (attr.config == 0)
        return -1;
    return (int)syscall(SYS_perf_event_open, &attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static void count_thread(void *arg, pid_t pid, pid_t tid)
{
    struct gauge_calls *c = arg;

    (void)pid;
    if (c->n + GAUGE_CALL_TYPES > c->room) {
        unsigned room = 2 * c->room + 16 * GAUGE_CALL_TYPES;
        int *fds = realloc(c->fds, room * sizeof *fds);

        if (fds == NULL) {
            c->denied = true;
            return;
        }
        c->fds = fds;
        c->room = room;
    }
    for (int type = 0; type < GAUGE_CALL_TYPES; type++) {
        int fd = open_counter((enum gauge_call)type, tid);

        c->denied |= fd < 0;
        c->fds[c->n++] = fd;
    }
}

void gauge_calls_add_threads(struct gauge_calls *c, pid_t pid)
{
    each_thread(pid, count_thread, c);
}

void gauge_calls_add(struct gauge_calls *c, pid_t pid)
{
    gauge_calls_add_threads(c, pid);
    each_thread_below(pid, count_thread, c);
}

uint64_t gauge_calls_read(const struct gauge_calls *c, enum gauge_call type)
{
    uint64_t sum = 0;
    uint64_t value;

    for (unsigned i = type; i < c->n; i += GAUGE_CALL_TYPES)
        if (c->fds[i] >= 0 && read(c->fds[i], &value, sizeof value) == sizeof value)
            sum += value;
    return sum;
}

void gauge_calls_done(struct gauge_calls *c)
{
    for (unsigned i = 0; i < c->n; i++)
        if (c->fds[i] >= 0)
            close(c->fds[i]);
    free(c->fds);
    *c = (struct gauge_calls){0};
}
