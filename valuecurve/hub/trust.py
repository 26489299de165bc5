"""What must not leave this machine: looked for in every file before it is pushed.

Places on a machine (absolute paths), the names of its user and of the host, tokens of the Hub, and the values
of environment variables that are named like secrets. Of files that are no text only the secrets are looked
for. A message never repeats a secret.
"""

import getpass
import os
import re
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

Content = Path | bytes | str
LARGE = 64_000_000  # bytes: a file of tensors or pictures beyond this is not read again before its upload

# Folders of machines; not parts of URLs or of relative paths (`docs/home/…`, `{root}/tmp/…`).
PLACE = re.compile(
    r"""(?<![\w.:/{}<>$~-])(?:
        /(?:home|root|Users|work|tmp|mnt|media|scratch|data|datasets|opt|srv|var|workspace|private|gpfs|lustre)
        (?:/[^\s"'`,;:)\]}<>|]+)+
        | [A-Za-z]:\\{1,2}[\w.-]+\\
    )""",
    re.VERBOSE,
)
TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{20,}\b|\bapi_org_[A-Za-z0-9]{20,}\b")
SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY", re.IGNORECASE
)
SHORTEST_SECRET = 8  # characters; "true" and "1" are values of such variables too
# Names that say nothing of anybody, or are words that a text may hold for its own reasons.
COMMON_NAMES = {
    *("root", "user", "users", "admin", "ubuntu", "debian", "docker", "runner", "nobody", "vscode", "jovyan"),
    *("localhost", "container", "server", "node", "worker", "robot", "model", "value", "test", "data"),
}
# Long lists of ordinary words and pieces of words, among which any name may be.
VOCABULARIES = {"tokenizer.json", "vocab.json", "vocab.txt", "merges.txt"}


def find_leaks(path: str, content: Content, repo: str = "") -> Iterator[str]:
    """What a file holds that must stay here, as "config.json:12: the absolute path '/…/…'".

    Args:
        path: the file's path in the repository.
        content: a file, or what is to be in one.
        repo: the repository's name, which may hold the user's.
    """
    found = secrets()
    text = _text(content)
    if text is None:
        data = _bytes(content)
        for name, value in found.items():
            if value.encode() in data:
                yield f"{path}: {name}"
        return
    names = {} if PurePosixPath(path).name in VOCABULARIES else own_names()
    searched_places = PurePosixPath(path).name not in VOCABULARIES
    here = _own_places() if searched_places else []
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{path}:{number}"
        if leaked := next((name for name, value in found.items() if value in line), None):
            yield f"{where}: {leaked}"
            continue
        if TOKEN.search(line):
            yield f"{where}: a token of the Hub"
            continue
        if searched_places and (place := _place_in(line, here)):
            yield f"{where}: the absolute path {place!r}"
        plain = line.replace(repo, "") if repo else line
        for kind, name in names.items():
            if re.search(rf"(?<![\w]){re.escape(name)}(?![\w])", plain):
                yield f"{where}: {kind} {name!r}"


def leaks(files: Mapping[str, Content], repo: str = "") -> list[str]:
    """`find_leaks` of all files that are to be pushed."""
    return [leak for path, content in files.items() for leak in find_leaks(path, content, repo)]


def secrets() -> dict[str, str]:
    """What they are, in words, and their values: the Hub's token, and variables that are named as secrets."""
    from huggingface_hub import get_token

    values = {
        f"the value of the environment variable {name}": value.strip()
        for name, value in os.environ.items()
        if SECRET_NAME.search(name) and len(value.strip()) >= SHORTEST_SECRET and not os.path.exists(value)
    }
    token = get_token()
    if token and token not in values.values():
        values["your token of the Hub"] = token
    return values


def own_names() -> dict[str, str]:
    """The names of the user and of the host, unless they are words that say nothing."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a name for its user
        user = ""
    names = {"the user name": user, "the host name": socket.gethostname()}
    return {kind: name for kind, name in names.items() if len(name) >= 4 and name.lower() not in COMMON_NAMES}


def _own_places() -> list[str]:
    """Folders of this very machine, longest first."""
    places = {os.getcwd(), str(Path.home()), os.path.realpath(tempfile.gettempdir())}
    return sorted((place for place in places if place.count("/") > 1), key=len, reverse=True)


def _place_in(line: str, here: Iterable[str]) -> str | None:
    if own := next((place for place in here if place in line), None):
        return own
    match = PLACE.search(line)
    return match.group().rstrip(".") if match else None


def _text(content: Content) -> str | None:
    """A file as text; None for one that is none."""
    if isinstance(content, str):
        return content
    if isinstance(content, Path) and content.suffix in (".safetensors", ".mp4", ".parquet", ".png"):
        return None
    try:
        text = _bytes(content).decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _bytes(content: Content) -> bytes:
    if isinstance(content, str):
        return content.encode()
    if isinstance(content, bytes):
        return content
    return content.read_bytes() if content.stat().st_size <= LARGE else b""
