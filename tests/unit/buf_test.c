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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_aligned_and_does_not_overlap),
        cmocka_unit_test(the_last_holder_frees_it),
        cmocka_unit_test(the_bound_is_kept),
        cmocka_unit_test(a_size_that_overflows_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
