"""How much memory is free, and running out of it."""

from pathlib import Path

import psutil
import pytest
import torch

from gan_style import memory
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
