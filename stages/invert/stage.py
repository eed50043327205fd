"""The stage: images of a chunk in, rows of latents.zarr out; those that went badly twice."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.build import Build
from pipeline.capacity import telling_what_fits
from pipeline.config import digest_of
from pipeline.devices import resolve_device
from pipeline.encoders import open_encoder
from pipeline.errors import SampleError
from pipeline.generators import open_generator
from pipeline.images import Pixels
from pipeline.ledger import Record, read_record
from pipeline.listing import ABSENT, GONE, RETRY
from pipeline.outputs import rows_output
from pipeline.perceptual import perceptual_digest
from pipeline.redo import keep_aside
from pipeline.run import limited_chunks
from pipeline.samples import count_samples, update_samples
from pipeline.stage import Chunk, ChunkResult
from pipeline.store import (
    ArraySpec,
    create_group,
    read_rows,
    remove_group,
    rows_digest,
    shard_samples,
    write_rows,
)
from stages.invert.config import InvertConfig
from stages.invert.fit import Fitter, given_w, is_poor
from stages.invert.latents import ComposedCodes, compose_layer, make_latents
from stages.invert.outcomes import good_rows, outcome, recorded

METRICS = ("lpips", "l1", "psnr", "steps")


@dataclass(frozen=True)
class Invert:
    """Projects every sample into W+ and records how well that went; `config.chunk_size` is not 0."""

    config: InvertConfig
    generator: str
    perceptual: str
    encoder: str | None = None
    limit: int | None = None
    device: str = "auto"
    batch_size: int | None = None
    compiled: bool = False

    name: ClassVar[str] = "invert"
    version: ClassVar[int] = 3
    reads_images: ClassVar[bool] = True
    upstream: ClassVar[tuple[str, ...]] = ()

    def settings(self, build: Build) -> dict[str, Any]:
        """Configuration and the digests of both networks."""
        return {
            **asdict(self.config),
            "generator": open_generator(self.generator).sha256,
            "perceptual": perceptual_digest(self.perceptual),
            "encoder": "" if self.encoder is None else open_encoder(self.encoder, self.generator).sha256,
        }

    def arrays(self) -> dict[str, ArraySpec]:
        """Layout of latents.zarr."""
        network = open_generator(self.generator).network
        size = network.resolution
        specs = {"w": ArraySpec("float32", (network.num_ws, network.w_dim), ("layer", "channel"), sharded=True)}
        specs |= {name: ArraySpec("float32") for name in METRICS}
        specs["label"] = ArraySpec("int64", fill=-1)
        latents = make_latents(self.config, open_generator(self.generator))
        if isinstance(latents, ComposedCodes):
            shape = (latents.count, latents.read, network.w_dim)
            specs["codes"] = ArraySpec("float32", shape, ("code", "read", "channel"), sharded=True)
            weights = (latents.count, latents.channels)
            specs["alpha"] = ArraySpec("float32", weights, ("code", "feature"), sharded=True)
        if self.config.store_images:
            pixels = ArraySpec("uint8", (size, size, 3), ("y", "x", "rgb"), sharded=True, compress=True)
            specs |= {"image": pixels, "original": pixels}
        return specs

    def plan(self, build: Build) -> list[Chunk]:
        """Create latents.zarr with a row for every sample, and cut its rows into chunks."""
        rows = count_samples(build.samples_path)
        attributes: dict[str, Any] = {
            "dataset": build.manifest.name,
            "generator": self.generator,
            "generator_sha256": open_generator(self.generator).sha256,
            "perceptual": self.perceptual,
            "rows": "as in samples.parquet",
        }
        if self.config.codes > 1:
            attributes["compose_layer"] = compose_layer(self.config, open_generator(self.generator).network)
        resolution = open_generator(self.generator).network.resolution
        shard = shard_samples(self.config.chunk_size, resolution)
        create_group(build.latents_path, rows, shard, self.arrays(), attributes)
        return self.chunks(build)

    def chunks(self, build: Build) -> list[Chunk]:
        """The samples in pieces."""
        rows = count_samples(build.samples_path)
        return limited_chunks(build, self.name, rows, self.config.chunk_size, self.limit)

    def inputs(self, build: Build, chunk: Chunk) -> str:
        """Digest of what identifies the chunk's samples; `changed_rows` looks at each."""
        return digest_of(build.samples("id", start=chunk.start, stop=chunk.stop)["id"].tolist())

    def changed_rows(self, build: Build, chunk: Chunk, record: Record) -> list[int]:
        """Rows whose picture or label is another than it was, or that failed and are to be tried again."""
        samples = build.samples("id", "label", "sha256", "status", start=chunk.start, stop=chunk.stop)
        before = self.before(samples, record)
        changed = before["picture"] | before["label"]
        return (chunk.start + np.flatnonzero(changed)).tolist()

    def before(self, samples: pd.DataFrame, record: Record) -> dict[str, NDArray[np.bool_]]:
        """Of a recorded chunk, and rows new to it: whether the picture is to be inverted, whether the label is."""
        details, first = record["details"], record["start"]
        known = samples.iloc[: record["stop"] - first]
        ids, digests, labels = (known[name].to_numpy() for name in ("id", "sha256", "label"))
        other = np.ones(len(samples), dtype=bool)  # so is what the record does not speak of
        other[: len(known)] = (digests != "") & (digests != np.array(details["sha256"], object))
        other[: len(known)] |= ids != np.array(details.get("ids", ids), object)
        failed = np.isin(np.arange(len(samples)) + first, [int(row) for row in record["failures"]])
        here, again = ((samples["status"] != GONE).to_numpy(), (samples["status"] == RETRY).to_numpy())
        relabelled = other.copy()
        relabelled[: len(known)] = np.array(details.get("labels", labels)) != labels
        return {"picture": here & (other | (failed & again)), "label": here & relabelled}

    def run(self, build: Build, chunk: Chunk) -> ChunkResult:
        """Load the images, fit w+ to them, store rows and metrics."""
        samples = build.samples("id", "label", "source", "status", start=chunk.start, stop=chunk.stop)
        here = np.flatnonzero(samples["status"] != GONE)
        columns = self.blank(len(chunk))
        details: dict[str, Any] = {"sha256": [""] * len(chunk), "unreadable": [], "retried": 0, "first_lpips": {}}
        failures = {int(chunk.start + row): ABSENT for row in np.setdiff1d(np.arange(len(chunk)), here)}
        self.fit(build, chunk, samples, here, columns, details, failures)
        return self.stored(build, chunk, columns, failures, details)

    def mend(self, build: Build, chunk: Chunk, rows: Sequence[int]) -> ChunkResult:
        """Invert some pictures of a chunk anew and keep the others; labels are those of the table."""
        record = read_record(build, self.name, chunk.index)
        assert record is not None
        samples = build.samples("id", "label", "source", "sha256", "status", start=chunk.start, stop=chunk.stop)
        places = np.array(rows) - chunk.start
        places = places[self.before(samples, record)["picture"][places]]
        gone = np.flatnonzero(samples["status"] == GONE)
        empty = np.union1d(places, gone)  # `run` keeps nothing of what is gone either, should this be killed
        columns = read_rows(build.latents_path, list(self.arrays()), chunk.start, chunk.stop)
        for name, values in self.blank(len(empty)).items():
            columns[name][empty] = values
        anew, known = set((chunk.start + empty).tolist()), record["details"]
        digests = np.array(known["sha256"] + [""] * (len(chunk) - len(known["sha256"])), object)
        digests[gone] = ""
        first = {row: distance for row, distance in known["first_lpips"].items() if int(row) not in anew}
        details = {
            **known,
            "sha256": digests.tolist(),
            "unreadable": [row for row in known.get("unreadable", []) if row not in anew],
            "retried": len(first),
            "first_lpips": first,
        }
        failures = {int(row): reason for row, reason in record["failures"].items() if int(row) not in anew}
        failures |= {int(chunk.start + place): ABSENT for place in gone}
        self.fit(build, chunk, samples, places, columns, details, failures)
        result = self.described(build, chunk, columns, failures, details)
        keep_aside(build, self.name, chunk, columns, result)
        write_rows(build.latents_path, chunk.start, columns)
        return result

    def blank(self, count: int) -> dict[str, NDArray[Any]]:
        """Rows of which nothing is known."""
        return {
            name: np.full((count, *spec.tail), np.nan if spec.dtype == "float32" else 0, spec.dtype)
            for name, spec in self.arrays().items()
        }

    def fit(
        self,
        build: Build,
        chunk: Chunk,
        samples: pd.DataFrame,
        places: NDArray[np.intp],
        columns: dict[str, NDArray[Any]],
        details: dict[str, Any],
        failures: dict[int, str],
    ) -> None:
        """Invert the samples at some places of a chunk into its columns; tell digests and failures of each."""
        given = self.config.method == "given"
        originals, digests, problems = load_images(build, samples["source"].iloc[places].tolist(), given)
        columns["label"] = samples["label"].to_numpy(np.int64)
        details["ids"], details["labels"] = samples["id"].tolist(), samples["label"].tolist()
        details["sha256"] = list(details["sha256"])
        for place, digest in zip(places, digests, strict=True):
            details["sha256"][place] = digest
        for i, problem in problems.items():
            row = int(chunk.start + places[i])
            failures[row] = str(problem)
            details["unreadable"] += [row] if problem.unreadable else []
        rows = places[sorted(originals)]
        if len(rows):
            chosen = samples.iloc[rows]
            pixels = np.stack([originals[i] for i in sorted(originals)])
            with telling_what_fits(self.generator, self.perceptual, resolve_device(self.device)):
                fitted = self.fitter().fit(build, pixels, chosen["id"].tolist(), chosen["source"].tolist())
            for name in columns.keys() & fitted.keys():
                columns[name][rows] = fitted[name]
        for i in rows[~np.isfinite(columns["w"][rows]).all(axis=(1, 2))]:
            failures[int(chunk.start + i)] = "the optimisation diverged (not a finite number)"
            for name in columns.keys() - {"label"}:
                columns[name][i] = np.nan if columns[name].dtype.kind == "f" else 0

    def stored(
        self,
        build: Build,
        chunk: Chunk,
        columns: dict[str, NDArray[Any]],
        failures: dict[int, str],
        details: dict[str, Any],
    ) -> ChunkResult:
        """Write a chunk's rows and describe them."""
        write_rows(build.latents_path, chunk.start, columns)
        return self.described(build, chunk, columns, failures, details)

    def described(
        self,
        build: Build,
        chunk: Chunk,
        columns: dict[str, NDArray[Any]],
        failures: dict[int, str],
        details: dict[str, Any],
    ) -> ChunkResult:
        """What is said of a chunk's rows."""
        path, digest = build.latents_path, rows_digest(columns)
        details["to_end"] = chunk.stop == count_samples(build.samples_path)
        output = rows_output(build.root, path, list(columns), chunk.start, chunk.stop, digest)
        return ChunkResult(outputs=[output], failures=failures, details=details)

    def fitter(self) -> Fitter:
        """What inverts images here."""
        names = (self.generator, self.perceptual, self.encoder)
        return Fitter(self.config, *names, resolve_device(self.device), self.batch_size, self.compiled)

    def to_revise(self, build: Build, records: list[Record]) -> dict[int, list[int]]:
        """The rows whose first inversion was poor among all first ones, unless they have had their second."""
        if self.config.method in ("given", "encoder"):
            return {}
        good = good_rows(build, records)
        (first,) = read_rows(build.latents_path, ("lpips",), 0, len(good)).values()
        retried = {int(row): distance for r in records for row, distance in r["details"]["first_lpips"].items()}
        first[list(retried)] = list(retried.values())
        poor = np.flatnonzero(good)[is_poor(first[good], self.config.poor)]
        waiting = [int(row) for row in poor if row not in retried]
        found = {r["chunk"]: [row for row in waiting if r["start"] <= row < r["stop"]] for r in records}
        return {chunk: rows for chunk, rows in found.items() if rows}

    def revise(self, build: Build, chunk: Chunk, rows: Sequence[int]) -> ChunkResult:
        """Fit some rows once more, with patience; whichever result is nearer stays."""
        record = read_record(build, self.name, chunk.index)
        assert record is not None
        columns = read_rows(build.latents_path, list(self.arrays()), chunk.start, chunk.stop)
        places = np.array(rows) - chunk.start
        samples = build.samples("id", "source", start=chunk.start, stop=chunk.stop).iloc[places]
        first = {str(row): float(columns["lpips"][place]) for row, place in zip(rows, places, strict=True)}
        originals, _, _ = load_images(build, samples["source"].tolist(), given=False)
        readable = sorted(originals)
        if readable:
            pixels = np.stack([originals[i] for i in readable])
            with telling_what_fits(self.generator, self.perceptual, resolve_device(self.device)):
                again = self.fitter().fit_again(build, pixels, samples["id"].iloc[readable].tolist())
            places = places[readable]
            better = again["lpips"] < columns["lpips"][places]
            for name in columns.keys() & again.keys():
                columns[name][places[better]] = again[name][better]
        first = {**record["details"]["first_lpips"], **first}
        details = {**record["details"], "retried": len(first), "first_lpips": first}
        failures = {int(row): reason for row, reason in record["failures"].items()}
        return self.stored(build, chunk, columns, failures, details)

    def finish(self, build: Build, records: list[Record]) -> dict[str, Any]:
        """Write status, digest and error of each sample to samples.parquet; return the quality."""
        count = count_samples(build.samples_path)
        good = good_rows(build, records)
        quality = read_rows(build.latents_path, ("psnr", "lpips", "steps"), 0, count)
        poor = good.copy()
        poor[good] = is_poor(quality["lpips"][good], self.config.poor)
        done = recorded(build, self.name, count)
        update_samples(build.samples_path, lambda rows, first: outcome(rows, first, records, poor, done))
        summary = {"poor": int(poor.sum()), "retried": sum(r["details"]["retried"] for r in records)}
        if not good.any():
            return summary
        return {
            **summary,
            "psnr_mean": round(float(quality["psnr"][good].mean()), 2),
            "psnr_min": round(float(quality["psnr"][good].min()), 2),
            "lpips_mean": round(float(quality["lpips"][good].mean()), 4),
            "steps_mean": round(float(quality["steps"][good].mean()), 1),
        }

    def reset(self, build: Build) -> None:
        """Delete latents.zarr."""
        remove_group(build.latents_path)


def load_images(
    build: Build, sources: list[str], given: bool
) -> tuple[dict[int, Pixels], list[str], dict[int, SampleError]]:
    """Read images; return the readable ones by index, every digest, and why the others cannot be used.

    Args:
        given: their latents are wanted too.
    """
    images: dict[int, Pixels] = {}
    failures: dict[int, SampleError] = {}
    digests = []
    for i, source in enumerate(sources):
        try:
            loaded = build.reader.load(source)
            if given:
                given_w(build, source)
        except SampleError as error:
            failures[i] = error
            digests.append("")
        else:
            images[i] = loaded.pixels
            digests.append(loaded.sha256)
    return images, digests, failures
