#include "client_shell.h"

#include "codec.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#define DEFAULT_ENDPOINT "tcp://127.0.0.1:5570"
#define PROGRAM "libdtq " DTQ_VERSION
#define LENT_BYTES_MAX SIZE_MAX

/* ---------------------------------------------------------------- errors */

dtq_err shell_fail(struct dtq_client *c, dtq_err err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(c->errmsg, sizeof c->errmsg, format, args);
    va_end(args);
    return err;
}

dtq_err shell_fail_with(struct dtq_client *c, dtq_err err, struct dtqi_str text)
{
    if (text.len == 0)
        return shell_fail(c, err, "%s", dtq_strerror(err));
    return shell_fail(c, err, "%s: %.*s", dtq_strerror(err), (int)text.len, text.at);
}

static dtq_err no_memory(struct dtq_client *c)
{
    return shell_fail(c, DTQ_ENOMEM, "%s", dtq_strerror(DTQ_ENOMEM));
}

const char *dtq_client_errmsg(const dtq_client *client)
{
    return client != NULL ? client->errmsg : "";
}

/* Why nothing is to be hoped for; DTQ_OK: go on waiting. */
static dtq_err refusal(struct dtq_client *c)
{
    struct dtqi_str text;
    dtq_err err = client_refusal(c->core, &text);

    return err != DTQ_OK ? shell_fail_with(c, err, text) : DTQ_OK;
}

void shell_note_silence(struct dtq_client *c, uint32_t peer)
{
    struct dtqi_str endpoint = client_endpoint(c->core, peer);

    snprintf(c->silent_endpoint, sizeof c->silent_endpoint, "%.*s", (int)endpoint.len, endpoint.at);
    c->silence.is_sink = peer != CLIENT_VENTILATOR;
}

void dtq_client_silence(const dtq_client *client, dtq_silence *ret_silence)
{
    if (client != NULL && ret_silence != NULL)
        *ret_silence = client->silence;
}

dtq_err shell_timed_out(struct dtq_client *c)
{
    struct dtqi_str text;
    dtq_err err = client_refusal(c->core, &text);

    if (err != DTQ_OK || (text.len != 0 && !client_is_welcome(c->core)))
        return shell_fail_with(c, err != DTQ_OK ? err : DTQ_EBUSY, text);
    if (!client_is_cut_off(c->core))
        return shell_fail(c, DTQ_ETIMEOUT, "%s", dtq_strerror(DTQ_ETIMEOUT));
    shell_note_silence(c, client_silent_peer(c->core, CLIENT_SILENT_MS));
    return shell_fail(c, DTQ_EUNREACHABLE, "the %s at %s cannot be reached",
                      c->silence.is_sink ? "sink" : "ventilator", c->silence.endpoint);
}

/* While tasks are unconfirmed: a ventilator that answers says why. */
static dtq_err unconfirmed(struct dtq_client *c)
{
    struct dtqi_str text;
    dtq_err err = client_put_off(c->core, &text);

    if (err == DTQ_OK || !client_is_welcome(c->core))
        return shell_timed_out(c);
    if (text.len == 0)
        text = dtqi_str(dtq_strerror(err));
    return shell_fail(c, err, "%.*s", (int)text.len, text.at);
}

/* ---------------------------------------------------------------- what is lent */

void shell_enter(struct dtq_client *c)
{
    c->slab_used = 0;
    dtqi_buf_unref(c->lent);
    c->lent = NULL;
}

void *shell_lend(struct dtq_client *c, size_t bytes)
{
    size_t wanted = (bytes + 15) & ~(size_t)15;
    void *at = c->slab + c->slab_used;

    if (wanted <= SLAB_BYTES - c->slab_used) {
        c->slab_used += (uint32_t)wanted;
        return at;
    }
    if (c->lent == NULL)
        c->lent = dtqi_buf_new(wanted, LENT_BYTES_MAX);
    return c->lent != NULL ? dtqi_buf_alloc(c->lent, bytes) : NULL;
}

const char *shell_lend_text(struct dtq_client *c, struct dtqi_str text)
{
    char *at;

    if (text.len == 0)
        return "";
    at = shell_lend(c, (size_t)text.len + 1);
    if (at == NULL)
        return NULL;
    memcpy(at, text.at, text.len);
    at[text.len] = 0;
    return at;
}

dtq_err shell_lend_result(struct dtq_client *c, const struct client_result *in, dtq_result *ret)
{
    dtq_result out = {
        .id = in->id,
        .state = in->state,
        .reason = in->reason,
        .code = in->code,
        .attempt = in->attempt,
        .body = shell_lend_text(c, (struct dtqi_str){in->body.at, in->body.len}),
        .body_bytes = in->body.len,
        .worker = shell_lend_text(c, in->worker),
        .name = shell_lend_text(c, in->name),
        .queue = shell_lend_text(c, in->queue),
        .started_wall_ms = in->started_wall_ms,
        .duration_us = in->duration_us,
        .committed_wall_ms = in->committed_wall_ms,
        .tag = in->tag,
    };

    if (out.body == NULL || out.worker == NULL || out.name == NULL || out.queue == NULL)
        return no_memory(c);
    *ret = out;
    return DTQ_OK;
}

/* ---------------------------------------------------------------- opening */

static bool read_options(const dtq_options *options, dtq_options *ret)
{
    dtq_options_init(ret);
    if (options == NULL)
        return true;
    if (options->size < offsetof(dtq_options, follow))
        return false;
    memcpy(ret, options, options->size < sizeof *ret ? options->size : sizeof *ret);
    return ret->follow <= DTQ_FOLLOW_ALL;
}

static bool is_port(const char *text)
{
    size_t n = strspn(text, "0123456789");
    unsigned long port = strtoul(text, NULL, 10);

    return n > 0 && text[n] == 0 && port > 0 && port <= UINT16_MAX;
}

/* libzmq tells of an endpoint that it does not understand only when it connects. */
static bool is_endpoint(const char *text)
{
    const char *colon = strrchr(text, ':');

    if (strncmp(text, "ipc://", 6) == 0)
        return text[6] != 0;
    return strncmp(text, "tcp://", 6) == 0 && colon > text + 6 && strpbrk(text, ", ") == NULL &&
           is_port(colon + 1);
}

static struct dtqi_str default_name(char *text, size_t size)
{
    char host[65] = "";
    int len;

    if (gethostname(host, sizeof host - 1) != 0)
        host[0] = 0;
    len = snprintf(text, size, "%s:%ld", host, (long)getpid());
    return (struct dtqi_str){text, (uint32_t)len};
}

static bool make_random(struct client_cfg *cfg)
{
    struct {
        dtqi_uid instance;
        uint64_t seed;
        uint64_t reply_to;
    } bytes;

    if (getrandom(&bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return false;
    cfg->instance = bytes.instance;
    cfg->seed = bytes.seed;
    cfg->reply_to = bytes.reply_to | 1; /* 0 means nobody */
    return true;
}

static dtq_err make_core(struct dtq_client *c, const dtq_options *o)
{
    const char *endpoint = o->ventilator != NULL ? o->ventilator : DEFAULT_ENDPOINT;
    struct client_cfg cfg = {
        .endpoint = dtqi_str(endpoint),
        .program = dtqi_str(PROGRAM),
        .follow = (enum client_follow)o->follow,
        .unconfirmed_max = o->unconfirmed_max,
        .open_max = o->open_max,
        .unconfirmed_bytes_max = o->unconfirmed_bytes_max,
        .results_bytes_max = o->results_bytes_max,
    };
    char name[96];

    if (!is_endpoint(endpoint) || cfg.endpoint.len > DTQI_ENDPOINT_BYTES_MAX)
        return DTQ_EINVAL;
    if (!make_random(&cfg))
        return DTQ_EIO;
    cfg.name = o->name != NULL ? dtqi_str(o->name) : default_name(name, sizeof name);
    return client_new(&cfg, &c->core);
}

static dtq_err open_client(struct dtq_client *c, const dtq_options *options)
{
    dtq_options o;
    dtq_err err;

    if (!read_options(options, &o))
        return DTQ_EINVAL;
    c->slab = malloc(SLAB_BYTES);
    if (c->slab == NULL)
        return DTQ_ENOMEM;
    err = make_core(c, &o);
    if (err == DTQ_OK)
        err = io_open(c);
    if (err != DTQ_OK)
        return err;
    c->on_silence = o.on_silence;
    c->silence_arg = o.silence_arg;
    c->told_peer = CLIENT_NOBODY;
    c->silence.endpoint = c->silent_endpoint;
    shell_note_silence(c, CLIENT_VENTILATOR);
    return DTQ_OK;
}

dtq_err dtq_client_open(const dtq_options *options, dtq_client **ret_client)
{
    struct dtq_client *c;
    dtq_err err;

    if (ret_client == NULL)
        return DTQ_EINVAL;
    c = calloc(1, sizeof *c);
    if (c == NULL)
        return DTQ_ENOMEM;
    c->epoll_fd = c->timer_fd = -1;
    c->pid = getpid();
    err = open_client(c, options);
    if (err != DTQ_OK) {
        dtq_client_close(c);
        return err;
    }
    err = io_pump(c, 0); /* the connection is on its way while the caller prepares */
    (void)err;           /* what cannot be polled now is told by the next call */
    *ret_client = c;
    return DTQ_OK;
}

void dtq_client_close(dtq_client *client)
{
    struct dtq_client *c = client;

    if (c == NULL)
        return;
    shell_enter(c);
    io_close(c);
    client_free(c->core);
    for (uint32_t i = 0; i < SPECS_KEPT; i++)
        dtqi_buf_unref(c->specs[i].buf);
    free(c->slab);
    free(c);
}

/* ---------------------------------------------------------------- waiting */

dtq_err shell_wait_welcome(struct dtq_client *c, uint64_t end_ms)
{
    dtq_err err = client_is_welcome(c->core) ? DTQ_OK : io_pump(c, 0);

    while (err == DTQ_OK && !client_is_welcome(c->core)) {
        err = refusal(c);
        if (err == DTQ_OK)
            err = io_time().now_ms >= end_ms ? shell_timed_out(c) : io_pump(c, end_ms);
    }
    return err;
}

/* ---------------------------------------------------------------- specs */

/* A task as this version has it: the caller's own, or, of another version, a copy in `room`; NULL:
 * it was not initialised. */
static const dtq_task *read_task(const dtq_task *task, dtq_task *room)
{
    if (task->size == sizeof *task)
        return task;
    if (task->size < offsetof(dtq_task, tag))
        return NULL;
    dtq_task_init(room, NULL, NULL, 0);
    memcpy(room, task, task->size < sizeof *room ? task->size : sizeof *room);
    return room;
}

static struct dtqi_spec spec_of(const dtq_task *t)
{
    return (struct dtqi_spec){
        .name = dtqi_str(t->name),
        .queue = dtqi_str(t->queue),
        .priority = t->priority,
        .retries = t->retries,
        .backoff_min_ms = t->backoff_min_ms,
        .backoff_max_ms = t->backoff_max_ms,
        .time_limit_ms = t->time_limit_ms,
        .crash_limit = t->crash_limit,
        .expires_ms = t->expires_ms,
        .result_ttl_ms = t->result_ttl_ms,
        .no_result = t->no_result != 0,
        .key = dtqi_str(t->key != NULL ? t->key : ""),
        .key_ttl_ms = t->key_ttl_ms,
        .retry_on = dtqi_str(t->retry_on != NULL ? t->retry_on : ""),
        .no_retry_on = dtqi_str(t->no_retry_on != NULL ? t->no_retry_on : ""),
        .group = dtqi_str(t->group != NULL ? t->group : ""),
        .group_ordered = t->group_ordered != 0,
    };
}

static bool is_same_spec(const struct dtqi_spec *a, const struct dtqi_spec *b)
{
    return dtqi_str_eq(a->name, b->name) && dtqi_str_eq(a->queue, b->queue) &&
           a->priority == b->priority && a->retries == b->retries &&
           a->backoff_min_ms == b->backoff_min_ms && a->backoff_max_ms == b->backoff_max_ms &&
           a->time_limit_ms == b->time_limit_ms && a->crash_limit == b->crash_limit &&
           a->expires_ms == b->expires_ms && a->result_ttl_ms == b->result_ttl_ms &&
           a->no_result == b->no_result && dtqi_str_eq(a->key, b->key) &&
           a->key_ttl_ms == b->key_ttl_ms && dtqi_str_eq(a->retry_on, b->retry_on) &&
           dtqi_str_eq(a->no_retry_on, b->no_retry_on) && dtqi_str_eq(a->group, b->group) &&
           a->group_ordered == b->group_ordered;
}

static bool copy_str(struct dtqi_buf *buf, struct dtqi_str *text)
{
    char *at = dtqi_buf_alloc(buf, text->len + 1);

    if (at == NULL)
        return false;
    memcpy(at, text->at, text->len);
    text->at = at;
    return true;
}

static dtq_err encode_spec(struct dtq_client *c, const struct dtqi_spec *spec,
                           struct dtqi_slice *ret)
{
    struct kept_spec *k = &c->specs[c->spec_next];
    struct kept_spec made = {.spec = *spec};
    char why[256];
    dtq_err err = dtqi_spec_check(spec, why, sizeof why);

    if (err != DTQ_OK)
        return shell_fail(c, DTQ_EINVAL, "%s", why);
    made.buf = dtqi_buf_new(256, DTQI_SPEC_BYTES_MAX + 4096);
    if (made.buf == NULL)
        return no_memory(c);
    made.spec.raw = dtqi_spec_encode(spec, made.buf);
    if (made.spec.raw.at == NULL || !copy_str(made.buf, &made.spec.name) ||
        !copy_str(made.buf, &made.spec.queue) || !copy_str(made.buf, &made.spec.key) ||
        !copy_str(made.buf, &made.spec.retry_on) || !copy_str(made.buf, &made.spec.no_retry_on) ||
        !copy_str(made.buf, &made.spec.group)) {
        dtqi_buf_unref(made.buf);
        return no_memory(c);
    }
    dtqi_buf_unref(k->buf);
    *k = made;
    c->spec_next = (c->spec_next + 1) % SPECS_KEPT;
    *ret = made.spec.raw;
    return DTQ_OK;
}

static dtq_err find_spec(struct dtq_client *c, const dtq_task *t, struct dtqi_slice *ret)
{
    struct dtqi_spec spec = spec_of(t);

    for (uint32_t i = 0; i < SPECS_KEPT; i++) {
        if (c->specs[i].buf != NULL && is_same_spec(&c->specs[i].spec, &spec)) {
            *ret = c->specs[i].spec.raw;
            return DTQ_OK;
        }
    }
    return encode_spec(c, &spec, ret);
}

/* A list that is there and names nothing. */
static bool is_empty(const char *list)
{
    return list != NULL && list[0] == '\0';
}

static dtq_err check_task(struct dtq_client *c, const dtq_task *t)
{
    if (t->name == NULL || t->queue == NULL)
        return shell_fail(c, DTQ_EINVAL, "a task needs a name and a queue");
    if (is_empty(t->retry_on) || is_empty(t->no_retry_on))
        return shell_fail(c, DTQ_EINVAL, "%sretry_on: the list is empty",
                          is_empty(t->retry_on) ? "" : "no_");
    if (t->group_ordered != 0 && (t->group == NULL || t->group[0] == '\0'))
        return shell_fail(c, DTQ_EINVAL, "group_ordered: a task needs a group for that");
    if (t->payload == NULL && t->payload_bytes != 0)
        return shell_fail(c, DTQ_EINVAL, "a payload of %zu bytes at NULL", t->payload_bytes);
    if (t->delay_ms > DTQI_DURATION_MS_MAX || t->not_before_wall_ms > DTQI_WALL_MS_MAX)
        return shell_fail(c, DTQ_EINVAL, "the time at which the task may start is too far away");
    if (t->payload_bytes > DTQ_PAYLOAD_BYTES_MAX)
        return shell_fail(c, DTQ_ETOOBIG, "the payload has %zu bytes, more than %u",
                          t->payload_bytes, DTQ_PAYLOAD_BYTES_MAX);
    return DTQ_OK;
}

/* What V accepts in order must come to it in order: through one SUBMIT after the other, of one
 * sink. */
static uint64_t order_of(const dtq_task *t)
{
    uint64_t hash = 1;

    if (t->group == NULL || t->group[0] == '\0' || !t->group_ordered)
        return 0;
    for (const char *at = t->group; *at != '\0'; at++)
        hash = dtqi_mix64(hash ^ (uint8_t)*at);
    return hash != 0 ? hash : 1;
}

dtq_err shell_convert_task(struct dtq_client *c, const dtq_task *task, struct client_task *ret)
{
    dtq_task room;
    const dtq_task *t = read_task(task, &room);
    dtq_err err;

    if (t == NULL)
        return shell_fail(c, DTQ_EINVAL, "the task was not initialised by dtq_task_init()");
    err = check_task(c, t);
    if (err != DTQ_OK)
        return err;
    *ret = (struct client_task){
        .payload = {t->payload, (uint32_t)t->payload_bytes},
        .again = t->again,
        .order = order_of(t),
        .delay_ms = t->delay_ms,
        .not_before_wall_ms = t->not_before_wall_ms,
        .tag = t->tag,
    };
    return find_spec(c, t, &ret->spec);
}

/* ---------------------------------------------------------------- submitting */

static dtq_err explain_submit(struct dtq_client *c, dtq_err err)
{
    switch (err) {
    case DTQ_OK: return DTQ_OK;
    case DTQ_EAGAIN: return shell_fail(c, err, "too many tasks are unconfirmed");
    case DTQ_EBUSY:
        return shell_fail(c, err, "open_max tasks are remembered: take their events and results");
    case DTQ_EINVAL: return shell_fail(c, err, "a task of this id is open in this client");
    case DTQ_ETOOBIG: return shell_fail(c, err, "the task is larger than the ventilator takes");
    case DTQ_EVERSION:
    case DTQ_EREFUSED: return refusal(c);
    default: return shell_fail(c, err, "%s", dtq_strerror(err));
    }
}

/* The time left, for the core: it is the one that gives up. */
static uint64_t left_ms(uint64_t end_ms)
{
    uint64_t now_ms = io_time().now_ms;

    if (end_ms == UINT64_MAX)
        return UINT64_MAX;
    return end_ms > now_ms ? end_ms - now_ms : 0;
}

/* Queue one task, and wait for room until `end_ms`. Waiting helps only while confirmations are
 * awaited, and it is for them that there is no room. */
static dtq_err queue_task(struct dtq_client *c, const struct client_task *t, uint64_t end_ms,
                          dtq_id *ret_id)
{
    for (;;) {
        dtq_err err = client_submit(c->core, t, io_time(), ret_id);

        if (err == DTQ_OK && client_wants_tick(c->core))
            (void)!io_pump(c, 0); /* it is queued; what is wrong is told by the next call */
        if (err != DTQ_EAGAIN || end_ms == 0 || io_time().now_ms >= end_ms)
            return explain_submit(c, err);
        err = io_pump(c, end_ms);
        if (err != DTQ_OK)
            return err;
    }
}

struct many {
    const unsigned char *tasks;
    size_t stride;
    size_t n;
    size_t next; /* to be queued */
    size_t left; /* without a verdict */
    dtq_submitted *ret;
    uint64_t end_ms;
    uint64_t call; /* its number, in the upper half of what the core gives back */
};

static void judge(struct many *m, size_t i, const dtq_id *id, dtq_err err, const char *text)
{
    m->ret[i].err = err;
    m->ret[i].text = text != NULL ? text : "";
    if (id != NULL)
        m->ret[i].id = *id;
    m->left--;
}

/* false: there is no room now. */
static bool queue_next(struct dtq_client *c, struct many *m)
{
    const dtq_task *task = (const void *)(m->tasks + m->next * m->stride);
    struct client_task t = {.tag = 0};
    dtq_err err = shell_convert_task(c, task, &t);
    dtq_id id;

    if (err == DTQ_OK) {
        t.call = m->call | m->next;
        t.tell = CLIENT_TELL_CALL;
        t.timeout_ms = left_ms(m->end_ms);
        err = explain_submit(c, client_submit(c->core, &t, io_time(), &id));
        if (err == DTQ_EAGAIN)
            return false;
        m->ret[m->next].tag = t.tag;
    }
    if (err != DTQ_OK)
        judge(m, m->next, NULL, err, shell_lend_text(c, dtqi_str(c->errmsg)));
    m->next++;
    return true;
}

static void take_verdicts(struct dtq_client *c, struct many *m)
{
    struct client_verdict v;

    while (client_take_verdict(c->core, &v))
        if ((v.call & ~(uint64_t)UINT32_MAX) == m->call) /* else of a call that had to end early */
            judge(m, v.call & UINT32_MAX, &v.id, v.err, shell_lend_text(c, v.text));
}

/* What was not even queued when the time was up. */
static void give_up_rest(struct dtq_client *c, struct many *m, dtq_err err)
{
    const char *text = shell_lend_text(c, dtqi_str(c->errmsg));

    for (; m->next < m->n; m->next++)
        judge(m, m->next, NULL, err, text);
}

/* Several batches are under way while the next ones are formed. */
static dtq_err submit_all(struct dtq_client *c, struct many *m)
{
    dtq_err err = DTQ_OK;

    while (m->left != 0 && err == DTQ_OK) {
        bool is_full = false;

        while (m->next < m->n && !is_full && !client_wants_tick(c->core))
            is_full = !queue_next(c, m);
        if (m->left == 0)
            break;
        err = io_pump(c, m->next < m->n && !is_full ? 0 : m->end_ms);
        take_verdicts(c, m);
        if (m->next < m->n && io_time().now_ms >= m->end_ms)
            give_up_rest(c, m, shell_timed_out(c));
    }
    return err;
}

static dtq_err first_error(struct dtq_client *c, const struct many *m)
{
    shell_note_silence(c, CLIENT_VENTILATOR);
    for (size_t i = 0; i < m->n; i++)
        if (m->ret[i].err != DTQ_OK)
            return m->ret[i].text[0] != 0
                       ? shell_fail(c, m->ret[i].err, "task %zu: %s", i, m->ret[i].text)
                       : shell_fail(c, m->ret[i].err, "task %zu: %s", i,
                                    dtq_strerror(m->ret[i].err));
    return DTQ_OK;
}

/* A client that is not connected waits first, since ids take their time from the ventilator. */
static dtq_err submit_many(struct dtq_client *c, struct many *m)
{
    dtq_err err = shell_wait_welcome(c, m->end_ms);

    m->call = (uint64_t)++c->calls << 32;
    for (size_t i = 0; i < m->n; i++)
        m->ret[i] = (dtq_submitted){.err = DTQ_EUNKNOWN, .text = ""};
    if (err != DTQ_OK) {
        give_up_rest(c, m, err);
        return err;
    }
    err = submit_all(c, m);
    return err != DTQ_OK ? err : first_error(c, m);
}

/* Nobody waits longer for the fate of a task than the core does. */
static uint64_t submit_end_ms(int32_t timeout_ms)
{
    return timeout_ms >= 0 ? io_end_ms(timeout_ms) : io_time().now_ms + CLIENT_GIVE_UP_MS;
}

dtq_err dtq_submit_many(dtq_client *client, const dtq_task *tasks, size_t n, int32_t timeout_ms,
                        dtq_submitted *ret_submitted)
{
    struct many m = {.n = n, .left = n, .ret = ret_submitted};
    dtq_err err;

    if (client == NULL || (n != 0 && (tasks == NULL || ret_submitted == NULL)) || n > UINT32_MAX)
        return DTQ_EINVAL;
    shell_enter(client);
    if (n == 0)
        return DTQ_OK;
    m.tasks = (const unsigned char *)tasks;
    m.stride = tasks->size;
    m.end_ms = submit_end_ms(timeout_ms);
    err = submit_many(client, &m);
    io_settle(client);
    return err;
}

dtq_err dtq_submit(dtq_client *client, const dtq_task *task, int32_t timeout_ms, dtq_id *ret_id)
{
    dtq_submitted submitted;
    struct many m = {.n = 1, .left = 1, .ret = &submitted};
    dtq_err err;

    if (client == NULL || task == NULL)
        return DTQ_EINVAL;
    shell_enter(client);
    m.tasks = (const unsigned char *)task;
    m.end_ms = submit_end_ms(timeout_ms);
    err = submit_many(client, &m);
    if (err != DTQ_OK && submitted.text[0] != 0)
        shell_fail(client, err, "%s", submitted.text);
    if ((err == DTQ_OK || err == DTQ_EUNKNOWN || err == DTQ_EEXISTS) && ret_id != NULL)
        *ret_id = submitted.id;
    io_settle(client);
    return err;
}

dtq_err dtq_submit_async(dtq_client *client, const dtq_task *task, int32_t timeout_ms,
                         dtq_id *ret_id)
{
    struct client_task t;
    dtq_err err;
    dtq_id id;

    if (client == NULL || task == NULL)
        return DTQ_EINVAL;
    shell_enter(client);
    err = shell_convert_task(client, task, &t);
    if (err != DTQ_OK)
        return err;
    t.tell = CLIENT_TELL_EVENT;
    t.timeout_ms = UINT64_MAX;
    err = queue_task(client, &t, io_end_ms(timeout_ms), &id);
    if (err == DTQ_OK && ret_id != NULL)
        *ret_id = id;
    io_settle(client);
    return err;
}

dtq_err dtq_flush(dtq_client *client, int32_t timeout_ms)
{
    uint64_t end_ms = io_end_ms(timeout_ms);
    dtq_err err;

    if (client == NULL)
        return DTQ_EINVAL;
    shell_enter(client);
    err = io_pump(client, 0);
    while (err == DTQ_OK && client_unconfirmed(client->core) != 0) {
        if (io_time().now_ms >= end_ms)
            err = unconfirmed(client);
        else
            err = io_pump(client, end_ms);
    }
    io_settle(client);
    return err;
}

/* ---------------------------------------------------------------- waiting for given tasks */

static dtq_err begin_asking(struct dtq_client *c, const dtq_id *ids, size_t n,
                            enum client_interest interest)
{
    dtq_err err;

    if (n > UINT32_MAX || (n != 0 && ids == NULL))
        return shell_fail(c, DTQ_EINVAL, "%s", dtq_strerror(DTQ_EINVAL));
    err = client_ask(c->core, ids, (uint32_t)n, interest, io_time());
    if (err == DTQ_EBUSY)
        return shell_fail(c, err, "open_max tasks are remembered: take their events and results");
    return err != DTQ_OK ? no_memory(c) : DTQ_OK;
}

/* At least one round even when there is no time, so that what has arrived is taken in. */
static dtq_err await_answers(struct dtq_client *c, uint32_t wanted, uint64_t end_ms)
{
    dtq_err err = io_pump(c, 0);

    while (err == DTQ_OK && client_answered(c->core) < wanted) {
        err = refusal(c);
        if (err == DTQ_OK)
            err = io_time().now_ms >= end_ms ? shell_timed_out(c) : io_pump(c, end_ms);
    }
    return err;
}

static dtq_err read_answers(struct dtq_client *c, const dtq_id *ids, size_t n, dtq_result *ret,
                            size_t *ret_n)
{
    struct client_result r;
    dtq_err err = DTQ_OK;
    size_t taken = 0;

    for (size_t i = 0; i < n && err == DTQ_OK; i++) {
        if (!client_read_answer(c->core, &ids[i], &r))
            continue;
        err = shell_lend_result(c, &r, &ret[taken]);
        ret[taken++].index = i;
    }
    if (err == DTQ_OK)
        *ret_n = taken;
    return err;
}

enum how_many {
    AT_LEAST_ONE,
    ALL,
    ALL_UNTAKEN, /* the caller gets no results: what was to be an event stays one */
};

static dtq_err ask(struct dtq_client *c, const dtq_id *ids, size_t n, enum client_interest interest,
                   enum how_many how_many, uint64_t end_ms, dtq_result *ret, size_t *ret_n)
{
    dtq_err err;

    shell_enter(c);
    if (n == 0)
        return how_many != AT_LEAST_ONE ? DTQ_OK : shell_fail(c, DTQ_EINVAL, "no ids to wait for");
    err = begin_asking(c, ids, n, interest);
    if (err == DTQ_OK)
        err = await_answers(c, how_many != AT_LEAST_ONE ? client_watched(c->core) : 1, end_ms);
    if (err == DTQ_OK)
        err = read_answers(c, ids, n, ret, ret_n);
    for (size_t i = 0; i < n && err == DTQ_OK && how_many != ALL_UNTAKEN; i++)
        client_answer_taken(c->core, &ids[i]);
    client_ask_done(c->core);
    io_settle(c);
    return err;
}

dtq_err dtq_wait_one(dtq_client *client, const dtq_id *id, int32_t timeout_ms,
                     dtq_result *ret_result)
{
    dtq_result r = {.state = DTQ_NOT_FOUND};
    size_t n;
    dtq_err err;

    if (client == NULL || id == NULL || ret_result == NULL)
        return DTQ_EINVAL;
    err = ask(client, id, 1, CLIENT_WAIT, ALL, io_end_ms(timeout_ms), &r, &n);
    if (err != DTQ_OK)
        return err;
    if (r.state == DTQ_NOT_FOUND)
        return shell_fail(client, DTQ_ENOTFOUND, "nobody knows this task");
    *ret_result = r;
    return DTQ_OK;
}

dtq_err dtq_wait_some(dtq_client *client, const dtq_id *ids, size_t n, int32_t timeout_ms,
                      dtq_result *ret_results, size_t *ret_n)
{
    if (client == NULL || ret_results == NULL || ret_n == NULL)
        return DTQ_EINVAL;
    *ret_n = 0;
    return ask(client, ids, n, CLIENT_WAIT, AT_LEAST_ONE, io_end_ms(timeout_ms), ret_results,
               ret_n);
}

dtq_err dtq_wait_all(dtq_client *client, const dtq_id *ids, size_t n, int32_t timeout_ms,
                     dtq_result *ret_results)
{
    size_t taken;

    if (client == NULL || (n != 0 && ret_results == NULL))
        return DTQ_EINVAL;
    return ask(client, ids, n, CLIENT_WAIT, ALL, io_end_ms(timeout_ms), ret_results, &taken);
}

dtq_err dtq_look(dtq_client *client, const dtq_id *ids, size_t n, int32_t timeout_ms,
                 dtq_result *ret_results)
{
    size_t taken;

    if (client == NULL || (n != 0 && ret_results == NULL))
        return DTQ_EINVAL;
    return ask(client, ids, n, CLIENT_LOOK, ALL, io_end_ms(timeout_ms), ret_results, &taken);
}

dtq_err dtq_watch(dtq_client *client, const dtq_id *ids, size_t n)
{
    dtq_err err;

    if (client == NULL)
        return DTQ_EINVAL;
    shell_enter(client);
    err = begin_asking(client, ids, n, CLIENT_KEEP);
    io_settle(client);
    return err;
}

/* ---------------------------------------------------------------- what comes by itself */

static void lend_submitted(struct dtq_client *c, const struct client_verdict *v, dtq_submitted *ret)
{
    *ret = (dtq_submitted){v->id, v->err, shell_lend_text(c, v->text), v->tag};
    if (ret->text == NULL)
        ret->text = dtq_strerror(v->err); /* the event itself must not be lost */
}

/* It is taken from the core once it is lent, so that it is not lost for want of memory. */
static dtq_err take_result(struct dtq_client *c, dtq_result *ret)
{
    struct client_result r;
    dtq_err err;

    if (!client_peek_result(c->core, &r))
        return DTQ_EAGAIN;
    err = shell_lend_result(c, &r, ret);
    if (err == DTQ_OK)
        client_drop_result(c->core);
    return err;
}

static dtq_err take_event(struct dtq_client *c, dtq_event *ret)
{
    struct client_verdict v;

    if (client_take_event_verdict(c->core, &v)) {
        ret->type = DTQ_EVENT_SUBMITTED;
        lend_submitted(c, &v, &ret->submitted);
        return DTQ_OK;
    }
    ret->type = DTQ_EVENT_RESULT;
    return take_result(c, &ret->result);
}

static bool is_there(const struct dtq_client *c, bool results_only)
{
    return results_only ? client_has_result(c->core) : client_has_event(c->core);
}

static bool is_expected(const struct dtq_client *c, bool results_only)
{
    return client_expects_result(c->core) || (!results_only && client_unconfirmed(c->core) != 0);
}

static dtq_err await_event(struct dtq_client *c, bool results_only, int32_t timeout_ms)
{
    uint64_t end_ms = io_end_ms(timeout_ms);
    dtq_err err;

    if (is_there(c, results_only))
        return DTQ_OK;
    err = io_pump(c, 0);
    while (err == DTQ_OK && !is_there(c, results_only)) {
        if (!is_expected(c, results_only))
            return shell_fail(c, DTQ_ENOTFOUND, "no result is to come, and no other event");
        err = refusal(c);
        if (err == DTQ_OK && timeout_ms == 0)
            return shell_fail(c, DTQ_EAGAIN, "%s", dtq_strerror(DTQ_EAGAIN));
        if (err == DTQ_OK)
            err = io_time().now_ms >= end_ms ? shell_timed_out(c) : io_pump(c, end_ms);
    }
    return err;
}

dtq_err dtq_next_result(dtq_client *client, int32_t timeout_ms, dtq_result *ret_result)
{
    dtq_err err;

    if (client == NULL || ret_result == NULL)
        return DTQ_EINVAL;
    shell_enter(client);
    err = await_event(client, true, timeout_ms);
    if (err == DTQ_OK)
        err = take_result(client, ret_result);
    io_settle(client);
    return err;
}

dtq_err dtq_next_event(dtq_client *client, int32_t timeout_ms, dtq_event *ret_event)
{
    dtq_err err;

    if (client == NULL || ret_event == NULL)
        return DTQ_EINVAL;
    shell_enter(client);
    err = await_event(client, false, timeout_ms);
    if (err == DTQ_OK)
        err = take_event(client, ret_event);
    io_settle(client);
    return err;
}

int dtq_client_fd(dtq_client *client)
{
    return client != NULL ? io_fd(client) : -1;
}

dtq_err dtq_client_process(dtq_client *client)
{
    dtq_err err;

    if (client == NULL)
        return DTQ_EINVAL;
    shell_enter(client);
    err = io_pump(client, 0);
    if (err == DTQ_OK && !client_has_event(client->core))
        err = refusal(client);
    if (err == DTQ_OK && !client_has_event(client->core))
        err = DTQ_EAGAIN;
    io_settle(client);
    return err;
}

/* ---------------------------------------------------------------- questions and cancelling */

const struct dtqi_msg *shell_ask(struct dtq_client *c, uint32_t peer, struct dtqi_msg *msg,
                                 uint64_t end_ms, dtq_err *ret_err)
{
    dtq_err err;

    client_question(c->core, peer, msg);
    err = io_pump(c, 0);
    while (err == DTQ_OK && client_answer(c->core) == NULL) {
        err = refusal(c);
        if (err == DTQ_OK)
            err = io_time().now_ms >= end_ms ? shell_timed_out(c) : io_pump(c, end_ms);
    }
    *ret_err = err;
    if (err == DTQ_OK)
        return client_answer(c->core);
    client_question_done(c->core);
    return NULL;
}

static dtq_err cancel_refused(struct dtq_client *c, const struct dtqi_cancel_reply *reply)
{
    return shell_fail_with(c, reply->reason == DTQI_BUSY ? DTQ_EBUSY : DTQ_EREFUSED, reply->text);
}

static dtq_err cancel_page(struct dtq_client *c, const dtq_id *ids, uint32_t n, uint64_t end_ms,
                           dtq_cancelled *ret)
{
    struct dtqi_msg msg = {.type = DTQI_CANCEL, .cancel = {.n = n, .ids = ids}};
    dtq_err err;
    const struct dtqi_msg *answer = shell_ask(c, CLIENT_VENTILATOR, &msg, end_ms, &err);

    if (answer == NULL)
        return err;
    if (answer->type == DTQI_CANCEL_REPLY && answer->cancel_reply.reason != DTQI_REFUSAL_NONE)
        err = cancel_refused(c, &answer->cancel_reply);
    else if (answer->type != DTQI_CANCEL_REPLY || answer->cancel_reply.n != n)
        err = shell_fail(c, DTQ_EPROTO, "the ventilator answered something else");
    for (uint32_t i = 0; i < n && err == DTQ_OK; i++)
        ret[i] = (dtq_cancelled){.id = ids[i],
                                 .state = (dtq_state)answer->cancel_reply.states[i],
                                 .cancelling = answer->cancel_reply.cancelling[i] != 0};
    client_question_done(c->core);
    return err;
}

/* The ventilator forgets a task once a sink has its outcome: what it does not know is looked up
 * there. */
static dtq_err look_up_unknown(struct dtq_client *c, dtq_cancelled *cancelled, size_t n,
                               size_t unknown, uint64_t end_ms)
{
    dtq_result *results = calloc(unknown, sizeof *results);
    dtq_id *ids = calloc(unknown, sizeof *ids);
    dtq_err err = no_memory(c);
    size_t at = 0;

    if (results == NULL || ids == NULL)
        goto done;
    for (size_t i = 0; i < n; i++)
        if (cancelled[i].state == DTQ_NOT_FOUND)
            ids[at++] = cancelled[i].id;
    err = ask(c, ids, unknown, CLIENT_LOOK, ALL_UNTAKEN, end_ms, results, &at);
    at = 0;
    for (size_t i = 0; i < n && err == DTQ_OK; i++)
        if (cancelled[i].state == DTQ_NOT_FOUND)
            cancelled[i].state = results[at++].state;
done:
    free(ids);
    free(results);
    return err;
}

/* What failed for good, or is about to, is not to be requeued either. */
static dtq_err drop_dead(struct dtq_client *c, dtq_cancelled *cancelled, size_t n, uint64_t end_ms)
{
    dtq_err err = DTQ_OK;

    for (size_t i = 0; i < n && err == DTQ_OK; i++) {
        dtq_cancelled *x = &cancelled[i];
        bool may_be_dead = x->state == DTQ_FAILED || (!x->cancelling && x->state == DTQ_DISPATCHED);
        bool was_dead = false;

        if (may_be_dead)
            err = shell_forget_dead(c, &x->id, end_ms, &was_dead);
        if (was_dead)
            x->state = DTQ_FAILED;
        x->dead = was_dead;
    }
    return err;
}

static dtq_err cancel_all(struct dtq_client *c, const dtq_id *ids, size_t n, uint64_t end_ms,
                          dtq_cancelled *ret)
{
    size_t unknown = 0;
    dtq_err err = DTQ_OK;

    for (size_t i = 0; i < n && err == DTQ_OK; i += DTQI_BATCH_ENTRIES_MAX) {
        size_t page = n - i < DTQI_BATCH_ENTRIES_MAX ? n - i : DTQI_BATCH_ENTRIES_MAX;

        err = cancel_page(c, ids + i, (uint32_t)page, end_ms, ret + i);
    }
    for (size_t i = 0; i < n && err == DTQ_OK; i++)
        unknown += ret[i].state == DTQ_NOT_FOUND;
    if (err == DTQ_OK && unknown != 0)
        err = look_up_unknown(c, ret, n, unknown, end_ms);
    return err == DTQ_OK ? drop_dead(c, ret, n, end_ms) : err;
}

dtq_err dtq_cancel(dtq_client *client, const dtq_id *ids, size_t n, int32_t timeout_ms,
                   dtq_cancelled *ret_cancelled)
{
    dtq_err err;

    if (client == NULL || (n != 0 && (ids == NULL || ret_cancelled == NULL)))
        return DTQ_EINVAL;
    shell_enter(client);
    err = cancel_all(client, ids, n, io_end_ms(timeout_ms), ret_cancelled);
    io_settle(client);
    return err;
}

static dtq_err cancel_queue(struct dtq_client *c, struct dtqi_str queue, uint64_t end_ms,
                            uint64_t *ret_n)
{
    struct dtqi_msg msg = {.type = DTQI_CANCEL, .cancel = {.queue = queue}};
    dtq_err err;
    const struct dtqi_msg *answer = shell_ask(c, CLIENT_VENTILATOR, &msg, end_ms, &err);

    if (answer == NULL)
        return err;
    if (answer->type != DTQI_CANCEL_REPLY)
        err = shell_fail(c, DTQ_EPROTO, "the ventilator answered something else");
    else if (answer->cancel_reply.reason != DTQI_REFUSAL_NONE)
        err = cancel_refused(c, &answer->cancel_reply);
    else
        *ret_n = answer->cancel_reply.count;
    client_question_done(c->core);
    return err;
}

dtq_err dtq_cancel_queue(dtq_client *client, const char *queue, int32_t timeout_ms, uint64_t *ret_n)
{
    dtq_err err;

    if (client == NULL || queue == NULL || ret_n == NULL)
        return DTQ_EINVAL;
    shell_enter(client);
    if (dtqi_is_name(dtqi_str(queue)))
        err = cancel_queue(client, dtqi_str(queue), io_end_ms(timeout_ms), ret_n);
    else
        err = shell_fail(client, DTQ_EINVAL, "not the name of a queue");
    io_settle(client);
    return err;
}
