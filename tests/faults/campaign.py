"""Damages a whole build again and again: each is named, consumed by nothing in silence, and mended.

python -m tests.faults.campaign --count 2000 --seed 0
"""

import argparse
import gc
import json
import os
import re
import shutil
import tempfile
import traceback
from functools import _lru_cache_wrapper
from pathlib import Path

import pytest

from pipeline.encoders import open_encoder
from pipeline.errors import PipelineError
from pipeline.generators import open_generator
from pipeline.perceptual import perceptual_digest
from tests import conftest
from tests.conftest import Finished, Tiny, run_pipeline
from tests.faults.damaging import Damage, damages
from tests.faults.whole_build import Twin, command_of, commands, make_whole_build

# What holds times: build.toml and its copies, records of chunks, and how long directions took.
TIMED = re.compile(r"(\.ledger/)?build\.toml(\.json)?|\.ledger/.+/\d+\.json|\.ledger/directions/.+/end\.json")
# Consumers of what lies where, as a pattern of the damaged file, what the ledger calls a command, and its new name.
CONSUMERS = (
    (
        r"(build\.toml|samples\.parquet|latents\.zarr/.*|variants/.*)",
        "shard/mixed",
        "shards/{}/(wds|parquet)/.*-.*",
    ),
    (r"directions\.zarr/.*", "augment/natra", r"variants/{}\.zarr/.*/c/.*"),
    (r"evaluate/classifiers/.*", "augment/advmix", r"variants/{}\.zarr/.*/c/.*"),
    (r"\.cache/.*", "augment/randmix", r"variants/{}\.zarr/.*/c/.*"),
    (r"shards/.*", "evaluate", r"{}/classifiers/.*\.safetensors"),
)


SHOWN = r"build\.toml|samples\.parquet|latents\.zarr/.*|variants/.*|\.ledger/(invert|augment|build|samples).*"


class Campaign:
    """A whole build, a copy to damage, and what must hold after each damage."""

    def __init__(self, tiny: Tiny, dataset: Path, folder: Path):
        """Make the build, of a copy of the dataset; `folder` is empty."""
        shutil.copytree(dataset.parent, folder / "data")
        dataset = folder / "data" / dataset.name
        (dataset.parent / "images" / "train" / "notes.txt").write_text("no picture")
        self.every = commands(tiny, dataset, folder / "b")
        make_whole_build(tiny, dataset, folder / "b")
        (folder / "b").rename(folder / "pristine")
        self.tiny = tiny
        self.twin = Twin(folder / "pristine", folder / "b")
        self.build = self.twin.build

    def sample(self, count: int, seed: int) -> list[Damage]:
        """Damages over every kind of file."""
        return damages([(name, (self.build / name).stat().st_size) for name in self.twin.files()], count, seed)

    def try_one(self, damage: Damage, *, named_only: bool = False) -> None:
        """Damage the copy, and assert that it is named, not consumed in silence, and mended to the same bytes."""
        before = (self.build / damage.file).read_bytes()
        damage.do(self.build)
        if (self.build / damage.file).is_file() and (self.build / damage.file).read_bytes() == before:
            return  # the last byte was cut off an empty file
        try:
            assert run_pipeline("status", "--build", self.build).code in (0, 2)
            if named_only:
                found = self.verify()
                assert found.code == 1, found
                assert found.json["problems"], found
                return
            self.check_consumers(damage)
            self.check_named_and_mended(damage)
        finally:
            self.twin.put_right()
            forget_what_was_read()

    def verify(self, *extra: str) -> Finished:
        """Run `verify`."""
        forget_what_was_read()
        return run_pipeline("verify", "--build", self.build, "--json", *extra)

    def check_consumers(self, damage: Damage) -> None:
        """What reads the file refuses it, or gives what it gives without the damage."""
        forget_what_was_read()
        self.check_networks(damage.file)
        for pattern, name, results in CONSUMERS:
            if not re.fullmatch(pattern, damage.file):
                continue
            arguments, place = renamed(self.every[name], name)
            done = run_pipeline(*arguments)
            if done.code == 0:
                self.check_alike(name, place, results)
            else:
                assert done.code == 2, done
            self.damage_again(damage)
        if re.fullmatch(SHOWN, damage.file):
            report = run_pipeline(*self.every["report"])
            assert report.code in (0, 2)
            undone = damage.file.startswith(".ledger/")  # the rows of a chunk without a record are not shown
            assert report.code == 2 or undone or self.twin.same("report/index.html"), "the report differs"
            self.damage_again(damage)

    def damage_again(self, damage: Damage) -> None:
        """Undo what a command has done since the damage."""
        self.twin.put_right()
        damage.do(self.build)
        forget_what_was_read()

    def check_alike(self, name: str, place: str, results: str) -> None:
        """What a command has made under another name is what it made before."""
        kind, _, original = name.partition("/")
        made, wanted = (
            {
                path.relative_to(root)
                .as_posix()
                .replace(f"/{word}", "/NAME")
                .replace(f"{word}/", "NAME/"): path.read_bytes()
                for path in sorted(root.rglob("*"))
                if path.is_file() and re.fullmatch(results.format(word), path.relative_to(root).as_posix())
            }
            for root, word in ((self.build, place), (self.twin.pristine, original or kind))
        )
        assert made, (name, place, results)
        assert [key for key in made.keys() | wanted.keys() if made.get(key) != wanted.get(key)] == []

    def check_networks(self, file: str) -> None:
        """A network that was trained here is refused, or is what it was."""
        folder = file.partition("/")[0]
        if folder not in ("generator", "encoder", "perceptual", "shifted"):
            return
        digests = []
        for root in (self.twin.pristine, self.build):
            try:
                found = []
                for name in ("generator", "encoder", "perceptual"):
                    path = root / folder / f"{name}.toml"
                    if not (self.twin.pristine / folder / f"{name}.toml").is_file():
                        continue
                    shifted = str(root / "shifted" / "generator.toml")
                    given = shifted if folder == "shifted" else str(self.tiny.generator)
                    if name == "generator":
                        found.append(open_generator(str(path)).sha256)
                    elif name == "encoder":
                        found.append(open_encoder(str(path), given).sha256)
                    else:
                        found.append(perceptual_digest(str(path)))
                digests.append(found)
            except PipelineError:
                return
        assert digests[0] == digests[1]

    def check_named_and_mended(self, damage: Damage) -> None:
        """`verify` names it; what `--repair` does, and the commands it names, give the same bytes again."""
        repaired = self.verify("--repair")
        assert repaired.code == 1, repaired
        assert repaired.json["problems"], repaired
        again = {name for sentence in repaired.json["repaired"] for name in self.named(sentence)}
        for name, arguments in self.every.items():
            if name in again:
                fresh = ["--fresh"] if name == "generator" and "/grids/" in damage.file else []
                done = run_pipeline(*arguments, *fresh)
                assert done.code == 0, done
        clean = self.verify()
        assert (clean.code, clean.json["problems"]) == (0, []), (clean, repaired)
        assert [name for name in self.twin.differing() if not TIMED.fullmatch(name)] == []
        for name in self.twin.differing():
            if name.startswith(".ledger/") and name.endswith(".json"):
                one, other = (json.loads((root / name).read_bytes()) for root in (self.twin.pristine, self.build))
                timeless(one), timeless(other)
                assert one == other, name

    def named(self, sentence: str) -> list[str]:
        """The commands that a sentence of `--repair` speaks of."""
        found = re.fullmatch(
            r"run again, as it was run before: pipeline (\S+)(?: --name (\S+))? --build .*", sentence
        )
        if found is None:
            return []
        kind, name = found.groups()
        trained = {"train-generator": "generator", "train-encoder": "encoder", "train-perceptual": "perceptual",
                   "shift-generator": "shifted"}  # fmt: skip
        if kind in ("augment", "shard", "directions") and name:
            return [f"{kind}/{name}"]
        return [command_of("cache/unrelated" if kind == "augment" else trained.get(kind, kind), self.every)]


def timeless(record: dict[str, object]) -> None:
    """Take out of a record what differs from run to run, and the digest of it."""
    for key in ("seconds", "finished", "worker", "sha256", "details", "digests"):
        record.pop(key, None)


def renamed(arguments: list[str], name: str) -> tuple[list[str], str]:
    """A command that writes beside what it wrote before, and where."""
    kind = name.partition("/")[0]
    if kind == "evaluate":
        return [*arguments, "--name", "probe"], "evaluate-probe"
    return [*arguments, "--name", "probe"], "probe"


def forget_what_was_read() -> None:
    """Empty the caches of what was read from the build, as a new process would have them."""
    for found in gc.get_objects():
        if type(found) is _lru_cache_wrapper and found.__module__.startswith(("stages.", "pipeline.")):
            found.cache_clear()


def main() -> None:
    """Run so many damages, and print those after which something did not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--named-only", action="store_true", help="only whether `verify` names each")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ONMANIFOLD_WEIGHTS"] = str(Path(folder) / "weights")
        factory = Folders(Path(folder))
        campaign = Campaign(plain(conftest.tiny)(factory), plain(conftest.few_digits)(factory), factory.mktemp("c"))
        failed = 0
        for number, damage in enumerate(campaign.sample(chosen.count, chosen.seed)):
            if number < chosen.first:
                continue
            try:
                campaign.try_one(damage, named_only=chosen.named_only)
            except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 (reported, and counted)
                failed += 1
                where = "".join(traceback.format_tb(error.__traceback__)[-2:])
                print(f"{number}: {damage}: {type(error).__name__}: {str(error)[:1500]}\n{where}", flush=True)
            if number % 50 == 49:
                print(f"{number + 1} damages, {failed} failures", flush=True)
    print(f"{chosen.count - chosen.first} damages, {failed} failures")


class Folders:
    """Gives folders as pytest does."""

    def __init__(self, root: Path):
        self.root = root

    def mktemp(self, name: str) -> Path:
        """A new folder."""
        (self.root / name).mkdir()
        return self.root / name


def plain(fixture: object) -> object:
    """The function behind a fixture."""
    return fixture.__wrapped__  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
