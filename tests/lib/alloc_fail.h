/*
 * Allocations that fail on order: link with -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc. Only
 * those of the thread that ordered it count, and only those of objects that are linked statically.
 */
#ifndef ALLOC_FAIL_H
#define ALLOC_FAIL_H

#include <stdbool.h>
#include <stddef.h>

/* From now on the n-th allocation of this thread fails, from 1; 0: none does. */
void alloc_fail_at(unsigned long n);
/* Count and fail, or let pass (at first). */
void alloc_fail_arm(bool armed);
/* Has the ordered failure happened? */
bool alloc_failed(void);

#endif
