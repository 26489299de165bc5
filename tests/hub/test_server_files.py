"""The Hub on this machine: downloads, caches, ranges, datasets, through the unmodified clients."""

import io
import os
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hub_server import HubServer
from huggingface_hub import HfApi, HfFileSystem, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RevisionNotFoundError

REPO = "robots/value"


@pytest.fixture
def filled(api: HfApi, tmp_path: Path) -> str:
    """A model repository with small and large files; its commit."""
    folder = tmp_path / "checkpoint"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 1000)
    (folder / "sub" / "notes.txt").write_text("notes")
    api.create_repo(REPO)
    return api.upload_folder(repo_id=REPO, folder_path=folder).oid


def downloads(hub: HubServer) -> list[str]:
    """The files whose content was sent."""
    bodies = [item for item in hub.log if item.method == "GET" and "/resolve/" in item.path and item.sent]
    return [item.path.rsplit("/", 1)[1] for item in bodies if item.status in (200, 206)]


def test_a_snapshot_is_what_was_pushed_and_comes_once(hub, filled):
    folder = Path(snapshot_download(REPO))
    assert folder.name == filled
    assert (folder / "model.safetensors").read_bytes() == bytes(range(256)) * 1000
    assert (folder / "sub" / "notes.txt").read_text() == "notes"
    hub.log.clear()
    assert snapshot_download(REPO) == str(folder)
    hf_hub_download(REPO, "model.safetensors")  # asks for the ETag, and has the content
    assert downloads(hub) == [] and [item for item in hub.log if item.method == "HEAD"]


def test_only_the_files_that_fit_the_patterns_come(hub, filled):
    folder = Path(snapshot_download(REPO, allow_patterns=["*.json"]))
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    assert downloads(hub) == ["config.json"]


def test_a_revision_is_pinned_by_commit_tag_or_branch(hub, api, filled):
    api.create_tag(REPO, tag="v1")
    api.upload_file(repo_id=REPO, path_in_repo="config.json", path_or_fileobj=b'{"new": 1}')
    for revision in (filled, "v1"):
        assert Path(hf_hub_download(REPO, "config.json", revision=revision)).read_text() == "{}"
    assert Path(hf_hub_download(REPO, "config.json")).read_text() == '{"new": 1}'
    asked = api.upload_file(repo_id=REPO, path_in_repo="c", path_or_fileobj=b"pr", create_pr=True)
    assert Path(hf_hub_download(REPO, "c", revision=asked.pr_revision)).read_text() == "pr"
    with pytest.raises(RevisionNotFoundError):
        snapshot_download(REPO, revision="v9")
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download(REPO, "config.json", revision="v9")
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(REPO, "missing.json")


def test_a_warm_cache_needs_no_server(hub, filled, monkeypatch):
    folder = snapshot_download(REPO)
    hub.stop()
    assert snapshot_download(REPO) == folder  # the server cannot be reached
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert snapshot_download(REPO) == folder
    assert hf_hub_download(REPO, "config.json") == os.path.join(folder, "config.json")
    with pytest.raises(LocalEntryNotFoundError):
        hf_hub_download(REPO, "other.json")


def test_parts_of_a_file_come_as_ranges(hub, filled):
    files = HfFileSystem()
    hub.log.clear()
    with files.open(f"{REPO}/model.safetensors", block_size=1024) as file:
        file.seek(1000)
        assert file.read(16) == (bytes(range(256)) * 5)[1000:1016]
    (part,) = [item for item in hub.log if "/resolve/" in item.path and item.method == "GET"]
    assert part.status == 206 and part.sent < 10_000
    assert files.cat_file(f"{REPO}/model.safetensors", start=-4) == bytes([252, 253, 254, 255])
    assert files.info(f"{REPO}/sub")["type"] == "directory"
    assert files.glob(f"{REPO}/**/*.txt") == [f"{REPO}/sub/notes.txt"]


def parquet(**columns: list) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()


CARD = b"""---
configs:
- config_name: first
  data_files: values/first/*.parquet
- config_name: second
  data_files:
  - split: train
    path: values/second/a.parquet
  - split: test
    path: values/second/b.parquet
---
# Values
"""


@pytest.fixture
def dataset(api: HfApi) -> str:
    """A dataset repository with two configurations in its card."""
    api.create_repo("robots/labels", repo_type="dataset")
    files = {
        "README.md": CARD,
        "values/first/part-0.parquet": parquet(value=[-0.5, -0.25]),
        "values/first/part-1.parquet": parquet(value=[0.0]),
        "values/second/a.parquet": parquet(value=[-1.0]),
        "values/second/b.parquet": parquet(value=[-0.125]),
    }
    for path, content in files.items():
        api.upload_file(
            repo_id="robots/labels", repo_type="dataset", path_in_repo=path, path_or_fileobj=content
        )
    return "robots/labels"


@pytest.mark.parametrize("streaming", [False, True])
def test_load_dataset_reads_the_configurations_of_the_card(hub, dataset, streaming):
    import datasets

    first = datasets.load_dataset(dataset, "first", split="train", streaming=streaming)
    assert [row["value"] for row in first] == [-0.5, -0.25, 0.0]
    second = datasets.load_dataset(dataset, "second", streaming=streaming)
    assert {name: [row["value"] for row in split] for name, split in second.items()} == {
        "train": [-1.0],
        "test": [-0.125],
    }
    assert datasets.get_dataset_config_names(dataset) == ["first", "second"]
    whole = {item.rsplit("/")[-1] for item in downloads(hub)}
    assert whole == {"README.md", "part-0.parquet", "part-1.parquet", "a.parquet", "b.parquet"}


def test_load_dataset_pins_a_revision_and_names_one_that_is_not_there(api, dataset):
    import datasets

    old = api.dataset_info(dataset).sha
    api.upload_file(
        repo_id=dataset,
        repo_type="dataset",
        path_in_repo="values/first/part-1.parquet",
        path_or_fileobj=parquet(value=[-0.75]),
    )
    loaded = datasets.load_dataset(dataset, "first", split="train", revision=old)
    assert loaded[-1] == {"value": 0.0}
    assert datasets.load_dataset(dataset, "first", split="train")[-1] == {"value": -0.75}
    with pytest.raises(Exception, match="v9"):
        datasets.load_dataset(dataset, "first", revision="v9")


def test_pushing_a_dataset_and_reading_it_with_pyarrow_and_pandas(hub, api):
    import datasets
    import pandas

    made = datasets.Dataset.from_dict({"value": [-0.5, 0.0], "text": ["a", "b"]})
    made.push_to_hub("robots/pushed", private=True)
    path = "datasets/robots/pushed/data/train-00000-of-00001.parquet"
    table = pyarrow.parquet.read_table(path, filesystem=HfFileSystem(), columns=["value"])
    assert table["value"].to_pylist() == [-0.5, 0.0]
    assert list(pandas.read_parquet(f"hf://{path}")["text"]) == ["a", "b"]
    assert datasets.load_dataset("robots/pushed", split="train")[1] == {"value": 0.0, "text": "b"}
