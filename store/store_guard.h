/*
 * Memory faults in the map of a damaged store. LMDB trusts what stands in its pages; a flipped bit
 * in the head of a leaf can make it read behind the end of the file, and that is a signal. The
 * process then ends with a sentence on stderr and status 1, as with every other damage, and not
 * with a core. Faults anywhere else go to whoever handled them before.
 */
#ifndef DTQ_STORE_GUARD_H
#define DTQ_STORE_GUARD_H

#include <stddef.h>

/* Watch the map that `at` lies in, until store_guard_remove(). `dir` is copied. @return a number,
 * or -1: it is not watched. */
int store_guard_add(const void *at, const char *dir);
void store_guard_remove(int number); /* takes -1 */
/* End the process with the sentence about the store in `dir`. */
void store_guard_stop(const char *dir, const char *what) __attribute__((noreturn));

#endif
