"""What the networks are built from: ranges, initialisation, freezing, CycleGAN's instance norm."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from gan_style.colour import luma


def to_signed(images: Tensor, channels: int = 3) -> Tensor:
    """RGB (N, 3, H, W) in [0, 1] -> (N, channels, H, W) in [-1, 1]; one channel is the luma."""
    return (images if channels == 3 else luma(images)) * 2 - 1


def from_signed(images: Tensor) -> Tensor:
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
        grids[name] = {title: from_signed(images) for title, images in columns.items()}
    return grids


def instance_norm(channels: int) -> nn.InstanceNorm2d:
    """Per-image, per-channel normalisation without affine weights or running statistics.

    As `get_norm_layer("instance")` of the CycleGAN reference. It has no buffers, so two forward
    passes before one backward are safe under DDP.
    """
    return nn.InstanceNorm2d(channels, affine=False, track_running_stats=False)


def init_normal(net: nn.Module, std: float) -> None:
    """Convolution weights from N(0, std) and biases 0, as the reference's `init_weights`."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


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
