"""A comparison as a page to look at, as Markdown for a code host, as CSV and as pictures.

    results/<name>/report/metrics.json  ->  index.html, report.md, metrics.csv
                                            grid.jpg, tradeoff.png, speed.png (for report.md)

index.html holds everything it shows and fetches nothing. All of it is made before the first file
is written, and each is written whole, index.html last. Pictures whose files aren't there any more,
as in a report that was sent to somebody, are those of the index.html before.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from gan_style.config import at_least
from gan_style.errors import DataError
from gan_style.io.files import atomic_file
from gan_style.report import answers, figures, formatting, pictures, plots, record, tables, vote
from gan_style.report.plots import Plot
from gan_style.report.record import Comparison, Method, Metric

PAGE = "index.html"
ROWS, GRID_ROWS = 12, 6  # of the page, where nobody says; of grid.jpg
MAIN = ("kid", "fid", "artfid", "lpips_alex", "ssim", "gram", "colour_histogram")  # in report.md

FAMILIES: Mapping[str, str] = {
    "collection": "Learns from two collections of images",
    "optimisation": "Optimises the pixels of each image",
    "feedforward": "One pass of a network",
    "transform": "Transforms features, without training for a style",
}
STYLES: Mapping[str, str] = {
    "collection": "its style is that of the whole collection",
    "fixed": "its network has learned one style image",
    "indexed": "its network has learned several style images",
    "image": "its style is that of any one image",
}
COMPARED: Mapping[str, str] = {
    "collection": "all images of the target collection",
    "content": "the image that it was made from",
    "style": "the style image of its pair",
    "reconstruction": "the content, after translating back",
    "truth": "the true translation",
}
PROTOCOL: Mapping[str, str] = {
    "content": "Contents",
    "style": "Style images",
    "collection": "Target collection",
    "collection_images": "Images of the collection",
    "side": "Longer side of contents and styles, in pixels",
    "size": "Measured at, in pixels",
    "resize": "Resized to",
    "seed": "Seed",
}


def write(folder: Path, rows: int | None = None) -> Path:
    """Write the report of the comparison in `folder` beside its metrics.json; the page comes back.

    Args:
        folder: holds metrics.json, and votes where there are some.
        rows: pairs whose pictures the page shows, at even distances where there are more; as many
            as the comparison says when not given.

    Raises:
        ConfigError: less than one row.
        DataError: no metrics.json, one that can't be read, or votes that can't; or none of the
            pictures is there, nor in the page before.
    """
    at_least(1, rows=rows)
    comparison = record.read(folder)
    votes = vote.tally(folder)
    methods = [method for method in comparison.contenders if method.images]
    said = comparison.protocol.get("rows")
    wanted = rows or (said if isinstance(said, int) and said > 0 else ROWS)
    before = pictures.earlier(folder / PAGE)
    shown = pictures.rows_of(comparison, methods, wanted, before)
    if shown and methods and not any(image for _, images in shown for image in images):
        raise DataError(
            f"none of the pictures that {folder / record.NAME} names is there, such as "
            f"{comparison.pairs[shown[0][0]].content}: write the report where they are; "
            "nothing was changed"
        )
    drawn = _plots(comparison)
    files: dict[str, bytes | None] = {
        "grid.jpg": _grid(methods, [images for _, images in shown], folder / "grid.jpg"),
        **{name: plots.png(plot) if plot else None for name, (plot, _) in drawn.items()},
        "metrics.csv": _csv(comparison).encode(),
    }
    files["report.md"] = _markdown(comparison, votes, files, drawn, shown).encode()
    files[PAGE] = _page(comparison, votes, drawn, methods, shown).encode()
    for name, data in files.items():
        if data is None:  # one of an earlier report would be of other numbers
            (folder / name).unlink(missing_ok=True)
            continue
        with atomic_file(folder / name) as partial:
            partial.write_bytes(data)
    return folder / PAGE


def failed(folder: Path) -> list[str]:
    """Labels of the methods of the comparison in `folder` that have no result."""
    return [method.label for method in record.read(folder).failed]


Drawn = Mapping[str, tuple[Plot | None, str]]  # by file name, with the caption
Shown = Sequence[tuple[int, list[Any]]]  # index of a pair, and its pictures


def _plots(comparison: Comparison) -> Drawn:
    trade_off, speed = figures.trade_off(comparison), figures.speed(comparison)
    return {
        "tradeoff.png": (
            trade_off,
            f"Style against content, down and left is better. {_legend(trade_off)}",
        ),
        "speed.png": (
            speed,
            "Style against time, down and left is better; the time axis is logarithmic. "
            f"{_legend(speed)} Training isn't part of it.",
        ),
    }


def _legend(plot: Plot | None) -> str:
    points = plot.points if plot else ()
    star = ", the star is a reference" if any(point.index is None for point in points) else ""
    line = (
        " The dashed line joins the Pareto front: whatever is better than one of these in one "
        "number is worse in the other."
    )
    return f"Bars are 95 % intervals{star}.{line if plot and len(plot.front) > 1 else ''}"


def _page(
    comparison: Comparison,
    votes: vote.Tally | None,
    drawn: Drawn,
    methods: Sequence[Method],
    shown: Shown,
) -> str:
    pictured = pictures.embedded([images for _, images in shown])
    columns = pictures.columns_of(methods)
    grid_rows = [
        {
            "name": comparison.pairs[index].name,
            "cells": [
                {"picture": picture, "alt": _alt(comparison, index, column, columns)}
                for column, picture in enumerate(row)
            ],
        }
        for (index, _), row in zip(shown, pictured, strict=True)
    ]
    return _render(
        "report.html.j2",
        _common(comparison, votes)
        | {
            "numbers": tables.numbers(comparison),
            "figures": [
                {
                    "svg": Markup(plots.svg(plot, name)),
                    "alt": figures.described(plot),
                    "caption": caption,
                }
                for name, (plot, caption) in drawn.items()
                if plot
            ],
            "grid": {
                "columns": columns,
                "rows": grid_rows,
                "text": _chosen(comparison, len(shown)),
                "notes": _left_out(comparison),
            },
            "viewer": _viewer(comparison, methods, columns, shown, grid_rows),
            "vote_command": "python -m gan_style vote --report .",
            "protocol": _protocol(comparison),
            "measured": [_measured(comparison, metric) for metric in comparison.shown()],
            "made_by": _made_by(comparison),
            "firsts": _firsts,
            "FAMILIES": FAMILIES,
            "STYLES": STYLES,
        },
    )


def _markdown(
    comparison: Comparison,
    votes: vote.Tally | None,
    files: Mapping[str, bytes | None],
    drawn: Drawn,
    shown: Shown,
) -> str:
    rows = min(len(shown), GRID_ROWS)
    return _render(
        "report.md.j2",
        _common(comparison, votes)
        | {
            "table": _main_numbers(comparison),
            "has_grid": files["grid.jpg"] is not None,
            "grid_alt": f"{formatting.plural(rows, 'content')} and their translations",
            "grid_caption": _chosen(comparison, rows),
            "plots": [
                {"name": name, "alt": figures.described(plot), "caption": caption}
                for name, (plot, caption) in drawn.items()
                if plot
            ],
            "measured": [
                _measured(comparison, metric)
                for metric in comparison.shown()
                if metric.key in MAIN and comparison.values_of(metric)
            ],
            "spent": _spent,
        },
    )


def _render(template: str, context: Mapping[str, Any]) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(pictures.__file__).parent),
        autoescape=lambda name: bool(name and name.endswith(".html.j2")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "linked": formatting.linked,
        "link": formatting.link,
        "plural": formatting.plural,
        "count": formatting.count,
        "percent": lambda share: f"{100 * share:.0f} %",
        "md": formatting.markdown,
        "fenced": lambda text: text.replace("```", "'''"),
    }
    return environment.get_template(template).render(**context)


def _common(comparison: Comparison, votes: vote.Tally | None) -> dict[str, Any]:
    """What both forms say."""
    found = answers.every(comparison)
    rules = dict.fromkeys(rule for answer in found for rule in answer.rules)
    shares = (
        [(record.line(label), share) for label, share in votes.methods.items()] if votes else []
    )
    return {
        "comparison": comparison,
        "facts": _facts(comparison),
        "answers": found,
        "rules": {rule: number for number, rule in enumerate(rules, start=1)},
        "RULES": answers.RULES,
        "known": list(_known(comparison)),
        "costs": tables.costs(comparison),
        "devices": _devices(comparison),
        "votes": votes,
        "shares": sorted(shares, key=lambda each: -each[1].share),
    }


def _devices(comparison: Comparison) -> list[str]:
    """Where methods were timed, and in what precision; each once, with whom where they differ."""
    found: dict[str, list[str]] = {}
    for method in comparison.working:
        if method.cost.sizes:
            place = ", ".join(filter(None, (method.cost.device, method.cost.precision)))
            found.setdefault(place, []).append(method.label)
    if len(found) == 1:
        return list(found)
    return [f"{place} ({formatting.joined(labels)})" for place, labels in found.items()]


def _facts(comparison: Comparison) -> list[str]:
    facts = [
        formatting.plural(len(comparison.contenders), "method"),
        formatting.plural(len(comparison.pairs), "pair") + " of a content and a style image",
    ]
    if images := comparison.protocol.get("collection_images"):
        facts.append(f"a collection of {record.line(images)} images")
    if comparison.failed:
        facts.append(f"{len(comparison.failed)} without a result")
    return facts


def _alt(comparison: Comparison, index: int, column: int, columns: Sequence[str]) -> str:
    name = comparison.pairs[index].name
    if column == 0:
        return f"Content {name}"
    return f"Style image of {name}" if column == 1 else f"{name} by {columns[column]}"


def _chosen(comparison: Comparison, rows: int) -> str:
    total = len(comparison.pairs)
    if rows == total:
        return f"All {formatting.plural(total, 'pair')}."
    return (
        f"{rows} of {formatting.plural(total, 'pair')}, at even distances in their list, not "
        "chosen by looking."
    )


def _left_out(comparison: Comparison) -> list[str]:
    notes = [f"{method.label} is left out: {method.error}" for method in comparison.failed]
    notes += [f"{m.label} has no pictures." for m in comparison.contenders if not m.images]
    if references := formatting.joined([method.label for method in comparison.references]):
        notes.append(f"References are not shown: {references}.")
    return notes


def _grid(methods: Sequence[Method], rows: Sequence[Any], before: Path) -> bytes | None:
    chosen = [rows[index] for index in pictures.spread(len(rows), GRID_ROWS)]
    if not methods or not any(image for row in chosen for image in row):
        return None
    if before.is_file() and not any(isinstance(i, Image.Image) for row in chosen for i in row):
        return before.read_bytes()  # decoding and encoding again would make it worse
    return pictures.grid(chosen, ["content", "style", *(method.label for method in methods)])


def _viewer(
    comparison: Comparison,
    methods: Sequence[Method],
    columns: Sequence[str],
    shown: Shown,
    grid_rows: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """What the dialog needs: the large pictures and the numbers of each."""
    makers: list[Method | None] = [None, None, *methods]
    return {
        "columns": [
            {"label": label, "method": maker is not None}
            for label, maker in zip(columns, makers, strict=True)
        ],
        "rows": [
            {
                "name": row["name"],
                "cells": [
                    {
                        "source": cell["picture"].large,
                        "width": cell["picture"].width,
                        "height": cell["picture"].height,
                        "alt": cell["alt"],
                        "numbers": _numbers_of(comparison, maker, index),
                    }
                    if cell["picture"]
                    else None
                    for maker, cell in zip(makers, row["cells"], strict=True)
                ],
            }
            for (index, _), row in zip(shown, grid_rows, strict=True)
        ],
    }


def _numbers_of(comparison: Comparison, method: Method | None, index: int) -> list[list[str]]:
    """What the metrics of pairs say of one picture."""
    found = []
    for metric in comparison.shown() if method else ():
        value = method.values.get(metric.key) if method else None
        number = value.each[index] if value and value.each else None
        if number is not None:
            found.append([metric.short, formatting.number(number)])
    return found


def _firsts(table: tables.Table) -> set[int]:
    """Cells that begin a group."""
    starts, place = set(), 0
    for group in table.groups:
        starts.add(place)
        place += len(group.columns)
    return starts


def _protocol(comparison: Comparison) -> list[tuple[str, str]]:
    facts = [("Pairs", formatting.count(len(comparison.pairs)))]
    further = (key for key in comparison.protocol if key not in (*PROTOCOL, "rows"))
    names = [*PROTOCOL, *further]
    facts += [
        (PROTOCOL.get(key, record.line(key)), record.line(comparison.protocol[key]))
        for key in names
        if comparison.protocol.get(key) not in (None, "")
    ]
    return facts


def _made_by(comparison: Comparison) -> list[tuple[str, str]]:
    made_by = comparison.made_by
    libraries = made_by["libraries"]
    version = f"gan_style {made_by.get('gan_style', '')} {made_by.get('commit', '')}"
    facts = {
        "Program": version if made_by.get("gan_style") else "",
        "Python": made_by.get("python"),
        "Libraries": ", ".join(f"{name} {number}" for name, number in libraries.items()),
        "Machine": made_by.get("machine"),
    }
    return [(name, record.line(fact)) for name, fact in facts.items() if fact]


def _measured(comparison: Comparison, metric: Metric) -> dict[str, Any]:
    values = comparison.values_of(metric)
    counts = sorted({value.images for value in values if value.images is not None})
    if metric.key == answers.TRADE_OFF:
        uncertainty = "95 % interval, worked out from those of its two factors"
    elif any(value.each for value in values):
        uncertainty = "mean over the pairs, and its 95 % bootstrap interval"
    elif any(value.interval for value in values):
        uncertainty = "95 % interval, of its spread over random halves of the images"
    else:
        uncertainty = "none known" if values else ""
    ends = [formatting.count(count) for count in (counts[:1] + counts[1:][-1:])]
    return {
        "metric": metric,
        "against": COMPARED.get(metric.against, metric.against),
        "images": " to ".join(ends),
        "uncertainty": uncertainty,
    }


def _main_numbers(comparison: Comparison) -> Any:
    """The main metrics alone, flat."""
    whole = tables.numbers(comparison)
    columns = [column for group in whole.groups for column in group.columns]
    metrics = [metric for group in tables.grouped(comparison).values() for metric in group]
    kept = [place for key in MAIN for place, metric in enumerate(metrics) if metric.key == key]
    return {
        "columns": [columns[place] for place in kept],
        "rows": [
            {"method": row.method, "cells": [row.cells[place] for place in kept]}
            for row in whole.rows
            if not row.method.error
        ],
        "remarks": [
            *tables.few(comparison, [metrics[place] for place in kept]),
            *tables.cannot_tell(comparison, [metrics[place] for place in kept]),
        ],
    }


def _known(comparison: Comparison) -> Iterator[str]:
    """What to bear in mind with the numbers."""
    images = comparison.protocol.get("collection_images")
    against = f", the collection has {record.line(images)} images" if images else ""
    resize = comparison.protocol.get("resize")
    scaled = f"; measured at {record.line(resize)}" if resize else ""
    yield f"{formatting.plural(len(comparison.pairs), 'pair')}{against}{scaled}."
    if comparison.reference(record.UNCHANGED) and not any(
        method.label == record.REAL for method in comparison.methods
    ):
        yield (
            "There is no yardstick of real images, as the collection is the styles themselves: how "
            "close one can come isn't known, only whether a method is closer than the contents "
            "left alone."
        )
    if any(method.cost.training for method in comparison.working):
        yield "Intervals are over images: another training, of another seed, may differ by more."
    for method in comparison.working:
        for short in method.short_of:
            yield f"{method.label}: {short}."
    if any("VGG" in m.title and comparison.values_of(m) for m in comparison.shown()):
        yield (
            "Numbers on VGG, which their titles say, favour methods that work with VGG's features, "
            "as Gatys, Johnson and AdaIN do."
        )


def _spent(method: Method) -> str:
    """What went into a method, and what to know of it."""
    training = method.cost.training
    if training and training.seconds is None:
        facts = ["the cost of its training isn't known"]
    elif training and training.seconds is not None:
        images = f", {formatting.plural(training.images, 'image')}" if training.images else ""
        place = f" on {training.device}" if training.device else ""
        facts = [f"{formatting.duration(training.seconds)} of training{place}{images}"]
    else:
        facts = ["a reference" if method.reference else "nothing was trained here"]
    if method.weights:
        facts.append(f"weights: {method.weights}")
    return ". ".join(["; ".join(facts), *(note.rstrip(".") for note in method.notes)]) + "."


def _csv(comparison: Comparison) -> str:
    """A row a method: every number in full, then what it took, then why it failed."""
    sides = sorted({side for method in comparison.methods for side in method.cost.sizes})
    rows = [_csv_row(comparison, method, sides) for method in comparison.methods]
    target = io.StringIO()
    writer = csv.DictWriter(target, list(rows[0]) if rows else ["method"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue()


def _csv_row(comparison: Comparison, method: Method, sides: Sequence[int]) -> dict[str, Any]:
    row: dict[str, Any] = {"method": method.label, "reference": int(method.reference)}
    for key in comparison.metrics:
        value, name = method.values.get(key), record.line(key)
        row[name] = value.value if value else None
        for what in ("low", "high", "images"):
            row[f"{name}_{what}"] = getattr(value, what, None)
    cost = method.cost
    row |= {
        "training_seconds": cost.training.seconds if cost.training else None,
        "training_images": cost.training.images if cost.training else None,
        "parameters": cost.parameters,
        "bytes": cost.bytes,
        "device": cost.device,
        "precision": cost.precision,
    }
    for side in sides:
        timing = cost.sizes.get(side)
        for name in ("median", "p95", "peak_bytes"):
            row[f"{name}_{side}"] = getattr(timing, name, None)
        row[f"estimated_{side}"] = int(timing.estimated) if timing else None
    row["error"] = method.error
    return row
