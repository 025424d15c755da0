/*
 * Any bytes as the lines that `dtq submit --jsonl` reads: each is a task with everything in place,
 * or refused with a sentence.
 */
#include "fuzz.h"

#include "submit.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* What is to be read is standard input. */
static void set_input(const uint8_t *at, size_t bytes)
{
    static int fd = -1;

    if (fd < 0) {
        fd = memfd_create("lines", MFD_CLOEXEC);
        assert(fd >= 0 && dup2(fd, STDIN_FILENO) == STDIN_FILENO);
    }
    assert(ftruncate(fd, 0) == 0);
    assert(pwrite(fd, at, bytes, 0) == (ssize_t)bytes);
    assert(lseek(fd, 0, SEEK_SET) == 0);
}

static bool go_on(void *arg, int fd)
{
    (void)arg;
    (void)fd;
    return true;
}

static void check(const dtq_task *task)
{
    volatile unsigned char sum = 0;

    assert(task->name != NULL);
    assert(task->priority <= 9);
    assert(task->retries <= 1000000);
    assert(task->delay_ms == 0 || task->not_before_wall_ms == 0);
    for (size_t i = 0; i < task->payload_bytes; i++)
        sum ^= ((const unsigned char *)task->payload)[i];
    for (const char *at = task->name; *at != 0; at++)
        sum ^= (unsigned char)*at;
    for (const char *at = task->queue; at != NULL && *at != 0; at++)
        sum ^= (unsigned char)*at;
    (void)sum;
}

/* In place of the one that submits them. */
int submit_bulk(struct cli *c, const struct submit_options *o, struct bulk_source *source)
{
    (void)c;
    (void)o;
    source->wait = go_on;
    for (;;) {
        dtq_task task = {0};

        source->why[0] = 0;
        switch (source->next(source, &task)) {
        case BULK_TASK: check(&task); break;
        case BULK_BAD_LINE: assert(source->why[0] != 0); break;
        case BULK_END: return 0;
        case BULK_ERROR: return 1;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t bytes)
{
    struct submit_options o = {.priority = 5, .retries = 3, .backoff = "1s..10m", .jsonl = "-"};

    if (bytes == 0)
        return 0;
    set_input(at, bytes);
    submit_jsonl(NULL, &o);
    return 0;
}

size_t fuzz_seed(unsigned number, uint8_t *at, size_t bytes_max)
{
    static const char *const texts[] = {
        "{\"name\":\"upper\"}\n\n{\"name\":\"x\",\"payload\":{\"a\":[1,2.5,null,true]}}\n",
        "{\"name\":\"x\",\"queue\":\"q\",\"payload\":\"p\\u0000q\",\"priority\":9,\"retries\":0}\n",
        "{\"name\":\"x\",\"backoff\":\"1s..10m\",\"delay\":\"250ms\",\"expires\":\"1h30m\"}\n",
        "{\"name\":\"x\",\"eta\":\"2026-01-31T12:00:00Z\",\"no_result\":true}",
        "{\"name\":\"x\",\"time_limit\":\"5s\"}",
        "{\"name\":\"x\",\"payload_base64\":\"aGVsbG8=\",\"result_ttl\":\"1d\"}\n[1]\n\"x\"\n{",
        "{\"name\":\"a\",\"name\":\"b\"}\n{\"priority\":1e3,\"name\":\"x\"}\n{\"retries\":-1}\n",
    };
    size_t bytes;

    if (number >= sizeof texts / sizeof *texts)
        return 0;
    bytes = strlen(texts[number]);
    assert(bytes <= bytes_max);
    memcpy(at, texts[number], bytes);
    return bytes;
}
