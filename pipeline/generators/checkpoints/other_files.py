"""Names files that are no checkpoints: what a failed download left, what is packed, weights of other programs.

Each answer is a clause that says what the file is and how to mend it. Nothing is unpacked beyond its first bytes.
"""

import bz2
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

BEGINNING = 2**16  # bytes that are looked at
PEEK = 512  # bytes that are unpacked, to tell what is inside
UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".opdownload", ".incomplete", ".!ut", ".!qb")
ASK_AGAIN = "download it again"


def stranger(path: Path, buffer: memoryview) -> str | None:
    """Say what a file is that cannot be a checkpoint, or nothing where it may be one."""
    if path.suffix == ".aria2" or path.with_name(f"{path.name}.aria2").exists():
        return "aria2 has not finished downloading it: let it finish (its .aria2 file vanishes then)"
    start = bytes(buffer[:BEGINNING])
    if not start.strip(b"\0"):
        return (
            f"it begins with {len(start):,} zeros, as files do whose download has only been prepared: {ASK_AGAIN}"
        )
    if start.startswith((b"\x80", b"PK\x03\x04")):
        return None  # a pickle, or a torch file
    for magic, answer in BY_BEGINNING.items():
        if start.startswith(magic):
            return answer(start) if callable(answer) else answer
    if start[257:262] == b"ustar":
        return packed("tar", member_of_tar(start))
    if start[4:8] == b"TFL3":
        return "it is a TensorFlow Lite model, in which a network is frozen for phones: get the original weights"
    if bytes(buffer[-8:]) == TABLE_END:
        return tensorflow_checkpoint("the index of a TensorFlow checkpoint")
    if looks_like_onnx(start) or path.suffix == ".onnx":
        return (
            "it is an ONNX model, which holds a network's program and not its named weights: get the original file"
        )
    if path.suffix == ".pb":
        return tensorflow_checkpoint("a TensorFlow graph")
    text = decoded(start)
    return None if text is None else written(text)


def folder(path: Path) -> str:
    """Say what a folder is that is given in place of a file."""
    try:
        names = {entry.name for entry in path.iterdir()}
    except OSError as error:
        return f"it is a folder that cannot be read ({error.strerror}): give the file in it"
    if "saved_model.pb" in names:
        return tensorflow_checkpoint("a folder with TensorFlow's SavedModel")
    if "checkpoint" in names and any(name.endswith(".index") for name in names):
        return tensorflow_checkpoint("a folder with a TensorFlow checkpoint")
    if "data.pkl" in names:
        return (
            "it is the folder that a torch file was unpacked to: give the file itself, which is not to be unpacked"
        )
    weights = sorted(name for name in names if Path(name).suffix in WEIGHTS)
    if len(weights) == 1:
        return f"it is a folder: give the file in it, {path / weights[0]}"
    some = f" of those in it, such as {printable(weights[0])}" if weights else ""
    return f"it is a folder: give one file{some}"


def unfinished(path: Path) -> str | None:
    """Say so where a file's name tells that its download has not ended."""
    if not path.name.lower().endswith(UNFINISHED):
        return None
    return f"its name ends in {path.suffix}, as files do that are still being downloaded: let the download finish"


def other_zip(names: Iterable[str]) -> str:
    """Say what a zip is that torch has not written, by the names of its files."""
    files = [name for name in names if not name.endswith("/")]
    if files and all(name.endswith(".npy") for name in files):
        return "it is an archive of numpy's (.npz), which is no format of a known generator"
    if "model.weights.h5" in files:
        return "it is a Keras model, which is not read: import the weights that it was made from"
    inside = [name for name in files if Path(name).suffix in WEIGHTS] or files
    return packed("zip", printable(inside[0]) if inside else "")


def written(text: str) -> str:
    """Say what a text is."""
    if text.startswith("<"):
        return marked_up(text)
    if text.startswith("version https://git-lfs"):
        size = re.search(r"^size (\d{1,15})\s*$", text, re.MULTILINE)
        of = f" of {int(size[1]):,} bytes" if size else ""
        return f"it is a pointer of Git LFS to a file{of}: run `git lfs pull` where it comes from"
    if "/annex/objects/" in text[:PEEK]:
        return "it is a pointer of git-annex: run `git annex get` where it comes from"
    if text[:1] in ("{", "["):
        return answered(text)
    if text.startswith("model_checkpoint_path"):
        return tensorflow_checkpoint("the list of TensorFlow checkpoints")
    if re.match(r"(\(dp|\(lp|\(i|ccopy_reg|cnumpy|c__builtin__|\]q|\}q)", text):
        return (
            "it is a pickle of protocol 0 or 1, which no known generator comes in: save it again with a newer one"
        )
    line = printable(text.splitlines()[0] if text else "")
    return f"it is a text that begins '{line}', not weights: {ASK_AGAIN}"


def decoded(start: bytes) -> str | None:
    """Read a text of any usual encoding, without what may stand before its first character; None is no text."""
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if start.startswith(mark):
            return start[2:].decode(encoding, "replace").lstrip()
    text = start.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").lstrip()
    strange = sum(c == "\ufffd" or (c < " " and c not in "\t\r\n\f") for c in text[:PEEK])
    # A page in an old encoding has a few such characters, other data is full of them.
    return text if strange <= len(text[:PEEK]) // 20 else None


def marked_up(text: str) -> str:
    """Say what a page of HTML or XML tells."""
    if re.search(r"<Error>|<Code>\w+</Code>", text):
        code = re.search(r"<Code>\s*([^<]{1,80})", text)
        why = f" ('{printable(code[1])}')" if code else ""
        return f"it is an error message of the server{why}, not weights: ask for access or another address"
    title = re.search(r"<title[^>]*>\s*([^<]{1,200})", text, re.IGNORECASE)
    named = f" ('{printable(title[1].strip())}')" if title else ""
    if "quota" in text.lower() and "google" in text.lower():
        return (
            f"it is a web page{named}, not weights: Google Drive's quota for the file is spent, try again in a day"
        )
    if re.search(r"virus scan|drive\.google|googleusercontent", text, re.IGNORECASE):
        return (
            f"it is a web page{named}, not weights: Google Drive asks whether to download a file that is too large "
            "to be scanned for viruses; open the address in a browser and confirm, or use gdown"
        )
    return f"it is a web page{named}, not weights: download it with a browser, and confirm what the page asks"


def answered(text: str) -> str:
    """Say what a text in JSON is."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        if '"weight_map"' not in text:
            return f"it is a text that begins '{printable(text.splitlines()[0])}', not weights: {ASK_AGAIN}"
        content = {"weight_map": {}}
    if isinstance(content, dict) and "weight_map" in content:
        parts = content["weight_map"]
        first = next(iter(parts.values()), "") if isinstance(parts, dict) else ""
        one = f", such as {printable(first)}" if isinstance(first, str) and first else ""
        return (
            f"it is the index of weights in several files, which are not put together here: join those{one} first"
        )
    words = [content.get(key) for key in ("error", "message", "detail")] if isinstance(content, dict) else []
    words = [word.get("message") if isinstance(word, dict) else word for word in words]
    said = next((printable(word) for word in words if isinstance(word, str) and word), "")
    if said:
        return f"it is an error message of the server ('{said}'), not weights: ask for access or another address"
    return f"it is a text in JSON, such as settings or a server's answer, not weights: {ASK_AGAIN}"


def tensorflow_checkpoint(what: str) -> str:
    """Name a part of what TensorFlow saves."""
    return f"it is {what}, which is not read: import the .pkl that the repository publishes, or save one from it"


def packed(kind: str, inside: str = "") -> str:
    """Name a packed file, and what is in it if that is known."""
    return f"it is packed with {kind}: unpack it first" + (f", and import '{inside}'" if inside else "")


def compressed(kind: str, unpack: Callable[[bytes], bytes]) -> Callable[[bytes], str]:
    """Make what names a compressed file by what its first bytes unpack to."""

    def name(start: bytes) -> str:
        try:
            inner = unpack(start)
        except (zlib.error, OSError, lzma.LZMAError, EOFError, ValueError):
            return f"{packed(kind)} (or {ASK_AGAIN}: its beginning is damaged)"
        if inner[257:262] == b"ustar":
            return packed(f"tar and {kind}", member_of_tar(inner))
        return packed(kind)

    return name


def gunzip(start: bytes) -> bytes:
    """Unpack the first bytes of gzip."""
    return zlib.decompressobj(wbits=31).decompress(start, PEEK)


def bunzip(start: bytes) -> bytes:
    """Unpack the first bytes of bzip2, where the beginning of the file is a whole block of it."""
    return bz2.BZ2Decompressor().decompress(start, PEEK)


def unxz(start: bytes) -> bytes:
    """Unpack the first bytes of xz."""
    return lzma.LZMADecompressor(memlimit=2**27).decompress(start, PEEK)


def member_of_tar(start: bytes) -> str:
    """Name of a tar's first member."""
    return printable(start[:100].split(b"\0")[0].decode("utf-8", "replace"))


def looks_like_onnx(start: bytes) -> bool:
    """Tell an ONNX model by its first fields: a small version, then its producer's name."""
    return (
        len(start) > 12
        and start[:1] == b"\x08"
        and 0 < start[1] < 32
        and start[2:3] == b"\x12"
        and start[4:12].isascii()
    )


def printable(text: Any) -> str:
    """Shorten a text of a stranger's, and take out what a terminal obeys."""
    shown = "".join(c if c.isprintable() else " " for c in str(text)[:400])
    shown = " ".join(shown.split())
    return shown if len(shown) <= 80 else f"{shown[:79]}…"


WEIGHTS = frozenset({".pkl", ".pt", ".pth", ".bin", ".ckpt", ".safetensors", ".tar", ".pickle"})
TABLE_END = (0xDB4775248B80FB57).to_bytes(8, "little")
PICTURE = "it is a picture, not weights"

BY_BEGINNING: dict[bytes, str | Callable[[bytes], str]] = {
    b"\x1f\x8b": compressed("gzip", gunzip),
    b"BZh": compressed("bzip2", bunzip),
    b"\xfd7zXZ\0": compressed("xz", unxz),
    b"\x28\xb5\x2f\xfd": packed("zstd"),
    b"\x04\x22\x4d\x18": packed("lz4"),
    b"7z\xbc\xaf\x27\x1c": packed("7z"),
    b"Rar!\x1a\x07": packed("rar"),
    b"PK\x05\x06": "it is a zip without any file in it: " + ASK_AGAIN,
    b"\x89HDF\r\n": "it is an HDF5 file, as Keras saves: such weights are not read",
    b"GGUF": "it is a GGUF file, as language models come in: no generator of images is saved so",
    b"\x93NUMPY": "it is a single array of numpy's (.npy), not the weights of a network",
    b"\x89PNG": PICTURE,
    b"\xff\xd8\xff": PICTURE,
    b"%PDF": "it is a PDF document, not weights",
}
