"""Images in and out: any file to 8-bit sRGB, PIL to tensor and back, resizing, picture grids.

Everywhere else in the package an image is a float32 tensor (N, 3, H, W), RGB in [0, 1].
"""

import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, ImageCms, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from gan_style.errors import DataError
from gan_style.files import atomic_file

T = TypeVar("T")
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".tif", ".tiff", ".webp")


class ImageError(DataError):
    """One file that can't be read as an image; the message is `<path>: <reason>`."""


def list_images(folder: Path) -> list[Path]:
    """Every image file under `folder`, at any depth, sorted by path; hidden names are skipped."""
    if not folder.is_dir():
        raise DataError(f"no folder {folder}")
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def load_image(path: Path, background: str = "white") -> Image.Image:
    """Read any image file as upright 8-bit sRGB.

    EXIF orientation is applied; transparency is composed onto `background` (a colour name or
    #rrggbb); grey, palette and CMYK become RGB; an embedded ICC profile is converted to sRGB;
    16-bit values are scaled by 255/65535 and float values in [0, 1] by 255, never clipped. Of
    several frames the first is read.

    Raises:
        ImageError: the file is missing, truncated, no image, or its values have no known white.
    """
    try:
        with Image.open(path) as file:
            file.load()
            image: Image.Image = ImageOps.exif_transpose(file)
    except Exception as error:  # decoders raise nearly anything on broken input
        raise ImageError(f"{path}: {_reason(error)}") from error
    image = _to_8_bit(image, path)
    profile = image.info.get("icc_profile")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, background)
        image = Image.alpha_composite(canvas, image).convert("RGB")
    if image.mode not in ("RGB", "L", "CMYK", "LAB"):
        image = image.convert("RGB")
    if profile and (transform := _transform_to_srgb(profile, image.mode)):
        converted = ImageCms.applyTransform(image, transform)
        assert converted is not None  # only in-place transforms return nothing
        return converted
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image that can be read"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _to_8_bit(image: Image.Image, path: Path) -> Image.Image:
    """Scale 16-bit integers and floats in [0, 1] to 8 bits: Pillow's own conversion clips them."""
    if image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        if not (values.min() >= 0 and values.max() <= 1):  # also true of a NaN
            raise ImageError(
                f"{path}: floats from {values.min():g} to {values.max():g}; scale them to [0, 1]"
            )
        return Image.fromarray(np.rint(values * 255).astype(np.uint8))
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ImageError(
                f"{path}: integers from {values.min()} to {values.max()}; scale them to 0..65535"
            )
        return Image.fromarray(np.rint(values / 257).astype(np.uint8))
    return image


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
