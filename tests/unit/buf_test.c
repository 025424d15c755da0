#include "buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void memory_is_aligned_and_does_not_overlap(void **state)
{
    struct dtqi_buf *b = dtqi_buf_new(100, SIZE_MAX);
    unsigned char *at[200];

    (void)state;
    for (size_t i = 0; i < 200; i++) {
        at[i] = dtqi_buf_alloc(b, i);
        assert_non_null(at[i]);
        assert_int_equal((uintptr_t)at[i] % 16, 0);
        memset(at[i], (int)i, i);
    }
    for (size_t i = 0; i < 200; i++)
        for (size_t k = 0; k < i; k++)
            assert_int_equal(at[i][k], i);
    dtqi_buf_unref(b);
}

static void the_last_holder_frees_it(void **state)
{
    struct dtqi_buf *b = dtqi_buf_new(0, SIZE_MAX);
    char *at = dtqi_buf_alloc(b, 10);

    (void)state;
    assert_ptr_equal(dtqi_buf_ref(b), b);
    dtqi_buf_unref(b);
    at[9] = 1; /* still there: a sanitizer would tell */
    dtqi_buf_unref(b);
    dtqi_buf_unref(NULL);
}

static void the_bound_is_kept(void **state)
{
    struct dtqi_buf *b = dtqi_buf_new(16, 64);

    (void)state;
    assert_non_null(dtqi_buf_alloc(b, 33)); /* 48 */
    assert_null(dtqi_buf_alloc(b, 17));
    assert_non_null(dtqi_buf_alloc(b, 16));
    assert_null(dtqi_buf_alloc(b, 1));
    dtqi_buf_unref(b);
}

static void a_size_that_overflows_is_refused(void **state)
{
    struct dtqi_buf *b = dtqi_buf_new(16, SIZE_MAX);

    (void)state;
    assert_null(dtqi_buf_alloc(b, SIZE_MAX));
    assert_null(dtqi_buf_alloc(b, SIZE_MAX - 15));
    dtqi_buf_unref(b);
}

#ifdef DTQI_HAS_ASAN
static void what_is_not_given_out_may_not_be_touched(void **state)
{
    struct dtqi_buf *b = dtqi_buf_new(100, SIZE_MAX);
    char *at = dtqi_buf_alloc(b, 10);

    (void)state;
    assert_true(dtqi_is_readable(at + 9));
    assert_false(dtqi_is_readable(at + 10));
    assert_ptr_equal(dtqi_buf_alloc(b, 10), at + 16);
    dtqi_buf_reset(b);
    assert_false(dtqi_is_readable(at));
    assert_ptr_equal(dtqi_buf_alloc(b, 4), at);
    assert_true(dtqi_is_readable(at + 3));
    assert_false(dtqi_is_readable(at + 4));
    dtqi_buf_unref(b);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_aligned_and_does_not_overlap),
        cmocka_unit_test(the_last_holder_frees_it),
        cmocka_unit_test(the_bound_is_kept),
        cmocka_unit_test(a_size_that_overflows_is_refused),
#ifdef DTQI_HAS_ASAN
        cmocka_unit_test(what_is_not_given_out_may_not_be_touched),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
