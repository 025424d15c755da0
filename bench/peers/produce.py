"""What the producers of Celery and RQ have in common: what is timed, and the line that tells it."""

import sys
import time

PAYLOAD = "x" * 128
RESULT = "y" * 16
WARM_TRIPS = 20


def quantile(values, q):
    values = sorted(values)
    return values[int(q * (len(values) - 1) + 0.5)]


def tell(**values):
    print("ready", *(f"{key}={value}" for key, value in values.items()), flush=True)


def check(results, count):
    if len(results) != count or any(result != RESULT for result in results):
        sys.exit(f"{len(results)} results of {count}, or wrong ones")


def submit(submit_all, count):
    """Confirmed submission of `count` tasks; nobody takes them."""
    begin = time.perf_counter()
    submit_all(count)
    tell(seconds=time.perf_counter() - begin)


def run(submit_all, collect_all, trip, count, trips):
    """`count` tasks with all their results, then `trips` single ones."""
    warm = count // 10 + 1
    check(collect_all(submit_all(warm)), warm)
    begin = time.perf_counter()
    results = collect_all(submit_all(count))
    seconds = time.perf_counter() - begin
    check(results, count)
    times = []
    for number in range(WARM_TRIPS + trips):
        begin = time.perf_counter()
        result = trip()
        if number >= WARM_TRIPS:
            times.append((time.perf_counter() - begin) * 1e6)
        check([result], 1)
    tell(seconds=seconds, p50=quantile(times, 0.5), p99=quantile(times, 0.99))
