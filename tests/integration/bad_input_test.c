/* Bad input gets a clear error, and loses nothing else. */
#include "cluster.h"

#include "opt_file.h"

#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#define NO_ID "01900000-0000-7000-8000-000000000000"

static void expect_error(struct run *r, int status, const char *part)
{
    if (r->status != status)
        print_error("status %d, not %d\n", r->status, status);
    expect_in(r, r->said, part);
    assert_int_equal(r->status, status);
    assert_string_equal(r->text, "");
}

static struct run *run_of(struct cluster *c, const char *program, const char *option)
{
    struct run *r = run_start(c, NULL, program, option, NULL);

    run_end(r);
    return r;
}

/* The cluster still works. */
static void expect_service(struct cluster *c)
{
    assert_true(run_is_alive(c->ventilator));
    assert_true(run_is_alive(c->sink));
    assert_string_equal(dtq_expect(c, 0, NULL, "submit", "echo", "fine", "--wait", NULL), "fine\n");
}

/* A line of shell, whose standard output has `part` in it. */
static void expect_shell(const char *line, int status, const char *part)
{
    char said[1024];
    FILE *f = popen(line, "re");
    size_t n;

    assert_non_null(f);
    n = fread(said, 1, sizeof said - 1, f);
    said[n] = '\0';
    assert_int_equal(WEXITSTATUS(pclose(f)), status);
    if (strstr(said, part) == NULL)
        fail_msg("%s: '%s' is not in: %s", line, part, said);
}

/* ---- submitting */

static void a_payload_over_the_limit_is_refused_and_the_largest_is_not(void **state)
{
    struct cluster *c = *state;
    size_t limit = 4u << 20;
    char *payload = malloc(limit + 1);
    const char *path;
    struct run *r;

    assert_non_null(payload);
    memset(payload, 'x', limit + 1);
    cluster_start(c);
    path = cluster_file(c, payload, limit + 1);
    expect_error(dtq_run(c, NULL, "submit", "echo", "--payload-file", path, NULL), 2, "4194304");
    r = run_start(c, path, "dtq", "submit", "echo", "--stdin", NULL);
    run_end(r);
    expect_error(r, 2, "4194304");
    path = cluster_file(c, payload, limit);
    r = dtq_run(c, NULL, "submit", "echo", "--payload-file", path, "--wait", NULL);
    assert_int_equal(r->status, 0);
    assert_int_equal(r->bytes, limit + 1); /* with a newline */
    free(payload);
}

static void a_line_over_the_limit_is_named_and_the_others_go_on(void **state)
{
    struct cluster *c = *state;
    size_t large = (4u << 20) + 1;
    char *text = malloc(large + 16);
    struct run *r;

    assert_non_null(text);
    strcpy(text, "one\n");
    memset(text + 4, 'x', large);
    strcpy(text + 4 + large, "\nthree\n");
    cluster_start(c);
    r = dtq_run(c, text, "submit", "--each-line", "-", "echo", "--wait", NULL);
    free(text);
    expect_in(r, r->said, "line 2: ");
    assert_int_equal(r->status, 1);
    assert_string_equal(r->text, "one\nthree\n");
}

static void a_file_without_newlines_takes_no_memory(void **state)
{
    struct cluster *c = *state;
    struct run *r;
    char path[PATH_MAX];
    FILE *f;

    cluster_start(c);
    cluster_path(c, "zeros", path, sizeof path);
    f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(ftruncate(fileno(f), (off_t)1 << 30), 0);
    fclose(f);
    r = dtq_run(c, NULL, "submit", "--each-line", path, "echo", NULL);
    expect_error(r, 1, "line 1: 1073741824 bytes; a line may have 4194304");
    expect_error(dtq_run(c, NULL, "submit", "--each-line", "/", "echo", NULL), 1,
                 "cannot read line 1 of /: Is a directory");
}

static void an_output_that_cannot_be_written_is_told(void **state)
{
    static const char *const commands[] = {"help",
                                           "--version",
                                           "submit --help",
                                           "submit echo x",
                                           "submit --json echo x --wait",
                                           "results --json",
                                           "status",
                                           "status --json"};
    struct cluster *c = *state;
    char line[PATH_MAX + 256];

    cluster_start(c);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        snprintf(line, sizeof line, "DTQ_VENTILATOR=%s %s/dtq %s 2>&1 >/dev/full", c->control,
                 DTQ_BIN_DIR, commands[i]);
        expect_shell(line, 1, "cannot write to standard output");
    }
    snprintf(line, sizeof line, "DTQ_VENTILATOR=%s %s/dtq submit echo x 2>&1 >/dev/full",
             c->control, DTQ_BIN_DIR);
    expect_shell(line, 1, "was accepted all the same");
}

/* What is behind a `| head` ends without a word, as with other programs. */
static void a_reader_that_has_seen_enough_is_no_failure(void **state)
{
    struct cluster *c = *state;
    char line[PATH_MAX + 256];

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    snprintf(line, sizeof line,
             "{ { DTQ_VENTILATOR=%s %s/dtq status; echo $? >&2; } 2>&3 | true; } 3>&1 | "
             "sed 's/^/said:/'",
             c->control, DTQ_BIN_DIR);
    expect_shell(line, 0, "said:0");
}

static void names_have_their_characters(void **state)
{
    struct cluster *c = *state;
    char text[130];

    cluster_start(c);
    memset(text, 'q', 129);
    text[129] = '\0';
    expect_error(dtq_run(c, NULL, "submit", "-q", "a b", "echo", NULL), 2, "queue");
    expect_error(dtq_run(c, NULL, "submit", "-q", "a/b", "echo", NULL), 2, "queue");
    expect_error(dtq_run(c, NULL, "submit", "-q", "", "echo", NULL), 2, "queue");
    expect_error(dtq_run(c, NULL, "submit", "-q", text, "echo", NULL), 2, "queue");
    expect_error(dtq_run(c, NULL, "submit", "a b", NULL), 2, "name");
    expect_error(dtq_run(c, NULL, "submit", "", NULL), 2, "name");
    expect_service(c);
}

static void bad_lines_of_json_are_named_and_the_good_ones_run(void **state)
{
    struct cluster *c = *state;
    struct run *r;

    cluster_start(c);
    r = dtq_run(c,
                "{\"name\":\"echo\",\"payload\":\"one\"}\n"
                "{\"name\":\"echo\",\"payload\":\n"
                "[\"echo\"]\n"
                "{\"name\":\"echo\",\"payload\":\"four\",\"priority\":10}\n"
                "\n"
                "{\"name\":\"echo\",\"payload\":{\"six\":[6]},\"queue\":\"q\"}\n"
                "{\"name\":\"echo\",\"payloud\":\"seven\"}\n"
                "{\"payload\":\"eight\"}\n"
                "{\"name\":\"echo\",\"payload_base64\":\"bmluZQ==\"}\n"
                "{\"name\":\"echo\",\"queue\":\"no good\"}\n"
                "{\"name\":\"echo\",\"delay\":\"soon\"}\n"
                "{\"name\":\"echo\",\"payload\":\"twelve\"}",
                "submit", "--jsonl", "-", "--wait", NULL);
    expect_in(r, r->said, "line 2: not valid JSON");
    expect_in(r, r->said, "line 3: a JSON object is needed");
    expect_in(r, r->said, "line 4: \"priority\"");
    expect_in(r, r->said, "line 7: \"payloud\" is not known");
    expect_in(r, r->said, "line 8: \"name\"");
    expect_in(r, r->said, "line 10: ");
    expect_in(r, r->said, "line 11: \"delay\"");
    assert_string_equal(r->text, "one\n{\"six\":[6]}\nnine\ntwelve\n");
    assert_int_equal(r->status, 1);
}

static void what_does_not_go_together_is_an_error_of_usage(void **state)
{
    struct cluster *c = *state;

    expect_error(dtq_run(c, NULL, "submit", "echo", "x", "--stdin", NULL), 2, "twice");
    expect_error(dtq_run(c, NULL, "submit", NULL), 2, "NAME");
    expect_error(dtq_run(c, NULL, "submit", "--each-line", "-", "echo", "x", NULL), 2, "too much");
    expect_error(dtq_run(c, NULL, "submit", "--backoff=5s..1s", "echo", NULL), 2, "--backoff");
    expect_error(dtq_run(c, NULL, "submit", "--delay=soon", "echo", NULL), 2, "--delay");
    expect_error(dtq_run(c, NULL, "submit", "-p10", "echo", NULL), 2, "--priority");
    expect_error(dtq_run(c, NULL, "submit", "--prioriti=1", "echo", NULL), 2,
                 "did you mean --priority?");
    expect_error(dtq_run(c, NULL, "submitt", NULL), 2, "did you mean 'submit'?");
    expect_error(dtq_run(c, NULL, "queue", "pouse", "q", NULL), 2, "did you mean 'pause'?");
    expect_error(dtq_run(c, NULL, "queue", "frob", "q", NULL), 2,
                 "there is no 'frob'; give list, pause, resume,");
    expect_error(dtq_run(c, NULL, "cron", "frob", NULL), 2, "run or next");
    expect_error(dtq_run(c, NULL, "sink", "frob", NULL), 2, "accept or remove");
    expect_error(dtq_run(c, NULL, "queue", NULL), 2,
                 "\n  dtq queue [OPTION...] ageing QUEUE DURATION|none\n");
    expect_error(dtq_run(c, NULL, "submit", "--", "ls", NULL), 2, "tasks that are commands");
    expect_error(dtq_run(c, NULL, "-V", NULL), 2, "-V needs a value");
    expect_error(dtq_run(c, NULL, "--timeout", "3s", "wait", NULL), 2, "behind the command's name");
    expect_error(dtq_run(c, NULL, "help", "submitt", NULL), 2, "did you mean 'submit'?");
    expect_error(dtq_run(c, NULL, "list", "--state=gone", NULL), 2, "scheduled");
    expect_error(dtq_run(c, NULL, "status", "-V", "127.0.0.1:5570", NULL), 2, "tcp://");
    expect_error(dtq_run(c, NULL, "status", "-V", "tcp://a:1,tcp://b:1", NULL), 2,
                 "one ventilator only");
}

/* Nobody is asked. */
static void options_that_can_do_nothing_are_errors_of_usage(void **state)
{
    struct cluster *c = *state;

    expect_error(dtq_run(c, NULL, "submit", "--retry-on=foo", "echo", NULL), 2,
                 "--retry-on: 'foo' is no list of reasons");
    expect_error(dtq_run(c, NULL, "submit", "--retry-on=exit:300", "echo", NULL), 2, "1 to 255");
    expect_error(dtq_run(c, NULL, "submit", "--retry-on=exit:0", "echo", NULL), 2, "1 to 255");
    expect_error(dtq_run(c, NULL, "submit", "--no-retry-on=signal:99", "echo", NULL), 2,
                 "--no-retry-on: 'signal:99' names a signal");
    expect_error(dtq_run(c, NULL, "submit", "--retry-on=", "echo", NULL), 2, "the list is empty");
    expect_error(dtq_run(c, NULL, "cron", "add", "x", "--every=1h", "--retry-on=foo", "echo", NULL),
                 2, "--retry-on: 'foo'");
    expect_error(
        dtq_run(c, NULL, "cron", "add", "x", "--cron=@daily", "--tz=Mars/Phobos", "echo", NULL), 2,
        "--tz: ");
    expect_error(dtq_run(c, NULL, "submit", "--key-ttl=1h", "echo", NULL), 2, "of which key?");
    expect_error(dtq_run(c, NULL, "submit", "--backoff=5s..1s", "echo", NULL), 2,
                 "'5s..1s' has a MIN that is above its MAX");
    expect_error(dtq_run(c, NULL, "submit", "--backoff=5s", "echo", NULL), 2, "is not MIN..MAX");
    expect_error(run_of(c, "dtq-worker", "--strict-queues"), 2, "Name the queues");
}

static void fields_that_can_do_nothing_are_named(void **state)
{
    struct cluster *c = *state;
    struct run *r;

    cluster_start(c);
    r = dtq_run(c,
                "{\"name\":\"echo\",\"retry_on\":\"exit:300\"}\n"
                "{\"name\":\"echo\",\"retry_on\":\"\"}\n"
                "{\"name\":\"echo\",\"no_retry_on\":\"signal:99\"}\n"
                "{\"name\":\"echo\",\"key_ttl\":\"1h\"}\n"
                "{\"name\":\"echo\",\"ordered\":true}\n"
                "{\"name\":\"echo\",\"backoff\":\"5s..1s\"}\n"
                "{\"name\":\"echo\",\"payload\":\"fine\",\"retry_on\":\"exit:255,signal:64\"}\n",
                "submit", "--jsonl", "-", "--wait", NULL);
    assert_int_equal(r->status, 1);
    expect_in(r, r->said, "line 1: task: retry_on: 'exit:300'");
    expect_in(r, r->said, "line 2: retry_on: the list is empty");
    expect_in(r, r->said, "line 3: task: no_retry_on: 'signal:99'");
    expect_in(r, r->said, "line 4: \"key_ttl\" must be given with \"key\"");
    expect_in(r, r->said, "line 5: \"ordered\" must be given with \"group\"");
    expect_in(r, r->said, "line 6: \"backoff\"");
    assert_string_equal(r->text, "fine\n");
}

static void a_backlog_that_is_full_refuses_and_keeps_what_it_has(void **state)
{
    struct cluster *c = *state;
    size_t bytes = 700 * 1024;
    char *payload = malloc(bytes);
    const char *path;
    struct run *r;
    char id[64];

    assert_non_null(payload);
    memset(payload, 'x', bytes);
    path = cluster_file(c, payload, bytes);
    free(payload);
    cluster_start_ventilator(c, "--max-backlog-bytes=1m", NULL);
    cluster_start_sink(c, NULL);
    /* The bound is looked at before each batch: what crosses it is still taken. */
    dtq_submit_id(c, id, "echo", "--payload-file", path, NULL);
    dtq_submit_id(c, id, "echo", "--payload-file", path, NULL);
    r = dtq_run(c, NULL, "submit", "echo", "--payload-file", path, "--timeout=1s", NULL);
    assert_int_equal(r->status, 75);
    assert_string_equal(r->text, "");
    cluster_start_worker(c, "--module", HANDLERS_MODULE, NULL);
    assert_int_equal(dtq_run(c, NULL, "result", "--wait", "--raw", id, NULL)->bytes, bytes);
}

/* ---- asking */

static void unknown_ids_are_not_found(void **state)
{
    struct cluster *c = *state;
    struct run *r;

    cluster_start(c);
    expect_error(dtq_run(c, NULL, "show", NO_ID, NULL), 1, "not found");
    expect_error(dtq_run(c, NULL, "result", NO_ID, NULL), 1, "not found");
    r = dtq_run(c, NULL, "wait", NO_ID, NULL);
    assert_int_equal(r->status, 1);
    expect_in(r, r->text, "not found");
    r = dtq_run(c, NULL, "cancel", NO_ID, NULL);
    assert_int_equal(r->status, 1);
    expect_in(r, r->text, "not found");
    expect_error(dtq_run(c, NULL, "show", "01900000", NULL), 1, "not found");
}

static void prefixes_need_eight_digits(void **state)
{
    struct cluster *c = *state;
    char prefix[64];
    char id[64];

    cluster_start(c);
    dtq_submit_id(c, id, "echo", "x", NULL);
    dtq_expect(c, 0, NULL, "wait", id, NULL);
    expect_error(dtq_run(c, NULL, "show", "0190000", NULL), 2, "8 or more");
    expect_error(dtq_run(c, NULL, "show", "nonsense", NULL), 2, "8 or more");
    snprintf(prefix, sizeof prefix, "%.34s", id);
    assert_string_equal(dtq_expect(c, 0, NULL, "result", prefix, NULL), "x\n");
}

static void a_prefix_of_several_tasks_names_none(void **state)
{
    struct cluster *c = *state;
    char prefix[64];

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    snprintf(prefix, sizeof prefix, "%.8s",
             dtq_expect(c, 0, "a\nb\nc\n", "submit", "--each-line", "-", "echo", NULL));
    expect_error(dtq_run(c, NULL, "show", prefix, NULL), 2, "several tasks");
}

static void last_needs_a_submit_before_it(void **state)
{
    struct cluster *c = *state;

    expect_error(dtq_run(c, NULL, "result", NULL), 2, "nothing was submitted");
}

static void last_is_never_a_submit_before_one_that_failed(void **state)
{
    static const char text[] = "the last `dtq submit` was not accepted";
    struct cluster *c = *state;
    char id[64];

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    dtq_submit_id(c, id, "echo", "the one before", NULL);
    dtq_expect(c, 0, NULL, "submit", "--help", NULL);
    dtq_expect(c, 75, NULL, "result", NULL); /* that was no submission */

    dtq_expect(c, 2, NULL, "submit", "bad name", "x", NULL);
    expect_error(dtq_run(c, NULL, "show", NULL), 2, text);
    expect_error(dtq_run(c, NULL, "wait", NULL), 2, text);
    expect_error(dtq_run(c, NULL, "result", NULL), 2, text);
    expect_error(dtq_run(c, NULL, "explain", NULL), 2, text);
    expect_error(dtq_run(c, NULL, "cancel", "last", NULL), 2, text);
    dtq_expect(c, 75, NULL, "result", id, NULL);

    dtq_submit_id(c, id, "echo", NULL);
    dtq_expect(c, 2, NULL, "submit", "--frob", NULL);
    expect_error(dtq_run(c, NULL, "show", NULL), 2, text);

    dtq_submit_id(c, id, "echo", NULL);
    dtq_expect(c, 69, NULL, "submit", "-V", "ipc:///nowhere", "--timeout=1s", "echo", NULL);
    expect_error(dtq_run(c, NULL, "show", NULL), 2, text);

    dtq_submit_id(c, id, "echo", NULL);
    dtq_expect(c, 1, "{}\n", "submit", "--jsonl", "-", NULL);
    expect_error(dtq_run(c, NULL, "show", NULL), 2, text);
}

/* A port that is taken, where nobody listens. */
static int take_port(char ret_endpoint[64])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &bytes), 0);
    snprintf(ret_endpoint, 64, "tcp://127.0.0.1:%u", ntohs(at.sin_port));
    return fd;
}

static void nobody_there_is_told_with_a_hint(void **state)
{
    struct cluster *c = *state;
    char nowhere[64];
    int fd = take_port(nowhere);

    expect_error(dtq_run(c, NULL, "status", "-V", nowhere, NULL), 69, "`dtq up`");
    expect_error(dtq_run(c, NULL, "submit", "-V", nowhere, "echo", "--timeout=1s", NULL), 69,
                 nowhere);
    expect_error(dtq_run(c, NULL, "wait", "-V", nowhere, NO_ID, "--timeout=1s", NULL), 69, nowhere);
    close(fd);
}

static void expect_once(const struct run *r, const char *part)
{
    const char *at = strstr(r->said, part);

    expect_in(r, r->said, part);
    assert_null(strstr(at + 1, part));
}

/* A command that waits says after a while for whom, once. */
static void who_is_waited_for_is_told_after_a_while(void **state)
{
    struct cluster *c = *state;
    char nowhere[64];
    int fd = take_port(nowhere);
    struct run *r = dtq_run(c, NULL, "wait", "-V", nowhere, NO_ID, "--timeout=4s", NULL);

    assert_int_equal(r->status, 69);
    expect_in(r, r->said, nowhere);
    expect_once(r, "does not answer yet, still trying; is the ventilator running?");
    r = dtq_run(c, NULL, "wait", "-V", nowhere, NO_ID, "--json", "--timeout=1s", NULL);
    assert_null(strstr(r->said, "still trying"));
    assert_string_equal(r->text, "");
    close(fd);
    r = dtq_run(c, NULL, "submit", "-V", "tcp://nobody.invalid:5570", "echo", "--timeout=1s", NULL);
    assert_int_equal(r->status, 69);
    expect_in(r, r->said, "the name 'nobody.invalid' is not known");
}

/* Until its standard error has this line, as the log writes it. */
static void wait_said(struct run *r, const char *event, const char *part)
{
    char line[1024];
    FILE *f;

    for (int tries = 0; tries < 3000 * DTQ_SLOWNESS; tries++) {
        bool is_there = false;

        assert_true(run_is_alive(r));
        f = fopen(r->said_path, "re");
        assert_non_null(f);
        while (!is_there && fgets(line, sizeof line, f) != NULL)
            is_there = strstr(line, event) != NULL && strstr(line, part) != NULL;
        fclose(f);
        if (is_there)
            return;
        poll(NULL, 0, 20);
    }
    fail_msg("%s did not say %s %s", r->program, event, part);
}

static void daemons_name_the_ventilator_that_does_not_answer(void **state)
{
    struct cluster *c = *state;
    char data[PATH_MAX];
    char nowhere[64];
    int fd = take_port(nowhere);
    struct run *worker;
    struct run *lost;
    struct run *sink;

    cluster_start(c);
    cluster_path(c, "other", data, sizeof data);
    worker = run_start(c, NULL, "dtq-worker", "-V", nowhere, "--exec=a=cat", NULL);
    sink = run_start(c, NULL, "dtq-sink", "-V", nowhere, "--intake=tcp://127.0.0.1:*",
                     "--results=tcp://127.0.0.1:*", "--data", data, NULL);
    lost = run_start(c, NULL, "dtq-worker", "-V", c->intake, "--exec=a=cat", NULL);
    wait_said(worker, "ventilator_silent", nowhere);
    wait_said(sink, "ventilator_silent", nowhere);
    wait_said(lost, "connection_rejected", "does not seem to be a ventilator");
    close(fd);
}

static void a_sink_that_is_not_there_is_told_from_the_ventilator(void **state)
{
    struct cluster *c = *state;
    char id[64];
    struct run *r;

    cluster_start(c);
    dtq_submit_id(c, id, "echo", "x", NULL);
    dtq_expect(c, 0, NULL, "wait", id, NULL);
    run_stop(c->sink, SIGTERM);
    r = dtq_run(c, NULL, "result", id, "--wait", "--timeout=4s", NULL);
    assert_int_equal(r->status, 69);
    expect_in(r, r->said, "the sink at tcp://");
    expect_in(r, r->said, "is dtq-sink running there? `dtq sink list`");
    expect_once(r, "does not answer yet, still trying; is it running?");
    assert_null(strstr(r->said, "is the ventilator running"));
    assert_null(strstr(r->said, "dtq up"));
}

/* A line waits for its confirmation as long as a single task does, not for ever. */
static void lines_that_nobody_confirms_end_after_half_a_minute(void **state)
{
    struct cluster *c = *state;
    const char *lines = cluster_file(c, "a\nb\n", 4);
    char nowhere[64];
    int fd = take_port(nowhere);

    setenv("LD_PRELOAD", CLOCK_SHIM, 1);
    setenv("ASAN_OPTIONS", "verify_asan_link_order=0", 0);
    expect_error(dtq_run(c, NULL, "submit", "-V", nowhere, "--each-line", lines, "echo", NULL), 69,
                 "2 of 2 lines are not confirmed");
    expect_error(
        dtq_run(c, NULL, "submit", "-V", nowhere, "--each-line", lines, "echo", "--wait", NULL), 69,
        "2 of 2 lines have no outcome");
    unsetenv("LD_PRELOAD");
    close(fd);
}

/* .. while its queue is full, too. The ids of those that were taken are printed. */
static void lines_that_a_full_queue_keeps_out_end_after_half_a_minute(void **state)
{
    struct cluster *c = *state;
    const char *lines = cluster_file(c, "a\nb\nc\n", 6);
    struct run *r;

    cluster_start_ventilator(c, "--max-queue-tasks", "2", NULL);
    cluster_start_sink(c, NULL);
    setenv("LD_PRELOAD", CLOCK_SHIM, 1);
    setenv("ASAN_OPTIONS", "verify_asan_link_order=0", 0);
    r = dtq_run(c, NULL, "submit", "--each-line", lines, "echo", NULL);
    unsetenv("LD_PRELOAD");
    expect_in(r, r->said, "1 of 3 lines are not confirmed");
    expect_in(r, r->said, "max_queue_tasks is reached");
    assert_int_equal(r->status, 75);
    assert_int_equal(r->lines, 2);
}

/* ---- starting */

static void expect_no_start(struct run *r, int status, const char *part)
{
    run_end(r);
    expect_error(r, status, part);
}

/* What `--show-config` names, "key = .." or "# key is not set", must be a key of a file. */
static void expect_keys(const char *text)
{
    size_t n;
    const char *const *keys = opt_file_keys(&n);
    char key[64];

    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
        size_t i = 0;

        assert_int_equal(sscanf(line + strspn(line, "# "), "%63[a-z-]", key), 1);
        while (i < n && strcmp(keys[i], key) != 0)
            i++;
        if (i == n)
            fail_msg("opt_file_keys() has no '%s'", key);
    }
}

static void a_key_of_the_configuration_file_that_nobody_takes_is_an_error(void **state)
{
    static const char *const programs[] = {"dtq-ventilator", "dtq-sink", "dtq-worker"};
    static const char *const commands[] = {"submit",  "wait",  "result", "results", "show", "list",
                                           "explain", "bench", "status", "cancel",  "up"};
    static const char *const with_verbs[] = {"queue", "cron", "dead", "sink", "store"};
    struct cluster *c = *state;
    const char *path = cluster_file(c, "concurency = 8\n", 15);

    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        struct run *r = run_start(c, NULL, programs[i], "--config", path, NULL);

        run_end(r);
        expect_error(r, 2, "'concurency' from a file; did you mean 'concurrency'?");
        expect_keys(run_of(c, programs[i], "--show-config")->text);
    }
    expect_error(dtq_run(c, NULL, "status", "--config", path, NULL), 2, "'concurency'");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        expect_keys(dtq_expect(c, 0, NULL, commands[i], "--show-config", NULL));
    for (size_t i = 0; i < sizeof with_verbs / sizeof *with_verbs; i++)
        expect_keys(dtq_expect(c, 0, NULL, with_verbs[i], "--show-config", "list", "a", NULL));
}

static void a_port_in_use_is_named(void **state)
{
    struct cluster *c = *state;
    char data[PATH_MAX];
    char taken[64];
    int fd = take_port(taken);

    cluster_path(c, "journal", data, sizeof data);
    expect_no_start(run_start(c, NULL, "dtq-ventilator", "--bind", taken, "--data", data, NULL), 1,
                    taken);
    cluster_path(c, "results", data, sizeof data);
    expect_no_start(run_start(c, NULL, "dtq-sink", "--intake", taken, "--results",
                              "tcp://127.0.0.1:*", "--data", data, NULL),
                    1, taken);
    close(fd);
}

static void a_locked_data_directory_names_its_process(void **state)
{
    struct cluster *c = *state;
    char data[PATH_MAX];
    char pid[64];

    cluster_start(c);
    cluster_path(c, "ventilator", data, sizeof data);
    snprintf(pid, sizeof pid, "process %ld has", (long)c->ventilator->pid);
    expect_no_start(
        run_start(c, NULL, "dtq-ventilator", "--bind=tcp://127.0.0.1:*", "--data", data, NULL), 1,
        pid);
    cluster_path(c, "sink", data, sizeof data);
    snprintf(pid, sizeof pid, "process %ld has", (long)c->sink->pid);
    expect_no_start(run_start(c, NULL, "dtq-sink", "--intake=tcp://127.0.0.1:*",
                              "--results=tcp://127.0.0.1:*", "--data", data, NULL),
                    1, pid);
    expect_service(c);
}

/* Root may write wherever it likes, but not where a file stands. */
static void a_data_directory_that_cannot_be_written_is_named(void **state)
{
    struct cluster *c = *state;
    const char *file = cluster_file(c, "", 0);
    char below[PATH_MAX];
    char closed[PATH_MAX];

    snprintf(below, sizeof below, "%s/data", file);
    expect_no_start(
        run_start(c, NULL, "dtq-ventilator", "--bind=tcp://127.0.0.1:*", "--data", below, NULL), 1,
        below);
    expect_no_start(run_start(c, NULL, "dtq-sink", "--intake=tcp://127.0.0.1:*",
                              "--results=tcp://127.0.0.1:*", "--data", below, NULL),
                    1, below);
    if (geteuid() == 0)
        return;
    cluster_path(c, "closed", closed, sizeof closed);
    assert_int_equal(mkdir(closed, 0500), 0);
    expect_no_start(
        run_start(c, NULL, "dtq-ventilator", "--bind=tcp://127.0.0.1:*", "--data", closed, NULL), 1,
        closed);
}

static void listening_to_everybody_has_to_be_said_in_so_many_words(void **state)
{
    struct cluster *c = *state;

    expect_no_start(run_start(c, NULL, "dtq-ventilator", "--bind=tcp://0.0.0.0:*", NULL), 1,
                    "--insecure");
    expect_no_start(run_start(c, NULL, "dtq-sink", "--intake=tcp://0.0.0.0:*", NULL), 1,
                    "--insecure");
}

static void a_worker_without_good_handlers_does_not_start(void **state)
{
    struct cluster *c = *state;

    cluster_start_ventilator(c, NULL);
    expect_no_start(run_start(c, NULL, "dtq-worker", NULL), 2, "--exec NAME=COMMAND");
    expect_no_start(run_start(c, NULL, "dtq-worker", "--module=/nowhere/libx.so", NULL), 1,
                    "/nowhere/libx.so");
    expect_no_start(run_start(c, NULL, "dtq-worker", "--module", BAD_MODULE "1.so", NULL), 1,
                    "handler ABI");
    expect_no_start(run_start(c, NULL, "dtq-worker", "--module", BAD_MODULE "2.so", NULL), 1,
                    "dtq_module");
    expect_no_start(run_start(c, NULL, "dtq-worker", "--exec=upper", NULL), 2, "NAME=COMMAND");
    expect_no_start(run_start(c, NULL, "dtq-worker", "--exec=a=/nowhere/program", NULL), 2,
                    "/nowhere/program");
}

/* ---- bytes from anybody */

static unsigned port_of(const char *endpoint)
{
    return (unsigned)atoi(strrchr(endpoint, ':') + 1);
}

static void send_raw(const char *endpoint, const void *at, size_t bytes)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)port_of(endpoint))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(send(fd, at, bytes, MSG_NOSIGNAL), bytes);
    close(fd);
}

static uint64_t next_random(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void fill(unsigned char *at, size_t n, uint64_t *seed)
{
    for (size_t i = 0; i < n; i++)
        at[i] = (unsigned char)next_random(seed);
}

/* No ZMTP at all, and a greeting with rubbish behind it. */
static void send_no_zmtp(const char *endpoint, uint64_t *seed)
{
    static const char http[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    unsigned char bytes[4096] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0, 'N', 'U', 'L', 'L'};

    send_raw(endpoint, http, sizeof http - 1);
    send_raw(endpoint, bytes, 64);
    fill(bytes + 64, sizeof bytes - 64, seed);
    send_raw(endpoint, bytes, sizeof bytes);
    fill(bytes, sizeof bytes, seed);
    send_raw(endpoint, bytes, sizeof bytes);
}

struct zmq_peer {
    void *context;
    void *socket;
};

static struct zmq_peer zmq_peer_open(const char *endpoint, int type)
{
    struct zmq_peer p = {.context = zmq_ctx_new()};
    int linger = 5000;

    p.socket = zmq_socket(p.context, type);
    assert_non_null(p.socket);
    zmq_setsockopt(p.socket, ZMQ_LINGER, &linger, sizeof linger);
    assert_int_equal(zmq_connect(p.socket, endpoint), 0);
    return p;
}

static void zmq_peer_close(struct zmq_peer *p)
{
    zmq_close(p->socket);
    zmq_ctx_term(p->context);
}

/* Frames of random bytes, most behind a header that is one of ours; one, none or several a message.
 */
static void send_bad_frames(const char *endpoint, int type, uint64_t *seed)
{
    struct zmq_peer p = zmq_peer_open(endpoint, type);
    unsigned char bytes[512];

    for (unsigned i = 0; i < 2000; i++) {
        size_t frames = 1 + (i % 5 == 0 ? next_random(seed) % 4 : 0);

        for (size_t f = 0; f < frames; f++) {
            size_t n = next_random(seed) % sizeof bytes;

            fill(bytes, n, seed);
            if (n >= 4 && i % 3 != 0) {
                bytes[0] = 0xd7;
                bytes[1] = i % 7 == 0 ? 9 : 1; /* version */
                bytes[2] = (unsigned char)(i % 64);
                bytes[3] = 0;
            }
            assert_true(zmq_send(p.socket, bytes, n, f + 1 < frames ? ZMQ_SNDMORE : 0) >= 0);
        }
    }
    zmq_peer_close(&p);
}

/* Larger than any frame may be. */
static void send_large_frame(const char *endpoint, int type)
{
    struct zmq_peer p = zmq_peer_open(endpoint, type);
    size_t bytes = 9u << 20;
    void *at = calloc(1, bytes);
    int linger = 500; /* it is never taken */

    assert_non_null(at);
    zmq_setsockopt(p.socket, ZMQ_LINGER, &linger, sizeof linger);
    assert_true(zmq_send(p.socket, at, bytes, 0) >= 0);
    free(at);
    zmq_peer_close(&p);
}

/* With a routing id of its own, of the wrong kind, and with the wrong type of socket. */
static void connect_as_stranger(const char *endpoint)
{
    static const int types[] = {ZMQ_REQ, ZMQ_SUB, ZMQ_PUSH, ZMQ_ROUTER};
    void *context = zmq_ctx_new();
    int linger = 200;

    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        void *socket = zmq_socket(context, types[i]);

        zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
        if (types[i] == ZMQ_REQ || types[i] == ZMQ_ROUTER)
            zmq_setsockopt(socket, ZMQ_ROUTING_ID, "a stranger", 10);
        assert_int_equal(zmq_connect(socket, endpoint), 0);
        if (types[i] == ZMQ_REQ || types[i] == ZMQ_PUSH)
            zmq_send(socket, "hello", 5, ZMQ_DONTWAIT);
        zmq_close(socket);
    }
    zmq_ctx_term(context);
}

static void rubbish_from_the_network_disturbs_nobody(void **state)
{
    struct cluster *c = *state;
    struct run *worker = cluster_start(c);
    uint64_t seed = 1;
    const char *endpoints[] = {c->control, c->intake, c->results};
    char *lines = malloc(5000 * 8);
    struct run *submit;
    size_t bytes = 0;

    assert_non_null(lines);
    for (int i = 0; i < 5000; i++)
        bytes += (size_t)sprintf(lines + bytes, "%d\n", i);
    submit = run_start(c, cluster_file(c, lines, bytes), "dtq", "submit", "--each-line", "-",
                       "--wait", "echo", NULL);
    run_wait_lines(submit, 1);
    for (size_t e = 0; e < 3; e++) {
        int type = endpoints[e] == c->intake ? ZMQ_PUSH : ZMQ_DEALER;

        send_no_zmtp(endpoints[e], &seed);
        send_bad_frames(endpoints[e], type, &seed);
        send_large_frame(endpoints[e], type);
        connect_as_stranger(endpoints[e]);
    }
    assert_int_equal(run_end(submit), 0);
    assert_int_equal(submit->bytes, bytes);
    assert_memory_equal(submit->text, lines, bytes);
    free(lines);
    assert_true(run_is_alive(worker));
    expect_service(c);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        STORY(a_payload_over_the_limit_is_refused_and_the_largest_is_not),
        STORY(a_line_over_the_limit_is_named_and_the_others_go_on),
        STORY(a_file_without_newlines_takes_no_memory),
        STORY(an_output_that_cannot_be_written_is_told),
        STORY(a_reader_that_has_seen_enough_is_no_failure),
        STORY(names_have_their_characters),
        STORY(bad_lines_of_json_are_named_and_the_good_ones_run),
        STORY(what_does_not_go_together_is_an_error_of_usage),
        STORY(options_that_can_do_nothing_are_errors_of_usage),
        STORY(fields_that_can_do_nothing_are_named),
        STORY(a_backlog_that_is_full_refuses_and_keeps_what_it_has),
        STORY(unknown_ids_are_not_found),
        STORY(prefixes_need_eight_digits),
        STORY(a_prefix_of_several_tasks_names_none),
        STORY(last_needs_a_submit_before_it),
        STORY(last_is_never_a_submit_before_one_that_failed),
        STORY(nobody_there_is_told_with_a_hint),
        STORY(who_is_waited_for_is_told_after_a_while),
        STORY(daemons_name_the_ventilator_that_does_not_answer),
        STORY(a_sink_that_is_not_there_is_told_from_the_ventilator),
        STORY(lines_that_nobody_confirms_end_after_half_a_minute),
        STORY(lines_that_a_full_queue_keeps_out_end_after_half_a_minute),
        STORY(a_key_of_the_configuration_file_that_nobody_takes_is_an_error),
        STORY(a_port_in_use_is_named),
        STORY(a_locked_data_directory_names_its_process),
        STORY(a_data_directory_that_cannot_be_written_is_named),
        STORY(listening_to_everybody_has_to_be_said_in_so_many_words),
        STORY(a_worker_without_good_handlers_does_not_start),
        STORY(rubbish_from_the_network_disturbs_nobody),
    };

    return RUN_STORIES(argc, argv, tests);
}
