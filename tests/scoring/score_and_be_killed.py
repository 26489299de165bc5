"""Runs `valuecurve score` again and again in forked processes, and kills each by SIGKILL at a given moment:

    python score_and_be_killed.py CHECKPOINT DATASET VALUES SECONDS…

A fork has torch loaded already: a moment then lies within the work, not within seconds of imports. The last
one is left to finish. Prints how many were killed.
"""

import os
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


def main(checkpoint: str, dataset: str, values: str, *seconds: str) -> None:
    import valuecurve.scoring.run  # noqa: F401  (loads everything; starts no thread)

    killed = 0
    for moment in [*map(float, seconds), None]:
        child = os.fork()
        if child == 0:
            os._exit(run(checkpoint, dataset, values))
        if moment is not None:
            time.sleep(moment)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        assert moment is not None or status == 0, status
    print(killed)


if __name__ == "__main__":
    main(*sys.argv[1:])
