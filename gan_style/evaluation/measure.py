"""Folders of translations in, numbers out: every metric, by whichever program the images are made.

All images of an evaluation are scaled to squares of one size first, whatever their shape, as the
loaders of the GANs and the programs of the FID do it: content and translation stay aligned, and
metrics whose numbers hang on the size stay comparable.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from scipy import stats
from torch import Tensor, nn

import gan_style
from gan_style import devices, runs
from gan_style.config import did_you_mean
from gan_style.data.images import (
    ImageError,
    list_images,
    read_in_part,
    read_picture,
    resize,
    same,
    to_array,
    to_tensor,
    without_images,
)
from gan_style.data.pairs import (
    STEM,
    STYLE,
    by_name,
    called,
    check_pattern,
    found_in,
    output_files,
    output_names,
    read_pairs,
    stem_in,
)
from gan_style.errors import ConfigError, DataError, printable
from gan_style.evaluation import metrics
from gan_style.evaluation.metric import DerivedMetric, PairMetric, SetMetric
from gan_style.evaluation.metrics import Column, _features, kid
from gan_style.io.downloads import sha256_of
from gan_style.io.files import atomic_file, listed
from gan_style.progress import Bar
from gan_style.weights import WeightsError

T = TypeVar("T")
LIBRARIES = (*runs.LIBRARIES, "torchmetrics", "scipy")
RESAMPLES = 2000  # of the bootstrap
HALVES = 25  # random ones of two collections, for the spread of their distance
SIGMAS = 1.96  # of a normal distribution's 95 %
WITHOUT = "weights missing"
SHOWN = 3  # examples in a message
ALL = "all"
RESHAPED = 0.02  # difference of two aspects from which on the shapes are said to differ


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A translation and what it may be compared with."""

    name: str
    translated: Path
    content: Path
    style: Path | None = None
    truth: Path | None = None
    reconstruction: Path | None = None

    def sides(self, column: Column) -> tuple[Path, Path] | None:
        """The two images that a metric of pairs compares; None where one isn't there."""
        if column.against == "reconstruction":
            ours, other = self.reconstruction, self.content
        else:
            ours, other = self.translated, getattr(self, column.against)
        return (ours, other) if ours and other else None


@dataclass(frozen=True, kw_only=True)
class How:
    """What all numbers of an evaluation have in common.

    Args:
        device: where to compute.
        size: side in pixels that every image is scaled to.
        seed: of the bootstrap, and of the subsets that the spread of a distance is of.
        batch_size: images at once; it changes no number but by rounding.
        workers: threads that read images.
        background: colour under transparent images.
    """

    device: torch.device
    size: int = 256
    seed: int = 0
    batch_size: int = 1
    workers: int = 2
    background: str = "white"


@dataclass
class Seen:
    """What was met in the images of an evaluation."""

    bad: dict[Path, ImageError] = field(default_factory=dict)  # left out
    shapes: dict[Path, tuple[int, int]] = field(default_factory=dict)  # upright (height, width)
    notes: dict[Path, str] = field(default_factory=dict)  # of what is read in part


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured of a folder of translations.

    Args:
        record: what metrics.json holds: `values`, by what they were computed, and how.
        columns: what each number is.
        samples: the translations, and what they were compared with.
        contents: how many there are, translated or not.
        seen: what was met in the images.
    """

    record: dict[str, Any]
    columns: Mapping[str, Column]
    samples: Sequence[Sample]
    contents: int
    seen: Seen

    @property
    def values(self) -> dict[str, dict[str, Any]]:
        """Name of a metric -> its `value`, and where it has an uncertainty `low` and `high`.

        Or `missing`: why it wasn't computed.
        """
        return dict(self.record["values"])


Folder = str | os.PathLike[str]


def evaluate(
    translated: Folder,
    content: Folder,
    *,
    style: Folder | None = None,
    collection: Folder | None = None,
    pairs: Folder | None = None,
    truth: Folder | None = None,
    reconstructed: Folder | None = None,
    metrics: Sequence[str] = (),
    size: int = 256,
    seed: int = 0,
    batch_size: int | None = None,
    workers: int = 2,
    device: str = "",
    features: Folder | None = None,
    pattern: str = STEM,
) -> Evaluation:
    """Measure a folder of translations, by whichever program they were made; writes no file.

        found = evaluate("results/photo2monet", "photos", collection="data/monet2photo/testA")
        found.values["kid"]["value"]

    Args:
        translated: folder of the translations.
        content: folder of the images that they were made from.
        style: the style image of all of them; or a folder of the styles that `pairs` or the names
            of the translations name.
        collection: folder of the target collection.
        pairs: CSV file with the columns content and style, paths in the two folders.
        truth: folder of true translations, called as the contents.
        reconstructed: folder of translations of the translations, back to the contents' side.
        metrics: names, as `python -m gan_style metrics` lists them; all when empty.
        size: side in pixels of the squares that all images are scaled to.
        seed: of the bootstrap, and of the subsets that the spread of a distance is of.
        batch_size: images at once; 1 on a CPU and 16 on an accelerator when not given.
        workers: threads that read images.
        device: cpu, cuda, cuda:1; cuda where there is one when not given.
        features: folder where the collection's features are kept for the next time.
        pattern: what translations are called, such as "{stem}_fake".

    Raises:
        ConfigError: an unknown metric, or a device without float64.
        DataError: a folder that isn't there, or without images that belong together.
    """
    check_pattern(pattern)
    columns = choose(metrics)
    samples = match(
        Path(translated), Path(content), _path(style), _path(pairs), _path(truth),
        _path(reconstructed), pattern,
    )  # fmt: skip
    place = devices.with_float64(devices.find(device))
    how = How(
        device=place,
        size=size,
        seed=seed,
        batch_size=batch_size or (1 if place.type == "cpu" else 16),
        workers=workers,
    )
    real = list_images(Path(collection)) if collection else []
    contents = list(output_names(Path(content), "content"))
    if collection and not real:
        raise DataError(f"--collection {collection}: {without_images(Path(collection))}")
    seen = Seen()
    values = compute(samples, real, columns, how, _path(features), seen)
    record = {
        "made_by": made_by(place),
        "protocol": protocol(how, samples, real, contents, seen),
        "metrics": {key: describe(column) for key, column in columns.items()},
        "names": [sample.name for sample in samples],
        "values": values,
    }
    return Evaluation(
        record=record, columns=columns, samples=samples, contents=len(contents), seen=seen
    )


def _path(folder: Folder | None) -> Path | None:
    return None if folder is None else Path(folder)


def choose(names: Sequence[str]) -> dict[str, Column]:
    """The columns of these names, and those that they are made of; all for none, or for `all`.

    Raises:
        ConfigError: an unknown name.
    """
    every = metrics.columns()
    names = () if ALL in names else names
    for name in names:
        if name not in every:
            raise ConfigError(f"--metrics has {name!r}: {did_you_mean(name, [*every, ALL])}")
    wanted = {part for name in names for part in (name, *_made_of(every[name]))}
    return {key: column for key, column in every.items() if not names or key in wanted}


def _made_of(column: Column) -> tuple[str, ...]:
    kind = metrics.load(column.metric).Metric
    return kind.of if issubclass(kind, DerivedMetric) else ()


def match(
    translated: Path,
    content: Path,
    style: Path | None = None,
    pairs: Path | None = None,
    truth: Path | None = None,
    reconstructed: Path | None = None,
    pattern: str = STEM,
) -> list[Sample]:
    """Find for every translation, by its name, what it was made from.

    x.png is the translation of the content x; y/x.png may also be that of x in the style y, as
    `translate` writes them. A single style image is everybody's. With `pairs`, these are what is
    looked for: all of them in the one way, or all in the other. With another `pattern` these are
    the names that the pattern makes, and images that it doesn't fit are none of the translations.

    Raises:
        DataError: folders that are empty or don't belong together, with examples.
    """
    made = output_files(translated, "translated")
    contents = output_files(content, "content")
    styles = output_files(style, "style") if style else {}
    if pattern != STEM:
        made = _named_by(pattern, made, contents, styles, translated)
    only_style = style if style and style.is_file() else None
    extra = {
        "truth": output_files(truth, "truth") if truth else {},
        "reconstruction": output_files(reconstructed, "reconstructed") if reconstructed else {},
    }
    found: list[tuple[str, str, Path | None]]
    if pairs:
        found = _of_pairs(pairs, made, content, contents, style, only_style)
    else:
        found = _of_names(made, translated, contents, content, styles, only_style)
    samples = []
    for name, origin, chosen in found:
        # Of a reconstruction the name is the translation's; of the truth, the content's.
        keys = {"truth": origin, "reconstruction": name}
        if name not in extra["reconstruction"]:  # or, of a pattern, the file's own
            keys["reconstruction"] = same(
                made[name].relative_to(translated).with_suffix(".png").as_posix()
            )
        others = {key: _of(files, keys[key], key) for key, files in extra.items() if files}
        samples.append(
            Sample(
                name=name,
                translated=made[name],
                content=contents[origin],
                style=chosen,
                **others,
            )
        )
    return samples


def _of(files: Mapping[str, Path], name: str, folder: str) -> Path:
    if name not in files:
        raise DataError(f"--{folder} has no {name}, which --translated has")
    return files[name]


def _named_by(
    pattern: str,
    made: Mapping[str, Path],
    contents: Mapping[str, Path],
    styles: Mapping[str, Path],
    translated: Path,
) -> dict[str, Path]:
    """The images whose names a pattern makes, by the names that `translate` would give them."""
    found: dict[str, Path] = {}
    if STYLE in pattern:
        for style in styles:
            stem = Path(style).stem
            for content in contents:
                name = same(called(pattern, Path(content), stem).as_posix())
                if name not in made:
                    continue
                if made[name] in found.values():
                    raise DataError(
                        f"--pattern {pattern} makes {name} of two pairs: rename a style"
                    )
                found[f"{Path(style).with_suffix('').as_posix()}/{content}"] = made[name]
    else:
        for name, path in made.items():
            if origin := stem_in(pattern, Path(name).stem):
                found[Path(name).with_name(f"{origin}.png").as_posix()] = path
    if not found:
        need = " of a content and a style" if STYLE in pattern else ""
        raise DataError(
            f"none of {len(made)} images in --translated {translated} is called as --pattern "
            f"{pattern} says{need}, such as {', '.join(list(made)[:SHOWN])}"
        )
    return found


def _of_names(
    made: Mapping[str, Path],
    translated: Path,
    contents: Mapping[str, Path],
    content: Path,
    styles: Mapping[str, Path],
    only_style: Path | None,
) -> list[tuple[str, str, Path | None]]:
    found: list[tuple[str, str, Path | None]] = []
    strangers = []
    for name in made:
        if name in contents:
            found.append((name, name, only_style))
            continue
        parts = name.split("/")
        splits = (("/".join(parts[:i]), "/".join(parts[i:])) for i in range(1, len(parts)))
        fitting = [(s, c) for s, c in splits if c in contents and f"{s}.png" in styles]
        if fitting:
            found.append((name, fitting[0][1], styles[f"{fitting[0][0]}.png"]))
        else:
            strangers.append(name)
    if strangers:
        raise DataError(
            f"{len(strangers)} of {len(made)} images in --translated {translated} have no content "
            f"of their name in {content}, such as {', '.join(strangers[:SHOWN])}: name them as the "
            "contents, or <style>/<content>, or say by --pattern '{stem}_fake' what they are called"
        )
    return found


def _of_pairs(
    pairs: Path,
    made: Mapping[str, Path],
    content: Path,
    contents: Mapping[str, Path],
    style: Path | None,
    only_style: Path | None,
) -> list[tuple[str, str, Path | None]]:
    content_names = {path: name for name, path in contents.items()}
    style_names = output_names(style, "style") if style and not only_style else {}
    files = by_name(content_names, content), by_name(style_names, style or content)
    wanted: list[tuple[str, str, Path | None]] = []  # name in its style's folder, content, style
    rows = read_pairs(pairs)
    for row in rows:
        path, its_style = found_in(files[0], content, row["content"] or ""), None
        if style and not only_style:
            its_style = found_in(files[1], style, row["style"] or "")
        if path is None or (style_names and its_style is None):
            raise DataError(
                f"--pairs {pairs} names {row['content']!r} in {row['style']!r}, but these aren't "
                f"both among the images of {content} and {style}"
            )
        origin = name = content_names[path]
        if its_style is not None:
            name = same((style_names[its_style].with_suffix("") / origin).as_posix())
        wanted.append((name, origin, only_style or its_style))
    # One layout for all: a content may itself lie in a folder that is called as a style.
    flat = [(origin, origin, its_style) for _, origin, its_style in wanted]
    missing = {
        layout: [name for name, *_ in layout_of if name not in made]
        for layout, layout_of in (("<style>/<content>", wanted), ("<content>", flat))
    }
    if not missing["<content>"]:
        return flat
    if not missing["<style>/<content>"]:
        return wanted
    layout, names = min(missing.items(), key=lambda item: len(item[1]))
    raise DataError(
        f"{len(names)} of {len(rows)} pairs have no translation called {layout}, such as "
        f"{', '.join(names[:SHOWN])}"
    )


def compute(
    samples: Sequence[Sample],
    collection: Sequence[Path],
    columns: Mapping[str, Column],
    how: How,
    cache: Path | None = None,
    seen: Seen | None = None,
) -> dict[str, Any]:
    """Every column's number, or why it has none. Images that can't be read are left out.

    Args:
        samples: translations and their counterparts.
        collection: images of the target, which all translations together are compared with; none
            leaves the metrics of collections out.
        columns: what to compute.
        how: size, seed, device.
        cache: folder where features of the collection are kept for the next time.
        seen: is told what was left out, and the images' shapes.

    Returns:
        Key of each column -> `value`, perhaps `low` and `high` (95 %), `images`, of pairs `each`,
        and what else the metric says; or `missing`, the reason.

    Raises:
        DataError: memory has no room for an image.
    """
    seen = seen or Seen()
    values: dict[str, dict[str, Any]] = {}
    kinds = {key: metrics.load(column.metric).Metric for key, column in columns.items()}
    pairs = {key: columns[key] for key, kind in kinds.items() if issubclass(kind, PairMetric)}
    sets = {key: columns[key] for key, kind in kinds.items() if issubclass(kind, SetMetric)}
    values |= _evaluate_pairs(samples, pairs, how, seen)
    values |= _evaluate_sets(samples, collection, sets, how, cache, seen)
    for key, kind in kinds.items():
        if issubclass(kind, DerivedMetric):
            values[key] = _derived(columns[key], values)
    return {key: values[key] for key in columns}


def _evaluate_pairs(
    samples: Sequence[Sample], columns: Mapping[str, Column], how: How, seen: Seen
) -> dict[str, dict[str, Any]]:
    """Metrics of pairs: each network is read once, each image once for all of them."""
    values: dict[str, dict[str, Any]] = {}
    ready: dict[str, PairMetric] = {}
    made: dict[str, PairMetric] = {}
    for key, column in columns.items():
        if not any(sample.sides(column) for sample in samples):
            values[key] = {"missing": MISSING[column.against]}
            continue
        try:
            if column.metric not in made:
                made[column.metric] = metrics.load(column.metric).Metric().to(how.device).eval()
            ready[key] = made[column.metric]
        except WeightsError as error:
            values[key] = {"missing": _without_weights(error)}
    each: dict[str, list[float | None]] = {key: [] for key in ready}

    def needed(sample: Sample) -> list[Path]:
        return [path for key in ready for path in sample.sides(columns[key]) or ()]

    with _bar(len(samples), "pairs") as bar:
        for batch, images in _batches(samples if ready else [], needed, how, seen):
            for key, metric in ready.items():
                each[key] += _of_batch(metric, columns[key], batch, images, how)
            bar.update(len(batch))
    for key, numbers in each.items():
        known = any(number is not None for number in numbers)
        values[key] = _mean(numbers, how.seed) if known else {"missing": UNREADABLE}
    return values


UNREADABLE = "not computed (its images can't be read)"
MISSING = {
    "collection": "not computed (no collection: give --collection DIR, or --style DIR)",
    "content": "not computed (no contents)",
    "style": "not computed (no style images: give --style FILE, or --pairs with --style DIR)",
    "reconstruction": "not computed (nothing was translated back: give --reconstructed DIR)",
    "truth": "not computed (there are no true translations: give --truth DIR)",
}


def _without_weights(error: Exception) -> str:
    return f"not computed ({WITHOUT}: {error})"


def _of_batch(
    metric: PairMetric,
    column: Column,
    batch: Sequence[Sample],
    images: Mapping[Path, Tensor],
    how: How,
) -> list[float | None]:
    named = [sample.sides(column) for sample in batch]
    sides = [pair if pair and set(pair) <= images.keys() else None for pair in named]
    known = [pair for pair in sides if pair]
    if not known:
        return [None] * len(batch)
    ours, others = (
        torch.stack([images[path] for path in paths]).to(how.device)
        for paths in zip(*known, strict=True)
    )
    numbers = iter(metric(ours, others).tolist())
    return [next(numbers) if pair else None for pair in sides]


def _mean(each: Sequence[float | None], seed: int) -> dict[str, Any]:
    """The mean and its 95 % bootstrap interval, over the images: Efron 1979, percentiles."""
    numbers = [number for number in each if number is not None]
    entry: dict[str, Any] = {"value": float(np.mean(numbers)), "images": len(numbers)}
    if len(numbers) > 1:
        interval = stats.bootstrap(
            (numbers,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=seed
        ).confidence_interval
        entry |= {"low": float(interval.low), "high": float(interval.high)}
    return {**entry, "each": list(each)}


def _evaluate_sets(
    samples: Sequence[Sample],
    collection: Sequence[Path],
    columns: Mapping[str, Column],
    how: How,
    cache: Path | None,
    seen: Seen,
) -> dict[str, dict[str, Any]]:
    """Metrics of collections, by the features that they are of."""
    if not collection:
        return {key: {"missing": MISSING["collection"]} for key in columns}
    values: dict[str, dict[str, Any]] = {}
    read_earlier = False
    translated = list(dict.fromkeys(sample.translated for sample in samples))
    for features in dict.fromkeys(column.features for column in columns.values()):
        of_these = {k: column for k, column in columns.items() if column.features == features}
        try:
            net = _features.extractor(features).to(how.device)
        except WeightsError as error:
            values |= {key: {"missing": _without_weights(error)} for key in of_these}
            continue
        ours = extract(net, translated, how, f"{features} features of translations", seen)
        kept = cache / f"{_fingerprint(features, collection, how)}.safetensors" if cache else None
        theirs = _read_features(kept, (len(collection), ours.shape[1]))
        if theirs is None:
            theirs = extract(net, collection, how, f"{features} features of the collection", seen)
            _write_features(theirs, kept)
        else:
            read_earlier = True
        if not len(ours) or not len(theirs):
            values |= {key: {"missing": UNREADABLE} for key in of_these}
            continue
        values |= {key: _distance(column, ours, theirs, how) for key, column in of_these.items()}
    if read_earlier:  # which said it then
        seen.notes |= read_in_part(path for path in collection if path not in seen.shapes)
    return values


def extract(net: nn.Module, paths: Sequence[Path], how: How, what: str, seen: Seen) -> Tensor:
    """Features (M, D) of the readable images, on the CPU; `what` they are is said by the bar."""
    rows = []
    with _bar(len(paths), what) as bar, torch.inference_mode():
        for batch, images in _batches(paths, lambda path: [path], how, seen):
            if images:
                rows.append(net(torch.stack(list(images.values())).to(how.device)).cpu())
            bar.update(len(batch))
    return torch.cat(rows) if rows else torch.empty(0, 0)


def _fingerprint(features: str, paths: Sequence[Path], how: How) -> str:
    """What features depend on, as a name."""
    parts = [gan_style.__version__, features, str(how.size), how.background]
    hashes = list(map(checksum, paths))
    return f"{features}-{hashlib.sha256(' '.join(parts + hashes).encode()).hexdigest()[:16]}"


def checksum(path: Path) -> str:
    """Of a file's content; "" of what can't be read, which is told when it is loaded."""
    with suppress(OSError):
        return sha256_of(path) if path.is_file() else ""  # a link to nowhere or a pipe isn't
    return ""


def _read_features(path: Path | None, shape: tuple[int, int]) -> Tensor | None:
    """What `_write_features` wrote; None where there is nothing, or something else."""
    if not path or not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            if tuple(file.get_slice("features").get_shape()) != shape:
                return None
            features: Tensor = file.get_tensor("features")
    except (OSError, SafetensorError):
        return None
    return features if features.dtype == torch.float32 and features.isfinite().all() else None


def _write_features(features: Tensor, path: Path | None) -> None:
    if path:
        with atomic_file(path) as partial:
            save_file({"features": features.clone()}, partial)


def _distance(column: Column, ours: Tensor, theirs: Tensor, how: How) -> dict[str, Any]:
    """A metric's numbers; the interval is of its deviation, as for any sum of many terms."""
    metric: SetMetric = metrics.load(column.metric).Metric()
    try:
        entry = metric.distance(ours, theirs, how.seed)
    except DataError as error:  # too few images
        return {"missing": f"not computed ({error})"}
    if "std" not in entry:
        with suppress(DataError):  # too few for halves
            entry["std"] = _deviation(metric, ours, theirs, how.seed, column.title)
    if entry.get("std"):  # where all halves are at the same end of a range they say nothing
        margin = SIGMAS * entry["std"]
        entry |= within(column, entry["value"] - margin, entry["value"] + margin)
    return {key: int(value) if key == "images" else value for key, value in entry.items()}


def within(column: Column, low: float, high: float) -> dict[str, float]:
    """The part of an interval in the metric's range.

    What lies outside is no possible value, so that the part holds the true one as often as the
    whole does (Mandelkern 2002, Setting confidence intervals for bounded parameters). Intervals on
    the scale of a logarithm or logit stay inside too, but of few images, with deviations as large
    as the value, they end at thousands of times it, and at 0 or 1 there are none. Resampling with
    replacement won't do: images that come twice make FID and recall other numbers.
    """
    least, most = column.info.range
    return {"low": max(low, least), "high": min(high, most)}


def _deviation(metric: SetMetric, ours: Tensor, theirs: Tensor, seed: int, title: str) -> float:
    """The standard deviation of a distance, were the images drawn anew.

    Its spread over random halves of both collections: the delete-d jackknife of Shao and Wu 1989,
    as for KID (metrics/kid.py), and too wide where a half has more images than its subsets. It
    tells nothing of a bias by the number of images.
    """
    random = torch.Generator().manual_seed(seed)

    def half(features: Tensor) -> Tensor:
        return features[kid.subset(len(features), random)]

    with _bar(HALVES, f"{title}, its deviation", " halves") as bar:
        found = []
        for _ in range(HALVES):
            found.append(metric.distance(half(ours), half(theirs), seed)["value"])
            bar.update()
    return float(np.std(found, ddof=1))


def _derived(column: Column, values: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """A metric of other metrics' values, with what these say of the number of images.

    Its interval takes their errors for independent: each end is as far from the value as the
    distances that it moves by when one of them is put to that end of its own interval, squared and
    added, as in Zou and Donner 2008, Construction of confidence limits about effect measures.
    """
    metric: DerivedMetric = metrics.load(column.metric).Metric()
    for name in metric.of:
        if "value" not in values.get(name, {}):
            reason = values.get(name, {}).get("missing", "not among --metrics")
            return {"missing": f"not computed (it needs {name}: {reason})"}
    parts = {name: values[name] for name in metric.of}
    numbers = {name: part["value"] for name, part in parts.items()}
    value = metric.value(numbers)
    entry = {"value": value, "images": min(part["images"] for part in parts.values())}
    if any(part.get("few") for part in parts.values()):
        entry["few"] = 1.0
    if all("low" in part for part in parts.values()):
        below, above = (
            [metric.value({**numbers, name: parts[name][end]}) - value for name in parts]
            for end in ("low", "high")
        )
        low, high = value - float(np.linalg.norm(below)), value + float(np.linalg.norm(above))
        entry |= within(column, low, high)
    return entry


def _batches(
    items: Sequence[T], paths_of: Callable[[T], Iterable[Path]], how: How, seen: Seen
) -> Iterator[tuple[Sequence[T], dict[Path, Tensor]]]:
    """Items with the images of their paths, which are read ahead by threads; without bad ones."""

    def read(batch: Sequence[T]) -> dict[Path, Tensor]:
        images = {}
        for path in dict.fromkeys(path for item in batch for path in paths_of(item)):
            try:
                images[path], seen.shapes[path], note = read_square(path, how)
                if note:
                    seen.notes[path] = note
            except ImageError as error:
                seen.bad[path] = error
        return images

    batches = [items[i : i + how.batch_size] for i in range(0, len(items), how.batch_size)]
    with ThreadPoolExecutor(how.workers) as pool:
        waiting: deque[tuple[Sequence[T], Future[dict[Path, Tensor]]]] = deque()
        for batch in batches:
            waiting.append((batch, pool.submit(read, batch)))
            if len(waiting) > how.workers:
                done, future = waiting.popleft()
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()


def read_square(path: Path, how: How) -> tuple[Tensor, tuple[int, int], str]:
    """(3, size, size) in [0, 1], the (height, width) that it was made of, and the file's note."""
    picture = read_picture(path, how.background)
    array = to_array(picture.image)
    height, width = array.shape[:2]
    return to_tensor(resize(array, (how.size, how.size))), (height, width), picture.note


def _bar(total: int, what: str, unit: str = " images") -> Bar:
    return Bar(total=total, desc=what, unit=unit, delay=2)


def protocol(
    how: How,
    samples: Sequence[Sample],
    collection: Sequence[Path],
    contents: Sequence[Path],
    seen: Seen,
) -> dict[str, Any]:
    """What the numbers hang on besides the images."""
    known = (seen.shapes.get(sample.translated) for sample in samples)
    return {
        "size": how.size,
        "resize": resizing(how),
        "seed": how.seed,
        "images": len(samples),
        "untranslated": len(set(contents) - {sample.content for sample in samples}),
        # Translations that were smaller than that, or of another shape than their contents.
        "enlarged": sum(shape is not None and min(shape) < how.size for shape in known),
        "reshaped": len(reshaped(samples, seen)),
        "collection_images": len(collection),
        "left_out": [printable(path) for path in seen.bad],
    }


def reshaped(samples: Sequence[Sample], seen: Seen) -> list[Sample]:
    """Those whose translation has another shape than the content, as far as both were read."""
    found = []
    for sample in samples:
        ours, theirs = (seen.shapes.get(path) for path in (sample.translated, sample.content))
        if ours and theirs:
            (height, width), (other_height, other_width) = ours, theirs
            # One pixel more or less is rounding of a small image's other side.
            slack = max(RESHAPED * width * other_height, width, height, other_width, other_height)
            if abs(width * other_height - other_width * height) > slack:
                found.append(sample)
    return found


def shapes_note(samples: Sequence[Sample], seen: Seen) -> str:
    """What to know of translations that aren't shaped as their contents; empty where all are."""
    found = reshaped(samples, seen)
    if not found:
        return ""
    (height, width), (other_height, other_width) = (
        seen.shapes[path] for path in (found[0].translated, found[0].content)
    )
    return (
        f"{len(found)} of {len(samples)} images have another shape than their contents, such as "
        f"{found[0].name}, {width}x{height} of {other_width}x{other_height} pixels: both were "
        "squeezed into squares, so that numbers against the content are of other places"
    )


def bad_note(seen: Seen, file: Path) -> str:
    """Which images were left out, in `file` where they are many; empty where all can be read."""
    count = len(seen.bad)
    if not count:
        return ""
    reasons = listed([str(error) for error in seen.bad.values()], file)
    return f"{count} image{'s' * (count != 1)} left out: {reasons}"


def part_note(notes: Mapping[Path, str], file: Path) -> str:
    """Which images are read in part, in `file` where they are many; empty where none is."""
    return listed([notes[path] for path in sorted(notes)], file)


def measured(values: Mapping[str, dict[str, Any]], samples: Sequence[Sample]) -> str:
    """How many images the numbers are of, such as "3 of 4 images"; most, where they differ."""
    count = max((entry.get("images", 0) for entry in values.values()), default=0)
    of = f" of {len(samples)}" if count != len(samples) else ""
    return f"{count}{of} image{'s' * (len(samples) != 1)} measured"


def resizing(how: How) -> str:
    """What was done to every image before it was measured."""
    return f"{how.size}x{how.size} pixels, bicubic, whatever the shape"


def describe(column: Column) -> dict[str, str]:
    """What a report says of a number."""
    return {
        "title": column.title,
        "better": column.info.better,
        "against": column.against,
        "source": column.info.source,
        "metric": column.metric,
        "features": column.features,
    }


def lines(columns: Mapping[str, Column], values: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """The numbers as text, one a line."""
    for key, column in columns.items():
        entry = values[key]
        if "missing" in entry:
            yield f"{key:26}{entry['missing']}"
            continue
        interval = f" ({entry['low']:.4g} to {entry['high']:.4g})" if "low" in entry else ""
        few = f" of {entry['images']} images: too high, believe KID" if entry.get("few") else ""
        yield f"{key:26}{entry['value']:.4g}{interval}, {column.info.better} is better{few}"


def made_by(device: torch.device) -> dict[str, Any]:
    """Versions and the machine that the numbers were computed by."""
    return {**runs.made_by(LIBRARIES), "machine": devices.machine(device)}
