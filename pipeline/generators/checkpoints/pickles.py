"""Reads a pickle as data: a small machine for the pickle instructions that makes records and runs nothing.

Python's own unpickler imports and calls whatever a file names. Here a name stays a name (`records.Global`), a call
becomes a record of it, and bytes are views into the file, so that a hostile file has nothing to act on. Every
length is held against what is left of the file, and the number of instructions is limited.
"""

import pickletools
import struct
from collections.abc import Callable
from typing import Any, ClassVar

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints.records import KNOWN, Call, Global, Persistent, make_call, make_set, set_items

# A StyleGAN2-ADA snapshot at 1024 x 1024 has about 50,000 instructions.
MAX_INSTRUCTIONS = 500_000
MAX_INTEGER_BYTES = 256
MAX_NAME_BYTES = 512

NAMES = {opcode.code.encode("latin1")[0]: opcode.name for opcode in pickletools.opcodes}


class Machine:
    """One pickle, read from `start` of a buffer. After `run`, `position` is where it ended.

    Attributes:
        persistent: every reference to outside data, in the order of the file.
    """

    def __init__(self, buffer: memoryview, start: int = 0):
        self.buffer, self.position = buffer, start
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.persistent: list[Persistent] = []

    def run(self) -> Any:
        """Return what the pickle holds: dicts, lists, tuples, sets, text, numbers, memoryviews and records.

        Raises:
            CheckpointError: the file is cut short, damaged, claims more than it holds, or names code.
        """
        actions = self.ACTIONS
        try:
            for _ in range(MAX_INSTRUCTIONS):
                code = self.number("<B")
                if code == ord("."):
                    return self.stack.pop()
                action = actions.get(code)
                if action is None:
                    known = NAMES.get(code)
                    what = f"the instruction {known}, which checkpoints do not use" if known else "no pickle"
                    raise CheckpointError(f"it is damaged or hostile: it holds {what} at byte {self.position - 1}")
                action(self)
        except (IndexError, KeyError) as error:
            raise CheckpointError(f"it is damaged: at byte {self.position} it takes what is not there") from error
        except UnicodeDecodeError as error:
            raise CheckpointError(f"it is damaged: at byte {self.position} is text that cannot be read") from error
        raise CheckpointError(f"it is damaged or hostile: more than {MAX_INSTRUCTIONS:,} instructions")

    def take(self, count: int) -> memoryview:
        """Take the next `count` bytes, if they are there."""
        left = len(self.buffer) - self.position
        if not 0 <= count <= left:
            raise CheckpointError(
                f"it is cut short or damaged: at byte {self.position:,} of {len(self.buffer):,} it announces "
                f"{count:,} bytes, {left:,} are there; download it again"
            )
        view = self.buffer[self.position : self.position + count]
        self.position += count
        return view

    def number(self, layout: str) -> Any:
        """Take one number."""
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def line(self) -> str:
        """Take a line of text."""
        start = self.position
        window = bytes(self.buffer[start : start + MAX_NAME_BYTES])
        end = window.find(b"\n")
        if end < 0:
            raise CheckpointError(f"it is damaged: a name at byte {start} has no end")
        self.position = start + end + 1
        return window[:end].decode()

    def since_mark(self) -> list[Any]:
        """Take everything since the last mark."""
        items, self.stack = self.stack, self.marked.pop()
        return items

    def push(self, value: Any) -> None:
        """Push an object (on the stack as it is by then, which taking a mark exchanges)."""
        self.stack.append(value)

    def push_integer(self, layout: str) -> None:
        """Push a number in binary."""
        self.stack.append(self.number(layout))

    def push_long(self, layout: str) -> None:
        """Push a number of any length, within reason."""
        size = self.number(layout)
        if size > MAX_INTEGER_BYTES:
            raise CheckpointError(f"it is damaged or hostile: a number of {size:,} bytes")
        self.stack.append(int.from_bytes(self.take(size), "little", signed=True))

    def push_text(self, layout: str, encoding: str = "utf-8") -> None:
        """Push text (in pickles of Python 2: bytes, which latin1 keeps as they are)."""
        view = self.take(self.number(layout))
        self.stack.append(str(view, encoding, "surrogatepass" if encoding == "utf-8" else "strict"))

    def push_bytes(self, layout: str) -> None:
        """Push bytes, as a view into the file."""
        self.stack.append(self.take(self.number(layout)))

    def push_tuple(self, count: int) -> None:
        """Make a tuple of the last `count` objects."""
        if len(self.stack) < count:
            raise IndexError
        items = tuple(self.stack[-count:])
        self.stack[-count:] = [items]

    def push_global(self, module: object, name: object) -> None:
        """Push a name, if checkpoints are known to use it."""
        full = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else ""
        if full not in KNOWN:
            shown = full[:120].encode("unicode_escape").decode()
            raise CheckpointError(
                f"it refers to '{shown}', which no checkpoint of a known kind needs; nothing in it was run"
            )
        self.stack.append(Global(full))

    def stack_global(self) -> None:
        """Push the name whose parts lie on the stack."""
        name, module = self.stack.pop(), self.stack.pop()
        self.push_global(module, name)

    def call(self) -> None:
        """Record a call or a new object."""
        arguments, function = self.stack.pop(), self.stack.pop()
        self.stack.append(make_call(function, arguments))

    def build(self) -> None:
        """Give a record its state. A plain dictionary's attributes (torch keeps versions there) are dropped."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Call) and target.state is None:
            target.state = state
        elif not isinstance(target, dict):
            raise CheckpointError("it is damaged: something that has no state is given one")

    def append(self, items: list[Any]) -> None:
        """Add items to a list."""
        if not isinstance(self.stack[-1], list):
            raise CheckpointError("it is damaged: items are put into something that is no list")
        self.stack[-1].extend(items)

    def add(self, items: list[Any]) -> None:
        """Add items to a set."""
        if not isinstance(self.stack[-1], set):
            raise CheckpointError("it is damaged: items are put into something that is no set")
        self.stack[-1].update(make_set(items))

    def set_item(self) -> None:
        """Put one item into a dictionary."""
        value, key = self.stack.pop(), self.stack.pop()
        set_items(self.stack[-1], [key, value])

    def pop(self) -> None:
        """Drop the last object, or the mark if there is none since."""
        if self.stack:
            self.stack.pop()
        else:
            self.since_mark()

    def mark(self) -> None:
        """Set a mark."""
        self.marked.append(self.stack)
        self.stack = []

    def refer(self) -> None:
        """Push a reference to data outside the pickle."""
        reference = Persistent(self.stack.pop())
        self.persistent.append(reference)
        self.stack.append(reference)

    def remember(self, index: int) -> None:
        """Keep the last object for later use."""
        self.memo[index] = self.stack[-1]

    def protocol(self) -> None:
        """Check the protocol's number."""
        if (number := self.number("<B")) > 5:
            raise CheckpointError(f"it is damaged: pickle protocol {number}, the highest is 5")

    def frame(self) -> None:
        """Check that a frame's length is there. Frames are only hints for reading ahead."""
        size = self.number("<Q")
        self.take(size)
        self.position -= size

    ACTIONS: ClassVar[dict[int, Callable[["Machine"], object]]] = {
        code[0]: action
        for code, action in {
            b"\x80": protocol,
            b"\x95": frame,
            b"N": lambda m: m.push(None),
            b"\x88": lambda m: m.push(True),
            b"\x89": lambda m: m.push(False),
            b"J": lambda m: m.push_integer("<i"),
            b"K": lambda m: m.push_integer("<B"),
            b"M": lambda m: m.push_integer("<H"),
            b"G": lambda m: m.push_integer(">d"),
            b"\x8a": lambda m: m.push_long("<B"),
            b"\x8b": lambda m: m.push_long("<I"),
            b"X": lambda m: m.push_text("<I"),
            b"\x8c": lambda m: m.push_text("<B"),
            b"\x8d": lambda m: m.push_text("<Q"),
            b"T": lambda m: m.push_text("<I", "latin1"),
            b"U": lambda m: m.push_text("<B", "latin1"),
            b"B": lambda m: m.push_bytes("<I"),
            b"C": lambda m: m.push_bytes("<B"),
            b"\x8e": lambda m: m.push_bytes("<Q"),
            b"\x96": lambda m: m.push_bytes("<Q"),
            b"]": lambda m: m.push([]),
            b"}": lambda m: m.push({}),
            b")": lambda m: m.push(()),
            b"\x8f": lambda m: m.push(set()),
            b"(": mark,
            b"l": lambda m: m.push(m.since_mark()),
            b"t": lambda m: m.push(tuple(m.since_mark())),
            b"\x85": lambda m: m.push_tuple(1),
            b"\x86": lambda m: m.push_tuple(2),
            b"\x87": lambda m: m.push_tuple(3),
            b"\x91": lambda m: m.push(make_set(m.since_mark())),
            b"a": lambda m: m.append([m.stack.pop()]),
            b"e": lambda m: m.append(m.since_mark()),
            b"\x90": lambda m: m.add(m.since_mark()),
            b"s": set_item,
            b"u": lambda m: set_items_of(m, m.since_mark()),
            b"0": pop,
            b"1": since_mark,
            b"2": lambda m: m.push(m.stack[-1]),
            b"c": lambda m: m.push_global(m.line(), m.line()),
            b"\x93": stack_global,
            b"R": call,
            b"\x81": call,
            b"b": build,
            b"Q": refer,
            b"q": lambda m: m.remember(m.number("<B")),
            b"r": lambda m: m.remember(m.number("<I")),
            b"\x94": lambda m: m.remember(len(m.memo)),
            b"h": lambda m: m.push(m.memo[m.number("<B")]),
            b"j": lambda m: m.push(m.memo[m.number("<I")]),
        }.items()
    }


def set_items_of(machine: Machine, flat: list[Any]) -> None:
    """Put what was on the stack into the dictionary below it."""
    set_items(machine.stack[-1], flat)
