/* The pool with real slots: the dtq-worker program. Everything waits for what the pool says. */
#include "slot_pool.h"

#include "ring.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define SLOTS 2
#define TASKS_MAX 20000u
#define GIVE_UP_MS 60000

struct ended {
    bool seen;
    dtq_reason reason;
    int32_t code;
    bool no_retry;
    uint64_t retry_after_ms;
    uint64_t started_wall_ms;
    uint64_t duration_us;
    uint32_t bytes;
    char *body; /* with a zero byte behind it */
};

struct fixture {
    struct slot_pool_cfg cfg;
    struct slot_pool *pool;
    uint64_t room;

    struct ended ended[TASKS_MAX];
    uint32_t ended_n;
    uint32_t ready[SLOTS];
    uint32_t broken;
    char broken_text[2048];
    uint32_t returned_n; /* answers to taking back */
    uint32_t returned[RING_TASKS];
    uint32_t returned_handles;
    uint32_t full_handles;
    uint32_t started_handle; /* of the last SLOT_STARTED; UINT32_MAX: none */
    uint64_t started_ms;
    uint32_t exited_n;
    bool by_signal;
    int32_t status;
    uint32_t not_started[RING_TASKS];
    uint32_t not_started_n;
};

static uint64_t clock_ms(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t now_ms(void)
{
    return clock_ms(CLOCK_MONOTONIC);
}

/* ---------------------------------------------------------------- events */

static void note_ended(struct fixture *f, const struct worker_event *ev)
{
    for (uint32_t i = 0; i < ev->ended.n; i++) {
        const struct worker_result *r = &ev->ended.results[i];
        struct ended *e = &f->ended[r->handle];

        assert_true(r->handle < TASKS_MAX);
        assert_false(e->seen);
        *e = (struct ended){true,           r->reason,         r->code,
                            r->no_retry,    r->retry_after_ms, r->started_wall_ms,
                            r->duration_us, r->body.len,       malloc(r->body.len + 1)};
        assert_non_null(e->body);
        if (r->body.len > 0)
            memcpy(e->body, r->body.at, r->body.len);
        e->body[r->body.len] = 0;
        f->ended_n++;
    }
}

static void note_handles(uint32_t *to, uint32_t *n, const struct worker_event *ev)
{
    for (uint32_t i = 0; i < ev->slot.handles_n; i++)
        to[(*n)++] = ev->slot.handles[i];
}

static void note(struct fixture *f, const struct worker_event *ev)
{
    switch (ev->type) {
    case WORKER_EV_SLOT_READY: f->ready[ev->slot.index]++; break;
    case WORKER_EV_SLOT_BROKEN:
        f->broken++;
        snprintf(f->broken_text, sizeof f->broken_text, "%.*s", (int)ev->slot.text.len,
                 ev->slot.text.at);
        break;
    case WORKER_EV_SLOT_STARTED:
        f->started_handle = ev->slot.handle;
        f->started_ms = ev->slot.started_ms;
        break;
    case WORKER_EV_SLOT_ENDED: note_ended(f, ev); break;
    case WORKER_EV_SLOT_RETURNED:
        f->returned_n++;
        note_handles(f->returned, &f->returned_handles, ev);
        break;
    case WORKER_EV_SLOT_FULL: f->full_handles += ev->slot.handles_n; break;
    case WORKER_EV_SLOT_EXITED:
        f->exited_n++;
        f->by_signal = ev->slot.by_signal;
        f->status = ev->slot.status;
        note_handles(f->not_started, &f->not_started_n, ev);
        break;
    default: fail_msg("event %d does not come from slots", ev->type);
    }
}

static void take_events(struct fixture *f)
{
    struct worker_event ev;

    slot_pool_poll(f->pool, now_ms());
    while (slot_pool_next(f->pool, now_ms(), clock_ms(CLOCK_REALTIME), f->room, &ev))
        note(f, &ev);
}

/* Live until `*counter` has reached `value`. */
static void wait_for(struct fixture *f, const uint32_t *counter, uint32_t value)
{
    uint64_t give_up = now_ms() + GIVE_UP_MS;

    take_events(f);
    while (*counter < value) {
        struct pollfd p = {.fd = slot_pool_fd(f->pool), .events = POLLIN};
        uint64_t at = slot_pool_deadline_ms(f->pool);
        uint64_t now = now_ms();

        if (now >= give_up)
            fail_msg("gave up waiting: %u of %u", *counter, value);
        at = at < give_up ? at : give_up;
        (void)poll(&p, 1, at > now ? (int)(at - now) : 0);
        take_events(f);
    }
}

/* ---------------------------------------------------------------- fixture */

static struct fixture *make(const char *const *modules, size_t modules_n, const char *const *execs,
                            size_t execs_n)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    f->room = UINT64_MAX;
    f->started_handle = UINT32_MAX;
    f->cfg = (struct slot_pool_cfg){
        .program = DTQ_WORKER,
        .slots = SLOTS,
        .result_bytes_max = DTQI_RESULT_BYTES_MAX,
        .files_max = 1024,
        .modules = modules,
        .modules_n = modules_n,
        .execs = execs,
        .execs_n = execs_n,
    };
    assert_int_equal(slot_pool_open(&f->cfg, &f->pool), DTQ_OK);
    return f;
}

static const char *const modules[] = {HANDLERS_MODULE, ROGUE_MODULE};
static const char *const execs[] = {
    "cat=cat",
    "upper=tr a-z A-Z",
    "true=true",
    "sh=sh",
    "three=sh -c 'echo first >&2; echo last >&2; exit 3'",
    "temporary=sh -c 'exit 75'",
    "term=sh -c 'kill -TERM $$'",
    "yes=yes",
    "quiet=sh -c 'exec >&-; cat > /dev/null; exit 4'",
    "env=sh -c 'echo $DTQ_TASK_ID $DTQ_TASK_NAME $DTQ_ATTEMPT $DTQ_QUEUE ${DTQ_DEADLINE:-none}'",
    "late=sh -c 'sleep 1000 & echo $!'",
    "long=sh -c 'sleep 1000 & echo $! $$ > $(cat); wait; wait'",
    ("polite=sh -c 'trap \"echo bye >&2; exit 9\" TERM; echo x > $(cat); "
     "while :; do sleep 0.01; done'"),
};

static int setup(void **state)
{
    struct fixture *f = make(modules, 2, execs, sizeof execs / sizeof *execs);

    *state = f;
    slot_pool_start(f->pool, 0, now_ms());
    wait_for(f, &f->ready[0], 1);
    return 0;
}

static void done(struct fixture *f)
{
    slot_pool_close(f->pool);
    for (uint32_t i = 0; i < TASKS_MAX; i++)
        free(f->ended[i].body);
    free(f);
}

static int teardown(void **state)
{
    done(*state);
    return 0;
}

static void feed_limit(struct fixture *f, uint32_t handle, const char *name, const void *body,
                       uint32_t bytes, uint64_t limit_ms)
{
    struct worker_feed t = {
        .handle = handle,
        .attempt = handle + 1,
        .name = dtqi_str(name),
        .queue = dtqi_str("q1"),
        .body = {body, bytes},
        .time_limit_ms = limit_ms,
    };

    memset(t.id.bytes, 0x11, sizeof t.id.bytes);
    slot_pool_feed(f->pool, 0, &t, 1);
}

static void feed(struct fixture *f, uint32_t handle, const char *name, const char *body)
{
    feed_limit(f, handle, name, body, (uint32_t)strlen(body), 0);
}

static const struct ended *run(struct fixture *f, const char *name, const char *body)
{
    uint32_t handle = f->ended_n;

    feed(f, handle, name, body);
    wait_for(f, &f->ended_n, handle + 1);
    assert_true(f->ended[handle].seen);
    return &f->ended[handle];
}

static void expect_success(const struct ended *e, const char *body)
{
    if (e->reason != DTQ_REASON_NONE)
        fail_msg("it failed: %s", e->body);
    assert_string_equal(e->body, body);
}

static void expect_failure(const struct ended *e, dtq_reason reason, int32_t code, const char *text)
{
    assert_int_equal(e->reason, reason);
    assert_int_equal(e->code, code);
    if (strstr(e->body, text) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", text, e->body);
}

/* A file in a directory of its own, for commands to write to. */
struct scratch {
    char dir[32];
    char path[64];
};

static void scratch_make(struct scratch *s)
{
    snprintf(s->dir, sizeof s->dir, "/tmp/slot_pool_test.XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->path, sizeof s->path, "%s/file", s->dir);
}

static void scratch_drop(struct scratch *s)
{
    unlink(s->path);
    rmdir(s->dir);
}

/* Up to `n` numbers with blanks between. @return how many there were. */
static int read_numbers(const char *text, int *ret, int n)
{
    int found = 0;

    for (; found < n; found++) {
        char *end;

        ret[found] = (int)strtol(text, &end, 10);
        if (end == text)
            break;
        text = end;
    }
    return found;
}

/* Numbers that somebody writes to the file, once they are there. */
static void scratch_read(struct fixture *f, const struct scratch *s, int *ret, int n)
{
    uint64_t give_up = now_ms() + GIVE_UP_MS;
    int found = 0;

    while (found < n) {
        FILE *file = fopen(s->path, "r");
        struct pollfd p = {.fd = f != NULL ? slot_pool_fd(f->pool) : -1, .events = POLLIN};
        char line[64] = "";

        if (file != NULL && fgets(line, sizeof line, file) != NULL && strchr(line, '\n') != NULL)
            found = read_numbers(line, ret, n);
        if (file != NULL)
            fclose(file);
        assert_true(now_ms() < give_up);
        (void)poll(&p, 1, 5);
    }
}

static bool is_alive(int pid)
{
    return kill(pid, 0) == 0;
}

/* ---------------------------------------------------------------- modules */

static void a_task_is_run_and_its_result_comes_back(void **state)
{
    struct fixture *f = *state;
    uint64_t wall = clock_ms(CLOCK_REALTIME);
    const struct ended *e = run(f, "echo", "hello");

    expect_success(e, "hello");
    assert_true(e->started_wall_ms >= wall - 1000);
    assert_true(e->started_wall_ms <= clock_ms(CLOCK_REALTIME));
    expect_success(run(f, "noop", "x"), "");
    expect_success(run(f, "echo", ""), "");
    e = run(f, "sleep", "20");
    expect_success(e, "");
    assert_true(e->duration_us >= 20000);
}

static void many_tasks_are_run_each_once(void **state)
{
    struct fixture *f = *state;
    uint32_t fed = 0;

    while (f->ended_n < TASKS_MAX) {
        uint32_t done_before = f->ended_n;
        char body[16];

        for (; fed < TASKS_MAX && fed - f->ended_n < RING_TASKS; fed++) {
            snprintf(body, sizeof body, "%u", fed);
            feed(f, fed, "echo", body);
        }
        wait_for(f, &f->ended_n, done_before + 1);
    }
    assert_int_equal(f->full_handles, 0);
    for (uint32_t i = 0; i < TASKS_MAX; i++) {
        char body[16];

        snprintf(body, sizeof body, "%u", i);
        expect_success(&f->ended[i], body);
    }
}

static char *large_body(uint32_t bytes)
{
    char *body = malloc(bytes + 1);

    assert_non_null(body);
    for (uint32_t i = 0; i < bytes; i++)
        body[i] = (char)('a' + i % 26);
    body[bytes] = 0;
    return body;
}

static void expect_large(const struct ended *e, const char *body, uint32_t bytes)
{
    assert_int_equal(e->reason, DTQ_REASON_NONE);
    assert_int_equal(e->bytes, bytes);
    assert_memory_equal(e->body, body, bytes);
}

static void the_largest_payload_and_result_pass_through_modules_and_commands(void **state)
{
    struct fixture *f = *state;
    char *body = large_body(DTQI_TASK_BYTES_MAX);

    for (uint32_t i = 0; i < 4; i++) {
        feed_limit(f, i, i % 2 == 0 ? "echo" : "cat", body, DTQI_TASK_BYTES_MAX, 0);
        wait_for(f, &f->ended_n, i + 1);
        expect_large(&f->ended[i], body, DTQI_TASK_BYTES_MAX);
    }
    free(body);
}

static void an_unknown_task_fails_and_is_told_what_there_is(void **state)
{
    const struct ended *e = run(*state, "nothing", "");

    expect_failure(e, DTQ_REASON_UNKNOWN_TASK, 0, "'nothing'");
    expect_failure(e, DTQ_REASON_UNKNOWN_TASK, 0, "echo, noop");
}

static void a_handler_says_why_it_fails_and_whether_to_try_again(void **state)
{
    struct fixture *f = *state;
    const struct ended *e = run(f, "retry", "");

    expect_failure(run(f, "fail", "no luck"), DTQ_REASON_ERROR, 1, "no luck");
    expect_failure(run(f, "number", "42"), DTQ_REASON_ERROR, 42, "returned 42");
    expect_failure(run(f, "both", "x"), DTQ_REASON_ERROR, 0, "failed after all");
    expect_failure(e, DTQ_REASON_ERROR, 7, "not now");
    assert_true(e->no_retry);
    assert_int_equal(e->retry_after_ms, 1500);
    e = run(f, "long.text", "");
    assert_int_equal(e->bytes, DTQI_TEXT_BYTES_MAX);
}

static void a_handler_can_ask_about_its_task(void **state)
{
    struct fixture *f = *state;

    expect_success(run(f, "told", ""), "11111111-1111-1111-1111-111111111111 told q1 1 0 0 0");
    feed_limit(f, 1, "told", "", 0, 60000);
    wait_for(f, &f->ended_n, 2);
    expect_success(&f->ended[1], "11111111-1111-1111-1111-111111111111 told q1 2 1 1 0");
}

static void a_result_over_the_limit_fails_the_task_unless_a_smaller_one_follows(void **state)
{
    struct fixture *f = *state;

    expect_failure(run(f, "results", ""), DTQ_REASON_RESULT_TOO_LARGE, 0, "4194304 bytes");
    expect_success(run(f, "results", "small"), "small");
}

static void what_a_handler_prints_goes_to_standard_error(void **state)
{
    struct fixture *f = *state;
    struct scratch s;
    char text[64] = "";
    int err = dup(STDERR_FILENO);
    int file;

    scratch_make(&s);
    file = open(s.path, O_RDWR | O_CREAT | O_APPEND, 0600);
    assert_int_equal(dup2(file, STDERR_FILENO), STDERR_FILENO);
    slot_pool_start(f->pool, 1, now_ms());
    assert_int_equal(dup2(err, STDERR_FILENO), STDERR_FILENO);
    wait_for(f, &f->ready[1], 1);
    slot_pool_feed(f->pool, 1,
                   &(struct worker_feed){
                       .name = dtqi_str("print"), .queue = dtqi_str("q"), .body = {"hello", 5}},
                   1);
    wait_for(f, &f->ended_n, 1);
    assert_true(pread(file, text, sizeof text - 1, 0) > 0);
    assert_string_equal(text, "printed: hello\n");
    close(file);
    close(err);
    scratch_drop(&s);
}

/* ---------------------------------------------------------------- deaths */

static void a_crash_costs_its_task_and_names_what_had_not_started(void **state)
{
    struct fixture *f = *state;

    feed(f, 0, "echo", "before");
    feed(f, 1, "crash", "abort");
    feed(f, 2, "echo", "behind");
    feed(f, 3, "echo", "behind");
    wait_for(f, &f->exited_n, 1);
    assert_true(f->by_signal);
    assert_int_equal(f->status, SIGABRT);
    expect_success(&f->ended[0], "before");
    assert_false(f->ended[1].seen);
    assert_int_equal(f->not_started_n, 2);
    assert_int_equal(f->not_started[0], 2);
    assert_int_equal(f->not_started[1], 3);
    slot_pool_start(f->pool, 0, now_ms());
    wait_for(f, &f->ready[0], 2);
    feed(f, 4, "echo", "again");
    wait_for(f, &f->ended_n, 2);
    expect_success(&f->ended[4], "again");
}

static void any_signal_and_any_exit_status_are_told(void **state)
{
    static const struct {
        const char *how;
        bool by_signal;
        int status;
    } ways[] = {{"segv", true, SIGSEGV}, {"exit 0", false, 0}, {"exit 7", false, 7}};
    struct fixture *f = *state;

    for (uint32_t i = 0; i < 3; i++) {
        if (i > 0) {
            slot_pool_start(f->pool, 0, now_ms());
            wait_for(f, &f->ready[0], i + 1);
        }
        feed(f, i, "crash", ways[i].how);
        wait_for(f, &f->exited_n, i + 1);
        assert_int_equal(f->by_signal, ways[i].by_signal);
        assert_int_equal(f->status, ways[i].status);
        assert_false(f->ended[i].seen);
    }
    assert_int_equal(f->not_started_n, 0);
}

static void wait_until_started(struct fixture *f, uint32_t handle)
{
    uint64_t give_up = now_ms() + GIVE_UP_MS;

    while (f->started_handle != handle) {
        assert_true(now_ms() < give_up);
        slot_pool_look(f->pool, now_ms());
        take_events(f);
        (void)poll(NULL, 0, 1);
    }
}

static void a_slot_that_loops_for_ever_is_killed_at_once(void **state)
{
    static const char *const names[] = {"spin", "deaf"};
    struct fixture *f = *state;

    for (uint32_t i = 0; i < 2; i++) {
        uint64_t killed_ms;

        feed(f, 2 * i, names[i], "");
        feed(f, 2 * i + 1, "echo", "");
        wait_until_started(f, 2 * i);
        killed_ms = now_ms();
        slot_pool_kill(f->pool, 0, WORKER_KILL_TIMEOUT, killed_ms);
        wait_for(f, &f->exited_n, i + 1);
        assert_true(now_ms() - killed_ms <= 100ull * DTQ_SLOWNESS);
        assert_true(f->by_signal);
        assert_int_equal(f->status, SIGKILL);
        assert_int_equal(f->not_started_n, i + 1);
        assert_int_equal(f->not_started[i], 2 * i + 1);
        slot_pool_start(f->pool, 0, now_ms());
        wait_for(f, &f->ready[0], i + 2);
    }
    assert_int_equal(f->ended_n, 0);
}

static void a_handler_is_told_to_stop_before_it_is_killed(void **state)
{
    struct fixture *f = *state;

    feed(f, 0, "sleep", "100000");
    feed(f, 1, "echo", "");
    wait_until_started(f, 0);
    slot_pool_kill(f->pool, 0, WORKER_KILL_STOP, now_ms());
    wait_for(f, &f->exited_n, 1);
    expect_failure(&f->ended[0], DTQ_REASON_ERROR, 1, "cancelled");
    assert_false(f->by_signal); /* it ended by itself, and took no further task */
    assert_int_equal(f->status, 0);
    assert_int_equal(f->not_started_n, 1);
}

static void a_handler_that_does_not_listen_is_killed_all_the_same(void **state)
{
    struct fixture *f = *state;

    feed(f, 0, "spin", "");
    wait_until_started(f, 0);
    slot_pool_kill(f->pool, 0, WORKER_KILL_STOP, now_ms());
    wait_for(f, &f->exited_n, 1);
    assert_true(f->by_signal);
    assert_int_equal(f->ended_n, 0);
}

static void a_command_is_told_to_stop_before_it_is_killed(void **state)
{
    struct fixture *f = *state;
    struct scratch s;
    struct stat st;
    uint64_t give_up = now_ms() + GIVE_UP_MS;

    scratch_make(&s);
    feed(f, 0, "polite", s.path);
    while (stat(s.path, &st) != 0) {
        assert_true(now_ms() < give_up);
        (void)poll(NULL, 0, 1);
    }
    slot_pool_kill(f->pool, 0, WORKER_KILL_STOP, now_ms());
    wait_for(f, &f->exited_n, 1);
    expect_failure(&f->ended[0], DTQ_REASON_EXIT, 9, "bye");
    scratch_drop(&s);
}

static void all_that_a_slot_started_dies_with_it(void **state)
{
    struct fixture *f = *state;
    struct scratch s;
    int ids[2];

    scratch_make(&s);
    feed(f, 0, "fork", s.path);
    scratch_read(f, &s, ids, 2);
    assert_true(is_alive(ids[0]));
    assert_true(is_alive(ids[1]));
    slot_pool_kill(f->pool, 0, WORKER_KILL_TIMEOUT, now_ms());
    wait_for(f, &f->exited_n, 1);
    assert_false(is_alive(ids[0]));
    assert_false(is_alive(ids[1]));
    scratch_drop(&s);
}

/* A command has a process group of its own: killing the slot's is not enough. */
static void all_that_a_command_started_dies_with_its_slot(void **state)
{
    struct fixture *f = *state;
    struct scratch s;
    int ids[2];

    scratch_make(&s);
    feed(f, 0, "long", s.path);
    scratch_read(f, &s, ids, 2);
    assert_true(is_alive(ids[0]));
    slot_pool_kill(f->pool, 0, WORKER_KILL_TIMEOUT, now_ms());
    wait_for(f, &f->exited_n, 1);
    assert_false(is_alive(ids[0]));
    assert_false(is_alive(ids[1]));
    assert_int_equal(f->ended_n, 0);
    scratch_drop(&s);
}

static void what_a_handler_leaves_behind_lives_as_long_as_its_slot(void **state)
{
    struct fixture *f = *state;
    int ids[2] = {0};

    assert_int_equal(read_numbers(run(f, "fork", "")->body, ids, 2), 2);
    assert_true(is_alive(ids[1]));
    slot_pool_retire(f->pool, 0);
    wait_for(f, &f->exited_n, 1);
    assert_false(f->by_signal);
    assert_int_equal(f->status, 0);
    assert_false(is_alive(ids[0]));
    assert_false(is_alive(ids[1]));
}

static void a_handler_that_closes_everything_loses_no_result(void **state)
{
    struct fixture *f = *state;

    feed(f, 0, "close", "");
    feed(f, 1, "echo", "next");
    wait_for(f, &f->exited_n, 1); /* it cannot be woken any more: replaced */
    expect_success(&f->ended[0], "closed");
    assert_true(f->ended[1].seen || f->not_started_n == 1);
}

static void a_slot_that_scribbles_over_the_shared_memory_is_killed(void **state)
{
    struct fixture *f = *state;
    uint64_t give_up = now_ms() + GIVE_UP_MS;

    feed(f, 0, "echo", "before");
    wait_for(f, &f->ended_n, 1);
    feed(f, 1, "scribble", "");
    feed(f, 2, "echo", "");
    while (f->exited_n == 0) {
        assert_true(now_ms() < give_up);
        slot_pool_look(f->pool, now_ms());
        take_events(f);
        (void)poll(NULL, 0, 1);
    }
    assert_int_equal(f->ended_n, 1);
    assert_int_equal(f->not_started_n, 1); /* task 1 counts as running */
    assert_int_equal(f->not_started[0], 2);
}

/* ---------------------------------------------------------------- taking back, room */

static void what_has_not_started_is_taken_back(void **state)
{
    struct fixture *f = *state;

    feed(f, 0, "sleep", "300");
    for (uint32_t i = 1; i < 6; i++)
        feed(f, i, "echo", "");
    wait_until_started(f, 0);
    slot_pool_take_back(f->pool, 0);
    wait_for(f, &f->returned_n, 1);
    assert_int_equal(f->returned_handles, 5);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(f->returned[i], i + 1);
    slot_pool_take_back(f->pool, 0); /* each is answered, also with nothing */
    wait_for(f, &f->returned_n, 2);
    assert_int_equal(f->returned_handles, 5);
    wait_for(f, &f->ended_n, 1);
    expect_success(&f->ended[0], "");
}

static void the_start_of_a_task_is_told_when_it_is_looked_for(void **state)
{
    struct fixture *f = *state;
    uint64_t before = now_ms();

    feed(f, 0, "echo", "");
    feed(f, 1, "sleep", "300");
    feed(f, 2, "echo", "");
    wait_until_started(f, 1);
    assert_true(f->started_ms >= before);
    assert_true(f->started_ms <= now_ms());
    wait_for(f, &f->ended_n, 3);
}

static void no_result_is_read_while_there_is_no_room(void **state)
{
    struct fixture *f = *state;
    struct pollfd p = {.fd = slot_pool_fd(f->pool), .events = POLLIN};

    f->room = 0;
    feed(f, 0, "echo", "kept");
    assert_int_equal(poll(&p, 1, GIVE_UP_MS), 1);
    take_events(f);
    take_events(f);
    assert_int_equal(f->ended_n, 0);
    f->room = 1;
    take_events(f);
    assert_int_equal(f->ended_n, 1);
    expect_success(&f->ended[0], "kept");
    f->room = 0;
    feed(f, 1, "echo", "kept");
    feed(f, 2, "crash", "");
    wait_for(f, &f->exited_n, 1); /* before that everything is handed over */
    expect_success(&f->ended[1], "kept");
}

static void what_does_not_fit_comes_back_at_once(void **state)
{
    struct fixture *f = *state;

    feed(f, 0, "sleep", "100");
    for (uint32_t i = 1; i < RING_TASKS + 10; i++)
        feed(f, i, "noop", "");
    wait_for(f, &f->full_handles, 10);
    wait_for(f, &f->ended_n, RING_TASKS);
    assert_int_equal(f->full_handles, 10);
}

/* ---------------------------------------------------------------- commands */

static void a_command_gets_the_payload_and_gives_the_result(void **state)
{
    struct fixture *f = *state;

    expect_success(run(f, "upper", "abc"), "ABC");
    expect_success(run(f, "upper", ""), "");
    expect_success(run(f, "sh", "echo a; exit 0"), "a\n");
}

static void a_command_knows_its_task(void **state)
{
    struct fixture *f = *state;
    char wall[32];

    expect_success(run(f, "env", ""), "11111111-1111-1111-1111-111111111111 env 1 q1 none\n");
    snprintf(wall, sizeof wall, "%llu", (unsigned long long)clock_ms(CLOCK_REALTIME) + 3600000);
    feed_limit(f, 1, "env", "", 0, 3600000);
    wait_for(f, &f->ended_n, 2);
    wall[8] = 0; /* to the day */
    assert_non_null(strstr(f->ended[1].body, wall));
}

static void a_command_that_fails_says_so_by_status_and_standard_error(void **state)
{
    struct fixture *f = *state;

    expect_failure(run(f, "three", ""), DTQ_REASON_EXIT, 3, "first\nlast");
    expect_failure(run(f, "temporary", ""), DTQ_REASON_EXIT, 75, "try again");
    expect_failure(run(f, "term", ""), DTQ_REASON_SIGNAL, SIGTERM, "SIGTERM");
    expect_failure(run(f, "sh", "exit 1"), DTQ_REASON_EXIT, 1, "exit 1");
}

static void only_the_end_of_a_long_standard_error_is_kept(void **state)
{
    struct fixture *f = *state;
    const struct ended *e =
        run(f, "sh", "i=0; while [ $i -lt 5000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1");

    expect_failure(e, DTQ_REASON_EXIT, 1, "line 4999");
    assert_true(e->bytes <= DTQI_TEXT_BYTES_MAX);
    assert_memory_equal(e->body, "line ", 5); /* from the begin of a line */
}

static void a_command_need_not_read_its_payload(void **state)
{
    struct fixture *f = *state;
    char *body = large_body(DTQI_TASK_BYTES_MAX);

    feed_limit(f, 0, "true", body, DTQI_TASK_BYTES_MAX, 0);
    wait_for(f, &f->ended_n, 1);
    expect_success(&f->ended[0], "");
    free(body);
}

static void a_command_may_close_its_output_early(void **state)
{
    expect_failure(run(*state, "quiet", "x"), DTQ_REASON_EXIT, 4, "exit 4");
}

static void a_command_that_writes_too_much_is_killed(void **state)
{
    struct fixture *f = *state;

    expect_failure(run(f, "yes", ""), DTQ_REASON_RESULT_TOO_LARGE, 0, "4194304 bytes");
    expect_success(run(f, "upper", "abc"), "ABC"); /* the slot lives on */
    assert_int_equal(f->exited_n, 0);
}

static void what_a_command_leaves_in_its_group_ends_with_it(void **state)
{
    struct fixture *f = *state;
    int pid = (int)strtol(run(f, "late", "")->body, NULL,
                          10); /* it does not wait for the background process */
    uint64_t give_up = now_ms() + GIVE_UP_MS;

    assert_true(pid > 0);
    while (is_alive(pid)) { /* or killed, and not yet reaped by the slot between two tasks */
        assert_true(now_ms() < give_up);
        (void)run(f, "noop", "");
    }
}

static void a_command_that_vanished_fails_its_tasks(void **state)
{
    struct scratch s;
    char definition[128];
    const char *gone[1] = {definition};
    struct fixture *f;

    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); /* it turns vfork into fork, so that the cause does not reach the slot */
#endif
    scratch_make(&s);
    assert_int_equal(symlink("/bin/cat", s.path), 0);
    snprintf(definition, sizeof definition, "gone=%s", s.path);
    f = make(NULL, 0, gone, 1);
    slot_pool_start(f->pool, 0, now_ms());
    wait_for(f, &f->ready[0], 1);
    expect_success(run(f, "gone", "x"), "x");
    assert_int_equal(unlink(s.path), 0);
    expect_failure(run(f, "gone", "x"), DTQ_REASON_ERROR, ENOENT, "cannot be started");
    done(f);
    scratch_drop(&s);
}

/* ---------------------------------------------------------------- starting */

static void expect_broken(const char *module, const char *text)
{
    struct fixture *f = make(&module, 1, NULL, 0);

    slot_pool_start(f->pool, 0, now_ms());
    wait_for(f, &f->exited_n, 1);
    assert_int_equal(f->broken, 1);
    if (strstr(f->broken_text, text) == NULL || strstr(f->broken_text, module) == NULL)
        fail_msg("\"%s\" and the module are not in \"%s\"", text, f->broken_text);
    done(f);
}

static void a_slot_that_cannot_load_its_module_says_why(void **state)
{
    (void)state;
    expect_broken("/no/such/module.so", "No such file");
    expect_broken(BAD_MODULE "1.so", "built for handler ABI");
    expect_broken(BAD_MODULE "3.so", "already");
    expect_broken(BAD_MODULE "5.so", "killed by SIGABRT while it started");
}

static void a_slot_that_is_killed_while_it_starts_is_not_broken(void **state)
{
    const char *module = BAD_MODULE "10.so";
    struct fixture *f = make(&module, 1, NULL, 0);

    (void)state;
    slot_pool_start(f->pool, 0, now_ms());
    wait_for(f, &f->exited_n, 1);
    assert_true(f->by_signal);
    assert_int_equal(f->broken, 0);
    done(f);
}

static void a_program_that_cannot_be_started_is_told(void **state)
{
    struct fixture *f = make(modules, 1, NULL, 0);

    (void)state;
    slot_pool_close(f->pool);
    f->cfg.program = "/no/such/program";
    assert_int_equal(slot_pool_open(&f->cfg, &f->pool), DTQ_OK);
    slot_pool_start(f->pool, 0, now_ms());
    wait_for(f, &f->exited_n, 1);
    assert_string_equal(f->broken_text, "a slot cannot be started: No such file or directory");
    done(f);
}

static void a_slot_can_be_killed_and_asked_anything_while_it_starts(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 0; i < 20; i++) {
        slot_pool_start(f->pool, 1, now_ms());
        slot_pool_feed(f->pool, 1, &(struct worker_feed){.handle = i, .name = dtqi_str("echo")}, 1);
        if (i % 2 == 0)
            slot_pool_take_back(f->pool, 1);
        slot_pool_kill(f->pool, 1, i % 4 < 2 ? WORKER_KILL_STOP : WORKER_KILL_HUNG, now_ms());
        wait_for(f, &f->exited_n, i + 1);
        /* On a busy machine a slot may have started it before it was killed. */
        assert_int_equal(f->not_started_n + f->returned_handles + f->ended_n, i + 1);
    }
    assert_true(f->broken <= 10); /* being stopped is no failure to start */
}

/* ---------------------------------------------------------------- the parent's death */

/* Runs in a process of its own: slots with a command that runs, until it is killed. */
static void hold_slots(const char *path)
{
    struct fixture *f = make(modules, 2, execs, sizeof execs / sizeof *execs);
    struct worker_feed spin = {.handle = 1, .name = dtqi_str("deaf")};

    slot_pool_start(f->pool, 0, now_ms());
    slot_pool_start(f->pool, 1, now_ms());
    wait_for(f, &f->ready[0], 1);
    wait_for(f, &f->ready[1], 1);
    feed(f, 0, "long", path);
    slot_pool_feed(f->pool, 1, &spin, 1);
    for (;;) {
        take_events(f);
        (void)poll(NULL, 0, 10);
    }
}

static bool is_keeper(int pid)
{
    static const char begin[] = "dtq-worker\0--keeper";
    char path[64];
    char text[sizeof begin] = "";
    FILE *f;

    (void)snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
    f = fopen(path, "re");
    if (f == NULL)
        return false;
    (void)!fread(text, 1, sizeof text, f);
    fclose(f);
    return memcmp(text, begin, sizeof begin) == 0;
}

static int find_keeper(void)
{
    FILE *children = fopen("/proc/thread-self/children", "re");
    int keeper = 0;
    int pid;

    assert_non_null(children);
    while (keeper == 0 && fscanf(children, "%d", &pid) == 1) // NOLINT(cert-err34-c): the kernel's
        if (is_keeper(pid))
            keeper = pid;
    fclose(children);
    return keeper;
}

/* Just after its start it has no arguments yet. */
static int wait_keeper(void)
{
    uint64_t give_up = now_ms() + GIVE_UP_MS;
    int keeper = find_keeper();

    while (keeper == 0) {
        if (now_ms() >= give_up)
            fail_msg("there is no keeper");
        keeper = find_keeper();
    }
    return keeper;
}

static void a_keeper_that_was_killed_is_replaced_while_slots_live_on(void **state)
{
    struct fixture *f = *state;
    int keeper = wait_keeper();
    siginfo_t info;

    kill(keeper, SIGKILL);
    assert_int_equal(waitid(P_PID, (id_t)keeper, &info, WEXITED | WNOWAIT), 0);
    slot_pool_look(f->pool, now_ms() + 60000);
    assert_int_equal(waitpid(keeper, NULL, WNOHANG), -1); /* no zombie */
    (void)wait_keeper();
    assert_int_equal(f->exited_n, 0);
}

/* All our descendants: as their reaper we get each of them in the end. */
static void slots_and_commands_die_with_a_killed_parent(void **state)
{
    struct scratch s;
    pid_t parent;
    int ids[2];
    uint32_t killed = 0;
    uint32_t ours = 0;
    uint32_t keepers = 0;

    (void)state;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    scratch_make(&s);
    parent = fork();
    assert_true(parent >= 0);
    if (parent == 0) {
        hold_slots(s.path);
        _exit(1);
    }
    scratch_read(NULL, &s, ids, 2);
    assert_true(is_alive(ids[1]));
    kill(parent, SIGKILL);
    for (int left = 6; left > 0; left--) { /* parent, keeper, two slots, the command, its child */
        int status;
        pid_t pid = waitpid(-1, &status, 0);

        assert_true(pid > 0);
        killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        ours += pid == ids[0] || pid == ids[1] || pid == parent;
        keepers += WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    assert_int_equal(killed, 5);
    assert_int_equal(ours, 3);
    assert_int_equal(keepers, 1);
    scratch_drop(&s);
}

#define with_slot(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_slot(a_task_is_run_and_its_result_comes_back),
        with_slot(many_tasks_are_run_each_once),
        with_slot(the_largest_payload_and_result_pass_through_modules_and_commands),
        with_slot(an_unknown_task_fails_and_is_told_what_there_is),
        with_slot(a_handler_says_why_it_fails_and_whether_to_try_again),
        with_slot(a_handler_can_ask_about_its_task),
        with_slot(a_result_over_the_limit_fails_the_task_unless_a_smaller_one_follows),
        with_slot(what_a_handler_prints_goes_to_standard_error),
        with_slot(a_crash_costs_its_task_and_names_what_had_not_started),
        with_slot(any_signal_and_any_exit_status_are_told),
        with_slot(a_slot_that_loops_for_ever_is_killed_at_once),
        with_slot(a_handler_is_told_to_stop_before_it_is_killed),
        with_slot(a_handler_that_does_not_listen_is_killed_all_the_same),
        with_slot(a_command_is_told_to_stop_before_it_is_killed),
        with_slot(all_that_a_slot_started_dies_with_it),
        with_slot(all_that_a_command_started_dies_with_its_slot),
        with_slot(what_a_handler_leaves_behind_lives_as_long_as_its_slot),
        with_slot(a_handler_that_closes_everything_loses_no_result),
        with_slot(a_slot_that_scribbles_over_the_shared_memory_is_killed),
        with_slot(what_has_not_started_is_taken_back),
        with_slot(the_start_of_a_task_is_told_when_it_is_looked_for),
        with_slot(no_result_is_read_while_there_is_no_room),
        with_slot(what_does_not_fit_comes_back_at_once),
        with_slot(a_command_gets_the_payload_and_gives_the_result),
        with_slot(a_command_knows_its_task),
        with_slot(a_command_that_fails_says_so_by_status_and_standard_error),
        with_slot(only_the_end_of_a_long_standard_error_is_kept),
        with_slot(a_command_need_not_read_its_payload),
        with_slot(a_command_may_close_its_output_early),
        with_slot(a_command_that_writes_too_much_is_killed),
        with_slot(what_a_command_leaves_in_its_group_ends_with_it),
        cmocka_unit_test(a_command_that_vanished_fails_its_tasks),
        cmocka_unit_test(a_slot_that_cannot_load_its_module_says_why),
        cmocka_unit_test(a_slot_that_is_killed_while_it_starts_is_not_broken),
        cmocka_unit_test(a_program_that_cannot_be_started_is_told),
        with_slot(a_slot_can_be_killed_and_asked_anything_while_it_starts),
        with_slot(a_keeper_that_was_killed_is_replaced_while_slots_live_on),
        cmocka_unit_test(slots_and_commands_die_with_a_killed_parent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
