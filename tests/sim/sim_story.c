#include "sim_parts.h"

#include <stdarg.h>
#include <stdio.h>

/*
 * The story: what a reader would want to know, a line each, with the virtual time in milliseconds.
 * The trace, to stdout: that, every message and every line of a log.
 */

const char *story_task(uint32_t task, char ret[8])
{
    if (task < 26)
        snprintf(ret, 8, "%c", (int)('a' + task));
    else
        snprintf(ret, 8, "t%u", task % 100000);
    return ret;
}

static void keep(struct sim *s, const char *line, uint32_t len)
{
    if (s->story_n + len + 2 > s->story_room) {
        s->story_room = 2 * s->story_room + len + 4096;
        s->story = realloc(s->story, s->story_room);
        assert(s->story != NULL);
    }
    memcpy(s->story + s->story_n, line, len);
    s->story_n += len;
    s->story[s->story_n++] = '\n';
    s->story[s->story_n] = 0;
}

static int begin_line(const struct sim *s, char *line, size_t bytes)
{
    return snprintf(line, bytes, "[%6llu] ", (unsigned long long)sim_now_ms(s));
}

void story(struct sim *s, const char *format, ...)
{
    char line[300];
    int head;
    int len;
    va_list args;

    if (s->cfg.is_quiet && !s->cfg.trace)
        return;
    head = begin_line(s, line, sizeof line);
    va_start(args, format);
    len = head + vsnprintf(line + head, sizeof line - (size_t)head, format, args);
    va_end(args);
    if (len >= (int)sizeof line)
        len = (int)sizeof line - 1;
    if (s->cfg.trace)
        printf("%s\n", line);
    else
        keep(s, line, (uint32_t)len);
}

const char *sim_story(const struct sim *s)
{
    return s->story != NULL ? s->story : "";
}

void trace(struct sim *s, const char *format, ...)
{
    char line[800];
    int head;
    va_list args;

    if (!s->cfg.trace)
        return;
    head = begin_line(s, line, sizeof line);
    va_start(args, format);
    vsnprintf(line + head, sizeof line - (size_t)head, format, args);
    va_end(args);
    printf("%s\n", line);
}

void sim_fail(struct sim *s, const char *format, ...)
{
    va_list args;
    int head;

    if (s->has_failed)
        return;
    s->has_failed = true;
    head = snprintf(s->failure, sizeof s->failure,
                    "seed %llu, at %llu ms: ", (unsigned long long)s->cfg.seed,
                    (unsigned long long)sim_now_ms(s));
    va_start(args, format);
    vsnprintf(s->failure + head, sizeof s->failure - (size_t)head, format, args);
    va_end(args);
    if (s->cfg.trace)
        printf("FAILED: %s\n", s->failure);
}

/* ---------------------------------------------------------------- messages in words */

struct words {
    const struct sim *s;
    char text[1000];
    size_t n;
};

static void say(struct words *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct words *w, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(w->text + w->n, sizeof w->text - w->n, format, args);
    va_end(args);
    w->n += n > 0 ? (size_t)n : 0;
    if (w->n >= sizeof w->text)
        w->n = sizeof w->text - 1;
}

static void say_ids(struct words *w, const char *what, const dtq_id *ids, uint32_t n)
{
    char name[8];

    if (n == 0)
        return;
    say(w, " %s", what);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t task = check_task(w->s, &ids[i]);

        say(w, "%s%s", i == 0 ? "" : ",", task != NONE ? story_task(task, name) : "?");
    }
}

static void say_numbers(struct words *w, const char *what, const uint32_t *column, uint32_t n)
{
    if (n == 0 || column == NULL)
        return;
    say(w, " %s", what);
    for (uint32_t i = 0; i < n; i++)
        say(w, "%s%u", i == 0 ? "" : ",", column[i]);
}

static void say_report(struct words *w, const struct dtqi_report *m)
{
    say(w, " seq=%llu credit=%llu", (unsigned long long)m->report_seq,
        (unsigned long long)m->credit_tasks);
    say_numbers(w, "done=", m->done_tickets, m->done_n);
    for (uint32_t i = 0; i < m->failures_n; i++) {
        say_ids(w, "failed=", &m->failures[i].id, 1);
        say(w, "#%u(%s)", m->failures[i].attempt, dtq_reason_name(m->failures[i].reason));
    }
    say_ids(w, "returned=", m->returned_ids, m->returned_n);
    say_ids(w, "stopped=", m->stopped_ids, m->stopped_n);
    say_ids(w, "started=", m->started_ids, m->started_n);
}

static void say_settled(struct words *w, const struct dtqi_settled *m)
{
    say(w, " first=%llu head=%llu dropped=%llu%s", (unsigned long long)m->number_first,
        (unsigned long long)m->number_head, (unsigned long long)m->number_dropped,
        m->diverged ? " diverged" : "");
    say_ids(w, "ids=", m->ids, m->n);
    say_numbers(w, "kinds=", m->kinds, m->n);
}

static void say_heartbeat(struct words *w, const struct dtqi_worker_heartbeat *m)
{
    say(w, " n=%llu lane=%u report=%llu credit=%llu held=%u", (unsigned long long)m->sequence,
        m->lane_seq, (unsigned long long)m->report_seq, (unsigned long long)m->credit_tasks,
        m->held);
    say_ids(w, "running=", m->running_ids, m->running_n);
}

static void say_more(struct words *w, const struct dtqi_msg *m)
{
    switch (m->type) {
    case DTQI_HELLO: say(w, " role=%d holdings=%u", (int)m->hello.role, m->hello.holdings); return;
    case DTQI_WELCOME:
        say(w, " session=%llu epoch=%llx sinks=%u", (unsigned long long)m->welcome.session,
            (unsigned long long)m->welcome.epoch, m->welcome.sinks_n);
        return;
    case DTQI_REFUSED:
        say(w, " %d %.*s", (int)m->refused.reason, (int)m->refused.text.len, m->refused.text.at);
        return;
    case DTQI_SUBMIT:
        say(w, " request=%llu%s", (unsigned long long)m->submit.request,
            m->submit.resend ? " resend" : "");
        say_ids(w, "ids=", m->submit.ids, m->submit.n);
        return;
    case DTQI_SUBMITTED:
        say(w, " request=%llu", (unsigned long long)m->submitted.request);
        say_numbers(w, "refused=", m->submitted.refused_index, m->submitted.refused_n);
        say_numbers(w, "reasons=", m->submitted.refused_reason, m->submitted.refused_n);
        if (m->submitted.refused_n != 0)
            say(w, " \"%.*s\"", (int)m->submitted.refused_text[0].len,
                m->submitted.refused_text[0].at);
        return;
    case DTQI_TASKS:
        say(w, " seq=%u", m->tasks.lane_seq);
        say_ids(w, "ids=", m->tasks.ids, m->tasks.n);
        say_numbers(w, "attempts=", m->tasks.attempts, m->tasks.n);
        return;
    case DTQI_WORKER_HEARTBEAT: say_heartbeat(w, &m->worker_heartbeat); return;
    case DTQI_VENTILATOR_HEARTBEAT:
        say(w, " echo=%llu report=%llu lane=%u", (unsigned long long)m->ventilator_heartbeat.echo,
            (unsigned long long)m->ventilator_heartbeat.report_seq,
            m->ventilator_heartbeat.lane_seq);
        return;
    case DTQI_REPORT: say_report(w, &m->report); return;
    case DTQI_FORGET:
        say_ids(w, "ids=", m->forget.ids, m->forget.n);
        say_numbers(w, "attempts=", m->forget.attempts, m->forget.n);
        return;
    case DTQI_RESEND: say_ids(w, "ids=", m->resend.ids, m->resend.n); return;
    case DTQI_STOP_ATTEMPTS: say_ids(w, "ids=", m->stop_attempts.ids, m->stop_attempts.n); return;
    case DTQI_RECALL: say(w, " count=%u", m->recall.count); return;
    case DTQI_HOLDINGS:
        say_ids(w, "ids=", m->holdings.ids, m->holdings.n);
        say_numbers(w, "attempts=", m->holdings.attempts, m->holdings.n);
        say_numbers(w, "states=", m->holdings.states, m->holdings.n);
        say(w, "%s", m->holdings.last ? " last" : "");
        return;
    case DTQI_VERDICTS:
        say_ids(w, "ids=", m->verdicts.ids, m->verdicts.n);
        say_numbers(w, "verdicts=", m->verdicts.verdicts, m->verdicts.n);
        return;
    case DTQI_RESUME: say(w, " after=%llu", (unsigned long long)m->resume.after); return;
    case DTQI_SETTLED: say_settled(w, &m->settled); return;
    case DTQI_SETTLED_ACK:
        say(w, " number=%llu", (unsigned long long)m->settled_ack.number);
        return;
    case DTQI_CLAIM: say_ids(w, "ids=", m->claim.ids, m->claim.n); return;
    case DTQI_CLAIM_REPLY: say_numbers(w, "kinds=", m->claim_reply.kinds, m->claim_reply.n); return;
    case DTQI_OUTCOMES:
        say_ids(w, "ids=", m->outcomes.ids, m->outcomes.n);
        say_numbers(w, "attempts=", m->outcomes.attempts, m->outcomes.n);
        say_numbers(w, "kinds=", m->outcomes.kinds, m->outcomes.n);
        return;
    case DTQI_WAIT:
        say(w, " request=%llu%s", (unsigned long long)m->wait.request, m->wait.once ? " once" : "");
        say_ids(w, "ids=", m->wait.ids, m->wait.n);
        return;
    case DTQI_RESULTS:
        say(w, " request=%llu", (unsigned long long)m->results.request);
        say_ids(w, "ids=", m->results.ids, m->results.n);
        say_numbers(w, "kinds=", m->results.kinds, m->results.n);
        return;
    case DTQI_CANCEL: say_ids(w, "ids=", m->cancel.ids, m->cancel.n); return;
    case DTQI_CANCEL_REPLY:
        say_numbers(w, "states=", m->cancel_reply.states, m->cancel_reply.n);
        return;
    case DTQI_UNKNOWN_SESSION:
    case DTQI_BYE:
    case DTQI_SINKS:
    case DTQI_HOLDINGS_WANTED:
    case DTQI_SINK_HEARTBEAT:
    case DTQI_FOLLOW:
    case DTQI_RESULTS_QUERY:
    case DTQI_RESULTS_REPLY:
    case DTQI_QUERY:
    case DTQI_QUERY_REPLY:
    case DTQI_OPERATE:
    case DTQI_OPERATE_REPLY: return;
    }
}

void trace_msg(struct sim *s, const struct node *from, const struct node *to,
               const struct dtqi_msg *msg, const char *how)
{
    struct words w = {.s = s};

    if (!s->cfg.trace)
        return;
    say_more(&w, msg);
    trace(s, "%s > %s %s%s %s", from->name, to != NULL ? to->name : "-",
          dtqi_msg_type_name(msg->type), w.text, how);
}
