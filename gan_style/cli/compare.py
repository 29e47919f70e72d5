"""The command compare: methods on the same pairs, and a report."""

import inspect
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gan_style import command, methods, runs
from gan_style.cli.shared import Weights, choose, known_options, refuse_styles
from gan_style.cli.translate import translate
from gan_style.config import TrainConfig, convert, entries, mistakes, presets, unknown
from gan_style.errors import ConfigError, DataError, UserError


def compare(config: str, redo: str = "", **options: Any) -> Path:
    """Compare methods on the same pairs of images, and write a report.

    Reads a file of what to compare (experiments/compare_monet2photo.toml), draws pairs of a content
    and a style image, trains what is to be trained, translates, times and measures; writes
    results/<name>/report/index.html. What was done before by the same inputs isn't done again. A
    method that fails is a row that says why.
    Example: python -m gan_style compare --config experiments/compare_oldmaster2modern.toml

    Every table is checked first, and all mistakes told at once. Exit code 2 where a method has no
    result. From Python it returns the page, and raises DataError where a method has none.

    Args:
        config: TOML file: options of the comparison, and a table [methods.<label>] for each method.
        redo: labels of methods to do anew all the same, joined by commas.
        options: any option of the comparison, over the file's: --pairs 8.
    """
    from gan_style import comparison, devices
    from gan_style.report import page as report

    options = {key: str(value) for key, value in options.items()}
    what, methods_of_it = comparison.read(Path(config), options, _refusals)
    typed = ["python", "-m", "gan_style", "compare", f"--config={config}"]
    typed += [f"--{key}={value}" for key, value in options.items()]
    labels = [*filter(None, entries(redo))]
    device = devices.with_float64(devices.find(what.device))
    folder = comparison.compare(what, methods_of_it, shlex.join(typed), labels, device, print)
    page = report.write(folder, what.rows)
    print(f"report: {page}")
    failed = report.failed(folder)
    if failed:
        raise DataError(
            f"{len(failed)} of {len(methods_of_it)} methods have no result: {', '.join(failed)}; "
            "the report says why"
        )
    return page


def _refusals(compared, entry) -> Iterator[str]:  # type: ignore[no-untyped-def]  # imported late
    """What can't be done of a comparison's table, by translate neither; each option by itself."""
    from gan_style import checkpoint, comparison
    from gan_style.method import OptimisedMethod, TrainedMethod
    from gan_style.translation import translator

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
    takes = known_options(translate, name)
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
        chosen = choose(translate, entry.run, entry.method, weights, others)
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
            refuse_styles(name, **given, colour="" if colour == "style" else colour)
        for key in (key for key, value in given.items() if value):
            raise ConfigError(f"--{key} is for several styles, but a pair has one: leave it out")
    except UserError as error:
        yield str(error)
