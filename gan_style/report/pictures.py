"""Pictures small enough for a page: thumbnails, larger ones to look at, and a grid of them."""

import base64
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib as mpl
from PIL import Image, ImageDraw, ImageFont, ImageOps

from gan_style.io.safe_io import parse_json, read_text
from gan_style.report.record import Comparison, Method

THUMBNAIL = (240, 80)  # side in pixels, JPEG quality
# Of the pictures to look at: the first that keeps a page within its budget.
LARGE = ((512, 85), (512, 75), (448, 72), (384, 70), (320, 68), (256, 65))
BUDGET = 7_000_000  # bytes of all pictures as text
GRID_BYTES = 390_000
GRID_QUALITIES = (88, 80, 70, 60, 50, 40, 30)
CELL = 128  # pixels of a picture in the grid
GAP = 4
URI = "data:image/jpeg;base64,"
JPEG = re.compile(f"{URI}[A-Za-z0-9+/]+=*")
TITLE = 13  # pixels of its letters
LINES = 2  # of a title


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture as data URIs of JPEGs, and the size of the large one in pixels."""

    thumbnail: str
    large: str
    width: int
    height: int

    def image(self) -> Image.Image | None:
        """The large one, decoded."""
        try:
            data = base64.b64decode(self.large.removeprefix(URI))
            with Image.open(io.BytesIO(data), formats=("JPEG",)) as file:
                return fitted(file.convert("RGB"), LARGE[0][0])
        except Exception:  # as in `load`
            return None


Earlier = Mapping[tuple[str, str], Picture]  # by the names of the pair and of the column


class _Page(HTMLParser):
    """The thumbnails and the viewer's data of a page that `report` wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.thumbnails: dict[tuple[str, str], str] = {}  # by row and column
        self.data = ""
        self._place, self._in_data = ("", ""), False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        if tag == "button":
            self._place = found.get("data-row", ""), found.get("data-column", "")
        elif tag == "img" and all(self._place):
            self.thumbnails.setdefault(self._place, found.get("src", ""))
        self._in_data = tag == "script" and found.get("id") == "viewer-data"

    def handle_endtag(self, tag: str) -> None:
        self._in_data = False
        self._place = ("", "") if tag == "button" else self._place

    def handle_data(self, data: str) -> None:
        if self._in_data:
            self.data += data


def earlier(page: Path) -> Earlier:
    """The pictures of an earlier page, which may be all that is left of them; none where it's none.

    Only JPEGs in the page itself are taken: it may be somebody else's.
    """
    found: dict[tuple[str, str], Picture] = {}
    try:
        parser = _Page()
        parser.feed(read_text(page))
        data: dict[str, Any] = parse_json(parser.data)
        labels = [str(column["label"]) for column in data["columns"]]
        count = Counter(str(row["name"]) for row in data["rows"])
        for r, row in enumerate(data["rows"]):
            for c, (label, cell) in enumerate(zip(labels, row["cells"], strict=True)):
                if not cell or count[str(row["name"])] > 1:  # which of them, isn't known
                    continue
                picture = Picture(
                    thumbnail=parser.thumbnails[str(r), str(c)],
                    large=str(cell["source"]),
                    width=int(cell["width"]),
                    height=int(cell["height"]),
                )
                if JPEG.fullmatch(picture.thumbnail) and JPEG.fullmatch(picture.large):
                    found[str(row["name"]), label] = picture
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}
    return found


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


def columns_of(methods: Sequence[Method]) -> list[str]:
    """What stands above the pictures of `rows_of`."""
    return ["Content", "Style image", *(method.label for method in methods)]


def rows_of(
    comparison: Comparison, methods: Sequence[Method], rows: int, before: Earlier
) -> list[tuple[int, list[Image.Image | Picture | None]]]:
    """Index of each chosen pair, with its content, its style and its translations.

    A picture whose file isn't there any more is that of the page before, where it has one.
    """
    chosen: list[tuple[int, list[Image.Image | Picture | None]]] = []
    columns = columns_of(methods)
    for index in spread(len(comparison.pairs), rows):
        pair = comparison.pairs[index]
        paths = [pair.content, pair.style]
        paths += [method.images[index] if method.images else None for method in methods]
        images: list[Image.Image | Picture | None] = [
            before.get((pair.name, column)) if path and not path.exists() else load(path)
            for path, column in zip(paths, columns, strict=True)
        ]
        chosen.append((index, images))
    return chosen


def embedded(
    shown: Sequence[Sequence[Image.Image | Picture | None]],
) -> list[list[Picture | None]]:
    """Every picture as text, the large ones as large as the budget allows."""
    kept = [[cell if isinstance(cell, Picture) else None for cell in row] for row in shown]
    rows = [[None if isinstance(cell, Picture) else cell for cell in row] for row in shown]
    thumbnails = _uris(rows, *THUMBNAIL)
    left = BUDGET - _length(thumbnails)
    left -= _length([[p.thumbnail + p.large if p else None for p in row] for row in kept])
    for side, quality in LARGE:
        large = _uris(rows, side, quality)
        if _length(large) <= left:
            break
    found: list[list[Picture | None]] = []
    for images, small, big, of_before in zip(rows, thumbnails, large, kept, strict=True):
        found.append(
            [
                Picture(thumbnail=thumbnail, large=uri, width=image.width, height=image.height)
                if image and thumbnail and uri
                else before
                for image, thumbnail, uri, before in zip(images, small, big, of_before, strict=True)
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


def grid(shown: Sequence[Sequence[Image.Image | Picture | None]], titles: Sequence[str]) -> bytes:
    """All of them as one JPEG with a title above each column, below 400 kB."""
    rows = [[c.image() if isinstance(c, Picture) else c for c in row] for row in shown]
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
