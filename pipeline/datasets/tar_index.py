"""What a tar of a WebDataset holds: its pictures' places, what is said of each, and every member that is not taken.

Headers are read by `tarfile`, which stops at a damaged one as at the end of the tar; here that is an error.
"""

import json
import posixpath
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.datasets.attributes import NESTED, TWICE, Unfit
from pipeline.datasets.formats import IMAGE_SUFFIXES, OTHER_PICTURES
from pipeline.datasets.spelling import UNPRINTABLE, spelled
from pipeline.datasets.walk import HIDDEN, IMAGE_REASONS, NO_FILE, SYSTEM, is_system
from pipeline.errors import DatasetError

CLS, JSON = ".cls", ".json"
LONGEST = {CLS: 2**10, JSON: 2**24}  # bytes
RECORD = (
    tarfile.RECORDSIZE + tarfile.BLOCKSIZE
)  # zeros that the usual writers leave behind the last member, at most
HOPS = 8  # of a link to a link
# What begins a picture whose last bytes are never zero
SEALED = (b"\x89PNG", b"\xff\xd8\xff")
COMPRESSED = {
    b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip",
}  # fmt: skip

DANGLING = "a link to nothing in its tar"
SPARSE = "a sparse file: pack it without `--sparse`"
SECOND_PICTURE = "a second picture of its sample: the first is taken"
SECOND_LABEL = "a second label of its sample: the first is taken"
OTHER_PICTURE = "another picture of its sample, as KEY.original.png beside KEY.png"
SEVERAL_PICTURES = "one of several pictures of its sample, of which none is called KEY.SUFFIX"
NO_PICTURE = "belongs to no picture"
LONG = "too long to be a label"
NO_OBJECT = "JSON, but not an object"

Place = tuple[int, int]  # offset and size in the tar


@dataclass(frozen=True)
class Member:
    """A picture, a .cls or a .json, under its name in the tar; its place is None while it is a link."""

    name: str
    suffix: str
    place: Place | None
    target: str = ""

    @property
    def stem(self) -> str:
        """Its name without the last suffix."""
        return self.name[: -len(self.suffix)]


@dataclass
class Said:
    """What is said of a sample: the content of its .cls, the keys of its .json."""

    cls: int | str | None = None
    keys: dict[str, Any] = field(default_factory=dict)


@dataclass
class TarIndex:
    """The samples of a tar in its order (key, place of the picture, what is said of it), the rest, and notes."""

    samples: list[tuple[str, Place, Said]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def index_tar(path: Path, label: str | None) -> TarIndex:
    """Read the headers, the .cls and the .json of a tar.

    Args:
        path: the tar.
        label: key of the .json that is the label; None for the .cls, which is not read otherwise.

    Raises:
        DatasetError: it is no tar, is damaged or cut anywhere, or has a .cls or .json that is none.
    """
    index = TarIndex()
    try:
        with path.open("rb") as file:
            members = resolved(list(wanted(file, index)), index)
            said = read_labels(file, members, label, index)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error
    except (tarfile.TarError, ValueError, RecursionError, MemoryError) as error:
        raise DatasetError(f"{path} is damaged or no plain tar: {error}; write or download it again") from error
    choose(members, said, label, index)
    index.notes = [f"{path} {note}" for note in index.notes]
    return index


def wanted(file: BinaryIO, index: TarIndex) -> Iterator[Member]:
    """The members of a tar that are or could be a sample's, in their order, after which its end is checked.

    Links come without a place, after `index.skipped` has got everything else.
    """
    head = file.read(8)
    for magic, name in COMPRESSED.items():
        if head.startswith(magic):
            raise ValueError(f"it is compressed with {name}: unpack it")
    file.seek(0)
    last, end = None, 0
    with tarfile.open(fileobj=file, mode="r:") as tar:
        while True:
            member = tar.next()
            if member is None:
                break
            tar.members.clear()  # type: ignore[attr-defined]  # it would keep them all
            if member.size < 0 or tar.offset <= end:
                raise ValueError("a member's size is negative")
            end = tar.offset
            name = cleaned(member.name)
            suffix = posixpath.splitext(name)[1].lower()
            if member.isdir():
                continue
            reason = reason_of(name, suffix, member)
            if reason:
                index.skipped.append((shown(name), reason))
                continue
            if member.isfile():
                last = Member(name, suffix, (member.offset_data, member.size))
                yield last
            else:
                link = member.linkname
                target = link if member.islnk() else posixpath.join(posixpath.dirname(name), link)
                yield Member(name, suffix, None, posixpath.normpath(cleaned(target)))
        check_end(file, tar.offset, last, index)


def cleaned(name: str) -> str:
    """A name without what says that it lies in the folder the tar is unpacked in."""
    while name.startswith(("/", "./")):
        name = name.removeprefix("/").removeprefix("./")
    return name


def shown(name: str) -> str:
    """A name in which any bytes are readable."""
    return spelled(name.encode("utf-8", "surrogateescape"))


def reason_of(name: str, suffix: str, member: tarfile.TarInfo) -> str:
    """Why a member is not taken; "" if it may be."""
    parts = name.split("/")
    if any(part.startswith(".") and part not in (".", "..") for part in parts):
        return HIDDEN
    if any(map(is_system, parts)):
        return SYSTEM
    if not (member.isfile() or member.islnk() or member.issym()):
        return NO_FILE
    if suffix not in IMAGE_SUFFIXES and suffix not in LONGEST:
        known = suffix if re.fullmatch(r"\.[a-z][a-z0-9]{0,7}", suffix) else "another suffix"
        return IMAGE_REASONS[suffix] if suffix in OTHER_PICTURES else f"neither a picture nor a label ({known})"
    return SPARSE if member.issparse() else ""


def check_end(file: BinaryIO, end: int, last: Member | None, index: TarIndex) -> None:
    """Raise ValueError unless a tar, whose last member ends at `end`, ends there as tars do."""
    size = file.seek(0, 2)
    file.seek(end)
    block = file.read(tarfile.BLOCKSIZE)
    if block.strip(b"\0"):
        raise ValueError(f"the header at byte {end} is damaged, and what comes behind it is lost")
    if len(block) < tarfile.BLOCKSIZE:
        raise ValueError(f"it has no end: it is cut behind byte {end}")
    at = end + len(block)
    while block := file.read(2**20):
        if rest := block.lstrip(b"\0"):
            at += len(block) - len(rest)
            raise ValueError(
                f"it goes on behind its end, from byte {at}: either it is damaged, or it is several tars in one, "
                f"which belong in files of their own"
            )
        at += len(block)
    if last is not None and last.place is not None:
        start, length = last.place
        file.seek(start)
        sealed = file.read(4).startswith(SEALED)
        file.seek(start + max(0, length - 8))
        if sealed and not file.read(min(length, 8)).strip(b"\0"):
            raise ValueError(
                f"its last member {shown(last.name)} ends in zeros: it is cut, and filled up with them"
            )
    if size - end > RECORD:
        index.notes.append(
            f"ends in {size - end:,} bytes of zeros, more than is usual: it may have been cut and filled up, and "
            f"its last members be lost; compare its size or digest with where it comes from"
        )
    elif size % tarfile.BLOCKSIZE or size - end < 2 * tarfile.BLOCKSIZE:
        index.notes.append("is cut in the zeros at its end, so no member is lost")


def resolved(members: list[Member], index: TarIndex) -> list[Member]:
    """The members with the places that links lead to; the first of each name."""
    by_name: dict[str, Member] = {}
    for member in members:
        by_name.setdefault(posixpath.normpath(member.name), member)
    found = []
    seen: set[str] = set()
    for member in members:
        at: Member | None = member
        for _ in range(HOPS):
            if at is None or at.place is not None:
                break
            at = by_name.get(at.target)
        if at is None or at.place is None:
            index.skipped.append((shown(member.name), DANGLING))
        elif member.name in seen:
            second = SECOND_PICTURE if member.suffix in IMAGE_SUFFIXES else SECOND_LABEL
            index.skipped.append((shown(member.name), second))
        else:
            seen.add(member.name)
            found.append(Member(member.name, member.suffix, at.place))
    return found


def read_labels(file: BinaryIO, members: list[Member], label: str | None, index: TarIndex) -> dict[str, Said]:
    """What each .cls and .json says, by the stem of its name."""
    said: dict[str, Said] = {}
    for member in members:
        if member.suffix in IMAGE_SUFFIXES or member.place is None:
            continue
        if member.place[1] > LONGEST[member.suffix]:
            index.skipped.append((shown(member.name), LONG))
            continue
        file.seek(member.place[0])
        content = file.read(member.place[1])
        try:
            facts = said.setdefault(member.stem, Said())
            if member.suffix == CLS:
                facts.cls = class_of(content) if label is None else None
            elif (keys := keys_of(content)) is None:
                index.skipped.append((shown(member.name), NO_OBJECT))
            else:
                facts.keys = keys
        except (ValueError, RecursionError) as error:
            raise ValueError(f"in its member {shown(member.name)}: {error}") from error
    return said


def choose(members: list[Member], said: dict[str, Said], label: str | None, index: TarIndex) -> None:
    """Find each sample's picture.

    A name without its last suffix is a sample if it has no dot, or a label of its own. A picture with a dot in its
    name and without a label of its own belongs to the sample up to the first dot, as WebDataset has it: it is that
    one's picture if no other is.
    """
    pictures: dict[str, Member] = {}
    for member in members:
        if member.suffix in IMAGE_SUFFIXES and pictures.setdefault(member.stem, member) is not member:
            index.skipped.append((shown(member.name), SECOND_PICTURE))

    def labelled(stem: str) -> bool:
        facts = said.get(stem)
        return facts is not None and (facts.cls is not None if label is None else label in facts.keys)

    def part_of(stem: str) -> str:
        """The sample that a picture is one of several of; "" if it is a sample's own."""
        whole = up_to_dot(stem)
        return "" if whole == stem or labelled(stem) or not (whole in pictures or labelled(whole)) else whole

    parts = Counter(part_of(stem) for stem in pictures)
    used = set()
    for stem, member in pictures.items():
        assert member.place is not None
        whole = part_of(stem)
        if whole and (whole in pictures or parts[whole] > 1):
            index.skipped.append((shown(member.name), OTHER_PICTURE if whole in pictures else SEVERAL_PICTURES))
            continue
        key = whole or stem
        used.add(key)
        index.samples.append((shown(key), member.place, said.get(key, Said())))
    left = [member for member in members if member.suffix in LONGEST and member.stem not in used]
    index.skipped += [(shown(member.name), NO_PICTURE) for member in left]


def up_to_dot(stem: str) -> str:
    """WebDataset's key of a name: its last part ends at the first dot."""
    folder, slash, name = stem.rpartition("/")
    return folder + slash + name.partition(".")[0]


def class_of(content: bytes) -> int | str | None:
    """The number or name in a .cls; None if it is empty. Raises ValueError."""
    text = content.decode("utf-8-sig").strip()
    if re.fullmatch(r"[+-]?[0-9]{1,18}(\.0*)?", text):
        return int(text.partition(".")[0])
    if UNPRINTABLE.search(text) or len(text.splitlines()) > 1:
        raise ValueError("a class has one line of text")
    return text or None


def keys_of(content: bytes) -> dict[str, Any] | None:
    """The keys of a .json: None, booleans, numbers and texts, and why others are no labels. Raises ValueError."""
    found = json.loads(content, object_pairs_hook=Pairs, parse_constant=lambda _: None)
    if not isinstance(found, Pairs):
        return None
    keys: dict[str, Any] = {}
    for key, value in found:
        name = writable(key)
        fit = (
            Unfit(NESTED)
            if isinstance(value, Pairs | list)
            else writable(value)
            if isinstance(value, str)
            else value
        )
        keys[name] = Unfit(TWICE) if name in keys and keys[name] != fit else fit
    return keys


class Pairs(list[tuple[str, Any]]):
    """The keys and values of an object in JSON, in which a key may be given twice."""


def writable(text: str) -> str:
    """A text that UTF-8 can hold: halves of surrogate pairs, which JSON can spell, become their code."""
    return text.encode("utf-8", "backslashreplace").decode()
