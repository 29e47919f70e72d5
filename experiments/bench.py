"""This project against plain transcriptions of the published algorithms, measured in one run.

python experiments/bench.py --out results/bench
python experiments/bench.py --quick --only cyclegan,loader

Writes bench.json with every single time, table.md and, of CycleGAN's training, cyclegan.png.
Plain is experiments/plain.py: each network by itself, float32, torch's settings as they come. Each
variant has a process of its own, for its peak memory; they take turns, plain, ours, plain, ours, so
that what else the machine does meets all of them, and seconds are medians after warm-ups.

--out      folder to write to; results/bench when not given
--only     some of: cyclegan (training steps of the reference's recipe), dualgan (training steps of
           each preset), gatys (iterations), translate (Johnson, AdaIN, CycleGAN), loader
--sizes    sides of the images, joined by commas; 4000x3000 is a width and a height
--batches  images at once in CycleGAN's steps, joined by commas
--repeats  rounds; 5 on a CPU, but at least 3 after --limit seconds, and 10 on a GPU
--limit    seconds of a row after which 3 rounds are enough; 40 when not given
--device   cpu, cuda, cuda:1; cuda where there is one when not given
--threads  of a CPU; torch's choice when not given
--quick    a few minutes on two cores, for a first look
--full     everything also on a CPU: 1024 pixels, 12 megapixels, batches of 8 at 256
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import bench_report
import torch
from bench_work import Case, ask, preset

from gan_style import command
from gan_style.config import at_least, did_you_mean
from gan_style.errors import ConfigError, UserError
from gan_style.io.files import atomic_file, make_writable, write_json
from gan_style.methods import dualgan
from gan_style.progress import Bar, say

WORKS = ("cyclegan", "dualgan", "gatys", "translate", "loader")
MEGAPIXELS = (3000, 4000)  # height and width of a photograph of 12
LEAST = 3  # rounds, however long they take
Shape = tuple[int, int]


def bench(
    out: str = "results/bench",
    only: str = "",
    sizes: str = "",
    batches: str = "",
    repeats: int = 0,
    limit: float = 40.0,
    device: str = "",
    threads: int = 0,
    quick: bool = False,
    full: bool = False,
) -> None:
    """Measure, write and print."""
    at_least(0, repeats=repeats, limit=limit, threads=threads)
    if quick and full:
        raise ConfigError("--quick and --full contradict each other: give one of them")
    works = _works(only)
    place = _device(device)
    everything = full or place.type == "cuda"
    cases = plan(works, _shapes(sizes), _numbers(batches), place.type, quick, everything)
    make_writable(Path(out))
    rounds = repeats or (10 if place.type == "cuda" else 5)
    started = datetime.now(UTC)
    found: dict[str, Any] = {
        "started": started.isoformat(timespec="seconds"),
        "machine": _machine(str(place), threads, quick),
        "settings": {"repeats": rounds, "limit": limit},
        "rows": [],
    }
    with Bar(cases, unit=" rows") as bar:
        for case in bar:
            bar.set_description(f"{case.label} {case.size}, batch {case.batch}")
            row = measure(case, str(place), threads, rounds, limit, found["machine"]["auto"])
            found["rows"].append(row)
            found["seconds"] = (datetime.now(UTC) - started).total_seconds()
            write_json(Path(out) / "bench.json", found)  # what is there if it's interrupted
            say(bench_report.line(row))
    text = bench_report.page(found)
    with atomic_file(Path(out) / "table.md") as partial:
        partial.write_text(text, encoding="utf-8")
    if picture := bench_report.png(found):
        with atomic_file(Path(out) / "cyclegan.png") as partial:
            partial.write_bytes(picture)
    print(text)
    print(f"written to {out}")


# --- What is measured ---


def plan(
    works: Sequence[str],
    shapes: Sequence[Shape],
    batches: Sequence[int],
    kind: str,
    quick: bool,
    everything: bool,
) -> list[Case]:
    """The rows; `shapes` and `batches` stand for the usual ones where there are any.

    A CPU has small ones unless it shall do everything: about a quarter of an hour on two cores.
    """
    made = {
        "cyclegan": lambda: _cyclegan(shapes, batches, quick, everything),
        "dualgan": lambda: _dualgan(shapes, kind, quick, everything),
        "gatys": lambda: _gatys(shapes, quick, everything),
        "translate": lambda: _translate(shapes, quick, everything),
        "loader": lambda: [_case("loader", "", side) for side in shapes or _squares(256)],
    }
    return [case for work in works for case in made[work]()]


def _cyclegan(
    shapes: Sequence[Shape], batches: Sequence[int], quick: bool, everything: bool
) -> list[Case]:
    usual: dict[int, tuple[int, ...]] = {64: (1, 4, 8), 128: (1,), 256: (1,)}
    if quick:
        usual = {64: (1, 4), 128: (1,)}
    elif everything:
        usual = dict.fromkeys(usual, (1, 4, 8))
    pairs = [(shape, usual.get(shape[0], (1,))) for shape in shapes or _squares(*usual)]
    return [_case("cyclegan", "", shape, n) for shape, of in pairs for n in batches or of]


def _dualgan(shapes: Sequence[Shape], kind: str, quick: bool, everything: bool) -> list[Case]:
    cases = []
    for name in presets():
        own = dualgan.PRESETS[name].get("size", 256)
        side = own if everything else 64 if quick else min(own, 128)
        cases += [_case("dualgan", name, shape) for shape in shapes or _squares(side)]
    return cases


def presets() -> list[str]:
    """Those of DualGAN that differ in what a step computes: `author` is 2020-gp but for domains."""
    known: dict[dualgan.Config, str] = {}
    for name in dualgan.PRESETS:
        known.setdefault(preset(name), name)
    return list(known.values())


def _gatys(shapes: Sequence[Shape], quick: bool, everything: bool) -> list[Case]:
    sides = (256, 512, 1024) if everything else (256,) if quick else (256, 512)
    return [
        _case("gatys", name, shape)
        for shape in shapes or _squares(*sides)
        for name in ("lbfgs", "adam")
    ]


def _translate(shapes: Sequence[Shape], quick: bool, everything: bool) -> list[Case]:
    usual = [*_squares(256, 512, 1024), MEGAPIXELS] if everything else _squares(256, 512)
    return [
        _case("translate", name, shape)
        for shape in shapes or (_squares(256) if quick else usual)
        for name in ("johnson", "adain", "cyclegan")
    ]


def _squares(*sides: int) -> list[Shape]:
    return [(side, side) for side in sides]


def _case(work: str, name: str, shape: Shape, batch: int = 1) -> Case:
    return Case(work=work, name=name, height=shape[0], width=shape[1], batch=batch)


# --- Processes ---


class Process:
    """One variant of a case; it does the work when told to."""

    def __init__(self, asked: str) -> None:
        script = Path(__file__).with_name("bench_work.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), asked],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for us; it ends with its input
        )

    def answer(self) -> dict[str, Any]:
        """Its next line; `missing` says why it has none.

        Raises:
            UserError: it failed; what it has to say about it is on stderr.
        """
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        if (code := self.process.wait()) < 0:  # such as 9, by which Linux makes room in memory
            return {"missing": f"ended by signal {-code}"}
        raise UserError(f"experiments/bench_work.py failed with code {code}: see above")

    def once(self) -> dict[str, Any]:
        """Do the work once."""
        assert self.process.stdin
        with suppress(BrokenPipeError):  # its answer says why
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        return self.answer()

    def end(self) -> dict[str, Any]:
        """No more work."""
        assert self.process.stdin
        self.process.stdin.close()
        return self.answer()

    def leave(self) -> None:
        """Be done with it, whatever it does; it may clean up if it is waiting."""
        assert self.process.stdin
        assert self.process.stdout
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def measure(
    case: Case, device: str, threads: int, rounds: int, limit: float, auto: str
) -> dict[str, Any]:
    """One row: seconds of every round, medians, ratios to plain, and peaks.

    `times` has every single run of every round, `seconds` the median of each round.
    """
    warm_up = 3  # on CPUs too: memory is handed out page by page until it has been used
    row: dict[str, Any] = {**asdict(case), "operations": 0.0, "variants": {}}
    processes: dict[str, Process] = {}
    try:
        for name, wanted in case.variants.items():
            if wanted == "auto" and auto == "fp32":
                continue  # the same again
            processes[name] = Process(ask(case, name, device, threads, warm_up))
        for name, process in processes.items():
            said = process.once()
            row["operations"] += said.pop("operations", 0.0)
            row["variants"][name] = {"seconds": [], "times": [], **said}
        _take_turns(row["variants"], processes, rounds, limit)
        for name, process in processes.items():
            if "missing" not in row["variants"][name]:
                row["variants"][name] |= process.end()
    finally:
        for process in processes.values():
            process.leave()
    return bench_report.summarised(row)


def _take_turns(
    variants: dict[str, dict[str, Any]], processes: dict[str, Process], rounds: int, limit: float
) -> None:
    started = time.monotonic()
    for number in range(rounds):
        if number >= LEAST and time.monotonic() - started > limit:
            return
        for name, process in processes.items():
            if "missing" in variants[name]:
                continue
            said = process.once()
            if "missing" in said:
                variants[name] |= said
            else:
                variants[name]["times"].append(said["times"])
                variants[name]["seconds"].append(median(said["times"]))


def _machine(device: str, threads: int, quick: bool) -> dict[str, Any]:
    asked = {"device": device, "threads": threads, "ceiling": "quick" if quick else "usual"}
    process = Process(json.dumps(asked))
    try:
        return process.answer()
    finally:
        process.leave()


# --- Options ---


def _works(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")] if text else list(WORKS)
    for word in words:
        if word not in WORKS:
            raise ConfigError(f"--only is {text!r}: {did_you_mean(word, WORKS)}")
    return words


def _shapes(text: str) -> list[Shape]:
    shapes = []
    for word in text.split(",") if text else []:
        found = re.fullmatch(r"(\d+)(?:x(\d+))?", word.strip())
        width, height = (int(side or found[1]) for side in found.groups()) if found else (0, 0)
        if min(width, height) < 32 or width % 8 or height % 8:
            raise ConfigError(
                f"--sizes is {text!r}, but must be multiples of 8 from 32 on, with commas"
            )
        shapes.append((height, width))
    return shapes


def _numbers(text: str) -> list[int]:
    words = [word.strip() for word in text.split(",")] if text else []
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise ConfigError(f"--batches is {text!r}, but must be numbers from 1 on, with commas")
    return [int(word) for word in words]


def _device(wanted: str) -> torch.device:
    name = wanted or ("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ConfigError(f"--device is {wanted!r}, but must be cpu, cuda or cuda:1")
    try:
        return torch.zeros(0, device=name).device if name != "cpu" else torch.device("cpu")
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"--device is {wanted!r}, which doesn't work here: {reason}") from error


if __name__ == "__main__":
    command.only("bench.py", bench, lambda: __doc__ or "")
