#include "cli.h"

#include "last.h"
#include "msg.h"
#include "text.h"

#include <ctype.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX_DIGITS_MIN 8

struct common_options {
    bool json;
};

static const struct opt common_table[] = {
    {.name = "json",
     .type = OPT_FLAG,
     OPT_AT(struct common_options, json),
     .command_line_only = true,
     .help = "print JSON: one value, or one object a line"},
};

int cli_parse(struct cli *c, const struct cli_spec *spec, int argc, char **argv)
{
    struct common_options common;
    struct opt_group groups[] = {
        {"Options", spec->opts, spec->opts_n, spec->values},
        {"Options of every command", opt_ventilator_table, opt_ventilator_table_n, &c->ventilator},
        {NULL, OPT_TABLE(common_table), &common},
    };
    struct opt_spec all = {
        .program = "dtq",
        .command = spec->command,
        .usage = spec->usage,
        .summary = spec->summary,
        .epilog = spec->epilog,
        .groups = spec->opts_n != 0 ? groups : groups + 1,
        .groups_n = spec->opts_n != 0 ? 3 : 2,
        .operands_min = spec->operands_min,
        .operands_max = spec->operands_max,
    };
    int status;

    *c = (struct cli){.command = spec->command};
    /* A reader that has seen enough (head, grep -q) ends us through cli_flush(), not by a signal.
     */
    signal(SIGPIPE, SIG_IGN);
    status = opt_parse(&all, argc, argv, &c->parsed);
    if (status != OPT_GO)
        return status;
    c->json = common.json;
    return opt_ventilator_check(&all, &c->ventilator);
}

/* What one visit to all options looks for. */
struct stray {
    const struct cli_spec *spec;
    const char *takes;
    const char *where; /* the first one: as it was given; NULL: there is none */
};

static bool has_word(const char *words, const char *word)
{
    size_t n = strlen(word);

    for (const char *at = strstr(words, word); at != NULL; at = strstr(at + 1, word))
        if ((at == words || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0'))
            return true;
    return false;
}

static void look_for_stray(void *arg, const struct opt *opt, const char *value,
                           enum opt_source source, const char *where)
{
    struct stray *s = arg;
    bool is_ours = opt >= s->spec->opts && opt < s->spec->opts + s->spec->opts_n;

    (void)value;
    if (is_ours && source == OPT_FROM_COMMAND_LINE && s->where == NULL &&
        !has_word(s->takes, opt->name))
        s->where = where;
}

int cli_check_options(const struct cli *c, const struct cli_spec *spec, const char *verb,
                      const char *takes)
{
    struct stray stray = {spec, takes, NULL};

    opt_each(&c->parsed, look_for_stray, &stray);
    if (stray.where == NULL)
        return OPT_GO;
    return cli_error(c, CLI_USAGE, "%s has no option %s", verb, stray.where);
}

/* What one visit to all options looks for. */
struct typed {
    const char *name;
    bool is_typed;
};

static void look_for_typed(void *arg, const struct opt *opt, const char *value,
                           enum opt_source source, const char *where)
{
    struct typed *t = arg;

    (void)value;
    (void)where;
    if (source == OPT_FROM_COMMAND_LINE && strcmp(opt->name, t->name) == 0)
        t->is_typed = true;
}

bool cli_is_typed(const struct cli *c, const char *name)
{
    struct typed typed = {name, false};

    opt_each(&c->parsed, look_for_typed, &typed);
    return typed.is_typed;
}

void cli_no_verb(const struct cli *c, const char *word, const char *const *verbs, size_t n)
{
    const char *near = text_nearest(word, verbs, n);

    if (near != NULL) {
        cli_error(c, CLI_USAGE, "there is no '%s'; did you mean '%s'?", word, near);
        return;
    }
    fprintf(stderr, "dtq %s: there is no '%s'; give", c->command, word);
    for (size_t i = 0; i < n; i++)
        fprintf(stderr, "%s %s", i == 0 ? "" : i + 1 < n ? "," : " or", verbs[i]);
    fputc('\n', stderr);
}

int cli_check_name(const struct cli *c, const char *what, const char *name)
{
    if (name == NULL || dtqi_is_name(dtqi_str(name)))
        return OPT_GO;
    return cli_error(c, CLI_USAGE,
                     "%s: '%s' is no name: 1 to %u letters, digits and any of _ . : -", what, name,
                     DTQI_NAME_BYTES_MAX);
}

int cli_each(struct cli *c, int (*one)(struct cli *c, const char *operand, const void *arg),
             const void *arg)
{
    int status = CLI_DONE;

    for (size_t i = 1; i < c->parsed.operands_n; i++) {
        int now = one(c, c->parsed.operands[i], arg);

        if (now == CLI_UNREACHABLE || now == CLI_TIMED_OUT)
            return now;
        status = cli_worse(status, now);
    }
    return status;
}

int cli_connect(struct cli *c, dtq_follow follow)
{
    dtq_options options;
    dtq_err err;

    dtq_options_init(&options);
    options.ventilator = c->ventilator.endpoints.at[0];
    options.follow = follow;
    options.on_silence = cli_say_silence;
    options.silence_arg = c;
    err = dtq_client_open(&options, &c->client);
    if (err != DTQ_OK)
        return cli_error(c, err == DTQ_EINVAL ? CLI_USAGE : CLI_FAILED,
                         "cannot use the ventilator %s: %s", options.ventilator, dtq_strerror(err));
    return OPT_GO;
}

void cli_done(struct cli *c)
{
    dtq_client_close(c->client);
    opt_done(&c->parsed);
    c->client = NULL;
}

static int status_of(dtq_err err)
{
    switch (err) {
    case DTQ_OK: return CLI_DONE;
    case DTQ_EUNREACHABLE: return CLI_UNREACHABLE;
    case DTQ_EBUSY:
    case DTQ_EAGAIN:
    case DTQ_ENOSPC: return CLI_BUSY;
    case DTQ_ETIMEOUT:
    case DTQ_EUNKNOWN: return CLI_TIMED_OUT; /* sent, and no answer in time */
    case DTQ_ETOOBIG:
    case DTQ_EINVAL: return CLI_USAGE;
    case DTQ_ENOMEM:
    case DTQ_ENOTFOUND:
    case DTQ_ECONFLICT:
    case DTQ_EEXISTS:
    case DTQ_EREFUSED:
    case DTQ_EVERSION:
    case DTQ_EPROTO:
    case DTQ_EIO:
    case DTQ_ELOCKED:
    case DTQ_ECORRUPT: return CLI_FAILED;
    }
    return CLI_FAILED;
}

int cli_fail(const struct cli *c, dtq_err err, const char *format, ...)
{
    const char *detail = c->client != NULL ? dtq_client_errmsg(c->client) : "";
    va_list args;

    fprintf(stderr, "dtq %s: ", c->command);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, ": %s\n", detail[0] != '\0' ? detail : dtq_strerror(err));
    if (err == DTQ_EUNREACHABLE)
        cli_hint_unreachable(c);
    return status_of(err);
}

int cli_error(const struct cli *c, int status, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "dtq %s: ", c->command);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return status;
}

void cli_out_of_memory(void)
{
    fputs("dtq: out of memory\n", stderr);
    exit(CLI_FAILED);
}

int cli_flush(const struct cli *c, int status)
{
    char who[64];

    snprintf(who, sizeof who, "dtq %s", c->command);
    return opt_flush(who) ? status : CLI_FAILED;
}

/* A prefix as people type it: hexadecimal digits, dashes anywhere. @return its bits; 0: it is none.
 */
static uint32_t parse_prefix(const char *text, dtq_id *ret_prefix)
{
    uint32_t digits = 0;

    memset(ret_prefix, 0, sizeof *ret_prefix);
    for (; *text != '\0'; text++) {
        int value;

        if (*text == '-')
            continue;
        if (!isxdigit((unsigned char)*text) || digits == 32)
            return 0;
        value =
            isdigit((unsigned char)*text) ? *text - '0' : tolower((unsigned char)*text) - 'a' + 10;
        ret_prefix->bytes[digits / 2] |= (uint8_t)(digits % 2 == 0 ? value << 4 : value);
        digits++;
    }
    return digits >= PREFIX_DIGITS_MIN ? 4 * digits : 0;
}

static int resolve(struct cli *c, const char *text, dtq_id *ret_id)
{
    dtq_id prefix;
    uint32_t bits;
    dtq_err err;
    int status;

    if (dtq_id_parse(text, ret_id) == DTQ_OK)
        return OPT_GO;
    bits = parse_prefix(text, &prefix);
    if (bits == 0)
        return cli_error(c, CLI_USAGE,
                         "'%s' is no task: give an id, 8 or more of its first digits, or `last`",
                         text);
    if (c->client == NULL && (status = cli_connect(c, DTQ_FOLLOW_NONE)) != OPT_GO)
        return status;
    err = dtq_resolve(c->client, &prefix, bits, CLI_ANSWER_MS, ret_id);
    if (err == DTQ_OK)
        return OPT_GO;
    if (err == DTQ_ENOTFOUND)
        return cli_error(c, CLI_FAILED, "%s: not found", text);
    if (err == DTQ_ECONFLICT)
        return cli_error(c, CLI_USAGE,
                         "%s: several tasks begin with these digits, give more of them", text);
    return cli_fail(c, err, "cannot look up %s", text);
}

static void append_ids(struct cli_ids *ids, const dtq_id *more, size_t n)
{
    dtq_id *grown = realloc(ids->at, (ids->n + n) * sizeof *grown);

    if (grown == NULL)
        cli_out_of_memory();
    memcpy(grown + ids->n, more, n * sizeof *more);
    ids->at = grown;
    ids->n += n;
}

static int append_last(struct cli *c, struct cli_ids *ids)
{
    size_t n = 0;
    bool is_forgotten;
    dtq_id *last = last_read(&n, &is_forgotten);

    if (last == NULL && is_forgotten)
        return cli_error(
            c, CLI_USAGE,
            "the last `dtq submit` was not accepted, or has not ended yet: give an ID");
    if (last == NULL)
        return cli_error(c, CLI_USAGE,
                         "nothing was submitted from here yet: name a task by its id");
    append_ids(ids, last, n);
    free(last);
    return OPT_GO;
}

static int append_operand(struct cli *c, const char *operand, struct cli_ids *ids)
{
    dtq_id id;
    int status;

    if (strcmp(operand, "last") == 0)
        return append_last(c, ids);
    status = resolve(c, operand, &id);
    if (status == OPT_GO)
        append_ids(ids, &id, 1);
    return status;
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(*(const dtq_id *const *)a, *(const dtq_id *const *)b, sizeof(dtq_id));
}

/* Each id once, in the order in which they were named first: the library takes none twice. */
static void drop_repeated(struct cli_ids *ids)
{
    const dtq_id **sorted = malloc((ids->n + 1) * sizeof *sorted);
    bool *repeated = calloc(ids->n + 1, sizeof *repeated);
    size_t kept = 0;

    if (sorted == NULL || repeated == NULL)
        cli_out_of_memory();
    for (size_t i = 0; i < ids->n; i++)
        sorted[i] = &ids->at[i];
    qsort(sorted, ids->n, sizeof *sorted, compare_ids);
    for (size_t i = 1; i < ids->n; i++) {
        if (compare_ids(&sorted[i - 1], &sorted[i]) != 0)
            continue;
        if (sorted[i] < sorted[i - 1]) { /* equal ones sort in any order: the first named stays */
            const dtq_id *first = sorted[i];

            sorted[i] = sorted[i - 1];
            sorted[i - 1] = first;
        }
        repeated[sorted[i] - ids->at] = true;
        sorted[i] = sorted[i - 1];
    }
    for (size_t i = 0; i < ids->n; i++)
        if (!repeated[i])
            ids->at[kept++] = ids->at[i];
    ids->n = kept;
    free(sorted);
    free(repeated);
}

int cli_ids(struct cli *c, struct cli_ids *ret_ids)
{
    int status = OPT_GO;

    *ret_ids = (struct cli_ids){0};
    if (c->parsed.operands_n == 0)
        status = append_last(c, ret_ids);
    for (size_t i = 0; status == OPT_GO && i < c->parsed.operands_n; i++)
        status = append_operand(c, c->parsed.operands[i], ret_ids);
    if (status != OPT_GO) {
        free(ret_ids->at);
        *ret_ids = (struct cli_ids){0};
        return status;
    }
    drop_repeated(ret_ids);
    return OPT_GO;
}

int cli_each_id(const struct cli_spec *spec, int argc, char **argv, cli_id_fn *one)
{
    struct cli_ids ids = {0};
    struct cli c;
    int status = cli_parse(&c, spec, argc, argv);

    if (status == OPT_GO)
        status = cli_ids(&c, &ids);
    if (status == OPT_GO && c.client == NULL)
        status = cli_connect(&c, DTQ_FOLLOW_NONE);
    if (status == OPT_GO) {
        status = CLI_DONE;
        for (size_t i = 0; i < ids.n && (status == CLI_DONE || status == CLI_FAILED); i++) {
            int of_this = one(&c, &ids.at[i]);

            status = of_this == CLI_DONE ? status : of_this;
        }
        status = cli_flush(&c, status);
    }
    free(ids.at);
    cli_done(&c);
    return status;
}

int cli_status_of_state(dtq_state state)
{
    switch (state) {
    case DTQ_SUCCEEDED: return CLI_DONE;
    case DTQ_CANCELLED: return CLI_CANCELLED;
    case DTQ_SCHEDULED:
    case DTQ_READY:
    case DTQ_DISPATCHED:
    case DTQ_RUNNING: return CLI_BUSY;
    case DTQ_NOT_FOUND:
    case DTQ_FAILED:
    case DTQ_EXPIRED: return CLI_FAILED;
    }
    return CLI_FAILED;
}

int cli_worse(int a, int b)
{
    static const int order[] = {CLI_FAILED, CLI_CANCELLED, CLI_BUSY};

    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        if (a == order[i] || b == order[i])
            return order[i];
    return CLI_DONE;
}

int cli_not_found(const struct cli *c, const dtq_id *id)
{
    char text[DTQ_ID_TEXT_BYTES];

    dtq_id_format(id, text);
    if (!c->json)
        return cli_error(c, CLI_FAILED, "%s: not found", text);
    cli_print_json(json_pack("{s:s, s:s}", "id", text, "state", dtq_state_name(DTQ_NOT_FOUND)));
    return CLI_FAILED;
}

void cli_reason_text(dtq_reason reason, int32_t code, char *ret, size_t bytes)
{
    const char *name = dtq_reason_name(reason);

    if (reason == DTQ_REASON_EXIT)
        snprintf(ret, bytes, "%s %d", name, code);
    else if (reason == DTQ_REASON_SIGNAL && sigabbrev_np(code) != NULL)
        snprintf(ret, bytes, "%s %s", name, sigabbrev_np(code));
    else
        snprintf(ret, bytes, "%s", name);
}

int32_t cli_timeout(bool given, uint64_t ms)
{
    if (!given)
        return -1;
    return ms < INT32_MAX ? (int32_t)ms : INT32_MAX;
}

int cli_state(const struct cli *c, const char *word)
{
    for (int s = DTQ_SCHEDULED; s <= DTQ_CANCELLED; s++)
        if (strcmp(word, dtq_state_name((dtq_state)s)) == 0)
            return s;
    cli_error(c, CLI_USAGE,
              "--state: '%s' is no state: scheduled, ready, dispatched, running, succeeded, "
              "failed, expired or "
              "cancelled",
              word);
    return -1;
}

void cli_print_json(json_t *value)
{
    if (value == NULL || (json_dumpf(value, stdout, JSON_COMPACT | JSON_ENSURE_ASCII) != 0 &&
                          !ferror(stdout))) /* a full disk is cli_flush()'s to tell */
        cli_out_of_memory();
    putchar('\n');
    json_decref(value);
}

/* RFC 4648, section 4. */
static char *base64(const unsigned char *at, size_t bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = malloc((bytes + 2) / 3 * 4 + 1);
    char *to = text;

    if (text == NULL)
        cli_out_of_memory();
    for (size_t i = 0; i < bytes; i += 3) {
        size_t left = bytes - i;
        uint32_t three = (uint32_t)at[i] << 16 | (left > 1 ? (uint32_t)at[i + 1] << 8 : 0) |
                         (left > 2 ? at[i + 2] : 0);

        *to++ = digits[three >> 18];
        *to++ = digits[three >> 12 & 63];
        *to++ = left > 1 ? digits[three >> 6 & 63] : '=';
        *to++ = left > 2 ? digits[three & 63] : '=';
    }
    *to = '\0';
    return text;
}

void cli_json_bytes(json_t *object, const char *key, const void *at, size_t bytes)
{
    json_t *text = json_stringn(at, bytes); /* NULL if it is not UTF-8 */
    char other[64];
    char *encoded;

    if (text != NULL) {
        json_object_set_new(object, key, text);
        return;
    }
    snprintf(other, sizeof other, "%s_base64", key);
    encoded = base64(at, bytes);
    json_object_set_new(object, other, json_string(encoded));
    free(encoded);
}

void cli_json_time(json_t *object, const char *key, uint64_t wall_ms)
{
    char text[TEXT_TIME_BYTES];

    if (wall_ms == 0)
        return;
    text_format_time(wall_ms, text);
    json_object_set_new(object, key, json_string(text));
}

json_t *cli_json_result(const dtq_result *r, bool body)
{
    char id[DTQ_ID_TEXT_BYTES];
    char reason[64];
    json_t *o;

    dtq_id_format(&r->id, id);
    o = json_pack("{s:s, s:s}", "id", id, "state", dtq_state_name(r->state));
    if (o == NULL)
        cli_out_of_memory();
    if (r->state == DTQ_NOT_FOUND)
        return o;
    json_object_set_new(o, "name", json_string(r->name));
    json_object_set_new(o, "queue", json_string(r->queue));
    json_object_set_new(o, "attempt", json_integer(r->attempt));
    json_object_set_new(o, "worker", json_string(r->worker));
    if (r->state < DTQ_SUCCEEDED)
        return o;
    cli_json_time(o, "started", r->started_wall_ms);
    json_object_set_new(o, "duration_us", json_integer((json_int_t)r->duration_us));
    cli_json_time(o, "finished", r->committed_wall_ms);
    if (r->state == DTQ_FAILED) {
        cli_reason_text(r->reason, r->code, reason, sizeof reason);
        json_object_set_new(o, "reason", json_string(reason));
        cli_json_bytes(o, "error", r->body, r->body_bytes);
    } else if (body) {
        cli_json_bytes(o, "result", r->body, r->body_bytes);
    }
    return o;
}
