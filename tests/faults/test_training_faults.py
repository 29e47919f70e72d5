"""Trainings that are killed, stopped, starved and lied to: what is left goes on as if nothing was.

Bit for bit: every run here is the same run, so each must end in the weights of the undisturbed one.
"""

import fcntl
import itertools
import os
import pty
import random
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from conftest import ROOT
from PIL import Image

from data_tools import synth
from faults import harness, repetitions
from faults.harness import ENVIRONMENT, OFTEN, Training, flags
from gan_style import checkpoint
from gan_style.curves import Curves
from gan_style.data import stream as data
from gan_style.errors import DataError
from gan_style.methods import cyclegan
from gan_style.training import kid
from gan_style.training.state import State

pytestmark = pytest.mark.slow

STOPPED = 20  # images after which `stopped` was


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return synth.make(tmp_path_factory.mktemp("data") / "toy", size=32, train=6, test=4)


@pytest.fixture
def training(toy, tmp_path):
    """A training in the test's folder, which ends with the test."""
    children = []

    def start(fault=None, run="run", **options):
        children.append(Training(tmp_path, fault, domain=toy, run_dir=run, **options))
        return children[-1]

    yield start
    for child in children:
        child.kill()


@pytest.fixture
def two(toy, tmp_path):
    """Two processes of one training, which end with the test."""
    children = []

    def start(faults=(None, None), **options):
        started = harness.two_processes(tmp_path, faults, domain=toy, run_dir="run", **options)
        children.extend(started)
        return started

    yield start
    for child in children:
        child.kill()


@pytest.fixture(scope="module")
def whole(toy, tmp_path_factory):
    """The undisturbed run."""
    folder = tmp_path_factory.mktemp("whole")
    child = Training(folder, domain=toy, run_dir="run")
    assert child.end() == 0, child.err
    assert not child.said
    return folder / "run"


@pytest.fixture(scope="module")
def stopped(toy, tmp_path_factory):
    """The same run after STOPPED images."""
    folder = tmp_path_factory.mktemp("stopped")
    fault = partial(harness.stop_in_step, STOPPED)
    child = Training(folder, fault, domain=toy, run_dir="run", **OFTEN)
    assert child.end() == 130, child.err
    saved = checkpoint.checkpoints(folder / "run")
    assert [int(path.name) for path in saved] == [STOPPED - 1, STOPPED]
    return folder / "run"


@pytest.fixture
def run(stopped, tmp_path):
    """A copy of `stopped` to damage."""
    return shutil.copytree(stopped, tmp_path / "run")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", disk]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def ends_as(whole, run, child):
    """See a training to its end, and that this is the end of the undisturbed one."""
    assert child.end() == 0, (child.out, child.err)
    harness.assert_same(run, whole)


# --- killed ---


def kill_while_training(child, run, dice):
    child.until_step(dice.randint(1, 3))
    time.sleep(dice.uniform(0, 0.15))


def kill_while_writing(child, run, dice):
    child.until_step(dice.randint(1, 2))
    time.sleep(dice.uniform(0, 1))
    child.until(lambda: harness.partial_files(run))


def kill_at_the_start(child, run, dice):
    time.sleep(dice.uniform(0, 1))


WAYS = (
    kill_while_writing, kill_while_training, kill_at_the_start, kill_while_writing,
    kill_while_training,
)  # fmt: skip


@pytest.mark.parametrize("seed", range(repetitions(2, 10)))
def test_a_run_that_is_killed_again_and_again_ends_as_if_it_was_not(
    training, tmp_path, whole, tally, seed
):
    dice, run, kills = random.Random(seed), tmp_path / "run", []
    for way in WAYS:
        before = harness.saved(run)
        slow = partial(harness.slow_disk, 0.1) if way is kill_while_writing else None
        child = training(slow, **go_on(run), **OFTEN)
        way(child, run, dice)
        assert child.kill(), (child.out, child.err)
        moment = "before the first step" if not child.steps else "between two writes"
        if harness.partial_files(run):
            moment = "while files are written"
        kills.append((moment, before + child.steps - harness.saved(run)))
    ends_as(whole, run, training(**go_on(run), **OFTEN))
    moments = [moment for moment, _ in kills]
    assert moments.count("while files are written") >= len(kills) // 3
    for moment, lost in kills:
        tally("training", f"SIGKILL {moment}", "recovered", steps_lost=lost)


def go_on(run):
    """How a run that was killed is gone on with: one without a config has not begun."""
    return {"resume": "auto"} if (run / "config.json").exists() else {}


@pytest.mark.parametrize("first", repetitions([5], [1, 2, 3, 4]))
def test_a_run_may_be_killed_before_any_change_of_its_folder(
    training, tmp_path, stopped, whole, tally, first
):
    run = tmp_path / "run"
    for number in itertools.count(first, repetitions(12, 4)):
        shutil.copytree(stopped, run)
        child = training(partial(harness.die_at_change, number), resume="auto", **OFTEN)
        if child.end() == 130:
            break
        assert child.process.exitcode == -signal.SIGKILL, child.err
        lost = STOPPED + child.steps - harness.saved(run)
        ends_as(whole, run, training(resume="auto", **OFTEN))
        shutil.rmtree(run)
        tally("training", "SIGKILL before a change of the folder", "recovered", steps_lost=lost)
    assert number > 20


def test_the_command_line_goes_on_after_a_kill_and_after_a_signal(toy, tmp_path, whole, tally):
    command = [sys.executable, ROOT / "train.py", *flags(domain=toy, run_dir="run", **OFTEN)]
    for number, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 130)):
        before = harness.saved(Path("run"))
        child = subprocess.Popen(
            [*command, *["--resume=auto"] * bool(before)],
            env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while harness.saved(Path("run")) < before + 5:
            assert child.poll() is None, child.stderr.read()
            time.sleep(0.002)
        child.send_signal(number)
        said = child.communicate(timeout=harness.PATIENCE)[1]
        assert child.returncode == code, said
    images = harness.saved(Path("run"))
    assert f"stopped by signal 15 after {images} images, everything is saved" in said
    subprocess.run([*command, "--resume=auto"], env=ENVIRONMENT, check=True, capture_output=True)
    harness.assert_same(Path("run"), whole)
    tally("training", "SIGKILL of the command line", "recovered")
    tally("training", "SIGTERM of the command line", "recovered")


# --- stopped ---


@pytest.mark.parametrize("attempt", range(repetitions(1, 3)))
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_loses_nothing(training, tmp_path, whole, tally, name, attempt):
    dice, run, number = random.Random(f"{name} {attempt}"), tmp_path / "run", signal.Signals[name]
    child = training()
    child.until_step(dice.randint(2, 16))
    time.sleep(dice.uniform(0, 0.15))
    child.send(number)
    assert child.end() == 130, (child.out, child.err)
    images = harness.saved(run)
    assert child.one_line() == (
        f"train.py: stopped by signal {int(number)} after {images} images, everything is saved; "
        "go on with: --run_dir run --resume auto"
    )
    assert child.steps == images
    child = training(resume="auto")
    ends_as(whole, run, child)
    assert child.began_after == images
    tally("training", name, "recovered", steps_lost=0)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_second_signal_ends_a_run_at_once(training, tmp_path, whole, tally, name):
    number = signal.Signals[name]
    child = training(partial(harness.halt_in_step, 4), **OFTEN)
    child.until_halted()
    while child.process.is_alive():
        child.send(number)
        child.process.join(0.3)
    assert child.end() == (130 if name == "SIGINT" else -number)
    lost = child.steps - harness.saved(tmp_path / "run")
    ends_as(whole, tmp_path / "run", training(resume="auto"))
    tally("training", f"{name} twice", "recovered", steps_lost=lost)


# --- nobody listens any more ---


@pytest.fixture(scope="module")
def whole_with_kid(toy, tmp_path_factory):
    """The undisturbed run with KID."""
    folder = tmp_path_factory.mktemp("kid")
    child = Training(folder, harness.kid_of_colours, domain=toy, run_dir="run", kid_every=2)
    assert child.end() == 0, child.err
    return folder / "run"


def with_kid(*faults):
    """Several faults in a run that has KID."""
    return partial(harness.at_once, *faults, harness.kid_of_colours)


class Terminal:
    """The user's side of a terminal of 24 lines of 100 characters."""

    def __init__(self):
        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        os.set_blocking(self.ours, False)
        self.name, self.seen = os.ttyname(self.theirs), b""

    def shows(self, word):
        """Whether a word has come."""
        with suppress(BlockingIOError):
            self.seen += os.read(self.ours, 1 << 16)
        return word in self.seen

    def close(self):
        os.close(self.theirs)
        os.close(self.ours)


@pytest.mark.parametrize("moment", ["a step", "KID"])
def test_a_terminal_that_is_closed_loses_nothing(
    training, tmp_path, whole, whole_with_kid, tally, moment
):
    run, terminal, kid = tmp_path / "run", Terminal(), {"kid_every": 2 * (moment == "KID")}
    slow = partial(harness.kid_of_colours, 0.1)
    faults = partial(harness.on_terminal, terminal.name), slow
    child = training(partial(harness.at_once, *faults), **kid)
    child.until(lambda: terminal.shows(b"0%"))
    child.until(Path("computing").exists if moment == "KID" else lambda: child.steps >= 3)
    terminal.close()
    assert child.end() == 130
    assert harness.saved(run) == child.steps < harness.BUDGET
    child = training(harness.kid_of_colours, resume="auto", **kid)
    ends_as(whole_with_kid if moment == "KID" else whole, run, child)
    tally("training", f"terminal closed during {moment}", "recovered", steps_lost=0)


def test_a_run_that_ignores_hangups_outlives_its_terminal(
    training, tmp_path, whole_with_kid, tally
):
    """As under nohup, where the output is left on the terminal."""
    terminal = Terminal()
    on_terminal = partial(harness.on_terminal, terminal.name, signal.SIG_IGN)
    child = training(with_kid(on_terminal), kid_every=2)
    child.until(lambda: terminal.shows(b"0%"))
    terminal.close()
    ends_as(whole_with_kid, tmp_path / "run", child)
    tally("training", "nohup, terminal closed", "went on")


def piped(name="pipe"):
    """A pipe for `harness.into`, and the end that reads it."""
    os.mkfifo(name)
    return os.open(name, os.O_RDONLY | os.O_NONBLOCK)


def test_ctrl_c_that_ends_the_reader_first_loses_nothing(training, tmp_path, whole, tally):
    """As of `train.py ... 2>&1 | tee log`: a terminal's Ctrl-C reaches both."""
    run, reader = tmp_path / "run", piped()
    child = training(partial(harness.into, "pipe", 1, 2))
    child.until_step(3)
    os.close(reader)
    child.send(signal.SIGINT)
    assert child.end() == 130
    assert harness.saved(run) == child.steps < harness.BUDGET
    ends_as(whole, run, training(resume="auto"))
    tally("training", "Ctrl-C under tee", "recovered", steps_lost=0)


def test_a_run_outlives_who_reads_its_output(training, tmp_path, whole_with_kid, tally):
    """As of `train.py ... 2>&1 | head -1`."""
    reader = piped()
    child = training(with_kid(partial(harness.into, "pipe", 1, 2)), kid_every=2)
    child.until_step(1)
    assert b"run folder: run" in os.read(reader, 1 << 16)
    os.close(reader)
    ends_as(whole_with_kid, tmp_path / "run", child)
    tally("training", "pipe without a reader", "went on")


OUTPUTS = {
    "stdout on a full disk": partial(harness.into, "/dev/full", 1),
    "stderr on a full disk": partial(harness.into, "/dev/full", 2),
    "no stdout": partial(harness.without, "stdout", 1),
    "no stderr": partial(harness.without, "stderr", 2),
    "a notebook's outputs": harness.in_notebook,
    "without what Windows lacks": harness.as_on_windows,
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_no_output_is_needed(training, tmp_path, whole_with_kid, tally, name):
    child = training(with_kid(OUTPUTS[name]), kid_every=2)
    ends_as(whole_with_kid, tmp_path / "run", child)
    tally("training", name, "went on")


@pytest.mark.parametrize("number", [1, 2])
def test_a_mistake_has_its_code_where_no_line_can_be_written(training, number):
    child = training(partial(harness.into, "/dev/full", number), size=-1)
    assert child.end() == 2
    assert number == 2 or "--size" in child.one_line()


# --- something fails ---

BUG = RuntimeError("a bug")
FAILURES = {  # what fails, and after how many images
    "a read": (partial(harness.fail_to_read, 10), 10),
    "a preview": (partial(harness.failing, cyclegan.Method, "preview", 2, BUG), 8),
    "a KID": (partial(harness.failing, kid.Scorer, "score", 2, MemoryError()), 24),
    "a curve": (partial(harness.failing, Curves, "scalars", 3, BUG), 12),
    "a checkpoint": (partial(harness.failing, State, "_shared_state", 1, MemoryError()), 24),
    "a step": (partial(harness.fail_in_step, 13, 0), 12),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_ends_a_run_leaves_its_last_whole_step(
    training, tmp_path, whole_with_kid, tally, name
):
    fault, images = FAILURES[name]
    child = training(with_kid(fault), kid_every=2)
    assert child.end() == 1, (child.out, child.err)
    assert child.said[-1] == (
        f"after {images} images everything is saved; go on with: --run_dir run --resume auto"
    )
    assert harness.saved(tmp_path / "run") == images
    child = training(harness.kid_of_colours, resume="auto", kid_every=2)
    ends_as(whole_with_kid, tmp_path / "run", child)
    tally("training", f"{name} fails", "recovered", steps_lost=0)


def test_a_step_that_an_optimizer_has_begun_is_never_saved(training, tmp_path, whole, tally):
    run = tmp_path / "run"
    child = training(partial(harness.fail_in_step, 13, 1), **OFTEN)
    assert child.end() == 1, (child.out, child.err)
    assert child.said[-1] == (
        "it failed in the middle of a step: the last checkpoint is run/checkpoints/000000012; "
        "go on with: --run_dir run --resume auto"
    )
    ends_as(whole, run, training(resume="auto"))
    tally("training", "the second player's turn fails", "recovered", steps_lost=0)


def test_an_image_that_memory_cannot_hold_ends_a_run_with_one_line(training, tmp_path, whole):
    error = DataError("a.png: takes up to 9.9 GB to read")  # of the machine, not of the file
    child = training(partial(harness.failing, data.ImageCache, "read", 40, error), cache_gb=0)
    assert child.end() == 2, (child.out, child.err)
    images = harness.saved(tmp_path / "run")
    assert 0 < images < harness.BUDGET
    assert child.one_line() == (
        f"train.py: a.png: takes up to 9.9 GB to read; after {images} images everything is saved; "
        "go on with: --run_dir run --resume auto"
    )
    ends_as(whole, tmp_path / "run", training(resume="auto", cache_gb=2))


# --- no room ---


def fill(disk):
    """Leave no room; the file that takes it."""
    filler = disk / "filler"
    said = subprocess.run(
        ["dd", "if=/dev/zero", f"of={filler}", "bs=4096"],
        env=ENVIRONMENT | {"LC_ALL": "C"}, capture_output=True, text=True, check=False,
    ).stderr  # fmt: skip
    assert "No space left" in said
    return filler


WRITTEN = ["process_0", "state", "gen_ab.safetensors", "disc_b", "gen_ba.ema", "progress.json"]


@pytest.mark.parametrize("name", WRITTEN[:: repetitions(2, 1)])
def test_a_full_disk_costs_no_checkpoint_of_before(training, tmp_path, whole, tally, name):
    run = tmp_path / "run"
    child = training(partial(harness.full_disk, name, 17), **OFTEN)
    assert child.end() == 2, (child.out, child.err)
    assert "Traceback" not in child.err
    assert "no checkpoint after 17 images: can't write" in child.err
    assert child.said[-1].startswith("train.py: can't write ")
    assert not harness.partial_files(run)
    for folder in checkpoint.checkpoints(run):
        assert not checkpoint.damage(folder)
    lost = child.steps - harness.saved(run)
    ends_as(whole, run, training(resume="auto"))
    tally("training", "full disk until the end", "recovered", steps_lost=lost)


def test_a_run_outlives_a_disk_that_is_full_for_a_while(training, tmp_path, whole, tally):
    child = training(partial(harness.full_disk, "", 9, 12), **OFTEN)
    ends_as(whole, tmp_path / "run", child)
    assert child.err.count("no checkpoint after") == 4
    tally("training", "full disk for a while", "went on")


def test_a_run_outlives_a_small_disk_that_somebody_fills(training, small_disk, whole, tally):
    run = small_disk / "run"
    child = training(run=run, **OFTEN)
    child.until_step(5)
    filler = fill(small_disk)
    child.until(lambda: "no checkpoint after" in child.err)
    filler.unlink()
    ends_as(whole, run, child)
    assert "Traceback" not in child.err
    tally("training", "full disk of 64 MB", "went on")


def test_a_run_outlives_a_full_disk_of_its_log(training, small_disk, whole, tally):
    Path("run").mkdir()
    Path("run/tensorboard").symlink_to(small_disk)
    fill(small_disk)
    child = training()
    ends_as(whole, Path("run"), child)
    (line,) = child.said
    assert "tensorboard can't be written" in line
    tally("training", "full disk of TensorBoard's files", "went on")


# --- damaged: "fell back" is to the checkpoint before, and ended in the weights of `whole` ---


def flipped(place):
    def flip(content):
        changed = bytearray(content)
        changed[place] ^= 1
        return bytes(changed)

    return flip


DAMAGE = {
    "truncated": lambda content: content[: len(content) // 2],
    "with a bit flipped in the header": flipped(40),
    "with a bit flipped in the tensors": flipped(-40),
    "empty": lambda content: b"",
    "of zeros": lambda content: bytes(len(content)),
    "deleted": None,
}


def damage(path, kind):
    if change := DAMAGE[kind]:
        path.write_bytes(change(path.read_bytes()))
    else:
        path.unlink()


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("name", ["state", "process_0"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    training, run, whole, tally, name, kind
):
    newest = checkpoint.checkpoints(run)[-1]
    damage(newest / f"{name}.safetensors", kind)
    child = training(resume="auto")
    assert child.end() == 0, (child.out, child.err)
    assert child.began_after == STOPPED - 1
    assert f"{newest.name}/{name}.safetensors can't be read" in passed_over(child)
    harness.assert_same(run, whole, damaged=[STOPPED])
    tally(
        "training",
        f"newest checkpoint: a file {kind}",
        "fell back",
        steps_lost=1,
    )


def passed_over(child):
    """The line in which a training says which checkpoint it passes over, and why."""
    (line,) = [line for line in child.out.splitlines() if "damaged" in line]
    return line


def test_an_emptied_checkpoint_is_passed_over_for_the_one_before(training, run, whole, tally):
    for path in checkpoint.checkpoints(run)[-1].iterdir():
        path.unlink()
    child = training(resume="auto")
    assert child.end() == 0, (child.out, child.err)
    assert "state.safetensors can't be read" in passed_over(child)
    harness.assert_same(run, whole, damaged=[STOPPED])
    tally(
        "training",
        "newest checkpoint: all files deleted",
        "fell back",
        steps_lost=1,
    )


def test_a_run_comes_by_the_place_of_a_damaged_checkpoint_again(training, run, whole, tally):
    damage(
        checkpoint.checkpoints(run)[-1] / "process_0.safetensors",
        "with a bit flipped in the tensors",
    )
    child = training(partial(harness.stop_in_step, 1), resume="auto", **OFTEN)
    assert child.end() == 130, (child.out, child.err)
    assert harness.saved(run) == STOPPED
    child = training(resume="auto")
    assert child.end() == 0, (child.out, child.err)
    assert child.began_after == STOPPED
    harness.assert_same(run, whole, damaged=[STOPPED])
    tally("training", "newest checkpoint: damaged and saved again", "recovered")


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_run_without_a_sound_checkpoint_is_refused(training, run, tally, kind):
    for folder in checkpoint.checkpoints(run):
        damage(folder / "state.safetensors", kind)
    before = contents(run)
    assert "run" in training(resume="auto").refused()
    assert contents(run) == before
    tally("training", f"all checkpoints: a file {kind}", "refused")


@pytest.mark.parametrize("kind", ["truncated", "empty", "deleted"])
def test_a_run_without_a_sound_config_is_refused(training, run, tally, kind):
    damage(run / "config.json", kind)
    before = contents(run)
    assert "config.json" in training(resume="auto").refused()
    assert contents(run) == before
    tally("training", f"config.json {kind}", "refused")


def contents(run):
    """Every file but the lock, which may come."""
    return {path: path.read_bytes() for path in run.rglob("[!.]*") if path.is_file()}


# --- two processes ---


@pytest.fixture(scope="module")
def whole_of_two(toy, tmp_path_factory):
    """The undisturbed run of two processes."""
    folder = tmp_path_factory.mktemp("two")
    for child in harness.two_processes(folder, domain=toy, run_dir="run"):
        assert child.end() == 0, (child.out, child.err)
    return folder / "run"


@pytest.mark.parametrize("rank", [1, 0][: repetitions(1, 2)])
def test_a_killed_process_ends_the_other_and_both_go_on(two, tmp_path, whole_of_two, tally, rank):
    run, children = tmp_path / "run", two(**OFTEN)
    children[rank].until_step(random.Random(rank).randint(3, 8))
    assert children[rank].kill()
    assert children[1 - rank].end() == 1
    assert "another process has ended; go on with" in children[1 - rank].one_line()
    lost = children[rank].steps - harness.saved(run) // 2
    for child in two(resume="auto"):
        assert child.end() == 0, (child.out, child.err)
    harness.assert_same(run, whole_of_two)
    tally("training", "SIGKILL of one of two processes", "recovered", steps_lost=lost)


def test_a_process_that_cannot_write_its_part_holds_nobody_up(two, tmp_path, whole_of_two, tally):
    for child in two((None, partial(harness.full_disk, "process_1", 5)), **OFTEN):
        assert child.end() == 2, (child.out, child.err)
        assert "Traceback" not in child.err
    assert harness.saved(tmp_path / "run") == 8
    for child in two(resume="auto"):
        assert child.end() == 0, (child.out, child.err)
    harness.assert_same(tmp_path / "run", whole_of_two)
    tally("training", "full disk of one of two processes", "recovered")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_fails_holds_nobody_up(two, tmp_path, whole_of_two, tally, rank):
    fault = partial(harness.fail_to_read, 10 + rank)
    children = two([fault if n == rank else None for n in range(2)], **OFTEN)
    assert [child.end() for child in children] == [1, 1], [child.err for child in children]
    assert "another process has ended; go on with" in children[1 - rank].one_line()
    said = children[rank].said[-1]
    assert said.startswith("several processes can't save where one of them fails: the last ")
    lost = children[rank].steps - harness.saved(tmp_path / "run") // 2
    for child in two(resume="auto"):
        assert child.end() == 0, (child.out, child.err)
    harness.assert_same(tmp_path / "run", whole_of_two)
    tally("training", "a read of one of two processes fails", "recovered", steps_lost=lost)


def test_a_damaged_part_of_a_process_is_noticed_by_both(two, tmp_path, whole_of_two, tally):
    faults = [partial(harness.stop_in_step, 5)] * 2
    for child in two(faults, **OFTEN):
        assert child.end() == 130, (child.out, child.err)
    newest = checkpoint.checkpoints(tmp_path / "run")[-1]
    damage(newest / "process_1.safetensors", "with a bit flipped in the tensors")
    children = two(resume="auto")
    for child in children:
        assert child.end() == 0, (child.out, child.err)
    assert children[0].began_after == 8
    harness.assert_same(tmp_path / "run", whole_of_two, damaged=[10])
    kind = "newest checkpoint of two processes: a bit flipped"
    tally("training", kind, "fell back", steps_lost=1)


@pytest.mark.skipif(repetitions(True, False), reason="slow to start: FAULTS=whole has it")
def test_torchrun_is_killed_in_part_and_stopped_and_goes_on(toy, whole_of_two, tally):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    command += ["--master_port", "0", "--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0"]
    command += [ROOT / "train.py", *flags(domain=toy, run_dir="run", **OFTEN)]

    def begin(*more):
        before = harness.saved(Path("run"))
        agent = subprocess.Popen(
            [*command, *more], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        while harness.saved(Path("run")) < before + 4:
            assert agent.poll() is None, agent.stderr.read()
            time.sleep(0.002)
        return agent

    agent = begin()
    processes = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    os.kill(int(processes[-1]), signal.SIGKILL)
    said = agent.communicate(timeout=harness.PATIENCE)[1]
    assert agent.returncode, said
    agent = begin("--resume=auto")
    agent.terminate()
    said = agent.communicate(timeout=harness.PATIENCE)[1]
    assert agent.returncode
    assert f"stopped by signal 15 after {harness.saved(Path('run'))} images" in said
    agent = begin("--resume=auto")
    said = agent.communicate(timeout=harness.PATIENCE)[1]
    assert agent.returncode == 0, said
    harness.assert_same(Path("run"), whole_of_two)
    tally("training", "SIGKILL of one of torchrun's processes", "recovered")
    tally("training", "SIGTERM of torchrun", "recovered", steps_lost=0)


# --- the run's own safety ---


def test_a_second_training_in_a_run_folder_is_refused(training, tmp_path, whole, tally):
    first = training(partial(harness.halt_in_step, 4), **OFTEN)
    first.until_halted()
    for options in ({"resume": "auto"}, {}):
        assert "run" in training(**options).refused()
    assert first.kill()
    ends_as(whole, tmp_path / "run", training(resume="auto"))
    tally("training", "second training in a run folder", "refused", 2)
    tally("training", "SIGKILL of the owner of a run folder", "recovered")


def test_two_trainings_that_begin_at_once_get_one_run_folder(training, tmp_path, whole, tally):
    children = [training(), training()]
    codes = sorted(child.end() for child in children)
    assert codes == [0, 2], [child.err for child in children]
    loser = max(children, key=lambda child: child.process.exitcode)
    loser.one_line()
    harness.assert_same(tmp_path / "run", whole)
    tally("training", "two trainings begin in a run folder at once", "refused")


def test_a_broken_log_ends_no_run(training, tmp_path, whole, tally):
    child = training(partial(harness.broken_log, 5))
    ends_as(whole, tmp_path / "run", child)
    (line,) = child.said
    assert "tensorboard can't be written" in line
    tally("training", "TensorBoard's writer fails", "went on")


def test_a_loss_that_is_no_number_keeps_checkpoint_and_batch(training, tmp_path, whole, tally):
    run, step = tmp_path / "run", 13
    child = training(partial(harness.nan_in_step, step), **OFTEN)
    assert child.end() == 1, (child.out, child.err)
    line = child.one_line()
    assert f"step {step} (image {step})" in line
    kept = Path("run/broken") / f"{step:09}"
    assert str(kept) in line
    pictures = sorted(kept.glob("*.png"))
    assert len(pictures) == 2
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.size == (24, 24)
    assert harness.saved(run) == step - 1
    child = training(resume="auto")
    assert child.end() == 0, (child.out, child.err)
    shutil.rmtree(kept.parent)
    harness.assert_same(run, whole)
    tally("training", "a loss becomes NaN", "recovered", steps_lost=1)


ENVIRONMENTS = {
    "no locale, umask 077": (
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TZ": "Asia/Kathmandu"},
        0o077,
    ),
    "another time zone, umask 000": ({"TZ": "America/St_Johns"}, 0o000),
}


@pytest.mark.parametrize("name", list(ENVIRONMENTS)[: repetitions(1, 2)])
def test_locale_time_zone_and_umask_do_not_matter(training, toy, tmp_path, tally, name):
    environment, umask = ENVIRONMENTS[name]
    shutil.copytree(toy, "Gemälde 1")
    for images, more in ((4, {}), (8, {"resume": "auto"})):
        options = flags(images=images, domain="Gemälde 1", run_dir="Läufe/é", **more)
        done(["train.py", *options], environment, umask)
        child = training(images=images, **more)
        assert child.end() == 0, child.err
    ours, theirs = harness.weights(Path("Läufe/é")), harness.weights(Path("run"))
    assert ours.keys() == theirs.keys()
    for file, values in theirs.items():
        assert all(ours[file][key].equal(values[key]) for key in values), file
    translate = ["-m", "gan_style", "translate", "--run=Läufe/é", "--direction=a2b"]
    done([*translate, "--content=Gemälde 1/testA"], environment, umask)
    assert len(list(Path("Läufe/é/translated/testA/a2b").glob("*.png"))) == 4
    tally("training", name, "same weights")


def test_kid_is_told_to_a_terminal_without_locale(training, tmp_path, tally):
    child = training(harness.kid_without_locale, kid_every=2)
    assert child.end() == 0, (child.out, child.err)
    assert len(list(Path("run").glob("*.best.safetensors"))) == 2
    assert child.out.count("KID after") == 2
    tally("training", "KID without locale", "went on")


def done(words, environment, umask):
    """Run a command of ours to its good end, in a terminal of its own."""
    words = [ROOT / word if word == "train.py" else word for word in words]
    result = subprocess.run(
        [sys.executable, *words], env=ENVIRONMENT | environment, umask=umask,
        capture_output=True, check=False, timeout=harness.PATIENCE,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr.decode("utf-8", "replace")
    assert b"Traceback" not in result.stderr
