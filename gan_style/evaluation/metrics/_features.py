"""What metrics of collections compare: features, of networks or of pixels.

| name | row | images | weights |
|---|---|---|---|
| inception | 2048 numbers of Inception-v3's last average pooling | resized to 299x299 | inception |
| alex | 256 numbers, AlexNet's last ReLU averaged over positions | as they are | lpips_alex |
| vgg16 | 512 numbers, relu5_3 averaged over positions | as they are | vgg16_torchvision |
| patches | 7x7 patches of every level of a Laplacian pyramid | as they are | none |

Features of an image depend on nothing but the image: not on its batch, its place in it, or a seed.
"""

import zlib
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_style import weights
from gan_style.config import did_you_mean
from gan_style.errors import ConfigError, DataError
from gan_style.evaluation.metrics._lpips import SMALLEST, alexnet
from gan_style.nn.vgg import VGG

INCEPTION_SIDE = 299  # pixels
PATCH = 7  # side of a patch in pixels
PATCHES = 128  # from each level of each image
COARSEST = 16  # pixels of the shorter side of a pyramid's last level, at least


def names() -> list[str]:
    """Every extractor, sorted."""
    return sorted(EXTRACTORS)


def needs(name: str) -> tuple[str, ...]:
    """The weights of an extractor, by their names in `weights/table.toml`.

    Raises:
        ConfigError: an unknown name.
    """
    return _known(name)[1]


def extractor(name: str) -> nn.Module:
    """Images (N, 3, H, W), RGB in [0, 1] -> features (M, D), float32; frozen, on the CPU.

    M is N, but for `patches`, which gives every image `PATCHES` rows. Batches, and images of one
    size in each, are the caller's.

    Raises:
        ConfigError: an unknown name.
        WeightsError: its weights can't be had.
    """
    make, _ = _known(name)
    return make().eval().requires_grad_(False)


def check(translated: Tensor, real: Tensor, fewest: int) -> None:
    """Refuse features that can't be compared.

    Raises:
        DataError: fewer than `fewest` rows on a side, rows of unequal length, or no numbers.
    """
    if min(len(translated), len(real)) < fewest:
        raise DataError(
            f"{len(translated)} translated and {len(real)} real images are too few to compare "
            f"as collections: at least {fewest} of each are needed"
        )
    if translated.shape[1] != real.shape[1]:
        raise DataError(
            f"translated images have {translated.shape[1]} features and real ones "
            f"{real.shape[1]}: compare images of one size"
        )
    for side, features in (("translated", translated), ("real", real)):
        if not features.isfinite().all():
            raise DataError(f"features of the {side} images hold NaN or infinity")


class Inception(nn.Module):
    """Images -> (N, 2048): the network and the protocol of the FID (Heusel et al. 2017).

    Its weights are those of TensorFlow's file of 2015-12-05, not torchvision's. Images become
    (255 x - 128) / 128 and 299x299 pixels, whatever their shape, by bilinear interpolation without
    antialiasing, as pytorch-fid does it, the program behind most figures published for CycleGAN
    and its successors (https://github.com/mseitzer/pytorch-fid). Up to 299 pixels antialiasing
    would change nothing; larger images alias, and clean-fid, which filters them, gives other
    figures there: https://arxiv.org/abs/2104.11222.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = weights.load_program("inception")

    def forward(self, images: Tensor) -> Tensor:
        size = (INCEPTION_SIDE, INCEPTION_SIDE)
        images = functional.interpolate(images, size, mode="bilinear", align_corners=False)
        features: Tensor = self.net((images * 255 - 128) / 128)
        return features


class VGG16(nn.Module):
    """Images -> (N, 512): relu5_3 of torchvision's VGG-16, averaged over positions.

    The deepest layer before the classifier, which the file of weights that pip brings leaves out.
    Averaged, so that objects may lie anywhere; the 4096 numbers of the classifier that other
    programs take (Kynkäänniemi et al. 2019) know where. Images are not resized, which would change
    their texture; so compare images of one size.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = VGG(["relu5_3"], depth=16, family="torchvision")

    def forward(self, images: Tensor) -> Tensor:
        _at_least(self.net.smallest, images, "vgg16")
        return self.net(images)["relu5_3"].mean(dim=(2, 3))


class Alex(nn.Module):
    """Images -> (N, 256): the last ReLU of AlexNet's convolutions, averaged over positions.

    Of LPIPS' file. What is trained against one network's features may please these alone, which a
    second opinion shows: nothing here is trained on AlexNet. As VGG16, of images of one size.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = alexnet("published")

    def forward(self, images: Tensor) -> Tensor:
        _at_least(SMALLEST["alex"], images, "alex")
        *_, last = self.net(images).values()
        return last.mean(dim=(2, 3))


class Patches(nn.Module):
    """Images -> (N * PATCHES, levels * 3 * 49): patches for the sliced Wasserstein distance.

    After Karras et al. 2018, section 5: the levels of a Laplacian pyramid (Burt, Adelson 1983) are
    the image, without what is in the next one, at 1, 1/2, 1/4 ... of its size, down to 16 pixels;
    from each, 7x7 patches at random positions, in RGB. A row holds one patch of every level,
    finest first, at positions that have nothing to do with each other. Their normalisation takes
    the whole collection, so the distance does it.

    Difference from the paper: positions are drawn from a seed made of the image itself, so that
    an image has the same patches in every batch, order and run.
    """

    def forward(self, images: Tensor) -> Tensor:
        _at_least(COARSEST, images, "patches")
        levels = _laplacian(images.float())
        rows = []
        for index, image in enumerate(images):
            content = image.float().cpu().contiguous().numpy().tobytes()
            generator = torch.Generator().manual_seed(zlib.crc32(content))
            rows.append(torch.cat([_patches(level[index], generator) for level in levels], dim=1))
        return torch.cat(rows)


def _laplacian(images: Tensor) -> list[Tensor]:
    """Levels of a pyramid, finest first; the last one is the blurred image itself."""
    levels = [images]
    while (min(levels[-1].shape[2:]) + 1) // 2 >= COARSEST:
        smaller = _blur(levels[-1])[:, :, ::2, ::2]
        spread = torch.zeros_like(levels[-1])
        spread[:, :, ::2, ::2] = smaller * 4  # a quarter of the pixels carries all the light
        levels[-1] = levels[-1] - _blur(spread)
        levels.append(smaller)
    return levels


def _blur(images: Tensor) -> Tensor:
    """Burt and Adelson's 5x5 kernel, images mirrored at their borders."""
    line = images.new_tensor([1, 4, 6, 4, 1]) / 16
    kernel = line.outer(line).expand(3, 1, 5, 5)
    return functional.conv2d(functional.pad(images, (2, 2, 2, 2), "reflect"), kernel, groups=3)


def _patches(image: Tensor, generator: torch.Generator) -> Tensor:
    """(PATCHES, 3 * 49) of an image (3, H, W)."""
    every = image.unfold(1, PATCH, 1).unfold(2, PATCH, 1)  # (3, H - 6, W - 6, 7, 7), a view
    y, x = (
        torch.randint(every.shape[axis], (PATCHES,), generator=generator).to(image.device)
        for axis in (1, 2)
    )
    return every[:, y, x].transpose(0, 1).flatten(1)


def _at_least(side: int, images: Tensor, name: str) -> None:
    height, width = images.shape[2:]
    if min(height, width) < side:
        raise DataError(
            f"images of {width}x{height} pixels are too small for the features {name}, "
            f"which need {side} on the shorter side"
        )


def _known(name: str) -> tuple[Callable[[], nn.Module], tuple[str, ...]]:
    if name not in EXTRACTORS:
        raise ConfigError(f"no features {name!r}: {did_you_mean(name, EXTRACTORS)}")
    return EXTRACTORS[name]


EXTRACTORS: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "inception": (Inception, ("inception",)),
    "alex": (Alex, ("lpips_alex",)),
    "vgg16": (VGG16, ("vgg16_torchvision",)),
    "patches": (Patches, ()),
}
