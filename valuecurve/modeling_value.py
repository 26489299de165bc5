"""The value model: images, state and task text in; a distribution over the normalised time to success out.

    pixel_values ─ vision backbone ─ projector ──┐
                                                 ├─ [img … img | task, state | value token | answer …]
    input_ids ──── token embeddings ─────────────┘        │ prefix: sees itself whole   │ causal
                                                          text backbone
                                                          │                             │
                                            value token ─ value head ─ logits [B, bins] └─ tied LM head

This file ships with every checkpoint. It depends on torch and transformers only. The batch contract:

    input_ids       int64  [B, S]         `vision_tokens_per_image` placeholders for every image of the sample
    attention_mask  int64  [B, S]         1 = token, 0 = padding (either side)
    token_type_ids  int64  [B, S]         0 = prefix, 1 = answer; default all prefix
    pixel_values    uint8  [I, 3, H, W]   all images of the batch, in the order of their placeholders; of a
                                          pair of frames the reference frame first, then the frame itself
    value_targets   float  [B]            value units; NaN = this row has no target
    labels          int64  [B, S]         token ids of answers, -100 elsewhere

Shape suffixes: B rows, S tokens, I images, P tokens per image, D text width, K value bins, V vocabulary.
"""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    DynamicCache,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers import initialization as init
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils import ModelOutput

from .configuration_value import ValueConfig, grid_tokens

# --- the support and the distributions over it -----------------------------------------------------------


def support(config: ValueConfig, device=None) -> torch.Tensor:
    """Bin centres `[K]` in value units, float32. Labels and readout use the same ones."""
    return torch.linspace(config.v_min, config.v_max, config.num_bins, device=device, dtype=torch.float32)


def hl_gauss(values: torch.Tensor, centers: torch.Tensor, sigma: float) -> torch.Tensor:
    """Target distribution `[B, K]`: mass of N(value, sigma) in each bin, renormalised on the support.

    Source: Farebrother et al. 2024, "Stop Regressing", equation 3.2. Values `[B]` are clipped to the support.
    """
    width = centers[1] - centers[0]
    edges = torch.cat([centers - width / 2, centers[-1:] + width / 2])
    values = values.clamp(centers[0], centers[-1])
    cdf = torch.erf((edges - values[:, None]) / (math.sqrt(2) * sigma))
    return cdf.diff(dim=-1) / (cdf[:, -1:] - cdf[:, :1])


def two_hot(values: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
    """Target distribution `[B, K]`: the two centres around a value, weighted so that the mean is the value.

    Source: the projection of C51, Bellemare et al. 2017. Values `[B]` are clipped to the support.
    """
    last = len(centers) - 1
    position = (values.clamp(centers[0], centers[-1]) - centers[0]) / (centers[-1] - centers[0]) * last
    lower = position.floor().clamp(0, last - 1)
    upper_weight = (position - lower)[:, None]
    lower = lower.long()
    one_hot_lower = F.one_hot(lower, len(centers))
    return (1 - upper_weight) * one_hot_lower + upper_weight * F.one_hot(lower + 1, len(centers))


def one_hot(values: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
    """Target distribution `[B, K]`: all mass on the nearest centre; a tie goes to the upper bin."""
    last = len(centers) - 1
    position = (values.clamp(centers[0], centers[-1]) - centers[0]) / (centers[-1] - centers[0]) * last
    return F.one_hot((position + 0.5).floor().long().clamp(0, last), len(centers)).float()


def target_distribution(values: torch.Tensor, config: ValueConfig) -> torch.Tensor:
    """The distribution `[B, K]` that the value head is trained towards, by `config.target`."""
    centers = support(config, values.device)
    if config.target == "hl_gauss":
        return hl_gauss(values, centers, config.target_sigma)
    return two_hot(values, centers) if config.target == "two_hot" else one_hot(values, centers)


# --- the parts ---------------------------------------------------------------------------------------------


def build_projector(config: ValueConfig) -> nn.Module:
    """Pooled vision features `[I, P, C]` to text embeddings `[I, P, D]`."""
    vision_width, text_width = _width(config.vision_config), config.text_config.hidden_size
    concat = config.vision_pooling == "concat"
    merged = grid_tokens(config.vision_config) // config.vision_tokens_per_image if concat else 1
    pooled_width = merged * vision_width
    if config.projector == "linear":
        return nn.Linear(pooled_width, text_width)
    if config.projector == "cross_attention":
        return CrossAttentionProjector(pooled_width, text_width, config.projector_heads)
    return nn.Sequential(
        nn.Linear(pooled_width, vision_width), nn.GELU(), nn.Linear(vision_width, text_width)
    )


def build_head(config: ValueConfig) -> nn.Sequential:
    """Readout `[B, D]` to value logits `[B, K]`."""
    width = config.text_config.hidden_size
    layers: list[nn.Module] = [nn.LayerNorm(width)] if config.head == "norm_mlp" else []
    for _ in range(0 if config.head == "linear" else config.head_depth):
        layers += [nn.Linear(width, config.head_hidden), nn.GELU()]
        width = config.head_hidden
    return nn.Sequential(*layers, nn.Linear(width, config.num_bins))


class CrossAttentionProjector(nn.Module):
    """Vision features `[I, P, C]` to embeddings `[I, P, D]`, which the text then attends to."""

    def __init__(self, vision_width: int, width: int, heads: int):
        super().__init__()
        self.linear = nn.Linear(vision_width, width)
        self.cross_attention = CrossAttention(width, heads)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.linear(features)


class CrossAttention(nn.Module):
    """Text tokens (queries, behind a LayerNorm) attend to the image tokens of their row; with a residual."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )

    def forward(self, embeds_BSD: torch.Tensor, is_image_BS: torch.Tensor) -> torch.Tensor:
        """Embeddings `[B, S, D]` of the same rows; image tokens and rows without images stay as they are."""
        has_images = is_image_BS.any(-1, keepdim=True)
        keys = is_image_BS | ~has_images  # a row without any key would have no softmax
        q, k, v = (
            projection(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, heads, S, D / heads]
            for projection, x in (
                (self.q_proj, self.norm(embeds_BSD)),
                (self.k_proj, embeds_BSD),
                (self.v_proj, embeds_BSD),
            )
        )
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=keys[:, None, None, :])
        seen_BSD = self.o_proj(seen.transpose(1, 2).flatten(-2))
        return embeds_BSD + torch.where((~is_image_BS & has_images)[..., None], seen_BSD, 0)


def prefix_mask(attention_mask: torch.Tensor, token_type_ids: torch.Tensor, attention: str) -> torch.Tensor:
    """Which token may look at which, bool `[B, 1, S, S]` (query, key); one mask for every layer.

    Prefix tokens (type 0) see the whole prefix when `attention` is "bidirectional", in sliding-window layers
    too; answer tokens see the prefix and the answer so far. Padding is seen by nobody but itself, which only
    keeps its softmax finite.
    """
    length = attention_mask.shape[1]
    index = torch.arange(length, device=attention_mask.device)
    causal = index[None, :] <= index[:, None]
    allowed = causal[None]
    if attention == "bidirectional":
        prefix = token_type_ids == 0
        allowed = allowed | (prefix[:, None, :] & prefix[:, :, None])
    allowed = allowed & attention_mask.bool()[:, None, :]
    return (allowed | torch.eye(length, dtype=torch.bool, device=index.device))[:, None]


@dataclass
class ValueOutput(ModelOutput):
    """What `ValueModel` returns.

    loss: value_loss + language_weight * language_loss, those that there are.
    value_loss: cross-entropy over the bins, mean over the rows that have a target.
    language_loss: cross-entropy of the answer tokens, mean over tokens.
    logits: float32 `[B, K]`. For rows without a value token (questions) they mean nothing.
    value: float32 `[B]`, the distribution's mean, value units.
    """

    loss: torch.Tensor | None = None
    value_loss: torch.Tensor | None = None
    language_loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    value: torch.Tensor | None = None


class ValuePreTrainedModel(PreTrainedModel):
    config: ValueConfig
    config_class = ValueConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    input_modalities = ["image", "text"]
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False
    _supports_sdpa = True
    _no_split_modules = ["Gemma3DecoderLayer", "SiglipEncoderLayer"]
    _tied_weights_keys = {"lm_head.weight": "text_model.embed_tokens.weight"}

    @torch.no_grad()
    def _init_weights(self, module):
        """Our own parts; the backbones initialise themselves."""
        if isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            init.normal_(module.weight, std=module.in_features**-0.5)  # keeps the variance at any width
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, ValueModel):
            if module.value_token is not None:
                init.normal_(module.value_token)
            if module.readout_weights is not None:
                init.zeros_(module.readout_weights)  # at first every token counts alike


class ValueModel(ValuePreTrainedModel):
    """Predicts, for every row, a distribution over the normalised negative time to success.

    `ValueModel(config)` has random weights; `ValueModel.from_backbones` starts from pretrained halves;
    `from_pretrained` loads a checkpoint.
    """

    def __init__(self, config: ValueConfig):
        super().__init__(config)
        self.vision_tower = AutoModel.from_config(config.vision_config)
        self.projector = build_projector(config)
        self.text_model = AutoModel.from_config(config.text_config)
        width = config.text_config.hidden_size
        # only what the readout needs: the rest would never be trained
        self.value_token = nn.Parameter(torch.empty(width)) if config.readout == "value_token" else None
        weighted = config.readout == "weighted_mean"
        self.readout_weights = nn.Parameter(torch.empty(width)) if weighted else None
        self.value_head = build_head(config)
        self.lm_head = nn.Linear(width, config.text_config.vocab_size, bias=False)
        self.post_init()
        # post_init adds those of both backbones; FSDP wants to find each (SigLIP's text half is not here)
        classes = {type(module).__name__ for module in self.modules()}
        self._no_split_modules = sorted(classes.intersection(self._no_split_modules or ()))
        if config.tie_word_embeddings:
            self._keys_to_ignore_on_save = ["lm_head.weight"]
        self.apply_freezing()

    @classmethod
    def from_backbones(cls, vision: str, text: str, config: dict | None = None, **kwargs) -> "ValueModel":
        """A value model whose halves come from their own checkpoints; the joints are newly initialised.

        Args:
            vision: folder or Hub id: a full SigLIP (only its vision half is loaded), any vision backbone, or
                a value checkpoint, whose vision half is taken.
            text: folder or Hub id of a causal language model, its backbone, or a value checkpoint, whose text
                half is taken.
            config: fields of `ValueConfig`, for example `{"image_token_id": 4, "freeze_vision": True}`. In
                `vision_config` and `text_config`, those that change nothing of the weights' shapes.
            **kwargs: to both `from_pretrained` calls: `dtype`, `revision`, `token`, …
        """
        fields = dict(config or {})
        vision_model = _load_vision(vision, fields.pop("vision_config", None), **kwargs)
        text_model, lm_head = _load_text(text, fields.pop("text_config", None), **kwargs)
        value_config = ValueConfig(vision_config=vision_model.config, text_config=text_model.config, **fields)
        for part in (value_config.vision_config, value_config.text_config):
            part._name_or_path = ""  # may be a folder of this machine
        with torch.device("meta"):
            model = cls(value_config)
        model.to_empty(device="cpu")
        model.vision_tower = vision_model
        model.text_model, model.lm_head = text_model, lm_head
        model.tie_weights()
        fresh = (model.projector, model.value_head)
        for module in fresh:
            module.apply(model._init_weights)
        model._init_weights(model)
        # transformers wraps `to` in a way that hides from pyright that it is a method
        model.to(vision_model.dtype)  # pyright: ignore[reportArgumentType]
        model.apply_freezing()
        return model

    @classmethod
    def from_pretrained(cls, *args, **kwargs) -> Self:
        """As `PreTrainedModel.from_pretrained`, of safetensors only; what the configuration freezes is.

        Pickles are never read: loading one may run anything.
        """
        kwargs["use_safetensors"] = True
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded  # a tuple with output_loading_info
        model.apply_freezing()  # loading replaces the parameters
        return loaded

    def apply_freezing(self):
        """Sets `requires_grad` of each part from `config.freeze_…`."""
        self.vision_tower.requires_grad_(not self.config.freeze_vision)
        self.projector.requires_grad_(not self.config.freeze_projector)
        self.get_input_embeddings().requires_grad_(not self.config.freeze_embeddings)

    def pipeline(self, processor, **options):
        """The `ValuePipeline` of this model: frames, a video or an episode in, its value curve out."""
        # named here too so that every save carries this file
        from .pipeline_value import ValuePipeline

        options.setdefault("device", self.device)
        return ValuePipeline(model=self, processor=processor, task="value-estimation", **options)

    def get_input_embeddings(self):
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.text_model.set_input_embeddings(value)

    def get_output_embeddings(self):
        return self.lm_head

    def set_output_embeddings(self, new_embeddings):
        self.lm_head = new_embeddings

    @property
    def dummy_inputs(self) -> dict[str, torch.Tensor]:
        """A batch of two rows that keeps the contract above: an image a frame, text, the value token."""
        config = self.config
        size, images = config.vision_config.image_size, 2 * config.frames_per_sample
        row = [config.image_token_id] * (config.frames_per_sample * config.vision_tokens_per_image)
        row += [1, 2, 3, 1, *([config.value_token_id] if self.value_token is not None else [])]
        return {
            "input_ids": torch.tensor([row, row], device=self.device),
            "attention_mask": torch.ones(2, len(row), dtype=torch.long, device=self.device),
            "pixel_values": torch.arange(images * 3 * size * size, device=self.device)
            .remainder(251)
            .to(torch.uint8)
            .view(images, 3, size, size),
        }

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """uint8 `[I, 3, H, W]` to embeddings `[I, P, D]` in the space of the text backbone."""
        if pixel_values.dtype != torch.uint8:
            raise ValueError(
                f"pixel_values must be uint8 in 0…255, got {pixel_values.dtype}; ValueProcessor makes them."
            )
        pixels = pixel_values.float().div_(255)  # in place: one float copy of the images, not four
        for channel, (mean, std) in enumerate(
            zip(self.config.image_mean, self.config.image_std, strict=True)
        ):
            pixels[:, channel].sub_(mean).div_(std)  # plain numbers: nothing is copied to the device
        pixels = pixels.to(self.vision_tower.dtype)
        features = self.vision_tower(pixel_values=pixels).last_hidden_state
        if features.ndim == 4:  # convolutional backbones: [I, C, h, w]
            features = features.flatten(2).transpose(1, 2)
        return self.projector(_pool_tokens(features, self.config))

    def embed(
        self,
        input_ids: torch.Tensor,
        pixel_values: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Token embeddings `[B, S, D]` with image features and the value token in their places.

        `image_features` `[I, P, D]` stand for the pixels, where `get_image_features` has already made them.
        """
        config = self.config
        is_image = input_ids == config.image_token_id
        is_value = (input_ids == config.value_token_id) & (self.value_token is not None)
        embeds = self.get_input_embeddings()(input_ids.masked_fill(is_image | is_value, 0))
        if self.value_token is not None:
            embeds = torch.where(is_value[..., None], self.value_token.to(embeds.dtype), embeds)
        images = pixel_values if image_features is None else image_features
        self._check_image_tokens(is_image, 0 if images is None else len(images))
        if images is None:
            return embeds
        features = self.get_image_features(images) if image_features is None else image_features
        features = features.to(embeds.dtype).flatten(0, 1)
        # where the k-th placeholder is; boolean indexing would make the host wait for the device
        count = torch.arange(1, len(features) + 1, device=features.device)
        places = torch.searchsorted(is_image.flatten().cumsum(0), count)
        embeds = embeds.flatten(0, 1).index_copy(0, places, features).view_as(embeds)
        if isinstance(self.projector, CrossAttentionProjector):
            embeds = self.projector.cross_attention(embeds, is_image)
        return embeds

    def _check_image_tokens(self, is_image: torch.Tensor, images: int) -> None:
        """As many placeholders as image features. CUDA checks by itself, so that the host need not wait."""
        tokens = self.config.vision_tokens_per_image
        if is_image.device.type in ("cuda", "meta"):
            message = f"input_ids do not hold {tokens} image tokens for each of {images} images"
            torch._assert_async(is_image.sum() == images * tokens, message)
        elif (seen := int(is_image.sum())) != images * tokens:
            raise ValueError(
                f"input_ids hold {seen} image tokens, but {images} images of {tokens} tokens need "
                f"{images * tokens}. Build both with the same ValueProcessor."
            )

    def encode(
        self, input_ids, pixel_values=None, attention_mask=None, token_type_ids=None, image_features=None
    ) -> torch.Tensor:
        """Hidden states `[B, S, D]` of the text backbone over the whole sequence; arguments as `embed`'s."""
        attention_mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        token_type_ids = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        embeds = self.embed(input_ids, pixel_values, image_features)
        mask = prefix_mask(attention_mask, token_type_ids, self.config.attention)
        return self.text_model(
            inputs_embeds=embeds,
            attention_mask=_for_backend(mask, self.text_model, embeds.dtype),
            position_ids=(attention_mask.cumsum(-1) - 1).clamp(min=0),
            use_cache=False,
        ).last_hidden_state

    def readout(self, hidden_BSD, input_ids, attention_mask=None, token_type_ids=None) -> torch.Tensor:
        """One vector per row, `[B, D]`: of the value token, of the prefix's last token, or a mean of it.

        A row without value token (a question) gets that of its first token, which then means nothing.
        """
        prefix = torch.ones_like(input_ids, dtype=torch.bool)
        prefix = prefix if attention_mask is None else prefix & attention_mask.bool()
        prefix = prefix if token_type_ids is None else prefix & (token_type_ids == 0)
        if self.config.readout in ("mean", "weighted_mean"):
            scores_BS = torch.zeros(prefix.shape, device=prefix.device)
            if self.readout_weights is not None:
                # a matrix-vector product gives other last bits where memory lies otherwise
                scores_BS = (hidden_BSD.float() * self.readout_weights.float()).sum(dim=-1)
            weights_BS = scores_BS.masked_fill(~prefix, torch.finfo(torch.float32).min).softmax(-1)
            return (weights_BS[..., None] * hidden_BSD).sum(1).to(hidden_BSD.dtype)
        marked = input_ids == self.config.value_token_id if self.config.readout == "value_token" else prefix
        index = torch.arange(input_ids.shape[1], device=input_ids.device)
        last = (marked * index).argmax(-1)
        return hidden_BSD[torch.arange(len(last), device=last.device), last]

    def forward(
        self,
        input_ids: torch.Tensor,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        value_targets: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> ValueOutput | tuple:
        """Shapes and types: see the contract at the top of this file.

        Raises:
            ValueError: when images and image tokens do not match, or the pixels are not uint8.
        """
        hidden = self.encode(input_ids, pixel_values, attention_mask, token_type_ids)
        pooled = self.readout(hidden, input_ids, attention_mask, token_type_ids)
        logits = self.value_head(pooled.to(next(self.value_head.parameters()).dtype)).float()
        value = (logits.softmax(-1) * support(self.config, logits.device)).sum(-1)  # autocast would round `@`
        value_loss = None if value_targets is None else self.value_loss(logits, value_targets)
        language_loss = None if labels is None else self.language_loss(hidden, labels)
        output = ValueOutput(
            self.total_loss(value_loss, language_loss), value_loss, language_loss, logits, value
        )
        return output if return_dict is not False else output.to_tuple()

    def total_loss(self, value_loss, language_loss) -> torch.Tensor | None:
        """value_loss + language_weight * language_loss, of those that there are."""
        if language_loss is None:
            return value_loss
        language_loss = self.config.language_weight * language_loss
        return language_loss if value_loss is None else value_loss + language_loss

    def value_loss(self, logits: torch.Tensor, value_targets: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of logits `[B, K]` against the target distributions of `value_targets` `[B]`.

        The mean over rows with a target; rows whose target is NaN do not count. 0 if there is none.
        """
        has_target = ~value_targets.isnan()
        targets = target_distribution(torch.where(has_target, value_targets, 0.0).float(), self.config)
        cross_entropy = -(targets * logits.log_softmax(-1)).sum(-1)
        return (cross_entropy * has_target).sum() / has_target.sum().clamp(min=1)

    def language_loss(self, hidden_BSD: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Next-token cross-entropy of the answers; logits `[answer tokens, V]` and never more."""
        following = labels[:, 1:]
        answered = following != -100
        logits = self.lm_head(hidden_BSD[:, :-1][answered]).float()
        return F.cross_entropy(logits, following[answered], reduction="sum") / answered.sum().clamp(min=1)


class ValueForConditionalGeneration(ValueModel, GenerationMixin):
    """The same weights, answering questions: `forward` gives next-token logits, `generate` gives text."""

    def forward(
        self,
        input_ids: torch.Tensor,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        past_key_values=None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        return_dict: bool | None = None,
        **kwargs,
    ) -> CausalLMOutputWithPast | tuple:
        """As `ValueModel.forward`, with logits `[B, S or logits_to_keep, V]`.

        With `past_key_values`, `input_ids` are the new tokens and `attention_mask` covers old and new ones.

        Raises:
            ValueError: as `ValueModel.forward`; and with the cross_attention projector for a filled cache,
                which does not hold the images that a new token would attend to.
        """
        past = past_key_values.get_seq_length() if past_key_values is not None else 0
        if past and isinstance(self.projector, CrossAttentionProjector):
            raise ValueError(
                "with projector='cross_attention' every new token attends to the images, which no cache "
                "holds: pass all tokens and the images again, with use_cache=False (as `generate` does)."
            )
        if attention_mask is None:
            attention_mask = input_ids.new_ones(len(input_ids), past + input_ids.shape[1])
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        if past:  # everything seen so far is visible to a new answer token
            types = torch.cat([types.new_zeros(len(types), past), types.new_ones(input_ids.shape)], dim=1)
        mask = prefix_mask(attention_mask, types, self.config.attention)[:, :, past:]
        embeds = self.embed(input_ids, pixel_values)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache()
        outputs = self.text_model(
            inputs_embeds=embeds,
            attention_mask=_for_backend(mask, self.text_model, embeds.dtype),
            position_ids=(attention_mask.cumsum(-1) - 1).clamp(min=0)[:, past:],
            past_key_values=past_key_values,
            use_cache=bool(use_cache),
        )
        hidden = outputs.last_hidden_state
        loss = None if labels is None else self.language_loss(hidden, labels)
        logits = self.lm_head(hidden[:, -logits_to_keep:] if logits_to_keep else hidden)
        output = CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=outputs.past_key_values)
        return output if return_dict is not False else output.to_tuple()

    def generate(self, *args, **kwargs):
        """`GenerationMixin.generate`, with a cache that never forgets the prefix (no sliding window).

        Placeholders are never generated. With the cross_attention projector there is no cache.
        """
        if isinstance(self.projector, CrossAttentionProjector):
            kwargs["use_cache"] = False
        if kwargs.get("use_cache", True):
            kwargs.setdefault("past_key_values", DynamicCache())
        kwargs.setdefault("suppress_tokens", [self.config.image_token_id, self.config.value_token_id])
        # the mixin's protocol names attributes, such as `encoder`, that few models have
        return super().generate(*args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]

    def prepare_inputs_for_generation(self, input_ids, past_key_values=None, attention_mask=None, **kwargs):
        past = past_key_values.get_seq_length() if past_key_values is not None else 0
        inputs = {
            "input_ids": input_ids[:, past:],
            "attention_mask": attention_mask,
            "past_key_values": past_key_values,
            "use_cache": kwargs.get("use_cache"),
            "logits_to_keep": 1,
        }
        if not past:
            inputs |= {name: kwargs.get(name) for name in ("pixel_values", "token_type_ids")}
        return inputs

    def _update_model_kwargs_for_generation(self, outputs, model_kwargs, *args, **kwargs):
        """As the mixin's, which repeats the last token type; but what is generated is answer, not prefix."""
        known = model_kwargs.get("token_type_ids")
        # see `generate` on the mixin's protocol
        model_kwargs = super()._update_model_kwargs_for_generation(outputs, model_kwargs, *args, **kwargs)
        if known is not None:
            model_kwargs["token_type_ids"][:, known.shape[1] :] = 1
        return model_kwargs


# --- helpers ---------------------------------------------------------------------------------------------


def _width(vision_config) -> int:
    """Width of a vision backbone's last features."""
    width = getattr(vision_config, "hidden_size", None)
    return width if isinstance(width, int) else vision_config.hidden_sizes[-1]


def _pool_tokens(features: torch.Tensor, config: ValueConfig) -> torch.Tensor:
    """Vision features `[I, n, C]` on their square grid to `[I, P, C]`, with "concat" `[I, P, n / P * C]`."""
    tokens = config.vision_tokens_per_image
    if features.shape[1] == tokens:
        return features
    grid, target = math.isqrt(features.shape[1]), math.isqrt(tokens)
    if grid * grid != features.shape[1] or tokens > features.shape[1]:
        raise ValueError(
            f"the vision backbone gives {features.shape[1]} tokens per image, which cannot become "
            f"vision_tokens_per_image={tokens}; choose a square number that is not larger."
        )
    if config.vision_pooling == "concat":
        side = grid // target
        blocks = features.unflatten(1, (target, side, target, side)).transpose(2, 3)  # [I, t, t, s, s, C]
        return blocks.flatten(3).flatten(1, 2)
    grid_features = features.transpose(1, 2).unflatten(2, (grid, grid))
    return F.adaptive_avg_pool2d(grid_features, target).flatten(2).transpose(1, 2)


def _for_backend(mask: torch.Tensor, backbone: PreTrainedModel, dtype: torch.dtype) -> torch.Tensor:
    """SDPA takes the bool mask; eager attention adds it to the scores."""
    if backbone.config._attn_implementation != "eager":
        return mask
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)


def _load_vision(name: str, fields: dict | None, **kwargs) -> PreTrainedModel:
    """The vision half of a checkpoint, without SigLIP's pooling head."""
    value_config, config = _configs(name, **kwargs)
    config = getattr(config, "vision_config", config)
    if hasattr(config, "vision_use_head"):
        config.vision_use_head = False
    config.update(fields or {})
    if value_config is not None:
        return ValueModel.from_pretrained(name, config=value_config, **kwargs).vision_tower
    return AutoModel.from_pretrained(name, config=config, **{"use_safetensors": True} | kwargs)


def _load_text(name: str, fields: dict | None, **kwargs) -> tuple[nn.Module, nn.Module]:
    """The text backbone of a checkpoint and its language head."""
    value_config, config = _configs(name, **kwargs)
    config.get_text_config().update(fields or {})
    if value_config is not None:
        model = ValueModel.from_pretrained(name, config=value_config, **kwargs)
        return model.text_model, model.lm_head
    model = AutoModelForCausalLM.from_pretrained(name, config=config, **{"use_safetensors": True} | kwargs)
    return model.base_model, model.lm_head


def _configs(name: str, **kwargs) -> tuple[ValueConfig | None, PreTrainedConfig]:
    """A checkpoint's configuration as that of a value model, if it is one, and in any case."""
    where = {k: kwargs[k] for k in ("revision", "token") if k in kwargs}
    if PreTrainedConfig.get_config_dict(name, **where)[0].get("model_type") == ValueConfig.model_type:
        config = ValueConfig.from_pretrained(name, **where)
        return config, config
    return None, AutoConfig.from_pretrained(name, **where)


ValueModel.register_for_auto_class("AutoModel")
ValueForConditionalGeneration.register_for_auto_class("AutoModelForImageTextToText")
