/*
 * The real programs on loopback, for tests that tell a story: a ventilator, a sink and workers with
 * a data directory of their own, and `dtq` commands against them. Ports are the kernel's choice.
 * Everything is waited for by its state (ready lines, output, ends), with long deadlines; a test
 * that fails ends through cmocka, and cluster_free() in its teardown stops and removes what is
 * left.
 *
 * The test's process adopts orphans, so that whatever a program leaves behind is found.
 */
#ifndef DTQ_TESTS_CLUSTER_H
#define DTQ_TESTS_CLUSTER_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these before it */
#include <setjmp.h>

#include <limits.h>
#include <sys/types.h>

#include <cmocka.h>

#define CLUSTER_ARGS_MAX 48

/* A program that was started. Its standard output is read by run_*() calls only; its standard error
 * goes to a file. */
struct run {
    struct cluster *cluster;
    char program[32];
    pid_t pid;  /* also after its end */
    int pidfd;  /* -1: it has ended, and was reaped */
    int out;    /* its standard output; -1: at its end */
    char *text; /* what came from it, NUL-ended */
    size_t bytes;
    size_t room;
    size_t lines;
    int status; /* exit status, or 1000 + signal; set by run_end() */
    char said_path[PATH_MAX];
    char *said; /* its standard error, set by run_end() */
};

struct cluster {
    char dir[PATH_MAX / 4]; /* removed in the end */
    char control[256];      /* of the ventilator; "" before its first start */
    char intake[256];       /* of the sink */
    char results[256];
    struct run *ventilator; /* the last one that was started */
    struct run *sink;
    struct run **runs; /* all that were started */
    size_t runs_n;
    unsigned long files_n;
    char **paths; /* of cluster_file() */
    size_t paths_n;
};

/* cmocka's setup and teardown: *state is the cluster, with nothing running yet. The teardown tells
 * what runs to stop, and fails if a daemon does not end well (with sanitizers: leaks), or if a
 * process is left that nobody stopped. */
int cluster_setup(void **state);
int cluster_teardown(void **state);

/* A test, and main() of a file of them: an argument chooses tests by a pattern, as in
 * `bulk_test 'a_worker*'`. */
#define STORY(name) cmocka_unit_test_setup_teardown(name, cluster_setup, cluster_teardown)
#define RUN_STORIES(argc, argv, tests)                      \
    (cmocka_set_test_filter((argc) > 1 ? (argv)[1] : NULL), \
     cmocka_run_group_tests(tests, NULL, NULL))

/* Programs that listen: return when they are ready. Started again, they take their old endpoints
 * and data. Further arguments end with NULL. */
void cluster_start_ventilator(struct cluster *c, ...) __attribute__((sentinel));
void cluster_start_sink(struct cluster *c, ...) __attribute__((sentinel));
/* A worker that is welcome at the ventilator. */
struct run *cluster_start_worker(struct cluster *c, ...) __attribute__((sentinel));
/* Ventilator, sink, and a worker with two slots and the example handlers. */
struct run *cluster_start(struct cluster *c);

/* Start any program of the build. `input` is the path of its standard input; NULL: /dev/null. */
struct run *run_start(struct cluster *c, const char *input, const char *program, ...)
    __attribute__((sentinel));
struct run *run_start_v(struct cluster *c, const char *input, const char *const *argv);
/* Until its standard output has `lines` lines; fails if it ends before. */
void run_wait_lines(struct run *r, size_t lines);
/* Until its standard output has `part` in it. */
void run_wait_text(struct run *r, const char *part);
/* What is there now; does not wait. */
void run_take_output(struct run *r);
/* Until a ready line is there. */
void run_wait_ready(struct run *r);
/* The value of `key` in the ready line. */
void run_ready_value(const struct run *r, const char *key, char *ret, size_t bytes);
bool run_is_alive(const struct run *r);
/* Wait for its end. @return exit status, or 1000 + signal; `text` and `said` are complete. */
int run_end(struct run *r);
/* Send a signal, then run_end(). */
int run_stop(struct run *r, int signal);

/* One `dtq` command to its end, `input` as its standard input (NULL: none). */
struct run *dtq_run(struct cluster *c, const char *input, ...) __attribute__((sentinel));
/* The same; fails unless it exits with `status`. @return its standard output. */
const char *dtq_expect(struct cluster *c, int status, const char *input, ...)
    __attribute__((sentinel));
/* Submit one task by `dtq submit` with these further arguments; its id into `ret_id`. */
void dtq_submit_id(struct cluster *c, char ret_id[64], ...) __attribute__((sentinel));

/* Fail, with everything that was said, unless `text` has `part` in it. */
void expect_in(const struct run *r, const char *text, const char *part);
/* The path, the cluster's, of a new file in its directory with this content. */
const char *cluster_file(struct cluster *c, const void *at, size_t bytes);
/* A path in it where nothing is yet. */
void cluster_path(struct cluster *c, const char *name, char *ret, size_t bytes);
/* Until the file is there and has a whole line, which is copied without its end. */
void wait_line_of_file(const char *path, char *ret, size_t bytes);
/* Until this process has no child, own or adopted; false: not in time. */
bool wait_childless(void);
/* Until this process, whosever it is, has ended. */
void wait_gone(pid_t pid);
/* Until `wanted`, which is asked again and again by way of a `dtq` command, is true. */
void wait_until(struct cluster *c, bool (*wanted)(struct cluster *c, void *arg), void *arg);

#endif
