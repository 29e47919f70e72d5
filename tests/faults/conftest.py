"""The table of faults at the end: what was tried by kind, and how it came out."""

import os
import platform
import re
from collections import Counter
from pathlib import Path

import pytest
import torch

pytest.register_assert_rewrite("faults.harness")

PARTS = {"test_training_faults": "training", "test_bad_images": "image"}
PARTS |= {"test_malicious_files": "file"}
HEAD = ("what", "kind", "tried", "came out", "numbers")
BEGIN, END = "<!-- table of faults: written by make faults -->", "<!-- end of the table -->"


@pytest.fixture
def tally(record_property):
    """Report what was tried: a row of the table at the end, with all that has its part and kind.

    part: training, image or file; kind and outcome: short phrases; count: how often it was tried.
    numbers: what the table gives the mean and the highest of, such as steps_lost.
    """

    def add(part, kind, outcome, count=1, **numbers):
        record_property("fault", [part, kind, outcome, count, numbers])

    return add


def pytest_terminal_summary(terminalreporter):
    stats = terminalreporter.stats
    calls = [report for key in ("passed", "failed") for report in stats.get(key, [])]
    failed = [report for key in ("failed", "error") for report in stats.get(key, [])]
    faults = [
        value
        for report in calls
        if report.when == "call"
        for name, value in report.user_properties
        if name == "fault"
    ]
    faults += [failure(report.nodeid) for report in failed]
    if not faults:
        return
    lines = table(faults)
    terminalreporter.section("faults")
    terminalreporter.write_line("\n".join(lines))
    if page := os.environ.get("FAULTS_TABLE"):
        if failed:
            terminalreporter.write_line(f"\n{page} is left as it was, because a test failed")
        else:
            put_into(Path(page), lines)


def failure(nodeid):
    """A test that failed, as a row: its name is a sentence."""
    file, _, name = nodeid.partition("::")
    sentence = name.removeprefix("test_").replace("_", " ")
    return [PARTS.get(Path(file).stem, file), sentence, "FAILED", 1, {}]


def table(faults):
    """Lines of Markdown: a row for each part and kind, a sum for each part."""
    rows, sums = {}, {}
    for part, kind, outcome, count, numbers in faults:
        for outcomes, values in (
            rows.setdefault((part, kind), (Counter(), {})),
            sums.setdefault((part, "all"), (Counter(), {})),
        ):
            outcomes[outcome] += count
            for name, value in numbers.items():
                values.setdefault(name, []).append(value)
    written = [f"| {' | '.join(HEAD)} |", "|---|---|---:|---|---|"]
    parts = sorted({part for part, _ in rows})
    for part in parts:
        of_part = sorted(key for key in rows if key[0] == part)
        for key in [*of_part, (part, "all")]:
            outcomes, values = rows[key] if key in rows else sums[key]
            cells = [
                *key,
                str(outcomes.total()),
                ", ".join(f"{outcomes[outcome]} {outcome}" for outcome in sorted(outcomes)),
                "; ".join(numbers_of(name, values[name]) for name in sorted(values)),
            ]
            bold = "**" if key[1] == "all" else ""
            cells = [f"{bold}{cell}{bold}" if cell else "" for cell in cells]
            written.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    made = f"{platform.system()}, Python {platform.python_version()}, torch {torch.__version__}"
    return [*written, "", f"({made})"]


def numbers_of(name, values):
    """The mean and the highest of what was counted."""
    mean, most = sum(values) / len(values), max(values)
    return f"{name.replace('_', ' ')}: mean {mean:.3g}, most {most:.3g}"


def put_into(page, lines):
    """Write the table between the two marks of a page."""
    text = page.read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1, f"{page} needs the lines {BEGIN} and {END}"
    between = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    new = "\n".join([BEGIN, "", *lines, "", END])
    page.write_text(between.sub(lambda _: new, text), encoding="utf-8")
