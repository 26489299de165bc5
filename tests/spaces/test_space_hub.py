"""Episodes of the Hub, through the decoding process, against the Hub on this machine (tests/hub_server)."""

import sys
from pathlib import Path

import pytest
from checkpoints import Checkpoints
from huggingface_hub import HfApi
from limits import Limits, VisitorError
from results import Results
from service import EXAMPLES, Service

sys.path.insert(0, str(Path(__file__).parent.parent))
from hub_server import HubServer  # noqa: E402

TOKEN = "hf_owner_of_the_space_0123456789"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A Hub with a public and a private copy of the examples, both of whoever owns the Space."""
    with HubServer(tmp_path_factory.mktemp("hub-machine")) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        server.add_user("owner", TOKEN)
        api = HfApi(endpoint=server.url, token=TOKEN)
        for name, private in (("owner/robots", False), ("owner/secret", True)):
            api.create_repo(name, repo_type="dataset", private=private)
            api.upload_folder(repo_id=name, repo_type="dataset", folder_path=EXAMPLES)
        yield server


@pytest.fixture
def service(hub, space_checkpoints, tmp_path, monkeypatch) -> Service:
    """The service of a Space whose owner may read everything."""
    for name in ("HF_HUB_OFFLINE", "VALUECURVE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in hub.env(TOKEN).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("VALUECURVE_CACHE", str(tmp_path / "cache"))
    places = {"tiny": str(space_checkpoints["tiny"])}
    (tmp_path / "root").mkdir()
    return Service(Checkpoints(places), Results(3600, tmp_path / "root"), Limits(), dtype="float32")


def silent(share: float, text: str) -> None:
    pass


def test_an_episode_of_the_hub_has_the_curve_of_the_same_episode_here(service):
    payload = service.hub("owner/robots@main", 1, [], "me", silent).payload
    example = service.example("1", [], silent).payload
    assert payload["models"][0]["value"] == example["models"][0]["value"]
    assert (payload["dataset"], payload["episode"], payload["success"]) == ("robots", 1, True)


@pytest.mark.parametrize(
    ("name", "episode", "message"),
    [
        ("owner/secret", 0, "There is no public dataset owner/secret on the Hub"),
        ("owner/nothing", 0, "There is no public dataset owner/nothing on the Hub"),
        ("owner/robots@no-such-revision", 0, "owner/robots has no revision 'no-such-revision'"),
        ("owner/robots", 77, "There is no episode 77: the dataset has 6 episodes, 0 to 5"),
    ],
)
def test_what_a_visitor_cannot_see_is_refused_by_name(service, hub, name, episode, message):
    hub.log.clear()
    with pytest.raises(VisitorError, match=message):
        service.hub(name, episode, [], "me", silent)
    assert {entry.user for entry in hub.log} <= {None}  # the owner's token was never used


def test_a_dataset_whose_tables_are_too_large_is_refused_before_they_are_fetched(service, hub):
    service.limits = Limits(unpacked_mb=0.02)
    hub.log.clear()
    with pytest.raises(VisitorError, match="The tables of owner/robots have .* MB, and at most 0 MB"):
        service.hub("owner/robots", 1, [], "me", silent)
    assert not [entry for entry in hub.log if "/resolve/" in entry.path]


def test_a_hub_that_does_not_answer_is_told_in_words_for_a_visitor(service, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        VisitorError, match="^The Hub does not answer at the moment, so owner/robots cannot"
    ) as seen:
        service.hub("owner/robots", 1, [], "me", silent)
    assert "Errno" not in str(seen.value) and "try again" in str(seen.value).lower()
