"""Commands: python -m gan_style COMMAND --option=value ..."""

import sys
from collections.abc import Callable
from dataclasses import replace
from inspect import getdoc
from itertools import chain
from pathlib import Path
from typing import Literal

from gan_style import command, config, methods, runs
from gan_style.errors import ConfigError, DataError
from gan_style.files import make_writable

Direction = Literal["a2b", "b2a"]


def translate(
    run: str,
    content: str,
    direction: Direction | None = None,
    out: str = "",
    weights: Literal["raw", "ema"] = "raw",
    overwrite: bool = False,
    batch_size: int | None = None,
    device: str = "",
) -> None:
    """Translate every image of a folder, or one image, with a trained run.

    Writes PNGs of the same names and sizes, and times.csv, to <run>/translated/<direction>.
    Example: python -m gan_style translate --run results/monet2photo/cyclegan/0001 --direction b2a
             --content data/monet2photo/testB

    Args:
        run: run folder, holds config.json and the weights.
        content: folder of images, searched at any depth, or one image; any size and aspect.
        direction: a2b turns images of A into B, b2a the other way; a2b unless the run says so.
        out: output folder.
        weights: raw as trained, or ema, their running average.
        overwrite: replace images that are in the output folder already.
        batch_size: images at once; chosen by their size when not given.
        device: cpu, cuda, cuda:1, ...; the accelerator where there is one when not given.
    """
    config.at_least(1, batch_size=batch_size)
    record = runs.read(Path(run))
    names = _output_names(Path(content))
    name = record["train"]["method"]

    from gan_style import checkpoint, translation

    module = methods.load(name)
    method_config = config.build(module.Config, record["method"])
    if direction:
        method_config = replace(method_config, direction=direction)
    folder = Path(out) if out else Path(run) / "translated" / method_config.direction
    _refuse_existing(folder, list(names.values()), overwrite)
    place = _device(device)
    method = module.Method(method_config)
    checkpoint.load_networks(method, Path(run), ema=weights == "ema")
    make_writable(folder)
    print(f"{len(names)} images, {method_config.direction}, {weights} weights, {place} -> {folder}")
    background = record["data"].get("background", "white")
    bad = translation.translate_files(
        method.to(place).eval().requires_grad_(False), names, folder, place, background, batch_size
    )
    print(f"{len(names) - len(bad)} images written to {folder}")
    if bad:
        listed = "; ".join(map(str, bad))
        raise DataError(f"{len(bad)} of {len(names)} images were left out: {listed}")


def grid(
    content: str, translated: str, out: str, count: int = 8, cell: int = 192, per_row: int = 1
) -> None:
    """Draw contents beside their translations as one picture.

    Reads a folder of images and one folder of PNGs as translate writes them, or several joined by
    commas; a column each. Writes a PNG, or a JPEG where the name ends so.
    Example: python -m gan_style grid --content data/monet2photo/testB
             --translated results/monet2photo/cyclegan/0001/translated/b2a --out grid.png

    Args:
        content: folder of the original images.
        translated: folders of the translations; each column is headed by its folder's name.
        out: picture to write.
        count: contents, spread over the folder.
        cell: side of a picture in pixels.
        per_row: contents in a row.
    """
    from PIL import Image

    from gan_style import images
    from gan_style.files import atomic_file

    config.at_least(1, count=count, cell=cell, per_row=per_row)
    if Path(out).suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ConfigError(f"--out is {out!r}, but must end in .png or .jpg")
    names = _output_names(Path(content))
    folders = [Path(folder) for folder in translated.split(",")]
    common = [path for path, name in names.items() if all((f / name).is_file() for f in folders)]
    if not common:
        raise DataError(f"no image of --content {content} has a translation in {translated}")
    chosen = images.spread(common, count)
    entries = [
        [images.to_array(images.load_image(p)) for p in (path, *(f / names[path] for f in folders))]
        for path in chosen
    ]
    rows = [list(chain(*entries[i : i + per_row])) for i in range(0, len(entries), per_row)]
    titles = [Path(content).name, *(folder.name for folder in folders)] * per_row
    picture = images.grid(rows, titles, cell)
    with atomic_file(Path(out)) as partial:
        Image.fromarray(picture).save(partial, quality=90)
    print(f"{len(chosen)} contents and their translations drawn: {out}")


def list_methods(name: str = "", /) -> None:
    """List the methods, or print the options of one.

    Example: python -m gan_style methods cyclegan

    Args:
        name: method whose options to print.
    """
    if name:
        print(f"{name}\n{config.help_text(config.describe(methods.source(name)))}")
        return
    for each in methods.names():
        summary = methods.source(each).read_text(encoding="utf-8").split('"""')[1].splitlines()[0]
        print(f"{each:12}{summary}")


COMMANDS: dict[str, Callable[..., None]] = {
    "translate": translate,
    "grid": grid,
    "methods": list_methods,
}


def _output_names(content: Path) -> dict[Path, Path]:
    from gan_style.translation import output_names

    return output_names(content)


def _refuse_existing(folder: Path, names: list[Path], overwrite: bool) -> None:
    there = [name for name in names if (folder / name).exists()]
    if there and not overwrite:
        raise DataError(
            f"{folder} holds {len(there)} of these images already, such as {there[0]}: "
            "give another --out, or --overwrite"
        )


def _device(wanted: str):  # type: ignore[no-untyped-def]  # torch.device, imported late
    import torch

    name = wanted or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"--device is {wanted!r}, which doesn't work here: {reason}") from error


def _overview() -> str:
    width = max(map(len, COMMANDS)) + 3
    summaries = [f"  {n:{width}}{(getdoc(f) or '').splitlines()[0]}" for n, f in COMMANDS.items()]
    return "\n".join(
        [
            "Commands: python -m gan_style COMMAND --option=value ...",
            "",
            *summaries,
            "",
            "Options of a command: python -m gan_style COMMAND --help",
            "Training: python train.py --help",
        ]
    )


def main() -> int | None:
    """Find the command, check its options, call it."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return None
    if arguments[0] not in COMMANDS:
        raise ConfigError(
            f"unknown command {arguments[0]!r}: {config.did_you_mean(arguments[0], COMMANDS)}"
        )
    function = COMMANDS[arguments[0]]
    words, options = command.parse(arguments[1:])
    if "help" in options:
        print(getdoc(function))
        return None
    return command.call(function, words, options)


if __name__ == "__main__":
    command.run("gan_style", main)
