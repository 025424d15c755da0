#include "journal_common.h"

#define BUCKETS 2048u /* power of two */
#define SIGHTINGS 1024u
#define NONE UINT16_MAX
#define HEAD_BYTES_MAX 32

struct entry {
    uint64_t tasks; /* 0: the number is free, though it may still be found */
    uint64_t reply_to;
    uint32_t sink;
    uint32_t hash;
    uint32_t spec_bytes;
    uint16_t next; /* of the same bucket */
    bool used;     /* it is in a bucket */
    bool dirty;
    uint8_t *spec;
};

struct journal_commons {
    struct entry entries[JOURNAL_COMMONS_MAX]; /* number - 1 */
    uint16_t buckets[BUCKETS];
    uint32_t sightings[SIGHTINGS]; /* hashes seen lately, once */
    uint16_t dirty[JOURNAL_COMMONS_MAX];
    uint32_t dirty_n;
    uint16_t free_hint;
};

struct journal_commons *journal_commons_new(void)
{
    struct journal_commons *c = calloc(1, sizeof *c);

    if (c != NULL)
        journal_commons_clear(c);
    return c;
}

void journal_commons_free(struct journal_commons *c)
{
    if (c == NULL)
        return;
    journal_commons_clear(c);
    free(c);
}

void journal_commons_clear(struct journal_commons *c)
{
    for (uint32_t i = 0; i < JOURNAL_COMMONS_MAX; i++)
        free(c->entries[i].spec);
    memset(c, 0, sizeof *c);
    memset(c->buckets, 0xff, sizeof c->buckets);
}

/* ---- entries */

static uint32_t hash_of(uint32_t sink, uint64_t reply_to, struct dtqi_slice spec)
{
    uint32_t crc = store_crc32c(sink, &reply_to, sizeof reply_to);

    return store_crc32c(crc, spec.at, spec.len);
}

static uint16_t *bucket_of(struct journal_commons *c, uint32_t hash)
{
    return &c->buckets[hash % BUCKETS];
}

static struct entry *find(struct journal_commons *c, uint32_t hash, uint32_t sink,
                          uint64_t reply_to, struct dtqi_slice spec)
{
    for (uint16_t i = *bucket_of(c, hash); i != NONE; i = c->entries[i].next) {
        struct entry *e = &c->entries[i];

        if (e->hash == hash && e->sink == sink && e->reply_to == reply_to &&
            e->spec_bytes == spec.len && (spec.len == 0 || memcmp(e->spec, spec.at, spec.len) == 0))
            return e;
    }
    return NULL;
}

static void unlink_entry(struct journal_commons *c, struct entry *e)
{
    uint16_t *at = bucket_of(c, e->hash);

    while (*at != e - c->entries)
        at = &c->entries[*at].next;
    *at = e->next;
    e->used = false;
}

/* Put a combination in the place of one without tasks. false: no memory. */
static bool fill_entry(struct journal_commons *c, struct entry *e, uint32_t sink, uint64_t reply_to,
                       struct dtqi_slice spec)
{
    uint8_t *copy = malloc(spec.len + 1u);
    uint16_t *bucket;

    if (copy == NULL)
        return false;
    if (spec.len > 0)
        memcpy(copy, spec.at, spec.len);
    if (e->used)
        unlink_entry(c, e);
    free(e->spec);
    e->spec = copy;
    e->spec_bytes = spec.len;
    e->sink = sink;
    e->reply_to = reply_to;
    e->hash = hash_of(sink, reply_to, spec);
    e->used = true;
    bucket = bucket_of(c, e->hash);
    e->next = *bucket;
    *bucket = (uint16_t)(e - c->entries);
    return true;
}

static struct entry *find_free(struct journal_commons *c)
{
    for (uint32_t i = 0; i < JOURNAL_COMMONS_MAX; i++) {
        uint32_t at = (c->free_hint + i) % JOURNAL_COMMONS_MAX;

        if (c->entries[at].tasks == 0) {
            c->free_hint = (uint16_t)at;
            return &c->entries[at];
        }
    }
    return NULL;
}

static void mark(struct journal_commons *c, struct entry *e)
{
    if (e->dirty)
        return;
    e->dirty = true;
    c->dirty[c->dirty_n++] = (uint16_t)(e - c->entries);
}

/* ---- the interface */

/* A place for a combination that was seen before; the first time it is only noted. */
static struct entry *make(struct journal_commons *c, uint32_t hash, uint32_t sink,
                          uint64_t reply_to, struct dtqi_slice spec)
{
    uint32_t *sighting = &c->sightings[hash % SIGHTINGS];
    struct entry *e;

    if (*sighting != hash) {
        *sighting = hash;
        return NULL;
    }
    e = find_free(c);
    return e != NULL && fill_entry(c, e, sink, reply_to, spec) ? e : NULL;
}

uint32_t journal_commons_add(struct journal_commons *c, uint32_t sink, uint64_t reply_to,
                             struct dtqi_slice spec)
{
    uint32_t hash;
    struct entry *e;

    if (spec.len > JOURNAL_COMMON_SPEC_BYTES_MAX)
        return 0;
    hash = hash_of(sink, reply_to, spec);
    e = find(c, hash, sink, reply_to, spec);
    if (e == NULL)
        e = make(c, hash, sink, reply_to, spec);
    if (e == NULL)
        return 0;
    e->tasks++;
    mark(c, e);
    return (uint32_t)(e - c->entries) + 1;
}

bool journal_commons_take(struct journal_commons *c, uint32_t number)
{
    struct entry *e;

    if (number == 0 || number > JOURNAL_COMMONS_MAX || c->entries[number - 1].tasks == 0)
        return false;
    e = &c->entries[number - 1];
    e->tasks--;
    mark(c, e);
    return true;
}

bool journal_commons_get(const struct journal_commons *c, uint32_t number,
                         struct journal_common *ret)
{
    const struct entry *e;

    if (number == 0 || number > JOURNAL_COMMONS_MAX || c->entries[number - 1].tasks == 0)
        return false;
    e = &c->entries[number - 1];
    *ret = (struct journal_common){
        .sink = e->sink, .reply_to = e->reply_to, .spec = {e->spec, e->spec_bytes}};
    return true;
}

/* ---- the disk: number (4 bytes) -> tasks, sink, reply_to, spec */

dtq_err journal_commons_load(struct journal_commons *c, struct dtqi_slice key,
                             struct dtqi_slice value)
{
    struct journal_in number_in = journal_in_of(key);
    struct journal_in in = journal_in_of(value);
    struct dtqi_slice spec;
    uint32_t number;
    uint32_t sink;
    uint64_t tasks;
    uint64_t reply_to;
    struct entry *e;

    if (!journal_in_u32(&number_in, &number) || number_in.len != 0 || number == 0 ||
        number > JOURNAL_COMMONS_MAX || !journal_in_plain(&in, &tasks) || tasks == 0 ||
        !journal_in_plain32(&in, &sink) || !journal_in_u64(&in, &reply_to) ||
        !journal_in_slice(&in, in.len, &spec))
        return DTQ_ECORRUPT;
    e = &c->entries[number - 1];
    if (!fill_entry(c, e, sink, reply_to, spec))
        return DTQ_ENOMEM;
    e->tasks = tasks;
    return DTQ_OK;
}

static dtq_err write_one(const struct entry *e, struct dtqi_slice key, struct store_tx *tx,
                         unsigned table)
{
    uint8_t room[HEAD_BYTES_MAX];
    struct journal_out head = {.at = room};
    struct dtqi_slice pieces[2] = {[1] = {e->spec, e->spec_bytes}};
    dtq_err err;

    if (e->tasks == 0) {
        err = store_del(tx, table, key);
        return err == DTQ_ENOTFOUND ? DTQ_OK : err; /* made and emptied by one batch */
    }
    journal_out_plain(&head, e->tasks);
    journal_out_plain(&head, e->sink);
    journal_out_u64(&head, e->reply_to);
    pieces[0] = journal_out_slice(&head);
    return store_put_pieces(tx, table, key, pieces, 2, STORE_SPARE);
}

dtq_err journal_commons_write(const struct journal_commons *c, struct store_tx *tx, unsigned table)
{
    for (uint32_t i = 0; i < c->dirty_n; i++) {
        uint8_t room[4];
        struct journal_out key = {.at = room};
        dtq_err err;

        journal_out_u32(&key, c->dirty[i] + 1u);
        err = write_one(&c->entries[c->dirty[i]], journal_out_slice(&key), tx, table);
        if (err != DTQ_OK)
            return err;
    }
    return DTQ_OK;
}

void journal_commons_written(struct journal_commons *c)
{
    while (c->dirty_n > 0)
        c->entries[c->dirty[--c->dirty_n]].dirty = false;
}
