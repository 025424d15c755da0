/* common/work: items go to a thread and come back, in order, and nobody waits for it. */
#include "work.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define ITEMS 20000

/* The thread stands at the gate until the test opens it. */
struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool open;
    bool somebody_waits;
    size_t groups;
    size_t largest;
    size_t ends;
    pthread_t run_by;
    pthread_t ended_by;
};

static void pass(struct gate *g)
{
    pthread_mutex_lock(&g->mutex);
    g->somebody_waits = true;
    pthread_cond_broadcast(&g->changed);
    while (!g->open)
        pthread_cond_wait(&g->changed, &g->mutex);
    pthread_mutex_unlock(&g->mutex);
}

static void await_somebody(struct gate *g)
{
    pthread_mutex_lock(&g->mutex);
    while (!g->somebody_waits)
        pthread_cond_wait(&g->changed, &g->mutex);
    pthread_mutex_unlock(&g->mutex);
}

static void open_gate(struct gate *g)
{
    pthread_mutex_lock(&g->mutex);
    g->open = true;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->mutex);
}

static void run(void *arg, struct work_item *items, size_t n)
{
    struct gate *g = arg;

    if (n == 0) {
        g->ends++;
        g->ended_by = pthread_self();
        return;
    }
    pass(g);
    g->groups++;
    g->run_by = pthread_self();
    if (n > g->largest)
        g->largest = n;
    for (size_t i = 0; i < n; i++)
        *(uint32_t *)items[i].at += items[i].kind;
}

#define GATE(is_open)                                                                              \
    {                                                                                              \
        .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .open = (is_open) \
    }

static bool is_readable(int fd, int timeout_ms)
{
    struct pollfd item = {.fd = fd, .events = POLLIN};

    return poll(&item, 1, timeout_ms) == 1;
}

static void items_come_back_in_order_with_their_results(void **state)
{
    static uint32_t values[ITEMS];
    struct gate gate = GATE(true);
    struct work *work;
    struct work_item item;
    uint32_t popped = 0;

    (void)state;
    assert_int_equal(work_start("test", run, &gate, 7, &work), DTQ_OK);
    for (uint32_t i = 0; i < ITEMS; i++) {
        values[i] = i;
        assert_int_equal(work_push(work, (struct work_item){&values[i], 3}), DTQ_OK);
        while (i % 3 == 0 && work_pop(work, &item))
            assert_ptr_equal(item.at, &values[popped++]);
    }
    while (popped < ITEMS) {
        assert_true(is_readable(work_fd(work), 10000));
        while (work_pop(work, &item)) {
            assert_ptr_equal(item.at, &values[popped]);
            assert_int_equal(values[popped], popped + 3);
            popped++;
        }
    }
    assert_int_equal(work_pending(work), 0);
    assert_false(is_readable(work_fd(work), 0));
    work_stop(work);
    work_free(work);
    assert_true(gate.largest <= 7);
}

/* Group commit: what came while one group was being worked on is the next. */
static void what_waits_becomes_one_group(void **state)
{
    struct gate gate = GATE(false);
    uint32_t values[100] = {0};
    struct work *work;
    struct work_item item;

    (void)state;
    assert_int_equal(work_start("test", run, &gate, 1000, &work), DTQ_OK);
    assert_int_equal(work_push(work, (struct work_item){&values[0], 1}), DTQ_OK);
    await_somebody(&gate); /* the first is a group of one */
    for (int i = 1; i < 100; i++)
        assert_int_equal(work_push(work, (struct work_item){&values[i], 1}), DTQ_OK);
    assert_false(work_pop(work, &item));
    assert_false(is_readable(work_fd(work), 0));
    assert_int_equal(work_pending(work), 100);
    open_gate(&gate);
    work_stop(work);
    assert_int_equal(gate.groups, 2);
    assert_int_equal(gate.largest, 99);
    for (int i = 0; i < 100; i++)
        assert_true(work_pop(work, &item));
    assert_false(work_pop(work, &item));
    work_free(work);
}

static void stopping_works_everything_off(void **state)
{
    struct gate gate = GATE(true);
    uint32_t value = 0;
    struct work *work;

    (void)state;
    assert_int_equal(work_start("a name that is too long", run, &gate, 1, &work), DTQ_OK);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(work_push(work, (struct work_item){&value, 1}), DTQ_OK);
    work_stop(work);
    assert_int_equal(value, 1000);
    assert_int_equal(gate.ends, 1);
    assert_true(pthread_equal(gate.ended_by, gate.run_by));
    assert_int_equal(work_pending(work), 1000);
    work_stop(work); /* nothing more to do */
    work_free(work);
    work_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_back_in_order_with_their_results),
        cmocka_unit_test(what_waits_becomes_one_group),
        cmocka_unit_test(stopping_works_everything_off),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
