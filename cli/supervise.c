#include "supervise.h"

#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Beside this executable, where an installation and a build folder both have them; else on the
 * PATH. */
static void find_program(const char *program, char *ret, size_t bytes)
{
    ssize_t n = readlink("/proc/self/exe", ret, bytes - 1);
    char *slash;

    if (n > 0) {
        ret[n] = '\0';
        slash = strrchr(ret, '/');
        if (slash != NULL && (size_t)(slash + 1 - ret) + strlen(program) + 1 <= bytes) {
            strcpy(slash + 1, program);
            if (access(ret, X_OK) == 0)
                return;
        }
    }
    snprintf(ret, bytes, "%s", program);
}

/* Between fork and exec: async-signal-safe calls only. The write at the end tells the parent that
 * exec failed. */
static void run_child(const struct child *c, const char *path, pid_t parent, int out, int failed)
{
    int error;

    prctl(PR_SET_PDEATHSIG, c->stop_signal);
    if (getppid() != parent)
        _exit(1); /* it died before we asked to be told */
    setpgid(0, 0);
    proc_reset_in_child();
    if (dup2(out, STDOUT_FILENO) >= 0)
        execvp(path, c->argv);
    error = errno;
    if (write(failed, &error, sizeof error) < 0)
        _exit(127);
    _exit(127);
}

static dtq_err start_failed(struct child *c, const char *path, int error, char *why,
                            size_t why_bytes)
{
    snprintf(why, why_bytes, "cannot run %s: %s", path, strerror(error));
    c->pid = 0;
    return DTQ_EIO;
}

dtq_err child_start(struct child *c, char *why, size_t why_bytes)
{
    char path[PATH_MAX];
    int out[2] = {-1, -1};
    int failed[2] = {-1, -1};
    int error = 0;
    pid_t parent = getpid();

    c->ready = false;
    c->line_bytes = 0;
    c->pidfd = -1;
    c->out = -1;
    find_program(c->program, path, sizeof path);
    if (pipe2(out, O_CLOEXEC) != 0)
        return start_failed(c, path, errno, why, why_bytes);
    if (pipe2(failed, O_CLOEXEC) != 0) {
        error = errno;
        close(out[0]);
        close(out[1]);
        return start_failed(c, path, error, why, why_bytes);
    }
    c->pid = fork();
    if (c->pid == 0)
        run_child(c, path, parent, out[1], failed[1]);
    error = errno;
    close(out[1]);
    close(failed[1]);
    if (c->pid > 0 && read(failed[0], &error, sizeof error) != sizeof error)
        error = 0; /* closed by exec: it runs */
    close(failed[0]);
    if (c->pid < 0 || error != 0) {
        close(out[0]);
        if (c->pid > 0)
            waitpid(c->pid, NULL, 0);
        return start_failed(c, path, error, why, why_bytes);
    }
    c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
    c->out = out[0];
    fcntl(c->out, F_SETFL, O_NONBLOCK);
    return DTQ_OK;
}

void child_read(struct child *c)
{
    char spare[512];
    ssize_t n;

    if (c->out < 0)
        return;
    for (;;) {
        bool rest = c->ready || c->line_bytes == sizeof c->line - 1;

        n = rest ? read(c->out, spare, sizeof spare)
                 : read(c->out, c->line + c->line_bytes, sizeof c->line - 1 - c->line_bytes);
        if (n <= 0)
            break;
        if (rest)
            continue;
        c->line_bytes += (size_t)n;
        c->line[c->line_bytes] = '\0';
        c->ready = strncmp(c->line, "ready ", 6) == 0 && strchr(c->line, '\n') != NULL;
    }
    if (n == 0) {
        close(c->out);
        c->out = -1;
    }
}

bool child_ready_value(const struct child *c, const char *key, char *ret, size_t bytes)
{
    const char *at = c->line;
    size_t key_bytes = strlen(key);

    while ((at = strchr(at, ' ')) != NULL) {
        size_t n;

        at++;
        if (strncmp(at, key, key_bytes) != 0 || at[key_bytes] != '=')
            continue;
        at += key_bytes + 1;
        n = strcspn(at, " \n");
        if (n >= bytes)
            return false;
        memcpy(ret, at, n);
        ret[n] = '\0';
        return true;
    }
    return false;
}

bool child_reap(struct child *c)
{
    if (c->pid <= 0 || waitpid(c->pid, &c->status, WNOHANG) != c->pid)
        return false;
    child_read(c);
    if (c->out >= 0)
        close(c->out);
    if (c->pidfd >= 0)
        close(c->pidfd);
    c->pid = 0;
    c->out = -1;
    c->pidfd = -1;
    return true;
}

void child_signal(const struct child *c, int signal)
{
    if (c->pid > 0)
        kill(c->pid, signal);
}

void child_status_text(int status, char *ret, size_t bytes)
{
    if (WIFSIGNALED(status))
        snprintf(ret, bytes, "was killed by SIG%s", sigabbrev_np(WTERMSIG(status)));
    else
        snprintf(ret, bytes, "exited with status %d", WEXITSTATUS(status));
}
