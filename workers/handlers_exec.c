/*
 * A command as handler: payload on its standard input, result from its standard output. It runs in
 * a process group of its own, in the session of its slot, and dies with the slot. What it left
 * behind in its group when it ended is killed: no task leaves processes behind that it did not
 * detach on purpose (setsid), as long as the worker lives to see to it.
 */
#include "handlers.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_RETRY 75 /* EX_TEMPFAIL of sysexits.h */
#define OUTPUT_FIRST_BYTES ((size_t)64 * 1024)
#define OUTPUT_KEPT_BYTES ((size_t)256 * 1024) /* between two tasks */

/* The last bytes of standard error: a ring that keeps what an error text has room for. */
struct tail {
    unsigned char bytes[DTQI_TEXT_BYTES_MAX];
    size_t total;
};

struct output {
    unsigned char *at;
    size_t bytes;
    size_t room;
};

struct child {
    pid_t pid;
    int pidfd;
    int in; /* our ends of its pipes; -1: closed */
    int out;
    int err;
    int stop; /* the slot's eventfd; -1: it does not work any more */
    size_t written;
    struct output output;
    struct tail tail;
    bool too_large;
    bool no_memory;
    bool told_to_end;
};

/* ---------------------------------------------------------------- what it prints */

static void tail_add(struct tail *t, const unsigned char *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        t->bytes[(t->total + i) % sizeof t->bytes] = at[i];
    t->total += bytes;
}

/* In order, without blanks at the end; a line that was cut at its begin is left out if more follow.
 * @return its bytes. */
static size_t tail_text(const struct tail *t, char ret_text[DTQI_TEXT_BYTES_MAX])
{
    size_t n = t->total < sizeof t->bytes ? t->total : sizeof t->bytes;
    size_t first = t->total - n;
    char *newline;

    for (size_t i = 0; i < n; i++)
        ret_text[i] = (char)t->bytes[(first + i) % sizeof t->bytes];
    while (n > 0 && strchr(" \t\r\n", ret_text[n - 1]) != NULL && ret_text[n - 1] != 0)
        n--;
    newline = first > 0 ? memchr(ret_text, '\n', n) : NULL;
    if (newline != NULL) {
        n -= (size_t)(newline + 1 - ret_text);
        memmove(ret_text, newline + 1, n);
    }
    return n;
}

static bool output_grow(struct output *o, size_t bytes_max)
{
    size_t room = o->room > 0 ? 2 * o->room : OUTPUT_FIRST_BYTES;
    unsigned char *at;

    if (room > bytes_max + 1)
        room = bytes_max + 1; /* one more shows that it is too much */
    at = realloc(o->at, room);
    if (at == NULL)
        return false;
    o->at = at;
    o->room = room;
    return true;
}

static void close_end(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* @return false: there is nothing more now. Closes the end at the end of the file. */
static bool read_err(struct child *c)
{
    unsigned char bytes[4096];
    ssize_t n = read(c->err, bytes, sizeof bytes);

    if (n > 0)
        tail_add(&c->tail, bytes, (size_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        close_end(&c->err);
    return n > 0;
}

static bool read_out(struct child *c, size_t bytes_max)
{
    struct output *o = &c->output;
    ssize_t n;

    if (o->bytes == o->room && !output_grow(o, bytes_max)) {
        c->no_memory = true;
        return false;
    }
    n = read(c->out, o->at + o->bytes, o->room - o->bytes);
    if (n > 0)
        o->bytes += (size_t)n;
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        close_end(&c->out);
    c->too_large = o->bytes > bytes_max;
    return n > 0 && !c->too_large;
}

static void write_in(struct child *c, const struct dtqi_slice *payload)
{
    ssize_t n =
        write(c->in, (const unsigned char *)payload->at + c->written, payload->len - c->written);

    if (n > 0)
        c->written += (size_t)n;
    else if (errno != EAGAIN && errno != EINTR)
        close_end(&c->in); /* EPIPE: it does not want to read it, which is its business */
    if (c->written == payload->len)
        close_end(&c->in);
}

/* ---------------------------------------------------------------- start */

enum { ENV_ID, ENV_NAME, ENV_ATTEMPT, ENV_QUEUE, ENV_DEADLINE, ENV_N };

static const char *const env_names[ENV_N] = {
    "DTQ_TASK_ID=", "DTQ_TASK_NAME=", "DTQ_ATTEMPT=", "DTQ_QUEUE=", "DTQ_DEADLINE="};

struct environment {
    char texts[ENV_N][DTQI_NAME_BYTES_MAX + 32];
    char **all; /* ours and those of the slot that are not called as ours; NULL-ended */
};

static bool is_ours(const char *variable)
{
    for (int i = 0; i < ENV_N; i++)
        if (strncmp(variable, env_names[i], strlen(env_names[i])) == 0)
            return true;
    return false;
}

static bool environment_make(struct environment *e, struct task_run *run)
{
    uint64_t deadline_ms = task_run_deadline_wall_ms(run);
    size_t n = 0;

    while (environ != NULL && environ[n] != NULL)
        n++;
    e->all = malloc((n + ENV_N + 1) * sizeof *e->all);
    if (e->all == NULL)
        return false;
    snprintf(e->texts[ENV_ID], sizeof e->texts[0], "%s%s", env_names[ENV_ID], task_run_id(run));
    snprintf(e->texts[ENV_NAME], sizeof e->texts[0], "%s%s", env_names[ENV_NAME],
             run->task.name.at);
    snprintf(e->texts[ENV_ATTEMPT], sizeof e->texts[0], "%s%u", env_names[ENV_ATTEMPT],
             run->task.attempt);
    snprintf(e->texts[ENV_QUEUE], sizeof e->texts[0], "%s%s", env_names[ENV_QUEUE],
             run->task.queue.at);
    snprintf(e->texts[ENV_DEADLINE], sizeof e->texts[0], "%s%llu", env_names[ENV_DEADLINE],
             (unsigned long long)deadline_ms);
    n = 0;
    for (char **v = environ; v != NULL && *v != NULL; v++)
        if (!is_ours(*v))
            e->all[n++] = *v;
    for (int i = 0; i < ENV_N; i++)
        if (i != ENV_DEADLINE || deadline_ms != 0)
            e->all[n++] = e->texts[i];
    e->all[n] = NULL;
    return true;
}

struct pipes {
    int in[2];
    int out[2];
    int err[2];
};

static void pipes_close(struct pipes *p)
{
    for (int i = 0; i < 2; i++) {
        close_end(&p->in[i]);
        close_end(&p->out[i]);
        close_end(&p->err[i]);
    }
}

/* A module may have closed them; a pipe in such a place would be in the way of the child's. */
static void fill_standard_fds(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= 2);
    close_end(&fd);
}

static bool pipes_open(struct pipes *p)
{
    *p = (struct pipes){{-1, -1}, {-1, -1}, {-1, -1}};
    fill_standard_fds();
    return pipe2(p->in, O_CLOEXEC) == 0 && pipe2(p->out, O_CLOEXEC) == 0 &&
           pipe2(p->err, O_CLOEXEC) == 0 && fcntl(p->in[1], F_SETFL, O_NONBLOCK) == 0 &&
           fcntl(p->out[0], F_SETFL, O_NONBLOCK) == 0 && fcntl(p->err[0], F_SETFL, O_NONBLOCK) == 0;
}

/* `from` is above 2, so that none of the three overwrites another. */
static bool move_fd(int from, int to)
{
    return dup2(from, to) == to;
}

/*
 * In the child, which borrows the slot's memory until it has executed the command (vfork): only
 * system calls, nothing of the slot's is changed. Returns when something failed.
 */
static void become(const struct handler *h, char *const *environment, const struct pipes *p,
                   pid_t slot, const sigset_t *signals)
{
    struct sigaction standard = {.sa_handler = SIG_DFL};

    if (setpgid(0, 0) != 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        return;
    if (getppid() != slot)
        _exit(127); /* the slot died before it could take this child along */
    for (int s = 1; s < NSIG; s++)
        (void)sigaction(s, &standard, NULL); /* not all can be set, or need to be */
    if (!move_fd(p->in[0], 0) || !move_fd(p->out[1], 1) || !move_fd(p->err[1], 2) ||
        sigprocmask(SIG_SETMASK, signals, NULL) != 0)
        return;
    execve(h->command.path, h->command.argv, environment);
}

/* vfork: the slot may have modules with gigabytes of memory loaded, whose page tables a fork would
 * copy. Signals are blocked, so that no handler of the slot runs in the child. */
static pid_t spawn(const struct handler *h, char *const *environment, const struct pipes *p)
{
    volatile int failed = 0;
    sigset_t all;
    sigset_t before;
    sigset_t none;
    pid_t slot = getpid();
    pid_t pid;

    sigfillset(&all);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid = vfork(); // NOLINT(clang-analyzer-security.insecureAPI.vfork)
    if (pid == 0) {
        become(h, environment, p, slot, &none); // NOLINT(clang-analyzer-unix.Vfork)
        failed = errno;                         // NOLINT(clang-analyzer-unix.Vfork)
        _exit(127);
    }
    if (pid < 0)
        failed = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid > 0 && failed != 0)
        (void)waitpid(pid, NULL, 0);
    errno = failed;
    return failed == 0 ? pid : -1;
}

static void child_forget(struct child *c)
{
    close_end(&c->in);
    close_end(&c->out);
    close_end(&c->err);
    close_end(&c->pidfd);
}

/* Kill what is left of its group, while its own process (ended, not yet reaped) keeps the group's
 * number from being used by others. @return the wait status. */
static int end_group(struct child *c)
{
    int status = 0;

    kill(-c->pid, SIGKILL);
    while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return status;
}

/* @return false with errno set: it does not run. */
static bool child_start(struct child *c, const struct handler *h, struct task_run *run)
{
    struct environment e = {.all = NULL};
    struct pipes p = {{-1, -1}, {-1, -1}, {-1, -1}};
    int saved;

    *c = (struct child){.pid = -1, .pidfd = -1, .in = -1, .out = -1, .err = -1};
    if (environment_make(&e, run) && pipes_open(&p))
        c->pid = spawn(h, e.all, &p);
    saved = errno;
    free(e.all);
    if (c->pid > 0) {
        c->in = p.in[1];
        c->out = p.out[0];
        c->err = p.err[0];
        p.in[1] = p.out[0] = p.err[0] = -1;
        c->stop = run->ring->wake_slot_fd;
        c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
        saved = errno;
    }
    pipes_close(&p);
    if (c->pid > 0 && c->pidfd < 0)
        (void)end_group(c); /* nobody would notice its end */
    errno = saved;
    return c->pidfd >= 0;
}

/* ---------------------------------------------------------------- run */

enum { WAIT_IN, WAIT_OUT, WAIT_ERR, WAIT_END, WAIT_STOP, WAIT_N };

/* Nobody wants the result any more: the command is told so, once. */
static void tell_to_end(struct child *c, const struct task_run *run)
{
    uint64_t count;

    if (read(c->stop, &count, sizeof count) != sizeof count) {
        c->stop = -1;
        return;
    }
    if (ring_slot_is_stopped(run->ring) && !c->told_to_end) {
        c->told_to_end = true;
        kill(-c->pid, SIGTERM);
    }
}

static void wait_once(const struct child *c, struct pollfd *waits)
{
    waits[WAIT_IN] = (struct pollfd){.fd = c->in, .events = POLLOUT};
    waits[WAIT_OUT] = (struct pollfd){.fd = c->out, .events = POLLIN};
    waits[WAIT_ERR] = (struct pollfd){.fd = c->err, .events = POLLIN};
    waits[WAIT_END] = (struct pollfd){.fd = c->pidfd, .events = POLLIN};
    waits[WAIT_STOP] = (struct pollfd){.fd = c->stop, .events = POLLIN};
    if (poll(waits, WAIT_N, -1) < 0)
        for (int i = 0; i < WAIT_N; i++)
            waits[i].revents = 0;
}

static void pump(struct child *c, struct task_run *run)
{
    struct pollfd waits[WAIT_N] = {0};

    while (waits[WAIT_END].revents == 0 && !c->too_large && !c->no_memory) {
        wait_once(c, waits);
        if (waits[WAIT_IN].revents != 0)
            write_in(c, &run->task.body);
        if (waits[WAIT_OUT].revents != 0)
            (void)read_out(c, run->result_bytes_max);
        if (waits[WAIT_ERR].revents != 0)
            (void)read_err(c);
        if (waits[WAIT_STOP].revents != 0)
            tell_to_end(c, run);
    }
}

/* Take what the command wrote before it ended; what its descendants write later does not count. */
static void drain(struct child *c, const struct task_run *run)
{
    while (c->out >= 0 && read_out(c, run->result_bytes_max))
        continue;
    while (c->err >= 0 && read_err(c))
        continue;
}

static void fail_with_tail(struct task_run *run, const struct child *c, dtq_reason reason,
                           int32_t code, const char *otherwise)
{
    char text[DTQI_TEXT_BYTES_MAX];
    size_t n = tail_text(&c->tail, text);

    if (n > 0)
        task_run_fail(run, reason, code, text, n);
    else
        task_run_fail(run, reason, code, otherwise, strlen(otherwise));
}

static void fail_by_status(struct task_run *run, const struct child *c, int status)
{
    char text[64];

    if (WIFSIGNALED(status)) {
        const char *name = sigabbrev_np(WTERMSIG(status));

        snprintf(text, sizeof text, "killed by SIG%s", name != NULL ? name : "?");
        fail_with_tail(run, c, DTQ_REASON_SIGNAL, WTERMSIG(status), text);
        return;
    }
    snprintf(text, sizeof text,
             WEXITSTATUS(status) == EXIT_RETRY ? "exit %d: try again" : "exit %d",
             WEXITSTATUS(status));
    fail_with_tail(run, c, DTQ_REASON_EXIT, WEXITSTATUS(status), text);
}

static void succeed(struct task_run *run, const struct child *c)
{
    void *at = task_run_result(run, (uint32_t)c->output.bytes);

    if (at != NULL && c->output.bytes > 0)
        memcpy(at, c->output.at, c->output.bytes);
}

static void conclude(struct task_run *run, const struct child *c, int status)
{
    if (c->too_large)
        task_run_failf(run, DTQ_REASON_RESULT_TOO_LARGE, 0,
                       "it wrote more than the %u bytes that a result may have",
                       run->result_bytes_max);
    else if (c->no_memory)
        task_run_failf(run, DTQ_REASON_ERROR, 0, "no memory for its output");
    else if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        succeed(run, c);
    else
        fail_by_status(run, c, status);
}

void handler_exec_run(const struct handler *handler, struct task_run *run)
{
    static struct output kept; /* a slot runs one task at a time */
    struct child c;
    int status;

    if (!child_start(&c, handler, run)) {
        task_run_failf(run, DTQ_REASON_ERROR, errno, "%s cannot be started: %s",
                       handler->command.path, strerror(errno));
        child_forget(&c);
        return;
    }
    c.output = kept;
    c.output.bytes = 0;
    pump(&c, run);
    if (!c.too_large && !c.no_memory)
        drain(&c, run);
    status = end_group(&c);
    conclude(run, &c, status);
    child_forget(&c);
    kept = c.output;
    if (kept.room > OUTPUT_KEPT_BYTES) {
        free(kept.at);
        kept = (struct output){0};
    }
}

/* ---------------------------------------------------------------- NAME=COMMAND */

dtq_err handlers_add_exec(struct handlers *h, const char *definition, char *why, size_t why_bytes)
{
    const char *equals = strchr(definition, '=');
    struct command command = {0};
    struct handler *new;
    char cause[HANDLERS_WHY_BYTES];
    dtq_err err;

    if (equals == NULL) {
        snprintf(why, why_bytes, "exec '%s': it is not NAME=COMMAND", definition);
        return DTQ_EINVAL;
    }
    err = command_parse(equals + 1, &command, cause, sizeof cause);
    if (err == DTQ_OK)
        err = command_find(&command, getenv("PATH"), cause, sizeof cause);
    if (err != DTQ_OK) {
        snprintf(why, why_bytes, "exec '%.*s': %s", (int)(equals - definition), definition,
                 err == DTQ_ENOMEM ? "no memory" : cause);
        command_done(&command);
        return err;
    }
    snprintf(cause, sizeof cause, "exec '%s'", definition);
    err = handlers_add(h, (struct dtqi_str){definition, (uint32_t)(equals - definition)}, cause,
                       why, why_bytes, &new);
    if (err != DTQ_OK) {
        command_done(&command);
        return err;
    }
    new->command = command;
    new->run = handler_exec_run;
    return DTQ_OK;
}
