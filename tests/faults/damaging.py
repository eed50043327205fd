"""Seeded damages to files: a flipped bit, a cut, a deletion, bytes behind the end."""

import re
from dataclasses import dataclass
from pathlib import Path
from random import Random

HOW = ("flip", "cut", "delete", "append")


@dataclass(frozen=True)
class Damage:
    """What is done to a file, by its path in the build."""

    file: str
    how: str
    place: float

    def __str__(self) -> str:
        return f"{self.how} {self.file} at {self.place:.3f}"

    def do(self, build: Path) -> None:
        """Damage the file where it lies, without a rename."""
        path = build / self.file
        if self.how == "delete":
            path.unlink()
            return
        data = bytearray(path.read_bytes())
        bit = int(self.place * 8 * len(data))
        if self.how == "flip":
            data[bit // 8] ^= 1 << bit % 8
        elif self.how == "cut":
            del data[bit // 8 :]
        else:
            data += Random(self.place).choice([b" ", b"\n", b"\0", bytes(data[-7:]), b"{}"])
        path.write_bytes(data)


def kind_of(file: str) -> str:
    """Files that are alike: the same place, with numbers and names of sets left out."""
    return re.sub(r"\d+", "0", re.sub(r"(nominal|mixed|randmix|mixi|natra|advmix)", "NAME", file))


def damages(files: list[tuple[str, int]], count: int, seed: int) -> list[Damage]:
    """As many damages spread evenly over every kind of file, of files with their sizes."""
    kinds: dict[str, list[tuple[str, int]]] = {}
    for file, size in files:
        kinds.setdefault(kind_of(file), []).append((file, size))
    rng, made, names = Random(seed), [], sorted(kinds)
    rng.shuffle(names)
    while len(made) < count:
        for name in names[: count - len(made)]:
            file, size = rng.choice(kinds[name])
            how = rng.choice(HOW if size else ("delete", "append"))
            made.append(Damage(file, how, rng.random()))
    return made
