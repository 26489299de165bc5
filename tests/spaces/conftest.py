"""The Space's own modules can be imported, as when it runs, and a browser can visit it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "spaces" / "value_curves"))
sys.path.insert(0, str(Path(__file__).parent))

from browsing import browser, visit  # noqa: E402, F401
