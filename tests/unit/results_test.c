/* The result store, over the store in memory: one final outcome per id, settlement streams, and
 * what is forgotten when. */
#include "results.h"

#include "results_parts.h"
#include "store_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define TTL_MS (24ull * 3600 * 1000)
#define MEMORY_MS (2ull * 3600 * 1000)
#define START_MS 1700000000000ull
#define ENTRIES_MAX 64

struct fixture {
    struct store *store;
    struct results *results;
    uint64_t wall_ms;
};

static dtqi_uid uid(uint8_t n)
{
    dtqi_uid u = {{n}};

    return u;
}

static dtq_id id_at(uint64_t wall_ms, uint8_t n)
{
    dtq_id id = {{0}};

    for (int i = 5; i >= 0; i--, wall_ms >>= 8)
        id.bytes[i] = (uint8_t)wall_ms;
    id.bytes[6] = 0x70;
    id.bytes[8] = 0x80;
    id.bytes[15] = n;
    return id;
}

static dtq_id id_of(uint8_t n)
{
    return id_at(START_MS, n);
}

static void open_results(struct fixture *f, uint8_t run)
{
    struct results_cfg cfg = {.ttl_ms = TTL_MS, .outcome_memory_ms = MEMORY_MS};
    dtqi_uid its = uid(run);
    char why[200] = "";

    assert_int_equal(results_open(f->store, &cfg, &its, &f->results, why, sizeof why), DTQ_OK);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct store_cfg cfg = {.map_bytes_max = 1 << 30};
    dtqi_uid its = uid(0xaa);

    assert_non_null(f);
    results_store_cfg(&cfg);
    assert_int_equal(store_open_memory(&cfg, &its, &f->store), DTQ_OK);
    f->wall_ms = START_MS;
    open_results(f, 1);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    results_close(f->results);
    store_close(f->store);
    free(f);
    return 0;
}

/* The sink ends and starts again, with the same data. */
static void start_again(struct fixture *f, uint8_t run)
{
    results_close(f->results);
    open_results(f, run);
}

/* ---- batches */

struct batch {
    struct results_batch b;
    struct results_proposals proposals[8];
    struct results_range ranges[8];
    struct results_ack acks[4];
    uint8_t stands[8][ENTRIES_MAX];
    dtq_id ids[8][ENTRIES_MAX];
    uint32_t tickets[8][ENTRIES_MAX];
    uint32_t kinds[8][ENTRIES_MAX];
    struct dtqi_slice bodies[8][ENTRIES_MAX];
    struct dtqi_spec specs[8];
};

static struct batch *batch_new(struct fixture *f)
{
    struct batch *b = calloc(1, sizeof *b);

    assert_non_null(b);
    b->b.wall_ms = f->wall_ms;
    b->b.proposals = b->proposals;
    b->b.ranges = b->ranges;
    b->b.acks = b->acks;
    return b;
}

/* One more message, of ventilator `v`. */
static struct dtqi_outcomes *message(struct batch *b, uint8_t v)
{
    uint32_t k = b->b.proposals_n++;
    struct dtqi_outcomes *o = &b->proposals[k].outcomes;

    assert_true(k < 8);
    b->specs[k] = (struct dtqi_spec){.name = dtqi_str("sum"), .queue = dtqi_str("default")};
    b->proposals[k].stands = b->stands[k];
    *o = (struct dtqi_outcomes){
        .ventilator = uid(v),
        .epoch = 7,
        .worker = dtqi_str("w1"),
        .ids = b->ids[k],
        .tickets = b->tickets[k],
        .kinds = b->kinds[k],
        .bodies = b->bodies[k],
        .specs = &b->specs[k],
        .specs_n = 1,
    };
    return o;
}

static void entry(struct batch *b, dtq_id id, uint32_t kind, const char *body)
{
    uint32_t k = b->b.proposals_n - 1;
    uint32_t i = b->proposals[k].outcomes.n++;

    assert_true(i < ENTRIES_MAX);
    b->ids[k][i] = id;
    b->tickets[k][i] = 1000 + id.bytes[15];
    b->kinds[k][i] = kind;
    b->bodies[k][i] = (struct dtqi_slice){body, (uint32_t)strlen(body)};
}

static void apply(struct fixture *f, struct batch *b)
{
    results_apply(f->results, &b->b);
    if (b->b.err != DTQ_OK)
        fail_msg("%s", b->b.why);
}

static void commit_one(struct fixture *f, uint8_t v, dtq_id id, uint32_t kind, const char *body)
{
    struct batch *b = batch_new(f);

    message(b, v);
    entry(b, id, kind, body);
    apply(f, b);
    assert_int_equal(b->b.won, 1);
    free(b);
}

static void commit_spec(struct fixture *f, dtq_id id, const char *body, struct dtqi_spec spec)
{
    struct batch *b = batch_new(f);

    message(b, 1);
    b->specs[0] = spec;
    entry(b, id, DTQ_SUCCEEDED, body);
    apply(f, b);
    free(b);
}

static void acknowledge(struct fixture *f, uint8_t v, uint64_t number)
{
    struct batch *b = batch_new(f);

    b->acks[b->b.acks_n++] = (struct results_ack){uid(v), number};
    apply(f, b);
    free(b);
}

/* Sweep until the pass is over; @return how much it removed. */
static uint32_t sweep(struct fixture *f, uint32_t step)
{
    struct batch *b = batch_new(f);
    uint32_t swept = 0;

    b->b.sweep_max = step;
    do {
        apply(f, b);
        swept += b->b.swept;
    } while (b->b.sweep_more);
    free(b);
    return swept;
}

/* ---- reads */

static void look_up(struct fixture *f, struct results_read *read, const dtq_id *ids, uint32_t n)
{
    *read = (struct results_read){.type = RESULTS_LOOKUP,
                                  .wall_ms = f->wall_ms,
                                  .ids = ids,
                                  .ids_n = n,
                                  .bytes_max = 1 << 20};
    results_read(f->results, read);
    assert_int_equal(read->err, DTQ_OK);
}

static void read_done(struct results_read *read)
{
    dtqi_buf_unref(read->buf);
    read->buf = NULL;
}

/* What a reader finds: "kind:body", or "none". */
static void expect_lookup(struct fixture *f, dtq_id id, const char *expected)
{
    struct results_read read;
    char found[700] = "none";

    look_up(f, &read, &id, 1);
    if (read.outcomes_n == 1)
        snprintf(found, sizeof found, "%d:%.*s", (int)read.outcomes[0].state,
                 (int)read.outcomes[0].body.len, (const char *)read.outcomes[0].body.at);
    read_done(&read);
    assert_string_equal(found, expected);
}

static uint32_t claim(struct fixture *f, dtq_id id)
{
    struct results_read read = {
        .type = RESULTS_CLAIM, .wall_ms = f->wall_ms, .ids = &id, .ids_n = 1};
    uint32_t kind;

    results_read(f->results, &read);
    assert_int_equal(read.err, DTQ_OK);
    kind = read.kinds[0];
    read_done(&read);
    return kind;
}

static void read_stream(struct fixture *f, struct results_read *read, uint8_t v, uint64_t after,
                        uint32_t limit)
{
    *read = (struct results_read){
        .type = RESULTS_STREAM, .ventilator = uid(v), .after = after, .limit = limit};
    results_read(f->results, read);
    assert_int_equal(read->err, DTQ_OK);
}

/* The last bytes of the ids from `after` on, as text. */
static void expect_stream(struct fixture *f, uint8_t v, uint64_t after, uint32_t limit,
                          uint64_t first, const char *expected)
{
    struct results_read read;
    char found[256] = "";

    read_stream(f, &read, v, after, limit);
    for (uint32_t i = 0; i < read.entries_n; i++)
        snprintf(found + strlen(found), sizeof found - strlen(found), "%u ",
                 read.entry_ids[i].bytes[15]);
    assert_string_equal(found, expected);
    if (read.entries_n != 0)
        assert_int_equal(read.first, first);
    read_done(&read);
}

static bool is_diverged(struct fixture *f, uint8_t v, uint8_t run, uint64_t after)
{
    struct results_read read = {
        .type = RESULTS_RESUME, .ventilator = uid(v), .run = uid(run), .after = after};

    results_read(f->results, &read);
    assert_int_equal(read.err, DTQ_OK);
    read_done(&read);
    return read.diverged;
}

/* ---------------------------------------------------------------- one outcome */

/* R25 */
static void first_proposal_is_the_outcome(void **state)
{
    struct fixture *f = *state;
    struct batch *b = batch_new(f);

    commit_one(f, 1, id_of(1), DTQ_SUCCEEDED, "one");
    message(b, 1);
    entry(b, id_of(1), DTQ_FAILED, "two");
    apply(f, b);
    assert_int_equal(b->b.won, 0);
    assert_int_equal(b->b.second, 1);
    assert_int_equal(b->stands[0][0], DTQ_SUCCEEDED);
    expect_lookup(f, id_of(1), "5:one");
    free(b);
}

/* R25: in arrival order, the uncommitted batch included. */
static void first_of_two_in_one_batch_wins(void **state)
{
    struct fixture *f = *state;
    struct batch *b = batch_new(f);

    message(b, 1);
    entry(b, id_of(1), DTQ_CANCELLED, "");
    message(b, 1);
    entry(b, id_of(1), DTQ_SUCCEEDED, "late");
    entry(b, id_of(2), DTQ_SUCCEEDED, "two");
    apply(f, b);
    assert_int_equal(b->stands[0][0], 0);
    assert_int_equal(b->stands[1][0], DTQ_CANCELLED);
    assert_int_equal(b->stands[1][1], 0);
    assert_int_equal(b->b.won, 2);
    expect_lookup(f, id_of(1), "8:");
    expect_stream(f, 1, 0, 100, 1, "1 2 ");
    free(b);
}

static void all_of_an_outcome_reads_back(void **state)
{
    struct fixture *f = *state;
    struct batch *b = batch_new(f);
    struct dtqi_outcomes *o = message(b, 1);
    uint64_t started = START_MS + 5;
    uint64_t duration = 1234567;
    uint32_t attempt = 3;
    uint32_t reason = DTQ_REASON_EXIT;
    int32_t code = -7;
    dtq_id id = id_of(1);
    struct results_read read;

    entry(b, id, DTQ_FAILED, "it broke");
    o->started_wall_ms = &started;
    o->durations_us = &duration;
    o->attempts = &attempt;
    o->reasons = &reason;
    o->codes = &code;
    apply(f, b);
    look_up(f, &read, &id, 1);
    assert_int_equal(read.outcomes_n, 1);
    assert_memory_equal(&read.outcomes[0].id, &id, sizeof id);
    assert_int_equal(read.outcomes[0].state, DTQ_FAILED);
    assert_int_equal(read.outcomes[0].reason, DTQ_REASON_EXIT);
    assert_int_equal(read.outcomes[0].code, -7);
    assert_int_equal(read.outcomes[0].attempt, 3);
    assert_int_equal(read.outcomes[0].epoch, 7);
    assert_int_equal(read.outcomes[0].started_wall_ms, started);
    assert_int_equal(read.outcomes[0].duration_us, duration);
    assert_int_equal(read.outcomes[0].committed_wall_ms, START_MS);
    assert_true(dtqi_str_eq(read.outcomes[0].worker, dtqi_str("w1")));
    assert_true(dtqi_str_eq(read.outcomes[0].name, dtqi_str("sum")));
    assert_true(dtqi_str_eq(read.outcomes[0].queue, dtqi_str("default")));
    read_done(&read);
    free(b);
}

static void extreme_numbers_read_back(void **state)
{
    struct fixture *f = *state;
    struct batch *b = batch_new(f);
    struct dtqi_outcomes *o = message(b, 1);
    uint64_t started[] = {0, DTQI_WALL_MS_MAX, START_MS};
    uint64_t duration[] = {UINT64_MAX, 0, 127};
    uint32_t attempt[] = {UINT32_MAX, 0, 128};
    int32_t code[] = {INT32_MIN, INT32_MAX, -1};
    dtq_id ids[] = {id_of(1), id_of(2), id_of(3)};
    struct results_read read;

    for (int i = 0; i < 3; i++)
        entry(b, ids[i], DTQ_FAILED, "");
    o->epoch = UINT64_MAX;
    o->started_wall_ms = started;
    o->durations_us = duration;
    o->attempts = attempt;
    o->codes = code;
    apply(f, b);
    look_up(f, &read, ids, 3);
    assert_int_equal(read.outcomes_n, 3);
    for (int i = 0; i < 3; i++) {
        assert_true(read.outcomes[i].epoch == UINT64_MAX);
        assert_true(read.outcomes[i].started_wall_ms == started[i]);
        assert_true(read.outcomes[i].duration_us == duration[i]);
        assert_true(read.outcomes[i].attempt == attempt[i]);
        assert_int_equal(read.outcomes[i].code, code[i]);
    }
    read_done(&read);
    free(b);
}

static void large_bodies_read_back(void **state)
{
    struct fixture *f = *state;
    char body[601];
    char expected[610];

    memset(body, 'x', 600);
    body[600] = 0;
    snprintf(expected, sizeof expected, "5:%s", body);
    commit_one(f, 1, id_of(1), DTQ_SUCCEEDED, body);
    expect_lookup(f, id_of(1), expected);
}

static void skipped_entries_are_not_committed(void **state)
{
    struct fixture *f = *state;
    struct batch *b = batch_new(f);
    uint8_t skip[] = {0, 1, 0};

    message(b, 1);
    entry(b, id_of(1), DTQ_SUCCEEDED, "");
    entry(b, id_of(2), DTQ_SUCCEEDED, "");
    entry(b, id_of(3), DTQ_SUCCEEDED, "");
    b->proposals[0].skip = skip;
    apply(f, b);
    assert_int_equal(b->b.won, 2);
    expect_lookup(f, id_of(2), "none");
    expect_stream(f, 1, 0, 100, 1, "1 3 ");
    free(b);
}

/* no_result: that it succeeded is kept, its result is not; why something failed is. */
static void unwanted_result_is_not_kept(void **state)
{
    struct fixture *f = *state;
    struct batch *b = batch_new(f);

    message(b, 1);
    b->specs[0].no_result = true;
    entry(b, id_of(1), DTQ_SUCCEEDED, "42");
    entry(b, id_of(2), DTQ_FAILED, "no such file");
    apply(f, b);
    expect_lookup(f, id_of(1), "5:");
    expect_lookup(f, id_of(2), "6:no such file");
    free(b);
}

static void outcomes_outlive_a_restart(void **state)
{
    struct fixture *f = *state;

    commit_one(f, 1, id_of(1), DTQ_SUCCEEDED, "one");
    start_again(f, 2);
    commit_one(f, 1, id_of(2), DTQ_SUCCEEDED, "two");
    expect_lookup(f, id_of(1), "5:one");
    expect_stream(f, 1, 0, 100, 1, "1 2 ");
}

/* ---------------------------------------------------------------- reads */

static void lookup_stops_at_its_bound_of_bytes(void **state)
{
    struct fixture *f = *state;
    dtq_id ids[] = {id_of(1), id_of(2), id_of(3)};
    struct results_read read = {
        .type = RESULTS_LOOKUP, .wall_ms = START_MS, .ids = ids, .ids_n = 3, .bytes_max = 5};

    commit_one(f, 1, id_of(1), DTQ_SUCCEEDED, "123");
    commit_one(f, 1, id_of(2), DTQ_SUCCEEDED, "456");
    commit_one(f, 1, id_of(3), DTQ_SUCCEEDED, "789");
    results_read(f->results, &read);
    assert_int_equal(read.outcomes_n, 2);
    assert_int_equal(read.done, 2);
    read_done(&read);
}

static void lookup_names_which_ids_it_found(void **state)
{
    struct fixture *f = *state;
    dtq_id ids[] = {id_of(1), id_of(2), id_of(3), id_of(4)};
    struct results_read read;

    commit_one(f, 1, id_of(2), DTQ_SUCCEEDED, "");
    commit_one(f, 1, id_of(4), DTQ_SUCCEEDED, "");
    look_up(f, &read, ids, 4);
    assert_int_equal(read.done, 4);
    assert_int_equal(read.outcomes_n, 2);
    assert_int_equal(read.index[0], 1);
    assert_int_equal(read.index[1], 3);
    read_done(&read);
}

/* R6 */
static void claim_sees_what_stands(void **state)
{
    struct fixture *f = *state;

    commit_one(f, 1, id_of(1), DTQ_EXPIRED, "");
    assert_int_equal(claim(f, id_of(1)), DTQ_EXPIRED);
    assert_int_equal(claim(f, id_of(2)), DTQ_NOT_FOUND);
}

static void page(struct fixture *f, struct results_read *read,
                 const struct dtqi_results_query *query)
{
    *read = (struct results_read){
        .type = RESULTS_PAGE, .wall_ms = f->wall_ms, .query = *query, .bytes_max = 1 << 20};
    results_read(f->results, read);
    assert_int_equal(read->err, DTQ_OK);
}

/* All pages, as the last bytes of ids. */
static void expect_pages(struct fixture *f, struct dtqi_results_query query, const char *expected)
{
    struct results_read read;
    char found[256] = "";
    bool more;

    do {
        page(f, &read, &query);
        for (uint32_t i = 0; i < read.outcomes_n; i++)
            snprintf(found + strlen(found), sizeof found - strlen(found), "%u ",
                     read.outcomes[i].id.bytes[15]);
        query.has_after = true;
        query.after = read.next;
        more = read.has_next;
        read_done(&read);
    } while (more);
    assert_string_equal(found, expected);
}

static void commit_five(struct fixture *f)
{
    for (uint8_t i = 1; i <= 5; i++)
        commit_one(f, 1, id_at(START_MS + i, i), i == 3 ? DTQ_FAILED : DTQ_SUCCEEDED, "body");
}

static void pages_give_every_outcome_once(void **state)
{
    struct fixture *f = *state;

    commit_five(f);
    expect_pages(f, (struct dtqi_results_query){.limit = 2}, "1 2 3 4 5 ");
    expect_pages(f, (struct dtqi_results_query){.limit = 2, .newest_first = true}, "5 4 3 2 1 ");
    expect_pages(f, (struct dtqi_results_query){.limit = 5}, "1 2 3 4 5 ");
    expect_pages(f, (struct dtqi_results_query){0}, "1 2 3 4 5 ");
}

static void pages_keep_to_their_filters(void **state)
{
    struct fixture *f = *state;

    commit_five(f);
    commit_spec(f, id_at(START_MS + 6, 6), "x",
                (struct dtqi_spec){.name = dtqi_str("other"), .queue = dtqi_str("q2")});
    expect_pages(f, (struct dtqi_results_query){.state = DTQ_FAILED}, "3 ");
    expect_pages(f, (struct dtqi_results_query){.queue = dtqi_str("q2")}, "6 ");
    expect_pages(f, (struct dtqi_results_query){.name = dtqi_str("sum"), .limit = 1}, "1 2 3 4 5 ");
}

static void pages_keep_to_a_prefix(void **state)
{
    struct fixture *f = *state;
    struct dtqi_results_query query = {.prefix = id_at(START_MS + 4, 0)};

    commit_five(f);
    query.prefix_bits = 48;
    expect_pages(f, query, "4 ");
    query.newest_first = true;
    expect_pages(f, query, "4 ");
    query.newest_first = false;
    query.prefix_bits = 46; /* all but the two lowest bits of the time: + 4 and + 5 */
    expect_pages(f, query, "4 5 ");
    query.prefix_bits = 8;
    expect_pages(f, query, "1 2 3 4 5 ");
    query.prefix_bits = 128;
    expect_pages(f, query, "");
}

static void page_has_bodies_only_when_asked(void **state)
{
    struct fixture *f = *state;
    struct results_read read;

    commit_one(f, 1, id_of(1), DTQ_SUCCEEDED, "one");
    page(f, &read, &(struct dtqi_results_query){.bodies = true});
    assert_int_equal(read.outcomes[0].body.len, 3);
    assert_int_equal(read.held, 1);
    read_done(&read);
    page(f, &read, &(struct dtqi_results_query){.bodies = false});
    assert_int_equal(read.outcomes[0].body.len, 0);
    read_done(&read);
}

/* ---------------------------------------------------------------- streams */

/* R26: consecutive numbers for each ventilator, whichever batch they came in. */
static void each_ventilator_has_its_own_stream(void **state)
{
    struct fixture *f = *state;
    struct batch *b = batch_new(f);

    message(b, 1);
    entry(b, id_of(1), DTQ_SUCCEEDED, "");
    message(b, 2);
    entry(b, id_of(2), DTQ_SUCCEEDED, "");
    message(b, 1);
    entry(b, id_of(3), DTQ_SUCCEEDED, "");
    apply(f, b);
    assert_int_equal(b->b.ranges_n, 2);
    assert_int_equal(b->ranges[0].first, 1);
    assert_int_equal(b->ranges[0].n, 2);
    assert_int_equal(b->ranges[1].first, 1);
    assert_int_equal(b->ranges[1].n, 1);
    commit_one(f, 2, id_of(4), DTQ_SUCCEEDED, "");
    expect_stream(f, 1, 0, 100, 1, "1 3 ");
    expect_stream(f, 2, 0, 100, 1, "2 4 ");
    free(b);
}

static void stream_has_kinds_and_tickets(void **state)
{
    struct fixture *f = *state;
    struct results_read read;

    commit_one(f, 1, id_of(1), DTQ_SUCCEEDED, "");
    commit_one(f, 1, id_of(2), DTQ_FAILED, "");
    read_stream(f, &read, 1, 0, 100);
    assert_int_equal(read.head, 2);
    assert_int_equal(read.kinds[0], DTQ_SUCCEEDED);
    assert_int_equal(read.kinds[1], DTQ_FAILED);
    assert_int_equal(read.tickets[0], 1001);
    assert_int_equal(read.tickets[1], 1002);
    read_done(&read);
}

/* R28: from any number on, also from the middle of what was committed together. */
static void stream_reads_from_any_number(void **state)
{
    struct fixture *f = *state;
    struct batch *b = batch_new(f);

    message(b, 1);
    for (uint8_t i = 1; i <= 5; i++)
        entry(b, id_of(i), DTQ_SUCCEEDED, "");
    apply(f, b);
    free(b);
    commit_one(f, 1, id_of(6), DTQ_SUCCEEDED, "");
    commit_one(f, 1, id_of(7), DTQ_SUCCEEDED, "");
    expect_stream(f, 1, 0, 100, 1, "1 2 3 4 5 6 7 ");
    expect_stream(f, 1, 2, 100, 3, "3 4 5 6 7 ");
    expect_stream(f, 1, 2, 2, 3, "3 4 ");
    expect_stream(f, 1, 4, 2, 5, "5 6 ");
    expect_stream(f, 1, 6, 100, 7, "7 ");
    expect_stream(f, 1, 7, 100, 0, "");
    expect_stream(f, 9, 0, 100, 0, "");
}

/* R28: entries go only when they are acknowledged. */
static void acknowledged_entries_are_dropped(void **state)
{
    struct fixture *f = *state;
    struct results_read read;

    for (uint8_t i = 1; i <= 4; i++)
        commit_one(f, 1, id_of(i), DTQ_SUCCEEDED, "");
    acknowledge(f, 1, 2);
    read_stream(f, &read, 1, 0, 100);
    assert_int_equal(read.dropped, 2);
    assert_int_equal(read.first, 3);
    assert_int_equal(read.entries_n, 2);
    read_done(&read);
}

static void acknowledgement_of_what_was_never_given_out_is_ignored(void **state)
{
    struct fixture *f = *state;

    commit_one(f, 1, id_of(1), DTQ_SUCCEEDED, "");
    acknowledge(f, 1, 2);
    acknowledge(f, 9, 1);
    expect_stream(f, 1, 0, 100, 1, "1 ");
}

/* R34 */
static void resume_of_a_known_run_is_accepted(void **state)
{
    struct fixture *f = *state;

    commit_one(f, 1, id_of(1), DTQ_SUCCEEDED, "");
    start_again(f, 2);
    commit_one(f, 1, id_of(2), DTQ_SUCCEEDED, "");
    assert_false(is_diverged(f, 1, 0, 0));
    assert_false(is_diverged(f, 9, 0, 0));
    assert_false(is_diverged(f, 1, 1, 1));
    assert_false(is_diverged(f, 1, 2, 2));
    assert_false(is_diverged(f, 1, 2, 1)); /* sent again by a later run */
}

/* R34: a restored copy does not know the runs that came after it was made .. */
static void resume_of_an_unknown_run_has_diverged(void **state)
{
    struct fixture *f = *state;

    commit_one(f, 1, id_of(1), DTQ_SUCCEEDED, "");
    assert_true(is_diverged(f, 1, 7, 1));
    assert_true(is_diverged(f, 9, 1, 1));
}

/* R34: .. nor how far the run went that it was made in. */
static void resume_beyond_the_end_of_a_run_has_diverged(void **state)
{
    struct fixture *f = *state;

    commit_one(f, 1, id_of(1), DTQ_SUCCEEDED, "");
    assert_true(is_diverged(f, 1, 1, 2));
    start_again(f, 2);
    commit_one(f, 1, id_of(2), DTQ_SUCCEEDED, "");
    commit_one(f, 1, id_of(3), DTQ_SUCCEEDED, "");
    assert_true(is_diverged(f, 1, 1, 2)); /* number 2 is of run 2 here */
    assert_false(is_diverged(f, 1, 2, 2));
    assert_true(is_diverged(f, 1, 2, 4));
}

static void runs_are_remembered_up_to_a_bound(void **state)
{
    struct fixture *f = *state;

    commit_one(f, 1, id_of(1), DTQ_SUCCEEDED, "");
    for (uint32_t i = 0; i < RESULTS_RUNS_MAX; i++)
        start_again(f, 2);
    assert_true(is_diverged(f, 1, 1, 1)); /* forgotten */
    assert_false(is_diverged(f, 1, 2, 1));
}

static void streams_are_bounded_in_number(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 0; i < RESULTS_VENTILATORS_MAX; i++) {
        struct batch *b = batch_new(f);
        struct dtqi_outcomes *o = message(b, 1);

        o->ventilator.bytes[1] = (uint8_t)i;
        o->ventilator.bytes[2] = (uint8_t)(i >> 8);
        entry(b, id_at(START_MS + i, 1), DTQ_SUCCEEDED, "");
        apply(f, b);
        assert_false(b->proposals[0].refused);
        free(b);
    }
    {
        struct batch *b = batch_new(f);

        message(b, 99);
        entry(b, id_of(9), DTQ_SUCCEEDED, "");
        apply(f, b);
        assert_true(b->proposals[0].refused);
        assert_int_equal(b->b.won, 0);
        free(b);
    }
    expect_lookup(f, id_of(9), "none");
}

/* R34: a copy of the data as it was goes on in another direction than the original did. */
static void restored_copy_has_diverged(void **state)
{
    struct fixture *f = *state;
    struct store *copy;

    commit_one(f, 1, id_of(1), DTQ_SUCCEEDED, "");
    assert_int_equal(store_memory_clone(f->store, &copy), DTQ_OK);
    commit_one(f, 1, id_of(2), DTQ_SUCCEEDED, "");
    results_close(f->results);
    store_close(f->store);
    f->store = copy;
    open_results(f, 2);
    assert_false(is_diverged(f, 1, 1, 1));
    assert_true(is_diverged(f, 1, 1, 2));
    commit_one(f, 1, id_of(3), DTQ_SUCCEEDED, "");
    assert_true(is_diverged(f, 1, 1, 2));
}

/* ---------------------------------------------------------------- what goes wrong */

/* The first entry of the batch, whatever it ends with. */
static dtq_err try_one(struct fixture *f, dtq_id id, const char *body)
{
    struct batch *b = batch_new(f);
    dtq_err err;

    message(b, 1);
    entry(b, id, DTQ_SUCCEEDED, body);
    results_apply(f->results, &b->b);
    err = b->b.err;
    free(b);
    return err;
}

/* Numbers that a failed commit had given are given again. */
static void failed_commit_keeps_nothing(void **state)
{
    struct fixture *f = *state;

    commit_one(f, 1, id_of(1), DTQ_SUCCEEDED, "");
    store_memory_fail_commit(f->store, DTQ_ENOSPC);
    assert_int_equal(try_one(f, id_of(2), ""), DTQ_ENOSPC);
    expect_lookup(f, id_of(2), "none");
    expect_stream(f, 1, 0, 100, 1, "1 ");
    assert_int_equal(try_one(f, id_of(2), ""), DTQ_OK);
    expect_stream(f, 1, 0, 100, 1, "1 2 ");
}

static void failed_first_commit_of_a_ventilator_keeps_nothing(void **state)
{
    struct fixture *f = *state;

    store_memory_fail_commit(f->store, DTQ_ENOSPC);
    assert_int_equal(try_one(f, id_of(1), ""), DTQ_ENOSPC);
    commit_one(f, 2, id_of(2), DTQ_SUCCEEDED, "");
    commit_one(f, 1, id_of(1), DTQ_SUCCEEDED, "");
    start_again(f, 2);
    expect_stream(f, 1, 0, 100, 1, "1 ");
    expect_stream(f, 2, 0, 100, 1, "2 ");
}

/* R31: what makes room must work when there is none. */
static void full_store_can_be_swept(void **state)
{
    struct fixture *f = *state;
    char body[400];
    uint8_t n = 1;

    memset(body, 'x', sizeof body - 1);
    body[sizeof body - 1] = 0;
    store_memory_set_limit(f->store, 20000);
    while (try_one(f, id_of(n), body) == DTQ_OK)
        n++;
    assert_int_equal(try_one(f, id_of(n), body), DTQ_ENOSPC);
    f->wall_ms = START_MS + TTL_MS;
    acknowledge(f, 1, n - 1);
    assert_int_equal(sweep(f, 100), n - 1);
    assert_int_equal(try_one(f, id_of(n), body), DTQ_OK);
}

static void damage(struct fixture *f, unsigned table, struct dtqi_slice key)
{
    assert_int_equal(store_memory_damage(f->store, table, key), DTQ_OK);
}

/* What cannot be read is no outcome: a worker that kept it sends it again. */
static void damaged_outcome_is_replaced_by_the_next_proposal(void **state)
{
    struct fixture *f = *state;
    struct batch *b = batch_new(f);
    dtq_id id = id_of(1);

    commit_one(f, 1, id, DTQ_SUCCEEDED, "one");
    damage(f, OUTCOMES, id_key(&id));
    expect_lookup(f, id, "none");
    assert_int_equal(claim(f, id), DTQ_NOT_FOUND);
    message(b, 1);
    entry(b, id, DTQ_SUCCEEDED, "again");
    apply(f, b);
    assert_int_equal(b->b.replaced, 1);
    expect_lookup(f, id, "5:again");
    free(b);
}

static void damaged_outcome_does_not_hide_the_others(void **state)
{
    struct fixture *f = *state;
    dtq_id id = id_at(START_MS + 3, 3);

    commit_five(f);
    damage(f, OUTCOMES, id_key(&id));
    expect_pages(f, (struct dtqi_results_query){.limit = 2}, "1 2 4 5 ");
    f->wall_ms = START_MS + TTL_MS;
    assert_int_equal(sweep(f, 2), 4);
}

/* Its checksum is right: a writer with a bug, or somebody's hand. */
static void a_key_that_is_no_id_does_not_hide_the_others(void **state)
{
    struct fixture *f = *state;
    dtq_id id = id_at(START_MS + 3, 3);
    struct store_tx *tx;

    commit_five(f);
    assert_int_equal(store_begin(f->store, true, &tx), DTQ_OK);
    assert_int_equal(store_put(tx, OUTCOMES, slice(id.bytes, 9), slice("alien", 5), 0), DTQ_OK);
    assert_int_equal(store_commit(tx), DTQ_OK);
    expect_pages(f, (struct dtqi_results_query){.limit = 2}, "1 2 3 4 5 ");
    f->wall_ms = START_MS + TTL_MS;
    assert_int_equal(sweep(f, 2), 5);
}

static void damaged_part_of_a_stream_is_passed_over(void **state)
{
    struct fixture *f = *state;
    struct pair_key key = pair_key(0, 2);

    for (uint8_t i = 1; i <= 4; i++)
        commit_one(f, 1, id_of(i), DTQ_SUCCEEDED, "");
    damage(f, STREAM, slice(&key, sizeof key));
    expect_stream(f, 1, 0, 100, 1, "1 ");
    expect_stream(f, 1, 1, 100, 3, "3 4 ");
}

/* ---------------------------------------------------------------- expiry */

static void result_is_readable_until_its_ttl(void **state)
{
    struct fixture *f = *state;

    commit_one(f, 1, id_of(1), DTQ_SUCCEEDED, "one");
    f->wall_ms = START_MS + TTL_MS - 1;
    assert_int_equal(sweep(f, 100), 0);
    expect_lookup(f, id_of(1), "5:one");
    f->wall_ms = START_MS + TTL_MS;
    expect_lookup(f, id_of(1), "0:");
    assert_int_equal(sweep(f, 100), 1);
    expect_lookup(f, id_of(1), "none");
}

/* R31: what is read for a minute only still has one outcome for as long as its id may come back. */
static void tombstone_outlives_a_short_ttl(void **state)
{
    struct fixture *f = *state;
    struct batch *b = batch_new(f);

    commit_spec(f, id_of(1), "short", (struct dtqi_spec){.result_ttl_ms = 60000});
    f->wall_ms = START_MS + 60000;
    assert_int_equal(sweep(f, 100), 1);
    expect_lookup(f, id_of(1), "0:");
    f->wall_ms = START_MS + MEMORY_MS - 1;
    assert_int_equal(sweep(f, 100), 0);
    assert_int_equal(claim(f, id_of(1)), DTQ_SUCCEEDED);
    b->b.wall_ms = f->wall_ms;
    message(b, 1);
    entry(b, id_of(1), DTQ_SUCCEEDED, "again");
    apply(f, b);
    assert_int_equal(b->b.second, 1);
    f->wall_ms = START_MS + MEMORY_MS;
    assert_int_equal(sweep(f, 100), 1);
    assert_int_equal(claim(f, id_of(1)), DTQ_NOT_FOUND);
    free(b);
}

/* Commit one outcome, with what the host's clocks say: `up_ms` since its boot. */
static void commit_at(struct fixture *f, dtq_id id, struct host_time host)
{
    struct batch *b = batch_new(f);

    b->b.mark = (struct steady_mark){f->wall_ms, host};
    message(b, 1);
    entry(b, id, DTQ_SUCCEEDED, "x");
    apply(f, b);
    assert_int_equal(b->b.won, 1);
    free(b);
}

static uint64_t clock_at(struct fixture *f, struct host_time host)
{
    struct steady clock;

    results_start_clock(f->results, &host, &clock);
    return steady_ms(&clock, &host);
}

/* Neither early nor late, whatever the wall clock was set to while the sink was down. */
static void the_clock_of_outcomes_goes_on_after_a_restart(void **state)
{
    struct fixture *f = *state;

    commit_at(f, id_of(1), (struct host_time){1, 1000, START_MS});
    start_again(f, 2);
    assert_int_equal(clock_at(f, (struct host_time){1, 61000, START_MS + 9 * TTL_MS}),
                     START_MS + 60000);
    assert_int_equal(clock_at(f, (struct host_time){1, 61000, START_MS - 9 * TTL_MS}),
                     START_MS + 60000);
    assert_int_equal(clock_at(f, (struct host_time){2, 10, START_MS + 60000}), START_MS + 60000);
    assert_int_equal(clock_at(f, (struct host_time){2, 10, START_MS - 60000}), START_MS);
}

static void the_time_is_written_with_a_commit_now_and_then(void **state)
{
    struct fixture *f = *state;

    commit_at(f, id_of(1), (struct host_time){1, 1000, START_MS});
    f->wall_ms += STEADY_MARK_MS - 1;
    commit_at(f, id_of(2), (struct host_time){1, 1000 + STEADY_MARK_MS - 1, f->wall_ms});
    start_again(f, 2);
    assert_int_equal(clock_at(f, (struct host_time){2, 10, START_MS - 1}), START_MS);
    f->wall_ms++;
    commit_at(f, id_of(3), (struct host_time){1, 1000 + STEADY_MARK_MS, f->wall_ms});
    start_again(f, 3);
    assert_int_equal(clock_at(f, (struct host_time){2, 10, START_MS - 1}),
                     START_MS + STEADY_MARK_MS);
}

static void sweep_looks_at_so_many_records_a_step(void **state)
{
    struct fixture *f = *state;
    struct batch *b;
    uint32_t steps = 0;

    for (uint8_t i = 0; i < 10; i++)
        commit_one(f, 1, id_of(i), DTQ_SUCCEEDED, "");
    f->wall_ms = START_MS + TTL_MS;
    b = batch_new(f);
    b->b.sweep_max = 3;
    do {
        apply(f, b);
        assert_true(b->b.swept <= 3);
        steps++;
    } while (b->b.sweep_more);
    assert_int_equal(steps, 4);
    assert_int_equal(b->b.held, 0);
    free(b);
}

/* A short life among long ones is found, wherever it stands. */
static void sweep_finds_short_lives_among_long_ones(void **state)
{
    struct fixture *f = *state;

    for (uint8_t i = 0; i < 20; i++)
        commit_spec(f, id_at(START_MS + i, i), "body",
                    (struct dtqi_spec){.result_ttl_ms = i % 5 == 0 ? 60000 : 0});
    assert_int_equal(sweep(f, 3), 0); /* learns what there is */
    f->wall_ms = START_MS + 60100;
    assert_int_equal(sweep(f, 3), 4);
    f->wall_ms = START_MS + MEMORY_MS + 100;
    assert_int_equal(sweep(f, 3), 4);
    f->wall_ms = START_MS + TTL_MS + 100;
    assert_int_equal(sweep(f, 3), 16);
}

static void sweep_says_when_something_can_expire(void **state)
{
    struct fixture *f = *state;
    struct batch *b = batch_new(f);

    b->b.sweep_max = 10;
    apply(f, b);
    assert_true(b->b.sweep_due_wall_ms == UINT64_MAX);
    commit_one(f, 1, id_of(1), DTQ_SUCCEEDED, "");
    commit_spec(f, id_of(2), "x", (struct dtqi_spec){.result_ttl_ms = 5000});
    apply(f, b);
    assert_int_equal(b->b.sweep_due_wall_ms, START_MS + 5000);
    b->b.wall_ms = START_MS + 5000;
    apply(f, b);
    assert_int_equal(b->b.swept, 1);
    assert_int_equal(b->b.sweep_due_wall_ms, START_MS + MEMORY_MS);
    free(b);
}

/* Ids made by a clock that is wrong, either way, expire all the same. */
static void ids_from_strange_times_expire_too(void **state)
{
    struct fixture *f = *state;

    commit_one(f, 1, id_at(0, 1), DTQ_SUCCEEDED, "");
    commit_one(f, 1, id_at(START_MS + 10 * TTL_MS, 2), DTQ_SUCCEEDED, "");
    commit_one(f, 1, id_of(3), DTQ_SUCCEEDED, "");
    assert_int_equal(sweep(f, 100), 0);
    f->wall_ms = START_MS + TTL_MS;
    assert_int_equal(sweep(f, 100), 3);
}

static void endless_ttl_does_not_overflow(void **state)
{
    struct fixture *f = *state;

    commit_spec(f, id_of(1), "kept", (struct dtqi_spec){.result_ttl_ms = UINT64_MAX});
    f->wall_ms = START_MS + 1000 * TTL_MS;
    assert_int_equal(sweep(f, 100), 0);
    expect_lookup(f, id_of(1), "5:kept");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(first_proposal_is_the_outcome),
        TEST(first_of_two_in_one_batch_wins),
        TEST(all_of_an_outcome_reads_back),
        TEST(extreme_numbers_read_back),
        TEST(large_bodies_read_back),
        TEST(skipped_entries_are_not_committed),
        TEST(unwanted_result_is_not_kept),
        TEST(outcomes_outlive_a_restart),
        TEST(lookup_stops_at_its_bound_of_bytes),
        TEST(lookup_names_which_ids_it_found),
        TEST(claim_sees_what_stands),
        TEST(pages_give_every_outcome_once),
        TEST(pages_keep_to_their_filters),
        TEST(pages_keep_to_a_prefix),
        TEST(page_has_bodies_only_when_asked),
        TEST(each_ventilator_has_its_own_stream),
        TEST(stream_has_kinds_and_tickets),
        TEST(stream_reads_from_any_number),
        TEST(acknowledged_entries_are_dropped),
        TEST(acknowledgement_of_what_was_never_given_out_is_ignored),
        TEST(resume_of_a_known_run_is_accepted),
        TEST(resume_of_an_unknown_run_has_diverged),
        TEST(resume_beyond_the_end_of_a_run_has_diverged),
        TEST(runs_are_remembered_up_to_a_bound),
        TEST(streams_are_bounded_in_number),
        TEST(restored_copy_has_diverged),
        TEST(failed_commit_keeps_nothing),
        TEST(failed_first_commit_of_a_ventilator_keeps_nothing),
        TEST(full_store_can_be_swept),
        TEST(damaged_outcome_is_replaced_by_the_next_proposal),
        TEST(damaged_outcome_does_not_hide_the_others),
        TEST(a_key_that_is_no_id_does_not_hide_the_others),
        TEST(damaged_part_of_a_stream_is_passed_over),
        TEST(result_is_readable_until_its_ttl),
        TEST(tombstone_outlives_a_short_ttl),
        TEST(the_clock_of_outcomes_goes_on_after_a_restart),
        TEST(the_time_is_written_with_a_commit_now_and_then),
        TEST(sweep_looks_at_so_many_records_a_step),
        TEST(sweep_finds_short_lives_among_long_ones),
        TEST(sweep_says_when_something_can_expire),
        TEST(ids_from_strange_times_expire_too),
        TEST(endless_ttl_does_not_overflow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
