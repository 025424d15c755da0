/*
 * Each allocation of the store, the journal and the result store fails once (LMDB's own are not
 * touched): what was asked for is refused as out of memory, and the same again goes through.
 */
#include "alloc_fail.h"
#include "work.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#define STEPS 5u
#define SEED 3u

struct world {
    const struct disk_kind *kind;
    char dir[64];
    struct disk_model model;
    struct store *store;
    struct disk_work *work;
};

static int new_world(void **state, const struct disk_kind *kind)
{
    struct world *w = calloc(1, sizeof *w);

    w->kind = kind;
    (void)snprintf(w->dir, sizeof w->dir, "%s/dtq-memory-test-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(w->dir));
    disk_model_make(&w->model, kind, SEED, STEPS);
    *state = w;
    return 0;
}

static int with_journal(void **state)
{
    return new_world(state, &disk_journal);
}

static int with_results(void **state)
{
    return new_world(state, &disk_results);
}

static void remove_files(const struct world *w)
{
    static const char *const names[] = {"data.mdb", "lock.mdb", "dtq.lock", "dtq.store"};
    char path[128];

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", w->dir, names[i]);
        (void)unlink(path);
    }
}

static int end_world(void **state)
{
    struct world *w = *state;

    alloc_fail_arm(false);
    w->kind->close(w->work);
    store_close(w->store);
    remove_files(w);
    (void)rmdir(w->dir);
    free(w);
    return 0;
}

static dtq_err open_both(struct world *w)
{
    struct store_cfg cfg = {.dir = w->dir, .map_bytes_max = 64ull * 1024 * 1024};
    char why[512] = "";
    dtq_err err;

    w->kind->store_cfg(&cfg);
    err = w->store == NULL ? store_open(&cfg, &w->store, why, sizeof why) : DTQ_OK;
    if (err == DTQ_OK)
        w->work = w->kind->open(w->store, why, sizeof why);
    if (err == DTQ_OK && w->work == NULL)
        err = DTQ_ENOMEM;
    if (err != DTQ_OK && why[0] != '\0' && strstr(why, "memory") == NULL)
        fail_msg("not for want of memory: %s", why);
    return err;
}

/* One allocation fails, so the second try goes through. */
static void expect_after_one_failure(dtq_err first, dtq_err second)
{
    assert_int_equal(first, DTQ_ENOMEM);
    assert_true(alloc_failed());
    assert_int_equal(second, DTQ_OK);
}

static void close_both(struct world *w)
{
    w->kind->close(w->work);
    store_close(w->store);
    w->work = NULL;
    w->store = NULL;
}

static bool scenario(struct world *w, unsigned long n)
{
    dtq_err err;

    remove_files(w);
    alloc_fail_at(n);
    alloc_fail_arm(true);
    err = open_both(w);
    if (err != DTQ_OK)
        expect_after_one_failure(err, open_both(w));
    for (unsigned i = 0; i < STEPS; i++) {
        err = w->kind->step(w->work, SEED, i);
        if (err != DTQ_OK)
            expect_after_one_failure(err, w->kind->step(w->work, SEED, i));
    }
    alloc_fail_arm(false);
    assert_int_equal(w->kind->view(w->work), w->model.view);
    close_both(w);
    return alloc_failed();
}

/* What is there is not taken for damaged. */
static bool new_start(struct world *w, unsigned long n)
{
    dtq_err err;

    alloc_fail_at(n);
    alloc_fail_arm(true);
    err = open_both(w);
    if (err != DTQ_OK)
        expect_after_one_failure(err, open_both(w));
    alloc_fail_arm(false);
    assert_int_equal(w->kind->view(w->work), w->model.view);
    close_both(w);
    return alloc_failed();
}

static void any_allocation_may_fail(void **state)
{
    struct world *w = *state;
    unsigned long n = 1;

    while (scenario(w, n))
        n++;
    print_message("%lu allocations\n", n - 1);
    assert_true(n > 15);
}

static void any_allocation_of_a_new_start_may_fail(void **state)
{
    struct world *w = *state;
    unsigned long n = 1;

    assert_false(scenario(w, 0));
    while (new_start(w, n))
        n++;
    print_message("%lu allocations\n", n - 1);
    assert_true(n > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"journal: any_allocation_may_fail", any_allocation_may_fail, with_journal, end_world,
         NULL},
        {"results: any_allocation_may_fail", any_allocation_may_fail, with_results, end_world,
         NULL},
        {"journal: any_allocation_of_a_new_start_may_fail", any_allocation_of_a_new_start_may_fail,
         with_journal, end_world, NULL},
        {"results: any_allocation_of_a_new_start_may_fail", any_allocation_of_a_new_start_may_fail,
         with_results, end_world, NULL},
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
