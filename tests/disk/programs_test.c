/*
 * The real programs on disks that fail, by a preloaded library (shim.c) and by a small file system
 * of this process alone: killed in commits, errors of the disk, full disks, wrong directories,
 * damaged ones.
 */
#include "cluster.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINES 4u

#ifndef NO_SHIM
static unsigned rounds(void)
{
    const char *factor = getenv("DTQ_DISK_ROUNDS");

    return factor != NULL ? (unsigned)strtoul(factor, NULL, 10) : 1;
}

/* ---- programs with the shim */

/* The next program that is started has a disk that fails. */
static void fail_disk(const char *dir, const char *fault, unsigned at)
{
    char text[16];

    (void)snprintf(text, sizeof text, "%u", at);
    setenv("LD_PRELOAD", SHIM_LIBRARY, 1);
    setenv("DISK_DIR", dir, 1);
    setenv("DISK_FAULT", fault, 1);
    setenv("DISK_AT", text, 1);
}

static void mend_disk(void)
{
    unsetenv("LD_PRELOAD");
    unsetenv("DISK_FAULT");
}

static struct run *start_failing_ventilator(struct cluster *c, const char *fault, unsigned at)
{
    char data[PATH_MAX];
    char data_option[PATH_MAX + 8];
    char bind[300];

    cluster_path(c, "ventilator", data, sizeof data);
    (void)snprintf(data_option, sizeof data_option, "--data=%s", data);
    (void)snprintf(bind, sizeof bind, "--bind=%s", c->control);
    fail_disk(data, fault, at);
    c->ventilator = run_start(c, NULL, "dtq-ventilator", bind, data_option, NULL);
    mend_disk();
    return c->ventilator;
}

static struct run *start_failing_sink(struct cluster *c, const char *fault, unsigned at)
{
    char data[PATH_MAX];
    char data_option[PATH_MAX + 8];
    char intake[300];
    char results[300];

    cluster_path(c, "sink", data, sizeof data);
    (void)snprintf(data_option, sizeof data_option, "--data=%s", data);
    (void)snprintf(intake, sizeof intake, "--intake=%s", c->intake);
    (void)snprintf(results, sizeof results, "--results=%s", c->results);
    fail_disk(data, fault, at);
    c->sink = run_start(c, NULL, "dtq-sink", "-V", c->control, intake, results, data_option, NULL);
    mend_disk();
    return c->sink;
}

static const char *few_lines(struct cluster *c)
{
    return cluster_file(c, "1\n2\n3\n4\n", 8);
}

/* Ids, one a line, that a submit has printed: all of them. */
struct ids {
    char *text;
    size_t n;
};

static void take_ids(struct ids *ids, struct run *submit)
{
    char *both = NULL;

    if (run_end(submit) != 0)
        fail_msg("submit: %s", submit->said);
    assert_int_equal(submit->lines, LINES);
    assert_true(asprintf(&both, "%s%s", ids->text != NULL ? ids->text : "", submit->text) > 0);
    free(ids->text);
    ids->text = both;
    ids->n += submit->lines;
}

static void expect_all_open(struct cluster *c, const struct ids *ids)
{
    const char *list = dtq_expect(c, 0, NULL, "list", "--limit", "0", "--json", NULL);
    size_t lines = 0;

    for (const char *at = list; *at != '\0'; at++)
        lines += *at == '\n';
    assert_int_equal(lines, ids->n);
    for (const char *at = ids->text; *at != '\0'; at = strchr(at, '\n') + 1) {
        char id[64];

        (void)snprintf(id, sizeof id, "%.*s", (int)strcspn(at, "\n"), at);
        assert_non_null(strstr(list, id));
    }
}

/* Until one of them has ended. */
static void wait_either(const struct run *a, const struct run *b)
{
    struct pollfd ends[2] = {{.fd = a->pidfd, .events = POLLIN},
                             {.fd = b->pidfd, .events = POLLIN}};

    assert_true(poll(ends, 2, 60000) > 0);
}

/* ---- stories */

static void a_ventilator_killed_at_calls_of_its_commits_keeps_what_it_confirmed(void **state)
{
    struct cluster *c = *state;
    unsigned kills = 8 * rounds() < 40 ? 8 * rounds() : 40;
    struct ids ids = {0};

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    assert_int_equal(run_stop(c->ventilator, SIGTERM), 0);
    for (unsigned i = 0; i < kills; i++) {
        struct run *v = start_failing_ventilator(c, "kill", 1 + i * 40 / kills);
        struct run *submit = run_start(c, few_lines(c), "dtq", "submit", "-V", c->control,
                                       "--each-line", "-", "t", NULL);

        wait_either(v, submit);
        (void)run_stop(v, SIGKILL); /* if it was not asked for as much */
        cluster_start_ventilator(c, NULL);
        take_ids(&ids, submit);
        (void)run_stop(c->ventilator, SIGKILL);
    }
    cluster_start_ventilator(c, NULL);
    expect_all_open(c, &ids);
    free(ids.text);
}

static void a_ventilator_whose_flush_fails_stops_and_recovers(void **state)
{
    struct cluster *c = *state;
    struct ids ids = {0};
    struct run *submit;
    struct run *v;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    assert_int_equal(run_stop(c->ventilator, SIGTERM), 0);
    v = start_failing_ventilator(c, "eio-write", 25);
    submit = run_start(c, few_lines(c), "dtq", "submit", "-V", c->control, "--each-line", "-", "t",
                       NULL);
    for (unsigned i = 0; i < 40 && run_is_alive(v); i++) /* until it comes to that call */
        (void)dtq_run(c, NULL, "submit", "t", "x", "--timeout", "200ms", NULL);
    assert_int_equal(run_end(v), 1);
    expect_in(v, v->said, "nothing more may be confirmed");
    cluster_start_ventilator(c, NULL);
    take_ids(&ids, submit);
    for (const char *at = ids.text; *at != '\0'; at = strchr(at, '\n') + 1) {
        char id[64];

        (void)snprintf(id, sizeof id, "%.*s", (int)strcspn(at, "\n"), at);
        expect_in(submit, dtq_expect(c, 0, NULL, "show", id, NULL), "ready");
    }
    free(ids.text);
}

static void a_sink_whose_disk_fails_stops_and_the_outcomes_come_again(void **state)
{
    struct cluster *c = *state;
    struct run *sink;
    char id[64];

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    (void)cluster_start_worker(c, "--exec", "echo=/bin/cat", "-c2", NULL);
    assert_int_equal(run_stop(c->sink, SIGTERM), 0);
    sink = start_failing_sink(c, "eio-write", 12);
    dtq_submit_id(c, id, "echo", "hello", NULL);
    for (unsigned i = 0; i < 40 && run_is_alive(sink); i++)
        (void)dtq_run(c, NULL, "submit", "echo", "x", "--wait", "--timeout", "200ms", NULL);
    assert_int_equal(run_end(sink), 1);
    cluster_start_sink(c, NULL);
    assert_string_equal(dtq_expect(c, 0, NULL, "result", id, "--wait", "--raw", NULL), "hello");
}

/* The compaction that was not killed at all ends it. @return calls at which it was. */
static unsigned kill_compactions(struct cluster *c, const char *dir, const char *fault)
{
    unsigned at = 1;
    struct run *r;

    for (;; at++) {
        fail_disk(dir, fault, at);
        r = dtq_run(c, NULL, "store", "compact", dir, NULL);
        mend_disk();
        if (r->status == 0)
            return at - 1;
        assert_int_equal(r->status, 1000 + SIGKILL);
        expect_in(r, dtq_expect(c, 0, NULL, "store", "check", dir, NULL), "no damage");
    }
}

static void a_compaction_killed_at_any_call_leaves_a_whole_journal(void **state)
{
    struct cluster *c = *state;
    char dir[PATH_MAX];
    struct ids ids = {0};

    cluster_path(c, "ventilator", dir, sizeof dir);
    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    take_ids(&ids, run_start(c, few_lines(c), "dtq", "submit", "--each-line", "-", "t", NULL));
    assert_int_equal(run_stop(c->ventilator, SIGTERM), 0);
    assert_true(kill_compactions(c, dir, "kill") > 10);
    assert_true(kill_compactions(c, dir, "tear") > 10);
    cluster_start_ventilator(c, NULL);
    expect_all_open(c, &ids);
    free(ids.text);
}

#endif

/* ---- a small disk */

static bool mount_small_disk(struct cluster *c, const char *name, const char *size, char *ret,
                             size_t bytes)
{
    cluster_path(c, name, ret, bytes);
    return mkdir(ret, 0700) == 0 && unshare(CLONE_NEWNS) == 0 &&
           mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", ret, "tmpfs", 0, size) == 0;
}

static void fill_disk(const char *dir, bool is_full)
{
    char path[PATH_MAX];
    static uint8_t block[4096];
    int fd;

    (void)snprintf(path, sizeof path, "%s/filler", dir);
    if (!is_full) {
        assert_int_equal(unlink(path), 0);
        return;
    }
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    memset(block, 1, sizeof block);
    while (write(fd, block, sizeof block) > 0)
        ;
    close(fd);
}

static struct run *submit_large(struct cluster *c, const char *payload)
{
    return dtq_run(c, NULL, "submit", "echo", "--payload-file", payload, "--timeout", "2s", NULL);
}

static bool takes_tasks(struct cluster *c, void *arg)
{
    return submit_large(c, arg)->status == 0;
}

static bool is_drained(struct cluster *c, void *arg)
{
    const char *list = dtq_expect(c, 0, NULL, "list", "--limit", "1", "--json", NULL);

    (void)arg;
    return list[0] == '\0';
}

static void a_full_disk_refuses_tasks_finishes_those_it_has_and_recovers(void **state)
{
    static uint8_t bytes[200000];
    struct cluster *c = *state;
    struct run *refused = NULL;
    const char *payload;
    char disk[PATH_MAX];
    unsigned taken = 0;

    if (!mount_small_disk(c, "ventilator", "size=16m", disk, sizeof disk))
        skip();
    payload = cluster_file(c, bytes, sizeof bytes);
    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    for (; taken < 200; taken++) {
        refused = submit_large(c, payload);
        if (refused->status != 0)
            break;
    }
    assert_in_range(taken, 5, 100); /* what met the full disk first is not known to anybody .. */
    refused = submit_large(c, payload);
    assert_int_equal(refused->status, 75); /* .. and what comes then is refused at once */
    expect_in(refused, refused->said, "full");

    /* The same at a start, with not one byte left. */
    assert_int_equal(run_stop(c->ventilator, SIGTERM), 0);
    fill_disk(disk, true);
    cluster_start_ventilator(c, NULL);
    (void)cluster_start_worker(c, "--exec", "echo=/bin/cat", "-c2", NULL);
    wait_until(c, is_drained, NULL);
    fill_disk(disk, false);
    wait_until(c, takes_tasks, (void *)(uintptr_t)payload);
    wait_until(c, is_drained, NULL);
    assert_int_equal(umount2(disk, MNT_DETACH), 0);
}

static bool is_full(struct cluster *c, void *arg)
{
    (void)arg;
    return strstr(dtq_expect(c, 0, NULL, "sink", "list", NULL), "FULL") != NULL;
}

/* Results wait at the workers while the disk of the sink has not one byte left, and after the sink
 * was killed and started on it. */
static void a_full_disk_of_the_sink_loses_no_result(void **state)
{
    struct cluster *c = *state;
    char disk[PATH_MAX];
    char ids[8][64];

    if (!mount_small_disk(c, "sink", "size=40m", disk, sizeof disk))
        skip();
    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    (void)cluster_start_worker(c, "--exec", "large=head -c 2000000 /dev/zero", "-c2", NULL);
    (void)dtq_expect(c, 0, NULL, "submit", "large", "x", "--wait", "--json", NULL);
    fill_disk(disk, true);
    for (unsigned i = 0; i < 8; i++)
        dtq_submit_id(c, ids[i], "large", "x", NULL);
    wait_until(c, is_full, NULL);
    (void)run_stop(c->sink, SIGKILL);
    cluster_start_sink(c, NULL);
    wait_until(c, is_full, NULL);
    assert_false(is_drained(c, NULL));
    fill_disk(disk, false);
    for (unsigned i = 0; i < 8; i++)
        expect_in(c->sink, dtq_expect(c, 0, NULL, "wait", ids[i], NULL), "succeeded");
    wait_until(c, is_drained, NULL);
    assert_int_equal(umount2(disk, MNT_DETACH), 0);
}

/* ---- wrong and damaged directories */

static void another_programs_directory_is_refused(void **state)
{
    struct cluster *c = *state;
    char option[PATH_MAX + 8];
    struct run *r;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    assert_int_equal(run_stop(c->sink, SIGTERM), 0);
    assert_int_equal(run_stop(c->ventilator, SIGTERM), 0);
    (void)snprintf(option, sizeof option, "--data=%s/sink", c->dir);
    r = run_start(c, NULL, "dtq-ventilator", "--bind=tcp://127.0.0.1:*", option, NULL);
    assert_int_equal(run_end(r), 1);
    expect_in(r, r->said, "holds a store of kind 'results', not 'journal'");
    (void)snprintf(option, sizeof option, "--data=%s/ventilator", c->dir);
    r = run_start(c, NULL, "dtq-sink", "-V", c->control, "--intake=tcp://127.0.0.1:*",
                  "--results=tcp://127.0.0.1:*", option, NULL);
    assert_int_equal(run_end(r), 1);
    expect_in(r, r->said, "holds a store of kind 'journal', not 'results'");
}

/* The journal of another cluster, behind the same address: its tasks and ours do not mix. */
static void a_ventilator_on_another_directory_neither_has_nor_loses_our_tasks(void **state)
{
    struct cluster *c = *state;
    char option[PATH_MAX + 8];
    char ours[64];
    char theirs[64];

    (void)snprintf(option, sizeof option, "--data=%s/another", c->dir);
    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    dtq_submit_id(c, ours, "echo", "ours", NULL);
    assert_int_equal(run_stop(c->ventilator, SIGTERM), 0);
    cluster_start_ventilator(c, option, NULL);
    (void)cluster_start_worker(c, "--exec", "echo=/bin/cat", "-Q", "served", NULL);
    dtq_submit_id(c, theirs, "echo", "theirs", "-q", "served", NULL);
    assert_string_equal(dtq_expect(c, 0, NULL, "result", theirs, "--wait", "--raw", NULL),
                        "theirs");
    assert_string_equal(dtq_expect(c, 0, NULL, "list", "--json", NULL), "");
    assert_int_equal(run_stop(c->ventilator, SIGTERM), 0);
    cluster_start_ventilator(c, NULL);
    (void)cluster_start_worker(c, "--exec", "echo=/bin/cat", NULL);
    assert_string_equal(dtq_expect(c, 0, NULL, "result", ours, "--wait", "--raw", NULL), "ours");
    assert_string_equal(dtq_expect(c, 0, NULL, "result", theirs, "--raw", NULL), "theirs");
}

/* A data file, while nobody has it. */
struct copy {
    uint8_t *bytes;
    size_t n;
};

static struct copy take_copy(const char *path)
{
    struct copy copy;
    struct stat st;
    FILE *f = fopen(path, "re");

    assert_non_null(f);
    assert_int_equal(fstat(fileno(f), &st), 0);
    copy.n = (size_t)st.st_size;
    copy.bytes = malloc(copy.n);
    assert_non_null(copy.bytes);
    assert_int_equal(fread(copy.bytes, 1, copy.n, f), copy.n);
    fclose(f);
    return copy;
}

static void put_back(const char *path, struct copy *copy)
{
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    assert_int_equal(fwrite(copy->bytes, 1, copy->n, f), copy->n);
    assert_int_equal(fclose(f), 0);
    free(copy->bytes);
}

static bool has_said_diverged(struct cluster *c, void *arg)
{
    FILE *f = fopen(c->ventilator->said_path, "re");
    bool said = false;
    char line[1024];

    (void)arg;
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL)
        said |= strstr(line, "ev=sink_diverged") != NULL;
    fclose(f);
    return said;
}

static void submit_and_wait(struct cluster *c, const char *payload)
{
    assert_string_equal(dtq_expect(c, 0, NULL, "submit", "echo", payload, "--wait", NULL), payload);
}

/* It does not know what it is said to have settled (R34). What comes meanwhile is settled by the
 * newer one, when that is put back. */
static void a_sink_restored_from_an_old_copy_is_noticed_and_settles_nothing(void **state)
{
    struct cluster *c = *state;
    char path[PATH_MAX];
    struct copy before;
    struct copy after;
    char id[64];

    cluster_path(c, "sink/data.mdb", path, sizeof path);
    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    (void)cluster_start_worker(c, "--exec", "echo=/bin/cat", NULL);
    submit_and_wait(c, "one\n");
    assert_int_equal(run_stop(c->sink, SIGTERM), 0);
    before = take_copy(path);
    cluster_start_sink(c, NULL);
    submit_and_wait(c, "two\n");
    assert_int_equal(run_stop(c->sink, SIGTERM), 0);
    after = take_copy(path);
    put_back(path, &before);
    cluster_start_sink(c, NULL);
    wait_until(c, has_said_diverged, NULL);
    dtq_submit_id(c, id, "echo", "three", NULL);
    expect_in(c->sink, dtq_expect(c, 0, NULL, "list", NULL), id);
    assert_int_equal(run_stop(c->sink, SIGTERM), 0);
    put_back(path, &after);
    cluster_start_sink(c, NULL);
    assert_string_equal(dtq_expect(c, 0, NULL, "result", id, "--wait", "--raw", NULL), "three");
}

static bool has_outcome_of(struct cluster *c, void *arg)
{
    const struct run *r = dtq_run(c, NULL, "show", (const char *)arg, NULL);

    return strstr(r->text, "succeeded") != NULL;
}

/* There is no newer copy: the operator goes on with the old one. What the lost part held cannot be
 * asked for any more; what was open then, and what comes, is settled. */
static void a_sink_restored_from_an_old_copy_goes_on_when_it_is_accepted(void **state)
{
    struct cluster *c = *state;
    char path[PATH_MAX];
    struct copy before;
    char lost[64];
    char id[64];

    cluster_path(c, "sink/data.mdb", path, sizeof path);
    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    (void)cluster_start_worker(c, "--exec", "echo=/bin/cat", NULL);
    submit_and_wait(c, "one\n");
    assert_int_equal(run_stop(c->sink, SIGTERM), 0);
    before = take_copy(path);
    cluster_start_sink(c, NULL);
    dtq_submit_id(c, lost, "echo", "two", NULL);
    wait_until(c, has_outcome_of, lost);
    assert_int_equal(run_stop(c->sink, SIGTERM), 0);
    put_back(path, &before);
    cluster_start_sink(c, NULL);
    wait_until(c, has_said_diverged, NULL);
    dtq_submit_id(c, id, "echo", "three", NULL);
    expect_in(c->sink, dtq_expect(c, 0, NULL, "list", "--state=ready", NULL), id);
    expect_in(c->sink, dtq_expect(c, 0, NULL, "explain", id, NULL), "restored from an old copy");
    expect_in(c->sink, dtq_expect(c, 0, NULL, "sink", "list", NULL), "DIVERGED");
    expect_in(c->sink, dtq_expect(c, 0, NULL, "status", NULL), "DIVERGED");
    expect_in(c->sink, dtq_expect(c, 0, NULL, "sink", "accept", c->results, NULL), "accepted");
    assert_string_equal(dtq_expect(c, 0, NULL, "result", id, "--wait", "--raw", NULL), "three");
    assert_null(strstr(dtq_expect(c, 0, NULL, "sink", "list", NULL), "DIVERGED"));
    (void)dtq_expect(c, 1, NULL, "show", lost, NULL); /* not found */
    (void)dtq_expect(c, 1, NULL, "sink", "accept", c->results, NULL);
}

static void a_second_ventilator_on_a_directory_is_refused(void **state)
{
    struct cluster *c = *state;
    char option[PATH_MAX + 8];
    char words[64];
    struct run *r;

    cluster_start_ventilator(c, NULL);
    (void)snprintf(option, sizeof option, "--data=%s/ventilator", c->dir);
    r = run_start(c, NULL, "dtq-ventilator", "--bind=tcp://127.0.0.1:*", option, NULL);
    assert_int_equal(run_end(r), 1);
    (void)snprintf(words, sizeof words, "process %d has the directory", c->ventilator->pid);
    expect_in(r, r->said, words);
}

/* Flip a bit in each place where the file has these bytes. */
static unsigned flip_all(const char *path, const char *bytes)
{
    FILE *f = fopen(path, "r+e");
    size_t n = strlen(bytes);
    unsigned flips = 0;
    struct stat st;
    char *text;

    assert_non_null(f);
    assert_int_equal(fstat(fileno(f), &st), 0);
    text = malloc((size_t)st.st_size);
    assert_int_equal(fread(text, 1, (size_t)st.st_size, f), st.st_size);
    for (size_t at = 0; at + n <= (size_t)st.st_size; at++) {
        char flipped = (char)(text[at] ^ 4);

        if (memcmp(text + at, bytes, n) != 0)
            continue;
        assert_int_equal(pwrite(fileno(f), &flipped, 1, (off_t)at), 1);
        flips++;
    }
    free(text);
    fclose(f);
    return flips;
}

static void a_damaged_journal_is_named_and_the_rest_of_it_saved(void **state)
{
    struct cluster *c = *state;
    char dir[PATH_MAX];
    char saved[PATH_MAX];
    char path[PATH_MAX + 16];
    char sound[64];
    char damaged[64];
    char lost[96];
    struct run *r;

    cluster_path(c, "ventilator", dir, sizeof dir);
    cluster_path(c, "saved", saved, sizeof saved);
    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    dtq_submit_id(c, sound, "echo", "a sound payload", NULL);
    dtq_submit_id(c, damaged, "echo", "another payload", NULL);
    r = dtq_run(c, NULL, "store", "check", dir, NULL);
    assert_int_equal(r->status, 75);
    expect_in(r, r->said, "has the directory");
    (void)snprintf(lost, sizeof lost, "task %s is lost", damaged);
    assert_int_equal(run_stop(c->ventilator, SIGTERM), 0);
    expect_in(r, dtq_expect(c, 0, NULL, "store", "check", dir, NULL), "no damage");
    (void)snprintf(path, sizeof path, "%s/data.mdb", dir);
    assert_true(flip_all(path, "another payload") > 0);

    expect_in(r, dtq_expect(c, 1, NULL, "store", "check", dir, NULL), "its checksum does not fit");
    expect_in(r, dtq_expect(c, 1, NULL, "store", "check", "--json", dir, NULL),
              "\"table\":\"tasks\"");
    r = dtq_run(c, NULL, "store", "compact", dir, NULL);
    assert_int_equal(r->status, 1);
    expect_in(r, r->said, "was left as it is");
    expect_in(r, dtq_expect(c, 1, NULL, "store", "check", "--salvage", saved, dir, NULL), lost);
    expect_in(r, dtq_expect(c, 0, NULL, "store", "check", saved, NULL), "no damage");
    expect_in(r, dtq_expect(c, 0, NULL, "store", "stats", "--json", saved, NULL), "\"pages_free\"");

    (void)snprintf(path, sizeof path, "--data=%s", saved);
    (void)snprintf(dir, sizeof dir, "--bind=%s", c->control);
    c->ventilator = run_start(c, NULL, "dtq-ventilator", dir, path, NULL);
    run_wait_ready(c->ventilator);
    expect_in(r, dtq_expect(c, 0, NULL, "list", NULL), sound);
    (void)cluster_start_worker(c, "--exec", "echo=/bin/cat", NULL);
    assert_string_equal(dtq_expect(c, 0, NULL, "result", sound, "--wait", "--raw", NULL),
                        "a sound payload");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        STORY(another_programs_directory_is_refused),
        STORY(a_second_ventilator_on_a_directory_is_refused),
        STORY(a_ventilator_on_another_directory_neither_has_nor_loses_our_tasks),
        STORY(a_sink_restored_from_an_old_copy_is_noticed_and_settles_nothing),
        STORY(a_sink_restored_from_an_old_copy_goes_on_when_it_is_accepted),
        STORY(a_damaged_journal_is_named_and_the_rest_of_it_saved),
#ifndef NO_SHIM
        STORY(a_ventilator_killed_at_calls_of_its_commits_keeps_what_it_confirmed),
        STORY(a_ventilator_whose_flush_fails_stops_and_recovers),
        STORY(a_sink_whose_disk_fails_stops_and_the_outcomes_come_again),
        STORY(a_compaction_killed_at_any_call_leaves_a_whole_journal),
#endif
        STORY(a_full_disk_refuses_tasks_finishes_those_it_has_and_recovers),
        STORY(a_full_disk_of_the_sink_loses_no_result),
    };

    return RUN_STORIES(argc, argv, tests);
}
