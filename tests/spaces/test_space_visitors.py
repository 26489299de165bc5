"""What becomes of a visitor's files: bounds of decoding, folders that nobody can guess, tidying up."""

import os
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import downloads
import httpx
import pytest
from checkpoints import Checkpoints, parse
from decoding import Request, environment, read_episode
from downloads import KINDS, make
from limits import Limits, VisitorError, clean_task
from results import Results
from service import EXAMPLES, Service
from starlette.applications import Starlette
from starlette.routing import Route
from tiny_datasets import bars, write_video


def silent(share: float, text: str) -> None:
    pass


@pytest.fixture
def results(tmp_path) -> Results:
    (tmp_path / "root").mkdir()
    return Results(3600, tmp_path / "root")


@pytest.fixture
def video(tmp_path) -> str:
    path = tmp_path / "side.mp4"
    write_video(path, [bars(1, frame, 48, 64) for frame in range(20)], fps=10)
    return str(path)


# -- the decoding process ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(decode_seconds=0.05), "took longer than 0 s: send a shorter or smaller video"),
        (
            Limits(decode_memory_mb=64),
            "more memory than a visitor has|is not a video that can be read",
        ),
    ],
)
def test_decoding_is_ended_at_its_bounds_and_the_visitor_is_told(results, video, tmp_path, limits, message):
    work = results.work()
    with pytest.raises(VisitorError, match=message):
        read_episode(Request(files=[video]), work, tmp_path, [(32, "bicubic")], limits, silent)


def test_what_the_process_says_names_no_place_of_the_machine(results, tmp_path):
    archive = tmp_path / "broken.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("d/meta/info.json", '{"codebase_version": "v9.9"}')
    work = results.work()
    with pytest.raises(VisitorError, match="codebase_version 'v9.9' is not supported") as caught:
        read_episode(Request(files=[str(archive)]), work, tmp_path, [(32, "bicubic")], Limits(), silent)
    assert str(tmp_path) not in str(caught.value)


def test_the_process_is_given_no_secret(tmp_path, monkeypatch):
    secrets = {
        "HF_TOKEN": "hf_1",
        "AWS_SECRET_ACCESS_KEY": "2",
        "VALUECURVE_CHECKPOINTS": "3",
        "API_KEY": "4",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    given = environment(tmp_path)
    assert not secrets.keys() & given.keys()
    assert given["HF_HUB_DISABLE_IMPLICIT_TOKEN"] == "1"
    assert not Path(given["HF_TOKEN_PATH"]).exists()


def test_on_a_space_the_cache_of_datasets_is_smaller_than_its_disk(tmp_path, monkeypatch):
    monkeypatch.delenv("VALUECURVE_CACHE_GB", raising=False)
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert "VALUECURVE_CACHE_GB" not in environment(tmp_path)  # the cache is shared with all that runs here
    monkeypatch.setenv("SPACE_ID", "org/value-curves")
    assert environment(tmp_path)["VALUECURVE_CACHE_GB"] == "10"
    monkeypatch.setenv("VALUECURVE_CACHE_GB", "3")
    assert environment(tmp_path)["VALUECURVE_CACHE_GB"] == "3"


# -- results -----------------------------------------------------------------------------------------------


def test_tokens_are_long_and_never_the_same(results):
    tokens = {results.create("a").token for _ in range(50)}
    assert len(tokens) == 50 and min(map(len, tokens)) >= 24


def test_when_a_visitor_leaves_only_this_visitors_files_go(results):
    upload, shared = (results.root / "uploads" / name for name in ("mine.mp4", "ours.mp4"))
    outside = results.root.parent / "elsewhere.mp4"
    for path in (upload, shared, outside):
        path.write_bytes(b"v")
    mine, yours, example = results.create("me"), results.create("you"), results.create(None)
    results.uses("me", [str(upload), str(shared), str(outside)])
    results.uses("you", [str(shared)])
    results.end_session("me")
    assert results.get(mine.token) is None and not mine.folder.exists()
    assert results.get(yours.token) is yours and results.get(example.token) is example
    assert (upload.exists(), shared.exists(), outside.exists()) == (False, True, True)


def test_old_results_go_and_examples_stay(results):
    old, example = results.create("me"), results.create(None)
    results.sweep(time.monotonic() + 3599)
    assert old.folder.exists()
    results.sweep(time.monotonic() + 3601)
    assert not old.folder.exists() and example.folder.exists()


def test_old_uploads_go_and_the_oldest_where_there_are_too_many(results):
    files = [results.root / "uploads" / f"{i}.mp4" for i in range(4)]
    for age, path in zip((4000, 30, 20, 10), files, strict=True):
        path.write_bytes(b"v" * 1000)
        os.utime(path, (time.time() - age, time.time() - age))
    results.sweep()
    assert [path.exists() for path in files] == [False, True, True, True]
    results.uploads_mb = 0.0021
    results.sweep()
    assert [path.exists() for path in files] == [False, False, True, True]


def test_an_upload_that_was_swept_is_forgotten(results):
    gone, there = results.root / "uploads" / "gone.mp4", results.root / "uploads" / "there.mp4"
    there.write_bytes(b"v")
    results.uses("me", [str(gone), str(there)])
    results.sweep()
    assert set(results._uploads) == {str(there)}


def test_who_waits_for_a_download_keeps_nobody_from_watching(results, monkeypatch):
    """60 downloads that take long, more than the server has threads, and a video all the same."""
    entered, released = threading.Event(), threading.Event()

    def make(result, name: str) -> bool:
        entered.set()
        released.wait(90)
        return False

    monkeypatch.setattr(downloads, "make", make)
    result = results.create("me")
    (result.folder / "video-0.mp4").write_bytes(b"a video")
    (result.folder / "about.json").write_text('{"videos": ["video-0.mp4"]}')
    app = Starlette(routes=[Route("/results/{token}/{name}", downloads.serve(results))])

    async def visit() -> bytes:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x", timeout=120) as visitor:
            async with anyio.create_task_group() as group:
                for _ in range(60):
                    group.start_soon(visitor.get, f"/{result.url}/overlay.mp4")
                await anyio.to_thread.run_sync(entered.wait, 60, limiter=anyio.CapacityLimiter(1))
                try:
                    with anyio.fail_after(30):
                        answer = await visitor.get(f"/{result.url}/video-0.mp4")
                finally:
                    released.set()
        return answer.content

    with ThreadPoolExecutor(1) as pool:  # the browser's tests have a loop in this thread
        assert pool.submit(anyio.run, visit).result(240) == b"a video"


# -- the service -------------------------------------------------------------------------------------------


@pytest.fixture
def service(space_checkpoints, results) -> Service:
    places = {name: str(place) for name, place in space_checkpoints.items()}
    return Service(Checkpoints(places), results, Limits(), dtype="float32")


def test_an_upload_leaves_its_result_and_nothing_else(service, results, video):
    analysed = service.upload([video], "push <b>it</b>", [], "me", silent)
    assert analysed.payload["task"] == "push <b>it</b>"  # plain text: whoever shows it escapes it
    assert list((results.root / "work").iterdir()) == []
    names = {path.name for path in analysed.result.folder.iterdir()}
    assert names == {"video-0.mp4", "scores.npz", "about.json"}
    for kind in KINDS:
        assert make(analysed.result, kind)
        assert (analysed.result.folder / kind).stat().st_size > 100
    assert names | set(KINDS) == {path.name for path in analysed.result.folder.iterdir()}


def test_an_upload_that_fails_leaves_nothing(service, results, tmp_path):
    (tmp_path / "fake.mp4").write_bytes(b"no video")
    with pytest.raises(VisitorError, match="fake.mp4 is not a video"):
        service.upload([str(tmp_path / "fake.mp4")], "push", [], "me", silent)
    assert list((results.root / "work").iterdir()) == []
    assert list((results.root / "results").iterdir()) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"files": []}, "Nothing was uploaded"),
        ({"task": "  "}, "The task is missing"),
        ({"task": "a" * 400}, "The task has 400 letters, and at most 300 are read"),
        ({"models": ["../../etc"]}, "There is no model '../../etc' here. Choose one of: tiny, tiny-state"),
        ({"models": ["tiny-sate"]}, "Did you mean tiny-state"),
        ({"fps": 1e9}, "1e\\+09 frames a second: it must be between"),
        ({"episode": -1}, "The episode is a whole number"),
        ({"files": ["gone.mp4"]}, "gone.mp4 is no longer here: upload it again"),
    ],
)
def test_wrong_input_is_refused_with_what_to_do(service, video, given, message):
    asked = {"files": [video], "task": "push", "models": [], "session": "me", "progress": silent} | given
    with pytest.raises(VisitorError, match=message):
        service.upload(**asked)


def test_an_upload_that_is_too_large_is_refused_before_it_is_opened(service, video):
    service.limits = Limits(upload_mb=0.001)
    with pytest.raises(VisitorError, match="at most 0 MB are read: send one short episode"):
        service.upload([video], "push", [], "me", silent)


@pytest.mark.parametrize(
    "name",
    ["../..", "outputs", "/etc/passwd", "a/b/c", "./x/y", "org/..", "hf://x/y", "a/b@../x", "", "-a/b"],
)
def test_only_names_of_the_hub_are_datasets(service, name):
    with pytest.raises(VisitorError, match="That is no dataset of the Hub"):
        service.hub(name, 0, [], "me", silent)


def test_an_example_that_is_not_there_is_refused(service):
    with pytest.raises(VisitorError, match="There is no example '../secret'"):
        service.example("../secret", [], silent)


def test_a_checkpoint_that_cannot_be_loaded_is_no_secret_and_no_crash(results, video, capsys):
    broken = Service(Checkpoints({"broken": "/nowhere/at/all"}), results, Limits())
    with pytest.raises(VisitorError, match="The model cannot be loaded at the moment") as caught:
        broken.upload([video], "push", [], "me", silent)
    assert "nowhere" not in str(caught.value) and "error: " in capsys.readouterr().err


def test_a_task_becomes_one_printable_line():
    assert clean_task(" open\n the\x00 drawer\u202e ", Limits()) == "open the drawer"


def test_checkpoints_are_named_by_the_environment():
    assert parse("a=x/y@1, org/value-270m@main ,b = folder/with=sign") == {
        "a": "x/y@1",
        "value-270m": "org/value-270m@main",
        "b": "folder/with=sign",
    }
    with pytest.raises(SystemExit, match="VALUECURVE_CHECKPOINTS names no checkpoint"):
        Checkpoints({})


def test_the_examples_are_small_enough_to_be_pushed():
    assert sum(path.stat().st_size for path in EXAMPLES.rglob("*") if path.is_file()) < 3_000_000
