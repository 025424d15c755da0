#include "journal_record.h"

#define CLASS_READY 0u
#define CLASS_DELAYED 1u

#define HEAD_HAS_REPLY_TO 1u
#define HEAD_HAS_COMMON 2u

/* ---- numbers and bytes */

void journal_out_u8(struct journal_out *out, uint8_t value)
{
    out->at[out->len++] = value;
}

void journal_out_u32(struct journal_out *out, uint32_t value)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        journal_out_u8(out, (uint8_t)(value >> shift));
}

void journal_out_u64(struct journal_out *out, uint64_t value)
{
    for (int shift = 0; shift < 64; shift += 8)
        journal_out_u8(out, (uint8_t)(value >> shift));
}

void journal_out_plain(struct journal_out *out, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        journal_out_u8(out, (uint8_t)(value | 0x80));
    journal_out_u8(out, (uint8_t)value);
}

void journal_out_bytes(struct journal_out *out, const void *at, uint32_t bytes)
{
    if (bytes == 0)
        return; /* `at` may be NULL */
    memcpy(out->at + out->len, at, bytes);
    out->len += bytes;
}

bool journal_in_u8(struct journal_in *in, uint8_t *ret)
{
    if (in->len == 0)
        return false;
    *ret = *in->at++;
    in->len--;
    return true;
}

bool journal_in_u32(struct journal_in *in, uint32_t *ret)
{
    uint8_t b[4];

    if (!journal_in_bytes(in, b, sizeof b))
        return false;
    *ret = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    return true;
}

bool journal_in_u64(struct journal_in *in, uint64_t *ret)
{
    uint8_t b[8];
    uint64_t value = 0;

    if (!journal_in_bytes(in, b, sizeof b))
        return false;
    for (int i = 7; i >= 0; i--)
        value = value << 8 | b[i];
    *ret = value;
    return true;
}

bool journal_in_plain(struct journal_in *in, uint64_t *ret)
{
    uint64_t value = 0;
    uint8_t b;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (!journal_in_u8(in, &b) || (shift == 63 && b > 1))
            return false;
        value |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80) {
            *ret = value;
            return true;
        }
    }
    return false;
}

bool journal_in_plain32(struct journal_in *in, uint32_t *ret)
{
    uint64_t value;

    if (!journal_in_plain(in, &value) || value > UINT32_MAX)
        return false;
    *ret = (uint32_t)value;
    return true;
}

bool journal_in_bytes(struct journal_in *in, void *ret, uint32_t bytes)
{
    struct dtqi_slice found;

    if (!journal_in_slice(in, bytes, &found))
        return false;
    memcpy(ret, found.at, bytes);
    return true;
}

bool journal_in_slice(struct journal_in *in, uint64_t bytes, struct dtqi_slice *ret)
{
    if (bytes > in->len)
        return false;
    *ret = (struct dtqi_slice){in->at, (uint32_t)bytes};
    in->at += bytes;
    in->len -= (uint32_t)bytes;
    return true;
}

static void out_ordered(struct journal_out *out, uint64_t value)
{
    unsigned more = 0;

    while (more < 8 && value >> (8 * more + 4) != 0)
        more++;
    journal_out_u8(out, (uint8_t)(more << 4 | (more < 8 ? value >> 8 * more : 0)));
    while (more-- > 0)
        journal_out_u8(out, (uint8_t)(value >> 8 * more));
}

static bool in_ordered(struct journal_in *in, uint64_t *ret)
{
    uint64_t value;
    uint8_t b;

    if (!journal_in_u8(in, &b) || b >> 4 > 8 || (b >> 4 == 8 && (b & 15) != 0))
        return false;
    value = b & 15;
    for (unsigned more = b >> 4; more > 0; more--) {
        if (!journal_in_u8(in, &b))
            return false;
        value = value << 8 | b;
    }
    *ret = value;
    return true;
}

static bool in_ordered32(struct journal_in *in, uint32_t *ret)
{
    uint64_t value;

    if (!in_ordered(in, &value) || value > UINT32_MAX)
        return false;
    *ret = (uint32_t)value;
    return true;
}

/* ---- keys */

void journal_key_out(struct journal_out *out, const struct journal_key *key)
{
    if (key->delayed) {
        journal_out_u8(out, CLASS_DELAYED);
        out_ordered(out, key->due_wall_ms);
        out_ordered(out, key->seq);
        out_ordered(out, key->queue);
        journal_out_u8(out, key->rank);
    } else {
        journal_out_u8(out, CLASS_READY);
        out_ordered(out, key->queue);
        journal_out_u8(out, key->rank);
        out_ordered(out, key->seq);
    }
}

void journal_key_prefix_out(struct journal_out *out, uint32_t queue)
{
    journal_out_u8(out, queue == 0 ? CLASS_DELAYED : CLASS_READY);
    if (queue != 0)
        out_ordered(out, queue);
}

static bool key_rest_in(struct journal_in *in, struct journal_key *key)
{
    if (key->delayed)
        return in_ordered(in, &key->due_wall_ms) && in_ordered(in, &key->seq) &&
               in_ordered32(in, &key->queue) && journal_in_u8(in, &key->rank);
    return in_ordered32(in, &key->queue) && journal_in_u8(in, &key->rank) &&
           in_ordered(in, &key->seq);
}

bool journal_key_in(struct journal_in *in, struct journal_key *ret)
{
    struct journal_key key = {0};
    uint8_t class;

    if (!journal_in_u8(in, &class) || class > CLASS_DELAYED)
        return false;
    key.delayed = class == CLASS_DELAYED;
    if (!key_rest_in(in, &key) || key.rank >= DTQI_PRIORITIES)
        return false;
    *ret = key;
    return true;
}

static int compare_u64(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

int journal_key_compare(const struct journal_key *a, const struct journal_key *b)
{
    int c = compare_u64(a->delayed, b->delayed);

    if (c == 0)
        c = a->delayed ? compare_u64(a->due_wall_ms, b->due_wall_ms)
                       : compare_u64(a->queue, b->queue);
    if (c == 0 && !a->delayed)
        c = compare_u64(a->rank, b->rank);
    return c != 0 ? c : compare_u64(a->seq, b->seq);
}

/* ---- the index */

void journal_entry_out(struct journal_out *out, const struct journal_entry *entry)
{
    uint8_t *first = out->at + out->len;

    journal_key_out(out, &entry->key);
    *first = (uint8_t)(*first | entry->flags << 1);
    journal_out_plain(out, entry->bytes);
    journal_out_plain(out, entry->common);
}

bool journal_entry_in(struct dtqi_slice value, struct journal_entry *ret)
{
    struct journal_in in = journal_in_of(value);
    struct journal_entry entry = {0};
    uint8_t first;

    if (!journal_in_u8(&in, &first) || first >> 1 > (JOURNAL_HAS_COUNTERS | JOURNAL_HAS_HISTORY))
        return false;
    entry.flags = first >> 1;
    entry.key.delayed = (first & 1) == CLASS_DELAYED;
    if (!key_rest_in(&in, &entry.key) || entry.key.rank >= DTQI_PRIORITIES ||
        !journal_in_plain32(&in, &entry.bytes) || !journal_in_plain32(&in, &entry.common) ||
        in.len != 0)
        return false;
    *ret = entry;
    return true;
}

/* ---- tasks */

static uint8_t head_flags(const struct journal_record *record)
{
    if (record->common != 0)
        return HEAD_HAS_COMMON;
    return record->reply_to != 0 ? HEAD_HAS_REPLY_TO : 0;
}

void journal_head_out(struct journal_out *out, const struct journal_record *record)
{
    journal_out_u8(out, head_flags(record));
    journal_out_bytes(out, record->id.bytes, sizeof record->id.bytes);
    if (record->common != 0) {
        journal_out_plain(out, record->common);
        return;
    }
    journal_out_plain(out, record->sink);
    if (record->reply_to != 0)
        journal_out_u64(out, record->reply_to);
    journal_out_plain(out, record->spec.len);
}

static bool own_head_in(struct journal_in *in, uint8_t flags, struct journal_record *record)
{
    uint64_t spec_bytes;

    return journal_in_plain32(in, &record->sink) &&
           (flags != HEAD_HAS_REPLY_TO || journal_in_u64(in, &record->reply_to)) &&
           journal_in_plain(in, &spec_bytes) && journal_in_slice(in, spec_bytes, &record->spec);
}

bool journal_record_in(struct dtqi_slice value, struct journal_record *ret)
{
    struct journal_in in = journal_in_of(value);
    struct journal_record record = {0};
    uint8_t flags;

    if (!journal_in_u8(&in, &flags) || flags > HEAD_HAS_COMMON ||
        !journal_in_bytes(&in, record.id.bytes, sizeof record.id.bytes))
        return false;
    if (flags == HEAD_HAS_COMMON) {
        if (!journal_in_plain32(&in, &record.common) || record.common == 0)
            return false;
    } else if (!own_head_in(&in, flags, &record)) {
        return false;
    }
    record.body = (struct dtqi_slice){in.at, in.len};
    *ret = record;
    return true;
}

static void attempt_out(struct journal_out *out, const struct journal_attempt *attempt)
{
    journal_out_u64(out, attempt->epoch);
    journal_out_plain(out, attempt->n);
}

static bool attempt_in(struct journal_in *in, struct journal_attempt *ret)
{
    return journal_in_u64(in, &ret->epoch) && journal_in_plain32(in, &ret->n);
}

static void counters_write(struct journal_out *out, const struct journal_counters *c)
{
    attempt_out(out, &c->last);
    attempt_out(out, &c->counted);
    journal_out_plain(out, c->failures);
    journal_out_plain(out, c->crashes);
    journal_out_u8(out, c->proposed);
    journal_out_u8(out, c->cancel);
    journal_out_u8(out, c->suspect);
    journal_out_u8(out, c->reason);
    journal_out_plain(out, (uint32_t)c->code);
    journal_out_plain(out, c->due_wall_ms);
}

/* The last number was not there in the first version of this record, and seldom is. */
void journal_counters_out(struct journal_out *out, const struct journal_counters *c)
{
    counters_write(out, c);
    if (c->made_wall_ms != 0)
        journal_out_plain(out, c->made_wall_ms);
}

static bool counters_read(struct journal_in *in, struct journal_counters *ret)
{
    struct journal_counters c = {0};
    uint32_t crashes;
    uint32_t code;

    if (!attempt_in(in, &c.last) || !attempt_in(in, &c.counted) ||
        !journal_in_plain32(in, &c.failures) || !journal_in_plain32(in, &crashes) ||
        crashes > UINT16_MAX || !journal_in_u8(in, &c.proposed) || !journal_in_u8(in, &c.cancel) ||
        !journal_in_u8(in, &c.suspect) || !journal_in_u8(in, &c.reason) ||
        !journal_in_plain32(in, &code) || !journal_in_plain(in, &c.due_wall_ms))
        return false;
    if (c.proposed > DTQ_CANCELLED || c.reason > DTQ_REASON_BAD_ENTRY)
        return false;
    c.crashes = (uint16_t)crashes;
    c.code = (int32_t)code;
    *ret = c;
    return true;
}

bool journal_counters_in(struct dtqi_slice value, struct journal_counters *ret)
{
    struct journal_in in = journal_in_of(value);

    return counters_read(&in, ret) &&
           (in.len == 0 || (journal_in_plain(&in, &ret->made_wall_ms) && in.len == 0));
}

void journal_dead_head_out(struct journal_out *out, const struct journal_dead *dead)
{
    journal_key_out(out, &dead->key);
    counters_write(out, &dead->counters);
    journal_out_plain(out, dead->at_wall_ms);
    journal_out_plain(out, dead->text.len);
    journal_out_plain(out, dead->history.len);
}

bool journal_dead_in(struct dtqi_slice value, struct journal_dead *ret)
{
    struct journal_in in = journal_in_of(value);
    struct journal_dead dead = {0};
    uint64_t text_bytes;
    uint64_t history_bytes;

    if (!journal_key_in(&in, &dead.key) || !counters_read(&in, &dead.counters) ||
        !journal_in_plain(&in, &dead.at_wall_ms) || !journal_in_plain(&in, &text_bytes) ||
        !journal_in_plain(&in, &history_bytes) || !journal_in_slice(&in, text_bytes, &dead.text) ||
        !journal_in_slice(&in, history_bytes, &dead.history))
        return false;
    dead.record = (struct dtqi_slice){in.at, in.len};
    *ret = dead;
    return true;
}

/* ---- queues and sinks */

static void text_out(struct journal_out *out, const char *text)
{
    uint32_t bytes = (uint32_t)strlen(text);

    journal_out_plain(out, bytes);
    journal_out_bytes(out, text, bytes);
}

static bool text_in(struct journal_in *in, char *ret_text, size_t room)
{
    struct dtqi_slice text;
    uint64_t bytes;

    if (!journal_in_plain(in, &bytes) || bytes >= room || !journal_in_slice(in, bytes, &text) ||
        memchr(text.at, '\0', text.len) != NULL)
        return false;
    memcpy(ret_text, text.at, text.len);
    ret_text[text.len] = '\0';
    return true;
}

enum queue_flags {
    QUEUE_PAUSED = 1,
    QUEUE_HAS_LIMITS = 2, /* they stand behind the counts .. */
    QUEUE_HAS_PURGE = 4,  /* .. and this behind them */
    QUEUE_HAS_GROUP_LIMITS = 8,
    QUEUE_IS_GROUP = 16, /* the number of its queue stands behind all that */
    QUEUE_IS_ORDERED = 32,
    QUEUE_HAS_AGEING = 64, /* behind the limits of groups */
    QUEUE_HAS_MORE = 128,  /* another byte of flags stands last, and what it says behind it */
};

enum queue_flags_more { QUEUE_MORE_CANCEL = 1 };

static bool has_limits(const struct journal_queue_settings *s)
{
    return s->limit != 0 || s->rate != 0;
}

static void limits_out(struct journal_out *out, const struct journal_queue_settings *s)
{
    journal_out_plain(out, s->limit);
    journal_out_plain(out, s->rate);
    journal_out_plain(out, s->rate_period_ms);
    journal_out_plain(out, s->rate_next_wall_ms);
}

static bool limits_in(struct journal_in *in, struct journal_queue_settings *ret)
{
    return journal_in_plain(in, &ret->limit) && journal_in_plain(in, &ret->rate) &&
           journal_in_plain(in, &ret->rate_period_ms) &&
           journal_in_plain(in, &ret->rate_next_wall_ms);
}

static bool has_group_limits(const struct journal_queue_settings *s)
{
    return s->group_limit != 0 || s->group_rate != 0;
}

static void group_limits_out(struct journal_out *out, const struct journal_queue_settings *s)
{
    journal_out_plain(out, s->group_limit);
    journal_out_plain(out, s->group_rate);
    journal_out_plain(out, s->group_rate_period_ms);
}

static bool group_limits_in(struct journal_in *in, struct journal_queue_settings *ret)
{
    return journal_in_plain(in, &ret->group_limit) && journal_in_plain(in, &ret->group_rate) &&
           journal_in_plain(in, &ret->group_rate_period_ms);
}

static uint8_t queue_flags(const struct journal_queue *queue)
{
    const struct journal_queue_settings *s = &queue->settings;

    return (uint8_t)((s->paused ? QUEUE_PAUSED : 0) | (has_limits(s) ? QUEUE_HAS_LIMITS : 0) |
                     (s->purge_seq != 0 ? QUEUE_HAS_PURGE : 0) |
                     (has_group_limits(s) ? QUEUE_HAS_GROUP_LIMITS : 0) |
                     (queue->parent != 0 ? QUEUE_IS_GROUP : 0) |
                     (queue->ordered ? QUEUE_IS_ORDERED : 0) |
                     (s->ageing_ms != 0 ? QUEUE_HAS_AGEING : 0) |
                     (s->cancel_seq != 0 ? QUEUE_HAS_MORE : 0));
}

void journal_queue_out(struct journal_out *out, const struct journal_queue *queue)
{
    const struct journal_queue_settings *s = &queue->settings;

    journal_out_u8(out, queue_flags(queue));
    text_out(out, queue->name);
    journal_out_plain(out, queue->ready);
    journal_out_plain(out, queue->delayed);
    journal_out_plain(out, queue->bytes);
    if (has_limits(s))
        limits_out(out, s);
    if (s->purge_seq != 0)
        journal_out_plain(out, s->purge_seq);
    if (has_group_limits(s))
        group_limits_out(out, s);
    if (s->ageing_ms != 0)
        journal_out_plain(out, s->ageing_ms);
    if (queue->parent != 0)
        journal_out_plain(out, queue->parent);
    if (s->cancel_seq != 0) {
        journal_out_u8(out, QUEUE_MORE_CANCEL);
        journal_out_plain(out, s->cancel_seq);
    }
}

static bool queue_more_in(struct journal_in *in, struct journal_queue_settings *ret)
{
    uint8_t more;

    return journal_in_u8(in, &more) && more == QUEUE_MORE_CANCEL &&
           journal_in_plain(in, &ret->cancel_seq) && ret->cancel_seq != 0 &&
           ret->cancel_seq <= ret->purge_seq;
}

static bool queue_rest_in(struct journal_in *in, uint8_t flags, struct journal_queue *queue)
{
    struct journal_queue_settings *s = &queue->settings;

    return ((flags & QUEUE_HAS_LIMITS) == 0 || limits_in(in, s)) &&
           ((flags & QUEUE_HAS_PURGE) == 0 || journal_in_plain(in, &s->purge_seq)) &&
           ((flags & QUEUE_HAS_GROUP_LIMITS) == 0 || group_limits_in(in, s)) &&
           ((flags & QUEUE_HAS_AGEING) == 0 || journal_in_plain(in, &s->ageing_ms)) &&
           ((flags & QUEUE_IS_GROUP) == 0 ||
            (journal_in_plain32(in, &queue->parent) && queue->parent != 0)) &&
           ((flags & QUEUE_HAS_MORE) == 0 || queue_more_in(in, s));
}

bool journal_queue_in(struct dtqi_slice key, struct dtqi_slice value, struct journal_queue *ret)
{
    struct journal_in number = journal_in_of(key);
    struct journal_in in = journal_in_of(value);
    struct journal_queue queue = {0};
    uint8_t flags;

    if (!journal_in_u32(&number, &queue.number) || number.len != 0 || queue.number == 0 ||
        !journal_in_u8(&in, &flags) || !text_in(&in, queue.name, sizeof queue.name) ||
        !journal_in_plain(&in, &queue.ready) || !journal_in_plain(&in, &queue.delayed) ||
        !journal_in_plain(&in, &queue.bytes) || !queue_rest_in(&in, flags, &queue) || in.len != 0)
        return false;
    queue.settings.paused = (flags & QUEUE_PAUSED) != 0;
    queue.ordered = (flags & QUEUE_IS_ORDERED) != 0;
    *ret = queue;
    return true;
}

enum sink_flags {
    SINK_REGISTERED = 1,
    SINK_REMOVED = 2 /* its successor stands behind the rest */
};

void journal_sink_out(struct journal_out *out, const struct journal_sink_record *record)
{
    journal_out_u8(out, record->registered ? SINK_REGISTERED
                                           : (record->sink.removed ? SINK_REMOVED : 0));
    journal_out_plain(out, record->number);
    text_out(out, record->sink.intake);
    text_out(out, record->sink.results);
    if (record->sink.removed)
        journal_out_bytes(out, record->sink.successor.bytes, 16);
}

bool journal_sink_in(struct dtqi_slice key, struct dtqi_slice value,
                     struct journal_sink_record *ret)
{
    struct journal_in store = journal_in_of(key);
    struct journal_in in = journal_in_of(value);
    struct journal_sink_record record = {0};
    uint8_t flags;

    if (!journal_in_bytes(&store, record.sink.store.bytes, 16) || store.len != 0 ||
        !journal_in_u8(&in, &flags) || flags > SINK_REMOVED ||
        !journal_in_plain32(&in, &record.number) || record.number == 0 ||
        !text_in(&in, record.sink.intake, sizeof record.sink.intake) ||
        !text_in(&in, record.sink.results, sizeof record.sink.results))
        return false;
    record.registered = flags == SINK_REGISTERED;
    record.sink.removed = flags == SINK_REMOVED;
    if ((record.sink.removed && !journal_in_bytes(&in, record.sink.successor.bytes, 16)) ||
        in.len != 0)
        return false;
    *ret = record;
    return true;
}

/* ---- idempotency keys */

void journal_key_record_out(struct journal_out *out, const struct journal_key_record *record)
{
    journal_out_bytes(out, record->id.bytes, 16);
    journal_out_bytes(out, record->digest.bytes, 16);
    journal_out_u64(out, record->until_wall_ms);
}

bool journal_key_record_in(struct dtqi_slice value, struct journal_key_record *ret)
{
    struct journal_in in = journal_in_of(value);

    *ret = (struct journal_key_record){.found = true};
    return journal_in_bytes(&in, ret->id.bytes, 16) &&
           journal_in_bytes(&in, ret->digest.bytes, 16) &&
           journal_in_u64(&in, &ret->until_wall_ms) && in.len == 0;
}

void journal_key_end_out(struct journal_out *out, uint64_t until_wall_ms, struct dtqi_slice key)
{
    journal_out_u32(out, (uint32_t)(until_wall_ms >> 32));
    journal_out_u32(out, (uint32_t)until_wall_ms);
    journal_out_bytes(out, key.at, key.len);
}

bool journal_key_end_in(struct dtqi_slice end, uint64_t *ret_until_wall_ms,
                        struct dtqi_slice *ret_key)
{
    struct journal_in in = journal_in_of(end);
    uint32_t high;
    uint32_t low;

    if (!journal_in_u32(&in, &high) || !journal_in_u32(&in, &low))
        return false;
    *ret_until_wall_ms = (uint64_t)high << 32 | low;
    *ret_key = (struct dtqi_slice){in.at, in.len};
    return true;
}

/* ---- cron entries */

static void str_out(struct journal_out *out, struct dtqi_str text)
{
    journal_out_plain(out, text.len);
    journal_out_bytes(out, text.at, text.len);
}

static bool str_in(struct journal_in *in, struct dtqi_str *ret)
{
    struct dtqi_slice text;
    uint64_t bytes;

    if (!journal_in_plain(in, &bytes) || bytes > DTQI_CRON_TEXT_BYTES_MAX ||
        !journal_in_slice(in, bytes, &text))
        return false;
    *ret = (struct dtqi_str){text.at, text.len};
    return true;
}

void journal_cron_head_out(struct journal_out *out, const struct journal_cron *cron)
{
    journal_out_bytes(out, cron->uid.bytes, 16);
    str_out(out, cron->expression);
    str_out(out, cron->zone);
    journal_out_plain(out, cron->every_ms);
    journal_out_u8(out, cron->missed);
    journal_out_plain(out, cron->missed_max);
    journal_out_u8(out, cron->skip_overlap);
    journal_out_plain(out, cron->delay_ms);
    journal_out_plain(out, cron->created_wall_ms);
    journal_out_plain(out, cron->spec.len);
}

bool journal_cron_in(struct dtqi_slice key, struct dtqi_slice value, struct journal_cron *ret)
{
    struct journal_in in = journal_in_of(value);
    struct journal_cron cron = {.name = {key.at, key.len}};
    uint64_t spec_bytes;
    uint8_t skip_overlap;

    if (!dtqi_is_name(cron.name) || !journal_in_bytes(&in, cron.uid.bytes, 16) ||
        !str_in(&in, &cron.expression) || !str_in(&in, &cron.zone) ||
        !journal_in_plain(&in, &cron.every_ms) || cron.every_ms > DTQI_DURATION_MS_MAX ||
        (cron.expression.len == 0 && cron.every_ms == 0) || !journal_in_u8(&in, &cron.missed) ||
        cron.missed > DTQI_MISSED_ALL || !journal_in_plain32(&in, &cron.missed_max) ||
        !journal_in_u8(&in, &skip_overlap) || skip_overlap > 1 ||
        !journal_in_plain(&in, &cron.delay_ms) || cron.delay_ms > DTQI_DURATION_MS_MAX ||
        !journal_in_plain(&in, &cron.created_wall_ms) || !journal_in_plain(&in, &spec_bytes) ||
        !journal_in_slice(&in, spec_bytes, &cron.spec))
        return false;
    cron.skip_overlap = skip_overlap == 1;
    cron.body = (struct dtqi_slice){in.at, in.len};
    *ret = cron;
    return true;
}

void journal_cron_state_out(struct journal_out *out, const struct journal_cron_state *s)
{
    journal_out_bytes(out, s->uid.bytes, 16);
    journal_out_u8(out, s->paused);
    journal_out_plain(out, s->cursor_wall_ms);
    journal_out_plain(out, s->anchor_wall_ms);
    journal_out_plain(out, s->due_wall_ms);
    journal_out_plain(out, s->fired_wall_ms);
    journal_out_bytes(out, s->last_id.bytes, 16);
    journal_out_plain(out, s->fired);
    journal_out_plain(out, s->missed);
    journal_out_plain(out, s->skipped);
    for (uint32_t i = 0; i < s->hand_n; i++)
        journal_out_bytes(out, s->hand_ids[i].bytes, 16);
}

static bool hand_ids_in(struct journal_in *in, struct journal_cron_state *s)
{
    while (in->len != 0 && s->hand_n < JOURNAL_CRON_HAND_MAX)
        if (!journal_in_bytes(in, s->hand_ids[s->hand_n++].bytes, 16))
            return false;
    return in->len == 0;
}

bool journal_cron_state_in(struct dtqi_slice value, struct journal_cron_state *ret)
{
    struct journal_in in = journal_in_of(value);
    struct journal_cron_state s = {0};
    uint8_t paused;

    if (!journal_in_bytes(&in, s.uid.bytes, 16) || !journal_in_u8(&in, &paused) || paused > 1 ||
        !journal_in_plain(&in, &s.cursor_wall_ms) || s.cursor_wall_ms > DTQI_WALL_MS_MAX ||
        !journal_in_plain(&in, &s.anchor_wall_ms) || s.anchor_wall_ms > DTQI_WALL_MS_MAX ||
        !journal_in_plain(&in, &s.due_wall_ms) || !journal_in_plain(&in, &s.fired_wall_ms) ||
        !journal_in_bytes(&in, s.last_id.bytes, 16) || !journal_in_plain(&in, &s.fired) ||
        !journal_in_plain(&in, &s.missed) || !journal_in_plain(&in, &s.skipped) ||
        !hand_ids_in(&in, &s))
        return false;
    s.paused = paused == 1;
    *ret = s;
    return true;
}
