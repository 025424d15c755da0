/*
 * Which failures are repeated: "exit:75,exit:100-120,timeout,signal:KILL". A list of reasons, each
 * alone (whatever its code) or with a code or a range of codes; signals by number or name. The text
 * travels in the Spec as it is; whoever reads it checks it first. Pure, and allocates nothing.
 */
#ifndef DTQI_RETRY_RULES_H
#define DTQI_RETRY_RULES_H

#include "msg.h"

#define DTQI_RETRY_RULES_BYTES_MAX 256u

struct dtqi_retry_rule {
    dtq_reason reason;
    bool has_code;
    int64_t lo;
    int64_t hi;
};

struct dtqi_retry_word {
    const char *text;
    int number;
};

/* The number of a word; -1: it is none of them. */
static inline int dtqi_retry_word(const struct dtqi_retry_word *words, struct dtqi_str word)
{
    for (; words->text != NULL; words++)
        if (dtqi_str_eq(dtqi_str(words->text), word))
            return words->number;
    return -1;
}

static inline int dtqi_retry_reason(struct dtqi_str word)
{
    static const struct dtqi_retry_word words[] = {
        {"error", DTQ_REASON_ERROR},
        {"exit", DTQ_REASON_EXIT},
        {"signal", DTQ_REASON_SIGNAL},
        {"timeout", DTQ_REASON_TIMEOUT},
        {"oom", DTQ_REASON_OOM},
        {"crash", DTQ_REASON_CRASH},
        {"lost", DTQ_REASON_LOST},
        {"unknown-task", DTQ_REASON_UNKNOWN_TASK},
        {"result-too-large", DTQ_REASON_RESULT_TOO_LARGE},
        {"bad-entry", DTQ_REASON_BAD_ENTRY},
        {NULL, 0},
    };

    return dtqi_retry_word(words, word);
}

/* As Linux numbers them. */
static inline int dtqi_retry_signal(struct dtqi_str word)
{
    static const struct dtqi_retry_word words[] = {
        {"HUP", 1},   {"INT", 2},   {"QUIT", 3},  {"ILL", 4},   {"TRAP", 5},
        {"ABRT", 6},  {"BUS", 7},   {"FPE", 8},   {"KILL", 9},  {"USR1", 10},
        {"SEGV", 11}, {"USR2", 12}, {"PIPE", 13}, {"ALRM", 14}, {"TERM", 15},
        {"XCPU", 24}, {"XFSZ", 25}, {"SYS", 31},  {NULL, 0},
    };

    return dtqi_retry_word(words, word);
}

/* Digits from *at on; false: there are none, or too many. */
static inline bool dtqi_retry_number(struct dtqi_str text, uint32_t *at, int64_t *ret)
{
    uint32_t from = *at;

    *ret = 0;
    while (*at < text.len && text.at[*at] >= '0' && text.at[*at] <= '9' && *at - from < 10)
        *ret = 10 * *ret + (text.at[(*at)++] - '0');
    return *at > from;
}

static inline bool dtqi_retry_code(struct dtqi_str text, struct dtqi_retry_rule *rule)
{
    uint32_t at = 0;
    int signal = rule->reason == DTQ_REASON_SIGNAL ? dtqi_retry_signal(text) : -1;

    rule->has_code = true;
    if (signal >= 0) {
        rule->lo = rule->hi = signal;
        return true;
    }
    if (!dtqi_retry_number(text, &at, &rule->lo))
        return false;
    rule->hi = rule->lo;
    if (at < text.len && text.at[at] == '-') {
        at++;
        if (!dtqi_retry_number(text, &at, &rule->hi))
            return false;
    }
    return at == text.len && rule->lo <= rule->hi;
}

/* Take the first rule off the text. false: it is no rule. */
static inline bool dtqi_retry_next(struct dtqi_str *rest, struct dtqi_retry_rule *ret)
{
    const char *comma = memchr(rest->at, ',', rest->len);
    struct dtqi_str item = {rest->at, comma != NULL ? (uint32_t)(comma - rest->at) : rest->len};
    const char *colon = item.len != 0 ? memchr(item.at, ':', item.len) : NULL;
    struct dtqi_str word = {item.at, colon != NULL ? (uint32_t)(colon - item.at) : item.len};
    uint32_t taken = item.len + (comma != NULL);
    int reason = dtqi_retry_reason(word);

    if (reason < 0 || (comma != NULL && taken == rest->len))
        return false;
    *rest = (struct dtqi_str){rest->at + taken, rest->len - taken};
    *ret = (struct dtqi_retry_rule){.reason = (dtq_reason)reason};
    return colon == NULL ||
           dtqi_retry_code((struct dtqi_str){colon + 1, item.len - word.len - 1}, ret);
}

static inline bool dtqi_retry_rules_are_valid(struct dtqi_str rules)
{
    struct dtqi_retry_rule rule;

    if (rules.len > DTQI_RETRY_RULES_BYTES_MAX)
        return false;
    while (rules.len != 0)
        if (!dtqi_retry_next(&rules, &rule))
            return false;
    return true;
}

/* Is there a failure that it is about? */
static inline bool dtqi_retry_rule_can_be_met(const struct dtqi_retry_rule *rule)
{
    if (!rule->has_code)
        return true;
    if (rule->reason == DTQ_REASON_EXIT)
        return rule->lo >= 1 && rule->hi <= 255;
    return rule->reason != DTQ_REASON_SIGNAL || (rule->lo >= 1 && rule->hi <= 64);
}

/* What is wrong with the rules of a new task, to be said behind them; NULL: nothing. Rules that are
 * valid and can never be met are a mistake of who submits them, and of nobody who reads them later.
 */
static inline const char *dtqi_retry_rules_flaw(struct dtqi_str rules)
{
    struct dtqi_retry_rule rule;

    if (rules.len > DTQI_RETRY_RULES_BYTES_MAX)
        return "is longer than 256 bytes";
    if (!dtqi_retry_rules_are_valid(rules))
        return "is no list of reasons, as in exit:75,exit:100-120,timeout,signal:KILL";
    while (rules.len != 0 && dtqi_retry_next(&rules, &rule))
        if (!dtqi_retry_rule_can_be_met(&rule))
            return rule.reason == DTQ_REASON_EXIT
                       ? "names an exit status that no failure has: they are 1 to 255"
                       : "names a signal that there is not: they are 1 to 64";
    return NULL;
}

/* Does a failure meet one of the rules? */
static inline bool dtqi_retry_rules_match(struct dtqi_str rules, dtq_reason reason, int32_t code)
{
    struct dtqi_retry_rule rule;

    while (rules.len != 0 && dtqi_retry_next(&rules, &rule))
        if (rule.reason == reason && (!rule.has_code || (code >= rule.lo && code <= rule.hi)))
            return true;
    return false;
}

#endif
