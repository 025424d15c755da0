#include "sink_io.h"

#include "link.h"
#include "log.h"
#include "proc.h"
#include "sink_core.h"
#include "sock.h"
#include "sock_guard.h"
#include "work.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define SOCKETS_MAX 16
#define MESSAGES_PER_ROUND 256 /* of one socket, before the others have their turn */
#define MISSED_MAX 256         /* routes that could not be sent to, per step */
#define SYNC_MS 1000           /* --durability=async: the disk is told this often */
#define TRIM_MS 10000          /* without an outcome: memory of busy times is given back */
#define BYE_MS 500
#define WAIT_MS_MAX 3600000L
#define WATCHDOG_S 30
#define WHY_BYTES 600

enum work_kind { WORK_COMMIT, WORK_READ, WORK_SYNC };

struct missed { /* what sending came to, told to the core behind the actions */
    enum sink_event_type type;
    uint32_t route;
};

struct sink_io {
    const struct sink_io_cfg *cfg;
    struct store *store;
    struct results *results;
    struct steady clock;
    struct sink *sink;
    struct sink_actions actions;
    struct work *work;
    void *context;
    struct sock intake;
    struct sock answers; /* the results socket */
    struct link control;
    struct sock_guard *guard; /* of intake and answers */
    int signal_fd;
    bool is_paused;
    bool is_over;
    int status;
    char name[128];
    char intake_told[DTQI_ENDPOINT_BYTES_MAX + 1];
    char answers_told[DTQI_ENDPOINT_BYTES_MAX + 1];
    struct missed missed[MISSED_MAX];
    uint32_t missed_n;

    uint64_t alive_every_ms; /* 0: no service manager asks */
    uint64_t alive_at_ms;
    bool is_synced; /* or told to be */
    struct synced { /* the commit thread's, until it gave the item back */
        dtq_err err;
        char why[WHY_BYTES];
    } synced;
    uint64_t sync_at_ms;
    bool is_trimmed;
    uint64_t trim_at_ms;
    struct log_rate send_rate;
    struct log_rate rejected_rate;
};

static void step(struct sink_io *io, struct sink_event event);

/* ---------------------------------------------------------------- the commit thread */

static void sync_store(struct sink_io *io, struct synced *ret)
{
    ret->err = store_sync(io->store);
    if (ret->err != DTQ_OK)
        snprintf(ret->why, sizeof ret->why, "%s", store_errmsg(io->store));
}

static void run_work(void *arg, struct work_item *items, size_t n)
{
    struct sink_io *io = arg;

    if (n == 0 && io->cfg->durability == STORE_ASYNC)
        sync_store(io, &io->synced);
    for (size_t i = 0; i < n; i++) {
        switch ((enum work_kind)items[i].kind) {
        case WORK_COMMIT: results_apply(io->results, items[i].at); break;
        case WORK_READ: results_read(io->results, items[i].at); break;
        case WORK_SYNC: sync_store(io, items[i].at); break;
        }
    }
}

static void fail(struct sink_io *io, const char *event, const char *why)
{
    log_error(event, log_str("why", why));
    io->status = 1;
    io->is_over = true;
}

static void push_work(struct sink_io *io, enum work_kind kind, void *at)
{
    if (work_push(io->work, (struct work_item){at, kind}) != DTQ_OK)
        fail(io, "out_of_memory", "cannot hand a batch to the commit thread");
}

static void pop_work(struct sink_io *io)
{
    struct work_item item;

    while (!io->is_over && work_pop(io->work, &item)) {
        switch ((enum work_kind)item.kind) {
        case WORK_COMMIT:
            step(io, (struct sink_event){.type = SINK_EV_COMMITTED, .batch = item.at});
            break;
        case WORK_READ:
            step(io, (struct sink_event){.type = SINK_EV_READ_DONE, .read = item.at});
            break;
        case WORK_SYNC:
            if (io->synced.err != DTQ_OK)
                fail(io, "sync_failed", io->synced.why);
            break;
        }
    }
}

/* ---------------------------------------------------------------- actions */

static bool connect_control(struct sink_io *io)
{
    return link_open(&io->control, io->context, dtqi_str(io->cfg->ventilator), proc_now_ms());
}

static void note_missed(struct sink_io *io, enum sink_event_type type, uint32_t route)
{
    uint64_t left_out;

    if (io->missed_n < MISSED_MAX)
        io->missed[io->missed_n++] = (struct missed){type, route};
    if (type == SINK_EV_ROUTE_FULL && log_rate_pass(&io->send_rate, proc_now_ms(), &left_out))
        log_warn("slow_consumer", log_u64("route", route), log_u64("more", left_out));
}

static void send_results(struct sink_io *io, uint32_t route, const struct dtqi_msg *msg)
{
    switch (sock_send(&io->answers, route, msg)) {
    case DTQ_OK: return;
    case DTQ_EUNREACHABLE: note_missed(io, SINK_EV_ROUTE_GONE, route); return;
    default: note_missed(io, SINK_EV_ROUTE_FULL, route); return;
    }
}

static void send_control(struct sink_io *io, const struct dtqi_msg *msg)
{
    /* Not connected, or no room: everything that is said here is said again when it matters. */
    if (io->control.sock.zmq != NULL)
        (void)!sock_send(&io->control.sock, 0, msg);
}

static void write_log(const struct sink_log *l)
{
    static const enum log_level levels[] = {
        [SINK_TRACE] = LOG_LEVEL_TRACE, [SINK_DEBUG] = LOG_LEVEL_DEBUG,
        [SINK_INFO] = LOG_LEVEL_INFO,   [SINK_WARN] = LOG_LEVEL_WARN,
        [SINK_ERROR] = LOG_LEVEL_ERROR,
    };
    struct log_field fields[SINK_LOG_PAIRS_MAX + 1];

    for (uint32_t i = 0; i < l->pairs_n; i++) {
        const struct sink_log_pair *pair = &l->pairs[i];

        fields[i] = pair->text.at != NULL ? log_text(pair->key, pair->text)
                                          : log_u64(pair->key, pair->number);
    }
    fields[l->pairs_n] = log_end();
    log_write(levels[l->level], l->event, fields);
}

static void on_exit_action(struct sink_io *io, const struct sink_action *a)
{
    io->is_over = true;
    io->status = a->status;
    if (a->text.len != 0)
        log_error("exit", log_text("why", a->text));
}

static void commit(struct sink_io *io, struct results_batch *batch)
{
    struct host_time now = proc_host_time();

    batch->mark = steady_mark(&io->clock, &now);
    io->is_synced = false;
    push_work(io, WORK_COMMIT, batch);
}

static void do_action(struct sink_io *io, const struct sink_action *a)
{
    switch (a->type) {
    case SINK_ACT_CONTROL_SEND: send_control(io, &a->msg); return;
    case SINK_ACT_CONTROL_RECONNECT: (void)connect_control(io); return;
    case SINK_ACT_RESULTS_SEND: send_results(io, a->route, &a->msg); return;
    case SINK_ACT_COMMIT: commit(io, a->batch); return;
    case SINK_ACT_READ: push_work(io, WORK_READ, a->read); return;
    case SINK_ACT_INTAKE_PAUSE: io->is_paused = true; return;
    case SINK_ACT_INTAKE_RESUME: io->is_paused = false; return;
    case SINK_ACT_LOG: write_log(&a->log); return;
    case SINK_ACT_EXIT: on_exit_action(io, a); return;
    }
}

static void step_once(struct sink_io *io, struct sink_event event)
{
    struct host_time now = proc_host_time();

    event.now_ms = proc_now_ms();
    event.wall_ms = steady_ms(&io->clock, &now);
    event.host_wall_ms = now.wall_ms;
    sink_step(io->sink, &event, &io->actions);
    for (uint32_t i = 0; i < io->actions.n; i++)
        do_action(io, &io->actions.items[i]);
    sink_actions_reset(&io->actions);
}

static void step(struct sink_io *io, struct sink_event event)
{
    step_once(io, event);
    while (io->missed_n != 0) {
        struct missed m = io->missed[--io->missed_n];

        step_once(io, (struct sink_event){.type = m.type, .route = m.route});
    }
}

/* ---------------------------------------------------------------- the loop */

/* @return false: nothing is left; true: the others have their turn first. */
static bool drain(struct sink_io *io, struct sock *sock, enum sink_event_type type)
{
    struct dtqi_msg msg;
    uint32_t route = 0;

    for (int i = 0; i < MESSAGES_PER_ROUND && !io->is_over; i++) {
        dtq_err err;

        if (sock->zmq == NULL || (sock == &io->intake && io->is_paused))
            return false;
        err = sock_recv(sock, proc_now_ms(), &route, &msg);
        if (err == DTQ_EAGAIN)
            return false;
        if (err != DTQ_OK)
            continue;
        step(io, (struct sink_event){.type = type, .route = route, .msg = &msg});
        dtqi_msg_done(&msg);
    }
    return true;
}

static void note_rejected(struct sink_io *io, uint64_t now_ms)
{
    uint64_t left_out;

    if (log_rate_pass(&io->rejected_rate, now_ms, &left_out))
        log_warn("connection_rejected", log_str("endpoint", io->control.endpoint),
                 log_str("why", "what listens there does not seem to be a ventilator"),
                 log_u64("more", left_out));
}

static void drain_monitor(struct sink_io *io)
{
    uint64_t now_ms = proc_now_ms();
    enum sock_event event;

    while ((event = link_next(&io->control, now_ms)) != SOCK_NOTHING) {
        if (event == SOCK_REJECTED)
            note_rejected(io, now_ms);
        else if (event == SOCK_CONNECTED)
            step(io, (struct sink_event){.type = SINK_EV_CONNECTED});
    }
    link_reopen(&io->control, io->context, now_ms);
}

static bool drain_all(struct sink_io *io)
{
    bool more = drain(io, &io->control.sock, SINK_EV_CONTROL);

    more |= drain(io, &io->answers, SINK_EV_RESULTS);
    if (drain(io, &io->intake, SINK_EV_INTAKE))
        more = true;
    return more;
}

static void on_signals(struct sink_io *io)
{
    int signal;

    while ((signal = proc_signals_next(io->signal_fd)) != 0) {
        if (signal == SIGHUP)
            continue; /* there are no keys to load again */
        log_info("stopping", log_str("signal", strsignal(signal)));
        proc_stopping();
        proc_shutdown_watchdog(WATCHDOG_S);
        step(io, (struct sink_event){.type = SINK_EV_STOP});
        if (signal == SIGQUIT) /* at once */
            step(io, (struct sink_event){.type = SINK_EV_STOP});
    }
}

/* What the process does for itself, beside the core. */
static void keep_house(struct sink_io *io, uint64_t now_ms, bool was_busy)
{
    if (io->alive_every_ms != 0 && now_ms >= io->alive_at_ms) {
        io->alive_at_ms = now_ms + io->alive_every_ms;
        proc_alive();
    }
    sock_guard_look(io->guard, now_ms);
    if (io->cfg->durability == STORE_ASYNC && !io->is_synced && now_ms >= io->sync_at_ms) {
        io->sync_at_ms = now_ms + SYNC_MS;
        io->is_synced = true;
        push_work(io, WORK_SYNC, &io->synced);
    }
    if (was_busy) {
        io->trim_at_ms = now_ms + TRIM_MS;
        io->is_trimmed = false;
    } else if (!io->is_trimmed && now_ms >= io->trim_at_ms) {
        io->is_trimmed = true;
        proc_trim();
    }
}

static uint64_t deadline_ms(const struct sink_io *io)
{
    uint64_t at_ms = sink_deadline_ms(io->sink);

    if (sock_guard_deadline_ms(io->guard) < at_ms)
        at_ms = sock_guard_deadline_ms(io->guard);
    if (io->alive_every_ms != 0 && io->alive_at_ms < at_ms)
        at_ms = io->alive_at_ms;
    if (io->cfg->durability == STORE_ASYNC && !io->is_synced && io->sync_at_ms < at_ms)
        at_ms = io->sync_at_ms;
    if (!io->is_trimmed && io->trim_at_ms < at_ms)
        at_ms = io->trim_at_ms;
    if (io->control.reopen_ms != 0 && io->control.reopen_ms < at_ms)
        at_ms = io->control.reopen_ms;
    return at_ms;
}

static long timeout_ms(const struct sink_io *io)
{
    uint64_t at_ms = deadline_ms(io);
    uint64_t now_ms = proc_now_ms();

    if (at_ms <= now_ms)
        return 0;
    return at_ms - now_ms < WAIT_MS_MAX ? (long)(at_ms - now_ms) : WAIT_MS_MAX;
}

static void wait(struct sink_io *io, bool more)
{
    struct sock_poll p;

    sock_poll_begin(&p);
    sock_poll_fd(&p, io->signal_fd);
    sock_poll_fd(&p, work_fd(io->work));
    sock_poll_sock(&p, &io->answers);
    sock_poll_sock(&p, &io->control.sock);
    sock_poll_monitor(&p, &io->control.monitor);
    if (!io->is_paused)
        sock_poll_sock(&p, &io->intake);
    if (sock_poll_wait(&p, more ? 0 : timeout_ms(io)) < 0 && errno != EINTR)
        fail(io, "poll_failed", strerror(errno));
}

static void loop(struct sink_io *io)
{
    bool more = false;

    while (!io->is_over) {
        uint64_t received = io->intake.received;

        wait(io, more);
        on_signals(io);
        pop_work(io);
        drain_monitor(io);
        more = drain_all(io);
        step(io, (struct sink_event){.type = SINK_EV_TICK});
        keep_house(io, proc_now_ms(), io->intake.received != received);
    }
}

static void start_clock(struct sink_io *io)
{
    struct host_time now = proc_host_time();
    int64_t ahead_ms;

    results_start_clock(io->results, &now, &io->clock);
    ahead_ms = (int64_t)(steady_ms(&io->clock, &now) - now.wall_ms);
    if (ahead_ms <= -(int64_t)STEADY_JUMP_MS || ahead_ms >= (int64_t)STEADY_JUMP_MS)
        log_warn("wall_clock_has_jumped", log_i64("steady_ahead_ms", ahead_ms));
}

/* ---------------------------------------------------------------- opening and closing */

static dtq_err open_store(struct sink_io *io, const dtqi_uid *run, char *why, size_t why_bytes)
{
    struct store_cfg cfg = {
        .dir = io->cfg->data,
        .map_bytes_max = io->cfg->store_bytes_max,
        .durability = io->cfg->durability,
    };
    struct results_cfg results = {
        .ttl_ms = io->cfg->result_ttl_ms,
        .outcome_memory_ms = DTQI_OUTCOME_MEMORY_MS,
    };
    dtq_err err;

    results_store_cfg(&cfg);
    err = store_open(&cfg, &io->store, why, why_bytes);
    if (err != DTQ_OK)
        return err;
    err = results_open(io->store, &results, run, &io->results, why, why_bytes);
    if (err == DTQ_OK)
        start_clock(io);
    return err;
}

/* The endpoint to tell others, for one that was bound. */
static dtq_err tell_endpoint(const struct sink_io *io, const char *bound, char *ret, char *why,
                             size_t why_bytes)
{
    const char *through = io->cfg->advertise_host;
    char host[DTQI_ENDPOINT_BYTES_MAX + 1];
    dtq_err err;

    if (through == NULL) {
        err = sock_endpoint_towards(bound, io->cfg->ventilator, ret);
    } else {
        snprintf(host, sizeof host, strchr(through, ':') != NULL ? "tcp://[%s]:1" : "tcp://%s:1",
                 through);
        err = sock_endpoint_through(dtqi_str(bound), host, ret);
    }
    if (err != DTQ_OK)
        snprintf(why, why_bytes,
                 "it cannot be told under which address others reach %s (%s): say "
                 "--advertise-host",
                 bound, dtq_strerror(err));
    return err;
}

static dtq_err open_sockets(struct sink_io *io, char *why, size_t why_bytes)
{
    const struct sink_io_cfg *cfg = io->cfg;
    dtq_err err;

    io->context = sock_context_new(SOCKETS_MAX);
    if (io->context == NULL) {
        snprintf(why, why_bytes, "cannot make a ZeroMQ context: %s", zmq_strerror(errno));
        return DTQ_EIO;
    }
    io->guard = sock_guard_new();
    if (io->guard == NULL) {
        snprintf(why, why_bytes, "out of memory");
        return DTQ_ENOMEM;
    }
    err = sock_bind(io->context, SOCK_INTAKE, cfg->intake, cfg->insecure, &io->intake, why,
                    why_bytes);
    if (err == DTQ_OK)
        err = sock_bind(io->context, SOCK_RESULTS, cfg->results, cfg->insecure, &io->answers, why,
                        why_bytes);
    if (err == DTQ_OK) {
        sock_guard_watch(io->guard, &io->intake);
        sock_guard_watch(io->guard, &io->answers);
    }
    if (err == DTQ_OK)
        err = tell_endpoint(io, io->intake.endpoint, io->intake_told, why, why_bytes);
    if (err == DTQ_OK)
        err = tell_endpoint(io, io->answers.endpoint, io->answers_told, why, why_bytes);
    return err;
}

static dtq_err open_core(struct sink_io *io, const dtqi_uid *run)
{
    struct sink_cfg cfg;
    char host[64] = "";

    (void)gethostname(host, sizeof host - 1);
    snprintf(io->name, sizeof io->name, "%s:%ld", host, (long)getpid());
    sink_cfg_init(&cfg);
    cfg.store = *store_uid(io->store);
    cfg.run = *run;
    proc_random(&cfg.instance, sizeof cfg.instance);
    cfg.name = io->name;
    cfg.program = "dtq-sink " DTQ_VERSION;
    cfg.ventilator = io->cfg->ventilator;
    cfg.intake = io->intake_told;
    cfg.results = io->answers_told;
    return sink_new(&cfg, &io->sink);
}

static dtq_err open_all(struct sink_io *io, char *why, size_t why_bytes)
{
    dtqi_uid run;
    dtq_err err;

    io->signal_fd = proc_signals_open();
    if (io->signal_fd < 0) {
        snprintf(why, why_bytes, "cannot read signals: %s", strerror(errno));
        return DTQ_EIO;
    }
    proc_random(&run, sizeof run);
    err = open_store(io, &run, why, why_bytes);
    if (err == DTQ_OK)
        err = open_sockets(io, why, why_bytes);
    if (err != DTQ_OK)
        return err;
    err = open_core(io, &run);
    if (err == DTQ_OK)
        err = work_start("commit", run_work, io, 1, &io->work);
    if (err == DTQ_OK && !connect_control(io))
        err = DTQ_EIO;
    if (err != DTQ_OK)
        snprintf(why, why_bytes, "cannot start: %s", dtq_strerror(err));
    return err;
}

static void say_ready(struct sink_io *io)
{
    char pairs[2 * DTQI_ENDPOINT_BYTES_MAX + 64];

    snprintf(pairs, sizeof pairs, "intake=%s results=%s", io->intake_told, io->answers_told);
    log_info("started", log_str("intake", io->intake_told), log_str("results", io->answers_told),
             log_str("ventilator", io->cfg->ventilator), log_str("data", io->cfg->data));
    io->alive_every_ms = proc_watchdog_ms();
    proc_ready(pairs);
}

static void close_all(struct sink_io *io)
{
    if (io->work != NULL)
        work_stop(
            io->work); /* what was handed over is committed; it is answered when asked again */
    work_free(io->work);
    if (io->synced.err != DTQ_OK && io->status == 0)
        fail(io, "sync_failed", io->synced.why);
    sock_close(&io->intake);
    sock_close_linger(&io->answers, BYE_MS);
    link_close_linger(&io->control, BYE_MS);
    sock_context_free(io->context);
    sock_guard_free(io->guard);
    sink_actions_done(&io->actions);
    sink_free(io->sink);
    results_close(io->results);
    store_close(io->store);
    if (io->signal_fd >= 0)
        close(io->signal_fd);
}

int sink_io_run(const struct sink_io_cfg *cfg)
{
    struct sink_io io = {
        .cfg = cfg,
        .signal_fd = -1,
        .control = {.kind = SOCK_CONTROL_PEER},
        .is_synced = true,
        .is_trimmed = true,
    };
    char why[WHY_BYTES] = "";
    dtq_err err = open_all(&io, why, sizeof why);

    if (err == DTQ_OK) {
        say_ready(&io);
        loop(&io);
    } else {
        log_error("cannot_start", log_str("error", dtq_errname(err)), log_str("why", why));
        io.status = 1;
    }
    close_all(&io);
    return io.status;
}
