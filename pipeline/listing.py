"""Lists a dataset's samples into a build, and takes in what has come, changed or gone since."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.belongings import forget, problem_of_end, writing
from pipeline.build import Build, changed_settings, now
from pipeline.datasets import DatasetReader, load_dataset, parse_dataset
from pipeline.datasets.base import RESERVED_COLUMNS
from pipeline.datasets.ids import numbered_where_equal
from pipeline.devices import cpu_count
from pipeline.errors import BuildError, DatasetError, SampleError
from pipeline.files import remove, user_path, write_bytes
from pipeline.kept import is_kept
from pipeline.samples import WITH_GAPS, About, read_about, read_samples, write_samples

GONE, RETRY = "gone", "retry"  # statuses of samples that are not there any more, or are to be tried again
KNOWN = ("sha256", "stamp", "status", "error")  # columns of what the build knows; the others are the dataset's
LISTING, SKIPPED = "listing", "skipped.csv"  # what the ledger calls the file beside samples.parquet, and its name
ABSENT = "not in the dataset any more"
# What a manifest may say otherwise later: where the files are, and what is only told of them.
MAY_CHANGE = ("root", "folder", "description", "licence", "homepage", "generator", "perceptual", "encoder")
NAMED = 3  # samples that a sentence names


@dataclass(frozen=True)
class Listing:
    """What a dataset holds now: the table of its samples, what is said of them, and what is not taken."""

    samples: pd.DataFrame
    about: About
    skipped: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Changes:
    """Ids of the samples that differ from what a build knew of them."""

    new: list[str]
    changed: list[str]
    relabelled: list[str]
    gone: list[str]
    back: list[str]
    retried: list[str]

    def sentence(self) -> str | None:
        """What has happened since the last listing; None if nothing has."""
        parts = [
            f"{len(ids):,} {what} ({', '.join(ids[:NAMED])}{', …' if len(ids) > NAMED else ''})"
            for what, ids in (
                ("new", self.new),
                ("changed, to be inverted again", self.changed),
                ("with another label, split or attribute", self.relabelled),
                ("gone from the dataset, so left out from now on", self.gone),
                ("there again", self.back),
                ("failed, to be tried again", self.retried),
            )
            if ids
        ]
        return f"samples since the last listing: {'; '.join(parts)}" if parts else None


def create_build(
    root: Path,
    dataset: str,
    *,
    label: str | None = None,
    fresh: bool = False,
    rescan: bool = False,
    retry_failed: bool = False,
) -> Build:
    """Open the build at `root`, or begin one for a dataset: list its samples, write build.toml and samples.parquet.

    Args:
        fresh: list the samples anew, from row 0; what was inverted does not belong to them any more.
        rescan: take in what has come, changed or gone since, where the build is there already.
        retry_failed: also try every failed sample again.

    Raises:
        BuildError: the build there was made from another dataset or other manifest keys.
        DatasetError: the dataset's files are missing.
    """
    manifest, reader = load_dataset(dataset, label)
    build = Build(user_path(root))
    content = manifest.model_dump(mode="json", exclude_none=True)
    if not is_kept(build.info_path) or not is_kept(build.samples_path) or fresh:
        begin(build, content, reader, fresh)
        return Build(build.root)
    refuse_other_dataset(build, content)
    if rescan:
        take_in(build, content, reader, retry_failed)
    return Build(build.root)


def rescan_build(build: Build, retry_failed: bool) -> Build:
    """Take in what has changed in the dataset that a build was begun with."""
    content = build.info()["dataset"]
    take_in(build, content, parse_dataset(content, build.info_path)[1], retry_failed)
    return Build(build.root)


def refuse_other_dataset(build: Build, content: dict[str, Any]) -> None:
    """Raise BuildError, naming what differs, if a build was made from another dataset."""
    old, new = (
        {key: value for key, value in each.items() if key not in MAY_CHANGE}
        for each in (build.info()["dataset"], content)
    )
    if changed := changed_settings(old, new):
        raise BuildError(
            f"{build.root} was made from another dataset ({'; '.join(changed)}): "
            f"name another --build, or use --fresh to start over"
        )


def begin(build: Build, content: dict[str, Any], reader: DatasetReader, fresh: bool) -> None:
    """Write a build's table and declare its dataset; what other stages declared stays."""
    found = list_dataset(reader)
    samples = found.samples.assign(
        sha256="", stamp=stamps(reader, found.samples["source"]), status="pending", error=""
    )
    with build.lock():
        stages = build.info().get("stages", {}) if is_kept(build.info_path) else {}
        if fresh:
            remove(build.ledger_path("invert"))  # its records are of other rows
        write_samples(build.samples_path, samples, found.about)
        write_skipped(build, found.skipped)
        info = {"onmanifold": version("onmanifold"), "created": now(), "dataset": content}
        build.write_info(info | ({"stages": stages} if stages else {}))


def list_dataset(reader: DatasetReader) -> Listing:
    """List a dataset. Raises DatasetError."""
    table = reader.scan()
    attributes, table.attrs = table.attrs, {}
    about = About(tuple(reader.classes), attributes.get("label_values", {}), tuple(attributes.get("notes", ())))
    return Listing(table, about, tuple(attributes.get("skipped", ())))


def take_in(build: Build, content: dict[str, Any], reader: DatasetReader, retry_failed: bool) -> None:
    """Bring a build's table up to what its dataset holds now. Rows stay where they are; new ones come last.

    Raises:
        DatasetError: the dataset cannot be listed, or holds none of the build's samples.
    """
    with build.lock():
        found = list_dataset(reader)
        old = read_samples(build.samples_path)
        old_about = about_of(build, content)
        samples, about, changes = merged(old, old_about, found, reader, retry_failed)
        if sentence := changes.sentence():
            click.echo(f"Note: {sentence}", err=True)
        write_samples(build.samples_path, samples, about)
        write_skipped(build, found.skipped)
        info = build.info()
        if info["dataset"] != content:
            build.write_info(info | {"dataset": content})


def about_of(build: Build, content: dict[str, Any]) -> About:
    """What a table says of its samples; nothing, if an earlier version wrote it."""
    try:
        return read_about(build.samples_path)
    except BuildError:
        return About(tuple(content.get("classes", ())))


def merged(
    old: pd.DataFrame, old_about: About, found: Listing, reader: DatasetReader, retry_failed: bool
) -> tuple[pd.DataFrame, About, Changes]:
    """The old rows with what is now known of them, then the new ones."""
    new = found.samples.assign(stamp=stamps(reader, found.samples["source"]))
    place = matched(old, new, reader)
    there, missing = np.flatnonzero(place >= 0), np.flatnonzero(place < 0)
    if len(there) == 0 and len(old):
        raise DatasetError(
            f"the dataset holds none of the {len(old):,} samples of this build: is its disk mounted, and is 'root' "
            f"right? Nothing was changed; --fresh begins with the samples that are there now"
        )
    about = joined(old_about, found.about)
    new["label"] = renumbered(new["label"], found.about.classes, about.classes)
    kept = with_the_missing(old, new.iloc[place[there]].set_axis(there), missing)
    was_gone = (old["status"] == GONE).to_numpy()
    relabelled = there[differ(old, kept, there) & ~was_gone[there]] if old_about.classes else there[:0]
    changed, retried = look_again(kept, old, there, reader, retry_failed)
    back = np.setdiff1d(there[was_gone[there]], changed)
    just_gone = missing[~was_gone[missing]]
    mark(kept, changed, "pending")
    mark(kept, np.concatenate([retried, back]), RETRY)
    mark(kept, just_gone, GONE, ABSENT)
    added = new.iloc[np.setdiff1d(np.arange(len(new)), place[there])].assign(sha256="", status="pending", error="")
    added["id"] = unused(added["id"], kept["id"])
    ids = kept["id"].to_numpy()
    changes = Changes(
        new=added["id"].tolist(),
        changed=ids[changed].tolist(),
        relabelled=ids[relabelled].tolist(),
        gone=ids[just_gone].tolist(),
        back=ids[back].tolist(),
        retried=ids[retried].tolist(),
    )
    samples = pd.concat([kept, added[kept.columns]], ignore_index=True) if len(added) else kept
    return samples, about, changes


def with_the_missing(old: pd.DataFrame, current: pd.DataFrame, missing: NDArray[np.intp]) -> pd.DataFrame:
    """All old rows: those there as the dataset has them now, the missing ones without their attributes."""
    ours = {name: old[name].iloc[current.index].to_numpy() for name in ("id", "sha256", "status", "error")}
    current = current.assign(**ours)
    current = current[[*(name for name in current.columns if name not in KNOWN), *KNOWN]]
    if len(missing) == 0:
        return current
    attributes = [name for name in current.columns if name not in RESERVED_COLUMNS]
    gaps = {name: WITH_GAPS[kind] for name in attributes if (kind := str(current[name].dtype)) in WITH_GAPS}
    columns = [name for name in current.columns if name in RESERVED_COLUMNS and name in old.columns]
    return pd.concat([current.astype(gaps), old.iloc[missing][columns]]).sort_index()


def differ(old: pd.DataFrame, kept: pd.DataFrame, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which of some rows have another split, label or value of an attribute that was known before."""
    found = np.zeros(len(rows), dtype=bool)
    for name in kept.columns:
        if name in old.columns and name not in ("id", "source", *KNOWN):
            before, after = (frame[name].iloc[rows].reset_index(drop=True) for frame in (old, kept))
            same = before.eq(after).fillna(False).astype(bool) | (before.isna() & after.isna())
            found |= ~same.to_numpy(bool)
    return found


def mark(kept: pd.DataFrame, rows: NDArray[np.intp], status: str, error: str = "") -> None:
    """Give rows a status."""
    kept.loc[rows, "status"], kept.loc[rows, "error"] = status, error


def matched(old: pd.DataFrame, new: pd.DataFrame, reader: DatasetReader) -> NDArray[np.intp]:
    """For each old row the new row of the same sample, or -1: by key, and where that fails by id."""
    keys = (pd.Index([reader.key(source) for source in frame["source"]]) for frame in (old, new))
    by_key, of_new = keys
    if not of_new.is_unique or not by_key.is_unique:
        by_key, of_new = pd.Index(old["id"]), pd.Index(new["id"])
    place = of_new.get_indexer(by_key)
    rest = np.flatnonzero(place < 0)
    free = np.setdiff1d(np.arange(len(new)), place)
    if len(rest) and len(free):
        by_id = pd.Index(new["id"].iloc[free]).get_indexer(pd.Index(old["id"].iloc[rest]))
        place[rest[by_id >= 0]] = free[by_id[by_id >= 0]]
    return place


def look_again(
    kept: pd.DataFrame, old: pd.DataFrame, there: NDArray[np.intp], reader: DatasetReader, retry_failed: bool
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The rows whose file has changed, with their new digest in `kept`, and the failed ones worth another try.

    Where a file's stamp is another, its bytes decide.
    """
    stamp = old["stamp"].to_numpy() if "stamp" in old else np.full(len(old), "", object)
    touched = there[kept["stamp"].to_numpy()[there] != stamp[there]]
    failed = np.intersect1d(np.flatnonzero(old["status"] == "failed"), there if retry_failed else touched)
    known = touched[old["sha256"].to_numpy()[touched] != ""]
    changed: list[int] = []
    with ThreadPoolExecutor(cpu_count()) as pool:
        digests = pool.map(lambda source: digest_or_error(reader, source), kept["source"].iloc[known])
        for row, found in zip(known.tolist(), digests, strict=True):
            if isinstance(found, SampleError):  # looked at again next time
                kept.loc[row, "stamp"] = stamp[row]
            elif found != old["sha256"].iloc[row]:
                kept.loc[row, "sha256"] = found
                changed.append(row)
    return np.array(changed, np.intp), np.setdiff1d(failed, changed)


def digest_or_error(reader: DatasetReader, source: str) -> str | SampleError:
    """The digest of a sample, or why it cannot be read."""
    try:
        return reader.digest(source)
    except SampleError as error:
        return error


def stamps(reader: DatasetReader, sources: Iterable[str]) -> list[str]:
    """The stamps of samples; "" where there is no file, or it cannot be read. A file of many is looked at once."""
    known: dict[str, str] = {}
    found = []
    for source in sources:
        container = reader.container(source)
        if container not in known:
            try:
                known[container] = reader.stamp(source)
            except SampleError:
                known[container] = ""
        found.append(known[container])
    return found


def joined(old: About, new: About) -> About:
    """Classes keep their numbers: those that are new come last."""
    values = {name: {**old.label_values.get(name, {}), **given} for name, given in new.label_values.items()}
    return About(tuple(dict.fromkeys((*old.classes, *new.classes))), values, new.notes)


def renumbered(labels: "pd.Series[int]", theirs: tuple[str, ...], ours: tuple[str, ...]) -> "pd.Series[int]":
    """Labels by our list of classes instead of theirs."""
    number = {name: i for i, name in enumerate(ours)}
    return labels.map({i: number[name] for i, name in enumerate(theirs)}).astype("int64")


def unused(ids: "pd.Series[str]", used: "pd.Series[str]") -> list[str]:
    """Ids that no other sample has: those given, with a number behind where one is taken."""
    return numbered_where_equal([*used, *ids])[len(used) :]


def write_skipped(build: Build, skipped: Iterable[tuple[str, str]]) -> None:
    """Write skipped.csv, a row for everything in the dataset's folder that is not a sample and why; or none."""
    table = pd.DataFrame(list(skipped), columns=["path", "reason"])
    data = table.to_csv(index=False, lineterminator="\n").encode("utf-8", "surrogateescape")
    path = build.root / SKIPPED
    if table.empty:
        forget(build, LISTING)
    elif not path.is_file() or path.read_bytes() != data or problem_of_end(build, LISTING) is not None:
        with writing(build, LISTING, [path]):
            write_bytes(path, data)


def skipped_notes(build: Build) -> list[str]:
    """One sentence that counts what was not taken, by reason; none if all was."""
    path = build.root / SKIPPED
    if not path.is_file():
        return []
    reasons = pd.read_csv(path, usecols=["reason"], encoding_errors="surrogateescape")["reason"].value_counts()
    parts = "; ".join(f"{count:,}: {reason}" for reason, count in reasons.items())
    return [f"not taken from the dataset's folder: {int(reasons.sum()):,} ({parts}); {path} lists them"]
