/* Where bulk submissions come from: lines that are payloads, and lines that are JSON objects. */
#include "submit.h"

#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lines {
    struct bulk_source source; /* first, so that a source is its lines */
    FILE *file;
    const char *path;
    char *line;
    size_t room;
    const char *name;               /* each-line: of all tasks */
    const struct submit_options *o; /* jsonl: the defaults */
    json_t *object;                 /* jsonl: of the last line; the task's strings are in it */
    char *payload;                  /* jsonl: made from it */
};

/* @return bytes of the next line without its end; -1: there is none; -2: it could not be read,
 * `why` says it. */
static ssize_t read_line(struct lines *l)
{
    ssize_t n;

    errno = 0;
    n = getline(&l->line, &l->room, l->file);
    if (n < 0 && (ferror(l->file) || errno == ENOMEM)) {
        snprintf(l->source.why, sizeof l->source.why, "cannot read %s behind line %llu: %s",
                 l->path, (unsigned long long)l->source.line, strerror(errno));
        return -2;
    }
    if (n < 0)
        return -1;
    l->source.line++;
    if (n > 0 && l->line[n - 1] == '\n')
        l->line[--n] = '\0';
    return n;
}

static enum bulk_next next_line(struct bulk_source *source, dtq_task *task)
{
    struct lines *l = (struct lines *)source;
    ssize_t n = read_line(l);

    if (n < 0)
        return n == -1 ? BULK_END : BULK_ERROR;
    task->name = l->name;
    task->payload = l->line;
    task->payload_bytes = (size_t)n;
    return BULK_TASK;
}

static bool bad(struct lines *l, const char *key, const char *want)
{
    snprintf(l->source.why, sizeof l->source.why, "\"%s\" must be %s", key, want);
    return false;
}

static bool take_text(struct lines *l, const char *key, json_t *value, const char **ret)
{
    if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value))
        return bad(l, key, "a string");
    *ret = json_string_value(value);
    return true;
}

static bool take_integer(struct lines *l, const char *key, json_t *value, uint32_t max,
                         uint32_t *ret)
{
    char want[64];

    if (json_is_integer(value) && json_integer_value(value) >= 0 &&
        json_integer_value(value) <= (json_int_t)max) {
        *ret = (uint32_t)json_integer_value(value);
        return true;
    }
    snprintf(want, sizeof want, "a whole number from 0 to %u", max);
    return bad(l, key, want);
}

static bool take_duration(struct lines *l, const char *key, json_t *value, uint64_t *ret)
{
    if (json_is_string(value) && text_parse_duration(json_string_value(value), ret) == DTQ_OK)
        return true;
    return bad(l, key, "a duration, as in \"250ms\" or \"1h30m\"");
}

static bool take_payload(struct lines *l, json_t *value, dtq_task *task)
{
    if (json_is_string(value)) {
        task->payload = json_string_value(value);
        task->payload_bytes = json_string_length(value);
        return true;
    }
    l->payload = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (l->payload == NULL)
        cli_out_of_memory();
    task->payload = l->payload;
    task->payload_bytes = strlen(l->payload);
    return true;
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* RFC 4648, section 4: groups of four digits, the last one filled up with "=". */
static bool take_base64(struct lines *l, const char *key, json_t *value, dtq_task *task)
{
    const char *from = json_is_string(value) ? json_string_value(value) : "?";
    size_t n = json_is_string(value) ? json_string_length(value) : 1;
    size_t fill = n >= 2 && from[n - 1] == '=' ? (from[n - 2] == '=' ? 2 : 1) : 0;
    size_t bytes = 0;
    uint32_t bits = 0;

    if (n % 4 != 0)
        return bad(l, key, "a string in base64");
    l->payload = malloc(n + 1);
    if (l->payload == NULL)
        cli_out_of_memory();
    for (size_t i = 0; i < n - fill; i++) {
        int digit = base64_digit(from[i]);

        if (digit < 0)
            return bad(l, key, "a string in base64");
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4 != 0)
            l->payload[bytes++] = (char)(bits >> (6 - 2 * (i % 4)));
    }
    task->payload = l->payload;
    task->payload_bytes = bytes;
    return true;
}

static bool take_backoff(struct lines *l, const char *key, json_t *value, dtq_task *task)
{
    if (json_is_string(value) && submit_parse_backoff(json_string_value(value),
                                                      &task->backoff_min_ms, &task->backoff_max_ms))
        return true;
    return bad(l, key, "\"MIN..MAX\", as in \"1s..10m\"");
}

static bool take_time(struct lines *l, const char *key, json_t *value, uint64_t *ret)
{
    if (json_is_string(value) && text_parse_time(json_string_value(value), ret) == DTQ_OK)
        return true;
    return bad(l, key, "a time as RFC 3339 has it, \"2026-01-31T12:00:00Z\"");
}

static bool take_flag(struct lines *l, const char *key, json_t *value, int *ret)
{
    if (!json_is_boolean(value))
        return bad(l, key, "true or false");
    *ret = json_is_true(value);
    return true;
}

static bool take_field(struct lines *l, const char *key, json_t *value, dtq_task *task)
{
    if (strcmp(key, "name") == 0)
        return take_text(l, key, value, &task->name);
    if (strcmp(key, "queue") == 0)
        return take_text(l, key, value, &task->queue);
    if (strcmp(key, "payload") == 0)
        return take_payload(l, value, task);
    if (strcmp(key, "payload_base64") == 0)
        return take_base64(l, key, value, task);
    if (strcmp(key, "priority") == 0)
        return take_integer(l, key, value, 9, &task->priority);
    if (strcmp(key, "retries") == 0)
        return take_integer(l, key, value, 1000000, &task->retries);
    if (strcmp(key, "backoff") == 0)
        return take_backoff(l, key, value, task);
    if (strcmp(key, "delay") == 0)
        return take_duration(l, key, value, &task->delay_ms);
    if (strcmp(key, "eta") == 0)
        return take_time(l, key, value, &task->not_before_wall_ms);
    if (strcmp(key, "expires") == 0)
        return take_duration(l, key, value, &task->expires_ms);
    if (strcmp(key, "time_limit") == 0)
        return take_duration(l, key, value, &task->time_limit_ms);
    if (strcmp(key, "result_ttl") == 0)
        return take_duration(l, key, value, &task->result_ttl_ms);
    if (strcmp(key, "no_result") == 0)
        return take_flag(l, key, value, &task->no_result);
    snprintf(l->source.why, sizeof l->source.why,
             "\"%.40s\" is not known; allowed are name, payload, payload_base64, queue, priority, "
             "delay, eta, expires, "
             "retries, backoff, time_limit, result_ttl and no_result",
             key);
    return false;
}

static bool take_object(struct lines *l, dtq_task *task)
{
    const char *key;
    json_t *value;

    json_object_foreach(l->object, key, value) if (!take_field(l, key, value, task)) return false;
    if (task->name == NULL)
        return bad(l, "name", "given");
    if (json_object_get(l->object, "payload") != NULL &&
        json_object_get(l->object, "payload_base64") != NULL)
        return bad(l, "payload", "given once, not as payload_base64 too");
    if (task->delay_ms != 0 && task->not_before_wall_ms != 0)
        return bad(l, "delay", "given without \"eta\"");
    return true;
}

static void drop_object(struct lines *l)
{
    json_decref(l->object);
    free(l->payload);
    l->object = NULL;
    l->payload = NULL;
}

static enum bulk_next next_object(struct bulk_source *source, dtq_task *task)
{
    struct lines *l = (struct lines *)source;
    uint64_t tag = task->tag;
    json_error_t error;
    ssize_t n;

    drop_object(l);
    do
        n = read_line(l);
    while (n == 0); /* an empty line is nobody's mistake */
    if (n < 0)
        return n == -1 ? BULK_END : BULK_ERROR;
    submit_task_init(l->o, task);
    task->tag = tag;
    l->object = json_loadb(l->line, (size_t)n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (l->object == NULL) {
        snprintf(l->source.why, sizeof l->source.why, "not valid JSON: %s (column %d)", error.text,
                 error.column);
        return BULK_BAD_LINE;
    }
    if (!json_is_object(l->object)) {
        snprintf(l->source.why, sizeof l->source.why,
                 "a JSON object is needed, as in {\"name\":\"upper\"}");
        return BULK_BAD_LINE;
    }
    return take_object(l, task) ? BULK_TASK : BULK_BAD_LINE;
}

static int submit_lines(struct cli *c, const struct submit_options *o, struct lines *l)
{
    int status;

    l->o = o;
    l->file = submit_open(c, l->path, &l->source.total);
    if (l->file == NULL)
        return CLI_FAILED;
    status = submit_bulk(c, o, &l->source);
    drop_object(l);
    free(l->line);
    if (l->file != stdin)
        fclose(l->file);
    return status;
}

int submit_each_line(struct cli *c, const struct submit_options *o, const char *name)
{
    struct lines l = {.source.next = next_line, .path = o->each_line, .name = name};

    return submit_lines(c, o, &l);
}

int submit_jsonl(struct cli *c, const struct submit_options *o)
{
    struct lines l = {.source.next = next_object, .path = o->jsonl};

    return submit_lines(c, o, &l);
}
