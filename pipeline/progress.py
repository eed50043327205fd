"""Progress with rate and time left: a live line on a terminal, a plain line now and then elsewhere.

What computes a chunk may `report` how much of it is done; who runs the chunk listens. Reports are for people only:
one that is lost, late or repeated changes nothing.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import RLock
from types import TracebackType
from typing import Self, TextIO

from tqdm import tqdm

PLAIN_INTERVAL = 10.0  # seconds from one plain line to the next
REPORT_INTERVAL = 1.0  # seconds from one report that is passed on to the next

Listener = Callable[[float, str], None]  # takes the share of the chunk that is done, and a note
BAR = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


@dataclass
class Reporter:
    """Passes the reports of one chunk on, not too many.

    Attributes:
        begin, end: the part of the chunk that what reports at present is.
        last: when a report was passed on.
    """

    listener: Listener
    begin: float = 0.0
    end: float = 1.0
    last: float = -PLAIN_INTERVAL

    def __call__(self, share: float, note: str) -> None:
        """Pass a report on, if the last one was long enough ago."""
        if time.monotonic() - self.last >= REPORT_INTERVAL:
            self.last = time.monotonic()
            self.listener(self.begin + min(1.0, max(0.0, share)) * (self.end - self.begin), note)


_reporter: ContextVar[Reporter | None] = ContextVar("reporter", default=None)


def report(done: float, total: float, note: str = "") -> None:
    """Say that `done` of `total` steps of the present chunk, or `part` of it, are done; outside one, nothing."""
    reporter = _reporter.get()
    if reporter is not None:
        reporter(done / total if total else 1.0, note)


@contextmanager
def part(begin: float, end: float) -> Iterator[None]:
    """What is reported inside is the part from share `begin` to share `end` of what is reported outside."""
    reporter = _reporter.get()
    if reporter is None:
        yield
        return
    outer = reporter.begin, reporter.end
    width = outer[1] - outer[0]
    reporter.begin, reporter.end = outer[0] + begin * width, outer[0] + end * width
    try:
        yield
    finally:
        reporter.begin, reporter.end = outer


@contextmanager
def listening(listener: Listener | None) -> Iterator[None]:
    """Hand what is reported inside to a listener."""
    token = _reporter.set(None if listener is None else Reporter(listener))
    try:
        yield
    finally:
        _reporter.reset(token)


class Progress:
    """Counts `unit`s up to `total`, those of pieces under way too; write-only and never on standard output.

    Any thread may call it. The clock of rate and time left starts with the first piece that moves, for until then
    nothing is computed.
    """

    def __init__(self, label: str, total: int, unit: str, *, done: int = 0, stream: TextIO | None = None):
        self.label, self.total, self.unit = label, total, unit
        self.finished: float = done
        self.initial = done
        self.under_way: dict[int, float] = {}
        self.over: set[int] = set()
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.began = self.last = time.monotonic()
        self.moving = False
        self.lock = RLock()
        self.bar = (
            tqdm(
                total=total, initial=done, desc=label, unit=f" {unit}", file=self.stream,
                dynamic_ncols=True, smoothing=0.05,
            )
            if self.live
            else None
        )  # fmt: skip

    @property
    def done(self) -> float:
        """Units that are done, whole pieces and parts of others."""
        return self.finished + sum(self.under_way.values())

    def __enter__(self) -> Self:
        if self.bar is not None:
            self.bar.refresh()
        else:
            self._plain()
        return self

    def advance(self, count: float, note: str = "", piece: int | None = None) -> None:
        """Count `count` more as done; of a piece that was under way, all of it."""
        with self.lock:
            before = self.done
            if piece is not None:
                self.under_way.pop(piece, None)
                self.over.add(piece)
            self.finished += count
            self._show(self.done - before, note)

    def move(self, piece: int, count: float, note: str = "") -> None:
        """Of a piece under way, `count` units are done now; fewer than before where it had to be begun anew."""
        with self.lock:
            if piece in self.over:
                return  # a late message
            if not self.moving:
                self.moving, self.began = True, time.monotonic()
                if self.bar is not None:
                    self.bar.bar_format = BAR
                    self.bar.unpause()
            before = self.done
            self.under_way[piece] = count
            self._show(self.done - before, note)

    def _show(self, change: float, note: str) -> None:
        if self.bar is not None:
            if note:
                self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(change)
        elif time.monotonic() - self.last >= PLAIN_INTERVAL:
            self._plain(note)

    def _plain(self, note: str = "") -> None:
        self.last = time.monotonic()
        elapsed, done = self.last - self.began, self.done
        shown = f"{done:.1f}" if done % 1 else f"{done:.0f}"
        line = f"{self.label}: {shown}/{self.total} {self.unit} ({done / max(1, self.total):.0%})"
        if done > self.initial and elapsed > 0:
            rate = (done - self.initial) / elapsed
            left = tqdm.format_interval((self.total - done) / rate)
            pace = f"{rate:.1f} {self.unit}/s" if rate >= 1 else f"{1 / rate:.1f} s each"
            line += f", {pace}, {left} left"
        print(line + (f", {note}" if note else ""), file=self.stream, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()
        elif self.done > self.initial:
            self._plain()
