"""What runs inside a job: brings back what an earlier attempt left on the Hub, and pushes as it goes on.

    python -m valuecurve.hub.job train --repo owner/name      (the recipe is in VALUECURVE_RECIPE)
    python -m valuecurve.hub.job score --repo owner/name --tag T CHECKPOINT DATASET [as `valuecurve score`]

Checkpoints of a training lie in the branch `checkpoints` of the model's repository until the model itself is
pushed; scores in values/T of a dataset repository. Any machine can run this: a job is only the usual one.
"""

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from valuecurve.hub.models import push_model
from valuecurve.hub.upload import HubError, Target, folder_files, hub_errors, print_pushed, push_files

RECIPE = "VALUECURVE_RECIPE"  # environment variable: the recipe's YAML
BRANCH = "checkpoints"
EVERY = 60.0  # seconds between two looks at what is new
LEFT_OUT = ("training_args.bin",)  # a pickle that nobody reads
logger = logging.getLogger(__name__)


def train(repo: str, recipe: str, folder: Path, private: bool = True, every: float = EVERY) -> int:
    """Train by a recipe, from the last checkpoint on the Hub if there is one; push checkpoints and the model.

    Args:
        recipe: YAML.
        folder: of the run; relative, so that nothing pushed names a place.
        every: seconds between two looks for a new checkpoint.

    Returns:
        The exit status of the training; when it is 0, the model is on the Hub and the branch is gone.
    """
    from valuecurve.training.trainer import last_checkpoint

    kept = Target(repo, private=private, revision=BRANCH)
    _restore_checkpoints(kept, folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder.with_name(f"{folder.name}.yaml")
    path.write_text(recipe, encoding="utf-8")
    command = ["valuecurve.training", "--config", str(path), "--training.output_dir", str(folder)]
    if last_checkpoint(folder):
        print(f"going on from {last_checkpoint(folder)}", flush=True)
        command.append("--resume")
    with _pushing(lambda: _push_checkpoints(kept, folder), every):
        code = _launch(command)
    if code:
        return code
    target = Target(repo, private=private)
    print_pushed(push_model(folder, target), target)
    with hub_errors(kept):
        HfApi().delete_branch(repo, branch=BRANCH)
    return 0


def score(
    repo: str, tag: str, arguments: list[str], values: Path, private: bool = True, every: float = EVERY
) -> int:
    """`valuecurve score`, its parts brought back from and pushed to values/TAG of a dataset repository."""
    target = Target(repo, "dataset", private=private)
    with hub_errors(target):
        if HfApi().repo_exists(repo, repo_type="dataset"):
            wanted = f"values/{tag}/*"
            snapshot_download(repo, repo_type="dataset", allow_patterns=wanted, local_dir=values.parent)
    command = ["valuecurve.scoring", *arguments, "--tag", tag, "--values", str(values)]

    def push() -> None:
        files = folder_files(values / tag, f"values/{tag}/")
        files = {name: path for name, path in files.items() if not name.endswith(".lock")}
        if files:
            push_files(target, files, f"Scores {tag}", show=_quiet)

    with _pushing(push, every):
        code = _launch(command)
    if not code:
        print(f"{target.page} holds the scores under values/{tag}")
    return code


def _launch(arguments: list[str]) -> int:
    """A module of ours in as many processes as there are accelerators."""
    import torch

    count = torch.accelerator.device_count() if torch.accelerator.is_available() else 1
    several = ["--multi_gpu"] if count > 1 else []
    launcher = ["-m", "accelerate.commands.launch", "--num_processes", str(count), *several]
    launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    return subprocess.run([sys.executable, *launcher, "-m", *arguments]).returncode


@contextmanager
def _pushing(push: Callable[[], None], every: float) -> Iterator[None]:
    """Inside, what is new is pushed every so many seconds, and once more at the end. A push that fails is
    tried again the next time: it never ends the work."""
    done = threading.Event()

    def attempt() -> None:
        try:
            push()
        except (HubError, HfHubHTTPError, OSError) as error:
            logger.warning("not pushed this time: %s", error)

    def loop() -> None:
        while not done.wait(every):
            attempt()

    thread = threading.Thread(target=loop, name="push", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        attempt()


def _restore_checkpoints(kept: Target, folder: Path) -> None:
    """What an earlier attempt has pushed, into the folder of the run."""
    api = HfApi()
    with hub_errors(kept):
        if not api.repo_exists(kept.repo):
            return
        branches = [branch.name for branch in api.list_repo_refs(kept.repo).branches]
        if BRANCH in branches:
            wanted = ["checkpoint-*/*", "config.yaml", "split.json"]
            snapshot_download(kept.repo, revision=BRANCH, allow_patterns=wanted, local_dir=folder)


def _push_checkpoints(kept: Target, folder: Path) -> None:
    """All complete checkpoints (the last and the best), and what a run needs beside them to go on."""
    from valuecurve.training.trainer import STATE_FILE

    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        held = Path(place)
        for checkpoint in sorted(folder.glob("checkpoint-*")):
            if (checkpoint / STATE_FILE).is_file():
                _hold(checkpoint, held / checkpoint.name)
        files = folder_files(held)
        if not files:
            return
        files |= {name: folder / name for name in ("config.yaml", "split.json")}
        names = ", ".join(sorted({path.split("/")[0] for path in files if "/" in path}))
        pushed = push_files(
            kept, files, names, delete=lambda path: path.startswith("checkpoint-"), show=_quiet
        )
    if pushed is not None and pushed.changed:
        print(f"pushed {names}", flush=True)
        HfApi().super_squash_history(kept.repo, branch=BRANCH, commit_message=names)  # old ones take no room


def _hold(checkpoint: Path, place: Path) -> None:
    """Links to a checkpoint's files, which the run may remove while they are sent."""
    place.mkdir()
    for path in checkpoint.iterdir():
        if path.is_file() and path.name not in LEFT_OUT:
            try:
                os.link(path, place / path.name)
            except FileNotFoundError:  # it is being removed: the next look finds another
                for held in place.iterdir():
                    held.unlink()
                place.rmdir()
                return


def _quiet(text: str) -> None:
    """Lists of files are for people who push by hand."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="valuecurve.hub.job", description="What runs inside a job.")
    parser.add_argument("what", choices=("train", "score"))
    parser.add_argument("--repo", required=True)
    parser.add_argument("--tag", default="scores")
    parser.add_argument("--public", action="store_true")
    parser.add_argument("--every", type=float, default=EVERY)
    options, rest = parser.parse_known_args(argv)
    private = not options.public
    try:
        if options.what == "train":
            return train(options.repo, os.environ[RECIPE], Path("run"), private, options.every)
        return score(options.repo, options.tag, rest, Path("values"), private, options.every)
    except HubError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
