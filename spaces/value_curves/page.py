"""The page: what a visitor sees and can do, and the API beside it. All thinking is done in service.py.

Text that comes from visitors, datasets or file names is escaped wherever it becomes HTML.
"""

import base64
import io
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr
import numpy as np
from limits import VisitorError
from PIL import Image
from player import player
from service import EXAMPLES, Analysed, Service

from valuecurve.episodes import decode_video, open_dataset

HERE = Path(__file__).parent
AT_ONCE = 2  # episodes that are decoded side by side; the model takes one at a time
ACCENT = gr.themes.Color(
    c50="#eef6fb", c100="#d6eaf6", c200="#aed5ed", c300="#7bbae0", c400="#419acd", c500="#0072B2",
    c600="#00669f", c700="#005483", c800="#004266", c900="#00304b", c950="#00202f",
)  # fmt: skip
PROGRESS = gr.Progress()
SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
NOBODY = "Something went wrong on our side. Try again, and if it stays so, try a shorter video."
DOWNLOADS = [
    ("csv", "scores.csv", "CSV"),
    ("parquet", "scores.parquet", "Parquet"),
    ("png", "curve.png", "PNG"),
    ("svg", "curve.svg", "SVG"),
    ("mp4", "overlay.mp4", "Video"),
]
CARD_SCRIPT = """
element.addEventListener('click', event => {
    const card = event.target.closest('button[data-example]');
    if (!card) return;
    for (const other of element.querySelectorAll('button[data-example]'))
        other.setAttribute('aria-pressed', other === card);
    trigger('click', {example: card.dataset.example});
});
"""
SCROLL = """() => {
    if (window.innerWidth < 900) document.querySelector('#stage')?.scrollIntoView({block: 'start'});
}"""


def launch_options() -> dict[str, Any]:
    """Looks: no font and no script comes from elsewhere."""
    theme = gr.themes.Base(
        primary_hue=ACCENT,
        neutral_hue="slate",
        font=SANS,
        font_mono=("ui-monospace", "Consolas", "monospace"),
    )
    return {"theme": theme, "css": (HERE / "page.css").read_text(), "footer_links": ["api"]}


def make_page(service: Service) -> gr.Blocks:
    """The whole app, to be launched."""
    keep = int(service.limits.keep_seconds)
    with gr.Blocks(
        title="Value curves", analytics_enabled=False, delete_cache=(min(300, keep), keep), fill_width=True
    ) as page:
        gr.HTML(
            "<h1>Value curves</h1><p>Watch a robot try, and see at every moment how close an AI model "
            "thinks it is to "
            "success: <b>0</b> is done, <b>−1</b> is far away or failing.</p>",
            elem_id="head",
        )
        with gr.Row(elem_id="columns"):
            with gr.Column(scale=0, min_width=300, elem_id="choose"):
                controls = _choices(service)
            with gr.Column(scale=1, min_width=300, elem_id="stage"):
                message = gr.HTML(elem_id="message", visible=True)
                shown = player(elem_id="player")
                below = gr.HTML(elem_id="below")
        _wire(service, page, controls, [shown, message, below])
        _api(service)
    page.queue(max_size=int(service.limits.visitors), default_concurrency_limit=8, api_open=False)
    return page


# -- what can be chosen ------------------------------------------------------------------------------------


def _choices(service: Service) -> dict[str, Any]:
    names = service.checkpoints.names
    several = len(names) > 1
    found: dict[str, Any] = {}
    with gr.Row(visible=several, elem_id="models"):
        found["model"] = gr.Dropdown(names, value=names[0], label="Model", min_width=120)
        found["compare"] = gr.Dropdown([("none", ""), *names], value="", label="Compare with", min_width=120)
    with gr.Tabs():
        with gr.Tab("Examples"):
            found["cards"] = gr.HTML(_cards(service), js_on_load=CARD_SCRIPT, elem_id="examples")
        with gr.Tab("Upload"):
            _upload_choices(service, found)
        with gr.Tab("From the Hub"):
            found["hub_dataset"] = gr.Textbox(
                label="Dataset",
                placeholder="organisation/name",
                info="A public LeRobot dataset",
                elem_id="hub-dataset",
            )
            found["hub_episode"] = gr.Number(label="Episode", value=0, precision=0, elem_id="hub-episode")
            found["hub_button"] = gr.Button("Show its curve", variant="primary", elem_id="analyse-hub")
    return found


def _upload_choices(service: Service, found: dict[str, Any]) -> None:
    limits = service.limits
    found["files"] = gr.File(
        label="One video for each camera, or a zip", file_count="multiple", elem_id="upload", height=120
    )
    found["task"] = gr.Dropdown(
        _known_tasks(service),
        value="",
        label="What should the robot do?",
        allow_custom_value=True,
        elem_id="task",
    )
    found["upload_button"] = gr.Button("Show its curve", variant="primary", elem_id="analyse-upload")
    with gr.Accordion("More", open=False, elem_id="more"):
        found["state"] = gr.File(
            label="Robot state: CSV or Parquet, a row a frame", elem_id="state", height=90
        )
        found["fps"] = gr.Number(
            label="Frames a second", info="Empty: as the video says", value=None, elem_id="fps"
        )
        found["episode"] = gr.Number(
            label="Episode", info="Of a zipped LeRobot dataset", value=0, precision=0, elem_id="episode"
        )
    gr.HTML(
        f"<p>Up to {limits.upload_mb:.0f} MB and {limits.frames:,.0f} frames. Only you can see what you "
        "upload; it is "
        "deleted when you leave, within the hour at the latest.</p>",
        elem_classes="small",
    )


def _known_tasks(service: Service) -> list[str]:
    """Tasks of the first model, as suggestions: of the examples where the model is not loaded yet."""
    return sorted({example.task for example in service.examples})


def _cards(service: Service) -> str:
    """The examples as buttons with a picture."""
    dataset = open_dataset(EXAMPLES)
    camera = next(iter(dataset.cameras))
    cards = []
    for example in service.examples:
        images = np.concatenate([chunk for _, chunk in decode_video(dataset, camera, [int(example.id)])])
        picture = Image.fromarray(np.ascontiguousarray(images[len(images) * 2 // 3].transpose(1, 2, 0)))
        data = io.BytesIO()
        picture.save(data, "WEBP", quality=80)
        source = base64.b64encode(data.getvalue()).decode()
        kind = "good" if example.success else "bad"
        cards.append(
            f'<button type="button" data-example="{escape(example.id)}" aria-pressed="false">'
            f'<img alt="" src="data:image/webp;base64,{source}">'
            f"<span><b>{escape(example.task.capitalize())}</b>"
            f'<i class="{kind}">{escape(example.outcome)}, {example.seconds:.0f} s</i></span></button>'
        )
    return f'<div class="cards">{"".join(cards)}</div>'


# -- what happens ------------------------------------------------------------------------------------------


def _wire(service: Service, page: gr.Blocks, controls: dict[str, Any], outputs: list) -> None:
    """Events of the page; none of them is part of the API."""
    models = [controls["model"], controls["compare"]]
    heavy: dict[str, Any] = {
        "outputs": outputs,
        "api_visibility": "private",
        "concurrency_id": "analysis",
        "concurrency_limit": AT_ONCE,
        "show_progress": "full",
        "show_progress_on": outputs[1],
    }

    def example(
        model: str,
        compare: str,
        event: gr.EventData,
        request: gr.Request,
        progress: gr.Progress = PROGRESS,
    ):
        identity = str(event._data.get("example", ""))
        return _shown(
            lambda: service.example(identity, [model, compare], _to(progress)), identity, [model, compare]
        )

    def upload(
        files,
        task,
        state,
        fps,
        episode,
        model,
        compare,
        request: gr.Request,
        progress: gr.Progress = PROGRESS,
    ):
        return _shown(
            lambda: service.upload(
                files, task, [model, compare], request.session_hash or "", _to(progress), state, fps, episode
            )
        )

    def hub(dataset, episode, model, compare, request: gr.Request, progress: gr.Progress = PROGRESS):
        return _shown(
            lambda: service.hub(dataset, episode, [model, compare], request.session_hash or "", _to(progress))
        )

    def reopen(request: gr.Request, progress: gr.Progress = PROGRESS):
        asked = dict(request.query_params)
        names = [asked.get("model", ""), asked.get("compare", "")]
        if "example" not in asked:
            return [gr.skip()] * 5
        shown = _shown(
            lambda: service.example(asked["example"], names, _to(progress)), asked["example"], names
        )
        known = [name if name in service.checkpoints.names else "" for name in names]
        return [*shown, known[0] or service.checkpoints.names[0], known[1]]

    def leave(request: gr.Request) -> None:
        if request.session_hash:
            service.results.end_session(request.session_hash)

    controls["cards"].click(example, models, **heavy).then(None, js=SCROLL)
    inputs = [controls[name] for name in ("files", "task", "state", "fps", "episode")]
    controls["upload_button"].click(upload, [*inputs, *models], **heavy).then(None, js=SCROLL)
    inputs = [controls["hub_dataset"], controls["hub_episode"]]
    controls["hub_button"].click(hub, [*inputs, *models], **heavy).then(None, js=SCROLL)
    heavy["outputs"] = [*outputs, *models]
    page.load(reopen, None, **heavy)
    page.unload(leave)


def _to(progress: gr.Progress) -> Callable[[float, str], None]:
    def show(share: float, text: str) -> None:
        progress(min(share, 1.0), desc=text)

    return show


def _shown(find: Callable[[], Analysed], example: str | None = None, models: list[str] | None = None) -> list:
    """Payload, message and what stands below the player."""
    try:
        analysed = find()
    except VisitorError as error:
        return [None, _message(str(error)), ""]
    except Exception:
        import traceback

        traceback.print_exc()  # for whoever runs the app
        return [None, _message(NOBODY), ""]
    notes = "".join(f"<p>{escape(note)}</p>" for note in analysed.notes)
    return [
        analysed.payload,
        f'<div class="notes" role="status">{notes}</div>' if notes else "",
        _below(analysed, example, models or []),
    ]


def _message(text: str) -> str:
    return f'<div class="error" role="alert"><b>That did not work.</b> {escape(text)}</div>'


def _below(analysed: Analysed, example: str | None, models: list[str]) -> str:
    """Downloads, and a link to an example."""
    url = analysed.result.url
    links = " ".join(
        f'<a data-kind="{kind}" href="{url}/{file}" download>{label}</a>' for kind, file, label in DOWNLOADS
    )
    share = ""
    if example is not None:
        asked = {"example": example} | {
            name: value for name, value in zip(("model", "compare"), models, strict=False) if value
        }
        share = f'<span id="share"><a href="?{escape(urlencode(asked))}">Link to this</a></span>'
    return f'<div class="below"><span id="downloads">Download {links}</span>{share}</div>'


# -- the API -----------------------------------------------------------------------------------------------


def _api(service: Service) -> None:
    """Named endpoints for programs: the components are never shown."""
    quick: dict[str, Any] = {"concurrency_id": "analysis", "concurrency_limit": AT_ONCE}

    def value_curve(
        videos: list[str],
        task: str,
        fps: float | None,
        model: str,
        compare: str,
        state: str | None,
        episode: float | None,
        request: gr.Request,
    ) -> dict:
        session = f"api {request.session_hash}"
        find = lambda: service.upload(  # noqa: E731
            videos,
            task,
            [model, compare],
            session,
            _quiet,
            state,
            fps,
            None if episode is None else int(episode),
        )
        return _curve(service, find)

    def example_curve(example: str, model: str, compare: str) -> dict:
        return _curve(service, lambda: service.example(example, [model, compare], _quiet))

    def examples() -> list[dict]:
        return [
            {
                "example": example.id,
                "task": example.task,
                "success": example.success,
                "outcome": example.outcome,
                "seconds": example.seconds,
            }
            for example in service.examples
        ]

    def models() -> list[str]:
        return service.checkpoints.names

    with gr.Column(visible=False):
        videos = gr.File(file_count="multiple", label="videos: one a camera, or one zip")
        task = gr.Textbox(value="", label="task: what the robot should do")
        fps = gr.Number(value=None, label="frames a second; null: as the video says")
        model = gr.Textbox(value="", label="model: a name of /models; empty: the first")
        compare = gr.Textbox(value="", label="a second model; empty: none")
        state = gr.File(label="state: CSV or Parquet, a row a frame; null: none")
        episode = gr.Number(value=0, precision=0, label="episode of a zipped LeRobot dataset")
        example = gr.Textbox(value="0", label="example: an id of /examples")
        curve, listed, named = gr.JSON(label="curve"), gr.JSON(label="examples"), gr.JSON(label="models")
        gr.Button().click(
            value_curve,
            [videos, task, fps, model, compare, state, episode],
            curve,
            api_name="value_curve",
            api_description="The value curve of an uploaded episode: values, intervals, seconds to success.",
            **quick,
        )
        gr.Button().click(
            example_curve,
            [example, model, compare],
            curve,
            api_name="example_curve",
            api_description="The value curve of a shipped example.",
            **quick,
        )
        gr.Button().click(
            examples, None, listed, api_name="examples", api_description="The shipped examples."
        )
        gr.Button().click(models, None, named, api_name="models", api_description="Models to choose from.")


def _quiet(share: float, text: str) -> None:
    """Progress that nobody sees."""


def _curve(service: Service, find: Callable[[], Analysed]) -> dict:
    """A result as JSON for programs; an upload is forgotten at once."""
    try:
        analysed = find()
    except VisitorError as error:
        raise gr.Error(escape(str(error), quote=False), print_exception=False) from None
    if analysed.result.session is not None:
        service.results.drop(analysed.result.token)
    payload = analysed.payload
    names = ("task", "dataset", "episode", "fps", "frames", "success", "target")
    curve = {name: payload[name] for name in names}
    curve["cameras"] = [video["name"] for video in payload["videos"]]
    curve["models"] = [
        {key: value for key, value in model.items() if not key.startswith("heat")} | _seconds(model)
        for model in payload["models"]
    ]
    curve["notes"] = analysed.notes
    return curve


def _seconds(model: dict) -> dict:
    """Seconds to success, frame by frame, where the scale is known."""
    if model["scale_seconds"] is None:
        return {"seconds_to_success": None}
    return {
        "seconds_to_success": [
            round((model["v_max"] - value) * model["scale_seconds"], 3) for value in model["value"]
        ]
    }
