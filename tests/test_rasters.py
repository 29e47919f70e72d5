"""TIFFs and other files of instruments: read as they are, or refused with what they hold.

The files of tests/data/rasters and their values are those of tifffile and numpy.
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_style.data import images, rasters
from gan_style.data.images import ImageError, load_image, read_picture

DATA = Path(__file__).parent / "data" / "rasters"


@pytest.mark.parametrize(
    ("name", "low", "high", "mean"),
    [
        ("geotiff/tile.tif", 7, 246, 126.685),
        ("bilevel/mask.png", 0, 255, 255 * 0.323437),
        ("float_rgb/refl.tif", 0, 255, 255 * 0.5),
        ("float64/refl.tif", 0, 255, 255 * 0.5),
        ("rgbnir/unspecified.tif", 7, 246, 128.26),  # of the first three bands
        ("gdal_rgbnir/naip.tif", 7, 246, 128.26),  # infrared, declared as transparency by GDAL
        ("stack/stack.tif", 7, 246, 130.02),  # of its first page
    ],
)
def test_what_8_bit_rgb_can_hold_is_read_with_its_values(name, low, high, mean):
    picture = read_picture(DATA / name)
    array = np.asarray(picture.image)
    assert array.shape == (40, 48, 3)
    assert (array.min(), array.max()) == (low, high)
    assert array.mean() == pytest.approx(mean, abs=0.05)
    assert picture.alpha is None
    assert images.image_size(DATA / name) == (48, 40)


DARK = "range found {} of 65535: scale the files to it, or save them with 8 bits or with a colour"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bands13/s2.tif", "holds 13 bands of uint16 from 0 to 3999; what is read is grey or RGB"),
        ("bands13/s2_planar.tif", "holds 13 bands of uint16 from 0 to 3999; what is read is"),
        ("gdal_u16x4/ps.tif", "holds 4 bands of uint16 from 0 to 9840; what is read is"),
        ("sar_db/s1.tif", "holds 2 bands of float32 from -30 to -10; what is read is"),
        ("hu_int16/ct.tif", "holds 1 band of int16 from -1024 to 1976; what is read is"),
        ("float_nan/refl.tif", "1 band of float32 from 0.0348837 to 1, 144 of them no numbers;"),
        ("float_nodata/refl.tif", "holds 1 band of float32 from -9999 to 1; what is read is"),
        ("ct12_uint16/ct.tif", DARK.format("50-3050")),
        ("depth16/depth.png", DARK.format("0-3000")),
        ("pgm16/lidar.pgm", DARK.format("0-3000")),
        ("rgb16/s2.tif", DARK.format("280-9840")),
        ("deflate16/t.tif", DARK.format("280-9840")),
        ("rgbnir16/planet.tif", DARK.format("280-9840")),
    ],
)
def test_every_other_raster_is_refused_with_what_it_holds(name, said, capfd):
    with pytest.raises(ImageError) as error:
        load_image(DATA / name)
    assert str(error.value).startswith(f"{DATA / name}: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")  # Pillow has lines of its own


@pytest.mark.parametrize(
    ("name", "mean", "opacity", "pixels"),
    [
        (  # 120 of 255 opaque: 255 - (255 - 127) * 120 / 255 = 194.8, and so on
            "rgbnir_alpha/unassalpha.tif",
            125.572,
            117.5,
            {(0, 0): [255, 255, 255], (20, 24): [195, 189, 146], (39, 47): [174, 177, 133]},
        ),
        (
            "sprite/sprite.png",
            114.659,
            82.4766,
            {(0, 0): [255, 255, 255], (20, 24): [92, 98, 85], (39, 47): [255, 255, 255]},
        ),
    ],
)
def test_what_is_said_to_be_transparent_without_a_place_on_earth_is(name, mean, opacity, pixels):
    with Image.open(DATA / name) as file:
        stored = np.asarray(file).astype(float)
    assert stored.mean() == pytest.approx(mean, abs=0.001)  # the file is the one of the table
    picture = read_picture(DATA / name)
    alpha, array = np.asarray(picture.alpha), np.asarray(picture.image)
    assert (alpha == stored[..., 3]).all()
    assert alpha.mean() == pytest.approx(opacity, abs=0.001)
    over_white = 255 - (255 - stored[..., :3]) * alpha[..., None] / 255
    assert np.abs(array - over_white).max() <= 0.51  # rounded
    assert {place: array[place].tolist() for place in pixels} == pixels


def test_a_mask_of_the_map_in_a_geotiff_is_transparency(tmp_path):
    image = Image.new("RGBA", (4, 4), (10, 20, 30, 255))
    image.putpixel((0, 0), (10, 20, 30, 0))
    image.save(tmp_path / "ortho.tif", tiffinfo={33550: (1.0, 1.0, 0.0)})
    assert np.asarray(load_image(tmp_path / "ortho.tif"))[0, :2].tolist() == [
        [255, 255, 255],
        [10, 20, 30],
    ]


def profile_of(name: str) -> bytes:
    with Image.open(DATA.parent / "images" / name) as file:
        return file.info["icc_profile"]


@pytest.mark.parametrize(
    ("high", "refused"), [(images.DARK - 1, True), (images.DARK, False), (65535, False)]
)
def test_16_bits_are_read_where_the_highest_two_are_used(tmp_path, high, refused):
    values = np.array([[1, high]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    if refused:
        with pytest.raises(ImageError, match=f"range found 1-{high} of 65535"):
            load_image(tmp_path / "a.png")
    else:
        assert np.asarray(load_image(tmp_path / "a.png"))[0, 1, 0] == round(high / 257)


def test_a_dark_picture_of_16_bits_is_read_where_it_was_8_bits_or_has_a_profile(tmp_path):
    scaled = np.array([[0, 257 * 20]], dtype=np.uint16)
    Image.fromarray(scaled).save(tmp_path / "was8.png")
    assert np.asarray(load_image(tmp_path / "was8.png"))[0, :, 0].tolist() == [0, 20]
    linear = profile_of("gray16_linear.png")
    Image.fromarray(scaled + 1).save(tmp_path / "linear.png", icc_profile=linear)
    assert np.asarray(load_image(tmp_path / "linear.png"))[0, 1, 0] > 60  # 20 of 255, linear


def png_16(path: Path, values: np.ndarray, *chunks: tuple[bytes, bytes], colour: int = 2) -> None:
    """A PNG of 16-bit RGB (2) or RGBA (6), every line with the filter "Sub" where it has one."""
    height, width, bands = values.shape
    lines = values.astype(">u2").view(np.uint8).reshape(height, width * bands * 2).astype(int)
    before = np.pad(lines, ((0, 0), (2 * bands, 0)))[:, : -2 * bands]
    filtered = ((lines - before) % 256).astype(np.uint8)
    data = zlib.compress(b"".join(b"\1" + line.tobytes() for line in filtered))
    head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    made = b"\x89PNG\r\n\x1a\n"
    for name, content in ((b"IHDR", head), *chunks, (b"IDAT", data), (b"IEND", b"")):
        crc = struct.pack(">I", zlib.crc32(name + content))
        made += struct.pack(">I", len(content)) + name + content + crc
    path.write_bytes(made)


@pytest.mark.parametrize("colour", [2, 6])
def test_dark_colours_of_16_bits_in_a_png_are_judged_by_all_their_bits(tmp_path, colour):
    bands = {2: 3, 6: 4}[colour]
    levels = np.random.default_rng(0).integers(0, 21, (5, 7, bands))
    levels[..., 3:] = 255

    def read(values, *chunks):
        values[..., 3:] = 65535
        png_16(tmp_path / "a.png", values, *chunks, colour=colour)
        return np.asarray(load_image(tmp_path / "a.png"))

    assert (read(257 * levels) == levels[..., :3]).all()  # once 8 bits
    assert (read(0 * levels) == 0).all()  # a black frame: nothing to scale
    odd = 257 * levels + 3
    with pytest.raises(ImageError, match=f"range found {odd[..., :3].min()}-{odd[..., :3].max()} "):
        read(odd)
    with pytest.raises(ImageError, match="range found 0-20 of 65535"):
        read(levels + 0)  # higher bytes of 0
    for chunk in ((b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 45455))):
        assert (read(257 * levels + 3, chunk) == levels[..., :3]).all()


def test_where_the_lower_bits_arent_read_no_range_is_made_up(tmp_path):
    (tmp_path / "a.ppm").write_bytes(b"P6 1 1 65535\n" + struct.pack(">3H", 9, 100, 30))
    with pytest.raises(ImageError, match="range found at most 255 of 65535"):
        load_image(tmp_path / "a.ppm")


def test_grey_of_16_bits_is_converted_by_its_profile_as_that_of_8():
    for name in ("gray8_linear.png", "gray16_linear.png"):
        array = np.asarray(load_image(DATA.parent / "images" / name))
        assert (array.min(), array.max()) == (188, 188)


def test_grey_in_a_palette_or_half_transparent_is_converted_by_its_profile(tmp_path):
    profile = profile_of("gray8_linear.png")
    Image.new("L", (2, 2), 128).convert("P").save(tmp_path / "p.png", icc_profile=profile)
    Image.new("LA", (2, 2), (128, 255)).save(tmp_path / "la.png", icc_profile=profile)
    for name in ("p.png", "la.png"):
        assert np.asarray(load_image(tmp_path / name))[0, 0].tolist() == [188] * 3


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("predictor", [1, 3])
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_floats_are_unpacked_whatever_their_order_and_predictor(tmp_path, order, predictor, kind):
    values = np.random.default_rng(0).random((5, 7, 3)).astype(kind)
    (tmp_path / "a.tif").write_bytes(float_tiff(values, order, predictor))
    raster = rasters.read(tmp_path / "a.tif")
    assert (raster.values() == values).all()
    levels = np.asarray(load_image(tmp_path / "a.tif"))
    assert (levels == np.rint(values.astype(float) * 255)).all()


def float_tiff(values: np.ndarray, order: str, predictor: int) -> bytes:
    """Deflated in one strip; predictor 3 as Adobe's technical note of 2005 has it."""
    height, width, bands = values.shape
    size = values.dtype.itemsize
    packed = values.astype(values.dtype.newbyteorder(order)).tobytes()
    if predictor == 3:
        rows = values.astype(values.dtype.newbyteorder(">")).reshape(height, -1, 1)
        planes = rows.view(np.uint8).transpose(0, 2, 1).reshape(height, -1)
        differences = planes.copy()
        differences[:, bands:] -= planes[:, :-bands]
        packed = differences.tobytes()
    data = zlib.compress(packed)
    entries = [
        (256, 4, [width]), (257, 4, [height]), (258, 3, [8 * size] * bands), (259, 3, [8]),
        (262, 3, [2]), (273, 4, [0]), (277, 3, [bands]), (278, 4, [height]), (279, 4, [len(data)]),
        (317, 3, [predictor]), (339, 3, [3] * bands),
    ]  # fmt: skip
    extra, after = b"", 8 + 2 + 12 * len(entries) + 4
    table = b""
    for tag, type_, content in entries:
        raw = struct.pack(order + {3: "H", 4: "I"}[type_] * len(content), *content)
        if tag == 273:
            raw = struct.pack(order + "I", after + 2 * 2 * bands * 2)
        if len(raw) > 4:
            place = after + len(extra)
            extra += raw.ljust(4 * bands, b"\0")
            raw = struct.pack(order + "I", place)
        table += struct.pack(order + "HHI", tag, type_, len(content)) + raw.ljust(4, b"\0")
    start = struct.pack(order + "HI", 42, 8)
    head = (b"II" if order == "<" else b"MM") + start
    count = struct.pack(order + "H", len(entries))
    body = head + count + table + bytes(4) + extra
    return body.ljust(after + 8 * bands, b"\0") + data


def test_a_tiff_that_promises_more_than_it_has_is_refused(tmp_path):
    whole = (DATA / "float64" / "refl.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=r"cut\.tif: "):
        load_image(tmp_path / "cut.tif")


def test_a_tile_of_enormous_size_is_refused_by_its_tags(tmp_path):
    packed = (DATA.parent / "tile1x1.tif.gz").read_bytes()
    (tmp_path / "tile.tif").write_bytes(gzip.decompress(packed))
    with pytest.raises(ImageError, match=r"tile\.tif: tiles of 32768x32768 pixels for 1x1 of"):
        load_image(tmp_path / "tile.tif")
