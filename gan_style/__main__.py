"""Commands: gan_style COMMAND --option=value ..., or python -m gan_style COMMAND ..."""

import importlib
import inspect
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from inspect import getdoc
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import gan_style
from gan_style import command, methods, runs
from gan_style.config import (
    TrainConfig,
    Wanted,
    at_least,
    choices,
    choices_of,
    convert,
    describe,
    did_you_mean,
    entries,
    help_text,
    mistakes,
    presets,
    refuse_unknown,
    unknown,
)
from gan_style.errors import ConfigError, DataError, UserError, printable
from gan_style.files import listed, make_writable

Weights = Literal["raw", "ema", "best"]  # of a run


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
    chosen = _choose(translate, run, method, weights, options)
    import torch

    from gan_style import checkpoint, devices, translation
    from gan_style.images import SUFFIXES
    from gan_style.method import OptimisedMethod
    from gan_style.pairs import STEM, STYLE, check_pattern
    from gan_style.precision import choose

    check_pattern(pattern)
    name, module, method_config, record = chosen.name, chosen.module, chosen.config, chosen.record
    if save_every and not issubclass(module.Method, OptimisedMethod):
        raise ConfigError(f"--save_every is {save_every}, but {name} has no iterations to show")
    takes_style = module.PAPER.style == "image"
    if takes_style:
        if not style:
            raise ConfigError(f"{name} takes its style from an image: give one as --style")
        jobs = translation.jobs_with_styles(
            Path(content), style, style_weights, content_masks, style_masks,
            Path(pairs) if pairs else None, pattern,
        )  # fmt: skip
    else:
        _refuse_styles(
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
    _say_left_out(Path(content), *([Path(style)] if takes_style and "," not in style else []))
    contents = None if out else _contents_folder(Path(content))
    if contents:
        translation.refuse_other_contents(folder, contents)
    if not resume:
        _refuse_existing(folder, [job.name for job in jobs], overwrite)
    place = devices.find(device)
    numbers = choose(precision, place)
    torch.manual_seed(seed)
    built = chosen.build()
    how = translation.How(
        device=place,
        background=record["data"].get("background", "white") if record else "white",
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
        note = checkpoint.kid_of(Path(run), built.translators[0])
        beside = f"; unchanged: {note['unchanged']:.4f}" if "unchanged" in note else ""
        which += f" (KID {note['kid']:.4f} after {note['images']} images{beside})"
    made_by = _label(name, method_config, which)
    print(f"{images}, {made_by}, {place} in {numbers} -> {folder}")
    if strokes:
        print(strokes)
    notes: dict[str, None] = {}
    made = translation.translate_files(
        built.to(place).eval().requires_grad_(False),
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


def _choose(
    function: Callable[..., None], run: str, method: str, weights: Weights, options: dict[str, str]
) -> Any:
    """The `translator.Chosen` that the options of a command (`function`) name."""
    if bool(run) == bool(method):
        both = f"--run is {run!r} and --method {method!r}"
        raise ConfigError(f"{both if run else 'no --run and no --method'}: give one of the two")
    name = runs.read(Path(run))["train"]["method"] if run else method
    refuse_unknown(options, _known_options(function, name), function.__name__, name)
    if method and weights != "raw":
        raise ConfigError(f"--weights is {weights!r}, but only a run has averaged or best weights")

    from gan_style import translator

    return translator.of_run(run, weights, options) if run else translator.of_method(name, options)


def _known_options(function: Callable[..., None], name: str) -> dict[str, tuple[str, ...]]:
    """The options of a command and of its method -> what they may be."""
    own = dict(inspect.signature(function, eval_str=True).parameters)
    del own["options"]
    of_command = {key: choices_of(each.annotation) for key, each in own.items()}
    return {"preset": (), **choices(describe(methods.source(name))), **of_command}


def _refuse_styles(name: str, **given: str) -> None:
    for option, value in given.items():
        if value:
            raise ConfigError(f"--{option} is {value!r}, but {name} takes no style image")


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
    from gan_style.images import WRITTEN

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


def _say_left_out(*folders: Path) -> None:
    """Name the kinds of files in these folders that aren't read."""
    from gan_style.images import left_out

    for folder in folders:
        if folder.is_dir() and (line := left_out(folder)):
            print(line)


def _label(name: str, method_config: Any, weights: str) -> str:
    words = [name, getattr(method_config, "direction", ""), weights]
    return ", ".join(word for word in words if word)


def grid(
    content: str,
    translated: str,
    out: str,
    count: int = 8,
    cell: int = 192,
    per_row: int = 1,
    pattern: str = "{stem}",
) -> None:
    """Draw contents beside their translations as one picture.

    Reads a folder of images and one folder of images as translate writes them, or several joined by
    commas; a column each. Writes what the name ends in: .png, .jpg, .webp or .tiff.
    Example: python -m gan_style grid --content data/monet2photo/testB
             --translated results/monet2photo/cyclegan/0001/translated/testB/b2a --out grid.png

    Args:
        content: folder of the original images.
        translated: folders of the translations; each column is headed by its folder's name.
        out: picture to write.
        count: contents, spread over the folder.
        cell: side of a picture in pixels.
        per_row: contents in a row.
        pattern: what translations are called, as for translate.
    """
    from gan_style import images
    from gan_style.pairs import STYLE, called, check_pattern, output_files

    at_least(1, count=count, cell=cell, per_row=per_row)
    if Path(out).suffix.lower() not in images.WRITTEN:
        raise ConfigError(f"--out is {out!r}, but must end in {', '.join(images.WRITTEN)}")
    check_pattern(pattern)
    if STYLE in pattern:
        raise ConfigError(f"--pattern is {pattern!r}, but a folder of a grid is of one style")
    names = {
        path: images.same(called(pattern, Path(name)).as_posix())
        for name, path in output_files(Path(content)).items()
    }
    folders = [Path(folder) for folder in entries(translated)]
    made = [output_files(folder, "translated") for folder in folders]
    common = [path for path, name in names.items() if all(name in each for each in made)]
    if not common:
        raise DataError(f"no image of --content {content} has a translation in {translated}")
    chosen = images.spread(common, count)
    files = [[path, *(each[names[path]] for each in made)] for path in chosen]
    cells = [[images.to_array(images.load_image(path)) for path in row] for row in files]
    rows = [list(chain(*cells[i : i + per_row])) for i in range(0, len(cells), per_row)]
    titles = [Path(content).name, *(folder.name for folder in folders)] * per_row
    picture = images.grid(rows, titles, cell)
    images.save_image(picture, Path(out))
    if notes := images.read_in_part(chain.from_iterable(files)):
        print(listed(list(notes.values()), Path(out).with_suffix(".read_in_part.txt")))
    print(f"{len(chosen)} contents and their translations drawn: {out}")


def evaluate(
    translated: str,
    content: str,
    style: str = "",
    collection: str = "",
    pairs: str = "",
    truth: str = "",
    reconstructed: str = "",
    metrics: str = "",
    size: int = 256,
    seed: int = 0,
    batch_size: int | None = None,
    workers: int = 2,
    device: str = "",
    features: str = "",
    out: str = "",
    overwrite: bool = False,
    pattern: str = "{stem}",
) -> None:
    """Measure a folder of translations, by whichever program they were made.

    Reads images and writes metrics.json: every metric's number, its uncertainty, and what it was
    computed by. Translations are called as their contents, or <style>/<content>, as translate
    writes them; other names by --pattern. What can't be computed, for want of weights or images,
    says why; images that can't be read are left out, and named.
    Example: python -m gan_style evaluate --content data/monet2photo/testB
             --translated results/monet2photo/cyclegan/0001/translated/testB/b2a
             --style data/monet2photo/testA

    Args:
        translated: folder of the translations.
        content: folder of the images that they were made from.
        style: the style image of all of them; or a folder, of the target collection or of the
            styles that --pairs or the names of the translations name.
        collection: folder of the target collection; --style where that is a folder.
        pairs: CSV file with the columns content and style, paths in the two folders: evaluates
            these and no others.
        truth: folder of true translations, called as the contents.
        reconstructed: folder of translations of the translations, back to the contents' side.
        metrics: some of those that python -m gan_style metrics lists, joined by commas; all when
            not given, or all.
        size: side in pixels of the squares that all images are scaled to.
        seed: of the bootstrap, and of the subsets that the spread of a distance is of.
        batch_size: images at once; 1 on a CPU and 16 on an accelerator when not given.
        workers: threads that read images.
        device: cpu, cuda, cuda:1, mps; cuda where there is one when not given.
        features: folder where the collection's features are kept for the next time.
        out: file to write; <translated>/metrics.json when not given.
        overwrite: replace the file.
        pattern: what translations are called, as for translate: '{stem}_fake' is x_fake.png of
            x.jpg, '{stem}_in_{style}' has the style's name too; other images there don't count.
    """
    at_least(1, batch_size=batch_size, workers=workers)
    at_least(0, seed=seed)
    at_least(32, size=size)
    from gan_style import devices, evaluation
    from gan_style.files import write_json
    from gan_style.images import list_images, without_images
    from gan_style.pairs import check_pattern, output_names

    check_pattern(pattern)
    path = Path(out) if out else Path(translated) / "metrics.json"
    if path.exists() and not overwrite:
        raise DataError(f"{path} is there already: give another --out, or --overwrite")
    columns = evaluation.choose([*filter(None, entries(metrics))])
    samples = evaluation.match(
        Path(translated), Path(content), _path(style), _path(pairs), _path(truth),
        _path(reconstructed), pattern,
    )  # fmt: skip
    target = _path(collection) or (Path(style) if Path(style).is_dir() and style else None)
    _say_left_out(Path(translated), Path(content), *([target] if target else []))
    place = _float64(devices.find(device))
    make_writable(path.parent)
    how = evaluation.How(
        device=place,
        size=size,
        seed=seed,
        batch_size=batch_size or (1 if place.type == "cpu" else 16),
        workers=workers,
    )
    real = list_images(target) if target else []
    contents = list(output_names(Path(content), "content"))
    if target and not real:
        raise DataError(f"--collection {target}: {without_images(target)}")
    seen = evaluation.Seen()
    values = evaluation.evaluate(samples, real, columns, how, _path(features), seen)
    protocol = evaluation.protocol(how, samples, real, contents, seen)
    record = {
        "made_by": evaluation.made_by(place),
        "protocol": protocol,
        "metrics": {key: evaluation.describe(column) for key, column in columns.items()},
        "names": [sample.name for sample in samples],
        "values": values,
    }
    write_json(path, record)
    print("\n".join(evaluation.lines(columns, values)))
    if left := 0 if pairs else protocol["untranslated"]:
        print(f"{left} of {len(contents)} contents have no translation")
    bad = evaluation.bad_note(seen, path.with_suffix(".left_out.txt"))
    part = evaluation.part_note(seen.notes, path.with_suffix(".read_in_part.txt"))
    for note in filter(None, (evaluation.shapes_note(samples, seen), part, bad)):
        print(printable(note))
    print(f"{evaluation.measured(values, samples)}, numbers in {path}")


def _path(text: str) -> Path | None:
    return Path(text) if text else None


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
    chosen = _choose(cost, run, method, weights, options)
    from gan_style import cost as costs
    from gan_style import devices
    from gan_style.files import write_json
    from gan_style.precision import choose
    from gan_style.weights import known, used

    place = devices.find(device)
    built = chosen.build().to(place).eval().requires_grad_(False)
    measured = costs.measure(
        built,
        takes_style=chosen.module.PAPER.style == "image",
        device=place,
        precision=choose(precision, place),
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


def compare(config: str, redo: str = "", **options: str) -> None:
    """Compare methods on the same pairs of images, and write a report.

    Reads a file of what to compare (experiments/compare_monet2photo.toml), draws pairs of a content
    and a style image, trains what is to be trained, translates, times and measures; writes
    results/<name>/report/index.html. What was done before by the same inputs isn't done again. A
    method that fails is a row that says why.
    Example: python -m gan_style compare --config experiments/compare_oldmaster2modern.toml

    Every table is checked first, and all mistakes told at once. Exit code 2 where a method has no
    result.

    Args:
        config: TOML file: options of the comparison, and a table [methods.<label>] for each method.
        redo: labels of methods to do anew all the same, joined by commas.
        options: any option of the comparison, over the file's: --pairs 8.
    """
    from gan_style import comparison, devices, report

    what, methods_of_it = comparison.read(Path(config), options, _refusals)
    typed = ["python", "-m", "gan_style", "compare", f"--config={config}"]
    typed += [f"--{key}={value}" for key, value in options.items()]
    labels = [*filter(None, entries(redo))]
    device = _float64(devices.find(what.device))
    folder = comparison.compare(what, methods_of_it, shlex.join(typed), labels, device, print)
    print(f"report: {report.write(folder, what.rows)}")
    failed = report.failed(folder)
    if failed:
        raise DataError(
            f"{len(failed)} of {len(methods_of_it)} methods have no result: {', '.join(failed)}; "
            "the report says why"
        )


def _refusals(compared, entry) -> Iterator[str]:  # type: ignore[no-untyped-def]  # imported late
    """What can't be done of a comparison's table, by translate neither; each option by itself."""
    from gan_style import checkpoint, comparison, translator
    from gan_style.method import OptimisedMethod, TrainedMethod

    yield from comparison.refusals(compared, entry)
    if entry.translated:
        return
    name, record = entry.method, None
    try:
        if entry.run:
            record = runs.read(Path(entry.run))
            name = record["train"]["method"]
        elif entry.train:  # there is no run yet
            record = {"method": {}}
            name = str(command.with_file(dict(entry.train)).get("method", TrainConfig.method))
        module = methods.load(name)
    except UserError as error:
        yield str(error)
        return
    own = inspect.signature(translate, eval_str=True).parameters
    options = {key: str(value) for key, value in entry.options.items()}
    known = {key: value for key, value in options.items() if key in own and key != "options"}
    others = {key: value for key, value in options.items() if key not in known}
    takes = _known_options(translate, name)
    its = {key: takes[key] for key in takes if key not in comparison.OURS}
    found = list(unknown(options, its, "translate", name))
    for key, value in options.items():
        if key not in takes:
            continue
        try:
            if key in known:
                convert(key, value, own[key].annotation)
                continue
            translator.method_options(name, {key: value}, record)
            if record:
                translator.refuse_trained_in(module.Method, {key: value}, entry.run or "the run")
        except ConfigError as error:
            found.append(str(error))
    if record:
        found += mistakes(module.Config, record["method"] | others)
    elif (preset := others.get("preset", "")) in ("", *presets(methods.source(name))):
        found += mistakes(module.Config, command.with_preset(others | {"method": name}, preset))
    if found or entry.train:
        yield from found
        return
    try:
        weights = convert("weights", known.get("weights", "raw"), Weights)
        chosen = _choose(translate, entry.run, entry.method, weights, others)
        outline = checkpoint.outline(lambda: module.Method(chosen.config))
        if entry.run:
            checkpoint.check_networks(outline, Path(entry.run), weights)
        elif isinstance(outline, TrainedMethod):
            translator.check_published(name, outline)
        if known.get("save_every", "0") != "0" and not issubclass(module.Method, OptimisedMethod):
            raise ConfigError(
                f"--save_every is {known['save_every']}, but {name} has no iterations"
            )
        blending = ("style_weights", "content_masks", "style_masks")
        given = {key: known.get(key, "") for key in blending}
        if module.PAPER.style != "image":
            colour = known.get("colour", "style")
            _refuse_styles(name, **given, colour="" if colour == "style" else colour)
        for key in (key for key, value in given.items() if value):
            raise ConfigError(f"--{key} is for several styles, but a pair has one: leave it out")
    except UserError as error:
        yield str(error)


def write_report(report: str, rows: int | None = None) -> None:
    """Write a comparison's report again, with the votes that came in meanwhile.

    Reads metrics.json, the images it names, and votes/*.csv.
    Example: python -m gan_style report --report results/monet2photo/report

    Args:
        report: its folder.
        rows: contents in its pictures; as before when not given.
    """
    at_least(1, rows=rows)
    from gan_style import report as reports

    print(f"report: {reports.write(Path(report), rows)}")


def vote(report: str, questions: int = 40, seed: int = 0, question: str = "") -> None:
    """Write a page that asks people which of two methods' pictures they prefer, blindly.

    Reads metrics.json of a comparison's report folder. Writes vote.html, one file to hand out, and
    vote_key.json, which tells whose the pictures are: keep it to yourself. Put the CSV files that
    raters send back into <report>/votes; the next report has the tally.
    Example: python -m gan_style vote --report results/monet2photo/report

    Args:
        report: folder with metrics.json.
        questions: for each rater, at most; pairs of methods and sides are balanced.
        seed: of the choice of questions and sides; every rater has an order of their own.
        question: what raters are to answer; a general one when not given.
    """
    from gan_style import vote as votes

    page = votes.write(Path(report), questions, seed, question or votes.QUESTION)
    print(f"page: {page}; its key, which raters must not see: {page.with_name(votes.KEY)}")


def list_metrics() -> None:
    """List the metrics: what each is compared with, which way is better, and its source.

    Example: python -m gan_style metrics
    """
    from gan_style import metrics

    for key, column in metrics.columns().items():
        info = column.info
        print(f"{key:26}{info.better:7} against {column.against:15}{column.title}")
        print(f"{'':26}{info.source}")


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
    "evaluate": evaluate,
    "cost": cost,
    "compare": compare,
    "report": write_report,
    "vote": vote,
    "methods": list_methods,
    "metrics": list_metrics,
    "weights": list_weights,
}
# Commands that are modules, imported when they are called; `main` takes what was typed after them.
MODULES = {
    "train": ("gan_style.training.launch", "Train a method on unpaired collections of images."),
    "download": ("data_tools.download", "Bring a known dataset, ready for training."),
    "check": ("data_tools.check", "Open every image of a dataset and say what is wrong with it."),
    "synth": (
        "data_tools.synth",
        "Draw a toy dataset: discs on dark gradients (A), stripes and squares on light (B).",
    ),
}


def _refuse_existing(folder: Path, names: list[Path], overwrite: bool) -> None:
    there = [name for name in names if (folder / name).exists()]
    if there and not overwrite:
        raise DataError(
            f"{folder} holds {len(there)} of these images already, such as {there[0]}: "
            "give another --out, or --overwrite"
        )


def _float64(device):  # type: ignore[no-untyped-def]  # torch.device, imported late
    """Refuse a device without it, as metrics are computed in it."""
    if device.type == "mps":
        raise ConfigError("--device is 'mps', which has no float64 to measure in: give cpu")
    return device


def _overview() -> str:
    summaries = {name: (getdoc(f) or "").splitlines()[0] for name, f in COMMANDS.items()}
    summaries |= {name: summary for name, (_, summary) in MODULES.items()}
    width = max(map(len, summaries)) + 3
    return "\n".join(
        [
            "Commands: gan_style COMMAND --option=value ..., or python -m gan_style COMMAND ...",
            "",
            *(f"  {name:{width}}{summary}" for name, summary in summaries.items()),
            "",
            "Options of a command: gan_style COMMAND --help",
            "Training on several processes: accelerate launch -m gan_style train ...",
        ]
    )


def main() -> int | None:
    """Find the command, check its options, call it."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return None
    if arguments[0] in ("--version", "-V"):
        print(f"gan_style {gan_style.__version__}")
        return None
    if arguments[0] in MODULES:
        module = importlib.import_module(MODULES[arguments[0]][0])
        code: int | None = module.main(arguments[1:])
        return code
    if arguments[0] not in COMMANDS:
        near = did_you_mean(arguments[0], [*COMMANDS, *MODULES])
        raise ConfigError(f"unknown command {arguments[0]!r}: {near}")
    function = COMMANDS[arguments[0]]
    words, options = command.parse(arguments[1:])
    if "help" in options:
        print(getdoc(function))
        return None
    known = inspect.signature(function).parameters
    own_file = "config" in known  # one that the command reads itself
    return command.call(function, words, options if own_file else command.with_file(options))


def cli() -> None:
    """The console script `gan_style`."""
    command.run("gan_style", main)


if __name__ == "__main__":
    cli()
