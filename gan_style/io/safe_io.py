"""Files that others may have made, as bytes, text or JSON: within bounds, or refused.

Whoever reads says in its own words that a file can't be read: all that is wrong with one is an
OSError or a ValueError here.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Of a text: a metrics.json with all numbers of ten methods on 10,000 images. JSON takes at most 25
# times as much memory as space.
LARGEST = 50_000_000  # bytes
DEEPEST = 100  # levels of lists and tables in each other; a resume state has about 25
DIGITS = 20  # of a whole number, with its sign; more than 64 bits hold


def read_bytes(path: Path, most: int = LARGEST) -> bytes:
    """The content of a file of at most `most` bytes.

    Raises:
        OSError: the system has something against it.
        ValueError: it is larger; or it is a pipe, which would be waited for, or a device.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is no file")
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content


def read_text(path: Path, most: int = LARGEST) -> str:
    """The same as text in UTF-8."""
    return read_bytes(path, most).decode()


def read_json(path: Path, most: int = LARGEST) -> Any:
    """What a JSON file says, see `parse_json`."""
    return parse_json(read_text(path, most))


def parse_json(text: str) -> Any:
    """What JSON says.

    Raises:
        ValueError: no JSON; nested deeper than DEEPEST, which whoever walks through it had to fear;
            or with a whole number beyond all that options and tensors can be.
    """
    try:
        value = json.loads(text, parse_int=_whole)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    level = [value]
    for _ in range(DEEPEST):
        level = [item for each in level for item in _items(each)]
        if not level:
            return value
    raise ValueError(_TOO_DEEP)


_TOO_DEEP = f"it is nested more than {DEEPEST} levels deep"


def _whole(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"a number in it has {len(digits)} digits")
    return int(digits)


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
