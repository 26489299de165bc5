"""How good are predicted value distributions? Pure arrays in, plain floats out.

What is judged: `probabilities [N, K]`, one distribution over K bin centres for each of N frames, or
`values [N]`, its mean, against `targets [N]` (normalised returns in value units). The mathematics stands in
four files by what is averaged: frames, whole episodes, resampled episodes (confidence intervals), and the
report that has it all. A metric that its inputs leave undefined (one outcome only, targets that never change)
is `nan`, and its docstring says when; every other result is finite. Nothing here reads a file, knows a model,
or needs torch. `metrics/value_metrics/` ships these very files to users of `evaluate`; docs/metrics.md
explains each number.
"""

from .metrics_bootstrap import bootstrap as bootstrap
from .metrics_episodes import auroc_last_frame as auroc_last_frame
from .metrics_episodes import auroc_over_elapsed as auroc_over_elapsed
from .metrics_episodes import best_f1 as best_f1
from .metrics_episodes import failure_alarm as failure_alarm
from .metrics_episodes import kendall_tau as kendall_tau
from .metrics_episodes import kendall_tau_by_outcome as kendall_tau_by_outcome
from .metrics_episodes import order_correlation as order_correlation
from .metrics_episodes import order_per_episode as order_per_episode
from .metrics_episodes import voc as voc
from .metrics_episodes import voc_by_outcome as voc_by_outcome
from .metrics_frames import calibration_curve as calibration_curve
from .metrics_frames import coverage as coverage
from .metrics_frames import crps as crps
from .metrics_frames import ece as ece
from .metrics_frames import expected_values as expected_values
from .metrics_frames import explained_variance as explained_variance
from .metrics_frames import mae as mae
from .metrics_frames import nll as nll
from .metrics_frames import quantiles as quantiles
from .metrics_frames import rmse as rmse
from .metrics_frames import top_k_accuracy as top_k_accuracy
from .metrics_report import ValueReport as ValueReport
from .metrics_report import value_metrics as value_metrics
from .metrics_report import value_report as value_report
