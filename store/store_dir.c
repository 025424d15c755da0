#include "store_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_FILE "dtq.lock"
#define PID_TEXT_BYTES 24

dtq_err store_why(struct store_why why, dtq_err err, const char *format, ...)
{
    va_list args;

    if (why.bytes == 0)
        return err;
    va_start(args, format);
    (void)vsnprintf(why.at, why.bytes, format, args);
    va_end(args);
    return err;
}

dtq_err store_errno_err(int error)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return DTQ_ENOSPC;
    case ENOMEM: return DTQ_ENOMEM;
    default: return DTQ_EIO;
    }
}

/* What somebody can do about it. */
static const char *advice(int error)
{
    switch (error) {
    case EACCES:
    case EPERM:
    case EROFS: return "; choose a directory that this user may write to";
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return "; make room on that disk";
    case ENOTDIR: return "; a part of that path is a file";
    default: return "";
    }
}

static dtq_err why_errno(struct store_why why, const char *what, const char *path)
{
    int error = errno;

    return store_why(why, store_errno_err(error), "cannot %s '%s': %s%s", what, path,
                     strerror(error), advice(error));
}

static dtq_err path_join(const char *dir, const char *name, char ret_path[PATH_MAX],
                         struct store_why why)
{
    int n = snprintf(ret_path, PATH_MAX, "%s/%s", dir, name);

    if (n < 0 || n >= PATH_MAX)
        return store_why(why, DTQ_EIO, "the path of the directory '%.100s..' is too long", dir);
    return DTQ_OK;
}

static dtq_err make_one(const char *path, struct store_why why)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return DTQ_OK;
    return why_errno(why, "make the directory", path);
}

dtq_err store_dir_make(const char *dir, struct store_why why)
{
    char path[PATH_MAX];
    struct stat st;
    dtq_err err = path_join(dir, "", path, why); /* ends in '/', so the last part is made too */

    if (err != DTQ_OK)
        return err;
    for (char *at = path + 1; *at != '\0' && err == DTQ_OK; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        if (stat(path, &st) != 0)
            err = make_one(path, why);
        *at = '/';
    }
    if (err != DTQ_OK)
        return err;
    if (stat(dir, &st) == 0 && !S_ISDIR(st.st_mode)) {
        errno = ENOTDIR;
        return why_errno(why, "use the directory", dir);
    }
    return DTQ_OK;
}

static dtq_err lock_refused(int fd, const char *dir, struct store_why why)
{
    char text[PID_TEXT_BYTES] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    long pid = n > 0 ? strtol(text, NULL, 10) : 0;

    if (pid <= 0)
        return store_why(why, DTQ_ELOCKED,
                         "another process has the directory '%s' open; stop it, or choose another "
                         "directory",
                         dir);
    return store_why(why, DTQ_ELOCKED,
                     "process %ld has the directory '%s' open; stop it, or choose another "
                     "directory",
                     pid, dir);
}

/* For whoever finds the directory locked; without it only the pid is missing from the sentence. */
static void lock_sign(int fd)
{
    char text[PID_TEXT_BYTES];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());

    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n)
        return;
}

dtq_err store_dir_lock(const char *dir, int *ret_fd, struct store_why why)
{
    char path[PATH_MAX];
    int fd;
    dtq_err err = path_join(dir, LOCK_FILE, path, why);

    if (err != DTQ_OK)
        return err;
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return why_errno(why, "write to", path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        err = errno == EWOULDBLOCK ? lock_refused(fd, dir, why) : why_errno(why, "lock", path);
        close(fd);
        return err;
    }
    lock_sign(fd);
    *ret_fd = fd;
    return DTQ_OK;
}

/* @return 0, or errno. */
static int flush(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = fd < 0 || fsync(fd) != 0 ? errno : 0;

    if (fd >= 0)
        close(fd);
    return error;
}

static dtq_err why_not_flushed(int error, const char *dir, struct store_why why)
{
    errno = error;
    return error != 0 ? why_errno(why, "sync the directory", dir) : DTQ_OK;
}

dtq_err store_dir_sync(const char *dir, struct store_why why)
{
    return why_not_flushed(flush(dir), dir, why);
}

/* One that may not be read was there before. So was what is on a file system that has no flushes,
 * as a root of squashfs or a directory of an automounter. */
static bool is_old(int error)
{
    return error == EACCES || error == EINVAL || error == EROFS;
}

dtq_err store_dir_sync_path(const char *dir, struct store_why why)
{
    char path[PATH_MAX];
    const char *at = dir;
    dtq_err err = path_join(dir, "", path, why);

    if (err == DTQ_OK)
        err = store_dir_sync(dir, why);
    while (err == DTQ_OK && strcmp(at, "/") != 0 && strcmp(at, ".") != 0) {
        int error;

        at = dirname(path);
        error = flush(at);
        if (!is_old(error))
            err = why_not_flushed(error, at, why);
    }
    return err;
}

dtq_err store_dir_reserve(const char *dir, const char *name, uint64_t bytes, struct store_why why)
{
    char path[PATH_MAX];
    int error;
    int fd;
    dtq_err err = path_join(dir, name, path, why);

    if (err != DTQ_OK)
        return err;
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return why_errno(why, "write to", path);
    error = posix_fallocate(fd, 0, (off_t)bytes);
    close(fd);
    if (error == 0 || error == EOPNOTSUPP || error == EINVAL)
        return DTQ_OK;
    errno = error;
    return why_errno(why, "write to", path);
}

dtq_err store_dir_mark(const char *dir, struct store_why why)
{
    char path[PATH_MAX];
    int fd;
    dtq_err err = path_join(dir, STORE_DIR_MARK, path, why);

    if (err != DTQ_OK || store_dir_has(dir, STORE_DIR_MARK))
        return err;
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return why_errno(why, "make the file", path);
    close(fd);
    return store_dir_sync(dir, why);
}

bool store_dir_has(const char *dir, const char *name)
{
    char path[PATH_MAX];
    struct store_why none = {NULL, 0};

    return path_join(dir, name, path, none) == DTQ_OK && access(path, F_OK) == 0;
}

dtq_err store_dir_cut(const char *dir, const char *name, struct store_why why)
{
    char path[PATH_MAX];
    dtq_err err = path_join(dir, name, path, why);

    if (err != DTQ_OK || truncate(path, 0) == 0 || errno == ENOENT)
        return err;
    return why_errno(why, "write to", path);
}

dtq_err store_dir_remove(const char *dir, const char *name, struct store_why why)
{
    char path[PATH_MAX];
    dtq_err err = path_join(dir, name, path, why);

    if (err == DTQ_OK && unlink(path) != 0 && errno != ENOENT)
        return why_errno(why, "remove", path);
    return err;
}

dtq_err store_dir_replace(const char *dir, const char *from, struct store_why why)
{
    char old_path[PATH_MAX];
    char new_path[PATH_MAX];
    dtq_err err = path_join(dir, "data.mdb", old_path, why);

    if (err == DTQ_OK)
        err = path_join(from, "data.mdb", new_path, why);
    if (err != DTQ_OK)
        return err;
    if (rename(new_path, old_path) != 0)
        return why_errno(why, "replace", old_path);
    return store_dir_sync(dir, why);
}

void store_dir_remove_copy(const char *dir)
{
    static const char *const names[] = {
        STORE_DIR_COPY "/data.mdb",
        STORE_DIR_COPY "/lock.mdb",
        STORE_DIR_COPY "/" LOCK_FILE,
        STORE_DIR_COPY "/" STORE_DIR_MARK,
        STORE_DIR_COPY,
    };
    struct store_why none = {NULL, 0};
    char path[PATH_MAX];

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (path_join(dir, names[i], path, none) == DTQ_OK)
            (void)remove(path);
}
