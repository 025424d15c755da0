/* What operators order. */
#include "client_shell.h"

static dtq_err refused(struct dtq_client *c, const struct dtqi_operate_reply *reply)
{
    return shell_fail_with(c, reply->reason == DTQI_BUSY ? DTQ_EBUSY : DTQ_EREFUSED, reply->text);
}

struct done {
    uint64_t count;
    bool has_next;
    dtq_id next;
};

/* One order, until it is committed. */
static dtq_err operate(struct dtq_client *c, struct dtqi_operate *order, uint64_t end_ms,
                       struct done *ret)
{
    struct dtqi_msg msg = {.type = DTQI_OPERATE, .operate = *order};
    dtq_err err;
    const struct dtqi_msg *answer = shell_ask(c, CLIENT_VENTILATOR, &msg, end_ms, &err);

    if (answer == NULL)
        return err;
    if (answer->type != DTQI_OPERATE_REPLY)
        err = shell_fail(c, DTQ_EPROTO, "the ventilator answered something else");
    else if (answer->operate_reply.reason != DTQI_REFUSAL_NONE)
        err = refused(c, &answer->operate_reply);
    else
        *ret = (struct done){answer->operate_reply.count, answer->operate_reply.has_next,
                             answer->operate_reply.next};
    client_question_done(c->core);
    return err;
}

static dtq_err operate_count(struct dtq_client *c, struct dtqi_operate *order, int32_t timeout_ms,
                             uint64_t *ret_count)
{
    struct done done = {0};
    dtq_err err;

    shell_enter(c);
    err = operate(c, order, io_end_ms(timeout_ms), &done);
    if (err == DTQ_OK)
        *ret_count = done.count;
    io_settle(c);
    return err;
}

static dtq_err operate_queue(struct dtq_client *c, const char *queue, struct dtqi_operate order,
                             int32_t timeout_ms, uint64_t *ret_count)
{
    struct done done = {0};
    dtq_err err;

    if (c == NULL || queue == NULL)
        return DTQ_EINVAL;
    shell_enter(c);
    order.target = dtqi_str(queue);
    if (!dtqi_is_name(order.target))
        err = shell_fail(c, DTQ_EREFUSED, "not the name of a queue");
    else
        err = operate(c, &order, io_end_ms(timeout_ms), &done);
    if (err == DTQ_OK)
        *ret_count = done.count;
    io_settle(c);
    return err;
}

dtq_err dtq_queue_pause(dtq_client *client, const char *queue, int32_t timeout_ms)
{
    uint64_t count;

    return operate_queue(client, queue, (struct dtqi_operate){.operation = DTQI_QUEUE_PAUSE},
                         timeout_ms, &count);
}

dtq_err dtq_queue_resume(dtq_client *client, const char *queue, int32_t timeout_ms)
{
    uint64_t count;

    return operate_queue(client, queue, (struct dtqi_operate){.operation = DTQI_QUEUE_RESUME},
                         timeout_ms, &count);
}

dtq_err dtq_queue_purge(dtq_client *client, const char *queue, int32_t timeout_ms, uint64_t *ret_n)
{
    if (ret_n == NULL)
        return DTQ_EINVAL;
    return operate_queue(client, queue, (struct dtqi_operate){.operation = DTQI_QUEUE_PURGE},
                         timeout_ms, ret_n);
}

static dtq_err limit(struct dtq_client *c, enum dtqi_operation operation, const char *queue,
                     uint64_t most, int32_t timeout_ms)
{
    struct dtqi_operate order = {.operation = operation, .number = (double)most};
    uint64_t count;

    return operate_queue(c, queue, order, timeout_ms, &count);
}

dtq_err dtq_queue_limit(dtq_client *client, const char *queue, uint64_t limit_n, int32_t timeout_ms)
{
    return limit(client, DTQI_QUEUE_LIMIT, queue, limit_n, timeout_ms);
}

dtq_err dtq_queue_group_limit(dtq_client *client, const char *queue, uint64_t limit_n,
                              int32_t timeout_ms)
{
    return limit(client, DTQI_QUEUE_GROUP_LIMIT, queue, limit_n, timeout_ms);
}

static dtq_err rate(struct dtq_client *c, struct dtqi_operate order, const char *queue,
                    int32_t timeout_ms)
{
    uint64_t count;

    return operate_queue(c, queue, order, timeout_ms, &count);
}

dtq_err dtq_queue_rate(dtq_client *client, const char *queue, uint64_t tasks, uint64_t period_ms,
                       int32_t timeout_ms)
{
    struct dtqi_operate order = {
        .operation = DTQI_QUEUE_RATE, .number = (double)tasks, .period_ms = period_ms};

    return rate(client, order, queue, timeout_ms);
}

dtq_err dtq_queue_group_rate(dtq_client *client, const char *queue, uint64_t tasks,
                             uint64_t period_ms, int32_t timeout_ms)
{
    struct dtqi_operate order = {
        .operation = DTQI_QUEUE_GROUP_RATE, .number = (double)tasks, .period_ms = period_ms};

    return rate(client, order, queue, timeout_ms);
}

dtq_err dtq_queue_ageing(dtq_client *client, const char *queue, uint64_t step_ms,
                         int32_t timeout_ms)
{
    struct dtqi_operate order = {.operation = DTQI_QUEUE_AGEING, .period_ms = step_ms};
    uint64_t count;

    return operate_queue(client, queue, order, timeout_ms, &count);
}

/* ---------------------------------------------------------------- move */

/* What a cursor of ours holds. */
struct place {
    uint64_t has_after;
    dtq_id after;
};

static dtq_err move_page(struct dtq_client *c, struct dtqi_operate *order, dtq_cursor *cursor,
                         uint64_t end_ms, struct done *ret)
{
    struct place at;
    dtq_err err;

    _Static_assert(sizeof at <= sizeof *cursor, "a cursor holds a place");
    memcpy(&at, cursor, sizeof at);
    order->has_after = at.has_after != 0;
    order->after = at.after;
    err = operate(c, order, end_ms, ret);
    if (err != DTQ_OK)
        return err;
    at = (struct place){ret->has_next, ret->next};
    memcpy(cursor, &at, sizeof at);
    return DTQ_OK;
}

dtq_err dtq_queue_move_page(dtq_client *client, const char *from, const char *to,
                            dtq_cursor *cursor, int32_t timeout_ms, uint64_t *ret_n, int *ret_more)
{
    struct dtqi_operate order = {.operation = DTQI_QUEUE_MOVE};
    struct done done = {0};
    dtq_err err;

    if (client == NULL || from == NULL || to == NULL || cursor == NULL || ret_n == NULL ||
        ret_more == NULL)
        return DTQ_EINVAL;
    shell_enter(client);
    order.target = dtqi_str(from);
    order.destination = dtqi_str(to);
    if (!dtqi_is_name(order.target) || !dtqi_is_name(order.destination))
        err = shell_fail(client, DTQ_EREFUSED, "not the name of a queue");
    else
        err = move_page(client, &order, cursor, io_end_ms(timeout_ms), &done);
    if (err == DTQ_OK) {
        *ret_n = done.count;
        *ret_more = done.has_next;
    }
    io_settle(client);
    return err;
}

/* ---------------------------------------------------------------- sinks */

dtq_err dtq_sink_accept(dtq_client *client, const uint8_t store[16], int32_t timeout_ms,
                        uint64_t *ret_n)
{
    struct dtqi_operate order = {.operation = DTQI_SINK_ACCEPT, .n = 1};
    dtq_id id;

    if (client == NULL || store == NULL || ret_n == NULL)
        return DTQ_EINVAL;
    memcpy(id.bytes, store, sizeof id.bytes);
    order.ids = &id;
    return operate_count(client, &order, timeout_ms, ret_n);
}

dtq_err dtq_sink_remove(dtq_client *client, const uint8_t store[16], const uint8_t *successor,
                        int force, int32_t timeout_ms, uint64_t *ret_n)
{
    struct dtqi_operate order = {
        .operation = DTQI_SINK_REMOVE, .n = successor != NULL ? 2 : 1, .force = force != 0};
    dtq_id ids[2];

    if (client == NULL || store == NULL || ret_n == NULL)
        return DTQ_EINVAL;
    memcpy(ids[0].bytes, store, sizeof ids[0].bytes);
    if (successor != NULL)
        memcpy(ids[1].bytes, successor, sizeof ids[1].bytes);
    order.ids = ids;
    return operate_count(client, &order, timeout_ms, ret_n);
}
