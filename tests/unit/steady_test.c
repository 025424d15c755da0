/* The steady clock: what passes between two starts is told by the clock since boot, after a boot by
 * the wall clock as far as it can be believed. */
#include "steady.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define WALL_MS 1700000000000ull
#define DAY_MS (24ull * 3600 * 1000)
#define UP_MS 5000000ull

static const struct steady_mark last = {WALL_MS, {.boot = 7, .up_ms = UP_MS, .wall_ms = WALL_MS}};

static uint64_t started(const struct steady_mark *mark, uint64_t boot, uint64_t up_ms,
                        uint64_t wall_ms, bool is_empty)
{
    struct host_time now = {boot, up_ms, wall_ms};
    struct steady s;

    steady_start(&s, mark, &now, is_empty);
    return steady_ms(&s, &now);
}

static void the_first_start_goes_by_the_wall_clock(void **state)
{
    const struct steady_mark none = {0};

    (void)state;
    assert_int_equal(started(&none, 7, UP_MS, WALL_MS, false), WALL_MS);
}

static void it_goes_on_with_the_time_since_boot(void **state)
{
    const struct host_time from = {7, UP_MS, WALL_MS};
    const struct host_time to = {7, UP_MS + 1234, WALL_MS - DAY_MS};
    struct steady s;

    (void)state;
    steady_start(&s, &last, &from, false);
    assert_int_equal(steady_ms(&s, &to), WALL_MS + 1234);
    assert_int_equal(steady_mark(&s, &to).steady_ms, WALL_MS + 1234);
}

static void a_start_of_the_same_boot_knows_how_long_it_was_down(void **state)
{
    (void)state;
    assert_int_equal(started(&last, 7, UP_MS + 9000, WALL_MS + DAY_MS, false), WALL_MS + 9000);
    assert_int_equal(started(&last, 7, UP_MS + 9000, WALL_MS - DAY_MS, false), WALL_MS + 9000);
}

static void after_a_boot_the_wall_clock_tells(void **state)
{
    (void)state;
    assert_int_equal(started(&last, 8, 1000, WALL_MS + 60000, false), WALL_MS + 60000);
}

static void after_a_boot_into_the_past_it_goes_on_where_it_was(void **state)
{
    (void)state;
    assert_int_equal(started(&last, 8, 1000, WALL_MS - DAY_MS, false), WALL_MS);
}

/* Of a jump that was noted the clock on the disk knows. */
static void a_wall_clock_that_stays_wrong_over_a_boot_tells_too(void **state)
{
    const struct steady_mark mark = {WALL_MS, {7, UP_MS, WALL_MS + DAY_MS}};

    (void)state;
    assert_int_equal(started(&mark, 8, 1000, WALL_MS + DAY_MS + 60000, false), WALL_MS + 60000);
}

/* A number that is no boot's own, or a host that was put back to an old state. */
static void a_clock_since_boot_that_went_back_is_not_believed(void **state)
{
    (void)state;
    assert_int_equal(started(&last, 7, UP_MS - 1, WALL_MS + 60000, false), WALL_MS + 60000);
}

static void an_empty_store_follows_the_wall_clock_only_after_a_rest(void **state)
{
    const uint64_t rest_ms = DTQI_DEDUPE_WINDOW_MS;

    (void)state;
    assert_int_equal(started(&last, 7, UP_MS + rest_ms - 1, WALL_MS + DAY_MS, true),
                     WALL_MS + rest_ms - 1);
    assert_int_equal(started(&last, 7, UP_MS + rest_ms, WALL_MS + DAY_MS, true), WALL_MS + DAY_MS);
    assert_int_equal(started(&last, 7, UP_MS + rest_ms, WALL_MS - DAY_MS, true), WALL_MS - DAY_MS);
}

static void wall_clocks_without_sense_stay_within_what_an_id_holds(void **state)
{
    const struct steady_mark none = {0};

    (void)state;
    assert_true(started(&none, 7, UP_MS, UINT64_MAX, false) <= DTQI_WALL_MS_MAX);
    assert_true(started(&last, 8, UP_MS, UINT64_MAX, false) <= DTQI_WALL_MS_MAX);
}

static bool is_due(uint64_t boot, uint64_t passed_ms, int64_t jump_ms)
{
    struct steady_mark now = {WALL_MS + passed_ms,
                              {boot, UP_MS + passed_ms, WALL_MS + passed_ms + (uint64_t)jump_ms}};

    return steady_is_mark_due(&last, &now);
}

static void a_mark_is_made_again_after_a_while_a_jump_or_a_boot(void **state)
{
    (void)state;
    assert_false(is_due(7, STEADY_MARK_MS - 1, 0));
    assert_true(is_due(7, STEADY_MARK_MS, 0));
    assert_false(is_due(7, 0, STEADY_JUMP_MS - 1));
    assert_true(is_due(7, 0, STEADY_JUMP_MS));
    assert_false(is_due(7, 0, -(int64_t)STEADY_JUMP_MS + 1));
    assert_true(is_due(7, 0, -(int64_t)STEADY_JUMP_MS));
    assert_true(is_due(8, 0, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_start_goes_by_the_wall_clock),
        cmocka_unit_test(it_goes_on_with_the_time_since_boot),
        cmocka_unit_test(a_start_of_the_same_boot_knows_how_long_it_was_down),
        cmocka_unit_test(after_a_boot_the_wall_clock_tells),
        cmocka_unit_test(after_a_boot_into_the_past_it_goes_on_where_it_was),
        cmocka_unit_test(a_wall_clock_that_stays_wrong_over_a_boot_tells_too),
        cmocka_unit_test(a_clock_since_boot_that_went_back_is_not_believed),
        cmocka_unit_test(an_empty_store_follows_the_wall_clock_only_after_a_rest),
        cmocka_unit_test(wall_clocks_without_sense_stay_within_what_an_id_holds),
        cmocka_unit_test(a_mark_is_made_again_after_a_while_a_jump_or_a_boot),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
