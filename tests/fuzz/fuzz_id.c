/* Any text as an id: refused, or read and written back as the same digits. */
#include "fuzz.h"

#include "msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t bytes)
{
    char *text = malloc(bytes + 1);
    char again[DTQ_ID_TEXT_BYTES];
    dtq_id id;
    dtq_id read;

    assert(text != NULL);
    if (bytes != 0)
        memcpy(text, at, bytes);
    text[bytes] = 0;
    if (dtq_id_parse(text, &id) == DTQ_OK) {
        dtq_id_format(&id, again);
        if (dtq_id_parse(again, &read) != DTQ_OK)
            abort();
        assert(dtqi_id_eq(&id, &read));
    }
    free(text);
    return 0;
}

size_t fuzz_seed(unsigned number, uint8_t *at, size_t bytes_max)
{
    static const char *const texts[] = {
        "018f3c5e-abcd-7ef0-8123-456789abcdef", "018f3c5eabcd7ef08123456789abcdef",
        "018F3C5E-ABCD-7EF0-8123-456789ABCDEF", "018f3c5e-abcd-7ef08123-456789abcdef",
        "018f3c5e--abcd-7ef0-8123-456789abcdef"};
    size_t bytes;

    if (number >= sizeof texts / sizeof *texts)
        return 0;
    bytes = strlen(texts[number]);
    assert(bytes <= bytes_max);
    memcpy(at, texts[number], bytes);
    return bytes;
}
