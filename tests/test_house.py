"""The house itself: links, the wheel, rooms, what the Hub files import, and what the README promises."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from huggingface_hub import CardData, RepoCard

import valuecurve

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "valuecurve"
HUB_FILES = ["configuration_value", "pipeline_value", "modeling_value", "processing_value"]
PURE_ROOMS = ["returns", "metrics", "advantages"]
# Left to right (a room imports only rooms to its left; the pure ones import nothing of the package,
# except that the metrics share the support of the returns).
ROOMS = [
    *HUB_FILES,
    *PURE_ROOMS,
    "policy_step",
    "episodes",
    "training",
    "scoring",
    "labels",
    "evaluation",
    "hub",
    "commands",
    "cli",
]
SOURCES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    """The room of a source file: the first part of its path under valuecurve/, without .py.

    A `__main__.py` is a program that starts a command, imported by nothing: it belongs to the cli.
    """
    if path.name == "__main__.py":
        return "cli"
    return room_of_module(path.relative_to(PACKAGE).parts[0].removesuffix(".py"))


def room_of_module(name: str) -> str:
    """The room of a module; the metrics are several flat files, as `evaluate` copies no folders."""
    return "metrics" if name.startswith("metrics_") else name


def imported_rooms(path: Path) -> set[str]:
    """The rooms that a file imports, by absolute or relative imports, wherever they stand in it."""
    here = ("valuecurve", *path.relative_to(PACKAGE).with_suffix("").parts)
    modules = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules += [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(here[: -node.level]) if node.level else []
            stem = base + (node.module.split(".") if node.module else [])
            modules += [[*stem, alias.name] for alias in node.names]
    names = {module[1] for module in modules if module[0] == "valuecurve" and len(module) > 1}
    return {room_of_module(name) for name in names} & set(ROOMS)


@pytest.mark.parametrize("name", HUB_FILES)
def test_a_root_link_leads_to_its_hub_file(name):
    link = ROOT / f"{name}.py"
    assert link.is_symlink()
    assert link.resolve() == PACKAGE / f"{name}.py"
    assert not link.readlink().is_absolute()


def test_every_source_file_belongs_to_a_known_room():
    assert {room_of(path) for path in SOURCES} - {"__init__"} <= set(ROOMS)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_rooms_to_its_left(path):
    room = room_of(path)
    if room == "__init__":
        allowed = set(HUB_FILES)
    elif room in PURE_ROOMS:
        allowed = {"returns"} if room == "metrics" else set()
    else:
        allowed = set(ROOMS[: ROOMS.index(room)])
    assert imported_rooms(path) - {room} <= allowed


@pytest.mark.parametrize("name", HUB_FILES)
def test_a_hub_file_imports_torch_transformers_and_its_neighbours_only(name):
    known = {"torch", "transformers", "numpy"} | set(
        sys.stdlib_module_names
    )  # numpy: transformers needs it too
    source = (PACKAGE / f"{name}.py").read_text()
    # transformers does not ask for what is imported in a try: packages that read videos, datasets, pictures
    optional = {"av", "pyarrow", "PIL"}
    tries = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Try)]
    tried = {node.lineno for part in tries for node in ast.walk(part) if isinstance(node, ast.stmt)}
    for node in ast.walk(ast.parse(source)):
        allowed = known | optional if getattr(node, "lineno", 0) in tried else known
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= allowed
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            assert node.module and node.module.split(".")[0] in allowed
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1 and node.module in HUB_FILES
    # transformers finds the files to ship with a regular expression: this form escapes it, even in docstrings
    assert not re.search(r"^\s*from \. import", source, re.MULTILINE)


def test_looking_at_datasets_loads_neither_torch_nor_transformers():
    code = "import sys, valuecurve.cli; print({'torch', 'transformers'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout == "set()\n"


def test_an_option_of_several_commands_is_spelt_out_once():
    helps = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("typer.Option", "typer.Argument"):
                helps += [ast.literal_eval(word.value) for word in node.keywords if word.arg == "help"]
    assert len(helps) > 80
    assert sorted({text for text in helps if helps.count(text) > 1}) == []  # commands/options.py has those


def test_the_package_lists_its_classes_and_has_no_others():
    assert set(valuecurve.__all__) <= set(dir(valuecurve))
    assert [getattr(valuecurve, name).__name__ for name in valuecurve.__all__] == valuecurve.__all__
    with pytest.raises(AttributeError, match="module 'valuecurve' has no attribute 'ValueNet'"):
        _ = valuecurve.ValueNet


def test_no_file_of_the_package_names_a_place_on_a_machine():
    place = re.compile(r"(?<![\w./:{}])/(?:home|root|work|tmp|Users|mnt|data|opt)/|[A-Z]:\\\\")
    assert [str(path) for path in SOURCES if place.search(path.read_text())] == []


def test_nothing_imports_torchvision_or_lerobot():
    pattern = re.compile(r"^\s*(?:import|from) (?:torchvision|lerobot)\b", re.MULTILINE)
    folders = [PACKAGE, ROOT / "trainer", ROOT / "examples"]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    files.remove(PACKAGE / "policy_step.py")  # a plugin of LeRobot, imported by nothing else
    assert [str(path) for path in files if pattern.search(path.read_text())] == []


def test_the_step_for_lerobot_needs_no_more_of_the_package_than_the_indicator_text():
    source = (PACKAGE / "policy_step.py").read_text()
    modules = set(re.findall(r"^(?:from|import) ([\w.]+)", source, re.MULTILINE))
    third = {"numpy", "pyarrow.parquet", "torch", "lerobot.processor"}
    assert modules - set(sys.stdlib_module_names) == third | {"valuecurve.advantages"}


def test_no_file_beside_the_launcher_is_named_like_a_library():
    # the script's folder is first on sys.path, so trainer/datasets.py would hide `datasets`
    names = {path.stem for path in (ROOT / "trainer").glob("*.py")} | {
        path.name for path in (ROOT / "trainer").iterdir()
    }
    assert not names & {
        "trainer",
        "trl",
        "peft",
        "datasets",
        "evaluate",
        "torch",
        "transformers",
        "yaml",
        "tokenizers",
    }


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names} == {
        "valuecurve",
        f"valuecurve-{valuecurve.__version__}.dist-info",
    }
    assert {str(path.relative_to(ROOT)) for path in SOURCES} <= names
    assert "valuecurve/py.typed" in names


def test_the_version_is_the_same_everywhere():
    changelog = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert changelog and changelog.group(1) == valuecurve.__version__
    assert importlib.metadata.version("valuecurve") == valuecurve.__version__


def test_the_constraints_pin_torch_without_a_build_and_nothing_forbidden():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = dict(line.lower().split("==") for line in lines)
    assert "+" not in pins["torch"]
    assert [name for name in pins if name.startswith(("torchvision", "nvidia", "cuda", "lerobot"))] == []


def test_every_direct_dependency_is_pinned():
    def names(requirements):
        return {
            re.split(r"[\[<>=]", item)[0].lower().replace("_", "-")
            for item in requirements
            if isinstance(item, str)
        }

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"].values()
    wanted = names(project["project"]["dependencies"]).union(*(names(group) for group in groups))
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    assert wanted <= names(line for line in constraints if not line.startswith("#"))


def documented(pattern: str) -> set[str]:
    """What the README and CONTRIBUTING name, by a regular expression with one group."""
    text = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    return set(re.findall(pattern, text))


def test_the_make_targets_of_the_documents_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = documented(r"(?:^|`)make ([a-z-]+)")
    assert {"demo", "test"} <= named <= targets | {"help"}


def test_the_files_of_the_documents_exist():
    named = documented(r"[\s`(]((?:trainer|examples|docs|tests)/[\w./-]+)")
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_a_python_that_will_not_do_is_refused_by_name():
    command = [str(ROOT / "scripts" / "find_python.sh"), "3.11"]
    result = subprocess.run(
        command, env={**os.environ, "PYTHON": "/bin/false"}, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "PYTHON=/bin/false is not a Python >= 3.11" in result.stderr


def test_only_known_system_packages_are_installed():
    command = [str(ROOT / "scripts" / "system_packages.sh"), "anything"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert "usage" in result.stderr


@pytest.mark.slow
def test_the_command_answers_to_help():
    command = [str(Path(sys.executable).with_name("valuecurve")), "--help"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0
    assert "inspect" in result.stdout


@pytest.mark.parametrize("name", ["model_card.md", "dataset_card.md"])
def test_a_card_template_renders_with_nothing_known(name):
    card = RepoCard.from_template(CardData(license="apache-2.0"), template_path=str(ROOT / name))
    assert card.data.to_dict()["license"] == "apache-2.0"
    assert "{{" not in card.text and "{%" not in card.text


def test_the_model_card_shows_scales_and_metrics():
    card = RepoCard.from_template(
        CardData(license="apache-2.0"),
        template_path=str(ROOT / "model_card.md"),
        scales={"push the puck": 119},
        headings=["Model", "Constant"],
        metrics={"NLL ↓": ["**3.25**", "3.30"], "MAE ↓": ["**0.125**", "0.300"]},
    )
    assert "| push the puck | 119 |" in card.text
    assert (
        "| | Model | Constant |\n|---|---:|---:|\n| NLL ↓ | **3.25** | 3.30 |\n| MAE ↓ | **0.125** | 0.300 |"
        in card.text
    )


def test_modules_of_tests_have_names_of_their_own():
    """Two of one name cannot be collected together; each alone passes."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(set(names)) == sorted(names)
