#include "bare.h"

#include "bed.h"
#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#define MESSAGE_BYTES 200
#define MAP_BYTES ((size_t)1 << 30)
#define FLUSH_BYTES 512
#define HOPS 4
#define FLOW_WORKERS 2
#define SILENCE_MS 60000

static void need(int ok, const char *what)
{
    if (!ok)
        bed_fail("bare ZeroMQ: %s: %s", what, zmq_strerror(errno));
}

static void *open_socket(void *context, int type)
{
    void *socket = zmq_socket(context, type);
    int silence_ms = SILENCE_MS;

    need(socket != NULL, "socket");
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &silence_ms, sizeof silence_ms);
    zmq_setsockopt(socket, ZMQ_SNDTIMEO, &silence_ms, sizeof silence_ms);
    return socket;
}

static void *connect_to(void *context, int type, const char *endpoint)
{
    void *socket = open_socket(context, type);

    need(zmq_connect(socket, endpoint) == 0, endpoint);
    return socket;
}

static void *bind_at(void *context, int type, const char *endpoint)
{
    void *socket = open_socket(context, type);

    need(zmq_bind(socket, endpoint) == 0, endpoint);
    return socket;
}

/* Ports that nobody uses now. */
static void choose_endpoints(char endpoints[][64], size_t n)
{
    void *context = zmq_ctx_new();
    void *sockets[8];

    for (size_t i = 0; i < n; i++) {
        size_t bytes = 64;

        sockets[i] = bind_at(context, ZMQ_PULL, "tcp://127.0.0.1:*");
        zmq_getsockopt(sockets[i], ZMQ_LAST_ENDPOINT, endpoints[i], &bytes);
    }
    for (size_t i = 0; i < n; i++)
        zmq_close(sockets[i]);
    zmq_ctx_term(context);
}

typedef void role(void *arg);

/* Only while this process has no ZeroMQ context: its threads would not be in the child. */
static pid_t start(role *run, void *arg)
{
    pid_t parent = getpid();
    pid_t pid = fork();

    need(pid >= 0, "fork");
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent)
        run(arg);
    _exit(0);
}

static double end(const pid_t *pids, size_t n)
{
    double cpu_us = 0;

    for (size_t i = 0; i < n; i++) {
        struct rusage usage;
        int status;

        need(wait4(pids[i], &status, 0, &usage) == pids[i], "wait4");
        need(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a process failed");
        cpu_us += (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
                  (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    }
    return cpu_us;
}

/* ---------------------------------------------------------------- many messages */

struct flow {
    char endpoints[2][64]; /* of the ventilator and of the sink */
    uint64_t messages;
    int tell;    /* the sink's end of a pipe */
    int release; /* what the others end on: its end of file .. */
    int hold;    /* .. which comes when nobody holds the other end */
};

static void fill(zmq_msg_t *msg)
{
    zmq_msg_init_size(msg, MESSAGE_BYTES);
    memset(zmq_msg_data(msg), 1, MESSAGE_BYTES);
}

static void send_one(void *socket, zmq_msg_t *msg)
{
    need(zmq_msg_send(msg, socket, 0) >= 0, "send");
}

/* Begins when both workers are connected, so that each has its half. */
static void run_ventilator(void *arg)
{
    struct flow *f = arg;
    void *context = zmq_ctx_new();
    void *out = bind_at(context, ZMQ_PUSH, f->endpoints[0]);
    void *monitor;
    char spare;

    close(f->hold);
    zmq_socket_monitor(out, "inproc://events", ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
    monitor = connect_to(context, ZMQ_PAIR, "inproc://events");
    for (int events = 0; events < FLOW_WORKERS;) {
        zmq_msg_t msg;

        zmq_msg_init(&msg);
        need(zmq_msg_recv(&msg, monitor, 0) >= 0, "monitor");
        events += !zmq_msg_more(&msg); /* an event has two frames */
        zmq_msg_close(&msg);
    }
    for (uint64_t i = 0; i < f->messages; i++) {
        zmq_msg_t msg;

        fill(&msg);
        send_one(out, &msg);
    }
    (void)!read(f->release, &spare, 1);
}

static void run_worker(void *arg)
{
    struct flow *f = arg;
    void *context = zmq_ctx_new();
    void *in = connect_to(context, ZMQ_PULL, f->endpoints[0]);
    void *out = connect_to(context, ZMQ_PUSH, f->endpoints[1]);
    zmq_pollitem_t polls[] = {{.socket = in, .events = ZMQ_POLLIN},
                              {.fd = f->release, .events = ZMQ_POLLIN}};
    bool is_over = false;

    close(f->hold);
    while (!is_over) {
        zmq_msg_t msg;

        zmq_msg_init(&msg);
        if (zmq_msg_recv(&msg, in, ZMQ_DONTWAIT) >= 0) {
            send_one(out, &msg);
            continue;
        }
        need(zmq_poll(polls, 2, SILENCE_MS) > 0, "poll");
        is_over = polls[1].revents != 0;
    }
}

static void run_sink(void *arg)
{
    struct flow *f = arg;
    void *context = zmq_ctx_new();
    void *in = bind_at(context, ZMQ_PULL, f->endpoints[1]);
    uint64_t from_us = 0;
    double seconds;

    close(f->hold);
    for (uint64_t i = 0; i < f->messages; i++) {
        zmq_msg_t msg;

        zmq_msg_init(&msg);
        need(zmq_msg_recv(&msg, in, 0) >= 0, "recv");
        zmq_msg_close(&msg);
        if (i == 0)
            from_us = proc_now_us();
    }
    seconds = (double)(proc_now_us() - from_us) / 1e6;
    need(write(f->tell, &seconds, sizeof seconds) == sizeof seconds, "write");
}

struct bare_flow bare_flow(uint64_t messages)
{
    static role *const roles[] = {run_sink, run_ventilator, run_worker, run_worker};
    struct flow f = {.messages = messages};
    struct bare_flow result = {0};
    pid_t pids[FLOW_WORKERS + 2];
    int tell[2];
    int release[2];

    choose_endpoints(f.endpoints, 2);
    need(pipe2(tell, O_CLOEXEC) == 0 && pipe2(release, O_CLOEXEC) == 0, "pipe");
    f.tell = tell[1];
    f.release = release[0];
    f.hold = release[1];
    for (int i = 0; i < FLOW_WORKERS + 2; i++)
        pids[i] = start(roles[i], &f);
    close(tell[1]);
    need(read(tell[0], &result.seconds, sizeof result.seconds) == sizeof result.seconds,
         "the sink says nothing");
    close(release[1]);
    result.cpu_us = end(pids, FLOW_WORKERS + 2) / (double)messages;
    close(release[0]);
    close(tell[0]);
    return result;
}

/* ---------------------------------------------------------------- round trips */

struct hop {
    const char *from;
    const char *to;
    uint32_t n;
    const char *dir; /* NULL: this hop keeps nothing */
};

static MDB_env *open_env(const char *dir, MDB_dbi *ret_dbi)
{
    MDB_env *env;
    MDB_txn *txn;

    need(mdb_env_create(&env) == 0 && mdb_env_set_mapsize(env, MAP_BYTES) == 0 &&
             mdb_env_open(env, dir, 0, 0600) == 0 && mdb_txn_begin(env, NULL, 0, &txn) == 0 &&
             mdb_dbi_open(txn, NULL, 0, ret_dbi) == 0 && mdb_txn_commit(txn) == 0,
         "lmdb");
    return env;
}

static void commit(MDB_env *env, MDB_dbi dbi, uint64_t number, zmq_msg_t *msg)
{
    MDB_val key = {.mv_size = sizeof number, .mv_data = &number};
    MDB_val value = {.mv_size = zmq_msg_size(msg), .mv_data = zmq_msg_data(msg)};
    MDB_txn *txn;

    number = __builtin_bswap64(number);
    need(mdb_txn_begin(env, NULL, 0, &txn) == 0 && mdb_put(txn, dbi, &key, &value, 0) == 0 &&
             mdb_txn_commit(txn) == 0,
         "lmdb");
}

static void run_hop(void *arg)
{
    const struct hop *h = arg;
    void *context = zmq_ctx_new();
    void *in = bind_at(context, ZMQ_PULL, h->from);
    void *out = connect_to(context, ZMQ_PUSH, h->to);
    MDB_dbi dbi = 0;
    MDB_env *env = h->dir != NULL ? open_env(h->dir, &dbi) : NULL;

    for (uint32_t i = 0; i < h->n; i++) {
        zmq_msg_t msg;

        zmq_msg_init(&msg);
        need(zmq_msg_recv(&msg, in, 0) >= 0, "recv");
        if (env != NULL)
            commit(env, dbi, i, &msg);
        send_one(out, &msg);
    }
    zmq_close(in);
    zmq_close(out);
    zmq_ctx_term(context);
}

static void make_trips(char endpoints[HOPS][64], uint32_t warm, uint32_t n, double *ret_us)
{
    void *context = zmq_ctx_new();
    void *in = bind_at(context, ZMQ_PULL, endpoints[HOPS - 1]);
    void *out = connect_to(context, ZMQ_PUSH, endpoints[0]);

    for (uint32_t i = 0; i < warm + n; i++) {
        uint64_t from_us = proc_now_us();
        zmq_msg_t msg;

        fill(&msg);
        send_one(out, &msg);
        zmq_msg_init(&msg);
        need(zmq_msg_recv(&msg, in, 0) >= 0, "recv");
        zmq_msg_close(&msg);
        if (i >= warm)
            ret_us[i - warm] = (double)(proc_now_us() - from_us);
    }
    zmq_close(in);
    zmq_close(out);
    zmq_ctx_term(context);
}

static void start_hops(char endpoints[HOPS][64], uint32_t n, const char *dir, pid_t *ret_pids)
{
    choose_endpoints(endpoints, HOPS);
    for (int i = 0; i < HOPS - 1; i++) {
        struct hop hop = {endpoints[i], endpoints[i + 1], n, i == HOPS - 2 ? dir : NULL};

        ret_pids[i] = start(run_hop, &hop); /* which has a copy of it */
    }
}

void bare_trips(uint32_t n, const char *dir, double *ret_us)
{
    uint32_t warm = 20;
    char endpoints[HOPS][64];
    pid_t pids[HOPS - 1];

    start_hops(endpoints, warm + n, dir, pids);
    make_trips(endpoints, warm, n, ret_us);
    (void)end(pids, HOPS - 1);
}

/* ---------------------------------------------------------------- many messages, there and back */

struct circle {
    char endpoints[HOPS][64];
    uint32_t messages;
    int tell; /* the producer's end of a pipe */
};

static bool try_send(void *out)
{
    zmq_msg_t msg;

    fill(&msg);
    if (zmq_msg_send(&msg, out, ZMQ_DONTWAIT) >= 0)
        return true;
    zmq_msg_close(&msg);
    return false;
}

static bool try_receive(void *in)
{
    zmq_msg_t msg;
    bool is_there;

    zmq_msg_init(&msg);
    is_there = zmq_msg_recv(&msg, in, ZMQ_DONTWAIT) >= 0;
    zmq_msg_close(&msg);
    return is_there;
}

/* Until `n` have come back. */
static void exchange(void *in, void *out, uint32_t n)
{
    uint32_t to_send = n;

    for (uint32_t left = n; left > 0;) {
        zmq_pollitem_t polls[] = {{.socket = in, .events = ZMQ_POLLIN},
                                  {.socket = out, .events = ZMQ_POLLOUT}};
        uint32_t before = to_send + left;

        while (to_send > 0 && try_send(out))
            to_send--;
        while (left > 0 && try_receive(in))
            left--;
        if (left > 0 && to_send + left == before)
            need(zmq_poll(polls, to_send > 0 ? 2 : 1, SILENCE_MS) > 0, "poll");
    }
}

static void run_producer(void *arg)
{
    struct circle *c = arg;
    void *context = zmq_ctx_new();
    void *in = bind_at(context, ZMQ_PULL, c->endpoints[HOPS - 1]);
    void *out = connect_to(context, ZMQ_PUSH, c->endpoints[0]);
    uint64_t from_us;
    double seconds;

    exchange(in, out, 1); /* all are connected */
    from_us = proc_now_us();
    exchange(in, out, c->messages);
    seconds = (double)(proc_now_us() - from_us) / 1e6;
    need(write(c->tell, &seconds, sizeof seconds) == sizeof seconds, "write");
}

struct bare_flow bare_circle(uint32_t messages)
{
    struct circle c = {.messages = messages};
    struct bare_flow result = {0};
    pid_t pids[HOPS];
    int tell[2];

    need(pipe2(tell, O_CLOEXEC) == 0, "pipe");
    c.tell = tell[1];
    start_hops(c.endpoints, messages + 1, NULL, pids);
    pids[HOPS - 1] = start(run_producer, &c);
    close(tell[1]);
    need(read(tell[0], &result.seconds, sizeof result.seconds) == sizeof result.seconds,
         "the producer says nothing");
    result.cpu_us = end(pids, HOPS) / (double)messages;
    close(tell[0]);
    return result;
}

/* ---------------------------------------------------------------- the disk */

void bare_flushes(uint32_t n, const char *dir, double *ret_us)
{
    char path[PATH_MAX];
    char bytes[FLUSH_BYTES];
    int fd;

    snprintf(path, sizeof path, "%s/flush", dir);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    memset(bytes, 1, sizeof bytes);
    for (uint32_t i = 0; i < 64; i++)
        need(write(fd, bytes, sizeof bytes) == sizeof bytes, path);
    need(fsync(fd) == 0, path);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t from_us = proc_now_us();

        bytes[0] = (char)i;
        need(pwrite(fd, bytes, sizeof bytes, (i % 64) * FLUSH_BYTES) == sizeof bytes &&
                 fdatasync(fd) == 0,
             path);
        ret_us[i] = (double)(proc_now_us() - from_us);
    }
    close(fd);
    unlink(path);
}
