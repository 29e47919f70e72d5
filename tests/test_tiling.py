"""Large images in strips of rows: the result of the whole image, in a bounded memory."""

import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from gan_style import memory, methods, tiling
from gan_style.errors import UserError
from gan_style.nn.blocks import InstanceNorm, ReflectionPad, ThinConv2d
from gan_style.nn.decoders import adain_decoder
from gan_style.nn.dualgan import DualGanGenerator, Norm, SameConv2d
from gan_style.nn.generators import ResnetGenerator, UnetGenerator
from gan_style.nn.transform_net import TransformNet
from gan_style.nn.vgg import VGG
from gan_style.styles import Style
from gan_style.translation import jobs as translation

CPU = torch.device("cpu")
LAYERS = {
    "3x3": lambda: nn.Conv2d(3, 4, 3),
    "9x9 and a mirror": lambda: nn.Sequential(ReflectionPad(4), nn.Conv2d(3, 4, 9)),
    "3x3 by halves": lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1),
    "4x4 by halves": lambda: nn.Conv2d(3, 4, 4, stride=2, padding=1),
    "5x4 by thirds": lambda: nn.Conv2d(3, 4, (5, 4), stride=3),
    "same": lambda: SameConv2d(3, 4, 5, stride=2),
    "thin": lambda: nn.Sequential(ReflectionPad(3), ThinConv2d(3, 3, 7), nn.Tanh()),
    "twice": lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1),
    "twice by 4x4": lambda: nn.ConvTranspose2d(3, 4, 4, stride=2, padding=1),
    "twice by 5x5": lambda: nn.ConvTranspose2d(3, 4, 5, stride=2, padding=2),
    "resized": lambda: nn.Sequential(nn.Upsample(scale_factor=2), ReflectionPad(1)),
    "largest": lambda: nn.MaxPool2d(2),
    "largest of what is left": lambda: nn.MaxPool2d(2, ceil_mode=True),
    "mean of what is left": lambda: nn.AvgPool2d(2, ceil_mode=True),
    "norm": lambda: nn.Sequential(nn.Conv2d(3, 4, 1), InstanceNorm(4), nn.LeakyReLU(0.2)),
    "norm with weights": lambda: InstanceNorm(3, affine=True),
}
NETS = {
    "resnet": lambda: ResnetGenerator(2, 4),
    "resnet grey": lambda: ResnetGenerator(1, 4, "resize", 0.02, 1, 1),
    "unet": lambda: UnetGenerator(3, 4),
    "unet resize": lambda: UnetGenerator(4, 2, "resize"),
    "johnson": lambda: TransformNet(4),
    "johnson of the paper": lambda: TransformNet(4, "transposed", "tanh"),
    "dualgan": lambda: DualGanGenerator(width=2),
    "dualgan kept": lambda: DualGanGenerator(width=2, bottleneck="kept"),
    "dualgan of 2017": lambda: DualGanGenerator(width=2, kernel=5, norm="batch", unskipped=2),
    "dualgan with noise": lambda: DualGanGenerator(width=2, dropout=0.5),
}


def built(make) -> nn.Module:
    """In float64, with weights and biases large enough that every layer counts."""
    torch.manual_seed(0)
    net = make().double().requires_grad_(False)
    for each in net.parameters():
        nn.init.normal_(each, 0.1, 0.5 if each.dim() == 1 else each[0].numel() ** -0.5)
    return net


def images(height: int, width: int, number: int = 2, channels: int = 3) -> torch.Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.rand(number, channels, height, width, generator=random, dtype=torch.float64)


@pytest.fixture
def cut(monkeypatch):
    """Everything goes in strips of so many rows; norms store no more than so many bytes."""

    def limits(rows: int, width: int, stored: int = 2**40) -> None:
        sizes = {"WHOLE": 0, "STRIP": rows * width, "STORED": stored, "BLOCK": 1000}
        for name, value in sizes.items():
            monkeypatch.setattr(tiling, name, value)

    return limits


# The same as whole


@pytest.mark.parametrize("rows", [1, 7, 1000])
@pytest.mark.parametrize("height", [24, 25])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_gives_the_same_in_strips(name, height, rows, cut):
    layer, content = built(LAYERS[name]), images(height, 19)
    cut(rows, 19)
    with torch.no_grad():
        torch.testing.assert_close(tiling.through(layer, content), layer(content))


def test_rows_are_cut_wherever_strips_end():
    column = torch.arange(10.0).view(1, 1, 10, 1)
    for rows in (1, 2, 3, 10):
        parts = tiling._cut(iter(column.split(rows, dim=2)), 3, 4)
        assert torch.cat(list(parts), dim=2).flatten().tolist() == [3, 4, 5, 6]


@pytest.mark.parametrize("stored", [0, 10_000, 2**40], ids=["none", "some", "all"])
@pytest.mark.parametrize("rows", [1, 13])
@pytest.mark.parametrize("name", NETS)
def test_a_network_gives_the_same_in_strips(name, rows, stored, cut):
    net = built(NETS[name])
    # DualGAN takes any sides, some of whose halves are odd; of the others these are multiples.
    height, width = (77, 45) if "dualgan" in name else (96, 48)
    alone = "noise" in name or "2017" in name  # as its method gives it images, one by one
    content = images(height, width, 1 if alone else 2, 1 if "grey" in name else 3)
    with torch.no_grad():
        torch.manual_seed(2)
        whole = net(content)
        cut(rows, width, stored)
        torch.manual_seed(2)
        found = tiling.through(net, content)
    torch.testing.assert_close(found, whole)
    assert whole.std() > 0.01  # there is something to compare


@pytest.mark.parametrize("rows", [1, 6, 1000])
@pytest.mark.parametrize(
    "options",
    [{}, {"padding": "reflect"}, {"pooling": "average"}, {"depth": 16}],
    ids=["19", "mirrored", "average", "16"],
)
def test_features_are_the_same_in_strips(options, rows, cut):
    vgg = VGG(["relu2_1", "relu4_1"], family="random", **options).double()
    vgg.bgr = bool(options)
    content = images(70, 53)  # odd after one and after two poolings
    cut(rows, 53)
    with torch.no_grad():
        for layer in ("relu2_1", "relu4_1"):
            found = tiling.features(vgg, layer, content)
            torch.testing.assert_close(found, vgg(content)[layer])


@pytest.mark.parametrize("rows", [1, 20])
def test_a_decoder_gives_the_same_in_strips(rows, cut):
    decoder, code = built(adain_decoder), images(9, 5, 2, 512)
    cut(rows, 40)
    with torch.no_grad():
        torch.testing.assert_close(tiling.through(decoder, code, 8), decoder(code))


@pytest.mark.parametrize("name", ["cyclegan", "dualgan", "johnson", "adain"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_translate_gives_the_same_in_strips(name, precision, cut):
    options = {
        "cyclegan": {"generator": "resnet_6", "width_generator": 8},
        "dualgan": {"width_generator": 8, "dropout": 0.5},
        "johnson": {"width_generator": 8},
        "adain": {"vgg": "random", "style_size": 32},
    }[name]
    module = methods.load(name)
    torch.manual_seed(0)
    method = module.Method(module.Config(**options)).eval().requires_grad_(False)
    content = images(64, 48).float()
    style = [Style(image=images(40, 40, 1).float())] if name == "adain" else None

    def translated(precision):
        return translation.translate(method, content, style, precision)

    exact, whole = translated("fp32"), translated(precision)
    cut(8, 48, 100_000)
    found = translated(precision)
    assert found.stride() == whole.stride()
    if precision == "fp32":
        torch.testing.assert_close(found, whole, atol=1e-5, rtol=0)
    else:  # roundings differ, but there are no more of them
        assert (found - exact).abs().mean() <= 1.1 * (whole - exact).abs().mean()


# Norms


def test_moments_are_exact_far_from_zero():
    # The variance of float32 numbers around 1e4 is lost in their squares.
    maps = (images(30, 20, 1) + 1e4).float()
    moments = tiling._Moments()
    assert len(list(moments.seeing(maps.split(7, dim=2)))) == 5
    variance, mean = torch.var_mean(maps.double(), (0, 2, 3), correction=0)
    torch.testing.assert_close(moments.mean, mean, rtol=1e-15, atol=0)
    torch.testing.assert_close(moments.variance, variance, rtol=1e-11, atol=0)


def test_a_norm_far_from_zero_is_one_of_its_deviations(cut):
    maps = (images(30, 20, 1) + 1e4).float()
    cut(7, 20)
    with torch.no_grad():
        found = tiling.through(InstanceNorm(3), maps)
    # An offset of 1e-3, the spacing of such numbers, would be 0.003 deviations.
    torch.testing.assert_close(found, InstanceNorm(3)(maps.double()).float(), atol=2e-3, rtol=0)


def test_dualgans_norm_leaves_half_precision(cut):
    norm, maps = Norm(3, "instance"), images(30, 20, 1).bfloat16()
    cut(7, 20)
    with torch.no_grad():
        torch.testing.assert_close(tiling.through(norm, maps), norm(maps))  # and of one type


@pytest.mark.parametrize(("stored", "times"), [(2**40, 1), (0, 3)])
def test_only_what_is_not_stored_is_computed_again(stored, times, cut):
    first = nn.Conv2d(3, 2, 3)
    rows = []
    first.register_forward_hook(lambda module, inputs, output: rows.append(output.shape[2]))
    # Two norms and what they give: a pass over the first layer for each.
    net = nn.Sequential(first, InstanceNorm(2), nn.Conv2d(2, 2, 3), InstanceNorm(2)).double()
    cut(5, 20, stored)
    with torch.no_grad():
        tiling.through(net, images(42, 20, 1))
    assert sum(rows) == times * 40


def test_the_outermost_maps_of_large_images_alone_are_computed_again(cut):
    net = built(lambda: ResnetGenerator(2, 4))
    rows = {}
    for name, layer in net.named_modules():
        if type(layer) in (nn.Conv2d, ThinConv2d) and layer.padding == (0, 0):
            layer.register_forward_hook(
                lambda module, inputs, output, name=name: rows.setdefault(name, []).append(
                    output.shape[2]
                )
            )
    # As 12 megapixels are to the real limit and 64 channels: half the sides fit, all don't.
    cut(8, 48, 96 * 48 * 4 * 8 // 2)
    with torch.no_grad():
        tiling.through(net, images(96, 48, 1))
    computed = {name: sum(each) for name, each in rows.items()}
    assert computed.pop("model.1") == 2 * 96
    assert set(computed.values()) == {24, 96}  # blocks, and the last layer


@pytest.mark.parametrize(("scale", "pieces"), [(1, 3), (2, 12)])
def test_strips_are_of_the_image_and_not_of_a_smaller_map(scale, pieces, cut):
    net, seen = nn.Sequential(nn.ReLU()), []
    net[0].register_forward_hook(lambda module, inputs, output: seen.append(output.shape[2]))
    cut(4, 5)
    with torch.no_grad():
        tiling.through(net, images(12, 5, 1), scale)
    assert seen == [12 // pieces] * pieces


def test_both_maps_of_a_sum_are_freed():
    both = [tiling._of([images(4, 4, 1)], 4, 2) for _ in range(2)]
    total = tiling._joined(*both)
    begun = total.strips()
    total.forget()
    assert [each.blocks for each in both] == [([],), ([],)]
    assert torch.equal(torch.cat(list(begun), dim=2), 2 * images(4, 4, 1))


# When


def test_small_images_and_gradients_and_unknown_networks_go_whole(monkeypatch):
    seen = []

    class Unknown(nn.Module):
        def forward(self, x):
            seen.append(tuple(x.shape))
            return x

    known = nn.Sequential(nn.ReLU())
    known[0].register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    monkeypatch.setattr(tiling, "WHOLE", 20)
    monkeypatch.setattr(tiling, "STRIP", 4)
    with torch.no_grad():
        tiling.through(Unknown(), torch.zeros(1, 3, 6, 4))
        tiling.through(known, torch.zeros(2, 3, 5, 4))
    tiling.through(known, torch.zeros(1, 3, 6, 4))
    assert seen == [(1, 3, 6, 4), (2, 3, 5, 4), (1, 3, 6, 4)]
    with torch.no_grad():
        tiling.through(known, torch.zeros(1, 3, 6, 4))
    assert seen[3:] == [(1, 3, 1, 4)] * 6


def test_a_layer_that_strips_do_not_know_is_named(cut):
    cut(4, 8)
    with torch.no_grad(), pytest.raises(TypeError, match="Softmax2d can't be applied in strips"):
        tiling.through(nn.Sequential(nn.Softmax2d()), images(8, 8))


# Memory


def test_two_readers_hold_no_more_than_the_strips_between_them():
    made = []

    def source():
        for number in range(100):
            strip = torch.full((1, 1, 2, 3), float(number))
            made.append(weakref.ref(strip))
            yield strip
            del strip

    first, second = (
        each.strips() for each in tiling._shared(tiling._Map(strips=source, height=200, pieces=100))
    )
    for number in range(90):
        one = next(first)
        if number >= 3:
            other = next(second)
            assert one[0, 0, 0, 0] - other[0, 0, 0, 0] == 3
        assert sum(strip() is not None for strip in made) <= 5
    assert len([*second]) == 13
    assert len([*first]) == 10


@pytest.mark.parametrize(
    ("name", "takes", "free"),
    [
        ("cyclegan", r"2\.\d", 1.5e9), ("dualgan", r"2\.\d", 1.5e9), ("johnson", r"2\.\d", 1.5e9),
        ("adain", r"2\.\d", 1.5e9), ("quick", r"1\.3", 1e9),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_twelve_megapixels_are_not_refused_where_3_gb_are_free(
    name, takes, free, tmp_path, monkeypatch
):
    module = methods.load(name)
    method = module.Method(module.Config())
    Image.new("RGB", (4000, 3000)).save(tmp_path / "photo.png")
    jobs = translation.jobs_without_styles(tmp_path / "photo.png")
    monkeypatch.setattr(memory, "free", lambda device: 3e9)
    translation.check_sizes(method, jobs, translation.How(device=CPU))
    monkeypatch.setattr(memory, "free", lambda device: free)
    said = rf"photo.png at 4000x3000 pixels takes about {takes} GB, but"
    with pytest.raises(UserError, match=said):
        translation.check_sizes(method, jobs, translation.How(device=CPU))
    assert method.bytes_for((1024, 1024)) == tiling.WHOLE * method.bytes_per_pixel


def test_a_peak_never_shrinks_with_the_image():
    # The first map alone is stored, until half the size of twice the channels is less.
    assert tiling.peak(8, 100) == tiling.WORKING + 100 * (4 * 8 + 36)
    peaks = [tiling.peak(64, megapixel * 10**6) for megapixel in range(1, 100)]
    assert peaks == sorted(peaks)
    assert peaks[-1] == tiling.WORKING + 99e6 * (2 * 64 + 36)


PEAK = """
import re, sys
from pathlib import Path
import torch
from gan_style import tiling
from gan_style.nn.generators import ResnetGenerator
tiling.WHOLE, tiling.STRIP, tiling.STORED, tiling.BLOCK = 0, 2**14, 2**25, 2**22
net = ResnetGenerator(1, 16).requires_grad_(False)
with torch.no_grad():
    tiling.through(net, torch.zeros(1, 3, 64, 64))
    status = Path("/proc/self/status")
    peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1])
    before = peak()
    tiling.through(net, torch.rand(1, 3, 1024, 1024))
print((peak() - before) * 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the peak")
@pytest.mark.slow
def test_strips_take_a_part_of_the_memory():
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, check=True, text=True)
    # A map of half the size and twice the channels, and images of 13 MB. Whole it takes 5.8 maps.
    one_map = 1024 * 1024 * 16 * 4
    assert int(done.stdout) < 1.5 * one_map
