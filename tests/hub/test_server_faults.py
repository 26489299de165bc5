"""The Hub on this machine fails on purpose, and the unmodified clients recover."""

from pathlib import Path

import pytest
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

REPO = "robots/value"
CONTENT = bytes(range(256)) * 4000  # 1 MB


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(CONTENT)
    return path


def test_an_upload_that_is_cut_is_sent_again_by_the_client(hub, api, weights):
    api.create_repo(REPO)
    fault = hub.faults.cut_upload(after=200_000)
    api.upload_file(repo_id=REPO, path_in_repo="model.safetensors", path_or_fileobj=weights)
    assert fault.struck == 1 and [item.status for item in hub.log if item.method == "PUT"] == [0, 200]
    assert hub.files("model", REPO)["model.safetensors"] == CONTENT
    assert list(hub.store.incoming.iterdir()) == []  # no half of it stays


def test_a_commit_that_is_cut_is_completed_by_the_next_run(hub, api, weights, tmp_path):
    api.create_repo(REPO)
    hub.faults.cut_upload("/commit/")
    with pytest.raises(Exception, match="disconnected|closed|reset|Broken pipe"):
        api.upload_folder(repo_id=REPO, folder_path=tmp_path, allow_patterns="*.safetensors")
    assert hub.history("model", REPO) == ["initial commit"]
    hub.log.clear()
    api.upload_folder(repo_id=REPO, folder_path=tmp_path, allow_patterns="*.safetensors")
    assert hub.files("model", REPO)["model.safetensors"] == CONTENT
    assert not [item for item in hub.log if item.method == "PUT"]  # the content had arrived


def test_a_commit_whose_answer_is_lost_is_not_made_twice(hub, api, weights):
    api.create_repo(REPO)
    hub.faults.lose_answer("/commit/")
    for attempt in range(2):
        try:
            api.upload_file(repo_id=REPO, path_in_repo="model.safetensors", path_or_fileobj=weights)
        except Exception:
            assert attempt == 0
    assert len(hub.history("model", REPO)) == 2


def test_a_download_that_is_cut_goes_on_where_it_was(hub, api, weights, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 16)  # 10 MB keep no less
    api.create_repo(REPO)
    api.upload_file(repo_id=REPO, path_in_repo="model.safetensors", path_or_fileobj=weights)
    hub.faults.cut_download(after=300_000)
    hub.log.clear()
    path = hf_hub_download(REPO, "model.safetensors")
    assert Path(path).read_bytes() == CONTENT
    first, second = [item for item in hub.log if item.method == "GET"]
    assert (first.status, second.status) == (0, 206) and second.sent < len(CONTENT)


def test_a_full_disk_is_told_and_nothing_is_committed(hub, api, weights):
    api.create_repo(REPO)
    hub.faults.full_disk = True
    with pytest.raises(HfHubHTTPError, match="No space left on the Hub's disk"):
        api.upload_file(repo_id=REPO, path_in_repo="model.safetensors", path_or_fileobj=weights)
    assert hub.history("model", REPO) == ["initial commit"]
    hub.faults.clear()
    api.upload_file(repo_id=REPO, path_in_repo="model.safetensors", path_or_fileobj=weights)
    assert hub.files("model", REPO)["model.safetensors"] == CONTENT


def test_the_second_request_is_refused_and_the_third_is_answered(hub, api):
    hub.faults.refuse("/api/repos/create", status=503, message="Down for a moment", nth=2)
    api.create_repo("ann/one")
    with pytest.raises(HfHubHTTPError, match="Down for a moment"):
        api.create_repo("ann/two")
    api.create_repo("ann/two")
