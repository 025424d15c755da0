/*
 * What a daemon asks of its process and its machine: clocks, random bytes, signals as a file
 * descriptor, limits, memory, the service manager.
 */
#ifndef DTQ_PROC_H
#define DTQ_PROC_H

#include "dtq/base.h"
#include "steady.h"

#include <stdbool.h>

uint64_t proc_now_ms(void);  /* CLOCK_MONOTONIC */
uint64_t proc_now_us(void);  /* CLOCK_MONOTONIC */
uint64_t proc_wall_ms(void); /* CLOCK_REALTIME */

/* For the steady clock: the boot of this host, CLOCK_BOOTTIME, CLOCK_REALTIME. */
struct host_time proc_host_time(void);

/* From the kernel; waits only before its generator is seeded, at the boot of the machine. Ends the
 * process if the kernel has none. */
void proc_random(void *ret, size_t bytes);

/*
 * First thing in main() of a daemon: czmq keeps its hands off signals, SIGPIPE is ignored, file
 * descriptors 0 to 2 are open, the limit of open files is raised to what is allowed, malloc keeps
 * freed memory of busy times from being mapped anew, and gives it back when idle.
 */
void proc_setup(void);
/* Give memory that is free back to the kernel: when a daemon has become idle. */
void proc_trim(void);
/* Open files that this process may have. */
uint64_t proc_files_max(void);

/*
 * SIGTERM, SIGINT, SIGQUIT and SIGHUP are blocked, in this thread and those it starts, and readable
 * from the descriptor. Call before any thread or ZeroMQ context is made.
 * @return the descriptor (close-on-exec, non-blocking), or -1 with errno set.
 */
int proc_signals_open(void);
/* The next signal that came, or 0. */
int proc_signals_next(int fd);
/* A child between fork and exec: signals and the limit of open files as this process was given
 * them. Async-signal-safe. */
void proc_reset_in_child(void);

/* From now on the process has `seconds` to end, else it says so on stderr and exits with status 1,
 * whatever hangs. 0: no more. */
void proc_shutdown_watchdog(unsigned seconds);

/*
 * "ready control=tcp://127.0.0.1:5570 pid=123" on stdout, for scripts and tests that wait for a
 * daemon, and READY=1 to the service manager. `pairs` is "key=value key=value" without newlines.
 */
void proc_ready(const char *pairs);
void proc_stopping(void);
/* How often proc_alive() is to be called, half of what the service manager asks for; 0: it does not
 * ask. */
uint64_t proc_watchdog_ms(void);
void proc_alive(void);

#endif
