"""What experiments/bench.py times, each variant in a process of its own: see `main`.

A process is told one case and one variant as JSON. For the first line that it reads it builds it
and warms up, for every other it does the work once or, if that is quick, for a moment: so that the
processes of a case can take turns. What it says is one line of JSON each time; at the end of its
input it says its peak memory.
"""

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import plain
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from gan_style import devices, memory
from gan_style.config import DataConfig, Wanted
from gan_style.data.stream import DomainPair, domain_from_two_folders
from gan_style.devices import Precision
from gan_style.errors import UserError
from gan_style.method import Batch, TrainedMethod
from gan_style.methods import adain, cyclegan, dualgan, gatys, johnson
from gan_style.training.step import Players
from gan_style.translation.jobs import translate

PLAIN = "plain"
VARIANTS = {PLAIN: "fp32", "ours fp32": "fp32", "ours auto": "auto"}  # and what it computes in
LOADER_VARIANTS = {"decoded": "fp32", "cached": "fp32"}
TURN = 0.2  # seconds for which quick work is repeated when it has its turn
STYLE_SIDE = 512  # of AdaIN's style at most
PHOTO = (480, 640)  # height and width of the JPEG files of the loader
PHOTOS = 24  # a side
ITEMS = 64  # that the loader is asked for at once
# Bytes a pixel and image that the plain variant takes at its peak, with room to spare, and bytes
# that it takes anyway: what clearly can't be isn't tried.
NEEDS = {"cyclegan": 25e3, "dualgan": 25e3, "gatys": 5500.0, "translate": 1600.0, "loader": 0.0}
ANYWAY = 2e9


@dataclass(frozen=True, kw_only=True)
class Case:
    """A row of the table.

    Args:
        work: the group, as --only names it.
        name: what is done: a preset, an optimizer, a method; empty where the group has one only.
        height: of the images in pixels.
        width: the same.
        batch: images at once.
    """

    work: str
    name: str = ""
    height: int
    width: int
    batch: int = 1

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.work} {self.name}".strip()

    @property
    def size(self) -> str:
        """For people: a side of a square."""
        square = self.height == self.width
        return str(self.height) if square else f"{self.width}x{self.height}"

    @property
    def needs(self) -> float:
        """Bytes, about, of the plain variant."""
        return ANYWAY + NEEDS[self.work] * self.height * self.width * self.batch

    @property
    def variants(self) -> dict[str, str]:
        """Their names, and the precision of each."""
        return LOADER_VARIANTS if self.work == "loader" else VARIANTS


class Operations(TorchDispatchMode):
    """Counts those of convolutions and matrix products, two a multiplication.

    As torch's FlopCounterMode, which fails where a gradient is differentiated again.
    """

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func._overloadpacket):
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


class Meter:
    """Seconds, and operations where they are counted, between `begin` and `end`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.counter: Operations | None = None
        self.seconds = 0.0
        self.operations = 0.0

    def _counted(self) -> int:
        return self.counter.total if self.counter else 0

    def begin(self) -> None:
        """What is before it isn't measured."""
        self._before = self._counted()
        self._started = now(self.device)

    def end(self, units: int = 1) -> None:
        """The work was `units` of what a row is about."""
        self.seconds = (now(self.device) - self._started) / units
        self.operations = (self._counted() - self._before) / units


Once = Callable[[Meter], None]  # does a work once, and tells the meter when


def now(device: torch.device) -> float:
    """Seconds, after everything that the device was given is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def build(case: Case, variant: str, chosen: Precision, device: torch.device, folder: Path) -> Once:
    """The work of a case by a variant, ready to be done; files of it go to an empty folder."""
    torch.manual_seed(0)
    if case.work == "loader":
        return _loader(case, variant, device, folder)
    ours = variant != PLAIN
    if case.work in ("cyclegan", "dualgan"):
        # For all variants: the reference has it so, and so has train.py.
        torch.backends.cudnn.benchmark = True
        return _our_training(case, chosen, device) if ours else _plain_training(case, device)
    if case.work == "gatys":
        return _our_gatys(case, chosen, device) if ours else _plain_gatys(case, device)
    return _our_translation(case, chosen, device) if ours else _plain_translation(case, device)


# --- A training step: every player's forward and backward, and its optimizer ---


def preset(name: str) -> dualgan.Config:
    """The method's own options of a preset."""
    own = {field.name for field in fields(dualgan.Config)}
    options = dualgan.PRESETS[name]
    return dualgan.Config(**{key: options[key] for key in options if key in own})


def _our_training(case: Case, chosen: Precision, device: torch.device) -> Once:
    """The loop's step, on one batch and without looking at the terms."""
    method: TrainedMethod = cyclegan.Method(cyclegan.Config())
    if case.work == "dualgan":
        method = dualgan.Method(preset(case.name))
    method.build_for_crop((case.height, case.width))
    accelerator = Accelerator(
        cpu=device.type == "cpu", mixed_precision=chosen.replace("fp32", "no")
    )
    players = Players(method, accelerator)
    order = devices.memory_format(chosen)
    a, b = (each.contiguous(memory_format=order) for each in _pair(case, method, device))

    def once(meter: Meter) -> None:
        meter.begin()
        players.step([Batch(a=a, b=b)])
        meter.end()

    return once


def _plain_training(case: Case, device: torch.device) -> Once:
    method: plain.CycleGan | plain.DualGan = plain.CycleGan()
    critic_steps = 1
    if case.work == "dualgan":
        program = plain.PROGRAMS[case.name]
        method, critic_steps = plain.DualGan(program, case.height), program.critic_steps
    method.nets.to(device)
    method.ready()
    a, b = (picture(case, device, critic_steps, seed) for seed in (1, 2))

    def once(meter: Meter) -> None:
        meter.begin()
        method.step(a, b)
        meter.end()

    return once


def _pair(case: Case, method: TrainedMethod, device: torch.device) -> tuple[Tensor, Tensor]:
    steps = method.batches_a_step
    return picture(case, device, steps, 1), picture(case, device, steps, 2)


def picture(case: Case, device: torch.device, batches: int = 1, seed: int = 0) -> Tensor:
    """Blurred blots with a little grain (N, 3, H, W) in [0, 1]."""
    random = torch.Generator().manual_seed(seed)
    count, sides = case.batch * batches, (case.height, case.width)
    blots = F.interpolate(torch.rand(count, 3, 8, 8, generator=random), sides, mode="bicubic")
    return (blots + 0.05 * torch.randn(count, 3, *sides, generator=random)).clamp(0, 1).to(device)


# --- Iterations of Gatys: those after the first, which sets up ---


def _iterations(device: torch.device) -> int:
    return 20 if device.type == "cuda" else 2


def _our_gatys(case: Case, chosen: Precision, device: torch.device) -> Once:
    counted = _iterations(device)
    config = gatys.Config(
        vgg="random",
        optimizer="adam" if case.name == "adam" else "lbfgs",
        first_scale=0,
        iterations=1 + counted,
    )
    method = gatys.Method(config).to(device)
    content, style = picture(case, device), picture(case, device, seed=1)

    def once(meter: Meter) -> None:
        with torch.no_grad(), devices.autocast(chosen, device):
            for step in method.optimise(content, style):
                if step.done == 1:
                    meter.begin()
        meter.end(counted)

    return once


def _plain_gatys(case: Case, device: torch.device) -> Once:
    counted, vgg = _iterations(device), plain.Vgg(plain.RELUS["5"]).to(device)
    content, style = picture(case, device), picture(case, device, seed=1)

    def once(meter: Meter) -> None:
        begun = False

        def begins(iteration: int) -> None:
            nonlocal begun
            if iteration == 2 and not begun:
                begun = True
                meter.begin()

        method = plain.Gatys(vgg, content, style)
        run = method.adam if case.name == "adam" else method.lbfgs
        run(1 + counted, begins)
        meter.end(counted)

    return once


# --- Translation: a tensor on the device to a tensor on the device ---

METHODS: dict[str, tuple[ModuleType, dict[str, Any]]] = {
    "johnson": (johnson, {}),
    "adain": (adain, {"vgg": "random", "style_size": 0}),
    "cyclegan": (cyclegan, {}),
}


def _style(case: Case, device: torch.device) -> Tensor | None:
    if case.name != "adain":
        return None
    side = min(STYLE_SIDE, case.height, case.width)
    return picture(Case(work="translate", height=side, width=side), device, seed=1)


def _our_translation(case: Case, chosen: Precision, device: torch.device) -> Once:
    module, options = METHODS[case.name]
    method = module.Method(module.Config(**options)).to(device).eval().requires_grad_(False)
    content, style = picture(case, device), _style(case, device)

    def once(meter: Meter) -> None:
        meter.begin()
        translate(method, content, style, chosen)
        meter.end()

    return once


def _plain_translation(case: Case, device: torch.device) -> Once:
    content, style = picture(case, device), _style(case, device)
    if case.name == "adain":
        stylist = plain.AdaIn()
        stylist.net.to(device)
        stylist.encoder.to(device)
        assert style is not None

        def paint() -> Tensor:
            return stylist.translate(content, style)
    elif case.name == "johnson":
        painter = plain.Johnson()
        painter.net.to(device)

        def paint() -> Tensor:
            return painter.translate(content)
    else:
        generator = plain.resnet_generator().to(device)

        def paint() -> Tensor:
            return (generator(2 * content - 1) + 1) / 2

    def once(meter: Meter) -> None:
        meter.begin()
        with torch.no_grad():
            paint()
        meter.end()

    return once


# --- The loader: pairs of crops from JPEG files ---


def _loader(case: Case, variant: str, device: torch.device, folder: Path) -> Once:
    """Batches as training gets them, a unit being a pair; nobody computes meanwhile."""
    for number, side in enumerate("ab"):
        write_photos(folder / side, number)
    domain = domain_from_two_folders(folder / "a", folder / "b", test_share=0.1, seed=0)
    config = DataConfig(size=case.height, cache_gb=0.0 if variant == "decoded" else 4.0)
    data = DomainPair(domain, config, seed=0)
    count = max(1, ITEMS // case.batch)

    def once(meter: Meter) -> None:
        with closing(data.batches(0, case.batch, pinned=device.type == "cuda")) as batches:
            for _ in range(2 * config.workers):  # the threads are at their pace
                next(batches)
            meter.begin()
            for _ in range(count):
                batch = next(batches)
                _ = [batch[side].to(device, non_blocking=True) for side in data.sides]
            meter.end(count * case.batch)

    return once


def write_photos(folder: Path, seed: int, count: int = PHOTOS) -> None:
    """JPEG files of smooth colours with grain, about as large as photographs of their size."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number in range(count):
        small = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        smooth = Image.fromarray(small).resize(PHOTO[::-1], Image.Resampling.BICUBIC)
        grain = random.normal(0, 6, (*PHOTO, 3))
        array = (np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8)
        Image.fromarray(array).save(folder / f"{number:03}.jpg", quality=90)


# --- What the machine can do ---


def ceiling(device: torch.device, quick: bool) -> dict[str, float]:
    """The best that it does: GFLOP/s of convolutions by precision, and GB/s of copies.

    Of bf16 only where auto chooses it: a processor that doesn't multiply it takes minutes.

    The convolution is that of CycleGAN's residual blocks, 3x3 from 256 channels to 256 on maps of
    64x64 pixels, forward alone; in both orders of memory, of 1 and of 8 images. A copy reads and
    writes each byte.
    """
    tries = 3 if quick and device.type == "cpu" else 10
    found = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        if name == "bf16" and devices.choose_precision("auto", device) != "bf16":
            continue
        rates = []
        for order in (torch.contiguous_format, torch.channels_last):
            for count in (1, 8):
                x = torch.randn(count, 256, 64, 64, device=device, dtype=dtype)
                x = x.contiguous(memory_format=order)
                conv = nn.Conv2d(256, 256, 3, padding=1, device=device, dtype=dtype)
                conv = conv.to(memory_format=order)
                operations = 2 * 9 * 256 * 256 * 64 * 64 * count
                with torch.no_grad():
                    seconds = _best(partial(conv, x), tries, device)
                rates.append(operations / seconds / 1e9)
        found[f"{name}_gflops"] = max(rates)
    a = torch.ones(2**28 if device.type == "cuda" else 2**26, device=device)
    b = torch.empty_like(a)
    found["copy_gb_per_second"] = (
        2 * 4 * a.numel() / _best(partial(b.copy_, a), tries, device) / 1e9
    )
    return found


def _best(work: Callable[[], Any], tries: int, device: torch.device) -> float:
    """Seconds: several in a row on a GPU, which one launch is too short for."""
    row = 20 if device.type == "cuda" else 1
    times = []
    for _ in range(2 + tries):
        started = now(device)
        for _ in range(row):
            work()
        times.append((now(device) - started) / row)
    return min(times[2:])


def machine(device: torch.device) -> dict[str, Any]:
    """What the numbers were measured on, and torch's settings that they hang on."""
    flags: list[str] = []
    name = device.type
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():
        text = cpu.read_text()
        found = set((re.search(r"^flags\s*:(.*)$", text, re.M) or [""])[0].split())
        flags = sorted(found & {"avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile"})
        name = (re.search(r"^model name\s*:\s*(.*)$", text, re.M) or ["", name])[1]
    settings = {}
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        settings = {"TF32 in convolutions": str(torch.backends.cudnn.allow_tf32)}
    return {
        "device": device.type,
        "name": name,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "cpu_flags": flags,
        "torch": torch.__version__,
        "auto": devices.choose_precision("auto", device),
        "settings": settings,
    }


# --- A process ---


def ask(case: Case, variant: str, device: str, threads: int, warm_up: int) -> str:
    """What a process is started with."""
    return json.dumps(
        {
            "case": asdict(case),
            "variant": variant,
            "device": device,
            "threads": threads,
            "warm_up": warm_up,
        }
    )


def main(arguments: Sequence[str]) -> None:
    """Do one variant of one case: a line on the input builds it, each other does it once."""
    asked = json.loads(arguments[0])
    device = torch.device(asked["device"])
    if device.type == "cuda":
        torch.cuda.set_device(device)  # that accelerate takes
    if asked["threads"]:
        torch.set_num_threads(asked["threads"])
    if "ceiling" in asked:
        _say(machine(device) | {"ceiling": ceiling(device, asked["ceiling"] == "quick")})
        return
    case, variant = Case(**asked["case"]), asked["variant"]
    sys.stdin.readline()
    free = memory.free(device)
    if case.needs > free:
        _say({"missing": f"takes up to {case.needs / 1e9:.0f} GB, {free / 1e9:.0f} GB are free"})
        return
    try:
        with memory.explained(Path()), tempfile.TemporaryDirectory(prefix="bench-") as folder:
            _serve(case, variant, device, asked["warm_up"], Path(folder))
    except UserError as error:
        if not isinstance(error.__cause__, RuntimeError | MemoryError):
            raise
        _say({"missing": "not enough memory"})


def _serve(case: Case, variant: str, device: torch.device, warm_up: int, folder: Path) -> None:
    chosen = devices.choose_precision(cast("Wanted", case.variants[variant]), device)
    once, meter = build(case, variant, chosen, device, folder), Meter(device)
    operations = 0.0
    for number in range(warm_up):
        counts = variant == PLAIN and number == warm_up - 1
        meter.counter = Operations() if counts else None
        with meter.counter or nullcontext():
            once(meter)
        operations = meter.operations
    meter.counter = None
    _say({"precision": chosen, "operations": operations})
    for _ in sys.stdin:
        until = now(device) + TURN
        times: list[float] = []
        while not times or now(device) < until:
            once(meter)
            times.append(meter.seconds)
        _say({"times": times})
    _say({"peak_bytes": devices.peak(device)})


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
