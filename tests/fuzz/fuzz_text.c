/*
 * Any text as a number, duration, size, time, endpoint, name or id: refused, or read, and written
 * back as a text that means the same.
 */
#include "fuzz.h"

#include "bounds.h"
#include "codec.h"
#include "sock.h"
#include "text.h"

static void check_duration(const char *text)
{
    char again[TEXT_DURATION_BYTES];
    char human[TEXT_HUMAN_BYTES];
    uint64_t ms;
    uint64_t same;

    if (text_parse_duration(text, &ms) != DTQ_OK)
        return;
    text_format_duration(ms, again);
    if (text_parse_duration(again, &same) != DTQ_OK || same != ms)
        abort();
    text_human_duration(ms, human);
}

static void check_size(const char *text)
{
    char again[TEXT_SIZE_BYTES];
    char human[TEXT_HUMAN_BYTES];
    uint64_t bytes;
    uint64_t same;

    if (text_parse_size(text, &bytes) != DTQ_OK)
        return;
    text_format_size(bytes, again);
    if (text_parse_size(again, &same) != DTQ_OK || same != bytes)
        abort();
    text_human_size(bytes, human);
}

static void check_time(const char *text)
{
    char again[TEXT_TIME_BYTES];
    uint64_t wall_ms;
    uint64_t same;

    if (text_parse_time(text, &wall_ms) != DTQ_OK)
        return;
    text_format_time(wall_ms, again);
    if (text_parse_time(again, &same) != DTQ_OK || same != wall_ms)
        abort();
}

static void check_endpoint(const char *text)
{
    static const char *const through[] = {"tcp://127.0.0.1:5570", "tcp://[::1]:5570",
                                          "tcp://host.example:1", "ipc:///tmp/x"};
    char endpoint[DTQI_ENDPOINT_BYTES_MAX + 1];

    (void)sock_endpoint_problem(text, true);
    if (sock_endpoint_problem(text, false) == NULL)
        (void)sock_endpoint_is_local(text);
    for (int i = 0; i < 4; i++) /* a lane or a sink as a peer names it */
        if (sock_endpoint_through(dtqi_str(text), through[i], endpoint) == DTQ_OK &&
            strlen(endpoint) > DTQI_ENDPOINT_BYTES_MAX)
            abort();
}

/* Numbers from the wire are printed, whatever they are. */
static void check_number(const uint8_t *at, size_t bytes)
{
    char duration[TEXT_DURATION_BYTES];
    char size[TEXT_SIZE_BYTES];
    char when[TEXT_TIME_BYTES];
    char human[TEXT_HUMAN_BYTES];
    uint64_t number;
    uint64_t same;

    if (bytes < sizeof number)
        return;
    memcpy(&number, at, sizeof number);
    text_format_duration(number, duration);
    text_format_size(number, size);
    text_format_time(number, when);
    text_human_duration(number, human);
    text_human_size(number, human);
    if (text_parse_duration(duration, &same) != DTQ_OK || same != number)
        abort();
    if (text_parse_size(size, &same) != DTQ_OK || same != number)
        abort();
    if (text_parse_time(when, &same) != DTQ_OK)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t bytes)
{
    static const char *const words[] = {"bind", "heartbeat", "module"};
    char *text = malloc(bytes + 1);
    uint64_t number;

    assert(text != NULL);
    if (bytes != 0)
        memcpy(text, at, bytes);
    text[bytes] = 0;
    (void)!text_parse_u64(text, &number);
    check_duration(text);
    check_size(text);
    check_time(text);
    check_endpoint(text);
    check_number(at, bytes);
    (void)text_nearest(text, words, 3);
    (void)dtqi_is_name((struct dtqi_str){text, (uint32_t)bytes});
    free(text);
    return 0;
}

size_t fuzz_seed(unsigned number, uint8_t *at, size_t bytes_max)
{
    static const char *const texts[] = {"1h30m",
                                        "250ms",
                                        "1.5s",
                                        "18446744073709551615",
                                        "18446744073709551616ms",
                                        "64k",
                                        "16MiB",
                                        "16777216t",
                                        "2026-11-22T22:00:00.250Z",
                                        "2024-02-29 23:59:60+14:00",
                                        "9999-12-31T23:59:59Z",
                                        "tcp://127.0.0.1:5570",
                                        "tcp://*:0",
                                        "tcp://[::1%eth0]:65535",
                                        "ipc:///run/dtq/x",
                                        "heartbaet"};
    size_t bytes;

    if (number >= sizeof texts / sizeof *texts)
        return 0;
    bytes = strlen(texts[number]);
    assert(bytes <= bytes_max);
    memcpy(at, texts[number], bytes);
    return bytes;
}
