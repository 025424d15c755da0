/*
 * What was written since the newest commit of LMDB, in a file of its own beside the data
 * (STORE_ASYNC). It is written without a flush, so that the death of the process cannot undo it;
 * LMDB commits, and flushes, many transactions together. When a store is opened whose data is just
 * behind the records, they are done again; all others are old, or of a power cut, and mean nothing.
 *
 * A record is one transaction: magic, the store's identity, the number that LMDB gives its next
 * commit, the record's own number since the last, bytes of what follows, CRC32C; then for each put
 * and delete the kind, the table, bytes of the key, bytes of the sealed value, key, value.
 */
#ifndef DTQ_STORE_REDO_H
#define DTQ_STORE_REDO_H

#include "store_backend.h"

#define STORE_REDO_FILE "redo"
#define STORE_REDO_BYTES_MAX 65536u /* of records that are committed together */

/* The records since the last commit, and the one that is being made. */
struct store_redo {
    uint8_t *at; /* as in the file */
    uint32_t bytes;
    uint32_t begun;   /* where the last record begins; it is `bytes` when there is none */
    uint32_t records; /* before it */
    bool is_over;     /* it would be too large */
};

/* @return false: no memory. */
bool store_redo_init(struct store_redo *redo);
void store_redo_done(struct store_redo *redo);

/* There was a commit. */
void store_redo_clear(struct store_redo *redo);
void store_redo_begin(struct store_redo *redo);
void store_redo_put(struct store_redo *redo, unsigned table, struct dtqi_slice key,
                    const uint8_t *raw, uint32_t raw_bytes);
void store_redo_del(struct store_redo *redo, unsigned table, struct dtqi_slice key);
/* Forget the record that was begun. @return true: there is something in it. */
bool store_redo_drop(struct store_redo *redo);
/* Write it. @return false: it is too large, or could not be written. */
bool store_redo_write(struct store_redo *redo, int fd, const dtqi_uid *uid, uint64_t commit);

/* Do what the records in memory say. */
DTQ_MUST_USE dtq_err store_redo_again(const struct store_redo *redo, struct store_tx *tx);
/* Do what the records in `dir` say that are of this commit. */
DTQ_MUST_USE dtq_err store_redo_recover(struct store *s, const char *dir, uint64_t commit);

#endif
