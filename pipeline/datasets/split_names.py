"""Which split a file belongs to, by its path: `train-000000.tar`, `data/validation-00000-of-00002.parquet`."""

import re

SPLIT = re.compile(r"(?:^|[-_./])(train(?:ing)?|val(?:id(?:ation)?)?|test)(?=[-_./])")
NAMES = {"training": "train", "valid": "val", "validation": "val"}


def split_of(path: str) -> str:
    """`train`, `val` or `test` as the path says, the file's own name first; `train` if it says nothing."""
    folder, _, name = path.rpartition("/")
    found = SPLIT.search(name) or SPLIT.search(folder + "/")
    return NAMES.get(found[1], found[1]) if found else "train"
