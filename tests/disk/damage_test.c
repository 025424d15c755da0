/*
 * Flipped bits and cut files. Whatever stands in the file: nothing crashes, no reader is told of a
 * record that was not put, and what is missing or changed is called damage, with its place.
 */
#include "store_backend.h"
#include "store_copy.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE_BYTES 4096u
#define RECORDS 1200u
#define LARGE_BYTES 9000u
#define FLIPS 1500u
#define OPENS 150u

enum { SMALL, WIDE, TABLES_N };
static const char *const table_names[] = {"small", "wide"};
static const struct store_kind kinds[] = {{"other", table_names, 1},
                                          {"garden", table_names, TABLES_N}};
static const struct store_kind *const garden = &kinds[1];

struct world {
    char dir[64];
    char copy[80]; /* a directory in it */
    char path[80]; /* of the data file */
    uint8_t *file; /* as it should be */
    size_t file_bytes;
    size_t used_bytes; /* of it, by the newest commit */
    uint64_t records;
    uint32_t digest; /* of all records */
    char why[512];
};

static unsigned rounds(void)
{
    const char *factor = getenv("DTQ_DISK_ROUNDS");

    return factor != NULL ? (unsigned)strtoul(factor, NULL, 10) : 1;
}

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* ---- a store with inner pages, large values, deleted ones, and a list of free pages */

static struct store_cfg config(const char *dir)
{
    return (struct store_cfg){.dir = dir,
                              .kind = garden->kind,
                              .tables = garden->tables,
                              .tables_n = garden->tables_n,
                              .map_bytes_max = 64ull * 1024 * 1024};
}

static void put(struct store_tx *tx, unsigned table, uint32_t n, uint32_t bytes)
{
    static uint8_t value[LARGE_BYTES];
    uint8_t key[20] = {0};

    for (int i = 0; i < 4; i++)
        key[i] = (uint8_t)(n >> (24 - 8 * i));
    memset(value, (int)(n * 7 + 1), bytes);
    assert_int_equal(store_put(tx, table, (struct dtqi_slice){key, sizeof key},
                               (struct dtqi_slice){value, bytes}, 0),
                     DTQ_OK);
}

static void del(struct store_tx *tx, unsigned table, uint32_t n)
{
    uint8_t key[20] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};

    assert_int_equal(store_del(tx, table, (struct dtqi_slice){key, sizeof key}), DTQ_OK);
}

static void fill(struct store *s)
{
    struct store_tx *tx;

    for (uint32_t round = 0; round < 4; round++) {
        assert_int_equal(store_begin(s, true, &tx), DTQ_OK);
        for (uint32_t n = round; n < RECORDS; n += 4)
            put(tx, SMALL, n * 17, 40);
        for (uint32_t n = 0; n < 6; n++)
            put(tx, WIDE, round * 6 + n, n % 2 == 0 ? LARGE_BYTES : 100);
        assert_int_equal(store_commit(tx), DTQ_OK);
    }
    assert_int_equal(store_begin(s, true, &tx), DTQ_OK);
    for (uint32_t n = 0; n < RECORDS; n += 3)
        del(tx, SMALL, n * 17);
    del(tx, WIDE, 2);
    assert_int_equal(store_commit(tx), DTQ_OK);
}

static int new_world(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct store *s;
    struct stat st;
    int fd;

    (void)snprintf(w->dir, sizeof w->dir, "/tmp/dtq-damage-test-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    (void)snprintf(w->copy, sizeof w->copy, "%s/copy", w->dir);
    (void)snprintf(w->path, sizeof w->path, "%s/data.mdb", w->dir);
    assert_int_equal(store_open(&(struct store_cfg){.dir = w->dir,
                                                    .kind = garden->kind,
                                                    .tables = garden->tables,
                                                    .tables_n = garden->tables_n,
                                                    .map_bytes_max = 64ull * 1024 * 1024},
                                &s, w->why, sizeof w->why),
                     DTQ_OK);
    fill(s);
    store_close(s);
    fd = open(w->path, O_RDONLY);
    assert_int_equal(fstat(fd, &st), 0);
    w->file_bytes = (size_t)st.st_size;
    w->file = malloc(w->file_bytes);
    assert_int_equal(read(fd, w->file, w->file_bytes), w->file_bytes);
    close(fd);
    *state = w;
    return 0;
}

static void remove_tree(const char *dir)
{
    char command[PATH_MAX + 16];

    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    assert_int_equal(system(command), 0); // NOLINT(cert-env33-c): a path of our own
}

static int end_world(void **state)
{
    struct world *w = *state;

    remove_tree(w->dir);
    free(w->file);
    free(w);
    return 0;
}

/* ---- reading it */

struct reading {
    uint64_t records;
    uint32_t digest; /* order does not matter, number and contents do */
    uint64_t damages;
    size_t used_bytes;
    struct store_damage last;
    char key[41];
};

static dtq_err on_record(void *arg, unsigned table, struct dtqi_slice key, struct dtqi_slice value)
{
    struct reading *r = arg;
    uint8_t number = (uint8_t)table;
    uint32_t crc = store_crc32c(0, &number, 1);

    r->records++;
    r->digest += store_crc32c(store_crc32c(crc, key.at, key.len), value.at, value.len);
    return DTQ_OK;
}

static void on_damage(void *arg, const struct store_damage *damage)
{
    struct reading *r = arg;

    r->damages++;
    r->last = *damage;
    r->key[0] = '\0';
    for (uint32_t i = 0; i < damage->key.len && i < 20; i++)
        (void)snprintf(r->key + 2 * i, 3, "%02x", ((const uint8_t *)damage->key.at)[i]);
}

static dtq_err read_all(struct world *w, const char *dir, struct reading *r)
{
    struct store_visitor visitor = {.arg = r, .on_record = on_record, .on_damage = on_damage};
    struct store_file_size size;
    struct store_pages *p;
    dtq_err err = store_pages_open(dir, kinds, 2, &p, w->why, sizeof w->why);

    *r = (struct reading){0};
    if (err != DTQ_OK)
        return err;
    assert_int_equal(store_pages_kind(p), 1);
    err = store_pages_walk(p, &visitor);
    store_pages_size(p, &size);
    r->used_bytes = size.pages * size.page_bytes;
    store_pages_close(p);
    return err;
}

static void read_sound(struct world *w)
{
    struct reading r;

    if (read_all(w, w->dir, &r) != DTQ_OK)
        fail_msg("%s: page %llu: %s", w->why, (unsigned long long)r.last.page, r.last.what);
    assert_int_equal(r.damages, 0);
    w->records = r.records;
    w->digest = r.digest;
    w->used_bytes = r.used_bytes;
}

/* ---- changing it */

static void write_file(struct world *w, size_t at, const void *bytes, size_t n)
{
    int fd = open(w->path, O_WRONLY);

    assert_int_equal(pwrite(fd, bytes, n, (off_t)at), n);
    close(fd);
}

static void flip(struct world *w, size_t bit)
{
    uint8_t byte = w->file[bit / 8] ^ (uint8_t)(1u << bit % 8);

    write_file(w, bit / 8, &byte, 1);
}

static void mend(struct world *w, size_t bit)
{
    write_file(w, bit / 8, &w->file[bit / 8], 1);
}

/* Half of the flips go where structure is: the heads of pages, and what roots say. */
static size_t choose_bit(const struct world *w, uint64_t *seed)
{
    uint64_t random = next_random(seed);
    size_t page = (next_random(seed) % (w->used_bytes / PAGE_BYTES)) * PAGE_BYTES;

    if (random % 4 == 0)
        return (page + next_random(seed) % 16) * 8 + random / 4 % 8;
    if (random % 4 == 1)
        return ((random / 64 % 2) * PAGE_BYTES + next_random(seed) % 152) * 8 + random / 4 % 8;
    return (next_random(seed) % w->used_bytes) * 8 + random / 4 % 8;
}

/* ---- tests */

static void a_sound_store_has_no_damage_and_every_record(void **state)
{
    struct world *w = *state;

    read_sound(w);
    assert_int_equal(w->records, RECORDS / 3 * 2 + 23);
}

static void no_flipped_bit_goes_unnoticed(void **state)
{
    struct world *w = *state;
    uint64_t seed = 0x9E3779B97F4A7C15ull;
    unsigned found = 0;

    read_sound(w);
    for (unsigned i = 0; i < FLIPS * rounds(); i++) {
        size_t bit = choose_bit(w, &seed);
        struct reading r;
        dtq_err err;

        flip(w, bit);
        err = read_all(w, w->dir, &r);
        if (err == DTQ_OK && (r.records != w->records || r.digest != w->digest))
            fail_msg("bit %zu: %llu of %llu records, and no damage", bit,
                     (unsigned long long)r.records, (unsigned long long)w->records);
        assert_true(err == DTQ_OK || err == DTQ_ECORRUPT);
        found += err == DTQ_ECORRUPT;
        mend(w, bit);
    }
    assert_true(found > FLIPS * rounds() / 4); /* free pages and gaps may be flipped at will */
}

static void a_flipped_bit_in_a_value_names_table_key_and_page(void **state)
{
    struct world *w = *state;
    struct reading r;
    const uint8_t value[8] = {1 + 7 * 17 * 4 % 256, 1 + 7 * 17 * 4 % 256, 1 + 7 * 17 * 4 % 256,
                              1 + 7 * 17 * 4 % 256, 1 + 7 * 17 * 4 % 256, 1 + 7 * 17 * 4 % 256,
                              1 + 7 * 17 * 4 % 256, 1 + 7 * 17 * 4 % 256};
    uint8_t key[24] = {0, 0, 0, 17 * 4};
    unsigned named = 0;

    read_sound(w);
    for (size_t at = 0; at + sizeof key + 8 < w->used_bytes; at++) {
        if (memcmp(w->file + at, key, 20) != 0 || memcmp(w->file + at + 24, value, 8) != 0)
            continue;
        flip(w, (at + 30) * 8);
        if (read_all(w, w->dir, &r) == DTQ_ECORRUPT) { /* else: an old copy, on a free page */
            assert_int_equal(r.damages, 1);
            assert_string_equal(r.last.table, "small");
            assert_string_equal(r.key, "0000004400000000000000000000000000000000");
            assert_int_equal(r.last.page, at / PAGE_BYTES);
            assert_int_equal(r.records, w->records - 1);
            named++;
        }
        mend(w, (at + 30) * 8);
    }
    assert_int_equal(named, 1);
}

static void a_file_cut_anywhere_is_damaged(void **state)
{
    struct world *w = *state;

    read_sound(w);
    for (size_t bytes = 0; bytes < w->used_bytes; bytes += 1777) {
        struct reading r;
        struct store *s;
        struct store_cfg cfg = config(w->dir);

        assert_int_equal(truncate(w->path, (off_t)bytes), 0);
        assert_int_equal(read_all(w, w->dir, &r), DTQ_ECORRUPT);
        assert_int_equal(store_open(&cfg, &s, w->why, sizeof w->why), DTQ_ECORRUPT);
        assert_non_null(strstr(w->why, w->dir));
        write_file(w, 0, w->file, w->file_bytes);
    }
    read_sound(w);
}

static void a_store_without_its_file_is_not_a_new_one(void **state)
{
    struct world *w = *state;
    struct store_cfg cfg = config(w->dir);
    struct store *s;

    assert_int_equal(unlink(w->path), 0);
    assert_int_equal(store_open(&cfg, &s, w->why, sizeof w->why), DTQ_ECORRUPT);
    assert_non_null(strstr(w->why, "has lost its data"));
}

/* A page is filled with zeros: what hung below it is found by its seals, when the page led to it.
 */
static void what_hangs_below_a_lost_page_is_saved(void **state)
{
    static const uint8_t zeros[PAGE_BYTES];
    struct world *w = *state;
    unsigned whole = 0;

    read_sound(w);
    for (size_t page = 2; page < w->used_bytes / PAGE_BYTES; page++) {
        struct store_visitor nobody = {0};
        struct store_pages *p;
        struct reading r;
        uint64_t records;
        bool is_branch = (w->file[page * PAGE_BYTES + 10] & 1) != 0;

        if (!is_branch && page % 8 != 0 && rounds() == 1)
            continue;
        write_file(w, page * PAGE_BYTES, zeros, PAGE_BYTES);
        if (store_pages_open(w->dir, kinds, 2, &p, w->why, sizeof w->why) == DTQ_OK) {
            dtq_err err = store_copy(p, garden, w->copy, &nobody, &records, w->why, sizeof w->why);

            assert_true(err == DTQ_OK || err == DTQ_ECORRUPT);
            store_pages_close(p);
            assert_int_equal(read_all(w, w->copy, &r), DTQ_OK);
            assert_int_equal(r.records, records);
            assert_true(records > w->records / 2);
            whole += err == DTQ_ECORRUPT && records == w->records && r.digest == w->digest;
            remove_tree(w->copy);
        }
        write_file(w, page * PAGE_BYTES, w->file + page * PAGE_BYTES, PAGE_BYTES);
    }
    assert_true(whole >= 1); /* the branch of `small` leads to nothing but sound pages */
}

/* What a daemon does: open, and read everything. */
static int open_and_read(struct world *w)
{
    struct store_cfg cfg = config(w->dir);
    uint64_t records;
    struct store *s;
    dtq_err err = store_open(&cfg, &s, w->why, sizeof w->why);

    if (err == DTQ_OK)
        err = store_check(s, NULL, NULL, &records);
    if (err == DTQ_OK)
        return records == w->records ? 0 : 3;
    return err == DTQ_ECORRUPT ? 1 : 2;
}

static void the_daemons_way_refuses_damage_and_survives_it(void **state)
{
    struct world *w = *state;
    uint64_t seed = 77;
    unsigned ends[4] = {0};
    unsigned signals = 0;

    read_sound(w);
    for (unsigned i = 0; i < OPENS * rounds(); i++) {
        size_t bit = choose_bit(w, &seed);
        pid_t child;
        int status;

        if (bit / 8 % PAGE_BYTES / 8 == 18 && bit / 8 < 2 * PAGE_BYTES)
            continue; /* the number of a root: that it is too low is for `dtq store check` to tell
                       */
        flip(w, bit);
        child = fork();
        if (child == 0) {
            signal(SIGSEGV, SIG_DFL); /* cmocka's would go on with the next test */
            signal(SIGBUS, SIG_DFL);
            signal(SIGABRT, SIG_DFL);
            _exit(open_and_read(w));
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        signals += WIFSIGNALED(status);
        if (WIFSIGNALED(status))
            print_message("bit %zu (page %zu, byte %zu): signal %d\n", bit, bit / 8 / PAGE_BYTES,
                          bit / 8 % PAGE_BYTES, WTERMSIG(status));
        else
            ends[WEXITSTATUS(status) & 3]++;
        write_file(w, 0, w->file, w->file_bytes); /* an opened one was written to */
        if (ends[3] != 0)
            fail_msg("bit %zu: records are missing, and nobody noticed", bit);
    }
    print_message("sound %u, refused %u, other %u, signals %u\n", ends[0], ends[1], ends[2],
                  signals);
    assert_int_equal(ends[2], 0);
    assert_int_equal(signals, 0);
}

static void a_compacted_store_has_the_same_records_and_no_free_pages(void **state)
{
    struct world *w = *state;
    struct store_visitor nobody = {0};
    struct store_cfg cfg = config(w->dir);
    struct store_file_size size;
    struct store_pages *p;
    struct reading r;
    struct store *s;
    size_t used;

    read_sound(w);
    used = w->used_bytes;
    assert_int_equal(store_pages_open(w->dir, kinds, 2, &p, w->why, sizeof w->why), DTQ_OK);
    if (store_compact(p, garden, w->dir, &nobody, &size, w->why, sizeof w->why) != DTQ_OK)
        fail_msg("%s", w->why);
    store_pages_close(p);
    assert_int_equal(read_all(w, w->dir, &r), DTQ_OK);
    assert_int_equal(r.records, w->records);
    assert_int_equal(r.digest, w->digest);
    assert_true(r.used_bytes < used);
    assert_int_equal(store_open(&cfg, &s, w->why, sizeof w->why), DTQ_OK);
    store_close(s);
    (void)snprintf(w->copy, sizeof w->copy, "%s/compact.tmp", w->dir);
    assert_int_not_equal(access(w->copy, F_OK), 0);
}

/* With --durability=async, by a process that is killed behind it. */
static void put_and_die(const struct world *w)
{
    struct store_cfg cfg = config(w->dir);
    struct store_tx *tx;
    struct store *s;
    char why[STORE_WHY_BYTES];

    cfg.durability = STORE_ASYNC;
    if (store_open(&cfg, &s, why, sizeof why) != DTQ_OK || store_begin(s, true, &tx) != DTQ_OK ||
        store_put(tx, 0, (struct dtqi_slice){"late", 4}, (struct dtqi_slice){"news", 4}, 0) !=
            DTQ_OK ||
        store_commit(tx) != DTQ_OK)
        _exit(1);
    _exit(0);
}

static void a_compacted_store_has_what_was_not_flushed(void **state)
{
    struct world *w = *state;
    struct store_visitor nobody = {0};
    struct store_cfg cfg = config(w->dir);
    struct store_file_size size;
    struct dtqi_slice value;
    struct store_pages *p;
    struct store_tx *tx;
    struct store *s;
    pid_t child = fork();
    int status;

    assert_true(child >= 0);
    if (child == 0)
        put_and_die(w);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(store_pages_open(w->dir, kinds, 2, &p, w->why, sizeof w->why), DTQ_OK);
    if (store_compact(p, garden, w->dir, &nobody, &size, w->why, sizeof w->why) != DTQ_OK)
        fail_msg("%s", w->why);
    store_pages_close(p);
    assert_int_equal(store_open(&cfg, &s, w->why, sizeof w->why), DTQ_OK);
    assert_int_equal(store_begin(s, false, &tx), DTQ_OK);
    assert_int_equal(store_get(tx, 0, (struct dtqi_slice){"late", 4}, &value), DTQ_OK);
    store_abort(tx);
    store_close(s);
}

static void a_damaged_store_is_not_compacted(void **state)
{
    struct world *w = *state;
    struct store_visitor nobody = {0};
    struct store_file_size size;
    struct store_pages *p;
    uint64_t seed = 5;
    struct reading r;
    size_t bit;

    read_sound(w);
    do {
        bit = choose_bit(w, &seed);
        flip(w, bit);
        if (read_all(w, w->dir, &r) == DTQ_ECORRUPT && r.damages > 0)
            break;
        mend(w, bit);
    } while (true);
    assert_int_equal(store_pages_open(w->dir, kinds, 2, &p, w->why, sizeof w->why), DTQ_OK);
    assert_int_equal(store_compact(p, garden, w->dir, &nobody, &size, w->why, sizeof w->why),
                     DTQ_ECORRUPT);
    store_pages_close(p);
    mend(w, bit);
    read_sound(w);
}

static void the_tools_wait_for_nobody(void **state)
{
    struct world *w = *state;
    struct store_cfg cfg = config(w->dir);
    struct store_pages *p;
    struct store *s;

    assert_int_equal(store_open(&cfg, &s, w->why, sizeof w->why), DTQ_OK);
    assert_int_equal(store_pages_open(w->dir, kinds, 2, &p, w->why, sizeof w->why), DTQ_ELOCKED);
    store_close(s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, new_world, end_world)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(a_sound_store_has_no_damage_and_every_record),
        TEST(no_flipped_bit_goes_unnoticed),
        TEST(a_flipped_bit_in_a_value_names_table_key_and_page),
        TEST(a_file_cut_anywhere_is_damaged),
        TEST(a_store_without_its_file_is_not_a_new_one),
        TEST(what_hangs_below_a_lost_page_is_saved),
        TEST(the_daemons_way_refuses_damage_and_survives_it),
        TEST(a_compacted_store_has_the_same_records_and_no_free_pages),
        TEST(a_compacted_store_has_what_was_not_flushed),
        TEST(a_damaged_store_is_not_compacted),
        TEST(the_tools_wait_for_nobody),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
