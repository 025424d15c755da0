/*
 * A result store whose records were tampered with: it opens or says that it is damaged, every read
 * gives an answer or an error, and commits go on.
 */
#include "fuzz.h"

#include "damage.h"
#include "results_parts.h"
#include "store_memory.h"

#define WALL_MS 1700000000000ull

static struct store_cfg store_cfg = {.dir = "memory", .map_bytes_max = 1ull << 30};
static struct store *whole; /* made once; each input has a clone of it */
static const struct results_cfg cfg = {.ttl_ms = 60000,
                                       .outcome_memory_ms = DTQI_OUTCOME_MEMORY_MS};

static struct results *open_results(struct store *s, uint8_t run)
{
    dtqi_uid uid = {{run}};
    struct results *r = NULL;
    char why[200];

    if (results_open(s, &cfg, &uid, &r, why, sizeof why) != DTQ_OK)
        return NULL;
    return r;
}

/* Outcomes of 12 ids from `first` on, one with a large body, of one ventilator. */
static void commit(struct results *r, const struct talk *t, uint32_t first, uint64_t wall_ms,
                   uint32_t sweep_max)
{
    static char large[40000];
    struct dtqi_spec spec = {.name = dtqi_str("t"), .queue = dtqi_str("q")};
    struct dtqi_slice bodies[12] = {{large, sizeof large}, {"small", 5}};
    uint32_t kinds[12];
    uint32_t tickets[12];
    uint64_t zeros[12] = {0};
    uint8_t stands[12];
    struct results_range range;
    struct results_ack ack = {.ventilator = t->uids[0], .number = first / 2};
    struct results_proposals proposals = {.outcomes = {.ventilator = t->uids[0],
                                                       .epoch = 1,
                                                       .worker = dtqi_str("w"),
                                                       .n = 12,
                                                       .ids = t->ids + first % (TALK_IDS - 12),
                                                       .tickets = tickets,
                                                       .kinds = kinds,
                                                       .specs = &spec,
                                                       .specs_n = 1,
                                                       .started_wall_ms = zeros,
                                                       .bodies = bodies},
                                          .stands = stands};
    struct results_batch batch = {.wall_ms = wall_ms,
                                  .proposals = &proposals,
                                  .proposals_n = 1,
                                  .acks = &ack,
                                  .acks_n = 1,
                                  .sweep_max = sweep_max,
                                  .ranges = &range};

    for (uint32_t i = 0; i < 12; i++) {
        kinds[i] = DTQ_SUCCEEDED + i % 4;
        tickets[i] = i;
    }
    results_apply(r, &batch);
}

static void make_whole(void)
{
    dtqi_uid uid = {{0x11}};
    struct results *r;
    struct talk t;

    talk_init(&t, NULL, 0, WALL_MS);
    results_store_cfg(&store_cfg);
    if (store_open_memory(&store_cfg, &uid, &whole) != DTQ_OK)
        abort();
    r = open_results(whole, 1);
    assert(r != NULL);
    commit(r, &t, 0, WALL_MS, 0);
    commit(r, &t, 14, WALL_MS, 0);
    results_close(r);
}

static uint32_t look(const void *at, size_t bytes)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < bytes; i++)
        sum += ((const uint8_t *)at)[i];
    return sum;
}

static void look_at(const struct results_read *read)
{
    volatile uint32_t sum = 0;

    for (uint32_t i = 0; i < read->outcomes_n; i++) {
        const struct results_outcome *o = &read->outcomes[i];

        sum += look(o->worker.at, o->worker.len) + look(o->name.at, o->name.len) +
               look(o->queue.at, o->queue.len) + look(o->body.at, o->body.len);
    }
    sum += look(read->entry_ids, read->entries_n * sizeof *read->entry_ids);
    if (read->entries_n != 0)
        sum += look(read->tickets, read->entries_n * sizeof *read->tickets) +
               look(read->kinds, read->entries_n * sizeof *read->kinds);
    (void)sum;
}

static void read_all(struct talk *t, struct results *r)
{
    for (int type = RESULTS_LOOKUP; type <= RESULTS_STREAM; type++) {
        struct results_read read = {.type = (enum results_read_type)type,
                                    .wall_ms = WALL_MS + 1000ull * talk_choice(t, 200),
                                    .ids = t->ids,
                                    .ids_n = 20,
                                    .bytes_max = 1u << talk_choice(t, 18),
                                    .ventilator = t->uids[talk_choice(t, 2)],
                                    .run = {{(uint8_t)talk_choice(t, 3)}},
                                    .after = talk_choice(t, 30),
                                    .limit = 1 + talk_choice(t, 30)};

        read.query = (struct dtqi_results_query){.limit = 1 + talk_choice(t, 30),
                                                 .has_after = talk_choice(t, 2) != 0,
                                                 .after = talk_id(t),
                                                 .bodies = talk_choice(t, 2) != 0,
                                                 .newest_first = talk_choice(t, 2) != 0};
        results_read(r, &read);
        if (read.err == DTQ_OK)
            look_at(&read);
        dtqi_buf_unref(read.buf);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t bytes)
{
    struct talk t;
    struct store *s;
    struct results *r;

    if (whole == NULL)
        make_whole();
    talk_init(&t, at, bytes, WALL_MS);
    if (store_memory_clone(whole, &s) != DTQ_OK)
        abort();
    for (uint32_t i = 0; i < 8 && t.left > 8; i++)
        damage(&t, s, TABLES);
    r = open_results(s, 2);
    if (r != NULL) {
        read_all(&t, r);
        commit(r, &t, talk_choice(&t, 64), WALL_MS + 1000ull * talk_choice(&t, 65536),
               talk_choice(&t, 64));
        read_all(&t, r);
        results_close(r);
    }
    store_close(s);
    return 0;
}

size_t fuzz_seed(unsigned number, uint8_t *at, size_t bytes_max)
{
    return fuzz_noise(number, 16, at, bytes_max < 256 ? bytes_max : 256);
}
