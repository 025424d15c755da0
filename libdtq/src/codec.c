#include "codec.h"

#include "codec_parts.h"

#include <stdarg.h>
#include <stdio.h>

/* The arena of a message may be a few times its frame (columns are wider in memory than on the
 * wire), plus what the smallest legal sub-messages of a full batch need. A frame of nothing but
 * empty sub-messages or unknown fields is refused here. */
#define ARENA_BYTES_PER_FRAME_BYTE 4
#define ARENA_BYTES_MORE ((size_t)8 * 1024 * 1024)
#define ARENA_FIRST_MORE ((size_t)64 * 1024)

#define FIELD_BODIES 0x7a  /* number 15, length-delimited: the same in every message that has it */
#define FIELD_RESULTS 0x12 /* number 2, length-delimited: ResultsReply.results */

static const struct codec_kind kinds[] = {
#define KIND(constant, member, type)                                                       \
    [DTQI_##constant] = {#constant, &dtq__v1__##member##__descriptor, codec_read_##member, \
                         codec_write_##member},
    DTQI_MESSAGES(KIND)
#undef KIND
};

static const struct codec_kind *kind_of(unsigned type)
{
    if (type >= sizeof kinds / sizeof *kinds || kinds[type].name == NULL)
        return NULL;
    return &kinds[type];
}

static dtq_err check_header(struct codec_reader *r, const unsigned char *frame, size_t bytes);
static dtq_err read_body(struct codec_reader *r, const unsigned char *frame, size_t bytes,
                         struct dtqi_msg *msg);
static size_t varint_bytes(uint64_t number);
static unsigned char *write_varint(unsigned char *at, uint64_t number);
static size_t bodies_field_bytes(const struct codec_writer *w);
static unsigned char *write_bodies_field(const struct codec_writer *w, unsigned char *at);

dtq_err dtqi_decode(const void *frame, size_t frame_bytes, struct dtqi_msg *ret_msg, char *why,
                    size_t why_bytes)
{
    struct codec_reader r = {.what = "frame", .why = why, .why_bytes = why_bytes};
    struct dtqi_msg msg;
    size_t more = frame_bytes < ARENA_FIRST_MORE ? frame_bytes : ARENA_FIRST_MORE;
    dtq_err err = check_header(&r, frame, frame_bytes);

    if (err != DTQ_OK)
        return err;
    r.buf = dtqi_buf_new(frame_bytes + more + 512,
                         ARENA_BYTES_PER_FRAME_BYTE * frame_bytes + ARENA_BYTES_MORE);
    if (r.buf == NULL)
        return DTQ_ENOMEM;
    err = read_body(&r, frame, frame_bytes, &msg);
    if (err != DTQ_OK) {
        dtqi_buf_unref(r.buf);
        return err;
    }
    *ret_msg = msg;
    return DTQ_OK;
}

static dtq_err check_header(struct codec_reader *r, const unsigned char *frame, size_t bytes)
{
    if (bytes < DTQI_FRAME_HEADER_BYTES)
        codec_refuse(r, "it has %zu bytes, less than a header", bytes);
    else if (frame[0] != DTQI_FRAME_MAGIC)
        codec_refuse(r, "it begins with 0x%02x, not with 0x%02x", frame[0], DTQI_FRAME_MAGIC);
    else if (frame[1] != DTQI_PROTOCOL_VERSION)
        return DTQ_EVERSION;
    else if (bytes > DTQI_FRAME_BYTES_MAX)
        return DTQ_ETOOBIG;
    else if (frame[3] != 0)
        codec_refuse(r, "its reserved byte is 0x%02x, not 0", frame[3]);
    else if (kind_of(frame[2]) == NULL)
        codec_refuse(r, "message type %u is not known", frame[2]);
    return r->err;
}

static dtq_err read_body(struct codec_reader *r, const unsigned char *frame, size_t bytes,
                         struct dtqi_msg *msg)
{
    const struct codec_kind *kind = kind_of(frame[2]);
    ProtobufCAllocator allocator = codec_allocator(r);
    const ProtobufCMessage *from;

    *msg = (struct dtqi_msg){.type = (enum dtqi_msg_type)frame[2], .buf = r->buf};
    r->what = kind->name;
    from = protobuf_c_message_unpack(kind->descriptor, &allocator, bytes - DTQI_FRAME_HEADER_BYTES,
                                     frame + DTQI_FRAME_HEADER_BYTES);
    if (from == NULL) {
        if (r->err == DTQ_OK)
            codec_refuse(r, "not valid protobuf");
        return r->err;
    }
    if (!kind->read(r, from, msg)) {
        assert(r->err != DTQ_OK);
        return r->err;
    }
    return DTQ_OK;
}

dtq_err dtqi_encode(const struct dtqi_msg *msg, dtqi_place *place, void *arg)
{
    const struct codec_kind *kind = kind_of(msg->type);
    struct codec_writer w;
    union codec_any any;
    size_t bodies;
    size_t inner = 0;
    size_t total;
    unsigned char *at;
    dtq_err err = DTQ_ENOMEM;

    assert(kind != NULL);
    w.used = 0;
    w.more = NULL;
    w.bodies_n = 0;
    w.bodies_bytes = 0;
    w.inner = NULL;
    protobuf_c_message_init(kind->descriptor, &any);
    if (!kind->write(&w, msg, &any))
        goto done;

    /* The packed struct, then the bodies: legal protobuf, and the bodies are copied once. In a
     * ResultsReply they belong to the sub-message, which therefore comes behind the rest too. */
    bodies = bodies_field_bytes(&w);
    total = DTQI_FRAME_HEADER_BYTES + protobuf_c_message_get_packed_size(&any.base) + bodies;
    if (w.inner != NULL) {
        inner = protobuf_c_message_get_packed_size(w.inner) + bodies;
        total += 1 + varint_bytes(inner) + inner - bodies;
    }
    err = DTQ_ETOOBIG;
    if (total > DTQI_FRAME_BYTES_MAX)
        goto done;
    err = DTQ_ENOMEM;
    at = place(arg, total);
    if (at == NULL)
        goto done;

    *at++ = DTQI_FRAME_MAGIC;
    *at++ = DTQI_PROTOCOL_VERSION;
    *at++ = (unsigned char)msg->type;
    *at++ = 0;
    at += protobuf_c_message_pack(&any.base, at);
    if (w.inner != NULL) {
        *at++ = FIELD_RESULTS;
        at = write_varint(at, inner);
        at += protobuf_c_message_pack(w.inner, at);
    }
    write_bodies_field(&w, at);
    err = DTQ_OK;

done:
    codec_writer_done(&w);
    return err;
}

static size_t varint_bytes(uint64_t number)
{
    size_t bytes = 1;

    for (; number >= 0x80; number >>= 7)
        bytes++;
    return bytes;
}

static unsigned char *write_varint(unsigned char *at, uint64_t number)
{
    for (; number >= 0x80; number >>= 7)
        *at++ = (unsigned char)(number | 0x80);
    *at++ = (unsigned char)number;
    return at;
}

static size_t bodies_field_bytes(const struct codec_writer *w)
{
    if (w->bodies_bytes == 0)
        return 0;
    return 1 + varint_bytes(w->bodies_bytes) + (size_t)w->bodies_bytes;
}

static unsigned char *write_bodies_field(const struct codec_writer *w, unsigned char *at)
{
    if (w->bodies_bytes == 0)
        return at;
    *at++ = FIELD_BODIES;
    at = write_varint(at, w->bodies_bytes);
    for (uint32_t i = 0; i < w->bodies_n; i++) {
        if (w->bodies[i].len == 0)
            continue; /* its address may be NULL */
        memcpy(at, w->bodies[i].at, w->bodies[i].len);
        at += w->bodies[i].len;
    }
    return at;
}

const char *dtqi_msg_type_name(enum dtqi_msg_type type)
{
    const struct codec_kind *kind = kind_of(type);

    return kind != NULL ? kind->name : "?";
}

bool codec_refuse(struct codec_reader *r, const char *format, ...)
{
    va_list args;
    int head;

    r->err = DTQ_EPROTO;
    if (r->why == NULL || r->why_bytes == 0)
        return false;
    head = snprintf(r->why, r->why_bytes, "%s: ", r->what);
    if (head < 0 || (size_t)head >= r->why_bytes)
        return false;
    va_start(args, format);
    vsnprintf(r->why + head, r->why_bytes - (size_t)head, format, args);
    va_end(args);
    return false;
}

bool codec_no_room(struct codec_reader *r, uint64_t wanted_bytes)
{
    bool over = wanted_bytes > r->buf->max - r->buf->total;

    if (over)
        codec_refuse(r, "decoded, it would take more than %zu bytes", r->buf->max);
    r->err = over ? DTQ_ETOOBIG : DTQ_ENOMEM;
    return false;
}

static void *arena_alloc(void *arg, size_t size)
{
    struct codec_reader *r = arg;
    void *at = dtqi_buf_alloc(r->buf, size);

    if (at == NULL)
        codec_no_room(r, size);
    return at;
}

static void arena_free(void *arg, void *at)
{
    (void)arg;
    (void)at;
}

ProtobufCAllocator codec_allocator(struct codec_reader *r)
{
    return (ProtobufCAllocator){arena_alloc, arena_free, r};
}

void *codec_room(struct codec_reader *r, size_t n, size_t object_bytes)
{
    assert(object_bytes < 65536);
    if (n > r->buf->max / object_bytes) {
        codec_no_room(r, UINT64_MAX);
        return NULL;
    }
    return arena_alloc(r, n * object_bytes);
}

void *codec_scratch(struct codec_writer *w, size_t n, size_t object_bytes)
{
    size_t bytes = (n * object_bytes + 15) & ~(size_t)15;
    void *at = w->scratch + w->used;

    if (bytes <= sizeof w->scratch - w->used) {
        w->used += bytes;
        return at;
    }
    if (w->more == NULL)
        w->more = dtqi_buf_new(bytes, SIZE_MAX);
    return w->more != NULL ? dtqi_buf_alloc(w->more, bytes) : NULL;
}

void codec_writer_done(struct codec_writer *w)
{
    dtqi_buf_unref(w->more);
}

char *codec_exact(struct codec_writer *w, struct dtqi_str text)
{
    char *at = codec_scratch(w, (size_t)text.len + 1, 1);

    if (at == NULL)
        return NULL;
    if (text.len != 0)
        memcpy(at, text.at, text.len);
    at[text.len] = 0;
    return at;
}
