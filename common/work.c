#include "work.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct queue { /* a ring that grows by doubling */
    struct work_item *at;
    size_t room;
    size_t first;
    size_t n;
};

struct work {
    pthread_mutex_t mutex;
    pthread_cond_t is_work;
    pthread_t thread;
    bool running; /* there is a thread to join */
    bool stopping;
    struct queue todo;
    struct queue done; /* has room for every item that was pushed and not popped */
    size_t pending;
    int fd; /* eventfd, readable while `done` has items */
    work_run *run;
    void *arg;
    struct work_item *group;
    size_t group_max;
    char name[16];
};

static void queue_put(struct queue *q, struct work_item item)
{
    assert(q->n < q->room);
    q->at[(q->first + q->n) % q->room] = item;
    q->n++;
}

static struct work_item queue_take(struct queue *q)
{
    struct work_item item;

    assert(q->n > 0);
    assert(q->room > 0);
    item = q->at[q->first];
    q->first = (q->first + 1) % q->room;
    q->n--;
    return item;
}

static bool queue_reserve(struct queue *q, size_t n)
{
    size_t room = q->room == 0 ? 16 : 2 * q->room;
    struct queue larger = {.room = room};

    if (n <= q->room)
        return true;
    larger.at = calloc(room, sizeof *larger.at);
    if (larger.at == NULL)
        return false;
    while (q->n > 0)
        queue_put(&larger, queue_take(q));
    free(q->at);
    *q = larger;
    return true;
}

/* With the mutex held: waits for items and takes up to group_max; 0: it is time to end. */
static size_t take_group(struct work *w)
{
    size_t n = 0;

    while (w->todo.n == 0 && !w->stopping)
        pthread_cond_wait(&w->is_work, &w->mutex);
    while (w->todo.n > 0 && n < w->group_max)
        w->group[n++] = queue_take(&w->todo);
    return n;
}

static void *work_thread(void *arg)
{
    struct work *w = arg;
    size_t n;

    pthread_mutex_lock(&w->mutex);
    while ((n = take_group(w)) > 0) {
        bool tell;

        pthread_mutex_unlock(&w->mutex);
        w->run(w->arg, w->group, n);
        pthread_mutex_lock(&w->mutex);
        tell = w->done.n == 0;
        for (size_t i = 0; i < n; i++)
            queue_put(&w->done, w->group[i]);
        if (tell)
            eventfd_write(w->fd, 1);
    }
    pthread_mutex_unlock(&w->mutex);
    w->run(w->arg, w->group, 0);
    return NULL;
}

dtq_err work_start(const char *name, work_run *run, void *arg, size_t group_max,
                   struct work **ret_work)
{
    struct work *w = calloc(1, sizeof *w);
    int code;

    assert(group_max > 0);
    if (w == NULL)
        return DTQ_ENOMEM;
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->is_work, NULL);
    w->run = run;
    w->arg = arg;
    w->group_max = group_max;
    w->group = calloc(group_max, sizeof *w->group);
    w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    code = w->group == NULL || w->fd < 0 ? -1 : pthread_create(&w->thread, NULL, work_thread, w);
    if (code != 0) {
        dtq_err err = w->group == NULL ? DTQ_ENOMEM : DTQ_EIO;

        work_free(w);
        return err;
    }
    w->running = true;
    snprintf(w->name, sizeof w->name, "%s", name);
    pthread_setname_np(w->thread, w->name);
    *ret_work = w;
    return DTQ_OK;
}

dtq_err work_push(struct work *w, struct work_item item)
{
    dtq_err err = DTQ_ENOMEM;

    pthread_mutex_lock(&w->mutex);
    assert(!w->stopping);
    /* Room for the answer too: the thread must always be able to give it. */
    if (queue_reserve(&w->todo, w->todo.n + 1) && queue_reserve(&w->done, w->pending + 1)) {
        queue_put(&w->todo, item);
        w->pending++;
        pthread_cond_signal(&w->is_work);
        err = DTQ_OK;
    }
    pthread_mutex_unlock(&w->mutex);
    return err;
}

int work_fd(const struct work *w)
{
    return w->fd;
}

bool work_pop(struct work *w, struct work_item *ret_item)
{
    bool any;

    pthread_mutex_lock(&w->mutex);
    any = w->done.n > 0;
    if (any) {
        *ret_item = queue_take(&w->done);
        w->pending--;
    }
    if (any && w->done.n == 0) {
        eventfd_t count;

        eventfd_read(w->fd, &count);
    }
    pthread_mutex_unlock(&w->mutex);
    return any;
}

size_t work_pending(const struct work *w)
{
    return w->pending; /* only the owner's thread changes it */
}

void work_stop(struct work *w)
{
    if (!w->running)
        return;
    pthread_mutex_lock(&w->mutex);
    w->stopping = true;
    pthread_cond_signal(&w->is_work);
    pthread_mutex_unlock(&w->mutex);
    pthread_join(w->thread, NULL);
    w->running = false;
}

void work_free(struct work *w)
{
    if (w == NULL)
        return;
    assert(!w->running);
    if (w->fd >= 0)
        close(w->fd);
    pthread_cond_destroy(&w->is_work);
    pthread_mutex_destroy(&w->mutex);
    free(w->todo.at);
    free(w->done.at);
    free(w->group);
    free(w);
}
