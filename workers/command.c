#include "command.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEARCH_DEFAULT "/usr/local/bin:/usr/bin:/bin"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Copy one quoted part; `*from` is behind its opening quote. @return false: it does not end. */
static bool copy_quoted(const char **from, char **to, char quote)
{
    for (const char *at = *from; *at != 0; at++) {
        if (*at == quote) {
            *from = at + 1;
            return true;
        }
        if (quote == '"' && *at == '\\' && (at[1] == '"' || at[1] == '\\'))
            at++;
        *(*to)++ = *at;
    }
    return false;
}

/* Copy one word. @return NULL, or what is wrong. */
static const char *copy_word(const char **from, char **to)
{
    while (**from != 0 && !is_blank(**from)) {
        char c = *(*from)++;

        if (c == '\'' || c == '"') {
            if (!copy_quoted(from, to, c))
                return c == '"' ? "a \" is not closed" : "a ' is not closed";
            continue;
        }
        if (c == '\\') {
            c = *(*from)++;
            if (c == 0)
                return "nothing follows the last \\";
        }
        *(*to)++ = c;
    }
    *(*to)++ = 0;
    return NULL;
}

static const char *split(const char *from, struct command *c)
{
    char *to = c->text;

    for (;;) {
        const char *wrong;

        while (is_blank(*from))
            from++;
        if (*from == 0)
            break;
        c->argv[c->argc++] = to;
        wrong = copy_word(&from, &to);
        if (wrong != NULL)
            return wrong;
    }
    return c->argc > 0 && c->argv[0][0] != 0 ? NULL : "it is empty";
}

dtq_err command_parse(const char *text, struct command *ret_command, char *why, size_t why_bytes)
{
    size_t bytes = strlen(text);
    struct command c = {0};
    const char *wrong;

    /* A word takes at least one byte and a blank; a closing zero takes the place of the blank. */
    c.text = malloc(bytes + 2);
    c.argv = calloc(bytes / 2 + 2, sizeof *c.argv);
    if (c.text == NULL || c.argv == NULL) {
        command_done(&c);
        return DTQ_ENOMEM;
    }
    wrong = split(text, &c);
    if (wrong != NULL) {
        snprintf(why, why_bytes, "the command '%s' is not valid: %s", text, wrong);
        command_done(&c);
        return DTQ_EINVAL;
    }
    *ret_command = c;
    return DTQ_OK;
}

static bool is_program(const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return false;
    if (!S_ISREG(st.st_mode)) {
        errno = EACCES;
        return false;
    }
    return access(path, X_OK) == 0;
}

static dtq_err take_path(struct command *c, const char *path)
{
    /* Absolute: a task may change the directory of its slot. */
    c->path = path[0] == '/' ? strdup(path) : realpath(path, NULL);
    return c->path != NULL ? DTQ_OK : DTQ_ENOMEM;
}

/* The next directory of a search path, with "/" and `name` behind it; an empty one is ".". */
static bool next_candidate(const char **search, const char *name, char *ret_path, size_t bytes)
{
    size_t len = strcspn(*search, ":");
    int n = len > 0 ? snprintf(ret_path, bytes, "%.*s/%s", (int)len, *search, name)
                    : snprintf(ret_path, bytes, "./%s", name);

    *search += len + ((*search)[len] == ':');
    return n > 0 && (size_t)n < bytes;
}

dtq_err command_find(struct command *c, const char *search, char *why, size_t why_bytes)
{
    const char *name = c->argv[0];
    char path[PATH_MAX];

    if (strchr(name, '/') != NULL) {
        if (is_program(name))
            return take_path(c, name);
        snprintf(why, why_bytes, "'%s' cannot be executed: %s", name, strerror(errno));
        return DTQ_ENOTFOUND;
    }
    if (search == NULL)
        search = SEARCH_DEFAULT;
    for (const char *at = search; *at != 0;)
        if (next_candidate(&at, name, path, sizeof path) && is_program(path))
            return take_path(c, path);
    snprintf(why, why_bytes, "there is no command '%s' in PATH (%s)", name, search);
    return DTQ_ENOTFOUND;
}

void command_done(struct command *c)
{
    free(c->argv);
    free(c->path);
    free(c->text);
    *c = (struct command){0};
}
