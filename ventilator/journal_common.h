/*
 * What tasks have in common. Most tasks of a producer differ in id and payload only: sink, reply_to
 * and spec are the same. The journal keeps such a combination once, under a small number, with the
 * count of its tasks, and a task's record has the number. That saves about a sixth of the disk.
 *
 * A combination gets a number when it is seen for the second time; tasks of the first time, of
 * combinations that are too large, and of more combinations than there are numbers carry it all
 * themselves. With its last task a combination leaves the disk; its number may then be used again.
 */
#ifndef DTQ_JOURNAL_COMMON_H
#define DTQ_JOURNAL_COMMON_H

#include "journal_record.h"

#define JOURNAL_COMMONS_MAX 1024u
#define JOURNAL_COMMON_SPEC_BYTES_MAX 1024u

struct journal_commons;

DTQ_MUST_USE struct journal_commons *journal_commons_new(void); /* NULL: no memory */
void journal_commons_free(struct journal_commons *c);           /* takes NULL */
/* As new. */
void journal_commons_clear(struct journal_commons *c);
/* A record of the disk. @return DTQ_OK, DTQ_ECORRUPT, DTQ_ENOMEM. */
DTQ_MUST_USE dtq_err journal_commons_load(struct journal_commons *c, struct dtqi_slice key,
                                          struct dtqi_slice value);

/* One more task of this combination: its number, or 0 if the task must carry it itself. */
uint32_t journal_commons_add(struct journal_commons *c, uint32_t sink, uint64_t reply_to,
                             struct dtqi_slice spec);
/* One task less. false: no task can have this number, so something is damaged. */
DTQ_MUST_USE bool journal_commons_take(struct journal_commons *c, uint32_t number);

struct journal_common {
    uint32_t sink;
    uint64_t reply_to;
    struct dtqi_slice spec; /* borrowed until the next add, load or clear */
};
/* What the number stands for. false: nothing. */
DTQ_MUST_USE bool journal_commons_get(const struct journal_commons *c, uint32_t number,
                                      struct journal_common *ret);

/* Write what changed since the last journal_commons_written() into `table`. */
DTQ_MUST_USE dtq_err journal_commons_write(const struct journal_commons *c, struct store_tx *tx,
                                           unsigned table);
void journal_commons_written(struct journal_commons *c);

#endif
