"""The page: what a visitor sees and can do. All thinking is done in service.py.

Text that comes from visitors, datasets or file names is escaped wherever it becomes HTML.
"""

import base64
import io
import traceback
from html import escape
from typing import Any
from urllib.parse import urlencode

import gradio as gr
import numpy as np
from api import add_api
from limits import VisitorError
from PIL import Image
from player import player
from presence import watch_visitor
from service import EXAMPLES, Analysed, Service

from valuecurve.episodes import decode_video, open_dataset

AT_ONCE = 2  # episodes that are decoded side by side; the model takes one at a time
EXAMPLES_AT_ONCE = 4
PROGRESS = gr.Progress()
NOBODY = "Something went wrong on our side. Try again, and if it stays so, try a shorter video."
DOWNLOADS = [
    ("csv", "scores.csv", "CSV"),
    ("parquet", "scores.parquet", "Parquet"),
    ("png", "curve.png", "PNG"),
    ("svg", "curve.svg", "SVG"),
    ("mp4", "overlay.mp4", "Video"),
]
# what an event is given, in this order
GIVEN = (
    "files",
    "task",
    "state",
    "fps",
    "episode",
    "hub_dataset",
    "hub_episode",
    "model",
    "compare",
)
CARD_SCRIPT = """
element.addEventListener('click', event => {
    const card = event.target.closest('button[data-example]');
    if (!card) return;
    trigger('click', {example: card.dataset.example});
});
"""
MARK = """what => {
    for (const card of document.querySelectorAll('#examples button[data-example]'))
        card.setAttribute('aria-pressed', what === `example ${card.dataset.example}`);
}"""
SCROLL = """() => {
    if (window.innerWidth < 900) document.querySelector('#stage')?.scrollIntoView({block: 'start'});
}"""


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
        add_api(service, AT_ONCE, EXAMPLES_AT_ONCE)
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
        label="One video for each camera, or a zip", file_count="multiple", elem_id="upload", height=150
    )
    tasks = sorted({example.task for example in service.examples})
    found["task"] = gr.Textbox(
        label="What should the robot do?",
        info=f"In a few words, for example: {tasks[0]}",
        max_lines=1,
        elem_id="task",
    )
    found["upload_button"] = gr.Button("Show its curve", variant="primary", elem_id="analyse-upload")
    with gr.Accordion("More", open=False, elem_id="more"):
        found["state"] = gr.File(
            label="Robot state: CSV or Parquet, a row a frame", elem_id="state", height=180
        )
        found["fps"] = gr.Textbox(  # a number field cannot be empty
            label="Frames a second", info="Empty: as the video says", max_lines=1, elem_id="fps"
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
            f'<i class="{kind}">{escape(example.outcome)}, {example.seconds:.1f} s</i></span></button>'
        )
    return f'<div class="cards">{"".join(cards)}</div>'


# -- what happens ------------------------------------------------------------------------------------------


def _wire(service: Service, page: gr.Blocks, controls: dict[str, Any], outputs: list) -> None:
    """Events of the page; none of them is part of the API."""
    last = gr.Textbox("", visible="hidden")  # what is shown: "example 3", "upload" or "hub"
    given = [controls[name] for name in GIVEN]
    heavy: dict[str, Any] = {
        "outputs": [*outputs, last],
        "api_visibility": "private",
        "concurrency_id": "analysis",
        "concurrency_limit": AT_ONCE,
        "show_progress": "full",
        "show_progress_on": outputs[1],
    }

    def example(event: gr.EventData, request: gr.Request, *values, progress: gr.Progress = PROGRESS):
        return _find(service, f"example {event._data.get('example', '')}", values, request, progress)

    def upload(request: gr.Request, *values, progress: gr.Progress = PROGRESS):
        return _find(service, "upload", values, request, progress)

    def hub(request: gr.Request, *values, progress: gr.Progress = PROGRESS):
        return _find(service, "hub", values, request, progress)

    def again(request: gr.Request, what: str, *values, progress: gr.Progress = PROGRESS):
        return _find(service, what, values, request, progress) if what else [gr.skip()] * 4

    def reopen(request: gr.Request, *values, progress: gr.Progress = PROGRESS):
        asked = dict(request.query_params)
        names = [asked.get("model", ""), asked.get("compare", "")]
        if "example" not in asked:
            return [gr.skip()] * 6
        found = _find(service, f"example {asked['example']}", (*values[:-2], *names), request, progress)
        known = [name if name in service.checkpoints.names else "" for name in names]
        return [*found, known[0] or service.checkpoints.names[0], known[1]]

    def leave(request: gr.Request) -> None:
        if request.session_hash:
            service.results.end_session(request.session_hash)

    own = {"concurrency_id": "examples", "concurrency_limit": EXAMPLES_AT_ONCE}  # most are kept: no waiting
    for name in ("cards", "upload_button", "hub_button"):
        controls[name].click(None, js=SCROLL)  # to where the progress is seen
    controls["cards"].click(example, given, **heavy | own).then(None, last, js=MARK).then(None, js=SCROLL)
    controls["upload_button"].click(upload, given, **heavy).then(None, last, js=MARK).then(None, js=SCROLL)
    controls["hub_button"].click(hub, given, **heavy).then(None, last, js=MARK).then(None, js=SCROLL)
    for name in ("model", "compare"):
        controls[name].input(again, [last, *given], **heavy)
    heavy["outputs"] = [*heavy["outputs"], controls["model"], controls["compare"]]
    page.load(reopen, given, **heavy | own).then(None, last, js=MARK)
    page.unload(leave)


def _find(service: Service, what: str, values: tuple, request: gr.Request, progress: gr.Progress) -> list:
    """Payload, message, what stands below the player, and `what` itself, of a visitor's choice."""
    form = dict(zip(GIVEN, values, strict=True))
    models = [form["model"] or "", form["compare"] or ""]
    session, gone = request.session_hash or "", watch_visitor()

    def show(share: float, text: str) -> None:
        progress(min(share, 1.0), desc=text)

    kind, _, example = what.partition(" ")
    try:
        if kind == "example":
            analysed = service.example(example, models, show)
        elif kind == "hub":
            analysed = service.hub(form["hub_dataset"], form["hub_episode"], models, session, show, gone)
        else:
            names = ("state", "fps", "episode")
            more = {name: form[name] for name in names}
            more["fps"] = _number(form["fps"])
            analysed = service.upload(form["files"], form["task"], models, session, show, gone=gone, **more)
    except VisitorError as error:
        return [None, _message(str(error)), "", what]
    except Exception:
        traceback.print_exc()  # for whoever runs the app
        return [None, _message(NOBODY), "", what]
    notes = "".join(f"<p>{escape(note)}</p>" for note in analysed.notes)
    return [
        analysed.payload,
        f'<div class="notes" role="status">{notes}</div>' if notes else "",
        _below(analysed, example, models),
        what,
    ]


def _number(text: str | None) -> float | None:
    """What stands in the field of frames a second; None for an empty one."""
    try:
        return float(text.replace(",", ".")) if text and text.strip() else None
    except ValueError:
        raise VisitorError(
            f"{text!r} frames a second is no number: write one such as 30, or leave it empty."
        ) from None


def _message(text: str) -> str:
    return f'<div class="error" role="alert"><b>That did not work.</b> {escape(text)}</div>'


def _below(analysed: Analysed, example: str, models: list[str]) -> str:
    """Downloads, and a link to an example."""
    url = analysed.result.url
    links = " ".join(
        f'<a data-kind="{kind}" href="{url}/{file}" download>{label}</a>' for kind, file, label in DOWNLOADS
    )
    share = ""
    if example:
        asked = {"example": example, "model": models[0], "compare": models[1]}
        query = urlencode({name: value for name, value in asked.items() if value})
        share = f'<span id="share"><a href="?{escape(query)}">Link to this</a></span>'
    return f'<div class="below"><span id="downloads"><span>Download</span>{links}</span>{share}</div>'
