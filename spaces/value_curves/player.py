"""The player: videos and value curve bound together, a Gradio component without dependencies.

Its value is one analysed episode (docs/space.md: the payload) or None, which shows what a value curve is.
What runs in the browser lies in browser/ and is sent with the page; nothing is loaded from anywhere else.
Advantages are computed there as `episode_advantages` does here.
"""

from pathlib import Path

import gradio as gr
import numpy as np

from valuecurve import advantages
from valuecurve.labels.rewards import time_after_failure, value_rewards

BROWSER = Path(__file__).parent / "browser"
HARDLY = 0.02  # value units: advantages that differ less are noise, and none is called positive
SCRIPTS = ("maths.js", "videos.js", "drawing.js", "belief.js", "parts.js", "chart.js", "player.js")
ON_LOAD = """
const player = window.valueCurvePlayer.create(element);
player.show(props.value);
watch('value', () => player.show(props.value));
"""


def player(**options) -> gr.HTML:
    """The component; `options` are those of `gr.HTML` (elem_id, visible, value, …)."""
    return gr.HTML(
        html_template="",  # all elements are made by the script
        js_on_load=ON_LOAD,
        head=f"<style>{_read('player.css')}</style><script>{script()}</script>",
        apply_default_css=False,
        **options,
    )


def script() -> str:
    """All scripts as one, with one global name: window.valueCurvePlayer = {create, maths}."""
    parts = "\n".join(_read(name) for name in SCRIPTS)
    maths = "{ advantages, threshold, positiveFrom, spans, decimate, distributions }"
    return f"""(() => {{
"use strict";
{parts}
window.valueCurvePlayer = {{ create: createPlayer, maths: {maths} }};
}})();"""


def episode_advantages(
    values: np.ndarray,
    horizon: int,
    *,
    success: bool | None,
    scale: float | None,
    v_min: float = -1.0,
    positive_fraction: float = 0.3,
) -> tuple[np.ndarray, float, np.ndarray]:
    """The advantages of one episode alone, their threshold and which frames are positive.

    As `valuecurve label` computes them (fail: floor), with two more cases, for uploads. Outcome not known:
    r_T is V(T), so that a horizon beyond the last frame stops there and believes the model. Scale not known:
    a step costs nothing, and the advantage is the change of the value. The threshold is that of this episode,
    not of its task in a dataset; where the advantages hardly differ (from their 5% to their 95% quantile less
    than `HARDLY`) no frame is positive.

    Args:
        values: V(t), `[L]`, value units.
        horizon: N >= 1, in frames.
        success: outcome, or None.
        scale: steps that one value unit stands for, or None.

    Returns:
        A_t float64 `[L]`, the threshold, bool `[L]`.
    """
    values = np.asarray(values, np.float64)
    lengths, outcome = np.array([len(values)]), np.array([success is not False])
    scales = np.array([np.inf if scale is None else scale])
    rewards = value_rewards(lengths, outcome, scales, v_min=v_min)
    if success is None:
        rewards[-1] = values[-1]
    a_t = advantages.n_step(rewards, values, horizon)
    a_t -= time_after_failure(lengths, outcome, scales, horizon)
    low, level, high = (
        advantages.thresholds(a_t, np.zeros(len(a_t), int), fraction)[0]
        for fraction in (0.95, positive_fraction, 0.05)
    )
    return a_t, level, (a_t >= level) & (high - low >= HARDLY)


def _read(name: str) -> str:
    return (BROWSER / name).read_text(encoding="utf-8")
