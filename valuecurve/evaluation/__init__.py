"""How good is a value function, and what does it look like?

Baselines that it must beat, figures and overlay videos of its curves, and the table of its metrics
(the metrics themselves are pure arrays, in `valuecurve.metrics`). `evaluating` measures a checkpoint against
all of it, `report` writes what was found; `answers` measures how well it answers.
"""

from ..metrics import quantiles as quantiles
from .baselines import ElapsedTime as ElapsedTime
from .baselines import constant_distribution as constant_distribution
from .curves import Curve as Curve
from .curves import pick_thumbnails as pick_thumbnails
from .figures import plot_curves as plot_curves
from .report import table as table
from .report import write_json as write_json
from .video import write_overlay as write_overlay
