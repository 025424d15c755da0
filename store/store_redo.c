#include "store_redo.h"

#include <fcntl.h>
#include <unistd.h>

enum { PUT = 1, DEL = 2 };

struct head {
    char magic[8];
    dtqi_uid uid;
    uint64_t commit;
    uint32_t number;
    uint32_t bytes; /* behind the head */
    uint32_t crc;   /* of the record, with 0 here */
    uint32_t spare;
};

struct op {
    uint8_t kind;
    uint8_t table;
    uint16_t key_bytes;
    uint32_t raw_bytes;
};

static const char magic[8] = "dtqredo1";

/* ---------------------------------------------------------------- making records */

bool store_redo_init(struct store_redo *redo)
{
    *redo = (struct store_redo){.at = malloc(STORE_REDO_BYTES_MAX)};
    return redo->at != NULL;
}

void store_redo_done(struct store_redo *redo)
{
    free(redo->at);
    *redo = (struct store_redo){0};
}

void store_redo_clear(struct store_redo *redo)
{
    *redo = (struct store_redo){.at = redo->at};
}

/* @return NULL: there is no room. */
static uint8_t *take(struct store_redo *redo, uint64_t bytes)
{
    uint8_t *at = redo->at + redo->bytes;

    if (redo->is_over || bytes > STORE_REDO_BYTES_MAX - redo->bytes) {
        redo->is_over = true;
        return NULL;
    }
    redo->bytes += (uint32_t)bytes;
    return at;
}

void store_redo_begin(struct store_redo *redo)
{
    redo->begun = redo->bytes;
    (void)take(redo, sizeof(struct head));
}

static void add(struct store_redo *redo, struct op op, const void *key, const void *raw)
{
    uint8_t *at = take(redo, sizeof op + (uint64_t)op.key_bytes + op.raw_bytes);

    if (at == NULL)
        return;
    memcpy(at, &op, sizeof op);
    memcpy(at + sizeof op, key, op.key_bytes);
    if (op.raw_bytes != 0)
        memcpy(at + sizeof op + op.key_bytes, raw, op.raw_bytes);
}

void store_redo_put(struct store_redo *redo, unsigned table, struct dtqi_slice key,
                    const uint8_t *raw, uint32_t raw_bytes)
{
    add(redo, (struct op){PUT, (uint8_t)table, (uint16_t)key.len, raw_bytes}, key.at, raw);
}

void store_redo_del(struct store_redo *redo, unsigned table, struct dtqi_slice key)
{
    add(redo, (struct op){DEL, (uint8_t)table, (uint16_t)key.len, 0}, key.at, NULL);
}

bool store_redo_drop(struct store_redo *redo)
{
    bool had_ops = redo->is_over || redo->bytes > redo->begun + sizeof(struct head);

    redo->bytes = redo->begun;
    redo->is_over = false;
    return had_ops;
}

static uint32_t crc_of(struct head head, const uint8_t *body)
{
    head.crc = 0;
    return store_crc32c(store_crc32c(0, &head, sizeof head), body, head.bytes);
}

bool store_redo_write(struct store_redo *redo, int fd, const dtqi_uid *uid, uint64_t commit)
{
    struct head head = {.uid = *uid, .commit = commit, .number = redo->records};
    uint8_t *at = redo->at + redo->begun;
    uint32_t bytes = redo->bytes - redo->begun;

    if (redo->is_over)
        return false;
    memcpy(head.magic, magic, sizeof magic);
    head.bytes = bytes - (uint32_t)sizeof head;
    head.crc = crc_of(head, at + sizeof head);
    memcpy(at, &head, sizeof head);
    if (pwrite(fd, at, bytes, redo->begun) != (ssize_t)bytes)
        return false;
    redo->begun = redo->bytes;
    redo->records++;
    return true;
}

/* ---------------------------------------------------------------- doing them again */

static dtq_err do_op(struct store_tx *tx, const struct op *op, struct dtqi_slice key,
                     const uint8_t *raw)
{
    uint8_t *to;
    dtq_err err;

    if (op->kind == DEL) {
        err = tx->store->ops->del(tx, op->table, key);
        return err == DTQ_ENOTFOUND ? DTQ_OK : err;
    }
    err = tx->store->ops->put(tx, op->table, key, op->raw_bytes, STORE_SPARE, &to);
    if (err == DTQ_OK)
        memcpy(to, raw, op->raw_bytes);
    return err;
}

static bool is_op(const struct op *op, const struct store *s, size_t bytes_left)
{
    return (op->kind == PUT || op->kind == DEL) && op->table < s->tables_n && op->key_bytes != 0 &&
           op->key_bytes <= STORE_KEY_BYTES_MAX &&
           (uint64_t)op->key_bytes + op->raw_bytes <= bytes_left;
}

static dtq_err do_record(struct store_tx *tx, const uint8_t *at, const uint8_t *end)
{
    dtq_err err = DTQ_OK;

    while (err == DTQ_OK && at < end) {
        struct op op = {0};

        if ((size_t)(end - at) >= sizeof op)
            memcpy(&op, at, sizeof op);
        at += sizeof op;
        if (!is_op(&op, tx->store, (size_t)(end - at)))
            return store_set_error(tx->store, DTQ_ECORRUPT, "its record is not understood");
        err = do_op(tx, &op, (struct dtqi_slice){at, op.key_bytes}, at + op.key_bytes);
        at += op.key_bytes + op.raw_bytes;
    }
    return err;
}

dtq_err store_redo_again(const struct store_redo *redo, struct store_tx *tx)
{
    dtq_err err = DTQ_OK;

    for (uint32_t at = 0; err == DTQ_OK && at < redo->begun;) {
        struct head head;
        const uint8_t *body = redo->at + at + sizeof head;

        memcpy(&head, redo->at + at, sizeof head);
        err = do_record(tx, body, body + head.bytes);
        at += (uint32_t)sizeof head + head.bytes;
    }
    return err;
}

/* Count in `ret` the records from the file's beginning that belong to this commit. */
static void find_due(struct store_redo *ret, uint32_t file_bytes, const dtqi_uid *uid,
                     uint64_t commit)
{
    struct head head;

    while (file_bytes - ret->begun >= sizeof head) {
        const uint8_t *at = ret->at + ret->begun;

        memcpy(&head, at, sizeof head);
        if (memcmp(head.magic, magic, sizeof magic) != 0 || !dtqi_uid_eq(&head.uid, uid) ||
            head.commit != commit || head.number != ret->records ||
            head.bytes > file_bytes - ret->begun - sizeof head ||
            head.crc != crc_of(head, at + sizeof head))
            return;
        ret->begun += (uint32_t)sizeof head + head.bytes;
        ret->records++;
    }
}

static uint32_t read_file(const char *dir, uint8_t *ret)
{
    int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = dir_fd >= 0 ? openat(dir_fd, STORE_REDO_FILE, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t n = fd >= 0 ? pread(fd, ret, STORE_REDO_BYTES_MAX, 0) : 0;

    if (fd >= 0)
        close(fd);
    if (dir_fd >= 0)
        close(dir_fd);
    return n > 0 ? (uint32_t)n : 0;
}

static dtq_err recover(struct store *s, const struct store_redo *redo)
{
    struct store_tx *tx;
    dtq_err err = store_begin(s, true, &tx);

    if (err != DTQ_OK)
        return err;
    err = store_redo_again(redo, tx);
    if (err == DTQ_OK)
        return store_commit(tx);
    store_abort(tx);
    return err;
}

dtq_err store_redo_recover(struct store *s, const char *dir, uint64_t commit)
{
    struct store_redo redo;
    dtq_err err = DTQ_OK;

    if (!store_redo_init(&redo))
        return store_set_error(s, DTQ_ENOMEM, "out of memory");
    find_due(&redo, read_file(dir, redo.at), &s->uid, commit);
    if (redo.records != 0)
        err = recover(s, &redo);
    store_redo_done(&redo);
    return err;
}
