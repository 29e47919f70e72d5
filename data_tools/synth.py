"""Toy domains for tests: coloured discs on dark gradients (A), stripes and squares on light (B)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from gan_style import command
from gan_style.config import PARTS, at_least
from gan_style.errors import DataError
from gan_style.io.files import atomic_folder

PROGRAM = "data_tools.synth"
HELP = """Draw a toy dataset: discs on dark gradients (A), stripes and squares on light (B).

Writes  FOLDER/{trainA,trainB,testA,testB}/*.png, the same ones for the same options.

  python -m data_tools.synth data/toy
  python -m data_tools.synth data/toy128 --size 128 --train 32 --test 8 --seed 1
"""


def make(folder: Path, size: int = 64, train: int = 8, test: int = 4, seed: int = 0) -> Path:
    """Draw the dataset and return `folder`.

    An image depends on its part, its number, the size and the seed alone, so that more images leave
    the first ones as they are.

    Args:
        folder: must not exist, or be empty.
        size: side of the square images in pixels.
        train: images in trainA and in trainB.
        test: images in testA and in testB.
        seed: of everything random.

    Raises:
        DataError: the folder has something in it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is there already: choose a new folder")
    with atomic_folder(folder) as partial:
        for index, part in enumerate(PARTS):
            (partial / part).mkdir()
            draw = discs if part.endswith("A") else stripes
            for i in range(train if part.startswith("train") else test):
                image = draw(np.random.default_rng((seed, index, i)), size)
                Image.fromarray(image).save(partial / part / f"{i:04}.png")
    return folder


def discs(generator: np.random.Generator, size: int) -> np.ndarray:
    """uint8 (size, size, 3): one to three saturated discs on a dark gradient."""
    across, down = _coordinates(size)
    angle = generator.uniform(0, 2 * np.pi)
    along = 0.5 + 0.35 * (np.cos(angle) * (2 * across - 1) + np.sin(angle) * (2 * down - 1))
    dark, less_dark = generator.uniform(0, 40, 3), generator.uniform(40, 90, 3)
    image = dark + (less_dark - dark) * along[..., None].clip(0, 1)
    for _ in range(generator.integers(1, 4)):
        x, y = generator.uniform(0.15, 0.85, 2)
        radius = generator.uniform(0.1, 0.25)
        inside = (across - x) ** 2 + (down - y) ** 2 < radius**2
        image[inside] = generator.permutation([230, generator.uniform(60, 200), 30])
    return image.round().astype(np.uint8)


def stripes(generator: np.random.Generator, size: int) -> np.ndarray:
    """uint8 (size, size, 3): pastel stripes and one to three squares on a light ground."""
    across, down = _coordinates(size)
    image = np.ones((size, size, 3)) * generator.uniform(225, 255, 3)
    angle, period = generator.uniform(0, np.pi), generator.uniform(0.12, 0.3)
    phase = (across * np.cos(angle) + down * np.sin(angle)) / period
    image[phase % 1 < 0.5] = generator.uniform(170, 225, 3)
    for _ in range(generator.integers(1, 4)):
        x, y = generator.uniform(0.15, 0.85, 2)
        half = generator.uniform(0.07, 0.18)
        inside = (abs(across - x) < half) & (abs(down - y) < half)
        image[inside] = generator.uniform(110, 190, 3)
    return image.round().astype(np.uint8)


def _coordinates(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Horizontal and vertical place of the pixel centres, each (size, size), in [0, 1]."""
    line = (np.arange(size) + 0.5) / size
    across, down = np.meshgrid(line, line)
    return across, down


def write(folder: str, /, size: int = 64, train: int = 8, test: int = 4, seed: int = 0) -> None:
    """`python -m data_tools.synth`."""
    at_least(8, size=size)
    at_least(1, train=train)
    at_least(0, test=test, seed=seed)
    print(make(Path(folder), size, train, test, seed))


def main(arguments: Sequence[str]) -> int | None:
    """`gan_style synth`: the same with what was typed after it."""
    return command.alone(arguments, write, lambda: HELP)


if __name__ == "__main__":
    command.only(PROGRAM, write, lambda: HELP)
