"""How much memory is free, and running out of it."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from gan_style import memory, methods
from gan_style.errors import UserError

CPU = torch.device("cpu")


GB = 10**9
NONE = {2: "max", 1: 2**63 - 4096}  # what the versions say of no limit


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with 8 GB to take; `set_up(version, path, group={...})` makes this process's."""

    class Memory:
        available = 8 * GB

    versions = {n: replace(v, root=tmp_path / str(n)) for n, v in memory.VERSIONS.items()}
    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    monkeypatch.setattr(memory, "VERSIONS", versions)
    monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "OWN_STATUS", tmp_path / "status")

    def set_up(version, path, **groups):
        """Of each group (`_` for /) limit, bytes in use and bytes of files among these, in GB."""
        line = {2: f"0::{path}", 1: f"4:cpu,memory:{path}"}[version]
        (tmp_path / "cgroup").write_text(f"7:blkio:/elsewhere\n{line}\n")
        for name, (limit, used, dropped) in groups.items():
            names = versions[version]
            folder = names.root / name.replace("_", "/").strip("/")
            folder.mkdir(parents=True, exist_ok=True)
            limit = NONE[version] if limit is None else round(limit * GB)
            (folder / names.limits[0]).write_text(f"{limit}\n")
            (folder / names.used).write_text(f"{round(used * GB)}\n")
            inactive, active = names.droppable
            half = round(dropped * GB / 2)
            lines = f"anon 123456\n{inactive} {half}\n{active} {half}\n"
            (folder / "memory.stat").write_text(lines)

    return set_up


def test_without_a_container_the_machines_memory_counts(machine):
    assert memory.free(CPU) == 8e9


@pytest.mark.parametrize("version", [1, 2])
def test_a_container_gives_its_limit_less_what_all_in_it_have_taken(machine, version):
    machine(version, "/", _=(5, 1, 0))
    assert memory.free(CPU) == 4e9  # 5 - 1


@pytest.mark.parametrize("version", [1, 2])
def test_copies_of_files_can_be_dropped_and_count_as_free(machine, version):
    machine(version, "/", _=(5, 4, 3))
    assert memory.free(CPU) == 4e9  # 5 - (4 - 3)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("tightest", ["_", "_user", "_user_job", "_user_job_step"])
def test_every_group_around_a_process_counts(machine, version, tightest):
    around = dict.fromkeys(["_", "_user", "_user_job", "_user_job_step"], (None, 2, 0))
    machine(version, "/user/job/step", **(around | {tightest: (3.5, 2, 0)}))
    assert memory.free(CPU) == 1.5e9


def test_a_group_beside_it_doesnt_count(machine):
    machine(2, "/user/job", _user_job=(3, 1, 0), _user_other=(1, 1, 0))
    assert memory.free(CPU) == 2e9


@pytest.mark.parametrize("path", ["/docker/0123", "/../../system"])
def test_a_container_that_shows_its_own_group_as_the_outermost_counts(machine, path):
    machine(1, path, _=(3, 1, 0))
    assert memory.free(CPU) == 2e9


def test_what_slows_a_group_down_is_a_limit_too(machine, tmp_path):
    machine(2, "/job", _job=(6, 1, 0))
    (tmp_path / "2" / "job" / "memory.high").write_text(f"{3 * GB}\n")
    assert memory.free(CPU) == 2e9


@pytest.mark.parametrize("version", [1, 2])
def test_no_limit_and_one_above_the_machine_change_nothing(machine, version):
    machine(version, "/job", _job=(None, 1, 0), _=(64, 1, 0))
    assert memory.free(CPU) == 8e9


def test_a_limit_that_is_used_up_leaves_nothing_rather_than_less(machine):
    machine(2, "/", _=(0.5, 0.7, 0))
    assert memory.free(CPU) == 0


def test_what_a_process_had_at_its_peak_is_known(machine, tmp_path):
    assert memory.below_peak() == 0  # where the system doesn't say
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t 5000 kB\nVmRSS:\t 2000 kB\n")
    assert memory.below_peak() == 3000 * 1024


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
import sys
import psutil, torch
from gan_style import devices, methods
torch.set_num_threads(1)
name, content, style, options = eval(sys.argv[1])
module = methods.load(name)
method = module.Method(module.Config(vgg="random", **options)).eval().requires_grad_(False)
method.vgg
before = psutil.Process().memory_info().rss
with torch.no_grad():
    method.translate(torch.rand(1, 3, *content), torch.rand(1, 3, *style))
took = devices.peak(torch.device("cpu")) - before  # getrusage has the starting process's, too
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
