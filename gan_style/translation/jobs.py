"""Any method over any images: contents, and styles where it takes them, in; images out."""

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import gan_style
from gan_style import devices, memory
from gan_style.config import DataConfig, build, entries
from gan_style.data.images import (
    WRITTEN,
    ImageError,
    from_tensor,
    image_size,
    maker_of,
    pad,
    padded_size,
    read_picture,
    resize,
    save_image,
    scaled_size,
    spread,
    to_array,
    to_grey,
    to_tensor,
)
from gan_style.data.pairs import STEM, STYLE, by_name, called, found_in, output_names, read_pairs
from gan_style.devices import Precision, autocast, memory_format
from gan_style.errors import ConfigError, DataError, Interrupted, UserError
from gan_style.io.downloads import sha256_of
from gan_style.io.files import explained
from gan_style.io.safe_io import read_bytes
from gan_style.maths import colour
from gan_style.maths.colour import Colours
from gan_style.method import Method, OptimisedMethod
from gan_style.progress import Bar
from gan_style.styles import Style, Styles, forget_read, read_once, read_style, style_files
from gan_style.translation import optimisation

SEEN = 50  # contents whose size is looked at
FAR = 1.75  # times the scale of training, from where on the strokes look like other ones
PIXELS_A_BATCH = 2**20  # of equal-sized images together on an accelerator: 16 of 256x256
TIMES = ("name", "width", "height", "seconds")
MADE_BY = ".made_by.csv"  # beside the images: what each of them was made by
MADE = ("name", "made_by")
WHOLE = "."  # the name in it of the output folder itself, made by the folder of contents
TABLE = 1_000_000_000  # bytes of these: some million rows


@dataclass(frozen=True, kw_only=True)
class Job:
    """One image to make."""

    content: Path
    name: Path  # of the image, in the output folder; its suffix says what is written
    styles: tuple[Style, ...] = ()  # of files


@dataclass(frozen=True, kw_only=True)
class How:
    """What jobs have in common.

    Args:
        device: where to compute.
        background: colour under transparent images, as the method sees them and in a JPEG.
        batch_size: images at once; None is one on a CPU, and on an accelerator as many of one size
            as make about a megapixel. Images with styles go one by one.
        side: contents whose longer side is above it are scaled down to it; 0 keeps all sizes.
        colour: where colours come from, see `gan_style.maths.colour`.
        save_every: iterations between two intermediate images of an optimisation; 0 keeps none.
        resume: keep what is there already, made by the same of the same, and go on with the image
            that was interrupted.
        precision: what networks compute in.
        contents: the folder of them, where the output folder has its name from it and is for its
            images alone.
        alone: an image is given its file, beside which no table is written: what it was made by is
            in its EXIF data instead.
    """

    device: torch.device
    background: str = "white"
    batch_size: int | None = None
    side: int = 0
    colour: Colours = "style"
    save_every: int = 0
    resume: bool = False
    precision: Precision = "fp32"
    contents: Path | None = None
    alone: bool = False


def jobs_without_styles(content: Path, pattern: str = STEM) -> list[Job]:
    """A job an image of a folder, or of the one file; the pattern is of the files' names."""
    names = output_names(content)
    return [Job(content=path, name=called(pattern, name)) for path, name in names.items()]


def jobs_with_styles(
    content: Path,
    style: str,
    weights: str = "",
    content_masks: str = "",
    style_masks: str = "",
    pairs: Path | None = None,
    pattern: str = STEM,
) -> list[Job]:
    """Every content in every style, as <style>/<content>.png; or the pairs of a file.

    Args:
        content: image or folder.
        style: image or folder; or several images joined by commas, which are blended.
        weights: of blended styles, joined by commas.
        content_masks: where each of the blended styles goes; for a single content.
        style_masks: which part of each of the blended styles counts.
        pairs: CSV file with the columns content and style, paths in the two folders.
        pattern: of the files' names; one with the style needs no folders of styles.

    Raises:
        ConfigError: numbers of styles, weights and masks that don't match.
        DataError: a file or folder that isn't there or is empty, or two images of one name.
    """
    contents = output_names(content)
    if "," in style and not _exists(style):
        blended = style_files(entries(style), weights, content_masks, style_masks)
        styles = {blended: Path("+".join(each.image.stem for each in blended))}
    else:
        names = output_names(Path(style), "style")
        if weights:
            raise ConfigError(f"--style_weights is {weights!r}, but --style is not several images")
        if Path(style).is_file():
            blended = style_files([style], "", content_masks, style_masks)
            styles = {blended: Path(Path(style).stem)}
        elif content_masks or style_masks:
            raise ConfigError(f"masks are for single styles, but --style {style} is a folder")
        else:
            styles = {(Style(path),): n.with_suffix("") for path, n in names.items()}
    if content_masks and len(contents) > 1:
        raise ConfigError(
            f"--content_masks are for one content, but --content {content} has {len(contents)}"
        )
    if pairs is None:
        wanted = [(path, blend) for blend in styles for path in contents]
    else:
        blends = {blend[0].image: blend for blend in styles}
        paths = by_name(contents, content), by_name(blends, Path(style))
        found = [_pair(*paths, content, Path(style), pairs, row) for row in read_pairs(pairs)]
        wanted = [(path, blends[its]) for path, its in found]
    jobs = []
    for path, blend in dict.fromkeys(wanted):
        name = called(pattern, contents[path], styles[blend].name)
        folder = Path() if STYLE in pattern else styles[blend]
        jobs.append(Job(content=path, name=folder / name, styles=blend))
    for name, uses in Counter(job.name for job in jobs).items():
        if uses > 1:  # x/y.png is content y in style x, and y of a folder x of contents ...
            raise DataError(f"{uses} images would become {name}: rename a style or a content")
    return jobs


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # several names joined can be longer than a name may be
        return False


def _pair(
    contents: Mapping[str, Path],
    styles: Mapping[str, Path],
    content: Path,
    style: Path,
    pairs: Path,
    row: Mapping[str, str],
) -> tuple[Path, Path]:
    """The files of the content and the style that a row of `pairs` names."""
    found = []
    for folder, names, key in ((content, contents, "content"), (style, styles, "style")):
        path = found_in(names, folder, row[key] or "")
        if path is None and not (row[key] and _exists(str(folder / row[key]))):
            raise DataError(f"--pairs {pairs} names {row[key]!r}, which isn't in {folder}")
        found.append(path)
    path, its = found
    if path is None or its is None:  # no images, hidden, or behind ".."
        raise DataError(
            f"--pairs {pairs} names {row['content']!r} in {row['style']!r}, but these aren't both "
            f"among the images found in {content} and {style}"
        )
    return path, its


def check_sizes(method: Method, jobs: Sequence[Job], how: How) -> None:
    """Refuse, before anything starts, what memory or the kind of file can't hold.

    Raises:
        UserError: the first that is too large, with the --side that fits.
    """
    free = memory.free(how.device)

    @cache
    def size_of(path: Path) -> tuple[int, int]:
        width, height = image_size(path)
        return height, width

    @cache  # of many contents in many styles most have sizes that were met before
    def needed(size: tuple[int, int], styles: tuple[tuple[int, int], ...]) -> float:
        return method.bytes_for(padded_size(size, method.multiple, method.smallest), styles)

    for job in jobs:
        try:
            full = size_of(job.content)
            styles = tuple(size_of(style.image) for style in job.styles)
        except ImageError:  # what can't be read is told when its turn comes
            continue
        size = scaled_size(full, how.side)
        sides = range(max(size) // 16 * 16, 16, -16)
        of_kind, _, longest = WRITTEN[job.name.suffix.lower()]
        if max(size) > longest:
            raise UserError(
                f"{job.content} has {size[1]}x{size[0]} pixels, but a {of_kind} can't have sides "
                f"above {longest}: try --format png"
            )
        if needed(size, styles) <= free:
            continue
        fitting = [s for s in sides if needed(scaled_size(size, s), styles) <= free]
        remedy = f"try --side {fitting[0] if fitting else 16}"
        if styles and not fitting and needed(size, ()) <= free:
            sizes = " and ".join(f"{w}x{h}" for h, w in styles)
            remedy = f"scale the style down, which has {sizes} pixels"
        raise UserError(
            f"{job.content} at {size[1]}x{size[0]} pixels takes about "
            f"{needed(size, styles) / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free: {remedy}"
        )


def strokes(trained: Mapping[str, Any], jobs: Sequence[Job], how: How) -> str:
    """What to know of the scale of contents that are far from that of training; else empty.

    Args:
        trained: the options of a run's images: those of scale_shorter_and_crop were all scaled to
            one shorter side, so that what was learned is of that scale.
        jobs: with the contents; of SEEN of them the middle one counts.
        how: may scale them down.
    """
    if trained.get("preprocess") != "scale_shorter_and_crop":
        return ""
    learned = build(DataConfig, trained).scaled_shorter
    full: list[tuple[int, int]] = []
    for job in spread(jobs, SEEN):
        with suppress(ImageError):  # what can't be read is told when its turn comes
            width, height = image_size(job.content)
            full.append((height, width))
    sizes = [scaled_size(size, how.side) for size in full]
    if not sizes:
        return ""
    middle = sorted(sizes, key=min)[len(sizes) // 2]
    factor = min(middle) / learned
    if 1 / FAR <= factor <= FAR:
        return ""
    if factor < 1 and how.side:
        return (
            f"--side {how.side} makes contents of {middle[1]}x{middle[0]} pixels: the run was "
            f"trained at {learned} on the shorter side, so strokes come out large; "
            f"--side {round(max(middle) / factor)} has them as in training"
        )
    if factor < 1:
        return (
            f"contents of {middle[1]}x{middle[0]} pixels: the run was trained at {learned} on the "
            "shorter side, so strokes come out large; enlarge the contents for finer ones"
        )
    return (
        f"contents of {middle[1]}x{middle[0]} pixels: the run was trained at {learned} on the "
        f"shorter side, so strokes come out fine; --side {round(max(middle) / factor)} has them "
        "as in training"
    )


@dataclass(frozen=True, kw_only=True)
class Made:
    """What came of jobs."""

    kept: int  # that were there, made by the same of the same
    again: int  # that were there, or half of them, but made by something else
    bad: list[ImageError]  # what couldn't be read; everything else is written


def translate_files(
    method: Method,
    jobs: Sequence[Job],
    out: Path,
    how: How,
    options: dict[str, Any],
    weights: Mapping[str, str] | None = None,
    overwrite: bool = False,
    notes: dict[str, None] | None = None,
) -> Made:
    """Do every job: images under `out`, a row of each in `<out>/times.csv`.

    What is transparent in a content is so in its translation, and its dots per inch are kept.

    times.csv has name, width, height, and the seconds of the image's batch divided by the images in
    it, from the tensor in memory to the tensor in memory. It only grows: the last row of a name is
    that of the image there. So does `<out>/.made_by.csv`, by which `how.resume` knows what was made
    by the same method, options and weights of the same images. With `how.alone` there is neither.

    Args:
        method: on the device, with its weights.
        jobs: what to make.
        out: output folder.
        how: what jobs have in common.
        options: of the method, which the state of an interrupted optimisation is compared with.
        weights: of a run, network -> the SHA-256 of these; published ones are known by the method.
        overwrite: with `how.resume`, images of which nothing says what made them are made again.
        notes: gets what of the images isn't read, each once, for the user.

    Raises:
        DataError: with `how.resume` and not `overwrite`, images of which nothing says what made
            them; or a times.csv that is none.
    """
    bad: list[ImageError] = []
    forget_read()  # a style may have been painted on since the last call
    digests = _digests(method, how, options, weights or {})
    waiting = _waiting(jobs, out, how, digests, overwrite) if how.resume else list(jobs)
    again = {out / job.name for job in waiting if how.resume and (out / job.name).exists()}
    for name, columns in ((MADE_BY, MADE), ("times.csv", TIMES)) if not how.alone else ():
        _check_header(out / name, columns)
    written = 0
    pictures = isinstance(method, OptimisedMethod)  # each of which has a bar of its own
    with Bar(
        total=len(jobs), initial=len(jobs) - len(waiting), unit=" images",
        delay=0 if pictures else 2, disable=pictures and len(jobs) == 1,
    ) as bar:  # fmt: skip
        try:
            for batch in _batches(waiting, how, method.grey, bad, {} if notes is None else notes):
                names = [str(item.job.name) for item in batch]
                started = devices.now(how.device)
                with memory.explained(batch[0].job.content):
                    images = _translate(method, batch, out, how, options, again)
                seconds = (devices.now(how.device) - started) / len(batch)
                # Two rows of each: what is cut off between them is made again.
                if how.contents and not written:
                    _append(out / MADE_BY, MADE, [(WHOLE, str(how.contents.resolve()))])
                if not how.alone:
                    _append(out / MADE_BY, MADE, ((name, "") for name in names))
                for item, image in zip(batch, images, strict=True):
                    job = item.job
                    maker = digests(job) if how.alone else ""
                    save_image(image, out / job.name, item.alpha, item.dpi, how.background, maker)
                    optimisation.forget(out / job.name)
                if not how.alone:
                    made = (digests(item.job) for item in batch)
                    _append(out / MADE_BY, MADE, zip(names, made, strict=True))
                    sizes = [(image.shape[1], image.shape[0], f"{seconds:.4f}") for image in images]
                    rows = ((name, *size) for name, size in zip(names, sizes, strict=True))
                    _append(out / "times.csv", TIMES, rows)
                written += len(batch)
                bar.update(len(batch))
        except Interrupted:
            raise
        except UserError as error:
            if not written:
                raise
            raise type(error)(
                f"{error} (together with --resume, as {written} of the images are written)"
            ) from error
    return Made(kept=len(jobs) - len(waiting), again=len(again), bad=bad)


def _digests(
    method: Method, how: How, options: Mapping[str, Any], weights: Mapping[str, str]
) -> Callable[[Job], str]:
    """What an image is made by and of, as a few letters: no matter where files lie or are called.

    Batches and devices aren't in it: they change an image by rounding, if at all.
    """
    common = [
        gan_style.__version__, type(method).__module__, dict(options), dict(weights),
        how.background, how.side, how.colour, how.precision,
    ]  # fmt: skip

    @cache
    def content(path: Path | None) -> str:
        # What can't be read is told when its turn comes; a pipe would be waited for.
        return sha256_of(path) if path and path.is_file() else ""

    def digest(job: Job) -> str:
        styles = [
            (content(s.image), s.weight, content(s.content_mask), content(s.style_mask))
            for s in job.styles
        ]
        made_of = [*common, content(job.content), styles]
        return hashlib.sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()

    return digest


def _waiting(
    jobs: Sequence[Job], out: Path, how: How, digests: Callable[[Job], str], overwrite: bool
) -> list[Job]:
    """Jobs whose image isn't there, isn't finished, or was made by or of something else."""
    there = {job.name for job in jobs if (out / job.name).exists()}
    if how.alone:
        known = {str(name): maker for name in there if (maker := maker_of(out / name))}
    else:
        known = _made_by(out)
    strange = sorted(name for name in there if str(name) not in known)
    if strange and not overwrite:
        raise DataError(
            f"{out} holds {len(strange)} of these images of which nothing says what made them, "
            f"such as {strange[0]}: --overwrite makes them again, or give another --out"
        )
    return [
        job
        for job in jobs
        if job.name not in there
        or optimisation.is_under_way(out / job.name)
        or known.get(str(job.name)) != digests(job)
    ]


def _made_by(out: Path) -> dict[str, str]:
    """Name of each image that `translate_files` wrote here -> what it was made by."""
    path = out / MADE_BY
    if not path.exists():
        return {}
    try:
        text = read_bytes(path, TABLE).decode("utf-8", "surrogateescape")
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if len(row) == len(MADE)]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} can't be read: {error}; remove it") from error
    return dict(rows)  # the last row of a name is in force


def refuse_other_contents(out: Path, contents: Path) -> None:
    """Refuse to mix images of one folder with those of another that is called the same.

    A folder that is there no more was moved, or was on another machine.

    Raises:
        DataError: `out` has images of another folder.
    """
    before = _made_by(out).get(WHOLE)
    if before and Path(before) != contents.resolve() and _exists(before):
        raise DataError(
            f"{out} has the images made of {before}, not of {contents}: give another folder as "
            "--out, or this one to have both in it"
        )


def _check_header(path: Path, columns: Sequence[str]) -> None:
    """Refuse to add rows to a file that isn't of these columns, before anything is made."""
    if not path.exists() and not path.is_symlink():
        return
    try:
        if path.is_symlink() or not path.is_file():  # a link would be written through
            raise ValueError("it is no file")
        with path.open("rb") as file:
            first = file.readline(1000)
        if first and first.rstrip(b"\r\n") != ",".join(columns).encode():
            raise ValueError(f"it doesn't begin with {','.join(columns)}")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is none of ours: {error}; remove it") from error


def _append(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Add rows to a table, which is begun with its header; a last row that was cut off is ended."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with explained(path), path.open("a+b") as file:
        size = file.seek(0, io.SEEK_END)
        if not size:
            file.write((",".join(columns) + "\r\n").encode())
        else:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                file.write(b"\r\n")
        file.write(text.getvalue().encode("utf-8", "surrogateescape"))


@dataclass(frozen=True, kw_only=True)
class _Item:
    """A job and its content, scaled: colours (H, W, 3) and opacity (H, W), uint8."""

    job: Job
    array: np.ndarray
    alpha: np.ndarray | None
    dpi: tuple[float, float] | None


def _translate(
    method: Method,
    batch: Sequence[_Item],
    out: Path,
    how: How,
    options: dict[str, Any],
    again: set[Path],
) -> list[np.ndarray]:
    """Images uint8 (H, W, 3) of one size -> the same; `again` as that of `optimise`."""
    arrays = [item.array for item in batch]
    job = batch[0].job
    if not job.styles:
        return translate_arrays(method, arrays, how.device, how.precision)

    def optimised(
        content: Tensor, styles: list[Style], finish: Callable[[Tensor], Tensor]
    ) -> Tensor:
        assert isinstance(method, OptimisedMethod)
        made_by = {**options, "colour": how.colour, "precision": how.precision}
        return optimisation.optimise(
            method, content, styles, out / job.name, made_by, how.save_every, how.resume, finish,
            again,
        )  # fmt: skip

    make = optimised if isinstance(method, OptimisedMethod) else None
    size = arrays[0].shape[:2]
    content = to_padded(arrays[0], method, how.device)
    image = translate_styled(
        method, content, size, job.styles, how.background, how.colour, how.precision, make
    )
    return [from_tensor(image[0])[: size[0], : size[1]]]


Make = Callable[[Tensor, list[Style], Callable[[Tensor], Tensor]], Tensor]


def translate_styled(
    method: Method,
    content: Tensor,
    size: tuple[int, int],
    styles: Sequence[Style],
    background: str,
    colours: Colours,
    precision: Precision,
    make: Make | None = None,
) -> Tensor:
    """Images (N, 3, H, W), RGB in [0, 1] -> float32 of the same, in styles.

    Args:
        method: takes styles.
        content: on the device, padded as the method needs it.
        size: (height, width) of the content before it was padded.
        styles: at least one.
        background: shows where a style is transparent.
        colours: where they come from.
        precision: what networks compute in.
        make: makes the image of content and styles, in place of the method's `translate`; is also
            given what is still to be done to an image before it can be looked at.
    """
    there = [
        read_style(each, size, background, method.multiple, method.smallest).to(content.device)
        for each in styles
    ]
    seen, matched = colour.before(colours, content, [style.image for style in there])
    there = [replace(s, image=image) for s, image in zip(there, matched, strict=True)]

    def finish(image: Tensor) -> Tensor:
        return colour.after(colours, image, content)

    with torch.no_grad():  # not inference_mode: methods that optimise pixels need autograd inside
        if make is None:
            image = translate(method, seen, there, precision)
        else:
            with autocast(precision, content.device):
                image = make(seen, there, finish)
        return finish(image)


def translate(method: Method, content: Tensor, styles: Styles, precision: Precision) -> Tensor:
    """Images (N, 3, H, W), RGB in [0, 1] -> float32 of the same, in one call of the method."""
    content = content.contiguous(memory_format=memory_format(precision))
    with torch.no_grad(), autocast(precision, content.device):
        return method.translate(content, styles).float()


def translate_arrays(
    method: Method, arrays: Sequence[np.ndarray], device: torch.device, precision: Precision
) -> list[np.ndarray]:
    """Images uint8 (H, W, 3) of one size -> the same, by a method that takes no style."""
    padded = torch.cat([to_padded(array, method, device) for array in arrays])
    height, width = arrays[0].shape[:2]
    images = translate(method, padded, None, precision)
    return [from_tensor(image)[:height, :width] for image in images]


def to_padded(array: np.ndarray, method: Method, device: torch.device) -> Tensor:
    """(H, W, 3) -> (1, 3, H', W') of a size that the method takes."""
    return to_tensor(pad(array, method.multiple, method.smallest))[None].to(device)


def _batches(
    jobs: Sequence[Job], how: How, grey: bool, bad: list[ImageError], notes: dict[str, None]
) -> Iterator[list[_Item]]:
    """Neighbouring jobs of one size together, with styles one by one; `bad` gets the unreadable."""

    def readable() -> Iterator[_Item]:
        for job in jobs:
            try:
                picture = read_picture(job.content, how.background)
                styles = [read_once(style.image, how.background) for style in job.styles]
            except ImageError as error:
                bad.append(error)
                continue
            notes.update({each.note: None for each in (picture, *styles) if each.note})
            image = to_grey(picture.image) if grey else picture.image
            size = scaled_size((image.height, image.width), how.side)
            yield _Item(
                job=job,
                array=resize(to_array(image), size),
                alpha=None if picture.alpha is None else resize(np.array(picture.alpha), size),
                dpi=picture.dpi,
            )

    for (height, width, _), same in groupby(readable(), key=lambda item: item.array.shape):
        most = 1 if how.device.type == "cpu" else max(1, PIXELS_A_BATCH // (height * width))
        batch: list[_Item] = []
        for item in same:
            batch.append(item)
            if item.job.styles or len(batch) == (how.batch_size or most):
                yield batch
                batch = []
        if batch:
            yield batch
