/* The module as a worker loads it, with a context of the test's own. */
#include <dtq/handler.h>

#include <dlfcn.h>
#include <setjmp.h>
#include <stdio.h>

#include <cmocka.h>

struct context {
    dtq_context public;
    char result[64];
    char text[256];
    int no_retry;
    int is_cancelled;
};

static int set_result(dtq_context *ctx, const void *data, size_t bytes)
{
    struct context *c = (struct context *)ctx;

    assert_true(bytes < sizeof c->result);
    memcpy(c->result, data, bytes);
    c->result[bytes] = 0;
    return 0;
}

static void set_fail(dtq_context *ctx, const char *text, size_t bytes)
{
    struct context *c = (struct context *)ctx;

    snprintf(c->text, sizeof c->text, "%.*s", (int)bytes, text);
}

__attribute__((format(printf, 2, 0))) static void set_failv(dtq_context *ctx, const char *format,
                                                            va_list args)
{
    struct context *c = (struct context *)ctx;

    vsnprintf(c->text, sizeof c->text, format, args);
}

static void set_no_retry(dtq_context *ctx)
{
    ((struct context *)ctx)->no_retry = 1;
}

static int is_cancelled(const dtq_context *ctx)
{
    return ((const struct context *)ctx)->is_cancelled;
}

static const dtq_context_api api = {
    .result = set_result,
    .fail = set_fail,
    .failv = set_failv,
    .no_retry = set_no_retry,
    .cancelled = is_cancelled,
};

static dtq_handler_fn *check;

static int load(void **state)
{
    void *module = dlopen(PRIMES_MODULE, RTLD_NOW | RTLD_LOCAL);
    const dtq_module_info *info = module != NULL ? dlsym(module, "dtq_module") : NULL;

    (void)state;
    if (info == NULL) {
        print_error("%s\n", dlerror());
        return -1;
    }
    assert_int_equal(info->abi, DTQ_HANDLER_ABI);
    assert_int_equal(info->handlers_n, 1);
    assert_string_equal(info->handlers[0].name, "primes.check");
    check = info->handlers[0].run;
    return 0;
}

static void expect(const char *number, const char *result)
{
    struct context c = {.public = {&api}};

    assert_int_equal(check(&c.public, number, strlen(number)), 0);
    assert_string_equal(c.result, result);
}

static void expect_failure(const char *payload, const char *text)
{
    struct context c = {.public = {&api}};

    assert_int_not_equal(check(&c.public, payload, strlen(payload)), 0);
    assert_true(c.no_retry);
    if (strstr(c.text, text) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", text, c.text);
}

/* The smallest factor of n, or n itself; the obvious way. */
static unsigned long obvious(unsigned long n)
{
    for (unsigned long d = 2; d * d <= n; d++)
        if (n % d == 0)
            return d;
    return n;
}

static void expect_as_obvious(unsigned long n)
{
    char number[32];
    char result[32];

    snprintf(number, sizeof number, "%lu", n);
    snprintf(result, sizeof result, "%lu", obvious(n));
    expect(number, obvious(n) == n ? "prime" : result);
}

static void small_numbers_are_right(void **state)
{
    (void)state;
    for (unsigned long n = 2; n < 20000; n++)
        expect_as_obvious(n);
}

/* Where the exact division ends and the fast one begins, and squares of primes around there. */
static void numbers_around_the_change_of_method_are_right(void **state)
{
    (void)state;
    for (unsigned long n = 4050UL * 4050; n < 4050UL * 4050 + 3000; n++)
        expect_as_obvious(n);
    for (unsigned long d = 4051; d < 4200; d++) {
        expect_as_obvious(d * d);
        expect_as_obvious(d * (d + 2));
        expect_as_obvious(d * 999983);
    }
}

static void the_numbers_of_the_exercise_are_right(void **state)
{
    (void)state;
    expect("2", "prime");
    expect("142702110479723", "prime");
    expect("299593572317531", "prime");
    expect("3333333333333301", "prime");
    expect("3333333333333333", "3");
    expect("3333335652092209", "57735047"); /* its square */
    expect("4444444444444423", "prime");
    expect("4444444444444444", "2");
    expect("4444444488888889", "66666667"); /* its square */
    expect("5555553133149889", "74535583"); /* its square */
    expect("5555555555555503", "prime");
    expect("5555555555555555", "5");
    expect("6666666666666666", "2");
    expect("6666666666666719", "prime");
    expect("6666667141414921", "81649661"); /* its square */
    expect("7777777536340681", "88191709"); /* its square */
    expect("7777777777777753", "prime");
    expect("7777777777777777", "7");
    expect("9999999999999917", "prime");
    expect("9999999999999999", "3");
}

static void the_largest_numbers_are_right(void **state)
{
    (void)state;
    expect("9999999999999999999", "3");
    expect("9999999999999999997", "7");
    expect("9999999828172082689",
           "3162277633"); /* the square of the largest prime below its root */
    expect("9999999999999999961", "prime");
}

static void a_payload_that_is_no_number_fails_for_good(void **state)
{
    (void)state;
    expect_failure("", "not a decimal number of 1 to 19 digits: ''");
    expect_failure("seven", "'seven'");
    expect_failure("-7", "'-7'");
    expect_failure("7 ", "'7 '");
    expect_failure("7\n\n", "not a decimal");
    expect_failure("0x7", "not a decimal");
    expect_failure("10000000000000000000", "19 digits");
    expect_failure("0", "0 is neither");
    expect_failure("1", "1 is neither");
    expect("0007\n", "prime");
}

static void it_stops_when_nobody_waits(void **state)
{
    struct context c = {.public = {&api}, .is_cancelled = 1};
    static const char number[] = "9999999999999999961";

    (void)state;
    assert_int_not_equal(check(&c.public, number, sizeof number - 1), 0);
    assert_string_equal(c.text, "cancelled");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_numbers_are_right),
        cmocka_unit_test(numbers_around_the_change_of_method_are_right),
        cmocka_unit_test(the_numbers_of_the_exercise_are_right),
        cmocka_unit_test(the_largest_numbers_are_right),
        cmocka_unit_test(a_payload_that_is_no_number_fails_for_good),
        cmocka_unit_test(it_stops_when_nobody_waits),
    };

    return cmocka_run_group_tests(tests, load, NULL);
}
