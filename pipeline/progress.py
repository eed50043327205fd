"""Progress with rate and time left: a live line on a terminal, a plain line now and then elsewhere."""

import sys
import time
from types import TracebackType
from typing import Self, TextIO

from tqdm import tqdm

PLAIN_INTERVAL = 10.0  # seconds from one plain line to the next


class Progress:
    """Counts `unit`s up to `total`; write-only and never on standard output."""

    def __init__(self, label: str, total: int, unit: str, *, done: int = 0, stream: TextIO | None = None):
        self.label, self.total, self.unit, self.done = label, total, unit, done
        self.initial = done
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.began = self.last = time.monotonic()
        self.bar = (
            tqdm(
                total=total, initial=done, desc=label, unit=f" {unit}", file=self.stream,
                dynamic_ncols=True, smoothing=0.05,
            )
            if self.live
            else None
        )  # fmt: skip

    def __enter__(self) -> Self:
        if self.bar is not None:
            self.bar.refresh()
        else:
            self._plain()
        return self

    def advance(self, count: int, note: str = "") -> None:
        """Count `count` more as done."""
        self.done += count
        if self.bar is not None:
            if note:
                self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(count)
        elif time.monotonic() - self.last >= PLAIN_INTERVAL:
            self._plain(note)

    def _plain(self, note: str = "") -> None:
        self.last = time.monotonic()
        elapsed = self.last - self.began
        share = self.done / max(1, self.total)
        line = f"{self.label}: {self.done}/{self.total} {self.unit} ({share:.0%})"
        if self.done > self.initial and elapsed > 0:
            rate = (self.done - self.initial) / elapsed
            left = tqdm.format_interval((self.total - self.done) / rate)
            line += f", {rate:.1f} {self.unit}/s, {left} left"
        print(line + (f", {note}" if note else ""), file=self.stream, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()
        elif self.done > self.initial:
            self._plain()
