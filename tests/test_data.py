import os
import threading
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from gan_style.config import DataConfig
from gan_style.data.images import resize, to_tensor
from gan_style.data.stream import (
    DomainPair,
    domain_from_folder,
    domain_from_lists,
    domain_from_one_folder,
    domain_from_two_folders,
)
from gan_style.errors import DataError


def flat_domain(folder, count_a=5, count_b=3, size=(40, 40)):
    """Every image has one colour, so that a crop tells which file it is from."""
    for part, count, base in (("trainA", count_a, 0), ("trainB", count_b, 100)):
        (folder / part).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", size, (base + i,) * 3).save(folder / part / f"{i}.png")
    return folder


def pair(folder, seed=0, **options):
    options = {"size": 32, "workers": 2} | options
    return DomainPair(domain_from_folder(folder), DataConfig(**options), seed)


def one_side(folder, side, seed=0, **options):
    config = DataConfig(**({"size": 32, "workers": 2} | options))
    return DomainPair(domain_from_folder(folder, (side,)), config, seed, sides=(side,))


def which(image):
    return round(image[0, 0, 0].item() * 255)


def test_an_epoch_shows_every_image_of_the_larger_side_once(tmp_path):
    data = pair(flat_domain(tmp_path / "d", 5, 3))
    assert len(data) == 5
    first = [which(data.item(k)[0]) for k in range(5)]
    second = [which(data.item(k)[0]) for k in range(5, 10)]
    assert sorted(first) == sorted(second) == [0, 1, 2, 3, 4]
    assert first != second  # a new order every epoch


def test_the_smaller_side_a_is_repeated_evenly(tmp_path):
    data = pair(flat_domain(tmp_path / "d", 2, 6))
    assert Counter(which(data.item(k)[0]) for k in range(6)) == {0: 3, 1: 3}


def test_b_is_drawn_independently_of_a(tmp_path):
    data = pair(flat_domain(tmp_path / "d", 4, 4))
    partners = {a: set() for a in range(4)}
    for k in range(400):
        a, b = data.item(k)
        partners[which(a)].add(which(b))
    # P(one of 16 pairs misses 100 draws of 1/4) < 16 * 0.75 ** 100 < 1e-11
    assert all(found == {100, 101, 102, 103} for found in partners.values())


def test_serial_b_goes_in_step_with_a(tmp_path):
    data = pair(flat_domain(tmp_path / "d", 6, 3), serial_b=True)
    assert all(which(b) == 100 + which(a) % 3 for a, b in map(data.item, range(12)))


def test_a_seed_is_an_order(tmp_path):
    folder = flat_domain(tmp_path / "d", 8, 8)
    orders = [[which(pair(folder, seed).item(k)[0]) for k in range(8)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_two_processes_of_batch_one_see_what_one_process_of_batch_two_sees(toy):
    data = pair(toy)
    together = list(islice(data.batches(0, 2), 3))
    first = list(islice(data.batches(0, 1, process=0, processes=2), 3))
    second = list(islice(data.batches(0, 1, process=1, processes=2), 3))
    for both, one, two in zip(together, first, second, strict=True):
        for side in ("a", "b"):
            assert torch.equal(both[side], torch.cat([one[side], two[side]]))


def test_the_stream_goes_on_anywhere_whatever_the_threads_and_the_cache(toy):
    whole = list(islice(pair(toy, workers=1).batches(0, 2), 6))
    rest = list(islice(pair(toy, workers=3, cache_gb=0).batches(6, 2), 3))
    for one, other in zip(whole[3:], rest, strict=True):
        assert torch.equal(one["a"], other["a"])
        assert torch.equal(one["b"], other["b"])


def test_closing_the_stream_ends_its_threads(toy):
    stream = pair(toy).batches(0, 1)
    next(stream)
    stream.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("loader")]


@pytest.mark.parametrize("preprocess", ["resize_and_crop", "resize"])
def test_half_of_the_images_are_mirrored(tmp_path, preprocess):
    folder = tmp_path / "d"
    ramp = np.tile(np.arange(40, dtype=np.uint8)[None, :, None] * 6, (40, 1, 3))
    for part in ("trainA", "trainB"):
        (folder / part).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(ramp).save(folder / part / f"{i}.png")

    def mirrored(data):
        return [
            bool(image[0, 0, 0] > image[0, 0, -1]) for k in range(100) for image in data.item(k)
        ]

    share = sum(mirrored(pair(folder, preprocess=preprocess))) / 200
    assert 0.35 < share < 0.65  # 4 standard deviations of Binomial(200, 1/2) are 0.14
    assert not any(mirrored(pair(folder, preprocess=preprocess, flip=False)))


def test_a_and_b_are_cropped_independently(tmp_path):
    ramp = np.tile(np.arange(64, dtype=np.uint8)[None, :, None], (64, 1, 3))
    for part in ("trainA", "trainB"):
        (tmp_path / part).mkdir()
        for i in range(2):
            Image.fromarray(ramp).save(tmp_path / part / f"{i}.png")
    data = pair(tmp_path, preprocess="crop", flip=False)
    offsets = [[which(image) for image in data.item(k)] for k in range(400)]
    assert {a for a, _ in offsets} == {b for _, b in offsets} == set(range(33))  # 64 - 32 + 1
    assert abs(np.corrcoef(np.transpose(offsets))[0, 1]) < 0.2  # 4 standard deviations


def test_a_crop_reaches_every_place_of_the_image_that_holds_it(tmp_path):
    rows, columns = np.mgrid[:48, :64].astype(np.uint8)
    for part in ("trainA", "trainB"):
        (tmp_path / part).mkdir()
        for i in range(2):
            image = np.stack([rows, columns, columns], axis=-1)
            Image.fromarray(image).save(tmp_path / part / f"{i}.png")
    data = pair(tmp_path, preprocess="crop", size=40, width=48, flip=False)
    crops = [(image * 255).round() for k in range(200) for image in data.item(k)]
    assert {crop.shape for crop in crops} == {(3, 40, 48)}
    corners = [crop[:2, 0, 0].int().tolist() for crop in crops]
    assert {top for top, _ in corners} == set(range(9))  # 48 - 40 + 1
    assert {left for _, left in corners} == set(range(17))  # 64 - 48 + 1


@pytest.mark.parametrize(
    ("preprocess", "load_size", "shape"),
    [  # from 100 wide and 60 high, by the reference's rules
        ("resize_and_crop", 36, (32, 32)),
        ("resize", None, (32, 32)),
        ("crop", None, (32, 32)),
        ("scale_width", 50, (32, 48)),  # 50 wide is 30 high, at least a crop: 32; multiples of 4
        ("scale_width", 80, (48, 80)),
        ("scale_width_and_crop", 80, (32, 32)),
        ("scale_shorter_and_crop", 40, (32, 32)),
        ("none", None, (60, 100)),
    ],
)
def test_the_preprocess_modes_of_the_reference(tmp_path, preprocess, load_size, shape):
    domain = domain_from_folder(flat_domain(tmp_path / "d", size=(100, 60)))
    config = DataConfig(preprocess=preprocess, load_size=load_size, size=32)
    a, b = DomainPair(domain, config, seed=0, multiple=4).item(0)
    assert a.shape == b.shape == (3, *shape)


@pytest.mark.parametrize(
    ("preprocess", "load_size", "scaled", "shape"),
    [  # from 100 wide and 60 high; --size 32 --width 48
        ("resize_and_crop", None, (36, 54), (32, 48)),  # 32 and 48 * 286 / 256: 35.75 and 53.6
        ("resize_and_crop", 40, (40, 60), (32, 48)),
        ("resize", 40, (32, 48), (32, 48)),
        ("crop", None, (60, 100), (32, 48)),
        ("scale_width", None, (32, 56), (32, 56)),  # 54 x 32.4, but multiples of 4
        ("scale_width", 80, (48, 80), (48, 80)),
        ("scale_width_and_crop", None, (32, 54), (32, 48)),
        ("scale_width_and_crop", 50, (32, 50), (32, 48)),  # 30 high, but at least a crop
        ("scale_shorter_and_crop", 48, (48, 80), (32, 48)),
        ("scale_shorter_and_crop", None, (54, 90), (32, 48)),  # 48 * 286 / 256: 53.6
        ("none", None, (60, 100), (60, 100)),
    ],
)
def test_a_crop_may_have_a_width_of_its_own(tmp_path, preprocess, load_size, scaled, shape):
    domain = domain_from_folder(flat_domain(tmp_path / "d", size=(100, 60)))
    config = DataConfig(preprocess=preprocess, load_size=load_size, size=32, width=48)
    data = DomainPair(domain, config, seed=0, multiple=4)
    assert {array.shape for array in data.cache.arrays.values()} == {(*scaled, 3)}
    a, b = data.item(0)
    assert a.shape == b.shape == (3, *shape)
    assert config.crop in (shape, None)
    assert data.samples(2)["a"].shape == (2, 3, 32, 48)  # all modes hold the crop


@pytest.mark.parametrize(
    "preprocess", ["resize_and_crop", "crop", "scale_width_and_crop", "scale_shorter_and_crop"]
)
def test_a_width_that_is_the_size_changes_nothing(toy, preprocess):
    square, same = (
        pair(toy, preprocess=preprocess, size=24, width=width, load_size=28) for width in (None, 24)
    )
    for k in range(3):
        for one, other in zip(square.item(k), same.item(k), strict=True):
            assert torch.equal(one, other)


def test_resize_shows_all_of_every_image(tmp_path):
    noise = np.random.default_rng(0)
    shapes = {"trainA": [(60, 40), (20, 90)], "trainB": [(33, 33), (24, 40)]}
    for part, sizes in shapes.items():
        (tmp_path / part).mkdir()
        for i, size in enumerate(sizes):
            image = noise.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(image).save(tmp_path / part / f"{i}.png")
    data = pair(tmp_path, preprocess="resize", size=24, width=40, flip=False, serial_b=True)
    batch = next(data.batches(0, 2))
    for side, part in (("a", "trainA"), ("b", "trainB")):
        images = [np.array(Image.open(path)) for path in sorted((tmp_path / part).iterdir())]
        whole = {to_tensor(resize(image, (24, 40))).numpy().tobytes() for image in images}
        assert {image.numpy().tobytes() for image in batch[side]} == whole


def test_the_load_size_follows_the_crop_as_286_does_256():
    assert DataConfig().scaled_to == (286, 286)
    assert DataConfig(size=128).scaled_to == (143, 143)  # the Lua original's pair
    assert DataConfig(size=128, load_size=200).scaled_to == (200, 200)
    assert DataConfig(size=96, width=160).scaled_to == (107, 179)  # 107.25 and 178.75
    assert DataConfig(size=96, width=160, load_size=120).scaled_to == (120, 200)
    assert DataConfig(size=96, width=160).scaled_width == 179
    assert DataConfig(size=96, width=160, load_size=200).scaled_width == 200


def test_bad_images_are_all_named_before_training(toy):
    (toy / "trainA" / "empty.png").touch()
    (toy / "testB" / "text.jpg").write_text("no image")
    with pytest.raises(DataError) as error:
        pair(toy)
    assert "2 of 20 images" in str(error.value)
    assert "empty.png: not an image" in str(error.value)
    assert "text.jpg: not an image" in str(error.value)


def test_an_image_that_scaling_would_blow_up_is_named(toy, monkeypatch):
    Image.new("RGB", (1, 300)).save(toy / "trainA" / "line.png")
    options = {"preprocess": "scale_width", "load_size": 36}
    monkeypatch.setattr("gan_style.data.stream.PIXELS", 36 * 10800)
    assert len(pair(toy, **options).domain.trainA) == 7
    monkeypatch.setattr("gan_style.data.stream.PIXELS", 36 * 10800 - 1)
    with pytest.raises(DataError, match=r"line.png: 1x300 pixels would be scaled to 36x10800, wh"):
        pair(toy, **options)


@pytest.mark.parametrize(
    ("size", "scaled"),
    [  # (width, height) -> (height, width) by --size 32 --load_size 64; 8 * 64 = 512
        ((800, 100), (64, 512)),
        ((100, 800), (512, 64)),
        ((801, 100), (64, 512)),
        ((1600, 100), (32, 512)),  # half as large, and as high as the crop
        ((3000, 8), (32, 512)),  # as high as the crop, where it would be 1
        ((8, 3000), (512, 32)),
    ],
)
def test_a_long_image_isnt_scaled_beyond_a_bound(tmp_path, size, scaled):
    options = {"preprocess": "scale_shorter_and_crop", "load_size": 64}
    data = pair(flat_domain(tmp_path / "d", 2, 2, size), **options)
    assert {array.shape for array in data.cache.arrays.values()} == {(*scaled, 3)}
    assert data.item(0)[0].shape == (3, 32, 32)


def test_images_and_styles_have_the_same_bound():
    from gan_style.data.stream import LONG
    from gan_style.methods import adain

    assert LONG == adain.LONG


def test_a_line_break_in_a_path_is_refused_where_paths_are_kept_a_line_each(tmp_path):
    folder = flat_domain(tmp_path / "d", 3, 3)
    Image.new("RGB", (40, 30)).save(folder / "trainA" / "two\nlines.png")
    with pytest.raises(DataError, match=r"two\\nlines.png: a path with a line break") as error:
        domain_from_two_folders(folder / "trainA", folder / "trainB", 0.1, 0)
    assert "\n" not in str(error.value)
    assert len(domain_from_folder(folder).trainA) == 4  # it is kept nowhere


def test_bad_images_can_be_left_out_and_are_counted(toy):
    (toy / "trainA" / "empty.png").touch()
    data = pair(toy, skip_bad_images=True)
    assert len(data.domain.trainA) == 6
    assert len(data.skipped) == 1


@pytest.mark.parametrize(("count", "said"), [(0, "no images"), (1, "1 image")])
def test_a_collection_needs_two_images(tmp_path, count, said):
    with pytest.raises(DataError, match=f"{said} in trainB"):
        pair(flat_domain(tmp_path / "d", 3, count))


@pytest.mark.parametrize(
    ("options", "said"),
    [  # images of 40 wide and 30 high; they are listed with semicolons
        ({"size": 32}, "--size 32;"),
        ({"size": 32, "width": 40}, "--size 32 --width 40;"),  # too low alone
        ({"size": 30, "width": 41}, "--size 30 --width 41;"),  # too narrow alone
    ],
)
def test_an_image_below_the_crop_is_named_with_its_size(tmp_path, options, said):
    folder = flat_domain(tmp_path / "d", size=(40, 30))
    with pytest.raises(DataError) as error:
        pair(folder, preprocess="crop", **options)
    assert f"0.png: 40x30 pixels is below the crop, {said}" in str(error.value)


def test_an_image_of_the_crops_size_is_large_enough(tmp_path):
    folder = flat_domain(tmp_path / "d", size=(40, 30))
    a, b = pair(folder, preprocess="crop", size=30, width=40).item(0)
    assert a.shape == b.shape == (3, 30, 40)


def test_the_cache_keeps_to_its_bound(toy):
    # 20 images of 36 x 36 x 3 = 3888 bytes; 10,000 bytes hold two of them
    data = pair(toy, cache_gb=1e-5)
    assert (len(data.cache.arrays), data.cache.size) == (2, 7776)


def test_a_cached_image_is_not_decoded_again(toy, monkeypatch):
    data = pair(toy)
    monkeypatch.setattr("gan_style.data.stream.read_picture", None)
    data.item(0)


def test_a_split_of_loose_folders_is_seeded_complete_and_written_down(tmp_path):
    folder = flat_domain(tmp_path / "d", 20, 5)
    one, same, other = (
        domain_from_two_folders(folder / "trainA", folder / "trainB", 0.1, seed)
        for seed in (0, 0, 1)
    )
    assert one == same != other
    assert (len(one.trainA), len(one.testA), len(one.trainB), len(one.testB)) == (18, 2, 4, 1)
    assert sorted(one.trainA + one.testA) == sorted((folder / "trainA").iterdir())
    one.write(tmp_path)
    roots = {"a": folder / "trainA", "b": folder / "trainB"}
    assert domain_from_lists(one.name, tmp_path, roots) == one


def test_a_split_list_keeps_names_that_are_no_utf_8(tmp_path):
    folder = flat_domain(tmp_path / "d", 3, 3)
    (folder / "trainA" / "0.png").rename(folder / "trainA" / os.fsdecode(b"\xe9.png"))
    domain = domain_from_two_folders(folder / "trainA", folder / "trainB", 0.1, 0)
    domain.write(tmp_path)
    roots = {"a": folder / "trainA", "b": folder / "trainB"}
    assert domain_from_lists(domain.name, tmp_path, roots) == domain
    (tmp_path / "testA.txt").unlink()
    with pytest.raises(DataError, match=r"testA\.txt can't be read: No such file"):
        domain_from_lists(domain.name, tmp_path, roots)


def test_a_folder_without_the_layout_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"no folder trainA.*--data_a DIR --data_b DIR"):
        domain_from_folder(tmp_path)


def test_samples_are_the_same_every_time_and_from_the_test_part(toy):
    first, second = pair(toy, seed=0).samples(2), pair(toy, seed=7).samples(2)
    assert first["a"].shape == (2, 3, 32, 32)
    assert torch.equal(first["a"], second["a"])
    for path in (toy / "testA").iterdir():
        path.unlink()
    assert not torch.equal(first["a"], pair(toy).samples(2)["a"])  # training images stand in


def test_samples_are_the_middle_as_far_as_every_image_holds_it(tmp_path):
    for part, sizes in (("trainA", [(72, 48), (88, 52)]), ("trainB", [(40, 40), (60, 80)])):
        (tmp_path / part).mkdir()
        for i, (width, height) in enumerate(sizes):
            rows, columns = np.mgrid[:height, :width].astype(np.uint8)
            image = np.stack([rows, columns, columns], axis=-1)
            Image.fromarray(image).save(tmp_path / part / f"{i}.png")

    def samples(**options):
        config = DataConfig(preprocess="none", **options)
        return DomainPair(domain_from_folder(tmp_path), config, seed=0, multiple=4).samples(2)

    wide = samples(size=44, width=64)
    assert wide["a"].shape == (2, 3, 44, 64)
    corners = (wide["a"][:, :2, 0, 0] * 255).round().int()
    assert corners.tolist() == [[2, 4], [4, 12]]  # half of 48 - 44 and 72 - 64, 52 - 44 and 88 - 64
    assert wide["b"].shape == (2, 3, 40, 40)  # the first holds no more
    assert samples(size=62)["a"].shape == (2, 3, 48, 60)  # 62 is no multiple of 4


@pytest.mark.slow
def test_a_training_on_whole_images_takes_wide_batches(train, toy, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    Image.new("RGB", (50, 20)).save(toy / "trainA" / "wide.png")
    options = {"domain": toy, "preprocess": "resize", "size": 24, "width": 32}
    assert "after 2 images" in train(**options, images=2, batch_size=2, sample_every=2, run_dir="r")
    assert torch.backends.cudnn.benchmark  # which pays where all crops are of one size
    train(domain=toy, images=1, sample_every=0, preprocess="scale_width", skip_bad_images=True)
    assert not torch.backends.cudnn.benchmark


# One side alone


def test_a_side_alone_is_all_that_is_read(toy):
    (toy / "trainA" / "empty.png").touch()  # would stop a training that reads A
    (toy / "testA" / "empty.png").touch()
    data = one_side(toy, "b")
    assert {path.parent.name for path, _ in data.cache.arrays} == {"trainB", "testB"}
    assert len(data.item(0)) == 1
    for batch in (next(data.batches(0, 2)), data.samples(2)):
        assert {side: images.shape for side, images in batch.items()} == {"b": (2, 3, 32, 32)}


def test_a_side_alone_needs_no_folder_of_the_other(toy):
    for part in ("trainA", "testA"):
        for path in (toy / part).iterdir():
            path.unlink()
        (toy / part).rmdir()
    assert len(one_side(toy, "b")) == 6
    with pytest.raises(DataError, match=r"no folder trainA: .* given as --domain DIR"):
        one_side(toy, "a")


def test_a_side_alone_needs_two_images_and_bad_ones_can_be_left_out(toy):
    (toy / "trainB" / "empty.png").touch()
    assert len(one_side(toy, "b", skip_bad_images=True)) == 6
    for path in sorted((toy / "trainB").glob("[!e]*"))[1:]:
        path.unlink()
    with pytest.raises(DataError, match="1 images in trainB can be used"):
        one_side(toy, "b", skip_bad_images=True)
    (toy / "trainB" / "empty.png").unlink()
    with pytest.raises(DataError, match="1 image in trainB"):
        one_side(toy, "b")


def test_an_epoch_shows_every_image_of_a_side_alone_once(tmp_path):
    data = one_side(flat_domain(tmp_path / "d", 9, 4), "b")
    assert len(data) == 4
    epochs = [[which(*data.item(k)) for k in range(start, start + 4)] for start in range(0, 40, 4)]
    assert all(sorted(epoch) == [100, 101, 102, 103] for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 1


def test_a_side_alone_is_cut_as_beside_the_other(toy):
    both, alone = pair(toy, serial_b=True), {side: one_side(toy, side) for side in ("a", "b")}
    for k in range(9):
        a, b = both.item(k)
        assert torch.equal(alone["a"].item(k)[0], a)
        assert torch.equal(alone["b"].item(k)[0], b)


def test_the_order_in_which_the_sides_are_named_is_nothing(toy):
    config = DataConfig(size=32)
    named = DomainPair(domain_from_folder(toy), config, 0, sides=("b", "a"))
    for one, other in zip(pair(toy).item(5), named.item(5), strict=True):
        assert torch.equal(one, other)


def test_a_split_of_one_loose_folder_is_seeded_complete_and_written_down(tmp_path):
    folder = flat_domain(tmp_path / "d", 19, 1)  # at any depth: trainA and trainB are folders
    one, same, other = (domain_from_one_folder(folder, "b", 0.1, seed) for seed in (0, 0, 1))
    assert one == same != other
    assert (one.name, one.trainA, one.testA) == ("d", (), ())
    assert (len(one.trainB), len(one.testB)) == (18, 2)
    assert sorted(one.trainB + one.testB) == sorted(folder.rglob("*.png"))
    one.write(tmp_path)
    assert domain_from_lists(one.name, tmp_path, {"b": folder}) == one


def test_a_folder_without_images_is_no_collection(tmp_path):
    with pytest.raises(DataError, match="has no folder trainB and no images: give a folder of im"):
        domain_from_one_folder(tmp_path, "b", 0.1, 0)
