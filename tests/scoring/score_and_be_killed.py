"""Runs `valuecurve score` in forked processes and kills them by SIGKILL at random moments:

    python score_and_be_killed.py CHECKPOINT DATASET FOLDER KILLS

A fork has torch loaded already: a moment then lies within the work, not within seconds of imports. The first
run is left alone, in FOLDER/0, and timed; the others are killed within that time. What was killed is
continued until it ends by itself, and then the next begins, in FOLDER/1, … The last one may end. Prints how
many ended.
"""

import os
import random
import signal
import sys
import time


def run(checkpoint: str, dataset: str, values: str) -> int:
    from valuecurve.cli import app

    more = ["--part-frames", "6", "--batch-size", "4", "--threads", "2", "--distribution"]
    try:
        app(["score", checkpoint, dataset, "--tag", "t", "--values", values, *more], standalone_mode=False)
    except SystemExit as error:
        return int(error.code or 0)
    return 0


def fork(checkpoint: str, dataset: str, values: str, kill_after: float | None) -> bool:
    """Whether it was killed."""
    child = os.fork()
    if child == 0:
        os._exit(run(checkpoint, dataset, values))
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or status == 0, status
    return os.WIFSIGNALED(status)


def main(checkpoint: str, dataset: str, folder: str, kills: str) -> None:
    import valuecurve.scoring.run  # noqa: F401  (loads everything; starts no thread)

    begin, moments = time.monotonic(), random.Random(0)
    fork(checkpoint, dataset, f"{folder}/0", None)
    seconds = time.monotonic() - begin
    number = 1
    for _ in range(int(kills)):
        while not fork(checkpoint, dataset, f"{folder}/{number}", moments.uniform(0, seconds)):
            number += 1
    fork(checkpoint, dataset, f"{folder}/{number}", None)
    print(number + 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
