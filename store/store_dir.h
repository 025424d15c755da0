/*
 * The directory of a store: made, locked against other processes, synced. `why` gets a sentence
 * when something fails.
 */
#ifndef DTQ_STORE_DIR_H
#define DTQ_STORE_DIR_H

#include "store.h"

struct store_why { /* where the sentence goes */
    char *at;
    size_t bytes;
};

dtq_err store_why(struct store_why why, dtq_err err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* DTQ_ENOSPC, DTQ_ENOMEM or DTQ_EIO. */
dtq_err store_errno_err(int error);

/* Make `dir` and its parents where missing, mode 0700. */
DTQ_MUST_USE dtq_err store_dir_make(const char *dir, struct store_why why);
/* Held until the descriptor is closed, or the process ends in whatever way; not inherited by an
 * exec. DTQ_ELOCKED names the holder's pid where it can be read. */
DTQ_MUST_USE dtq_err store_dir_lock(const char *dir, int *ret_fd, struct store_why why);
/* The entries of the directory survive a power cut. */
DTQ_MUST_USE dtq_err store_dir_sync(const char *dir, struct store_why why);
/* .. and of those that its path names, which may have been made for it. */
DTQ_MUST_USE dtq_err store_dir_sync_path(const char *dir, struct store_why why);
/* Make sure that `bytes` of a file there are really allocated; the file is made when missing. */
DTQ_MUST_USE dtq_err store_dir_reserve(const char *dir, const char *name, uint64_t bytes,
                                       struct store_why why);

#define STORE_DIR_MARK "dtq.store"   /* there since the first commit is on the disk */
#define STORE_DIR_COPY "compact.tmp" /* a store of its own, while a compacted copy is made */

/* Leave the mark, durably, unless it is there. */
DTQ_MUST_USE dtq_err store_dir_mark(const char *dir, struct store_why why);
bool store_dir_has(const char *dir, const char *name);
/* Make a file empty; it need not be there. */
DTQ_MUST_USE dtq_err store_dir_cut(const char *dir, const char *name, struct store_why why);
/* It need not be there. */
DTQ_MUST_USE dtq_err store_dir_remove(const char *dir, const char *name, struct store_why why);
/* Put the data file of the store in `from` in the place of that in `dir`, durably: whatever
 * happens, one of them is there. */
DTQ_MUST_USE dtq_err store_dir_replace(const char *dir, const char *from, struct store_why why);
/* Remove what is left of a copy, if there is any. */
void store_dir_remove_copy(const char *dir);

#endif
