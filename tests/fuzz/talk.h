/*
 * Messages made from the bytes of a fuzz input. They are well formed, and what they name was often
 * said by the core that is tested: its sessions, tickets, requests, epochs. So they get behind the
 * first check of each handler, where random bytes never come.
 */
#ifndef TALK_H
#define TALK_H

#include "codec.h"

#define TALK_RING 16u
#define TALK_IDS 64u
#define TALK_UIDS 6u

enum talk_kind {
    TALK_SESSION,
    TALK_EPOCH,
    TALK_REQUEST,
    TALK_REPLY_TO,
    TALK_BEAT,   /* numbers of heartbeats */
    TALK_NUMBER, /* of settlements */
    TALK_TICKET,
    TALK_KINDS,
};

struct talk {
    const uint8_t *at; /* what is left of the input */
    size_t left;
    uint64_t wall_ms; /* now; ids are from about that time */
    bool starves;
    struct {
        uint64_t at[TALK_RING];
        uint32_t n; /* ever put in */
    } rings[TALK_KINDS];
    struct {
        uint64_t session;
        uint64_t reports; /* REPORT or TASKS so far */
    } sequences[TALK_RING];
    dtq_id ids[TALK_IDS];
    uint32_t ids_n; /* ever learned */
    dtqi_uid uids[TALK_UIDS];
};

void talk_init(struct talk *t, const uint8_t *at, size_t bytes, uint64_t wall_ms);
/* 0..below - 1; zero when the input is used up. */
uint32_t talk_choice(struct talk *t, uint32_t below);
/* Up to so many bytes of the input as they are. */
struct dtqi_slice talk_bytes(struct talk *t, uint32_t bytes_max);
dtq_id talk_id(struct talk *t);
uint64_t talk_pick(struct talk *t, enum talk_kind kind);

/* Between the two, memory may run out in what is linked statically, where the input says so; in
 * half of the inputs it never does. */
void talk_starve(struct talk *t);
void talk_feed(void);

/* Take in what the core sent; checks that it can be encoded and is read back as the same. */
void talk_hear(struct talk *t, const struct dtqi_msg *said);

/*
 * A message of one of `types` (ended by 0), once in a while of any other type, or whatever a frame
 * of raw input means. @return false: the codec refused it. dtqi_msg_done() it else.
 */
bool talk_msg(struct talk *t, const enum dtqi_msg_type *types, struct dtqi_msg *ret);

#endif
