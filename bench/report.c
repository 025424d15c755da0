#include "bench.h"

#include "bed.h"
#include "gauge.h"
#include "proc.h"
#include "text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CALM_PROCESSORS 0.15 /* used by others: as good as nothing */
#define CALM_SAMPLE_MS 300

static FILE *lines;
static char scenario_name[16];
static unsigned missed;

void report_begin(const char *folder, const char *name, const char *title)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/%s.jsonl", folder, name);
    lines = fopen(path, "we");
    if (lines == NULL)
        bed_fail("%s: %s", path, strerror(errno));
    snprintf(scenario_name, sizeof scenario_name, "%s", name);
    printf("%s  %s\n", name, title);
}

void report_end(void)
{
    if (fclose(lines) != 0)
        bed_fail("the results cannot be written: %s", strerror(errno));
    putchar('\n');
}

void report_line(const char *what, json_t *fields)
{
    char when[TEXT_TIME_BYTES];
    json_t *line;

    text_format_time(proc_wall_ms(), when);
    line = json_pack("{s:s, s:s, s:s}", "scenario", scenario_name, "what", what, "at", when);
    if (line == NULL || fields == NULL || json_object_update(line, fields) != 0 ||
        json_dumpf(line, lines, JSON_COMPACT) != 0)
        bed_fail("out of memory");
    fputc('\n', lines);
    json_decref(line);
    json_decref(fields);
}

void report_say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs("   ", stdout);
    vprintf(format, args);
    putchar('\n');
    va_end(args);
    fflush(stdout);
}

void report_verdict(const char *what, double value, const char *unit, bool at_least, double aim)
{
    bool met = at_least ? value >= aim : value <= aim;

    missed += !met;
    report_say("%s  %-44s %9.3f %-10s aim: at %s %.3f", met ? "met   " : "MISSED", what, value,
               unit, at_least ? "least" : "most", aim);
    report_line("verdict",
                json_pack("{s:s, s:f, s:s, s:b, s:f, s:b}", "aim_of", what, "value", value, "unit",
                          unit, "at_least", at_least, "aim", aim, "met", met));
}

unsigned report_missed(void)
{
    return missed;
}

double bench_calm(const struct bench_opts *o)
{
    uint64_t until_ms = proc_now_ms() + o->calm_ms;
    double used = gauge_load(CALM_SAMPLE_MS);

    while (used > CALM_PROCESSORS && proc_now_ms() < until_ms)
        used = gauge_load(CALM_SAMPLE_MS);
    return used;
}
