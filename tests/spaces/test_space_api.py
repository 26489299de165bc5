"""The running app as programs, and people who mean no good, meet it over HTTP."""

import json
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from conftest import SECRET, SPACE  # pyright: ignore[reportAttributeAccessIssue]
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from tiny_datasets import bars, write_video

PATIENCE = 240  # seconds that an answer may take
TASK = "push the puck to the goal"
UPLOAD = {"api_name": "/value_curve"}  # all other arguments have defaults


@pytest.fixture(scope="module")
def client(space_url) -> Client:
    """Its `predict` ends within its patience, unlike the real one."""
    client = Client(space_url, verbose=False)
    client.predict = lambda *args, **options: client.submit(*args, **options).result(PATIENCE)  # pyright: ignore
    return client


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("video") / "side.mp4"
    write_video(path, [bars(1, frame, 48, 64) for frame in range(15)], fps=10)
    return path


def get(url: str, **headers: str) -> tuple[int, bytes]:
    """Status and body; redirects are not followed to other hosts here, as there are none."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=120) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


# -- programs ----------------------------------------------------------------------------------------------


def test_examples_and_models_are_listed(client, space):
    examples = client.predict(api_name="/examples")
    assert {example["success"] for example in examples} == {True, False}
    assert client.predict(api_name="/models") == list(space.checkpoints)


def test_an_example_has_a_curve_of_one_number_a_frame(client):
    curve = client.predict(example="1", model="tiny", compare="tiny-state", api_name="/example_curve")
    assert (curve["task"], curve["success"], curve["cameras"]) == ("open the drawer", True, ["side", "front"])
    assert [model["name"] for model in curve["models"]] == ["tiny", "tiny-state"]
    for model in curve["models"]:
        for key in ("value", "lower", "upper", "std", "seconds_to_success"):
            assert len(model[key]) == curve["frames"]
        assert all(low <= high for low, high in zip(model["lower"], model["upper"], strict=True))


def test_an_uploaded_video_has_a_curve_and_is_forgotten(client, video, space):
    curve = client.predict(videos=[handle_file(str(video))], task=TASK, **UPLOAD)
    assert (curve["frames"], curve["fps"], curve["cameras"]) == (15, 10.0, ["side"])
    assert curve["success"] is None and len(curve["models"][0]["value"]) == 15
    roots = list(space.temporary.glob("valuecurve-*"))
    assert len(roots) == 1 and list((roots[0] / "work").iterdir()) == []
    kept = [path for path in (roots[0] / "results").iterdir() if len(list(path.glob("video-*"))) == 1]
    assert kept == []  # the examples have two cameras


def test_a_state_goes_into_the_curve(client, video, tmp_path):
    size = len(
        json.loads((SPACE / "examples/meta/info.json").read_text())["features"]["observation.state"]["names"]
    )
    curves = []
    for value in ("0.0", "1.0"):
        table = tmp_path / "state.csv"
        table.write_text("\n".join([",".join([value] * size)] * 15))
        given = UPLOAD | {"model": "tiny-state", "state": handle_file(str(table))}
        curves.append(client.predict(videos=[handle_file(str(video))], task=TASK, **given))
    values = [np.array(curve["models"][0]["value"]) for curve in curves]
    assert np.abs(values[0] - values[1]).max() > 1e-4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": "/etc/passwd"}, "There is no model '/etc/passwd' here"),
        ({"model": "org/evil-model"}, "There is no model 'org/evil-model' here"),
        ({"task": ""}, "The task is missing"),
        ({"videos": []}, "Nothing was uploaded"),
    ],
)
def test_an_error_says_what_to_do(client, video, given, message):
    asked = UPLOAD | {"videos": [handle_file(str(video))], "task": TASK} | given
    with pytest.raises(AppError, match=message):
        client.predict(**asked)


def test_html_in_names_is_escaped(client, tmp_path):
    path = tmp_path / "<img src=x onerror=alert(1)>.mp4"
    path.write_bytes(b"no video")
    with pytest.raises(AppError) as caught:
        client.predict(videos=[handle_file(str(path))], task="<script>alert(1)</script>", **UPLOAD)
    assert "<" not in str(caught.value) and "is not a video" in str(caught.value)


def test_the_app_goes_on_after_what_it_cannot_read(client, video, tmp_path):
    for name, content in (
        ("a.zip", b"PK\x03\x04"),
        ("a.mp4", b"#EXTM3U\nfile:///etc/passwd"),
        ("a.txt", b"x"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AppError, match=f"{name} is n"):
            client.predict(videos=[handle_file(str(tmp_path / name))], task=TASK, **UPLOAD)
    assert client.predict(videos=[handle_file(str(video))], task=TASK, **UPLOAD)["frames"] == 15


# -- people who mean no good -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place", ["/etc/passwd", str(SPACE / "app.py"), str(SPACE), "app.py", "../../etc/passwd"]
)
def test_files_of_the_machine_are_not_served(space_url, place):
    for route in ("gradio_api/file=", "file="):
        status, body = get(f"{space_url}{route}{place}")
        assert status in (403, 404) and b"root:" not in body and b"import" not in body


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/a.mp4", "https://example.com/a.mp4"])
def test_addresses_of_files_are_not_fetched(client, address):
    file = {"path": address, "orig_name": "a.mp4", "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(AppError, match="addresses are not fetched"):
        client.predict(videos=[file], task=TASK, **UPLOAD)


def test_checkpoints_and_folders_of_others_are_not_served(space, client):
    client.predict(example="0", model="tiny", compare="", api_name="/example_curve")
    (root,) = space.temporary.glob("valuecurve-*")
    result = next((root / "results").iterdir())
    places = [root, root / "uploads", root / "results", result, result / "about.json", root / "work"]
    places += [folder / "config.json" for folder in space.checkpoints.values()]
    for place in places:
        assert get(f"{space.url}gradio_api/file={place}")[0] in (403, 404)


def test_results_are_served_by_their_token_and_by_known_names_only(space, client):
    client.predict(example="0", model="tiny", compare="", api_name="/example_curve")
    (root,) = space.temporary.glob("valuecurve-*")
    token = next((root / "results").iterdir()).name
    base = f"{space.url}results/"
    assert get(f"{base}{token}/video-0.mp4")[0] == 200
    assert get(f"{base}{token}/video-0.mp4", Range="bytes=0-99")[0] == 206
    for path in (
        "",
        f"{token}",
        f"{token}/",
        f"{token}/about.json",
        f"{token}/scores.npz",
        f"{token}/..%2Fx",
    ):
        status, body = get(base + path)
        assert status in (404, 405, 307) or b"video-0" not in body, path
    for path in (
        f"{'x' * 24}/video-0.mp4",
        "..%2F..%2Fetc/passwd",
        f"{token}/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    ):
        assert get(base + path)[0] == 404


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("scores.csv", b"frame_index,"),
        ("scores.parquet", b"PAR1"),
        ("curve.png", b"\x89PNG"),
        ("curve.svg", b"<?xml"),
        ("overlay.mp4", b"ftyp"),
    ],
)
def test_downloads_are_what_they_are_called(space, client, name, signature):
    client.predict(example="0", model="tiny", compare="", api_name="/example_curve")
    (root,) = space.temporary.glob("valuecurve-*")
    token = next((root / "results").iterdir()).name
    status, body = get(f"{space.url}results/{token}/{name}")
    assert status == 200 and signature in body[:12]


def test_no_secret_and_no_trace_of_the_machine_reaches_the_page_or_the_log(space, client):
    pages = [get(space.url)[1], get(f"{space.url}config")[1], get(f"{space.url}gradio_api/info")[1]]
    for page in pages:
        assert SECRET.encode() not in page
        for place in space.checkpoints.values():
            assert str(place).encode() not in page
    assert SECRET not in space.log.read_text(errors="replace")


@pytest.mark.parametrize("path", ["monitoring", "monitoring/summary", "gradio_api/runs"])
def test_nothing_tells_of_other_visitors(space_url, path):
    status, body = get(space_url + path)
    assert status in (403, 404) or b"disabled" in body.lower() or b"not enabled" in body.lower(), body[:300]


def test_only_what_is_documented_can_be_called(client):
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == {
        "/value_curve",
        "/example_curve",
        "/examples",
        "/models",
    }


def test_the_app_writes_nothing_into_its_own_folder(space, client):
    client.predict(api_name="/models")
    assert list(SPACE.rglob("__pycache__")) == [] and not (SPACE / ".gradio").exists()
