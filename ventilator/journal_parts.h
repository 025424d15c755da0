/* What journal.c (open, write) and journal_read.c share. */
#ifndef DTQ_JOURNAL_PARTS_H
#define DTQ_JOURNAL_PARTS_H

#include "journal_common.h"
#include "journal_record.h"
#include "nummap.h"

enum journal_table {
    TABLE_META,     /* "format", "epoch", "seq": numbers of 8 bytes; "clock": four of them */
    TABLE_TASKS,    /* key -> record */
    TABLE_IDS,      /* id -> key */
    TABLE_COUNTERS, /* key -> counters: in the order of tasks, so that a load walks both */
    TABLE_HISTORY,  /* id -> entries, each with its length */
    TABLE_DEAD,     /* id -> dead letter */
    TABLE_QUEUES,   /* number -> name, counts */
    TABLE_APPLIED,  /* sink -> run, number */
    TABLE_WORKERS,  /* instance -> nothing */
    TABLE_SINKS,    /* sink -> number, endpoints */
    TABLE_COMMON,   /* number -> what tasks have in common, and how many */
    TABLE_KEYS,     /* idempotency key -> task, digest, until when */
    TABLE_KEY_ENDS, /* until when, high byte first, and key -> nothing */
    TABLE_PAST,     /* 0, id -> until when, history of a task that is no more; 1, until when, high
                       byte first, id -> nothing */
    TABLE_CRON,     /* name -> cron entry */
    TABLE_CRON_STATES, /* name -> what changes about it with each run */
};

struct journal_sink_number {
    dtqi_uid store;
    uint32_t number;
    bool registered;
};

struct journal_queue_slot {
    struct journal_queue queue;
    bool dirty; /* its record is out of date */
};

struct journal {
    struct store *store;

    struct journal_queue_slot *queues; /* and groups; in any order */
    uint32_t queues_n;
    uint32_t queues_room;
    uint32_t queue_last;         /* index of the one used last */
    struct nummap queue_numbers; /* number -> index */
    uint32_t *dirty;             /* indexes of those that are */
    uint32_t dirty_n;
    uint32_t dirty_room;

    struct journal_sink_number *sinks;
    uint32_t sinks_n;
    uint32_t sinks_room;

    struct journal_commons *commons;

    uint64_t seq_reserved;   /* as committed: a restart begins here */
    uint64_t seq_next;       /* of what this process has seen */
    struct steady_mark mark; /* as committed */

    uint8_t *scratch;
    size_t scratch_room;

    bool stale; /* memory and store differ: a failed batch could not be read back */
    char errmsg[256];
};

static inline struct dtqi_slice journal_id_slice(const dtq_id *id)
{
    return (struct dtqi_slice){id->bytes, sizeof id->bytes};
}

static inline struct dtqi_slice journal_uid_slice(const dtqi_uid *uid)
{
    return (struct dtqi_slice){uid->bytes, sizeof uid->bytes};
}

/* Remember the sentence, return `err`. */
dtq_err journal_error(struct journal *j, dtq_err err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* DTQ_ECORRUPT: what the index says of this id is not so. */
dtq_err journal_bad_task(struct journal *j, const dtq_id *id);
/* An error of the store without words of ours: take the store's. */
dtq_err journal_result(struct journal *j, dtq_err err);

/* Replace a number by what it stands for, borrowed from memory. DTQ_ECORRUPT: for nothing. */
dtq_err journal_resolve(struct journal *j, struct journal_record *record);

/* The queue that a number stands for, or whose group it stands for; else the number itself. */
uint32_t journal_queue_of(struct journal *j, uint32_t number);
/* Where the task is. @return DTQ_OK, DTQ_ENOTFOUND, DTQ_ECORRUPT, DTQ_EIO. */
dtq_err journal_find(struct journal *j, struct store_tx *tx, const dtq_id *id,
                     struct journal_entry *ret_entry);
/* What an idempotency key stands for; `found` says whether it does. */
dtq_err journal_find_key(struct journal *j, struct store_tx *tx, struct dtqi_slice key,
                         struct journal_key_record *ret);
/* Its counters, by its key; zero when it has none. */
dtq_err journal_find_counters(struct journal *j, struct store_tx *tx, const dtq_id *id,
                              const struct journal_entry *entry, struct journal_counters *ret);

#endif
