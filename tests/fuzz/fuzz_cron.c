/*
 * Any text as a cron expression: refused with a sentence, or read; and then the next time is
 * behind the one that was asked for, and the same from everywhere between the two.
 */
#include "fuzz.h"

#include "cron.h"

#define BEGIN_MS 1774600000000ull /* 2026-03-27, before clocks are set in Europe */

static void check_times(const struct cron *c)
{
    uint64_t at = BEGIN_MS;
    uint64_t next;
    uint64_t again;

    for (int i = 0; i < 8; i++) {
        if (!cron_next(c, at, &next))
            return;
        if (next <= at || next % 1000 != 0)
            abort();
        if (!cron_next(c, at + (next - at) / 2, &again) || again != next)
            abort();
        if (!cron_next(c, next - 1, &again) || again != next)
            abort();
        at = next;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t bytes)
{
    static const char *const zones[] = {"Europe/Berlin", "Australia/Lord_Howe", "", "Pacific/Apia"};
    char *text = malloc(bytes + 1);
    struct cron *c = NULL;
    char why[400] = "";
    struct dtqi_str expression = {text, (uint32_t)bytes};

    assert(text != NULL);
    if (bytes != 0)
        memcpy(text, at, bytes);
    if (cron_parse(expression, dtqi_str(zones[bytes % 4]), &c, why, sizeof why) == DTQ_OK)
        check_times(c);
    else if (why[0] == '\0')
        abort();
    cron_free(c);
    c = NULL;
    if (cron_parse(dtqi_str("* * * * *"), expression, &c, why, sizeof why) == DTQ_OK)
        check_times(c);
    cron_free(c);
    free(text);
    return 0;
}

size_t fuzz_seed(unsigned number, uint8_t *at, size_t bytes_max)
{
    static const char *const texts[] = {"*/5 * * * *",
                                        "0 3 * * MON-FRI",
                                        "30 2 29 3 *",
                                        "0,20,40 2 * * *",
                                        "*/20 1-5/2 */3 1,15 JAN-JUN 7",
                                        "0 0 29 2 *",
                                        "0 12 */10 * 1",
                                        "@daily",
                                        "@reboot",
                                        "* * L * *",
                                        "5/15 * * * *",
                                        "0 0 31 2,4 *",
                                        "Europe/Berlin",
                                        "America/Argentina/Buenos_Aires",
                                        "Etc/GMT+12"};
    size_t bytes;

    if (number >= sizeof texts / sizeof *texts)
        return 0;
    bytes = strlen(texts[number]);
    assert(bytes <= bytes_max);
    memcpy(at, texts[number], bytes);
    return bytes;
}
