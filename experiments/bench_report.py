"""The results of experiments/bench.py as a page of tables and a plot."""

import io
import math
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from bench_work import LOADER_VARIANTS, PLAIN, VARIANTS, Case
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from gan_style.report.plots import LIGHT, MARKERS

ITERATIONS = (100, 300, 500)  # of Gatys, as surveys have them
Row = dict[str, Any]


def summarised(row: Row) -> Row:
    """A row with medians, ratios to plain, and the rate of arithmetic, where there are times.

    A ratio is plain's seconds by ours: `ratio` of the medians, `pairwise` the median over rounds.
    """
    variants = row["variants"]
    base = variants.get(PLAIN, {}).get("seconds", [])
    for name, variant in variants.items():
        if "missing" in variant or not variant["seconds"]:
            continue
        variant["median"] = median(variant["seconds"])
        if row["operations"]:
            variant["gflops"] = row["operations"] / variant["median"] / 1e9
        if base and name != PLAIN:
            pairs = zip(base, variant["seconds"], strict=False)
            variant["ratio"] = median(base) / variant["median"]
            variant["pairwise"] = median(a / b for a, b in pairs)
    return row


def line(row: Row) -> str:
    """A row while others are still measured."""
    found = [f"{name} {_seconds(row, name)}" for name in row["variants"]]
    case = _case(row)
    return f"{case.label} {case.size}, batch {case.batch}: {', '.join(found)}"


def page(found: dict[str, Any]) -> str:
    """Everything in Markdown."""
    rows = found["rows"]
    parts = [_head(found), _times([row for row in rows if row["work"] != "loader"])]
    parts += [_rates(rows, found["machine"]["ceiling"]), _loader(rows), _orders(rows)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(found: dict[str, Any]) -> str:
    machine, ceiling = found["machine"], found["machine"]["ceiling"]
    where = machine["name"]
    if machine["device"] == "cpu":
        flags = ", ".join(machine["cpu_flags"])
        where += f" ({flags}), {machine['threads']} of {machine['cores']} threads"
    for key, value in machine["settings"].items():
        where += f", {key}: {value}"
    bf16 = f" and {ceiling['bf16_gflops']:.0f} in bf16" if "bf16_gflops" in ceiling else ""
    return (
        "# Benchmark\n\n"
        f"{where}; torch {machine['torch']}; {found['started']}, {found['seconds'] / 60:.0f} "
        f"minutes. Plain is experiments/plain.py in float32, ours the same mathematics in fp32 and "
        f"by --precision auto, here {machine['auto']}. Seconds are medians of "
        f"{_rounds(found['rows'])} rounds that take turns in one run; a ratio above 1 means that "
        "ours is quicker; memory is that of a process that does nothing else"
        f"{', libraries included' if machine['device'] == 'cpu' else ', tensors alone'}. The best "
        "that this machine does in the same run: convolutions at "
        f"{ceiling['fp32_gflops']:.0f} GFLOP/s in fp32{bf16}, "
        f"copies at {ceiling['copy_gb_per_second']:.0f} GB/s."
    )


def _rounds(rows: Iterable[Row]) -> str:
    counts = [len(each["seconds"]) for row in rows for each in row["variants"].values()]
    counts = [count for count in counts if count] or [0]
    least, most = min(counts), max(counts)
    return str(least) if least == most else f"{least} to {most}"


def _times(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        case = _case(row)
        auto = _variant(row, "ours auto")
        which = f" ({auto['precision']})" if "median" in auto else ""
        peaks = " / ".join(_gigabytes(row, name) for name in VARIANTS if name in row["variants"])
        lines.append(
            [
                case.label,
                case.size,
                str(case.batch),
                _seconds(row, PLAIN),
                _seconds(row, "ours fp32"),
                _ratio(row, "ours fp32"),
                _seconds(row, "ours auto") + which,
                _ratio(row, "ours auto"),
                peaks,
            ]
        )
    titles = ["work", "size", "batch", "plain", "ours fp32", "ratio", "ours auto", "ratio"]
    note = "A step, an iteration, an image or a batch of them, in seconds; peak memory in GB."
    return _table("Time and memory", note, [*titles, "peak plain / ours fp32 / auto"], lines)


def _rates(rows: Sequence[Row], ceiling: dict[str, float]) -> str:
    lines = []
    for row in rows:
        if not row["operations"]:
            continue
        case, cells = _case(row), []
        for name in VARIANTS:
            variant = _variant(row, name)
            best = ceiling.get(f"{variant.get('precision', 'fp32')}_gflops")
            share = f", {variant['gflops'] / best:.0%}" if best and "gflops" in variant else ""
            cells.append(f"{variant['gflops']:.0f}{share}" if "gflops" in variant else "")
        rates = [
            f"{row['batch'] / variant['median']:.3g}" if "median" in variant else ""
            for variant in (_variant(row, name) for name in VARIANTS)
        ]
        gflop = f"{row['operations'] / 1e9:.3g}"
        shown = " / ".join(rates) if row["work"] in ("cyclegan", "translate") else ""
        lines.append([case.label, case.size, str(case.batch), shown, gflop, *cells])
    titles = ["work", "size", "batch", "images/s plain / ours fp32 / auto", "GFLOP"]
    note = (
        "Operations of convolutions and matrix products alone, twice the multiplications, as plain "
        "has them; GFLOP/s, and their share of the machine's best in that precision."
    )
    return _table("How close to the machine's best", note, [*titles, *VARIANTS], lines)


def _loader(rows: Sequence[Row]) -> str:
    lines = []
    for row in (row for row in rows if row["work"] == "loader"):
        steps = [each for each in rows if each["work"] == "cyclegan" and _alike(each, row)]
        for name in LOADER_VARIANTS:
            variant = _variant(row, name)
            if "median" not in variant:
                continue
            rate, wanted = 1 / variant["median"], ""
            if steps:
                quickest = max(_fastest(step) for step in steps)
                wanted = f"{quickest:.3g}, {rate / quickest:.3g} times"
            lines.append([name, _case(row).size, f"{rate:.3g}", wanted])
    note = (
        "Pairs of crops a second from JPEG photographs of 640x480, decoded every time (as by "
        "--cache_gb 0) or cached, by two threads while nothing else computes; and what the fastest "
        "CycleGAN training step of this size takes."
    )
    titles = ["loader", "size", "gives, pairs/s", "CycleGAN takes"]
    return _table("Loader", note, titles, lines)


def _alike(row: Row, other: Row) -> bool:
    return (row["height"], row["width"]) == (other["height"], other["width"])


def _fastest(row: Row) -> float:
    """Images a second of its quickest variant; 0 where there is none."""
    times = [each["median"] for each in row["variants"].values() if "median" in each]
    return row["batch"] / min(times) if times else 0.0


def _orders(rows: Sequence[Row]) -> str:
    """Iterations of Gatys by passes of Johnson, at sizes of which there are both."""
    lines = []
    for row in (row for row in rows if (row["work"], row["name"]) == ("gatys", "lbfgs")):
        for other in rows:
            if (other["work"], other["name"]) != ("translate", "johnson") or not _alike(row, other):
                continue
            for name in VARIANTS:
                slow, fast = _variant(row, name), _variant(other, name)
                if "median" in slow and "median" in fast:
                    ratio = slow["median"] / fast["median"]
                    cells = [f"{count * ratio:.0f}" for count in ITERATIONS]
                    lines.append([_case(row).size, name, *cells])
    titles = ["size", "variant", *(f"{count} it." for count in ITERATIONS)]
    note = "Seconds of Gatys by L-BFGS, worked out from those of an iteration, by Johnson's."
    return _table("Gatys by Johnson", note, titles, lines)


def _table(title: str, note: str, titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    if not lines:
        return ""
    rule = "|---" * len(titles) + "|"
    body = "\n".join(f"| {' | '.join(each)} |" for each in (titles, *lines))
    first, _, rest = body.partition("\n")
    return f"## {title}\n\n{note}\n\n{first}\n{rule}\n{rest}"


def _case(row: Row) -> Case:
    return Case(**{key: row[key] for key in ("work", "name", "height", "width", "batch")})


def _variant(row: Row, name: str) -> Row:
    return row["variants"].get(name, {})


def _seconds(row: Row, name: str) -> str:
    variant = _variant(row, name)
    if "median" in variant:
        return f"{variant['median']:.3g}"
    return str(variant.get("missing", "as fp32"))


def _ratio(row: Row, name: str) -> str:
    variant = _variant(row, name)
    return f"{variant['ratio']:.2f}" if "ratio" in variant else ""


def _gigabytes(row: Row, name: str) -> str:
    peak = _variant(row, name).get("peak_bytes")
    return f"{peak / 1e9:.2f}" if peak else "?"


# --- The plot ---


def png(found: dict[str, Any]) -> bytes | None:
    """CycleGAN's training step: seconds and memory against size and batch; None without rows."""
    rows = [row for row in found["rows"] if row["work"] == "cyclegan"]
    rows = [row for row in rows if row["height"] == row["width"]]
    counts: dict[int, int] = {}
    for row in rows:
        counts[row["height"]] = counts.get(row["height"], 0) + 1
    if not rows:
        return None
    single = [row for row in rows if row["batch"] == min(each["batch"] for each in rows)]
    side = max(counts, key=lambda side: (counts[side], side))  # with the most batches
    of_side = [row for row in rows if row["height"] == side]
    figure = Figure(figsize=(7.6, 6.0), dpi=100, layout="constrained", facecolor=LIGHT.paper)
    grid = figure.subplots(2, 2, sharey="row")
    for axes, key, unit in ((grid[0], "median", 1.0), (grid[1], "peak_bytes", 1e9)):
        _curves(axes[0], single, "height", key, unit)
        _curves(axes[1], of_side, "batch", key, unit)
    grid[0][0].set_ylabel("seconds a step", color=LIGHT.ink)
    grid[1][0].set_ylabel("peak memory, GB", color=LIGHT.ink)
    grid[1][0].set_xlabel(f"side, pixels (batch {single[0]['batch']})", color=LIGHT.ink)
    grid[1][1].set_xlabel(f"batch ({side} pixels)", color=LIGHT.ink)
    grid[0][0].legend(frameon=False, labelcolor=LIGHT.ink)
    target = io.BytesIO()
    figure.savefig(target, format="png", metadata={"Software": None})
    return target.getvalue()


def _curves(axes: Axes, rows: Sequence[Row], across: str, key: str, unit: float) -> None:
    names = {name: None for row in rows for name in row["variants"]}
    for number, name in enumerate(names):
        points = sorted(
            (row[across], row["variants"][name][key] / unit)
            for row in rows
            if key in _variant(row, name)
        )
        if not points:
            continue
        known = {_variant(row, name)["precision"] for row in rows if key in _variant(row, name)}
        label = f"ours {known.pop()}" if name == "ours auto" else name
        xs, ys = zip(*points, strict=True)
        axes.plot(xs, ys, MARKERS[number] + "-", color=LIGHT.series[number], label=label)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(sorted({row[across] for row in rows}))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        axis.set_minor_formatter(NullFormatter())
    if rows and rows[0]["variants"]:
        low, high = axes.get_ylim()
        if math.log2(high / low) < 1:  # no tick otherwise
            axes.set_ylim(low / 2, high * 2)
    axes.grid(visible=True, color=LIGHT.line, linewidth=0.6)
    axes.tick_params(which="both", colors=LIGHT.muted, length=0)
    for spine in axes.spines.values():
        spine.set_color(LIGHT.line)
