/*
 * A program as a child process, for tests of one program: its standard output, where it says that
 * it is ready, and its standard error. Every wait has a deadline; what goes wrong fails the test.
 * Zero a child before anything else.
 */
#ifndef DTQ_TESTS_CHILD_H
#define DTQ_TESTS_CHILD_H

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "wrap.h"

/* For what must happen; on a good day it takes milliseconds. */
#define CHILD_WAIT_MS (30000 * (wrap_is_on() ? 10 : 1))
#define CHILD_ARGS_MAX 24

struct child {
    pid_t pid; /* 0: none */
    int out;
    int err;
    char ready[1024];
    char said[16384]; /* what came on stderr, once it has ended */
};

/* `args` without the program's name, ended by NULL. */
static inline void child_start(struct child *c, const char *program, const char *const *args)
{
    const char *argv[CHILD_ARGS_MAX] = {program};
    const char *wrapped[CHILD_ARGS_MAX + WRAP_WORDS_MAX];
    int out[2];
    int err[2];

    *c = (struct child){0};
    for (int i = 0; args[i] != NULL; i++) {
        assert_true(i < CHILD_ARGS_MAX - 2);
        argv[i + 1] = args[i];
    }
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(err, O_CLOEXEC), 0);
    c->pid = fork();
    assert_true(c->pid >= 0);
    if (c->pid == 0) {
        if (wrap_is_on()) {
            setenv("DTQ_MAX_BACKLOG_BYTES", WRAP_BACKLOG_BYTES, 1);
            setenv("DTQ_MAX_RESULTS_BYTES", WRAP_RESULTS_BYTES, 1);
        }
        dup2(out[1], STDOUT_FILENO);
        dup2(err[1], STDERR_FILENO);
        execv(wrap_command(program, argv, wrapped), (char *const *)(uintptr_t)wrapped);
        _exit(127);
    }
    close(out[1]);
    close(err[1]);
    c->out = out[0];
    c->err = err[0];
}

/* Read a pipe up to the end of a line, or of all. */
static inline void child_read(int fd, bool line, char *ret, size_t bytes)
{
    size_t n = 0;

    while (n + 1 < bytes) {
        struct pollfd p = {.fd = fd, .events = POLLIN};

        assert_int_equal(poll(&p, 1, CHILD_WAIT_MS), 1);
        if (read(fd, ret + n, 1) <= 0 || (line && ret[n] == '\n'))
            break;
        n++;
    }
    ret[n] = '\0';
}

static inline void child_wait_ready(struct child *c)
{
    child_read(c->out, true, c->ready, sizeof c->ready);
    if (strncmp(c->ready, "ready ", 6) == 0)
        return;
    child_read(c->err, false, c->said, sizeof c->said);
    fail_msg("not ready: %s", c->said);
}

/* Of the ready line: `key` is "control=", `ret` has room for 257 bytes. */
static inline void child_ready_value(const struct child *c, const char *key, char *ret)
{
    const char *at = strstr(c->ready, key);

    assert_non_null(at);
    assert_int_equal(sscanf(at + strlen(key), "%256s", ret), 1);
}

/* Wait for its end. @return exit status, or 1000 + signal. */
static inline int child_end(struct child *c)
{
    int status;

    child_read(c->err, false, c->said, sizeof c->said);
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    close(c->out);
    close(c->err);
    c->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static inline int child_end_by(struct child *c, int signal)
{
    kill(c->pid, signal);
    return child_end(c);
}

static inline void child_expect_said(const struct child *c, const char *part)
{
    if (strstr(c->said, part) == NULL)
        fail_msg("'%s' is not in: %s", part, c->said);
}

#endif
