"""Images in and out: any file to 8-bit sRGB and back, PIL to tensor and back, resizing, grids.

Everywhere else in the package an image is a float32 tensor (N, 3, H, W), RGB in [0, 1].
"""

import io
import logging
import os
import stat
import threading
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from PIL import Image, ImageCms, ImageDraw, ImageFile, ImageFont, ImageOps, TiffImagePlugin
from torch import Tensor

from gan_style import memory
from gan_style.data import rasters
from gan_style.errors import DataError, UserError, printable
from gan_style.io.files import SHOWN, atomic_file

T = TypeVar("T")
# Also what this machine lacks a library for: its files are named, not passed over.
SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".ppm", ".pgm", ".pbm", ".pnm", ".bmp",
    ".tif", ".tiff", ".webp", ".gif", ".avif", ".heic", ".heif", ".hif",
)  # fmt: skip
# What lies beside pictures and nobody takes for some; all else that isn't read is counted.
NO_IMAGES = frozenset((
    ".txt", ".csv", ".tsv", ".json", ".jsonl", ".md", ".rst", ".py", ".pyc", ".ipynb", ".sh",
    ".bat", ".toml", ".yaml", ".yml", ".ini", ".cfg", ".conf", ".xml", ".xmp", ".html", ".htm",
    ".css", ".js", ".log", ".lock", ".db", ".ds_store", ".aae", ".url", ".lnk", ".md5", ".sha1",
    ".sha256", ".prj", ".tfw", ".jgw", ".pgw", ".wld", ".pth", ".pt", ".ckpt", ".onnx",
    ".safetensors", ".pkl",
))  # fmt: skip
NO_IMAGES_WITHOUT_SUFFIX = frozenset((
    "readme", "license", "licence", "copying", "notice", "authors", "changelog", "citation",
    "makefile", "md5sums", "sha256sums", "icon\r",
))  # fmt: skip
KIND = 16  # characters of a suffix in a message: of "St. Ives at noon" it is nearly the whole name
# By content, whatever the suffix says. Pillow knows 40 more, one of which starts Ghostscript.
FORMATS: tuple[str, ...] = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF", "FLOATS")
if find_spec("PIL.AvifImagePlugin"):  # since Pillow 11.3
    FORMATS += ("AVIF",)
# What the first bytes of HEIC and AVIF say after their size, and what then reads them.
BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
}
NEEDS = {
    "HEIC": "HEIC needs pillow-heif: pip install pillow-heif",
    "AVIF": "AVIF needs a newer Pillow: pip install --upgrade pillow",
}
# What images are written as, by suffix; no side is longer than the last number.
Format = Literal["png", "jpg", "webp", "tiff"]
WRITTEN: dict[str, tuple[str, dict[str, Any], int]] = {
    ".png": ("PNG", {}, 2**31 - 1),
    **dict.fromkeys((".jpg", ".jpeg"), ("JPEG", {"quality": 95, "subsampling": 0}, 65_535)),
    ".webp": ("WEBP", {"quality": 95, "exact": True}, 16_383),
    **dict.fromkeys((".tif", ".tiff"), ("TIFF", {"compression": "tiff_adobe_deflate"}, 2**31 - 1)),
}
MAKER = "gan_style, made by "  # and a digest, in the EXIF tag Software
PIXELS = 2**28  # of the largest image that is read: 16384x16384, the largest WebP
BYTES = 8 * PIXELS  # of the largest file that is read: all pixels, of four 16-bit channels
# Of a scaled image, the longer side to the shorter: a scroll of 3000x8 would be scaled to
# 192,000x512, beyond any memory.
LONG = 8
LARGE = 2**25  # pixels from where on images are decoded one at a time, if memory has room for them
BYTES_A_PIXEL = 24  # while it is decoded: measured, a transparent WebP takes most
# A picture of 16 bits uses the two highest of them: below this even its lightest pixel is nearly
# black, and what is in the file is more likely 10, 12 or 14 bits of an instrument.
DARK = 2**14

# A few KB can say that they are gigapixels: Pillow refuses from here on, before it allocates.
Image.MAX_IMAGE_PIXELS = PIXELS
# Its other warnings are of odd metadata and don't say in which file.
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it can't open is told by us

_one_large_at_a_time = threading.Lock()


class ImageError(DataError):
    """One file that can't be read as an image; the message is `<path>: <reason>`, printable."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A file as it was read.

    Args:
        image: RGB; what is transparent shows the background.
        alpha: 8-bit opacity of the same size; None where all is opaque.
        dpi: dots per inch, across and down, where the file has some.
        note: what of the file isn't in the image, for the user; "" where all is.
    """

    image: Image.Image
    alpha: Image.Image | None = None
    dpi: tuple[float, float] | None = None
    note: str = ""


def list_images(folder: Path) -> list[Path]:
    """Every image file under `folder`, at any depth, sorted by path; hidden names are skipped.

    Also what only has the name of one, such as a link to nowhere: `load_image` says what is wrong.

    Raises:
        DataError: as `list_files`.
    """
    return sorted(path for path in list_files(folder) if path.suffix.lower() in SUFFIXES)


def same(name: str) -> str:
    """A name as names are compared: `e` with an accent is one character, not two (NFC)."""
    return unicodedata.normalize("NFC", name)


def left_out(folder: Path) -> str:
    """Files under `folder` that a user may take for images, but nothing reads; "" without any."""
    found = _unread(folder)
    return f"{printable(folder)}: {found}" if found else ""


def without_images(folder: Path) -> str:
    """The words of a refusal of a folder that has no images, with what it has that isn't read."""
    found = _unread(folder)
    return f"no images in this folder{': ' * bool(found)}{found}"


def _unread(folder: Path) -> str:
    """What `left_out` says of a folder: the most frequent kinds, and the number of the others."""
    kinds = Counter(filter(None, map(_unread_kind, list_files(folder))))
    if not kinds:
        return ""
    count = kinds.total()
    order = sorted(kinds, key=lambda kind: (-kinds[kind], kind))
    found = [f"{kinds[kind]} {printable(kind)}" for kind in order[:SHOWN]]
    if len(order) > SHOWN:
        found.append(f"{sum(kinds[kind] for kind in order[SHOWN:])} of other kinds")
    what = "1 file is" if count == 1 else f"{count} files are"
    return f"{what} left out, of kinds that aren't read: {', '.join(found)}"


def _unread_kind(path: Path) -> str:
    """How a file is counted that isn't read; "" of images, and of what nobody takes for one."""
    suffix = path.suffix.lower()
    if suffix in SUFFIXES or suffix in NO_IMAGES or path.name.lower() in NO_IMAGES_WITHOUT_SUFFIX:
        return ""
    if len(suffix) > KIND:
        return f"{suffix[:KIND]}..."
    return suffix or "without suffix"


def list_files(folder: Path) -> Iterator[Path]:
    """Everything under `folder`, at any depth, but hidden names and folders.

    Links to folders are followed. A folder that can be reached in several ways is read once: where
    it lies, if that is under `folder`, else under the first of the links. Of a link to a folder
    around it nothing would end: one that is called as an image is listed itself, as a bad image.

    Raises:
        DataError: no such folder, one in it that can't be read, or another link to one around it.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {printable(folder)}")

    def refuse(error: OSError) -> None:
        raise DataError(f"can't read folder {printable(error.filename)}: {error.strerror}")

    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    for root in waiting:
        for parent, folders, names in os.walk(root, onerror=refuse):
            status = Path(parent).stat()
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            links = [Path(parent, name) for name in folders if Path(parent, name).is_symlink()]
            for link in links:
                if not Path(parent).resolve().is_relative_to(link.resolve()):
                    waiting.append(link)
                elif link.suffix.lower() in SUFFIXES:
                    yield link
                else:
                    raise DataError(
                        f"{printable(link)} links to a folder that it lies in itself, "
                        f"{printable(link.readlink())}: remove the link"
                    )
            yield from (Path(parent, name) for name in names if not name.startswith("."))


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels, as they are stored; little more than the header is read.

    Raises:
        ImageError: as `load_image`.
    """
    with _opened(path) as file:
        return file.size


def read_in_part(paths: Iterable[Path]) -> dict[Path, str]:
    """The notes of those files of which not all would be read; little more than headers is.

    What can't be opened is passed over: whoever reads it says so.
    """
    notes = {}
    for path in dict.fromkeys(paths):
        with suppress(ImageError), _opened(path) as file:
            if note := _frames_left_out(path, file):
                notes[path] = note
    return notes


def load_image(path: Path, background: str = "white") -> Image.Image:
    """The image of `read_picture`.

    Raises:
        ImageError, DataError: as `read_picture`.
    """
    return read_picture(path, background).image


def read_picture(path: Path, background: str = "white") -> Picture:
    """Read any image file as upright 8-bit sRGB.

    EXIF orientation is applied; grey, palette and CMYK become RGB; an embedded ICC profile is
    converted to sRGB; what is transparent shows `background` (a colour name or #rrggbb). 16-bit
    values are scaled by 255/65535 and float values in [0, 1] by 255, never clipped. Of several
    frames the first is read, and of the bands of a TIFF red, green and blue.

    Raises:
        ImageError: the file is missing, truncated, no image, too large, or its values have no
            known white.
        DataError: memory has no room for it.
    """
    with _opened(path) as file:
        large = file.width * file.height > LARGE
        with _one_large_at_a_time if large else nullcontext():
            if large:
                _refuse_without_room(path, file.size)
            note = _frames_left_out(path, file)
            dpi, profile = file.info.get("dpi"), file.info.get("icc_profile")
            deep = _is_deep_colour(file)
            # A line that comes in many blocks is copied with each: minutes for millions of pixels.
            file.decodermaxblock = max(file.decodermaxblock, 8 * file.width)
            file.load()
            if deep and not _says_white(file):
                _refuse_dark_colour(path, file)
            ImageOps.exif_transpose(file, in_place=True)
            alpha = _alpha(file)
            image = _to_srgb(_to_8_bit(path, file), profile)
        image = _upon(background, image, alpha)
        return Picture(image=image, alpha=alpha, dpi=_sound(dpi), note=note)


def picture_of(image: Any, background: str = "white") -> Picture:
    """An image as users have it, as `read_picture` reads a file.

    Args:
        image: a path; a PIL image; or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), of uint8
            or of floats in [0, 1], which are rounded to 8 bits.
        background: shows where it is transparent.

    Raises:
        ImageError: as `read_picture`; or it is none of these.
    """
    if isinstance(image, str | os.PathLike):
        return read_picture(Path(image), background)
    if isinstance(image, np.ndarray):
        image = Image.fromarray(_array_of_levels(image))
    if not isinstance(image, Image.Image):
        raise ImageError(
            f"an image can't be {type(image).__name__}: give a path, a PIL image or an array"
        )
    try:
        upright = ImageOps.exif_transpose(image)
        alpha = _alpha(upright)
        colours = _to_srgb(_to_8_bit(None, upright), image.info.get("icc_profile"))
    except ValueError as error:
        raise ImageError(f"{label(image)}: {error}") from error
    return Picture(image=_upon(background, colours, alpha), alpha=alpha)


def label(image: Any) -> str:
    """What an image is called in a message: its path, or what it is."""
    if isinstance(image, str | os.PathLike):
        return printable(os.fspath(image))
    return f"the {type(image).__name__}"


def _array_of_levels(array: np.ndarray) -> np.ndarray:
    """uint8 (H, W), (H, W, 3) or (H, W, 4)."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))) or not array.size:
        raise ImageError(
            f"an array of an image can't have the shape {array.shape}: give (H, W), (H, W, 3) or "
            "(H, W, 4)"
        )
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(
            f"an array of an image can't be {array.dtype}: give uint8, or floats in [0, 1]"
        )
    if not (array.min() >= 0 and array.max() <= 1):  # also true of a NaN
        raise ImageError(
            f"an array of an image has values from {array.min():.4g} to {array.max():.4g}, but "
            "floats must be in [0, 1]"
        )
    return _unit_to_8_bit(array, None)


def _upon(background: str, image: Image.Image, alpha: Image.Image | None) -> Image.Image:
    if alpha is None:
        return image
    canvas = Image.new("RGB", image.size, background)
    canvas.paste(image, mask=alpha)
    return canvas


def _sound(dpi: Any) -> tuple[float, float] | None:
    """Dots per inch that can be written again: a file may have any numbers, and 1 for no unit."""
    try:
        across, down = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 1 < across < 1e5 and 1 < down < 1e5 else None


def _frames_left_out(path: Path, file: ImageFile.ImageFile) -> str:
    # Cameras keep small copies, and gain maps, behind a JPEG: no one misses those.
    several = getattr(file, "is_animated", False) and file.format != "MPO"
    if several and file.format == "TIFF":
        several = _has_pages(file)
    return f"{printable(path)}: only the first of its frames is read" if several else ""


def _has_pages(file: ImageFile.ImageFile) -> bool:
    """Whether a TIFF has a second page that is no smaller copy and no mask of the first."""
    try:
        for index in range(1, 100):  # of a pyramid there are twenty
            file.seek(index)
            if not int(file.tag_v2.get(254, 0)) & 5:  # type: ignore[attr-defined]
                return True
        return False
    except EOFError:
        return False
    except Exception:  # broken tags behind a page that may be sound
        return True
    finally:
        file.seek(0)


@contextmanager
def _opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """A file as an image that isn't decoded yet; whatever goes wrong with it is an ImageError."""
    try:
        # Before it is opened: that would wait for the other end of a pipe.
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{path}: a folder, a pipe or a device, not a file")
        if status.st_size > BYTES:
            raise ImageError(
                f"{path}: {status.st_size / 1e9:.1f} GB, but no file above {BYTES / 1e9:.1f} GB is "
                "read: cut it into pieces"
            )
        with _open(path) as file:
            _refuse_tile(path, file)
            yield file
    except UserError:
        raise
    except Exception as error:  # decoders raise nearly anything on broken input
        raise ImageError(f"{path}: {_reason(error, path)}") from error


def _open(path: Path) -> ImageFile.ImageFile:
    try:
        return Image.open(path, formats=FORMATS)
    except Image.UnidentifiedImageError:
        if _brand(path) == "HEIC" and _reads_heic():
            return Image.open(path, formats=("HEIF",))
        raise


def _refuse_tile(path: Path, file: ImageFile.ImageFile) -> None:
    """A TIFF's tiles are decoded whole, whatever of them lies in the image."""
    tags = file.tag_v2 if isinstance(file, TiffImagePlugin.TiffImageFile) else {}
    width, height = (tags.get(tag, 0) for tag in (rasters.TILE_WIDTH, rasters.TILE_HEIGHT))
    if width * height > max(LARGE, 4 * file.width * file.height):
        raise ImageError(
            f"{path}: tiles of {width}x{height} pixels for {file.width}x{file.height} of image"
        )


def _brand(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(12)
    return BRANDS.get(head[8:], "") if head[4:8] == b"ftyp" else ""


@cache
def _reads_heic() -> bool:
    """Whether pillow-heif is there; it reads HEIC from now on."""
    if not find_spec("pillow_heif"):
        return False
    import pillow_heif

    pillow_heif.register_heif_opener()
    return True


class _Floats(ImageFile.ImageFile):
    """TIFFs of floats in [0, 1], grey or RGB, that Pillow has no mode for."""

    format = "FLOATS"

    def _open(self) -> None:
        found = rasters.read(Path(os.fsdecode(self.filename)))
        if found is None or found.dtype is None or found.dtype.kind != "f":
            raise SyntaxError("no TIFF of floats")
        if not (found.is_grey or found.is_colour) or any(found.tags.get(rasters.EXTRA, ())):
            raise SyntaxError("no picture")
        self.raster: rasters.Raster | None = found
        self._size = (found.width, found.height)
        self._mode = "L" if found.is_grey else "RGB"
        self.tile = []

    def load(self) -> Any:
        """Read and scale the values, once."""
        if self.raster:
            values = self.raster.values()
            if values is None:
                raise ValueError(self.raster.obstacle() or _unlike(self.raster.holds()))
            levels = _unit_to_8_bit(values[..., : 1 if self.mode == "L" else 3], self.raster)
            self.raster = None
            self.im = Image.fromarray(levels[..., 0] if self.mode == "L" else levels).im
        return super().load()


Image.register_open(_Floats.format, _Floats, lambda prefix: prefix.startswith(rasters.MAGIC))


def _unlike(holds: str) -> str:
    return (
        f"holds {holds}; what is read is grey or RGB, of 8 or 16 bits or of floats in [0, 1]: "
        "choose its bands and scale them"
    )


def _reason(error: Exception, path: Path) -> str:
    if isinstance(error, FileNotFoundError):
        return f"a link to {path.readlink()}, no such file" if path.is_symlink() else "no such file"
    if isinstance(error, Image.UnidentifiedImageError):
        if needs := NEEDS.get(_brand(path)):
            return needs
        raster = rasters.read(path)
        return _unlike(raster.holds()) if raster else "not an image that can be read"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return (
            f"more than {PIXELS} pixels ({PIXELS / 1e6:.0f} megapixels), the most that is read: "
            "scale it down or cut it into pieces"
        )
    if isinstance(error, MemoryError):
        return "not enough memory for it"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _refuse_without_room(path: Path, size: tuple[int, int]) -> None:
    # Not as an ImageError, which --skip_bad_images would leave out: which images a training sees
    # must not hang on what else is running.
    needed, free = size[0] * size[1] * BYTES_A_PIXEL, memory.free(torch.device("cpu"))
    if needed > free:
        raise DataError(
            f"{printable(path)}: {size[0]}x{size[1]} pixels take up to {needed / 1e9:.1f} GB to "
            f"read, but {free / 1e9:.1f} GB are free: scale it down or cut it into pieces"
        )


def _is_deep_colour(file: ImageFile.ImageFile) -> bool:
    """Whether Pillow reads the higher bytes of 16-bit colours."""
    args = file.tile[0][3] if file.tile else ""
    raw, *more = args if isinstance(args, tuple) else (args,)
    if file.format == "PPM":
        return file.mode == "RGB" and bool(more) and more[0] == 65535
    return file.mode in ("RGB", "RGBA", "LA") and ";16" in str(raw)


class TooDarkError(ValueError):
    """Integers of 16 bits that use a small part of these, whose white nobody can know.

    Args:
        found: their range in words.
    """

    def __init__(self, found: str) -> None:
        super().__init__(
            f"range found {found} of 65535: scale the files to it, or save them with 8 bits or "
            "with a colour profile if they are meant as dark"
        )
        self.found = found


def _says_white(file: Image.Image) -> bool:
    """Whether a file says what its values mean: by a profile, or a PNG by its sRGB or gAMA."""
    return any(key in file.info for key in ("icc_profile", "srgb", "gamma"))


def _refuse_dark_colour(path: Path, file: ImageFile.ImageFile) -> None:
    """As `_refuse_dark`, by the higher bytes alone where Pillow gives no more."""
    colours = np.asarray(file)[..., : 1 if file.mode == "LA" else 3]
    high = int(colours.max()) * 256 + 255
    if high < DARK:
        values = _deep_values(path, file)
        if values is None:
            raise TooDarkError(f"at most {high}")
        _refuse_dark(values)


def _deep_values(path: Path, file: ImageFile.ImageFile) -> np.ndarray | None:
    """Colours (H, W, 3) in all their 16 bits; None where nothing reads the lower ones."""
    if raster := rasters.read(path):
        values = raster.values()
        return None if values is None else values[..., :3]
    if file.format != "PNG" or file.mode not in ("RGB", "RGBA"):
        return None
    with Image.open(path, formats=("PNG",)) as again:
        # A PNG's higher bytes come first: read as if the lower did, these are what one gets.
        again.tile = [tile._replace(args=f"{file.mode};16L") for tile in again.tile]
        again.decodermaxblock = file.decodermaxblock
        lower = np.asarray(again)[..., :3]
    return np.asarray(file)[..., :3].astype(np.uint16) * 256 + lower


def _refuse_dark(values: np.ndarray) -> None:
    """Raise TooDarkError for integers of 16 bits that use only a part of these."""
    low, high = int(values.min()), int(values.max())
    if high < DARK and (values % 257).any():  # 8 bits in 16 are multiples of 257: as dark as meant
        raise TooDarkError(f"{low}-{high}")


def _alpha(image: Image.Image) -> Image.Image | None:
    """Opacity as L; None where everything is opaque."""
    if image.mode.startswith("I"):  # of 16 bits one value may be transparent
        clear = image.info.get("transparency")
        if not isinstance(clear, int):
            return None
        alpha = Image.fromarray(np.where(np.asarray(image) == clear, 0, 255).astype(np.uint8))
    elif image.has_transparency_data:
        alpha = image.convert("RGBA").getchannel("A")
    else:
        return None
    if alpha.getextrema() == (255, 255):
        return None
    # GDAL declares any fourth band transparency, infrared too; that has more values than a mask.
    tags = getattr(image, "tag_v2", ())
    if any(tag in tags for tag in rasters.GEOGRAPHIC) and any(alpha.histogram()[1:255]):
        return None
    return alpha


def _to_8_bit(path: Path | None, image: Image.Image) -> Image.Image:
    """Scale 16-bit integers and floats in [0, 1] to 8 bits: Pillow's own conversion clips them."""
    if image.mode == "F":
        return Image.fromarray(
            _unit_to_8_bit(np.asarray(image), rasters.read(path) if path else None)
        )
    if image.mode.startswith("I"):
        integers = np.asarray(image).astype(np.int64)
        if integers.min() < 0 or integers.max() > 65535:
            raster = rasters.read(path) if path else None
            held = f"1 band of integers {rasters.spread(integers)}"
            raise ValueError(_unlike(raster.holds(integers) if raster else held))
        if not _says_white(image):
            _refuse_dark(integers)
        integers += 128  # 65535 / 255 is 257: to the nearest level
        integers //= 257
        return Image.fromarray(integers.astype(np.uint8))
    return image


def _unit_to_8_bit(values: np.ndarray, raster: rasters.Raster | None) -> np.ndarray:
    if not (values.min() >= 0 and values.max() <= 1):  # also true of a NaN
        held = f"1 band of floats {rasters.spread(values)}"
        raise ValueError(_unlike(raster.holds(values) if raster else held))
    scaled = values.astype(np.float64)
    scaled *= 255
    return np.rint(scaled, out=scaled).astype(np.uint8)


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB without transparency; colours that are transparent stay what they are."""
    grey = _is_of_grey(profile) if profile else False
    if grey and image.mode in ("1", "P", "PA", "LA", "La"):
        image = image.convert("RGBA").convert("L")
    elif image.has_transparency_data:
        image = image.convert("RGBA")
    if image.mode not in ("RGB", "L", "CMYK", "LAB"):
        image = image.convert("RGB")
    if profile and (transform := _transform_to_srgb(profile, image.mode)):
        converted = ImageCms.applyTransform(image, transform)
        assert converted is not None  # only in-place transforms return nothing
        return converted
    return image.convert("RGB")


@lru_cache(maxsize=32)
def _is_of_grey(profile: bytes) -> bool:
    try:
        found = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile
    except (ImageCms.PyCMSError, OSError, ValueError):
        return False
    return found.xcolor_space.strip() == "GRAY"


@lru_cache(maxsize=32)
def _transform_to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """None for a profile that is broken or made for other channels: browsers ignore those too."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def to_array(image: Image.Image) -> np.ndarray:
    """PIL RGB -> uint8 (H, W, 3); L -> (H, W)."""
    return np.array(image, dtype=np.uint8)


def to_grey(image: Image.Image) -> Image.Image:
    """The luma of PIL RGB in all three channels, rounded as torchvision's Grayscale does."""
    return image.convert("L").convert("RGB")


def to_tensor(array: np.ndarray) -> Tensor:
    """uint8 (H, W, C) -> float32 (C, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1).float() / 255


def from_tensor(image: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] -> uint8 (H, W, 3), clipped and rounded to the nearest level.

    The CycleGAN reference truncates here, which darkens every image by half a level on average.
    """
    levels = (image.detach().float().clamp(0, 1) * 255).round().to("cpu", torch.uint8)
    return levels.permute(1, 2, 0).numpy()


def save_image(
    array: np.ndarray,
    path: Path,
    alpha: np.ndarray | None = None,
    dpi: tuple[float, float] | None = None,
    background: str = "white",
    made_by: str = "",
) -> None:
    """Write uint8 (H, W, 3) as its suffix in `WRITTEN` says, whole or not at all.

    Args:
        array: the colours.
        path: of the file.
        alpha: uint8 (H, W), opacity; None is opaque.
        dpi: dots per inch, which a WebP has no place for.
        background: colour under what is transparent in a JPEG, which can't be.
        made_by: what `maker_of` says of the file, for any that is to be known again by itself.
    """
    kind, options, _ = WRITTEN[path.suffix.lower()]
    image = Image.fromarray(array)
    if alpha is not None and kind == "JPEG":
        canvas = Image.new("RGB", image.size, background)
        canvas.paste(image, mask=Image.fromarray(alpha))
        image = canvas
    elif alpha is not None:
        image.putalpha(Image.fromarray(alpha))
    notes: dict[str, Any] = {"dpi": dpi} if dpi else {}
    if made_by:
        notes["exif"] = Image.Exif()
        notes["exif"][TiffImagePlugin.SOFTWARE] = f"{MAKER}{made_by}"
    with atomic_file(path) as partial:
        image.save(partial, format=kind, **options, **notes)


def maker_of(path: Path) -> str:
    """What `save_image` was told of the image in a file; "" of one that says nothing of it."""
    try:
        with _opened(path) as file:
            said = str(file.getexif().get(TiffImagePlugin.SOFTWARE, ""))
    except ImageError:
        return ""
    return said.removeprefix(MAKER) if said.startswith(MAKER) else ""


def save_png(array: np.ndarray, path: Path) -> None:
    """Write uint8 (H, W, 3) as a PNG, whole or not at all."""
    with atomic_file(path) as partial:
        Image.fromarray(array).save(partial, format="PNG")


def resize(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W, 3) or (H, W) to `size` = (height, width): PIL's bicubic, antialiased."""
    if array.shape[:2] == size:
        return array
    return to_array(Image.fromarray(array).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def scaled_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(height, width) with the longer one at most `side`; 0 keeps all sizes."""
    if not side or max(size) <= side:
        return size
    scale = side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def pad(array: np.ndarray, multiple: int, smallest: int) -> np.ndarray:
    """(H, W, C) mirrored at its lower and right edge up to the next size that a network takes."""
    height, width = array.shape[:2]
    new_height, new_width = padded_size((height, width), multiple, smallest)
    extra = ((0, new_height - height), (0, new_width - width), (0, 0))
    return np.pad(array, extra, mode="reflect")


def padded_size(size: tuple[int, int], multiple: int, smallest: int) -> tuple[int, int]:
    """(height, width), each the next multiple of `multiple` that is at least `smallest`."""
    height, width = (-(-max(side, smallest) // multiple) * multiple for side in size)
    return height, width


def spread(items: Sequence[T], count: int) -> list[T]:
    """`count` different items at even distances, or all where there are no more."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def grid(
    rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str] = (), cell: int = 128, gap: int = 4
) -> np.ndarray:
    """Images uint8 (H, W, 3) as one picture: each fitted into a square of `cell` pixels, centred.

    Args:
        rows: the pictures, row by row; the last row may be shorter.
        titles: a word above each column; () leaves the header out.
        cell: side of a square in pixels.
        gap: white pixels between squares.
    """
    columns = len(rows[0])
    header = 22 if titles else 0
    width, height = columns * (cell + gap) + gap, header + len(rows) * (cell + gap) + gap
    canvas = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    for column, title in enumerate(titles):
        x = gap + column * (cell + gap) + cell // 2
        draw.text(
            (x, header // 2 + 2), title, fill="black", anchor="mm", font=ImageFont.load_default(13)
        )
    for r, row in enumerate(rows):
        for c, array in enumerate(row):
            scale = cell / max(array.shape[:2])
            size = (max(1, round(array.shape[0] * scale)), max(1, round(array.shape[1] * scale)))
            x = gap + c * (cell + gap) + (cell - size[1]) // 2
            y = header + gap + r * (cell + gap) + (cell - size[0]) // 2
            canvas.paste(Image.fromarray(resize(array, size)), (x, y))
    return np.asarray(canvas)
