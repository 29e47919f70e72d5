"""Folders of files that nothing reads: commands refuse them with what is there."""

import pytest


def fill(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_a_folder_of_raw_photographs_is_refused_with_their_kinds(gan_style, refusal, toy):
    raw = fill(toy / "raw", "a.dng", "b.DNG", "c.jxl", "d")
    kinds = "4 files are left out, of kinds that aren't read: 2 .dng, 1 .jxl, 1 without suffix"
    line = refusal(gan_style, "translate", method="adain", content=raw, style=toy / "testA")
    assert line.endswith(f"--content {raw}: no images in this folder: {kinds}")
    both = {"translated": toy / "testA", "content": toy / "testA"}
    line = refusal(gan_style, "evaluate", **both, collection=raw, metrics="ssim")
    assert line.endswith(f"--collection {raw}: no images in this folder: {kinds}")


@pytest.mark.parametrize("alone", [False, True])
def test_training_on_raw_photographs_is_refused_with_their_kinds(train, refusal, toy, alone):
    for path in (toy / "trainA").iterdir():
        path.unlink()
    raw = fill(toy / "trainA", "a.dng", "b.dng")
    kinds = f"{raw}: 2 files are left out, of kinds that aren't read: 2 .dng"
    options = {"data_a": raw, "data_b": toy / "trainB"} if alone else {"domain": toy}
    line = refusal(train, **options)
    assert "no images in trainA, but a collection needs at least 2" in line
    assert line.endswith(kinds)


def test_one_loose_folder_of_raw_photographs_is_refused_with_their_kinds(
    train_alone, refusal, toy, tmp_path
):
    raw = fill(tmp_path / "raw", "a.dng")
    style = next((toy / "trainB").iterdir())
    line = refusal(
        train_alone, method="johnson", content_side="a", style=style, vgg="random",
        width_generator=4, size=24, threads=1, domain=raw,
    )  # fmt: skip
    assert "no images: give a folder of images" in line
    assert line.endswith(f"{raw}: 1 file is left out, of kinds that aren't read: 1 .dng")
