"""Networks that turn VGG's features back into images."""

from torch import nn

from gan_style.nn.blocks import ReflectionPad

# Channels in and out, and whether a doubling of the size follows.
ADAIN = (
    (512, 256, True),
    (256, 256, False),
    (256, 256, False),
    (256, 256, False),
    (256, 128, True),
    (128, 128, False),
    (128, 64, True),
    (64, 64, False),
    (64, 3, False),
)


def adain_decoder() -> nn.Sequential:
    """Features (N, 512, H / 8, W / 8) of VGG-19's relu4_1 -> RGB (N, 3, H, W), about [0, 1].

    3,505,219 weights. The mirror image of the encoder with nearest upsampling for max pooling, and
    no norm, which would undo the statistics that AdaIN sets (Huang & Belongie 2017). Layout and
    therefore state-dict keys are those of naoto0804/pytorch-AdaIN, so that its decoder.pth fits.
    """
    layers: list[nn.Module] = []
    for channels, out, doubles in ADAIN:
        layers += [ReflectionPad(1), nn.Conv2d(channels, out, 3), nn.ReLU()]
        if doubles:
            layers.append(nn.Upsample(scale_factor=2, mode="nearest"))
    return nn.Sequential(*layers[:-1])  # an image has no ReLU
