#include "vent_io.h"

#include "log.h"
#include "proc.h"
#include "sock.h"
#include "sock_guard.h"
#include "vent_lanes.h"
#include "work.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* One turn of the loop takes in so much at most, so that timers are never starved. ROUTER deals
 * fairly between its peers: a peer that spoke is heard within few turns. */
#define TURN_MS 50u
#define TURN_MESSAGES 16384u

#define RECONNECT_MS 1000u /* a sink's connection that met the wrong kind of peer */
#define SYNC_MS 1000u      /* --durability async: what a crash of the machine may take */
#define TRIM_MS 5000u      /* a period: after a busy one, the first quiet one gives memory back */
#define TRIM_MESSAGES 200u /* messages of a period that could have been busy */
#define STOP_SECONDS 30u   /* a stop that takes longer is cut off */
#define CLOSE_LINGER_MS 1000

enum { WORK_WRITE, WORK_READ, WORK_SYNC };

struct vent_sink {
    struct sock sock;
    struct sock_monitor monitor;
    uint64_t reconnect_at_ms; /* UINT64_MAX: not due */
};

/* What executing actions brought about; stepped after they are all executed. */
struct pending {
    enum vent_event_type type;
    uint32_t number; /* route or sink */
    uint64_t session;
    void *work; /* batch or read */
};

struct vent_io {
    int signals;
    struct store *store;
    struct journal *journal;
    struct steady clock;
    struct work *work;
    bool syncing;        /* a WORK_SYNC is under way */
    uint64_t sync_at_ms; /* UINT64_MAX: nothing to sync */
    bool is_async;
    bool is_unsynced; /* the last flush, at the end, failed */
    struct vent *vent;
    struct vent_actions actions;

    void *context;
    struct sock control;
    struct sock_guard *guard; /* of control */
    struct vent_lanes *lanes;
    struct vent_sink sinks[DTQI_SINKS_MAX];

    struct pending *pending;
    uint32_t pending_n;
    uint32_t pending_room;

    uint64_t alive_ms; /* interval of the service manager's watchdog; 0: none */
    uint64_t alive_at_ms;
    uint64_t trim_at_ms;    /* end of the period in which messages are counted; UINT64_MAX: none */
    uint64_t messages;      /* since its beginning */
    uint64_t messages_peak; /* of any period since memory was given back */

    bool stopping;
    bool done;
    int status;
};

/* ---------------------------------------------------------------- the journal thread */

static void run_work(void *arg, struct work_item *items, size_t n)
{
    struct vent_io *io = arg;

    if (n == 0 && io->is_async)
        io->is_unsynced = store_sync(io->store) != DTQ_OK;
    for (size_t i = 0; i < n; i++) {
        if (items[i].kind == WORK_WRITE)
            journal_apply(io->journal, items[i].at);
        else if (items[i].kind == WORK_READ)
            journal_read(io->journal, items[i].at);
        else if (store_sync(io->store) != DTQ_OK)
            items[i].at = io; /* not NULL: it failed */
    }
}

/* ---------------------------------------------------------------- steps and what follows from them
 */

static void die(struct vent_io *io, const char *why)
{
    log_error("fatal", log_str("why", why));
    io->status = 1;
    io->done = true;
}

static bool reserve_pending(struct vent_io *io, uint32_t n)
{
    uint32_t room = io->pending_room == 0 ? 64 : io->pending_room;
    struct pending *pending;

    while (room < io->pending_n + n)
        room *= 2;
    if (room == io->pending_room)
        return true;
    pending = realloc(io->pending, room * sizeof *pending);
    if (pending == NULL)
        return false;
    io->pending = pending;
    io->pending_room = room;
    return true;
}

static void add_pending(struct vent_io *io, struct pending pending)
{
    assert(io->pending_n < io->pending_room);
    io->pending[io->pending_n++] = pending;
}

static void open_lane(struct vent_io *io, uint64_t session)
{
    char why[SOCK_WHY_BYTES];
    enum vent_event_type type = VENT_EV_LANE_OPENED;

    if (vent_lanes_open(io->lanes, session, why, sizeof why) != DTQ_OK) {
        log_error("lane_failed", log_str("why", why));
        type = VENT_EV_LANE_FAILED;
    }
    add_pending(io, (struct pending){.type = type, .session = session});
}

static void close_sink(struct vent_sink *sink)
{
    sock_monitor_close(&sink->monitor, &sink->sock);
    sock_close(&sink->sock);
    sink->reconnect_at_ms = UINT64_MAX;
}

/* A sink whose connection cannot even be opened stays without one: the core proposes again when it
 * is overdue, and is told each time that nothing was sent. */
static void connect_sink(struct vent_io *io, uint32_t number, struct dtqi_str endpoint)
{
    struct vent_sink *sink = &io->sinks[number];
    char text[DTQI_ENDPOINT_BYTES_MAX + 1];
    char why[SOCK_WHY_BYTES];

    close_sink(sink);
    snprintf(text, sizeof text, "%.*s", (int)endpoint.len, endpoint.at);
    if (sock_connect_monitored(io->context, SOCK_INTAKE_PEER, text, &sink->sock, &sink->monitor,
                               why, sizeof why) != DTQ_OK)
        log_error("sink_connect_failed", log_str("why", why));
}

static void send_to_sink(struct vent_io *io, uint32_t number, const struct dtqi_msg *msg)
{
    struct vent_sink *sink = &io->sinks[number];

    if (sink->sock.zmq == NULL || sock_send(&sink->sock, 0, msg) != DTQ_OK)
        add_pending(io, (struct pending){.type = VENT_EV_SINK_BLOCKED, .number = number});
}

static void send_to_route(struct vent_io *io, uint32_t route, const struct dtqi_msg *msg)
{
    dtq_err err = sock_send(&io->control, route, msg);

    if (err == DTQ_OK)
        return;
    log_debug("route_gone", log_u64("route", route),
              log_str("message", dtqi_msg_type_name(msg->type)), log_str("why", dtq_strerror(err)));
    add_pending(io, (struct pending){.type = VENT_EV_ROUTE_GONE, .number = route});
}

/* Without memory even for the request, the core gets the answer at once. */
static void write_journal(struct vent_io *io, struct journal_batch *batch)
{
    struct host_time now = proc_host_time();

    batch->mark = steady_mark(&io->clock, &now);
    if (work_push(io->work, (struct work_item){.at = batch, .kind = WORK_WRITE}) == DTQ_OK)
        return;
    batch->err = DTQ_ENOMEM;
    add_pending(io, (struct pending){.type = VENT_EV_JOURNAL_WRITTEN, .work = batch});
}

static void read_journal(struct vent_io *io, struct journal_read *read)
{
    if (work_push(io->work, (struct work_item){.at = read, .kind = WORK_READ}) == DTQ_OK)
        return;
    read->err = DTQ_ENOMEM;
    add_pending(io, (struct pending){.type = VENT_EV_JOURNAL_READ_DONE, .work = read});
}

static void write_log(const struct vent_log *log)
{
    static const enum log_level levels[] = {
        [VENT_TRACE] = LOG_LEVEL_TRACE, [VENT_DEBUG] = LOG_LEVEL_DEBUG,
        [VENT_INFO] = LOG_LEVEL_INFO,   [VENT_WARN] = LOG_LEVEL_WARN,
        [VENT_ERROR] = LOG_LEVEL_ERROR,
    };
    struct log_field fields[VENT_LOG_PAIRS_MAX + 1];

    for (uint32_t i = 0; i < log->pairs_n; i++)
        fields[i] = log_text(log->pairs[i].key, log->pairs[i].value);
    fields[log->pairs_n] = log_end();
    log_write(levels[log->level], log->event, fields);
}

static void fatal(struct vent_io *io, struct dtqi_str text)
{
    char why[1024];

    snprintf(why, sizeof why, "%.*s", (int)text.len, text.at);
    die(io, why);
}

static void execute(struct vent_io *io, const struct vent_action *action)
{
    switch (action->type) {
    case VENT_SEND: send_to_route(io, action->route, &action->msg); return;
    case VENT_LANE_OPEN: open_lane(io, action->session); return;
    case VENT_LANE_CLOSE: vent_lanes_close(io->lanes, action->session); return;
    case VENT_LANE_SEND:
        if (vent_lanes_send(io->lanes, action->session, &action->msg) != DTQ_OK)
            add_pending(io,
                        (struct pending){.type = VENT_EV_LANE_BROKEN, .session = action->session});
        return;
    case VENT_SINK_CONNECT: connect_sink(io, action->sink, action->endpoint); return;
    case VENT_SINK_DISCONNECT: close_sink(&io->sinks[action->sink]); return;
    case VENT_SINK_SEND: send_to_sink(io, action->sink, &action->msg); return;
    case VENT_JOURNAL_WRITE: write_journal(io, action->batch); return;
    case VENT_JOURNAL_READ: read_journal(io, action->read); return;
    case VENT_LOG: write_log(&action->log); return;
    case VENT_FATAL: fatal(io, action->text); return;
    case VENT_STOPPED: io->done = true; return;
    }
}

/* One step, and what it asks for. Each action brings about one event at most. */
static void step(struct vent_io *io, struct vent_event *event)
{
    struct host_time now = proc_host_time();

    event->now_ms = proc_now_ms();
    event->wall_ms = steady_ms(&io->clock, &now);
    event->host_wall_ms = now.wall_ms;
    vent_step(io->vent, event, &io->actions);
    if (!reserve_pending(io, io->actions.n)) {
        die(io, "out of memory"); /* the journal has everything that was confirmed */
        return;
    }
    for (uint32_t i = 0; i < io->actions.n; i++)
        execute(io, &io->actions.at[i]);
    vent_actions_reset(&io->actions);
}

/* @return false: it is about a lane that was closed meanwhile. */
static bool to_event(const struct vent_io *io, const struct pending *pending,
                     struct vent_event *ret)
{
    const char *endpoint;

    *ret = (struct vent_event){.type = pending->type};
    switch (pending->type) {
    case VENT_EV_ROUTE_GONE: ret->route = pending->number; return true;
    case VENT_EV_SINK_BLOCKED:
    case VENT_EV_SINK_CONNECTED: ret->sink = pending->number; return true;
    case VENT_EV_LANE_OPENED:
        endpoint = vent_lanes_endpoint(io->lanes, pending->session);
        ret->lane.session = pending->session;
        ret->lane.endpoint = dtqi_str(endpoint != NULL ? endpoint : "");
        return endpoint != NULL;
    case VENT_EV_LANE_FAILED:
    case VENT_EV_LANE_BROKEN: ret->lane.session = pending->session; return true;
    case VENT_EV_JOURNAL_WRITTEN: ret->batch = pending->work; return true;
    case VENT_EV_JOURNAL_READ_DONE: ret->read = pending->work; return true;
    case VENT_EV_TICK:
    case VENT_EV_MSG:
    case VENT_EV_STOP: break;
    }
    return false;
}

/* Steps for what actions brought about, until nothing more follows. */
static void settle(struct vent_io *io)
{
    for (uint32_t i = 0; i < io->pending_n && !io->done; i++) {
        struct vent_event event;

        if (to_event(io, &io->pending[i], &event))
            step(io, &event);
    }
    io->pending_n = 0;
}

static void handle(struct vent_io *io, struct vent_event *event)
{
    step(io, event);
    settle(io);
}

/* ---------------------------------------------------------------- draining */

static void drain_control(struct vent_io *io)
{
    uint64_t now_ms = proc_now_ms();
    uint64_t until_ms = now_ms + TURN_MS;

    for (uint32_t n = 0; n < TURN_MESSAGES && now_ms < until_ms && !io->done; n++) {
        struct vent_event event = {.type = VENT_EV_MSG};
        struct dtqi_msg msg;
        dtq_err err = sock_recv(&io->control, now_ms, &event.msg.route, &msg);

        if (err == DTQ_EAGAIN)
            return;
        io->messages++;
        if (err == DTQ_OK) {
            event.msg.msg = &msg;
            handle(io, &event);
            dtqi_msg_done(&msg);
        }
        now_ms = proc_now_ms();
    }
}

static void on_synced(struct vent_io *io, const struct work_item *item)
{
    io->syncing = false;
    if (item->at != NULL)
        die(io, store_errmsg(io->store));
}

static void on_work(struct vent_io *io, const struct work_item *item)
{
    struct vent_event event = {.type = VENT_EV_JOURNAL_READ_DONE};

    if (item->kind == WORK_SYNC) {
        on_synced(io, item);
        return;
    }
    if (item->kind == WORK_READ) {
        event.read = item->at;
    } else {
        event.type = VENT_EV_JOURNAL_WRITTEN;
        event.batch = item->at;
        if (io->is_async && io->sync_at_ms == UINT64_MAX)
            io->sync_at_ms = proc_now_ms() + SYNC_MS;
    }
    handle(io, &event);
}

static void drain_journal(struct vent_io *io)
{
    struct work_item item;

    while (!io->done && work_pop(io->work, &item))
        on_work(io, &item);
}

static void on_sink_event(struct vent_io *io, uint32_t number, enum sock_event what)
{
    struct vent_event event = {.type = VENT_EV_SINK_CONNECTED, .sink = number};

    if (what == SOCK_CONNECTED)
        handle(io, &event);
    else if (what == SOCK_REJECTED)
        io->sinks[number].reconnect_at_ms = proc_now_ms() + RECONNECT_MS;
}

static void drain_sinks(struct vent_io *io)
{
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++) {
        enum sock_event what;

        while (!io->done && io->sinks[i].monitor.zmq != NULL &&
               (what = sock_monitor_next(&io->sinks[i].monitor)) != SOCK_NOTHING)
            on_sink_event(io, i, what);
    }
}

static void stop(struct vent_io *io)
{
    struct vent_event event = {.type = VENT_EV_STOP};

    io->stopping = true;
    proc_stopping();
    proc_shutdown_watchdog(STOP_SECONDS);
    handle(io, &event);
}

static void on_signal(struct vent_io *io, int signo)
{
    if (signo == SIGHUP) {
        log_info("reload", log_str("why", "there are no keys or limits to read again"));
    } else if (signo == SIGQUIT || (signo == SIGINT && io->stopping)) {
        log_warn("stopped_cold");
        proc_shutdown_watchdog(STOP_SECONDS);
        io->done = true;
    } else if (!io->stopping) {
        stop(io);
    }
}

static void drain_signals(struct vent_io *io)
{
    int signo;

    while (!io->done && (signo = proc_signals_next(io->signals)) != 0)
        on_signal(io, signo);
}

/* ---------------------------------------------------------------- timers of the shell itself */

static void reconnect_sinks(struct vent_io *io, uint64_t now_ms)
{
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++) {
        if (now_ms < io->sinks[i].reconnect_at_ms)
            continue;
        io->sinks[i].reconnect_at_ms = UINT64_MAX;
        sock_reconnect(&io->sinks[i].sock);
    }
}

static void sync_journal(struct vent_io *io, uint64_t now_ms)
{
    if (now_ms < io->sync_at_ms || io->syncing)
        return;
    io->syncing = work_push(io->work, (struct work_item){.kind = WORK_SYNC}) == DTQ_OK;
    io->sync_at_ms = io->syncing ? UINT64_MAX : now_ms + SYNC_MS;
}

/* Memory of a busy time goes back to the machine once a period was quiet, compared with it. */
static void trim_memory(struct vent_io *io, uint64_t now_ms)
{
    if (io->trim_at_ms == UINT64_MAX && io->messages > 0)
        io->trim_at_ms = now_ms + TRIM_MS;
    if (now_ms < io->trim_at_ms)
        return;
    if (io->messages > io->messages_peak) {
        io->messages_peak = io->messages;
    } else if (io->messages_peak > TRIM_MESSAGES && io->messages < io->messages_peak / 4) {
        proc_trim();
        io->messages_peak = io->messages;
    }
    io->messages = 0;
    io->trim_at_ms = io->messages_peak > TRIM_MESSAGES ? now_ms + TRIM_MS : UINT64_MAX;
}

static void tell_alive(struct vent_io *io, uint64_t now_ms)
{
    if (now_ms < io->alive_at_ms)
        return;
    io->alive_at_ms = now_ms + io->alive_ms;
    proc_alive();
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t deadline_ms(const struct vent_io *io)
{
    uint64_t at = earlier(vent_deadline_ms(io->vent), earlier(io->trim_at_ms, io->alive_at_ms));

    at = earlier(at, sock_guard_deadline_ms(io->guard));
    if (!io->syncing)
        at = earlier(at, io->sync_at_ms);
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++)
        at = earlier(at, io->sinks[i].reconnect_at_ms);
    return at;
}

/* ---------------------------------------------------------------- the loop */

static void sleep_until_something(struct vent_io *io)
{
    struct sock_poll p;
    uint64_t now_ms = proc_now_ms();
    uint64_t at_ms = deadline_ms(io);
    long timeout_ms = -1;

    if (at_ms <= now_ms)
        timeout_ms = 0;
    else if (at_ms != UINT64_MAX)
        timeout_ms = at_ms - now_ms < 3600000 ? (long)(at_ms - now_ms) : 3600000;
    sock_poll_begin(&p);
    sock_poll_sock(&p, &io->control);
    sock_poll_fd(&p, io->signals);
    sock_poll_fd(&p, work_fd(io->work));
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++)
        sock_poll_monitor(&p, &io->sinks[i].monitor);
    vent_lanes_poll(io->lanes, &p);
    (void)sock_poll_wait(&p, timeout_ms); /* EINTR: an empty turn */
}

/* Everything is taken in before the core draws conclusions from silence (R13). */
static void turn(struct vent_io *io)
{
    struct vent_event tick = {.type = VENT_EV_TICK};
    uint64_t now_ms;

    drain_signals(io);
    drain_journal(io);
    drain_sinks(io);
    vent_lanes_flush(io->lanes);
    drain_control(io);
    if (io->done)
        return;
    handle(io, &tick);
    now_ms = proc_now_ms();
    sock_guard_look(io->guard, now_ms);
    reconnect_sinks(io, now_ms);
    sync_journal(io, now_ms);
    trim_memory(io, now_ms);
    if (io->alive_ms != 0)
        tell_alive(io, now_ms);
}

int vent_io_run(struct vent_io *io)
{
    while (!io->done) {
        turn(io);
        if (!io->done)
            sleep_until_something(io);
    }
    if (io->status == 0)
        log_info("stopped");
    return io->status;
}

/* ---------------------------------------------------------------- opening and closing */

#define WORKER_FILES 4u /* its connection; its lane: a listener, a connection, a mailbox */

/* Sockets of lanes and connections of peers take open files: what the process may not have, it must
 * refuse by name, since a listener that runs out of them only spins. Workers get most of them. */
static void cut_limits(struct vent_cfg *cfg)
{
    uint64_t files = proc_files_max();
    uint64_t left;

    if (cfg->workers_max > files / (WORKER_FILES + 1))
        cfg->workers_max = (uint32_t)(files / (WORKER_FILES + 1)) + 1;
    left = files - (uint64_t)cfg->workers_max * WORKER_FILES;
    if (cfg->producers_max > left * 3 / 4)
        cfg->producers_max = (uint32_t)(left * 3 / 4) + 1;
}

static dtq_err open_journal(struct vent_io *io, const struct vent_io_cfg *cfg,
                            struct journal_start *ret_start, char *why, size_t why_bytes)
{
    struct store_cfg store = {
        .dir = cfg->data,
        .kind = JOURNAL_KIND,
        .tables = journal_tables,
        .tables_n = JOURNAL_TABLES_N,
        .map_bytes_max = cfg->map_bytes_max,
        .durability = cfg->durability,
    };
    uint32_t random32;
    dtq_err err = store_open(&store, &io->store, why, why_bytes);

    if (err != DTQ_OK)
        return err;
    proc_random(&random32, sizeof random32);
    io->is_async = cfg->durability == STORE_ASYNC;
    return journal_open(io->store, random32, &io->journal, ret_start, why, why_bytes);
}

static dtq_err start_clock(struct vent_io *io, const struct journal_start *start)
{
    struct host_time now = proc_host_time();
    dtq_err err = journal_start_clock(io->journal, start, &now, &io->clock);
    int64_t ahead_ms = (int64_t)(steady_ms(&io->clock, &now) - now.wall_ms);

    if (ahead_ms <= -(int64_t)STEADY_JUMP_MS || ahead_ms >= (int64_t)STEADY_JUMP_MS)
        log_warn("wall_clock_has_jumped", log_i64("steady_ahead_ms", ahead_ms));
    return err;
}

static dtq_err open_core(struct vent_io *io, const struct vent_io_cfg *cfg,
                         const struct journal_start *start, char *why, size_t why_bytes)
{
    struct vent_cfg core = cfg->core;
    struct host_time now;
    dtq_err err;

    proc_random(&core.seed, sizeof core.seed);
    cut_limits(&core);
    err = start_clock(io, start);
    now = proc_host_time();
    if (err == DTQ_OK)
        err = vent_new(&core, start, proc_now_ms(), steady_ms(&io->clock, &now), &io->vent);
    if (err == DTQ_OK)
        err = work_start("dtq-journal", run_work, io, 1, &io->work);
    if (err != DTQ_OK)
        snprintf(why, why_bytes, "cannot start: %s", dtq_strerror(err));
    return err;
}

static dtq_err open_sockets(struct vent_io *io, const struct vent_io_cfg *cfg, char *why,
                            size_t why_bytes)
{
    struct vent_cfg core = cfg->core;
    uint32_t random32;
    dtq_err err;

    cut_limits(&core);
    io->context = sock_context_new(core.workers_max + 2 * DTQI_SINKS_MAX + 16);
    if (io->context == NULL) {
        snprintf(why, why_bytes, "cannot start ZeroMQ: %s", zmq_strerror(errno));
        return DTQ_EIO;
    }
    err = sock_bind(io->context, SOCK_CONTROL, cfg->bind, cfg->insecure, &io->control, why,
                    why_bytes);
    if (err != DTQ_OK)
        return err;
    io->guard = sock_guard_new();
    if (io->guard != NULL)
        sock_guard_watch(io->guard, &io->control);
    proc_random(&random32, sizeof random32);
    io->lanes = vent_lanes_new(io->context, io->control.endpoint, core.workers_max, cfg->lane_lo,
                               cfg->lane_hi, random32);
    if (io->lanes == NULL || io->guard == NULL) {
        snprintf(why, why_bytes, "out of memory");
        return DTQ_ENOMEM;
    }
    return DTQ_OK;
}

dtq_err vent_io_open(const struct vent_io_cfg *cfg, int signals, struct vent_io **ret_io, char *why,
                     size_t why_bytes)
{
    struct vent_io *io = calloc(1, sizeof *io);
    struct journal_start start = {0};
    dtq_err err;

    if (io == NULL) {
        snprintf(why, why_bytes, "out of memory");
        return DTQ_ENOMEM;
    }
    io->signals = signals;
    io->sync_at_ms = io->trim_at_ms = UINT64_MAX;
    io->alive_ms = proc_watchdog_ms();
    io->alive_at_ms = io->alive_ms != 0 ? 0 : UINT64_MAX;
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++)
        io->sinks[i].reconnect_at_ms = UINT64_MAX;

    err = open_journal(io, cfg, &start, why, why_bytes);
    if (err == DTQ_OK)
        err = open_core(io, cfg, &start, why, why_bytes);
    if (err == DTQ_OK)
        err = open_sockets(io, cfg, why, why_bytes);
    journal_start_done(&start);
    if (err != DTQ_OK) {
        vent_io_close(io);
        return err;
    }
    *ret_io = io;
    return DTQ_OK;
}

const char *vent_io_endpoint(const struct vent_io *io)
{
    return io->control.endpoint;
}

void vent_io_close(struct vent_io *io)
{
    if (io == NULL)
        return;
    if (io->work != NULL)
        work_stop(io->work); /* from here on, no other thread touches journal, batches and reads */
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++)
        close_sink(&io->sinks[i]);
    vent_lanes_free(io->lanes);
    sock_close_linger(&io->control, CLOSE_LINGER_MS);
    sock_guard_free(io->guard);
    sock_context_free(io->context);
    vent_free(io->vent);
    vent_actions_done(&io->actions);
    work_free(io->work);
    if (io->is_unsynced)
        log_error("sync_failed", log_str("why", store_errmsg(io->store)));
    journal_close(io->journal);
    store_close(io->store);
    free(io->pending);
    free(io);
}
