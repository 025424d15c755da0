#include "text.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define DAY_MS (86400ull * 1000)
#define DAYS_TO_10000 2932897u /* from 1970-01-01 to the first day that has no four-digit year */

struct unit {
    const char *name;
    uint64_t factor;
};

/* Largest first: the order in which they may follow each other. */
static const struct unit duration_units[] = {
    {"d", DAY_MS}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1},
};
#define DURATION_UNITS (sizeof duration_units / sizeof *duration_units)

static const struct unit size_units[] = {
    {"t", 1ull << 40}, {"g", 1ull << 30}, {"m", 1ull << 20}, {"k", 1ull << 10}, {"", 1},
};
#define SIZE_UNITS (sizeof size_units / sizeof *size_units)

/* Reads digits at *at and moves it behind them. */
static bool read_digits(const char **at, uint64_t *ret)
{
    uint64_t value = 0;

    if (!isdigit((unsigned char)**at))
        return false;
    for (; isdigit((unsigned char)**at); ++*at) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(**at - '0'), &value))
            return false;
    }
    *ret = value;
    return true;
}

dtq_err text_parse_u64(const char *text, uint64_t *ret)
{
    uint64_t value;

    if (!read_digits(&text, &value) || *text != '\0')
        return DTQ_EINVAL;
    *ret = value;
    return DTQ_OK;
}

/* The unit at *at, among those from `first` on: units stand in order, each at most once. */
static size_t read_duration_unit(const char **at, size_t first)
{
    size_t letters = 0;

    while (isalpha((unsigned char)(*at)[letters]))
        letters++;
    for (size_t u = first; u < DURATION_UNITS; u++) {
        if (strlen(duration_units[u].name) == letters &&
            strncmp(*at, duration_units[u].name, letters) == 0) {
            *at += letters;
            return u;
        }
    }
    return DURATION_UNITS;
}

dtq_err text_parse_duration(const char *text, uint64_t *ret_ms)
{
    uint64_t total = 0;
    size_t unit = 0;

    if (strcmp(text, "0") == 0) {
        *ret_ms = 0;
        return DTQ_OK;
    }
    do {
        uint64_t value;

        if (!read_digits(&text, &value))
            return DTQ_EINVAL;
        unit = read_duration_unit(&text, unit);
        if (unit == DURATION_UNITS)
            return DTQ_EINVAL;
        if (__builtin_mul_overflow(value, duration_units[unit].factor, &value) ||
            __builtin_add_overflow(total, value, &total))
            return DTQ_EINVAL;
        unit++;
    } while (*text != '\0');
    *ret_ms = total;
    return DTQ_OK;
}

/* "k", "kb" and "kib" mean the same; so does "" and "b". */
static bool is_size_unit(const char *text, const char *unit)
{
    size_t n = strlen(unit);

    if (strncasecmp(text, unit, n) != 0)
        return false;
    text += n;
    return *text == '\0' || strcasecmp(text, "b") == 0 || (n != 0 && strcasecmp(text, "ib") == 0);
}

dtq_err text_parse_size(const char *text, uint64_t *ret_bytes)
{
    uint64_t value;

    if (!read_digits(&text, &value))
        return DTQ_EINVAL;
    for (size_t u = 0; u < SIZE_UNITS; u++) {
        if (!is_size_unit(text, size_units[u].name))
            continue;
        if (__builtin_mul_overflow(value, size_units[u].factor, &value))
            return DTQ_EINVAL;
        *ret_bytes = value;
        return DTQ_OK;
    }
    return DTQ_EINVAL;
}

/* Exactly `digits` digits within lo..hi. */
static bool read_field(const char **at, int digits, unsigned lo, unsigned hi, unsigned *ret)
{
    unsigned value = 0;

    for (int i = 0; i < digits; i++, ++*at) {
        if (!isdigit((unsigned char)**at))
            return false;
        value = 10 * value + (unsigned)(**at - '0');
    }
    *ret = value;
    return value >= lo && value <= hi;
}

static bool read_char(const char **at, const char *allowed)
{
    if (**at == '\0' || strchr(allowed, **at) == NULL)
        return false;
    ++*at;
    return true;
}

static bool is_leap_year(unsigned year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static unsigned days_in_month(unsigned year, unsigned month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return days[month - 1] + (month == 2 && is_leap_year(year) ? 1u : 0u);
}

/* Days from 1970-01-01, in the Gregorian calendar: years are counted from March, so that the leap
 * day is the last of its year. */
static int64_t days_from_civil(unsigned year, unsigned month, unsigned day)
{
    int64_t y = (int64_t)year - (month <= 2 ? 1 : 0);
    int64_t day_of_year = (153 * ((int64_t)month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return 365 * y + y / 4 - y / 100 + y / 400 + day_of_year - 719468;
}

/* "YYYY-MM-DD" */
static bool read_date(const char **at, int64_t *ret_days)
{
    unsigned year;
    unsigned month;
    unsigned day;

    if (!read_field(at, 4, 1, 9999, &year) || !read_char(at, "-") ||
        !read_field(at, 2, 1, 12, &month) || !read_char(at, "-") ||
        !read_field(at, 2, 1, days_in_month(year, month), &day))
        return false;
    *ret_days = days_from_civil(year, month, day);
    return true;
}

/* ".250": at least one digit, those below the millisecond count for nothing */
static bool read_fraction(const char **at, unsigned *ret_ms)
{
    unsigned ms = 0;
    unsigned worth = 100;

    if (!isdigit((unsigned char)**at))
        return false;
    for (; isdigit((unsigned char)**at); ++*at, worth /= 10)
        ms += worth * (unsigned)(**at - '0');
    *ret_ms = ms;
    return true;
}

/* "HH:MM:SS" and perhaps a fraction */
static bool read_clock(const char **at, int64_t *ret_ms)
{
    unsigned hour;
    unsigned minute;
    unsigned second;
    unsigned ms = 0;

    if (!read_field(at, 2, 0, 23, &hour) || !read_char(at, ":") ||
        !read_field(at, 2, 0, 59, &minute) || !read_char(at, ":") ||
        !read_field(at, 2, 0, 60, &second))
        return false;
    if (read_char(at, ".") && !read_fraction(at, &ms))
        return false;
    *ret_ms = ((int64_t)hour * 3600 + (int64_t)minute * 60 + second) * 1000 + ms;
    return true;
}

/* "Z" or "+HH:MM" */
static bool read_zone(const char **at, int64_t *ret_ms)
{
    unsigned hours;
    unsigned minutes;
    bool behind = **at == '-';

    if (read_char(at, "Zz")) {
        *ret_ms = 0;
        return true;
    }
    if (!read_char(at, "+-") || !read_field(at, 2, 0, 23, &hours) || !read_char(at, ":") ||
        !read_field(at, 2, 0, 59, &minutes))
        return false;
    *ret_ms = ((int64_t)hours * 60 + minutes) * 60 * 1000 * (behind ? -1 : 1);
    return true;
}

dtq_err text_parse_time(const char *text, uint64_t *ret_wall_ms)
{
    int64_t days;
    int64_t clock_ms;
    int64_t zone_ms;
    int64_t wall_ms;

    if (!read_date(&text, &days) || !read_char(&text, "Tt ") || !read_clock(&text, &clock_ms) ||
        !read_zone(&text, &zone_ms) || *text != '\0')
        return DTQ_EINVAL;
    wall_ms = days * (int64_t)DAY_MS + clock_ms - zone_ms;
    if (wall_ms < 0 || (uint64_t)wall_ms / DAY_MS >= DAYS_TO_10000)
        return DTQ_EINVAL;
    *ret_wall_ms = (uint64_t)wall_ms;
    return DTQ_OK;
}

void text_format_duration(uint64_t ms, char ret_text[TEXT_DURATION_BYTES])
{
    size_t used = 0;

    if (ms == 0) {
        memcpy(ret_text, "0s", sizeof "0s");
        return;
    }
    for (size_t u = 0; u < DURATION_UNITS; u++) {
        uint64_t n = ms / duration_units[u].factor;

        ms %= duration_units[u].factor;
        if (n != 0)
            used += (size_t)snprintf(ret_text + used, TEXT_DURATION_BYTES - used, "%llu%s",
                                     (unsigned long long)n, duration_units[u].name);
    }
    assert(used < TEXT_DURATION_BYTES);
}

void text_format_size(uint64_t bytes, char ret_text[TEXT_SIZE_BYTES])
{
    size_t u = 0;

    while (bytes == 0 ? u < SIZE_UNITS - 1 : bytes % size_units[u].factor != 0)
        u++;
    snprintf(ret_text, TEXT_SIZE_BYTES, "%llu%s",
             (unsigned long long)(bytes / size_units[u].factor), size_units[u].name);
}

/* The date of a day counted from 1970-01-01; the inverse of days_from_civil(). */
static void civil_from_days(uint64_t days, unsigned *ret_year, unsigned *ret_month,
                            unsigned *ret_day)
{
    uint64_t z = days + 719468;
    uint64_t era = z / 146097;
    uint64_t of_era = z % 146097;
    uint64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    uint64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    uint64_t month = (5 * of_year + 2) / 153; /* 0 is March */

    *ret_day = (unsigned)(of_year - (153 * month + 2) / 5 + 1);
    *ret_month = (unsigned)(month < 10 ? month + 3 : month - 9);
    *ret_year = (unsigned)(year + era * 400 + (*ret_month <= 2 ? 1 : 0));
}

void text_format_time(uint64_t wall_ms, char ret_text[TEXT_TIME_BYTES])
{
    static const char latest[] = "9999-12-31T23:59:59.999Z";
    unsigned year;
    unsigned month;
    unsigned day;
    unsigned ms = (unsigned)(wall_ms % DAY_MS);

    /* A time off the wire may be anything; the format ends with the year 9999. */
    if (wall_ms / DAY_MS >= DAYS_TO_10000) {
        memcpy(ret_text, latest, sizeof latest);
        return;
    }
    civil_from_days(wall_ms / DAY_MS, &year, &month, &day);
    snprintf(ret_text, TEXT_TIME_BYTES, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", year % 10000u,
             month % 100u, day % 100u, ms / 3600000 % 24, ms / 60000 % 60, ms / 1000 % 60,
             ms % 1000);
}

static void human_tenths(uint64_t us, uint64_t unit_us, const char *unit,
                         char ret_text[TEXT_HUMAN_BYTES])
{
    uint64_t tenths = us / (unit_us / 10);

    if (tenths >= 100 || tenths % 10 == 0)
        snprintf(ret_text, TEXT_HUMAN_BYTES, "%llu %s", (unsigned long long)(tenths / 10), unit);
    else
        snprintf(ret_text, TEXT_HUMAN_BYTES, "%llu.%llu %s", (unsigned long long)(tenths / 10),
                 (unsigned long long)(tenths % 10), unit);
}

static void human_pair(uint64_t s, uint64_t large_s, const char *large, uint64_t small_s,
                       const char *small, char ret_text[TEXT_HUMAN_BYTES])
{
    unsigned long long rest = s % large_s / small_s;

    if (rest == 0)
        snprintf(ret_text, TEXT_HUMAN_BYTES, "%llu %s", (unsigned long long)(s / large_s), large);
    else
        snprintf(ret_text, TEXT_HUMAN_BYTES, "%llu %s %llu %s", (unsigned long long)(s / large_s),
                 large, rest, small);
}

void text_human_duration(uint64_t us, char ret_text[TEXT_HUMAN_BYTES])
{
    uint64_t s = us / 1000000;

    if (us < 1000)
        snprintf(ret_text, TEXT_HUMAN_BYTES, "%llu us", (unsigned long long)us);
    else if (s < 1)
        human_tenths(us, 1000, "ms", ret_text);
    else if (s < 60)
        human_tenths(us, 1000000, "s", ret_text);
    else if (s < 3600)
        human_pair(s, 60, "min", 1, "s", ret_text);
    else if (s < 86400)
        human_pair(s, 3600, "h", 60, "min", ret_text);
    else
        human_pair(s, 86400, "d", 3600, "h", ret_text);
}

void text_human_size(uint64_t bytes, char ret_text[TEXT_HUMAN_BYTES])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned u = 0;

    while (u < 6 && bytes >> (10 * u) >= 1024)
        u++;
    if (u == 0 || bytes >> (10 * u) >= 10)
        snprintf(ret_text, TEXT_HUMAN_BYTES, "%llu %s", (unsigned long long)(bytes >> (10 * u)),
                 units[u]);
    else
        snprintf(ret_text, TEXT_HUMAN_BYTES, "%llu.%llu %s",
                 (unsigned long long)(bytes >> (10 * u)),
                 (unsigned long long)((bytes >> (10 * u - 10)) % 1024 * 10 / 1024), units[u]);
}

#define NEAREST_BYTES_MAX 63

/* Insertions, deletions, replacements and swaps of neighbours that lead from `a` to `b`. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][NEAREST_BYTES_MAX + 1];
    size_t *before = rows[0]; /* the row before the last */
    size_t *last = rows[1];
    size_t *row = rows[2];
    size_t b_len = strlen(b);

    for (size_t j = 0; j <= b_len; j++)
        last[j] = before[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t *spare = before;

        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1] ? 1 : 0);

            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = best;
        }
        before = last;
        last = row;
        row = spare;
    }
    return last[b_len];
}

const char *text_nearest(const char *word, const char *const *words, size_t n)
{
    size_t len = strlen(word);
    size_t best = len <= 3 ? 1 : 1 + len / 4; /* farther away it is another word */
    const char *nearest = NULL;

    if (len == 0 || len > NEAREST_BYTES_MAX)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        size_t distance;

        if (strlen(words[i]) > NEAREST_BYTES_MAX)
            continue;
        distance = edit_distance(word, words[i]);
        if (distance < best || (distance == best && nearest == NULL)) {
            best = distance;
            nearest = words[i];
        }
    }
    for (size_t i = 0; i < n && nearest == NULL; i++)
        if (len >= 3 && strncmp(word, words[i], len) == 0)
            nearest = words[i]; /* the beginning of a long name */
    return nearest;
}
