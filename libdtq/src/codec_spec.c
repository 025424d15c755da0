#include "codec_parts.h"
#include "retry_rules.h"

static bool check_name(struct codec_reader *r, const char *field, struct dtqi_str name,
                       bool may_be_empty)
{
    if ((may_be_empty && name.len == 0) || dtqi_is_name(name))
        return true;
    return codec_refuse(r,
                        "%s is not a name (1 to %u letters, digits and \"_.:-\"), it has %u bytes",
                        field, DTQI_NAME_BYTES_MAX, name.len);
}

static bool check_duration(struct codec_reader *r, const char *field, uint64_t ms)
{
    if (ms <= DTQI_DURATION_MS_MAX)
        return true;
    return codec_refuse(r, "%s is over a hundred years", field);
}

static bool check_argv(struct codec_reader *r, const struct dtqi_spec *spec)
{
    if (spec->argc > DTQI_ARGV_MAX)
        return codec_refuse(r, "argv has %u words, more than %u", spec->argc, DTQI_ARGV_MAX);
    for (uint32_t i = 0; i < spec->argc; i++)
        if (spec->argv[i].len != 0 && memchr(spec->argv[i].at, 0, spec->argv[i].len) != NULL)
            return codec_refuse(r, "word %u of argv holds a NUL byte", i);
    return true;
}

static bool refuse_rules(struct codec_reader *r, const char *field, struct dtqi_str rules)
{
    return codec_refuse(r, "%s: '%.*s' %s", field, rules.len < 64 ? (int)rules.len : 64, rules.at,
                        dtqi_retry_rules_flaw(rules));
}

static bool check_rules(struct codec_reader *r, const char *field, struct dtqi_str rules)
{
    if (dtqi_retry_rules_are_valid(rules))
        return true;
    return refuse_rules(r, field, rules);
}

static bool check_new_rules(struct codec_reader *r, const char *field, struct dtqi_str rules)
{
    return dtqi_retry_rules_flaw(rules) == NULL || refuse_rules(r, field, rules);
}

static bool check_spec(struct codec_reader *r, const struct dtqi_spec *spec)
{
    if (!check_name(r, "name", spec->name, false) || !check_name(r, "queue", spec->queue, false) ||
        !check_name(r, "key", spec->key, true) || !check_name(r, "group", spec->group, true) ||
        !check_name(r, "moved_from", spec->moved_from, true) ||
        !check_name(r, "cron", spec->cron, true))
        return false;
    if (!check_duration(r, "backoff_max_ms", spec->backoff_max_ms) ||
        !check_duration(r, "time_limit_ms", spec->time_limit_ms) ||
        !check_duration(r, "soft_time_limit_ms", spec->soft_time_limit_ms) ||
        !check_duration(r, "expires_ms", spec->expires_ms) ||
        !check_duration(r, "result_ttl_ms", spec->result_ttl_ms) ||
        !check_duration(r, "key_ttl_ms", spec->key_ttl_ms))
        return false;
    if (spec->priority >= DTQI_PRIORITIES)
        return codec_refuse(r, "priority is %u, not 0 to 9", spec->priority);
    if (spec->retries > DTQI_RETRIES_MAX)
        return codec_refuse(r, "retries is %u, more than %u", spec->retries, DTQI_RETRIES_MAX);
    if (spec->crash_limit > DTQI_CRASH_LIMIT_MAX)
        return codec_refuse(r, "crash_limit is %u, more than %u", spec->crash_limit,
                            DTQI_CRASH_LIMIT_MAX);
    if (spec->backoff_min_ms > spec->backoff_max_ms)
        return codec_refuse(r, "backoff_min_ms is above backoff_max_ms");
    if (spec->requeued_from.len != 0 && spec->requeued_from.len != 16)
        return codec_refuse(r, "requeued_from has %u bytes, not 16", spec->requeued_from.len);
    return check_rules(r, "retry_on", spec->retry_on) &&
           check_rules(r, "no_retry_on", spec->no_retry_on) && check_argv(r, spec);
}

/* One that is submitted now. What was accepted once is read for ever, so that what is asked of new
 * ones only is not asked of the journal, nor of what goes to workers. */
static bool check_new_spec(struct codec_reader *r, const struct dtqi_spec *spec)
{
    return check_spec(r, spec) && check_new_rules(r, "retry_on", spec->retry_on) &&
           check_new_rules(r, "no_retry_on", spec->no_retry_on);
}

dtq_err dtqi_spec_check(const struct dtqi_spec *spec, char *why, size_t why_bytes)
{
    struct codec_reader r = {.what = "task", .why = why, .why_bytes = why_bytes};

    return check_new_spec(&r, spec) ? DTQ_OK : r.err;
}

static bool read_argv(struct codec_reader *r, const Dtq__V1__Spec *in, struct dtqi_spec *out)
{
    struct dtqi_str *argv;

    if (in->n_argv == 0)
        return true;
    if (in->n_argv > DTQI_ARGV_MAX)
        return codec_refuse(r, "argv has %zu words, more than %u", in->n_argv, DTQI_ARGV_MAX);
    argv = codec_room(r, in->n_argv, sizeof *argv);
    if (argv == NULL)
        return false;
    for (size_t i = 0; i < in->n_argv; i++)
        argv[i] = (struct dtqi_str){(const char *)in->argv[i].data, (uint32_t)in->argv[i].len};
    out->argv = argv;
    out->argc = (uint32_t)in->n_argv;
    return true;
}

static bool unpack_spec(struct codec_reader *r, struct dtqi_slice raw, struct dtqi_spec *ret)
{
    ProtobufCAllocator allocator = codec_allocator(r);
    const Dtq__V1__Spec *in;

    if (raw.len > DTQI_SPEC_BYTES_MAX)
        return codec_refuse(r, "a spec has %u bytes, more than %u", raw.len, DTQI_SPEC_BYTES_MAX);
    in = dtq__v1__spec__unpack(&allocator, raw.len, raw.at);
    if (in == NULL)
        return r->err != DTQ_OK ? false : codec_refuse(r, "a spec is not valid protobuf");
    *ret = (struct dtqi_spec){
        .raw = raw,
        .name = dtqi_str(in->name),
        .queue = dtqi_str(in->queue),
        .priority = in->priority,
        .retries = in->retries,
        .backoff_min_ms = in->backoff_min_ms,
        .backoff_max_ms = in->backoff_max_ms,
        .time_limit_ms = in->time_limit_ms,
        .soft_time_limit_ms = in->soft_time_limit_ms,
        .crash_limit = in->crash_limit,
        .expires_ms = in->expires_ms,
        .result_ttl_ms = in->result_ttl_ms,
        .no_result = in->no_result != 0,
        .key = dtqi_str(in->key),
        .key_ttl_ms = in->key_ttl_ms,
        .group = dtqi_str(in->group),
        .group_ordered = in->group_ordered != 0,
        .requeued_from = {in->requeued_from.data, (uint32_t)in->requeued_from.len},
        .retry_on = dtqi_str(in->retry_on),
        .no_retry_on = dtqi_str(in->no_retry_on),
        .moved_from = dtqi_str(in->moved_from),
        .cron = dtqi_str(in->cron),
    };
    return read_argv(r, in, ret);
}

bool codec_read_spec(struct codec_reader *r, struct dtqi_slice raw, struct dtqi_spec *ret)
{
    return unpack_spec(r, raw, ret) && check_spec(r, ret);
}

bool codec_read_foreign_spec(struct codec_reader *r, struct dtqi_slice raw, struct dtqi_spec *ret)
{
    char why[256] = "";
    struct codec_reader own = {.buf = r->buf, .what = "task", .why = why, .why_bytes = sizeof why};
    char *flaw;

    if (!unpack_spec(r, raw, ret))
        return false;
    if (check_new_spec(&own, ret))
        return true;
    flaw = codec_room(r, sizeof why, 1);
    if (flaw == NULL)
        return false;
    memcpy(flaw, why, sizeof why);
    ret->flaw = flaw;
    return true;
}

dtq_err dtqi_spec_decode(struct dtqi_slice raw, struct dtqi_buf *buf, struct dtqi_spec *ret_spec,
                         char *why, size_t why_bytes)
{
    struct codec_reader r = {.buf = buf, .what = "task", .why = why, .why_bytes = why_bytes};
    struct dtqi_spec spec = {0};

    if (!codec_read_spec(&r, raw, &spec))
        return r.err;
    *ret_spec = spec;
    return DTQ_OK;
}

static bool write_spec(struct codec_writer *w, const struct dtqi_spec *spec, Dtq__V1__Spec *out)
{
    out->name = codec_exact(w, spec->name);
    out->queue = codec_exact(w, spec->queue);
    out->key = codec_exact(w, spec->key);
    out->group = codec_exact(w, spec->group);
    out->retry_on = codec_exact(w, spec->retry_on);
    out->no_retry_on = codec_exact(w, spec->no_retry_on);
    out->cron = codec_exact(w, spec->cron);
    out->moved_from = codec_exact(w, spec->moved_from);
    if (out->name == NULL || out->queue == NULL || out->key == NULL || out->group == NULL ||
        out->retry_on == NULL || out->no_retry_on == NULL || out->moved_from == NULL ||
        out->cron == NULL)
        return false;
    out->priority = spec->priority;
    out->retries = spec->retries;
    out->backoff_min_ms = spec->backoff_min_ms;
    out->backoff_max_ms = spec->backoff_max_ms;
    out->time_limit_ms = spec->time_limit_ms;
    out->soft_time_limit_ms = spec->soft_time_limit_ms;
    out->crash_limit = spec->crash_limit;
    out->expires_ms = spec->expires_ms;
    out->result_ttl_ms = spec->result_ttl_ms;
    out->no_result = spec->no_result;
    out->key_ttl_ms = spec->key_ttl_ms;
    out->group_ordered = spec->group_ordered;
    out->requeued_from =
        (ProtobufCBinaryData){spec->requeued_from.len, codec_unconst(spec->requeued_from.at)};
    out->n_argv = spec->argc;
    out->argv = codec_scratch(w, spec->argc, sizeof *out->argv);
    if (out->argv == NULL)
        return false;
    for (uint32_t i = 0; i < spec->argc; i++)
        out->argv[i] = (ProtobufCBinaryData){spec->argv[i].len, codec_unconst(spec->argv[i].at)};
    return true;
}

struct dtqi_slice dtqi_spec_encode(const struct dtqi_spec *spec, struct dtqi_buf *buf)
{
    struct codec_writer w;
    struct dtqi_slice raw = {0};
    Dtq__V1__Spec out;
    size_t bytes;
    void *at;

    assert(check_spec(&(struct codec_reader){.what = "task"}, spec));
    w.used = 0;
    w.more = NULL;
    dtq__v1__spec__init(&out);
    if (!write_spec(&w, spec, &out))
        goto done;
    bytes = dtq__v1__spec__get_packed_size(&out);
    if (bytes > DTQI_SPEC_BYTES_MAX)
        goto done;
    at = dtqi_buf_alloc(buf, bytes);
    if (at == NULL)
        goto done;
    dtq__v1__spec__pack(&out, at);
    raw = (struct dtqi_slice){at, (uint32_t)bytes};

done:
    codec_writer_done(&w);
    return raw;
}
