/* Bounds of the protocol, one place for all programs. Rule numbers: docs/PROTOCOL.md, section
 * "Rules". */
#ifndef DTQI_LIMITS_H
#define DTQI_LIMITS_H

#define DTQI_PROTOCOL_VERSION 1
#define DTQI_FRAME_MAGIC 0xD7
#define DTQI_FRAME_HEADER_BYTES 4

#define DTQI_FRAME_BYTES_MAX (8u << 20)
#define DTQI_TASK_BYTES_MAX (4u << 20) /* payload */
#define DTQI_RESULT_BYTES_MAX (4u << 20)
#define DTQI_SPEC_BYTES_MAX (64u << 10) /* encoded Spec */
#define DTQI_TEXT_BYTES_MAX 4096u       /* error texts; longer ones are cut */
#define DTQI_NAME_BYTES_MAX 128u
#define DTQI_ENDPOINT_BYTES_MAX 256u
#define DTQI_ARGV_MAX 4096u
#define DTQI_CRASH_LIMIT_MAX 10000u

/* Durations up to a hundred years and wall times that fit into an id: so that sums of them never
 * overflow. */
#define DTQI_DURATION_MS_MAX (36525ull * 24 * 3600 * 1000)
#define DTQI_WALL_MS_MAX ((1ull << 48) - 1)

/* A batch: so many entries, or so many bytes of bodies unless it is one larger entry alone. */
#define DTQI_BATCH_ENTRIES_MAX 4096u
#define DTQI_BATCH_BYTES_MAX (256u << 10)

#define DTQI_HEARTBEAT_MS 1000u
#define DTQI_LIVENESS 3u
#define DTQI_GRACE_MS 5000u
#define DTQI_GRACE_BEGUN_MS 30000u
#define DTQI_LANE_STALL_MS 10000u
#define DTQI_SETTLE_OVERDUE_MS 5000u
#define DTQI_SETTLE_OVERDUE_MS_MAX 60000u
#define DTQI_REROUTE_MS 60000u
#define DTQI_DEDUPE_WINDOW_MS 3600000u
#define DTQI_CLOCK_AHEAD_MS 600000u /* an id may be from so far in the future */
#define DTQI_OUTCOME_FENCE_MS 600000u
#define DTQI_OUTCOME_SLACK_MS 1200000u
#define DTQI_OUTCOME_MEMORY_MS 7200000u
#define DTQI_ORPHAN_MS 3600000u
#define DTQI_RESULT_TTL_MS (86400ull * 1000)
#define DTQI_KEY_TTL_MS (86400ull * 1000)
#define DTQI_KEYS_MAX 1000000u
#define DTQI_DEAD_TTL_MS (30ull * 86400 * 1000)
#define DTQI_HISTORY_TTL_MS (86400ull * 1000)
#define DTQI_SETTLE_WINDOW 65536u
#define DTQI_RETRIES_DEFAULT 3u
#define DTQI_RETRIES_MAX 1000000u
#define DTQI_BACKOFF_MIN_MS 1000u
#define DTQI_BACKOFF_MAX_MS 600000u
#define DTQI_CRASH_LIMIT 3u
#define DTQI_PRIORITY_DEFAULT 5u
#define DTQI_PRIORITIES 10u

#define DTQI_CRONS_MAX 10000u
#define DTQI_CRON_BYTES_MAX (64u << 10)       /* payload of an entry .. */
#define DTQI_CRON_ALL_BYTES_MAX (64ull << 20) /* .. and specs and payloads of all of them */
#define DTQI_CRON_TEXT_BYTES_MAX 256u         /* expression, zone */
#define DTQI_CRON_MISSED_MAX 1000u
#define DTQI_CRON_EVERY_MS_MIN 1000u
#define DTQI_QUEUES_MAX 10000u
#define DTQI_GROUPS_MAX 100000u
#define DTQI_QUEUE_WEIGHT_MAX 1000u
#define DTQI_PRODUCERS_MAX 4096u
#define DTQI_WORKERS_MAX 4000u
#define DTQI_SINKS_MAX 16u
#define DTQI_SINKS_REMOVED_MAX 1024u
#define DTQI_SLOTS_MAX 1024u
#define DTQI_RESIDENT_BYTES_MAX (256ull * 1024 * 1024)
#define DTQI_PROPOSALS_MAX 65536u

#endif
