/* ventilator/vent_lanes: lanes by session, and what is sent before a worker's end is there. */
#include "vent_lanes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define WAIT_MS 10000
#define PORT_LO 20000
#define PORT_HI 29999

struct fixture {
    void *context;
    struct vent_lanes *lanes;
    struct sock worker;
    char why[SOCK_WHY_BYTES];
};

static int open_fixture_of(void **state, uint32_t lanes_max)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->context = sock_context_new(1000);
    f->lanes = vent_lanes_new(f->context, "tcp://127.0.0.1:5570", lanes_max, PORT_LO, PORT_HI,
                              (uint32_t)random());
    assert_non_null(f->lanes);
    *state = f;
    return 0;
}

static int open_fixture(void **state)
{
    return open_fixture_of(state, 400);
}

static int open_small_fixture(void **state)
{
    return open_fixture_of(state, 2);
}

static int close_fixture(void **state)
{
    struct fixture *f = *state;

    sock_close(&f->worker);
    vent_lanes_free(f->lanes);
    sock_context_free(f->context);
    free(f);
    return 0;
}

static void open_lane(struct fixture *f, uint64_t session)
{
    assert_int_equal(vent_lanes_open(f->lanes, session, f->why, sizeof f->why), DTQ_OK);
}

static void connect_worker(struct fixture *f, uint64_t session)
{
    assert_int_equal(sock_connect(f->context, SOCK_LANE_PEER,
                                  vent_lanes_endpoint(f->lanes, session), &f->worker, f->why,
                                  sizeof f->why),
                     DTQ_OK);
}

/* Any message does: lanes look into none. */
static dtq_err send_number(struct fixture *f, uint64_t session, uint64_t number)
{
    struct dtqi_msg msg = {.type = DTQI_BYE, .bye = {.session = number}};

    return vent_lanes_send(f->lanes, session, &msg);
}

/* As the ventilator's loop does: wait for lanes that wait, and for what the worker gets. */
static void expect_number(struct fixture *f, uint64_t number)
{
    struct dtqi_msg msg;

    while (sock_recv(&f->worker, 0, NULL, &msg) != DTQ_OK) {
        struct sock_poll p;

        sock_poll_begin(&p);
        sock_poll_sock(&p, &f->worker);
        (void)vent_lanes_poll(f->lanes, &p);
        assert_true(sock_poll_wait(&p, WAIT_MS) >= 0);
        vent_lanes_flush(f->lanes);
    }
    assert_int_equal(msg.type, DTQI_BYE);
    assert_int_equal(msg.bye.session, number);
    dtqi_msg_done(&msg);
}

static size_t waiting(const struct fixture *f)
{
    struct sock_poll p;

    sock_poll_begin(&p);
    return vent_lanes_poll(f->lanes, &p);
}

static void what_is_sent_before_the_worker_is_there_waits_for_it(void **state)
{
    struct fixture *f = *state;

    open_lane(f, 7);
    for (uint64_t i = 0; i < 10; i++)
        assert_int_equal(send_number(f, 7, i), DTQ_OK);
    assert_int_equal(waiting(f), 1);
    vent_lanes_flush(f->lanes); /* the loop turns more than once before a distant worker is there */
    connect_worker(f, 7);
    for (uint64_t i = 0; i < 10; i++)
        expect_number(f, i);
    assert_int_equal(waiting(f), 0);
    assert_int_equal(send_number(f, 7, 10), DTQ_OK);
    expect_number(f, 10);
}

static void a_lane_whose_worker_never_comes_is_broken_in_the_end(void **state)
{
    struct fixture *f = *state;

    open_lane(f, 7);
    for (uint64_t i = 0; i < VENT_LANE_WAITING_MAX; i++)
        assert_int_equal(send_number(f, 7, i), DTQ_OK);
    assert_int_not_equal(send_number(f, 7, 99), DTQ_OK);
    vent_lanes_close(f->lanes, 7);
    assert_int_equal(waiting(f), 0);
}

/* R9: one connection. When it ends, nothing waits for another one. */
static void a_lane_whose_worker_left_is_broken(void **state)
{
    struct fixture *f = *state;
    dtq_err err;

    open_lane(f, 7);
    connect_worker(f, 7);
    assert_int_equal(send_number(f, 7, 1), DTQ_OK);
    expect_number(f, 1);
    sock_close(&f->worker);
    do /* until the end of the connection has come through the kernel */
        err = send_number(f, 7, 2);
    while (err == DTQ_OK);
    assert_int_equal(waiting(f), 0);
}

static void a_session_without_a_lane_gets_nothing(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(send_number(f, 7, 1), DTQ_EUNREACHABLE);
    assert_null(vent_lanes_endpoint(f->lanes, 7));
    vent_lanes_close(f->lanes, 7);
}

static void there_are_no_more_lanes_than_allowed(void **state)
{
    struct fixture *f = *state;

    open_lane(f, 1);
    open_lane(f, 2);
    assert_int_equal(vent_lanes_open(f->lanes, 3, f->why, sizeof f->why), DTQ_EBUSY);
    open_lane(f, 2); /* a session that asks again gets a fresh one in place of its old one */
    vent_lanes_close(f->lanes, 1);
    open_lane(f, 3);
}

/* Against a plain array of what should be open. */
static void lanes_are_found_whatever_was_closed_before(void **state)
{
    enum { SESSIONS = 64 };
    struct fixture *f = *state;
    bool open[SESSIONS] = {false};
    uint64_t seed = 1;

    for (int i = 0; i < 600; i++) {
        uint64_t session = (seed = dtqi_mix64(seed + 1)) % SESSIONS;

        if (open[session])
            vent_lanes_close(f->lanes, session);
        else
            open_lane(f, session);
        open[session] = !open[session];
        for (uint64_t s = 0; s < SESSIONS; s++)
            assert_int_equal(vent_lanes_endpoint(f->lanes, s) != NULL, open[s]);
    }
}

#define LANES_TEST(test) cmocka_unit_test_setup_teardown(test, open_fixture, close_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LANES_TEST(what_is_sent_before_the_worker_is_there_waits_for_it),
        LANES_TEST(a_lane_whose_worker_never_comes_is_broken_in_the_end),
        LANES_TEST(a_lane_whose_worker_left_is_broken),
        LANES_TEST(a_session_without_a_lane_gets_nothing),
        cmocka_unit_test_setup_teardown(there_are_no_more_lanes_than_allowed, open_small_fixture,
                                        close_fixture),
        LANES_TEST(lanes_are_found_whatever_was_closed_before),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
