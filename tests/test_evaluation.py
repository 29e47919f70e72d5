"""Folders of images in, numbers out. Networks are random or replaced, but for the last test."""

import json
import math
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gan_style import evaluation, metrics, pairs, weights
from gan_style.errors import ConfigError, DataError
from gan_style.images import ImageError, list_images
from gan_style.metric import PairMetric, SetMetric
from gan_style.metrics import _features

SIDE = 32
HOW = evaluation.How(device=torch.device("cpu"), size=SIDE)


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
    return evaluation.evaluate(samples, sorted(collection.iterdir()), columns, how, **more)


def values(found):
    return {key: entry["value"] for key, entry in found.items()}


BEST = {"ssim": 1.0, "ssim_truth": 1.0, "edge_ssim": 1.0, "psnr": 100.0, "precision_recall": 1.0}


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
    assert found.pop("artfid") == pytest.approx(1, abs=1e-4)
    for key, value in found.items():
        assert value == pytest.approx(BEST.get(key, 0.0), abs=1e-4), key


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
    assert evaluation.read_square(wide / "a.png", HOW).shape == (3, SIDE, SIDE)
    protocol = evaluation.protocol(HOW, same, [], [])
    assert (protocol["images"], protocol["enlarged"]) == (4, 4)


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
    halves = [(each["high"] - each["low"]) / 2 for each in (lpips, fid, product)]
    terms = (1 + fid["value"]) * halves[0], (1 + lpips["value"]) * halves[1]
    assert halves[2] == pytest.approx(math.hypot(*terms))


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
    assert evaluation.protocol(HOW, samples, [], contents)["untranslated"] == 0
    assert evaluation.protocol(HOW, samples[1:], [], contents)["untranslated"] == 1


def test_of_few_images_fid_says_so(three):
    translated, content, style = three
    columns = evaluation.choose(["fid"])
    found = numbers(evaluation.match(translated, content), style, names=["fid"])
    assert found["fid"]["few"] == 1.0
    (line,) = evaluation.lines(columns, found)
    assert line.endswith("of 4 images: too high, believe KID")


def test_what_is_missing_says_what_to_give(three):
    translated, content, _ = three
    found = evaluation.evaluate(
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
        "collection_images": 7,
    }
    assert record["made_by"]["libraries"].keys() >= {"torch", "torchmetrics", "pillow"}
    assert record["made_by"]["machine"]
    assert list(record["values"]) == list(record["metrics"])
    assert record["metrics"]["ssim"]["better"] == "higher"
    assert f"{record['values']['ssim']['value']:.4g}" in text
    assert "4 images, numbers in" in text


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
    (three[0] / "a.png").write_bytes(b"no image")
    assert "a.png: not an image that can be read" in refusal(evaluate, metrics="ssim")
    assert not (three[0] / "metrics.json").exists()


def test_an_image_that_cant_be_read_stops_it(three):
    translated, content, style = three
    (style / "0.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"0\.png"):
        numbers(evaluation.match(translated, content), style, names=["kid"])


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
    near = evaluation.evaluate(samples, others, columns, how)
    far = evaluation.evaluate(samples, modern, columns, how)
    assert all(near[key]["value"] < far[key]["value"] for key in columns)
