/* The producer of scenario P, a process of its own so that it can be looked at from outside:
 * dtq_bench_producer ENDPOINT TASKS */
#include "bed.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    struct bed bed = {0};
    struct load load;
    double seconds;

    if (argc != 3) {
        fputs("usage: dtq_bench_producer ENDPOINT TASKS\n", stderr);
        return 2;
    }
    snprintf(bed.control, sizeof bed.control, "%s", argv[1]);
    bed_connect(&bed, DTQ_FOLLOW_OWN);
    load = bed_noops(&bed);
    if (load_flow(&load, strtoull(argv[2], NULL, 10), false, &seconds) != DTQ_OK ||
        load.failed != 0)
        bed_fail("%s", dtq_client_errmsg(bed.client));
    dtq_client_close(bed.client);
    return 0;
}
