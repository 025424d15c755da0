/*
 * The one interface to durable storage: ordered tables of bytes, one write transaction at a time,
 * readers beside it. The ventilator's journal and the sink's results are written against it;
 * backends stand behind it (LMDB; memory for the simulation). Every value carries a CRC32C that is
 * bound to its table and key, added on put and checked on read.
 *
 * One thread uses a store at a time, the one that owns it (the commit thread). Nothing here waits
 * but store_commit(), which returns when the data is on the disk, and store_open().
 */
#ifndef DTQ_STORE_H
#define DTQ_STORE_H

#include "buf.h"
#include "msg.h"

#include <stdbool.h>

#define STORE_TABLES_MAX 24
#define STORE_KEY_BYTES_MAX 400
#define STORE_VALUE_BYTES_MAX (64ull * 1024 * 1024)

struct store;
struct store_tx;
struct store_cursor;

enum store_durability {
    STORE_SYNC,  /* a commit is on the disk when it returns */
    STORE_ASYNC, /* a commit may be lost with the machine (not with the process): it is written,
                    and nobody waits for the disk; store_sync() makes it durable */
};

struct store_cfg {
    const char *dir;           /* made when missing, mode 0700 */
    const char *kind;          /* "journal" or "results": a directory of another kind is refused */
    const char *const *tables; /* their order never changes; new ones come last */
    unsigned tables_n;
    uint64_t map_bytes_max; /* bound of the file */
    enum store_durability durability;
    const dtqi_uid *uid; /* the identity of a store that is made; NULL: 16 random bytes */
};

enum store_flags {
    STORE_IF_ABSENT = 1, /* DTQ_ECONFLICT when the key is there; nothing is changed then */
    STORE_SPARE = 2,     /* may use the space kept back for finishing what is there, see below */
    STORE_LAST = 4,      /* the key is behind all others of its table: pages are filled up.
                            DTQ_ECONFLICT when it is not */
};

/*
 * Open or make the store in cfg->dir, lock it against other processes, read its identity.
 * @return DTQ_OK; DTQ_ELOCKED (another process has it), DTQ_ECORRUPT (not a dtq store, other kind,
 * unknown format version, damaged), DTQ_EIO (not writable, ..), DTQ_ENOSPC, DTQ_ENOMEM. `why` gets
 * a sentence that names directory and cause, and what can be done.
 */
DTQ_MUST_USE dtq_err store_open(const struct store_cfg *cfg, struct store **ret_store, char *why,
                                size_t why_bytes);
/* The same tables in memory, for simulation and tests. Identity: `uid`. */
DTQ_MUST_USE dtq_err store_open_memory(const struct store_cfg *cfg, const dtqi_uid *uid,
                                       struct store **ret_store);
/* Takes NULL. An open transaction must be ended first. */
void store_close(struct store *s);

/* 16 random bytes made with the directory. */
const dtqi_uid *store_uid(const struct store *s);
/* The last error in words: names table and key digits of a damaged record, or the system call and
 * errno that failed. */
const char *store_errmsg(const struct store *s);
/*
 * Bytes in use, and the most that may be. The difference shrinks with new data and grows with
 * deletes; the file itself never shrinks, what was deleted is used again.
 *
 * Deleting and updating need new pages too. So a part of the space (half of what is in use, 4 to 64
 * MiB, at most an eighth of map_bytes_max) is kept back, on the disk as well as in the map: a put
 * without STORE_SPARE gets DTQ_ENOSPC before it touches that part. New tasks and outcomes are put
 * without it, everything that makes room or finishes something with it.
 */
void store_space(const struct store *s, uint64_t *ret_used, uint64_t *ret_max);

/* One write transaction at a time; any number of read ones, each seeing the state at its begin. */
DTQ_MUST_USE dtq_err store_begin(struct store *s, bool write, struct store_tx **ret_tx);
/*
 * Make it durable. On any error but DTQ_OK nothing of it is kept. DTQ_ENOSPC and DTQ_EIO: the
 * caller must stop confirming; after DTQ_EIO the store refuses every further write, since a failed
 * fsync says nothing about the past; reading may go on. After DTQ_ENOSPC the store is as it was
 * before the transaction and can be written to again. An error of a put or a delete (but
 * DTQ_ECONFLICT and DTQ_ENOTFOUND) sticks to the transaction: everything after it returns the same
 * error, and so does store_commit(), which then drops it.
 */
DTQ_MUST_USE dtq_err store_commit(struct store_tx *tx);
/* Ends a read transaction, or drops a write one. Takes NULL. */
void store_abort(struct store_tx *tx);
/* STORE_ASYNC: make everything committed so far durable. */
DTQ_MUST_USE dtq_err store_sync(struct store *s);

/* @return DTQ_OK, DTQ_ECONFLICT (STORE_IF_ABSENT), DTQ_ENOSPC (map full or disk full), DTQ_ENOMEM,
 * DTQ_EIO. */
DTQ_MUST_USE dtq_err store_put(struct store_tx *tx, unsigned table, struct dtqi_slice key,
                               struct dtqi_slice value, unsigned flags);
/* The same for a value in pieces, copied straight into the page. */
DTQ_MUST_USE dtq_err store_put_pieces(struct store_tx *tx, unsigned table, struct dtqi_slice key,
                                      const struct dtqi_slice *pieces, unsigned pieces_n,
                                      unsigned flags);
/* @return DTQ_OK, DTQ_ENOTFOUND, DTQ_ENOSPC, DTQ_EIO. */
DTQ_MUST_USE dtq_err store_del(struct store_tx *tx, unsigned table, struct dtqi_slice key);
/* The value is borrowed until the transaction ends or writes. @return DTQ_OK, DTQ_ENOTFOUND,
 * DTQ_ECORRUPT, DTQ_EIO. */
DTQ_MUST_USE dtq_err store_get(struct store_tx *tx, unsigned table, struct dtqi_slice key,
                               struct dtqi_slice *ret_value);
uint64_t store_count(struct store_tx *tx, unsigned table);

/*
 * Walk a table in key order. store_seek() goes to the first key >= `key` (forward) or the last one
 * <= `key` (backward; an empty key means the very last). store_next() goes on in the same
 * direction. Key and value are borrowed as in store_get(). @return DTQ_OK, DTQ_ENOTFOUND (past the
 * end; seek before the next step), DTQ_ECORRUPT (the cursor stands on the damaged record:
 * store_next() goes on behind it, store_cursor_del() removes it). After an error of
 * store_cursor_open() `*ret` is NULL.
 */
DTQ_MUST_USE dtq_err store_cursor_open(struct store_tx *tx, unsigned table, bool backward,
                                       struct store_cursor **ret);
DTQ_MUST_USE dtq_err store_seek(struct store_cursor *c, struct dtqi_slice key,
                                struct dtqi_slice *ret_key, struct dtqi_slice *ret_value);
DTQ_MUST_USE dtq_err store_next(struct store_cursor *c, struct dtqi_slice *ret_key,
                                struct dtqi_slice *ret_value);
/* Delete what the cursor stands on; the next store_next() gives the one after it. Write
 * transactions only. */
DTQ_MUST_USE dtq_err store_cursor_del(struct store_cursor *c);
void store_cursor_close(struct store_cursor *c); /* takes NULL; before its transaction ends */

/*
 * Read every record of every table and check it. `on_bad` (may be NULL) is called for each damaged
 * one.
 * @return DTQ_OK, DTQ_ECORRUPT (at least one), DTQ_EIO.
 */
DTQ_MUST_USE dtq_err store_check(struct store *s,
                                 void (*on_bad)(void *arg, const char *table,
                                                struct dtqi_slice key),
                                 void *arg, uint64_t *ret_records);

/* CRC-32C (Castagnoli; RFC 3720, B.4), of `bytes` bytes, going on from `crc` (0 at first). */
uint32_t store_crc32c(uint32_t crc, const void *at, size_t bytes);

#endif
