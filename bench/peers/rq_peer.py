"""RQ: rq_peer.py worker|simple-worker|submit|run PORT A B (run: A tasks, B round trips)."""

import sys

import produce


def noop(payload):
    return produce.RESULT


def main():
    import redis
    import rq
    from rq.results import Result

    role, port, a, b = sys.argv[1], *map(int, sys.argv[2:5])
    connection = redis.Redis(host="127.0.0.1", port=port)
    queue = rq.Queue("default", connection=connection)

    def submit_some(count):
        return queue.enqueue_many(
            [rq.Queue.prepare_data("rq_peer.noop", (produce.PAYLOAD,)) for _ in range(count)]
        )

    def submit_all(count):
        jobs = []
        while len(jobs) < count:
            jobs += submit_some(min(100, count - len(jobs)))
        return jobs

    def wait(job):
        """Its result comes in a stream of its own: whoever reads there need not ask again and again."""
        answer = connection.xread({Result.get_key(job.id): "0"}, count=1, block=60000)
        ((_, ((number, fields),)),) = answer
        return Result.restore(job.id, number.decode(), fields, connection).return_value

    def collect_all(jobs):
        return [wait(job) for job in jobs]

    def trip():
        return wait(queue.enqueue("rq_peer.noop", produce.PAYLOAD))

    if role == "submit":
        produce.submit(submit_all, a)
    elif role == "run":
        produce.run(submit_all, collect_all, trip, a, b)
    else:
        kind = rq.Worker if role == "worker" else rq.SimpleWorker
        worker = kind([queue], connection=connection)
        produce.tell(worker=1)
        worker.work(logging_level="ERROR")


if __name__ == "__main__":
    main()
