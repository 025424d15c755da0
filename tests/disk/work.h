/*
 * Work for the journal and for the result store that a seed decides, so that it can be done twice:
 * on a disk that fails, and on a store in memory that shows what must be there. After the open and
 * after each batch the state has a digest; a store found later must have one of these.
 */
#ifndef DTQ_TESTS_DISK_WORK_H
#define DTQ_TESTS_DISK_WORK_H

#include "store.h"

#define WORK_STEPS_MAX 64

struct disk_work; /* one of the two, open on a store */

struct disk_kind {
    const char *name;
    void (*store_cfg)(struct store_cfg *cfg);
    /* Open on the store; NULL: `why` says why. */
    struct disk_work *(*open)(struct store *s, char *why, size_t why_bytes);
    /* Apply the n-th batch. */
    dtq_err (*step)(struct disk_work *w, uint64_t seed, unsigned n);
    void (*close)(struct disk_work *w); /* takes NULL */
    /* What a reader sees of it, however it is stored. */
    uint32_t (*view)(struct disk_work *w);
};

extern const struct disk_kind disk_journal;
extern const struct disk_kind disk_results;

/* What a model in memory says. */
struct disk_model {
    uint32_t
        digests[WORK_STEPS_MAX + 2]; /* [0] before the open, [1] after it, [1 + n] after n steps */
    uint32_t view;                   /* at the end */
    unsigned steps;
};
void disk_model_make(struct disk_model *m, const struct disk_kind *kind, uint64_t seed,
                     unsigned steps);
/* Of every record of every table. */
uint32_t disk_digest(struct store *s, const struct disk_kind *kind);

static inline uint64_t disk_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

#endif
