/* common/log: one line an event, always well-formed, whatever bytes its values hold. */
#include "log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

struct caught {
    int fd;
    char text[32768];
};

static int catch_lines(void **state)
{
    struct caught *c = calloc(1, sizeof *c);

    c->fd = memfd_create("log", MFD_CLOEXEC);
    log_to(c->fd);
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    *state = c;
    return 0;
}

static int release_lines(void **state)
{
    struct caught *c = *state;

    log_to(STDERR_FILENO);
    close(c->fd);
    free(c);
    return 0;
}

/* Everything that was written, without the time that each line begins with. */
static const char *lines(struct caught *c, size_t time_bytes)
{
    ssize_t n = pread(c->fd, c->text, sizeof c->text - 1, 0);

    assert_true(n >= (ssize_t)time_bytes);
    c->text[n] = '\0';
    return c->text + time_bytes;
}

#define LOGFMT_TIME sizeof("time=2026-11-22T22:00:00.250Z")
#define JSON_TIME (sizeof("{\"time\":\"2026-11-22T22:00:00.250Z\",") - 1)

static void an_event_is_one_line_of_pairs(void **state)
{
    log_info("worker_joined", log_str("worker", "w1"), log_u64("slots", 4), log_i64("delta", -2));
    assert_string_equal(lines(*state, LOGFMT_TIME),
                        "level=info ev=worker_joined worker=w1 slots=4 delta=-2\n");
}

static void an_event_needs_no_pairs(void **state)
{
    log_warn("stopped_cold");
    assert_string_equal(lines(*state, LOGFMT_TIME), "level=warn ev=stopped_cold\n");
}

static void values_are_quoted_when_they_must_be(void **state)
{
    log_info("x", log_str("a", ""), log_str("b", "two words"), log_str("c", "say \"hi\"\\"),
             log_str("d", "a=b"), log_str("e", "tcp://127.0.0.1:5570"));
    assert_string_equal(lines(*state, LOGFMT_TIME),
                        "level=info ev=x a=\"\" b=\"two words\" c=\"say \\\"hi\\\"\\\\\" d=\"a=b\" "
                        "e=tcp://127.0.0.1:5570\n");
}

static void no_value_can_begin_a_new_line(void **state)
{
    log_info("x", log_str("a", "1\nlevel=error ev=forged\r\x1b[31m\x7f"));
    assert_string_equal(
        lines(*state, LOGFMT_TIME),
        "level=info ev=x a=\"1\\nlevel=error ev=forged\\u000d\\u001b[31m\\u007f\"\n");
}

static void what_is_not_utf8_is_replaced(void **state)
{
    static const char bad[] = "\xC3\xA9 \xFF \xC0\xAF \xED\xA0\x80 \xE2\x82";

    log_info("x", log_text("a", (struct dtqi_str){bad, sizeof bad - 1}),
             log_text("b", (struct dtqi_str){"\0", 1}));
    assert_string_equal(lines(*state, LOGFMT_TIME),
                        "level=info ev=x a=\"\xC3\xA9 \xEF\xBF\xBD \xEF\xBF\xBD\xEF\xBF\xBD "
                        "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD \xEF\xBF\xBD\xEF\xBF\xBD\" "
                        "b=\"\\u0000\"\n");
}

static void json_lines_are_objects(void **state)
{
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_error("disk_full", log_str("dir", "/a \"b\""), log_u64("bytes", UINT64_MAX));
    assert_string_equal(lines(*state, JSON_TIME), "\"level\":\"error\",\"ev\":\"disk_full\","
                                                  "\"dir\":\"/a \\\"b\\\"\","
                                                  "\"bytes\":18446744073709551615}\n");
}

static void lower_levels_are_left_out(void **state)
{
    log_setup(LOG_LEVEL_WARN, LOG_FORMAT_LOGFMT);
    assert_false(log_is_on(LOG_LEVEL_INFO));
    log_info("not_this");
    log_warn("this");
    assert_string_equal(lines(*state, LOGFMT_TIME), "level=warn ev=this\n");
}

static void long_values_are_cut_and_say_so(void **state)
{
    char text[5000];
    const char *line;

    memset(text, 'x', sizeof text);
    log_info("x", log_text("a", (struct dtqi_str){text, sizeof text}), log_u64("b", 1));
    line = lines(*state, LOGFMT_TIME);
    assert_int_equal(strlen(line),
                     strlen("level=info ev=x a=\"") + LOG_VALUE_BYTES_MAX + strlen("...\" b=1\n"));
    assert_non_null(strstr(line, "...\" b=1\n"));
}

/* Six values of control characters grow sixfold each: what does not fit goes, the line stays whole.
 */
static void a_line_that_would_be_too_long_loses_whole_pairs(void **state)
{
    char text[LOG_VALUE_BYTES_MAX];
    struct dtqi_str value = {text, sizeof text};
    const char *line;

    memset(text, 1, sizeof text);
    log_info("x", log_text("a", value), log_text("b", value), log_u64("c", 1));
    line = lines(*state, LOGFMT_TIME);
    assert_non_null(strstr(line, " a=\"\\u0001"));
    assert_null(strstr(line, " b="));
    assert_string_equal(line + strlen(line) - 6, "\" c=1\n");
}

static void repeated_events_are_counted_instead_of_written(void **state)
{
    struct log_rate rate = {0};
    uint64_t left_out = 99;

    (void)state;
    assert_true(log_rate_pass(&rate, 1000, &left_out));
    assert_int_equal(left_out, 0);
    assert_false(log_rate_pass(&rate, 1001, &left_out));
    assert_false(log_rate_pass(&rate, 1000 + LOG_RATE_INTERVAL_MS - 1, &left_out));
    assert_true(log_rate_pass(&rate, 1000 + LOG_RATE_INTERVAL_MS, &left_out));
    assert_int_equal(left_out, 2);
}

#define LOG_TEST(test) cmocka_unit_test_setup_teardown(test, catch_lines, release_lines)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOG_TEST(an_event_is_one_line_of_pairs),
        LOG_TEST(an_event_needs_no_pairs),
        LOG_TEST(values_are_quoted_when_they_must_be),
        LOG_TEST(no_value_can_begin_a_new_line),
        LOG_TEST(what_is_not_utf8_is_replaced),
        LOG_TEST(json_lines_are_objects),
        LOG_TEST(lower_levels_are_left_out),
        LOG_TEST(long_values_are_cut_and_say_so),
        LOG_TEST(a_line_that_would_be_too_long_loses_whole_pairs),
        LOG_TEST(repeated_events_are_counted_instead_of_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
