"""The Hub on this machine: tokens, private and gated repositories."""

import httpx
import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

REPO = "robots/value"
BOB = "hf_bob_writes_0123456789abcdef"


@pytest.fixture
def bob(hub) -> HfApi:
    return HfApi(token=BOB)


def test_a_wrong_token_is_told(hub):
    with pytest.raises(HfHubHTTPError, match="Invalid user token") as error:
        HfApi(token="hf_wrong").whoami()
    assert error.value.response.status_code == 401
    with pytest.raises(HfHubHTTPError, match="Invalid credentials in Authorization header"):
        HfApi(token="hf_wrong").create_repo(REPO)


def test_a_token_is_refused_once_it_is_revoked(hub, api):
    api.create_repo(REPO)
    hub.revoke("hf_ann_writes_0123456789abcdef")
    with pytest.raises(HfHubHTTPError, match="Invalid credentials"):
        api.upload_file(repo_id=REPO, path_in_repo="a", path_or_fileobj=b"1")


def test_a_read_token_reads_and_does_not_write(hub, api):
    api.create_repo(REPO, private=True)
    reader = HfApi(token="hf_ann_reads_0123456789abcdef")
    assert reader.repo_info(REPO).private
    with pytest.raises(HfHubHTTPError, match="write token"):
        reader.upload_file(repo_id=REPO, path_in_repo="a", path_or_fileobj=b"1")
    with pytest.raises(HfHubHTTPError, match="write token"):
        reader.create_repo("robots/other")


def test_others_do_not_write(hub, api, bob):
    api.create_repo(REPO)
    with pytest.raises(HfHubHTTPError, match="rights to write under the namespace robots"):
        bob.upload_file(repo_id=REPO, path_in_repo="a", path_or_fileobj=b"1")
    with pytest.raises(HfHubHTTPError, match="rights to write under the namespace robots"):
        bob.create_repo("robots/more")
    assert bob.create_repo(REPO, exist_ok=True).repo_id == REPO  # there already: nothing to write
    with pytest.raises(HfHubHTTPError):
        bob.delete_repo(REPO)
    bob.auth_check(REPO)
    with pytest.raises(HfHubHTTPError):
        bob.auth_check(REPO, write=True)


def test_a_private_repository_is_not_there_for_others(hub, api, bob, monkeypatch):
    api.create_repo(REPO, private=True)
    api.upload_file(repo_id=REPO, path_in_repo="a", path_or_fileobj=b"1")
    assert api.repo_exists(REPO) and not bob.repo_exists(REPO)
    assert [item.id for item in api.list_models()] == [REPO] and list(bob.list_models()) == []
    for attempt in (
        lambda: hf_hub_download(REPO, "a", token=BOB),
        lambda: snapshot_download(REPO, token=BOB),
    ):
        with pytest.raises(RepositoryNotFoundError):
            attempt()
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(RepositoryNotFoundError):
        HfApi().repo_info(REPO)
    api = HfApi(token="hf_ann_writes_0123456789abcdef")
    api.update_repo_settings(REPO, private=False)
    assert HfApi().repo_info(REPO).id == REPO


def test_a_gated_repository_names_the_page_where_to_accept(hub, api, bob):
    api.create_repo(REPO)
    api.upload_file(repo_id=REPO, path_in_repo="w.safetensors", path_or_fileobj=b"w")
    api.update_repo_settings(REPO, gated="auto")
    page = f"{hub.url}/{REPO}"
    assert bob.repo_info(REPO).gated == "auto"  # everybody sees that it is there
    with pytest.raises(GatedRepoError, match=f"Visit {page} to ask for access"):
        hf_hub_download(REPO, "w.safetensors", token=BOB)
    with pytest.raises(GatedRepoError, match="Please log in"):
        hf_hub_download(REPO, "w.safetensors", token=False)
    assert hf_hub_download(REPO, "w.safetensors")  # the owner's
    assert "accepted its conditions" in httpx.get(page, timeout=60).text
    answer = httpx.post(f"{page}/accept", headers={"Authorization": f"Bearer {BOB}"}, timeout=60)
    assert answer.json() == {"accepted": True}
    assert hf_hub_download(REPO, "w.safetensors", token=BOB)


def test_the_owner_of_a_gated_repository_grants_access(hub, api):
    api.create_repo(REPO, repo_type="dataset")
    api.upload_file(repo_id=REPO, repo_type="dataset", path_in_repo="a.txt", path_or_fileobj=b"1")
    hub.gate("dataset", REPO)
    with pytest.raises(GatedRepoError, match=f"{hub.url}/datasets/{REPO}"):
        hf_hub_download(REPO, "a.txt", repo_type="dataset", token=BOB)
    api.grant_access(REPO, "bob", repo_type="dataset")
    assert hf_hub_download(REPO, "a.txt", repo_type="dataset", token=BOB)


def test_a_missing_repository_is_told_as_such(hub, api):
    for type_ in ("model", "dataset", "space"):
        with pytest.raises(RepositoryNotFoundError):
            api.repo_info("robots/nothing", repo_type=type_)
        with pytest.raises(RepositoryNotFoundError):
            hf_hub_download("robots/nothing", "a", repo_type=type_)
    with pytest.raises(RepositoryNotFoundError):
        api.upload_file(repo_id="robots/nothing", path_in_repo="a", path_or_fileobj=b"1")
