"""Small trainings in processes of their own, that faults are made to happen to.

A server that has imported everything forks them, so that one costs no seconds of imports; each is
`train.py` with flags as on a command line. All of them are the same run, of BUDGET images: what is
left of it after a fault has to end in the weights of `whole`.
"""

import errno
import io
import itertools
import multiprocessing
import os
import re
import resource
import signal
import socket
import sys
import threading
import time
from errno import ENOSPC
from functools import partial
from pathlib import Path
from unittest.mock import patch

import accelerate  # noqa: F401  # here and below: what the server imports once for all
import safetensors.torch
import torch
import torch._dynamo  # by optimizers, in their first step
import torch.utils.tensorboard
from conftest import ROOT, TINY
from safetensors.torch import load_file
from tensorboard.summary.writer.record_writer import RecordWriter
from tqdm import tqdm

from gan_style import checkpoint, command, progress
from gan_style.data import stream as data
from gan_style.evaluation.metrics import _features
from gan_style.methods import cyclegan
from gan_style.training import launch, state

BUDGET = 24  # images, which are steps
OPTIONS = TINY | {
    "precision": "fp32",
    "images": BUDGET,
    "log_every": 4,
    "sample_every": 8,
    "samples": 2,
}
OFTEN = {"checkpoint_minutes": 0}  # after every step
PATIENCE = 120  # seconds until something that has to happen has not
ENVIRONMENT = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload([__name__])
# The server imports from here alone, and goes on without what it can't import.
PATHS = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])


def flags(**options):
    """What is typed after `train.py`."""
    return [f"--{key}={value}" for key, value in (OPTIONS | options).items()]


class Training:
    """A training in a child process.

    Args:
        folder: where it runs; what it says is kept there, in files of its own.
        fault: called in the child before the training; patches what is going to fail.
        environment: variables of the child.
        options: of train.py, over OPTIONS.
    """

    def __init__(self, folder, fault=None, environment=None, **options):
        number = len(list(folder.glob("*.steps")))
        self.files = [folder / f"{number:03}.{name}" for name in ("out", "err", "steps")]
        for path in self.files:
            path.touch()
        words = ["train.py", *flags(**options)]
        self.process = SERVER.Process(
            target=_train, args=(folder, words, self.files, fault, environment or {})
        )
        with patch.dict(os.environ, PYTHONPATH=PATHS):
            self.process.start()

    @property
    def steps(self):
        """Steps that this process has made."""
        return self.files[2].stat().st_size

    @property
    def began_after(self):
        """Images that were trained when it began; 0 where it said nothing of them."""
        said = re.search(r"^going on after (\d+) images$", self.out, re.MULTILINE)
        return int(said[1]) if said else 0

    @property
    def out(self):
        return self.files[0].read_text(encoding="utf-8")

    @property
    def err(self):
        return self.files[1].read_text(encoding="utf-8")

    @property
    def said(self):
        """The lines on stderr, without those of the progress bar."""
        lines = re.split(r"[\r\n]+", self.err)
        return [line for line in lines if line.strip() and not re.search(r"\d+/\d+ \[", line)]

    def until(self, condition):
        """Wait until `condition()`, while the training is alive."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.is_alive(), f"it ended before: {self.out}\n{self.err}"
            assert time.monotonic() < deadline, f"it didn't happen: {self.out}\n{self.err}"
            time.sleep(0.002)

    def until_halted(self):
        """Wait until `halt_in_step` has its step."""
        self.until(lambda: "halted\n" in self.err)

    def until_step(self, number):
        """Wait until it has made so many steps, all but what comes after the losses."""
        self.until(lambda: self.steps >= number)

    def send(self, number):
        os.kill(self.process.pid, number)

    def end(self):
        """Its exit code, once it has ended; minus the signal that killed it."""
        self.process.join(PATIENCE)
        if self.process.exitcode is None:
            self.kill()
            raise AssertionError(f"it never ended: {self.out}\n{self.err}")
        return self.process.exitcode

    def kill(self):
        """SIGKILL; says whether it was alive until then."""
        self.process.kill()
        self.process.join()
        return self.process.exitcode == -signal.SIGKILL

    def refused(self):
        """The one line of a training that is refused with code 2."""
        assert self.end() == 2, (self.out, self.err)
        return self.one_line()

    def one_line(self):
        assert "Traceback" not in self.err, self.err
        assert len(self.said) == 1, self.err
        return self.said[0]


def _train(folder, words, files, fault, environment):
    """In the child: train.py."""
    for number, path in enumerate(files[:2], start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    os.chdir(folder)
    os.environ.update(ENVIRONMENT | environment)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever started the tests may ignore them
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tqdm.set_lock(threading.RLock())  # its own is a semaphore, which a kill would leave behind
    if fault:
        fault()
    _count_steps(files[2])
    sys.argv = words
    try:
        command.run("train.py", launch.main)
    finally:
        progress.let_go()  # as at the exit of a process that wasn't forked


def _count_steps(path):
    """A byte a step in a file, as a process that is killed can't tell any more."""
    count = os.open(path, os.O_WRONLY | os.O_APPEND)
    losses = cyclegan.Method.losses

    def counted(self, batch):
        yield from losses(self, batch)
        os.write(count, b".")

    cyclegan.Method.losses = counted


# --- faults: called in the child ---


def at_once(*faults):
    """Several of them."""
    for fault in faults:
        fault()


def slow_disk(seconds):
    """A file of weights or state takes `seconds`, and half of them only half of it is there."""
    sync = os.fsync

    def slow_save(tensors, path, metadata=None):
        content = safetensors.torch.save(tensors, metadata)
        with Path(path).open("wb", buffering=0) as file:
            for half in (content[: len(content) // 2], content[len(content) // 2 :]):
                file.write(half)
                time.sleep(seconds / 2)

    def slow_sync(handle):
        time.sleep(seconds / 4)
        sync(handle)

    checkpoint.save_file, os.fsync = slow_save, slow_sync


def at_each_step(act):
    """Have `act(number)` called when the losses of the first, second, ... step begin."""
    losses, numbers = cyclegan.Method.losses, itertools.count(1)

    def watched(self, batch):
        act(next(numbers))
        yield from losses(self, batch)

    cyclegan.Method.losses = watched


def full_disk(name, first, last=BUDGET):
    """In some steps, the first being 1, no more than 64 bytes of some files fit.

    The kernel sees to it, so what is raised is what a full disk makes of every writer.
    """
    save_file, write_json, begun = checkpoint.save_file, state.write_json, []
    at_each_step(begun.append)

    def limited(write, path):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        if name in Path(path).name and first <= len(begun) <= last:
            resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
        try:
            write()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    def save(tensors, path, metadata=None):
        limited(partial(save_file, tensors, path, metadata), path)

    checkpoint.save_file = save
    state.write_json = lambda path, value: limited(partial(write_json, path, value), path)


def halt_in_step(number):
    """A step that says so and then takes longer than anybody waits."""

    def halt(step):
        if step == number:
            print("halted", file=sys.stderr, flush=True)
            time.sleep(10 * PATIENCE)

    at_each_step(halt)


def stop_in_step(number):
    """A SIGTERM while the losses of a step are computed."""
    at_each_step(lambda step: step == number and signal.raise_signal(signal.SIGTERM))


def nan_in_step(number):
    """A loss that is no number."""
    losses, numbers = cyclegan.Method.losses, itertools.count(1)

    def broken(self, batch):
        factor = float("nan") if next(numbers) == number else 1.0
        for player, terms in losses(self, batch):
            yield player, {name: value * factor for name, value in terms.items()}

    cyclegan.Method.losses = broken


def die_at_change(number):
    """SIGKILL just before the `number`th change of the run folder, or an end after one step."""
    changes = itertools.count(1)

    def watch(event, arguments):
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        changed = writes or event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir")
        if changed and str(arguments[0]).startswith("run") and next(changes) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    stop_in_step(1)


def failing(owner, name, number, error):
    """The `number`th call of a method fails."""
    method, numbers = getattr(owner, name), itertools.count(1)

    def call(self, *given, **options):
        if next(numbers) == number:
            raise error
        return method(self, *given, **options)

    setattr(owner, name, call)


def fail_to_read(position):
    """An item of the stream can't be read; the threads that read are ahead of the steps."""
    item = data.DomainPair.item

    def read(self, asked):
        if asked == position:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return item(self, asked)

    data.DomainPair.item = read


def fail_in_step(number, turn):
    """Memory runs out in a turn of a step, after a random number was drawn and a pool changed."""
    losses, numbers = cyclegan.Method.losses, itertools.count(1)

    def broken(self, batch):
        fails = next(numbers) == number
        for played, (player, terms) in enumerate(losses(self, batch)):
            if fails and played == turn:
                for pool in (self.pool_a, self.pool_b):
                    pool.query(torch.rand(2, 3, 24, 24))
                raise MemoryError
            yield player, terms

    cyclegan.Method.losses = broken


def into(path, *numbers):
    """stdout, stderr or both go to a pipe or a device."""
    target = os.open(path, os.O_WRONLY)
    for number in numbers:
        os.dup2(target, number)
    _open_outputs()


def _open_outputs():
    """As at the start of Python: it asks once whether they are files."""
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, errors="backslashreplace", closefd=False)  # noqa: SIM115


def on_terminal(name, hangup=signal.SIG_DFL):
    """All of it on a terminal, of whose session this process is the leader."""
    os.setsid()
    terminal = os.open(name, os.O_RDWR)  # the first of a session becomes its own
    for number in range(3):
        os.dup2(terminal, number)
    _open_outputs()
    signal.signal(signal.SIGHUP, hangup)


def without(name, number):
    """A stdout or stderr that was closed before the start, as pythonw's are."""
    os.close(number)
    setattr(sys, name, None)


class Cell(io.TextIOBase):
    """A notebook's stdout: no file, and nothing but `write` and `flush`."""

    def write(self, text):
        return len(text)


def in_notebook():
    sys.stdout, sys.stderr = Cell(), io.StringIO()


def as_on_windows():
    """What the standard library lacks there is taken away; a folder can't be opened there."""
    sys.modules["resource"] = None
    del signal.SIGHUP
    system = os.open

    def files_alone(path, *given, **options):
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return system(path, *given, **options)

    os.open = files_alone


def kid_of_colours(seconds=0.0):
    """KID of mean colours; it says when it has begun, and takes its time."""

    class Colours(torch.nn.Module):
        def forward(self, images):
            Path("computing").touch()
            time.sleep(seconds)
            return images.mean(dim=(2, 3))

    _features.EXTRACTORS["inception"] = (Colours, ())


def kid_without_locale():
    """KID told to a terminal of LC_ALL=C."""
    kid_of_colours()
    sys.stdout.reconfigure(encoding="ascii", errors="surrogateescape")


def broken_log(first):
    """The disk of TensorBoard's files is full from a step on."""
    begun = []
    at_each_step(begun.append)

    def failing(method):
        def call(self, *content):
            if len(begun) >= first:
                raise OSError(ENOSPC, os.strerror(ENOSPC))
            return method(self, *content)

        return call

    for name in ("write", "flush"):
        setattr(RecordWriter, name, failing(getattr(RecordWriter, name)))


# --- what is left ---


def weights(run):
    """The exported networks of a run."""
    return {path.name: load_file(path) for path in sorted(run.glob("*.safetensors"))}


def assert_same(run, whole, damaged=()):
    """The weights of two runs are equal bit for bit, and nothing else is left in their folders.

    Args:
        run: what a fault happened to.
        whole: what none happened to.
        damaged: images of the checkpoints of `run` that have been set aside.
    """
    assert {path.name for path in run.iterdir()} == {path.name for path in whole.iterdir()}
    aside = {path.name for path in (run / "checkpoints").iterdir() if not path.name.isdigit()}
    assert aside == {f"damaged-{images:09}" for images in damaged}
    ours, theirs = weights(run), weights(whole)
    assert ours.keys() == theirs.keys()
    for name, values in theirs.items():
        assert ours[name].keys() == values.keys(), name
        different = [key for key in values if not torch.equal(ours[name][key], values[key])]
        assert not different, f"{run / name}: {different}"


def partial_files(run):
    """What is being written, or was; folders may come and go meanwhile."""
    inside = (Path(place, name) for place, dirs, files in os.walk(run) for name in dirs + files)
    return [path for path in inside if path.name.startswith(".partial-")]


def saved(run):
    """Images that the newest checkpoint is of; 0 without one."""
    return max((int(path.name) for path in checkpoint.checkpoints(run)), default=0)


def two_processes(folder, faults=(None, None), **options):
    """Two processes of one training, as torchrun would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    return [
        Training(folder, fault, shared | {"RANK": str(n), "LOCAL_RANK": str(n)}, **options)
        for n, fault in enumerate(faults)
    ]
