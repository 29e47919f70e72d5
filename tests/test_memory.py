"""How much memory is free, and running out of it."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from gan_style import memory, methods
from gan_style.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with 8 GB to take, of which this process holds 1 GB; its two files of limits."""

    class Process:
        def memory_info(self):
            return self

        rss = 10**9

    class Memory:
        available = 8 * 10**9

    limits = (tmp_path / "memory.max", tmp_path / "limit_in_bytes")
    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    monkeypatch.setattr(psutil, "Process", Process)
    monkeypatch.setattr(memory, "LIMITS", limits)
    return limits


def test_without_a_container_the_machines_memory_counts(machine):
    assert memory.free(CPU) == 8e9


@pytest.mark.parametrize("version", [0, 1])
def test_a_container_gives_its_limit_less_what_is_taken(machine, version):
    machine[version].write_text("5000000000\n")
    assert memory.free(CPU) == 4e9  # 5 - 1


def test_a_limit_above_the_machine_changes_nothing(machine):
    machine[1].write_text("9223372036854771712\n")  # what version 1 says for none
    assert memory.free(CPU) == 8e9


def test_max_is_no_limit(machine):
    machine[0].write_text("max\n")
    assert memory.free(CPU) == 8e9
    machine[1].write_text("5000000000\n")  # and doesn't hide another one
    assert memory.free(CPU) == 4e9


def test_a_limit_that_is_used_up_leaves_nothing_rather_than_less(machine):
    machine[0].write_text("500000000\n")
    assert memory.free(CPU) == 0


def exhausted(kind: str) -> None:
    if kind == "accelerator":
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 3 GiB")
    if kind == "python":
        raise MemoryError
    torch.empty(2**56, dtype=torch.uint8)  # more than 57 bits of address can be given


@pytest.mark.parametrize("kind", ["accelerator", "python", "cpu allocator"])
def test_running_out_of_memory_is_told_in_a_line(kind):
    with pytest.raises(UserError) as error, memory.explained(Path("photo.jpg")):
        exhausted(kind)
    assert str(error.value) == "photo.jpg: not enough memory for it; try a smaller --side"
    assert error.value.code == 2


@pytest.mark.parametrize("error", [RuntimeError("sizes must match"), KeyError("x")])
def test_any_other_error_stays_what_it_is(error):
    with pytest.raises(type(error)) as met, memory.explained(Path("photo.jpg")):
        raise error
    assert met.value is error


def test_what_goes_well_is_left_alone():
    with memory.explained(Path("photo.jpg")):
        made = torch.ones(2)
    assert made.tolist() == [1, 1]


TAKES = """
import resource, sys
import psutil, torch
from gan_style import methods
torch.set_num_threads(1)
name, content, style, options = eval(sys.argv[1])
module = methods.load(name)
method = module.Method(module.Config(vgg="random", **options)).eval().requires_grad_(False)
method.vgg
before = psutil.Process().memory_info().rss
with torch.no_grad():
    method.translate(torch.rand(1, 3, *content), torch.rand(1, 3, *style))
took = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
print(took, method.bytes_for(content, [style]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "style", "options"),
    [
        ("gatys", (64, 64), {"style_scale": 16.0, "iterations": 1, "first_scale": 0}),
        ("adain", (512, 1800), {"style_size": 512}),
    ],
)
def test_the_estimate_for_a_large_style_is_what_a_process_takes(name, style, options):
    # The contents have 64x64 pixels: nearly everything is the style's.
    given = repr((name, (64, 64), style, options))
    done = subprocess.run(
        [sys.executable, "-c", TAKES, given], capture_output=True, text=True, check=True
    )
    took, estimated = map(float, done.stdout.split())
    assert 0.6 * estimated < took < 1.15 * estimated


def test_a_style_counts_as_it_is_scaled():
    for name, options in {"gatys": {"vgg": "random"}, "adain": {}}.items():
        module = methods.load(name)

        def needed(style, name=name, options=options, module=module, **more):
            method = module.Method(module.Config(**options, **more))
            return method.bytes_for((256, 256), [style])

        alone = module.Method(module.Config(**options)).bytes_for((256, 256))
        assert needed((256, 256)) >= alone
        # A scroll is as large as others once it is scaled, beyond what its file takes.
        assert needed((8, 3000)) < 2 * needed((256, 256))
    gatys = methods.load("gatys")
    wide = gatys.Method(gatys.Config(vgg="random", style_scale=6.0))
    # 1536x1536 pixels of 850 bytes, and the content's features beside them.
    assert wide.bytes_for((256, 256), [(300, 300)]) == pytest.approx(2.07e9, rel=0.01)
