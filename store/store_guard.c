#include "store_guard.h"

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define GUARDS_MAX 16

struct guard {
    _Atomic uintptr_t begin; /* 0: not in use */
    uintptr_t end;
    char dir[PATH_MAX];
};

static struct guard guards[GUARDS_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction before[2]; /* of SIGBUS and SIGSEGV */

static void say(const char *text)
{
    (void)!write(STDERR_FILENO, text, strlen(text));
}

void store_guard_stop(const char *dir, const char *what)
{
    say("level=error ev=store_damaged why=\"the store in '");
    say(dir);
    say("' is damaged: ");
    say(what);
    say("; `dtq store check` tells more, and saves what can be saved\"\n");
    _exit(1);
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    uintptr_t at = (uintptr_t)info->si_addr;

    (void)context;
    for (size_t i = 0; i < GUARDS_MAX; i++) {
        uintptr_t begin = atomic_load(&guards[i].begin);

        if (begin != 0 && at >= begin && at < guards[i].end)
            store_guard_stop(guards[i].dir, "a page leads behind the end of the file");
    }
    sigaction(number, &before[number == SIGSEGV], NULL); /* and the fault comes again */
}

static void install_for(int number, struct sigaction *ret_before)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    struct sigaction now;

    sigemptyset(&action.sa_mask);
    if (sigaction(number, NULL, &now) != 0 || now.sa_sigaction == on_fault)
        return;
    *ret_before = now;
    (void)sigaction(number, &action, NULL);
}

/* The map that `at` lies in, by what the kernel says of this process. */
static bool find_map(uintptr_t at, uintptr_t *ret_begin, uintptr_t *ret_end)
{
    FILE *file = fopen("/proc/self/maps", "re");
    char line[PATH_MAX + 128];
    unsigned long begin;
    unsigned long end;
    bool is_found = false;

    while (file != NULL && !is_found && fgets(line, sizeof line, file) != NULL)
        is_found =
            sscanf(line, "%lx-%lx", &begin, &end) == 2 && // NOLINT(cert-err34-c): the kernel's
            at >= begin && at < end;
    if (file != NULL)
        fclose(file);
    if (!is_found)
        return false;
    *ret_begin = begin;
    *ret_end = end;
    return true;
}

int store_guard_add(const void *at, const char *dir)
{
    uintptr_t begin;
    uintptr_t end;
    int number = -1;

    if (!find_map((uintptr_t)at, &begin, &end))
        return -1;
    pthread_mutex_lock(&lock);
    install_for(SIGBUS, &before[0]);
    install_for(SIGSEGV, &before[1]);
    for (int i = 0; i < GUARDS_MAX && number < 0; i++)
        if (atomic_load(&guards[i].begin) == 0)
            number = i;
    if (number >= 0) {
        (void)snprintf(guards[number].dir, sizeof guards[number].dir, "%s", dir);
        guards[number].end = end;
        atomic_store(&guards[number].begin, begin);
    }
    pthread_mutex_unlock(&lock);
    return number;
}

void store_guard_remove(int number)
{
    if (number >= 0)
        atomic_store(&guards[number].begin, 0);
}
