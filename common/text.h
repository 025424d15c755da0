/*
 * Numbers, durations, sizes and times as people write them, and back. Parsing is strict and checked
 * for overflow: trailing text, signs, empty strings and unknown units are refused. Nothing here
 * allocates or uses the locale.
 */
#ifndef DTQ_TEXT_H
#define DTQ_TEXT_H

#include "dtq/base.h"

#include <stdbool.h>

#define TEXT_DURATION_BYTES 48
#define TEXT_SIZE_BYTES 24
#define TEXT_TIME_BYTES 32
#define TEXT_HUMAN_BYTES 64

/* Decimal digits only. @return DTQ_OK or DTQ_EINVAL, `ret` then untouched (so all of the parsers).
 */
DTQ_MUST_USE dtq_err text_parse_u64(const char *text, uint64_t *ret);

/*
 * "250ms", "30s", "5m", "1h30m", "7d": whole numbers, each with its unit (ms, s, m, h, d), larger
 * units first and each at most once. A bare "0" is allowed, other bare numbers are not: nobody can
 * know which unit was meant.
 */
DTQ_MUST_USE dtq_err text_parse_duration(const char *text, uint64_t *ret_ms);

/* "64k", "16m", "1g", "2t", a bare number is bytes; k is 1024. Either case, "64kb" and "64kib" too.
 */
DTQ_MUST_USE dtq_err text_parse_size(const char *text, uint64_t *ret_bytes);

/*
 * RFC 3339: "2026-11-22T23:00:00Z", "2026-11-22T23:00:00.250+01:00"; small letters and a space for
 * the "T" are allowed, as the RFC allows them. Digits below the millisecond are cut; second 60 is
 * the second after 59. Times before 1970 are refused.
 */
DTQ_MUST_USE dtq_err text_parse_time(const char *text, uint64_t *ret_wall_ms);

/* Exact, and text_parse_*() reads the same value back: "1h30m", "250ms", "0s". */
void text_format_duration(uint64_t ms, char ret_text[TEXT_DURATION_BYTES]);
/* Exact, in the largest unit that divides it: "64k", "1500". */
void text_format_size(uint64_t bytes, char ret_text[TEXT_SIZE_BYTES]);
/* "2026-11-22T22:00:00.250Z", always UTC, always with milliseconds. */
void text_format_time(uint64_t wall_ms, char ret_text[TEXT_TIME_BYTES]);

/* Rounded, for tables: "0.8 ms", "12 s", "3 min 20 s", "2 d 4 h". */
void text_human_duration(uint64_t us, char ret_text[TEXT_HUMAN_BYTES]);
/* Rounded: "812 B", "1.5 KiB", "20 GiB". */
void text_human_size(uint64_t bytes, char ret_text[TEXT_HUMAN_BYTES]);

/* The one of `words` (n of them) that `word` was probably meant to be; NULL: none is near. */
const char *text_nearest(const char *word, const char *const *words, size_t n);

#endif
