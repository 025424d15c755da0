/*
 * What slots leave behind: processes of the session of a slot that has ended. As this process is a
 * subreaper they become its children, one generation after the other. Where the kernel does not
 * tell a process its children (/proc/self/task/N/children) none are found.
 */
#ifndef DTQ_SLOT_ORPHANS_H
#define DTQ_SLOT_ORPHANS_H

#include <stdint.h>

struct slot_orphans {
    struct slot_orphan {
        int pid;
        int session;
    } * at;
    uint32_t n;
    uint32_t room;
};

/* List this process's children anew. What does not fit into memory is left out. */
void slot_orphans_list(struct slot_orphans *o);
void slot_orphans_done(struct slot_orphans *o);

/* Kill and reap those of the list that are of `session`, but not its leader. @return how many
 * there were: as the children of each become ours when it ends, list again and call again until
 * there are none. */
uint32_t slot_orphans_kill(const struct slot_orphans *o, int session);

/* Reap a child of the list if it has ended. */
void slot_orphan_reap(const struct slot_orphan *orphan);

#endif
