"""Progress: whole pieces, parts of pieces, and what a run that goes on says of rate and time."""

import io
import re
import time
from pathlib import Path

import pytest

from pipeline import progress
from pipeline.progress import Progress, listening, part, report
from tests.conftest import Tiny, run_pipeline


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every report is passed on, and every change is shown."""
    monkeypatch.setattr(progress, "REPORT_INTERVAL", 0.0)
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", 0.0)


def shares_of(work: object) -> list[float]:
    """What a listener is told while some work is done."""
    told: list[float] = []
    with listening(lambda share, note: told.append(round(share, 6))):
        work()  # type: ignore[operator]
    return told


def test_reports_of_parts_are_reports_of_the_whole(at_once: None) -> None:
    def work() -> None:
        report(0, 4)
        with part(0.5, 1.0):
            report(1, 2)
            with part(0.5, 1.0):
                report(3, 3)
        report(4, 4)

    assert shares_of(work) == [0.0, 0.75, 1.0, 1.0]


def test_outside_a_chunk_reports_go_nowhere() -> None:
    report(1, 2)
    with part(0, 0.5):
        report(1, 2)


def test_few_reports_are_passed_on() -> None:
    assert shares_of(lambda: [report(i, 1000) for i in range(1000)]) == [0.0]


def test_parts_of_pieces_count_and_late_messages_do_not(at_once: None) -> None:
    shown = Progress("p", 10, "images", stream=io.StringIO())
    shown.move(0, 1.5)
    shown.move(1, 0.5)
    assert shown.done == 2
    shown.advance(4, piece=0)
    shown.move(0, 3.0)
    assert shown.done == 4.5
    shown.move(1, 0.25)  # begun anew, after its worker died
    assert shown.done == 4.25


def test_a_run_that_goes_on_counts_its_own_rate(at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    stream = io.StringIO()
    with Progress("p", 100, "images", done=60, stream=stream) as shown:
        clock[0] += 50  # the workers start
        shown.move(6, 0.0)
        clock[0] += 40
        shown.move(6, 4.0)
        clock[0] += 40
        shown.advance(10, piece=6)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "p: 60/100 images (60%)"
    assert lines[2] == "p: 64/100 images (64%), 10.0 s each, 06:00 left"
    assert lines[3] == "p: 70/100 images (70%), 8.0 s each, 04:00 left"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_chunk_is_seen_to_move(tmp_path: Path, tiny: Tiny, at_once: None, workers: int) -> None:
    done = run_pipeline(*tiny.invert(tmp_path / "b", limit=32, workers=workers, steps=40))
    assert done.code == 0, done.err
    counts = [float(found) for found in re.findall(r"invert: ([0-9.]+)/32", done.err)]
    assert any(count % 16 for count in counts)
    assert counts[-1] == 32
