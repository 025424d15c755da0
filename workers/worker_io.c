#include "worker_io.h"

#include "link.h"
#include "log.h"
#include "proc.h"
#include "sock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define SOCKETS_MAX (2 * (DTQI_SINKS_MAX + 2) + 8)
#define MESSAGES_PER_ROUND 64 /* of one socket, before the others have their turn */
#define LATE_MAX 64
#define LANE_CONNECT_MS 6000 /* a little more than the socket's own limit */
#define GOODBYE_MS 1000
#define WATCHDOG_S 30
#define TRIM_MS 10000 /* without a task: memory of busy times is given back */
#define WAIT_MS_MAX 3600000
#define LOG_FIELDS_MAX 16

struct intake { /* of a sink */
    struct link link;
    bool is_full; /* it takes no more */
    bool skip;    /* one message of this list was not sent */
};

struct worker_io {
    const struct worker_io_cfg *cfg;
    struct worker *core;
    struct worker_actions actions;
    struct slot_pool *slots;
    void *context;
    int signal_fd;
    struct link control;
    struct link lane;
    uint32_t lane_number;
    uint64_t lane_until_ms; /* it must be connected by then; 0: it is, or there is none */
    struct intake sinks[DTQI_SINKS_MAX];
    struct worker_event late[LATE_MAX]; /* what carrying out actions came to */
    uint32_t late_n;
    uint64_t now_ms;
    uint64_t looked_ms;
    bool is_stopping;
    bool is_ready;
    bool is_over;
    int status;

    struct log_rate rejected_rate;
    uint64_t alive_every_ms; /* 0: no service manager asks */
    uint64_t alive_at_ms;
    uint64_t received;
    uint64_t trim_at_ms; /* UINT64_MAX: done */
};

static void step(struct worker_io *io, struct worker_event ev);

static void tell_later(struct worker_io *io, struct worker_event ev)
{
    if (io->late_n < LATE_MAX)
        io->late[io->late_n++] = ev;
}

/* ---------------------------------------------------------------- connections */

static bool open_link(struct worker_io *io, struct link *l, struct dtqi_str endpoint)
{
    return link_open(l, io->context, endpoint, io->now_ms);
}

static void open_intake(struct worker_io *io, const struct worker_action *a)
{
    struct intake *in = &io->sinks[a->sink.index];

    in->is_full = false;
    (void)open_link(io, &in->link, a->sink.endpoint);
}

static void close_intake(struct intake *in)
{
    in->is_full = false;
    link_close(&in->link);
}

static struct worker_event event_of_sink(enum worker_event_type type, uint32_t index)
{
    return (struct worker_event){.type = type, .sink = {.index = index}};
}

static struct worker_event event_of_lane(const struct worker_io *io)
{
    return (struct worker_event){.type = WORKER_EV_LANE_BROKEN, .lane = io->lane_number};
}

static void note_rejected(struct worker_io *io, const struct link *l)
{
    uint64_t left_out;

    if (log_rate_pass(&io->rejected_rate, io->now_ms, &left_out))
        log_warn("connection_rejected", log_str("endpoint", l->endpoint),
                 log_str("why", l == &io->control
                                    ? "what listens there does not seem to be a ventilator"
                                    : "what listens there is not what was expected"),
                 log_u64("more", left_out));
}

static enum sock_event next_event(struct worker_io *io, struct link *l)
{
    enum sock_event event = link_next(l, io->now_ms);

    if (event == SOCK_REJECTED)
        note_rejected(io, l);
    return event;
}

/* ---------------------------------------------------------------- actions */

static void open_lane(struct worker_io *io, const struct worker_action *a)
{
    char endpoint[DTQI_ENDPOINT_BYTES_MAX + 1];
    bool is_open = false;

    io->lane_number = a->lane.number;
    /* The ventilator may have bound it to any of its addresses: we reach it by the one we know. */
    if (sock_endpoint_through(a->lane.endpoint, io->cfg->ventilator, endpoint) == DTQ_OK)
        is_open = open_link(io, &io->lane, dtqi_str(endpoint));
    io->lane.reopen_ms = 0; /* R9: a lane that failed is never tried again */
    io->lane_until_ms = io->now_ms + LANE_CONNECT_MS;
    if (!is_open)
        tell_later(io, event_of_lane(io));
}

static void close_lane(struct worker_io *io)
{
    link_close(&io->lane);
    io->lane_until_ms = 0;
}

static void sink_send(struct worker_io *io, const struct worker_action *a)
{
    struct intake *in = &io->sinks[a->send.index];
    struct worker_event full = event_of_sink(WORKER_EV_SINK_FULL, a->send.index);

    if (in->skip)
        return;
    if (in->link.sock.zmq != NULL && sock_send(&in->link.sock, 0, &a->send.msg) == DTQ_OK)
        return;
    in->skip = true;
    in->is_full = true;
    full.sink.number = a->send.number;
    tell_later(io, full);
}

static void control_send(struct worker_io *io, const struct dtqi_msg *msg)
{
    /* Not connected, or no room: the gap is noticed and the session begun anew (R15). */
    if (io->control.sock.zmq != NULL)
        (void)!sock_send(&io->control.sock, 0, msg);
}

/* One "key=value" or "key=\"a value\"" off the front of `text`; its key is copied to `key`. */
static bool next_pair(struct dtqi_str *text, char *key, size_t key_bytes, struct dtqi_str *ret)
{
    const char *end = text->at + text->len;
    const char *equals = memchr(text->at, '=', text->len);
    const char *from = equals != NULL ? equals + 1 : end;
    bool quoted = from < end && *from == '"';
    const char *to;

    if (equals == NULL || (size_t)(equals - text->at) >= key_bytes)
        return false;
    from += quoted ? 1 : 0;
    to = memchr(from, quoted ? '"' : ' ', (size_t)(end - from));
    if (to == NULL)
        to = end;
    snprintf(key, key_bytes, "%.*s", (int)(equals - text->at), text->at);
    *ret = (struct dtqi_str){from, (uint32_t)(to - from)};
    while (to < end && (*to == '"' || *to == ' '))
        to++;
    *text = (struct dtqi_str){to, (uint32_t)(end - to)};
    return true;
}

static void write_log(const struct worker_action *a)
{
    static const enum log_level levels[] = {
        [WORKER_LOG_DEBUG] = LOG_LEVEL_DEBUG,
        [WORKER_LOG_INFO] = LOG_LEVEL_INFO,
        [WORKER_LOG_WARN] = LOG_LEVEL_WARN,
        [WORKER_LOG_ERROR] = LOG_LEVEL_ERROR,
    };
    struct log_field fields[LOG_FIELDS_MAX + 1];
    char keys[LOG_FIELDS_MAX][32];
    struct dtqi_str text = a->log.text;
    struct dtqi_str value;
    uint32_t n = 0;

    if (!log_is_on(levels[a->log.level]))
        return;
    while (n < LOG_FIELDS_MAX && text.len > 0 &&
           next_pair(&text, keys[n], sizeof keys[n], &value)) {
        fields[n] = log_text(keys[n], value);
        n++;
    }
    fields[n] = log_end();
    log_write(levels[a->log.level], a->log.event, fields);
}

static void on_exit_action(struct worker_io *io, const struct worker_action *a)
{
    io->is_over = true;
    io->status = a->exit.status;
    if (a->exit.status != 0)
        log_error("exit", log_text("why", a->exit.text));
    else
        log_info("exit", log_text("why", a->exit.text));
}

static void do_action(struct worker_io *io, const struct worker_action *a)
{
    switch (a->type) {
    case WORKER_ACT_CONTROL_SEND: control_send(io, &a->msg); return;
    case WORKER_ACT_CONTROL_RECONNECT:
        (void)open_link(io, &io->control, dtqi_str(io->cfg->ventilator));
        return;
    case WORKER_ACT_LANE_OPEN: open_lane(io, a); return;
    case WORKER_ACT_LANE_CLOSE: close_lane(io); return;
    case WORKER_ACT_SINK_OPEN: open_intake(io, a); return;
    case WORKER_ACT_SINK_CLOSE: close_intake(&io->sinks[a->sink.index]); return;
    case WORKER_ACT_SINK_SEND: sink_send(io, a); return;
    case WORKER_ACT_SLOT_START: slot_pool_start(io->slots, a->slot.index, io->now_ms); return;
    case WORKER_ACT_SLOT_FEED:
        slot_pool_feed(io->slots, a->feed.index, a->feed.tasks, a->feed.n);
        return;
    case WORKER_ACT_SLOT_TAKE_BACK: slot_pool_take_back(io->slots, a->slot.index); return;
    case WORKER_ACT_SLOT_RETIRE: slot_pool_retire(io->slots, a->slot.index); return;
    case WORKER_ACT_SLOT_KILL:
        slot_pool_kill(io->slots, a->slot.index, a->slot.why, io->now_ms);
        return;
    case WORKER_ACT_LOG: write_log(a); return;
    case WORKER_ACT_EXIT: on_exit_action(io, a); return;
    }
}

static void step_once(struct worker_io *io, struct worker_event *ev)
{
    ev->now_ms = io->now_ms;
    ev->wall_ms = proc_wall_ms();
    worker_step(io->core, ev, &io->actions);
    for (uint32_t i = 0; i < io->actions.n; i++)
        do_action(io, &io->actions.at[i]);
    worker_actions_reset(&io->actions);
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++)
        io->sinks[i].skip = false;
}

static void step(struct worker_io *io, struct worker_event ev)
{
    step_once(io, &ev);
    while (io->late_n > 0) {
        struct worker_event late = io->late[0];

        io->late_n--;
        memmove(io->late, io->late + 1, io->late_n * sizeof *io->late);
        step_once(io, &late);
    }
}

/* ---------------------------------------------------------------- inputs */

static void on_signals(struct worker_io *io)
{
    int signal;

    while ((signal = proc_signals_next(io->signal_fd)) != 0) {
        bool cold = signal == SIGQUIT || (signal == SIGINT && io->is_stopping);

        if (signal == SIGHUP || (io->is_stopping && !cold))
            continue; /* there are no keys to load again; it is stopping already */
        io->is_stopping = true;
        log_info("signal", log_str("name", strsignal(signal)),
                 log_str("how", cold ? "cold" : "warm"));
        proc_stopping();
        step(io, (struct worker_event){.type = WORKER_EV_STOP, .cold = cold});
    }
}

/* @return true: there may be more, but others have their turn first. */
static bool drain(struct worker_io *io, struct link *l, enum worker_event_type type, uint32_t most)
{
    for (uint32_t i = 0; i < most; i++) {
        struct dtqi_msg msg;
        dtq_err err;

        if (l->sock.zmq == NULL || io->is_over) /* an action may have closed it */
            return false;
        err = sock_recv(&l->sock, io->now_ms, NULL, &msg);
        if (err == DTQ_EAGAIN)
            return false;
        if (err != DTQ_OK)
            continue;
        io->received++;
        step(io, (struct worker_event){.type = type, .msg = &msg});
        dtqi_msg_done(&msg);
    }
    return true;
}

static void on_control_event(struct worker_io *io, enum sock_event event)
{
    if (event == SOCK_CONNECTED)
        step(io, (struct worker_event){.type = WORKER_EV_CONTROL_CONNECTED});
}

/* What had arrived before it broke counts as received (R18): it is handed over first. */
static void on_lane_event(struct worker_io *io, enum sock_event event)
{
    struct worker_event broken = event_of_lane(io); /* a message may bring another lane */

    io->lane.reopen_ms = 0;
    io->lane_until_ms = 0;
    if (event == SOCK_CONNECTED)
        return;
    io->lane.sock.wake.is_empty = false; /* it may have come after the wait */
    (void)drain(io, &io->lane, WORKER_EV_LANE_MSG, UINT32_MAX);
    step(io, broken);
}

static void on_sink_event(struct worker_io *io, uint32_t index, enum sock_event event)
{
    bool is_up = event == SOCK_CONNECTED;

    step(io, event_of_sink(is_up ? WORKER_EV_SINK_CONNECTED : WORKER_EV_SINK_LOST, index));
}

static void drain_monitors(struct worker_io *io)
{
    enum sock_event event;

    while ((event = next_event(io, &io->control)) != SOCK_NOTHING)
        on_control_event(io, event);
    link_reopen(&io->control, io->context, io->now_ms);
    while ((event = next_event(io, &io->lane)) != SOCK_NOTHING)
        on_lane_event(io, event);
    if (io->lane_until_ms != 0 && io->now_ms >= io->lane_until_ms) {
        io->lane_until_ms = 0;
        step(io, event_of_lane(io));
    }
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++) {
        while ((event = next_event(io, &io->sinks[i].link)) != SOCK_NOTHING)
            on_sink_event(io, i, event);
        link_reopen(&io->sinks[i].link, io->context, io->now_ms);
    }
}

static void check_full_sinks(struct worker_io *io)
{
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++) {
        struct intake *in = &io->sinks[i];

        if (!in->is_full || in->link.sock.zmq == NULL || !sock_is_writable(&in->link.sock))
            continue;
        in->is_full = false;
        step(io, event_of_sink(WORKER_EV_SINK_WRITABLE, i));
    }
}

static void announce(struct worker_io *io)
{
    char pairs[DTQI_ENDPOINT_BYTES_MAX + 2 * DTQI_NAME_BYTES_MAX];
    const struct worker_cfg *w = &io->cfg->worker;

    if (io->is_ready)
        return;
    io->is_ready = true;
    snprintf(pairs, sizeof pairs, "name=%.*s slots=%u ventilator=%s", (int)w->name.len, w->name.at,
             w->slots, io->cfg->ventilator);
    proc_ready(pairs);
}

static void drain_slots(struct worker_io *io, bool look)
{
    struct worker_event ev;

    slot_pool_poll(io->slots, io->now_ms);
    if (look || io->now_ms != io->looked_ms) {
        io->looked_ms = io->now_ms;
        slot_pool_look(io->slots, io->now_ms);
    }
    while (!io->is_over && slot_pool_next(io->slots, io->now_ms, proc_wall_ms(),
                                          worker_result_room_bytes(io->core), &ev)) {
        step(io, ev);
        if (ev.type == WORKER_EV_SLOT_READY)
            announce(io);
    }
}

/* ---------------------------------------------------------------- the loop */

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t deadline_ms(const struct worker_io *io)
{
    uint64_t at = sooner(worker_deadline_ms(io->core), slot_pool_deadline_ms(io->slots));

    at = sooner(at, io->trim_at_ms);
    if (io->alive_every_ms != 0)
        at = sooner(at, io->alive_at_ms);
    if (io->lane_until_ms != 0)
        at = sooner(at, io->lane_until_ms);
    if (io->control.reopen_ms != 0)
        at = sooner(at, io->control.reopen_ms);
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++)
        if (io->sinks[i].link.reopen_ms != 0)
            at = sooner(at, io->sinks[i].link.reopen_ms);
    return at;
}

static long timeout_ms(uint64_t at_ms)
{
    uint64_t now_ms = proc_now_ms();

    if (at_ms <= now_ms)
        return 0;
    return at_ms - now_ms < WAIT_MS_MAX ? (long)(at_ms - now_ms) : WAIT_MS_MAX;
}

/* @return true: nothing came until the deadline. */
static bool wait(struct worker_io *io, bool more)
{
    struct sock_poll p;
    uint64_t at_ms = deadline_ms(io);
    int found;

    sock_poll_begin(&p);
    sock_poll_fd(&p, io->signal_fd);
    sock_poll_fd(&p, slot_pool_fd(io->slots));
    sock_poll_sock(&p, &io->control.sock);
    sock_poll_monitor(&p, &io->control.monitor);
    sock_poll_sock(&p, &io->lane.sock);
    sock_poll_monitor(&p, &io->lane.monitor);
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++) {
        sock_poll_monitor(&p, &io->sinks[i].link.monitor);
        if (io->sinks[i].is_full)
            sock_poll_sock(&p, &io->sinks[i].link.sock);
    }
    found = sock_poll_wait(&p, more ? 0 : timeout_ms(at_ms));
    if (found < 0 && errno != EINTR) {
        log_error("poll_failed", log_str("why", strerror(errno)));
        io->status = 1;
        io->is_over = true;
    }
    io->now_ms = proc_now_ms();
    return found == 0 && io->now_ms >= at_ms;
}

/* What the process does for itself, beside the core. */
static void keep_house(struct worker_io *io, bool was_busy)
{
    if (io->alive_every_ms != 0 && io->now_ms >= io->alive_at_ms) {
        io->alive_at_ms = io->now_ms + io->alive_every_ms;
        proc_alive();
    }
    if (was_busy) {
        io->trim_at_ms = io->now_ms + TRIM_MS;
    } else if (io->now_ms >= io->trim_at_ms) {
        io->trim_at_ms = UINT64_MAX;
        proc_trim();
    }
}

static void loop(struct worker_io *io)
{
    bool more = false;

    while (!io->is_over) {
        uint64_t before = worker_stats(io->core)->tasks_received;
        bool due = wait(io, more);

        on_signals(io);
        drain_monitors(io);
        more = drain(io, &io->control, WORKER_EV_CONTROL_MSG, MESSAGES_PER_ROUND);
        if (drain(io, &io->lane, WORKER_EV_LANE_MSG, MESSAGES_PER_ROUND))
            more = true;
        drain_slots(io, due);
        check_full_sinks(io);
        if (!io->is_over)
            step(io, (struct worker_event){.type = WORKER_EV_TICK});
        keep_house(io, worker_stats(io->core)->tasks_received != before);
    }
}

/* ---------------------------------------------------------------- opening and closing */

static dtq_err open_core(struct worker_io *io)
{
    struct worker_cfg cfg = io->cfg->worker;

    proc_random(&cfg.instance, sizeof cfg.instance);
    proc_random(&cfg.seed, sizeof cfg.seed);
    cfg.ventilator = dtqi_str(io->cfg->ventilator);
    return worker_new(&cfg, &io->core);
}

static bool open_all(struct worker_io *io)
{
    dtq_err err;

    io->signal_fd = proc_signals_open(); /* before any thread */
    io->context = sock_context_new(SOCKETS_MAX);
    if (io->signal_fd < 0 || io->context == NULL) {
        log_error("start_failed", log_str("why", strerror(errno)));
        return false;
    }
    err = open_core(io);
    if (err == DTQ_OK)
        err = slot_pool_open(&io->cfg->slots, &io->slots);
    if (err != DTQ_OK)
        log_error("start_failed", log_str("why", dtq_strerror(err)));
    return err == DTQ_OK && open_link(io, &io->control, dtqi_str(io->cfg->ventilator));
}

/* What was sent last, outcomes and BYE, may still have to leave. */
static void close_all(struct worker_io *io)
{
    proc_shutdown_watchdog(WATCHDOG_S);
    slot_pool_close(io->slots);
    link_close(&io->lane);
    link_close_linger(&io->control, GOODBYE_MS);
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++)
        link_close_linger(&io->sinks[i].link, GOODBYE_MS);
    sock_context_free(io->context);
    worker_actions_done(&io->actions);
    worker_free(io->core);
    if (io->signal_fd >= 0)
        close(io->signal_fd);
    proc_shutdown_watchdog(0);
}

int worker_io_run(const struct worker_io_cfg *cfg)
{
    struct worker_io io = {
        .cfg = cfg,
        .signal_fd = -1,
        .status = 1,
        .control = {.kind = SOCK_CONTROL_PEER},
        .lane = {.kind = SOCK_LANE_PEER},
    };

    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++)
        io.sinks[i].link.kind = SOCK_INTAKE_PEER;
    io.now_ms = proc_now_ms();
    io.trim_at_ms = io.now_ms + TRIM_MS;
    io.alive_every_ms = proc_watchdog_ms();
    if (open_all(&io))
        loop(&io);
    close_all(&io);
    return io.status;
}
