/* The map from numbers to numbers, against a plain array. */
#include "nummap.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NUMBERS 200u

static void what_was_set_is_found_and_nothing_else(void **state)
{
    struct nummap m = {0};

    (void)state;
    assert_int_equal(nummap_get(&m, 1), NUMMAP_NONE);
    assert_true(nummap_set(&m, 1, 10));
    assert_true(nummap_set(&m, UINT64_MAX, 20));
    assert_true(nummap_set(&m, 0, 30));
    assert_true(nummap_set(&m, 1, 11));
    assert_int_equal(nummap_get(&m, 1), 11);
    assert_int_equal(nummap_get(&m, UINT64_MAX), 20);
    assert_int_equal(nummap_get(&m, 0), 30);
    assert_int_equal(nummap_get(&m, 2), NUMMAP_NONE);
    assert_int_equal(m.count, 3);
    nummap_done(&m);
}

static void removing_leaves_all_others(void **state)
{
    struct nummap m = {0};
    uint32_t value[NUMBERS]; /* NUMMAP_NONE: not there */
    uint64_t random = 1;

    (void)state;
    for (uint32_t i = 0; i < NUMBERS; i++)
        value[i] = NUMMAP_NONE;
    for (uint32_t round = 0; round < 20000; round++) {
        uint32_t n;

        random = dtqi_mix64(random + round);
        n = (uint32_t)(random % NUMBERS);
        if (random >> 32 & 1) {
            value[n] = round;
            assert_true(nummap_set(&m, n, round));
        } else {
            value[n] = NUMMAP_NONE;
            nummap_remove(&m, n);
        }
        if (round % 100 != 0)
            continue;
        for (uint32_t i = 0; i < NUMBERS; i++)
            assert_int_equal(nummap_get(&m, i), value[i]);
    }
    nummap_done(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_set_is_found_and_nothing_else),
        cmocka_unit_test(removing_leaves_all_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
