/*
 * With AddressSanitizer, memory that is kept but not given out may not be touched: what points into
 * a buffer of an earlier step, or behind what it was given, is found like what points to freed
 * memory. Without it all of this is nothing.
 */
#ifndef DTQI_POISON_H
#define DTQI_POISON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__SANITIZE_ADDRESS__)
#define DTQI_HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define DTQI_HAS_ASAN 1
#endif
#endif

#ifdef DTQI_HAS_ASAN
/* Of its run-time library; its header is none of libc. */
void __asan_poison_memory_region(void const volatile *at, size_t bytes);
void __asan_unpoison_memory_region(void const volatile *at, size_t bytes);
int __asan_address_is_poisoned(void const volatile *at);
#endif

/* For tests: may this byte be read? Without AddressSanitizer nobody knows, and it may. */
static inline bool dtqi_is_readable(const void *at)
{
#ifdef DTQI_HAS_ASAN
    return !__asan_address_is_poisoned(at);
#else
    (void)at;
    return true;
#endif
}

static inline void dtqi_poison(const void *at, size_t bytes)
{
#ifdef DTQI_HAS_ASAN
    __asan_poison_memory_region(at, bytes);
#else
    (void)at;
    (void)bytes;
#endif
}

static inline void dtqi_unpoison(const void *at, size_t bytes)
{
#ifdef DTQI_HAS_ASAN
    __asan_unpoison_memory_region(at, bytes);
#else
    (void)at;
    (void)bytes;
#endif
}

/* The next size of an array that grows by doubling, from `first` on. With AddressSanitizer a small
 * one moves with each element: what points into it is of no use after anything was added. */
static inline uint32_t dtqi_more_room(uint32_t room, uint32_t first)
{
#ifdef DTQI_HAS_ASAN
    if (room < 64)
        return room + 1;
#endif
    return room != 0 ? 2 * room : first;
}

#endif
