/*
 * A ventilator and a sink in a thread of the test: they speak the protocol through the codec,
 * accept every task, "run" it at once and keep its outcome in memory. What they are to do wrong is
 * set by flags, which may be changed at any time. Nothing is durable and nothing is bounded.
 */
#ifndef FAKE_CLUSTER_H
#define FAKE_CLUSTER_H

#include "dtq/base.h"

#include <stdatomic.h>
#include <stdbool.h>

struct fake_cluster;

struct fake_flags {
    atomic_int refuse_hello;  /* enum dtqi_refusal; 0: welcome */
    atomic_int refuse_tasks;  /* enum dtqi_refusal for every task; 0: accept */
    atomic_bool mute;         /* the ventilator answers no SUBMIT */
    atomic_bool hold_results; /* tasks stay ready; no outcome is made */
    atomic_bool push_nothing; /* followers are told nothing */
    atomic_bool deaf_sink;    /* the sink answers nothing */
    atomic_bool forget_done;  /* the ventilator knows nothing of tasks with an outcome */
    atomic_bool garbage;      /* every answer of the ventilator comes after broken frames */
    atomic_uint result_bytes; /* length of each result; 0: the payload comes back */
    atomic_uint hellos;       /* counts, for the test to read */
    atomic_uint submits;
    atomic_uint tasks;
    atomic_uint resends;
    atomic_uint follows;
    atomic_uint waits;
    atomic_uint cancels;
};

struct fake_cluster *fake_cluster_open(void);
void fake_cluster_close(struct fake_cluster *f);
const char *fake_cluster_endpoint(const struct fake_cluster *f);
struct fake_flags *fake_cluster_flags(struct fake_cluster *f);
/* Close the ventilator's (or the sink's) socket and bind it to the same port again: every
 * connection is lost, and what was on its way. Returns when it is done. */
void fake_cluster_restart_ventilator(struct fake_cluster *f);
void fake_cluster_restart_sink(struct fake_cluster *f);
/* Close the ventilator's socket until it is restarted. */
void fake_cluster_stop_ventilator(struct fake_cluster *f);
/* Give every task that is ready its outcome now, and push it. */
void fake_cluster_run(struct fake_cluster *f);

#endif
