/*
 * Frames <-> messages: the only code that knows protobuf. Decoding never asserts on what it reads;
 * encoding takes what our own cores made and asserts that it is well formed.
 */
#ifndef DTQI_CODEC_H
#define DTQI_CODEC_H

#include "msg.h"

/*
 * Decode one frame into `ret_msg`; its buf has one reference, the caller's. The frame is not needed
 * afterwards.
 * @return DTQ_OK; DTQ_EVERSION (another protocol version; the frame is otherwise untouched),
 * DTQ_EPROTO (not valid; `why` gets a sentence that names what was wrong, cut to `why_bytes`),
 * DTQ_ETOOBIG, DTQ_ENOMEM.
 */
DTQ_MUST_USE dtq_err dtqi_decode(const void *frame, size_t frame_bytes, struct dtqi_msg *ret_msg,
                                 char *why, size_t why_bytes);

/*
 * Where dtqi_encode() writes: called once, with the exact size of the frame; NULL when there is no
 * memory. For ZeroMQ: zmq_msg_init_size(), then zmq_msg_data().
 */
typedef void *dtqi_place(void *arg, size_t frame_bytes);

/*
 * Encode `msg` into the memory that place(arg, bytes) gives. Bodies are copied once, straight into
 * it. Texts for people are cut to DTQI_TEXT_BYTES_MAX, names of peers to DTQI_NAME_BYTES_MAX, and
 * what is not UTF-8 in them becomes "?". Memory is allocated only for messages with many strings or
 * sub-messages.
 * @return DTQ_OK; DTQ_ENOMEM (from `place`, or here), DTQ_ETOOBIG (the frame would be over
 * DTQI_FRAME_BYTES_MAX; `place` was not called). After an error nothing was written.
 */
DTQ_MUST_USE dtq_err dtqi_encode(const struct dtqi_msg *msg, dtqi_place *place, void *arg);

/* Give up what dtqi_decode() made. */
static inline void dtqi_msg_done(struct dtqi_msg *msg)
{
    dtqi_buf_unref(msg->buf);
    msg->buf = NULL;
}

/*
 * Can `spec` be submitted: is every field within its limits, and can its rules of retries be met?
 * `raw` is not read. @return DTQ_OK, or DTQ_EPROTO with a sentence in `why` that names the field.
 */
DTQ_MUST_USE dtq_err dtqi_spec_check(const struct dtqi_spec *spec, char *why, size_t why_bytes);

/*
 * Encode a Spec that dtqi_spec_check() accepts, or that was decoded; `spec->raw` is not read.
 * @return its bytes in memory of `buf`, at most DTQI_SPEC_BYTES_MAX; an empty slice (at NULL): no
 * memory or too large.
 */
struct dtqi_slice dtqi_spec_encode(const struct dtqi_spec *spec, struct dtqi_buf *buf);

/* Decode and check a Spec; strings point into memory of `buf`, raw into `raw` itself. Errors as
 * dtqi_decode(). */
DTQ_MUST_USE dtq_err dtqi_spec_decode(struct dtqi_slice raw, struct dtqi_buf *buf,
                                      struct dtqi_spec *ret_spec, char *why, size_t why_bytes);

/* "SUBMIT", "HELLO", ..; "?" for a number that is no type. For logs and traces. */
const char *dtqi_msg_type_name(enum dtqi_msg_type type);

#endif
