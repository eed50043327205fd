"""The report is one page with everything in it."""

import base64
import io
import re
from html.parser import HTMLParser
from itertools import chain
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from PIL import Image

from pipeline.build import open_build
from stages.report.gather import Row, gather
from stages.report.page import overview, render_page
from tests.conftest import run_pipeline


class Page(HTMLParser):
    """Collects what a page loads and shows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[str] = []
        self.outside: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids.add(values.get("id") or "")
        source = values.get("src") or (values.get("href") if tag == "link" else None)
        if source and re.match("data:image/(png|jpeg);base64,", source):
            self.images.append(source)
        elif source:
            self.outside.append(source)


def report(build: Path) -> dict[str, str]:
    """Make a report of 5 samples and return the paths of its files."""
    done = run_pipeline("report", "--build", build, "--samples", "5", "--per-set", "2", "--json")
    assert done.code == 0, done.err
    paths: dict[str, str] = done.json
    return paths


@pytest.fixture(scope="module")
def build(finished_build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that pages may be written to."""
    return Path(copytree(finished_build, tmp_path_factory.mktemp("reported") / "b"))


@pytest.fixture(scope="module")
def made(build: Path) -> dict[str, str]:
    return report(build)


@pytest.fixture
def text(made: dict[str, str]) -> str:
    return Path(made["page"]).read_text()


def test_the_page_holds_everything_itself(text: str) -> None:
    page = Page(text)
    assert page.outside == []
    assert not re.search(r"url\((?!#)", text)  # nothing but references within a picture
    # 5 samples: original, G(w), 2 of randmix, 1 of mix; then 5 pairs for worst and for best
    assert len(page.images) == 5 * (2 + 2 + 1) + 2 * 5 * 2
    first = Image.open(io.BytesIO(base64.b64decode(page.images[0].split(",")[1])))
    assert first.size == (32, 32)
    assert text.count("<svg") == 3
    assert {"gallery", "stages"} <= page.ids
    assert "failures" not in page.ids
    for words in ("learning_rate", "augment/randmix", "shard/randmix-mix", "mean PSNR", "<b>0</b>retried"):
        assert words in text
    assert re.search(r"randmix, layers 4, 5, 6, 7<br>\d+, \d+ flagged", text)


def test_best_and_worst_are_in_order(text: str) -> None:
    worst, best = (
        [float(value) for value in re.findall(r", (-?[\d.]+) dB", part)]
        for part in text.split("Worst inversions")[1].split("Best inversions")
    )
    assert len(worst) == len(best) == 5
    assert worst == sorted(worst)
    assert best == sorted(best, reverse=True)
    assert max(worst) <= min(best)


def test_the_picture_has_a_line_for_each_sample(made: dict[str, str]) -> None:
    pixels = np.asarray(Image.open(made["picture"]))
    assert pixels.shape == (16 + 5 * 64 + 4 * 4, 5 * 64 + 4 * 4, 3)


def test_the_picture_has_a_heading_for_each_set(made: dict[str, str]) -> None:
    ink = (np.asarray(Image.open(made["picture"]))[:16] < 128).any(axis=(0, 2))
    for column, headed in enumerate((True, True, True, True, False)):  # original, G(w), mix, two of randmix
        assert ink[column * 68 : column * 68 + 20].any() == headed, column


def test_a_sample_that_a_set_lacks_leaves_its_place_empty() -> None:
    grey, dark = (np.full((8, 8, 3), value, np.uint8) for value in (128, 0))
    rows = [
        Row(str(i), "c", "train", 0.0, grey, grey, sets) for i, sets in enumerate(({"b": [dark]}, {"a": [dark]}))
    ]
    cells = overview(rows)[16:]
    columns = [[cells[68 * row, 68 * column, 0] for column in range(4)] for row in range(2)]
    assert columns == [[128, 128, 0, 255], [128, 128, 255, 0]]


def test_the_same_build_gives_the_same_page(build: Path, text: str) -> None:
    again = Path(report(build)["page"]).read_text()
    picture = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]+)")
    assert picture.sub("", again) == picture.sub("", text)
    for one, other in zip(picture.findall(again), picture.findall(text), strict=True):
        first, second = (np.asarray(Image.open(io.BytesIO(base64.b64decode(p)))).astype(int) for p in (one, other))
        assert np.abs(first - second).max() <= 1  # rendered twice


def test_large_images_are_shown_as_thumbnails(finished_build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of 32x32 count as large for once."""
    for name, value in (
        ("gather.LARGEST", 16), ("page.EXACT", 8), ("page.LARGEST_CELL", 12), ("page.SMALLEST", 8),
    ):  # fmt: skip
        monkeypatch.setattr(f"stages.report.{name}", value)
    monkeypatch.setattr("pipeline.images.EXACT", 8)
    contents = gather(open_build(finished_build), 3, 1, 0)
    shown = []
    for row in (*contents.gallery, *contents.best, *contents.worst):
        shown += [row.original, row.reconstruction, *chain.from_iterable(row.variants.values())]
    assert {image.shape for image in shown} == {(16, 16, 3)}
    page = render_page(contents)
    assert "pixelated" not in page
    images = Page(page).images
    assert len(images) == len(shown)
    for source in images:
        kind, _, data = source.partition(";base64,")
        assert kind == "data:image/jpeg"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (16, 16)
    assert overview(contents.gallery).shape == (16 + 3 * 16 - 4, 4 * 16 - 4, 3)
