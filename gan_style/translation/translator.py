"""One callable for whatever turns images into a style: a run, a method, a file of weights.

monet = load("results/monet2photo/cyclegan/0001", direction="b2a")
monet("photo.jpg").save("monet.png")

adain = load("adain")
adain("photo.jpg", style=[Style("a.jpg", weight=0.7), Style("b.jpg")], alpha=0.8)
"""

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from gan_style import checkpoint, command, devices, memory, methods, runs
from gan_style import weights as published
from gan_style.config import Wanted, at_least, build, convert, describe, did_you_mean
from gan_style.data.images import (
    from_tensor,
    label,
    padded_size,
    picture_of,
    resize,
    scaled_size,
    to_array,
    to_grey,
)
from gan_style.data.pairs import output_names
from gan_style.devices import Precision, choose_precision
from gan_style.errors import ConfigError
from gan_style.maths.colour import Colours, luma
from gan_style.method import Method, OptimisedMethod, TrainedMethod
from gan_style.styles import Style
from gan_style.translation.jobs import Make, to_padded, translate, translate_styled

if TYPE_CHECKING:
    from gan_style.training.launch import Run

Progress = Callable[[int, int], object]  # is called with what is done, of how many


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A run or a method as it is asked for, with all its options, not built yet.

    Args:
        name: of the method.
        module: that has it.
        config: of the module's Config.
        run: folder; "" of a method without one.
        record: the run's config.json; None without one.
        weights: which of the run's.
        file: of weights, alone, instead of those in the folder.
    """

    name: str
    module: ModuleType
    config: Any
    run: str = ""
    record: dict[str, Any] | None = None
    weights: checkpoint.Kind = "raw"
    file: Path | None = None

    @property
    def takes_style(self) -> bool:
        """Whether each image needs a style image."""
        return bool(self.module.PAPER.style == "image")

    @property
    def background(self) -> str:
        """What a run was trained to see under transparent images."""
        return str((self.record or {"data": {}})["data"].get("background", "white"))

    def build(self) -> Method:
        """The method with its weights, on the CPU, to translate with.

        Raises:
            CheckpointError, ConfigError, WeightsError: there are none, or not of these networks.
        """
        if self.record:  # before any memory is taken: the options may be somebody else's
            direction = getattr(self.config, "direction", None)
            checkpoint.check_direction(self.module, self.record, direction, Path(self.run))
            outline = checkpoint.outline(lambda: self.module.Method(self.config))
            if not self.file:
                checkpoint.check_networks(outline, Path(self.run), self.weights)
        built: Method = self.module.Method(self.config)
        if isinstance(built, TrainedMethod):
            self._fill(built)
        return built.eval().requires_grad_(False)

    def _fill(self, method: TrainedMethod) -> None:
        if self.file:
            checkpoint.load_only(method, self.file)
        elif self.record:
            checkpoint.load_networks(method, Path(self.run), self.weights)
        else:
            check_published(self.name, method)
            for net in method.inference_networks:
                getattr(method, net).load_state_dict(published.load(method.pretrained[net]))


def check_published(name: str, method: TrainedMethod) -> None:
    """Refuse a method of which no weights are published.

    Raises:
        ConfigError: so it is.
    """
    if not set(method.inference_networks) <= set(method.pretrained):
        raise ConfigError(
            f"{name} has no published weights: train it and give --run "
            f"(python -m gan_style train --method {name} --help)"
        )


def of_run(run: str, weights: checkpoint.Kind, options: Mapping[str, Any]) -> Chosen:
    """A run with options over its own, of which translating takes few.

    Raises:
        CheckpointError: it is no run.
        ConfigError: an option that its weights depend on.
    """
    return _of_record(runs.read(Path(run)), run, options, weights=weights)


def _of_record(record: dict[str, Any], run: str, options: Mapping[str, Any], **more: Any) -> Chosen:
    name = record["train"]["method"]
    module, typed = methods.load(name), method_options(name, options, record)
    refuse_trained_in(module.Method, options, run)
    config = build(module.Config, typed)
    return Chosen(name=name, module=module, config=config, run=run, record=record, **more)


def of_method(name: str, weights: checkpoint.Kind, options: Mapping[str, Any]) -> Chosen:
    """A method with options over those of a preset, which may be named among them.

    Raises:
        ConfigError: a value that an option can't have, or weights that only a run has.
    """
    if weights != "raw":
        raise ConfigError(f"--weights is {weights!r}, but only a run has averaged or best weights")
    module = methods.load(name)
    return Chosen(
        name=name, module=module, config=build(module.Config, method_options(name, options))
    )


def method_options(
    name: str, options: Mapping[str, Any], record: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A method's options over those of a run, by its `record`, or of a preset.

    Raises:
        ConfigError: the run is of another version, or can't have a preset.
    """
    if record is None:
        return command.with_preset({**options, "method": name}, str(options.get("preset", "")))
    names = _own_options(name)
    if strange := set(record["method"]) - set(names) - methods.retired(name):
        raise ConfigError(
            f"the run has --{min(strange)}, which {name} doesn't know: another version made it"
        )
    if "preset" in options:
        raise ConfigError(f"--preset is {options['preset']!r}, but a run has its own options")
    return {key: value for key, value in record["method"].items() if key in names} | dict(options)


def _own_options(name: str) -> list[str]:
    return [field.name for field in describe(methods.source(name))]


def refuse_trained_in(method: type[Method], options: Mapping[str, Any], run: str) -> None:
    """Refuse options that the weights of a run depend on.

    Raises:
        ConfigError: there is one.
    """
    may_change: Sequence[str] = getattr(method, "inference_options", ())
    for option, value in options.items():
        if option not in may_change:
            may = ", ".join(f"--{name}" for name in may_change) or "no option of the method"
            raise ConfigError(
                f"--{option} is {value!r}, but {run} was trained with its own: {may} can be changed"
            )


def load(
    source: "str | os.PathLike[str] | Run",
    *,
    weights: checkpoint.Kind = "raw",
    device: str = "",
    precision: Wanted = "auto",
    **options: Any,
) -> "Translator":
    """Whatever turns images into a style, as one callable.

    >>> from gan_style import load
    >>> gatys = load("gatys", vgg="random", iterations=2)
    >>> photo, painting = Image.new("RGB", (48, 32), "teal"), Image.new("RGB", (32, 32), "gold")
    >>> gatys(photo, style=painting).size
    (48, 32)

    Args:
        source: a run, or its folder; the name of a method that needs no training of yours
            (`python -m gan_style methods`); or a file of weights of a run, such as
            gen_ab.ema.safetensors, wherever it lies.
        weights: of a run: raw as trained; ema, their running average; best, when KID was lowest.
        device: cpu, cuda, cuda:1, mps; cuda where there is one when not given.
        precision: fp32, bf16, fp16; auto is what the device is quickest in.
        options: of the method, such as `direction` of a run that translates both ways, or `preset`.

    Raises:
        ConfigError: no such run, method or option.
        CheckpointError, WeightsError: weights that aren't there, or are broken.
    """
    source = getattr(source, "folder", source)
    text = os.fspath(source)  # type: ignore[arg-type]  # a Run has a folder
    options = {key: each for key, each in options.items() if each is not None}
    path = Path(text)
    if path.is_file():
        chosen = _of_file(path, weights, options)
    elif path.is_dir() or os.sep in text:
        chosen = of_run(text, weights, options)
    elif text in methods.names():
        chosen = of_method(text, weights, options)
    else:
        raise ConfigError(
            f"{text!r} is no folder of a run and no file of weights, and no method is called so: "
            f"{did_you_mean(text, methods.names())}"
        )
    place = devices.find(device)
    numbers = choose_precision(convert("precision", precision, Wanted), place)
    return Translator(chosen, chosen.build().to(place), place, numbers)


def _of_file(path: Path, weights: checkpoint.Kind, options: dict[str, Any]) -> Chosen:
    """A run of which one file is there alone; it says itself what networks it is of."""
    if weights != "raw":
        raise ConfigError(f"weights is {weights!r}, but {path} is a file: give the run's folder")
    record = checkpoint.record_of(path)
    chosen = _of_record(record, str(path), options, file=path)
    net = path.name.split(".")[0]
    ways = {its: way for way, its in checkpoint.directions(chosen.module, record).items()}
    if net not in ways or options.get("direction", ways[net]) == ways[net]:
        own = {"direction": ways[net]} if net in ways else {}
        return replace(chosen, config=replace(chosen.config, **own))
    raise ConfigError(f"direction is {options['direction']!r}, but {path} is of {ways[net]}")


class Translator:
    """Turns images into a style.

    Args:
        chosen: what it was made of.
        method: with its weights, on the device.
        device: where to compute.
        precision: what networks compute in.

    Attributes:
        name: of the method.
        config: its options.
    """

    def __init__(
        self, chosen: Chosen, method: Method, device: torch.device, precision: Precision
    ) -> None:
        self.chosen, self.method, self.device, self.precision = chosen, method, device, precision
        self.name, self.config = chosen.name, chosen.config

    def __repr__(self) -> str:
        where = f"run={self.chosen.run!r}, " if self.chosen.run else ""
        return f"Translator({self.name!r}, {where}{self.config})"

    def __call__(
        self,
        content: Any,
        style: Any = None,
        *,
        colour: Colours = "style",
        side: int | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Any:
        """Translate one image, or many.

        Args:
            content: an image: a path, a PIL image, or an array (H, W), (H, W, 3) or (H, W, 4) of
                uint8 or of floats in [0, 1]; a list of these; a folder of images; or a tensor
                (N, 3, H, W), RGB in [0, 1].
            style: for methods that take one: an image, or a tensor (1, 3, H, W); or a list of
                `Style`, which are blended, or go where their masks say.
            colour: "style" takes the style's colours, "luma" and "match" keep the content's.
            side: larger contents are scaled down to this longer side, 0 keeps every size; when not
                given, 512 for methods that optimise and 0 for all others. Not of a tensor.
            progress: called with (done, of how many): images; of one image by a method that
                optimises pixels, iterations.
            options: of the method, such as `alpha`, for this call.

        Returns:
            Of one image a PIL image of its size, RGB, or RGBA where it was transparent; of a list a
            list of these; of a folder an iterator of (name, image), the name with the folders below
            it; of a tensor a tensor of its size on the device, in [0, 1].

        Raises:
            ConfigError: a style that is missing or not wanted, or an option that can't be.
            DataError: an image that can't be read.
        """
        if options:
            call = self.with_options(**options)
            return call(content, style, colour=colour, side=side, progress=progress)
        at_least(0, side=side)
        wanted = convert("colour", colour, Colours)
        styles = self._styles(style)
        if not styles and wanted != "style":
            raise ConfigError(f"--colour is {wanted!r}, but {self.name} takes no style image")
        if isinstance(content, Tensor):
            return self._tensors(content, styles, wanted)
        if isinstance(content, list | tuple):
            return list(self._each(content, styles, wanted, side, progress))
        if isinstance(content, str | os.PathLike) and Path(content).is_dir():
            return self._folder(Path(content), styles, wanted, side, progress)
        return self._image(content, styles, wanted, side, progress)

    def with_options(self, **options: Any) -> "Translator":
        """The same networks with other options.

        Raises:
            ConfigError: the method has no such option, or its weights depend on it.
        """
        names = _own_options(self.name)
        for option in options:
            if option not in names:
                raise ConfigError(
                    f"{self.name} has no option {option!r}: {did_you_mean(option, names)}"
                )
        if isinstance(self.method, TrainedMethod):
            refuse_trained_in(type(self.method), options, self.chosen.run or self.name)
        config = build(self.chosen.module.Config, {**asdict(self.config), **options})
        chosen = replace(self.chosen, config=config)
        method = copy.copy(self.method)
        if isinstance(method, TrainedMethod):
            method.config = config
            # Another direction's network isn't loaded yet.
            if method.inference_networks != self.method.inference_networks:
                if chosen.file:
                    raise ConfigError(f"{chosen.file} is of one network: load that of {options}")
                method = chosen.build().to(self.device)
        else:
            method = chosen.build().to(self.device)
        return Translator(chosen, method, self.device, self.precision)

    def _styles(self, style: Any) -> list[Style]:
        """As a list of `Style`, of images or tensors.

        Raises:
            ConfigError: the method takes one and there is none, or the other way about.
        """
        if not self.chosen.takes_style:
            if style is not None:
                raise ConfigError(f"{self.name} takes no style image: leave style out")
            return []
        if style is None:
            raise ConfigError(f"{self.name} takes its style from an image: give one as style")
        given = list(style) if isinstance(style, list | tuple) else [style]
        styles = [each if isinstance(each, Style) else Style(each) for each in given]
        return [
            replace(each, image=Path(each.image)) if isinstance(each.image, str) else each
            for each in styles
        ]

    def _image(
        self,
        content: Any,
        styles: list[Style],
        colours: Colours,
        side: int | None,
        progress: Progress | None = None,
    ) -> Image.Image:
        method, given = self.method, picture_of(content, self.chosen.background)
        longest = (method.longest_side or 0) if side is None else side
        seen = to_grey(given.image) if method.grey else given.image
        size = scaled_size((seen.height, seen.width), longest)
        array = resize(to_array(seen), size)
        with memory.explained(Path(label(content))):
            padded = to_padded(array, method, self.device)
            made = from_tensor(self._made(padded, size, styles, colours, progress)[0])
        image = Image.fromarray(made[: size[0], : size[1]])
        if given.alpha is not None:
            image.putalpha(Image.fromarray(resize(np.array(given.alpha), size)))
        return image

    def _made(
        self,
        content: Tensor,
        size: tuple[int, int],
        styles: list[Style],
        colours: Colours,
        progress: Progress | None = None,
    ) -> Tensor:
        """Padded images (N, 3, H, W), which have `size` without that, through the method."""
        if not styles:
            return translate(self.method, content, None, self.precision)
        return translate_styled(
            self.method, content, size, styles, self.chosen.background, colours, self.precision,
            self._optimised(progress) if len(content) == 1 else None,
        )  # fmt: skip

    def _optimised(self, progress: Progress | None) -> Make | None:
        """What makes an image by a method that optimises pixels, told of every iteration."""
        method = self.method
        if not isinstance(method, OptimisedMethod):
            return None

        def make(content: Tensor, styles: list[Style], finish: Any) -> Tensor:
            for step in method.optimise(content, styles):
                image = step.image
                if progress:
                    progress(step.done, step.total)
            return image

        return make

    def _each(
        self,
        contents: Sequence[Any],
        styles: list[Style],
        colours: Colours,
        side: int | None,
        progress: Progress | None,
    ) -> Iterator[Image.Image]:
        for done, content in enumerate(contents, 1):
            image = self._image(content, styles, colours, side)
            if progress:
                progress(done, len(contents))
            yield image

    def _folder(
        self,
        folder: Path,
        styles: list[Style],
        colours: Colours,
        side: int | None,
        progress: Progress | None,
    ) -> Iterator[tuple[str, Image.Image]]:
        names = output_names(folder)
        images = self._each(list(names), styles, colours, side, progress)
        for name in names.values():
            yield name.as_posix(), next(images)

    def _tensors(self, content: Tensor, styles: list[Style], colours: Colours) -> Tensor:
        """(N, 3, H, W) -> the same; styles are read for its size."""
        if content.dim() != 4 or content.shape[1] != 3 or not content.is_floating_point():
            raise ConfigError(
                f"content is a tensor of {content.dtype} {tuple(content.shape)}, but must be "
                "floats (N, 3, H, W) in [0, 1]"
            )
        method = self.method
        height, width = content.shape[2:]
        tall, wide = padded_size((height, width), method.multiple, method.smallest)
        padded = F.pad(
            content.to(self.device, torch.float32), (0, wide - width, 0, tall - height), "reflect"
        )
        if method.grey:
            padded = luma(padded).expand(-1, 3, -1, -1)
        made = self._made(padded, (height, width), styles, colours)
        return made[..., :height, :width].clamp(0, 1)
