"""Stage settings: frozen dataclasses whose fields are the command-line options of the same names."""

import hashlib
import json
import math
import shlex
from dataclasses import field, fields
from types import NoneType
from typing import Any, get_args

from pipeline.errors import PipelineError


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    at_least: float | None = None,
    at_most: float | None = None,
) -> Any:
    """Declare a setting with its default, the help its option shows, and the values it may have.

    A setting that may be left unset is None by default and says in its help what is taken then.
    """
    metadata = {"help": help, "choices": choices, "at_least": at_least, "at_most": at_most}
    return field(default=default, metadata=metadata)


def check_settings(config: Any) -> None:
    """Raise PipelineError, naming the option, if a number is out of its range."""
    for f in fields(config):
        value, low, high = getattr(config, f.name), f.metadata["at_least"], f.metadata["at_most"]
        if not isinstance(value, int | float):
            continue
        if not math.isfinite(value) or (low is not None and value < low) or (high is not None and value > high):
            bounds = " and ".join(
                [
                    *([f"at least {low}"] if low is not None else []),
                    *([f"at most {high}"] if high is not None else []),
                ]
            )
            raise PipelineError(
                f"--{f.name.replace('_', '-')} {value}: must be {bounds or 'a finite number'} "
                f"({f.metadata['help']})"
            )


def kind_of(annotation: Any) -> Any:
    """The type of a setting's values; of one that may be unset, of those that are given."""
    return next((kind for kind in get_args(annotation) if kind is not NoneType), annotation)


def stored_settings(config: Any) -> dict[str, Any]:
    """Settings as build.toml and digests hold them: TOML has no None, so an unset text is "", an unset number 0.

    Neither can be given: no option takes an empty text, and the numbers are at least 1.
    """
    values = {f.name: getattr(config, f.name) for f in fields(config)}
    return {f.name: kind_of(f.type)() if values[f.name] is None else values[f.name] for f in fields(config)}


def changed_options(config: Any, among: tuple[str, ...] = ()) -> str:
    """What differs from the defaults, of all settings or of some, as one would type it: ` --name value …`."""
    default, typed = type(config)(), ""
    for f in fields(config):
        value, flag = getattr(config, f.name), f.name.replace("_", "-")
        if value == getattr(default, f.name) or (among and f.name not in among):
            continue
        if isinstance(value, bool):
            typed += f" --{flag}" if value else f" --no-{flag}"
        else:
            typed += f" --{flag} {shlex.quote(str(value))}"
    return typed


def digest_of(content: object) -> str:
    """Digest of anything JSON can hold, independent of key order."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
