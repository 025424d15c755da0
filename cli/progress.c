#include "progress.h"

#include "proc.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BAR_WIDTH 30
#define REDRAW_MS 100

static bool is_terminal(void)
{
    return isatty(STDERR_FILENO) && getenv("NO_COLOR") == NULL;
}

void progress_clear_line(void)
{
    if (is_terminal())
        fputs("\r\033[K", stderr);
}

void progress_start(struct progress *p, const char *label, uint64_t total)
{
    *p = (struct progress){
        .on = is_terminal(),
        .label = label,
        .total = total,
        .started_ms = proc_now_ms(),
    };
}

static void draw_bar(uint64_t done, uint64_t total)
{
    int full = total > 0 ? (int)(done * BAR_WIDTH / total) : 0;

    fputc('[', stderr);
    for (int i = 0; i < BAR_WIDTH; i++)
        fputc(i < full ? '=' : ' ', stderr);
    fprintf(stderr, "] %llu/%llu", (unsigned long long)done, (unsigned long long)total);
}

void progress_show(struct progress *p, uint64_t done, uint64_t failed)
{
    uint64_t now_ms;
    uint64_t spent_ms;

    if (!p->on)
        return;
    now_ms = proc_now_ms();
    if (p->drawn_ms != 0 && now_ms - p->drawn_ms < REDRAW_MS)
        return;
    p->drawn_ms = now_ms;
    spent_ms = now_ms - p->started_ms;
    fprintf(stderr, "\r\033[K%s ", p->label);
    if (p->total > 0)
        draw_bar(done < p->total ? done : p->total, p->total);
    else
        fprintf(stderr, "%llu", (unsigned long long)done);
    if (spent_ms > 0)
        fprintf(stderr, "  %.0f/s", (double)done * 1000 / (double)spent_ms);
    if (p->total > done && done > 0 && spent_ms > 1000)
        fprintf(stderr, "  %.0f s left",
                (double)spent_ms / 1000 * (double)(p->total - done) / (double)done);
    if (failed > 0)
        fprintf(stderr, "  %llu failed", (unsigned long long)failed);
    fflush(stderr);
}

void progress_end(struct progress *p)
{
    if (p->on && p->drawn_ms != 0)
        fputs("\r\033[K", stderr);
    p->on = false;
}
