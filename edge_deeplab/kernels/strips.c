#define _POSIX_C_SOURCE 200809L
#include "strips.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

enum { MOST_HELPERS = 7 };
/* To wake a sleeper takes about 40 us (measured on an EPYC under KVM). So a helper stays awake for the next share of
 * the same call, and whoever waits for the last few rows looks out for them, this long before they sleep. */
enum { HELPER_AWAKE_NS = 20000, CALLER_AWAKE_NS = 60000 };

typedef struct {
    strip_work work;
    void *job;
    int rows, step;
    atomic_int next;
} Share;

/* The helpers live as long as the process and hold nothing of Python's. A forked child has none and starts its own. */
static struct {
    pthread_mutex_t in_use;  /* one caller at a time */
    pthread_mutex_t lock;    /* over all that follows */
    pthread_cond_t wake, done;
    Share *share;            /* what there is to do; NULL: nothing any more */
    atomic_ulong turn;       /* counts shares, so that nobody takes one twice */
    int open;                /* how many helpers may still join */
    atomic_int working;      /* helpers that have joined and not finished */
    int started;
    pid_t owner;
} pool = {.in_use = PTHREAD_MUTEX_INITIALIZER,
          .lock = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER,
          .done = PTHREAD_COND_INITIALIZER};

static long long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void pause_a_little(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static void take_part(Share *share)
{
    for (;;) {
        int top = atomic_fetch_add(&share->next, share->step);
        if (top >= share->rows)
            return;
        int bottom = share->rows - top < share->step ? share->rows : top + share->step;
        share->work(share->job, top, bottom);
    }
}

static void *help(void *unused)
{
    unsigned long seen = 0;
    (void)unused;
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        while (!pool.share || !pool.open || pool.turn == seen)
            pthread_cond_wait(&pool.wake, &pool.lock);
        Share *share = pool.share;
        seen = pool.turn;
        pool.open--;
        atomic_fetch_add(&pool.working, 1);
        pthread_mutex_unlock(&pool.lock);
        take_part(share);
        pthread_mutex_lock(&pool.lock);
        if (atomic_fetch_sub(&pool.working, 1) == 1)
            pthread_cond_signal(&pool.done);
        pthread_mutex_unlock(&pool.lock);
        for (long long end = now_ns() + HELPER_AWAKE_NS; atomic_load(&pool.turn) == seen && now_ns() < end;)
            pause_a_little();
        pthread_mutex_lock(&pool.lock);
    }
    return NULL;
}

/* Starts helpers until there are `wanted`, or the system gives no more. Signals stay with Python's threads. */
static void start_helpers(int wanted)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool.started < wanted) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, help, NULL))
            break;
        pthread_detach(thread);
        pool.started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void after_fork(void)
{
    pthread_mutex_init(&pool.in_use, NULL);
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.wake, NULL);
    pthread_cond_init(&pool.done, NULL);
    pool.share = NULL;
    pool.started = pool.open = 0;
    atomic_store(&pool.working, 0);
}

void in_strips(strip_work work, void *job, int rows, int step, int threads)
{
    Share share = {.work = work, .job = job, .rows = rows, .step = step < 1 ? 1 : step};
    int helpers = (rows - 1) / share.step;
    if (helpers > threads - 1)
        helpers = threads - 1;
    if (helpers > MOST_HELPERS)
        helpers = MOST_HELPERS;
    if (helpers < 1 || pthread_mutex_trylock(&pool.in_use)) {
        take_part(&share);
        return;
    }
    pthread_mutex_lock(&pool.lock);
    if (pool.owner != getpid()) {
        if (!pool.owner)
            pthread_atfork(NULL, NULL, after_fork);
        pool.owner = getpid();
    }
    start_helpers(helpers);
    pool.share = &share;
    atomic_fetch_add(&pool.turn, 1);
    pool.open = helpers;
    if (helpers == 1)
        pthread_cond_signal(&pool.wake);
    else
        pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);

    take_part(&share);

    pthread_mutex_lock(&pool.lock);
    pool.share = NULL; /* who has not come by now need not */
    pthread_mutex_unlock(&pool.lock);
    for (long long end = now_ns() + CALLER_AWAKE_NS; atomic_load(&pool.working) && now_ns() < end;)
        pause_a_little();
    pthread_mutex_lock(&pool.lock);
    while (atomic_load(&pool.working))
        pthread_cond_wait(&pool.done, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
    pthread_mutex_unlock(&pool.in_use);
}
