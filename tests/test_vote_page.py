"""The voting page in a real browser: what a rater sees and does, and the file that comes of it."""

import csv
import re
import shutil
from contextlib import contextmanager

import pytest
from test_vote import data_of, key_of, write_comparison

from gan_style.report import vote

playwright = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this system"),
]
QUESTIONS = 6


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    report = write_comparison(tmp_path_factory.mktemp("vote"))
    vote.write(report, questions=QUESTIONS)
    return report


@pytest.fixture
def votes(report):
    """Where raters' files go, emptied afterwards."""
    yield report / "votes"
    shutil.rmtree(report / "votes", ignore_errors=True)


@pytest.fixture
def rater(browser, report):
    """Open the page as a new rater, with a profile of their own; errors on it fail the test."""
    contexts, errors = [], []

    def opened(script="", **options):
        context = browser.new_context(reduced_motion="reduce", **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text))
        page.add_init_script(script)
        page.goto((report / "vote.html").as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


def begin(page, name=""):
    page.fill("#name", name)
    page.click("text=Start")


def settle(page):
    """Wait until a choice counts."""
    # The page's policy forbids wait_for_function, which evaluates a string again and again.
    page.evaluate("""new Promise((resolve) => {
        const look = () => performance.now() - shownAt > SETTLE ? resolve() : setTimeout(look, 10);
        look();
    })""")


def press(page, *keys):
    for key in keys:
        settle(page)
        page.keyboard.press(key)


def saved(page):
    """The file that the button gives: its name and rows."""
    with page.expect_download() as download:
        page.click(".save:visible")
    with open(download.value.path(), newline="", encoding="utf-8") as file:  # noqa: PTH123
        return download.value.suggested_filename, list(csv.DictReader(file))


def shown(page, report):
    """Name -> id of the pictures that are seen now."""
    names = {uri: name for name, uri in data_of(report)["pictures"].items()}
    pictures = {"content": "#content", "left": "#left img", "right": "#right img"}
    return {role: names[page.get_attribute(where, "src")] for role, where in pictures.items()}


def count(page):
    return page.inner_text("#count")


def test_what_raters_prefer_is_what_the_tally_says(rater, report, votes):
    methods = {}
    for question in key_of(report)["questions"].values():
        methods |= question["methods"]
    votes.mkdir()
    # One likes red before green before blue, the other the reverse; both by mouse.
    for name, order in {
        "Ann": ["cyclegan", "gatys", "adain"],
        "Bob": ["adain", "gatys", "cyclegan"],
    }.items():
        page = rater(accept_downloads=True)
        begin(page, name)
        for _ in range(QUESTIONS):
            settle(page)
            pictures = shown(page, report)
            ranks = [order.index(methods[pictures[side]]) for side in ("left", "right")]
            page.click("#left" if ranks[0] < ranks[1] else "#right")
        assert page.is_visible("#done")
        file, rows = saved(page)
        assert re.fullmatch(rf"votes-{name}-r[0-9a-f]{{8}}\.csv", file)
        assert len(rows) == QUESTIONS
        page.evaluate("document.querySelector('details').open = true")
        (votes / file).write_text(page.input_value("#text"), encoding="utf-8", newline="")
    tally = vote.tally(report)
    assert (tally.raters, tally.choices, tally.undecided) == (2, 2 * QUESTIONS, 0)
    # Six questions, two about every pair: opposite tastes cancel.
    assert {name: (s.wins, s.trials) for name, s in tally.methods.items()} == {
        "cyclegan": (4, 8),
        "gatys": (4, 8),
        "adain": (4, 8),
    }
    (votes / file).unlink()
    tally = vote.tally(report)
    assert {name: s.wins for name, s in tally.methods.items()} == {
        "cyclegan": 4,
        "gatys": 2,
        "adain": 0,
    }


def test_the_file_says_what_was_seen(rater, report, votes):
    page = rater()
    begin(page)
    settle(page)
    before = shown(page, report)
    page.keyboard.press("2")
    file, (row,) = saved(page)
    assert tuple(row) == vote.COLUMNS
    assert {role: row[role] for role in before} == before
    assert row["choice"] == "right"
    assert row["comparison"] == key_of(report)["comparison"] == page.inner_text("#comparison")
    assert 0.2 <= float(row["seconds"]) < 60
    assert file == f"votes-{row['rater']}.csv"
    assert file in page.inner_text("#saved")
    assert "folder votes beside vote.html" in page.inner_text("#saved")


def test_keys_choose_and_take_back(rater):
    page = rater()
    page.keyboard.press("Enter")  # the cursor is in the name's field
    press(page, "1", "ArrowRight", "2", "Backspace", "ArrowLeft", "0", " ")
    assert count(page) == "6 of 6"
    press(page, "x", "3", "Control+1", "Alt+ArrowLeft")
    assert count(page) == "6 of 6"
    _, rows = saved(page)
    assert [row["choice"] for row in rows] == ["left", "right", "left", "neither", "neither"]
    press(page, "1", "Backspace")  # also after the last question
    assert count(page) == "6 of 6"
    press(page, *["Backspace"] * 9)
    assert count(page) == "1 of 6"
    assert page.is_disabled("#undo")
    assert page.is_disabled("#ask .save")


def test_the_space_bar_does_not_scroll(rater):
    page = rater(viewport={"width": 400, "height": 300})
    begin(page)  # which scrolled down to the button
    settle(page)
    assert page.evaluate("scrollY") == 0
    page.keyboard.press(" ")
    settle(page)
    assert count(page) == "2 of 6"
    assert page.evaluate("scrollY") == 0


def test_a_button_reached_with_tab_keeps_its_space_bar(rater):
    page = rater()
    begin(page)
    settle(page)
    page.keyboard.press("Tab")  # from the question, which has the focus
    assert page.evaluate("document.activeElement.id") == "left"
    page.keyboard.press(" ")
    press(page, "Enter")
    settle(page)
    page.click("#right")  # a click leaves no focus behind
    press(page, " ")
    _, rows = saved(page)
    assert [row["choice"] for row in rows] == ["left", "left", "right", "neither"]


def test_a_double_click_is_one_choice(rater):
    page = rater()
    begin(page)
    settle(page)
    page.dblclick("#left")
    settle(page)
    assert count(page) == "2 of 6"


def test_a_reload_keeps_name_order_and_answers(rater, report):
    page = rater()
    begin(page, "Ann")
    press(page, "1", "2")
    settle(page)
    before = shown(page, report)
    page.reload()
    assert page.is_visible("#ask")
    assert count(page) == "3 of 6"
    assert shown(page, report) == before
    press(page, "1")
    file, rows = saved(page)
    assert file.startswith("votes-Ann-")
    assert [row["choice"] for row in rows] == ["left", "right", "left"]
    press(page, "1", "1", "1")
    page.wait_for_selector("#done", state="visible")
    page.reload()
    assert page.is_visible("#done")


def test_without_storage_the_page_works_and_says_so(rater):
    page = rater(
        "Object.defineProperty(window, 'localStorage', { get() { throw new Error('no'); } })"
    )
    assert "save them before" in page.inner_text("footer")
    begin(page)
    press(page, "1", "2")
    assert len(saved(page)[1]) == 2


@pytest.mark.parametrize("left", ["", "{", "[]", "null", '{"answers": 1}'])
def test_what_others_left_in_the_storage_is_ignored(rater, report, left):
    name = f"gan_style vote {key_of(report)['comparison']}"
    page = rater(f"localStorage.setItem({name!r}, {left!r})")
    assert page.is_visible("#welcome")


def test_every_rater_has_an_order_and_half_of_them_swapped_sides(rater, report):
    original = {question["id"]: question["left"] for question in data_of(report)["questions"]}
    page, other = rater(), rater()
    assert page.evaluate("state.seed") != other.evaluate("state.seed")
    orders, swapped = set(), 0
    for questions in page.evaluate("[...Array(200).keys()].map(ordered)"):
        names = [question["id"] for question in questions]
        assert sorted(names) == sorted(original)
        orders.add(tuple(names))
        sides = {question["left"] != original[question["id"]] for question in questions}
        assert len(sides) == 1  # all or none: each method stays as often on the left
        swapped += sides.pop()
    assert len(orders) > 150  # of 720
    assert 70 < swapped < 130
    assert page.evaluate("JSON.stringify(questions) === JSON.stringify(ordered(state.seed))")


def test_a_hostile_name_is_a_harmless_cell(rater, report, votes):
    page = rater()
    begin(page, '=HYPERLINK("x"), <b>\t../Ünal Øre')
    press(page, "1")
    file, (row,) = saved(page)
    assert re.fullmatch(r"HYPERLINKx_b_Ünal_Øre-r[0-9a-f]{8}", row["rater"])
    votes.mkdir()
    (votes / file).write_text(page.input_value("#text"), encoding="utf-8", newline="")
    assert vote.tally(report).raters == 1


def test_the_next_rater_starts_anew(rater, report):
    page = rater()
    before = page.evaluate("state.number")
    begin(page, "Ann")
    press(page, *"111111")
    page.once("dialog", lambda dialog: dialog.dismiss())  # "aren't saved. Throw them away?"
    page.click("text=Next rater")
    assert page.is_visible("#done")
    saved(page)
    page.click("text=Next rater")  # saved: no question asked
    assert page.is_visible("#welcome")
    assert page.input_value("#name") == ""
    assert page.is_hidden("#saved")
    assert page.evaluate("state.number") != before
    begin(page)
    assert count(page) == "1 of 6"


def test_nothing_is_asked_of_the_network(rater, report):
    context_urls = []
    page = rater()
    page.on("request", lambda request: context_urls.append(request.url))
    page.reload()
    begin(page)
    press(page, "1")
    saved(page)
    assert {url.split(":")[0] for url in context_urls} <= {"file", "data", "blob"}
    assert [url for url in context_urls if url.startswith("file:")] == [page.url]


def test_everything_has_a_name_for_those_who_cannot_see_it(rater):
    page = rater()
    begin(page)
    settle(page)
    names = page.evaluate("[...document.images].map((image) => image.alt)")
    assert all(names)
    assert not any(method in " ".join(names) for method in ("cyclegan", "gatys", "adain"))
    for role, name in [
        ("button", "Choose picture 1"),
        ("button", "Choose picture 2"),
        ("button", re.compile("tell$")),
        ("progressbar", "Answered"),
        ("heading", vote.QUESTION),
    ]:
        assert page.get_by_role(role, name=name).is_visible()
    assert page.get_by_role("status").first.inner_text() == "1 of 6"
    assert page.evaluate("document.activeElement.id") == "prompt"


@contextmanager
def of_size(browser, report, width, height, **options):
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    page = context.new_page()
    page.goto((report / "vote.html").as_uri())
    yield page
    context.close()


@pytest.mark.parametrize("size", [(40, 30), (30, 40)])
@pytest.mark.parametrize("screen", [(1280, 720), (400, 800), (360, 640), (800, 360)])
def test_a_question_fits_on_one_screen(browser, tmp_path, screen, size):
    report = write_comparison(tmp_path / "results", size=size)
    vote.write(report, questions=1)
    with of_size(browser, report, *screen) as page:
        begin(page)
        settle(page)
        for where in ("#prompt", "#content", "#references", "#left", "#right", "#neither", "#undo"):
            box = page.locator(where).bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= screen[0]
            assert box["y"] + box["height"] <= screen[1]
        assert page.locator("#left img").bounding_box()["height"] >= 140
        assert page.locator("#neither").bounding_box()["height"] >= 44  # a finger


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(browser, report, scheme):
    contrast = """(element) => {
        const light = (colour) => {
            const [r, g, b] = colour.match(/[\\d.]+/g).map((v) => v / 255)
                .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        let behind = element;
        while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") {
            behind = behind.parentElement;
        }
        const pair = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
        const [low, high] = pair.map(light).sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
    }"""
    with of_size(browser, report, 1280, 720, color_scheme=scheme) as page:
        body = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (int(re.findall(r"\d+", body)[0]) < 128) == (scheme == "dark")
        welcome = ["#welcome h1", "#welcome p", "small", "#welcome button", ".keys", "footer"]
        ask = ["#prompt", "#count", "figcaption", "#neither", "#left kbd"]
        for where in welcome:
            assert page.locator(where).first.evaluate(contrast) >= 4.5  # WCAG 2.2, level AA
        begin(page)
        for where in ask:
            assert page.locator(where).first.evaluate(contrast) >= 4.5
