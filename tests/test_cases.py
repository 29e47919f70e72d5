"""Inputs that have failed once: what comes out of them now.

The files of tests/data were reported; aspect_*.png are a quarter of the reported size.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import GATYS

from gan_style.data.images import ImageError, load_image

DATA = Path(__file__).parent / "data"
IMAGES = DATA / "images"


def folder(name: str, **files: str) -> Path:
    """A folder of copies: their names there, and whose."""
    path = Path(name)
    path.mkdir(parents=True)
    for new, old in files.items():
        shutil.copy(IMAGES / f"{old}.png", path / f"{new}.png")
    return path


def test_a_translation_of_another_shape_than_its_content_is_measured_and_said(gan_style):
    content = folder("content", x="aspect_content")
    translated = folder("translated", x="aspect_translation")
    said = gan_style(
        "evaluate", translated=translated, content=content, metrics="ssim", out="found.json"
    )
    assert (
        "1 of 1 images have another shape than their contents, such as x.png, 75x50 of 50x75 "
        "pixels: both were squeezed into squares" in said
    )
    found = json.loads(Path("found.json").read_text())
    assert found["protocol"]["reshaped"] == 1
    assert 0 < found["values"]["ssim"]["value"] < 1


def test_a_plain_content_has_the_values_of_its_file():
    array = np.asarray(load_image(IMAGES / "small.png"))
    assert array.shape == (48, 64, 3)
    assert array.mean((0, 1)) == pytest.approx([177.767, 183.328, 179.898], abs=0.001)  # by numpy
    assert [array[place].tolist() for place in ((0, 0), (47, 63))] == [
        [142, 148, 145],
        [164, 166, 160],
    ]


def test_an_image_that_ends_early_is_named():
    with pytest.raises(ImageError, match=r"truncated\.png: .*truncated"):
        load_image(IMAGES / "truncated.png")


def test_an_image_that_ends_early_is_not_translated_and_the_others_are(gan_style, refusal):
    content = folder("content", small="small", truncated="truncated")
    style = IMAGES / "tinyart.png"
    line = refusal(gan_style, "translate", content=content, style=style, out="out", **GATYS)
    assert "1 of 2 images were left out: content/truncated.png: " in line
    (made,) = Path("out").rglob("*.png")
    assert made.name == "small.png"
    assert np.asarray(load_image(made)).shape == (48, 64, 3)


def test_an_image_that_ends_early_is_not_measured_and_the_others_are(gan_style):
    content = folder("content", small="small", truncated="small")
    translated = folder("translated", small="small", truncated="truncated")
    said = gan_style(
        "evaluate", translated=translated, content=content, metrics="ssim", out="found.json"
    )
    assert "1 image left out: translated/truncated.png: " in said
    found = json.loads(Path("found.json").read_text())
    assert found["values"]["ssim"]["images"] == 1
    assert found["values"]["ssim"]["value"] == pytest.approx(1)  # of an image and itself


def test_every_mistake_of_the_reported_comparison_is_named_and_nothing_is_made(gan_style, refusal):
    folder("c", **{f"{number}": "small" for number in range(3)})
    folder("s", **{f"{number}": "tinyart" for number in range(3)})
    line = refusal(gan_style, "compare", config=DATA / "compare_failing.toml")  # exit code 2
    for said in (
        "methods.Typo: unknown option --alhpa: did you mean '--alpha'?",
        "methods.NoRun: results/nosuch is no run folder",
        "methods.Outside: --translated nosuchdir: no such file or folder",
        "methods.J: johnson has no published weights: train it and give --run",
    ):
        assert said in line, said
    assert "AdaIN" not in line
    assert "Half" not in line
    made = [path for path in Path("results").rglob("*") if path.is_file()]
    assert made == []
