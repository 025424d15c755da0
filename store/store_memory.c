/*
 * The store in memory. A table is a treap (a search tree by key, a heap by a number made from the
 * key) whose nodes are counted and shared: a transaction or a clone takes the roots, and whoever
 * writes copies what others can see, along the path only. So begin, abort, commit and clone cost
 * nothing, and a reader keeps the state it began with.
 */
#include "store_memory.h"

#include "store_backend.h"

#define RECORD_OVERHEAD_BYTES 32u

struct node {
    uint32_t refs; /* roots and parents that point here */
    uint32_t priority;
    struct node *left;
    struct node *right;
    uint32_t key_len;
    uint32_t raw_len;
    uint8_t bytes[]; /* key, raw record */
};

struct memory_state {
    struct node *roots[STORE_TABLES_MAX];
    uint64_t counts[STORE_TABLES_MAX];
    uint64_t used_bytes;
};

struct memory_store {
    struct store base;
    struct memory_state state; /* of the last commit */
    uint64_t limit_bytes;
    dtq_err fail_commit;
};

struct memory_tx {
    struct store_tx base;
    struct memory_state state;
};

struct memory_cursor {
    struct store_cursor base;
    uint32_t key_len; /* of the key it stands on; 0: nowhere */
    uint8_t key[STORE_KEY_BYTES_MAX];
};

static struct memory_store *memory_of(struct store *s)
{
    return (struct memory_store *)s;
}

static struct memory_state *state_of(struct store_tx *tx)
{
    return &((struct memory_tx *)tx)->state;
}

/* ---- nodes */

static struct dtqi_slice node_key(const struct node *n)
{
    return (struct dtqi_slice){n->bytes, n->key_len};
}

static struct dtqi_slice node_raw(const struct node *n)
{
    return (struct dtqi_slice){n->bytes + n->key_len, n->raw_len};
}

static uint64_t node_bytes(const struct node *n)
{
    return (uint64_t)n->key_len + n->raw_len + RECORD_OVERHEAD_BYTES;
}

static struct node *node_ref(struct node *n)
{
    if (n != NULL)
        n->refs++;
    return n;
}

static void node_unref(struct node *n)
{
    if (n == NULL || --n->refs > 0)
        return;
    node_unref(n->left);
    node_unref(n->right);
    free(n);
}

static struct node *node_new(struct dtqi_slice key, uint32_t raw_len)
{
    struct node *n = malloc(sizeof *n + key.len + raw_len);

    if (n == NULL)
        return NULL;
    *n = (struct node){.refs = 1, .key_len = key.len, .raw_len = raw_len};
    n->priority = (uint32_t)dtqi_mix64(store_crc32c(0, key.at, key.len));
    memcpy(n->bytes, key.at, key.len);
    return n;
}

/* Make *at a node that nobody else sees, so that it may be changed. Everything above it is such a
 * node already. false: no memory, and nothing changed. */
static bool node_own(struct node **at)
{
    struct node *old = *at;
    struct node *copy;

    assert(old != NULL);
    if (old->refs == 1)
        return true;
    copy = node_new(node_key(old), old->raw_len);
    if (copy == NULL)
        return false;
    memcpy(copy->bytes + old->key_len, node_raw(old).at, old->raw_len);
    copy->left = node_ref(old->left);
    copy->right = node_ref(old->right);
    old->refs--;
    *at = copy;
    return true;
}

static int key_compare(struct dtqi_slice a, struct dtqi_slice b)
{
    int c = memcmp(a.at, b.at, a.len < b.len ? a.len : b.len);

    if (c != 0)
        return c;
    return (a.len > b.len) - (a.len < b.len);
}

static struct node *node_find(struct node *n, struct dtqi_slice key)
{
    while (n != NULL) {
        int c = key_compare(key, node_key(n));

        if (c == 0)
            return n;
        n = c < 0 ? n->left : n->right;
    }
    return NULL;
}

/* The nearest node behind `key` in the given direction, or at it when `inclusive`; an empty key is
 * before everything. */
static const struct node *node_near(const struct node *n, struct dtqi_slice key, bool backward,
                                    bool inclusive)
{
    const struct node *best = NULL;

    while (n != NULL) {
        int c = key.len == 0 ? (backward ? 1 : -1) : key_compare(key, node_key(n));

        if (c == 0 && inclusive)
            return n;
        if (backward ? c > 0 : c < 0) {
            best = n;
            n = backward ? n->right : n->left;
        } else {
            n = backward ? n->left : n->right;
        }
    }
    return best;
}

/* Own the path to the node with `key`, which is in the tree. NULL: no memory. */
static struct node **own_path(struct node **at, struct dtqi_slice key)
{
    for (;;) {
        int c;

        if (!node_own(at))
            return NULL;
        c = key_compare(key, node_key(*at));
        if (c == 0)
            return at;
        at = c < 0 ? &(*at)->left : &(*at)->right;
    }
}

/* Lift the left or right child of *at above it; both are owned. */
static void rotate(struct node **at, bool left)
{
    struct node *down = *at;
    struct node *up = left ? down->left : down->right;

    if (left) {
        down->left = up->right;
        up->right = down;
    } else {
        down->right = up->left;
        up->left = down;
    }
    *at = up;
}

/* false: no memory; the tree holds what it held. */
static bool node_insert(struct node **at, struct node *fresh)
{
    bool left;

    if (*at == NULL) {
        *at = fresh;
        return true;
    }
    if (!node_own(at))
        return false;
    left = key_compare(node_key(fresh), node_key(*at)) < 0;
    if (!node_insert(left ? &(*at)->left : &(*at)->right, fresh))
        return false;
    if ((left ? (*at)->left : (*at)->right)->priority > (*at)->priority)
        rotate(at, left);
    return true;
}

/* Rotate the node down until it can be cut off. Stopping half-way leaves a tree in order. */
static bool node_remove(struct node **root, struct dtqi_slice key)
{
    struct node **at = own_path(root, key);
    struct node *gone;

    if (at == NULL)
        return false;
    gone = *at;
    while (gone->left != NULL && gone->right != NULL) {
        bool left = gone->left->priority > gone->right->priority;

        if (!node_own(left ? &gone->left : &gone->right))
            return false;
        rotate(at, left);
        at = left ? &(*at)->right : &(*at)->left;
    }
    *at = gone->left != NULL ? gone->left : gone->right;
    free(gone);
    return true;
}

static bool node_replace(struct node **root, struct node *fresh)
{
    struct node **at = own_path(root, node_key(fresh));
    struct node *old;

    if (at == NULL)
        return false;
    old = *at;
    fresh->left = old->left;
    fresh->right = old->right;
    *at = fresh;
    free(old);
    return true;
}

/* ---- states */

static void state_copy(struct memory_state *to, const struct memory_state *from)
{
    *to = *from;
    for (unsigned i = 0; i < STORE_TABLES_MAX; i++)
        node_ref(to->roots[i]);
}

static void state_done(struct memory_state *state)
{
    for (unsigned i = 0; i < STORE_TABLES_MAX; i++)
        node_unref(state->roots[i]);
}

static dtq_err no_memory(struct store_tx *tx)
{
    return store_set_error(tx->store, DTQ_ENOMEM, "out of memory");
}

/* ---- operations */

static void memory_close(struct store *s)
{
    state_done(&memory_of(s)->state);
    store_base_done(s);
    free(s);
}

static void memory_space(const struct store *s, uint64_t *ret_used, uint64_t *ret_max)
{
    const struct memory_store *m = (const struct memory_store *)s;

    *ret_used = m->state.used_bytes;
    *ret_max = m->limit_bytes;
}

static dtq_err memory_begin(struct store *s, bool write, struct store_tx **ret_tx)
{
    struct memory_tx *t = calloc(1, sizeof *t);

    (void)write;
    if (t == NULL)
        return store_set_error(s, DTQ_ENOMEM, "out of memory");
    state_copy(&t->state, &memory_of(s)->state);
    *ret_tx = &t->base;
    return DTQ_OK;
}

static void memory_abort(struct store_tx *tx)
{
    state_done(state_of(tx));
    free(tx);
}

static dtq_err memory_commit(struct store_tx *tx)
{
    struct memory_store *m = memory_of(tx->store);
    dtq_err err = m->fail_commit;

    m->fail_commit = DTQ_OK;
    if (err != DTQ_OK) {
        memory_abort(tx);
        return store_set_error(&m->base, err, "writing to the disk failed");
    }
    state_done(&m->state);
    m->state = *state_of(tx);
    free(tx);
    return DTQ_OK;
}

static dtq_err memory_sync(struct store *s)
{
    (void)s;
    return DTQ_OK;
}

static bool is_room(const struct memory_store *m, uint64_t used, unsigned flags)
{
    uint64_t kept_back = (flags & STORE_SPARE) != 0 ? 0 : m->limit_bytes / 8;

    return used <= m->limit_bytes - kept_back;
}

static dtq_err memory_put(struct store_tx *tx, unsigned table, struct dtqi_slice key,
                          uint32_t raw_bytes, unsigned flags, uint8_t **ret_raw)
{
    struct memory_state *state = state_of(tx);
    struct node *old = node_find(state->roots[table], key);
    uint64_t old_bytes = old != NULL ? node_bytes(old) : 0;
    struct node *fresh;
    uint64_t used;

    if (old != NULL && (flags & STORE_IF_ABSENT) != 0)
        return DTQ_ECONFLICT;
    used = state->used_bytes - old_bytes + key.len + raw_bytes + RECORD_OVERHEAD_BYTES;
    if (!is_room(memory_of(tx->store), used, flags))
        return store_set_error(tx->store, DTQ_ENOSPC,
                               "no space left: %llu bytes are in use, which is the limit of this "
                               "store",
                               (unsigned long long)state->used_bytes);
    fresh = node_new(key, raw_bytes);
    if (fresh == NULL)
        return no_memory(tx);
    if (old != NULL) {
        fresh->priority = old->priority;
        if (!node_replace(&state->roots[table], fresh)) {
            free(fresh);
            return no_memory(tx);
        }
    } else {
        if (!node_insert(&state->roots[table], fresh)) {
            free(fresh);
            return no_memory(tx);
        }
        state->counts[table]++;
    }
    state->used_bytes = used;
    *ret_raw = fresh->bytes + key.len;
    return DTQ_OK;
}

static dtq_err memory_del(struct store_tx *tx, unsigned table, struct dtqi_slice key)
{
    struct memory_state *state = state_of(tx);
    const struct node *old = node_find(state->roots[table], key);
    uint64_t bytes;

    if (old == NULL)
        return DTQ_ENOTFOUND;
    bytes = node_bytes(old);
    if (!node_remove(&state->roots[table], key))
        return no_memory(tx);
    state->used_bytes -= bytes;
    state->counts[table]--;
    return DTQ_OK;
}

static dtq_err memory_get(struct store_tx *tx, unsigned table, struct dtqi_slice key,
                          struct dtqi_slice *ret_raw)
{
    const struct node *n = node_find(state_of(tx)->roots[table], key);

    if (n == NULL)
        return DTQ_ENOTFOUND;
    *ret_raw = node_raw(n);
    return DTQ_OK;
}

static uint64_t memory_count(struct store_tx *tx, unsigned table)
{
    return state_of(tx)->counts[table];
}

/* ---- cursors: the key they stand on; each step looks it up in the tree as it is then */

static dtq_err memory_cursor_open(struct store_tx *tx, unsigned table, bool backward,
                                  struct store_cursor **ret)
{
    struct memory_cursor *c = calloc(1, sizeof *c);

    (void)table;
    (void)backward;
    if (c == NULL)
        return no_memory(tx);
    *ret = &c->base;
    return DTQ_OK;
}

static void memory_cursor_close(struct store_cursor *c)
{
    free(c);
}

static dtq_err cursor_stand(struct memory_cursor *c, const struct node *n, struct store_record *ret)
{
    if (n == NULL)
        return DTQ_ENOTFOUND;
    c->key_len = n->key_len;
    memcpy(c->key, n->bytes, n->key_len);
    *ret = (struct store_record){.key = node_key(n), .raw = node_raw(n)};
    return DTQ_OK;
}

static dtq_err memory_seek(struct store_cursor *base, struct dtqi_slice key,
                           struct store_record *ret)
{
    struct memory_cursor *c = (struct memory_cursor *)base;
    const struct node *root = state_of(base->tx)->roots[base->table];

    return cursor_stand(c, node_near(root, key, base->backward, true), ret);
}

static dtq_err memory_next(struct store_cursor *base, struct store_record *ret)
{
    struct memory_cursor *c = (struct memory_cursor *)base;
    const struct node *root = state_of(base->tx)->roots[base->table];
    struct dtqi_slice key = {c->key, c->key_len};

    return cursor_stand(c, node_near(root, key, base->backward, false), ret);
}

static dtq_err memory_cursor_del(struct store_cursor *base)
{
    struct memory_cursor *c = (struct memory_cursor *)base;

    return memory_del(base->tx, base->table, (struct dtqi_slice){c->key, c->key_len});
}

static const struct store_ops memory_ops = {
    .close = memory_close,
    .space = memory_space,
    .begin = memory_begin,
    .commit = memory_commit,
    .abort = memory_abort,
    .sync = memory_sync,
    .put = memory_put,
    .del = memory_del,
    .get = memory_get,
    .count = memory_count,
    .cursor_open = memory_cursor_open,
    .seek = memory_seek,
    .next = memory_next,
    .cursor_del = memory_cursor_del,
    .cursor_close = memory_cursor_close,
};

dtq_err store_open_memory(const struct store_cfg *cfg, const dtqi_uid *uid,
                          struct store **ret_store)
{
    struct memory_store *m = calloc(1, sizeof *m);

    if (m == NULL)
        return DTQ_ENOMEM;
    if (store_base_init(&m->base, &memory_ops, cfg) != DTQ_OK) {
        memory_close(&m->base);
        return DTQ_ENOMEM;
    }
    m->base.uid = *uid;
    m->limit_bytes = cfg->map_bytes_max;
    *ret_store = &m->base;
    return DTQ_OK;
}

/* ---- what tests do */

dtq_err store_memory_clone(const struct store *s, struct store **ret_store)
{
    const struct memory_store *m = (const struct memory_store *)s;
    const char *tables[STORE_TABLES_MAX];
    struct store_cfg cfg = {.kind = s->kind,
                            .tables = tables,
                            .tables_n = s->tables_n,
                            .map_bytes_max = m->limit_bytes};
    struct store *clone;
    dtq_err err;

    assert(s->ops == &memory_ops);
    for (unsigned i = 0; i < s->tables_n; i++)
        tables[i] = s->tables[i];
    err = store_open_memory(&cfg, &s->uid, &clone);
    if (err != DTQ_OK)
        return err;
    state_copy(&memory_of(clone)->state, &m->state);
    *ret_store = clone;
    return DTQ_OK;
}

void store_memory_fail_commit(struct store *s, dtq_err err)
{
    assert(s->ops == &memory_ops);
    memory_of(s)->fail_commit = err;
}

void store_memory_set_limit(struct store *s, uint64_t bytes)
{
    assert(s->ops == &memory_ops);
    memory_of(s)->limit_bytes = bytes;
}

dtq_err store_memory_damage(struct store *s, unsigned table, struct dtqi_slice key)
{
    struct memory_state *state = &memory_of(s)->state;
    struct node **at;

    assert(s->ops == &memory_ops);
    if (node_find(state->roots[table], key) == NULL)
        return DTQ_ENOTFOUND;
    at = own_path(&state->roots[table], key);
    if (at == NULL)
        return DTQ_ENOMEM;
    (*at)->bytes[(*at)->key_len + (*at)->raw_len - 1] ^= 1;
    return DTQ_OK;
}
