"""A small build that every stage and command has written to, and the commands that made it."""

import shutil
from pathlib import Path

from pipeline.files import remove_empty
from tests.conftest import Tiny, run_pipeline

WEAK = ("--restarts", "1", "--attack-steps", "1")
TRAINED = ("--threads", "1", "--train-batch", "4", "--device", "cpu")


def commands(tiny: Tiny, dataset: Path, build: Path) -> dict[str, list[str]]:
    """Commands by what the ledger calls what they write, in the order in which they are run."""
    here = ["--build", str(build)]
    on = ["--workers", "0", "--device", "cpu"]
    made = ["--dataset", str(dataset), *here]
    variants = ["augment", *here, *on, "--chunk-size", "40", "--variants", "1"]
    shards = ["shard", *here, *on, "--min-shards", "2", "--flagged"]
    judge = str(build / "evaluate" / "classifiers" / "nominal-0.toml")
    return {
        "invert": ["invert", *made, *tiny.networks, *on, "--chunk-size", "32", "--steps", "2", "--store-images"],
        "directions/pca": [
            "directions", *here, "--method", "pca", "--samples", "60", "--components", "2", "--score-samples", "3",
            "--ranges", "0-3,4-7", "--device", "cpu",
        ],
        "augment/randmix": [*variants, "--mode", "randmix"],
        "augment/mixi": [*variants, "--mode", "mixi"],
        "shard/nominal": [
            *shards, "--variants", "none", "--name", "nominal", "--format", "webdataset,parquet,dmat",
        ],
        "evaluate": [
            "evaluate", *here, *on, "--shards", "nominal", "--seeds", "2", "--width", "4", "--steps", "2",
            "--train-batch", "8", "--attacks", "clean,pgd", "--attack-samples", "2", "--pgd-steps", "1",
        ],
        "augment/natra": [
            *variants, "--mode", "natra", "--directions", "pca", "--classifier", judge, *WEAK,
        ],
        "augment/advmix": [*variants, "--mode", "advmix", "--classifier", judge, *WEAK],
        "shard/mixed": [*shards, "--variants", "randmix,mixi,natra,advmix", "--name", "mixed"],
        "generator": [
            "train-generator", *made, "--images", "16", "--snapshot", "8", "--train-batch", "4", "--channels",
            "4,4,4,4", "--discriminator-channels", "4,4,4,4", "--z-dim", "4", "--threads", "1", "--judge-epochs",
            "1", "--device", "cpu",
        ],
        "encoder": ["train-encoder", *made, *tiny.networks, *TRAINED, "--steps", "2", "--passes", "1"],
        "shifted": [
            "shift-generator", *made, *tiny.networks, *TRAINED, "--steps", "2", "--encoder",
            str(build / "encoder" / "encoder.toml"),
        ],
        "perceptual": ["train-perceptual", *made, "--steps", "2", "--train-batch", "4"],
        "report": ["report", *here, "--samples", "2", "--per-set", "1", "--device", "cpu"],
    }  # fmt: skip


def make_whole_build(tiny: Tiny, dataset: Path, build: Path) -> dict[str, list[str]]:
    """Run all of them; return them."""
    every = commands(tiny, dataset, build)
    for arguments in every.values():
        done = run_pipeline(*arguments)
        assert done.code == 0, (arguments, done.err)
    return every


def command_of(name: str, every: dict[str, list[str]]) -> str:
    """Which of the commands writes what the ledger calls by a name."""
    if name.startswith("cache/"):
        return "augment/randmix" if name.startswith("cache/unrelated") else "invert"
    return "evaluate" if name.startswith("evaluate") else name


class Twin:
    """A pristine build and a copy to be damaged, which is put right by copying what differs.

    Attributes:
        build: the copy.
    """

    def __init__(self, pristine: Path, build: Path):
        """Copy a build with the times of its files."""
        self.pristine, self.build = pristine, build
        shutil.copytree(pristine, build)

    def files(self) -> list[str]:
        """Every file of the pristine build, by its path in it."""
        return sorted(
            path.relative_to(self.pristine).as_posix() for path in self.pristine.rglob("*") if path.is_file()
        )

    def differing(self) -> list[str]:
        """Files that the two do not share byte for byte."""
        names = {path.relative_to(self.build).as_posix() for path in self.build.rglob("*") if path.is_file()}
        return sorted(name for name in names | set(self.files()) if not self.same(name))

    def same(self, name: str) -> bool:
        """Whether a file is the same in both."""
        one, other = self.pristine / name, self.build / name
        if not (one.is_file() and other.is_file()):
            return False
        a, b = one.stat(), other.stat()
        if (a.st_size, a.st_mtime_ns) == (b.st_size, b.st_mtime_ns):
            return True
        return one.read_bytes() == other.read_bytes()

    def put_right(self) -> None:
        """Make the copy what the pristine build is."""
        for name in self.differing():
            if (self.pristine / name).is_file():
                (self.build / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.pristine / name, self.build / name)
            else:
                (self.build / name).unlink()
                remove_empty((self.build / name).parent, self.build)
