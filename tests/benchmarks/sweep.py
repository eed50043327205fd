"""Figure 7 of AdvMix: accuracy over the spread of the training colours.

`python -m tests.benchmarks.sweep PICTURE.png 0.05=BUILD 0.1=BUILD …` reads what `pipeline evaluate` wrote to each
build, under whatever `--name`, prints mean ± standard deviation over the seeds as a table, and draws it.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

NAMES = {
    "nominal": "the originals",
    "nominal+mixup": "… with mixup",
    "nominal+at4": "… adversarial training, 4/255",
    "randmix": "RandMix",
    "advmix": "AdvMix",
    "nominal+oracle": "oracle",
}


def read(builds: Mapping[float, Path]) -> pd.DataFrame:
    """Accuracies in % of all seeds: columns `row`, `sigma`, `accuracy`."""
    tables = []
    for sigma, build in builds.items():
        table = pd.concat([pd.read_csv(path) for path in sorted(build.glob("evaluate*/results.csv"))])
        table = table[(table["attack"] == "clean") & table["row"].isin(NAMES)]
        tables.append(pd.DataFrame({"row": table["row"], "sigma": sigma, "accuracy": 100 * table["accuracy"]}))
    return pd.concat(tables, ignore_index=True)


def print_table(measured: pd.DataFrame) -> None:
    """Print a line for each row, a column for each sigma."""
    sigmas = sorted(measured["sigma"].unique())
    print("| trained on | " + " | ".join(f"σ = {sigma}" for sigma in sigmas) + " |")
    print("|---" * (1 + len(sigmas)) + "|")
    cells = measured.groupby(["row", "sigma"])["accuracy"].agg(["mean", "std", "count"])
    for row, name in NAMES.items():
        found = [cells.loc[(row, sigma)] if (row, sigma) in cells.index else None for sigma in sigmas]
        shown = ["" if cell is None else f"{cell['mean']:.1f} ± {cell['std']:.1f}" for cell in found]
        if any(shown):
            print(f"| {name} | " + " | ".join(shown) + " |")
    print(f"{cells['count'].min()} to {cells['count'].max()} seeds")


def draw(measured: pd.DataFrame, picture: Path) -> None:
    """Draw mean and deviation of each row over sigma: all of it, and the upper end."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(10, 3.6), constrained_layout=True)
    for axes, lowest in zip(panels, (0, 88), strict=True):
        for place, (row, name) in enumerate(NAMES.items()):
            found = measured[measured["row"] == row].groupby("sigma")["accuracy"].agg(["mean", "std"])
            if len(found):
                beside = found.index + 0.0012 * (place - len(NAMES) / 2)  # so that bars do not hide each other
                style = {"color": f"C{place}", "marker": "o", "capsize": 3, "label": name}
                axes.errorbar(beside, found["mean"], found["std"], **style)
        axes.set(xlabel="σ of the training colours", ylim=(lowest, 100))
        axes.set_xticks(sorted(measured["sigma"].unique()))
        axes.grid(alpha=0.3)
    panels[0].set(ylabel="accuracy on any colour, %")
    panels[1].set(title="the upper end")
    panels[1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


def main() -> None:
    """Print and draw."""
    builds = {float(sigma): Path(build) for sigma, _, build in (pair.partition("=") for pair in sys.argv[2:])}
    measured = read(builds)
    print_table(measured)
    draw(measured, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
