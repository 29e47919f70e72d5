"""The tables of numbers and of costs, cell by cell."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from gan_style.report import answers, formatting
from gan_style.report.record import UNCHANGED, Comparison, Cost, Method, Metric, Value

# The groups of metrics, in their order.
AGAINST: Mapping[str, str] = {
    "collection": "Against the collection",
    "content": "Against the content",
    "style": "Against the pair's style",
    "reconstruction": "There and back again",
    "truth": "Against the truth",
}
DASH = "\u2013"
REST = 30  # characters of a title's bracket that still fit in a heading


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A place in a table.

    Args:
        text: what stands there.
        small: further lines, in smaller type.
        mark: whether it is the best of its column, or can't be told apart from that.
        sort: what the column is sorted by; None comes last.
        note: letter of the footnote that says why there is no number.
        reason: that footnote.
    """

    text: str
    small: tuple[str, ...] = ()
    mark: Literal["best", "tie", ""] = ""
    sort: float | None = None
    note: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A heading; the first click on it sorts in the order of `first`."""

    title: str
    rest: str = ""
    long: str = ""
    better: Literal["lower", "higher"] = "lower"
    arrow: bool = True


@dataclass(frozen=True, kw_only=True)
class Group:
    """Columns under one heading."""

    title: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A method, its place in the configuration, and its cells; none of a method that failed."""

    method: Method
    index: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows below grouped columns, and the footnotes by their letters."""

    groups: tuple[Group, ...]
    rows: tuple[Row, ...]
    notes: Mapping[str, str]
    remarks: tuple[str, ...] = ()


@dataclass
class Notes:
    """Footnotes as they come up: the same reason gets the same letter."""

    letters: dict[str, str] = field(default_factory=dict)

    def letter(self, reason: str) -> str:
        """a, b, ... z, then a1, b1, ..."""
        turn, place = divmod(len(self.letters), 26)
        return self.letters.setdefault(reason, f"{chr(ord('a') + place)}{turn or ''}")

    def missing(self, reason: str) -> Cell:
        """A dash with its footnote."""
        return Cell(text=DASH, note=self.letter(reason), reason=reason)

    def by_letter(self) -> dict[str, str]:
        """In the order they came up."""
        return {letter: reason for reason, letter in self.letters.items()}


def grouped(comparison: Comparison) -> dict[str, list[Metric]]:
    """The metrics by what they compare with, under the groups' titles."""
    groups: dict[str, list[Metric]] = {title: [] for title in AGAINST.values()}
    for metric in comparison.shown():
        title = AGAINST.get(metric.against, f"Against {metric.against}")
        groups.setdefault(title, []).append(metric)
    return {title: metrics for title, metrics in groups.items() if metrics}


def numbers(comparison: Comparison) -> Table:
    """Methods by metrics."""
    groups = grouped(comparison)
    metrics = [metric for group in groups.values() for metric in group]
    ranks = {m.key: _rank(comparison, m) for m in metrics}
    notes = Notes()
    rows = tuple(
        Row(
            method=method,
            index=index,
            cells=()
            if method.error
            else tuple(_number(method, metric, ranks[metric.key], notes) for metric in metrics),
        )
        for index, method in enumerate(comparison.methods, start=1)
    )
    return Table(
        groups=tuple(
            Group(title=title, columns=tuple(_column(metric, group) for metric in group))
            for title, group in groups.items()
        ),
        rows=rows,
        notes=notes.by_letter(),
        remarks=(*few(comparison, metrics), *cannot_tell(comparison, metrics)),
    )


def _rank(comparison: Comparison, metric: Metric) -> answers.Rank | None:
    """Who is best; nobody where all have the same number, or it tells nothing of these images.

    Nor where the best isn't known to be better than the contents left alone.
    """
    if answers.blind(comparison, metric) or answers.idle(comparison, metric):
        return None
    values = [m.values[metric.key].value for m in comparison.contenders if metric.key in m.values]
    if len(values) > 1 and len(set(values)) == 1:
        return None
    return answers.rank(comparison.contenders, metric)


def few(comparison: Comparison, metrics: Sequence[Metric]) -> tuple[str, ...]:
    """A warning of metrics that find their images too few, one for each number of images."""
    titles: dict[int, list[str]] = {}
    for metric in metrics:
        values = comparison.values_of(metric)
        for count in sorted({value.few for value in values if value.few is not None}):
            titles.setdefault(count, []).append(metric.title)
    believe = ": believe KID" if any("kid" in m.values for m in comparison.working) else ""
    return tuple(
        f"{formatting.joined(found)} of {formatting.plural(count, 'image')} "
        f"{'is' if len(found) == 1 else 'are'} too high, and the more so the fewer there are"
        f"{believe}."
        for count, found in titles.items()
    )


def cannot_tell(comparison: Comparison, metrics: Sequence[Metric]) -> tuple[str, ...]:
    """By which metrics none is the best, as it may be no better than the contents left alone."""
    blind = [metric for metric in metrics if answers.blind(comparison, metric)]
    idle = [m for m in metrics if m not in blind and answers.idle(comparison, m)]
    found = []
    if blind:
        found.append(
            f"By {formatting.joined([metric.title for metric in blind])} {UNCHANGED} contents "
            "can't be told from real images here, so that no method is marked the best."
        )
    if idle:
        found.append(
            f"By {formatting.joined([metric.title for metric in idle])} no method is known to be "
            f"better than {UNCHANGED} contents here, so that none is marked the best."
        )
    return tuple(found)


def _column(metric: Metric, group: Sequence[Metric]) -> Column:
    rest = metric.title.removeprefix(metric.short).strip(" ,")
    alone = sum(other.short == metric.short for other in group) == 1
    return Column(
        title=metric.short,
        rest=rest if len(rest) <= REST or not alone else "",
        long=metric.title,
        better=metric.better,
    )


def _number(method: Method, metric: Metric, rank: answers.Rank | None, notes: Notes) -> Cell:
    value = method.values.get(metric.key)
    if value is None:
        return notes.missing(method.missing.get(metric.key, "not computed"))
    mark: Literal["best", "tie", ""] = ""
    if rank and not method.reference:
        mark = "best" if method.label == rank.best else "tie" if method.label in rank.ties else ""
    return Cell(
        text=formatting.number(value.value), small=_small(value), mark=mark, sort=value.value
    )


def _small(value: Value) -> tuple[str, ...]:
    """The interval, what else the metric says, and how many images where they are few."""
    margin = formatting.interval(value)
    further = [
        f"{name} {formatting.number(value.further[name])}"
        for name in ("precision", "recall")
        if name in value.further
    ]
    parts = [margin] if margin else []
    parts += further
    if value.few:
        parts.append(f"of {formatting.plural(value.few, 'image')}")
    return tuple(parts)


def costs(comparison: Comparison) -> Table | None:
    """Methods by what they take; None where nothing is known of any."""
    known = [method for method in comparison.working if method.cost != Cost()]
    if not known:
        return None
    sides = sorted({side for m in known for side in (*m.cost.sizes, *m.cost.missing)})
    notes = Notes()
    groups = [
        Group(
            title=f"At {formatting.count(side)} pixels",
            columns=(_cost("time an image"), _cost("peak memory")),
        )
        for side in sides
    ]
    groups += [
        Group(title="Before that", columns=(_cost("training"),)),
        Group(title="Its networks", columns=(_cost("parameters"), _cost("on disk"))),
    ]
    rows = []
    for index, method in enumerate(comparison.methods, start=1):
        if method.error or (method.reference and method.cost == Cost()):
            continue
        cells = [cell for side in sides for cell in _timing(method.cost, side, notes)]
        cells += [
            _training(method.cost),
            _plain(method.cost.parameters, formatting.large),
            _plain(method.cost.bytes, formatting.size),
        ]
        rows.append(Row(method=method, index=index, cells=tuple(cells)))
    return Table(
        groups=tuple(groups),
        rows=tuple(rows),
        notes=notes.by_letter(),
        remarks=tuple(_of_costs(known)),
    )


def _of_costs(methods: Sequence[Method]) -> Iterator[str]:
    """How the costs of these methods were measured."""
    if not any(method.cost.sizes for method in methods):
        return
    yield (
        "Times are medians, of one image after another, from the image in memory to the image in "
        "memory; encoding a style image is part of it, each time anew. Memory is of all tensors "
        "on a GPU; on a CPU it is what the whole process took, Python and its libraries included."
    )
    if any(timing.estimated for method in methods for timing in method.cost.sizes.values()):
        yield "≈ is an estimate: some of the iterations were timed, and multiplied."


def _cost(title: str) -> Column:
    return Column(title=title, arrow=False)


def _timing(cost: Cost, side: int, notes: Notes) -> tuple[Cell, Cell]:
    timing = cost.sizes.get(side)
    if timing is None:
        missing = notes.missing(cost.missing.get(side, "not measured"))
        return missing, missing
    small = [f"95 % below {formatting.duration(timing.tail)}"] if timing.tail else []
    if timing.runs and not timing.estimated:
        small.append(formatting.plural(timing.runs, "run"))
    time = Cell(text=formatting.seconds(timing), small=tuple(small), sort=timing.median)
    return time, _plain(timing.peak_bytes, formatting.size)


def _training(cost: Cost) -> Cell:
    training = cost.training
    if training is None:
        return Cell(text="none here", sort=0)
    if training.seconds is None:
        return Cell(text="not known", sort=None)
    parts = [] if training.images is None else [formatting.plural(training.images, "image")]
    parts += [training.device] if training.device else []
    return Cell(
        text=formatting.duration(training.seconds), small=tuple(parts), sort=training.seconds
    )


def _plain(value: float | None, told: Callable[[float], str]) -> Cell:
    return Cell(text=DASH) if value is None else Cell(text=told(value), sort=value)
