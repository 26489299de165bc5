"""Where questions about pictures come from: five layouts of datasets, read as one.

    cauldron   columns `images`, `texts` [{user, assistant, source}]: the_cauldron, examples/metaworld_vqa
    llava      `conversations` [{from: human | gpt, value}] and `image`: LLaVA-Instruct, with an image folder
    vqav2      questions JSON, annotations JSON and folder of COCO images; or columns `question`,
               `multiple_choice_answer`, `image`
    flat       columns `question`, `answer` and `image` or `images`
    lerobot    a LeRobot dataset whose `language_events` have rows of style "vqa" (LeRobot 0.6)

A record of a source has some images (possibly none) and some turns of question and answer. Images are opened
late, by `decode_image`. Not here: tokens, batches (questions.py).
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import)

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset, IterableDataset, load_dataset
from PIL import Image, ImageOps, UnidentifiedImageError

from ..episodes import DatasetError, EpisodeDataset, FrameStore, build_frame_store, open_dataset
from ..episodes.layout import is_hub_id, open_parquet, unreadable
from ..episodes.video import find_camera
from .config import one_line

COLUMNS = {  # what tells a layout; the first that fits
    "cauldron": ("images", "texts"),
    "llava": ("conversations",),
    "vqav2": ("question", "multiple_choice_answer"),
    "flat": ("question", "answer"),
}
LAYOUTS = (*COLUMNS, "lerobot")
HELD_OUT = ("validation", "val", "valid", "dev", "test")  # names of a source's own held-out split
READERS = {".parquet": "parquet", ".json": "json", ".jsonl": "json"}
CHUNK = 1000  # records read at a time


class Turn(NamedTuple):
    """One question and its answer; `kind` is what the source says about it, "" when it says nothing."""

    question: str
    answer: str
    kind: str


@dataclass
class Source:
    """Records of one split.

    `rows` are the dataset's own. Names of images are completed by `name` and looked up in `root`; those of a
    LeRobot dataset are frames in `store`. `splits`: whether the split is the source's own; otherwise it is
    made by picture, of a LeRobot dataset by episode.
    """

    place: str  # for messages
    layout: str
    rows: Dataset | IterableDataset
    splits: bool
    root: Path | None = None
    name: str = "{}"  # VQAv2: COCO_train2014_{:012d}.jpg
    dataset: EpisodeDataset | None = None
    store: FrameStore | None = None

    @property
    def image_column(self) -> str | None:
        columns = self.rows.column_names or []
        return next((name for name in ("images", "image", "image_id") if name in columns), None)

    def where(self, record: int) -> str:
        return f"{self.place}, record {record}"


# --- opening -----------------------------------------------------------------------------------------------


def open_source(
    place: str | Path,
    split: str,
    layout: str | None = None,
    images: str | Path | None = None,
    streaming: bool = False,
    cache_dir: str | Path | None = None,
) -> Source:
    """Opens a source of questions that is not a LeRobot dataset.

    Args:
        place: a folder or a file (Parquet, JSON, JSON lines), or a dataset of the Hub, "name" or
            "name:configuration".
        split: "train" or "held_out"; a source without splits of its own gives all records for both.
        layout: one of `LAYOUTS`; found by the columns when None.
        images: folder of the images that the records name; found beside the files when None.
        streaming: read while training, without a copy on disk.
        cache_dir: where `datasets` keeps its copy.

    Raises:
        DatasetError: nothing there, no known layout, or an image folder that cannot be found.
    """
    if layout is not None and layout not in LAYOUTS:
        raise DatasetError(f"there is no question layout {layout!r}. Layouts: {', '.join(LAYOUTS)}.")
    path = Path(place)
    questions = _vqav2_files(path, layout)
    if questions:
        return _open_vqav2(path, questions, split, images)
    files = _data_files(path, str(place))
    try:
        if files is None:
            name, _, configuration = str(place).partition(":")
            found = load_dataset(name, configuration or None, streaming=streaming, cache_dir=_text(cache_dir))
        else:
            kind = READERS[Path(next(iter(files.values()))[0]).suffix]
            found = load_dataset(kind, data_files=files, streaming=streaming, cache_dir=_text(cache_dir))
    except Exception as error:  # of a damaged file, nearly any
        raise unreadable_source(place, error) from error
    names = [str(name) for name in found]
    key, splits = choose_split(names, split, str(place))
    rows = found[key]
    if isinstance(rows, IterableDataset):
        try:
            rows = (rows if rows.column_names else rows._resolve_features()).decode(False)
        except Exception as error:  # the first rows are read for it
            raise unreadable_source(place, error) from error
    source = Source(str(place), layout or _detect(rows, str(place)), rows, splits)
    _check_columns(source)
    folder = Path(images) if images else path if path.is_dir() else path.parent if path.exists() else None
    source.root = find_images(source, folder) if folder else None
    return source


def unreadable_source(place: str | Path, error: Exception) -> DatasetError:
    """What `datasets` says of a file that it cannot read; its own errors only hold another one."""
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    return DatasetError(f"{place} cannot be read as a dataset: {type(cause).__name__}: {one_line(cause)}")


def choose_split(names: list[str], split: str, place: str) -> tuple[str, bool]:
    """The source's own split for "train" or "held_out", and whether it is that (or the only one)."""
    if split not in ("train", "held_out"):
        raise ValueError(f"split must be 'train' or 'held_out', got {split!r}")
    if len(names) == 1:
        return names[0], False
    wanted = ("train",) if split == "train" else HELD_OUT
    key = next((name for name in wanted if name in names), None)
    if key is None:
        raise DatasetError(f"{place} has the splits {', '.join(names)}; none is {' or '.join(wanted)}.")
    return key, True


def _data_files(path: Path, place: str) -> dict[str, list[str]] | None:
    """{split: files} of a folder or file; None for a dataset of the Hub."""
    if "://" in place:
        return {"train": [place]}
    if not path.exists():
        if path.is_absolute() or path.suffix in READERS or not re.fullmatch(r"[\w.-]+/[\w.-]+(:.+)?", place):
            raise DatasetError(f"there are no questions at {place}: no such file or folder.")
        return None
    if path.is_file():
        if path.suffix not in READERS:
            raise DatasetError(f"{place}: questions are read from {', '.join(READERS)} files.")
        return {"train": [str(path)]}
    for suffixes in ((".parquet",), (".json", ".jsonl")):
        files = sorted(file for file in path.rglob("*") if file.suffix in suffixes)
        if files:
            splits: dict[str, list[str]] = {}
            for file in files:
                splits.setdefault(_split_of(file.relative_to(path)), []).append(str(file))
            return splits
    raise DatasetError(f"{place} holds no questions: no {', '.join(READERS)} file.")


def _split_of(file: Path) -> str:
    """The split that a file's name (or its folder's) tells; "train" when it tells none."""
    words = re.findall(r"[a-z]+", str(file.with_suffix("")).lower())
    found = next((word for word in reversed(words) if word in HELD_OUT), "train")
    return "validation" if found in ("val", "valid", "dev") else found


def _detect(rows: Dataset | IterableDataset, place: str) -> str:
    columns = rows.column_names or []
    for layout, needed in COLUMNS.items():
        if set(needed) <= set(columns):
            return layout
    wanted = "; ".join(f"{' and '.join(needed)} ({layout})" for layout, needed in COLUMNS.items())
    raise DatasetError(f"{place}: found columns {', '.join(columns)}; expected one of: {wanted}.")


def _check_columns(source: Source) -> None:
    missing = [name for name in COLUMNS[source.layout] if name not in (source.rows.column_names or [])]
    if missing:
        raise DatasetError(
            f"{source.place}: the layout {source.layout!r} needs the column {missing[0]!r}, "
            f"found {', '.join(source.rows.column_names or [])}."
        )


def _text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)


# --- VQAv2 as it is published: two JSON files and a folder of COCO images -----------------------------------


def _vqav2_files(path: Path, layout: str | None) -> list[Path]:
    if layout not in (None, "vqav2"):
        return []
    files = [path] if path.is_file() else sorted(path.glob("*.json")) if path.is_dir() else []
    return [file for file in files if file.suffix == ".json" and "questions" in file.name.lower()]


def _open_vqav2(path: Path, files: list[Path], split: str, images: str | Path | None) -> Source:
    """Joins questions and annotations by `question_id`."""
    pairs = {}
    for file in files:
        annotations = _annotations_of(file)
        if annotations is not None:  # the test questions have none
            pairs[_split_of(Path(re.sub(r"\d+", " ", file.name)))] = (file, annotations)
    if not pairs:
        raise DatasetError(f"{files[0]} has no annotations: expected v2_mscoco_…_annotations.json beside it.")
    key, splits = choose_split(list(pairs), split, str(path))
    questions_file, annotations_file = pairs[key]
    identity = {"question_id": int | str}
    needed = identity | {"image_id": int, "question": str}
    content = _read_json(questions_file, "questions", needed)
    needed = identity | {"multiple_choice_answer": str}
    answers = {
        row["question_id"]: row for row in _read_json(annotations_file, "annotations", needed)["annotations"]
    }
    columns: dict[str, list] = {name: [] for name in ("image_id", "question", "multiple_choice_answer")}
    columns["answer_type"] = []
    for row in content["questions"]:
        answer = answers.get(row["question_id"])
        if answer is None:
            raise DatasetError(
                f"{annotations_file} has no annotation of question {row['question_id']} of {questions_file}."
            )
        columns["image_id"].append(row["image_id"])
        columns["question"].append(row["question"])
        columns["multiple_choice_answer"].append(answer["multiple_choice_answer"])
        columns["answer_type"].append(answer.get("answer_type", ""))
    year = content.get("data_subtype") or _subset(questions_file)
    source = Source(str(questions_file), "vqav2", Dataset.from_dict(columns), splits)
    source.name = f"COCO_{year}_{{:012d}}.jpg"
    source.root = find_images(source, Path(images) if images else questions_file.parent)
    return source


def _subset(file: Path) -> str:
    """ "train2014" of v2_OpenEnded_mscoco_train2014_questions.json."""
    found = re.search(r"(train|val|test)(-dev)?\d{4}", file.name)
    return found.group(0) if found else ""


def _annotations_of(questions: Path) -> Path | None:
    files = sorted(questions.parent.glob("*annotations*.json"))
    same = [file for file in files if _subset(file) == _subset(questions)]
    return same[0] if same else None


def _read_json(path: Path, key: str, needed: dict[str, Any]) -> dict:
    """A JSON object whose `key` is a list of objects, which have the `needed` values of these types."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read as JSON: {one_line(error)}") from error
    if not isinstance(content, dict) or key not in content:
        raise DatasetError(f"{path}: expected a JSON object with {key!r}.")
    rows = content[key] if isinstance(content[key], list) else [content[key]]
    for number, row in enumerate(rows):
        for name, kind in needed.items():
            if not isinstance(row, dict) or not isinstance(row.get(name), kind):
                wanted = {str: "a text", int: "a number"}.get(kind, "a number or text")
                seen = shortened(row.get(name) if isinstance(row, dict) else row)
                raise DatasetError(f"{path}: {key}[{number}] needs {name!r}, {wanted}; got {seen}.")
    return content


# --- LeRobot: frames with questions about them -------------------------------------------------------------

KINDS = {  # key of an answer -> kind of question, as `lerobot-annotate` of LeRobot 0.6 writes them
    "detections": "bbox",
    "point": "keypoint",
    "count": "count",
    "attribute": "attribute",
    "relation": "spatial",
}


def is_lerobot(place: str | Path) -> bool:
    """Whether a LeRobot dataset is there, in a folder or on the Hub."""
    if not is_hub_id(place):
        return (Path(place) / "meta" / "info.json").is_file()
    from ..episodes.hub_dataset import open_hub

    try:
        return bool(open_hub(place).sizes)
    except DatasetError:
        return False


def open_lerobot(
    place: str | Path,
    image_size: int,
    resample: str,
    episodes: Sequence[int] | None = None,
    cache_dir: str | Path | None = None,
) -> Source:
    """The questions in a LeRobot dataset: rows of style "vqa" in the column `language_events`.

    As LeRobot 0.6.1 writes them (`lerobot.datasets.language`, `lerobot-annotate`), in datasets of version
    v3.0: every frame has a list of {role, content, style, camera, tool_calls}; a question is a row of role
    "user", its answer the row of role "assistant" with the same camera. Answers are JSON texts (a box, a
    point, a count, an attribute, a relation) and stay as they are. Pictures come from the frame store, which
    training on the same dataset shares.

    Raises:
        DatasetError: no such column, no questions in it, a question without a camera or with an unknown one.
    """
    dataset = open_dataset(place)
    wanted = None if episodes is None else {int(episode) for episode in episodes}
    columns: dict[str, list] = {"question": [], "answer": [], "kind": [], "image": []}
    for row, camera, turn in _language_turns(dataset):
        if wanted is None or int(dataset.episode_index[row]) in wanted:
            for name, value in zip(columns, (*turn, f"{camera} {row}"), strict=True):
                columns[name].append(value)
    if not columns["image"]:
        raise DatasetError(f"{dataset.root}: its language_events hold no questions (rows of style 'vqa').")
    cameras = sorted({image.rsplit(" ", 1)[0] for image in columns["image"]})
    store = build_frame_store(dataset, image_size, resample, cameras=cameras, cache_dir=cache_dir)
    rows = Dataset.from_dict(columns)
    return Source(str(place), "flat", rows, splits=wanted is not None, dataset=dataset, store=store)


def _language_turns(dataset: EpisodeDataset) -> Iterator[tuple[int, str, Turn]]:
    """(row of the frame, camera key, turn) of every question of a dataset, in order."""
    for path in dataset.data_files:
        file = open_parquet(path)
        try:
            if "language_events" not in file.schema_arrow.names:
                raise DatasetError(
                    f"{path}: found columns {', '.join(file.schema_arrow.names)}; expected language_events, "
                    "which lerobot-annotate (LeRobot 0.6) writes."
                )
            table = file.read(columns=["episode_index", "frame_index", "language_events"])
        except (pa.ArrowException, OSError) as error:
            raise unreadable(path, error) from error
        finally:
            file.close()
        table = table.filter(
            pc.fill_null(pc.greater(pc.list_value_length(table["language_events"]), 0), False)
        )
        place = np.searchsorted(dataset.episode_ids, table["episode_index"].to_numpy())
        rows = dataset.starts[place] + table["frame_index"].to_numpy()
        for row, events in zip(rows.tolist(), table["language_events"].to_pylist(), strict=True):
            for camera, turn in _turns_of_frame(events, dataset, row):
                yield row, camera, turn


def _turns_of_frame(events: list[dict], dataset: EpisodeDataset, row: int) -> Iterator[tuple[str, Turn]]:
    said: dict[str, tuple[list, list]] = {}
    for event in events:
        if event.get("style") == "vqa":
            if not event.get("camera"):
                raise DatasetError(f"{dataset.where(row)}: a question without a camera.")
            of_camera = said.setdefault(find_camera(dataset, event["camera"]).key, ([], []))
            of_camera[event["role"] == "assistant"].append(event.get("content"))
    for camera, (questions, answers) in said.items():
        for question, answer in zip_longest(questions, answers):
            yield camera, _turn(question, answer, _kind(answer))


def _kind(answer: str | None) -> str:
    try:
        content = json.loads(answer or "")
    except ValueError:
        return ""
    return next((kind for key, kind in KINDS.items() if isinstance(content, dict) and key in content), "")


# --- reading records ---------------------------------------------------------------------------------------


def turns_of(row: Mapping[str, Any], layout: str, where: str) -> list[Turn]:
    """Questions and answers of a record, stripped; empty ones are still among them."""
    try:
        if layout == "cauldron":
            return [_turn(t["user"], t["assistant"], t.get("source")) for t in row["texts"] or []]
        if layout == "llava":
            return _llava_turns(row["conversations"] or [])
        answer = row["multiple_choice_answer" if layout == "vqav2" else "answer"]
        return [_turn(row["question"], answer, row.get("answer_type") or row.get("kind"))]
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{where} is not of the layout {layout!r}: {type(error).__name__} {error}"
        ) from error


def _turn(question: Any, answer: Any, kind: Any) -> Turn:
    for text in (question, answer):
        if text is not None and not isinstance(text, str):
            raise TypeError(f"questions and answers must be texts, got {shortened(text)}")
    return Turn((question or "").strip(), (answer or "").strip(), str(kind or ""))


def _llava_turns(messages: list[dict]) -> list[Turn]:
    """What "human" says and "gpt" replies at once; "<image>" marks, which only give a place, are left out."""
    turns, question = [], None
    for message in messages:
        if message["from"] in ("human", "user"):
            question = message["value"].replace("<image>", "")
        elif question is not None:
            turns.append(_turn(question, message["value"], None))
            question = None
    return turns


def shortened(value: Any, width: int = 200) -> str:
    """A value of a record for a message."""
    text = value if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def images_of(value: Any) -> list:
    """The images of a record's image column as a list: {bytes, path}, names or numbers."""
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def image_counts(source: Source) -> np.ndarray:
    """Images of every record of a local source, `[records]`; embedded ones are not read for it."""
    assert isinstance(source.rows, Dataset)
    name = source.image_column
    if name is None:
        return np.zeros(len(source.rows), np.int64)
    column = source.rows.data.column(name)
    kind = column.type.value_type if pa.types.is_list(column.type) else column.type
    if not pa.types.is_struct(kind):
        return np.array([len(images_of(value)) for value in source.rows[name]], np.int64)
    if pa.types.is_list(column.type):
        return pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)
    return column.is_valid().to_numpy().astype(np.int64)


def read_images(source: Source, records: np.ndarray) -> list[list]:
    """Images of some records of a local source, not yet decoded."""
    assert isinstance(source.rows, Dataset)
    if source.image_column is None:
        return [[] for _ in records]
    column = source.rows.select_columns([source.image_column])
    if _embedded(column):
        column = column.with_format("arrow")  # as it is stored: `datasets` would decode every image
        values = column[records].column(0).to_pylist()
    else:
        values = column[records][source.image_column]
    return [images_of(value) for value in values]


def _embedded(column: Dataset) -> bool:
    kind = column.data.column(0).type
    return pa.types.is_struct(kind.value_type if pa.types.is_list(kind) else kind)


def is_held_out(source: Source, image: Any, share: float) -> bool:
    """Whether a picture is held out: by its content or name; by its episode if it is a frame of one."""
    if source.dataset is not None:
        key = f"episode {source.dataset.episode_index[_frame(image)[1]]}".encode()
    elif isinstance(image, Mapping):
        key = image.get("bytes") or str(image.get("path")).encode()
    else:
        key = str(image).encode()
    number = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")
    return number < share * 2**64


def _frame(image: str) -> tuple[str, int]:
    """Camera key and row of "{camera} {row}"."""
    camera, row = image.rsplit(" ", 1)
    return camera, int(row)


# --- pictures ----------------------------------------------------------------------------------------------


def find_images(source: Source, folder: Path) -> Path | None:
    """The folder, or one inside it, that holds the first image that a source names; None if it names none."""
    if source.image_column is None:
        return None
    rows = source.rows.take(100) if isinstance(source.rows, IterableDataset) else source.rows
    column = rows.select_columns([source.image_column])
    if isinstance(column, Dataset) and _embedded(column):
        return folder
    values: Any = (image for row in column for image in images_of(dict(row)[source.image_column]))
    first = next(values, None)
    if first is None or isinstance(first, Mapping):
        return folder
    if isinstance(first, bytes):
        raise DatasetError(
            f"{source.place}: {source.image_column} holds plain bytes; expected {{bytes, path}}, as "
            "datasets.Image writes them, or names of files."
        )
    name = source.name.format(first)
    inside = (item for item in sorted(folder.glob("**/")) if item != folder)
    for root in (folder, *inside):
        if os.path.isfile(root / name):  # Path.is_file raises for a name that is too long
            return root
    raise DatasetError(
        f"{source.place} names the image {shortened(name)}, which is not in {folder} or below it: "
        "name the image folder (data.questions_images)."
    )


def check_images(source: Source) -> None:
    """All images that a local source names are there.

    Raises:
        DatasetError: naming the first that is not.
    """
    assert isinstance(source.rows, Dataset)
    column = source.image_column
    if column is None or source.store is not None or _embedded(source.rows.select_columns([column])):
        return
    known: set = set()
    for record, value in enumerate(source.rows[column]):
        for image in images_of(value):
            if image not in known and not os.path.isfile(image_path(source, image)):
                missing = shortened(str(image_path(source, image)))
                raise DatasetError(f"{source.where(record)}: there is no image {missing}.")
            known.add(image)


def image_path(source: Source, image: Any) -> Path:
    name = Path(source.name.format(image))
    if name.is_absolute() or ".." in name.parts:
        raise DatasetError(f"{source.place}: the image name {shortened(name)} leads out of the image folder.")
    return (source.root or Path()) / name


def load_image(source: Source, image: Any, where: str) -> torch.Tensor:
    """A picture, uint8 `[3, H, W]`, from its bytes, its file or the frame store."""
    if source.store is not None:
        camera, row = _frame(image)
        return torch.from_numpy(source.store.gather(camera, [row])[0])
    if not isinstance(image, Mapping):
        path = image_path(source, image)
    elif image.get("bytes") is None and image.get("path"):
        path = Path(image["path"])  # `datasets` completes names of local files
    else:
        return decode_image(image.get("bytes") or b"", where)
    return read_picture(path, f"{where}, ")


def read_picture(path: Path, where: str = "") -> torch.Tensor:
    """A picture file, uint8 RGB `[3, H, W]`; `where` it is named, for messages."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{where}{path} cannot be read: {error.strerror}.") from error
    return decode_image(content, f"{where}{path}")


def decode_image(content: bytes, where: str) -> torch.Tensor:
    """Content of an image file to uint8 RGB `[3, H, W]`, upright; what is transparent becomes white.

    Raises:
        DatasetError: not an image, cut short, too large, or with samples of more than 8 bits.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith(("I", "F")):
                raise DatasetError(
                    f"{where}: the image has {upright.mode} samples; save it with 8 bits each."
                )
            if upright.has_transparency_data:
                upright = upright.convert("RGBA")
                white = Image.new("RGBA", upright.size, "white")
                upright = Image.alpha_composite(white, upright)
            pixels = np.array(upright.convert("RGB"))
    except Image.DecompressionBombError as error:
        raise DatasetError(f"{where}: the image is too large. {one_line(error)}") from error
    except (UnidentifiedImageError, OSError, ValueError, TypeError, SyntaxError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(
            f"{where}: the image cannot be read ({len(content)} bytes, {type(error).__name__})."
        ) from error
    return torch.from_numpy(pixels).permute(2, 0, 1)
