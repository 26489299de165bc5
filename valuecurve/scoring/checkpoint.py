"""A checkpoint to score with: loaded, and identified by what its weights are."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, StrictDataclassError
from safetensors import SafetensorError

from .. import ValueModel, ValueProcessor
from ..training import ConfigError
from ..training.build import check_value_checkpoint
from ..training.config import one_line

NEEDED = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]  # no pickles, no pictures, no code


@dataclass
class Checkpoint:
    """A value model in float32 and its processor. `name`: a model of the Hub, or the end of a path."""

    model: ValueModel
    processor: ValueProcessor
    name: str
    revision: str | None  # commit of a model of the Hub
    weights: str  # sha256 over the safetensors files


def load_checkpoint(place: str, revision: str | None = None) -> Checkpoint:
    """Loads a folder or a model of the Hub.

    Raises:
        ConfigError: there is none, it is not a value checkpoint, or it cannot be loaded.
    """
    folder, name = Path(place), place
    if folder.is_dir():
        if revision is not None:
            raise ConfigError(f"--revision is for models of the Hub, and {place} is a folder: leave it out.")
        if not (folder / "config.json").is_file():
            raise ConfigError(f"{place} is no checkpoint: it has no config.json.")
        name = "/".join(folder.resolve().parts[-2:])
    elif not re.fullmatch(r"[\w.-]+/[\w.-]+", place):
        raise ConfigError(f"there is no checkpoint at {place}: name a folder, or a model of the Hub.")
    try:
        if not folder.is_dir():
            folder = Path(snapshot_download(place, revision=revision, allow_patterns=NEEDED))
            revision = folder.name
        check_value_checkpoint(str(folder))
        loaded: Any = ValueModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
        model, report = loaded
        if report["missing_keys"]:
            raise ValueError(f"it lacks weights: {', '.join(sorted(report['missing_keys'])[:5])}")
        processor = ValueProcessor.from_pretrained(folder)
    except (
        OSError,
        ValueError,
        RuntimeError,
        StrictDataclassError,
        SafetensorError,
        HfHubHTTPError,
    ) as error:
        raise ConfigError(f"the checkpoint {place} cannot be loaded: {one_line(error)}") from error
    return Checkpoint(model.eval(), processor, name, revision, weights_digest(folder))


def weights_digest(folder: Path) -> str:
    """sha256 over the names and contents of the safetensors files of a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
