/* dtq, with its default settings, or those and --durability=async. */
#include "bed.h"
#include "gauge.h"
#include "load.h"
#include "peer.h"

#include <stdlib.h>

#define WARM_TRIPS 20u

static void check(const struct bed *b, const struct load *l, dtq_err err)
{
    if (err != DTQ_OK)
        bed_fail("%s", dtq_client_errmsg(b->client));
    if (l->failed != 0)
        bed_fail("%llu tasks failed", (unsigned long long)l->failed);
}

void dtq_queue(const struct peer *p, uint64_t tasks, struct peer_figures *ret)
{
    struct bed b;
    struct load load;
    double seconds;
    uint64_t bytes;
    pid_t ventilator;

    bed_open(&b, (struct bed_cfg){.is_async = p->is_async});
    bed_connect(&b, DTQ_FOLLOW_NONE);
    load = bed_noops(&b);
    ventilator = b.members[BED_VENTILATOR].pid;
    bytes = gauge_anonymous_bytes(ventilator);
    check(&b, &load, load_flow(&load, tasks, true, &seconds));
    ret->submit_rate = (double)tasks / seconds;
    ret->queued_bytes = (double)(gauge_anonymous_bytes(ventilator) - bytes) / (double)tasks;
    bed_close(&b);
}

static void make_trips(struct bed *b, uint32_t n, struct peer_figures *ret)
{
    struct load load = bed_noops(b);
    double *us = malloc((n + WARM_TRIPS) * sizeof *us);

    if (us == NULL)
        bed_fail("out of memory");
    check(b, &load, load_trips(&load, WARM_TRIPS, us));
    check(b, &load, load_trips(&load, n, us));
    ret->p50_us = load_quantile(us, n, 0.5);
    ret->p99_us = load_quantile(us, n, 0.99);
    free(us);
}

void dtq_run(const struct peer *p, uint64_t tasks, uint32_t trips, struct peer_figures *ret)
{
    struct bed b;
    struct load load;
    double seconds;

    bed_open(&b, (struct bed_cfg){.workers = 1, .slots = PEER_WORKERS, .is_async = p->is_async});
    bed_connect(&b, DTQ_FOLLOW_OWN);
    load = bed_noops(&b);
    check(&b, &load, load_flow(&load, tasks / 10 + 1, false, &seconds));
    check(&b, &load, load_flow(&load, tasks, false, &seconds));
    ret->rate = (double)tasks / seconds;
    make_trips(&b, trips, ret);
    bed_close(&b);
}
