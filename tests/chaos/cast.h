/*
 * The processes of a chaos run: starts them behind the fault proxy, hurts them as it is told, and
 * knows which ends it has caused itself. Any other end is a finding.
 */
#ifndef DTQ_CHAOS_CAST_H
#define DTQ_CHAOS_CAST_H

#include "plan.h"
#include "proxy.h"

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct cast_cfg {
    const char *bin;    /* directory of the programs */
    const char *module; /* the handler */
    const char *shim;
    const char *dir; /* of data and logs */
    bool async;      /* durability of the ventilator and the sink */
    uint64_t seed;
    uint32_t heartbeat_ms;
    uint32_t workers;
    uint32_t producers;
    uint32_t open_max;   /* of a producer */
    uint32_t per_second; /* of a producer */
    uint32_t slow_ms;
    uint32_t end_ms; /* longest end after SIGTERM */
};

struct actor {
    enum role role;
    uint32_t number; /* within its role */
    char name[24];
    pid_t pid; /* 0: does not run */
    bool stopped;
    bool killed;     /* by us */
    bool told;       /* SIGTERM or SIGINT by us */
    bool come_again; /* when it has ended */
    uint64_t told_ms;
};

struct cast_counts {
    uint64_t kills[ROLES];
    uint64_t stops[ROLES];
    uint64_t restarts[ROLES]; /* SIGTERM, an end with status 0, start */
    uint64_t slots;
    uint64_t cuts[PAIRS_N];
    uint64_t drops; /* of packets */
    uint64_t starts;
};

struct cast {
    const struct cast_cfg *cfg;
    struct proxy *proxy;
    uint16_t ports[4]; /* proxy, control, intake, results */
    char control[64];  /* of the ventilator, without the proxy */
    struct actor actors[ACTORS_MAX];
    uint32_t n;
    struct cast_counts counts;
    bool closing;  /* what ends now does not come again */
    char why[512]; /* the first finding; "": none */
};

/* Ports, proxy; nothing is started yet. @return false: see why. */
bool cast_open(struct cast *c, const struct cast_cfg *cfg);
void cast_close(struct cast *c); /* whoever is left is killed */
void cast_start(struct cast *c, uint32_t actor);
void cast_apply(struct cast *c, const struct step *step);
/* Ends of children are taken notice of. */
void cast_reap(struct cast *c);
/* Links pass, everybody runs. */
void cast_heal(struct cast *c);
void cast_tell(struct cast *c, uint32_t actor, int signal);
bool cast_runs(const struct cast *c, enum role role); /* anybody of it */
uint32_t cast_files(const struct cast *c, uint32_t actor);
/* Where the records of a producer are; NULL: of the handlers. */
void cast_log_path(const struct cast *c, const struct actor *producer, char ret[PATH_MAX]);

#endif
