"""Zips that visitors upload: every trap is refused, and what is left is unpacked."""

import stat
import zipfile
from pathlib import Path

import pytest
from archives import unpack
from limits import Limits, VisitorError

LIMITS = Limits()


def make_zip(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_files_of_an_episode_are_unpacked_and_others_are_left_out(tmp_path):
    files = {"d/meta/info.json": b"{}", "d/videos/a.mp4": b"v", "d/evil.py": b"import os", "d/.hidden": b""}
    folder = unpack(make_zip(tmp_path / "a.zip", files), tmp_path / "out", LIMITS)
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {"d/meta/info.json", "d/videos/a.mp4"}
    assert (folder / "d/videos/a.mp4").read_bytes() == b"v"


@pytest.mark.parametrize("name", ["../a.mp4", "/tmp/a.mp4", "x/../../a.mp4", "..\\a.mp4", "C:\\a.mp4"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path, name):
    archive = make_zip(tmp_path / "a.zip", {name: b"v"})
    with pytest.raises(VisitorError, match="a.zip holds a file that would land outside"):
        unpack(archive, tmp_path / "out", LIMITS)
    assert not (tmp_path / "a.mp4").exists()


def test_a_link_is_refused(tmp_path):
    entry = zipfile.ZipInfo("videos/a.mp4")
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(VisitorError, match="a.zip holds a link"):
        unpack(tmp_path / "a.zip", tmp_path / "out", LIMITS)


def test_a_bomb_is_refused_by_its_directory(tmp_path):
    archive = make_zip(tmp_path / "bomb.zip", {"a.mp4": b"\0" * 20_000_000})
    with pytest.raises(VisitorError, match="'a.mp4' would become 20 MB"):
        unpack(archive, tmp_path / "out", LIMITS)
    with pytest.raises(VisitorError, match="would unpack to 2 MB, at most 1 MB are allowed"):
        files = {"a.mp4": bytes(range(256)) * 4000, "b.mp4": bytes(range(255)) * 4000}
        unpack(make_zip(tmp_path / "b.zip", files, 0), tmp_path / "out2", Limits(unpacked_mb=1))
    assert not list((tmp_path / "out").iterdir())


def test_a_zip_that_lies_about_its_size_is_stopped_while_it_is_unpacked(tmp_path):
    archive = make_zip(tmp_path / "lie.zip", {"a.mp4": b"\0" * 3_000_000})
    data = archive.read_bytes()
    real, claimed = (3_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little")
    archive.write_bytes(data.replace(real, claimed))
    with pytest.raises(VisitorError, match="no zip that can be unpacked|more than it says"):
        unpack(archive, tmp_path / "out", LIMITS)
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*.mp4")) <= 1_000_000


def test_too_many_files_are_refused(tmp_path):
    archive = make_zip(tmp_path / "many.zip", {f"{i}.json": b"" for i in range(30)})
    with pytest.raises(VisitorError, match="many.zip holds 30 files, at most 20 are unpacked"):
        unpack(archive, tmp_path / "out", Limits(unpacked_files=20))


def test_a_password_is_named_as_the_reason(tmp_path):
    archive = make_zip(tmp_path / "secret.zip", {"a.mp4": b"v"})
    data = bytearray(archive.read_bytes())
    for marker, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(marker) + offset] |= 1
    archive.write_bytes(data)
    with pytest.raises(VisitorError, match="secret.zip has a password"):
        unpack(archive, tmp_path / "out", LIMITS)


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\x03\x04 and then nothing"])
def test_what_is_no_zip_is_refused(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(VisitorError, match="a.zip is no zip that can be unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "out", LIMITS)


def test_two_files_of_one_name_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, pytest.warns(UserWarning):
        archive.writestr("a.mp4", b"1")
        archive.writestr("a.mp4", b"2")
    with pytest.raises(VisitorError, match="a.zip is no zip that can be unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "out", LIMITS)
