"""A tree of class folders: which images belong to which class of which split, and what may be meant otherwise."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import PurePosixPath

from pipeline.datasets.label_notes import alike_notes, quoted
from pipeline.datasets.split_names import splits_in
from pipeline.datasets.walk import Listing, Skipped

ORDER = ("train", "val", "test")
LOOSE = "a picture beside the class folders, in none of them"
NO_CLASS = "its folder is not one of 'classes' in the manifest"
NO_SPLIT = "its folder is not one of 'splits' in the manifest"

Trees = Mapping[
    str, str
]  # folders that hold a folder for each class, below the root ("": the root) -> their splits
Images = dict[tuple[str, str], list[str]]  # tree and class -> paths below the root, sorted


class Folders:
    """Which folders and images lie in which folder; paths are relative to the root, which is ""."""

    def __init__(self, listing: Listing):
        self.below: dict[str, list[str]] = defaultdict(list)
        self.images: dict[str, list[str]] = defaultdict(list)
        for folder in listing.folders:
            parent, _, name = folder.rpartition("/")
            self.below[parent].append(name)
        for path in listing.taken:
            self.images[path.rpartition("/")[0]].append(path)

    def splits(self, folder: str) -> dict[str, str]:
        """Folders in a folder that look like splits rather than classes, with their splits.

        Two different ones do; one does if it is all there is, or if it holds nothing but folders.
        """
        found = splits_in(self.below[folder], alone=True)
        paths = [joined(folder, name) for name in found]
        hold_folders = any(self.below[path] and path not in self.images for path in paths)
        alone = len(found) == len(self.below[folder]) and folder not in self.images
        return found if len(set(found.values())) > 1 or alone or hold_folders else {}

    def nested(self, found: Images) -> list[str]:
        """A note on the first class that holds no pictures itself, but several folders of them, if there is one."""
        for (tree, name), paths in found.items():
            place = joined(tree, name)
            inner = {path[len(place) + 1 :].partition("/")[0] for path in paths}
            if place not in self.images and len(inner) > 1:
                return [
                    f"all images of the class {name!r} lie in folders of its own ({quoted(inner)}), which are no "
                    f"classes: if they should be, point 'root' or 'splits' at what they lie in"
                ]
        return []

    def sort_out(self, trees: Trees, declared: tuple[str, ...]) -> tuple[Images, list[Skipped]]:
        """The images by tree and class (of those declared, if any are), and those of no class, with the reason."""
        places = {joined(tree, name): (tree, name) for tree in trees for name in declared or self.below[tree]}
        found: Images = {place: [] for folder, place in places.items() if folder not in trees}
        loose: list[Skipped] = []
        for folder, paths in self.images.items():
            above = [folder, *map(str, PurePosixPath(folder).parents)] if folder else []
            nearest = next((name for name in above if name in places or name in trees), "")
            if nearest in places and nearest not in trees:
                found[places[nearest]] += paths
            elif folder in trees or not folder:
                loose += [(path, LOOSE) for path in paths]
            else:
                loose += [(path, NO_CLASS if nearest in trees else NO_SPLIT) for path in paths]
        for paths in found.values():
            paths.sort()
        return found, loose


def split_notes(folders: Folders, trees: Trees, found: Images, declared: bool) -> list[str]:
    """Splits that lack images, that share a name, or that may have been forgotten."""
    notes = []
    looks = splits_in(folders.below[""], alone=True).keys() - {tree.partition("/")[0] for tree in trees}
    if "" in trees:
        looks -= {name for _, name in found} if declared else set()
        kind = "beside the 'classes' of the manifest" if declared else "taken as classes"
    else:
        kind = "not among the 'splits' of the manifest"
    if looks:
        notes.append(f"called like splits, and {kind}: {quoted(looks)}")
    named = {name for (_, name), paths in found.items() if paths}
    for split in dict.fromkeys(trees.values()):
        several = [tree for tree in trees if trees[tree] == split]
        if len(several) > 1:
            notes.append(f"the split '{split}' is made of several folders: {quoted(several)}")
        there = {name for (tree, name), paths in found.items() if tree in several and paths}
        if not there:
            notes.append(f"the split '{split}' has no images in class folders")
        elif lacking := named - there:
            notes.append(f"the split '{split}' has no images of some classes: {quoted(lacking)}")
    return notes


def class_notes(found: Images, classes: tuple[str, ...], declared: bool) -> list[str]:
    """Classes without images, and those whose names are hardly different."""
    notes = []
    empty = {name for _, name in found} - {name for (_, name), paths in found.items() if paths}
    if empty and declared:
        notes.append(f"declared classes without images, which keep their numbers: {quoted(empty)}")
    elif empty:
        notes.append(
            f"folders without images, which are no classes: {quoted(empty)}; if they should have a number, list "
            f"all classes in 'classes' of the manifest"
        )
    return notes + alike_notes(classes)


def joined(folder: str, name: str) -> str:
    """A path below the root."""
    return f"{folder}/{name}" if folder else name


def splits_line(found: Mapping[str, str], above: str = "") -> str:
    """The line of a manifest that names these folders as splits."""
    names = sorted(found, key=lambda name: (ORDER.index(found[name]), name))
    return "splits = [{}]".format(", ".join(f'"{joined(above, name)}"' for name in names))
