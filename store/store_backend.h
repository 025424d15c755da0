/*
 * What stands between store.c, which is the same for every backend, and the backends. store.c
 * checks arguments, seals and checks records, and keeps the sticky errors; a backend moves raw
 * records. Nothing outside of this folder includes this header, but the store's own unit test.
 *
 * A raw record is a CRC32C (4 bytes, little-endian) and the value.
 */
#ifndef DTQ_STORE_BACKEND_H
#define DTQ_STORE_BACKEND_H

#include "store.h"

#include <stdarg.h>

#define STORE_FORMAT 1u /* of directory and records; a newer one is refused */
#define STORE_SEAL_BYTES 4u
#define STORE_WHY_BYTES 512
/* Which store this is: a record of its own, in a table of its own. */
#define STORE_IDENTITY_TABLE "dtq"
#define STORE_IDENTITY_KEY "identity"
#define STORE_IDENTITY_SEAL 0xffu /* in place of a table number */

struct store_record { /* borrowed from the backend */
    struct dtqi_slice key;
    struct dtqi_slice raw;
};

/* Of one store; the backend's own struct begins with it. */
struct store {
    const struct store_ops *ops;
    dtqi_uid uid;
    char *kind;
    char *tables[STORE_TABLES_MAX]; /* names, owned */
    unsigned tables_n;
    unsigned txs_open;
    bool write_open;
    bool lost; /* a write or a flush failed: no more writes */
    char errmsg[STORE_WHY_BYTES];
};

struct store_tx {
    struct store *store;
    bool write;
    dtq_err failed;          /* a write of this transaction failed: it cannot be committed */
    struct store_redo *redo; /* the backend's, where writes are noted; NULL: they are not */
    unsigned cursors_open;
    struct store_loan *loans; /* with AddressSanitizer: copies, in place of what is borrowed */
    uint64_t loan_bytes;
};

struct store_cursor {
    struct store_tx *tx;
    unsigned table;
    bool backward;
    uint32_t key_bytes; /* of what it stands on, where writes are noted */
    uint8_t key[STORE_KEY_BYTES_MAX];
};

/* Errors are those of store.h; a backend that returns one has called store_set_error(), but for
 * DTQ_ENOTFOUND and DTQ_ECONFLICT. */
struct store_ops {
    void (*close)(struct store *s);
    void (*space)(const struct store *s, uint64_t *ret_used, uint64_t *ret_max);
    dtq_err (*begin)(struct store *s, bool write, struct store_tx **ret_tx); /* sets redo, too */
    dtq_err (*commit)(struct store_tx *tx); /* frees the transaction, whatever it returns */
    void (*abort)(struct store_tx *tx);
    dtq_err (*sync)(struct store *s);
    /* Make room for a raw record and let the caller fill it before the next call. */
    dtq_err (*put)(struct store_tx *tx, unsigned table, struct dtqi_slice key, uint32_t raw_bytes,
                   unsigned flags, uint8_t **ret_raw);
    dtq_err (*del)(struct store_tx *tx, unsigned table, struct dtqi_slice key);
    dtq_err (*get)(struct store_tx *tx, unsigned table, struct dtqi_slice key,
                   struct dtqi_slice *ret_raw);
    uint64_t (*count)(struct store_tx *tx, unsigned table);
    dtq_err (*cursor_open)(struct store_tx *tx, unsigned table, bool backward,
                           struct store_cursor **ret);
    dtq_err (*seek)(struct store_cursor *c, struct dtqi_slice key, struct store_record *ret);
    dtq_err (*next)(struct store_cursor *c, struct store_record *ret);
    dtq_err (*cursor_del)(struct store_cursor *c);
    void (*cursor_close)(struct store_cursor *c);
};

/* Fill the common part. @return DTQ_OK or DTQ_ENOMEM; store_base_done() is due in any case. */
DTQ_MUST_USE dtq_err store_base_init(struct store *s, const struct store_ops *ops,
                                     const struct store_cfg *cfg);
void store_base_done(struct store *s);

/* Remember the sentence, return `err`. */
dtq_err store_set_error(struct store *s, dtq_err err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The CRC32C that binds a value to its table and key. */
uint32_t store_seal(unsigned table, struct dtqi_slice key, const struct dtqi_slice *pieces,
                    unsigned pieces_n);

/* The path of store_crc32c() for machines without the instruction. */
uint32_t store_crc32c_portable(uint32_t crc, const void *at, size_t bytes);

static inline void store_write_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

static inline uint32_t store_read_u32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

#endif
