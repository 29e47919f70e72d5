"""Networks out and in, each a safetensors file; the whole state of a training, to resume from.

Nothing here pickles: tensors are safetensors, everything around them is JSON in the metadata.

    <run>/gen_ab.safetensors                     weights as trained; config.json is in the metadata
    <run>/gen_ab.ema.safetensors                 their running average
    <run>/gen_ab.best.safetensors                the averages when KID, in the metadata, was lowest
    <run>/checkpoints/<images>/state.safetensors what is one for all processes
    <run>/checkpoints/<images>/process_0.safetensors     pools and random states of each
"""

import hashlib
import json
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gan_style import memory, runs
from gan_style.config import build
from gan_style.errors import CheckpointError, ConfigError, WriteError
from gan_style.io.files import atomic_file, explained, listed
from gan_style.io.safe_io import parse_json
from gan_style.method import Direction, TrainedMethod

Kind = Literal["raw", "ema", "best"]  # of weights: as trained, averaged, of the lowest KID
# What is raised on files that are broken, or made to look like ours; torch's are RuntimeErrors.
BROKEN = (
    SafetensorError,
    OSError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    RuntimeError,
)
CPU = torch.device("cpu")
HALF = (torch.float16, torch.bfloat16)
BESIDE = "config.json beside it"  # says what networks a run's files are of
MISSING: dict[Kind, str] = {
    "raw": "the run has saved no weights yet",
    "ema": "the run has saved no averaged weights yet (was it trained with --ema 0?)",
    "best": "the run has saved no best weights yet: they are those of the lowest KID, which is "
    "computed every --kid_every epochs and at the end; where it can't be, training says why",
}


def weights_file(run: Path, name: str, kind: Kind) -> Path:
    """Where the weights of a network are."""
    return run / f"{name}{'' if kind == 'raw' else f'.{kind}'}.safetensors"


def save_network(net: nn.Module, path: Path, record: Mapping[str, Any]) -> None:
    """Write a network's weights with the run's config in the metadata, whole or not at all."""
    save_weights(net.state_dict(), path, config=record)


def save_weights(state: Mapping[str, Tensor], path: Path, **notes: Mapping[str, Any]) -> None:
    """Write the state of a network, with notes as JSON in the metadata, whole or not at all."""
    weights = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    metadata = {name: json.dumps(note) for name, note in notes.items()}
    with atomic_file(path) as partial:
        _write(weights, partial, metadata)


def outline(build: Callable[[], TrainedMethod]) -> TrainedMethod:
    """What `build` makes, but with tensors that have a shape alone and take no memory.

    Raises:
        ConfigError: torch knows no tensors that large, or memory can't hold them.
    """
    try:
        with torch.device("meta"):
            method = build()
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"no networks can be built of these options: {_line(error)}") from error
    needed = sum(each.nbytes for each in (*method.parameters(), *method.buffers()))
    if needed > (free := memory.free(CPU)):
        raise ConfigError(
            f"networks of these options take {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB of "
            "memory are free: give them less width"
        )
    return method


def directions(module: ModuleType, record: Mapping[str, Any]) -> Mapping[Direction, str]:
    """The ways that a run of `module` translates, of one with two collections, by which networks.

    Raises:
        ConfigError: as `outline`.
    """
    config = build(module.Config, record["method"])
    return outline(lambda: module.Method(config)).directions


def check_direction(module: ModuleType, record: Mapping[str, Any], wanted: Any, run: Path) -> None:
    """Refuse a direction that a run of `module` wasn't trained for; `record` is its config.json.

    Raises:
        ConfigError: as `outline` too.
    """
    if wanted in (None, record["method"].get("direction")):
        return
    trained = directions(module, record)
    if trained and wanted not in trained:
        raise ConfigError(
            f"--direction is {wanted!r}, but {run} was trained for {' and '.join(trained)} alone"
        )


def check_networks(method: TrainedMethod, run: Path, kind: Kind = "raw") -> None:
    """Refuse files of a run that aren't of the networks that `method.translate` uses.

    Their headers alone are read, so that `method` may be an `outline`.

    Raises:
        CheckpointError: a file isn't there, isn't whole, or is of other networks.
    """
    for name in method.inference_networks:
        path = weights_file(run, name, kind)
        if not path.exists():
            raise CheckpointError(f"{path} isn't there: {MISSING[kind]}")
        _check_file(getattr(method, name), path)


def check_run(method: TrainedMethod, run: Path, wanted: str = BESIDE) -> None:
    """The same of every network of `method`, as far as the run has saved it.

    Raises:
        CheckpointError: a file isn't whole, or is of another network than `wanted` says.
    """
    for name in (name for nets in method.players.values() for name in nets):
        if (path := weights_file(run, name, "raw")).exists():
            _check_file(getattr(method, name), path, wanted)


def _check_file(net: nn.Module, path: Path, wanted: str = BESIDE) -> None:
    with _opened(path) as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    _check_fit(net.state_dict(), shapes, path, wanted)


def load_networks(method: TrainedMethod, run: Path, kind: Kind = "raw") -> None:
    """Fill the networks that `method.translate` uses from the files of a run, strictly."""
    check_networks(method, run, kind)
    for name in method.inference_networks:
        _fill(getattr(method, name), weights_file(run, name, kind))


def load_only(method: TrainedMethod, path: Path) -> None:
    """Fill the one network that `method.translate` uses from a file that may lie anywhere.

    Raises:
        CheckpointError: it isn't whole, or of another network; or there are several networks.
    """
    if len(method.inference_networks) > 1:
        raise CheckpointError(
            f"{path} is one of {len(method.inference_networks)} networks that are needed: give the "
            "folder of the run"
        )
    (name,) = method.inference_networks
    _check_file(getattr(method, name), path, "its own notes say")
    _fill(getattr(method, name), path)


def record_of(path: Path) -> dict[str, Any]:
    """The config.json of the run that a file of weights is of, which is noted in it.

    Raises:
        CheckpointError: it isn't such a file.
    """
    with _opened(path) as file:
        notes = file.metadata() or {}
    try:
        return runs.checked(parse_json(notes["config"]))
    except (LookupError, TypeError, ValueError, ConfigError) as error:
        raise CheckpointError(
            f"{path} doesn't say what network it is of: give the folder of its run ({_line(error)})"
        ) from error


def load_players(method: TrainedMethod, run: Path) -> dict[str, str]:
    """Fill every network of `method` with a run's weights as trained.

    Returns:
        Name of each network -> the SHA-256 of its weights.

    Raises:
        CheckpointError: a file isn't there, isn't whole, or is of another network.
    """
    check_run(method, run, "these options ask for")
    digests = {}
    for name in (name for nets in method.players.values() for name in nets):
        path = weights_file(run, name, "raw")
        if not path.exists():
            there = sorted(each.name for each in run.glob("*.safetensors"))
            only = f"{run} has only {', '.join(there)}, and these options train other networks too"
            raise CheckpointError(f"{path} isn't there: {only if there else MISSING['raw']}")
        _fill(getattr(method, name), path)
        digests[name] = _weights_digest(path)
    return digests


def weights_digests(method: TrainedMethod, run: Path, kind: Kind) -> dict[str, str]:
    """Network that `method.translate` uses -> the SHA-256 of its weights."""
    return {
        name: _weights_digest(weights_file(run, name, kind)) for name in method.inference_networks
    }


def _weights_digest(path: Path) -> str:
    """Of the tensors alone: the record beside them grows each time that a run is gone on with."""
    with _opened(path):
        return _sha256("", load_file(path))


def _fill(net: nn.Module, path: Path) -> None:
    with _opened(path):
        weights = load_file(path)
    for key, wanted in net.state_dict().items():
        if weights[key].dtype in HALF and wanted.dtype == torch.float32:  # as they are published
            weights[key] = weights[key].float()
        if weights[key].dtype != wanted.dtype or not weights[key].isfinite().all():
            raise CheckpointError(
                f"{path} can't be used: its {key} is {weights[key].dtype}, not {wanted.dtype}, "
                "or holds what is no number"
            )
    net.load_state_dict(weights)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file; whatever it isn't is a CheckpointError.

    The library believes nothing that a header says: offsets, shapes and the size of the file have
    to agree before a tensor is made.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise ValueError("it is no file")
        with safe_open(path, framework="pt") as file:
            yield file
    except BROKEN as error:
        raise CheckpointError(f"{path} can't be read: {_line(error)}") from error


def _line(error: BaseException) -> str:
    """The first words of what torch says on many lines; a KeyError says nothing but the key."""
    text = repr(error) if isinstance(error, LookupError) else str(error)
    return " ".join(text.split())[:200] or type(error).__name__


def kid_of(run: Path, name: str) -> dict[str, Any]:
    """What a network's best weights were chosen by.

    `kid`, its `std`, the `direction`, `test_images` (of the side that has fewer), the `images`
    trained before; and `unchanged`, the KID of images left alone, in files since there is one.
    """
    path = weights_file(run, name, "best")
    with _opened(path) as file:
        notes = file.metadata() or {}
    try:
        note: dict[str, Any] = parse_json(notes["kid"])
        known = ("kid", "unchanged") if "unchanged" in note else ("kid",)
        numbers = {key: float(note[key]) for key in known}
        return note | numbers | {"images": int(note["images"])}
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} doesn't say what it was chosen by: {error!r}") from error


def _check_fit(
    wanted: Mapping[str, Tensor], found: Mapping[str, tuple[int, ...]], path: Path, of: str
) -> None:
    """Name the first thing in which a file's weights, by their shapes, differ from a network's."""
    for key in [*wanted, *found]:
        if key not in found:
            problem = f"it has no {key}"
        elif key not in wanted:
            problem = f"its {key} has no place"
        elif wanted[key].shape != found[key]:
            problem = f"its {key} is {list(found[key])}, not {list(wanted[key].shape)}"
        else:
            continue
        raise CheckpointError(f"{path} is of another architecture than {of}: {problem}")


def checkpoints(run: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    paths = (path for path in run.glob("checkpoints/*") if path.name.isdecimal())
    return sorted(paths, key=lambda path: int(path.name))


def damage(folder: Path) -> str:
    """Why a checkpoint can't be gone on from; empty where every part of it is sound."""
    try:
        shared = load_state(folder / "state.safetensors")
        for process in range(shared["processes"]):
            load_state(folder / f"process_{process}.safetensors")
    except CheckpointError as error:
        return str(error)
    except (KeyError, TypeError) as error:
        return f"{folder / 'state.safetensors'} is no state of a training: {error!r}"
    return ""


def newest_sound(run: Path) -> tuple[Path | None, list[str]]:
    """The checkpoint of a run to go on from, and what is wrong with each that is newer.

    These are renamed to damaged-<images>, so that the run can come by their place again. None where
    the run was ended before its first.

    Raises:
        CheckpointError: none is sound.
    """
    problems: dict[Path, str] = {}
    for folder in reversed(saved := checkpoints(run)):
        if not (problem := damage(folder)):
            break
        problems[folder] = problem
    else:
        if saved:
            raise CheckpointError(
                f"no checkpoint of {run} is sound ({listed(list(problems.values()))}): begin "
                f"a new run from the weights beside them, with: --start_from "
                + shlex.quote(str(run))
            )
        return None, []
    for path in problems:
        set_aside = path.with_name(f"damaged-{path.name}")
        with explained(set_aside):
            shutil.rmtree(set_aside, ignore_errors=True)  # of an earlier time
            path.rename(set_aside)
    return folder, list(problems.values())


def remove_old(run: Path, keep: int) -> None:
    """Delete all but the last `keep` checkpoints."""
    for path in checkpoints(run)[:-keep]:
        shutil.rmtree(path)


def save_state(state: Any, path: Path) -> None:
    """Write nested dicts and lists of tensors, numbers and strings, with a checksum of them all.

    Raises:
        WriteError: what the system has against it, such as a full disk.
    """
    tensors: dict[str, Tensor] = {}
    skeleton = json.dumps(_take_apart(state, tensors))
    metadata = {"state": skeleton, "sha256": _sha256(skeleton, tensors)}
    _write(tensors, path, metadata)


def _write(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    try:
        save_file(tensors, path, metadata=metadata)
    except (SafetensorError, OSError) as error:  # the first is how it tells of the second
        raise WriteError(f"can't write {path}: {error}") from error


def _sha256(skeleton: str, tensors: Mapping[str, Tensor]) -> str:
    """Of tensors, and of what is around them in a state.

    safetensors has no checksum, so a flipped bit would be a weight like others.
    """
    sha = hashlib.sha256(skeleton.encode())
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def digest(net: nn.Module) -> str:
    """The SHA-256 of a network's state, wherever that is."""
    return _sha256("", {key: x.detach().cpu() for key, x in net.state_dict().items()})


def load_state(path: Path) -> Any:
    """What `save_state` wrote, and nothing else: no file of another form, and none that is run.

    Raises:
        CheckpointError: it can't be read, memory can't hold it, or it was changed.
    """
    with _opened(path) as file:
        if (size := path.stat().st_size) > (free := memory.free(CPU)):
            raise ValueError(f"it has {size / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free")
        skeleton, sha256 = (file.metadata()[key] for key in ("state", "sha256"))
        # Copied to where torch allocates: sums over unaligned memory round differently, and
        # what goes on from here would not be bit for bit what an undisturbed run is.
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        if _sha256(skeleton, tensors) != sha256:
            raise ValueError("its checksum is wrong")
        return _put_together(parse_json(skeleton), tensors.pop)  # each has one place


@contextmanager
def fitting(folder: Path) -> Iterator[None]:
    """Whatever doesn't fit while a state is taken back as a CheckpointError.

    Raises:
        CheckpointError: instead of what load_state_dict and others raise.
    """
    try:
        yield
    except BROKEN as error:
        raise CheckpointError(f"{folder} is no state of this training: {_line(error)}") from error


def check_form(value: Any, like: Any, what: str) -> None:
    """Refuse a state that differs from `like` in its names, its types or the shapes of its tensors.

    What is empty in `like` may hold anything.

    Raises:
        ValueError: names the first difference.
    """
    below: Any = ()
    if isinstance(like, Tensor):
        fits = isinstance(value, Tensor) and (value.shape, value.dtype) == (like.shape, like.dtype)
    elif isinstance(like, Mapping):
        fits = isinstance(value, dict) and (not like or value.keys() == like.keys())
        below = like
    elif isinstance(like, list | tuple):
        fits = isinstance(value, list) and (not like or len(value) == len(like))
        below = range(len(like))
    else:
        fits = type(value) is type(like) or {type(value), type(like)} == {int, float}
    if not fits:
        raise ValueError(f"its {what} has another form")
    for key in below:
        check_form(value[key], like[key], f"{what}.{key}")


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Take the state of every parameter back; rates and the like are the run's options.

    Raises:
        ValueError: the state of a parameter has another shape; torch's fused steps would read and
            write beyond it.
    """
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    for number, kept in state["state"].items():
        for name, value in kept.items():
            shape = torch.Size() if name == "step" else parameters[number].shape
            if value.shape != shape:
                raise ValueError(f"its {name} of parameter {number} has another shape")
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state["state"], "param_groups": groups})


def _take_apart(value: Any, tensors: dict[str, Tensor]) -> Any:
    """`value` as JSON whose tensors are replaced by their names in `tensors`."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": name}
    if isinstance(value, Mapping):  # pairs, because JSON keys are strings and optimizers count
        return {"dict": [[key, _take_apart(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_take_apart(item, tensors) for item in value]}
    assert value is None or isinstance(value, bool | int | float | str), type(value)
    return {"value": value}


def _put_together(skeleton: Any, tensor: Callable[[str], Tensor]) -> Any:
    match skeleton:
        case {"tensor": name}:
            return tensor(name)
        case {"dict": items}:
            return {key: _put_together(item, tensor) for key, item in items}
        case {"list": items}:
            return [_put_together(item, tensor) for item in items]
        case {"value": None | bool() | int() | float() | str() as value}:
            return value
    raise ValueError(f"its state has something of an unknown form: {str(skeleton)[:40]}")
