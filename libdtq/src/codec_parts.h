/*
 * What the files of the codec share: codec.c frames and dispatches, codec_read.c makes our messages
 * from generated structs, codec_write.c generated structs from our messages, codec_spec.c does both
 * for a Spec. Nothing outside of these files includes this header.
 */
#ifndef DTQI_CODEC_PARTS_H
#define DTQI_CODEC_PARTS_H

#include "bounds.h"
#include "codec.h"
#include "dtq.pb-c.h"

/* Every message: constant, member of struct dtqi_msg, generated type. */
#define DTQI_MESSAGES(X)                                               \
    X(HELLO, hello, Hello)                                             \
    X(WELCOME, welcome, Welcome)                                       \
    X(REFUSED, refused, Refused)                                       \
    X(UNKNOWN_SESSION, unknown_session, UnknownSession)                \
    X(BYE, bye, Bye)                                                   \
    X(SUBMIT, submit, Submit)                                          \
    X(SUBMITTED, submitted, Submitted)                                 \
    X(CANCEL, cancel, Cancel)                                          \
    X(CANCEL_REPLY, cancel_reply, CancelReply)                         \
    X(QUERY, query, Query)                                             \
    X(QUERY_REPLY, query_reply, QueryReply)                            \
    X(OPERATE, operate, Operate)                                       \
    X(OPERATE_REPLY, operate_reply, OperateReply)                      \
    X(TASKS, tasks, Tasks)                                             \
    X(WORKER_HEARTBEAT, worker_heartbeat, WorkerHeartbeat)             \
    X(VENTILATOR_HEARTBEAT, ventilator_heartbeat, VentilatorHeartbeat) \
    X(REPORT, report, Report)                                          \
    X(FORGET, forget, Forget)                                          \
    X(RECALL, recall, Recall)                                          \
    X(RESEND, resend, Resend)                                          \
    X(STOP_ATTEMPTS, stop_attempts, StopAttempts)                      \
    X(HOLDINGS, holdings, Holdings)                                    \
    X(HOLDINGS_WANTED, holdings_wanted, HoldingsWanted)                \
    X(VERDICTS, verdicts, Verdicts)                                    \
    X(SINKS, sinks, Sinks)                                             \
    X(RESUME, resume, Resume)                                          \
    X(SETTLED, settled, Settled)                                       \
    X(SETTLED_ACK, settled_ack, SettledAck)                            \
    X(CLAIM, claim, Claim)                                             \
    X(CLAIM_REPLY, claim_reply, ClaimReply)                            \
    X(SINK_HEARTBEAT, sink_heartbeat, SinkHeartbeat)                   \
    X(OUTCOMES, outcomes, Outcomes)                                    \
    X(FOLLOW, follow, Follow)                                          \
    X(WAIT, wait, Wait)                                                \
    X(RESULTS, results, Results)                                       \
    X(RESULTS_QUERY, results_query, ResultsQuery)                      \
    X(RESULTS_REPLY, results_reply, ResultsReply)

/* Room for any of the generated structs. */
union codec_any {
    ProtobufCMessage base;
#define CODEC_MEMBER(constant, member, type) Dtq__V1__##type member;
    DTQI_MESSAGES(CODEC_MEMBER)
#undef CODEC_MEMBER
};

/* ---- reading: from a generated struct in the arena to a message that points into it */

struct codec_reader {
    struct dtqi_buf *buf;
    const char *what; /* name of the message, for `why` */
    char *why;
    size_t why_bytes;
    dtq_err err;
};

/* Both set r->err and return false, so that a check can end in `return codec_refuse(..)`. */
bool codec_refuse(struct codec_reader *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
bool codec_no_room(struct codec_reader *r, uint64_t wanted_bytes);

/* protobuf-c's allocations, served from the arena; what it frees stays until the arena goes. */
ProtobufCAllocator codec_allocator(struct codec_reader *r);

/* Memory for n objects in the arena; NULL (and r->err set) when there is none. */
void *codec_room(struct codec_reader *r, size_t n, size_t object_bytes);

bool codec_read_spec(struct codec_reader *r, struct dtqi_slice raw, struct dtqi_spec *ret);
/* Of a SUBMIT: a value that is not allowed is a flaw of its own tasks, not of the message. */
bool codec_read_foreign_spec(struct codec_reader *r, struct dtqi_slice raw, struct dtqi_spec *ret);

/* ---- writing: from a message to a generated struct that points at its columns */

#define CODEC_SCRATCH_BYTES (24 * 1024)

struct codec_writer {
    size_t used; /* of `scratch` */
    struct dtqi_buf *more;

    /* What is appended behind the packed struct: see dtqi_encode(). */
    const struct dtqi_slice *bodies;
    uint32_t bodies_n;
    uint64_t bodies_bytes;
    const ProtobufCMessage *inner; /* the Results of a ResultsReply, to which the bodies belong */

    _Alignas(16) unsigned char scratch[CODEC_SCRATCH_BYTES];
};

/* Memory for n objects until codec_writer_done(); NULL: there is none. */
void *codec_scratch(struct codec_writer *w, size_t n, size_t object_bytes);
void codec_writer_done(struct codec_writer *w);
/* A NUL-terminated copy, byte by byte; NULL: no memory. */
char *codec_exact(struct codec_writer *w, struct dtqi_str text);

/* Generated structs have no const pointers; packing only reads through them. */
static inline void *codec_unconst(const void *at)
{
    return (void *)(uintptr_t)at;
}

/* ---- one entry for each type */

struct codec_kind {
    const char *name; /* NULL: no such type */
    const ProtobufCMessageDescriptor *descriptor;
    bool (*read)(struct codec_reader *r, const void *from, struct dtqi_msg *msg);
    bool (*write)(struct codec_writer *w, const struct dtqi_msg *msg, void *to);
};

#define CODEC_DECLARE(constant, member, type)                                                 \
    bool codec_read_##member(struct codec_reader *r, const void *from, struct dtqi_msg *msg); \
    bool codec_write_##member(struct codec_writer *w, const struct dtqi_msg *msg, void *to);
DTQI_MESSAGES(CODEC_DECLARE)
#undef CODEC_DECLARE

#endif
