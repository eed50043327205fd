"""The process that decodes unusual pictures: it may crash, hang or be ended, and the rest goes on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.datasets.decoding import decode
from pipeline.errors import PipelineError, SampleError
from pipeline.pictures import guarded
from pipeline.pictures.guarded import read_guarded
from tests.pipeline.datasets.samples import encoded

RED = encoded(Image.new("RGB", (8, 8), "red"), "TIFF")


@pytest.fixture
def decoders() -> Iterator[list[guarded.Decoder]]:
    """The processes that wait for work, which are none yet."""
    guarded.close_all()
    yield guarded.idle
    guarded.close_all()


def instead_of_decoding(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process do something else with the pictures it gets from now on."""
    there = "from pipeline.pictures import guarded; import os, signal, time;"
    start = guarded.START.replace(
        "from pipeline", f"{there} guarded.read_picture = lambda data: {code}; from pipeline"
    )
    monkeypatch.setattr(guarded, "START", start)


def test_one_process_reads_many_pictures(decoders: list[guarded.Decoder]) -> None:
    assert (read_guarded(RED) == (255, 0, 0)).all()
    first = decoders[0].process.pid
    assert first != os.getpid()
    for colour in range(5):
        data = encoded(Image.new("L", (3, 2), colour), "BMP")
        assert read_guarded(data).tolist() == np.full((2, 3, 3), colour).tolist()
    with pytest.raises(SampleError, match="damaged"):
        read_guarded(RED[:100])
    assert [decoder.process.pid for decoder in decoders] == [first]


def test_threads_have_processes_of_their_own(decoders: list[guarded.Decoder]) -> None:
    pictures = [encoded(Image.new("L", (64, 64), shade), "BMP") for shade in range(40)]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(read_guarded, pictures))
    assert [int(pixels.mean()) for pixels in found] == list(range(40))
    assert 1 <= len(decoders) <= 3


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE"])
def test_a_picture_that_crashes_its_decoder_is_a_failure_and_the_next_is_read(
    name: str, decoders: list[guarded.Decoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        instead_of_decoding(f"os.kill(os.getpid(), signal.{name})", patch)
        with pytest.raises(SampleError, match=f"its decoder crashed \\({name}\\)") as found:
            read_guarded(RED)
        assert not found.value.unreadable
    assert decoders == []
    assert (read_guarded(RED) == (255, 0, 0)).all()


def test_a_decoder_that_hangs_is_ended(decoders: list[guarded.Decoder], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "CPU_SECONDS", 0.2)
    instead_of_decoding("[None for _ in iter(int, 1)]", monkeypatch)
    with pytest.raises(SampleError, match=r"decoding the image takes longer than 0.2 seconds"):
        read_guarded(RED)


def test_a_decoder_that_only_waits_is_ended(
    decoders: list[guarded.Decoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    instead_of_decoding("(signal.setitimer(signal.ITIMER_REAL, 0.1), time.sleep(60))", monkeypatch)
    with pytest.raises(SampleError, match="decoding the image takes longer than"):
        read_guarded(RED)


def test_a_decoder_that_wants_too_much_memory(
    decoders: list[guarded.Decoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded, "MEMORY", 2**30)
    with monkeypatch.context() as patch:
        instead_of_decoding("bytearray(2**31)", patch)
        with pytest.raises(SampleError, match="takes more than 1024 MiB of memory") as found:
            read_guarded(RED)
        assert not found.value.unreadable


def test_a_process_that_somebody_ended_is_no_picture_s_fault(
    decoders: list[guarded.Decoder], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read_guarded(RED)
    decoders[0].process.kill()
    decoders[0].process.wait()
    assert (read_guarded(RED) == (255, 0, 0)).all()
    guarded.close_all()
    instead_of_decoding("os.kill(os.getpid(), signal.SIGKILL)", monkeypatch)
    with pytest.raises(SampleError, match="crashed") as found:
        read_guarded(RED)
    assert found.value.unreadable


def test_what_a_decoder_prints_is_no_answer(
    decoders: list[guarded.Decoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "(os.write(1, b'p' * 100), os.write(2, b'r' * 100), colours.read_picture(data))[-1]"
    instead_of_decoding(code, monkeypatch)
    monkeypatch.setattr(guarded, "START", guarded.START.replace("import guarded;", "import colours, guarded;"))
    assert (read_guarded(RED) == (255, 0, 0)).all()


def test_a_python_that_cannot_start_is_one_sentence(
    decoders: list[guarded.Decoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/nowhere/python")
        with pytest.raises(PipelineError, match="cannot start '/nowhere/python', which decodes unusual images"):
            read_guarded(RED)
    with monkeypatch.context() as patch:
        patch.setattr(guarded, "START", "raise SystemExit(3)")
        with pytest.raises(PipelineError, match=r"cannot import `pipeline.pictures.guarded`.*exit code 3"):
            read_guarded(RED)


def test_the_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    (tmp_path / "red.tif").write_bytes(RED)
    script = (
        "import sys; from pathlib import Path; from pipeline.pictures import guarded\n"
        "guarded.read_guarded(Path(sys.argv[1]).read_bytes()); print(guarded.idle[0].process.pid, flush=True)\n"
        "input()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "red.tif")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        decoder = int(process.stdout.readline())
        assert Path(f"/proc/{decoder}").exists()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    for _ in range(100):
        if not running(decoder):
            return
        time.sleep(0.05)
    raise AssertionError("it runs on")


def running(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_fork_does_not_share_the_process(decoders: list[guarded.Decoder]) -> None:
    read_guarded(RED)
    child = os.fork()
    if not child:
        os._exit(0 if guarded.idle == [] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(decoders) == 1


def test_usual_pictures_start_no_process(decoders: list[guarded.Decoder]) -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        assert decode(encoded(Image.new("RGB", (8, 8), "red"), kind), 8).shape == (8, 8, 3)
    assert decoders == []
