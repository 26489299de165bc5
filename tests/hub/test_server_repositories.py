"""The Hub on this machine: repositories, commits and revisions, through the unmodified HfApi."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from hub_server import HubServer
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.lfs import UploadInfo, lfs_upload, post_lfs_batch_info

REPO = "robots/value"


def add(path: str, content: bytes) -> CommitOperationAdd:
    return CommitOperationAdd(path, content)


def test_whoami_tells_user_organisations_and_role(api):
    me = api.whoami()
    assert (me["name"], [org["name"] for org in me["orgs"]]) == ("ann", ["robots"])
    assert me["auth"]["accessToken"]["role"] == "write"


@pytest.mark.parametrize("type_", ["model", "dataset", "space"])
def test_a_repository_is_made_described_listed_moved_and_deleted(hub, api, type_):
    sdk = {"space_sdk": "gradio"} if type_ == "space" else {}
    url = api.create_repo(REPO, repo_type=type_, **sdk)
    assert (url.repo_id, url.repo_type, url.endpoint) == (REPO, type_, hub.url)
    info = api.repo_info(REPO, repo_type=type_)
    assert (info.id, info.author, info.private) == (REPO, "robots", False)
    assert ".gitattributes" in [item.rfilename for item in info.siblings]
    listing = {"model": api.list_models, "dataset": api.list_datasets, "space": api.list_spaces}[type_]
    assert [item.id for item in listing(author="robots", search="val")] == [REPO]
    assert list(listing(author="ann")) == []
    api.move_repo(REPO, "ann/moved", repo_type=type_)
    assert api.repo_exists("ann/moved", repo_type=type_) and not api.repo_exists(REPO, repo_type=type_)
    api.delete_repo("ann/moved", repo_type=type_)
    assert not api.repo_exists("ann/moved", repo_type=type_)
    with pytest.raises(RepositoryNotFoundError):
        api.delete_repo("ann/moved", repo_type=type_)


def test_a_name_without_organisation_is_the_users(api):
    assert api.create_repo("mine").repo_id == "ann/mine"


def test_a_taken_name_is_refused_and_exist_ok_takes_it(api):
    first = api.create_repo(REPO)
    with pytest.raises(HfHubHTTPError, match="already created this model repo") as error:
        api.create_repo(REPO)
    assert error.value.response.status_code == 409
    assert api.create_repo(REPO, exist_ok=True) == first
    api.create_repo(REPO, repo_type="dataset")  # another kind, another repository


def test_one_commit_adds_replaces_copies_and_deletes(hub, api):
    api.create_repo(REPO)
    first = [add("a/x.txt", b"x"), add("a/y.txt", b"y"), add("b.safetensors", b"w" * 100)]
    api.create_commit(REPO, first, commit_message="one")
    operations = [
        add("a/x.txt", b"new"),
        CommitOperationDelete("a/y.txt"),
        CommitOperationCopy("b.safetensors", "copies/b.safetensors"),
        CommitOperationCopy("a/x.txt", "copies/x.txt"),
    ]
    made = api.create_commit(REPO, operations, commit_message="two", commit_description="more")
    assert hub.files("model", REPO).keys() == {
        ".gitattributes",
        "a/x.txt",
        "b.safetensors",
        "copies/b.safetensors",
        "copies/x.txt",
    }
    assert hub.files("model", REPO)["a/x.txt"] == b"new"
    assert hub.files("model", REPO)["copies/x.txt"] == b"x"
    commits = api.list_repo_commits(REPO)
    assert [item.title for item in commits] == ["two", "one", "initial commit"]
    assert (commits[0].commit_id, commits[0].message, commits[0].authors) == (made.oid, "more", ["ann"])
    api.delete_folder("copies", REPO)
    assert not [path for path in api.list_repo_files(REPO) if path.startswith("copies")]
    with pytest.raises(EntryNotFoundError):
        api.delete_file("nothing.txt", REPO)


def send(hub: HubServer, *lines: dict, revision: str = "main") -> httpx.Response:
    """A commit as it is on the wire, for what the client does not send."""
    body = "\n".join(json.dumps(line) for line in lines)
    headers = {"Authorization": "Bearer hf_ann_writes_0123456789abcdef"}
    place = f"{hub.url}/api/models/{REPO}/commit/{revision}"
    return httpx.post(place, content=body, headers=headers, timeout=60)


def test_a_commit_on_the_wire_copies_on_the_server_and_refuses_what_it_does_not_know(hub, api):
    api.create_repo(REPO)
    api.upload_file(repo_id=REPO, path_in_repo="a/x.txt", path_or_fileobj=b"x")
    header = {"key": "header", "value": {"summary": "copy"}}
    copy = {"key": "copyFile", "value": {"path": "b.txt", "srcPath": "a/x.txt"}}
    folder = {"key": "deletedFolder", "value": {"path": "a/"}}
    assert send(hub, header, copy, folder).json()["success"]
    assert hub.files("model", REPO).keys() == {".gitattributes", "b.txt"}
    for wrong in (
        [copy],  # no header
        [header, {"key": "renameFile", "value": {"path": "b.txt"}}],
        [header, {"key": "file", "value": {"path": "c", "content": "no base64!", "encoding": "base64"}}],
        [header, copy | {"value": {"path": "d", "srcPath": "missing"}}],
    ):
        assert send(hub, *wrong).status_code in (400, 404)
    assert hub.history("model", REPO)[0] == "copy"


def test_commits_at_the_same_time_all_stay(hub, api):
    api.create_repo(REPO)

    def upload(number: int) -> str:
        return api.upload_file(repo_id=REPO, path_in_repo=f"{number}", path_or_fileobj=b"%d" % number).oid

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(upload, range(24)))
    assert hub.files("model", REPO).keys() == {".gitattributes", *(f"{number}" for number in range(24))}
    assert {commit.oid for commit in hub.store.find("model", REPO).history("main")[:-1]} == set(made)


@pytest.mark.parametrize("name", ["ann/..", "ann/a/b", "ann/../x", "ann/.hidden"])
def test_a_name_that_leads_elsewhere_is_refused(hub, api, name):
    api.create_repo(REPO)
    body = {"fromRepo": REPO, "toRepo": name, "type": "model"}
    headers = {"Authorization": "Bearer hf_ann_writes_0123456789abcdef"}
    assert httpx.post(f"{hub.url}/api/repos/move", json=body, headers=headers, timeout=60).status_code == 400
    assert api.repo_exists(REPO)


def test_uploading_the_same_again_makes_no_commit_and_sends_no_file(hub, api, tmp_path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "small.txt").write_text("small")
    (tmp_path / "f" / "w.safetensors").write_bytes(b"\0" * 5000)
    api.create_repo(REPO)
    first = api.upload_folder(repo_id=REPO, folder_path=tmp_path / "f")
    hub.log.clear()
    again = api.upload_folder(repo_id=REPO, folder_path=tmp_path / "f")
    assert again.oid == first.oid and len(hub.history("model", REPO)) == 2
    assert not [item for item in hub.log if item.path.startswith("/lfs/") or "/commit/" in item.path]


def test_a_commit_on_an_old_parent_is_refused(hub, api):
    api.create_repo(REPO)
    old = api.repo_info(REPO).sha
    api.upload_file(repo_id=REPO, path_in_repo="a", path_or_fileobj=b"1", parent_commit=old)
    with pytest.raises(HfHubHTTPError, match="A commit has happened since"):
        api.upload_file(repo_id=REPO, path_in_repo="b", path_or_fileobj=b"2", parent_commit=old)
    assert "b" not in hub.files("model", REPO)


def test_a_commit_that_fails_changes_nothing(hub, api):
    api.create_repo(REPO)
    operations = [add("a", b"1"), add("README.md", b"---\nlicense: [mit\n---\n")]
    before = hub.history("model", REPO)
    with pytest.raises(ValueError, match="Invalid metadata in README.md"):
        api.create_commit(REPO, operations, commit_message="bad card")
    assert hub.history("model", REPO) == before


def test_branches_tags_and_pull_requests(hub, api):
    api.create_repo(REPO)
    first = api.upload_file(repo_id=REPO, path_in_repo="a", path_or_fileobj=b"1").oid
    api.create_branch(REPO, branch="next", revision=first)
    api.create_tag(REPO, tag="v3.0", revision="main")
    api.create_tag(REPO, tag="v3.0", exist_ok=True)
    with pytest.raises(HfHubHTTPError, match="exists already"):
        api.create_tag(REPO, tag="v3.0")
    second = api.upload_file(repo_id=REPO, path_in_repo="a", path_or_fileobj=b"2", revision="next").oid
    asked = api.upload_file(repo_id=REPO, path_in_repo="a", path_or_fileobj=b"3", create_pr=True)
    assert asked.pr_url == f"{hub.url}/{REPO}/discussions/1" and asked.pr_revision == "refs/pr/1"
    more = api.upload_file(repo_id=REPO, path_in_repo="b", path_or_fileobj=b"4", revision="refs/pr/1")
    refs = api.list_repo_refs(REPO, include_pull_requests=True)
    found = {item.ref: item.target_commit for item in [*refs.branches, *refs.tags, *refs.pull_requests]}
    assert found == {
        "refs/heads/main": first,
        "refs/heads/next": second,
        "refs/tags/v3.0": first,
        "refs/pr/1": more.oid,
    }
    assert api.repo_info(REPO, revision="v3.0").sha == first == api.repo_info(REPO, revision=first[:8]).sha
    assert hub.files("model", REPO, "refs/pr/1")["a"] == b"3" and hub.files("model", REPO)["a"] == b"1"
    api.delete_tag(REPO, tag="v3.0")
    api.delete_branch(REPO, branch="next")
    for gone in ("v3.0", "next", "0123456789abcdef0123456789abcdef01234567"):
        with pytest.raises(RevisionNotFoundError):
            api.repo_info(REPO, revision=gone)
    with pytest.raises(RevisionNotFoundError):
        api.upload_file(repo_id=REPO, path_in_repo="a", path_or_fileobj=b"5", revision="nowhere")


def test_trees_and_path_infos_page_by_page(hub, api):
    hub.page_size = 3
    api.create_repo(REPO)
    files = [add(f"d{number}/f{number}.txt", b"x" * number) for number in range(8)]
    made = api.create_commit(REPO, [*files, add("w.safetensors", b"w" * 9)], commit_message="files")
    entries = {item.path: item for item in api.list_repo_tree(REPO, recursive=True, expand=True)}
    assert len(entries) == 8 + 8 + 2
    assert entries["d5/f5.txt"].size == 5 and entries["d5/f5.txt"].last_commit.oid == made.oid
    assert entries["w.safetensors"].lfs.sha256 == hashlib.sha256(b"w" * 9).hexdigest()
    assert {item.path for item in api.list_repo_tree(REPO)} == {
        ".gitattributes",
        "w.safetensors",
        *(f"d{number}" for number in range(8)),
    }
    assert [item.path for item in api.list_repo_tree(REPO, "d5")] == ["d5/f5.txt"]
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree(REPO, "d99"))
    infos = api.get_paths_info(REPO, ["d1", "d2/f2.txt", "missing"])
    assert [(item.path, type(item).__name__) for item in infos] == [
        ("d1", "RepoFolder"),
        ("d2/f2.txt", "RepoFile"),
    ]


@pytest.mark.parametrize("part_size", [64 << 20, 1 << 20])
def test_a_large_file_goes_up_whole_or_in_parts(hub, api, tmp_path, part_size):
    hub.part_size = part_size
    content = bytes(range(256)) * 14000  # 3.6 MB; .bin is large by its name
    (tmp_path / "w.bin").write_bytes(content)
    api.create_repo(REPO)
    api.upload_file(repo_id=REPO, path_in_repo="w.bin", path_or_fileobj=tmp_path / "w.bin")
    assert hub.files("model", REPO)["w.bin"] == content
    assert len([item for item in hub.log if item.method == "PUT"]) == (1 if part_size > 4 << 20 else 4)


def test_a_file_is_large_by_name_by_size_or_by_what_it_holds(api):
    api.create_repo(REPO)
    operations = [
        add("a.parquet", b"text"),
        add("b.txt", b"t" * 10_000_001),
        add("c.txt", b"\0binary"),
        add("d.txt", b"text"),
    ]
    api.create_commit(REPO, operations, commit_message="all")
    infos = api.get_paths_info(REPO, ["a.parquet", "b.txt", "c.txt", "d.txt"])
    assert [item.lfs is not None for item in infos] == [True, True, True, False]


def test_a_content_that_differs_from_its_sha256_is_refused(hub, api):
    api.create_repo(REPO)
    operation = add("w.safetensors", b"what is sent")
    operation.upload_info = UploadInfo.from_bytes(b"what is told")
    headers = {"authorization": "Bearer hf_ann_writes_0123456789abcdef"}
    (action,), errors, _ = post_lfs_batch_info([operation.upload_info], None, "model", REPO, headers=headers)
    assert errors == []
    with pytest.raises(HfHubHTTPError, match="was announced as"):
        lfs_upload(operation, action, headers=headers)
    with pytest.raises(BadRequestError, match="No content with sha256"):
        operation._upload_mode, operation._is_uploaded = "lfs", True
        api.create_commit(REPO, [operation], commit_message="not there")
    assert "w.safetensors" not in hub.files("model", REPO)


def test_a_large_file_of_another_repository_cannot_be_claimed_by_its_sha256(hub, api):
    api.create_repo("ann/secret", private=True)
    api.upload_file(repo_id="ann/secret", path_in_repo="w.bin", path_or_fileobj=b"secret weights")
    bob = HfApi(token="hf_bob_writes_0123456789abcdef")
    bob.create_repo("bob/copy")
    operation = add("w.bin", b"secret weights")
    operation._upload_mode, operation._is_uploaded = "lfs", True
    with pytest.raises(BadRequestError, match="No content with sha256"):
        bob.create_commit("bob/copy", [operation], commit_message="claim")


def test_a_squash_leaves_one_commit_with_the_same_files(hub, api):
    api.create_repo(REPO)
    for number in range(3):
        api.upload_file(repo_id=REPO, path_in_repo=f"{number}", path_or_fileobj=b"x")
    before = hub.files("model", REPO)
    api.super_squash_history(REPO, commit_message="one")
    assert hub.history("model", REPO) == ["one"] and hub.files("model", REPO) == before


def test_a_card_gives_tags_and_fields(api):
    api.create_repo(REPO)
    card = b"---\nlicense: mit\nlibrary_name: transformers\npipeline_tag: robotics\ntags: [value]\n---\n# V\n"
    api.upload_file(repo_id=REPO, path_in_repo="README.md", path_or_fileobj=card)
    info = api.model_info(REPO)
    assert (info.card_data.license, info.library_name, info.pipeline_tag) == (
        "mit",
        "transformers",
        "robotics",
    )
    assert [item.id for item in api.list_models(filter=["value", "license:mit"])] == [REPO]
    assert list(api.list_models(filter="other")) == []


def test_a_space_has_variables_secrets_and_a_state(hub, api):
    api.create_repo("robots/curves", repo_type="space", space_sdk="gradio")
    assert api.get_space_runtime("robots/curves").stage == "NO_APP_FILE"
    app = b"import gradio\n"
    api.upload_file(repo_id="robots/curves", repo_type="space", path_in_repo="app.py", path_or_fileobj=app)
    assert api.get_space_runtime("robots/curves").stage == "RUNNING"
    assert api.space_info("robots/curves").sdk == "gradio"
    api.add_space_variable("robots/curves", "MODELS", "robots/value")
    assert api.get_space_variables("robots/curves")["MODELS"].value == "robots/value"
    api.add_space_secret("robots/curves", "HF_TOKEN", "hf_very_secret")
    assert list(api.get_space_secrets("robots/curves")) == ["HF_TOKEN"]
    kept = [path.read_bytes() for path in hub.store.folder.rglob("*") if path.is_file()]
    assert not [content for content in kept if b"hf_very_secret" in content]


def test_a_job_is_kept_as_it_was_asked_for(hub, api):
    asked = {"image": "python:3.12", "command": ["python", "-V"], "flavor": "cpu-basic", "timeout": "2h"}
    job = api.run_job(**asked, secrets={"HF_TOKEN": "hf_x"})
    assert hub.jobs[job.id]["timeoutSeconds"] == 7200 and hub.job_secrets[job.id] == {"HF_TOKEN": "hf_x"}
    assert api.inspect_job(job_id=job.id).status.stage == "RUNNING"
    assert [item.id for item in api.list_jobs()] == [job.id]
    api.cancel_job(job_id=job.id)
    assert api.inspect_job(job_id=job.id).status.stage == "CANCELED"


def test_a_restart_keeps_everything(hub, api):
    api.create_repo("ann/kept", private=True)
    made = api.upload_file(repo_id="ann/kept", path_in_repo="w.bin", path_or_fileobj=b"weights")
    api.create_tag("ann/kept", tag="v1")
    hub.gate("model", "ann/kept")
    hub.stop()
    with HubServer(hub.folder) as later:
        api = HfApi(endpoint=later.url)
        info = api.repo_info("ann/kept", revision="v1")
        assert (info.sha, info.private, info.gated) == (made.oid, True, "auto")
        assert later.files("model", "ann/kept")["w.bin"] == b"weights"
        api.upload_file(repo_id="ann/kept", path_in_repo="a", path_or_fileobj=b"more")
        assert len(later.history("model", "ann/kept")) == 3
