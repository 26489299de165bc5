"""Tables of the benchmarks in the pages that show them."""

from pathlib import Path


def write_between(path: Path, marker: str, text: str, title: str = "# Results") -> None:
    """Replaces what stands between the marker's two comments in a page, or appends both.

    `title` is the first line of a page that is not there yet.
    """
    begin, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    page = path.read_text(encoding="utf-8") if path.is_file() else f"{title}\n"
    if begin in page and end in page:
        before, rest = page.split(begin, 1)
        page = f"{before}{begin}\n{text}\n{end}{rest.split(end, 1)[1]}"
    else:
        page = f"{page.rstrip()}\n\n{begin}\n{text}\n{end}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
