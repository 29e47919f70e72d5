"""Numbers with a sensible number of digits, units, lists, links."""

import math
import re
from collections.abc import Sequence

from markupsafe import Markup, escape

from gan_style.report.record import Timing, Value

ADDRESS = re.compile(r"https?://[^\s<>\"'`]+")
DIGITS = 3  # significant ones


def number(value: float) -> str:
    """Three significant digits: 0.0123, 1.23, 12,300; below 0.0001 with a power of ten."""
    return _fixed(value, _decimals(value))


def _decimals(value: float) -> int:
    """Places behind the point for three significant digits; negative before it."""
    return DIGITS - 1 - math.floor(math.log10(abs(value))) if value else 0


def _fixed(value: float, decimals: int) -> str:
    if decimals > DIGITS + 3:
        figures = f"{value:.{DIGITS - 1}e}"
        mantissa, power = figures.split("e")
        return f"{mantissa}e{int(power)}".replace("-", "\u2212")
    return f"{round(value, decimals):,.{max(decimals, 0)}f}".replace("-", "\u2212")


def half(value: Value) -> str:
    """Half the width of the interval, with the value's places; "" where there is none."""
    if value.half is None:
        return ""
    decimals = _decimals(value.value or value.half)
    if value.half and round(value.half, decimals) == 0:
        decimals = -math.floor(math.log10(value.half))
    return _fixed(value.half, decimals)


def interval(value: Value) -> str:
    """± 0.0020, or, where its ends are unequally far, 0 to 0.0200; "" where there is none."""
    if value.interval is None:
        return ""
    if value.lopsided:
        return " to ".join(number(end) for end in value.interval)
    return f"\u00b1 {half(value)}"


def with_interval(value: Value) -> str:
    """0.0123 ± 0.0020, 0.0123 (0 to 0.0200), or the number alone."""
    told = interval(value)
    if value.lopsided:
        told = f"({told})"
    return f"{number(value.value)} {told}".rstrip()


def count(value: int) -> str:
    """Every digit: 1,843."""
    return f"{value:,}"


def plural(value: int, word: str) -> str:
    """1 image, 2 images."""
    return f"{count(value)} {word}{'' if value == 1 else 's'}"


def duration(seconds: float) -> str:
    """In the unit that people would say it in; seconds up to two minutes."""
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{_plain(seconds / length)} {unit}"
    return f"{_plain(seconds)} s"


def _plain(value: float) -> str:
    """Three digits at most: 30 rather than 30.0."""
    figures = number(value)
    return figures.rstrip("0").rstrip(".") if "." in figures and "e" not in figures else figures


def seconds(timing: Timing) -> str:
    """The median of a timing, marked where it is an estimate."""
    return f"{'≈ ' if timing.estimated else ''}{duration(timing.median)}"


def size(many: float) -> str:
    """Bytes as MB, or GB, of 10^6 and 10^9."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if many >= scale:
            return f"{number(many / scale)} {unit}"
    return f"{many:.0f} bytes"


def large(many: float) -> str:
    """Counts of parameters: 11.4 M."""
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if many >= scale:
            return f"{number(many / scale)} {unit}"
    return f"{many:.0f}"


def joined(words: Sequence[str], last: str = "and") -> str:
    """A, b and c."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def linked(text: str) -> Markup:
    """HTML of a text, its web addresses as links."""
    parts, end = [], 0
    for match in ADDRESS.finditer(text):
        address = match[0].rstrip(".,;:!?)")
        parts += [escape(text[end : match.start()]), link(address, address)]
        end = match.start() + len(address)
    return Markup("").join([*parts, escape(text[end:])])


def link(address: str, text: str) -> Markup:
    """A link where the address is one of the web, else the text alone."""
    if not ADDRESS.fullmatch(address):
        return escape(text)
    return Markup('<a href="{}" rel="noreferrer">{}</a>').format(address, text)


def markdown(text: str) -> str:
    """Text that Markdown shows as it is, also in a table."""
    flat = re.sub(r"\s+", " ", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~$])", r"\\\1", flat)
