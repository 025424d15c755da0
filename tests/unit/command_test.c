#include "command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char why[1024];

/* The words with "|" between. */
static void expect_words(const char *text, const char *words)
{
    struct command c;
    char joined[512] = "";
    size_t n = 0;

    assert_int_equal(command_parse(text, &c, why, sizeof why), DTQ_OK);
    for (size_t i = 0; i < c.argc; i++)
        n += (size_t)snprintf(joined + n, sizeof joined - n, "%s%s", i > 0 ? "|" : "", c.argv[i]);
    assert_string_equal(joined, words);
    assert_null(c.argv[c.argc]);
    command_done(&c);
}

static void expect_error(const char *text, const char *part)
{
    struct command c;

    assert_int_equal(command_parse(text, &c, why, sizeof why), DTQ_EINVAL);
    assert_non_null(strstr(why, part));
    assert_non_null(strstr(why, text));
}

static void blanks_separate_words(void **state)
{
    (void)state;
    expect_words("tr a-z A-Z", "tr|a-z|A-Z");
    expect_words("  a\t b \n", "a|b");
    expect_words("a", "a");
}

static void quotes_hold_words_together(void **state)
{
    (void)state;
    expect_words("sh -c 'a | b \"c\" \\'", "sh|-c|a | b \"c\" \\");
    expect_words("a \"b \\\"c\\\" \\\\ \\n\"", "a|b \"c\" \\ \\n");
    expect_words("a\\ b c'd e'f", "a b|cd ef");
    expect_words("a '' \"\"", "a||");
}

static void nothing_else_is_special(void **state)
{
    (void)state;
    expect_words("a $B *.c > d; e `f`", "a|$B|*.c|>|d;|e|`f`");
}

static void what_makes_no_command_is_refused(void **state)
{
    (void)state;
    expect_error("", "empty");
    expect_error("   ", "empty");
    expect_error("''", "empty");
    expect_error("a 'b", "' is not closed");
    expect_error("a \"b", "\" is not closed");
    expect_error("a b\\", "last \\");
}

static void expect_found(const char *text, const char *search, const char *path)
{
    struct command c;

    assert_int_equal(command_parse(text, &c, why, sizeof why), DTQ_OK);
    assert_int_equal(command_find(&c, search, why, sizeof why), DTQ_OK);
    assert_string_equal(c.path, path);
    command_done(&c);
}

static void expect_not_found(const char *text, const char *search, const char *part)
{
    struct command c;

    assert_int_equal(command_parse(text, &c, why, sizeof why), DTQ_OK);
    assert_int_equal(command_find(&c, search, why, sizeof why), DTQ_ENOTFOUND);
    assert_non_null(strstr(why, part));
    command_done(&c);
}

static void a_command_is_found_in_the_search_path(void **state)
{
    (void)state;
    expect_found("sh -c x", "/nowhere::/bin", "/bin/sh");
    expect_found("sh", NULL, access("/usr/bin/sh", X_OK) == 0 ? "/usr/bin/sh" : "/bin/sh");
    expect_found("/bin/sh", "", "/bin/sh");
}

static void a_command_that_is_not_there_is_named(void **state)
{
    (void)state;
    expect_not_found("no-such-command a", "/bin:/usr/bin", "'no-such-command' in PATH");
    expect_not_found("/no/such/file a", "/bin", "'/no/such/file' cannot be executed: No such file");
    expect_not_found("/tmp", "/bin", "Permission denied"); /* a directory */
}

static void a_file_that_may_not_be_executed_is_passed_over(void **state)
{
    char dir[] = "/tmp/command_test.XXXXXX";
    char path[64];
    FILE *f;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/sh", dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    snprintf(why, sizeof why, "%s:/bin", dir);
    expect_found("sh", strdupa(why), "/bin/sh");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void a_relative_command_is_found_wherever_the_directory_changes_to(void **state)
{
    char *before = getcwd(NULL, 0);
    char *sh = realpath("/bin/sh", NULL);

    (void)state;
    assert_int_equal(chdir("/"), 0);
    expect_found("./bin/sh", "", sh);
    assert_int_equal(chdir(before), 0);
    free(before);
    free(sh);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blanks_separate_words),
        cmocka_unit_test(quotes_hold_words_together),
        cmocka_unit_test(nothing_else_is_special),
        cmocka_unit_test(what_makes_no_command_is_refused),
        cmocka_unit_test(a_command_is_found_in_the_search_path),
        cmocka_unit_test(a_command_that_is_not_there_is_named),
        cmocka_unit_test(a_file_that_may_not_be_executed_is_passed_over),
        cmocka_unit_test(a_relative_command_is_found_wherever_the_directory_changes_to),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
