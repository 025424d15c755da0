/* A journal loses any one page: what is saved of it is a journal that a ventilator can go on with.
 */
#include "journal_repair.h"
#include "store_copy.h"
#include "work.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define STEPS 30u
#define PAGE_BYTES 4096u
#define SEED 21u

struct world {
    char dir[64];
    char copy[80];
    char path[80]; /* of the data file */
    struct store_cfg cfg;
    struct store_kind kind;
    struct disk_model model;
    uint64_t lost;
    char why[512];
};

static void remove_tree(const char *dir)
{
    char command[PATH_MAX + 16];

    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    assert_int_equal(system(command), 0); // NOLINT(cert-env33-c): a path of our own
}

static struct store *open_at(struct world *w, const char *dir)
{
    struct store *s;

    w->cfg.dir = dir;
    if (store_open(&w->cfg, &s, w->why, sizeof w->why) != DTQ_OK)
        fail_msg("%s", w->why);
    return s;
}

static int new_world(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct disk_work *work;
    struct store *s;

    (void)snprintf(w->dir, sizeof w->dir, "%s/dtq-salvage-test-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(w->dir));
    (void)snprintf(w->copy, sizeof w->copy, "%s/copy", w->dir);
    (void)snprintf(w->path, sizeof w->path, "%s/data.mdb", w->dir);
    w->cfg.map_bytes_max = 64ull * 1024 * 1024;
    disk_journal.store_cfg(&w->cfg);
    w->kind = (struct store_kind){w->cfg.kind, w->cfg.tables, w->cfg.tables_n};
    disk_model_make(&w->model, &disk_journal, SEED, STEPS);
    s = open_at(w, w->dir);
    work = disk_journal.open(s, w->why, sizeof w->why);
    assert_non_null(work);
    for (unsigned i = 0; i < STEPS; i++)
        assert_int_equal(disk_journal.step(work, SEED, i), DTQ_OK);
    disk_journal.close(work);
    store_close(s);
    *state = w;
    return 0;
}

static int end_world(void **state)
{
    struct world *w = *state;

    remove_tree(w->dir);
    free(w);
    return 0;
}

static void on_lost(void *arg, const dtq_id *id)
{
    struct world *w = arg;

    (void)id;
    w->lost++;
}

/* Save what is there; the repaired journal takes work, and its tables agree. @return its view. */
static uint32_t save_and_go_on(struct world *w, struct store_pages *p, uint64_t *ret_tasks)
{
    struct journal_repair repair = {.arg = w, .on_lost = on_lost};
    struct store_visitor nobody = {0};
    struct disk_work *work;
    struct store *s;
    uint64_t records;
    uint32_t view;
    dtq_err err = store_copy(p, &w->kind, w->copy, &nobody, &records, w->why, sizeof w->why);

    assert_true(err == DTQ_OK || err == DTQ_ECORRUPT);
    w->lost = 0;
    s = open_at(w, w->copy);
    assert_int_equal(journal_repair(s, &repair), DTQ_OK);
    assert_int_equal(repair.lost, w->lost);
    work = disk_journal.open(s, w->why, sizeof w->why);
    if (work == NULL)
        fail_msg("%s", w->why);
    view = disk_journal.view(work);
    for (unsigned i = 0; i < 4; i++) /* deletes and moves among what was saved */
        assert_int_equal(disk_journal.step(work, SEED + 1, STEPS + i), DTQ_OK);
    (void)disk_journal.view(work);
    disk_journal.close(work);
    store_close(s);
    remove_tree(w->copy);
    *ret_tasks = repair.tasks;
    return view;
}

static void a_sound_journal_is_saved_as_it_is(void **state)
{
    struct world *w = *state;
    struct store_pages *p;
    uint64_t tasks;

    assert_int_equal(store_pages_open(w->dir, &w->kind, 1, &p, w->why, sizeof w->why), DTQ_OK);
    assert_int_equal(save_and_go_on(w, p, &tasks), w->model.view);
    assert_int_equal(w->lost, 0);
    assert_true(tasks > 100);
    store_pages_close(p);
}

static void a_journal_without_any_one_page_goes_on(void **state)
{
    static const uint8_t zeros[PAGE_BYTES];
    struct world *w = *state;
    uint8_t page[PAGE_BYTES];
    int fd = open(w->path, O_RDWR);
    struct stat st;
    uint64_t lost = 0;
    unsigned saved = 0;

    assert_int_equal(fstat(fd, &st), 0);
    for (off_t at = 2 * PAGE_BYTES; at + PAGE_BYTES <= st.st_size; at += PAGE_BYTES) {
        struct store_pages *p;
        uint64_t tasks;

        assert_int_equal(pread(fd, page, sizeof page, at), sizeof page);
        if (memcmp(page, zeros, sizeof page) == 0)
            continue; /* never used */
        assert_int_equal(pwrite(fd, zeros, sizeof zeros, at), sizeof zeros);
        if (store_pages_open(w->dir, &w->kind, 1, &p, w->why, sizeof w->why) == DTQ_OK) {
            (void)save_and_go_on(w, p, &tasks);
            store_pages_close(p);
            saved++;
            lost += w->lost;
        }
        assert_int_equal(pwrite(fd, page, sizeof page, at), sizeof page);
    }
    close(fd);
    assert_true(saved > 30);
    assert_true(lost > 0);
    print_message("%u pages lost one at a time, %llu tasks lost\n", saved,
                  (unsigned long long)lost);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_sound_journal_is_saved_as_it_is, new_world, end_world),
        cmocka_unit_test_setup_teardown(a_journal_without_any_one_page_goes_on, new_world,
                                        end_world),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
