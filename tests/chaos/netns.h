/*
 * Faults below TCP, for who may make a network namespace: the device goes down, and packets of one
 * caller stop. Outside of a namespace of our own nothing here is ever called.
 */
#ifndef DTQ_CHAOS_NETNS_H
#define DTQ_CHAOS_NETNS_H

#include <stdbool.h>
#include <stdint.h>

/* This process, and those that it starts, get a network of their own, with a loopback device that
 * is up. @return false with errno set: not allowed, or not there. */
bool netns_enter(void);
/* The loopback device: nothing passes while it is down. @return false with errno set. */
bool netns_device(bool up);
/* Packets to 127.CALLER.0.0/16, that is all that this caller sends to the proxy, go nowhere.
 * @return false with errno set. */
bool netns_drop(uint8_t caller, bool drop);

#endif
