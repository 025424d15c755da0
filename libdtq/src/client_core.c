#include "client_parts.h"

/* ---------------------------------------------------------------- actions */

void client_actions_reset(struct client_actions *a)
{
    dtqi_buf_unref(a->scratch);
    a->scratch = NULL;
    a->n = 0;
}

void client_actions_done(struct client_actions *a)
{
    client_actions_reset(a);
    free(a->at);
    *a = (struct client_actions){0};
}

struct client_action *client_emit(struct client *c, enum client_action_type type, uint32_t peer)
{
    struct client_actions *a = c->out;

    if (a->n == a->size) {
        uint32_t size = dtqi_more_room(a->size, 16);
        struct client_action *at = realloc(a->at, size * sizeof *at);

        if (at == NULL) {
            c->no_memory = true;
            return NULL;
        }
        a->at = at;
        a->size = size;
    }
    a->at[a->n] = (struct client_action){.type = type, .peer = peer};
    return &a->at[a->n++];
}

void *client_scratch(struct client *c, uint32_t n, size_t bytes_each)
{
    void *at = NULL;

    if (c->out->scratch == NULL)
        c->out->scratch = dtqi_buf_new(4096, SCRATCH_BYTES_MAX);
    if (c->out->scratch != NULL)
        at = dtqi_buf_alloc(c->out->scratch, n * bytes_each);
    c->no_memory |= at == NULL;
    return at;
}

uint64_t client_random(struct client *c)
{
    c->random += 0x9e3779b97f4a7c15ull;
    return dtqi_mix64(c->random);
}

uint32_t client_jitter(struct client *c, uint32_t ms)
{
    return ms / 2 + (uint32_t)(client_random(c) % (ms / 2 + 1));
}

/* The ventilator's clock, or the local one as long as that is not known; carried on by our
 * monotonic one, so that clocks that jump make no ids of another day (R4). */
uint64_t client_wall_ms(struct client *c)
{
    if (c->clock_base_ms == 0)
        c->clock_base_ms = c->now.wall_ms - c->now.now_ms;
    return c->clock_base_ms + c->now.now_ms;
}

/* ---------------------------------------------------------------- life */

static struct dtqi_str keep_text(char *at, size_t size, struct dtqi_str text)
{
    uint32_t len = text.len < size ? text.len : (uint32_t)size;

    if (len != 0)
        memcpy(at, text.at, len);
    return (struct dtqi_str){at, len};
}

static void set_defaults(struct client_cfg *cfg)
{
    if (cfg->unconfirmed_max == 0)
        cfg->unconfirmed_max = CLIENT_UNCONFIRMED_MAX;
    if (cfg->open_max == 0)
        cfg->open_max = CLIENT_OPEN_MAX;
    if (cfg->unconfirmed_bytes_max == 0)
        cfg->unconfirmed_bytes_max = CLIENT_UNCONFIRMED_BYTES_MAX;
    if (cfg->results_bytes_max == 0)
        cfg->results_bytes_max = CLIENT_RESULTS_BYTES_MAX;
}

static void init_peers(struct client *c, struct dtqi_str endpoint)
{
    struct peer *v = &c->peers[CLIENT_VENTILATOR];

    for (uint32_t i = 0; i < CLIENT_PEERS_MAX; i++) {
        c->peers[i].reopen_ms = NEVER;
        c->peers[i].backoff_ms = CLIENT_REOPEN_MS_MIN;
        c->peers[i].answer_ms = CLIENT_ANSWER_MS;
        c->peers[i].bulk = (struct list){NONE, NONE, 0};
    }
    v->endpoint = keep_text(v->endpoint_text, sizeof v->endpoint_text, endpoint);
    v->reopen_ms = 0;
}

dtq_err client_new(const struct client_cfg *cfg, struct client **ret)
{
    struct client *c = calloc(1, sizeof *c);

    if (c == NULL)
        return DTQ_ENOMEM;
    assert(cfg->reply_to != 0);
    c->cfg = *cfg;
    c->cfg.name = keep_text(c->name, sizeof c->name, cfg->name);
    c->cfg.program = keep_text(c->program, sizeof c->program, cfg->program);
    set_defaults(&c->cfg);
    c->random = cfg->seed;
    c->submit_due_ms = NEVER;
    c->hello_again_ms = NEVER;
    c->hello_backoff_ms = CLIENT_HELLO_MS_MIN;
    c->retry_ms = CLIENT_RETRY_MS_MIN;
    c->result_bytes_usual = 256;
    init_peers(c, cfg->endpoint);
    c->cfg.endpoint = c->peers[CLIENT_VENTILATOR].endpoint;
    if (!client_records_init(c)) {
        free(c);
        return DTQ_ENOMEM;
    }
    *ret = c;
    return DTQ_OK;
}

void client_free(struct client *c)
{
    if (c == NULL)
        return;
    client_question_done(c);
    submit_done(c);
    client_records_done(c);
    free(c);
}

/* ---------------------------------------------------------------- connections */

void client_await(struct client *c, uint32_t peer)
{
    if (c->peers[peer].asked_ms == 0)
        c->peers[peer].asked_ms = c->now.now_ms != 0 ? c->now.now_ms : 1;
}

static void tried(const struct client *c, struct peer *p)
{
    if (p->silent_ms == 0)
        p->silent_ms = c->now.now_ms != 0 ? c->now.now_ms : 1;
}

static void heard(struct peer *p)
{
    p->silent_ms = 0;
    p->asked_ms = 0;
    p->backoff_ms = CLIENT_REOPEN_MS_MIN;
}

/* Close now and open again later. What was under way on it counts as lost. */
void client_lose(struct client *c, uint32_t peer)
{
    struct peer *p = &c->peers[peer];

    if (p->link == LINK_CLOSED)
        return;
    client_emit(c, CLIENT_CLOSE, peer);
    p->link = LINK_CLOSED;
    p->asked_ms = 0;
    tried(c, p);
    p->reopen_ms = c->now.now_ms + client_jitter(c, p->backoff_ms);
    p->backoff_ms =
        2 * p->backoff_ms < CLIENT_REOPEN_MS_MAX ? 2 * p->backoff_ms : CLIENT_REOPEN_MS_MAX;
    if (c->question != NULL && c->question_peer == peer)
        c->question_request = 0;
    if (peer == CLIENT_VENTILATOR) {
        c->hello_again_ms = NEVER;
        submit_on_loss(c);
        asks_on_vent_loss(c);
    } else {
        submit_on_sink_loss(c, peer);
        asks_on_sink_loss(c, peer);
    }
}

static bool is_overdue(const struct client *c, const struct peer *p)
{
    return p->asked_ms != 0 && c->now.now_ms - p->asked_ms >= p->answer_ms;
}

static void lose_silent(struct client *c, uint32_t peer)
{
    struct peer *p = &c->peers[peer];

    p->answer_ms =
        2 * p->answer_ms < CLIENT_ANSWER_MS_MAX ? 2 * p->answer_ms : CLIENT_ANSWER_MS_MAX;
    client_lose(c, peer);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static bool emit_open(struct client *c, uint32_t peer)
{
    struct client_action *a = client_emit(c, CLIENT_OPEN, peer);

    if (a == NULL)
        return false;
    a->endpoint = c->peers[peer].endpoint;
    tried(c, &c->peers[peer]);
    return true;
}

/* ---- the ventilator */

static bool say_hello(struct client *c)
{
    struct client_action *a = client_emit(c, CLIENT_SEND, CLIENT_VENTILATOR);

    if (a == NULL)
        return false;
    a->msg.type = DTQI_HELLO;
    a->msg.hello = (struct dtqi_hello){.version_min = DTQI_PROTOCOL_VERSION,
                                       .version_max = DTQI_PROTOCOL_VERSION,
                                       .role = DTQI_ROLE_PRODUCER,
                                       .instance = c->cfg.instance,
                                       .name = c->cfg.name,
                                       .program = c->cfg.program};
    client_await(c, CLIENT_VENTILATOR);
    return true;
}

static void open_vent(struct client *c)
{
    struct peer *v = &c->peers[CLIENT_VENTILATOR];

    if (!emit_open(c, CLIENT_VENTILATOR) || !say_hello(c))
        return; /* still closed: the next tick opens it again */
    v->link = LINK_HELLO;
}

/* Tasks can only be sent once there is a sink for them; a ventilator need not tell producers of new
 * ones, so ask. */
static void ask_for_sinks(struct client *c)
{
    if (c->sinks_n != 0 || !submit_is_waiting_for_sink(c)) {
        c->hello_again_ms = NEVER;
        c->hello_backoff_ms = CLIENT_HELLO_MS_MIN;
        return;
    }
    if (c->hello_again_ms == NEVER) {
        c->hello_again_ms = c->now.now_ms + client_jitter(c, c->hello_backoff_ms);
        return;
    }
    if (c->now.now_ms < c->hello_again_ms || !say_hello(c))
        return;
    if (2 * c->hello_backoff_ms <= CLIENT_RETRY_MS_MAX)
        c->hello_backoff_ms *= 2;
    c->hello_again_ms = c->now.now_ms + client_jitter(c, c->hello_backoff_ms);
}

/* When it is to be asked whether a sink that owes outcomes, and says nothing, was removed: the
 * message that told of it may be lost. */
static uint64_t sinks_again_ms(const struct client *c)
{
    uint64_t at = NEVER;

    for (uint32_t i = 1; i < CLIENT_PEERS_MAX; i++) {
        const struct peer *p = &c->peers[i];

        if (p->is_used && p->records != 0 && p->silent_ms != 0)
            at = sooner(at, p->silent_ms + CLIENT_ASK_AGAIN_MS);
    }
    return at > c->sinks_again_ms ? at : c->sinks_again_ms;
}

static void ask_for_successors(struct client *c)
{
    if (c->now.now_ms >= sinks_again_ms(c) && say_hello(c))
        c->sinks_again_ms = c->now.now_ms + CLIENT_ASK_AGAIN_MS;
}

static void vent_tick(struct client *c)
{
    struct peer *v = &c->peers[CLIENT_VENTILATOR];

    if (v->link != LINK_CLOSED && is_overdue(c, v))
        lose_silent(c, CLIENT_VENTILATOR);
    if (v->link == LINK_CLOSED && c->now.now_ms >= v->reopen_ms)
        open_vent(c);
    if (v->link != LINK_OPEN)
        return;
    ask_for_sinks(c);
    ask_for_successors(c);
}

/* ---- sinks */

static bool send_follow(struct client *c, uint32_t peer)
{
    struct client_action *a = client_emit(c, CLIENT_SEND, peer);

    if (a == NULL)
        return false;
    a->msg.type = DTQI_FOLLOW;
    a->msg.follow.reply_to = c->cfg.follow == CLIENT_FOLLOW_OWN ? c->cfg.reply_to : 0;
    c->peers[peer].follow_ms = c->now.now_ms + CLIENT_ASK_AGAIN_MS;
    return true;
}

/* A look-up of an id that no task has: its answer tells that the sink is there, and that it has
 * taken the FOLLOW before it. */
static bool send_probe(struct client *c, uint32_t peer)
{
    dtq_id *id = client_scratch(c, 1, sizeof *id);
    struct client_action *a = id != NULL ? client_emit(c, CLIENT_SEND, peer) : NULL;

    if (a == NULL)
        return false;
    *id = dtqi_id_next(&c->idgen, client_wall_ms(c), client_random(c));
    c->peers[peer].probe = ++c->sink_request;
    a->msg.type = DTQI_WAIT;
    a->msg.wait =
        (struct dtqi_wait){.request = c->peers[peer].probe, .n = 1, .ids = id, .once = true};
    client_await(c, peer);
    return true;
}

static void open_sink(struct client *c, uint32_t peer)
{
    struct peer *p = &c->peers[peer];
    bool follows = c->cfg.follow != CLIENT_FOLLOW_NONE;

    if (!emit_open(c, peer))
        return;
    if ((follows && !send_follow(c, peer)) || !send_probe(c, peer))
        return;
    p->link = LINK_OPEN;
    p->is_proven = !follows;
    if (!follows)
        asks_on_sink_ready(c, peer);
}

static bool is_wanted(const struct client *c, uint32_t peer)
{
    const struct peer *p = &c->peers[peer];

    return (c->cfg.follow != CLIENT_FOLLOW_NONE && (p->is_registered || p->records != 0)) ||
           asks_want_sink(c, peer) || (c->question != NULL && c->question_peer == peer);
}

static void sink_tick(struct client *c, uint32_t peer)
{
    struct peer *p = &c->peers[peer];

    if (p->link != LINK_CLOSED && is_overdue(c, p))
        lose_silent(c, peer);
    if (p->link == LINK_CLOSED && !is_wanted(c, peer))
        return;
    if (p->link == LINK_CLOSED && (p->reopen_ms == NEVER || c->now.now_ms >= p->reopen_ms))
        open_sink(c, peer);
    /* Said again now and then, since a sink may forget who has been silent. */
    if (p->link == LINK_OPEN && c->cfg.follow != CLIENT_FOLLOW_NONE &&
        (c->followed_n != 0 || c->cfg.follow == CLIENT_FOLLOW_ALL) &&
        c->now.now_ms >= p->follow_ms && send_follow(c, peer) && p->probe != 0)
        send_probe(c, peer); /* the answer to the first one was lost, though others came */
}

static uint32_t sink_slot(struct client *c, const dtqi_uid *store)
{
    uint32_t free_slot = 0;

    for (uint32_t i = 1; i < CLIENT_PEERS_MAX; i++) {
        struct peer *p = &c->peers[i];

        if (p->is_used && dtqi_uid_eq(&p->store, store))
            return i;
        if (!p->is_used || (!p->is_registered && p->records == 0))
            free_slot = free_slot != 0 ? free_slot : i;
    }
    return free_slot;
}

static void set_sink(struct client *c, const struct dtqi_sink_info *info)
{
    uint32_t peer = sink_slot(c, &info->store);
    struct peer *p = &c->peers[peer];
    bool is_same;

    if (peer == 0)
        return; /* more sinks than a cluster has */
    is_same = p->is_used && dtqi_uid_eq(&p->store, &info->store) &&
              dtqi_str_eq(p->endpoint, info->results);
    c->sinks_n += !p->is_registered;
    p->is_registered = true;
    if (is_same)
        return;
    client_lose(c, peer);
    p->is_used = true;
    p->store = info->store;
    p->endpoint = keep_text(p->endpoint_text, sizeof p->endpoint_text, info->results);
    p->reopen_ms = NEVER;
    p->backoff_ms = CLIENT_REOPEN_MS_MIN;
}

static uint32_t find_sink(const struct client *c, const dtqi_uid *store)
{
    for (uint32_t i = 1; i < CLIENT_PEERS_MAX; i++)
        if (c->peers[i].is_used && dtqi_uid_eq(&c->peers[i].store, store))
            return i;
    return 0;
}

/* R52: without a successor yet, what was for a sink stays its own until there is one. */
static void succeed_removed(struct client *c, const struct dtqi_removed *m)
{
    for (uint32_t i = 0; i < m->n; i++) {
        uint32_t from = find_sink(c, &m->stores[i]);
        uint32_t to = find_sink(c, &m->successors[i]);

        if (from == 0 || c->peers[from].is_registered || to == 0 || !c->peers[to].is_registered)
            continue;
        submit_on_sink_removed(c, from, to);
        asks_on_sink_removed(c, from, to);
        client_lose(c, from);
        c->peers[from].is_used = false;
    }
}

static void set_sinks(struct client *c, const struct dtqi_sink_info *sinks, uint32_t n,
                      const struct dtqi_removed *removed)
{
    for (uint32_t i = 1; i < CLIENT_PEERS_MAX; i++)
        c->peers[i].is_registered = false;
    c->sinks_n = 0;
    for (uint32_t i = 0; i < n; i++)
        set_sink(c, &sinks[i]);
    succeed_removed(c, removed);
}

static uint32_t only_sink(const struct client *c)
{
    uint32_t i = 1;

    while (!c->peers[i].is_registered)
        i++;
    return i;
}

uint32_t client_sink_of(const struct client *c, uint64_t hash)
{
    uint64_t best_weight = 0;
    uint32_t best = 0;

    if (c->sinks_n == 1)
        return only_sink(c);
    for (uint32_t i = 1; i < CLIENT_PEERS_MAX; i++) {
        const struct peer *p = &c->peers[i];
        uint64_t weight;
        dtq_id store;

        if (!p->is_registered)
            continue;
        memcpy(store.bytes, p->store.bytes, sizeof store.bytes);
        weight = dtqi_mix64(hash ^ dtqi_id_hash(&store));
        if (best == 0 || weight > best_weight ||
            (weight == best_weight &&
             memcmp(p->store.bytes, c->peers[best].store.bytes, sizeof store.bytes) > 0)) {
            best = i;
            best_weight = weight;
        }
    }
    return best;
}

uint32_t client_sinks(const struct client *c, uint32_t ret_peers[DTQI_SINKS_MAX])
{
    uint32_t n = 0;

    for (uint32_t i = 1; i < CLIENT_PEERS_MAX; i++)
        if (c->peers[i].is_registered)
            ret_peers[n++] = i;
    return n;
}

const dtqi_uid *client_sink_store(const struct client *c, uint32_t peer)
{
    assert(peer < CLIENT_PEERS_MAX);
    return &c->peers[peer].store;
}

/* ---------------------------------------------------------------- messages */

static void set_hello_text(struct client *c, dtq_err err, struct dtqi_str text)
{
    c->hello_err = err;
    c->hello_text_len = keep_text(c->hello_text, sizeof c->hello_text, text).len;
}

static void on_welcome(struct client *c, const struct dtqi_welcome *w)
{
    struct peer *v = &c->peers[CLIENT_VENTILATOR];

    v->link = LINK_OPEN;
    c->vent_store = w->store;
    c->clock_base_ms = w->wall_ms - c->now.now_ms;
    c->task_bytes_max = w->task_bytes_max;
    c->is_refused = false;
    set_hello_text(c, DTQ_OK, dtqi_str(""));
    set_sinks(c, w->sinks, w->sinks_n, &w->removed);
    asks_on_welcome(c);
    /* Ids made before by a local clock that is ahead must not hold later ones back. */
    if (c->idgen.wall_ms > w->wall_ms + 1000)
        c->idgen = (struct dtqi_idgen){0};
}

/* The connection is of no use; a later one may be. */
static void refused_for_good(struct client *c, dtq_err err, struct dtqi_str text)
{
    struct peer *v = &c->peers[CLIENT_VENTILATOR];

    set_hello_text(c, err, text);
    c->is_refused = true;
    client_lose(c, CLIENT_VENTILATOR);
    v->reopen_ms = c->now.now_ms + CLIENT_RETRY_MS_MAX;
    submit_on_refusal(c);
}

static void on_refused(struct client *c, const struct dtqi_refused *r)
{
    struct peer *v = &c->peers[CLIENT_VENTILATOR];

    switch (r->reason) {
    case DTQI_BUSY:
    case DTQI_NO_SPACE:
    case DTQI_NO_SINK:
        set_hello_text(c, DTQ_EBUSY, r->text);
        client_lose(c, CLIENT_VENTILATOR);
        v->reopen_ms = c->now.now_ms + client_jitter(c, CLIENT_REOPEN_MS_MAX);
        break;
    case DTQI_BAD_VERSION: refused_for_good(c, DTQ_EVERSION, r->text); break;
    case DTQI_REFUSAL_NONE:
    case DTQI_NO_SUCH_SINK:
    case DTQI_TOO_LARGE:
    case DTQI_TOO_OLD:
    case DTQI_BAD_TIME:
    case DTQI_CONFLICT:
    case DTQI_BAD_TASK:
    case DTQI_BAD_PEER: refused_for_good(c, DTQ_EREFUSED, r->text); break;
    }
}

static void on_answer(struct client *c, uint32_t peer, const struct dtqi_msg *msg, uint64_t request)
{
    if (c->question == NULL || c->question_peer != peer || c->question_request != request ||
        request == 0 || c->answer != NULL)
        return;
    c->answer = page_new(c, msg);
    if (c->answer == NULL)
        c->question_request = 0; /* no memory: ask again */
}

static void on_query_reply(struct client *c, const struct dtqi_msg *msg)
{
    c->peers[CLIENT_VENTILATOR].answer_ms = CLIENT_ANSWER_MS;
    on_answer(c, CLIENT_VENTILATOR, msg, msg->query_reply.request);
    asks_on_query_reply(c, msg);
}

/* Else a WELCOME that was lost would be waited for until the end of time. */
static bool answers_hello(const struct dtqi_msg *msg)
{
    return msg->type == DTQI_WELCOME || msg->type == DTQI_REFUSED ||
           msg->type == DTQI_UNKNOWN_SESSION;
}

static void on_vent_message(struct client *c, const struct dtqi_msg *msg)
{
    if (msg->type == DTQI_WELCOME) {
        on_welcome(c, &msg->welcome);
    } else if (msg->type == DTQI_REFUSED) {
        on_refused(c, &msg->refused);
    } else if (msg->type == DTQI_UNKNOWN_SESSION) {
        client_lose(c, CLIENT_VENTILATOR); /* R3: it acted on nothing, and wants a HELLO */
    } else if (msg->type == DTQI_SUBMITTED) {
        submit_on_submitted(c, &msg->submitted);
    } else if (msg->type == DTQI_QUERY_REPLY) {
        on_query_reply(c, msg);
    } else if (msg->type == DTQI_CANCEL_REPLY) {
        on_answer(c, CLIENT_VENTILATOR, msg, msg->cancel_reply.request);
    } else if (msg->type == DTQI_OPERATE_REPLY) {
        on_answer(c, CLIENT_VENTILATOR, msg, msg->operate_reply.request);
    } else if (msg->type == DTQI_SINKS) {
        set_sinks(c, msg->sinks.sinks, msg->sinks.sinks_n, &msg->sinks.removed);
    }
}

static void on_sink_results(struct client *c, uint32_t peer, const struct dtqi_msg *msg)
{
    struct peer *p = &c->peers[peer];

    p->answer_ms = CLIENT_ANSWER_MS;
    if (msg->results.request == p->probe && p->probe != 0) {
        p->probe = 0;
        if (!p->is_proven) {
            p->is_proven = true;
            asks_on_sink_ready(c, peer);
        }
    }
    asks_on_results(c, peer, msg);
}

static void on_message(struct client *c, uint32_t peer, const struct dtqi_msg *msg)
{
    struct peer *p = &c->peers[peer];

    if (p->link == LINK_CLOSED)
        return; /* of a connection that we have given up */
    if (p->link == LINK_HELLO && !answers_hello(msg))
        return;
    heard(p);
    if (peer == CLIENT_VENTILATOR)
        on_vent_message(c, msg);
    else if (msg->type == DTQI_RESULTS)
        on_sink_results(c, peer, msg);
    else if (msg->type == DTQI_RESULTS_REPLY)
        on_answer(c, peer, msg, msg->results_reply.request);
}

static void on_bad_frame(struct client *c, uint32_t peer)
{
    if (peer == CLIENT_VENTILATOR)
        refused_for_good(c, DTQ_EVERSION,
                         dtqi_str("the ventilator speaks another version of the protocol"));
    else
        lose_silent(c, peer);
}

/* ---------------------------------------------------------------- other questions */

void client_question(struct client *c, uint32_t peer, struct dtqi_msg *msg)
{
    assert(c->question == NULL);
    assert(peer < CLIENT_PEERS_MAX);
    c->question = msg;
    c->question_peer = peer;
    c->question_request = 0;
}

const struct dtqi_msg *client_answer(const struct client *c)
{
    return c->answer != NULL ? &c->answer->msg : NULL;
}

void client_question_done(struct client *c)
{
    if (c->answer != NULL)
        page_unref(c, c->answer);
    c->answer = NULL;
    c->question = NULL;
}

static void set_request(struct dtqi_msg *msg, uint64_t request)
{
    if (msg->type == DTQI_QUERY)
        msg->query.request = request;
    else if (msg->type == DTQI_CANCEL)
        msg->cancel.request = request;
    else if (msg->type == DTQI_OPERATE)
        msg->operate.request = request;
    else
        msg->results_query.request = request;
}

static bool is_question_unsent(const struct client *c)
{
    return c->question != NULL && c->question_request == 0 && c->answer == NULL &&
           c->peers[c->question_peer].link == LINK_OPEN;
}

/* Other traffic on the connection may flow while this one answer does not come: whoever was asked
 * had no room to remember that, or the answer was lost. */
static bool is_question_overdue(const struct client *c)
{
    return c->question != NULL && c->question_request != 0 && c->answer == NULL &&
           c->now.now_ms - c->question_ms >= CLIENT_ANSWER_MS_MAX;
}

static void question_tick(struct client *c)
{
    struct client_action *a;

    if (is_question_overdue(c))
        c->question_request = 0;
    if (!is_question_unsent(c))
        return;
    a = client_emit(c, CLIENT_SEND, c->question_peer);
    if (a == NULL)
        return;
    c->question_request =
        c->question_peer == CLIENT_VENTILATOR ? ++c->vent_request : ++c->sink_request;
    c->question_ms = c->now.now_ms;
    set_request(c->question, c->question_request);
    a->msg = *c->question;
    client_await(c, c->question_peer);
}

/* ---------------------------------------------------------------- step */

static void tick(struct client *c)
{
    if (c->now.now_ms < c->paused_until_ms)
        return;
    vent_tick(c);
    for (uint32_t i = 1; i < CLIENT_PEERS_MAX; i++)
        if (c->peers[i].is_used)
            sink_tick(c, i);
    submit_tick(c);
    asks_tick(c);
    question_tick(c);
    if (c->no_memory)
        c->paused_until_ms = c->now.now_ms + NO_MEMORY_PAUSE_MS;
}

void client_step(struct client *c, const struct client_event *e, struct client_actions *out)
{
    assert(e->peer < CLIENT_PEERS_MAX);
    c->now = e->at;
    c->out = out;
    c->no_memory = false;
    switch (e->type) {
    case CLIENT_TICK: tick(c); break;
    case CLIENT_MESSAGE: on_message(c, e->peer, e->msg); break;
    case CLIENT_DOWN: client_lose(c, e->peer); break;
    case CLIENT_BAD_FRAME: on_bad_frame(c, e->peer); break;
    }
    c->out = NULL;
}

static uint64_t peer_deadline_ms(const struct client *c, uint32_t peer)
{
    const struct peer *p = &c->peers[peer];
    uint64_t at = NEVER;

    if (peer != CLIENT_VENTILATOR && !p->is_used)
        return NEVER;
    if (p->link == LINK_CLOSED) {
        if (peer != CLIENT_VENTILATOR && !is_wanted(c, peer))
            return NEVER;
        return p->reopen_ms == NEVER ? 0 : p->reopen_ms;
    }
    if (p->asked_ms != 0)
        at = p->asked_ms + p->answer_ms;
    if (peer != CLIENT_VENTILATOR && c->cfg.follow != CLIENT_FOLLOW_NONE &&
        (c->followed_n != 0 || c->cfg.follow == CLIENT_FOLLOW_ALL))
        at = sooner(at, p->follow_ms);
    return at;
}

uint64_t client_deadline_ms(const struct client *c)
{
    uint64_t at = sooner(submit_deadline_ms(c), asks_deadline_ms(c));

    for (uint32_t i = 0; i < CLIENT_PEERS_MAX; i++)
        at = sooner(at, peer_deadline_ms(c, i));
    if (client_can_send(c)) {
        at = sooner(at, sooner(c->hello_again_ms, sinks_again_ms(c)));
        if (c->hello_again_ms == NEVER && c->sinks_n == 0 && submit_is_waiting_for_sink(c))
            at = 0;
    }
    if (is_question_unsent(c))
        at = 0;
    else if (c->question != NULL && c->question_request != 0 && c->answer == NULL)
        at = sooner(at, c->question_ms + CLIENT_ANSWER_MS_MAX);
    return at > c->paused_until_ms ? at : c->paused_until_ms;
}

dtq_id client_new_id(struct client *c)
{
    return dtqi_id_next(&c->idgen, client_wall_ms(c), client_random(c));
}

bool client_is_welcome(const struct client *c)
{
    return client_can_send(c);
}

dtq_err client_refusal(const struct client *c, struct dtqi_str *ret_text)
{
    *ret_text = (struct dtqi_str){c->hello_text, c->hello_text_len};
    return c->is_refused ? c->hello_err : DTQ_OK;
}

uint64_t client_silence_ms(const struct client *c, uint32_t peer)
{
    const struct peer *p = &c->peers[peer];

    assert(peer < CLIENT_PEERS_MAX);
    return p->silent_ms != 0 && c->now.now_ms > p->silent_ms ? c->now.now_ms - p->silent_ms : 0;
}

uint32_t client_silent_peer(const struct client *c, uint64_t for_ms)
{
    if (c->question != NULL)
        return c->answer == NULL && client_silence_ms(c, c->question_peer) >= for_ms
                   ? c->question_peer
                   : CLIENT_NOBODY;
    if (!client_can_send(c))
        return client_silence_ms(c, CLIENT_VENTILATOR) >= for_ms ? CLIENT_VENTILATOR
                                                                 : CLIENT_NOBODY;
    for (uint32_t i = 1; i < CLIENT_PEERS_MAX; i++)
        if (c->peers[i].is_used && is_wanted(c, i) && client_silence_ms(c, i) >= for_ms)
            return i;
    return CLIENT_NOBODY;
}

struct dtqi_str client_endpoint(const struct client *c, uint32_t peer)
{
    assert(peer < CLIENT_PEERS_MAX);
    return c->peers[peer].endpoint;
}

bool client_is_cut_off(const struct client *c)
{
    return client_silent_peer(c, CLIENT_SILENT_MS) != CLIENT_NOBODY;
}
