/*
 * The sink's shell: the loop thread owns the sockets and the core, the commit thread owns the
 * result store. The loop never waits for the disk: heartbeats are answered while it is slow.
 */
#ifndef DTQ_SINK_IO_H
#define DTQ_SINK_IO_H

#include "store.h"

struct sink_io_cfg { /* texts are borrowed during sink_io_run() */
    const char *ventilator;
    const char *intake; /* endpoints to listen on; port 0 or "*": the kernel chooses */
    const char *results;
    const char *advertise_host; /* the host under which others reach this sink; NULL: see below */
    const char *data;
    uint64_t result_ttl_ms;
    uint64_t store_bytes_max;
    enum store_durability durability;
    bool insecure;
};

/*
 * Open everything, say "ready intake=.. results=.." on stdout, serve until a signal says stop.
 * Endpoints with a wildcard host are announced with advertise_host, else with the address under
 * which this machine talks to the ventilator.
 * @return the status to exit with: 0, or 1 after one line in the log that says why.
 */
int sink_io_run(const struct sink_io_cfg *cfg);

#endif
