"""Questions about pictures: every layout from real files, splits, limits, batches, streams and errors."""

import io
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset, Features, List, Value
from datasets import Image as ImageFeature
from PIL import Image
from tiny_datasets import TOP, WRIST, make_dataset, read_bars
from torch.utils.data import DataLoader

from valuecurve import ValueProcessor
from valuecurve.episodes import DatasetError
from valuecurve.training.question_sources import decode_image
from valuecurve.training.questions import Limits, Questions, QuestionStream, load_questions
from valuecurve.training.tokenizer import train_tokenizer

LANGUAGE_EVENTS = pa.list_(  # lerobot.datasets.language 0.6.1
    pa.struct(
        [
            pa.field("role", pa.string(), nullable=False),
            pa.field("content", pa.string()),
            pa.field("style", pa.string()),
            pa.field("camera", pa.string()),
            pa.field("tool_calls", pa.list_(pa.string())),
        ]
    )
)
VQA = Path(__file__).parents[2] / "examples" / "metaworld_vqa"


@pytest.fixture
def processor() -> ValueProcessor:
    tokenizer = train_tokenizer(["Question: what colour is it? Answer: red green blue 12345"] * 10, 512)
    return ValueProcessor(tokenizer, image_size=16, vision_tokens_per_image=4)


@pytest.fixture
def load(processor, tmp_path) -> Callable[..., Any]:
    def load_here(place, split="train", layout=None, **options: Any):
        options = {"held_out": 0.0, "cache_dir": tmp_path / "cache"} | options
        return load_questions(place, processor, split, layout, **options)

    return load_here


def picture(shade: int, size: tuple[int, int] = (20, 30), kind: str = "png") -> bytes:
    """A picture of one shade of gray, which is how a test knows which one it sees."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (shade, shade, shade)).save(buffer, kind)
    return buffer.getvalue()


def shades(batch) -> list[int]:
    return batch.pixel_values.float().mean((1, 2, 3)).round().int().tolist()


def texts(questions, rows) -> list[tuple[str, str]]:
    batch, decode = questions.batch(rows), questions.processor.tokenizer.decode
    return [
        (decode(batch.prompts[np.array([i])].ids), decode(batch.answers[np.array([i])].ids))
        for i in range(len(batch.prompts))
    ]


def cauldron(path: Path, records: list[tuple[list[bytes], list[tuple[str, str]]]]) -> Path:
    """A Parquet file of the_cauldron's layout, written by `datasets` with its Image feature."""
    rows = {
        "images": [[{"bytes": content, "path": None} for content in images] for images, _ in records],
        "texts": [[{"user": q, "assistant": a, "source": "made"} for q, a in turns] for _, turns in records],
    }
    text = {name: Value("string") for name in ("user", "assistant", "source")}
    features = Features({"images": List(ImageFeature()), "texts": List(text)})
    path.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_dict(rows, features=features).to_parquet(path)
    return path


# --- layouts -----------------------------------------------------------------------------------------------


def test_cauldron_rows_are_turns_and_a_shared_picture_is_opened_once(tmp_path, load, monkeypatch):
    turns = [("what colour?", "red"), ("how many?", "12")]
    two, none = [("are they the same?", "no")], [("what is 1 + 1?", "2")]
    path = cauldron(
        tmp_path / "a.parquet",
        [([picture(10)], turns), ([picture(20), picture(30, kind="jpeg")], two), ([], none)],
    )
    questions = load(path)
    assert isinstance(questions, Questions) and len(questions) == 4
    assert set(questions.kind) == {"made"}
    opened = []
    monkeypatch.setattr(
        "valuecurve.training.questions.load_image", lambda *a: opened.append(a) or torch.zeros(3, 5, 5).byte()
    )
    questions.batch([0, 1])
    assert len(opened) == 1
    monkeypatch.undo()
    batch = questions.batch([2, 1, 3, 0])
    assert shades(batch) == [20, 30, 10, 10]
    assert batch.images_per_row.tolist() == [2, 1, 0, 1]
    assert batch.pixel_values.dtype == torch.uint8 and batch.pixel_values.shape == (4, 3, 16, 16)
    assert texts(questions, [3, 0]) == [
        ("Question: what is 1 + 1? Answer:", " 2<eos>"),
        ("Question: what colour? Answer:", " red<eos>"),
    ]


def test_a_batch_is_assembled_like_the_processor_does_it(tmp_path, load, processor):
    path = cauldron(tmp_path / "a.parquet", [([picture(10)], [("what?", "red")]), ([], [("who?", "green")])])
    batch = load(path).batch([0, 1])
    ours = processor.assemble(batch.prompts, batch.images_per_row, value_token=False, answers=batch.answers)
    frames = [[Image.open(io.BytesIO(picture(10)))], []]
    theirs = processor(images=frames, question=["what?", "who?"], answer=["red", "green"])
    assert torch.equal(batch.pixel_values, theirs["pixel_values"])
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_rows_without_pictures_give_an_empty_image_tensor(tmp_path, load):
    batch = load(cauldron(tmp_path / "a.parquet", [([], [("what?", "red")])])).batch([0])
    assert batch.pixel_values.shape == (0, 3, 16, 16)
    assert batch.images_per_row.tolist() == [0]


def llava(folder: Path, records: list[dict]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "llava_instruct.json").write_text(json.dumps(records))
    return folder


def said(*messages: str) -> list[dict]:
    return [{"from": ("human", "gpt")[i % 2], "value": value} for i, value in enumerate(messages)]


def test_llava_conversations_with_an_image_folder(tmp_path, load):
    folder = tmp_path / "llava"
    (folder / "coco" / "train2017").mkdir(parents=True)
    (folder / "coco" / "train2017" / "000000000009.jpg").write_bytes(picture(40, kind="jpeg"))
    llava(
        folder,
        [
            # ids of both types, as in the published mixture
            {
                "id": "9",
                "image": "000000000009.jpg",
                "conversations": said("<image>\nwhat colour?", "red", "sure?", "green"),
            },
            {"id": 7, "conversations": said("what is 1 + 1?", "2")},
            {"id": "8", "image": "000000000009.jpg", "conversations": said("what?\n<image>", "blue")},
        ],
    )
    questions = load(folder)
    batch = questions.batch([0, 1, 2, 3])
    assert batch.images_per_row.tolist() == [1, 1, 0, 1]
    assert shades(batch) == [40, 40, 40]
    assert texts(questions, [0, 1, 3]) == [
        ("Question: what colour? Answer:", " red<eos>"),
        ("Question: sure? Answer:", " green<eos>"),
        ("Question: what? Answer:", " blue<eos>"),
    ]
    assert len(load(folder / "llava_instruct.json", layout="llava")) == 4


def test_a_missing_llava_image_is_named_when_the_source_is_opened(tmp_path, load):
    folder = llava(tmp_path / "l", [{"image": "there.png", "conversations": said("what?", "red")}] * 2)
    with pytest.raises(DatasetError, match="names the image there.png, which is not in"):
        load(folder)
    (folder / "there.png").write_bytes(picture(1))
    llava(
        folder, [{"image": name, "conversations": said("what?", "red")} for name in ("there.png", "no.png")]
    )
    with pytest.raises(DatasetError, match=r"record 1: there is no image .*no\.png"):
        load(folder)
    llava(folder, [{"image": "../../there.png", "conversations": said("what?", "red")}])
    with pytest.raises(DatasetError, match="leads out of the image folder|is not in"):
        load(folder)


def vqav2(folder: Path, subset: str, answered: bool = True) -> None:
    images = folder / "images" / subset
    images.mkdir(parents=True)
    for number in (42, 73):
        (images / f"COCO_{subset}_{number:012d}.jpg").write_bytes(picture(number, kind="jpeg"))
    questions = [
        {"image_id": 42, "question": "what colour?", "question_id": 42000},
        {"image_id": 73, "question": "how many?", "question_id": 73000},
    ]
    path = folder / f"v2_OpenEnded_mscoco_{subset}_questions.json"
    path.write_text(json.dumps({"data_subtype": subset, "questions": questions}))
    if answered:
        annotations = [
            {"question_id": 73000, "image_id": 73, "multiple_choice_answer": "2", "answer_type": "number"},
            {"question_id": 42000, "image_id": 42, "multiple_choice_answer": "red", "answer_type": "other"},
        ]
        path = folder / f"v2_mscoco_{subset}_annotations.json"
        path.write_text(json.dumps({"data_subtype": subset, "annotations": annotations}))


def test_vqav2_joins_questions_annotations_and_coco_images(tmp_path, load):
    folder = tmp_path / "vqa"
    vqav2(folder, "train2014")
    vqav2(folder, "test2015", answered=False)
    questions = load(folder)
    assert shades(questions.batch([0, 1])) == [42, 73]
    assert questions.kind.tolist() == ["other", "number"]
    assert texts(questions, [1]) == [("Question: how many? Answer:", " 2<eos>")]
    vqav2(folder, "val2014")
    assert len(load(folder, "held_out", held_out=0.5)) == 2  # its own split, not half of it


def test_vqav2_without_annotations_says_what_it_expects(tmp_path, load):
    vqav2(tmp_path / "vqa", "test2015", answered=False)
    with pytest.raises(DatasetError, match="has no annotations: expected v2_mscoco_…_annotations.json"):
        load(tmp_path / "vqa")


def test_flat_and_hub_vqav2_columns(tmp_path, load):
    image = {"bytes": picture(50), "path": None}
    features = Features({"image": ImageFeature(), "question": Value("string"), "answer": Value("string")})
    columns = {"image": [image, None], "question": ["what?", "who?"], "answer": ["red", "green"]}
    Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "flat.parquet")
    batch = load(tmp_path / "flat.parquet").batch([1, 0])
    assert batch.images_per_row.tolist() == [0, 1] and shades(batch) == [50]
    hub = Dataset.from_dict(columns, features=features).rename_column("answer", "multiple_choice_answer")
    hub.to_parquet(tmp_path / "hub.parquet")
    assert load(tmp_path / "hub.parquet").source.layout == "vqav2"


def event(role: str, content: str | None, camera: str | None, style: str | None = "vqa") -> dict:
    return {"role": role, "content": content, "style": style, "camera": camera, "tool_calls": None}


def annotated(folder: Path, events: dict[int, list[dict]]) -> Path:
    """A LeRobot dataset whose frames (by number) have language events, as lerobot-annotate writes them."""
    make_dataset(folder, files=2)
    for path in sorted((folder / "data").rglob("*.parquet")):
        table = pq.read_table(path)
        cells = pa.array([events.get(i, []) for i in table["index"].to_pylist()], LANGUAGE_EVENTS)
        pq.write_table(table.append_column("language_events", cells), path)
    info = json.loads((folder / "meta/info.json").read_text())
    info["features"]["language_events"] = {"dtype": "language", "shape": [1], "names": None}
    (folder / "meta/info.json").write_text(json.dumps(info))
    return folder


def test_lerobot_language_rows_ask_about_their_own_frame_and_camera(tmp_path, load, processor):
    box = '{"detections": [{"bbox": [1, 2, 3, 4], "bbox_format": "xyxy", "label": "cup"}]}'
    folder = annotated(
        tmp_path / "lerobot",
        {
            3: [
                event("assistant", '{"count": 2, "label": "cup"}', TOP),
                event("assistant", box, WRIST),
                event("user", "how many cups?", TOP),
                event("user", "where is the cup?", WRIST),
                event("assistant", None, None, style=None),  # speech
                event("user", "faster!", None, style="interjection"),
            ],
            40: [event("user", "what?", TOP), event("assistant", "red", TOP)],
            41: [event("user", "unanswered?", TOP)],
        },
    )
    processor.image_size = 64
    questions = load(folder)
    assert questions.kind.tolist() == ["count", "bbox", ""]
    episode, frame = read_bars(questions.batch([0, 1, 2]).pixel_values.numpy())
    assert episode.tolist() == [0, 0, 4] and frame.tolist() == [3, 3, 2]
    assert texts(questions, [0])[0] == (
        "Question: how many cups? Answer:",
        ' {"count": 2, "label": "cup"}<eos>',
    )
    assert len(load(folder, episodes=[0])) == 2
    with pytest.raises(DatasetError, match="no questions"):
        load(folder, episodes=[1])
    with pytest.raises(DatasetError, match="cannot be streamed"):
        load(folder, streaming=True)


def test_lerobot_frames_are_split_by_episode(tmp_path, load):
    asked = [event("user", "what?", TOP), event("assistant", "red", TOP)]
    folder = annotated(tmp_path / "lerobot", dict.fromkeys(range(57), asked))
    parts = [load(folder, split, held_out=0.5) for split in ("train", "held_out")]
    episodes = []
    for part in parts:
        images = part.source.rows[part.rows.record]["image"]
        episodes.append({part.source.dataset.episode_index[int(image.split()[1])] for image in images})
    assert episodes[0] | episodes[1] == set(range(6)) and not episodes[0] & episodes[1]


def test_lerobot_questions_without_a_camera_or_a_column_are_errors(tmp_path, load, tiny_v30):
    with pytest.raises(DatasetError, match="found columns .*; expected language_events, which lerobot-annot"):
        load(tiny_v30)
    folder = annotated(tmp_path / "lerobot", {9: [event("user", "what?", None)]})
    with pytest.raises(DatasetError, match="episode 0, frame 9: a question without a camera"):
        load(folder)
    shutil.rmtree(folder)
    folder = annotated(folder, {9: [event("user", "what?", "observation.images.left")]})
    with pytest.raises(
        DatasetError, match="no camera 'observation.images.left'; cameras: observation.images.top"
    ):
        load(folder)


def test_an_unknown_layout_names_the_columns_that_it_found(tmp_path, load):
    Dataset.from_dict({"picture": [1], "text": ["a"]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match=r"found columns picture, text; expected one of: images and texts"):
        load(tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match="the layout 'llava' needs the column 'conversations', found pict"):
        load(tmp_path / "a.parquet", layout="llava")
    with pytest.raises(DatasetError, match="there is no question layout 'lava'"):
        load(tmp_path / "a.parquet", layout="lava")


def test_a_place_without_questions_is_refused(tmp_path, load):
    with pytest.raises(DatasetError, match="no such file or folder"):
        load(tmp_path / "nothing")
    with pytest.raises(DatasetError, match=r"holds no questions: no .parquet"):
        load(tmp_path)
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    with pytest.raises(DatasetError, match=r"a.parquet cannot be read as a dataset"):
        load(tmp_path / "a.parquet")


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.json", b""),
        ("cut.json", b'[{"question": "what?", "answer": "red"}, {"question": "wh'),
        ("bytes.jsonl", b'{"question": "\xff\xfe", "answer": "red"}'),
        ("number.json", b"5"),
        ("cut.parquet", b"PAR1 and no end"),
    ],
)
def test_a_damaged_file_is_an_error_that_says_what_is_wrong(tmp_path, load, name, content, streaming):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=f"{name} cannot be read as a dataset: ") as error:
        load(tmp_path / name, layout="flat", streaming=streaming).batch([0, 1])
    assert "while generating the dataset" not in str(error.value)


def test_a_stream_that_breaks_off_names_its_source(tmp_path, load):
    rows = [{"question": f"what {i}?", "answer": "red"} for i in range(40)]
    lines = [json.dumps(row) for row in rows]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    (tmp_path / "b.jsonl").write_text("\n".join([*lines, '{"question": ']))
    stream = load(tmp_path, streaming=True)
    stream.batch([0, 20])
    with pytest.raises(DatasetError, match=f"{tmp_path} cannot be read as a dataset: "):
        stream.batch([79, 80])


@pytest.mark.parametrize(
    ("questions", "annotations", "message"),
    [
        (
            [{"question_id": 1, "question": "what?"}],
            [],
            r"questions\[0\] needs 'image_id', a number; got None",
        ),
        ([{"image_id": 1, "question": "what?"}], [], r"questions\[0\] needs 'question_id', a number or text"),
        ({"question_id": 1}, [], r"questions\[0\] needs 'image_id'"),
        (["what?"], [], r"questions\[0\] needs 'question_id', a number or text; got what\?"),
        ([{"question_id": 1, "image_id": "one", "question": "what?"}], [], "'image_id', a number; got one"),
        ([{"question_id": 1, "image_id": 1, "question": 5}], [], "'question', a text; got 5"),
        ([], [{"question_id": 1}], r"annotations\[0\] needs 'multiple_choice_answer', a text; got None"),
        ([], [{"multiple_choice_answer": "red"}], r"annotations\[0\] needs 'question_id'"),
    ],
)
def test_vqav2_rows_without_what_they_need_are_named(tmp_path, load, questions, annotations, message):
    for name, rows in (("questions", questions), ("annotations", annotations)):
        (tmp_path / f"v2_mscoco_train2014_{name}.json").write_text(json.dumps({name: rows}))
    with pytest.raises(DatasetError, match=message):
        load(tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": 1, "answer": 2}, "record 0 is not of the layout 'flat': .* must be texts, got 1"),
        ({"question": "what?", "answer": "red", "image": picture(1)}, "image holds plain bytes; expected"),
        (
            {"question": "what?", "answer": "red", "image": "x" * 5000},
            r"names the image x{199}…, which is not",
        ),
        ({"question": "what?", "answer": "red", "image": {"bytes": "x"}}, "the image cannot be read"),
    ],
)
def test_values_that_are_no_texts_or_images_are_shown_but_not_whole(tmp_path, load, row, message):
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match=message) as error:
        load(tmp_path / "a.parquet").batch([0])
    assert len(str(error.value)) < 500


# --- splits and limits -------------------------------------------------------------------------------------


def test_no_picture_is_in_both_splits_and_no_row_is_lost(tmp_path, load):
    """Every picture occurs several times."""
    records = [([picture(i % 60)], [(f"what {i}?", "red")]) for i in range(200)]
    path = cauldron(tmp_path / "a.parquet", records)
    parts = [load(path, split, held_out=0.3) for split in ("train", "held_out")]
    seen = [set(shades(part.batch(np.arange(len(part))))) for part in parts]
    assert not seen[0] & seen[1]
    assert sum(map(len, parts)) == 200
    assert 6 <= len(seen[1]) <= 30  # 18 of 60 are expected


def test_a_row_whose_pictures_fall_apart_is_in_neither_split(tmp_path, load):
    records = [([picture(i), picture(i + 1)], [("what?", "red")]) for i in range(0, 120, 2)]
    path = cauldron(tmp_path / "a.parquet", records)
    parts = [load(path, split, held_out=0.5) for split in ("train", "held_out")]
    seen = [set(shades(part.batch(np.arange(len(part))))) for part in parts]
    assert not seen[0] & seen[1]
    assert 0 < sum(map(len, parts)) < 60


def test_a_source_with_splits_of_its_own_keeps_them(tmp_path, load):
    for name, shade in (("train-00000-of-00001", 1), ("validation-00000-of-00001", 2)):
        cauldron(tmp_path / "d" / "data" / f"{name}.parquet", [([picture(shade)], [("what?", "red")])])
    assert shades(load(tmp_path / "d", "train", held_out=0.5).batch([0])) == [1]
    assert shades(load(tmp_path / "d", "held_out", held_out=0.5).batch([0])) == [2]


def test_empty_crowded_and_long_rows_are_left_out_with_a_count(tmp_path, load, caplog):
    turns = [("what?", "red"), ("what?", " "), ("", "red"), ("what " * 100, "red"), ("what?", "red " * 100)]
    path = cauldron(tmp_path / "a.parquet", [([picture(1)], turns), ([picture(1)] * 3, [("what?", "red")])])
    questions = load(path, limits=Limits(images=2, question_tokens=50, answer_tokens=8))
    assert len(questions) == 2
    assert questions.left_out == {
        "empty question or answer": 2,
        "question of more than 50 tokens": 1,
        "more than 2 images": 1,
    }
    assert "4 questions are left out: 2 with empty question or answer" in caplog.text
    short, cut = texts(questions, [0, 1])
    assert short[1].endswith("<eos>") and not cut[1].endswith("<eos>")
    assert questions.batch([1]).answers.lengths.tolist() == [8]


def test_a_source_that_leaves_no_row_is_an_error(tmp_path, load):
    path = cauldron(tmp_path / "a.parquet", [([picture(1)], [("what?", "")])])
    with pytest.raises(DatasetError, match="has no questions for the train split"):
        load(path)


# --- pictures ----------------------------------------------------------------------------------------------


def encoded(image: Image.Image, kind: str = "png", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_pictures_of_every_mode_become_rgb():
    gray, palette = Image.new("L", (4, 4), 80), Image.new("RGB", (4, 4), (80, 0, 0)).convert("P")
    assert decode_image(encoded(gray), "here").tolist() == np.full((3, 4, 4), 80).tolist()
    assert decode_image(encoded(palette), "here")[:, 0, 0].tolist()[1:] == [0, 0]
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert decode_image(encoded(clear), "here").unique().tolist() == [255]
    assert decode_image(encoded(Image.new("CMYK", (4, 4)), "jpeg"), "here").shape == (3, 4, 4)
    with pytest.raises(DatasetError, match="here: the image has I;16 samples"):
        decode_image(encoded(Image.fromarray(np.zeros((4, 4), np.uint16))), "here")


@pytest.mark.parametrize("size", [(14_000, 14_000), (1_000_000, 1_000)])
def test_a_picture_that_would_fill_the_memory_is_refused(size):
    with pytest.raises(
        DatasetError, match=r"here: the image is too large. Image size \(\d+ pixels\) exceeds"
    ):
        decode_image(encoded(Image.new("1", size)), "here")


def test_a_photograph_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    assert decode_image(encoded(Image.new("RGB", (4, 8)), "jpeg", exif=exif), "here").shape == (3, 4, 8)


@pytest.mark.parametrize("content", [b"", b"no image", picture(1)[:60], picture(1, kind="jpeg")[:200]])
def test_a_damaged_picture_is_named_by_file_and_record(content, tmp_path, load):
    path = cauldron(tmp_path / "a.parquet", [([picture(1)], [("what?", "red")]), ([content], [("a?", "b")])])
    questions = load(path)
    questions.batch([0])
    with pytest.raises(DatasetError, match=r"a.parquet, record 1: the image cannot be read \(\d+ bytes"):
        questions.batch([0, 1])


# --- streams and workers -----------------------------------------------------------------------------------


def same(one, other) -> bool:
    return (
        torch.equal(one.pixel_values, other.pixel_values)
        and np.array_equal(one.images_per_row, other.images_per_row)
        and np.array_equal(one.prompts.ids, other.prompts.ids)
        and np.array_equal(one.answers.ids, other.answers.ids)
    )


@pytest.fixture
def many(tmp_path) -> Path:
    """100 records in 3 files, of 0, 1 or 2 turns and pictures."""
    for file in range(3):
        numbers = range(file, 100, 3)
        records = [([picture(i)] * (i % 3), [(f"what {i}?", f"{i}")] * (i % 2 + 1)) for i in numbers]
        cauldron(tmp_path / "many" / f"part-{file}.parquet", records)
    return tmp_path / "many"


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_stream_numbers_the_rows_as_the_local_source_does(many, load, share):
    local, stream = load(many, held_out=share), load(many, held_out=share, streaming=True)
    assert isinstance(stream, QuestionStream)
    n = len(local)
    for rows in ([0, 1, 2], [n - 1, 20, 20], [5], [n + 3, n], [2 * n + 1, 0]):
        assert same(stream.batch(rows), local.batch(np.array(rows) % n)), rows


@pytest.mark.parametrize("streaming", [False, True])
def test_a_batch_of_nothing_is_empty(many, load, streaming):
    batch = load(many, streaming=streaming).batch(np.zeros(0, np.int64))
    assert batch.pixel_values.shape == (0, 3, 16, 16)
    assert len(batch.prompts) == len(batch.answers) == len(batch.images_per_row) == 0


class Batches(torch.utils.data.Dataset):
    """Four rows at a time, by number; what a data loader's worker calls."""

    def __init__(self, questions):
        self.questions = questions

    def __len__(self) -> int:
        return 12

    def __getitem__(self, number: int):
        return self.questions.batch(np.arange(4 * number, 4 * number + 4))


@pytest.mark.parametrize("streaming", [False, True])
def test_workers_read_the_same_batches(many, load, streaming):
    questions = pickle.loads(pickle.dumps(load(many, streaming=streaming)))  # as for a spawned worker
    expected = Batches(load(many))
    for number, batch in enumerate(DataLoader(Batches(questions), batch_size=None, num_workers=2)):
        assert same(batch, expected[number])


def test_a_stream_without_rows_is_an_error_and_not_an_endless_loop(tmp_path, load):
    path = cauldron(tmp_path / "a.parquet", [([picture(1)], [("what?", "")])])
    with pytest.raises(DatasetError, match="has no questions for the train split"):
        load(path, streaming=True).batch([0])


def test_llava_is_streamed_too(tmp_path, load):
    folder = llava(tmp_path / "l", [{"image": "a.png", "conversations": said("<image>what?", "red")}])
    (folder / "a.png").write_bytes(picture(9))
    assert shades(load(folder, streaming=True).batch([0, 1])) == [9, 9]


# --- the sample --------------------------------------------------------------------------------------------


def test_the_sample_has_its_questions_in_both_splits(load):
    assert len(load(VQA)) == 11227
    held_out = load(VQA, "held_out")
    assert len(held_out) == 1339
    assert len(set(held_out.kind)) == 4
