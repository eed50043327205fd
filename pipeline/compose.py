"""Commands made of commands: one calls another as if it had been typed, and gets its summary."""

from typing import Any

import click


def run_command(ctx: click.Context, name: str, arguments: list[str]) -> Any:
    """Run another command of the group; return what it returns.

    Raises:
        SystemExit: it ended with an exit code other than 0.
    """
    group = ctx.find_root().command
    assert isinstance(group, click.Group)
    command = group.get_command(ctx, name)
    assert command is not None, f"the command {name} is not installed"
    try:
        return command.main(arguments, prog_name=f"pipeline {name}", standalone_mode=False)
    except SystemExit as done:
        if done.code:
            raise
        return None
