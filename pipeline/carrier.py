"""How a call gets to a worker, and what went wrong there back, whatever software the worker has."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def carrier() -> Callable[[bytes], Any]:
    """A function that makes the call it is sent.

    It travels as code, and the call as bytes: so neither a scheduler nor a worker without this program stumbles
    over the message; and errors come back as text, which any machine can read.
    """

    def carry(call: bytes) -> Any:
        import traceback

        from distributed import get_worker
        from distributed.protocol.pickle import loads

        kind = "unknown"
        try:
            function = loads(call)
            kind = "bug"
            return function()
        except Exception as error:  # noqa: BLE001 - it is raised below, without what cannot be sent
            text = f"{type(error).__name__}: {error}"
            if any(each.__name__ == "PipelineError" for each in type(error).__mro__):
                kind, text = "mendable", str(error)
            try:
                worker = get_worker().address
            except ValueError:
                worker = ""
            failure = RuntimeError("onmanifold", kind, worker, text, traceback.format_exc())
        raise failure

    return carry


def packed(call: Callable[[], Any]) -> bytes:
    """A call as `carrier`'s function takes it."""
    from distributed.protocol.pickle import dumps

    return bytes(dumps(call))


@dataclass(frozen=True)
class Failure:
    """What went wrong on a worker.

    Attributes:
        kind: `unknown` if the call was not understood there, `mendable` if `text` is for the user, or `bug`.
        worker: its address, if it is known.
    """

    kind: str
    worker: str
    text: str
    trace: str

    @classmethod
    def of(cls, error: BaseException) -> "Failure | None":
        """What an error tells that `carrier`'s function has raised; None if it is another one."""
        return cls(*error.args[1:]) if error.args[:1] == ("onmanifold",) and len(error.args) == 5 else None

    def keep_trace(self) -> str:
        """Put the traceback into a file, and say where."""
        try:
            with tempfile.NamedTemporaryFile("w", prefix="onmanifold-", suffix=".txt", delete=False) as file:
                file.write(self.trace)
        except OSError:
            return "the worker's log has the traceback"
        return f"the traceback is in {file.name}"


def name_of(error: BaseException) -> str:
    """An error in a few words."""
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
