/*
 * A cluster of real programs on this machine to measure: started from beside this executable, each
 * with default settings, its data in a folder of its own, dead when we are.
 */
#ifndef DTQ_BENCH_BED_H
#define DTQ_BENCH_BED_H

#include "load.h"
#include "supervise.h"

#include <limits.h>
#include <stdbool.h>

#define BED_WORKERS_MAX 4

enum {
    BED_VENTILATOR,
    BED_SINK,
    BED_WORKER,
    BED_UP = BED_WORKER + BED_WORKERS_MAX,
    BED_PRODUCER,
    BED_MEMBERS
};

struct bed_cfg {
    unsigned workers;
    unsigned slots; /* of each worker */
    bool is_async;
    bool is_watched; /* one member runs under callgrind, which writes DIR/callgrind at its end */
    int watched;
};

struct bed {
    struct bed_cfg cfg;
    struct child members[BED_MEMBERS];
    char dir[PATH_MAX]; /* a folder on the disk that is measured */
    char control[128];
    char words[BED_MEMBERS][16][PATH_MAX + 32];
    char *argv[BED_MEMBERS][17];
    dtq_client *client;
};

/* Where folders of data are made; a disk. */
void bed_set_folder(const char *path);
/* A new folder in it. */
void bed_make_folder(char *ret, size_t bytes);
void bed_remove_folder(const char *path);
/* What follows ends the program, with a sentence, when it is not possible: there is nothing to
 * measure then. */
void bed_open(struct bed *b, struct bed_cfg cfg);
/* The same by `dtq up`: one process to start, which starts the others. */
void bed_up(struct bed *b);
void bed_connect(struct bed *b, dtq_follow follow);
/* The same for a producer that keeps more under way than others do. */
void bed_connect_wide(struct bed *b, uint32_t open_max);
void bed_start(struct bed *b, int member);
/* A load of noops by a producer in a process of its own, until it has all results. */
void bed_produce(struct bed *b, uint64_t tasks);
void bed_stop(struct bed *b, int member);
void bed_close(struct bed *b);
/* Bytes on the disk of a member's files. */
uint64_t bed_disk_bytes(const struct bed *b, int member);

/* A load of the noop handler of bench.so: 128 bytes in, 16 bytes out. */
struct load bed_noops(struct bed *b);
/* A load of its sleep handler. */
struct load bed_sleeps(struct bed *b);

/* In a network namespace of our own, where ports are free and loopback carries nothing else's
 * bytes; false: not allowed. First thing in main(). */
bool bed_isolate(void);
/* Print the sentence and end the program. */
void bed_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
