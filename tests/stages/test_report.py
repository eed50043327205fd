"""The report is one page with everything in it."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
        if source and source.startswith("data:image/png;base64,"):
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
def made(finished_build: Path) -> dict[str, str]:
    return report(finished_build)


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
    assert pixels.shape == (5 * 64 + 4 * 4, 5 * 64 + 4 * 4, 3)


def test_the_same_build_gives_the_same_page(finished_build: Path, text: str) -> None:
    assert Path(report(finished_build)["page"]).read_text() == text
