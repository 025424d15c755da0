#include "store_pages.h"

#include "store_backend.h"
#include "store_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOT_BYTES 152u /* of what a root page says */
#define HEAD_BYTES 16u  /* of a page */
#define NODE_BYTES 8u   /* before a node's key */
#define TREE_BYTES 48u  /* of what is known of a table's tree */
#define MAGIC 0xBEEFC0DEu
#define VERSION 1u
#define DEPTH_MAX 32u
#define NO_PAGE UINT64_MAX
#define PAGE_BYTES_MIN 512u
#define PAGE_BYTES_MAX 65536u
#define GLANCE_BYTES_MAX (64ull * 1024 * 1024)
#define PROGRESS_PAGES 256u
#define MISSING_PAGES_MAX (1u << 20) /* behind the end of the file, and free */
#define WHAT_BYTES 128

enum page_flag { PAGE_BRANCH = 1, PAGE_LEAF = 2, PAGE_OVERFLOW = 4, PAGE_KINDS = 15 };
enum node_flag { NODE_APART = 1, NODE_TREE = 2 };

#define FREE_NAME "free"
#define NAMES_NAME "tables"

struct tree {
    uint16_t depth;
    uint64_t branch_pages;
    uint64_t leaf_pages;
    uint64_t apart_pages;
    uint64_t records;
    uint64_t root;
};

struct root {
    bool is_sound;
    uint32_t page_bytes;
    struct tree free;
    struct tree names;
    uint64_t last_page;
    uint64_t commit;
};

/* One of the trees on a walk. */
struct walk {
    const char *name;
    struct tree tree;  /* as the file has it */
    struct tree found; /* as it is */
    bool is_known;
    bool is_damaged;
    int table; /* number of a table; or one of these */
    uint64_t key_bytes;
    uint64_t value_bytes;
};
enum { TABLE_FREE = -1, TABLE_NAMES = -2, TABLE_IDENTITY = -3 };

struct node {
    unsigned flags;
    struct dtqi_slice key;
    uint64_t child;          /* of a branch */
    uint64_t bytes;          /* of a leaf: of its data .. */
    const uint8_t *data;     /* .. which stand here, or are a page number */
    struct dtqi_slice value; /* of a leaf, when it was fetched */
};

struct store_pages {
    int fd;
    int lock_fd;
    uint64_t file_bytes;
    uint64_t file_pages; /* whole ones */
    uint64_t allocated_bytes;
    struct root root;
    uint8_t *seen; /* bits, by page */
    uint8_t *free;
    uint64_t free_n;
    uint64_t seen_n;
    bool is_glance; /* before LMDB opens it: structure only .. */
    bool is_deep;   /* .. but that of leaves, too */
    uint64_t glances;

    const struct store_kind *kinds;
    unsigned kinds_n;
    int kind; /* -1: not known yet */
    dtqi_uid uid;
    bool has_uid;

    struct walk freed;
    struct walk names;
    struct walk identity;
    struct walk tables[STORE_TABLES_MAX];

    uint8_t *levels[DEPTH_MAX]; /* a page each; a walk's path from the root */
    uint8_t *apart;             /* overflow pages */
    size_t apart_room;

    const struct store_visitor *visitor;
    bool is_damaged;
    char what[WHAT_BYTES];
    char first[STORE_WHY_BYTES]; /* the first damage, as a sentence */
};

/* ---- numbers as they stand in the file */

static uint16_t get16(const uint8_t *at)
{
    uint16_t value;

    memcpy(&value, at, sizeof value);
    return value;
}

static uint32_t get32(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof value);
    return value;
}

static uint64_t get64(const uint8_t *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof value);
    return value;
}

static struct tree get_tree(const uint8_t *at)
{
    return (struct tree){.depth = get16(at + 6),
                         .branch_pages = get64(at + 8),
                         .leaf_pages = get64(at + 16),
                         .apart_pages = get64(at + 24),
                         .records = get64(at + 32),
                         .root = get64(at + 40)};
}

static uint64_t min64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static bool bit_of(const uint8_t *bits, uint64_t n)
{
    return (bits[n / 8] >> n % 8 & 1) != 0;
}

static void set_bit(uint8_t *bits, uint64_t n)
{
    bits[n / 8] |= (uint8_t)(1u << n % 8);
}

/* ---- damage */

static void damage(struct store_pages *p, struct walk *w, struct dtqi_slice key, uint64_t page,
                   const char *what)
{
    struct store_damage d = {
        .table = w != NULL ? w->name : "", .key = key, .page = page, .what = what};

    p->is_damaged = true;
    if (w != NULL)
        w->is_damaged = true;
    if (p->first[0] == '\0')
        (void)snprintf(p->first, sizeof p->first, "page %llu%s%s: %s", (unsigned long long)page,
                       d.table[0] != '\0' ? " of table " : "", d.table, what);
    if (p->visitor != NULL && p->visitor->on_damage != NULL)
        p->visitor->on_damage(p->visitor->arg, &d);
}

static bool damage_page(struct store_pages *p, struct walk *w, uint64_t page, const char *what)
{
    damage(p, w, (struct dtqi_slice){0}, page, what);
    return false;
}

/* ---- reading pages */

static bool read_at(const struct store_pages *p, uint64_t offset, void *at, size_t bytes)
{
    uint8_t *to = at;

    while (bytes > 0) {
        ssize_t n = pread(p->fd, to, bytes, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        to += n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return true;
}

static void progress(struct store_pages *p)
{
    if (p->visitor != NULL && p->visitor->on_progress != NULL && p->seen_n % PROGRESS_PAGES == 0)
        p->visitor->on_progress(p->visitor->arg, p->seen_n, p->root.last_page + 1);
}

/* Claim `n` pages from `page` on for one place in one tree. */
static bool claim(struct store_pages *p, struct walk *w, uint64_t page, uint64_t n)
{
    uint64_t pages = min64(p->root.last_page + 1, p->file_pages);

    if (page < 2 || page >= pages || n > pages - page)
        return damage_page(p, w, page, "it is needed, and lies behind the end of the file");
    for (uint64_t i = page; i < page + n; i++) {
        if (bit_of(p->free, i))
            return damage_page(p, w, i, "it is used, and in the list of free pages too");
        if (bit_of(p->seen, i))
            return damage_page(p, w, i, "it is used in two places");
        set_bit(p->seen, i);
        p->seen_n++;
        progress(p);
    }
    return true;
}

static bool read_page(struct store_pages *p, struct walk *w, uint64_t page, uint8_t *at)
{
    if (!read_at(p, page * p->root.page_bytes, at, p->root.page_bytes))
        return damage_page(p, w, page, "it cannot be read");
    if (get64(at) != page)
        return damage_page(p, w, page, "its header names another page");
    return true;
}

static uint32_t nodes_of(const uint8_t *page)
{
    return (get16(page + 12) - HEAD_BYTES) / 2;
}

/* Does the head of a branch or leaf page make sense? Then nodes_of() does. */
static bool is_page_sound(struct store_pages *p, struct walk *w, const uint8_t *page,
                          unsigned flags)
{
    uint64_t number = get64(page);
    uint32_t lower = get16(page + 12);
    uint32_t upper = get16(page + 14);

    if ((get16(page + 10) & PAGE_KINDS) != flags)
        return damage_page(p, w, number, "its header says that it is of another sort");
    if (lower < HEAD_BYTES || lower % 2 != 0 || lower > upper || upper > p->root.page_bytes)
        return damage_page(p, w, number, "the bounds in its header are impossible");
    if (nodes_of(page) < (flags == PAGE_BRANCH ? 2u : 1u))
        return damage_page(p, w, number, "it has too few entries");
    return true;
}

/* Entry `i` of a sound page. */
static bool node_at(const struct store_pages *p, const uint8_t *page, uint32_t i, bool is_leaf,
                    struct node *ret)
{
    uint32_t at = get16(page + HEAD_BYTES + (size_t)2 * i);
    uint32_t left = p->root.page_bytes - at;
    const uint8_t *node = page + at;
    uint32_t key_bytes;

    if (at < get16(page + 14) || at % 2 != 0 || at + NODE_BYTES > p->root.page_bytes)
        return false;
    key_bytes = get16(node + 6);
    left -= NODE_BYTES;
    if (key_bytes > left)
        return false;
    left -= key_bytes;
    *ret =
        (struct node){.key = {node + NODE_BYTES, key_bytes}, .data = node + NODE_BYTES + key_bytes};
    if (!is_leaf) {
        ret->child =
            get16(node) | (uint64_t)get16(node + 2) << 16 | (uint64_t)get16(node + 4) << 32;
        return true;
    }
    ret->flags = get16(node + 4);
    ret->bytes = get16(node) | (uint64_t)get16(node + 2) << 16;
    if ((ret->flags & ~(unsigned)(NODE_APART | NODE_TREE)) != 0)
        return false;
    return (ret->flags & NODE_APART) != 0 ? left >= 8 : ret->bytes <= left;
}

/* ---- order */

static int compare(const struct walk *w, struct dtqi_slice a, struct dtqi_slice b)
{
    uint32_t n = a.len < b.len ? a.len : b.len;
    int order;

    if (w->table == TABLE_FREE) {
        uint64_t x = get64(a.at);
        uint64_t y = get64(b.at);

        return (x > y) - (x < y);
    }
    order = n > 0 ? memcmp(a.at, b.at, n) : 0;
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static bool is_key_sound(const struct walk *w, struct dtqi_slice key)
{
    return w->table == TABLE_FREE ? key.len == 8 : key.len > 0 && key.len <= 511;
}

struct bounds { /* of the keys below a page: lo <= key < hi; an empty one is none */
    struct dtqi_slice lo;
    struct dtqi_slice hi;
};

static bool is_within(const struct walk *w, struct dtqi_slice key, const struct bounds *bounds)
{
    return (bounds->lo.len == 0 || compare(w, key, bounds->lo) >= 0) &&
           (bounds->hi.len == 0 || compare(w, key, bounds->hi) < 0);
}

/* ---- leaves */

static bool grow_apart(struct store_pages *p, size_t bytes)
{
    uint8_t *grown;

    if (bytes <= p->apart_room)
        return true;
    grown = realloc(p->apart, bytes);
    if (grown == NULL)
        return false;
    p->apart = grown;
    p->apart_room = bytes;
    return true;
}

/* The pages of a large value; its header counts them. They may be more than it needs now: a shorter
 * value was put in the place of a longer one. */
static bool claim_apart(struct store_pages *p, struct walk *w, const struct node *node,
                        uint64_t *ret_page, uint64_t *ret_needed)
{
    uint64_t page = get64(node->data);
    uint64_t needed = (HEAD_BYTES - 1 + node->bytes) / p->root.page_bytes + 1;
    uint8_t head[HEAD_BYTES];
    uint64_t pages;

    if (page < 2 || page > p->root.last_page || page >= p->file_pages)
        return damage_page(p, w, page, "it is needed, and lies behind the end of the file");
    if (!read_at(p, page * p->root.page_bytes, head, sizeof head))
        return damage_page(p, w, page, "it cannot be read");
    pages = get32(head + 12);
    if (get64(head) != page || (get16(head + 10) & PAGE_KINDS) != PAGE_OVERFLOW || pages < needed)
        return damage_page(p, w, page, "the header of a large value is damaged");
    if (!claim(p, w, page, pages))
        return false;
    w->found.apart_pages += pages;
    *ret_page = page;
    *ret_needed = needed;
    return true;
}

/* The data of a leaf's node, wherever they are. `false` is damage, which was told. */
static bool fetch(struct store_pages *p, struct walk *w, struct node *node, dtq_err *err)
{
    uint64_t page;
    uint64_t pages;

    if ((node->flags & NODE_APART) == 0) {
        node->value = (struct dtqi_slice){node->data, (uint32_t)node->bytes};
        return true;
    }
    if (!claim_apart(p, w, node, &page, &pages))
        return false;
    if (p->is_glance && !p->is_deep &&
        (p->glances += pages) > GLANCE_BYTES_MAX / p->root.page_bytes)
        return false;
    if (!grow_apart(p, pages * p->root.page_bytes)) {
        *err = DTQ_ENOMEM;
        return false;
    }
    if (!read_at(p, page * p->root.page_bytes, p->apart, pages * p->root.page_bytes))
        return damage_page(p, w, page, "it cannot be read");
    node->value = (struct dtqi_slice){p->apart + HEAD_BYTES, (uint32_t)node->bytes};
    return true;
}

static bool unseals(unsigned table, const struct node *node, struct dtqi_slice *ret_value)
{
    const uint8_t *at = node->value.at;
    struct dtqi_slice value;

    if (node->value.len < STORE_SEAL_BYTES || node->key.len == 0 ||
        node->key.len > STORE_KEY_BYTES_MAX)
        return false;
    value = (struct dtqi_slice){at + STORE_SEAL_BYTES, node->value.len - STORE_SEAL_BYTES};
    *ret_value = value;
    return store_seal(table, node->key, &value, 1) == store_read_u32(at);
}

static dtq_err give(struct store_pages *p, struct walk *w, const struct node *node,
                    struct dtqi_slice value)
{
    w->key_bytes += node->key.len;
    w->value_bytes += value.len;
    if (p->visitor == NULL || p->visitor->on_record == NULL)
        return DTQ_OK;
    return p->visitor->on_record(p->visitor->arg, (unsigned)w->table, node->key, value);
}

static int kind_named(const struct store_pages *p, const uint8_t *name, size_t bytes)
{
    for (unsigned i = 0; i < p->kinds_n; i++)
        if (strlen(p->kinds[i].kind) == bytes && memcmp(p->kinds[i].kind, name, bytes) == 0)
            return (int)i;
    return -1;
}

/* Which store this is, if the record is its identity, undamaged. */
static bool take_identity(struct store_pages *p, const struct node *node)
{
    struct dtqi_slice value;
    const uint8_t *at;
    int kind;

    if (node->key.len != sizeof STORE_IDENTITY_KEY - 1 ||
        memcmp(node->key.at, STORE_IDENTITY_KEY, node->key.len) != 0 ||
        !unseals(STORE_IDENTITY_SEAL, node, &value) || value.len < 20)
        return false;
    at = value.at;
    kind = kind_named(p, at + 20, value.len - 20);
    if (get32(at) > STORE_FORMAT || kind < 0)
        return false;
    p->kind = kind;
    memcpy(p->uid.bytes, at + 4, 16);
    p->has_uid = true;
    return true;
}

static int table_named(const struct store_pages *p, struct dtqi_slice name)
{
    const struct store_kind *kind = p->kind >= 0 ? &p->kinds[p->kind] : NULL;

    for (unsigned i = 0; kind != NULL && i < kind->tables_n; i++)
        if (strlen(kind->tables[i]) == name.len && memcmp(kind->tables[i], name.at, name.len) == 0)
            return (int)i;
    return -1;
}

/* A record of the tree that names all others. */
static void take_name(struct store_pages *p, const struct node *node, uint64_t page)
{
    bool is_identity = node->key.len == sizeof STORE_IDENTITY_TABLE - 1 &&
                       memcmp(node->key.at, STORE_IDENTITY_TABLE, node->key.len) == 0;
    int table = table_named(p, node->key);
    struct walk *w = is_identity ? &p->identity : table >= 0 ? &p->tables[table] : NULL;

    if ((node->flags & NODE_TREE) == 0 || node->value.len != TREE_BYTES) {
        damage(p, &p->names, node->key, page, "it names no table");
    } else if (w != NULL) {
        w->tree = get_tree(node->value.at);
        w->is_known = true;
    } else if (p->kind >= 0 && !p->is_glance) {
        damage(p, &p->names, node->key, page, "it names a table that does not belong here");
    }
}

static void take_free(struct store_pages *p, const struct node *node, uint64_t page)
{
    uint64_t n = node->value.len >= 8 ? get64(node->value.at) : UINT64_MAX;
    const uint8_t *at = node->value.at;

    if (n > node->value.len / 8 - 1) {
        damage_page(p, &p->freed, page, "a list of free pages is damaged");
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        uint64_t number = get64(at + 8 + 8 * i);

        if (number < 2 || number > p->root.last_page || bit_of(p->free, number) ||
            bit_of(p->seen, number)) {
            damage_page(p, &p->freed, page, "a list of free pages is damaged");
            return;
        }
        set_bit(p->free, number);
        p->free_n++;
    }
}

static dtq_err take_record(struct store_pages *p, struct walk *w, const struct node *node,
                           uint64_t page)
{
    struct dtqi_slice value;

    switch (w->table) {
    case TABLE_FREE: take_free(p, node, page); return DTQ_OK;
    case TABLE_NAMES: take_name(p, node, page); return DTQ_OK;
    case TABLE_IDENTITY:
        if (!p->is_glance && !take_identity(p, node))
            damage(p, w, node->key, page, "the identity of the store is damaged");
        return DTQ_OK;
    default: break;
    }
    if (p->is_glance)
        return DTQ_OK;
    if (unseals((unsigned)w->table, node, &value))
        return give(p, w, node, value);
    damage(p, w, node->key, page, "its checksum does not fit");
    return DTQ_OK;
}

static dtq_err walk_leaf(struct store_pages *p, struct walk *w, const uint8_t *page,
                         const struct bounds *bounds)
{
    uint64_t number = get64(page);
    struct dtqi_slice before = {0};
    dtq_err err = DTQ_OK;

    w->found.leaf_pages++;
    for (uint32_t i = 0; i < nodes_of(page) && err == DTQ_OK; i++) {
        struct node node;

        if (!node_at(p, page, i, true, &node) || !is_key_sound(w, node.key)) {
            (void)damage_page(p, w, number, "an entry of it is damaged");
            continue;
        }
        w->found.records++;
        if (!is_within(w, node.key, bounds) ||
            (before.len != 0 && compare(w, before, node.key) >= 0))
            damage(p, w, node.key, number, "it is out of order");
        before = node.key;
        if (fetch(p, w, &node, &err))
            err = take_record(p, w, &node, number);
    }
    return err;
}

/* ---- trees */

static dtq_err walk_page(struct store_pages *p, struct walk *w, uint64_t number, unsigned level,
                         const struct bounds *bounds);

static dtq_err walk_branch(struct store_pages *p, struct walk *w, const uint8_t *page,
                           unsigned level, const struct bounds *bounds)
{
    uint32_t n = nodes_of(page);
    struct bounds below = *bounds;
    dtq_err err = DTQ_OK;

    w->found.branch_pages++;
    for (uint32_t i = 0; i < n && err == DTQ_OK; i++) {
        struct node node;
        struct node next = {0};

        if (!node_at(p, page, i, false, &node)) {
            (void)damage_page(p, w, get64(page), "an entry of it is damaged");
            continue;
        }
        below.lo = i == 0 ? bounds->lo : node.key;
        below.hi = bounds->hi;
        if (i + 1 < n && node_at(p, page, i + 1, false, &next) && is_key_sound(w, next.key))
            below.hi = next.key;
        if (i > 0 && (!is_key_sound(w, node.key) || !is_within(w, node.key, bounds) ||
                      (below.hi.len != 0 && compare(w, node.key, below.hi) >= 0))) {
            damage(p, w, node.key, get64(page), "its entries are out of order");
            below = *bounds; /* the pages below it may be sound all the same */
        }
        err = walk_page(p, w, node.child, level + 1, &below);
    }
    return err;
}

static dtq_err walk_page(struct store_pages *p, struct walk *w, uint64_t number, unsigned level,
                         const struct bounds *bounds)
{
    bool is_leaf = level == w->tree.depth;
    uint8_t *page;

    if (!claim(p, w, number, 1))
        return DTQ_OK;
    if (p->is_glance && !p->is_deep && is_leaf && w->table >= 0)
        return DTQ_OK;
    if (p->is_glance && !p->is_deep && ++p->glances > GLANCE_BYTES_MAX / p->root.page_bytes)
        return DTQ_OK;
    if (p->levels[level - 1] == NULL)
        p->levels[level - 1] = malloc(p->root.page_bytes);
    page = p->levels[level - 1];
    if (page == NULL)
        return DTQ_ENOMEM;
    if (!read_page(p, w, number, page) ||
        !is_page_sound(p, w, page, is_leaf ? PAGE_LEAF : PAGE_BRANCH))
        return DTQ_OK;
    return is_leaf ? walk_leaf(p, w, page, bounds) : walk_branch(p, w, page, level, bounds);
}

static bool same_tree(const struct tree *a, const struct tree *b)
{
    return a->branch_pages == b->branch_pages && a->leaf_pages == b->leaf_pages &&
           a->apart_pages == b->apart_pages && a->records == b->records;
}

static dtq_err walk_tree(struct store_pages *p, struct walk *w)
{
    static const struct bounds none;
    dtq_err err = DTQ_OK;

    w->found = (struct tree){.depth = w->tree.depth};
    w->key_bytes = w->value_bytes = 0;
    if (w->tree.root != NO_PAGE && (w->tree.depth == 0 || w->tree.depth > DEPTH_MAX))
        (void)damage_page(p, w, w->tree.root, "the depth of its tree is impossible");
    else if (w->tree.root != NO_PAGE)
        err = walk_page(p, w, w->tree.root, 1, &none);
    if (err == DTQ_OK && !w->is_damaged && (!p->is_glance || p->is_deep) &&
        !same_tree(&w->tree, &w->found))
        (void)damage_page(p, w, w->tree.root, "it has not as many records and pages as it should");
    return err;
}

/* ---- what lost its place */

/* The table of a record, by its seal. NULL: none. */
static struct walk *table_of(struct store_pages *p, const struct node *node,
                             struct dtqi_slice *ret_value)
{
    for (unsigned i = 0; p->kind >= 0 && i < p->kinds[p->kind].tables_n; i++)
        if (unseals(i, node, ret_value))
            return &p->tables[i];
    return NULL;
}

static dtq_err save_leaf(struct store_pages *p, const uint8_t *page, bool identity_only)
{
    struct walk unknown = {.name = ""};
    dtq_err err = DTQ_OK;

    for (uint32_t i = 0; i < nodes_of(page) && err == DTQ_OK; i++) {
        struct node node;
        struct dtqi_slice value;
        struct walk *w;

        if (!node_at(p, page, i, true, &node))
            continue;
        if (identity_only) {
            node.value = (struct dtqi_slice){node.data, (uint32_t)node.bytes};
            if ((node.flags & NODE_APART) == 0)
                (void)take_identity(p, &node);
            continue;
        }
        if (!fetch(p, &unknown, &node, &err))
            continue;
        w = table_of(p, &node, &value);
        if (w != NULL)
            err = give(p, w, &node, value);
    }
    return err;
}

/* Pages that are neither used nor free: what hung below a damaged page, or in a tree that is not
 * named any more. */
static dtq_err walk_lost(struct store_pages *p, bool identity_only)
{
    uint8_t *page = malloc(p->root.page_bytes);
    dtq_err err = page == NULL ? DTQ_ENOMEM : DTQ_OK;

    for (uint64_t i = 2; i <= p->root.last_page && i < p->file_pages && err == DTQ_OK; i++) {
        if (bit_of(p->seen, i) || bit_of(p->free, i) ||
            !read_at(p, i * p->root.page_bytes, page, p->root.page_bytes) || get64(page) != i ||
            (get16(page + 10) & PAGE_KINDS) != PAGE_LEAF)
            continue;
        if (get16(page + 12) < HEAD_BYTES || get16(page + 12) % 2 != 0 ||
            get16(page + 12) > get16(page + 14) || get16(page + 14) > p->root.page_bytes)
            continue;
        if (!identity_only)
            set_bit(p->seen, i);
        err = save_leaf(p, page, identity_only);
    }
    free(page);
    return err;
}

static uint64_t lost_pages(const struct store_pages *p)
{
    return p->root.last_page + 1 - 2 - p->seen_n - p->free_n;
}

/* ---- roots */

static void parse_root(const uint8_t *page, uint64_t number, struct root *ret)
{
    *ret = (struct root){.page_bytes = get32(page + 40),
                         .free = get_tree(page + 40),
                         .names = get_tree(page + 88),
                         .last_page = get64(page + 136),
                         .commit = get64(page + 144)};
    ret->is_sound = get64(page) == number && (get16(page + 10) & 8) != 0 &&
                    get32(page + 16) == MAGIC && get32(page + 20) == VERSION &&
                    ret->page_bytes >= PAGE_BYTES_MIN && ret->page_bytes <= PAGE_BYTES_MAX &&
                    (ret->page_bytes & (ret->page_bytes - 1)) == 0 &&
                    ret->last_page < UINT64_MAX / PAGE_BYTES_MAX &&
                    (ret->commit % 2 == number || ret->commit == 0);
}

static bool is_zero(const uint8_t *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (at[i] != 0)
            return false;
    return true;
}

/* Is this the head of a branch or leaf page, so that nodes_of() makes sense? Nobody is told. */
static bool is_head_sound(const struct store_pages *p, const uint8_t *page, uint64_t number,
                          unsigned flags)
{
    uint32_t lower = get16(page + 12);

    return get64(page) == number && (get16(page + 10) & PAGE_KINDS) == flags &&
           lower > HEAD_BYTES && lower % 2 == 0 && lower <= get16(page + 14) &&
           get16(page + 14) <= p->root.page_bytes;
}

/* The newest commit that a root's list of free pages tells of: the last key of its tree. 0: it
 * cannot be told. `page` has room for one. */
static uint64_t newest_in_free(const struct store_pages *p, const struct tree *tree, uint8_t *page)
{
    uint64_t number = tree->root;
    uint64_t newest = 0;

    if (tree->root == NO_PAGE || tree->depth > DEPTH_MAX)
        return 0;
    for (unsigned level = 1; level <= tree->depth; level++) {
        bool is_leaf = level == tree->depth;
        struct node node;

        if (number >= p->file_pages ||
            !read_at(p, number * p->root.page_bytes, page, p->root.page_bytes) ||
            !is_head_sound(p, page, number, is_leaf ? PAGE_LEAF : PAGE_BRANCH) ||
            !node_at(p, page, nodes_of(page) - 1, is_leaf, &node))
            break;
        if (is_leaf && node.key.len == 8)
            newest = get64(node.key.at);
        number = node.child;
    }
    return newest;
}

/* A commit lists what it freed under its own number, and keeps the list of the commit before it: so
 * the lists tell whether the numbers of the roots can be true. Before an open a number that is too
 * low is let pass: it may be a root that was written by halves, of a commit that nobody was told
 * of. */
static dtq_err check_numbers(struct store_pages *p, const struct root roots[2])
{
    unsigned newer = roots[1].commit > roots[0].commit;
    uint64_t newest[2];
    uint8_t *page = malloc(p->root.page_bytes);

    if (page == NULL)
        return DTQ_ENOMEM;
    for (unsigned i = 0; i < 2; i++) {
        newest[i] = roots[i].is_sound ? newest_in_free(p, &roots[i].free, page) : 0;
        if (!p->is_glance && newest[i] > roots[i].commit)
            (void)damage_page(p, NULL, i, "the root page has a number that is too low");
    }
    if (roots[newer].is_sound && newest[newer] < newest[1 - newer] &&
        newest[1 - newer] <= roots[1 - newer].commit)
        (void)damage_page(p, NULL, newer, "the root page has a number that is too high");
    free(page);
    return DTQ_OK;
}

/*
 * Both roots: each commit writes the one whose turn it is, so their numbers differ by one. No
 * checksum guards them, but a flipped bit in a number breaks that, or leaves it lower than what its
 * own list of free pages tells of. LMDB, which takes the larger one, would go back to an older
 * state.
 */
static dtq_err read_roots(struct store_pages *p, struct store_why why)
{
    uint8_t first[ROOT_BYTES] = {0};
    uint8_t second[ROOT_BYTES] = {0};
    struct root roots[2];
    uint64_t page_bytes;

    if (!read_at(p, 0, first, sizeof first))
        return store_why(why, DTQ_ECORRUPT, "the data file has %llu bytes only",
                         (unsigned long long)p->file_bytes);
    parse_root(first, 0, &roots[0]);
    page_bytes = roots[0].is_sound ? roots[0].page_bytes : (uint64_t)sysconf(_SC_PAGESIZE);
    (void)read_at(p, page_bytes, second, sizeof second);
    parse_root(second, 1, &roots[1]);
    if (!roots[0].is_sound && !roots[1].is_sound)
        return store_why(why, DTQ_ECORRUPT,
                         is_zero(first, sizeof first) ? "its data file is filled with zeros"
                                                      : "both root pages of its data file are "
                                                        "damaged, or it is none of LMDB");
    p->root = roots[roots[1].is_sound && (!roots[0].is_sound || roots[1].commit > roots[0].commit)];
    if (!roots[0].is_sound)
        (void)damage_page(p, NULL, 0, "the root page is damaged");
    if (!roots[1].is_sound)
        (void)damage_page(p, NULL, 1, "the root page is damaged");
    if (roots[0].is_sound && roots[1].is_sound && roots[0].commit + 1 != roots[1].commit &&
        roots[1].commit + 1 != roots[0].commit && (roots[0].commit != 0 || roots[1].commit != 0))
        (void)damage_page(p, NULL, 0, "the root pages are not of consecutive commits");
    p->file_pages = p->file_bytes / p->root.page_bytes;
    if (check_numbers(p, roots) != DTQ_OK)
        return store_why(why, DTQ_ENOMEM, "out of memory");
    if (p->root.last_page > p->file_pages + MISSING_PAGES_MAX) {
        (void)damage_page(p, NULL, p->file_pages, "the file ends here, and should be far longer");
        p->root.last_page = p->file_pages + MISSING_PAGES_MAX; /* bounds the memory of a walk */
    }
    return DTQ_OK;
}

/* ---- opening */

static dtq_err open_file(struct store_pages *p, const char *dir, struct store_why why)
{
    char path[PATH_MAX];
    struct stat st;
    int n = snprintf(path, sizeof path, "%s/data.mdb", dir);

    if (n < 0 || n >= (int)sizeof path)
        return store_why(why, DTQ_EIO, "the path of the directory is too long");
    p->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (p->fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return store_why(why, DTQ_ENOTFOUND, "there is no store in '%s'", dir);
    if (p->fd < 0 || fstat(p->fd, &st) != 0)
        return store_why(why, DTQ_EIO, "cannot read '%s': %s", path, strerror(errno));
    p->file_bytes = (uint64_t)st.st_size;
    p->allocated_bytes = (uint64_t)st.st_blocks * 512;
    return DTQ_OK;
}

static void free_levels(struct store_pages *p)
{
    for (unsigned i = 0; i < DEPTH_MAX; i++)
        free(p->levels[i]);
    memset(p->levels, 0, sizeof p->levels);
}

static bool new_maps(struct store_pages *p)
{
    size_t bytes = (size_t)(p->root.last_page / 8 + 1);

    free(p->seen);
    free(p->free);
    p->seen = calloc(bytes, 1);
    p->free = calloc(bytes, 1);
    p->seen_n = p->free_n = 0;
    return p->seen != NULL && p->free != NULL;
}

/* LMDB does not write pages that a transaction took and gave back. They may be the last ones, and
 * then the file may end before them; any other page must be there. */
static void check_end(struct store_pages *p)
{
    uint64_t page = p->file_pages;

    while (page <= p->root.last_page && bit_of(p->free, page))
        page++;
    if (page <= p->root.last_page)
        (void)damage_page(p, NULL, p->file_pages, "the file ends here, and should be longer");
}

static void name_walks(struct store_pages *p)
{
    const struct store_kind *kind = p->kind >= 0 ? &p->kinds[p->kind] : NULL;

    p->freed = (struct walk){
        .name = FREE_NAME, .table = TABLE_FREE, .tree = p->root.free, .is_known = true};
    p->names = (struct walk){
        .name = NAMES_NAME, .table = TABLE_NAMES, .tree = p->root.names, .is_known = true};
    p->identity = (struct walk){.name = STORE_IDENTITY_TABLE, .table = TABLE_IDENTITY};
    for (unsigned i = 0; kind != NULL && i < kind->tables_n; i++)
        p->tables[i] = (struct walk){.name = kind->tables[i], .table = (int)i};
}

/* The list of free pages, the names of tables, and the identity. */
static dtq_err walk_base(struct store_pages *p)
{
    dtq_err err;

    name_walks(p);
    if (!new_maps(p))
        return DTQ_ENOMEM;
    err = walk_tree(p, &p->freed);
    check_end(p);
    if (err == DTQ_OK)
        err = walk_tree(p, &p->names);
    if (err == DTQ_OK && p->identity.is_known)
        err = walk_tree(p, &p->identity);
    return err;
}

/* The kind must be known before tables can be named: two walks over the base. */
static dtq_err find_kind(struct store_pages *p, const char *dir, struct store_why why)
{
    dtq_err err = walk_base(p);

    if (err == DTQ_OK && p->kind < 0 && !p->freed.is_damaged)
        err = walk_lost(p, true);
    if (err != DTQ_OK)
        return store_why(why, err, "out of memory");
    if (p->kind < 0)
        return store_why(why, DTQ_ECORRUPT,
                         "'%s' holds no store of dtq, or one of a newer dtq, or one whose identity "
                         "is lost%s%s",
                         dir, p->first[0] != '\0' ? ": " : "", p->first);
    return DTQ_OK;
}

static dtq_err open_pages(struct store_pages *p, const char *dir, struct store_why why)
{
    char text[STORE_WHY_BYTES] = "";
    dtq_err err = read_roots(p, (struct store_why){text, sizeof text});

    if (err == DTQ_ENOMEM)
        return store_why(why, err, "%s", text);
    if (err != DTQ_OK)
        return store_why(why, err, "the store in '%s' is damaged, or is no dtq store: %s", dir,
                         text);
    return DTQ_OK;
}

static struct store_pages *new_pages(void)
{
    struct store_pages *p = calloc(1, sizeof *p);

    if (p != NULL) {
        p->fd = p->lock_fd = -1;
        p->kind = -1;
    }
    return p;
}

dtq_err store_pages_open(const char *dir, const struct store_kind *kinds, unsigned kinds_n,
                         struct store_pages **ret_pages, char *why, size_t why_bytes)
{
    struct store_why sentence = {why, why_bytes};
    struct store_pages *p = new_pages();
    dtq_err err;

    if (p == NULL)
        return store_why(sentence, DTQ_ENOMEM, "out of memory");
    p->kinds = kinds;
    p->kinds_n = kinds_n;
    err = open_file(p, dir, sentence);
    if (err == DTQ_OK)
        err = store_dir_lock(dir, &p->lock_fd, sentence);
    if (err == DTQ_OK)
        err = open_pages(p, dir, sentence);
    if (err == DTQ_OK)
        err = find_kind(p, dir, sentence);
    if (err != DTQ_OK) {
        store_pages_close(p);
        return err;
    }
    *ret_pages = p;
    return DTQ_OK;
}

void store_pages_close(struct store_pages *p)
{
    if (p == NULL)
        return;
    if (p->fd >= 0)
        close(p->fd);
    if (p->lock_fd >= 0)
        close(p->lock_fd);
    free_levels(p);
    free(p->seen);
    free(p->free);
    free(p->apart);
    free(p);
}

unsigned store_pages_kind(const struct store_pages *p)
{
    return (unsigned)p->kind;
}

const dtqi_uid *store_pages_uid(const struct store_pages *p)
{
    return p->has_uid ? &p->uid : NULL;
}

/* ---- the walk */

static dtq_err walk_tables(struct store_pages *p)
{
    dtq_err err = DTQ_OK;

    for (unsigned i = 0; i < p->kinds[p->kind].tables_n && err == DTQ_OK; i++)
        if (p->tables[i].is_known)
            err = walk_tree(p, &p->tables[i]);
    return err;
}

static void name_lost(struct store_pages *p)
{
    if (lost_pages(p) == 0 || p->freed.is_damaged)
        return;
    (void)snprintf(p->what, sizeof p->what, "nothing leads to %llu pages any more",
                   (unsigned long long)lost_pages(p));
    (void)damage_page(p, NULL, 0, p->what);
}

dtq_err store_pages_walk(struct store_pages *p, const struct store_visitor *visitor)
{
    char why[STORE_WHY_BYTES];
    dtq_err err;

    p->visitor = visitor;
    p->is_damaged = false;
    p->first[0] = '\0';
    err = read_roots(p, (struct store_why){why, sizeof why}); /* again, for the visitor */
    if (err == DTQ_OK)
        err = walk_base(p);
    if (err == DTQ_OK && !p->has_uid)
        (void)damage_page(p, NULL, 0, "the identity of the store is lost");
    if (err == DTQ_OK)
        err = walk_tables(p);
    if (err == DTQ_OK)
        name_lost(p);
    /* With a damaged list of free pages, what was deleted long ago could come back. */
    if (err == DTQ_OK && p->is_damaged && !p->freed.is_damaged)
        err = walk_lost(p, false);
    p->visitor = NULL;
    return err == DTQ_OK && p->is_damaged ? DTQ_ECORRUPT : err;
}

void store_pages_size(const struct store_pages *p, struct store_file_size *ret)
{
    *ret = (struct store_file_size){.page_bytes = p->root.page_bytes,
                                    .file_bytes = p->file_bytes,
                                    .allocated_bytes = p->allocated_bytes,
                                    .pages = p->root.last_page + 1,
                                    .pages_free = p->free_n,
                                    .commits = p->root.commit};
}

void store_pages_table_size(const struct store_pages *p, unsigned table,
                            struct store_table_size *ret)
{
    const struct walk *w = &p->tables[table];

    *ret = (struct store_table_size){.name = w->name,
                                     .records = w->found.records,
                                     .key_bytes = w->key_bytes,
                                     .value_bytes = w->value_bytes,
                                     .pages = w->found.branch_pages + w->found.leaf_pages +
                                              w->found.apart_pages,
                                     .depth = w->found.records > 0 ? w->tree.depth : 0};
}

/* ---- the look before LMDB opens it */

/* All trees that the root names, by whatever name. */
static dtq_err glance_tables(struct store_pages *p)
{
    dtq_err err = DTQ_OK;

    for (unsigned i = 0; i < STORE_TABLES_MAX && err == DTQ_OK; i++)
        if (p->tables[i].is_known)
            err = walk_tree(p, &p->tables[i]);
    return err;
}

static dtq_err glance(struct store_pages *p, const char *dir, struct store_why why)
{
    uint64_t wanted_bytes;
    dtq_err err;

    p->is_glance = true;
    err = open_pages(p, dir, why);
    if (err != DTQ_OK)
        return err;
    wanted_bytes = (p->root.last_page + 1) * p->root.page_bytes;
    p->is_deep = wanted_bytes <= GLANCE_BYTES_MAX;
    err = walk_base(p);
    if (err == DTQ_OK)
        err = glance_tables(p);
    if (err != DTQ_OK)
        return store_why(why, err, "out of memory");
    if (!p->is_damaged)
        return DTQ_OK;
    if (p->root.last_page >= p->file_pages)
        (void)snprintf(p->first, sizeof p->first,
                       "its data file has %llu bytes and should have %llu",
                       (unsigned long long)p->file_bytes, (unsigned long long)wanted_bytes);
    return store_why(why, DTQ_ECORRUPT,
                     "the store in '%s' is damaged: %s; `dtq store check` tells more, and saves "
                     "what can be saved",
                     dir, p->first);
}

/* Nothing was ever committed: of the first thing that LMDB writes, two roots, not both are there.
 */
static bool is_unmade(struct store_pages *p)
{
    uint8_t bytes[2][ROOT_BYTES] = {{0}};
    bool is_begun = false; /* a root tells of a commit, or of something else than LMDB */
    bool is_missing = false;

    (void)read_at(p, 0, bytes[0], ROOT_BYTES);
    (void)read_at(p, (uint64_t)sysconf(_SC_PAGESIZE), bytes[1], ROOT_BYTES);
    for (unsigned i = 0; i < 2; i++) {
        struct root root;

        parse_root(bytes[i], i, &root);
        if (is_zero(bytes[i], ROOT_BYTES))
            is_missing = true;
        else if (!root.is_sound || root.commit > 0)
            is_begun = true;
    }
    return is_missing && !is_begun;
}

dtq_err store_pages_glance(const char *dir, const struct store_kind *kind, bool *ret_empty,
                           char *why, size_t why_bytes)
{
    struct store_why sentence = {why, why_bytes};
    struct store_pages *p = new_pages();
    dtq_err err;

    if (p == NULL)
        return store_why(sentence, DTQ_ENOMEM, "out of memory");
    *ret_empty = false;
    p->kinds = kind;
    p->kinds_n = 1;
    p->kind = 0; /* tables of another kind are not looked at: LMDB gets to know them */
    err = open_file(p, dir, sentence);
    if (err == DTQ_ENOTFOUND || (err == DTQ_OK && is_unmade(p))) {
        *ret_empty = true;
        err = DTQ_OK;
    } else if (err == DTQ_OK) {
        err = glance(p, dir, sentence);
    }
    store_pages_close(p);
    return err;
}
