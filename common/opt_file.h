/* The configuration file: finding it, reading it, walking through its keys. Private to opt.c. */
#ifndef DTQ_OPT_FILE_H
#define DTQ_OPT_FILE_H

#include "dtq/base.h"

#include <stdbool.h>

struct _zconfig_t;

/* The file that is read when nobody names one, NULL: none exists. `ret_path` has `bytes`. */
const char *opt_file_find(char *ret_path, size_t bytes);

/* @return DTQ_OK; DTQ_EINVAL: unreadable or not valid, `why` gets a phrase. Free it with
 * opt_file_close(), which takes NULL. */
DTQ_MUST_USE dtq_err opt_file_open(const char *path, struct _zconfig_t **ret_file, char *why,
                                   size_t why_bytes);
void opt_file_close(struct _zconfig_t *file);

/* The keys that some program, or some command of `dtq`, takes from a file: a file is for all of
 * them. integration.bad_input compares them with what the programs say. */
const char *const *opt_file_keys(size_t *ret_n);

/* A section at the top that is no program's, neither `program`'s nor another one's; `ret_nearest`:
 * one that may be meant, or NULL. NULL: there is none. Lives as long as the file. */
const char *opt_file_strange_section(struct _zconfig_t *file, const char *program,
                                     const char **ret_nearest);

/* Every key with its value: those at the top first, then those of the section `program`, if there
 * is one. A visit that returns false ends the walk. */
typedef bool opt_file_visit(void *arg, bool in_section, const char *key, const char *value);
bool opt_file_each(struct _zconfig_t *file, const char *program, opt_file_visit *visit, void *arg);

#endif
