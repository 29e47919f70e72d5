"""Make a virtual environment of what a lock pins, and of this project.

A lock is complete, so nothing is resolved: pip is told --no-deps. It would else ask the index for
what `pkg[extra]` is today, as it doesn't apply the pin of `pkg` to it in hash mode
(https://github.com/pypa/pip/issues/9644). Nothing is built but this project.

pip's own output goes to <environment>/install.log; shown is how far it is, and its end if it fails.
Example: python3 .ci/install.py .venv requirements.lock
"""
# ruff: noqa: T201

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOWNLOAD, DISK = 2.7, 6.5  # GB, on Linux with the CUDA build of torch, the only one of its index
MINUTES = "2 to 10"
NEEDED = ("--no-deps", "--require-hashes", "--only-binary", ":all:")
LOCKED = ".locked"  # in an environment: the names that our locks have brought
TAIL = 12  # lines of pip that are shown when it fails
UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9}
LINE_EVERY = 30.0  # seconds, where lines can't be written over


class Failed(Exception):
    """What can't be installed, for the user."""


def main(environment: Path, lock: Path) -> None:
    """Everything, in the order of need.

    Args:
        environment: its folder; one that is there is brought up to date.
        lock: what it is to have, beside what it has.
    """
    python = environment / "bin" / "python"
    started = time.monotonic()
    fresh = not works(python)
    if fresh:
        refuse_without_room(environment)
        print(
            f"Installing into {environment}, once: about {DOWNLOAD} GB to download, {DISK} GB on "
            f"the disk, {MINUTES} minutes."
        )
        make(environment)
    else:
        print(f"Bringing {environment} up to {lock.name}.")
    log = environment / "install.log"
    log.write_bytes(b"")
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    packages(pip, lock, log)
    project = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    done(run([*pip, "install", *project], log), log)
    settle(pip, lock, log, environment / LOCKED)
    seconds = round(time.monotonic() - started)
    print(f"Installed in {seconds // 60}:{seconds % 60:02}.")


def works(python: Path) -> bool:
    """Whether an environment's Python starts, has pip, and is new enough."""
    code = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
    try:
        result = subprocess.run([python, "-c", code], capture_output=True, check=False)
    except OSError:  # not there, or a link to a Python that is gone
        return False
    return result.returncode == 0


def refuse_without_room(environment: Path) -> None:
    """Raise Failed where the disk can't take the environment."""
    parent = next(path for path in environment.absolute().parents if path.is_dir())
    free = shutil.disk_usage(parent).free / 1e9
    if free < DISK:
        raise Failed(
            f"{parent} has {free:.1f} GB free, but the environment takes {DISK} GB: make room, or "
            "put it elsewhere with make VENV=DIR"
        )


def make(environment: Path) -> None:
    """An environment with nothing in it but pip."""
    command = [sys.executable, "-m", "venv", "--clear", str(environment)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        said = (result.stdout + result.stderr).strip()
        if "ensurepip" in said:
            raise Failed(
                f"{sys.executable} comes without venv: install it (Debian, Ubuntu: apt install "
                "python3-venv), or name another Python by make PYTHON=python3.12"
            )
        raise Failed(f"{' '.join(command)}: {said.splitlines()[-1] if said else 'no reason given'}")


def names(lock: Path) -> list[str]:
    """The names of the packages that a lock pins, as the index spells them."""
    return re.findall(r"^([\w.-]+)==", lock.read_text(encoding="utf-8"), re.M)


def packages(pip: list[str], lock: Path, log: Path) -> None:
    """Install what a lock pins, exactly, and say how far it is."""
    command = [*pip, "install", *NEEDED, "--progress-bar", "off", "--requirement", str(lock)]
    done(run(command, log, len(names(lock))), log)


def run(command: list[str], log: Path, count: int = 0) -> int:
    """Run pip with its output in `log`; with the `count` of its packages, show how far it is."""
    start, started = log.stat().st_size, time.monotonic()
    with log.open("ab") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    shown, last = "", started
    try:
        while child.poll() is None:
            time.sleep(0.5)
            now = time.monotonic()
            if count and now - last >= (1 if sys.stdout.isatty() else LINE_EVERY):
                last = now
                with log.open("rb") as text:
                    text.seek(start)
                    far = how_far(text.read().decode(errors="replace"), count)
                shown = show(far, round(now - started), shown)
    except KeyboardInterrupt:
        child.terminate()
        child.wait()
        raise
    if shown and sys.stdout.isatty():
        print()
    return child.returncode


def how_far(log: str, count: int) -> str:
    """What pip is at, by what it has said so far."""
    if "\nInstalling collected packages" in log:
        return "all is here, unpacking"
    here = len(re.findall(r"^(?:Collecting|Processing|Requirement already satisfied)", log, re.M))
    sizes = re.findall(r"^ +(?:Downloading|Using cached) .*\(([\d.]+) ([kMG]B)\)", log, re.M)
    gigabytes = sum(float(size) * UNITS[unit] for size, unit in sizes) / 1e9
    return f"{min(here, count)} of {count} packages, {gigabytes:.1f} GB"


def show(far: str, seconds: int, before: str) -> str:
    """Write a line, over the one `before` on a terminal."""
    line = f"  {far}, {seconds // 60}:{seconds % 60:02}"
    if sys.stdout.isatty():
        print(f"\r{line:<{len(before)}}", end="", flush=True)
    else:
        print(line, flush=True)
    return line


def settle(pip: list[str], lock: Path, log: Path, kept: Path) -> None:
    """See that all that is installed fits together, without what an older lock has left.

    What no lock of ours has brought is named and left alone.

    Args:
        pip: of the environment.
        lock: what was just installed.
        log: of pip's output.
        kept: file of the names that our locks have brought so far; where there is none, all are.

    Raises:
        Failed: packages of the lock don't.
    """
    known = {canonical(name) for name in (*names(lock), "gan-style")}
    earlier = set(kept.read_text(encoding="utf-8").split()) if kept.exists() else None
    while complaints := check(pip):
        wrong = {line.split()[0] for line in complaints}
        if broken := [line for line in complaints if line.split()[0] in known]:
            raise Failed(f"what {lock.name} pins doesn't fit together: {'; '.join(broken)}")
        strange = sorted(wrong if earlier is None else wrong & earlier)
        if not strange:
            print(f"Note: not of this project, and doesn't fit it: {'; '.join(complaints)}")
            break
        print(f"Taking out what no longer fits, of an earlier lock: {', '.join(strange)}.")
        done(run([*pip, "uninstall", "--yes", *strange], log), log)
    kept.write_text("\n".join(sorted(known | (earlier or set()))) + "\n", encoding="utf-8")


def check(pip: list[str]) -> list[str]:
    """What `pip check` has against the environment: lines that begin with a canonical name."""
    result = subprocess.run([*pip, "check"], capture_output=True, text=True, check=False)
    lines = re.findall(r"^(\S+) (\S+ (?:requires|has requirement) .*)$", result.stdout, re.M)
    if result.returncode and not lines:
        raise Failed(f"pip check: {(result.stdout + result.stderr).strip()}")
    return [f"{canonical(name)} {rest}" for name, rest in lines]


def canonical(name: str) -> str:
    """A package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def done(code: int, log: Path) -> None:
    """Raise Failed with the end of pip's output unless it was successful."""
    if code:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        said = [line for line in lines if line.strip() and not line.startswith("WARNING: Location")]
        tail = "\n".join(f"  {line[:300]}" for line in said[-TAIL:])
        raise Failed(f"pip failed, its last lines:\n{tail}\nall of it: {log}")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except (Failed, OSError) as error:
        print(f"install: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\ninstall: interrupted; the same command goes on from there", file=sys.stderr)
        sys.exit(130)
