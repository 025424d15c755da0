/*
 * What `last` stands for on the command line: the tasks of the last `dtq submit` of this user, in
 * $XDG_STATE_HOME/dtq/last (~/.local/state/dtq/last): 16 bytes an id. The file is written beside
 * its place while ids come, and moved there at the end, so that a reader sees a whole submission.
 * Until then, and for good where nothing was accepted, it is empty: whoever says `last` means this
 * submission and never the one before it.
 */
#ifndef DTQ_CLI_LAST_H
#define DTQ_CLI_LAST_H

#include "dtq/base.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>

struct last {
    FILE *file; /* NULL: there is no place to write to; submitting goes on without */
    char path[PATH_MAX];
    char part[PATH_MAX + 16];
};

/* A submission begins, which may fail: `last` stands for nothing. */
void last_forget(void);
void last_begin(struct last *l);
void last_add(struct last *l, const dtq_id *id);
void last_end(struct last *l);

/* @return the ids (free() them) and their number in `ret_n`; NULL: there are none,
 * `ret_is_forgotten` where there was a submission and else nothing was submitted, or the file
 * cannot be read. */
dtq_id *last_read(size_t *ret_n, bool *ret_is_forgotten);

#endif
