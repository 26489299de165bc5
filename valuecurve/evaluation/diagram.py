"""The architecture of a value model as a picture, drawn from its configuration.

Read from top to bottom: what goes in, the two encoders, the sequence that they make, the text backbone with
the mask of its attention, and what is read out. Every length is in inches from the top left of the page. No
pyplot, no global state.
"""

import math
import os
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from .. import ValueConfig
from ..modeling_value import grid_tokens, prefix_mask, support, target_distribution
from .architecture import Architecture, short_number
from .style import HAIRLINE, INK, MUTED, PAPER, RC

WIDTH, HEIGHT, DPI = 11.0, 8.2, 160
LEFT, MIDDLE, RIGHT = (0.45, 4.85), (5.25, 7.75), (8.15, 10.55)  # columns: from, to
IMAGE, REFERENCE, TEXT, VALUE, ANSWER = "#E69F00", "#F3D08A", "#009E73", "#CC79A7", "#9ecae1"
TRAINED, FROZEN = ("#e2eff8", "#0072B2"), ("#f3f4f6", "#9aa3ad")  # of a box: face, edge
UNSEEN = "#eef0f2"
FAMILIES = {"siglip_vision_model": "SigLIP", "gemma3_text": "Gemma 3", "convnext": "ConvNeXt", "vit": "ViT"}
READOUTS = {
    "value_token": "reads the value token",
    "last_token": "reads the last token of the prompt",
    "mean": "reads the mean of the prefix",
    "weighted_mean": "reads the prefix, weighted by learned weights",
}
TARGETS = {"hl_gauss": "HL-Gauss", "two_hot": "two-hot", "one_hot": "one-hot"}


def draw_architecture(architecture: Architecture, path: str | Path) -> Path:
    """Draws it into a PNG, SVG or PDF, by the suffix of `path`; written under a temporary name first.

    Raises:
        ValueError: for another suffix.
    """
    path = Path(path)
    kind = path.suffix.removeprefix(".")
    if kind not in ("png", "svg", "pdf"):
        raise ValueError(f"{path}: a picture is .png, .svg or .pdf.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with matplotlib.rc_context({**RC, "svg.hashsalt": "valuecurve"}):  # the same picture every time
        figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI)
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0))
        axes.axis("off")
        _Drawing(architecture, axes).draw()
        metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
        try:
            figure.savefig(temporary, format=kind, dpi=DPI, metadata=metadata)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


class _Drawing:
    """The page: each method draws one row of it."""

    def __init__(self, architecture: Architecture, axes: Axes):
        self.it, self.axes = architecture, axes
        self.config: ValueConfig = architecture.config
        self.vision, self.text = self.config.vision_config, self.config.text_config
        self.counts = architecture.counts()
        self.fuses = self.config.projector == "cross_attention"
        self.tokens = self._tokens()

    def draw(self) -> None:
        self.heading()
        self.inputs(0.95)
        self.encoders(1.95)
        self.projector(2.98)
        self.sequence(3.98)
        self.backbone(4.70)
        self.outputs(5.82)
        self.mask(2.30)
        self.heads(6.46)
        self.legend()

    # --- the tokens of the sequence -----------------------------------------------------------------------

    def _tokens(self) -> list[tuple[float, str, str]]:
        """Place, kind and colour of the tokens that are shown; an image is shown as three of its tokens."""
        pair = self.config.frames_per_sample == 2
        images = [("reference", REFERENCE)] * 2 + [("image", IMAGE)] * 2 if pair else [("image", IMAGE)] * 3
        if self.config.vision_tokens_per_image == 1:
            groups = [[image] for image in images]
        else:
            groups = [[image] * 3 for image in images]
        gap = 0.12 if len(groups[0]) > 1 else 0.45
        shown, wide = [], sum(map(len, groups)) * 0.25 + (len(groups) - 1) * gap
        x = (LEFT[0] + LEFT[1] - wide) / 2 + 0.125
        for group in groups:
            for kind, color in group:
                shown.append((x, kind, color))
                x += 0.25
            x += gap
        x = MIDDLE[0] + 0.12
        rest = [("text", TEXT)] * 5 + [("value", VALUE)] * (self.config.readout == "value_token")
        for kind, color in [*rest, *[("answer", ANSWER)] * (10 - len(rest) - 1)]:
            if kind == "answer" and shown[-1][1] != "answer":
                x += 0.15
            shown.append((x, kind, color))
            x += 0.25
        return shown

    def _reads(self, index: int) -> bool:
        kinds = [kind for _, kind, _ in self.tokens]
        if self.config.readout == "value_token":
            return kinds[index] == "value"
        if self.config.readout == "last_token":
            return index == len(kinds) - 1 - kinds[::-1].index("text")
        return kinds[index] != "answer"

    def _token_row(self, y: float, face) -> None:
        for i, (x, kind, color) in enumerate(self.tokens):
            style = "--" if kind == "answer" else "-"
            self.axes.add_patch(
                Rectangle(
                    (x - 0.1, y - 0.1), 0.2, 0.2, fc=face(i, color), ec=color, lw=1.1, ls=style, zorder=4
                )
            )

    # --- rows ----------------------------------------------------------------------------------------------

    def heading(self) -> None:
        self._write(LEFT[0], 0.36, self.it.name, 15, weight="bold")
        share = self.counts["trainable"] / self.counts["total"]
        line = f"{short_number(self.counts['total'])} parameters, {short_number(self.counts['trainable'])}"
        self._write(LEFT[0], 0.62, f"{line} trained ({share:.{0 if share > 0.1 else 1}%})", 9, MUTED)

    def inputs(self, y: float) -> None:
        size = self.vision.image_size
        pair = self.config.frames_per_sample == 2
        stacks = [("reference frame", REFERENCE), ("frame", IMAGE)] if pair else [("frame", IMAGE)]
        start = LEFT[0] + 0.25
        for i, (name, color) in enumerate(stacks):
            x = start + i * 1.3
            for k in (2, 1, 0):  # one picture a camera, one behind the other
                place = (x + 0.1 * k, y + 0.12 - 0.06 * k)
                self.axes.add_patch(Rectangle(place, 0.56, 0.46, fc=PAPER, ec=color, lw=1.3, zorder=5 - k))
            scene = [(0.06, 0.40), (0.22, 0.18), (0.33, 0.30), (0.42, 0.22), (0.50, 0.40)]
            xs, ys = zip(*scene, strict=True)
            self.axes.fill([x + a for a in xs], [y + 0.12 + b for b in ys], color=color, alpha=0.45, zorder=6)
            self._write(x + 0.28, y + 0.74, name, 7.5, MUTED, ha="center")
        x = start + len(stacks) * 1.3 + 0.05
        self._write(x, y + 0.22, "any number of cameras", 8.5)
        self._write(x, y + 0.44, f"{size} × {size} px, uint8", 7.8, MUTED)
        prompt = "Task: push the puck, State: 12 255 0;" if self.it.use_state else "Task: push the puck;"
        self._box((MIDDLE[0], MIDDLE[1]), y + 0.08, 0.5, PAPER, HAIRLINE)
        self._write(sum(MIDDLE) / 2, y + 0.33, prompt, 7.4, family="DejaVu Sans Mono", ha="center")
        self._write(sum(MIDDLE) / 2, y + 0.74, self._prompt_note(), 7.5, MUTED, ha="center")
        self._arrow((sum(LEFT) / 2, y + 0.82), (sum(LEFT) / 2, y + 1.0))
        self._arrow((sum(MIDDLE) / 2, y + 0.82), (sum(MIDDLE) / 2, y + 1.0))

    def _prompt_note(self) -> str:
        return "task, and state in 256 bins" if self.it.use_state else "task"

    def encoders(self, y: float) -> None:
        vision, heads = self.vision, getattr(self.vision, "num_attention_heads", None)
        layers = getattr(vision, "num_hidden_layers", None) or sum(getattr(vision, "depths", [0]))
        width = getattr(vision, "hidden_size", None) or vision.hidden_sizes[-1]
        grid = math.isqrt(grid_tokens(vision))
        shape = f"{layers} layers × {width}" + (f", {heads} heads" if heads else "")
        self._part(
            "vision", LEFT, y, f"{self._family(vision)} vision backbone", shape, f"{grid} × {grid} tokens"
        )
        vocabulary = f"{self.text.vocab_size:,} × {self.text.hidden_size}"
        self._part("embeddings", MIDDLE, y, "Token embeddings", vocabulary, "shared with the language head")
        for column in (LEFT, MIDDLE):
            fused = column is MIDDLE and not self.fuses
            self._arrow((sum(column) / 2, y + 0.75), (sum(column) / 2, y + (1.90 if fused else 1.03)))

    def projector(self, y: float) -> None:
        config = self.config
        width = getattr(self.vision, "hidden_size", None) or self.vision.hidden_sizes[-1]
        grid, side = math.isqrt(grid_tokens(self.vision)), math.isqrt(config.vision_tokens_per_image)
        merged = grid_tokens(self.vision) // side**2 if config.vision_pooling == "concat" else 1
        widths = [width * merged, width, self.text.hidden_size] if config.projector == "mlp" else [
            width * merged, self.text.hidden_size
        ]  # fmt: skip
        how = {"average": "averaged", "concat": "side by side"}[config.vision_pooling]
        pooled = f"{grid} × {grid} → {side} × {side}, {how}" if side != grid else f"{side**2} tokens an image"
        name = {"mlp": "MLP projector", "linear": "Linear projector"}.get(
            config.projector, "Linear projector"
        )
        parameters = self.it.model.projector.named_parameters()
        fusing = sum(p.numel() for name, p in parameters if name.startswith("cross_attention."))
        number = self.counts["projector"] - fusing
        self._part("projector", LEFT, y, name, " → ".join(map(str, widths)), pooled, number=number)
        self._arrow((sum(LEFT) / 2, y + 0.75), (sum(LEFT) / 2, y + 0.87))
        if self.fuses:
            shape = f"{config.projector_heads} heads, residual"
            self._part("projector", MIDDLE, y, "Cross-attention", shape, "text → images", number=fusing)
            self._arrow((LEFT[1], y + 0.37), (MIDDLE[0], y + 0.37))
            self._write(sum((LEFT[1], MIDDLE[0])) / 2, y + 0.25, "K, V", 7, MUTED, ha="center")
            self._arrow((sum(MIDDLE) / 2, y + 0.75), (sum(MIDDLE) / 2, y + 0.87))

    def sequence(self, y: float) -> None:
        self._token_row(y, lambda i, color: color if self.tokens[i][1] != "answer" else PAPER)
        notes = {"reference": "reference frame", "image": "images", "text": "text", "value": "value",
                 "answer": "answer"}  # fmt: skip
        for kind, note in notes.items():
            places = [x for x, k, _ in self.tokens if k == kind]
            if places:
                each = self.config.vision_tokens_per_image
                each = f", {each} token{'s' if each > 1 else ''} each" if kind == "image" else ""
                self._write((places[0] + places[-1]) / 2, y + 0.24, note + each, 7.5, MUTED, ha="center")
        self._arrow((sum(LEFT) / 2, y + 0.36), (sum(LEFT) / 2, y + 0.68))
        self._arrow((sum(MIDDLE) / 2, y + 0.36), (sum(MIDDLE) / 2, y + 0.68))

    def backbone(self, y: float) -> None:
        text = self.text
        heads = f"{text.num_attention_heads} heads"
        if hasattr(text, "head_dim"):
            heads += f" of {text.head_dim}"
        if getattr(text, "num_key_value_heads", text.num_attention_heads) != text.num_attention_heads:
            heads += f" sharing {text.num_key_value_heads} key/value head" + "s" * (
                text.num_key_value_heads > 1
            )
        shape = f"{text.num_hidden_layers} layers × {text.hidden_size}, {heads}, MLP {text.intermediate_size}"
        kinds = list(getattr(text, "layer_types", None) or [])
        sliding = kinds.count("sliding_attention")
        note = f"layers: {sliding} sliding-window, {len(kinds) - sliding} global; none cuts the prefix"
        note = note if sliding else ""
        self._part("text", (LEFT[0], MIDDLE[1]), y, f"{self._family(text)} text backbone", shape, note, 0.79)
        for column in (LEFT, MIDDLE):
            self._arrow((sum(column) / 2, y + 0.80), (sum(column) / 2, y + 0.98))

    def outputs(self, y: float) -> None:
        def face(i: int, color: str):
            if self.tokens[i][1] == "answer":
                return ANSWER
            return color if self._reads(i) else PAPER

        self._token_row(y, face)
        read = [x for i, (x, _, _) in enumerate(self.tokens) if self._reads(i)]
        answers = [x for x, kind, _ in self.tokens if kind == "answer"]
        self._bracket(read, y + 0.16, sum(LEFT) / 2, y + 0.62, INK)
        self._bracket(answers, y + 0.16, sum(MIDDLE) / 2 + 0.6, y + 0.62, MUTED)

    def mask(self, y: float) -> None:
        """Which token sees which, computed by the model's own function; a row is a query."""
        kinds = [(kind, color) for _, kind, color in self.tokens]
        types = torch.tensor([[int(kind == "answer") for kind, _ in kinds]])
        seen = prefix_mask(torch.ones_like(types), types, self.config.attention)[0, 0].numpy()
        n, side = len(kinds), 1.95
        cell, x0 = side / n, (RIGHT[0] + RIGHT[1] - side) / 2 + 0.08
        self._write(x0 + side / 2, y - 0.24, "attention", 8.5, ha="center", weight="bold")
        for row in range(n):
            colors = [kinds[column][1] if seen[row, column] else UNSEEN for column in range(n)]
            for color in dict.fromkeys(colors):  # those of one colour lie side by side
                first, count = colors.index(color), colors.count(color)
                place = (x0 + first * cell, y + row * cell)
                self.axes.add_patch(Rectangle(place, count * cell, cell, fc=color, ec="none"))
            for place in ((x0 - 0.1, y + row * cell), (x0 + row * cell, y - 0.1)):
                flat = (0.06, cell) if place[0] < x0 else (cell, 0.06)
                self.axes.add_patch(Rectangle(place, *flat, fc=kinds[row][1], ec="none"))
        grid = y + np.arange(n + 1) * cell, x0 + np.arange(n + 1) * cell
        self.axes.hlines(grid[0], x0, x0 + side, color=PAPER, lw=0.5)
        self.axes.vlines(grid[1], y, y + side, color=PAPER, lw=0.5)
        self._write(x0 - 0.2, y + side / 2, "query", 7, MUTED, ha="center", rotation=90)
        words = (
            "prefix bidirectional, answer causal" if self.config.attention == "bidirectional" else "causal"
        )
        self._write(x0 + side / 2, y + side + 0.14, words, 7.8, MUTED, ha="center")

    def heads(self, y: float) -> None:
        config, width = self.config, self.text.hidden_size
        hidden = [] if config.head == "linear" else [config.head_hidden] * config.head_depth
        shape = ("LayerNorm, " if config.head == "norm_mlp" else "") + " → ".join(
            map(str, [width, *hidden, config.num_bins])
        )
        kind = {"linear": "Linear", "mlp": "MLP", "norm_mlp": "MLP"}[config.head]
        self._part("head", LEFT, y, f"{kind} value head", shape, READOUTS[config.readout])
        language = f"{width} → {self.text.vocab_size:,}"
        self._part("embeddings", MIDDLE, y, "Language head", language, "the token embeddings", number=0)
        self._arrow((LEFT[1] - 2.2, y + 0.75), (LEFT[1] - 2.2, y + 0.95))
        self._arrow((sum(MIDDLE) / 2, y + 0.75), (sum(MIDDLE) / 2, y + 0.95))
        self._write(sum(MIDDLE) / 2, y + 1.07, "answers to questions (VQA)", 8.5, ha="center")
        span = f"[{config.v_min:g}, {config.v_max:g}]"
        means = "difference of progress" if config.frames_per_sample == 2 else "value"
        self._write(sum(LEFT) / 2, y + 1.07, f"{config.num_bins} bins over {span}; their mean is the {means}",
                    8.5, ha="center")  # fmt: skip
        self.target(y + 0.02)

    def target(self, y: float) -> None:
        """The target of one value, a third of a bin off a centre, over the bins around it."""
        centers = support(self.config)
        width = float(centers[1] - centers[0])
        value = float(centers[len(centers) // 2]) + 0.3 * width
        row = target_distribution(torch.tensor([value]), self.config)[0].numpy()
        middle, reach = int(np.argmax(row)), 5
        bars = row[middle - reach : middle + reach + 1]
        x0, step, base, tall = RIGHT[0] + 0.3, 1.9 / len(bars), y + 0.72, 0.58
        for i, height in enumerate(bars / bars.max()):
            place = (x0 + i * step, base - tall * height)
            self.axes.add_patch(Rectangle(place, step * 0.78, tall * height, fc=VALUE, ec="none", zorder=3))
        self.axes.plot([x0 - 0.05, x0 + 1.9], [base, base], color=MUTED, lw=0.7)
        exact = x0 + step * (reach + 0.39 + (value - float(centers[middle])) / width)
        self.axes.plot(
            [exact, exact], [base + 0.07, base - tall - 0.04], color=INK, lw=0.9, ls=(0, (3, 2)), zorder=4
        )
        name = TARGETS[self.config.target]
        sigma = (
            f", σ = {self.config.target_sigma / width:.2g} bins" if self.config.target == "hl_gauss" else ""
        )
        self._write(x0 + 0.95, y + 0.92, f"target: {name}{sigma}", 8.5, ha="center")
        self._write(
            x0 + 0.95, y + 1.09, "cross-entropy; the dashed line is the value", 7.2, MUTED, ha="center"
        )

    def legend(self) -> None:
        y, x = HEIGHT - 0.26, LEFT[0]
        for (face, edge), name in ((TRAINED, "trained"), (FROZEN, "frozen")):
            self.axes.add_patch(Rectangle((x, y - 0.08), 0.24, 0.16, fc=face, ec=edge, lw=1.1))
            self._write(x + 0.32, y, name, 8, MUTED)
            x += 1.05
        sources = [name for name in self.it.backbones if name]
        if sources:
            self._write(RIGHT[1], y, "halves: " + "  +  ".join(dict.fromkeys(sources)), 8, MUTED, ha="right")

    # --- pieces --------------------------------------------------------------------------------------------

    def _family(self, config) -> str:
        return FAMILIES.get(config.model_type) or str(config.model_type)

    def _part(self, part, column, y, name, shape, note="", height=0.74, number=None) -> None:
        """A box: name and parameters on its first line, shape and a note below; grey where it is frozen.

        `number` of parameters, where it is not that of the part; 0 shows none.
        """
        share = self.it.trained_share(part)
        lora = part == "text" and self.it.lora_rank > 0
        face, edge = TRAINED if share > 0 and not lora else FROZEN
        self._box(column, y, height, face, edge)
        if lora:
            self._box((column[1] - 2.3, column[1] - 0.12), y + height - 0.38, 0.27, *TRAINED)
            words = f"LoRA, rank {self.it.lora_rank}: {share:.1%} trained"
            self._write(column[1] - 1.21, y + height - 0.245, words, 8, ha="center")
        x = column[0] + 0.15
        self._write(x, y + 0.2, name, 9.5, weight="bold")
        self._write(x, y + 0.41, shape, 8)
        self._write(x, y + 0.6, note, 7.8, MUTED)
        number = self.counts[part] if number is None else number
        state = "" if share > 0 else "frozen"
        self._write(column[1] - 0.12, y + 0.2, short_number(number) if number else "", 9.5, ha="right")
        self._write(column[1] - 0.12, y + 0.41, state, 7.8, MUTED, ha="right")

    def _box(self, column, y, height, face, edge) -> None:
        style = "round,pad=0,rounding_size=0.07"
        self.axes.add_patch(
            FancyBboxPatch(
                (column[0], y), column[1] - column[0], height, boxstyle=style, fc=face, ec=edge, lw=1.2
            )
        )

    def _bracket(self, xs, y, to_x, to_y, color) -> None:
        """From all of these tokens to one place."""
        axes, middle = self.axes, y + 0.12
        for x in xs:
            axes.plot([x, x], [y - 0.06, middle], color=color, lw=0.9)
        ends = [*xs, to_x]
        axes.plot([min(ends), max(ends)], [middle, middle], color=color, lw=0.9)
        self._arrow((to_x, middle), (to_x, to_y), color)

    def _arrow(self, start, end, color=MUTED) -> None:
        self.axes.add_patch(
            FancyArrowPatch(
                start, end, arrowstyle="-|>", mutation_scale=8, lw=1.0, color=color, shrinkA=0, shrinkB=0
            )
        )

    def _write(self, x, y, text, size, color=INK, ha="left", **style) -> None:
        self.axes.text(x, y, text, fontsize=size, color=color, ha=ha, va="center", **style)
