/*
 * Cron expressions: "when, next?" of five fields (minute, hour, day of month, month, day of week),
 * or six with the second before them, or of @daily and its like, in a time zone.
 *
 * What happens when clocks are set forward or back depends on the field of the hour:
 * - Without `*` and `/` in it, the times of a day are fixed. A time that does not exist on a day
 *   is made up for right after the gap, several of them once. A time that exists twice counts the
 *   first time.
 * - With `*` or `/` in it the expression is about the passing of time: it matches whenever the
 *   local clock shows a matching time, so nothing is made up for and what is shown twice counts
 *   twice.
 *
 * A struct cron is immutable: any number of threads may ask it.
 */
#ifndef DTQ_COMMON_CRON_H
#define DTQ_COMMON_CRON_H

#include "msg.h"

struct cron;

/*
 * @param zone  a name of the tz database, as "Europe/Berlin"; empty: UTC
 * @param why   gets a sentence that names the field and says what is allowed
 * @return DTQ_OK, DTQ_EINVAL (with `why`) or DTQ_ENOMEM. On DTQ_OK cron_free() is due.
 */
DTQ_MUST_USE dtq_err cron_parse(struct dtqi_str text, struct dtqi_str zone, struct cron **ret_cron,
                                char *why, size_t why_bytes);
void cron_free(struct cron *c); /* takes NULL */

/* The first time after this one, both in ms since the Unix epoch. false: there is none before the
 * year 9999. */
bool cron_next(const struct cron *c, uint64_t after_wall_ms, uint64_t *ret_wall_ms);

/* Seconds that the clocks of its zone are ahead of UTC at this time. */
int32_t cron_offset(const struct cron *c, uint64_t wall_ms);

#endif
