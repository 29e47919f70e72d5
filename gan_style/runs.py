"""Run folders: self-describing, numbered, and never reused for another config."""

import json
import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

import gan_style
from gan_style.config import PARTS, RESUMABLE, DataConfig, build
from gan_style.errors import CheckpointError, ConfigError
from gan_style.io.files import atomic_file, explained, make_writable, write_json
from gan_style.io.safe_io import parse_json, read_json, read_text

# Of a config.json: it has 3 kB, and 500 bytes more each time that the run is gone on with.
MOST_BYTES = 10_000_000
# Images that couldn't be read any more while a run trained: a line each, part, path and reason.
LEFT_OUT = "left_out.jsonl"
# Folder of the style images that it was trained with: copies, called as their originals.
STYLES = "styles"
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
        "commit": commit(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in libraries},
    }


@cache
def commit() -> str:
    """The last commit of the package's source, with + when it was changed; empty outside of git."""
    source = Path(__file__).parent
    found = _git(source, "log", "-1", "--format=%h")
    return f"{found}+" if found and _git(source, "status", "--porcelain") else found


def _git(folder: Path, *words: str) -> str:
    """What git says of a folder; nothing where there is no git, or the folder isn't in one."""
    command = ["git", "-C", str(folder), *words, "--", "."]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return result.stdout.strip()


def read(run: Path) -> dict[str, Any]:
    """The config.json of a run, which may be somebody else's.

    Raises:
        CheckpointError: none is there, or it isn't one; or the folder has links by which something
            would be written elsewhere.
    """
    path = run / "config.json"
    try:
        record = checked(read_json(path, MOST_BYTES))
    except FileNotFoundError:
        raise CheckpointError(f"{run} is no run folder: it has no config.json") from None
    except (OSError, ValueError, ConfigError) as error:
        raise CheckpointError(f"{path} can't be read: {error}") from error
    _refuse_links(run)
    return record


def checked(record: Any) -> dict[str, Any]:
    """What may be a run's config.json, if it is one.

    Raises:
        ValueError, ConfigError: it isn't.
    """
    if not _is_record(record):
        raise ValueError("it isn't the config of a run")
    build(DataConfig, record["data"])
    return dict(record)


def _is_record(value: Any) -> bool:
    """Whether something has the form of what `describe` and `resumed` make."""
    if not isinstance(value, dict):
        return False
    forms = {"data": dict, "train": dict, "method": dict, "launch": dict, "earlier": list}
    optional: dict[str, Any] = {"preset": "", "launch": {}, "earlier": []}
    given = optional | value
    return (
        all(isinstance(given.get(part), form) for part, form in forms.items())
        and isinstance(given["preset"], str)
        and isinstance(given["train"].get("method"), str)
    )


def _refuse_links(run: Path) -> None:
    """Refuse links to folders elsewhere, and hidden ones: translations and states go that way."""
    root = os.path.realpath(run)
    for folder, folders, files in os.walk(run):
        for name in (*folders, *(each for each in files if each.startswith("."))):
            path = Path(folder, name)
            target = Path(os.path.realpath(path))
            if path.is_symlink() and not target.is_relative_to(root):
                raise CheckpointError(
                    f"{path} is a link to {target}, out of the run, which would be written to: put "
                    "what it leads to in its place"
                )


def options(record: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a run was started with, flat as on a command line."""
    return {**record["data"], **record["train"], **record["method"]}


def resumed(record: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """`record` of a run that goes on, with what it was made by before under "earlier"."""
    made_by = ("launch", "gan_style", "commit", "python", "libraries")
    earlier = [*old.get("earlier", []), {key: old.get(key) for key in made_by}]
    kept = {key: old[key] for key in ("started_from",) if key in old}
    return {**record, **kept, "earlier": earlier}


def started_from(run: Path, weights: Mapping[str, str]) -> dict[str, Any]:
    """What a new run says of the one that it began from: where, how far, and which weights.

    Args:
        run: the other one.
        weights: network -> the SHA-256 of its weights.
    """
    try:
        images = dict(read_json(run / "progress.json")).get("images")
    except (OSError, ValueError, TypeError):
        images = None
    return {"run": str(run.absolute()), "images": images, "weights": dict(weights)}


def write(run: Path, record: Mapping[str, Any]) -> None:
    """Write config.json, whole or not at all."""
    write_json(run / "config.json", dict(record))


def style_image(run: Path, record: Mapping[str, Any]) -> Path | None:
    """The style image that a run was trained with: its copy, or in a run of before its original.

    None where neither is there, or where the method learns no style image (its option `style`).
    """
    option = record["method"].get("style")
    if not (isinstance(option, str) and option):
        return None
    for path in (_style_copy(run, option), Path(option)):
        with suppress(OSError):  # a name that is too long, in a run that is somebody else's
            if path.is_file():
                return path
    return None


def keep_style(run: Path, style: str) -> None:
    """Copy the style image that a training reads into its run, unless it reads the copy.

    Raises:
        WriteError: what the system has against it.
    """
    original, copy = Path(style), _style_copy(run, style)
    if original.is_file() and original != copy:
        with atomic_file(copy) as partial:
            shutil.copyfile(original, partial)


def _style_copy(run: Path, style: str) -> Path:
    return run / STYLES / Path(style).name


def numbered(folder: Path) -> list[Path]:
    """The runs 0001, 0002, ... of a domain and method, oldest first."""
    paths = (path for path in folder.glob("*") if path.name.isdecimal() and path.is_dir())
    return sorted(paths, key=lambda path: int(path.name))


def again(run: Path) -> str:
    """The options, as typed in a shell, that go on with a run."""
    return f"--run_dir {shlex.quote(str(run))} --resume auto"


def start_from(run: Path) -> str:
    """The options, as typed in a shell, that begin a new run with the weights of another."""
    return f"--start_from {shlex.quote(str(run))}"


def has_weights(run: Path) -> bool:
    """Whether it has exported any, so that a new run can begin with them."""
    return any(run.glob("*.safetensors"))


def refuse_used(run: str) -> None:
    """Refuse a folder for a new run that holds one already."""
    if run and (Path(run) / "config.json").exists():
        raise ConfigError(
            f"--run_dir {run} holds a run already: go on by --resume auto, or give another one"
        )


def leave_out(run: Path, images: Iterable[tuple[str, str, str]]) -> None:
    """Note images, (part, name within its folder, reason), that a training goes on without.

    At once and for good. Several processes may: their lines don't mix. What the system has against
    it is no reason to stop the training; then these images are asked for again when the run is gone
    on with.
    """
    lines = "".join(f"{json.dumps(image)}\n" for image in images)
    # A run may be somebody else's; on Windows links need rights that few have.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    with suppress(OSError):
        file = os.open(run / LEFT_OUT, flags, 0o666)
        try:
            os.write(file, lines.encode())
        finally:
            os.close(file)


def left_out(run: Path) -> set[tuple[str, str]]:
    """(part, name) of what `leave_out` noted; lines cut off or of another form are passed over."""
    images: set[tuple[str, str]] = set()
    try:
        lines = read_text(run / LEFT_OUT).splitlines()
    except (OSError, ValueError):
        return set()
    for line in lines:
        with suppress(ValueError):
            match parse_json(line):
                case [str(part), str(name), str()] if part in PARTS:
                    images.add((part, name))
    return images


def lock(run: Path) -> FileLock:
    """A training's hold on its run folder; the system drops it with the process, however it ends.

    Raises:
        ConfigError: another training has it.
        WriteError: the folder can't be written.
    """
    held = FileLock(run / ".lock")
    with explained(run):
        try:
            held.acquire(blocking=False)
        except Timeout:  # an OSError too
            raise ConfigError(
                f"{run} is in use by another training: wait for its end, or give another --run_dir"
            ) from None
    return held


def tidy(run: Path) -> None:
    """Remove what an earlier process was writing when it ended; the run has to be locked."""
    patterns = (".partial-*", "checkpoints/.partial-*", f"{STYLES}/.partial-*")
    for leftover in [path for pattern in patterns for path in run.glob(pattern)]:
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def bytes_of_weights(run: Path) -> int:
    """What the weights and checkpoints of a run take already."""
    files = (*run.glob("*.safetensors"), *run.glob("checkpoints/*/*.safetensors"))
    return sum(path.stat().st_size for path in files)


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


def find(folders: Sequence[Path]) -> Path:
    """The run to go on with: the newest in the first of `folders` that has one."""
    # One whose start was ended has no config.json yet, and nothing to go on with.
    for folder in folders:
        if existing := [path for path in numbered(folder) if (path / "config.json").exists()]:
            return existing[-1]
    raise CheckpointError(
        f"--resume auto: no run in {folders[0]} yet; leave --resume out to start one, or give "
        "one as --run_dir"
    )


def check_same(run: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuse to go on with a run whose results so far rest on other options, and show which."""
    differences = [
        f"{key} was {before!r}, is {after!r}"
        for section in ("data", "train", "method", "launch")
        if section in new
        for key, before in old.get(section, {}).items()
        if key not in RESUMABLE and (after := new[section].get(key)) != before
    ]
    if differences:
        raise ConfigError(
            f"{run} was made with other options ({'; '.join(differences)}): go back to them "
            "to go on with it, or leave --resume and --run_dir out to start a new run"
            + f" ({start_from(run)} begins it with these weights)"
            * has_weights(run)
        )
