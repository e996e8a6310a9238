"""The report in a real browser: legible, in both themes, on paper and on narrow screens. BRAID_SCREENS=FOLDER keeps
the pictures for looking at."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from braid.report.blocks import Matrix, Section
from braid.report.page import report, written

pytest.importorskip("matplotlib")
image = pytest.importorskip("PIL.Image")

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here (Debian: apt-get install chromium)")

LOOK = """<!DOCTYPE html><meta charset="utf-8"><body><iframe src="PAGE" style="width:WIDTHpx;height:900px;border:0">
</iframe><pre id="found"></pre><script>
document.querySelector("iframe").onload = (event) => {
  const page = event.target.contentDocument, root = page.documentElement;
  const clash = [];
  for (const svg of page.querySelectorAll("svg")) {
    const texts = [...svg.querySelectorAll("text")].filter((one) => one.textContent.trim())
      .map((one) => [one.textContent, one.getBoundingClientRect()]);
    for (let a = 0; a < texts.length; a++) for (let b = 0; b < a; b++) {
      const [p, q] = [texts[a][1], texts[b][1]];
      const wide = Math.min(p.right, q.right) - Math.max(p.left, q.left);
      const high = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
      if (wide > 1 && high > 0.35 * Math.min(p.height, q.height)) clash.push([texts[a][0], texts[b][0]]);
    }
    const box = svg.getBoundingClientRect();
    for (const [text, r] of texts) if (r.right > box.right + 1 || r.left < box.left - 1) clash.push([text, "edge"]);
  }
  const sizes = [...page.querySelectorAll("svg text")].map((one) => one.getBoundingClientRect().height);
  const cut = [...page.querySelectorAll("th, td")].filter((one) => one.scrollWidth > one.clientWidth + 1);
  document.getElementById("found").textContent = JSON.stringify({
    clash, cut: cut.map((one) => one.textContent),
    overflow: root.scrollWidth - root.clientWidth, smallest: Math.min(...sizes), height: root.scrollHeight,
    plots: page.querySelectorAll("figure svg").length,
  });
};
</script>"""


def browse(*options: str, page: Path, profile: Path) -> str:
    assert BROWSER is not None
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
    done = subprocess.run(
        [BROWSER, *flags, *options, page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout


def look(page: Path, width: int, folder: Path) -> dict[str, object]:
    """What a script finds in the page at this width."""
    frame = folder / f"look-{width}.html"
    frame.write_text(LOOK.replace("PAGE", page.as_uri()).replace("WIDTH", str(width)), encoding="utf-8")
    flags = ("--allow-file-access-from-files", "--virtual-time-budget=20000", "--dump-dom")
    dom = browse(*flags, page=frame, profile=folder / "profile")
    found = re.search(r'<pre id="found">(.*?)</pre>', dom, re.S)
    assert found is not None
    assert found[1], "the page did not load"
    return dict(json.loads(unescape(found[1])))


def picture(page: Path, name: str, folder: Path, *, dark: bool, width: int = 1100, height: int = 2400) -> Path:
    kept = os.environ.get("BRAID_SCREENS")
    path = (Path(kept) if kept else folder) / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    theme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    browse(theme, f"--window-size={width},{height}", f"--screenshot={path}", page=page, profile=folder / "profile")
    return path


@pytest.fixture(scope="module")
def page(shipped_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(shipped_run, output=tmp_path_factory.mktemp("one") / "one.html")


@pytest.fixture(scope="module")
def two(shipped_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    shutil.copytree(shipped_run, folder / "a-second-run-with-a-longer-name")
    return report(shipped_run, folder / "a-second-run-with-a-longer-name", output=folder / "two.html")


@pytest.mark.parametrize("width", [1280, 800, 390])
def test_no_text_lies_over_another_and_nothing_is_wider_than_the_window(page: Path, width: int, tmp_path: Path) -> None:
    found = look(page, width, tmp_path)
    assert found["plots"]
    assert found["clash"] == []
    assert found["cut"] == []
    assert found["overflow"] == 0
    assert float(str(found["smallest"])) >= 9  # pixels, ascenders to descenders


def test_long_names_of_labels_keep_to_their_columns(tmp_path: Path) -> None:
    """As ATIS has them: in the head of a matrix they stand upright."""
    names = [f"atis_ground_service#atis_{k}_airfare" for k in range(20)]
    counts = [[int(a == b) * 100 + a * b for b in range(20)] for a in range(20)]
    blocks = [Matrix(names, counts, [[0.5] * 20] * 20), Matrix(["正面", "负面"], [[1, 2], [3, 4]], [[0.5, 0.5]] * 2)]
    page = tmp_path / "long.html"
    page.write_text(written("long", [Section("classes", "Classes", "", blocks)]), encoding="utf-8")
    for width in (1280, 390):
        found = look(page, width, tmp_path)
        assert found["cut"] == []
        assert found["overflow"] == 0
    picture(page, "long", tmp_path, dark=False)


def test_the_look_sees_texts_that_lie_over_each_other(page: Path, tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt.html"
    content = page.read_text(encoding="utf-8")
    spoilt.write_text(content.replace("</svg>", "<text>one</text><text>two</text></svg>", 1), encoding="utf-8")
    assert ["two", "one"] in look(spoilt, 1280, tmp_path)["clash"]  # type: ignore[operator]


def test_two_runs_fit_beside_each_other(two: Path, tmp_path: Path) -> None:
    for width in (1280, 390):
        found = look(two, width, tmp_path)
        assert found["clash"] == []
        assert found["overflow"] == 0


def test_it_is_light_where_light_is_wanted_and_dark_where_dark_is(page: Path, tmp_path: Path) -> None:
    shades = []
    for dark in (False, True):
        shot = picture(page, "dark" if dark else "light", tmp_path, dark=dark)
        grey = image.open(shot).convert("L")
        counts = grey.histogram()
        shades.append((counts.index(max(counts)), grey.getextrema()))
    (light, light_range), (dark_, dark_range) = shades
    assert light > 240
    assert dark_ < 40
    assert light_range[0] < 60  # ink on paper
    assert dark_range[1] > 200  # and light ink on the dark


def test_it_can_be_printed(page: Path, tmp_path: Path) -> None:
    browse(f"--print-to-pdf={tmp_path / 'page.pdf'}", "--no-pdf-header-footer", page=page, profile=tmp_path / "profile")
    content = (tmp_path / "page.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 12


def test_pictures_for_looking_at(page: Path, two: Path, tmp_path: Path) -> None:
    for name, shown, width in (("one-narrow", page, 500), ("two", two, 1280)):
        assert image.open(picture(shown, name, tmp_path, dark=False, width=width, height=4200)).size == (width, 4200)
