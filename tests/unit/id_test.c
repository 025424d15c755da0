#include "id.h"

#include "msg.h"
#include "sample.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOW_MS 1700000000000ull

static void expect_grows(const dtq_id *before, const dtq_id *after)
{
    assert_true(memcmp(before->bytes, after->bytes, 16) < 0);
}

static void an_id_is_a_uuid_of_version_7_with_the_time(void **state)
{
    struct dtqi_idgen gen = {0};
    uint64_t random = 1;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        dtq_id id = dtqi_id_next(&gen, NOW_MS, sample_random(&random));

        assert_int_equal(id.bytes[6] >> 4, 7);
        assert_int_equal(id.bytes[8] >> 6, 2);
        assert_int_equal(dtqi_id_wall_ms(&id), NOW_MS);
    }
}

static void ids_grow_within_a_millisecond(void **state)
{
    struct dtqi_idgen gen = {0};
    uint64_t random = 2;
    dtq_id last = dtqi_id_next(&gen, NOW_MS, sample_random(&random));

    (void)state;
    for (int i = 0; i < 100000; i++) {
        dtq_id id = dtqi_id_next(&gen, NOW_MS, sample_random(&random));

        expect_grows(&last, &id);
        last = id;
    }
}

static void ids_grow_when_the_clock_goes_back(void **state)
{
    struct dtqi_idgen gen = {0};
    uint64_t random = 3;
    dtq_id last = dtqi_id_next(&gen, NOW_MS, sample_random(&random));

    (void)state;
    for (uint64_t ms = NOW_MS; ms > NOW_MS - 1000; ms--) {
        dtq_id id = dtqi_id_next(&gen, ms, sample_random(&random));

        expect_grows(&last, &id);
        assert_int_equal(dtqi_id_wall_ms(&id), NOW_MS); /* the time never goes back */
        last = id;
    }
}

static void a_used_up_counter_goes_on_in_the_next_millisecond(void **state)
{
    struct dtqi_idgen gen = {.wall_ms = NOW_MS, .counter = (1u << 26) - 2};
    dtq_id last_of_this = dtqi_id_next(&gen, NOW_MS, 0);
    dtq_id first_of_next = dtqi_id_next(&gen, NOW_MS, UINT64_MAX);

    (void)state;
    assert_int_equal(dtqi_id_wall_ms(&last_of_this), NOW_MS);
    assert_int_equal(dtqi_id_wall_ms(&first_of_next), NOW_MS + 1);
    expect_grows(&last_of_this, &first_of_next);
}

static void two_generators_with_other_random_bits_make_other_ids(void **state)
{
    struct dtqi_idgen one = {0};
    struct dtqi_idgen two = {0};
    dtq_id a = dtqi_id_next(&one, NOW_MS, 0x123456789abcdefull);
    dtq_id b = dtqi_id_next(&two, NOW_MS, 0x123456789abcdeeull);

    (void)state;
    assert_false(dtqi_id_eq(&a, &b));
}

static void an_id_survives_formatting_and_parsing(void **state)
{
    struct dtqi_idgen gen = {0};
    uint64_t random = 4;
    char text[DTQ_ID_TEXT_BYTES];

    (void)state;
    for (int i = 0; i < 1000; i++) {
        dtq_id id = dtqi_id_next(&gen, NOW_MS + (uint64_t)i, sample_random(&random));
        dtq_id read;

        dtq_id_format(&id, text);
        assert_int_equal(strlen(text), DTQ_ID_TEXT_BYTES - 1);
        assert_int_equal(dtq_id_parse(text, &read), DTQ_OK);
        assert_true(dtqi_id_eq(&id, &read));
    }
}

static void an_id_is_read_with_and_without_dashes_in_any_case(void **state)
{
    static const dtq_id want = {{0x01, 0x8f, 0x3c, 0x5e, 0xab, 0xcd, 0x7e, 0xf0, 0x81, 0x23, 0x45,
                                 0x67, 0x89, 0xab, 0xcd, 0xef}};
    static const char *const texts[] = {"018f3c5e-abcd-7ef0-8123-456789abcdef",
                                        "018f3c5eabcd7ef08123456789abcdef",
                                        "018F3C5E-ABCD-7EF0-8123-456789ABCDEF"};
    char text[DTQ_ID_TEXT_BYTES];

    (void)state;
    dtq_id_format(&want, text);
    assert_string_equal(text, texts[0]);
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
        dtq_id read;

        assert_int_equal(dtq_id_parse(texts[i], &read), DTQ_OK);
        assert_true(dtqi_id_eq(&read, &want));
    }
}

static void a_text_that_is_no_id_is_refused_and_leaves_the_id_alone(void **state)
{
    static const char *const texts[] = {
        "",
        "018f3c5e",
        "018f3c5e-abcd-7ef0-8123-456789abcde",
        "018f3c5e-abcd-7ef0-8123-456789abcdef0",
        "018f3c5e-abcd-7ef0-8123-456789abcdeg",
        "018f3c5e-abcd-7ef08123-456789abcdef",
        "018f3c5-eabcd-7ef0-8123-456789abcdef",
        "018f3c5e--abcd-7ef0-8123-456789abcdef",
        " 018f3c5e-abcd-7ef0-8123-456789abcdef",
        "018f3c5e-abcd-7ef0-8123-456789abcdef\n",
        "{018f3c5e-abcd-7ef0-8123-456789abcdef}",
    };
    dtq_id id = {{42}};

    (void)state;
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(dtq_id_parse(texts[i], &id), DTQ_EINVAL);
    assert_int_equal(id.bytes[0], 42);
}

static void errors_states_and_reasons_have_names(void **state)
{
    (void)state;
    assert_string_equal(dtq_strerror(DTQ_OK), "done");
    assert_string_equal(dtq_errname(DTQ_EBUSY), "DTQ_EBUSY");
    assert_string_equal(dtq_errname((dtq_err)999), "?");
    assert_non_null(dtq_strerror((dtq_err)-1));
    assert_int_equal(dtq_err_is_retryable(DTQ_EBUSY), 1);
    assert_int_equal(dtq_err_is_retryable(DTQ_ETOOBIG), 0);
    assert_int_equal(dtq_err_is_retryable((dtq_err)999), 0);
    assert_string_equal(dtq_state_name(DTQ_SUCCEEDED), "succeeded");
    assert_string_equal(dtq_state_name((dtq_state)99), "?");
    assert_string_equal(dtq_reason_name(DTQ_REASON_OOM), "oom");
    assert_string_equal(dtq_reason_name((dtq_reason)99), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_is_a_uuid_of_version_7_with_the_time),
        cmocka_unit_test(ids_grow_within_a_millisecond),
        cmocka_unit_test(ids_grow_when_the_clock_goes_back),
        cmocka_unit_test(a_used_up_counter_goes_on_in_the_next_millisecond),
        cmocka_unit_test(two_generators_with_other_random_bits_make_other_ids),
        cmocka_unit_test(an_id_survives_formatting_and_parsing),
        cmocka_unit_test(an_id_is_read_with_and_without_dashes_in_any_case),
        cmocka_unit_test(a_text_that_is_no_id_is_refused_and_leaves_the_id_alone),
        cmocka_unit_test(errors_states_and_reasons_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
