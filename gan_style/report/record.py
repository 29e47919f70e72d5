"""A comparison as its metrics.json tells it, checked once, so that whoever draws it needn't."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from gan_style.errors import DataError
from gan_style.io.safe_io import read_json

NAME = "metrics.json"
UNCHANGED, REAL = "unchanged", "style images"  # labels of the reference rows
# Beyond these a number is a mistake, and no axis has room for it.
LARGEST, SHORTEST = 1e30, 1e-9  # the second of seconds
LOPSIDED = 0.1  # of half an interval, from its middle to the value
MOST = 300  # methods, and metrics: every one is compared with every other, or has a cell in a row


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A column of the comparison."""

    key: str
    title: str
    better: Literal["lower", "higher"]
    against: str
    source: str = ""

    @property
    def short(self) -> str:
        """The title without its conventions: what stands before a bracket or a comma."""
        return re.split(r" \(|,", self.title, maxsplit=1)[0] or self.title

    def beats(self, ours: float, theirs: float) -> bool:
        """Whether the first number is the better one."""
        return ours < theirs if self.better == "lower" else ours > theirs


@dataclass(frozen=True, kw_only=True)
class Value:
    """What a metric says of a method.

    Args:
        value: the number itself, of pairs the mean over them.
        low: lower end of its 95 % interval; None where no interval is known.
        high: upper end.
        images: how many it is of; None where the file doesn't say.
        each: one number a pair, in their order; None for a pair without.
        further: what else the metric says, such as precision and recall.
    """

    value: float
    low: float | None = None
    high: float | None = None
    images: int | None = None
    each: tuple[float | None, ...] = ()
    further: Mapping[str, float] = field(default_factory=dict)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Its ends, where both are known."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def half(self) -> float | None:
        """Half the width of the interval."""
        return (self.interval[1] - self.interval[0]) / 2 if self.interval else None

    @property
    def lopsided(self) -> bool:
        """Whether its ends are so unequally far from it that ± would tell others.

        Such as -0.01 where the interval, and the metric, ends at 0, or 1.01 where it ends at 1.
        """
        if self.interval is None or not self.half:
            return False
        (low, high), half = self.interval, self.half
        beyond = self.value - half < 0 <= low or high <= 1 < self.value + half
        return beyond or abs((low + high) / 2 - self.value) > LOPSIDED * half

    @property
    def few(self) -> int | None:
        """How many images it is of, where the metric finds them too few to be believed."""
        return self.images if self.further.get("few") else None


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds an image of one size, and bytes of memory."""

    median: float
    p95: float | None = None
    runs: int | None = None
    peak_bytes: float | None = None
    estimated: bool = False

    @property
    def tail(self) -> float | None:
        """The 95th percentile, where several runs were timed."""
        return None if self.estimated or self.runs == 1 else self.p95


@dataclass(frozen=True, kw_only=True)
class Training:
    """What was spent before the first image."""

    seconds: float | None  # None is unknown
    images: int | None = None
    device: str = ""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a method takes; sizes are sides in pixels, and so are the keys of `missing`."""

    parameters: int | None = None
    bytes: float | None = None
    training: Training | None = None
    device: str = ""
    precision: str = ""
    sizes: Mapping[int, Timing] = field(default_factory=dict)
    missing: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Paper:
    """Where a method comes from."""

    title: str
    year: str
    url: str
    family: str
    style: str


@dataclass(frozen=True, kw_only=True)
class Method:
    """A row of the comparison; with an `error` it has no images and no numbers."""

    label: str
    reference: bool = False
    error: str = ""
    paper: Paper | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    weights: str = ""
    licences: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    short_of: tuple[str, ...] = ()  # settings far below a recipe's
    images: tuple[Path | None, ...] = ()
    values: Mapping[str, Value] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A content and the style image that goes with it."""

    name: str
    content: Path | None
    style: Path | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All of it; labels of methods are unique and in the order to show."""

    title: str
    command: str
    made_by: Mapping[str, Any]
    protocol: Mapping[str, Any]
    pairs: tuple[Pair, ...]
    metrics: Mapping[str, Metric]
    methods: tuple[Method, ...]

    @property
    def working(self) -> tuple[Method, ...]:
        """Methods that have a result."""
        return tuple(method for method in self.methods if not method.error)

    @property
    def failed(self) -> tuple[Method, ...]:
        """Methods that have none."""
        return tuple(method for method in self.methods if method.error)

    @property
    def contenders(self) -> tuple[Method, ...]:
        """Methods that can win: with a result, and no reference."""
        return tuple(method for method in self.working if not method.reference)

    @property
    def references(self) -> tuple[Method, ...]:
        """Scales for the others, such as the contents left alone."""
        return tuple(method for method in self.working if method.reference)

    def reference(self, label: str) -> Method | None:
        """The reference of this label, where there is one."""
        return next((each for each in self.references if each.label == label), None)

    def values_of(self, metric: Metric) -> list[Value]:
        """What a metric says of the methods, references too, that it has a number of."""
        return [each.values[metric.key] for each in self.working if metric.key in each.values]

    def shown(self) -> tuple[Metric, ...]:
        """Metrics of which at least one method has a number or a reason for having none."""
        known = {key for method in self.working for key in (*method.values, *method.missing)}
        return tuple(metric for key, metric in self.metrics.items() if key in known)


def read(folder: Path) -> Comparison:
    """The comparison in a folder; a method whose entry is broken becomes one with an error.

    Raises:
        DataError: no file, or one that isn't a comparison.
    """
    path = folder / NAME
    try:
        record = read_json(path)
    except FileNotFoundError:
        raise DataError(
            f"{folder} has no {NAME}: make one with python -m gan_style compare"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path} can't be read: {error}") from error
    try:
        return _comparison(record, folder)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path} is no comparison: {_what(error)}") from error


def text(value: object) -> str:
    """Anything as text that every file and page can hold: no control characters, no half ones."""
    clean = str(value).encode("utf-8", "replace").decode()
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]", "\ufffd", clean)


def line(value: object) -> str:
    """The same on one line."""
    return " ".join(text(value).split())


def _what(error: Exception) -> str:
    return f"it lacks {error}" if isinstance(error, KeyError) else line(error)


def _comparison(record: Mapping[str, Any], folder: Path) -> Comparison:
    for name in ("methods", "metrics"):
        if len(record[name]) > MOST:
            raise ValueError(f"it has {len(record[name])} {name}, more than {MOST}")
    metrics = {key: _metric(key, entry) for key, entry in record["metrics"].items()}
    pairs = tuple(_pair(entry, folder) for entry in record["pairs"])
    methods = []
    labels: set[str] = set()
    for label, entry in record["methods"].items():
        clean = _unlike(labels, line(label) or "(no name)")
        labels.add(clean)
        try:
            method = _method(entry, metrics, pairs, folder)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            method = Method(label="", error=f"its entry in {NAME} is broken: {_what(error)}")
        methods.append(replace(method, label=clean))
    made_by = dict(record.get("made_by") or {})
    return Comparison(
        title=line(record["title"]),
        command=text(record.get("command") or ""),
        made_by=made_by | {"libraries": dict(made_by.get("libraries") or {})},
        protocol=dict(record.get("protocol") or {}),
        pairs=pairs,
        metrics=metrics,
        methods=tuple(methods),
    )


def _unlike(labels: set[str], label: str) -> str:
    """A label that differs from all others even after cleaning."""
    number, unique = 1, label
    while unique in labels:
        number += 1
        unique = f"{label} ({number})"
    return unique


def _metric(key: str, entry: Mapping[str, Any]) -> Metric:
    if entry["better"] not in ("lower", "higher"):
        raise ValueError(f"{key} is better {entry['better']!r}, neither lower nor higher")
    return Metric(
        key=key,
        title=line(entry["title"]),
        better=entry["better"],
        against=line(entry["against"]),
        source=line(entry.get("source") or ""),
    )


def _pair(entry: Mapping[str, Any], folder: Path) -> Pair:
    return Pair(
        name=line(entry["name"]),
        content=_path(folder, entry.get("content")),
        style=_path(folder, entry.get("style")),
    )


def _path(folder: Path, name: str | None) -> Path | None:
    return folder / name if name else None


def _method(
    entry: Mapping[str, Any], metrics: Mapping[str, Metric], pairs: tuple[Pair, ...], folder: Path
) -> Method:
    error = line(entry.get("error") or "")
    images = () if error else tuple(_path(folder, name) for name in entry.get("images") or ())
    if images and len(images) != len(pairs):
        raise ValueError(f"{len(images)} images for {len(pairs)} pairs")
    values, missing = {}, {}
    for key, number in {} if error else (entry.get("values") or {}).items():
        if key not in metrics:
            continue
        if "missing" in number:
            missing[key] = line(number["missing"])
        elif not _is_number(number["value"]):
            missing[key] = f"not computed (it came out as {number['value']})"
        else:
            values[key] = _value(key, number, len(pairs))
    if not error:
        missing |= dict.fromkeys(metrics.keys() - values.keys() - missing.keys(), "not computed")
    return Method(
        label="",
        reference=bool(entry.get("reference")),
        error=error,
        paper=_paper(entry.get("paper")),
        settings={line(key): line(value) for key, value in (entry.get("settings") or {}).items()},
        weights=line(entry.get("weights") or ""),
        licences=tuple(line(licence) for licence in entry.get("licences") or ()),
        commands=tuple(text(command) for command in entry.get("commands") or ()),
        notes=tuple(line(note) for note in entry.get("notes") or ()),
        short_of=tuple(line(each) for each in entry.get("short_of") or ()),
        images=images,
        values=values,
        missing=missing,
        cost=_cost(entry.get("cost") or {}),
    )


def _is_number(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and -LARGEST <= value <= LARGEST  # type: ignore[operator]  # and so no NaN


def _finite(value: Any) -> float | None:
    return float(value) if _is_number(value) else None


def _value(key: str, number: Mapping[str, Any], pairs: int) -> Value:
    each = tuple(_finite(value) for value in number.get("each") or ())
    if each and len(each) != pairs:
        raise ValueError(f"{len(each)} numbers of {key} for {pairs} pairs")
    known = {"value", "low", "high", "std", "images", "each"}
    images = _finite(number.get("images"))
    return Value(
        value=float(number["value"]),
        low=_finite(number.get("low")),
        high=_finite(number.get("high")),
        images=None if images is None else round(images),
        each=each,
        further={
            line(name): float(value)
            for name, value in number.items()
            if name not in known and _is_number(value)
        },
    )


def _paper(entry: Mapping[str, Any] | None) -> Paper | None:
    if not entry:
        return None
    words = {key: line(entry.get(key) or "") for key in ("title", "year", "url", "family", "style")}
    return Paper(**words)


def _cost(entry: Mapping[str, Any]) -> Cost:
    sizes, missing = {}, {}
    for side, timing in (entry.get("sizes") or {}).items():
        if "missing" in timing:
            missing[int(side)] = line(timing["missing"])
        elif not _is_number(timing["median"]) or timing["median"] < SHORTEST:
            missing[int(side)] = f"it came out as {timing['median']} seconds"
        else:
            runs = _finite(timing.get("runs"))
            sizes[int(side)] = Timing(
                median=float(timing["median"]),
                p95=_finite(timing.get("p95")),
                runs=None if runs is None else round(runs),
                peak_bytes=_finite(timing.get("peak_bytes")),
                estimated=bool(timing.get("estimated")),
            )
    parameters = _finite(entry.get("parameters"))
    return Cost(
        parameters=None if parameters is None else round(parameters),
        bytes=_finite(entry.get("bytes")),
        training=_training(entry.get("training")),
        device=line(entry.get("device") or ""),
        precision=line(entry.get("precision") or ""),
        sizes=sizes,
        missing=missing,
    )


def _training(entry: Mapping[str, Any] | None) -> Training | None:
    if not entry:
        return None
    seconds = _finite(entry.get("seconds"))
    images = _finite(entry.get("images"))
    return Training(
        seconds=seconds,
        images=None if images is None else round(images),
        device=line(entry.get("device") or ""),
    )
