/* An open task for people and for machines: `dtq show` and `dtq list`. */
#ifndef DTQ_CLI_TASK_PRINT_H
#define DTQ_CLI_TASK_PRINT_H

#include "cli.h"

json_t *task_json(const dtq_task_info *t);
/* "12 s ago", from the time in its id. */
void task_age_text(const dtq_id *id, char *ret, size_t bytes);

/* "  name  value", if there is one. */
void task_field(const char *name, const char *value);
void task_field_time(const char *name, uint64_t wall_ms);
void task_print_group(const char *group, int ordered);
/* A line for each attempt that failed. */
void attempts_print(const dtq_attempt_info *attempts, size_t n);
json_t *attempts_json(const dtq_attempt_info *attempts, size_t n);
/* As far as it is text; what would write to the terminal becomes a dot. */
void task_print_payload(const void *payload, size_t bytes);
/* Which cron entry it is a run of, which dead letter it repeats. */
void task_print_lineage(const dtq_task_info *t);

/* The dead letter of this id, with payload and attempts. @return also DTQ_ENOTFOUND. */
dtq_err dead_find(struct cli *c, const dtq_id *id, dtq_dead_letter *ret_letter);
json_t *dead_json(const dtq_dead_letter *letter);
/* What only the dead letter knows, added to the JSON of its outcome. */
json_t *dead_add_json(json_t *outcome, const dtq_dead_letter *letter);
void dead_print(const dtq_dead_letter *letter);

#endif
