/*
 * Counted memory that a message was decoded into: an arena whose last holder frees it. Bodies of
 * tasks and results are never copied on arrival; whoever keeps one keeps a reference to the buffer
 * it came in. Not thread-safe: the count is touched by the loop thread alone (another thread may
 * read the bytes while the loop thread holds a reference for it).
 */
#ifndef DTQI_BUF_H
#define DTQI_BUF_H

#include "poison.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

struct dtqi_buf_chunk {
    struct dtqi_buf_chunk *next;
    size_t size;
    size_t used;
    _Alignas(16) unsigned char bytes[];
};

struct dtqi_buf {
    uint32_t refs;
    size_t total; /* bytes given out */
    size_t max;   /* bytes that may be given out in all */
    struct dtqi_buf_chunk *chunks;
};

struct dtqi_slice {
    const void *at;
    uint32_t len;
};

static inline struct dtqi_buf_chunk *dtqi_buf_add_chunk(struct dtqi_buf *b, size_t size)
{
    struct dtqi_buf_chunk *c = NULL;

    if (size < SIZE_MAX - sizeof *c)
        c = malloc(sizeof *c + size);
    if (c == NULL)
        return NULL;
    *c = (struct dtqi_buf_chunk){.next = b->chunks, .size = size};
    b->chunks = c;
    dtqi_poison(c->bytes, c->size);
    return c;
}

/* A new buffer with one reference. `first` is a guess at what will be needed, `max` the bound.
 * NULL: no memory. */
static inline struct dtqi_buf *dtqi_buf_new(size_t first, size_t max)
{
    struct dtqi_buf *b = malloc(sizeof *b);

    if (b == NULL)
        return NULL;
    *b = (struct dtqi_buf){.refs = 1, .max = max};
    if (first != 0 && dtqi_buf_add_chunk(b, first < max ? first : max) == NULL) {
        free(b);
        return NULL;
    }
    return b;
}

/* Uninitialised memory, aligned to 16; NULL when the bound or the machine's memory is reached. */
static inline void *dtqi_buf_alloc(struct dtqi_buf *b, size_t size)
{
    struct dtqi_buf_chunk *c = b->chunks;
    size_t want = (size + 15) & ~(size_t)15;
    void *at;

    if (want < size || want > b->max - b->total)
        return NULL;
    if (c == NULL || want > c->size - c->used) {
        size_t chunk = c == NULL ? 1024 : 2 * c->size;

        c = dtqi_buf_add_chunk(b, want > chunk ? want : chunk);
        if (c == NULL)
            return NULL;
    }
    at = c->bytes + c->used;
    c->used += want;
    b->total += want;
    dtqi_unpoison(at, size);
    return at;
}

static inline struct dtqi_buf *dtqi_buf_ref(struct dtqi_buf *b)
{
    assert(b->refs > 0);
    b->refs++;
    return b;
}

/* Take back everything that was given out, for the next round of a scratch buffer that nobody else
 * holds. The newest chunk, which is the largest, is kept. */
static inline void dtqi_buf_reset(struct dtqi_buf *b)
{
    struct dtqi_buf_chunk *keep = b->chunks;

    assert(b->refs == 1);
    if (keep == NULL)
        return;
    while (keep->next != NULL) {
        struct dtqi_buf_chunk *c = keep->next;

        keep->next = c->next;
        free(c);
    }
    keep->used = 0;
    dtqi_poison(keep->bytes, keep->size);
    b->total = 0;
}

/* Takes NULL. */
static inline void dtqi_buf_unref(struct dtqi_buf *b)
{
    struct dtqi_buf_chunk *c;

    if (b == NULL)
        return;
    assert(b->refs > 0);
    if (--b->refs > 0)
        return;
    while ((c = b->chunks) != NULL) {
        b->chunks = c->next;
        free(c);
    }
    free(b);
}

#endif
