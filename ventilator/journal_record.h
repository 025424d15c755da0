/*
 * How the journal's records look on the disk. Encoding writes what the ventilator's own core made;
 * decoding trusts nothing: every read is bounds-checked, and `false` means damage.
 *
 * Two kinds of numbers. Ordered ones, in keys: the high half of the first byte says how many bytes
 * follow, its low half and those bytes are the number, high bytes first; so keys sort as their
 * numbers do. Plain ones, in values: seven bits a byte, low bits first, the high bit means "more".
 */
#ifndef DTQ_JOURNAL_RECORD_H
#define DTQ_JOURNAL_RECORD_H

#include "journal.h"

#define JOURNAL_KEY_BYTES_MAX 32
#define JOURNAL_ENTRY_BYTES_MAX (JOURNAL_KEY_BYTES_MAX + 16)
#define JOURNAL_HEAD_BYTES_MAX 48
#define JOURNAL_COUNTERS_BYTES_MAX 64
#define JOURNAL_DEAD_HEAD_BYTES_MAX 128
#define JOURNAL_QUEUE_BYTES_MAX (DTQI_NAME_BYTES_MAX + 140)
#define JOURNAL_KEY_RECORD_BYTES 40
#define JOURNAL_KEY_END_BYTES_MAX (8 + DTQI_NAME_BYTES_MAX)
#define JOURNAL_SINK_BYTES_MAX (2 * 256 + 32)
#define JOURNAL_CRON_STATE_BYTES_MAX (128 + 16 * JOURNAL_CRON_HAND_MAX)
#define JOURNAL_CRON_HEAD_BYTES_MAX (2 * DTQI_CRON_TEXT_BYTES_MAX + 96)

struct journal_out {
    uint8_t *at;
    uint32_t len;
};

struct journal_in {
    const uint8_t *at;
    uint32_t len; /* left */
};

static inline struct dtqi_slice journal_out_slice(const struct journal_out *out)
{
    return (struct dtqi_slice){out->at, out->len};
}

static inline struct journal_in journal_in_of(struct dtqi_slice slice)
{
    return (struct journal_in){slice.at, slice.len};
}

void journal_out_u8(struct journal_out *out, uint8_t value);
void journal_out_u32(struct journal_out *out, uint32_t value); /* 4 bytes, high byte first */
void journal_out_u64(struct journal_out *out, uint64_t value); /* 8 bytes, low byte first */
void journal_out_plain(struct journal_out *out, uint64_t value);
void journal_out_bytes(struct journal_out *out, const void *at, uint32_t bytes);
bool journal_in_u8(struct journal_in *in, uint8_t *ret);
bool journal_in_u32(struct journal_in *in, uint32_t *ret);
bool journal_in_u64(struct journal_in *in, uint64_t *ret);
bool journal_in_plain(struct journal_in *in, uint64_t *ret);
bool journal_in_plain32(struct journal_in *in, uint32_t *ret);
bool journal_in_bytes(struct journal_in *in, void *ret, uint32_t bytes);
bool journal_in_slice(struct journal_in *in, uint64_t bytes, struct dtqi_slice *ret);

/* Keys of the tables `tasks` and `counters`: 0, queue, rank, seq; or 1, due, seq, queue, rank. */
void journal_key_out(struct journal_out *out, const struct journal_key *key);
bool journal_key_in(struct journal_in *in, struct journal_key *ret);
/* What the keys of a queue, or of delayed tasks (queue 0), begin with. */
void journal_key_prefix_out(struct journal_out *out, uint32_t queue);

/* Value of the table `ids`: the key, with the flags in its first byte; the bytes of the task's spec
 * and payload; the number of what it has in common with others. So a delete need not read the
 * record. */
enum journal_entry_flags {
    JOURNAL_HAS_COUNTERS = 1,
    JOURNAL_HAS_HISTORY = 2,
};
struct journal_entry {
    struct journal_key key;
    unsigned flags;
    uint32_t bytes;
    uint32_t common; /* 0: none */
};
void journal_entry_out(struct journal_out *out, const struct journal_entry *entry);
bool journal_entry_in(struct dtqi_slice value, struct journal_entry *ret);

/* Value of the table `tasks`: flags, id; then the number of what it has in common with others, or
 * the number of the sink, reply_to if there is one, length of the spec, the spec; then the payload.
 */
struct journal_record {
    dtq_id id;
    uint32_t common; /* not 0: the next three are found there */
    uint32_t sink;
    uint64_t reply_to;
    struct dtqi_slice spec;
    struct dtqi_slice body;
};
/* All but spec and payload. */
void journal_head_out(struct journal_out *out, const struct journal_record *record);
bool journal_record_in(struct dtqi_slice value, struct journal_record *ret);

void journal_counters_out(struct journal_out *out, const struct journal_counters *counters);
bool journal_counters_in(struct dtqi_slice value, struct journal_counters *ret);

/* Value of the table `dead`: this head, then text, history, and the record of the table `tasks`. */
struct journal_dead {
    struct journal_key key; /* where it was; of a group's task: of its queue, which stays */
    struct journal_counters counters;
    uint64_t at_wall_ms;
    struct dtqi_slice text;
    struct dtqi_slice history;
    struct dtqi_slice record;
};
void journal_dead_head_out(struct journal_out *out, const struct journal_dead *dead);
bool journal_dead_in(struct dtqi_slice value, struct journal_dead *ret);

/* Values of the tables `queues` (key: number, 4 bytes) and `sinks` (key: store). */
void journal_queue_out(struct journal_out *out, const struct journal_queue *queue);
bool journal_queue_in(struct dtqi_slice key, struct dtqi_slice value, struct journal_queue *ret);

/* Value of the table `keys`, and key of the table `key_ends`. */
void journal_key_record_out(struct journal_out *out, const struct journal_key_record *record);
bool journal_key_record_in(struct dtqi_slice value, struct journal_key_record *ret);
void journal_key_end_out(struct journal_out *out, uint64_t until_wall_ms, struct dtqi_slice key);
bool journal_key_end_in(struct dtqi_slice end, uint64_t *ret_until_wall_ms,
                        struct dtqi_slice *ret_key);

/* Value of the table `cron`: this head, then spec and payload; and of `cron_states`. The name is
 * the key of both. */
void journal_cron_head_out(struct journal_out *out, const struct journal_cron *cron);
bool journal_cron_in(struct dtqi_slice key, struct dtqi_slice value, struct journal_cron *ret);
void journal_cron_state_out(struct journal_out *out, const struct journal_cron_state *state);
bool journal_cron_state_in(struct dtqi_slice value, struct journal_cron_state *ret);

struct journal_sink_record {
    uint32_t number;
    bool registered; /* false: known by tasks only, or removed */
    struct journal_sink sink;
};
void journal_sink_out(struct journal_out *out, const struct journal_sink_record *record);
bool journal_sink_in(struct dtqi_slice key, struct dtqi_slice value,
                     struct journal_sink_record *ret);

#endif
