#include "handlers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static char why[HANDLERS_WHY_BYTES];

static void expect_exec_error(struct handlers *h, const char *definition, dtq_err err,
                              const char *part)
{
    assert_int_equal(handlers_add_exec(h, definition, why, sizeof why), err);
    assert_non_null(strstr(why, part));
}

static void expect_module_error(const char *path, dtq_err err, const char *part)
{
    struct handlers h = {0};

    assert_int_equal(handlers_add_module(&h, path, why, sizeof why), err);
    if (strstr(why, part) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", part, why);
    assert_non_null(strstr(why, path));
    handlers_done(&h);
}

static void commands_are_found_by_their_names(void **state)
{
    struct handlers h = {0};
    const struct handler *upper;

    (void)state;
    assert_int_equal(handlers_add_exec(&h, "upper=tr a-z A-Z", why, sizeof why), DTQ_OK);
    assert_int_equal(handlers_add_exec(&h, "x.y:z-1=sh -c 'a=b'", why, sizeof why), DTQ_OK);
    upper = handlers_find(&h, dtqi_str("upper"));
    assert_non_null(upper);
    assert_string_equal(upper->command.argv[0], "tr");
    assert_int_equal(upper->command.argc, 3);
    assert_string_equal(handlers_find(&h, dtqi_str("x.y:z-1"))->command.argv[2], "a=b");
    assert_null(handlers_find(&h, dtqi_str("uppe")));
    assert_null(handlers_find(&h, dtqi_str("upper2")));
    handlers_done(&h);
}

static void a_definition_that_is_no_good_is_named_with_its_cause(void **state)
{
    struct handlers h = {0};

    (void)state;
    assert_int_equal(handlers_add_exec(&h, "a=true", why, sizeof why), DTQ_OK);
    expect_exec_error(&h, "a=false", DTQ_EINVAL,
                      "there is a handler 'a' already, of exec 'a=true'");
    expect_exec_error(&h, "tr a-z A-Z", DTQ_EINVAL, "not NAME=COMMAND");
    expect_exec_error(&h, "b c=true", DTQ_EINVAL, "'b c' is not a name");
    expect_exec_error(&h, "=true", DTQ_EINVAL, "'' is not a name");
    expect_exec_error(&h, "b=", DTQ_EINVAL, "empty");
    expect_exec_error(&h, "b=sh 'x", DTQ_EINVAL, "not closed");
    expect_exec_error(&h, "b=no-such-command", DTQ_ENOTFOUND, "no command 'no-such-command'");
    assert_int_equal(h.n, 1);
    handlers_done(&h);
}

static void a_module_brings_its_handlers(void **state)
{
    struct handlers h = {0};
    char *names;

    (void)state;
    assert_int_equal(handlers_add_module(&h, HANDLERS_MODULE, why, sizeof why), DTQ_OK);
    names = handlers_names(&h, ",");
    assert_string_equal(names, "echo,noop,sleep,fail,flaky,crash");
    free(names);
    assert_int_equal(handlers_add_exec(&h, "echo=cat", why, sizeof why), DTQ_EINVAL);
    assert_non_null(strstr(why, "there is a handler 'echo' already, of module " HANDLERS_MODULE));
    handlers_done(&h);
}

static void a_module_that_is_no_good_is_named_with_its_cause(void **state)
{
    char abi[128];

    (void)state;
    snprintf(abi, sizeof abi, "built for handler ABI %u, this worker speaks %u",
             DTQ_HANDLER_ABI + 1, DTQ_HANDLER_ABI);
    expect_module_error("/no/such/module.so", DTQ_ENOTFOUND, "No such file");
    expect_module_error("/etc/passwd", DTQ_EINVAL, "cannot be loaded");
    expect_module_error(BAD_MODULE "1.so", DTQ_EVERSION, abi);
    expect_module_error(BAD_MODULE "2.so", DTQ_EINVAL, "no symbol dtq_module");
    expect_module_error(BAD_MODULE "3.so", DTQ_EINVAL, "there is a handler 'a' already");
    expect_module_error(BAD_MODULE "4.so", DTQ_EINVAL, "'a b' is not a name");
    expect_module_error(BAD_MODULE "6.so", DTQ_EINVAL, "the model file is missing");
    expect_module_error(BAD_MODULE "7.so", DTQ_EINVAL, "nobody_has_this");
    expect_module_error(BAD_MODULE "8.so", DTQ_EINVAL, "no name or no function");
    expect_module_error(BAD_MODULE "9.so", DTQ_EINVAL, "no handlers");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_are_found_by_their_names),
        cmocka_unit_test(a_definition_that_is_no_good_is_named_with_its_cause),
        cmocka_unit_test(a_module_brings_its_handlers),
        cmocka_unit_test(a_module_that_is_no_good_is_named_with_its_cause),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
