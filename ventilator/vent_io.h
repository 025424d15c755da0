/*
 * The ventilator's shell: sockets, journal thread, signals and clock around vent_core. One thread
 * owns the sockets and the core; the journal thread owns the store. vent_io_run() is the whole
 * life of the process between start and stop.
 */
#ifndef DTQ_VENT_IO_H
#define DTQ_VENT_IO_H

#include "store.h"
#include "vent_core.h"

struct vent_io;

struct vent_io_cfg {
    const char *bind;
    bool insecure;
    uint32_t lane_lo;
    uint32_t lane_hi;
    const char *data;
    enum store_durability durability;
    uint64_t map_bytes_max; /* of the journal's file */
    struct vent_cfg
        core; /* its seed is set here, its limits are cut to what the process may open */
};

/*
 * Lock and open the data directory, commit this start's epoch, then listen: whoever connects meets
 * a ventilator that is ready. Signals must be blocked already (proc_signals_open()).
 * @param signals  readable when a signal came; stays the caller's
 * @return DTQ_OK, or the error of the part that failed; `why` gets a sentence then.
 */
DTQ_MUST_USE dtq_err vent_io_open(const struct vent_io_cfg *cfg, int signals,
                                  struct vent_io **ret_io, char *why, size_t why_bytes);
/* The endpoint that was bound, with its real port. */
const char *vent_io_endpoint(const struct vent_io *io);
/*
 * Work until a signal ends it. SIGTERM or a first SIGINT: take nothing new, write everything down,
 * confirm it, end. A second SIGINT, or SIGQUIT: end after the commit under way.
 * @return the process's exit status: 0, or 1 after an error that was logged.
 */
int vent_io_run(struct vent_io *io);
/* Takes NULL. Confirmations that were sent go out for up to a second. */
void vent_io_close(struct vent_io *io);

#endif
