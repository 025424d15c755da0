/* Cron entries: what operators order, and what they ask. */
#include "vent_internal.h"

#define PAGE_MAX 500u
#define PAGE_BYTES (2u * 1024 * 1024) /* of specs and payloads, but for the last one */

static const char out_of_memory[] = "out of memory";

struct order {
    uint32_t route;
    const struct dtqi_operate *m;
};

/* The text may go at any time: a copy is sent. */
static void refuse(struct vent *v, const struct order *o, enum dtqi_refusal reason,
                   const char *text)
{
    char *copy = vent_scratch(v, strlen(text) + 1, 1);

    if (copy == NULL)
        return;
    memcpy(copy, text, strlen(text) + 1);
    vent_operate_refuse(v, o->route, o->m, reason, copy);
}

static void answer_later(struct vent *v, const struct order *o, uint32_t *chain)
{
    v->urgent = true;
    vent_operate_answer_later(v, o->route, o->m, chain, 1);
}

/* It is as ordered: once that is committed, if it is not. */
static void answer_when_written(struct vent *v, const struct order *o, struct cron_entry *e)
{
    struct dtqi_msg *reply;

    if (e->change != CRON_SAME) {
        answer_later(v, o, &e->asks);
    } else if (e->handed != CRON_SAME) {
        answer_later(v, o, &e->asked);
    } else {
        reply = vent_send(v, o->route, DTQI_OPERATE_REPLY);
        if (reply != NULL)
            reply->operate_reply =
                (struct dtqi_operate_reply){.request = o->m->request, .count = 1};
    }
}

/* ---------------------------------------------------------------- add */

static const char *flaw_of_times(const struct dtqi_cron_entry *c)
{
    if ((c->expression.len != 0) == (c->every_ms != 0))
        return "give an expression or an interval";
    if (c->every_ms != 0 && c->every_ms < DTQI_CRON_EVERY_MS_MIN)
        return "every: an interval is 1s or longer";
    if (c->every_ms != 0 && c->zone.len != 0)
        return "zone: an interval has none";
    if (c->missed == DTQI_MISSED_ALL &&
        (c->missed_max == 0 || c->missed_max > DTQI_CRON_MISSED_MAX))
        return "missed: all of 1 to 1000 runs";
    return NULL;
}

static const char *flaw_of(const struct dtqi_cron_entry *c)
{
    const char *flaw = vent_flaw_of_spec(&c->spec);

    if (flaw == NULL && c->spec.key.len != 0)
        flaw = "key: all runs would be one task; leave it out";
    return flaw != NULL ? flaw : flaw_of_times(c);
}

/* The spec of its runs, which name it. Empty: no memory. */
static struct dtqi_slice spec_of_runs(struct vent *v, const struct dtqi_operate *m)
{
    struct dtqi_spec spec = m->cron->spec;

    spec.cron = m->target;
    if (vent_scratch(v, 1, 1) == NULL)
        return (struct dtqi_slice){0};
    return v->cfg.spec_encode(&spec, v->out->scratch);
}

static struct journal_cron record_of(const struct dtqi_operate *m, struct dtqi_slice spec)
{
    const struct dtqi_cron_entry *c = m->cron;

    return (struct journal_cron){
        .name = m->target,
        .expression = c->expression,
        .zone = c->zone,
        .every_ms = c->every_ms,
        .missed = (uint8_t)c->missed,
        .missed_max = c->missed == DTQI_MISSED_ALL ? c->missed_max : 0,
        .skip_overlap = c->skip_overlap,
        .delay_ms = c->delay_ms,
        .spec = spec,
        .body = c->payload,
    };
}

static bool is_same_slice(struct dtqi_slice a, struct dtqi_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

static bool is_same(const struct journal_cron *a, const struct journal_cron *b)
{
    return dtqi_str_eq(a->expression, b->expression) && dtqi_str_eq(a->zone, b->zone) &&
           a->every_ms == b->every_ms && a->missed == b->missed && a->missed_max == b->missed_max &&
           a->skip_overlap == b->skip_overlap && a->delay_ms == b->delay_ms &&
           is_same_slice(a->spec, b->spec) && is_same_slice(a->body, b->body);
}

static bool is_removed(const struct cron_entry *e)
{
    return e->change == CRON_DEL || e->handed == CRON_DEL;
}

/* There is one of that name. @return true: the order has been answered. */
static bool is_settled(struct vent *v, const struct order *o, struct cron_entry *e,
                       const struct journal_cron *record)
{
    const struct cron_def *def = e->next != NULL ? e->next : e->def;

    if (!is_removed(e) && is_same(&def->record, record))
        answer_when_written(v, o, e);
    else if (is_removed(e) || e->next != NULL)
        refuse(v, o, DTQI_BUSY, "the cron entry is being written");
    else if (!o->m->cron->replace)
        refuse(v, o, DTQI_CONFLICT,
               "there is another cron entry of that name; replace it, or remove it first");
    else
        return false;
    return true;
}

static const char *no_room_for(const struct vent *v, const struct cron_entry *e,
                               const struct journal_cron *record, enum dtqi_refusal *ret_reason)
{
    const char *text = vent_refusal_of_any(v, ret_reason);

    if (text != NULL)
        return text;
    *ret_reason = DTQI_BUSY;
    if (e == NULL && v->crons_n >= v->cfg.crons_max)
        return "crons_max is reached";
    if (v->cron_bytes + record->spec.len + record->body.len > v->cfg.cron_bytes_max)
        return "cron_bytes_max is reached: all cron entries together are too large";
    return NULL;
}

static void add_new(struct vent *v, const struct order *o, struct cron_def *def)
{
    struct cron_entry *e;

    if (def->flaw != NULL) {
        refuse(v, o, DTQI_BAD_TASK, def->flaw);
        vent_cron_def_free(v, def);
        return;
    }
    e = vent_cron_get(v, o->m->target);
    if (e == NULL) {
        refuse(v, o, DTQI_BUSY, out_of_memory);
        vent_cron_def_free(v, def);
        return;
    }
    vent_cron_becomes(v, e, def);
    answer_later(v, o, &e->asks);
}

static void add(struct vent *v, const struct order *o)
{
    struct cron_entry *e = vent_cron_find(v, o->m->target);
    struct journal_cron record;
    enum dtqi_refusal reason;
    struct cron_def *def;
    const char *text;

    if (o->m->cron == NULL || flaw_of(o->m->cron) != NULL) {
        refuse(v, o, DTQI_BAD_TASK, o->m->cron != NULL ? flaw_of(o->m->cron) : "which task?");
        return;
    }
    record = record_of(o->m, spec_of_runs(v, o->m));
    if (record.spec.len == 0) {
        refuse(v, o, DTQI_BUSY, out_of_memory);
        return;
    }
    if (record.body.len > DTQI_CRON_BYTES_MAX) {
        refuse(v, o, DTQI_TOO_LARGE, "the payload of a cron entry has at most 64 KiB");
        return;
    }
    if (e != NULL && is_settled(v, o, e, &record))
        return;
    text = no_room_for(v, e, &record, &reason);
    def = text == NULL ? vent_cron_def_new(v, &record) : NULL;
    if (def == NULL)
        refuse(v, o, text != NULL ? reason : DTQI_BUSY, text != NULL ? text : out_of_memory);
    else
        add_new(v, o, def);
}

/* ---------------------------------------------------------------- the others */

static void run(struct vent *v, const struct order *o, struct cron_entry *e)
{
    uint32_t wait;
    dtq_id id = o->m->n != 0 ? o->m->ids[0] : vent_new_id(v, v->wall_ms);
    enum dtqi_refusal reason;
    const char *text = vent_refusal_of_time(v, &id, &reason);

    if (text != NULL) {
        refuse(v, o, reason, text);
        return;
    }
    wait = vent_wait_new(v, WAIT_OPERATE, o->route, o->m->request);
    if (wait == NONE) {
        refuse(v, o, DTQI_BUSY, "submits_max is reached: too many wait for the disk");
        return;
    }
    v->waits[wait].count = 1;
    vent_wait_same(v, wait, 0, &id);
    if (v->waits[wait].same_n != 0) /* else it is not answered: out of memory */
        vent_cron_run(v, e, wait);
    vent_wait_release(v, wait);
}

static void operate(struct vent *v, const struct order *o, struct cron_entry *e)
{
    switch (o->m->operation) {
    case DTQI_CRON_REMOVE: vent_cron_remove(v, e); break;
    case DTQI_CRON_PAUSE: vent_cron_pause(v, e, true); break;
    case DTQI_CRON_RESUME: vent_cron_pause(v, e, false); break;
    default: run(v, o, e); return;
    }
    answer_when_written(v, o, e);
}

void vent_on_cron_operation(struct vent *v, uint32_t route, const struct dtqi_operate *m)
{
    struct order o = {route, m};
    struct cron_entry *e;

    if (!dtqi_is_name(m->target)) {
        refuse(v, &o, DTQI_BAD_TASK,
               "the name of a cron entry has 1 to 128 letters, digits and _ . : -");
        return;
    }
    if (v->stopping) {
        refuse(v, &o, DTQI_BUSY, "the ventilator is stopping");
        return;
    }
    e = vent_cron_find(v, m->target);
    if (m->operation != DTQI_CRON_ADD && (e == NULL || is_removed(e))) {
        refuse(v, &o, DTQI_BAD_TASK, "there is no cron entry of that name");
        return;
    }
    VENT_LOG(v, VENT_INFO, "cron_operated", L_STR("name", m->target),
             L_U64("operation", m->operation));
    if (m->operation == DTQI_CRON_ADD)
        add(v, &o);
    else
        operate(v, &o, e);
}

/* ---------------------------------------------------------------- what there is */

static const char *why_not(const struct cron_entry *e)
{
    if (e->def->flaw != NULL)
        return e->def->flaw;
    if (e->state.paused)
        return "it is paused";
    if (e->blocked != NULL)
        return e->blocked;
    return e->next_wall_ms == NEVER ? "it has no next time" : "";
}

static void fill(struct vent *v, const struct cron_entry *e, bool body, struct dtqi_cron_info *info)
{
    const struct journal_cron *r = &e->def->record;

    *info = (struct dtqi_cron_info){
        .name = vent_copy_str(v, dtqi_str(e->name)),
        .entry = {.expression = vent_copy_str(v, r->expression),
                  .every_ms = r->every_ms,
                  .zone = vent_copy_str(v, r->zone),
                  .missed = r->missed,
                  .missed_max = r->missed_max,
                  .skip_overlap = r->skip_overlap,
                  .delay_ms = r->delay_ms,
                  .spec.raw = r->spec,
                  .payload = body ? r->body : (struct dtqi_slice){0}},
        .payload_bytes = r->body.len,
        .paused = e->state.paused,
        .next_wall_ms = e->state.paused || e->next_wall_ms == NEVER ? 0 : e->next_wall_ms,
        .due_wall_ms = e->state.due_wall_ms,
        .fired_wall_ms = e->state.fired_wall_ms,
        .fired = e->state.fired,
        .missed = e->state.missed,
        .skipped = e->state.skipped,
        .created_wall_ms = r->created_wall_ms,
        .why = vent_copy_str(v, dtqi_str(why_not(e))),
    };
    memcpy(info->last_id.bytes, e->state.last_id.bytes, sizeof info->last_id.bytes);
}

static uint32_t limit_of(const struct dtqi_query *m)
{
    return m->limit != 0 && m->limit < PAGE_MAX ? m->limit : PAGE_MAX;
}

/* A cursor is a name. */
static uint32_t begin_of(const struct vent *v, const struct dtqi_query *m)
{
    struct dtqi_str after = {m->after.at, m->after.len};

    return dtqi_is_name(after) ? vent_cron_behind(v, after) : 0;
}

static struct dtqi_cron_info *page_of(struct vent *v, const struct dtqi_query *m, uint32_t *ret_n,
                                      struct dtqi_slice *ret_next)
{
    struct dtqi_cron_info *infos = vent_scratch(v, limit_of(m), sizeof *infos);
    const struct cron_entry *last = NULL;
    uint64_t bytes = 0;

    for (uint32_t i = begin_of(v, m); infos != NULL && i < v->crons_n; i++) {
        const struct cron_entry *e = v->crons[i];

        if (e->def == NULL || (m->cron.len != 0 && !dtqi_str_eq(m->cron, dtqi_str(e->name))))
            continue;
        if (*ret_n == limit_of(m) || bytes > PAGE_BYTES) {
            struct dtqi_str next = vent_copy_str(v, dtqi_str(last->name));

            *ret_next = (struct dtqi_slice){next.at, next.len};
            break;
        }
        bytes += vent_cron_bytes_of(e->def);
        fill(v, e, m->bodies, &infos[(*ret_n)++]);
        last = e;
    }
    return infos;
}

void vent_on_cron_query(struct vent *v, uint32_t route, const struct dtqi_query *m)
{
    struct dtqi_query_reply reply = {.request = m->request};
    struct dtqi_msg *msg;

    reply.crons = page_of(v, m, &reply.crons_n, &reply.next);
    msg = reply.crons != NULL ? vent_send(v, route, DTQI_QUERY_REPLY) : NULL;
    if (msg != NULL)
        msg->query_reply = reply;
}
