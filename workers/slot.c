#include "slot.h"

#include "handlers.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARGUMENTS_FORMAT "%u:%d:%u:%u"
/* Out of the way of handlers that close or count on low descriptors. */
#define FD_HIGH 200

enum { STATUS_DONE = 0, STATUS_CANNOT_START = 1, STATUS_LOST = 70, STATUS_ARGUMENTS = 64 };

struct slot {
    struct slot_arguments arguments;
    struct ring_slot ring;
    struct handlers handlers;
};

void slot_arguments_format(const struct slot_arguments *a, char ret_text[SLOT_ARGUMENTS_BYTES])
{
    snprintf(ret_text, SLOT_ARGUMENTS_BYTES, ARGUMENTS_FORMAT, a->index, a->parent,
             a->result_bytes_max, a->files_max);
}

static bool arguments_parse(const char *text, struct slot_arguments *a)
{
    return sscanf(text, ARGUMENTS_FORMAT, &a->index, &a->parent, // NOLINT(cert-err34-c): our own
                  &a->result_bytes_max, &a->files_max) == 4;
}

bool slot_is_asked_for(int argc, char **argv)
{
    return argc >= 2 && strcmp(argv[1], SLOT_OPTION) == 0;
}

/* ---------------------------------------------------------------- start */

/* The parent's death is ours, also if it came before we could say so. */
static void die_with_parent(const struct slot_arguments *a)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != a->parent)
        _exit(STATUS_LOST);
}

static void setup_process(const struct slot_arguments *a)
{
    char name[16];
    struct rlimit files;

    die_with_parent(a);
    /* What tasks leave behind becomes our child, so that it ends when we do. */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    snprintf(name, sizeof name, "dtq-slot-%u", a->index);
    prctl(PR_SET_NAME, name);
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && a->files_max < files.rlim_cur) {
        files.rlim_cur = a->files_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

static int move_up(int fd)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, FD_HIGH);

    if (high < 0) { /* the limit is low: stay, but not in children */
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        return fd;
    }
    close(fd);
    return high;
}

static dtq_err load(struct slot *s, int argc, char **argv, char *why, size_t why_bytes)
{
    dtq_err err = DTQ_OK;

    for (int i = 3; i + 1 < argc && err == DTQ_OK; i += 2) {
        snprintf(why, why_bytes, "%s %s", argv[i] + 2, argv[i + 1]);
        ring_slot_started(&s->ring, RING_STARTING, why, strlen(why)); /* in case we die of it */
        err = strcmp(argv[i], "--module") == 0
                  ? handlers_add_module(&s->handlers, argv[i + 1], why, why_bytes)
                  : handlers_add_exec(&s->handlers, argv[i + 1], why, why_bytes);
    }
    if (err == DTQ_ENOMEM)
        snprintf(why, why_bytes, "out of memory");
    return err;
}

/* @return false: it cannot start, and has said why. */
static bool start(struct slot *s, int argc, char **argv)
{
    char why[HANDLERS_WHY_BYTES] = "";
    char *names = NULL;

    if (load(s, argc, argv, why, sizeof why) == DTQ_OK) {
        names = handlers_names(&s->handlers, ",");
        snprintf(why, sizeof why, "out of memory");
    }
    if (names == NULL) {
        ring_slot_started(&s->ring, RING_FAILED, why, strlen(why));
        return false;
    }
    ring_slot_started(&s->ring, RING_READY, names, strlen(names));
    free(names);
    return true;
}

/* ---------------------------------------------------------------- tasks */

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* @return when it ended: the start of the next one, so that the clock is read once per task. */
static uint64_t run(struct slot *s, const struct ring_task *task, uint64_t started_ns)
{
    struct task_run r = {
        .ring = &s->ring,
        .task = *task,
        .result_bytes_max = s->arguments.result_bytes_max,
        .started_ns = started_ns,
    };

    ring_slot_begin(&s->ring, started_ns);
    handlers_run(&s->handlers, &r);
    r.outcome.started_ns = started_ns;
    r.outcome.ended_ns = now_ns();
    ring_slot_finish(&s->ring, &r.outcome);
    return r.outcome.ended_ns;
}

/* Children that tasks left behind and that have ended. */
static void reap(void)
{
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
}

static int work(struct slot *s)
{
    struct ring_task task;
    uint64_t now = now_ns();

    for (;;) {
        while (!ring_slot_is_stopped(&s->ring) && ring_slot_take(&s->ring, &task))
            now = run(s, &task, now);
        reap();
        if (!ring_slot_wait(&s->ring))
            break;
        now = now_ns();
    }
    return ring_slot_is_stopped(&s->ring) ? STATUS_DONE : STATUS_LOST;
}

int slot_main(int argc, char **argv)
{
    struct slot s = {0};
    int status = STATUS_CANNOT_START;

    if (argc < 3 || !arguments_parse(argv[2], &s.arguments)) {
        fprintf(stderr, "dtq-worker: %s is for the worker's own use\n", SLOT_OPTION);
        return STATUS_ARGUMENTS;
    }
    setup_process(&s.arguments);
    if (ring_slot_open(SLOT_FD_MEMORY, move_up(SLOT_FD_WAKE_SLOT), move_up(SLOT_FD_WAKE_PARENT),
                       &s.ring) != DTQ_OK)
        return STATUS_ARGUMENTS;
    if (start(&s, argc, argv))
        status = work(&s);
    handlers_done(&s.handlers);
    ring_slot_close(&s.ring);
    return status;
}
