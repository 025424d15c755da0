#include "sim_parts.h"

#include "store_memory.h"

/*
 * A commit thread and its store, in memory. Work is done one by one, in order, each after a while;
 * a process that dies loses what was not done, or the answer to what was.
 */

static uint64_t disk_delay(struct sim *s)
{
    uint64_t us = sim_between(s, s->cfg.disk_us);

    if (s->cfg.disk_us[0] != s->cfg.disk_us[1] && !s->calm && sim_chance(s, 2))
        us += sim_below(s, 3000) * 1000ull; /* a stall */
    return us;
}

static void trace_write(struct sim *s, const struct node *n, const struct work *w)
{
    const struct journal_batch *j = w->at;
    const struct results_batch *r = w->at;

    if (n->kind == SIM_VENTILATOR)
        trace(s, "%s: journal of %u ops: %s", n->name, j->ops_n, dtq_errname(j->err));
    else
        trace(s, "%s: commit of %u won, %u second: %s", n->name, r->won, r->second,
              dtq_errname(r->err));
}

static void note_mark(struct node *n, dtq_err err)
{
    if (err == DTQ_OK)
        n->mark_offset_ms = n->wall_offset_ms;
}

static void do_work(struct sim *s, struct node *n, const struct work *w)
{
    if (n->kind == SIM_VENTILATOR && w->is_write) {
        ((struct journal_batch *)w->at)->mark = sim_mark(s, n);
        journal_apply(n->vent.journal, w->at);
        note_mark(n, ((struct journal_batch *)w->at)->err);
        check_journal_write(s, w->at);
    } else if (n->kind == SIM_VENTILATOR) {
        journal_read(n->vent.journal, w->at);
    } else if (w->is_write) {
        ((struct results_batch *)w->at)->mark = sim_mark(s, n);
        results_apply(n->sink.results, w->at);
        note_mark(n, ((struct results_batch *)w->at)->err);
        check_commit(s, n, w->at);
    } else {
        results_read(n->sink.results, w->at);
    }
    if (w->is_write)
        trace_write(s, n, w);
}

static void begin(struct sim *s, struct node *n)
{
    /* Reading is quick. */
    sim_at(s, s->now_us + (n->disk.head->is_write ? disk_delay(s) : 50), EVENT_DISK, n);
}

void disk_push(struct sim *s, struct node *n, bool is_write, void *at)
{
    struct work *w = calloc(1, sizeof *w);

    assert(w != NULL);
    *w = (struct work){.is_write = is_write, .at = at};
    if (n->disk.tail != NULL)
        n->disk.tail->next = w;
    else
        n->disk.head = w;
    n->disk.tail = w;
    if (n->disk.head == w)
        begin(s, n);
}

static struct work *take_first(struct disk *d)
{
    struct work *w = d->head;

    d->head = w->next;
    if (d->head == NULL)
        d->tail = NULL;
    return w;
}

void disk_on_done(struct sim *s, struct node *n)
{
    struct work *w = take_first(&n->disk);
    struct input *in;

    do_work(s, n, w);
    in = sim_input(s, n, IN_WORK);
    assert(in != NULL);
    in->work = w;
    if (n->disk.head != NULL)
        begin(s, n);
}

/* The disk may just have finished what the process will never hear of. */
void disk_died(struct sim *s, struct node *n)
{
    if (n->disk.head != NULL && n->disk.head->is_write && sim_chance(s, 50))
        do_work(s, n, n->disk.head);
    while (n->disk.head != NULL)
        free(take_first(&n->disk));
}

/* What a new process finds: the state of the last commit. */
void disk_free(struct node *n)
{
    while (n->disk.head != NULL)
        free(take_first(&n->disk));
    store_close(n->disk.store);
    store_close(n->disk.copy);
    n->disk.store = n->disk.copy = NULL;
}

void sim_copy_disk(struct sim *s, uint32_t sink)
{
    struct node *n = sim_node(s, SIM_SINK, sink);

    if (n->disk.store == NULL || n->disk.copy != NULL)
        return;
    story(s, "%s: its disk is copied", n->name);
    n->disk.copy_offset_ms = n->mark_offset_ms;
    if (store_memory_clone(n->disk.store, &n->disk.copy) != DTQ_OK)
        abort();
}

/* What of it is lost is found out by way of another copy, since opening one begins a run. */
static void note_lost(struct sim *s, struct node *n)
{
    struct results_cfg cfg = {DTQI_RESULT_TTL_MS, DTQI_OUTCOME_MEMORY_MS};
    struct results *results = NULL;
    struct store *look = NULL;
    dtqi_uid run = {{1}};
    char why[200];

    if (store_memory_clone(n->disk.copy, &look) != DTQ_OK)
        abort();
    store_memory_set_limit(look, UINT64_MAX);
    if (results_open(look, &cfg, &run, &results, why, sizeof why) != DTQ_OK)
        abort();
    check_sink_restored(s, n, results);
    results_close(results);
    store_close(look);
}

void sim_restore_disk(struct sim *s, uint32_t sink)
{
    struct node *n = sim_node(s, SIM_SINK, sink);

    if (n->disk.copy == NULL)
        return;
    sim_kill(s, SIM_SINK, sink);
    story(s, "%s: its disk is the copy", n->name);
    note_lost(s, n);
    store_close(n->disk.store);
    if (store_memory_clone(n->disk.copy, &n->disk.store) != DTQ_OK)
        abort();
    /* From its time to now the wall clock may have jumped only to jump back: nobody could know. */
    n->wall_offset_ms = n->mark_offset_ms = n->disk.copy_offset_ms;
    n->has_booted = true;
    s->totals.restores++;
}

void sim_lose_disk(struct sim *s, uint32_t sink, bool for_good)
{
    struct node *n = sim_node(s, SIM_SINK, sink);

    if (n->disk.store == NULL || n->disk.was_lost)
        return;
    sim_kill(s, SIM_SINK, sink);
    story(s, "%s: its disk is lost", n->name);
    check_sink_lost(s, n);
    store_close(n->disk.store);
    n->disk.store = NULL;
    n->disk.lost_uid = n->disk.uid;
    n->disk.was_lost = true;
    n->disk.is_gone = for_good;
    n->wall_offset_ms = n->mark_offset_ms = 0;
    n->has_booted = true;
    s->told[sink].is_diverged = false;
}

void sim_disk_limit(struct sim *s, enum sim_kind kind, uint32_t index, uint64_t bytes)
{
    struct node *n = sim_node(s, kind, index);

    n->disk.limit_bytes = bytes;
    if (bytes != UINT64_MAX)
        story(s, "%s has %llu bytes of disk", n->name, (unsigned long long)bytes);
    if (n->disk.store != NULL)
        store_memory_set_limit(n->disk.store, bytes);
}

void sim_disk_fail(struct sim *s, enum sim_kind kind, uint32_t index)
{
    struct node *n = sim_node(s, kind, index);

    if (n->disk.store == NULL)
        return;
    story(s, "%s: the next commit fails", n->name);
    store_memory_fail_commit(n->disk.store, DTQ_EIO);
}
