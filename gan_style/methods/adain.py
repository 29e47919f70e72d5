"""AdaIN: give the content's VGG features the style's means and deviations, and decode them.

Huang, Belongie: Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization, ICCV
2017. Only the decoder is learned, on pairs of any content and any style, so that translate takes
styles that training has never seen. Details follow naoto0804/pytorch-AdaIN, whose decoder fits.

Differences from the paper: as in that port, the style loss is a mean over channels with a weight of
10 (a sum with 1e-2 in the authors' Lua code), standard deviations are unbiased with 1e-5 in the
root, and images are squashed to 512x512 before the crop (the paper scales the shorter side).
Differences from the port: images are resized bicubically; styles have weights and soft masks.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from gan_style import tiling
from gan_style.config import LONGEST, at_least, at_most
from gan_style.data.images import LONG, PIXELS
from gan_style.errors import ConfigError, DataError
from gan_style.losses import perceptual
from gan_style.maths.pyramid import resized
from gan_style.maths.statistics import adain, mean_std
from gan_style.method import Batch, Paper, Side, TrainedMethod
from gan_style.nn.decoders import adain_decoder
from gan_style.nn.vgg import VGG, Family
from gan_style.styles import STYLE_FILE, Style, Styles, position_weights, shares, styles_of

PAPER = Paper(
    title="Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization",
    year=2017,
    url="https://arxiv.org/abs/1703.06868",
    family="feedforward",
    style="image",
)

PRESETS: dict[str, dict[str, Any]] = {
    # 160,000 steps of 8 pairs: contents of COCO, styles of WikiArt.
    "pytorch_adain": {
        "preprocess": "resize_and_crop",
        "load_size": 512,
        "size": 256,
        "flip": False,
        "batch_size": 8,
        "images": 1_280_000,
        "schedule": "inverse",
        "ema": 0.0,
    },
}

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
CODE = "relu4_1"  # the layer that is restyled and decoded


@dataclass(frozen=True, kw_only=True)
class Config:
    """The port's defaults, which are the paper's but for the units of the style loss."""

    alpha: float = 1.0  # of translate: 1 is all style, 0 the decoded content
    vgg: Family = "normalised"  # weights of the encoder, frozen: see nn/vgg.py
    style_size: int = 512  # shorter side that styles are scaled to; 0 leaves them as they are
    content_side: Literal["a", "b"] = "b"  # collection of the contents; the other has the styles
    content_weight: float = 1.0  # of the mean squared difference of features
    style_weight: float = 10.0  # of the squared differences of means and deviations
    learning_rate: float = 1e-4  # Adam's

    def __post_init__(self) -> None:
        """Refuse what no training can use, in the user's spelling."""
        for name in ("style_size", "content_weight", "style_weight"):
            at_least(0, **{name: getattr(self, name)})
        at_most(LONGEST, style_size=self.style_size)
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"--alpha is {self.alpha}, but must be in [0, 1]")
        if not self.learning_rate > 0:
            raise ConfigError(f"--learning_rate is {self.learning_rate}, but must be above 0")


class Method(TrainedMethod):
    """`decoder` is learned; VGG-19 encodes, judges, and is no part of what is saved."""

    players: Mapping[str, tuple[str, ...]] = {"generator": ("decoder",)}
    averaged = ("decoder",)
    pretrained: ClassVar[dict[str, str]] = {"decoder": "adain"}
    inference_options: ClassVar[tuple[str, ...]] = ("alpha", "style_size")
    multiple = 8  # three poolings, three doublings
    smallest = 16  # two positions that a pad can mirror
    # Measured on a CPU: 64 channels of the encoder and their padded copies.
    bytes_per_pixel = 1100.0
    style_bytes_per_pixel = 780.0

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.decoder = adain_decoder()

    @cached_property
    def vgg(self) -> VGG:
        """The encoder, fetched when it is used first."""
        return VGG(STYLE_LAYERS, 19, self.config.vgg)

    def bytes_for(self, content: tuple[int, int], styles: Sequence[tuple[int, int]] = ()) -> float:
        """As measured, and large images in strips: four codes of 512 channels, and images."""
        pixels = content[0] * content[1]
        own = super().bytes_for(content)
        if pixels > tiling.WHOLE:
            own = tiling.WORKING + pixels * (4 * 32 + 36)
        of_styles, files = 0.0, 0
        for style in styles:
            height, width = _scaled_size(style, self.config.style_size, self.smallest)
            of_styles = max(of_styles, self._encoding(height * width))
            files += style[0] * style[1] + height * width  # all are scaled before one is encoded
        return max(own, 4 * 32 * pixels + of_styles) + STYLE_FILE * files

    def _encoding(self, pixels: int) -> float:
        """Bytes of a style as it is scaled, in the encoder."""
        if pixels > tiling.WHOLE:
            return tiling.WORKING + pixels * (32 + 36)
        return pixels * self.style_bytes_per_pixel

    @property
    def inference_networks(self) -> tuple[str, ...]:
        """The decoder: the encoder has its weights from elsewhere."""
        return ("decoder",)

    @property
    def _style_side(self) -> Side:
        return "a" if self.config.content_side == "b" else "b"

    def prefetch(self) -> None:
        """Fetch the encoder."""
        _ = self.vgg

    def optimizer(self, player: str, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Adam as it comes."""
        return torch.optim.Adam(parameters, lr=self.config.learning_rate, fused=True)

    def translate(self, content: Tensor, style: Styles = None) -> Tensor:
        """Contents (N, 3, H, W) in [0, 1] in the style of an image, or of several at once.

        Each content has a style of its own where there are N, else all have the same. Where styles
        have masks, each takes the statistics of the content inside of its own; what no mask covers
        keeps the content's features.
        """
        styles = [
            replace(each, image=_scaled(each.image, self.config.style_size, self.smallest))
            for each in styles_of(style)
            if each.weight > 0
        ]
        return self._restyled(content, styles).clamp(0, 1)

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """One step: what the decoder makes of restyled features, seen by the encoder again."""
        c = self.config
        with torch.no_grad():
            content = self._features(batch[c.content_side])[CODE]
            style = self._features(batch[self._style_side])
            code = adain(content, *mean_std(style[CODE]))
        features = self._features(self.decoder(code))
        loss = perceptual.STYLE_LOSSES["mean_std"]
        distances = [
            loss.distance(loss.of(features[name], None), loss.of(style[name], None))
            for name in STYLE_LAYERS
        ]
        yield (
            "generator",
            {
                "content": c.content_weight * perceptual.content_loss(features[CODE], code, "mean"),
                "style": c.style_weight * torch.stack(distances).sum(),
            },
        )

    def preview(self, batch: Batch) -> dict[str, dict[str, Tensor]]:
        """Contents, styles at the size of training, and the translations."""
        content, style = batch[self.config.content_side], batch[self._style_side]
        translated = self._restyled(content, [Style(image=style)]).clamp(0, 1)
        return {"translated": {"content": content, "style": style, "translated": translated}}

    def _features(self, images: Tensor) -> dict[str, Tensor]:
        return self.vgg.to(images.device)(images)

    def _code(self, images: Tensor) -> Tensor:
        return tiling.features(self.vgg.to(images.device), CODE, images)

    def _restyled(self, content: Tensor, styles: Sequence[Style]) -> Tensor:
        code, alpha = self._code(content), self.config.alpha
        code = alpha * self._mixed(code, styles) + (1 - alpha) * code
        return tiling.through(self.decoder, code, self.multiple)

    def _mixed(self, code: Tensor, styles: Sequence[Style]) -> Tensor:
        """The content's features with the statistics of every style, as `shares` has them."""
        of_content, of_styles = shares(styles, code)
        mixed = of_content * code
        for each, share in zip(styles, of_styles, strict=True):
            features = self._code(each.image)
            statistics = mean_std(features, position_weights(each.style_mask, features))
            # Without a name: a code of 12 megapixels is 0.4 GB.
            mixed = mixed + share * adain(
                code, *statistics, weights=position_weights(each.content_mask, code)
            )
        return mixed


def _scaled(images: Tensor, shorter: int, smallest: int) -> Tensor:
    """Scaled to a shorter side (0: as they are), but to no side below `smallest`."""
    sides = (images.shape[-2], images.shape[-1])
    size = _scaled_size(sides, shorter, smallest)
    if sides != size and size[0] * size[1] > PIXELS:
        raise DataError(
            f"a style of {sides[1]}x{sides[0]} pixels would be scaled to {size[1]}x{size[0]}, over "
            f"{PIXELS} pixels: cut it, or give --style_size 0"
        )
    return resized(images, size)


def _scaled_size(sides: tuple[int, int], shorter: int, smallest: int) -> tuple[int, int]:
    """What (height, width) is scaled to; the longer side is at most LONG times `shorter`.

    No painting is as long, and of those that are less so the statistics are those of the port.
    """
    scale = min(shorter / min(sides), LONG * shorter / max(sides)) if shorter else 1.0
    return max(smallest, round(sides[0] * scale)), max(smallest, round(sides[1] * scale))
