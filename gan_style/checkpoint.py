"""Networks out and in, each a safetensors file; the whole state of a training, to resume from.

Nothing here pickles: tensors are safetensors, everything around them is JSON in the metadata.

    <run>/gen_ab.safetensors                     weights as trained; config.json is in the metadata
    <run>/gen_ab.ema.safetensors                 their running average
    <run>/gen_ab.best.safetensors                as trained when KID, in the metadata, was lowest
    <run>/checkpoints/<images>/state.safetensors what is one for all processes
    <run>/checkpoints/<images>/process_0.safetensors     pools and random states of each
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gan_style.errors import CheckpointError
from gan_style.files import atomic_file
from gan_style.method import TrainedMethod

Kind = Literal["raw", "ema", "best"]  # of weights: as trained, averaged, of the lowest KID
MISSING: dict[Kind, str] = {
    "raw": "the run has saved no weights yet",
    "ema": "the run has saved no averaged weights yet (was it trained with --ema 0?)",
    "best": "the run has saved no best weights yet: they are those of the lowest KID, which is "
    "computed every --kid_every epochs and at the end; where it can't be, train.py says why",
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
        save_file(weights, partial, metadata=metadata)


def load_networks(method: TrainedMethod, run: Path, kind: Kind = "raw") -> None:
    """Fill the networks that `method.translate` uses from the files of a run, strictly."""
    for name in method.translators:
        path = weights_file(run, name, kind)
        net = getattr(method, name)
        try:
            weights = load_file(path)
        except FileNotFoundError:
            raise CheckpointError(f"{path} isn't there: {MISSING[kind]}") from None
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} can't be read: {error}") from error
        _check_fit(net.state_dict(), weights, path)
        net.load_state_dict(weights)


def kid_of(run: Path, name: str) -> dict[str, Any]:
    """What a network's best weights were chosen by.

    `kid`, its `std`, the `direction`, `test_images` (of the side that has fewer), and the `images`
    trained before.
    """
    path = weights_file(run, name, "best")
    try:
        with safe_open(path, framework="pt") as file:
            note: dict[str, Any] = json.loads(file.metadata()["kid"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} doesn't say what it was chosen by: {error!r}") from error
    return note


def _check_fit(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path) -> None:
    """Name the first thing in which a file's weights differ from the network's."""
    for key in [*wanted, *found]:
        if key not in found:
            problem = f"it has no {key}"
        elif key not in wanted:
            problem = f"its {key} has no place"
        elif wanted[key].shape != found[key].shape:
            problem = f"its {key} is {list(found[key].shape)}, not {list(wanted[key].shape)}"
        else:
            continue
        raise CheckpointError(
            f"{path} is of another architecture than config.json beside it: {problem}"
        )


def checkpoints(run: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    paths = (path for path in run.glob("checkpoints/*") if path.name.isdigit())
    return sorted(paths, key=lambda path: int(path.name))


def remove_old(run: Path, keep: int) -> None:
    """Delete all but the last `keep` checkpoints."""
    for path in checkpoints(run)[:-keep]:
        shutil.rmtree(path)


def save_state(state: Any, path: Path) -> None:
    """Write nested dicts and lists of tensors, numbers and strings."""
    tensors: dict[str, Tensor] = {}
    skeleton = _take_apart(state, tensors)
    save_file(tensors, path, metadata={"state": json.dumps(skeleton)})


def load_state(path: Path) -> Any:
    """What `save_state` wrote."""
    try:
        with safe_open(path, framework="pt") as file:
            skeleton = json.loads(file.metadata()["state"])
            # Copied to where torch allocates: sums over unaligned memory round differently, and
            # what goes on from here would not be bit for bit what an undisturbed run is.
            return _put_together(skeleton, lambda name: file.get_tensor(name).clone())
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} can't be read: {error}") from error


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
    ((kind, value),) = skeleton.items()
    if kind == "tensor":
        return tensor(value)
    if kind == "dict":
        return {key: _put_together(item, tensor) for key, item in value}
    if kind == "list":
        return [_put_together(item, tensor) for item in value]
    return value
