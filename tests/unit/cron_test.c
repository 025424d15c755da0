/* common/cron: expressions, what is refused of them, and their next times, beside tables of known
 * changes of clocks. */
#include "cron.h"

#include "text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TIMES_MAX 8

struct row {
    const char *expression;
    const char *zone;
    const char *after;
    const char *times[TIMES_MAX]; /* UTC, to the second */
};

static struct cron *parsed(const char *expression, const char *zone)
{
    struct cron *c = NULL;
    char why[512] = "";

    if (cron_parse(dtqi_str(expression), dtqi_str(zone), &c, why, sizeof why) != DTQ_OK)
        fail_msg("'%s' %s: %s", expression, zone, why);
    return c;
}

static uint64_t time_of(const char *text)
{
    uint64_t ms = 0;

    assert_int_equal(text_parse_time(text, &ms), DTQ_OK);
    return ms;
}

static void expect_row(const struct row *row)
{
    struct cron *c = parsed(row->expression, row->zone);
    uint64_t at = time_of(row->after);

    for (int i = 0; i < TIMES_MAX && row->times[i] != NULL; i++) {
        char text[TEXT_TIME_BYTES] = "none";

        if (cron_next(c, at, &at))
            text_format_time(at, text);
        if (at != time_of(row->times[i]))
            fail_msg("'%s' in %s behind %s, number %d: %s, not %s", row->expression, row->zone,
                     row->after, i, text, row->times[i]);
    }
    cron_free(c);
}

#define EXPECT(...)                                             \
    do {                                                        \
        static const struct row rows[] = {__VA_ARGS__};         \
        (void)state;                                            \
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) \
            expect_row(&rows[i]);                               \
    } while (0)

/* ---------------------------------------------------------------- what matches */

static void fields_match_lists_ranges_and_steps(void **state)
{
    EXPECT({"*/15 * * * *",
            "UTC",
            "2026-01-01T00:00:00Z",
            {"2026-01-01T00:15:00Z", "2026-01-01T00:30:00Z", "2026-01-01T00:45:00Z",
             "2026-01-01T01:00:00Z"}},
           {"5,35 9-10 * * *",
            "UTC",
            "2026-01-01T09:05:00Z",
            {"2026-01-01T09:35:00Z", "2026-01-01T10:05:00Z", "2026-01-01T10:35:00Z",
             "2026-01-02T09:05:00Z"}},
           {"0 8-18/5 * * *",
            "UTC",
            "2026-01-01T00:00:00Z",
            {"2026-01-01T08:00:00Z", "2026-01-01T13:00:00Z", "2026-01-01T18:00:00Z",
             "2026-01-02T08:00:00Z"}},
           {"0-10/5,30 0 1 1 *",
            "UTC",
            "2026-01-01T00:00:00Z",
            {"2026-01-01T00:05:00Z", "2026-01-01T00:10:00Z", "2026-01-01T00:30:00Z",
             "2027-01-01T00:00:00Z"}},
           {"59 23 31 12 *",
            "UTC",
            "2026-06-01T00:00:00Z",
            {"2026-12-31T23:59:00Z", "2027-12-31T23:59:00Z"}});
}

static void a_sixth_field_is_the_second(void **state)
{
    EXPECT({"*/20 * * * * *",
            "UTC",
            "2026-01-01T00:00:59Z",
            {"2026-01-01T00:01:00Z", "2026-01-01T00:01:20Z", "2026-01-01T00:01:40Z"}},
           {"7 59 23 * * *", "UTC", "2026-01-01T23:59:07Z", {"2026-01-02T23:59:07Z"}},
           {"58,59 * * * * *",
            "UTC",
            "2026-12-31T23:59:58.500Z",
            {"2026-12-31T23:59:59Z", "2027-01-01T00:00:58Z"}});
}

static void words_stand_for_expressions(void **state)
{
    EXPECT({"@yearly", "UTC", "2026-02-01T00:00:00Z", {"2027-01-01T00:00:00Z"}},
           {"@annually", "UTC", "2026-02-01T00:00:00Z", {"2027-01-01T00:00:00Z"}},
           {"@monthly", "UTC", "2026-02-01T00:00:00Z", {"2026-03-01T00:00:00Z"}},
           {"@weekly", "UTC", "2026-02-01T00:00:00Z", {"2026-02-08T00:00:00Z"}},
           {"@daily", "UTC", "2026-02-01T00:00:00Z", {"2026-02-02T00:00:00Z"}},
           {"@midnight", "UTC", "2026-02-01T00:00:00Z", {"2026-02-02T00:00:00Z"}},
           {"@Hourly", "UTC", "2026-02-01T00:00:00Z", {"2026-02-01T01:00:00Z"}});
}

static void names_of_months_and_days_are_read_in_either_case(void **state)
{
    EXPECT({"0 0 1 JAN,jul *",
            "UTC",
            "2026-01-01T00:00:00Z",
            {"2026-07-01T00:00:00Z", "2027-01-01T00:00:00Z"}},
           {"0 0 1 Mar-May *",
            "UTC",
            "2026-01-01T00:00:00Z",
            {"2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z", "2026-05-01T00:00:00Z",
             "2027-03-01T00:00:00Z"}},
           {"0 9 * * MON-FRI",
            "UTC",
            "2026-01-01T12:00:00Z", /* a Thursday */
            {"2026-01-02T09:00:00Z", "2026-01-05T09:00:00Z", "2026-01-06T09:00:00Z"}});
}

static void seven_is_sunday_as_is_zero(void **state)
{
    EXPECT({"0 0 * * 7",
            "UTC",
            "2026-01-01T00:00:00Z",
            {"2026-01-04T00:00:00Z", "2026-01-11T00:00:00Z"}},
           {"0 0 * * 0",
            "UTC",
            "2026-01-01T00:00:00Z",
            {"2026-01-04T00:00:00Z", "2026-01-11T00:00:00Z"}},
           {"0 0 * * 6-7",
            "UTC",
            "2026-01-01T00:00:00Z",
            {"2026-01-03T00:00:00Z", "2026-01-04T00:00:00Z", "2026-01-10T00:00:00Z"}},
           {"0 0 * * FRI-SUN",
            "UTC",
            "2026-01-01T00:00:00Z",
            {"2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z", "2026-01-04T00:00:00Z",
             "2026-01-09T00:00:00Z"}},
           {"0 0 * * */2",
            "UTC",
            "2026-01-01T00:00:00Z", /* Sunday, Tuesday, Thursday, Saturday */
            {"2026-01-03T00:00:00Z", "2026-01-04T00:00:00Z", "2026-01-06T00:00:00Z"}});
}

static void of_two_days_that_are_given_one_suffices(void **state)
{
    EXPECT({"0 0 13 * FRI",
            "UTC",
            "2026-02-01T00:00:00Z",
            {"2026-02-06T00:00:00Z", "2026-02-13T00:00:00Z", "2026-02-20T00:00:00Z",
             "2026-02-27T00:00:00Z", "2026-03-06T00:00:00Z", "2026-03-13T00:00:00Z"}},
           {"0 0 1,15 * 3",
            "UTC",
            "2026-04-10T00:00:00Z",
            {"2026-04-15T00:00:00Z", "2026-04-22T00:00:00Z", "2026-04-29T00:00:00Z",
             "2026-05-01T00:00:00Z"}},
           /* One that begins with a star leaves it to the other. */
           {"0 0 * * 1", "UTC", "2026-01-01T00:00:00Z", {"2026-01-05T00:00:00Z"}},
           {"0 0 */10 * 1",
            "UTC",
            "2026-01-01T00:00:00Z", /* 1, 11, 21, 31 and a Monday */
            {"2026-05-11T00:00:00Z", "2026-06-01T00:00:00Z"}});
}

static void days_that_a_month_lacks_are_left_out(void **state)
{
    EXPECT({"0 0 31 * *",
            "UTC",
            "2026-01-31T00:00:00Z",
            {"2026-03-31T00:00:00Z", "2026-05-31T00:00:00Z", "2026-07-31T00:00:00Z",
             "2026-08-31T00:00:00Z", "2026-10-31T00:00:00Z"}},
           {"0 0 30 * *", "UTC", "2027-01-30T00:00:00Z", {"2027-03-30T00:00:00Z"}},
           {"0 12 29 2 *",
            "UTC",
            "2026-01-01T00:00:00Z",
            {"2028-02-29T12:00:00Z", "2032-02-29T12:00:00Z"}},
           {"0 12 29 2 *", "UTC", "2096-03-01T00:00:00Z", {"2104-02-29T12:00:00Z"}},
           {"0 0 */28 2 6",
            "UTC",
            "2026-03-01T00:00:00Z", /* 1 and 29, a Saturday */
            {"2031-02-01T00:00:00Z", "2042-02-01T00:00:00Z"}});
}

/* ---------------------------------------------------------------- clocks set forward and back */

/* 2026-03-29 01:00 UTC: 02:00 becomes 03:00. 2026-10-25 01:00 UTC: 03:00 becomes 02:00. */
static void in_berlin_each_night_has_one_run(void **state)
{
    EXPECT({"30 2 * * *",
            "Europe/Berlin",
            "2026-03-27T12:00:00Z",
            {"2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
           {"0,20,40 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00Z", /* made up for once */
            {"2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"}},
           {"30 1-3 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            {"2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z",
             "2026-03-29T23:30:00Z"}},
           {"0 2,3 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00Z", /* both are 03:00 */
            {"2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"}},
           {"30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            {"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
           {"0 3 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            {"2026-10-25T02:00:00Z", "2026-10-26T02:00:00Z"}},
           /* From within the second of the two hours. */
           {"30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", {"2026-10-26T01:30:00Z"}},
           {"30 2 29 3 *", "Europe/Berlin", "2026-01-01T00:00:00Z", {"2026-03-29T01:00:00Z"}},
           {"@daily",
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            {"2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"}});
}

static void in_berlin_what_has_a_star_in_its_hour_goes_by_elapsed_time(void **state)
{
    EXPECT({"*/30 * * * *",
            "Europe/Berlin",
            "2026-03-29T00:10:00Z",
            {"2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z",
             "2026-03-29T02:00:00Z"}},
           {"*/30 * * * *",
            "Europe/Berlin",
            "2026-10-24T23:40:00Z",
            {"2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z",
             "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"}},
           /* 00:00, no 02:00, 04:00; and 02:00 twice. */
           {"0 */2 * * *",
            "Europe/Berlin",
            "2026-03-28T22:30:00Z",
            {"2026-03-28T23:00:00Z", "2026-03-29T02:00:00Z"}},
           {"0 0-4/2 * * *",
            "Europe/Berlin",
            "2026-10-24T21:30:00Z",
            {"2026-10-24T22:00:00Z", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z",
             "2026-10-25T03:00:00Z"}},
           {"59 59 * * * *",
            "Europe/Berlin",
            "2026-03-29T00:00:00Z",
            {"2026-03-29T00:59:59Z", "2026-03-29T01:59:59Z"}});
}

/* 2026-03-08 07:00 UTC: 02:00 becomes 03:00. 2026-11-01 06:00 UTC: 02:00 becomes 01:00. */
static void in_new_york_each_night_has_one_run(void **state)
{
    EXPECT({"15 2 * * *",
            "America/New_York",
            "2026-03-07T12:00:00Z",
            {"2026-03-08T07:00:00Z", "2026-03-09T06:15:00Z"}},
           {"15 1 * * *",
            "America/New_York",
            "2026-10-31T12:00:00Z",
            {"2026-11-01T05:15:00Z", "2026-11-02T06:15:00Z"}},
           {"0 2 * * *",
            "America/New_York",
            "2026-10-31T12:00:00Z",
            {"2026-11-01T07:00:00Z", "2026-11-02T07:00:00Z"}},
           {"15 * * * *",
            "America/New_York",
            "2026-11-01T04:30:00Z",
            {"2026-11-01T05:15:00Z", "2026-11-01T06:15:00Z", "2026-11-01T07:15:00Z"}},
           {"30 2 8 3 SUN",
            "America/New_York",
            "2026-03-01T12:00:00Z",
            {"2026-03-08T07:00:00Z", "2026-03-15T06:30:00Z"}});
}

/* 2026-04-04 15:00 UTC: 02:00 becomes 01:30. 2026-10-03 15:30 UTC: 02:00 becomes 02:30. */
static void on_lord_howe_half_an_hour_is_enough(void **state)
{
    EXPECT({"45 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-03T20:00:00Z",
            {"2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"}},
           {"45 * * * *",
            "Australia/Lord_Howe",
            "2026-04-04T14:00:00Z",
            {"2026-04-04T14:45:00Z", "2026-04-04T15:15:00Z", "2026-04-04T16:15:00Z"}},
           {"0 2 * * *",
            "Australia/Lord_Howe",
            "2026-04-03T20:00:00Z",
            {"2026-04-04T15:30:00Z", "2026-04-05T15:30:00Z"}},
           {"15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-02T20:00:00Z",
            {"2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"}},
           {"30 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-02T20:00:00Z",
            {"2026-10-03T15:30:00Z", "2026-10-04T15:30:00Z"}},
           {"*/15 * * * *",
            "Australia/Lord_Howe",
            "2026-10-03T15:10:00Z",
            {"2026-10-03T15:15:00Z", "2026-10-03T15:30:00Z", "2026-10-03T15:45:00Z"}});
}

static void in_kathmandu_clocks_are_never_set(void **state)
{
    EXPECT({"0 0 * * *",
            "Asia/Kathmandu",
            "2026-03-28T12:00:00Z",
            {"2026-03-28T18:15:00Z", "2026-03-29T18:15:00Z", "2026-03-30T18:15:00Z"}},
           {"0 * * * *",
            "Asia/Kathmandu",
            "2026-10-25T00:00:00Z",
            {"2026-10-25T00:15:00Z", "2026-10-25T01:15:00Z"}});
}

/* Apia had no 2011-12-30: after the 29th at midnight, 10:00 UTC, it was the 31st. */
static void a_day_that_a_zone_left_out_is_made_up_for(void **state)
{
    EXPECT({"0 12 * * *",
            "Pacific/Apia",
            "2011-12-29T00:00:00Z",
            {"2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"}},
           {"0 0 * * *",
            "Pacific/Apia",
            "2011-12-29T00:00:00Z", /* and two midnights are one */
            {"2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"}});
}

/* Midnight itself is left out where clocks are set then. Beirut, 2026-03-28 22:00 UTC. */
static void a_midnight_that_does_not_exist_is_made_up_for(void **state)
{
    EXPECT({"@daily",
            "Asia/Beirut",
            "2026-03-27T23:00:00Z",
            {"2026-03-28T22:00:00Z", "2026-03-29T21:00:00Z"}});
}

static void rules_of_a_zone_hold_for_the_years_to_come(void **state)
{
    EXPECT({"30 2 * * *",
            "Europe/Berlin",
            "2045-03-25T12:00:00Z",
            {"2045-03-26T01:00:00Z", "2045-03-27T00:30:00Z"}},
           {"0 12 * 7 *", "America/New_York", "2060-06-30T23:00:00Z", {"2060-07-01T16:00:00Z"}});
}

/* ---------------------------------------------------------------- properties */

/* What is next behind any time is next behind every time before it as well, back to the last. */
static void next_is_the_same_from_everywhere_before_it(void **state)
{
    static const char *const expressions[] = {"30 2 * * *", "*/7 * * * *", "0 */5 * * 1",
                                              "15,45 1-3 * * *", "10 30 2 * * *"};
    static const char *const begins[] = {"2026-03-28T20:00:00Z", "2026-10-24T20:00:00Z",
                                         "2026-04-04T10:00:00Z", "2026-10-03T10:00:00Z"};
    static const char *const zones[] = {"Europe/Berlin", "Australia/Lord_Howe"};

    (void)state;
    for (int e = 0; e < 5; e++)
        for (int z = 0; z < 2; z++)
            for (int b = 0; b < 4; b++) {
                struct cron *c = parsed(expressions[e], zones[z]);
                uint64_t begin = time_of(begins[b]);
                uint64_t next = 0;
                uint64_t again = 0;

                for (uint64_t at = begin; at < begin + 12 * 3600000ull; at += 61000) {
                    assert_true(cron_next(c, at, &again));
                    assert_true(again > at);
                    assert_true(again >= next);
                    if (at < next)
                        assert_int_equal(again, next);
                    next = again;
                }
                cron_free(c);
            }
}

static void there_is_an_end_of_time(void **state)
{
    struct cron *c = parsed("* * * * *", "Europe/Berlin");
    uint64_t ms = 0;

    (void)state;
    assert_true(cron_next(c, 0, &ms));
    assert_int_equal(ms, 60000);
    assert_false(cron_next(c, time_of("9999-12-31T23:59:59Z"), &ms));
    assert_false(cron_next(c, UINT64_MAX, &ms));
    cron_free(c);
}

static void the_offset_of_the_zone_is_told(void **state)
{
    struct cron *c = parsed("* * * * *", "Australia/Lord_Howe");

    (void)state;
    assert_int_equal(cron_offset(c, time_of("2026-07-01T00:00:00Z")), 37800);
    assert_int_equal(cron_offset(c, time_of("2026-12-01T00:00:00Z")), 39600);
    cron_free(c);
}

/* ---------------------------------------------------------------- what is refused */

static void expect_flaw(const char *expression, const char *zone, const char *part)
{
    struct cron *c = NULL;
    char why[512] = "";

    assert_int_equal(cron_parse(dtqi_str(expression), dtqi_str(zone), &c, why, sizeof why),
                     DTQ_EINVAL);
    assert_null(c);
    if (strstr(why, part) == NULL)
        fail_msg("'%s': '%s' does not say '%s'", expression, why, part);
}

static void a_flaw_names_the_field_and_what_is_allowed(void **state)
{
    (void)state;
    expect_flaw("60 * * * *", "", "minute: '60' is not allowed; allowed are 0-59,");
    expect_flaw("* 24 * * *", "", "hour: '24'");
    expect_flaw("* * 0 * *", "", "day of month: '0'");
    expect_flaw("* * 32 * *", "", "day of month: '32'");
    expect_flaw("* * * 13 *", "", "month: '13' is not allowed; allowed are 1-12 or JAN-DEC");
    expect_flaw("* * * * 8", "", "day of week: '8'");
    expect_flaw("60 * * * * *", "", "second: '60'");
    expect_flaw("* * * JANUARY *", "", "month: 'JANUARY'");
    expect_flaw("* * L * *", "", "day of month: 'L'");
    expect_flaw("* * * * 5L", "", "day of week: '5L'");
    expect_flaw("* * 15W * *", "", "day of month: '15W'");
    expect_flaw("* * * * 5#2", "", "day of week: '5#2'");
    expect_flaw("* * ? * *", "", "day of month: '?'");
    expect_flaw("-1 * * * *", "", "minute: '-1'");
    expect_flaw("1,,2 * * * *", "", "minute: ''");
    expect_flaw("1, * * * *", "", "minute: ''");
    expect_flaw("1- * * * *", "", "minute: '1-'");
    expect_flaw("99999999999999999999 * * * *", "", "minute: '99999999999999999999'");
    expect_flaw("30-10 * * * *", "", "minute: '30-10' ends before it begins");
    expect_flaw("5/15 * * * *", "", "minute: '5/15' is a step without a range");
    expect_flaw("*/0 * * * *", "", "minute: '*/0' has no step from 1 on");
    expect_flaw("*/90 * * * *", "", "minute: '*/90' has a step that is never taken");
    expect_flaw("*/x * * * *", "", "minute: '*/x' has no step from 1 on");
    expect_flaw("*5 * * * *", "", "minute: '*5' is not allowed");
}

static void a_flaw_of_the_whole_is_named_too(void **state)
{
    char long_one[400];

    (void)state;
    memset(long_one, '1', sizeof long_one);
    long_one[sizeof long_one - 1] = '\0';
    expect_flaw("", "", "5 fields");
    expect_flaw("* * * *", "", "this one has 4");
    expect_flaw("* * * * * * *", "", "more than 6");
    expect_flaw("@reboot", "", "'@reboot' is not known; allowed are @yearly");
    expect_flaw("@", "", "'@' is not known");
    expect_flaw("0 0 30 2 *", "", "day of month: no such day is in the months given");
    expect_flaw("0 0 31 4,6,9,11 *", "", "day of month: no such day");
    expect_flaw("0 0 * * *\n", "", "printable");
    expect_flaw(long_one, "", "up to 256");
}

static void a_zone_that_is_none_is_refused(void **state)
{
    static const char *const bad[] = {"Europe/Nowhere",
                                      "../../etc/passwd",
                                      "/etc/localtime",
                                      "CET-1CEST,M3.5.0,M10.5.0/3",
                                      "+02:00",
                                      "zone.tab",
                                      "leapseconds",
                                      "Europe",
                                      "berlin",
                                      ":UTC",
                                      " "};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect_flaw("* * * * *", bad[i], "zone: '");
}

static void no_zone_is_utc(void **state)
{
    EXPECT({"0 0 * * *", "", "2026-03-28T12:00:00Z", {"2026-03-29T00:00:00Z"}});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_match_lists_ranges_and_steps),
        cmocka_unit_test(a_sixth_field_is_the_second),
        cmocka_unit_test(words_stand_for_expressions),
        cmocka_unit_test(names_of_months_and_days_are_read_in_either_case),
        cmocka_unit_test(seven_is_sunday_as_is_zero),
        cmocka_unit_test(of_two_days_that_are_given_one_suffices),
        cmocka_unit_test(days_that_a_month_lacks_are_left_out),
        cmocka_unit_test(in_berlin_each_night_has_one_run),
        cmocka_unit_test(in_berlin_what_has_a_star_in_its_hour_goes_by_elapsed_time),
        cmocka_unit_test(in_new_york_each_night_has_one_run),
        cmocka_unit_test(on_lord_howe_half_an_hour_is_enough),
        cmocka_unit_test(in_kathmandu_clocks_are_never_set),
        cmocka_unit_test(a_day_that_a_zone_left_out_is_made_up_for),
        cmocka_unit_test(a_midnight_that_does_not_exist_is_made_up_for),
        cmocka_unit_test(rules_of_a_zone_hold_for_the_years_to_come),
        cmocka_unit_test(next_is_the_same_from_everywhere_before_it),
        cmocka_unit_test(there_is_an_end_of_time),
        cmocka_unit_test(the_offset_of_the_zone_is_told),
        cmocka_unit_test(a_flaw_names_the_field_and_what_is_allowed),
        cmocka_unit_test(a_flaw_of_the_whole_is_named_too),
        cmocka_unit_test(a_zone_that_is_none_is_refused),
        cmocka_unit_test(no_zone_is_utc),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
