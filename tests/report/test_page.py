"""The HTML page, in a real browser."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from featurekit import compare
from featurekit.advisor import Advice, Evidence
from featurekit.advisor.growth import Growth
from featurekit.advisor.similarity import Similarity
from featurekit.errors import FeaturekitError
from featurekit.report import advice_text, charts, write_page

# Two networks are compared first, which takes longer than the other tests of reports together.
pytestmark = pytest.mark.slow

NASTY = '<img src=x onerror="document.title=1">&amp;'
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Of two backbones and three heads; classes with names that a page must not obey; mistakes; a bad file."""
    folder = tmp_path_factory.mktemp("page")
    rng = np.random.default_rng(0)
    names = [NASTY.replace("/", ""), "blue", "green"]
    for label, colour in zip(names, [(200, 30, 30), (30, 30, 200), (30, 200, 30)], strict=True):
        (folder / "photos" / label).mkdir(parents=True)
        for i in range(12):
            shown = colour if i % 4 else rng.integers(0, 255, 3)  # some cannot be told
            pixels = np.clip(np.array(shown) + rng.integers(-25, 25, (60, 80, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / label / f"{i} <b>.png")
    (folder / "photos" / "blue" / "bad.png").write_bytes(b"")
    result = compare(
        folder / "photos",
        backbones=["efficientnet_lite0", "efficientnet_lite1"],
        heads=["lda", "centroid", "knn"],
        output=folder / "out",
        curve=True,
    )
    return result, write_page(result, folder / "report" / "report.html", images=folder / "photos")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield opened
        opened.close()


def open_page(browser, path, width=1200, scheme="light"):
    view = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    view.messages, view.requests = [], []
    view.on("console", lambda message: view.messages.append(message.text))
    view.on("pageerror", lambda error: view.messages.append(str(error)))
    view.on("request", lambda request: view.requests.append(request.url))
    view.goto(path.as_uri())
    return view


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
@pytest.mark.slow
def test_a_browser_shows_it_and_asks_nobody(page, browser, width, scheme):
    view = open_page(browser, page[1], width, scheme)
    assert view.messages == []
    assert [url for url in view.requests if not url.startswith(("data:", page[1].as_uri()))] == []
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    assert view.title() == "featurekit: 36 images, 3 classes"  # nothing on it was obeyed
    pictures = view.evaluate("[...document.images].map(i => [i.alt, i.complete && i.naturalWidth > 0])")
    assert pictures
    assert all(alt and shown for alt, shown in pictures)
    drawn = view.evaluate("[...document.querySelectorAll('svg')].map(s => [s.ariaLabel, s.clientWidth])")
    assert len(drawn) == 4
    assert all(label and width for label, width in drawn)
    dark = view.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark == ("rgb(22, 24, 28)" if scheme == "dark" else "rgb(255, 255, 255)")
    assert NASTY.replace("/", "") in view.inner_text("body")


@pytest.mark.slow
def test_text_can_be_read_on_its_background(page, browser):
    """Contrast of at least 4.5, as WCAG AA asks, in both themes, shaded cells included."""
    script = """() => {
      const rgb = text => text.match(/[\\d.]+/g).map(Number);
      const over = (a, b) => { const t = a[3] ?? 1; return [0, 1, 2].map(i => a[i] * t + b[i] * (1 - t)); };
      const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
        return .2126 * r + .7152 * g + .0722 * b; };
      const page = rgb(getComputedStyle(document.body).backgroundColor);
      const texts = [...document.querySelectorAll("td, p, h1, h2, small, text, li, span")];
      return texts.filter(e => e.textContent).map(e => {
        const style = getComputedStyle(e), ground = over(rgb(style.backgroundColor), page);
        const colour = rgb(e.tagName === "text" ? style.fill : style.color).slice(0, 3);
        const [a, b] = [light(colour), light(ground)].sort((x, y) => y - x);
        return [(a + .05) / (b + .05), e.textContent.slice(0, 30)];
      }).sort((x, y) => x[0] - y[0])[0]; }"""
    for scheme in ("light", "dark"):
        least, text = open_page(browser, page[1], scheme=scheme).evaluate(script)
        assert least >= 4.5, (scheme, text)


@pytest.mark.slow
def test_the_table_sorts(page, browser):
    view = open_page(browser, page[1])
    column = "[...document.querySelectorAll('.sortable tbody tr')].map(r => r.cells[{}].dataset.v)"
    for number, kind in ((1, str), (2, float), (10, float)):
        head = view.locator(".sortable th").nth(number)
        for direction in ("descending", "ascending"):
            head.locator("button").press("Enter")  # with the keyboard
            assert head.get_attribute("aria-sort") == direction
            values = [kind(value) for value in view.evaluate(column.format(number))]
            assert values == sorted(values, reverse=direction == "descending")
        assert len(view.query_selector_all("[aria-sort]")) == 1


def test_the_numbers_are_those_of_the_comparison(page):
    result, path = page
    text = path.read_text(encoding="utf-8")
    for line in result.results:
        assert f">{line.evaluation.accuracy:.3f}<" in text
    wrong = int((result.best.folded.predictions != result.best.folded.y).sum())
    assert wrong > 0
    assert f"{wrong} of 36 are wrong" in text
    assert len(re.findall("<img src=.data:image/jpeg", text)) == min(wrong, 12)
    assert "bad.png: empty file" in text
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", text)


class Nesting(HTMLParser):
    """Whether every element is closed where it was opened."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attributes):
        if tag not in {"meta", "link", "img", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert tag in {"line", "circle", "polyline", "rect"}

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_elements_are_closed(page):
    parser = Nesting()
    parser.feed(page[1].read_text(encoding="utf-8"))
    assert parser.open == []


def test_pictures_only_of_the_files_that_were_seen(page, tmp_path):
    """Changed or gone since: no other picture takes its place."""
    result, _ = page
    for store in result.stores:
        store.provenance["root"] = str(tmp_path)
    text = write_page(result, tmp_path / "r.html", images=tmp_path).read_text(encoding="utf-8")
    assert "there is no such file now" in text
    assert "<img" not in text


def test_one_head_without_probabilities_and_without_mistakes(digits_store, tmp_path):
    from sklearn.linear_model import RidgeClassifier

    result = compare(digits_store, heads=[RidgeClassifier()])
    text = write_page(result, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Calibration of" not in text
    assert "Learning curve" not in text


def test_a_page_that_cannot_be_written_is_an_error(digits_store, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FeaturekitError, match="cannot write .*File exists"):
        write_page(compare(digits_store, heads=["centroid"]), tmp_path / "file" / "r.html")


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.85, 0.87), (-3, 1e4), (5, 5.0001)])
def test_ticks_are_round_and_inside(low, high):
    ticks = charts._ticks(low, high)
    assert 3 <= len(ticks) <= 6
    assert all(low <= tick <= high for tick in ticks)
    assert np.allclose(np.diff(ticks), ticks[1] - ticks[0])


def test_ticks_of_logarithms():
    assert charts._powers(-0.1, 1.2) == [1, 2, 5, 10]
    assert len(charts._powers(np.log10(60), np.log10(90))) >= 2
    assert len(charts._powers(np.log10(0.012), np.log10(0.018))) >= 2
    assert charts._powers(0, 4.5) == [1, 10, 100, 1000, 10000]


@pytest.mark.slow
def test_advice_comes_first(page, browser, tmp_path):
    comparison, _ = page
    points = [(10.0, 0.5, 0.4, 0.6), (20.0, 0.6, 0.5, 0.7), (40.0, 0.65, 0.6, 0.7)]
    shift = {"stem": 0.1, "blocks.0": 0.3, "top": 0.2}
    evidence = Evidence(
        comparison=comparison,
        growth=Growth(points, 0.3, 1.0, 0.5, (0.03, 0.0, 0.06)),
        similarity=Similarity(shift, 0.4, 2.0, 36, (3, 7), np.arange(36), None),
        untested=[f"the head {NASTY}"],
    )
    advice = Advice(
        verdict="cannot tell",
        do="fine-tune",
        sure="unsure",
        reasons=[f"36 images of {NASTY}"],
        command="featurekit finetune 'my photos' -o model",
        options={},
        minutes={"transfer": 0.1, "fine-tune": 2.0},
        disk={"transfer": 100_000},
        evidence=evidence,
        seconds=10.0,
        budget=60.0,
    )
    view = open_page(browser, write_page(comparison, tmp_path / "report.html", advice=advice), 390)
    assert view.messages == []
    assert view.title() == "featurekit: 36 images, 3 classes"
    assert view.locator("h2").all_inner_texts()[:2] == ["Advice", "Heads"]
    assert "Cannot tell; meanwhile: fine-tune the network's upper stages (unsure)." in view.inner_text("main")
    assert view.locator("code").inner_text() == advice.command
    assert view.locator("svg[aria-label^='Learning curve of the frozen features']").count() == 1
    assert view.evaluate("document.documentElement.scrollWidth") <= 390
    assert "Not tested:" in advice_text(advice)
    assert "fine-tune 2.0 minutes" in advice_text(advice)
