/*
 * What tests that tell stories have in common: links take 10 ms, commits 5 ms, and nothing is
 * random, so each line of a story is where it is for a reason; milliseconds are in brackets.
 */
#ifndef SIM_STORIES_H
#define SIM_STORIES_H

#include "sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static inline struct sim *begin(uint32_t workers)
{
    struct sim_cfg cfg = sim_story_cfg(workers);
    struct sim *s = sim_new(&cfg);

    sim_run_until_ms(s, 1000); /* everybody has met */
    return s;
}

/* The part of the story behind the line that says `from`. */
static inline const char *story_from(const struct sim *s, const char *from)
{
    const char *at = strstr(sim_story(s), from);

    while (at != NULL && at > sim_story(s) && at[-1] != '\n')
        at--;
    return at != NULL ? at : sim_story(s);
}

static inline void expect(const struct sim *s, const char *from, const char *story)
{
    if (sim_failure(s) != NULL)
        fail_msg("%s\n%s", sim_failure(s), sim_story(s));
    assert_string_equal(story_from(s, from), story);
}

static inline void end(struct sim *s)
{
    if (!sim_settle(s, 60000))
        fail_msg("%s\n%s", sim_failure(s), sim_story(s));
    sim_free(s);
}

#endif
