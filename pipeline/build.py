"""A build directory: where everything made from one dataset lies, and who made it how."""

import fcntl
import os
import platform
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    import zarr

from pipeline.datasets import DatasetReader, parse_dataset
from pipeline.datasets.base import RESERVED_COLUMNS
from pipeline.datasets.labels import attribute_labels, nearest
from pipeline.errors import BuildError, ManifestError
from pipeline.files import typed, user_path
from pipeline.kept import check_kept, is_kept, kept_write, read_kept
from pipeline.manifest import DatasetManifest
from pipeline.samples import About, count_samples, open_table, read_about, read_samples

BUILDS = Path("builds")


@dataclass(frozen=True)
class Build:
    """One build directory. Cheap to make and to send to workers: it is only a path."""

    root: Path

    def __reduce__(self) -> tuple[type["Build"], tuple[Path]]:
        """Workers get the path, and open the dataset themselves."""
        return Build, (self.root,)

    # --- places -------------------------------------------------------------------------------------------

    @property
    def info_path(self) -> Path:
        """build.toml: the dataset's manifest and every stage's settings."""
        return self.root / "build.toml"

    @property
    def samples_path(self) -> Path:
        """samples.parquet: a row for each source sample."""
        return self.root / "samples.parquet"

    @property
    def latents_path(self) -> Path:
        """latents.zarr: w+ of every sample, and how well it was inverted."""
        return self.root / "latents.zarr"

    @property
    def directions_path(self) -> Path:
        """directions.zarr: sets of directions that edits move w along."""
        return self.root / "directions.zarr"

    def variants_path(self, name: str) -> Path:
        """variants/NAME.zarr: w+ of every variant, and where it came from."""
        return self.root / "variants" / f"{name}.zarr"

    def shards_path(self, name: str) -> Path:
        """shards/NAME: training shards."""
        return self.root / "shards" / name

    @property
    def report_path(self) -> Path:
        """report/index.html."""
        return self.root / "report" / "index.html"

    def ledger_path(self, stage: str) -> Path:
        """Folder of a stage's records."""
        return self.root / ".ledger" / stage

    # --- contents -----------------------------------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """Content of build.toml. Raises BuildError if there is none, or it is not as it was written."""
        if not is_kept(self.info_path):
            raise BuildError(f"{self.root} is not a build: it has no build.toml")
        check_kept(self.info_path)
        return self.parsed(self.info_path.read_bytes())

    def last_info(self) -> dict[str, Any]:
        """Content of build.toml, or of its second copy where that is damaged. Raises BuildError if both are."""
        return self.parsed(read_kept(self.info_path))

    def parsed(self, data: bytes) -> dict[str, Any]:
        """What build.toml says. Raises BuildError if that is not a build's."""
        try:
            info = tomllib.loads(data.decode())
        except ValueError as error:
            raise BuildError(f"cannot read {self.info_path}: {error}") from error
        if not isinstance(info.get("dataset"), dict) or not isinstance(info.get("stages", {}), dict):
            raise BuildError(f"{self.info_path} is not a build's: it names no dataset")
        return info

    def write_info(self, info: dict[str, Any]) -> None:
        """Replace build.toml."""
        import tomli_w

        with kept_write(self.info_path) as file:
            file.write(tomli_w.dumps(info).encode())

    @property
    def manifest(self) -> DatasetManifest:
        """The dataset's manifest, as it was when the build was begun."""
        return self._dataset[0]

    @property
    def reader(self) -> DatasetReader:
        """Reader of the source images."""
        return self._dataset[1]

    @cached_property
    def _dataset(self) -> tuple[DatasetManifest, DatasetReader]:
        return parse_dataset(self.info()["dataset"], self.info_path)

    def samples(self, *columns: str, start: int = 0, stop: int | None = None) -> pd.DataFrame:
        """The samples: id, split, label, source, attributes, sha256, status, error; or those columns and rows."""
        return read_samples(self.samples_path, columns or None, start, stop)

    def count(self) -> int:
        """Number of samples."""
        return count_samples(self.samples_path)

    @property
    def about(self) -> About:
        """Class names, names of attributes' values, notes: what the dataset said when its samples were listed."""
        return read_about(self.samples_path)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the labels."""
        return self.about.classes

    def labels(self, name: str | None = None) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """Labels [N] of all samples and the names of the classes: the dataset's, or an attribute's.

        Of samples that are gone the dataset tells no attribute any more; their label is 0.

        Raises:
            ManifestError: the dataset has no attribute of that name.
            DatasetError: the attribute cannot be a label.
        """
        if name is None:
            return self.samples("label")["label"].to_numpy(np.int64), self.classes
        with open_table(self.samples_path) as table:
            known = [column for column in table.schema_arrow.names if column not in RESERVED_COLUMNS]
        spelt = {column.lower(): column for column in known}
        column = spelt.get(name.strip().lower().replace(" ", "_"), spelt.get(name.strip().lower()))
        if column is None:
            raise ManifestError(
                f"--label {name}: dataset '{self.manifest.name}' has no such attribute, {nearest(name, known)}"
                if known
                else f"--label {name}: dataset '{self.manifest.name}' has no attributes: leave out --label"
            )
        samples = self.samples(column, "status")
        there = (samples["status"] != "gone").to_numpy()
        values, named = samples[column][there].reset_index(drop=True), self.about.label_values.get(column)
        labels = np.zeros(len(samples), np.int64)
        labels[there], classes = attribute_labels(values, named, column, self.manifest.name)
        return labels, classes

    def latents(self) -> "zarr.Group":
        """latents.zarr, read-only: `w` [N, num_ws, w_dim] and its metrics, rows as in `samples()`."""
        from pipeline.store import open_group

        return open_group(self.latents_path)

    def variants(self, name: str) -> "zarr.Group":
        """A variant set, read-only: `w` [M, num_ws, w_dim], `source`, `partner`, `label`, `valid`."""
        from pipeline.store import open_group

        return open_group(self.variants_path(name))

    def variant_names(self) -> list[str]:
        """Names of the variant sets that are there."""
        return sorted(path.stem for path in (self.root / "variants").glob("*.zarr"))

    def shard_names(self) -> list[str]:
        """Names of the shard sets that are there."""
        return sorted(path.name for path in (self.root / "shards").glob("*") if path.is_dir())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the build for this process; the system lets go of it however the process ends.

        Raises:
            BuildError: another run holds it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "another process"
                raise BuildError(
                    f"{self.root} is in use by {holder}: wait for it, or stop it; nothing was changed"
                ) from None
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}")
            file.flush()
            try:
                yield
            finally:
                file.truncate(0)


def open_build(path: str | Path) -> Build:
    """Open an existing build directory. Raises BuildError if there is none."""
    build = Build(user_path(path))
    build.info()
    return build


def resolve_build(dataset: str | None, build: str | None) -> Build:
    """Open the build a command means, as `find_build` finds it.

    Raises:
        BuildError: there is no such build, more than one could be meant, or its build.toml is damaged.
    """
    found = find_build(dataset, build)
    found.info()
    return found


def find_build(dataset: str | None, build: str | None) -> Build:
    """Find the build a command means: --build, else builds/DATASET, else the only one there is.

    Raises:
        BuildError: there is no such build, or more than one could be meant.
    """
    if build is not None or dataset is not None:
        path = build_place(dataset, build)
    else:
        found = sorted(path for path in BUILDS.glob("*") if is_kept(path / "build.toml"))
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise BuildError(f"which build? name one with --dataset or --build; here are: {names}")
        if not found:
            raise BuildError(
                f"there is no build under {BUILDS.resolve()}: begin with `pipeline invert --dataset color-digits`"
            )
        path = found[0]
    if not is_kept(path / "build.toml"):
        hint = f"pipeline invert --dataset {dataset or 'NAME'}" + (
            f" --build {typed(Path(build))}" if build else ""
        )
        raise BuildError(f"there is no build at {path}: begin one with `{hint}`")
    return Build(path.resolve())


def build_place(dataset: str | None, build: str | None) -> Path:
    """Where the build of a dataset is, or will be: --build, else builds/DATASET. One of the two is given."""
    return user_path(build if build is not None else BUILDS / Path(dataset or "").stem)


def changed_settings(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Name what differs, as `key: old -> new`."""
    keys = sorted(old.keys() | new.keys())
    return [
        f"{key}: {old.get(key, 'unset')!r} → {new.get(key, 'unset')!r}"
        for key in keys
        if old.get(key) != new.get(key)
    ]


def now() -> str:
    """The time as ISO 8601, in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0).isoformat()
