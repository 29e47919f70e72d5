"""Several methods on the same pairs: trained where asked for, translated, timed, evaluated.

Every stage is a command of a process of its own, or a function here; it reads and writes files and
is done again only when what it reads has changed. A method that fails is a row with its reason.

    results/<name>/compare/pairs/                        what all methods get, as PNGs
    results/<name>/compare/<label>/run-<options>/        what was trained for the comparison
    results/<name>/compare/<label>/translated/ ...       what the stages of a method made
    results/<name>/compare/<label>/stages.json           by which inputs, and which commit of us
    results/<name>/report/metrics.json                   all of it, for the report
"""

import codecs
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from reprlib import repr as briefly  # of tables in each other, only the outermost
from types import ModuleType
from typing import Any, cast

import torch

import gan_style
from gan_style import checkpoint, command, config, devices, methods, runs
from gan_style.config import LONGEST, at_least, at_most, did_you_mean
from gan_style.data.images import (
    ImageError,
    image_size,
    left_out,
    list_images,
    load_image,
    read_in_part,
    resize,
    save_png,
    scaled_size,
    to_array,
    without_images,
)
from gan_style.data.pairs import (
    STEM,
    check_pattern,
    draw_pairs,
    output_names,
    read_pairs,
    write_pairs,
)
from gan_style.devices import Precision, choose_precision
from gan_style.errors import ConfigError, DataError, Interrupted, UserError, printable
from gan_style.evaluation import measure, metrics
from gan_style.evaluation.metrics import kid
from gan_style.io.files import atomic_folder, listed, write_json
from gan_style.io.safe_io import read_json
from gan_style.method import BACK, Direction, Paper, TrainedMethod
from gan_style.progress import STDERR
from gan_style.report.record import REAL, UNCHANGED
from gan_style.signals import postponed

GAN_STYLE = (sys.executable, "-m", "gan_style")
POINTLESS = "not computed (of these images it says nothing)"
NOTHING_TO_TRAIN_ON = "it has nothing to train on: give it a domain, or the comparison"
PATTERN = "pattern"  # of another program's names
TAIL = 4000  # characters of a failed command's output that its reason is looked for in
BAD = "left_out.json"  # images that were drawn and can't be read
STYLES = REAL  # label of the reference row of the pairs' style images
# Options that say how long an optimisation goes on, and which share of a recipe's is far below it.
EFFORT, FAR_BELOW = ("iterations",), 1 / 4
LITTLE = "its numbers say little of what the method can do"
LABEL = re.compile(r"\w[\w .+()-]{0,63}")  # also a folder's name
# Stages of a method's row, as a reader knows them.
DONE = {
    "train": "trained",
    "translate": "translated",
    "translate back": "translated back",
    "cost": "its cost measured",
    "evaluate": "evaluated",
}
TAKEN = (UNCHANGED, STYLES, "pairs", "features")
# What a comparison says itself, the same for every method.
OURS = (
    "content",
    "out",
    "style",
    "pairs",
    "side",
    "seed",
    "device",
    "resume",
    "overwrite",
    "config",
)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is compared on what: the keys of an experiments/compare_*.toml outside of [methods]."""

    title: str = ""  # of the report; made of the domain when not given
    name: str = ""  # folder in results; the domain's when not given
    domain: str = ""  # a folder's name in --data_root, or a folder ...
    direction: str = "a2b"  # ... of which this way is compared: tests of one side to the other
    data_root: str = "data"  # where domains are
    content: str = ""  # folder of contents; the domain's test images when not given
    style: str = ""  # folder of style images; the domain's training images when not given
    collection: str = ""  # folder of the target collection; its test images when not given
    pairs: int = 50  # contents, each with a style, drawn once
    seed: int = 0  # of the pairs, of noise in methods, and of the bootstrap
    side: int = 256  # longer side in pixels that contents and styles are scaled down to
    size: int = 256  # side in pixels of the squares that metrics see
    metrics: str = ""  # some of `python -m gan_style metrics`, joined by commas; or all
    cost_sizes: str = "256,512,1024"  # sides in pixels that methods are timed at; empty: none
    cost_limit: float = 60.0  # seconds for each of them
    rows: int = 12  # contents in the report's pictures
    device: str = ""  # cpu, cuda; cuda where there is one when not given

    def __post_init__(self) -> None:
        """Refuse what contradicts itself, in the user's spelling."""
        at_least(1, pairs=self.pairs, side=self.side, rows=self.rows)
        at_least(32, size=self.size)
        at_least(0, seed=self.seed, cost_limit=self.cost_limit)
        at_most(LONGEST, side=self.side, size=self.size)
        if self.seed >= 2**31:
            raise ConfigError(f"--seed is {self.seed}, but must be below {2**31}")
        if self.direction not in ("a2b", "b2a"):
            raise ConfigError(f"--direction is {self.direction!r}: known: a2b, b2a")
        if not self.domain and not (self.content and self.style):
            raise ConfigError("no --domain: give one, or --content and --style")
        if not all(re.fullmatch("[0-9]{1,5}", side) and int(side) for side in self.sides):
            raise ConfigError(
                f"--cost_sizes is {self.cost_sizes!r}, but must be pixels joined by commas"
            )
        if not Path(os.path.normpath(self.results)).is_relative_to("results"):
            raise ConfigError(
                f"--name is {self.name!r}, --domain {self.domain!r}, so that {self.results} would "
                "be written to, which isn't in results: give a --name that is"
            )

    @property
    def sides(self) -> list[str]:
        """The sides that methods are timed at, as they were typed."""
        return [*filter(None, config.entries(self.cost_sizes))]

    @property
    def results(self) -> Path:
        """Where everything of this comparison is written."""
        return Path("results") / (self.name or Path(self.domain).name or "comparison")

    def folders(self) -> tuple[Path, Path, Path]:
        """Contents, style images, and the target collection."""
        known = Path(self.data_root) / self.domain
        root = known if known.is_dir() or not Path(self.domain).is_dir() else Path(self.domain)
        source, target = self.direction.upper().split("2")
        content = Path(self.content or root / f"test{source}")
        style = Path(self.style or root / f"train{target}")
        # Styles are seen by methods, and the collection that they are measured by shouldn't be.
        collection = self.collection or (self.style or root / f"test{target}")
        for folder in (content, style, Path(collection)):
            if not folder.is_dir():
                get = f"; get it by: python -m gan_style download {self.domain}"
                raise DataError(f"no folder {folder}{get if self.domain else ''}")
        return content, style, Path(collection)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One method of a comparison: a table [methods.<label>].

    Args:
        label: its heading.
        method: one that needs no training of yours; or
        run: a trained run's folder; or
        train: options of train.py, for a run that is trained here unless it is there; or
        translated: a folder of PNGs that another program made of content/.
        options: of translate; for the last, at most a pattern of the names.
    """

    label: str
    method: str = ""
    run: str = ""
    train: Mapping[str, Any] = field(default_factory=dict)
    translated: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


def read(
    path: Path,
    typed: Mapping[str, str],
    refusals: Callable[[Comparison, Entry], Iterable[str]] = lambda comparison, entry: (),
) -> tuple[Comparison, list[Entry]]:
    """A comparison's file, with the options `typed` over its own.

    All mistakes of all tables are told at once.

    Args:
        path: the file.
        typed: options over the file's.
        refusals: what can't be done of an entry that is written well, a line each.

    Raises:
        ConfigError: a file that can't be read, or says what nobody knows or can't be done.
    """
    content = config.parse_toml(path)
    tables = content.pop("methods", {})
    known = [each.name for each in fields(Comparison)]
    config.refuse_unknown({**content, **typed}, dict.fromkeys(known, ()), "compare")
    if not isinstance(tables, dict) or not tables:
        raise ConfigError(f"--config {path}: no table [methods.<label>], nothing to compare")
    comparison: Comparison = config.build(Comparison, {**content, **typed})
    mistakes: list[str] = []
    if len({label.casefold() for label in tables}) < len(tables):
        mistakes.append("two methods have the same label")
    entries = []
    for label, table in tables.items():
        if found := list(_of_form(label, table)):
            mistakes += found
            continue
        entry = _entry(label, table)
        entries.append(entry)
        mistakes += [f"methods.{label}: {reason}" for reason in refusals(comparison, entry)]
    if mistakes:
        raise ConfigError(f"--config {path}: {_told(comparison, mistakes)}")
    return comparison, entries


def _told(comparison: Comparison, mistakes: Iterable[str]) -> str:
    """Mistakes as one line; where they are many, the results have a file of all."""
    lines = [printable(each) for each in dict.fromkeys(mistakes)]
    return listed(lines, comparison.results / "mistakes.txt")


def _of_form(label: str, table: Any) -> Iterator[str]:
    """What is wrong with a table whatever its options mean."""
    if not isinstance(table, dict):
        yield f"methods.{label} is {briefly(table)}, no table"
        return
    if not LABEL.fullmatch(label) or label.casefold() in TAKEN:
        yield f"a method can't be called {label!r}"
    for key in OURS:
        if key in table:
            yield (
                f"methods.{label}.{key} is {briefly(table[key])}, but that is the "
                "comparison's own, the same for all methods: leave it out"
            )
    ours = _kind(table)
    if len(ours) != 1:
        yield (
            f"methods.{label} has {' and '.join(ours) or 'none'} of method, run, "
            "train and translated: it needs one"
        )
    for key, value in ours.items():
        if not isinstance(value, dict if key == "train" else str) or not value:
            yield f"methods.{label}.{key} is {briefly(value)}"
    options = {key: value for key, value in table.items() if key not in ours}
    train = ours.get("train", {})
    for key, value in [*options.items(), *(train.items() if isinstance(train, dict) else ())]:
        if not key.isidentifier() or isinstance(value, dict | list):
            yield f"methods.{label} has {key!r}, which is no option"
    for key in ("run_dir", "resume"):
        if key in train:
            yield (
                f"methods.{label}.train has {key}, but a run that is trained here "
                "lies with the comparison: leave it out"
            )


def _kind(table: Mapping[str, Any]) -> dict[str, Any]:
    """Where a table's images come from."""
    return {key: table[key] for key in ("method", "run", "train", "translated") if key in table}


def _entry(label: str, table: Mapping[str, Any]) -> Entry:
    ours = _kind(table)
    options = {key: value for key, value in table.items() if key not in ours}
    return Entry(label=label, **ours, options=options)


def refusals(comparison: Comparison, entry: Entry) -> Iterator[str]:
    """What can't be done of an entry that is trained here, or made by another program."""
    if entry.translated:
        pattern = entry.options.get(PATTERN, STEM)
        for key in entry.options:
            if key != PATTERN:
                yield f"{key} is no option of another program's images: leave it out"
        try:
            check_pattern(str(pattern))
            output_names(Path(entry.translated), "translated")
        except UserError as error:
            yield str(error)
            if not Path(entry.translated).is_dir():
                made = comparison.results / "compare" / "pairs" / "content"
                yield f"translate {made} into it, which a comparison without this table makes"
    elif PATTERN in entry.options:
        yield f"{PATTERN} is for images of another program: leave it out"
    if entry.train:
        yield from _of_training(comparison, entry.train)


def _of_training(comparison: Comparison, train: Mapping[str, Any]) -> Iterator[str]:
    """What train.py would refuse of an entry's options at once."""
    try:
        flat = command.with_file(_with_domain(comparison, train))
        name = str(flat.get("method", config.TrainConfig.method))
        module = methods.load(name)
        flat = command.with_preset(flat, command.preset_name(flat))
    except UserError as error:
        yield str(error)
        return
    if not issubclass(module.Method, TrainedMethod):
        yield f"{name} has nothing to train: give it as method"
        return
    if not flat.get("domain") and not flat.get("data_a"):
        yield NOTHING_TO_TRAIN_ON
    kinds = (config.DataConfig, config.TrainConfig, module.Config)
    yield from config.unknown(flat, command.known_in_training(name), "train", name)
    for kind in kinds:
        yield from config.mistakes(kind, flat)
    yield from _of_other_way(comparison, module, flat)
    style = flat.get("style")
    if module.PAPER.style == "fixed" and not (style and Path(str(style)).is_file()):
        yield f"--style is {style!r}, but {name} learns one: give the file of its image"


def _of_other_way(
    comparison: Comparison, module: ModuleType, flat: Mapping[str, Any]
) -> Iterator[str]:
    """That a training would not learn the way that is compared."""
    try:
        trained = checkpoint.directions(module, {"method": flat})
    except UserError:  # said by now
        return
    if trained and comparison.direction not in trained:
        yield (
            f"--direction is {comparison.direction!r}, but this trains {' and '.join(trained)} "
            f"alone: give it --direction {comparison.direction}"
        )


def _with_domain(comparison: Comparison, train: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a training, over what the comparison says of its images."""
    options = {"data_root": comparison.data_root}
    if comparison.domain:
        options["domain"] = comparison.domain
    return options | dict(train)


Row = dict[str, Any]  # of a method in metrics.json


class Failed(Exception):
    """A stage that came to nothing; the message is the reason, in one line."""


def compare(
    comparison: Comparison,
    entries: Sequence[Entry],
    typed: str,
    redo: Sequence[str],
    device: torch.device,
    say: Callable[[str], None],
) -> Path:
    """Do whatever isn't done yet, and write <results>/report/metrics.json; returns its folder.

    Args:
        comparison: the images and how they are measured.
        entries: the methods, in the order of the report.
        typed: the command that the user typed, for the report.
        redo: labels of methods to do anew, but for their training.
        device: where to compute.
        say: told what is done, a line each time.

    Raises:
        DataError: folders without images, or that aren't there, or another program's images that
            the pairs don't fit.
        Interrupted: by a signal; the same command goes on from there.
    """
    content, style, collection = comparison.folders()
    real = list_images(collection)
    if not real:
        raise DataError(f"{collection}: {without_images(collection)}")
    work, report = comparison.results / "compare", comparison.results / "report"
    folders = {"content": str(content), "style": str(style), "collection": str(collection)}
    _refuse_foreign(report, folders)
    columns = measure.choose([*filter(None, config.entries(comparison.metrics))])
    for folder in dict.fromkeys((content, style, collection)):
        if line := left_out(folder):
            say(line)
    pairs = make_pairs(work, content, style, comparison, say)
    say(f"{len(pairs.rows)} contents of {content}, each with a style of {style}")
    partly = read_in_part([*pairs.drawn, *real])
    if part := measure.part_note(partly, pairs.folder / "read_in_part.txt"):
        say(part)
    for label in redo:
        if label not in [entry.label for entry in entries]:
            known = did_you_mean(label, [entry.label for entry in entries])
            raise ConfigError(f"--redo has {label!r}: {known}")
        Stages(work / label, say).forget()
    how = measure.How(
        device=device,
        size=comparison.size,
        seed=comparison.seed,
        batch_size=1 if device.type == "cpu" else 16,
    )
    bench = Bench(comparison, pairs, real, columns, how, work, say)
    bench.refuse_strangers(entries)
    rows: dict[str, Row] = {
        UNCHANGED: bench.reference(
            UNCHANGED,
            pairs.contents,
            {"collection", "content", "style"},
            "the contents themselves: how far there is to go",
        ),
    }
    rows[UNCHANGED]["notes"] += filter(None, (pairs.note, part))
    if not set(list_images(style)) & set(real):  # compared with themselves they would be perfect
        count = len(set(pairs.styles))
        rows[STYLES] = bench.reference(
            STYLES,
            pairs.styles,
            {"collection"},
            f"the pairs' {count} style images, real ones of the target: as close as one can come",
        )
    for number, entry in enumerate(entries, start=1):
        say(f"{number}/{len(entries)} {entry.label}")
        rows[entry.label] = bench.row(entry)
    write_json(
        report / "metrics.json",
        {
            "title": comparison.title or f"{content} towards {collection}",
            "made_by": measure.made_by(device),
            "command": typed,
            "protocol": {
                "size": how.size,
                "resize": measure.resizing(how),
                "seed": how.seed,
                "side": comparison.side,
                "rows": comparison.rows,
                **folders,
                "collection_images": len(real),
            },
            "pairs": [
                {
                    "name": row["content"],
                    "content": _relative(pairs.content / row["content"], report),
                    "style": _relative(pairs.style / row["style"], report),
                }
                for row in pairs.rows
            ],
            "metrics": {key: measure.describe(column) for key, column in columns.items()},
            "methods": rows,
        },
    )
    return report


@dataclass(frozen=True)
class Pairs:
    """The images that every method gets, scaled once, in a folder of their own."""

    folder: Path
    rows: list[dict[str, str]]
    drawn: list[Path]  # the files that they are of
    note: str  # which images were left out of them; "" where none was

    @property
    def file(self) -> Path:
        """The pairs, by their names in the two folders."""
        return self.folder / "pairs.csv"

    @property
    def content(self) -> Path:
        """Folder of the contents."""
        return self.folder / "content"

    @property
    def style(self) -> Path:
        """Folder of the style images."""
        return self.folder / "style"

    @property
    def contents(self) -> list[Path]:
        """The content of each pair."""
        return [self.content / row["content"] for row in self.rows]

    @property
    def styles(self) -> list[Path]:
        """The style image of each pair."""
        return [self.style / row["style"] for row in self.rows]


class Unreadable(Exception):
    """Images that were drawn can't be read: the reason of each."""

    def __init__(self, reasons: Mapping[Path, str]) -> None:
        super().__init__("; ".join(reasons.values()))
        self.reasons = reasons


def make_pairs(
    work: Path, content: Path, style: Path, how: Comparison, say: Callable[[str], None]
) -> Pairs:
    """Draw pairs, unless those that are there were drawn from the same images.

    Images that can't be read are left out, and others are drawn in their places: the same ones
    whenever the same can't be read.

    Raises:
        DataError: no image of a side can be read.
    """
    roots = {"content": content, "style": style}
    names = {side: output_names(root, side) for side, root in roots.items()}
    folder = work / "pairs"
    bad = _known_bad(folder / BAD, [path for known in names.values() for path in known])
    drawn: list[dict[str, str]] = []
    files: dict[str, list[Path]] = {}

    def make(resume: bool) -> None:
        del resume
        shutil.rmtree(folder, ignore_errors=True)
        with atomic_folder(folder) as partial:
            reasons = {}
            for side, paths in files.items():
                for path in paths:
                    try:
                        _copy(path, partial / side / names[side][path], how.side)
                    except ImageError as error:
                        reasons[path] = str(error)
            if reasons:
                raise Unreadable(reasons)
            rows = [
                {side: names[side][roots[side] / row[side]].as_posix() for side in roots}
                for row in drawn
            ]
            write_pairs(partial / "pairs.csv", rows)
            write_json(partial / BAD, [[str(p), _digest(p), bad[p]] for p in sorted(bad)])

    said = say
    while True:
        try:
            drawn = draw_pairs(content, style, how.pairs, how.seed, bad)
        except DataError as error:
            if bad:
                error.add_note(_bad_note(bad))
            raise
        files = {
            side: list(dict.fromkeys(root / row[side] for row in drawn))
            for side, root in roots.items()
        }
        paths = [path for each in files.values() for path in each]
        try:
            Stages(work, said).do("pairs", fingerprint([how.side, drawn], paths), make, folder)
            break
        except Unreadable as found:
            bad |= found.reasons
            said = _silent
    note = _bad_note(bad, folder / "left_out.txt")
    if note:
        say(note)
    return Pairs(folder, read_pairs(folder / "pairs.csv"), paths, note)


def _silent(line: str) -> None:
    """Say nothing: it was said."""


def _bad_note(bad: Mapping[Path, str], file: Path | None = None) -> str:
    """Which images were left out of the draw; empty where all can be read."""
    if not bad:
        return ""
    count = len(bad)
    what = f"{count} image{'s' * (count != 1)} that can't be read {'are' if count != 1 else 'is'}"
    reasons = listed([bad[path] for path in sorted(bad)], file)
    return f"{what} left out of the pairs, and others drawn where there are more: {reasons}"


def _known_bad(path: Path, images: Collection[Path]) -> dict[Path, str]:
    """Images that an earlier draw found unreadable, and their reasons, if they are as they were."""
    try:
        found = [(Path(name), digest, str(reason)) for name, digest, reason in read_json(path)]
    except (OSError, ValueError, TypeError):
        return {}
    there = set(images)
    return {p: reason for p, digest, reason in found if p in there and _digest(p) == digest}


def _digest(path: Path) -> str:
    """Of a file's content and this program's version: another one may read it."""
    return fingerprint([], [path])


def _refuse_foreign(report: Path, folders: Mapping[str, str]) -> None:
    """Refuse to replace the report of another comparison."""
    path = report / "metrics.json"
    if not path.exists():
        return
    try:
        protocol = dict(read_json(path)["protocol"])
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise DataError(f"{path} is there, but is no comparison: remove it ({error!r})") from error
    for key, folder in folders.items():
        if protocol.get(key) != folder:
            raise ConfigError(
                f"{report} is of the {key} folder {protocol.get(key)}, not {folder}: give another "
                "--name, or remove it"
            )


def _copy(source: Path, target: Path, side: int) -> None:
    array = to_array(load_image(source))
    save_png(resize(array, scaled_size(array.shape[:2], side)), target)


@dataclass(frozen=True)
class Bench:
    """What makes the rows of a report."""

    comparison: Comparison
    pairs: Pairs
    real: Sequence[Path]  # the target collection
    columns: Mapping[str, metrics.Column]
    how: measure.How
    work: Path
    say: Callable[[str], None]

    def row(self, entry: Entry) -> dict[str, Any]:
        """Everything that is known of a method, or why there is nothing to know."""
        row = _empty_row()
        stages = Stages(self.work / entry.label, self.say)
        try:
            if entry.translated:
                row["notes"].append(f"made by another program, found in {entry.translated}")
                samples = self._outside(entry)
            else:
                samples = self._ours(entry, stages, row)
            row["values"] = self._evaluate(stages, samples, self.columns, row)
            row["images"] = [_relative(each.translated, self._report) for each in samples]
            row["notes"] += [*_enlarged(samples), *stages.made_earlier()]
        except Interrupted:
            raise
        except Exception as error:  # whatever it is, the other methods go on
            kind = "" if isinstance(error, Failed | UserError) else f"{type(error).__name__}: "
            row["error"] = kind + " ".join(str(error).split())
            self.say(f"  failed: {row['error']}")
        return row

    def refuse_strangers(self, entries: Iterable[Entry]) -> None:
        """Refuse folders of other programs that lack a pair, all at once, before hours of others.

        Raises:
            DataError: there are such.
        """
        mistakes = []
        for entry in entries:
            if entry.translated:
                try:
                    self._outside(entry)
                except UserError as error:
                    mistakes.append(f"methods.{entry.label}: {error}")
        if mistakes:
            raise DataError(_told(self.comparison, mistakes))

    def reference(self, label: str, images: Sequence[Path], against: set[str], note: str) -> Row:
        """The row of images that no method made, with those numbers that mean something."""
        pairs = zip(images, self.pairs.contents, self.pairs.styles, strict=True)
        samples = [
            measure.Sample(name=image.name, translated=image, content=content, style=style)
            for image, content, style in pairs
        ]
        columns = {
            key: each
            for key, each in self.columns.items()
            # The product is of the content too.
            if each.against in against and (each.metric != "artfid" or "content" in against)
        }
        row = _empty_row() | {"reference": True, "notes": [note]}
        stages = Stages(self.work / label, self.say)
        found = self._evaluate(stages, samples, columns, row)
        row["notes"] += stages.made_earlier()
        row["values"] = {key: found.get(key, {"missing": POINTLESS}) for key in self.columns}
        row["images"] = [_relative(path, self._report) for path in images]
        return row

    @property
    def _report(self) -> Path:
        return self.comparison.results / "report"

    def _outside(self, entry: Entry) -> list[measure.Sample]:
        return measure.match(
            Path(entry.translated), self.pairs.content, self.pairs.style, self.pairs.file,
            pattern=str(entry.options.get(PATTERN, STEM)),
        )  # fmt: skip

    def _ours(self, entry: Entry, stages: "Stages", row: Row) -> list[measure.Sample]:
        """Train, translate, there and back, and time a method of this package."""
        folder = stages.folder
        source = [f"--method={entry.method}"]
        run, record, name = None, None, entry.method
        if entry.run or entry.train:
            run = Path(entry.run) if entry.run else self._train(entry, stages, row)
            record = runs.read(run)
            source, name = [f"--run={run}"], record["train"]["method"]
        paper = methods.load(name).PAPER
        row["paper"] = asdict(paper)
        own = runs.style_image(run, record) if run and record and paper.style == "fixed" else None
        row["notes"] += _notes(paper, record["method"].get("style") if record else None, own)
        seen = record["data"].get("size") if record else None
        if record and record["data"].get("preprocess") == "scale_shorter_and_crop":
            seen = config.build(config.DataConfig, record["data"]).scaled_shorter
        if isinstance(seen, int) and seen < self.comparison.side:
            row["notes"].append(f"learned from images of {seen} pixels, smaller than these")
        known = [each.name for each in config.describe(methods.source(name))]
        both_ways = "direction" in known
        options = {"direction": self.comparison.direction} if both_ways else {}
        options |= entry.options
        row["settings"] = _settings(name, known, record, entry.options)
        row["short_of"] = _short_of(name, record, row["settings"], run)
        row["weights"] = _which(
            run, options.get("weights", "raw"), str(options.get("direction", ""))
        )

        files = sorted(run.glob("*.safetensors")) if run else []
        made = folder / "translated"
        # What auto comes to: another machine's images and seconds aren't those of this one.
        wanted = cast("config.Wanted", options.get("precision", "auto"))
        precision = choose_precision(wanted, self.how.device)
        self._translate(
            stages, "translate", made, self.pairs.content, [*source, *_flags(options)], precision,
            files, row, styles=paper.style == "image",
        )  # fmt: skip
        back = None
        one_sided = record and len(checkpoint.directions(methods.load(name), record)) == 1
        if both_ways and not one_sided:
            back = folder / "reconstructed"
            way = BACK[config.convert("direction", options["direction"], Direction)]
            again = [*source, *_flags(options | {"direction": way})]
            self._translate(stages, "translate back", back, made, again, precision, files, row)
        shared = ("preset", "weights", "precision")
        its = {key: options[key] for key in options if key in (*known, *shared)}
        row["cost"] = self._cost(stages, [*source, *_flags(its)], precision, files, run, row)
        row["licences"] = row["cost"].pop("licences", [])
        published = row["cost"].pop("weights", [])
        if not run and published:
            row["weights"] = f"published ones: {', '.join(published)}"
        return measure.match(
            made, self.pairs.content, own or self.pairs.style, self.pairs.file, reconstructed=back
        )

    def _train(self, entry: Entry, stages: "Stages", row: Row) -> Path:
        """The folder of a run with an entry's options, trained unless it is there."""
        options = _with_domain(self.comparison, entry.train)
        flat = command.with_file(options)
        if not flat.get("domain") and not flat.get("data_a"):
            raise Failed(NOTHING_TO_TRAIN_ON)
        key = fingerprint([flat], _read_by_training(flat))
        run = stages.folder / f"run-{key[:8]}"  # a run of other options or images stays
        on_cpu = ["env", "ACCELERATE_USE_CPU=true"] if self.comparison.device == "cpu" else []
        typed = [*on_cpu, *GAN_STYLE, "train", f"--run_dir={run}", *_flags(options)]
        row["commands"].append(_shown(typed))

        def train(resume: bool) -> None:
            del resume  # a run knows by itself
            saved = bool(checkpoint.checkpoints(run))
            if not saved:  # killed before its first checkpoint
                shutil.rmtree(run, ignore_errors=True)
            call([*typed, *(["--resume=auto"] if saved else [])])

        stages.do("train", key, train, run / "config.json")
        return run

    def _translate(
        self,
        stages: "Stages",
        stage: str,
        out: Path,
        content: Path,
        options: Sequence[str],
        precision: Precision,
        weights_files: Sequence[Path],
        row: Row,
        styles: bool = False,
    ) -> None:
        typed = [*GAN_STYLE, "translate", *options, f"--content={content}", f"--out={out}"]
        if styles:
            typed += [f"--style={self.pairs.style}", f"--pairs={self.pairs.file}"]
        typed += ["--side=0", f"--seed={self.comparison.seed}", *self._device]
        row["commands"].append(_shown([*typed, "--overwrite"]))

        def translate(resume: bool) -> None:
            if not resume:
                shutil.rmtree(out, ignore_errors=True)
            # What nothing says the origin of is of a stage that was killed: nobody else's.
            call([*typed, *(["--resume", "--overwrite"] if resume and out.exists() else [])])

        images = [*list_images(content), *(self.pairs.styles if styles else [])]
        key = fingerprint(
            [typed[len(GAN_STYLE) :], self.how.device.type, precision, [p.name for p in images]],
            [*weights_files, *images],
        )
        stages.do(stage, key, translate, out)

    @property
    def _device(self) -> list[str]:
        return [f"--device={self.comparison.device}"] if self.comparison.device else []

    def _cost(
        self,
        stages: "Stages",
        options: Sequence[str],
        precision: Precision,
        weights_files: Sequence[Path],
        run: Path | None,
        row: Row,
    ) -> dict[str, Any]:
        """Seconds and memory of a method, as far as it can be timed, and what training took."""
        out = stages.folder / "cost.json"
        cost: dict[str, Any] = {}
        typed = [*GAN_STYLE, "cost", *options, f"--sizes={','.join(self.comparison.sides)}"]
        typed += [f"--limit={self.comparison.cost_limit}", f"--out={out}", *self._device]
        machine = devices.machine(self.how.device)
        key = fingerprint([typed[len(GAN_STYLE) :], machine, precision], weights_files)
        try:
            stages.do("cost", key, lambda _: call([*typed, "--overwrite"]), out)
            cost = read_json(out)
        except Failed as error:
            row["notes"].append(f"its cost couldn't be measured: {error}")
            self.say(f"  no cost: {error}")
        if run:
            made = _progress(run)
            cost["training"] = {name: made.get(name) for name in ("seconds", "images", "device")}
        return cost

    def _evaluate(
        self,
        stages: "Stages",
        samples: Sequence[measure.Sample],
        columns: Mapping[str, metrics.Column],
        row: Row,
    ) -> dict[str, Any]:
        """The numbers of a method; its notes say where other versions computed them."""
        out = stages.folder / "metrics.json"
        images = [
            path
            for each in samples
            for path in (each.translated, each.content, each.style, each.reconstruction)
            if path
        ]
        halves = [measure.HALVES, kid.SUBSET]
        ranges = [str(column.info.range) for _, column in sorted(columns.items())]
        how = [self.how.size, self.how.seed, sorted(columns), halves, ranges]
        key = fingerprint(how, [*images, *self.real])

        def evaluate(resume: bool) -> bool:
            del resume
            cache, seen = self.work / "features", measure.Seen()
            found = measure.compute(samples, self.real, columns, self.how, cache, seen)
            bad = measure.bad_note(seen, stages.folder / "left_out.txt")
            real = set(self.real)  # of which it is said once for all rows
            own = {path: note for path, note in seen.notes.items() if path not in real}
            part = measure.part_note(own, stages.folder / "read_in_part.txt")
            shapes = measure.shapes_note(samples, seen)
            notes = [note for note in (shapes, part, bad) if note]
            made_by = measure.made_by(self.how.device)
            write_json(out, {"made_by": made_by, "values": found, "notes": notes})
            return not any(measure.WITHOUT in each.get("missing", "") for each in found.values())

        stages.do("evaluate", key, evaluate, out)
        now = _libraries(measure.made_by(self.how.device))
        try:
            record = read_json(out)
            then, found = _libraries(record["made_by"]), dict(record["values"])
            row["notes"] += record.get("notes", [])
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise DataError(f"{out} is no evaluation: remove it ({error!r})") from error
        if different := [f"{name} {then[name]}" for name in then if then[name] != now.get(name)]:
            row["notes"].append(f"evaluated earlier, by {', '.join(different)}")
        return found


@dataclass(frozen=True)
class Stages:
    """Which stages of a method are done, and by which inputs."""

    folder: Path
    say: Callable[[str], None]
    seen: list[str] = field(default_factory=list)  # by this comparison, done or found done

    def do(
        self, stage: str, inputs: str, make: Callable[[bool], bool | None], output: Path
    ) -> None:
        """Call `make` unless `output` is there, made by the same inputs.

        It gets True where it is to go on from where it stopped, and returns False where the next
        try might make more of it, such as when weights couldn't be had.
        """
        self.seen.append(stage)
        path = self.folder / "stages.json"
        known = self._known()
        before = known.get(stage, {})
        same = before.get("inputs") == inputs
        if same and before.get("done") and output.exists():
            self.say(f"  {stage}: as before")
            return
        self.say(f"  {stage}")
        now = {"inputs": inputs, "done": False, "commit": runs.commit()}
        write_json(path, {**known, stage: now})
        now["done"] = make(same and not before.get("done")) is not False
        write_json(path, {**known, stage: now})

    def made_earlier(self) -> list[str]:
        """A note of the stages that another commit of this package made, if there are any."""
        commits: dict[str, list[str]] = {}
        for stage, made in self._known().items():
            if stage in self.seen and made.get("commit", "") != runs.commit():
                commits.setdefault(made.get("commit", ""), []).append(DONE[stage])
        return [
            f"{', '.join(done)} earlier, by commit {commit or 'unknown'}"
            for commit, done in commits.items()
        ]

    def forget(self) -> None:
        """Have everything done anew but the training."""
        path, known = self.folder / "stages.json", self._known()
        write_json(path, {stage: known[stage] for stage in known if stage == "train"})

    def _known(self) -> dict[str, Any]:
        """What is done; nothing where that can't be read, so that it is done again."""
        try:
            known = read_json(self.folder / "stages.json")
        except (OSError, ValueError):
            return {}
        known = known if isinstance(known, dict) else {}
        return {stage: made for stage, made in known.items() if isinstance(made, dict)}


def call(typed: Sequence[str]) -> None:
    """Run a command with its progress on our stderr.

    A signal to us is handed on once, and waited for: trainings save before they stop.

    Raises:
        Failed: it ended with another code than 0; with the last line that it said.
        Interrupted: it was stopped by a signal to us.
    """
    received: list[int] = []
    waiting: deque[int] = deque()
    children: list[subprocess.Popen[bytes]] = []

    def hand_on(number: int) -> None:
        received.append(number)
        waiting.append(number)
        pass_on()

    def pass_on() -> None:
        with suppress(IndexError):  # nothing waits any more
            while children:
                children[0].send_signal(waiting.popleft())

    with (
        postponed(hand_on),  # before it starts: no signal may find it without us
        subprocess.Popen(
            typed,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # else Ctrl-C would reach it twice, from the terminal and us
        ) as child,
    ):
        children.append(child)
        pass_on()
        tail, text = b"", codecs.getincrementaldecoder("utf-8")("replace")
        try:
            assert child.stderr
            while chunk := os.read(child.stderr.fileno(), 4096):
                STDERR.write(text.decode(chunk))
                STDERR.flush()
                tail = (tail + chunk)[-TAIL:]
            code = child.wait()
        finally:
            if child.poll() is None:  # a second signal ends us, and leaves nothing behind
                os.killpg(child.pid, signal.SIGTERM)
    if received:
        raise Interrupted(f"stopped by signal {received[0]}; the same command goes on from there")
    if code:
        raise Failed(_reason(tail.decode(errors="replace"), code))


def _reason(tail: str, code: int) -> str:
    """The last line of a command's output, without its program's name; or what its code says."""
    if code < 0:
        name = signal.Signals(-code).name
        return f"ended by {name}" + ", perhaps for want of memory" * (name == "SIGKILL")
    said = [line for line in tail.replace("\r", "\n").splitlines() if line.strip()]
    last = said[-1].strip() if said else f"ended with code {code}"
    return last.removeprefix("gan_style: ")


def fingerprint(values: Sequence[Any], paths: Sequence[Path]) -> str:
    """A name of everything that a result hangs on: values, and the content of files."""
    parts = [gan_style.__version__, json.dumps(values, sort_keys=True, default=str)]
    parts += map(measure.checksum, paths)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _empty_row() -> Row:
    return {
        "reference": False,
        "paper": None,
        "settings": {},
        "weights": "",
        "licences": [],
        "commands": [],
        "notes": [],
        "short_of": [],
        "error": None,
        "images": [],
        "values": {},
        "cost": {},
    }


def _notes(paper: Paper, own_style: str | None, there: Path | None) -> list[str]:
    """What a reader has to know of the way that a kind of method is compared."""
    if paper.style == "collection":
        return ["learned the whole collection; it doesn't see the style image of a pair"]
    if there:
        return [f"knows one style, {own_style}, and is scored against that, not the pair's"]
    if paper.style == "fixed":
        return [f"knows one style, {own_style}, which isn't there: scored against the pair's"]
    return []


def _settings(
    name: str, known: Sequence[str], record: Mapping[str, Any] | None, typed: Mapping[str, Any]
) -> Row:
    """A method's options; `known` are those that are its own."""
    if record:
        trained = {key: record["train"][key] for key in config.BUDGETS if record["train"].get(key)}
        data = {key: record["data"].get(key, "") for key in ("domain", "size")}
        precision = {"precision": record["launch"]["precision"]}
        return {**record["method"], **data, **trained, **precision, **typed}
    preset = command.preset_name({"method": name, **typed})
    options = {key: value for key, value in typed.items() if key != "preset"}
    described = config.describe(methods.source(name))
    defaults = {each.name: each.default.strip("'") for each in described}
    chosen = command.with_preset({"method": name, **options}, preset)
    its = {key: value for key, value in chosen.items() if key in known or key in typed}
    return {**({"preset": preset} if preset else {}), **defaults, **its}


def _short_of(
    name: str, record: Mapping[str, Any] | None, settings: Mapping[str, Any], run: Path | None
) -> list[str]:
    """What of a method was done far less than its recipe says, a line each."""
    if run is None or record is None:
        typed = {"method": name, "preset": settings.get("preset", "")}
        source = methods.source(name)
        recipe = {each.name: each.default for each in config.describe(source)}
        recipe |= command.with_preset(typed, command.preset_name(typed))
        return [
            f"{int(settings[key])} {key} of its recipe's {int(recipe[key])}: {LITTLE}"
            for key in EFFORT
            if key in recipe and int(settings[key]) < FAR_BELOW * int(recipe[key])
        ]
    trained = _progress(run).get("images")
    images = _recipe_images(name, record)
    if not isinstance(trained, int) or not images or trained >= FAR_BELOW * images:
        return []
    share = 100 * trained / images
    return [f"trained on {trained:,} images, {share:.2g} % of its recipe's {images:,}: {LITTLE}"]


def _recipe_images(name: str, record: Mapping[str, Any]) -> int:
    """Images that a method's recipe trains on this domain; 0 where its images aren't here."""
    data, preset = record["data"], record.get("preset", "")
    known = preset in config.presets(methods.source(name))  # or another version's
    method = {"method": name, "domain": data.get("domain", "")}
    recipe = command.with_preset(method, preset if known else "")
    if recipe.get("images"):
        return int(recipe["images"])
    folders = [folder for folder in _training_folders(data) if folder.is_dir()]
    images = max((len(list_images(folder)) for folder in folders), default=0)
    if data.get("data_a"):
        images -= round(images * data["test_share"])
    return images * int(recipe.get("epochs") or config.TrainConfig().epochs_in_all)


def _which(run: Path | None, kind: str, direction: str) -> str:
    """Which weights a number belongs to."""
    if run is None:
        return ""
    known = _progress(run)
    if kind == "best":
        best = known.get("kid", {}).get(direction, {})
        after = f", after {best['best_images']:,} images" if best else ""
        return f"of the lowest KID of test images while training, so that KID is optimistic{after}"
    after = f", after {known['images']:,} images" if "images" in known else ""
    return {"raw": "as trained", "ema": "running average"}.get(kind, kind) + after


def _libraries(made_by: Mapping[str, Any]) -> dict[str, str]:
    """Whatever else than this package computed numbers, by its name."""
    others = {key: made_by[key] for key in ("python", "machine") if key in made_by}
    return {**others, **made_by["libraries"]}


def _enlarged(samples: Sequence[measure.Sample]) -> list[str]:
    """A note of translations that are smaller than what they were made from."""
    few = 0
    for sample in samples:
        with suppress(ImageError):  # which the evaluation tells of
            few += min(image_size(sample.translated)) < min(image_size(sample.content))
    return [f"{few} of its {len(samples)} images are smaller than their contents"] if few else []


def _progress(run: Path) -> dict[str, Any]:
    """What a run says of its training; nothing where it doesn't."""
    try:
        known = read_json(run / "progress.json")
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _training_folders(options: Mapping[str, Any]) -> list[Path]:
    """The folders that a training with these options reads."""
    root = Path(str(options.get("data_root", ""))) / str(options.get("domain", ""))
    root = root if root.is_dir() else Path(str(options.get("domain", "")))
    loose = [Path(options[side]) for side in ("data_a", "data_b") if options.get(side)]
    parts = [root / part for part in config.PARTS[:2]] if options.get("domain") else []
    return loose or parts


def _read_by_training(options: Mapping[str, Any]) -> list[Path]:
    """The images that a training with these options reads, as far as they are here."""
    folders = (folder for folder in _training_folders(options) if folder.is_dir())
    images = [path for folder in folders for path in list_images(folder)]
    images += sorted(Path(str(options.get("start_from") or os.devnull)).glob("*.safetensors"))
    style = Path(str(options.get("style", "")))
    return [*images, *([style] if style.is_file() else [])]


def _flags(options: Mapping[str, Any]) -> list[str]:
    return [f"--{key}={value}" for key, value in options.items()]


def _shown(typed: Sequence[str]) -> str:
    """A command as a user would type it."""
    return shlex.join("python" if word == sys.executable else word for word in typed)


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
