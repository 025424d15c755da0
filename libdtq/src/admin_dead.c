#include "admin_parts.h"
#include "codec.h"

#define REQUEUE_AT_ONCE 256u

static bool is_queue(const char *queue)
{
    return queue == NULL || dtqi_is_name(dtqi_str(queue));
}

/* ---------------------------------------------------------------- lists */

static bool read_letter(struct dtq_client *c, const struct dtqi_task_info *in,
                        const dtq_task_info *task, dtq_dead_letter *out)
{
    *out = (dtq_dead_letter){
        .task = *task,
        .dead_wall_ms = in->dead_wall_ms,
        .reason = in->reason,
        .code = in->code,
        .error = shell_lend_text(c, in->error),
    };
    if (in->payload.len == in->payload_bytes) { /* else it was not asked for */
        out->payload = shell_lend_text(c, (struct dtqi_str){in->payload.at, in->payload.len});
        out->payload_bytes = in->payload.len;
        if (out->payload == NULL)
            return false;
    }
    return out->error != NULL;
}

static dtq_err read_letters(struct dtq_client *c, const struct dtqi_query_reply *reply,
                            dtq_dead_letter **ret)
{
    dtq_dead_letter *letters = shell_lend(c, (reply->tasks_n + 1) * sizeof *letters);
    dtq_task_info *tasks = NULL;
    dtq_err err = admin_read_tasks(c, reply, &tasks);

    for (uint32_t i = 0; letters != NULL && err == DTQ_OK && i < reply->tasks_n; i++)
        if (!read_letter(c, &reply->tasks[i], &tasks[i], &letters[i]))
            letters = NULL;
    *ret = letters;
    return letters != NULL || err != DTQ_OK ? err : admin_no_memory(c);
}

static dtq_err take_letters(struct dtq_client *c, const struct dtqi_query_reply *reply,
                            void *ret_list)
{
    dtq_dead_letter *letters;
    dtq_err err = read_letters(c, reply, &letters);

    if (err == DTQ_OK)
        *(dtq_dead_list *)ret_list = (dtq_dead_list){letters, reply->tasks_n, reply->next.len != 0};
    return err;
}

dtq_err dtq_dead_letters(dtq_client *client, const dtq_filter *filter, dtq_cursor *cursor,
                         int32_t timeout_ms, dtq_dead_list *ret_list)
{
    const dtq_filter *f = filter != NULL ? filter : &admin_all;

    return admin_list(client, f, cursor,
                      (struct dtqi_query){.kind = DTQI_QUERY_DEAD, .bodies = f->bodies != 0},
                      timeout_ms, take_letters, ret_list);
}

/* ---------------------------------------------------------------- operations */

/* The reply is borrowed until client_question_done(). NULL: refused, or none came. */
static const struct dtqi_operate_reply *operate(struct dtq_client *c, struct dtqi_msg *msg,
                                                uint64_t end_ms, dtq_err *ret_err)
{
    const struct dtqi_msg *answer = shell_ask(c, CLIENT_VENTILATOR, msg, end_ms, ret_err);
    const struct dtqi_operate_reply *reply;

    if (answer == NULL)
        return NULL;
    reply = &answer->operate_reply;
    if (answer->type != DTQI_OPERATE_REPLY || (reply->n != 0 && reply->old_ids == NULL))
        *ret_err = shell_fail(c, DTQ_EPROTO, "the ventilator answered something else");
    else if (reply->reason != DTQI_REFUSAL_NONE)
        *ret_err =
            shell_fail_with(c, reply->reason == DTQI_BUSY ? DTQ_EBUSY : DTQ_EREFUSED, reply->text);
    else
        return reply;
    client_question_done(c->core);
    return NULL;
}

/* Answers are in the order of the question, and leave out what is not there. */
static void fill_new_ids(const dtq_id *ids, size_t n, const struct dtqi_operate_reply *reply,
                         dtq_id *ret_new_ids)
{
    uint32_t k = 0;

    for (size_t i = 0; i < n && k < reply->n; i++)
        if (dtqi_id_eq(&ids[i], &reply->old_ids[k]))
            ret_new_ids[i] = reply->ids[k++];
}

/* How many of the ids were looked at. */
static size_t looked_at(const dtq_id *ids, size_t n, const struct dtqi_operate_reply *reply)
{
    for (size_t i = 0; reply->has_next && i < n; i++)
        if (dtqi_id_eq(&ids[i], &reply->next))
            return i + 1;
    return n;
}

static dtq_err by_ids(struct dtq_client *c, enum dtqi_operation operation, const dtq_id *ids,
                      size_t n, uint64_t end_ms, dtq_id *ret_new_ids, uint64_t *ret_n)
{
    for (size_t at = 0; at < n;) {
        size_t some = n - at < REQUEUE_AT_ONCE ? n - at : REQUEUE_AT_ONCE;
        struct dtqi_msg msg = {
            .type = DTQI_OPERATE,
            .operate = {.operation = operation, .ids = ids + at, .n = (uint32_t)some}};
        dtq_err err;
        const struct dtqi_operate_reply *reply = operate(c, &msg, end_ms, &err);

        if (reply == NULL)
            return err;
        if (ret_new_ids != NULL)
            fill_new_ids(ids + at, some, reply, ret_new_ids + at);
        *ret_n += reply->count;
        at += looked_at(ids + at, some, reply);
        client_question_done(c->core);
    }
    return DTQ_OK;
}

dtq_err shell_forget_dead(struct dtq_client *c, const dtq_id *id, uint64_t end_ms,
                          bool *ret_was_there)
{
    uint64_t n = 0;
    dtq_err err = by_ids(c, DTQI_DEAD_PURGE, id, 1, end_ms, NULL, &n);

    *ret_was_there = n != 0;
    return err;
}

dtq_err dtq_dead_requeue(dtq_client *client, const dtq_id *ids, size_t n, int32_t timeout_ms,
                         dtq_id *ret_new_ids)
{
    uint64_t found = 0;
    dtq_err err;

    if (client == NULL || ids == NULL || n == 0 || ret_new_ids == NULL)
        return DTQ_EINVAL;
    shell_enter(client);
    memset(ret_new_ids, 0, n * sizeof *ret_new_ids);
    err = by_ids(client, DTQI_DEAD_REQUEUE, ids, n, io_end_ms(timeout_ms), ret_new_ids, &found);
    io_settle(client);
    return err;
}

dtq_err dtq_dead_purge(dtq_client *client, const dtq_id *ids, size_t n, int32_t timeout_ms,
                       uint64_t *ret_n)
{
    uint64_t found = 0;
    dtq_err err;

    if (client == NULL || ids == NULL || n == 0)
        return DTQ_EINVAL;
    shell_enter(client);
    err = by_ids(client, DTQI_DEAD_PURGE, ids, n, io_end_ms(timeout_ms), NULL, &found);
    io_settle(client);
    if (ret_n != NULL)
        *ret_n = found;
    return err;
}

/* ---------------------------------------------------------------- all of them */

/* What a cursor of ours holds. */
struct place {
    uint64_t has_after;
    dtq_id after;
    uint64_t before_wall_ms; /* what was made since the first page is left alone */
};

static struct dtqi_msg page_of(enum dtqi_operation operation, const char *queue,
                               const struct place *at)
{
    return (struct dtqi_msg){.type = DTQI_OPERATE,
                             .operate = {.operation = operation,
                                         .target = dtqi_str(queue != NULL ? queue : ""),
                                         .all = true,
                                         .has_after = at->has_after != 0,
                                         .after = at->after,
                                         .before_wall_ms = at->before_wall_ms}};
}

static void advance(struct place *at, const struct dtqi_operate_reply *reply)
{
    at->has_after = reply->has_next;
    at->after = reply->next;
    if (at->before_wall_ms == 0 && reply->n != 0)
        at->before_wall_ms = dtqi_id_wall_ms(&reply->ids[0]);
}

static dtq_err requeue_page(struct dtq_client *c, const char *queue, dtq_cursor *cursor,
                            uint64_t end_ms, dtq_requeued_list *ret)
{
    struct place at;
    struct dtqi_msg msg;
    const struct dtqi_operate_reply *reply;
    dtq_id *ids;
    dtq_err err;

    _Static_assert(sizeof at <= sizeof *cursor, "a cursor holds a place");
    memcpy(&at, cursor, sizeof at);
    msg = page_of(DTQI_DEAD_REQUEUE, queue, &at);
    reply = operate(c, &msg, end_ms, &err);
    if (reply == NULL)
        return err;
    ids = shell_lend(c, (2 * (size_t)reply->n + 1) * sizeof *ids);
    if (ids == NULL) {
        err = admin_no_memory(c);
    } else {
        if (reply->n != 0) {
            memcpy(ids, reply->old_ids, reply->n * sizeof *ids);
            memcpy(ids + reply->n, reply->ids, reply->n * sizeof *ids);
        }
        *ret = (dtq_requeued_list){ids, ids + reply->n, reply->n, reply->has_next};
        advance(&at, reply);
        memcpy(cursor, &at, sizeof at);
    }
    client_question_done(c->core);
    return err;
}

dtq_err dtq_dead_requeue_page(dtq_client *client, const char *queue, dtq_cursor *cursor,
                              int32_t timeout_ms, dtq_requeued_list *ret_list)
{
    dtq_err err;

    if (client == NULL || cursor == NULL || ret_list == NULL || !is_queue(queue))
        return DTQ_EINVAL;
    shell_enter(client);
    err = requeue_page(client, queue, cursor, io_end_ms(timeout_ms), ret_list);
    io_settle(client);
    return err;
}

static dtq_err purge_all(struct dtq_client *c, const char *queue, uint64_t before_wall_ms,
                         uint64_t end_ms, uint64_t *ret_n)
{
    struct place at = {.before_wall_ms = before_wall_ms};
    dtq_err err;

    do {
        struct dtqi_msg msg = page_of(DTQI_DEAD_PURGE, queue, &at);
        const struct dtqi_operate_reply *reply = operate(c, &msg, end_ms, &err);

        if (reply == NULL)
            return err;
        *ret_n += reply->count;
        advance(&at, reply);
        client_question_done(c->core);
    } while (at.has_after != 0);
    return DTQ_OK;
}

dtq_err dtq_dead_purge_all(dtq_client *client, const char *queue, uint64_t before_wall_ms,
                           int32_t timeout_ms, uint64_t *ret_n)
{
    uint64_t n = 0;
    dtq_err err;

    if (client == NULL || !is_queue(queue))
        return DTQ_EINVAL;
    shell_enter(client);
    err = purge_all(client, queue, before_wall_ms, io_end_ms(timeout_ms), &n);
    io_settle(client);
    if (ret_n != NULL)
        *ret_n = n;
    return err;
}
