/* dtq store: look after the data directory of a ventilator or a sink that does not run. */
#include "cli.h"

#include "journal_repair.h"
#include "progress.h"
#include "results.h"
#include "store_copy.h"
#include "table.h"

#include <stdio.h>
#include <string.h>

#define KINDS_N 2
#define REPAIR_BYTES_SPARE (1ull << 30) /* of the file's bound */
#define DAMAGE_SHOWN_MAX 1000u

struct store_options {
    const char *salvage;
};

static const struct opt store_table[] = {
    {.name = "salvage",
     .type = OPT_PATH,
     OPT_AT(struct store_options, salvage),
     .meta = "NEWDIR",
     .command_line_only = true,
     .help = "check: write what is sound into a new store there, which the daemon can then use"},
};

struct job {
    struct cli *cli;
    const char *dir;
    const char *salvage; /* NULL: not wanted */
    struct store_kind kinds[KINDS_N];
    struct store_pages *pages;
    struct progress progress;
    json_t *damages;
    uint64_t damages_n;
    json_t *lost; /* ids of tasks that could not be saved */
    struct journal_repair repair;
    struct table rows;
    char why[1024];
};

/* ---- what the walk tells */

static void key_text(struct dtqi_slice key, char *ret, size_t bytes)
{
    const uint8_t *at = key.at;
    size_t n = 0;

    for (uint32_t i = 0; i < key.len && n + 3 < bytes; i++, n += 2)
        snprintf(ret + n, bytes - n, "%02x", at[i]);
    ret[n] = '\0';
}

static void add_json(struct job *job, const struct store_damage *damage, const char *key)
{
    json_t *object = json_object();

    if (damage->table[0] != '\0')
        json_object_set_new(object, "table", json_string(damage->table));
    if (key[0] != '\0')
        json_object_set_new(object, "key", json_string(key));
    json_object_set_new(object, "page", json_integer((json_int_t)damage->page));
    json_object_set_new(object, "what", json_string(damage->what));
    json_array_append_new(job->damages, object);
}

static void on_damage(void *arg, const struct store_damage *damage)
{
    struct job *job = arg;
    char key[2 * STORE_KEY_BYTES_MAX + 3];

    if (job->damages_n++ >= DAMAGE_SHOWN_MAX)
        return;
    key_text(damage->key, key, sizeof key);
    if (job->cli->json) {
        add_json(job, damage, key);
        return;
    }
    table_cell(&job->rows, "%s", damage->table[0] != '\0' ? damage->table : "-");
    table_cell(&job->rows, "%s", key[0] != '\0' ? key : "-");
    table_cell(&job->rows, "%llu", (unsigned long long)damage->page);
    table_cell(&job->rows, "%s", damage->what);
}

static void on_progress(void *arg, uint64_t pages, uint64_t pages_n)
{
    struct job *job = arg;

    job->progress.total = pages_n;
    progress_show(&job->progress, pages, job->damages_n);
}

static struct store_visitor visitor_of(struct job *job)
{
    return (struct store_visitor){.arg = job, .on_damage = on_damage, .on_progress = on_progress};
}

/* ---- what all of them do */

static int failed(const struct job *job, dtq_err err)
{
    int status = err == DTQ_ELOCKED || err == DTQ_ENOSPC ? CLI_BUSY : CLI_FAILED;

    return cli_error(job->cli, status, "%s", job->why[0] != '\0' ? job->why : dtq_strerror(err));
}

static int open_dir(struct job *job)
{
    static const char *const titles[] = {"TABLE", "KEY", ">PAGE", "WHAT", NULL};
    struct store_cfg results;
    dtq_err err;

    results_store_cfg(&results);
    job->kinds[0] = (struct store_kind){JOURNAL_KIND, journal_tables, JOURNAL_TABLES_N};
    job->kinds[1] = (struct store_kind){results.kind, results.tables, results.tables_n};
    job->damages = json_array();
    job->lost = json_array();
    if (job->damages == NULL || job->lost == NULL)
        cli_out_of_memory();
    table_init(&job->rows, titles);
    err = store_pages_open(job->dir, job->kinds, KINDS_N, &job->pages, job->why, sizeof job->why);
    return err == DTQ_OK ? OPT_GO : failed(job, err);
}

static const struct store_kind *kind_of(const struct job *job)
{
    return &job->kinds[store_pages_kind(job->pages)];
}

static uint64_t records_of(const struct job *job)
{
    uint64_t records = 0;

    for (unsigned i = 0; i < kind_of(job)->tables_n; i++) {
        struct store_table_size size;

        store_pages_table_size(job->pages, i, &size);
        records += size.records;
    }
    return records;
}

static json_t *json_head(const struct job *job)
{
    const dtqi_uid *uid = store_pages_uid(job->pages);
    json_t *object = json_object();
    char digits[33];

    json_object_set_new(object, "dir", json_string(job->dir));
    json_object_set_new(object, "kind", json_string(kind_of(job)->kind));
    if (uid != NULL) {
        key_text((struct dtqi_slice){uid->bytes, sizeof uid->bytes}, digits, sizeof digits + 2);
        json_object_set_new(object, "store", json_string(digits));
    }
    return object;
}

static void set_number(json_t *object, const char *key, uint64_t number)
{
    json_object_set_new(object, key, json_integer((json_int_t)number));
}

/* ---- check */

static void on_lost(void *arg, const dtq_id *id)
{
    struct job *job = arg;
    char text[DTQ_ID_TEXT_BYTES];

    dtq_id_format(id, text);
    if (job->cli->json)
        json_array_append_new(job->lost, json_string(text));
    else
        printf("task %s is lost\n", text);
}

/* A journal's tables lead to one another: what the copy lacks must not be looked for. */
static dtq_err repair(struct job *job)
{
    struct store_cfg cfg = {.dir = job->salvage,
                            .kind = JOURNAL_KIND,
                            .tables = journal_tables,
                            .tables_n = JOURNAL_TABLES_N};
    struct store_file_size size;
    struct store *store;
    dtq_err err;

    if (strcmp(kind_of(job)->kind, JOURNAL_KIND) != 0)
        return DTQ_OK;
    store_pages_size(job->pages, &size);
    cfg.map_bytes_max = 2 * size.file_bytes + REPAIR_BYTES_SPARE;
    err = store_open(&cfg, &store, job->why, sizeof job->why);
    if (err != DTQ_OK)
        return err;
    job->repair = (struct journal_repair){.arg = job, .on_lost = on_lost};
    err = journal_repair(store, &job->repair);
    if (err != DTQ_OK)
        snprintf(job->why, sizeof job->why, "cannot repair the copy in '%s': %s", job->salvage,
                 store_errmsg(store));
    store_close(store);
    return err;
}

static void print_check(struct job *job, uint64_t salvaged)
{
    const char *kind = kind_of(job)->kind;
    json_t *object;

    if (!job->cli->json) {
        if (job->damages_n > 0)
            table_print(&job->rows, stdout);
        printf("%s (%s): %llu records, %s\n", job->dir, kind, (unsigned long long)records_of(job),
               job->damages_n == 0 ? "no damage" : "DAMAGED");
        if (job->salvage != NULL)
            printf("%llu sound records are in %s\n", (unsigned long long)salvaged, job->salvage);
        return;
    }
    object = json_head(job);
    set_number(object, "records", records_of(job));
    set_number(object, "damaged", job->damages_n);
    json_object_set(object, "damage", job->damages);
    if (job->salvage != NULL) {
        json_object_set_new(object, "salvage", json_string(job->salvage));
        set_number(object, "salvaged", salvaged);
        if (strcmp(kind, JOURNAL_KIND) == 0) {
            set_number(object, "tasks", job->repair.tasks);
            json_object_set(object, "lost", job->lost);
        }
    }
    cli_print_json(object);
}

static int check(struct job *job)
{
    struct store_visitor visitor = visitor_of(job);
    uint64_t salvaged = 0;
    dtq_err err;

    progress_start(&job->progress, job->salvage != NULL ? "salvage" : "check", 0);
    if (job->salvage != NULL)
        err = store_copy(job->pages, kind_of(job), job->salvage, &visitor, &salvaged, job->why,
                         sizeof job->why);
    else
        err = store_pages_walk(job->pages, &visitor);
    progress_end(&job->progress);
    if (job->salvage != NULL && (err == DTQ_OK || err == DTQ_ECORRUPT)) {
        dtq_err repaired = store_copy_redo(job->pages, kind_of(job), job->dir, job->salvage,
                                           job->why, sizeof job->why);

        if (repaired == DTQ_OK)
            repaired = repair(job);
        if (repaired != DTQ_OK)
            return failed(job, repaired);
    }
    if (err != DTQ_OK && err != DTQ_ECORRUPT)
        return failed(job, err);
    print_check(job, salvaged);
    if (err == DTQ_ECORRUPT && job->salvage == NULL)
        cli_error(job->cli, 0,
                  "`dtq store check --salvage NEWDIR %s` saves what is sound into a new store",
                  job->dir);
    return err == DTQ_OK ? CLI_DONE : CLI_FAILED;
}

/* ---- compact */

static void print_compact(struct job *job, const struct store_file_size *before,
                          const struct store_file_size *after)
{
    uint64_t old_bytes = before->pages * before->page_bytes;
    uint64_t new_bytes = after->pages * after->page_bytes;
    json_t *object;

    if (!job->cli->json) {
        printf("%s (%s): %llu records, %llu bytes before, %llu now\n", job->dir, kind_of(job)->kind,
               (unsigned long long)records_of(job), (unsigned long long)old_bytes,
               (unsigned long long)new_bytes);
        return;
    }
    object = json_head(job);
    set_number(object, "records", records_of(job));
    set_number(object, "bytes_before", old_bytes);
    set_number(object, "bytes", new_bytes);
    cli_print_json(object);
}

static int compact(struct job *job)
{
    struct store_visitor visitor = visitor_of(job);
    struct store_file_size before;
    struct store_file_size after;
    dtq_err err;

    store_pages_size(job->pages, &before);
    progress_start(&job->progress, "compact", 0);
    err = store_compact(job->pages, kind_of(job), job->dir, &visitor, &after, job->why,
                        sizeof job->why);
    progress_end(&job->progress);
    if (err == DTQ_ECORRUPT)
        return cli_error(job->cli, CLI_FAILED,
                         "the store in '%s' is damaged, and was left as it is: `dtq store check` "
                         "tells where",
                         job->dir);
    if (err != DTQ_OK)
        return failed(job, err);
    print_compact(job, &before, &after);
    return CLI_DONE;
}

/* ---- stats */

static json_t *json_table(const struct store_table_size *size)
{
    json_t *object = json_object();

    json_object_set_new(object, "table", json_string(size->name));
    set_number(object, "records", size->records);
    set_number(object, "key_bytes", size->key_bytes);
    set_number(object, "value_bytes", size->value_bytes);
    set_number(object, "pages", size->pages);
    set_number(object, "depth", size->depth);
    return object;
}

static void print_stats_json(const struct job *job, const struct store_file_size *file)
{
    json_t *object = json_head(job);
    json_t *tables = json_array();

    set_number(object, "file_bytes", file->file_bytes);
    set_number(object, "allocated_bytes", file->allocated_bytes);
    set_number(object, "page_bytes", file->page_bytes);
    set_number(object, "pages", file->pages);
    set_number(object, "pages_free", file->pages_free);
    set_number(object, "commits", file->commits);
    for (unsigned i = 0; i < kind_of(job)->tables_n; i++) {
        struct store_table_size size;

        store_pages_table_size(job->pages, i, &size);
        json_array_append_new(tables, json_table(&size));
    }
    json_object_set_new(object, "tables", tables);
    cli_print_json(object);
}

static void print_tables(const struct job *job)
{
    static const char *const titles[] = {"TABLE",  ">RECORDS", ">KEY BYTES", ">VALUE BYTES",
                                         ">PAGES", ">DEPTH",   NULL};
    struct table t;

    table_init(&t, titles);
    for (unsigned i = 0; i < kind_of(job)->tables_n; i++) {
        struct store_table_size size;

        store_pages_table_size(job->pages, i, &size);
        table_cell(&t, "%s", size.name);
        table_cell(&t, "%llu", (unsigned long long)size.records);
        table_cell(&t, "%llu", (unsigned long long)size.key_bytes);
        table_cell(&t, "%llu", (unsigned long long)size.value_bytes);
        table_cell(&t, "%llu", (unsigned long long)size.pages);
        table_cell(&t, "%u", size.depth);
    }
    table_print(&t, stdout);
    table_done(&t);
}

static int stats(struct job *job)
{
    struct store_visitor visitor = {.arg = job, .on_progress = on_progress};
    struct store_file_size file;
    dtq_err err;

    progress_start(&job->progress, "stats", 0);
    err = store_pages_walk(job->pages, &visitor);
    progress_end(&job->progress);
    if (err != DTQ_OK && err != DTQ_ECORRUPT)
        return failed(job, err);
    store_pages_size(job->pages, &file);
    if (job->cli->json) {
        print_stats_json(job, &file);
    } else {
        print_tables(job);
        printf("%s (%s): %llu pages of %llu bytes, %llu of them free; file %llu bytes, on the disk "
               "%llu; %llu commits\n",
               job->dir, kind_of(job)->kind, (unsigned long long)file.pages,
               (unsigned long long)file.page_bytes, (unsigned long long)file.pages_free,
               (unsigned long long)file.file_bytes, (unsigned long long)file.allocated_bytes,
               (unsigned long long)file.commits);
    }
    if (err == DTQ_OK)
        return CLI_DONE;
    return cli_error(job->cli, CLI_FAILED, "'%s' is damaged: `dtq store check` tells where",
                     job->dir);
}

/* ---- the command */

static const struct verb {
    const char *name;
    int (*run)(struct job *job);
} verbs[] = {{"check", check}, {"compact", compact}, {"stats", stats}};

static const struct verb *find_verb(const struct cli *c, const char *word)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(verbs[i].name, word) == 0)
            return &verbs[i];
    cli_error(c, 0, "'%s' is neither check, compact nor stats", word);
    return NULL;
}

static int run_verb(struct cli *c, const struct verb *verb, const struct store_options *o)
{
    struct job job = {.cli = c, .dir = c->parsed.operands[1], .salvage = o->salvage};
    int status;

    if (o->salvage != NULL && verb->run != check)
        return cli_error(c, CLI_USAGE, "--salvage belongs to `dtq store check`");
    status = open_dir(&job);
    if (status == OPT_GO)
        status = cli_flush(c, verb->run(&job));
    store_pages_close(job.pages);
    table_done(&job.rows);
    json_decref(job.damages);
    json_decref(job.lost);
    return status;
}

int cmd_store(int argc, char **argv)
{
    struct store_options o;
    struct cli c;
    struct cli_spec spec = {
        .command = "store",
        .usage = "check [--salvage NEWDIR] DIR\ncompact DIR\nstats DIR",
        .summary =
            "Check, compact or measure the data directory of a ventilator or a sink, which must "
            "not be running.",
        .epilog =
            "check reads every page and every record, compares all checksums, and names what is "
            "damaged by\ntable, key and page. It changes nothing. With --salvage everything sound "
            "goes into a new store in\nNEWDIR, of the same identity: give that to the daemon with "
            "--data. Tasks that are lost are named.\ncompact writes the store anew, without free "
            "pages, reads the copy back, and puts it in the place of\nthe old one; it needs room "
            "for both meanwhile. A damaged store is left alone.\nstats shows tables, records, "
            "bytes and free pages.\n\nExit status: 0 sound or done, 1 damaged or failed, 2 usage, "
            "75 in use by a daemon, or the disk is full.",
        .opts = store_table,
        .opts_n = sizeof store_table / sizeof *store_table,
        .values = &o,
        .operands_min = 2,
        .operands_max = 2,
    };
    const struct verb *verb;
    int status = cli_parse(&c, &spec, argc, argv);

    if (status == OPT_GO) {
        verb = find_verb(&c, c.parsed.operands[0]);
        status = verb != NULL ? run_verb(&c, verb, &o) : CLI_USAGE;
    }
    cli_done(&c);
    return status;
}
