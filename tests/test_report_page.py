"""The report in a real browser, from disk and without a network: what a reader sees and does."""

import shutil

import comparisons
import pytest
from comparisons import failed, method, of_pairs, of_set, reference

from gan_style.report import page as report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this system"),
]
PAIRS = 6
KID = {"a long name of a method, 30 minutes": 0.03, "b": 0.01, "c": 0.02}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    methods = {"unchanged": reference(pairs=PAIRS, values={"kid": of_set(0.09, 0.01)})}
    for place, (name, kid) in enumerate(KID.items()):
        values = {
            key: of_pairs(*(place + 0.1 * pair for pair in range(PAIRS)))
            for key in ("lpips_alex", "ssim", "gram", "cycle_l1", "psnr")
        }
        values |= {"kid": of_set(kid, 0.001), "fid": of_set(90.0, few=1.0)}
        cost = {"sizes": {"256": comparisons.seconds(0.1 * (place + 1), peak_bytes=1e9)}}
        methods[name] = method(f"m{place}", PAIRS, values=values, cost=cost)
    methods["c"]["values"]["kid"] = {"missing": "not computed"}
    methods["b"]["images"][1] = None
    methods["broken"] = failed("broken", "a long reason, " * 20)
    document = comparisons.comparison(methods, PAIRS)
    folder = comparisons.write(tmp_path_factory.mktemp("report") / "report", document, side=96)
    return report.write(folder)


@pytest.fixture
def page(browser, path):
    """Open the page; an error, a message or a request on it fails the test."""
    contexts, complaints = [], []

    def opened(**options):
        context = browser.new_context(offline=True, reduced_motion="reduce", **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("request", lambda request: complaints.append(request.url))
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [text for text in set(complaints) if not text.startswith("data:")] == [path.as_uri()]


def order(page, table="#numbers"):
    return page.locator(f"{table} tbody th").evaluate_all("all => all.map(th => th.dataset.value)")


def heading(page, column, table="#numbers"):
    return page.locator(f'{table} th[data-column="{column}"]')


def thumbnail(page, row, column):
    return page.locator(f'button[data-row="{row}"][data-column="{column}"]')


def test_a_click_on_a_heading_sorts_by_it(page):
    page = page()
    long, b, c = KID
    assert order(page) == ["unchanged", long, b, c, "broken"]
    kid = heading(page, 1)
    assert kid.get_attribute("aria-sort") is None
    kid.locator("button").click()
    assert order(page) == [b, long, "unchanged", c, "broken"]  # those without a number are last
    assert kid.get_attribute("aria-sort") == "ascending"
    kid.locator("button").click()
    assert order(page) == ["unchanged", long, b, c, "broken"]
    assert kid.get_attribute("aria-sort") == "descending"
    heading(page, 0).locator("button").click()
    assert order(page) == [long, b, "broken", c, "unchanged"]
    assert kid.get_attribute("aria-sort") is None
    assert heading(page, 0).get_attribute("aria-sort") == "ascending"


def test_higher_is_better_sorts_from_the_top(page):
    page = page()
    column = page.locator("#numbers th[data-column]").evaluate_all(
        "all => all.find(th => th.textContent.includes('SSIM')).dataset.column"
    )
    heading(page, column).locator("button").click()
    assert heading(page, column).get_attribute("aria-sort") == "descending"
    assert order(page)[:3] == list(KID)[::-1]


def test_keys_sort_too_and_each_table_by_itself(page):
    page = page()
    heading(page, 1, "#costs").locator("button").focus()
    page.keyboard.press("Enter")
    assert heading(page, 1, "#costs").get_attribute("aria-sort") == "ascending"
    assert order(page, "#costs") == list(KID)
    page.keyboard.press("Space")
    assert order(page, "#costs") == list(KID)[::-1]
    assert page.locator("#costs [role=status]").text_content() == (
        "Sorted by time an image, highest first."
    )
    assert page.locator("#numbers [aria-sort]").count() == 0


def test_a_picture_opens_and_closes_by_keys(page):
    page = page()
    viewer = page.locator("#viewer")
    thumbnail(page, 0, 2).focus()
    page.keyboard.press("Enter")
    assert viewer.is_visible()
    assert page.locator("#viewer-title").text_content() == f"{next(iter(KID))} · 0.png"
    assert page.locator("#after").get_attribute("alt") == f"0.png by {next(iter(KID))}"
    assert page.locator("#before").get_attribute("alt") == "Left of the line: Content 0.png"
    assert page.locator("#facts").last.text_content().startswith("Of this pair: LPIPS 0")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    assert not viewer.is_visible()
    focused = page.evaluate(
        "[document.activeElement.dataset.row, document.activeElement.dataset.column]"
    )
    assert focused == ["0", "3"]  # the picture that was looked at last


def test_arrows_move_to_neighbours_and_over_gaps(page):
    page = page()
    title = page.locator("#viewer-title")
    thumbnail(page, 0, 3).click()
    for key, expected in (
        ("ArrowDown", "b · 2.png"),  # there is no picture of the second pair
        ("ArrowUp", "b · 0.png"),
        ("ArrowUp", "b · 0.png"),  # the first row
        ("ArrowLeft", f"{next(iter(KID))} · 0.png"),
        ("ArrowLeft", "Style image · 0.png"),
        ("ArrowLeft", "Content · 0.png"),
        ("ArrowLeft", "Content · 0.png"),
        ("ArrowDown", "Content · 1.png"),
    ):
        page.keyboard.press(key)
        assert title.text_content() == expected
    assert not page.locator("#split").is_visible()  # nothing to compare a content with
    page.locator('[data-step="0,1"]').click()
    assert title.text_content() == "Style image · 1.png"
    assert page.locator('[data-step="0,1"]').get_attribute("aria-disabled") == "false"


def test_the_line_moves_by_keys_by_hand_and_on_the_picture(page):
    page = page()
    thumbnail(page, 0, 2).click()

    def cut():
        clip = page.locator("#before").evaluate("image => getComputedStyle(image).clipPath")
        width = page.locator("#before").evaluate("image => image.clientWidth")
        return page.locator("#split").input_value(), clip, width

    start, clip, _ = cut()
    assert start == "50"
    page.locator("#split").focus()
    page.keyboard.press("ArrowRight")
    moved, other, _ = cut()
    assert moved == "51"
    assert other != clip
    assert (
        page.locator("#viewer-title").text_content().endswith("0.png")
    )  # the arrow was the line's
    box = page.locator("#stage").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 4, box["y"] + 20)
    assert cut()[0] == "25"
    page.locator("#split").fill("100")
    assert "calc(0%" in cut()[1] or "0px" in cut()[1]


def test_any_other_picture_may_be_left_of_the_line(page):
    page = page()
    thumbnail(page, 0, 2).click()
    page.locator("#other").select_option("b")
    assert page.locator("#before").get_attribute("alt") == "Left of the line: 0.png by b"
    page.locator("#close").focus()
    page.keyboard.press("ArrowDown")  # there is none by b: the content again
    assert page.locator("#before").get_attribute("alt") == "Left of the line: Content 1.png"


def test_later_rows_are_a_click_away_or_shown_for_the_viewer(page):
    page = page()
    rows = page.locator(".grid tbody tr")
    assert [row.is_visible() for row in rows.all()] == [True] * 4 + [False] * 2
    page.get_by_role("button", name="Show all 6 rows").click()
    for row in rows.all():
        row.wait_for(state="visible")
    assert page.evaluate("document.activeElement.dataset.row") == "4"
    page.reload()
    thumbnail(page, 3, 2).click()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")
    thumbnail(page, 4, 2).wait_for(state="visible")  # the viewer closes when it likes


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_hangs_over_the_side(page, width):
    page = page(viewport={"width": width, "height": 800})
    for _ in range(2):
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide == width
        for details in page.locator("details").all():
            details.evaluate("element => { element.open = true; }")
    thumbnail(page, 0, 2).click()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    viewer = page.locator("#viewer").evaluate("e => [e.scrollWidth, e.clientWidth]")
    assert viewer[0] == viewer[1]


def test_the_first_column_stays_while_a_table_scrolls(page):
    page = page(viewport={"width": 400, "height": 800})
    for cell, box in (
        (".numbers tbody th", "#numbers .scroll"),
        (".grid tbody th", "#pictures .scroll"),
    ):
        before = page.locator(cell).first.bounding_box()["x"]
        page.locator(box).evaluate("box => box.scrollBy(200, 0)")
        assert page.locator(box).evaluate("box => box.scrollLeft") == 200
        assert page.locator(cell).first.bounding_box()["x"] == before


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_schemes(page, scheme):
    page = page(color_scheme=scheme)
    colours = page.evaluate(
        """() => {
          const canvas = document.createElement("canvas").getContext("2d");
          const rgb = (name) => {
            canvas.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name);
            return canvas.fillStyle;
          };
          return Object.fromEntries(
            ["paper", "soft", "ink", "muted", "accent", "bad"].map((n) => [n, rgb(`--${n}`)])
          );
        }"""
    )
    assert (luminance(colours["paper"]) > 0.5) == (scheme == "light")
    body = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert body == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(22, 24, 27)")
    for paper in ("paper", "soft"):
        for ink in ("ink", "muted", "accent", "bad"):
            one, other = sorted(luminance(colours[name]) for name in (paper, ink))
            assert (other + 0.05) / (one + 0.05) >= 4.5, (paper, ink)
    title = page.locator(".plot text").first.evaluate("text => getComputedStyle(text).fill")
    assert title != "rgb(0, 0, 0)"  # a variable of the page


def luminance(colour):
    """Relative luminance of #rrggbb, as the guidelines for contrast define it (WCAG 2.2)."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_without_scripts_everything_is_there(page):
    page = page(java_script_enabled=False)
    assert page.locator(".grid tbody tr").last.is_visible()
    assert not page.locator("#more").is_visible()
    assert not page.locator("#viewer").is_visible()


def test_commands_can_be_copied(page):
    page = page(permissions=["clipboard-read", "clipboard-write"])
    button = page.locator("#again button.copy")
    button.click()
    playwright.expect(button).to_have_text("Copied")  # once the browser has done it
    assert page.evaluate("navigator.clipboard.readText()") == (
        "python -m gan_style compare --config experiments/compare_toy.toml"
    )
