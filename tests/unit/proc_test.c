/* common/proc: signals as data, limits, clocks, and a shutdown that ends. */
#include "proc.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int status_of(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void signals_wait_to_be_read(void **state)
{
    int fd = proc_signals_open();
    struct pollfd item = {.fd = fd, .events = POLLIN};

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(proc_signals_next(fd), 0);
    kill(getpid(), SIGTERM);
    kill(getpid(), SIGHUP);
    assert_int_equal(poll(&item, 1, 1000), 1);
    assert_int_equal(proc_signals_next(fd), SIGHUP); /* lower numbers first */
    assert_int_equal(proc_signals_next(fd), SIGTERM);
    assert_int_equal(proc_signals_next(fd), 0);
    close(fd);
}

/* What a daemon starts dies of SIGTERM and of a broken pipe, as programs do. */
static void a_child_has_signals_as_new(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    pid = fork();
    if (pid == 0) {
        int fd;

        proc_setup();
        fd = proc_signals_open();
        if (fork() == 0) {
            proc_reset_in_child();
            kill(getpid(), SIGTERM);
            _exit(3);
        }
        close(fd);
        wait(&status);
        _exit(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM ? 0 : 1);
    }
    status = status_of(pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void setup_raises_the_limit_of_files_and_a_child_gets_it_back(void **state)
{
    int status;
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        struct rlimit limit;

        getrlimit(RLIMIT_NOFILE, &limit);
        limit.rlim_cur = 64;
        setrlimit(RLIMIT_NOFILE, &limit);
        proc_setup();
        if (limit.rlim_max > 64 && proc_files_max() <= 64)
            _exit(1);
        proc_reset_in_child();
        _exit(proc_files_max() == 64 ? 0 : 2);
    }
    status = status_of(pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void setup_fills_closed_standard_files(void **state)
{
    int status;
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        close(STDIN_FILENO);
        close(STDOUT_FILENO);
        proc_setup();
        _exit(fcntl(STDIN_FILENO, F_GETFD) >= 0 && fcntl(STDOUT_FILENO, F_GETFD) >= 0 ? 0 : 1);
    }
    status = status_of(pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_shutdown_that_hangs_is_cut_off(void **state)
{
    int status;
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        close(STDERR_FILENO);
        proc_shutdown_watchdog(1);
        for (;;)
            pause();
    }
    status = status_of(pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
}

static void the_ready_line_is_written_at_once(void **state)
{
    int fds[2];
    int saved;
    char text[128];
    char expected[128];
    ssize_t n;

    (void)state;
    assert_int_equal(pipe(fds), 0);
    fflush(stdout);
    saved = dup(STDOUT_FILENO);
    dup2(fds[1], STDOUT_FILENO);
    proc_ready("control=tcp://127.0.0.1:5570");
    dup2(saved, STDOUT_FILENO);
    n = read(fds[0], text, sizeof text - 1);
    assert_true(n > 0);
    text[n] = '\0';
    snprintf(expected, sizeof expected, "ready control=tcp://127.0.0.1:5570 pid=%ld\n",
             (long)getpid());
    assert_string_equal(text, expected);
    close(saved);
    close(fds[0]);
    close(fds[1]);
}

/* As systemd listens: a datagram socket whose path is in the environment. */
static void the_service_manager_is_told(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    char text[64] = "";

    (void)state;
    assert_int_equal(proc_watchdog_ms(), 0);
    snprintf(address.sun_path, sizeof address.sun_path, "/tmp/dtq-proc-test-%ld", (long)getpid());
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    setenv("NOTIFY_SOCKET", address.sun_path, 1);
    setenv("WATCHDOG_USEC", "3000000", 1);
    proc_stopping();
    assert_true(read(fd, text, sizeof text - 1) > 0);
    assert_string_equal(text, "STOPPING=1");
    memset(text, 0, sizeof text);
    proc_alive();
    assert_true(read(fd, text, sizeof text - 1) > 0);
    assert_string_equal(text, "WATCHDOG=1");
    assert_int_equal(proc_watchdog_ms(), 1500);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unlink(address.sun_path);
    close(fd);
}

static void clocks_agree_and_random_bytes_differ(void **state)
{
    unsigned char a[64] = {0};
    unsigned char b[64] = {0};
    uint64_t ms = proc_now_ms();

    (void)state;
    assert_true(proc_now_us() / 1000 >= ms);
    assert_true(proc_wall_ms() > 1700000000000);
    proc_random(a, sizeof a);
    proc_random(b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signals_wait_to_be_read),
        cmocka_unit_test(a_child_has_signals_as_new),
        cmocka_unit_test(setup_raises_the_limit_of_files_and_a_child_gets_it_back),
        cmocka_unit_test(setup_fills_closed_standard_files),
        cmocka_unit_test(a_shutdown_that_hangs_is_cut_off),
        cmocka_unit_test(the_ready_line_is_written_at_once),
        cmocka_unit_test(the_service_manager_is_told),
        cmocka_unit_test(clocks_agree_and_random_bytes_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
