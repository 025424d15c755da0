/*
 * The store in a directory, by LMDB. What LMDB gives: atomic commits, readers beside the writer,
 * pages that are never overwritten while the newest commit needs them. What it lacks is done here
 * and in store.c: checksums, one process at a time, an answer to full disks.
 *
 * Flags. No MDB_WRITEMAP: with it a full disk is a SIGBUS, and a stray write is in the file.
 * MDB_NOTLS: reads belong to their transaction and not to a thread, so one thread may have several
 * open beside the write, and the store may move to another thread. STORE_ASYNC is MDB_NOMETASYNC:
 * LMDB flushes the data pages at each commit, but leaves the page that makes them current to the
 * next flush. A power cut may undo the last commit and nothing else. MDB_NOSYNC would save the
 * other flush too, but its manual promises integrity only where the file system keeps the order of
 * writes, and ext4 and xfs do not: a power cut could leave a root whose pages were never written.
 *
 * So with STORE_ASYNC LMDB's transaction stays open over many of ours, which go to a file that is
 * not flushed instead (store_redo.h): until that is full, somebody reads, or store_sync().
 *
 * Room. The file is allocated ahead of what is used (fallocate), so a full disk shows when room is
 * made, before anything was written, and deletes still find pages when new data finds none.
 *
 * A damaged file. The CRC of store.c covers keys and values. LMDB's own pages (headers, branches)
 * have no checksum: store_pages_glance() looks at the roots, the list of free pages and the
 * branches before LMDB sees them, and at the length of the file, since reading behind its end would
 * be a SIGBUS. Damage in the head of a leaf mostly gives MDB_CORRUPTED or MDB_PAGE_NOTFOUND, which
 * become DTQ_ECORRUPT; `dtq store check` finds it in any case.
 */
#include "store_backend.h"
#include "store_dir.h"
#include "store_guard.h"
#include "store_pages.h"
#include "store_redo.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define IDENTITY_BYTES_MAX 64
#define LOCK_FILE_BYTES 8192u
#define DATA_FILE "data.mdb"
#define SPARE_BYTES_MIN (4ull * 1024 * 1024)
#define SPARE_BYTES_MAX (64ull * 1024 * 1024)
#define MAP_BYTES_MIN (1024ull * 1024)

struct lmdb_store {
    struct store base;
    MDB_env *env;
    MDB_dbi tables[STORE_TABLES_MAX];
    int fd;      /* of the data file, LMDB's */
    int lock_fd; /* of the directory's lock */
    int redo_fd; /* -1: every commit is one of LMDB's */
    struct store_redo redo;
    struct lmdb_tx *kept; /* LMDB's transaction with what is in `redo`; NULL: it is all committed */
    pthread_t kept_by;    /* LMDB's lock is this thread's: no other may end the transaction */
    uint64_t last_commit; /* the newest when the store was opened */
    int guard;
    char *dir;
    uint64_t page_bytes;
    uint64_t map_bytes;
    uint64_t length;    /* of the file, at least */
    uint64_t allocated; /* the file has blocks up to here; with no fallocate: it could have */
    bool no_fallocate;
    bool turn_due; /* a put found no room: see turn() */
    MDB_dbi identity;
};

struct lmdb_tx {
    struct store_tx base;
    MDB_txn *txn;
    MDB_cursor *cursors[STORE_TABLES_MAX]; /* for single keys, NULL until used */
    uint64_t room;                         /* bytes that puts without STORE_SPARE may take */
    uint64_t taken;                        /* .. and have taken, by a high estimate */
};

struct lmdb_cursor {
    struct store_cursor base;
    MDB_cursor *at;
};

static struct lmdb_store *lmdb_of(struct store *s)
{
    return (struct lmdb_store *)s;
}

static struct lmdb_store *lmdb_of_tx(const struct store_tx *tx)
{
    return lmdb_of(tx->store);
}

static MDB_val to_val(struct dtqi_slice slice)
{
    return (MDB_val){.mv_size = slice.len, .mv_data = (void *)(uintptr_t)slice.at};
}

static struct dtqi_slice to_slice(MDB_val val)
{
    return (struct dtqi_slice){val.mv_data, (uint32_t)val.mv_size};
}

static dtq_err lmdb_code(int rc)
{
    switch (rc) {
    case MDB_SUCCESS: return DTQ_OK;
    case MDB_NOTFOUND: return DTQ_ENOTFOUND;
    case MDB_KEYEXIST: return DTQ_ECONFLICT;
    case MDB_MAP_FULL: return DTQ_ENOSPC;
    case MDB_TXN_FULL: return DTQ_ETOOBIG;
    case MDB_PAGE_NOTFOUND:
    case MDB_CORRUPTED:
    case MDB_INVALID:
    case MDB_INCOMPATIBLE:
    case MDB_VERSION_MISMATCH: return DTQ_ECORRUPT;
    default: return rc > 0 ? store_errno_err(rc) : DTQ_EIO;
    }
}

static dtq_err lmdb_err(struct store *s, int rc, const char *what)
{
    dtq_err err = lmdb_code(rc);

    if (err == DTQ_OK || err == DTQ_ENOTFOUND || err == DTQ_ECONFLICT)
        return err;
    return store_set_error(s, err, "%s failed: %s", what, mdb_strerror(rc));
}

/* ---- room */

static uint64_t pages_of(MDB_txn *txn, MDB_dbi dbi)
{
    MDB_stat stat;

    if (mdb_stat(txn, dbi, &stat) != 0)
        return 0;
    return stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
}

/* Pages that hold something: the tables, LMDB's list of free pages (0) and of tables (1), the two
 * roots. All others can be used again, at the latest by the second transaction from now. */
static uint64_t used_bytes(const struct lmdb_store *l, MDB_txn *txn)
{
    uint64_t pages = 2 + pages_of(txn, 0) + pages_of(txn, 1);

    for (unsigned i = 0; i < l->base.tables_n; i++)
        pages += pages_of(txn, l->tables[i]);
    return pages * l->page_bytes;
}

/* The file is in use up to here, holes of free pages included. */
static uint64_t file_bytes(const struct lmdb_store *l)
{
    MDB_envinfo info;

    if (mdb_env_info(l->env, &info) != 0)
        return l->map_bytes;
    return (info.me_last_pgno + 1) * l->page_bytes;
}

static uint64_t min64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t spare_bytes(const struct lmdb_store *l, uint64_t used)
{
    uint64_t spare = used / 2;

    if (spare < SPARE_BYTES_MIN)
        spare = SPARE_BYTES_MIN;
    return min64(min64(spare, SPARE_BYTES_MAX), l->map_bytes / 8);
}

/* Without fallocate the free space of the disk is the best there is to know. */
static void look_at_disk(struct lmdb_store *l)
{
    struct statvfs disk;

    if (fstatvfs(l->fd, &disk) == 0)
        l->allocated = file_bytes(l) + (uint64_t)disk.f_bavail * disk.f_frsize;
}

/* Try to have blocks up to `end`; a failure shows in l->allocated only. */
static void allocate_to(struct lmdb_store *l, uint64_t end)
{
    end = min64(end, l->map_bytes);
    if (!l->no_fallocate && end > l->allocated) {
        uint64_t from = min64(l->allocated, file_bytes(l));

        if (fallocate(l->fd, 0, (off_t)from, (off_t)(end - from)) == 0) {
            l->allocated = end;
            l->length = l->length > end ? l->length : end;
        } else if (errno == EOPNOTSUPP || errno == ENOSYS) {
            l->no_fallocate = true;
        }
    }
    if (l->no_fallocate)
        look_at_disk(l);
}

/*
 * LMDB leaves pages unwritten that a transaction took and gave back. When they are the last ones,
 * the file ends before them and would look cut off at the next start; so it is always made longer
 * than needed, with a hole if there are no blocks for it.
 */
static void lengthen_to(struct lmdb_store *l, uint64_t end)
{
    if (l->length < end && ftruncate(l->fd, (off_t)end) == 0)
        l->length = end;
}

static uint64_t room_left(const struct lmdb_store *l, uint64_t used, uint64_t spare)
{
    uint64_t end = min64(l->allocated, l->map_bytes);

    return end > used + spare ? end - used - spare : 0;
}

static void make_room(struct lmdb_tx *t)
{
    struct lmdb_store *l = lmdb_of_tx(&t->base);
    uint64_t used = used_bytes(l, t->txn);
    uint64_t spare = spare_bytes(l, used);
    uint64_t ahead = file_bytes(l) + spare;

    if (l->allocated < ahead || l->no_fallocate)
        allocate_to(l, ahead + spare / 2);
    if (l->length < ahead)
        lengthen_to(l, ahead + spare / 2);
    t->room = room_left(l, used, spare);
}

/* Take room for one put. Twice its size, since pages may be split in halves. */
static dtq_err take_room(struct lmdb_tx *t, uint64_t bytes)
{
    struct lmdb_store *l = lmdb_of_tx(&t->base);
    uint64_t used;
    uint64_t spare;

    t->taken += 2 * bytes;
    if (t->taken <= t->room)
        return DTQ_OK;
    used = used_bytes(l, t->txn);
    spare = spare_bytes(l, used);
    allocate_to(l, l->allocated + (t->taken - t->room) + spare / 2);
    t->room = room_left(l, used, spare);
    t->taken = 2 * bytes; /* `used` has seen the earlier ones */
    if (t->taken <= t->room)
        return DTQ_OK;
    return store_set_error(
        &l->base, DTQ_ENOSPC, "no space left: %llu bytes are in use, %s", (unsigned long long)used,
        l->allocated < l->map_bytes ? "and the disk is full" : "which is the limit of this store");
}

/* ---- transactions */

static dtq_err commit_failed(struct lmdb_store *l, int rc);
static int identity_put(struct lmdb_store *l, MDB_txn *txn, MDB_dbi dbi);

/*
 * What a transaction frees can be used by the second one after it, and one that is aborted or
 * changes nothing does not count. Somebody who tries again and again to put what did not fit, as a
 * full sink does, would find no room for ever after everything was deleted, if nobody else
 * committed anything. So there is a transaction that changes nothing but itself. Without room for
 * that one, it is tried again with the next.
 */
static dtq_err turn(struct lmdb_store *l)
{
    dtq_err err;
    MDB_txn *txn;
    int rc = mdb_txn_begin(l->env, NULL, 0, &txn);

    if (rc != 0)
        return lmdb_err(&l->base, rc, "beginning a transaction");
    rc = identity_put(l, txn, l->identity);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return DTQ_OK;
    }
    rc = mdb_txn_commit(txn);
    err = rc != 0 ? commit_failed(l, rc) : DTQ_OK;
    l->turn_due = err != DTQ_OK;
    return err == DTQ_ENOSPC ? DTQ_OK : err;
}

static dtq_err commit_kept(struct lmdb_store *l);

/* One more of ours in the transaction that is open. */
static dtq_err begin_in_kept(struct lmdb_store *l, struct store_tx **ret_tx)
{
    struct store_tx *tx = &l->kept->base;

    assert(pthread_equal(l->kept_by, pthread_self()));
    l->kept = NULL;
    tx->failed = DTQ_OK;
    store_redo_begin(&l->redo);
    *ret_tx = tx;
    return DTQ_OK;
}

/* Who reads sees everything that was kept, and what it freed can be used. */
static dtq_err begin_anew(struct store *s, bool write, struct store_tx **ret_tx)
{
    struct lmdb_tx *t;
    dtq_err err = write && lmdb_of(s)->turn_due ? turn(lmdb_of(s)) : DTQ_OK;
    int rc;

    if (err != DTQ_OK)
        return err;
    t = calloc(1, sizeof *t);
    if (t == NULL)
        return store_set_error(s, DTQ_ENOMEM, "out of memory");
    rc = mdb_txn_begin(lmdb_of(s)->env, NULL, write ? 0 : MDB_RDONLY, &t->txn);
    if (rc != 0) {
        free(t);
        return lmdb_err(s, rc, "beginning a transaction");
    }
    t->base.store = s;
    if (write)
        make_room(t);
    if (write && lmdb_of(s)->redo_fd >= 0) {
        t->base.redo = &lmdb_of(s)->redo;
        lmdb_of(s)->kept_by = pthread_self();
        store_redo_begin(t->base.redo);
    }
    *ret_tx = &t->base;
    return DTQ_OK;
}

static dtq_err lmdb_begin(struct store *s, bool write, struct store_tx **ret_tx)
{
    struct lmdb_store *l = lmdb_of(s);
    dtq_err err;

    if (write && l->kept != NULL && !l->turn_due)
        return begin_in_kept(l, ret_tx);
    err = commit_kept(l);
    return err == DTQ_OK ? begin_anew(s, write, ret_tx) : err;
}

/* LMDB frees the cursors of a write transaction itself. */
static void close_cursors(struct lmdb_tx *t)
{
    if (t->base.write)
        return;
    for (unsigned i = 0; i < STORE_TABLES_MAX; i++)
        if (t->cursors[i] != NULL)
            mdb_cursor_close(t->cursors[i]);
}

static void end(struct lmdb_tx *t)
{
    close_cursors(t);
    mdb_txn_abort(t->txn);
    free(t);
}

/* The transaction as it was before the last of ours: LMDB has nothing to go back to, so what was
 * kept is done again. */
static dtq_err do_kept_again(struct lmdb_store *l)
{
    struct lmdb_tx *t = calloc(1, sizeof *t);
    dtq_err err;
    int rc;

    if (t == NULL)
        return store_set_error(&l->base, DTQ_ENOMEM, "out of memory");
    rc = mdb_txn_begin(l->env, NULL, 0, &t->txn);
    if (rc != 0) {
        free(t);
        return lmdb_err(&l->base, rc, "beginning a transaction");
    }
    t->base = (struct store_tx){.store = &l->base, .write = true, .redo = &l->redo};
    make_room(t);
    err = store_redo_again(&l->redo, &t->base);
    if (err == DTQ_OK)
        l->kept = t;
    else
        end(t);
    return err;
}

static void lmdb_abort(struct store_tx *tx)
{
    struct lmdb_tx *t = (struct lmdb_tx *)tx;
    struct lmdb_store *l = lmdb_of_tx(tx);
    bool has_kept = tx->redo != NULL && l->redo.records != 0;
    bool has_writes = tx->redo != NULL && store_redo_drop(tx->redo);

    if (has_kept && !has_writes) {
        l->kept = t;
        return;
    }
    end(t);
    if (has_kept && do_kept_again(l) != DTQ_OK)
        l->base.lost = true; /* the next open does it */
}

static bool disk_is_full(const struct lmdb_store *l)
{
    struct statvfs disk;

    return fstatvfs(l->fd, &disk) == 0 &&
           (uint64_t)disk.f_bavail * disk.f_frsize < SPARE_BYTES_MIN / 4;
}

/* LMDB refuses everything once the write of a root has failed: it cannot know which one counts. */
static bool is_lost(const struct lmdb_store *l)
{
    MDB_txn *txn;

    if (mdb_txn_begin(l->env, NULL, MDB_RDONLY, &txn) != 0)
        return true;
    mdb_txn_abort(txn);
    return false;
}

/*
 * LMDB reports a short write as EIO, and on a full disk the first failing write is a short one.
 * Calling it ENOSPC is safe even when it was something else: nothing of this transaction was made
 * current, and those before it have been flushed. A failure while the root was written is another
 * matter: then nobody can tell before a restart what is current.
 */
static dtq_err commit_failed(struct lmdb_store *l, int rc)
{
    if (rc == EIO && disk_is_full(l))
        rc = ENOSPC;
    if (lmdb_code(rc) == DTQ_ENOSPC && is_lost(l))
        return store_set_error(&l->base, DTQ_EIO, "writing the root to the disk failed: %s",
                               mdb_strerror(rc));
    return lmdb_err(&l->base, rc, "writing to the disk");
}

static dtq_err commit_now(struct lmdb_tx *t)
{
    struct lmdb_store *l = lmdb_of_tx(&t->base);
    bool has_kept = l->redo.records != 0;
    int rc = mdb_txn_commit(t->txn);
    dtq_err err;

    free(t);
    store_redo_clear(&l->redo);
    if (rc == 0) {
        lengthen_to(l, file_bytes(l)); /* a transaction that took more than was kept back */
        return DTQ_OK;
    }
    err = commit_failed(l, rc);
    if (!has_kept)
        return err;
    l->base.lost = true; /* what was answered before is in the file: the next open does it */
    return DTQ_EIO;
}

static dtq_err commit_kept(struct lmdb_store *l)
{
    struct lmdb_tx *t = l->kept;

    l->kept = NULL;
    return t != NULL ? commit_now(t) : DTQ_OK;
}

static dtq_err lmdb_commit(struct store_tx *tx)
{
    struct lmdb_tx *t = (struct lmdb_tx *)tx;
    struct lmdb_store *l = lmdb_of_tx(tx);

    if (tx->redo == NULL ||
        !store_redo_write(tx->redo, l->redo_fd, &l->base.uid, mdb_txn_id(t->txn)))
        return commit_now(t);
    l->kept = t;
    return DTQ_OK;
}

static dtq_err lmdb_sync(struct store *s)
{
    dtq_err err = commit_kept(lmdb_of(s));

    if (err != DTQ_OK)
        return err;
    return lmdb_err(s, mdb_env_sync(lmdb_of(s)->env, 1), "flushing to the disk");
}

static void lmdb_space(const struct store *s, uint64_t *ret_used, uint64_t *ret_max)
{
    const struct lmdb_store *l = (const struct lmdb_store *)s;
    MDB_txn *txn;

    *ret_max = l->map_bytes;
    *ret_used = file_bytes(l);
    if (mdb_txn_begin(l->env, NULL, MDB_RDONLY, &txn) != 0)
        return;
    *ret_used = used_bytes(l, txn);
    mdb_txn_abort(txn);
}

/* ---- single keys */

/* One cursor for each table and transaction: a key near the last one is found without a walk from
 * the root, which is what makes batches in key order fast. */
static dtq_err cursor_of(struct lmdb_tx *t, unsigned table, MDB_cursor **ret)
{
    struct lmdb_store *l = lmdb_of_tx(&t->base);

    if (t->cursors[table] == NULL) {
        int rc = mdb_cursor_open(t->txn, l->tables[table], &t->cursors[table]);

        if (rc != 0)
            return lmdb_err(&l->base, rc, "opening a cursor");
    }
    *ret = t->cursors[table];
    return DTQ_OK;
}

static dtq_err lmdb_put(struct store_tx *tx, unsigned table, struct dtqi_slice key,
                        uint32_t raw_bytes, unsigned flags, uint8_t **ret_raw)
{
    struct lmdb_tx *t = (struct lmdb_tx *)tx;
    MDB_val k = to_val(key);
    MDB_val v = {.mv_size = raw_bytes};
    MDB_cursor *c = NULL;
    int rc;
    dtq_err err = cursor_of(t, table, &c);

    if (err == DTQ_OK && (flags & STORE_SPARE) == 0)
        err = take_room(t, (uint64_t)key.len + raw_bytes);
    lmdb_of(tx->store)->turn_due |= err == DTQ_ENOSPC;
    if (err != DTQ_OK)
        return err;
    rc = mdb_cursor_put(c, &k, &v,
                        MDB_RESERVE | ((flags & STORE_IF_ABSENT) != 0 ? MDB_NOOVERWRITE : 0) |
                            ((flags & STORE_LAST) != 0 ? MDB_APPEND : 0));
    lmdb_of(tx->store)->turn_due |= rc == MDB_MAP_FULL;
    if (rc != 0)
        return lmdb_err(tx->store, rc, "putting a record");
    *ret_raw = v.mv_data;
    return DTQ_OK;
}

static dtq_err lmdb_get(struct store_tx *tx, unsigned table, struct dtqi_slice key,
                        struct dtqi_slice *ret_raw)
{
    MDB_val k = to_val(key);
    MDB_val v;
    MDB_cursor *c = NULL;
    int rc;
    dtq_err err = cursor_of((struct lmdb_tx *)tx, table, &c);

    if (err != DTQ_OK)
        return err;
    rc = mdb_cursor_get(c, &k, &v, MDB_SET);
    if (rc != 0)
        return lmdb_err(tx->store, rc, "reading a record");
    *ret_raw = to_slice(v);
    return DTQ_OK;
}

static dtq_err lmdb_del(struct store_tx *tx, unsigned table, struct dtqi_slice key)
{
    MDB_val k = to_val(key);
    MDB_val v;
    MDB_cursor *c = NULL;
    int rc;
    dtq_err err = cursor_of((struct lmdb_tx *)tx, table, &c);

    if (err != DTQ_OK)
        return err;
    rc = mdb_cursor_get(c, &k, &v, MDB_SET);
    if (rc == 0)
        rc = mdb_cursor_del(c, 0);
    return lmdb_err(tx->store, rc, "deleting a record");
}

static uint64_t lmdb_count(struct store_tx *tx, unsigned table)
{
    MDB_stat stat;

    if (mdb_stat(((struct lmdb_tx *)tx)->txn, lmdb_of_tx(tx)->tables[table], &stat) != 0)
        return 0;
    return stat.ms_entries;
}

/* ---- cursors */

static dtq_err lmdb_cursor_open(struct store_tx *tx, unsigned table, bool backward,
                                struct store_cursor **ret)
{
    struct lmdb_cursor *c = calloc(1, sizeof *c);
    int rc;

    if (c == NULL)
        return store_set_error(tx->store, DTQ_ENOMEM, "out of memory");
    rc = mdb_cursor_open(((struct lmdb_tx *)tx)->txn, lmdb_of_tx(tx)->tables[table], &c->at);
    if (rc != 0) {
        free(c);
        return lmdb_err(tx->store, rc, "opening a cursor");
    }
    c->base.backward = backward;
    *ret = &c->base;
    return DTQ_OK;
}

static void lmdb_cursor_close(struct store_cursor *c)
{
    mdb_cursor_close(((struct lmdb_cursor *)c)->at);
    free(c);
}

static dtq_err cursor_result(struct store_cursor *c, int rc, MDB_val k, MDB_val v,
                             struct store_record *ret)
{
    if (rc != 0)
        return lmdb_err(c->tx->store, rc, "reading a record");
    *ret = (struct store_record){.key = to_slice(k), .raw = to_slice(v)};
    return DTQ_OK;
}

static dtq_err lmdb_seek(struct store_cursor *c, struct dtqi_slice key, struct store_record *ret)
{
    MDB_cursor *at = ((struct lmdb_cursor *)c)->at;
    MDB_val k = to_val(key);
    MDB_val v;
    int rc;

    if (key.len == 0) {
        rc = mdb_cursor_get(at, &k, &v, c->backward ? MDB_LAST : MDB_FIRST);
        return cursor_result(c, rc, k, v, ret);
    }
    rc = mdb_cursor_get(at, &k, &v, MDB_SET_RANGE);
    if (!c->backward)
        return cursor_result(c, rc, k, v, ret);
    if (rc == MDB_NOTFOUND)
        rc = mdb_cursor_get(at, &k, &v, MDB_LAST);
    else if (rc == 0 && (k.mv_size != key.len || memcmp(k.mv_data, key.at, key.len) != 0))
        rc = mdb_cursor_get(at, &k, &v, MDB_PREV);
    return cursor_result(c, rc, k, v, ret);
}

static dtq_err lmdb_next(struct store_cursor *c, struct store_record *ret)
{
    MDB_val k = {0};
    MDB_val v = {0};
    int rc =
        mdb_cursor_get(((struct lmdb_cursor *)c)->at, &k, &v, c->backward ? MDB_PREV : MDB_NEXT);

    return cursor_result(c, rc, k, v, ret);
}

static dtq_err lmdb_cursor_del(struct store_cursor *c)
{
    return lmdb_err(c->tx->store, mdb_cursor_del(((struct lmdb_cursor *)c)->at, 0),
                    "deleting a record");
}

/* ---- identity */

struct identity {
    uint8_t bytes[IDENTITY_BYTES_MAX]; /* seal, format (4), uid (16), kind */
    size_t bytes_n;
};

static struct dtqi_slice identity_key(void)
{
    return (struct dtqi_slice){STORE_IDENTITY_KEY, sizeof STORE_IDENTITY_KEY - 1};
}

static uint32_t identity_seal(const uint8_t *raw, size_t raw_bytes)
{
    struct dtqi_slice value = {raw + STORE_SEAL_BYTES, (uint32_t)(raw_bytes - STORE_SEAL_BYTES)};

    return store_seal(STORE_IDENTITY_SEAL, identity_key(), &value, 1);
}

static int identity_put(struct lmdb_store *l, MDB_txn *txn, MDB_dbi dbi)
{
    uint8_t raw[IDENTITY_BYTES_MAX];
    size_t kind_bytes = strlen(l->base.kind);
    size_t raw_bytes = STORE_SEAL_BYTES + 4 + 16 + kind_bytes;
    MDB_val k = to_val(identity_key());
    MDB_val v = {.mv_size = raw_bytes, .mv_data = raw};

    assert(raw_bytes <= sizeof raw);
    if (dtqi_uid_is_zero(&l->base.uid) && getrandom(l->base.uid.bytes, 16, 0) != 16)
        return errno;
    store_write_u32(raw + STORE_SEAL_BYTES, STORE_FORMAT);
    memcpy(raw + STORE_SEAL_BYTES + 4, l->base.uid.bytes, 16);
    memcpy(raw + STORE_SEAL_BYTES + 4 + 16, l->base.kind, kind_bytes);
    store_write_u32(raw, identity_seal(raw, raw_bytes));
    return mdb_put(txn, dbi, &k, &v, 0);
}

static dtq_err identity_check(struct lmdb_store *l, MDB_val v, const char *dir,
                              struct store_why why)
{
    const uint8_t *raw = v.mv_data;
    size_t fixed = STORE_SEAL_BYTES + 4 + 16;
    const char *kind = (const char *)raw + fixed;
    uint32_t format;

    if (v.mv_size < fixed || v.mv_size > IDENTITY_BYTES_MAX ||
        identity_seal(raw, v.mv_size) != store_read_u32(raw))
        return store_why(why, DTQ_ECORRUPT, "the store in '%s' is damaged: its identity record",
                         dir);
    format = store_read_u32(raw + STORE_SEAL_BYTES);
    if (format > STORE_FORMAT)
        return store_why(why, DTQ_ECORRUPT,
                         "the store in '%s' was written by a newer dtq (format %u, this one knows "
                         "%u); use that version",
                         dir, format, STORE_FORMAT);
    if (v.mv_size - fixed != strlen(l->base.kind) ||
        memcmp(kind, l->base.kind, v.mv_size - fixed) != 0)
        return store_why(why, DTQ_ECORRUPT,
                         "the directory '%s' holds a store of kind '%.*s', not '%s'; choose "
                         "another directory",
                         dir, (int)(v.mv_size - fixed), kind, l->base.kind);
    memcpy(l->base.uid.bytes, raw + STORE_SEAL_BYTES + 4, 16);
    return DTQ_OK;
}

static dtq_err not_ours(const char *dir, struct store_why why)
{
    return store_why(why, DTQ_ECORRUPT,
                     "the directory '%s' holds an LMDB file that is not a dtq store; choose "
                     "another directory",
                     dir);
}

/* ---- opening */

static dtq_err open_failed(int rc, const char *dir, const char *what, struct store_why why)
{
    dtq_err err = lmdb_code(rc);

    switch (err) {
    case DTQ_ECORRUPT:
        return store_why(why, err, "the store in '%s' is damaged, or is no dtq store: %s", dir,
                         mdb_strerror(rc));
    case DTQ_ENOSPC:
        return store_why(why, err, "no space left for the store in '%s': %s; make room there", dir,
                         mdb_strerror(rc));
    default: return store_why(why, err, "cannot %s in '%s': %s", what, dir, mdb_strerror(rc));
    }
}

/* A read of what is not in the file would be a SIGBUS. What may be missing by now is free (see
 * store_pages_glance()): a kill came before the file was made long enough. */
static dtq_err check_length(struct lmdb_store *l, const char *dir, struct store_why why)
{
    struct stat st;
    MDB_stat stat;

    if (mdb_env_get_fd(l->env, &l->fd) != 0 || fstat(l->fd, &st) != 0 ||
        mdb_env_stat(l->env, &stat) != 0)
        return store_why(why, DTQ_EIO, "cannot read the store in '%s'", dir);
    l->page_bytes = stat.ms_psize;
    l->length = (uint64_t)st.st_size;
    l->allocated = min64(l->length, (uint64_t)st.st_blocks * 512);
    lengthen_to(l, file_bytes(l));
    if (file_bytes(l) <= l->length)
        return DTQ_OK;
    return store_why(why, store_errno_err(errno),
                     "the data file of the store in '%s' cannot be made longer: %s", dir,
                     strerror(errno));
}

/* LMDB asserts where a damaged page contradicts what it knows. */
static void on_assert(MDB_env *env, const char *what)
{
    store_guard_stop(mdb_env_get_userctx(env), what);
}

static dtq_err env_open(struct lmdb_store *l, const struct store_cfg *cfg, struct store_why why)
{
    uint64_t map_bytes = cfg->map_bytes_max < MAP_BYTES_MIN ? MAP_BYTES_MIN : cfg->map_bytes_max;
    unsigned flags = MDB_NOTLS | (cfg->durability == STORE_ASYNC ? MDB_NOMETASYNC : 0);
    MDB_envinfo info;
    int rc = mdb_env_create(&l->env);

    if (rc == 0)
        rc = mdb_env_set_userctx(l->env, l->dir);
    if (rc == 0)
        rc = mdb_env_set_assert(l->env, on_assert);
    if (rc != 0)
        return open_failed(rc, cfg->dir, "open the store", why);
    rc = mdb_env_set_mapsize(l->env, map_bytes & ~(uint64_t)0xffff);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(l->env, STORE_TABLES_MAX + 1);
    if (rc == 0)
        rc = mdb_env_open(l->env, cfg->dir, flags, 0600);
    if (rc == 0)
        rc = mdb_env_info(l->env, &info);
    if (rc != 0)
        return open_failed(rc, cfg->dir, "open the store", why);
    l->map_bytes = info.me_mapsize; /* at least what the file has already */
    l->last_commit = info.me_last_txnid;
    return check_length(l, cfg->dir, why);
}

/* Find the identity, or make it in an environment that has nothing in it yet. */
static dtq_err open_identity(struct lmdb_store *l, MDB_txn *txn, const char *dir, bool *ret_new,
                             struct store_why why)
{
    MDB_val k = to_val(identity_key());
    MDB_val v;
    MDB_stat stat;
    MDB_dbi dbi = 0;
    int rc = mdb_dbi_open(txn, STORE_IDENTITY_TABLE, 0, &dbi);

    if (rc == 0)
        rc = mdb_get(txn, dbi, &k, &v);
    l->identity = dbi;
    if (rc == 0)
        return identity_check(l, v, dir, why);
    if (rc == MDB_NOTFOUND)
        rc = mdb_stat(txn, 1, &stat);
    if (rc == 0 && stat.ms_entries > 0)
        return not_ours(dir, why);
    if (rc == 0)
        rc = mdb_dbi_open(txn, STORE_IDENTITY_TABLE, MDB_CREATE, &dbi);
    if (rc == 0)
        rc = identity_put(l, txn, dbi);
    l->identity = dbi;
    *ret_new = true;
    return rc == 0 ? DTQ_OK : open_failed(rc, dir, "make the store", why);
}

static dtq_err open_tables(struct lmdb_store *l, const char *dir, struct store_why why)
{
    bool is_new = false;
    MDB_txn *txn;
    int rc = mdb_txn_begin(l->env, NULL, 0, &txn);
    dtq_err err;

    if (rc != 0)
        return open_failed(rc, dir, "open the store", why);
    err = open_identity(l, txn, dir, &is_new, why);
    for (unsigned i = 0; i < l->base.tables_n && err == DTQ_OK && rc == 0; i++)
        rc = mdb_dbi_open(txn, l->base.tables[i], MDB_CREATE, &l->tables[i]);
    if (err == DTQ_OK && rc == 0 && is_new) /* first: with an identity it is not new any more */
        err = store_dir_sync_path(dir, why);
    if (err != DTQ_OK || rc != 0) {
        mdb_txn_abort(txn);
        return err != DTQ_OK ? err : open_failed(rc, dir, "open the tables", why);
    }
    rc = mdb_txn_commit(txn);
    if (rc == 0 && is_new)
        rc = mdb_env_sync(l->env, 1);
    return rc == 0 ? DTQ_OK : open_failed(rc, dir, "write to the store", why);
}

/* Any record that is read stands in the map, and the identity is always there. */
static void watch_map(struct lmdb_store *l)
{
    MDB_val k = to_val(identity_key());
    MDB_val v;
    MDB_txn *txn;
    MDB_dbi dbi = 0;

    if (mdb_txn_begin(l->env, NULL, MDB_RDONLY, &txn) != 0)
        return;
    if (mdb_dbi_open(txn, STORE_IDENTITY_TABLE, 0, &dbi) == 0 && mdb_get(txn, dbi, &k, &v) == 0)
        l->guard = store_guard_add(v.mv_data, l->dir);
    mdb_txn_abort(txn);
}

static void lmdb_close(struct store *s)
{
    struct lmdb_store *l = lmdb_of(s);

    assert(l->kept == NULL || pthread_equal(l->kept_by, pthread_self()));
    (void)!commit_kept(l); /* else the next open does it */
    if (l->redo_fd >= 0)
        close(l->redo_fd);
    store_redo_done(&l->redo);
    if (l->env != NULL)
        mdb_env_close(l->env);
    store_guard_remove(l->guard);
    if (l->lock_fd >= 0)
        close(l->lock_fd);
    store_base_done(s);
    free(l->dir);
    free(l);
}

static const struct store_ops lmdb_ops = {
    .close = lmdb_close,
    .space = lmdb_space,
    .begin = lmdb_begin,
    .commit = lmdb_commit,
    .abort = lmdb_abort,
    .sync = lmdb_sync,
    .put = lmdb_put,
    .del = lmdb_del,
    .get = lmdb_get,
    .count = lmdb_count,
    .cursor_open = lmdb_cursor_open,
    .seek = lmdb_seek,
    .next = lmdb_next,
    .cursor_del = lmdb_cursor_del,
    .cursor_close = lmdb_cursor_close,
};

/*
 * The file, before LMDB trusts it. A store that was never made (a kill or a power cut came before
 * its first commit) is begun anew; but a store that was made once, and has no data any more, must
 * not be taken for a new one.
 */
static dtq_err look_at_file(const struct store_cfg *cfg, struct store_why why)
{
    struct store_kind kind = {cfg->kind, cfg->tables, cfg->tables_n};
    bool is_empty;
    dtq_err err = store_pages_glance(cfg->dir, &kind, &is_empty, why.at, why.bytes);

    if (err != DTQ_OK || !is_empty)
        return err;
    if (store_dir_has(cfg->dir, STORE_DIR_MARK))
        return store_why(why, DTQ_ECORRUPT,
                         "the store in '%s' has lost its data: data.mdb is missing or empty; bring "
                         "it back, or move the directory away to begin anew",
                         cfg->dir);
    return store_dir_cut(cfg->dir, DATA_FILE, why);
}

/* Do what was kept and not committed; from then on it is kept again, or old records go. Without the
 * file, or the memory, every commit is one of LMDB's. */
static dtq_err open_redo(struct lmdb_store *l, const struct store_cfg *cfg, struct store_why why)
{
    char path[PATH_MAX];
    dtq_err err = store_redo_recover(&l->base, l->dir, l->last_commit + 1);

    if (err != DTQ_OK)
        return store_why(why, err, "the last writes to the store in '%s' cannot be done again: %s",
                         l->dir, l->base.errmsg);
    if (snprintf(path, sizeof path, "%s/" STORE_REDO_FILE, l->dir) >= (int)sizeof path)
        return DTQ_OK;
    if (cfg->durability == STORE_SYNC)
        (void)unlink(path);
    else if (store_redo_init(&l->redo))
        l->redo_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return DTQ_OK;
}

/* LMDB maps its lock file and writes through the map: its blocks must be there before, or a full
 * disk is a SIGBUS after all. */
static dtq_err open_in(struct lmdb_store *l, const struct store_cfg *cfg, struct store_why why)
{
    dtq_err err = store_dir_make(cfg->dir, why);

    if (err == DTQ_OK)
        err = store_dir_lock(cfg->dir, &l->lock_fd, why);
    if (err == DTQ_OK)
        err = store_dir_reserve(cfg->dir, "lock.mdb", LOCK_FILE_BYTES, why);
    if (err == DTQ_OK)
        err = look_at_file(cfg, why);
    if (err == DTQ_OK)
        err = env_open(l, cfg, why);
    if (err == DTQ_OK)
        err = open_tables(l, cfg->dir, why);
    if (err == DTQ_OK)
        watch_map(l);
    if (err == DTQ_OK)
        err = open_redo(l, cfg, why);
    if (err == DTQ_OK)
        err = store_dir_mark(cfg->dir, why);
    if (err == DTQ_OK)
        store_dir_remove_copy(cfg->dir);
    return err;
}

dtq_err store_open(const struct store_cfg *cfg, struct store **ret_store, char *why,
                   size_t why_bytes)
{
    struct store_why sentence = {why, why_bytes};
    struct lmdb_store *l = calloc(1, sizeof *l);
    dtq_err err;

    if (l == NULL)
        return store_why(sentence, DTQ_ENOMEM, "out of memory");
    l->lock_fd = l->redo_fd = l->guard = -1;
    if (cfg->uid != NULL)
        l->base.uid = *cfg->uid;
    l->dir = strdup(cfg->dir);
    err = store_base_init(&l->base, &lmdb_ops, cfg);
    if (err == DTQ_OK && l->dir == NULL)
        err = DTQ_ENOMEM;
    if (err != DTQ_OK)
        (void)store_why(sentence, err, "out of memory");
    else
        err = open_in(l, cfg, sentence);
    if (err != DTQ_OK) {
        lmdb_close(&l->base);
        return err;
    }
    *ret_store = &l->base;
    return DTQ_OK;
}
