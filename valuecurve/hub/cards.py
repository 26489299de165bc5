"""Cards (README.md) of repositories: rendered from a template, and put into the one that people have edited.

What we write stands between two comments, so that everything around it stays as people left it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import CardData, RepoCard

from valuecurve.hub.upload import HubError

BEGIN = "<!-- valuecurve:begin -->"
END = "<!-- valuecurve:end -->"
TEMPLATES = Path(__file__).parent
UNITED = ("tags", "datasets")  # lists of the front matter that people may have added to


def render(template: str | Path, data: CardData, **fields: Any) -> str:
    """A card: the template (a file, or the name of one beside this module) with its front matter.

    Fields that are not known may be left out: every template renders without any.
    """
    path = template if isinstance(template, Path) else TEMPLATES / template
    return str(RepoCard.from_template(data, template_path=str(path), **fields))


def merge_card(remote: str | None, ours: str) -> str:
    """The card that is to be pushed, from the one that is there (None: none) and a rendered one.

    Of the one that is there, the part between the two comments is replaced, and those keys of the front
    matter that ours has; lists of tags and datasets are united, and so are the entries of `configs`. Where
    people have taken the comments out, our part comes last.

    Raises:
        HubError: the front matter of the one that is there cannot be read.
    """
    if remote is None or not remote.strip():
        return ours
    theirs_data, theirs = _split(remote)
    ours_data, ours_body = _split(ours)
    section = _section(ours_body) or ours_body.strip()
    if (old := _section(theirs)) is not None:
        body = theirs.replace(old, section, 1)
    else:
        body = f"{theirs.rstrip()}\n\n{section}\n"
    return f"---\n{CardData(**_merged(theirs_data, ours_data)).to_yaml()}\n---\n\n{body}"


def _merged(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(theirs)
    for key, value in ours.items():
        before = theirs.get(key)
        if key in UNITED and isinstance(before, list) and isinstance(value, list):
            merged[key] = before + [item for item in value if item not in before]
        elif key == "configs" and isinstance(before, list):
            new = {item.get("config_name") for item in value}
            merged[key] = [item for item in before if _name(item) not in new] + value
        else:
            merged[key] = value
    return merged


def _name(config: Any) -> Any:
    """The name of an entry of `configs`; people may have written anything."""
    return config.get("config_name") if isinstance(config, Mapping) else None


def _split(card: str) -> tuple[dict[str, Any], str]:
    """Front matter, with `model-index` as YAML has it, and the rest."""
    if not card.startswith("---"):
        return {}, card
    try:
        parsed = RepoCard(card, ignore_metadata_errors=True)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        said = " ".join(str(error).split())[:200]
        raise HubError(
            f"the front matter of README.md on the Hub cannot be read ({said}): correct it there first"
        ) from error
    return parsed.data.to_dict(), parsed.text.lstrip("\n")


def _section(body: str) -> str | None:
    """Our part of a card, with the two comments."""
    begin, end = body.find(BEGIN), body.find(END)
    return body[begin : end + len(END)] if 0 <= begin < end else None
