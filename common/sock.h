/*
 * ZeroMQ sockets as dtq uses them: every option is set explicitly, per kind, in one table; one
 * frame is one message; a ROUTER's peers are u32 routes. One thread owns a socket. ZMTP heartbeats
 * are never used: they lose messages and can abort the process; dtq's own heartbeats are in the
 * protocol.
 */
#ifndef DTQ_SOCK_H
#define DTQ_SOCK_H

#include "bounds.h"
#include "codec.h"
#include "log.h"

#include <poll.h>
#include <zmq.h>

#define SOCK_WHY_BYTES 512

enum sock_kind {
    SOCK_CONTROL,      /* ROUTER that a ventilator binds */
    SOCK_CONTROL_PEER, /* DEALER of whoever connects to it; sends only while connected */
    SOCK_LANE,         /* PUSH that a ventilator binds for one session of one worker (R9) */
    SOCK_LANE_PEER,    /* PULL of that worker; never reconnects (R9) */
    SOCK_INTAKE,       /* PULL that a sink binds */
    SOCK_INTAKE_PEER,  /* PUSH of workers and ventilators; sends only while connected */
    SOCK_RESULTS,      /* ROUTER that a sink binds */
    SOCK_RESULTS_PEER, /* DEALER of whoever asks; sends only while connected */
};

struct sock_guard;

/* What is known of a socket's queue between two waits: see struct sock_poll. */
struct sock_wake {
    bool is_polled; /* by sock_poll_wait() */
    bool is_empty;  /* and nothing has come since */
};

struct sock {
    void *zmq; /* for zmq_poll(); NULL: closed */
    enum sock_kind kind;
    char endpoint[DTQI_ENDPOINT_BYTES_MAX + 1]; /* bound or connected; the real port */
    uint64_t received;                          /* messages that were good */
    uint64_t sent;
    uint64_t dropped;         /* wrong number of frames, foreign routing id, not decodable */
    struct sock_guard *guard; /* told of what came; borrowed; NULL: none */
    struct log_rate drop_rate;
    struct sock_wake wake;
};

/* A context for up to `sockets_max` sockets. @return NULL with errno set. End it with
 * sock_context_free(), after all sockets are closed; takes NULL. */
void *sock_context_new(unsigned sockets_max);
void sock_context_free(void *context);

/*
 * Open and bind. `endpoint` may have port 0 or "*": sock->endpoint then has the real one.
 * @return DTQ_OK; DTQ_EBUSY (in use by another process), DTQ_EINVAL (not an endpoint, no such
 * interface), DTQ_EREFUSED (not loopback or ipc, and `insecure` is false), DTQ_EIO, DTQ_ENOMEM.
 * `why` gets a sentence that names endpoint, cause and remedy.
 */
DTQ_MUST_USE dtq_err sock_bind(void *context, enum sock_kind kind, const char *endpoint,
                               bool insecure, struct sock *ret_sock, char *why, size_t why_bytes);
/* Open and begin to connect: returns at once, whether or not anybody is there. Errors as above but
 * EBUSY and EREFUSED. */
DTQ_MUST_USE dtq_err sock_connect(void *context, enum sock_kind kind, const char *endpoint,
                                  struct sock *ret_sock, char *why, size_t why_bytes);
/* A connecting socket that met the wrong kind of peer (SOCK_REJECTED) is dead until this. */
void sock_reconnect(struct sock *sock);
/* At once: what was not sent is dropped. Takes a closed or zeroed one. */
void sock_close(struct sock *sock);
/* The same, but what was sent goes out for up to `linger_ms` (waited for by sock_context_free()).
 */
void sock_close_linger(struct sock *sock, int linger_ms);

/*
 * Receive and decode one message; never waits. A frame that is no good is dropped, counted, and
 * logged at a limited rate; a peer with another protocol version is told so.
 * @param ret_route  ROUTER sockets: who sent it; else untouched; may be NULL then
 * @return DTQ_OK: `ret_msg` is the caller's (dtqi_msg_done()); DTQ_EAGAIN: there is nothing;
 * DTQ_EPROTO: something was dropped, there may be more; DTQ_ENOMEM: likewise.
 */
DTQ_MUST_USE dtq_err sock_recv(struct sock *sock, uint64_t now_ms, uint32_t *ret_route,
                               struct dtqi_msg *ret_msg);

/*
 * Encode and send one message; never waits. `route` counts for ROUTER sockets only.
 * @return DTQ_OK: handed to ZeroMQ; DTQ_EAGAIN: no room, or nobody is connected; DTQ_EUNREACHABLE:
 * no such route any more; DTQ_ENOMEM; DTQ_ETOOBIG: its frame would be over DTQI_FRAME_BYTES_MAX.
 * After an error nothing was sent.
 */
DTQ_MUST_USE dtq_err sock_send(struct sock *sock, uint32_t route, const struct dtqi_msg *msg);
/* The two halves of sock_send(). `ret_frame` is the caller's on DTQ_OK; a frame that was sent is
 * ZeroMQ's, one that was not is still the caller's, to be closed. */
DTQ_MUST_USE dtq_err sock_encode(const struct dtqi_msg *msg, zmq_msg_t *ret_frame);
DTQ_MUST_USE dtq_err sock_send_frame(struct sock *sock, uint32_t route, zmq_msg_t *frame);

/* Would a message go out now? */
bool sock_is_writable(const struct sock *sock);

/*
 * The connection of a connecting socket as it comes and goes, through a socket of its own to poll
 * on. Hints: they may come late, and correctness never rests on them.
 */
struct sock_monitor {
    void *zmq; /* for zmq_poll(); NULL: closed */
    bool connected;
    struct sock_wake wake;
};

enum sock_event {
    SOCK_NOTHING,      /* no further event now */
    SOCK_CONNECTED,    /* a handshake succeeded: messages flow */
    SOCK_DISCONNECTED, /* it ended */
    SOCK_REJECTED, /* it ended before the handshake was done: perhaps the wrong kind of peer, and
                      then the socket is dead until sock_reconnect() */
};

/* As sock_connect(), but watched from before the connection begins: no event is missed. Closed by
 * sock_monitor_close(), then sock_close(). */
DTQ_MUST_USE dtq_err sock_connect_monitored(void *context, enum sock_kind kind,
                                            const char *endpoint, struct sock *ret_sock,
                                            struct sock_monitor *ret_monitor, char *why,
                                            size_t why_bytes);
enum sock_event sock_monitor_next(struct sock_monitor *monitor);
/* Before its socket. Takes a closed or zeroed one. */
void sock_monitor_close(struct sock_monitor *monitor, struct sock *sock);

/*
 * What a loop waits for. zmq_poll() asks each socket for its state, twice, and each answer is two
 * system calls. Here the descriptors of the sockets are waited for, and a socket whose queue was
 * found empty is neither asked nor received from until its descriptor says that something came:
 * until then sock_recv() and sock_monitor_next() say at once that there is nothing. So a loop adds
 * everything, waits, and receives from each until there is nothing.
 */
#define SOCK_POLL_MAX 1024u

struct sock_poll {
    struct pollfd fds[SOCK_POLL_MAX];
    struct sock_wake *wakes[SOCK_POLL_MAX]; /* NULL: a plain descriptor */
    unsigned n;                             /* at most SOCK_POLL_MAX */
};

static inline void sock_poll_begin(struct sock_poll *p)
{
    p->n = 0;
}
/* These take closed sockets, and add nothing. A sending socket wakes when it may have room again.
 */
void sock_poll_fd(struct sock_poll *p, int fd);
void sock_poll_sock(struct sock_poll *p, struct sock *sock);
void sock_poll_monitor(struct sock_poll *p, struct sock_monitor *monitor);
/* @return as poll(): 0 after so many milliseconds without anything; -1: for ever. */
int sock_poll_wait(struct sock_poll *p, long timeout_ms);

/*
 * Ports of lanes: handed out least recently closed first, so that a late peer of an old lane does
 * not meet a new one (R9). Starts at a random place of the range for the same reason.
 */
struct lane_ports;

/* `control` is the bound control endpoint: lanes are bound on the same host; next to an ipc path,
 * lanes are ipc too. NULL: no memory. */
struct lane_ports *lane_ports_new(const char *control, uint32_t lo, uint32_t hi, uint32_t random32);
void lane_ports_free(struct lane_ports *ports); /* takes NULL */
/* @return DTQ_OK; DTQ_EBUSY: every port of the range is in use; else as sock_bind(). */
DTQ_MUST_USE dtq_err lane_open(struct lane_ports *ports, void *context, struct sock *ret_lane,
                               char *why, size_t why_bytes);
void lane_close(struct lane_ports *ports, struct sock *lane);

/* Does `endpoint` look right: tcp://HOST:PORT, tcp://[V6]:PORT, ipc://PATH? `bind` allows "*" and
 * port 0. @return NULL: yes; else what is wrong, a static phrase. */
const char *sock_endpoint_problem(const char *endpoint, bool bind);
/* Is it reachable from this machine only? */
bool sock_endpoint_is_local(const char *endpoint);
/*
 * An endpoint with a wildcard host ("*", 0.0.0.0, [::]) as a peer must connect to it: with the host
 * of `through`, the endpoint under which the peer reaches the same program. Others are copied.
 * @return DTQ_OK or DTQ_ETOOBIG.
 */
DTQ_MUST_USE dtq_err sock_endpoint_through(struct dtqi_str endpoint, const char *through,
                                           char ret_endpoint[DTQI_ENDPOINT_BYTES_MAX + 1]);
/*
 * An endpoint that this program bound, as others can reach it: a wildcard host becomes the address
 * under which this machine talks to `towards` (tcp). @return DTQ_OK; DTQ_EUNREACHABLE: no route
 * to it now; DTQ_EINVAL; DTQ_ETOOBIG.
 */
DTQ_MUST_USE dtq_err sock_endpoint_towards(const char *endpoint, const char *towards,
                                           char ret_endpoint[DTQI_ENDPOINT_BYTES_MAX + 1]);

#endif
