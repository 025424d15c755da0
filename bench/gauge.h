/*
 * What is read off the machine while a scenario runs: CPU time of processes, bytes on the loopback
 * interface, system calls and flushes, and how busy everybody else is.
 */
#ifndef DTQ_BENCH_GAUGE_H
#define DTQ_BENCH_GAUGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* CPU nanoseconds of all threads that a process has now; 0: it is gone. */
uint64_t gauge_cpu_ns(pid_t pid);
/* The same of its children and theirs. */
uint64_t gauge_descendants_cpu_ns(pid_t pid);

/* Bytes that went through the loopback interface of this network namespace, headers included. */
uint64_t gauge_wire_bytes(void);
/* Memory that is the process's own: anonymous pages, in bytes. */
uint64_t gauge_anonymous_bytes(pid_t pid);
/* All of its memory, with pages of files that it has mapped and the kernel may take back. */
uint64_t gauge_resident_bytes(pid_t pid);

/* CPU time of the whole machine that was spent on somebody, in nanoseconds since the boot. */
uint64_t gauge_machine_cpu_ns(void);
/* Processors' worth of CPU that the machine uses over the next `ms`, while we wait. */
double gauge_load(unsigned ms);

/* System calls of running processes, counted by the kernel (perf_event_open). */
enum gauge_call { GAUGE_CALLS, GAUGE_FDATASYNC, GAUGE_FSYNC, GAUGE_MSYNC, GAUGE_CALL_TYPES };

struct gauge_calls {
    int *fds; /* one for each thread and type */
    unsigned n;
    unsigned room;
    bool denied; /* the kernel does not let us */
};

/* Count from now on for every thread that the process and its descendants have, and will start. */
void gauge_calls_add(struct gauge_calls *c, pid_t pid);
/* The same without its descendants. */
void gauge_calls_add_threads(struct gauge_calls *c, pid_t pid);
uint64_t gauge_calls_read(const struct gauge_calls *c, enum gauge_call type);
void gauge_calls_done(struct gauge_calls *c);

#endif
