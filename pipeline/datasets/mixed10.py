"""Mixed-10: ten superclasses of ImageNet's training images, balanced (Lin et al., 2020, OM-ImageNet)."""

import math
import re
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from pipeline.datasets.balance import even_shares
from pipeline.datasets.files import ImageManifest, ImageReader, with_notes
from pipeline.datasets.formats import IMAGE_SUFFIXES
from pipeline.datasets.ids import sample_ids
from pipeline.datasets.mixed10_classes import MIXED10
from pipeline.datasets.walk import Skipped, entries_beside, list_files, moved
from pipeline.errors import DatasetError

TRAIN_SHARE = 0.9  # of each class, in the order of the file names
TREES = ("train", "ILSVRC/Data/CLS-LOC/train", "")
ALL_CLASSES = 1000
NOT_NEEDED = "not needed: its superclass has as many as are taken of each"
OTHER_CLASS = "a class of ImageNet that is not in Mixed-10"
OUTSIDE = "beside ImageNet's folders of training images"


class Mixed10Manifest(ImageManifest):
    """Manifest of Mixed-10."""

    format: Literal["imagenet-mixed10"]
    train_per_class: int = Field(default=6948, ge=1, description="training images of each superclass")
    test_per_class: int = Field(default=720, ge=1, description="test images of each superclass")


class Mixed10(ImageReader):
    """Reader of Mixed-10 from ImageNet's training folders, all thousand of them or at least the sixty."""

    manifest_model = Mixed10Manifest
    manifest: Mixed10Manifest

    @property
    def classes(self) -> tuple[str, ...]:
        """The ten superclasses."""
        return self.manifest.classes or tuple(MIXED10)

    def tree(self) -> Path | None:
        """The folder of the class folders."""
        wanted = [wnid for members in MIXED10.values() for _, wnid, _ in members]
        tops = [self.root / name for name in TREES]
        return next((top for top in tops if any((top / wnid).is_dir() for wnid in wanted)), None)

    def lacking(self) -> list[str]:
        """The training folders."""
        return [] if self.tree() else ["train/n02085620/*.JPEG and the other class folders"]

    def scan(self) -> pd.DataFrame:
        """List the images so that every beginning of a split is balanced over superclasses and their classes.

        The first 90 % of each ImageNet class's files, by name, may be used for training, the others for test: the
        splits share no image. Where a superclass has fewer than asked, all are cut to that number.
        """
        self.check_present()
        top = self.tree()
        assert top is not None
        check_ranks(self.manifest.name, top)
        if len(self.classes) != len(MIXED10):
            raise DatasetError(
                f"dataset '{self.manifest.name}': 'classes' in the manifest names {len(self.classes)}, and "
                f"Mixed-10 has {len(MIXED10)}"
            )
        prefix = "" if top == self.root else top.relative_to(self.root).as_posix() + "/"
        notes: list[str] = []
        skipped: list[Skipped] = []
        pools = {name: self.pools(top, name, notes, skipped) for name in MIXED10}
        parts = []
        asked = {"train": self.manifest.train_per_class, "test": self.manifest.test_per_class}
        for split, per_class in asked.items():
            have = {name: sum(map(len, pools[name][split])) for name in MIXED10}
            count = min(per_class, *have.values())
            if count < per_class:
                scarce = min(have, key=lambda name: have[name])
                notes.append(
                    f"{split}: {count:,} images of each superclass instead of {per_class:,}, because '{scarce}' "
                    f"has no more and the classes stay balanced"
                )
            for label, name in enumerate(MIXED10):
                for kind, pool in enumerate(pools[name][split]):
                    take = even_shares([len(p) for p in pools[name][split]], count)[kind]
                    parts.append(rows_of(pool[:take], split, label, kind))
                    skipped += [(f"{prefix}{file}", NOT_NEEDED) for file in pool[take:]]
        samples = pd.concat(parts, ignore_index=True)
        if samples.empty:
            raise DatasetError(f"dataset '{self.manifest.name}': a superclass has no images in {top}; {notes[0]}")
        samples = samples.sort_values(["test", "rank", "kind", "label"], kind="stable", ignore_index=True)
        samples["source"] = prefix + samples["source"]
        samples["id"] = sample_ids(samples["id"], samples["source"])
        skipped += self.others(prefix)
        return with_notes(samples.drop(columns=["test", "rank", "kind"]), notes, sorted(skipped))

    def others(self, prefix: str) -> list[Skipped]:
        """What lies beside the sixty classes; folders are not looked into."""
        wanted = frozenset(wnid for members in MIXED10.values() for _, wnid, _ in members)
        beside = entries_beside(self.root, f"{prefix}{min(wanted)}", OUTSIDE, wanted)
        classes = re.compile(rf"{re.escape(prefix)}n\d{{8}}/")
        return [(path, OTHER_CLASS if classes.fullmatch(path) else reason) for path, reason in beside]

    def pools(
        self, top: Path, superclass: str, notes: list[str], skipped: list[Skipped]
    ) -> dict[str, list[list[str]]]:
        """For each split, the files of each of a superclass's six classes."""
        prefix = "" if top == self.root else top.relative_to(self.root).as_posix() + "/"
        pools: dict[str, list[list[str]]] = {"train": [], "test": []}
        for _, wnid, name in MIXED10[superclass]:
            listing = list_files(top / wnid, IMAGE_SUFFIXES)
            skipped += moved(listing.skipped, f"{prefix}{wnid}")
            files = [f"{wnid}/{file}" for file in listing.taken]
            if not files:
                notes.append(f"superclass '{superclass}' lacks {wnid} ({name}): no images in {top / wnid}")
            border = math.ceil(TRAIN_SHARE * len(files))
            pools["train"].append(files[:border])
            pools["test"].append(files[border:])
        return pools


def rows_of(files: list[str], split: str, label: int, kind: int) -> pd.DataFrame:
    """Table of some files of one class; `rank` interleaves the classes."""
    source = pd.Series(files, dtype="str")
    return pd.DataFrame(
        {
            "id": source.str.replace(r"^.*/|\.[^./]*$", "", regex=True),
            "split": split,
            "label": np.int64(label),
            "source": source,
            "wnid": source.str.slice(0, 9),
            "test": split == "test",
            "rank": np.arange(len(files)),
            "kind": kind,
        }
    )


def check_ranks(dataset: str, top: Path) -> None:
    """Where all of ImageNet is there, its own order must give the indices of the table. Raises DatasetError."""
    try:
        wnids = sorted(path.name for path in top.iterdir() if re.fullmatch(r"n\d{8}", path.name))
    except OSError as error:
        raise DatasetError(f"dataset '{dataset}': {top} cannot be read ({error.strerror})") from error
    if len(wnids) != ALL_CLASSES:
        return
    for members in MIXED10.values():
        for index, wnid, name in members:
            if wnids[index] != wnid:
                raise DatasetError(
                    f"dataset '{dataset}': the thousand folders of {top} are not those of ILSVRC-2012: number "
                    f"{index} is {wnids[index]}, not {wnid} ({name}); point 'root' at ILSVRC-2012"
                )
