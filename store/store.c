#include "store_backend.h"
#include "store_redo.h"

#include <stdio.h>

/* ---- what backends share */

dtq_err store_base_init(struct store *s, const struct store_ops *ops, const struct store_cfg *cfg)
{
    assert(cfg->tables_n > 0);
    assert(cfg->tables_n <= STORE_TABLES_MAX);
    s->ops = ops;
    s->kind = strdup(cfg->kind);
    if (s->kind == NULL)
        return DTQ_ENOMEM;
    for (; s->tables_n < cfg->tables_n; s->tables_n++) {
        s->tables[s->tables_n] = strdup(cfg->tables[s->tables_n]);
        if (s->tables[s->tables_n] == NULL)
            return DTQ_ENOMEM;
    }
    return DTQ_OK;
}

void store_base_done(struct store *s)
{
    while (s->tables_n > 0)
        free(s->tables[--s->tables_n]);
    free(s->kind);
    s->kind = NULL;
}

dtq_err store_set_error(struct store *s, dtq_err err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(s->errmsg, sizeof s->errmsg, format, args);
    va_end(args);
    return err;
}

uint32_t store_seal(unsigned table, struct dtqi_slice key, const struct dtqi_slice *pieces,
                    unsigned pieces_n)
{
    uint8_t place[3] = {(uint8_t)table, (uint8_t)key.len, (uint8_t)(key.len >> 8)};
    uint32_t crc = store_crc32c(0, place, sizeof place);

    crc = store_crc32c(crc, key.at, key.len);
    for (unsigned i = 0; i < pieces_n; i++)
        crc = store_crc32c(crc, pieces[i].at, pieces[i].len);
    return crc;
}

/* ---- records */

static void key_digits(struct dtqi_slice key, char *ret_text, size_t text_bytes)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *at = key.at;
    size_t n = 0;

    for (uint32_t i = 0; i < key.len && n + 2 < text_bytes; i++) {
        ret_text[n++] = digits[at[i] >> 4];
        ret_text[n++] = digits[at[i] & 15];
    }
    ret_text[n] = '\0';
}

static dtq_err damaged(struct store *s, unsigned table, struct dtqi_slice key)
{
    char digits[2 * 64 + 1];

    key_digits(key, digits, sizeof digits);
    return store_set_error(s, DTQ_ECORRUPT, "the record %s of table '%s' is damaged", digits,
                           s->tables[table]);
}

/* The value inside a raw record, if it is the one that was put under this key. */
static dtq_err unseal(struct store *s, unsigned table, struct dtqi_slice key, struct dtqi_slice raw,
                      struct dtqi_slice *ret_value)
{
    const uint8_t *at = raw.at;
    struct dtqi_slice value;

    if (raw.len < STORE_SEAL_BYTES)
        return damaged(s, table, key);
    value = (struct dtqi_slice){at + STORE_SEAL_BYTES, raw.len - STORE_SEAL_BYTES};
    if (store_seal(table, key, &value, 1) != store_read_u32(at))
        return damaged(s, table, key);
    *ret_value = value;
    return DTQ_OK;
}

/* ---- what is borrowed */

/*
 * A backend lends its own memory, which nobody sees going: pages of a map can be read after the
 * transaction, and mostly say the same after a write. So with AddressSanitizer copies are lent,
 * which are freed when the loan is over.
 */
#define LOAN_BYTES_MAX (64ull * 1024 * 1024) /* what is borrowed above that is not looked after */

struct store_loan {
    struct store_loan *next;
    uint8_t bytes[];
};

static void take_loans_back(struct store_tx *tx)
{
    while (tx->loans != NULL) {
        struct store_loan *loan = tx->loans;

        tx->loans = loan->next;
        free(loan);
    }
    tx->loan_bytes = 0;
}

static struct dtqi_slice lend(struct store_tx *tx, struct dtqi_slice own)
{
#ifdef DTQI_HAS_ASAN
    struct store_loan *loan = NULL;

    if (tx->loan_bytes + own.len <= LOAN_BYTES_MAX)
        loan = malloc(sizeof *loan + own.len);
    if (loan == NULL)
        return own;
    if (own.len != 0)
        memcpy(loan->bytes, own.at, own.len);
    loan->next = tx->loans;
    tx->loans = loan;
    tx->loan_bytes += own.len;
    return (struct dtqi_slice){loan->bytes, own.len};
#else
    (void)tx;
    return own;
#endif
}

/* ---- the interface */

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    assert(s->txs_open == 0);
    s->ops->close(s);
}

const dtqi_uid *store_uid(const struct store *s)
{
    return &s->uid;
}

const char *store_errmsg(const struct store *s)
{
    return s->errmsg;
}

void store_space(const struct store *s, uint64_t *ret_used, uint64_t *ret_max)
{
    s->ops->space(s, ret_used, ret_max);
}

dtq_err store_begin(struct store *s, bool write, struct store_tx **ret_tx)
{
    struct store_tx *tx;
    dtq_err err;

    if (write && s->lost)
        return DTQ_EIO; /* errmsg still says why it was lost */
    assert(!write || !s->write_open);
    err = s->ops->begin(s, write, &tx);
    s->lost |= write && err == DTQ_EIO;
    if (err != DTQ_OK)
        return err;
    tx->store = s;
    tx->write = write;
    s->txs_open++;
    s->write_open |= write;
    *ret_tx = tx;
    return DTQ_OK;
}

static struct store *tx_ends(struct store_tx *tx)
{
    struct store *s = tx->store;

    assert(tx->cursors_open == 0);
    assert(s->txs_open > 0);
    take_loans_back(tx);
    s->txs_open--;
    if (tx->write)
        s->write_open = false;
    return s;
}

void store_abort(struct store_tx *tx)
{
    if (tx == NULL)
        return;
    tx_ends(tx)->ops->abort(tx);
}

dtq_err store_commit(struct store_tx *tx)
{
    dtq_err err = tx->failed;
    struct store *s = tx->store;

    assert(tx->write);
    if (err != DTQ_OK) {
        store_abort(tx);
        return err;
    }
    tx_ends(tx);
    err = s->ops->commit(tx);
    s->lost |= err == DTQ_EIO;
    return err;
}

dtq_err store_sync(struct store *s)
{
    dtq_err err;

    if (s->lost)
        return DTQ_EIO;
    err = s->ops->sync(s);
    s->lost |= err == DTQ_EIO;
    return err;
}

/* What a write may be refused for without any harm to its transaction. */
static bool is_answer(dtq_err err)
{
    return err == DTQ_OK || err == DTQ_ENOTFOUND || err == DTQ_ECONFLICT;
}

/* Any other error of a write sticks to its transaction: half of a batch must not be committed. */
static dtq_err written(struct store_tx *tx, dtq_err err)
{
    if (!is_answer(err)) {
        tx->failed = err;
        tx->store->lost |= err == DTQ_EIO;
    }
    return err;
}

dtq_err store_put_pieces(struct store_tx *tx, unsigned table, struct dtqi_slice key,
                         const struct dtqi_slice *pieces, unsigned pieces_n, unsigned flags)
{
    uint64_t raw_bytes = STORE_SEAL_BYTES;
    uint8_t *raw;
    dtq_err err;

    assert(tx->write);
    assert(table < tx->store->tables_n);
    assert(key.len > 0);
    assert(key.len <= STORE_KEY_BYTES_MAX);
    if (tx->failed != DTQ_OK)
        return tx->failed;
    for (unsigned i = 0; i < pieces_n; i++)
        raw_bytes += pieces[i].len;
    assert(raw_bytes <= STORE_VALUE_BYTES_MAX);
    take_loans_back(tx);
    err = tx->store->ops->put(tx, table, key, (uint32_t)raw_bytes, flags, &raw);
    if (err != DTQ_OK)
        return written(tx, err);
    store_write_u32(raw, store_seal(table, key, pieces, pieces_n));
    raw += STORE_SEAL_BYTES;
    for (unsigned i = 0; i < pieces_n; i++) {
        if (pieces[i].len == 0)
            continue; /* its address may be NULL */
        memcpy(raw, pieces[i].at, pieces[i].len);
        raw += pieces[i].len;
    }
    if (tx->redo != NULL)
        store_redo_put(tx->redo, table, key, raw - raw_bytes, (uint32_t)raw_bytes);
    return DTQ_OK;
}

dtq_err store_put(struct store_tx *tx, unsigned table, struct dtqi_slice key,
                  struct dtqi_slice value, unsigned flags)
{
    return store_put_pieces(tx, table, key, &value, 1, flags);
}

dtq_err store_del(struct store_tx *tx, unsigned table, struct dtqi_slice key)
{
    assert(tx->write);
    assert(table < tx->store->tables_n);
    if (tx->failed != DTQ_OK)
        return tx->failed;
    take_loans_back(tx);
    if (tx->redo != NULL)
        store_redo_del(tx->redo, table, key);
    return written(tx, tx->store->ops->del(tx, table, key));
}

dtq_err store_get(struct store_tx *tx, unsigned table, struct dtqi_slice key,
                  struct dtqi_slice *ret_value)
{
    struct dtqi_slice raw;
    dtq_err err;

    assert(table < tx->store->tables_n);
    if (tx->failed != DTQ_OK)
        return tx->failed;
    err = tx->store->ops->get(tx, table, key, &raw);
    if (err != DTQ_OK)
        return err;
    err = unseal(tx->store, table, key, raw, ret_value);
    if (err == DTQ_OK)
        *ret_value = lend(tx, *ret_value);
    return err;
}

uint64_t store_count(struct store_tx *tx, unsigned table)
{
    assert(table < tx->store->tables_n);
    return tx->failed == DTQ_OK ? tx->store->ops->count(tx, table) : 0;
}

dtq_err store_cursor_open(struct store_tx *tx, unsigned table, bool backward,
                          struct store_cursor **ret)
{
    struct store_cursor *c;
    dtq_err err;

    assert(table < tx->store->tables_n);
    *ret = NULL;
    if (tx->failed != DTQ_OK)
        return tx->failed;
    err = tx->store->ops->cursor_open(tx, table, backward, &c);
    if (err != DTQ_OK)
        return err;
    c->tx = tx;
    c->table = table;
    c->backward = backward;
    tx->cursors_open++;
    *ret = c;
    return DTQ_OK;
}

static dtq_err cursor_found(struct store_cursor *c, dtq_err err, const struct store_record *found,
                            struct dtqi_slice *ret_key, struct dtqi_slice *ret_value)
{
    if (err == DTQ_OK && c->tx->redo != NULL) {
        assert(found->key.len <= sizeof c->key);
        memcpy(c->key, found->key.at, found->key.len);
        c->key_bytes = found->key.len;
    }
    if (err == DTQ_OK)
        err = unseal(c->tx->store, c->table, found->key, found->raw, ret_value);
    if (err != DTQ_OK)
        return err;
    *ret_key = lend(c->tx, found->key);
    *ret_value = lend(c->tx, *ret_value);
    return DTQ_OK;
}

dtq_err store_seek(struct store_cursor *c, struct dtqi_slice key, struct dtqi_slice *ret_key,
                   struct dtqi_slice *ret_value)
{
    struct store_record found;
    dtq_err err;

    if (c->tx->failed != DTQ_OK)
        return c->tx->failed;
    err = c->tx->store->ops->seek(c, key, &found);
    return cursor_found(c, err, &found, ret_key, ret_value);
}

dtq_err store_next(struct store_cursor *c, struct dtqi_slice *ret_key, struct dtqi_slice *ret_value)
{
    struct store_record found;
    dtq_err err;

    if (c->tx->failed != DTQ_OK)
        return c->tx->failed;
    err = c->tx->store->ops->next(c, &found);
    return cursor_found(c, err, &found, ret_key, ret_value);
}

dtq_err store_cursor_del(struct store_cursor *c)
{
    assert(c->tx->write);
    if (c->tx->failed != DTQ_OK)
        return c->tx->failed;
    take_loans_back(c->tx);
    if (c->tx->redo != NULL)
        store_redo_del(c->tx->redo, c->table, (struct dtqi_slice){c->key, c->key_bytes});
    return written(c->tx, c->tx->store->ops->cursor_del(c));
}

void store_cursor_close(struct store_cursor *c)
{
    if (c == NULL)
        return;
    assert(c->tx->cursors_open > 0);
    c->tx->cursors_open--;
    c->tx->store->ops->cursor_close(c);
}

/* ---- checking */

struct check {
    struct store *store;
    void (*on_bad)(void *arg, const char *table, struct dtqi_slice key);
    void *arg;
    uint64_t records;
    uint64_t bad;
};

static void check_bad(struct check *k, unsigned table, struct dtqi_slice key)
{
    k->bad++;
    if (k->on_bad != NULL)
        k->on_bad(k->arg, k->store->tables[table], key);
}

/* DTQ_ECORRUPT from the backend itself means that its own structure is damaged: what lies behind
 * cannot be reached, so the table counts as one bad record with an empty key. */
static dtq_err check_table(struct check *k, struct store_tx *tx, unsigned table)
{
    const struct store_ops *ops = k->store->ops;
    struct store_cursor *c;
    struct store_record found;
    struct dtqi_slice value;
    uint64_t before = k->records;
    dtq_err err = store_cursor_open(tx, table, false, &c);

    if (err != DTQ_OK)
        return err;
    for (err = ops->seek(c, (struct dtqi_slice){0}, &found); err == DTQ_OK;
         err = ops->next(c, &found)) {
        k->records++;
        if (unseal(k->store, table, found.key, found.raw, &value) != DTQ_OK)
            check_bad(k, table, found.key);
    }
    store_cursor_close(c);
    if (err == DTQ_ECORRUPT ||
        (err == DTQ_ENOTFOUND && k->records - before != store_count(tx, table)))
        check_bad(k, table, (struct dtqi_slice){0});
    return err == DTQ_ECORRUPT || err == DTQ_ENOTFOUND ? DTQ_OK : err;
}

dtq_err store_check(struct store *s,
                    void (*on_bad)(void *arg, const char *table, struct dtqi_slice key), void *arg,
                    uint64_t *ret_records)
{
    struct check k = {.store = s, .on_bad = on_bad, .arg = arg};
    struct store_tx *tx;
    dtq_err err = store_begin(s, false, &tx);

    if (err != DTQ_OK)
        return err;
    for (unsigned table = 0; table < s->tables_n && err == DTQ_OK; table++)
        err = check_table(&k, tx, table);
    store_abort(tx);
    if (err != DTQ_OK)
        return err;
    *ret_records = k.records;
    return k.bad > 0 ? DTQ_ECORRUPT : DTQ_OK;
}
