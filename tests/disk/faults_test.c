/*
 * The journal and the result store on a disk that fails: a kill before every single system call of
 * a run, and in the middle of every write; a power cut at any point, which forgets some of what was
 * not flushed; errors of writes and flushes, a full disk, short and interrupted writes. Afterwards
 * the store opens, everything confirmed is there, nothing is there by halves, and it goes on.
 */
#include "shim.h"
#include "store_pages.h"
#include "work.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define STEPS 6u
#define SECTOR 512u
#define CUTS 80u

struct world {
    const struct disk_kind *kind;
    enum store_durability durability;
    char dir[64];
    struct disk_model model;
    uint64_t seed;
    unsigned *confirmed; /* shared with children: states that were confirmed */
    struct store *store;
    struct disk_work *work;
    char why[512];
};

static unsigned rounds(void)
{
    const char *factor = getenv("DTQ_DISK_ROUNDS");

    return factor != NULL ? (unsigned)strtoul(factor, NULL, 10) : 1;
}

/* ---- worlds */

static void remove_files(const char *dir)
{
    static const char *const names[] = {"data.mdb", "lock.mdb", "dtq.lock", "dtq.store", "redo"};
    char path[PATH_MAX];

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        (void)unlink(path);
    }
}

/* Memory is as good as a disk here, since the disk's part is played; and it is fast. */
static void make_dir(struct world *w)
{
    (void)snprintf(w->dir, sizeof w->dir, "%s/dtq-faults-test-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(w->dir));
}

static int new_world(void **state, const struct disk_kind *kind, uint64_t seed)
{
    struct world *w = calloc(1, sizeof *w);

    w->kind = kind;
    w->seed = seed;
    make_dir(w);
    w->confirmed =
        mmap(NULL, sizeof *w->confirmed, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(w->confirmed != MAP_FAILED);
    disk_model_make(&w->model, kind, seed, STEPS);
    *state = w;
    return 0;
}

static int with_journal(void **state)
{
    return new_world(state, &disk_journal, 11);
}

static int with_results(void **state)
{
    return new_world(state, &disk_results, 12);
}

static int end_world(void **state)
{
    struct world *w = *state;

    shim_set("", SHIM_NONE, 0);
    shim_forget();
    w->kind->close(w->work);
    store_close(w->store);
    remove_files(w->dir);
    (void)rmdir(w->dir);
    (void)munmap(w->confirmed, sizeof *w->confirmed);
    free(w);
    return 0;
}

/* ---- runs */

static dtq_err open_store(struct world *w)
{
    struct store_cfg cfg = {
        .dir = w->dir, .map_bytes_max = 64ull * 1024 * 1024, .durability = w->durability};

    w->kind->store_cfg(&cfg);
    return store_open(&cfg, &w->store, w->why, sizeof w->why);
}

static void close_run(struct world *w)
{
    w->kind->close(w->work);
    store_close(w->store);
    w->work = NULL;
    w->store = NULL;
}

/* From an empty directory: open, all steps. Each state that is confirmed is noted. */
static dtq_err run(struct world *w)
{
    dtq_err err;

    *w->confirmed = 0;
    err = open_store(w);
    if (err != DTQ_OK)
        return err;
    w->work = w->kind->open(w->store, w->why, sizeof w->why);
    if (w->work == NULL)
        return DTQ_EIO;
    *w->confirmed = 1;
    shim_mark(1);
    for (unsigned i = 0; i < w->model.steps; i++) {
        err = w->kind->step(w->work, w->seed, i);
        if (err != DTQ_OK)
            return err;
        *w->confirmed = 2 + i;
        shim_mark(2 + i);
    }
    return DTQ_OK;
}

static void check_pages(struct world *w)
{
    struct store_cfg cfg = {0};
    struct store_visitor nobody = {0};
    struct store_kind kind;
    struct store_pages *p;

    w->kind->store_cfg(&cfg);
    kind = (struct store_kind){cfg.kind, cfg.tables, cfg.tables_n};
    if (store_pages_open(w->dir, &kind, 1, &p, w->why, sizeof w->why) != DTQ_OK)
        fail_msg("%s", w->why);
    assert_int_equal(store_pages_walk(p, &nobody), DTQ_OK);
    store_pages_close(p);
}

/* Open again: which state is it? It must be the confirmed one, or the next. */
static unsigned find_state(struct world *w, unsigned confirmed_min, unsigned confirmed_max)
{
    uint32_t digest;
    unsigned state;

    if (open_store(w) != DTQ_OK)
        fail_msg("it does not open: %s", w->why);
    digest = disk_digest(w->store, w->kind);
    for (state = confirmed_min; state <= confirmed_max && state < w->model.steps + 2; state++)
        if (w->model.digests[state] == digest)
            return state;
    fail_msg("state %u or more was confirmed, and it is not there", confirmed_min);
    return 0;
}

/* What was not done is done now, and then all is as if nothing had happened. */
static void go_on(struct world *w, unsigned state)
{
    w->work = w->kind->open(w->store, w->why, sizeof w->why);
    if (w->work == NULL)
        fail_msg("%s", w->why);
    for (unsigned i = state > 0 ? state - 1 : 0; i < w->model.steps; i++)
        assert_int_equal(w->kind->step(w->work, w->seed, i), DTQ_OK);
    assert_int_equal(w->kind->view(w->work), w->model.view);
    close_run(w);
    check_pages(w);
}

/* ---- kills */

/* @return false: the run ended before. */
static bool dies(struct world *w, enum shim_fault fault, uint64_t at, bool anew)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        shim_set(w->dir, fault, at);
        if (anew)
            _exit(run(w) == DTQ_OK ? 0 : 1);
        _exit(open_store(w) == DTQ_OK && w->kind->open(w->store, w->why, sizeof w->why) != NULL
                  ? 0
                  : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

static void kill_at_every_call(struct world *w, enum shim_fault fault)
{
    uint64_t at = 1;
    unsigned state = 0;

    for (; dies(w, fault, at, true); at++) {
        state = find_state(w, *w->confirmed, *w->confirmed + 1);
        go_on(w, state);
        remove_files(w->dir);
    }
    assert_int_equal(state, w->model.steps); /* the last call makes the last commit current */
    assert_true(at > (w->durability == STORE_SYNC ? 6 : 1) * w->model.steps);
    print_message("%llu kills\n", (unsigned long long)at - 1);
}

static void a_kill_before_any_system_call_loses_nothing_confirmed(void **state)
{
    kill_at_every_call(*state, SHIM_KILL);
}

static void a_kill_in_the_middle_of_any_write_loses_nothing_confirmed(void **state)
{
    kill_at_every_call(*state, SHIM_TEAR);
}

static void with_async_durability_a_kill_loses_nothing_confirmed(void **state)
{
    struct world *w = *state;

    w->durability = STORE_ASYNC;
    kill_at_every_call(w, SHIM_KILL);
}

static void with_async_durability_a_torn_write_loses_nothing_confirmed(void **state)
{
    struct world *w = *state;

    w->durability = STORE_ASYNC;
    kill_at_every_call(w, SHIM_TEAR);
}

/* Killed in a commit, and then again and again while it starts. */
static void a_crash_loop_at_every_call_of_the_start_gets_through(void **state)
{
    struct world *w = *state;
    uint64_t calls = 0;
    unsigned found;

    assert_true(dies(w, SHIM_KILL, 30, true));
    while (dies(w, SHIM_KILL, ++calls, false)) {
        check_pages(w);
    }
    assert_true(calls > 4);
    /* The starts that got far enough changed the epoch; the work itself is as it was. */
    found = *w->confirmed > 0 ? *w->confirmed : 1;
    assert_int_equal(open_store(w), DTQ_OK);
    w->work = w->kind->open(w->store, w->why, sizeof w->why);
    assert_non_null(w->work);
    for (unsigned i = found - 1; i < w->model.steps; i++) {
        dtq_err err = w->kind->step(w->work, w->seed, i);

        assert_int_equal(err, DTQ_OK);
    }
    close_run(w);
    check_pages(w);
}

/* ---- power cuts */

#define ROOTS_BYTES 8192 /* LMDB's two roots are the first pages */

struct image {
    uint8_t *at;
    size_t bytes;
    size_t room;
};

static void size_image(struct image *m, size_t bytes)
{
    if (bytes > m->room) {
        m->at = realloc(m->at, bytes);
        if (m->at == NULL)
            fail_msg("an image of %zu bytes", bytes);
        memset(m->at + m->room, 0, bytes - m->room);
        m->room = bytes;
    }
    if (bytes < m->bytes)
        memset(m->at + bytes, 0, m->bytes - bytes);
    m->bytes = bytes;
}

static void put_bytes(struct image *m, uint64_t offset, const uint8_t *at, size_t bytes)
{
    if (offset + bytes > m->bytes)
        size_image(m, offset + bytes);
    memcpy(m->at + offset, at, bytes);
}

static void play(struct image *m, const struct shim_op *op)
{
    if (op->type == SHIM_WRITE)
        put_bytes(m, op->offset, op->at, op->bytes);
    else if (op->type == SHIM_SIZE && (!op->is_growth || op->offset > m->bytes))
        size_image(m, op->offset);
}

enum cut { CUT_NONE, CUT_ALL, CUT_SOME, CUT_TORN, CUTS_N };

/* Some sectors of a write reached the disk. */
static void play_torn(struct image *m, const struct shim_op *op, uint64_t *seed)
{
    for (size_t at = 0; at < op->bytes; at += SECTOR) {
        size_t bytes = op->bytes - at < SECTOR ? op->bytes - at : SECTOR;

        if (disk_random(seed) % 2 == 0)
            put_bytes(m, op->offset + at, op->at + at, bytes);
    }
}

/* What was written since the last flush: nothing of it reached the disk, or all, or some. */
static void play_pending(struct image *m, const struct shim_op *op, enum cut cut, uint64_t *seed)
{
    switch (cut) {
    case CUT_NONE:
    case CUTS_N: return;
    case CUT_ALL: play(m, op); return;
    case CUT_TORN:
        if (op->type == SHIM_WRITE) {
            play_torn(m, op, seed);
            return;
        }
        break;
    case CUT_SOME: break;
    }
    if (disk_random(seed) % 2 == 0)
        play(m, op);
}

struct cut_state {
    unsigned confirmed; /* by marks before the cut */
    unsigned synced;    /* states whose root was written when the last flush began */
};

/*
 * The file as a cut right before ops[n] leaves it. With `is_lying`, the disk says that it has
 * flushed, and has not.
 */
static struct cut_state make_image(struct image *m, const struct shim_op *ops, size_t n,
                                   enum cut cut, bool is_lying, uint64_t *seed)
{
    struct cut_state state = {0};
    unsigned rooted = 0; /* states that the last root holds, or more */
    bool *is_done = calloc(n + 1, sizeof *is_done);
    size_t synced = 0;

    for (size_t i = 0; i < n; i++) {
        if (ops[i].type == SHIM_MARK)
            state.confirmed = (unsigned)ops[i].offset;
        if (ops[i].type == SHIM_WRITE && ops[i].offset < ROOTS_BYTES)
            rooted = state.confirmed;
        if (ops[i].type == SHIM_SYNC && !is_lying) {
            synced = i;
            state.synced = rooted;
        }
    }
    size_image(m, 0);
    for (size_t i = 0; i < n; i++) {
        /* The last write may have been cut itself: a flush at once does not help it. */
        is_done[i] = i < synced || (ops[i].type == SHIM_WRITE && ops[i].is_durable && i + 1 < n);
        if (is_done[i])
            play(m, &ops[i]);
        else
            play_pending(m, &ops[i], cut, seed);
    }
    free(is_done);
    return state;
}

static void write_image(const struct world *w, const struct image *m)
{
    char path[PATH_MAX];
    size_t end = m->bytes;
    int fd;

    while (end > 0 && m->at[end - 1] == 0)
        end--;
    (void)snprintf(path, sizeof path, "%s/data.mdb", w->dir);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    for (size_t at = 0; at < end;) {
        ssize_t n = write(fd, m->at + at, end - at);

        assert_true(n > 0);
        at += (size_t)n;
    }
    assert_int_equal(ftruncate(fd, (off_t)m->bytes), 0);
    close(fd);
}

/* The mark of a store that was made is there from the first confirmed state on. */
static void write_mark(const struct world *w, bool is_there)
{
    char path[PATH_MAX];
    int fd;

    (void)snprintf(path, sizeof path, "%s/dtq.store", w->dir);
    (void)unlink(path);
    if (!is_there)
        return;
    fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static const struct shim_op *record(struct world *w, size_t *ret_n)
{
    shim_set(w->dir, SHIM_NONE, 0);
    shim_record("data.mdb");
    assert_int_equal(run(w), DTQ_OK);
    close_run(w);
    shim_set("", SHIM_NONE, 0);
    return shim_ops(ret_n);
}

static void cut_once(struct world *w, const struct shim_op *ops, size_t n, enum cut cut,
                     uint64_t *seed)
{
    struct image m = {0};
    struct cut_state at = make_image(&m, ops, n, cut, false, seed);
    unsigned state;

    remove_files(w->dir);
    write_image(w, &m);
    write_mark(w, at.confirmed > 0);
    free(m.at);
    state = find_state(w, w->durability == STORE_SYNC ? at.confirmed : at.synced, at.confirmed + 1);
    go_on(w, state);
}

static void cut_power(struct world *w)
{
    uint64_t seed = w->seed;
    size_t ops_n;
    const struct shim_op *ops = record(w, &ops_n);

    assert_true(ops_n > 8 * w->model.steps);
    for (unsigned i = 0; i < CUTS * rounds(); i++) {
        size_t n = i < CUTS ? i * ops_n / CUTS : disk_random(&seed) % ops_n;

        cut_once(w, ops, n, (enum cut)(disk_random(&seed) % CUTS_N), &seed);
    }
}

static void a_power_cut_at_any_point_loses_nothing_confirmed(void **state)
{
    cut_power(*state);
}

static void with_async_durability_a_power_cut_loses_only_what_was_not_flushed(void **state)
{
    struct world *w = *state;

    w->durability = STORE_ASYNC;
    cut_power(w);
}

/* Without these another start makes them anew. */
static const char *const replaceable[] = {"dtq.lock", "lock.mdb", NULL};
static const char *const replaceable_or_mark[] = {"dtq.lock", "lock.mdb", "dtq.store", NULL};

static void expect_entries_flushed(const char *const *but)
{
    const char *path = shim_unflushed_entry(but);

    if (path != NULL)
        fail_msg("a power cut may forget '%s'", path);
}

static void end_inner(struct world *inner)
{
    close_run(inner);
    remove_files(inner->dir);
    assert_int_equal(rmdir(inner->dir), 0);
    *strrchr(inner->dir, '/') = '\0';
    assert_int_equal(rmdir(inner->dir), 0);
}

static void what_it_makes_is_in_flushed_directories_before_it_confirms(void **state)
{
    struct world *w = *state;
    struct world inner = *w;

    (void)snprintf(inner.dir, sizeof inner.dir, "%.40s/a/b", w->dir);
    shim_set(w->dir, SHIM_NONE, 0);
    assert_int_equal(open_store(&inner), DTQ_OK);
    inner.work = w->kind->open(inner.store, inner.why, sizeof inner.why);
    assert_non_null(inner.work);
    expect_entries_flushed(replaceable);
    for (unsigned i = 0; i < STEPS; i++) {
        assert_int_equal(w->kind->step(inner.work, w->seed, i), DTQ_OK);
        expect_entries_flushed(replaceable);
    }
    shim_set("", SHIM_NONE, 0);
    end_inner(&inner);
}

static void a_start_whose_flush_failed_leaves_no_directory_to_be_forgotten(void **state)
{
    struct world *w = *state;
    bool has_struck = true;
    unsigned refused = 0;

    for (uint64_t at = 1; has_struck; at++) {
        struct world inner = *w;
        dtq_err err;

        (void)snprintf(inner.dir, sizeof inner.dir, "%.40s/a/b", w->dir);
        shim_set(w->dir, SHIM_EIO_SYNC, at);
        err = open_store(&inner);
        has_struck = shim_has_struck() || shim_calls() >= at;
        refused += err != DTQ_OK;
        if (err != DTQ_OK)
            assert_int_equal(open_store(&inner), DTQ_OK);
        inner.work = w->kind->open(inner.store, inner.why, sizeof inner.why);
        assert_non_null(inner.work);
        expect_entries_flushed(replaceable_or_mark);
        shim_set("", SHIM_NONE, 0);
        end_inner(&inner);
    }
    assert_in_range(refused, 3, 100); /* at least one for each directory */
}

static uint32_t digest_or_zero(struct world *w)
{
    uint32_t digest = 0;
    pid_t child = fork();
    int fds[2];
    int status;

    assert_true(child >= 0);
    (void)fds;
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        signal(SIGABRT, SIG_DFL);
        if (open_store(w) != DTQ_OK)
            _exit(1);
        *w->confirmed = disk_digest(w->store, w->kind);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        digest = *w->confirmed;
    return digest;
}

/* The checks can fail: a disk that only says that it has flushed is found out. */
static void a_disk_that_lies_about_flushes_is_noticed(void **state)
{
    struct world *w = *state;
    uint64_t seed = w->seed;
    size_t ops_n;
    const struct shim_op *ops = record(w, &ops_n);
    unsigned losses = 0;

    for (unsigned i = 0; i < 20; i++) {
        struct image m = {0};
        struct cut_state at = make_image(&m, ops, ops_n - 1 - i, CUT_SOME, true, &seed);
        uint32_t digest;

        remove_files(w->dir);
        write_image(w, &m);
        write_mark(w, true);
        free(m.at);
        digest = digest_or_zero(w);
        losses += digest != w->model.digests[at.confirmed] &&
                  (at.confirmed > w->model.steps || digest != w->model.digests[at.confirmed + 1]);
    }
    assert_true(losses > 10);
}

/* ---- errors */

/* A run with one fault, then a start without. @return the error that the run ended with. */
static dtq_err run_with(struct world *w, enum shim_fault fault, uint64_t at, bool *ret_struck)
{
    dtq_err err;

    remove_files(w->dir);
    shim_set(w->dir, fault, at);
    err = run(w);
    *ret_struck = shim_has_struck();
    if (err != DTQ_OK && w->work != NULL && fault != SHIM_NO_SPACE) {
        /* Fail-stop: no later batch is taken, and no flush is tried a second time. */
        uint64_t syncs = shim_syncs_after();

        if (err == DTQ_EIO) {
            assert_int_equal(w->kind->step(w->work, w->seed, 0), DTQ_EIO);
            assert_int_equal(shim_syncs_after(), syncs);
        }
    }
    return err;
}

static void fail_at_every_call(struct world *w, enum shim_fault fault, dtq_err expected)
{
    uint64_t calls;
    unsigned failed = 0;

    shim_set(w->dir, SHIM_NONE, 0);
    assert_int_equal(run(w), DTQ_OK);
    calls = shim_calls();
    close_run(w);
    for (uint64_t at = 1; at <= calls; at++) {
        bool struck;
        dtq_err err = run_with(w, fault, at, &struck);
        unsigned state;

        if (err != DTQ_OK) {
            if (*w->confirmed > 0)
                assert_int_equal(err, expected);
            failed++;
        }
        close_run(w);
        shim_set("", SHIM_NONE, 0);
        state = find_state(w, *w->confirmed, *w->confirmed + 1);
        go_on(w, state);
    }
    if (expected != DTQ_OK)
        assert_true(failed > w->model.steps);
    else
        assert_int_equal(failed, 0);
}

static void an_error_of_any_write_stops_confirming(void **state)
{
    fail_at_every_call(*state, SHIM_EIO_WRITE, DTQ_EIO);
}

static void an_error_of_any_flush_stops_confirming(void **state)
{
    fail_at_every_call(*state, SHIM_EIO_SYNC, DTQ_EIO);
}

static void a_short_write_stops_confirming(void **state)
{
    fail_at_every_call(*state, SHIM_SHORT, DTQ_EIO);
}

static void interrupted_writes_do_no_harm(void **state)
{
    fail_at_every_call(*state, SHIM_INTERRUPTED, DTQ_OK);
}

/* The disk is full for a while: the same batch goes through when there is room again. */
static void a_disk_full_at_any_call_is_tried_again(void **state)
{
    struct world *w = *state;
    uint64_t calls;
    unsigned refused = 0;
    unsigned lost = 0;

    shim_set(w->dir, SHIM_NONE, 0);
    assert_int_equal(run(w), DTQ_OK);
    calls = shim_calls();
    close_run(w);
    for (uint64_t at = 1; at <= calls; at++) {
        bool struck;
        dtq_err err = run_with(w, SHIM_NO_SPACE, at, &struck);

        shim_set("", SHIM_NONE, 0);
        if (err == DTQ_OK || *w->confirmed == 0) {
            close_run(w);
            continue;
        }
        refused += err == DTQ_ENOSPC;
        if (err == DTQ_ENOSPC)
            err = w->kind->step(w->work, w->seed, *w->confirmed - 1);
        if (err == DTQ_OK) {
            for (unsigned i = *w->confirmed; i < w->model.steps; i++)
                assert_int_equal(w->kind->step(w->work, w->seed, i), DTQ_OK);
            assert_int_equal(w->kind->view(w->work), w->model.view);
            close_run(w);
            continue;
        }
        assert_int_equal(err, DTQ_EIO); /* it was the root's write: only a restart helps */
        lost++;
        close_run(w);
        go_on(w, find_state(w, *w->confirmed, *w->confirmed + 1));
    }
    assert_true(lost <= 2 * w->model.steps); /* full before the flush, or before the root's write */
    assert_true(refused > w->model.steps);
}

#define BOTH(name)                                             \
    {"journal: " #name, name, with_journal, end_world, NULL},  \
    {                                                          \
        "results: " #name, name, with_results, end_world, NULL \
    }

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_kill_before_any_system_call_loses_nothing_confirmed),
        BOTH(a_kill_in_the_middle_of_any_write_loses_nothing_confirmed),
        BOTH(with_async_durability_a_kill_loses_nothing_confirmed),
        BOTH(with_async_durability_a_torn_write_loses_nothing_confirmed),
        BOTH(a_crash_loop_at_every_call_of_the_start_gets_through),
        BOTH(a_power_cut_at_any_point_loses_nothing_confirmed),
        BOTH(with_async_durability_a_power_cut_loses_only_what_was_not_flushed),
        BOTH(what_it_makes_is_in_flushed_directories_before_it_confirms),
        BOTH(a_start_whose_flush_failed_leaves_no_directory_to_be_forgotten),
        BOTH(a_disk_that_lies_about_flushes_is_noticed),
        BOTH(an_error_of_any_write_stops_confirming),
        BOTH(an_error_of_any_flush_stops_confirming),
        BOTH(a_short_write_stops_confirming),
        BOTH(interrupted_writes_do_no_harm),
        BOTH(a_disk_full_at_any_call_is_tried_again),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
