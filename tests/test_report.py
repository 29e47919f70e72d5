"""Reports of small comparisons whose answers are known by hand."""

import base64
import configparser
import csv
import io
import itertools
import json
import re
import shutil
from fnmatch import fnmatch
from html.parser import HTMLParser
from pathlib import Path

import comparisons
import numpy as np
import pytest
from comparisons import failed, method, of_pairs, of_set, reference, seconds
from PIL import Image

from gan_style.errors import ConfigError, DataError
from gan_style.report import answers, figures, formatting, pictures, plots, record, tables, vote
from gan_style.report import page as report

ROOT = Path(__file__).parent.parent
HOSTILE = '<script>alert("1")</script>'


@pytest.fixture
def read(tmp_path):
    """The comparison of some methods, without any picture."""

    def make(methods, **changes):
        document = comparisons.comparison(methods, **changes)
        (tmp_path / "metrics.json").write_text(json.dumps(document), encoding="utf-8")
        return record.read(tmp_path)

    return make


class Page(HTMLParser):
    """The elements of a page as (tag, attributes), and its text, scripts apart."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.scripts = [], "", []
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.inside = tag
        self.text += " "
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside != "style":
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def words(self):
        return " ".join(self.text.split())


def written(folder, document, **options):
    """The page of a comparison, read back."""
    path = report.write(comparisons.write(folder / "report", document), **options)
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The folder of a report of `comparisons.small`, written as its own."""
    folder = comparisons.write(tmp_path_factory.mktemp("small") / "report", comparisons.small())
    report.write(folder)
    return folder


@pytest.fixture(scope="module")
def page(small):
    return Page((small / "index.html").read_text(encoding="utf-8"))


# Answers


@pytest.mark.parametrize(
    ("kid", "margin", "said"),
    [
        (0.09, 0.001, "0.0900."),
        (0.03, 0.001, "0.0300, closer than far."),
        (0.035, 0.020, "0.0350."),  # which may be chance
    ],
)
def test_methods_that_lead_away_from_the_collection_are_named(tmp_path, kid, margin, said):
    document = comparisons.small()
    document["methods"]["unchanged"]["values"]["kid"] = comparisons.of_set(kid, margin)
    comparison = record.read(comparisons.write(tmp_path / "report", document))
    assert answers.every(comparison)[0].text.endswith(f"For scale: unchanged {said}")


def test_where_the_contents_themselves_are_the_better_trade_off_it_is_said(tmp_path):
    document = comparisons.small()
    for product, said in ((200.0, "200."), (150.0, "150, better than far.")):
        document["methods"]["unchanged"]["values"]["artfid"] = comparisons.of_set(product)
        comparison = record.read(comparisons.write(tmp_path / "report", document))
        assert f"For scale: unchanged {said} near and far" in answers.every(comparison)[3].text


def test_a_training_is_worth_it_from_a_number_of_images_on(tmp_path):
    document = comparisons.small()
    document["methods"]["far"]["cost"]["sizes"]["256"] = comparisons.seconds(1.31)
    comparison = record.read(comparisons.write(tmp_path / "report", document))
    assert answers.every(comparison)[2].text.endswith(  # 1,800 s / (1.31 s - 0.31 s)
        "Its training counted, near takes less time than far from 1,800 images on."
    )


def test_costs_of_which_nothing_was_timed_name_no_device(tmp_path):
    document = comparisons.small()
    for name in ("near", "far"):
        document["methods"][name]["cost"] = {"parameters": 7, "device": "cpu, 9 threads"}
    page = written(tmp_path, document)
    assert "9 threads" not in page.words()
    assert "11.4 M" not in page.words()


@pytest.mark.slow
def test_the_pareto_front_is_spoken_of_where_it_is_drawn(tmp_path):
    document = comparisons.small()
    assert "dashed" in written(tmp_path / "two", document).words()
    document["methods"]["far"]["values"]["lpips_alex"] = comparisons.of_pairs(0.9, 0.8, 0.9, 0.8)
    page = written(tmp_path / "one", document)
    assert "ahead in both" in page.words()
    assert "dashed" not in page.words()


def test_a_training_of_unknown_cost_is_no_free_one(tmp_path):
    document = comparisons.small()
    document["methods"]["far"]["cost"]["training"] = {"seconds": None}
    page = written(tmp_path, document)
    assert "after a training whose cost isn't known" in page.words()
    assert "not known" in page.words()


def test_every_question_is_answered_with_its_number(tmp_path):
    comparison = record.read(comparisons.write(tmp_path / "report", comparisons.small()))
    closest, content, cheapest, trade_off = answers.every(comparison)
    assert closest.text == (
        "near: KID 0.0100 ± 0.0020. Next is far with 0.0500 ± 0.0040. Colours weren't measured: "
        "add colour_histogram to --metrics. For scale: unchanged 0.0900."
    )
    assert content.text == (
        "far: LPIPS 0.100 ± 0.007. Next is near with 0.500 ± 0.014. Colours weren't measured: "
        "add colour_histogram to --metrics."
    )
    assert cheapest.text == (
        "far: 0.05 s an image at 256 pixels on cpu, 2 threads (95 % of runs below 0.055 s), "
        "without any training here. Next is near with 0.31 s."
    )
    assert trade_off.text == (
        "near: ArtFID-style product 137, of only 4 images. Next is far with 166. Colours weren't "
        "measured: add colour_histogram to --metrics. near and far are on the Pareto front of KID "
        "and LPIPS: by the values alone, whatever is better in one is worse in the other."
    )
    winners = [answer.winners for answer in (closest, content, cheapest, trade_off)]
    assert winners == [("near",), ("far",), ("far",), ("near",)]


def test_methods_whose_intervals_overlap_are_named_together(read):
    values = {"a": (0.020, 0.004), "b": (0.010, 0.004), "c": (0.017, 0.004), "d": (0.050, 0.004)}
    methods = {name: method(name, values={"kid": of_set(*v)}) for name, v in values.items()}
    answer = answers.closest(read(methods))
    assert answer.winners == ("b", "c")  # a begins at 0.016, b ends at 0.014, c begins at 0.013
    assert answer.text.startswith("b (KID 0.0100 ± 0.0040) and c (KID 0.0170 ± 0.0040) can't be")
    assert "Next is a" in answer.text
    assert answer.rules == ("intervals",)


def test_pairs_decide_what_overlapping_intervals_cant(read):
    # b is worse by 0.05 on every pair, c by turns better and worse; all spread much wider.
    a = [0.2, 0.4, 0.6, 0.8]
    methods = {
        "a": method("a", values={"lpips_alex": of_pairs(*a)}),
        "b": method("b", values={"lpips_alex": of_pairs(*(x + 0.05 for x in a))}),
        "c": method("c", values={"lpips_alex": of_pairs(0.4, 0.3, 0.8, 0.7)}),
    }
    answer = answers.content(read(methods))
    assert answer.winners == ("a", "c")
    assert answer.rules == ("pairs",)


def test_only_pairs_that_both_have_are_compared(read):
    a = of_pairs(0.1, 0.1, None, 0.1)
    apart = {"a": a, "b": of_pairs(0.2, 0.2, 0.0, None)}
    methods = {name: method(name, values={"lpips_alex": v}) for name, v in apart.items()}
    assert answers.content(read(methods)).winners == ("a",)
    one = {"a": a, "b": of_pairs(None, None, 0.0, 0.9)}  # the fourth pair alone
    methods = {name: method(name, values={"lpips_alex": v}) for name, v in one.items()}
    assert answers.content(read(methods)).winners == ("a", "b")


def scaled(unchanged, real, key="kid", **more):
    """A comparison of `a`, better than `b`, between two references with these numbers."""
    values = {"a": of_set(0.010, 0.001), "b": of_set(0.030, 0.001)}
    others = {"artfid": of_set(3.0), "lpips_alex": of_pairs(0.1, 0.2, 0.1, 0.2)}
    methods = {
        "unchanged": reference(values={key: of_set(*unchanged), **more}),
        "style images": reference("style images", values={key: of_set(*real)}),
    }
    return methods | {n: method(n, values={key: value, **others}) for n, value in values.items()}


@pytest.mark.parametrize(
    ("unchanged", "real", "told"),
    [
        ((0.040, 0.002), (0.001, 0.002), True),
        ((0.040, 0.030), (0.001, 0.020), False),  # their intervals overlap
        ((0.001, 0.002), (0.040, 0.002), False),  # real images further away than the contents
        ((0.01,), (0.01,), False),  # without intervals, equal
    ],
)
def test_where_unchanged_and_real_images_are_the_same_nobody_wins(read, unchanged, real, told):
    comparison = read(scaled(unchanged, real))
    closest, content, _, trade_off = answers.every(comparison)
    assert closest.winners == (("a",) if told else ())
    assert trade_off.winners == (("a", "b") if told else ())
    assert content.winners == ("a", "b")  # of which the references say nothing
    marks = {
        row.method.label: row.cells[0].mark for row in tables.numbers(comparison).rows
    }  # KID is the first
    assert marks["a"] == ("best" if told else "")
    remarks = " ".join(tables.numbers(comparison).remarks)
    assert ("can't be told from real images" in remarks) is not told
    if not told:
        assert closest.text.startswith(
            "That can't be told of these images: the contents themselves"
        )
        assert "By the values alone: a 0.0100 ± 0.0010, b 0.0300 ± 0.0010." in closest.text


def test_the_page_says_first_that_it_cant_tell(tmp_path):
    document = comparisons.comparison(scaled((0.040, 0.030), (0.001, 0.020)))
    page = written(tmp_path, document)
    first = page.words().index("That can't be told of these images")
    assert first < page.words().index("Which keeps the content best")
    assert (
        'class="winner">a<' not in (tmp_path / "report/index.html").read_text().split("</div>")[0]
    )
    text = (tmp_path / "report/report.md").read_text()
    assert "That can't be told of these images: the contents themselves" in text


NEAR = ((0.013, 0.010), (0.001, 0.001))  # unchanged, which a's 0.010 isn't told from; real images


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize(
    ("unchanged", "said"),
    [
        (NEAR[0], "4 images can't tell a from leaving the images alone: unchanged has KID 0.0130"),
        ((0.005, 0.001), "No method does better than leaving the images alone: unchanged has KID"),
        ((0.013, 0.001), ""),
    ],
)
def test_what_cant_be_told_from_doing_nothing_doesnt_win(read, real, unchanged, said):
    methods = scaled(unchanged, NEAR[1])
    if unchanged == NEAR[0]:  # the real ones are told from these, so that KID isn't blind
        methods["style images"]["values"]["kid"] = of_set(-0.01, 0.001)
    if not real:
        del methods["style images"]
    comparison = read(methods)
    closest, content, _, trade_off = answers.every(comparison)
    marks = {row.method.label: row.cells[0].mark for row in tables.numbers(comparison).rows}
    remarks = " ".join(tables.numbers(comparison).remarks)
    assert content.winners == ("a", "b")
    assert ("no method is known to be better than unchanged contents" in remarks) is bool(said)
    if said:
        assert closest.text.startswith(said)
        assert "By the values alone: a 0.0100 ± 0.0010, b 0.0300 ± 0.0010." in closest.text
        assert trade_off.text.startswith("That can't be told either: by KID no method is known")
        assert closest.winners == trade_off.winners == ()
        assert set(marks.values()) == {""}
    else:
        assert closest.winners == ("a",)
        assert trade_off.winners == ("a", "b")
        assert marks["a"] == "best"


def test_the_trade_off_of_doing_nothing_is_one_to_beat(read):
    methods = scaled((0.040, 0.002), (0.001, 0.002), artfid=of_set(2.5))
    answer = answers.trade_off(read(methods))
    assert answer.text.startswith("No method does better than leaving the images alone: unchanged")
    assert answer.winners == ()
    methods["unchanged"]["values"]["artfid"] = of_set(9.0)
    assert answers.trade_off(read(methods)).winners == ("a", "b")


def test_a_tie_with_the_best_and_with_doing_nothing_doesnt_win(read):
    methods = scaled((0.040, 0.012), (0.001, 0.001))
    methods["b"]["values"]["kid"] = of_set(0.020, 0.010)  # 0.010 to 0.030; unchanged from 0.028
    answer = answers.closest(read(methods))
    assert answer.winners == ("a",)
    assert answer.text.startswith("a (KID 0.0100 ± 0.0010) and b (KID 0.0200 ± 0.0100) can't be")
    assert "b can't be told from leaving the images alone either." in answer.text


@pytest.mark.parametrize("real", [True, False])
def test_that_there_is_no_yardstick_of_real_images_stands_in_what_to_know(tmp_path, real):
    methods = scaled((0.040, 0.002), (0.001, 0.001))
    if not real:
        del methods["style images"]
    page = written(tmp_path, comparisons.comparison(methods)).words()
    assert ("There is no yardstick of real images" in page) is not real
    text = (tmp_path / "report/report.md").read_text()
    assert ("There is no yardstick of real images" in text) is not real


FURTHER = (
    "But the colours of a are further from the style's (colour histogram distance 0.850 ± 0.050) "
    "than those of the contents left alone (0.500 ± 0.000)."
)
ALIKE = "Colour histogram distance: a {}, which can't be told from unchanged 0.500 ± 0.000."


@pytest.mark.parametrize(
    ("colours", "said"),
    [
        ((0.9, 0.8, 0.9, 0.8), FURTHER),  # grey, where the style has colours
        ((0.4, 0.6, 0.5, 0.5), ALIKE.format("0.500 ± 0.071")),  # nearer and further by turns
        ((0.9, None, None, None), ALIKE.format("0.900 ± 0.000")),  # of one pair
        (
            (0.2, 0.3, 0.2, 0.3),
            "Colour histogram distance: a 0.250 ± 0.050, better than unchanged 0.500 ± 0.000.",
        ),
        (None, "The colours of a weren't measured."),
    ],
)
def test_a_filter_that_takes_the_colours_away_doesnt_win_in_silence(read, colours, said):
    theirs = {"colour_histogram": of_pairs(0.5, 0.5, 0.5, 0.5)}
    methods = scaled((0.040, 0.002), (0.001, 0.002), **theirs)
    if colours:
        methods["a"]["values"]["colour_histogram"] = of_pairs(*colours)
    methods["a"]["values"]["lpips_alex"] = of_pairs(0.01, 0.01, 0.01, 0.01)
    metrics = (*comparisons.METRICS, *comparisons.COLOUR)
    closest, content, _, trade_off = answers.every(read(methods, metrics=metrics))
    for method_of_it in methods.values():  # the trade-off by the Pareto front alone
        method_of_it["values"].pop("artfid", None)
    alone = answers.trade_off(read(methods, metrics=metrics))
    assert alone.text.startswith("a is ahead in both")
    for answer in (closest, content, trade_off, alone):
        assert answer.text.count(said) == 1
        assert ("But the colours of a" in answer.text) is (said == FURTHER)


def test_colours_that_overlap_without_pairs_cant_be_told(read):
    methods = scaled((0.040, 0.002), (0.001, 0.002), colour_histogram=of_set(0.50, 0.06))
    methods["a"]["values"]["colour_histogram"] = of_set(0.60, 0.05)
    answer = answers.closest(read(methods, metrics=(*comparisons.METRICS, *comparisons.COLOUR)))
    assert (
        "Colour histogram distance: a 0.600 ± 0.050, which can't be told from unchanged "
        "0.500 ± 0.060." in answer.text
    )


def test_colours_without_those_of_the_contents_are_shown_as_such(read):
    methods = {"a": method("a", values={"kid": of_set(0.1), "colour_histogram": of_set(0.6)})}
    answer = answers.closest(read(methods, metrics=("kid", *comparisons.COLOUR)))
    assert answer.text.endswith("distance: a 0.600; that of unchanged wasn't measured.")


def test_that_colours_werent_measured_stands_in_every_answer_that_names_a_winner(read):
    names = ("kid", "ssim")
    methods = scaled((0.040, 0.002), (0.001, 0.002))
    methods["a"]["values"]["ssim"] = of_pairs(0.9, 0.8, 0.9, 0.8)
    methods["b"]["values"]["ssim"] = of_pairs(0.3, 0.2, 0.3, 0.2)
    said = "Colours weren't measured: add colour_histogram to --metrics."
    closest, content, cheapest, trade_off = answers.every(read(methods, metrics=names))
    assert trade_off.text.startswith("a is ahead in both KID and SSIM")
    for answer in (closest, content, trade_off):
        assert answer.text.count(said) == 1
    assert said not in cheapest.text
    idle = scaled((0.001, 0.0005), (0.0001, 0.0001))  # nobody wins
    assert said not in answers.closest(read(idle, metrics=names)).text


def test_settings_far_below_a_recipe_stand_in_what_to_know(tmp_path):
    document = comparisons.small()
    line = "15 iterations of its recipe's 500: its numbers say little of what the method can do"
    document["methods"]["near"]["short_of"] = [line]
    page = written(tmp_path, document)
    words_of = page.words()
    assert words_of.index("What to know") < words_of.index(f"near: {line}.")
    assert words_of.index(f"near: {line}.") < words_of.index("Click a picture")  # and not far below
    text = (tmp_path / "report/report.md").read_text()
    assert text.index("## What to know") < text.index("- near: 15 iterations of its recipe's 500")


def test_an_interval_that_ends_at_its_range_is_told_by_its_ends():
    value = record.Value(value=0.02, low=0.0, high=0.05)
    assert formatting.with_interval(value) == "0.0200 (0 to 0.0500)"
    for low, high in ((0.0, 0.0999), (0.001, 0.1)):  # ± would be below 0 and above 1
        near = record.Value(value=0.0499, low=low, high=high)
        assert ("±" in formatting.with_interval(near)) is (near.value - near.half >= 0), low
    top = record.Value(value=0.99, low=0.97, high=1.0)
    assert formatting.with_interval(top) == "0.990 (0.970 to 1.00)"
    even = record.Value(value=0.02, low=-0.011, high=0.05)  # as KID's may
    assert formatting.with_interval(even) == "0.0200 ± 0.0305"
    assert formatting.interval(record.Value(value=1.0)) == ""


def test_without_intervals_only_equal_numbers_tie(read):
    numbers = {"a": 1.0, "b": 1.0, "c": 1.001}
    methods = {n: method(n, values={"kid": of_set(v)}) for n, v in numbers.items()}
    answer = answers.closest(read(methods))
    assert answer.winners == ("a", "b")
    assert answer.rules == ("values",)


def test_references_and_failures_never_win(read):
    best = {"kid": of_set(-1.0, 0.1), "lpips_alex": of_pairs(0, 0, 0, 0), "artfid": of_set(1.0)}
    cost = {"sizes": {"256": seconds(0.001)}}
    worst = {"kid": of_set(9.0, 0.1), "lpips_alex": of_pairs(9, 9, 9, 9), "artfid": of_set(99.0)}
    comparison = read(
        {
            "unchanged": reference(values=best, cost=cost),
            "broken": method("broken", error="no", values=best, cost=cost),
            "slow": method("slow", values=worst, cost={"sizes": {"256": seconds(99)}}),
        }
    )
    winners = [answer.winners for answer in answers.every(comparison)]
    assert winners == [(), ("slow",), ("slow",), ()]
    assert answers.closest(comparison).text == (
        "No method does better than leaving the images alone: unchanged has KID \u22121.00 ± 0.10, "
        "slow 9.00 ± 0.10."
    )
    marks = {
        row.method.label: {cell.mark for cell in row.cells}
        for row in tables.numbers(comparison).rows
    }
    assert marks == {"unchanged": {""}, "broken": set(), "slow": {"best", ""}}


def test_what_stands_in_for_a_missing_metric_is_said(read):
    missing = {"missing": "not computed"}
    methods = {
        "a": method(
            "a",
            values={
                "kid": missing,
                "sliced_wasserstein": of_set(30.0),
                "lpips_alex": missing,
                "ssim": of_pairs(0.5, 0.6, 0.5, 0.6),
            },
        ),
        "b": method(
            "b",
            values={
                "sliced_wasserstein": of_set(20.0),
                "ssim": of_pairs(0.8, 0.9, 0.8, 0.9),  # more similar is better
            },
        ),
    }
    closest, content, cheapest, trade_off = answers.every(read(methods))
    assert closest.text.startswith("b: SWD x 1000 20.0. Next is a with 30.0.")
    assert "KID, which would be preferred, was not computed" in closest.text
    assert content.text.startswith("b: SSIM 0.850")
    assert "LPIPS, which would be preferred, was not computed" in content.text
    assert cheapest.text == "No method was timed."
    assert trade_off.text.startswith("b is ahead in both SWD x 1000 and SSIM, by the values alone.")


def test_a_method_without_a_number_is_named(read):
    methods = {
        "a": method("a", values={"kid": of_set(0.1)}),
        "b": method("b", values={"kid": {"value": float("nan")}}),
    }
    answer = answers.closest(read(methods))
    assert answer.text.startswith("a, the only one with a number: KID 0.100. Without a number: b.")


def test_questions_without_any_number_say_so(read):
    for methods in ({}, {"a": method("a")}, {"a": failed("a")}):
        texts = [answer.text for answer in answers.every(read(methods))]
        assert texts[0] == "No method has a result for KID or SWD x 1000."
        assert all(text.startswith("No method") for text in texts)


def test_the_cheapest_is_so_at_the_smallest_size_that_was_timed(read):
    training = {"seconds": 1800.0, "images": 1843, "device": "cpu"}
    methods = {
        "large": method("large", cost={"sizes": {"512": seconds(0.01)}}),
        "trained": method(
            "trained",
            cost={"sizes": {"256": seconds(0.1), "512": seconds(9)}, "training": training},
        ),
        "slow": method("slow", cost={"sizes": {"256": seconds(600, estimated=True)}}),
    }
    answer = answers.cheapest(read(methods))
    assert answer.winners == ("trained",)
    assert "0.1 s an image at 256 pixels" in answer.text
    assert "after 30 minutes of training on cpu" in answer.text
    assert "Next is slow with ≈ 10 minutes" in answer.text


def test_a_median_within_the_other_ones_usual_runs_ties(read):
    medians = {"a": 0.100, "b": 0.105, "c": 0.120}  # 95 % of a's runs are below 0.11
    methods = {n: method(n, cost={"sizes": {"256": seconds(v)}}) for n, v in medians.items()}
    assert answers.cheapest(read(methods)).winners == ("a", "b")


@pytest.mark.parametrize(
    ("better", "expected"),
    [
        (("lower", "lower"), ("a", "b", "c")),  # d is behind b, e equals a in one and is worse
        (("lower", "higher"), ("a", "e", "d")),
        (("higher", "lower"), ("c",)),
    ],
)
def test_the_pareto_front_of_five_points(better, expected):
    points = {"d": (3.0, 3.0), "c": (4.0, 1.0), "b": (2.0, 2.0), "a": (1.0, 2.5), "e": (1.0, 2.7)}
    front = answers.front(points, better)
    if better == ("lower", "higher"):
        assert front == ("e", "d")  # most in the second number, for the least in the first
    else:
        assert front == expected


def test_equal_points_are_both_on_the_front():
    assert answers.front({"a": (1, 1), "b": (1, 1), "c": (1, 2)}, ("lower", "lower")) == ("a", "b")


# Numbers as text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.012345, "0.0123"),
        (-0.5, "\u22120.500"),
        (1.0, "1.00"),
        (98.76, "98.8"),
        (12345.6, "12,300"),
        (0.0000123, "1.23e\u22125"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert formatting.number(value) == text


def test_an_interval_has_the_places_of_its_value():
    def told(value, margin):
        return formatting.with_interval(
            record.Value(value=value, low=value - margin, high=value + margin)
        )

    assert told(0.0123, 0.002) == "0.0123 ± 0.0020"
    assert told(123, 0.4) == "123 ± 0.4"  # not 0
    assert formatting.with_interval(record.Value(value=5.0)) == "5.00"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.004, "0.004 s"),
        (0.123456, "0.123 s"),
        (90, "90 s"),
        (1800, "30 minutes"),
        (9000, "2.5 hours"),
        (864_000, "10 days"),
    ],
)
def test_durations_have_the_unit_that_people_would_use(value, text):
    assert formatting.duration(value) == text


def test_sizes_have_units():
    assert [formatting.size(n) for n in (500, 45_600_000, 2.2e9)] == [
        "500 bytes",
        "45.6 MB",
        "2.20 GB",
    ]


# The page


def test_the_page_stands_alone(small, page):
    allowed = {"metrics.csv", "metrics.json", "report.md"}  # in the footer, beside it
    for tag, attributes in page.elements:
        for key, value in attributes.items():
            if tag == "a" and key == "href":
                assert value.startswith(("#", "https://example.org/")) or value in allowed
            elif key in ("src", "href", "srcset", "data", "action", "poster"):
                assert value.startswith(("data:", "#")), (tag, key, value[:50])
    source = (small / "index.html").read_text(encoding="utf-8")
    style = re.search(r"<style>(.*?)</style>", source, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert policy.startswith("default-src 'none'")


def test_pictures_are_inside_at_two_sizes(tmp_path):
    document = comparisons.comparison({"a": method("a", pairs=1)}, pairs=1)
    page = written(tmp_path, document)
    images = [image for image in page.all("img") if image.get("src")]
    assert [image["alt"] for image in images] == [
        "Content 0.png",
        "Style image of 0.png",
        "0.png by a",
    ]
    for image in images:
        kind, data = image["src"].split(",")
        assert kind == "data:image/jpeg;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (48, 48)
    cell = viewer(page)["rows"][0]["cells"][2]
    assert cell["source"].startswith("data:image/jpeg;base64,")
    assert (cell["width"], cell["height"], cell["alt"]) == (48, 48, "0.png by a")


def viewer(page):
    """What the dialog is given."""
    return json.loads(page.scripts[0])


def test_the_page_is_built_for_reading_aloud(page):
    tags = [tag for tag, _ in page.elements]
    assert [tags.count(tag) for tag in ("h1", "main", "header", "nav", "footer")] == [1] * 5
    assert all("alt" in image for image in page.all("img"))
    assert all(
        {"aria-labelledby", "aria-label"} & section.keys() for section in page.all("section")
    )
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {key for _, a in page.elements for key in a.get("aria-labelledby", "").split()}
    targets |= {a["href"][1:] for a in page.all("a") if a["href"].startswith("#")}
    targets |= {label["for"] for label in page.all("label")}
    assert targets <= set(ids)


def test_the_page_tells_what_every_number_is(page):
    text = page.words()
    for phrase in (
        "near: KID 0.0100 ± 0.0020.",
        "2 methods · 4 pairs",
        "No result: it ran out of memory",
        "FID and ArtFID-style product (1 + LPIPS)(1 + FID) of 4 images are too high, and the more "
        "so the fewer there are: believe KID.",
        "not computed (weights missing: get them)",
        "Somebody 2018, https://example.org/kid",
        "all images of the target collection",
        "256x256 pixels, bicubic, whatever the shape",
        "torch 2.15.0, numpy 2.4.6",
        "python -m gan_style compare --config experiments/compare_toy.toml",
        "over the limit of 60 s",
        "11.4 M",
        "45.6 MB",
        "The paper of near",
        "lambda_cycle",
        "python -m gan_style vote --report",
    ):
        assert phrase in text, phrase


def test_where_all_have_the_same_number_none_is_the_best(read):
    for values, marks in (((0.0, 0.0), ["", ""]), ((0.0, 0.1), ["best", ""])):
        methods = {
            name: method(name, values={"kid": of_set(value)})
            for name, value in zip("ab", values, strict=True)
        }
        table = tables.numbers(read(methods))
        assert [row.cells[0].mark for row in table.rows] == marks


def test_a_table_marks_the_best_and_notes_why_a_number_is_missing(small):
    table = tables.numbers(record.read(small))
    assert [group.title for group in table.groups] == [
        "Against the collection",
        "Against the content",
        "Against the pair's style",
        "There and back again",
        "Against the truth",
    ]
    rows = {row.method.label: row.cells for row in table.rows}
    assert rows["broken"] == ()
    assert [cell.mark for cell in rows["near"][:2]] == ["best", "best"]
    fid, gram, psnr = (rows["near"][place] for place in (1, 6, 8))
    assert fid.small == ("of 4 images",)
    assert (gram.text, gram.reason) == ("\u2013", "not computed (weights missing: get them)")
    assert table.notes[gram.note] == gram.reason
    assert rows["far"][6].note == gram.note
    assert psnr.note != gram.note
    assert gram.sort is None


def test_labels_and_reasons_may_hold_anything(tmp_path):
    title = f"{HOSTILE} & \ud800 \x00"
    names = (HOSTILE, '"><img src=x onerror=alert(1)>', "$\\frac{$", "日本語 🎨", "a|b*c*\n`d`")
    document = comparisons.comparison(
        {
            name: method(
                f"m{number}",
                values={"kid": of_set(0.1 + number, 0.01), "lpips_alex": of_pairs(*[number] * 4)},
                notes=[HOSTILE],
                settings={HOSTILE: "</details>"},
                commands=["echo '</pre>```'"],
                weights=HOSTILE,
                paper={"title": HOSTILE, "url": "javascript:alert(1)", "year": 2017},
            )
            for number, name in enumerate(names)
        }
        | {"broken": failed("broken", f"</td>{HOSTILE}"), "odd": method("x", values=3)},
        title=title,
    )
    document["pairs"][0]["name"] = "</script>.png"
    document["metrics"]["kid"] |= {"title": HOSTILE, "source": f"{HOSTILE} javascript:x"}
    page = written(tmp_path, document)
    assert len(page.scripts) == 2  # its data and its code
    assert not [a for _, a in page.elements if any(key.startswith("on") for key in a)]
    assert not [
        image for image in page.all("img") if not image.get("src", "data:").startswith("data:")
    ]
    assert not [a for a in page.all("a") if a["href"].startswith("javascript")]
    labels = [column["label"] for column in viewer(page)["columns"][2:]]
    assert labels == [*names[:4], "a|b*c* `d`"]
    assert viewer(page)["rows"][0]["name"] == "</script>.png"
    text = page.words()
    assert all(label in text for label in labels)
    assert text.startswith(f"{HOSTILE} & ? \ufffd: a comparison")
    markdown = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "<script" not in markdown
    assert "&lt;script&gt;" in markdown
    assert "a\\|b\\*c\\* \\`d\\`" in markdown


def test_a_method_whose_entry_is_broken_is_a_row_with_the_reason(read):
    comparison = read(
        {
            "fine": method("fine", values={"kid": of_set(0.1)}),
            "text": "no entry",
            "short": method("short", values={"kid": of_set(0.1) | {"each": [1.0]}}),
            "images": method("images") | {"images": ["x.png"]},
        }
    )
    assert [m.label for m in comparison.working] == ["fine"]
    errors = {m.label: m.error for m in comparison.failed}
    assert errors["short"].endswith("is broken: 1 numbers of kid for 4 pairs")
    assert errors["images"].endswith("is broken: 1 images for 4 pairs")
    assert errors["text"].startswith("its entry in metrics.json is broken")


def test_missing_and_broken_pictures_leave_gaps(tmp_path):
    document = comparisons.comparison({"a": method("a"), "b": method("b")})
    document["methods"]["b"]["images"][0] = None
    folder = comparisons.write(tmp_path / "report", document)
    (folder / document["methods"]["a"]["images"][1]).unlink()
    (folder / document["methods"]["a"]["images"][2]).write_bytes(b"no picture")
    page = Page(report.write(folder).read_text(encoding="utf-8"))
    gaps = [
        (r, c)
        for r, row in enumerate(viewer(page)["rows"])
        for c, cell in enumerate(row["cells"])
        if cell is None
    ]
    assert gaps == [(0, 3), (1, 2), (2, 2)]
    assert page.text.count("missing") == 3


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.slow
def test_a_report_that_is_written_again_far_from_its_pictures_keeps_them(tmp_path):
    folder = comparisons.write(tmp_path / "results/toy/report", comparisons.small())
    report.write(folder)
    before = contents(folder)
    mailed = shutil.copytree(folder, tmp_path / "mailed")
    report.write(mailed)
    assert contents(mailed) == before
    report.write(mailed)  # and again
    assert contents(mailed) == before
    report.write(mailed, rows=2)  # fewer of them
    rows = viewer(Page((mailed / "index.html").read_text(encoding="utf-8")))["rows"]
    assert [len([cell for cell in row["cells"] if cell]) for row in rows] == [4, 4]


@pytest.mark.slow
def test_one_lost_picture_is_that_of_the_page_before(tmp_path):
    folder = comparisons.write(tmp_path / "report", comparisons.small())
    before = viewer(Page(report.write(folder).read_text(encoding="utf-8")))["rows"]
    (tmp_path / "compare/near/1.png").unlink()
    (folder / "grid.jpg").unlink()
    after = viewer(Page(report.write(folder).read_text(encoding="utf-8")))["rows"]
    assert after == before
    assert (folder / "grid.jpg").exists()


@pytest.mark.parametrize("page", [None, "", "<p>none of ours", "{}", "evil"])
@pytest.mark.slow
def test_a_report_without_any_picture_left_is_refused_and_left_alone(tmp_path, page):
    folder = comparisons.write(tmp_path / "results/report", comparisons.small())
    report.write(folder)
    if page is None:
        (folder / "index.html").unlink()
    elif page == "evil":  # a page that would have something else fetched
        text = (folder / "index.html").read_text(encoding="utf-8")
        text = text.replace("data:image/jpeg;base64,", "https://example.org/?")
        (folder / "index.html").write_text(text, encoding="utf-8")
    else:
        (folder / "index.html").write_text(page, encoding="utf-8")
    mailed = shutil.copytree(folder, tmp_path / "mailed")
    before = contents(mailed)
    with pytest.raises(DataError, match=r"none of the pictures that .* names is there, such as"):
        report.write(mailed)
    assert contents(mailed) == before


def test_the_pictures_of_many_pairs_are_spread(tmp_path):
    assert pictures.spread(10, 3) == [0, 3, 6]
    assert pictures.spread(2, 3) == [0, 1]
    document = comparisons.comparison({"a": method("a", pairs=6)}, pairs=6)
    page = written(tmp_path, document, rows=2)
    assert [row["name"] for row in viewer(page)["rows"]] == ["0.png", "3.png"]
    assert "2 of 6 pairs, at even distances in their list" in page.words()
    with pytest.raises(ConfigError, match="--rows is 0"):
        report.write(tmp_path / "report", rows=0)


@pytest.mark.parametrize("stale", [False, True])
def test_votes_are_shown_where_there_are_some(tmp_path, monkeypatch, stale):
    tally = vote.Tally(
        question="Which one?",
        raters=1,
        choices=12,
        undecided=2,
        methods={"a": vote.share(3, 10), "b": vote.share(7, 10)},
        wins={},
        stale=stale,
    )
    monkeypatch.setattr(vote, "tally", lambda folder: tally)
    page = written(tmp_path, comparisons.comparison({"a": method("a"), "b": method("b")}))
    text = page.words()
    assert "“Which one?” 1 rater made 12 choices" in text
    assert "2 of them were “can't tell”" in text
    # Wilson's interval of 7 of 10 is 0.397 to 0.892.
    assert "b 70 % 40 % to 89 % 7 of 10 a 30 % 11 % to 60 % 3 of 10" in text
    assert "Nobody was asked" not in text
    assert ("Some of the pictures have changed since" in text) == stale
    markdown = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "| b | 70 % | 40 % to 89 % | 7 of 10 |" in markdown


@pytest.mark.parametrize(
    "methods",
    [
        {},
        {"a": failed("a", "out of memory")},
        {"a": method("a", values={"kid": of_set(0.1, 0.01)}, images=[])},
        {"unchanged": reference(values={"kid": of_set(0.1, 0.01)})},
    ],
)
def test_a_report_can_be_of_next_to_nothing(tmp_path, methods):
    folder = comparisons.write(tmp_path / "report", comparisons.comparison(methods))
    (folder / "tradeoff.png").write_bytes(b"of an earlier comparison")
    page = Page(report.write(folder).read_text(encoding="utf-8"))
    assert comparisons.files(folder) == ["index.html", "metrics.csv", "report.md"]
    assert all(name in page.text for name in methods)
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    assert "](grid.jpg)" not in markdown
    assert "](tradeoff.png)" not in markdown


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"title": "x"}',
        b'{"title": "x", "metrics": {"kid": 3}, "methods": {}, "pairs": []}',
        b'{"title": "x", "metrics": {}, "methods": [], "pairs": []}',
        b'{"title": "x", "metrics": {}, "methods": {}, "pairs": [{}]}',
    ],
)
def test_a_comparison_that_cant_be_read_is_one_line_and_no_report(tmp_path, content):
    if content is not None:
        (tmp_path / "metrics.json").write_bytes(content)
    with pytest.raises(DataError) as error:
        report.write(tmp_path)
    assert "metrics.json" in str(error.value)
    assert "\n" not in str(error.value)
    assert comparisons.files(tmp_path) == []


def test_a_report_that_fails_leaves_the_old_one(small, tmp_path, monkeypatch):
    folder = comparisons.write(tmp_path / "report", comparisons.small())
    for name in comparisons.files(small):
        (folder / name).write_bytes(b"old")
    monkeypatch.setattr(report, "_page", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report.write(folder)
    assert all((folder / name).read_bytes() == b"old" for name in comparisons.files(small))
    assert comparisons.files(folder) == comparisons.files(small)


def test_the_same_comparison_makes_the_same_files(small, tmp_path):
    folder = comparisons.write(tmp_path / "report", comparisons.small())
    report.write(folder)
    for name in comparisons.files(small):
        assert (folder / name).read_bytes() == (small / name).read_bytes(), name


def test_every_file_of_the_pages_is_installed():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    for package in ("report", "weights"):
        patterns = setup["options.package_data"][f"gan_style.{package}"].split(", ")
        for path in (ROOT / "gan_style" / package).iterdir():
            if path.is_file() and path.suffix != ".py":
                assert any(fnmatch(path.name, pattern) for pattern in patterns), path.name


# The other files


def test_the_csv_holds_every_number_in_full(small):
    with (small / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    document = comparisons.small()
    assert list(rows) == list(document["methods"])
    for label, entry in document["methods"].items():
        for key in document["metrics"]:
            value = entry["values"].get(key, {})
            for name, column in (("value", key), ("low", f"{key}_low"), ("high", f"{key}_high")):
                text = rows[label][column]
                assert (float(text) if text else None) == value.get(name), (label, column)
    near = rows["near"]
    assert (near["kid_images"], near["training_seconds"], near["bytes"]) == (
        "4",
        "1800.0",
        "45600000.0",
    )
    assert (near["median_256"], near["median_512"], near["peak_bytes_256"]) == (
        "0.31",
        "1.2",
        "900000000.0",
    )
    assert rows["far"]["median_512"] == ""
    assert rows["broken"]["error"] == "it ran out of memory"
    assert rows["unchanged"]["reference"] == "1"


def test_the_markdown_is_the_same_in_short(small):
    text = (small / "report.md").read_text(encoding="utf-8")
    lines = text.splitlines()
    for line in (
        "# Photographs towards Monet",
        "| *unchanged* | 0.0900 (± 0.0050) | \u2013 | \u2013 | 0 (± 0) | \u2013 | \u2013 |",
        "- **near**: 30 minutes of training on cpu, 1,843 images; weights: as trained (raw), after "
        "1843 images.",
        "- **broken** has no result: it ran out of memory",
        "FID and ArtFID-style product (1 + LPIPS)(1 + FID) of 4 images are too high, and the more "
        "so the fewer there are: believe KID.",
        "python -m gan_style compare --config experiments/compare_toy.toml",
    ):
        assert line in lines, line
    assert (
        "**Which keeps the content best?** **far**: LPIPS 0.100 ± 0.007. Next is **near**" in text
    )
    assert "**0.0100** ★ (± 0.0020) | **90.0** ★ (of 4 images)" in text
    for name in re.findall(r"!\[[^]]*\]\((.*?)\)", text):
        assert (small / name).is_file(), name
    tables_of = [
        list(rows) for is_row, rows in itertools.groupby(lines, lambda x: x[:1] == "|") if is_row
    ]
    assert len(tables_of) == 2
    for rows in tables_of:
        assert len({row.count("|") for row in rows}) == 1


def test_the_grid_is_small_and_has_a_column_a_method(small):
    path = small / "grid.jpg"
    assert path.stat().st_size < 400_000
    with Image.open(path) as image:
        width, height = image.size
    assert (width - pictures.GAP) % (pictures.CELL + pictures.GAP) == 0
    assert (width - pictures.GAP) // (pictures.CELL + pictures.GAP) == 4  # content, style, two
    assert height > 4 * pictures.CELL


def noise(side, count):
    random = np.random.default_rng(0)
    return [
        Image.fromarray(random.integers(0, 255, (side, side, 3), np.uint8)) for _ in range(count)
    ]


def test_pictures_that_compress_badly_still_fit(monkeypatch):
    titles = ["a very long title of a method " * 3] * 16
    assert len(pictures.grid([noise(pictures.CELL, 16)] * 6, titles)) < 400_000
    rows = [noise(400, 4)] * 2
    monkeypatch.setattr(pictures, "BUDGET", 1_000_000)
    embedded = pictures.embedded(rows)
    assert (
        sum(len(each.thumbnail) + len(each.large) for row in embedded for each in row) < 1_000_000
    )


def test_plots_take_their_colours_from_the_page(small):
    comparison = record.read(small)
    found = [figures.trade_off(comparison), figures.speed(comparison)]
    drawn = [plots.svg(plot, str(number)) for number, plot in enumerate(found)]
    for text in drawn:
        assert not re.search(r"[\"': ]#[0-9a-f]{6}\b", text)
        assert "var(--ink)" in text
        assert "http" not in text
    ids = [name for text in drawn for name in re.findall(r'\bid="(.*?)"', text)]
    assert len(ids) == len(set(ids))
    assert re.findall(r">(near|far|unchanged)</text>", drawn[0]) == ["unchanged", "near", "far"]
    assert "near: 0.0100 (0.00800 to 0.0120), 0.500" in figures.described(found[0])
    assert found[0].front == ("near", "far")  # the reference would be on it


def test_a_similarity_is_plotted_as_a_distance(read):
    values = {"kid": of_set(0.1), "ssim": {"value": 0.7, "low": 0.6, "high": 0.9}}
    methods = {name: method(name, values=values) for name in ("a", "b")}
    point = figures.trade_off(read(methods)).points[0]
    assert point.y == pytest.approx(0.3)
    assert point.y_interval == pytest.approx((0.1, 0.4))


@pytest.mark.parametrize(
    ("places", "named"),
    [
        (list(itertools.product(range(2), range(4))), True),
        ([(0, 1), (0.65, 0), (1, 0)], True),  # both names would like the place between
        (list(itertools.product(range(8), range(4))), False),  # names are wider than the distance
    ],
)
@pytest.mark.slow
def test_names_in_a_plot_never_overlap(places, named):
    points = tuple(
        plots.Point(label=f"method {number}", x=x, y=y, number=number, index=number)
        for number, (x, y) in enumerate(places, start=1)
    )
    figure = plots._draw(plots.Plot(points=points, x_title="x", y_title="y"), plots.LIGHT)
    figure.draw_without_rendering()
    texts = figure.axes[0].texts
    boxes = [text.get_window_extent() for text in texts]
    assert not [1 for a, b in itertools.combinations(boxes, 2) if a.overlaps(b)]
    shown = [text.get_text() for text in texts]
    if named:
        inside = figure.axes[0].get_window_extent()
        assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in boxes)
        assert shown == [point.label for point in points]
    else:  # numbers, and the names in two columns below
        assert shown[2:] == [str(point.number) for point in points]
        assert [line.split("  ")[1] for line in "\n".join(shown[:2]).split("\n")] == [
            point.label for point in points
        ]


def test_sixty_methods_look_different():
    assert len({plots.look(index, plots.LIGHT) for index in range(60)}) == 60
