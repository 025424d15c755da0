/*
 * One TCP connection to a server that speaks lines and counted bytes (Redis, beanstalkd): commands
 * gather until they are flushed, answers are read through a buffer. Whatever goes wrong ends the
 * program, with a sentence: there is nothing to measure then.
 */
#ifndef DTQ_BENCH_WIRE_H
#define DTQ_BENCH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_IN_BYTES 65536
#define WIRE_LINE_BYTES 256

struct wire {
    int fd;
    char *out; /* commands that were not flushed yet */
    size_t out_bytes;
    size_t out_room;
    size_t in_at;
    size_t in_bytes;
    unsigned owed; /* answers that nobody waited for yet: they come first */
    char in[WIRE_IN_BYTES];
    char line[WIRE_LINE_BYTES];
};

/* To 127.0.0.1; waits until somebody listens there. */
struct wire *wire_open(uint16_t port);
void wire_close(struct wire *w);

void wire_put(struct wire *w, const void *bytes, size_t n);
void wire_print(struct wire *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* "$128\r\n": what goes before counted bytes, without the price of printing. */
void wire_count(struct wire *w, char kind, size_t n);
void wire_flush(struct wire *w);

/* A line without its end, valid until the next. */
const char *wire_line(struct wire *w);
/* A line that begins with `expected`. @return what follows it. */
const char *wire_expect(struct wire *w, const char *expected);
/* @param ret  NULL: they are passed over */
void wire_bytes(struct wire *w, void *ret, size_t n);

#endif
