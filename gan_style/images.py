"""Images in and out: any file to 8-bit sRGB, PIL to tensor and back, resizing, picture grids.

Everywhere else in the package an image is a float32 tensor (N, 3, H, W), RGB in [0, 1].
"""

import io
import os
import stat
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, ImageCms, ImageDraw, ImageFile, ImageFont, ImageOps
from torch import Tensor

from gan_style import memory
from gan_style.errors import DataError, UserError, printable
from gan_style.files import atomic_file

T = TypeVar("T")
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".tif", ".tiff", ".webp")
# By content, whatever the suffix says. Pillow knows 40 more, one of which starts Ghostscript.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
PIXELS = 2**28  # of the largest image that is read: 16384x16384, the largest WebP
BYTES = 8 * PIXELS  # of the largest file that is read: all pixels, of four 16-bit channels
LARGE = 2**25  # pixels from where on images are decoded one at a time, if memory has room for them
BYTES_A_PIXEL = 24  # while it is decoded: measured, a transparent WebP takes most

# A few KB can say that they are gigapixels: Pillow refuses from here on, before it allocates.
Image.MAX_IMAGE_PIXELS = PIXELS
# Its other warnings are of odd metadata and don't say in which file.
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)

_one_large_at_a_time = threading.Lock()


class ImageError(DataError):
    """One file that can't be read as an image; the message is `<path>: <reason>`, printable."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def list_images(folder: Path) -> list[Path]:
    """Every image file under `folder`, at any depth, sorted by path; hidden names are skipped.

    Also what only has the name of one, such as a link to nowhere: `load_image` says what is wrong.

    Raises:
        DataError: no such folder, or one in it that can't be read.
    """
    return sorted(path for path in list_files(folder) if path.suffix.lower() in SUFFIXES)


def list_files(folder: Path) -> Iterator[Path]:
    """Everything under `folder`, at any depth, but hidden names and folders.

    Links to folders aren't followed: they are listed themselves.

    Raises:
        DataError: no such folder, or one in it that can't be read.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {printable(folder)}")

    def refuse(error: OSError) -> None:
        raise DataError(f"can't read folder {printable(error.filename)}: {error.strerror}")

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [name for name in folders if Path(parent, name).is_symlink()]
        yield from (Path(parent, name) for name in (*names, *links) if not name.startswith("."))


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels, as they are stored; little more than the header is read.

    Raises:
        ImageError: as `load_image`.
    """
    with _opened(path) as file:
        return file.size


def load_image(path: Path, background: str = "white") -> Image.Image:
    """Read any image file as upright 8-bit sRGB.

    EXIF orientation is applied; transparency is composed onto `background` (a colour name or
    #rrggbb); grey, palette and CMYK become RGB; an embedded ICC profile is converted to sRGB;
    16-bit values are scaled by 255/65535 and float values in [0, 1] by 255, never clipped. Of
    several frames the first is read.

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
            # A line that comes in many blocks is copied with each: minutes for millions of pixels.
            file.decodermaxblock = max(file.decodermaxblock, 8 * file.width)
            file.load()
            ImageOps.exif_transpose(file, in_place=True)
            return _to_srgb(_to_8_bit(file), background)


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
        with Image.open(path, formats=FORMATS) as file:
            yield file
    except UserError:
        raise
    except Exception as error:  # decoders raise nearly anything on broken input
        raise ImageError(f"{path}: {_reason(error, path)}") from error


def _reason(error: Exception, path: Path) -> str:
    if isinstance(error, FileNotFoundError):
        return f"a link to {path.readlink()}, no such file" if path.is_symlink() else "no such file"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image that can be read"
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


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit integers and floats in [0, 1] to 8 bits: Pillow's own conversion clips them."""
    if image.mode == "F":
        values = np.array(image, dtype=np.float64)
        if not (values.min() >= 0 and values.max() <= 1):  # also true of a NaN
            raise ValueError(
                f"floats from {values.min():g} to {values.max():g}; scale them to [0, 1]"
            )
        values *= 255
        return Image.fromarray(np.rint(values, out=values).astype(np.uint8))
    if image.mode.startswith("I"):
        integers = np.asarray(image).astype(np.int64)
        if integers.min() < 0 or integers.max() > 65535:
            raise ValueError(
                f"integers from {integers.min()} to {integers.max()}; scale them to 0..65535"
            )
        integers += 128  # 65535 / 255 is 257: to the nearest level
        integers //= 257
        return Image.fromarray(integers.astype(np.uint8))
    return image


def _to_srgb(image: Image.Image, background: str) -> Image.Image:
    profile = image.info.get("icc_profile")
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, background)
        image = Image.alpha_composite(canvas, image).convert("RGB")
    if image.mode not in ("RGB", "L", "CMYK", "LAB"):
        image = image.convert("RGB")
    if profile and (transform := _transform_to_srgb(profile, image.mode)):
        converted = ImageCms.applyTransform(image, transform)
        assert converted is not None  # only in-place transforms return nothing
        return converted
    return image.convert("RGB")


@lru_cache(maxsize=32)
def _transform_to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """None for a profile that is broken or made for other channels: browsers ignore those too."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def to_array(image: Image.Image) -> np.ndarray:
    """PIL RGB -> uint8 (H, W, 3)."""
    return np.array(image, dtype=np.uint8)


def to_grey(image: Image.Image) -> Image.Image:
    """The luma of PIL RGB in all three channels, rounded as torchvision's Grayscale does."""
    return image.convert("L").convert("RGB")


def to_tensor(array: np.ndarray) -> Tensor:
    """uint8 (H, W, 3) -> float32 (3, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1).float() / 255


def from_tensor(image: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] -> uint8 (H, W, 3), clipped and rounded to the nearest level.

    The CycleGAN reference truncates here, which darkens every image by half a level on average.
    """
    levels = (image.detach().float().clamp(0, 1) * 255).round().to("cpu", torch.uint8)
    return levels.permute(1, 2, 0).numpy()


def save_png(array: np.ndarray, path: Path) -> None:
    """Write uint8 (H, W, 3) as a PNG, whole or not at all."""
    with atomic_file(path) as partial:
        Image.fromarray(array).save(partial, format="PNG")


def resize(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W, 3) to `size` = (height, width): PIL's bicubic, which is antialiased."""
    if array.shape[:2] == size:
        return array
    return to_array(Image.fromarray(array).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def scaled_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(height, width) with the longer one at most `side`; 0 keeps all sizes."""
    if not side or max(size) <= side:
        return size
    scale = side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


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
