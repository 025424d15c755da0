/*
 * A producer of the chaos run: submits tasks that follow from the seed, and writes down everything
 * that it does and is told. Killed and started again, it reads what its predecessor wrote and
 * submits what was not answered again under the same ids.
 *
 *     chaos_producer VENTILATOR NUMBER SEED LOG OPEN_MAX PER_SECOND SLOW_MS
 *
 * SIGTERM: submit no more, wait for every answer and result, end. SIGINT: end at once.
 */
#include "job.h"

#include <dtq/dtq.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "idmap.h"

#define INTENT_STEP 256u

struct sent {
    dtq_id id;
    uint64_t number;
    uint64_t not_before_wall_ms;
    bool answered; /* confirmed or refused */
    bool ended;    /* its result was told, or will not be waited for */
};

struct producer {
    dtq_client *client;
    uint64_t seed;
    uint32_t me;
    uint32_t open_max;
    uint32_t per_second;
    uint32_t slow_ms;
    int log;
    uint64_t started_ms;
    uint64_t submitted; /* by this process */
    uint64_t number;    /* the last one that was used */
    uint64_t intent;
    struct dtqi_idmap map;
    struct sent *sent;
    uint32_t sent_n;
    uint32_t room;
    uint32_t unanswered;
    uint32_t unended;
};

static volatile sig_atomic_t told; /* SIGTERM, SIGINT */

static void on_signal(int signal)
{
    if (told != SIGINT)
        told = signal;
}

static void fail(struct producer *p, const char *what, dtq_err err)
{
    fprintf(stderr, "chaos_producer %u: %s: %s (%s)\n", p->me, what, dtq_errname(err),
            p->client != NULL ? dtq_client_errmsg(p->client) : "");
    exit(98);
}

/* ------------------------------------------------------------------------ what was sent */

static const dtq_id *id_of(const void *owner, uint32_t index)
{
    return &((const struct producer *)owner)->sent[index].id;
}

static struct sent *find(struct producer *p, const dtq_id *id)
{
    uint32_t at = dtqi_idmap_get(&p->map, p, id_of, id);

    return at != DTQI_IDMAP_NONE ? &p->sent[at] : NULL;
}

static void add(struct producer *p, const dtq_id *id, uint64_t number, uint64_t not_before_wall_ms)
{
    if (p->sent_n == p->room) {
        p->room = 2 * p->room + 1024;
        p->sent = realloc(p->sent, p->room * sizeof *p->sent);
    }
    if (p->sent == NULL || !dtqi_idmap_reserve(&p->map, p->sent_n + 1))
        fail(p, "memory", DTQ_ENOMEM);
    p->sent[p->sent_n] =
        (struct sent){.id = *id, .number = number, .not_before_wall_ms = not_before_wall_ms};
    dtqi_idmap_add(&p->map, id, p->sent_n++);
    p->unanswered++;
    p->unended++;
}

static void answered(struct producer *p, struct sent *sent)
{
    p->unanswered -= !sent->answered;
    sent->answered = true;
}

static void ended(struct producer *p, struct sent *sent)
{
    p->unended -= !sent->ended;
    sent->ended = true;
}

/* ------------------------------------------------------------------------ what comes back */

static void on_submitted(struct producer *p, const dtq_submitted *s)
{
    struct sent *sent = find(p, &s->id);
    struct record r = {.id = s->id, .number = s->tag, .producer = p->me, .err = (uint8_t)s->err};

    r.kind = s->err == DTQ_OK         ? RECORD_CONFIRMED
             : s->err == DTQ_EUNKNOWN ? RECORD_UNKNOWN
                                      : RECORD_REFUSED;
    record_append(p->log, r);
    if (s->err != DTQ_OK)
        fprintf(stderr, "chaos_producer %u: task %llu was not taken: %s: %s\n", p->me,
                (unsigned long long)s->tag, dtq_errname(s->err), s->text);
    if (sent == NULL)
        return;
    answered(p, sent);
    if (s->err != DTQ_OK)
        ended(p, sent);
}

static void on_result(struct producer *p, const dtq_result *result)
{
    struct sent *sent = find(p, &result->id);

    record_append(p->log, (struct record){
                              .id = result->id,
                              .number = sent != NULL ? sent->number : 0,
                              .producer = p->me,
                              .kind = RECORD_RESULT,
                              .state = (uint8_t)result->state,
                              .reason = (uint8_t)result->reason,
                              .attempt = result->attempt,
                          });
    if (sent != NULL)
        ended(p, sent);
}

static void cancel(struct producer *p, const dtq_id *id)
{
    dtq_cancelled cancelled;

    record_append(p->log, (struct record){.id = *id, .producer = p->me, .kind = RECORD_CANCEL});
    /* Not asked again when nobody answers: then it may be cancelled or not. */
    (void)!dtq_cancel(p->client, id, 1, 300, &cancelled);
}

static void take_events(struct producer *p)
{
    dtq_event event;
    dtq_id wanted;
    struct job job;
    dtq_err err;

    while ((err = dtq_next_event(p->client, 5, &event)) == DTQ_OK) {
        if (event.type == DTQ_EVENT_RESULT) {
            on_result(p, &event.result);
            continue;
        }
        wanted = event.submitted.id;
        job_make(p->seed, p->me, event.submitted.tag, p->slow_ms, &job);
        on_submitted(p, &event.submitted);
        if (job.kind == JOB_CANCELLED && told == 0)
            cancel(p, &wanted);
    }
    if (err != DTQ_EAGAIN && err != DTQ_ETIMEOUT && err != DTQ_ENOTFOUND && err != DTQ_EUNREACHABLE)
        fail(p, "events", err);
}

/* ------------------------------------------------------------------------ submitting */

static uint64_t wall_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* @return false: there is no room now. */
static bool submit(struct producer *p, uint64_t number, const dtq_id *again, uint64_t not_before)
{
    static uint8_t payload[JOB_BYTES_MAX];
    struct job job;
    dtq_task task;
    dtq_err err;
    dtq_id id;

    job_make(p->seed, p->me, number, p->slow_ms, &job);
    dtq_task_init(&task, JOB_NAME, payload, job_payload(&job, payload));
    if (again == NULL && job.delay_ms > 0)
        not_before = wall_ms() + job.delay_ms;
    task.queue = job.queue;
    task.tag = number;
    task.again = again;
    task.priority = job.priority;
    task.retries = job.retries;
    task.backoff_min_ms = 50;
    task.backoff_max_ms = 500;
    task.crash_limit = job.crash_limit;
    task.not_before_wall_ms = not_before;
    task.expires_ms = job.expires_ms;
    err = dtq_submit_async(p->client, &task, 0, &id);
    if (err == DTQ_EAGAIN || err == DTQ_EBUSY)
        return false;
    if (err != DTQ_OK)
        fail(p, "submit", err);
    if (again == NULL) {
        add(p, &id, number, not_before);
        record_append(p->log, (struct record){.id = id,
                                              .number = number,
                                              .producer = p->me,
                                              .not_before_wall_ms = not_before,
                                              .kind = RECORD_QUEUED});
    }
    return true;
}

static uint64_t allowed(const struct producer *p)
{
    return 1 + (job_now_ms() - p->started_ms) * p->per_second / 1000;
}

static void submit_some(struct producer *p)
{
    while (p->unended < p->open_max && p->submitted < allowed(p)) {
        if (p->number == p->intent) {
            p->intent += INTENT_STEP;
            record_append(
                p->log,
                (struct record){.number = p->intent, .producer = p->me, .kind = RECORD_INTENT});
        }
        if (!submit(p, p->number + 1, NULL, 0))
            return;
        p->number++;
        p->submitted++;
    }
}

/* ------------------------------------------------------------------------ what was before */

static void replay(struct producer *p, const struct record *r)
{
    struct sent *sent = find(p, &r->id);

    switch ((enum record_kind)r->kind) {
    case RECORD_INTENT: p->intent = p->number = r->number; break;
    case RECORD_QUEUED: add(p, &r->id, r->number, r->not_before_wall_ms); break;
    case RECORD_CONFIRMED: answered(p, sent); break;
    case RECORD_REFUSED:
        answered(p, sent);
        ended(p, sent);
        break;
    case RECORD_RESULT: ended(p, sent); break;
    case RECORD_UNKNOWN:
    case RECORD_CANCEL:
    case RECORD_BEGUN:
    case RECORD_SUCCESS:
    case RECORD_FAILURE:
    case RECORD_CRASH: break;
    }
}

static void read_log(struct producer *p, const char *path)
{
    struct record r;
    FILE *file = fopen(path, "re");

    while (file != NULL && fread(&r, sizeof r, 1, file) == 1)
        replay(p, &r);
    if (file != NULL)
        fclose(file);
}

/* What the predecessor was not told, neither whether it was taken nor how it ended. */
static void resume(struct producer *p)
{
    for (uint32_t i = 0; i < p->sent_n && told != SIGINT; i++) {
        struct sent *sent = &p->sent[i];
        dtq_err err;

        if (!sent->answered) {
            while (!submit(p, sent->number, &sent->id, sent->not_before_wall_ms) && told != SIGINT)
                take_events(p);
        } else if (!sent->ended) {
            err = dtq_watch(p->client, &sent->id, 1);
            if (err != DTQ_OK)
                fail(p, "watch", err);
        }
    }
}

static void run(struct producer *p)
{
    resume(p);
    while (told == 0 || (told == SIGTERM && p->unended > 0)) {
        if (told == 0)
            submit_some(p);
        take_events(p);
    }
}

static uint32_t number_of(const char *text)
{
    return (uint32_t)strtoul(text, NULL, 10);
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t none;
    struct producer p = {.started_ms = job_now_ms()};
    dtq_options options;
    dtq_err err;

    if (argc != 8) {
        fprintf(stderr, "usage: chaos_producer VENTILATOR NUMBER SEED LOG OPEN_MAX PER_SECOND "
                        "SLOW_MS\n");
        return 2;
    }
    p.me = number_of(argv[2]);
    p.seed = strtoull(argv[3], NULL, 10);
    p.open_max = number_of(argv[5]);
    p.per_second = number_of(argv[6]);
    p.slow_ms = number_of(argv[7]);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL); /* both were blocked until now */
    read_log(&p, argv[4]);
    p.log = record_open(argv[4]);
    if (p.log < 0)
        fail(&p, argv[4], DTQ_EIO);
    dtq_options_init(&options);
    options.ventilator = argv[1];
    options.name = "chaos";
    options.follow = DTQ_FOLLOW_OWN;
    err = dtq_client_open(&options, &p.client);
    if (err != DTQ_OK)
        fail(&p, "open", err);
    run(&p);
    dtq_client_close(p.client);
    free(p.sent);
    dtqi_idmap_done(&p.map);
    return 0;
}
