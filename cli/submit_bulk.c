/*
 * Bulk submission: tasks are queued as fast as their source gives them; confirmations (and with
 * --wait, results) come in any order and are printed in the order of the lines. What came early
 * waits in a window of lines; the library's bound on open tasks bounds it.
 */
#include "submit.h"

#include "last.h"
#include "proc.h"
#include "progress.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum line_state { LINE_OPEN, LINE_DONE, LINE_REFUSED };

struct line {
    enum line_state state;
    dtq_id id;
    uint64_t number; /* of the line in its source */
    char *text;      /* with --wait: what is to be printed; NULL: nothing */
    size_t text_bytes;
    bool existing; /* its key stands for this id, which was submitted before */
};

struct bulk {
    struct cli *c;
    const struct submit_options *o;
    struct line *ring; /* lines head .. tail - 1, at (index & mask) */
    uint64_t mask;
    uint64_t head;
    uint64_t tail;
    uint64_t submitted;
    uint64_t finished; /* confirmed, or with --wait settled */
    uint64_t failed;
    uint64_t answered;  /* of those submitted: confirmed, or refused */
    uint64_t looked_ms; /* at the clock */
    uint64_t heard_ms;  /* of the last answer; or when the first of those that wait was submitted */
    uint64_t deadline_ms; /* of --timeout; UINT64_MAX: none */
    bool is_late;
    struct last last;
    struct progress bar;
    int status;
};

/* ^C or SIGTERM: no further line is read, what is known to be safe is still told. A second one ends
 * the command at once. */
static volatile sig_atomic_t is_interrupted;

static void on_signal(int number)
{
    (void)number;
    is_interrupted = 1;
}

/* Without SA_RESTART: a read from a terminal or a pipe ends, too. */
static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};

    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static struct line *line_at(struct bulk *b, uint64_t index)
{
    return &b->ring[index & b->mask];
}

static void grow(struct bulk *b)
{
    uint64_t mask = 2 * b->mask + 1;
    struct line *ring = malloc((mask + 1) * sizeof *ring);

    if (ring == NULL)
        cli_out_of_memory();
    for (uint64_t i = b->head; i != b->tail; i++)
        ring[i & mask] = *line_at(b, i);
    free(b->ring);
    b->ring = ring;
    b->mask = mask;
}

static uint64_t add_line(struct bulk *b, uint64_t number)
{
    if (b->tail - b->head > b->mask)
        grow(b);
    *line_at(b, b->tail) = (struct line){.number = number};
    return b->tail++;
}

/* A line that was refused has said so already. */
static void print_line(struct bulk *b, const struct line *l)
{
    char text[DTQ_ID_TEXT_BYTES];

    if (l->state == LINE_REFUSED)
        return;
    if (b->o->wait) {
        if (l->text != NULL)
            fwrite(l->text, 1, l->text_bytes, stdout);
        return;
    }
    dtq_id_format(&l->id, text);
    if (b->c->json)
        cli_print_json(json_pack("{s:s, s:I, s:b}", "id", text, "line", (json_int_t)l->number,
                                 "existing", l->existing));
    else
        puts(text);
}

static void print_what_is_next(struct bulk *b)
{
    while (b->head != b->tail && line_at(b, b->head)->state != LINE_OPEN) {
        struct line *l = line_at(b, b->head);

        if (l->state == LINE_DONE)
            last_add(&b->last, &l->id);
        print_line(b, l);
        free(l->text);
        b->head++;
    }
    progress_show(&b->bar, b->finished, b->failed);
}

static void refuse(struct bulk *b, struct line *l, int status, const char *why)
{
    b->status = cli_worse(
        b->status, cli_error(b->c, status, "line %llu: %s", (unsigned long long)l->number, why));
    b->failed++;
    b->finished++;
    l->state = LINE_REFUSED;
}

/* Its result is that of another task, which is not waited for. */
static void say_existing(const struct bulk *b, const struct line *l)
{
    char text[DTQ_ID_TEXT_BYTES];

    dtq_id_format(&l->id, text);
    cli_error(b->c, 0, "line %llu: its key stands for %s, which was submitted before",
              (unsigned long long)l->number, text);
}

static void on_submitted(struct bulk *b, const dtq_submitted *s)
{
    struct line *l = line_at(b, s->tag);

    b->answered++;
    b->heard_ms = proc_now_ms();
    l->id = s->id;
    l->existing = s->err == DTQ_EEXISTS;
    if (l->existing) {
        say_existing(b, l);
        l->state = LINE_DONE;
        b->finished++;
        return;
    }
    if (s->err != DTQ_OK) {
        refuse(b, l, s->err == DTQ_EBUSY || s->err == DTQ_ENOSPC ? CLI_BUSY : CLI_FAILED,
               s->text[0] != '\0' ? s->text : dtq_strerror(s->err));
        return;
    }
    if (b->o->wait)
        return;
    l->state = LINE_DONE;
    b->finished++;
}

/* What a finished task prints: its result and a newline, or nothing where it failed. Copied, as its
 * turn may come late. */
static void keep_text(struct line *l, const void *at, size_t bytes)
{
    l->text = malloc(bytes + 1);
    if (l->text == NULL)
        cli_out_of_memory();
    memcpy(l->text, at, bytes);
    l->text_bytes = bytes;
    if (bytes == 0 || l->text[bytes - 1] != '\n')
        l->text[l->text_bytes++] = '\n';
}

static void keep_json(struct line *l, const dtq_result *r)
{
    json_t *o = cli_json_result(r, true);
    char *text;

    json_object_set_new(o, "line", json_integer((json_int_t)l->number));
    text = json_dumps(o, JSON_COMPACT | JSON_ENSURE_ASCII);
    if (text == NULL)
        cli_out_of_memory();
    keep_text(l, text, strlen(text));
    free(text);
    json_decref(o);
}

static void on_result(struct bulk *b, const dtq_result *r)
{
    struct line *l = line_at(b, r->tag);
    int status = cli_status_of_state(r->state);
    char reason[64];

    l->id = r->id;
    if (b->c->json) {
        keep_json(l, r);
    } else if (r->state == DTQ_SUCCEEDED) {
        keep_text(l, r->body, r->body_bytes);
    } else {
        cli_reason_text(r->reason, r->code, reason, sizeof reason);
        cli_error(b->c, 0, "line %llu: %s%s%s%s%.*s", (unsigned long long)l->number,
                  dtq_state_name(r->state), r->state == DTQ_FAILED ? " (" : "",
                  r->state == DTQ_FAILED ? reason : "", r->state == DTQ_FAILED ? "): " : "",
                  (int)r->body_bytes, (const char *)r->body);
    }
    b->failed += status != CLI_DONE;
    b->status = cli_worse(b->status, status);
    l->state = LINE_DONE;
    b->finished++;
}

/* Without a time-out of the user's: some line is confirmed in the time that a single task has for
 * that. With --wait, what was confirmed makes room for the others when it ends, whenever that is.
 */
static uint64_t end_ms(const struct bulk *b)
{
    bool waits_for_results = b->o->wait && b->answered != 0;

    if (b->deadline_ms != UINT64_MAX || b->answered == b->submitted || waits_for_results)
        return b->deadline_ms;
    return b->heard_ms + SUBMIT_CONFIRM_MS;
}

#define ROOM_MS 200
#define STALL_MS 10000 /* nothing here waits for so long at a time */

/* While this process stood still, nobody was silent: it was stopped, or nobody read what it prints.
 */
static void note_stall(struct bulk *b, uint64_t now_ms)
{
    uint64_t stood_ms = now_ms - b->looked_ms;

    b->looked_ms = now_ms;
    if (stood_ms <= STALL_MS)
        return;
    b->heard_ms = b->heard_ms + stood_ms < now_ms ? b->heard_ms + stood_ms : now_ms;
    if (b->deadline_ms != UINT64_MAX)
        b->deadline_ms += stood_ms;
}

/* From here on the cluster is waited for. */
static void start_clock(struct bulk *b)
{
    b->looked_ms = proc_now_ms();
    if (b->o->timeout_given)
        b->deadline_ms = b->looked_ms + b->o->timeout_ms;
}

static int32_t time_left(struct bulk *b, int32_t at_most_ms)
{
    uint64_t now_ms = proc_now_ms();
    uint64_t until_ms;

    note_stall(b, now_ms);
    until_ms = end_ms(b);

    if (until_ms <= now_ms)
        return 0;
    return until_ms - now_ms < (uint64_t)at_most_ms ? (int32_t)(until_ms - now_ms) : at_most_ms;
}

/* Take events: all that are there, waiting up to `timeout_ms` for the first. */
static dtq_err take_events(struct bulk *b, int32_t timeout_ms)
{
    dtq_event event;
    dtq_err err = dtq_next_event(b->c->client, timeout_ms, &event);
    dtq_err first = err;

    while (err == DTQ_OK) {
        if (event.type == DTQ_EVENT_SUBMITTED)
            on_submitted(b, &event.submitted);
        else
            on_result(b, &event.result);
        err = dtq_next_event(b->c->client, 0, &event);
    }
    print_what_is_next(b);
    return first;
}

/* Of waiting for events: more may come if it is gone on with. */
static bool may_pass(dtq_err err)
{
    return err == DTQ_ETIMEOUT || err == DTQ_EAGAIN || err == DTQ_EUNREACHABLE || err == DTQ_EBUSY;
}

/* The library has no room while confirmations (or results) are under way: taking events makes some.
 */
static dtq_err queue_task(struct bulk *b, dtq_task *task)
{
    for (;;) {
        dtq_err err = dtq_submit_async(b->c->client, task, 0, NULL);
        dtq_err taken;

        if (err != DTQ_EAGAIN && err != DTQ_EBUSY)
            return err;
        if (is_interrupted)
            return DTQ_EAGAIN;
        if (time_left(b, ROOM_MS) == 0)
            return DTQ_ETIMEOUT;
        taken = take_events(b, time_left(b, ROOM_MS));
        if (taken != DTQ_OK && !may_pass(taken))
            return taken;
    }
}

/* Silence of the input is not the cluster's: while every line has its answer, no time passes. */
static bool is_late(struct bulk *b)
{
    if (b->head != b->tail)
        return time_left(b, ROOM_MS) == 0;
    start_clock(b);
    return false;
}

/* While there is no input, the client works: `tail -f` may be the other end. false: no more is to
 * be read, though there may be some. */
static bool wait_for_input(void *arg, int fd)
{
    struct bulk *b = arg;
    struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = -1, .events = POLLIN}};

    while (!is_interrupted) {
        b->is_late = is_late(b);
        if (b->is_late)
            return false;
        if (poll(fds, 1, 0) > 0)
            return true;
        fds[1].fd = dtq_client_fd(b->c->client);
        take_events(b, 0);
        fflush(stdout);
        poll(fds, 2, b->head != b->tail ? time_left(b, ROOM_MS) : ROOM_MS);
    }
    return false;
}

/* The time is up, for want of `err`. If the ventilator refuses tasks for now, that is the reason;
 * if all are confirmed, it is results that did not come. */
static int say_late(struct bulk *b, dtq_err err, const char *what)
{
    dtq_err unconfirmed = dtq_flush(b->c->client, 0);

    if (unconfirmed != DTQ_OK)
        return cli_fail(b->c, unconfirmed, "%s", what);
    if (err == DTQ_EUNREACHABLE)
        return cli_fail(b->c, err, "%s", what);
    return cli_error(b->c, CLI_TIMED_OUT, "%s: %s", what, dtq_strerror(DTQ_ETIMEOUT));
}

static int submit_all(struct bulk *b, struct bulk_source *source)
{
    dtq_task task;
    enum bulk_next next;
    char what[96];
    dtq_err err;
    unsigned since = 0;

    source->wait = wait_for_input;
    source->wait_arg = b;
    submit_task_init(b->o, &task);
    while (!is_interrupted && (next = source->next(source, &task)) != BULK_END) {
        uint64_t index;

        if (next == BULK_ERROR)
            return cli_error(b->c, CLI_FAILED, "%s", source->why);
        index = add_line(b, source->line);
        if (next == BULK_BAD_LINE) {
            refuse(b, line_at(b, index), CLI_FAILED, source->why);
            continue;
        }
        task.tag = index;
        err = queue_task(b, &task);
        if (err == DTQ_EINVAL || err == DTQ_ETOOBIG) {
            refuse(b, line_at(b, index), CLI_FAILED, dtq_client_errmsg(b->c->client));
            continue;
        }
        if (err == DTQ_EAGAIN) { /* interrupted: this one was not sent */
            b->tail--;
            break;
        }
        if (err != DTQ_OK) {
            line_at(b, index)->state = LINE_REFUSED;
            snprintf(what, sizeof what, "line %llu and those behind it were not submitted",
                     (unsigned long long)source->line);
            return err == DTQ_ETIMEOUT ? say_late(b, err, what) : cli_fail(b->c, err, "%s", what);
        }
        if (b->submitted++ == b->answered)
            b->heard_ms = proc_now_ms();
        if (++since % 256 == 0)
            take_events(b, 0);
    }
    if (!b->is_late)
        return CLI_DONE;
    snprintf(what, sizeof what, "nothing behind line %llu was submitted",
             (unsigned long long)source->line);
    return say_late(b, DTQ_ETIMEOUT, what);
}

/* Until every line has its answer. DTQ_ENOTFOUND: no further event will come. */
static int collect(struct bulk *b)
{
    char what[96];

    while (b->head != b->tail) {
        dtq_err err = take_events(b, time_left(b, ROOM_MS));

        if (err == DTQ_OK)
            continue;
        if (is_interrupted)
            break;
        if (may_pass(err) && time_left(b, ROOM_MS) > 0)
            continue;
        if (b->head == b->tail)
            break;
        snprintf(what, sizeof what, "%llu of %llu lines %s",
                 (unsigned long long)(b->tail - b->head), (unsigned long long)b->tail,
                 b->o->wait ? "have no outcome" : "are not confirmed");
        return may_pass(err) ? say_late(b, err, what) : cli_fail(b->c, err, "%s", what);
    }
    return CLI_DONE;
}

static bool is_confirmed(const struct line *l)
{
    static const dtq_id none;

    return l->state != LINE_REFUSED && memcmp(&l->id, &none, sizeof none) != 0;
}

/* After a failure: the ids that are known to be safe are still printed, each beside its line, so
 * that nothing is lost. @return how many lines have no answer. */
static uint64_t print_the_rest(struct bulk *b)
{
    uint64_t unanswered = 0;

    for (; b->head != b->tail; b->head++) {
        struct line *l = line_at(b, b->head);

        if (is_confirmed(l))
            last_add(&b->last, &l->id);
        if (l->state == LINE_DONE)
            print_line(b, l);
        unanswered += l->state == LINE_OPEN;
        free(l->text);
    }
    return unanswered;
}

static int say_interrupted(const struct bulk *b, uint64_t unanswered)
{
    return cli_error(b->c, CLI_CANCELLED,
                     "interrupted: %llu lines were submitted, %llu of them without an answer yet; "
                     "`dtq cancel last` takes back those that were confirmed",
                     (unsigned long long)b->submitted, (unsigned long long)unanswered);
}

int submit_bulk(struct cli *c, const struct submit_options *o, struct bulk_source *source)
{
    struct bulk b = {.c = c, .o = o, .mask = 1023, .deadline_ms = UINT64_MAX};
    uint64_t unanswered;
    int status;

    b.ring = malloc((b.mask + 1) * sizeof *b.ring);
    if (b.ring == NULL)
        cli_out_of_memory();
    start_clock(&b);
    catch_signals();
    last_begin(&b.last);
    progress_start(&b.bar, o->wait ? "finished" : "confirmed", source->total);
    status = submit_all(&b, source);
    b.bar.total = b.tail;
    if (status == CLI_DONE || b.submitted > 0)
        status = status == CLI_DONE ? collect(&b) : (collect(&b), status);
    unanswered = print_the_rest(&b);
    progress_end(&b.bar);
    last_end(&b.last);
    free(b.ring);
    if (is_interrupted)
        status = say_interrupted(&b, unanswered);
    submit_say_busy(c, o, status);
    return cli_flush(c, status == CLI_DONE ? b.status : status);
}
