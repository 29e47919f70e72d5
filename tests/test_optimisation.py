"""One image by an optimisation: what is written on the way, and going on after an interruption."""

import csv
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gan_style.data.images import load_image, to_array, to_tensor
from gan_style.errors import CheckpointError, Interrupted
from gan_style.maths import colour, descent
from gan_style.maths.descent import Step
from gan_style.method import OptimisedMethod
from gan_style.methods import gatys
from gan_style.styles import Style
from gan_style.translation import optimisation

# Two shallow layers and two scales: 24 and 48 pixels, three iterations and two.
SMALL = {
    "vgg": "random",
    "content_layer": "relu2_1",
    "style_layers": "relu1_1,relu2_1",
    "style_layer_weights": "0.5,0.5",
    "first_scale": 24,
    "iterations": 3,
    "iterations_finer": 2,
}
OUTPUT = Path("out/photo.png")
STATE = Path("out/photo.state.safetensors")


def pixels(seed: int, height: int = 40, width: int = 48) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def optimise(content=None, styles=None, output=OUTPUT, options=None, method=None, **how) -> Tensor:
    """A result of its own method every time, as every command makes one."""
    method = method or gatys.Method(gatys.Config(**SMALL | (options or {})))
    with torch.no_grad():
        return optimisation.optimise(
            method,
            pixels(1) if content is None else content,
            styles or [Style(image=pixels(2, 30, 34))],
            output,
            options or {},
            **how,
        )


@pytest.fixture
def interrupt(monkeypatch):
    """Ctrl-C or SIGTERM during an iteration, counted from the start of the process."""
    step = descent.Descent.step

    def arrange(iteration: int | None, number: int = signal.SIGINT) -> None:
        calls: list[None] = []

        def interrupted(self):
            calls.append(None)
            if len(calls) == iteration:
                os.kill(os.getpid(), number)
            return step(self)

        monkeypatch.setattr(descent.Descent, "step", interrupted)

    return arrange


def stopped(**arguments) -> str:
    with pytest.raises(Interrupted) as error:
        optimise(**arguments)
    assert error.value.code == 130
    return str(error.value)


# Interrupted, and gone on with


@pytest.mark.parametrize("iteration", [1, 2, 3, 4, 5])  # 3 is the last at the first scale
@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_a_resumed_image_is_that_of_an_undisturbed_run(interrupt, optimizer, iteration):
    options = {"optimizer": optimizer}
    undisturbed = optimise(options=options)
    assert not torch.equal(undisturbed, pixels(1))
    interrupt(iteration)
    said = stopped(options=options)
    assert f"stopped by signal 2 after {iteration} of 5 iterations" in said
    assert said.endswith("go on with the same command and --resume")
    assert STATE.exists()
    interrupt(None)
    assert torch.equal(optimise(options=options, resume=True), undisturbed)


def test_noise_is_not_drawn_again_when_resuming(interrupt):
    options = {"init": "noise"}
    torch.manual_seed(0)
    undisturbed = optimise(options=options)
    interrupt(2)
    torch.manual_seed(0)
    stopped(options=options)
    interrupt(None)
    torch.manual_seed(1)
    assert torch.equal(optimise(options=options, resume=True), undisturbed)


def test_two_interruptions_are_as_good_as_none(interrupt):
    undisturbed = optimise()
    interrupt(2)
    stopped()
    interrupt(2)  # of the three that are left
    assert "after 4 of 5 iterations" in stopped(resume=True)
    interrupt(None)
    assert torch.equal(optimise(resume=True), undisturbed)


def test_sigterm_is_as_good_as_ctrl_c(interrupt):
    interrupt(1, signal.SIGTERM)
    assert "stopped by signal 15 after 1 of 5" in stopped()
    assert STATE.exists()


def test_a_state_is_saved_now_and_then_without_a_signal(monkeypatch):
    class Killed(BaseException):
        """As kill -9, nothing is done about it."""

    step = descent.Descent.step

    def killed(self):
        if self.iteration == 2:
            raise Killed
        return step(self)

    undisturbed = optimise()
    monkeypatch.setattr(optimisation, "SAVE_EVERY_SECONDS", 0.0)
    with monkeypatch.context() as context:
        context.setattr(descent.Descent, "step", killed)
        with pytest.raises(Killed):
            optimise()
    steps: list[None] = []
    monkeypatch.setattr(descent.Descent, "step", lambda self: steps.append(None) or step(self))
    assert torch.equal(optimise(resume=True), undisturbed)
    assert len(steps) == 3  # two were done before


def test_without_resume_a_state_is_not_gone_on_from(interrupt):
    undisturbed = optimise()
    interrupt(3)
    stopped()
    image = STATE.read_bytes()
    interrupt(2)
    assert "after 2 of 5" in stopped()
    assert STATE.read_bytes() != image  # of the new one
    interrupt(None)
    assert torch.equal(optimise(), undisturbed)


def test_a_result_that_is_written_has_no_state_any_more():
    STATE.parent.mkdir()
    STATE.touch()
    optimisation.forget(OUTPUT)
    assert not STATE.exists()
    optimisation.forget(OUTPUT)  # and needs none


def style(**changes) -> list[Style]:
    return [Style(**{"image": pixels(2, 30, 34)} | changes)]


@pytest.mark.parametrize(
    "changed",
    [
        {"options": {"style_weight": 2e3}},
        {"content": pixels(3)},
        {"styles": style(image=pixels(3, 30, 34))},
        {"styles": style(weight=0.5)},
        {"styles": style(content_mask=torch.ones(1, 1, 40, 48))},
        {"styles": style(style_mask=torch.ones(1, 1, 30, 34))},
        {"styles": style() * 2},
    ],
)
def test_a_state_of_something_else_is_not_gone_on_from_but_counted(interrupt, changed):
    interrupt(2)
    stopped()
    interrupt(None)
    before, again = STATE.read_bytes(), set()
    made = optimise(resume=True, again=again, **changed)
    assert again == {OUTPUT}
    assert torch.equal(made, optimise(**changed))
    assert STATE.read_bytes() == before  # whoever writes the result removes it
    again.clear()
    optimise(resume=True, again=again)
    assert not again


def test_a_broken_state_is_named(interrupt):
    interrupt(1)
    stopped()
    STATE.write_bytes(STATE.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"photo\.state\.safetensors can't be read"):
        optimise(resume=True)


# Pictures and curves


def scalars(folder: Path) -> dict[str, list[int]]:
    """Name -> the iterations that have a value."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {name: [each.step for each in events.Scalars(name)] for name in events.Tags()["scalars"]}


class Fading(OptimisedMethod):
    """Ten iterations, the image after the i-th of which is i / 10 everywhere."""

    def optimise(self, content, style, state=None):
        for i in range(state["i"] if state else 0, 10):
            if i == 6 and not state:
                os.kill(os.getpid(), signal.SIGINT)
            image = torch.full_like(content, (i + 1) / 10)
            terms = {"content": float(i), "style": 2.0 * i}
            yield Step(image=image, done=i + 1, total=10, terms=terms, state={"i": i + 1})


def test_every_nth_image_and_the_last_are_kept_and_every_loss():
    steps = OUTPUT.with_suffix(".steps")
    with pytest.raises(Interrupted):
        optimise(method=Fading(), save_every=4, finish=lambda image: 1 - image)
    assert [path.name for path in steps.glob("*.png")] == ["0004.png"]
    assert (to_array(load_image(steps / "0004.png")) == 153).all()  # 255 (1 - 0.4)
    assert scalars(steps) == {f"loss/{name}": [*range(1, 8)] for name in ("content", "style")}
    optimise(method=Fading(), save_every=4, resume=True)
    assert sorted(path.name for path in steps.glob("*.png")) == ["0004.png", "0008.png", "0010.png"]
    assert scalars(steps) == {f"loss/{name}": [*range(1, 11)] for name in ("content", "style")}


def test_an_interruption_closes_the_curves(monkeypatch):
    class Writer:
        closed = False

        def scalars(self, values, step):
            assert not self.closed

        def close(self):
            self.closed = True

    writer = Writer()
    monkeypatch.setattr(optimisation, "Curves", lambda folder: writer)
    with pytest.raises(Interrupted):
        optimise(method=Fading(), save_every=4)
    assert writer.closed  # what isn't flushed is lost when the process ends


def test_without_save_every_nothing_is_written():
    optimise()
    assert not list(Path().iterdir())


# By the command


# In bf16 the last bits, which depend on where in memory things lie, grow to levels of a pixel.
COMMAND = {"method": "gatys", "side": 48, "precision": "fp32", **SMALL}


@pytest.fixture
def files() -> None:
    """Three contents, two styles."""
    for name, seed in {"c/1": 1, "c/2": 2, "c/3": 3, "s": 4, "other": 5}.items():
        path = Path(f"{name}.png")
        path.parent.mkdir(exist_ok=True)
        values = np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(values).save(path)


def refused(capsys, code: int, function, *args, **options) -> str:
    """The last line on stderr; a bar may be above it."""
    with pytest.raises(SystemExit) as error:
        function(*args, **options)
    assert error.value.code == code
    text = capsys.readouterr().err
    assert "Traceback" not in text
    lines = [line for line in text.replace("\r", "\n").splitlines() if "gan_style: " in line]
    assert len(lines) == 1, text
    return lines[0]


@pytest.mark.usefixtures("files")
def test_several_images_are_gone_on_with_where_they_were_left(gan_style, interrupt, capsys):
    options = {"content": "c", "style": "s.png", **COMMAND}
    gan_style("translate", out="undisturbed", **options)
    interrupt(7)  # the second of the second image
    line = refused(capsys, 130, gan_style, "translate", out="out", **options)
    assert "stopped by signal 2 after 2 of 5 iterations" in line
    folder = Path("out/s")
    there = {"1.png", "2.state.safetensors"}
    assert {path.name for path in folder.iterdir()} == there
    earlier = Path("out/times.csv").read_text().splitlines()
    assert len(earlier) == 2
    before = (folder / "1.png").stat().st_mtime_ns
    interrupt(None)
    gan_style("translate", out="out", resume=True, **options)
    assert {path.name for path in folder.iterdir()} == {"1.png", "2.png", "3.png"}
    assert (folder / "1.png").stat().st_mtime_ns == before
    for name in ("1.png", "2.png", "3.png"):
        assert (folder / name).read_bytes() == Path("undisturbed/s", name).read_bytes()
    rows = list(csv.reader(Path("out/times.csv").read_text().splitlines()))
    assert [row[0] for row in rows] == ["name", "s/1.png", "s/2.png", "s/3.png"]
    assert ",".join(rows[1]) == earlier[1]


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("iteration", [2, 7])  # of the first image, of the second
def test_an_interrupted_overwriting_goes_on_to_replace_the_rest(
    gan_style, interrupt, capsys, iteration
):
    options = {"content": "c", "style": "s.png", **COMMAND}
    gan_style("translate", out="out", **options)
    changed = options | {"style_weight": 5.0}
    gan_style("translate", out="undisturbed", **changed)
    interrupt(iteration)
    refused(capsys, 130, gan_style, "translate", out="out", overwrite=True, **changed)
    interrupt(None)
    gan_style("translate", out="out", overwrite=True, resume=True, **changed)
    for name in ("1.png", "2.png", "3.png"):
        assert Path("out/s", name).read_bytes() == Path("undisturbed/s", name).read_bytes()
    assert not list(Path("out/s").glob("*.safetensors"))


@pytest.mark.usefixtures("files")
def test_images_that_start_as_noise_are_the_same_whichever_were_there_before(gan_style):
    options = {"content": "c", "style": "s.png", "init": "noise", **COMMAND}
    gan_style("translate", out="all", **options)
    shutil.copytree("all", "some")
    for name in ("2.png", "3.png"):
        Path("some/s", name).unlink()
    before = Path("some/s/1.png").stat().st_mtime_ns
    gan_style("translate", out="some", resume=True, **options)
    assert Path("some/s/1.png").stat().st_mtime_ns == before
    for name in ("2.png", "3.png"):
        assert Path("some/s", name).read_bytes() == Path("all/s", name).read_bytes()


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    "changed", [{"style": "other.png"}, {"content": "c/2.png"}, {"colour": "luma"}, {"history": 3}]
)
def test_the_command_makes_again_what_is_half_made_of_something_else(
    gan_style, interrupt, capsys, changed
):
    options = {"content": "c/1.png", "style": "s.png", "out": "x.png", **COMMAND}
    gan_style("translate", **options | {"out": "undisturbed.png"} | changed)
    interrupt(2)
    refused(capsys, 130, gan_style, "translate", **options)
    interrupt(None)
    said = gan_style("translate", resume=True, **options | changed)
    assert "1 of them were there, made by or of something else: made again" in said
    made, expected = (to_array(load_image(Path(f"{name}.png"))) for name in ("x", "undisturbed"))
    assert (made == expected).all()
    assert not Path("x.state.safetensors").exists()


@pytest.mark.usefixtures("files")
def test_one_image_is_finished_kept_and_made_again_as_those_of_a_folder(
    gan_style, interrupt, capsys, refusal
):
    out = Path("x.jpg")
    options = {"content": "c/1.png", "style": "s.png", "out": out, "resume": True, **COMMAND}
    interrupt(2)
    line = refused(capsys, 130, gan_style, "translate", **options)
    assert "go on with the same command and --resume" in line
    interrupt(None)
    gan_style("translate", **options)
    before = out.stat().st_mtime_ns
    said = gan_style("translate", **options)  # the same command, once more
    assert f"1 of 1 are in {out}" in said
    assert out.stat().st_mtime_ns == before
    said = gan_style("translate", **options | {"style_weight": 5.0})
    assert "1 of them were there, made by or of something else: made again" in said
    assert out.stat().st_mtime_ns != before
    assert {path.name for path in Path().iterdir()} == {"c", "other.png", "s.png", out.name}
    with Image.open(out) as image:  # nothing else says what made it
        image.convert("RGB").save(out)
    line = refusal(gan_style, "translate", **options)
    assert "1 of these images of which nothing says what made them" in line
    gan_style("translate", overwrite=True, **options)


@pytest.mark.usefixtures("files")
def test_luma_keeps_the_contents_chroma(gan_style):
    gan_style("translate", content="c/1.png", style="s.png", out="x.png", colour="luma", **COMMAND)
    content, made = (to_tensor(to_array(load_image(Path(p))))[None] for p in ("c/1.png", "x.png"))
    assert (colour.luma(content) - colour.luma(made)).abs().max() > 0.02  # something happened
    yiq = torch.tensor([[0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    inside = ((made > 0) & (made < 1)).all(1)  # what was clipped has another chroma
    assert inside.float().mean() > 0.5
    chroma = [torch.einsum("ij,njhw->inhw", yiq, image)[:, inside] for image in (content, made)]
    # Rounding to 8 bits: half a level times the sum of the weights, 1.19 at most.
    assert (chroma[0] - chroma[1]).abs().max() <= 1.2 * 0.5 / 255 + 1e-6


@pytest.mark.usefixtures("files")
def test_a_loss_that_is_no_number_changes_the_optimizer_and_then_ends_the_image(gan_style, capsys):
    options = {"content": "c/1.png", "style": "s.png", "out": "x.png", **COMMAND}
    with pytest.raises(SystemExit) as error:
        gan_style("translate", style_weight=1e39, **options)
    assert error.value.code == 1
    said = capsys.readouterr()
    assert "L-BFGS left the numbers in iteration 1 (content " in said.out
    assert "going on with Adam from the image before it" in said.out
    assert "gan_style: the loss is no number any more in iteration 2 of Adam" in said.err
    assert "try a lower --learning_rate or --style_weight" in said.err
    assert "Traceback" not in said.err
    assert not list(Path().glob("x*"))
