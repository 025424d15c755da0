#include "worker_internal.h"

#define ENTRIES_FIRST 256u
#define SPECS_FIRST 16u

static const dtq_id *id_of(const void *owner, uint32_t index)
{
    const struct worker *w = owner;

    return &w->entries[index].id;
}

/* ---------------------------------------------------------------- the table */

dtq_err wk_entries_init(struct worker *w)
{
    w->free_head = w->free_tail = NONE;
    w->specs_free = NONE;
    w->specs_unused = list_empty();
    w->inbox = w->limbo = w->failed = w->fading = list_empty();
    return wk_entries_reserve(w, ENTRIES_FIRST) ? DTQ_OK : DTQ_ENOMEM;
}

void wk_entries_done(struct worker *w)
{
    for (uint32_t i = 0; i < w->entries_n; i++)
        dtqi_buf_unref(w->entries[i].buf);
    for (uint32_t i = 0; i < w->specs_n; i++)
        free(w->specs[i].texts);
    dtqi_idmap_done(&w->map);
    free(w->spec_buckets);
    free(w->specs);
    free(w->origins);
    free(w->entries);
}

bool wk_entries_reserve(struct worker *w, uint32_t n)
{
    uint32_t want = w->entries_n - w->count[ENTRY_FREE] + n;
    uint32_t room = w->entries_room != 0 ? w->entries_room : ENTRIES_FIRST;
    struct entry *entries;

    if (want > ENTRIES_MAX || !dtqi_idmap_reserve(&w->map, want))
        return false;
    while (room < want)
        room *= 2;
    if (room == w->entries_room)
        return true;
    entries = realloc(w->entries, room * sizeof *entries);
    if (entries == NULL)
        return false;
    w->entries = entries;
    w->entries_room = room;
    return true;
}

/* The longest unused record: an index that a slot or the ventilator still has in mind stays
 * unused for as long as possible. New records only when none is free. */
static struct entry *take_record(struct worker *w)
{
    struct entry *e;

    if (w->free_head == NONE) {
        assert(w->entries_n < w->entries_room);
        w->count[ENTRY_FREE]++;
        return &w->entries[w->entries_n++];
    }
    e = &w->entries[w->free_head];
    w->free_head = e->next;
    if (w->free_head == NONE)
        w->free_tail = NONE;
    return e;
}

static void give_record(struct worker *w, struct entry *e)
{
    uint32_t at = index_of(w, e);

    e->next = NONE;
    if (w->free_tail != NONE)
        w->entries[w->free_tail].next = at;
    else
        w->free_head = at;
    w->free_tail = at;
}

/* The map leads to the newest attempt of a task, from there a chain to the older ones. */
static void map_add(struct worker *w, struct entry *e, uint32_t place)
{
    struct dtqi_idmap *m = &w->map;

    if (place == NONE)
        place = dtqi_idmap_place(m, w, id_of, &e->id, (uint32_t)e->hash);
    e->older = m->entries[place].index;
    if (e->older == NONE)
        dtqi_idmap_put(m, place, (uint32_t)e->hash, index_of(w, e));
    else
        m->entries[place].index = index_of(w, e);
}

/* Out of the chain behind the newest attempt. */
static void unchain(struct worker *w, struct entry *newer, const struct entry *e)
{
    uint32_t at = index_of(w, e);

    while (newer->older != at)
        newer = &w->entries[newer->older];
    newer->older = e->older;
}

static void map_remove(struct worker *w, struct entry *e)
{
    struct dtqi_idmap *m = &w->map;
    uint32_t at = index_of(w, e);
    uint32_t place = (uint32_t)e->hash & m->mask;
    uint32_t newest;

    /* Indexes tell records apart without a look at them; only an older attempt is found by its
     * task's id. */
    while ((newest = m->entries[place].index) != at && newest != NONE)
        place = (place + 1) & m->mask;
    if (newest == NONE) {
        place = dtqi_idmap_place(m, w, id_of, &e->id, (uint32_t)e->hash);
        unchain(w, &w->entries[m->entries[place].index], e);
    } else if (e->older != NONE) {
        m->entries[place].index = e->older;
    } else {
        dtqi_idmap_remove_at(m, place);
    }
}

/* As dtqi_holding_hash(), parts of which are known. */
static uint64_t holding_hash(const struct worker *w, const struct entry *e)
{
    const struct origin *o = &w->origins[e->origin];
    uint64_t mix = e->attempt == 1 ? o->first_mix : dtqi_mix64(o->epoch + e->attempt);

    return dtqi_mix64(e->hash ^ mix);
}

static void hold(struct worker *w, struct entry *e)
{
    e->flags |= ENTRY_HELD;
    w->held++;
    w->held_sum += holding_hash(w, e);
}

void wk_entry_unhold(struct worker *w, struct entry *e)
{
    if ((e->flags & ENTRY_HELD) == 0)
        return;
    e->flags &= (uint16_t)~ENTRY_HELD;
    w->held--;
    w->held_sum -= holding_hash(w, e);
}

struct entry *wk_entry_new(struct worker *w, const dtq_id *id, uint64_t hash, uint32_t place,
                           uint32_t attempt, uint32_t spec, uint32_t sink)
{
    struct entry *e = take_record(w);

    *e = (struct entry){
        .id = *id,
        .hash = hash,
        .attempt = attempt,
        .next = NONE,
        .prev = NONE,
        .spec = spec,
        .origin = (uint16_t)w->session.origin,
        .sink = (uint8_t)sink,
    };
    w->origins[e->origin].refs++;
    if (spec != NONE)
        wk_spec_hold(w, spec);
    if (sink != ENTRY_NO_SINK)
        w->sinks[sink].refs++;
    map_add(w, e, place);
    hold(w, e);
    return e;
}

void wk_entry_release(struct worker *w, struct entry *e)
{
    wk_entry_unhold(w, e);
    if ((e->flags & ENTRY_LISTED) != 0)
        w->session.listed--;
    map_remove(w, e);
    entry_drop_body(e);
    if (e->spec != NONE)
        wk_spec_drop(w, e->spec);
    if (e->sink != ENTRY_NO_SINK)
        wk_sink_drop(w, e->sink);
    wk_origin_drop(w, e->origin);
    give_record(w, e);
}

void wk_entry_drop_payload(struct worker *w, struct entry *e)
{
    assert(e->state == ENTRY_FED);
    e->flags |= ENTRY_STARTED;
    w->active_bytes -= e->len;
    entry_drop_body(e);
}

void wk_entry_set_end(struct worker *w, struct entry *e, struct dtqi_slice body,
                      struct dtqi_buf *buf)
{
    assert(has_ended(e->state));
    assert(e->len == 0);
    e->at = body.at;
    e->len = body.len;
    e->buf = buf != NULL ? dtqi_buf_ref(buf) : NULL;
    w->kept_bytes += body.len;
}

void wk_entry_own_end(struct entry *e)
{
    struct dtqi_buf *own;
    void *at;

    if ((e->flags & ENTRY_OWN) != 0 || e->buf == NULL)
        return;
    own = dtqi_buf_new(e->len, (size_t)e->len + 16);
    at = own != NULL ? dtqi_buf_alloc(own, e->len) : NULL;
    if (at == NULL) {
        dtqi_buf_unref(own);
        return; /* it stays in its batch */
    }
    memcpy(at, e->at, e->len);
    dtqi_buf_unref(e->buf);
    e->buf = own;
    e->at = at;
    e->flags |= ENTRY_OWN;
}

uint32_t wk_entry_place(const struct worker *w, const dtq_id *id, uint64_t hash,
                        struct entry **ret_newest)
{
    uint32_t place = dtqi_idmap_place(&w->map, w, id_of, id, (uint32_t)hash);

    *ret_newest = entry_at(w, w->map.entries[place].index);
    return place;
}

struct entry *wk_entry_newest(const struct worker *w, const dtq_id *id)
{
    struct entry *newest;

    wk_entry_place(w, id, dtqi_id_hash(id), &newest);
    return newest;
}

bool wk_entry_is_foreign(const struct worker *w, const struct entry *e)
{
    return e->origin != w->session.origin &&
           !dtqi_uid_eq(&w->origins[e->origin].store, &w->origins[w->session.origin].store);
}

struct entry *wk_entry_find(const struct worker *w, const dtq_id *id, uint64_t epoch,
                            uint32_t attempt)
{
    struct entry *e = wk_entry_newest(w, id);

    while (e != NULL && (e->attempt != attempt || w->origins[e->origin].epoch != epoch ||
                         wk_entry_is_foreign(w, e)))
        e = entry_at(w, e->older);
    return e;
}

void wk_entries_recount(struct worker *w)
{
    for (uint32_t i = 0; i < w->entries_n; i++) {
        struct entry *e = &w->entries[i];

        if (e->state == ENTRY_FREE || (e->flags & ENTRY_DROP) != 0)
            continue;
        wk_entry_unhold(w, e);
        if (!wk_entry_is_foreign(w, e))
            hold(w, e);
    }
}

/* ---------------------------------------------------------------- what becomes of an entry */

void wk_entry_wait(struct worker *w, struct entry *e, bool head)
{
    bool limbo = !session_is_open(w) || (e->flags & ENTRY_LISTED) != 0;
    struct list *l = limbo ? &w->limbo : &w->inbox;

    if (wk_entry_is_foreign(w, e) || (w->stop != STOP_NO && w->session.id == 0)) {
        entry_move(w, e, ENTRY_FREE); /* R35: never started, and nobody to give it back to */
        return;
    }
    if (w->stop != STOP_NO && !limbo) {
        wk_entry_return(w, e);
        return;
    }
    entry_move(w, e, limbo ? ENTRY_LIMBO : ENTRY_WAITING);
    if (head)
        list_push_head(w, l, e);
    else
        list_push(w, l, e);
}

/* Ids alone name only the newest attempt, and only to a ventilator that knows of it. */
static bool may_be_named(const struct worker *w, const struct entry *e)
{
    return session_is_open(w) &&
           (e->flags & (ENTRY_HELD | ENTRY_STALE | ENTRY_LISTED)) == ENTRY_HELD &&
           wk_entry_newest(w, &e->id) == e;
}

void wk_entry_return(struct worker *w, struct entry *e)
{
    if (may_be_named(w, e) && !wk_ids_add(&w->returned, &e->id))
        w->report_is_short = true;
    w->stats.tasks_returned++;
    entry_move(w, e, ENTRY_FREE);
}

void wk_entry_stopped(struct worker *w, struct entry *e, bool had_started)
{
    if (had_started && may_be_named(w, e))
        (void)wk_ids_add(&w->started, &e->id); /* for people only */
    if ((e->flags & ENTRY_STOP) != 0 && may_be_named(w, e) && !wk_ids_add(&w->stopped, &e->id))
        w->report_is_short = true;
    w->stats.tasks_stopped++;
    entry_move(w, e, ENTRY_FREE);
}

void wk_entry_fail(struct worker *w, struct entry *e, dtq_reason reason, int32_t code,
                   struct dtqi_slice text, struct dtqi_buf *buf)
{
    w->stats.tasks_failed++;
    if (wk_entry_is_foreign(w, e)) {
        entry_move(w, e, ENTRY_FREE); /* R35: only results are kept for another ventilator */
        return;
    }
    entry_move(w, e, ENTRY_FAILED);
    if (text.len > DTQI_TEXT_BYTES_MAX)
        text.len = DTQI_TEXT_BYTES_MAX;
    wk_entry_set_end(w, e, text, buf);
    e->reason = (uint8_t)reason;
    e->code = code;
    list_push(w, &w->failed, e);
    wk_report_end(w, e);
}

void wk_entry_discard(struct worker *w, struct entry *e)
{
    switch ((enum entry_state)e->state) {
    case ENTRY_LIMBO: list_remove(w, &w->limbo, e); break;
    case ENTRY_WAITING: list_remove(w, &w->inbox, e); break;
    case ENTRY_FAILED: list_remove(w, &w->failed, e); break;
    case ENTRY_DONE: wk_result_unlink(w, e); break;
    case ENTRY_FREE:
    case ENTRY_FED:
    case ENTRY_STATES: assert(false); break;
    }
    entry_move(w, e, ENTRY_FREE);
}

/* ---------------------------------------------------------------- origins */

uint32_t wk_origin_hold(struct worker *w, const dtqi_uid *store, uint64_t epoch)
{
    uint32_t unused = w->origins_n;

    for (uint32_t i = 0; i < w->origins_n; i++) {
        struct origin *o = &w->origins[i];

        if (o->refs != 0 && o->epoch == epoch && dtqi_uid_eq(&o->store, store)) {
            o->refs++;
            return i;
        }
        if (o->refs == 0)
            unused = i;
    }
    if (unused == w->origins_n) {
        struct origin *origins = realloc(w->origins, (unused + 1) * sizeof *origins);

        if (origins == NULL || unused >= UINT16_MAX)
            return NONE;
        w->origins = origins;
        w->origins_n++;
    }
    w->origins[unused] = (struct origin){
        .store = *store, .epoch = epoch, .first_mix = dtqi_mix64(epoch + 1), .refs = 1};
    return unused;
}

void wk_origin_drop(struct worker *w, uint32_t origin)
{
    assert(w->origins[origin].refs > 0);
    w->origins[origin].refs--;
}

void wk_origin_heard(struct worker *w, const dtqi_uid *store, uint64_t wall_ms)
{
    for (uint32_t i = 0; i < w->origins_n; i++) {
        if (w->origins[i].refs != 0 && dtqi_uid_eq(&w->origins[i].store, store))
            w->origins[i].heard_wall_ms = wall_ms;
    }
}

/* ---------------------------------------------------------------- specs */

static uint32_t hash_bytes(const unsigned char *at, uint32_t len)
{
    uint64_t h = len;

    while (len >= 8) {
        uint64_t word;

        memcpy(&word, at, 8);
        h = dtqi_mix64(h ^ word);
        at += 8;
        len -= 8;
    }
    for (uint32_t i = 0; i < len; i++)
        h = (h ^ at[i]) * 0x100000001b3ull;
    return (uint32_t)dtqi_mix64(h);
}

static void unused_remove(struct worker *w, struct spec *s)
{
    struct list *l = &w->specs_unused;

    if (s->prev != NONE)
        w->specs[s->prev].next = s->next;
    else
        l->head = s->next;
    if (s->next != NONE)
        w->specs[s->next].prev = s->prev;
    else
        l->tail = s->prev;
    l->n--;
}

static void unused_push(struct worker *w, uint32_t at)
{
    struct list *l = &w->specs_unused;
    struct spec *s = &w->specs[at];

    s->next = NONE;
    s->prev = l->tail;
    if (l->tail != NONE)
        w->specs[l->tail].next = at;
    else
        l->head = at;
    l->tail = at;
    l->n++;
}

static uint32_t *bucket_of(struct worker *w, uint32_t hash)
{
    return &w->spec_buckets[hash & w->spec_buckets_mask];
}

static void spec_forget(struct worker *w, uint32_t at)
{
    struct spec *s = &w->specs[at];
    uint32_t *link = bucket_of(w, s->hash);

    while (*link != at)
        link = &w->specs[*link].next_same_hash;
    *link = s->next_same_hash;
    unused_remove(w, s);
    free(s->texts);
    *s = (struct spec){.next = w->specs_free};
    w->specs_free = at;
}

/* Double table and buckets, which have the same size. */
static bool specs_grow(struct worker *w)
{
    uint32_t room = w->specs_room != 0 ? 2 * w->specs_room : SPECS_FIRST;
    struct spec *specs = realloc(w->specs, room * sizeof *specs);
    uint32_t *buckets;

    if (specs == NULL)
        return false;
    w->specs = specs;
    buckets = malloc(room * sizeof *buckets);
    if (buckets == NULL)
        return false;
    memset(buckets, 0xff, room * sizeof *buckets);
    free(w->spec_buckets);
    w->spec_buckets = buckets;
    w->spec_buckets_mask = room - 1;
    w->specs_room = room;
    for (uint32_t i = 0; i < w->specs_n; i++) {
        uint32_t *bucket = bucket_of(w, specs[i].hash);

        specs[i].next_same_hash = *bucket;
        *bucket = i;
    }
    return true;
}

/* A record for one more spec; NONE: no memory. */
static uint32_t spec_record(struct worker *w)
{
    uint32_t at = w->specs_free;

    if (at != NONE) {
        w->specs_free = w->specs[at].next;
        return at;
    }
    if (w->specs_n == w->specs_room && !specs_grow(w))
        return NONE;
    return w->specs_n++;
}

static struct dtqi_str copy_str(char **at, const char *text, uint32_t len)
{
    struct dtqi_str copy = {*at, len};

    if (len != 0)
        memcpy(*at, text, len);
    *at += len;
    return copy;
}

static uint32_t spec_add(struct worker *w, const struct dtqi_spec *spec, uint32_t hash)
{
    char *texts = malloc((size_t)spec->raw.len + spec->name.len + spec->queue.len + 1);
    uint32_t at = texts != NULL ? spec_record(w) : NONE;
    struct spec *s;
    char *end = texts;

    if (at == NONE) {
        free(texts);
        return NONE;
    }
    s = &w->specs[at];
    *s = (struct spec){
        .texts = texts,
        .time_limit_ms = spec->time_limit_ms,
        .no_result = spec->no_result,
        .hash = hash,
        .next_same_hash = *bucket_of(w, hash),
    };
    s->raw.at = copy_str(&end, spec->raw.at, spec->raw.len).at;
    s->raw.len = spec->raw.len;
    s->name = copy_str(&end, spec->name.at, spec->name.len);
    s->queue = copy_str(&end, spec->queue.at, spec->queue.len);
    *bucket_of(w, hash) = at;
    unused_push(w, at);
    return at;
}

uint32_t wk_spec_get(struct worker *w, const struct dtqi_spec *spec)
{
    uint32_t hash = hash_bytes(spec->raw.at, spec->raw.len);
    uint32_t at = w->spec_buckets != NULL ? *bucket_of(w, hash) : NONE;

    while (at != NONE) {
        const struct spec *s = &w->specs[at];

        if (s->hash == hash && s->raw.len == spec->raw.len &&
            memcmp(s->raw.at, spec->raw.at, spec->raw.len) == 0)
            return at;
        at = s->next_same_hash;
    }
    return spec_add(w, spec, hash);
}

void wk_spec_hold(struct worker *w, uint32_t spec)
{
    struct spec *s = &w->specs[spec];

    if (s->refs++ == 0)
        unused_remove(w, s);
}

/* A few that nobody holds are kept: the next batch is likely to bring them again. */
void wk_spec_drop(struct worker *w, uint32_t spec)
{
    struct spec *s = &w->specs[spec];

    assert(s->refs > 0);
    if (--s->refs > 0)
        return;
    unused_push(w, spec);
    if (w->specs_unused.n > SPECS_UNUSED_MAX)
        spec_forget(w, w->specs_unused.head);
}
