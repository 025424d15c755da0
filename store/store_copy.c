#include "store_copy.h"

#include "store_dir.h"
#include "store_redo.h"

#include <limits.h>
#include <stdio.h>

#define BATCH_BYTES (16u * 1024 * 1024)
#define RECORD_COST 64u /* what a record takes beside its key and value, about */
#define MAP_BYTES_SPARE (1ull << 30)

struct copy {
    struct store *store;
    struct store_tx *tx;
    uint64_t batch_bytes;
    uint64_t records;
    uint64_t again; /* records that were there already: the walk gave them twice */
    dtq_err err;
    const struct store_visitor *visitor;
};

static dtq_err end_batch(struct copy *c)
{
    struct store_tx *tx = c->tx;

    c->tx = NULL;
    c->batch_bytes = 0;
    return tx != NULL ? store_commit(tx) : DTQ_OK;
}

/* Most records come in order; those that lost their place come behind the others. */
static dtq_err put(struct copy *c, unsigned table, struct dtqi_slice key, struct dtqi_slice value)
{
    dtq_err err = store_put(c->tx, table, key, value, STORE_SPARE | STORE_LAST);

    if (err != DTQ_ECONFLICT)
        return err;
    err = store_put(c->tx, table, key, value, STORE_SPARE | STORE_IF_ABSENT);
    if (err != DTQ_ECONFLICT)
        return err;
    c->again++;
    return DTQ_OK;
}

static dtq_err copy_record(void *arg, unsigned table, struct dtqi_slice key,
                           struct dtqi_slice value)
{
    struct copy *c = arg;
    dtq_err err = DTQ_OK;

    if (c->batch_bytes >= BATCH_BYTES)
        err = end_batch(c);
    if (err == DTQ_OK && c->tx == NULL)
        err = store_begin(c->store, true, &c->tx);
    if (err == DTQ_OK)
        err = put(c, table, key, value);
    c->batch_bytes += (uint64_t)key.len + value.len + RECORD_COST;
    c->records++;
    c->err = err;
    return err;
}

static void pass_damage(void *arg, const struct store_damage *damage)
{
    struct copy *c = arg;

    if (c->visitor != NULL && c->visitor->on_damage != NULL)
        c->visitor->on_damage(c->visitor->arg, damage);
}

static void pass_progress(void *arg, uint64_t pages, uint64_t pages_n)
{
    struct copy *c = arg;

    if (c->visitor != NULL && c->visitor->on_progress != NULL)
        c->visitor->on_progress(c->visitor->arg, pages, pages_n);
}

static dtq_err copy_all(struct copy *c, struct store_pages *p)
{
    struct store_visitor visitor = {c, copy_record, pass_damage, pass_progress};
    dtq_err found = store_pages_walk(p, &visitor);

    if (c->err == DTQ_OK && (found == DTQ_OK || found == DTQ_ECORRUPT))
        c->err = end_batch(c);
    store_abort(c->tx);
    c->tx = NULL;
    return c->err != DTQ_OK ? c->err : found;
}

dtq_err store_copy(struct store_pages *p, const struct store_kind *kind, const char *dir,
                   const struct store_visitor *visitor, uint64_t *ret_records, char *why,
                   size_t why_bytes)
{
    struct store_why sentence = {why, why_bytes};
    struct copy c = {.visitor = visitor};
    struct store_file_size size;
    struct store_cfg cfg = {.dir = dir,
                            .kind = kind->kind,
                            .tables = kind->tables,
                            .tables_n = kind->tables_n,
                            .durability = STORE_SYNC,
                            .uid = store_pages_uid(p)};
    dtq_err err;

    store_pages_size(p, &size);
    cfg.map_bytes_max = 2 * size.file_bytes + MAP_BYTES_SPARE;
    if (store_dir_has(dir, "data.mdb"))
        return store_why(sentence, DTQ_ECONFLICT, "the directory '%s' has a store already", dir);
    err = store_open(&cfg, &c.store, why, why_bytes);
    if (err != DTQ_OK)
        return err;
    err = copy_all(&c, p);
    if (c.err != DTQ_OK)
        (void)store_why(sentence, err, "cannot write the copy in '%s': %s", dir,
                        store_errmsg(c.store));
    *ret_records = c.records - c.again;
    store_close(c.store);
    return err;
}

dtq_err store_copy_redo(struct store_pages *p, const struct store_kind *kind, const char *from,
                        const char *to, char *why, size_t why_bytes)
{
    struct store_why sentence = {why, why_bytes};
    struct store_file_size size;
    struct store_cfg cfg = {.dir = to,
                            .kind = kind->kind,
                            .tables = kind->tables,
                            .tables_n = kind->tables_n,
                            .durability = STORE_SYNC};
    struct store *store;
    dtq_err err;

    if (!store_dir_has(from, STORE_REDO_FILE))
        return DTQ_OK;
    store_pages_size(p, &size);
    cfg.map_bytes_max = 2 * size.file_bytes + MAP_BYTES_SPARE;
    err = store_open(&cfg, &store, why, why_bytes);
    if (err != DTQ_OK)
        return err;
    err = store_redo_recover(store, from, size.commits + 1);
    if (err != DTQ_OK)
        (void)store_why(sentence, err, "cannot do the last writes again in '%s': %s", to,
                        store_errmsg(store));
    store_close(store);
    return err;
}

/* ---- in the place of the old one */

static bool same_size(const struct store_pages *a, const struct store_pages *b, unsigned tables_n)
{
    for (unsigned i = 0; i < tables_n; i++) {
        struct store_table_size x;
        struct store_table_size y;

        store_pages_table_size(a, i, &x);
        store_pages_table_size(b, i, &y);
        if (x.records != y.records || x.key_bytes != y.key_bytes || x.value_bytes != y.value_bytes)
            return false;
    }
    return true;
}

/* Read the copy from the disk: every record is sound, and none is missing. */
static dtq_err read_back(const struct store_pages *p, const struct store_kind *kind,
                         const char *dir, struct store_file_size *ret_size, struct store_why why)
{
    struct store_visitor nobody = {0};
    struct store_pages *copy;
    dtq_err err = store_pages_open(dir, kind, 1, &copy, why.at, why.bytes);

    if (err != DTQ_OK)
        return err;
    err = store_pages_walk(copy, &nobody);
    if (err != DTQ_OK || !same_size(p, copy, kind->tables_n))
        err = store_why(why, DTQ_EIO, "the copy does not read back as it was written");
    store_pages_size(copy, ret_size);
    store_pages_close(copy);
    return err;
}

dtq_err store_compact(struct store_pages *p, const struct store_kind *kind, const char *dir,
                      const struct store_visitor *visitor, struct store_file_size *ret_size,
                      char *why, size_t why_bytes)
{
    struct store_why sentence = {why, why_bytes};
    char path[PATH_MAX];
    uint64_t records;
    dtq_err err;

    if (snprintf(path, sizeof path, "%s/" STORE_DIR_COPY, dir) >= (int)sizeof path)
        return store_why(sentence, DTQ_EIO, "the path of the directory is too long");
    store_dir_remove_copy(dir);
    err = store_copy(p, kind, path, visitor, &records, why, why_bytes);
    if (err == DTQ_OK)
        err = read_back(p, kind, path, ret_size, sentence);
    if (err == DTQ_OK)
        err = store_copy_redo(p, kind, dir, path, why, why_bytes);
    if (err == DTQ_OK)
        err = store_dir_replace(dir, path, sentence);
    if (err == DTQ_OK)
        err = store_dir_remove(dir, STORE_REDO_FILE, sentence);
    store_dir_remove_copy(dir);
    return err;
}
