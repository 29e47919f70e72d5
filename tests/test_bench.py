"""The benchmark compares like with like: plain transcriptions give what ours gives, in float64."""

import json
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))

import bench
import bench_report
import bench_work
import plain

from gan_style.method import Batch
from gan_style.methods import adain, cyclegan, dualgan, gatys, johnson
from gan_style.training.step import Players

CPU = torch.device("cpu")


def copied(ours: nn.Module, theirs: nn.Module, scale: float = 1.0) -> None:
    """The same weights in the same order; larger ones let every layer matter."""
    pairs = list(zip(ours.parameters(), theirs.parameters(), strict=True))
    with torch.no_grad():
        for mine, other in pairs:
            assert mine.shape == other.shape
            mine.mul_(scale if mine.dim() > 1 else 1.0)
            other.copy_(mine)


def images(seed: int, count: int = 1, side: int = 32) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, side, side, generator=random, dtype=torch.float64)


def assert_steps_agree(method, theirs, a, b):
    nets = (method.gen_ab, method.gen_ba, method.disc_a, method.disc_b)
    method.double()
    theirs.nets.double()
    for ours, other in zip(nets, theirs.nets, strict=True):
        copied(ours, other, 5.0)
    theirs.ready()
    players = Players(method, Accelerator(cpu=True))
    for number in range(3):  # the later ones see what the earlier have done to the weights
        torch.manual_seed(number)
        ours = players.step([Batch(a=a, b=b)])
        torch.manual_seed(number)
        others = theirs.step(a, b)
        assert [player for player, _ in ours] == [player for player, _ in others]
        for (_, terms), (_, other) in zip(ours, others, strict=True):
            mine = sum(terms.values())
            assert float(mine) == pytest.approx(float(other), rel=1e-8)


def test_a_plain_cyclegan_step_has_the_losses_of_ours():
    options = {"width_generator": 4, "width_discriminator": 4}
    method = cyclegan.Method(cyclegan.Config(**options))
    theirs = plain.CycleGan(width=4)
    assert_steps_agree(method, theirs, images(1, 2), images(2, 2))


@pytest.mark.parametrize("name", bench.presets())
def test_a_plain_dualgan_step_has_the_losses_of_ours(name):
    options = {**vars(bench_work.preset(name)), "width_generator": 2, "width_discriminator": 2}
    method = dualgan.Method(dualgan.Config(**options))
    method.build_for_crop((64, 64))
    program = plain.PROGRAMS[name]
    count = 2 * program.critic_steps
    theirs = plain.DualGan(program, 64, width=2)
    assert_steps_agree(method, theirs, images(1, count, 64), images(2, count, 64))


def test_presets_that_compute_the_same_are_measured_once():
    assert bench.presets() == list(plain.PROGRAMS)


@pytest.mark.parametrize("name", ["lbfgs", "adam"])
@pytest.mark.slow
def test_plain_gatys_arrives_at_the_image_of_ours(name):
    content, style = images(1), images(2)
    config = gatys.Config(vgg="random", optimizer=name, first_scale=0, iterations=4)
    method = gatys.Method(config)
    method.vgg.double()
    with torch.no_grad():
        *_, last = method.optimise(content, style)
    theirs = plain.Gatys(plain.Vgg(plain.RELUS["5"]).double(), content, style)
    begun = []
    found = getattr(theirs, name)(4, begun.append)
    assert sorted(set(begun) - {0}) == [1, 2, 3, 4]
    assert (found - last.image).abs().max() < 1e-7
    assert (found - content).abs().mean() > 0.01


def test_plain_translations_are_those_of_ours():
    content, style = images(1), images(2)
    with torch.no_grad():
        method = johnson.Method(johnson.Config()).double()
        painter = plain.Johnson()
        painter.net.double()
        copied(method.net, painter.net)
        assert (method.translate(content) - painter.translate(content)).abs().max() < 1e-10

        stylist, artist = adain.Method(adain.Config(vgg="random", style_size=0)), plain.AdaIn()
        stylist.vgg.double()
        stylist.double()
        artist.net.double()
        artist.encoder.double()
        copied(stylist.decoder, artist.net)
        made = stylist.translate(content, style) - artist.translate(content, style)
        assert made.abs().max() < 1e-10

        ours, other = cyclegan.Method(cyclegan.Config()).double(), plain.CycleGan()
        other.nets.double()
        copied(ours.gen_ab, other.gen_ab)
        assert (ours.translate(content) - other.translate(content)).abs().max() < 1e-10


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_every_planned_row_has_both_variants_that_it_compares(kind):
    for extent in ((True, False), (False, False), (False, True)):
        cases = bench.plan(bench.WORKS, [], [], kind, *extent)
        assert {case.work for case in cases} == set(bench.WORKS)
        assert len(set(cases)) == len(cases)


def test_operations_are_two_a_multiplication_also_where_gradients_have_gradients():
    conv, x = nn.Conv2d(3, 4, 3), torch.ones(1, 3, 6, 6, requires_grad=True)
    forward = 2 * 4 * 4 * 4 * 3 * 9  # 4x4 positions of 4 channels, of 3 channels of 3x3 each
    with bench_work.Operations() as operations:
        scores = conv(x)
        assert operations.total == forward
        (gradient,) = torch.autograd.grad(scores.square().sum(), x, create_graph=True)
        assert operations.total == 2 * forward
        gradient.square().sum().backward()
    assert operations.total > 4 * forward


def measured(**seconds: list[float]) -> dict:
    """A row of CycleGAN, with a million operations."""
    variants = {
        name.replace("_", " "): {"seconds": times, "precision": "fp32", "peak_bytes": 2e9}
        for name, times in seconds.items()
    }
    case = {"work": "cyclegan", "name": "", "height": 64, "width": 64, "batch": 2}
    return {**case, "operations": 1e9, "variants": variants}


def test_a_ratio_is_plains_seconds_by_ours():
    row = bench_report.summarised(measured(plain=[4.0, 6.0, 20.0], ours_fp32=[2.0, 2.0, 40.0]))
    ours = row["variants"]["ours fp32"]
    assert ours["median"] == 2.0
    assert ours["ratio"] == 3.0  # 6 / 2
    assert ours["pairwise"] == 2.0  # the middle one of 4 / 2, 6 / 2, 20 / 40
    assert ours["gflops"] == 0.5


def test_the_page_says_what_is_missing_and_the_plot_leaves_it_out():
    rows = [bench_report.summarised(measured(plain=[4.0], ours_fp32=[2.0])), measured(plain=[])]
    rows[1]["variants"]["plain"]["missing"] = "not enough memory"
    found = {
        "started": "today",
        "seconds": 60.0,
        "machine": {
            **bench_work.machine(CPU),
            "ceiling": {"fp32_gflops": 2.0, "bf16_gflops": 4.0, "copy_gb_per_second": 1.0},
        },
        "rows": rows,
    }
    text = bench_report.page(found)
    assert "| cyclegan | 64 | 2 | 4 | 2 | 2.00 |" in text
    assert "not enough memory" in text
    assert "0, 12%" in text  # of plain: 1 GFLOP in 4 s of 2 GFLOP/s
    assert bench_report.png(found).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ("--only=gatis", "did you mean 'gatys'?"),
        ("--sizes=100", "--sizes is '100'"),
        ("--batches=0", "--batches is '0'"),
        ("--device=tpu", "--device is 'tpu'"),
        ("--repeat=3", "did you mean '--repeats'?"),
        ("--repeats=-1", "--repeats is -1"),
    ],
)
def test_a_mistake_is_one_line(flags, named, monkeypatch, refusal):
    monkeypatch.setattr(sys, "argv", ["bench.py", flags])
    assert named in refusal(bench.command.only, "bench.py", bench.bench, str)


@pytest.mark.slow
def test_the_loader_times_a_pair_of_crops(tmp_path):
    case = bench_work.Case(work="loader", height=64, width=64)
    meter = bench_work.Meter(CPU)
    bench_work.build(case, "decoded", "fp32", CPU, tmp_path)(meter)
    assert 0 < meter.seconds < 1


@pytest.mark.distributed
def test_processes_take_turns_and_everything_is_written(tmp_path, monkeypatch, capsys):
    flags = ["--only=cyclegan", "--sizes=32", "--repeats=2", "--threads=1", "--device=cpu"]
    monkeypatch.setattr(sys, "argv", ["bench.py", f"--out={tmp_path}/bench", "--quick", *flags])
    bench.command.only("bench.py", bench.bench, str)
    found = json.loads((tmp_path / "bench/bench.json").read_text())
    (row,) = found["rows"]
    assert row["operations"] > 1e9
    assert set(row["variants"]) >= {"plain", "ours fp32"}
    for variant in row["variants"].values():
        assert len(variant["seconds"]) == len(variant["times"]) == 2
        assert variant["peak_bytes"] > 1e8
    assert (tmp_path / "bench/cyclegan.png").stat().st_size < 100_000
    assert (tmp_path / "bench/table.md").read_text() in capsys.readouterr().out
