#include "cluster.h"

#include "wrap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* For what must happen; on a good day it takes milliseconds. */
#define LONG_MS (60000 * DTQ_SLOWNESS)

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int left_ms(uint64_t deadline_ms)
{
    uint64_t now = now_ms();

    return deadline_ms > now ? (int)(deadline_ms - now) : 0;
}

/* ------------------------------------------------------------------------------ files */

void cluster_path(struct cluster *c, const char *name, char *ret, size_t bytes)
{
    assert_true(snprintf(ret, bytes, "%s/%s", c->dir, name) < (int)bytes);
}

const char *cluster_file(struct cluster *c, const void *at, size_t bytes)
{
    char *path = NULL;
    FILE *f;

    assert_true(asprintf(&path, "%s/file-%lu", c->dir, c->files_n++) > 0);
    c->paths = realloc(c->paths, (c->paths_n + 1) * sizeof *c->paths);
    assert_non_null(c->paths);
    c->paths[c->paths_n++] = path;
    f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fwrite(at, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
    return path;
}

static char *read_all(const char *path)
{
    FILE *f = fopen(path, "re");
    char *text = NULL;
    size_t room = 0;

    if (f == NULL || getdelim(&text, &room, '\0', f) < 0) {
        free(text);
        text = strdup("");
    }
    if (f != NULL)
        fclose(f);
    assert_non_null(text);
    return text;
}

static bool has_line(const char *path, char *ret, size_t bytes)
{
    char *text = read_all(path);
    size_t n = strcspn(text, "\n");
    bool whole = text[n] == '\n' && n < bytes;

    if (whole)
        snprintf(ret, bytes, "%.*s", (int)n, text);
    free(text);
    return whole;
}

void wait_line_of_file(const char *path, char *ret, size_t bytes)
{
    uint64_t deadline_ms = now_ms() + LONG_MS;
    char folder[PATH_MAX];
    char events[4096];
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

    assert_true(fd >= 0);
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    assert_true(inotify_add_watch(fd, folder, IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_TO) >= 0);
    while (!has_line(path, ret, bytes)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};

        if (poll(&p, 1, left_ms(deadline_ms)) == 0)
            fail_msg("nobody wrote a line to %s", path);
        while (read(fd, events, sizeof events) > 0)
            ;
    }
    close(fd);
}

/* What cannot be removed stays: the others go. */
static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    remove(path);
    return 0;
}

/* ------------------------------------------------------------------------------ programs */

/* What the user of this machine has set must not reach the programs; what sanitizers and coverage
 * need must. */
static bool is_inherited(const char *variable)
{
    static const char *const ours[] = {
        "DTQ_", "XDG_", "HOME=", "NOTIFY_SOCKET=", "WATCHDOG_", "LC_", "LANG"};

    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (strncmp(variable, ours[i], strlen(ours[i])) == 0)
            return false;
    return true;
}

static char **make_environment(const struct cluster *c)
{
    size_t n = 0;
    size_t kept = 0;
    const char *durability = getenv("DTQ_TEST_DURABILITY");
    char **env;

    while (environ[n] != NULL)
        n++;
    env = calloc(n + 8, sizeof *env);
    assert_non_null(env);
    for (size_t i = 0; i < n; i++)
        if (is_inherited(environ[i]))
            assert_non_null(env[kept++] = strdup(environ[i]));
    assert_true(asprintf(&env[kept++], "HOME=%s", c->dir) > 0);
    assert_true(asprintf(&env[kept++], "XDG_STATE_HOME=%s/state", c->dir) > 0);
    assert_true(asprintf(&env[kept++], "XDG_CONFIG_HOME=%s/config", c->dir) > 0);
    if (c->control[0] != '\0')
        assert_true(asprintf(&env[kept++], "DTQ_VENTILATOR=%s", c->control) > 0);
    if (durability != NULL)
        assert_true(asprintf(&env[kept++], "DTQ_DURABILITY=%s", durability) > 0);
    if (wrap_is_on()) {
        assert_non_null(env[kept++] = strdup("DTQ_MAX_BACKLOG_BYTES=" WRAP_BACKLOG_BYTES));
        assert_non_null(env[kept++] = strdup("DTQ_MAX_RESULTS_BYTES=" WRAP_RESULTS_BYTES));
    }
    return env;
}

static void free_environment(char **env)
{
    for (size_t i = 0; env[i] != NULL; i++)
        free(env[i]);
    free(env);
}

static void run_child(const char *path, const char *const *argv, char **env, int in, int out,
                      int err, pid_t parent)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
        _exit(127);
    execve(path, (char *const *)(uintptr_t)argv, env);
    _exit(127);
}

struct run *run_start_v(struct cluster *c, const char *input, const char *const *argv)
{
    char path[PATH_MAX];
    const char *wrapped[CLUSTER_ARGS_MAX + WRAP_WORDS_MAX];
    char **env = make_environment(c);
    pid_t parent = getpid();
    struct run *r = calloc(1, sizeof *r);
    int out[2];
    int in;
    int err;

    assert_non_null(r);
    r->cluster = c;
    snprintf(r->program, sizeof r->program, "%s", argv[0]);
    snprintf(path, sizeof path, "%s/%s", DTQ_BIN_DIR, argv[0]);
    snprintf(r->said_path, sizeof r->said_path, "%s/said-%lu-%s", c->dir, c->files_n++, argv[0]);
    in = open(input != NULL ? input : "/dev/null", O_RDONLY | O_CLOEXEC);
    err = open(r->said_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(in >= 0 && err >= 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    r->pid = fork();
    assert_true(r->pid >= 0);
    if (r->pid == 0)
        run_child(wrap_command(path, argv, wrapped), wrapped, env, in, out[1], err, parent);
    free_environment(env);
    close(in);
    close(err);
    close(out[1]);
    r->out = out[0];
    fcntl(r->out, F_SETFL, O_NONBLOCK);
    r->pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0);
    assert_true(r->pidfd >= 0);
    c->runs = realloc(c->runs, (c->runs_n + 1) * sizeof *c->runs);
    assert_non_null(c->runs);
    c->runs[c->runs_n++] = r;
    return r;
}

/* Words behind argv[*n] up to NULL. */
static void add_words(const char **argv, size_t *n, va_list args)
{
    const char *word;

    while ((word = va_arg(args, const char *)) != NULL) {
        assert_true(*n < CLUSTER_ARGS_MAX - 1);
        argv[(*n)++] = word;
    }
    argv[*n] = NULL;
}

struct run *run_start(struct cluster *c, const char *input, const char *program, ...)
{
    const char *argv[CLUSTER_ARGS_MAX] = {program};
    size_t n = 1;
    va_list args;

    va_start(args, program);
    add_words(argv, &n, args);
    va_end(args);
    return run_start_v(c, input, argv);
}

void run_take_output(struct run *r)
{
    ssize_t n;

    while (r->out >= 0) {
        if (r->room - r->bytes < 65536) {
            r->room = 2 * r->room + 131072;
            assert_non_null(r->text = realloc(r->text, r->room));
        }
        n = read(r->out, r->text + r->bytes, r->room - r->bytes - 1);
        if (n < 0)
            break; /* nothing now */
        if (n == 0) {
            close(r->out);
            r->out = -1;
            break;
        }
        for (ssize_t i = 0; i < n; i++)
            r->lines += r->text[r->bytes + (size_t)i] == '\n';
        r->bytes += (size_t)n;
    }
    if (r->text == NULL)
        assert_non_null(r->text = calloc(1, 1));
    r->text[r->bytes] = '\0';
}

static void fail_with_all(const struct run *r, const char *what)
{
    char *said = read_all(r->said_path);

    for (size_t i = 0; i < r->cluster->runs_n; i++) {
        const struct run *other = r->cluster->runs[i];
        char *text =
            other != r && strcmp(other->program, "dtq") != 0 ? read_all(other->said_path) : NULL;

        if (text != NULL)
            print_error("---- %s %ld (%s) said:\n%s", other->program, (long)other->pid,
                        other->pidfd >= 0 ? "runs" : "ended", text);
        free(text);
    }
    fail_msg("%s %ld: %s; it printed:\n%.4000s\nand said:\n%s", r->program, (long)r->pid, what,
             r->text != NULL ? r->text : "", said);
}

static void wait_output(struct run *r, uint64_t deadline_ms)
{
    struct pollfd p = {.fd = r->out, .events = POLLIN};

    if (r->out < 0)
        fail_with_all(r, "ended before its output was complete");
    if (poll(&p, 1, left_ms(deadline_ms)) == 0)
        fail_with_all(r, "its output did not come");
    run_take_output(r);
}

void run_wait_lines(struct run *r, size_t lines)
{
    uint64_t deadline_ms = now_ms() + LONG_MS;

    while (r->lines < lines)
        wait_output(r, deadline_ms);
}

void run_wait_text(struct run *r, const char *part)
{
    uint64_t deadline_ms = now_ms() + LONG_MS;

    while (r->text == NULL || strstr(r->text, part) == NULL)
        wait_output(r, deadline_ms);
}

void run_wait_ready(struct run *r)
{
    run_wait_lines(r, 1);
    if (strncmp(r->text, "ready ", 6) != 0)
        fail_with_all(r, "its first line is no ready line");
}

void run_ready_value(const struct run *r, const char *key, char *ret, size_t bytes)
{
    char wanted[64];
    const char *at;

    snprintf(wanted, sizeof wanted, " %s=", key);
    at = strstr(r->text, wanted);
    if (at == NULL)
        fail_with_all(r, key);
    at += strlen(wanted);
    assert_true(strcspn(at, " \n") < bytes);
    snprintf(ret, bytes, "%.*s", (int)strcspn(at, " \n"), at);
}

bool run_is_alive(const struct run *r)
{
    struct pollfd p = {.fd = r->pidfd, .events = POLLIN};

    return r->pidfd >= 0 && poll(&p, 1, 0) == 0;
}

/* @return false: it did not end in time. */
static bool wait_for_end(struct run *r, uint64_t deadline_ms)
{
    int status;

    while (r->pidfd >= 0) {
        struct pollfd p[2] = {{.fd = r->pidfd, .events = POLLIN}, {.fd = r->out, .events = POLLIN}};

        if (poll(p, 2, left_ms(deadline_ms)) == 0)
            return false;
        run_take_output(r);
        if (p[0].revents == 0)
            continue;
        if (waitpid(r->pid, &status, 0) != r->pid)
            return false;
        r->status = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
        close(r->pidfd);
        r->pidfd = -1;
    }
    run_take_output(r);
    return true;
}

int run_end(struct run *r)
{
    if (!wait_for_end(r, now_ms() + LONG_MS))
        fail_with_all(r, "did not end");
    if (r->said == NULL)
        r->said = read_all(r->said_path);
    return r->status;
}

int run_stop(struct run *r, int signal)
{
    kill(r->pid, signal);
    return run_end(r);
}

/* ------------------------------------------------------------------------------ processes */

void wait_gone(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};

    if (fd < 0) {
        assert_int_equal(errno, ESRCH);
        return;
    }
    if (poll(&p, 1, LONG_MS) != 1)
        fail_msg("process %ld is still there", (long)pid);
    close(fd);
}

/* Children and adopted orphans; `signal` to each. @return how many there are. */
static size_t signal_children(int signal)
{
    char path[64];
    char *text;
    char *at;
    size_t n = 0;

    snprintf(path, sizeof path, "/proc/self/task/%ld/children", (long)getpid());
    text = read_all(path);
    for (char *word = strtok_r(text, " \n", &at); word != NULL; word = strtok_r(NULL, " \n", &at)) {
        kill((pid_t)atol(word), signal);
        n++;
    }
    free(text);
    return n;
}

bool wait_childless(void)
{
    uint64_t deadline_ms = now_ms() + 10000 * DTQ_SLOWNESS;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    for (;;) {
        int ms = left_ms(deadline_ms);
        struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
        pid_t pid;

        while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
            ;
        if (pid < 0)
            return true;
        if (sigtimedwait(&set, NULL, &t) < 0 && errno == EAGAIN)
            return false;
    }
}

/* ------------------------------------------------------------------------------ cluster */

int cluster_setup(void **state)
{
    struct cluster *c = calloc(1, sizeof *c);
    const char *tmp = getenv("TMPDIR");
    sigset_t set;

    assert_non_null(c);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    snprintf(c->dir, sizeof c->dir, "%s/dtq-test-XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(c->dir));
    *state = c;
    return 0;
}

static void run_free(struct run *r)
{
    if (r->out >= 0)
        close(r->out);
    if (r->pidfd >= 0)
        close(r->pidfd);
    free(r->text);
    free(r->said);
    free(r);
}

/* @return false: it had to be killed, or did not end well. A command may end as it likes. */
static bool stop_at_last(struct run *r)
{
    char *said;

    kill(r->pid, SIGTERM);
    if (!wait_for_end(r, now_ms() + 10000 * DTQ_SLOWNESS)) {
        kill(r->pid, SIGKILL);
        wait_for_end(r, now_ms() + 10000);
    }
    if (r->status == 0 || strcmp(r->program, "dtq") == 0)
        return true;
    said = read_all(r->said_path);
    print_error("%s %ld ended with %d after SIGTERM; it said:\n%s", r->program, (long)r->pid,
                r->status, said);
    free(said);
    return false;
}

static void cluster_free(struct cluster *c)
{
    for (size_t i = 0; i < c->runs_n; i++)
        run_free(c->runs[i]);
    free(c->runs);
    for (size_t i = 0; i < c->paths_n; i++)
        free(c->paths[i]);
    free(c->paths);
    nftw(c->dir, remove_one, 32, FTW_DEPTH | FTW_PHYS);
    free(c);
}

int cluster_teardown(void **state)
{
    static const char *const order[] = {"dtq", "dtq-worker", "dtq-sink", "dtq-ventilator"};
    struct cluster *c = *state;
    bool good = true;

    /* Commands first, then workers while others take their results. */
    for (size_t o = 0; o < sizeof order / sizeof *order; o++)
        for (size_t i = 0; i < c->runs_n; i++)
            if (c->runs[i]->pidfd >= 0 && strcmp(c->runs[i]->program, order[o]) == 0)
                good = stop_at_last(c->runs[i]) && good;
    if (!wait_childless()) {
        print_error("%zu processes were left behind\n", signal_children(SIGKILL));
        wait_childless();
        good = false;
    }
    cluster_free(c);
    return good ? 0 : -1;
}

void cluster_start_ventilator(struct cluster *c, ...)
{
    char bind[300];
    char data[PATH_MAX];
    const char *argv[CLUSTER_ARGS_MAX] = {"dtq-ventilator", bind, data};
    size_t n = 3;
    va_list args;

    snprintf(bind, sizeof bind, "--bind=%s",
             c->control[0] != '\0' ? c->control : "tcp://127.0.0.1:*");
    snprintf(data, sizeof data, "--data=%s/ventilator", c->dir);
    va_start(args, c);
    add_words(argv, &n, args);
    va_end(args);
    c->ventilator = run_start_v(c, NULL, argv);
    run_wait_ready(c->ventilator);
    run_ready_value(c->ventilator, "control", c->control, sizeof c->control);
}

void cluster_start_sink(struct cluster *c, ...)
{
    char intake[300];
    char results[300];
    char data[PATH_MAX];
    const char *argv[CLUSTER_ARGS_MAX] = {"dtq-sink", intake, results, data};
    size_t n = 4;
    va_list args;

    snprintf(intake, sizeof intake, "--intake=%s",
             c->intake[0] != '\0' ? c->intake : "tcp://127.0.0.1:*");
    snprintf(results, sizeof results, "--results=%s",
             c->results[0] != '\0' ? c->results : "tcp://127.0.0.1:*");
    snprintf(data, sizeof data, "--data=%s/sink", c->dir);
    va_start(args, c);
    add_words(argv, &n, args);
    va_end(args);
    c->sink = run_start_v(c, NULL, argv);
    run_wait_ready(c->sink);
    run_ready_value(c->sink, "intake", c->intake, sizeof c->intake);
    run_ready_value(c->sink, "results", c->results, sizeof c->results);
}

struct run *cluster_start_worker(struct cluster *c, ...)
{
    const char *argv[CLUSTER_ARGS_MAX] = {"dtq-worker"};
    size_t n = 1;
    struct run *r;
    va_list args;

    va_start(args, c);
    add_words(argv, &n, args);
    va_end(args);
    r = run_start_v(c, NULL, argv);
    run_wait_ready(r);
    return r;
}

struct run *cluster_start(struct cluster *c)
{
    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    return cluster_start_worker(c, "--module", HANDLERS_MODULE, "-c2", NULL);
}

/* ------------------------------------------------------------------------------ commands */

static struct run *dtq_run_v(struct cluster *c, const char *input, va_list args)
{
    const char *argv[CLUSTER_ARGS_MAX] = {"dtq"};
    size_t n = 1;
    struct run *r;

    add_words(argv, &n, args);
    r = run_start_v(c, input != NULL ? cluster_file(c, input, strlen(input)) : NULL, argv);
    run_end(r);
    return r;
}

struct run *dtq_run(struct cluster *c, const char *input, ...)
{
    struct run *r;
    va_list args;

    va_start(args, input);
    r = dtq_run_v(c, input, args);
    va_end(args);
    return r;
}

const char *dtq_expect(struct cluster *c, int status, const char *input, ...)
{
    struct run *r;
    char what[64];
    va_list args;

    va_start(args, input);
    r = dtq_run_v(c, input, args);
    va_end(args);
    snprintf(what, sizeof what, "exited with %d, not %d", r->status, status);
    if (r->status != status)
        fail_with_all(r, what);
    return r->text;
}

void dtq_submit_id(struct cluster *c, char ret_id[64], ...)
{
    struct run *r;
    const char *argv[CLUSTER_ARGS_MAX] = {"dtq", "submit"};
    size_t n = 2;
    va_list args;

    va_start(args, ret_id);
    add_words(argv, &n, args);
    va_end(args);
    r = run_start_v(c, NULL, argv);
    if (run_end(r) != 0 || r->lines != 1 || r->bytes != 37)
        fail_with_all(r, "did not print one id");
    snprintf(ret_id, 64, "%.36s", r->text);
}

void expect_in(const struct run *r, const char *text, const char *part)
{
    if (strstr(text, part) != NULL)
        return;
    print_error("'%s' was expected in:\n%s\n", part, text);
    fail_with_all(r, "did not print or say what was expected");
}

void wait_until(struct cluster *c, bool (*wanted)(struct cluster *c, void *arg), void *arg)
{
    uint64_t deadline_ms = now_ms() + LONG_MS;

    while (!wanted(c, arg))
        if (left_ms(deadline_ms) == 0)
            fail_with_all(c->runs[c->runs_n - 1], "came, but what was waited for did not");
}
