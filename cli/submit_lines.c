/* Where bulk submissions come from: lines that are payloads, and lines that are JSON objects. */
#include "submit.h"

#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* JSON may write each byte of a payload with six characters, and names and options come on top. */
#define OBJECT_BYTES_MAX (6 * (size_t)DTQ_PAYLOAD_BYTES_MAX + 65536)

#define INPUT_BYTES 65536

struct lines {
    struct bulk_source source; /* first, so that a source is its lines */
    int fd;
    const char *path;
    char *input; /* INPUT_BYTES; input_at .. input_end are not read yet */
    size_t input_at;
    size_t input_end;
    bool is_cut; /* the rest is not to be read */
    char *line;
    size_t room;
    size_t bytes_max;               /* of a line; what is longer is read to its end and refused */
    const char *name;               /* each-line: of all tasks */
    const struct submit_options *o; /* jsonl: the defaults */
    json_t *object;                 /* jsonl: of the last line; the task's strings are in it */
    char *payload;                  /* jsonl: made from it */
};

/* @return bytes that are there now; 0: the end; -1: they could not be read, errno says why. */
static ssize_t fill(struct lines *l)
{
    ssize_t n;

    if (l->input_at < l->input_end)
        return (ssize_t)(l->input_end - l->input_at);
    do {
        l->is_cut = !l->source.wait(l->source.wait_arg, l->fd);
        if (l->is_cut)
            return 0;
        n = read(l->fd, l->input, INPUT_BYTES);
    } while (n < 0 && (errno == EINTR || errno == EAGAIN));
    l->input_at = 0;
    l->input_end = n > 0 ? (size_t)n : 0;
    return n;
}

/* The part of a line that has room. */
static void keep(struct lines *l, size_t at, const char *from, size_t bytes)
{
    if (bytes == 0 || at >= l->bytes_max)
        return; /* an empty line comes before there is room */
    if (bytes > l->bytes_max - at)
        bytes = l->bytes_max - at;
    if (at + bytes > l->room) {
        l->room = 2 * (at + bytes);
        l->line = realloc(l->line, l->room);
        if (l->line == NULL)
            cli_out_of_memory();
    }
    memcpy(l->line + at, from, bytes);
}

/* The next line without its end. getline() would take any memory for a file without newlines, and
 * the client would stand still while it waits. */
static enum bulk_next read_line(struct lines *l, size_t *ret_bytes)
{
    const char *end = NULL;
    size_t bytes = 0;
    ssize_t n = 0;

    while (end == NULL && (n = fill(l)) > 0) {
        const char *from = l->input + l->input_at;
        size_t part;

        end = memchr(from, '\n', (size_t)n);
        part = end != NULL ? (size_t)(end - from) : (size_t)n;
        keep(l, bytes, from, part);
        bytes += part;
        l->input_at += part + (end != NULL);
    }
    if (n < 0) {
        snprintf(l->source.why, sizeof l->source.why, "cannot read line %llu of %s: %s",
                 (unsigned long long)l->source.line + 1, l->path, strerror(errno));
        return BULK_ERROR;
    }
    if (end == NULL && (bytes == 0 || l->is_cut))
        return BULK_END; /* half a line is none */
    l->source.line++;
    *ret_bytes = bytes;
    if (bytes <= l->bytes_max)
        return BULK_TASK;
    snprintf(l->source.why, sizeof l->source.why, "%zu bytes; a line may have %zu", bytes,
             l->bytes_max);
    return BULK_BAD_LINE;
}

static enum bulk_next next_line(struct bulk_source *source, dtq_task *task)
{
    struct lines *l = (struct lines *)source;
    size_t bytes = 0;
    enum bulk_next next = read_line(l, &bytes);

    if (next != BULK_TASK)
        return next;
    task->name = l->name;
    task->payload = l->line;
    task->payload_bytes = bytes;
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
    if (json_is_string(value) &&
        submit_parse_backoff(json_string_value(value), &task->backoff_min_ms,
                             &task->backoff_max_ms) == NULL)
        return true;
    return bad(l, key, "\"MIN..MAX\", as in \"1s..10m\", and MIN not above MAX");
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
    if (strcmp(key, "retry_on") == 0)
        return take_text(l, key, value, &task->retry_on);
    if (strcmp(key, "no_retry_on") == 0)
        return take_text(l, key, value, &task->no_retry_on);
    if (strcmp(key, "key") == 0)
        return take_text(l, key, value, &task->key);
    if (strcmp(key, "key_ttl") == 0)
        return take_duration(l, key, value, &task->key_ttl_ms);
    if (strcmp(key, "group") == 0)
        return take_text(l, key, value, &task->group);
    if (strcmp(key, "ordered") == 0)
        return take_flag(l, key, value, &task->group_ordered);
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
             "retries, backoff, retry_on, no_retry_on, key, key_ttl, group, ordered, time_limit, "
             "result_ttl and no_result",
             key);
    return false;
}

static bool take_object(struct lines *l, dtq_task *task)
{
    const char *key;
    json_t *value;

    if (json_object_get(l->object, "payload") != NULL &&
        json_object_get(l->object, "payload_base64") != NULL)
        return bad(l, "payload", "given once, not as payload_base64 too");
    json_object_foreach(l->object, key, value) if (!take_field(l, key, value, task)) return false;
    if (task->name == NULL)
        return bad(l, "name", "given");
    if (task->group_ordered && (task->group == NULL || task->group[0] == '\0'))
        return bad(l, "ordered", "given with \"group\"");
    if (json_object_get(l->object, "key_ttl") != NULL &&
        (task->key == NULL || task->key[0] == '\0'))
        return bad(l, "key_ttl", "given with \"key\"");
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
    enum bulk_next next;
    json_error_t error;
    size_t bytes = 0;

    drop_object(l);
    do
        next = read_line(l, &bytes);
    while (next == BULK_TASK && bytes == 0); /* an empty line is nobody's mistake */
    if (next != BULK_TASK)
        return next;
    submit_task_init(l->o, task);
    task->tag = tag;
    l->object = json_loadb(l->line, bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
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

/* How many there are: worth a second look at the file only where somebody sees the bar. */
static uint64_t count_lines(int fd)
{
    char *part = malloc(INPUT_BYTES);
    uint64_t lines = 0;
    off_t at = 0;
    ssize_t n;

    if (part == NULL)
        cli_out_of_memory();
    while ((n = pread(fd, part, INPUT_BYTES, at)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            lines += part[i] == '\n';
        at += n;
    }
    free(part);
    return lines;
}

/* "-" is standard input. @return a descriptor; -1 after a message. */
static int open_lines(const struct cli *c, const char *path, uint64_t *ret_total)
{
    struct stat st;
    int fd;

    if (strcmp(path, "-") == 0)
        return STDIN_FILENO;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        return cli_error(c, -1, "cannot open %s: %s", path, strerror(errno));
    if (S_ISREG(st.st_mode) && isatty(STDERR_FILENO))
        *ret_total = count_lines(fd);
    return fd;
}

static int submit_lines(struct cli *c, const struct submit_options *o, struct lines *l)
{
    int status;

    l->o = o;
    l->fd = open_lines(c, l->path, &l->source.total);
    if (l->fd < 0)
        return CLI_FAILED;
    l->input = malloc(INPUT_BYTES);
    if (l->input == NULL)
        cli_out_of_memory();
    status = submit_bulk(c, o, &l->source);
    drop_object(l);
    free(l->line);
    free(l->input);
    if (l->fd != STDIN_FILENO)
        close(l->fd);
    return status;
}

int submit_each_line(struct cli *c, const struct submit_options *o, const char *name)
{
    struct lines l = {.source.next = next_line,
                      .path = o->each_line,
                      .bytes_max = DTQ_PAYLOAD_BYTES_MAX,
                      .name = name};

    return submit_lines(c, o, &l);
}

int submit_jsonl(struct cli *c, const struct submit_options *o)
{
    struct lines l = {.source.next = next_object, .path = o->jsonl, .bytes_max = OBJECT_BYTES_MAX};

    return submit_lines(c, o, &l);
}
