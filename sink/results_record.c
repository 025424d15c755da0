#include "results_parts.h"

/* flags, state, reason, three lengths; the epoch; then numbers that are small as a rule, in seven
 * bits a byte: commit, attempt, code, start (before the commit), duration, time to live. */
#define FIXED_BYTES 14u

static unsigned char *put_number(unsigned char *at, uint64_t number)
{
    for (; number >= 0x80; number >>= 7)
        *at++ = (unsigned char)(number | 0x80);
    *at++ = (unsigned char)number;
    return at;
}

/* @return NULL: it is cut off, or too long. */
static const unsigned char *get_number(const unsigned char *at, const unsigned char *end,
                                       uint64_t *ret)
{
    uint64_t number = 0;

    for (unsigned shift = 0; at != NULL && at < end && shift < 64; shift += 7) {
        number |= (uint64_t)(*at & 0x7f) << shift;
        if (*at++ >= 0x80)
            continue;
        *ret = number;
        return at;
    }
    return NULL;
}

/* Small negative numbers are small too: 0, -1, 1, -2, .. */
static uint64_t fold(int64_t number)
{
    return (uint64_t)number << 1 ^ (number < 0 ? UINT64_MAX : 0);
}

static int64_t unfold(uint64_t number)
{
    return (int64_t)(number >> 1 ^ (number & 1 ? UINT64_MAX : 0));
}

size_t record_write_head(const struct record *rec, unsigned char ret[RECORD_HEAD_BYTES_MAX])
{
    unsigned char *at = ret + FIXED_BYTES;

    ret[0] = rec->flags;
    ret[1] = rec->state;
    ret[2] = rec->reason;
    ret[3] = (unsigned char)rec->worker.len;
    ret[4] = (unsigned char)rec->name.len;
    ret[5] = (unsigned char)rec->queue.len;
    memcpy(ret + 6, &rec->epoch, 8);
    at = put_number(at, rec->committed_wall_ms);
    at = put_number(at, rec->attempt);
    at = put_number(at, fold(rec->code));
    at = put_number(at, fold((int64_t)(rec->committed_wall_ms - rec->started_wall_ms)));
    at = put_number(at, rec->duration_us);
    at = put_number(at, rec->ttl_ms);
    return (size_t)(at - ret);
}

static const unsigned char *parse_numbers(const unsigned char *at, const unsigned char *end,
                                          struct record *rec)
{
    uint64_t attempt = 0;
    uint64_t code = 0;
    uint64_t started = 0;

    at = get_number(at, end, &rec->committed_wall_ms);
    at = get_number(at, end, &attempt);
    at = get_number(at, end, &code);
    at = get_number(at, end, &started);
    at = get_number(at, end, &rec->duration_us);
    at = get_number(at, end, &rec->ttl_ms);
    rec->attempt = (uint32_t)attempt;
    rec->code = (int32_t)unfold(code);
    rec->started_wall_ms = rec->committed_wall_ms - (uint64_t)unfold(started);
    return at;
}

bool record_parse(struct dtqi_slice value, struct record *ret)
{
    const unsigned char *head = value.at;
    const unsigned char *end = head + value.len;
    const unsigned char *at;
    size_t names;

    if (value.len < FIXED_BYTES || head[1] < DTQ_SUCCEEDED || head[1] > DTQ_CANCELLED)
        return false;
    *ret = (struct record){.flags = head[0], .state = head[1], .reason = head[2]};
    memcpy(&ret->epoch, head + 6, 8);
    at = parse_numbers(head + FIXED_BYTES, end, ret);
    names = (size_t)head[3] + head[4] + head[5];
    if (at == NULL || (size_t)(end - at) < names)
        return false;
    ret->worker = (struct dtqi_str){(const char *)at, head[3]};
    ret->name = (struct dtqi_str){ret->worker.at + head[3], head[4]};
    ret->queue = (struct dtqi_str){ret->name.at + head[4], head[5]};
    ret->tail = slice(at + names, (size_t)(end - at) - names);
    return true;
}
