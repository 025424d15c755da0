#include "idmap.h"

#include "sample.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define RECORDS 5000u

struct table {
    struct dtqi_idmap map;
    dtq_id ids[RECORDS];
    bool in[RECORDS];
};

static const dtq_id *id_of(const void *owner, uint32_t index)
{
    const struct table *t = owner;

    return &t->ids[index];
}

static uint32_t find(const struct table *t, const dtq_id *id)
{
    return dtqi_idmap_get(&t->map, t, id_of, id);
}

static void add(struct table *t, uint32_t index)
{
    assert_true(dtqi_idmap_reserve(&t->map, t->map.count + 1));
    dtqi_idmap_add(&t->map, &t->ids[index], index);
    t->in[index] = true;
}

static void take(struct table *t, uint32_t index)
{
    dtqi_idmap_remove(&t->map, t, id_of, &t->ids[index]);
    t->in[index] = false;
}

static int setup(void **state)
{
    struct table *t = calloc(1, sizeof *t);

    for (uint32_t i = 0; t != NULL && i < RECORDS; i++)
        memcpy(t->ids[i].bytes, &i, sizeof i);
    *state = t;
    return t == NULL;
}

static int teardown(void **state)
{
    struct table *t = *state;

    dtqi_idmap_done(&t->map);
    free(t);
    return 0;
}

static void an_empty_map_finds_nothing(void **state)
{
    struct table *t = *state;

    assert_int_equal(find(t, &t->ids[0]), DTQI_IDMAP_NONE);
}

static void what_was_added_is_found_until_it_is_removed(void **state)
{
    struct table *t = *state;

    for (uint32_t i = 0; i < RECORDS; i++)
        add(t, i);
    for (uint32_t i = 0; i < RECORDS; i++)
        assert_int_equal(find(t, &t->ids[i]), i);
    for (uint32_t i = 0; i < RECORDS; i += 2)
        take(t, i);
    for (uint32_t i = 0; i < RECORDS; i++)
        assert_int_equal(find(t, &t->ids[i]), i % 2 == 0 ? DTQI_IDMAP_NONE : i);
    assert_int_equal(t->map.count, RECORDS / 2);
}

static void any_order_of_adding_and_removing_keeps_the_rest(void **state)
{
    struct table *t = *state;
    uint64_t random = 5;

    for (unsigned round = 0; round < 200000; round++) {
        uint32_t i = (uint32_t)(sample_random(&random) % RECORDS);

        if (t->in[i])
            take(t, i);
        else
            add(t, i);
        i = (uint32_t)(sample_random(&random) % RECORDS);
        assert_int_equal(find(t, &t->ids[i]), t->in[i] ? i : DTQI_IDMAP_NONE);
    }
    for (uint32_t i = 0; i < RECORDS; i++)
        assert_int_equal(find(t, &t->ids[i]), t->in[i] ? i : DTQI_IDMAP_NONE);
}

static void reserving_what_is_there_changes_nothing(void **state)
{
    struct table *t = *state;
    void *entries;

    assert_true(dtqi_idmap_reserve(&t->map, 1000));
    entries = t->map.entries;
    assert_true(dtqi_idmap_reserve(&t->map, 1000));
    assert_true(dtqi_idmap_reserve(&t->map, 1));
    assert_ptr_equal(t->map.entries, entries);
}

static void a_single_reservation_makes_a_map_that_can_be_used(void **state)
{
    struct table *t = *state;

    assert_true(dtqi_idmap_reserve(&t->map, 0));
    assert_true(dtqi_idmap_reserve(&t->map, 1));
    dtqi_idmap_add(&t->map, &t->ids[3], 3);
    assert_int_equal(find(t, &t->ids[3]), 3);
}

static void what_is_expected_changes_nothing(void **state)
{
    struct table *t = *state;

    dtqi_idmap_expect(&t->map, &t->ids[0]);
    assert_null(t->map.entries);
    add(t, 1);
    dtqi_idmap_expect(&t->map, &t->ids[0]);
    dtqi_idmap_expect(&t->map, &t->ids[1]);
    assert_int_equal(find(t, &t->ids[0]), DTQI_IDMAP_NONE);
    assert_int_equal(find(t, &t->ids[1]), 1);
}

static void records_may_be_expected_that_are_not_there(void **state)
{
    struct table *t = *state;

    for (uint32_t i = 0; i < 40; i++)
        dtqi_idmap_expect_records(&t->map, t->ids, i, 40, t->ids, sizeof *t->ids);
    for (uint32_t i = 0; i < 20; i++)
        add(t, i);
    for (uint32_t i = 0; i < 40; i++)
        dtqi_idmap_expect_records(&t->map, t->ids, i, 40, t->ids, sizeof *t->ids);
    for (uint32_t i = 0; i < 40; i++)
        assert_int_equal(find(t, &t->ids[i]), i < 20 ? i : DTQI_IDMAP_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_empty_map_finds_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_added_is_found_until_it_is_removed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(any_order_of_adding_and_removing_keeps_the_rest, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(reserving_what_is_there_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_single_reservation_makes_a_map_that_can_be_used, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_expected_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(records_may_be_expected_that_are_not_there, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
