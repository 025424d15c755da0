#include "sink_print.h"

#include <string.h>

void sink_store_text(const uint8_t store[16], char ret[DTQ_ID_TEXT_BYTES])
{
    dtq_id id;

    memcpy(id.bytes, store, sizeof id.bytes);
    dtq_id_format(&id, ret);
}

const char *sink_state_text(const dtq_sink_info *sink)
{
    if (sink->removed)
        return "REMOVED";
    if (sink->intake[0] == '\0')
        return "UNKNOWN";
    if (sink->diverged)
        return "DIVERGED";
    if (sink->full)
        return "FULL";
    return sink->reachable ? "reachable" : "UNREACHABLE";
}

json_t *sink_json(const dtq_sink_info *sink)
{
    char store[DTQ_ID_TEXT_BYTES];

    sink_store_text(sink->store, store);
    return json_pack("{s:s, s:s, s:s, s:b, s:b, s:b, s:I}", "store", store, "results",
                     sink->results, "intake", sink->intake, "reachable", sink->reachable,
                     "diverged", sink->diverged, "full", sink->full, "applied",
                     (json_int_t)sink->applied);
}
