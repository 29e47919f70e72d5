"""The blind preference test: its design, what the page gives away, and the count of the votes."""

import base64
import csv
import io
import json
import random
import re
import subprocess
import sys
from collections import Counter

import pytest
from conftest import ROOT
from PIL import Image, ImageColor

from gan_style.errors import ConfigError, DataError
from gan_style.report import vote

COLOURS = {"cyclegan": "red", "gatys": "lime", "adain": "blue"}
TIME = "2026-11-21T10:00:00.000Z"


def write_comparison(folder, colours=COLOURS, contents=4, style="collection", size=(40, 30)):
    """A report folder and its images: each method paints contents in shades of its colour."""
    report = folder / "report"
    report.mkdir(parents=True)

    def image(name, colour):
        path = folder / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", size, colour).save(path)
        return f"../{name}.png"

    def method(reference, images, paper):
        return {"reference": reference, "error": None, "images": images, "paper": paper}

    pairs = [
        {
            "name": f"{number}_holiday.png",
            "content": image(f"contents/holiday{number}", (40 * number, 90, 90)),
            "style": image(f"styles/monet{number}", (90, 90, 40 * number)),
        }
        for number in range(contents)
    ]
    methods = {"unchanged": method(True, [pair["content"] for pair in pairs], None)}
    for name, colour in colours.items():
        shades = [
            tuple(min(channel + 9 * number, 255) for channel in ImageColor.getrgb(colour))
            for number in range(contents)
        ]
        images = [image(f"{name}/{number}", shade) for number, shade in enumerate(shades)]
        methods[name] = method(False, images, {"style": style})
    record = {"title": "cyclegan and others", "pairs": pairs, "methods": methods}
    (report / "metrics.json").write_text(json.dumps(record), encoding="utf-8")
    return report


def edit(report, change):
    path = report / "metrics.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    change(record)
    path.write_text(json.dumps(record), encoding="utf-8")


def key_of(report):
    return json.loads((report / "vote_key.json").read_text(encoding="utf-8"))


def data_of(report):
    """What the page knows."""
    page = (report / "vote.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', page)[1])


def jpegs_of(report):
    return {
        name: base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
        for name, uri in data_of(report)["pictures"].items()
    }


def row(key, question, preferred=None, **changes):
    """An answer as the page writes it: for one method, or undecided."""
    asked = key["questions"][question]
    left, right = asked["methods"]
    side = {asked["methods"][left]: "left", asked["methods"][right]: "right", None: "neither"}
    values = {
        "comparison": key["comparison"], "rater": "ann-r0000000a", "question": question,
        "content": asked["content"], "left": left, "right": right, "choice": side[preferred],
        "seconds": "2.5", "time": TIME,
    }  # fmt: skip
    return values | changes


def save(report, name, rows):
    path = report / "votes" / name
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, vote.COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def report(tmp_path):
    return write_comparison(tmp_path / "results")


@pytest.fixture
def asked(report):
    """A report folder with a page of all 12 questions, and its key."""
    vote.write(report)
    return report, key_of(report)


def questions_about(key, *methods):
    return [n for n, q in key["questions"].items() if set(q["methods"].values()) == set(methods)]


# --- the interval


@pytest.mark.parametrize(
    ("wins", "trials", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_wilsons(wins, trials, low, high):
    share = vote.share(wins, trials)
    assert (share.wins, share.trials, share.share) == (wins, trials, wins / trials)
    assert (round(share.low, 4), round(share.high, 4)) == (low, high)


# --- the design


@pytest.mark.parametrize("questions", [1, 2, 5, 12, 13, 29, 40])
@pytest.mark.parametrize("count", [2, 3, 4, 5, 7])
def test_pairs_and_sides_are_balanced(count, questions):
    names = [f"m{number}" for number in range(count)]
    available = {name: set(range(40)) for name in names}
    for seed in range(5):
        choices = vote.design(available, questions, random.Random(seed))
        assert len(choices) == questions
        pairs = Counter(frozenset(choice[1:]) for choice in choices)
        every = [frozenset((a, b)) for a in names for b in names if a < b]
        assert max(pairs[pair] for pair in every) - min(pairs[pair] for pair in every) <= 1
        sides = Counter(choice[1:] for choice in choices)
        assert all(abs(sides[a, b] - sides[b, a]) <= 1 for a in names for b in names if a != b)
        left = Counter(left for _, left, _ in choices)
        right = Counter(right for _, _, right in choices)
        assert all(abs(left[name] - right[name]) <= 1 for name in names)
        shown = left + right
        assert max(shown.values()) - min(shown[name] for name in names) <= 2
        contents = Counter(content for content, _, _ in choices)
        assert max(contents.values()) - min(contents[number] for number in range(40)) <= 2


def test_no_question_is_asked_twice_and_none_without_both_pictures():
    available = {"a": {0, 1, 2}, "b": {1, 2}, "c": {2}}
    choices = vote.design(available, 99, random.Random(0))
    asked = Counter((content, frozenset(methods)) for content, *methods in choices)
    assert asked == {
        (1, frozenset("ab")): 1,
        (2, frozenset("ab")): 1,
        (2, frozenset("ac")): 1,
        (2, frozenset("bc")): 1,
    }


def test_another_seed_chooses_other_sides():
    available = {"a": set(range(9)), "b": set(range(9))}
    for questions in (1, 2):
        designs = [vote.design(available, questions, random.Random(seed)) for seed in range(20)]
        assert {choices[0][1] for choices in designs} == {"a", "b"}


def test_the_same_seed_makes_the_same_page_and_another_seed_another(report):
    def page(seed):
        path = vote.write(report, seed=seed)
        return path.read_text(encoding="utf-8"), key_of(report)

    assert page(0) == page(0)
    assert page(0)[1]["comparison"] != page(1)[1]["comparison"]
    assert not page(0)[1]["questions"].keys() & page(1)[1]["questions"].keys()


def test_another_picture_makes_another_comparison(asked, tmp_path):
    report, key = asked
    Image.new("RGB", (40, 30), "black").save(tmp_path / "results/gatys/1.png")
    vote.write(report)
    assert key_of(report)["comparison"] != key["comparison"]


# --- the page


def test_the_page_has_no_name_of_a_method_a_content_or_a_file(report, tmp_path):
    noisy = tmp_path / "results/cyclegan/0.jpg"
    Image.new("RGB", (40, 30), "red").save(noisy, comment=b"made by cyclegan", exif=b"cyclegan")
    edit(report, lambda r: r["methods"]["cyclegan"]["images"].__setitem__(0, "../cyclegan/0.jpg"))
    page = vote.write(report).read_text(encoding="utf-8")
    # Pictures apart: any short word can turn up in base64.
    text = re.sub(r"base64,[^\"]*", "", page).lower()
    for name in [*COLOURS, "unchanged", "holiday", "monet", ".png", ".jpg", str(tmp_path)]:
        assert name not in text
    for jpeg in jpegs_of(report).values():
        assert not any(name.encode() in jpeg.lower() for name in COLOURS)


def test_the_pictures_of_a_method_do_not_stand_together(asked):
    report, key = asked
    methods = {}
    for question in key["questions"].values():
        methods |= question["methods"]
    in_order = [methods[name] for name in data_of(report)["pictures"] if name in methods]
    assert in_order != sorted(in_order, key=list(dict.fromkeys(in_order)).index)
    for names in (data_of(report)["pictures"], [q["id"] for q in data_of(report)["questions"]]):
        assert list(names) == sorted(names)


def test_every_picture_is_in_the_page_once_and_small(tmp_path):
    report = write_comparison(tmp_path / "results", size=(800, 400))
    page = vote.write(report).read_text(encoding="utf-8")
    # 4 contents, 3 methods' translations of each, and their 4 styles
    assert page.count("data:image/jpeg") == len(jpegs_of(report)) == 20
    for jpeg in jpegs_of(report).values():
        with Image.open(io.BytesIO(jpeg)) as picture:
            assert (picture.format, picture.size) == ("JPEG", (384, 192))


def test_the_key_tells_whose_picture_it_is(asked):
    report, key = asked
    jpegs = jpegs_of(report)
    for question in key["questions"].values():
        for name, method in question["methods"].items():
            with Image.open(io.BytesIO(jpegs[name])) as picture:
                colour = picture.convert("RGB").getpixel((20, 15))
            strongest = "rgb"[colour.index(max(colour))]
            assert {"r": "cyclegan", "g": "gatys", "b": "adain"}[strongest] == method


def test_a_question_shows_one_content_its_style_and_two_others(asked):
    report, key = asked
    assert len(key["questions"]) == 12  # three pairs of methods, four contents
    for question in data_of(report)["questions"]:
        assert key["questions"][question["id"]]["content"] == question["content"]
        assert {question["left"], question["right"]} == set(
            key["questions"][question["id"]]["methods"]
        )
        assert len(set(question["references"])) == 3
    own = {q["content"]: q["references"][0] for q in data_of(report)["questions"]}
    assert len(set(own.values())) == 4


def test_where_no_method_learns_a_collection_the_style_is_the_contents_own(tmp_path):
    report = write_comparison(tmp_path / "results", style="image")
    vote.write(report)
    assert {len(question["references"]) for question in data_of(report)["questions"]} == {1}


def test_references_failures_and_missing_images_take_no_part(tmp_path):
    report = write_comparison(tmp_path / "results", {**COLOURS, "johnson": "grey"}, contents=2)

    def change(record):
        record["methods"]["johnson"]["error"] = "no weights"
        record["methods"]["gatys"]["images"] = [None, None]
        record["methods"]["adain"]["images"][0] = None

    edit(report, change)
    vote.write(report)
    key = key_of(report)
    assert key["methods"] == ["cyclegan", "adain"]
    assert [question["pair"] for question in key["questions"].values()] == ["1_holiday.png"]


def test_transparent_pictures_are_shown_on_white(report, tmp_path):
    Image.new("RGBA", (40, 30), (255, 0, 0, 0)).save(tmp_path / "results/contents/holiday0.png")
    vote.write(report)
    key = key_of(report)
    content = next(q["content"] for q in key["questions"].values() if q["pair"][0] == "0")
    with Image.open(io.BytesIO(jpegs_of(report)[content])) as picture:
        assert min(picture.convert("RGB").getpixel((20, 15))) > 250


def test_photographs_are_shown_upright(report, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    Image.new("RGB", (40, 30)).save(tmp_path / "results/contents/holiday0.png", exif=exif)
    vote.write(report)
    key = key_of(report)
    content = next(q["content"] for q in key["questions"].values() if q["pair"][0] == "0")
    with Image.open(io.BytesIO(jpegs_of(report)[content])) as picture:
        assert picture.size == (30, 40)


def test_the_page_fetches_nothing_and_takes_a_question_as_text(report):
    question = '</script><script>alert(1)</script> "better" & why?'
    page = vote.write(report, question=question).read_text(encoding="utf-8")
    assert "alert(1)</script>" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\(", re.sub(r"base64,[^\"]*", "", page))
    assert "default-src 'none'" in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["methods"].update(gatys=r["methods"]["unchanged"]), "too few methods"),
        (lambda r: r["methods"]["gatys"].update(images=["../gone.png"] * 4), "No such file"),
        (lambda r: r["pairs"][0].update(content="metrics.json"), "can't be read as an image"),
    ],
)
def test_what_cannot_be_asked_is_refused(tmp_path, change, message):
    report = write_comparison(tmp_path / "results", {"cyclegan": "red", "gatys": "lime"})
    edit(report, change)
    with pytest.raises(DataError, match=message) as error:
        vote.write(report)
    assert "\n" not in str(error.value)
    assert not (report / "vote.html").exists()


def test_methods_without_a_common_content_are_refused(tmp_path):
    report = write_comparison(tmp_path / "results", {"a": "red", "b": "lime"}, contents=2)
    edit(report, lambda r: r["methods"]["a"]["images"].__setitem__(0, None))
    edit(report, lambda r: r["methods"]["b"]["images"].__setitem__(1, None))
    with pytest.raises(DataError, match="same content"):
        vote.write(report)


def test_a_folder_without_a_comparison_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no metrics\.json in .*gan_style compare"):
        vote.write(tmp_path)
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(DataError, match=r"metrics\.json can't be read"):
        vote.write(tmp_path)


@pytest.mark.parametrize("options", [{"questions": 0}, {"seed": -1}, {"question": " "}])
def test_options_without_sense_are_refused(report, options):
    with pytest.raises(ConfigError, match=f"--{next(iter(options))}"):
        vote.write(report, **options)


def test_a_key_that_votes_need_is_not_overwritten(asked):
    report, key = asked
    save(report, "votes-ann.csv", [row(key, next(iter(key["questions"])))])
    vote.write(report)  # the same page again
    with pytest.raises(DataError, match="move votes and vote_key"):
        vote.write(report, seed=1)
    assert key_of(report) == key
    assert vote.tally(report).choices == 1


# --- the count


def test_shares_and_wins_are_counted(asked):
    report, key = asked
    first, second, third, fourth = questions_about(key, "cyclegan", "gatys")
    versus_adain = questions_about(key, "gatys", "adain")[0]
    save(report, "ann.csv", [
        row(key, first, "cyclegan"), row(key, second, "cyclegan"), row(key, third, "gatys"),
        row(key, fourth), row(key, versus_adain, "gatys"),
    ])  # fmt: skip
    save(report, "BOB.CSV", [row(key, first, "cyclegan", rater="bob-r0000000b")])
    count = vote.tally(report)
    assert (count.question, count.raters) == (vote.QUESTION, 2)
    assert (count.choices, count.undecided) == (6, 1)
    assert count.wins == {
        "cyclegan": {"gatys": 3, "adain": 0},
        "gatys": {"cyclegan": 1, "adain": 1},
        "adain": {"cyclegan": 0, "gatys": 0},
    }
    assert count.methods == {
        "cyclegan": vote.share(3, 4),
        "gatys": vote.share(2, 5),
        "adain": vote.share(0, 1),
    }


def test_swapped_sides_count_for_the_picture_that_was_chosen(asked):
    report, key = asked
    question = questions_about(key, "cyclegan", "gatys")[0]
    swapped = row(key, question, "gatys")
    swapped["left"], swapped["right"] = swapped["right"], swapped["left"]
    swapped["choice"] = {"left": "right", "right": "left"}[swapped["choice"]]
    save(report, "ann.csv", [swapped])
    assert vote.tally(report).wins["gatys"]["cyclegan"] == 1


def test_the_latest_answer_of_a_rater_counts(asked):
    report, key = asked
    question = questions_about(key, "cyclegan", "gatys")[0]
    later = TIME.replace("10:", "11:")
    save(report, "a.csv", [row(key, question, "gatys", time=later), row(key, question, "cyclegan")])
    save(report, "b.csv", [row(key, question, "cyclegan")])
    count = vote.tally(report)
    assert (count.raters, count.choices) == (1, 1)
    assert count.methods["gatys"].wins == 1


@pytest.mark.parametrize("change", ["painted over", "removed"])
def test_votes_on_pictures_that_have_changed_say_so(asked, change):
    report, key = asked
    save(report, "ann.csv", [row(key, question) for question in key["questions"]])
    assert not vote.tally(report).stale
    picture = report / next(iter(key["files"]))
    if change == "removed":
        picture.unlink()
    else:
        Image.new("RGB", (40, 30), "red").save(picture)
    assert vote.tally(report).stale


def test_undecided_answers_are_in_no_share(asked):
    report, key = asked
    save(report, "ann.csv", [row(key, question) for question in key["questions"]])
    count = vote.tally(report)
    assert (count.choices, count.undecided, count.methods) == (12, 12, {})


def test_without_votes_there_is_no_tally(asked):
    report, _ = asked
    assert vote.tally(report) is None
    save(report, "ann.csv", [])
    save(report, "._ann.csv", [{"rater": "\x00"}])  # as a Mac's zip has them
    assert vote.tally(report) is None


def test_votes_without_their_key_are_refused(asked):
    report, key = asked
    save(report, "ann.csv", [row(key, next(iter(key["questions"])))])
    (report / "vote_key.json").unlink()
    with pytest.raises(DataError, match=r"no vote_key\.json"):
        vote.tally(report)


def test_a_spreadsheets_mark_and_empty_lines_are_read_over(asked):
    report, key = asked
    path = save(report, "ann.csv", [row(key, next(iter(key["questions"])))])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\n\n")
    assert vote.tally(report).choices == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"comparison": "c000000000000000"},
        {"question": "q00000000"},
        {"question": "__class__"},
        {"content": "p00000000"},
        {"left": "p00000000"},
        {"right": "p00000000"},
        {"choice": "both"},
        {"choice": ""},
        {"rater": '=HYPERLINK("x")'},
        {"rater": "<script>alert(1)</script>"},
        {"rater": "r" * 65},
        {"rater": ""},
        {"seconds": "nan"},
        {"seconds": "1e999"},
        {"seconds": "-1"},
        {"time": "yesterday"},
        {"time": f"{TIME}\n"},
    ],
)
def test_what_the_page_cannot_have_written_is_refused(asked, changes):
    report, key = asked
    question = next(iter(key["questions"]))
    save(report, "good.csv", [row(key, question)])
    path = save(report, "evil.csv", [row(key, question), row(key, question) | changes])
    with pytest.raises(DataError) as error:
        vote.tally(report)
    message = str(error.value)
    assert str(path) in message
    assert f"{next(iter(changes))} is {next(iter(changes.values()))[:40]!r}" in message
    assert "move it out of" in message
    assert "\n" not in message


def test_two_pictures_of_one_side_are_refused(asked):
    report, key = asked
    vote_ = row(key, next(iter(key["questions"])))
    save(report, "evil.csv", [vote_ | {"right": vote_["left"]}])
    with pytest.raises(DataError, match="right is"):
        vote.tally(report)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "its first line isn't"),
        (b"rater,choice\nann,left\n", "its first line isn't"),
        (b"\xff\xfe\x00\x01", "not a CSV file in UTF-8"),
        (",".join(vote.COLUMNS).encode() + b'\n"ann"x,1\n', "not a CSV file in UTF-8"),
        (",".join(vote.COLUMNS).encode() + b"\n1,2,3\n", "line 2 has 3 columns, not 9"),
        (",".join(vote.COLUMNS).encode() + b"\n" + b"," * 1_000_000, "larger than 1000000 bytes"),
    ],
)
def test_files_that_are_no_votes_are_refused(asked, content, message):
    report, _ = asked
    (report / "votes").mkdir()
    (report / "votes" / "evil\nname.csv").write_bytes(content)
    with pytest.raises(DataError, match=re.escape(message)) as error:
        vote.tally(report)
    assert "evil\\nname.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_asking_and_counting_need_no_torch():
    code = "import sys, gan_style.report.vote; print('torch' in sys.modules)"
    made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert made.stdout == "False\n"
