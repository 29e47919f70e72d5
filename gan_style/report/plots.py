"""The two scatter plots, as SVG whose colours the page sets, and as PNG on white.

Methods differ by marker and by colour (Okabe and Ito's, which people who don't see all colours can
tell apart, https://jfly.uni-koeln.de/color/), and have their names beside them; where these would
overlap, they have numbers and a legend below.
"""

import io
import itertools
import math
import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox

INCHES = (4.4, 3.7)
FONT = 9.5  # points
DOTS = 200  # of the PNG, per inch
MARKERS = "osD^vPX<>p"
LEGEND_LENGTH = 46  # characters of names in a line of the legend
FOLD = 16  # characters of a line of a name
LINE = 0.19  # inches of a line of it
REFERENCE = "*"
CLEARLY = 1.3  # times nearer to its marker than to others: whose name it is


@dataclass(frozen=True, kw_only=True)
class Theme:
    """Colours: of text, of lines behind everything, of the paper, and of the methods."""

    ink: str
    muted: str
    line: str
    paper: str
    series: tuple[str, ...]


# Okabe and Ito without yellow and black, which vanish on white and on dark paper.
LIGHT = Theme(
    ink="#1d2126",
    muted="#59616b",
    line="#dde1e6",
    paper="#ffffff",
    series=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"),
)
# Stand-ins that the page's variables take the place of.
STYLED = Theme(
    ink="#000001",
    muted="#000002",
    line="#000003",
    paper="#000004",
    series=tuple(f"#00001{index}" for index in range(1, len(LIGHT.series) + 1)),
)
VARIABLES: Mapping[str, str] = {
    STYLED.ink: "var(--ink)",
    STYLED.muted: "var(--muted)",
    STYLED.line: "var(--line)",
    STYLED.paper: "var(--paper)",
    **{color: f"var(--series-{index})" for index, color in enumerate(STYLED.series, start=1)},
}


@dataclass(frozen=True, kw_only=True)
class Point:
    """A method in a plot.

    Args:
        label: its name.
        x: across.
        y: up.
        number: stands for the name where there is no room for it.
        index: gives its look; None is a reference's.
        x_interval: ends of an error bar.
        y_interval: ends of the other.
    """

    label: str
    x: float
    y: float
    number: int
    index: int | None
    x_interval: tuple[float, float] | None = None
    y_interval: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Plot:
    """What to draw: points, titles of the axes, and labels that a line leads along."""

    points: tuple[Point, ...]
    x_title: str
    y_title: str
    front: tuple[str, ...] = ()
    seconds: bool = False  # on the x axis, which is logarithmic then


def png(plot: Plot) -> bytes:
    """On white."""
    with _quiet():
        target = io.BytesIO()
        _draw(plot, LIGHT).savefig(target, format="png", dpi=DOTS, metadata={"Software": None})
    return target.getvalue()


def svg(plot: Plot, name: str) -> str:
    """An <svg> element to stand in a page, in its font and colours; `name` keeps ids apart."""
    with _quiet(), mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        target = io.StringIO()
        _draw(plot, STYLED).savefig(
            target, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    text = target.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # of no use, and two plots have the same
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 aria-hidden="true">', text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    return re.sub("|".join(VARIABLES), lambda match: VARIABLES[match[0]], text)


@contextmanager
def _quiet() -> Iterator[None]:
    """A label in letters that the font lacks is drawn as boxes, without a warning for each."""
    with (
        warnings.catch_warnings(),
        mpl.rc_context({"font.size": FONT, "font.family": ["DejaVu Sans"]}),
    ):
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")
        yield


def _draw(plot: Plot, theme: Theme) -> Figure:
    figure = Figure(figsize=INCHES, layout="constrained", facecolor=theme.paper)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor="none")
    _axes(axes, plot, theme)
    for point in plot.points:
        _point(axes, point, theme)
    _limits(axes, plot)
    if len(plot.front) > 1:
        known = {point.label: point for point in plot.points}
        line = [known[label] for label in plot.front if label in known]
        xs, ys = [point.x for point in line], [point.y for point in line]
        axes.plot(xs, ys, color=theme.muted, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    if not _named(figure, axes, plot, theme):
        _numbered(figure, axes, plot, theme)
    return figure


def _axes(axes: Axes, plot: Plot, theme: Theme) -> None:
    axes.set_xlabel(plot.x_title, color=theme.ink, parse_math=False)
    axes.set_ylabel(plot.y_title, color=theme.ink, parse_math=False)
    axes.grid(visible=True, color=theme.line, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=theme.muted, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.muted)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    if plot.seconds:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(_seconds))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(_plain))


def _plain(value: float, _: int) -> str:
    return f"{value:.6g}".replace("-", "\u2212")


def _seconds(value: float, _: int) -> str:
    return f"{value:g} s" if value < 1000 else f"{value:,.0f} s"


def _limits(axes: Axes, plot: Plot) -> None:
    """Room for names on all sides."""
    xs = _ends((point.x, point.x_interval) for point in plot.points)
    ys = _ends((point.y, point.y_interval) for point in plot.points)
    if plot.seconds:
        low, high = (math.log10(value) for value in xs)
        room = max(0.18 * (high - low), 0.35)
        axes.set_xlim(10 ** (low - room), 10 ** (high + room))
        decades = high - low + 2 * room
        subs = (1.0,) if decades > 2.5 else (1.0, 3.0) if decades > 1.2 else (1.0, 2.0, 5.0)
        axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=8))
    else:
        axes.set_xlim(*_widened(*xs))
    axes.set_ylim(*_widened(*ys))


def _ends(values: Iterable[tuple[float, tuple[float, float] | None]]) -> tuple[float, float]:
    every = [number for value, interval in values for number in (value, *(interval or ()))]
    return min(every), max(every)


def _widened(low: float, high: float) -> tuple[float, float]:
    room = 0.16 * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def _point(axes: Axes, point: Point, theme: Theme) -> None:
    color, marker = look(point.index, theme)
    for interval, axis in ((point.x_interval, "x"), (point.y_interval, "y")):
        if interval:
            ends = (interval, (point.y, point.y)) if axis == "x" else ((point.x, point.x), interval)
            axes.plot(*ends, color=color, linewidth=1.4, solid_capstyle="butt", zorder=2)
    reference = point.index is None
    axes.plot(
        [point.x],
        [point.y],
        linestyle="none",
        marker=marker,
        markersize=10 if reference else 7.5,
        markerfacecolor=theme.paper if reference else color,
        markeredgecolor=theme.muted if reference else theme.ink,
        markeredgewidth=0.9,
        zorder=3,
    )


def look(index: int | None, theme: Theme) -> tuple[str, str]:
    """Colour and marker; sixty methods get different pairs."""
    if index is None:
        return theme.muted, REFERENCE
    turn = index // len(MARKERS)
    return theme.series[(index + turn) % len(theme.series)], MARKERS[index % len(MARKERS)]


def _named(figure: Figure, axes: Axes, plot: Plot, theme: Theme) -> bool:
    """Put every name beside its point; False, and none of them, where they would overlap."""
    names = [point.label for point in plot.points]
    folded = ["\n".join(textwrap.wrap(name, FOLD)) for name in names]
    if any(text.count("\n") > 1 for text in folded):
        return False
    for texts in (names, folded):
        if not _place(figure, axes, plot, texts, theme):
            return True
        for note in list(axes.texts):
            note.remove()
    return False


def _numbered(figure: Figure, axes: Axes, plot: Plot, theme: Theme) -> None:
    """Put a number beside every point, and the names below."""
    numbers = [str(point.number) for point in plot.points]
    columns = 1 if len(plot.points) <= 4 else 2
    most = LEGEND_LENGTH // columns
    lines = [f"{point.number:\u2007>2}  {_cut(point.label, most)}" for point in plot.points]
    height = math.ceil(len(lines) / columns)
    figure.set_size_inches(INCHES[0], INCHES[1] + LINE * (height + 1))
    for column in range(columns):
        axes.annotate(
            "\n".join(lines[column * height : (column + 1) * height]),
            (column / columns, 0),
            xytext=(-30, -8),
            xycoords=("axes fraction", axes.xaxis.label),
            textcoords="offset points",
            verticalalignment="top",
            color=theme.ink,
            linespacing=1.5,
            parse_math=False,
            annotation_clip=False,
        )
    _place(figure, axes, plot, numbers, theme)


def _cut(label: str, most: int) -> str:
    return label if len(label) <= most else f"{label[: most - 1]}…"


def _place(figure: Figure, axes: Axes, plot: Plot, texts: Sequence[str], theme: Theme) -> int:
    """Give each text the first free place around its point; how many there was none for."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    dot = figure.dpi / 72  # dots of a point
    inside = axes.get_window_extent(renderer)
    centres = [_at(axes, point.x, point.y) for point in plot.points]
    markers = [_around(x, y, 5 * dot) for x, y in centres]
    lines = [box for line in _lines(axes, plot) for box in _along(line, dot)]
    placed: list[Bbox] = []
    crowded = 0
    for centre, point, text in zip(centres, plot.points, texts, strict=True):
        note = _note(axes, point, text, theme)
        taken = [*placed, *markers]
        places = [
            place
            for place in PLACES
            if _within(box := _moved(note, place, renderer), inside)
            and _belongs(box, centre, centres)
            and not _hits(box, taken)
        ]
        clear = (place for place in places if not _hits(_moved(note, place, renderer), lines))
        best = next(clear, places[0] if places else PLACES[0])  # rather on a line than nowhere
        placed.append(_moved(note, best, renderer))
        crowded += not places
    return crowded


# Where a text goes, in points from its marker's centre, and which of its sides; near ones first.
PLACES: list[tuple[float, float, str, str]] = [
    (radius * x, radius * y, across, up)
    for radius in (1.0, 1.7, 2.6)
    for x, y, across, up in (
        (8, 0, "left", "center"),
        (-8, 0, "right", "center"),
        (0, 8, "center", "bottom"),
        (0, -8, "center", "top"),
        (7, 7, "left", "bottom"),
        (7, -7, "left", "top"),
        (-7, 7, "right", "bottom"),
        (-7, -7, "right", "top"),
        (-5, 8, "left", "bottom"),
        (-5, -8, "left", "top"),
        (5, 8, "right", "bottom"),
        (5, -8, "right", "top"),
    )
]


def _within(box: Bbox, outer: Bbox) -> bool:
    return box.x0 >= outer.x0 and box.x1 <= outer.x1 and box.y0 >= outer.y0 and box.y1 <= outer.y1


def _hits(box: Bbox, others: Iterable[Bbox]) -> bool:
    return any(box.overlaps(other) for other in others)


def _belongs(
    box: Bbox, centre: tuple[float, float], centres: Iterable[tuple[float, float]]
) -> bool:
    """Whether a text is clearly nearer to its own marker than to every other."""
    own = CLEARLY * _distance(box, centre)
    return all(own <= _distance(box, other) for other in centres if other != centre)


def _distance(box: Bbox, point: tuple[float, float]) -> float:
    x, y = point
    return math.hypot(max(box.x0 - x, 0, x - box.x1), max(box.y0 - y, 0, y - box.y1))


def _moved(note: Annotation, place: tuple[float, float, str, str], renderer: Any) -> Bbox:
    """Put a text at one of the places; where it is then, in dots."""
    x, y, across, up = place
    note.set(position=(x, y), horizontalalignment=across, verticalalignment=up)
    return note.get_window_extent(renderer)


def _note(axes: Axes, point: Point, text: str, theme: Theme) -> Annotation:
    return axes.annotate(
        text,
        (point.x, point.y),
        xytext=(0, 0),
        textcoords="offset points",
        color=theme.muted if point.index is None else theme.ink,
        fontstyle="italic" if point.index is None else "normal",
        parse_math=False,
        annotation_clip=False,
        in_layout=False,
        zorder=4,
    )


def _lines(axes: Axes, plot: Plot) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """The ends, in dots, of all error bars and of the pieces of the front."""
    ends: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for point in plot.points:
        if point.x_interval:
            ends.append(((point.x_interval[0], point.y), (point.x_interval[1], point.y)))
        if point.y_interval:
            ends.append(((point.x, point.y_interval[0]), (point.x, point.y_interval[1])))
    known = {point.label: (point.x, point.y) for point in plot.points}
    ends += itertools.pairwise(known[label] for label in plot.front if label in known)
    return [(_at(axes, *start), _at(axes, *end)) for start, end in ends]


def _at(axes: Axes, x: float, y: float) -> tuple[float, float]:
    """A place among the numbers, in dots."""
    dots = axes.transData.transform((x, y))
    return float(dots[0]), float(dots[1])


def _along(line: tuple[tuple[float, float], tuple[float, float]], dot: float) -> list[Bbox]:
    """A line as small boxes."""
    (x0, y0), (x1, y1) = line
    steps = max(1, round(math.hypot(x1 - x0, y1 - y0) / (3 * dot)))
    shares = (step / steps for step in range(steps + 1))
    return [_around(x0 + t * (x1 - x0), y0 + t * (y1 - y0), dot) for t in shares]


def _around(x: float, y: float, reach: float) -> Bbox:
    return Bbox.from_extents(x - reach, y - reach, x + reach, y + reach)
