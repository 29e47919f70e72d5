"""TIFFs of instruments: what their tags say that they hold, and their values where they are floats.

Pillow opens the TIFFs of photographs. Of the others it says only that it can't; here a user learns
what is in the file, and floats, which have no size in Pillow but that of 32 bits in one band, are
read. Uncompressed and deflated data only: whatever else packs them is named, not unpacked.
"""

import zlib
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from PIL import TiffImagePlugin

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BYTES = 2**30  # of values that are unpacked, or looked through for their range
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
SAMPLES, STRIP_ROWS, PLANAR, PREDICTOR, EXTRA, FORMAT = 277, 278, 284, 317, 338, 339
TILE_WIDTH, TILE_HEIGHT, NODATA = 322, 323, 42113
STRIPS, TILES = (273, 279), (324, 325)  # offsets and numbers of bytes
GREY, RGB = 1, 2  # of PHOTOMETRIC; grey is said of whatever has no colours, of 13 bands too
DEFLATE = (8, 32946)  # by both its numbers
NAMES = {
    5: "LZW", 6: "JPEG", 7: "JPEG", 32773: "PackBits", 34887: "LERC", 34925: "LZMA",
    50000: "Zstandard", 50001: "WebP",
}  # fmt: skip
KINDS = {1: "u", 2: "i", 3: "f"}
DTYPES = {*product("ui", (8, 16, 32, 64)), *product("f", (16, 32, 64))}
# ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory, GDAL's metadata and no data.
GEOGRAPHIC = (33550, 33922, 34264, 34735, 42112, NODATA)


@dataclass(frozen=True, kw_only=True)
class Raster:
    """The first page of a TIFF, by its tags."""

    path: Path
    tags: TiffImagePlugin.ImageFileDirectory_v2
    width: int
    height: int
    bands: int
    dtype: np.dtype | None  # None: of bits that no array has

    @property
    def is_colour(self) -> bool:
        """Whether the first three bands are said to be red, green and blue."""
        return self.tags.get(PHOTOMETRIC) == RGB and self.bands >= 3

    @property
    def is_grey(self) -> bool:
        """Whether there is one band, whose highest value is white."""
        return self.tags.get(PHOTOMETRIC) == GREY and self.bands == 1

    def values(self) -> np.ndarray | None:
        """(height, width, bands) as stored; None where they are packed in a way unknown here.

        Raises:
            ValueError: the file has fewer bytes than its tags say.
        """
        dtype = self.dtype
        if dtype is None or not self._is_known(dtype):
            return None
        tiled = TILES[0] in self.tags
        size = (
            (int(self.tags[TILE_HEIGHT]), int(self.tags[TILE_WIDTH]))
            if tiled
            else (min(int(self.tags.get(STRIP_ROWS, self.height)), self.height), self.width)
        )
        planar = self.tags.get(PLANAR, 1) == 2
        together = 1 if planar else self.bands  # bands in a block
        across, down = -(-self.width // size[1]), -(-self.height // size[0])
        if min(size) < 1 or size[0] * size[1] * together * dtype.itemsize > BYTES:
            return None
        offsets, counts = (self.tags[tag] for tag in (TILES if tiled else STRIPS))
        if len(offsets) < across * down * (self.bands if planar else 1):
            raise ValueError("it has fewer pieces than its tags say")
        made = np.empty((self.height, self.width, self.bands), dtype.newbyteorder("="))
        with self.path.open("rb") as file:
            for index, (offset, count) in enumerate(zip(offsets, counts, strict=False)):
                band, place = divmod(index, across * down)
                if band * planar >= self.bands or (band > 0 and not planar):
                    break
                y, x = (place // across * size[0], place % across * size[1])
                rows = size[0] if tiled else min(size[0], self.height - y)
                file.seek(offset)
                block = self._unpacked(file.read(min(count, BYTES)), rows, size[1], together, dtype)
                block = block[: self.height - y, : self.width - x]
                where = slice(band, band + 1) if planar else slice(None)
                made[y : y + len(block), x : x + block.shape[1], where] = block
        return made

    def obstacle(self) -> str:
        """Why `values` has none of an array that there is, and what to do; "" where it has."""
        number, predictor = self.tags.get(COMPRESSION, 1), self.tags.get(PREDICTOR, 1)
        dtype = self.dtype
        if dtype is None or self._is_known(dtype):
            return ""
        if (size := self._bytes(dtype)) > BYTES:
            return (
                f"its values take {size / 1e9:.1f} GB, but no more than {BYTES / 1e9:.1f} GB are "
                "unpacked: scale it down or cut it into pieces"
            )
        packed = f"with predictor {predictor}"
        if number not in (1, *DEFLATE):
            packed = f"by {NAMES.get(number, f'compression {number}')}"
        return f"its {dtype.name} are packed {packed}, which isn't read: save it uncompressed"

    def _bytes(self, dtype: np.dtype) -> int:
        return self.width * self.height * self.bands * dtype.itemsize

    def _is_known(self, dtype: np.dtype) -> bool:
        predictor = self.tags.get(PREDICTOR, 1)
        return (
            self.tags.get(COMPRESSION, 1) in (1, *DEFLATE)
            and (predictor in (1, 2) or (predictor == 3 and dtype.kind == "f"))
            and not (predictor == 2 and dtype.kind == "f")
            and self._bytes(dtype) <= BYTES
        )

    def _unpacked(
        self, packed: bytes, rows: int, columns: int, bands: int, dtype: np.dtype
    ) -> np.ndarray:
        """(rows, columns, bands) of a strip or tile."""
        count = rows * columns * bands
        if self.tags.get(COMPRESSION, 1) != 1:
            packed = zlib.decompressobj().decompress(packed, count * dtype.itemsize)
        if len(packed) < count * dtype.itemsize:
            raise ValueError("it ends early")
        predictor = self.tags.get(PREDICTOR, 1)
        if predictor == 3:  # differences of the bytes, the highest of all values of a row first
            parts = np.frombuffer(packed, np.uint8, count * dtype.itemsize)
            parts = np.cumsum(parts.reshape(rows, -1, bands), axis=1, dtype=np.uint8)
            parts = parts.reshape(rows, dtype.itemsize, -1).transpose(0, 2, 1)
            plain = np.ascontiguousarray(parts).view(dtype.newbyteorder(">"))
            return plain.reshape(rows, columns, bands)
        plain = np.frombuffer(packed, dtype, count).reshape(rows, columns, bands)
        return np.cumsum(plain, axis=1, dtype=dtype) if predictor == 2 else plain

    def holds(self, values: np.ndarray | None = None) -> str:
        """What is in it, such as "2 bands of float32 from -30 to -10"; its values if known."""
        if values is None:
            with suppress(Exception):  # nearly anything, on tags that are broken
                values = self.values()
        kind = f"{self.tags.get(BITS, (1,))[0]} bits" if self.dtype is None else self.dtype.name
        text = f"{self.bands} band{'s' * (self.bands != 1)} of {kind}"
        if values is not None:
            text += f" {spread(values)}"
        if nodata := str(self.tags.get(NODATA, "")).strip("\0 "):
            text += f", {nodata} where there is no data"
        return text


def spread(values: np.ndarray) -> str:
    """The range of an array in words; what is no number is counted apart."""
    bad = 0 if values.dtype.kind != "f" else int(values.size - np.isfinite(values).sum())
    good = values[np.isfinite(values)] if bad else values
    if not good.size:
        return "without a number"
    # Integers as they are: six digits would round them.
    low, high = (f"{v:g}" if values.dtype.kind == "f" else str(v) for v in (good.min(), good.max()))
    return f"from {low} to {high}" + f", {bad} of them no numbers" * bool(bad)


def read(path: Path) -> Raster | None:
    """The first page of a TIFF; None for another file, or for tags that say nothing."""
    with path.open("rb") as file:
        header = file.read(16)
        if header[:4] not in MAGIC:
            return None
        big = 43 in header[2:4]
        try:
            tags = TiffImagePlugin.ImageFileDirectory_v2(header if big else header[:8])
            file.seek(tags.next)
            tags.load(file)
            raster = Raster(
                path=path,
                tags=tags,
                width=int(tags[WIDTH]),
                height=int(tags[HEIGHT]),
                bands=int(tags.get(SAMPLES, 1)),
                dtype=_dtype(tags, "<" if header[:2] == b"II" else ">"),
            )
        except Exception:  # nearly anything, on tags that are broken
            return None
    return raster if min(raster.width, raster.height, raster.bands) > 0 else None


def _dtype(tags: TiffImagePlugin.ImageFileDirectory_v2, order: str) -> np.dtype | None:
    bits, kinds = set(tags.get(BITS, (1,))), set(tags.get(FORMAT, (1,)))
    name = (KINDS.get(kinds.pop(), ""), bits.pop())
    if kinds or bits or name not in DTYPES:
        return None
    return np.dtype(f"{order}{name[0]}{name[1] // 8}")
