"""--precision: what is chosen, and that it is what networks compute in."""

import json
from pathlib import Path

import pytest
import torch

from gan_style import devices
from gan_style.errors import ConfigError
from gan_style.nn.generators import ResnetGenerator

CPU = torch.device("cpu")


@pytest.fixture
def flags(monkeypatch):
    """Make the CPU one that has some instructions and no others."""

    def having(*names):
        known = {name: name in names for name in ("avx512_bf16", "amx_bf16", "avx512_f")}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)

    return having


@pytest.mark.parametrize(
    ("has", "chosen"),
    [((), "fp32"), (("avx512_f",), "fp32"), (("avx512_bf16",), "bf16"), (("amx_bf16",), "bf16")],
)
def test_auto_is_bf16_where_the_cpu_multiplies_it(flags, has, chosen):
    flags(*has)
    assert devices.choose_precision("auto", CPU) == chosen


def test_auto_is_fp32_where_torch_cant_tell(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert devices.choose_precision("auto", CPU) == "fp32"
    assert devices.choose_precision("auto", torch.device("mps")) == "fp32"


@pytest.mark.parametrize("has", [True, False])
def test_auto_on_a_gpu_asks_for_bf16_that_isnt_emulated(monkeypatch, has):
    asked = []
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda **options: asked.append(options) or has
    )
    chosen = devices.choose_precision("auto", torch.device("cuda"))
    assert chosen == ("bf16" if has else "fp32")
    assert asked == [{"including_emulation": False}]


def test_what_was_asked_for_is_taken(flags):
    flags("avx512_bf16")
    assert devices.choose_precision("fp32", CPU) == "fp32"
    flags()
    assert devices.choose_precision("bf16", CPU) == "bf16"
    with pytest.raises(ConfigError, match="--precision is fp16, but cpu has none"):
        devices.choose_precision("fp16", CPU)


def test_a_training_says_and_keeps_what_it_chose(train, toy, flags):
    flags("avx512_bf16")
    assert ", bf16, " in train(domain=toy, images=2, run_dir="run", precision="auto")
    record = json.loads(Path("run/config.json").read_text())
    assert record["train"]["precision"] == record["launch"]["precision"] == "bf16"
    flags()  # another machine: the run stays what it is
    assert ", bf16, " in resume(train, toy, precision="auto")


def resume(train, toy, **options):
    return train(domain=toy, images=4, run_dir="run", resume="auto", **options)


def test_a_run_doesnt_change_its_precision(train, toy, capsys):
    train(domain=toy, images=2, run_dir="run", precision="bf16")
    with pytest.raises(SystemExit):
        resume(train, toy, precision="fp32")
    assert "precision was 'bf16', is 'fp32'" in capsys.readouterr().err


def test_what_the_launcher_was_told_holds_unless_something_is_typed(train, toy, flags, monkeypatch):
    flags()
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert ", bf16, " in train(domain=toy, images=2, run_dir="told", precision="auto")
    assert ", fp32, " in train(domain=toy, images=2, run_dir="typed", precision="fp32")


def test_networks_of_a_bf16_training_compute_in_bf16_channels_last(train, toy, monkeypatch):
    seen, forward = [], ResnetGenerator.forward

    def watched(self, x):
        hook = self.model[1].register_forward_hook(
            lambda _, given, made: seen.append(
                (made.dtype, given[0].is_contiguous(memory_format=torch.channels_last))
            )
        )
        made = forward(self, x)
        hook.remove()
        return made

    monkeypatch.setattr(ResnetGenerator, "forward", watched)
    train(domain=toy, images=2, batch_size=2, precision="bf16", sample_every=0, run_dir="bf16")
    assert set(seen) == {(torch.bfloat16, True)}
    seen.clear()
    train(domain=toy, images=2, batch_size=2, sample_every=0, run_dir="fp32")
    assert set(seen) == {(torch.float32, False)}


def test_recomputed_activations_change_nothing(train, toy):
    for run, options in (("kept", {}), ("again", {"recompute": True})):
        train(domain=toy, images=4, run_dir=run, **options)
    kept, again = (Path(run, "gen_ab.safetensors").read_bytes() for run in ("kept", "again"))
    header = 8 + int.from_bytes(kept[:8], "little")
    other = 8 + int.from_bytes(again[:8], "little")
    assert kept[header:] == again[other:]


def test_recomputing_keeps_fewer_activations():
    def held(recompute):
        net = ResnetGenerator(6, 4)
        net.recompute = recompute
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor
        ):
            net(torch.rand(1, 3, 64, 64))
        return sum(kept)

    assert held(True) < 0.4 * held(False)


@pytest.mark.slow
def test_what_cant_be_recomputed_is_refused(train_alone, toy, capsys):
    with pytest.raises(SystemExit):
        train_alone(method="dualgan", domain=toy, images=2, size=64, load_size=64, recompute=True)
    assert "--recompute is True, but no network of dualgan can" in capsys.readouterr().err
