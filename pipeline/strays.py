"""What lies in a build and is in no record: half-written files, files where ours belong, and other people's."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.belongings import END, chunk_files, read_end
from pipeline.build import Build
from pipeline.files import leftovers
from pipeline.kept import copy_path, seal_path
from pipeline.ledger import NUMBER, all_records
from pipeline.sealed import read_sealed
from pipeline.store import block_rows, problem_of_metadata

# Where a stage or command writes to, and what it is called in the ledger.
PLACES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"shards/([^/]+)/wds/([^/]+\.tar|_info\.json|sizes\.json)", r"shard/\1"),
        (r"shards/([^/]+)/parquet/[^/]+\.parquet", r"shard/\1"),
        (r"shards/([^/]+)/dmat/[^/]+/\d+\.h5", r"shard/\1"),
        (r"shards/([^/]+)/(manifest\.json|README\.md|croissant\.json)", r"shard/\1"),
        (r"(evaluate(-[^/]+)?)/results\.(csv|json|html)", r"\1"),
        (r"skipped\.csv", "listing"),
        (r"report/(index\.html|overview\.png)", "report"),
        (r"directions/([^/]+)/u\d+_\d+-\d+\.png", r"directions/\1"),
        (r"directions\.zarr/([^/]+)/.+", r"directions/\1"),
        (r"(generator|encoder|perceptual|shifted)/(\1|generator|encoder|checkpoint)\.(toml|safetensors)", r"\1"),
        (r"(generator)/(metrics\.jsonl|grids/\d+\.png)", r"\1"),
        (r"\.cache/((preconditioner|unrelated)-[^/]+)", r"cache/\1"),
    )
)
CACHED = re.compile(r"\.cache/(decoded|mended|probes|workers)/.+")  # of a killed command, unless a record names it
EVALUATED = re.compile(r"evaluate(-[^/]+)?/(measures|classifiers)/.+\.(json|toml|safetensors)")


@dataclass(frozen=True)
class Strays:
    """Files that no record names.

    Attributes:
        leftovers: of killed runs, by their names.
        unrecorded: with the stage or command that writes files of such names there.
        strangers: anybody else's, relative to the build; of a folder of strangers only its name.
    """

    leftovers: list[Path]
    unrecorded: list[tuple[Path, str]]
    strangers: list[str]


def find_strays(build: Build, stages: Mapping[str, Any], troubled: set[str]) -> Strays:
    """Look at every file of a build; of stages and commands that are in trouble anyway, nothing more is told."""
    halves = leftovers(build.root)
    owned = owned_files(build, stages)
    groups = {path: owned_blocks(build, path, name) for path, name in zarr_groups(build, stages).items()}
    unrecorded: list[tuple[Path, str]] = []
    unknown: list[str] = []
    inside: set[str] = set(owned)
    for path in all_files(build.root):
        name = path.relative_to(build.root).as_posix()
        if name in owned or any(path == half or half in path.parents for half in halves):
            continue
        owner = owner_of(path, name, groups)
        if CACHED.fullmatch(name):
            halves.append(path)
        elif owner is None:
            unknown.append(name)
        else:
            inside.add(name)
            if owner and owner not in troubled:
                unrecorded.append((path, owner))
    return Strays(halves, unrecorded, collapsed(unknown, inside))


def owned_files(build: Build, stages: Mapping[str, Any]) -> set[str]:
    """Whole files that records name, and the records themselves."""
    kept = (build.info_path, build.samples_path)
    known = [build.root / ".lock", *(path for one in kept for path in (one, copy_path(one), seal_path(one)))]
    owned = {path.relative_to(build.root).as_posix() for path in known}
    ledger = build.root / ".ledger"
    for path in all_files(ledger):
        if path.name == END or (path.suffix == ".json" and NUMBER.fullmatch(path.stem)):
            owned.add(path.relative_to(build.root).as_posix())
            if path.name == END:
                name = path.parent.relative_to(ledger).as_posix()
                record = read_end(build, name)
                owned |= (
                    set() if record is None else {file["file"] for file in record["files"]} | {*record["named"]}
                )
    for name in stages:
        owned |= {output["file"] for output in chunk_files(build, name)}
    return owned


def zarr_groups(build: Build, stages: Mapping[str, Any]) -> dict[Path, str]:
    """Zarr groups of the stages that there are, and which stage's each is."""
    variants = {f"augment/{name}": build.variants_path(name) for name in build.variant_names()}
    there = {"invert": build.latents_path, **variants}
    return {path: name for name, path in there.items() if name in stages}


@dataclass(frozen=True)
class Blocks:
    """What of a group is in records: the stage, and numbers of storage chunks by array."""

    stage: str
    whole: bool
    by_array: dict[str, set[int]]


def owned_blocks(build: Build, path: Path, name: str) -> Blocks:
    """Storage chunks of a group that records speak of; of one with damaged metadata nothing can be told."""
    if problem_of_metadata(path) is not None:
        return Blocks(name, False, {})
    steps = block_rows(path)
    blocks: dict[str, set[int]] = {array: set() for array in steps}
    for record in all_records(build, name):
        for output in record["outputs"]:
            for array in output.get("arrays", []):
                step = steps[array]
                blocks[array] |= set(range(output["start"] // step, -(-output["stop"] // step)))
    return Blocks(name, True, blocks)


def owner_of(path: Path, name: str, groups: Mapping[Path, Blocks]) -> str | None:
    """Whose a file is that no record names: a stage's or command's; "" if all is well; None if a stranger's."""
    for group, blocks in groups.items():
        if group in path.parents:
            return owner_in_group(path.relative_to(group).parts, blocks)
    if EVALUATED.fullmatch(name):
        return "" if path.suffix != ".json" or read_sealed(path) is not None else "evaluate"
    for pattern, owner in PLACES:
        if pattern.fullmatch(name):
            return pattern.sub(owner, name)
    return None


def owner_in_group(parts: tuple[str, ...], blocks: Blocks) -> str | None:
    """The same for a file inside a group."""
    if not blocks.whole or parts == ("zarr.json",):
        return ""
    array, rest = parts[0], parts[1:]
    if array not in blocks.by_array:
        return None
    if rest == ("zarr.json",):
        return ""
    if rest[0] != "c" or not all(part.isdecimal() for part in rest[1:]):
        return None
    return "" if int(rest[1]) in blocks.by_array[array] and set(rest[2:]) <= {"0"} else blocks.stage


def all_files(root: Path) -> list[Path]:
    """Every file below a folder, links to folders among them."""
    found = []
    for folder, folders, files in os.walk(root):
        found += [Path(folder, name) for name in files]
        found += [path for name in folders if (path := Path(folder, name)).is_symlink()]
    return sorted(found)


def collapsed(unknown: list[str], inside: set[str]) -> list[str]:
    """Names of strangers; of folders that hold nothing else only theirs, with a slash behind it."""
    ours = {parent.as_posix() for name in inside for parent in Path(name).parents}
    shown = []
    for name in unknown:
        outermost = [parent.as_posix() for parent in Path(name).parents if parent.as_posix() not in ours]
        shown.append(f"{outermost[-1]}/" if outermost else name)
    return sorted(set(shown))
