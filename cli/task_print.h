/* An open task for people and for machines: `dtq show` and `dtq list`. */
#ifndef DTQ_CLI_TASK_PRINT_H
#define DTQ_CLI_TASK_PRINT_H

#include "cli.h"

json_t *task_json(const dtq_task_info *t);
/* "12 s ago", from the time in its id. */
void task_age_text(const dtq_id *id, char *ret, size_t bytes);

#endif
