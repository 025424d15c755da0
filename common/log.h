/*
 * Logs: one line an event, to stderr, one write(2) each, so that lines of threads and of programs
 * that share a terminal do not mix.
 *
 *     log_info("worker_joined", log_str("worker", name), log_u64("slots", 4));
 *     time=2026-11-22T22:00:00.250Z level=info ev=worker_joined worker=w1 slots=4
 *
 * Keys and event names are static identifiers. Values are quoted and escaped as needed, whatever
 * bytes they hold; long ones are cut. Payloads, results and keys never go into a log.
 */
#ifndef DTQ_LOG_H
#define DTQ_LOG_H

#include "dtq/base.h"
#include "msg.h"

#include <stdbool.h>

enum log_level {
    LOG_LEVEL_TRACE,
    LOG_LEVEL_DEBUG,
    LOG_LEVEL_INFO,
    LOG_LEVEL_WARN,
    LOG_LEVEL_ERROR
};
enum log_format { LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON };

extern const char *const log_level_names[]; /* NULL-ended, for an option table */
extern const char *const log_format_names[];

#define LOG_VALUE_BYTES_MAX 1024u /* longer values are cut and end in "..." */

struct log_field {
    const char *key; /* NULL: the end */
    enum { LOG_FIELD_TEXT, LOG_FIELD_U64, LOG_FIELD_I64 } kind;
    struct dtqi_str text;
    uint64_t u64;
    int64_t i64;
};

/* Before threads start, or by the thread that logs. Default: info, logfmt, file descriptor 2. */
void log_setup(enum log_level level, enum log_format format);
void log_to(int fd);
bool log_is_on(enum log_level level);

/* `fields` ends with an entry whose key is NULL. Never fails, never allocates. */
void log_write(enum log_level level, const char *event, const struct log_field *fields);

#define log_at(level, event, ...) log_write(level, event, (const struct log_field[]){__VA_ARGS__})
#define log_with(level, ...) log_at(level, __VA_ARGS__, log_end())
#define log_debug(...) log_with(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) log_with(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...) log_with(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) log_with(LOG_LEVEL_ERROR, __VA_ARGS__)

static inline struct log_field log_text(const char *key, struct dtqi_str text)
{
    return (struct log_field){.key = key, .kind = LOG_FIELD_TEXT, .text = text};
}

static inline struct log_field log_str(const char *key, const char *text)
{
    return log_text(key, dtqi_str(text != NULL ? text : ""));
}

static inline struct log_field log_u64(const char *key, uint64_t value)
{
    return (struct log_field){.key = key, .kind = LOG_FIELD_U64, .u64 = value};
}

static inline struct log_field log_i64(const char *key, int64_t value)
{
    return (struct log_field){.key = key, .kind = LOG_FIELD_I64, .i64 = value};
}

static inline struct log_field log_end(void)
{
    return (struct log_field){.key = NULL};
}

/* For events that a peer can cause as often as it likes: one line an interval, which tells how many
 * were left out. */
struct log_rate {
    uint64_t next_ms;
    uint64_t left_out;
};

#define LOG_RATE_INTERVAL_MS 10000u

/* @return true: write the line, with `*ret_left_out` others that were not written since the last
 * one; false: do not. */
bool log_rate_pass(struct log_rate *rate, uint64_t now_ms, uint64_t *ret_left_out);

#endif
