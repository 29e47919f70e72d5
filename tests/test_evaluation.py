"""Folders of images in, numbers out. Networks are random or replaced, but for the last test."""

import json
import math
import os
import shutil
import subprocess
import sys
import unicodedata
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gan_style import home, weights
from gan_style.data import pairs
from gan_style.data.images import list_images
from gan_style.errors import ConfigError, DataError
from gan_style.evaluation import measure as evaluation
from gan_style.evaluation import metrics
from gan_style.evaluation.metric import PairMetric, SetMetric
from gan_style.evaluation.metrics import _features
from gan_style.translation import jobs as translation

ROOT = Path(__file__).parents[1]
SIDE = 32
HOW = evaluation.How(device=torch.device("cpu"), size=SIDE)


SEEN = evaluation.Seen()


class Means(nn.Module):
    """Stands in for Inception and VGG-16: means of 8x8 tiles and their squares, at full rank."""

    def forward(self, images):
        tiles = nn.functional.avg_pool2d(images, 8).flatten(1)
        return torch.cat([tiles, tiles.square()], dim=1)


@pytest.fixture(autouse=True)
def _random_networks(monkeypatch):
    """Metrics and features without a file of weights."""
    for name in metrics.names():
        module = metrics.load(name)
        if module.INFO.weights and issubclass(module.Metric, PairMetric):
            monkeypatch.setattr(module.Metric.__init__, "__defaults__", ("random",))
    real = _features.extractor
    monkeypatch.setattr(
        _features, "extractor", lambda name: real(name) if name == "patches" else Means()
    )


def picture(seed, size=(SIDE, SIDE)):
    """Colourful clouds with grain."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    clouds = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)).astype(int)
    grain = generator.integers(-20, 21, (size[1], size[0], 3))
    return Image.fromarray((clouds * 0.8 + 20 + grain).clip(0, 255).astype(np.uint8))


def folder(path, names, first=0, size=(SIDE, SIDE)):
    for seed, name in enumerate(names, start=first):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        picture(seed, size).save(path / name)
    return path


NAMES = [f"{letter}.png" for letter in "abcd"]


@pytest.fixture
def three(tmp_path):
    """Translations, their contents, and a collection."""
    return (
        folder(tmp_path / "translated", NAMES, first=10),
        folder(tmp_path / "content", NAMES),
        folder(tmp_path / "style", [f"{number}.png" for number in range(7)], first=20),
    )


def numbers(samples, collection, how=HOW, names=(), **more):
    columns = evaluation.choose(names)
    return evaluation.compute(samples, sorted(collection.iterdir()), columns, how, **more)


def values(found):
    return {key: entry["value"] for key, entry in found.items()}


BEST = {"ssim": 1.0, "ssim_truth": 1.0, "edge_ssim": 1.0, "psnr": 100.0, "precision_recall": 1.0}


@pytest.mark.slow
def test_identical_folders_have_the_best_value_of_every_metric(three):
    _, content, _ = three
    samples = [
        evaluation.Sample(
            name=path.name,
            translated=path,
            content=path,
            style=path,
            truth=path,
            reconstruction=path,
        )
        for path in sorted(content.iterdir())
    ]
    found = values(numbers(samples, content))
    assert found.keys() == metrics.columns().keys()
    # KID compares no image with itself, so that it is below 0 for a collection and itself.
    assert found.pop("kid") < 0
    assert found.pop("kid_vgg16") < 0
    assert found.pop("kid_alex") < 0
    assert found.pop("artfid") == pytest.approx(1, abs=1e-4)
    for key, value in found.items():
        assert value == pytest.approx(BEST.get(key, 0.0), abs=1e-4), key


@pytest.mark.slow
def test_swapped_folders_show_which_metrics_have_a_direction(three):
    translated, content, _ = three
    there = numbers(evaluation.match(translated, content), content)
    back = numbers(evaluation.match(content, translated), translated)
    for key in ("kid", "fid", "sliced_wasserstein", "lpips_alex", "lpips_vgg", "ssim", "content"):
        assert there[key]["value"] == pytest.approx(back[key]["value"], rel=1e-4), key
    assert there["cfsd"]["value"] != pytest.approx(back["cfsd"]["value"], rel=1e-5)  # KL
    # What is precise one way is recalled the other way.
    ways = ("precision", "recall")
    assert [there["precision_recall"][way] for way in ways] == [
        back["precision_recall"][way] for way in reversed(ways)
    ]


def test_a_collection_of_few_kinds_is_precise_but_recalls_little(tmp_path, three):
    _, _, style = three
    few = tmp_path / "few"
    few.mkdir()
    for index, name in enumerate(NAMES):
        shutil.copy(style / f"{index % 2}.png", few / name)
    samples = evaluation.match(few, three[1])
    entry = numbers(samples, style, names=["precision_recall"])["precision_recall"]
    assert entry["precision"] > entry["recall"]


@pytest.mark.slow
def test_numbers_depend_neither_on_batch_size_nor_on_workers(three):
    translated, content, style = three
    samples = evaluation.match(translated, content, next(style.iterdir()), truth=content)
    alone = numbers(samples, style)
    how = evaluation.How(device=HOW.device, size=SIDE, batch_size=3, workers=5)
    together = numbers(samples, style, how)
    for key, entry in alone.items():
        if "missing" in entry:
            assert together[key] == entry
        else:
            assert together[key]["value"] == pytest.approx(entry["value"], rel=1e-4), key
            each = entry.get("each", [])
            assert together[key].get("each", []) == pytest.approx(each, rel=1e-4), key


def test_images_of_any_shape_are_measured_as_squares_of_one_size(tmp_path, three):
    wide = folder(tmp_path / "wide", NAMES, size=(96, 20))
    tall = folder(tmp_path / "tall", ["x.png", "y.png"], first=30, size=(20, 200))
    same = [
        evaluation.Sample(name=path.name, translated=path, content=path)
        for path in sorted(wide.iterdir())
    ]
    found = numbers(same, tall, names=["ssim", "sliced_wasserstein"])
    assert found["ssim"]["value"] == pytest.approx(1)
    square, shape, _ = evaluation.read_square(wide / "a.png", HOW)
    assert (square.shape, shape) == ((3, SIDE, SIDE), (20, 96))
    seen = evaluation.Seen(shapes={sample.translated: (20, 96) for sample in same})
    protocol = evaluation.protocol(HOW, same, [], [], seen)
    assert (protocol["images"], protocol["enlarged"], protocol["reshaped"]) == (4, 4, 0)


def test_a_mean_has_the_interval_of_its_standard_error():
    # 1000 numbers of deviation 2: the standard error is 2 / sqrt(1000), and 1.96 of it 0.124.
    each = list(np.random.default_rng(0).normal(5, 2, 1000))
    entry = evaluation._mean(each, seed=0)
    assert entry["value"] == pytest.approx(np.mean(each))
    assert entry["images"] == 1000
    assert entry["high"] - entry["value"] == pytest.approx(0.124, rel=0.1)
    assert entry["value"] - entry["low"] == pytest.approx(0.124, rel=0.1)
    assert evaluation._mean(each, seed=0) == entry


def test_a_mean_of_one_image_has_no_interval_and_images_without_a_number_dont_count():
    assert evaluation._mean([None, 3.0], seed=0) == {"value": 3.0, "images": 1, "each": [None, 3.0]}


def test_the_interval_of_kid_is_of_its_deviation(three):
    translated, content, style = three
    entry = numbers(evaluation.match(translated, content), style, names=["kid"])["kid"]
    assert entry["high"] - entry["value"] == pytest.approx(1.96 * entry["std"])
    assert entry["value"] - entry["low"] == pytest.approx(1.96 * entry["std"])


def test_the_product_is_of_lpips_and_fid(three):
    translated, content, style = three
    found = numbers(evaluation.match(translated, content), style)
    product = (1 + found["lpips_alex"]["value"]) * (1 + found["fid"]["value"])
    assert found["artfid"]["value"] == pytest.approx(product)
    assert found["artfid"]["few"] == 1.0
    alone = numbers(evaluation.match(translated, content), style, names=["artfid"])
    assert set(alone) == {"artfid", "fid", "lpips_alex"}  # it brings what it is made of
    assert alone["artfid"] == found["artfid"]


def test_the_products_interval_is_of_its_factors(three):
    translated, content, style = three
    found = numbers(evaluation.match(translated, content), style, names=["artfid"])
    lpips, fid, product = (found[key] for key in ("lpips_alex", "fid", "artfid"))
    above = [each["high"] - each["value"] for each in (lpips, fid, product)]
    terms = (1 + fid["value"]) * above[0], (1 + lpips["value"]) * above[1]
    assert above[2] == pytest.approx(math.hypot(*terms))


class Spread(SetMetric):
    """The difference of two means: its standard deviation is sqrt(2 / n) of n normal numbers."""

    def distance(self, translated, real, seed=0):
        return {"value": float(translated.mean() - real.mean())}


def test_an_interval_is_the_spread_of_values_were_the_images_drawn_anew():
    drawn = torch.randn(2, 400, 1, generator=torch.Generator().manual_seed(0))
    found = evaluation._deviation(Spread(), *drawn, seed=0, title="")
    assert found == pytest.approx((2 / 400) ** 0.5, rel=0.35)  # 25 halves know it to a seventh
    assert found == evaluation._deviation(Spread(), *drawn, seed=0, title="")


def test_every_number_of_collections_has_an_interval(three):
    translated, content, style = three
    found = numbers(evaluation.match(translated, content), style)
    kinds = evaluation.choose([])
    of_collections = [key for key in found if kinds[key].against == "collection"]
    assert of_collections
    for key in of_collections:
        few = key == "precision_recall"  # of halves, two images, it can't be had
        assert ("low" in found[key]) is not few


def test_contents_without_a_translation_are_counted(three):
    translated, content, _ = three
    contents = list_images(content)
    samples = evaluation.match(translated, content)
    assert evaluation.protocol(HOW, samples, [], contents, SEEN)["untranslated"] == 0
    assert evaluation.protocol(HOW, samples[1:], [], contents, SEEN)["untranslated"] == 1


def test_of_few_images_fid_says_so(three):
    translated, content, style = three
    columns = evaluation.choose(["fid"])
    found = numbers(evaluation.match(translated, content), style, names=["fid"])
    assert found["fid"]["few"] == 1.0
    (line,) = evaluation.lines(columns, found)
    assert line.endswith("of 4 images: too high, believe KID")


def test_what_is_missing_says_what_to_give(three):
    translated, content, _ = three
    found = evaluation.compute(
        evaluation.match(translated, content), [], evaluation.choose([]), HOW
    )
    assert found["kid"]["missing"].endswith("give --collection DIR, or --style DIR)")
    assert "--style FILE" in found["gram"]["missing"]
    assert "--reconstructed DIR" in found["cycle_l1"]["missing"]
    assert "--truth DIR" in found["psnr"]["missing"]
    assert "value" in found["lpips_alex"]


def test_weights_that_cant_be_had_are_said_and_leave_the_other_metrics(three, monkeypatch):
    translated, content, style = three

    def refuse(*args, **options):
        raise weights.WeightsError("no way to pip: python -m gan_style weights fetch x")

    monkeypatch.setattr(_features, "extractor", refuse)
    monkeypatch.setattr(metrics.load("gram").Metric, "__init__", refuse)
    one = next(style.iterdir())
    found = numbers(evaluation.match(translated, content, one), style)
    said = "not computed (weights missing: no way to pip: python -m gan_style weights fetch x)"
    assert found["kid"] == found["gram"] == {"missing": said}
    assert found["artfid"]["missing"] == f"not computed (it needs fid: {said})"
    assert "value" in found["ssim"]


def test_one_image_has_numbers_of_pairs_and_none_of_collections(tmp_path, three):
    _, content, style = three
    one = folder(tmp_path / "one", ["a.png"], first=9)
    found = numbers(evaluation.match(one, content), style, names=["ssim", "kid", "fid"])
    assert "low" not in found["ssim"]
    assert "1 translated and 7 real images are too few" in found["kid"]["missing"]
    assert "too few" in found["fid"]["missing"]


def test_features_of_the_collection_are_kept_and_are_of_its_files(tmp_path, three, monkeypatch):
    translated, content, style = three
    samples = evaluation.match(translated, content)
    seen = []

    class Counting(Means):
        def forward(self, images):
            seen.append(len(images))
            return super().forward(images)

    monkeypatch.setattr(_features, "extractor", lambda name: Counting())
    first = numbers(samples, style, names=["kid"], cache=tmp_path / "kept")
    assert sum(seen) == 4 + 7
    seen.clear()
    assert numbers(samples, style, names=["kid"], cache=tmp_path / "kept") == first
    assert sum(seen) == 4
    picture(99).save(style / "0.png")
    seen.clear()
    assert numbers(samples, style, names=["kid"], cache=tmp_path / "kept") != first
    assert sum(seen) == 4 + 7


# Matching


def matched(*args, **options):
    return [
        (sample.name, sample.content.name, sample.style and sample.style.name)
        for sample in evaluation.match(*args, **options)
    ]


def test_translations_are_matched_by_name_whatever_the_contents_suffix(tmp_path):
    content = folder(tmp_path / "content", ["a.jpg", "sub/b.webp"])
    made = folder(tmp_path / "made", ["a.png", "sub/b.jpg"])
    assert matched(made, content) == [("a.png", "a.jpg", None), ("sub/b.png", "b.webp", None)]


def test_a_folder_of_translations_may_be_called_as_its_style(tmp_path):
    content = folder(tmp_path / "content", ["a.jpg", "b.jpg"])
    style = folder(tmp_path / "style", ["x.jpg", "old/y.jpg"])
    made = folder(tmp_path / "made", ["x/a.png", "old/y/b.png"])
    assert matched(made, content, style) == [
        ("old/y/b.png", "b.jpg", "y.jpg"),
        ("x/a.png", "a.jpg", "x.jpg"),
    ]


def test_pairs_name_what_is_evaluated_under_either_name(tmp_path):
    content = folder(tmp_path / "content", ["a.jpg", "b.jpg", "c.jpg"])
    style = folder(tmp_path / "style", ["x.jpg", "y.jpg"])
    file = tmp_path / "pairs.csv"
    rows = [{"content": "a.jpg", "style": "y.jpg"}, {"content": "c.jpg", "style": "x.jpg"}]
    pairs.write_pairs(file, rows)
    made = folder(tmp_path / "made", ["y/a.png", "x/c.png", "c.png", "b.png"])
    expected = [("y/a.png", "a.jpg", "y.jpg"), ("x/c.png", "c.jpg", "x.jpg")]
    assert matched(made, content, style, file) == expected
    one = style / "x.jpg"  # a network of one style: it is everybody's
    (made / "a.png").write_bytes((made / "b.png").read_bytes())
    assert matched(made, content, one, file) == [
        ("a.png", "a.jpg", "x.jpg"),
        ("c.png", "c.jpg", "x.jpg"),
    ]


def test_a_folder_of_contents_may_be_called_as_a_style(tmp_path):
    content = folder(tmp_path / "content", ["1.png", "monet/1.png"])
    style = folder(tmp_path / "style", ["monet.png"])
    file = tmp_path / "pairs.csv"
    names = ["1.png", "monet/1.png"]
    pairs.write_pairs(file, [{"content": name, "style": "monet.png"} for name in names])
    found = matched(content, content, style, file)
    assert [name for name, *_ in found] == names  # each is its own translation


def test_the_truth_is_called_as_the_content_and_a_reconstruction_as_the_translation(tmp_path):
    content = folder(tmp_path / "content", ["a.jpg"])
    style = folder(tmp_path / "style", ["x.jpg"])
    made = folder(tmp_path / "made", ["x/a.png"])
    truth = folder(tmp_path / "truth", ["a.png"])
    back = folder(tmp_path / "back", ["x/a.png"])
    (sample,) = evaluation.match(made, content, style, truth=truth, reconstructed=back)
    assert (sample.truth, sample.reconstruction) == (truth / "a.png", back / "x/a.png")
    with pytest.raises(DataError, match=r"--truth has no a\.png, which --translated has"):
        evaluation.match(made, content, style, truth=back)


def test_names_that_dont_belong_together_are_named(tmp_path):
    content = folder(tmp_path / "content", ["a.jpg", "b.jpg"])
    made = folder(tmp_path / "made", ["a.png", "c.png"])
    with pytest.raises(DataError, match=r"1 of 2 images in --translated .* such as c\.png: name"):
        evaluation.match(made, content)
    file = tmp_path / "pairs.csv"
    pairs.write_pairs(file, [{"content": "b.jpg", "style": ""}])
    with pytest.raises(
        DataError, match=r"1 of 1 pairs have no translation called .*, such as b\.png"
    ):
        evaluation.match(made, content, pairs=file)
    pairs.write_pairs(file, [{"content": "z.jpg", "style": "y.jpg"}])
    with pytest.raises(DataError, match=r"names 'z\.jpg' in 'y\.jpg', but these aren't both"):
        evaluation.match(made, content, content, file)


# The command


@pytest.fixture
def evaluate(gan_style, three):
    translated, content, style = three
    return partial(
        gan_style, "evaluate", translated=translated, content=content, style=style, size=SIDE
    )


def test_evaluate_writes_json_that_says_how_it_was_computed(evaluate, three):
    text = evaluate(metrics="ssim,kid,sliced_wasserstein")
    record = json.loads((three[0] / "metrics.json").read_text())
    assert record["names"] == NAMES
    assert record["protocol"] == {
        "untranslated": 0,
        "size": SIDE,
        "resize": "32x32 pixels, bicubic, whatever the shape",
        "seed": 0,
        "images": 4,
        "enlarged": 0,
        "reshaped": 0,
        "left_out": [],
        "collection_images": 7,
    }
    assert record["made_by"]["libraries"].keys() >= {"torch", "torchmetrics", "pillow"}
    assert record["made_by"]["machine"]
    assert list(record["values"]) == list(record["metrics"])
    assert record["metrics"]["ssim"]["better"] == "higher"
    assert f"{record['values']['ssim']['value']:.4g}" in text
    assert "4 images measured, numbers in" in text


def test_evaluate_overwrites_nothing_unasked(evaluate, refusal, three):
    (three[0] / "metrics.json").write_text("mine")
    assert "is there already" in refusal(evaluate, metrics="ssim")
    assert (three[0] / "metrics.json").read_text() == "mine"
    evaluate(metrics="ssim", overwrite=True)
    assert json.loads((three[0] / "metrics.json").read_text())


def test_evaluate_refuses_in_one_line(evaluate, refusal, three, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no images in this folder" in refusal(evaluate, translated=empty)
    assert "--collection" in refusal(evaluate, collection=empty)
    assert "no such file or folder" in refusal(evaluate, content=tmp_path / "gone")
    assert "did you mean 'ssim'" in refusal(evaluate, metrics="sssim")
    assert "--size is 8" in refusal(evaluate, size=8)
    assert "--pattern is 'x'" in refusal(evaluate, pattern="x")
    assert "did you mean 'all'" in refusal(evaluate, metrics="al")
    assert not (three[0] / "metrics.json").exists()


def test_images_that_cant_be_read_are_left_out_and_named(evaluate, three):
    translated, content, style = three
    evaluate(metrics="ssim, kid ,psnr,fid,sliced_wasserstein", truth=content, out="sound.json")
    folder(translated, ["e.png", "f.png"], first=50)
    folder(content, ["e.png", "f.png"], first=60)
    (translated / "e.png").write_bytes((translated / "a.png").read_bytes()[:99])  # ends early
    (content / "f.png").write_bytes(b"no image")
    (style / "bad.png").write_bytes(b"")
    said = evaluate(metrics="ssim,kid,psnr,fid,sliced_wasserstein", truth=content, out="bad.json")
    assert "3 images left out: " in said
    assert "\n5 of 6 images measured, numbers in " in said  # one of them without its content
    assert f"{translated / 'e.png'}: " in said
    record, sound = (json.loads(Path(name).read_text()) for name in ("bad.json", "sound.json"))
    assert sorted(Path(name).name for name in record["protocol"]["left_out"]) == [
        "bad.png", "e.png", "f.png"
    ]  # fmt: skip
    for key in ("ssim", "psnr"):  # those that are sound have the numbers that they have alone
        each = record["values"][key]["each"]
        assert each[:4] == sound["values"][key]["each"]
        assert each[4:] == [None, None]
        assert record["values"][key]["images"] == 4
    assert record["names"][4:] == ["e.png", "f.png"]
    assert record["values"]["kid"]["images"] == 5  # f.png is a translation all the same


def test_where_no_image_can_be_read_no_number_is_made_up(evaluate, three):
    for path in three[0].iterdir():
        path.write_bytes(b"no image")
    assert "0 of 4 images measured" in evaluate(metrics="all", out="found.json")
    values = json.loads(Path("found.json").read_text())["values"]
    assert values.keys() == metrics.columns().keys()
    assert all("value" not in entry for entry in values.values())
    assert values["ssim"]["missing"] == values["kid"]["missing"] == evaluation.UNREADABLE


def test_many_bad_images_are_listed_in_a_file(evaluate, three):
    folder(three[0], names := [f"x{number:02}.png" for number in range(12)])
    folder(three[1], names)
    for name in names:
        (three[0] / name).write_bytes(b"no image")
    said = evaluate(metrics="ssim", out="found.json")
    assert "12 images left out: " in said
    assert "\n4 of 16 images measured, numbers in " in said
    assert said.count("not an image that can be read") == 10
    assert len(Path("found.left_out.txt").read_text().splitlines()) == 12


def test_what_is_read_in_part_is_said_once_also_of_features_that_were_kept(evaluate, three):
    frames = [picture(seed) for seed in (1, 2)]
    for path in (three[0] / "b.png", three[2] / "moving.webp"):
        frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    for out in ("first.json", "second.json"):  # which reads no collection
        said = evaluate(metrics="ssim,kid,psnr,precision_recall", out=out, features="features")
        assert said.count("only the first of its frames is read") == 2
        assert said.count(f"{three[2] / 'moving.webp'}: only") == 1


@pytest.mark.parametrize(
    "code",
    [
        "import gan_style.report.plots",
        pytest.param(
            "import torch; from gan_style.evaluation.metrics import _ssim; "
            "_ssim.similarity(*2 * [torch.zeros(1, 1, 16, 16)])",
            marks=pytest.mark.slow,  # torchmetrics takes seconds
        ),
    ],
)
@pytest.mark.parametrize("home", ["", "/dev/null/none"])
def test_without_a_home_nothing_is_warned_of_and_nothing_is_left(tmp_path, code, home):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "MPL"))}
    folder = tmp_path / "temporary"
    folder.mkdir()
    its = kept | {"HOME": home or "/dev/null", "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    if not home:  # somebody whom the system doesn't know
        code = f"import os, pwd; del os.environ['HOME']; pwd.getpwuid = {{}}.__getitem__; {code}"
    code += "; import matplotlib, os; print(os.environ['MPLCONFIGDIR'], matplotlib.get_cachedir())"
    done = subprocess.run([sys.executable, "-c", code], env=its, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(f"{folder}/gan_style-matplotlib-") == 2
    assert list(folder.glob("gan_style-*")) == []


def test_a_home_that_can_be_written_to_is_left_to_matplotlib(tmp_path, monkeypatch):
    for name in ("MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    home.for_matplotlib()
    assert "MPLCONFIGDIR" not in os.environ
    assert list(tmp_path.iterdir()) == []


def test_translations_of_another_shape_are_said(evaluate, three):
    translated, *_ = three
    said = evaluate(metrics="ssim", out="same.json")
    assert "another shape" not in said
    picture(1, (64, 32)).save(translated / "b.png")
    picture(1, (33, 32)).save(translated / "c.png")  # rounding
    said = evaluate(metrics="ssim", out="found.json")
    assert (
        "1 of 4 images have another shape than their contents, such as b.png, 64x32 of 32x32 "
        "pixels: both were squeezed into squares" in said
    )
    assert json.loads(Path("found.json").read_text())["protocol"]["reshaped"] == 1


def test_shapes_are_compared_upright(tmp_path):
    made, content = tmp_path / "made", tmp_path / "content"
    folder(made, ["a.png"], size=(20, 40))
    content.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying
    picture(0, (40, 20)).save(content / "a.jpg", exif=exif)
    samples, seen = evaluation.match(made, content), evaluation.Seen()
    evaluation.compute(samples, [], evaluation.choose(["ssim"]), HOW, seen=seen)
    assert evaluation.reshaped(samples, seen) == []


# Intervals


class Ends(SetMetric):
    """Whatever is asked, 0.5 with a deviation of 10."""

    def distance(self, translated, real, seed=0):
        return {"value": 0.5, "std": 10.0}


@pytest.mark.parametrize(
    ("key", "low", "high"),
    [
        ("fid", 0, 20.1),
        ("sliced_wasserstein", 0, 20.1),
        ("precision_recall", 0, 1),
        ("kid", -19.1, 20.1),  # an estimate without bias may be below 0
    ],
)
def test_an_interval_holds_possible_values_only(key, low, high, monkeypatch):
    column = metrics.columns()[key]
    monkeypatch.setattr(metrics.load(column.metric), "Metric", Ends)
    entry = evaluation._distance(column, torch.rand(4, 2), torch.rand(4, 2), HOW)
    assert (entry["low"], entry["high"]) == pytest.approx((low, high), abs=1e-6)


@pytest.mark.slow
def test_every_interval_is_in_its_metrics_range_and_around_its_value(three):
    translated, content, style = three
    columns = metrics.columns()
    for others in (style, content):
        for key, entry in numbers(evaluation.match(translated, content), others).items():
            if "low" in entry:
                least, most = columns[key].info.range
                assert least <= entry["low"] <= entry["value"] <= entry["high"] <= most, key


def test_a_products_ends_are_as_far_as_its_factors_ends():
    column = metrics.columns()["artfid"]
    parts = {
        "fid": {"value": 9.0, "low": 0.0, "high": 29.0, "images": 4, "few": 1.0},
        "lpips_alex": {"value": 1.0, "low": 0.5, "high": 1.25, "images": 4},
    }
    entry = evaluation._derived(column, parts)
    assert entry["value"] == 20  # (1 + 1)(1 + 9)
    assert entry["high"] == pytest.approx(20 + math.hypot(2 * 20, 10 * 0.25))
    assert entry["low"] == pytest.approx(20 - math.hypot(2 * 9, 10 * 0.5))
    parts["lpips_alex"]["low"] = 0.0
    assert evaluation._derived(column, parts)["low"] == 1  # 20 - hypot(18, 10) is no product


# Names of other programs, and of other systems


def test_a_pattern_finds_other_programs_names_and_leaves_the_rest(tmp_path):
    content = folder(tmp_path / "content", ["a.jpg", "sub/b.jpg"])
    kinds = ("fake", "real", "rec")  # as a reference program leaves them, side by side
    made = folder(
        tmp_path / "made", [f"{name}_{kind}.png" for name in ("a", "sub/b") for kind in kinds]
    )
    for pattern, suffix in (("{stem}_fake", "_fake"), ("{stem}_rec", "_rec")):
        samples = evaluation.match(made, content, pattern=pattern)
        assert [(each.name, each.content.name) for each in samples] == [
            ("a.png", "a.jpg"), ("sub/b.png", "b.jpg")
        ]  # fmt: skip
        assert all(each.translated.stem.endswith(suffix) for each in samples)
    with pytest.raises(DataError, match=r"none of 6 images in --translated .* such as a_fake\.png"):
        evaluation.match(made, content, pattern="{stem}_fakes")


def test_a_pattern_may_hold_the_styles_name(tmp_path):
    content = folder(tmp_path / "content", ["a.jpg", "sub/b.jpg"])
    style = folder(tmp_path / "style", ["x.jpg", "old/y.jpg"])
    made = folder(tmp_path / "made", ["a_in_x.png", "sub/b_in_y.jpg", "a_in_z.png"])
    assert matched(made, content, style, pattern="{stem}_in_{style}") == [
        ("old/y/sub/b.png", "b.jpg", "y.jpg"),
        ("x/a.png", "a.jpg", "x.jpg"),
    ]


@pytest.mark.parametrize(
    "pattern",
    ["fake", "", "{style}", "{stem}/{style}", "..\\{stem}", "{stem}{stem}", "{stem!r}",
     "{name}{stem}", ".{stem}", "{stem}\0", "{stem}_fake.png", "{stem}.JPEG", "{stem}."],
)  # fmt: skip
def test_patterns_that_name_no_file_are_refused(pattern):
    with pytest.raises(ConfigError, match="--pattern is"):
        pairs.check_pattern(pattern)


def test_a_pattern_keeps_folders_and_braces_in_names():
    name = Path("sub/{style} a.png")
    assert pairs.called("x_{stem}_{style}", name, "{stem}") == Path("sub/x_{style} a_{stem}.png")
    assert pairs.stem_in("x_{stem}_y", "x_{stem}_y") == "{stem}"
    assert pairs.stem_in("ab{stem}ba", "aba") is None  # the ends may not overlap
    with pytest.raises(DataError, match="longer than 255 bytes"):
        pairs.called("{stem}_fake", Path("a" * 251 + ".png"))


def test_what_translate_calls_its_images_evaluate_finds(gan_style, tmp_path, monkeypatch):
    content = folder(tmp_path / "content", ["a.jpg", "sub/b.jpg"])
    style = folder(tmp_path / "style", ["x.jpg", "y.jpg"])
    options = {"method": "gatys", "vgg": "random", "iterations": 1, "style_layers": "relu1_1",
               "style_layer_weights": "1", "content_layer": "relu1_1"}  # fmt: skip
    for pattern, name in (("{stem}_fake", "x/sub/b_fake.png"), ("{stem}_{style}", "sub/b_x.png")):
        made = tmp_path / pattern
        gan_style("translate", content=content, style=style, out=made, pattern=pattern, **options)
        assert (made / name).is_file()
        assert len(evaluation.match(made, content, style, pattern=pattern)) == 4


@pytest.mark.parametrize(("first", "second"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_may_be_stored_in_either_way(tmp_path, first, second):
    one, other = (unicodedata.normalize(form, "café/été") for form in (first, second))
    content = folder(tmp_path / "content", [f"{one}.jpg"])
    style = folder(tmp_path / "style", [f"{other}.png"])
    made = folder(tmp_path / "made", [f"{other}.png"])
    (name,) = (name for name, *_ in matched(made, content))
    assert name == unicodedata.normalize("NFC", f"{one}.png")
    fake = folder(tmp_path / "fake", [unicodedata.normalize(second, f"{other}_é.png")])
    assert len(matched(fake, content, pattern=unicodedata.normalize(first, "{stem}_é"))) == 1
    back = folder(tmp_path / "back", [f"{one}.png"])
    (sample,) = evaluation.match(made, content, truth=content, reconstructed=back)
    assert sample.reconstruction
    file = tmp_path / "pairs.csv"
    pairs.write_pairs(file, [{"content": f"{other}.jpg", "style": f"{one}.png"}])
    assert len(matched(made, content, style, file)) == 1
    (job,) = translation.jobs_with_styles(content, str(style), pairs=file)
    assert job.content == content / f"{one}.jpg"


def test_two_images_that_differ_in_how_accents_are_stored_are_not_mixed_up(tmp_path):
    names = [f"{unicodedata.normalize(form, 'é')}.png" for form in ("NFC", "NFD")]
    both = folder(tmp_path / "both", names)
    if len(list(both.iterdir())) < 2:
        pytest.skip("they are one name to this file system")
    with pytest.raises(DataError, match="differ only in how their accents are stored: rename one"):
        evaluation.match(both, both)


def test_others_take_the_places_of_bad_images_and_the_rest_stays(tmp_path):
    content = folder(tmp_path / "content", [f"{n:02}.png" for n in range(9)], size=(8, 8))
    style = folder(tmp_path / "style", [f"{n}.png" for n in range(4)], size=(8, 8))
    rows = pairs.draw_pairs(content, style, 6, seed=1)
    bad = {content / rows[2]["content"]}
    less = pairs.draw_pairs(content, style, 6, 1, bad)
    assert less == pairs.draw_pairs(content, style, 6, 1, bad)
    assert [row for row in rows if row in less] == [*rows[:2], *rows[3:]]
    assert len({row["content"] for row in less}) == 6
    assert content / less[2]["content"] not in bad
    styles = {style / rows[0]["style"]}
    drawn = [style / row["style"] for row in pairs.draw_pairs(content, style, 6, 1, styles)]
    assert not styles & set(drawn)
    assert [len(set(drawn[i : i + 3])) for i in (0, 3)] == [3, 3]  # they still take turns
    few = pairs.draw_pairs(content, style, 6, 1, set(sorted(content.iterdir())[:5]))
    assert [row["content"] for row in few] == [f"{n:02}.png" for n in range(5, 9)]
    for option, all_bad in (("content", content), ("style", style)):
        with pytest.raises(DataError, match=f"--{option} {all_bad}: none of the images can be"):
            pairs.draw_pairs(content, style, 6, 1, set(all_bad.iterdir()))


def test_metrics_lists_every_column(gan_style):
    text = gan_style("metrics")
    assert all(f"\n{key} " in f"\n{text}" for key in metrics.columns())


def test_columns_are_of_what_they_are_compared_with():
    columns = metrics.columns()
    assert list(columns)[:3] == ["kid", "fid", "artfid"]  # what a reader looks for first
    assert columns["kid_vgg16"].features == "vgg16"
    assert columns["kid"].features == "inception"
    assert columns["ssim_truth"].against == "truth"
    assert columns["ssim"].against == "content"
    with pytest.raises(ConfigError, match="--metrics has 'kidd': did you mean 'kid'"):
        evaluation.choose(["kidd"])


def test_pairs_are_drawn_once_by_a_seed_and_styles_take_turns(tmp_path):
    content = folder(tmp_path / "content", [f"{n:02}.png" for n in range(9)], size=(8, 8))
    style = folder(tmp_path / "style", ["x.png", "y.png"], size=(8, 8))
    rows = pairs.draw_pairs(content, style, 6, seed=1)
    assert rows == pairs.draw_pairs(content, style, 6, seed=1)
    assert rows != pairs.draw_pairs(content, style, 6, seed=2)
    contents = [row["content"] for row in rows]
    assert contents == sorted(set(contents))
    assert [sorted(row["style"] for row in rows[i : i + 2]) for i in (0, 2, 4)] == [
        ["x.png", "y.png"]
    ] * 3
    assert len(pairs.draw_pairs(content, style, 99, seed=0)) == 9
    pairs.write_pairs(tmp_path / "pairs.csv", rows)
    assert pairs.read_pairs(tmp_path / "pairs.csv") == rows


@pytest.mark.weights
def test_two_museum_collections_are_told_apart_by_real_networks(museum, monkeypatch):
    """Old masters against themselves are nearer than against modern paintings, by every feature."""
    monkeypatch.undo()
    masters = sorted((museum / "trainA").glob("*.jpg"))
    old, others = masters[::3], masters[1::3]
    modern = sorted((museum / "trainB").glob("*.jpg"))
    samples = [evaluation.Sample(name=p.name, translated=p, content=p) for p in old]
    how = evaluation.How(device=torch.device("cpu"), size=128)
    columns = evaluation.choose(["kid", "kid_vgg16", "fid"])
    near = evaluation.compute(samples, others, columns, how)
    far = evaluation.compute(samples, modern, columns, how)
    assert all(near[key]["value"] < far[key]["value"] for key in columns)
