/* What the handler bench.stamp has as its result: the attempt's time, in microseconds since the
 * boot. */
#ifndef DTQ_BENCH_STAMP_H
#define DTQ_BENCH_STAMP_H

#include <stdint.h>

struct stamp {
    uint64_t began_us;
    uint64_t ended_us;
};

#endif
