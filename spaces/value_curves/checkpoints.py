"""The checkpoints that visitors may choose: a list from the environment, each loaded once and shared.

    VALUECURVE_CHECKPOINTS="value-tiny=outputs/demo/model, value-270m=org/value-270m@revision"

A name that is not in the list is refused; what a name stands for, visitors can neither see nor change.
Loading reads safetensors and the package's own classes: no code of a checkpoint is run.
"""

import difflib
import os
import threading

from limits import VisitorError

from valuecurve.scoring.checkpoint import Checkpoint, load_checkpoint

VARIABLE = "VALUECURVE_CHECKPOINTS"


class Checkpoints:
    """Allowed checkpoints by name."""

    def __init__(self, places: dict[str, str]):
        if not places:
            raise SystemExit(
                f'error: {VARIABLE} names no checkpoint: set it as "name=folder or org/model, …"'
            )
        self.places = places
        self._loaded: dict[str, Checkpoint] = {}
        self._lock = threading.Lock()

    @classmethod
    def from_environment(cls) -> "Checkpoints":
        return cls(parse(os.environ.get(VARIABLE, "")))

    @property
    def names(self) -> list[str]:
        return list(self.places)

    def check(self, names: list[str]) -> list[str]:
        """One or two different names of the list; none chosen is the first.

        Raises:
            VisitorError: a name that is not in the list.
        """
        chosen = list(dict.fromkeys(name for name in names if name)) or self.names[:1]
        for name in chosen:
            if name not in self.places:
                near = difflib.get_close_matches(str(name)[:100], self.places, n=1)
                hint = f"Did you mean {near[0]}? " if near else ""
                raise VisitorError(
                    f"There is no model {str(name)[:60]!r} here. {hint}Choose one of: "
                    f"{', '.join(self.places)}."
                )
        return chosen[:2]

    def load(self, name: str) -> Checkpoint:
        """A checkpoint of the list, from memory after the first time."""
        with self._lock:
            if name not in self._loaded:
                place, _, revision = self.places[name].partition("@")
                self._loaded[name] = load_checkpoint(place, revision or None)
            return self._loaded[name]

    def loaded(self, name: str) -> Checkpoint:
        """A checkpoint that has been loaded before."""
        return self._loaded[name]


def parse(text: str) -> dict[str, str]:
    """ "name=place, name=place" as a dictionary; a place alone is named by its last part."""
    places = {}
    for item in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, place = item.partition("=")
        place = place.strip() if equals else name
        places[name.strip() if equals else place.split("@")[0].rstrip("/").split("/")[-1]] = place
    return places
