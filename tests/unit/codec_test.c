#include "codec.h"

#include "bounds.h"
#include "sample.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* ---- helpers */

/* A frame that a test writes by hand, field by field. */
struct wire {
    unsigned char at[4096];
    size_t bytes;
};

static struct wire wire_of(enum dtqi_msg_type type)
{
    struct wire w = {.at = {DTQI_FRAME_MAGIC, DTQI_PROTOCOL_VERSION, (unsigned char)type, 0},
                     .bytes = 4};

    return w;
}

static void put_varint(struct wire *w, uint64_t number)
{
    for (; number >= 0x80; number >>= 7)
        w->at[w->bytes++] = (unsigned char)(number | 0x80);
    w->at[w->bytes++] = (unsigned char)number;
}

static void put_number(struct wire *w, unsigned field, uint64_t number)
{
    put_varint(w, field << 3);
    put_varint(w, number);
}

static void put_bytes(struct wire *w, unsigned field, const void *at, size_t bytes)
{
    put_varint(w, field << 3 | 2);
    put_varint(w, bytes);
    assert_true(w->bytes + bytes <= sizeof w->at);
    if (bytes != 0)
        memcpy(w->at + w->bytes, at, bytes);
    w->bytes += bytes;
}

static const unsigned char zeros[1024];
static const unsigned char a_spec[] = {0x0a, 1, 'w', 0x12, 1, 'q'}; /* name "w", queue "q" */

/* A SUBMIT of n tasks without bodies. */
static struct wire submit_of(uint32_t n)
{
    struct wire w = wire_of(DTQI_SUBMIT);

    put_bytes(&w, 2, zeros, (size_t)n * 16);
    put_bytes(&w, 3, zeros, 16);
    put_bytes(&w, 4, a_spec, sizeof a_spec);
    return w;
}

static void expect_refused(const struct wire *w, const char *because)
{
    struct dtqi_msg msg = {.type = DTQI_BYE};
    char why[200] = "";

    assert_int_equal(dtqi_decode(w->at, w->bytes, &msg, why, sizeof why), DTQ_EPROTO);
    if (strstr(why, because) == NULL)
        fail_msg("refused because \"%s\", not because of \"%s\"", why, because);
    assert_int_equal(msg.type, DTQI_BYE); /* untouched */
}

static void decode(const struct wire *w, struct dtqi_msg *ret)
{
    char why[200] = "";

    if (dtqi_decode(w->at, w->bytes, ret, why, sizeof why) != DTQ_OK)
        fail_msg("refused: %s", why);
}

static struct dtqi_msg decode_frame(struct sample_frame f)
{
    struct dtqi_msg msg;
    char why[200] = "";

    assert_non_null(f.at);
    if (dtqi_decode(f.at, f.bytes, &msg, why, sizeof why) != DTQ_OK)
        fail_msg("refused: %s", why);
    return msg;
}

static struct dtqi_buf *memory(void)
{
    struct dtqi_buf *b = dtqi_buf_new(65536, SIZE_MAX);

    assert_non_null(b);
    return b;
}

/* ---- round trips */

static void expect_round_trip(enum dtqi_msg_type type, uint64_t seed, bool full)
{
    struct dtqi_buf *buf = memory();
    struct dtqi_msg made;
    struct dtqi_msg read;
    struct sample_frame first;
    struct sample_frame second;

    sample_msg(type, seed, full, buf, &made);
    first = sample_encode(&made);
    read = decode_frame(first);
    assert_int_equal(read.type, type);
    second = sample_encode(&read);
    assert_int_equal(first.bytes, second.bytes);
    assert_memory_equal(first.at, second.at, first.bytes);
    dtqi_msg_done(&read);
    assert_null(read.buf);
    free(first.at);
    free(second.at);
    dtqi_buf_unref(buf);
}

static void every_message_survives_a_round_trip(void **state)
{
    (void)state;
    for (unsigned i = 0; sample_types[i] != 0; i++)
        for (uint64_t seed = 0; seed < 50; seed++)
            expect_round_trip(sample_types[i], seed, seed % 2 == 0);
}

static uint64_t read_varint(const unsigned char **at)
{
    uint64_t number = 0;

    for (unsigned shift = 0;; shift += 7) {
        number |= (uint64_t)(**at & 0x7f) << shift;
        if ((*(*at)++ & 0x80) == 0)
            return number;
    }
}

/* The numbers of the fields in a frame, as bits; `ends` gets where each of them ends. */
static uint64_t fields_of(struct sample_frame f, size_t ends[64])
{
    const unsigned char *at = f.at + 4;
    uint64_t seen = 0;
    unsigned n = 0;

    for (ends[n++] = 4; at < f.at + f.bytes; ends[n++] = (size_t)(at - f.at)) {
        uint64_t tag = read_varint(&at);

        assert_true(n < 64);
        seen |= 1ull << (tag >> 3);
        switch (tag & 7) {
        case 0: read_varint(&at); break;
        case 1: at += 8; break;
        case 2: {
            uint64_t bytes = read_varint(&at);

            at += bytes;
            break;
        }
        default: fail_msg("wire type %u", (unsigned)(tag & 7));
        }
    }
    return seen;
}

/* Fields of each message in the schema: one that is written nowhere would pass a round trip. */
static void no_field_of_the_schema_is_forgotten(void **state)
{
    static const struct {
        enum dtqi_msg_type type;
        unsigned fields;
    } schema[] = {
        {DTQI_HELLO, 18},
        {DTQI_WELCOME, 15},
        {DTQI_REFUSED, 4},
        {DTQI_UNKNOWN_SESSION, 1},
        {DTQI_BYE, 2},
        {DTQI_SUBMIT, 13},
        {DTQI_SUBMITTED, 6},
        {DTQI_CANCEL, 3},
        {DTQI_CANCEL_REPLY, 6},
        {DTQI_QUERY, 11},
        {DTQI_QUERY_REPLY, 11},
        {DTQI_OPERATE, 12},
        {DTQI_OPERATE_REPLY, 7},
        {DTQI_TASKS, 13},
        {DTQI_WORKER_HEARTBEAT, 10},
        {DTQI_VENTILATOR_HEARTBEAT, 6},
        {DTQI_REPORT, 9},
        {DTQI_FORGET, 4},
        {DTQI_RECALL, 2},
        {DTQI_RESEND, 2},
        {DTQI_STOP_ATTEMPTS, 2},
        {DTQI_HOLDINGS, 7},
        {DTQI_HOLDINGS_WANTED, 1},
        {DTQI_VERDICTS, 6},
        {DTQI_SINKS, 4},
        {DTQI_RESUME, 3},
        {DTQI_SETTLED, 9},
        {DTQI_SETTLED_ACK, 2},
        {DTQI_CLAIM, 4},
        {DTQI_CLAIM_REPLY, 2},
        {DTQI_SINK_HEARTBEAT, 3},
        {DTQI_OUTCOMES, 19},
        {DTQI_FOLLOW, 1},
        {DTQI_WAIT, 3},
        {DTQI_RESULTS, 18},
        {DTQI_RESULTS_QUERY, 10},
        {DTQI_RESULTS_REPLY, 5},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof schema / sizeof *schema; i++) {
        struct dtqi_buf *buf = memory();
        struct sample_frame f;
        struct dtqi_msg msg;
        size_t ends[64];
        unsigned written;

        sample_msg(schema[i].type, 7, true, buf, &msg);
        f = sample_encode(&msg);
        written = (unsigned)__builtin_popcountll(fields_of(f, ends));
        if (written != schema[i].fields)
            fail_msg("%s: %u of %u fields were written", dtqi_msg_type_name(schema[i].type),
                     written, schema[i].fields);
        free(f.at);
        dtqi_buf_unref(buf);
    }
}

static void columns_and_bodies_arrive_as_they_were(void **state)
{
    dtq_id ids[3] = {{"first"}, {"second"}, {"third"}};
    uint32_t tickets[3] = {7, 0, UINT32_MAX};
    uint64_t reply_to[3] = {1, UINT64_MAX, 3};
    struct dtqi_slice bodies[3] = {{"one", 3}, {NULL, 0}, {"three", 5}};
    struct dtqi_buf *buf = memory();
    struct dtqi_spec spec = {.name = dtqi_str("work"), .queue = dtqi_str("q"), .priority = 5};
    dtqi_uid sink = {"sink"};
    struct dtqi_msg made = {.type = DTQI_TASKS};
    struct dtqi_msg read;
    struct sample_frame f;

    (void)state;
    spec.raw = dtqi_spec_encode(&spec, buf);
    made.tasks = (struct dtqi_tasks){.session = 9,
                                     .lane_seq = 2,
                                     .n = 3,
                                     .ids = ids,
                                     .tickets = tickets,
                                     .specs = &spec,
                                     .specs_n = 1,
                                     .sinks = &sink,
                                     .sinks_n = 1,
                                     .reply_to = reply_to,
                                     .bodies = bodies};
    f = sample_encode(&made);
    read = decode_frame(f);
    free(f.at); /* the message does not need its frame */
    assert_int_equal(read.tasks.n, 3);
    assert_memory_equal(read.tasks.ids, ids, sizeof ids);
    assert_memory_equal(read.tasks.tickets, tickets, sizeof tickets);
    assert_memory_equal(read.tasks.reply_to, reply_to, sizeof reply_to);
    assert_null(read.tasks.attempts); /* every one is the first */
    assert_null(read.tasks.spec_index);
    assert_int_equal(read.tasks.specs[0].priority, 5);
    assert_true(dtqi_str_eq(read.tasks.specs[0].name, dtqi_str("work")));
    assert_int_equal(read.tasks.bodies[0].len, 3);
    assert_memory_equal(read.tasks.bodies[0].at, "one", 3);
    assert_int_equal(read.tasks.bodies[1].len, 0);
    assert_memory_equal(read.tasks.bodies[2].at, "three", 5);
    dtqi_msg_done(&read);
    dtqi_buf_unref(buf);
}

static void a_full_batch_of_distinct_specs_fits(void **state)
{
    struct dtqi_buf *buf = memory();
    uint32_t n = DTQI_BATCH_ENTRIES_MAX;
    dtq_id *ids = calloc(n, sizeof *ids);
    struct dtqi_slice *bodies = calloc(n, sizeof *bodies);
    struct dtqi_spec *specs = calloc(n, sizeof *specs);
    uint32_t *index = calloc(n, sizeof *index);
    struct dtqi_msg made = {.type = DTQI_SUBMIT};
    struct dtqi_msg read;
    struct sample_frame f;

    (void)state;
    for (uint32_t i = 0; i < n; i++) {
        specs[i] = (struct dtqi_spec){.name = dtqi_str("w"), .queue = dtqi_str("q"), .retries = i};
        specs[i].raw = dtqi_spec_encode(&specs[i], buf);
        index[i] = n - 1 - i;
    }
    made.submit = (struct dtqi_submit){
        .n = n, .ids = ids, .specs = specs, .specs_n = n, .spec_index = index, .bodies = bodies};
    f = sample_encode(&made);
    read = decode_frame(f);
    assert_int_equal(read.submit.specs_n, n);
    assert_int_equal(read.submit.specs[read.submit.spec_index[0]].retries, n - 1);
    dtqi_msg_done(&read);
    free(f.at);
    free(ids);
    free(bodies);
    free(specs);
    free(index);
    dtqi_buf_unref(buf);
}

/* It comes from a client that did not look so closely: the ventilator says what is wrong with it.
 */
static void a_submitted_spec_says_that_nothing_meets_its_rules(void **state)
{
    dtq_id id = {"id"};
    struct dtqi_slice body = {NULL, 0};
    struct dtqi_buf *buf = memory();
    struct dtqi_spec spec = {
        .name = dtqi_str("w"), .queue = dtqi_str("q"), .retry_on = dtqi_str("exit:300")};
    struct dtqi_msg made = {.type = DTQI_SUBMIT};
    struct dtqi_msg read;
    struct sample_frame f;

    (void)state;
    spec.raw = dtqi_spec_encode(&spec, buf);
    made.submit =
        (struct dtqi_submit){.n = 1, .ids = &id, .specs = &spec, .specs_n = 1, .bodies = &body};
    f = sample_encode(&made);
    read = decode_frame(f);
    assert_non_null(read.submit.specs[0].flaw);
    assert_non_null(strstr(read.submit.specs[0].flaw, "retry_on: 'exit:300' names"));
    dtqi_msg_done(&read);
    free(f.at);
    dtqi_buf_unref(buf);
}

static void unknown_fields_are_skipped(void **state)
{
    struct wire w = wire_of(DTQI_FOLLOW);
    struct dtqi_msg msg;

    (void)state;
    put_number(&w, 1, 77);
    put_bytes(&w, 200, "something new", 13);
    put_number(&w, 201, 5);
    decode(&w, &msg);
    assert_int_equal(msg.follow.reply_to, 77);
    dtqi_msg_done(&msg);
}

/* ---- what people read */

static struct dtqi_msg refused_with(struct dtqi_str text)
{
    struct dtqi_msg made = {.type = DTQI_REFUSED};
    struct sample_frame f;
    struct dtqi_msg read;

    made.refused = (struct dtqi_refused){DTQI_BUSY, text, 1, 1};
    f = sample_encode(&made);
    read = decode_frame(f);
    free(f.at);
    return read;
}

static void a_long_text_is_cut_between_two_characters(void **state)
{
    char text[DTQI_TEXT_BYTES_MAX + 100];
    struct dtqi_msg read;

    (void)state;
    text[0] = 'x';
    for (size_t i = 1; i + 1 < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xa4", 2); /* the limit falls into the middle of one */
    read = refused_with((struct dtqi_str){text, sizeof text - 1});
    assert_int_equal(read.refused.text.len, DTQI_TEXT_BYTES_MAX - 1);
    assert_memory_equal(read.refused.text.at, text, read.refused.text.len);
    dtqi_msg_done(&read);
}

static void what_is_not_utf8_becomes_a_question_mark(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"plain", "plain"},
        {"a\xff\x62", "a?b"},
        {"\xc0\xaf", "??"},                         /* overlong */
        {"\xed\xa0\x80", "???"},                    /* a surrogate */
        {"\xf4\x90\x80\x80", "????"},               /* above U+10FFFF */
        {"\xf0\x9f\x98\x80!", "\xf0\x9f\x98\x80!"}, /* four bytes */
        {"\xe2\x82", "??"},                         /* cut off */
        {"two\nlines", "two\nlines"},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dtqi_msg read = refused_with(dtqi_str(cases[i].in));

        assert_int_equal(read.refused.text.len, strlen(cases[i].out));
        assert_memory_equal(read.refused.text.at, cases[i].out, read.refused.text.len);
        dtqi_msg_done(&read);
    }
}

static void a_peer_name_with_control_characters_is_refused_and_never_sent(void **state)
{
    struct wire w = wire_of(DTQI_HELLO);
    struct dtqi_msg made = {.type = DTQI_HELLO};
    struct dtqi_msg read;
    struct sample_frame f;

    (void)state;
    put_bytes(&w, 4, zeros, 16);
    put_bytes(&w, 5, "\033[2J", 4);
    expect_refused(&w, "control character");

    made.hello = (struct dtqi_hello){.name = dtqi_str("a\033[2Jb")};
    f = sample_encode(&made);
    read = decode_frame(f);
    assert_true(dtqi_str_eq(read.hello.name, dtqi_str("a?[2Jb")));
    dtqi_msg_done(&read);
    free(f.at);
}

/* ---- headers */

static void a_frame_shorter_than_its_header_is_refused(void **state)
{
    struct wire w = wire_of(DTQI_FOLLOW);

    (void)state;
    for (w.bytes = 0; w.bytes < 4; w.bytes++)
        expect_refused(&w, "less than a header");
}

static void a_wrong_magic_reserved_byte_or_type_is_refused(void **state)
{
    struct wire w = wire_of(DTQI_FOLLOW);

    (void)state;
    w.at[0] = 0;
    expect_refused(&w, "begins with 0x00");
    w = wire_of(DTQI_FOLLOW);
    w.at[3] = 1;
    expect_refused(&w, "reserved byte");
    for (unsigned type = 0; type < 256; type++) {
        w = wire_of((enum dtqi_msg_type)type);
        if (strcmp(dtqi_msg_type_name((enum dtqi_msg_type)type), "?") == 0)
            expect_refused(&w, "is not known");
    }
}

static void another_version_is_told_apart_from_garbage(void **state)
{
    struct wire w = wire_of(DTQI_HELLO);
    struct dtqi_msg msg;

    (void)state;
    w.at[1] = DTQI_PROTOCOL_VERSION + 1;
    w.at[3] = 9; /* another version may use it */
    assert_int_equal(dtqi_decode(w.at, w.bytes, &msg, NULL, 0), DTQ_EVERSION);
}

static void a_frame_over_the_limit_is_too_big(void **state)
{
    size_t bytes = DTQI_FRAME_BYTES_MAX + 1;
    unsigned char *at = calloc(1, bytes);
    struct dtqi_msg msg;

    (void)state;
    memcpy(at, wire_of(DTQI_FOLLOW).at, 4);
    assert_int_equal(dtqi_decode(at, bytes, &msg, NULL, 0), DTQ_ETOOBIG);
    free(at);
}

static void encoding_over_the_limit_is_too_big_and_writes_nothing(void **state)
{
    struct dtqi_buf *buf = memory();
    void *bytes = calloc(1, DTQI_FRAME_BYTES_MAX);
    struct dtqi_slice body = {bytes, DTQI_FRAME_BYTES_MAX};
    struct dtqi_spec spec = {.name = dtqi_str("w"), .queue = dtqi_str("q")};
    dtq_id id = {{0}};
    struct dtqi_msg msg = {.type = DTQI_SUBMIT};

    (void)state;
    spec.raw = dtqi_spec_encode(&spec, buf);
    msg.submit =
        (struct dtqi_submit){.n = 1, .ids = &id, .specs = &spec, .specs_n = 1, .bodies = &body};
    assert_int_equal(dtqi_encode(&msg, NULL, NULL), DTQ_ETOOBIG); /* no place was asked for */
    free(bytes);
    dtqi_buf_unref(buf);
}

static void *no_place(void *arg, size_t bytes)
{
    (void)arg;
    (void)bytes;
    return NULL;
}

static void encoding_without_memory_says_so(void **state)
{
    struct dtqi_msg msg = {.type = DTQI_FOLLOW};

    (void)state;
    assert_int_equal(dtqi_encode(&msg, no_place, NULL), DTQ_ENOMEM);
}

/* ---- shapes */

static void ids_that_are_not_whole_are_refused(void **state)
{
    struct wire w = wire_of(DTQI_WAIT);

    (void)state;
    put_bytes(&w, 2, zeros, 17);
    expect_refused(&w, "not a multiple of 16");
}

static void more_entries_than_a_batch_may_have_are_refused(void **state)
{
    size_t bytes = 16 * ((size_t)DTQI_BATCH_ENTRIES_MAX + 1);
    unsigned char *at = calloc(1, bytes + 32);
    struct wire w = wire_of(DTQI_WAIT);
    struct dtqi_msg msg;
    char why[200];

    (void)state;
    put_varint(&w, 2 << 3 | 2);
    put_varint(&w, bytes);
    memcpy(at, w.at, w.bytes);
    assert_int_equal(dtqi_decode(at, w.bytes + bytes, &msg, why, sizeof why), DTQ_EPROTO);
    assert_non_null(strstr(why, "4097 entries"));
    free(at);
}

static void a_column_of_another_length_is_refused(void **state)
{
    struct wire w = submit_of(2);

    (void)state;
    put_bytes(&w, 6, "\1\1\1", 3); /* not_before_wall_ms: 3 entries */
    expect_refused(&w, "column not_before_wall_ms has 3 entries for 2");
}

static void a_required_column_that_is_missing_is_refused(void **state)
{
    struct wire w = wire_of(DTQI_HOLDINGS);

    (void)state;
    put_bytes(&w, 2, zeros, 16);
    expect_refused(&w, "column epochs has 0 entries for 1");
}

static void lengths_must_add_up_to_the_bodies(void **state)
{
    struct wire w = submit_of(2);

    (void)state;
    put_bytes(&w, 10, "\1\1", 2);
    put_bytes(&w, 15, "abc", 3);
    expect_refused(&w, "lengths add up to 2 bytes, bodies has 3");

    w = submit_of(2);
    put_bytes(&w, 10, "\3\1", 2);
    put_bytes(&w, 15, "abc", 3);
    expect_refused(&w, "entry 1 of lengths goes past the end");

    w = submit_of(2);
    put_bytes(&w, 15, "abc", 3); /* no lengths: all are 0 */
    expect_refused(&w, "lengths add up to 0 bytes");

    w = wire_of(DTQI_SUBMIT);
    put_bytes(&w, 3, zeros, 16);
    put_bytes(&w, 15, "abc", 3);
    expect_refused(&w, "bodies of no entries");
}

static void lengths_whose_sum_overflows_32_bits_are_refused(void **state)
{
    struct wire w = submit_of(2);

    (void)state;
    put_bytes(&w, 10, "\xff\xff\xff\xff\x0f\4", 6); /* 2^32 - 1, and 4: 3 modulo 2^32 */
    put_bytes(&w, 15, "abc", 3);
    expect_refused(&w, "entry 0 of lengths goes past the end");
}

static void an_index_outside_its_dictionary_is_refused(void **state)
{
    struct wire w = submit_of(1);

    (void)state;
    put_bytes(&w, 5, "\1", 1);
    expect_refused(&w, "entry 0 of column spec_index is 1");

    w = wire_of(DTQI_SUBMIT);
    put_bytes(&w, 2, zeros, 16);
    put_bytes(&w, 3, zeros, 16);
    expect_refused(&w, "spec_index refers to an empty list");
}

static void more_specs_than_entries_are_refused(void **state)
{
    struct wire w = submit_of(1);

    (void)state;
    put_bytes(&w, 4, a_spec, sizeof a_spec);
    expect_refused(&w, "specs lists 2 for 1 entries");
}

static void a_store_of_another_length_is_refused(void **state)
{
    struct wire w = wire_of(DTQI_SETTLED_ACK);

    (void)state;
    expect_refused(&w, "store has 0 bytes, not 16");
    put_bytes(&w, 1, zeros, 15);
    expect_refused(&w, "store has 15 bytes, not 16");
}

static void a_store_that_may_be_missing_is_zero(void **state)
{
    struct wire w = wire_of(DTQI_RESUME);
    struct dtqi_msg msg;

    (void)state;
    put_bytes(&w, 1, "0123456789abcdef", 16);
    decode(&w, &msg);
    assert_true(dtqi_uid_is_zero(&msg.resume.run));
    assert_memory_equal(msg.resume.store.bytes, "0123456789abcdef", 16);
    dtqi_msg_done(&msg);
    put_bytes(&w, 2, zeros, 3);
    expect_refused(&w, "run has 3 bytes, not 16");
}

static void numbers_that_stand_for_nothing_are_refused(void **state)
{
    struct wire w = wire_of(DTQI_REFUSED);

    (void)state;
    put_number(&w, 1, DTQI_BAD_PEER + 1);
    expect_refused(&w, "reason is 12");
    w = wire_of(DTQI_REFUSED);
    put_number(&w, 1, UINT64_MAX); /* -1, as enumerations travel */
    expect_refused(&w, "reason is -1");
    w = wire_of(DTQI_CLAIM_REPLY);
    put_bytes(&w, 2, "\11", 1);
    expect_refused(&w, "entry 0 of column kinds is 9");
    w = wire_of(DTQI_SETTLED);
    put_bytes(&w, 1, zeros, 16);
    put_bytes(&w, 2, zeros, 16);
    put_bytes(&w, 5, zeros, 16);
    put_bytes(&w, 6, "\2", 1); /* ready is no outcome */
    expect_refused(&w, "entry 0 of column kinds is 2, not 5 to 8");
}

static void times_beyond_all_reason_are_refused(void **state)
{
    struct wire w = submit_of(1);

    (void)state;
    put_bytes(&w, 6, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 10);
    expect_refused(&w, "entry 0 of column not_before_wall_ms");
}

static void failures_must_be_those_of_the_failed_entries(void **state)
{
    struct wire w = wire_of(DTQI_HOLDINGS);

    (void)state;
    put_bytes(&w, 2, zeros, 16);
    put_bytes(&w, 3, "\1", 1);
    put_bytes(&w, 4, "\1", 1);
    put_bytes(&w, 5, "\3", 1);
    expect_refused(&w, "entry 0 failed, but there are 0 failures");
    put_bytes(&w, 6, "\n\20aaaaaaaaaaaaaaaa", 18);
    expect_refused(&w, "failure 0 is not that of entry 0");
}

static void a_refused_submit_names_entry_reason_and_text_of_each(void **state)
{
    struct wire w = wire_of(DTQI_SUBMITTED);

    (void)state;
    put_bytes(&w, 2, "\0\1", 2);
    put_bytes(&w, 3, "\1\1", 2);
    put_bytes(&w, 4, "only one text", 13);
    expect_refused(&w, "column refused_text has 1 entries for 2");
}

static void a_prefix_shorter_than_its_bits_is_refused(void **state)
{
    struct wire w = wire_of(DTQI_QUERY);
    struct dtqi_msg msg;

    (void)state;
    put_bytes(&w, 3, "\xff\xff", 2);
    put_number(&w, 4, 17);
    expect_refused(&w, "prefix has 2 bytes for 17 bits");
    put_number(&w, 4, 12); /* the later one counts */
    decode(&w, &msg);
    assert_int_equal(msg.query.prefix.bytes[0], 0xff);
    assert_int_equal(msg.query.prefix.bytes[1], 0xf0); /* bits behind the prefix are cleared */
    dtqi_msg_done(&msg);
}

static void an_endpoint_over_the_limit_is_refused(void **state)
{
    char text[DTQI_ENDPOINT_BYTES_MAX + 1];
    struct wire w = wire_of(DTQI_HELLO);

    (void)state;
    memset(text, 'x', sizeof text);
    put_bytes(&w, 4, zeros, 16);
    put_bytes(&w, 22, text, sizeof text);
    expect_refused(&w, "intake has 257 bytes, more than 256");
}

static void a_frame_of_empty_submessages_is_refused_within_bounds(void **state)
{
    size_t bytes = 4 * 1024 * 1024;
    unsigned char *at = calloc(1, bytes);
    struct dtqi_msg msg;
    dtq_err err;

    (void)state;
    memcpy(at, wire_of(DTQI_REPORT).at, 4);
    for (size_t i = 4; i < bytes; i += 2)
        at[i] = 6 << 3 | 2; /* a failure of 0 bytes */
    err = dtqi_decode(at, bytes, &msg, NULL, 0);
    assert_int_equal(err, DTQ_ETOOBIG);
    free(at);
}

static bool is_in(size_t number, const size_t *list)
{
    for (unsigned i = 0; i < 64; i++)
        if (list[i] == number)
            return true;
    return false;
}

static void a_frame_that_is_cut_inside_a_field_is_refused(void **state)
{
    struct dtqi_buf *buf = memory();
    size_t ends[64] = {0};
    struct dtqi_msg msg;
    struct sample_frame f;

    (void)state;
    sample_msg(DTQI_OUTCOMES, 3, true, buf, &msg);
    f = sample_encode(&msg);
    fields_of(f, ends);
    for (size_t bytes = 4; bytes < f.bytes; bytes++) {
        unsigned char *cut = malloc(bytes); /* of its own: a read behind the end is found */
        struct dtqi_msg read;
        dtq_err err;

        memcpy(cut, f.at, bytes);
        err = dtqi_decode(cut, bytes, &read, NULL, 0);
        if (err == DTQ_OK && !is_in(bytes, ends))
            fail_msg("%zu of %zu bytes were taken for a whole message", bytes, f.bytes);
        if (err == DTQ_OK)
            dtqi_msg_done(&read);
        free(cut);
    }
    free(f.at);
    dtqi_buf_unref(buf);
}

/* ---- specs */

static struct dtqi_spec good_spec(void)
{
    return (struct dtqi_spec){.name = dtqi_str("work"), .queue = dtqi_str("default")};
}

static void expect_bad_spec(struct dtqi_spec spec, const char *because)
{
    char why[200] = "";

    assert_int_equal(dtqi_spec_check(&spec, why, sizeof why), DTQ_EPROTO);
    if (strstr(why, because) == NULL)
        fail_msg("refused because \"%s\", not because of \"%s\"", why, because);
}

static void every_field_of_a_spec_is_checked(void **state)
{
    struct dtqi_str nul = {"a\0b", 3};
    struct dtqi_spec s = good_spec();
    char why[10];

    (void)state;
    assert_int_equal(dtqi_spec_check(&s, why, sizeof why), DTQ_OK);
    s.name = dtqi_str("");
    expect_bad_spec(s, "name is not a name");
    s = good_spec();
    s.queue = dtqi_str("a b");
    expect_bad_spec(s, "queue is not a name");
    s = good_spec();
    s.key = dtqi_str("/");
    expect_bad_spec(s, "key is not a name");
    s = good_spec();
    s.group = dtqi_str("\xc3\xa4");
    expect_bad_spec(s, "group is not a name");
    s = good_spec();
    s.priority = 10;
    expect_bad_spec(s, "priority is 10");
    s = good_spec();
    s.retries = DTQI_RETRIES_MAX + 1;
    expect_bad_spec(s, "retries is");
    s = good_spec();
    s.crash_limit = DTQI_CRASH_LIMIT_MAX + 1;
    expect_bad_spec(s, "crash_limit is");
    s = good_spec();
    s.backoff_min_ms = 2;
    s.backoff_max_ms = 1;
    expect_bad_spec(s, "backoff_min_ms is above");
    s = good_spec();
    s.expires_ms = UINT64_MAX;
    expect_bad_spec(s, "expires_ms is over a hundred years");
    s = good_spec();
    s.moved_from = dtqi_str("two words");
    expect_bad_spec(s, "moved_from");
    s.moved_from = dtqi_str("");
    s.requeued_from = (struct dtqi_slice){"x", 1};
    expect_bad_spec(s, "requeued_from has 1 bytes");
    s = good_spec();
    s.retry_on = dtqi_str("exit:x");
    expect_bad_spec(s, "retry_on: 'exit:x' is no list of reasons");
    s = good_spec();
    s.no_retry_on = dtqi_str("sometimes");
    expect_bad_spec(s, "no_retry_on: 'sometimes'");
    s = good_spec();
    s.argv = &nul;
    s.argc = 1;
    expect_bad_spec(s, "word 0 of argv holds a NUL");
}

/* A spec of a version that did not look so closely is still read, run, moved and requeued. */
static void rules_that_nothing_meets_are_refused_when_they_are_new_only(void **state)
{
    static const struct {
        const char *rules;
        const char *because;
    } bad[] = {
        {"exit:300", "an exit status that no failure has"},
        {"exit:0", "an exit status that no failure has"},
        {"exit:0-5", "an exit status that no failure has"},
        {"timeout,exit:1-256", "an exit status that no failure has"},
        {"signal:0", "a signal that there is not"},
        {"signal:99", "a signal that there is not"},
        {"signal:1-65", "a signal that there is not"},
    };
    static const char *const good[] = {"exit:1-255", "signal:1-64", "signal:KILL,exit", "timeout"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct dtqi_buf *buf = memory();
        struct dtqi_spec s = good_spec();
        struct dtqi_spec read;
        struct dtqi_slice raw;

        s.retry_on = dtqi_str(bad[i].rules);
        expect_bad_spec(s, bad[i].because);
        raw = dtqi_spec_encode(&s, buf);
        assert_non_null(raw.at);
        assert_int_equal(dtqi_spec_decode(raw, buf, &read, NULL, 0), DTQ_OK);
        assert_true(dtqi_str_eq(read.retry_on, s.retry_on));
        s.no_retry_on = s.retry_on;
        s.retry_on = dtqi_str("");
        expect_bad_spec(s, "no_retry_on: '");
        dtqi_buf_unref(buf);
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct dtqi_spec s = good_spec();

        s.retry_on = dtqi_str(good[i]);
        assert_int_equal(dtqi_spec_check(&s, NULL, 0), DTQ_OK);
    }
}

static void a_string_ends_at_its_first_nul(void **state)
{
    static const unsigned char raw[] = {0x0a, 3, 'a', 0, 'b', 0x12, 1, 'q'};
    struct dtqi_buf *buf = memory();
    struct dtqi_spec read;

    (void)state;
    assert_int_equal(dtqi_spec_decode((struct dtqi_slice){raw, sizeof raw}, buf, &read, NULL, 0),
                     DTQ_OK);
    assert_true(dtqi_str_eq(read.name, dtqi_str("a")));
    dtqi_buf_unref(buf);
}

static void a_spec_over_the_limit_cannot_be_made(void **state)
{
    struct dtqi_buf *buf = memory();
    char *word = malloc(DTQI_SPEC_BYTES_MAX);
    struct dtqi_str argv = {word, DTQI_SPEC_BYTES_MAX};
    struct dtqi_spec s = good_spec();

    (void)state;
    memset(word, 'x', DTQI_SPEC_BYTES_MAX);
    s.argv = &argv;
    s.argc = 1;
    assert_null(dtqi_spec_encode(&s, buf).at);
    free(word);
    dtqi_buf_unref(buf);
}

static void a_spec_keeps_words_that_are_not_utf8(void **state)
{
    struct dtqi_buf *buf = memory();
    struct dtqi_str argv[] = {{"\xff\xfe", 2}, {"", 0}};
    struct dtqi_spec s = good_spec();
    struct dtqi_spec read;

    (void)state;
    s.argv = argv;
    s.argc = 2;
    assert_int_equal(dtqi_spec_decode(dtqi_spec_encode(&s, buf), buf, &read, NULL, 0), DTQ_OK);
    assert_int_equal(read.argc, 2);
    assert_true(dtqi_str_eq(read.argv[0], argv[0]));
    assert_int_equal(read.argv[1].len, 0);
    dtqi_buf_unref(buf);
}

static void names_are_letters_digits_and_four_signs(void **state)
{
    char longest[DTQI_NAME_BYTES_MAX + 1];

    (void)state;
    memset(longest, 'a', sizeof longest);
    assert_true(dtqi_is_name(dtqi_str("aZ09_.:-")));
    assert_true(dtqi_is_name((struct dtqi_str){longest, DTQI_NAME_BYTES_MAX}));
    assert_false(dtqi_is_name((struct dtqi_str){longest, DTQI_NAME_BYTES_MAX + 1}));
    assert_false(dtqi_is_name(dtqi_str("")));
    assert_false(dtqi_is_name(dtqi_str("a/b")));
    assert_false(dtqi_is_name(dtqi_str("a b")));
    assert_false(dtqi_is_name((struct dtqi_str){"a\0", 2}));
}

/* ---- anything at all */

/* Flips, inserts, removes and copies bytes of good frames: whatever comes out is decoded or
 * refused, and what was decoded can be encoded again. */
static void mutated_frames_never_do_harm(void **state)
{
    uint64_t random = 20;
    unsigned decoded = 0;

    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        enum dtqi_msg_type type = sample_types[sample_random(&random) % 37];
        struct dtqi_buf *buf = memory();
        struct sample_frame f;
        struct dtqi_msg msg;
        struct dtqi_msg read;
        char why[64];

        sample_msg(type, sample_random(&random), round % 2, buf, &msg);
        f = sample_encode(&msg);
        for (uint64_t i = sample_random(&random) % 8; i != 0 && f.bytes > 4; i--) {
            size_t at = 4 + sample_random(&random) % (f.bytes - 4);

            switch (sample_random(&random) % 4) {
            case 0: f.at[at] ^= (unsigned char)(1u << sample_random(&random) % 8); break;
            case 1: f.at[at] = (unsigned char)sample_random(&random); break;
            case 2: memmove(f.at + at, f.at + at + 1, --f.bytes - at); break;
            case 3: f.at[at] = f.at[4 + sample_random(&random) % (f.bytes - 4)]; break;
            }
        }
        if (dtqi_decode(f.at, f.bytes, &read, why, sizeof why) == DTQ_OK) {
            struct sample_frame again = sample_encode(&read);

            assert_non_null(again.at);
            free(again.at);
            dtqi_msg_done(&read);
            decoded++;
        }
        free(f.at);
        dtqi_buf_unref(buf);
    }
    assert_true(decoded > 1000);
    assert_true(decoded < 19000);
}

static void random_bytes_never_do_harm(void **state)
{
    uint64_t random = 21;

    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        struct wire w = wire_of(sample_types[sample_random(&random) % 37]);
        size_t bytes = sample_random(&random) % 64;
        struct dtqi_msg msg;

        for (size_t i = 0; i < bytes; i++)
            w.at[w.bytes++] = (unsigned char)sample_random(&random);
        if (dtqi_decode(w.at, w.bytes, &msg, NULL, 0) == DTQ_OK)
            dtqi_msg_done(&msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_survives_a_round_trip),
        cmocka_unit_test(no_field_of_the_schema_is_forgotten),
        cmocka_unit_test(columns_and_bodies_arrive_as_they_were),
        cmocka_unit_test(a_full_batch_of_distinct_specs_fits),
        cmocka_unit_test(a_submitted_spec_says_that_nothing_meets_its_rules),
        cmocka_unit_test(unknown_fields_are_skipped),
        cmocka_unit_test(a_long_text_is_cut_between_two_characters),
        cmocka_unit_test(what_is_not_utf8_becomes_a_question_mark),
        cmocka_unit_test(a_peer_name_with_control_characters_is_refused_and_never_sent),
        cmocka_unit_test(a_frame_shorter_than_its_header_is_refused),
        cmocka_unit_test(a_wrong_magic_reserved_byte_or_type_is_refused),
        cmocka_unit_test(another_version_is_told_apart_from_garbage),
        cmocka_unit_test(a_frame_over_the_limit_is_too_big),
        cmocka_unit_test(encoding_over_the_limit_is_too_big_and_writes_nothing),
        cmocka_unit_test(encoding_without_memory_says_so),
        cmocka_unit_test(ids_that_are_not_whole_are_refused),
        cmocka_unit_test(more_entries_than_a_batch_may_have_are_refused),
        cmocka_unit_test(a_column_of_another_length_is_refused),
        cmocka_unit_test(a_required_column_that_is_missing_is_refused),
        cmocka_unit_test(lengths_must_add_up_to_the_bodies),
        cmocka_unit_test(lengths_whose_sum_overflows_32_bits_are_refused),
        cmocka_unit_test(an_index_outside_its_dictionary_is_refused),
        cmocka_unit_test(more_specs_than_entries_are_refused),
        cmocka_unit_test(a_store_of_another_length_is_refused),
        cmocka_unit_test(a_store_that_may_be_missing_is_zero),
        cmocka_unit_test(numbers_that_stand_for_nothing_are_refused),
        cmocka_unit_test(times_beyond_all_reason_are_refused),
        cmocka_unit_test(failures_must_be_those_of_the_failed_entries),
        cmocka_unit_test(a_refused_submit_names_entry_reason_and_text_of_each),
        cmocka_unit_test(a_prefix_shorter_than_its_bits_is_refused),
        cmocka_unit_test(an_endpoint_over_the_limit_is_refused),
        cmocka_unit_test(a_frame_of_empty_submessages_is_refused_within_bounds),
        cmocka_unit_test(a_frame_that_is_cut_inside_a_field_is_refused),
        cmocka_unit_test(every_field_of_a_spec_is_checked),
        cmocka_unit_test(rules_that_nothing_meets_are_refused_when_they_are_new_only),
        cmocka_unit_test(a_string_ends_at_its_first_nul),
        cmocka_unit_test(a_spec_over_the_limit_cannot_be_made),
        cmocka_unit_test(a_spec_keeps_words_that_are_not_utf8),
        cmocka_unit_test(names_are_letters_digits_and_four_signs),
        cmocka_unit_test(mutated_frames_never_do_harm),
        cmocka_unit_test(random_bytes_never_do_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
