#include "ring.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define RING_MAGIC 0x64747131u
#define RING_MASK (RING_TASKS - 1)
#define PIECE_ALIGN 16u
#define SLOT_TRIM_AFTER_MS 1000

_Static_assert((RING_TASKS & RING_MASK) == 0, "indexes are the low bits of numbers");

struct task_cell {
    dtq_id id;
    uint64_t limit_ms;
    uint32_t attempt;
    uint32_t offset; /* of the body; 0 follows, then the name, 0, the queue, 0 */
    uint32_t body_bytes;
    uint16_t name_bytes;
    uint16_t queue_bytes;
};

struct outcome_cell {
    uint64_t started_ns;
    uint64_t ended_ns;
    uint64_t retry_after_ms;
    int32_t code;
    uint32_t reason;
    uint32_t no_retry;
    _Atomic uint32_t offset; /* atomic: read once, checked, then used */
    _Atomic uint32_t bytes;
};

/* Written by different sides: a cache line each. */
struct ring_shared { // NOLINT(clang-analyzer-optin.performance.Padding)
    uint32_t magic;
    uint32_t task_bytes;
    uint32_t outcome_bytes;
    _Alignas(64) _Atomic uint64_t word; /* both: next to be taken << 32 | tail */
    /* the I/O process: */
    _Alignas(64) _Atomic uint32_t collected;
    _Atomic uint32_t wake_at; /* the slot wakes it once `finished` reaches this */
    _Atomic uint32_t stop;
    /* the slot: */
    _Alignas(64) _Atomic uint32_t finished;
    _Atomic uint32_t started_number;
    _Atomic uint64_t started_ns; /* written before started_number */
    /* both: set by who is about to sleep, taken to 0 by who then writes the eventfd */
    _Alignas(64) _Atomic uint32_t slot_sleeps;
    _Alignas(64) _Atomic uint32_t parent_waits;
    _Alignas(64) _Atomic uint32_t state;
    _Atomic uint32_t text_bytes; /* of the start's text, at the begin of the outcomes' area */
    struct task_cell tasks[RING_TASKS];
    struct outcome_cell outcomes[RING_TASKS];
};

static uint64_t word_of(uint32_t next, uint32_t tail)
{
    return (uint64_t)next << 32 | tail;
}

static uint32_t word_next(uint64_t word)
{
    return (uint32_t)(word >> 32);
}

static uint32_t word_tail(uint64_t word)
{
    return (uint32_t)word;
}

static size_t header_bytes(void)
{
    return (sizeof(struct ring_shared) + 4095) & ~(size_t)4095;
}

static uint32_t page_up(uint32_t bytes)
{
    return (bytes + 4095u) & ~4095u;
}

/* ---------------------------------------------------------------- pieces of an area */

static uint32_t near_bytes(uint32_t piece_bytes_max)
{
    return piece_bytes_max < RING_NEAR_BYTES ? piece_bytes_max : RING_NEAR_BYTES;
}

static uint32_t area_bytes(uint32_t piece_bytes_max)
{
    return near_bytes(piece_bytes_max) + piece_bytes_max;
}

static struct ring_space space_of(uint32_t piece_bytes_max)
{
    uint32_t near = near_bytes(piece_bytes_max);

    return (struct ring_space){
        .near = {.begin = 0, .end = near},
        .far = {.begin = near, .end = area_bytes(piece_bytes_max)},
    };
}

static uint32_t part_find(const struct ring_part *part, uint32_t need)
{
    if (part->pieces == 0)
        return need <= part->end - part->begin ? part->begin : RING_NONE;
    if (part->head <= part->tail)
        return need <= part->tail - part->head ? part->head : RING_NONE;
    if (need <= part->end - part->head)
        return part->head;
    return need <= part->tail - part->begin ? part->begin : RING_NONE;
}

static bool part_take(struct ring_part *part, uint32_t need, struct ring_piece *ret_piece)
{
    uint32_t at = part_find(part, need);

    if (at == RING_NONE)
        return false;
    if (part->pieces == 0)
        part->tail = at;
    part->head = at + need;
    part->pieces++;
    *ret_piece = (struct ring_piece){at, at + need};
    return true;
}

/* @return false: no room now. */
static bool space_take(struct ring_space *sp, uint32_t bytes, struct ring_piece *ret_piece)
{
    uint32_t need = bytes > 0 ? (bytes + PIECE_ALIGN - 1) & ~(PIECE_ALIGN - 1) : PIECE_ALIGN;

    if (part_take(&sp->near, need, ret_piece))
        return true;
    if (!part_take(&sp->far, need, ret_piece))
        return false;
    sp->far_used = true;
    return true;
}

static struct ring_part *part_of(struct ring_space *sp, const struct ring_piece *piece)
{
    return piece->at < sp->far.begin ? &sp->near : &sp->far;
}

static void space_free_oldest(struct ring_space *sp, const struct ring_piece *piece)
{
    struct ring_part *part = part_of(sp, piece);

    assert(part->pieces > 0);
    part->tail = piece->end;
    part->pieces--;
}

static void space_free_newest(struct ring_space *sp, const struct ring_piece *piece)
{
    struct ring_part *part = part_of(sp, piece);

    assert(part->pieces > 0);
    part->head = piece->at;
    part->pieces--;
}

static void space_trim(struct ring_space *sp, unsigned char *area)
{
    if (!sp->far_used || sp->far.pieces > 0)
        return;
    /* Failing costs memory, nothing else. */
    (void)madvise(area + sp->far.begin, sp->far.end - sp->far.begin, MADV_REMOVE);
    sp->far_used = false;
}

static size_t all_bytes(uint32_t task_bytes, uint32_t outcome_bytes)
{
    return header_bytes() + area_bytes(task_bytes) + area_bytes(outcome_bytes);
}

static unsigned char *task_area(struct ring_shared *s)
{
    return (unsigned char *)s + header_bytes();
}

/* ---------------------------------------------------------------- the I/O process's side */

/* Sealed: a slot that shrank it would kill us with SIGBUS. */
static int sealed_memory(size_t bytes)
{
    int fd = memfd_create("dtq-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return -1;
    if (ftruncate(fd, (off_t)bytes) == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
        return fd;
    close(fd);
    return -1;
}

dtq_err ring_open(uint32_t task_bytes, uint32_t outcome_bytes, struct ring *ret_ring)
{
    struct ring r = {.memory_fd = -1, .wake_slot_fd = -1, .wake_parent_fd = -1};
    void *at;

    task_bytes = page_up(task_bytes);
    outcome_bytes = page_up(outcome_bytes);
    r.shared_bytes = all_bytes(task_bytes, outcome_bytes);
    r.space = space_of(task_bytes);
    r.outcome_area_bytes = area_bytes(outcome_bytes);
    r.outcome_area = header_bytes() + area_bytes(task_bytes);
    r.memory_fd = sealed_memory(r.shared_bytes);
    r.wake_slot_fd = eventfd(0, EFD_CLOEXEC);
    r.wake_parent_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r.memory_fd < 0 || r.wake_slot_fd < 0 || r.wake_parent_fd < 0)
        goto fail;
    at = mmap(NULL, r.shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, r.memory_fd, 0);
    if (at == MAP_FAILED)
        goto fail;
    r.shared = at;
    r.shared->magic = RING_MAGIC;
    r.shared->task_bytes = task_bytes;
    r.shared->outcome_bytes = outcome_bytes;
    atomic_store(&r.shared->parent_waits, 1);
    *ret_ring = r;
    return DTQ_OK;

fail:
    ring_close(&r);
    return DTQ_EIO;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void ring_close(struct ring *ring)
{
    int saved = errno;

    if (ring->shared_bytes == 0)
        return;
    if (ring->shared != NULL)
        munmap(ring->shared, ring->shared_bytes);
    close_fd(&ring->memory_fd);
    close_fd(&ring->wake_slot_fd);
    close_fd(&ring->wake_parent_fd);
    *ring = (struct ring){.memory_fd = -1, .wake_slot_fd = -1, .wake_parent_fd = -1};
    errno = saved;
}

static const unsigned char *outcome_area(const struct ring *ring)
{
    return (const unsigned char *)ring->shared + ring->outcome_area;
}

enum ring_state ring_start_state(const struct ring *ring, char *ret_text, size_t text_bytes)
{
    uint32_t state = atomic_load(&ring->shared->state);
    uint32_t bytes = atomic_load(&ring->shared->text_bytes);

    if (bytes > ring->outcome_area_bytes)
        bytes = ring->outcome_area_bytes;
    if (bytes >= text_bytes)
        bytes = (uint32_t)text_bytes - 1;
    memcpy(ret_text, outcome_area(ring), bytes);
    ret_text[bytes] = 0;
    if (state == RING_READY)
        return RING_READY;
    return state == RING_FAILED ? RING_FAILED : RING_STARTING;
}

static void copy_string(unsigned char **at, const void *from, uint32_t bytes)
{
    if (bytes > 0)
        memcpy(*at, from, bytes);
    (*at)[bytes] = 0;
    *at += bytes + 1;
}

uint32_t ring_append(struct ring *ring, const struct ring_task *task)
{
    uint32_t index = ring->tail & RING_MASK;
    struct ring_piece *piece = &ring->pieces[index];
    unsigned char *at;

    assert(task->name.len <= DTQI_NAME_BYTES_MAX);
    assert(task->queue.len <= DTQI_NAME_BYTES_MAX);
    if (ring_count(ring) == RING_TASKS || task->body.len > DTQI_TASK_BYTES_MAX)
        return RING_NONE;
    if (!space_take(&ring->space, task->body.len + task->name.len + task->queue.len + 3, piece))
        return RING_NONE;
    at = task_area(ring->shared) + piece->at;
    copy_string(&at, task->body.at, task->body.len);
    copy_string(&at, task->name.at, task->name.len);
    copy_string(&at, task->queue.at, task->queue.len);
    ring->shared->tasks[index] = (struct task_cell){
        .id = task->id,
        .limit_ms = task->limit_ms,
        .attempt = task->attempt,
        .offset = piece->at,
        .body_bytes = task->body.len,
        .name_bytes = (uint16_t)task->name.len,
        .queue_bytes = (uint16_t)task->queue.len,
    };
    ring->tail++;
    return index;
}

/* The slot only ever moves `next` forward, up to tail; anything else was not our slot.c. */
static bool word_is_true(struct ring *ring, uint64_t word)
{
    if (word_tail(word) != ring->shown ||
        word_next(word) - ring->collected > ring->shown - ring->collected)
        ring->broken = true;
    return !ring->broken;
}

/* Change tail, unless the slot spoiled the word. @return false: it did. */
static bool move_tail(struct ring *ring, bool to_next, uint32_t *ret_next)
{
    uint64_t word = atomic_load(&ring->shared->word);
    uint32_t tail;

    do {
        if (!word_is_true(ring, word))
            return false;
        *ret_next = word_next(word);
        tail = to_next ? *ret_next : ring->tail;
    } while (!atomic_compare_exchange_weak(&ring->shared->word, &word, word_of(*ret_next, tail)));
    ring->shown = tail;
    return true;
}

static void wake(_Atomic uint32_t *sleeps, int fd, bool *ret_failed)
{
    uint64_t one = 1;

    if (atomic_load(sleeps) == 0 || atomic_exchange(sleeps, 0) == 0)
        return;
    if (write(fd, &one, sizeof one) != sizeof one && errno != EAGAIN && ret_failed != NULL)
        *ret_failed = true;
}

/* Half of what is there, at most a quarter of the ring: the slot goes on while we refill it. */
static void set_wake_at(struct ring *ring)
{
    uint32_t half = (ring_count(ring) + 1) / 2;

    if (half > RING_TASKS / 4)
        half = RING_TASKS / 4;
    atomic_store(&ring->shared->wake_at, ring->collected + (half > 0 ? half : 1));
}

void ring_publish(struct ring *ring)
{
    uint32_t next;

    if (ring->shown == ring->tail)
        return;
    set_wake_at(ring);
    if (move_tail(ring, false, &next))
        wake(&ring->shared->slot_sleeps, ring->wake_slot_fd, NULL);
}

uint32_t ring_take_back(struct ring *ring)
{
    uint32_t next;
    uint32_t taken = 0;

    ring_publish(ring); /* so that tail is what the word says */
    if (ring->broken || !move_tail(ring, true, &next))
        return 0;
    while (ring->tail != next) {
        ring->tail--;
        space_free_newest(&ring->space, &ring->pieces[ring->tail & RING_MASK]);
        taken++;
    }
    return taken;
}

uint32_t ring_ready(struct ring *ring)
{
    uint32_t finished;

    atomic_store(&ring->shared->parent_waits, 1);
    finished = atomic_load(&ring->shared->finished);
    if (!word_is_true(ring, atomic_load(&ring->shared->word)))
        return 0;
    if (finished - ring->collected > ring->shown - ring->collected) {
        ring->broken = true;
        return 0;
    }
    return finished - ring->collected;
}

bool ring_peek(struct ring *ring, struct ring_outcome *ret_outcome)
{
    const struct outcome_cell *cell = &ring->shared->outcomes[ring->collected & RING_MASK];
    uint32_t offset = atomic_load_explicit(&cell->offset, memory_order_relaxed);
    uint32_t bytes = atomic_load_explicit(&cell->bytes, memory_order_relaxed);
    struct ring_outcome o = {
        .reason = (dtq_reason)cell->reason,
        .code = cell->code,
        .no_retry = cell->no_retry != 0,
        .retry_after_ms = cell->retry_after_ms,
        .started_ns = cell->started_ns,
        .ended_ns = cell->ended_ns,
        .body = {NULL, bytes},
    };

    if (offset > ring->outcome_area_bytes || bytes > ring->outcome_area_bytes - offset ||
        o.ended_ns < o.started_ns) {
        ring->broken = true;
        return false;
    }
    o.body.at = outcome_area(ring) + offset;
    *ret_outcome = o;
    return true;
}

void ring_release(struct ring *ring)
{
    assert(ring->collected != ring->shown);
    space_free_oldest(&ring->space, &ring->pieces[ring->collected & RING_MASK]);
    ring->collected++;
}

void ring_released(struct ring *ring)
{
    atomic_store(&ring->shared->collected, ring->collected);
    set_wake_at(ring);
    wake(&ring->shared->slot_sleeps, ring->wake_slot_fd, NULL); /* it may wait for that room */
}

bool ring_running(struct ring *ring, uint64_t now_ns, uint32_t *ret_index, uint64_t *ret_started_ns)
{
    struct ring_shared *s = ring->shared;
    uint32_t finished = atomic_load(&s->finished);
    uint64_t word = atomic_load(&s->word);
    uint64_t started_ns = now_ns;

    if (!word_is_true(ring, word) || word_next(word) == finished)
        return false;
    if (ring->seen_ns == 0 || ring->seen != finished) {
        ring->seen = finished;
        ring->seen_ns = now_ns;
    }
    /* If the task ended meanwhile, this is the start of a later one: never too early. */
    if (atomic_load(&s->started_number) == finished)
        started_ns = atomic_load(&s->started_ns);
    *ret_index = finished & RING_MASK;
    *ret_started_ns = started_ns < ring->seen_ns ? started_ns : ring->seen_ns;
    return true;
}

bool ring_died_running(struct ring *ring)
{
    uint64_t word = atomic_load(&ring->shared->word);

    if (ring->shown == ring->collected)
        return false;
    return !word_is_true(ring, word) || word_next(word) != ring->collected;
}

void ring_stop(struct ring *ring)
{
    uint64_t one = 1;

    atomic_store(&ring->shared->stop, 1);
    /* Whether or not it said that it sleeps: it may wait for something else as well. */
    if (write(ring->wake_slot_fd, &one, sizeof one) != sizeof one)
        return;
}

void ring_trim(struct ring *ring)
{
    space_trim(&ring->space, task_area(ring->shared));
}

/* ---------------------------------------------------------------- the slot's side */

dtq_err ring_slot_open(int memory_fd, int wake_slot_fd, int wake_parent_fd,
                       struct ring_slot *ret_slot)
{
    struct ring_slot r = {.wake_slot_fd = wake_slot_fd, .wake_parent_fd = wake_parent_fd};
    struct stat st;
    void *at;

    if (fstat(memory_fd, &st) != 0)
        return DTQ_EIO;
    if ((size_t)st.st_size < header_bytes())
        return DTQ_EINVAL;
    at = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
    if (at == MAP_FAILED)
        return DTQ_EIO;
    r.shared = at;
    if (r.shared->magic != RING_MAGIC ||
        all_bytes(r.shared->task_bytes, r.shared->outcome_bytes) != (size_t)st.st_size) {
        munmap(at, (size_t)st.st_size);
        return DTQ_EINVAL;
    }
    r.tasks = task_area(r.shared);
    r.outcomes = r.tasks + area_bytes(r.shared->task_bytes);
    r.space = space_of(r.shared->outcome_bytes);
    r.reserved.at = RING_NONE;
    close(memory_fd);
    *ret_slot = r;
    return DTQ_OK;
}

void ring_slot_close(struct ring_slot *slot)
{
    if (slot->shared == NULL)
        return;
    munmap(slot->shared, all_bytes(slot->shared->task_bytes, slot->shared->outcome_bytes));
    close(slot->wake_slot_fd);
    close(slot->wake_parent_fd);
    *slot = (struct ring_slot){.wake_slot_fd = -1, .wake_parent_fd = -1};
}

static void wake_parent(struct ring_slot *slot)
{
    wake(&slot->shared->parent_waits, slot->wake_parent_fd, &slot->lost);
}

void ring_slot_started(struct ring_slot *slot, enum ring_state state, const char *text,
                       size_t bytes)
{
    if (bytes > slot->space.far.end)
        bytes = slot->space.far.end;
    memcpy(slot->outcomes, text, bytes);
    atomic_store(&slot->shared->text_bytes, (uint32_t)bytes);
    atomic_store(&slot->shared->state, (uint32_t)state);
    if (state != RING_STARTING)
        wake_parent(slot);
}

static void read_task(const struct ring_slot *slot, uint32_t index, struct ring_task *ret_task)
{
    const struct task_cell *cell = &slot->shared->tasks[index];
    const unsigned char *body = slot->tasks + cell->offset;
    const char *name = (const char *)body + cell->body_bytes + 1;

    *ret_task = (struct ring_task){
        .id = cell->id,
        .attempt = cell->attempt,
        .limit_ms = cell->limit_ms,
        .name = {name, cell->name_bytes},
        .queue = {name + cell->name_bytes + 1, cell->queue_bytes},
        .body = {body, cell->body_bytes},
    };
}

bool ring_slot_take(struct ring_slot *slot, struct ring_task *ret_task)
{
    uint64_t word = atomic_load(&slot->shared->word);

    do {
        if (word_next(word) == word_tail(word))
            return false;
    } while (!atomic_compare_exchange_weak(&slot->shared->word, &word,
                                           word_of(word_next(word) + 1, word_tail(word))));
    read_task(slot, word_next(word) & RING_MASK, ret_task);
    return true;
}

void ring_slot_begin(struct ring_slot *slot, uint64_t started_ns)
{
    atomic_store_explicit(&slot->shared->started_ns, started_ns, memory_order_relaxed);
    atomic_store_explicit(&slot->shared->started_number, slot->finished, memory_order_release);
}

/* Outcomes that were collected give their room back. */
static void free_collected(struct ring_slot *slot)
{
    uint32_t collected = atomic_load(&slot->shared->collected);

    for (; slot->freed != collected; slot->freed++) {
        const struct ring_piece *piece = &slot->pieces[slot->freed & RING_MASK];

        if (piece->at != RING_NONE)
            space_free_oldest(&slot->space, piece);
    }
}

/* Sleep until the other side has done something; it may have before. */
static void slot_sleep(struct ring_slot *slot)
{
    uint64_t count;

    while (read(slot->wake_slot_fd, &count, sizeof count) != sizeof count) {
        if (errno == EINTR)
            continue;
        slot->lost = true;
        return;
    }
}

static bool try_reserve(struct ring_slot *slot, uint32_t bytes)
{
    free_collected(slot);
    if (!space_take(&slot->space, bytes, &slot->reserved))
        return false;
    slot->reserved_bytes = bytes;
    return true;
}

void *ring_slot_reserve(struct ring_slot *slot, uint32_t bytes)
{
    ring_slot_unreserve(slot);
    if (bytes > slot->shared->outcome_bytes)
        return NULL;
    while (!try_reserve(slot, bytes)) {
        atomic_store(&slot->shared->slot_sleeps, 1);
        if (try_reserve(slot, bytes))
            break;
        wake_parent(slot);
        slot_sleep(slot);
        if (slot->lost)
            return NULL;
    }
    atomic_store_explicit(&slot->shared->slot_sleeps, 0, memory_order_relaxed);
    return slot->outcomes + slot->reserved.at;
}

void ring_slot_unreserve(struct ring_slot *slot)
{
    if (slot->reserved.at == RING_NONE)
        return;
    space_free_newest(&slot->space, &slot->reserved);
    slot->reserved.at = RING_NONE;
    slot->reserved_bytes = 0;
}

void ring_slot_finish(struct ring_slot *slot, const struct ring_outcome *outcome)
{
    uint32_t index = slot->finished & RING_MASK;
    struct outcome_cell *cell = &slot->shared->outcomes[index];

    assert(outcome->body.len <= slot->reserved_bytes);
    /* Outcomes without a body reserve nothing, so nothing else may have freed the piece that this
     * index had before; written over, it would be lost for ever. */
    free_collected(slot);
    cell->started_ns = outcome->started_ns;
    cell->ended_ns = outcome->ended_ns;
    cell->retry_after_ms = outcome->retry_after_ms;
    cell->code = outcome->code;
    cell->reason = outcome->reason;
    cell->no_retry = outcome->no_retry;
    atomic_store_explicit(&cell->offset, slot->reserved_bytes > 0 ? slot->reserved.at : 0,
                          memory_order_relaxed);
    atomic_store_explicit(&cell->bytes, outcome->body.len, memory_order_relaxed);
    slot->pieces[index] = slot->reserved;
    slot->reserved.at = RING_NONE;
    slot->reserved_bytes = 0;
    slot->finished++;
    atomic_store(&slot->shared->finished, slot->finished);
    if ((int32_t)(slot->finished - atomic_load(&slot->shared->wake_at)) >= 0 ||
        outcome->ended_ns - outcome->started_ns > RING_LONG_TASK_NS)
        wake_parent(slot);
}

static bool has_task(const struct ring_slot *slot)
{
    uint64_t word = atomic_load(&slot->shared->word);

    return word_next(word) != word_tail(word);
}

/* A slot that idles after large outcomes gives their memory back, if it idles for long enough. */
static void trim_when_idle(struct ring_slot *slot)
{
    struct pollfd wait = {.fd = slot->wake_slot_fd, .events = POLLIN};

    if (!slot->space.far_used || poll(&wait, 1, SLOT_TRIM_AFTER_MS) != 0)
        return;
    free_collected(slot);
    space_trim(&slot->space, slot->outcomes);
}

bool ring_slot_is_stopped(const struct ring_slot *slot)
{
    return atomic_load_explicit(&slot->shared->stop, memory_order_relaxed) != 0;
}

bool ring_slot_wait(struct ring_slot *slot)
{
    for (;;) {
        atomic_store(&slot->shared->slot_sleeps, 1);
        if (ring_slot_is_stopped(slot))
            return false;
        if (has_task(slot))
            break;
        if (slot->finished != atomic_load(&slot->shared->collected))
            wake_parent(slot);
        trim_when_idle(slot);
        slot_sleep(slot);
        if (slot->lost)
            return false;
    }
    atomic_store_explicit(&slot->shared->slot_sleeps, 0, memory_order_relaxed);
    return !slot->lost;
}
