/*
 * A journal of which records are missing, because they were damaged and left out of a copy, made
 * whole again: what is left of a task without its record goes, indexes and counts are made to fit
 * what is there. Not for a journal in use, and not for one that has damage: this trusts every
 * record.
 */
#ifndef DTQ_JOURNAL_REPAIR_H
#define DTQ_JOURNAL_REPAIR_H

#include "journal.h"

struct journal_repair {
    void *arg;
    /* A task that was in the journal and cannot be saved; may be NULL. */
    void (*on_lost)(void *arg, const dtq_id *id);

    uint64_t tasks; /* that are there now */
    uint64_t lost;  /* whose id is known */
};

/* In one transaction. @return DTQ_OK, DTQ_ECORRUPT (there is damage), DTQ_ENOMEM, DTQ_ENOSPC,
 * DTQ_EIO. */
DTQ_MUST_USE dtq_err journal_repair(struct store *s, struct journal_repair *r);

#endif
