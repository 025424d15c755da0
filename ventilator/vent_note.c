/*
 * What is kept of attempts that failed: the last ones in memory while the task is there, and in the
 * journal beside the task, so that a restart or a trip out of memory does not lose them; and for a
 * while when the task has ended, in the commit that deletes it.
 */
#include "vent_internal.h"

#define NOTE_FORMAT 1u
#define NOTE_HEAD_BYTES 29u
#define FORGET_EACH_MS 600000u
#define HISTORY_ENTRIES_MAX (JOURNAL_HISTORY_MAX + NOTES_MAX)

static struct note *note_new(const struct dtqi_failure *f, const struct worker *w)
{
    uint32_t worker_len = w != NULL ? w->name_len : 0;
    uint32_t text_len = f->text.len < NOTE_TEXT_BYTES ? f->text.len : NOTE_TEXT_BYTES;
    struct note *note = malloc(sizeof *note + worker_len + text_len);

    if (note == NULL)
        return NULL;
    *note = (struct note){
        .attempt = f->attempt,
        .code = f->code,
        .started_wall_ms = f->started_wall_ms,
        .duration_us = f->duration_us,
        .reason = (uint8_t)f->reason,
        .worker_len = (uint8_t)worker_len,
        .text_len = (uint16_t)text_len,
    };
    if (worker_len != 0)
        memcpy(note->texts, w->name, worker_len);
    if (text_len != 0)
        memcpy(note->texts + worker_len, f->text.at, text_len);
    return note;
}

void vent_note(struct vent *v, struct task *t, const struct dtqi_failure *f, const struct worker *w)
{
    struct past *p = vent_past(v, t);
    struct note *note = p != NULL ? note_new(f, w) : NULL;

    if (note == NULL)
        return; /* it is for people only */
    if (p->notes_n == NOTES_MAX) {
        free(p->notes[0]);
        for (uint32_t i = 1; i < NOTES_MAX; i++)
            p->notes[i - 1] = p->notes[i];
        p->notes_n--;
    }
    p->notes[p->notes_n++] = note;
}

/* ---------------------------------------------------------------- in the journal */

/* Format, reason, length of the worker's name, of the text (2), attempt, code (4 each), start,
 * duration (8 each), low bytes first; then worker and text. */
static uint8_t *out_number(uint8_t *at, uint64_t number, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (uint8_t)(number >> 8 * i);
    return at + bytes;
}

static uint64_t in_number(const uint8_t **at, unsigned bytes)
{
    uint64_t number = 0;

    for (unsigned i = 0; i < bytes; i++)
        number |= (uint64_t)(*at)[i] << 8 * i;
    *at += bytes;
    return number;
}

struct dtqi_slice vent_note_encode(const struct note *note, struct dtqi_buf *buf)
{
    uint32_t texts = (uint32_t)note->worker_len + note->text_len;
    uint8_t *at = buf != NULL ? dtqi_buf_alloc(buf, NOTE_HEAD_BYTES + texts) : NULL;
    uint8_t *to = at;

    if (at == NULL)
        return (struct dtqi_slice){NULL, 0};
    to = out_number(to, NOTE_FORMAT, 1);
    to = out_number(to, note->reason, 1);
    to = out_number(to, note->worker_len, 1);
    to = out_number(to, note->text_len, 2);
    to = out_number(to, note->attempt, 4);
    to = out_number(to, (uint32_t)note->code, 4);
    to = out_number(to, note->started_wall_ms, 8);
    to = out_number(to, note->duration_us, 8);
    memcpy(to, note->texts, texts);
    return (struct dtqi_slice){at, NOTE_HEAD_BYTES + texts};
}

bool vent_has_new_notes(const struct vent *v, const struct task *t)
{
    const struct past *p = past_of(v, t);

    for (uint32_t i = 0; p != NULL && v->cfg.history_ttl_ms != 0 && i < p->notes_n; i++)
        if (p->notes[i]->paper == NOTE_NEW)
            return true;
    return false;
}

static size_t history_bytes(const struct past *p)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < p->notes_n; i++)
        if (p->notes[i]->paper == NOTE_NEW)
            bytes += 4u + NOTE_HEAD_BYTES + p->notes[i]->worker_len + p->notes[i]->text_len;
    return bytes;
}

/* Each has its length before it, high byte first: see journal_history_next(). */
struct dtqi_slice vent_notes_encode(const struct past *p, struct dtqi_buf *buf)
{
    size_t bytes = history_bytes(p);
    uint8_t *at = buf != NULL && bytes != 0 ? dtqi_buf_alloc(buf, bytes) : NULL;
    uint8_t *to = at;

    for (uint32_t i = 0; at != NULL && i < p->notes_n; i++) {
        struct dtqi_slice note;

        if (p->notes[i]->paper != NOTE_NEW)
            continue;
        note = vent_note_encode(p->notes[i], buf);
        if (note.len == 0)
            break;
        for (int shift = 24; shift >= 0; shift -= 8)
            *to++ = (uint8_t)(note.len >> shift);
        memcpy(to, note.at, note.len);
        to += note.len;
    }
    return (struct dtqi_slice){at, at != NULL ? (uint32_t)(to - at) : 0};
}

/* Old ones are forgotten a few thousand at a time. */
void vent_notes_tick(struct vent *v)
{
    if (v->past_n == 0)
        return;
    if (v->past_forget_ms == 0)
        v->past_forget_ms = v->now_ms + FORGET_EACH_MS;
    if (v->now_ms < v->past_forget_ms) {
        due_at(v, v->past_forget_ms);
        return;
    }
    v->past_forget_due = true;
    v->past_forget_ms = v->now_ms + FORGET_EACH_MS;
    due_at(v, v->past_forget_ms);
    vent_lazy(v);
}

/* Texts point into the entry. false: another format, or damaged. */
static bool note_decode(struct dtqi_slice entry, struct dtqi_attempt_info *ret)
{
    const uint8_t *at = entry.at;
    uint32_t worker_len;
    uint32_t text_len;

    if (entry.len < NOTE_HEAD_BYTES || in_number(&at, 1) != NOTE_FORMAT)
        return false;
    *ret = (struct dtqi_attempt_info){.reason = (dtq_reason)in_number(&at, 1)};
    worker_len = (uint32_t)in_number(&at, 1);
    text_len = (uint32_t)in_number(&at, 2);
    ret->attempt = (uint32_t)in_number(&at, 4);
    ret->code = (int32_t)in_number(&at, 4);
    ret->started_wall_ms = in_number(&at, 8);
    ret->duration_us = in_number(&at, 8);
    ret->worker = (struct dtqi_str){(const char *)at, worker_len};
    ret->text = (struct dtqi_str){(const char *)at + worker_len, text_len};
    return ret->reason <= DTQ_REASON_BAD_ENTRY &&
           entry.len == NOTE_HEAD_BYTES + worker_len + text_len;
}

/* ---------------------------------------------------------------- answers */

static struct dtqi_attempt_info info_of(const struct note *note)
{
    return (struct dtqi_attempt_info){
        .attempt = note->attempt,
        .worker = {note->texts, note->worker_len},
        .started_wall_ms = note->started_wall_ms,
        .duration_us = note->duration_us,
        .reason = (dtq_reason)note->reason,
        .code = note->code,
        .text = {note->texts + note->worker_len, note->text_len},
    };
}

void vent_notes_fill(struct vent *v, struct dtqi_slice history, const struct past *p,
                     struct dtqi_task_info *info)
{
    struct dtqi_attempt_info *at;
    struct dtqi_slice entry;
    uint32_t last = 0;
    uint32_t n = 0;

    if (history.len == 0 && (p == NULL || p->notes_n == 0))
        return;
    at = vent_scratch(v, HISTORY_ENTRIES_MAX, sizeof *at);
    if (at == NULL)
        return; /* the rest of the answer is worth having */
    while (n < HISTORY_ENTRIES_MAX && journal_history_next(&history, &entry)) {
        if (!note_decode(entry, &at[n]))
            continue;
        at[n].worker = vent_copy_str(v, at[n].worker);
        at[n].text = vent_copy_str(v, at[n].text);
        last = at[n++].attempt;
    }
    for (uint32_t i = 0; p != NULL && i < p->notes_n && n < HISTORY_ENTRIES_MAX; i++)
        if (p->notes[i]->attempt > last)
            at[n++] = info_of(p->notes[i]);
    info->attempts = at;
    info->attempts_n = n;
}
