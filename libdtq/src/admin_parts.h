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
dtq_err admin_check_filter(struct dtq_client *c, const dtq_filter *f);
uint32_t admin_limit_of(const dtq_filter *f);
/* The ventilator's own cursor, kept as it is. */
struct dtqi_slice admin_cursor_of_tasks(const dtq_cursor *cursor);
bool admin_keep_cursor(dtq_cursor *cursor, struct dtqi_slice next);

#endif
