#include "vent_lanes.h"

#include <assert.h>
#include <stdlib.h>

struct lane {
    uint64_t session;
    struct sock sock;
    bool had_peer;
    zmq_msg_t *waiting; /* frames for a peer that is not there yet */
    uint32_t waiting_n;
    struct lane *next_waiting; /* in vent_lanes.waiting */
};

struct vent_lanes {
    void *context;
    struct lane_ports *ports;
    struct lane *waiting; /* lanes with waiting frames */
    uint32_t n;
    uint32_t lanes_max;
    uint32_t mask;
    struct lane *table[]; /* by session: open addressing, linear probing, no tombstones */
};

struct vent_lanes *vent_lanes_new(void *context, const char *control, uint32_t lanes_max,
                                  uint32_t port_lo, uint32_t port_hi, uint32_t random32)
{
    struct vent_lanes *lanes;
    uint32_t room = 16;

    while (room < 2 * lanes_max)
        room *= 2;
    lanes = calloc(1, sizeof *lanes + room * sizeof(struct lane *));
    if (lanes == NULL)
        return NULL;
    lanes->context = context;
    lanes->lanes_max = lanes_max;
    lanes->mask = room - 1;
    lanes->ports = lane_ports_new(control, port_lo, port_hi, random32);
    if (lanes->ports == NULL) {
        free(lanes);
        return NULL;
    }
    return lanes;
}

static uint32_t home_of(const struct vent_lanes *lanes, uint64_t session)
{
    return (uint32_t)dtqi_mix64(session) & lanes->mask;
}

/* Where the lane of `session` is, or where it would go. */
static uint32_t place_of(const struct vent_lanes *lanes, uint64_t session)
{
    uint32_t at = home_of(lanes, session);

    while (lanes->table[at] != NULL && lanes->table[at]->session != session)
        at = (at + 1) & lanes->mask;
    return at;
}

/* Those behind a freed place move up if it lies between their home and where they are. */
static void close_gap(struct vent_lanes *lanes, uint32_t gap)
{
    for (uint32_t at = (gap + 1) & lanes->mask; lanes->table[at] != NULL;
         at = (at + 1) & lanes->mask) {
        uint32_t home = home_of(lanes, lanes->table[at]->session);

        if (((at - home) & lanes->mask) < ((at - gap) & lanes->mask))
            continue;
        lanes->table[gap] = lanes->table[at];
        lanes->table[at] = NULL;
        gap = at;
    }
}

dtq_err vent_lanes_open(struct vent_lanes *lanes, uint64_t session, char *why, size_t why_bytes)
{
    struct lane *lane;
    dtq_err err;

    vent_lanes_close(lanes, session);
    if (lanes->n == lanes->lanes_max) {
        snprintf(why, why_bytes, "all %u lanes are in use", lanes->lanes_max);
        return DTQ_EBUSY;
    }
    lane = calloc(1, sizeof *lane);
    if (lane == NULL) {
        snprintf(why, why_bytes, "out of memory");
        return DTQ_ENOMEM;
    }
    lane->session = session;
    err = lane_open(lanes->ports, lanes->context, &lane->sock, why, why_bytes);
    if (err != DTQ_OK) {
        free(lane);
        return err;
    }
    lanes->table[place_of(lanes, session)] = lane;
    lanes->n++;
    return DTQ_OK;
}

const char *vent_lanes_endpoint(const struct vent_lanes *lanes, uint64_t session)
{
    const struct lane *lane = lanes->table[place_of(lanes, session)];

    return lane != NULL ? lane->sock.endpoint : NULL;
}

static void stop_waiting(struct vent_lanes *lanes, struct lane *lane)
{
    struct lane **at = &lanes->waiting;

    if (lane->waiting == NULL)
        return;
    while (*at != lane)
        at = &(*at)->next_waiting;
    *at = lane->next_waiting;
    free(lane->waiting);
    lane->waiting = NULL;
    lane->waiting_n = 0;
}

void vent_lanes_close(struct vent_lanes *lanes, uint64_t session)
{
    uint32_t at = place_of(lanes, session);
    struct lane *lane = lanes->table[at];

    if (lane == NULL)
        return;
    for (uint32_t i = 0; i < lane->waiting_n; i++)
        zmq_msg_close(&lane->waiting[i]);
    stop_waiting(lanes, lane);
    lane_close(lanes->ports, &lane->sock);
    free(lane);
    lanes->table[at] = NULL;
    lanes->n--;
    close_gap(lanes, at);
}

void vent_lanes_free(struct vent_lanes *lanes)
{
    if (lanes == NULL)
        return;
    for (uint32_t at = 0; at <= lanes->mask; at++)
        while (lanes->table[at] != NULL) /* closing one may move another one here */
            vent_lanes_close(lanes, lanes->table[at]->session);
    lane_ports_free(lanes->ports);
    free(lanes);
}

static dtq_err wait_for_peer(struct vent_lanes *lanes, struct lane *lane, zmq_msg_t *frame)
{
    if (lane->waiting == NULL) {
        lane->waiting = calloc(VENT_LANE_WAITING_MAX, sizeof *lane->waiting);
        if (lane->waiting == NULL)
            return DTQ_ENOMEM;
        lane->next_waiting = lanes->waiting;
        lanes->waiting = lane;
    }
    if (lane->waiting_n == VENT_LANE_WAITING_MAX)
        return DTQ_EBUSY;
    zmq_msg_init(&lane->waiting[lane->waiting_n]);
    zmq_msg_move(&lane->waiting[lane->waiting_n++], frame);
    return DTQ_OK;
}

dtq_err vent_lanes_send(struct vent_lanes *lanes, uint64_t session, const struct dtqi_msg *msg)
{
    struct lane *lane = lanes->table[place_of(lanes, session)];
    zmq_msg_t frame;
    dtq_err err;

    if (lane == NULL)
        return DTQ_EUNREACHABLE;
    err = sock_encode(msg, &frame);
    if (err != DTQ_OK)
        return err;
    err = lane->waiting_n > 0 ? DTQ_EAGAIN : sock_send_frame(&lane->sock, 0, &frame);
    if (err == DTQ_OK) {
        lane->had_peer = true;
        return DTQ_OK;
    }
    if (err == DTQ_EAGAIN && !lane->had_peer)
        err = wait_for_peer(lanes, lane, &frame);
    zmq_msg_close(&frame); /* empty if it was moved */
    return err;
}

size_t vent_lanes_poll(const struct vent_lanes *lanes, struct sock_poll *p)
{
    size_t n = 0;

    for (struct lane *lane = lanes->waiting; lane != NULL && p->n < SOCK_POLL_MAX;
         lane = lane->next_waiting, n++)
        sock_poll_sock(p, &lane->sock);
    return n;
}

/* The first frames go out; those that do not move up. They may all go: a peer that vanishes just
 * now is met by the next send. */
static void flush(struct lane *lane)
{
    uint32_t sent = 0;

    if (!sock_is_writable(&lane->sock)) /* asked, since a send may not notice its new peer yet */
        return;
    while (sent < lane->waiting_n &&
           sock_send_frame(&lane->sock, 0, &lane->waiting[sent]) == DTQ_OK)
        sent++;
    if (sent == 0)
        return; /* zmq_msg_move() onto itself empties a message */
    for (uint32_t i = sent; i < lane->waiting_n; i++)
        zmq_msg_move(&lane->waiting[i - sent], &lane->waiting[i]);
    lane->waiting_n -= sent;
}

void vent_lanes_flush(struct vent_lanes *lanes)
{
    for (struct lane *lane = lanes->waiting, *next; lane != NULL; lane = next) {
        next = lane->next_waiting;
        flush(lane);
        if (lane->waiting_n > 0)
            continue;
        lane->had_peer = true;
        stop_waiting(lanes, lane);
    }
}
