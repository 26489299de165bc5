"""What belongs to a machine is found in what is to be pushed, by file and line, and nothing else is."""

import getpass
import socket

import pytest

from valuecurve.hub import trust
from valuecurve.hub.trust import leaks

HUB_TOKEN = "hf_" + "a1B2" * 8


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """A machine of its own: quentin's, with a token of W&B's."""
    monkeypatch.setattr(getpass, "getuser", lambda: "quentin")
    monkeypatch.setattr(socket, "gethostname", lambda: "lab-robot-7")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    monkeypatch.setenv("HF_TOKEN", HUB_TOKEN)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("data: /home/bob/data/push", "the absolute path '/home/bob/data/push'"),
        ('"path": "/mnt/disk/x.mp4",', "the absolute path '/mnt/disk/x.mp4'"),
        (r"C:\Users\bob\data", "the absolute path 'C:"),
        ("by quentin, on Monday", "the user name 'quentin'"),
        ("host: lab-robot-7", "the host name 'lab-robot-7'"),
        ("key=0123456789abcdef", "the value of the environment variable WANDB_API_KEY"),
        (f"token: {HUB_TOKEN}", "HF_TOKEN"),
        ("hf_" + "z" * 30, "a token of the Hub"),
    ],
)
def test_what_belongs_here_is_found(line, what):
    (leak,) = leaks({"a/file.txt": f"first\n{line}\n"})
    assert leak.startswith("a/file.txt:2: ") and what in leak
    assert HUB_TOKEN not in leak and "0123456789abcdef" not in leak


@pytest.mark.parametrize(
    "line",
    [
        "see https://example.org/home/page and docs/home/page.md",
        "to /dev/null and /usr/bin/env",
        "quentinite is a mineral",
        "hf_short and hf_hub_download",
        "trained on ann/data; the share of /root is 3",
    ],
)
def test_what_is_harmless_is_not(line):
    assert leaks({"file.txt": line}) == []


def test_the_name_in_the_repository_itself_is_no_secret():
    text = "https://huggingface.co/quentin/value"
    assert leaks({"README.md": text}, "quentin/value") == []
    assert len(leaks({"README.md": text + " by quentin"}, "quentin/value")) == 1


def test_secrets_are_found_in_files_that_are_no_text(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\x00\xff" + HUB_TOKEN.encode())
    assert len(leaks({"model.safetensors": path})) == 1
    path.write_bytes(b"\x00\xff quentin /home/bob/x")
    assert leaks({"model.safetensors": path}) == []


def test_vocabularies_hold_words():
    assert leaks({"tokenizer.json": '{"quentin": 7, "/home/bob/x": 8}'}) == []
    assert len(leaks({"tokenizer.json": HUB_TOKEN})) == 1


def test_names_that_say_nothing_are_not_looked_for(monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "root")
    monkeypatch.setattr(socket, "gethostname", lambda: "node")
    assert trust.own_names() == {}
