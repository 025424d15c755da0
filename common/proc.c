#include "proc.h"

#include <czmq.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

/* Enough for 4,000 lanes and all connections; more only makes programs slow that walk through their
 * descriptors. */
#define FILES_MAX 1048576u

/* The largest that glibc takes for M_MMAP_THRESHOLD on 64 bits. */
#define MALLOC_MMAP_BYTES (32 * 1024 * 1024)
#define MALLOC_TRIM_BYTES (256 * 1024 * 1024)

static struct rlimit files_given;

static uint64_t clock_us(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t proc_now_ms(void)
{
    return clock_us(CLOCK_MONOTONIC) / 1000;
}

uint64_t proc_now_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

uint64_t proc_wall_ms(void)
{
    return clock_us(CLOCK_REALTIME) / 1000;
}

/* A number that the kernel makes up at each boot. Where it cannot be read each start passes for a
 * boot, and the wall clock is asked how long that took. */
static uint64_t boot_number(void)
{
    uint64_t number = 0xcbf29ce484222325ull;
    char text[37] = "";
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;

    if (fd >= 0)
        close(fd);
    if (n != (ssize_t)sizeof text - 1) {
        proc_random(&number, sizeof number);
        return number;
    }
    for (size_t i = 0; i < sizeof text - 1; i++)
        number = (number ^ (unsigned char)text[i]) * 0x100000001b3ull;
    return number;
}

static pthread_once_t boot_once = PTHREAD_ONCE_INIT;
static uint64_t boot;

static void boot_ask(void)
{
    boot = boot_number();
}

struct host_time proc_host_time(void)
{
    pthread_once(&boot_once, boot_ask);
    return (struct host_time){boot, clock_us(CLOCK_BOOTTIME) / 1000, proc_wall_ms()};
}

void proc_random(void *ret, size_t bytes)
{
    unsigned char *at = ret;

    while (bytes > 0) {
        ssize_t n = getrandom(at, bytes, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            perror("getrandom");
            _exit(1);
        }
        at += n;
        bytes -= (size_t)n;
    }
}

/* A descriptor 0 to 2 that is closed would be handed to a socket or a database, and what is printed
 * would go into it. */
static void open_standard_files(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

static void raise_files_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    files_given = limit;
    if (limit.rlim_cur < limit.rlim_max && limit.rlim_cur < FILES_MAX) {
        limit.rlim_cur = limit.rlim_max < FILES_MAX ? limit.rlim_max : FILES_MAX;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* what we were given must do then */
    }
}

void proc_setup(void)
{
    zsys_handler_set(NULL); /* before anything else of czmq: signals are ours */
    open_standard_files();
    signal(SIGPIPE, SIG_IGN);
    raise_files_limit();
    /* Buffers of messages and batches come and go: mapping and clearing them each time costs more
     * than the work on them. proc_trim() gives the memory back. */
    mallopt(M_MMAP_THRESHOLD, MALLOC_MMAP_BYTES);
    mallopt(M_TRIM_THRESHOLD, MALLOC_TRIM_BYTES);
}

void proc_trim(void)
{
    malloc_trim(0);
}

uint64_t proc_files_max(void)
{
    struct rlimit limit;

    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (uint64_t)limit.rlim_cur : 0;
}

static void our_signals(sigset_t *ret_set)
{
    sigemptyset(ret_set);
    sigaddset(ret_set, SIGTERM);
    sigaddset(ret_set, SIGINT);
    sigaddset(ret_set, SIGQUIT);
    sigaddset(ret_set, SIGHUP);
}

int proc_signals_open(void)
{
    sigset_t set;

    our_signals(&set);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return -1;
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int proc_signals_next(int fd)
{
    struct signalfd_siginfo info;

    return read(fd, &info, sizeof info) == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
}

void proc_reset_in_child(void)
{
    sigset_t none;

    sigemptyset(&none);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (files_given.rlim_max != 0)
        (void)setrlimit(RLIMIT_NOFILE, &files_given);
}

static void on_shutdown_timeout(int signo)
{
    static const char text[] = "shutdown took too long, leaving\n";

    (void)signo;
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
        _exit(1);
    _exit(1);
}

void proc_shutdown_watchdog(unsigned seconds)
{
    struct sigaction action = {.sa_handler = on_shutdown_timeout};

    sigaction(SIGALRM, &action, NULL);
    alarm(seconds);
}

void proc_ready(const char *pairs)
{
    printf("ready %s pid=%ld\n", pairs, (long)getpid());
    fflush(stdout);
    sd_notify(0, "READY=1");
}

void proc_stopping(void)
{
    sd_notify(0, "STOPPING=1");
}

uint64_t proc_watchdog_ms(void)
{
    uint64_t us = 0;

    return sd_watchdog_enabled(0, &us) > 0 ? us / 2000 : 0;
}

void proc_alive(void)
{
    sd_notify(0, "WATCHDOG=1");
}
