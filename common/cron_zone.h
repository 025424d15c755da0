/* Time zones, as the system's tz database has them. Immutable once open: any thread may ask. */
#ifndef DTQ_COMMON_CRON_ZONE_H
#define DTQ_COMMON_CRON_ZONE_H

#include "msg.h"

struct cron_zone;

#define CRON_NO_CHANGE INT64_MAX

/* NULL: no zone of that name is known here. Empty: UTC. */
struct cron_zone *cron_zone_open(struct dtqi_str name);
void cron_zone_close(struct cron_zone *z); /* takes NULL */

/* Local time minus UTC at this time; all times are seconds since the Unix epoch. */
int64_t cron_zone_offset(const struct cron_zone *z, int64_t at);
/* The first time in (from, to] whose offset may differ from the one at `from`. CRON_NO_CHANGE:
 * there is none. */
int64_t cron_zone_change(const struct cron_zone *z, int64_t from, int64_t to);

#endif
