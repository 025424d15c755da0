/*
 * What ZeroMQ does not guard bound sockets against; the kernel's view of the TCP connections is
 * used instead. (Over ipc nobody counts: whoever may write to the path is trusted that far.)
 *
 * Memory: ZeroMQ bounds frames and whole messages, but not the frames of one message. It keeps them
 * all until the last one comes, and the program sees nothing of it. A connection that has brought
 * more than SOCK_GUARD_BYTES since a message last came out of it is shut down.
 *
 * Open files: a listener that cannot accept spins, and nobody new is let in. When seven eighths of
 * the files are in use, connections that never said anything are shut down, and those that have
 * been silent for SOCK_GUARD_SILENT_MS; when all are, strangers have less time. Whoever has
 * something to say comes back.
 *
 * Of the thread that owns the sockets.
 */
#ifndef DTQ_SOCK_GUARD_H
#define DTQ_SOCK_GUARD_H

#include <stdint.h>

/* More than a frame, the messages that wait to be received, and the kernel's buffers may be. */
#define SOCK_GUARD_BYTES (64ull * 1024 * 1024)
#define SOCK_GUARD_LOOK_MS 250

#define SOCK_GUARD_SILENT_MS 15000

struct sock;
struct sock_guard;

struct sock_guard *sock_guard_new(void);        /* NULL: no memory */
void sock_guard_free(struct sock_guard *guard); /* takes NULL */
/* From now on connections to this bound socket are watched; sock_recv() tells what it hears. */
void sock_guard_watch(struct sock_guard *guard, struct sock *sock);
/* A message came out of the connection with this descriptor; -1: not known of which. */
void sock_guard_heard(struct sock_guard *guard, int fd);
/* To be called at this time at the latest. */
uint64_t sock_guard_deadline_ms(const struct sock_guard *guard);
/* After the sockets were read: if memory or open files have grown, shut down who takes them. */
void sock_guard_look(struct sock_guard *guard, uint64_t now_ms);

#endif
