/* By LD_PRELOAD: a signal a thousand times a second, whose handler does nothing, so that any system
 * call that waits or writes may end with EINTR. */
#include <signal.h>
#include <time.h>

static void do_nothing(int signo)
{
    (void)signo;
}

__attribute__((constructor)) static void start_storm(void)
{
    struct sigaction action = {.sa_handler = do_nothing}; /* no SA_RESTART */
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
    struct itimerspec often = {{0, 1000000}, {0, 1000000}};
    timer_t timer;

    sigaction(SIGUSR2, &action, NULL);
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) == 0)
        timer_settime(timer, 0, &often, NULL);
}
