"""Run folders: self-describing, numbered, and never reused for another config."""

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gan_style
from gan_style.config import RESUMABLE
from gan_style.errors import CheckpointError, ConfigError
from gan_style.files import make_writable, write_json

LIBRARIES = ("torch", "torchvision", "accelerate", "albumentations", "pillow", "numpy")


def describe(
    data: Mapping[str, Any],
    train: Mapping[str, Any],
    method: Mapping[str, Any],
    launch: Mapping[str, Any],
    preset: str = "",
) -> dict[str, Any]:
    """The content of config.json; the options hold those of the preset, whose name is a note."""
    return {
        **({"preset": preset} if preset else {}),
        "data": dict(data),
        "train": dict(train),
        "method": dict(method),
        "launch": dict(launch),
        **made_by(LIBRARIES),
    }


def made_by(libraries: Sequence[str]) -> dict[str, Any]:
    """Versions: of the package, its commit, Python and `libraries`."""
    return {
        "gan_style": gan_style.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in libraries},
    }


def _commit() -> str:
    """The git commit of the package's source, with + when it was changed; empty outside of git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return result.stdout.strip()


def read(run: Path) -> dict[str, Any]:
    """The config.json of a run."""
    path = run / "config.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        assert all(isinstance(record[part], dict) for part in ("data", "train", "method"))
        assert record["train"]["method"]
    except FileNotFoundError:
        raise CheckpointError(f"{run} is no run folder: it has no config.json") from None
    except (AssertionError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} can't be read: it isn't the config of a run") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} can't be read: {error}") from error
    return record


def options(record: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a run was started with, flat as on a command line."""
    return {**record["data"], **record["train"], **record["method"]}


def resumed(record: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """`record` of a run that goes on, with what it was made by before under "earlier"."""
    made_by = ("launch", "gan_style", "commit", "python", "libraries")
    earlier = [*old.get("earlier", []), {key: old.get(key) for key in made_by}]
    return {**record, "earlier": earlier}


def write(run: Path, record: Mapping[str, Any]) -> None:
    """Write config.json, whole or not at all."""
    write_json(run / "config.json", dict(record))


def numbered(folder: Path) -> list[Path]:
    """The runs 0001, 0002, ... of a domain and method, oldest first."""
    paths = (path for path in folder.glob("*") if path.name.isdigit() and path.is_dir())
    return sorted(paths, key=lambda path: int(path.name))


def refuse_used(run: str) -> None:
    """Refuse a folder for a new run that holds one already."""
    if run and (Path(run) / "config.json").exists():
        raise ConfigError(
            f"--run_dir {run} holds a run already: go on by --resume auto, or give another one"
        )


def create(run: str, folder: Path) -> Path:
    """The empty folder of a new run: `run` where given, else the next number in `folder`."""
    if run:
        make_writable(Path(run))
        return Path(run)
    make_writable(folder)
    last = numbered(folder)
    number = int(last[-1].name) + 1 if last else 1
    while True:
        path = folder / f"{number:04}"
        try:
            path.mkdir()
        except FileExistsError:  # another run took the number meanwhile
            number += 1
        else:
            return path


def find(run: str, folder: Path) -> Path:
    """The run to go on with: `run` where given, else the newest in `folder`."""
    if run:
        return Path(run)
    existing = numbered(folder)
    if not existing:
        raise CheckpointError(
            f"--resume auto: no run in {folder} yet; leave --resume out to start one"
        )
    return existing[-1]


def check_same(run: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuse to go on with a run whose results so far rest on other options, and show which."""
    differences = [
        f"{key} was {before!r}, is {after!r}"
        for section in ("data", "train", "method", "launch")
        for key, before in old.get(section, {}).items()
        if key not in RESUMABLE and (after := new[section].get(key)) != before
    ]
    if differences:
        raise ConfigError(
            f"{run} was made with other options ({'; '.join(differences)}): go back to them "
            "to go on with it, or leave --resume out to start a new run"
        )
