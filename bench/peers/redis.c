/*
 * Redis streams: tasks are entries of a stream that a consumer group shares out, results are pushed
 * to a list. Clients of our own, so that no language or library of a client is measured.
 */
#include "bed.h"
#include "peer.h"
#include "wired.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_MAX 256u /* entries that a worker takes at a time */
#define ID_BYTES 48

/* ---------------------------------------------------------------- the protocol */

static void put_word(struct wire *w, const void *bytes, size_t n)
{
    wire_count(w, '$', n);
    wire_put(w, bytes, n);
    wire_put(w, "\r\n", 2);
}

static void put_command(struct wire *w, unsigned words, const char *const *texts)
{
    wire_count(w, '*', words);
    for (; *texts != NULL; texts++)
        put_word(w, *texts, strlen(*texts));
}

#define COMMAND(w, words, ...) put_command(w, words, (const char *const[]){__VA_ARGS__, NULL})

static unsigned read_count(struct wire *w)
{
    return (unsigned)strtoul(wire_expect(w, "*"), NULL, 10);
}

/* @return bytes of the string, of which no more than `room` are kept. */
static size_t read_string(struct wire *w, char *ret, size_t room)
{
    size_t n = strtoul(wire_expect(w, "$"), NULL, 10);
    size_t kept = n < room ? n : room;

    wire_bytes(w, ret, kept);
    wire_bytes(w, NULL, n - kept + 2);
    return n;
}

/* What comes before the answers of a transaction's n commands. */
static void read_exec(struct wire *w, uint64_t n)
{
    wire_expect(w, "+OK");
    for (uint64_t i = 0; i < n; i++)
        wire_expect(w, "+QUEUED");
    wire_expect(w, "*");
}

static void make_group(struct wire *w)
{
    COMMAND(w, 6, "XGROUP", "CREATE", "tasks", "workers", "0", "MKSTREAM");
    wire_flush(w);
    wire_expect(w, "+OK");
}

/* ---------------------------------------------------------------- a worker */

struct taken {
    unsigned n;
    struct {
        char id[ID_BYTES];
        size_t id_bytes;
        uint64_t number;
    } at[READ_MAX];
};

static void take(struct wire *w, const char *consumer, struct taken *t)
{
    char count[16];

    snprintf(count, sizeof count, "%u", READ_MAX);
    COMMAND(w, 11, "XREADGROUP", "GROUP", "workers", consumer, "COUNT", count, "BLOCK", "0",
            "STREAMS", "tasks", ">");
    wire_flush(w);
    wire_expect(w, "*1");
    wire_expect(w, "*2");
    read_string(w, NULL, 0); /* the name of the stream */
    t->n = read_count(w);
    for (unsigned i = 0; i < t->n; i++) {
        wire_expect(w, "*2");
        t->at[i].id_bytes = read_string(w, t->at[i].id, ID_BYTES);
        wire_expect(w, "*2");
        read_string(w, NULL, 0); /* the name of the field */
        read_string(w, (char *)&t->at[i].number, sizeof t->at[i].number);
    }
}

static void put_ids(struct wire *w, const struct taken *t)
{
    for (unsigned i = 0; i < t->n; i++)
        put_word(w, t->at[i].id, t->at[i].id_bytes);
}

/* Results first: what is acknowledged has one. What is acknowledged is deleted, as a queue does. */
static void settle(struct wire *w, const struct taken *t)
{
    COMMAND(w, 1, "MULTI");
    COMMAND(w, 2 + t->n, "RPUSH", "results");
    for (unsigned i = 0; i < t->n; i++) {
        char result[WIRED_RESULT_BYTES] = {0};

        memcpy(result, &t->at[i].number, sizeof t->at[i].number);
        put_word(w, result, sizeof result);
    }
    COMMAND(w, 3 + t->n, "XACK", "tasks", "workers");
    put_ids(w, t);
    COMMAND(w, 2 + t->n, "XDEL", "tasks");
    put_ids(w, t);
    COMMAND(w, 1, "EXEC");
    wire_flush(w);
    read_exec(w, 3);
    for (int i = 0; i < 3; i++)
        wire_expect(w, ":");
}

static void work(uint16_t port, unsigned number)
{
    struct wire *w = wire_open(port);
    struct taken *t = malloc(sizeof *t);
    char consumer[16];

    if (t == NULL)
        bed_fail("out of memory");
    snprintf(consumer, sizeof consumer, "w%u", number);
    for (;;) {
        take(w, consumer, t);
        settle(w, t);
    }
}

/* ---------------------------------------------------------------- the producer */

static void put_task(struct wire *w, uint64_t number)
{
    static const char head[] = "*5\r\n$4\r\nXADD\r\n$5\r\ntasks\r\n$1\r\n*\r\n$1\r\np\r\n";
    char payload[PEER_PAYLOAD_BYTES] = {0};

    memcpy(payload, &number, sizeof number);
    wire_put(w, head, sizeof head - 1);
    put_word(w, payload, sizeof payload);
}

static void put_tasks(struct wire *w, uint64_t first, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        put_task(w, first + i);
}

static void read_confirmations(struct wire *w, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        read_string(w, NULL, 0);
}

/* With appendfsync always Redis flushes for every 16 KB that it reads; for a transaction once. */
static void put_transaction(struct wire *w, uint64_t first, uint64_t n)
{
    if (n > 1)
        COMMAND(w, 1, "MULTI");
    put_tasks(w, first, n);
    if (n > 1)
        COMMAND(w, 1, "EXEC");
}

static void read_transaction(struct wire *w, uint64_t n)
{
    if (n > 1)
        read_exec(w, n);
    read_confirmations(w, n);
}

static void collect(struct wire *w, struct tally *t)
{
    while (t->left > 0) {
        char result[WIRED_RESULT_BYTES];
        unsigned n;

        COMMAND(w, 7, "BLMPOP", "0", "1", "results", "LEFT", "COUNT", "512");
        wire_flush(w);
        wire_expect(w, "*2");
        read_string(w, NULL, 0);
        n = read_count(w);
        for (unsigned i = 0; i < n; i++) {
            if (read_string(w, result, sizeof result) != sizeof result)
                bed_fail("a result of another size");
            tally_count(t, result);
        }
    }
}

static const struct wired in_memory = {.start = redis_start,
                                       .open_tasks = make_group,
                                       .work = work,
                                       .put_tasks = put_tasks,
                                       .read_confirmations = read_confirmations,
                                       .collect = collect};

static const struct wired durable = {.start = redis_start,
                                     .open_tasks = make_group,
                                     .work = work,
                                     .put_tasks = put_transaction,
                                     .read_confirmations = read_transaction,
                                     .collect = collect};

void redis_queue(const struct peer *p, uint64_t tasks, struct peer_figures *ret)
{
    wired_queue(p->is_durable ? &durable : &in_memory, p->is_durable, tasks, ret);
}

void redis_run(const struct peer *p, uint64_t tasks, uint32_t trips, struct peer_figures *ret)
{
    wired_run(p->is_durable ? &durable : &in_memory, p->is_durable, tasks, trips, ret);
}
