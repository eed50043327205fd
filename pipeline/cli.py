"""The `pipeline` command: finds commands by entry point, shows errors in one sentence.

Only the command that is called gets imported, so that `pipeline --help` answers at once.
"""

import os
import sys
from importlib.metadata import EntryPoint, entry_points, version
from io import TextIOWrapper
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from pipeline.errors import PipelineError, sentence_of

COMMANDS = "onmanifold.commands"

# The order of a dataset's life; what is not named here comes last.
ORDER = (
    "demo",
    "datasets",
    "weights",
    "train-generator",
    "train-perceptual",
    "train-encoder",
    "shift-generator",
    "invert",
    "directions",
    "augment",
    "shard",
    "build-om-imagenet",
    "evaluate",
    "report",
    "status",
    "verify",
)


class Commands(click.Group):
    """A group whose commands are entry points."""

    def _points(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=COMMANDS)}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, in the order in which one uses them."""
        names = self._points()
        return sorted(names, key=lambda n: (ORDER.index(n) if n in ORDER else len(ORDER), n))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        point = self._points().get(cmd_name)
        if point is None:
            return None
        command: click.Command = point.load()
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command. An empty argument, as an unset shell variable leaves it, is refused for all of them."""
        for before, argument in pairwise(args):
            if argument == "" or (argument.startswith("--") and argument.endswith("=")):
                name = argument[:-1] or (before if before.startswith("--") else "an argument")
                raise click.UsageError(f"{name} is empty: give it a value, or leave it out")
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("onmanifold"), prog_name="onmanifold")
def pipeline() -> None:
    """Turn an image dataset and a StyleGAN into W+ latents, semantic variants and training shards.

    Every command goes on where it was stopped. A first look, with nothing to download:

    \b
        pipeline demo
    """


def main(args: list[str] | None = None) -> None:
    """Entry point. Exit codes: 0 done, 1 `verify` found something, 2 bad input, 130 interrupted."""
    if args is None and sys.getfilesystemencoding() != "utf-8":
        read_names_as_utf8()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # no letter is worth a traceback
    try:
        check_working_folder()
        code: Any = pipeline.main(args=args, prog_name="pipeline", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = 2
    except PipelineError as error:
        code = fail(str(error))
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted; what was finished is kept. The same command goes on from there.", err=True)
        code = 130
    except OSError as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        code = fail(sentence)
    sys.exit(code if isinstance(code, int) else 0)


def read_names_as_utf8() -> None:
    """Begin this process anew in Python's UTF-8 mode: names of files and samples are UTF-8 in every build."""
    os.environ["PYTHONUTF8"] = "1"  # for the workers
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def check_working_folder() -> None:
    """Raise PipelineError if it is gone: libraries, and processes that are started, do not survive that."""
    try:
        Path.cwd()
    except OSError as error:
        raise PipelineError(
            f"the working folder is gone ({error.strerror}): change to one that is there"
        ) from error


def fail(sentence: str) -> int:
    """Show an error the user can mend and return its exit code."""
    click.echo(f"Error: {sentence}", err=True)
    return 2
