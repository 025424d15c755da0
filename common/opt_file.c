#include "opt_file.h"

#include "text.h"

#include <czmq.h>
#include <fcntl.h>
#include <sys/mman.h>

#define FILE_BYTES_MAX 65536u
#define LINE_BYTES_MAX 1000u /* zconfig reads past the end of what is longer than 1,024 */

static bool is_file(const char *path)
{
    return access(path, F_OK) == 0;
}

const char *opt_file_find(char *ret_path, size_t bytes)
{
    const char *config = getenv("XDG_CONFIG_HOME");
    const char *home = getenv("HOME");
    int n = -1;

    if (config != NULL && config[0] == '/')
        n = snprintf(ret_path, bytes, "%s/dtq/dtq.conf", config);
    else if (home != NULL && home[0] == '/')
        n = snprintf(ret_path, bytes, "%s/.config/dtq/dtq.conf", home);
    if (n > 0 && (size_t)n < bytes && is_file(ret_path))
        return ret_path;
    snprintf(ret_path, bytes, "/etc/dtq/dtq.conf");
    return is_file(ret_path) ? ret_path : NULL;
}

/* The whole file as text; the caller frees it. NULL: `why` says what is wrong. */
static char *read_text(const char *path, char *why, size_t why_bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *text = malloc(FILE_BYTES_MAX + 1);
    size_t used = 0;
    ssize_t n = fd < 0 ? -1 : 0;

    while (fd >= 0 && text != NULL && used < FILE_BYTES_MAX + 1 &&
           (n = read(fd, text + used, FILE_BYTES_MAX + 1 - used)) > 0)
        used += (size_t)n;
    if (n < 0)
        snprintf(why, why_bytes, "cannot read it: %s", strerror(errno));
    else if (used > FILE_BYTES_MAX)
        snprintf(why, why_bytes, "it is larger than 64 KiB");
    else if (text == NULL)
        snprintf(why, why_bytes, "out of memory");
    if (fd >= 0)
        close(fd);
    if (n < 0 || used > FILE_BYTES_MAX || text == NULL) {
        free(text);
        return NULL;
    }
    text[used] = '\0';
    if (memchr(text, '\0', used) == NULL)
        return text;
    snprintf(why, why_bytes, "it has a NUL byte in it");
    free(text);
    return NULL;
}

static bool lines_are_short(const char *text, char *why, size_t why_bytes)
{
    unsigned line = 1;

    for (; *text != '\0'; line++) {
        size_t n = strcspn(text, "\n");

        if (n > LINE_BYTES_MAX) {
            snprintf(why, why_bytes, "line %u: longer than %u bytes", line, LINE_BYTES_MAX);
            return false;
        }
        text += n + (text[n] == '\n' ? 1 : 0);
    }
    return true;
}

/* "... E (zconfig): (3) indent 4 spaces at once" becomes "line 3: indent 4 spaces at once". */
static void explain(const char *said, char *why, size_t why_bytes)
{
    const char *at = strstr(said, "(zconfig): (");
    char *end;
    unsigned long line;

    snprintf(why, why_bytes, "it is not valid");
    if (at == NULL)
        return;
    line = strtoul(at + strlen("(zconfig): ("), &end, 10);
    if (strncmp(end, ") ", 2) == 0)
        snprintf(why, why_bytes, "line %lu: %.*s", line, (int)strcspn(end + 2, "\n"), end + 2);
}

/* zconfig prints its complaint to stdout, which is for data: it is caught in a file and passed on.
 */
static zconfig_t *load(const char *text, char *why, size_t why_bytes)
{
    char said[256] = "";
    int saved = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    int catch = memfd_create("dtq-config", MFD_CLOEXEC);
    zconfig_t *file;

    fflush(stdout);
    if (saved >= 0 && catch >= 0)
        dup2(catch, STDOUT_FILENO);
    file = zconfig_str_load(text);
    fflush(stdout);
    if (saved >= 0 && catch >= 0)
        dup2(saved, STDOUT_FILENO);
    if (file == NULL && (catch < 0 || pread(catch, said, sizeof said - 1, 0) < 0))
        said[0] = '\0';
    if (file == NULL)
        explain(said, why, why_bytes);
    if (saved >= 0)
        close(saved);
    if (catch >= 0)
        close(catch);
    return file;
}

dtq_err opt_file_open(const char *path, struct _zconfig_t **ret_file, char *why, size_t why_bytes)
{
    char *text = read_text(path, why, why_bytes);
    zconfig_t *file = NULL;

    if (text != NULL && lines_are_short(text, why, why_bytes))
        file = load(text, why, why_bytes);
    free(text);
    if (file == NULL)
        return DTQ_EINVAL;
    *ret_file = file;
    return DTQ_OK;
}

void opt_file_close(struct _zconfig_t *file)
{
    zconfig_destroy(&file);
}

static const char *const keys[] = {"advertise-host",
                                   "backoff",
                                   "bind",
                                   "burst",
                                   "concurrency",
                                   "config",
                                   "data",
                                   "dead-ttl",
                                   "delay",
                                   "durability",
                                   "eta",
                                   "exec",
                                   "expires",
                                   "heartbeat",
                                   "history-ttl",
                                   "idle-timeout",
                                   "insecure",
                                   "intake",
                                   "key-ttl",
                                   "lane-ports",
                                   "limit",
                                   "liveness",
                                   "log-format",
                                   "log-level",
                                   "max-backlog-bytes",
                                   "max-backlog-tasks",
                                   "max-queue-bytes",
                                   "max-queue-tasks",
                                   "max-results-bytes",
                                   "max-tasks-per-child",
                                   "module",
                                   "name",
                                   "no-result",
                                   "no-retry",
                                   "no-retry-on",
                                   "oldest-first",
                                   "priority",
                                   "queue",
                                   "queues",
                                   "result-ttl",
                                   "results",
                                   "retries",
                                   "retry-on",
                                   "state",
                                   "strict-queues",
                                   "time-limit",
                                   "timeout",
                                   "ventilator"};

const char *const *opt_file_keys(size_t *ret_n)
{
    *ret_n = sizeof keys / sizeof *keys;
    return keys;
}

/* The line of a program's section below which nothing stands, or only comments; no key has such a
 * name. */
static bool is_empty_section(zconfig_t *item)
{
    const char *name = zconfig_name(item);
    const char *value = zconfig_value(item);

    return (value == NULL || *value == '\0') &&
           (strcmp(name, "dtq") == 0 || strncmp(name, "dtq-", strlen("dtq-")) == 0);
}

const char *opt_file_strange_section(struct _zconfig_t *file, const char *program,
                                     const char **ret_nearest)
{
    const char *const programs[] = {program, "dtq", "dtq-sink", "dtq-ventilator", "dtq-worker"};
    size_t n = sizeof programs / sizeof *programs;

    for (zconfig_t *item = zconfig_child(file); item != NULL; item = zconfig_next(item)) {
        size_t i = 0;

        while (i < n && strcmp(programs[i], zconfig_name(item)) != 0)
            i++;
        if (zconfig_child(item) == NULL || i < n)
            continue;
        *ret_nearest = text_nearest(zconfig_name(item), programs, n);
        return zconfig_name(item);
    }
    return NULL;
}

static bool each_in(zconfig_t *parent, bool in_section, opt_file_visit *visit, void *arg)
{
    for (zconfig_t *item = zconfig_child(parent); item != NULL; item = zconfig_next(item)) {
        const char *value = zconfig_value(item);

        if (zconfig_child(item) == NULL && !is_empty_section(item) &&
            !visit(arg, in_section, zconfig_name(item), value != NULL ? value : ""))
            return false;
    }
    return true;
}

bool opt_file_each(struct _zconfig_t *file, const char *program, opt_file_visit *visit, void *arg)
{
    if (!each_in(file, false, visit, arg))
        return false;
    for (zconfig_t *item = zconfig_child(file); item != NULL; item = zconfig_next(item))
        if (strcmp(zconfig_name(item), program) == 0 && !each_in(item, true, visit, arg))
            return false;
    return true;
}
