"""Files made to run code, to eat memory or to crash the reader: each gives one sentence and has no effect."""

import os
import pickle
import pickletools
import struct
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints import read_checkpoint
from pipeline.generators.checkpoints.pickles import MAX_INSTRUCTIONS, Machine
from tests.pipeline.generators.checkpoints.made import (
    HOOK,
    Persistent,
    nvidia_pickle,
    stand_ins,
    tf_pickle,
    tf_progan,
)

MEBI = 2**20
GIGA = 2**31


class Bomb:
    """Unpickled in earnest, this calls what it is told to."""

    def __init__(self, function: Callable[..., Any], *arguments: Any):
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def name(full: str) -> bytes:
    module, _, attribute = full.rpartition(".")
    return text(module) + text(attribute) + b"\x93"


def call(full: str, *arguments: bytes) -> bytes:
    return name(full) + b"(" + b"".join(arguments) + b"tR"


def program(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


def refusal(path: Path, content: bytes, measure: bool = True) -> str:
    """Read a file that must be refused; return the sentence, after checking what it cost."""
    path.write_bytes(content)
    modules = set(sys.modules)
    if measure:
        tracemalloc.start()
    try:
        with pytest.raises(CheckpointError) as raised:
            read_checkpoint(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * MEBI + 8 * len(content)
    assert set(sys.modules) == modules
    sentence = str(raised.value)
    assert "\n" not in sentence
    assert len(sentence) < 400 + len(str(path))
    return sentence.removeprefix(f"{path}: ")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "x.pkl"


@pytest.fixture(autouse=True)
def nothing_ran(tmp_path: Path) -> Iterator[None]:
    yield
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("function", [os.system, eval, exec, __import__, getattr, print, os.mkdir, bytearray])
def test_calls_are_refused_by_name(tmp_path: Path, file: Path, function: Any, protocol: int) -> None:
    bomb = Bomb(function, f"open({str(tmp_path / 'ran')!r}, 'w')")
    where = {"posix": "posix", "builtins": "builtins" if protocol > 2 else "__builtin__"}[function.__module__]
    sentence = refusal(file, pickle.dumps({"G_ema": bomb}, protocol))
    assert f"it refers to '{where}.{function.__name__}'" in sentence
    assert "nothing in it was run" in sentence


@pytest.mark.parametrize("place", ["G_ema", "inside a module", "in a zip", "in an old torch file", "in a storage"])
def test_a_hostile_part_is_found_wherever_it_is(tmp_path: Path, file: Path, place: str) -> None:
    bomb = Bomb(os.system, f"touch {tmp_path / 'ran'}")
    if place == "inside a module":
        with stand_ins(HOOK) as made:
            content = pickle.dumps(
                {"G_ema": Persistent(made["_reconstruct_persistent_obj"], {"_buffers": {"a": bomb}})}
            )
    elif place == "in a storage":
        storage = call("torch.storage._load_from_bytes", b"C" + bytes([len(b := pickle.dumps(bomb, 2))]) + b)
        tensor = call("torch._utils._rebuild_tensor_v2", storage, b"K\0", b")", b")")
        state = [text(key) + tensor for key in ("main.0.weight", "main.1.running_mean", "c")]
        content = program(b"}(", *state, b"u")
    elif place in ("in a zip", "in an old torch file"):
        torch.save({"a": torch.ones(2), "b": bomb}, file, _use_new_zipfile_serialization=place == "in a zip")
        content = file.read_bytes()
    else:
        content = pickle.dumps({place: bomb})
    assert "it refers to 'posix.system'" in refusal(file, content)


CLAIMS = {
    "bytes": b"B" + struct.pack("<I", GIGA),
    "long bytes": b"\x8e" + struct.pack("<Q", GIGA),
    "endless bytes": b"\x8e" + struct.pack("<Q", 2**64 - 1),
    "bytearray": b"\x96" + struct.pack("<Q", GIGA),
    "text": b"X" + struct.pack("<I", GIGA),
    "long text": b"\x8d" + struct.pack("<Q", 2**63),
    "text of Python 2": b"T" + struct.pack("<I", GIGA),
    "frame": b"\x95" + struct.pack("<Q", GIGA),
    "number": b"\x8b" + struct.pack("<I", GIGA),
    "negative number": b"\x8b" + struct.pack("<i", -1),
    "name without end": b"c" + b"a" * 5000,
    "memo far out": b"Nr" + struct.pack("<I", 2**32 - 1) + b"j" + struct.pack("<I", 7),
}


@pytest.mark.parametrize("what", CLAIMS)
def test_claims_beyond_the_file_are_refused(file: Path, what: str) -> None:
    sentence = refusal(file, program(CLAIMS[what], b"0" * 20))
    assert "damaged" in sentence


def integers(*values: int) -> bytes:
    return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", value) for value in values) + b"t"


def numpy_array(shape: bytes, dtype: str = "f4", data: bytes = b"C\x04abcd") -> bytes:
    made = call("numpy.core.multiarray._reconstruct", name("numpy.ndarray"), integers(0), b"C\x01b")
    kind = (
        call("numpy.dtype", text(dtype), b"\x89", b"\x88") + b"(K\x03" + text("<") + b"NNNJ\xff\xff\xff\xffK\0K\0tb"
    )
    return made + b"(K\x01" + shape + kind + b"\x89" + data + b"tb"


@pytest.mark.parametrize(
    "array",
    [
        numpy_array(integers(2**40)),
        numpy_array(integers(2**20, 2**20)),
        numpy_array(integers(-1, -1)),
        numpy_array(integers(*[1] * 40)),
        numpy_array(integers(2**62, 4)),
        numpy_array(integers(1), "O"),
        numpy_array(integers(1), "V4"),
        numpy_array(integers(1), "S4"),
        numpy_array(integers(1), data=b"]"),
        numpy_array(b"N"),
        call("numpy.ndarray", integers(2**40)),
        call("numpy.core.multiarray._reconstruct", name("argparse.Namespace"), integers(2**40), b"C\x01b"),
        call("numpy.core.numeric._frombuffer", b"C\x04abcd", text("f4"), integers(2**40), text("C")),
        call("numpy.core.multiarray.scalar", text("f8"), b"N"),
    ],
)
def test_arrays_claim_no_more_than_there_is(file: Path, array: bytes) -> None:
    variables = b"](" + text("4x4/Dense/weight") + array + b"\x86e"
    network = name("dnnlib.tflib.network.Network") + b")\x81}" + text("variables") + variables + b"sb"
    assert "it " in refusal(file, program(network))


def torch_tensor(size: bytes, stride: bytes, offset: bytes = b"K\0", count: int = 2) -> bytes:
    pickled = pickletools.genops(pickle.dumps(torch.ones(count)))
    stored = next(argument for _, argument, _ in pickled if isinstance(argument, bytes))
    storage = call("torch.storage._load_from_bytes", b"B" + struct.pack("<I", len(stored)) + stored)
    return call("torch._utils._rebuild_tensor_v2", storage, offset, size, stride, b"\x89", b"}")


@pytest.mark.parametrize(
    "tensor",
    [
        torch_tensor(integers(3), integers(1)),
        torch_tensor(integers(2), integers(2)),
        torch_tensor(integers(2), integers(1), integers(1)),
        torch_tensor(integers(2), integers(1), b"J\xff\xff\xff\xff"),
        torch_tensor(integers(2**30, 2**30), integers(0, 0)),
        torch_tensor(integers(2**30), integers(0)),
        torch_tensor(integers(2), integers(-1)),
        torch_tensor(integers(2), integers(1, 1)),
        torch_tensor(integers(1), integers(2**62)),
        call("torch._utils._rebuild_tensor_v2", b"N", b"K\0", integers(1), integers(1)),
        call("torch._utils._rebuild_parameter", call("torch._utils._rebuild_parameter", b"N")),
        call("torch._utils._rebuild_tensor_v2", call("torch.storage._load_from_bytes"), b"K\0", b")", b")"),
    ],
)
def test_tensors_reach_no_further_than_their_storage(file: Path, tensor: bytes) -> None:
    state = [text(key) + tensor for key in ("main.0.weight", "main.1.running_mean", "main.1.bias")]
    assert "it is " in refusal(file, program(b"}(", *state, b"u"))


def test_a_storage_seen_many_times_is_not_written_as_often(file: Path) -> None:
    tensor = torch_tensor(integers(MEBI), integers(1), count=MEBI)
    keys = [text(f"main.{i}.weight") + b"h\0" for i in range(200)]
    sentence = refusal(file, program(tensor, b"\x940}(", text("main.1.running_mean"), b"h\0", *keys, b"u"))
    assert "more numbers than the file has bytes" in sentence


def doubled(depth: int) -> bytes:
    """Billion laughs: each list holds the one before twice."""
    return b"]\x94" + b"".join(b"](h" + bytes([i]) + b"h" + bytes([i]) + b"e\x94" for i in range(depth))


@pytest.mark.parametrize(
    "content",
    [
        program(doubled(200)),
        program(b"}" + text("g_ema") + doubled(200) + b"s"),
        program(b"]" * 100_000, b"a" * 99_999),
        program(b")" + b"\x85" * 200_000),
        program(b"}(" + b")" + b"\x85" * 200_000 + b"Ku"),
        program(b"(" * 200_000),
        program(b"}" * 200_000),
        program(b"\x8f" * 200_000),
        program(b"N" * (MAX_INSTRUCTIONS + 5)),
        program(b"]" + b"2" * 1000 + b"a" * 1000),
        program(name("collections.OrderedDict") + b")R" + b"2" * 1000 + b"b" * 1000),
        program((name("dnnlib.tflib.network.Network") + b")\x81") + b"2b" * 50_000),
    ],
    ids=lambda content: repr(content[:12]),
)
def test_bombs_fizzle(file: Path, content: bytes) -> None:
    assert refusal(file, content, measure=False).startswith("it ")


def test_modules_that_hold_each_other(file: Path) -> None:
    leaf = call(HOOK, b"}" + text("state") + b"}s")
    parts = [leaf + b"\x940"]
    for i in range(40):
        inner = b"}(" + text("a") + b"h" + bytes([i]) + text("b") + b"h" + bytes([i]) + b"u"
        parts.append(call(HOOK, b"}" + text("state") + b"}" + text("_modules") + inner + b"ss") + b"\x940")
    assert "without end" in refusal(file, program(*parts, b"h" + bytes([40])))


def test_modules_that_share_what_they_hold(file: Path) -> None:
    stored: bytes = torch.ones(1)._typed_storage().__reduce__()[1][0]
    storage = call("torch.storage._load_from_bytes", b"B" + struct.pack("<I", len(stored)) + stored)
    tensor = call("torch._utils._rebuild_tensor_v2", storage, b"K\0", b"K\1\x85", b"K\1\x85")
    many = b"}(" + b"".join(text(f"t{i}") + b"h\0" for i in range(120)) + b"u"
    leaf = call(HOOK, b"}" + text("state") + b"}" + text("_buffers") + b"h\1ss")
    children = b"}(" + b"".join(text(f"m{i}") + b"h\2" for i in range(120)) + b"u"
    whole = call(HOOK, b"}" + text("state") + b"}" + text("_modules") + children + b"ss")
    parts = [tensor + b"\x940", many + b"\x940", leaf + b"\x940"]
    assert "over 10,000 tensors" in refusal(file, program(*parts, whole), measure=False)


def test_modules_with_endless_names(file: Path) -> None:
    name = b"X" + struct.pack("<I", 1000) + b"n" * 1000
    leaf = call(HOOK, b"}" + text("state") + b"}s")
    inner = b"}" + name + leaf + b"s"
    whole = call(HOOK, b"}" + text("state") + b"}" + text("_modules") + inner + b"ss")
    assert "have no names" in refusal(file, program(whole))


@pytest.mark.parametrize(
    "part",
    [
        b"0", b"1", b"a", b"e", b"s", b"u", b"b", b"R", b"t", b"\x85", b"\x93", b"\x81", b"\x90", b"\x94", b"2",
        b"l", b"h\x07", b"Nb", b"NN\x81", b"N)R", b"}Na", b"]NNs", b"}]Ns", b"}}Ns", b"](a", b"N]Nb", b"]Nb",
        b"K\x01)R", text("a") + b"K\x01\x93", b"\x8c\x02\xff\xfe", b"P1\n", b"K\x01Q", b"\x82\x01", b"\x97",
        b"(ios\nsystem\n", b"(cos\nsystem\no", b"\x92", b"I1\n", b"\x80\x06", b"\xff", b"\x8f(]\x90",
        b"(K\x01]\x91", name("builtins.set") + b"K\x01\x85R", name("collections.OrderedDict") + b"]K\x01a\x85R",
        name("_codecs.encode") + b"N\x85R",
    ],
)  # fmt: skip
def test_broken_programs_are_one_sentence(file: Path, part: bytes) -> None:
    assert refusal(file, program(part)).startswith("it ")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Small valid files of every container."""
    folder = tmp_path_factory.mktemp("small")
    state = {
        "mapping.w_avg": torch.ones(2),
        "synthesis.b4.const": torch.ones(1, 4, 4),
        "synthesis.b4.conv1.bias": torch.ones(1),
    }
    torch.save(state, folder / "zip.pt")
    torch.save(state, folder / "old.pt", _use_new_zipfile_serialization=False)
    nvidia_pickle(folder / "nvidia.pkl", state, 256)
    tf_pickle(
        folder / "tf.pkl",
        {k: v[:1] if v.ndim else v for k, v in tf_progan((1,), 1).items() if v.ndim < 2}
        | {"4x4/Dense/weight": np.ones((1, 16), "f4")},
    )
    for path in folder.iterdir():
        read_checkpoint(path)
    return {path.stem: path.read_bytes() for path in sorted(folder.iterdir())}


def attempt(path: Path, content: bytes) -> None:
    """Read a file that may or may not be damaged."""
    path.write_bytes(content)
    with suppress(CheckpointError):
        read_checkpoint(path)


@pytest.mark.parametrize("kind", ["zip", "old", "nvidia", "tf"])
def test_a_file_cut_anywhere_is_refused(file: Path, small: dict[str, bytes], kind: str) -> None:
    content = small[kind]
    # Zips are mostly padding, modules alike.
    for end in range(1, len(content), {"zip": 13, "nvidia": 29}.get(kind, 1)):
        file.write_bytes(content[:end])
        with pytest.raises(CheckpointError):
            read_checkpoint(file)


@pytest.mark.parametrize("kind", ["zip", "old", "nvidia", "tf"])
def test_flipped_bytes_are_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, small: dict[str, bytes], kind: str
) -> None:
    path = tmp_path_factory.mktemp("flips") / "x"
    content = small[kind]
    modules = set(sys.modules)

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), min_size=1, max_size=4))
    def flip(changes: list[tuple[int, int]]) -> None:
        damaged = bytearray(content)
        for at, value in changes:
            damaged[at] = value
        attempt(path, bytes(damaged))

    flip()
    assert {
        module for module in set(sys.modules) - modules if not module.startswith(("encodings", "hypothesis"))
    } == set()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(sorted(Machine.ACTIONS)), max_size=60), st.binary(max_size=20))
def test_random_programs_end(codes: list[int], tail: bytes) -> None:
    program = b"".join(bytes([code]) + tail[i % 3 : i % 5] for i, code in enumerate(codes))
    with suppress(CheckpointError):
        Machine(memoryview(program + b".")).run()
