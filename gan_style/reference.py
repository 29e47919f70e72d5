"""What the options of pytorch-CycleGAN-and-pix2pix are called here, with their values.

People come from there with a command that they have typed for years. Each of its options, of every
version since 2017, is answered by ours, ready to type, or by why there is none. Those of CUT and
joliGEN, which have grown from it, are answered where they mean the same.

Source: options/*.py and the `modify_commandline_options` of models/*.py in
junyanz/pytorch-CycleGAN-and-pix2pix; the same of taesungp/contrastive-unpaired-translation and
jolibrain/joliGEN.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

Known = Mapping[str, Sequence[str]]  # options of ours -> their choices; none where any value may do


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What to type instead of one option.

    Args:
        options: ours, with their values; an empty value is one that was missing there too.
        environment: variables to set before the command.
        note: what else to know; or, where there is nothing to type, why.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One option as typed, beside all others that were."""

    value: str
    typed: Mapping[str, str]  # by the newest names of the reference
    known: Known  # options of the program that was called


Entry = Callable[[Asked], Answer]


def _to(name: str, note: str = "") -> Entry:
    """The same value under our name."""
    return lambda asked: Answer(options={name: asked.value}, note=note)


def _choice(name: str, values: Mapping[str, str], otherwise: str) -> Entry:
    """One of our values for one of theirs; `otherwise` says what the others are."""

    def answer(asked: Asked) -> Answer:
        if asked.value not in values:
            return Answer(note=otherwise)
        return Answer(options={name: values[asked.value]})

    return answer


def _set(**options: str) -> Entry:
    return lambda _: Answer(options=options)


def _none(why: str) -> Entry:
    return lambda _: Answer(note=why)


def _number(text: str, default: int) -> int:
    return int(text) if text.isdecimal() else default


def _backwards(typed: Mapping[str, str]) -> bool:
    return typed.get("direction", "") in ("BtoA", "b2a")


def _run(asked: Asked) -> PurePath:
    """The folder of the run that --checkpoints_dir and --name make up."""
    typed = asked.typed
    return PurePath(typed.get("checkpoints_dir", "results")) / typed.get("name", "")


def _epochs(asked: Asked) -> Answer:
    """--epochs are all of them, --decay is the share that the second number is."""
    constant, falling = (
        _number(asked.typed.get(n, ""), 100) for n in ("n_epochs", "n_epochs_decay")
    )
    epochs = max(1, constant + falling)
    options = {"epochs": str(epochs)}
    if not falling:
        options["schedule"] = "constant"
    elif 2 * falling != epochs:
        options["decay"] = f"{falling / epochs:.6g}"
    both = {"n_epochs", "n_epochs_decay"} <= asked.typed.keys()
    missing = "n_epochs_decay" if "n_epochs" in asked.typed else "n_epochs"
    return Answer(
        options=options,
        note="" if both else f"epochs in all: with --{missing}, 100 there when not given",
    )


def _policy(asked: Asked) -> Answer:
    if asked.value not in ("linear", "lambda"):
        return Answer(note="as --schedule has linear, reference, constant and inverse only")
    if asked.typed.get("n_epochs_decay") == "0":
        return Answer(options={"schedule": "constant"})
    return Answer(options={"schedule": "reference"})


def _cycle(side: str) -> Entry:
    """DualGAN has a weight for each side, CycleGAN one for both."""

    def answer(asked: Asked) -> Answer:
        if f"lambda_{side.lower()}" in asked.known:
            return Answer(options={f"lambda_{side.lower()}": asked.value})
        weights = {asked.typed.get(name, asked.value) for name in ("lambda_A", "lambda_B")}
        if len(weights) > 1:
            return Answer(
                note="one --lambda_cycle serves both ways here, so that they can't differ"
            )
        return Answer(options={"lambda_cycle": asked.value}, note="it serves both ways")

    return answer


def _channels(end: str) -> Entry:
    """The networks' channels by side; theirs are by the direction of the training."""

    def answer(asked: Asked) -> Answer:
        side = "a" if (end == "input") != _backwards(asked.typed) else "b"
        return Answer(options={f"channels_{side}": asked.value})

    return answer


def _norm(asked: Asked) -> Answer:
    if asked.value == "instance":
        return Answer(note="its networks have instance norm anyway")
    return Answer(note="its networks have instance norm and no other")


def _gpus(asked: Asked) -> Answer:
    ids = [each.strip() for each in asked.value.split(",") if each.strip().isdecimal()]
    if "device" in asked.known:
        note = "one device" if len(ids) > 1 else ""
        return Answer(options={"device": f"cuda:{ids[0]}" if ids else "cpu"}, note=note)
    if not ids:
        return Answer(environment={"ACCELERATE_USE_CPU": "true"})
    launched = f"accelerate launch --num_processes {len(ids)} -m gan_style train"
    many = f"and for {len(ids)} of them: {launched}"
    return Answer(
        environment={"CUDA_VISIBLE_DEVICES": ",".join(ids)}, note=many if len(ids) > 1 else ""
    )


def _folder(phase_of: Mapping[str, str], side: str) -> str:
    """The folder of one side that --dataroot and --phase make up."""
    root = phase_of.get("dataroot", "")
    if phase_of.get("model") == "test" or phase_of.get("dataset_mode") == "single":
        return root  # of images alone
    return str(PurePath(root) / f"{phase_of.get('phase', 'test')}{side}")


def _content(asked: Asked) -> Answer:
    if "dataroot" not in asked.typed:
        return Answer(note="as --content is the folder itself: --content data/monet2photo/testB")
    side = "B" if _backwards(asked.typed) else "A"
    return Answer(options={"content": _folder(asked.typed, side)})


def _measured(asked: Asked) -> Answer:
    sides = "BA" if _backwards(asked.typed) else "AB"
    content, style = (_folder(asked.typed, side) for side in sides)
    return Answer(options={"content": content, "style": style})


def _threads(asked: Asked) -> Answer:
    if "workers" not in asked.known:
        return Answer(note="it reads images while others are translated")
    return Answer(options={"workers": "1" if asked.value == "0" else asked.value})


DIRECTIONS = {"AtoB": "a2b", "BtoA": "b2a"}
GENERATORS = {
    "resnet_9blocks": "resnet_9",
    "resnet_6blocks": "resnet_6",
    "unet_256": "unet_256",
    "unet_128": "unet_128",
}
DISCRIMINATORS = {"basic": "patch", "n_layers": "patch", "pixel": "pixel"}
GAN_LOSSES = {"lsgan": "lsgan", "vanilla": "vanilla", "wgangp": "wgan-gp"}
METHODS = {"cycle_gan": "cyclegan"}

TENSORBOARD = "curves and grids of samples are in the run folder: tensorboard --logdir RUN"
CHECKPOINTS = "checkpoints are counted in minutes (--checkpoint_minutes) and the newest --keep kept"
RESUMED = "a run that goes on (--resume auto) knows where it was, and takes its newest checkpoint"
WHOLE = "images are translated whole and at their own size (--side N scales larger ones down)"
OWN = "a run knows the networks that it was trained with"
ALL = "all images of a folder are read: give a folder with fewer"
CUT = "CUT's, a method that isn't here: python -m gan_style methods lists those that are"
WEIGHTS = "translate takes a run's last weights (--weights raw), their average (ema) or the best"

TRAINING: dict[str, Entry] = {
    # Of both programs
    "dataroot": _to("domain"),
    "name": lambda asked: Answer(options={"run_dir": str(_run(asked))}),
    "checkpoints_dir": lambda asked: Answer(options={"run_dir": str(_run(asked))}),
    "suffix": _none("the run folder is given whole, as --run_dir"),
    "gpu_ids": _gpus,
    "model": _choice(
        "method",
        METHODS,
        "no such method is here: python -m gan_style methods lists those that are",
    ),
    "input_nc": _channels("input"),
    "output_nc": _channels("output"),
    "ngf": _to("width_generator"),
    "ndf": _to("width_discriminator"),
    "netD": _choice("discriminator", DISCRIMINATORS, "as --discriminator has patch and pixel only"),
    "netG": _choice(
        "generator", GENERATORS, f"as --generator has {', '.join(GENERATORS.values())} only"
    ),
    "n_layers_D": _to("discriminator_layers"),
    "norm": _norm,
    "init_type": _none("weights start normal, of --init_std 0.02 as there"),
    "init_gain": _to("init_std"),
    "no_dropout": lambda asked: (
        Answer(options={"dropout": "0"})
        if "dropout" in asked.known
        else Answer(note="its networks have no dropout anyway")
    ),
    "dataset_mode": _none("collections are unpaired, and those of pairs are read as such"),
    "direction": _choice("direction", DIRECTIONS, "as --direction has a2b and b2a only"),
    "serial_batches": _set(serial_b="True"),
    "num_threads": _threads,
    "batch_size": _to("batch_size"),
    "load_size": _to("load_size"),
    "crop_size": _to("size"),
    "max_dataset_size": _none(ALL),
    "preprocess": _to("preprocess"),
    "no_flip": _set(flip="False"),
    "display_winsize": _none(TENSORBOARD),
    "epoch": _none(RESUMED),
    "load_iter": _none(RESUMED),
    "verbose": _none("what it runs on is said at the start and kept in the run's config.json"),
    "use_wandb": _none(TENSORBOARD),
    "wandb_project_name": _none(TENSORBOARD),
    # Of train.py
    "display_freq": _to("sample_every"),
    "display_ncols": _none(TENSORBOARD),
    "display_id": _none(TENSORBOARD),
    "display_server": _none(TENSORBOARD),
    "display_env": _none(TENSORBOARD),
    "display_port": _none(TENSORBOARD),
    "update_html_freq": _none(TENSORBOARD),
    "no_html": _none(f"{TENSORBOARD}; --sample_every 0 draws no grids"),
    "print_freq": _to("log_every"),
    "save_latest_freq": _none(CHECKPOINTS),
    "save_epoch_freq": _none(CHECKPOINTS),
    "save_by_iter": _none(CHECKPOINTS),
    "continue_train": _set(resume="auto"),
    "epoch_count": _none(RESUMED),
    "phase": _none("training reads trainA and trainB, and shows testA and testB"),
    "n_epochs": _epochs,
    "n_epochs_decay": _epochs,
    "beta1": _to("beta1"),
    "lr": _to("learning_rate"),
    "gan_mode": _choice("gan_loss", GAN_LOSSES, "as --help lists the losses of --gan_loss"),
    "no_lsgan": _set(gan_loss="vanilla"),
    "pool_size": _to("pool_size"),
    "lr_policy": _policy,
    "lr_decay_iters": _none("it is of their --lr_policy step; --schedule has no steps"),
    # Of its models
    "lambda_A": _cycle("A"),
    "lambda_B": _cycle("B"),
    "lambda_identity": _to("lambda_identity"),
    "lambda_L1": _none("pix2pix's, which learns from pairs: methods here learn without"),
    # Of CUT and joliGEN
    "beta2": _none("Adam's second moment is 0.999 always"),
    "evaluation_freq": _none("KID is computed every --kid_every epochs"),
    "G_ema_beta": _to("ema"),
    "iter_size": _to("gradient_accumulation_steps"),
    **dict.fromkeys(
        (
            *("CUT_mode", "lambda_GAN", "lambda_NCE", "nce_idt", "nce_layers", "nce_T", "netF"),
            *("nce_includes_all_negatives_from_minibatch", "netF_nc", "num_patches"),
            *("flip_equivariance", "no_antialias", "no_antialias_up", "easy_label"),
        ),
        _none(CUT),
    ),
}

TRANSLATING: dict[str, Entry] = {
    "dataroot": _content,
    "phase": _content,
    "name": lambda asked: Answer(options={"run": str(_run(asked))}),
    "checkpoints_dir": lambda asked: Answer(options={"run": str(_run(asked))}),
    "results_dir": _to("out"),
    "num_test": _none(ALL),
    "ntest": _none(ALL),
    "aspect_ratio": _none("translations have the shape of their contents"),
    "eval": _none("translations never hang on the other images of a batch"),
    "model_suffix": _choice(
        "direction", {"_A": "a2b", "_B": "b2a"}, "as --direction has a2b and b2a only"
    ),
    "direction": _choice("direction", DIRECTIONS, "as --direction has a2b and b2a only"),
    "epoch": _none(WEIGHTS),
    "load_iter": _none(WEIGHTS),
    "gpu_ids": _gpus,
    "num_threads": _threads,
    "batch_size": _to("batch_size"),
    **dict.fromkeys(
        (
            *("model", "dataset_mode", "input_nc", "output_nc", "ngf", "ndf", "netG", "netD"),
            *("n_layers_D", "norm", "init_type", "init_gain", "no_dropout"),
        ),
        _none(OWN),
    ),
    **dict.fromkeys(("load_size", "crop_size", "preprocess", "no_flip"), _none(WHOLE)),
    **dict.fromkeys(("serial_batches", "max_dataset_size"), _none(ALL)),
    **dict.fromkeys(("suffix",), _none("the run's folder is given whole, as --run")),
    **dict.fromkeys(
        ("display_winsize", "use_wandb", "wandb_project_name"),
        _none("PNGs are written, and python -m gan_style grid draws them beside their contents"),
    ),
    "verbose": _none("what it runs with is said at the start"),
}

EVALUATING: dict[str, Entry] = {
    "dataroot": _measured,
    "phase": _measured,
    "results_dir": _to("translated"),
    "gpu_ids": _gpus,
    "num_threads": _threads,
    "batch_size": _to("batch_size"),
    **dict.fromkeys(("load_size", "crop_size"), _to("size")),
}

# The program that was called -> its options.
PROGRAMS = {"train": TRAINING, "translate": TRANSLATING, "evaluate": EVALUATING}
OTHERS = ("cost", "grid", "compare")  # that the reference has nothing like
ELSEWHERE = {"train": "python -m gan_style train", "translate": "python -m gan_style translate"}

# Other names of the same -> those above. First of the reference's earlier versions, then of
# joliGEN and CUT.
ALIASES = {
    "loadSize": "load_size",
    "fineSize": "crop_size",
    "batchSize": "batch_size",
    "nThreads": "num_threads",
    "which_direction": "direction",
    "which_epoch": "epoch",
    "which_model_netG": "netG",
    "which_model_netD": "netD",
    "resize_or_crop": "preprocess",
    "how_many": "num_test",
    "identity": "lambda_identity",
    "niter": "n_epochs",
    "niter_decay": "n_epochs_decay",
    "display_single_pane_ncols": "display_ncols",
    "model_type": "model",
    "model_input_nc": "input_nc",
    "model_output_nc": "output_nc",
    "model_init_type": "init_type",
    "model_init_gain": "init_gain",
    "G_netG": "netG",
    "G_ngf": "ngf",
    "G_norm": "norm",
    "normG": "norm",
    "normD": "norm",
    "D_netDs": "netD",
    "D_ndf": "ndf",
    "D_n_layers": "n_layers_D",
    "D_norm": "norm",
    "data_crop_size": "crop_size",
    "data_load_size": "load_size",
    "data_direction": "direction",
    "data_preprocess": "preprocess",
    "data_num_threads": "num_threads",
    "data_serial_batches": "serial_batches",
    "data_max_dataset_size": "max_dataset_size",
    "data_dataset_mode": "dataset_mode",
    "dataaug_no_flip": "no_flip",
    "train_batch_size": "batch_size",
    "test_batch_size": "batch_size",
    "train_n_epochs": "n_epochs",
    "train_n_epochs_decay": "n_epochs_decay",
    "train_G_lr": "lr",
    "train_beta1": "beta1",
    "train_beta2": "beta2",
    "train_gan_mode": "gan_mode",
    "train_pool_size": "pool_size",
    "train_lr_policy": "lr_policy",
    "train_lr_decay_iters": "lr_decay_iters",
    "train_continue": "continue_train",
    "train_epoch": "epoch",
    "train_epoch_count": "epoch_count",
    "train_load_iter": "load_iter",
    "train_save_latest_freq": "save_latest_freq",
    "train_save_epoch_freq": "save_epoch_freq",
    "train_save_by_iter": "save_by_iter",
    "train_metrics_every": "evaluation_freq",
    "train_G_ema_beta": "G_ema_beta",
    "train_iter_size": "iter_size",
    "alg_cyclegan_lambda_A": "lambda_A",
    "alg_cyclegan_lambda_B": "lambda_B",
    "alg_cyclegan_lambda_identity": "lambda_identity",
    "output_display_freq": "display_freq",
    "output_display_ncols": "display_ncols",
    "output_display_id": "display_id",
    "output_display_env": "display_env",
    "output_display_winsize": "display_winsize",
    "output_print_freq": "print_freq",
    "output_update_html_freq": "update_html_freq",
    "output_no_html": "no_html",
    "output_verbose": "verbose",
}


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the options of the reference among those typed are here."""

    names: Sequence[str]  # as typed
    options: Mapping[str, str]
    environment: Mapping[str, str]
    notes: Mapping[str, str]  # by the name that was typed
    answered: Sequence[str]  # names that have something to type


def find(options: Mapping[str, object], known: Known, program: str, method: str = "") -> Found:
    """The options of the reference among `options`, and what to type instead.

    Names that are ours too count where their value is one of theirs: --direction BtoA.

    Args:
        options: as parsed: --no_flip is flip, False.
        known: options of `program`.
        program: that was called, of PROGRAMS or OTHERS; any other has nothing to do with it.
        method: whose options are among the known ones; for the messages.
    """
    if program not in (*PROGRAMS, *OTHERS):
        return Found(names=[], options={}, environment={}, notes={}, answered=[])
    table = PROGRAMS.get(program, {})
    # Those of a file may be lists or tables, nested as deeply as its writer liked.
    plain = {key: str(v) for key, v in options.items() if not isinstance(v, list | Mapping)}
    spelled = {_spelled(key, value, known): value for key, value in plain.items()}
    typed = {ALIASES.get(name, name): value for name, value in spelled.items()}
    merged: dict[str, str] = {}
    environment: dict[str, str] = {}
    notes: dict[str, str] = {}
    names, answered = [], []
    for name, value in spelled.items():
        entry = ALIASES.get(name, name)
        if name in known and (not known[name] or value in known[name]):
            continue
        if not any(entry in each for each in PROGRAMS.values()):
            continue
        asked = Asked(value=value, typed=typed, known=known)
        if entry in table:
            answer = _fitting(table[entry](asked), known, method or program)
        else:
            answer = _elsewhere(entry, asked, program)
        if name in known and not answer.options:
            continue  # ours, with a value that neither of us knows
        shown = f"{name} {value}" if name in known else name
        names.append(shown)
        if answer.options or answer.environment:
            answered.append(shown)
        if answer.note:
            notes[shown] = answer.note
        merged |= answer.options
        environment |= answer.environment
    return Found(
        names=names, options=merged, environment=environment, notes=notes, answered=answered
    )


def advice(found: Found) -> str:
    """One line about all of them; nothing where there are none."""
    if not found.names:
        return ""
    listed = ", ".join(f"--{name}" for name in found.names)
    many = "s" * (len(found.names) > 1)
    return f"unknown option{many} {listed}: the reference's; {_answer(found)}"


def slip(name: str, value: object, known: Known, program: str, method: str = "") -> str:
    """The same of an option that was typed nearly as the reference's `name`."""
    found = find({name: value}, known, program, method)
    return f"did you mean the reference's --{name}? {_answer(found)}"


def names(program: str) -> set[str]:
    """Every name that `find` answers of a program's options."""
    tables = PROGRAMS.values() if program in (*PROGRAMS, *OTHERS) else ()
    return {*(ALIASES if tables else ()), *(name for table in tables for name in table)}


def _answer(found: Found) -> str:
    many = len(found.names) > 1
    parts = []
    if found.answered:
        parts.append(f"here {'they are' if many else 'it is'} {ready(found)}")
    reasons: dict[str, list[str]] = {}
    for name, note in found.notes.items():
        reasons.setdefault(note, []).append(name)
    for note, names in reasons.items():
        left = [name for name in names if name not in found.answered]
        of = ", ".join(f"--{name}" for name in (left or names))
        said = f"leave {of} out, {note}" if left else f"{of}: {note}"
        parts.append(said if many or left else note)
    return "; ".join(parts)


def ready(found: Found) -> str:
    """What to type; variables stand before the command."""
    flags = " ".join(flag(name, value) for name, value in found.options.items())
    variables = " ".join(f"{name}={value}" for name, value in found.environment.items())
    before = f"{variables} before the command" if variables else ""
    return " and ".join(filter(None, [flags, before]))


def flag(name: str, value: str) -> str:
    """One option as it is typed."""
    if value in ("True", ""):
        return f"--{name}"
    if value == "False":
        return f"--no{name}"
    return f"--{name} {shlex.quote(value)}"


def _spelled(key: str, value: str, known: Known) -> str:
    """The name as typed: --no_dropout was parsed as dropout, False."""
    negated = f"no_{key}"
    theirs = any(negated in table for table in PROGRAMS.values())
    return negated if value == "False" and theirs and "False" not in known.get(key, ()) else key


def _fitting(answer: Answer, known: Known, owner: str) -> Answer:
    """An answer whose options this program and method have; or why there is none."""
    for name, value in answer.options.items():
        if name not in known:
            return Answer(note=f"as {owner} has no --{name}")
        if known[name] and value not in known[name]:
            return Answer(note=f"as --{name} of {owner} has {', '.join(known[name])}")
    return answer


def _elsewhere(entry: str, asked: Asked, program: str) -> Answer:
    """What an option of another program is: the same here where this has it too, or there."""
    answers = {
        where: PROGRAMS[other][entry](asked)
        for other, where in ELSEWHERE.items()
        if entry in PROGRAMS[other]
    }
    for answer in answers.values():
        if program in OTHERS and answer.options and answer.options.keys() <= asked.known.keys():
            return _fitting(answer, asked.known, program)
    where, answer = next(iter(answers.items()))
    there = " ".join(flag(name, value) for name, value in answer.options.items())
    return Answer(note=f"it is {there} of {where}" if there else answer.note)
