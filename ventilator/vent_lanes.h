/*
 * The lanes of a ventilator: one bound PUSH for each session of a worker (R9), found by session.
 *
 * A worker may grant credit before its end of the lane is connected. What is sent until then waits
 * here, in order; once the lane has had its peer, a send that fails means that the peer is gone.
 */
#ifndef DTQ_VENT_LANES_H
#define DTQ_VENT_LANES_H

#include "sock.h"

struct vent_lanes;

#define VENT_LANE_WAITING_MAX 64u /* frames of one lane that wait for its peer */

/* @param control  the endpoint that was bound: lanes are on the same host. @return NULL: no memory.
 */
struct vent_lanes *vent_lanes_new(void *context, const char *control, uint32_t lanes_max,
                                  uint32_t port_lo, uint32_t port_hi, uint32_t random32);
/* Closes all of them. Takes NULL. */
void vent_lanes_free(struct vent_lanes *lanes);

/* @return DTQ_OK, or as lane_open(). */
DTQ_MUST_USE dtq_err vent_lanes_open(struct vent_lanes *lanes, uint64_t session, char *why,
                                     size_t why_bytes);
/* Where the session's lane is bound; borrowed until it is closed. NULL: it has none. */
const char *vent_lanes_endpoint(const struct vent_lanes *lanes, uint64_t session);
/* At once, with what waits. A session without a lane is allowed. */
void vent_lanes_close(struct vent_lanes *lanes, uint64_t session);
/* Send, or keep until the peer is there. @return DTQ_OK; anything else: the lane is broken. */
DTQ_MUST_USE dtq_err vent_lanes_send(struct vent_lanes *lanes, uint64_t session,
                                     const struct dtqi_msg *msg);

/* Adds the lanes that wait for their peer, as many as there is room for. @return how many. */
size_t vent_lanes_poll(const struct vent_lanes *lanes, struct sock_poll *p);
/* Send what waits where it can go now. */
void vent_lanes_flush(struct vent_lanes *lanes);

#endif
