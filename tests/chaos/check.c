#include "check.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void check_init(struct check *c, uint64_t seed, uint32_t slow_ms, void (*say)(const char *text))
{
    *c = (struct check){.seed = seed, .slow_ms = slow_ms, .say = say};
}

void check_done(struct check *c)
{
    for (uint32_t i = 0; i < c->logs_n; i++) {
        if (c->logs[i].fd >= 0)
            close(c->logs[i].fd);
        free(c->logs[i].path);
    }
    dtqi_idmap_done(&c->map);
    free(c->facts);
}

static void say_of(struct check *c, const struct fact *f, const char *what)
{
    char id[DTQ_ID_TEXT_BYTES];
    char text[512];

    if (c->said++ >= CHECK_SAYS_MAX)
        return;
    dtq_id_format(&f->id, id);
    snprintf(text, sizeof text,
             "%s: task %s, number %llu of producer %u: %s%s%s; told %s attempt %u, seen %s attempt "
             "%u, held %s attempt %u reason %s; begun %u, succeeded %u, failed %u times",
             what, id, (unsigned long long)f->number, f->producer, f->queued ? "queued" : "untold",
             f->confirmed ? ", confirmed" : "", f->cancelled ? ", cancel asked" : "",
             dtq_state_name((dtq_state)f->told.state), f->told.attempt,
             dtq_state_name((dtq_state)f->seen.state), f->seen.attempt,
             dtq_state_name((dtq_state)f->held.state), f->held.attempt,
             dtq_reason_name((dtq_reason)f->held.reason), f->begun, f->successes, f->failures);
    c->say(text);
}

/* ------------------------------------------------------------------------ facts */

static const dtq_id *id_of(const void *owner, uint32_t index)
{
    return &((const struct check *)owner)->facts[index].id;
}

static struct fact *fact_of(struct check *c, const dtq_id *id)
{
    uint32_t at = dtqi_idmap_get(&c->map, c, id_of, id);

    if (at != DTQI_IDMAP_NONE)
        return &c->facts[at];
    if (c->n == c->room) {
        c->room = 2 * c->room + 4096;
        c->facts = realloc(c->facts, c->room * sizeof *c->facts);
    }
    if (c->facts == NULL || !dtqi_idmap_reserve(&c->map, c->n + 1)) {
        perror("check");
        exit(1);
    }
    c->facts[c->n] = (struct fact){.id = *id};
    dtqi_idmap_add(&c->map, id, c->n);
    return &c->facts[c->n++];
}

static bool is_same(const struct view *left, const struct view *right)
{
    return left->state == right->state && left->attempt == right->attempt &&
           left->reason == right->reason;
}

/* Whoever says how a task ended must say what all others say. */
static void take_view(struct check *c, struct fact *f, struct view *into, struct view view)
{
    const struct view *all[] = {&f->told, &f->seen, &f->held};
    bool first = f->seen.state == 0 && f->held.state == 0;
    bool other = false;

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        other |= all[i]->state != 0 && !is_same(all[i], &view);
    c->totals.settled += first && into != &f->told;
    if (other && c->totals.second++ < CHECK_SAYS_MAX)
        say_of(c, f, "a second outcome; it was");
    *into = view;
    if (other)
        say_of(c, f, "and is now");
}

/* ------------------------------------------------------------------------ logs */

void check_add_log(struct check *c, const char *path)
{
    c->logs[c->logs_n].path = strdup(path);
    c->logs[c->logs_n++].fd = -1;
}

static void take_producer(struct check *c, struct fact *f, const struct record *r)
{
    struct view view = {.state = r->state, .reason = r->reason, .attempt = r->attempt};

    switch ((enum record_kind)r->kind) {
    case RECORD_QUEUED:
        f->queued = true;
        f->number = r->number;
        f->producer = r->producer;
        c->totals.submitted++;
        break;
    case RECORD_CONFIRMED:
        c->totals.confirmed += !f->confirmed;
        f->confirmed = true;
        break;
    case RECORD_REFUSED:
    case RECORD_UNKNOWN:
        c->totals.refused++;
        f->refused = true;
        break;
    case RECORD_CANCEL: f->cancelled = true; break;
    case RECORD_RESULT:
        if (r->state == DTQ_NOT_FOUND) {
            c->totals.wrong++;
            say_of(c, f, "its producer was told that nobody knows it");
            break;
        }
        c->totals.told += f->told.state == 0;
        take_view(c, f, &f->told, view);
        break;
    case RECORD_INTENT:
    case RECORD_BEGUN:
    case RECORD_SUCCESS:
    case RECORD_FAILURE:
    case RECORD_CRASH: break;
    }
}

static void take_handler(struct check *c, struct fact *f, const struct record *r)
{
    f->number = r->number;
    f->producer = r->producer;
    f->begun += r->kind == RECORD_BEGUN;
    f->failures += r->kind == RECORD_FAILURE;
    c->totals.executions += r->kind == RECORD_BEGUN;
    if (r->kind == RECORD_SUCCESS) {
        c->totals.again += f->successes > 0;
        f->successes++;
    }
}

static void take(struct check *c, const struct record *r)
{
    if (r->kind == RECORD_INTENT)
        c->intent[r->producer % CHECK_LOGS_MAX] = r->number;
    else if (strchr("bsfk", r->kind) != NULL)
        take_handler(c, fact_of(c, &r->id), r);
    else
        take_producer(c, fact_of(c, &r->id), r);
}

static void read_log(struct check *c, uint32_t log,
                     void (*taken)(struct check *, const struct record *))
{
    static struct record records[1024];
    ssize_t n;

    if (c->logs[log].fd < 0)
        c->logs[log].fd = open(c->logs[log].path, O_RDONLY | O_CLOEXEC);
    while (c->logs[log].fd >= 0 &&
           (n = pread(c->logs[log].fd, records, sizeof records, (off_t)c->logs[log].at)) >=
               (ssize_t)sizeof *records) {
        size_t whole = (size_t)n / sizeof *records;

        for (size_t i = 0; i < whole; i++)
            taken(c, &records[i]);
        c->logs[log].at += whole * sizeof *records;
    }
}

void check_read(struct check *c)
{
    for (uint32_t i = 0; i < c->logs_n; i++)
        read_log(c, i, take);
}

/* ------------------------------------------------------------------------ outcomes */

static bool has_right_body(const struct check *c, const struct fact *f, const dtq_result *result)
{
    static uint8_t expected[JOB_BYTES_MAX];
    struct job job;
    size_t bytes;

    job_make(c->seed, f->producer, f->number, c->slow_ms, &job);
    bytes = job_result(&job, expected);
    return bytes == result->body_bytes && memcmp(expected, result->body, bytes) == 0;
}

void check_outcome(struct check *c, const dtq_result *result, bool held)
{
    struct fact *f = fact_of(c, &result->id);
    struct view view = {.state = (uint8_t)result->state,
                        .reason = (uint8_t)result->reason,
                        .attempt = result->attempt};

    take_view(c, f, held ? &f->held : &f->seen, view);
    if (!held)
        return;
    c->totals.states[result->state]++;
    if (result->state == DTQ_SUCCEEDED && f->number != 0 && !has_right_body(c, f, result)) {
        c->totals.wrong++;
        say_of(c, f, "not the result of this task");
    }
}

uint64_t check_open(const struct check *c)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < c->n; i++)
        n += c->facts[i].confirmed && c->facts[i].seen.state == 0 && c->facts[i].held.state == 0;
    return n;
}

/* ------------------------------------------------------------------------ the end */

/* The attempt that made the outcome was executed to its end. */
static void take_proof(struct check *c, const struct record *r)
{
    struct fact *f;

    if (r->kind != RECORD_SUCCESS)
        return;
    f = fact_of(c, &r->id);
    f->proven |= f->held.state == DTQ_SUCCEEDED && f->held.attempt == r->attempt;
}

/* NULL: this is how it may end. */
static const char *end_problem(const struct check *c, const struct fact *f)
{
    enum dtq_state state = (dtq_state)f->held.state;
    struct job job;

    job_make(c->seed, f->producer, f->number, c->slow_ms, &job);
    if (state == DTQ_SUCCEEDED)
        return !f->proven                ? "succeeded without an execution of that attempt"
               : job.kind == JOB_FAILING ? "succeeded, and cannot"
                                         : NULL;
    if (state == DTQ_FAILED && job.kind == JOB_FAILING)
        return f->held.reason != DTQ_REASON_ERROR ? "failed for another reason than its own"
               : f->failures <= job.retries       ? "failed before its retries were used up"
                                                  : NULL;
    if (state == DTQ_EXPIRED)
        return job.kind == JOB_EXPIRING ? NULL : "expired, and cannot";
    if (state == DTQ_CANCELLED)
        return f->cancelled ? NULL : "cancelled, and nobody asked";
    return "ended in a way it cannot";
}

/* Its producer was killed between submitting it and writing that down. */
static bool is_untold(const struct check *c, const struct fact *f)
{
    return !f->queued && f->number != 0 && f->number <= c->intent[f->producer % CHECK_LOGS_MAX];
}

static const char *problem(struct check *c, const struct fact *f, bool settled)
{
    if (f->held.state == 0 && !settled)
        return NULL;
    if (f->held.state == 0) {
        if (f->confirmed || f->told.state != 0 || f->seen.state != 0) {
            c->totals.lost++;
            return "LOST";
        }
        if (f->queued && !f->refused)
            return "neither confirmed nor refused";
        return NULL;
    }
    if (!f->queued && f->number == 0 && f->held.state == DTQ_EXPIRED) {
        c->totals.untold++; /* never begun: no handler could tell whose it was */
        return NULL;
    }
    if (!f->queued && !is_untold(c, f))
        return "an outcome of a task that nobody submitted";
    c->totals.untold += !f->queued;
    return f->refused ? "refused, and has an outcome" : end_problem(c, f);
}

bool check_end(struct check *c, bool settled)
{
    check_read(c);
    for (uint32_t i = 0; i < c->logs_n; i++) {
        c->logs[i].at = 0;
        read_log(c, i, take_proof);
    }
    for (uint32_t i = 0; i < c->n; i++) {
        const char *what = problem(c, &c->facts[i], settled);

        if (what == NULL)
            continue;
        c->totals.wrong += strcmp(what, "LOST") != 0;
        say_of(c, &c->facts[i], what);
    }
    return c->totals.lost == 0 && c->totals.second == 0 && c->totals.wrong == 0;
}
