"""Options: frozen dataclasses with the paper's defaults, a TOML file over them, flags over that.

Every option is a flat key that belongs to exactly one section: data, train or the method's own
`Config`. Nothing here imports torch, so help and mistakes are answered at once.
"""

import ast
import dataclasses
import difflib
import math
import re
import tomllib
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from PIL import ImageColor

from gan_style import reference
from gan_style.errors import ConfigError
from gan_style.io.safe_io import read_text

# What an option may ask for, beyond which it is a mistake, or somebody's who means harm.
LONGEST = 16_384  # pixels, of a side
MOST_WORKERS = 256
MOST_THREADS = 1024
MOST_IMAGES = 4096  # together, or one after the other before weights move
MOST_TEXT = 100_000  # characters of an option
# Of a TOML file, whose largest here has 3 kB: for a dotted key tomllib takes time and memory by the
# square of its length, and one of 100 kB would take 10 GB.
TOML_BYTES = 100_000
TOML_LINE = 1000  # characters

ROOT = Path(__file__).parents[1]  # what `gan_style.` is imported from
PARTS = ("trainA", "trainB", "testA", "testB")  # the folders of a domain
BUDGETS = ("epochs", "images", "minutes")  # of a training; it has one of them
Preprocess = Literal[
    "resize_and_crop",
    "resize",
    "crop",
    "scale_width",
    "scale_width_and_crop",
    "scale_shorter_and_crop",
    "none",
]


Wanted = Literal["auto", "fp32", "bf16", "fp16"]  # precision


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images, and how they are cut."""

    domain: str = ""  # a known name, or a folder: docs/data.md
    data_a: str = ""  # instead of a domain: a loose folder of A ...
    data_b: str = ""  # ... and one of B; a test part is split off and listed in <run>/testA.txt
    test_share: float = 0.1  # of a loose folder that is kept for testing
    data_root: str = "data"  # where known domains are and are downloaded to
    preprocess: Preprocess = "resize_and_crop"  # how an image becomes a crop
    size: int = 256  # side of the square crop in pixels
    width: int | None = None  # of a crop that isn't square, in pixels; --size is its height then
    load_size: int | None = None  # of resize_and_crop and scale_*; None is size * 286 / 256
    flip: bool = True  # mirror half of the images
    serial_b: bool = False  # take B in order with A instead of at random
    background: str = "white"  # under transparent images
    skip_bad_images: bool = False  # leave unreadable images out instead of stopping
    cache_gb: float = 4.0  # images kept in memory by each process, if as much is free; 0 keeps none
    workers: int = 2  # threads that decode and crop

    def __post_init__(self) -> None:
        """Refuse what contradicts itself, in the user's spelling."""
        at_least(1, size=self.size, width=self.width, workers=self.workers)
        at_least(0, cache_gb=self.cache_gb)
        at_most(LONGEST, size=self.size, width=self.width, load_size=self.load_size)
        at_most(MOST_WORKERS, workers=self.workers)
        # Of scale_width_and_crop it is the width; its height is never below the crop's. Of
        # scale_shorter_and_crop it is the shorter side, which may be either.
        option, least = "size", self.size
        if self.width is not None and self.preprocess == "scale_width_and_crop":
            option, least = "width", self.width
        elif self.width is not None and self.preprocess == "scale_shorter_and_crop":
            option, least = max(("size", self.size), ("width", self.width), key=itemgetter(1))
        if (
            self.load_size is not None
            and self.load_size < least
            and self.preprocess.endswith("_and_crop")
        ):
            raise ConfigError(
                f"--load_size is {self.load_size}, but must be at least --{option}, {least}"
            )
        if bool(self.data_a) != bool(self.data_b):
            given, missing = ("data_a", "data_b") if self.data_a else ("data_b", "data_a")
            raise ConfigError(f"--{given} is {getattr(self, given)!r}: give --{missing} with it")
        try:
            ImageColor.getrgb(self.background)
        except ValueError as error:
            raise ConfigError(f"--background is {self.background!r}: {error}") from error
        if not 0 < self.test_share < 1:
            raise ConfigError(f"--test_share is {self.test_share}, but must be between 0 and 1")

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels that --size and --width ask for."""
        return self.size, self.width if self.width is not None else self.size

    @property
    def crop(self) -> tuple[int, int] | None:
        """(height, width) of what training sees; None where images have different sizes."""
        return None if self.preprocess in ("scale_width", "none") else self.shape

    @property
    def scaled_to(self) -> tuple[int, int]:
        """(height, width) before the crop of resize_and_crop, in the crop's proportion.

        286 for a crop of 256, as in the reference, which has squares only.
        """
        height, width = self.shape
        if self.load_size is None:
            return round(height * 286 / 256), round(width * 286 / 256)
        return self.load_size, round(self.load_size * width / height)

    @property
    def scaled_shorter(self) -> int:
        """Shorter side that scale_shorter_and_crop scales to."""
        return self.load_size if self.load_size is not None else max(self.scaled_to)

    @property
    def scaled_width(self) -> int:
        """Width that scale_width and scale_width_and_crop scale to."""
        return self.load_size if self.load_size is not None else self.scaled_to[1]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long, how fast, what is kept. An image is one pair: an a and a b (or the side read)."""

    method: str = "cyclegan"  # see: python -m gan_style methods
    # Not "run": torchrun would take --run for one of its own options.
    run_dir: str = ""  # run folder; empty takes the next number in results/<domain>/<method>
    resume: str = ""  # auto: go on with --run_dir, or with the newest run of this domain and method
    start_from: str = ""  # another run: begin with its weights, and its options where none is typed
    epochs: int | None = None  # budget in epochs, as many images as the larger domain has; else 200
    images: int | None = None  # budget in images instead of epochs
    minutes: float | None = None  # budget in minutes instead of epochs
    schedule: Literal["linear", "reference", "constant", "inverse"] = "linear"  # of the rates
    decay: float = 0.5  # last share of the budget, over which the rates fall to 0
    batch_size: int = 1  # images a process shows a player at once
    gradient_accumulation_steps: int = 1  # such batches a process gathers before weights move
    precision: Wanted = "auto"  # what this device does quickest
    deterministic: bool = False  # bit-equal runs on one machine; a GPU has slower ways for some
    recompute: bool = False  # activations in the backward pass, for crops that memory can't hold
    ema: float = 0.999  # decay a step of the averaged generators; 0 keeps none
    threads: int = 0  # of a process on a CPU; 0 shares the cores among the processes
    seed: int = 0  # of weights, data order, crops and pools
    log_every: int = 10  # images between two points of a curve
    sample_every: int = 500  # images between two grids of samples; 0 draws none
    samples: int = 4  # test images of each domain in a grid
    kid_every: int = 5  # epochs between two KIDs of test images, and one at the end; 0: none
    kid_images: int = 50  # test images of each domain that KID compares
    checkpoint_minutes: float = 10.0  # between two checkpoints
    keep: int = 2  # checkpoints kept, newest first

    def __post_init__(self) -> None:
        """Refuse what contradicts itself, in the user's spelling."""
        counts = ("epochs", "images", "batch_size", "gradient_accumulation_steps", "log_every")
        at_least(1, **{name: getattr(self, name) for name in (*counts, "samples", "keep")})
        at_least(4, kid_images=self.kid_images)
        zeros = ("threads", "seed", "sample_every", "kid_every", "checkpoint_minutes")
        at_least(0, **{name: getattr(self, name) for name in zeros})
        at_most(MOST_THREADS, threads=self.threads)
        together = ("batch_size", "gradient_accumulation_steps", "samples")
        at_most(MOST_IMAGES, **{name: getattr(self, name) for name in together})
        if self.seed >= 2**31:
            raise ConfigError(f"--seed is {self.seed}, but must be below {2**31}")
        if self.minutes is not None and not self.minutes > 0:
            raise ConfigError(f"--minutes is {self.minutes}, but must be above 0")
        budgets = [f"--{n} is {v}" for n in BUDGETS if (v := getattr(self, n)) is not None]
        if len(budgets) > 1:
            raise ConfigError(f"{' and '.join(budgets)}: one budget is enough")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"--ema is {self.ema}, but must be in [0, 1)")
        if not 0 < self.decay <= 1:
            raise ConfigError(f"--decay is {self.decay}, but must be in (0, 1]")
        if self.schedule == "reference" and (self.images is not None or self.minutes is not None):
            raise ConfigError(
                "--schedule reference counts whole epochs: give the budget as --epochs"
            )
        if self.schedule == "reference" and round(self.decay * self.epochs_in_all) == 0:
            raise ConfigError(
                f"--schedule reference would train at a rate of 0 with --epochs {self.epochs} and "
                f"--decay {self.decay}: give more epochs, or --schedule linear"
            )

    @property
    def epochs_in_all(self) -> int:
        """The budget in epochs: that of the reference where nothing else is given."""
        return self.epochs or 200


WRITTEN = ("data_root", "run_dir", "out", "features")  # options that say where files are written

# What a resumed run may change: budgets and conveniences, nothing that its results so far rest on.
# Its images are compared by content: how they were typed, and which were left out, follows from it.
RESUMABLE = frozenset(
    {"run_dir", "resume", "epochs", "images", "minutes", "log_every", "sample_every", "samples"}
    | {
        "kid_every",
        "checkpoint_minutes",
        "keep",
        "workers",
        "threads",
        "cache_gb",
        "domain",
        "data_a",
        "data_b",
        "data_root",
        "skip_bad_images",
        "direction",
        "device",
    }
)


def at_least(least: float, **values: float | None) -> None:
    """Refuse the first of `values` (option name -> value) that is below; None is none."""
    for name, value in values.items():
        if value is not None and value < least:
            raise ConfigError(f"--{name} is {value}, but must be at least {least}")


def at_most(most: float, **values: float | None) -> None:
    """Refuse the first of `values` (option name -> value) that is above; None is none."""
    for name, value in values.items():
        if value is not None and value > most:
            raise ConfigError(f"--{name} is {value}, but must be at most {most}")


def entries(text: str) -> list[str]:
    """What an option joins by commas, without the blanks beside them; nothing for no text."""
    return [each.strip() for each in text.split(",")] if text.strip() else []


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest known name as a question, or all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"


def refuse_unknown(
    options: Mapping[str, Any], known: reference.Known, program: str = "", method: str = ""
) -> None:
    """Refuse options that a program doesn't know.

    Those of the reference are answered by ours, all at once; another by the nearest of its letters.

    Args:
        options: as typed.
        known: options of the program -> their choices, as `choices` has them.
        program: its name: train, or a command's.
        method: whose options are among the known ones.

    Raises:
        ConfigError: there are such.
    """
    for said in unknown(options, known, program, method):
        raise ConfigError(said)


def unknown(
    options: Mapping[str, Any], known: reference.Known, program: str = "", method: str = ""
) -> Iterator[str]:
    """Everything that `refuse_unknown` would refuse, where it stops at the first."""
    found = reference.find(options, known, program, method)
    if said := reference.advice(found):
        yield said
    for key in options:
        if not {key, f"no_{key}"} & {*known, *found.names}:
            near = _near(key, known, reference.names(program))
            if near and near not in known:
                said = reference.slip(near, options[key], known, program, method)
            else:
                said = _nearest_option(key, known)
            yield f"unknown option --{key}: {said}"


def refuse_reference(
    options: Mapping[str, Any], known: reference.Known, program: str, method: str = ""
) -> None:
    """The same of the reference's options alone."""
    if said := reference.advice(reference.find(options, known, program, method)):
        raise ConfigError(said)


def _nearest_option(name: str, known: Iterable[str]) -> str:
    """An option that is another by a slip of the finger, or all of them.

    One by which files are written must have the same letters: it is obeyed without a thought.
    """
    known = sorted(known)
    near = _near(name, known)
    return f"did you mean '--{near}'?" if near else f"known: {', '.join(known)}"


def refuse_slip(name: str, typed: Iterable[str]) -> None:
    """Refuse the one of the options `typed` that is `name`, a missing one, by a slip, if any is."""
    for key in typed:
        if _near(key, [name]):
            raise ConfigError(f"unknown option --{key}: {_nearest_option(key, [name])}")


def _near(name: str, known: Iterable[str], theirs: Iterable[str] = ()) -> str:
    """The nearest of the known names, or of others that are nearer; empty for none."""

    def closeness(each: str) -> float:
        return difflib.SequenceMatcher(None, each, name).ratio()

    near = max([*known, *sorted(theirs)], key=closeness, default="")  # the first of the nearest
    if near in WRITTEN and _letters(name) != _letters(near):
        return ""
    return near if closeness(near) >= 0.75 else ""


def _letters(name: str) -> str:
    return name.replace("_", "").casefold()


def parse_toml(path: Path) -> dict[str, Any]:
    """What the file of a --config says."""
    try:
        text = read_text(path, TOML_BYTES)
        if max(map(len, text.split("\n"))) > TOML_LINE:
            raise ValueError(f"it has a line of more than {TOML_LINE} characters")
        return tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigError(f"--config {path}: no such file") from None
    except RecursionError:
        raise ConfigError(f"--config {path}: its values are nested too deeply") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"--config {path}: {error}") from error


def read_toml(path: Path) -> dict[str, Any]:
    """The flat options of an experiment file."""
    options = parse_toml(path)
    for key, value in options.items():
        if isinstance(value, dict | list):
            raise ConfigError(f"--config {path}: {key} is a {type(value).__name__}; keys are flat")
    return options


def build(cls: type, options: Mapping[str, Any]) -> Any:
    """A config dataclass from those of `options` that are its fields, each converted and checked.

    Values are strings as typed on a command line or already typed as read from TOML or JSON.
    """
    hints = get_type_hints(cls)
    names = {field.name for field in dataclasses.fields(cls)}
    return cls(
        **{key: convert(key, value, hints[key]) for key, value in options.items() if key in names}
    )


def mistakes(cls: type, options: Mapping[str, Any]) -> Iterator[str]:
    """Everything that `build` would refuse, where it stops at the first."""
    left = dict(options)
    while True:
        try:
            build(cls, left)
        except ConfigError as error:
            yield str(error)
            named = [key for key in left if re.search(rf"--{re.escape(key)}\b", str(error))]
            if not named:
                return
            for key in named:
                del left[key]
        else:
            return


def split(options: Mapping[str, Any], sections: Mapping[str, Iterable[str]]) -> dict[str, dict]:
    """Options sorted by the section that has a field of that name; every one is known."""
    home = {name: section for section, names in sections.items() for name in names}
    parts: dict[str, dict] = {section: {} for section in sections}
    for key, value in options.items():
        parts[home[key]][key] = value
    return parts


def convert(key: str, value: Any, hint: Any) -> Any:
    """One option's value as the type that its field declares, or a ConfigError that names both."""
    if isinstance(value, dict | list):
        raise ConfigError(f"--{key} is a {type(value).__name__}, but must be one value")
    if isinstance(value, str) and len(value) > MOST_TEXT:
        raise ConfigError(f"--{key} has {len(value)} characters, more than {MOST_TEXT}")
    if isinstance(value, str) and not _is_text(value):
        raise ConfigError(f"--{key} is {value!r}, which no file's name and no output can hold")
    kind = get_origin(hint)
    if kind in (types.UnionType, Union):
        if value is None or value == "None":
            return None
        (hint,) = (option for option in get_args(hint) if option is not type(None))
        kind = get_origin(hint)
    if kind is Literal:
        choices = {str(choice): choice for choice in get_args(hint)}
        if str(value) not in choices:
            raise ConfigError(f"--{key} is {value!r}: {did_you_mean(str(value), choices)}")
        return choices[str(value)]
    if hint is str and value in ("True", "False"):  # --key alone and --nokey, as Fire reads them
        raise ConfigError(f"--{key} needs a value: see --help")
    if isinstance(value, str) and hint is not str:
        parsed = _parse(value, hint)
    elif hint is float and isinstance(value, int) and not isinstance(value, bool):
        parsed = float(value) if abs(value) < 2**63 else None
    else:
        parsed = value if type(value) is hint else None
    if parsed is None or (hint is float and not math.isfinite(parsed)):
        raise ConfigError(f"--{key} wants {hint.__name__}, got {value!r}")
    return parsed


def _is_text(value: str) -> bool:
    """Whether a string has neither NUL nor half a character, which TOML and JSON may spell."""
    try:
        value.encode("utf-8", "surrogateescape")  # names may be of any bytes
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def _parse(text: str, hint: type) -> Any:
    """`text` as an int, float or bool; None where it is none."""
    if hint is bool:
        return {"true": True, "false": False}.get(text.lower())
    try:
        if hint is int and re.fullmatch(r"[+-]?\d+", text):
            return int(text)
        if hint is float:
            return float(text)
    except ValueError:
        pass
    return None


@dataclass(frozen=True, kw_only=True)
class Field:
    """An option as its source line tells it."""

    name: str
    type: str
    default: str
    comment: str
    choices: tuple[str, ...] = ()


def describe(source: Path, name: str = "Config") -> list[Field]:
    """The fields of a dataclass in a Python file, with their comments, without importing it."""
    lines = source.read_text(encoding="utf-8").splitlines()
    module = _read(source)
    (body,) = (
        node.body for node in module.body if isinstance(node, ast.ClassDef) and node.name == name
    )
    return [
        Field(
            name=node.target.id,
            type=ast.unparse(node.annotation),
            default=ast.unparse(node.value) if node.value else "",
            comment=lines[(node.end_lineno or 1) - 1][node.end_col_offset :].strip().lstrip("# "),
            choices=_choices(node.annotation, module),
        )
        for node in body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]


def choices_of(hint: Any) -> tuple[str, ...]:
    """What a declared type allows, as typed; nothing where any value may do."""
    if hint is bool:
        return ("True", "False")
    return tuple(map(str, get_args(hint))) if get_origin(hint) is Literal else ()


def choices(fields: Iterable[Field]) -> dict[str, tuple[str, ...]]:
    """Options -> what they may be, as typed; nothing where any value may do."""
    either = ("True", "False")
    return {each.name: each.choices or (either if each.type == "bool" else ()) for each in fields}


def presets(source: Path) -> dict[str, dict[str, Any]]:
    """The named sets of options in a method's file, the default one first; {} where it has none."""
    value = _assigned("PRESETS", _read(source))
    return ast.literal_eval(value) if value else {}


def presets_line(source: Path) -> str:
    """One line of help, `presets: paper (default), fast`; empty where a method has none."""
    first, *others = presets(source) or [""]
    return "presets: " + ", ".join([f"{first} (default)", *others]) if first else ""


def _read(source: Path) -> ast.Module:
    return ast.parse(source.read_text(encoding="utf-8"))


def _assigned(name: str, module: ast.Module) -> ast.expr | None:
    """What a module's top level assigns to a name."""
    for node in module.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id == name:
                return node.value
    return None


def _imported(name: str, module: ast.Module) -> tuple[str, Path] | None:
    """The file of ours that a module imports a name from, and what the name is there."""
    for node in module.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            path = ROOT.joinpath(*node.module.split(".")).with_suffix(".py")
            for each in node.names:
                if name == (each.asname or each.name) and path.is_file():
                    return each.name, path
    return None


def _choices(annotation: ast.expr, module: ast.Module) -> tuple[str, ...]:
    """What a Literal allows, also by an alias of this file or of one that it imports from."""
    match annotation:
        case ast.BinOp(left=left, right=right):  # Literal[...] | None
            return _choices(left, module) + _choices(right, module)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=chosen):
            values = chosen.elts if isinstance(chosen, ast.Tuple) else [chosen]
            return tuple(str(each.value) for each in values if isinstance(each, ast.Constant))
        case ast.Name(id=name):
            if alias := _assigned(name, module):
                return _choices(alias, module)
            if found := _imported(name, module):
                return _choices(ast.Name(found[0]), _read(found[1]))
    return ()


def help_text(fields: Iterable[Field]) -> str:
    """Fields as aligned help lines: option, default, what it is, its choices."""
    rows = []
    for field in fields:
        choices = f" [{', '.join(field.choices)}]" if field.choices else ""
        rows.append((f"--{field.name}={field.default}", field.comment + choices))
    width = max(len(left) for left, _ in rows)
    return "\n".join(f"  {left:<{min(width, 34)}}  {right}" for left, right in rows)
