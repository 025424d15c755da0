/*
 * Scenario D: a mix of long and short tasks, beside what slots that take the next task whenever
 * they are free would need: with the settings of A, from rest, and straight after a flood of
 * no-ops.
 */
#include "bed.h"
#include "bench.h"

#include <stdlib.h>

#define ORDERS 21u /* 0: the order that defeats dealing in turn */
#define FLOOD_TASKS 100000u
#define SLOTS 2u

struct layout {
    const char *name;
    struct bed_cfg cfg;
};

static double makespan(struct bed *bed, uint32_t order, bool after_flood)
{
    struct load noops = bed_noops(bed);
    struct load sleeps = bed_sleeps(bed);
    uint32_t ms[LOAD_MIX_TASKS];
    double seconds;

    load_mix_order(order, ms);
    if ((after_flood && load_flow(&noops, FLOOD_TASKS, false, &seconds) != DTQ_OK) ||
        load_mix(&sleeps, ms, LOAD_MIX_TASKS, &seconds) != DTQ_OK)
        bed_fail("%s", dtq_client_errmsg(bed->client));
    if (noops.failed + sleeps.failed != 0)
        bed_fail("tasks failed");
    return seconds / load_greedy_seconds(ms, LOAD_MIX_TASKS, SLOTS);
}

static void run(const struct bench_opts *o, const struct layout *l, bool after_flood)
{
    double ratios[ORDERS];
    char what[96];
    double middle;
    struct bed bed;

    bed_open(&bed, l->cfg);
    bed_connect(&bed, DTQ_FOLLOW_OWN);
    for (uint32_t order = 0; order < ORDERS; order++) {
        double others = bench_calm(o);

        ratios[order] = makespan(&bed, order, after_flood);
        report_line("order", json_pack("{s:s, s:b, s:i, s:f, s:f}", "layout", l->name,
                                       "after_flood", after_flood, "order", (int)order, "ratio",
                                       ratios[order], "others_processors", others));
    }
    bed_close(&bed);
    middle = load_quantile(ratios, ORDERS, 0.5); /* sorted now */
    snprintf(what, sizeof what, "%s%s: median", l->name, after_flood ? ", after no-ops" : "");
    report_verdict(what, middle, "x greedy", false, after_flood ? 1.03 : 1.02);
    snprintf(what, sizeof what, "%s%s: worst", l->name, after_flood ? ", after no-ops" : "");
    report_verdict(what, ratios[ORDERS - 1], "x greedy", false, after_flood ? 1.10 : 1.06);
}

void bench_d(const struct bench_opts *o)
{
    static const struct layout layouts[] = {
        {"1 worker of 2 slots", {.workers = 1, .slots = 2}},
        {"2 workers of 1 slot", {.workers = 2, .slots = 1}},
    };

    report_say("%u orders of 10 tasks of 200 ms and 90 of 2 ms; others use %.2f processors", ORDERS,
               bench_calm(o));
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        run(o, &layouts[i], false);
        run(o, &layouts[i], true);
    }
}
