"""Decodes pictures in another process with bounded time and memory, which may hang or crash without harm."""

import atexit
import json
import os
import resource
import signal
import struct
import subprocess
import sys
from contextlib import suppress
from typing import BinaryIO

import numpy as np

from pipeline.errors import PipelineError, SampleError
from pipeline.pictures.colours import Pixels, read_picture
from pipeline.pictures.opening import MAX_PIXELS

CPU_SECONDS = 15  # of a picture: several times what decoders that are written in C take for the largest
CPU_SECONDS_A_MIB = 2  # of its file, besides
WALL_SECONDS = 600  # should it wait for ever instead of computing
MEMORY = 4 * 2**30  # bytes of address space: the largest picture takes half
PIPE = 2**20
REQUEST = ">QdQ"  # bytes of the picture, seconds, bytes of memory
READY, PICTURE, REASON = b"+", b"p", b"r"
# somebody else ended it, and the picture may be good
FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGHUP}

START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]);from pipeline.pictures.guarded import serve; serve()"
)


class EndedError(Exception):
    """The process ended without an answer; with its exit code, negative for a signal."""

    def __init__(self, code: int):
        super().__init__(code)
        self.code = code


class Decoder:
    """A process that decodes one picture at a time; it ends with this one."""

    def __init__(self) -> None:
        paths = json.dumps([str(entry) for entry in sys.path])
        command = [sys.executable, "-I", "-W", "ignore", "-c", START, paths]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        try:
            self.process = subprocess.Popen(
                command,
                stdin=pipe,
                stdout=pipe,
                stderr=null,
                env=environment,
                pipesize=PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise PipelineError(
                f"cannot start {sys.executable!r}, which decodes unusual images: {error}"
            ) from error
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.requests, self.answers = self.process.stdin, self.process.stdout
        try:
            self.receive(len(READY))
        except EndedError as error:
            raise PipelineError(
                f"{sys.executable!r} cannot import `pipeline.pictures.guarded`, which decodes unusual images "
                f"(exit code {error.code}); install onmanifold for it"
            ) from error

    def read(self, data: bytes) -> Pixels:
        """What `read_picture` gives. Raises SampleError, or EndedError if the process ended on it."""
        with suppress(BrokenPipeError):  # the missing answer tells
            self.requests.write(struct.pack(REQUEST, len(data), time_for(data), MEMORY))
            self.requests.write(data)
            self.requests.flush()
        answer = self.receive(1)
        if answer == REASON:
            (length,) = struct.unpack(">I", self.receive(4))
            raise SampleError(self.receive(length).decode())
        height, width = struct.unpack(">II", self.receive(8))
        if answer != PICTURE or height * width > MAX_PIXELS:
            self.process.kill()
            raise EndedError(self.process.wait())
        return np.frombuffer(self.receive(height * width * 3), np.uint8).reshape(height, width, 3)

    def receive(self, length: int) -> bytes:
        """So many bytes of the answer. Raises EndedError."""
        data = self.answers.read(length)
        if len(data) < length:
            self.close()
            raise EndedError(self.process.wait())
        return data

    def close(self) -> None:
        """Let the process end."""
        with suppress(BrokenPipeError):
            self.requests.close()
        self.answers.close()
        self.process.wait()


idle: list[Decoder] = []  # as many as there were threads at once
os.register_at_fork(after_in_child=idle.clear)


def read_guarded(data: bytes) -> Pixels:
    """Decode a picture as `read_picture` does, in a process of its own that is started once.

    Raises:
        SampleError: it cannot be used, takes too long or too much memory, or crashes its decoder.
        PipelineError: the process cannot be started.
    """
    for last in (False, True):
        try:
            decoder = idle.pop()
        except IndexError:
            decoder = Decoder()
        try:
            pixels = decoder.read(data)
        except SampleError:
            idle.append(decoder)
            raise
        except EndedError as error:
            if last or -error.code not in FROM_OUTSIDE:
                raise SampleError(told(error.code, data), unreadable=-error.code in FROM_OUTSIDE) from None
        else:
            idle.append(decoder)
            return pixels
    raise AssertionError("unreachable")


def time_for(data: bytes) -> float:
    """Seconds of a processor that decoding a picture may take."""
    return CPU_SECONDS + CPU_SECONDS_A_MIB * (len(data) >> 20)


def told(code: int, data: bytes) -> str:
    """What a process's end says of the picture it decoded."""
    if -code in (signal.SIGPROF, signal.SIGALRM):
        return f"decoding the image takes longer than {time_for(data):g} seconds"
    if code < 0:
        return f"the image is damaged: its decoder crashed ({signal.Signals(-code).name})"
    return f"the image is damaged: its decoder ended (exit code {code})"


@atexit.register
def close_all() -> None:
    """End the processes that wait for work."""
    while idle:
        idle.pop().close()


def serve() -> None:
    """The other process: answers requests from stdin until that is closed."""
    from PIL import AvifImagePlugin

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a decoder prints
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers.write(READY)
    answers.flush()
    while head := sys.stdin.buffer.read(struct.calcsize(REQUEST)):
        length, seconds, memory = struct.unpack(REQUEST, head)
        with suppress(ValueError, OSError):  # macOS knows no such limit
            most = resource.getrlimit(resource.RLIMIT_AS)[1]
            allowed = memory if most == resource.RLIM_INFINITY else min(memory, most)
            resource.setrlimit(resource.RLIMIT_AS, (allowed, most))
        data = sys.stdin.buffer.read(length)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.alarm(WALL_SECONDS)
        answer(answers, data, memory)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)


def answer(answers: BinaryIO, data: bytes, memory: int) -> None:
    """Decode a picture and write its pixels, or why there are none."""
    try:
        pixels = read_picture(data)
    except (SampleError, MemoryError) as error:
        reason = str(error)
        if isinstance(error, MemoryError) or error.unreadable:
            reason = f"decoding the image takes more than {memory >> 20} MiB of memory"
        encoded = reason.encode("utf-8", "replace")
        answers.write(REASON + struct.pack(">I", len(encoded)) + encoded)
    else:
        answers.write(PICTURE + struct.pack(">II", *pixels.shape[:2]))
        answers.write(np.ascontiguousarray(pixels).data)
    answers.flush()
