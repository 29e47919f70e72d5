"""What the networks are built from: ranges, initialisation, freezing, and layers that are quick."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_style.maths.colour import luma


def to_tanh_range(images: Tensor, channels: int = 3) -> Tensor:
    """RGB (N, 3, H, W) in [0, 1] -> (N, channels, H, W) in [-1, 1]; one channel is the luma."""
    return (images if channels == 3 else luma(images)) * 2 - 1


def from_tanh_range(images: Tensor) -> Tensor:
    """(N, 1 or 3, H, W) in [-1, 1] -> RGB (N, 3, H, W) in [0, 1]."""
    return (images.expand(-1, 3, -1, -1) + 1) / 2


def both_ways(
    a: Tensor,
    b: Tensor,
    gen_ab: Callable[[Tensor], Tensor],
    gen_ba: Callable[[Tensor], Tensor],
) -> dict[str, dict[str, Tensor]]:
    """Images in [-1, 1], their translations, and these translated back, as RGB in [0, 1]."""
    grids = {}
    for name, real, there, back in (("a2b", a, gen_ab, gen_ba), ("b2a", b, gen_ba, gen_ab)):
        made = there(real)
        columns = {"real": real, "translated": made, "back": back(made)}
        grids[name] = {title: from_tanh_range(images) for title, images in columns.items()}
    return grids


class InstanceNorm(nn.InstanceNorm2d):
    """nn.InstanceNorm2d, but image by image unless that gains nothing.

    Of one image it is a batch norm on the batch's moments, which keeps the memory format: torch's
    own copies channels_last maps to the other. In half precision torch's own also rounds the
    moments: maps of bf16 come out with ten times the error that their rounding alone has.

    By default without weights, as `get_norm_layer("instance")` of the CycleGAN reference.
    """

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        half = x.dtype in (torch.float16, torch.bfloat16)
        if len(x) > 1 and x.is_contiguous() and not half:
            return super().forward(x)
        weight: Tensor | None = self.weight
        bias: Tensor | None = self.bias
        if half and weight is None:
            # Without weights of float32 the moments would be of half precision as well.
            weight = x.new_ones(x.shape[1], dtype=torch.float32)
            bias = torch.zeros_like(weight)
        images = [
            F.batch_norm(image, None, None, weight, bias, training=True, eps=self.eps)
            for image in x.split(1)
        ]
        return images[0] if len(images) == 1 else torch.cat(images)


def padded(x: Tensor, padding: tuple[int, int, int, int], mode: str) -> Tensor:
    """F.pad in the dtype of x: on CPUs autocast mirrors in float32, which takes two copies more.

    Args:
        x: (N, C, H, W).
        padding: pixels at the left, right, top and bottom.
        mode: reflect, replicate.
    """
    if x.device.type != "cpu":
        return F.pad(x, padding, mode=mode)
    with torch.autocast("cpu", enabled=False):
        return F.pad(x, padding, mode=mode)


class ReflectionPad(nn.Module):
    """Mirrors `size` pixels at every border."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return padded(x, (self.size,) * 4, "reflect")


class ThinConv2d(nn.Conv2d):
    """A convolution without padding to a few channels, such as an image's.

    On CPUs, whose vectors hold 16 channels, three of them leave most of each vector empty. There
    the columns of the kernel are computed as channels of their own, 21 for three channels and seven
    columns, and then added up, each shifted by its place: the same products in another order.
    """

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        if x.device.type != "cpu":
            return super().forward(x)
        out, channels, height, columns = self.weight.shape
        kernels = self.weight.permute(3, 0, 1, 2).reshape(columns * out, channels, height, 1)
        width = x.shape[-1] - columns + 1
        parts = F.conv2d(x, kernels).split(out, dim=1)
        shifted = (part[..., k : k + width] for k, part in enumerate(parts))
        return sum(shifted, start=self.bias[:, None, None])  # type: ignore[index]  # it has one


def init_normal(net: nn.Module, std: float) -> None:
    """Convolution weights from N(0, std) and biases 0, as the reference's `init_weights`."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def batched_forward(net: Callable[[Tensor], Tensor], *batches: Tensor) -> tuple[Tensor, ...]:
    """Each of some batches through a network: in one pass, where that is quicker.

    For networks that treat every image by itself, as those with instance norm do. An accelerator
    waits for launches in small batches, a CPU only for the larger maps.
    """
    if one_pass(batches):
        return net(torch.cat(batches)).split([len(batch) for batch in batches])
    return tuple(net(batch) for batch in batches)


def one_pass(batches: Sequence[Tensor]) -> bool:
    """Whether some batches are of one size, and on an accelerator."""
    same = len({batch.shape[1:] for batch in batches}) == 1
    return same and batches[0].device.type != "cpu"


@contextmanager
def frozen(*nets: nn.Module) -> Iterator[None]:
    """Gradients flow through `nets` to their inputs, but not into their weights."""
    parameters = [each for net in nets for each in net.parameters() if each.requires_grad]
    for each in parameters:
        each.requires_grad_(False)
    try:
        yield
    finally:
        for each in parameters:
            each.requires_grad_(True)
