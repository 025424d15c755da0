#include "client_parts.h"

static const dtq_id *id_of(const void *owner, uint32_t index)
{
    return &((const struct client *)owner)->records[index].id;
}

/* ---------------------------------------------------------------- pages */

static uint64_t bytes_of(const struct dtqi_msg *msg)
{
    return msg->buf != NULL ? msg->buf->total : 0;
}

struct page *page_new(struct client *c, const struct dtqi_msg *msg)
{
    struct page *page = malloc(sizeof *page);

    if (page == NULL)
        return NULL;
    *page = (struct page){.refs = 1, .bytes = bytes_of(msg), .msg = *msg};
    if (msg->buf != NULL)
        dtqi_buf_ref(msg->buf);
    c->results_bytes += page->bytes;
    return page;
}

void page_unref(struct client *c, struct page *page)
{
    assert(page->refs > 0);
    if (--page->refs > 0)
        return;
    c->results_bytes -= page->bytes;
    dtqi_buf_unref(page->msg.buf);
    free(page);
}

/* ---------------------------------------------------------------- lists */

struct list *rec_list_of(struct client *c, const struct record *r)
{
    switch ((enum rec_list)r->list) {
    case LIST_NONE: return NULL;
    case LIST_URGENT: return &c->urgent;
    case LIST_STATE: return &c->state_asks;
    case LIST_BULK: return &c->peers[r->sink].bulk;
    case LIST_WATCH: return &c->watch;
    case LIST_SLOW: return &c->slow;
    }
    return NULL;
}

static void unlist(struct client *c, uint32_t index)
{
    struct record *r = rec_at(c, index);
    struct list *l = rec_list_of(c, r);

    if (l == NULL)
        return;
    if (r->previous != NONE)
        rec_at(c, r->previous)->next = r->next;
    else
        l->first = r->next;
    if (r->next != NONE)
        rec_at(c, r->next)->previous = r->previous;
    else
        l->last = r->previous;
    l->n--;
    r->list = LIST_NONE;
}

void rec_list(struct client *c, uint32_t index, enum rec_list list)
{
    struct record *r = rec_at(c, index);
    struct list *l;

    unlist(c, index);
    r->list = (uint8_t)list;
    l = rec_list_of(c, r);
    if (l == NULL)
        return;
    r->next = NONE;
    r->previous = l->last;
    if (l->last != NONE)
        rec_at(c, l->last)->next = index;
    else
        l->first = index;
    l->last = index;
    l->n++;
}

void rec_is_result(struct client *c, uint32_t index)
{
    struct record *r = rec_at(c, index);

    assert((r->flags & REC_FOLLOWED) != 0);
    assert((r->flags & REC_IN_RESULTS) == 0);
    r->flags |= REC_IN_RESULTS;
    r->result_next = NONE;
    r->result_previous = c->results.last;
    if (c->results.last != NONE)
        rec_at(c, c->results.last)->result_next = index;
    else
        c->results.first = index;
    c->results.last = index;
    c->results.n++;
}

static void results_remove(struct client *c, uint32_t index)
{
    struct record *r = rec_at(c, index);

    if ((r->flags & REC_IN_RESULTS) == 0)
        return;
    if (r->result_previous != NONE)
        rec_at(c, r->result_previous)->result_next = r->result_next;
    else
        c->results.first = r->result_next;
    if (r->result_next != NONE)
        rec_at(c, r->result_next)->result_previous = r->result_previous;
    else
        c->results.last = r->result_previous;
    c->results.n--;
    r->flags &= (uint16_t)~REC_IN_RESULTS;
}

static void verdicts_add(struct client *c, uint32_t index)
{
    struct record *r = rec_at(c, index);
    bool is_event = (r->flags & REC_TELL_EVENT) != 0;
    uint32_t *first = is_event ? &c->event_verdicts_first : &c->call_verdicts_first;
    uint32_t *last = is_event ? &c->event_verdicts_last : &c->call_verdicts_last;

    r->verdict_next = NONE;
    if (*last != NONE)
        rec_at(c, *last)->verdict_next = index;
    else
        *first = index;
    *last = index;
}

/* ---------------------------------------------------------------- records */

bool client_records_init(struct client *c)
{
    static const struct list empty = {NONE, NONE, 0};

    c->free_record = NONE;
    c->results = c->urgent = c->state_asks = c->watch = c->slow = empty;
    c->call_verdicts_first = c->call_verdicts_last = NONE;
    c->event_verdicts_first = c->event_verdicts_last = NONE;
    c->watched_first = NONE;
    return dtqi_idmap_reserve(&c->by_id, 1);
}

static void return_lent(struct client *c)
{
    if (c->lent != NULL)
        page_unref(c, c->lent);
    c->lent = NULL;
    free(c->lent_text);
    c->lent_text = NULL;
}

void client_records_done(struct client *c)
{
    return_lent(c);
    for (uint32_t i = 0; i < c->records_n; i++) {
        struct record *r = rec_at(c, i);

        if (r->state == REC_FREE)
            continue;
        if (r->page != NULL)
            page_unref(c, r->page);
        free(r->text);
    }
    assert(c->results_bytes == 0); /* every page was counted in and out */
    free(c->records);
    dtqi_idmap_done(&c->by_id);
}

uint32_t rec_find(const struct client *c, const dtq_id *id)
{
    return dtqi_idmap_get(&c->by_id, c, id_of, id);
}

bool recs_reserve(struct client *c, uint32_t n)
{
    uint32_t wanted = c->by_id.count + n;
    uint32_t size = c->records_size != 0 ? c->records_size : 16;
    struct record *grown;

    if (!dtqi_idmap_reserve(&c->by_id, wanted))
        return false;
    while (size < wanted)
        size *= 2;
    if (size == c->records_size)
        return true;
    grown = realloc(c->records, size * sizeof *grown);
    if (grown == NULL)
        return false;
    c->records = grown;
    c->records_size = size;
    return true;
}

/* Every record is in use or free, so that room for one more is a free one, or one never used. */
static uint32_t take_free(struct client *c)
{
    uint32_t index = c->free_record;

    if (index != NONE)
        c->free_record = c->records[index].next;
    else
        index = c->records_n++;
    assert(index < c->records_size);
    return index;
}

uint32_t rec_new(struct client *c, const dtq_id *id, enum rec_state state)
{
    uint32_t index;

    if (!recs_reserve(c, 1))
        return NONE;
    index = take_free(c);
    c->records[index] = (struct record){.id = *id,
                                        .deadline_ms = NEVER,
                                        .state = (uint8_t)state,
                                        .next = NONE,
                                        .previous = NONE,
                                        .watch_next = NONE,
                                        .verdict_next = NONE};
    dtqi_idmap_add(&c->by_id, id, index);
    return index;
}

static bool is_allowed(enum rec_state from, enum rec_state to)
{
    static const uint8_t allowed[REC_STATES] = {
        [REC_FREE] = 0, /* made by rec_new() */
        [REC_QUEUED] = 1 << REC_SENT | 1 << REC_OPEN | 1 << REC_ENDED | 1 << REC_FREE,
        [REC_SENT] = 1 << REC_QUEUED | 1 << REC_OPEN | 1 << REC_ENDED,
        [REC_OPEN] = 1 << REC_HERE | 1 << REC_FREE,
        [REC_HERE] = 1 << REC_FREE,
        [REC_ENDED] = 1 << REC_FREE,
    };

    return (allowed[from] >> to & 1) != 0;
}

void rec_move(struct client *c, uint32_t index, enum rec_state state)
{
    struct record *r = rec_at(c, index);

    assert(is_allowed(r->state, state));
    r->state = (uint8_t)state;
}

void rec_set_sink(struct client *c, uint32_t index, uint32_t peer)
{
    struct record *r = rec_at(c, index);

    if (r->sink != 0)
        c->peers[r->sink].records--;
    r->sink = (uint8_t)peer;
    if (peer != 0)
        c->peers[peer].records++;
}

void rec_follow(struct client *c, uint32_t index)
{
    struct record *r = rec_at(c, index);

    if ((r->flags & REC_FOLLOWED) != 0)
        return;
    r->flags |= REC_FOLLOWED;
    c->followed_n++;
}

static void unfollow(struct client *c, uint32_t index)
{
    struct record *r = rec_at(c, index);

    c->followed_n -= (r->flags & REC_FOLLOWED) != 0;
    r->flags &= (uint16_t)~REC_FOLLOWED;
    results_remove(c, index);
}

static void drop_page(struct client *c, struct record *r)
{
    if (r->page != NULL)
        page_unref(c, r->page);
    r->page = NULL;
}

static void rec_free(struct client *c, uint32_t index)
{
    struct record *r = rec_at(c, index);

    assert(r->batch == NULL);
    rec_move(c, index, REC_FREE);
    unlist(c, index);
    unfollow(c, index);
    rec_set_sink(c, index, 0);
    drop_page(c, r);
    free(r->text);
    r->text = NULL;
    dtqi_idmap_remove(&c->by_id, c, id_of, &r->id);
    r->next = c->free_record;
    c->free_record = index;
}

void rec_release(struct client *c, uint32_t index)
{
    struct record *r = rec_at(c, index);

    if (r->batch != NULL || (r->flags & (REC_VERDICT | REC_FOLLOWED | REC_WATCHED)) != 0)
        return;
    rec_free(c, index);
}

void rec_set_text(struct client *c, uint32_t index, struct dtqi_str text)
{
    struct record *r = rec_at(c, index);

    free(r->text);
    r->text = text.len != 0 ? malloc((size_t)text.len + 1) : NULL;
    if (r->text == NULL)
        return; /* the error speaks for itself */
    memcpy(r->text, text.at, text.len);
    r->text[text.len] = 0;
}

void rec_set_page(struct client *c, uint32_t index, struct page *page, uint32_t at)
{
    struct record *r = rec_at(c, index);

    drop_page(c, r);
    r->page = page;
    r->page_index = at;
    if (page != NULL)
        page->refs++;
}

void rec_answered(struct client *c, uint32_t index)
{
    struct record *r = rec_at(c, index);

    if ((r->flags & REC_WATCHED) == 0 || (r->flags & REC_ANSWERED) != 0)
        return;
    r->flags |= REC_ANSWERED;
    c->answered_n++;
}

void rec_verdict(struct client *c, uint32_t index, dtq_err err, struct dtqi_str text)
{
    struct record *r = rec_at(c, index);

    assert(r->batch == NULL);
    assert((r->flags & REC_VERDICT) != 0);
    r->err = (uint8_t)err;
    if (err != DTQ_OK || r->text != NULL)
        rec_set_text(c, index, text);
    verdicts_add(c, index);
    if (err == DTQ_OK) {
        rec_move(c, index, REC_OPEN);
        return;
    }
    rec_move(c, index, REC_ENDED);
    unfollow(c, index);
    unlist(c, index);
    rec_answered(c, index); /* nobody will ever have its outcome */
}

void rec_here(struct client *c, uint32_t index, struct page *page, uint32_t at)
{
    struct record *r = rec_at(c, index);

    rec_move(c, index, REC_HERE);
    rec_set_page(c, index, page, at);
    unlist(c, index);
    rec_answered(c, index);
    if ((r->flags & REC_FOLLOWED) != 0)
        rec_is_result(c, index);
    rec_release(c, index);
}

/* ---------------------------------------------------------------- taking */

static void lend_page(struct client *c, uint32_t index)
{
    struct record *r = rec_at(c, index);

    c->lent = r->page;
    if (r->page != NULL)
        r->page->refs++;
}

static void read_verdict(struct client *c, uint32_t index, struct client_verdict *ret)
{
    struct record *r = rec_at(c, index);

    c->lent_text = r->text;
    r->text = NULL;
    *ret = (struct client_verdict){
        .id = r->err == DTQ_EEXISTS ? r->same : r->id,
        .tag = r->tag,
        .call = r->call,
        .err = (dtq_err)r->err,
        .text = dtqi_str(c->lent_text != NULL ? c->lent_text : ""),
    };
}

static bool take_verdict(struct client *c, uint32_t *first, uint32_t *last,
                         struct client_verdict *ret)
{
    uint32_t index = *first;

    return_lent(c);
    if (index == NONE)
        return false;
    *first = rec_at(c, index)->verdict_next;
    if (*first == NONE)
        *last = NONE;
    read_verdict(c, index, ret);
    rec_at(c, index)->flags &= (uint16_t)~REC_VERDICT;
    rec_release(c, index);
    return true;
}

bool client_take_verdict(struct client *c, struct client_verdict *ret)
{
    return take_verdict(c, &c->call_verdicts_first, &c->call_verdicts_last, ret);
}

bool client_take_event_verdict(struct client *c, struct client_verdict *ret)
{
    return take_verdict(c, &c->event_verdicts_first, &c->event_verdicts_last, ret);
}

static struct dtqi_str word(const struct dtqi_str *words, uint32_t n, const uint32_t *column,
                            uint32_t i)
{
    uint32_t at = dtqi_col32(column, i, 0);

    return at < n ? words[at] : dtqi_str("");
}

void client_read_results(const struct dtqi_results *m, uint32_t i, struct client_result *ret)
{
    ret->id = m->ids[i];
    ret->tag = 0;
    ret->state = (dtq_state)dtqi_col32(m->kinds, i, DTQ_SUCCEEDED);
    ret->reason = (dtq_reason)dtqi_col32(m->reasons, i, DTQ_REASON_NONE);
    ret->code = dtqi_col32s(m->codes, i);
    ret->attempt = dtqi_col32(m->attempts, i, 1);
    ret->started_wall_ms = dtqi_col64(m->started_wall_ms, i);
    ret->duration_us = dtqi_col64(m->durations_us, i);
    ret->committed_wall_ms = dtqi_col64(m->committed_wall_ms, i);
    ret->worker = word(m->workers, m->workers_n, m->worker_index, i);
    ret->name = word(m->names, m->names_n, m->name_index, i);
    ret->queue = word(m->queues, m->queues_n, m->queue_index, i);
    ret->body = m->bodies != NULL ? m->bodies[i] : (struct dtqi_slice){"", 0};
}

static void read_open(const struct dtqi_task_info *t, struct client_result *ret)
{
    ret->state = t->state;
    ret->attempt = t->attempt;
    ret->worker = t->worker;
    ret->name = t->spec.name;
    ret->queue = t->spec.queue;
}

static void read_result(const struct record *r, struct client_result *ret)
{
    *ret = (struct client_result){.id = r->id,
                                  .state = DTQ_NOT_FOUND,
                                  .worker = dtqi_str(""),
                                  .name = dtqi_str(""),
                                  .queue = dtqi_str("")};
    if (r->page != NULL && r->page->msg.type == DTQI_RESULTS)
        client_read_results(&r->page->msg.results, r->page_index, ret);
    else if (r->page != NULL)
        read_open(&r->page->msg.query_reply.tasks[r->page_index], ret);
    ret->tag = r->tag;
}

bool client_peek_result(const struct client *c, struct client_result *ret)
{
    if (c->results.first == NONE)
        return false;
    read_result(&c->records[c->results.first], ret);
    return true;
}

void client_drop_result(struct client *c)
{
    uint32_t index = c->results.first;

    return_lent(c);
    lend_page(c, index);
    unfollow(c, index);
    rec_release(c, index);
}

bool client_take_result(struct client *c, struct client_result *ret)
{
    bool any = client_peek_result(c, ret);

    if (any)
        client_drop_result(c);
    else
        return_lent(c);
    return any;
}

enum client_taken client_take_event(struct client *c, struct client_verdict *ret_verdict,
                                    struct client_result *ret_result)
{
    if (client_take_event_verdict(c, ret_verdict))
        return CLIENT_TOOK_VERDICT;
    return client_take_result(c, ret_result) ? CLIENT_TOOK_RESULT : CLIENT_TOOK_NOTHING;
}

bool client_has_event(const struct client *c)
{
    return c->event_verdicts_first != NONE || c->results.first != NONE;
}

bool client_has_result(const struct client *c)
{
    return c->results.first != NONE;
}

bool client_expects_result(const struct client *c)
{
    return c->cfg.follow == CLIENT_FOLLOW_ALL || c->followed_n != 0;
}

bool client_read_answer(const struct client *c, const dtq_id *id, struct client_result *ret)
{
    uint32_t index = rec_find(c, id);

    if (index == NONE || (c->records[index].flags & REC_ANSWERED) == 0)
        return false;
    read_result(&c->records[index], ret);
    return true;
}

/* An outcome is handed out once: what was to be an event as well is not any more. */
void client_answer_taken(struct client *c, const dtq_id *id)
{
    uint32_t index = rec_find(c, id);

    if (index != NONE && (rec_at(c, index)->flags & REC_ANSWERED) != 0 &&
        rec_at(c, index)->state == REC_HERE)
        unfollow(c, index);
}
