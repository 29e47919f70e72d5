import io
import warnings

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from gan_style import images
from gan_style.images import ImageError, load_image


def pixels(path, **options):
    return np.asarray(load_image(path, **options))


def test_a_16_bit_grey_png_keeps_its_range_instead_of_being_clipped(tmp_path):
    levels = np.array([[0, 257, 25700, 65535]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    assert pixels(tmp_path / "deep.png")[0, :, 0].tolist() == [0, 1, 100, 255]  # value / 257


def test_a_16_bit_grey_tiff_is_read_like_the_png(tmp_path):
    levels = np.array([[0, 257, 25700, 65535]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.tif")
    assert pixels(tmp_path / "deep.tif")[0, :, 1].tolist() == [0, 1, 100, 255]


def test_floats_in_the_unit_interval_are_scaled_and_others_refused(tmp_path):
    Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32)).save(tmp_path / "unit.tif")
    assert pixels(tmp_path / "unit.tif")[0, :, 0].tolist() == [0, 128, 255]
    Image.fromarray(np.array([[0.0, 3.0]], dtype=np.float32)).save(tmp_path / "wide.tif")
    with pytest.raises(ImageError, match="floats from 0 to 3"):
        load_image(tmp_path / "wide.tif")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_shows_the_stated_background(tmp_path, mode):
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    (clear if mode == "RGBA" else clear.convert(mode)).save(tmp_path / "clear.png")
    assert pixels(tmp_path / "clear.png")[0, 0].tolist() == [255, 255, 255]
    assert pixels(tmp_path / "clear.png", background="#102030")[0, 0].tolist() == [16, 32, 48]


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "RGB"])
def test_every_mode_becomes_rgb_of_the_same_grey(tmp_path, mode):
    name = tmp_path / ("grey.tif" if mode == "CMYK" else "grey.png")
    Image.new("RGB", (5, 3), (255, 255, 255)).convert(mode).save(name)
    image = load_image(name)
    assert (image.mode, image.size) == ("RGB", (5, 3))
    assert pixels(name).min() == 255


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    # Red above blue when shown upright; stored as each of the eight orientations says.
    upright = Image.new("RGB", (8, 16), "blue")
    upright.paste("red", (0, 0, 8, 8))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "turned.png", exif=exif)
    shown = pixels(tmp_path / "turned.png")
    assert shown.shape == (16, 8, 3)
    assert shown[2, 4].tolist() == [255, 0, 0]
    assert shown[13, 4].tolist() == [0, 0, 255]


def test_an_icc_profile_is_converted_to_srgb(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # A profile whose red primary is green and the other way round, so 200 red is shown as green.
    swapped = _with_swapped_red_and_green(srgb)
    Image.new("RGB", (2, 2), (200, 10, 10)).save(tmp_path / "swapped.png", icc_profile=swapped)
    red, green, _ = pixels(tmp_path / "swapped.png")[0, 0]
    assert green > 150 > red
    Image.new("RGB", (2, 2), (200, 10, 10)).save(tmp_path / "same.png", icc_profile=srgb)
    assert np.abs(pixels(tmp_path / "same.png")[0, 0].astype(int) - [200, 10, 10]).max() <= 1
    Image.new("RGB", (2, 2), (200, 10, 10)).save(tmp_path / "broken.png", icc_profile=srgb[:50])
    assert pixels(tmp_path / "broken.png")[0, 0].tolist() == [200, 10, 10]


def _with_swapped_red_and_green(profile):
    """Exchange the tag names of the red and the green primary."""
    return profile.replace(b"rXYZ", b"temp").replace(b"gXYZ", b"rXYZ").replace(b"temp", b"gXYZ")


@pytest.mark.parametrize("kind", ["text", "empty", "truncated", "missing", "folder"])
def test_what_is_no_image_is_named_with_a_reason(tmp_path, kind):
    path = tmp_path / "bad.jpg"
    if kind == "text":
        path.write_text("not an image")
    elif kind == "empty":
        path.touch()
    elif kind == "truncated":
        buffer = io.BytesIO()
        Image.effect_noise((64, 64), 90).save(buffer, "JPEG")
        path.write_bytes(buffer.getvalue()[:-900])
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(ImageError) as error:
        load_image(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_tensor_and_back_is_the_identity_on_all_levels():
    array = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    tensor = images.to_tensor(array)
    assert tensor.shape == (3, 16, 16)
    assert (tensor.min().item(), tensor.max().item()) == (0.0, 1.0)
    assert (images.from_tensor(tensor) == array).all()


def test_from_tensor_rounds_and_clips():
    # 0.6 / 255 is nearer to 1 than to 0; the reference truncates it to 0.
    tensor = torch.tensor([-1.0, 0.6 / 255, 254.4 / 255, 2.0]).reshape(1, 1, 4).repeat(3, 1, 1)
    assert images.from_tensor(tensor)[0, :, 0].tolist() == [0, 1, 254, 255]


def test_resize_is_antialiased():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255  # a frequency that a quarter of the pixels can't hold
    assert np.ptp(images.resize(stripes, (16, 16))[:, 2:-2].astype(int)) <= 8


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "picture.png"
    images.save_png(np.zeros((2, 2, 3), np.uint8), path)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        images.save_png(np.zeros((2, 2, 7), np.uint8), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["picture.png"]


def test_list_images_goes_deep_sorts_and_skips_hidden_names(tmp_path):
    for name in ("b.JPG", "deep/a.png", ".hidden.png", ".git/c.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [str(path.relative_to(tmp_path)) for path in images.list_images(tmp_path)]
    assert found == ["b.JPG", "deep/a.png"]


@pytest.mark.parametrize(
    ("length", "count", "chosen"),
    [(10, 5, [0, 2, 4, 6, 8]), (7, 3, [0, 2, 4]), (3, 8, [0, 1, 2]), (1, 4, [0]), (0, 4, [])],
)
def test_a_spread_has_no_item_twice(length, count, chosen):
    assert images.spread(range(length), count) == chosen


def test_grid_keeps_aspect_and_order():
    wide = np.full((10, 20, 3), 50, np.uint8)
    tall = np.full((20, 10, 3), 150, np.uint8)
    picture = images.grid([[wide, tall]], cell=40, gap=4)
    assert picture.shape == (48, 92, 3)
    assert picture[24, 24].tolist() == [50, 50, 50]
    assert picture[24, 68].tolist() == [150, 150, 150]
    assert picture[6, 24].tolist() == [255, 255, 255]  # above the wide one


def test_loading_warns_of_nothing(tmp_path):
    Image.new("P", (3, 3)).save(tmp_path / "p.png", transparency=b"\x00\x80")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_image(tmp_path / "p.png")
