from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_tools import synth
from gan_style.command import call
from gan_style.errors import ConfigError, DataError


def read(folder: Path) -> dict[str, np.ndarray]:
    return {
        path.relative_to(folder).as_posix(): np.asarray(Image.open(path))
        for path in sorted(folder.rglob("*.png"))
    }


def test_the_same_options_draw_the_same_files(tmp_path: Path):
    one, two = synth.make(tmp_path / "one", size=16), synth.make(tmp_path / "two", size=16)
    files = {path.relative_to(one): path.read_bytes() for path in one.rglob("*.png")}
    assert len(files) == 2 * (8 + 4)
    assert files == {path.relative_to(two): path.read_bytes() for path in two.rglob("*.png")}


def test_parts_numbers_and_seeds_all_draw_different_images(tmp_path: Path):
    images = [
        image.tobytes()
        for seed in (0, 1)
        for image in read(synth.make(tmp_path / str(seed), size=16, seed=seed)).values()
    ]
    assert len(set(images)) == len(images) == 48


def test_more_images_leave_the_first_ones_as_they_are(tmp_path: Path):
    few = read(synth.make(tmp_path / "few", size=16, train=2, test=1))
    many = read(synth.make(tmp_path / "many", size=16, train=5, test=3))
    assert sorted(few) == [
        "testA/0000.png", "testB/0000.png", "trainA/0000.png", "trainA/0001.png",
        "trainB/0000.png", "trainB/0001.png",
    ]  # fmt: skip
    assert all((many[name] == image).all() for name, image in few.items())


def test_a_is_dark_and_b_is_light(tmp_path: Path):
    images = read(synth.make(tmp_path / "toy", size=32))
    assert {image.shape for image in images.values()} == {(32, 32, 3)}
    for name, image in images.items():
        dark = np.median(image) < 128
        assert dark == ("A/" in name), name


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="choose a new folder"):
        synth.make(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_command_takes_every_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = str(tmp_path / "toy")
    options = {"size": 16, "train": 2, "test": 1, "seed": 3}
    assert call(synth.write, [folder], {key: str(value) for key, value in options.items()}) is None
    assert capsys.readouterr().out == f"{folder}\n"
    expected = read(synth.make(tmp_path / "again", **options))
    drawn = read(Path(folder))
    assert sorted(drawn) == sorted(expected)
    assert all((drawn[name] == image).all() for name, image in expected.items())


@pytest.mark.parametrize("value", ["many", "-1", "0", "1.5"])
def test_a_number_that_is_none_is_refused(tmp_path: Path, value: str):
    with pytest.raises(ConfigError, match=r"--train (wants int|is)"):
        call(synth.write, [str(tmp_path / "toy")], {"train": value})
    assert not (tmp_path / "toy").exists()
