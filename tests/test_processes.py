"""Real child processes: several at once, and one that is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import orders
import pytest
import torch
from conftest import ROOT, TINY
from safetensors.torch import load_file
from two_processes import CASES, TRAINED

from data_tools import synth
from gan_style import checkpoint

WORKER = Path(__file__).with_name("two_processes.py")
ORDERS_WORKER = Path(__file__).with_name("orders.py")
ENVIRONMENT = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
# Who plays in a step: g the generators, d the discriminators.
TURNS = {"cyclegan": "gd", "2020-gp": "dg", "2017-wgan": "dddg", "2017-classic": "dgg"}


def launch(processes, script, *arguments, **environment):
    """Run a script by torchrun; a gloo process may abort after its work, so results are files."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    command += ["--master_port", "0", "--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0"]
    return subprocess.run(
        [*command, str(script), *map(str, arguments)],
        env=ENVIRONMENT | environment, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """A task of the worker on a toy domain, once for all cases: its folder and its stderr."""
    toy = synth.make(tmp_path_factory.mktemp("data") / "toy", size=32, train=6, test=4)

    @cache
    def run(task, processes):
        out = tmp_path_factory.mktemp(f"{task}_{processes}")
        return out, launch(processes, WORKER, task, toy, out).stderr

    return run


@pytest.mark.distributed
@pytest.mark.parametrize("together", [2, 4])
@pytest.mark.parametrize("case", CASES)
def test_two_processes_and_gathered_batches_make_the_steps_of_one_batch(launched, case, together):
    ones, said = launched("descend", 1)
    assert (ones / f"{case}_{together}_0.safetensors").exists(), said
    one = load_file(ones / f"{case}_{together}_0.safetensors")
    twos, said = launched("descend", 2)
    for rank in range(2):
        assert (twos / f"{case}_{together}_{rank}.safetensors").exists(), said
        two = load_file(twos / f"{case}_{together}_{rank}.safetensors")
        assert one.keys() == two.keys()
        for key in (key for key in one if not key.startswith("exchanged")):
            torch.testing.assert_close(one[key], two[key], rtol=1e-9, atol=1e-12, msg=key)
    for net in ("gen_ab", "gen_ba", "disc_a", "disc_b"):
        keys = [key for key in one if key.startswith(net)]
        assert max((one[key] - one[f"before.{key}"]).abs().max() for key in keys) > 1e-4, net


@pytest.mark.distributed
@pytest.mark.parametrize("together", [2, 4])
@pytest.mark.parametrize("case", CASES)
def test_processes_exchange_the_gradients_of_a_turn_once(launched, case, together):
    out, said = launched("descend", 2)
    assert (out / f"{case}_{together}_0.safetensors").exists(), said
    two = load_file(out / f"{case}_{together}_0.safetensors")
    steps = 2 * TURNS[case]
    assert bytes(two["turns"].tolist()).decode() == steps
    assert bytes(two["exchanged"].tolist()).decode() == steps


@pytest.mark.distributed
@pytest.mark.parametrize("case", TRAINED)
def test_two_processes_keep_equal_weights_and_own_random_states(launched, case):
    out, said = launched("train", 2)
    assert "Warning" not in said, said
    ranks = [load_file(out / f"{case}_{rank}.safetensors") for rank in range(2)]
    assert not torch.equal(ranks[0].pop("random"), ranks[1].pop("random"))
    for key in ranks[0]:
        assert torch.equal(ranks[0][key], ranks[1][key]), key


@pytest.mark.distributed
def test_two_processes_have_own_pools(launched):
    out, said = launched("train", 2)
    (folder,) = (out / "cyclegan" / "checkpoints").glob("0*")
    pools = [
        checkpoint.load_state(folder / f"process_{rank}.safetensors")["extra"] for rank in range(2)
    ]
    images = [pool["pool_a._extra_state"]["images"][0] for pool in pools]
    assert not torch.equal(*images), said


@pytest.mark.distributed
@pytest.mark.parametrize("case", TRAINED)
def test_kid_is_computed_by_one_process_for_all(launched, case):
    out, said = launched("train", 2)
    summary = json.loads((out / case / "progress.json").read_text())
    assert summary["processes"] == 2
    images = summary["images"]
    assert [each["last_images"] for each in summary["kid"].values()] == [images, images], said
    (path,) = out.glob(f"{case}/checkpoints/*/state.safetensors")
    scores = checkpoint.load_state(path)["scores"]
    for direction, net in (("a2b", "gen_ab"), ("b2a", "gen_ba")):
        best = load_file(out / case / f"{net}.best.safetensors")
        assert all(torch.equal(best[key], scores["weights"][direction][key]) for key in best)


@pytest.mark.distributed
def test_train_py_runs_with_two_processes_and_resumes(toy, tmp_path):
    flags = [f"--{key}={value}" for key, value in TINY.items()]
    flags += [f"--domain={toy}", f"--run_dir={tmp_path / 'run'}", "--precision=fp32"]
    first = launch(2, ROOT / "train.py", *flags, "--images=8")
    assert "2 processes on cpu (1 thread each), fp32, 2 images an optimizer step" in first.stdout
    assert first.stdout.count("finished after 8 images") == 1
    folder = tmp_path / "run" / "checkpoints" / "000000008"
    states = [checkpoint.load_state(path)["cpu"] for path in sorted(folder.glob("process_*"))]
    assert not torch.equal(*states)  # each process draws its own pools
    second = launch(2, ROOT / "train.py", *flags, "--images=12", "--resume=auto")
    assert "going on after 8 images" in second.stdout, second.stderr
    assert "finished after 12 images" in second.stdout
    refused = launch(1, ROOT / "train.py", *flags, "--images=16", "--resume=auto")
    assert "processes was 2, is 1" in refused.stderr


@pytest.mark.distributed
def test_two_processes_gather_batches_in_bf16(toy, tmp_path):
    flags = [f"--{key}={value}" for key, value in dualgan("2020-gp").items()]
    flags += [f"--domain={toy}", f"--run_dir={tmp_path / 'run'}", "--images=8"]
    flags += ["--gradient_accumulation_steps=2", "--log_every=1", "--sample_every=4"]
    result = launch(2, ROOT / "train.py", *flags, ACCELERATE_MIXED_PRECISION="bf16")
    assert "2 processes on cpu (1 thread each), bf16, 4 images an optimizer step" in result.stdout
    assert "finished after 8 images" in result.stdout, result.stderr  # a NaN would have stopped it
    assert "Warning" not in result.stderr, result.stderr
    for path in (tmp_path / "run").glob("*.safetensors"):
        assert {value.dtype for value in load_file(path).values()} == {torch.float32}
    for critic in ("disc_a", "disc_b"):  # biases that were 0 at first
        assert load_file(tmp_path / "run" / f"{critic}.safetensors")["h.0.bias"].any()


def dualgan(preset):
    """The options of a small run."""
    small = {
        "workers": 1,
        "threads": 1,
        "kid_every": 0,
        "width_generator": 2,
        "width_discriminator": 2,
    }
    return small | CASES[preset]


KILLED = {  # options, images in all, images after which it is killed
    "cyclegan": (TINY, 60, (15, 30, 45)),
    "2020-gp": (dualgan("2020-gp"), 20, (8,)),
    "2017-wgan": (dualgan("2017-wgan"), 45, (15,)),
    "2017-classic": (dualgan("2017-classic"), 20, (8,)),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", KILLED)
def test_a_killed_run_ends_in_the_weights_of_the_undisturbed_one(toy, tmp_path, case):
    options, images, kills = KILLED[case]
    flags = [f"--{key}={value}" for key, value in options.items()]
    flags += [f"--domain={toy}", f"--images={images}", "--log_every=1", "--checkpoint_minutes=0"]
    command = [sys.executable, str(ROOT / "train.py"), *flags]
    subprocess.run([*command, "--run_dir=whole"], env=ENVIRONMENT, check=True, capture_output=True)

    for seen in kills:
        resume = ["--resume=auto"] if Path("killed").exists() else []
        child = subprocess.Popen(
            [*command, "--run_dir=killed", *resume],
            env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for_checkpoint(tmp_path / "killed", seen)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL  # it was still training
    subprocess.run(
        [*command, "--run_dir=killed", "--resume=auto"],
        env=ENVIRONMENT, check=True, capture_output=True,
    )  # fmt: skip

    files = sorted(Path("whole").glob("*.safetensors"))
    assert len(files) == 6
    for path in files:
        whole, killed = load_file(path), load_file(Path("killed") / path.name)
        assert all(torch.equal(whole[key], killed[key]) for key in whole), path
    assert not list(Path("killed/checkpoints").glob(".partial*"))


def wait_for_checkpoint(run, images):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        saved = checkpoint.checkpoints(run)
        if saved and int(saved[-1].name) >= images:
            return
        time.sleep(0.02)
    raise AssertionError(f"no checkpoint of {images} images in {run}")


@pytest.fixture(scope="module")
def ordered(tmp_path_factory):
    """What every process ends with, of a toy in every order of forward passes and turns."""

    @cache
    def run(processes):
        out = tmp_path_factory.mktemp(f"orders_{processes}")
        said = launch(processes, ORDERS_WORKER, out).stderr
        assert (out / f"{processes - 1}.safetensors").exists(), said
        return [load_file(out / f"{rank}.safetensors") for rank in range(processes)]

    return run


@pytest.mark.distributed
@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("gathered", orders.GATHERED)
@pytest.mark.parametrize("order", orders.ORDERS)
def test_no_order_of_forward_passes_and_turns_lets_processes_part(
    ordered, order, gathered, processes
):
    if order == "spare":  # one process alone has what its layer is about: it is a mean of its own
        (first, *others), one = ordered(processes), None
    else:
        (first, *others), (one,) = ordered(processes), ordered(1)
    keys = [key for key in first if key.startswith(f"{order}.{gathered}.")]
    assert len(keys) >= 10
    for key in keys:
        assert all(torch.equal(each[key], first[key]) for each in others), key
        if one:
            torch.testing.assert_close(first[key], one[key], rtol=1e-12, atol=1e-14, msg=key)
