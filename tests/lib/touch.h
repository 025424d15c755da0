/*
 * What an action points to, read as a shell reads it: every byte of it, before the next step. A
 * test that looks at a few fields only would not notice that the others point to memory that is
 * gone; AddressSanitizer does, when they are read.
 */
#ifndef TOUCH_H
#define TOUCH_H

#include "codec.h"

#include <assert.h>
#include <stdlib.h>

static inline void touch_bytes(const void *at, size_t bytes)
{
    const volatile unsigned char *byte = at;

    for (size_t i = 0; i < bytes; i++)
        (void)byte[i];
}

static inline void touch_str(struct dtqi_str text)
{
    touch_bytes(text.at, text.len);
}

static inline void *touch_place(void *arg, size_t bytes)
{
    void **at = arg;

    return *at = malloc(bytes);
}

/* A core may say nothing that the codec cannot write. */
static inline void touch_msg(const struct dtqi_msg *msg)
{
    void *frame = NULL;
    dtq_err err = dtqi_encode(msg, touch_place, &frame);

    assert(err == DTQ_OK);
    (void)err;
    free(frame);
}

#endif
