"""Celery: celery_peer.py worker|submit|run PORT A B (worker: A processes; run: A tasks, B round trips)."""

import sys
import warnings

import celery
from celery.platforms import SecurityWarning
from celery.result import ResultSet
from celery.signals import worker_ready

import produce

role, port, a, b = sys.argv[1], *map(int, sys.argv[2:5])

app = celery.Celery(
    "celery_peer",
    broker=f"redis://127.0.0.1:{port}/0",
    backend=f"redis://127.0.0.1:{port}/0",
)
app.conf.worker_prefetch_multiplier = 64  # what its manual advises for short tasks
app.conf.worker_redirect_stdouts = False  # or nobody would see that the worker is ready
warnings.simplefilter("ignore", SecurityWarning)  # of being root, for a minute on loopback


@app.task(name="noop")
def noop(payload):
    return produce.RESULT


@worker_ready.connect
def on_ready(**_):
    produce.tell(worker=1)


def submit_all(count):
    return [noop.delay(produce.PAYLOAD) for _ in range(count)]


def collect_all(results):
    return ResultSet(results).join_native()


def trip():
    return noop.delay(produce.PAYLOAD).get()


if role == "worker":
    app.worker_main(
        ["--quiet", "worker", f"--concurrency={a}", "--pool=prefork", "--loglevel=ERROR"]
        + ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    )
elif role == "submit":
    produce.submit(submit_all, a)
else:
    produce.run(submit_all, collect_all, trip, a, b)
