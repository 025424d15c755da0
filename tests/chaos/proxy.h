/*
 * A TCP proxy that makes faults, on a thread of its own. It listens on one port of all loopback
 * addresses; the address that a connection comes to says who called and which port it wants:
 * 127.CALLER.PORT.PORT (see chaos_shim.c). Each link, that is a caller and a way, has a state of
 * its own, which can be changed at any time.
 */
#ifndef DTQ_CHAOS_PROXY_H
#define DTQ_CHAOS_PROXY_H

#include <stdbool.h>
#include <stdint.h>

#define PROXY_CALLERS_MAX 64u

enum proxy_way { WAY_CONTROL, WAY_LANE, WAY_INTAKE, WAY_RESULTS, WAYS };

enum proxy_direction { UP, DOWN }; /* from the caller, to the caller */

/* All zero: bytes pass as they come. */
struct proxy_link {
    bool hold[2]; /* bytes stop here, and go on when this ends: late, but complete and in order */
    /* Bytes vanish. What is lost can only be had again by a new connection: the old one is reset
     * when this ends. */
    bool lose[2];
    bool refuse; /* new connections are reset */
    uint32_t delay_ms;
    uint32_t jitter_ms; /* up to so much more, in order all the same */
    uint32_t bytes_per_s;
};

struct proxy_stats {
    uint64_t connections[WAYS];
    uint64_t open;
    uint64_t resets;
    uint64_t bytes;
    uint64_t bytes_lost;
};

struct proxy;

/* @param port  to listen at. @return NULL with errno set. */
struct proxy *proxy_open(uint16_t port, uint64_t seed);
void proxy_close(struct proxy *p);
/* Which port is which way; every other one is a lane. */
void proxy_ports(struct proxy *p, uint16_t control, uint16_t intake, uint16_t results);
void proxy_set(struct proxy *p, uint32_t caller, enum proxy_way way, const struct proxy_link *link);
/* Reset what is open of this link now, in the middle of a message if need be. */
void proxy_reset(struct proxy *p, uint32_t caller, enum proxy_way way);
void proxy_stats(struct proxy *p, struct proxy_stats *ret);

#endif
