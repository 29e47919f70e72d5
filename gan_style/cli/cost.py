"""The command cost: what a method takes."""

from pathlib import Path
from typing import Any

from gan_style.cli.shared import Weights, choose
from gan_style.config import Wanted, at_least, entries
from gan_style.errors import ConfigError, DataError


def cost(
    run: str = "",
    method: str = "",
    weights: Weights = "raw",
    sizes: str = "256,512,1024",
    limit: float = 60.0,
    runs: int | None = None,
    precision: Wanted = "auto",
    device: str = "",
    out: str = "",
    overwrite: bool = False,
    **options: str,
) -> None:
    """Time a method, and see how much memory it takes.

    One image at a time, after some to warm up, of each size: median and 95th percentile of seconds,
    from the image in memory to the image in memory, encoding the style included. Optimisations are
    timed by their iterations where one image would take longer than the limit. Parameters are of
    all networks that one translation calls; memory is of the tensors on a GPU, and of the whole
    process on a CPU.
    Example: python -m gan_style cost --method adain --sizes 256,512

    The method's own options can be set too, as in translate.

    Args:
        run: run folder.
        method: instead of a run.
        weights: raw as trained; ema, their running average; or best, that when KID was lowest.
        sizes: sides of square images in pixels, joined by commas; "" times nothing.
        limit: seconds a size, after which no run is begun.
        runs: that count, after some that don't; 10 on a CPU and 50 on a GPU when not given.
        precision: fp32, bf16, fp16; auto is what translate takes.
        device: cpu, cuda, cuda:1, mps; cuda where there is one when not given.
        out: JSON file to write; none when not given.
        overwrite: replace the file.
        options: any option of the method.
    """
    at_least(1, runs=runs)
    at_least(0, limit=limit)
    sides = [*filter(None, entries(sizes))]
    if not all(side.isdecimal() and int(side) for side in sides):
        raise ConfigError(f"--sizes is {sizes!r}, but must be pixels joined by commas")
    if out and Path(out).exists() and not overwrite:
        raise DataError(f"{out} is there already: give another --out, or --overwrite")
    chosen = choose(cost, run, method, weights, options)
    from gan_style import devices
    from gan_style.evaluation import cost as costs
    from gan_style.io.files import write_json
    from gan_style.weights import known, used

    place = devices.find(device)
    built = chosen.build().to(place)
    measured = costs.measure(
        built,
        takes_style=chosen.takes_style,
        device=place,
        precision=devices.choose_precision(precision, place),
        sizes=[int(side) for side in sides],
        limit=limit,
        runs=runs,
    )
    measured["weights"] = sorted(used())
    measured["licences"] = sorted({known()[name].licence for name in used()})
    if out:
        write_json(Path(out), measured)
    print(f"{measured['parameters']:,} parameters, {measured['bytes'] / 1e6:.1f} MB; {place}")
    for side, row in measured["sizes"].items():
        print(f"{side:>6} pixels: {row.get('missing') or _timing(row)}")


def _timing(row: dict[str, Any]) -> str:
    about = "about " if row["estimated"] else ""
    runs = f"{row['runs']} run{'s' * (row['runs'] != 1)}"
    peak = f", {row['peak_bytes'] / 1e9:.2f} GB at most" if "peak_bytes" in row else ""
    return f"{about}{row['median']:.3g} s (95th percentile {row['p95']:.3g} s, {runs}){peak}"
