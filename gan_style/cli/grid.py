"""The command grid: contents beside their translations, as one picture."""

from itertools import chain
from pathlib import Path

from gan_style.config import at_least, entries
from gan_style.errors import ConfigError, DataError
from gan_style.io.files import listed


def grid(
    content: str,
    translated: str,
    out: str,
    count: int = 8,
    cell: int = 192,
    per_row: int = 1,
    pattern: str = "{stem}",
) -> None:
    """Draw contents beside their translations as one picture.

    Reads a folder of images and one folder of images as translate writes them, or several joined by
    commas; a column each. Writes what the name ends in: .png, .jpg, .webp or .tiff.
    Example: python -m gan_style grid --content data/monet2photo/testB
             --translated results/monet2photo/cyclegan/0001/translated/testB/b2a --out grid.png

    Args:
        content: folder of the original images.
        translated: folders of the translations; each column is headed by its folder's name.
        out: picture to write.
        count: contents, spread over the folder.
        cell: side of a picture in pixels.
        per_row: contents in a row.
        pattern: what translations are called, as for translate.
    """
    from gan_style.data import images
    from gan_style.data.pairs import STYLE, called, check_pattern, output_files

    at_least(1, count=count, cell=cell, per_row=per_row)
    if Path(out).suffix.lower() not in images.WRITTEN:
        raise ConfigError(f"--out is {out!r}, but must end in {', '.join(images.WRITTEN)}")
    check_pattern(pattern)
    if STYLE in pattern:
        raise ConfigError(f"--pattern is {pattern!r}, but a folder of a grid is of one style")
    names = {
        path: images.same(called(pattern, Path(name)).as_posix())
        for name, path in output_files(Path(content)).items()
    }
    folders = [Path(folder) for folder in entries(translated)]
    made = [output_files(folder, "translated") for folder in folders]
    common = [path for path, name in names.items() if all(name in each for each in made)]
    if not common:
        raise DataError(f"no image of --content {content} has a translation in {translated}")
    chosen = images.spread(common, count)
    files = [[path, *(each[names[path]] for each in made)] for path in chosen]
    cells = [[images.to_array(images.load_image(path)) for path in row] for row in files]
    rows = [list(chain(*cells[i : i + per_row])) for i in range(0, len(cells), per_row)]
    titles = [Path(content).name, *(folder.name for folder in folders)] * per_row
    picture = images.grid(rows, titles, cell)
    images.save_image(picture, Path(out))
    if notes := images.read_in_part(chain.from_iterable(files)):
        print(listed(list(notes.values()), Path(out).with_suffix(".read_in_part.txt")))
    print(f"{len(chosen)} contents and their translations drawn: {out}")
