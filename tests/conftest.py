"""What every test starts from: no network, its own working folder, a fresh accelerate."""

import os

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # bit for bit is a promise for CPUs
os.environ.setdefault("OMP_NUM_THREADS", "1")

import signal
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # train.py and data_tools lie beside the package

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in the background of a shell
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The smallest CycleGAN that trains: 24 pixels are what a 70-pixel patch discriminator needs.
TINY = {
    "size": 24,
    "generator": "resnet_6",
    "width_generator": 4,
    "width_discriminator": 4,
    "workers": 1,
    "threads": 1,  # tiny kernels on busy cores: two threads would wait for each other
    "pool_size": 3,
    "kid_every": 0,  # Inception would be fetched
}

# The smallest Gatys: two layers of a network without weights, two iterations.
GATYS = {
    "method": "gatys",
    "vgg": "random",
    "content_layer": "relu2_1",
    "style_layers": "relu1_1",
    "style_layer_weights": "1",
    "first_scale": 32,
    "iterations": 2,
    "iterations_finer": 1,
}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Whatever a test writes to a relative path lands in its own folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _fresh_accelerate():
    """Accelerate keeps its state in class attributes; the next test must not inherit it."""
    yield
    forget_accelerate()


def forget_accelerate():
    state = sys.modules.get("accelerate.state")
    if state:
        state.AcceleratorState._reset_state(reset_partial_state=True)
        state.GradientState._reset_state()


@pytest.fixture
def toy(tmp_path):
    """A toy domain: 6 + 6 training and 3 + 3 test images of 32 pixels."""
    from data_tools import synth

    return synth.make(tmp_path / "toy", size=32, train=6, test=3)


@pytest.fixture
def train_alone(monkeypatch, capsys):
    """`train.py` in this process: flags in, what it printed out; SystemExit where it refuses.

    Without KID unless asked for, as its features would be fetched; in fp32 on every machine.
    """
    from gan_style import command
    from gan_style.training import launch

    def run(**options):
        options = {"kid_every": 0, "precision": "fp32"} | options
        flags = [f"--{key}={value}" for key, value in options.items()]
        monkeypatch.setattr(sys, "argv", ["train.py", *flags])
        command.run("train.py", launch.main)
        return capsys.readouterr().out

    return run


@pytest.fixture
def train(train_alone):
    """The same with the options of TINY."""
    return lambda **options: train_alone(**(TINY | options))


@pytest.fixture
def signal_in_step(monkeypatch):
    """Have this process get a SIGTERM while a method's module computes the losses of a step."""

    def plan(module, number):
        losses, steps = module.Method.losses, iter(range(1, 99))

        def interrupted(self, batch):
            if next(steps) == number:
                os.kill(os.getpid(), signal.SIGTERM)
            yield from losses(self, batch)

        monkeypatch.setattr(module.Method, "losses", interrupted)

    return plan


@pytest.fixture
def gan_style(monkeypatch, capsys):
    """`python -m gan_style` in this process: a command and flags in, what it printed out."""
    from gan_style import __main__, command

    def run(name, **options):
        flags = [f"--{key}={value}" for key, value in options.items()]
        monkeypatch.setattr(sys, "argv", ["gan_style", name, *flags])
        command.run("gan_style", __main__.main)
        return capsys.readouterr().out

    return run


@pytest.fixture
def refusal(capsys):
    """Run something that must be refused: its one line on stderr, after exit code 2."""

    def run(function, *args, **options):
        with pytest.raises(SystemExit) as error:
            function(*args, **options)
        assert error.value.code == 2
        text = capsys.readouterr().err
        lines = [line for line in text.replace("\r", "\n").splitlines() if line.strip()]
        assert "Traceback" not in text
        assert len(lines) == 1, lines
        return lines[0]

    return run


@pytest.fixture(scope="session")
def museum(tmp_path_factory) -> Path:
    """Paintings of the Metropolitan Museum, from the package index."""
    from data_tools.download import download

    return download("oldmaster2modern", tmp_path_factory.mktemp("data"))
