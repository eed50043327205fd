"""Turns the contents of a report into one HTML page without outside files."""

import base64
import io
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.images import EXACT, Pixels, encode_small, grid, shrunk
from stages.report.gather import METRICS, Contents, Row

GAP, HEADING = 4, 16  # pixels
SMALLEST, LARGEST_CELL = 64, 128  # pixels of an image's side in the overview
TEMPLATE = Path(__file__).with_name("page.html")


def render_page(contents: Contents) -> str:
    """The page as HTML."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["picture"] = data_uri
    samples, psnr = contents.samples, contents.metrics["psnr"]
    failed = samples[samples["status"] == "failed"]
    size = contents.gallery[0].original.shape[0]
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        info=contents.info,
        stages=contents.info.get("stages", {}),
        counts={
            "samples": len(samples),
            **{str(k): int(v) for k, v in samples["status"].value_counts().items()},
            "retried": contents.retried,
        },
        psnr={"mean": float(psnr.mean()), "min": float(psnr.min()), "median": float(np.median(psnr))},
        lpips_mean=float(contents.metrics["lpips"].mean()),
        histograms=[(label, histogram(contents.metrics[name], label)) for name, label in METRICS.items()],
        gallery=contents.gallery,
        best=contents.best,
        worst=contents.worst,
        variant_sets=contents.variant_sets,
        failures=[(row["id"], row["source"], row["error"]) for _, row in failed.head(100).iterrows()],
        more_failures=max(0, len(failed) - 100),
        shown=max(64, size),
        exact=size <= EXACT,
    )


def data_uri(pixels: Pixels) -> str:
    """Pixels uint8 [H, W, 3] as a picture inside the page."""
    kind, data = encode_small(pixels)
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def histogram(values: NDArray[Any], label: str) -> str:
    """A histogram as SVG."""
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "onmanifold"}):
        figure = Figure(figsize=(4, 2.2), layout="constrained")
        axes = figure.subplots()
        axes.hist(values, bins=40, color="#4a6fa5")
        axes.set_xlabel(label)
        axes.set_ylabel("samples")
        axes.spines[["top", "right"]].set_visible(False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue().partition("<svg")[1] + buffer.getvalue().partition("<svg")[2]


def overview(rows: list[Row]) -> Pixels:
    """A picture: one sample a line, its original, its reconstruction and its variants, under their sets' names."""
    scale = max(1, SMALLEST // rows[0].original.shape[0])
    blank = np.full_like(rows[0].original, 255)
    sets = {name: max(len(row.variants.get(name, [])) for row in rows) for row in rows for name in row.variants}
    columns = {"original": 1, "G(w)": 1, **sets}
    cells = []
    for row in rows:
        cells += [row.original, row.reconstruction]
        for name, count in sets.items():
            images = row.variants.get(name, [])
            cells += [*images, *[blank] * (count - len(images))]
    large = np.stack([shrunk(cell, LARGEST_CELL) for cell in cells]).repeat(scale, axis=1).repeat(scale, axis=2)
    sheet = grid(large, columns=sum(columns.values()), gap=GAP)
    return np.concatenate([headings(columns, large.shape[2], sheet.shape[1]), sheet])


def headings(columns: dict[str, int], width: int, total: int) -> Pixels:
    """A line of names [HEADING, total, 3], each over its number of columns `width` wide."""
    line = Image.new("RGB", (total, HEADING), "white")
    draw, font, left = ImageDraw.Draw(line), ImageFont.load_default(11), 0
    for name, count in columns.items():
        room = count * (width + GAP) - GAP
        while len(name) > 1 and draw.textlength(name, font=font) > room:
            name = name[:-1]
        draw.text((left, 1), name, fill="black", font=font)
        left += room + GAP
    return np.asarray(line)
