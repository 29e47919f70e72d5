"""What the two plots of a comparison show."""

from collections.abc import Iterator

from gan_style.report import answers, formatting
from gan_style.report.plots import Plot, Point
from gan_style.report.record import Comparison, Method, Metric, Value

Interval = tuple[float, float] | None


def trade_off(comparison: Comparison) -> Plot | None:
    """Distance to the collection against distance to the content; None without two points."""
    style = answers.first(comparison, answers.STYLE)
    content = answers.first(comparison, answers.CONTENT)
    if not style or not content:
        return None
    points = [
        Point(
            label=method.label,
            x=_distance(style, method.values[style.key])[0],
            y=_distance(content, method.values[content.key])[0],
            number=number,
            index=look,
            x_interval=_distance(style, method.values[style.key])[1],
            y_interval=_distance(content, method.values[content.key])[1],
        )
        for number, look, method in _looks(comparison)
        if style.key in method.values and content.key in method.values
    ]
    return _plot(
        points,
        f"{_title(style)}: distance to the collection",
        f"{_title(content)}: distance to the content",
        front=answers.front_of(comparison, style, content),
    )


def speed(comparison: Comparison) -> Plot | None:
    """Seconds an image against KID, else the trade-off product; None without two points."""
    quality = answers.first(comparison, ("kid", answers.TRADE_OFF))
    side = answers.smallest_size(comparison.contenders)
    if not quality or side is None:
        return None
    points = [
        Point(
            label=method.label,
            x=method.cost.sizes[side].median,
            y=_distance(quality, method.values[quality.key])[0],
            number=number,
            index=look,
            y_interval=_distance(quality, method.values[quality.key])[1],
        )
        for number, look, method in _looks(comparison)
        if quality.key in method.values and side in method.cost.sizes
    ]
    what = ": distance to the collection" if quality.key == "kid" else ""
    return _plot(
        points,
        f"Seconds an image at {formatting.count(side)} pixels",
        f"{_title(quality)}{what}",
        seconds=True,
    )


def described(plot: Plot) -> str:
    """The plot in words, for who can't see it."""

    def told(value: float, interval: Interval) -> str:
        if not interval:
            return formatting.number(value)
        low, high = map(formatting.number, interval)
        return f"{formatting.number(value)} ({low} to {high})"

    points = "; ".join(
        f"{point.label}: {told(point.x, point.x_interval)}, {told(point.y, point.y_interval)}"
        for point in plot.points
    )
    front = f" On the Pareto front: {formatting.joined(plot.front)}." if plot.front else ""
    return (
        f"Scatter plot of {len(plot.points)} methods. Across: {plot.x_title}. Up: {plot.y_title}. "
        f"{points}.{front}"
    )


def _plot(
    points: list[Point],
    x_title: str,
    y_title: str,
    front: tuple[str, ...] = (),
    seconds: bool = False,
) -> Plot | None:
    if len(points) < 2:
        return None
    return Plot(
        points=tuple(points), x_title=x_title, y_title=y_title, front=front, seconds=seconds
    )


def _looks(comparison: Comparison) -> Iterator[tuple[int, int | None, Method]]:
    """Working methods with their place among all and, but for references, an index of their own."""
    index = 0
    for number, method in enumerate(comparison.methods, start=1):
        if not method.error:
            yield number, None if method.reference else index, method
        index += not method.reference


def _title(metric: Metric) -> str:
    return metric.short if metric.better == "lower" else f"1 \u2212 {metric.short}"


def _distance(metric: Metric, value: Value) -> tuple[float, Interval]:
    """A number that is lower the closer, and its interval: similarities count from 1 down."""
    if metric.better == "lower":
        return value.value, value.interval
    interval = value.interval
    return 1 - value.value, interval and (1 - interval[1], 1 - interval[0])
