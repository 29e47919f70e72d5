"""Pictures small enough for a page: thumbnails, larger ones to look at, and a grid of them."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from PIL import Image, ImageDraw, ImageFont, ImageOps

from gan_style.pages.record import Comparison, Method

THUMBNAIL = (240, 80)  # side in pixels, JPEG quality
# Of the pictures to look at: the first that keeps a page within its budget.
LARGE = ((512, 85), (512, 75), (448, 72), (384, 70), (320, 68), (256, 65))
BUDGET = 7_000_000  # bytes of all pictures as text
GRID_BYTES = 390_000
GRID_QUALITIES = (88, 80, 70, 60, 50, 40, 30)
CELL = 128  # pixels of a picture in the grid
GAP = 4
TITLE = 13  # pixels of its letters
LINES = 2  # of a title


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture as data URIs of JPEGs, and the size of the large one in pixels."""

    thumbnail: str
    large: str
    width: int
    height: int


def spread(count: int, rows: int) -> list[int]:
    """`rows` of `count` indices at even distances, or all where there are no more."""
    rows = min(rows, count)
    return [index * count // rows for index in range(rows)]


def load(path: Path | None) -> Image.Image | None:
    """An upright RGB picture on white of at most 512 pixels; None where none can be read."""
    if path is None or not path.is_file():  # a pipe would be waited for
        return None
    try:
        with Image.open(path) as file:
            file.draft("RGB", (2 * LARGE[0][0],) * 2)  # JPEGs are read at a fraction of their size
            image: Image.Image = ImageOps.exif_transpose(file)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        return fitted(image.convert("RGB"), LARGE[0][0])
    except Exception:  # decoders raise nearly anything on broken input; the page says it is missing
        return None


def fitted(image: Image.Image, side: int) -> Image.Image:
    """At most `side` pixels on the longer side; never enlarged."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def rows_of(
    comparison: Comparison, methods: Sequence[Method], rows: int
) -> list[tuple[int, list[Image.Image | None]]]:
    """Index of each chosen pair, with its content, its style and its translations."""
    chosen = []
    for index in spread(len(comparison.pairs), rows):
        pair = comparison.pairs[index]
        paths = [pair.content, pair.style]
        paths += [method.images[index] if method.images else None for method in methods]
        chosen.append((index, [load(path) for path in paths]))
    return chosen


def embedded(rows: Sequence[Sequence[Image.Image | None]]) -> list[list[Picture | None]]:
    """Every picture as text, the large ones as large as the budget allows."""
    thumbnails = _uris(rows, *THUMBNAIL)
    left = BUDGET - _length(thumbnails)
    for side, quality in LARGE:
        large = _uris(rows, side, quality)
        if _length(large) <= left:
            break
    found: list[list[Picture | None]] = []
    for images, small, big in zip(rows, thumbnails, large, strict=True):
        found.append(
            [
                Picture(thumbnail=thumbnail, large=uri, width=image.width, height=image.height)
                if image and thumbnail and uri
                else None
                for image, thumbnail, uri in zip(images, small, big, strict=True)
            ]
        )
    return found


def _uris(
    rows: Sequence[Sequence[Image.Image | None]], side: int, quality: int
) -> list[list[str | None]]:
    return [
        [_uri(fitted(image, side), quality) if image else None for image in row] for row in rows
    ]


def _length(uris: Sequence[Sequence[str | None]]) -> int:
    return sum(len(uri) for row in uris for uri in row if uri)


def _uri(image: Image.Image, quality: int) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(_jpeg(image, quality)).decode()}"


def _jpeg(image: Image.Image, quality: int) -> bytes:
    target = io.BytesIO()
    image.save(target, format="JPEG", quality=quality, optimize=True)
    return target.getvalue()


def grid(rows: Sequence[Sequence[Image.Image | None]], titles: Sequence[str]) -> bytes:
    """All of them as one JPEG with a title above each column, below 400 kB."""
    picture = _grid(rows, titles)
    for quality in GRID_QUALITIES:
        data = _jpeg(picture, quality)
        if len(data) <= GRID_BYTES:
            return data
    while len(data) > GRID_BYTES:  # a hundred methods
        picture = fitted(picture, round(max(picture.size) * 0.8))
        data = _jpeg(picture, GRID_QUALITIES[-1])
    return data


def _grid(rows: Sequence[Sequence[Image.Image | None]], titles: Sequence[str]) -> Image.Image:
    font = ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", TITLE)
    header = LINES * (TITLE + 4) + GAP
    width = GAP + len(titles) * (CELL + GAP)
    canvas = Image.new("RGB", (width, header + GAP + len(rows) * (CELL + GAP)), "white")
    draw = ImageDraw.Draw(canvas)
    for column, title in enumerate(titles):
        x = GAP + column * (CELL + GAP) + CELL // 2
        text = "\n".join(_wrapped(title, font))
        draw.text((x, header - 2), text, "#1d2126", font, anchor="md", align="center", spacing=3)
    for r, row in enumerate(rows):
        for c, image in enumerate(row):
            x, y = GAP + c * (CELL + GAP), header + GAP + r * (CELL + GAP)
            if image is None:
                draw.rectangle((x, y, x + CELL - 1, y + CELL - 1), outline="#c5cad1")
                draw.text((x + CELL // 2, y + CELL // 2), "missing", "#59616b", font, anchor="mm")
                continue
            small = ImageOps.contain(image, (CELL, CELL), Image.Resampling.LANCZOS)
            canvas.paste(small, (x + (CELL - small.width) // 2, y + (CELL - small.height) // 2))
    return canvas


def _wrapped(title: str, font: ImageFont.FreeTypeFont) -> list[str]:
    """A title in at most two lines of a cell's width, cut where it needs more."""
    lines = [""]
    for word in title.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > CELL and len(lines) < LINES:
            lines.append(word)
        else:
            lines[-1] = longer
    return [_cut(line, font) for line in lines]


def _cut(line: str, font: ImageFont.FreeTypeFont) -> str:
    if font.getlength(line) <= CELL:
        return line
    while line and font.getlength(f"{line}…") > CELL:
        line = line[:-1]
    return f"{line}…"
