"""Configuration of a value model: its two backbones, how they are joined, and what the value bins mean.

This file ships with every checkpoint. It depends on transformers only.
"""

import copy
import difflib
import math
from typing import ClassVar

from transformers import AutoConfig, PretrainedConfig

AUTO_MAP = {
    "AutoConfig": "configuration_value.ValueConfig",
    "AutoModel": "modeling_value.ValueModel",
    "AutoModelForImageTextToText": "modeling_value.ValueForConditionalGeneration",
    "AutoProcessor": "processing_value.ValueProcessor",
}
PIPELINES = {
    "value-estimation": {"impl": "pipeline_value.ValuePipeline", "pt": ["AutoModel"], "type": "multimodal"}
}
CHOICES = {
    "projector": ("mlp", "linear", "cross_attention"),
    "vision_pooling": ("average", "concat"),
    "attention": ("bidirectional", "causal"),
    "readout": ("value_token", "last_token", "mean", "weighted_mean"),
    "head": ("mlp", "linear", "norm_mlp"),
    "target": ("hl_gauss", "two_hot", "one_hot"),
}


class ValueConfig(PretrainedConfig):
    """Everything that `ValueModel` needs to be built.

    Args:
        vision_config: configuration (or its dictionary) of any `AutoModel` vision backbone. Default: SigLIP.
        text_config: configuration (or its dictionary) of any `AutoModel` decoder. Default: Gemma 3 text.
        num_bins: number of value bins (201: C51-style support of pi*0.6, Physical Intelligence 2025).
        v_min, v_max: value range; the bin centres are `linspace(v_min, v_max, num_bins)`. Value units.
        projector: "mlp" (vision -> vision -> text width, GELU), "linear", or "cross_attention": linear, and
            text tokens then attend to the image tokens of their row, with a residual, before the backbone.
        projector_heads: attention heads of the "cross_attention" projector; must divide the text width.
        attention: "bidirectional" (the prefix sees itself whole, answers are causal) or "causal".
        readout: which vector of a row the head reads: "value_token" (of a learned token that closes the
            prefix), "last_token" of the prefix, the "mean" of the prefix, or its "weighted_mean" with learned
            weights that start equal. The prefix never holds padding or answers.
        head: "mlp" with `head_depth` hidden layers, "norm_mlp" (the same behind a LayerNorm), or "linear".
        head_depth: number of hidden GELU layers of the head.
        head_hidden: width of the head's hidden layers; default: the text width.
        target: distribution that the value target becomes: "hl_gauss" (Farebrother et al. 2024), "two_hot"
            (Bellemare et al. 2017) or "one_hot".
        target_sigma: standard deviation of "hl_gauss" in value units; default 0.75 bin widths.
        vision_tokens_per_image: tokens of one image; fewer than the backbone gives are pooled on its grid, by
            `vision_pooling`. Must be a square number. Default: all of them.
        frames_per_sample: 1, or 2 for a pair of frames of one episode, whose value is the difference of their
            progress: every row then has the images of the reference frame and behind them, of the same
            cameras, those of the frame itself. Needs v_min < 0 < v_max, as a rule -1 and 1.
        language_weight: loss = value loss + language_weight * language loss, 0 or more.
        vision_pooling: "average" of neighbouring tokens, or "concat": their features side by side, so that
            the projector knows which was where (space-to-depth, as in Idefics 3, Laurençon et al. 2024).
        image_token_id, value_token_id: placeholders in `input_ids`; ids that the tokenizer already has.
        image_mean, image_std: per channel, for pixels rescaled to [0, 1]; applied on the model's device.
        freeze_vision, freeze_projector, freeze_embeddings: take the vision backbone, the projector or the
            token embeddings out of training.

    Raises:
        ValueError: for a choice that does not exist (with the nearest one that does), a range or a number of
            bins that cannot be.
    """

    model_type = "valuecurve"
    sub_configs: ClassVar[dict[str, type]] = {"vision_config": AutoConfig, "text_config": AutoConfig}
    pipelines_are_registered: ClassVar[bool] = False  # by the package, which then needs no remote code

    def __init__(
        self,
        vision_config=None,
        text_config=None,
        num_bins=201,
        v_min=-1.0,
        v_max=0.0,
        projector="mlp",
        projector_heads=8,
        attention="bidirectional",
        readout="value_token",
        head="mlp",
        head_depth=2,
        head_hidden=None,
        target="hl_gauss",
        target_sigma=None,
        frames_per_sample=1,
        language_weight=1.0,
        vision_tokens_per_image=None,
        vision_pooling="average",
        image_token_id=262144,  # Gemma 3's <image_soft_token>
        value_token_id=6,  # Gemma 3's <unused0>
        image_mean=(0.5, 0.5, 0.5),  # SigLIP's own
        image_std=(0.5, 0.5, 0.5),
        freeze_vision=False,
        freeze_projector=False,
        freeze_embeddings=False,
        **kwargs,
    ):
        self.vision_config = _sub_config(vision_config, "siglip_vision_model")
        if hasattr(self.vision_config, "vision_use_head"):
            self.vision_config.vision_use_head = (
                False  # the pooling head is not used: it would never be trained
            )
        self.text_config = _sub_config(text_config, "gemma3_text")
        self.num_bins = num_bins
        self.v_min = v_min
        self.v_max = v_max
        self.projector = projector
        self.projector_heads = projector_heads
        self.attention = attention
        self.readout = readout
        self.head = head
        self.head_depth = head_depth
        self.head_hidden = self.text_config.hidden_size if head_hidden is None else head_hidden
        self.target = target
        bin_width = (v_max - v_min) / max(num_bins - 1, 1)
        self.target_sigma = 0.75 * bin_width if target_sigma is None else target_sigma
        self.frames_per_sample = frames_per_sample
        self.language_weight = language_weight
        self.vision_tokens_per_image = vision_tokens_per_image or grid_tokens(self.vision_config)
        self.vision_pooling = vision_pooling
        self.image_token_id = image_token_id
        self.value_token_id = value_token_id
        self.image_mean = list(image_mean)
        self.image_std = list(image_std)
        self.freeze_vision = freeze_vision
        self.freeze_projector = freeze_projector
        self.freeze_embeddings = freeze_embeddings
        kwargs.pop("custom_pipelines", None)  # see below
        kwargs.setdefault("auto_map", dict(AUTO_MAP))  # so that the first save already names all classes
        kwargs.setdefault("tie_word_embeddings", getattr(self.text_config, "tie_word_embeddings", True))
        super().__init__(**kwargs)
        self._check()

    @property
    def custom_pipelines(self):
        """The pipelines that ship with a checkpoint, as `transformers.pipeline` looks for them, which also
        writes into what it finds; none where the package has registered its own."""
        return {} if self.pipelines_are_registered else copy.deepcopy(PIPELINES)

    @custom_pipelines.setter
    def custom_pipelines(self, value):
        """Saving a pipeline sets it; what is saved is always the same."""

    def to_dict(self):
        return super().to_dict() | {"custom_pipelines": copy.deepcopy(PIPELINES)}

    def _check(self):
        for field, choices in CHOICES.items():
            seen = getattr(self, field)
            if seen not in choices:
                near = difflib.get_close_matches(str(seen), choices, n=1)
                hint = f"Did you mean {near[0]!r}? " if near else ""
                raise ValueError(f"{field}={seen!r} is not a choice. {hint}Choices: {', '.join(choices)}.")
        self._check_types()
        if self.num_bins < 2 or not self.v_min < self.v_max:
            raise ValueError(
                f"num_bins={self.num_bins} over [{self.v_min}, {self.v_max}] is no support: "
                "it needs at least 2 bins and v_min < v_max."
            )
        if self.frames_per_sample not in (1, 2):
            raise ValueError(
                f"frames_per_sample={self.frames_per_sample!r} is not a choice: 1 frame, or 2 for a pair."
            )
        if self.frames_per_sample == 2 and not self.v_min < 0 < self.v_max:
            raise ValueError(
                f"v_min={self.v_min}, v_max={self.v_max} cannot hold a difference of progress, which has "
                "either sign: with frames_per_sample=2 set v_min=-1.0 and v_max=1.0."
            )
        if self.projector == "cross_attention" and self.text_config.hidden_size % self.projector_heads:
            raise ValueError(
                f"projector_heads={self.projector_heads} does not divide the text width, "
                f"{self.text_config.hidden_size}."
            )
        if not 0 <= self.language_weight < math.inf:
            raise ValueError(f"language_weight={self.language_weight} must be 0 or more.")
        if not 0 < self.target_sigma < math.inf:
            raise ValueError(f"target_sigma={self.target_sigma} must be more than 0.")
        if self.image_token_id == self.value_token_id:
            raise ValueError(f"image_token_id and value_token_id are both {self.value_token_id}.")
        if math.isqrt(self.vision_tokens_per_image) ** 2 != self.vision_tokens_per_image:
            raise ValueError(
                f"vision_tokens_per_image={self.vision_tokens_per_image} is not a square number."
            )
        if _is_whole(getattr(self.vision_config, "patch_size", None)):
            most = grid_tokens(self.vision_config)
            if self.vision_tokens_per_image > most:
                raise ValueError(
                    f"vision_tokens_per_image={self.vision_tokens_per_image}, but the vision backbone gives "
                    f"{most} tokens per image: choose a square number that is not larger."
                )
        if self.vision_pooling == "concat":
            grid, side = math.isqrt(grid_tokens(self.vision_config)), math.isqrt(self.vision_tokens_per_image)
            if grid % side:
                raise ValueError(
                    f"vision_tokens_per_image={side**2} cannot be concatenated from a grid of "
                    f"{grid} x {grid} tokens: its side, {side}, must divide {grid}."
                )

    def _check_types(self):
        whole = {"num_bins": 1, "projector_heads": 1, "head_depth": 0, "head_hidden": 1}
        for name, least in (whole | {"vision_tokens_per_image": 1}).items():
            seen = getattr(self, name)
            if not _is_whole(seen) or seen < least:
                raise ValueError(f"{name}={seen!r} must be a whole number, {least} or more.")
        for name in ("freeze_vision", "freeze_projector", "freeze_embeddings"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}={getattr(self, name)!r} must be true or false.")
        for name in ("image_mean", "image_std"):
            if len(getattr(self, name)) != 3:
                raise ValueError(f"{name}={getattr(self, name)} must hold a number for each of 3 channels.")
        if not all(std > 0 for std in self.image_std):
            raise ValueError(f"image_std={self.image_std} must be above 0.")


def _is_whole(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _sub_config(config, default_type):
    """A configuration object from an object, a dictionary (its `model_type` chooses the class) or None."""
    if isinstance(config, PretrainedConfig):
        return config
    config = dict(config or {})
    return AutoConfig.for_model(config.pop("model_type", default_type), **config)


def grid_tokens(vision_config):
    """Tokens per image of a vision backbone: patches of a ViT, cells of the last stage of a ConvNeXt."""
    size, patch = getattr(vision_config, "image_size", None), getattr(vision_config, "patch_size", None)
    if not isinstance(size, int) or not isinstance(patch, int):
        raise ValueError(
            f"vision backbone {vision_config.model_type!r} has no integer image_size and patch_size: "
            "set vision_tokens_per_image."
        )
    stages = len(getattr(vision_config, "hidden_sizes", None) or [0])  # each but the first halves the grid
    return (size // patch // 2 ** (stages - 1)) ** 2


ValueConfig.register_for_auto_class()
