/*
 * A store written anew from what can be read of another one: for `dtq store compact`, and for
 * saving what can be saved of a damaged store. What is read comes from store_pages.h; what is
 * written is a store like any other.
 */
#ifndef DTQ_STORE_COPY_H
#define DTQ_STORE_COPY_H

#include "store_pages.h"

/*
 * Copy every sound record into a new store in `dir` (which must have none), of the same identity if
 * that could be read. `visitor` hears of damage and progress; its on_record is not called.
 * @return DTQ_OK; DTQ_ECORRUPT (there was damage: the copy has all that was sound), DTQ_ECONFLICT
 * (`dir` has a store), DTQ_ENOSPC, DTQ_EIO, DTQ_ENOMEM. `why` gets a sentence, but for damage.
 */
DTQ_MUST_USE dtq_err store_copy(struct store_pages *p, const struct store_kind *kind,
                                const char *dir, const struct store_visitor *visitor,
                                uint64_t *ret_records, char *why, size_t why_bytes);

/* What was written to the store in `from`, which `p` has open, and that LMDB has not committed
 * (store_redo.h), is done in the copy of it in `to`. */
DTQ_MUST_USE dtq_err store_copy_redo(struct store_pages *p, const struct store_kind *kind,
                                     const char *from, const char *to, char *why, size_t why_bytes);

/*
 * Put a copy in the place of the store in `dir`, which `p` has open: without free pages, and with
 * full ones. The copy is read back before it takes the place; until then nothing is changed, and at
 * every moment one of both is there.
 * @return as store_copy(); after DTQ_ECORRUPT nothing was changed.
 */
DTQ_MUST_USE dtq_err store_compact(struct store_pages *p, const struct store_kind *kind,
                                   const char *dir, const struct store_visitor *visitor,
                                   struct store_file_size *ret_size, char *why, size_t why_bytes);

#endif
