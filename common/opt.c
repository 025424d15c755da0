#include "opt.h"

#include "buf.h"
#include "codec.h"
#include "log.h"
#include "opt_file.h"
#include "sock.h"
#include "text.h"

#include <assert.h>
#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#define HELP_COLUMN 30
#define HELP_WIDTH 96
#define TEXTS_BYTES_MAX ((size_t)16 * 1024 * 1024)
#define VALUES_MAX 4096u /* of one option that may be repeated */
#define WHY_BYTES 1024

/* What is known of one option: texts first, from the best source that has any. */
struct entry {
    const struct opt *opt;
    void *values;
    bool builtin;
    enum opt_source source;
    bool from_section; /* of the configuration file */
    const char *where; /* "--bind", "DTQ_BIND", a path, "default" */
    const char **texts;
    size_t texts_n;
    size_t room;
};

struct opt_state {
    const struct opt_spec *spec;
    struct dtqi_buf *texts; /* every string, list and array */
    struct entry *entries;
    size_t entries_n;
    char config_path[PATH_MAX];
    char why[WHY_BYTES];
};

struct builtin {
    bool help;
    bool version;
    bool show_config;
    const char *config;
};

static const struct opt builtin_table[] = {
    {.name = "config",
     .type = OPT_PATH,
     OPT_AT(struct builtin, config),
     .meta = "FILE",
     .help = "read this configuration file, and no other"},
    {.name = "show-config",
     .type = OPT_FLAG,
     OPT_AT(struct builtin, show_config),
     .command_line_only = true,
     .help = "print every value and where it came from, then exit"},
    {.name = "help",
     .letter = 'h',
     .type = OPT_FLAG,
     OPT_AT(struct builtin, help),
     .command_line_only = true,
     .help = "print this, then exit"},
    {.name = "version",
     .type = OPT_FLAG,
     OPT_AT(struct builtin, version),
     .command_line_only = true,
     .help = "print the version, then exit"},
};

/* ---------------------------------------------------------------- messages */

static void print_name(const struct opt_spec *spec, FILE *to)
{
    fprintf(to, "%s", spec->program);
    if (spec->command != NULL)
        fprintf(to, " %s", spec->command);
}

int opt_error(const struct opt_spec *spec, const char *format, ...)
{
    va_list args;

    print_name(spec, stderr);
    fprintf(stderr, ": ");
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nTry '");
    print_name(spec, stderr);
    fprintf(stderr, " --help'.\n");
    return 2;
}

static dtq_err no_memory(struct opt_state *s)
{
    snprintf(s->why, sizeof s->why, "out of memory");
    return DTQ_ENOMEM;
}

/* A sentence about one value: where it was given, and what is wrong with it. */
static dtq_err bad_value(struct opt_state *s, const struct entry *e, const char *text,
                         const char *format, ...) __attribute__((format(printf, 4, 5)));

static dtq_err bad_value(struct opt_state *s, const struct entry *e, const char *text,
                         const char *format, ...)
{
    char problem[256];
    va_list args;

    va_start(args, format);
    vsnprintf(problem, sizeof problem, format, args);
    va_end(args);
    if (e->source == OPT_FROM_FILE)
        snprintf(s->why, sizeof s->why, "%.200s: %s: '%.100s' %s", e->where, e->opt->name, text,
                 problem);
    else
        snprintf(s->why, sizeof s->why, "%.64s: '%.100s' %s", e->where, text, problem);
    return DTQ_EINVAL;
}

/* ---------------------------------------------------------------- memory */

static void *take(struct opt_state *s, size_t n, size_t bytes)
{
    void *at = n <= SIZE_MAX / bytes ? dtqi_buf_alloc(s->texts, n * bytes) : NULL;

    if (at == NULL)
        (void)no_memory(s);
    return at;
}

static char *take_text(struct opt_state *s, const char *text, size_t n)
{
    char *copy = take(s, n + 1, 1);

    if (copy != NULL) {
        memcpy(copy, text, n);
        copy[n] = '\0';
    }
    return copy;
}

static dtq_err add_text(struct opt_state *s, struct entry *e, const char *text)
{
    if (e->texts_n == VALUES_MAX)
        return bad_value(s, e, text, "is one too many: at most %u are allowed", VALUES_MAX);
    if (e->texts_n == e->room) {
        size_t room = e->room == 0 ? 4 : 2 * e->room;
        const char **texts = take(s, room, sizeof *texts);

        if (texts == NULL)
            return DTQ_ENOMEM;
        if (e->texts_n != 0)
            memcpy(texts, e->texts, e->texts_n * sizeof *texts);
        e->texts = texts;
        e->room = room;
    }
    e->texts[e->texts_n++] = text;
    return DTQ_OK;
}

static bool is_list(enum opt_type type)
{
    return type == OPT_STRINGS || type == OPT_NAMES || type == OPT_WEIGHTS || type == OPT_ENDPOINTS;
}

/* Sources are read from the best to the worst: what a better one gave stays. Within one source, the
 * last value of an option counts, or all of a list. */
static dtq_err give(struct opt_state *s, struct entry *e, enum opt_source source, const char *where,
                    const char *text)
{
    if (e->texts_n != 0 && e->source > source)
        return DTQ_OK;
    if (!is_list(e->opt->type))
        e->texts_n = 0;
    e->source = source;
    e->where = where;
    return add_text(s, e, text);
}

/* ---------------------------------------------------------------- from text to value */

static dtq_err to_flag(struct opt_state *s, const struct entry *e, const char *text, bool *ret)
{
    static const char *const yes[] = {"yes", "true", "on", "1"};
    static const char *const no[] = {"no", "false", "off", "0"};

    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *ret = strcasecmp(text, yes[i]) == 0;
            return DTQ_OK;
        }
    }
    return bad_value(s, e, text, "is neither yes nor no");
}

static void format_bound(const struct opt *opt, uint64_t bound, char ret_text[TEXT_DURATION_BYTES])
{
    if (opt->type == OPT_DURATION)
        text_format_duration(bound, ret_text);
    else if (opt->type == OPT_SIZE)
        text_format_size(bound, ret_text);
    else
        snprintf(ret_text, TEXT_DURATION_BYTES, "%llu", (unsigned long long)bound);
}

static dtq_err out_of_bounds(struct opt_state *s, const struct entry *e, const char *text)
{
    char lo[TEXT_DURATION_BYTES];
    char hi[TEXT_DURATION_BYTES];

    format_bound(e->opt, e->opt->min, lo);
    format_bound(e->opt, e->opt->max, hi);
    if (e->opt->max == 0)
        return bad_value(s, e, text, "is too small; allowed is %s or more", lo);
    return bad_value(s, e, text, "is out of bounds; allowed is %s to %s", lo, hi);
}

static bool is_within(const struct opt *opt, uint64_t value)
{
    return value >= opt->min && (opt->max == 0 || value <= opt->max);
}

static dtq_err to_integer(struct opt_state *s, const struct entry *e, const char *text,
                          uint64_t *ret)
{
    uint64_t value;

    if (text_parse_u64(text, &value) != DTQ_OK)
        return bad_value(s, e, text, "is not a whole number");
    if (!is_within(e->opt, value))
        return out_of_bounds(s, e, text);
    *ret = value;
    return DTQ_OK;
}

static dtq_err to_number(struct opt_state *s, const struct entry *e, const char *text, double *ret)
{
    char *end;
    double value = strtod(text, &end);

    if (*text == '\0' || *end != '\0' || strspn(text, "0123456789.") != strlen(text))
        return bad_value(s, e, text, "is not a number like 2 or 0.5");
    if (value < (double)e->opt->min || (e->opt->max != 0 && value > (double)e->opt->max))
        return out_of_bounds(s, e, text);
    *ret = value;
    return DTQ_OK;
}

static dtq_err to_duration(struct opt_state *s, const struct entry *e, const char *text,
                           uint64_t *ret)
{
    uint64_t value;

    if (text_parse_duration(text, &value) != DTQ_OK)
        return bad_value(s, e, text,
                         "is not a duration; write it like 250ms, 30s, 5m, 1h30m or 7d");
    if (!is_within(e->opt, value))
        return out_of_bounds(s, e, text);
    *ret = value;
    return DTQ_OK;
}

static dtq_err to_size(struct opt_state *s, const struct entry *e, const char *text, uint64_t *ret)
{
    uint64_t value;

    if (text_parse_size(text, &value) != DTQ_OK)
        return bad_value(s, e, text, "is not a size; write it like 4096, 64k, 16m or 1g");
    if (!is_within(e->opt, value))
        return out_of_bounds(s, e, text);
    *ret = value;
    return DTQ_OK;
}

static dtq_err to_time(struct opt_state *s, const struct entry *e, const char *text, uint64_t *ret)
{
    if (text_parse_time(text, ret) != DTQ_OK)
        return bad_value(s, e, text,
                         "is not a time; write it like 2026-11-22T23:00:00Z or "
                         "2026-11-22T23:00:00+01:00");
    return DTQ_OK;
}

static dtq_err to_range(struct opt_state *s, const struct entry *e, const char *text,
                        struct opt_range *ret)
{
    char lo_text[24] = "";
    const char *dash = strchr(text, '-');
    size_t n = dash != NULL ? (size_t)(dash - text) : strlen(text);
    uint64_t lo;
    uint64_t hi;

    if (n >= sizeof lo_text)
        return bad_value(s, e, text, "is not a range like 20000-29999");
    snprintf(lo_text, sizeof lo_text, "%.*s", (int)n, text);
    if (text_parse_u64(lo_text, &lo) != DTQ_OK ||
        text_parse_u64(dash != NULL ? dash + 1 : lo_text, &hi) != DTQ_OK)
        return bad_value(s, e, text, "is not a range like 20000-29999");
    if (lo > hi)
        return bad_value(s, e, text, "is not a range: its end is before its beginning");
    if (!is_within(e->opt, lo) || !is_within(e->opt, hi) || hi > UINT32_MAX)
        return out_of_bounds(s, e, text);
    *ret = (struct opt_range){(uint32_t)lo, (uint32_t)hi};
    return DTQ_OK;
}

static dtq_err to_enum(struct opt_state *s, const struct entry *e, const char *text, int *ret)
{
    char words[128] = "";
    size_t used = 0;

    for (int i = 0; e->opt->words[i] != NULL; i++) {
        if (strcmp(text, e->opt->words[i]) == 0) {
            *ret = i;
            return DTQ_OK;
        }
        used += (size_t)snprintf(words + used, sizeof words - used, "%s%s", i == 0 ? "" : ", ",
                                 e->opt->words[i]);
        assert(used < sizeof words);
    }
    return bad_value(s, e, text, "is not one of %s", words);
}

static dtq_err to_path(struct opt_state *s, const struct entry *e, const char *text,
                       const char **ret)
{
    const char *home = getenv("HOME");
    size_t n;
    char *path;

    if (*text == '\0')
        return bad_value(s, e, text, "is not a path");
    if (strncmp(text, "~/", 2) != 0 || home == NULL) {
        *ret = text;
        return DTQ_OK;
    }
    n = strlen(home) + strlen(text);
    path = take(s, n, 1);
    if (path == NULL)
        return DTQ_ENOMEM;
    snprintf(path, n, "%s%s", home, text + 1);
    *ret = path;
    return DTQ_OK;
}

static dtq_err check_endpoint(struct opt_state *s, const struct entry *e, const char *text,
                              bool bind)
{
    const char *problem = sock_endpoint_problem(text, bind);

    return problem == NULL
               ? DTQ_OK
               : bad_value(s, e, text, "is not an endpoint like tcp://host:5570: %s", problem);
}

/* "name", or "name=N". */
static dtq_err check_weight(struct opt_state *s, const struct entry *e, const char *text)
{
    const char *equals = strchrnul(text, '=');
    struct dtqi_str name = {text, (uint32_t)(equals - text)};
    uint64_t weight = 1;

    if (dtqi_is_name(name) && (*equals == '\0' || text_parse_u64(equals + 1, &weight) == DTQ_OK) &&
        weight >= e->opt->min && weight <= e->opt->max)
        return DTQ_OK;
    return bad_value(s, e, text, "is not a name, nor a name, \"=\" and a number from %llu to %llu",
                     (unsigned long long)e->opt->min, (unsigned long long)e->opt->max);
}

static dtq_err check_item(struct opt_state *s, const struct entry *e, const char *text)
{
    if (e->opt->type == OPT_ENDPOINTS)
        return check_endpoint(s, e, text, false);
    if (e->opt->type == OPT_WEIGHTS)
        return check_weight(s, e, text);
    if (e->opt->type == OPT_NAMES && !dtqi_is_name(dtqi_str(text)))
        return bad_value(s, e, text,
                         "is not a name: 1 to %u letters, digits or any of _ . : - are allowed",
                         DTQI_NAME_BYTES_MAX);
    return DTQ_OK;
}

/* Items of one text: divided at `divider`, or the text itself when that is 0. Counts them; writes
 * them to `items` unless NULL. */
static dtq_err split(struct opt_state *s, const struct entry *e, const char *text, char divider,
                     const char **items, size_t *n)
{
    for (;;) {
        const char *end = divider != '\0' ? strchrnul(text, divider) : text + strlen(text);

        if (items != NULL) {
            items[*n] = take_text(s, text, (size_t)(end - text));
            if (items[*n] == NULL)
                return DTQ_ENOMEM;
            if (check_item(s, e, items[*n]) != DTQ_OK)
                return DTQ_EINVAL;
        }
        ++*n;
        if (*end == '\0')
            return DTQ_OK;
        text = end + 1;
    }
}

static dtq_err to_list(struct opt_state *s, const struct entry *e, struct opt_strings *ret)
{
    char divider = e->opt->type != OPT_STRINGS         ? ','
                   : e->source == OPT_FROM_ENVIRONMENT ? '\n'
                                                       : '\0';
    const char **items;
    size_t n = 0;
    size_t total = 0;

    for (size_t i = 0; i < e->texts_n; i++)
        if (split(s, e, e->texts[i], divider, NULL, &total) != DTQ_OK)
            return DTQ_EINVAL;
    items = take(s, total, sizeof *items);
    if (items == NULL)
        return DTQ_ENOMEM;
    for (size_t i = 0; i < e->texts_n; i++) {
        dtq_err err = split(s, e, e->texts[i], divider, items, &n);

        if (err != DTQ_OK)
            return err;
    }
    *ret = (struct opt_strings){items, n};
    return DTQ_OK;
}

static dtq_err to_value(struct opt_state *s, const struct entry *e, void *at)
{
    const char *text = e->texts[e->texts_n - 1];

    switch (e->opt->type) {
    case OPT_FLAG: return to_flag(s, e, text, at);
    case OPT_STRING: *(const char **)at = text; return DTQ_OK;
    case OPT_STRINGS:
    case OPT_NAMES:
    case OPT_WEIGHTS:
    case OPT_ENDPOINTS: return to_list(s, e, at);
    case OPT_INTEGER: return to_integer(s, e, text, at);
    case OPT_NUMBER: return to_number(s, e, text, at);
    case OPT_DURATION: return to_duration(s, e, text, at);
    case OPT_SIZE: return to_size(s, e, text, at);
    case OPT_TIME: return to_time(s, e, text, at);
    case OPT_ENDPOINT: *(const char **)at = text; return check_endpoint(s, e, text, true);
    case OPT_RANGE: return to_range(s, e, text, at);
    case OPT_PATH: return to_path(s, e, text, at);
    case OPT_ENUM: return to_enum(s, e, text, at);
    }
    return DTQ_EINVAL;
}

static dtq_err to_values(struct opt_state *s)
{
    for (size_t i = 0; i < s->entries_n; i++) {
        struct entry *e = &s->entries[i];
        char *values = e->values;
        dtq_err err;

        if (e->texts_n == 0)
            continue;
        err = to_value(s, e, values + e->opt->offset);
        if (err != DTQ_OK)
            return err;
        if (e->opt->given != 0)
            *(bool *)(values + e->opt->given - 1) = e->source != OPT_FROM_DEFAULT;
    }
    return DTQ_OK;
}

/* ---------------------------------------------------------------- sources */

static size_t value_bytes(enum opt_type type)
{
    switch (type) {
    case OPT_FLAG: return sizeof(bool);
    case OPT_STRING:
    case OPT_ENDPOINT:
    case OPT_PATH: return sizeof(const char *);
    case OPT_STRINGS:
    case OPT_NAMES:
    case OPT_WEIGHTS:
    case OPT_ENDPOINTS: return sizeof(struct opt_strings);
    case OPT_INTEGER:
    case OPT_DURATION:
    case OPT_SIZE:
    case OPT_TIME: return sizeof(uint64_t);
    case OPT_NUMBER: return sizeof(double);
    case OPT_RANGE: return sizeof(struct opt_range);
    case OPT_ENUM: return sizeof(int);
    }
    return 0;
}

static void add_entries(struct opt_state *s, const struct opt *opts, size_t n, void *values)
{
    for (size_t i = 0; i < n; i++) {
        memset((char *)values + opts[i].offset, 0, value_bytes(opts[i].type));
        if (opts[i].given != 0)
            *(bool *)((char *)values + opts[i].given - 1) = false;
        s->entries[s->entries_n++] = (struct entry){.opt = &opts[i],
                                                    .values = values,
                                                    .builtin = opts == builtin_table,
                                                    .where = "default"};
    }
}

static dtq_err find_entries(struct opt_state *s, struct builtin *builtin)
{
    size_t n = sizeof builtin_table / sizeof *builtin_table;

    for (size_t i = 0; i < s->spec->groups_n; i++)
        n += s->spec->groups[i].opts_n;
    s->entries = take(s, n, sizeof *s->entries);
    if (s->entries == NULL)
        return DTQ_ENOMEM;
    for (size_t i = 0; i < s->spec->groups_n; i++)
        add_entries(s, s->spec->groups[i].opts, s->spec->groups[i].opts_n,
                    s->spec->groups[i].values);
    add_entries(s, builtin_table, sizeof builtin_table / sizeof *builtin_table, builtin);
    return DTQ_OK;
}

static struct entry *entry_of(struct opt_state *s, const char *name, size_t n)
{
    for (size_t i = 0; i < s->entries_n; i++)
        if (strlen(s->entries[i].opt->name) == n && strncmp(s->entries[i].opt->name, name, n) == 0)
            return &s->entries[i];
    return NULL;
}

static struct entry *entry_of_letter(struct opt_state *s, char letter)
{
    for (size_t i = 0; i < s->entries_n; i++)
        if (letter != '\0' && s->entries[i].opt->letter == letter)
            return &s->entries[i];
    return NULL;
}

static const char *nearest_option(struct opt_state *s, const char *name)
{
    const char **names = take(s, s->entries_n, sizeof *names);

    if (names == NULL)
        return NULL;
    for (size_t i = 0; i < s->entries_n; i++)
        names[i] = s->entries[i].opt->name;
    return text_nearest(name, names, s->entries_n);
}

static dtq_err give_defaults(struct opt_state *s)
{
    dtq_err err = DTQ_OK;

    for (size_t i = 0; i < s->entries_n && err == DTQ_OK; i++)
        if (s->entries[i].opt->initial != NULL)
            err = give(s, &s->entries[i], OPT_FROM_DEFAULT, "default", s->entries[i].opt->initial);
    return err;
}

/* "lane-ports" is DTQ_LANE_PORTS. */
static char *environment_name(struct opt_state *s, const char *name)
{
    size_t n = strlen("DTQ_") + strlen(name);
    char *text = take(s, n + 1, 1);

    if (text == NULL)
        return NULL;
    snprintf(text, n + 1, "DTQ_%s", name);
    for (char *at = text; *at != '\0'; at++)
        *at = *at == '-' ? '_' : (char)toupper((unsigned char)*at);
    return text;
}

static dtq_err give_environment(struct opt_state *s, struct entry *e)
{
    char *name;
    const char *value;

    if (e->opt->command_line_only)
        return DTQ_OK;
    name = environment_name(s, e->opt->name);
    if (name == NULL)
        return DTQ_ENOMEM;
    value = getenv(name);
    if (value == NULL || *value == '\0')
        return DTQ_OK; /* set to nothing is how scripts say "not set" */
    return give(s, e, OPT_FROM_ENVIRONMENT, name, value);
}

static dtq_err read_environment(struct opt_state *s)
{
    dtq_err err = DTQ_OK;

    for (size_t i = 0; i < s->entries_n && err == DTQ_OK; i++)
        err = give_environment(s, &s->entries[i]);
    return err;
}

struct file_walk {
    struct opt_state *s;
    dtq_err err;
};

static dtq_err unknown_key(struct opt_state *s, const char *key)
{
    const char *nearest = nearest_option(s, key);

    snprintf(s->why, sizeof s->why, "%.200s: %s has no option '%.100s'%s%s%s", s->config_path,
             s->spec->program, key, nearest != NULL ? "; did you mean '" : "",
             nearest != NULL ? nearest : "", nearest != NULL ? "'?" : "");
    return DTQ_EINVAL;
}

static bool is_key_of_any(const char *key)
{
    size_t n;
    const char *const *keys = opt_file_keys(&n);

    for (size_t i = 0; i < n; i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

/* Neither this program nor another one, which may share the file, would ever look at it. */
static dtq_err nobodys_key(struct opt_state *s, const char *key)
{
    size_t n;
    const char *const *keys = opt_file_keys(&n);
    const char *nearest = text_nearest(key, keys, n);

    snprintf(s->why, sizeof s->why, "%.200s: no program of dtq takes '%.100s' from a file%s%s%s",
             s->config_path, key, nearest != NULL ? "; did you mean '" : "",
             nearest != NULL ? nearest : "", nearest != NULL ? "'?" : "");
    return DTQ_EINVAL;
}

static dtq_err give_key(struct opt_state *s, struct entry *e, bool in_section, const char *value)
{
    char *text = take_text(s, value, strlen(value));

    if (text == NULL)
        return DTQ_ENOMEM;
    /* A section's list replaces the one at the top, it does not lengthen it. */
    if (e->source == OPT_FROM_FILE && in_section && !e->from_section)
        e->texts_n = 0;
    e->from_section = in_section;
    return give(s, e, OPT_FROM_FILE, s->config_path, text);
}

/* Keys at the top may be another program's, and those in the section "dtq" another command's; in a
 * program's own section, what it does not know is an error, and anywhere what nobody knows. */
static bool on_key(void *arg, bool in_section, const char *key, const char *value)
{
    struct file_walk *walk = arg;
    const struct opt_spec *spec = walk->s->spec;
    struct entry *e = entry_of(walk->s, key, strlen(key));

    if (e != NULL && !e->opt->command_line_only)
        walk->err = give_key(walk->s, e, in_section, value);
    else if (in_section && spec->command == NULL && !spec->stop_at_operand)
        walk->err = unknown_key(walk->s, key);
    else if (!is_key_of_any(key))
        walk->err = nobodys_key(walk->s, key);
    return walk->err == DTQ_OK;
}

/* The path of the configuration file into s->config_path; "": there is none. */
static dtq_err find_file(struct opt_state *s)
{
    struct entry *e = entry_of(s, "config", strlen("config"));
    const char *path = NULL;
    dtq_err err;

    if (e->texts_n == 0) {
        if (opt_file_find(s->config_path, sizeof s->config_path) == NULL)
            s->config_path[0] = '\0';
        return DTQ_OK;
    }
    err = to_path(s, e, e->texts[e->texts_n - 1], &path);
    if (err != DTQ_OK)
        return err;
    assert(path != NULL);
    if (strlen(path) >= sizeof s->config_path)
        return bad_value(s, e, path, "is too long for a path");
    snprintf(s->config_path, sizeof s->config_path, "%s", path);
    return DTQ_OK;
}

static dtq_err check_sections(struct opt_state *s, struct _zconfig_t *file)
{
    const char *nearest;
    const char *name = opt_file_strange_section(file, s->spec->program, &nearest);

    if (name == NULL)
        return DTQ_OK;
    snprintf(s->why, sizeof s->why, "%.200s: the section '%.100s' is no program's of dtq%s%s%s",
             s->config_path, name, nearest != NULL ? "; did you mean '" : "",
             nearest != NULL ? nearest : "", nearest != NULL ? "'?" : "");
    return DTQ_EINVAL;
}

static dtq_err read_file(struct opt_state *s)
{
    struct file_walk walk = {.s = s, .err = DTQ_OK};
    struct _zconfig_t *file;
    char why[WHY_BYTES / 2];
    dtq_err err = find_file(s);

    if (err != DTQ_OK || s->config_path[0] == '\0')
        return err;
    err = opt_file_open(s->config_path, &file, why, sizeof why);
    if (err != DTQ_OK) {
        snprintf(s->why, sizeof s->why, "%.200s: %s", s->config_path, why);
        return err;
    }
    walk.err = check_sections(s, file);
    if (walk.err == DTQ_OK)
        (void)opt_file_each(file, s->spec->program, on_key, &walk);
    opt_file_close(file);
    return walk.err;
}

/* ---------------------------------------------------------------- command line */

struct line {
    int argc;
    char **argv;
    int at;
    struct opt_result *result;
};

static dtq_err unknown_option(struct opt_state *s, const char *name)
{
    const char *nearest = nearest_option(s, name);

    if (nearest != NULL)
        snprintf(s->why, sizeof s->why, "unknown option --%.100s; did you mean --%s?", name,
                 nearest);
    else
        snprintf(s->why, sizeof s->why, "unknown option --%.100s", name);
    return DTQ_EINVAL;
}

static const char *dashed(struct opt_state *s, const struct opt *opt)
{
    size_t n = strlen(opt->name) + 3;
    char *text = take(s, n, 1);

    if (text != NULL)
        snprintf(text, n, "--%s", opt->name);
    return text;
}

static dtq_err give_argument(struct opt_state *s, struct entry *e, const char *text)
{
    const char *where = dashed(s, e->opt);

    return where == NULL ? DTQ_ENOMEM : give(s, e, OPT_FROM_COMMAND_LINE, where, text);
}

/* The value of an option is the next argument, whatever it looks like. */
static dtq_err take_argument(struct opt_state *s, struct line *line, struct entry *e)
{
    if (line->at == line->argc) {
        snprintf(s->why, sizeof s->why, "--%s: a value is missing (%s)", e->opt->name,
                 e->opt->meta != NULL ? e->opt->meta : "VALUE");
        return DTQ_EINVAL;
    }
    return give_argument(s, e, line->argv[line->at++]);
}

/* "--name", "--name=value", "--name value" */
static dtq_err read_long(struct opt_state *s, struct line *line, const char *text)
{
    size_t n = strcspn(text, "=");
    struct entry *e = entry_of(s, text, n);

    if (e == NULL) {
        char *name = take_text(s, text, n);

        return name == NULL ? DTQ_ENOMEM : unknown_option(s, name);
    }
    if (text[n] == '=')
        return give_argument(s, e, text + n + 1);
    return e->opt->type == OPT_FLAG ? give_argument(s, e, "yes") : take_argument(s, line, e);
}

/* "-c4", "-c 4", "-c=4" is the value "=4"; flags may stand together */
static dtq_err read_letters(struct opt_state *s, struct line *line, const char *text)
{
    for (; *text != '\0'; text++) {
        struct entry *e = entry_of_letter(s, *text);
        dtq_err err;

        if (e == NULL) {
            snprintf(s->why, sizeof s->why, "unknown option -%c", *text);
            return DTQ_EINVAL;
        }
        if (e->opt->type != OPT_FLAG)
            return text[1] != '\0' ? give_argument(s, e, text + 1) : take_argument(s, line, e);
        err = give_argument(s, e, "yes");
        if (err != DTQ_OK)
            return err;
    }
    return DTQ_OK;
}

/* Operands move to the front of the array that becomes result->operands. */
static void add_operands(struct line *line, size_t n, char **from)
{
    for (size_t i = 0; i < n; i++)
        line->result->operands[line->result->operands_n++] = from[i];
}

static dtq_err read_line(struct opt_state *s, struct line *line)
{
    while (line->at < line->argc) {
        char *text = line->argv[line->at++];
        dtq_err err = DTQ_OK;

        if (strcmp(text, "--") == 0) {
            line->result->dashes_at = line->result->operands_n;
            break;
        }
        if (strncmp(text, "--", 2) == 0) {
            err = read_long(s, line, text + 2);
        } else if (text[0] == '-' && text[1] != '\0') {
            err = read_letters(s, line, text + 1);
        } else {
            add_operands(line, 1, &text);
            if (s->spec->stop_at_operand)
                break;
        }
        if (err != DTQ_OK)
            return err;
    }
    add_operands(line, (size_t)(line->argc - line->at), line->argv + line->at);
    return DTQ_OK;
}

/* All ways to call it, each on a line of its own if there are several. */
static void say_usage(struct opt_state *s)
{
    const struct opt_spec *spec = s->spec;
    const char *lead = strchr(spec->usage, '\n') != NULL ? "\n  " : " ";
    size_t used = (size_t)snprintf(s->why, sizeof s->why, "something is missing; usage:");

    for (const char *usage = spec->usage; *usage != '\0' && used < sizeof s->why;) {
        size_t n = strcspn(usage, "\n");

        used += (size_t)snprintf(s->why + used, sizeof s->why - used, "%s%s%s%s %.*s", lead,
                                 spec->program, spec->command != NULL ? " " : "",
                                 spec->command != NULL ? spec->command : "", (int)n, usage);
        usage += n + (usage[n] == '\n' ? 1 : 0);
    }
}

static dtq_err check_operands(struct opt_state *s, const struct opt_result *result)
{
    const struct opt_spec *spec = s->spec;

    if (spec->stop_at_operand)
        return DTQ_OK;
    if (result->operands_n < spec->operands_min) {
        say_usage(s);
        return DTQ_EINVAL;
    }
    if (result->operands_n > spec->operands_max) {
        snprintf(s->why, sizeof s->why, "unexpected argument '%.100s'",
                 result->operands[spec->operands_max]);
        return DTQ_EINVAL;
    }
    return DTQ_OK;
}

/* ---------------------------------------------------------------- --help, --version, --show-config
 */

static void print_usage(const struct opt_spec *spec)
{
    const char *lead = "Usage: ";

    for (const char *usage = spec->usage; *usage != '\0'; lead = "       ") {
        size_t n = strcspn(usage, "\n");

        printf("%s", lead);
        print_name(spec, stdout);
        printf(" %.*s\n", (int)n, usage);
        usage += n + (usage[n] == '\n' ? 1 : 0);
    }
}

/* Words of a text, in lines up to HELP_WIDTH, from HELP_COLUMN on; *column is where the line ends.
 */
static void print_wrapped(const char *text, size_t *column)
{
    while (*text != '\0') {
        size_t n = strcspn(text, " ");

        if (*column > HELP_COLUMN && *column + 1 + n > HELP_WIDTH) {
            printf("\n%*s", HELP_COLUMN, "");
            *column = HELP_COLUMN;
        } else if (*column > HELP_COLUMN) {
            putchar(' ');
            ++*column;
        }
        printf("%.*s", (int)n, text);
        *column += n;
        text += n + strspn(text + n, " ");
    }
}

static size_t print_words(const struct opt *opt)
{
    size_t n = 0;

    for (size_t i = 0; opt->words[i] != NULL; i++)
        n += (size_t)printf("%s%s", i == 0 ? " " : "|", opt->words[i]);
    return n;
}

static size_t print_names(const struct opt *opt)
{
    size_t n = opt->letter != '\0' ? (size_t)printf("  -%c, --%s", opt->letter, opt->name)
                                   : (size_t)printf("      --%s", opt->name);

    if (opt->meta != NULL)
        return n + (size_t)printf(" %s", opt->meta);
    return opt->type == OPT_ENUM ? n + print_words(opt) : n;
}

static void print_option(const struct opt *opt)
{
    size_t column = print_names(opt);

    if (column + 2 > HELP_COLUMN) {
        printf("\n");
        column = 0;
    }
    printf("%*s", (int)(HELP_COLUMN - column), "");
    column = HELP_COLUMN;
    print_wrapped(opt->help, &column);
    if (opt->initial != NULL && opt->type != OPT_FLAG) {
        char text[256];

        snprintf(text, sizeof text, "(default %s)", opt->initial);
        print_wrapped(text, &column);
    }
    printf("\n");
}

static void print_group(const char *title, const struct opt *opts, size_t n)
{
    if (title != NULL)
        printf("\n%s:\n", title);
    for (size_t i = 0; i < n; i++)
        if (!opts[i].hidden)
            print_option(&opts[i]);
}

static void print_help(const struct opt_spec *spec)
{
    print_usage(spec);
    printf("\n%s\n", spec->summary);
    for (size_t i = 0; i < spec->groups_n; i++)
        print_group(spec->groups[i].title, spec->groups[i].opts, spec->groups[i].opts_n);
    print_group("General", builtin_table, sizeof builtin_table / sizeof *builtin_table);
    if (spec->epilog != NULL)
        printf("\n%s\n", spec->epilog);
    printf(
        "\nEvery option can also be set in the environment (DTQ_LOG_LEVEL for --log-level) or in "
        "the\nconfiguration file (~/.config/dtq/dtq.conf, else /etc/dtq/dtq.conf; \"log-level = "
        "debug\").\n");
}

/* A line of a configuration file, so that the whole output is one. */
static void print_entry(void *arg, const struct opt *opt, const char *value, enum opt_source source,
                        const char *where)
{
    char quote = value != NULL && strchr(value, '"') != NULL ? '\'' : '"';

    (void)arg;
    (void)source;
    if (opt->hidden || opt->command_line_only)
        return;
    if (value == NULL)
        printf("# %s is not set\n", opt->name);
    else
        printf("%s = %c%s%c # %s\n", opt->name, quote, value, quote, where);
}

static void each_text(const struct entry *e, opt_visit *visit, void *arg)
{
    if (e->texts_n == 0)
        visit(arg, e->opt, e->opt->type == OPT_FLAG ? "no" : NULL, e->source, e->where);
    for (size_t i = 0; i < e->texts_n; i++)
        visit(arg, e->opt, e->texts[i], e->source, e->where);
}

void opt_each(const struct opt_result *result, opt_visit *visit, void *arg)
{
    const struct opt_state *s = result->state;

    for (size_t i = 0; i < s->entries_n; i++)
        if (!s->entries[i].builtin)
            each_text(&s->entries[i], visit, arg);
}

/* ---------------------------------------------------------------- all of it */

/* Has the flag been given on the command line? Asked before the values are made, so that --help
 * works whatever else is wrong. */
static bool is_given(struct opt_state *s, const char *name)
{
    return entry_of(s, name, strlen(name))->texts_n != 0;
}

static dtq_err read_sources(struct opt_state *s, const struct opt_result *result)
{
    dtq_err err = read_environment(s);

    if (err == DTQ_OK)
        err = read_file(s);
    if (err == DTQ_OK)
        err = give_defaults(s);
    if (err == DTQ_OK)
        err = to_values(s);
    return err != DTQ_OK ? err : check_operands(s, result);
}

static dtq_err new_state(const struct opt_spec *spec, int argc, struct builtin *builtin,
                         struct opt_result *ret)
{
    struct opt_state *s = calloc(1, sizeof *s);

    if (s == NULL)
        return DTQ_ENOMEM;
    ret->state = s;
    s->spec = spec;
    s->texts = dtqi_buf_new(4096, TEXTS_BYTES_MAX);
    if (s->texts == NULL)
        return DTQ_ENOMEM;
    ret->operands = take(s, (size_t)argc + 1, sizeof *ret->operands);
    if (ret->operands == NULL)
        return DTQ_ENOMEM;
    return find_entries(s, builtin);
}

static int fail(const struct opt_spec *spec, dtq_err err, const char *why)
{
    if (err == DTQ_EINVAL)
        return opt_error(spec, "%s", why);
    fprintf(stderr, "%s: out of memory\n", spec->program);
    return 1;
}

bool opt_flush(const char *who)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};

    if (fflush(stdout) == 0 && !ferror(stdout))
        return true;
    if (poll(&out, 1, 0) > 0 && (out.revents & POLLERR) != 0)
        return true; /* the other end of the pipe is closed */
    fprintf(stderr, "%s: cannot write to standard output\n", who);
    return false;
}

static int end_of_output(const struct opt_spec *spec)
{
    return opt_flush(spec->program) ? 0 : 1;
}

int opt_parse(const struct opt_spec *spec, int argc, char **argv, struct opt_result *ret)
{
    struct line line = {.argc = argc, .argv = argv, .at = 1, .result = ret};
    struct builtin builtin;
    dtq_err err;

    *ret = (struct opt_result){.dashes_at = SIZE_MAX};
    err = new_state(spec, argc, &builtin, ret);
    if (err != DTQ_OK)
        return fail(spec, err, "");
    err = read_line(ret->state, &line);
    if (err == DTQ_OK && is_given(ret->state, "help")) {
        print_help(spec);
        return end_of_output(spec);
    }
    if (err == DTQ_OK && is_given(ret->state, "version")) {
        printf("%s %s\n", spec->program, DTQ_VERSION);
        return end_of_output(spec);
    }
    if (err == DTQ_OK)
        err = read_sources(ret->state, ret);
    if (err != DTQ_OK)
        return fail(spec, err, ret->state->why);
    ret->config_path = ret->state->config_path[0] != '\0' ? ret->state->config_path : NULL;
    if (!builtin.show_config)
        return OPT_GO;
    opt_each(ret, print_entry, NULL);
    return end_of_output(spec);
}

void opt_done(struct opt_result *result)
{
    if (result->state != NULL)
        dtqi_buf_unref(result->state->texts);
    free(result->state);
    *result = (struct opt_result){.dashes_at = SIZE_MAX};
}

/* ---------------------------------------------------------------- groups that programs share */

const struct opt opt_log_table[] = {
    {.name = "log-level",
     .type = OPT_ENUM,
     OPT_AT(struct opt_log, level),
     .initial = "info",
     .words = log_level_names,
     .help = "write events of this level and above to stderr"},
    {.name = "log-format",
     .type = OPT_ENUM,
     OPT_AT(struct opt_log, format),
     .initial = "logfmt",
     .words = log_format_names,
     .help = "how an event is written"},
};
const size_t opt_log_table_n = sizeof opt_log_table / sizeof *opt_log_table;

void opt_log_apply(const struct opt_log *values)
{
    log_setup((enum log_level)values->level, (enum log_format)values->format);
}

const struct opt opt_ventilator_table[] = {
    {.name = "ventilator",
     .letter = 'V',
     .type = OPT_ENDPOINTS,
     OPT_AT(struct opt_ventilator, endpoints),
     .meta = "ENDPOINT",
     .initial = "tcp://127.0.0.1:5570",
     .help = "the ventilator to connect to"},
};
const size_t opt_ventilator_table_n = sizeof opt_ventilator_table / sizeof *opt_ventilator_table;

int opt_ventilator_check(const struct opt_spec *spec, const struct opt_ventilator *values)
{
    if (values->endpoints.n == 1)
        return OPT_GO;
    return opt_error(spec,
                     "--ventilator: %zu endpoints are given, but this version of dtq can use one "
                     "ventilator only",
                     values->endpoints.n);
}

const char *opt_data_dir(const char *leaf, char *ret_path, size_t bytes)
{
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    int n = -1;

    if (state != NULL && state[0] == '/')
        n = snprintf(ret_path, bytes, "%s/dtq/%s", state, leaf);
    else if (geteuid() == 0)
        n = snprintf(ret_path, bytes, "/var/lib/dtq/%s", leaf);
    else if (home != NULL && home[0] == '/')
        n = snprintf(ret_path, bytes, "%s/.local/state/dtq/%s", home, leaf);
    return n > 0 && (size_t)n < bytes ? ret_path : NULL;
}
