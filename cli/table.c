#include "table.h"

#include "cli.h"

#include <assert.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void table_init(struct table *t, const char *const *titles)
{
    *t = (struct table){0};
    while (t->columns < TABLE_COLUMNS_MAX && titles[t->columns] != NULL) {
        t->titles[t->columns] = titles[t->columns];
        t->columns++;
    }
}

static void out_of_memory(void)
{
    fputs("dtq: out of memory\n", stderr);
    exit(CLI_FAILED);
}

__attribute__((format(printf, 1, 0))) static char *next_cell_text(const char *format, va_list args)
{
    char *text = NULL;

    if (vasprintf(&text, format, args) < 0)
        out_of_memory();
    for (char *c = text; *c != '\0'; c++)
        if (iscntrl((unsigned char)*c))
            *c = '?';
    return text;
}

void table_cell(struct table *t, const char *format, ...)
{
    va_list args;

    if (t->cells_n == t->cells_room) {
        size_t room = t->cells_room != 0 ? 2 * t->cells_room : 256;
        char **grown = realloc(t->cells, room * sizeof *grown);

        if (grown == NULL)
            out_of_memory();
        t->cells = grown;
        t->cells_room = room;
    }
    va_start(args, format);
    t->cells[t->cells_n++] = next_cell_text(format, args);
    va_end(args);
}

static bool is_right(const struct table *t, size_t column)
{
    return t->titles[column][0] == '>';
}

static const char *title(const struct table *t, size_t column)
{
    return t->titles[column] + (is_right(t, column) ? 1 : 0);
}

/* Columns of a terminal that a UTF-8 text takes: its characters. */
static size_t text_width(const char *text)
{
    size_t width = 0;

    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

/* For cut, awk and sort: columns between tabs (no cell has one), titles in the first line. */
static void print_plain(const struct table *t, FILE *out)
{
    for (size_t c = 0; c < t->columns; c++)
        fprintf(out, "%s%c", title(t, c), c + 1 < t->columns ? '\t' : '\n');
    for (size_t i = 0; i < t->cells_n; i++)
        fprintf(out, "%s%c", t->cells[i], (i + 1) % t->columns != 0 ? '\t' : '\n');
}

static void print_cell(const struct table *t, size_t column, size_t width, const char *text,
                       FILE *out)
{
    int pad = (int)(width - text_width(text));
    bool last = column + 1 == t->columns;

    if (is_right(t, column))
        fprintf(out, "%*s%s", pad, "", text);
    else
        fprintf(out, "%s%*s", text, last ? 0 : pad, "");
    fputs(last ? "\n" : "  ", out);
}

void table_print(const struct table *t, FILE *out)
{
    size_t widths[TABLE_COLUMNS_MAX];

    assert(t->columns != 0);
    if (!isatty(fileno(out))) {
        print_plain(t, out);
        return;
    }
    for (size_t c = 0; c < t->columns; c++)
        widths[c] = text_width(title(t, c));
    for (size_t i = 0; i < t->cells_n; i++)
        if (text_width(t->cells[i]) > widths[i % t->columns])
            widths[i % t->columns] = text_width(t->cells[i]);
    for (size_t c = 0; c < t->columns; c++)
        print_cell(t, c, widths[c], title(t, c), out);
    for (size_t i = 0; i < t->cells_n; i++)
        print_cell(t, i % t->columns, widths[i % t->columns], t->cells[i], out);
}

void table_done(struct table *t)
{
    for (size_t i = 0; i < t->cells_n; i++)
        free(t->cells[i]);
    free(t->cells);
    *t = (struct table){0};
}
