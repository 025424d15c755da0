/* Any bytes as a Spec: refused, or decoded into one that passes the check of what we send. */
#include "fuzz.h"

#include "codec.h"
#include "sample.h"

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t bytes)
{
    struct dtqi_buf *buf = dtqi_buf_new(1024, (size_t)16 * 1024 * 1024);
    struct dtqi_spec spec;
    struct dtqi_spec again;
    struct dtqi_slice raw;
    char why[128];

    assert(buf != NULL);
    if (bytes <= UINT32_MAX && dtqi_spec_decode((struct dtqi_slice){at, (uint32_t)bytes}, buf,
                                                &spec, why, sizeof why) == DTQ_OK) {
        raw = dtqi_spec_encode(&spec, buf);
        assert(raw.len != 0);
        if (dtqi_spec_decode(raw, buf, &again, NULL, 0) != DTQ_OK)
            abort();
        assert(dtqi_str_eq(again.name, spec.name));
        assert(again.argc == spec.argc);
    }
    dtqi_buf_unref(buf);
    return 0;
}

size_t fuzz_seed(unsigned number, uint8_t *at, size_t bytes_max)
{
    struct dtqi_buf *buf = dtqi_buf_new(4096, SIZE_MAX);
    struct dtqi_msg msg;
    struct dtqi_slice raw;

    assert(buf != NULL);
    sample_msg(DTQI_SUBMIT, number, number % 2 == 0, buf, &msg);
    raw = msg.submit.specs[0].raw;
    if (raw.len > bytes_max)
        raw.len = (uint32_t)bytes_max;
    memcpy(at, raw.at, raw.len);
    dtqi_buf_unref(buf);
    return number < 20 ? raw.len : 0;
}
