"""Large images through a network in strips of rows, with the result of the whole image.

A map is an iterator of strips that come from top to bottom, and a layer turns one such iterator
into another: it holds back only the rows that its next window overlaps, so that nothing is computed
twice and there are no seams. An instance norm needs all rows before it gives the first: it goes
through them once for the moments and stores them meanwhile, or has them computed again where they
are too many (the outermost maps, which are the cheap ones). Residual blocks store what they add to.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial, reduce, singledispatch
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_style.nn import generators, transform_net
from gan_style.nn.blocks import ReflectionPad, padded
from gan_style.nn.decoders import Painter
from gan_style.nn.dualgan import (
    DualGanGenerator,
    Norm,
    SameConv2d,
    SameConvTranspose2d,
    same_padding,
)
from gan_style.nn.vgg import VGG

# Pixels of an image that goes through whole: CycleGAN and AdaIN, the largest, take 1.1 GB then.
WHOLE = 2**20
# Pixels of the image in a strip: 17 MB a map of 64 channels, of which a dozen are there at once.
STRIP = 2**16
# Bytes of a map that a norm stores: half the size and 128 channels of 12 megapixels.
STORED = 3 * 2**29
# Bytes stored in one piece: well above 32 MiB, from where on glibc gives back what has been read.
BLOCK = 2**26
# Bytes that the strips of all layers take, beside what is stored: measured.
WORKING = 0.3e9

Strips = Iterator[Tensor]  # (1, C, h, W) from top to bottom, of any heights


def through(net: nn.Module, maps: Tensor, scale: int = 1) -> Tensor:
    """`net(maps)` for maps (N, C, H, W), in strips where they are large and need no gradients.

    As close to it as another order of adding is. Networks that aren't known here go whole.

    Args:
        net: treats every image by itself.
        maps: what goes in.
        scale: sides of the images relative to those of the maps, 8 for features of pool3.
    """
    pixels = _pixels(maps) * scale**2
    unknown = _applied.dispatch(type(net)) is _applied.dispatch(object)
    if unknown or not _in_strips(pixels):
        return net(maps)
    return _each(partial(_applied, net), maps, pixels)


def features(vgg: VGG, layer: str, images: Tensor) -> Tensor:
    """The features `vgg(images)[layer]` (N, C, h, w), in strips as `through`."""
    if not _in_strips(_pixels(images)):
        return vgg(images, [layer])[layer]

    def apply(image: _Map) -> _Map:
        made = replace(image, strips=lambda: map(vgg.seen, image.strips()))
        for name, each in vgg.net.named_children():
            made = _applied(each, made)
            if name == layer:
                break
        return made

    return _each(apply, images, _pixels(images))


def painted(vgg: VGG, painter: Painter, images: Tensor) -> Tensor:
    """The images `painter(vgg(images))`, in strips as `through`.

    Nothing in it sees more than its neighbourhood, so that every map goes by once and a skip waits
    only for the rows that the deeper layers are behind.
    """
    if not _in_strips(_pixels(images)):
        return painter(vgg(images, painter.LAYERS))
    return _each(partial(_painted, vgg, painter), images, _pixels(images))


def peak(width: int, pixels: int) -> float:
    """Bytes in float32 that a generator takes for an image, beside its weights.

    Below STORED it is the first map of `width` channels. Of images for which this is too large it
    is the maps of half the size, of twice the channels; or two of a quarter, in a residual block;
    or a U-Net's skips. Then come the image three times, and what is being computed.
    """
    stored = max(min(STORED, 4 * width * pixels), 2 * width * pixels)
    return WORKING + stored + 36 * pixels


def _pixels(maps: Tensor) -> int:
    return maps.shape[2] * maps.shape[3]


def _in_strips(pixels: int) -> bool:
    return pixels > WHOLE and not torch.is_grad_enabled()


def _each(apply: Callable[["_Map"], "_Map"], maps: Tensor, pixels: int) -> Tensor:
    """Every image by itself, all of them in one tensor."""
    made: Tensor | None = None
    for index, one in enumerate(maps.split(1)):
        result, top = apply(_of([one], one.shape[2], -(-pixels // STRIP))), 0
        strips = result.strips()
        result.forget()
        for strip in strips:
            if made is None:
                size = (len(maps), strip.shape[1], result.height, strip.shape[3])
                made = torch.empty(
                    size, dtype=strip.dtype, device=strip.device, memory_format=_order(strip)
                )
            made[index, :, top : top + strip.shape[2]] = strip[0]
            top += strip.shape[2]
        assert top == result.height, f"{top} rows instead of {result.height}"
    assert made is not None
    return made


def _order(x: Tensor) -> torch.memory_format:
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


@dataclass(frozen=True)
class _Map:
    """A map (1, C, H, W) that is computed, from what is stored, as often as it is read.

    Args:
        strips: begins anew at each call.
        height: H.
        pieces: strips of the image, and so of everything that is stored.
        blocks: lists of what is stored for this map alone, in rows from top to bottom.
    """

    strips: Callable[[], Strips]
    height: int
    pieces: int
    blocks: tuple[list[Tensor], ...] = ()

    def then(self, layer: Callable[[Strips], Strips], height: int | None = None) -> "_Map":
        """The map after a layer, whose height may be another."""
        height = self.height if height is None else height
        return replace(self, strips=lambda: layer(self.strips()), height=height)

    def kept(self) -> "_Map":
        """The same for a branch, after which it is read again."""
        return replace(self, blocks=())

    def forget(self) -> None:
        """Nobody calls `strips` again: those that have begun free each block they are through."""
        for each in self.blocks:
            each.clear()


def _of(blocks: list[Tensor], height: int, pieces: int) -> _Map:
    """A map of what is stored; it empties the list when it is forgotten."""
    rows = -(-height // pieces)

    def strips() -> Strips:
        assert blocks, "a map is read after it was forgotten"
        return _read(deque(blocks), rows)

    return _Map(strips, height, pieces, (blocks,))


def _read(blocks: deque[Tensor], rows: int) -> Strips:
    while blocks:
        yield from blocks.popleft().split(rows, dim=2)


def _stored(source: _Map, strips: Strips | None = None) -> _Map:
    """A map computed now, from its strips if these have begun, and what it was made from freed."""
    strips = source.strips() if strips is None else strips
    source.forget()
    blocks: list[Tensor] = []
    waiting: list[Tensor] = []
    for strip in strips:
        waiting.append(strip)
        if sum(each.nbytes for each in waiting) >= BLOCK:
            blocks.append(torch.cat(waiting, dim=2))
            waiting.clear()
    if waiting:
        blocks.append(torch.cat(waiting, dim=2))
    return _of(blocks, source.height, source.pieces)


# Rows


def _windows(
    strips: Strips,
    kernel: int,
    stride: int,
    layer: Callable[[Tensor], Tensor],
    rest: bool = False,
) -> Strips:
    """A layer wherever `kernel` rows have come together, `stride` further each time.

    Args:
        strips: with what the layer pads above and below.
        kernel: rows that one row of the result depends on.
        stride: rows between two of these windows.
        layer: makes a row of each window in (1, C, h, W).
        rest: give it the rows at the end that fill no window too.
    """
    rows: Tensor | None = None
    for strip in strips:
        rows = strip if rows is None else torch.cat([rows, strip], dim=2)
        del strip  # while this waits for its turn it holds no more than it needs
        windows = (rows.shape[2] - kernel) // stride + 1
        if windows > 0:
            ready = [rows[:, :, : (windows - 1) * stride + kernel]]
            rows = _left(rows, windows * stride)
            yield layer(ready.pop())
    if rest and rows is not None:
        yield layer(rows)


def _left(rows: Tensor, used: int) -> Tensor | None:
    """What is left of some rows, in memory of its own: a view would hold all of them."""
    return rows[:, :, used:].clone() if used < rows.shape[2] else None


def _with_zeros(strips: Strips, above: int, below: int) -> Strips:
    """The strips between so many rows of zeros."""
    strip = next(strips)
    row = torch.zeros_like(strip[:, :, :1])
    if above:
        yield torch.cat([row] * above, dim=2)
    yield strip
    del strip
    yield from strips
    if below:
        yield torch.cat([row] * below, dim=2)


def _mirrored(strips: Strips, size: int) -> Strips:
    """The strips between `size` rows of reflection, which leaves out the outermost row."""
    strip = next(strips)
    while strip.shape[2] <= size:
        strip = torch.cat([strip, next(strips)], dim=2)
    yield strip[:, :, 1 : size + 1].flip(2)
    last = strip[:, :, -size - 1 :].clone()
    yield strip
    for strip in strips:
        last = torch.cat([last, strip[:, :, -size - 1 :]], dim=2)[:, :, -size - 1 :]
        yield strip
    yield last[:, :, :-1].flip(2)


def _cut(strips: Strips, above: int, height: int) -> Strips:
    """Of the rows, `height` of them after the first `above`."""
    for strip in strips:
        rows = strip[:, :, above : above + height]
        above = max(0, above - strip.shape[2])
        height -= rows.shape[2]
        if rows.shape[2]:
            yield rows


def _joined(
    first: _Map, second: _Map, layer: Callable[[Tensor, Tensor], Tensor] = torch.add
) -> _Map:
    """A layer of two maps of one height, by default their sum."""
    assert first.height == second.height

    def zipped(firsts: Strips, seconds: Strips) -> Strips:
        waiting: Tensor | None = None
        for strip in firsts:
            rows = strip.shape[2]
            waiting = next(seconds) if waiting is None else waiting
            while waiting.shape[2] < rows:
                waiting = torch.cat([waiting, next(seconds)], dim=2)
            yield layer(strip, waiting[:, :, :rows])
            waiting = _left(waiting, rows)

    return replace(
        first,
        strips=lambda: zipped(first.strips(), second.strips()),
        blocks=first.blocks + second.blocks,
    )


class _Moments:
    """Mean and variance (C) of the rows seen so far, in float64, merged as Chan et al. 1979 do."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, torch.zeros(()), torch.zeros(())

    def seeing(self, strips: Iterable[Tensor]) -> Strips:
        """The strips, each seen."""
        for strip in strips:
            # Single rows stay in a CPU's cache; an accelerator would wait for each one's kernels.
            rows = 1 if strip.device.type == "cpu" else strip.shape[2]
            for part in strip.split(rows, dim=2):
                self._see(part)
            yield strip

    def _see(self, part: Tensor) -> None:
        # MPS has no float64.
        wide = part.to(torch.float32 if part.device.type == "mps" else torch.float64)
        mean = wide.mean((0, 2, 3))
        squares = (wide - mean[:, None, None]).square_().sum((0, 2, 3))
        before, now = self.count, wide.shape[2] * wide.shape[3]
        self.count = before + now
        if not before:
            self.mean, self.squares = mean, squares
            return
        shift = mean - self.mean
        self.mean = self.mean + shift * (now / self.count)
        self.squares = self.squares + squares + shift.square() * (before * now / self.count)

    @property
    def variance(self) -> Tensor:
        """Of all positions, as norms have it: divided by their number."""
        return self.squares / self.count


def _normalised(source: _Map, layer: Norm | nn.InstanceNorm2d, eps: float) -> _Map:
    """A map after a norm by its own moments."""
    moments, strips = _Moments(), source.strips()
    first = next(strips)
    size = first[:, :, :1].numel() * first.element_size() * source.height
    wide = torch.promote_types(first.dtype, torch.float32)
    seen = moments.seeing(chain(iter([first]), strips))
    del first
    if size <= STORED:
        source = _stored(source, seen)
    else:
        for _ in seen:
            pass
    if isinstance(layer, Norm) and moments.count == 1:
        return source.then(partial(map, layer))
    mean, variance = moments.mean.to(wide), moments.variance.to(wide)

    def normalise(strip: Tensor) -> Tensor:
        if isinstance(layer, Norm):  # which leaves half precision
            strip = strip.to(wide)
        return F.batch_norm(
            strip, mean, variance, layer.weight, layer.bias, training=False, eps=eps
        )

    return source.then(partial(map, normalise))


def _painted(vgg: VGG, painter: Painter, image: _Map) -> _Map:
    made = replace(image, strips=lambda: map(vgg.seen, image.strips()))
    kept: dict[str, _Map] = {}
    for name, layer in vgg.net.named_children():
        made = _applied(layer, made)
        if name in painter.skips:
            made, kept[name] = _shared(made)
        if name == painter.CODE:
            break
    for block in painter.blocks:
        first, second = _shared(made)
        made = _joined(first, _applied(block, second))
    skips = iter(painter.skips.items())
    for layer in painter.decoder:
        made = _applied(layer, made)
        if isinstance(layer, nn.Upsample):
            name, skip = next(skips)
            made = _joined(made, _applied(skip, kept[name]))
    return made


def _shared(source: _Map) -> tuple[_Map, _Map]:
    """A map for two readers who go through it side by side, each once.

    As itertools.tee, but that holds 57 strips at a time until both readers are past the last.
    """
    strips = source.strips()
    first: deque[Tensor] = deque()
    second: deque[Tensor] = deque()

    def read(waiting: deque[Tensor]) -> Strips:
        while True:
            if not waiting:
                try:
                    strip = next(strips)
                except StopIteration:
                    return
                first.append(strip)
                second.append(strip)
                del strip
            yield waiting.popleft()

    return replace(source, strips=lambda: read(first)), replace(source, strips=lambda: read(second))


# Layers


@singledispatch
def _applied(layer: nn.Module, source: _Map) -> _Map:
    """A map after a layer or a network."""
    raise TypeError(f"{type(layer).__name__} can't be applied in strips")


@_applied.register
def _(layer: nn.Sequential, source: _Map) -> _Map:
    return reduce(lambda made, each: _applied(each, made), layer, source)


@_applied.register(nn.ReLU)
@_applied.register(nn.LeakyReLU)
@_applied.register(nn.Tanh)
def _(layer: nn.Module, source: _Map) -> _Map:
    return source.then(partial(map, layer))


@_applied.register
def _(layer: nn.Upsample, source: _Map) -> _Map:
    assert layer.mode == "nearest"
    assert isinstance(layer.scale_factor, float)
    return source.then(partial(map, layer), int(source.height * layer.scale_factor))


@_applied.register
def _(layer: ReflectionPad, source: _Map) -> _Map:
    size = layer.size

    def pad(strips: Strips) -> Strips:
        columns = (size, size, 0, 0)
        return (padded(rows, columns, "reflect") for rows in _mirrored(strips, size))

    return source.then(pad, source.height + 2 * size)


@_applied.register
def _(layer: nn.Conv2d, source: _Map) -> _Map:
    assert (layer.dilation, layer.groups) == ((1, 1), 1)
    rows, columns = map(int, layer.padding)
    if layer.padding_mode != "zeros":
        assert (layer.padding_mode, rows) == ("reflect", columns)
        source, rows, columns = _applied(ReflectionPad(rows), source), 0, 0

    def convolve(x: Tensor) -> Tensor:
        if layer.padding == (0, 0):  # then it may compute in a way of its own
            return layer(x)
        return F.conv2d(x, layer.weight, layer.bias, layer.stride, (0, columns))

    return _convolved(source, layer.kernel_size[0], layer.stride[0], (rows, rows), convolve)


@_applied.register
def _(layer: SameConv2d, source: _Map) -> _Map:
    kernel, stride = layer.kernel_size[0], layer.stride[0]

    def convolve(rows: Tensor) -> Tensor:
        left, right = same_padding(rows.shape[3], kernel, stride)
        return F.conv2d(F.pad(rows, (left, right, 0, 0)), layer.weight, layer.bias, stride)

    return _convolved(source, kernel, stride, same_padding(source.height, kernel, stride), convolve)


def _convolved(
    source: _Map,
    kernel: int,
    stride: int,
    padding: tuple[int, int],
    convolve: Callable[[Tensor], Tensor],
) -> _Map:
    """A map after a convolution, which pads columns itself and no rows."""
    assert kernel >= stride, "rows that no window sees"
    height = (source.height + sum(padding) - kernel) // stride + 1
    return source.then(
        lambda strips: _windows(_with_zeros(strips, *padding), kernel, stride, convolve), height
    )


@_applied.register
def _(layer: nn.ConvTranspose2d, source: _Map) -> _Map:
    assert (layer.dilation, layer.groups) == ((1, 1), 1)
    (above, columns), (more, wider) = map(int, layer.padding), layer.output_padding
    stride, kernel = layer.stride[0], layer.kernel_size[0]
    height = (source.height - 1) * stride - 2 * above + kernel + more

    def transpose(rows: Tensor) -> Tensor:
        return F.conv_transpose2d(
            rows, layer.weight, layer.bias, layer.stride, (0, columns), (0, wider)
        )

    return _transposed(source, kernel, stride, transpose, above, height)


def _transposed(
    source: _Map,
    kernel: int,
    stride: int,
    transpose: Callable[[Tensor], Tensor],
    above: int,
    height: int,
) -> _Map:
    """A map after a transposed convolution, of whose rows `height` count, after `above` others.

    A row of the map begins a window of `kernel` rows, so that the first `stride` of them lack what
    the `overlap` rows before it add.
    """
    overlap = (kernel - 1) // stride

    def complete(rows: Tensor) -> Tensor:
        return transpose(rows)[:, :, overlap * stride : rows.shape[2] * stride]

    def layer(strips: Strips) -> Strips:
        # Zeros add nothing, and those below bring out the end of the last row's window.
        made = _windows(_with_zeros(strips, overlap, overlap + 1), overlap + 1, 1, complete)
        return _cut(made, above, height)

    return source.then(layer, height)


@_applied.register(nn.MaxPool2d)
@_applied.register(nn.AvgPool2d)
def _(layer: nn.MaxPool2d | nn.AvgPool2d, source: _Map) -> _Map:
    size = layer.kernel_size
    assert isinstance(size, int)
    assert (layer.stride, layer.padding) == (size, 0)
    rest = layer.ceil_mode
    height = -(-source.height // size) if rest else source.height // size
    return source.then(lambda strips: _windows(strips, size, size, layer, rest), height)


@_applied.register
def _(layer: nn.InstanceNorm2d, source: _Map) -> _Map:
    assert not layer.track_running_stats
    return _normalised(source, layer, layer.eps)


@_applied.register
def _(layer: Norm, source: _Map) -> _Map:
    return _normalised(source, layer, 1e-6 if layer.over == "instance" else 1e-5)


# Networks


@_applied.register(generators.ResnetGenerator)
@_applied.register(generators.UnetGenerator)
def _(net: generators.ResnetGenerator | generators.UnetGenerator, source: _Map) -> _Map:
    return _applied(net.model, source)


@_applied.register
def _(block: generators.ResidualBlock, source: _Map) -> _Map:
    x = _stored(source)
    return _joined(x, _applied(block.conv_block, x.kept()))


@_applied.register
def _(block: transform_net.ResidualBlock, source: _Map) -> _Map:
    x = _stored(source)
    branch = (block.conv1, block.in1, nn.ReLU(), block.conv2, block.in2)
    return _joined(x, _applied(nn.Sequential(*branch), x.kept()))


@_applied.register
def _(net: transform_net.TransformNet, source: _Map) -> _Map:
    for name, layer in net.named_children():
        source = _applied(layer, source)
        if name.startswith("in"):
            source = _applied(nn.ReLU(), source)
    if net.output == "linear":
        return source
    return source.then(partial(map, lambda rows: 150 * rows.tanh() + net.mean))


@_applied.register
def _(block: generators.UnetBlock, source: _Map) -> _Map:
    if block.place == "outermost":
        return _applied(block.model, source)
    return _joined(source, _applied(block.model, source.kept()), _stacked)


def _stacked(first: Tensor, second: Tensor) -> Tensor:
    return torch.cat([first, second], dim=1)


@_applied.register
def _(net: DualGanGenerator, source: _Map) -> _Map:
    leaky, relu = nn.LeakyReLU(0.2), nn.ReLU()
    width = next(source.strips()).shape[3]
    widths = [width, -(-width // 2)]
    maps = [source, _applied(net.e[0], source.kept())]
    for conv, norm in zip(net.e[1:], net.bn_e, strict=True):
        maps.append(_applied(norm, _applied(conv, _applied(leaky, maps[-1].kept()))))
        widths.append(-(-widths[-1] // 2))
    y, _ = maps.pop(), widths.pop()
    for index, (conv, norm) in enumerate(zip(net.d[:-1], net.bn_d, strict=True)):
        encoded = maps.pop()
        y = _same_transposed(conv, _applied(relu, y), (encoded.height, widths.pop()))
        if index < 3 and net.dropout:  # small, and noise comes in an order
            whole = F.dropout(norm(torch.cat(list(y.strips()), dim=2)), net.dropout)
            y = _of([whole], y.height, y.pieces)
        else:
            y = _applied(norm, y)
        if net._joined(6 - index):
            y = _joined(y, encoded, _stacked)
    y = _same_transposed(net.d[-1], _applied(relu, y), (source.height, width))
    return _applied(nn.Tanh(), y)


def _same_transposed(layer: nn.Module, source: _Map, size: tuple[int, int]) -> _Map:
    assert isinstance(layer, SameConvTranspose2d)
    kernel, stride = layer.kernel_size[0], layer.stride[0]
    (above, _), (left, _) = (same_padding(side, kernel, stride) for side in size)

    def transpose(rows: Tensor) -> Tensor:
        made = F.conv_transpose2d(rows, layer.weight, layer.bias, stride)
        return made[..., left : left + size[1]]

    return _transposed(source, kernel, stride, transpose, above, size[0])
