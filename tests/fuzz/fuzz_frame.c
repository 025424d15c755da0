/*
 * Any bytes as a frame: decoded or refused, and what was decoded can be encoded and means the same
 * when it is decoded again.
 */
#include "fuzz.h"

#include "codec.h"
#include "sample.h"

static void encode_and_decode_again(const struct dtqi_msg *msg)
{
    struct sample_frame first = sample_encode(msg);
    struct sample_frame second;
    struct dtqi_msg again;

    assert(first.at != NULL);
    if (dtqi_decode(first.at, first.bytes, &again, NULL, 0) != DTQ_OK)
        abort();
    second = sample_encode(&again);
    assert(second.bytes == first.bytes);
    assert(memcmp(second.at, first.at, first.bytes) == 0);
    dtqi_msg_done(&again);
    free(second.at);
    free(first.at);
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t bytes)
{
    struct dtqi_msg msg;
    char why[128];

    if (dtqi_decode(at, bytes, &msg, why, sizeof why) != DTQ_OK)
        return 0;
    encode_and_decode_again(&msg);
    dtqi_msg_done(&msg);
    return 0;
}

static size_t write_frame(uint64_t seed, uint8_t *at, size_t bytes_max)
{
    struct dtqi_buf *buf = dtqi_buf_new(4096, SIZE_MAX);
    struct dtqi_msg msg;
    struct sample_frame f;
    size_t bytes;

    assert(buf != NULL);
    sample_msg(sample_types[seed / 2], seed, seed % 2 == 0, buf, &msg);
    f = sample_encode(&msg);
    assert(f.at != NULL);
    bytes = f.bytes <= bytes_max ? f.bytes : bytes_max;
    memcpy(at, f.at, bytes);
    free(f.at);
    dtqi_buf_unref(buf);
    return bytes;
}

/* Two of each type: with every field, and with some missing. */
size_t fuzz_seed(unsigned number, uint8_t *at, size_t bytes_max)
{
    for (unsigned i = 0; i <= number / 2; i++)
        if (sample_types[i] == 0)
            return 0;
    return write_frame(number, at, bytes_max);
}
