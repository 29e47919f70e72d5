"""Start a training: options are parsed and checked, images and weights brought, the loop begun."""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from gan_style import command, config, methods, runs
from gan_style.config import DataConfig, TrainConfig
from gan_style.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    Interrupted,
    TrainingError,
    UserError,
    WriteError,
)
from gan_style.io.files import SHOWN, listed
from gan_style.progress import Bar, say
from gan_style.training.callbacks import Callback

FEW = 20  # images of a collection, below which it is learned by heart soon

HELP = """Train a method on unpaired collections of images.

Reads   data/<domain>/{trainA,trainB,testA,testB}; a known domain is downloaded when it isn't there.
        A method that reads one side only takes any folder of images as --domain too.
Writes  results/<domain>/<method>/<number>: config.json, weights, checkpoints, TensorBoard events.

  accelerate launch train.py --domain monet2photo        the published recipe, in one process too:
  python train.py --domain monet2photo
  python train.py --domain monet2photo --method quick    one that needs minutes, not days
  accelerate launch train.py --domain my/folder --size 128 --minutes 20
  accelerate launch train.py --data_a photos --data_b paintings
  accelerate launch train.py --domain monet2photo --resume auto
  accelerate launch train.py --start_from results/monet2photo/cyclegan/0001 --learning_rate 1e-4
  ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 train.py --domain monet2photo

Processes and machines are the launcher's: accelerate launch --help, docs/training.md.
--config FILE reads options from a TOML file such as experiments/demo.toml; flags win over it.
--preset NAME takes a set of options that the method has a name for; the file and flags win over it.
--method NAME --help lists the options and presets of another method.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse and check everything that can be checked at once; import what takes seconds after.

    Args:
        arguments: what was typed; that of this process when not given.
    """
    words, typed = command.parse(sys.argv[1:] if arguments is None else arguments)
    command.no_words(words)
    options: dict[str, Any] = {**typed}
    if "help" in options:
        print(f"{HELP}\n{command.training_help(command.with_file(options))}")
        return
    train(**options)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that was trained.

    Args:
        folder: holds config.json, weights, checkpoints and TensorBoard's events; `load` takes it.
        kid: of each direction the last and the lowest KID, and what they are to be compared with,
            as progress.json has it; empty where there was none, and in all processes but the main.
    """

    folder: Path
    kid: dict[str, dict[str, float]]


def train(*, callbacks: Sequence[Callback] = (), **options: Any) -> Run:
    """Train a method on unpaired collections of images; as train.py, with the same options.

        run = train(domain="monet2photo", method="quick", sides="one", direction="b2a", minutes=20)
        monet = load(run, weights="ema")

    Args:
        callbacks: each is called with a `Point` after every `log_every` images, in the main
            process; one that returns True ends the training there, as if the budget was spent.
        options: spelled as the flags, such as `domain`, `data_a`, `images`, `run_dir`, `config`;
            `python train.py --help` lists them. Values may be of the option's type, or strings.

    Raises:
        UserError: one of its kinds, each with a line that says what to do: an option that can't be
            (ConfigError), images (DataError), a run that can't be gone on with (CheckpointError),
            a disk (WriteError), NaN (TrainingError), Ctrl-C (Interrupted; everything is saved).
    """
    options = {
        key: os.fspath(each) if isinstance(each, os.PathLike) else each
        for key, each in options.items()
    }
    typed = command.with_file(options)
    if "domain" in options and "data_a" in options:
        raise ConfigError(
            f"--domain is {options['domain']!r}, --data_a is {options['data_a']!r}: give only one"
        )
    run = source = None  # one to go on with; one to begin from
    typed_images = typed.keys() & {"domain", "data_a", "data_b"}
    if "resume" in typed:
        run = find_run(typed)
        typed, preset = resumed_options(run, typed)
    elif typed.get("start_from"):
        source = Path(str(typed["start_from"]))
        typed, preset = started_options(source, typed)
    else:
        preset = command.preset_name(typed)
        typed = command.with_preset(typed, preset)
    parts = command.sections(typed)
    data: DataConfig = config.build(DataConfig, parts["data"])
    budget: TrainConfig = config.build(TrainConfig, parts["train"])
    if data.crop is None and budget.batch_size > 1:
        raise ConfigError(
            f"--batch_size is {budget.batch_size}, but --preprocess {data.preprocess} leaves "
            "images of different sizes: take 1"
        )
    if not (data.domain or data.data_a):
        refuse_no_images()
    if not run:
        runs.refuse_used(budget.run_dir)
    folder = None if data.data_a else find_domain(data, None if typed_images else run or source)
    if source and not (folder or typed_images):
        refuse_moved(source, {"data_a": Path(data.data_a), "data_b": Path(data.data_b)})
    with ExitStack() as at_the_end:
        return start(data, budget, parts["method"], preset, folder, run, callbacks, at_the_end)


def find_run(typed: dict[str, Any]) -> Path:
    """The run that --resume auto goes on with; options that aren't typed are taken from it."""
    parts = command.sections(typed)
    if typed["resume"] != "auto":
        raise ConfigError(
            f"--resume is {typed['resume']!r}: known: auto (with --run_dir DIR for a certain run)"
        )
    train: TrainConfig = config.build(TrainConfig, parts["train"])
    if train.run_dir:
        return Path(train.run_dir)
    data: DataConfig = config.build(DataConfig, parts["data"])
    if not (data.domain or data.data_a):
        raise ConfigError(
            "--resume auto: give --run_dir DIR, or the --domain whose newest run it is"
        )
    # Where the domain is a link, runs of before are called after what it leads to.
    folders = [results_folder(data, train, name) for name in (os.path.abspath, os.path.realpath)]
    return runs.find(folders)


def resumed_options(run: Path, typed: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The options of a run with those that are typed over them, and the name of its preset.

    The run's hold those of its preset, as it was then.
    """
    record = runs.read(run)
    old, preset = runs.options(record), record.get("preset", "")
    if typed.get("method", old["method"]) != old["method"]:
        raise ConfigError(f"{run} is a run of {old['method']}, not of {typed['method']}")
    if gone := methods.retired(old["method"]) & old.keys():
        raise ConfigError(
            f"{run} was trained with --{min(gone)}, which {old['method']} has no more: begin a new "
            f"run from its weights, with: {runs.start_from(run)}"
        )
    newer = {key: value for key, value in typed.items() if key != "preset"}
    if typed.get("preset", preset) != preset:
        was = f"preset {preset!r}" if preset else "no preset"
        raise ConfigError(
            f"--preset is {typed['preset']!r}, but {run} was made with {was}: leave --preset out "
            "to go on with it, or leave --resume and --run_dir out to start a new run"
        )
    return _over(old, newer), preset


def started_options(source: Path, typed: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The options of a new run that begins with the weights of another, and its preset's name.

    They are that run's with those that are typed, and a typed preset's, over them; but for its
    place, and for the precision, which may be another device's.
    """
    record = runs.read(source)
    old, preset = runs.options(record), record.get("preset", "")
    if typed.get("method", old["method"]) != old["method"]:
        raise ConfigError(
            f"--start_from {source} is a run of {old['method']}, not of {typed['method']}"
        )
    if "preset" in typed:
        preset = command.preset_name({**typed, "method": old["method"]})
        typed = command.with_preset({**typed, "method": old["method"]}, preset)
    if style := runs.style_image(source, record):
        old["style"] = str(style)
    for key in ("run_dir", "resume", "precision", *methods.retired(old["method"])):
        old.pop(key, None)
    return _over(old, typed), preset


def _over(old: dict[str, Any], newer: dict[str, Any]) -> dict[str, Any]:
    """A run's options with newer ones over them; a domain replaces loose folders, and they it."""
    replaced = {"data_a", "data_b"} if "domain" in newer else set()
    if {"data_a", "data_b"} & newer.keys():
        replaced = {"domain"}
    return command.over({key: old[key] for key in old if key not in replaced}, newer)


def results_folder(
    data: DataConfig, train: TrainConfig, whole: Callable[[str], str] = os.path.abspath
) -> Path:
    """Where the numbered runs of a domain and method are; `whole` makes a whole path of one."""
    names = [data.data_a, data.data_b] if data.data_a else [data.domain]
    return Path("results") / "2".join(Path(whole(name)).name for name in names) / train.method


def start(
    data: DataConfig,
    train: TrainConfig,
    method_options: dict[str, Any],
    preset: str,
    folder: Path | None,
    run: Path | None,
    callbacks: Sequence[Callback],
    at_the_end: ExitStack,
) -> Run:
    """Build the method, the data and the run folder, then train.

    Args:
        data: which images.
        train: how long.
        method_options: of the method's own Config, as typed.
        preset: the name of the set of options that the others lie over; may be empty.
        folder: of the domain, which is downloaded when it isn't there; None for two loose folders.
        run: one to go on with; None for a new one.
        callbacks: of the loop.
        at_the_end: gives up what this process holds.
    """
    import torch
    from accelerate import Accelerator, PartialState
    from accelerate.utils import GradientAccumulationPlugin, parse_flag_from_env, set_seed

    from gan_style import checkpoint, devices
    from gan_style.data.stream import DomainPair, with_absent
    from gan_style.method import TrainedMethod
    from gan_style.training.kid import Scorer, obstacle
    from gan_style.training.loop import Trainer

    if not parse_flag_from_env("ACCELERATE_USE_CPU"):
        devices.refuse_unusable_gpu()
    module = methods.load(train.method)
    if not issubclass(module.Method, TrainedMethod):
        raise ConfigError(f"{train.method} has nothing to train; use it with translate")
    method_config = used = config.build(module.Config, method_options)
    if run:
        new = {"data": asdict(data), "method": asdict(method_config)}
        runs.check_same(run, runs.read(run), new)
        direction = getattr(method_config, "direction", None)
        checkpoint.check_direction(module, runs.read(run), direction, run)
        if style := runs.style_image(run, runs.read(run)):
            used = replace(method_config, style=str(style))  # which config.json doesn't say

    def build() -> TrainedMethod:
        method = module.Method(used)
        check_size(data, method)
        method.build_for_crop(data.crop)
        return method

    outline = checkpoint.outline(build)  # before any memory is taken: a run may be somebody else's
    if run:
        checkpoint.check_run(outline, run)
    source = Path(train.start_from) if train.start_from else None
    if run and checkpoint.checkpoints(run):
        source = None  # it has weights of its own
    if source:
        checkpoint.check_run(outline, source, "these options ask for")
    set_seed(train.seed)  # the same weights in every process
    method = build()
    beginning = runs.started_from(source, checkpoint.load_players(method, source)) if source else {}
    fresh = not source and not (run and checkpoint.checkpoints(run))
    if fresh:
        method.begin()
    # Before anything is distributed: every process comes to the same answer, and a download may
    # take longer than processes wait for each other.
    method.prefetch()
    if folder and not folder.is_dir():
        folder = bring_domain(data)
    domain = find_images(data, train, method.sides, folder, run)
    left_out = runs.left_out(run) if run else set()
    domain = with_absent(domain, left_out)
    features, no_kid = bring_features(train, method, domain)

    # A run keeps what it began with; else what the launcher was told, unless that is its default.
    told = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if train.precision == "auto" and run:
        kept = runs.read(run).get("launch", {}).get("precision", "auto")
        train = replace(train, precision=config.convert("precision", kept, config.Wanted))
    if train.precision == "auto" and told in devices.DTYPES:
        train = replace(train, precision=told)  # type: ignore[arg-type]  # a name of a precision
    set_deterministic(train.deterministic)
    forget_launch()
    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))  # as Accelerator does
    train = replace(train, precision=devices.choose_precision(train.precision, state.device))
    accelerator = Accelerator(
        mixed_precision=train.precision.replace("fp32", "no"),
        # The loop gathers by itself, whatever the launcher has been told.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
    )
    main, device = accelerator.is_main_process, accelerator.device
    processes_here = int(os.environ.get("LOCAL_WORLD_SIZE", accelerator.num_processes))
    if device.type == "cpu":
        # accelerate launch and torchrun leave a process one thread unless told otherwise.
        torch.set_num_threads(train.threads or max(1, available_cores() // processes_here))
    torch.backends.cudnn.benchmark = data.crop is not None and not train.deterministic

    set_seed(train.seed, device_specific=True)  # not the same pools in every process

    launch = {
        "processes": accelerator.num_processes,
        "precision": train.precision,
        "device": devices.name(device),
    }
    record = runs.describe(asdict(data), asdict(train), asdict(method_config), launch, preset)
    if beginning:
        record["started_from"] = beginning
    advice = {}
    if run:
        old = runs.read(run)
        runs.check_same(run, old, record)
        record = runs.resumed(record, old)
        if source and record["started_from"].get("weights") != beginning["weights"]:
            raise CheckpointError(
                f"{source} has other weights now than {run} began with, which has no checkpoint "
                "yet: leave --resume and --run_dir out to start a new run"
            )
        if checkpoint.checkpoints(run):  # of the images that it had then
            advice["advice"] = "put them back as they were" + (
                ", or begin a new run from these weights, with: "
                f"{runs.start_from(run)} --skip_bad_images"
            ) * runs.has_weights(run)
    pair = DomainPair(
        domain, data, train.seed, method.multiple, method.smallest, main, method.sides,
        method.grey_sides, left_out, processes_here, **advice,
    )  # fmt: skip
    # Where a disk falters they may have come to different answers; a stream has one.
    pair.domain, pair.skipped = in_main(accelerator, lambda: (pair.domain, pair.skipped))
    if main:
        say_unread(pair, [folder] if folder else [Path(f) for f in (data.data_a, data.data_b) if f])
    scorer = None
    if features is not None and main:
        no_kid = obstacle(method, pair.domain)  # bad images may have been left out
        scorer = None if no_kid else Scorer(method, pair, train.kid_images, features)

    def claim() -> Path:
        folder = run or runs.create(train.run_dir, results_folder(data, train))
        at_the_end.callback(runs.lock(folder).release)
        if not run:
            runs.refuse_used(train.run_dir)  # there may be one since we looked
        if style := getattr(used, "style", ""):
            runs.keep_style(folder, style)
        return folder

    def newest() -> tuple[Path | None, list[str]]:
        runs.tidy(run_folder)
        return checkpoint.newest_sound(run_folder)

    run_folder = in_main(accelerator, claim)
    last, damaged = in_main(accelerator, newest)
    if method.looks:
        show(pair, method, device, fresh, main)
    trainer = Trainer(method, pair, train, run_folder, record, accelerator, scorer, callbacks)
    if last:
        trainer.state.resume(last, scorer)
    room = in_main(accelerator, lambda: check_room(trainer))
    if main:
        if domain.split and not run:
            domain.write(run_folder)
        runs.write(run_folder, record)  # last: with it there is a run to go on with
        announce(trainer, launch, torch.get_num_threads(), no_kid, damaged, room)
    try:
        trainer.train()
    except RuntimeError as error:
        if train.deterministic and "deterministic" in str(error):
            reason = str(error).split(",")[0]
            refused = TrainingError(
                f"--deterministic can't be kept on {launch['device']}: {reason}"
            )
            for note in getattr(error, "__notes__", ()):  # what is saved
                refused.add_note(note)
            raise refused from error
        if accelerator.num_processes > 1 and (  # else torch may have been built without DistError
            isinstance(error, torch.distributed.DistError) or "gloo" in str(error)
        ):
            raise TrainingError(
                f"another process has ended; go on with: {runs.again(run_folder)}"
            ) from error
        raise
    accelerator.end_training()
    if main:
        say(f"finished after {trainer.state.progress.images} images: weights in {run_folder}")
        if gone := trainer.reader.left_out():
            say(f"images left out on the way: {gone}, listed in {run_folder / runs.LEFT_OUT}")
        if lowest := trainer.state.scores.best_line():
            say(lowest)
    return Run(
        folder=run_folder,
        kid={str(way): kid for way, kid in trainer.state.scores.summary().items()},
    )


def show(pair, method, device, fresh: bool, progress: bool) -> None:  # type: ignore[no-untyped-def]
    """Let a method see some of the images before it learns from them."""
    with closing(pair.batches(start=0, batch_size=1)) as stream:
        seen = Bar(
            islice(stream, method.looks),
            total=method.looks, desc="looking at the collections", unit=" pairs", leave=False,
            disable=not progress, delay=2,
        )  # fmt: skip
        there = ({side: x.to(device) for side, x in batch.items()} for batch in seen)
        method.look(there, fresh)


def forget_launch() -> None:
    """Begin anew in a process that has trained before, as a notebook's: maybe in another precision.

    accelerate keeps what it was told first in attributes of its classes.
    """
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def available_cores() -> int:
    """Cores that this process may use; not every system can say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def refuse_no_images() -> NoReturn:
    """Nobody's images are brought and trained on without being asked for."""
    from data_tools import download

    raise ConfigError(
        "no images to train on: give --domain DIR, or one that is fetched "
        f"(--domain {', '.join(download.known())}), or two folders, --data_a DIR --data_b DIR; "
        "a demonstration: make demo"
    )


def refuse_moved(run: Path, folders: dict[str, Path]) -> None:
    """Refuse that the folders, by their options, of a run's images aren't there."""
    for option, folder in folders.items():
        if not folder.is_dir():
            raise DataError(
                f"{run} is of images in {folder}, which isn't there: give the folder as it is now "
                f"as --{option}"
            )


def find_domain(data: DataConfig, run: Path | None = None) -> Path:
    """The folder of --domain, which is that of `run` if given, or where a known one will be."""
    for folder in (Path(data.data_root) / data.domain, Path(data.domain)):
        if folder.is_dir():
            return folder

    from data_tools import download

    if data.domain in download.known():
        return Path(data.data_root) / data.domain
    if run:
        raise DataError(
            f"{run} is of --domain {data.domain!r}, which isn't there: give its folder as it is "
            "now as --domain"
        )
    known = config.did_you_mean(data.domain, download.known())
    raise DataError(f"--domain is {data.domain!r}, which is no folder and no known name: {known}")


def bring_domain(data: DataConfig) -> Path:
    """The folder of a known domain, brought here."""
    from data_tools import download

    return download.download(data.domain, Path(data.data_root))


def bring_features(train: TrainConfig, method, domain):  # type: ignore[no-untyped-def]
    """What KID compares images by, for the main process; and why there is no KID, where not.

    Before anything is distributed, as what `method.prefetch` fetches; but nobody needs it to train.
    """
    from gan_style.training import kid

    if not train.kid_every or int(os.environ.get("RANK", "0")):
        return None, ""
    if reason := kid.obstacle(method, domain):
        return None, reason
    try:
        return kid.load_features(), ""
    except Interrupted:
        raise
    except UserError as error:
        return None, str(error)


def find_images(  # type: ignore[no-untyped-def]
    data: DataConfig, train: TrainConfig, sides, folder: Path | None, run: Path | None
):
    """The domain's files; a split of loose folders is made once and kept with the run."""
    from gan_style.data import stream as images

    if run and (not folder or (run / "trainA.txt").exists()):
        if folder:
            roots = dict.fromkeys(sides, folder)
        else:
            roots = {"a": Path(data.data_a), "b": Path(data.data_b)}
            refuse_moved(run, {f"data_{side}": root for side, root in roots.items()})
        return images.domain_from_lists(results_folder(data, train).parent.name, run, roots)
    if folder and len(sides) == 1 and images.is_loose(folder):
        return images.domain_from_one_folder(folder, sides[0], data.test_share, train.seed)
    if folder:
        return images.domain_from_folder(folder, sides)
    return images.domain_from_two_folders(
        Path(data.data_a), Path(data.data_b), data.test_share, train.seed
    )


def say_unread(pair, folders: list[Path]) -> None:  # type: ignore[no-untyped-def]
    """Name files that nothing reads, and those of which only a part is read."""
    from gan_style.data.images import left_out

    lines = [left_out(folder) for folder in folders if folder.is_dir()]
    lines += [pair.cache.notes[path] for path in sorted(pair.cache.notes)]
    lines = [line for line in lines if line]
    for line in lines[:SHOWN]:
        say(line)
    if len(lines) > SHOWN:
        say(f"and {len(lines) - SHOWN} more: python -m gan_style check names them")


def in_main(accelerator, function):  # type: ignore[no-untyped-def]
    """What `function` returns in the main process, in every process; or the error it raises."""
    from accelerate.utils import broadcast_object_list

    answer: list[Any] = [None]
    if accelerator.is_main_process:
        try:
            answer = [function()]
        except UserError as error:
            answer = [error]
    broadcast_object_list(answer)
    if isinstance(answer[0], UserError):
        raise answer[0]
    return answer[0]


def set_deterministic(wanted: bool) -> None:
    """Of several ways to compute the same, only those that always round alike; or any."""
    import torch

    # Read when cuBLAS starts. https://pytorch.org/docs/stable/notes/randomness.html
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted)
    # On, it fills what is allocated before it is written to: costly, and nothing here reads it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def check_room(trainer) -> str:  # type: ignore[no-untyped-def]
    """Refuse a disk that can't take the run's checkpoints; what to know of its pictures, if any."""
    run, (needed, pictures) = trainer.run, trainer.bytes_needed()
    needed = max(0, needed - runs.bytes_of_weights(run))
    free = shutil.disk_usage(run).free
    if needed > free:
        raise WriteError(
            f"{run} is on a disk with {free / 1e9:.1f} GB free, but the run's weights and "
            f"{trainer.config.keep + 1} checkpoints take {needed / 1e9:.1f} GB: make room"
            + ", or give another --run_dir"
            * (not trainer.config.resume)
        )
    if needed + pictures > free:
        return (
            f"the disk has {free / 1e9:.1f} GB free, too little for {pictures / 1e9:.1f} GB of "
            "samples beside the checkpoints: --sample_every draws fewer"
        )
    return ""


def check_size(data: DataConfig, method) -> None:  # type: ignore[no-untyped-def]
    """Refuse crops that the networks can't take."""
    if data.crop is None:
        if method.batches_a_step > 1:
            raise ConfigError(
                f"--preprocess {data.preprocess} leaves images of different sizes, but a step of "
                f"this method reads {method.batches_a_step} together: take another --preprocess"
            )
        return
    for option, pixels in zip(("size", "width"), data.crop, strict=True):
        fitting = max(method.smallest, pixels // method.multiple * method.multiple)
        fitting = -(-fitting // method.multiple) * method.multiple
        if pixels != fitting:
            need = f"a multiple of {method.multiple} and " if method.multiple > 1 else ""
            raise ConfigError(
                f"--{option} is {pixels}, but these networks need {need}at least "
                f"{method.smallest}: try {fitting}"
            )


def announce(  # type: ignore[no-untyped-def]
    trainer, launch: dict[str, Any], threads: int, no_kid: str, damaged: list[str], room: str
) -> None:
    """Say what really runs: launchers may start other than what was asked for."""
    from gan_style.training.kid import ANEW

    pair, domain, config = trainer.data, trainer.data.domain, trainer.config
    training = " and ".join(f"{len(domain.train(s))} {s.upper()}" for s in pair.sides)
    testing = " and ".join(str(len(domain.test(s))) for s in pair.sides)
    images = config.batch_size * config.gradient_accumulation_steps * launch["processes"]
    place = launch["device"] + (
        f" ({threads} thread{'s' * (threads > 1)} each)" if launch["device"] == "cpu" else ""
    )
    lines = [
        f"{config.method} on {domain.name}: {training} to train, {testing} to test",
        f"{launch['processes']} process{'es' * (launch['processes'] > 1)} on {place}, "
        f"{launch['precision']}, {images} image{'s' * (images > 1)} an optimizer step",
        f"run folder: {trainer.run}   curves and samples: tensorboard --logdir {trainer.run}",
    ]
    if skipped := pair.skipped:
        named = listed(skipped, trainer.run / "bad_images.txt")
        lines.append(f"bad images left out: {len(skipped)} ({named})")
    if pair.left_out:
        lines.append(
            f"images left out before that still can't be read: {len(pair.left_out)}, listed in "
            f"{trainer.run / runs.LEFT_OUT}"
        )
    if pair.cache.short:
        lines.append(
            f"{pair.cache.size / 1e9:.1f} GB of images are kept in memory, not --cache_gb "
            f"{pair.config.cache_gb:g}, as no more is free; the others are read every time"
        )
    fewest = min(len(domain.train(side)) for side in pair.sides)
    if trainer.method.directions and fewest < FEW:
        lines.append(
            f"{fewest} images of a collection are few: a discriminator soon knows them by heart; "
            "look at the samples, and end the run (Ctrl-C) when they get worse"
        )
    if room:
        lines.append(room)
    if no_kid:
        lines.append(f"no KID: {no_kid}")
    if trainer.state.scores_anew:
        lines.append(ANEW)
    lines += [f"checkpoint left out as it is damaged: {problem}" for problem in damaged]
    if beginning := trainer.record.get("started_from"):
        trained = f", trained on {n} images" if (n := beginning.get("images")) else ""
        lines.append(f"begun with the weights of {beginning.get('run')}{trained}")
    if trainer.state.progress.images:
        lines.append(f"going on after {trainer.state.progress.images} images")
    elif trainer.config.resume:
        lines.append("no checkpoint was there yet: starting from the beginning")
    say("\n".join(lines))
