#include "cron.h"

#include "cron_zone.h"

#include <stdarg.h>
#include <stdio.h>

#define DAY_S 86400
#define YEARS_MAX 50 /* two Februaries 29 of one weekday are at most 40 years apart */
#define YEAR_MAX 9999
#define TEXT_BYTES_MAX 256u
#define FIELDS_MAX 6u

enum field { SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY };

struct cron {
    uint64_t in[FIELDS_MAX]; /* bit n: value n matches */
    bool any_day;            /* the field begins with a star: the other one decides .. */
    bool any_weekday;        /* .. else one of them suffices */
    bool by_elapsed;         /* `*` or `/` in the hour */
    struct cron_zone *zone;
};

/* ---------------------------------------------------------------- parsing */

struct field_rule {
    const char *name;
    uint32_t first;
    uint32_t last;
    const char *const *words; /* of value `first` and on; NULL: it has none */
    uint32_t words_n;
    const char *allowed;
};

struct parser {
    struct dtqi_str rest; /* of the field */
    const struct field_rule *rule;
    char *why;
    size_t why_bytes;
};

static const char *const month_words[] = {"jan", "feb", "mar", "apr", "may", "jun",
                                          "jul", "aug", "sep", "oct", "nov", "dec"};
static const char *const weekday_words[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

static const struct field_rule rules[FIELDS_MAX] = {
    [SECOND] = {"second", 0, 59, NULL, 0, "0-59"},
    [MINUTE] = {"minute", 0, 59, NULL, 0, "0-59"},
    [HOUR] = {"hour", 0, 23, NULL, 0, "0-23"},
    [DAY] = {"day of month", 1, 31, NULL, 0, "1-31"},
    [MONTH] = {"month", 1, 12, month_words, 12, "1-12 or JAN-DEC"},
    [WEEKDAY] = {"day of week", 0, 7, weekday_words, 7, "0-7 or SUN-SAT (0 and 7 are Sunday)"},
};

static dtq_err flaw(char *why, size_t why_bytes, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static dtq_err flaw(char *why, size_t why_bytes, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(why, why_bytes, format, args);
    va_end(args);
    return DTQ_EINVAL;
}

/* "hour: '25' is not allowed; .." */
static dtq_err field_flaw(const struct parser *p, struct dtqi_str what, const char *problem)
{
    return flaw(
        p->why, p->why_bytes,
        "%s: '%.*s' %s; allowed are %s, *, lists (1,2), ranges (1-5) and steps (*/2, 1-5/2)",
        p->rule->name, (int)what.len, what.at, problem, p->rule->allowed);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_word_byte(char c)
{
    return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z');
}

static bool skip(struct dtqi_str *s, char c)
{
    if (s->len == 0 || s->at[0] != c)
        return false;
    s->at++;
    s->len--;
    return true;
}

static struct dtqi_str take_word(struct dtqi_str *s)
{
    struct dtqi_str word = {s->at, 0};

    while (word.len < s->len && is_word_byte(s->at[word.len]))
        word.len++;
    s->at += word.len;
    s->len -= word.len;
    return word;
}

static bool is_number(struct dtqi_str word, uint32_t *ret)
{
    uint32_t n = 0;

    if (word.len == 0 || word.len > 4)
        return false;
    for (uint32_t i = 0; i < word.len; i++) {
        if (!is_digit(word.at[i]))
            return false;
        n = 10 * n + (uint32_t)(word.at[i] - '0');
    }
    *ret = n;
    return true;
}

static bool is_word(struct dtqi_str word, const char *of)
{
    if (word.len != strlen(of))
        return false;
    for (uint32_t i = 0; i < word.len; i++)
        if (lower(word.at[i]) != of[i])
            return false;
    return true;
}

static bool is_value(const struct field_rule *r, struct dtqi_str word, uint32_t *ret)
{
    if (is_number(word, ret))
        return *ret >= r->first && *ret <= r->last;
    for (uint32_t i = 0; i < r->words_n; i++)
        if (is_word(word, r->words[i])) {
            *ret = r->first + i;
            return true;
        }
    return false;
}

struct span {
    uint32_t from;
    uint32_t to;
    uint32_t step;
    bool is_range;
};

static dtq_err parse_range(struct parser *p, struct dtqi_str item, struct span *s)
{
    struct dtqi_str word = take_word(&p->rest);

    if (!is_value(p->rule, word, &s->from))
        return field_flaw(p, item, "is not allowed");
    s->to = s->from;
    s->is_range = skip(&p->rest, '-');
    if (!s->is_range)
        return DTQ_OK;
    word = take_word(&p->rest);
    if (!is_value(p->rule, word, &s->to))
        return field_flaw(p, item, "is not allowed");
    if (p->rule == &rules[WEEKDAY] && s->to == 0)
        s->to = 7; /* FRI-SUN */
    return s->from <= s->to ? DTQ_OK : field_flaw(p, item, "ends before it begins");
}

static dtq_err parse_step(struct parser *p, struct dtqi_str item, struct span *s)
{
    struct dtqi_str word;

    if (!skip(&p->rest, '/'))
        return DTQ_OK;
    word = take_word(&p->rest);
    if (!s->is_range)
        return field_flaw(p, item, "is a step without a range");
    if (!is_number(word, &s->step) || s->step == 0)
        return field_flaw(p, item, "has no step from 1 on");
    return s->step <= s->to - s->from ? DTQ_OK
                                      : field_flaw(p, item, "has a step that is never taken");
}

static struct dtqi_str item_of(struct dtqi_str rest)
{
    const char *comma = memchr(rest.at, ',', rest.len);

    return (struct dtqi_str){rest.at, comma != NULL ? (uint32_t)(comma - rest.at) : rest.len};
}

static dtq_err parse_item(struct parser *p, uint64_t *values)
{
    struct dtqi_str item = item_of(p->rest);
    struct span s = {p->rule->first, p->rule->last, 1, true};
    dtq_err err = DTQ_OK;

    if (p->rule == &rules[WEEKDAY])
        s.to = 6; /* a star: each day once */
    if (!skip(&p->rest, '*'))
        err = parse_range(p, item, &s);
    if (err == DTQ_OK)
        err = parse_step(p, item, &s);
    if (err != DTQ_OK)
        return err;
    if (p->rest.len != 0 && p->rest.at[0] != ',')
        return field_flaw(p, item, "is not allowed");
    for (uint32_t n = s.from; n <= s.to; n += s.step)
        *values |= 1ull << n;
    return DTQ_OK;
}

static dtq_err parse_field(struct parser *p, struct dtqi_str text, uint64_t *ret)
{
    dtq_err err;

    p->rest = text;
    do {
        err = parse_item(p, ret);
    } while (err == DTQ_OK && skip(&p->rest, ','));
    if (p->rule == &rules[WEEKDAY] && (*ret & 1u << 7) != 0)
        *ret = (*ret | 1) & 0x7f;
    return err;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* @return how many there are; more than FIELDS_MAX: too many. */
static uint32_t split(struct dtqi_str text, struct dtqi_str *ret_fields)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < text.len && n <= FIELDS_MAX;) {
        uint32_t begin = i;

        while (i < text.len && !is_blank(text.at[i]))
            i++;
        if (i > begin && n < FIELDS_MAX)
            ret_fields[n] = (struct dtqi_str){text.at + begin, i - begin};
        n += i > begin;
        while (i < text.len && is_blank(text.at[i]))
            i++;
    }
    return n;
}

static struct dtqi_str macro(struct dtqi_str text)
{
    static const struct {
        const char *word;
        const char *means;
    } macros[] = {{"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"},
                  {"@weekly", "0 0 * * 0"}, {"@daily", "0 0 * * *"},    {"@midnight", "0 0 * * *"},
                  {"@hourly", "0 * * * *"}};

    for (size_t i = 0; i < sizeof macros / sizeof *macros; i++)
        if (is_word(text, macros[i].word))
            return dtqi_str(macros[i].means);
    return text;
}

static bool is_text(struct dtqi_str s)
{
    for (uint32_t i = 0; i < s.len; i++)
        if ((s.at[i] < ' ' && s.at[i] != '\t') || s.at[i] > '~')
            return false;
    return s.len <= TEXT_BYTES_MAX;
}

static dtq_err parse_fields(struct cron *c, struct dtqi_str text, char *why, size_t why_bytes)
{
    struct dtqi_str fields[FIELDS_MAX] = {{NULL, 0}};
    uint32_t n = split(text, fields);
    struct parser p = {.why = why, .why_bytes = why_bytes};
    dtq_err err = DTQ_OK;

    if (n != FIELDS_MAX && n != FIELDS_MAX - 1)
        return flaw(why, why_bytes,
                    "an expression has 5 fields (minute, hour, day of month, month, day of week), "
                    "or 6 with the second before them; this one has %s%u",
                    n > FIELDS_MAX ? "more than " : "", n > FIELDS_MAX ? FIELDS_MAX : n);
    if (n < FIELDS_MAX) {
        memmove(fields + 1, fields, n * sizeof *fields);
        fields[SECOND] = dtqi_str("0");
    }
    for (uint32_t i = 0; i < FIELDS_MAX && err == DTQ_OK; i++) {
        p.rule = &rules[i];
        err = parse_field(&p, fields[i], &c->in[i]);
    }
    c->any_day = fields[DAY].at[0] == '*';
    c->any_weekday = fields[WEEKDAY].at[0] == '*';
    c->by_elapsed = memchr(fields[HOUR].at, '*', fields[HOUR].len) != NULL ||
                    memchr(fields[HOUR].at, '/', fields[HOUR].len) != NULL;
    return err;
}

/* ---------------------------------------------------------------- days */

struct date {
    int64_t year;
    uint32_t month; /* 1.. */
    uint32_t day;
};

static bool is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static uint32_t days_of(int64_t year, uint32_t month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

/* Days of the years before this one, from the year 1 on. */
static int64_t days_before_year(int64_t year)
{
    int64_t past = year - 1;

    return 365 * past + past / 4 - past / 100 + past / 400;
}

static int64_t day_of_date(const struct date *d)
{
    int64_t days = days_before_year(d->year) - days_before_year(1970);

    for (uint32_t m = 1; m < d->month; m++)
        days += days_of(d->year, m);
    return days + d->day - 1;
}

static struct date date_of_day(int64_t day)
{
    struct date d = {1970 + day / 366, 1, 1};
    int64_t left;

    while (day >= days_before_year(d.year + 1) - days_before_year(1970))
        d.year++;
    while (day < days_before_year(d.year) - days_before_year(1970))
        d.year--;
    left = day - (days_before_year(d.year) - days_before_year(1970));
    while (left >= days_of(d.year, d.month))
        left -= days_of(d.year, d.month++);
    d.day = 1 + (uint32_t)left;
    return d;
}

/* 1970-01-01 was a Thursday. */
static uint32_t weekday_of(int64_t day)
{
    return (uint32_t)(((day + 4) % 7 + 7) % 7);
}

static bool has(const struct cron *c, enum field field, uint32_t value)
{
    return (c->in[field] >> value & 1) != 0;
}

/* The classic rule: with both days given, one of them suffices. */
static bool is_day(const struct cron *c, const struct date *d, int64_t day)
{
    bool by_date = has(c, DAY, d->day);
    bool by_weekday = has(c, WEEKDAY, weekday_of(day));

    return c->any_day || c->any_weekday ? by_date && by_weekday : by_date || by_weekday;
}

static void next_month(struct date *d)
{
    d->day = 1;
    d->year += d->month == 12;
    d->month = d->month % 12 + 1;
}

/* The first day from this one on that matches. */
static bool next_day(const struct cron *c, int64_t from, int64_t *ret)
{
    struct date d = date_of_day(from);
    int64_t year_max = d.year + YEARS_MAX < YEAR_MAX ? d.year + YEARS_MAX : YEAR_MAX;

    for (; d.year <= year_max; next_month(&d)) {
        int64_t day = day_of_date(&d);

        for (; has(c, MONTH, d.month) && d.day <= days_of(d.year, d.month); d.day++, day++)
            if (is_day(c, &d, day)) {
                *ret = day;
                return true;
            }
    }
    return false;
}

/* ---------------------------------------------------------------- local times */

/* The first value from this one on. */
static bool next_value(uint64_t values, uint32_t from, uint32_t *ret)
{
    uint64_t left = from < 64 ? values >> from << from : 0;

    if (left == 0)
        return false;
    *ret = (uint32_t)__builtin_ctzll(left);
    return true;
}

/* The first second of the day from this one on that matches. */
static bool next_second(const struct cron *c, uint32_t from, uint32_t *ret)
{
    uint32_t at[3] = {from / 3600, from / 60 % 60, from % 60};
    uint32_t hour;
    uint32_t minute;
    uint32_t second;

    if (!next_value(c->in[HOUR], at[0], &hour))
        return false;
    if (hour > at[0])
        at[1] = at[2] = 0;
    if (!next_value(c->in[MINUTE], at[1], &minute))
        return hour < 23 && next_second(c, (hour + 1) * 3600, ret);
    if (minute > at[1])
        at[2] = 0;
    if (!next_value(c->in[SECOND], at[2], &second)) {
        uint32_t next = hour * 3600 + (minute + 1) * 60;

        return next < DAY_S && next_second(c, next, ret);
    }
    *ret = hour * 3600 + minute * 60 + second;
    return true;
}

/* The first local time from this one on that matches, in seconds as if it were UTC. */
static bool next_local(const struct cron *c, int64_t from, int64_t *ret)
{
    int64_t from_day = from >= 0 ? from / DAY_S : -((-from + DAY_S - 1) / DAY_S);
    uint32_t second = 0;
    int64_t day;

    if (!next_day(c, from_day, &day))
        return false;
    if (day == from_day && next_second(c, (uint32_t)(from - day * DAY_S), &second)) {
        *ret = day * DAY_S + second;
        return true;
    }
    if (day == from_day && !next_day(c, from_day + 1, &day))
        return false;
    (void)next_second(c, 0, &second); /* every field has a value */
    *ret = day * DAY_S + second;
    return true;
}

/* ---------------------------------------------------------------- instants */

/* When the clocks show this local time first; for one that they leave out, when they go on behind
 * it. No zone is a day off UTC. */
static int64_t instant_of(const struct cron_zone *z, int64_t local)
{
    int64_t at = local - DAY_S;
    int64_t end;

    for (;;) {
        int64_t offset = cron_zone_offset(z, at);

        if (local < at + offset)
            return at;
        end = cron_zone_change(z, at, local + DAY_S);
        if (end == CRON_NO_CHANGE || local < end + offset)
            return local - offset;
        at = end;
    }
}

static bool next_fixed(const struct cron *c, int64_t after, int64_t *ret)
{
    int64_t local = after + cron_zone_offset(c->zone, after);

    for (; next_local(c, local, &local); local++) {
        *ret = instant_of(c->zone, local);
        if (*ret > after)
            return true;
    }
    return false;
}

static bool next_by_elapsed(const struct cron *c, int64_t after, int64_t *ret)
{
    int64_t at = after + 1;
    int64_t change;
    int64_t local;

    for (;;) {
        int64_t offset = cron_zone_offset(c->zone, at);

        if (!next_local(c, at + offset, &local))
            return false;
        *ret = local - offset;
        change = cron_zone_change(c->zone, at, *ret);
        if (change == CRON_NO_CHANGE)
            return true;
        at = change;
    }
}

bool cron_next(const struct cron *c, uint64_t after_wall_ms, uint64_t *ret_wall_ms)
{
    int64_t after =
        (int64_t)((after_wall_ms < DTQI_WALL_MS_MAX ? after_wall_ms : DTQI_WALL_MS_MAX) / 1000);
    int64_t next;
    bool found = c->by_elapsed ? next_by_elapsed(c, after, &next) : next_fixed(c, after, &next);

    if (!found || next < 0)
        return false;
    *ret_wall_ms = (uint64_t)next * 1000;
    return true;
}

int32_t cron_offset(const struct cron *c, uint64_t wall_ms)
{
    return (int32_t)cron_zone_offset(c->zone, (int64_t)(wall_ms / 1000));
}

/* ---------------------------------------------------------------- life */

static dtq_err parse(struct cron *c, struct dtqi_str text, struct dtqi_str zone, char *why,
                     size_t why_bytes)
{
    struct dtqi_str fields = macro(text);
    int64_t day;
    dtq_err err;

    if (!is_text(text))
        return flaw(why, why_bytes, "an expression is up to %u printable characters",
                    TEXT_BYTES_MAX);
    if (fields.len != 0 && fields.at[0] == '@')
        return flaw(why, why_bytes,
                    "'%.*s' is not known; allowed are @yearly, @monthly, @weekly, @daily, @hourly, "
                    "or fields",
                    (int)text.len, text.at);
    err = parse_fields(c, fields, why, why_bytes);
    if (err != DTQ_OK)
        return err;
    if (!next_day(c, 0, &day))
        return flaw(why, why_bytes, "day of month: no such day is in the months given");
    c->zone = cron_zone_open(zone);
    if (c->zone == NULL)
        return flaw(why, why_bytes,
                    "zone: '%.*s' is not known here; names are those of the tz database, as "
                    "Europe/Berlin or UTC",
                    (int)(zone.len < TEXT_BYTES_MAX ? zone.len : TEXT_BYTES_MAX), zone.at);
    return DTQ_OK;
}

dtq_err cron_parse(struct dtqi_str text, struct dtqi_str zone, struct cron **ret_cron, char *why,
                   size_t why_bytes)
{
    struct cron *c = calloc(1, sizeof *c);
    dtq_err err;

    if (c == NULL)
        return DTQ_ENOMEM;
    err = parse(c, text, zone, why, why_bytes);
    if (err != DTQ_OK) {
        cron_free(c);
        return err;
    }
    *ret_cron = c;
    return DTQ_OK;
}

void cron_free(struct cron *c)
{
    if (c == NULL)
        return;
    cron_zone_close(c->zone);
    free(c);
}
