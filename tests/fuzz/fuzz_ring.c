/*
 * A slot that writes anything into the memory it shares with the I/O process, at any moment: what
 * is read out of it stays within it, the ring never gives out more than was put in, and a ring that
 * cannot be true is called broken.
 */
#include "fuzz.h"

#include "ring.h"
#include "talk.h"

#define AREA_BYTES 4096u
#define STEPS_MAX 200u

/* The memory as the slot has it: a mapping of its own. */
static void scribble(struct talk *t, unsigned char *shared, size_t bytes)
{
    size_t at = talk_choice(t, 4) != 0 ? talk_choice(t, 1024) : talk_choice(t, (uint32_t)bytes);
    struct dtqi_slice raw = talk_bytes(t, 1 + talk_choice(t, 8));

    if (at + raw.len <= bytes && raw.len != 0)
        memcpy(shared + at, raw.at, raw.len);
}

static void collect(struct ring *ring)
{
    struct ring_outcome o;
    uint32_t ready = ring_ready(ring);

    assert(ready <= ring_count(ring));
    while (ready-- > 0 && ring_peek(ring, &o)) {
        volatile unsigned char sum = 0;

        for (uint32_t i = 0; i < o.body.len; i++)
            sum ^= ((const unsigned char *)o.body.at)[i];
        (void)sum;
        ring_release(ring);
    }
    ring_released(ring);
}

static void append(struct talk *t, struct ring *ring)
{
    static const char body[AREA_BYTES];
    struct ring_task task = {.attempt = 1,
                             .name = dtqi_str("name"),
                             .queue = dtqi_str("queue"),
                             .body = {body, talk_choice(t, AREA_BYTES)}};

    task.id = talk_id(t);
    if (ring_count(ring) < RING_TASKS)
        (void)ring_append(ring, &task);
}

static void use(struct talk *t, struct ring *ring, uint64_t now_ns)
{
    char text[32];
    uint32_t index;
    uint64_t started_ns;

    switch (talk_choice(t, 8)) {
    case 0: append(t, ring); break;
    case 1: ring_publish(ring); break;
    case 2: collect(ring); break;
    case 3: {
        uint32_t count = ring_count(ring);

        assert(ring_take_back(ring) <= count);
        break;
    }
    case 4:
        if (ring_running(ring, now_ns, &index, &started_ns)) {
            assert(index < RING_TASKS);
            assert(started_ns <= now_ns);
        }
        break;
    case 5: (void)ring_start_state(ring, text, sizeof text); break;
    case 6: ring_trim(ring); break;
    default: (void)ring_died_running(ring);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t bytes)
{
    struct talk t;
    struct ring ring;

    talk_init(&t, at, bytes, 1700000000000ull);
    if (ring_open(AREA_BYTES, AREA_BYTES, &ring) != DTQ_OK)
        abort();
    for (uint64_t i = 0; i < STEPS_MAX && t.left != 0; i++) {
        if (talk_choice(&t, 3) == 0)
            scribble(&t, (unsigned char *)ring.shared, ring.shared_bytes);
        else if (!ring.broken)
            use(&t, &ring, 1000 + i);
        assert(ring_count(&ring) <= RING_TASKS);
    }
    ring_close(&ring);
    return 0;
}

size_t fuzz_seed(unsigned number, uint8_t *at, size_t bytes_max)
{
    return fuzz_noise(number, 16, at, bytes_max < 512 ? bytes_max : 512);
}
