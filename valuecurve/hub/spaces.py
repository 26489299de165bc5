"""The Space and the metric to the Hub: their folders, links followed, with what they need to run there.

In a clone of the repository the folders are spaces/value_curves and metrics/value_metrics; an installed
package carries copies of both.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from huggingface_hub import HfApi

from valuecurve.hub.upload import HubError, Pushed, Target, folder_files, hub_errors, push_files

PACKAGE = Path(__file__).parent.parent
SHIPPED = "shipped"  # folder of the package that an installation has; see pyproject.toml
VARIABLE = "VALUECURVE_CHECKPOINTS"  # of the Space: "name=org/model, other=org/model@revision"


def folder_of(name: str) -> Path:
    """A folder of the repository that is no part of the package, such as "spaces/value_curves".

    Raises:
        HubError: neither a clone nor the installed package has it.
    """
    places = (PACKAGE.parent / name, PACKAGE / SHIPPED / name)
    for place in places:
        if (place / "app.py").is_file():
            return place
    raise HubError(f"this installation has no {name}: install a wheel of valuecurve, or run this in a clone")


def space_files() -> dict[str, Path]:
    """The Space: its folder, and the package beside its app, which is not on PyPI for every commit."""
    package = {
        path: file
        for path, file in folder_files(PACKAGE, "valuecurve/").items()
        if not path.startswith(f"valuecurve/{SHIPPED}/")
    }
    return folder_files(folder_of("spaces/value_curves")) | package


def push_space(
    target: Target,
    checkpoints: Sequence[str] = (),
    *,
    dry_run: bool = False,
    show: Callable[[str], object] = print,
) -> Pushed | None:
    """Push the Space, and set which checkpoints its visitors can choose.

    Args:
        checkpoints: "org/model", "name=org/model" or "name=org/model@revision"; none leaves the variable.

    Raises:
        HubError: a checkpoint that is not on the Hub; and as `push_files`.
    """
    value = ", ".join(_checked(checkpoint) for checkpoint in checkpoints)
    files = space_files()
    pushed = push_files(
        target,
        files,
        "The value curves Space",
        delete=lambda path: path.endswith(".py") or path.startswith("valuecurve/"),
        dry_run=dry_run,
        show=show,
        space_sdk="gradio",
    )
    if value:
        show(f"{VARIABLE} = {value}")
    if pushed is not None:
        _set_variable(target, value, show)
    return pushed


def _set_variable(target: Target, value: str, show: Callable[[str], object]) -> None:
    api = HfApi(token=target.token)
    with hub_errors(target):
        now = api.get_space_variables(target.repo).get(VARIABLE)
        if value and (now is None or now.value != value):
            api.add_space_variable(target.repo, VARIABLE, value, description="Checkpoints to choose from")
    if now is None and not value:
        show(f"the Space starts once it has a checkpoint: --checkpoint org/model sets its {VARIABLE}")


def _checked(checkpoint: str) -> str:
    """A checkpoint as the Space's variable lists it; folders of this machine are none."""
    name, _, place = checkpoint.rpartition("=")
    repo = place.partition("@")[0]
    if repo.count("/") != 1 or Path(repo).exists() or not all(repo.split("/")):
        raise HubError(
            f"the Space cannot reach {place!r}: name a model of the Hub, as org/model or "
            "name=org/model@revision (valuecurve push model puts one there)"
        )
    return f"{name or repo.split('/')[1]}={place}"


def push_metric(
    target: Target, *, dry_run: bool = False, show: Callable[[str], object] = print
) -> Pushed | None:
    """Push the metric, as a Space, which is where `evaluate.load` looks for it. Raises as `push_files`."""
    files = folder_files(folder_of("metrics/value_metrics"))
    repo = target.repo.split("/")[-1]
    if repo != "value_metrics":
        raise HubError(
            f"{target.repo}: evaluate.load looks for {repo}.py in a repository of that name, and this metric "
            "is value_metrics.py: push it to owner/value_metrics"
        )
    return push_files(
        target,
        files,
        "The value metrics",
        delete=lambda path: path.endswith(".py"),
        dry_run=dry_run,
        show=show,
        space_sdk="gradio",
    )
