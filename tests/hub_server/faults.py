"""Faults on purpose: connections that are cut, answers that get lost, refusals, slowness."""

import re
import threading
from dataclasses import dataclass
from typing import Literal

Kind = Literal["cut_upload", "cut_download", "lose_answer", "refuse"]


@dataclass
class Fault:
    """One fault: it lets `skip` requests that fit pass, then strikes `times` times.

    `after` counts the bytes of the body that still pass; `status` is what a refusal answers.
    """

    kind: Kind
    method: str
    path: str
    skip: int = 0
    times: int = 1
    after: int = 0
    status: int = 500
    message: str = "Internal error"
    struck: int = 0


class Faults:
    """The faults of one server. `path` is a regular expression that is searched in the request's path.

    full_disk: uploads answer 507 from now on; slow: seconds that every request waits first.
    """

    def __init__(self) -> None:
        self.full_disk = False
        self.slow = 0.0
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def cut_upload(self, path: str = "^/lfs/", nth: int = 1, after: int = 0, times: int = 1) -> Fault:
        """Close the connection once `after` bytes of the n-th upload have come in; nothing is stored."""
        return self._add(Fault("cut_upload", "PUT|POST", path, nth - 1, times, after))

    def cut_download(self, path: str = "/resolve/", nth: int = 1, after: int = 0, times: int = 1) -> Fault:
        """Close the connection once `after` bytes of the n-th download have gone out."""
        return self._add(Fault("cut_download", "GET", path, nth - 1, times, after))

    def lose_answer(self, path: str = "/commit/", nth: int = 1, times: int = 1) -> Fault:
        """Do what is asked, then close the connection without an answer."""
        return self._add(Fault("lose_answer", "GET|PUT|POST|DELETE", path, nth - 1, times))

    def refuse(
        self, path: str, status: int = 500, message: str = "Internal error", nth: int = 1, times: int = 1
    ) -> Fault:
        """Answer the n-th request that fits with an error."""
        methods = "GET|HEAD|PUT|POST|DELETE"
        return self._add(Fault("refuse", methods, path, nth - 1, times, status=status, message=message))

    def clear(self) -> None:
        """A healthy server again."""
        with self._lock:
            self._faults.clear()
            self.full_disk, self.slow = False, 0.0

    def strike(self, method: str, path: str) -> Fault | None:
        """The fault that strikes this request, if any; called once for each request."""
        with self._lock:
            for fault in self._faults:
                if not re.fullmatch(fault.method, method) or not re.search(fault.path, path):
                    continue
                if fault.skip:
                    fault.skip -= 1
                elif fault.struck < fault.times:
                    fault.struck += 1
                    return fault
        return None

    def _add(self, fault: Fault) -> Fault:
        with self._lock:
            self._faults.append(fault)
        return fault
