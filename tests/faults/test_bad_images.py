"""Bad images: every command names each, and reads it or refuses it; nothing crashes or hangs."""

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT, TINY
from PIL import Image

from faults import bad_images, repetitions
from gan_style.errors import printable
from gan_style.io.files import SHOWN

pytestmark = pytest.mark.slow

MEMORY = 6e9  # bytes a command may take: 24 for each of the 179 million pixels of the largest
PATIENCE = 300  # seconds until a command hangs
LIBC = ctypes.CDLL(None)
FILES = repetitions(short=2000, whole=20000)  # that are mutated
STILL = 60  # seconds that one of them may take


@dataclass
class Ended:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def said(self):
        """The lines on stderr, without those of progress bars."""
        lines = re.split(r"[\r\n]+", self.err)
        return [line for line in lines if line.strip() and not re.search(r"\d/\d+ \[", line)]


def command(words, folder):
    """Run it in a process of its own, with the memory and the time that it may take."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "ACCELERATE_USE_CPU": "true",
    }
    printed = [folder / "printed.out", folder / "printed.err"]
    with printed[0].open("wb") as out, printed[1].open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, *map(str, words)],
            cwd=folder,
            env=environment,
            stdout=out,
            stderr=err,
            preexec_fn=as_no_root,
        )
        pid, deadline = 0, time.monotonic() + PATIENCE
        while not pid:
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            if time.monotonic() > deadline:
                process.kill()
                raise AssertionError(f"{words} hangs: {printed[1].read_text()[-2000:]}")
            time.sleep(0.05)
    process.returncode = os.waitstatus_to_exitcode(status)
    ended = Ended(process.returncode, *(path.read_text(encoding="utf-8") for path in printed))
    assert used.ru_maxrss * 1024 < MEMORY, f"{words} took {used.ru_maxrss / 1e6:.1f} GB"
    assert "Traceback" not in ended.err, ended.err[-3000:]
    assert "Warning" not in ended.err, ended.err[-3000:]
    assert (ended.out + re.sub(r"[\r\n]", "", ended.err)).replace("\n", "").isprintable()
    return ended


def as_no_root():
    """In the child: root, too, may read only what permissions let it."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        LIBC.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; nothing for others than root


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A domain whose A has the corpus and good images, and a run trained on good ones."""
    from data_tools import synth

    folder = tmp_path_factory.mktemp("bad")
    toy = synth.make(folder / "good", size=32, train=3, test=2)
    corpus = bad_images.make(folder / "bad" / "trainA")
    for number, path in enumerate(sorted((toy / "trainA").iterdir())):
        shutil.copy(path, folder / "bad" / "trainA" / f"good {number}.png")
    for part in ("trainB", "testB"):
        shutil.copytree(toy / part, folder / "bad" / part)
    ended = command(["-m", "train", *options(domain=toy, run_dir="run")], folder)
    assert ended.code == 0, ended.err
    return folder, corpus


def options(**others):
    all_options = TINY | {"images": 1, "precision": "fp32"} | others
    return [f"--{key}={value}" for key, value in all_options.items()]


def lines_of(bad, text):
    """How often a file is named with a reason in what a command printed, or what it left of it."""
    refused = text.partition("smaller than the crop")[0]
    name = re.escape(printable(Path("bad/trainA", bad.name)))
    return len(re.findall(f"{name}: (?!only the first of its frames)", refused))


def assert_the_refused_are_named(corpus, text, tally, folder):
    """In the file that has them all, where a message has only the first of many."""
    (file,) = re.findall(r"(?:all \d+ are in|more of it:) (\S+?\.txt)", text)
    first, text = text, (folder / file).read_text(encoding="utf-8", errors="surrogateescape")
    assert len(first) < 10_000
    assert sum(lines_of(bad, first) for bad in corpus) == SHOWN
    wrong = [bad for bad in corpus if lines_of(bad, text) != (bad.outcome == "refused")]
    assert not wrong, (wrong, text)
    for bad in corpus:
        tally("image", bad.kind, bad.outcome)


def test_check_names_what_is_refused_and_reads_the_rest(place, tally):
    folder, corpus = place
    ended = command(["-m", "data_tools.check", "bad", "--crop=24"], folder)
    assert (ended.code, ended.said) == (1, [])
    assert_the_refused_are_named(corpus, ended.out, tally, folder)
    assert f"  {Path('bad/trainA/1x30000.png')}: 1x30000\n" in ended.out


def test_a_training_stops_before_it_starts_and_names_all_of_them(place, tally):
    folder, corpus = place
    ended = command(["-m", "train", *options(domain="bad", run_dir="stopped")], folder)
    assert ended.code == 2
    assert len(ended.said) == 1, ended.said
    assert_the_refused_are_named(corpus, ended.err, tally, folder)
    assert not (folder / "stopped").exists()


def test_a_training_leaves_them_out_when_asked_to_and_names_all_of_them(place, tally):
    folder, corpus = place
    flags = options(domain="bad", run_dir="skipped", skip_bad_images=True)
    ended = command(["-m", "train", *flags], folder)
    assert (ended.code, ended.said) == (0, [])
    assert_the_refused_are_named(corpus, ended.out, tally, folder)
    read = sum(bad.outcome == "handled" for bad in corpus) + 3
    assert f" on bad: {read} A and 3 B to train" in ended.out


def test_translate_leaves_them_out_and_writes_all_others(place, tally):
    folder, corpus = place
    # Scaled down, for the sake of the largest: what a network needs for them is told otherwise.
    flags = ["--run=run", "--content=bad/trainA", "--out=out", "--side=64"]
    ended = command(["-m", "gan_style", "translate", *flags], folder)
    assert ended.code == 2
    assert len(ended.said) == 1, ended.said
    assert_the_refused_are_named(corpus, ended.err, tally, folder)
    out = folder / "out"
    written = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    handled = {str(Path(bad.name).with_suffix(".png")): bad for bad in corpus if bad.size}
    good = {f"good {number}.png" for number in range(3)}
    assert written == {*handled, *good, "times.csv", ".made_by.csv", "left_out.txt"}
    for name, bad in handled.items():
        scale = min(1, 64 / max(bad.size))
        with Image.open(out / name) as file:
            file.load()
            assert file.size == tuple(max(1, round(side * scale)) for side in bad.size), name


def test_the_corpus_is_the_same_every_time(tmp_path):
    first, second = (bad_images.make(tmp_path / name) for name in "ab")
    assert first == second
    for bad in first:
        paths = [tmp_path / name / bad.name for name in "ab"]
        if paths[0].is_file() and paths[0].stat().st_size < 2**20:
            assert paths[0].read_bytes() == paths[1].read_bytes(), bad


def test_a_name_whose_output_would_be_too_long_is_refused(gan_style, refusal, place, tmp_path):
    folder = tmp_path / "content"
    folder.mkdir()
    for suffix in (".png", ".tif"):  # so that both keep their suffix before .png
        bad_images.picture().save(folder / ("n" * 251 + suffix))
    line = refusal(gan_style, "translate", run=place[0] / "run", content=folder, out="out")
    assert "n" * 251 in line
    assert not [path for path in Path("out").rglob("*") if path.is_file()]


def test_mutated_files_are_images_or_refused(tmp_path, tally):
    seed, kept = "1", tmp_path / "current"
    kept.mkdir()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    words = ["-X", "faulthandler", "-m", "faults.fuzz_images", seed, str(FILES), str(kept)]
    with (tmp_path / "out").open("w+") as out, (tmp_path / "err").open("w+") as err:
        process = subprocess.Popen(
            [sys.executable, *words], env=environment, stdout=out, stderr=err
        )
        current, since = None, time.monotonic()
        while process.poll() is None:
            time.sleep(0.2)
            newest = sorted(path.name for path in kept.iterdir())
            if newest != current:
                current, since = newest, time.monotonic()
            elif time.monotonic() - since > STILL:
                process.send_signal(signal.SIGABRT)  # faulthandler says where it is
                process.wait()
        said = (tmp_path / "err").read_text()
    left = [f"{path} ({path.read_bytes()[:64].hex()})" for path in kept.iterdir()]
    assert process.returncode == 0, f"seed {seed}, exit code {process.returncode}: {left}\n{said}"
    result = json.loads((tmp_path / "out").read_text())
    assert sum(count for _, _, count in result["outcomes"]) == FILES
    for format, outcome, count in result["outcomes"]:
        tally("image", f"mutated {format}", outcome, count)
    print(f"seed {seed}: {result}")
