/*
 * A disk that fails on order. These functions stand in the place of libc's open, mkdir, write,
 * pwrite, writev, fdatasync, fsync, ftruncate, fallocate and rename: in a program that is linked
 * with shim.c, or by LD_PRELOAD of the same as a library. Calls on files below one directory are
 * counted; at the n-th something happens. They can also be recorded, to play a power cut later.
 *
 * As a library it takes its orders from DISK_DIR (the directory), DISK_FAULT (a name of
 * shim_fault_names), DISK_AT (n) and DISK_COUNT (a file that gets the count of calls, as
 * eight bytes, as they happen).
 */
#ifndef DTQ_TESTS_SHIM_H
#define DTQ_TESTS_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum shim_fault {
    SHIM_NONE,
    SHIM_KILL,        /* SIGKILL before the n-th call */
    SHIM_TEAR,        /* .. after half of it, if it writes */
    SHIM_EIO_WRITE,   /* the n-th call and all later ones, if they write, fail */
    SHIM_EIO_SYNC,    /* the n-th call, if it flushes, fails; the disk is well afterwards */
    SHIM_NO_SPACE,    /* the n-th call and all later ones, if they write or allocate */
    SHIM_SHORT,       /* the n-th call, if it writes, writes half */
    SHIM_INTERRUPTED, /* from the n-th call on, every other write is interrupted first */
};
extern const char *const shim_fault_names[];

/* Count calls below `dir` from now on, from 1. `at` 0: never. */
void shim_set(const char *dir, enum shim_fault fault, uint64_t at);
uint64_t shim_calls(void);
/* Flushes that were asked for after the fault. */
uint64_t shim_syncs_after(void);
bool shim_has_struck(void);

/* One of the files and directories made below the directory since shim_set() whose own directory
 * was not flushed after that: a power cut may forget it. Those named in `but`, which ends in NULL,
 * do not count. NULL: there is none. */
const char *shim_unflushed_entry(const char *const *but);

enum shim_op_type { SHIM_WRITE, SHIM_SYNC, SHIM_SIZE, SHIM_MARK };

struct shim_op {
    enum shim_op_type type;
    bool is_durable; /* WRITE: through O_DSYNC */
    bool is_growth;  /* SIZE: by fallocate, never makes a file shorter */
    uint64_t offset; /* WRITE; of SIZE: the new size; of MARK: its number */
    uint8_t *at;     /* WRITE: owned */
    size_t bytes;
};

/* Record what happens to files of this name below the directory. */
void shim_record(const char *name);
void shim_mark(uint64_t number);
const struct shim_op *shim_ops(size_t *ret_n);
void shim_forget(void); /* everything that was recorded; recording ends */

#endif
