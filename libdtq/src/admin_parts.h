/* What the calls that look into a cluster share. */
#ifndef DTQI_ADMIN_PARTS_H
#define DTQI_ADMIN_PARTS_H

#include "client_shell.h"

/* An answer of the ventilator that is no refusal; NULL with *ret_err set: there is none. Borrowed
 * until client_question_done(). */
const struct dtqi_query_reply *admin_query(struct dtq_client *c, struct dtqi_msg *msg,
                                           uint64_t end_ms, dtq_err *ret_err);
dtq_err admin_no_memory(struct dtq_client *c);
dtq_err admin_read_tasks(struct dtq_client *c, const struct dtqi_query_reply *reply,
                         dtq_task_info **ret_tasks);

/* What an answer has becomes the entries of the caller's list. */
typedef dtq_err admin_take(struct dtq_client *c, const struct dtqi_query_reply *reply,
                           void *ret_list);
/* A page of what the ventilator lists, for the public calls: `query` has its kind, and what of the
 * filter this kind knows beside queue, prefix and limit. NULL for `cursor`: the first page. */
dtq_err admin_list(dtq_client *client, const dtq_filter *filter, dtq_cursor *cursor,
                   struct dtqi_query query, int32_t timeout_ms, admin_take *take, void *ret_list);
extern const dtq_filter admin_all;

#endif
