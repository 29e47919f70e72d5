"""Commands: python -m gan_style COMMAND --option=value ..."""

import inspect
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from inspect import getdoc
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from gan_style import command, methods, runs
from gan_style.config import at_least, build, describe, did_you_mean, help_text, presets
from gan_style.errors import ConfigError, DataError
from gan_style.files import make_writable


def translate(
    content: str,
    run: str = "",
    method: str = "",
    style: str = "",
    out: str = "",
    pairs: str = "",
    style_weights: str = "",
    content_masks: str = "",
    style_masks: str = "",
    colour: Literal["style", "luma", "match"] = "style",
    side: int | None = None,
    save_every: int = 0,
    resume: bool = False,
    weights: Literal["raw", "ema"] = "raw",
    overwrite: bool = False,
    batch_size: int | None = None,
    seed: int = 0,
    device: str = "",
    **options: str,
) -> None:
    """Translate images with a trained run, or with a method that needs no training of yours.

    Reads one image or a folder of contents, and so for styles: every content in every style, or the
    pairs of a file. Writes PNGs and times.csv to <run>/translated or results/translated/<method>.
    Example: python -m gan_style translate --run results/monet2photo/cyclegan/0001 --direction b2a
             --content data/monet2photo/testB
    Example: python -m gan_style translate --method gatys --content photo.jpg --style painting.jpg
             --out stylised.png

    The method's own options can be set too, or one of its presets by --preset: they are listed by
    python -m gan_style methods METHOD. --config FILE reads any of all these from a TOML file.

    Args:
        content: image, or folder of images, searched at any depth; any size and aspect.
        run: run folder, holds config.json and the weights.
        method: instead of a run; one without weights of its own, or with published ones.
        style: image or folder of images; several images joined by commas are blended.
        out: output folder; or, for a single image, the PNG itself.
        pairs: CSV file with the columns content and style, paths in the two folders.
        style_weights: of blended styles, joined by commas; equal when not given.
        content_masks: images, white where each of the styles goes, joined by commas.
        style_masks: images, white where each of the styles counts, joined by commas.
        colour: style takes the style's; luma and match keep the content's (only the brightness is
            translated, or the style is recoloured first).
        side: larger contents are scaled down to this longer side, 0 keeps every size; when not
            given, 512 for methods that optimise and 0 for all others.
        save_every: iterations between two intermediate images in <image>.steps, with the loss
            curve; 0 writes neither.
        resume: keep the images that are there and go on with the one that was interrupted.
        weights: raw as trained, or ema, their running average.
        overwrite: replace images that are in the output folder already.
        batch_size: images at once; chosen by their size when not given.
        seed: of noise that a method starts from.
        device: cpu, cuda, cuda:1, mps; cuda where there is one when not given.
        options: any option of the method.
    """
    at_least(1, batch_size=batch_size)
    at_least(0, side=side, save_every=save_every, seed=seed)
    if seed >= 2**31:
        raise ConfigError(f"--seed is {seed}, but must be below {2**31}")
    if bool(run) == bool(method):
        both = f"--run is {run!r} and --method {method!r}"
        raise ConfigError(f"{both if run else 'no --run and no --method'}: give one of the two")
    record = runs.read(Path(run)) if run else None
    name = record["train"]["method"] if record else method
    typed = _method_options(name, options, record)
    import torch

    from gan_style import checkpoint, translation
    from gan_style.images import SUFFIXES
    from gan_style.method import OptimisedMethod, TrainedMethod

    module = methods.load(name)
    if record:
        _refuse_trained_in(module.Method, options, run)
    elif weights != "raw":
        raise ConfigError(f"--weights is {weights!r}, but only a run has averaged weights")
    if save_every and not issubclass(module.Method, OptimisedMethod):
        raise ConfigError(f"--save_every is {save_every}, but {name} has no iterations to show")
    method_config = build(module.Config, typed)
    takes_style = module.PAPER.style == "image"
    if takes_style:
        if not style:
            raise ConfigError(f"{name} takes its style from an image: give one as --style")
        jobs = translation.jobs_with_styles(
            Path(content), style, style_weights, content_masks, style_masks,
            Path(pairs) if pairs else None,
        )  # fmt: skip
    else:
        _refuse_styles(
            name, style=style, pairs=pairs, style_weights=style_weights,
            content_masks=content_masks, style_masks=style_masks,
            colour="" if colour == "style" else colour,
        )  # fmt: skip
        jobs = translation.jobs_without_styles(Path(content))
    folder = Path(out) if out else _default_folder(run, name, method_config)
    single = bool(out) and folder.suffix.lower() in SUFFIXES and not folder.is_dir()
    if single:
        folder, jobs = _single(folder, jobs)
    if not resume:
        _refuse_existing(folder, [job.name for job in jobs], overwrite)
    place = _device(device)
    torch.manual_seed(seed)
    built = module.Method(method_config)
    if record:
        checkpoint.load_networks(built, Path(run), ema=weights == "ema")
    elif isinstance(built, TrainedMethod):
        _load_published(name, built)
    how = translation.How(
        device=place,
        background=record["data"].get("background", "white") if record else "white",
        batch_size=batch_size,
        side=(built.longest_side or 0) if side is None else side,
        colour=colour,
        save_every=save_every,
        resume=resume,
        times=not single,
    )
    translation.check_sizes(built, jobs, how)
    make_writable(folder)
    images = f"{len(jobs)} image{'s' * (len(jobs) != 1)}"
    made_by = _label(name, method_config, f"{weights} weights" if record else "")
    print(f"{images}, {made_by}, {place} -> {folder}")
    bad = translation.translate_files(
        built.to(place).eval().requires_grad_(False),
        jobs,
        folder,
        how,
        {**asdict(method_config), "seed": seed},
    )
    there = len(jobs) - len(bad)
    print(f"{there} of {len(jobs)} are in {folder}" if resume else f"{there} written to {folder}")
    if bad:
        listed = "; ".join(dict.fromkeys(map(str, bad)))
        raise DataError(f"{len(bad)} of {len(jobs)} images were left out: {listed}")


def _method_options(
    name: str, options: dict[str, str], record: dict[str, Any] | None
) -> dict[str, Any]:
    """The method's options as typed, over those of the run or of a preset."""
    names = [field.name for field in describe(methods.source(name))]
    for key in options:
        if key not in [*names, "preset"]:
            known = {*names, *inspect.signature(translate).parameters} - {"options"}
            raise ConfigError(f"unknown option --{key}: {did_you_mean(key, known, '--')}")
    if record and (unknown := set(record["method"]) - set(names)):
        raise ConfigError(
            f"the run has --{min(unknown)}, which {name} doesn't know: another version made it"
        )
    if record and "preset" in options:
        raise ConfigError(f"--preset is {options['preset']!r}, but a run has its own options")
    if record:
        return record["method"] | options
    return command.with_preset({**options, "method": name}, options.get("preset", ""))


def _refuse_trained_in(method: Any, options: dict[str, str], run: str) -> None:
    """Refuse options that the weights of a run depend on."""
    for option, value in options.items():
        if option not in method.adjustable:
            may = ", ".join(f"--{name}" for name in method.adjustable) or "no option of the method"
            raise ConfigError(
                f"--{option} is {value!r}, but {run} was trained with its own: {may} can be changed"
            )


def _refuse_styles(name: str, **given: str) -> None:
    for option, value in given.items():
        if value:
            raise ConfigError(f"--{option} is {value!r}, but {name} takes no style image")


def _default_folder(run: str, name: str, method_config: Any) -> Path:
    if not run:
        return Path("results") / "translated" / name
    return Path(run) / "translated" / getattr(method_config, "direction", "")


def _single(path: Path, jobs: list[Any]) -> tuple[Path, list[Any]]:
    """The folder and the job of one image that was given its file name."""
    if path.suffix.lower() != ".png":
        raise ConfigError(f"--out is {str(path)!r}, but images are written as .png")
    if len(jobs) != 1:
        raise ConfigError(
            f"--out is {str(path)!r}, but there are {len(jobs)} images: give a folder"
        )
    return path.parent, [replace(jobs[0], name=Path(path.name))]


def _load_published(name: str, method: Any) -> None:
    """Fill the networks that translate needs with published weights."""
    from gan_style import weights

    for net in method.translators:
        if net not in method.pretrained:
            raise ConfigError(
                f"{name} has no published weights: train it and give --run "
                f"(python train.py --method {name} --help)"
            )
        getattr(method, net).load_state_dict(weights.load(method.pretrained[net]))


def _label(name: str, method_config: Any, weights: str) -> str:
    words = [name, getattr(method_config, "direction", ""), weights]
    return ", ".join(word for word in words if word)


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

    at_least(1, count=count, cell=cell, per_row=per_row)
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
        source = methods.source(name)
        print(f"{name}\n{help_text(describe(source))}")
        for preset, options in presets(source).items():
            domains = options.pop("domains", {})
            print(f"preset {preset}: {_as_flags(options) or 'as above'}")
            for domain, its in domains.items():
                print(f"  for --domain {domain}: {_as_flags(its)}")
        return
    for each in methods.names():
        summary = methods.source(each).read_text(encoding="utf-8").split('"""')[1].splitlines()[0]
        print(f"{each:12}{summary}")


def _as_flags(options: dict[str, Any]) -> str:
    return " ".join(f"--{key}={value}" for key, value in options.items())


def list_weights(action: str = "", name: str = "", /) -> None:
    """List the pretrained weights and which of them are here, or fetch some.

    Methods fetch what they need themselves. Files are kept in the folder that GAN_STYLE_WEIGHTS
    names, else in the user's cache folder; every one is compared with its published checksum.
    Example: python -m gan_style weights fetch adain

    Args:
        action: fetch; nothing lists.
        name: weights to fetch.
    """
    from gan_style import weights

    if action not in ("", "fetch") or (action and not name):
        typed = " ".join(filter(None, ["weights", action, name]))
        raise ConfigError(f"can't read {typed!r}: known: weights, weights fetch NAME")
    if action:
        print(weights.fetch(name))
        return
    print(f"folder: {weights.folder()}")
    for row in weights.rows():
        size = f"{row.size / 1e6:.0f} MB" if row.size else "size unknown"
        print(f"\n{row.name:20}{row.path or 'missing'}\n    {row.about}, {size}, {row.licence}")
        for file, sources in row.files.items():
            print(f"    {file}: {', or '.join(sources)}")


COMMANDS: dict[str, Callable[..., None]] = {
    "translate": translate,
    "grid": grid,
    "methods": list_methods,
    "weights": list_weights,
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
            f"unknown command {arguments[0]!r}: {did_you_mean(arguments[0], COMMANDS)}"
        )
    function = COMMANDS[arguments[0]]
    words, options = command.parse(arguments[1:])
    if "help" in options:
        print(getdoc(function))
        return None
    return command.call(function, words, command.with_file(options))


if __name__ == "__main__":
    command.run("gan_style", main)
