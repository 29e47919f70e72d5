import builtins
import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngImageFile

from gan_style.data import images
from gan_style.data.images import ImageError, load_image
from gan_style.errors import DataError, Interrupted, printable


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
    with pytest.raises(ImageError, match="holds 1 band of float32 from 0 to 3; what is read is"):
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


def png_that_says(width, height):
    """A PNG of a few bytes, of black pixels of one bit; most of them aren't there."""

    def chunk(name, data):
        checksum = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0")), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("height", [2**14 + 1, 2**20])
def test_more_pixels_than_the_limit_are_refused_before_they_are_decoded(
    tmp_path, monkeypatch, height
):
    (tmp_path / "bomb.png").write_bytes(png_that_says(2**14, height))
    monkeypatch.setattr(PngImageFile, "load", None)
    for read in (load_image, images.image_size):
        with pytest.raises(ImageError, match=r"bomb.png: more than 268435456 pixels \(268 mega"):
            read(tmp_path / "bomb.png")


def test_as_many_pixels_as_the_limit_are_read(tmp_path):
    (tmp_path / "large.png").write_bytes(png_that_says(2**14, 2**14))
    assert images.image_size(tmp_path / "large.png") == (2**14, 2**14)


def test_a_large_image_is_refused_where_memory_has_no_room_for_it(tmp_path, monkeypatch):
    Image.new("1", (2**13, 2**12 + 1)).save(tmp_path / "large.png")
    monkeypatch.setattr(images.memory, "free", lambda device: 1e8)
    # No ImageError: --skip_bad_images must not leave out what is there on another day.
    with pytest.raises(DataError, match=r"large.png: 8192x4097 pixels take up to 0.8 GB") as error:
        load_image(tmp_path / "large.png")
    assert not isinstance(error.value, ImageError)
    Image.new("1", (2**13, 2**12)).save(tmp_path / "large.png")
    load_image(tmp_path / "large.png")


def test_a_line_is_read_at_once_however_long(tmp_path, monkeypatch):
    width = 10**5
    (tmp_path / "line.ppm").write_bytes(b"P6 %d 2 255 " % width + bytes(2 * 3 * width))
    sizes = []

    class File(io.BufferedReader):
        def read(self, size=-1):
            sizes.append(size)
            return super().read(size)

    monkeypatch.setattr(builtins, "open", lambda path, mode: File(io.FileIO(path)))
    assert load_image(tmp_path / "line.ppm").size == (width, 2)
    assert max(sizes) >= 3 * width


@pytest.mark.parametrize("large", [True, False])
def test_large_images_are_decoded_one_at_a_time(tmp_path, monkeypatch, large):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    monkeypatch.setattr(images, "LARGE", 15 if large else 16)
    alone = []
    monkeypatch.setattr(
        images.ImageOps,
        "exif_transpose",
        lambda image, in_place: alone.append(images._one_large_at_a_time.locked()),
    )
    load_image(tmp_path / "a.png")
    assert alone == [large]
    assert not images._one_large_at_a_time.locked()


def test_a_file_that_is_too_large_is_not_even_opened(tmp_path, monkeypatch):
    with (tmp_path / "sparse.webp").open("wb") as file:
        file.truncate(2**31 + 1)
    monkeypatch.setattr(Image, "open", None)
    with pytest.raises(ImageError, match=r"sparse.webp: 2.1 GB, but no file above 2.1 GB is read"):
        load_image(tmp_path / "sparse.webp")


def test_a_pipe_a_loop_and_a_link_to_nowhere_are_named_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "gone.jpg").symlink_to("moved/away.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "back.jpg").symlink_to(tmp_path)
    said = {}
    for path in images.list_images(tmp_path):
        with pytest.raises(ImageError) as error:
            load_image(path)
        said[path.name] = str(error.value).removeprefix(f"{path}: ")
    assert said == {
        "back.jpg": "a folder, a pipe or a device, not a file",
        "gone.jpg": "a link to moved/away.jpg, no such file",
        "loop.jpg": "Too many levels of symbolic links",
        "pipe.jpg": "a folder, a pipe or a device, not a file",
        "zero.jpg": "a folder, a pipe or a device, not a file",
    }


def test_what_only_looks_like_a_program_is_not_run(tmp_path):
    # Pillow gives PostScript to Ghostscript, whatever the suffix.
    path = tmp_path / "program.tif"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n")
    Image.init()
    with Image.open(path) as file:
        assert file.format == "EPS"
    with pytest.raises(ImageError, match="not an image that can be read"):
        load_image(path)


def test_a_message_is_one_printable_line_whatever_the_name(tmp_path):
    path = tmp_path / os.fsdecode(b"a\n\x1b[2J\xff\xe2\x80\xae.png")
    path.write_text("no image")
    with pytest.raises(ImageError) as error:
        load_image(path)
    assert str(error.value).startswith(f"{tmp_path}/a\\n\\x1b[2J\\udcff\\u202e.png: not an image")
    assert printable("caf\xe9 \N{ARTIST PALETTE}") == "caf\xe9 \N{ARTIST PALETTE}"


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    scan = os.scandir

    def refuse(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=f"can't read folder {tmp_path}/locked: Permission denied"):
        images.list_images(tmp_path)


def test_a_name_of_255_bytes_can_be_written(tmp_path):
    for name in ("n" * 251 + ".png", "\N{ARTIST PALETTE}" * 62 + "123.png"):
        assert len(name.encode()) == 255
        images.save_png(np.zeros((2, 2, 3), np.uint8), tmp_path / name)
        assert (tmp_path / name).is_file()


def test_running_out_of_memory_names_the_file(tmp_path, monkeypatch):
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")

    def fails(*args, **options):
        raise MemoryError

    monkeypatch.setattr(images.ImageOps, "exif_transpose", fails)
    with pytest.raises(ImageError, match=r"a.png: not enough memory for it"):
        load_image(tmp_path / "a.png")


def test_what_a_signal_raises_is_no_fault_of_the_image(tmp_path, monkeypatch):
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")

    def stopped(*args, **options):
        raise Interrupted("stopped by signal 15")

    monkeypatch.setattr(images.ImageOps, "exif_transpose", stopped)
    with pytest.raises(Interrupted):
        load_image(tmp_path / "a.png")


KINDS = Path(__file__).parent / "data" / "images"


@pytest.mark.parametrize("name", ["p.jfif", "p.avif", "anim.gif", "p.heic"])
def test_kinds_that_people_have_are_listed_and_read(name):
    if name == "p.heic":
        pytest.importorskip("pillow_heif")
    assert KINDS / name in images.list_images(KINDS)
    # All are made of one picture, of mean 180.3.
    assert pixels(KINDS / name).mean() == pytest.approx(180.3, abs=0.3)
    assert images.image_size(KINDS / name) == (256, 256)


def test_without_a_library_heic_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setattr(images, "_reads_heic", lambda: False)
    assert KINDS / "p.heic" in images.list_images(KINDS)
    with pytest.raises(ImageError, match=r"p.heic: HEIC needs pillow-heif: pip install pillow-he"):
        load_image(KINDS / "p.heic")


def test_a_heic_is_told_by_its_content_as_all_others(tmp_path):
    pytest.importorskip("pillow_heif")
    (tmp_path / "photo.jpg").write_bytes((KINDS / "p.heic").read_bytes())
    assert load_image(tmp_path / "photo.jpg").size == (256, 256)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_of_several_frames_the_first_is_read_with_a_note(tmp_path, suffix):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    path = tmp_path / f"a.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    picture = images.read_picture(path)
    assert np.asarray(picture.image)[0, 0].tolist() == [255, 0, 0]
    assert picture.note == f"{path}: only the first of its frames is read"
    frames[0].save(path)
    assert images.read_picture(path).note == ""


def test_smaller_copies_behind_a_tiff_are_no_frames(tmp_path):
    from PIL import TiffImagePlugin

    with TiffImagePlugin.AppendingTiffWriter(tmp_path / "map.tif", new=True) as file:
        Image.new("RGB", (8, 8), "red").save(file, "TIFF")
        file.newFrame()
        Image.new("RGB", (4, 4), "blue").save(file, "TIFF", tiffinfo={254: 1})
    picture = images.read_picture(tmp_path / "map.tif")
    assert (picture.note, picture.image.size) == ("", (8, 8))


def test_files_that_may_be_taken_for_images_are_counted_by_kind(tmp_path):
    names = ("a.PSD", "b.psd", "deep/c.mp4", "notes.txt", "d.json", ".hidden.psd", "e.png")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    said = images.left_out(tmp_path)
    assert said == f"{tmp_path}: 3 files are left out, of kinds that aren't read: 2 .psd, 1 .mp4"
    assert images.left_out(tmp_path / "deep").startswith(f"{tmp_path / 'deep'}: 1 file is left out")
    (tmp_path / "deep" / "c.mp4").unlink()
    assert images.left_out(tmp_path / "deep") == ""


def test_files_of_unknown_kinds_and_without_suffix_are_counted_too(tmp_path):
    names = ("a.jpg", "b", "c.jpg_large", "d.JPG~", "e.gif", "raw.dng", "f. A very long last word")
    beside = ("README", "a.json", "Thumbs.db", ".DS_Store", "notes.MD", "deep/.b", "list.csv")
    (tmp_path / "deep").mkdir()
    for name in (*names, *beside):
        (tmp_path / name).touch()
    assert images.left_out(tmp_path) == (
        f"{tmp_path}: 5 files are left out, of kinds that aren't read: "
        "1 . a very long la..., 1 .dng, 1 .jpg_large, 1 .jpg~, 1 without suffix"
    )


def test_kinds_that_are_many_are_summed(tmp_path):
    for number in range(300):
        (tmp_path / f"frame.{number:04}").touch()
    (tmp_path / "two.dng").touch()
    (tmp_path / "one.dng").touch()
    said = images.left_out(tmp_path).partition("read: ")[2].split(", ")
    assert (said[0], said[1], said[-1]) == ("2 .dng", "1 .0000", "291 of other kinds")
    assert len(said) == 11
    (tmp_path / "a.\x1b[31m\n").touch()
    assert images.left_out(tmp_path).isprintable()


@pytest.mark.parametrize(
    ("number", "value", "said"),
    [
        (259, 5, "by LZW"),
        (259, 50000, "by Zstandard"),
        (259, 4711, "by compression 4711"),
    ],
)
def test_floats_that_are_packed_otherwise_are_refused_for_that(tmp_path, number, value, said):
    whole = (KINDS.parent / "rasters" / "float_rgb" / "refl.tif").read_bytes()
    tag = struct.pack("<HHI", number, 3, 1)
    assert whole.count(tag) == 1
    place = whole.index(tag) + len(tag)
    path = tmp_path / "a.tif"
    path.write_bytes(whole[:place] + struct.pack("<H", value) + whole[place + 2 :])
    with pytest.raises(ImageError) as refused:
        load_image(path)
    reason = f"its float32 are packed {said}, which isn't read: save it uncompressed"
    assert str(refused.value) == f"{path}: {reason}"


def test_links_to_folders_are_followed_once(tmp_path):
    for name in ("set/a.png", "elsewhere/b.png", "elsewhere/deep/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "set" / "one").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "two").symlink_to("one")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "set")  # round about, not around it
    found = [
        str(path.relative_to(tmp_path / "set")) for path in images.list_images(tmp_path / "set")
    ]
    assert found == ["a.png", "one/b.png", "one/deep/c.png"]


@pytest.mark.parametrize("target", [".", "..", "../.."])
def test_a_link_to_a_folder_around_it_is_refused(tmp_path, target):
    (tmp_path / "set" / "deep").mkdir(parents=True)
    (tmp_path / "set" / "deep" / "up").symlink_to(target)
    with pytest.raises(DataError, match=r"deep/up links to a folder that it lies in itself"):
        images.list_images(tmp_path / "set")


def test_colours_are_converted_before_they_are_laid_over_the_background(tmp_path):
    with Image.open(KINDS / "gray8_linear.png") as file:
        profile = file.info["icc_profile"]
    Image.new("LA", (2, 2), (128, 0)).save(tmp_path / "clear.png", icc_profile=profile)
    assert pixels(tmp_path / "clear.png", background="#808080")[0, 0].tolist() == [128] * 3


@pytest.mark.parametrize("suffix", list(images.WRITTEN))
def test_images_are_written_as_their_suffix_says_with_alpha_and_dpi(tmp_path, suffix):
    array = np.full((6, 5, 3), (200, 100, 50), np.uint8)
    alpha = np.full((6, 5), 255, np.uint8)
    alpha[:3] = 0
    images.save_image(array, tmp_path / f"x{suffix}", alpha, (300, 300), "#ffffff")
    with Image.open(tmp_path / f"x{suffix}") as file:
        kind, mode, dpi = file.format, file.mode, file.info.get("dpi")
    assert kind == images.WRITTEN[suffix][0]
    assert mode == ("RGB" if kind == "JPEG" else "RGBA")
    assert dpi == (None if kind == "WEBP" else pytest.approx((300, 300), abs=0.01))
    made = pixels(tmp_path / f"x{suffix}").astype(int)
    assert np.abs(made[0] - 255).max() <= 12  # a JPEG of two colours
    assert np.abs(made[-1] - (200, 100, 50)).max() <= 12


@pytest.mark.parametrize("suffix", images.WRITTEN)
def test_every_kind_of_file_says_what_it_was_made_by(tmp_path, suffix):
    array = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    plain, known = tmp_path / f"plain{suffix}", tmp_path / f"known{suffix}"
    for alpha in (None, array[..., 0]):
        images.save_image(array, plain, alpha, (240, 240))
        images.save_image(array, known, alpha, (240, 240), made_by="ab12")
        assert images.maker_of(known) == "ab12"
        assert images.maker_of(plain) == ""
        read, same = images.read_picture(known), images.read_picture(plain)
        assert (np.asarray(read.image) == np.asarray(same.image)).all()
        assert read.dpi == same.dpi
    with Image.open(plain) as image:  # another program's
        exif = image.getexif()
        exif[305] = "GIMP 2.10"
        image.convert("RGB").save(known, exif=exif)
    assert images.maker_of(known) == ""
    known.write_bytes(b"none at all")
    assert images.maker_of(known) == ""
