/*
 * Memory that fails in the real programs, by LD_PRELOAD: only what dtq's own code asks for, known
 * by the address that a call returns to (in the program or in libdtq; not in libzmq, LMDB,
 * protobuf-c and libc, which have their own ways, or none, of taking it).
 *
 * An allocation is chosen by its place: the chain of calls in our code that leads to it. That is
 * the same in each run, whatever threads and the network do in between.
 *
 *   MEMORY_LIST=FILE     write down each place when it is first met, a line each
 *   MEMORY_FAIL=PLACE    an allocation at this place fails, as MEMORY_NTH says (1: the first one)
 *   MEMORY_RUN=N         .. and so do the next N-1 of the same process, wherever they are
 *   MEMORY_STRUCK=FILE   made when that happens; if it is there, nothing fails any more: children
 *                        and programs that are started again go on
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))
#define FRAMES_MAX 12u
#define FRAME_BYTES_MAX (1u << 20)
#define PLACES_MAX (1u << 14) /* a power of two; programs have some hundreds */
#define EARLY_BYTES 65536u

struct range {
    uintptr_t from;
    uintptr_t to;
};

static struct {
    struct range ours[2]; /* the program, libdtq */
    unsigned ours_n;
    int list_fd; /* 0: none */
    uint64_t wanted;
    uint64_t nth;
    uint64_t run;
    char struck[4096];
    _Atomic uint64_t met;  /* how often the wanted place came */
    _Atomic uint64_t left; /* failures to come */
    _Atomic uint64_t places[PLACES_MAX];
} shim;

static struct {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
} real;

/* ---- orders */

static bool is_named(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');

    return strncmp(slash != NULL ? slash + 1 : path, name, strlen(name)) == 0;
}

static int add_range(struct dl_phdr_info *info, size_t bytes, void *arg)
{
    struct range r = {UINTPTR_MAX, 0};
    bool is_program = info->dlpi_name[0] == '\0';

    (void)bytes;
    (void)arg;
    if ((!is_program && !is_named(info->dlpi_name, "libdtq.so")) || shim.ours_n == 2)
        return 0;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];

        if (h->p_type != PT_LOAD)
            continue;
        if (info->dlpi_addr + h->p_vaddr < r.from)
            r.from = info->dlpi_addr + h->p_vaddr;
        if (info->dlpi_addr + h->p_vaddr + h->p_memsz > r.to)
            r.to = info->dlpi_addr + h->p_vaddr + h->p_memsz;
    }
    shim.ours[shim.ours_n++] = r;
    return 0;
}

static uint64_t number(const char *variable, int base, uint64_t initial)
{
    const char *text = getenv(variable);

    return text != NULL ? strtoull(text, NULL, base) : initial;
}

/* Commands that a task runs, and other programs, have it loaded, too. */
static bool is_ours(void)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);

    path[n > 0 ? n : 0] = '\0';
    return is_named(path, "dtq");
}

__attribute__((constructor)) static void take_orders(void)
{
    const char *list = getenv("MEMORY_LIST");
    const char *struck = getenv("MEMORY_STRUCK");

    if (!is_ours())
        return;
    if (list != NULL) {
        int fd = open(list, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

        shim.list_fd = fcntl(fd, F_DUPFD_CLOEXEC, 900); /* above those that slots close */
        close(fd);
    }
    (void)snprintf(shim.struck, sizeof shim.struck, "%s", struck != NULL ? struck : "");
    shim.nth = number("MEMORY_NTH", 10, 1);
    shim.run = number("MEMORY_RUN", 10, 1);
    shim.wanted = number("MEMORY_FAIL", 16, 0);
    dl_iterate_phdr(add_range, NULL); /* from now on, calls are looked at */
}

/* ---- places */

static const struct range *range_of(uintptr_t at)
{
    for (unsigned i = 0; i < shim.ours_n; i++)
        if (at >= shim.ours[i].from && at < shim.ours[i].to)
            return &shim.ours[i];
    return NULL;
}

struct place {
    uint64_t hash;
    uintptr_t at[FRAMES_MAX]; /* relative to their ranges */
    unsigned n;
};

/* Ours keeps frame pointers; the walk ends at the first frame of somebody else. */
static struct place place_of(void *const *frame)
{
    struct place p = {.hash = 0xcbf29ce484222325ull};

    while (p.n < FRAMES_MAX) {
        uintptr_t at = (uintptr_t)frame[1];
        const struct range *range = range_of(at);
        void *const *next = frame[0];

        if (range == NULL)
            break;
        p.at[p.n++] = at - range->from;
        p.hash =
            (p.hash ^ (at - range->from) ^ (uint64_t)(range - shim.ours) << 60) * 0x100000001b3ull;
        if (next <= frame || (uintptr_t)next - (uintptr_t)frame > FRAME_BYTES_MAX ||
            (uintptr_t)next % sizeof *next != 0)
            break;
        frame = next;
    }
    return p;
}

static void write_place(int fd, const struct place *p)
{
    char text[32 + FRAMES_MAX * 20];
    int n = snprintf(text, sizeof text, "%llx", (unsigned long long)p->hash);

    for (unsigned i = 0; i < p->n; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, " %llx", (unsigned long long)p->at[i]);
    n += snprintf(text + n, sizeof text - (size_t)n, "\n");
    while (write(fd, text, (size_t)n) < 0 && errno == EINTR)
        ;
}

static bool is_new(uint64_t hash)
{
    for (uint64_t i = hash;; i++) {
        uint64_t there = 0;

        if (atomic_compare_exchange_strong(&shim.places[i % PLACES_MAX], &there, hash))
            return true;
        if (there == hash)
            return false;
    }
}

/* @return false: it has struck elsewhere. */
static bool strike(const struct place *p)
{
    int fd = open(shim.struck, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0)
        return false;
    write_place(fd, p);
    close(fd);
    return true;
}

static bool takes_one(_Atomic uint64_t *left)
{
    uint64_t n = *left;

    while (n > 0)
        if (atomic_compare_exchange_weak(left, &n, n - 1))
            return true;
    return false;
}

/* `frame` is that of the function which our code has called. */
static bool fails(void *const *frame)
{
    struct place p;
    int before = errno;
    bool it_does;

    if (shim.ours_n == 0 || range_of((uintptr_t)frame[1]) == NULL)
        return false;
    p = place_of(frame);
    if (shim.list_fd > 0 && is_new(p.hash))
        write_place(shim.list_fd, &p);
    it_does = takes_one(&shim.left);
    if (p.hash == shim.wanted && ++shim.met == shim.nth && strike(&p)) {
        shim.left = shim.run - 1;
        it_does = true;
    }
    errno = it_does ? ENOMEM : before;
    return it_does;
}

#define FAILS() fails(__builtin_frame_address(0))

/* ---- what allocates */

/* dlsym() itself may allocate. */
static void *early(size_t bytes)
{
    static _Alignas(max_align_t) char memory[EARLY_BYTES];
    static size_t used;
    size_t from = used;

    used += (bytes + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    return used <= sizeof memory ? memory + from : NULL;
}

static void find_real(void)
{
    static bool is_finding;

    if (is_finding)
        return;
    is_finding = true;
    *(void **)&real.calloc = dlsym(RTLD_NEXT, "calloc");
    *(void **)&real.realloc = dlsym(RTLD_NEXT, "realloc");
    *(void **)&real.malloc = dlsym(RTLD_NEXT, "malloc");
}

EXPORTED void *malloc(size_t bytes)
{
    if (real.malloc == NULL)
        find_real();
    if (real.malloc == NULL)
        return early(bytes);
    return FAILS() ? NULL : real.malloc(bytes);
}

EXPORTED void *calloc(size_t n, size_t bytes)
{
    if (real.calloc == NULL)
        find_real();
    if (real.calloc == NULL)
        return early(n * bytes);
    return FAILS() ? NULL : real.calloc(n, bytes);
}

EXPORTED void *realloc(void *at, size_t bytes)
{
    if (real.realloc == NULL)
        find_real();
    return FAILS() ? NULL : real.realloc(at, bytes);
}

EXPORTED char *strdup(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = FAILS() ? NULL : real.malloc(bytes);

    return copy != NULL ? memcpy(copy, text, bytes) : NULL;
}

EXPORTED int vasprintf(char **ret, const char *format, va_list args)
{
    va_list again;
    int n;

    va_copy(again, args);
    n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (n < 0 || FAILS() || (*ret = real.malloc((size_t)n + 1)) == NULL)
        return -1;
    return vsnprintf(*ret, (size_t)n + 1, format, args);
}

#define PASS_ON(type, name, wants, ...)            \
    EXPORTED type name wants                       \
    {                                              \
        type(*next) wants;                         \
                                                   \
        *(void **)&next = dlsym(RTLD_NEXT, #name); \
        return FAILS() ? NULL : next(__VA_ARGS__); \
    }

PASS_ON(FILE *, fopen, (const char *path, const char *mode), path, mode)
PASS_ON(FILE *, fdopen, (int fd, const char *mode), fd, mode)
PASS_ON(char *, realpath, (const char *path, char *ret), path, ret)
PASS_ON(DIR *, opendir, (const char *path), path)
