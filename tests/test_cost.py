"""What a method costs, by a clock that only the methods here move."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from test_methods import NAMES, make
from torch import nn

from gan_style import devices, memory, methods
from gan_style.data.images import save_png
from gan_style.errors import ConfigError, TrainingError
from gan_style.evaluation import cost
from gan_style.maths.descent import Step
from gan_style.method import Method, OptimisedMethod, TrainedMethod

CPU = torch.device("cpu")


class Clock:
    """Seconds that pass when a method says so."""

    now = 0.0


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(devices, "now", lambda device: clock.now)
    return clock


class Plain(Method):
    """Takes the next of `times`, or `base` seconds and `each` a pixel; keeps what it is given."""

    def __init__(self, clock, *, base=0.0, each=0.0, times=()):
        super().__init__()
        self.clock, self.base, self.each, self.times = clock, base, each, list(times)
        self.contents, self.styles, self.wants_gradients = [], [], []

    def translate(self, content, style=None):
        pixels = content.shape[-2] * content.shape[-1]
        self.clock.now += self.times.pop(0) if self.times else self.base + self.each * pixels
        self.contents.append(content)
        self.styles.append(style)
        self.wants_gradients.append(torch.is_grad_enabled())
        return content

    @property
    def sides(self) -> list[int]:
        return [content.shape[-1] for content in self.contents]


class Optimised(OptimisedMethod):
    """A second a pixel and iteration, and `setup` more for the first of a scale; doubles."""

    def __init__(self, clock, *, first, iterations, finer=0, setup=0.0):
        super().__init__()
        self.clock, self.first, self.setup = clock, first, setup
        self.iterations, self.finer = iterations, finer
        self.closed, self.steps = 0, 0
        self.begun = []  # or they would be closed for want of anyone who knows them

    def optimise(self, content, style, state=None):
        self.begun.append(self._iterate(content))
        return self.begun[-1]

    def _iterate(self, content):
        sides = [content.shape[-1]]
        while sides[0] > self.first:
            sides.insert(0, sides[0] // 2)
        budgets = [self.iterations, *[self.finer] * (len(sides) - 1)]
        done = 0
        try:
            for side, budget in zip(sides, budgets, strict=True):
                self.clock.now += self.setup
                for _ in range(budget):
                    self.clock.now += side**2
                    done, self.steps = done + 1, self.steps + 1
                    image = content.new_zeros(1, 3, side, side)
                    yield Step(image=image, done=done, total=sum(budgets), terms={}, state={})
        finally:
            self.closed += 1


def measure(method, *, takes_style=False, **options):
    return cost.measure(method, takes_style=takes_style, device=CPU, **options)


# Times


def test_the_median_and_the_tail_are_of_the_runs_after_the_warm_up(clock):
    # Two at the smallest size, one to see its networks and one to time; then the size itself.
    method = Plain(clock, times=[0, 0, 50, 40, 1, 10, 2, 4, 3])
    row = measure(method, sizes=[8], runs=5, warm_up=2, limit=math.inf)["sizes"]["8"]
    assert row["median"] == 3
    assert row["p95"] == pytest.approx(8.8)  # four fifths of the way from 4 to 10
    assert row["runs"] == 5
    assert row["estimated"] is False
    assert method.sides == [1, 1, *[8] * 7]


def test_on_a_cpu_ten_runs_come_after_two(clock):
    method = Plain(clock)
    assert measure(method, sizes=[8])["sizes"]["8"]["runs"] == 10
    assert method.sides == [1, 1, *[8] * 12]


def test_no_run_is_begun_when_the_limit_is_spent(clock):
    method = Plain(clock, times=[0, 0, 9, 9, 1, 2, 100])
    row = measure(method, sizes=[8], runs=10, warm_up=2, limit=20)["sizes"]["8"]
    assert (row["median"], row["runs"]) == (1.5, 2)  # 9 + 9 + 1 are below 20


def test_a_run_counts_even_where_warming_up_spends_the_limit(clock):
    method = Plain(clock, times=[0, 0, 50, 40, 30])
    row = measure(method, sizes=[8], runs=10, warm_up=2, limit=60)["sizes"]["8"]
    assert (row["median"], row["runs"]) == (40, 1)


def test_without_sizes_networks_are_counted_and_nothing_is_timed(clock):
    method = Plain(clock)
    found = measure(method, sizes=[])
    assert found["sizes"] == {}
    assert found["parameters"] == 0
    assert method.sides == [1]  # to see what is called


def test_nothing_need_warm_up(clock):
    method = Plain(clock, times=[0, 0, 5, 6])
    row = measure(method, sizes=[8], runs=1, warm_up=0)["sizes"]["8"]
    assert (row["median"], row["runs"]) == (5, 1)


def test_a_first_run_over_the_limit_is_the_last_of_its_size(clock):
    method = Plain(clock, times=[0, 0, 61, 1, 1])
    rows = measure(method, sizes=[8], limit=60)["sizes"]
    assert rows == {"8": {"missing": "over the limit of 60 s (about 61 s)"}}
    assert method.sides == [1, 1, 8]


def test_a_size_that_would_be_over_the_limit_is_not_begun(clock):
    # 2 s and a second for 64 pixels: 3 s at 8 pixels a side, 6 s at 16, 18 s at 32, 66 s at 64.
    method = Plain(clock, base=2, each=1 / 64)
    rows = measure(method, sizes=[8, 16, 32, 64, 128], limit=60)["sizes"]
    assert [rows[side]["median"] for side in ("8", "16", "32")] == [3, 6, 18]
    assert rows["64"] == {"missing": "over the limit of 60 s (about 66 s)"}
    assert rows["128"] == {"missing": "over the limit of 60 s (about 258 s)"}
    assert max(method.sides) == 32


def test_one_size_is_enough_to_tell_that_the_next_would_be_over_the_limit(clock):
    # With the smallest that the method takes: one pixel.
    method = Plain(clock, each=1 / 64)
    rows = measure(method, sizes=[8, 64], limit=60)["sizes"]
    assert rows["64"] == {"missing": "over the limit of 60 s (about 64 s)"}
    assert max(method.sides) == 8


def test_a_limit_of_0_has_one_run_to_tell(clock):
    rows = measure(Plain(clock, each=1), sizes=[8], limit=0)["sizes"]
    assert rows["8"] == {"missing": "over the limit of 0 s (about 64 s)"}


def test_a_fixed_cost_is_not_taken_to_grow(clock):
    # In proportion to the pixels it would be 80 s.
    rows = measure(Plain(clock, base=20), sizes=[8, 16], limit=60)["sizes"]
    assert rows["16"]["median"] == 20


def test_what_went_over_the_limit_tells_for_larger_sizes(clock):
    method = Plain(clock, times=[0, 0, *[1] * 12, 61])
    rows = measure(method, sizes=[8, 16, 32], limit=60)["sizes"]
    assert "61 s" in rows["16"]["missing"]
    assert "over the limit" in rows["32"]["missing"]
    assert max(method.sides) == 16


def test_sizes_ascend_and_are_measured_once(clock):
    # The memory of a process can't always be seen to shrink.
    method = Plain(clock)
    rows = measure(method, sizes=[32, 8, 16, 8], runs=1, warm_up=0)["sizes"]
    assert list(rows) == ["8", "16", "32"]
    assert method.sides == [1, 1, 8, 16, 32]


@pytest.mark.parametrize(
    ("options", "named"),
    [({"sizes": [0]}, "sizes"), ({"runs": 0}, "runs"), ({"warm_up": -1}, "warm_up")],
)
def test_numbers_that_cannot_be_are_refused(clock, options, named):
    with pytest.raises(ConfigError, match=named):
        measure(Plain(clock), **options)


# Pictures


def test_pictures_are_of_a_size_that_the_method_takes(clock):
    method = Plain(clock)
    method.smallest, method.multiple = 20, 8
    measure(method, takes_style=True, sizes=[8, 30], runs=1, warm_up=0)
    assert method.sides == [24, 24, 24, 32]
    # As translate does: a style's sides needn't be multiples.
    assert [style.shape[-1] for style in method.styles] == [20, 20, 20, 30]


def test_a_method_without_styles_gets_none(clock):
    method = Plain(clock)
    measure(method, sizes=[8])
    assert set(method.styles) == {None}


def test_pictures_are_colours_that_differ_and_come_again_with_the_seed(clock):
    def pictures(seed):
        method = Plain(clock)
        measure(method, takes_style=True, sizes=[32], runs=1, warm_up=0, seed=seed)
        return method.contents[-1], method.styles[-1]

    content, style = pictures(1)
    assert content.shape == style.shape == (1, 3, 32, 32)
    assert content.min() >= 0
    assert content.max() <= 1
    assert content.std() > 0.1
    assert not torch.equal(content, style)
    assert torch.equal(content, pictures(1)[0])
    assert not torch.equal(content, pictures(2)[0])


def test_a_picture_is_smooth_as_photographs_are(clock):
    method = Plain(clock)
    measure(method, sizes=[128], runs=1, warm_up=0)
    neighbours = method.contents[-1].diff(dim=3).abs().mean()
    assert neighbours < method.contents[-1].std() / 2  # of noise it is more


def test_nothing_is_kept_for_gradients(clock):
    method = Plain(clock)
    measure(method, sizes=[8])
    assert not any(method.wants_gradients)


# Optimisations


def test_an_optimisation_within_the_limit_is_timed_whole(clock):
    # 12 iterations of 16 s and 8 of 64 s.
    method = Optimised(clock, first=4, iterations=12, finer=8, setup=1)
    row = measure(method, sizes=[8], runs=3, limit=10_000)["sizes"]["8"]
    whole = 1 + 12 * 16 + 1 + 8 * 64
    assert (row["median"], row["p95"], row["runs"]) == (whole, whole, 3)
    assert row["estimated"] is False
    assert "iterations" not in row
    assert row["peak_bytes"] > 0


def test_no_optimisation_is_begun_when_the_limit_is_spent(clock):
    method = Optimised(clock, first=8, iterations=10)  # 640 s
    row = measure(method, sizes=[8], runs=9, limit=1500)["sizes"]["8"]
    # Not a third, which would have 220 s.
    assert (row["median"], row["runs"], row["estimated"]) == (640, 2, False)


def test_an_optimisation_that_ends_as_the_limit_is_spent_is_timed_whole(clock):
    method = Optimised(clock, first=8, iterations=10)
    row = measure(method, sizes=[8], runs=9, limit=600)["sizes"]["8"]
    assert (row["median"], row["runs"], row["estimated"]) == (640, 1, False)
    assert method.steps == 10 + 2  # for the networks, and to warm up; none of a second image


def test_a_long_optimisation_is_stopped_and_worked_out(clock):
    method = Optimised(clock, first=8, iterations=1000, setup=100)
    row = measure(method, sizes=[8], limit=640)["sizes"]["8"]
    whole = 100 + 1000 * 64
    assert (row["median"], row["p95"], row["runs"]) == (whole, whole, 1)
    assert row["estimated"] is True
    assert row["iterations"] == 9  # 100 + 9 * 64 are the first above 640
    assert row["peak_bytes"] > 0
    assert method.steps == 9 + 2  # for the networks, and to warm up
    assert method.closed == 3


def test_an_optimisation_is_worked_out_over_the_scales_it_did_not_reach(clock):
    # 20 iterations of 16 s, 8 of 64 s and 8 of 256 s, of which 4 are timed.
    method = Optimised(clock, first=4, iterations=20, finer=8)
    row = measure(method, sizes=[16], limit=60)["sizes"]["16"]
    assert row["median"] == 20 * 16 + 8 * 64 + 8 * 256
    assert (row["estimated"], row["iterations"]) == (True, 4)
    assert "peak_bytes" not in row  # that of the coarsest scale says nothing


def test_an_optimisation_is_worked_out_from_where_it_was_stopped(clock):
    # The limit is in the second scale, after the coarse 20 of 16 s and 3 of 64 s.
    method = Optimised(clock, first=4, iterations=20, finer=8, setup=5)
    row = measure(method, sizes=[16], limit=5 + 20 * 16 + 5 + 3 * 64 - 1)["sizes"]["16"]
    assert row["median"] == 5 + 20 * 16 + 5 + 8 * 64 + 8 * 256  # but the third scale's setup
    assert row["iterations"] == 23


def test_a_scale_shows_its_pace_before_an_optimisation_is_stopped(clock):
    # The limit comes with the first iteration of the second scale; one more is timed.
    method = Optimised(clock, first=4, iterations=20, finer=8, setup=500)
    row = measure(method, sizes=[8], limit=500 + 20 * 16 + 500)["sizes"]["8"]
    assert row["iterations"] == 22
    assert row["median"] == 500 + 20 * 16 + 500 + 8 * 64
    assert row["peak_bytes"] > 0


def test_an_optimisation_is_never_over_the_limit(clock):
    row = measure(Optimised(clock, first=8, iterations=9), sizes=[8], limit=0)["sizes"]["8"]
    assert (row["median"], row["iterations"]) == (9 * 64, 2)


# Memory


def test_a_size_that_memory_cannot_hold_is_not_begun(clock, monkeypatch):
    method = Plain(clock)
    method.bytes_per_pixel, method.multiple = 1e6, 8
    monkeypatch.setattr(memory, "free", lambda device: 200e6)
    rows = measure(method, sizes=[8, 10])["sizes"]
    assert rows["8"]["runs"] == 10
    assert rows["10"] == {"missing": "takes about 0.3 GB, but 0.2 GB are free"}  # 16 x 16 padded
    assert max(method.sides) == 8


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_running_out_of_memory_leaves_one_size_out(clock, error):
    class Hungry(Plain):
        def translate(self, content, style=None):
            if content.shape[-1] == 16:
                raise error
            return super().translate(content, style)

    rows = measure(Hungry(clock), sizes=[8, 16])["sizes"]
    assert rows["8"]["runs"] == 10
    assert rows["16"] == {"missing": "not enough memory"}


@pytest.mark.parametrize("error", [RuntimeError("sizes must match"), TrainingError("no number")])
def test_other_errors_are_told(clock, error):
    class Broken(Plain):
        def translate(self, content, style=None):
            if content.shape[-1] == 8:
                raise error
            return content

    with pytest.raises(type(error), match=str(error)):
        measure(Broken(clock), sizes=[8])


def test_the_peak_is_that_of_a_size_and_of_the_whole_process(clock):
    class Holding(Plain):
        def translate(self, content, style=None):
            pages = torch.ones(content.shape[-1] * 2**20, dtype=torch.uint8)  # a side in MB
            return super().translate(content, style) + pages[0]

    rows = measure(Holding(clock), sizes=[8, 200], runs=1, warm_up=0)["sizes"]
    small, large = rows["8"]["peak_bytes"], rows["200"]["peak_bytes"]
    assert small > 30 * 2**20  # Python and torch
    assert 150 * 2**20 < large - small < 250 * 2**20


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone can forget")
def test_a_peak_from_before_is_forgotten(clock):
    torch.ones(300 * 2**20, dtype=torch.uint8)
    before = devices.peak(CPU)
    row = measure(Plain(clock), sizes=[8])["sizes"]["8"]
    assert row["peak_bytes"] < before - 200 * 2**20


def test_without_linux_the_peak_is_that_since_the_start(monkeypatch):
    now = devices.peak(CPU)

    def none(*args, **options):
        raise OSError

    monkeypatch.setattr(Path, "read_text", none)
    monkeypatch.setattr(Path, "write_text", none)
    devices.reset_peak(CPU)
    assert 0.5 * now < devices.peak(CPU)


def test_a_gpu_is_waited_for_and_asked_for_its_own_peak(monkeypatch):
    asked = []
    for name in ("synchronize", "reset_peak_memory_stats", "max_memory_allocated"):
        monkeypatch.setattr(
            torch.cuda, name, lambda device, name=name: asked.append((name, device)) or 7
        )
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {device.index}")
    device = torch.device("cuda:1")
    devices.now(device)
    devices.reset_peak(device)
    assert devices.peak(device) == 7
    assert cost._name(device) == "card 1"
    assert asked == [
        (name, device)
        for name in ("synchronize", "reset_peak_memory_stats", "max_memory_allocated")
    ]


def test_a_mac_is_waited_for(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.mps, "synchronize", lambda: asked.append("mps"))
    devices.now(torch.device("mps"))
    assert asked == ["mps"]


# Networks


class Networked(Plain):
    """Two networks of which one translates, and one besides that nobody registered."""

    def __init__(self, clock):
        super().__init__(clock)
        self.used = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5))  # 20 + 10, and 11 buffers
        self.unused = nn.Linear(100, 100)
        self.watched = []
        self.__dict__["outside"] = nn.Linear(3, 4, bias=False)  # as functools.cached_property does

    def translate(self, content, style=None):
        self.used(content[0, :, 0, :1].T)
        self.outside(content[0, :, 0, 0])
        self.watched.append(len(torch.nn.modules.module._global_forward_pre_hooks))
        return super().translate(content, style)


def test_parameters_and_bytes_are_of_the_networks_that_translate(clock):
    found = measure(Networked(clock).eval(), sizes=[8])
    assert found["parameters"] == 3 * 5 + 5 + 2 * 5 + 3 * 4
    # Mean and variance of the norm, 4 bytes each, and its count of batches, 8 bytes.
    assert found["bytes"] == 4 * (found["parameters"] + 10) + 8


def test_a_method_without_networks_has_no_parameters(clock):
    found = measure(Plain(clock), sizes=[8])
    assert (found["parameters"], found["bytes"]) == (0, 0)


def test_networks_are_watched_for_one_translation_only(clock):
    method = Networked(clock).eval()
    measure(method, sizes=[8], runs=1, warm_up=0)
    assert method.watched == [1, 0, 0]  # hooks of torch's


@pytest.mark.parametrize(("threads", "named"), [(1, "cpu, 1 thread"), (2, "cpu, 2 threads")])
def test_the_device_is_named_with_its_threads(clock, monkeypatch, threads, named):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert measure(Plain(clock), sizes=[8])["device"] == named


# Every method


@pytest.fixture
def _style_image(tmp_path):
    """For methods that learn one style."""
    random = np.random.default_rng(0)
    save_png(random.integers(0, 256, (40, 48, 3), dtype=np.uint8), tmp_path / "style.png")


@pytest.mark.usefixtures("_style_image")
@pytest.mark.parametrize("name", NAMES)
def test_every_method_can_be_measured(name):
    method = make(name).eval().requires_grad_(False)
    takes_style = methods.load(name).PAPER.style == "image"
    found = measure(method, takes_style=takes_style, sizes=[32], runs=1, warm_up=0)
    row = found["sizes"]["32"]
    assert row["runs"] == 1
    assert row["median"] > 0
    assert row["peak_bytes"] > found["bytes"] >= 4 * found["parameters"]
    nets = method.inference_networks if isinstance(method, TrainedMethod) else ()
    nets = [getattr(method, net) for net in nets]
    if "vgg" in vars(method):  # translating has needed it
        nets.append(method.vgg)
    assert found["parameters"] == sum(p.numel() for net in nets for p in net.parameters()) > 0


@torch.no_grad()
@pytest.mark.parametrize(("side", "scales"), [(32, [32]), (64, [32, 64]), (100, [50, 100])])
def test_gatys_scales_are_found_with_their_iterations(side, scales):
    method = make("gatys")  # 3 iterations, and 2 at every finer scale
    content, style = torch.rand(2, 1, 3, side, side)
    found = cost._scales(method, content, style)
    assert found == [(scale**2, 2 if index else 3) for index, scale in enumerate(scales)]
