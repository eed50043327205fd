"""Bytes that need not be text, spelt as text and back: names in archives, keys of databases."""

import re

UNPRINTABLE = re.compile("[\x00-\x1f\x7f]")
ESCAPED = re.compile(rb"\\(\\|x[0-9a-f]{2})")


def spelled(raw: bytes) -> str:
    """UTF-8 as it is, but `\\\\` for a backslash and `\\xff` for bytes that are no UTF-8 or not printable."""
    text = raw.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    return UNPRINTABLE.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def unspelled(text: str) -> bytes:
    """What `spelled` was given."""
    return ESCAPED.sub(lambda found: b"\\" if found[1] == b"\\" else bytes([int(found[1][1:], 16)]), text.encode())


def quoted(path: str) -> str:
    """A path or a key in which no # is, since that ends it."""
    return path.replace("%", "%25").replace("#", "%23")


def unquoted(path: str) -> str:
    """What `quoted` was given."""
    return path.replace("%23", "#").replace("%25", "%")
