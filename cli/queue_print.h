/* Queues for people and for machines: `dtq status` and `dtq queue`. */
#ifndef DTQ_CLI_QUEUE_PRINT_H
#define DTQ_CLI_QUEUE_PRINT_H

#include "cli.h"

#include "text.h"

#define QUEUE_RATE_BYTES (TEXT_DURATION_BYTES + 24)

void queue_print(const dtq_queue_info *queues, size_t n);
/* An array of objects. */
json_t *queue_json(const dtq_queue_info *queues, size_t n);
/* "10/s", "600/h", "5/30s", "none", as `dtq queue rate` takes it. */
void queue_rate_text(uint64_t tasks, uint64_t period_ms, char ret[QUEUE_RATE_BYTES]);

#endif
