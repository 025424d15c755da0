#include "dtq/base.h"

static const struct error {
    dtq_err err;
    int is_retryable;
    const char *name;
    const char *text;
} errors[] = {
#define ENTRY(number, name, retry, text) {name, retry, #name, text},
    DTQ_ERRORS(ENTRY)
#undef ENTRY
};

static const struct error *find(dtq_err err)
{
    static const struct error unknown = {DTQ_OK, 0, "?", "unknown error"};

    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].err == err)
            return &errors[i];
    return &unknown;
}

const char *dtq_strerror(dtq_err err)
{
    return find(err)->text;
}

const char *dtq_errname(dtq_err err)
{
    return find(err)->name;
}

int dtq_err_is_retryable(dtq_err err)
{
    return find(err)->is_retryable;
}

void dtq_id_format(const dtq_id *id, char ret_text[DTQ_ID_TEXT_BYTES])
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *ret_text++ = '-';
        *ret_text++ = digits[id->bytes[i] >> 4];
        *ret_text++ = digits[id->bytes[i] & 15];
    }
    *ret_text = 0;
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Dashes are where a UUID has them, all four or none. */
dtq_err dtq_id_parse(const char *text, dtq_id *ret_id)
{
    dtq_id id;
    int dashes = 0;

    for (int i = 0; i < 32; i++) {
        int digit;

        if ((i == 8 || i == 12 || i == 16 || i == 20) && *text == '-') {
            dashes++;
            text++;
        }
        digit = digit_of(*text++);
        if (digit < 0)
            return DTQ_EINVAL; /* a NUL is no digit: nothing behind it is read */
        id.bytes[i / 2] = (uint8_t)(i % 2 == 0 ? digit << 4 : id.bytes[i / 2] | digit);
    }
    if (*text != 0 || (dashes != 0 && dashes != 4))
        return DTQ_EINVAL;
    *ret_id = id;
    return DTQ_OK;
}

const char *dtq_state_name(dtq_state state)
{
    switch (state) {
    case DTQ_NOT_FOUND: return "not found";
    case DTQ_SCHEDULED: return "scheduled";
    case DTQ_READY: return "ready";
    case DTQ_DISPATCHED: return "dispatched";
    case DTQ_RUNNING: return "running";
    case DTQ_SUCCEEDED: return "succeeded";
    case DTQ_FAILED: return "failed";
    case DTQ_EXPIRED: return "expired";
    case DTQ_CANCELLED: return "cancelled";
    }
    return "?";
}

const char *dtq_reason_name(dtq_reason reason)
{
    switch (reason) {
    case DTQ_REASON_NONE: return "none";
    case DTQ_REASON_ERROR: return "error";
    case DTQ_REASON_EXIT: return "exit";
    case DTQ_REASON_SIGNAL: return "signal";
    case DTQ_REASON_TIMEOUT: return "timeout";
    case DTQ_REASON_OOM: return "oom";
    case DTQ_REASON_CRASH: return "crash";
    case DTQ_REASON_LOST: return "lost";
    case DTQ_REASON_UNKNOWN_TASK: return "unknown-task";
    case DTQ_REASON_RESULT_TOO_LARGE: return "result-too-large";
    case DTQ_REASON_BAD_ENTRY: return "bad-entry";
    }
    return "?";
}
