"""The page of the metric: upload a table of predicted values, get every metric, its interval and the curves.

    python app.py        # in this folder, with requirements.txt installed; the Hub starts it the same way

Nothing is kept: a file is read, measured and forgotten.
"""

from pathlib import Path
from typing import Any

import evaluate
import gradio as gr
from read_frames import TableProblem, read_frames
from show_result import STYLE, message, page

HERE = Path(__file__).parent
EXAMPLE = HERE / "example.parquet"
EXAMPLE_TITLE = "Example: value-tiny on episodes that it has not seen"
CONFIDENCE = 0.95
MAX_FILE = "100mb"

INTRODUCTION = """
# Value metrics
A value function watches a robot and says, at every frame, how far it is from success. This page measures how
good its predictions are: upload them as a table, one row a frame.
"""

COLUMNS = """
| column | | |
|---|---|---|
| `target` | needed | the normalised return that the value should have, usually in [−1, 0] |
| `episode_index`, `frame_index` | needed | whole numbers |
| `value` | needed, or probabilities | the predicted value |
| `probabilities`, or `p_0`, `p_1`, … | optional | the predicted distribution over bins from the lowest to \
the highest value: a list in Parquet, columns in CSV |
| `success` | optional | outcome of the frame's episode: true or false |
| `task` | optional | text; adds a table by task |

From Python the same numbers come from `evaluate.load("<owner>/value_metrics")`; see *Files* → `README.md`.
"""

PAGE_STYLE = (
    STYLE + ".gradio-container { max-width: min(1180px, 100vw) !important; margin: 0 auto !important; }"
)
# One accent colour, as in the curves.
ACCENT = gr.themes.Color(
    *("#eef6fb", "#dcebf5", "#bcdcf0", "#8cc2e2", "#4f9bcd", "#0072B2"),
    *("#00639c", "#005485", "#00456d", "#003656", "#00263d"),
    name="accent",
)


def measure(path: str | None, v_min: float, v_max: float, false_alarms: float) -> str:
    """The page for a file, or a sentence that says what is wrong with it."""
    example = path is None
    try:
        columns = read_frames(path or EXAMPLE)
        metric = evaluate.load(str(HERE / "value_metrics.py"), keep_in_memory=True)
        result: Any = metric.compute(
            **columns, v_min=v_min, v_max=v_max, max_false_alarms=false_alarms, confidence=CONFIDENCE
        )
    except TableProblem as problem:
        return message(str(problem))
    except ValueError as problem:  # the metric names what it was given: frames, targets, distributions
        return message(f"These frames cannot be measured: {problem}")
    return page(result, EXAMPLE_TITLE if example else Path(path or "").name, CONFIDENCE)


def build() -> gr.Blocks:
    """The page, with the example measured already."""
    with gr.Blocks(title="Value metrics", delete_cache=(3600, 3600)) as demo:
        gr.Markdown(INTRODUCTION)
        with gr.Row(equal_height=False):
            file = gr.File(
                label="Predicted values (.csv or .parquet)", file_types=[".csv", ".parquet"], height=180
            )
            with gr.Column():
                false_alarms = gr.Slider(
                    0, 0.5, value=0.1, step=0.05, label="Acceptable false alarms, share of successes"
                )
                with gr.Row():
                    v_min = gr.Number(-1.0, label="Lowest value", min_width=90)
                    v_max = gr.Number(0.0, label="Highest value", min_width=90)
        with gr.Accordion("What the file holds", open=False):
            gr.Markdown(COLUMNS)
        result = gr.HTML(measure(None, -1.0, 0.0, 0.1))
        inputs = [file, v_min, v_max, false_alarms]
        gr.on(
            [file.change, v_min.submit, v_min.blur, v_max.submit, v_max.blur, false_alarms.release],
            measure,
            inputs,
            result,
            api_name="measure",
            concurrency_limit=2,
        )
    return demo.queue(max_size=20)


if __name__ == "__main__":
    theme = gr.themes.Default(
        primary_hue=ACCENT, font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    build().launch(theme=theme, css=PAGE_STYLE, max_file_size=MAX_FILE, footer_links=["api"])
