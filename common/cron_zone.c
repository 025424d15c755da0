/*
 * Over GTimeZone, which reads the zone's file once, shares it, and never changes it afterwards. Its
 * constructor also takes what the variable TZ may hold, and complains on stderr about files that
 * are no zones: only names of zone files get that far.
 */
#include "cron_zone.h"

#include <glib.h>
#include <stdio.h>

#define NAME_BYTES_MAX 64u
#define ZONES_FOLDER "/usr/share/zoneinfo"

static bool is_zone_byte(char c)
{
    return g_ascii_isalnum(c) || c == '_' || c == '+' || c == '-' || c == '/';
}

static bool is_zone_name(struct dtqi_str name)
{
    if (name.len == 0 || name.len > NAME_BYTES_MAX || !g_ascii_isalpha(name.at[0]))
        return false;
    for (uint32_t i = 0; i < name.len; i++)
        if (!is_zone_byte(name.at[i]))
            return false;
    return true;
}

static bool is_zone_file(const char *name)
{
    const char *folder = getenv("TZDIR");
    char path[512];
    char magic[4];
    FILE *f;
    bool is_zone;

    (void)snprintf(path, sizeof path, "%s/%s", folder != NULL ? folder : ZONES_FOLDER, name);
    f = fopen(path, "re");
    if (f == NULL)
        return false;
    is_zone = fread(magic, 1, sizeof magic, f) == sizeof magic && memcmp(magic, "TZif", 4) == 0;
    (void)fclose(f);
    return is_zone;
}

/* The struct is never defined: a zone is a GTimeZone. */
static struct cron_zone *of_glib(GTimeZone *zone)
{
    return (struct cron_zone *)(void *)zone;
}

static GTimeZone *to_glib(const struct cron_zone *z)
{
    return (GTimeZone *)(uintptr_t)z;
}

struct cron_zone *cron_zone_open(struct dtqi_str name)
{
    char text[NAME_BYTES_MAX + 1] = "";

    if (name.len == 0 || dtqi_str_eq(name, dtqi_str("UTC")))
        return of_glib(g_time_zone_new_utc());
    if (!is_zone_name(name))
        return NULL;
    memcpy(text, name.at, name.len);
    return is_zone_file(text) ? of_glib(g_time_zone_new_identifier(text)) : NULL;
}

void cron_zone_close(struct cron_zone *z)
{
    if (z != NULL)
        g_time_zone_unref(to_glib(z));
}

static int interval_at(const struct cron_zone *z, int64_t at)
{
    return g_time_zone_find_interval(to_glib(z), G_TIME_TYPE_UNIVERSAL, at);
}

int64_t cron_zone_offset(const struct cron_zone *z, int64_t at)
{
    return g_time_zone_get_offset(to_glib(z), interval_at(z, at));
}

/* Intervals have growing numbers. */
int64_t cron_zone_change(const struct cron_zone *z, int64_t from, int64_t to)
{
    int interval = interval_at(z, from);

    if (to <= from || interval_at(z, to) == interval)
        return CRON_NO_CHANGE;
    while (to - from > 1) {
        int64_t middle = from + (to - from) / 2;

        if (interval_at(z, middle) == interval)
            from = middle;
        else
            to = middle;
    }
    return to;
}
