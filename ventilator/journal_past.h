/* Attempts of tasks that are no more: kept for a while, of so many tasks at most. One table has
 * both what is kept by id and the order in which it goes. */
#ifndef DTQ_JOURNAL_PAST_H
#define DTQ_JOURNAL_PAST_H

#include "journal_parts.h"

/* Keep the history of a task, and further entries behind it; nothing of both empty is kept. What
 * was kept under this id before is replaced. `history` and `more` are not the store's. */
DTQ_MUST_USE dtq_err journal_past_keep(struct store_tx *tx, const dtq_id *id,
                                       uint64_t until_wall_ms, struct dtqi_slice history,
                                       struct dtqi_slice more);
/* What has ended at that time goes, some thousand at a time. */
DTQ_MUST_USE dtq_err journal_past_forget(struct store_tx *tx, uint64_t wall_ms);
/* Borrowed from the store. @return DTQ_ENOTFOUND, too. */
DTQ_MUST_USE dtq_err journal_past_get(struct journal *j, struct store_tx *tx, const dtq_id *id,
                                      struct dtqi_slice *ret_history);

#endif
