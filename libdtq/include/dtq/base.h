/**
 * @file dtq/base.h
 * What every other public header of dtq needs: errors, ids, states, reasons. No function here
 * allocates, waits or uses a global, and all of them may be called from any thread.
 */
#ifndef DTQ_BASE_H
#define DTQ_BASE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DTQ_VERSION_MAJOR 0
#define DTQ_VERSION_MINOR 1
#define DTQ_VERSION_PATCH 0
#define DTQ_VERSION "0.1.0"

#define DTQ_API __attribute__((visibility("default")))
#define DTQ_MUST_USE __attribute__((warn_unused_result))

/**
 * Errors: code, name, whether the same call may succeed later, and a sentence.
 * DTQ_OK is 0, errors are positive; numbers never change their meaning.
 */
#define DTQ_ERRORS(X)                                                               \
    X(0, DTQ_OK, 0, "done")                                                         \
    X(1, DTQ_EAGAIN, 1, "nothing to do yet")                                        \
    X(2, DTQ_ETIMEOUT, 1, "the time is up")                                         \
    X(3, DTQ_EBUSY, 1, "a limit is reached, try again later")                       \
    X(4, DTQ_EUNREACHABLE, 1, "the ventilator or the sink cannot be reached")       \
    X(5, DTQ_ENOMEM, 1, "out of memory")                                            \
    X(6, DTQ_EINVAL, 0, "an argument is not valid")                                 \
    X(7, DTQ_ETOOBIG, 0, "larger than allowed")                                     \
    X(8, DTQ_ENOTFOUND, 0, "not found")                                             \
    X(9, DTQ_ECONFLICT, 0, "the id stands for another task")                        \
    X(10, DTQ_EREFUSED, 0, "refused")                                               \
    X(11, DTQ_EVERSION, 0, "the other side speaks another version of the protocol") \
    X(12, DTQ_EPROTO, 0, "the other side sent something that is not valid")         \
    X(13, DTQ_EIO, 0, "the operating system reported an error")                     \
    X(14, DTQ_ENOSPC, 1, "no space left on the disk")                               \
    X(15, DTQ_ELOCKED, 0, "in use by another process")                              \
    X(16, DTQ_ECORRUPT, 0, "the stored data is damaged")                            \
    X(17, DTQ_EUNKNOWN, 0, "it could not be learned whether the task was accepted") \
    X(18, DTQ_EEXISTS, 0, "the key stands for a task that was submitted before")

typedef enum dtq_err {
#define DTQ_ERROR_ENUM(number, name, retry, text) name = number,
    DTQ_ERRORS(DTQ_ERROR_ENUM)
#undef DTQ_ERROR_ENUM
} dtq_err;

/** The sentence for an error; a static string, never NULL. */
DTQ_API const char *dtq_strerror(dtq_err err);
/** The name of an error, "DTQ_EBUSY"; a static string, never NULL. */
DTQ_API const char *dtq_errname(dtq_err err);
/** 1 if the same call may succeed later, else 0. */
DTQ_API int dtq_err_is_retryable(dtq_err err);

/** A task's id: a UUID of version 7 (RFC 9562), in network byte order. */
typedef struct dtq_id {
    uint8_t bytes[16];
} dtq_id;

/** Bytes of the text of an id, with its closing NUL. */
#define DTQ_ID_TEXT_BYTES 37

/** Write `id` as 8-4-4-4-12 lower-case hexadecimal digits and a NUL. */
DTQ_API void dtq_id_format(const dtq_id *id, char ret_text[DTQ_ID_TEXT_BYTES]);
/** Read such a text (with or without dashes, any case). @return DTQ_OK or DTQ_EINVAL, `ret_id` then
 * untouched. */
DTQ_API DTQ_MUST_USE dtq_err dtq_id_parse(const char *text, dtq_id *ret_id);

/** What a task is doing, or how it ended. The numbers are those of the wire (TaskState). */
typedef enum dtq_state {
    DTQ_NOT_FOUND = 0,
    DTQ_SCHEDULED = 1, /**< waits for its time: delayed, or between two attempts */
    DTQ_READY = 2,     /**< waits for a worker */
    DTQ_DISPATCHED =
        3, /**< it left its queue: a worker holds it, or its outcome is on its way to the sink */
    DTQ_RUNNING = 4,
    DTQ_SUCCEEDED = 5, /**< this and the following are outcomes: final */
    DTQ_FAILED = 6,
    DTQ_EXPIRED = 7,
    DTQ_CANCELLED = 8
} dtq_state;

/** "ready", "succeeded", ..; "?" for a number that is no state. */
DTQ_API const char *dtq_state_name(dtq_state state);

/** Why a task failed. The numbers are those of the wire (FailureReason). */
typedef enum dtq_reason {
    DTQ_REASON_NONE = 0,
    DTQ_REASON_ERROR = 1,        /**< its handler said so */
    DTQ_REASON_EXIT = 2,         /**< a command's exit status */
    DTQ_REASON_SIGNAL = 3,       /**< a command died of a signal */
    DTQ_REASON_TIMEOUT = 4,      /**< its time limit */
    DTQ_REASON_OOM = 5,          /**< its memory limit */
    DTQ_REASON_CRASH = 6,        /**< the slot that ran it died */
    DTQ_REASON_LOST = 7,         /**< the worker that ran it died */
    DTQ_REASON_UNKNOWN_TASK = 8, /**< no handler of that name */
    DTQ_REASON_RESULT_TOO_LARGE = 9,
    DTQ_REASON_BAD_ENTRY = 10
} dtq_reason;

/** "error", "exit", "signal", ..; "?" for a number that is no reason. */
DTQ_API const char *dtq_reason_name(dtq_reason reason);

/** Longest name of a task or a queue, in bytes without NUL. Allowed are letters, digits and "_.:-".
 */
#define DTQ_NAME_BYTES_MAX 128
/** Largest payload, and largest result: 4 MiB. A ventilator or a sink may be set to less. */
#define DTQ_PAYLOAD_BYTES_MAX (4u * 1024 * 1024)
#define DTQ_RESULT_BYTES_MAX (4u * 1024 * 1024)

#ifdef __cplusplus
}
#endif
#endif
