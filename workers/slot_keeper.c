#include "slot_keeper.h"

#include "log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Descriptors that a keeper is started with, beside standard output and error. */
#define FD_LIFE 0
#define FD_MEMORY 3

#define ROUNDS_MAX 400 /* 2 s: what is then left cannot be killed */
#define ROUND_NS 5000000

static size_t bytes_of(uint32_t slots)
{
    return slots * sizeof(_Atomic int);
}

static void *map(int fd, uint32_t slots)
{
    void *at = mmap(NULL, bytes_of(slots), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    return at != MAP_FAILED ? at : NULL;
}

static int close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
    return -1;
}

/* ---------------------------------------------------------------- the worker's side */

/* Descriptors above those that the keeper gets them at, so that none overwrites another. */
static int lifted(int fd)
{
    int high = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, FD_MEMORY + 1) : -1;

    close_fd(fd);
    return high;
}

static int prepare(posix_spawn_file_actions_t *f, posix_spawnattr_t *a, int life_fd, int memory_fd)
{
    int err = posix_spawn_file_actions_adddup2(f, life_fd, FD_LIFE);

    if (err == 0)
        err = posix_spawn_file_actions_addopen(f, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (err == 0)
        err = posix_spawn_file_actions_adddup2(f, memory_fd, FD_MEMORY);
    if (err == 0)
        err = posix_spawn_file_actions_addclosefrom_np(f, FD_MEMORY + 1);
    /* What is sent to the worker's terminal or process group is not meant for it. */
    if (err == 0)
        err = posix_spawnattr_setflags(a, POSIX_SPAWN_SETSID);
    return err;
}

static int spawn(struct slot_keeper *k, int life_fd)
{
    char slots[16];
    char name[] = "dtq-worker";
    char option[] = SLOT_KEEPER_OPTION;
    char *arguments[] = {name, option, slots, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t process;
    int err;

    snprintf(slots, sizeof slots, "%u", k->slots);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&process);
    err = prepare(&files, &process, life_fd, k->memory_fd);
    if (err == 0)
        err = posix_spawn(&k->pid, k->program, &files, &process, arguments, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&process);
    return err;
}

static bool start(struct slot_keeper *k)
{
    int ends[2] = {-1, -1};
    int err = pipe2(ends, O_CLOEXEC) == 0 ? 0 : errno;

    close_fd(k->life_fd);
    k->life_fd = ends[1];
    ends[0] = lifted(ends[0]);
    if (err == 0)
        err = ends[0] >= 0 ? spawn(k, ends[0]) : errno;
    close_fd(ends[0]);
    if (err != 0)
        k->pid = 0;
    errno = err;
    return err == 0;
}

bool slot_keeper_open(struct slot_keeper *k, const char *program, uint32_t slots)
{
    *k = (struct slot_keeper){.program = program, .slots = slots, .life_fd = -1};
    k->memory_fd = lifted(memfd_create("dtq-keeper", MFD_CLOEXEC));
    if (k->memory_fd < 0 || ftruncate(k->memory_fd, (off_t)bytes_of(slots)) != 0)
        return false;
    k->sessions = map(k->memory_fd, slots);
    return k->sessions != NULL;
}

void slot_keeper_close(struct slot_keeper *k)
{
    if (k->program == NULL)
        return;
    if (k->pid != 0 && waitpid(k->pid, NULL, WNOHANG) == 0) {
        kill(k->pid, SIGKILL);
        (void)waitpid(k->pid, NULL, 0);
    }
    if (k->sessions != NULL)
        munmap((void *)(uintptr_t)k->sessions, bytes_of(k->slots));
    close_fd(k->life_fd);
    close_fd(k->memory_fd);
}

void slot_keeper_note(struct slot_keeper *k, uint32_t slot, int session)
{
    k->sessions[slot] = session;
}

void slot_keeper_check(struct slot_keeper *k)
{
    if (k->pid != 0 && waitpid(k->pid, NULL, WNOHANG) == 0)
        return;
    if (!start(k))
        log_warn("no_keeper", log_str("why", strerror(errno)));
}

/* ---------------------------------------------------------------- the keeper */

bool slot_keeper_is_asked_for(int argc, char **argv)
{
    return argc == 3 && strcmp(argv[1], SLOT_KEEPER_OPTION) == 0;
}

static bool is_kept(const _Atomic int *sessions, uint32_t slots, int session)
{
    for (uint32_t i = 0; i < slots; i++)
        if (session > 1 && sessions[i] == session)
            return true;
    return false;
}

/* @return how many there were. */
static uint32_t kill_once(const _Atomic int *sessions, uint32_t slots)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    uint32_t n = 0;

    while (proc != NULL && (entry = readdir(proc)) != NULL) {
        int pid = (int)strtol(entry->d_name, NULL, 10);

        if (pid > 1 && is_kept(sessions, slots, getsid(pid)) && kill(pid, SIGKILL) == 0)
            n++;
    }
    if (proc != NULL)
        closedir(proc);
    return n;
}

/* Until the worker's end of the pipe is closed: nothing is ever written into it. */
static void wait_for_the_end(void)
{
    char byte;

    while (read(FD_LIFE, &byte, 1) < 0 && errno == EINTR)
        continue;
}

int slot_keeper_main(int argc, char **argv)
{
    uint32_t slots = argc == 3 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
    const _Atomic int *sessions = slots > 0 ? map(FD_MEMORY, slots) : NULL;
    struct timespec pause = {.tv_nsec = ROUND_NS};

    if (sessions == NULL)
        return 64;
    prctl(PR_SET_NAME, "dtq-keeper");
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    wait_for_the_end();
    for (int i = 0; i < ROUNDS_MAX && kill_once(sessions, slots) > 0; i++)
        nanosleep(&pause, NULL);
    return 0;
}
