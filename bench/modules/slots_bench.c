/*
 * How fast tasks go through slots, without a network: this process feeds them and collects.
 *
 *     slots_bench DTQ-WORKER MODULE.so HANDLER [SLOTS [TASKS [PAYLOAD_BYTES]]]
 *
 * Prints tasks per second and CPU time per task of this process and of the slots. System calls per
 * task: run it under `strace -f -c`.
 */
#include "ring.h"
#include "slot_pool.h"

#include <poll.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

struct bench {
    struct slot_pool_cfg cfg;
    struct slot_pool *pool;
    const char *handler;
    void *payload;
    uint32_t payload_bytes;
    uint32_t tasks;
    uint32_t fed;
    uint32_t ended;
    uint32_t ready;
    uint32_t in_slot[DTQI_SLOTS_MAX];
    uint64_t waits;
};

static uint64_t clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double cpu_s(int who)
{
    struct rusage u;

    getrusage(who, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static bool take(struct bench *b, const struct worker_event *ev)
{
    switch (ev->type) {
    case WORKER_EV_SLOT_READY: b->ready++; return true;
    case WORKER_EV_SLOT_ENDED:
        b->ended += ev->ended.n;
        b->in_slot[ev->ended.index] -= ev->ended.n;
        return ev->ended.results[0].reason == DTQ_REASON_NONE;
    case WORKER_EV_SLOT_FULL: /* large ones: given again */
        b->fed -= ev->slot.handles_n;
        b->in_slot[ev->slot.index] -= ev->slot.handles_n;
        return true;
    case WORKER_EV_SLOT_BROKEN:
        fprintf(stderr, "%.*s\n", (int)ev->slot.text.len, ev->slot.text.at);
        return false;
    default: return false;
    }
}

/* @return false: something went wrong. */
static bool poll_once(struct bench *b)
{
    struct pollfd p = {.fd = slot_pool_fd(b->pool), .events = POLLIN};
    struct worker_event ev;

    b->waits++;
    (void)poll(&p, 1, 1000);
    slot_pool_poll(b->pool, clock_ns() / 1000000);
    while (slot_pool_next(b->pool, clock_ns() / 1000000, 0, UINT64_MAX, &ev))
        if (!take(b, &ev))
            return false;
    return true;
}

static void feed(struct bench *b)
{
    struct worker_feed tasks[RING_TASKS];

    for (uint32_t i = 0; i < RING_TASKS; i++)
        tasks[i] = (struct worker_feed){.attempt = 1,
                                        .name = dtqi_str(b->handler),
                                        .queue = dtqi_str("default"),
                                        .body = {b->payload, b->payload_bytes}};
    for (uint32_t s = 0; s < b->cfg.slots; s++) {
        uint32_t n = RING_TASKS - b->in_slot[s];

        if (n > b->tasks - b->fed)
            n = b->tasks - b->fed;
        if (n > 0)
            slot_pool_feed(b->pool, s, tasks, n);
        b->in_slot[s] += n;
        b->fed += n;
    }
}

static bool run(struct bench *b)
{
    for (uint32_t s = 0; s < b->cfg.slots; s++)
        slot_pool_start(b->pool, s, 0);
    while (b->ready < b->cfg.slots)
        if (!poll_once(b))
            return false;
    b->waits = 0;
    while (b->ended < b->tasks) {
        feed(b);
        if (!poll_once(b))
            return false;
    }
    return true;
}

static uint32_t number(const char *text)
{
    return (uint32_t)strtoul(text, NULL, 10);
}

int main(int argc, char **argv)
{
    struct bench b = {0};
    const char *module = argc > 2 ? argv[2] : NULL;
    uint64_t before;
    double own;
    double took;
    bool good;

    if (argc < 4) {
        fprintf(stderr, "slots_bench DTQ-WORKER MODULE.so HANDLER [SLOTS [TASKS [BYTES]]]\n");
        return 2;
    }
    b.handler = argv[3];
    b.tasks = argc > 5 ? number(argv[5]) : 2000000;
    b.payload_bytes = argc > 6 ? number(argv[6]) : 128;
    b.payload = calloc(1, b.payload_bytes + 1);
    b.cfg = (struct slot_pool_cfg){
        .program = argv[1],
        .slots = argc > 4 ? number(argv[4]) : 1,
        .result_bytes_max = DTQI_RESULT_BYTES_MAX,
        .files_max = 1024,
        .modules = &module,
        .modules_n = 1,
    };
    if (b.payload == NULL || slot_pool_open(&b.cfg, &b.pool) != DTQ_OK)
        return 1;
    own = cpu_s(RUSAGE_SELF);
    before = clock_ns();
    good = run(&b);
    took = (double)(clock_ns() - before) / 1e9;
    own = cpu_s(RUSAGE_SELF) - own;
    slot_pool_close(b.pool);
    if (good)
        printf("%u tasks, %u slots, %u bytes: %.0f tasks/s, %.3f us own, %.3f us slots, "
               "%.1f tasks a wait\n",
               b.tasks, b.cfg.slots, b.payload_bytes, b.tasks / took, own / b.tasks * 1e6,
               cpu_s(RUSAGE_CHILDREN) / b.tasks * 1e6, (double)b.tasks / (double)b.waits);
    free(b.payload);
    return good ? 0 : 1;
}
