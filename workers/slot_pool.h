/*
 * The slots as the I/O process sees them: processes that are started, fed, looked at, killed and
 * replaced. One epoll descriptor stands for all of them. Nothing here waits, but slot_pool_close().
 * What happens comes out of slot_pool_next() as events for the core; what the core wants goes in
 * by the calls named like its actions.
 *
 * A slot is a session of its own (setsid). When its process ends, for whatever reason, everything
 * in its process group is killed, then everything else of its session: the pool makes this process
 * the reaper of what slots leave behind (PR_SET_CHILD_SUBREAPER). Only then is SLOT_EXITED given.
 * What left the session on purpose (setsid) is not followed. When this process itself is killed,
 * the keeper does the same (slot_keeper.h).
 */
#ifndef DTQ_SLOT_POOL_H
#define DTQ_SLOT_POOL_H

#include "worker_core.h"

/* After WORKER_KILL_STOP a task that runs has so long to end by itself. */
#define SLOT_POOL_STOP_MS 200u

struct slot_pool;

struct slot_pool_cfg {
    const char *program; /* dtq-worker; NULL: the program that this process runs */
    uint32_t slots;
    uint32_t result_bytes_max;
    uint32_t files_max;         /* limit of open files for slots and their commands */
    const char *const *modules; /* files */
    size_t modules_n;
    const char *const *execs; /* NAME=COMMAND */
    size_t execs_n;
};

/* `cfg` and its texts are borrowed until slot_pool_close(). @return DTQ_OK, DTQ_ENOMEM or DTQ_EIO
 * with errno set. */
DTQ_MUST_USE dtq_err slot_pool_open(const struct slot_pool_cfg *cfg, struct slot_pool **ret_pool);
/* Kill all that runs, and wait until it is gone. Takes NULL. */
void slot_pool_close(struct slot_pool *pool);

/* Readable when slot_pool_poll() has something to find. */
int slot_pool_fd(const struct slot_pool *pool);
/* Find out which slots have something to say or have ended; carry out what is due. */
void slot_pool_poll(struct slot_pool *pool, uint64_t now_ms);
/* Look at every slot that has tasks, whether or not it spoke: which one runs now, and since when.
 */
void slot_pool_look(struct slot_pool *pool, uint64_t now_ms);
/* When slot_pool_poll() is to be called at the latest; UINT64_MAX: when the descriptor says so. */
uint64_t slot_pool_deadline_ms(const struct slot_pool *pool);

/*
 * The next event. While `result_room_bytes` is 0 no results are read out of the rings, except from
 * slots that have ended or whose tasks are taken back.
 * @return false: there is none. Else what the event points to is valid until the next call.
 */
bool slot_pool_next(struct slot_pool *pool, uint64_t now_ms, uint64_t wall_ms,
                    uint64_t result_room_bytes, struct worker_event *ret_event);

/* The slot must be down: never started, or SLOT_EXITED was given. */
void slot_pool_start(struct slot_pool *pool, uint32_t slot, uint64_t now_ms);
/* Tasks are copied. What does not fit comes back as SLOT_FULL. */
void slot_pool_feed(struct slot_pool *pool, uint32_t slot, const struct worker_feed *tasks,
                    uint32_t n);
void slot_pool_take_back(struct slot_pool *pool, uint32_t slot);
void slot_pool_retire(struct slot_pool *pool, uint32_t slot);
void slot_pool_kill(struct slot_pool *pool, uint32_t slot, enum worker_kill why, uint64_t now_ms);

/* Process id of a slot, 0 when it is down; for logs and tests. */
int slot_pool_pid(const struct slot_pool *pool, uint32_t slot);

#endif
