/*
 * What simulation and tests can do to a store in memory besides using it. All of one thread;
 * clones of one store too, since they share what they have in common.
 */
#ifndef DTQ_STORE_MEMORY_H
#define DTQ_STORE_MEMORY_H

#include "store.h"

/* A new store with the state of the last commit and the same identity: what a process finds that
 * starts after `s` was killed. Open transactions of `s` do not matter. Constant time. */
DTQ_MUST_USE dtq_err store_memory_clone(const struct store *s, struct store **ret_store);

/* The next commit returns `err` and keeps nothing; DTQ_EIO: as after a failed fsync, the store
 * refuses further writes. */
void store_memory_fail_commit(struct store *s, dtq_err err);

/* No more than `bytes` of keys and values (and 32 for each record); at first map_bytes_max. An
 * eighth of it is kept back for STORE_SPARE. */
void store_memory_set_limit(struct store *s, uint64_t bytes);

/* Flip a bit in the record under `key`, as a bad disk does. DTQ_ENOTFOUND: no such record. */
DTQ_MUST_USE dtq_err store_memory_damage(struct store *s, unsigned table, struct dtqi_slice key);

#endif
