/*
 * The memory that one slot shares with the I/O process: a ring of tasks one way, the outcomes of
 * the same tasks the other way. One 64-bit word (next, tail) says which tasks have been taken: the
 * slot takes the next one, the I/O process appends, and takes back what has not started, all by
 * compare-and-swap on that word. So a task is either taken or taken back, never both.
 *
 * Tasks are numbered by a u32 that wraps; outcome i answers task i, in order. Bodies lie in two
 * data areas, each filled by one side and freed by the other's progress. Either side sleeps on an
 * eventfd and is woken only if it said so first.
 *
 * The slot runs foreign code, which may write anything anywhere in this memory. So the I/O process
 * keeps its own numbers, offsets and lengths, reads from the memory only progress and outcomes,
 * checks each before use, and calls the ring broken when one cannot be true. The memory is sealed
 * against being shrunk.
 */
#ifndef DTQ_RING_H
#define DTQ_RING_H

#include "bounds.h"
#include "msg.h"

#define RING_TASKS 256u /* tasks in the ring at a time; a power of two */

/* The largest task, and the largest outcome, that has room in an empty ring. */
#define RING_TASK_BYTES_MAX (DTQI_TASK_BYTES_MAX + 64 * 1024)
#define RING_OUTCOME_BYTES_MAX (DTQI_RESULT_BYTES_MAX + 4096)

/* A task that took longer wakes the I/O process when it ends, whatever else waits. */
#define RING_LONG_TASK_NS 100000u

struct ring_shared;

/*
 * An area: contiguous pieces, freed in the order they were given, or the newest first. Its near
 * part takes every piece that fits at the moment, the far part the others, so that a slot that
 * never sees a large task never touches more than the near part.
 */
#define RING_NEAR_BYTES (256u * 1024)
#define RING_NONE UINT32_MAX

struct ring_piece {
    uint32_t at; /* RING_NONE: no piece */
    uint32_t end;
};

struct ring_space {
    struct ring_part {
        uint32_t begin;
        uint32_t end;
        uint32_t head; /* behind the newest piece */
        uint32_t tail; /* the oldest piece; with pieces > 0 and head <= tail: wrapped */
        uint32_t pieces;
    } near, far;
    bool far_used; /* since the last trim */
};

enum ring_state { RING_STARTING, RING_READY, RING_FAILED };

struct ring_task {
    dtq_id id;
    uint32_t attempt;
    uint64_t limit_ms;     /* time limit, from its start; 0: none */
    struct dtqi_str name;  /* at most DTQI_NAME_BYTES_MAX bytes */
    struct dtqi_str queue; /* at most DTQI_NAME_BYTES_MAX bytes */
    struct dtqi_slice body;
};

struct ring_outcome {
    dtq_reason reason; /* DTQ_REASON_NONE: success */
    int32_t code;
    bool no_retry;
    uint64_t retry_after_ms;
    uint64_t started_ns;    /* CLOCK_MONOTONIC */
    uint64_t ended_ns;      /* not before started_ns */
    struct dtqi_slice body; /* the result, or the text of the failure */
};

/* ---------------------------------------------------------------- the I/O process's side */

struct ring {
    struct ring_shared *shared;
    size_t shared_bytes;
    int memory_fd;      /* for the slot */
    int wake_slot_fd;   /* eventfd, written here, read by the slot */
    int wake_parent_fd; /* eventfd, written by the slot; poll it edge-triggered, never read it */
    uint32_t tail;      /* number of the next task to be appended */
    uint32_t collected; /* number of the first task whose outcome was not collected */
    uint32_t shown;     /* tail as the slot sees it; tail is ahead until ring_publish() */
    struct ring_space space; /* of tasks */
    size_t outcome_area;     /* where it begins in `shared` */
    uint32_t outcome_area_bytes;
    struct ring_piece pieces[RING_TASKS]; /* each task's data */
    uint32_t seen;                        /* task that was seen to run ... */
    uint64_t seen_ns;                     /* ... first at this time; 0: none was */
    bool broken;                          /* the slot wrote what cannot be true: kill it */
};

/*
 * @param task_bytes     a task with so many bytes of body, name and queue has room in an empty
 * ring; and any mix of tasks with a quarter of it has, whatever came before
 * @param outcome_bytes  the same for outcomes
 * @return DTQ_OK, or DTQ_EIO with errno set.
 */
DTQ_MUST_USE dtq_err ring_open(uint32_t task_bytes, uint32_t outcome_bytes, struct ring *ret_ring);
void ring_close(struct ring *ring); /* takes a closed or zeroed one */

/*
 * What the slot said of its start; its text (names or an error) is copied to `ret_text`, cut to
 * `text_bytes` with the closing NUL.
 */
enum ring_state ring_start_state(const struct ring *ring, char *ret_text, size_t text_bytes);

/* Copy a task into the ring. The slot sees it after ring_publish(). @return its number's low bits
 * as an index below RING_TASKS, or RING_NONE: no room now. */
uint32_t ring_append(struct ring *ring, const struct ring_task *task);
/* Show the slot what was appended, and wake it if it sleeps. */
void ring_publish(struct ring *ring);
/* Take back everything that has not started. @return how many: the last ones appended. */
uint32_t ring_take_back(struct ring *ring);

/* Say that the slot may wake us again, then look how many outcomes wait: at most RING_TASKS. */
uint32_t ring_ready(struct ring *ring);
/* The oldest outcome that waits, of task `ring->collected`; only after ring_ready() said that there
 * is one. The body is borrowed until ring_released(), and its bytes may change under the reader;
 * `reason` and `code` are as the slot wrote them. @return false: it cannot be true (broken). */
DTQ_MUST_USE bool ring_peek(struct ring *ring, struct ring_outcome *ret_outcome);
/* Done with the oldest outcome. */
void ring_release(struct ring *ring);
/* Let the slot have the room of what was released. */
void ring_released(struct ring *ring);

/* Tasks appended and not collected. */
static inline uint32_t ring_count(const struct ring *ring)
{
    return ring->tail - ring->collected;
}

/*
 * Is a task running now? @return false: no; else `ret_index` is its index and `ret_started_ns` when
 * it started, never later than when it was first seen running here, whatever the slot says.
 */
bool ring_running(struct ring *ring, uint64_t now_ns, uint32_t *ret_index,
                  uint64_t *ret_started_ns);
/* Of a ring whose slot is gone and whose outcomes were collected: was a task running (then it is
 * the one at `collected`)? */
bool ring_died_running(struct ring *ring);
/* Ask the slot to end when the task that runs now has ended; that one learns that nobody wants its
 * result. To be called after ring_take_back(). */
void ring_stop(struct ring *ring);
/* Give memory that large tasks used back to the kernel, if no task is in the ring. */
void ring_trim(struct ring *ring);

/* ---------------------------------------------------------------- the slot's side */

struct ring_slot {
    struct ring_shared *shared;
    int wake_slot_fd;
    int wake_parent_fd;
    unsigned char *tasks;                 /* data areas */
    unsigned char *outcomes;              /* data areas */
    struct ring_space space;              /* of outcomes */
    struct ring_piece pieces[RING_TASKS]; /* each outcome's data */
    uint32_t finished;                    /* number of the task that runs, or will run next */
    uint32_t freed;                       /* outcomes whose room is free again */
    bool lost;                            /* the eventfds do not work any more */
    struct ring_piece reserved;           /* the newest piece belongs to the task that runs */
    uint32_t reserved_bytes;
};

/* Maps the memory and closes `memory_fd`; the eventfds are taken on DTQ_OK. @return DTQ_OK,
 * DTQ_EINVAL (not such a memory) or DTQ_EIO with errno set. */
DTQ_MUST_USE dtq_err ring_slot_open(int memory_fd, int wake_slot_fd, int wake_parent_fd,
                                    struct ring_slot *ret_slot);
void ring_slot_close(struct ring_slot *slot);

/* Tell how the start goes: the text is what it is at, the names of the handlers, or what went
 * wrong. */
void ring_slot_started(struct ring_slot *slot, enum ring_state state, const char *text,
                       size_t bytes);

/* Take the next task. Its strings and body stay where they are until its outcome is given; a zero
 * byte follows the body, the name and the queue. @return false: there is none. */
bool ring_slot_take(struct ring_slot *slot, struct ring_task *ret_task);
/* The task that was taken starts now. */
void ring_slot_begin(struct ring_slot *slot, uint64_t started_ns);
/*
 * Room for the outcome of the task that runs, in place of what was reserved for it before; waits
 * until the I/O process has made it. @return NULL: larger than the area, or the I/O process cannot
 * be reached.
 */
void *ring_slot_reserve(struct ring_slot *slot, uint32_t bytes);
/* Give up what was reserved for the task that runs. */
void ring_slot_unreserve(struct ring_slot *slot);
/* The end of the task that runs; outcome->body.len bytes of what was reserved are its body. */
void ring_slot_finish(struct ring_slot *slot, const struct ring_outcome *outcome);
/* Sleep until there may be a task. @return false: the slot is to end, as the other side wants it
 * (ring_slot_is_stopped()) or as its eventfds do not work any more. */
bool ring_slot_wait(struct ring_slot *slot);
/* Did the other side ask the slot to end? Readable from any place: polling wake_slot_fd as well
 * notices it at once. */
bool ring_slot_is_stopped(const struct ring_slot *slot);

#endif
