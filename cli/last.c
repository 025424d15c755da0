#include "last.h"

#include "opt.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Folders on the way are made as needed: mkdir -p without the last name. */
static void make_folders(const char *path)
{
    char folder[PATH_MAX];

    snprintf(folder, sizeof folder, "%s", path);
    for (char *c = folder + 1; *c != '\0'; c++) {
        if (*c != '/')
            continue;
        *c = '\0';
        mkdir(folder, 0700);
        *c = '/';
    }
}

/* In place: that a disk is full does not keep the old ids. */
void last_forget(void)
{
    char path[PATH_MAX];

    if (opt_data_dir("last", path, sizeof path) != NULL && truncate(path, 0) != 0)
        unlink(path);
}

void last_begin(struct last *l)
{
    *l = (struct last){0};
    if (opt_data_dir("last", l->path, sizeof l->path) == NULL)
        return;
    make_folders(l->path);
    snprintf(l->part, sizeof l->part, "%s.%ld", l->path, (long)getpid());
    l->file = fopen(l->part, "we");
}

void last_add(struct last *l, const dtq_id *id)
{
    if (l->file != NULL)
        fwrite(id->bytes, sizeof id->bytes, 1, l->file);
}

void last_end(struct last *l)
{
    long bytes;

    if (l->file == NULL)
        return;
    bytes = ftell(l->file);
    if (fclose(l->file) != 0 || bytes <= 0 || rename(l->part, l->path) != 0)
        unlink(l->part);
    l->file = NULL;
}

dtq_id *last_read(size_t *ret_n, bool *ret_is_forgotten)
{
    char path[PATH_MAX];
    struct stat st = {0};
    dtq_id *ids = NULL;
    size_t n;
    FILE *f;

    *ret_is_forgotten = false;
    if (opt_data_dir("last", path, sizeof path) == NULL || (f = fopen(path, "re")) == NULL)
        return NULL;
    *ret_is_forgotten = fstat(fileno(f), &st) == 0 && st.st_size == 0;
    n = (size_t)st.st_size / sizeof *ids;
    if (n != 0) {
        ids = malloc(n * sizeof *ids);
        if (ids != NULL && fread(ids, sizeof *ids, n, f) == n) {
            *ret_n = n;
        } else {
            free(ids);
            ids = NULL;
        }
    }
    fclose(f);
    return ids;
}
