"""Programs of examples/, trainer/ and benchmarks/ as modules, so that a test can call their `main`."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

TIE = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL; kept by execv
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def tied(*arguments: str) -> list[str]:
    """The command of a Python program that is killed when this one ends, even by the tests' time limit."""
    return [sys.executable, "-c", TIE, *arguments]


def load_program(path: Path) -> ModuleType:
    """The module of a program; as when it is started, it finds its neighbours."""
    name = f"program_{path.stem}"
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # dataclasses look their module up
    sys.path.insert(0, str(path.parent))
    try:
        specification.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module
