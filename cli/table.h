/* Tables for people: rows of texts, columns as wide as their widest cell. Out of memory ends the
 * command. */
#ifndef DTQ_CLI_TABLE_H
#define DTQ_CLI_TABLE_H

#include <stddef.h>
#include <stdio.h>

#define TABLE_COLUMNS_MAX 16

struct table {
    size_t columns;
    const char *titles[TABLE_COLUMNS_MAX];
    char **cells; /* row by row */
    size_t cells_n;
    size_t cells_room;
};

/* `titles` end with NULL; one that begins with ">" stands right-aligned, without the ">". */
void table_init(struct table *t, const char *const *titles);
/* The next cell; printf-like. Control characters become "?", so that no task can write to the
 * terminal. */
void table_cell(struct table *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Aligned at a terminal; elsewhere one row a line, with tabs between the columns. */
void table_print(const struct table *t, FILE *out);
void table_done(struct table *t);

#endif
