"""Command-line options: those every stage shares, and those made from a stage's settings."""

import json
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar

import click

from pipeline.config import check_settings, kind_of

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class RunOptions:
    """What every stage's command takes besides its own settings."""

    dataset: str | None
    build: str | None
    limit: int | None
    device: str
    workers: int | None
    scheduler: str | None
    batch_size: int | None
    fresh: bool
    as_json: bool


RUN_OPTIONS = (
    click.option("--dataset", help="A declared dataset's name, or a path to a manifest (NAME.toml)."),
    click.option("--build", help="Build directory.  [default: builds/DATASET, or the only build there is]"),
    click.option("--limit", type=click.IntRange(min=1), help="Only the first so many samples."),
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Where to compute.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(min=0),
        help="Processes on this machine; 0 computes in this one.  [default: one for each core or GPU]",
    ),
    click.option("--scheduler", help="Use the running Dask cluster at this address instead."),
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        help="Images computed at once.  [default: by their size and the memory]",
    ),
    click.option("--fresh", is_flag=True, help="Start this stage over."),
    click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object."),
)


dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Only say what it will take: images, tasks, steps, hours, memory, disk."
)


def build_options(function: F) -> F:
    """Add the options of commands that look at a build: `dataset`, `build` and `as_json`."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
        click.option("--build", help="Build directory.  [default: builds/DATASET, or the only build there is]"),
        click.option("--dataset", help="The build of this dataset."),
    ):
        function = option(function)
    return function


def run_options(function: F) -> F:
    """Add the shared options; the command receives them as one `RunOptions` named `run`."""

    def wrapped(**values: Any) -> Any:
        shared = {f.name: values.pop(f.name) for f in fields(RunOptions)}
        if shared["workers"] is not None and shared["scheduler"] is not None:
            raise click.UsageError("--workers and --scheduler exclude each other")
        return function(run=RunOptions(**shared), **values)

    wrapped.__name__, wrapped.__doc__ = function.__name__, function.__doc__
    wrapped.__click_params__ = list(getattr(function, "__click_params__", []))  # type: ignore[attr-defined]
    for option in reversed(RUN_OPTIONS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


def config_options(config_class: type) -> Callable[[F], F]:
    """Add an option for each field of a settings dataclass; the command receives one object named `config`."""

    def decorate(function: F) -> F:
        names = [f.name for f in fields(config_class)]

        def wrapped(**values: Any) -> Any:
            config = config_class(**{name: values.pop(name) for name in names})
            check_settings(config)
            return function(config=config, **values)

        wrapped.__name__, wrapped.__doc__ = function.__name__, function.__doc__
        wrapped.__click_params__ = list(getattr(function, "__click_params__", []))  # type: ignore[attr-defined]
        for f in reversed(fields(config_class)):
            flag = f"--{f.name.replace('_', '-')}"
            choices = f.metadata["choices"]
            kind: Any = click.Choice(choices) if choices else kind_of(f.type)
            if kind is bool:
                flag, kind = f"{flag}/--no-{flag[2:]}", None
            assert f.default is not MISSING
            wrapped = click.option(
                flag, f.name, type=kind, default=f.default, show_default=True, help=f.metadata["help"]
            )(wrapped)
        return wrapped  # type: ignore[return-value]

    return decorate


def show_summary(summary: dict[str, Any], as_json: bool) -> dict[str, Any]:
    """Print a summary, as one JSON object or a line for each value, and return it."""
    if as_json:
        click.echo(json.dumps(summary))
        return summary
    for key, value in summary.items():
        shown = f"{value:.4g}" if isinstance(value, float) else value
        click.echo(f"  {key.replace('_', ' '):<18} {shown}")
    return summary
