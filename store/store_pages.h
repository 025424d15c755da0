/*
 * The file of a store, read page by page without LMDB: for checks, and for what can be saved of a
 * damaged one. LMDB trusts its own pages and reads them by a map, so a flipped bit can lead it
 * astray, or end the process by a signal. Here every page is read into memory, and every number in
 * it is checked before it is used. Nothing is written.
 *
 * The format is that of LMDB 0.9 (version 1 of its data file), of this machine's byte order.
 */
#ifndef DTQ_STORE_PAGES_H
#define DTQ_STORE_PAGES_H

#include "store.h"

struct store_pages;

struct store_kind { /* what a directory may hold */
    const char *kind;
    const char *const *tables;
    unsigned tables_n;
};

struct store_damage {
    const char *table;     /* "": what belongs to no table, or to one that cannot be told */
    struct dtqi_slice key; /* of the record; empty: more than one record, or none */
    uint64_t page;
    const char *what; /* a phrase */
};

struct store_table_size {
    const char *name;
    uint64_t records;
    uint64_t key_bytes;
    uint64_t value_bytes;
    uint64_t pages;
    unsigned depth;
};

struct store_file_size {
    uint64_t page_bytes;
    uint64_t file_bytes;      /* its length */
    uint64_t allocated_bytes; /* blocks on the disk */
    uint64_t pages;           /* of the newest commit, free ones and the two roots included */
    uint64_t pages_free;      /* of these: can be used again */
    uint64_t commits;
};

/* All may be NULL. */
struct store_visitor {
    void *arg;
    /* A record whose seal fits. Key and value are borrowed until it returns. An error ends the
     * walk. */
    dtq_err (*on_record)(void *arg, unsigned table, struct dtqi_slice key, struct dtqi_slice value);
    void (*on_damage)(void *arg, const struct store_damage *damage);
    void (*on_progress)(void *arg, uint64_t pages, uint64_t pages_n);
};

/*
 * Open the file in `dir` and lock the directory, as store_open() does.
 * @return DTQ_OK; DTQ_ENOTFOUND (no store there), DTQ_ELOCKED, DTQ_ECORRUPT (no store of one of
 * `kinds`, or damaged beyond what a walk can tell), DTQ_EIO, DTQ_ENOMEM. `why` gets a sentence.
 */
DTQ_MUST_USE dtq_err store_pages_open(const char *dir, const struct store_kind *kinds,
                                      unsigned kinds_n, struct store_pages **ret_pages, char *why,
                                      size_t why_bytes);
void store_pages_close(struct store_pages *p); /* takes NULL */

/* Index into `kinds`. */
unsigned store_pages_kind(const struct store_pages *p);
/* NULL: it could not be read. */
const dtqi_uid *store_pages_uid(const struct store_pages *p);

/*
 * Visit every record of every table, in order of table and key, then what lost its place: records
 * on pages that nothing leads to any more though they are not free.
 * @return DTQ_OK, DTQ_ECORRUPT (there was damage), DTQ_ENOMEM, or what on_record returned.
 */
DTQ_MUST_USE dtq_err store_pages_walk(struct store_pages *p, const struct store_visitor *visitor);

/* After a walk: what it counted. */
void store_pages_size(const struct store_pages *p, struct store_file_size *ret);
void store_pages_table_size(const struct store_pages *p, unsigned table,
                            struct store_table_size *ret);

/*
 * A look at the file in `dir` before LMDB opens it, at its structure and not at the records: its
 * length, both roots, the list of free pages, and the inner pages of all tables; of a file of up to
 * 64 MiB the leaves too. It reads 64 MiB at most, and of a large file about a hundredth.
 * @return DTQ_OK, also when there is no file, or one in which nothing was ever committed
 * (*ret_empty); DTQ_ECORRUPT, DTQ_EIO, DTQ_ENOMEM.
 */
DTQ_MUST_USE dtq_err store_pages_glance(const char *dir, const struct store_kind *kind,
                                        bool *ret_empty, char *why, size_t why_bytes);

#endif
