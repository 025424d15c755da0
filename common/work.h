/*
 * A thread that works off items in the order they were given, and gives them back in that order:
 * the commit threads of the ventilator and the sink. Items pass by pointer; who has the pointer
 * owns the item. The loop thread never waits for it: it pushes, polls work_fd(), and pops what is
 * done.
 */
#ifndef DTQ_WORK_H
#define DTQ_WORK_H

#include "dtq/base.h"

#include <stdbool.h>

struct work;

struct work_item {
    void *at;
    uint32_t kind; /* the owner's */
};

/* Runs in the thread, on 1..group_max items that were waiting: what came meanwhile is the next
 * group. Their results are in the items. A last time with none, before the thread ends: what is the
 * thread's own can only be given up there. */
typedef void work_run(void *arg, struct work_item *items, size_t n);

/* @param name  of the thread, at most 15 bytes. @return DTQ_OK, DTQ_ENOMEM or DTQ_EIO. */
DTQ_MUST_USE dtq_err work_start(const char *name, work_run *run, void *arg, size_t group_max,
                                struct work **ret_work);
/* Never waits. @return DTQ_OK, or DTQ_ENOMEM: the item is still the caller's. */
DTQ_MUST_USE dtq_err work_push(struct work *work, struct work_item item);
/* Readable while something is done and not popped. */
int work_fd(const struct work *work);
/* @return false: nothing is done now. */
bool work_pop(struct work *work, struct work_item *ret_item);
/* Items pushed and not yet popped. */
size_t work_pending(const struct work *work);
/* Work off everything that was pushed, then end the thread: waits for it. What is done can still be
 * popped. */
void work_stop(struct work *work);
/* After work_stop(); items that were not popped are forgotten. Takes NULL. */
void work_free(struct work *work);

#endif
