/*
 * The steady clock: wall time that does not jump. At its first start it is what the wall clock
 * says; from then on it goes on with the time that passes, whatever the wall clock is set to, so
 * that a delay of an hour is an hour. A mark of it is kept on the disk. While the host does not
 * boot, its clock since boot says exactly how long a program was down. After a boot only the wall
 * clock can say that: it is believed when it has gone on, and taken for stopped when it is behind
 * the mark.
 *
 * Pure: the shells, and the simulation, say what the host's clocks say.
 */
#ifndef DTQ_STEADY_H
#define DTQ_STEADY_H

#include "bounds.h"

#include <stdbool.h>
#include <stdint.h>

#define STEADY_MARK_MS 10000u /* a mark of the last so many ms need not be made again .. */
#define STEADY_JUMP_MS 1000u  /* .. unless the wall clock has jumped by so much since */

#define STEADY_SHOWN_MS 10u /* two clocks that are read one after the other differ by less */

struct host_time {
    uint64_t boot;  /* differs from boot to boot */
    uint64_t up_ms; /* since then, also while the host was suspended */
    uint64_t wall_ms;
};

struct steady_mark { /* all of it 0: there is none */
    uint64_t steady_ms;
    struct host_time host; /* at that time */
};

struct steady {
    uint64_t boot;
    uint64_t base_ms; /* steady time - up_ms */
};

/*
 * @param is_empty  nothing is kept whose time was set by the clock of before. If that has rested
 * for so long that nobody can come back with an id of it either, the wall clock is followed: so
 * what a jump has put between the two goes away some day.
 */
static inline void steady_start(struct steady *s, const struct steady_mark *last,
                                const struct host_time *now, bool is_empty)
{
    uint64_t at_ms = last->steady_ms;

    if (now->boot == last->host.boot && now->up_ms >= last->host.up_ms)
        at_ms += now->up_ms - last->host.up_ms;
    else if (now->wall_ms > last->host.wall_ms)
        at_ms += now->wall_ms - last->host.wall_ms;
    if (last->steady_ms == 0 || (is_empty && at_ms - last->steady_ms >= DTQI_DEDUPE_WINDOW_MS))
        at_ms = now->wall_ms;
    at_ms = at_ms < DTQI_WALL_MS_MAX / 2 ? at_ms : DTQI_WALL_MS_MAX / 2;
    *s = (struct steady){now->boot, at_ms - now->up_ms};
}

static inline uint64_t steady_ms(const struct steady *s, const struct host_time *now)
{
    return s->base_ms + now->up_ms;
}

static inline struct steady_mark steady_mark(const struct steady *s, const struct host_time *now)
{
    return (struct steady_mark){steady_ms(s, now), *now};
}

/*
 * How far the host's wall clock is ahead of the steady one, for times that people are told: what
 * was `kept` until that clock is set. The two are read one after the other, in whole ms, so that
 * the difference itself is another one at each reading, and so would be the time of one event. It
 * begins with 0: a start changes no time either, unless the clock has been set.
 */
static inline uint64_t steady_shown_ahead_ms(uint64_t kept_ms, uint64_t steady_ms, uint64_t wall_ms)
{
    uint64_t ahead_ms = wall_ms - steady_ms;
    bool is_near = ahead_ms - kept_ms < STEADY_SHOWN_MS || kept_ms - ahead_ms < STEADY_SHOWN_MS;

    return is_near ? kept_ms : ahead_ms;
}

/* Should the mark on the disk be replaced by this one? */
static inline bool steady_is_mark_due(const struct steady_mark *kept, const struct steady_mark *now)
{
    uint64_t kept_ms = kept->host.wall_ms - kept->steady_ms;
    uint64_t now_ms = now->host.wall_ms - now->steady_ms;
    uint64_t jump_ms = now_ms - kept_ms < kept_ms - now_ms ? now_ms - kept_ms : kept_ms - now_ms;

    return kept->host.boot != now->host.boot || jump_ms >= STEADY_JUMP_MS ||
           now->steady_ms - kept->steady_ms >= STEADY_MARK_MS;
}

#endif
