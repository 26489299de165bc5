"""Image augmentation: a whole batch at once, on its device, uint8 in and out.

Every image draws its own parameters from torch's global generator of that device, which a checkpoint holds: a
resumed run draws the same ones. Geometry is one sampling of the source, colours are one matrix product. Left
out: flips and large turns, which change what a task means ("to the left"), and blur, noise and erasing.

Shapes: I images, C = 3 channels, H, W pixels.
"""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional as F

CHUNK = 256  # images that are float32 at a time: 154 MB at 224 px
GRAY = (0.299, 0.587, 0.114)  # luma of ITU-R BT.601, which Pillow's and torchvision's enhancers use
JITTERS = ("brightness", "contrast", "saturation", "hue")


@dataclass(frozen=True)
class Augmentation:
    """How strongly images are varied; the defaults vary nothing.

    Args:
        shift: up to this many pixels in each direction (Kostrikov et al. 2020, "DrQ").
        crop: the smallest share of each side that is kept, in (0, 1]; what is kept is scaled back.
        rotation: up to this many degrees either way.
        brightness, contrast, saturation: factors are drawn from [1 - x, 1 + x], x in [0, 1].
        hue: turns of the colour circle, up to this much either way, in [0, 0.5].

    Raises:
        ValueError: for a strength out of range.
    """

    shift: int = 0
    crop: float = 1.0
    rotation: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self):
        limits = {"shift": math.inf, "rotation": 180, "hue": 0.5} | dict.fromkeys(JITTERS[:3], 1)
        for name, most in limits.items():
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be between 0 and {most}, got {getattr(self, name)!r}.")
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop must be a share of the side, above 0 and up to 1, got {self.crop!r}.")

    @property
    def changes_geometry(self) -> bool:
        return self.shift > 0 or self.crop < 1 or self.rotation > 0

    @property
    def changes_colors(self) -> bool:
        return any(getattr(self, name) > 0 for name in JITTERS)


def jitter_strengths(color_jitter: float | Mapping[str, float] | None) -> dict[str, float]:
    """The `color_jitter` of a recipe by name: a mapping, or one strength for all but the hue.

    Raises:
        ValueError: for a name that is no jitter, or a strength that is no number.
    """
    if color_jitter is None or isinstance(color_jitter, int | float):
        return dict.fromkeys(JITTERS[:3], float(color_jitter or 0))
    for name, strength in color_jitter.items():
        if name not in JITTERS:
            near = difflib.get_close_matches(str(name), JITTERS, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"color_jitter has no {name!r}. {hint}Known: {', '.join(JITTERS)}.")
        if isinstance(strength, bool) or not isinstance(strength, int | float):
            raise ValueError(f"color_jitter: {name} must be a number, got {strength!r}.")
    return dict(color_jitter)


@torch.no_grad()
def augment(
    images: torch.Tensor,
    augmentation: Augmentation,
    fixed: torch.Tensor | None = None,
    groups: torch.Tensor | None = None,
) -> torch.Tensor:
    """uint8 `[I, 3, H, W]` to uint8 `[I, 3, H, W]`; what moves in from outside repeats the border.

    Args:
        fixed: bool `[I]`, true where only the colours may change. A wrist camera moves with the gripper:
            where things are in its picture is what it tells.
        groups: int64 `[I]` in 0 … I-1; images of one number get the same parameters. For the frames of one
            camera in a sample, whose difference is what the model is asked for.
    """
    if not len(images) or not (augmentation.changes_geometry or augmentation.changes_colors):
        return images
    own = torch.arange(len(images), device=images.device) if groups is None else groups
    zoom, turn, move = _draw_geometry(images, augmentation)
    matrices = _draw_colors(images, augmentation)
    if augmentation.changes_geometry:
        zoom, turn, move = zoom[own], turn[own], move[own]
        if fixed is not None:
            still = fixed.to(images.device)
            zoom, turn = zoom.masked_fill(still, 1.0), turn.masked_fill(still, 0.0)
            move = move.masked_fill(still[:, None], 0.0)
        if augmentation.crop == 1 and augmentation.rotation == 0:
            images = _shifted(images, move.round().long())
        else:
            images = _sampled(images, zoom, turn, move)
    return _recolored(images, *(m[own] for m in matrices)) if augmentation.changes_colors else images


def random_shift(images: torch.Tensor, pixels: int) -> torch.Tensor:
    """Shifts every image of `[I, 3, H, W]` by up to `pixels` whole pixels; borders are replicated."""
    return augment(images, Augmentation(shift=pixels))


# --- geometry --------------------------------------------------------------------------------------------


def _uniform(count: int, low: float, high: float, device) -> torch.Tensor:
    return torch.empty(count, device=device).uniform_(low, high)


def _draw_geometry(images: torch.Tensor, strength: Augmentation):
    """Share of the side that is kept `[I]`, angle `[I]` in radians, shift `[I, 2]` (x, y) in pixels."""
    count, _, height, width = images.shape
    device, most = images.device, math.radians(strength.rotation)
    zoom = (
        _uniform(count, strength.crop, 1.0, device) if strength.crop < 1 else torch.ones(count, device=device)
    )
    turn = _uniform(count, -most, most, device) if most else torch.zeros(count, device=device)
    sides = torch.full((count, 2), float(width), device=device)
    sides[:, 1] = height
    move = (1 - zoom)[:, None] * sides * (torch.rand(count, 2, device=device) - 0.5)
    if strength.shift:
        move += torch.randint(-strength.shift, strength.shift + 1, (count, 2), device=device)
    return zoom, turn, move


def _shifted(images: torch.Tensor, move: torch.Tensor) -> torch.Tensor:
    """Pixel (x, y) becomes that at (x, y) + move; `move` int64 `[I, 2]` (x, y). Exact: nothing is blended."""
    count, channels, height, width = images.shape
    x = (torch.arange(width, device=images.device) + move[:, :1]).clamp(0, width - 1)
    y = (torch.arange(height, device=images.device) + move[:, 1:]).clamp(0, height - 1)
    place = (y[:, :, None] * width + x[:, None, :]).flatten(1)[:, None].expand(-1, channels, -1)
    return images.flatten(2).gather(2, place).view_as(images)


def _sampled(images: torch.Tensor, zoom, turn, move) -> torch.Tensor:
    """Pixel p becomes that at zoom · R(turn) · p + move, seen from the centre; bilinear."""
    height, width = images.shape[-2:]
    cos, sin = zoom * turn.cos(), zoom * turn.sin()
    rows = [
        torch.stack([cos, -sin * height / width, move[:, 0] * 2 / width], dim=1),
        torch.stack([sin * width / height, cos, move[:, 1] * 2 / height], dim=1),
    ]
    theta = torch.stack(rows, dim=1)  # affine_grid counts from -1 to 1 along each side
    parts = []
    with torch.autocast(images.device.type, enabled=False):
        for some, its_theta in zip(images.split(CHUNK), theta.split(CHUNK), strict=True):
            grid = F.affine_grid(its_theta, list(some.shape), align_corners=False)
            found = F.grid_sample(some.float(), grid, "bilinear", "border", align_corners=False)
            parts.append(found.round_().byte())
    return torch.cat(parts)


# --- colours ---------------------------------------------------------------------------------------------


def _draw_colors(images: torch.Tensor, strength: Augmentation) -> tuple[torch.Tensor, torch.Tensor]:
    """What happens to the colours of each image, c ← A c + B m with the mean colour m: A, B `[I, 3, 3]`.

    In the order brightness, contrast (towards the mean gray), saturation (towards the pixel's gray), hue (a
    turn around the gray axis). All four are linear, so together they are one product, and only its end is
    clipped to 0 … 255.
    """
    count, device = len(images), images.device
    brightness, contrast, saturation = (
        _uniform(count, 1 - most, 1 + most, device)[:, None, None]
        for most in (strength.brightness, strength.contrast, strength.saturation)
    )
    turn = _uniform(count, -strength.hue, strength.hue, device)[:, None, None] * 2 * math.pi
    same = torch.eye(3, device=device)
    # filled row by row with plain numbers: a tensor made from a list would be copied to the device
    to_gray = torch.cat([torch.full((3, 1), weight, device=device) for weight in GRAY], dim=1)
    third = torch.full((3, 3), 1 / 3, device=device)
    cross = (same.roll(1, 0) - same.roll(-1, 0)) / math.sqrt(3)  # of the unit gray axis
    hue = third + turn.cos() * (same - third) + turn.sin() * cross  # Rodrigues' rotation formula
    color = hue @ (saturation * same + (1 - saturation) * to_gray)
    return color * (brightness * contrast), color @ to_gray * (brightness * (1 - contrast))


def _recolored(images: torch.Tensor, of_pixel: torch.Tensor, of_mean: torch.Tensor) -> torch.Tensor:
    parts = []
    with torch.autocast(images.device.type, enabled=False):
        for some, pixel, mean in zip(
            images.split(CHUNK), of_pixel.split(CHUNK), of_mean.split(CHUNK), strict=True
        ):
            colors = some.flatten(2).float()  # [i, 3, H * W]
            offset = mean @ colors.mean(-1, keepdim=True)
            parts.append(torch.baddbmm(offset, pixel, colors).clamp_(0, 255).round_().byte().view_as(some))
    return torch.cat(parts)
