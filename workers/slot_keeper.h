/*
 * What tasks leave behind when the worker itself is killed. Its slots die with it
 * (PR_SET_PDEATHSIG), but not what their tasks have started. So each worker has a small process of
 * its own program beside it, the keeper, which knows the sessions of the slots by shared memory. It
 * sees the worker's end by the end of a pipe, then kills everything of these sessions, and ends.
 *
 *     dtq-worker --keeper SLOTS
 *
 * Where there is no /proc it finds nothing. A keeper that was killed is replaced within seconds,
 * and before the next slot is started.
 */
#ifndef DTQ_SLOT_KEEPER_H
#define DTQ_SLOT_KEEPER_H

#include "dtq/base.h"

#include <stdbool.h>

#define SLOT_KEEPER_OPTION "--keeper"

struct slot_keeper {
    const char *program; /* dtq-worker, borrowed */
    uint32_t slots;
    _Atomic int *sessions; /* shared, by slot; 0: none */
    int memory_fd;
    int life_fd; /* of the pipe; the keeper reads the other end */
    int pid;     /* 0: it does not run */
};

/* The process is not started yet. @return false with errno set. */
bool slot_keeper_open(struct slot_keeper *k, const char *program, uint32_t slots);
/* All sessions must be gone, or whoever they belong to is left alone. Takes one that is all zero.
 */
void slot_keeper_close(struct slot_keeper *k);

/* The slot's session from now on; 0: nothing is left of it. */
void slot_keeper_note(struct slot_keeper *k, uint32_t slot, int session);
/* Start the keeper, if it does not run or has ended. */
void slot_keeper_check(struct slot_keeper *k);

/* Is this process to be a keeper? */
bool slot_keeper_is_asked_for(int argc, char **argv);
/* Be one. @return the exit status. */
int slot_keeper_main(int argc, char **argv);

#endif
