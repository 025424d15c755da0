/*
 * Idempotency keys. What the journal has is looked up there, for each SUBMIT that names keys; a key
 * is put there in one commit with its task. Between its first mention and that commit a task is
 * found here, so that a key never stands for two.
 */
#include "vent_internal.h"

#define KEY_BUCKETS 4096u
#define FORGET_EACH_MS 10000u

dtq_err vent_keys_init(struct vent *v, const struct journal_start *start)
{
    v->key_buckets = malloc(KEY_BUCKETS * sizeof *v->key_buckets);
    if (v->key_buckets == NULL)
        return DTQ_ENOMEM;
    memset(v->key_buckets, 0xff, KEY_BUCKETS * sizeof *v->key_buckets);
    v->keys_n = start->keys_n;
    return DTQ_OK;
}

static uint32_t *bucket_of(const struct vent *v, struct dtqi_str key)
{
    uint64_t h = key.len;

    for (uint32_t i = 0; i < key.len; i++)
        h = dtqi_mix64(h ^ (uint8_t)key.at[i]);
    return &v->key_buckets[h % KEY_BUCKETS];
}

static struct dtqi_str key_of(const struct vent *v, const struct task *t)
{
    return spec_of(v, t)->spec.key;
}

struct task *vent_key_find(const struct vent *v, struct dtqi_str key)
{
    uint32_t i = *bucket_of(v, key);

    while (i != NONE && !dtqi_str_eq(key_of(v, task_at(v, i)), key))
        i = past_of(v, task_at(v, i))->key_next;
    return i != NONE ? task_at(v, i) : NULL;
}

bool vent_key_add(struct vent *v, struct task *t)
{
    struct past *p = vent_past(v, t);
    uint32_t *bucket = bucket_of(v, key_of(v, t));

    if (p == NULL)
        return false;
    p->digest = vent_digest(spec_of(v, t)->spec.raw, (struct dtqi_slice){t->body, t->body_len});
    p->key_next = *bucket;
    *bucket = task_index(v, t);
    t->marks |= TASK_ALWAYS | TASK_KEYED; /* R7 */
    return true;
}

void vent_key_remove(struct vent *v, struct task *t)
{
    uint32_t *at = bucket_of(v, key_of(v, t));

    while (*at != task_index(v, t))
        at = &past_of(v, task_at(v, *at))->key_next;
    *at = past_of(v, t)->key_next;
    t->marks &= (uint8_t)~TASK_KEYED;
}

/* ---------------------------------------------------------------- content */

static uint64_t mix_bytes(uint64_t h, struct dtqi_slice s)
{
    const uint8_t *at = s.at;
    uint64_t word;
    uint32_t i = 0;

    h = dtqi_mix64(h ^ s.len);
    for (; i + 8 <= s.len; i += 8) {
        memcpy(&word, at + i, 8);
        h = dtqi_mix64(h ^ word);
    }
    word = 0;
    if (i < s.len)
        memcpy(&word, at + i, s.len - i);
    return dtqi_mix64(h ^ word);
}

/* Tells apart what is different by mistake, not what somebody makes to look alike. */
dtqi_uid vent_digest(struct dtqi_slice spec, struct dtqi_slice body)
{
    uint64_t halves[2] = {mix_bytes(mix_bytes(1, spec), body), mix_bytes(mix_bytes(2, spec), body)};
    dtqi_uid digest;

    memcpy(digest.bytes, halves, sizeof digest.bytes);
    return digest;
}

bool vent_key_is_same(const struct vent *v, const struct task *t, const dtqi_uid *digest)
{
    return dtqi_uid_eq(&past_of(v, t)->digest, digest);
}

/* ---------------------------------------------------------------- the journal */

void vent_key_op(const struct vent *v, const struct task *t, struct journal_op *op)
{
    const struct dtqi_spec *s = &spec_of(v, t)->spec;

    op->text = (struct dtqi_slice){s->key.at, s->key.len};
    op->digest = past_of(v, t)->digest;
    op->at_wall_ms = v->wall_ms + (s->key_ttl_ms != 0 ? s->key_ttl_ms : DTQI_KEY_TTL_MS);
}

static bool copy_key(struct dtqi_buf *buf, struct dtqi_str key, struct dtqi_str *ret)
{
    char *at = dtqi_buf_alloc(buf, key.len);

    if (at == NULL)
        return false;
    memcpy(at, key.at, key.len);
    *ret = (struct dtqi_str){at, key.len};
    return true;
}

bool vent_keys_ask(struct vent *v, uint32_t claim, const dtq_id *ids, uint32_t n)
{
    struct vent_read *r = vent_read_new(v, READ_KEYS, JOURNAL_KEYS, ids, n);
    struct dtqi_str *keys = NULL;

    if (r == NULL)
        return false;
    r->owner = claim;
    r->keys = dtqi_buf_new(n * (sizeof *keys + DTQI_NAME_BYTES_MAX) + 64u, SIZE_MAX);
    if (r->keys != NULL)
        keys = dtqi_buf_alloc(r->keys, n * sizeof *keys);
    for (uint32_t i = 0; keys != NULL && i < n; i++)
        if (!copy_key(r->keys, key_of(v, vent_task_find(v, &ids[i])), &keys[i]))
            keys = NULL;
    if (keys == NULL) {
        vent_read_free(v, r);
        return false;
    }
    r->read.keys = keys;
    r->read.keys_n = n;
    vent_read_send(v, r);
    return true;
}

/* Old ones are forgotten a few thousand at a time. */
void vent_keys_tick(struct vent *v)
{
    if (v->keys_n == 0)
        return;
    if (v->now_ms < v->keys_forget_ms) {
        due_at(v, v->keys_forget_ms);
        return;
    }
    v->keys_forget_due = true;
    v->keys_forget_ms = v->now_ms + FORGET_EACH_MS;
    due_at(v, v->keys_forget_ms);
    vent_lazy(v);
}
