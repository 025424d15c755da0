/* common/text: numbers, durations, sizes and times, strictly read and exactly written. */
#include "text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect_duration(const char *text, uint64_t ms)
{
    uint64_t got = UINT64_MAX;

    assert_int_equal(text_parse_duration(text, &got), DTQ_OK);
    assert_int_equal(got, ms);
}

static void durations_are_read_with_every_unit(void **state)
{
    (void)state;
    expect_duration("250ms", 250);
    expect_duration("30s", 30000);
    expect_duration("5m", 300000);
    expect_duration("1h30m", 5400000);
    expect_duration("7d", 604800000);
    expect_duration("1d2h3m4s5ms", 93784005);
    expect_duration("0", 0);
    expect_duration("0s", 0);
}

static void durations_that_are_not_clear_are_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "30",
                                      "s",
                                      "-5s",
                                      "+5s",
                                      "5 s",
                                      "5S",
                                      "5s ",
                                      " 5s",
                                      "1.5s",
                                      "5x",
                                      "30m1h",
                                      "5s5s",
                                      "1ms1s",
                                      "00",
                                      "1mm",
                                      "1s2",
                                      "213503982335d",
                                      "18446744073709551616s"};
    uint64_t got = 7;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (text_parse_duration(bad[i], &got) == DTQ_OK)
            fail_msg("'%s' was taken for a duration", bad[i]);
        assert_int_equal(got, 7); /* untouched on failure */
    }
}

static void durations_read_back_as_written(void **state)
{
    static const uint64_t values[] = {0, 1, 999, 1000, 5400000, 93784005, UINT64_MAX, 604800000};
    char text[TEXT_DURATION_BYTES];
    uint64_t got;

    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        text_format_duration(values[i], text);
        assert_int_equal(text_parse_duration(text, &got), DTQ_OK);
        assert_int_equal(got, values[i]);
    }
    text_format_duration(5400000, text);
    assert_string_equal(text, "1h30m");
}

static void expect_size(const char *text, uint64_t bytes)
{
    uint64_t got = 7;

    assert_int_equal(text_parse_size(text, &got), DTQ_OK);
    assert_int_equal(got, bytes);
}

static void sizes_are_read_with_every_unit(void **state)
{
    (void)state;
    expect_size("0", 0);
    expect_size("4096", 4096);
    expect_size("100b", 100);
    expect_size("64k", 65536);
    expect_size("64K", 65536);
    expect_size("64kb", 65536);
    expect_size("64KiB", 65536);
    expect_size("16m", 16 << 20);
    expect_size("1g", 1 << 30);
    expect_size("2t", 2ull << 40);
}

static void sizes_that_are_not_clear_are_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "k",
                                      "-1",
                                      "1.5g",
                                      "1 g",
                                      "64kk",
                                      "64ki",
                                      "1x",
                                      "1g ",
                                      "16777216t",
                                      "99999999999999999999"};
    uint64_t got = 7;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (text_parse_size(bad[i], &got) == DTQ_OK)
            fail_msg("'%s' was taken for a size", bad[i]);
        assert_int_equal(got, 7);
    }
}

static void sizes_read_back_as_written(void **state)
{
    static const uint64_t values[] = {0, 1, 1023, 1024, 1536, 65536, 1ull << 40, UINT64_MAX};
    char text[TEXT_SIZE_BYTES];
    uint64_t got;

    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        text_format_size(values[i], text);
        assert_int_equal(text_parse_size(text, &got), DTQ_OK);
        assert_int_equal(got, values[i]);
    }
    text_format_size(65536, text);
    assert_string_equal(text, "64k");
}

static void expect_time(const char *text, uint64_t wall_ms)
{
    uint64_t got = 7;

    if (text_parse_time(text, &got) != DTQ_OK)
        fail_msg("'%s' was refused", text);
    assert_int_equal(got, wall_ms);
}

/* The expected values were computed with date(1). */
static void times_are_read_as_rfc_3339_has_them(void **state)
{
    (void)state;
    expect_time("1970-01-01T00:00:00Z", 0);
    expect_time("2026-11-22T23:00:00Z", 1795388400000);
    expect_time("2026-11-22t23:00:00z", 1795388400000);
    expect_time("2026-11-22 23:00:00Z", 1795388400000);
    expect_time("2026-11-23T00:00:00+01:00", 1795388400000);
    expect_time("2026-11-22T17:30:00.25-05:30", 1795388400250);
    expect_time("2026-11-22T23:00:00.0009999Z", 1795388400000);
    expect_time("2000-02-29T12:00:00Z", 951825600000);
    expect_time("2024-02-29T00:00:00Z", 1709164800000);
    expect_time("2016-12-31T23:59:60Z", 1483228800000);
    expect_time("9999-12-31T23:59:59.999Z", 253402300799999);
}

static void times_that_do_not_exist_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "2026-11-22",
        "2026-11-22T23:00:00",
        "2026-11-22T23:00Z",
        "2026-11-31T00:00:00Z",
        "2025-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-11-22T24:00:00Z",
        "2026-11-22T23:60:00Z",
        "2026-11-22T23:00:61Z",
        "2026-11-22T23:00:00.Z",
        "2026-11-22T23:00:00+1:00",
        "2026-11-22T23:00:00Zx",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+00:01",
        "26-11-22T23:00:00Z",
        "9999-12-31T23:59:60Z", /* a second later is the year 10000 */
        "9999-12-31T23:59:59-00:01",
    };
    uint64_t got = 7;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (text_parse_time(bad[i], &got) == DTQ_OK)
            fail_msg("'%s' was taken for a time", bad[i]);
        assert_int_equal(got, 7);
    }
}

static void every_day_reads_back_as_written(void **state)
{
    char text[TEXT_TIME_BYTES];
    uint64_t got;

    (void)state;
    for (uint64_t ms = 86399999; ms < 253402300800000; ms += 86400000) {
        text_format_time(ms, text);
        assert_int_equal(text_parse_time(text, &got), DTQ_OK);
        assert_int_equal(got, ms);
    }
    text_format_time(UINT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59.999Z");
}

static void people_get_rounded_figures(void **state)
{
    static const struct {
        uint64_t us;
        const char *text;
    } durations[] = {{0, "0 us"},         {812, "812 us"},
                     {1200, "1.2 ms"},    {12000, "12 ms"},
                     {1500000, "1.5 s"},  {59999999, "59 s"},
                     {60000000, "1 min"}, {200000000, "3 min 20 s"},
                     {3600000000, "1 h"}, {187200000000, "2 d 4 h"}};
    static const struct {
        uint64_t bytes;
        const char *text;
    } sizes[] = {{0, "0 B"},
                 {1023, "1023 B"},
                 {1536, "1.5 KiB"},
                 {20ull << 30, "20 GiB"},
                 {UINT64_MAX, "15 EiB"}};
    char text[TEXT_HUMAN_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof durations / sizeof *durations; i++) {
        text_human_duration(durations[i].us, text);
        assert_string_equal(text, durations[i].text);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        text_human_size(sizes[i].bytes, text);
        assert_string_equal(text, sizes[i].text);
    }
}

static void the_nearest_word_is_found_or_none(void **state)
{
    static const char *const words[] = {"concurrency", "queues", "name", "module", "data"};
    const size_t n = sizeof words / sizeof *words;
    char *longest = test_malloc(300);

    (void)state;
    assert_string_equal(text_nearest("concurency", words, n), "concurrency");
    assert_string_equal(text_nearest("quesue", words, n), "queues");
    assert_string_equal(text_nearest("date", words, n), "data");
    assert_string_equal(text_nearest("conc", words, n), "concurrency");
    assert_null(text_nearest("verbose", words, n));
    assert_null(text_nearest("", words, n));
    memset(longest, 'x', 299);
    longest[299] = '\0';
    assert_null(text_nearest(longest, words, n));
    test_free(longest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_are_read_with_every_unit),
        cmocka_unit_test(durations_that_are_not_clear_are_refused),
        cmocka_unit_test(durations_read_back_as_written),
        cmocka_unit_test(sizes_are_read_with_every_unit),
        cmocka_unit_test(sizes_that_are_not_clear_are_refused),
        cmocka_unit_test(sizes_read_back_as_written),
        cmocka_unit_test(times_are_read_as_rfc_3339_has_them),
        cmocka_unit_test(times_that_do_not_exist_are_refused),
        cmocka_unit_test(every_day_reads_back_as_written),
        cmocka_unit_test(people_get_rounded_figures),
        cmocka_unit_test(the_nearest_word_is_found_or_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
