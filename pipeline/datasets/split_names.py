"""Which split a file or folder belongs to, by its name: `train-000000.tar`, `Validation/0.parquet`, `val2017`."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# As Hugging Face's datasets read them; what is held out until the end is for testing
WORDS = {
    **dict.fromkeys(("train", "training", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "development"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation", "holdout", "heldout"), "test"),
}
# What may stand beside such a word and says no more: a number, a size, a year, a digest, `set`, `images`, …
FILLER = (
    r"(?:(?:sub)?sets?|data(?:sets?)?|images?|imgs?|pictures?|photos?|pics|samples?|files?|splits?|folders?|parts?|"
    r"shards?|batch(?:es)?|chunks?|full|all|final|original|resized|cropped|processed|clean(?:ed)?|raw|labell?ed|"
    r"jpe?g|png|snappy|zstd|gzip|copy|of|v)?\d*|\d+x\d+|\d+px|\d+k|[0-9a-f]{7,}"
)
FILLED = re.compile(rf"{FILLER}|[a-z]\d*")
WORD = re.compile(rf"({'|'.join(sorted(WORDS, key=len, reverse=True))})({FILLER})")
HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")  # in `testA`, `MNISTTest`
BETWEEN = re.compile(r"[-_ .,;=+~()\[\]{}]+")  # words: `split=test`, `test (1)`
PARTED = re.compile(r"\b(hold|held|train)[-_ .](out|val)(?![a-z])")


@dataclass(frozen=True)
class Said:
    """What a name says: the split, whether it says nothing else, and the name with the word left out."""

    split: str
    alone: bool  # `Test_set`, `val2017`; not `seg_test`
    sure: bool  # `seg_test`, `cifar-test-00`; not `test_tubes`
    rest: str


def said(name: str) -> Said | None:
    """What the name of a folder, or of a file without its suffix, says of a split; None if nothing, or two."""
    words = PARTED.sub(r"\1\2", HUMP.sub("_", name).lower())
    tokens = [token for token in BETWEEN.split(words) if token]
    plain = [FILLED.fullmatch(token) is not None for token in tokens]
    found = []
    for i, token in enumerate(tokens):
        if (match := WORD.fullmatch(token)) is not None:
            others = plain[:i] + plain[i + 1 :]
            rest = re.sub(r"\d+", "#", " ".join([*tokens[:i], "*" + match[2], *tokens[i + 1 :]]))
            found.append(Said(WORDS[match[1]], all(others), all(plain[i + 1 : i + 2]), rest))
    found = [reading for reading in found if reading.sure] or found
    return found[0] if len({reading.split for reading in found}) == 1 else None


def splits_in(names: Iterable[str], *, alone: bool = False) -> dict[str, str]:
    """Those of the names, all of one dataset, that say a split, with it; or `alone` those that say nothing else.

    What says more counts where its counterpart is there as well: `test_tubes` beside `train_tubes`.
    """
    found = {name: reading for name in names if (reading := said(name)) is not None}
    alike: dict[str, set[str]] = {}
    for reading in found.values():
        alike.setdefault(reading.rest, set()).add(reading.split)
    return {name: r.split for name, r in found.items() if (r.alone if alone else r.sure) or len(alike[r.rest]) > 1}


def split_of(path: str) -> str:
    """`train`, `val` or `test` as a file's path says, its own name first; `train` if it says nothing."""
    return splits_of([path])[0][0]


def splits_of(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """The split of each of a dataset's files, by their paths below the root, and notes on those that say none.

    A file's own name comes first, then its folders, the nearest first; what says nothing is for training.
    """
    parts = [path.split("/") for path in paths]
    stems = splits_in({stem_of(part[-1]) for part in parts})
    folders = splits_in({folder for part in parts for folder in part[:-1]})
    found = [
        stems.get(stem_of(part[-1])) or next((folders[name] for name in part[-2::-1] if name in folders), None)
        for part in parts
    ]
    silent = [path for path, split in zip(paths, found, strict=True) if split is None]
    unsure = [path for path in silent if any(map(said, [stem_of(path.rpartition("/")[2]), *path.split("/")[:-1]]))]
    advice = "put them into a folder train/, val/ or test/ if they are for something else; the first is"
    notes = []
    if silent and len(silent) < len(paths):
        notes.append(
            f"the names of {len(silent):,} of the {len(paths):,} files say no split, as the others do, and are "
            f"taken as train: {advice} {silent[0]}"
        )
    elif unsure:
        notes.append(
            f"the names of {len(unsure):,} files have the word of a split before another word, and are taken as "
            f"train: {advice} {unsure[0]}"
        )
    return [split or "train" for split in found], notes


def stem_of(name: str) -> str:
    """A file's name without its last suffix."""
    return name.rpartition(".")[0] or name
