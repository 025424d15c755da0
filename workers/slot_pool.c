#include "slot_pool.h"

#include "log.h"
#include "ring.h"
#include "slot.h"
#include "slot_keeper.h"
#include "slot_orphans.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SELF "/proc/self/exe"
#define NOBODY UINT32_MAX
#define POLL_EVENTS 64
#define TEXT_BYTES 2048
#define STARTED_AFTER_NS 1000000u /* shorter ones are not worth an event */
#define SWEEP_AGAIN_MS 2u
#define SWEEP_MS_MAX 2000u
#define STRANGERS_EVERY_MS 10000u
#define TRIM_AFTER_MS 1000u
#define RESULT_BUF_BYTES_MAX (64ull * 1024 * 1024)

enum slot_life {
    LIFE_DOWN,
    LIFE_UP,
    LIFE_ENDED, /* the process is gone; what it left behind perhaps is not */
    LIFE_SWEPT, /* all of it is gone: SLOT_EXITED is due */
};

enum watched { WATCHED_RING, WATCHED_PROCESS };

struct slot_process {
    enum slot_life life;
    int pid;
    int pidfd;
    struct ring ring;
    uint32_t handles[RING_TASKS]; /* of the tasks in the ring, by index */

    bool queued; /* may have something to say */
    uint32_t queue_next;
    bool has_spoken; /* there may be outcomes; once all are collected it speaks up again */
    bool start_told;
    bool is_broken;   /* and killed for it */
    bool stop_wanted; /* its end is no surprise */
    int start_errno;  /* the process could not be made */
    bool take_back_asked;
    bool looked_at;
    uint32_t started_told; /* number of the task + 1; 0: none */
    uint32_t *back;        /* handles that were taken back and not told yet */
    uint32_t back_n;
    uint32_t back_room;
    uint32_t *full; /* handles that did not fit and were not told yet */
    uint32_t full_n;
    uint32_t full_room;

    uint64_t kill_at_ms; /* 0: not asked to stop */
    uint64_t ended_ms;
    uint64_t busy_ms; /* last time it had tasks */
    bool by_signal;
    int32_t status;
};

struct slot_pool {
    struct slot_pool_cfg cfg;
    int epoll;
    char **arguments; /* of a slot's command line; the third is filled in per slot */
    struct slot_process *slots;
    uint32_t queue_head;
    uint32_t queue_tail;
    uint32_t queued;
    uint32_t ended; /* slots in LIFE_ENDED */
    uint32_t stopping;
    uint64_t sweep_ms;
    uint64_t strangers_ms;
    struct slot_orphans orphans;
    struct slot_keeper keeper;

    /* What the last event points to: */
    struct worker_result results[RING_TASKS];
    struct dtqi_buf *buf;
    uint32_t *handles;
    uint32_t handles_room;
    char text[TEXT_BYTES];
};

/* ---------------------------------------------------------------- open and close */

static char **make_arguments(const struct slot_pool_cfg *cfg)
{
    size_t n = 3 + 2 * (cfg->modules_n + cfg->execs_n);
    char **a = calloc(n + 1, sizeof *a);
    size_t at = 0;

    if (a == NULL)
        return NULL;
    /* execve() does not change them, though it does not say so. */
    a[at++] = (char *)(uintptr_t) "dtq-worker";
    a[at++] = (char *)(uintptr_t)SLOT_OPTION;
    at++;
    for (size_t i = 0; i < cfg->modules_n; i++) {
        a[at++] = (char *)(uintptr_t) "--module";
        a[at++] = (char *)(uintptr_t)cfg->modules[i];
    }
    for (size_t i = 0; i < cfg->execs_n; i++) {
        a[at++] = (char *)(uintptr_t) "--exec";
        a[at++] = (char *)(uintptr_t)cfg->execs[i];
    }
    return a;
}

static const char *program_of(const struct slot_pool_cfg *cfg)
{
    return cfg->program != NULL ? cfg->program : SELF;
}

dtq_err slot_pool_open(const struct slot_pool_cfg *cfg, struct slot_pool **ret_pool)
{
    struct slot_pool *p = calloc(1, sizeof *p);

    if (p == NULL)
        return DTQ_ENOMEM;
    *p = (struct slot_pool){.cfg = *cfg, .queue_head = NOBODY, .queue_tail = NOBODY};
    p->arguments = make_arguments(cfg);
    p->slots = calloc(cfg->slots, sizeof *p->slots);
    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (p->arguments == NULL || p->slots == NULL || p->epoll < 0) {
        dtq_err err = p->epoll < 0 ? DTQ_EIO : DTQ_ENOMEM;

        slot_pool_close(p);
        return err;
    }
    for (uint32_t i = 0; i < cfg->slots; i++)
        p->slots[i].pidfd = -1;
    if (!slot_keeper_open(&p->keeper, program_of(cfg), cfg->slots)) {
        slot_pool_close(p);
        return DTQ_EIO;
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    *ret_pool = p;
    return DTQ_OK;
}

static void slot_free(struct slot_process *s)
{
    ring_close(&s->ring);
    if (s->pidfd >= 0)
        close(s->pidfd);
    free(s->back);
    free(s->full);
}

/* What is left of all slots' sessions, for as long as killing needs. */
static void sweep_all(struct slot_pool *p)
{
    struct timespec pause = {.tv_nsec = 1000000};

    for (int i = 0; i < 200; i++) {
        uint32_t left = 0;

        slot_orphans_list(&p->orphans);
        for (uint32_t k = 0; k < p->cfg.slots && p->orphans.n > 0; k++)
            if (p->slots[k].pid > 0)
                left += slot_orphans_kill(&p->orphans, p->slots[k].pid);
        if (left == 0)
            return;
        nanosleep(&pause, NULL);
    }
}

void slot_pool_close(struct slot_pool *p)
{
    if (p == NULL)
        return;
    for (uint32_t i = 0; p->slots != NULL && i < p->cfg.slots; i++)
        if (p->slots[i].life == LIFE_UP)
            kill(-p->slots[i].pid, SIGKILL);
    for (uint32_t i = 0; p->slots != NULL && i < p->cfg.slots; i++)
        if (p->slots[i].life == LIFE_UP)
            (void)waitpid(p->slots[i].pid, NULL, 0);
    if (p->slots != NULL)
        sweep_all(p);
    slot_keeper_close(&p->keeper);
    for (uint32_t i = 0; p->slots != NULL && i < p->cfg.slots; i++)
        slot_free(&p->slots[i]);
    if (p->epoll >= 0)
        close(p->epoll);
    dtqi_buf_unref(p->buf);
    free(p->arguments);
    free(p->slots);
    free(p->handles);
    slot_orphans_done(&p->orphans);
    free(p);
}

int slot_pool_fd(const struct slot_pool *p)
{
    return p->epoll;
}

int slot_pool_pid(const struct slot_pool *p, uint32_t slot)
{
    return p->slots[slot].life == LIFE_UP ? p->slots[slot].pid : 0;
}

/* ---------------------------------------------------------------- who has something to say */

static void enqueue(struct slot_pool *p, uint32_t slot)
{
    struct slot_process *s = &p->slots[slot];

    if (s->queued)
        return;
    s->queued = true;
    s->queue_next = NOBODY;
    if (p->queue_tail == NOBODY)
        p->queue_head = slot;
    else
        p->slots[p->queue_tail].queue_next = slot;
    p->queue_tail = slot;
    p->queued++;
}

static uint32_t dequeue(struct slot_pool *p)
{
    uint32_t slot = p->queue_head;

    p->queue_head = p->slots[slot].queue_next;
    if (p->queue_head == NOBODY)
        p->queue_tail = NOBODY;
    p->slots[slot].queued = false;
    p->queued--;
    return slot;
}

static uint32_t index_of(const struct slot_pool *p, const struct slot_process *s)
{
    return (uint32_t)(s - p->slots);
}

/* ---------------------------------------------------------------- start */

/* The eventfd is never read: each write to it is an edge. */
static bool watch(struct slot_pool *p, uint32_t slot, int fd, enum watched what)
{
    struct epoll_event ev = {
        .events = EPOLLIN | (what == WATCHED_RING ? (uint32_t)EPOLLET : 0),
        .data.u64 = (uint64_t)what << 32 | slot,
    };

    return epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &ev) == 0;
}

static int prepare_files(posix_spawn_file_actions_t *f, const struct ring *ring)
{
    int err = posix_spawn_file_actions_addopen(f, STDIN_FILENO, "/dev/null", O_RDONLY, 0);

    /* What tasks print is for people; our standard output is for programs. */
    if (err == 0)
        err = posix_spawn_file_actions_adddup2(f, STDERR_FILENO, STDOUT_FILENO);
    if (err == 0)
        err = posix_spawn_file_actions_adddup2(f, ring->memory_fd, SLOT_FD_MEMORY);
    if (err == 0)
        err = posix_spawn_file_actions_adddup2(f, ring->wake_slot_fd, SLOT_FD_WAKE_SLOT);
    if (err == 0)
        err = posix_spawn_file_actions_adddup2(f, ring->wake_parent_fd, SLOT_FD_WAKE_PARENT);
    if (err == 0)
        err = posix_spawn_file_actions_addclosefrom_np(f, SLOT_FD_WAKE_PARENT + 1);
    return err;
}

static int prepare_process(posix_spawnattr_t *a)
{
    sigset_t none;
    sigset_t all;
    int err = posix_spawnattr_setflags(a, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF);

    sigemptyset(&none);
    sigfillset(&all);
    sigdelset(&all, SIGKILL);
    sigdelset(&all, SIGSTOP);
    if (err == 0)
        err = posix_spawnattr_setsigmask(a, &none);
    if (err == 0)
        err = posix_spawnattr_setsigdefault(a, &all);
    return err;
}

/* The ring's descriptors lie above those that the slot gets them at, so that none overwrites
 * another. */
static bool lift(int *fd)
{
    int high =
        *fd > SLOT_FD_WAKE_PARENT ? *fd : fcntl(*fd, F_DUPFD_CLOEXEC, SLOT_FD_WAKE_PARENT + 1);

    if (high < 0)
        return false;
    if (high != *fd)
        close(*fd);
    *fd = high;
    return true;
}

static int spawn(struct slot_pool *p, struct slot_process *s)
{
    struct slot_arguments a = {
        .index = index_of(p, s),
        .parent = getpid(),
        .result_bytes_max = p->cfg.result_bytes_max,
        .files_max = p->cfg.files_max,
    };
    char text[SLOT_ARGUMENTS_BYTES];
    posix_spawn_file_actions_t files;
    posix_spawnattr_t process;
    int err;

    slot_arguments_format(&a, text);
    p->arguments[2] = text;
    if (!lift(&s->ring.memory_fd) || !lift(&s->ring.wake_slot_fd) || !lift(&s->ring.wake_parent_fd))
        return errno;
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&process);
    err = prepare_files(&files, &s->ring);
    if (err == 0)
        err = prepare_process(&process);
    if (err == 0)
        err = posix_spawn(&s->pid, program_of(&p->cfg), &files, &process, p->arguments, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&process);
    p->arguments[2] = NULL;
    return err;
}

/* @return 0 or an errno. Half of a start is left for slot_down(). */
static int start(struct slot_pool *p, struct slot_process *s)
{
    int err;

    if (ring_open(RING_TASK_BYTES_MAX, RING_OUTCOME_BYTES_MAX, &s->ring) != DTQ_OK)
        return errno;
    slot_keeper_check(&p->keeper);
    err = spawn(p, s);
    if (err != 0)
        return err;
    slot_keeper_note(&p->keeper, index_of(p, s), s->pid);
    s->life = LIFE_UP;
    close(s->ring.memory_fd); /* both have it mapped, or will have */
    s->ring.memory_fd = -1;
    s->pidfd = (int)syscall(SYS_pidfd_open, s->pid, 0);
    if (s->pidfd < 0 || !watch(p, index_of(p, s), s->pidfd, WATCHED_PROCESS) ||
        !watch(p, index_of(p, s), s->ring.wake_parent_fd, WATCHED_RING))
        return errno;
    return 0;
}

/* Make a slot whose process is gone, or never was, ready for slot_pool_start(). */
static void slot_down(struct slot_process *s)
{
    uint32_t *back = s->back;
    uint32_t *full = s->full;
    struct slot_process down = {
        .pidfd = -1,
        .back = back,
        .back_room = s->back_room,
        .full = full,
        .full_room = s->full_room,
        .queued = s->queued,
        .queue_next = s->queue_next,
    };

    ring_close(&s->ring);
    if (s->pidfd >= 0)
        close(s->pidfd);
    *s = down;
}

void slot_pool_start(struct slot_pool *p, uint32_t slot, uint64_t now_ms)
{
    struct slot_process *s = &p->slots[slot];

    assert(slot < p->cfg.slots);
    assert(s->life == LIFE_DOWN);
    s->busy_ms = now_ms;
    s->start_errno = start(p, s);
    if (s->start_errno == 0)
        return;
    if (s->life == LIFE_UP) { /* nobody would notice its end */
        kill(-s->pid, SIGKILL);
        (void)waitpid(s->pid, NULL, 0);
        slot_keeper_note(&p->keeper, slot, 0);
    }
    s->life = LIFE_SWEPT;
    s->status = 1;
    enqueue(p, slot);
}

/* ---------------------------------------------------------------- feed, take back, end */

static void add_handle(uint32_t **handles, uint32_t *n, uint32_t *room, uint32_t handle)
{
    if (*n == *room) {
        uint32_t more = *room > 0 ? 2 * *room : RING_TASKS;
        uint32_t *at = realloc(*handles, more * sizeof *at);

        /* A handle that is lost here is a task that never ends: better to start anew (R11). */
        if (at == NULL) {
            log_error("out_of_memory", log_str("where", "slot_pool"));
            exit(1);
        }
        *handles = at;
        *room = more;
    }
    (*handles)[(*n)++] = handle;
}

static void kill_now(struct slot_pool *p, struct slot_process *s)
{
    if (s->kill_at_ms != 0)
        p->stopping--;
    s->kill_at_ms = 0;
    if (s->life == LIFE_UP)
        kill(-s->pid, SIGKILL);
}

/* Nothing that this slot says can be relied upon any more. */
static void check_broken(struct slot_pool *p, struct slot_process *s)
{
    if (!s->ring.broken || s->is_broken || s->life != LIFE_UP)
        return;
    s->is_broken = true;
    log_error("slot_memory_broken", log_u64("slot", index_of(p, s)));
    kill_now(p, s);
}

void slot_pool_feed(struct slot_pool *p, uint32_t slot, const struct worker_feed *tasks, uint32_t n)
{
    struct slot_process *s = &p->slots[slot];
    uint32_t i = 0;

    assert(slot < p->cfg.slots);
    for (; i < n && s->life != LIFE_DOWN && s->ring.shared != NULL; i++) {
        const struct worker_feed *t = &tasks[i];
        uint32_t index = ring_append(&s->ring, &(struct ring_task){.id = t->id,
                                                                   .attempt = t->attempt,
                                                                   .limit_ms = t->time_limit_ms,
                                                                   .name = t->name,
                                                                   .queue = t->queue,
                                                                   .body = t->body});

        if (index == RING_NONE)
            break;
        s->handles[index] = t->handle;
    }
    if (i > 0)
        ring_publish(&s->ring);
    for (; i < n; i++)
        add_handle(&s->full, &s->full_n, &s->full_room, tasks[i].handle);
    if (s->full_n > 0)
        enqueue(p, slot);
    check_broken(p, s);
}

static void take_back(struct slot_process *s)
{
    uint32_t n = s->ring.shared != NULL ? ring_take_back(&s->ring) : 0;

    for (uint32_t i = 0; i < n; i++)
        add_handle(&s->back, &s->back_n, &s->back_room,
                   s->handles[(s->ring.tail + i) % RING_TASKS]);
}

void slot_pool_take_back(struct slot_pool *p, uint32_t slot)
{
    struct slot_process *s = &p->slots[slot];

    assert(slot < p->cfg.slots);
    take_back(s);
    s->take_back_asked = s->life == LIFE_UP;
    enqueue(p, slot);
    check_broken(p, s);
}

void slot_pool_retire(struct slot_pool *p, uint32_t slot)
{
    struct slot_process *s = &p->slots[slot];

    assert(slot < p->cfg.slots);
    if (s->life != LIFE_UP)
        return;
    take_back(s);
    ring_stop(&s->ring);
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void slot_pool_kill(struct slot_pool *p, uint32_t slot, enum worker_kill why, uint64_t now_ms)
{
    struct slot_process *s = &p->slots[slot];
    uint32_t index;
    uint64_t started_ns;

    assert(slot < p->cfg.slots);
    if (s->life != LIFE_UP)
        return;
    s->stop_wanted = why == WORKER_KILL_STOP;
    take_back(s); /* first: the signal is meant for the task that runs, not for the next one */
    if (why != WORKER_KILL_STOP || !s->start_told ||
        !ring_running(&s->ring, now_ns(), &index, &started_ns)) {
        kill_now(p, s);
        return;
    }
    if (s->kill_at_ms == 0) {
        s->kill_at_ms = now_ms + SLOT_POOL_STOP_MS;
        p->stopping++;
        ring_stop(&s->ring);
    }
}

/* ---------------------------------------------------------------- poll */

/* While the process is not reaped its number, and that of its group, stand for nobody else. */
static void on_ended(struct slot_pool *p, struct slot_process *s, uint64_t now_ms)
{
    siginfo_t info = {.si_pid = 0};

    if (waitid(P_PIDFD, (id_t)s->pidfd, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
        info.si_pid == 0)
        return;
    kill_now(p, s);
    (void)waitid(P_PIDFD, (id_t)s->pidfd, &info, WEXITED);
    s->by_signal = info.si_code != CLD_EXITED;
    s->status = info.si_status;
    s->life = LIFE_ENDED;
    s->ended_ms = now_ms;
    close(s->pidfd);
    s->pidfd = -1;
    p->ended++;
    p->sweep_ms = now_ms;
}

/* Kill what the ended slots left behind; those of which nothing is left are done. */
static void sweep(struct slot_pool *p, uint64_t now_ms)
{
    if (p->ended == 0 || now_ms < p->sweep_ms)
        return;
    slot_orphans_list(&p->orphans);
    for (uint32_t i = 0; i < p->cfg.slots; i++) {
        struct slot_process *s = &p->slots[i];
        uint32_t left;

        if (s->life != LIFE_ENDED)
            continue;
        left = slot_orphans_kill(&p->orphans, s->pid);
        if (left > 0 && now_ms < s->ended_ms + SWEEP_MS_MAX)
            continue;
        if (left > 0)
            log_warn("slot_left_processes", log_u64("slot", i), log_u64("processes", left));
        s->life = LIFE_SWEPT;
        slot_keeper_note(&p->keeper, i, 0);
        p->ended--;
        enqueue(p, i);
    }
    p->sweep_ms = now_ms + SWEEP_AGAIN_MS;
}

static void kill_due(struct slot_pool *p, uint64_t now_ms)
{
    for (uint32_t i = 0; p->stopping > 0 && i < p->cfg.slots; i++)
        if (p->slots[i].kill_at_ms != 0 && now_ms >= p->slots[i].kill_at_ms)
            kill_now(p, &p->slots[i]);
}

void slot_pool_poll(struct slot_pool *p, uint64_t now_ms)
{
    struct epoll_event ev[POLL_EVENTS];
    int n;

    do {
        n = epoll_wait(p->epoll, ev, POLL_EVENTS, 0);
        for (int i = 0; i < n; i++) {
            uint32_t slot = (uint32_t)ev[i].data.u64;

            enqueue(p, slot);
            p->slots[slot].has_spoken = true;
            if (ev[i].data.u64 >> 32 == WATCHED_PROCESS && p->slots[slot].life == LIFE_UP)
                on_ended(p, &p->slots[slot], now_ms);
        }
    } while (n == POLL_EVENTS);
    kill_due(p, now_ms);
    sweep(p, now_ms);
}

uint64_t slot_pool_deadline_ms(const struct slot_pool *p)
{
    uint64_t at = p->ended > 0 ? p->sweep_ms : UINT64_MAX;

    for (uint32_t i = 0; p->stopping > 0 && i < p->cfg.slots; i++)
        if (p->slots[i].kill_at_ms != 0 && p->slots[i].kill_at_ms < at)
            at = p->slots[i].kill_at_ms;
    return at;
}

static bool is_slot(const struct slot_pool *p, int pid)
{
    for (uint32_t i = 0; i < p->cfg.slots; i++)
        if (p->slots[i].life == LIFE_UP && p->slots[i].pid == pid)
            return true;
    return false;
}

/* Whatever became our child without being a slot must not stay a zombie. The keeper is looked after
 * by its number, which must not become somebody else's meanwhile. */
static void reap_strangers(struct slot_pool *p, uint64_t now_ms)
{
    if (now_ms < p->strangers_ms)
        return;
    p->strangers_ms = now_ms + STRANGERS_EVERY_MS;
    if (p->keeper.pid != 0)
        slot_keeper_check(&p->keeper);
    slot_orphans_list(&p->orphans);
    for (uint32_t i = 0; i < p->orphans.n; i++)
        if (!is_slot(p, p->orphans.at[i].pid) && p->orphans.at[i].pid != p->keeper.pid)
            slot_orphan_reap(&p->orphans.at[i]);
}

void slot_pool_look(struct slot_pool *p, uint64_t now_ms)
{
    for (uint32_t i = 0; i < p->cfg.slots; i++) {
        struct slot_process *s = &p->slots[i];

        if (s->life != LIFE_UP)
            continue;
        if (ring_count(&s->ring) > 0) {
            s->looked_at = true;
            s->has_spoken = true;
            s->busy_ms = now_ms;
            enqueue(p, i);
        } else if (now_ms >= s->busy_ms + TRIM_AFTER_MS) {
            ring_trim(&s->ring);
        }
    }
    reap_strangers(p, now_ms);
}

/* ---------------------------------------------------------------- what happened */

static struct worker_event slot_event(enum worker_event_type type, uint32_t slot)
{
    return (struct worker_event){.type = type, .slot = {.index = slot}};
}

static void describe_end(const struct slot_process *s, char *ret, size_t bytes)
{
    const char *name = s->by_signal ? sigabbrev_np(s->status) : NULL;

    if (s->by_signal)
        snprintf(ret, bytes, "was killed by SIG%s", name != NULL ? name : "?");
    else
        snprintf(ret, bytes, "exited with status %d", (int)s->status);
}

/* It ended without saying a word: what it was at, it wrote down before. SIGKILL comes from outside,
 * and says nothing about the handlers: that is the death of a slot like any other. */
static bool broken_by_end(struct slot_pool *p, const struct slot_process *s, const char *at)
{
    char end[64];

    if (s->life != LIFE_SWEPT || s->stop_wanted || (s->by_signal && s->status == SIGKILL))
        return false;
    describe_end(s, end, sizeof end);
    snprintf(p->text, sizeof p->text, "a slot %s while it started%s%.1000s", end,
             at[0] != 0 ? ", at " : "", at);
    return true;
}

static bool next_start(struct slot_pool *p, struct slot_process *s, struct worker_event *ret)
{
    enum ring_state state = RING_STARTING;
    char text[TEXT_BYTES / 2] = "";

    if (s->start_told)
        return false;
    if (s->start_errno != 0)
        snprintf(p->text, sizeof p->text, "a slot cannot be started: %s", strerror(s->start_errno));
    else
        state = ring_start_state(&s->ring, text, sizeof text);
    if (state == RING_FAILED)
        snprintf(p->text, sizeof p->text, "%s", text);
    else if (state == RING_STARTING && s->start_errno == 0 && !broken_by_end(p, s, text))
        return false;
    s->start_told = true;
    *ret = slot_event(state == RING_READY ? WORKER_EV_SLOT_READY : WORKER_EV_SLOT_BROKEN,
                      index_of(p, s));
    ret->slot.text = dtqi_str(state == RING_READY ? "" : p->text);
    if (state == RING_READY)
        log_debug("slot_ready", log_u64("slot", index_of(p, s)), log_i64("pid", s->pid),
                  log_str("handlers", text));
    return true;
}

/* Copy a body out of the ring; empty ones need no memory. @return false: there is none. */
static bool copy_body(struct slot_pool *p, struct dtqi_slice *body, uint32_t left)
{
    void *at;

    if (body->len == 0) {
        body->at = NULL;
        return true;
    }
    if (p->buf == NULL)
        p->buf = dtqi_buf_new(body->len < 4096 ? ((size_t)body->len + 16) * left : body->len,
                              RESULT_BUF_BYTES_MAX);
    at = p->buf != NULL ? dtqi_buf_alloc(p->buf, body->len) : NULL;
    if (at == NULL)
        return false;
    memcpy(at, body->at, body->len);
    body->at = at;
    return true;
}

static bool is_reason(dtq_reason reason)
{
    return (uint32_t)reason <= DTQ_REASON_BAD_ENTRY;
}

/* What comes from a slot may be anything: times are brought between the epoch and now. */
static struct worker_result result_of(const struct slot_process *s, const struct ring_outcome *o,
                                      uint64_t now, uint64_t wall_ms)
{
    uint64_t ended_ns = o->ended_ns < now ? o->ended_ns : now;
    uint64_t started_ns = o->started_ns < ended_ns ? o->started_ns : ended_ns;
    uint64_t ago_ms = (now - started_ns) / 1000000;

    return (struct worker_result){
        .handle = s->handles[s->ring.collected % RING_TASKS],
        .reason = o->reason,
        .code = o->code,
        .no_retry = o->no_retry,
        .retry_after_ms = o->retry_after_ms,
        .body = o->body,
        .started_wall_ms = ago_ms < wall_ms ? wall_ms - ago_ms : 0,
        .duration_us = (ended_ns - started_ns) / 1000,
    };
}

/* Take outcomes out of the ring until `room` bytes are reached. @return how many. */
static uint32_t collect(struct slot_pool *p, struct slot_process *s, uint64_t wall_ms,
                        uint64_t room)
{
    uint32_t ready = ring_ready(&s->ring);
    uint64_t now = ready > 0 ? now_ns() : 0;
    uint64_t bytes = 0;
    uint32_t n = 0;

    dtqi_buf_unref(p->buf);
    p->buf = NULL;
    while (n < ready && bytes < room) {
        struct ring_outcome o;

        if (!ring_peek(&s->ring, &o))
            break;
        if (!is_reason(o.reason)) {
            s->ring.broken = true;
            break;
        }
        if (o.reason != DTQ_REASON_NONE && o.body.len > DTQI_TEXT_BYTES_MAX)
            o.body.len = DTQI_TEXT_BYTES_MAX;
        if (!copy_body(p, &o.body, ready - n))
            break;
        p->results[n++] = result_of(s, &o, now, wall_ms);
        bytes += o.body.len;
        ring_release(&s->ring);
    }
    if (n > 0)
        ring_released(&s->ring);
    s->has_spoken = n < ready && !s->ring.broken;
    check_broken(p, s);
    return n;
}

static bool next_ended(struct slot_pool *p, struct slot_process *s, uint64_t wall_ms, uint64_t room,
                       struct worker_event *ret)
{
    bool all = s->take_back_asked || s->life == LIFE_SWEPT;
    uint32_t n;

    if (s->ring.shared == NULL || (!s->has_spoken && !all))
        return false;
    if (all)
        room = UINT64_MAX;
    n = collect(p, s, wall_ms, room);
    if (n == 0)
        return false;
    *ret = (struct worker_event){
        .type = WORKER_EV_SLOT_ENDED,
        .ended = {.index = index_of(p, s), .n = n, .results = p->results, .buf = p->buf},
    };
    return true;
}

/* Hand `n` handles over to the event, which keeps them until the next one. */
static void give_handles(struct slot_pool *p, struct worker_event *ev, const uint32_t *handles,
                         uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        add_handle(&p->handles, &ev->slot.handles_n, &p->handles_room, handles[i]);
    ev->slot.handles = p->handles;
}

static bool next_returned(struct slot_pool *p, struct slot_process *s, struct worker_event *ret)
{
    if (!s->take_back_asked || s->life != LIFE_UP)
        return false; /* SLOT_EXITED names them as well */
    s->take_back_asked = false;
    *ret = slot_event(WORKER_EV_SLOT_RETURNED, index_of(p, s));
    give_handles(p, ret, s->back, s->back_n);
    s->back_n = 0;
    return true;
}

static bool next_full(struct slot_pool *p, struct slot_process *s, struct worker_event *ret)
{
    if (s->full_n == 0)
        return false;
    *ret = slot_event(WORKER_EV_SLOT_FULL, index_of(p, s));
    give_handles(p, ret, s->full, s->full_n);
    s->full_n = 0;
    return true;
}

static bool next_started(struct slot_pool *p, struct slot_process *s, uint64_t now_ms,
                         struct worker_event *ret)
{
    uint64_t now;
    uint64_t started_ns;
    uint32_t index;

    if (!s->looked_at || s->life != LIFE_UP)
        return false;
    s->looked_at = false;
    now = now_ns();
    if (s->started_told == s->ring.collected + 1 ||
        !ring_running(&s->ring, now, &index, &started_ns) || now - started_ns < STARTED_AFTER_NS ||
        index != s->ring.collected % RING_TASKS)
        return false;
    s->started_told = s->ring.collected + 1;
    *ret = slot_event(WORKER_EV_SLOT_STARTED, index_of(p, s));
    ret->slot.handle = s->handles[index];
    ret->slot.started_ms = started_ns / 1000000 < now_ms ? started_ns / 1000000 : now_ms;
    return true;
}

static bool has_outcomes(struct slot_process *s)
{
    return s->ring.shared != NULL && !s->ring.broken && ring_ready(&s->ring) > 0;
}

/* Everything it reported was handed over: what is left in the ring is the task that ran, if one
 * did, and what had not started. */
static bool next_exited(struct slot_pool *p, struct slot_process *s, struct worker_event *ret)
{
    if (s->life != LIFE_SWEPT || has_outcomes(s))
        return false;
    *ret = slot_event(WORKER_EV_SLOT_EXITED, index_of(p, s));
    ret->slot.by_signal = s->by_signal;
    ret->slot.status = s->status;
    if (s->ring.shared != NULL) {
        uint32_t first = s->ring.collected + (ring_died_running(&s->ring) ? 1 : 0);

        for (uint32_t i = first; i != s->ring.tail; i++)
            give_handles(p, ret, &s->handles[i % RING_TASKS], 1);
    }
    give_handles(p, ret, s->back, s->back_n);
    s->back_n = 0;
    slot_down(s);
    return true;
}

static bool next_of(struct slot_pool *p, struct slot_process *s, uint64_t now_ms, uint64_t wall_ms,
                    uint64_t room, struct worker_event *ret)
{
    if (s->life == LIFE_DOWN)
        return next_full(p, s, ret);
    return next_start(p, s, ret) || next_ended(p, s, wall_ms, room, ret) ||
           next_returned(p, s, ret) || next_full(p, s, ret) || next_started(p, s, now_ms, ret) ||
           next_exited(p, s, ret);
}

bool slot_pool_next(struct slot_pool *p, uint64_t now_ms, uint64_t wall_ms,
                    uint64_t result_room_bytes, struct worker_event *ret_event)
{
    for (uint32_t n = p->queued; n > 0; n--) {
        uint32_t slot = dequeue(p);
        struct slot_process *s = &p->slots[slot];
        bool found = next_of(p, s, now_ms, wall_ms, result_room_bytes, ret_event);

        if (found || s->has_spoken) /* more to say; or no room, or no memory, for its results */
            enqueue(p, slot);
        if (!found)
            continue;
        ret_event->now_ms = now_ms;
        ret_event->wall_ms = wall_ms;
        return true;
    }
    return false;
}
