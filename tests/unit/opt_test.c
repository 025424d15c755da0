/* common/opt: one table drives the command line, the environment, the configuration file and help.
 */
#include "log.h"
#include "opt.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct values {
    const char *bind;
    const char *name;
    const char *data;
    struct opt_strings modules;
    struct opt_strings queues;
    uint64_t slots;
    bool slots_given;
    double rate;
    uint64_t heartbeat_ms;
    uint64_t limit_bytes;
    uint64_t eta_wall_ms;
    struct opt_range ports;
    int durability;
    bool insecure;
    struct opt_ventilator ventilator;
};

static const char *const durability_words[] = {"sync", "async", NULL};

static const struct opt table[] = {
    {.name = "bind",
     .type = OPT_ENDPOINT,
     OPT_AT(struct values, bind),
     .meta = "ENDPOINT",
     .initial = "tcp://127.0.0.1:5570",
     .help = "where to listen"},
    {.name = "name",
     .letter = 'n',
     .type = OPT_STRING,
     OPT_AT(struct values, name),
     .meta = "NAME",
     .help = "a name"},
    {.name = "data",
     .type = OPT_PATH,
     OPT_AT(struct values, data),
     .meta = "DIR",
     .help = "a directory"},
    {.name = "module",
     .letter = 'm',
     .type = OPT_STRINGS,
     OPT_AT(struct values, modules),
     .meta = "FILE",
     .help = "a module"},
    {.name = "queues",
     .letter = 'Q',
     .type = OPT_NAMES,
     OPT_AT(struct values, queues),
     .meta = "A,B",
     .help = "queues"},
    {.name = "concurrency",
     .letter = 'c',
     .type = OPT_INTEGER,
     OPT_AT(struct values, slots),
     OPT_GIVEN(struct values, slots_given),
     .meta = "N",
     .min = 1,
     .max = 1024,
     .initial = "2",
     .help = "slots"},
    {.name = "rate",
     .type = OPT_NUMBER,
     OPT_AT(struct values, rate),
     .meta = "N",
     .max = 10,
     .initial = "1",
     .help = "a rate"},
    {.name = "heartbeat",
     .type = OPT_DURATION,
     OPT_AT(struct values, heartbeat_ms),
     .meta = "DURATION",
     .min = 50,
     .max = 60000,
     .initial = "1s",
     .help = "an interval"},
    {.name = "max-bytes",
     .type = OPT_SIZE,
     OPT_AT(struct values, limit_bytes),
     .meta = "SIZE",
     .min = 1024,
     .initial = "64k",
     .help = "a limit"},
    {.name = "eta",
     .type = OPT_TIME,
     OPT_AT(struct values, eta_wall_ms),
     .meta = "TIME",
     .help = "a time"},
    {.name = "lane-ports",
     .type = OPT_RANGE,
     OPT_AT(struct values, ports),
     .meta = "LO-HI",
     .min = 1,
     .max = 65535,
     .initial = "20000-29999",
     .help = "ports"},
    {.name = "durability",
     .type = OPT_ENUM,
     OPT_AT(struct values, durability),
     .words = durability_words,
     .initial = "sync",
     .help = "how durable"},
    {.name = "insecure",
     .letter = 'i',
     .type = OPT_FLAG,
     OPT_AT(struct values, insecure),
     .help = "a flag"},
};

/* One parse: its values, its status and what it printed. */
struct fixture {
    struct values values;
    struct opt_group groups[2];
    struct opt_spec spec;
    struct opt_result result;
    char out[16384];
    char err[4096];
    char dir[64];
};

static int open_fixture(void **state)
{
    static const char *const variables[] = {"DTQ_BIND",     "DTQ_CONCURRENCY", "DTQ_LANE_PORTS",
                                            "DTQ_INSECURE", "DTQ_MODULE",      "DTQ_CONFIG"};
    struct fixture *f = calloc(1, sizeof *f);

    strcpy(f->dir, "/tmp/dtq-opt-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        unsetenv(variables[i]);
    setenv("XDG_CONFIG_HOME", f->dir, 1);
    f->groups[0] = (struct opt_group){.title = "Options", OPT_TABLE(table), .values = &f->values};
    f->groups[1] = (struct opt_group){.title = "Peers",
                                      .opts = opt_ventilator_table,
                                      .opts_n = opt_ventilator_table_n,
                                      .values = &f->values.ventilator};
    f->spec = (struct opt_spec){.program = "dtq-thing",
                                .usage = "[OPTION...] FILE\n--other",
                                .summary = "Does things.",
                                .groups = f->groups,
                                .groups_n = 2,
                                .operands_max = SIZE_MAX};
    *state = f;
    return 0;
}

static int close_fixture(void **state)
{
    struct fixture *f = *state;
    char command[128];

    opt_done(&f->result);
    snprintf(command, sizeof command, "rm -rf %s", f->dir);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static int catch_output(FILE *stream, int fd)
{
    int saved = dup(fd);
    int file = memfd_create("output", 0);

    fflush(stream);
    dup2(file, fd);
    close(file);
    return saved;
}

static void release_output(FILE *stream, int fd, int saved, char *text, size_t bytes)
{
    ssize_t n;

    fflush(stream);
    n = pread(fd, text, bytes - 1, 0);
    text[n < 0 ? 0 : n] = '\0';
    dup2(saved, fd);
    close(saved);
}

/* Parses words divided by spaces. */
static int parse(struct fixture *f, const char *line)
{
    static char words[1024];
    char *argv[64] = {(char *)(uintptr_t) "dtq-thing"};
    int argc = 1;
    int out;
    int err;
    int status;

    snprintf(words, sizeof words, "%s", line);
    for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " "))
        argv[argc++] = word;
    opt_done(&f->result);
    out = catch_output(stdout, STDOUT_FILENO);
    err = catch_output(stderr, STDERR_FILENO);
    status = opt_parse(&f->spec, argc, argv, &f->result);
    release_output(stderr, STDERR_FILENO, err, f->err, sizeof f->err);
    release_output(stdout, STDOUT_FILENO, out, f->out, sizeof f->out);
    return status;
}

static void write_config(struct fixture *f, const char *text)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof path, "%s/dtq", f->dir);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/dtq/dtq.conf", f->dir);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void expect_error(struct fixture *f, const char *line, const char *sentence)
{
    char expected[512];

    snprintf(expected, sizeof expected, "dtq-thing: %s\nTry 'dtq-thing --help'.\n", sentence);
    assert_int_equal(parse(f, line), 2);
    assert_string_equal(f->err, expected);
    assert_string_equal(f->out, "");
}

static void defaults_fill_what_nobody_gave(void **state)
{
    struct fixture *f = *state;

    memset(&f->values, 0xAA, sizeof f->values);
    assert_int_equal(parse(f, ""), OPT_GO);
    assert_string_equal(f->values.bind, "tcp://127.0.0.1:5570");
    assert_null(f->values.name);
    assert_int_equal(f->values.modules.n, 0);
    assert_int_equal(f->values.slots, 2);
    assert_false(f->values.slots_given);
    assert_int_equal(f->values.heartbeat_ms, 1000);
    assert_int_equal(f->values.limit_bytes, 65536);
    assert_int_equal(f->values.eta_wall_ms, 0);
    assert_int_equal(f->values.ports.lo, 20000);
    assert_int_equal(f->values.ports.hi, 29999);
    assert_int_equal(f->values.durability, 0);
    assert_false(f->values.insecure);
    assert_int_equal(f->values.ventilator.endpoints.n, 1);
    assert_string_equal(f->values.ventilator.endpoints.at[0], "tcp://127.0.0.1:5570");
    assert_null(f->result.config_path);
}

static void options_are_given_in_every_usual_way(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(parse(f, "--bind tcp://*:* --name=x=y -c4 -iQ a,b --queues c --rate 2.5 "
                              "--eta 1970-01-01T00:00:01Z --durability async --lane-ports 7"),
                     OPT_GO);
    assert_string_equal(f->values.bind, "tcp://*:*");
    assert_string_equal(f->values.name, "x=y");
    assert_int_equal(f->values.slots, 4);
    assert_true(f->values.slots_given);
    assert_true(f->values.insecure);
    assert_int_equal(f->values.queues.n, 3);
    assert_string_equal(f->values.queues.at[2], "c");
    assert_true(f->values.rate == 2.5);
    assert_int_equal(f->values.eta_wall_ms, 1000);
    assert_int_equal(f->values.durability, 1);
    assert_int_equal(f->values.ports.lo, 7);
    assert_int_equal(f->values.ports.hi, 7);
}

static void the_last_of_a_single_option_counts_and_all_of_a_list(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(parse(f, "-c 1 -c 3 -m a,b --module c"), OPT_GO);
    assert_int_equal(f->values.slots, 3);
    assert_int_equal(f->values.modules.n, 2);
    assert_string_equal(f->values.modules.at[0], "a,b");
    assert_string_equal(f->values.modules.at[1], "c");
}

static void a_flag_can_be_taken_back(void **state)
{
    struct fixture *f = *state;

    setenv("DTQ_INSECURE", "yes", 1);
    assert_int_equal(parse(f, ""), OPT_GO);
    assert_true(f->values.insecure);
    assert_int_equal(parse(f, "--insecure=no"), OPT_GO);
    assert_false(f->values.insecure);
}

static void operands_stand_anywhere_and_dashes_end_options(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(parse(f, "a -c 4 b - -- -c --module"), OPT_GO);
    assert_int_equal(f->result.operands_n, 5);
    assert_string_equal(f->result.operands[1], "b");
    assert_string_equal(f->result.operands[2], "-");
    assert_string_equal(f->result.operands[3], "-c");
    assert_int_equal(f->result.dashes_at, 3);
    assert_int_equal(parse(f, "a"), OPT_GO);
    assert_int_equal(f->result.dashes_at, SIZE_MAX);
}

static void a_command_takes_the_rest_of_the_line(void **state)
{
    struct fixture *f = *state;

    f->spec.stop_at_operand = true;
    assert_int_equal(parse(f, "-c 4 submit -c 5 --nonsense"), OPT_GO);
    assert_int_equal(f->values.slots, 4);
    assert_int_equal(f->result.operands_n, 4);
    assert_string_equal(f->result.operands[0], "submit");
    assert_string_equal(f->result.operands[3], "--nonsense");
}

static void too_few_and_too_many_operands_are_refused(void **state)
{
    struct fixture *f = *state;

    f->spec.operands_min = 1;
    f->spec.operands_max = 2;
    expect_error(f, "",
                 "something is missing; usage:\n  dtq-thing [OPTION...] FILE\n  dtq-thing --other");
    f->spec.usage = "[OPTION...] FILE";
    expect_error(f, "", "something is missing; usage: dtq-thing [OPTION...] FILE");
    assert_int_equal(parse(f, "a b"), OPT_GO);
    expect_error(f, "a b c", "unexpected argument 'c'");
}

static void the_command_line_beats_the_environment_beats_the_file(void **state)
{
    struct fixture *f = *state;

    write_config(f, "concurrency = 10\n");
    assert_int_equal(parse(f, ""), OPT_GO);
    assert_int_equal(f->values.slots, 10);
    assert_true(f->values.slots_given);
    setenv("DTQ_CONCURRENCY", "20", 1);
    assert_int_equal(parse(f, ""), OPT_GO);
    assert_int_equal(f->values.slots, 20);
    assert_int_equal(parse(f, "-c 30"), OPT_GO);
    assert_int_equal(f->values.slots, 30);
}

static void an_empty_variable_is_not_set(void **state)
{
    struct fixture *f = *state;

    setenv("DTQ_CONCURRENCY", "", 1);
    assert_int_equal(parse(f, ""), OPT_GO);
    assert_int_equal(f->values.slots, 2);
}

static void a_list_in_the_environment_has_one_value_a_line(void **state)
{
    struct fixture *f = *state;

    setenv("DTQ_MODULE", "a,b\nc d", 1);
    assert_int_equal(parse(f, ""), OPT_GO);
    assert_int_equal(f->values.modules.n, 2);
    assert_string_equal(f->values.modules.at[0], "a,b");
    assert_string_equal(f->values.modules.at[1], "c d");
    assert_int_equal(parse(f, "-m x"), OPT_GO);
    assert_int_equal(f->values.modules.n, 1);
}

static void a_section_of_the_file_beats_its_top(void **state)
{
    struct fixture *f = *state;

    write_config(f, "dtq-thing\n    concurrency = 7   # mine\n    module = x\n    module = 'y z'\n"
                    "dtq-worker\n    concurrency = 9\n"
                    "concurrency = 8\nheartbeat = \"2s\"\nmodule = top\nmax-backlog-tasks = 1\n");
    assert_int_equal(parse(f, ""), OPT_GO);
    assert_int_equal(f->values.slots, 7);
    assert_int_equal(f->values.heartbeat_ms, 2000);
    assert_int_equal(f->values.modules.n, 2);
    assert_string_equal(f->values.modules.at[1], "y z");
}

static void the_file_can_be_named(void **state)
{
    struct fixture *f = *state;
    char line[160];

    write_config(f, "concurrency = 10\n");
    snprintf(line, sizeof line, "--config %s/dtq/dtq.conf", f->dir);
    setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
    setenv("HOME", "/nonexistent", 1);
    assert_int_equal(parse(f, line), OPT_GO);
    assert_int_equal(f->values.slots, 10);
    assert_non_null(strstr(f->result.config_path, "/dtq/dtq.conf"));
    expect_error(f, "--config /nonexistent/x",
                 "/nonexistent/x: cannot read it: No such file or directory");
}

static void a_section_of_which_all_is_commented_out_is_no_key(void **state)
{
    struct fixture *f = *state;

    write_config(f, "dtq-thing\n#    concurrency = 1\n\ndtq-other\ndtq\nconcurrency = 10\n");
    assert_int_equal(parse(f, ""), OPT_GO);
    assert_int_equal(f->values.slots, 10);
}

static void a_bad_file_is_refused_by_line_and_nothing_goes_to_stdout(void **state)
{
    struct fixture *f = *state;
    char sentence[200];
    char *text = calloc(1, 70000);

    write_config(f, "concurrency = 1\n  name = x\n");
    snprintf(sentence, sizeof sentence, "%s/dtq/dtq.conf: line 2: indent 4 spaces at once", f->dir);
    expect_error(f, "", sentence);

    write_config(f, "dtq-thing\n    concurency = 1\n");
    snprintf(sentence, sizeof sentence,
             "%s/dtq/dtq.conf: dtq-thing has no option 'concurency'; did you mean 'concurrency'?",
             f->dir);
    expect_error(f, "", sentence);

    write_config(f, "dtq-wroker\n    concurrency = 1\n");
    snprintf(sentence, sizeof sentence,
             "%s/dtq/dtq.conf: the section 'dtq-wroker' is no program's of dtq; did you mean "
             "'dtq-worker'?",
             f->dir);
    expect_error(f, "", sentence);

    write_config(f, "concurency = 8\n");
    snprintf(sentence, sizeof sentence,
             "%s/dtq/dtq.conf: no program of dtq takes 'concurency' from a file; did you mean "
             "'concurrency'?",
             f->dir);
    expect_error(f, "", sentence);

    write_config(f, "dtq-thing\n    concurrency = 8\nfrobnicate = 8\n");
    snprintf(sentence, sizeof sentence,
             "%s/dtq/dtq.conf: no program of dtq takes 'frobnicate' from a file", f->dir);
    expect_error(f, "", sentence);

    write_config(f, "concurrency = 0\n");
    snprintf(sentence, sizeof sentence,
             "%s/dtq/dtq.conf: concurrency: '0' is out of bounds; allowed is 1 to 1024", f->dir);
    expect_error(f, "", sentence);

    memset(text, 'x', 2000);
    write_config(f, text);
    snprintf(sentence, sizeof sentence, "%s/dtq/dtq.conf: line 1: longer than 1000 bytes", f->dir);
    expect_error(f, "", sentence);

    for (size_t i = 0; i < 69999; i++)
        text[i] = i % 2 == 0 ? 'x' : '\n';
    write_config(f, text);
    snprintf(sentence, sizeof sentence, "%s/dtq/dtq.conf: it is larger than 64 KiB", f->dir);
    expect_error(f, "", sentence);
    free(text);
}

static void errors_name_the_option_the_value_and_what_is_allowed(void **state)
{
    struct fixture *f = *state;

    expect_error(f, "--concurency 4", "unknown option --concurency; did you mean --concurrency?");
    expect_error(f, "--frobnicate=1", "unknown option --frobnicate");
    expect_error(f, "-x", "unknown option -x");
    expect_error(f, "--concurrency", "--concurrency: a value is missing (N)");
    expect_error(f, "-c x", "--concurrency: 'x' is not a whole number");
    expect_error(f, "-c 1025", "--concurrency: '1025' is out of bounds; allowed is 1 to 1024");
    expect_error(f, "--rate x", "--rate: 'x' is not a number like 2 or 0.5");
    expect_error(f, "--rate 11", "--rate: '11' is out of bounds; allowed is 0 to 10");
    expect_error(f, "--heartbeat 5x",
                 "--heartbeat: '5x' is not a duration; write it like 250ms, 30s, 5m, 1h30m or 7d");
    expect_error(f, "--heartbeat 1h", "--heartbeat: '1h' is out of bounds; allowed is 50ms to 1m");
    expect_error(f, "--max-bytes 1", "--max-bytes: '1' is too small; allowed is 1k or more");
    expect_error(f, "--max-bytes x",
                 "--max-bytes: 'x' is not a size; write it like 4096, 64k, 16m or 1g");
    expect_error(f, "--eta soon",
                 "--eta: 'soon' is not a time; write it like 2026-11-22T23:00:00Z "
                 "or 2026-11-22T23:00:00+01:00");
    expect_error(f, "--lane-ports 9-8",
                 "--lane-ports: '9-8' is not a range: its end is before its beginning");
    expect_error(f, "--lane-ports 0-8",
                 "--lane-ports: '0-8' is out of bounds; allowed is 1 to 65535");
    expect_error(f, "--durability maybe", "--durability: 'maybe' is not one of sync, async");
    expect_error(f, "--insecure=maybe", "--insecure: 'maybe' is neither yes nor no");
    expect_error(f, "-Q a,,b",
                 "--queues: '' is not a name: 1 to 128 letters, digits or any of "
                 "_ . : - are allowed");
    expect_error(f, "--bind 5570",
                 "--bind: '5570' is not an endpoint like tcp://host:5570: it must "
                 "begin with tcp:// or ipc://");
    expect_error(f, "-V tcp://*:1",
                 "--ventilator: 'tcp://*:1' is not an endpoint like "
                 "tcp://host:5570: a wildcard is no host to connect to");
    setenv("DTQ_LANE_PORTS", "x", 1);
    expect_error(f, "", "DTQ_LANE_PORTS: 'x' is not a range like 20000-29999");
}

static void more_than_one_ventilator_is_refused_clearly(void **state)
{
    struct fixture *f = *state;
    int saved;

    assert_int_equal(parse(f, "-V tcp://a:1,tcp://b:2"), OPT_GO);
    saved = catch_output(stderr, STDERR_FILENO);
    assert_int_equal(opt_ventilator_check(&f->spec, &f->values.ventilator), 2);
    release_output(stderr, STDERR_FILENO, saved, f->err, sizeof f->err);
    assert_non_null(strstr(f->err, "one ventilator only"));
    assert_int_equal(parse(f, "-V tcp://a:1"), OPT_GO);
    assert_int_equal(opt_ventilator_check(&f->spec, &f->values.ventilator), OPT_GO);
}

static void help_and_version_work_whatever_else_is_wrong(void **state)
{
    struct fixture *f = *state;

    write_config(f, "   broken\n");
    setenv("DTQ_LANE_PORTS", "x", 1);
    assert_int_equal(parse(f, "--help"), 0);
    assert_non_null(
        strstr(f->out, "Usage: dtq-thing [OPTION...] FILE\n       dtq-thing --other\n"));
    assert_non_null(strstr(f->out, "  -c, --concurrency N         slots (default 2)\n"));
    assert_non_null(strstr(f->out, "      --durability sync|async\n                              "
                                   "how durable (default sync)\n"));
    assert_string_equal(f->err, "");
    assert_int_equal(parse(f, "--version"), 0);
    assert_string_equal(f->out, "dtq-thing " DTQ_VERSION "\n");
}

static void a_group_without_a_title_goes_on_with_the_one_before(void **state)
{
    struct fixture *f = *state;

    f->groups[1].title = NULL;
    assert_int_equal(parse(f, "--help"), 0);
    assert_non_null(strstr(f->out, "\n  -V, --ventilator"));
    assert_null(strstr(f->out, "\n\n  -V, --ventilator"));
    assert_null(strstr(f->out, "(null)"));
}

static void the_shown_configuration_is_one(void **state)
{
    struct fixture *f = *state;

    setenv("DTQ_CONCURRENCY", "5", 1);
    assert_int_equal(parse(f, "--show-config -m a -m b --name say\"x\""), 0);
    assert_non_null(strstr(f->out, "concurrency = \"5\" # DTQ_CONCURRENCY\n"));
    assert_non_null(strstr(f->out, "module = \"a\" # --module\nmodule = \"b\" # --module\n"));
    assert_non_null(strstr(f->out, "name = 'say\"x\"' # --name\n"));
    assert_non_null(strstr(f->out, "# data is not set\n"));
    assert_non_null(strstr(f->out, "heartbeat = \"1s\" # default\n"));

    write_config(f, f->out);
    unsetenv("DTQ_CONCURRENCY");
    assert_int_equal(parse(f, ""), OPT_GO);
    assert_int_equal(f->values.slots, 5);
    assert_string_equal(f->values.name, "say\"x\"");
    assert_int_equal(f->values.modules.n, 2);
}

static void paths_know_the_home_directory(void **state)
{
    struct fixture *f = *state;
    char path[64];

    setenv("HOME", "/home/me", 1);
    assert_int_equal(parse(f, "--data ~/x"), OPT_GO);
    assert_string_equal(f->values.data, "/home/me/x");
    setenv("XDG_STATE_HOME", "/state", 1);
    assert_string_equal(opt_data_dir("sink", path, sizeof path), "/state/dtq/sink");
    assert_null(opt_data_dir("sink", path, 5));
    unsetenv("XDG_STATE_HOME");
}

#define OPT_TEST(test) cmocka_unit_test_setup_teardown(test, open_fixture, close_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OPT_TEST(defaults_fill_what_nobody_gave),
        OPT_TEST(options_are_given_in_every_usual_way),
        OPT_TEST(the_last_of_a_single_option_counts_and_all_of_a_list),
        OPT_TEST(a_flag_can_be_taken_back),
        OPT_TEST(operands_stand_anywhere_and_dashes_end_options),
        OPT_TEST(a_command_takes_the_rest_of_the_line),
        OPT_TEST(too_few_and_too_many_operands_are_refused),
        OPT_TEST(the_command_line_beats_the_environment_beats_the_file),
        OPT_TEST(an_empty_variable_is_not_set),
        OPT_TEST(a_list_in_the_environment_has_one_value_a_line),
        OPT_TEST(a_section_of_the_file_beats_its_top),
        OPT_TEST(the_file_can_be_named),
        OPT_TEST(a_section_of_which_all_is_commented_out_is_no_key),
        OPT_TEST(a_bad_file_is_refused_by_line_and_nothing_goes_to_stdout),
        OPT_TEST(errors_name_the_option_the_value_and_what_is_allowed),
        OPT_TEST(more_than_one_ventilator_is_refused_clearly),
        OPT_TEST(help_and_version_work_whatever_else_is_wrong),
        OPT_TEST(a_group_without_a_title_goes_on_with_the_one_before),
        OPT_TEST(the_shown_configuration_is_one),
        OPT_TEST(paths_know_the_home_directory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
