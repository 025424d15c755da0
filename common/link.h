/*
 * A connection that a program makes and keeps: a socket with its monitor. Whoever owns it waits for
 * both (sock_poll_sock(), sock_poll_monitor()), takes the events, and calls link_reopen() in time.
 */
#ifndef DTQ_LINK_H
#define DTQ_LINK_H

#include "sock.h"

struct link {
    enum sock_kind kind; /* set this, and the rest to zero: closed */
    struct sock sock;
    struct sock_monitor monitor;
    char endpoint[DTQI_ENDPOINT_BYTES_MAX + 1]; /* empty: there is to be none */
    uint64_t reopen_ms; /* the socket is dead, and made anew then; 0: it is not dead */
};

/* Begin to connect to `endpoint`, on a new socket. @return false: no socket could be made, which is
 * logged, and tried again by link_reopen(). */
bool link_open(struct link *l, void *context, struct dtqi_str endpoint, uint64_t now_ms);
/* At once; takes a closed one. */
void link_close(struct link *l);
/* The same, but what was sent goes out for up to `linger_ms`. */
void link_close_linger(struct link *l, int linger_ms);

/* What became of the connection; SOCK_NOTHING: nothing further now. A socket that was rejected is
 * dead, and due to be made anew. */
enum sock_event link_next(struct link *l, uint64_t now_ms);
/* Make a dead socket anew, if it is time. */
void link_reopen(struct link *l, void *context, uint64_t now_ms);

#endif
