import json
import math
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.optim.swa_utils import AveragedModel

from data_tools import download
from gan_style import checkpoint, methods, runs
from gan_style.config import TrainConfig
from gan_style.methods import cyclegan
from gan_style.training import loop, schedule
from gan_style.training.state import State

NETS = ("gen_ab", "gen_ba", "disc_a", "disc_b")


def weights(run):
    files = sorted(Path(run).glob("*.safetensors"))
    assert files
    return {path.name: load_file(path) for path in files}


def same(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(one[name][key], other[name][key]) for name in one for key in one[name]
    )


def events(run):
    return EventAccumulator(str(Path(run) / "tensorboard"), size_guidance={"images": 0}).Reload()


def test_a_run_folder_describes_itself(train, toy):
    said = train(domain=toy, images=4, run_dir="run")
    assert "6 A and 6 B to train, 3 and 3 to test" in said
    assert "1 process on cpu" in said
    assert "fp32" in said
    assert "finished after 4 images" in said
    record = json.loads(Path("run/config.json").read_text())
    assert record["method"]["width_generator"] == 4
    assert record["train"]["images"] == 4
    assert record["launch"] == {"processes": 1, "precision": "fp32", "device": "cpu"}
    assert record["libraries"]["torch"] == torch.__version__.split("+")[0]
    names = {f"{net}.safetensors" for net in NETS}
    names |= {"gen_ab.ema.safetensors", "gen_ba.ema.safetensors"}
    assert set(weights("run")) == names
    assert [path.name for path in checkpoint.checkpoints(Path("run"))] == ["000000004"]


def test_run_folders_are_numbered(train, toy):
    for _ in range(2):
        train(domain=toy, images=1, sample_every=0)
    assert sorted(p.name for p in Path("results/toy/cyclegan").iterdir()) == ["0001", "0002"]


def test_a_number_that_another_run_took_meanwhile_is_left_to_it(tmp_path, monkeypatch):
    folder = tmp_path / "results"
    assert runs.create("", folder).name == "0001"
    monkeypatch.setattr(runs, "numbered", lambda folder: [])  # as the other run looked earlier
    assert runs.create("", folder).name == "0002"


def test_everything_is_in_tensorboard(train, toy):
    train(domain=toy, images=6, log_every=2, sample_every=3, samples=2, run_dir="run")
    seen = events("run")
    scalars = set(seen.Tags()["scalars"])
    terms = {"adversarial_ab", "adversarial_ba", "cycle_a", "cycle_b", "identity_a", "identity_b"}
    assert {f"generator/{term}" for term in terms} <= scalars
    assert {f"discriminator/{term}" for term in ("real_a", "fake_a", "real_b", "fake_b")} <= scalars
    assert {"learning_rate/generator", "learning_rate/discriminator"} <= scalars
    assert {f"score/{kind}" for kind in ("real_a", "fake_a", "real_b", "fake_b")} <= scalars
    assert {"speed/images_per_second", "speed/seconds_waiting_for_data"} <= scalars
    assert 0.05 < seen.Scalars("memory/peak_gb")[-1].value < 20
    assert [event.step for event in seen.Scalars("generator/cycle_a")] == [2, 4, 6]
    assert [event.step for event in seen.Images("samples/a2b")] == [0, 3, 6]
    assert [event.step for event in seen.Images("samples/b2a")] == [0, 3, 6]
    # Four columns of 24 pixels, two rows, 4 pixels between and around.
    picture = seen.Images("samples/a2b")[0]
    assert (picture.width, picture.height) == (4 * 28 + 4, 2 * 28 + 4)
    assert "config/text_summary" in seen.Tags()["tensors"]
    assert "_hparams_/session_start_info" in seen.summary_metadata


def test_an_interrupted_run_goes_on_bit_for_bit(train, toy, signal_in_step):
    options = {"domain": toy, "images": 9, "ema": 0.9, "log_every": 1, "sample_every": 2}
    train(run_dir="whole", **options)
    signal_in_step(cyclegan, 4)
    with pytest.raises(SystemExit):
        train(run_dir="parts", **options)
    assert not same(weights("whole"), weights("parts"))
    assert "going on after 4 images" in train(run_dir="parts", resume="auto", **options)
    assert same(weights("whole"), weights("parts"))


def test_a_run_stopped_between_its_last_checkpoint_and_the_export_exports_on_resume(
    train, toy, monkeypatch
):
    options = {"domain": toy, "images": 4}
    train(run_dir="whole", **options)
    with monkeypatch.context() as patch:
        patch.setattr(State, "export", lambda self, left_out: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(run_dir="stopped", **options)
    assert not list(Path("stopped").glob("*.safetensors"))
    train(run_dir="stopped", resume="auto", **options)
    assert same(weights("whole"), weights("stopped"))


@pytest.mark.slow
def test_looking_more_often_does_not_change_a_run(train, toy, monkeypatch):
    # Looking draws random numbers, as it does where dropout is the noise; so do the pools.
    for name in ("preview", "monitor"):
        look = getattr(cyclegan.Method, name)
        monkeypatch.setattr(
            cyclegan.Method,
            name,
            lambda self, batch, look=look: (torch.rand(7), look(self, batch))[1],
        )
    train(domain=toy, images=9, log_every=1, sample_every=1, run_dir="often")
    train(domain=toy, images=9, log_every=9, sample_every=0, run_dir="never")
    assert same(weights("often"), weights("never"))


@pytest.mark.slow
def test_a_finished_run_can_be_extended(train, toy):
    train(domain=toy, epochs=1, run_dir="run")
    before = weights("run")
    said = train(domain=toy, epochs=2, run_dir="run", resume="auto")
    assert "going on after 6 images" in said
    assert "finished after 12 images" in said
    assert not same(before, weights("run"))


def test_resume_auto_finds_the_newest_run(train, toy):
    train(domain=toy, images=2)
    train(domain=toy, images=2)
    assert "results/toy/cyclegan/0002" in train(domain=toy, images=3, resume="auto")


@pytest.mark.slow
def test_options_that_are_not_typed_are_the_runs_own(train_alone, toy):
    tiny = {"size": 24, "width_generator": 4, "width_discriminator": 4, "generator": "resnet_6"}
    train_alone(domain=toy, images=2, seed=5, threads=1, **tiny)
    before = json.loads(Path("results/toy/cyclegan/0001/config.json").read_text())
    assert "finished after 3 images" in train_alone(domain=toy, resume="auto", images=3)
    made_by = json.loads(Path("results/toy/cyclegan/0001/config.json").read_text())["earlier"]
    assert [each["libraries"]["torch"] for each in made_by] == [before["libraries"]["torch"]]
    assert "finished after 6 images" in train_alone(
        run_dir="results/toy/cyclegan/0001", resume="auto", epochs=1
    )
    after = json.loads(Path("results/toy/cyclegan/0001/config.json").read_text())
    assert after["method"] == before["method"]
    assert after["data"] == before["data"]
    assert (after["train"]["seed"], after["train"]["images"], after["train"]["epochs"]) == (
        5,
        None,
        1,
    )


def test_the_last_checkpoints_are_kept_and_no_partial_ones(train, toy):
    train(domain=toy, images=5, log_every=1, checkpoint_minutes=0, keep=2, run_dir="run")
    assert sorted(p.name for p in Path("run/checkpoints").iterdir()) == ["000000004", "000000005"]


def test_accumulated_steps_of_one_make_a_step_of_two(train, toy):
    options = {"domain": toy, "images": 4, "schedule": "constant", "sample_every": 0}
    train(run_dir="batch", batch_size=2, **options)
    train(run_dir="accumulated", gradient_accumulation_steps=2, **options)
    assert (
        checkpoint.load_state(Path("accumulated/checkpoints/000000004/state.safetensors"))[
            "progress"
        ]["steps"]
        == 2
    )
    # Adam's first steps are the rate times the sign of a gradient: equal but for rounding near 0,
    # which is all that a bias before an instance norm ever gets.
    for one, other in zip(weights("batch").values(), weights("accumulated").values(), strict=True):
        for key in (key for key in one if key.endswith("weight")):
            near = torch.isclose(one[key], other[key], atol=2e-5)
            assert near.float().mean() > 0.98, key


@pytest.mark.slow
def test_a_run_ends_and_goes_on_between_two_steps_of_the_optimizers(train, toy):
    options = {"domain": toy, "gradient_accumulation_steps": 3, "schedule": "constant"}
    said = train(run_dir="run", images=4, **options)
    assert "finished after 6 images" in said  # the second step needs six
    train(run_dir="run", images=9, resume="auto", **options)
    train(run_dir="whole", images=9, **options)
    assert same(weights("run"), weights("whole"))


def test_without_accumulation_it_would_be_other_weights(train, toy):
    options = {"domain": toy, "images": 4, "schedule": "constant", "sample_every": 0}
    train(run_dir="batch", batch_size=2, **options)
    train(run_dir="single", **options)
    one, other = weights("batch"), weights("single")
    far = [(one[n][k] - other[n][k]).abs().gt(2e-5).float().mean() for n in one for k in one[n]]
    assert max(far) > 0.3


def test_the_average_follows_the_weights(train, toy):
    train(domain=toy, images=1, ema=0.9, run_dir="one")
    train(domain=toy, images=2, ema=0.9, run_dir="two", schedule="constant")
    train(domain=toy, images=1, ema=0.9, run_dir="first", schedule="constant")
    first, two = weights("first"), weights("two")
    key = "model.1.weight"
    # The first step starts the average; after n others it keeps (1 + n) / (10 + n) of itself.
    torch.testing.assert_close(
        two["gen_ab.ema.safetensors"][key],
        2 / 11 * first["gen_ab.safetensors"][key] + 9 / 11 * two["gen_ab.safetensors"][key],
    )


@pytest.mark.parametrize("ema", [0.5, 0.999])
def test_the_average_warms_up_by_the_closed_form(ema):
    net = torch.nn.Linear(3, 2, dtype=torch.float64)
    average = AveragedModel(net, multi_avg_fn=schedule.averaging(ema))
    history = torch.randn(40, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    decays = [0.0] + [min(ema, (1 + n) / (10 + n)) for n in range(1, 40)]
    for count, weight in enumerate(history, start=1):
        net.weight.data.copy_(weight)
        average.update_parameters(net)
        # Weight k counts by the share that it was taken with, and by what later steps kept of it.
        shares = [(1 - decays[k]) * math.prod(decays[k + 1 : count]) for k in range(count)]
        assert sum(shares) == pytest.approx(1)
        expected = torch.tensordot(torch.tensor(shares, dtype=torch.float64), history[:count], 1)
        torch.testing.assert_close(average.module.weight.data, expected, rtol=1e-6, atol=1e-7)


def test_the_average_of_a_short_run_is_of_its_later_weights():
    net = torch.nn.Linear(1, 1, bias=False)
    net.weight.data.fill_(0.0)
    average = AveragedModel(net, multi_avg_fn=schedule.averaging(0.999))
    for step in range(1, 501):  # weights that move steadily: their mean of 1 to 500 is 250
        net.weight.data.fill_(float(step))
        average.update_parameters(net)
    assert average.module.weight.item() > 440


def test_a_nan_stops_the_run_and_names_player_term_and_step(train, toy, monkeypatch, capsys):
    losses = cyclegan.Method.losses
    steps = iter(range(1, 99))

    def poisoned(self, batch):
        broken = next(steps) == 4
        for player, terms in losses(self, batch):
            if broken and player == "discriminator":
                terms["fake_b"] = terms["fake_b"] * float("nan")
            yield player, terms

    monkeypatch.setattr(cyclegan.Method, "losses", poisoned)
    with pytest.raises(SystemExit) as error:
        train(domain=toy, images=20, log_every=3, checkpoint_minutes=0, run_dir="run")
    assert error.value.code == 1
    said = capsys.readouterr().err
    assert "term fake_b of player discriminator is nan in step 4 (image 4)" in said
    last = checkpoint.checkpoints(Path("run"))[-1]
    assert f"last good checkpoint is {last}" in said
    assert last.name == "000000003"
    assert all(w.isfinite().all() for net in weights("run").values() for w in net.values())


def test_weights_that_are_no_numbers_replace_nothing(train, toy, monkeypatch, capsys):
    losses, steps = cyclegan.Method.losses, iter(range(1, 99))

    def poisoned(self, batch):
        yield from losses(self, batch)
        if next(steps) == 3:  # as a gradient beyond all numbers would leave them
            self.gen_ba.model[1].weight.data.fill_(float("nan"))

    monkeypatch.setattr(cyclegan.Method, "losses", poisoned)
    with pytest.raises(SystemExit) as error:
        train(domain=toy, images=9, log_every=100, checkpoint_minutes=0, run_dir="run")
    assert error.value.code == 1
    assert "weights of gen_ba are no numbers any more after image 3" in capsys.readouterr().err
    assert [p.name for p in checkpoint.checkpoints(Path("run"))] == ["000000001", "000000002"]
    assert all(w.isfinite().all() for net in weights("run").values() for w in net.values())


def test_the_learning_rate_reaches_the_optimizers(train, toy):
    train(domain=toy, images=8, log_every=1, run_dir="run", learning_rate=1e-3)
    rates = [event.value for event in events("run").Scalars("learning_rate/generator")]
    # A constant half, then 1, 3/4, 1/2, 1/4 of it at the start of each of the last four steps.
    expected = [1e-3] * 5 + [7.5e-4, 5e-4, 2.5e-4]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(
    ("before", "after", "every", "due"),
    [(0, 3, 4, False), (3, 6, 4, True), (3, 4, 4, True), (4, 7, 4, False), (0, 9, 0, False)],
)
def test_intervals_are_passed_whatever_the_batch(before, after, every, due):
    assert loop._passed(before, after, every) is due


def test_a_signal_saves_and_says_how_to_go_on(train, toy, capsys, signal_in_step):
    signal_in_step(cyclegan, 3)
    with pytest.raises(SystemExit) as error:
        train(domain=toy, images=9, run_dir="run")
    assert error.value.code == 130
    said = capsys.readouterr().err
    assert "after 3 images" in said
    assert "--run_dir run --resume auto" in said
    assert [path.name for path in checkpoint.checkpoints(Path("run"))] == ["000000003"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.slow
def test_a_budget_in_minutes_ends(train, toy):
    train(domain=toy, minutes=0.02, run_dir="run", sample_every=0, log_every=1)
    state = checkpoint.load_state(checkpoint.checkpoints(Path("run"))[-1] / "state.safetensors")
    assert state["progress"]["images"] >= 1
    assert state["progress"]["seconds"] >= 1.2
    rates = [event.value for event in events("run").Scalars("learning_rate/generator")]
    assert rates[0] > rates[-1]


@pytest.mark.slow
def test_loose_folders_are_split_once_and_the_split_is_kept(train, toy):
    options = {"data_a": toy / "trainA", "data_b": toy / "trainB", "test_share": 0.34}
    said = train(images=1, **options)
    assert "trainA2trainB: 4 A and 4 B to train, 2 and 2 to test" in said
    run = Path("results/trainA2trainB/cyclegan/0001")
    before = (run / "testA.txt").read_text()
    (toy / "trainA" / "new.png").write_bytes((toy / "testA").glob("*").__next__().read_bytes())
    assert "trainA2trainB: 4 A and 4 B to train" in train(images=2, resume="auto", **options)
    # The name is the folders', wherever the run is.
    train(images=1, run_dir="elsewhere", **options)
    assert "on trainA2trainB: " in train(images=2, run_dir="elsewhere", resume="auto")
    assert (run / "testA.txt").read_text() == before


def test_bad_images_left_out_are_counted(train, toy):
    (toy / "trainA" / "bad.png").touch()
    said = train(domain=toy, images=1, skip_bad_images=True, run_dir="run")
    assert "bad images left out: 1" in said
    assert "bad.png" in said


def test_states_survive_a_round_trip(tmp_path):
    tensor = torch.arange(6.0).reshape(2, 3)
    state = {
        "tensor": tensor.t(), 3: [1, 2.5, None, True, "text", {"deep": torch.tensor(7)}], "": (1,)
    }  # fmt: skip
    checkpoint.save_state(state, tmp_path / "state.safetensors")
    back = checkpoint.load_state(tmp_path / "state.safetensors")
    assert torch.equal(back["tensor"], tensor.t())
    assert back[3][:5] == [1, 2.5, None, True, "text"]
    assert back[3][5]["deep"].item() == 7
    assert back[""] == [1]


def test_the_pools_and_the_random_state_are_in_a_checkpoint(train, toy):
    train(domain=toy, images=4, pool_size=3, run_dir="run")
    state = checkpoint.load_state(Path("run/checkpoints/000000004/process_0.safetensors"))
    images = state["extra"]["pool_a._extra_state"]["images"]
    assert [image.shape for image in images] == [(3, 24, 24)] * 3
    assert torch.equal(state["cpu"], torch.get_rng_state())


def test_first_batches_differ_between_seeds(train, toy):
    train(domain=toy, images=1, seed=0, run_dir="zero")
    train(domain=toy, images=1, seed=1, run_dir="one")
    assert not same(weights("zero"), weights("one"))


def test_the_budget_is_the_share_that_is_spent():
    config = TrainConfig(epochs=10)
    shares = [schedule.spent(config, images, 0, epoch=20) for images in (0, 100, 200, 999)]
    assert shares == [0, 0.5, 1, 1]
    assert schedule.spent(TrainConfig(minutes=2.0), 5, 30, epoch=20) == 0.25
    assert schedule.spent(TrainConfig(images=50), 10, 0, epoch=20) == 0.2


# A method that reads one side, with presets

BRIGHTNESS = """
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from gan_style.errors import ConfigError
from gan_style.method import Method as Untrained
from gan_style.method import TrainedMethod

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"images": 4, "rate": 0.5},  # the default
    "slow": {"minutes": 9.0, "rate": 0.25, "size": 16},
}


@dataclass(frozen=True, kw_only=True)
class Config:
    rate: float = 0.1  # of SGD
    style: str = "."  # a path that must exist


class Method(TrainedMethod):
    players: ClassVar = {"net": ("net",)}
    averaged: ClassVar = ("net",)
    sides: ClassVar = ("b",)
    inference_networks: ClassVar = ("net",)

    def __init__(self, config):
        super().__init__()
        self.config, self.net = config, nn.Conv2d(3, 3, 1)

    def prefetch(self):
        if not Path(self.config.style).exists():
            raise ConfigError(f"--style is {self.config.style!r}: no such file")

    def optimizer(self, player, parameters):
        return torch.optim.SGD(parameters, lr=self.config.rate)

    def translate(self, content, style=None):
        return self.net(content).sigmoid()

    def losses(self, batch):
        assert set(batch) == {"b"}
        yield "net", {"white": (self.translate(batch["b"]) - 1).square().mean()}

    def preview(self, batch):
        assert set(batch) == {"b"}
        return {"b": {"brighter": self.translate(batch["b"])}}
"""


@pytest.fixture
def brightness(train_alone, tmp_path, monkeypatch):
    """Train `brightness`, the only method that there is beside `nothing`."""
    folder = tmp_path / "methods"
    folder.mkdir()
    (folder / "brightness.py").write_text(BRIGHTNESS)
    (folder / "nothing.py").write_text(BRIGHTNESS.replace("(TrainedMethod)", "(Untrained)"))
    monkeypatch.setattr(methods, "__path__", [str(folder)])
    tiny = {"method": "brightness", "size": 16, "workers": 1, "threads": 1, "log_every": 1}
    yield lambda **options: train_alone(**(tiny | options))
    for name in ("brightness", "nothing"):
        if sys.modules.pop(f"gan_style.methods.{name}", None):
            delattr(methods, name)


@pytest.fixture
def photos(toy):
    """A folder of nine images, some of them deeper, that is no domain."""
    shutil.rmtree(toy / "trainA")
    shutil.rmtree(toy / "testA")
    (toy / "trainB").rename(toy / "summer")
    (toy / "testB").rename(toy / "winter")
    return toy.rename(toy.with_name("photos"))


def record(run):
    return json.loads((Path(run) / "config.json").read_text())


def test_a_method_of_one_side_reads_that_side_of_a_domain(brightness, toy):
    shutil.rmtree(toy / "trainA")
    said = brightness(domain=toy, run_dir="run", sample_every=2)
    assert "brightness on toy: 6 B to train, 3 to test" in said
    assert "finished after 4 images" in said
    assert [event.step for event in events("run").Images("samples/b")] == [0, 2, 4]
    assert not list(Path("run").glob("*.txt"))


def test_other_images_on_the_side_that_is_not_read_do_not_matter(brightness, toy, refusal):
    brightness(domain=toy, run_dir="run")
    (toy / "trainA" / "new.png").touch()
    assert "going on after 4" in brightness(domain=toy, run_dir="run", images=6, resume="auto")
    (toy / "trainB" / "new.png").write_bytes(next((toy / "testB").glob("*")).read_bytes())
    line = refusal(brightness, domain=toy, run_dir="run", images=8, resume="auto")
    assert "(6 then, 7 now)" in line


def test_a_plain_folder_is_split_once_and_the_split_is_kept(brightness, photos):
    options = {"domain": photos, "test_share": 0.34}
    assert "brightness on photos: 6 B to train, 3 to test" in brightness(**options)
    run = Path("results/photos/brightness/0001")
    before = {path.name: path.read_text() for path in run.glob("*.txt")}
    assert [len(before[f"{part}.txt"].split()) for part in ("trainA", "testA")] == [0, 0]
    assert [len(before[f"{part}.txt"].split()) for part in ("trainB", "testB")] == [6, 3]
    (photos / "new.png").write_bytes(next(photos.rglob("*.png")).read_bytes())
    said = brightness(resume="auto", images=6, domain=photos)
    assert "brightness on photos: 6 B to train, 3 to test" in said
    assert "going on after 4 images" in said
    assert {path.name: path.read_text() for path in run.glob("*.txt")} == before


def test_a_plain_folder_is_no_pair(train, photos, refusal):
    line = refusal(train, domain=photos)
    assert "photos has no folder trainA: a domain has trainA, trainB, testA, testB" in line
    assert "--data_a DIR --data_b DIR" in line
    assert not list(Path("results").rglob("*"))


def test_an_empty_folder_is_no_collection(brightness, refusal):
    Path("empty").mkdir()
    assert "empty has no folder trainB and no images" in refusal(brightness, domain="empty")


def test_the_presets_options_and_name_are_recorded(brightness, toy):
    brightness(domain=toy, run_dir="first")
    assert record("first")["preset"] == "quick"
    assert (record("first")["train"]["images"], record("first")["method"]["rate"]) == (4, 0.5)
    Path("some.toml").write_text('preset = "slow"\nimages = 2\n')
    brightness(domain=toy, run_dir="second", config="some.toml", rate=0.125)
    second = record("second")
    assert (second["preset"], second["method"]["rate"]) == ("slow", 0.125)
    assert (second["train"]["images"], second["train"]["minutes"]) == (2, None)


def test_a_method_without_presets_records_none(train, toy):
    train(domain=toy, images=1, run_dir="run")
    assert "preset" not in record("run")


def test_a_run_goes_on_with_its_own_options_whatever_the_presets_are_now(
    brightness, toy, tmp_path, refusal
):
    brightness(domain=toy, preset="slow", images=2, size=24, run_dir="run")
    path = tmp_path / "methods" / "brightness.py"
    path.write_text(path.read_text().replace("0.25", "0.75").replace('"rate": 0.5', '"rate": 0.9'))
    options = {"domain": toy, "run_dir": "run", "resume": "auto", "images": 4, "size": 24}
    assert "going on after 2 images" in brightness(**options)
    assert "going on after 4 images" in brightness(**options | {"images": 6, "preset": "slow"})
    assert (record("run")["preset"], record("run")["method"]["rate"]) == ("slow", 0.25)
    assert record("run")["data"]["size"] == 24
    line = refusal(brightness, **options | {"preset": "quick"})
    assert "--preset is 'quick', but run was made with preset 'slow'" in line


def test_an_unknown_preset_gets_the_nearest_name(brightness, toy, refusal):
    assert "did you mean 'quick'?" in refusal(brightness, domain=toy, preset="quik")
    assert not list(Path("results").rglob("*"))


def test_what_a_method_misses_is_known_before_anything_is_read_or_written(
    brightness, refusal, monkeypatch
):
    monkeypatch.setattr(download, "download", None)
    line = refusal(brightness, domain="monet2photo", style="none.jpg")
    assert line == "train.py: --style is 'none.jpg': no such file"
    assert not Path("results").exists()


def test_a_method_without_training_is_refused_before_anything_starts(
    brightness, refusal, monkeypatch
):
    monkeypatch.setattr(download, "download", None)
    monkeypatch.setattr("accelerate.Accelerator", None)
    line = refusal(brightness, domain="monet2photo", method="nothing")
    assert line == "train.py: nothing has nothing to train; use it with translate"


def test_the_inverse_schedule_counts_steps_of_the_optimizers(brightness, toy):
    brightness(
        domain=toy, images=6, schedule="inverse", gradient_accumulation_steps=2, run_dir="run",
        rate=1.0,
    )  # fmt: skip
    rates = [event.value for event in events("run").Scalars("learning_rate/net")]
    assert rates == pytest.approx([1 / (1 + 5e-5 * step) for step in (0, 1, 2)], rel=1e-6)


def test_help_is_of_the_method_that_is_named(brightness, capsys, monkeypatch):
    from gan_style.training import launch as script

    Path("some.toml").write_text('method = "brightness"\n')
    for named in ("--method=brightness", "--config=some.toml"):
        monkeypatch.setattr(sys, "argv", ["train.py", named, "--help"])
        script.main()
        said = capsys.readouterr().out
        assert "Method brightness; presets: quick (default), slow" in said
        assert "--rate=0.5 " in said  # the default preset's


def test_oblong_samples_keep_their_size_in_a_grid(train, toy):
    train(domain=toy, images=1, width=40, samples=1, run_dir="run")
    picture = events("run").Images("samples/a2b")[0]
    assert (picture.width, picture.height) == (4 * 44 + 4, 44 + 4)  # squares of the longer side


def test_the_launchers_gathering_is_none_of_ours(train, toy, monkeypatch):
    options = {"domain": toy, "images": 2, "sample_every": 0}
    train(run_dir="plain", **options)
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "2")
    train(run_dir="told", **options)
    assert same(weights("plain"), weights("told"))
