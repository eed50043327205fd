"""One walk through a folder: the files that are taken, and why everything else is not."""

import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.datasets.formats import ARCHIVES, OTHER_PICTURES

Skipped = tuple[str, str]  # path relative to the root, reason

HIDDEN = "hidden, for its name or a folder's begins with a dot"
SYSTEM = "left there by an operating system or a program"
NOT_UTF8 = "its name is not valid UTF-8"
NO_FILE = "neither a file nor a folder: a pipe, socket or device"
DANGLING = "a link to something that is not there"
READ_ELSEWHERE = "a folder that is read under another name"
ABOVE = "a link to a folder that it lies in"
UNREADABLE = "the folder cannot be read"
NO_SUFFIX = "its name has no suffix"
OTHER_SUFFIX = "its suffix is not one of an image"
ARCHIVE = "an archive, which is not looked into"

# What Windows, macOS, Synology, QNAP and mkfs leave behind, in lower case
_SYSTEM_NAMES = """
    thumbs.db ehthumbs.db ehthumbs_vista.db desktop.ini picasa.ini autorun.inf __macosx @eadir #recycle #snapshot
    @recycle @recently-snapshot $recycle.bin recycler lost+found __pycache__ ~snapshot @tmp lost.dir
    paxheader paxheaders pax_global_header
"""
SYSTEM_NAMES = frozenset(
    (*_SYSTEM_NAMES.split(), "icon\r", "system volume information", "network trash folder", "temporary items")
)
NUMBERED_SYSTEM_NAMES = re.compile(r"paxheaders?\.\d+")  # what a tar's long names are kept in
IMAGE_REASONS: Mapping[str, str] = {
    **{suffix: f"a kind of picture that is not read ({suffix})" for suffix in OTHER_PICTURES},
    **dict.fromkeys(ARCHIVES, ARCHIVE),
    "": NO_SUFFIX,
}


@dataclass
class Listing:
    """What lies below a folder; all paths are relative to it, with `/`, and sorted."""

    taken: list[str] = field(default_factory=list)  # files with the suffixes that were asked for
    skipped: list[Skipped] = field(default_factory=list)  # all other files, and folders that were not entered
    folders: list[str] = field(default_factory=list)  # those that were entered, but for hidden ones
    unreadable: list[str] = field(default_factory=list)  # those that could not be, "" for the root
    again: list[str] = field(default_factory=list)  # links among the files taken, whose file is taken besides

    def notes(self) -> list[str]:
        """A sentence on files that are taken under several names, if any are."""
        if not self.again:
            return []
        return [
            f"{len(self.again):,} of the files are links to files that are taken under another name as well, so "
            f"that what is in them counts several times: {readable(self.again[0])} is the first"
        ]


def list_files(
    root: Path,
    suffixes: frozenset[str],
    reasons: Mapping[str, str] = IMAGE_REASONS,
    otherwise: str = OTHER_SUFFIX,
    named: Iterable[str] = (),
) -> Listing:
    """Walk through a folder, the target of each link to a folder once.

    Linked files are taken. Folders that are hidden or a system's own are entered only to name what lies in them.

    Args:
        root: the folder; if it is not there, nothing is found.
        suffixes: of the files to take, in lower case and with their dot.
        reasons: why files of other suffixes are not taken, by suffix.
        otherwise: why the rest of them are not.
        named: folders below the root that keep their names if they are links to folders that lie there as well.
    """
    walk = _Walk(os.path.realpath(root), suffixes, reasons, otherwise)
    walk.follow_named(str(root), named)
    walk.enter("", str(root), walk.root, "")
    walk.follow_links()
    found = walk.found
    found.again = walk.taken_again()
    for paths in (found.taken, found.folders, found.unreadable):
        paths.sort()
    found.skipped.sort()
    return found


def files_below(root: Path, suffixes: frozenset[str]) -> list[str]:
    """Paths relative to `root` of the files with these suffixes, sorted."""
    return list_files(root, suffixes).taken


def entries_beside(root: Path, path: str, reason: str, used: frozenset[str] = frozenset()) -> list[Skipped]:
    """What lies beside a path below the root, in each of the folders above it, without looking into folders.

    Args:
        root: the folder that paths are relative to.
        path: what is used itself.
        reason: why the rest is not.
        used: names of other entries that are used.
    """
    found: list[Skipped] = []
    above, _, _ = path.rpartition("/")
    if above:
        found += entries_beside(root, above, reason)
    try:
        with os.scandir(root / above) as entries:
            for entry in entries:
                name = f"{above}/{entry.name}" if above else entry.name
                if name != path and entry.name not in used:
                    end = "/" if entry.is_dir(follow_symlinks=False) else ""
                    found.append((readable(name) + end, reason_of_name(entry.name) or reason))
    except OSError as error:
        found.append((readable(above) or ".", f"{UNREADABLE} ({error.strerror})"))
    return sorted(found)


def moved(skipped: list[Skipped], folder: str) -> list[Skipped]:
    """The same, of a listing of a folder below the root."""
    return [(f"{folder}/{path}".rstrip("/"), reason) for path, reason in skipped]


class _Walk:
    """The state of one walk."""

    def __init__(self, root: str, suffixes: frozenset[str], reasons: Mapping[str, str], otherwise: str):
        self.root = root
        self.suffixes, self.reasons, self.otherwise = suffixes, reasons, otherwise
        self.found = Listing()
        self.entered: set[str] = set()  # real paths
        self.asked: set[str] = set()  # links that are entered since they are asked for
        self.links: list[tuple[str, str]] = []  # path relative to the root and path of links to folders
        self.linked: list[tuple[str, str]] = []  # the same of links to files that are taken

    def enter(self, prefix: str, path: str, real: str, reason: str) -> None:
        """List a folder and what is below it. With a `reason`, nothing in it is taken."""
        waiting = [(prefix, path, real, reason)]
        while waiting:
            prefix, path, real, reason = waiting.pop()
            if not reason:
                if real in self.entered:  # through a link, before
                    self.skip(prefix.rstrip("/"), READ_ELSEWHERE)
                    continue
                self.entered.add(real)
            try:
                with os.scandir(path) as entries:
                    for entry in entries:
                        name = prefix + entry.name
                        own = reason or reason_of_name(entry.name)
                        if entry.is_symlink():
                            self.take_link(name, entry, own)
                        elif entry.is_dir(follow_symlinks=False):
                            waiting.append((name + "/", entry.path, f"{real.rstrip('/')}/{entry.name}", own))
                        elif entry.is_file(follow_symlinks=False):
                            self.take_file(name, own)
                        else:
                            self.skip(name, own or NO_FILE)
            except FileNotFoundError:
                if prefix:
                    self.skip(prefix.rstrip("/"), f"{UNREADABLE} (it has just gone)")
                continue
            except OSError as error:
                self.skip(prefix.rstrip("/"), reason or f"{UNREADABLE} ({error.strerror})")
                if not reason:
                    self.found.unreadable.append(prefix.rstrip("/"))
                continue
            if prefix and not reason:
                self.found.folders.append(prefix.rstrip("/"))

    def take_file(self, name: str, reason: str) -> None:
        """Take a file, or say why not."""
        suffix = suffix_of(name)
        if reason:
            self.skip(name, reason)
        elif suffix in self.suffixes:
            self.found.taken.append(name)
        else:
            self.skip(name, self.reasons.get(suffix, self.otherwise))

    def take_link(self, name: str, entry: "os.DirEntry[str]", reason: str) -> None:
        """Take a link to a file, keep one to a folder for later, or say why neither.

        A link to nothing is taken if it is called like a file to take: reading it fails, and may not fail tomorrow.
        """
        try:
            kind = stat.S_IFMT(entry.stat().st_mode)
        except OSError:
            kind = 0
        if reason or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            self.skip(name, reason or NO_FILE)
        elif kind == stat.S_IFDIR:
            self.links.append((name, entry.path))
        elif kind == stat.S_IFREG or suffix_of(name) in self.suffixes:
            self.take_file(name, "")
            if kind and suffix_of(name) in self.suffixes:
                self.linked.append((name, entry.path))
        else:
            self.skip(name, DANGLING)
            if not suffix_of(name):
                self.found.unreadable.append(name)

    def follow_named(self, root: str, named: Iterable[str]) -> None:
        """Enter the targets of links that are asked for by name, before what they lead to is met."""
        for name in sorted(named, key=lambda name: -name.count("/")):
            path = os.path.join(root, name)  # noqa: PTH118
            if os.path.islink(path) and os.path.isdir(path) and not leads_up(path, self.root):  # noqa: PTH112, PTH114
                real = os.path.realpath(path)
                if real not in self.entered:
                    self.asked.add(name)
                    self.enter(name + "/", path, real, "")

    def follow_links(self) -> None:
        """Enter the targets of links to folders, once each, after all that lies in the folder itself."""
        while self.links:
            batch, self.links = sorted(self.links), []
            for name, path in batch:
                real = os.path.realpath(path)
                if leads_up(path, self.root):
                    self.skip(name, ABOVE)
                elif real not in self.entered:
                    self.enter(name + "/", path, real, "")
                elif name not in self.asked:
                    self.skip(name, READ_ELSEWHERE)

    def taken_again(self) -> list[str]:
        """The links to files that are taken under their own names, or by an earlier link."""
        reals = {name: os.path.realpath(path) for name, path in sorted(self.linked)}
        plain = (
            {f"{self.root.rstrip('/')}/{name}" for name in self.found.taken if name not in reals}
            if reals
            else set()
        )
        again, seen = [], plain
        for name, real in reals.items():
            if real in seen:
                again.append(name)
            seen.add(real)
        return again

    def skip(self, name: str, reason: str) -> None:
        """Note what is not taken."""
        self.found.skipped.append((readable(name), reason))


def leads_up(path: str, root: str) -> bool:
    """Whether a link leads to a folder that it, or the root, lies in."""
    real, lies_in = os.path.realpath(path), os.path.realpath(os.path.dirname(path))  # noqa: PTH120
    return any(Path(folder).is_relative_to(real) for folder in (lies_in, root))


def reason_of_name(name: str) -> str:
    """Why a file or folder of this name is never taken; "" if it may be."""
    if name.startswith("."):
        return HIDDEN
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError:
            return NOT_UTF8
    return SYSTEM if is_system(name) else ""


def suffix_of(name: str) -> str:
    """A file's suffix in lower case, with its dot."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - a million Path objects take seconds


def is_system(name: str) -> bool:
    """Whether an operating system or a program leaves files or folders of this name."""
    return name.lower() in SYSTEM_NAMES or NUMBERED_SYSTEM_NAMES.fullmatch(name.lower()) is not None


def readable(path: str) -> str:
    """A path as text that tables can hold: bytes that are not UTF-8 as \\xNN."""
    return path if path.isascii() else os.fsencode(path).decode("utf-8", "backslashreplace")
