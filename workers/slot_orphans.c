#include "slot_orphans.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static bool add(struct slot_orphans *o, int pid)
{
    if (o->n == o->room) {
        uint32_t room = o->room > 0 ? 2 * o->room : 64;
        struct slot_orphan *at = realloc(o->at, room * sizeof *at);

        if (at == NULL)
            return false;
        o->at = at;
        o->room = room;
    }
    o->at[o->n++] = (struct slot_orphan){.pid = pid, .session = getsid(pid)};
    return true;
}

/* The file is numbers with blanks between, and may be longer than any buffer. */
static void list_from(struct slot_orphans *o, FILE *children)
{
    int pid;

    while (fscanf(children, "%d", &pid) == 1) // NOLINT(cert-err34-c): the kernel's numbers
        if (!add(o, pid))
            return;
}

void slot_orphans_list(struct slot_orphans *o)
{
    DIR *threads = opendir("/proc/self/task");
    struct dirent *thread;

    o->n = 0;
    while (threads != NULL && (thread = readdir(threads)) != NULL) {
        char path[sizeof thread->d_name + 16];
        FILE *children;
        int fd;

        if (thread->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/children", thread->d_name);
        fd = openat(dirfd(threads), path, O_RDONLY | O_CLOEXEC);
        children = fd >= 0 ? fdopen(fd, "r") : NULL;
        if (children == NULL) {
            if (fd >= 0)
                close(fd);
            continue;
        }
        list_from(o, children);
        fclose(children);
    }
    if (threads != NULL)
        closedir(threads);
}

void slot_orphans_done(struct slot_orphans *o)
{
    free(o->at);
    *o = (struct slot_orphans){0};
}

/* Its group first: that takes along what is not our child yet. */
static void kill_tree(int pid)
{
    int group = getpgid(pid);

    if (group > 1 && group != getpgrp())
        kill(-group, SIGKILL);
    kill(pid, SIGKILL);
}

uint32_t slot_orphans_kill(const struct slot_orphans *o, int session)
{
    uint32_t left = 0;

    for (uint32_t i = 0; i < o->n; i++) {
        const struct slot_orphan *orphan = &o->at[i];

        if (orphan->session != session || orphan->pid == session)
            continue;
        kill_tree(orphan->pid);
        slot_orphan_reap(orphan);
        left++;
    }
    return left;
}

void slot_orphan_reap(const struct slot_orphan *orphan)
{
    (void)waitpid(orphan->pid, NULL, WNOHANG);
}
