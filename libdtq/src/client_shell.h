/*
 * What the files of the client shell share: client_io.c has the sockets and the clock, client.c the
 * calls that submit and wait, admin.c those that look into the cluster, admin_queues.c those that
 * change queues.
 */
#ifndef DTQI_CLIENT_SHELL_H
#define DTQI_CLIENT_SHELL_H

#include "client_core.h"
#include "dtq/dtq.h"

#include <sys/types.h>

#define ERRMSG_BYTES 512
#define SLAB_BYTES 65536u
#define SPECS_KEPT 4u

struct connection {
    void *socket;  /* NULL: none */
    void *monitor; /* tells when the connection cannot be made, or is lost */
    bool is_down;  /* the core must be told */
};

/* A Spec that was encoded before: tasks of one kind come in rows. */
struct kept_spec {
    struct dtqi_spec spec; /* its strings are in buf */
    struct dtqi_buf *buf;
};

struct dtq_client {
    struct client *core;
    uint32_t calls; /* of dtq_submit() and dtq_submit_many() */
    void *ctx;
    pid_t pid;
    struct connection connections[CLIENT_PEERS_MAX];
    uint64_t monitors; /* made so far: names of their endpoints */
    struct client_actions actions;

    int epoll_fd; /* -1: dtq_client_fd() was not called */
    int timer_fd;
    uint64_t timer_ms; /* what the timer is set to; UINT64_MAX: not at all */

    struct kept_spec specs[SPECS_KEPT];
    uint32_t spec_next;

    /* What the last call handed out. */
    unsigned char *slab;
    uint32_t slab_used;
    struct dtqi_buf *lent;

    /* Who does not answer. */
    void (*on_silence)(void *arg, const dtq_silence *silence); /* NULL: nobody is to be told */
    void *silence_arg;
    uint32_t told_peer;  /* it has been told of this one; CLIENT_NOBODY: of none */
    dtq_silence silence; /* after DTQ_EUNREACHABLE */
    char silent_endpoint[DTQI_ENDPOINT_BYTES_MAX + 1];

    char errmsg[ERRMSG_BYTES];
};

/* ---- client_io.c */

struct client_time io_time(void);
/* When a call with this time-out ends; UINT64_MAX: never. */
uint64_t io_end_ms(int32_t timeout_ms);
/* @return DTQ_OK, DTQ_EIO */
dtq_err io_open(struct dtq_client *c);
void io_close(struct dtq_client *c);
/* Sends what is to be sent, waits until something comes, a timer is due or `end_ms` is reached,
 * takes in what came, and sends what that made. With end_ms 0 it does not wait.
 * @return DTQ_OK; DTQ_EINVAL (in a forked child), DTQ_EIO */
dtq_err io_pump(struct dtq_client *c, uint64_t end_ms);
/* At the end of a call: the descriptor must tell what is left to do. */
void io_settle(struct dtq_client *c);
int io_fd(struct dtq_client *c);

/* ---- client.c */

/* Keeps who this is in c->silence. */
void shell_note_silence(struct dtq_client *c, uint32_t peer);

/* Keeps the sentence for dtq_client_errmsg(). @return err */
__attribute__((format(printf, 3, 4))) dtq_err shell_fail(struct dtq_client *c, dtq_err err,
                                                         const char *format, ...);
dtq_err shell_fail_with(struct dtq_client *c, dtq_err err, struct dtqi_str text);
/* At the beginning of a call: what the last one handed out is given up. */
void shell_enter(struct dtq_client *c);
/* Memory that lives until the next call. */
void *shell_lend(struct dtq_client *c, size_t bytes);
const char *shell_lend_text(struct dtq_client *c, struct dtqi_str text);
/* NULL with *ret_err set: no answer. The answer is borrowed until client_question_done(). */
const struct dtqi_msg *shell_ask(struct dtq_client *c, uint32_t peer, struct dtqi_msg *msg,
                                 uint64_t end_ms, dtq_err *ret_err);
/* A task of a caller, checked, its spec encoded: that is valid until the next few of others. */
dtq_err shell_convert_task(struct dtq_client *c, const dtq_task *task, struct client_task *ret);
/* Waits until the ventilator has said which sinks there are. */
dtq_err shell_wait_welcome(struct dtq_client *c, uint64_t end_ms);
dtq_err shell_timed_out(struct dtq_client *c);
dtq_err shell_lend_result(struct dtq_client *c, const struct client_result *in, dtq_result *ret);

/* Forget the dead letter of this id, if there is one. */
dtq_err shell_forget_dead(struct dtq_client *c, const dtq_id *id, uint64_t end_ms,
                          bool *ret_was_there);

#endif
