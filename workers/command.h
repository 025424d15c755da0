/*
 * A command of the operator's, `tr a-z A-Z`: words for execve(), without a shell. Blanks separate
 * words. Inside '..' everything stands for itself; inside ".." a backslash makes a following " or \
 * stand for itself; outside of quotes it does so for any character. Nothing else is special: no
 * variables, no patterns, no pipes, no redirection (`sh -c '..'` has them).
 */
#ifndef DTQ_COMMAND_H
#define DTQ_COMMAND_H

#include "dtq/base.h"

struct command {
    char **argv; /* NULL-ended */
    size_t argc;
    char *path; /* of the file to execute, absolute; NULL before command_find() */
    char *text; /* that argv points into */
};

/* @return DTQ_OK; DTQ_EINVAL (`why` says what is wrong: no word, a quote that does not end) or
 * DTQ_ENOMEM. */
DTQ_MUST_USE dtq_err command_parse(const char *text, struct command *ret_command, char *why,
                                   size_t why_bytes);

/*
 * Find the file of argv[0]: with a "/" in it as it is, else in the directories of `search` (as PATH
 * has them; NULL: the usual ones). It must be a file that this user may execute.
 * @return DTQ_OK; DTQ_ENOTFOUND (`why` names word and cause) or DTQ_ENOMEM.
 */
DTQ_MUST_USE dtq_err command_find(struct command *command, const char *search, char *why,
                                  size_t why_bytes);

void command_done(struct command *command); /* takes a zeroed one */

#endif
