"""Overlay videos, decoded again."""

import av
import numpy as np
import pytest
from made_up import curve, frames

from valuecurve.evaluation import write_overlay
from valuecurve.evaluation.page import drawing
from valuecurve.evaluation.style import LIGHT
from valuecurve.evaluation.video_page import draw_key, key_entries

WORDS = ["value", "10–90% of the prediction", "target, in hindsight"]


def decode(path):
    """(pictures uint8 [T, h, w, 3], stream facts)."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        facts = (stream.codec_context.name, stream.codec_context.pix_fmt, float(stream.average_rate or 0))
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]), facts


def test_the_video_has_every_frame_at_the_episodes_rate(tmp_path):
    path = write_overlay(
        curve(24), {"side": frames(24), "wrist": frames(24)}, tmp_path / "new" / "overlay.mp4"
    )
    pictures, facts = decode(path)
    assert facts == ("h264", "yuv420p", 10.0)
    assert len(pictures) == 24 and pictures.shape[1] % 2 == 0 and pictures.shape[2] % 2 == 0
    assert [p.name for p in path.parent.iterdir()] == ["overlay.mp4"]


def test_pictures_show_the_frames_and_the_curve_grows(tmp_path):
    pictures, _ = decode(write_overlay(curve(24), frames(24), tmp_path / "overlay.mp4"))
    views, panels = pictures[:, 66:450].astype(int), pictures[:, 520:].astype(int)
    bright = (views.min(axis=3) > 230) & (np.arange(views.shape[2]) > 72) & (np.arange(views.shape[2]) < 456)
    centers = [np.nonzero(picture)[1].mean() for picture in bright]
    assert np.all(np.diff(centers) > 0) and centers[-1] - centers[0] > 200  # the square moves to the right
    blue = ((panels[..., 2] - panels[..., 0]) > 40).sum(axis=(1, 2))
    assert blue[-1] > 4 * blue[1] and np.mean(np.diff(blue) > 0) > 0.9


def test_iterators_of_frames_and_of_chunks_give_the_same_video(tmp_path):
    array = frames(20)
    chunks = (array[i : i + 7] for i in range(0, 20, 7))
    paths = [
        write_overlay(curve(20), source, tmp_path / f"{i}.mp4")
        for i, source in enumerate([array, iter(array), chunks])
    ]
    first, *others = [decode(path)[0].astype(int) for path in paths]  # the encoder's bytes vary a little
    assert all(np.abs(first - other).mean(axis=(1, 2, 3)).max() < 0.3 for other in others)
    assert np.abs(first[1:] - first[:-1]).mean(axis=(1, 2, 3)).min() > 0.6  # one frame late would show


@pytest.mark.parametrize(
    ("shapes", "width", "height"),
    [([(32, 32)], 528, 780), ([(48, 64), (64, 48)], 860, 764), ([(36, 64)] * 4, 1106, 980)],
    ids=["one", "two shapes", "four wide, two by two"],
)
def test_cameras_of_any_shape_are_tiled(shapes, width, height, tmp_path):
    cameras = {str(i): np.zeros((2, 3, *shape), np.uint8) for i, shape in enumerate(shapes)}
    pictures, _ = decode(write_overlay(curve(2), cameras, tmp_path / "shapes.mp4"))
    assert abs(pictures.shape[2] - width) <= 8 and abs(pictures.shape[1] - height) <= 8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(positive=np.ones(24)), [*WORDS, "labelled positive: better than usual"]),
        ({}, WORDS),
        (dict(probabilities=None, target=None), WORDS[:1]),
    ],
)
def test_a_key_says_what_is_drawn_and_nothing_else(changes, words):
    assert [entry.text for entry in key_entries(curve(**changes), LIGHT)] == words
    assert key_entries(curve(success=False), LIGHT)[0].line == LIGHT.failure


@pytest.mark.parametrize("width", [472, 480, 780, 1232])
@pytest.mark.parametrize("ends", [(-1.0, 0.0), (-1.0, 1.0)])
def test_the_key_fits_its_width(width, ends):
    it = curve(positive=np.ones(24), v_min=ends[0], v_max=ends[1])
    with drawing() as theme:
        key = np.asarray(draw_key(it, width, theme)).astype(int)
    ink = key.min(axis=2) < 200
    assert key.shape[1] == width and len(key) < 90
    assert ink.any(axis=0)[: width // 2].any() and not ink[:, -2:].any() and not ink[[0, -1]].any()


def test_the_key_is_on_every_picture(tmp_path):
    pictures, _ = decode(write_overlay(curve(8), frames(8), tmp_path / "overlay.mp4"))
    keys = pictures[:, 704:].astype(int)
    assert ((keys.max(axis=3) < 170).sum(axis=(1, 2)) > 300).all()
    assert np.abs(keys - keys[0]).mean() < 1


@pytest.mark.parametrize(
    "changes",
    [dict(length=1), dict(probabilities=None, target=None, scale_seconds=None), dict(task="🤖 “$x$”\n" * 40)],
    ids=["one frame", "value alone", "odd task"],
)
def test_odd_curves_make_videos(changes, tmp_path):
    odd = curve(**changes)
    pictures, _ = decode(write_overlay(odd, frames(len(odd)), tmp_path / "odd.mp4", fps=29.97))
    assert len(pictures) == len(odd)


def test_too_few_or_too_many_frames_leave_no_file(tmp_path):
    with pytest.raises(ValueError, match="'side' has 20 frames, but the curve has 24"):
        write_overlay(curve(24), {"side": frames(20)}, tmp_path / "short.mp4")
    with pytest.raises(ValueError, match="'side' has more frames"):
        write_overlay(curve(24), {"side": frames(25)}, tmp_path / "long.mp4")
    with pytest.raises(ValueError, match="uint8"):
        write_overlay(curve(24), frames(24).astype(float), tmp_path / "float.mp4")
    assert list(tmp_path.iterdir()) == []
