/*
 * The aims and what was measured, as a picture (SVG) for the README, from the JSON lines of the
 * scenarios: dtq_bench_picture FILE.jsonl... >bench.svg
 */
#include <jansson.h>
#include <stdio.h>

#define WIDTH 860
#define LEFT 330 /* where bars begin */
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

static unsigned read_file(const char *path, struct row *rows, unsigned n)
{
    FILE *f = fopen(path, "re");
    json_t *line;

    if (f == NULL) {
        perror(path);
        return n;
    }
    while (n < ROWS_MAX && (line = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL)) != NULL) {
        const char *what = json_string_value(json_object_get(line, "what"));

        if (what != NULL && what[0] == 'v')
            read_verdict(line, &rows[n++]);
        json_decref(line);
    }
    fclose(f);
    return n;
}

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

    printf("<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%u' "
           "font-family='sans-serif' font-size='12' fill='#333'>\n",
           WIDTH + 40, height);
    printf("<rect width='100%%' height='100%%' fill='#fff'/>\n");
    for (unsigned i = 0; i < n; i++)
        draw_row(&rows[i], i);
    printf("<line x1='%d' y1='30' x2='%d' y2='%u' stroke='#333' stroke-dasharray='4 3'/>\n",
           LEFT + 140 + AIM, LEFT + 140 + AIM, height - 10);
    printf("<text x='%d' y='22' text-anchor='middle'>aim; longer is better</text>\n</svg>\n",
           LEFT + 140 + AIM);
}

int main(int argc, char **argv)
{
    static struct row rows[ROWS_MAX];
    unsigned n = 0;

    for (int i = 1; i < argc; i++)
        n = read_file(argv[i], rows, n);
    draw(rows, n);
    return ferror(stdout) != 0;
}
