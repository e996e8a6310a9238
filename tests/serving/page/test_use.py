"""The page for people: with the keyboard alone, on a phone, in the dark; what is written can be read.

The screenshots are for people to look at; `BRAID_SCREENSHOTS=DIR` keeps them.
"""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from serving.page.parts import NO_PLAYWRIGHT, PAIR, TEXT, predict

pytest.importorskip("fastapi", reason="no server: pip install 'braid-nlp[serve]'")
sync_api = pytest.importorskip("playwright.sync_api", reason=NO_PLAYWRIGHT)

PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}


def test_the_keyboard_is_enough(open_page: Any) -> None:
    page = open_page()
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        seen = page.evaluate(
            """() => { const one = document.activeElement, style = getComputedStyle(one);
            return [one.id || one.closest('label, summary, .wide')?.textContent || one.textContent,
                    style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2]; }"""
        )
        if seen[0] in [name for name, _ in reached]:
            break
        reached.append(seen)
    names = [name for name, _ in reached]
    wanted = ["theme", "text", "words", "pair", "options", "candidates", "example", "fill", "all", "none", "predict"]
    assert [name for name in names if name in wanted] == wanted
    assert all(ring for name, ring in reached if name), [name for name, ring in reached if not ring]
    page.uncheck("#live")
    page.focus("#text")
    page.keyboard.press("Control+A")
    page.keyboard.type("typed by hand")
    with page.expect_request("**/predict") as sent:
        page.keyboard.press("Control+Enter")
    assert json.loads(sent.value.post_data)["inputs"] == [{"text": "typed by hand"}]


CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = ([r, g, b]) => { const part = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b); };
  const behind = (one) => { for (; one; one = one.parentElement) {
    const colour = rgb(getComputedStyle(one).backgroundColor); if (colour[3] === 255) return colour; }
    return [255, 255, 255]; };
  const found = [];
  for (const one of document.body.querySelectorAll('*')) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !one.checkVisibility() || one.disabled) continue;
    const svg = one instanceof SVGElement, style = getComputedStyle(one);
    const [a, b] = [light(rgb(svg ? style.fill : style.color)), light(behind(one))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), one.className.baseVal ?? one.className, one.textContent.slice(0, 40)]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_and_everything_has_a_name(scheme: str, open_page: Any) -> None:
    page = open_page(color_scheme=scheme)
    predict(page, text=TEXT, pair=PAIR, options="a\nb")
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    found = page.evaluate(CONTRAST)
    assert len(found) > 100
    assert [one for one in found if one[0] < 4.5] == []  # WCAG 2.2, 1.4.3
    nameless = """() => [...document.querySelectorAll('input, select, textarea, button, a, [role=region], [role=img]')]
        .filter((one) => !(one.labels?.length || one.textContent.trim() || one.ariaLabel
                           || one.getAttribute('aria-labelledby'))).map((one) => one.outerHTML)"""
    assert page.evaluate(nameless) == []
    levels = page.eval_on_selector_all("h1, h2, h3, h4", "all => all.map(one => +one.tagName[1])")
    assert levels[0] == 1
    assert all(below <= above + 1 for above, below in itertools.pairwise(levels))


def test_the_theme_is_chosen_and_remembered(open_page: Any) -> None:
    page = open_page(color_scheme="light")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    page.click("#theme")
    assert page.locator("#theme").inner_text() == "Theme: dark"
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != before
    page.reload()
    page.wait_for_selector(".card")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


OVERLAPS = """() => {
  const boxes = (selector, within = document) => [...within.querySelectorAll(selector)]
    .filter((one) => one.checkVisibility()).map((one) => [one.textContent, one.getBoundingClientRect()]);
  const hit = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  const pairs = [];
  for (const all of [boxes('.card, #form'), boxes('#form .field, #form fieldset, #form > .row'), boxes('.chip'),
                     boxes('header > *'), boxes('.tagged'), ...[...document.querySelectorAll('.tree')]
                     .map((tree) => boxes('text', tree))]) {
    all.forEach(([name, a], k) => all.slice(0, k)
      .forEach(([other, b]) => { if (hit(a, b)) pairs.push([name, other]); }));
  }
  return pairs;
}"""


@pytest.mark.parametrize(
    ("name", "options"),
    [("wide", {}), ("dark", {"color_scheme": "dark", "viewport": {"width": 1000, "height": 900}}), ("phone", PHONE)],
)
def test_nothing_overlaps_on_any_screen(name: str, options: dict[str, Any], open_page: Any, tmp_path: Path) -> None:
    page = open_page(**options)
    fields = {"text": "Anna left New York at 5 😀 他去北京天安门", "pair": PAIR, "options": "surely Rome\nperhaps Oslo"}
    predict(page, **fields, candidates="surely 0 went to Rome\nperhaps 1 went to Oslo\nsurely 4 went to Lima")
    page.click("#request summary")
    width = page.evaluate("innerWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OVERLAPS) == []
    small = """() => [...document.querySelectorAll('button, select, summary, .chip, input')].filter((one) => {
        const box = (one.closest('label') ?? one).getBoundingClientRect();
        return one.checkVisibility() && Math.min(box.width, box.height) < 24; }).map((one) => one.outerHTML)"""
    assert page.evaluate(small) == []  # WCAG 2.2, 2.5.8
    page.evaluate("document.activeElement.blur()")
    folder = Path(os.environ.get("BRAID_SCREENSHOTS", tmp_path))
    page.wait_for_timeout(300)  # bars grow for 0.2 s
    page.screenshot(path=str(folder / f"{name}.png"), full_page=True)
    assert (folder / f"{name}.png").stat().st_size > 20_000
