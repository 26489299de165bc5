"""The same commands on Hugging Face Jobs: a job is described, shown, and submitted.

The container installs valuecurve from `source` with uv and runs `valuecurve.hub.job`, which keeps its
progress on the Hub; a job that dies is started again (`attempts`) and goes on from there.
"""

import difflib
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from huggingface_hub import HfApi, get_token
from huggingface_hub._jobs_api import JobHardware

from valuecurve import __version__
from valuecurve.hub import trust
from valuecurve.hub.upload import HubError, Target, hub_errors

IMAGE = "ghcr.io/astral-sh/uv:python3.12-bookworm"  # what huggingface_hub runs uv jobs in
RECIPE = "VALUECURVE_RECIPE"
SOURCE = f"valuecurve=={__version__}"
TOKEN = "HF_TOKEN"


@dataclass
class JobSettings:
    """Where and how a job runs."""

    flavor: str = "a10g-small"
    timeout: str = "12h"
    attempts: int = 3  # runs in all: one that died goes on from what it left on the Hub
    source: str = SOURCE  # what pip installs: a release, or "valuecurve @ git+https://…"
    secrets: Sequence[str] = ()  # names of environment variables here, whose values the job gets
    namespace: str | None = None  # who pays; default: the user
    public: bool = False  # whether what the job pushes is


@dataclass
class Job:
    """A job as it will be submitted. The values of secrets are read at the last moment, and never shown."""

    command: list[str]
    settings: JobSettings
    env: dict[str, str] = field(default_factory=dict)
    image: str = IMAGE


def train_job(recipe: str | Path, repo: str, settings: JobSettings, overrides: Sequence[str] = ()) -> Job:
    """A training: checkpoints go to the branch `checkpoints` of `repo`, the model at last to `repo`.

    Raises:
        ConfigError: the recipe is none.
        HubError: it names data or weights that only this machine has.
    """
    from valuecurve.training.config import load_config, read_recipe

    # mistakes are better found here than in the job, whatever hardware is here
    load_config(recipe, [*overrides, "--training.use_cpu", "true"])
    written = read_recipe(recipe, list(overrides))
    (written.get("training") or {}).pop("output_dir", None)
    _check_places(written)
    text = yaml.safe_dump(written, sort_keys=False, allow_unicode=True)
    if found := list(trust.find_leaks(str(recipe), text, repo)):
        raise HubError(f"the job would be given what belongs to this machine: {found[0]}")
    return Job(_command(settings, "train", repo), settings, {RECIPE: text})


def score_job(
    checkpoint: str, dataset: str, tag: str, repo: str, settings: JobSettings, options: Sequence[str] = ()
) -> Job:
    """A scoring: values/`tag` of the dataset repository `repo`, pushed part by part.

    Raises:
        HubError: checkpoint or dataset is a folder of this machine.
    """
    for what, place, push in (("checkpoint", checkpoint, "push model"), ("dataset", dataset, "push dataset")):
        _on_the_hub(what, place, push)
    job = Job(_command(settings, "score", repo, "--tag", tag, checkpoint, dataset, *options), settings)
    if found := list(trust.find_leaks("the command", shlex.join(job.command), repo)):
        raise HubError(f"the job would be given what belongs to this machine: {found[0]}")
    return job


def _command(settings: JobSettings, what: str, repo: str, *arguments: str) -> list[str]:
    public = ["--public"] if settings.public else []
    program = ["python", "-m", "valuecurve.hub.job", what, "--repo", repo, *public, *arguments]
    return ["uv", "run", "--with", settings.source, *program]


def _check_places(recipe: dict) -> None:
    """Raises HubError when a recipe names folders, which a job does not have."""
    data, model = recipe.get("data") or {}, recipe.get("model") or {}
    parts = list(data.get("mixture") or []) or [data]
    for part in parts:
        _on_the_hub("data.dataset", part.get("dataset") or "", "push dataset")
    for section, keys in ((data, ("questions",)), (model, ("base", "vision", "text", "tokenizer"))):
        for key in keys:
            if section.get(key):
                _on_the_hub(key, section[key], "push model")


def _on_the_hub(what: str, place: str, push: str) -> None:
    name = place.partition("@")[0]
    if not name:
        raise HubError(f"{what} is not given: name one of the Hub, owner/name")
    if name.count("/") != 1 or Path(name).exists() or not all(name.split("/")):
        raise HubError(
            f"{what} {place}: a job has no folders of this machine. Name one of the Hub, owner/name "
            f"(valuecurve {push} puts one there)"
        )


def description(job: Job) -> str:
    """What will be submitted, as people read it; of secrets only their names."""
    settings = job.settings
    lines = [
        f"image     {job.image}",
        f"flavour   {settings.flavor}",
        f"timeout   {settings.timeout}, {settings.attempts} attempts",
        f"secrets   {', '.join([TOKEN, *settings.secrets])} (values are not shown)",
        f"command   {shlex.join(job.command)}",
    ]
    for name, value in job.env.items():
        lines += [f"{name}", *(f"    {line}" for line in value.splitlines())]
    return "\n".join(lines)


def submit(job: Job, dry_run: bool = False, show: Callable[[str], object] = print) -> str | None:
    """Submit a job, or only show it; the address of its page.

    Raises:
        HubError: a flavour that there is not, a secret without a value, or what the Hub refuses.
    """
    settings = job.settings
    known = [flavor.value for flavor in JobHardware]
    if settings.flavor not in known:
        near = difflib.get_close_matches(settings.flavor, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise HubError(f"--flavor {settings.flavor!r}: {hint}there are {', '.join(known)}")
    missing = [name for name in settings.secrets if not os.environ.get(name)]
    if missing:
        raise HubError(f"--secret {missing[0]}: no environment variable of that name is set here")
    show(description(job))
    if dry_run:
        return None
    token = get_token()
    if token is None:
        raise HubError("there is no token of the Hub here. Log in with `hf auth login`, or set HF_TOKEN")
    secrets = {TOKEN: token} | {name: os.environ[name] for name in settings.secrets}
    target = Target(f"{settings.namespace or 'your'}/jobs")  # for messages
    with hub_errors(target):
        info = HfApi().run_job(
            image=job.image,
            command=job.command,
            env=job.env,
            secrets=secrets,
            flavor=settings.flavor,
            timeout=settings.timeout,
            attempts=settings.attempts if settings.attempts > 1 else None,
            namespace=settings.namespace,
        )
    show(f"{info.url}\nhf jobs logs --follow {info.id}")
    return info.url
