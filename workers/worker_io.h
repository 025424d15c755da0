/*
 * The worker's I/O process: sockets, slots, signals and timers around worker_core. One thread, one
 * zmq_poll(); it runs no user code.
 */
#ifndef DTQ_WORKER_IO_H
#define DTQ_WORKER_IO_H

#include "slot_pool.h"

struct worker_io_cfg {
    const char *ventilator;   /* endpoint */
    struct worker_cfg worker; /* instance and seed are made here */
    struct slot_pool_cfg slots;
};

/* Work until a signal, an error or the core says that it is over. @return the exit status. */
int worker_io_run(const struct worker_io_cfg *cfg);

#endif
