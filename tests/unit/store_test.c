/* Both backends behave alike; the one in a directory survives kills, damage and full disks. */
#include "store_backend.h"
#include "store_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <lmdb.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (1024ull * 1024)

enum { FRUIT, TREE, TABLES_N };
static const char *const table_names[] = {"fruit", "tree"};

/* ---- faults: these take the place of libc's for this program and the libraries it uses */

static struct {
    int after;    /* so many calls of this kind still succeed; then every one fails */
    int error;    /* errno; 0: none; -1: a short write; -2: kill this process */
    bool flush;   /* of fdatasync; else of writes */
    int allocate; /* errno of every fallocate; 0: none */
    unsigned flushes;
    unsigned writes;
} fault;

static bool fails(bool flush)
{
    if (fault.error == 0 || fault.flush != flush || fault.after-- > 0)
        return false;
    fault.after = 0;
    if (fault.error == -2)
        kill(getpid(), SIGKILL);
    errno = fault.error;
    return true;
}

#define EXPORTED __attribute__((visibility("default")))
EXPORTED ssize_t pwrite(int fd, const void *at, size_t bytes, off_t offset)
{
    fault.writes++;
    if (!fails(false))
        return syscall(SYS_pwrite64, fd, at, bytes, offset);
    return fault.error == -1 ? syscall(SYS_pwrite64, fd, at, bytes / 2, offset) : -1;
}

EXPORTED ssize_t writev(int fd, const struct iovec *pieces, int n)
{
    fault.writes++;
    if (!fails(false))
        return syscall(SYS_writev, fd, pieces, n);
    return fault.error == -1 ? syscall(SYS_writev, fd, pieces, n - 1) : -1;
}

EXPORTED int fdatasync(int fd)
{
    fault.flushes++;
    return fails(true) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

EXPORTED int fallocate(int fd, int mode, off_t offset, off_t bytes)
{
    if (fault.allocate != 0) {
        errno = fault.allocate;
        return -1;
    }
    return (int)syscall(SYS_fallocate, fd, mode, offset, bytes);
}

static void no_faults(void)
{
    memset(&fault, 0, sizeof fault);
}

/* ---- worlds */

struct world {
    bool in_memory;
    char dir[64];
    struct store_cfg cfg;
    struct store *store;
    char why[STORE_WHY_BYTES];
};

static struct store_cfg config(const char *dir)
{
    return (struct store_cfg){.dir = dir,
                              .kind = "garden",
                              .tables = table_names,
                              .tables_n = TABLES_N,
                              .map_bytes_max = 256 * MIB};
}

static void remove_tree(const char *dir)
{
    char command[PATH_MAX + 16];

    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    assert_int_equal(system(command), 0); // NOLINT(cert-env33-c): a path of our own
}

static void open_world(struct world *w)
{
    static const dtqi_uid uid = {.bytes = "0123456789abcde"};
    dtq_err err = w->in_memory ? store_open_memory(&w->cfg, &uid, &w->store)
                               : store_open(&w->cfg, &w->store, w->why, sizeof w->why);

    if (err != DTQ_OK)
        fail_msg("cannot open: %s", w->why);
}

static void close_world(struct world *w)
{
    store_close(w->store);
    w->store = NULL;
}

static int new_world(void **state, bool in_memory)
{
    struct world *w = calloc(1, sizeof *w);

    no_faults();
    w->in_memory = in_memory;
    (void)snprintf(w->dir, sizeof w->dir, "/tmp/dtq-store-test-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    w->cfg = config(w->dir);
    open_world(w);
    *state = w;
    return 0;
}

static int in_memory(void **state)
{
    return new_world(state, true);
}

static int in_directory(void **state)
{
    return new_world(state, false);
}

static int end_world(void **state)
{
    struct world *w = *state;

    no_faults();
    if (w->store != NULL && w->store->txs_open == 0) /* a failed test may have left one */
        close_world(w);
    remove_tree(w->dir);
    free(w);
    return 0;
}

static struct dtqi_slice text(const char *s)
{
    return (struct dtqi_slice){s, (uint32_t)strlen(s)};
}

static struct store_tx *begin(struct store *s, bool write)
{
    struct store_tx *tx;

    assert_int_equal(store_begin(s, write, &tx), DTQ_OK);
    return tx;
}

static void put(struct store *s, const char *key, const char *value)
{
    struct store_tx *tx = begin(s, true);

    assert_int_equal(store_put(tx, FRUIT, text(key), text(value), 0), DTQ_OK);
    assert_int_equal(store_commit(tx), DTQ_OK);
}

static void expect_in(struct store_tx *tx, const char *key, const char *value)
{
    struct dtqi_slice got;
    dtq_err err = store_get(tx, FRUIT, text(key), &got);

    if (value == NULL) {
        assert_int_equal(err, DTQ_ENOTFOUND);
        return;
    }
    assert_int_equal(err, DTQ_OK);
    assert_int_equal(got.len, strlen(value));
    assert_memory_equal(got.at, value, got.len);
}

static void expect(struct store *s, const char *key, const char *value)
{
    struct store_tx *tx = begin(s, false);

    expect_in(tx, key, value);
    store_abort(tx);
}

/* ---- what both backends do */

static void a_value_is_read_back_after_its_commit(void **state)
{
    struct world *w = *state;

    put(w->store, "apple", "red");
    expect(w->store, "apple", "red");
    expect(w->store, "apples", NULL);
    put(w->store, "apple", "green and larger");
    expect(w->store, "apple", "green and larger");
}

static void tables_do_not_mix(void **state)
{
    struct world *w = *state;
    struct store_tx *tx = begin(w->store, true);
    struct dtqi_slice got;

    assert_int_equal(store_put(tx, FRUIT, text("k"), text("fruit"), 0), DTQ_OK);
    assert_int_equal(store_get(tx, TREE, text("k"), &got), DTQ_ENOTFOUND);
    assert_int_equal(store_put(tx, TREE, text("k"), text("tree"), 0), DTQ_OK);
    expect_in(tx, "k", "fruit");
    assert_int_equal(store_commit(tx), DTQ_OK);
}

static void a_put_if_absent_leaves_what_is_there(void **state)
{
    struct world *w = *state;
    struct store_tx *tx;

    put(w->store, "apple", "red");
    tx = begin(w->store, true);
    assert_int_equal(store_put(tx, FRUIT, text("apple"), text("blue"), STORE_IF_ABSENT),
                     DTQ_ECONFLICT);
    assert_int_equal(store_put(tx, FRUIT, text("pear"), text("green"), STORE_IF_ABSENT), DTQ_OK);
    assert_int_equal(store_put(tx, FRUIT, text("pear"), text("blue"), STORE_IF_ABSENT),
                     DTQ_ECONFLICT);
    assert_int_equal(store_commit(tx), DTQ_OK);
    expect(w->store, "apple", "red");
    expect(w->store, "pear", "green");
}

static void an_abort_drops_everything(void **state)
{
    struct world *w = *state;
    struct store_tx *tx;

    put(w->store, "apple", "red");
    put(w->store, "pear", "green");
    tx = begin(w->store, true);
    assert_int_equal(store_put(tx, FRUIT, text("apple"), text("blue"), 0), DTQ_OK);
    assert_int_equal(store_put(tx, FRUIT, text("plum"), text("blue"), 0), DTQ_OK);
    assert_int_equal(store_del(tx, FRUIT, text("pear")), DTQ_OK);
    store_abort(tx);
    expect(w->store, "apple", "red");
    expect(w->store, "pear", "green");
    expect(w->store, "plum", NULL);
    store_abort(NULL);
}

static void a_reader_keeps_the_state_of_its_begin(void **state)
{
    struct world *w = *state;
    struct store_tx *early;
    struct store_tx *late;

    put(w->store, "apple", "red");
    early = begin(w->store, false);
    put(w->store, "apple", "green");
    late = begin(w->store, false);
    for (int i = 0; i < 20; i++) /* long enough for pages to be used again */
        put(w->store, "apple", "blue");
    expect_in(early, "apple", "red");
    expect_in(late, "apple", "green");
    store_abort(early);
    store_abort(late);
    expect(w->store, "apple", "blue");
}

static void a_write_sees_its_own_changes(void **state)
{
    struct world *w = *state;
    struct store_tx *tx = begin(w->store, true);

    assert_int_equal(store_put(tx, FRUIT, text("apple"), text("red"), 0), DTQ_OK);
    expect_in(tx, "apple", "red");
    assert_int_equal(store_count(tx, FRUIT), 1);
    assert_int_equal(store_del(tx, FRUIT, text("apple")), DTQ_OK);
    assert_int_equal(store_del(tx, FRUIT, text("apple")), DTQ_ENOTFOUND);
    expect_in(tx, "apple", NULL);
    assert_int_equal(store_count(tx, FRUIT), 0);
    assert_int_equal(store_commit(tx), DTQ_OK);
}

#ifdef DTQI_HAS_ASAN
static struct dtqi_slice borrow(struct store_tx *tx, const char *key)
{
    struct dtqi_slice value;

    assert_int_equal(store_get(tx, FRUIT, text(key), &value), DTQ_OK);
    assert_true(dtqi_is_readable(value.at));
    return value;
}

static void what_was_borrowed_goes_with_the_next_write(void **state)
{
    struct world *w = *state;
    struct store_tx *tx = begin(w->store, true);
    struct dtqi_slice value;

    assert_int_equal(store_put(tx, FRUIT, text("apple"), text("red"), 0), DTQ_OK);
    value = borrow(tx, "apple");
    assert_int_equal(store_put(tx, FRUIT, text("pear"), text("green"), 0), DTQ_OK);
    assert_false(dtqi_is_readable(value.at));
    value = borrow(tx, "apple");
    assert_int_equal(store_del(tx, FRUIT, text("pear")), DTQ_OK);
    assert_false(dtqi_is_readable(value.at));
    value = borrow(tx, "apple");
    assert_int_equal(store_commit(tx), DTQ_OK);
    assert_false(dtqi_is_readable(value.at));
}

static void what_was_borrowed_goes_with_its_transaction(void **state)
{
    struct world *w = *state;
    struct store_cursor *c;
    struct store_tx *tx;
    struct dtqi_slice value;
    struct dtqi_slice key;

    put(w->store, "apple", "red");
    tx = begin(w->store, false);
    assert_int_equal(store_cursor_open(tx, FRUIT, false, &c), DTQ_OK);
    assert_int_equal(store_seek(c, text(""), &key, &value), DTQ_OK);
    store_cursor_close(c);
    assert_true(dtqi_is_readable(key.at));
    assert_true(dtqi_is_readable(value.at));
    store_abort(tx);
    assert_false(dtqi_is_readable(key.at));
    assert_false(dtqi_is_readable(value.at));
}
#endif

/* Whoever closes what it could not open closes nothing. */
static void a_cursor_that_cannot_be_opened_is_none(void **state)
{
    struct world *w = *state;
    struct store_tx *tx = begin(w->store, true);
    struct store_cursor *c = (struct store_cursor *)(uintptr_t)1;

    tx->failed = DTQ_ENOSPC;
    assert_int_equal(store_cursor_open(tx, FRUIT, false, &c), DTQ_ENOSPC);
    assert_null(c);
    store_cursor_close(c);
    store_abort(tx);
}

static void pieces_become_one_value(void **state)
{
    struct world *w = *state;
    struct store_tx *tx = begin(w->store, true);
    const struct dtqi_slice pieces[] = {text("one "), {NULL, 0}, text("two "), text("three")};

    assert_int_equal(store_put_pieces(tx, FRUIT, text("k"), pieces, 4, 0), DTQ_OK);
    assert_int_equal(store_put_pieces(tx, FRUIT, text("empty"), NULL, 0, 0), DTQ_OK);
    assert_int_equal(store_commit(tx), DTQ_OK);
    expect(w->store, "k", "one two three");
    expect(w->store, "empty", "");
}

static void large_values_are_kept(void **state)
{
    struct world *w = *state;
    struct dtqi_slice value = {.len = 4 * MIB};
    uint8_t *bytes = malloc(value.len);
    struct store_tx *tx = begin(w->store, true);
    struct dtqi_slice got;

    for (uint32_t i = 0; i < value.len; i++)
        bytes[i] = (uint8_t)(i * 7 >> 3);
    value.at = bytes;
    assert_int_equal(store_put(tx, FRUIT, text("big"), value, 0), DTQ_OK);
    assert_int_equal(store_commit(tx), DTQ_OK);
    tx = begin(w->store, false);
    assert_int_equal(store_get(tx, FRUIT, text("big"), &got), DTQ_OK);
    assert_int_equal(got.len, value.len);
    assert_memory_equal(got.at, bytes, value.len);
    store_abort(tx);
    free(bytes);
}

static void put_ten(struct world *w)
{
    static const char *const keys[] = {"b", "bb", "d", "a", "c", "ca", "e", "bba", "f", "aa"};

    for (int i = 0; i < 10; i++)
        put(w->store, keys[i], keys[i]);
}

/* The keys from `from` on, joined by blanks. */
static void expect_walk(struct world *w, bool backward, const char *from, const char *keys)
{
    struct store_tx *tx = begin(w->store, false);
    struct store_cursor *c;
    struct dtqi_slice key;
    struct dtqi_slice value;
    char walked[64] = "";
    dtq_err err;

    assert_int_equal(store_cursor_open(tx, FRUIT, backward, &c), DTQ_OK);
    for (err = store_seek(c, text(from), &key, &value); err == DTQ_OK;
         err = store_next(c, &key, &value)) {
        assert_int_equal(key.len, value.len);
        assert_memory_equal(key.at, value.at, key.len);
        (void)snprintf(walked + strlen(walked), sizeof walked - strlen(walked), "%.*s ",
                       (int)key.len, (const char *)key.at);
    }
    assert_int_equal(err, DTQ_ENOTFOUND);
    assert_string_equal(walked, keys);
    store_cursor_close(c);
    store_abort(tx);
}

static void a_walk_goes_in_key_order_both_ways(void **state)
{
    struct world *w = *state;

    expect_walk(w, false, "", "");
    expect_walk(w, true, "", "");
    put_ten(w);
    expect_walk(w, false, "", "a aa b bb bba c ca d e f ");
    expect_walk(w, false, "bb", "bb bba c ca d e f ");
    expect_walk(w, false, "bc", "c ca d e f ");
    expect_walk(w, false, "g", "");
    expect_walk(w, true, "", "f e d ca c bba bb b aa a ");
    expect_walk(w, true, "bb", "bb b aa a ");
    expect_walk(w, true, "bc", "bba bb b aa a ");
    expect_walk(w, true, "z", "f e d ca c bba bb b aa a ");
    expect_walk(w, true, "A", "");
}

static void deleting_in_a_walk(struct world *w, bool backward, const char *left)
{
    struct store_tx *tx;
    struct store_cursor *c;
    struct dtqi_slice key;
    struct dtqi_slice value;
    dtq_err err;
    int n = 0;

    put_ten(w);
    tx = begin(w->store, true);
    assert_int_equal(store_cursor_open(tx, FRUIT, backward, &c), DTQ_OK);
    for (err = store_seek(c, text(""), &key, &value); err == DTQ_OK;
         err = store_next(c, &key, &value))
        if (n++ % 3 != 0)
            assert_int_equal(store_cursor_del(c), DTQ_OK);
    assert_int_equal(n, 10);
    assert_int_equal(err, DTQ_ENOTFOUND);
    store_cursor_close(c);
    assert_int_equal(store_count(tx, FRUIT), 4);
    assert_int_equal(store_commit(tx), DTQ_OK);
    expect_walk(w, false, "", left);
}

static void a_walk_goes_on_behind_what_it_deletes(void **state)
{
    deleting_in_a_walk(*state, false, "a bb ca f ");
    deleting_in_a_walk(*state, true, "a bb ca f ");
}

static void check_counts_records(void **state)
{
    struct world *w = *state;
    uint64_t records = 99;

    put_ten(w);
    assert_int_equal(store_check(w->store, NULL, NULL, &records), DTQ_OK);
    assert_int_equal(records, 10);
}

static void note_bad(void *arg, const char *table, struct dtqi_slice key)
{
    char *said = arg;

    (void)snprintf(said + strlen(said), 64 - strlen(said), "%s/%.*s ", table, (int)key.len,
                   (const char *)key.at);
}

/* One record of put_ten() is damaged: "bba". */
static void expect_damage(struct world *w)
{
    struct store_tx *tx = begin(w->store, true);
    struct store_cursor *c;
    struct dtqi_slice key;
    struct dtqi_slice value;
    char bad[64] = "";
    uint64_t records = 0;

    assert_int_equal(store_get(tx, FRUIT, text("bba"), &value), DTQ_ECORRUPT);
    assert_string_equal(store_errmsg(w->store), "the record 626261 of table 'fruit' is damaged");
    expect_in(tx, "bb", "bb");
    assert_int_equal(store_check(w->store, note_bad, bad, &records), DTQ_ECORRUPT);
    assert_string_equal(bad, "fruit/bba ");
    assert_int_equal(records, 10);

    assert_int_equal(store_cursor_open(tx, FRUIT, false, &c), DTQ_OK);
    assert_int_equal(store_seek(c, text("bb"), &key, &value), DTQ_OK);
    assert_int_equal(store_next(c, &key, &value), DTQ_ECORRUPT);
    assert_int_equal(store_cursor_del(c), DTQ_OK);
    assert_int_equal(store_next(c, &key, &value), DTQ_OK);
    assert_memory_equal(key.at, "c", 1);
    store_cursor_close(c);
    assert_int_equal(store_commit(tx), DTQ_OK);
    assert_int_equal(store_check(w->store, NULL, NULL, &records), DTQ_OK);
    assert_int_equal(records, 9);
}

/* ---- full */

static const uint8_t block[50000];

static dtq_err put_block(struct store *s, uint32_t number, unsigned flags)
{
    uint8_t key[4];
    struct store_tx *tx = begin(s, true);
    dtq_err err;

    store_write_u32(key, number);
    err = store_put(tx, TREE, (struct dtqi_slice){key, 4}, (struct dtqi_slice){block, sizeof block},
                    flags);
    if (err == DTQ_OK)
        return store_commit(tx);
    assert_int_equal(store_commit(tx), err);
    return err;
}

static void del_block(struct store *s, uint32_t number)
{
    struct store_tx *tx = begin(s, true);
    uint8_t key[4];

    store_write_u32(key, number);
    assert_int_equal(store_del(tx, TREE, (struct dtqi_slice){key, 4}), DTQ_OK);
    assert_int_equal(store_commit(tx), DTQ_OK);
}

static uint32_t fill(struct store *s, unsigned flags)
{
    uint32_t n = 0;

    while (put_block(s, n, flags) == DTQ_OK)
        n++;
    return n;
}

/* Deletes fit when puts do not, and make room for puts. */
static void expect_full_and_empty_again(struct store *s)
{
    uint32_t n = fill(s, 0);
    uint64_t used;
    uint64_t max;

    assert_in_range(n, 20, 1000000);
    assert_non_null(strstr(store_errmsg(s), "no space left"));
    store_space(s, &used, &max);
    assert_true(used < max);
    assert_true(used > n * 50000ull);
    assert_int_equal(put_block(s, n, 0), DTQ_ENOSPC);
    assert_int_equal(put_block(s, n, STORE_SPARE), DTQ_OK);
    for (uint32_t i = 0; i <= n; i++)
        del_block(s, i);
    store_space(s, &used, &max);
    assert_true(used < 200000);
    assert_in_range(fill(s, 0), n / 2, n);
}

static void a_full_store_takes_deletes_and_then_puts_again(void **state)
{
    struct world *w = *state;

    close_world(w);
    w->cfg.map_bytes_max = 4 * MIB;
    if (!w->in_memory)
        remove_tree(w->dir);
    open_world(w);
    put(w->store, "apple", "red");
    expect_full_and_empty_again(w->store);
    expect(w->store, "apple", "red");
}

/* What a transaction frees can be used by the second one after it. Somebody who tries again and
 * again to put what did not fit must not be kept out because nobody else commits anything. */
static void what_was_deleted_makes_room_though_nothing_else_is_committed(void **state)
{
    struct world *w = *state;
    struct store_tx *tx;
    uint32_t n;
    unsigned tries = 1;

    close_world(w);
    w->cfg.map_bytes_max = 4 * MIB;
    if (!w->in_memory)
        remove_tree(w->dir);
    open_world(w);
    n = fill(w->store, STORE_SPARE); /* to the very end */
    assert_int_equal(put_block(w->store, n, 0), DTQ_ENOSPC);
    tx = begin(w->store, true);
    for (uint32_t i = 0; i < n; i++) {
        uint8_t key[4];

        store_write_u32(key, i);
        assert_int_equal(store_del(tx, TREE, (struct dtqi_slice){key, 4}), DTQ_OK);
    }
    assert_int_equal(store_commit(tx), DTQ_OK);
    while (put_block(w->store, 0, 0) != DTQ_OK)
        assert_true(tries++ < 5);
}

static void an_error_sticks_to_its_transaction(void **state)
{
    struct world *w = *state;
    struct store_tx *tx;
    struct dtqi_slice got;

    close_world(w);
    w->cfg.map_bytes_max = 4 * MIB;
    if (!w->in_memory)
        remove_tree(w->dir);
    open_world(w);
    fill(w->store, 0);
    tx = begin(w->store, true);
    assert_int_equal(store_put(tx, FRUIT, text("apple"), text("red"), STORE_SPARE), DTQ_OK);
    assert_int_equal(store_put(tx, TREE, text("more"), (struct dtqi_slice){block, sizeof block}, 0),
                     DTQ_ENOSPC);
    assert_int_equal(store_put(tx, FRUIT, text("pear"), text("red"), STORE_SPARE), DTQ_ENOSPC);
    assert_int_equal(store_get(tx, FRUIT, text("apple"), &got), DTQ_ENOSPC);
    assert_int_equal(store_commit(tx), DTQ_ENOSPC);
    expect(w->store, "apple", NULL);
    put(w->store, "pear", "red");
}

/* ---- the backends are equal */

static uint64_t random_of(uint64_t *seed)
{
    *seed += 0x9e3779b97f4a7c15ull;
    return dtqi_mix64(*seed);
}

static struct dtqi_slice random_key(uint64_t *seed, uint8_t room[8])
{
    uint32_t n = (uint32_t)(random_of(seed) % 400);

    (void)snprintf((char *)room, 8, "%03u", n);
    return (struct dtqi_slice){room, n % 5 == 0 ? 2 : 3};
}

/* false: both are past the end. */
static bool expect_same_record(struct store_cursor *a, struct store_cursor *b, bool first,
                               struct dtqi_slice from)
{
    struct dtqi_slice ka = {0};
    struct dtqi_slice kb = {0};
    struct dtqi_slice va = {0};
    struct dtqi_slice vb = {0};
    dtq_err ea = first ? store_seek(a, from, &ka, &va) : store_next(a, &ka, &va);
    dtq_err eb = first ? store_seek(b, from, &kb, &vb) : store_next(b, &kb, &vb);

    assert_int_equal(ea, eb);
    assert_int_equal(ka.len, kb.len);
    assert_int_equal(va.len, vb.len);
    if (ea != DTQ_OK)
        return false;
    assert_memory_equal(ka.at, kb.at, ka.len);
    if (va.len > 0)
        assert_memory_equal(va.at, vb.at, va.len);
    return true;
}

/* Walk both from a random place, sometimes deleting, with puts and deletes of keys in between. */
static void walk_both(struct store_tx *ta, struct store_tx *tb, uint64_t *seed)
{
    bool backward = random_of(seed) % 2 == 0;
    uint8_t room[8];
    struct dtqi_slice from = random_key(seed, room);
    struct store_cursor *a;
    struct store_cursor *b;

    assert_int_equal(store_cursor_open(ta, FRUIT, backward, &a), DTQ_OK);
    assert_int_equal(store_cursor_open(tb, FRUIT, backward, &b), DTQ_OK);
    if (expect_same_record(a, b, true, from))
        for (int i = 0; i < 20 && expect_same_record(a, b, false, from); i++)
            continue;
    store_cursor_close(a);
    store_cursor_close(b);
}

static void delete_both(struct store_tx *ta, struct store_tx *tb, uint64_t *seed)
{
    bool backward = random_of(seed) % 2 == 0;
    struct store_cursor *a;
    struct store_cursor *b;
    struct dtqi_slice key;
    struct dtqi_slice value;

    assert_int_equal(store_cursor_open(ta, FRUIT, backward, &a), DTQ_OK);
    assert_int_equal(store_cursor_open(tb, FRUIT, backward, &b), DTQ_OK);
    if (store_seek(a, (struct dtqi_slice){0}, &key, &value) == DTQ_OK) {
        assert_int_equal(store_seek(b, (struct dtqi_slice){0}, &key, &value), DTQ_OK);
        assert_int_equal(store_cursor_del(a), DTQ_OK);
        assert_int_equal(store_cursor_del(b), DTQ_OK);
        for (int i = 0; i < 3 && expect_same_record(a, b, false, key); i++)
            continue;
    }
    store_cursor_close(a);
    store_cursor_close(b);
}

static void step_both(struct store_tx *ta, struct store_tx *tb, uint64_t *seed)
{
    static const uint8_t bytes[6000];
    uint8_t room[8];
    struct dtqi_slice key = random_key(seed, room);
    struct dtqi_slice value = {bytes, (uint32_t)(random_of(seed) % 100)};
    unsigned flags = random_of(seed) % 2 == 0 ? STORE_IF_ABSENT : 0;

    if (random_of(seed) % 20 == 0)
        value.len = sizeof bytes;
    switch (random_of(seed) % 8) {
    case 0:
    case 1:
    case 2: assert_int_equal(store_del(ta, FRUIT, key), store_del(tb, FRUIT, key)); break;
    case 3: delete_both(ta, tb, seed); break;
    case 4: walk_both(ta, tb, seed); break;
    default:
        assert_int_equal(store_put(ta, FRUIT, key, value, flags),
                         store_put(tb, FRUIT, key, value, flags));
        break;
    }
    assert_int_equal(store_count(ta, FRUIT), store_count(tb, FRUIT));
}

static void random_work_has_the_same_effect_in_memory(void **state)
{
    struct world *w = *state;
    static const dtqi_uid uid;
    struct store *memory;
    uint64_t seed = 42;

    assert_int_equal(store_open_memory(&w->cfg, &uid, &memory), DTQ_OK);
    for (int i = 0; i < 200; i++) {
        struct store_tx *ta = begin(w->store, true);
        struct store_tx *tb = begin(memory, true);

        for (int k = 0; k < 60; k++)
            step_both(ta, tb, &seed);
        if (random_of(&seed) % 4 == 0) {
            store_abort(ta);
            store_abort(tb);
        } else {
            assert_int_equal(store_commit(ta), DTQ_OK);
            assert_int_equal(store_commit(tb), DTQ_OK);
        }
        if (i % 50 == 49) {
            close_world(w);
            open_world(w);
        }
    }
    store_close(memory);
}

/* ---- the directory */

static void a_restart_finds_everything_and_the_same_identity(void **state)
{
    struct world *w = *state;
    dtqi_uid uid = *store_uid(w->store);

    assert_false(dtqi_uid_is_zero(&uid));
    put_ten(w);
    close_world(w);
    open_world(w);
    assert_true(dtqi_uid_eq(store_uid(w->store), &uid));
    expect_walk(w, false, "", "a aa b bb bba c ca d e f ");
    close_world(w);
    remove_tree(w->dir);
    open_world(w);
    assert_false(dtqi_uid_eq(store_uid(w->store), &uid));
}

static void a_new_table_may_come_last(void **state)
{
    struct world *w = *state;

    close_world(w);
    remove_tree(w->dir);
    w->cfg.tables_n = 1;
    open_world(w);
    put(w->store, "apple", "red");
    close_world(w);
    w->cfg.tables_n = 2;
    open_world(w);
    expect(w->store, "apple", "red");
    assert_int_equal(put_block(w->store, 1, 0), DTQ_OK);
}

static void expect_refused(struct world *w, dtq_err err, const char *words)
{
    struct store *s;

    assert_int_equal(store_open(&w->cfg, &s, w->why, sizeof w->why), err);
    if (strstr(w->why, words) == NULL)
        fail_msg("'%s' does not say '%s'", w->why, words);
}

static void a_second_open_is_refused_and_names_the_holder(void **state)
{
    struct world *w = *state;
    char words[128];
    pid_t child;
    int status;

    (void)snprintf(words, sizeof words, "process %ld has the directory '%s' open", (long)getpid(),
                   w->dir);
    expect_refused(w, DTQ_ELOCKED, words);
    child = fork();
    if (child == 0) {
        struct store *s;

        if (store_open(&w->cfg, &s, w->why, sizeof w->why) != DTQ_ELOCKED)
            _exit(1);
        _exit(strstr(w->why, words) != NULL ? 0 : 2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    put(w->store, "apple", "red");
}

/* What a child committed stays, what it had not is gone, and so is its lock. */
static void a_kill_leaves_what_was_committed(void **state)
{
    struct world *w = *state;
    pid_t child;
    int status;

    close_world(w);
    child = fork();
    if (child == 0) {
        struct store_tx *tx;

        if (store_open(&w->cfg, &w->store, w->why, sizeof w->why) != DTQ_OK)
            _exit(1);
        if (store_begin(w->store, true, &tx) != DTQ_OK ||
            store_put(tx, FRUIT, text("apple"), text("red"), 0) != DTQ_OK ||
            store_commit(tx) != DTQ_OK)
            _exit(2);
        if (store_begin(w->store, true, &tx) != DTQ_OK ||
            store_put(tx, FRUIT, text("pear"), text("green"), 0) != DTQ_OK)
            _exit(3);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    open_world(w);
    expect(w->store, "apple", "red");
    expect(w->store, "pear", NULL);
}

/* A commit that changes many pages, in a process that dies at its n-th write. */
static bool dies_at_write(struct world *w, int n)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        struct store_tx *tx;

        if (store_open(&w->cfg, &w->store, w->why, sizeof w->why) != DTQ_OK)
            _exit(1);
        if (store_begin(w->store, true, &tx) != DTQ_OK)
            _exit(4);
        for (uint32_t i = 0; i < 300; i++) {
            uint8_t key[4];

            store_write_u32(key, i * 7919);
            if (store_put(tx, FRUIT, (struct dtqi_slice){key, 4}, (struct dtqi_slice){w->dir, 60},
                          0) != DTQ_OK)
                _exit(2);
        }
        fault.error = -2;
        fault.after = n;
        _exit(store_commit(tx) == DTQ_OK ? 0 : 3);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

static void a_kill_at_any_write_of_a_commit_leaves_all_or_nothing(void **state)
{
    struct world *w = *state;
    uint64_t records;
    int n = 0;
    bool died = true;

    put(w->store, "apple", "red");
    for (; died; n++) {
        close_world(w);
        died = dies_at_write(w, n);
        open_world(w);
        assert_int_equal(store_check(w->store, NULL, NULL, &records), DTQ_OK);
        assert_int_equal(records, died ? 1 : 301);
        expect(w->store, "apple", "red");
    }
    assert_in_range(n, 3, 1000);
}

static void another_kind_of_store_is_refused(void **state)
{
    struct world *w = *state;

    close_world(w);
    w->cfg.kind = "desert";
    expect_refused(w, DTQ_ECORRUPT, "holds a store of kind 'garden', not 'desert'");
    w->cfg.kind = "garden";
    open_world(w);
}

/* Run `change` in a transaction of LMDB's own on the closed directory. */
static void change_raw(struct world *w, const char *table,
                       void (*change)(MDB_txn *txn, MDB_dbi dbi))
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;

    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, 20), 0);
    assert_int_equal(mdb_env_open(env, w->dir, 0, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, table, MDB_CREATE, &dbi), 0);
    change(txn, dbi);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

static void to_newer_format(MDB_txn *txn, MDB_dbi dbi)
{
    uint8_t raw[64];
    MDB_val k = {8, (void *)(uintptr_t) "identity"};
    MDB_val v;
    struct dtqi_slice value;

    assert_int_equal(mdb_get(txn, dbi, &k, &v), 0);
    memcpy(raw, v.mv_data, v.mv_size);
    store_write_u32(raw + 4, STORE_FORMAT + 1);
    value = (struct dtqi_slice){raw + 4, (uint32_t)v.mv_size - 4};
    store_write_u32(raw, store_seal(0xff, text("identity"), &value, 1));
    v.mv_data = raw;
    assert_int_equal(mdb_put(txn, dbi, &k, &v, 0), 0);
}

static void to_damaged_identity(MDB_txn *txn, MDB_dbi dbi)
{
    uint8_t raw[64];
    MDB_val k = {8, (void *)(uintptr_t) "identity"};
    MDB_val v;

    assert_int_equal(mdb_get(txn, dbi, &k, &v), 0);
    memcpy(raw, v.mv_data, v.mv_size);
    raw[10] ^= 1;
    v.mv_data = raw;
    assert_int_equal(mdb_put(txn, dbi, &k, &v, 0), 0);
}

static void a_newer_format_is_refused(void **state)
{
    struct world *w = *state;

    close_world(w);
    change_raw(w, "dtq", to_newer_format);
    expect_refused(w, DTQ_ECORRUPT, "written by a newer dtq (format 2, this one knows 1)");
}

static void a_damaged_identity_is_refused(void **state)
{
    struct world *w = *state;

    close_world(w);
    change_raw(w, "dtq", to_damaged_identity);
    expect_refused(w, DTQ_ECORRUPT, "damaged: its identity record");
}

static void put_something(MDB_txn *txn, MDB_dbi dbi)
{
    MDB_val k = {1, (void *)(uintptr_t) "k"};
    MDB_val v = {1, (void *)(uintptr_t) "v"};

    assert_int_equal(mdb_put(txn, dbi, &k, &v, 0), 0);
}

static void a_foreign_lmdb_file_is_refused(void **state)
{
    struct world *w = *state;

    close_world(w);
    remove_tree(w->dir);
    assert_int_equal(mkdir(w->dir, 0700), 0);
    change_raw(w, "songs", put_something);
    expect_refused(w, DTQ_ECORRUPT, "not a dtq store");
}

static int open_data(struct world *w)
{
    char path[128];
    int fd;

    (void)snprintf(path, sizeof path, "%s/data.mdb", w->dir);
    fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    return fd;
}

static void a_file_of_something_else_is_refused(void **state)
{
    struct world *w = *state;
    static const char page[16384] = "This is not a store at all.";
    int fd;

    close_world(w);
    fd = open_data(w);
    assert_int_equal(pwrite(fd, page, sizeof page, 0), sizeof page);
    close(fd);
    expect_refused(w, DTQ_ECORRUPT, "damaged, or is no dtq store");
}

static void a_file_cut_short_is_refused(void **state)
{
    struct world *w = *state;
    int fd;

    assert_in_range(put_block(w->store, 1, 0), DTQ_OK, DTQ_OK);
    put(w->store, "apple", "red");
    close_world(w);
    fd = open_data(w);
    assert_int_equal(ftruncate(fd, 40000), 0);
    close(fd);
    expect_refused(w, DTQ_ECORRUPT, "its data file has 40000 bytes and should have");
}

/* Every copy of a value in the data file is changed in one bit. */
static void flip_in_file(struct world *w, const char *value)
{
    size_t n = strlen(value);
    struct stat st;
    char *bytes;
    int fd = open_data(w);
    int flipped = 0;

    assert_int_equal(fstat(fd, &st), 0);
    bytes = malloc((size_t)st.st_size);
    assert_int_equal(pread(fd, bytes, (size_t)st.st_size, 0), st.st_size);
    for (off_t i = 0; i + (off_t)n <= st.st_size; i++)
        if (memcmp(bytes + i, value, n) == 0) {
            char changed = (char)(value[n - 1] ^ 1);

            assert_int_equal(pwrite(fd, &changed, 1, i + (off_t)n - 1), 1);
            flipped++;
        }
    assert_true(flipped > 0);
    free(bytes);
    close(fd);
}

static void a_flipped_bit_in_the_file_is_found(void **state)
{
    struct world *w = *state;
    struct store_tx *tx;
    struct dtqi_slice got;
    char bad[64] = "";
    uint64_t records;

    put_ten(w);
    put(w->store, "melon", "a value that stands out in the file");
    close_world(w);
    flip_in_file(w, "a value that stands out in the file");
    open_world(w);
    tx = begin(w->store, false);
    assert_int_equal(store_get(tx, FRUIT, text("melon"), &got), DTQ_ECORRUPT);
    assert_string_equal(store_errmsg(w->store),
                        "the record 6d656c6f6e of table 'fruit' is damaged");
    store_abort(tx);
    assert_int_equal(store_check(w->store, note_bad, bad, &records), DTQ_ECORRUPT);
    assert_string_equal(bad, "fruit/melon ");
    assert_int_equal(records, 11);
}

static void a_damaged_record_is_found_and_can_be_stepped_over(void **state)
{
    struct world *w = *state;

    put_ten(w);
    assert_int_equal(store_memory_damage(w->store, FRUIT, text("none")), DTQ_ENOTFOUND);
    assert_int_equal(store_memory_damage(w->store, FRUIT, text("bba")), DTQ_OK);
    expect_damage(w);
}

static uint8_t raw_b[16]; /* the record of "b", seal and all */
static size_t raw_b_bytes;

static void take_b(MDB_txn *txn, MDB_dbi dbi)
{
    MDB_val k = {1, (void *)(uintptr_t) "b"};
    MDB_val v;

    assert_int_equal(mdb_get(txn, dbi, &k, &v), 0);
    assert_true(v.mv_size <= sizeof raw_b);
    memcpy(raw_b, v.mv_data, v.mv_size);
    raw_b_bytes = v.mv_size;
}

static void give_b(MDB_txn *txn, MDB_dbi dbi, const char *key)
{
    MDB_val k = {strlen(key), (void *)(uintptr_t)key};
    MDB_val v = {raw_b_bytes, raw_b};

    assert_int_equal(mdb_put(txn, dbi, &k, &v, 0), 0);
}

static void give_b_to_c(MDB_txn *txn, MDB_dbi dbi)
{
    give_b(txn, dbi, "c");
}

static void give_b_to_b(MDB_txn *txn, MDB_dbi dbi)
{
    give_b(txn, dbi, "b");
}

static void a_record_in_the_place_of_another_is_found(void **state)
{
    struct world *w = *state;
    struct store_tx *tx;
    struct dtqi_slice got;

    put_ten(w);
    close_world(w);
    change_raw(w, "fruit", take_b);
    change_raw(w, "fruit", give_b_to_c); /* another key */
    change_raw(w, "tree", give_b_to_b);  /* another table */
    open_world(w);
    tx = begin(w->store, false);
    expect_in(tx, "b", "b");
    assert_int_equal(store_get(tx, FRUIT, text("c"), &got), DTQ_ECORRUPT);
    assert_int_equal(store_get(tx, TREE, text("b"), &got), DTQ_ECORRUPT);
    store_abort(tx);
}

static void cut_bba(MDB_txn *txn, MDB_dbi dbi)
{
    MDB_val k = {3, (void *)(uintptr_t) "bba"};
    MDB_val v = {2, (void *)(uintptr_t) "xy"};

    assert_int_equal(mdb_put(txn, dbi, &k, &v, 0), 0);
}

static void a_record_too_short_for_its_seal_is_found(void **state)
{
    struct world *w = *state;

    put_ten(w);
    close_world(w);
    change_raw(w, "fruit", cut_bba);
    open_world(w);
    expect_damage(w);
}

static void directories_are_made_for_the_owner_alone(void **state)
{
    struct world *w = *state;
    char dir[128];
    struct store_cfg cfg = w->cfg;
    struct store *s;
    struct stat st;

    (void)snprintf(dir, sizeof dir, "%s/one/two", w->dir);
    cfg.dir = dir;
    assert_int_equal(store_open(&cfg, &s, w->why, sizeof w->why), DTQ_OK);
    store_close(s);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    (void)snprintf(dir, sizeof dir, "%s/one/two/data.mdb", w->dir);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_path_through_a_file_is_refused(void **state)
{
    struct world *w = *state;
    char dir[128];
    struct store_cfg cfg = w->cfg;
    struct store *s;

    (void)snprintf(dir, sizeof dir, "%s/dtq.lock/here", w->dir);
    cfg.dir = dir;
    assert_int_equal(store_open(&cfg, &s, w->why, sizeof w->why), DTQ_EIO);
    assert_non_null(strstr(w->why, "Not a directory"));
    assert_non_null(strstr(w->why, dir));
}

/* As a user who may not write there: root may write everywhere, so a child gives that up. */
static void an_unwritable_directory_is_refused(void **state)
{
    struct world *w = *state;
    pid_t child;
    int status;

    close_world(w);
    remove_tree(w->dir);
    assert_int_equal(mkdir(w->dir, 0555), 0);
    child = fork();
    if (child == 0) {
        if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0)
            _exit(3);
        if (store_open(&w->cfg, &w->store, w->why, sizeof w->why) != DTQ_EIO)
            _exit(1);
        _exit(strstr(w->why, "Permission denied; choose a directory that this user may write to") !=
                      NULL
                  ? 0
                  : 2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* ---- the disk */

static void a_full_disk_refuses_puts_and_takes_deletes(void **state)
{
    struct world *w = *state;

    put(w->store, "apple", "red");
    fault.allocate = ENOSPC;
    expect_full_and_empty_again(w->store);
    fault.allocate = 0;
    assert_int_equal(put_block(w->store, 4000, 0), DTQ_OK);
}

static void a_disk_that_cannot_allocate_ahead_will_do(void **state)
{
    struct world *w = *state;

    fault.allocate = EOPNOTSUPP;
    for (uint32_t i = 0; i < 200; i++)
        assert_int_equal(put_block(w->store, i, 0), DTQ_OK);
    close_world(w);
    open_world(w);
    for (uint32_t i = 0; i < 200; i++)
        del_block(w->store, i);
}

static uint64_t file_length(struct world *w)
{
    char path[128];
    struct stat st;

    (void)snprintf(path, sizeof path, "%s/data.mdb", w->dir);
    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_size;
}

/* Pages that one transaction takes and gives back are never written, and they may be the last. */
static void a_file_that_ends_in_free_pages_is_not_cut_short(void **state)
{
    struct world *w = *state;
    struct store_tx *tx;
    uint8_t key[4];

    fault.allocate = ENOSPC;
    assert_int_equal(put_block(w->store, 0, STORE_SPARE), DTQ_OK);
    del_block(w->store, 0);
    for (int i = 0; i < 4; i++) /* now LMDB has a list of free pages to give them back to */
        assert_int_equal(put_block(w->store, 1, STORE_SPARE), DTQ_OK);
    assert_true(file_length(w) > 4 * MIB); /* a kill in the next commit finds it long enough */
    tx = begin(w->store, true);
    for (uint32_t i = 2; i < 200; i++) {
        store_write_u32(key, i);
        assert_int_equal(store_put(tx, TREE, (struct dtqi_slice){key, 4},
                                   (struct dtqi_slice){block, sizeof block}, STORE_SPARE),
                         DTQ_OK);
    }
    for (uint32_t i = 2; i < 200; i++) {
        store_write_u32(key, i);
        assert_int_equal(store_del(tx, TREE, (struct dtqi_slice){key, 4}), DTQ_OK);
    }
    assert_int_equal(store_commit(tx), DTQ_OK);
    close_world(w);
    assert_true(file_length(w) > 190 * sizeof block);
    open_world(w);
    assert_int_equal(put_block(w->store, 1, STORE_SPARE), DTQ_OK);
}

static dtq_err commit_with(struct store *s, const char *key)
{
    struct store_tx *tx = begin(s, true);

    assert_int_equal(store_put(tx, FRUIT, text(key), text("?"), 0), DTQ_OK);
    return store_commit(tx);
}

static void no_space_in_a_commit_leaves_the_store_usable(void **state)
{
    struct world *w = *state;

    put(w->store, "apple", "red");
    fault.error = ENOSPC;
    assert_int_equal(commit_with(w->store, "pear"), DTQ_ENOSPC);
    assert_non_null(strstr(store_errmsg(w->store), "No space left on device"));
    no_faults();
    expect(w->store, "apple", "red");
    expect(w->store, "pear", NULL);
    put(w->store, "plum", "blue");
    close_world(w);
    open_world(w);
    expect(w->store, "pear", NULL);
    expect(w->store, "plum", "blue");
}

static void expect_lost(struct world *w)
{
    struct store_tx *tx;

    assert_int_equal(store_begin(w->store, true, &tx), DTQ_EIO);
    assert_int_equal(store_sync(w->store), DTQ_EIO);
    assert_non_null(strstr(store_errmsg(w->store), "writing to the disk failed"));
    close_world(w);
    open_world(w);
    expect(w->store, "apple", "red");
    expect(w->store, "pear", NULL);
    put(w->store, "plum", "blue");
}

static void after_a_failed_flush_nothing_is_written_any_more(void **state)
{
    struct world *w = *state;

    put(w->store, "apple", "red");
    fault.error = EIO;
    fault.flush = true;
    assert_int_equal(commit_with(w->store, "pear"), DTQ_EIO);
    no_faults();
    expect(w->store, "apple", "red");
    expect_lost(w);
}

static void after_a_failed_write_nothing_is_written_any_more(void **state)
{
    struct world *w = *state;

    put(w->store, "apple", "red");
    fault.error = EIO;
    assert_int_equal(commit_with(w->store, "pear"), DTQ_EIO);
    no_faults();
    expect_lost(w);
}

/* The last write of a commit is the root's. */
static void after_a_failed_write_of_the_root_nothing_is_written_any_more(void **state)
{
    struct world *w = *state;
    unsigned writes;

    put(w->store, "apple", "blue");
    fault.writes = 0;
    put(w->store, "apple", "red");
    writes = fault.writes;
    assert_true(writes >= 2);
    fault.error = EIO;
    fault.after = (int)writes - 1;
    assert_int_equal(commit_with(w->store, "pear"), DTQ_EIO);
    no_faults();
    expect_lost(w);
}

static void a_short_write_on_a_disk_with_space_is_an_error(void **state)
{
    struct world *w = *state;

    put(w->store, "apple", "red");
    fault.error = -1;
    assert_int_equal(commit_with(w->store, "pear"), DTQ_EIO);
    no_faults();
    expect_lost(w);
}

static void reopen_async(struct world *w)
{
    close_world(w);
    w->cfg.durability = STORE_ASYNC;
    open_world(w);
}

static void async_leaves_flushes_to_sync(void **state)
{
    struct world *w = *state;

    reopen_async(w);
    fault.flushes = 0;
    put(w->store, "apple", "red");
    put(w->store, "pear", "green");
    assert_int_equal(fault.flushes, 0);
    assert_int_equal(store_sync(w->store), DTQ_OK);
    assert_int_equal(fault.flushes, 2); /* pages, then the root */
    close_world(w);
    open_world(w);
    expect(w->store, "apple", "red");
    expect(w->store, "pear", "green");
}

static void async_shows_a_reader_what_was_committed(void **state)
{
    struct world *w = *state;

    reopen_async(w);
    put(w->store, "apple", "red");
    expect(w->store, "apple", "red");
    put(w->store, "apple", "yellow");
    expect(w->store, "apple", "yellow");
}

/* As if the process had been killed: what it wrote is there, and nothing that it did not. */
static void in_a_process_that_dies(struct world *w, void (*act)(struct world *w))
{
    pid_t child;
    int status;

    reopen_async(w);
    close_world(w);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        open_world(w);
        act(w);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void put_and_delete(struct world *w)
{
    struct store_tx *tx;
    struct store_cursor *c;
    struct dtqi_slice key;
    struct dtqi_slice value;

    put(w->store, "apple", "red");
    put(w->store, "pear", "green");
    put(w->store, "plum", "blue");
    assert_int_equal(store_begin(w->store, true, &tx), DTQ_OK);
    assert_int_equal(store_del(tx, FRUIT, text("pear")), DTQ_OK);
    assert_int_equal(store_cursor_open(tx, FRUIT, false, &c), DTQ_OK);
    assert_int_equal(store_seek(c, text("apple"), &key, &value), DTQ_OK);
    assert_int_equal(store_cursor_del(c), DTQ_OK);
    store_cursor_close(c);
    assert_int_equal(store_commit(tx), DTQ_OK);
}

static void async_commits_survive_the_death_of_the_process(void **state)
{
    struct world *w = *state;

    in_a_process_that_dies(w, put_and_delete);
    open_world(w);
    expect(w->store, "plum", "blue");
    expect(w->store, "apple", NULL);
    expect(w->store, "pear", NULL);
}

static void abort_the_second(struct world *w)
{
    struct store_tx *tx;

    put(w->store, "apple", "red");
    assert_int_equal(store_begin(w->store, true, &tx), DTQ_OK);
    assert_int_equal(store_put(tx, FRUIT, text("apple"), text("brown"), 0), DTQ_OK);
    assert_int_equal(store_put(tx, FRUIT, text("pear"), text("green"), 0), DTQ_OK);
    store_abort(tx);
    put(w->store, "plum", "blue");
}

static void async_aborts_only_what_was_not_committed(void **state)
{
    struct world *w = *state;

    reopen_async(w);
    abort_the_second(w);
    expect(w->store, "apple", "red");
    expect(w->store, "plum", "blue");
    expect(w->store, "pear", NULL);
}

static void async_forgets_what_was_aborted_when_the_process_dies(void **state)
{
    struct world *w = *state;

    in_a_process_that_dies(w, abort_the_second);
    open_world(w);
    expect(w->store, "apple", "red");
    expect(w->store, "plum", "blue");
    expect(w->store, "pear", NULL);
}

static void change_what_was_committed(struct world *w)
{
    put(w->store, "apple", "red");
    assert_int_equal(store_sync(w->store), DTQ_OK);
    put(w->store, "apple", "green");
    assert_int_equal(store_sync(w->store), DTQ_OK);
}

static void async_does_not_do_old_records_again(void **state)
{
    struct world *w = *state;

    in_a_process_that_dies(w, change_what_was_committed);
    open_world(w);
    expect(w->store, "apple", "green");
}

static void damage_the_second_record(const struct world *w)
{
    char path[PATH_MAX];
    uint8_t byte = 0xff;
    int fd;

    (void)snprintf(path, sizeof path, "%s/redo", w->dir);
    fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, &byte, 1, lseek(fd, 0, SEEK_END) - 1), 1);
    close(fd);
}

static void put_two(struct world *w)
{
    put(w->store, "apple", "red");
    put(w->store, "apple", "green");
}

static void async_stops_at_a_record_that_does_not_read_back(void **state)
{
    struct world *w = *state;

    in_a_process_that_dies(w, put_two);
    damage_the_second_record(w);
    open_world(w);
    expect(w->store, "apple", "red");
}

static void put_much(struct world *w)
{
    static char much[40000];
    struct store_tx *tx;

    memset(much, 'x', sizeof much);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(store_begin(w->store, true, &tx), DTQ_OK);
        assert_int_equal(store_put(tx, TREE, (struct dtqi_slice){&i, sizeof i},
                                   (struct dtqi_slice){much, sizeof much - i}, 0),
                         DTQ_OK);
        assert_int_equal(store_commit(tx), DTQ_OK);
    }
}

static void async_keeps_more_than_its_record_holds(void **state)
{
    struct world *w = *state;
    struct store_tx *tx;

    in_a_process_that_dies(w, put_much);
    open_world(w);
    assert_int_equal(store_begin(w->store, false, &tx), DTQ_OK);
    assert_int_equal(store_count(tx, TREE), 5);
    store_abort(tx);
}

static void sync_flushes_in_every_commit(void **state)
{
    struct world *w = *state;

    for (int i = 0; i < 3; i++) {
        fault.flushes = 0;
        put(w->store, "apple", "red");
        assert_int_equal(fault.flushes, 1); /* the root is written with O_DSYNC */
    }
}

/* A small file system of this process alone. false: may not be made here. */
static bool mount_disk(const char *dir)
{
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", dir, "tmpfs", 0, "size=20m") == 0;
}

static int unmount_disk(void **state)
{
    struct world *w = *state;

    close_world(w);
    (void)umount2(w->dir, MNT_DETACH);
    return end_world(state);
}

static void a_real_full_disk_is_survived(void **state)
{
    struct world *w = *state;
    uint64_t records;

    close_world(w);
    if (!mount_disk(w->dir))
        skip();
    open_world(w);
    put(w->store, "apple", "red");
    expect_full_and_empty_again(w->store);
    assert_int_not_equal(fill(w->store, STORE_SPARE), 0); /* to the last page: no SIGBUS, no EIO */
    expect(w->store, "apple", "red");
    assert_int_equal(put_block(w->store, 0, STORE_SPARE), DTQ_ENOSPC);
    close_world(w);
    open_world(w);
    expect(w->store, "apple", "red");
    assert_int_equal(store_check(w->store, NULL, NULL, &records), DTQ_OK);
}

/* Nothing of /proc can be flushed, but what is mounted below it can. */
static void a_store_below_what_has_no_flushes_is_made_at_the_first_start(void **state)
{
    struct world *w = *state;

    close_world(w);
    if (!mount_disk("/proc/tty/driver"))
        skip();
    w->cfg.dir = "/proc/tty/driver/a";
    open_world(w);
    put(w->store, "apple", "red");
    close_world(w);
    assert_int_equal(umount2("/proc/tty/driver", MNT_DETACH), 0);
}

/* ---- memory's own */

static void a_clone_is_what_a_restart_would_find(void **state)
{
    struct world *w = *state;
    struct store *clone;
    struct store_tx *tx;

    put(w->store, "apple", "red");
    tx = begin(w->store, true);
    assert_int_equal(store_put(tx, FRUIT, text("pear"), text("green"), 0), DTQ_OK);
    assert_int_equal(store_memory_clone(w->store, &clone), DTQ_OK);
    assert_int_equal(store_commit(tx), DTQ_OK);
    put(clone, "apple", "blue");
    expect(w->store, "apple", "red");
    expect(w->store, "pear", "green");
    expect(clone, "apple", "blue");
    expect(clone, "pear", NULL);
    assert_true(dtqi_uid_eq(store_uid(w->store), store_uid(clone)));
    close_world(w);
    w->store = clone;
    expect(clone, "apple", "blue");
}

static void a_commit_can_be_made_to_fail(void **state)
{
    struct world *w = *state;
    struct store_tx *tx;

    put(w->store, "apple", "red");
    store_memory_fail_commit(w->store, DTQ_ENOSPC);
    assert_int_equal(commit_with(w->store, "apple"), DTQ_ENOSPC);
    expect(w->store, "apple", "red");
    put(w->store, "apple", "blue");
    store_memory_fail_commit(w->store, DTQ_EIO);
    assert_int_equal(commit_with(w->store, "apple"), DTQ_EIO);
    expect(w->store, "apple", "blue");
    assert_int_equal(store_begin(w->store, true, &tx), DTQ_EIO);
}

static void a_limit_can_be_set_later(void **state)
{
    struct world *w = *state;

    put(w->store, "apple", "red");
    store_memory_set_limit(w->store, 2 * MIB);
    expect_full_and_empty_again(w->store);
}

/* ---- checksums */

static void crc32c_is_that_of_rfc_3720(void **state)
{
    uint8_t bytes[32];

    (void)state;
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(store_crc32c(0, bytes, 32), 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(store_crc32c(0, bytes, 32), 0x62a8ab43);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = i;
    assert_int_equal(store_crc32c(0, bytes, 32), 0x46dd794e);
    assert_int_equal(store_crc32c(store_crc32c(0, bytes, 5), bytes + 5, 27), 0x46dd794e);
    assert_int_equal(store_crc32c(7, NULL, 0), 7);
}

static void both_ways_to_crc32c_agree(void **state)
{
    uint8_t bytes[300];
    uint64_t seed = 1;

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)random_of(&seed);
    for (size_t from = 0; from < 9; from++)
        for (size_t n = 0; n < 290; n++)
            assert_int_equal(store_crc32c((uint32_t)n, bytes + from, n),
                             store_crc32c_portable((uint32_t)n, bytes + from, n));
}

#define MEMORY(f)                                     \
    {                                                 \
#f " (memory)", f, in_memory, end_world, NULL \
    }
#define DIRECTORY(f)                         \
    {                                        \
#f, f, in_directory, end_world, NULL \
    }
#define BOTH(f) MEMORY(f), DIRECTORY(f)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_value_is_read_back_after_its_commit),
        BOTH(tables_do_not_mix),
        BOTH(a_put_if_absent_leaves_what_is_there),
        BOTH(an_abort_drops_everything),
        BOTH(a_reader_keeps_the_state_of_its_begin),
        BOTH(a_write_sees_its_own_changes),
#ifdef DTQI_HAS_ASAN
        BOTH(what_was_borrowed_goes_with_the_next_write),
        BOTH(what_was_borrowed_goes_with_its_transaction),
#endif
        BOTH(a_cursor_that_cannot_be_opened_is_none),
        BOTH(pieces_become_one_value),
        BOTH(large_values_are_kept),
        BOTH(a_walk_goes_in_key_order_both_ways),
        BOTH(a_walk_goes_on_behind_what_it_deletes),
        BOTH(check_counts_records),
        BOTH(a_full_store_takes_deletes_and_then_puts_again),
        BOTH(what_was_deleted_makes_room_though_nothing_else_is_committed),
        BOTH(an_error_sticks_to_its_transaction),
        DIRECTORY(random_work_has_the_same_effect_in_memory),
        DIRECTORY(a_restart_finds_everything_and_the_same_identity),
        DIRECTORY(a_new_table_may_come_last),
        DIRECTORY(a_second_open_is_refused_and_names_the_holder),
        DIRECTORY(a_kill_leaves_what_was_committed),
        DIRECTORY(a_kill_at_any_write_of_a_commit_leaves_all_or_nothing),
        DIRECTORY(another_kind_of_store_is_refused),
        DIRECTORY(a_newer_format_is_refused),
        DIRECTORY(a_damaged_identity_is_refused),
        DIRECTORY(a_foreign_lmdb_file_is_refused),
        DIRECTORY(a_file_of_something_else_is_refused),
        DIRECTORY(a_file_cut_short_is_refused),
        DIRECTORY(a_flipped_bit_in_the_file_is_found),
        MEMORY(a_damaged_record_is_found_and_can_be_stepped_over),
        DIRECTORY(a_record_in_the_place_of_another_is_found),
        DIRECTORY(a_record_too_short_for_its_seal_is_found),
        DIRECTORY(directories_are_made_for_the_owner_alone),
        DIRECTORY(a_path_through_a_file_is_refused),
        DIRECTORY(an_unwritable_directory_is_refused),
        DIRECTORY(a_full_disk_refuses_puts_and_takes_deletes),
        DIRECTORY(a_disk_that_cannot_allocate_ahead_will_do),
        DIRECTORY(a_file_that_ends_in_free_pages_is_not_cut_short),
        DIRECTORY(no_space_in_a_commit_leaves_the_store_usable),
        DIRECTORY(after_a_failed_flush_nothing_is_written_any_more),
        DIRECTORY(after_a_failed_write_nothing_is_written_any_more),
        DIRECTORY(after_a_failed_write_of_the_root_nothing_is_written_any_more),
        DIRECTORY(a_short_write_on_a_disk_with_space_is_an_error),
        DIRECTORY(async_leaves_flushes_to_sync),
        DIRECTORY(async_shows_a_reader_what_was_committed),
        DIRECTORY(async_commits_survive_the_death_of_the_process),
        DIRECTORY(async_aborts_only_what_was_not_committed),
        DIRECTORY(async_forgets_what_was_aborted_when_the_process_dies),
        DIRECTORY(async_does_not_do_old_records_again),
        DIRECTORY(async_stops_at_a_record_that_does_not_read_back),
        DIRECTORY(async_keeps_more_than_its_record_holds),
        DIRECTORY(sync_flushes_in_every_commit),
        {"a_real_full_disk_is_survived", a_real_full_disk_is_survived, in_directory, unmount_disk,
         NULL},
        DIRECTORY(a_store_below_what_has_no_flushes_is_made_at_the_first_start),
        MEMORY(a_clone_is_what_a_restart_would_find),
        MEMORY(a_commit_can_be_made_to_fail),
        MEMORY(a_limit_can_be_set_later),
        cmocka_unit_test(crc32c_is_that_of_rfc_3720),
        cmocka_unit_test(both_ways_to_crc32c_agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
