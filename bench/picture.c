/*
 * What was measured, as a picture (SVG), from the JSON lines of the scenarios:
 * dtq_bench_picture aims FILE.jsonl... >bench.svg, dtq_bench_picture peers FILE.jsonl... >peers.svg
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define WIDTH 940
#define LEFT 390 /* where bars begin */
#define AIM 250  /* length of a bar that just meets its aim */
#define LONGEST 400
#define ROW 26
#define ROWS_MAX 100

struct row {
    char label[160];
    double length; /* 1: the aim is just met; longer is better */
    int met;
};

static void read_verdict(const json_t *line, struct row *ret)
{
    double value = json_number_value(json_object_get(line, "value"));
    double aim = json_number_value(json_object_get(line, "aim"));
    const char *unit = json_string_value(json_object_get(line, "unit"));
    int at_least = json_is_true(json_object_get(line, "at_least"));

    snprintf(ret->label, sizeof ret->label, "%s  %s: %.*f %s (aim: %s %g)",
             json_string_value(json_object_get(line, "scenario")),
             json_string_value(json_object_get(line, "aim_of")), value < 100 ? 2 : 0, value, unit,
             at_least ? "at least" : "at most", aim);
    ret->length = at_least ? value / aim : aim / value;
    ret->met = json_is_true(json_object_get(line, "met"));
}

/* ---------------------------------------------------------------- peers */

#define PEER_ROW 24
#define PEER_TOP 70
#define PEER_NAME 140  /* where the names end */
#define PEER_BAR 300   /* length of the longest possible bar */
#define PEER_GAP 90    /* beside it, for the figure */
#define RATE_DECADES 6 /* from 10 on */
#define TRIP_DECADES 4

struct peer {
    char name[32];
    int durable;
    double rate;
    double p50_us;
};

struct figures {
    struct row rows[ROWS_MAX];
    struct peer peers[ROWS_MAX];
    unsigned rows_n;
    unsigned peers_n;
    unsigned measured_n; /* measurements of peers .. */
    double others;       /* .. and the sum of what others used meanwhile */
};

static void read_peer(const json_t *line, struct peer *ret)
{
    snprintf(ret->name, sizeof ret->name, "%s", json_string_value(json_object_get(line, "peer")));
    ret->durable = json_is_true(json_object_get(line, "durable"));
    ret->rate = json_number_value(json_object_get(line, "per_second"));
    ret->p50_us = json_number_value(json_object_get(line, "p50_us"));
}

/* Three digits, and spaces between thousands. */
static void print_rounded(double value)
{
    double step = pow(10, floor(log10(value)) - 2);
    long rounded = lround(round(value / step) * step);

    if (rounded >= 1000000)
        printf("%ld %03ld %03ld", rounded / 1000000, rounded / 1000 % 1000, rounded % 1000);
    else if (rounded >= 1000)
        printf("%ld %03ld", rounded / 1000, rounded % 1000);
    else
        printf("%ld", rounded);
}

static const char *colour_of(const struct peer *p)
{
    if (strncmp(p->name, "dtq", 3) == 0)
        return p->durable ? "#1b7f4b" : "#8fcfae";
    return p->durable ? "#46627f" : "#b4c3d2";
}

/* A bar between `lowest` and 10^decades times that, on a logarithmic scale. */
static void draw_bar(const struct peer *p, int x, int y, double value, double lowest,
                     double decades)
{
    double length = log10(value / lowest) / decades * PEER_BAR;

    length = fmin(fmax(length, 1), PEER_BAR);
    printf("<rect x='%d' y='%d' width='%.0f' height='15' fill='%s'/>\n", x, y, length,
           colour_of(p));
    printf("<text x='%.0f' y='%d'>", x + length + 6, y + 12);
    print_rounded(value);
    printf("</text>\n");
}

static void draw_scale(int x, int bottom, double lowest, int decades, const char *title)
{
    printf("<text x='%d' y='22' font-weight='bold'>%s</text>\n", x, title);
    for (int i = 0; i <= decades; i++) {
        int at = x + i * PEER_BAR / decades;

        printf("<line x1='%d' y1='%d' x2='%d' y2='%d' stroke='#ddd'/>\n", at, PEER_TOP - 14, at,
               bottom);
        if (decades > 5 && i % 2 != 0)
            continue; /* there is no room for all figures */
        printf("<text x='%d' y='%d' text-anchor='middle' fill='#777'>", at, PEER_TOP - 20);
        print_rounded(lowest * pow(10, i));
        printf("</text>\n");
    }
}

static void draw_legend(int x, int y)
{
    static const struct peer kinds[] = {
        {"dtq", 1, 0, 0}, {"dtq", 0, 0, 0}, {"", 1, 0, 0}, {"", 0, 0, 0}};
    static const char *const texts[] = {"dtq, durable", "dtq, async", "confirmed is on the disk",
                                        "confirmed is in memory"};

    for (int i = 0; i < 4; i++) {
        printf("<rect x='%d' y='%d' width='12' height='12' fill='%s'/>\n", x + i * 190, y,
               colour_of(&kinds[i]));
        printf("<text x='%d' y='%d'>%s</text>\n", x + i * 190 + 18, y + 11, texts[i]);
    }
}

static void begin_picture(int width, int height)
{
    printf("<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' "
           "font-family='sans-serif' font-size='12' fill='#333'>\n",
           width, height);
    printf("<rect width='100%%' height='100%%' fill='#fff'/>\n");
}

/* How busy the machine was besides. */
static void draw_others(const struct figures *f, int x, int y)
{
    if (f->measured_n > 0)
        printf("<text x='%d' y='%d' fill='#777'>medians; meanwhile other programs used %.1f "
               "processors</text>\n",
               x, y, f->others / f->measured_n);
}

static void draw_peers(const struct figures *f)
{
    const struct peer *peers = f->peers;
    unsigned n = f->peers_n;
    int first = PEER_NAME + 10;
    int second = first + PEER_BAR + PEER_GAP;
    int bottom = PEER_TOP + (int)n * PEER_ROW;

    begin_picture(second + PEER_BAR + PEER_GAP, bottom + 60);
    draw_scale(first, bottom, 10, RATE_DECADES, "tasks a second, end to end: longer is better");
    draw_scale(second, bottom, 10, TRIP_DECADES,
               "round trip of one task, idle, p50 in us: shorter is better");
    for (unsigned i = 0; i < n; i++) {
        int y = PEER_TOP + (int)i * PEER_ROW;

        printf("<text x='%d' y='%d' text-anchor='end'>%s</text>\n", PEER_NAME, y + 12,
               peers[i].name);
        draw_bar(&peers[i], first, y, peers[i].rate, 10, RATE_DECADES);
        draw_bar(&peers[i], second, y, peers[i].p50_us, 10, TRIP_DECADES);
    }
    draw_legend(first, bottom + 14);
    draw_others(f, first, bottom + 46);
    printf("</svg>\n");
}

/* ---------------------------------------------------------------- aims */

static void draw_row(const struct row *r, unsigned number)
{
    unsigned y = 40 + number * ROW;
    double length = r->length * AIM < LONGEST ? r->length * AIM : LONGEST;

    printf("<text x='%d' y='%u' text-anchor='end'>%s</text>\n", LEFT + 130, y + 14, r->label);
    printf("<rect x='%d' y='%u' width='%.0f' height='16' fill='%s'/>\n", LEFT + 140, y + 2, length,
           r->met ? "#2a9d5c" : "#c9762b");
}

static void draw(const struct row *rows, unsigned n)
{
    unsigned height = 60 + n * ROW;

    begin_picture(WIDTH + 40, (int)height);
    for (unsigned i = 0; i < n; i++)
        draw_row(&rows[i], i);
    printf("<line x1='%d' y1='30' x2='%d' y2='%u' stroke='#333' stroke-dasharray='4 3'/>\n",
           LEFT + 140 + AIM, LEFT + 140 + AIM, height - 10);
    printf("<text x='%d' y='22' text-anchor='middle'>aim; longer is better</text>\n</svg>\n",
           LEFT + 140 + AIM);
}

/* ---------------------------------------------------------------- files */

static void read_line(const json_t *line, struct figures *f)
{
    const char *what = json_string_value(json_object_get(line, "what"));

    if (what == NULL)
        return;
    if (strcmp(what, "verdict") == 0 && f->rows_n < ROWS_MAX)
        read_verdict(line, &f->rows[f->rows_n++]);
    else if (strcmp(what, "peer") == 0 && f->peers_n < ROWS_MAX)
        read_peer(line, &f->peers[f->peers_n++]);
    else if (json_object_get(line, "peer") != NULL) {
        f->others += json_number_value(json_object_get(line, "others_processors"));
        f->measured_n++;
    }
}

static int read_file(const char *path, struct figures *ret)
{
    FILE *f = fopen(path, "re");
    json_t *line;

    if (f == NULL) {
        perror(path);
        return 1;
    }
    while ((line = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL)) != NULL) {
        read_line(line, ret);
        json_decref(line);
    }
    fclose(f);
    return 0;
}

int main(int argc, char **argv)
{
    static struct figures figures;
    int failed = 0;

    if (argc < 3 || (strcmp(argv[1], "aims") != 0 && strcmp(argv[1], "peers") != 0)) {
        fputs("usage: dtq_bench_picture aims|peers FILE.jsonl...\n", stderr);
        return 2;
    }
    for (int i = 2; i < argc; i++)
        failed |= read_file(argv[i], &figures);
    if (argv[1][0] == 'a')
        draw(figures.rows, figures.rows_n);
    else
        draw_peers(&figures);
    return failed || ferror(stdout) != 0;
}
