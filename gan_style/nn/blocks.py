"""What the networks are built from: initialisation, freezing, CycleGAN's instance norm."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


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
