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
/* Make sure that `bytes` of a file there are really allocated; the file is made when missing. */
DTQ_MUST_USE dtq_err store_dir_reserve(const char *dir, const char *name, uint64_t bytes,
                                       struct store_why why);

#endif
