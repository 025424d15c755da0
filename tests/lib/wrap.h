/*
 * The programs that a test starts can be run by another one: DTQ_TEST_WRAP in the environment, as
 * in
 * "/usr/bin/valgrind -q", words separated by single blanks.
 */
#ifndef DTQ_TESTS_WRAP_H
#define DTQ_TESTS_WRAP_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define WRAP_WORDS_MAX 16
/* Valgrind has no room for the address space of the largest stores. */
#define WRAP_BACKLOG_BYTES "256m"
#define WRAP_RESULTS_BYTES "1g"

static inline bool wrap_is_on(void)
{
    return getenv("DTQ_TEST_WRAP") != NULL;
}

/* Between fork and exec. `ret_argv` has room for WRAP_WORDS_MAX words more than `argv`.
 * @return what to execute. */
static inline const char *wrap_command(const char *path, const char *const *argv,
                                       const char **ret_argv)
{
    static char words[1024];
    size_t n = 0;
    char *at;

    if (wrap_is_on()) {
        strncpy(words, getenv("DTQ_TEST_WRAP"), sizeof words - 1);
        for (char *w = strtok_r(words, " ", &at); w != NULL && n < WRAP_WORDS_MAX - 1;
             w = strtok_r(NULL, " ", &at))
            ret_argv[n++] = w;
        ret_argv[n++] = path;
        argv++;
    }
    for (size_t i = 0; argv[i] != NULL; i++)
        ret_argv[n++] = argv[i];
    ret_argv[n] = NULL;
    return wrap_is_on() ? ret_argv[0] : path;
}

#endif
