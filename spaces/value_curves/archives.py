"""Zips of visitors: looked through before anything is written, and counted while they are unpacked.

In the decoding process only.
"""

import stat
import zipfile
from pathlib import Path, PurePosixPath

from limits import Limits, VisitorError

VIDEO_ENDINGS = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".3gp"}
STATE_ENDINGS = {".csv", ".parquet"}
UNPACKED_ENDINGS = VIDEO_ENDINGS | STATE_ENDINGS | {".json", ".jsonl", ".png", ".jpg", ".jpeg"}
BOMB = 200  # times smaller than its contents: no video compresses so far


def unpack(archive: Path, folder: Path, limits: Limits) -> Path:
    """The files of a zip that an episode may need, in `folder`. No link, no path outwards, no bomb."""
    folder.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [entry for entry in opened.infolist() if not entry.is_dir()]
            check_entries(archive, entries, limits)
            left = int(limits.unpacked_mb * 1e6)
            for entry in entries:
                if PurePosixPath(entry.filename).suffix.lower() in UNPACKED_ENDINGS:
                    left -= _unpack_one(opened, entry, folder, left, limits)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError, OSError) as error:
        raise VisitorError(
            f"{archive.name} is no zip that can be unpacked ({error}). Zip the folder again, and upload that."
        ) from error
    return folder


def check_entries(archive: Path, entries: list[zipfile.ZipInfo], limits: Limits) -> None:
    """Refuse an archive by its directory alone. Raises VisitorError."""
    if len(entries) > limits.unpacked_files:
        raise VisitorError(
            f"{archive.name} holds {len(entries)} files, at most {limits.unpacked_files:.0f} are unpacked: "
            "zip "
            "the episode alone, or name the dataset of the Hub."
        )
    for entry in entries:
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in entry.filename:
            raise VisitorError(
                f"{archive.name} holds a file that would land outside of its folder "
                f"({entry.filename[:80]!r}): "
                "zip the folder itself, with plain names."
            )
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise VisitorError(
                f"{archive.name} holds a link ({entry.filename[:80]!r}) instead of a file: zip the files "
                "themselves (zip follows links unless told not to)."
            )
        if entry.flag_bits & 1:
            raise VisitorError(f"{archive.name} has a password: zip it without one.")
        if entry.file_size > 1e6 and entry.file_size > BOMB * max(entry.compress_size, 1):
            raise VisitorError(
                f"{archive.name} is not unpacked: {entry.filename[:80]!r} would become "
                f"{entry.file_size / 1e6:.0f} MB, {BOMB} times its size or more."
            )
    total = sum(entry.file_size for entry in entries)
    if total > limits.unpacked_mb * 1e6:
        raise VisitorError(
            f"{archive.name} would unpack to {total / 1e6:.0f} MB, at most {limits.unpacked_mb:.0f} MB are "
            "allowed: zip the episode alone, or name the dataset of the Hub."
        )


def _unpack_one(
    opened: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, left: int, limits: Limits
) -> int:
    """Write one file, counting what really comes out; bytes written."""
    target = folder.joinpath(*PurePosixPath(entry.filename.replace("\\", "/")).parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with opened.open(entry) as source, target.open("xb") as file:
        while block := source.read(1 << 20):
            written += len(block)
            if written > left:
                raise VisitorError(
                    f"{Path(opened.filename or '').name} unpacks to more than {limits.unpacked_mb:.0f} MB, "
                    "and "
                    "to more than it says: it is damaged, or a trap."
                )
            file.write(block)
    return written
