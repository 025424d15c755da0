/*
 * beanstalkd: tasks in one tube, results in another. Its protocol has no batches; commands go out
 * in pipelines instead.
 */
#include "bed.h"
#include "peer.h"
#include "wired.h"

#include <stdlib.h>
#include <string.h>

#define TAKE_MAX 64u /* jobs that are taken at a time: the first is waited for */
#define ID_BYTES 24

struct job {
    char id[ID_BYTES];
    uint64_t number;
};

static void use_tube(struct wire *w, const char *tube)
{
    wire_print(w, "use %s\r\n", tube);
    wire_flush(w);
    wire_expect(w, "USING ");
}

static void watch_tube(struct wire *w, const char *tube)
{
    wire_print(w, "watch %s\r\nignore default\r\n", tube);
    wire_flush(w);
    wire_expect(w, "WATCHING ");
    wire_expect(w, "WATCHING ");
}

/* "RESERVED 12 128" and the body. @return its bytes; 0: there is none now. */
static size_t read_job(struct wire *w, char *ret_id, char *body, size_t room)
{
    const char *line = wire_line(w);
    char *end;
    size_t n;

    if (strcmp(line, "TIMED_OUT") == 0)
        return 0;
    if (strncmp(line, "RESERVED ", 9) != 0)
        bed_fail("beanstalkd answers \"%s\"", line);
    n = strcspn(line + 9, " ");
    if (n >= ID_BYTES)
        bed_fail("a job with a long number");
    memcpy(ret_id, line + 9, n);
    ret_id[n] = '\0';
    n = strtoul(line + 9 + n, &end, 10);
    wire_bytes(w, body, n < room ? n : room);
    wire_bytes(w, NULL, n - (n < room ? n : room) + 2);
    return n;
}

/* The first is waited for; the others are taken if they are there. @return how many. */
static unsigned take(struct wire *w, unsigned more, struct job *jobs)
{
    unsigned n = 0;

    wire_print(w, "reserve\r\n");
    for (unsigned i = 0; i < more; i++)
        wire_print(w, "reserve-with-timeout 0\r\n");
    wire_flush(w);
    for (; w->owed > 0; w->owed--)
        wire_expect(w, "DELETED");
    for (unsigned i = 0; i <= more; i++)
        n += read_job(w, jobs[n].id, (char *)&jobs[n].number, sizeof jobs[n].number) != 0;
    return n;
}

/* An idle one does not ask for many in vain. */
static unsigned how_many_more(unsigned came)
{
    return came > 1 ? TAKE_MAX - 1 : 1;
}

static void put_result(struct wire *w, const struct job *job)
{
    char result[WIRED_RESULT_BYTES] = {0};

    memcpy(result, &job->number, sizeof job->number);
    wire_print(w, "put 0 0 60 %zu\r\n", sizeof result);
    wire_put(w, result, sizeof result);
    wire_print(w, "\r\ndelete %s\r\n", job->id);
}

static void work(uint16_t port, unsigned number)
{
    struct wire *w = wire_open(port);
    struct job jobs[TAKE_MAX];
    unsigned n = 0;

    (void)number;
    watch_tube(w, "tasks");
    use_tube(w, "results");
    for (;;) {
        n = take(w, how_many_more(n), jobs);
        for (unsigned i = 0; i < n; i++)
            put_result(w, &jobs[i]);
        wire_flush(w);
        for (unsigned i = 0; i < n; i++) {
            wire_expect(w, "INSERTED ");
            wire_expect(w, "DELETED");
        }
    }
}

static void put_tasks(struct wire *w, uint64_t first, uint64_t n)
{
    char payload[PEER_PAYLOAD_BYTES] = {0};

    for (uint64_t number = first; number < first + n; number++) {
        memcpy(payload, &number, sizeof number);
        wire_print(w, "put 0 0 60 %zu\r\n", sizeof payload);
        wire_put(w, payload, sizeof payload);
        wire_put(w, "\r\n", 2);
    }
}

static void read_confirmations(struct wire *w, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        wire_expect(w, "INSERTED ");
}

/* Results are deleted when they are in hand; nobody waits for that. */
static void collect(struct wire *w, struct tally *t)
{
    struct job jobs[TAKE_MAX];
    unsigned n = 0;

    while (t->left > 0) {
        n = take(w, how_many_more(n), jobs);
        for (unsigned i = 0; i < n; i++) {
            tally_count(t, &jobs[i].number);
            wire_print(w, "delete %s\r\n", jobs[i].id);
        }
        wire_flush(w);
        w->owed = n;
    }
}

static void open_tasks(struct wire *w)
{
    use_tube(w, "tasks");
}

static void open_results(struct wire *w)
{
    watch_tube(w, "results");
}

static const struct wired beanstalkd = {.start = beanstalkd_start,
                                        .open_tasks = open_tasks,
                                        .open_results = open_results,
                                        .work = work,
                                        .put_tasks = put_tasks,
                                        .read_confirmations = read_confirmations,
                                        .collect = collect};

void beanstalkd_queue(const struct peer *p, uint64_t tasks, struct peer_figures *ret)
{
    wired_queue(&beanstalkd, p->is_durable, tasks, ret);
}

void beanstalkd_run(const struct peer *p, uint64_t tasks, uint32_t trips, struct peer_figures *ret)
{
    wired_run(&beanstalkd, p->is_durable, tasks, trips, ret);
}
