"""The report is one page with everything in it."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
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


def test_the_page_holds_everything_itself(finished_build: Path) -> None:
    done = run_pipeline("report", "--build", finished_build, "--samples", "5", "--per-set", "2", "--json")
    text = Path(done.json["page"]).read_text()
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
    for words in ("learning_rate", "augment/randmix", "shard/randmix-mix", "mean PSNR"):
        assert words in text


def test_best_and_worst_are_in_order(finished_build: Path) -> None:
    done = run_pipeline("report", "--build", finished_build, "--samples", "4", "--json")
    text = Path(done.json["page"]).read_text()
    worst, best = (
        [float(value) for value in re.findall(r", (-?[\d.]+) dB", part)]
        for part in text.split("Worst inversions")[1].split("Best inversions")
    )
    assert len(worst) == len(best) == 4
    assert worst == sorted(worst)
    assert best == sorted(best, reverse=True)
    assert max(worst) <= min(best)


def test_the_picture_has_a_line_for_each_sample(finished_build: Path) -> None:
    done = run_pipeline("report", "--build", finished_build, "--samples", "3", "--per-set", "2", "--json")
    pixels = np.asarray(Image.open(done.json["picture"]))
    assert pixels.shape == (3 * 64 + 2 * 4, 5 * 64 + 4 * 4, 3)


def test_the_same_build_gives_the_same_page(finished_build: Path) -> None:
    pages = [
        Path(run_pipeline("report", "--build", finished_build, "--json").json["page"]).read_bytes() for _ in "ab"
    ]
    assert pages[0] == pages[1]
