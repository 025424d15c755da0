/* How commands show sinks. */
#ifndef DTQ_CLI_SINK_PRINT_H
#define DTQ_CLI_SINK_PRINT_H

#include <dtq/admin.h>

#include <jansson.h>

/* The store as the text of a UUID. */
void sink_store_text(const uint8_t store[16], char ret[DTQ_ID_TEXT_BYTES]);
/* "reachable", or in capitals what is wrong. */
const char *sink_state_text(const dtq_sink_info *sink);
/* What every list of sinks has. */
json_t *sink_json(const dtq_sink_info *sink);

#endif
