import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from PIL import Image

from data_tools import check as module
from data_tools import synth
from data_tools.check import check
from gan_style.command import call
from gan_style.errors import ConfigError, DataError


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return synth.make(tmp_path / "toy", size=32, train=3, test=2)


def copy(source: Path, target: Path) -> tuple[Path, Path]:
    """The same pixels in another file format; both paths, sorted."""
    Image.open(source).save(target)
    return tuple(sorted((source, target)))


def test_a_sound_dataset_has_nothing_to_report(toy: Path):
    report = check(toy, crop=32)
    assert report.counts == {"trainA": 3, "trainB": 3, "testA": 2, "testB": 2}
    assert report.problems == ()
    lists = (report.unreadable, report.small, report.a_and_b, report.train_and_test)
    assert (*lists, report.within, report.ignored) == ((), (), (), (), (), ())


def test_unreadable_and_truncated_files_are_named_with_the_reason(toy: Path):
    whole = (toy / "trainA" / "0000.png").read_bytes()
    (toy / "trainA" / "half.png").write_bytes(whole[: len(whole) // 2])
    (toy / "testB" / "page.jpg").write_text("<html>")
    report = check(toy, crop=32)
    truncated, page = report.unreadable
    assert truncated.startswith(f"{toy / 'trainA' / 'half.png'}: ")
    assert page == f"{toy / 'testB' / 'page.jpg'}: not an image that can be read"
    assert report.problems == report.unreadable


def test_images_below_the_crop_are_named_with_their_size(toy: Path):
    path = toy / "trainB" / "flat.png"
    Image.new("RGB", (40, 31)).save(path)
    assert check(toy, crop=32).small == (f"{path}: 40x31",)
    assert check(toy, crop=31).small == ()
    assert check(toy, crop=32).problems == ()  # scaling up is the training's choice


def test_copies_are_found_by_their_pixels_wherever_they_are(toy: Path):
    across = copy(toy / "trainA" / "0000.png", toy / "testB" / "copy.bmp")
    leak = copy(toy / "trainB" / "0001.png", toy / "testB" / "leak.tif")
    within = copy(toy / "testA" / "0001.png", toy / "testA" / "twin.bmp")
    report = check(toy, crop=32)
    assert [tuple(sorted(group)) for group in report.a_and_b] == [across]
    assert [tuple(sorted(group)) for group in report.train_and_test] == [leak]
    assert [tuple(sorted(group)) for group in report.within] == [within]


def test_images_of_other_shape_are_no_copies(tmp_path: Path):
    for name, size in (("wide", (4, 2)), ("high", (2, 4))):  # the same bytes
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
    assert check(tmp_path, crop=1).within == ()


def test_files_with_other_suffixes_are_listed_and_hidden_ones_are_not(toy: Path):
    (toy / "trainA" / "notes.txt").write_text("x")
    (toy / "trainA" / ".DS_Store").write_text("x")
    (toy / "ATTRIBUTION.csv").write_text("x")  # beside the parts: no one expects an image there
    assert check(toy, crop=32).ignored == (toy / "trainA" / "notes.txt",)


def test_a_training_side_with_fewer_than_two_images_is_a_problem(toy: Path):
    for path in (toy / "trainB").iterdir():
        path.unlink()
    (toy / "trainB").rmdir()
    assert check(toy, crop=32).problems == (
        f"{toy / 'trainB'}: 0 images, but a collection needs at least 2",
    )


def test_a_flat_folder_is_one_collection(toy: Path):
    report = check(toy / "trainA", crop=32)
    assert report.counts == {"": 3}
    assert report.problems == ()


def test_a_folder_without_images_is_an_error(tmp_path: Path):
    (tmp_path / "photo.dng").touch()
    with pytest.raises(DataError, match=r"no images in this folder: 1 file is .* 1 \.dng \(looked"):
        check(tmp_path)
    with pytest.raises(DataError, match="no folder"):
        check(tmp_path / "gone")


def test_the_command_says_usable_or_not(toy: Path, capsys: pytest.CaptureFixture[str]):
    assert call(module.look, [str(toy)], {"crop": "64"}) == 0
    printed = capsys.readouterr().out
    assert f"{toy / 'trainA'}: 3 images\n" in printed
    assert "smaller than the crop of 64: 10\n" in printed
    assert printed.endswith("\nusable\n")
    (toy / "trainA" / "page.jpg").write_text("<html>")
    assert call(module.look, [str(toy)], {"crop": "32"}) == 1
    printed = capsys.readouterr().out
    assert f"would stop a training: 1\n  {toy / 'trainA' / 'page.jpg'}: not an image" in printed
    assert printed.endswith("\nnot usable as it is\n")


def test_long_lists_are_cut_and_say_so(toy: Path):
    for i in range(module.SHOWN + 5):
        (toy / "trainA" / f"{i:02}.txt").write_text("x")
    printed = module.text(check(toy, crop=32), crop=32)
    assert f"ignored (other suffixes): {module.SHOWN + 5}\n" in printed
    assert printed.count(".txt\n") == module.SHOWN
    assert "\n  and 5 more\n" in printed


def test_what_is_cut_is_in_a_file(toy: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for i in range(2000):
        (toy / "trainA" / f"{i:04}.jpg").touch()
    assert module.look(str(toy), crop=32) == 1
    (file,) = tmp_path.glob("gan_style-check-*.txt")
    printed = capsys.readouterr().out
    assert printed.startswith(f"all of what follows, and more of it: {file}\n")
    assert "would stop a training: 2000\n" in printed
    assert "\n  and 1990 more\n" in printed
    assert len(printed) < 3000
    assert file.read_text().count(".jpg: not an image that can be read\n") == 2000


def test_what_is_short_leaves_no_file(toy: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (toy / "trainA" / "page.jpg").write_text("<html>")
    module.look(str(toy), crop=32)
    assert list(tmp_path.iterdir()) == [toy]


def test_links_to_nowhere_are_unreadable_and_links_to_folders_followed(toy: Path):
    (toy / "trainA" / "moved.png").symlink_to("elsewhere.png")
    (toy / "trainA" / "more").symlink_to(toy / "trainB")
    report = check(toy, crop=32)
    assert report.counts["trainA"] == 4 + report.counts["trainB"]
    (moved,) = report.unreadable
    assert moved == f"{toy / 'trainA' / 'moved.png'}: a link to elsewhere.png, no such file"
    assert report.ignored == ()


def test_no_name_breaks_the_lines_of_the_report(toy: Path):
    (toy / "trainA" / "notes\n\x1b[2J.txt").touch()
    Image.new("RGB", (8, 8)).save(toy / "trainA" / "small\n.png")
    copy(toy / "trainB" / "0001.png", toy / "testB" / "leak\n.tif")
    printed = module.text(check(toy, crop=32), crop=32)
    assert printed.replace("\n", "").isprintable()
    for name in ("notes\\n\\x1b[2J.txt", "small\\n.png: 8x8", "leak\\n.tif"):
        assert name in printed


def test_a_crop_that_is_none_is_refused(toy: Path):
    with pytest.raises(ConfigError, match="--crop is 0, but must be at least 1"):
        call(module.look, [str(toy)], {"crop": "0"})


def in_a_process_of_its_own(words: list[str], folder: Path, **environment: str):
    return subprocess.run(
        [sys.executable, "-m", "data_tools.check", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(module.__file__).parents[1])} | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_a_users_mistake_is_one_line_and_exit_code_2(tmp_path: Path):
    result = in_a_process_of_its_own(["go\nne"], tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "data_tools.check: no folder go\\nne\n"


@pytest.mark.slow
def test_a_terminal_without_the_letters_of_a_name_gets_them_escaped(toy: Path):
    (toy / "trainA" / "\N{ARTIST PALETTE}.png").touch()
    result = in_a_process_of_its_own([str(toy)], toy, PYTHONIOENCODING="ascii")
    assert (result.returncode, result.stderr) == (1, "")
    assert "trainA/\\U0001f3a8.png: not an image that can be read\n" in result.stdout
