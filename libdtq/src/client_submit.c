#include "client_parts.h"

/* ---------------------------------------------------------------- places of batches */

static void place(struct client *c, struct batch *b, enum batch_place where)
{
    struct batches *l = &c->places[where];

    b->place = where;
    b->next = NULL;
    b->previous = l->last;
    if (l->last != NULL)
        l->last->next = b;
    else
        l->first = b;
    l->last = b;
}

static void place_first(struct client *c, struct batch *b, enum batch_place where)
{
    struct batches *l = &c->places[where];

    b->place = where;
    b->previous = NULL;
    b->next = l->first;
    if (l->first != NULL)
        l->first->previous = b;
    else
        l->last = b;
    l->first = b;
}

/* A forming batch is in no list. */
static void unplace(struct client *c, struct batch *b)
{
    struct batches *l = &c->places[b->place];

    if (b->place == BATCH_FORMING) {
        c->forming[b->sink] = NULL;
        return;
    }
    if (b->previous != NULL)
        b->previous->next = b->next;
    else
        l->first = b->next;
    if (b->next != NULL)
        b->next->previous = b->previous;
    else
        l->last = b->previous;
}

/* ---------------------------------------------------------------- memory of batches */

static void destroy(struct batch *b)
{
    dtqi_buf_unref(b->buf);
    free(b->records);
    free(b->ids);
    free(b->spec_index);
    free(b->not_before_wall_ms);
    free(b->delay_ms);
    free(b->sink_hashes);
    free(b->bodies);
    free(b->specs);
    free(b);
}

/* Keeps the columns for the next one, so that a steady stream of batches needs no new memory. */
static void retire(struct client *c, struct batch *b)
{
    unplace(c, b);
    dtqi_buf_unref(b->buf);
    b->buf = NULL;
    if (c->spare_n == BATCHES_SPARE_MAX) {
        destroy(b);
        return;
    }
    b->next = c->spare;
    c->spare = b;
    c->spare_n++;
}

static struct batch *take_spare(struct client *c)
{
    struct batch *b = c->spare;
    struct batch kept;

    if (b == NULL)
        return calloc(1, sizeof *b);
    c->spare = b->next;
    c->spare_n--;
    kept = *b;
    *b = (struct batch){.size = kept.size,
                        .records = kept.records,
                        .ids = kept.ids,
                        .spec_index = kept.spec_index,
                        .not_before_wall_ms = kept.not_before_wall_ms,
                        .delay_ms = kept.delay_ms,
                        .sink_hashes = kept.sink_hashes,
                        .bodies = kept.bodies,
                        .specs = kept.specs,
                        .specs_size = kept.specs_size};
    return b;
}

static struct batch *batch_new(struct client *c, uint32_t sink, bool resend, uint64_t clock_base_ms)
{
    struct batch *b = take_spare(c);

    if (b == NULL)
        return NULL;
    b->buf = dtqi_buf_new(c->buf_hint, SIZE_MAX);
    if (b->buf == NULL) {
        destroy(b);
        return NULL;
    }
    b->sink = sink;
    b->resend = resend;
    b->clock_base_ms = clock_base_ms;
    b->place = BATCH_FORMING;
    c->forming[sink] = b;
    return b;
}

static bool grow_column(void *column, uint32_t n, size_t bytes_each)
{
    void **at = column;
    void *grown = realloc(*at, n * bytes_each);

    if (grown != NULL)
        *at = grown;
    return grown != NULL;
}

static bool has_room(struct batch *b)
{
    uint32_t size = dtqi_more_room(b->size, 8);

    if (b->n < b->size)
        return true;
    if (!grow_column(&b->records, size, sizeof *b->records) ||
        !grow_column(&b->ids, size, sizeof *b->ids) ||
        !grow_column(&b->spec_index, size, sizeof *b->spec_index) ||
        !grow_column(&b->not_before_wall_ms, size, sizeof *b->not_before_wall_ms) ||
        !grow_column(&b->delay_ms, size, sizeof *b->delay_ms) ||
        !grow_column(&b->sink_hashes, size, sizeof *b->sink_hashes) ||
        !grow_column(&b->bodies, size, sizeof *b->bodies))
        return false;
    b->size = size;
    return true;
}

static bool keep_slice(struct batch *b, struct dtqi_slice in, struct dtqi_slice *ret)
{
    void *at;

    *ret = (struct dtqi_slice){"", 0};
    if (in.len == 0)
        return true;
    at = dtqi_buf_alloc(b->buf, in.len);
    if (at == NULL)
        return false;
    memcpy(at, in.at, in.len);
    *ret = (struct dtqi_slice){at, in.len};
    return true;
}

static bool is_spec(const struct dtqi_spec *spec, struct dtqi_slice raw)
{
    return spec->raw.len == raw.len && memcmp(spec->raw.at, raw.at, raw.len) == 0;
}

/* Each distinct spec once; neighbours are usually alike, so the last ones are looked at first. */
static bool add_spec(struct batch *b, struct dtqi_slice raw, uint32_t *ret_index)
{
    struct dtqi_slice kept;

    for (uint32_t i = 0; i < b->specs_n && i < 8; i++) {
        *ret_index = b->specs_n - 1 - i;
        if (is_spec(&b->specs[*ret_index], raw))
            return true;
    }
    if (b->specs_n == b->specs_size) {
        uint32_t size = b->specs_size != 0 ? 2 * b->specs_size : 1;

        if (!grow_column(&b->specs, size, sizeof *b->specs))
            return false;
        b->specs_size = size;
    }
    if (!keep_slice(b, raw, &kept))
        return false;
    *ret_index = b->specs_n;
    b->specs[b->specs_n++] = (struct dtqi_spec){.raw = kept};
    return true;
}

/* ---------------------------------------------------------------- entries */

struct entry {
    uint32_t record;
    struct dtqi_slice spec;
    struct dtqi_slice body;
    uint64_t not_before_wall_ms;
    uint64_t delay_ms;
    uint64_t clock_base_ms;
    uint64_t sink_hash;
};

static void unform(struct client *c, struct batch *b)
{
    c->forming[b->sink] = NULL;
    c->buf_hint = b->bytes < DTQI_BATCH_BYTES_MAX ? (uint32_t)b->bytes : DTQI_BATCH_BYTES_MAX;
    place(c, b, b->sink != 0 ? BATCH_READY : BATCH_UNPLACED);
}

static bool is_full(const struct batch *b, uint64_t bytes)
{
    return b->n == CLIENT_BATCH_ENTRIES_MAX ||
           (b->n != 0 && b->bytes + bytes > DTQI_BATCH_BYTES_MAX);
}

/* The batch that is forming for a sink, if another task fits; else a new one. */
static struct batch *batch_for(struct client *c, uint32_t sink, bool resend, const struct entry *e)
{
    struct batch *b = c->forming[sink];

    if (b != NULL && (is_full(b, e->body.len + e->spec.len) || b->resend != resend ||
                      b->clock_base_ms != e->clock_base_ms)) {
        unform(c, b);
        b = NULL;
    }
    return b != NULL ? b : batch_new(c, sink, resend, e->clock_base_ms);
}

static bool append(struct client *c, uint32_t sink, bool resend, const struct entry *e)
{
    struct batch *b = batch_for(c, sink, resend, e);
    struct record *r = rec_at(c, e->record);
    uint32_t specs_n;
    uint32_t n;

    if (b == NULL)
        return false;
    n = b->n;
    specs_n = b->specs_n;
    if (!has_room(b) || !add_spec(b, e->spec, &b->spec_index[n]) ||
        !keep_slice(b, e->body, &b->bodies[n])) {
        b->specs_n = specs_n; /* a SUBMIT lists no spec for nothing */
        if (n == 0)
            retire(c, b);
        return false;
    }
    b->records[n] = e->record;
    b->ids[n] = r->id;
    b->not_before_wall_ms[n] = e->not_before_wall_ms;
    b->delay_ms[n] = e->delay_ms;
    b->sink_hashes[n] = e->sink_hash;
    b->has_times |= e->not_before_wall_ms != 0;
    b->has_delays |= e->delay_ms != 0;
    b->n++;
    b->left++;
    b->bytes = b->buf->total;
    r->batch = b;
    r->batch_index = n;
    rec_set_sink(c, e->record, sink);
    return true;
}

static uint64_t entry_bytes(const struct batch *b, uint32_t i)
{
    return b->bodies[i].len + b->specs[b->spec_index[i]].raw.len;
}

/* The batch itself is retired by its user, once it has looked at all of it. */
void submit_resolve(struct client *c, uint32_t index)
{
    struct record *r = rec_at(c, index);
    struct batch *b = r->batch;

    assert(b != NULL);
    assert(b->records[r->batch_index] == index);
    if (--c->unconfirmed == 0)
        c->submit_due_ms = NEVER;
    c->unconfirmed_bytes -= entry_bytes(b, r->batch_index);
    b->records[r->batch_index] = NONE;
    b->left--;
    r->batch = NULL;
}

void submit_resolve_early(struct client *c, uint32_t index)
{
    struct batch *b = rec_at(c, index)->batch;

    submit_resolve(c, index);
    if (b->left == 0)
        retire(c, b);
}

/* A SUBMIT lists each spec once, and none for nothing. */
static void drop_unused_specs(struct batch *b)
{
    uint32_t to = 0;

    for (uint32_t from = 0; from < b->specs_n; from++) {
        bool is_used = false;

        for (uint32_t i = 0; i < b->n; i++) {
            if (b->spec_index[i] != from)
                continue;
            b->spec_index[i] = to;
            is_used = true;
        }
        if (is_used)
            b->specs[to++] = b->specs[from];
    }
    b->specs_n = to;
}

/* Drops entries that are settled; columns move up. */
static void compact(struct client *c, struct batch *b)
{
    uint32_t to = 0;

    if (b->left == b->n)
        return;
    for (uint32_t i = 0; i < b->n; i++) {
        if (b->records[i] == NONE)
            continue;
        b->records[to] = b->records[i];
        b->ids[to] = b->ids[i];
        b->spec_index[to] = b->spec_index[i];
        b->not_before_wall_ms[to] = b->not_before_wall_ms[i];
        b->delay_ms[to] = b->delay_ms[i];
        b->sink_hashes[to] = b->sink_hashes[i];
        b->bodies[to] = b->bodies[i];
        rec_at(c, b->records[to])->batch_index = to;
        to++;
    }
    b->n = to;
    drop_unused_specs(b);
}

/* ---------------------------------------------------------------- taking a task in */

static uint64_t deadline_ms(const struct client *c, const struct client_task *t)
{
    return c->now.now_ms + (t->timeout_ms < CLIENT_GIVE_UP_MS ? t->timeout_ms : CLIENT_GIVE_UP_MS);
}

static dtq_err check_room(const struct client *c, const struct client_task *t)
{
    uint64_t bytes = (uint64_t)t->spec.len + t->payload.len;
    struct dtqi_str text;
    dtq_err err = client_refusal(c, &text);

    if (err != DTQ_OK)
        return err;
    if (t->payload.len > DTQI_TASK_BYTES_MAX || t->spec.len > DTQI_SPEC_BYTES_MAX ||
        (c->task_bytes_max != 0 && t->payload.len > c->task_bytes_max))
        return DTQ_ETOOBIG;
    if (c->by_id.count >= c->cfg.open_max)
        return DTQ_EBUSY;
    if (c->unconfirmed >= c->cfg.unconfirmed_max ||
        (c->unconfirmed != 0 && c->unconfirmed_bytes + bytes > c->cfg.unconfirmed_bytes_max))
        return DTQ_EAGAIN;
    return DTQ_OK;
}

static void fill_record(struct client *c, uint32_t index, const struct client_task *t)
{
    struct record *r = rec_at(c, index);

    r->tag = t->tag;
    r->call = t->call;
    r->deadline_ms = deadline_ms(c, t);
    r->flags = REC_OWN | REC_VERDICT;
    if (t->tell == CLIENT_TELL_EVENT)
        r->flags |= REC_TELL_EVENT;
    if (c->cfg.follow != CLIENT_FOLLOW_OWN)
        return;
    rec_follow(c, index);
    /* A task that was submitted before may have another reply_to. */
    if (t->again == NULL)
        r->flags |= REC_PUSHED;
}

dtq_err client_submit(struct client *c, const struct client_task *t, struct client_time at,
                      dtq_id *ret_id)
{
    struct entry e = {.spec = t->spec, .body = t->payload};
    dtq_err err;
    dtq_id id;

    c->now = at;
    err = check_room(c, t);
    if (err != DTQ_OK)
        return err;
    if (t->again != NULL && rec_find(c, t->again) != NONE)
        return DTQ_EINVAL;
    id =
        t->again != NULL ? *t->again : dtqi_id_next(&c->idgen, client_wall_ms(c), client_random(c));
    e.record = rec_new(c, &id, REC_QUEUED);
    if (e.record == NONE)
        return DTQ_ENOMEM;
    e.not_before_wall_ms = t->not_before_wall_ms;
    e.delay_ms = t->delay_ms; /* from the time in the id: however often and late it is sent */
    e.clock_base_ms = t->again != NULL ? 0 : c->clock_base_ms;
    e.sink_hash = t->order != 0 ? t->order : dtqi_id_hash(&id);
    if (!append(c, client_sink_of(c, e.sink_hash), t->again != NULL, &e)) {
        rec_release(c, e.record);
        return DTQ_ENOMEM;
    }
    fill_record(c, e.record, t);
    c->unconfirmed++;
    c->unconfirmed_bytes += (uint64_t)t->spec.len + t->payload.len;
    if (rec_at(c, e.record)->deadline_ms < c->submit_due_ms)
        c->submit_due_ms = rec_at(c, e.record)->deadline_ms;
    *ret_id = id;
    return DTQ_OK;
}

bool client_wants_tick(const struct client *c)
{
    if (!client_can_send(c))
        return false;
    if (c->places[BATCH_READY].first != NULL)
        return true;
    if (c->places[BATCH_SENT].first != NULL)
        return false;
    for (uint32_t i = 1; i < CLIENT_PEERS_MAX; i++)
        if (c->forming[i] != NULL)
            return true;
    return false;
}

uint32_t client_unconfirmed(const struct client *c)
{
    return c->unconfirmed;
}

/* Sent again, and without an answer for longer than one takes: it is not the refusal that keeps it.
 */
static bool is_unanswered(const struct client *c, const struct batch *b)
{
    return b->place == BATCH_SENT && c->now.now_ms - b->sent_ms >= CLIENT_RETRY_MS_MIN;
}

static const struct record *find_put_off(const struct client *c, const struct batch *b)
{
    for (uint32_t i = 0; i < b->n && !is_unanswered(c, b); i++)
        if (b->records[i] != NONE && c->records[b->records[i]].err != DTQ_OK)
            return &c->records[b->records[i]];
    return NULL;
}

static const char no_sink[] = "no sink is registered with the ventilator";

/* The batch that was refused last is the last one of those that wait. */
dtq_err client_put_off(const struct client *c, struct dtqi_str *ret_text)
{
    static const enum batch_place places[] = {BATCH_RETRY, BATCH_SENT, BATCH_READY};
    const struct record *r = NULL;

    *ret_text = dtqi_str("");
    for (size_t i = 0; r == NULL && i < sizeof places / sizeof *places; i++)
        for (const struct batch *b = c->places[places[i]].last; r == NULL && b != NULL;
             b = b->previous)
            r = find_put_off(c, b);
    if (r != NULL) {
        *ret_text = dtqi_str(r->text != NULL ? r->text : "");
        return (dtq_err)r->err;
    }
    if (c->unconfirmed == 0 || !client_can_send(c) || c->sinks_n != 0)
        return DTQ_OK;
    *ret_text = dtqi_str(no_sink);
    return DTQ_EBUSY;
}

/* ---------------------------------------------------------------- verdicts */

static void settle(struct client *c, uint32_t index, dtq_err err, struct dtqi_str text)
{
    submit_resolve(c, index);
    rec_verdict(c, index, err, text);
}

static bool is_worth_retrying(uint32_t reason)
{
    return reason == DTQI_BUSY || reason == DTQI_NO_SPACE || reason == DTQI_NO_SINK;
}

static dtq_err err_of(uint32_t reason)
{
    switch ((enum dtqi_refusal)reason) {
    case DTQI_BUSY:
    case DTQI_NO_SINK: return DTQ_EBUSY;
    case DTQI_NO_SPACE: return DTQ_ENOSPC;
    case DTQI_TOO_LARGE: return DTQ_ETOOBIG;
    case DTQI_CONFLICT: return DTQ_ECONFLICT;
    case DTQI_BAD_VERSION: return DTQ_EVERSION;
    case DTQI_REFUSAL_NONE:
    case DTQI_NO_SUCH_SINK:
    case DTQI_TOO_OLD:
    case DTQI_BAD_TIME:
    case DTQI_BAD_TASK:
    case DTQI_BAD_PEER: return DTQ_EREFUSED;
    }
    return DTQ_EREFUSED;
}

/* Refused before anybody looked whether an earlier copy was taken: that stays unknown. */
static bool is_open_question(const struct batch *b, uint32_t reason)
{
    return b->resend &&
           (reason == DTQI_TOO_OLD || reason == DTQI_BAD_TIME || reason == DTQI_NO_SUCH_SINK);
}

/* A definite refusal: this copy had no effect. Some are worth another try before the deadline. */
static void on_entry_refused(struct client *c, struct batch *b, uint32_t i, uint32_t reason,
                             struct dtqi_str text)
{
    uint32_t index = b->records[i];

    if (index == NONE || rec_at(c, index)->state != REC_SENT)
        return;
    if (!is_worth_retrying(reason)) {
        settle(c, index, is_open_question(b, reason) ? DTQ_EUNKNOWN : err_of(reason), text);
        return;
    }
    rec_move(c, index, REC_QUEUED);
    rec_at(c, index)->err = (uint8_t)err_of(reason);
    rec_set_text(c, index, text);
}

/* Its key stands for another task, which is as durable as this one would have been. */
static void on_entry_same(struct client *c, struct batch *b, uint32_t i, const dtq_id *id)
{
    uint32_t index = b->records[i];

    if (index == NONE || rec_at(c, index)->state != REC_SENT)
        return;
    rec_at(c, index)->same = *id;
    settle(c, index, DTQ_EEXISTS, dtqi_str(""));
}

static void on_entry_confirmed(struct client *c, struct batch *b, uint32_t index)
{
    settle(c, index, DTQ_OK, dtqi_str(""));
    /* Pushed to us, unless the sink may not have known that we follow. */
    asks_begin(c, index, b->unproven);
}

static struct batch *find_sent(const struct client *c, uint64_t request)
{
    struct batch *b = c->places[BATCH_SENT].first;

    while (b != NULL && b->request != request)
        b = b->next;
    return b;
}

static void forget_store(struct batch *b, const dtqi_uid *store)
{
    for (uint32_t i = 0; i < b->sent_to_n; i++)
        if (dtqi_uid_eq(&b->sent_to[i], store))
            b->sent_to[i--] = b->sent_to[--b->sent_to_n];
}

/* What is left of a batch was refused for now: the same entries again, a little later. */
static void retry_later(struct client *c, struct batch *b, bool some_confirmed)
{
    unplace(c, b);
    compact(c, b);
    forget_store(b, &c->vent_store);
    if (some_confirmed)
        c->retry_ms = CLIENT_RETRY_MS_MIN;
    b->due_ms = c->now.now_ms + client_jitter(c, c->retry_ms);
    c->retry_ms = 2 * c->retry_ms < CLIENT_RETRY_MS_MAX ? 2 * c->retry_ms : CLIENT_RETRY_MS_MAX;
    place(c, b, BATCH_RETRY);
}

void submit_on_submitted(struct client *c, const struct dtqi_submitted *s)
{
    struct batch *b = find_sent(c, s->request);
    uint32_t left_before;

    if (b == NULL)
        return;
    c->peers[CLIENT_VENTILATOR].answer_ms = CLIENT_ANSWER_MS;
    for (uint32_t i = 0; i < s->refused_n; i++)
        if (s->refused_index[i] < b->n)
            on_entry_refused(c, b, s->refused_index[i], s->refused_reason[i], s->refused_text[i]);
    for (uint32_t i = 0; i < s->same_n; i++)
        if (s->same_index[i] < b->n)
            on_entry_same(c, b, s->same_index[i], &s->same_ids[i]);
    left_before = b->left;
    for (uint32_t i = 0; i < b->n; i++)
        if (b->records[i] != NONE && rec_at(c, b->records[i])->state == REC_SENT)
            on_entry_confirmed(c, b, b->records[i]);
    if (b->left != 0) {
        retry_later(c, b, b->left != left_before);
        return;
    }
    c->retry_ms = CLIENT_RETRY_MS_MIN;
    retire(c, b);
}

/* ---------------------------------------------------------------- loss and deadlines */

static bool remember_store(struct batch *b, const dtqi_uid *store)
{
    for (uint32_t i = 0; i < b->sent_to_n; i++)
        if (dtqi_uid_eq(&b->sent_to[i], store))
            return true;
    if (b->sent_to_n == SENT_TO_MAX)
        return false;
    b->sent_to[b->sent_to_n++] = *store;
    return true;
}

static void settle_all(struct client *c, struct batch *b, dtq_err err, struct dtqi_str text)
{
    for (uint32_t i = 0; i < b->n; i++)
        if (b->records[i] != NONE)
            settle(c, b->records[i], err, text);
    retire(c, b);
}

/* R5: it may have been accepted, so the next copy says so, and names who may hold the first one. */
static void take_back(struct client *c, struct batch *b)
{
    assert(b->place == BATCH_SENT);
    if (b->left == 0) {
        retire(c, b);
        return;
    }
    if (!remember_store(b, &c->vent_store)) {
        settle_all(c, b, DTQ_EUNKNOWN, dtqi_str("too many ventilators may hold the task"));
        return;
    }
    unplace(c, b);
    compact(c, b);
    b->resend = true;
    for (uint32_t i = 0; i < b->n; i++)
        rec_move(c, b->records[i], REC_QUEUED);
    place_first(c, b, BATCH_READY);
}

void submit_on_loss(struct client *c)
{
    struct batch *previous;

    for (struct batch *b = c->places[BATCH_SENT].last; b != NULL; b = previous) {
        previous = b->previous;
        take_back(c, b);
    }
}

void submit_on_sink_loss(struct client *c, uint32_t peer)
{
    for (enum batch_place where = BATCH_READY; where <= BATCH_RETRY; where++)
        for (struct batch *b = c->places[where].first; b != NULL; b = b->next)
            b->unproven |= b->sink == peer;
}

void submit_on_sink_removed(struct client *c, uint32_t from, uint32_t to)
{
    if (c->forming[from] != NULL)
        unform(c, c->forming[from]);
    for (enum batch_place where = BATCH_READY; where <= BATCH_RETRY; where++) {
        for (struct batch *b = c->places[where].first; b != NULL; b = b->next) {
            if (b->sink != from)
                continue;
            b->sink = to;
            b->unproven = true;
        }
    }
}

typedef void batch_fn(struct client *c, struct batch *b);

/* For every batch there is, wherever it is; it may be retired. */
static void each_batch(struct client *c, batch_fn *fn)
{
    for (uint32_t i = 0; i < CLIENT_PEERS_MAX; i++)
        if (c->forming[i] != NULL)
            fn(c, c->forming[i]);
    for (enum batch_place where = BATCH_UNPLACED; where <= BATCH_RETRY; where++) {
        struct batch *next;

        for (struct batch *b = c->places[where].first; b != NULL; b = next) {
            next = b->next;
            fn(c, b);
        }
    }
}

static void fail_if_never_sent(struct client *c, struct batch *b)
{
    if (!b->resend && b->place != BATCH_SENT)
        settle_all(c, b, c->hello_err, (struct dtqi_str){c->hello_text, c->hello_text_len});
}

void submit_on_refusal(struct client *c)
{
    each_batch(c, fail_if_never_sent);
}

/* Why a task that was never accepted by anybody is given up. */
static void give_up_reason(const struct client *c, const struct record *r, dtq_err *ret_err,
                           struct dtqi_str *ret_text)
{
    if (r->err != DTQ_OK) { /* the last refusal */
        *ret_err = (dtq_err)r->err;
        *ret_text = dtqi_str(r->text != NULL ? r->text : "");
    } else if (!client_can_send(c)) {
        *ret_err = c->hello_err != DTQ_OK ? c->hello_err : DTQ_EUNREACHABLE;
        *ret_text = *ret_err != DTQ_EUNREACHABLE
                        ? (struct dtqi_str){c->hello_text, c->hello_text_len}
                        : dtqi_str("the ventilator cannot be reached");
    } else if (c->sinks_n == 0) {
        *ret_err = DTQ_EBUSY;
        *ret_text = dtqi_str(no_sink);
    } else {
        *ret_err = DTQ_ETIMEOUT;
        *ret_text = dtqi_str("there was no time to send it");
    }
}

static void give_up(struct client *c, uint32_t index)
{
    struct record *r = rec_at(c, index);
    const struct batch *b = r->batch;
    struct dtqi_str text;
    dtq_err err;
    char *kept = r->text;

    if (b->place == BATCH_SENT || b->resend) {
        settle(c, index, DTQ_EUNKNOWN, dtqi_str("no answer came in time"));
        return;
    }
    give_up_reason(c, r, &err, &text);
    r->text = NULL; /* `text` may be this one */
    settle(c, index, err, text);
    free(kept);
}

static void give_up_overdue(struct client *c, struct batch *b)
{
    for (uint32_t i = 0; i < b->n; i++) {
        uint64_t at;

        if (b->records[i] == NONE)
            continue;
        at = rec_at(c, b->records[i])->deadline_ms;
        if (at <= c->now.now_ms)
            give_up(c, b->records[i]);
        else if (at < c->submit_due_ms)
            c->submit_due_ms = at;
    }
    if (b->left == 0)
        retire(c, b);
}

static void check_deadlines(struct client *c)
{
    if (c->now.now_ms < c->submit_due_ms)
        return;
    c->submit_due_ms = NEVER;
    each_batch(c, give_up_overdue);
}

/* ---------------------------------------------------------------- sending */

/* A batch that was formed before any sink was known: each task to the sink of its id. false: no
 * memory, what is left stays. */
static bool split(struct client *c, struct batch *b)
{
    for (uint32_t i = 0; i < b->n; i++) {
        uint32_t index = b->records[i];
        struct entry e = {.record = index, .clock_base_ms = b->clock_base_ms};

        if (index == NONE)
            continue;
        e.spec = b->specs[b->spec_index[i]].raw;
        e.body = b->bodies[i];
        e.not_before_wall_ms = b->not_before_wall_ms[i];
        e.delay_ms = b->delay_ms[i];
        e.sink_hash = b->sink_hashes[i];
        if (!append(c, client_sink_of(c, e.sink_hash), b->resend, &e))
            return false;
        b->records[i] = NONE;
        b->left--;
    }
    return true;
}

static void give_sink(struct client *c, struct batch *b, uint32_t sink)
{
    unplace(c, b);
    b->sink = sink;
    for (uint32_t i = 0; i < b->n; i++)
        if (b->records[i] != NONE)
            rec_set_sink(c, b->records[i], sink);
    place(c, b, BATCH_READY);
}

static void place_all(struct client *c)
{
    uint32_t sinks[DTQI_SINKS_MAX];
    struct batch *b;

    if (c->sinks_n == 0)
        return;
    if (c->forming[0] != NULL)
        unform(c, c->forming[0]);
    while ((b = c->places[BATCH_UNPLACED].first) != NULL) {
        if (client_sinks(c, sinks) == 1) {
            give_sink(c, b, sinks[0]);
        } else if (split(c, b)) {
            retire(c, b);
        } else {
            c->no_memory = true;
            return;
        }
    }
}

bool submit_is_waiting_for_sink(const struct client *c)
{
    return c->forming[0] != NULL || c->places[BATCH_UNPLACED].first != NULL;
}

static void ready_due(struct client *c)
{
    struct batch *next;

    for (struct batch *b = c->places[BATCH_RETRY].first; b != NULL; b = next) {
        next = b->next;
        if (c->now.now_ms < b->due_ms)
            continue;
        unplace(c, b);
        compact(c, b);
        place(c, b, BATCH_READY);
    }
}

static uint64_t reply_to(const struct client *c)
{
    return c->cfg.follow == CLIENT_FOLLOW_OWN ? c->cfg.reply_to : 0;
}

/* The stores of other ventilators that may hold it. */
static uint32_t also_sent_to(const struct client *c, const struct batch *b, dtqi_uid *ret)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < b->sent_to_n; i++)
        if (!dtqi_uid_eq(&b->sent_to[i], &c->vent_store))
            ret[n++] = b->sent_to[i];
    return n;
}

/* R4: the ids may have been made by another clock than the one that the ventilator told last: by
 * the local one, or by that of its last start. What is less than a second is the way of WELCOME. */
static int64_t id_clock_ms(const struct client *c, const struct batch *b)
{
    int64_t ahead_ms = b->clock_base_ms != 0 ? (int64_t)(c->clock_base_ms - b->clock_base_ms) : 0;

    return ahead_ms > -1000 && ahead_ms < 1000 ? 0 : ahead_ms;
}

static bool send_batch(struct client *c, struct batch *b)
{
    dtqi_uid *others = client_scratch(c, SENT_TO_MAX, sizeof *others);
    struct client_action *a =
        others != NULL ? client_emit(c, CLIENT_SEND, CLIENT_VENTILATOR) : NULL;

    if (a == NULL)
        return false;
    b->request = ++c->vent_request;
    b->sent_ms = c->now.now_ms;
    b->unproven |= !c->peers[b->sink].is_proven;
    a->msg.type = DTQI_SUBMIT;
    a->msg.submit = (struct dtqi_submit){
        .request = b->request,
        .n = b->n,
        .ids = b->ids,
        .sink = c->peers[b->sink].store,
        .specs = b->specs,
        .specs_n = b->specs_n,
        .spec_index = b->specs_n > 1 ? b->spec_index : NULL,
        .not_before_wall_ms = b->has_times ? b->not_before_wall_ms : NULL,
        .delay_ms = b->has_delays ? b->delay_ms : NULL,
        .id_clock_ms = id_clock_ms(c, b),
        .resend = b->resend,
        .also_sent_to = others,
        .also_sent_to_n = also_sent_to(c, b, others),
        .reply_to = reply_to(c),
        .bodies = b->bodies,
    };
    for (uint32_t i = 0; i < b->n; i++)
        rec_move(c, b->records[i], REC_SENT);
    unplace(c, b);
    place(c, b, BATCH_SENT);
    return true;
}

static void send_all(struct client *c)
{
    struct batch *b;

    while ((b = c->places[BATCH_READY].first) != NULL) {
        compact(c, b);
        if (b->n == 0)
            retire(c, b);
        else if (!send_batch(c, b))
            return;
    }
}

/* No answer for so long, although others came: this SUBMIT or its answer was lost. */
static bool is_oldest_lost(const struct client *c)
{
    const struct batch *b = c->places[BATCH_SENT].first;

    return b != NULL && c->now.now_ms - b->sent_ms >= CLIENT_ANSWER_MS_MAX;
}

void submit_tick(struct client *c)
{
    check_deadlines(c);
    if (is_oldest_lost(c))
        client_lose(c, CLIENT_VENTILATOR);
    ready_due(c);
    place_all(c);
    if (!client_can_send(c))
        return;
    for (uint32_t i = 1; i < CLIENT_PEERS_MAX; i++)
        if (c->forming[i] != NULL)
            unform(c, c->forming[i]);
    send_all(c);
    if (c->places[BATCH_SENT].first != NULL)
        client_await(c, CLIENT_VENTILATOR);
}

uint64_t submit_deadline_ms(const struct client *c)
{
    uint64_t at = c->submit_due_ms;

    for (const struct batch *b = c->places[BATCH_RETRY].first; b != NULL; b = b->next)
        at = b->due_ms < at ? b->due_ms : at;
    if (c->places[BATCH_SENT].first != NULL &&
        c->places[BATCH_SENT].first->sent_ms + CLIENT_ANSWER_MS_MAX < at)
        at = c->places[BATCH_SENT].first->sent_ms + CLIENT_ANSWER_MS_MAX;
    if (!client_can_send(c))
        return at;
    if (c->places[BATCH_READY].first != NULL || (c->sinks_n != 0 && submit_is_waiting_for_sink(c)))
        return 0;
    for (uint32_t i = 1; i < CLIENT_PEERS_MAX; i++)
        if (c->forming[i] != NULL)
            return 0;
    return at;
}

void submit_done(struct client *c)
{
    for (uint32_t i = 0; i < CLIENT_PEERS_MAX; i++)
        if (c->forming[i] != NULL)
            destroy(c->forming[i]);
    for (uint32_t where = 0; where <= BATCH_RETRY; where++) {
        while (c->places[where].first != NULL) {
            struct batch *b = c->places[where].first;

            c->places[where].first = b->next;
            destroy(b);
        }
    }
    while (c->spare != NULL) {
        struct batch *b = c->spare;

        c->spare = b->next;
        destroy(b);
    }
}
