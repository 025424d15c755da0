/* A progress bar on stderr, drawn at most ten times a second, and only at a terminal without
 * NO_COLOR. */
#ifndef DTQ_CLI_PROGRESS_H
#define DTQ_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool on;
    const char *label; /* borrowed */
    uint64_t total;    /* 0: not known */
    uint64_t started_ms;
    uint64_t drawn_ms;
};

/* Take away a bar that may stand there, so that a line of text can stand in its place. */
void progress_clear_line(void);
void progress_start(struct progress *p, const char *label, uint64_t total);
void progress_show(struct progress *p, uint64_t done, uint64_t failed);
/* Take the bar away, so that other text can follow. */
void progress_end(struct progress *p);

#endif
