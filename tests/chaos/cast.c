#include "cast.h"

#include "job.h"
#include "netns.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS_MAX 24

static void finding(struct cast *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void finding(struct cast *c, const char *format, ...)
{
    va_list args;

    if (c->why[0] != '\0')
        return;
    va_start(args, format);
    vsnprintf(c->why, sizeof c->why, format, args);
    va_end(args);
}

/* ------------------------------------------------------------------------ ports */

static bool is_free(uint16_t port)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is = bind(fd, (struct sockaddr *)&any, sizeof any) == 0;

    close(fd);
    return is;
}

/* Below those that the kernel gives to connections and that lanes have: who is away for a while
 * must find its port free. */
static void choose_ports(struct cast *c)
{
    uint64_t random = (uint64_t)getpid() << 20 ^ job_now_ms();
    size_t n = 0;

    while (n < sizeof c->ports / sizeof *c->ports) {
        uint16_t port = (uint16_t)(10000 + job_below(&random, 10000));
        bool taken = !is_free(port);

        for (size_t i = 0; i < n; i++)
            taken |= c->ports[i] == port;
        if (!taken)
            c->ports[n++] = port;
    }
}

bool cast_open(struct cast *c, const struct cast_cfg *cfg)
{
    static const char *const role_names[] = {"ventilator", "sink", "worker", "producer"};

    *c = (struct cast){.cfg = cfg, .n = 2 + cfg->workers + cfg->producers};
    choose_ports(c);
    snprintf(c->control, sizeof c->control, "tcp://127.0.0.1:%u", c->ports[1]);
    for (uint32_t i = 0; i < c->n; i++) {
        struct plan_cfg roles = {.workers = cfg->workers};
        struct actor *a = &c->actors[i];

        a->role = plan_role(&roles, i);
        a->number = a->role == ROLE_WORKER     ? i - 1
                    : a->role == ROLE_PRODUCER ? i - 1 - cfg->workers
                                               : 1;
        snprintf(a->name, sizeof a->name, "%s-%u", role_names[a->role], a->number);
    }
    c->proxy = proxy_open(c->ports[0], cfg->seed);
    if (c->proxy == NULL)
        finding(c, "the proxy does not start: %s", strerror(errno));
    else
        proxy_ports(c->proxy, c->ports[1], c->ports[2], c->ports[3]);
    return c->proxy != NULL;
}

/* ------------------------------------------------------------------------ starting */

void cast_log_path(const struct cast *c, const struct actor *producer, char ret[PATH_MAX])
{
    snprintf(ret, PATH_MAX, "%s/%s.records", c->cfg->dir,
             producer != NULL ? producer->name : "handlers");
}

struct words {
    char text[WORDS_MAX][PATH_MAX];
    char *at[WORDS_MAX + 1];
    size_t n;
};

static void word(struct words *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void word(struct words *w, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(w->text[w->n], sizeof w->text[w->n], format, args);
    va_end(args);
    w->at[w->n] = w->text[w->n];
    w->at[++w->n] = NULL;
}

static void make_command(const struct cast *c, const struct actor *a, struct words *w)
{
    const struct cast_cfg *cfg = c->cfg;
    char path[PATH_MAX];

    switch (a->role) {
    case ROLE_VENTILATOR:
        word(w, "%s/dtq-ventilator", cfg->bin);
        word(w, "--bind=%s", c->control);
        word(w, "--heartbeat=%ums", cfg->heartbeat_ms);
        word(w, "--data=%s/ventilator", cfg->dir);
        word(w, "--durability=%s", cfg->async ? "async" : "sync");
        break;
    case ROLE_SINK:
        word(w, "%s/dtq-sink", cfg->bin);
        word(w, "--ventilator=%s", c->control);
        word(w, "--intake=tcp://127.0.0.1:%u", c->ports[2]);
        word(w, "--results=tcp://127.0.0.1:%u", c->ports[3]);
        word(w, "--data=%s/sink", cfg->dir);
        word(w, "--durability=%s", cfg->async ? "async" : "sync");
        break;
    case ROLE_WORKER:
        word(w, "%s/dtq-worker", cfg->bin);
        word(w, "--ventilator=%s", c->control);
        word(w, "--concurrency=2");
        word(w, "--module=%s", cfg->module);
        word(w, "--name=%s", a->name);
        break;
    case ROLE_PRODUCER:
        cast_log_path(c, a, path);
        word(w, "%s/chaos_producer", cfg->bin);
        word(w, "%s", c->control);
        word(w, "%u", a->number);
        word(w, "%llu", (unsigned long long)cfg->seed);
        word(w, "%s", path);
        word(w, "%u", cfg->open_max);
        word(w, "%u", cfg->per_second);
        word(w, "%u", cfg->slow_ms);
        break;
    case ROLES: break;
    }
}

/* What the user of this machine has set must not reach the programs; what sanitizers need must. */
static void make_environment(const struct cast *c, uint32_t actor, struct words *w)
{
    const char *asan = getenv("ASAN_OPTIONS");
    char path[PATH_MAX];

    cast_log_path(c, NULL, path);
    word(w, "PATH=%s", getenv("PATH") != NULL ? getenv("PATH") : "/bin:/usr/bin");
    word(w, "HOME=%s", c->cfg->dir);
    word(w, "LD_PRELOAD=%s", c->cfg->shim);
    word(w, "CHAOS_PROXY=%u", c->ports[0]);
    word(w, "CHAOS_CALLER=%u", actor);
    word(w, "CHAOS_LOG=%s", path);
    /* The shim has no sanitizer in it and comes first; it does nothing that one would see. */
    word(w, "ASAN_OPTIONS=%s:verify_asan_link_order=0", asan != NULL ? asan : "");
    for (size_t i = 0; environ[i] != NULL; i++)
        if ((strncmp(environ[i], "UBSAN_", 6) == 0 || strncmp(environ[i], "TSAN_", 5) == 0 ||
             strncmp(environ[i], "LSAN_", 5) == 0 || strncmp(environ[i], "GCOV_", 5) == 0) &&
            w->n < WORDS_MAX)
            word(w, "%s", environ[i]);
}

static void run_child(enum role role, struct words *command, struct words *environment, int out,
                      pid_t parent)
{
    sigset_t mask;
    int null = open("/dev/null", O_RDONLY);

    sigemptyset(&mask);
    if (role == ROLE_PRODUCER) { /* what it is told waits until it listens */
        sigaddset(&mask, SIGTERM);
        sigaddset(&mask, SIGINT);
    }
    signal(SIGINT, SIG_DFL); /* a shell that runs us in the background lets us ignore it */
    sigprocmask(SIG_SETMASK, &mask, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        _exit(127);
    execve(command->at[0], command->at, environment->at);
    _exit(127);
}

void cast_start(struct cast *c, uint32_t actor)
{
    static struct words command;
    static struct words environment;
    struct actor *a = &c->actors[actor];
    char path[PATH_MAX];
    pid_t parent = getpid();
    int out;

    if (a->pid != 0)
        return;
    command.n = environment.n = 0;
    make_command(c, a, &command);
    make_environment(c, actor, &environment);
    snprintf(path, sizeof path, "%s/%s.log", c->cfg->dir, a->name);
    out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    a->killed = a->told = a->stopped = a->come_again = false;
    a->pid = fork();
    if (a->pid == 0)
        run_child(a->role, &command, &environment, out, parent);
    close(out);
    if (a->pid < 0) {
        finding(c, "%s could not be started: %s", a->name, strerror(errno));
        a->pid = 0;
    }
    c->counts.starts++;
}

/* ------------------------------------------------------------------------ hurting */

void cast_tell(struct cast *c, uint32_t actor, int signal)
{
    struct actor *a = &c->actors[actor];

    if (a->pid == 0)
        return;
    if (!a->told)
        a->told_ms = job_now_ms();
    a->told = true;
    kill(a->pid, signal);
}

static void kill_actor(struct cast *c, struct actor *a)
{
    if (a->pid == 0 || a->killed)
        return;
    a->killed = true;
    kill(a->pid, SIGKILL);
    c->counts.kills[a->role]++;
}

static void stop_actor(struct cast *c, struct actor *a)
{
    if (a->pid == 0 || a->stopped)
        return;
    a->stopped = true;
    kill(a->pid, SIGSTOP);
    c->counts.stops[a->role]++;
}

static void continue_actor(struct actor *a)
{
    if (a->pid != 0 && a->stopped)
        kill(a->pid, SIGCONT);
    a->stopped = false;
}

/* @return of what is in /proc/PID/task/PID/children, at most `max`. */
static uint32_t children_of(pid_t pid, pid_t *ret, uint32_t max)
{
    char path[64];
    uint32_t n = 0;
    long child;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%ld/task/%ld/children", (long)pid, (long)pid);
    file = fopen(path, "re");
    while (file != NULL && n < max && fscanf(file, "%ld", &child) == 1)
        ret[n++] = (pid_t)child;
    if (file != NULL)
        fclose(file);
    return n;
}

/* A slot, or the keeper of what slots leave behind. */
static void kill_slot(struct cast *c, const struct actor *a, uint32_t which)
{
    pid_t children[16];
    uint32_t n = a->pid != 0 ? children_of(a->pid, children, 16) : 0;

    if (n == 0)
        return;
    kill(children[which % n], SIGKILL);
    c->counts.slots++;
}

/* ------------------------------------------------------------------------ links */

/* Links of a pair: callers of this role on this way. */
static bool calls(enum pair pair, enum role role, enum proxy_way way)
{
    switch (pair) {
    case PAIR_P_V: return role == ROLE_PRODUCER && way == WAY_CONTROL;
    case PAIR_V_W: return role == ROLE_WORKER && way == WAY_CONTROL;
    case PAIR_LANE: return role == ROLE_WORKER && way == WAY_LANE;
    case PAIR_W_S: return role == ROLE_WORKER && way == WAY_INTAKE;
    case PAIR_V_S:
        return (role == ROLE_SINK && way == WAY_CONTROL) ||
               (role == ROLE_VENTILATOR && way == WAY_INTAKE);
    case PAIR_P_S: return role == ROLE_PRODUCER && way == WAY_RESULTS;
    case PAIRS_N: break;
    }
    return false;
}

static struct proxy_link link_of(enum cut cut, uint32_t amount)
{
    switch (cut) {
    case CUT_HOLD: return (struct proxy_link){.hold = {true, true}};
    case CUT_HOLD_UP: return (struct proxy_link){.hold = {true, false}};
    case CUT_HOLD_DOWN: return (struct proxy_link){.hold = {false, true}};
    case CUT_LOSE: return (struct proxy_link){.lose = {true, true}};
    case CUT_LOSE_UP: return (struct proxy_link){.lose = {true, false}};
    case CUT_LOSE_DOWN: return (struct proxy_link){.lose = {false, true}};
    case CUT_REFUSE: return (struct proxy_link){.refuse = true};
    case CUT_DELAY: return (struct proxy_link){.delay_ms = amount, .jitter_ms = 2 * amount};
    case CUT_SLOW: return (struct proxy_link){.bytes_per_s = amount};
    case CUT_RESET:
    case CUTS_N: break;
    }
    return (struct proxy_link){0};
}

static void set_links(struct cast *c, const struct step *step, const struct proxy_link *link,
                      bool reset)
{
    for (uint32_t i = 0; i < c->n; i++) {
        for (int way = 0; way < WAYS; way++) {
            if ((step->actor != ACTOR_ALL && step->actor != i) ||
                !calls(step->pair, c->actors[i].role, (enum proxy_way)way))
                continue;
            proxy_set(c->proxy, i, (enum proxy_way)way, link);
            if (reset)
                proxy_reset(c->proxy, i, (enum proxy_way)way);
        }
    }
}

static void cut(struct cast *c, const struct step *step)
{
    struct proxy_link link = link_of(step->cut, step->amount);

    set_links(c, step, &link, step->cut == CUT_RESET || step->cut == CUT_REFUSE);
    c->counts.cuts[step->pair]++;
}

static void drop(struct cast *c, uint32_t actor, bool is_begin)
{
    bool done = actor == ACTOR_ALL ? netns_device(!is_begin) : netns_drop((uint8_t)actor, is_begin);

    if (!done)
        finding(c, "packets cannot be stopped or let pass: %s", strerror(errno));
    c->counts.drops += is_begin;
}

void cast_apply(struct cast *c, const struct step *step)
{
    struct actor *a = step->actor != ACTOR_ALL ? &c->actors[step->actor] : NULL;

    switch (step->op) {
    case OP_ACT: break;
    case OP_KILL: kill_actor(c, a); break;
    case OP_START:
        if (a->killed || a->told) /* it is on its way out */
            a->come_again = true;
        cast_start(c, step->actor);
        break;
    case OP_TERM:
        cast_tell(c, step->actor, a->role == ROLE_PRODUCER ? SIGINT : SIGTERM);
        a->come_again = step->amount == 0;
        break;
    case OP_STOP: stop_actor(c, a); break;
    case OP_CONT: continue_actor(a); break;
    case OP_SLOT: kill_slot(c, a, step->order); break;
    case OP_CUT: cut(c, step); break;
    case OP_HEAL: set_links(c, step, &(struct proxy_link){0}, false); break;
    case OP_DROP: drop(c, step->actor, true); break;
    case OP_PASS: drop(c, step->actor, false); break;
    }
}

void cast_heal(struct cast *c)
{
    for (int pair = 0; pair < PAIRS_N; pair++)
        set_links(c, &(struct step){.actor = ACTOR_ALL, .pair = (enum pair)pair},
                  &(struct proxy_link){0}, false);
    for (uint32_t i = 0; i < c->n; i++) {
        continue_actor(&c->actors[i]);
        if (c->actors[i].killed || c->actors[i].told)
            c->actors[i].come_again = true;
        cast_start(c, i);
    }
}

/* ------------------------------------------------------------------------ ends */

static void on_end(struct cast *c, uint32_t actor, int status)
{
    struct actor *a = &c->actors[actor];
    bool again = a->come_again;
    /* Told so early that it had not begun to listen. */
    bool untimely = WIFSIGNALED(status) && a->told &&
                    (WTERMSIG(status) == SIGTERM || WTERMSIG(status) == SIGINT);

    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && a->killed)
        ;
    else if ((WIFEXITED(status) && WEXITSTATUS(status) == 0 && a->told) || untimely)
        c->counts.restarts[a->role]++;
    else
        finding(c, "%s ended by itself: %s %d%s", a->name,
                WIFEXITED(status) ? "exit status" : "signal",
                WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status),
                a->told ? " after SIGTERM" : "");
    a->pid = 0;
    a->stopped = false;
    if (again && !c->closing)
        cast_start(c, actor);
}

void cast_reap(struct cast *c)
{
    uint64_t now_ms = job_now_ms();
    pid_t pid;
    int status;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (uint32_t i = 0; i < c->n; i++)
            if (c->actors[i].pid == pid)
                on_end(c, i, status); /* others are slots that lost their worker */
    for (uint32_t i = 0; i < c->n; i++)
        if (c->actors[i].pid != 0 && c->actors[i].told && !c->actors[i].killed && !c->closing &&
            now_ms > c->actors[i].told_ms + c->cfg->end_ms)
            finding(c, "%s did not end within %u ms of SIGTERM", c->actors[i].name, c->cfg->end_ms);
}

bool cast_runs(const struct cast *c, enum role role)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (c->actors[i].role == role && c->actors[i].pid != 0)
            return true;
    return false;
}

uint32_t cast_files(const struct cast *c, uint32_t actor)
{
    char path[64];
    uint32_t n = 0;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%ld/fd", (long)c->actors[actor].pid);
    dir = opendir(path);
    while (dir != NULL && readdir(dir) != NULL)
        n++;
    if (dir != NULL)
        closedir(dir);
    return n;
}

void cast_close(struct cast *c)
{
    pid_t children[64];
    uint32_t n;

    c->closing = true;
    /* Slots whose worker is gone are ours by now. */
    while ((n = children_of(getpid(), children, 64)) > 0) {
        for (uint32_t i = 0; i < n; i++)
            kill(children[i], SIGKILL);
        while (waitpid(-1, NULL, 0) > 0)
            ;
    }
    proxy_close(c->proxy);
    c->proxy = NULL;
}
