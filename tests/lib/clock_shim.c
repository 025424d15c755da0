/* By LD_PRELOAD: a monotonic clock that runs thirty times as fast, for what waits half a minute. */
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define TIMES 30
#define NS_PER_S 1000000000ll

int clock_gettime(clockid_t clock, struct timespec *at)
{
    int rc = (int)syscall(SYS_clock_gettime, clock, at);
    int64_t ns;

    if (rc != 0 || clock != CLOCK_MONOTONIC)
        return rc;
    ns = ((int64_t)at->tv_sec * NS_PER_S + at->tv_nsec) * TIMES;
    at->tv_sec = (time_t)(ns / NS_PER_S);
    at->tv_nsec = (long)(ns % NS_PER_S);
    return 0;
}
