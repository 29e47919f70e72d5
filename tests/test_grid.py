"""Contents beside their translations: which belong together, and what is said of them."""

import unicodedata

import pytest
from PIL import Image


def moving(path):
    """A GIF of two frames."""
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(("first", "second"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_may_be_stored_in_either_way(gan_style, tmp_path, first, second):
    for folder, form, pattern in (("content", first, "{}"), ("made", second, "{}_\u00e9")):
        (tmp_path / folder).mkdir()
        name = unicodedata.normalize(form, pattern.format("caf\u00e9"))
        Image.new("RGB", (16, 16), "red").save(tmp_path / folder / f"{name}.png")
    pattern = unicodedata.normalize(first, "{stem}_\u00e9")
    said = gan_style("grid", content="content", translated="made", out="x.png", pattern=pattern)
    assert said.startswith("1 contents and their translations drawn")


def test_what_is_read_in_part_is_said_once(gan_style, tmp_path):
    for folder in ("content", "made"):
        (tmp_path / folder).mkdir()
        moving(tmp_path / folder / "x.gif")
    said = gan_style("grid", content="content", translated="made,made", out="x.png")
    for folder in ("content", "made"):
        assert said.count(f"{folder}/x.gif: only the first of its frames is read") == 1


def test_many_that_are_read_in_part_are_listed_in_a_file(gan_style, tmp_path):
    (tmp_path / "content").mkdir()
    for number in range(12):
        moving(tmp_path / "content" / f"{number:02}.gif")
    said = gan_style("grid", content="content", translated="content", out="x.png", count=12)
    assert said.count("only the first of its frames") == 10
    assert "all 12 are in x.read_in_part.txt" in said
    assert len((tmp_path / "x.read_in_part.txt").read_text().splitlines()) == 12
