"""Pictures for papers and reports, one function each: SVG, PNG or PDF by the suffix, on white or dark paper.

Of one episode: `plot_curve` (value, band, target, advantage, positive spans, film strip) and `plot_heat_map`
(the distribution over time). Of a dataset: `plot_reliability`, `plot_auroc_over_elapsed`,
`plot_predicted_against_target` and `plot_small_multiples`. Several episodes side by side:
`figures.plot_curves`.
"""

from .curve_picture import plot_curve as plot_curve
from .curve_picture import plot_heat_map as plot_heat_map
from .quality_pictures import plot_auroc_over_elapsed as plot_auroc_over_elapsed
from .quality_pictures import plot_predicted_against_target as plot_predicted_against_target
from .quality_pictures import plot_reliability as plot_reliability
from .small_multiples import plot_small_multiples as plot_small_multiples
