"""The command translate: images by a run or a method."""

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from gan_style.cli.shared import Weights, choose, refuse_styles, say_left_out
from gan_style.config import Wanted, at_least
from gan_style.errors import ConfigError, DataError
from gan_style.io.files import listed, make_writable


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
    weights: Weights = "raw",
    overwrite: bool = False,
    format: Literal["", "png", "jpg", "webp", "tiff"] = "",
    batch_size: int | None = None,
    precision: Wanted = "auto",
    seed: int = 0,
    device: str = "",
    pattern: str = "{stem}",
    **options: str,
) -> None:
    """Translate images with a trained run, or with a method that needs no training of yours.

    Reads one image or a folder of contents, and so for styles: every content in every style, or the
    pairs of a file. Writes images and times.csv to <run>/translated/<contents>/<direction>, or to
    results/translated/<contents>/<method>; of other weights than raw, to <direction>-ema or -best;
    of a net in a folder zoo to results/translated/<net>/<contents>.
    What is transparent in a content stays so.
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
        out: output folder; or, for a single image, the file itself: .png, .jpg, .webp or .tiff.
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
        resume: keep the images that the same command made of the same images, and go on with the
            one that was interrupted; what other weights or options made is made again.
        weights: raw as trained; ema, their running average; or best, that when KID was lowest.
        overwrite: replace images that are in the output folder already.
        format: png, jpg, webp or tiff; png, or what --out ends in, when not given.
        batch_size: images at once; chosen by their size when not given.
        precision: fp32, bf16, fp16; auto is what this device is quickest in.
        seed: of noise that a method starts from.
        device: cpu, cuda, cuda:1, mps; cuda where there is one when not given.
        pattern: what images are called: {stem} is the content's name, {style} that of the style
            image, instead of a folder for each style; folders of contents stay.
        options: any option of the method.
    """
    at_least(1, batch_size=batch_size)
    at_least(0, side=side, save_every=save_every, seed=seed)
    if seed >= 2**31:
        raise ConfigError(f"--seed is {seed}, but must be below {2**31}")
    chosen = choose(translate, run, method, weights, options)
    import torch

    from gan_style import checkpoint, devices
    from gan_style.data.images import SUFFIXES
    from gan_style.data.pairs import STEM, STYLE, check_pattern
    from gan_style.method import OptimisedMethod
    from gan_style.translation import jobs as translation

    check_pattern(pattern)
    name, module, method_config, record = chosen.name, chosen.module, chosen.config, chosen.record
    if save_every and not issubclass(module.Method, OptimisedMethod):
        raise ConfigError(f"--save_every is {save_every}, but {name} has no iterations to show")
    if chosen.takes_style:
        if not style:
            raise ConfigError(f"{name} takes its style from an image: give one as --style")
        jobs = translation.jobs_with_styles(
            Path(content), style, style_weights, content_masks, style_masks,
            Path(pairs) if pairs else None, pattern,
        )  # fmt: skip
    else:
        refuse_styles(
            name, style=style, pairs=pairs, style_weights=style_weights,
            content_masks=content_masks, style_masks=style_masks,
            colour="" if colour == "style" else colour,
        )  # fmt: skip
        if STYLE in pattern:
            raise ConfigError(f"--pattern is {pattern!r}, but {name} takes no style image")
        jobs = translation.jobs_without_styles(Path(content), pattern)
    folder = Path(out) if out else _default_folder(Path(content), chosen)
    single = bool(out) and folder.suffix.lower() in SUFFIXES and not folder.is_dir()
    if single and pattern != STEM:
        raise ConfigError(f"--pattern is {pattern!r}, but --out names the one image: give one")
    if single:
        folder, jobs = _single(folder, jobs, format)
    elif format:
        jobs = [replace(job, name=job.name.with_suffix(f".{format}")) for job in jobs]
    say_left_out(Path(content), *([Path(style)] if chosen.takes_style and "," not in style else []))
    contents = None if out else _contents_folder(Path(content))
    if contents:
        translation.refuse_other_contents(folder, contents)
    if not resume:
        _refuse_existing(folder, [job.name for job in jobs], overwrite)
    place = devices.find(device)
    numbers = devices.choose_precision(precision, place)
    torch.manual_seed(seed)
    built = chosen.build()
    how = translation.How(
        device=place,
        background=chosen.background,
        batch_size=batch_size,
        side=(built.longest_side or 0) if side is None else side,
        colour=colour,
        save_every=save_every,
        resume=resume,
        precision=numbers,
        contents=contents,
        alone=single,
    )
    translation.check_sizes(built, jobs, how)
    strokes = translation.strokes(record["data"], jobs, how) if record else ""
    make_writable(folder)
    images = f"{len(jobs)} image{'s' * (len(jobs) != 1)}"
    which = f"{weights} weights" if record else ""
    if weights == "best" and getattr(method_config, "alpha", 1) == 1:  # KID is of all of it
        note = checkpoint.kid_of(Path(run), built.inference_networks[0])
        beside = f"; unchanged: {note['unchanged']:.4f}" if "unchanged" in note else ""
        which += f" (KID {note['kid']:.4f} after {note['images']} images{beside})"
    made_by = _label(name, method_config, which)
    print(f"{images}, {made_by}, {place} in {numbers} -> {folder}")
    if strokes:
        print(strokes)
    notes: dict[str, None] = {}
    made = translation.translate_files(
        built.to(place),
        jobs,
        folder,
        how,
        {**asdict(method_config), "seed": seed},
        checkpoint.weights_digests(built, Path(run), weights) if record else {},
        overwrite,
        notes,
    )
    bad, there = made.bad, len(jobs) - len(made.bad)
    place_of = folder / jobs[0].name if single else folder
    written = f"{there} written to {place_of}"
    print(f"{there} of {len(jobs)} are in {place_of}" if resume else written)
    if made.again:
        print(f"{made.again} of them were there, made by or of something else: made again")
    if notes:
        print(listed(list(notes), folder / "read_in_part.txt"))
    if bad:
        named = listed(list(dict.fromkeys(map(str, bad))), folder / "left_out.txt")
        raise DataError(f"{len(bad)} of {len(jobs)} images were left out: {named}")


def _refuse_existing(folder: Path, names: list[Path], overwrite: bool) -> None:
    there = [name for name in names if (folder / name).exists()]
    if there and not overwrite:
        raise DataError(
            f"{folder} holds {len(there)} of these images already, such as {there[0]}: "
            "give another --out, or --overwrite"
        )


def _default_folder(content: Path, chosen: Any) -> Path:
    """One of its own for each folder of contents, and in it for whatever makes the images.

    The last part of it is what `grid` writes above them.
    """
    contents = _contents_folder(content).name
    if not chosen.run:
        return Path("results") / "translated" / contents / chosen.name
    direction = getattr(chosen.config, "direction", "")
    net = Path(chosen.run).absolute()
    if net.parent.name == "zoo":  # a published net's folder is kept as it is
        return Path("results") / "translated" / net.name / contents
    words = [direction, chosen.weights if chosen.weights != "raw" or not direction else ""]
    return Path(chosen.run) / "translated" / contents / "-".join(filter(None, words))


def _contents_folder(content: Path) -> Path:
    """The folder of contents that are given, or that the one of them is in."""
    whole = Path(os.path.normpath(content.absolute()))
    return whole.parent if whole.is_file() else whole


def _single(path: Path, jobs: list[Any], format: str) -> tuple[Path, list[Any]]:
    """The folder and the job of one image that was given its file name."""
    from gan_style.data.images import WRITTEN

    if path.suffix.lower() not in WRITTEN:
        known = ", ".join(WRITTEN)
        raise ConfigError(f"--out is {str(path)!r}, but images are written as {known}")
    if format and WRITTEN[f".{format}"] != WRITTEN[path.suffix.lower()]:
        raise ConfigError(f"--out is {str(path)!r}, but --format is {format!r}: leave one out")
    if len(jobs) != 1:
        raise ConfigError(
            f"--out is {str(path)!r}, but there are {len(jobs)} images: give a folder"
        )
    return path.parent, [replace(jobs[0], name=Path(path.name))]


def _label(name: str, method_config: Any, weights: str) -> str:
    words = [name, getattr(method_config, "direction", ""), weights]
    return ", ".join(word for word in words if word)
