"""The stage: a shard set in, a classifier and its measures out, once for each seed."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pipeline.build import Build
from pipeline.classifiers.manifest import read_classifier, write_classifier
from pipeline.config import changed_options, digest_of
from pipeline.devices import resolve_device
from pipeline.errors import PipelineError
from pipeline.files import remove
from pipeline.generators import open_generator
from pipeline.images import to_float
from pipeline.latents import to_tensor
from pipeline.ledger import Record
from pipeline.outputs import file_output
from pipeline.seeds import seed_of
from pipeline.stage import Chunk, ChunkResult
from stages.augment.modes import MODES
from stages.evaluate.attacks import ATTACKS, REVISION, SEED, Attacked
from stages.evaluate.cache import cached, set_digest
from stages.evaluate.config import TRAINING, EvaluateConfig
from stages.evaluate.formats import class_names, split_files
from stages.evaluate.reading import Samples, check_split, read_split
from stages.evaluate.recipes import RECIPES
from stages.evaluate.rows import Row
from stages.evaluate.sizes import attack_slots
from stages.evaluate.training import train

UNRENDERED = frozenset(name for name, mode in MODES.items() if mode.pixels)  # kinds that no w+ renders
HELD = 4  # times as many are at hand, to take the places of those that are done


@dataclass(frozen=True)
class Evaluate:
    """Trains and measures the classifiers of one row of the table; chunk i is seed i.

    The classifier and every measure are kept under a key of what they depend on, so asking for another attack, or
    for other numbers of one, computes that and nothing else.
    """

    config: EvaluateConfig
    row: Row
    folder: str
    seeds: int
    attacks: tuple[str, ...]
    resolution: int
    generator: str = ""
    limit: int | None = None
    device: str = "auto"
    batch_size: int | None = None

    version: ClassVar[int] = 1
    reads_images: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The stage's name holds the row's."""
        return f"{self.folder}/{self.row.label}"

    @property
    def upstream(self) -> tuple[str, ...]:
        """The shard sets."""
        return tuple(dict.fromkeys((f"shard/{self.row.shards}", f"shard/{self.test_shards}")))

    @property
    def test_shards(self) -> str:
        """The set whose test split is measured."""
        return self.row.shards if self.config.test_set is None else self.config.test_set

    def settings(self, build: Build) -> dict[str, Any]:
        """What decides the classifiers; what decides measures only is part of the inputs."""
        rendered = {"generator": open_generator(self.generator).sha256} if self.row.latent else {}
        return {**self.config.training(), "recipe": self.row.recipe, "limit": self.limit or 0, **rendered}

    def plan(self, build: Build) -> list[Chunk]:
        """One chunk for each seed. Raises PipelineError where a set lacks what is asked of it."""
        folder, split = build.shards_path(self.row.shards), self.config.train_split
        check_split(folder, split, self.config.input_size, self.limit, decoded_folder(build))
        samples = self.test_samples(build)
        names = class_names(split_files(folder, split)[0])
        if names and samples.classes and names != samples.classes:
            raise PipelineError(
                f"the classes of the shard set '{self.row.shards}' are {', '.join(names[:3])} …, and those of "
                f"'{self.test_shards}' are {', '.join(samples.classes[:3])} …: name a --test-set of the same labels"
            )
        if any(ATTACKS[name].latent for name in self.attacks) and samples.latents is None:
            raise PipelineError(
                f"the shard set '{self.test_shards}' has no latents, which om-pgd and advmix need: "
                f"make it without --no-latents, or leave those attacks out of --attacks"
            )
        if self.row.latent:
            self.check_latents(self.training_samples(build))
        return [Chunk(seed, seed, seed + 1) for seed in range(self.seeds)]

    def check_latents(self, samples: Samples) -> None:
        """Raise PipelineError unless every training image is what its w+ renders."""
        if samples.latents is None:
            raise PipelineError(
                f"the shard set '{self.row.shards}' has no latents, which +{self.row.recipe} needs: "
                f"make it without --no-latents"
            )
        if stored := sorted(samples.kinds & UNRENDERED):
            raise PipelineError(
                f"the shard set '{self.row.shards}' has variants ({', '.join(stored)}) that no w+ renders, so "
                f"+{self.row.recipe} would train on other images: leave them out of the set"
            )

    def inputs(self, build: Build, chunk: Chunk) -> str:
        """Digest of the images trained on, and of what each attack depends on."""
        return digest_of([self.training_key(build), [self.attack_key(build, name) for name in self.attacks]])

    def training_key(self, build: Build) -> str:
        """Digest of what decides a classifier, but for its seed."""
        return digest_of(
            [self.settings(build), set_digest(build.shards_path(self.row.shards), self.config.train_split)]
        )

    def attack_key(self, build: Build, attack: str) -> str:
        """Digest of what decides a measure, but for the classifier."""
        images = set_digest(build.shards_path(self.test_shards), self.config.test_split)
        loaded = open_generator(self.generator) if ATTACKS[attack].latent else None
        generator = [loaded.sha256, loaded.fine_layers] if loaded else ""
        return digest_of([attack, REVISION, self.config.of_attack(attack), images, generator, self.limit])

    def training_samples(self, build: Build) -> Samples:
        """The split that is trained on, as the classifier sees it."""
        folder, split = build.shards_path(self.row.shards), self.config.train_split
        digest, size = set_digest(folder, split), self.config.input_size
        cache = decoded_folder(build)
        return read_split(folder, split, digest, size, self.limit, latents=self.row.latent, cache=cache)

    def test_samples(self, build: Build) -> Samples:
        """The samples that are measured, as the classifier sees them; with latents if an attack needs them."""
        folder, split = build.shards_path(self.test_shards), self.config.test_split
        digest, size = set_digest(folder, split), self.config.input_size
        latents, cache = any(ATTACKS[name].latent for name in self.attacks), decoded_folder(build)
        return read_split(folder, split, digest, size, self.limit, alone=True, latents=latents, cache=cache)

    def run(self, build: Build, chunk: Chunk) -> ChunkResult:
        """Train the classifier of a seed and measure it, each unless that is done."""
        seed, root = chunk.start, build.root / self.folder
        manifest, weights = (
            root / "classifiers" / f"{self.row.file(seed)}{end}" for end in (".toml", ".safetensors")
        )
        record = root / "measures" / self.row.file(seed)
        training = record.with_name(f"{record.name}-training.json")
        key = digest_of([self.training_key(build), seed])
        trained = cached(training, key, (weights, manifest), lambda: self.train(build, seed, manifest))
        measures, outputs = {}, [weights, manifest, training]
        network: nn.Module | None = None
        for attack in self.attacks:

            def measure(attack: str = attack) -> dict[str, Any]:
                nonlocal network
                network = network or self.load(manifest, trained["classes"])
                return self.measure(build, network, attack, trained["classes"])

            path = record.with_name(f"{record.name}-{attack}.json")
            attack_key = digest_of([self.attack_key(build, attack), trained["sha256"]])
            measures[attack] = cached(path, attack_key, (), measure)
            outputs.append(path)
        return ChunkResult(
            [file_output(build.root, path, 1) for path in outputs],
            details={
                "classifier": manifest.relative_to(build.root).as_posix(),
                "loss": trained["loss"],
                **measures,
            },
        )

    def train(self, build: Build, seed: int, manifest: Path) -> dict[str, Any]:
        """Train the classifier of a seed and write it with its manifest."""
        samples, c = self.training_samples(build), self.config
        device = resolve_device(self.device)
        recipe = RECIPES[self.row.recipe].recipe
        generator = open_generator(self.generator, device.type).network if self.row.latent else None
        network, loss = train(samples, self.resolution, c, recipe, seed, device, generator, self.batch_size)
        sha256 = write_classifier(
            manifest.parent,
            manifest.stem,
            network,
            architecture=c.architecture,
            num_classes=samples.num_classes,
            classes=samples.classes,
            resolution=self.resolution,
            width=c.width,
            input_size=c.input_size,
            description=f"trained on the shard set {self.row.label} of {build.manifest.name}, seed {seed}",
            command=f"pipeline evaluate --dataset {build.manifest.name} --shards {self.row.label}"
            f" --seeds {seed + 1}{f' --limit {self.limit}' if self.limit else ''}{changed_options(c, TRAINING)}",
        )
        return {"classes": samples.num_classes, "loss": loss, "sha256": sha256, "samples": len(samples.labels)}

    def load(self, manifest: Path, num_classes: int) -> nn.Module:
        """A classifier that this stage has written, read anew: what is measured is what lies there."""
        network = read_classifier(str(manifest), num_classes, self.resolution).network
        return network.to(resolve_device(self.device)).eval().requires_grad_(False)

    def measure(self, build: Build, network: nn.Module, attack: str, classes: int) -> dict[str, Any]:
        """How many test samples a classifier of so many classes recognises under an attack."""
        samples, entry = self.test_samples(build), ATTACKS[attack]
        if samples.labels.max() >= classes:
            raise PipelineError(
                f"the shard set '{self.test_shards}' has label {samples.labels.max()}, and the classifier of "
                f"'{self.row.shards}' tells {classes} classes apart: name a --test-set with the same labels"
            )
        chosen = torch.arange(len(samples.labels))
        if attack != "clean" and self.config.attack_samples:
            chosen = attacked_first(samples.ids)[: self.config.attack_samples]
        slots = self.slots(network, samples, entry.latent)
        right = torch.cat(
            [
                entry.attack(self.batch(network, samples, rows, entry.latent, slots))
                for rows in chosen.split(HELD * slots)
            ]
        )
        return {"accuracy": float(right.float().mean()), "right": int(right.sum()), "samples": len(right)}

    def slots(self, network: nn.Module, samples: Samples, latent: bool) -> int:
        """Images attacked at once: --batch-size, or what fits."""
        if self.batch_size is not None:
            return self.batch_size
        device = resolve_device(self.device)
        generator = open_generator(self.generator, device.type).network if latent else None
        return attack_slots(network, samples.pixels.shape[1], device, generator)

    def batch(self, network: nn.Module, samples: Samples, rows: Tensor, latent: bool, slots: int) -> Attacked:
        """Some test samples, as an attack needs them, `slots` of them at once."""
        device = resolve_device(self.device)
        picked = rows.numpy()
        images, labels = to_float(samples.pixels[picked]), torch.from_numpy(samples.labels[picked])
        plain = Attacked(
            network,
            self.config,
            images.to(device),
            labels.to(device),
            [samples.ids[i] for i in picked],
            slots=slots,
        )
        if not latent:
            return plain
        assert samples.latents is not None
        loaded = open_generator(self.generator, device.type)
        w = to_tensor(samples.latents[picked]).to(device)
        return replace(plain, w=w, generator=loaded.network, fine_layers=loaded.fine_layers)

    def finish(self, build: Build, records: list[Record]) -> dict[str, Any]:
        """The mean of every measure."""
        means = {}
        for attack in self.attacks:
            values = [record["details"][attack]["accuracy"] for record in records]
            means[f"accuracy_{attack}"] = sum(values) / len(values)
        return {"seeds": self.seeds, **means}

    def reset(self, build: Build) -> None:
        """Delete the row's classifiers and measures."""
        own = re.compile(rf"{re.escape(self.row.shards)}-\d+(-[a-z-]+)?\.(toml|safetensors|json)")
        for kind in ("classifiers", "measures"):
            for path in (build.root / self.folder / kind / self.row.file(0)).parent.glob("*"):
                if own.fullmatch(path.name):
                    remove(path)


def decoded_folder(build: Build) -> Path:
    """Where the decoded images of large splits are, for all processes of a command."""
    return build.root / ".cache" / "decoded"


def attacked_first(ids: list[str]) -> Tensor:
    """An order of the samples that hangs on their ids alone, so that every set's are the same."""
    return torch.tensor(sorted(range(len(ids)), key=lambda i: seed_of(SEED, "attacked", ids[i])))
