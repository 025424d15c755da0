/*
 * Child programs of `dtq up`: started from beside this executable, watched by pidfd, told to stop
 * by signal. Each is in a process group of its own, so that ^C at the terminal reaches `dtq up`
 * alone, and dies with it.
 */
#ifndef DTQ_CLI_SUPERVISE_H
#define DTQ_CLI_SUPERVISE_H

#include "dtq/base.h"

#include <stdbool.h>
#include <sys/types.h>

#define CHILD_LINE_BYTES 1024

struct child {
    const char *program; /* "dtq-sink" */
    char *const *argv;   /* NULL-ended; argv[0] is the program; borrowed for the child's life */
    int stop_signal;     /* what it gets when its parent dies */
    pid_t pid;           /* 0: not running */
    int pidfd;           /* readable when it has ended; -1 */
    int out;             /* its standard output; -1 */
    char line[CHILD_LINE_BYTES]; /* what came of the line that says it is ready */
    size_t line_bytes;
    bool ready;
    int status; /* of waitpid(), when it has ended */
};

/* @return DTQ_OK, or DTQ_EIO with a sentence in `why`: it is not there, or cannot be run. */
DTQ_MUST_USE dtq_err child_start(struct child *c, char *why, size_t why_bytes);
/* Read what it wrote: sets c->ready when a whole line "ready .." has come. Never waits. */
void child_read(struct child *c);
/* The value of `key` in the ready line, copied; false: there is none, or it does not fit. */
bool child_ready_value(const struct child *c, const char *key, char *ret, size_t bytes);
/* Reap it if it has ended. @return true: it has, and c->status says how. */
bool child_reap(struct child *c);
void child_signal(const struct child *c, int signal);
/* "exited with status 1", "was killed by SIGKILL" */
void child_status_text(int status, char *ret, size_t bytes);

#endif
