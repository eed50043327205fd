"""Every command line in the documentation is one that the command line takes."""

import re
import shlex
from functools import partial
from pathlib import Path

import click
import pytest

from pipeline.cli import pipeline as cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LOOP = re.compile(r"for (\w+) in (\S+)[^;]*; do")  # a variable, and its first value
VARIABLE = re.compile(r"\$(\w+)")
SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def command_lines(page: Path) -> list[list[str]]:
    """The words after `pipeline` of each command in a page's shell blocks."""
    found = []
    for block in SHELL.findall(page.read_text(encoding="utf-8")):
        firsts = dict(LOOP.findall(block))
        for written in block.replace("\\\n", " ").splitlines():
            line = VARIABLE.sub(partial(value_of, firsts), written)
            for words in split_commands(shlex.split(line, comments=True)):
                if words[:1] == ["pipeline"]:
                    found.append(words[1:])
    return found


def value_of(firsts: dict[str, str], match: re.Match[str]) -> str:
    """The first value of a loop's variable; others stand as they are."""
    return firsts.get(match[1], match[0])


def split_commands(words: list[str]) -> list[list[str]]:
    """Cut a line at `&&`."""
    parts: list[list[str]] = [[]]
    for word in words:
        if word == "&&":
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_parse(page: Path) -> None:
    for words in command_lines(page):
        name, *arguments = words
        with click.Context(cli) as root:
            command = cli.get_command(root, name)
            assert command is not None, f"{page.name}: pipeline {name}"
            while isinstance(command, click.Group):
                name, *arguments = arguments
                command = command.get_command(root, name)
                assert command is not None, f"{page.name}: pipeline {' '.join(words)}"
            try:
                command.make_context(name, arguments, parent=root)
            except click.UsageError as error:
                pytest.fail(f"{page.name}: pipeline {' '.join(words)}: {error.message}")


def test_there_are_commands_to_check() -> None:
    assert sum(len(command_lines(page)) for page in PAGES) > 60


def test_a_wrong_option_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```sh\npipeline invert --dataset a --sped 3   # fast\n```\n", encoding="utf-8")
    with pytest.raises(pytest.fail.Exception, match="No such option"):
        test_commands_parse(page)
