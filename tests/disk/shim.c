#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))

#define ENTRIES_MAX 16

const char *const shim_fault_names[] = {
    [SHIM_NONE] = "none",         [SHIM_KILL] = "kill",
    [SHIM_TEAR] = "tear",         [SHIM_EIO_WRITE] = "eio-write",
    [SHIM_EIO_SYNC] = "eio-sync", [SHIM_NO_SPACE] = "no-space",
    [SHIM_SHORT] = "short",       [SHIM_INTERRUPTED] = "interrupted",
};

static struct {
    char dir[PATH_MAX];
    enum shim_fault fault;
    uint64_t at;
    _Atomic uint64_t calls;
    uint64_t syncs_after;
    bool has_struck;
    bool was_interrupted;
    char name[64]; /* of recorded files; "": none */
    struct shim_op *ops;
    size_t ops_n;
    size_t ops_room;
    _Atomic uint64_t *count;             /* shared with whoever watches; NULL */
    char entries[ENTRIES_MAX][PATH_MAX]; /* made, and not flushed; "": free */
} shim;

/* ---- orders */

void shim_set(const char *dir, enum shim_fault fault, uint64_t at)
{
    (void)snprintf(shim.dir, sizeof shim.dir, dir[0] != '\0' ? "%s/" : "%s", dir);
    shim.fault = fault;
    shim.at = at;
    shim.calls = 0;
    shim.syncs_after = 0;
    shim.has_struck = shim.was_interrupted = false;
    memset(shim.entries, 0, sizeof shim.entries);
}

uint64_t shim_calls(void)
{
    return shim.calls;
}

uint64_t shim_syncs_after(void)
{
    return shim.syncs_after;
}

bool shim_has_struck(void)
{
    return shim.has_struck;
}

static void share_count(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *at = MAP_FAILED;

    if (fd >= 0 && syscall(SYS_ftruncate, fd, sizeof *shim.count) == 0)
        at = mmap(NULL, sizeof *shim.count, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED)
        shim.count = at;
    if (fd >= 0)
        close(fd);
}

__attribute__((constructor)) static void take_orders(void)
{
    const char *dir = getenv("DISK_DIR");
    const char *fault = getenv("DISK_FAULT");
    const char *at = getenv("DISK_AT");
    const char *count = getenv("DISK_COUNT");

    if (dir == NULL || fault == NULL)
        return;
    for (int i = SHIM_NONE; i <= SHIM_INTERRUPTED; i++)
        if (strcmp(shim_fault_names[i], fault) == 0)
            shim_set(dir, (enum shim_fault)i, at != NULL ? strtoull(at, NULL, 10) : 0);
    if (count != NULL)
        share_count(count);
}

/* ---- which files */

static bool path_of(int fd, char ret[PATH_MAX])
{
    char link[64];
    ssize_t n;

    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, ret, PATH_MAX - 1);
    ret[n > 0 ? n : 0] = '\0';
    return n > 0;
}

static bool is_ours(const char *path)
{
    size_t n = strlen(shim.dir);

    /* The directory itself is flushed too. */
    return n > 0 && (strncmp(path, shim.dir, n) == 0 ||
                     (strlen(path) == n - 1 && strncmp(path, shim.dir, n - 1) == 0));
}

static bool is_recorded(const char *path)
{
    const char *name = strrchr(path, '/');

    return shim.name[0] != '\0' && name != NULL && strcmp(name + 1, shim.name) == 0;
}

/* ---- recording */

static struct shim_op *add_op(enum shim_op_type type)
{
    struct shim_op *op;

    if (shim.ops_n == shim.ops_room) {
        shim.ops_room = shim.ops_room == 0 ? 256 : 2 * shim.ops_room;
        shim.ops = realloc(shim.ops, shim.ops_room * sizeof *shim.ops);
        if (shim.ops == NULL)
            abort();
    }
    op = &shim.ops[shim.ops_n++];
    *op = (struct shim_op){.type = type};
    return op;
}

void shim_record(const char *name)
{
    (void)snprintf(shim.name, sizeof shim.name, "%s", name);
}

void shim_mark(uint64_t number)
{
    if (shim.name[0] != '\0')
        add_op(SHIM_MARK)->offset = number;
}

const struct shim_op *shim_ops(size_t *ret_n)
{
    *ret_n = shim.ops_n;
    return shim.ops;
}

void shim_forget(void)
{
    for (size_t i = 0; i < shim.ops_n; i++)
        free(shim.ops[i].at);
    free(shim.ops);
    shim.ops = NULL;
    shim.ops_n = shim.ops_room = 0;
    shim.name[0] = '\0';
}

static void record_write(int fd, uint64_t offset, const void *at, size_t bytes)
{
    struct shim_op *op = add_op(SHIM_WRITE);

    op->is_durable = (fcntl(fd, F_GETFL) & O_DSYNC) != 0;
    op->offset = offset;
    op->bytes = bytes;
    op->at = malloc(bytes + 1);
    if (op->at == NULL)
        abort();
    memcpy(op->at, at, bytes);
}

/* ---- entries of directories */

static void entry_made(const char *path)
{
    for (size_t i = 0; i < ENTRIES_MAX; i++)
        if (shim.entries[i][0] == '\0') {
            (void)snprintf(shim.entries[i], PATH_MAX, "%s", path);
            return;
        }
    abort();
}

static bool is_in(const char *path, const char *dir)
{
    size_t n = strlen(dir);

    return strncmp(path, dir, n) == 0 && path[n] == '/' && strchr(path + n + 1, '/') == NULL;
}

static void entries_flushed(const char *dir)
{
    for (size_t i = 0; i < ENTRIES_MAX; i++)
        if (is_in(shim.entries[i], dir))
            shim.entries[i][0] = '\0';
}

static bool is_named(const char *path, const char *const *names)
{
    for (; *names != NULL; names++)
        if (strcmp(strrchr(path, '/') + 1, *names) == 0)
            return true;
    return false;
}

const char *shim_unflushed_entry(const char *const *but)
{
    for (size_t i = 0; i < ENTRIES_MAX; i++)
        if (shim.entries[i][0] != '\0' && !is_named(shim.entries[i], but))
            return shim.entries[i];
    return NULL;
}

/* ---- faults */

enum call { CALL_WRITE, CALL_SYNC, CALL_SIZE, CALL_NAME };
enum verdict { GO_ON, FAIL, HALF, HALF_AND_DIE };

static enum verdict strike(enum call call)
{
    shim.has_struck = true;
    switch (shim.fault) {
    case SHIM_KILL: kill(getpid(), SIGKILL); return FAIL;
    case SHIM_TEAR: return call == CALL_WRITE ? HALF_AND_DIE : (kill(getpid(), SIGKILL), FAIL);
    case SHIM_EIO_WRITE:
    case SHIM_EIO_SYNC: errno = EIO; return FAIL;
    case SHIM_NO_SPACE: errno = ENOSPC; return FAIL;
    case SHIM_SHORT: return HALF;
    case SHIM_INTERRUPTED: errno = EINTR; return FAIL;
    case SHIM_NONE: break;
    }
    return GO_ON;
}

static bool is_meant(enum call call, uint64_t n)
{
    switch (shim.fault) {
    case SHIM_KILL:
    case SHIM_TEAR: return n == shim.at;
    case SHIM_EIO_WRITE: return n >= shim.at && call == CALL_WRITE;
    case SHIM_EIO_SYNC: return n == shim.at && call == CALL_SYNC;
    case SHIM_NO_SPACE: return n >= shim.at && (call == CALL_WRITE || call == CALL_SIZE);
    case SHIM_SHORT: return n == shim.at && call == CALL_WRITE;
    case SHIM_INTERRUPTED:
        shim.was_interrupted = !shim.was_interrupted;
        return n >= shim.at && call == CALL_WRITE && shim.was_interrupted;
    case SHIM_NONE: break;
    }
    return false;
}

static enum verdict judge(const char *path, enum call call)
{
    uint64_t n;

    if (!is_ours(path))
        return GO_ON;
    n = ++shim.calls;
    if (shim.count != NULL)
        *shim.count = n;
    if (shim.has_struck && call == CALL_SYNC)
        shim.syncs_after++;
    return shim.at != 0 && is_meant(call, n) ? strike(call) : GO_ON;
}

static ssize_t put(int fd, const struct iovec *pieces, int n, bool has_offset, off_t offset)
{
    if (has_offset)
        return syscall(SYS_pwritev, fd, pieces, n, offset, 0);
    return syscall(SYS_writev, fd, pieces, n);
}

static ssize_t put_half(int fd, const struct iovec *pieces, int n, bool has_offset, off_t offset)
{
    struct iovec half = {pieces[0].iov_base, (pieces[0].iov_len + 1) / 2};

    return n > 1 ? put(fd, pieces, n / 2, has_offset, offset)
                 : put(fd, &half, 1, has_offset, offset);
}

static ssize_t write_pieces(int fd, const struct iovec *pieces, int n, bool has_offset,
                            off_t offset)
{
    char path[PATH_MAX];
    enum verdict verdict;
    ssize_t done;

    if (shim.dir[0] == '\0' || !path_of(fd, path))
        return put(fd, pieces, n, has_offset, offset);
    verdict = judge(path, CALL_WRITE);
    if (verdict == FAIL)
        return -1;
    if (verdict != GO_ON) {
        done = put_half(fd, pieces, n, has_offset, offset);
        if (verdict == HALF_AND_DIE)
            kill(getpid(), SIGKILL);
        return done;
    }
    if (!has_offset)
        offset = lseek(fd, 0, SEEK_CUR);
    done = put(fd, pieces, n, has_offset, offset);
    if (done > 0 && is_ours(path) && is_recorded(path))
        for (int i = 0; i < n; offset += (off_t)pieces[i++].iov_len)
            record_write(fd, (uint64_t)offset, pieces[i].iov_base, pieces[i].iov_len);
    return done;
}

EXPORTED ssize_t write(int fd, const void *at, size_t bytes)
{
    struct iovec piece = {(void *)(uintptr_t)at, bytes};

    return write_pieces(fd, &piece, 1, false, 0);
}

EXPORTED ssize_t pwrite(int fd, const void *at, size_t bytes, off_t offset)
{
    struct iovec piece = {(void *)(uintptr_t)at, bytes};

    return write_pieces(fd, &piece, 1, true, offset);
}

EXPORTED ssize_t writev(int fd, const struct iovec *pieces, int n)
{
    return write_pieces(fd, pieces, n, false, 0);
}

static int flush(int fd, long number)
{
    char path[PATH_MAX];

    if (shim.dir[0] == '\0' || !path_of(fd, path))
        return (int)syscall(number, fd);
    if (judge(path, CALL_SYNC) == FAIL)
        return -1;
    if (is_ours(path) && is_recorded(path))
        (void)add_op(SHIM_SYNC);
    entries_flushed(path);
    return (int)syscall(number, fd);
}

EXPORTED int fdatasync(int fd)
{
    return flush(fd, SYS_fdatasync);
}

EXPORTED int fsync(int fd)
{
    return flush(fd, SYS_fsync);
}

static int resize(int fd, bool is_growth, off_t from, off_t bytes, int mode)
{
    char path[PATH_MAX];
    int rc;

    if (shim.dir[0] != '\0' && path_of(fd, path) && judge(path, CALL_SIZE) == FAIL)
        return -1;
    rc = is_growth ? (int)syscall(SYS_fallocate, fd, mode, from, bytes)
                   : (int)syscall(SYS_ftruncate, fd, bytes);
    if (rc == 0 && shim.dir[0] != '\0' && path_of(fd, path) && is_ours(path) && is_recorded(path)) {
        struct shim_op *op = add_op(SHIM_SIZE);

        op->is_growth = is_growth;
        op->offset = (uint64_t)(from + bytes);
    }
    return rc;
}

EXPORTED int ftruncate(int fd, off_t bytes)
{
    return resize(fd, false, 0, bytes, 0);
}

EXPORTED int fallocate(int fd, int mode, off_t from, off_t bytes)
{
    return resize(fd, true, from, bytes, mode);
}

EXPORTED int posix_fallocate(int fd, off_t from, off_t bytes)
{
    int before = errno;
    int rc = resize(fd, true, from, bytes, 0) == 0 ? 0 : errno;

    errno = before;
    return rc;
}

static int open_path(const char *path, int flags, mode_t mode)
{
    bool is_new = shim.dir[0] != '\0' && (flags & O_CREAT) != 0 && is_ours(path) &&
                  syscall(SYS_faccessat, AT_FDCWD, path, F_OK) != 0;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);

    if (fd >= 0 && is_new)
        entry_made(path);
    return fd;
}

/* Only what may make a file has a mode. */
#define OPEN_AS(name)                                                           \
    EXPORTED int name(const char *path, int flags, ...)                         \
    {                                                                           \
        va_list args;                                                           \
        mode_t mode;                                                            \
                                                                                \
        va_start(args, flags);                                                  \
        mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(args, mode_t) : 0; \
        va_end(args);                                                           \
        return open_path(path, flags, mode);                                    \
    }
OPEN_AS(open)
OPEN_AS(open64)

EXPORTED int mkdir(const char *path, mode_t mode)
{
    int rc = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);

    if (rc == 0 && is_ours(path))
        entry_made(path);
    return rc;
}

EXPORTED int rename(const char *from, const char *to)
{
    if (judge(to, CALL_NAME) == FAIL)
        return -1;
    if (syscall(SYS_rename, from, to) != 0)
        return -1;
    if (is_ours(to))
        entry_made(to);
    return 0;
}
