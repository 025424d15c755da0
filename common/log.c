#include "log.h"

#include "proc.h"
#include "text.h"

#include <stdio.h>
#include <unistd.h>

const char *const log_level_names[] = {"trace", "debug", "info", "warn", "error", NULL};
const char *const log_format_names[] = {"logfmt", "json", NULL};

static enum log_level level_min = LOG_LEVEL_INFO;
static enum log_format line_format = LOG_FORMAT_LOGFMT;
static int line_fd = STDERR_FILENO;

#define LINE_BYTES_MAX 8192

struct line {
    char at[LINE_BYTES_MAX];
    size_t used;
    bool full;
};

void log_setup(enum log_level level, enum log_format format)
{
    level_min = level;
    line_format = format;
}

void log_to(int fd)
{
    line_fd = fd;
}

bool log_is_on(enum log_level level)
{
    return level >= level_min;
}

/* A line that is full ends there: room for the end of a JSON object and the newline is kept. */
static void put(struct line *line, const char *at, size_t n)
{
    size_t room = LINE_BYTES_MAX - 8 - line->used;

    if (n > room) {
        line->full = true;
        n = room;
    }
    memcpy(line->at + line->used, at, n);
    line->used += n;
}

static void put_text(struct line *line, const char *text)
{
    put(line, text, strlen(text));
}

/* Bytes of the UTF-8 sequence at `at`, 0: it is none (RFC 3629: no surrogates, no overlong forms).
 */
static size_t utf8_bytes(const unsigned char *at, size_t n)
{
    uint32_t c = at[0];
    size_t bytes = c < 0x80 ? 1 : c < 0xC2 ? 0 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : c < 0xF5 ? 4 : 0;

    if (bytes < 2 || bytes > n)
        return bytes == 1 ? 1 : 0;
    c &= 0x7Fu >> bytes;
    for (size_t i = 1; i < bytes; i++) {
        if ((at[i] & 0xC0) != 0x80)
            return 0;
        c = c << 6 | (at[i] & 0x3Fu);
    }
    if ((bytes == 3 && (c < 0x800 || (c >= 0xD800 && c < 0xE000))) ||
        (bytes == 4 && (c < 0x10000 || c > 0x10FFFF)))
        return 0;
    return bytes;
}

/* Inside quotes: escaped as JSON does, which logfmt readers understand too. Bytes that are not
 * UTF-8 become U+FFFD, so that a line is always text. */
static void put_escaped(struct line *line, const char *at, size_t n)
{
    const unsigned char *bytes = (const unsigned char *)at;

    for (size_t i = 0; i < n;) {
        size_t k = utf8_bytes(bytes + i, n - i);
        char code[8];

        if (bytes[i] == '"' || bytes[i] == '\\') {
            put(line, "\\", 1);
            put(line, at + i, 1);
        } else if (bytes[i] == '\n') {
            put(line, "\\n", 2);
        } else if (bytes[i] < 0x20 || bytes[i] == 0x7F) {
            snprintf(code, sizeof code, "\\u%04x", bytes[i]);
            put(line, code, 6);
        } else if (k == 0) {
            put(line, "\xEF\xBF\xBD", 3);
        } else {
            put(line, at + i, k);
        }
        i += k == 0 ? 1 : k;
    }
}

static bool is_bare(const char *at, size_t n)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "_.:/-+@%,*[]{}()~";

    for (size_t i = 0; i < n; i++)
        if (at[i] == '\0' || strchr(allowed, at[i]) == NULL)
            return false;
    return n != 0;
}

static void put_value(struct line *line, struct dtqi_str text)
{
    size_t n = text.len;
    bool cut = n > LOG_VALUE_BYTES_MAX;

    if (cut)
        n = LOG_VALUE_BYTES_MAX;
    if (line_format == LOG_FORMAT_LOGFMT && !cut && is_bare(text.at, n)) {
        put(line, text.at, n);
        return;
    }
    put(line, "\"", 1);
    put_escaped(line, text.at, n);
    put_text(line, cut ? "...\"" : "\"");
}

static void put_key(struct line *line, const char *key)
{
    bool json = line_format == LOG_FORMAT_JSON;

    if (line->used != 0)
        put_text(line, json ? "," : " ");
    else if (json)
        put_text(line, "{");
    put_text(line, json ? "\"" : "");
    put_text(line, key);
    put_text(line, json ? "\":" : "=");
}

static void put_field(struct line *line, const struct log_field *field)
{
    char number[24];

    put_key(line, field->key);
    switch (field->kind) {
    case LOG_FIELD_TEXT: put_value(line, field->text); return;
    case LOG_FIELD_U64:
        snprintf(number, sizeof number, "%llu", (unsigned long long)field->u64);
        break;
    case LOG_FIELD_I64: snprintf(number, sizeof number, "%lld", (long long)field->i64); break;
    }
    put_text(line, number);
}

/* A field that does not fit is left out whole: a cut one would break the quoting of its line. */
static void try_field(struct line *line, const struct log_field *field)
{
    size_t before = line->used;

    put_field(line, field);
    if (line->full)
        line->used = before;
    line->full = false;
}

static void write_line(const struct line *line)
{
    const char *at = line->at;
    size_t left = line->used;

    while (left > 0) {
        ssize_t n = write(line_fd, at, left);

        if (n <= 0)
            return; /* nobody to tell */
        at += n;
        left -= (size_t)n;
    }
}

void log_write(enum log_level level, const char *event, const struct log_field *fields)
{
    struct line line;
    char now[TEXT_TIME_BYTES];

    if (!log_is_on(level))
        return;
    line.used = 0;
    line.full = false;
    text_format_time(proc_wall_ms(), now);
    put_field(&line, &(struct log_field){.key = "time", .text = dtqi_str(now)});
    put_field(&line, &(struct log_field){.key = "level", .text = dtqi_str(log_level_names[level])});
    put_field(&line, &(struct log_field){.key = "ev", .text = dtqi_str(event)});
    for (; fields->key != NULL; fields++)
        try_field(&line, fields);
    put_text(&line, line_format == LOG_FORMAT_JSON ? "}\n" : "\n");
    write_line(&line);
}

bool log_rate_pass(struct log_rate *rate, uint64_t now_ms, uint64_t *ret_left_out)
{
    if (now_ms < rate->next_ms) {
        rate->left_out++;
        return false;
    }
    *ret_left_out = rate->left_out;
    *rate = (struct log_rate){.next_ms = now_ms + LOG_RATE_INTERVAL_MS};
    return true;
}
