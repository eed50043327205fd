"""Image files made by hand, where Pillow cannot write them."""

import struct
import zlib
from collections.abc import Sequence
from typing import Any

# type of a TIFF tag -> struct's letter
LETTERS = {1: "B", 3: "H", 4: "I"}
SHORT, LONG = 3, 4


def big(*values: int) -> bytes:
    """16-bit numbers as PNG has them."""
    return struct.pack(f">{len(values)}H", *values)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    width: int, rows: Sequence[bytes], depth: int = 8, colour: int = 0, chunks: Sequence[tuple[bytes, bytes]] = ()
) -> bytes:
    """A PNG of rows that are packed already; `colour` 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def tiff(
    width: int,
    height: int,
    bits: tuple[int, ...],
    photometric: int,
    pixels: bytes,
    *,
    order: str = "<",
    next_page: int = 0,
    tags: dict[int, tuple[int, Any]] | None = None,
) -> bytes:
    """A TIFF of one uncompressed strip at offset 8, unless `tags`, number -> (type, values), say otherwise."""
    entries: dict[int, tuple[int, Any]] = {
        256: (LONG, width),
        257: (LONG, height),
        258: (SHORT, bits),
        259: (SHORT, 1),
        262: (SHORT, photometric),
        273: (LONG, 8),
        277: (SHORT, len(bits)),
        278: (LONG, height),
        279: (LONG, len(pixels)),
    } | (tags or {})
    pixels += bytes(len(pixels) % 2)
    directory = 8 + len(pixels)
    behind = directory + 2 + 12 * len(entries) + 4
    listed, apart = b"", b""
    for tag, (kind, values) in sorted(entries.items()):
        values = values if isinstance(values, tuple | list) else (values,)
        packed = struct.pack(f"{order}{len(values)}{LETTERS[kind]}", *values)
        if len(packed) > 4:
            packed, apart = struct.pack(f"{order}I", behind + len(apart)), apart + packed + bytes(len(packed) % 2)
        listed += struct.pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", directory)
    end = struct.pack(f"{order}I", next_page)
    return start + pixels + struct.pack(f"{order}H", len(entries)) + listed + end + apart
