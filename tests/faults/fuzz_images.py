"""Mutated image files through gan_style.images.load_image, in a process that may die of one.

    PYTHONPATH=.:tests python -m faults.fuzz_images SEED COUNT FOLDER

File number n hangs on the seed and n alone. The one that is being read is FOLDER/<n>, and nothing
else is left there; at the end counts by format and outcome are printed as JSON. Anything but an
image or an ImageError of one printable line ends it, with the file still there.
"""

import json
import random
import resource
import struct
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from faults.bad_images import chunk, encoded, picture, srgb_profile
from gan_style.data.images import load_image
from gan_style.errors import DataError

MEMORY = 8 * 2**30  # bytes that reading one file may take: docs/data.md says 24 a pixel
SMALL = (13, 9)  # every byte of a small file matters
INTERESTING = (0, 1, 2, 3, 7, 8, 16, 127, 128, 255, 256, 4096, 32767, 32768, 65535)
INTERESTING += (65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


def seeds():
    """Small files of every format that is read, by format: in many of its variants."""
    rgb, other = picture(SMALL), picture((14, 9)).resize(SMALL)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    profile = srgb_profile()
    alpha = rgb.copy()
    alpha.putalpha(other.convert("L"))
    deep = Image.fromarray(np.arange(13 * 9, dtype=np.uint16).reshape(9, 13) * 500)
    floats = Image.fromarray(np.linspace(0, 1, 13 * 9, dtype=np.float32).reshape(9, 13))
    # Pillow leaves settings of JPEGs in what it saves.
    frames, moving = ({"save_all": True, "append_images": [other.copy()]} for _ in range(2))
    modes = {mode: rgb.convert(mode) for mode in ("L", "1", "P", "CMYK", "LAB", "YCbCr")}
    modes["LAB"].info.pop("icc_profile", None)  # which has the time
    return {
        "JPEG": [
            encoded("JPEG", rgb), encoded("JPEG", rgb, progressive=True),
            encoded("JPEG", rgb, exif=exif, icc_profile=profile[:200]),
            encoded("JPEG", modes["L"]), encoded("JPEG", modes["CMYK"], icc_profile=profile),
            encoded("MPO", rgb, **frames),
        ],
        "PNG": [
            encoded("PNG", rgb), encoded("PNG", rgb, exif=exif, icc_profile=profile),
            encoded("PNG", alpha), encoded("PNG", deep), encoded("PNG", modes["1"]),
            encoded("PNG", modes["P"], transparency=bytes(range(200))),
            encoded("PNG", modes["L"], transparency=9), encoded("PNG", rgb, **moving),
        ],
        "PPM": [
            encoded("PPM", rgb), encoded("PPM", modes["L"]), encoded("PPM", modes["1"]),
            encoded("PPM", floats), encoded("PPM", deep.convert("I")),
            b"P3 # plain\n2 2 9 1 2 3 4 5 6 7 8 9 0 1 2", b"P1\n3 2\n101 010", b"P6 2 2 99 " * 3,
        ],
        "BMP": [
            encoded("BMP", rgb), encoded("BMP", modes["P"]), encoded("BMP", modes["1"]),
            encoded("BMP", alpha), run_length_bmp(),
        ],
        "TIFF": [
            encoded("TIFF", rgb), encoded("TIFF", rgb, compression="tiff_lzw"),
            encoded("TIFF", rgb, compression="tiff_adobe_deflate", exif=exif, icc_profile=profile),
            encoded("TIFF", rgb, compression="jpeg"), encoded("TIFF", rgb, compression="packbits"),
            encoded("TIFF", modes["1"], compression="group4"), encoded("TIFF", floats),
            encoded("TIFF", deep), encoded("TIFF", modes["CMYK"]), encoded("TIFF", modes["LAB"]),
            encoded("TIFF", alpha), encoded("TIFF", modes["P"]), encoded("TIFF", rgb, **moving),
            encoded("TIFF", modes["YCbCr"]), encoded("TIFF", rgb, big_tiff=True),
        ],
        "WebP": [
            encoded("WebP", rgb), encoded("WebP", rgb, lossless=True), encoded("WebP", alpha),
            encoded("WebP", rgb, exif=exif, icc_profile=profile), encoded("WebP", alpha, **moving),
        ],
        "GIF": [
            encoded("GIF", modes["P"]), encoded("GIF", modes["P"], transparency=3),
            encoded("GIF", rgb, interlace=1, **moving),
        ],
    }  # fmt: skip


def run_length_bmp():
    """An 8-bit BMP of 4x2 pixels with run lengths, which Pillow can't write."""
    data = bytes([4, 1, 0, 0, 0, 4, 1, 2, 3, 4, 0, 1])
    palette = bytes(range(256)) * 4
    header = struct.pack("<IiiHHIIiiII", 40, 4, 2, 1, 8, 1, len(data), 0, 0, 256, 0)
    start = struct.pack("<2sIHHI", b"BM", 14 + 40 + 1024 + len(data), 0, 0, 14 + 40 + 1024)
    return start + header + palette + data


def mutated(wholes, seed, number):
    """The format and the bytes of file `number`."""
    choose = random.Random(f"{seed} {number}")
    format = choose.choice(sorted(wholes))
    data = bytearray(choose.choice(wholes[format]))
    for _ in range(choose.choice((1, 1, 1, 2, 3, 8))):
        mutation = choose.choice((flip, change, number_in, number_in, cut, drop, repeat))
        mutation(data, choose)
    if choose.random() < 0.15:  # the start of this one and the end of another
        other = choose.choice(wholes[choose.choice((format, *sorted(wholes)))])
        data = data[: place(data, choose)] + other[choose.randrange(len(other)) :]
    if format == "PNG" and choose.random() < 0.8:
        data = with_checksums(data)
    return format, bytes(data)


def place(data, choose):
    """An offset; half of the time near the start, where headers are."""
    near = choose.random() < 0.5
    return choose.randrange(max(1, min(len(data), 120 if near else len(data))))


def flip(data, choose):
    at = place(data, choose)
    data[at : at + 1] = bytes(byte ^ 1 << choose.randrange(8) for byte in data[at : at + 1])


def change(data, choose):
    at = place(data, choose)
    data[at : at + 1] = choose.randbytes(1)


def number_in(data, choose):
    """An integer that programs trip over, of any size and order of bytes."""
    at, size = place(data, choose), choose.choice((1, 2, 4))
    value = choose.choice(INTERESTING) % 256**size
    data[at : at + size] = value.to_bytes(size, choose.choice(("big", "little")))


def cut(data, choose):
    del data[choose.randrange(len(data) + 1) :]


def drop(data, choose):
    at = place(data, choose)
    del data[at : at + choose.choice((1, 2, 4, 12, 100))]


def repeat(data, choose):
    at = place(data, choose)
    part = data[at : at + choose.choice((1, 2, 12, 100))]
    data[at:at] = part * choose.choice((1, 2, 50))


def with_checksums(data):
    """Chunks of a PNG with the right checksums, as far as there are chunks."""
    out, at = bytes(data[:8]), 8
    while at + 12 <= len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        if at + 12 + length > len(data):
            break
        out += chunk(bytes(data[at + 4 : at + 8]), bytes(data[at + 8 : at + 8 + length]))
        at += 12 + length
    return out + data[at:]


def read(path):
    """The outcome of one file."""
    try:
        image = load_image(path)
    except DataError as error:
        said, cause = str(error), error.__cause__
    else:
        assert image.mode == "RGB"
        assert len(image.tobytes()) == image.width * image.height * 3
        return "handled"
    assert not isinstance(cause, MemoryError), f"over {MEMORY} bytes"
    assert said.isprintable(), repr(said)
    assert said.startswith(f"{path}: "), said
    assert len(said) < 500, said
    return "refused"


def main(seed, count, folder):
    wholes = seeds()
    outcomes, slowest = Counter(), (0.0, 0)
    for format, files in wholes.items():  # that they are images to begin with
        for number, data in enumerate(files):
            path = Path(folder, f"{format} {number}")
            path.write_bytes(data)
            print(format, number, read(path), file=sys.stderr)
            path.unlink()
    size = psutil.Process().memory_info().vms + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    for number in range(count):
        format, data = mutated(wholes, seed, number)
        path = Path(folder, str(number))
        path.write_bytes(data)
        started = time.perf_counter()
        outcomes[format, read(path)] += 1
        slowest = max(slowest, (time.perf_counter() - started, number))
        path.unlink()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    counts = [[*key, value] for key, value in outcomes.items()]
    print(json.dumps({"outcomes": counts, "peak": peak, "slowest": slowest}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
