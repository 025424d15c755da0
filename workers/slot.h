/*
 * The slot: a process of dtq-worker's own program that runs tasks, one at a time, from the ring
 * that it shares with the I/O process. All foreign code of a worker runs here or in its children.
 * What the I/O process tells a slot at its start are these arguments:
 *
 *     dtq-worker --slot INDEX:PARENT:RESULT_MAX:FILES [--module FILE | --exec NAME=COMMAND]...
 */
#ifndef DTQ_SLOT_H
#define DTQ_SLOT_H

#include "dtq/base.h"

#include <stdbool.h>

/* Descriptors that a slot is started with, beside the standard three. */
#define SLOT_FD_MEMORY 3
#define SLOT_FD_WAKE_SLOT 4
#define SLOT_FD_WAKE_PARENT 5

#define SLOT_OPTION "--slot"

struct slot_arguments {
    uint32_t index;
    int32_t parent; /* process id */
    uint32_t result_bytes_max;
    uint32_t files_max; /* limit of open files; the I/O process has raised its own */
};

#define SLOT_ARGUMENTS_BYTES 64

void slot_arguments_format(const struct slot_arguments *a, char ret_text[SLOT_ARGUMENTS_BYTES]);

/* Is this process to be a slot? */
bool slot_is_asked_for(int argc, char **argv);
/* Be one. @return the exit status. */
int slot_main(int argc, char **argv);

#endif
