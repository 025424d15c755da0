/*
 * The scenarios. Each starts what it measures, prints a table, writes its figures as JSON lines,
 * and says whether its aim was met.
 */
#ifndef DTQ_BENCH_H
#define DTQ_BENCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct bench_opts {
    unsigned rounds;
    uint64_t tasks;   /* 0: the scenario's own number */
    uint64_t calm_ms; /* wait up to so long, before each round, for others to leave the machine */
};

typedef void scenario(const struct bench_opts *o);

scenario bench_a;
scenario bench_b;
scenario bench_c;
scenario bench_d;
scenario bench_e;
scenario bench_f;
scenario bench_g;
scenario bench_i;
scenario bench_l;
scenario bench_p;
scenario bench_s;

/* Where JSON lines go: FOLDER/NAME.jsonl, begun anew. */
void report_begin(const char *folder, const char *name, const char *title);
void report_end(void);
/* One JSON line about `what` ("round", "profile", ..); takes the reference. */
void report_line(const char *what, json_t *fields);
/* Text for people, indented. */
void report_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A figure beside its aim; `at_least`: more is better. */
void report_verdict(const char *what, double value, const char *unit, bool at_least, double aim);
/* Aims that were missed so far. */
unsigned report_missed(void);

/* Before a round: wait for others to leave the machine. @return processors that they use now. */
double bench_calm(const struct bench_opts *o);

#endif
