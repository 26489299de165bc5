"""The Hub on this machine fails on purpose, and the unmodified clients recover."""

import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.lfs import UploadInfo, post_lfs_batch_info

REPO, TOKEN = "robots/value", "hf_ann_writes_0123456789abcdef"
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


def test_a_client_that_hangs_up_in_an_upload_leaves_nothing(hub, api):
    api.create_repo(REPO)
    info = UploadInfo.from_bytes(CONTENT)
    ((action,), _, _) = post_lfs_batch_info([info], TOKEN, "model", REPO)
    address = urlsplit(action["actions"]["upload"]["href"])
    for head, half in (
        (b"Content-Length: %d" % len(CONTENT), CONTENT[:1000]),
        (b"Transfer-Encoding: chunked", b"3e8\r\n" + CONTENT[:1000] + b"\r\n"),
    ):
        with socket.create_connection(("127.0.0.1", hub.port), timeout=60) as connection:
            connection.sendall(
                b"PUT %s HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n" % (address.path.encode(), head) + half
            )
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) == b""
    assert [item.status for item in hub.log if item.method == "PUT"] == [0, 0]
    assert list(hub.store.incoming.iterdir()) == []
    assert hub.store.find("model", REPO).lfs == []


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
