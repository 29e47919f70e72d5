"""Networks against the numbers and key names of junyanz/pytorch-CycleGAN-and-pix2pix.

Counts and shapes are taken on torch's "meta" device, which knows sizes and computes nothing.
"""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_style.nn import blocks
from gan_style.nn.blocks import InstanceNorm, ReflectionPad, ThinConv2d, frozen
from gan_style.nn.discriminators import PatchDiscriminator, PixelDiscriminator
from gan_style.nn.generators import ResnetGenerator, UnetBlock, UnetGenerator


def shapes(net: nn.Module) -> dict[str, list[int]]:
    return {key: list(value.shape) for key, value in net.state_dict().items()}


@pytest.mark.parametrize(
    ("build", "count"),
    [
        (ResnetGenerator, 11_378_179),  # "11.378 M" in the reference's training log
        (lambda: ResnetGenerator(6), 7_837_699),
        (PatchDiscriminator, 2_764_737),
        # k4 convolutions with biases of 3, 64, 128, 256, 512, 512, ... channels, there and back.
        (lambda: UnetGenerator(8), 54_409_603),
        (lambda: UnetGenerator(7), 41_825_667),
        (PixelDiscriminator, 4 * 64 + 65 * 128 + 129),  # 3 -> 64 -> 128 -> 1 with biases
    ],
    ids=["resnet_9", "resnet_6", "patch", "unet_256", "unet_128", "pixel"],
)
def test_networks_have_as_many_weights_as_the_reference(build, count):
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in build().parameters()) == count


@pytest.mark.parametrize(
    ("build", "size"),
    [
        (ResnetGenerator, (256, 256)),
        (lambda: ResnetGenerator(6, 8), (8, 100)),  # any multiples of 4
        (lambda: ResnetGenerator(6, 8, "resize"), (32, 44)),
        (lambda: UnetGenerator(8, 8), (256, 512)),
        (lambda: UnetGenerator(7, 8), (128, 256)),
        (lambda: UnetGenerator(7, 8, "resize"), (128, 256)),
    ],
    ids=["resnet", "resnet odd", "resnet resize", "unet_256", "unet_128", "unet resize"],
)
def test_a_generator_keeps_the_size(build, size):
    with torch.device("meta"):
        assert build()(torch.empty(2, 3, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize(
    ("layers", "side", "scores"),
    # Each k4 p1 convolution: half the side for stride 2, one less for each of the last two.
    [(3, 256, 30), (3, 128, 14), (1, 256, 126), (2, 256, 62), (5, 256, 6), (3, 24, 1)],
)
def test_a_patch_discriminator_gives_a_map_of_scores(layers, side, scores):
    with torch.device("meta"):
        net = PatchDiscriminator(layers, width=8)
        assert net(torch.empty(2, 3, side, side)).shape == (2, 1, scores, scores)


def test_the_pixel_discriminator_scores_every_pixel():
    with torch.device("meta"):
        assert PixelDiscriminator(8)(torch.empty(2, 3, 10, 12)).shape == (2, 1, 10, 12)


def field_of_view(net: nn.Module, side: int) -> tuple[int, int]:
    """Height and width of the input region that the centre score depends on."""
    for module in net.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.InstanceNorm2d):  # its statistics are of the whole image
                setattr(module, name, nn.Identity())
    for parameter in net.parameters():
        nn.init.constant_(parameter, 0.1)  # nothing can cancel
    image = torch.ones(1, 3, side, side, requires_grad=True)
    scores = net(image)[0, 0]
    scores[scores.shape[0] // 2, scores.shape[1] // 2].backward()
    _, _, rows, columns = image.grad.nonzero(as_tuple=True)
    assert rows.min() > 0  # not cut off by the border
    assert rows.max() < side - 1
    return int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1


@pytest.mark.parametrize(("layers", "patch"), [(1, 16), (2, 34), (3, 70), (4, 142), (5, 286)])
def test_a_patch_discriminator_judges_patches_of_the_published_side(layers, patch):
    assert field_of_view(PatchDiscriminator(layers, width=1), 16 * 2**layers) == (patch, patch)


def test_the_pixel_discriminator_judges_single_pixels():
    assert field_of_view(PixelDiscriminator(width=1), 9) == (1, 1)


def test_a_fresh_generator_has_the_48_keys_of_the_reference():
    blocks = [f"{n}.conv_block.{i}" for n in range(10, 19) for i in (1, 5)]
    layers = ["1", "4", "7", *blocks, "19", "22", "26"]
    with torch.device("meta"):
        found = shapes(ResnetGenerator())
    assert list(found) == [
        f"model.{layer}.{kind}" for layer in layers for kind in ("weight", "bias")
    ]
    assert len(found) == 48
    assert found["model.1.weight"] == [64, 3, 7, 7]
    assert found["model.7.weight"] == [256, 128, 3, 3]
    assert found["model.14.conv_block.5.weight"] == [256, 256, 3, 3]
    assert found["model.19.weight"] == [256, 128, 3, 3]  # transposed: in, out, height, width
    assert found["model.22.weight"] == [128, 64, 3, 3]
    assert found["model.26.weight"] == [3, 64, 7, 7]


def test_a_fresh_discriminator_has_the_keys_of_the_reference():
    with torch.device("meta"):
        found = shapes(PatchDiscriminator())
    weights = {key: shape for key, shape in found.items() if key.endswith("weight")}
    assert weights == {
        "model.0.weight": [64, 3, 4, 4],
        "model.2.weight": [128, 64, 4, 4],
        "model.5.weight": [256, 128, 4, 4],
        "model.8.weight": [512, 256, 4, 4],
        "model.11.weight": [1, 512, 4, 4],
    }
    assert found.keys() - weights.keys() == {key.replace("weight", "bias") for key in weights}


def test_channels_of_a_discriminator_stop_at_8_times_its_width():
    with torch.device("meta"):
        biases = [b for key, b in shapes(PatchDiscriminator(5)).items() if key.endswith("bias")]
    assert biases == [[64], [128], [256], [512], [512], [512], [1]]


def test_a_fresh_unet_has_the_nested_keys_of_the_reference():
    channels = [64, 128, 256, 512, 512, 512, 512, 512]
    # Outermost: down at 0, what lies below at 1, up at 3. Transposed weights are in, out, k, k, and
    # twice as many come in as on this level, because of the skip.
    expected = {"model.model.0": [64, 3], "model.model.3": [128, 3]}
    place = "model.model.1.model"
    for outer, inner in pairwise(channels[:7]):  # down at 1, what lies below at 3, up at 5
        expected |= {f"{place}.1": [inner, outer], f"{place}.5": [2 * inner, outer]}
        place += ".3.model"
    expected |= {f"{place}.1": [512, 512], f"{place}.3": [512, 512]}  # innermost: down 1, up 3
    with torch.device("meta"):
        found = shapes(UnetGenerator(8))
    assert found.keys() == {f"{key}.{kind}" for key in expected for kind in ("weight", "bias")}
    for key, shape in expected.items():
        assert found[f"{key}.weight"] == [*shape, 4, 4]


def published_unet(weights: dict[str, Tensor], x: Tensor, levels: int) -> Tensor:
    """`UnetGenerator` of the reference written out, with its LeakyReLU that works in place."""

    def of(key: str) -> tuple[Tensor, Tensor]:
        return weights[f"{key}.weight"], weights[f"{key}.bias"]

    def down(key: str, x: Tensor) -> Tensor:
        return F.conv2d(x, *of(key), stride=2, padding=1)

    def up(key: str, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x.relu(), *of(key), stride=2, padding=1)

    def below(key: str, x: Tensor, left: int) -> Tensor:
        y = down(f"{key}.1", F.leaky_relu(x, 0.2, inplace=True))
        if left == 1:
            return torch.cat([x, F.instance_norm(up(f"{key}.3", y))], 1)
        y = below(f"{key}.3.model", F.instance_norm(y), left - 1)
        return torch.cat([x, F.instance_norm(up(f"{key}.5", y))], 1)

    y = below("model.model.1.model", down("model.model.0", x), levels - 1)
    return up("model.model.3", y).tanh()


@torch.no_grad()
def test_a_unet_computes_what_the_reference_computes():
    torch.manual_seed(0)
    net = UnetGenerator(levels=5, width=4, init_std=0.2).double()
    for key, value in net.state_dict().items():
        if key.endswith("bias"):
            nn.init.normal_(value)
    x = torch.rand(2, 3, 32, 64, dtype=torch.float64) * 2 - 1
    assert (net(x) - published_unet(net.state_dict(), x, levels=5)).abs().max() < 1e-12


def test_a_unet_level_returns_its_input_beside_what_comes_back():
    torch.manual_seed(0)
    x = torch.randn(2, 5, 8, 8)
    y = UnetBlock(5, 7, None, "innermost", "transposed")(x.clone())
    assert y.shape == (2, 10, 8, 8)
    assert torch.equal(y[:, :5], x)


@pytest.mark.parametrize(
    "build", [lambda kind: ResnetGenerator(6, 4, kind), lambda kind: UnetGenerator(7, 4, kind)]
)
def test_upsampling_by_resizing_has_no_transposed_convolution(build):
    def transposed(kind):
        return [m for m in build(kind).modules() if isinstance(m, nn.ConvTranspose2d)]

    with torch.device("meta"):
        assert transposed("transposed")
        assert not transposed("resize")


@pytest.mark.parametrize(
    "build",
    [
        lambda **options: ResnetGenerator(1, 16, **options),
        lambda **options: ResnetGenerator(1, 16, "resize", **options),
        lambda **options: UnetGenerator(4, 16, **options),
        lambda **options: PatchDiscriminator(3, 16, **options),
        lambda **options: PixelDiscriminator(64, **options),
    ],
    ids=["resnet", "resnet resize", "unet", "patch", "pixel"],
)
@pytest.mark.parametrize("options", [{}, {"init_std": 0.1}], ids=["default", "0.1"])
def test_initial_weights_are_normal_of_the_given_deviation_and_biases_0(build, options):
    torch.manual_seed(0)
    std = options.get("init_std", 0.02)
    for key, value in build(**options).named_parameters():
        if key.endswith("bias"):
            assert not value.any(), key
            continue
        slack = 4 / value.numel() ** 0.5  # standard errors: 1 of the mean, 0.7 of the deviation
        assert abs(value.mean() / std) < slack, key
        assert abs(value.std() / std - 1) < slack, key
        if value.numel() > 1000:  # normal: 4.6 % lie beyond two deviations; of a uniform none
            assert 0.02 < (value.abs() > 2 * std).double().mean() < 0.08, key


def test_instance_norm_has_no_weights_and_no_memory():
    norm = InstanceNorm(3)
    assert not norm.state_dict()
    torch.manual_seed(0)
    x = torch.randn(2, 3, 16, 16) * 5 + 2
    y = norm(x)
    # Each channel of each image by itself: mean 0 and, but for an eps of 1e-5, variance 1.
    torch.testing.assert_close(y.mean((2, 3)), torch.zeros(2, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var((2, 3), correction=0), torch.ones(2, 3), atol=1e-4, rtol=0)
    assert torch.equal(norm.eval()(x), y)


def test_a_frozen_net_passes_gradients_to_its_input_and_takes_none():
    net, other = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)
    nn.init.constant_(net.weight, 3.0)
    x = torch.zeros(1, 1, 2, 2, requires_grad=True)
    with frozen(net):
        loss = other(net(x)).sum()
    loss.backward()  # as in CycleGAN, outside: what counts is how the graph was made
    assert torch.equal(x.grad, 3.0 * other.weight.expand_as(x))
    assert net.weight.grad is None
    assert net.bias.grad is None
    assert other.weight.grad is not None


def test_frozen_nets_learn_again_afterwards_even_after_an_error():
    nets = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)

    def fail() -> None:
        with frozen(*nets):
            assert not any(p.requires_grad for net in nets for p in net.parameters())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert all(p.requires_grad for net in nets for p in net.parameters())


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_an_instance_norm_of_bf16_is_only_rounded_once(count, order):
    random = torch.Generator().manual_seed(0)
    channels = torch.rand(1, 64, 1, 1, generator=random)
    maps = torch.randn(count, 64, 40, 40, generator=random) * 3 * channels + 5 * channels
    maps = maps.bfloat16().contiguous(memory_format=order)
    exact = F.instance_norm(maps.double())
    made = InstanceNorm(64)(maps)
    rounding = (exact.bfloat16().double() - exact).abs().mean()
    assert made.dtype == torch.bfloat16
    assert made.is_contiguous(memory_format=order)
    assert (made.double() - exact).abs().mean() < 1.05 * rounding


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_a_thin_convolution_is_a_convolution(kernel):
    torch.manual_seed(kernel)
    thin = ThinConv2d(5, 3, kernel).double()
    x = torch.rand(2, 5, 11, 9, dtype=torch.float64, requires_grad=True)
    mine, theirs = thin(x), F.conv2d(x, thin.weight, thin.bias)
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    weights = torch.rand_like(mine)
    inputs = [x, thin.weight, thin.bias]
    gradients = (torch.autograd.grad((y * weights).sum(), inputs) for y in (mine, theirs))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_borders_are_mirrored_in_the_dtype_of_the_maps():
    maps = torch.rand(1, 2, 4, 4).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert ReflectionPad(1)(maps).dtype == torch.bfloat16


@pytest.mark.parametrize("in_one", [True, False])
def test_batches_in_one_pass_are_as_each_by_itself(in_one, monkeypatch):
    net = ResnetGenerator(6, 4).double()
    a, b = (torch.rand(n, 3, 16, 16, dtype=torch.float64) for n in (1, 2))
    passes = []
    net.register_forward_hook(lambda *_: passes.append(None))
    monkeypatch.setattr(blocks, "one_pass", lambda batches: in_one)
    made = blocks.batched_forward(net, a, b)
    assert len(passes) == (1 if in_one else 2)
    for one, batch in zip(made, (a, b), strict=True):
        torch.testing.assert_close(one, net(batch), rtol=1e-12, atol=1e-12)


def test_batches_of_two_sizes_never_go_in_one_pass():
    meta = [torch.empty(1, 3, side, side, device="meta") for side in (8, 8, 12)]
    assert blocks.one_pass(meta[:2])
    assert not blocks.one_pass(meta)
    assert not blocks.one_pass([torch.empty(1, 3, 8, 8)] * 2)  # on a CPU it is slower
