"""LMDB's data.mdb read without mapping it, so that a cut or damaged file is an error and not a signal.

The format is that of LMDB 0.9 on 64-bit little-endian machines (data version 1): two meta pages, then a B-tree of
pages that each hold their own number; values that do not fit into a page lie in pages of their own.
"""

import os
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

MAGIC, VERSION = 0xBEEFC0DE, 1
META = struct.Struct("<IIQQ IHHQQQQQ IHHQQQQQ QQ")
PAGE = struct.Struct("<QHHHH")  # number, padding, flags, lower, upper; of overflow pages the last two are a count
NODE = struct.Struct("<HHHH")  # size (low, high), flags, size of the key; of a branch the first three are a page
BRANCH, LEAF, OVERFLOW, META_PAGE = 0x01, 0x02, 0x04, 0x08
BIG, NAMED, DUPLICATES = 0x01, 0x02, 0x04
NOTHING = 2**64 - 1  # root of an empty tree


class DatabaseError(Exception):
    """A file that is no LMDB, damaged, or of another layout; the message goes on after its name."""


@dataclass(frozen=True)
class Node:
    """A key, and where it leads: the place and size of its value in the file, or a page (size 0)."""

    key: bytes
    place: int
    size: int
    big: bool = False


class Database:
    """The unnamed database of a data.mdb, open for reading. Nothing is locked or written.

    Raises:
        DatabaseError: it cannot be read.
        OSError: as from any file.
    """

    def __init__(self, path: Path):
        self.file: BinaryIO = path.open("rb", buffering=0)
        try:
            self.size = os.fstat(self.file.fileno()).st_size
            self._read_metas()
        except BaseException:
            self.file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.file.close()

    def keys(self) -> Iterator[bytes]:
        """All keys in order. Reads all pages of the tree, and of the values only whether they lie in the file."""
        count, last = 0, b""
        for node in self._walk(self.root, self.depth):
            if count and node.key <= last:
                raise DatabaseError("is damaged: its keys are out of order")
            if node.big and node.place + node.size > self.size:
                raise DatabaseError(
                    f"is cut: it has {self.size} bytes, and a value ends at {node.place + node.size}"
                )
            count, last = count + 1, node.key
            yield node.key
        if count != self.entries:
            raise DatabaseError(f"is damaged: it holds {count} keys and should hold {self.entries}")

    def find(self, key: bytes) -> Node | None:
        """The place and size of a key's value; None if there is no such key."""
        if self.root == NOTHING:
            return None
        number = self.root
        for _ in range(self.depth - 1):
            children = self._nodes(number, BRANCH)
            # the first key of a branch is empty and stands for everything before the second
            number = children[max(0, bisect_right(children, key, lo=1, key=lambda node: node.key) - 1)].place
        leaf = self._nodes(number, LEAF)
        at = bisect_left(leaf, key, key=lambda node: node.key)
        return leaf[at] if at < len(leaf) and leaf[at].key == key else None

    def value(self, node: Node) -> bytes:
        """The value of a key that `find` has found."""
        if node.big:
            number = node.place // self.page_size
            head = self._page(number, PAGE.size, OVERFLOW)
            pages = int.from_bytes(head[12:16], "little")
            if PAGE.size + node.size > pages * self.page_size:
                raise DatabaseError(f"is damaged: page {number} is not what it should be")
        return self._read(node.place, node.size)

    def _read_metas(self) -> None:
        first = self._meta(0)
        page_size = first[4]
        if page_size < 256 or page_size > 65536 or page_size & (page_size - 1):
            raise DatabaseError(f"is damaged: pages of {page_size} bytes")
        if self.size % page_size:
            raise DatabaseError(f"is cut: it has {self.size} bytes, which is no number of pages of {page_size}")
        self.page_size = int(page_size)
        newest = max(first, self._meta(self.page_size), key=lambda meta: int(meta[-1]))
        flags, depth, entries, root, last = (int(newest[i]) for i in (13, 14, 18, 19, 20))
        if flags:
            raise DatabaseError("is of another layout: its keys are sorted in another way or have several values")
        self.depth, self.entries, self.root, self.last = depth, entries, root, last

    def _meta(self, place: int) -> tuple[int, ...]:
        found = self._read(place, PAGE.size + META.size)
        meta: tuple[int, ...] = META.unpack_from(found, PAGE.size)
        if meta[0] != MAGIC or not PAGE.unpack_from(found)[2] & META_PAGE:
            raise DatabaseError("has not the header of an LMDB")
        if meta[1] != VERSION:
            raise DatabaseError(f"is an LMDB of version {meta[1]}, not {VERSION}")
        return meta

    def _read(self, place: int, size: int) -> bytes:
        if place + size > self.size:
            raise DatabaseError(f"is cut: it has {self.size} bytes, and {place + size} are needed")
        found = os.pread(self.file.fileno(), size, place)
        if len(found) < size:
            raise DatabaseError("has become shorter while it was read")
        return found

    def _page(self, number: int, size: int, kind: int) -> bytes:
        """A page, or the first `size` bytes of it, which has to say that it is this page and of this kind."""
        if not 2 <= number <= self.last:
            raise DatabaseError(f"is damaged: there is no page {number}")
        page = self._read(number * self.page_size, size)
        found, _, flags, _, _ = PAGE.unpack_from(page)
        if found != number or flags & (BRANCH | LEAF | OVERFLOW | META_PAGE) != kind:
            raise DatabaseError(f"is damaged: page {number} is not what it should be")
        return page

    def _nodes(self, number: int, kind: int) -> list[Node]:
        """The nodes of a branch or leaf."""
        page = self._page(number, self.page_size, kind)
        count = (PAGE.unpack_from(page)[3] - PAGE.size) // 2
        if not 0 < count <= (self.page_size - PAGE.size) // (2 + NODE.size):
            raise DatabaseError(f"is damaged: page {number} holds {count} keys")
        nodes = []
        for at in struct.unpack_from(f"<{count}H", page, PAGE.size):
            start = at + NODE.size
            if start > self.page_size:
                raise DatabaseError(f"is damaged: page {number} points out of itself")
            low, high, flags, length = NODE.unpack_from(page, at)
            key, start = page[start : start + length], start + length
            if kind == BRANCH:
                nodes.append(Node(key, low | high << 16 | flags << 32, 0))
                continue
            if flags & (NAMED | DUPLICATES):
                what = "named databases" if flags & NAMED else "keys of several values"
                raise DatabaseError(f"is of another layout: it holds {what}, not an image for each key")
            size, big = low | high << 16, bool(flags & BIG)
            if start + (8 if big else size) > self.page_size:
                raise DatabaseError(f"is damaged: page {number} points out of itself")
            if big:
                place = int.from_bytes(page[start : start + 8], "little") * self.page_size + PAGE.size
            else:
                place = number * self.page_size + start
            nodes.append(Node(key, place, size, big))
        return nodes

    def _walk(self, number: int, depth: int) -> Iterator[Node]:
        """The nodes of the leaves below a page, which is so many levels above them."""
        if number == NOTHING:
            return
        if not 1 <= depth <= 32:
            raise DatabaseError(f"is damaged: a tree of {depth} levels")
        if depth == 1:
            yield from self._nodes(number, LEAF)
            return
        for child in self._nodes(number, BRANCH):
            yield from self._walk(child.place, depth - 1)
