"""A folder of images that are broken, unusual or hostile, the same at every run.

    python tests/faults/bad_images.py FOLDER

writes the files and says what should become of each: `handled`, which is to be read as an image, or
`refused`, which is to be named with a reason.
"""

import io
import os
import random
import struct
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

SIZE = (40, 30)  # width and height of what is an ordinary image but for one thing
PIXELS = 2**28  # the limit that docs/data.md states


@dataclass(frozen=True)
class Bad:
    """One file.

    Args:
        kind: a short phrase for the table.
        name: its path in the folder.
        size: (width, height) of the upright image that it is read as; None where it is refused.
    """

    kind: str
    name: str
    size: tuple[int, int] | None = None

    @property
    def outcome(self):
        return "handled" if self.size else "refused"


class Corpus:
    """Files of a folder as they are made."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        self.all = []

    def add(self, kind, name, content=None, size=None):
        """Note a file, and write it where its content is given."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        if content is not None:
            path.write_bytes(content)
        self.all.append(Bad(kind, name, size))
        return path


def make(folder):
    """Write all files; what each of them is."""
    corpus = Corpus(folder)
    for write in (cut, flipped, mislabelled, shapes, bombs, animated, colours, turned, profiles):
        write(corpus)
    for write in (no_images, no_files, names):
        write(corpus)
    return corpus.all


def picture(size=SIZE, mode="RGB"):
    """Noise: every pixel differs, and so do the pictures of different sizes."""
    values = np.random.default_rng(size[0]).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(values).convert(mode)


def encoded(format, image=None, **options):
    """The bytes of an image file."""
    buffer = io.BytesIO()
    copy = (image or picture()).copy()  # Pillow leaves settings of a JPEG in what it saves
    copy.save(buffer, format, **options)
    return buffer.getvalue()


def srgb_profile():
    """An ICC profile, without the time that it was made at."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + bytes(12) + profile[36:]


# --- broken on the way ---


def cut(corpus):
    for format, name in (("JPEG", "jpg"), ("PNG", "png"), ("WebP", "webp"), ("TIFF", "tif")):
        whole = encoded(format)
        corpus.add(f"truncated {format}", f"half.of.{name}.{name}", whole[: len(whole) // 2])
        corpus.add(f"truncated {format}", f"header.of.{name}.{name}", whole[:20])
    corpus.add("zero bytes", "empty.jpg", b"")


def flipped(corpus):
    """One bit. A PNG has checksums of everything; in a TIFF it is one pixel."""
    for format, name, size in (("JPEG", "jpg", SIZE), ("PNG", "png", None), ("TIFF", "tif", SIZE)):
        whole = bytearray(encoded(format))
        whole[-len(whole) // 3] ^= 4  # among the pixels
        corpus.add(f"bit-flipped {format}", f"flipped.{name}.{name}", whole, size)
    whole = bytearray(encoded("PNG"))
    whole[19] ^= 1  # the width
    corpus.add("bit-flipped PNG", "flipped.header.png", whole)
    whole = bytearray(encoded("JPEG"))
    whole[2] ^= 255  # a marker
    corpus.add("bit-flipped JPEG", "flipped.marker.jpg", whole)


def mislabelled(corpus):
    for format, name in (("PNG", "a.png.jpg"), ("JPEG", "a.jpeg.png"), ("TIFF", "a.tiff.webp")):
        corpus.add("wrong extension", name, encoded(format), SIZE)


# --- shapes ---


def shapes(corpus):
    for size in ((1, 1), (1, 30000), (30000, 1)):
        kind = "1x1" if size == (1, 1) else "1x30000, 30000x1"
        corpus.add(kind, f"{size[0]}x{size[1]}.png", encoded("PNG", picture(size)), size)


def bombs(corpus):
    """Few bytes that say they are many pixels; most of them tell the truth."""
    kind = "decompression bomb, {}"
    above, far = (16384, 16385), (60000, 60000)
    assert above[0] * (above[1] - 1) == PIXELS
    for size, name in ((above, "above"), (far, "far")):
        corpus.add(kind.format("PNG"), f"bomb.{name}.png", black_png(size))
        corpus.add(kind.format("TIFF"), f"bomb.{name}.tif", black_tiff(size))
    corpus.add(kind.format("WebP"), "bomb.above.webp", webp_canvas(above))
    corpus.add(kind.format("WebP"), "bomb.far.webp", webp_canvas(far))
    corpus.add(kind.format("JPEG"), "bomb.far.jpg", resized_jpeg(far))
    corpus.add(kind.format("GIF"), "bomb.far.gif.png", resized_gif(far))
    corpus.add(kind.format("BMP"), "bomb.far.bmp", resized_bmp(far))
    corpus.add(kind.format("PPM"), "bomb.far.ppm", b"P6 60000 60000 255\n" + bytes(99))
    lies = encoded("TIFF").replace(struct.pack("<HHII", 257, 4, 1, 30), b"")  # its height
    corpus.add("TIFF with a lying header", "lies.tif", lies)
    corpus.add("PNG with a bomb of text", "text.bomb.png", with_chunk(b"zTXt", b"a\0\0", 2**27))
    profile = with_chunk(b"iCCP", b"a\0\0", 2**27)
    corpus.add("PNG with a bomb of a profile", "profile.bomb.png", profile)
    # By itself Pillow warns from 89 megapixels on and refuses from 179 on.
    kind, warned, below = "large, but below the limit", (9500, 9500), (13377, 13377)
    corpus.add(kind, "large.warned.webp", flat_webp(warned), warned)
    corpus.add(kind, "large.one.png", black_png(below), below)
    corpus.add(kind, "large.two.tif", black_tiff(below), below)


def chunk(name, data):
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def black_png(size):
    """A black PNG of one bit a pixel, all of it there."""
    width, height = size
    packer, row = zlib.compressobj(9), bytes(1 + -(-width // 8))
    rows = b"".join(packer.compress(row * (height // 60)) for _ in range(60))
    rows += packer.compress(row * (height % 60)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def with_chunk(name, start, zeros):
    """A small PNG with a compressed chunk of so many zeros."""
    whole, packer = encoded("PNG"), zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(2**20)) for _ in range(zeros // 2**20))
    return whole[:33] + chunk(name, start + packed + packer.flush()) + whole[33:]


def black_tiff(size):
    """A black TIFF of one bit a pixel, deflated, in strips that share their bytes."""
    width, height = size
    rows = 1024
    strip = zlib.compress(bytes(-(-width // 8) * rows), 9)
    count = -(-height // rows)
    entries = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [1]), 259: (3, [8]), 262: (3, [1]),
        277: (3, [1]), 278: (4, [rows]),
        273: (4, [8] * count), 279: (4, [len(strip)] * count),
    }  # fmt: skip
    directory = 8 + len(strip) + len(strip) % 2
    behind = directory + 2 + 12 * len(entries) + 4
    table, values = struct.pack("<H", len(entries)), b""
    for tag in sorted(entries):
        kind, numbers = entries[tag]
        packed = struct.pack("<" + {3: "H", 4: "I"}[kind] * len(numbers), *numbers)
        if len(packed) > 4:
            where = struct.pack("<I", behind + len(values))
            values += packed
        else:
            where = packed.ljust(4, b"\0")
        table += struct.pack("<HHI", tag, kind, len(numbers)) + where
    start = b"II*\0" + struct.pack("<I", directory) + strip + b"\0" * (len(strip) % 2)
    return start + table + bytes(4) + values


def webp_canvas(size):
    """An animated WebP whose canvas is `size`; its frame is small."""
    frames = [picture(), picture((41, 30)).resize(SIZE)]
    whole = bytearray(encoded("WebP", frames[0], save_all=True, append_images=frames[1:]))
    assert whole[12:16] == b"VP8X"
    whole[24:30] = b"".join(struct.pack("<I", side - 1)[:3] for side in size)
    return whole


def flat_webp(size):
    """A lossless WebP of one colour: its pixels take no bits, however many they are."""
    whole = bytearray(encoded("WebP", Image.new("RGB", (1, 1)), lossless=True))
    assert whole[12:16] == b"VP8L"
    rest = struct.unpack("<I", whole[21:25])[0] >> 28
    bits = (size[0] - 1) | (size[1] - 1) << 14 | rest << 28
    whole[21:25] = struct.pack("<I", bits)
    return whole


def resized_jpeg(size):
    whole = encoded("JPEG")
    start = whole.index(b"\xff\xc0") + 5  # start of frame: length, depth, height, width
    return whole[:start] + struct.pack(">HH", size[1], size[0]) + whole[start + 4 :]


def resized_gif(size):
    whole = bytearray(encoded("GIF"))
    whole[6:10] = struct.pack("<HH", *size)
    return whole


def resized_bmp(size):
    whole = bytearray(encoded("BMP"))
    whole[18:26] = struct.pack("<ii", *size)
    return whole


# --- unusual images ---


def animated(corpus):
    frames = [picture().quantize(), picture((41, 30)).resize(SIZE).quantize()]
    for format, name in (
        ("GIF", "moves.gif.jpg"),
        ("PNG", "moves.apng.png"),
        ("WebP", "moves.webp"),
    ):
        kind = {"PNG": "APNG", "GIF": "animated GIF, renamed", "WebP": "animated WebP"}[format]
        content = encoded(format, frames[0], save_all=True, append_images=frames[1:])
        corpus.add(kind, name, content, SIZE)


def colours(corpus):
    cmyk = encoded("JPEG", picture(mode="CMYK"))
    corpus.add("CMYK JPEG", "cmyk.jpg", cmyk, SIZE)
    at = cmyk.index(b"Adobe") + 11  # the transform of Adobe's marker: 2 is YCCK
    corpus.add("YCCK JPEG", "ycck.jpg", cmyk[:at] + b"\2" + cmyk[at + 1 :], SIZE)
    deep = np.random.default_rng(1).integers(0, 65536, SIZE[::-1], np.uint16)
    corpus.add("16-bit PNG", "deep.png", encoded("PNG", Image.fromarray(deep)), SIZE)
    rgb = np.random.default_rng(2).integers(0, 256, (SIZE[1], 1 + 6 * SIZE[0]), np.uint8)
    rgb[:, 0] = 0  # no filter
    header = struct.pack(">IIBBBBB", *SIZE, 16, 2, 0, 0, 0)
    parts = (
        chunk(b"IHDR", header),
        chunk(b"IDAT", zlib.compress(rgb.tobytes())),
        chunk(b"IEND", b""),
    )
    corpus.add("16-bit PNG", "deep.colour.png", b"\x89PNG\r\n\x1a\n" + b"".join(parts), SIZE)
    for kind, name, worst, size in (
        ("float TIFF in [0, 1]", "unit", 1.0, SIZE),
        ("float TIFF beyond [0, 1]", "wide", 255.0, None),
        ("float TIFF with a NaN", "nan", float("nan"), None),
        ("float TIFF with a NaN", "inf", float("inf"), None),
    ):
        values = np.linspace(0, 1, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE[::-1])
        values[3, 3] = worst
        corpus.add(kind, f"float.{name}.tif", encoded("TIFF", Image.fromarray(values)), size)
    palette = picture().quantize(16)
    for name, clear in (("one", 3), ("each", bytes(range(0, 256, 16)))):
        content = encoded("PNG", palette, transparency=clear)
        corpus.add("palette with transparency", f"palette.{name}.png", content, SIZE)
    lab = encoded("TIFF", picture(mode="LAB"), icc_profile=None)
    corpus.add("Lab TIFF", "lab.tif", lab, SIZE)


def turned(corpus):
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        size = SIZE if orientation < 5 else SIZE[::-1]
        content = encoded("JPEG", exif=exif)
        corpus.add("EXIF orientations 1 to 8", f"turned.{orientation}.jpg", content, size)
    exif = b"Exif\0\0" + b"MM\0*" + b"\xff" * 40
    corpus.add("broken EXIF", "exif.jpg", encoded("JPEG", exif=exif), SIZE)


def profiles(corpus):
    good = srgb_profile()
    for name, profile in (("cut", good[:60]), ("noise", random.Random(1).randbytes(500))):
        content = encoded("PNG", icc_profile=profile)
        corpus.add("broken ICC profile", f"profile.{name}.png", content, SIZE)
    content = encoded("JPEG", picture(mode="CMYK"), icc_profile=good)
    corpus.add("broken ICC profile", "profile.other.jpg", content, SIZE)  # of RGB in a CMYK image


# --- no images, no files ---


def no_images(corpus):
    page = b"<!DOCTYPE html><title>404 Not Found</title>"
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(ran) print\n%%EOF\n"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr(zipfile.ZipInfo("a.png"), encoded("PNG"))  # without the time
    for name, content in (
        ("text.jpg", b"no image\n"), ("page.jpg", page), ("drawing.png", drawing),
        ("packed.png", packed.getvalue()), ("program.tif", program), ("noise.webp", noise(999)),
        ("pickle.bmp", b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00]\x94."),
    ):  # fmt: skip
        corpus.add("no image", name, content)


def noise(count):
    return random.Random(count).randbytes(count)


def no_files(corpus):
    folder = corpus.folder
    corpus.add("directory named x.jpg", "folder.jpg/inside.png", encoded("PNG"), SIZE)
    corpus.add("symlink loop", "loop.jpg").symlink_to("loop.too.jpg")
    corpus.add("symlink loop", "loop.too.jpg").symlink_to("loop.jpg")
    corpus.add("symlink loop", "loop.folder.jpg").symlink_to(folder)
    corpus.add("dangling symlink", "dangling.jpg").symlink_to("moved/away.jpg")
    corpus.add("symlink", "linked.jpg", size=SIZE).symlink_to("cmyk.jpg")
    corpus.add("symlink to a device", "zero.jpg").symlink_to("/dev/zero")
    os.mkfifo(corpus.add("FIFO", "pipe.jpg"))
    corpus.add("unreadable permissions", "locked.jpg", encoded("JPEG")).chmod(0)
    with corpus.add("sparse file of 4 GB", "sparse.webp", b"RIFF").open("r+b") as file:
        file.write(encoded("WebP"))
        file.truncate(2**32)


def names(corpus):
    png = encoded("PNG")
    for kind, name in (
        ("name with spaces", "  two  spaces .png"),
        ("name with emoji", "\N{ARTIST PALETTE}\N{WHITE SMILING FACE}\ufe0f.png"),
        ("name with a line break", "first line\nsecond line.png"),
        ("name with escape sequences", "\x1b[2J\x1b]0;title\x07\r.png"),
        ("name with undecodable bytes", os.fsdecode(b"caf\xe9\xff.png")),
        ("name of 255 bytes", "n" * 251 + ".png"),
        ("name of 255 bytes", "\N{ARTIST PALETTE}" * 62 + "255.png"),
        ("name like an option", "--out=x.png"),
        ("name with format characters", "{0}%s%n$(true)`true`.png"),
    ):  # fmt: skip
        assert len(os.fsencode(name)) <= 255
        corpus.add(kind, name, png, SIZE)
        if kind in ("name with a line break", "name with escape sequences"):
            corpus.add(kind, f"bad.{name}", png[:30])
        if kind == "name with undecodable bytes":
            corpus.add(kind, os.fsdecode(b"bad.\xff.png"), png[:30])


if __name__ == "__main__":
    for bad in make(sys.argv[1]):
        print(f"{bad.outcome}  {bad.kind}: {bad.name!r}")
