"""Which method is best at what, and where that can't be said."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from gan_style.report import formatting
from gan_style.report.record import (
    REAL,
    UNCHANGED,
    Comparison,
    Method,
    Metric,
    Timing,
    Training,
    Value,
)

Rule = Literal["pairs", "intervals", "values", "runs"]

STYLE = ("kid", "sliced_wasserstein")  # the first that there is: the distance to the collection
CONTENT = ("lpips_alex", "ssim")  # the distance to the content
TRADE_OFF = "artfid"
COLOUR = "colour_histogram"  # beside every winner: what a grey filter can't win by
RESAMPLES = 9999  # of the bootstrap
SEED = 0

RULES: Mapping[Rule, str] = {
    "pairs": "Two methods can't be told apart where the 95 % bootstrap interval of their "
    f"difference holds 0: percentiles of {formatting.count(RESAMPLES)} resamples of the pairs that "
    "both have a number for, pair by pair.",
    "intervals": "Two methods can't be told apart where their 95 % intervals overlap, as these "
    "numbers are of all images together; that is a careful rule, which calls some differences "
    "undecided that a test of the two would not.",
    "values": "No interval is known of these numbers: only equal ones count as undecided, and a "
    "small difference may be chance.",
    "runs": "Two methods can't be told apart where the median of one isn't above what 95 % of "
    "the other's runs stay below.",
}


@dataclass(frozen=True, kw_only=True)
class Rank:
    """Methods that have a number, by how good it is.

    Args:
        best: the first.
        ties: others that can't be told apart from it, best first.
        rest: those that can, best first.
        rules: how that was decided.
    """

    best: str
    ties: tuple[str, ...]
    rest: tuple[str, ...]
    rules: tuple[Rule, ...]

    @property
    def leaders(self) -> tuple[str, ...]:
        """The best and its ties."""
        return (self.best, *self.ties)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of a sentence; a name is a method's label."""

    text: str
    name: bool = False


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one question comes to."""

    question: str
    parts: tuple[Part, ...]
    winners: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()

    @property
    def text(self) -> str:
        """The sentence without marks."""
        return "".join(part.text for part in self.parts)


def every(comparison: Comparison) -> tuple[Answer, ...]:
    """The answers, in the order to read them."""
    return (closest(comparison), content(comparison), cheapest(comparison), trade_off(comparison))


def rank(methods: Iterable[Method], metric: Metric) -> Rank | None:
    """Order the methods that have a number; references are the caller's to leave out."""
    values = {m.label: m.values[metric.key] for m in methods if metric.key in m.values}
    if not values:
        return None
    sign = 1 if metric.better == "lower" else -1
    order = sorted(values, key=lambda label: sign * values[label].value)  # stable: as configured
    best, *others = order
    told = {other: apart(values[best], values[other]) for other in others}
    return Rank(
        best=best,
        ties=tuple(other for other in others if not told[other][0]),
        rest=tuple(other for other in others if told[other][0]),
        rules=tuple(dict.fromkeys(rule for _, rule in told.values())),
    )


def apart(one: Value, other: Value) -> tuple[bool, Rule]:
    """Whether two methods differ by more than chance, and by which rule that was decided."""
    if one.each and other.each:
        return _differ_by_pair(one.each, other.each), "pairs"
    if one.interval and other.interval:
        (low, high), (other_low, other_high) = one.interval, other.interval
        return high < other_low or other_high < low, "intervals"
    return one.value != other.value, "values"


def _differ_by_pair(ours: Sequence[float | None], theirs: Sequence[float | None]) -> bool:
    both = zip(ours, theirs, strict=True)
    differences = [a - b for a, b in both if a is not None and b is not None]
    if len(differences) < 2:  # one pair says nothing of the next
        return False
    interval = stats.bootstrap(
        (np.array(differences),),
        np.mean,
        method="percentile",
        n_resamples=RESAMPLES,
        rng=SEED,
    ).confidence_interval
    return bool(interval.low > 0 or interval.high < 0)


def blind(comparison: Comparison, metric: Metric) -> bool:
    """Whether a metric doesn't even tell the contents from real images of the target.

    A method is somewhere between these two, so where the two can't be told apart by their
    intervals, or stand the wrong way round, its place tells nothing.
    """
    ends = [comparison.reference(label) for label in (UNCHANGED, REAL)]
    values = [each.values.get(metric.key) for each in ends if each]
    if len(values) < 2 or None in values:
        return False
    unchanged, real = (value for value in values if value)
    return not (metric.beats(real.value, unchanged.value) and apart(unchanged, real)[0])


def idle(comparison: Comparison, metric: Metric, label: str = "") -> bool:
    """Whether a method, by default the best, isn't known to be better than the contents themselves.

    Always False where the contents have no number, and for metrics against the content, which
    nothing keeps as well as doing nothing does.
    """
    unchanged = comparison.reference(UNCHANGED)
    if not unchanged or metric.key not in unchanged.values:
        return False
    if metric.against not in ("collection", "style"):
        return False
    if not label:
        ordered = rank(comparison.contenders, metric)
        if not ordered:
            return False
        label = ordered.best
    ours = _value(comparison, label, metric)
    theirs = unchanged.values[metric.key]
    return not (metric.beats(ours.value, theirs.value) and apart(ours, theirs)[0])


def first(comparison: Comparison, keys: Sequence[str]) -> Metric | None:
    """The first of these metrics that a method which can win has a number of."""
    for key in keys:
        if any(key in method.values for method in comparison.contenders):
            return comparison.metrics[key]
    return None


def front(points: Mapping[str, tuple[float, float]], better: tuple[str, str]) -> tuple[str, ...]:
    """Labels of the Pareto front: those that no other beats in one number and equals in the other.

    Args:
        points: two numbers a label.
        better: which way each of them is better, "lower" or "higher".

    Returns:
        The labels in the order of the first number, lowest first.
    """
    signs = [1 if way == "lower" else -1 for way in better]
    signed = {key: (signs[0] * x, signs[1] * y) for key, (x, y) in points.items()}
    kept = [
        key
        for key, (x, y) in signed.items()
        if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in signed.values())
    ]
    return tuple(sorted(kept, key=lambda key: points[key]))


def front_of(comparison: Comparison, style: Metric, content: Metric) -> tuple[str, ...]:
    """The Pareto front of two metrics among the methods that can win, by their values alone."""
    points = {
        method.label: (method.values[style.key].value, method.values[content.key].value)
        for method in comparison.contenders
        if style.key in method.values and content.key in method.values
    }
    return front(points, (style.better, content.better))


def smallest_size(methods: Iterable[Method]) -> int | None:
    """The smallest side that any of them was timed at."""
    return min((side for method in methods for side in method.cost.sizes), default=None)


def closest(comparison: Comparison) -> Answer:
    """By KID, else by the sliced Wasserstein distance."""
    question = "Which is closest to the collection?"
    metric = first(comparison, STYLE)
    if metric is None:
        return _without(question, comparison, STYLE)
    ordered = rank(comparison.contenders, metric)
    assert ordered is not None
    if blind(comparison, metric):
        return Answer(question=question, parts=tuple(_cannot_tell(comparison, metric)))
    if idle(comparison, metric):
        parts = [*_no_better(comparison, metric, ordered.best), *_by_value(comparison, metric)]
        return Answer(question=question, parts=tuple(parts))
    parts = _by_metric(comparison, metric, ordered)
    parts += _colours(comparison, ordered.leaders)
    parts += _for_scale(comparison, metric, "closer")
    parts += _idle_ties(comparison, metric, ordered)
    if metric.key != STYLE[0]:
        parts.append(Part(text=" KID, which would be preferred, was not computed."))
    return _answer(question, parts, ordered, _winners(comparison, metric, ordered))


def _winners(comparison: Comparison, metric: Metric, ordered: Rank) -> tuple[str, ...]:
    """The best and its ties, without those that leaving the images alone ties with too."""
    return tuple(label for label in ordered.leaders if not idle(comparison, metric, label))


def _idle_ties(comparison: Comparison, metric: Metric, ordered: Rank) -> list[Part]:
    """Who can't be told from the best, nor from the contents themselves."""
    found = [label for label in ordered.ties if idle(comparison, metric, label)]
    if not found:
        return []
    end = " can't be told from leaving the images alone either."
    return [Part(text=" "), *_names(found), Part(text=end)]


def _no_better(comparison: Comparison, metric: Metric, best: str) -> list[Part]:
    """That leaving the images alone does as well as the best method, or better."""
    unchanged = comparison.reference(UNCHANGED)
    assert unchanged
    ours, theirs = _value(comparison, best, metric), unchanged.values[metric.key]
    differ, _ = apart(ours, theirs)
    if differ:
        parts = [Part(text="No method does better than leaving the images alone: ")]
    else:
        images = formatting.plural(ours.images or len(comparison.pairs), "image")
        parts = [
            Part(text=f"{images} can't tell "),
            Part(text=best, name=True),
            Part(text=" from leaving the images alone: "),
        ]
    return [
        *parts,
        Part(text=unchanged.label, name=True),
        Part(text=f" has {metric.short} {formatting.with_interval(theirs)}, "),
        Part(text=best, name=True),
        Part(text=f" {formatting.with_interval(ours)}."),
        *([] if differ else [Part(text=" More images, of contents and of the target, would.")]),
    ]


def _by_value(comparison: Comparison, metric: Metric) -> list[Part]:
    """All methods where nobody wins, by the numbers alone; nothing where there is but one."""
    known = [method for method in comparison.contenders if metric.key in method.values]
    if len(known) < 2:
        return []
    return [Part(text=" By the values alone: "), *_listed(known, metric), Part(text=".")]


def _listed(known: Sequence[Method], metric: Metric) -> list[Part]:
    """Methods with their numbers, best first."""
    parts: list[Part] = []
    worst_first = metric.better == "higher"
    ordered = sorted(known, key=lambda m: m.values[metric.key].value, reverse=worst_first)
    for index, method in enumerate(ordered):
        parts += [
            Part(text=", " if index else ""),
            Part(text=method.label, name=True),
            Part(text=f" {formatting.with_interval(method.values[metric.key])}"),
        ]
    return parts


def _cannot_tell(comparison: Comparison, metric: Metric) -> list[Part]:
    """Why nobody wins, with the numbers all the same."""
    unchanged, real = (comparison.reference(label) for label in (UNCHANGED, REAL))
    assert unchanged
    assert real
    ends = [
        part
        for each, what in ((unchanged, "the contents themselves"), (real, "real images"))
        for part in (
            Part(text=f"{what} ("),
            Part(text=each.label, name=True),
            Part(text=f", {metric.short} {formatting.with_interval(each.values[metric.key])})"),
        )
    ]
    differ, _ = apart(unchanged.values[metric.key], real.values[metric.key])
    parts = [
        Part(text="That can't be told of these images: "),
        *ends[:3],
        Part(text=" come out better than " if differ else " can't be told from "),
        *ends[3:],
        Part(text=", so that a place between them says nothing. By the values alone: "),
    ]
    known = [method for method in comparison.contenders if metric.key in method.values]
    parts += _listed(known, metric)
    return [*parts, Part(text=". More images, of contents and of the target, would tell.")]


def _colours(comparison: Comparison, labels: Sequence[str]) -> list[Part]:
    """How far from the style's the colours of these methods are, beside the contents' own."""
    metric = comparison.metrics.get(COLOUR)
    if metric is None:
        return [Part(text=f" Colours weren't measured: add {COLOUR} to --metrics.")]
    unchanged = comparison.reference(UNCHANGED)
    theirs = unchanged.values.get(COLOUR) if unchanged else None
    methods = [method for method in comparison.contenders if method.label in labels]
    return [part for method in methods for part in _colour(method, metric, theirs)]


def _colour(method: Method, metric: Metric, unchanged: Value | None) -> list[Part]:
    """One method's colours; a warning where those of the contents are nearer the style's."""
    name, ours = Part(text=method.label, name=True), method.values.get(COLOUR)
    if ours is None:
        return [Part(text=" The colours of "), name, Part(text=" weren't measured.")]
    told = formatting.with_interval(ours)
    shown = [Part(text=f" {metric.short}: "), name]
    if unchanged is None:
        return [*shown, Part(text=f" {told}; that of {UNCHANGED} wasn't measured.")]
    theirs = formatting.with_interval(unchanged)
    contents = [Part(text=UNCHANGED, name=True), Part(text=f" {theirs}.")]
    if not apart(ours, unchanged)[0]:
        return [*shown, Part(text=f" {told}, which can't be told from "), *contents]
    if metric.beats(ours.value, unchanged.value):
        return [*shown, Part(text=f" {told}, better than "), *contents]
    return [
        Part(text=" But the colours of "),
        name,
        Part(
            text=f" are further from the style's ({metric.short.lower()} {told}) than those of "
            f"the contents left alone ({theirs})."
        ),
    ]


def content(comparison: Comparison) -> Answer:
    """By LPIPS, else by SSIM."""
    question = "Which keeps the content best?"
    metric = first(comparison, CONTENT)
    if metric is None:
        return _without(question, comparison, CONTENT)
    ordered = rank(comparison.contenders, metric)
    assert ordered is not None
    parts = _by_metric(comparison, metric, ordered) + _colours(comparison, ordered.leaders)
    if metric.key != CONTENT[0]:
        parts.append(Part(text=" LPIPS, which would be preferred, was not computed."))
    return _answer(question, parts, ordered)


def cheapest(comparison: Comparison) -> Answer:
    """By the median of seconds an image, at the smallest size that was timed."""
    question = "Which is cheapest?"
    side = smallest_size(comparison.contenders)
    if side is None:
        return Answer(question=question, parts=(Part(text="No method was timed."),))
    timed = {m.label: m for m in comparison.contenders if side in m.cost.sizes}
    ordered = rank_times({label: m.cost.sizes[side] for label, m in timed.items()})

    def told(label: str) -> str:
        cost = timed[label].cost
        timing = cost.sizes[side]
        place = f" on {cost.device}" if cost.device else ""
        most = f" (95 % of runs below {formatting.duration(timing.tail)})" if timing.tail else ""
        spent = _training(cost.training)
        return f"{formatting.seconds(timing)} an image at {side} pixels{place}{most}, {spent}"

    parts = _sentence(
        ordered, told, lambda label: formatting.seconds(timed[label].cost.sizes[side])
    )
    parts += _pays_off(timed, ordered.best, side)
    return _answer(question, parts, ordered)


def _pays_off(timed: Mapping[str, Method], best: str, side: int) -> list[Part]:
    """From how many images on a training was worth it, against the cheapest that needs none."""
    training, seconds = timed[best].cost.training, timed[best].cost.sizes[side].median
    others = {
        label: method.cost.sizes[side].median
        for label, method in timed.items()
        if method.cost.training is None and method.cost.sizes[side].median > seconds
    }
    if training is None or not training.seconds or not others:
        return []
    other = min(others, key=others.__getitem__)
    images = math.ceil(training.seconds / (others[other] - seconds))
    return [
        Part(text=" Its training counted, "),
        Part(text=best, name=True),
        Part(text=" takes less time than "),
        Part(text=other, name=True),
        Part(text=f" from {formatting.plural(images, 'image')} on."),
    ]


def rank_times(timings: Mapping[str, Timing]) -> Rank:
    """Order methods by their medians; undecided is what one's usual runs reach."""
    best, *others = sorted(timings, key=lambda label: timings[label].median)
    limit = max(timings[best].median, timings[best].p95 or 0)
    ties = tuple(label for label in others if timings[label].median <= limit)
    return Rank(
        best=best,
        ties=ties,
        rest=tuple(label for label in others if label not in ties),
        rules=("runs",) if others else (),
    )


def _training(training: Training | None) -> str:
    if training is None:
        return "without any training here"
    if training.seconds is None:
        return "after a training whose cost isn't known"
    device = f" on {training.device}" if training.device else ""
    return f"after {formatting.duration(training.seconds)} of training{device}"


def trade_off(comparison: Comparison) -> Answer:
    """By the product of the two distances, and the methods that nothing else beats in both."""
    question = "Which is the best trade-off?"
    parts: list[Part] = []
    ordered = None
    closeness = first(comparison, STYLE)
    if closeness and blind(comparison, closeness):
        text = f"That can't be told either, as {closeness.short} tells nothing of these images."
        return Answer(question=question, parts=(Part(text=text),))
    if closeness and idle(comparison, closeness):
        text = (
            f"That can't be told either: by {closeness.short} no method is known to do better than "
            "leaving the images alone, whose content is kept whole."
        )
        return Answer(question=question, parts=(Part(text=text),))
    winners: tuple[str, ...] = ()
    if metric := first(comparison, (TRADE_OFF,)):
        ordered = rank(comparison.contenders, metric)
        assert ordered is not None
        if idle(comparison, metric):
            parts += _no_better(comparison, metric, ordered.best)
            parts += _by_value(comparison, metric)
        else:
            winners = _winners(comparison, metric, ordered)
            parts += _by_metric(comparison, metric, ordered)
            parts += _colours(comparison, ordered.leaders)
            parts += _for_scale(comparison, metric, "better")
            parts += _idle_ties(comparison, metric, ordered)
    style, kept = first(comparison, STYLE), first(comparison, CONTENT)
    best = front_of(comparison, style, kept) if style and kept else ()
    if style and kept and best and len(comparison.contenders) > 1:
        both = f"{style.short} and {kept.short}"
        parts += [*([Part(text=" ")] if parts else []), *_names(best)]
        if len(best) == 1:
            parts.append(Part(text=f" is ahead in both {both}, by the values alone."))
            if not ordered or best[0] not in ordered.leaders:
                parts += _colours(comparison, best)
        else:
            parts.append(
                Part(
                    text=f" are on the Pareto front of {both}: by the values alone, whatever is "
                    "better in one is worse in the other."
                )
            )
    if not parts:
        return Answer(
            question=question,
            parts=(
                Part(text="No method has both a distance to the collection and to its content."),
            ),
        )
    return Answer(
        question=question,
        parts=tuple(parts),
        winners=winners,
        rules=ordered.rules if ordered else (),
    )


def _for_scale(comparison: Comparison, metric: Metric, comparative: str) -> list[Part]:
    """Where the references are: what a method does to the contents may lead away from the aim."""
    parts: list[Part] = []
    theirs = {
        m.label: m.values[metric.key] for m in comparison.contenders if metric.key in m.values
    }
    scale = [method for method in comparison.references if metric.key in method.values]
    for index, method in enumerate(scale):
        ours = method.values[metric.key]
        beaten = [
            label
            for label, its in theirs.items()
            if metric.beats(ours.value, its.value) and apart(ours, its)[0]
        ]
        parts += [
            Part(text="; " if index else " For scale: "),
            Part(text=method.label, name=True),
            Part(text=f" {formatting.number(ours.value)}"),
        ]
        if len(beaten) == len(theirs):
            parts.append(Part(text=f", {comparative} than any method"))
        elif beaten:
            parts += [Part(text=f", {comparative} than "), *_names(beaten)]
    return [*parts, Part(text=".")] if scale else []


def _value(comparison: Comparison, label: str, metric: Metric) -> Value:
    return next(m.values[metric.key] for m in comparison.contenders if m.label == label)


def _by_metric(comparison: Comparison, metric: Metric, ordered: Rank) -> list[Part]:
    def told(label: str) -> str:
        method = next(method for method in comparison.contenders if method.label == label)
        value = method.values[metric.key]
        note = f", of only {formatting.plural(value.few, 'image')}" if value.few else ""
        return f"{metric.short} {formatting.with_interval(value)}{note}"

    parts = _sentence(
        ordered, told, lambda label: formatting.with_interval(_value(comparison, label, metric))
    )
    lacking = [m.label for m in comparison.contenders if metric.key not in m.values]
    if lacking:
        parts += [Part(text=" Without a number: "), *_names(lacking), Part(text=".")]
    return parts


def _sentence(ordered: Rank, told: Callable[[str], str], short: Callable[[str], str]) -> list[Part]:
    """Who is best, by how much, and who comes next."""
    if ordered.ties:
        parts: list[Part] = []
        for index, label in enumerate(ordered.leaders):
            if index:
                parts.append(Part(text=" and " if index == len(ordered.ties) else ", "))
            parts += [Part(text=label, name=True), Part(text=f" ({told(label)})")]
        parts.append(Part(text=" can't be told apart."))
    elif ordered.rest:
        parts = [Part(text=ordered.best, name=True), Part(text=f": {told(ordered.best)}.")]
    else:
        parts = [
            Part(text=ordered.best, name=True),
            Part(text=f", the only one with a number: {told(ordered.best)}."),
        ]
    if ordered.rest:
        following = ordered.rest[0]
        parts += [
            Part(text=" Next is "),
            Part(text=following, name=True),
            Part(text=f" with {short(following)}."),
        ]
    return parts


def _names(labels: Sequence[str]) -> list[Part]:
    parts = []
    for index, label in enumerate(labels):
        if index:
            parts.append(Part(text=" and " if index == len(labels) - 1 else ", "))
        parts.append(Part(text=label, name=True))
    return parts


def _without(question: str, comparison: Comparison, keys: Sequence[str]) -> Answer:
    titles = [comparison.metrics[key].short for key in keys if key in comparison.metrics]
    known = formatting.joined(titles or list(keys), "or")
    return Answer(question=question, parts=(Part(text=f"No method has a result for {known}."),))


def _answer(
    question: str, parts: Sequence[Part], ordered: Rank, winners: tuple[str, ...] | None = None
) -> Answer:
    return Answer(
        question=question,
        parts=tuple(parts),
        winners=ordered.leaders if winners is None else winners,
        rules=ordered.rules,
    )
