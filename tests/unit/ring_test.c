#include "ring.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SMALL_BYTES 8192u

struct pair {
    struct ring ring;
    struct ring_slot slot;
};

static void slot_open(const struct ring *ring, struct ring_slot *ret_slot)
{
    assert_int_equal(ring_slot_open(dup(ring->memory_fd), dup(ring->wake_slot_fd),
                                    dup(ring->wake_parent_fd), ret_slot),
                     DTQ_OK);
}

static void pair_open(struct pair *p, uint32_t bytes)
{
    assert_int_equal(ring_open(bytes, bytes, &p->ring), DTQ_OK);
    slot_open(&p->ring, &p->slot);
}

static void pair_close(struct pair *p)
{
    ring_slot_close(&p->slot);
    ring_close(&p->ring);
}

/* A body whose every byte follows from its number and length. */
static void fill(unsigned char *at, uint32_t bytes, uint32_t number)
{
    for (uint32_t i = 0; i < bytes; i++)
        at[i] = (unsigned char)(number * 31 + i * 7);
}

static bool is_filled(const void *at, uint32_t bytes, uint32_t number)
{
    const unsigned char *b = at;

    for (uint32_t i = 0; i < bytes; i++)
        if (b[i] != (unsigned char)(number * 31 + i * 7))
            return false;
    return true;
}

static struct ring_task task_of(uint32_t number, const void *body, uint32_t bytes)
{
    struct ring_task t = {
        .attempt = number,
        .name = dtqi_str("a.task"),
        .queue = dtqi_str("default"),
        .body = {body, bytes},
    };

    memcpy(t.id.bytes, &number, sizeof number);
    return t;
}

static uint32_t append(struct ring *ring, uint32_t number, uint32_t bytes)
{
    static unsigned char body[SMALL_BYTES];
    struct ring_task t = task_of(number, body, bytes);

    fill(body, bytes, number);
    return ring_append(ring, &t);
}

/* The slot runs its next task: its outcome is the body, and the task's number as code. */
static bool run_one(struct ring_slot *slot)
{
    struct ring_task t;
    struct ring_outcome o = {.started_ns = 1, .ended_ns = 2};
    void *at;

    if (!ring_slot_take(slot, &t))
        return false;
    ring_slot_begin(slot, 1);
    assert_true(is_filled(t.body.at, t.body.len, t.attempt));
    at = ring_slot_reserve(slot, t.body.len);
    assert_non_null(at);
    memcpy(at, t.body.at, t.body.len);
    o.code = (int32_t)t.attempt;
    o.body.len = t.body.len;
    ring_slot_finish(slot, &o);
    return true;
}

/* Collect the oldest outcome: it must be of task `number`. */
static void expect_outcome(struct ring *ring, uint32_t number)
{
    struct ring_outcome o;

    assert_true(ring_peek(ring, &o));
    assert_int_equal(o.code, number);
    assert_true(is_filled(o.body.at, o.body.len, number));
    ring_release(ring);
    ring_released(ring);
}

static bool is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) == 1;
}

static uint64_t eventfd_value(int fd)
{
    uint64_t count = 0;

    if (is_readable(fd))
        assert_int_equal(read(fd, &count, sizeof count), sizeof count);
    return count;
}

/* ---------------------------------------------------------------- one task */

static void a_task_arrives_as_it_was_appended(void **state)
{
    struct pair p;
    struct ring_task in = task_of(7, "body", 4);
    struct ring_task out;

    (void)state;
    pair_open(&p, SMALL_BYTES);
    in.limit_ms = 1234;
    assert_int_not_equal(ring_append(&p.ring, &in), RING_NONE);
    assert_false(ring_slot_take(&p.slot, &out));
    ring_publish(&p.ring);
    assert_true(ring_slot_take(&p.slot, &out));
    assert_memory_equal(&out.id, &in.id, sizeof in.id);
    assert_int_equal(out.attempt, 7);
    assert_int_equal(out.limit_ms, 1234);
    assert_true(dtqi_str_eq(out.name, in.name));
    assert_true(dtqi_str_eq(out.queue, in.queue));
    assert_int_equal(out.body.len, 4);
    assert_string_equal(out.body.at, "body"); /* a zero byte follows */
    assert_int_equal((uintptr_t)out.body.at % 16, 0);
    assert_string_equal(out.name.at, "a.task");
    assert_false(ring_slot_take(&p.slot, &out));
    pair_close(&p);
}

static void an_outcome_arrives_as_it_was_given(void **state)
{
    struct pair p;
    struct ring_task t;
    struct ring_outcome in = {
        .reason = DTQ_REASON_ERROR,
        .code = -3,
        .no_retry = true,
        .retry_after_ms = 99,
        .started_ns = 1000,
        .ended_ns = 3000,
        .body = {NULL, 5},
    };
    struct ring_outcome out;

    (void)state;
    pair_open(&p, SMALL_BYTES);
    append(&p.ring, 1, 10);
    ring_publish(&p.ring);
    assert_true(ring_slot_take(&p.slot, &t));
    memcpy(ring_slot_reserve(&p.slot, 100), "wrong", 5);
    assert_int_equal(ring_ready(&p.ring), 0);
    ring_slot_finish(&p.slot, &in);
    assert_int_equal(ring_ready(&p.ring), 1);
    assert_true(ring_peek(&p.ring, &out));
    assert_int_equal(out.reason, DTQ_REASON_ERROR);
    assert_int_equal(out.code, -3);
    assert_true(out.no_retry);
    assert_int_equal(out.retry_after_ms, 99);
    assert_int_equal(out.started_ns, 1000);
    assert_int_equal(out.ended_ns, 3000);
    assert_int_equal(out.body.len, 5);
    assert_memory_equal(out.body.at, "wrong", 5);
    ring_release(&p.ring);
    ring_released(&p.ring);
    assert_int_equal(ring_ready(&p.ring), 0);
    assert_int_equal(ring_count(&p.ring), 0);
    pair_close(&p);
}

static void the_start_is_told_with_its_text(void **state)
{
    struct pair p;
    char text[8];

    (void)state;
    pair_open(&p, SMALL_BYTES);
    assert_int_equal(ring_start_state(&p.ring, text, sizeof text), RING_STARTING);
    ring_slot_started(&p.slot, RING_FAILED, "no such module", 14);
    assert_true(is_readable(p.ring.wake_parent_fd));
    assert_int_equal(ring_start_state(&p.ring, text, sizeof text), RING_FAILED);
    assert_string_equal(text, "no such"); /* cut */
    pair_close(&p);
}

/* ---------------------------------------------------------------- taking back */

static void what_was_taken_back_is_not_taken_and_the_rest_is(void **state)
{
    struct pair p;

    (void)state;
    pair_open(&p, SMALL_BYTES);
    for (uint32_t i = 0; i < 5; i++)
        append(&p.ring, i, 100);
    ring_publish(&p.ring);
    assert_true(run_one(&p.slot));
    assert_true(run_one(&p.slot));
    assert_int_equal(ring_take_back(&p.ring), 3);
    assert_false(run_one(&p.slot));
    append(&p.ring, 5, 100); /* over the place of task 2 */
    ring_publish(&p.ring);
    assert_true(run_one(&p.slot));
    assert_int_equal(ring_ready(&p.ring), 3);
    expect_outcome(&p.ring, 0);
    expect_outcome(&p.ring, 1);
    expect_outcome(&p.ring, 5);
    pair_close(&p);
}

static void what_the_slot_has_not_seen_yet_is_taken_back_too(void **state)
{
    struct pair p;

    (void)state;
    pair_open(&p, SMALL_BYTES);
    append(&p.ring, 0, 10);
    assert_int_equal(ring_take_back(&p.ring), 1);
    assert_false(run_one(&p.slot));
    assert_int_equal(ring_take_back(&p.ring), 0);
    pair_close(&p);
}

static void a_slot_that_took_a_task_is_seen_running_it(void **state)
{
    struct pair p;
    struct ring_task t;
    uint32_t index;
    uint64_t started_ns;

    (void)state;
    pair_open(&p, SMALL_BYTES);
    append(&p.ring, 0, 10);
    append(&p.ring, 1, 10);
    ring_publish(&p.ring);
    assert_false(ring_running(&p.ring, 500, &index, &started_ns));
    assert_true(run_one(&p.slot));
    assert_true(ring_slot_take(&p.slot, &t));
    assert_true(ring_running(&p.ring, 500, &index, &started_ns));
    assert_int_equal(index, 1);
    assert_int_equal(started_ns, 500); /* not told yet: now, not the start of the task before */
    ring_slot_begin(&p.slot, 400);
    assert_true(ring_running(&p.ring, 600, &index, &started_ns));
    assert_int_equal(started_ns, 400);
    ring_slot_begin(&p.slot, 5000); /* a lie: it was seen running before */
    assert_true(ring_running(&p.ring, 6000, &index, &started_ns));
    assert_int_equal(started_ns, 500);
    assert_int_equal(ring_ready(&p.ring), 1);
    expect_outcome(&p.ring, 0);
    assert_true(ring_died_running(&p.ring));
    pair_close(&p);
}

/* ---------------------------------------------------------------- room */

static void the_ring_is_full_at_its_number_of_tasks(void **state)
{
    struct pair p;

    (void)state;
    pair_open(&p, SMALL_BYTES);
    for (uint32_t i = 0; i < RING_TASKS; i++)
        assert_int_equal(append(&p.ring, i, 1), i);
    assert_int_equal(append(&p.ring, 0, 1), RING_NONE);
    ring_publish(&p.ring);
    assert_true(run_one(&p.slot));
    assert_int_equal(append(&p.ring, 0, 1), RING_NONE); /* until its outcome is collected */
    assert_int_equal(ring_ready(&p.ring), 1);
    expect_outcome(&p.ring, 0);
    assert_int_equal(append(&p.ring, 256, 1), 0);
    pair_close(&p);
}

static void the_largest_task_and_outcome_go_through_again_and_again(void **state)
{
    struct pair p;
    unsigned char *body = calloc(1, DTQI_TASK_BYTES_MAX);
    struct ring_task t = task_of(3, body, DTQI_TASK_BYTES_MAX);

    (void)state;
    assert_non_null(body);
    fill(body, DTQI_TASK_BYTES_MAX, 3);
    pair_open(&p, RING_TASK_BYTES_MAX);
    for (int i = 0; i < 3; i++) {
        assert_int_not_equal(ring_append(&p.ring, &t), RING_NONE);
        assert_int_equal(ring_append(&p.ring, &t), RING_NONE);
        ring_publish(&p.ring);
        assert_true(run_one(&p.slot));
        assert_int_equal(ring_ready(&p.ring), 1);
        expect_outcome(&p.ring, 3);
        ring_trim(&p.ring);
    }
    t.body.len++;
    assert_int_equal(ring_append(&p.ring, &t), RING_NONE);
    free(body);
    pair_close(&p);
}

/* Whatever came before, a quarter of the area has room, in any mix of sizes. */
static void a_quarter_of_the_area_always_has_room(void **state)
{
    struct pair p;
    uint64_t seed = 1;
    uint32_t sizes[RING_TASKS] = {0};
    uint32_t held = 0;
    uint32_t oldest = 0;
    uint32_t newest = 0;

    (void)state;
    pair_open(&p, SMALL_BYTES);
    for (int i = 0; i < 200000; i++) {
        uint32_t random = (uint32_t)dtqi_mix64(seed++);
        uint32_t bytes = random % 3 == 0 ? random / 3 % 6000 : random / 3 % 200;
        uint32_t need = (bytes + 13 + 3 + 15) & ~15u;

        if (random % 7 == 0) {
            held -= ring_take_back(&p.ring) > 0 ? sizes[--newest % RING_TASKS] : 0;
            while (newest != p.ring.tail)
                held -= sizes[--newest % RING_TASKS];
        } else if (append(&p.ring, newest, bytes) != RING_NONE) {
            held += sizes[newest++ % RING_TASKS] = need;
        } else {
            assert_true(held + need > SMALL_BYTES / 4 || newest - oldest == RING_TASKS);
            ring_publish(&p.ring);
            assert_true(run_one(&p.slot));
            assert_true(ring_ready(&p.ring) >= 1);
            expect_outcome(&p.ring, oldest);
            held -= sizes[oldest++ % RING_TASKS];
        }
        if (random % 5 == 0) {
            ring_publish(&p.ring);
            (void)run_one(&p.slot);
        }
        while (ring_ready(&p.ring) > 0) {
            expect_outcome(&p.ring, oldest);
            held -= sizes[oldest++ % RING_TASKS];
        }
        assert_false(p.ring.broken);
    }
    pair_close(&p);
}

static uint64_t memory_bytes(const struct ring *ring)
{
    struct stat st;

    assert_int_equal(fstat(ring->memory_fd, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static void *wait_for_a_task(void *slot)
{
    return ring_slot_wait(slot) ? slot : NULL;
}

/* Each side gives back its own area: the I/O process when told, the slot when it has idled. */
static void memory_that_large_tasks_used_is_given_back(void **state)
{
    struct pair p;
    unsigned char *body = calloc(1, DTQI_TASK_BYTES_MAX);
    struct ring_task t = task_of(0, body, DTQI_TASK_BYTES_MAX);
    uint64_t used;
    pthread_t slot;

    (void)state;
    assert_non_null(body);
    fill(body, DTQI_TASK_BYTES_MAX, 0);
    pair_open(&p, RING_TASK_BYTES_MAX);
    assert_int_not_equal(ring_append(&p.ring, &t), RING_NONE);
    ring_publish(&p.ring);
    assert_true(run_one(&p.slot));
    assert_int_equal(ring_ready(&p.ring), 1);
    used = memory_bytes(&p.ring);
    assert_true(used >= 2ull * DTQI_TASK_BYTES_MAX);
    ring_trim(&p.ring);
    assert_int_equal(memory_bytes(&p.ring), used); /* the task is not collected yet */
    expect_outcome(&p.ring, 0);
    ring_trim(&p.ring);
    assert_true(memory_bytes(&p.ring) <= used - DTQI_TASK_BYTES_MAX);
    assert_int_equal(pthread_create(&slot, NULL, wait_for_a_task, &p.slot), 0);
    while (memory_bytes(&p.ring) >= DTQI_TASK_BYTES_MAX) /* the test's time limit ends it */
        (void)poll(NULL, 0, 10);
    append(&p.ring, 1, 0);
    ring_publish(&p.ring);
    pthread_join(slot, NULL);
    assert_true(run_one(&p.slot));
    free(body);
    pair_close(&p);
}

static void *collect_one_when_woken(void *arg)
{
    struct pair *p = arg;
    struct pollfd wait = {.fd = p->ring.wake_parent_fd, .events = POLLIN};

    assert_int_equal(poll(&wait, 1, 60000), 1);
    assert_true(ring_ready(&p->ring) >= 1);
    expect_outcome(&p->ring, 0);
    return NULL;
}

static void a_slot_without_room_for_its_outcome_wakes_the_other_side_and_waits(void **state)
{
    struct pair p;
    struct ring_task t;
    struct ring_outcome o = {.started_ns = 1, .ended_ns = 2};
    pthread_t collector;
    unsigned char *at;

    (void)state;
    pair_open(&p, SMALL_BYTES);
    for (uint32_t i = 0; i < 8; i++)
        append(&p.ring, i, 0);
    ring_publish(&p.ring);
    assert_true(ring_slot_take(&p.slot, &t));
    at = ring_slot_reserve(&p.slot, SMALL_BYTES);
    fill(at, SMALL_BYTES, 0);
    o.body.len = SMALL_BYTES;
    ring_slot_finish(&p.slot, &o);
    assert_true(ring_slot_take(&p.slot, &t));
    assert_non_null(
        ring_slot_reserve(&p.slot, SMALL_BYTES)); /* there are two places of this size */
    ring_slot_finish(&p.slot, &o);
    assert_false(is_readable(p.ring.wake_parent_fd)); /* two of eight are no reason */
    assert_true(ring_slot_take(&p.slot, &t));
    assert_int_equal(pthread_create(&collector, NULL, collect_one_when_woken, &p), 0);
    assert_non_null(ring_slot_reserve(&p.slot, SMALL_BYTES));
    pthread_join(collector, NULL);
    pair_close(&p);
}

/* Each index of the ring comes by again and again; the piece of memory that it had before must be
 * given back by outcomes without a body, too. */
static void outcomes_without_a_body_lose_no_memory(void **state)
{
    struct ring_outcome o = {.started_ns = 1, .ended_ns = 2};
    struct ring_task t;
    struct pair p;

    (void)state;
    pair_open(&p, SMALL_BYTES);
    for (uint32_t i = 0; i < 3 * RING_TASKS; i++) {
        append(&p.ring, i, 0);
        ring_publish(&p.ring);
        assert_true(ring_slot_take(&p.slot, &t));
        alarm(30); /* a lost piece makes it wait for ever */
        if (i % (RING_TASKS + 1) == 0)
            assert_non_null(ring_slot_reserve(&p.slot, SMALL_BYTES));
        alarm(0);
        o.code = (int32_t)i;
        ring_slot_finish(&p.slot, &o);
        expect_outcome(&p.ring, i);
    }
    pair_close(&p);
}

static void more_than_the_area_is_refused_at_once(void **state)
{
    struct pair p;
    struct ring_task t;

    (void)state;
    pair_open(&p, SMALL_BYTES);
    append(&p.ring, 0, 0);
    ring_publish(&p.ring);
    assert_true(ring_slot_take(&p.slot, &t));
    assert_null(ring_slot_reserve(&p.slot, SMALL_BYTES + 1));
    assert_non_null(ring_slot_reserve(&p.slot, SMALL_BYTES));
    pair_close(&p);
}

/* ---------------------------------------------------------------- waking */

static void nobody_is_woken_who_does_not_sleep(void **state)
{
    struct pair p;

    (void)state;
    pair_open(&p, SMALL_BYTES);
    append(&p.ring, 0, 0);
    ring_publish(&p.ring); /* the slot has not said that it sleeps */
    assert_false(is_readable(p.ring.wake_slot_fd));
    assert_true(run_one(&p.slot));
    append(&p.ring, 1, 0);
    ring_publish(&p.ring);
    assert_true(run_one(&p.slot));
    /* one wake-up for both: we did not look in between */
    assert_int_equal(eventfd_value(p.ring.wake_parent_fd), 1);
    pair_close(&p);
}

static void outcomes_are_told_by_halves_and_at_a_quarter_of_the_ring(void **state)
{
    struct pair p;
    int n = 0;

    (void)state;
    pair_open(&p, SMALL_BYTES);
    for (uint32_t i = 0; i < RING_TASKS; i++)
        append(&p.ring, i, 0);
    ring_publish(&p.ring);
    while (!is_readable(p.ring.wake_parent_fd)) {
        assert_true(run_one(&p.slot));
        n++;
    }
    assert_int_equal(n, RING_TASKS / 4);
    pair_close(&p);
}

static void a_long_task_is_told_at_once(void **state)
{
    struct pair p;
    struct ring_task t;
    struct ring_outcome o = {.started_ns = 1, .ended_ns = 2 + RING_LONG_TASK_NS};

    (void)state;
    pair_open(&p, SMALL_BYTES);
    for (uint32_t i = 0; i < RING_TASKS; i++)
        append(&p.ring, i, 0);
    ring_publish(&p.ring);
    assert_true(ring_slot_take(&p.slot, &t));
    ring_slot_finish(&p.slot, &o);
    assert_true(is_readable(p.ring.wake_parent_fd));
    pair_close(&p);
}

/* Outcomes that were no reason to wake anybody must not stay when the rest was taken back. */
static void a_slot_that_runs_dry_tells_what_it_has(void **state)
{
    struct pair p;
    struct pollfd wait;
    pthread_t slot;
    void *woken;

    (void)state;
    pair_open(&p, SMALL_BYTES);
    for (uint32_t i = 0; i < 10; i++)
        append(&p.ring, i, 0);
    ring_publish(&p.ring);
    assert_true(run_one(&p.slot));
    assert_int_equal(ring_take_back(&p.ring), 9);
    assert_false(is_readable(p.ring.wake_parent_fd));
    assert_int_equal(pthread_create(&slot, NULL, wait_for_a_task, &p.slot), 0);
    wait = (struct pollfd){.fd = p.ring.wake_parent_fd, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 60000), 1);
    assert_int_equal(ring_ready(&p.ring), 1);
    append(&p.ring, 10, 0);
    ring_publish(&p.ring);
    pthread_join(slot, &woken);
    assert_non_null(woken);
    pair_close(&p);
}

static void a_slot_whose_eventfd_was_closed_notices(void **state)
{
    struct pair p;

    (void)state;
    pair_open(&p, SMALL_BYTES);
    close(p.slot.wake_slot_fd);
    assert_false(ring_slot_wait(&p.slot));
    pair_close(&p);
}

/* ---------------------------------------------------------------- hostile slots */

static void the_memory_cannot_be_shrunk(void **state)
{
    struct pair p;

    (void)state;
    pair_open(&p, SMALL_BYTES);
    assert_int_equal(ftruncate(p.ring.memory_fd, 0), -1);
    assert_int_equal(errno, EPERM);
    pair_close(&p);
}

static void a_memory_of_another_kind_is_refused(void **state)
{
    struct ring_slot slot;
    struct pair p;
    FILE *file = tmpfile();

    (void)state;
    assert_non_null(file);
    assert_int_equal(ring_slot_open(fileno(file), -1, -1, &slot), DTQ_EINVAL);
    assert_int_equal(ftruncate(fileno(file), 1 << 20), 0);
    assert_int_equal(ring_slot_open(fileno(file), -1, -1, &slot), DTQ_EINVAL);
    fclose(file);
    pair_open(&p, SMALL_BYTES);
    pair_close(&p);
}

/* All that the I/O process does with a ring; its results do not matter here. */
static void use_everything(struct ring *ring, uint32_t *number)
{
    char text[64];
    uint32_t index;
    uint64_t started_ns;
    struct ring_outcome o;

    (void)ring_start_state(ring, text, sizeof text);
    ++*number;
    (void)append(ring, *number, *number % 500);
    ring_publish(ring);
    (void)ring_running(ring, 1000, &index, &started_ns);
    for (uint32_t n = ring_ready(ring); n > 0 && ring_peek(ring, &o); n--) {
        volatile unsigned char sum = 0;

        for (uint32_t i = 0; i < o.body.len; i++)
            sum ^= ((const unsigned char *)o.body.at)[i];
        (void)sum; /* read for the sake of reading */
        ring_release(ring);
    }
    ring_released(ring);
    if (*number % 3 == 0)
        (void)ring_take_back(ring);
    (void)ring_died_running(ring);
    ring_trim(ring);
}

static void nothing_that_a_slot_scribbles_hurts_the_other_side(void **state)
{
    uint64_t seed = 42;
    uint32_t broken = 0;

    (void)state;
    for (int round = 0; round < 300; round++) {
        struct pair p;
        uint32_t number = 0;

        pair_open(&p, SMALL_BYTES);
        for (int i = 0; i < 100; i++) {
            unsigned char *at = (unsigned char *)p.slot.shared;
            uint64_t random = dtqi_mix64(seed++);
            /* half of it where the words are, half of it among the cells */
            size_t where = random % 2 == 0 ? random / 2 % 512 : random / 2 % 20000;

            memcpy(at + where, &random, 1 + random % 8);
            use_everything(&p.ring, &number);
        }
        broken += p.ring.broken;
        p.slot.shared = NULL; /* its sizes were spoiled: the mapping is left to the process's end */
        close(p.slot.wake_slot_fd);
        close(p.slot.wake_parent_fd);
        ring_close(&p.ring);
    }
    assert_true(broken > 100);
}

/* ---------------------------------------------------------------- stress */

#define STRESS_TASKS 300000u
#define STRESS_STOP UINT32_MAX

static uint32_t stress_bytes(uint32_t number)
{
    uint32_t random = (uint32_t)dtqi_mix64(number);

    return random % 64 == 0 ? random / 64 % (SMALL_BYTES / 2) : random / 64 % 100;
}

/* Runs until the task that says stop. */
static void stress_slot(struct ring_slot *slot)
{
    for (;;) {
        struct ring_task t;
        struct ring_outcome o = {.started_ns = 1, .ended_ns = 1};
        unsigned char *at;

        if (!ring_slot_take(slot, &t)) {
            if (!ring_slot_wait(slot))
                abort();
            continue;
        }
        ring_slot_begin(slot, 1);
        if (t.attempt != STRESS_STOP && !is_filled(t.body.at, t.body.len, t.attempt))
            abort();
        o.body.len = t.attempt != STRESS_STOP ? stress_bytes(t.attempt + 1) : 0;
        at = ring_slot_reserve(slot, o.body.len);
        fill(at, o.body.len, t.attempt);
        o.code = (int32_t)t.attempt;
        ring_slot_finish(slot, &o);
        if (t.attempt == STRESS_STOP)
            return;
    }
}

struct stress {
    struct ring ring;
    uint32_t handles[RING_TASKS];  /* numbers of the tasks in the ring */
    uint32_t returned[RING_TASKS]; /* taken back, to be given again */
    uint32_t returned_n;
    uint32_t next;
    uint32_t done;
    uint32_t taken_back;
    uint64_t wakes;
    unsigned char *seen;
};

static void stress_feed(struct stress *s)
{
    static unsigned char body[SMALL_BYTES];

    while (s->returned_n > 0 || s->next < STRESS_TASKS) {
        uint32_t number = s->returned_n > 0 ? s->returned[s->returned_n - 1] : s->next;
        struct ring_task t = task_of(number, body, stress_bytes(number));
        uint32_t index;

        fill(body, t.body.len, number);
        index = ring_append(&s->ring, &t);
        if (index == RING_NONE)
            break;
        s->handles[index] = number;
        if (s->returned_n > 0)
            s->returned_n--;
        else
            s->next++;
    }
    ring_publish(&s->ring);
}

static void stress_take_back(struct stress *s)
{
    uint32_t n = ring_take_back(&s->ring);

    for (uint32_t i = 0; i < n; i++)
        s->returned[s->returned_n++] = s->handles[(s->ring.tail + i) % RING_TASKS];
    s->taken_back += n;
}

static void stress_collect(struct stress *s)
{
    for (uint32_t n = ring_ready(&s->ring); n > 0; n--) {
        struct ring_outcome o;
        uint32_t number = s->handles[s->ring.collected % RING_TASKS];

        assert_true(ring_peek(&s->ring, &o));
        assert_int_equal(o.code, (int32_t)number);
        assert_int_equal(o.body.len, stress_bytes(number + 1));
        assert_true(is_filled(o.body.at, o.body.len, number));
        assert_int_equal(s->seen[number], 0);
        s->seen[number] = 1;
        s->done++;
        ring_release(&s->ring);
    }
    ring_released(&s->ring);
    assert_false(s->ring.broken);
}

static void stress_run(struct stress *s)
{
    uint32_t rounds = 0;
    struct ring_task stop = task_of(STRESS_STOP, NULL, 0);

    while (s->done < STRESS_TASKS) {
        struct pollfd wait = {.fd = s->ring.wake_parent_fd, .events = POLLIN};

        stress_feed(s);
        if (rounds++ % 4 == 3) {
            stress_take_back(s);
            stress_feed(s);
        }
        assert_int_equal(poll(&wait, 1, 60000), 1); /* a lost wake-up shows here */
        s->wakes += eventfd_value(s->ring.wake_parent_fd);
        stress_collect(s);
    }
    assert_int_not_equal(ring_append(&s->ring, &stop), RING_NONE);
    ring_publish(&s->ring);
}

static void stress_open(struct stress *s)
{
    *s = (struct stress){0};
    s->seen = calloc(STRESS_TASKS, 1);
    assert_non_null(s->seen);
    assert_int_equal(ring_open(SMALL_BYTES, SMALL_BYTES, &s->ring), DTQ_OK);
}

static void stress_close(struct stress *s)
{
    print_message("%u tasks, %u taken back, %llu wake-ups\n", s->done, s->taken_back,
                  (unsigned long long)s->wakes);
    assert_true(s->taken_back > 0);
    ring_close(&s->ring);
    free(s->seen);
}

static void *stress_thread(void *slot)
{
    stress_slot(slot);
    return NULL;
}

static void two_threads_lose_nothing_and_run_nothing_twice(void **state)
{
    struct stress s;
    struct ring_slot slot;
    pthread_t thread;

    (void)state;
    stress_open(&s);
    slot_open(&s.ring, &slot);
    assert_int_equal(pthread_create(&thread, NULL, stress_thread, &slot), 0);
    stress_run(&s);
    pthread_join(thread, NULL);
    ring_slot_close(&slot);
    stress_close(&s);
}

static void two_processes_lose_nothing_and_run_nothing_twice(void **state)
{
    struct stress s;
    int status;
    pid_t child;

    (void)state;
    stress_open(&s);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct ring_slot slot;

        if (ring_slot_open(s.ring.memory_fd, s.ring.wake_slot_fd, s.ring.wake_parent_fd, &slot) !=
            DTQ_OK)
            _exit(1);
        stress_slot(&slot);
        _exit(0);
    }
    stress_run(&s);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    stress_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_arrives_as_it_was_appended),
        cmocka_unit_test(an_outcome_arrives_as_it_was_given),
        cmocka_unit_test(the_start_is_told_with_its_text),
        cmocka_unit_test(what_was_taken_back_is_not_taken_and_the_rest_is),
        cmocka_unit_test(what_the_slot_has_not_seen_yet_is_taken_back_too),
        cmocka_unit_test(a_slot_that_took_a_task_is_seen_running_it),
        cmocka_unit_test(the_ring_is_full_at_its_number_of_tasks),
        cmocka_unit_test(the_largest_task_and_outcome_go_through_again_and_again),
        cmocka_unit_test(memory_that_large_tasks_used_is_given_back),
        cmocka_unit_test(a_quarter_of_the_area_always_has_room),
        cmocka_unit_test(a_slot_without_room_for_its_outcome_wakes_the_other_side_and_waits),
        cmocka_unit_test(outcomes_without_a_body_lose_no_memory),
        cmocka_unit_test(more_than_the_area_is_refused_at_once),
        cmocka_unit_test(nobody_is_woken_who_does_not_sleep),
        cmocka_unit_test(outcomes_are_told_by_halves_and_at_a_quarter_of_the_ring),
        cmocka_unit_test(a_long_task_is_told_at_once),
        cmocka_unit_test(a_slot_that_runs_dry_tells_what_it_has),
        cmocka_unit_test(a_slot_whose_eventfd_was_closed_notices),
        cmocka_unit_test(the_memory_cannot_be_shrunk),
        cmocka_unit_test(a_memory_of_another_kind_is_refused),
        cmocka_unit_test(nothing_that_a_slot_scribbles_hurts_the_other_side),
        cmocka_unit_test(two_threads_lose_nothing_and_run_nothing_twice),
        cmocka_unit_test(two_processes_lose_nothing_and_run_nothing_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
