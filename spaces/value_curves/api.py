"""The API: named endpoints for programs (docs/space.md). They stand on the page, and are not shown there."""

import math
from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr
from limits import VisitorError
from presence import watch_visitor
from service import Analysed, Service


def add_api(service: Service, at_once: int, examples_at_once: int) -> None:
    """Named endpoints for programs: the components are never shown."""
    quick: dict[str, Any] = {"concurrency_id": "analysis", "concurrency_limit": at_once}

    def value_curve(
        videos: list[str],
        task: str,
        fps: float | None = None,
        model: str = "",
        compare: str = "",
        state: str | None = None,
        episode: float | None = 0,
        request: gr.Request = None,  # pyright: ignore[reportArgumentType]  Gradio gives it
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
            watch_visitor(),
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
            concurrency_id="examples",
            concurrency_limit=examples_at_once,
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
        {key: value for key, value in model.items() if not key.startswith("heat")} | _seconds(model, payload)
        for model in payload["models"]
    ]
    curve["notes"] = analysed.notes
    return curve


def _seconds(model: dict, payload: dict) -> dict:
    """Seconds to success, frame by frame, where the scale is known; None below the alarm, and in failures."""
    if model["scale_seconds"] is None or payload["success"] is False:
        return {"seconds_to_success": None}
    floor = -math.inf if payload["alarm"] is None else payload["alarm"]
    return {
        "seconds_to_success": [
            round((model["v_max"] - value) * model["scale_seconds"], 3) if value >= floor else None
            for value in model["value"]
        ]
    }
