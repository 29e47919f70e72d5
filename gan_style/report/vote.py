"""A blind preference test: a page of two-way choices to hand out, and the tally of what comes back.

The page knows its pictures by random names only; which method made which is written beside it, in
vote_key.json. Raters send the CSV files that the page saves, and these come from strangers: `tally`
takes nothing from them but answers to the questions that were asked.
"""

import base64
import csv
import hashlib
import io
import json
import random
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from PIL import Image, ImageOps
from scipy.stats import binomtest

from gan_style.config import at_least
from gan_style.errors import ConfigError, DataError
from gan_style.io.files import atomic_file, write_json
from gan_style.io.safe_io import read_bytes, read_json

PAGE, KEY, VOTES = "vote.html", "vote_key.json", "votes"  # in the folder of metrics.json
QUESTION = "Which is the better picture of this content in this style?"
COLUMNS = (
    "comparison", "rater", "question", "content", "left", "right", "choice", "seconds", "time",
)  # fmt: skip
# What the page writes, no more: `rater` ends in a random number, `time` can be sorted as text.
FORMATS = {
    "rater": r"\w[\w-]{0,63}",
    "choice": "left|right|neither",
    "seconds": r"[0-9]{1,9}(\.[0-9]{1,3})?",
    "time": r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z",
}
MAX_BYTES = 1_000_000  # of a file of votes; a question takes about 150
MAX_PICTURE = 200_000_000  # bytes of its file: 50 megapixels that don't compress
# What files raise that aren't of the form that they have here.
BROKEN = (LookupError, TypeError, ValueError, AttributeError)
SIDE = 384  # longer side of the pictures in the page, in pixels
REFERENCES = 3  # pictures of the style

# The number of a content, and the methods whose translations of it are shown left and right.
Choice = tuple[int, str, str]


@dataclass(frozen=True)
class Picture:
    """One picture of the page; the same file by two methods is two pictures."""

    method: str  # that made it, "" for contents and styles
    path: str  # in metrics.json


@dataclass(frozen=True)
class Question:
    """Which translation of a content, left or right?"""

    pair: str
    content: Picture
    references: tuple[Picture, ...]
    left: Picture
    right: Picture

    def pictures(self) -> tuple[Picture, ...]:
        """All that are shown."""
        return self.content, *self.references, self.left, self.right


@dataclass(frozen=True)
class Share:
    """How often a method was preferred where it was shown and a side was chosen."""

    wins: int
    trials: int
    share: float  # wins / trials
    low: float  # 95 % interval of Wilson 1927
    high: float


@dataclass(frozen=True)
class Tally:
    """What the raters preferred."""

    question: str
    raters: int
    choices: int  # all answers, the undecided among them
    undecided: int  # "can't tell": in no method's share
    methods: dict[str, Share]  # without those that no decided answer is about
    wins: dict[str, dict[str, int]]  # wins[a][b]: how often a was preferred to b
    stale: bool  # some of the pictures aren't what the raters saw any more


def write(folder: Path, questions: int = 40, seed: int = 0, question: str = QUESTION) -> Path:
    """Write vote.html and its key for the comparison in `folder`; the page's path comes back.

    Two methods' translations of one content make a question. There are at most `questions`, fewer
    where all have been asked. The same images and arguments make the same page.

    Raises:
        DataError: no comparison, fewer than two methods with images in it, an image that can't be
            read, or votes on another page that would lose their key.
    """
    at_least(1, questions=questions)
    at_least(0, seed=seed)
    if not question.strip():
        raise ConfigError("--question is empty: give the one that raters are to answer")
    generator = random.Random(seed)
    comparison = _read_json(folder / "metrics.json", "make it with: python -m gan_style compare")
    try:
        asked = _ask(comparison, questions, generator, folder)
        shown = list(dict.fromkeys(each for one in asked.values() for each in one.pictures()))
        if not all(isinstance(picture.path, str) for picture in shown):
            raise TypeError("an image of it has no path")
    except BROKEN as error:
        raise DataError(f"{folder / 'metrics.json'} is no comparison: {error!r}") from error
    names = dict(zip(shown, _random_names("p", len(shown), generator), strict=True))
    digests, jpegs, files = {}, {}, {}
    for picture in shown:
        content = _read_bytes(folder / picture.path)
        digests[names[picture]] = files[picture.path] = hashlib.sha256(content).hexdigest()
        jpegs[names[picture]] = _as_jpeg(content, folder / picture.path)
    taking_part = {side.method for each in asked.values() for side in (each.left, each.right)}
    key = {
        "question": question,
        "seed": seed,
        "methods": [name for name in comparison["methods"] if name in taking_part],
        "questions": {
            name: {
                "pair": each.pair,
                "content": names[each.content],
                "methods": {names[side]: side.method for side in (each.left, each.right)},
            }
            for name, each in asked.items()
        },
    }
    fingerprint = _fingerprint(key, digests)
    _refuse_orphans(folder, fingerprint)
    # By random names, as the template sorts pictures too: another order would tell whose they are.
    data = {
        "comparison": fingerprint,
        "columns": COLUMNS,
        "questions": [
            {
                "id": name,
                "content": names[each.content],
                "references": [names[picture] for picture in each.references],
                "left": names[each.left],
                "right": names[each.right],
            }
            for name, each in sorted(asked.items())
        ],
        "pictures": jpegs,
    }
    write_json(folder / KEY, {"comparison": fingerprint, **key, "files": files})
    with atomic_file(folder / PAGE) as partial:
        partial.write_text(_page(question, data), encoding="utf-8")
    return folder / PAGE


def _ask(
    comparison: Mapping[str, Any], questions: int, generator: random.Random, folder: Path
) -> dict[str, Question]:
    """The questions by their random names."""
    images = {
        name: method["images"]
        for name, method in comparison["methods"].items()
        if not method["reference"] and not method["error"] and any(method["images"])
    }
    if len(images) < 2:
        there = ", ".join(images) or "none"
        raise DataError(f"{folder} has too few methods with images to choose between: {there}")
    available = {
        name: {number for number, path in enumerate(paths) if path}
        for name, paths in images.items()
    }
    choices = design(available, questions, generator)
    if not choices:
        raise DataError(f"no two methods in {folder} have an image of the same content")
    references = _references(comparison, images, generator)
    names = _random_names("q", len(choices), generator)
    return {
        name: Question(
            pair=comparison["pairs"][number]["name"],
            content=Picture("", comparison["pairs"][number]["content"]),
            references=tuple(Picture("", path) for path in references[number]),
            left=Picture(left, images[left][number]),
            right=Picture(right, images[right][number]),
        )
        for name, (number, left, right) in zip(names, choices, strict=True)
    }


def design(
    available: Mapping[str, Collection[int]], questions: int, generator: random.Random
) -> list[Choice]:
    """At most `questions` different choices, as balanced as their number allows.

    `available` has the contents that each method translated. Where all have translated all, the
    pairs of methods differ by at most one question, and so do the two sides of every pair and of
    every method; how often methods and contents are shown differs by two at most.
    """
    left_over = {
        pair: sorted(set(available[pair[0]]) & set(available[pair[1]]))
        for pair in combinations(available, 2)
    }
    used: Counter[Any] = Counter()  # pairs, methods and contents
    asked: list[tuple[int, tuple[str, str]]] = []
    for _ in range(questions):
        candidates = [pair for pair, contents in left_over.items() if contents]
        if not candidates:
            break
        pair = min(
            candidates,
            key=lambda pair: (used[pair], used[pair[0]] + used[pair[1]], generator.random()),
        )
        content = min(left_over[pair], key=lambda number: (used[number], generator.random()))
        left_over[pair].remove(content)
        used.update([pair, *pair, content])
        asked.append((content, pair))
    sides = _sides([pair for _, pair in asked], generator)
    return [(content, *side) for (content, _), side in zip(asked, sides, strict=True)]


def _sides(pairs: Sequence[tuple[str, str]], generator: random.Random) -> list[tuple[str, str]]:
    """The pairs with the method on the left first.

    Two questions about one pair have opposite sides. What is left is a graph with at most one edge
    for a pair of methods. Walked along, each method is left as often as it is entered, but for the
    ends of a walk; those are methods of an odd number of edges, once each.
    """
    sides: dict[int, tuple[str, str]] = {}
    single: dict[tuple[str, str], int] = {}
    for number, pair in enumerate(pairs):
        if pair in single:
            sides[single.pop(pair)], sides[number] = generator.sample([pair, pair[::-1]], 2)
        else:
            single[pair] = number
    while single:
        edges = Counter(name for pair in single for name in pair)
        at = min(edges, key=lambda name: (edges[name] % 2 == 0, generator.random()))
        while onward := [pair for pair in single if at in pair]:
            pair = generator.choice(onward)
            other = pair[at == pair[0]]
            sides[single.pop(pair)] = (at, other)
            at = other
    return [sides[number] for number in range(len(pairs))]


def _references(
    comparison: Mapping[str, Any], names: Collection[str], generator: random.Random
) -> list[list[str]]:
    """For every content the pictures that show its style: its own, and others of a collection.

    Others only where one of the methods learns a collection; else every content has its own style.
    """
    papers = [comparison["methods"][name]["paper"] for name in names]
    styles = [pair.get("style") for pair in comparison["pairs"]]
    others: list[str] = []
    if any(paper and paper["style"] == "collection" for paper in papers):
        distinct = sorted({style for style in styles if style})
        others = generator.sample(distinct, min(len(distinct), REFERENCES))
    return [
        list(islice(dict.fromkeys(path for path in (style, *others) if path), REFERENCES))
        for style in styles
    ]


def _random_names(letter: str, count: int, generator: random.Random) -> list[str]:
    """Random names that differ; the letter keeps spreadsheets from reading them as numbers."""
    return [f"{letter}{number:08x}" for number in generator.sample(range(16**8), count)]


def _fingerprint(key: Mapping[str, Any], digests: Mapping[str, str]) -> str:
    """What a vote has to carry: other questions or other pictures make another one."""
    text = json.dumps([COLUMNS, key, digests], sort_keys=True)
    return f"c{hashlib.sha256(text.encode()).hexdigest()[:15]}"


def _refuse_orphans(folder: Path, fingerprint: str) -> None:
    """Votes can't be read without the key of the page they were cast on."""
    if not _vote_files(folder) or not (folder / KEY).exists():
        return
    if _read_json(folder / KEY, "").get("comparison") != fingerprint:
        raise DataError(
            f"{folder / VOTES} holds votes on the {PAGE} that is there, which need its key: "
            f"move {VOTES} and {KEY} away to ask anew"
        )


def _read_bytes(path: Path) -> bytes:
    try:
        return read_bytes(path, MAX_PICTURE)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', error)}") from error


def _as_jpeg(content: bytes, path: Path) -> str:
    """A data URI of an image file, at most SIDE pixels, without anything else it says."""
    try:
        with Image.open(io.BytesIO(content)) as file:
            image = ImageOps.exif_transpose(file).convert("RGBA")
    except Exception as error:  # decoders raise nearly anything on broken input
        raise DataError(f"{path} can't be read as an image") from error
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    bare = Image.new("RGB", image.size, "white")  # a comment in the file would be copied along
    bare.paste(image, mask=image.getchannel("A"))
    buffer = io.BytesIO()
    bare.save(buffer, "JPEG", quality=88, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _page(question: str, data: Mapping[str, Any]) -> str:
    folder = Path(__file__).parent
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True)
    return environment.get_template("vote.html.j2").render(
        question=question, data=data, folder=VOTES, page=PAGE
    )


def tally(folder: Path) -> Tally | None:
    """Count <folder>/votes/*.csv, None where there are no votes.

    Where one rater answered a question several times, the latest answer counts, so a file that was
    saved twice does no harm. "Can't tell" is in no share, as the sign test leaves ties out: Putter
    1955 shows that deciding them by a coin costs power, and halves are no binomial counts.

    Raises:
        DataError: a file that the page can't have saved, or that is of another comparison.
    """
    paths = _vote_files(folder)
    if not paths:
        return None
    key = _read_json(folder / KEY, f"{PAGE} was written with it, and votes can't be read without")
    try:
        rows = [row for path in paths for row in _read_votes(path, key)]
        return _count(folder, key, rows) if rows else None
    except BROKEN as error:
        raise DataError(f"{folder / KEY} is no key of {PAGE}: {error!r}") from error


def _count(folder: Path, key: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> Tally:
    latest = {
        (row["rater"], row["question"]): row for row in sorted(rows, key=lambda row: row["time"])
    }
    beaten: Counter[tuple[str, str]] = Counter()
    for row in latest.values():
        methods = key["questions"][row["question"]]["methods"]
        left, right = methods[row["left"]], methods[row["right"]]
        if row["choice"] != "neither":
            beaten[(left, right) if row["choice"] == "left" else (right, left)] += 1
    names = key["methods"]
    wins = {a: {b: beaten[a, b] for b in names if b != a} for a in names}
    won = {name: sum(wins[name].values()) for name in names}
    lost = {name: sum(wins[other][name] for other in names if other != name) for name in names}
    return Tally(
        question=key["question"],
        raters=len({row["rater"] for row in latest.values()}),
        choices=len(latest),
        undecided=len(latest) - beaten.total(),
        methods={n: share(won[n], won[n] + lost[n]) for n in names if won[n] + lost[n]},
        wins=wins,
        stale=any(_digest(folder / path) != seen for path, seen in key["files"].items()),
    )


def _digest(path: Path) -> str:
    return hashlib.sha256(_read_bytes(path)).hexdigest() if path.is_file() else ""


def share(wins: int, trials: int) -> Share:
    """The share of wins with its interval of Wilson 1927, without continuity correction."""
    interval = binomtest(wins, trials).proportion_ci(method="wilson")
    return Share(wins, trials, wins / trials, float(interval.low), float(interval.high))


def _vote_files(folder: Path) -> list[Path]:
    """The CSV files in votes; names with a dot first are a system's, not a rater's."""
    return sorted(
        path
        for path in (folder / VOTES).glob("*")
        if path.suffix.lower() == ".csv" and not path.name.startswith(".") and path.is_file()
    )


def _read_votes(path: Path, key: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """The rows of one file; refused whole at the first that the page can't have written."""

    def refusal(reason: str) -> DataError:
        where = f"{str(path)!r}"  # quoted: a stranger chose the name
        return DataError(f"{where}: {reason}; move it out of {path.parent} to do without")

    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise refusal(f"larger than {MAX_BYTES} bytes, so not saved by {PAGE}")
        text = content.decode("utf-8-sig")  # spreadsheets put a mark first
        lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        if tuple(next(lines, ())) != COLUMNS:
            raise refusal(f"its first line isn't {','.join(COLUMNS)}")
        for line in filter(None, lines):  # copied text ends in an empty line
            if len(line) != len(COLUMNS):
                raise refusal(f"line {lines.line_num} has {len(line)} columns, not {len(COLUMNS)}")
            row = dict(zip(COLUMNS, line, strict=True))
            if wrong := _wrong(row, key):
                met = f"{wrong} is {row[wrong][:40]!r}"
                other = ": a vote on another comparison" if wrong == "comparison" else ""
                raise refusal(f"line {lines.line_num}, {met}{other}")
            yield row
    except OSError as error:
        raise refusal(str(error.strerror)) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise refusal(f"not a CSV file in UTF-8 ({error})") from error


def _wrong(row: Mapping[str, str], key: Mapping[str, Any]) -> str | None:
    """The first column with something that doesn't fit the questions, None where all do."""
    asked = key["questions"].get(row["question"])
    if row["comparison"] != key["comparison"]:
        return "comparison"
    if asked is None:
        return "question"
    if row["content"] != asked["content"]:
        return "content"
    if row["left"] not in asked["methods"]:
        return "left"
    if row["right"] not in asked["methods"] or row["right"] == row["left"]:
        return "right"
    return next((name for name, form in FORMATS.items() if not re.fullmatch(form, row[name])), None)


def _read_json(path: Path, remedy: str) -> dict[str, Any]:
    try:
        content = read_json(path)
    except FileNotFoundError:
        raise DataError(f"no {path.name} in {path.parent}: {remedy}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} can't be read: it is a {type(content).__name__}, no table")
    return content
