"""The reports in a real browser: whole, quiet, within the screen, legible, light and dark."""

import pytest

from llmclf_core.config import CompareConfig
from llmclf_core.evaluation.compare import compare
from llmclf_core.evaluation.pages import render_comparison
from llmclf_core.evaluation.plots import CostPoint, cost_svg
from llmclf_core.evaluation.report import render
from llmclf_core.failures import Failure
from tests.browser.conftest import DESKTOP, PHONE
from tests.unit.evaluation.simulated import TAGS, corpus_of, trial, trials

CONFIG = CompareConfig(bootstrap=200)
LONG = "/data/a-very/long-path/that-has/no-place/to-break/anywhere-in-it/" + "x" * 80

# Text with less contrast than WCAG 2 asks for (4.5, level AA).
CONTRAST = """
const rgb = text => {
  const [r, g, b, a] = text.match(/[0-9.]+/g).map(Number);
  return [r, g, b, a ?? 1];
};
const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3]));
const behind = element => {
  const layers = [];
  for (let e = element; e; e = e.parentElement)
    layers.unshift(rgb(getComputedStyle(e).backgroundColor));
  return layers.reduce((under, top) => over(top, under), [255, 255, 255]);
};
const light = c => {
  const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const [r, g, b] = c.map(v => linear(v / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const poor = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  const element = node.parentElement, box = element.getBoundingClientRect();
  if (!node.data.trim() || !box.width || element.closest('style')) continue;
  const style = getComputedStyle(element), ground = behind(element);
  const ink = over(rgb(element.closest('svg') ? style.fill : style.color), ground);
  const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < 4.5) poor.push([node.data.trim().slice(0, 40), ratio.toFixed(2), ink, ground]);
}
return poor;
"""


def pages():
    """Every kind of page, by name."""
    news, tags = corpus_of(rows=200), corpus_of(TAGS, "multi", 200)
    missing = [Failure("head", 0, "finetune-head", f"cannot read {LONG}")]
    return {
        "single": comparison_page(news, trials(news, seeds=(0, 1, 2))),
        "multi": comparison_page(tags, trials(tags)),
        "two": comparison_page(news, trials(news, ("tfidf", "head"))),
        "failed": comparison_page(news, trials(news, ("tfidf",)), missing),
        "evaluation": render(trial(news, "head", 0)),
    }


def comparison_page(corpus, evaluations, missing=()):
    comparison = compare(evaluations, list(missing), CONFIG)
    return render_comparison(comparison, evaluations, corpus)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("pages")
    found = {}
    for name, text in pages().items():
        found[name] = directory / f"{name}.html"
        found[name].write_text(text, "utf-8")
    return found


NAMES = ["single", "multi", "two", "failed", "evaluation"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_page_opens_quietly_and_keeps_within_the_screen(show, files, name, width):
    page = show(files[name], width=width)
    assert page.console == []
    assert page.requests == [files[name].as_uri()]
    for opened in (False, True):
        if opened:
            page.open_details()
        assert page.run("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", NAMES)
def test_every_plot_is_drawn(show, files, name):
    page = show(files[name])
    page.open_details()
    boxes = page.boxes("svg")
    assert len(boxes) == files[name].read_text("utf-8").count("<svg")
    assert all(width > 80 and height > 60 for width, height in boxes)
    assert all(width > 0 and height > 0 for width, height in page.boxes("svg text"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(show, files, name, scheme):
    page = show(files[name], scheme=scheme)
    page.open_details()
    assert page.run(CONTRAST) == []
    page.run("document.querySelector('.answer').style.color = 'rgb(128 128 128 / .8)'")
    assert len(page.run(CONTRAST)) == 1


def test_dark_mode_is_dark(show, files):
    colours = {}
    for scheme in ("light", "dark"):
        page = show(files["single"], scheme=scheme)
        colours[scheme] = page.run(
            "const s = e => getComputedStyle(document.querySelector(e));"
            "return [s('body').backgroundColor, s('body').color, s('svg').color, s('.badge').color]"
        )
    assert all(a != b for a, b in zip(*colours.values(), strict=True))
    assert colours["dark"][0] == "rgb(18, 23, 29)"


def test_text_in_plots_is_legible_on_a_phone(show, files):
    page = show(files["single"], width=PHONE)
    (height, *_) = sorted(
        page.run(
            "return [...document.querySelectorAll('.pareto svg text')]"
            ".map(e => e.getBoundingClientRect()).map(b => Math.min(b.width, b.height))"
        )
    )
    assert height >= 9


CUT_OFF = """
const cut = [];
for (const text of document.querySelectorAll('svg text')) {
  const box = text.getBoundingClientRect(), frame = text.ownerSVGElement.getBoundingClientRect();
  if (box.width && (box.left < frame.left - 1 || box.right > frame.right + 1
      || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)) cut.push(text.textContent);
}
return cut;
"""


@pytest.mark.parametrize("name", ["single", "multi"])
def test_no_text_in_plots_is_cut_off(show, files, name):
    page = show(files[name])
    page.open_details()
    assert page.run(CUT_OFF) == []


def test_names_in_a_crowded_cost_plot_are_not_cut_off(show, tmp_path):
    crowded = [("TF-IDF", 60, 0.974), ("Frozen probe", 14760, 0.963), ("Encoder", 2460, 0.939)]
    crowded += [("LLM with head", 11160, 0.958), ("Instructed LLM", 22680, 0.95)]
    points = [CostPoint(n, s, f1, f1 - 0.02, f1 + 0.02, False, False) for n, s, f1 in crowded]
    file = tmp_path / "plot.html"
    file.write_text(f"<main>{cost_svg(points, 'Macro F1', 'a plot')}</main>", "utf-8")
    page = show(file)
    assert page.run("return document.querySelectorAll('svg text').length") > len(points)
    assert page.run(CUT_OFF) == []


def test_print_shows_what_is_folded_and_no_links(show, files):
    page = show(files["single"], media="print")
    shown = page.boxes("details.approach:not([open]) svg")
    assert shown
    assert all(width > 0 and height > 0 for width, height in shown)
    assert page.boxes("nav") == [[0, 0]]
    assert page.run("return getComputedStyle(document.body).color") == "rgb(0, 0, 0)"


def test_only_the_champion_is_unfolded(show, files):
    page = show(files["single"])
    opened = page.run(
        "return [...document.querySelectorAll('details.approach[open] summary .badge')].length"
    )
    assert opened == len(page.boxes("details.approach[open]")) == 1
