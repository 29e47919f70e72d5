"""Real child processes: several at once, and one that is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT, TINY
from safetensors.torch import load_file

from gan_style import checkpoint

WORKER = Path(__file__).with_name("two_processes.py")
ENVIRONMENT = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}


def launch(processes, script, *arguments):
    """Run a script by torchrun; a gloo process may abort after its work, so results are files."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    command += ["--master_port", "0", "--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0"]
    return subprocess.run(
        [*command, str(script), *map(str, arguments)],
        env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip


@pytest.mark.distributed
def test_two_processes_of_batch_one_have_the_gradients_of_one_of_batch_two(toy, tmp_path):
    for processes, batch_size, out in ((2, 1, "two"), (1, 2, "one")):
        (tmp_path / out).mkdir()
        result = launch(processes, WORKER, "gradients", toy, tmp_path / out, batch_size)
        assert (tmp_path / out / "gradients_0.safetensors").exists(), result.stderr
    one = load_file(tmp_path / "one" / "gradients_0.safetensors")
    for rank in range(2):
        two = load_file(tmp_path / "two" / f"gradients_{rank}.safetensors")
        assert one.keys() == two.keys()
        for key in one:
            torch.testing.assert_close(one[key], two[key], rtol=1e-9, atol=1e-12, msg=key)
    assert max(gradient.abs().max() for gradient in one.values()) > 1e-3


@pytest.mark.distributed
def test_two_processes_keep_equal_weights_and_own_random_states(toy, tmp_path):
    result = launch(2, WORKER, "train", toy, tmp_path, 1)
    ranks = [load_file(tmp_path / f"train_{rank}.safetensors") for rank in range(2)]
    assert "Warning" not in result.stderr, result.stderr
    assert not torch.equal(ranks[0].pop("random"), ranks[1].pop("random"))
    for key in ranks[0]:
        assert torch.equal(ranks[0][key], ranks[1][key]), key
    folder = tmp_path / "checkpoints" / "000000008"
    pools = [
        checkpoint.load_state(folder / f"process_{rank}.safetensors")["extra"] for rank in range(2)
    ]
    images = [pool["pool_a._extra_state"]["images"][0] for pool in pools]
    assert not torch.equal(*images)


@pytest.mark.distributed
def test_train_py_runs_with_two_processes_and_resumes(toy, tmp_path):
    flags = [f"--{key}={value}" for key, value in TINY.items()]
    flags += [f"--domain={toy}", f"--run_dir={tmp_path / 'run'}"]
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


@pytest.mark.slow
def test_a_killed_run_ends_in_the_weights_of_the_undisturbed_one(toy, tmp_path):
    flags = [f"--{key}={value}" for key, value in TINY.items()]
    flags += [f"--domain={toy}", "--images=60", "--log_every=1", "--checkpoint_minutes=0"]
    command = [sys.executable, str(ROOT / "train.py"), *flags]
    subprocess.run([*command, "--run_dir=whole"], env=ENVIRONMENT, check=True, capture_output=True)

    kills = 0
    while kills < 3:
        resume = ["--resume=auto"] if kills else []
        child = subprocess.Popen(
            [*command, "--run_dir=killed", *resume],
            env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for_checkpoint(tmp_path / "killed", 15 * (kills + 1))
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL  # it was still training
        kills += 1
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
