"""The results as one HTML page without outside files."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
import numpy as np

from stages.evaluate.attacks import ATTACKS
from stages.evaluate.results import Cell, shown

TEMPLATE = Path(__file__).with_name("page.html")


def render_page(dataset: str, table: Sequence[Cell], settings: dict[str, Any]) -> str:
    """The page as HTML."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    rows, attacks = names(table)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        dataset=dataset,
        attacks=[(ATTACKS[name].title, count_of(table, name)) for name in attacks],
        rows=[(row, [shown(cell) for cell in table if cell.row == row]) for row in rows],
        seeds=table[0].seeds,
        plot=plot(table),
        settings=settings,
    )


def names(table: Sequence[Cell]) -> tuple[list[str], list[str]]:
    """Rows and attacks, in order."""
    return list(dict.fromkeys(cell.row for cell in table)), list(dict.fromkeys(cell.attack for cell in table))


def count_of(table: Sequence[Cell], attack: str) -> int:
    """Test images of an attack."""
    return next(cell.samples for cell in table if cell.attack == attack)


def plot(table: Sequence[Cell]) -> str:
    """Bars with their deviations as SVG, a group for each row."""
    from matplotlib.figure import Figure

    rows, attacks = names(table)
    width = 0.8 / len(attacks)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "onmanifold"}):
        figure = Figure(figsize=(max(4.0, 1.4 * len(rows) + 1.5), 3), layout="constrained")
        axes = figure.subplots()
        for number, attack in enumerate(attacks):
            mine = [cell for cell in table if cell.attack == attack]
            places = np.arange(len(rows)) + (number - (len(attacks) - 1) / 2) * width
            heights = [100 * cell.mean for cell in mine]
            axes.bar(places, heights, width, yerr=[100 * (c.sd or 0) for c in mine], label=ATTACKS[attack].title)
        axes.set_xticks(range(len(rows)), rows)
        axes.set_ylim(0, 100)
        axes.set_ylabel("accuracy, %")
        axes.legend(frameon=False, fontsize="small", ncols=2)
        axes.spines[["top", "right"]].set_visible(False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "".join(buffer.getvalue().partition("<svg")[1:])
