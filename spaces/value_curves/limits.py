"""What a visitor may send, and the one kind of error that a visitor is shown. Standard library only.

Every limit can be set by an environment variable; the defaults suit the free CPU of a Space.
"""

import os
from dataclasses import dataclass, field


class VisitorError(Exception):
    """Something that a visitor can put right: plain text that says what was seen and what to do."""


LEFT = "Nobody waits for this curve any more: ask again."  # for a visitor who has left, so read by nobody


def _number(name: str, default: float):
    return field(default_factory=lambda: float(os.environ.get(f"VALUECURVE_{name}", default)))


@dataclass(frozen=True)
class Limits:
    """Sizes in megabytes (10^6 bytes), times in seconds."""

    upload_mb: float = _number("MAX_UPLOAD_MB", 200)  # all files of one upload
    uploads_mb: float = _number("MAX_UPLOADS_MB", 4000)  # of everybody together; the oldest go first
    unpacked_mb: float = _number("MAX_UNPACKED_MB", 600)  # of a zip, together
    unpacked_files: float = _number("MAX_UNPACKED_FILES", 2000)
    frames: float = _number("MAX_FRAMES", 3000)  # of an episode: 5 minutes at 10 frames a second
    seconds: float = _number("MAX_SECONDS", 1200)  # of an episode
    pixels: float = _number("MAX_PIXELS", 1920 * 1088)  # of a frame
    cameras: float = _number("MAX_CAMERAS", 6)
    state_mb: float = _number("MAX_STATE_MB", 20)
    task_letters: float = _number("MAX_TASK_LETTERS", 300)
    decode_seconds: float = _number("MAX_DECODE_SECONDS", 300)  # of the process that decodes
    decode_memory_mb: float = _number("MAX_DECODE_MEMORY_MB", 3000)  # of addresses, much of it never used
    visitors: float = _number("MAX_QUEUE", 64)  # who may wait in line
    keep_seconds: float = _number("KEEP_SECONDS", 3600)  # uploads and results


def clean_task(text: str | None, limits: Limits) -> str:
    """A task as one line of printable text.

    Raises:
        VisitorError: empty, or longer than a task is.
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text or "").split())
    if not line:
        raise VisitorError(
            "The task is missing: write what the robot should do, for example “open the drawer”."
        )
    if len(line) > limits.task_letters:
        raise VisitorError(
            f"The task has {len(line)} letters, and at most {limits.task_letters:.0f} are read: say it in "
            "one "
            "short sentence."
        )
    return line
