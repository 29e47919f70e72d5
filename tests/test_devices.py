"""A GPU that this torch can't use is one line and code 2, never a silent run on the CPU."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from torch.utils import _device

from gan_style import devices
from gan_style.errors import ConfigError

# As torch 2.15 words them: c10/cuda/CUDAFunctions.cpp, torch/cuda/__init__.py, and CUDA itself.
TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU "
    "driver by downloading and installing a new version from the URL: ..."
)
NO_KERNEL = "CUDA error: no kernel image is available for execution on the device\nCUDA kernel ..."
NOT_COMPILED = "Torch not compiled with CUDA enabled"
NONE_SHOWN = "No CUDA GPUs are available"
UNKNOWN = "CUDA unknown error - this may be due to an incorrectly set up environment"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with an NVIDIA GPU of which torch says something; None is that it works."""

    def make(said, *, available=False, cuda="13.2", shown=None, gpu=True):
        nodes = tmp_path / "dev"
        nodes.mkdir()
        (nodes / "nvidiactl").touch()
        if gpu:
            (nodes / "nvidia0").touch()
        (tmp_path / "version").write_text("470.57.02\n", encoding="utf-8")
        monkeypatch.setattr(devices, "NODES", nodes)
        monkeypatch.setattr(devices, "DRIVER", tmp_path / "version")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        if shown is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: int(available))
        real = torch.ones

        def ones(*size, device):
            if str(device).startswith("cuda") and said:
                raise (AssertionError if said == NOT_COMPILED else RuntimeError)(said)
            return real(*size)

        # torch remembers which functions make tensors the first time that it is asked.
        _device._device_constructors()
        monkeypatch.setattr(torch, "ones", ones)

    return make


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (
            {"said": TOO_OLD},
            "its driver 470.57.02 (CUDA 11.4) is too old: update it to 580 or newe",
        ),
        ({"said": TOO_OLD, "cuda": "12.8"}, "update it to 525 or newer"),
        ({"said": TOO_OLD}, "--torch-backend auto --reinstall torch torchvision"),
        ({"said": NOT_COMPILED, "cuda": None}, "made for no CUDA, can't use the GPU"),
        ({"said": NONE_SHOWN, "shown": "7"}, "(CUDA_VISIBLE_DEVICES is '7')"),
        ({"said": UNKNOWN}, "CUDA unknown error"),
    ],
)
def test_a_gpu_that_is_there_is_not_passed_over(machine, how, said):
    machine(**how)
    for wanted, on_purpose in (("", "--device cpu"), ("cuda", "--device cpu")):
        with pytest.raises(ConfigError, match=re.escape(said)) as error:
            devices.find(wanted)
        assert str(error.value).endswith(f"or compute on the CPU: {on_purpose}")
    with pytest.raises(ConfigError, match=re.escape(said)) as error:
        devices.refuse_unusable_gpu()
    assert str(error.value).endswith("ACCELERATE_USE_CPU=true before the command")
    assert "\n" not in str(error.value)
    assert devices.find("cpu").type == "cpu"


@pytest.mark.parametrize(
    ("capability", "known", "backend"),
    [
        ((6, 1), ["sm_75", "sm_80", "sm_90"], "cu126"),  # older than all that torch has code for
        ((12, 0), ["sm_75", "sm_80", "sm_90"], "auto"),  # newer
    ],
)
def test_a_gpu_that_torch_has_no_code_for_is_named(
    machine, monkeypatch, capability, known, backend
):
    machine(NO_KERNEL, available=True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA TITAN")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: known)
    line = f"NVIDIA TITAN is sm_{capability[0]}{capability[1]}, and it has code for sm_75 sm_80 sm"
    for refused in (devices.refuse_unusable_gpu, devices.find):
        with pytest.raises(ConfigError, match=line) as error:
            refused()
        assert f"--torch-backend {backend} " in str(error.value)


@pytest.mark.parametrize(
    "how",
    [
        {"said": NONE_SHOWN, "shown": ""},  # the CPU is asked for
        {"said": NONE_SHOWN, "shown": "-1"},
        {"said": TOO_OLD, "gpu": False},  # an old driver's files on a machine without a GPU
        {"said": NOT_COMPILED, "cuda": None, "gpu": False},
    ],
)
def test_where_there_is_none_or_none_is_wanted_it_is_the_cpu(machine, how):
    machine(**how)
    assert devices.find().type == "cpu"
    devices.refuse_unusable_gpu()


def test_a_gpu_of_somebody_else_is_none(machine, monkeypatch):
    machine(NONE_SHOWN)

    def refused(*_):
        raise PermissionError(1, "Operation not permitted")  # as a scheduler's control group does

    monkeypatch.setattr(os, "open", refused)
    assert devices.find().type == "cpu"


def test_a_number_of_no_gpu_is_not_the_drivers_fault(machine):
    machine("CUDA error: invalid device ordinal", available=True)
    with pytest.raises(ConfigError, match="--device is 'cuda:7', which doesn't work here: CUDA er"):
        devices.find("cuda:7")


def test_a_gpu_that_works_is_left_in_peace(machine):
    machine(None, available=True)
    devices.refuse_unusable_gpu()


def test_training_stops_before_anything_is_made(machine, toy, train, refusal, monkeypatch):
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    machine(TOO_OLD)
    assert "is too old: update it" in refusal(train, domain=toy, images=2)
    assert not Path("results").exists()
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")  # as it advises
    assert "finished after 2 images" in train(domain=toy, images=2)


def test_commands_stop_too(machine, gan_style, refusal):
    machine(TOO_OLD)
    line = refusal(gan_style, "cost", method="gatys", sizes="")
    assert line.startswith("gan_style: torch ")
    assert line.endswith("--device cpu")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("gcc"), reason="no compiler for a driver's stand-in")
@pytest.mark.skipif(not torch.version.cuda, reason="this torch has no CUDA")
def test_torchs_own_words_about_an_old_driver_are_understood(tmp_path):
    """The true torch, with a driver of which nothing works but its version: 11.4."""
    source = tmp_path / "driver.c"
    source.write_text("int cuDriverGetVersion(int *v) { *v = 11040; return 0; }\n")
    build = ["gcc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"]
    subprocess.run([*build, "-o", tmp_path / "libcuda.so.1", source], check=True)
    (tmp_path / "nvidia0").touch()
    code = (
        "import pathlib, sys; from gan_style import command, devices\n"
        "devices.NODES = pathlib.Path(sys.argv[1])\n"
        "command.run('train.py', devices.refuse_unusable_gpu)\n"
    )
    environment = {key: os.environ[key] for key in os.environ if key != "CUDA_VISIBLE_DEVICES"}
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        env=environment | {"LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "(CUDA 11.4) is too old" in result.stderr
    assert len(result.stderr.splitlines()) == 1
