"""Augmented images: moved whole, recoloured right, each by its own draw, and never in validation."""

import colorsys

import pytest
import torch
from tiny_models import write_recipe

from valuecurve.training import ConfigError, ValueTrainer, load_config, prepare
from valuecurve.training.augmentation import Augmentation, augment, jitter_strengths, random_shift

STRONG = Augmentation(shift=2, crop=0.8, rotation=8, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05)


@pytest.fixture
def images() -> torch.Tensor:
    """Six smooth pictures, alike in nothing: uint8 [6, 3, 32, 32]."""
    torch.manual_seed(0)
    coarse = torch.rand(6, 3, 5, 5) * 200 + 28
    return torch.nn.functional.interpolate(coarse, 32, mode="bilinear").byte()


def test_by_default_nothing_changes(images):
    assert augment(images, Augmentation()) is images


@pytest.mark.parametrize("count", [0, 1, 6])
def test_type_and_shape_stay(images, count):
    varied = augment(images[:count], STRONG)
    assert varied.dtype == torch.uint8 and varied.shape == images[:count].shape


def test_random_shift_moves_each_image_whole():
    torch.manual_seed(0)
    images = torch.arange(2 * 3 * 8 * 8, dtype=torch.uint8).view(2, 3, 8, 8)
    assert torch.equal(random_shift(images, 0), images)
    moved = random_shift(images, 3)
    assert moved.dtype == torch.uint8 and moved.shape == images.shape
    found = []
    for image, original in zip(moved, images, strict=True):
        padded = torch.nn.functional.pad(original[None].float(), (3,) * 4, mode="replicate")[0].byte()
        windows = [
            (y, x) for y in range(7) for x in range(7) if torch.equal(padded[:, y : y + 8, x : x + 8], image)
        ]
        assert windows
        found.append(windows[0])
    assert found[0] != found[1]


def test_every_image_draws_its_own_parameters_and_groups_share_theirs(images):
    same = images[:1].expand(6, -1, -1, -1).contiguous()
    varied = augment(same, STRONG)
    assert len({tuple(image.flatten().tolist()) for image in varied}) == 6
    varied = augment(same, STRONG, groups=torch.tensor([0, 1, 0, 3, 1, 3]))
    assert torch.equal(varied[0], varied[2]) and torch.equal(varied[1], varied[4])
    assert torch.equal(varied[3], varied[5]) and not torch.equal(varied[0], varied[1])


@pytest.mark.parametrize("strength", [{"shift": 3}, {"crop": 0.7}, {"rotation": 20}])
def test_fixed_images_keep_their_geometry(images, strength):
    fixed = torch.tensor([True, False] * 3)
    varied = augment(images, Augmentation(**strength), fixed=fixed)
    assert torch.equal(varied[fixed], images[fixed])
    assert all(not torch.equal(a, b) for a, b in zip(varied[~fixed], images[~fixed], strict=True))


def test_fixed_images_still_change_their_colors(images):
    fixed = torch.ones(6, dtype=torch.bool)
    varied = augment(images, Augmentation(shift=3, brightness=0.4), fixed=fixed)
    ratio = varied.float().mean((1, 2, 3)) / images.float().mean((1, 2, 3))
    assert (ratio - 1).abs().max() > 0.05


def test_the_same_generator_state_gives_the_same_images(images):
    torch.manual_seed(3)
    one = augment(images, STRONG)
    other = augment(images, STRONG)
    torch.manual_seed(3)
    assert torch.equal(augment(images, STRONG), one) and not torch.equal(one, other)


def test_a_rotation_turns_around_the_centre_by_up_to_its_degrees():
    """A bright spot right of the centre: its angle says how far its picture was turned."""
    picture = torch.zeros(1, 3, 65, 65, dtype=torch.uint8)
    picture[..., 31:34, 51:54] = 255
    turned = augment(picture.expand(64, -1, -1, -1).contiguous(), Augmentation(rotation=30)).float()[:, 0]
    place = torch.arange(65.0) - 32
    mass = turned.sum((1, 2))
    x, y = (turned.sum(1) * place).sum(1) / mass, (turned.sum(2) * place).sum(1) / mass
    torch.testing.assert_close((x**2 + y**2).sqrt(), torch.full((64,), 20.0), rtol=0, atol=0.2)
    degrees = torch.atan2(y, x).rad2deg()
    assert 25 < degrees.max() <= 30.5 and -30.5 <= degrees.min() < -25


def test_a_crop_keeps_at_least_its_share_and_stays_inside():
    """A ramp shows which columns are left: first and last pixel of a row, in source pixels."""
    ramp = torch.arange(200, dtype=torch.uint8).expand(64, 3, 200, 200).contiguous()
    cropped = augment(ramp, Augmentation(crop=0.6)).float()[:, 0, 100]
    kept = (cropped[:, -1] - cropped[:, 0] + 1) / 200
    assert 0.59 <= kept.min() < 0.65 and 0.95 < kept.max() <= 1
    middle = (cropped[:, 0] + cropped[:, -1]) / 2
    assert middle.min() < 85 and middle.max() > 115  # it is not always the middle that is kept


def recolored(images: torch.Tensor, **strength) -> torch.Tensor:
    return augment(images, Augmentation(**strength)).float()


def test_brightness_scales_and_contrast_keeps_the_mean_gray(images):
    plain = images.float()
    ratio = recolored(images // 2, brightness=0.3) / (images // 2)
    assert (ratio.flatten(1).std(1) < 0.02).all() and ratio.flatten(1).mean(1).std() > 0.05
    gray = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    varied = recolored(images, contrast=0.2)
    torch.testing.assert_close(
        (varied * gray).sum(1).mean((1, 2)), (plain * gray).sum(1).mean((1, 2)), rtol=0, atol=1.0
    )
    assert (varied.flatten(1).std(1) / plain.flatten(1).std(1) - 1).abs().max() > 0.05


def test_saturation_keeps_every_gray_value(images):
    gray = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    varied = recolored(images, saturation=0.3)
    torch.testing.assert_close((varied * gray).sum(1), (images.float() * gray).sum(1), rtol=0, atol=1.0)
    assert (varied - images).abs().max() > 5
    plain_gray = images[:, :1].expand(-1, 3, -1, -1).contiguous()
    assert torch.equal(augment(plain_gray, Augmentation(saturation=0.3, hue=0.4)), plain_gray)


def test_hue_turns_red_within_its_limit_both_ways():
    red = torch.tensor([150, 50, 50], dtype=torch.uint8)[None, :, None, None].expand(64, 3, 2, 2)
    colors = recolored(red.contiguous(), hue=0.1)[:, :, 0, 0] / 255
    hues = [(colorsys.rgb_to_hsv(*color)[0] + 0.5) % 1 - 0.5 for color in colors.tolist()]
    assert -0.12 < min(hues) < -0.07 and 0.07 < max(hues) < 0.12


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--training.color_jitter", "{brightnes: 0.1}"], "no 'brightnes'. Did you mean 'brightness'"),
        (["--training.color_jitter", "{hue: 0.8}"], "hue must be between 0 and 0.5, got 0.8"),
        (["--training.color_jitter", "{contrast: much}"], "contrast must be a number, got 'much'"),
        (["--training.color_jitter", "-0.1"], "brightness must be between 0 and 1, got -0.1"),
        (["--training.random_crop", "1.2"], "training.random_crop must be above 0 and up to 1, got 1.2"),
        (["--training.random_rotation", "-3"], "training.random_rotation must be 0 to 180 degrees"),
    ],
)
def test_strengths_that_cannot_be_are_errors(tiny_v30, tmp_path, overrides, message):
    path = write_recipe(tmp_path / "r.yaml", tiny_v30, tmp_path / "run")
    with pytest.raises(ConfigError, match=message):
        load_config(path, overrides)


def test_one_strength_is_for_all_jitters_but_the_hue():
    assert jitter_strengths(0.2) == {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2}
    assert jitter_strengths({"hue": 0.1}) == {"hue": 0.1}


def test_training_images_are_varied_and_validation_images_are_not(tiny_v30, tmp_path):
    options = {"color_jitter": 0.3, "random_shift": 2, "eval_strategy": "no", "save_strategy": "no"}
    path = write_recipe(tmp_path / "r.yaml", tiny_v30, tmp_path / "run", **options)
    config = load_config(path, ["--training.load_best_model_at_end", "false"])
    prepared = prepare(config)
    trainer = ValueTrainer(model=prepared.model, args=config.training, data_collator=prepared.collator)
    batch = prepared.collator(prepared.data.rows("train")[:4])
    images = batch["pixel_values"].clone()
    seen = []
    prepared.model.vision_tower.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["pixel_values"]), with_kwargs=True
    )
    wrist = torch.zeros(len(images), dtype=torch.bool)
    prepared.model.train()
    trainer.compute_loss(prepared.model, batch | {"is_wrist": wrist})
    prepared.model.eval()
    trainer.prediction_step(prepared.model, batch, False)
    plain = images.float() / 127.5 - 1
    assert (seen[0] - plain).abs().mean() > 0.01
    torch.testing.assert_close(seen[1], plain)
    assert torch.equal(batch["pixel_values"], images)  # the batch itself stays as it was
