/*
 * A peer that keeps to no rule: TCP with as much of ZMTP 3.0 (RFC 23) as a test wants to speak,
 * and what the kernel says of a process. Nothing here fails a test by itself but raw_open().
 */
#ifndef RAW_H
#define RAW_H

#include "sample.h"

#include <sys/types.h>

#define RAW_MORE 1
#define RAW_LONG 2
#define RAW_COMMAND 4
#define RAW_WAIT_MS 20000

/* A TCP connection to "tcp://127.0.0.1:PORT"; -1: refused. */
int raw_connect(const char *endpoint);
/* The greeting, naming this mechanism; "NULL" is the one that is spoken. */
bool raw_greet(int fd, const char *mechanism);
/* READY, as a socket of this type. */
bool raw_ready(int fd, const char *type);
/* All of it: connected, greeted, ready, and what the peer said of itself read. Fails if it is not
 * let in. */
int raw_open(const char *endpoint, const char *type);
/* A frame, whatever it is. @return false: the connection is gone, or takes no more for a while. */
bool raw_frame(int fd, int flags, const void *at, size_t bytes);
bool raw_bytes(int fd, const void *at, size_t bytes);
/* A message of ours, encoded. */
bool raw_send(int fd, const struct dtqi_msg *msg);
/* The next message that can be decoded; false: none came in time, or the connection ended. */
bool raw_recv(int fd, struct dtqi_msg *ret, int wait_ms);
/* Until the other side has closed it, reading what comes. */
bool raw_is_closed(int fd, int wait_ms);

uint64_t process_rss_bytes(pid_t pid);
unsigned process_files(pid_t pid);
uint64_t process_cpu_ms(pid_t pid);
uint64_t clock_ms(void);

#endif
