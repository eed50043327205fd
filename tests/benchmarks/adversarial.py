"""Adversarial variants against the loop that one would write down: a sample at a time, as a paper lists it.

Ours runs as `pipeline augment` runs it, a worker process of one thread on each core; the loop in one process of one
thread (with two it is slower: its operations are small).
"""

import multiprocessing
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.attacks.balls import uniform_in_ball
from pipeline.attacks.mix import typical
from pipeline.classifiers import classify
from pipeline.classifiers.judge import train_classifier
from pipeline.datasets.loading import load_split
from pipeline.devices import cpu_count, use_one_thread
from pipeline.generators import open_generator
from pipeline.generators.layered import LayeredGenerator
from pipeline.generators.layers import replace_layers
from pipeline.images import to_float
from pipeline.listing import create_build
from pipeline.seeds import normal_rows, torch_generator
from stages.augment.attacks import attacked, attempt_seeds, latent_attack, mix_attack, step_of
from stages.augment.config import AugmentConfig, resolve
from stages.augment.modes.base import Context, Sources
from stages.augment.setup import as_displayed
from tests.benchmarks.timing import Measured

SAMPLES, ROUNDS = 64, 3  # of each worker
SETTINGS = {"advmix": {"restarts": 10}, "om-adv": {}}


@dataclass(frozen=True)
class Arena:
    """A generator, a classifier of biased colours, and codes; their labels are what it sees in their images."""

    network: LayeredGenerator
    classifier: nn.Module
    sources: Sources

    def context(self, mode: str) -> Context:
        """What `pipeline augment` would hand to a mode."""
        config = resolve(AugmentConfig(mode=mode, classifier="given", **SETTINGS[mode]))
        w = self.sources.w
        return Context(
            map=self.network.map,
            render=lambda x, codes: self.network.synthesize(x),
            z_dim=self.network.z_dim,
            fine_layers=open_generator("color-digits").fine_layers,
            pool=self.sources.rows,
            read_w=lambda rows: w[rows],
            read_codes=lambda rows: None,
            read_labels=lambda rows: self.sources.labels[rows],
            read_images=lambda rows: self.network.synthesize(w[rows]),
            num_classes=10,
            config=config,
            classify=as_displayed(self.classifier),
            generator=self.network,
        )

    def part(self, index: int, count: int) -> "Arena":
        """Every `count`-th sample from `index` on."""
        return replace(self, sources=self.sources.at(torch.arange(index, len(self.sources), count)))


def make_arena(folder: str, count: int) -> Arena:
    """Train the classifier for a few epochs on the digits as they are, and draw `count` codes."""
    pixels, labels = load_split(create_build(Path(folder) / "digits", "color-digits"), "train")
    classifier = train_classifier(
        to_float(pixels), torch.from_numpy(labels), 10, epochs=6, seed=0, free_colours=False
    )
    network = open_generator("color-digits").network
    with torch.no_grad():
        w = network.map(torch.randn(count, network.z_dim, generator=torch_generator(0, "arena"))).contiguous()
        found = torch.cat([classifier(network.synthesize(part)).argmax(dim=1) for part in w.split(SAMPLES)])
    rows = torch.arange(count)
    keys = [f"digit-{i}/0" for i in range(count)]
    return Arena(network, classifier, Sources(w, rows, keys, found, 0 * rows))


def advmix_loop(arena: Arena, context: Context) -> Tensor:
    """Algorithm 2 of AdvMix, one sample after the other; return which were misclassified [N]."""
    config, sources, fine = context.config, arena.sources, context.fine_layers
    step = step_of(context, config.epsilon)
    fooled = torch.zeros(len(sources), dtype=torch.bool)
    for i in range(len(sources)):
        item, w, label = torch.tensor([i]), sources.w[i : i + 1], sources.labels[i : i + 1]
        for restart in range(config.restarts):
            z = normal_rows((context.z_dim,), attempt_seeds(context, "advmix", sources)(item, [restart]))
            x = start = replace_layers(w, arena.network.map(typical(z, config.typical)), fine)
            for taken in range(config.attack_steps + 1):
                x = x.detach().requires_grad_(True)
                logits = arena.classifier(arena.network.synthesize(x).clamp(-1, 1))
                if logits.argmax() != label:
                    fooled[i] = True
                    break
                if taken < config.attack_steps:
                    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, label), x)
                    moved = x.detach() + step * gradient.sign()
                    near = torch.minimum(torch.maximum(moved, start - config.epsilon), start + config.epsilon)
                    x = replace_layers(w, near, fine)
            if fooled[i]:
                break
    return fooled


def om_pgd_loop(arena: Arena, context: Context) -> Tensor:
    """OM-PGD, one sample after the other; return which were misclassified at the end [N]."""
    config, sources = context.config, arena.sources
    step = step_of(context, config.epsilon)
    fooled = torch.zeros(len(sources), dtype=torch.bool)
    for i in range(len(sources)):
        w, label = sources.w[i : i + 1], sources.labels[i : i + 1]
        x = uniform_in_ball(w, config.epsilon, attempt_seeds(context, "om-adv", sources)(torch.tensor([i]), [0]))
        for _ in range(config.attack_steps):
            x = x.detach().requires_grad_(True)
            loss = F.cross_entropy(arena.classifier(arena.network.synthesize(x).clamp(-1, 1)), label)
            (gradient,) = torch.autograd.grad(loss, x)
            moved = x.detach() + step * gradient.sign()
            x = torch.minimum(torch.maximum(moved, w - config.epsilon), w + config.epsilon)
        with torch.no_grad():
            fooled[i] = arena.classifier(arena.network.synthesize(x).clamp(-1, 1)).argmax() != label
    return fooled


def ours(arena: Arena, mode: str) -> tuple[Tensor, float]:
    """In a worker: which variants the mode says were misclassified [N], and variants a second.

    The first round warms up, the last one only keeps the core busy while another worker is still being timed.
    """
    use_one_thread()
    context, spent = arena.context(mode), []
    for _ in range(ROUNDS + 2):
        began = time.perf_counter()
        fooled = attack(arena, context)
        spent.append(time.perf_counter() - began)
    return fooled, len(arena.sources) / statistics.median(spent[1:-1])


def attack(arena: Arena, context: Context) -> Tensor:
    """What a mode makes of an arena's samples; return which it says were misclassified [N]."""
    if context.config.mode == "advmix":
        return attacked(arena.sources, context, mix_attack(arena.sources, context)).fooled
    w = latent_attack(arena.sources, context, "om-adv").w
    with torch.no_grad():
        found = classify(arena.classifier, arena.network.synthesize(w).clamp(-1, 1)).argmax(dim=1)
    return found != arena.sources.labels


def share(which: Tensor) -> float:
    """Share of those that are true."""
    return float(which.float().mean())


def bench_advmix_vs_loop() -> Measured:
    """Variants a second, of AdvMix and of OM-PGD, against the plain loops; the smaller of the two ratios."""
    cores = cpu_count()
    with tempfile.TemporaryDirectory() as folder:
        arena = make_arena(folder, SAMPLES * cores)
    loops = {"advmix": advmix_loop, "om-adv": om_pgd_loop}
    ratios: dict[str, float] = {}
    quality: dict[str, float] = {}
    told: dict[str, tuple[float, float]] = {}
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as workers:
        for mode, loop in loops.items():
            began = time.perf_counter()
            also_fooled = loop(arena, arena.context(mode))
            slow = len(arena.sources) / (time.perf_counter() - began)
            done = list(workers.map(ours, [arena.part(i, cores) for i in range(cores)], [mode] * cores))
            fooled, fast = torch.cat([found for found, _ in done]), sum(rate for _, rate in done)
            alone = workers.submit(ours, arena.part(0, cores), mode).result()[1]
            quality |= {f"{mode} fooled": share(fooled), f"{mode} fooled, loop": share(also_fooled)}
            quality |= {f"{mode} times": fast / slow, f"{mode} times, one worker": alone / slow}
            ratios[mode], told[mode] = fast / slow, (fast, slow)
    least = min(ratios, key=lambda mode: ratios[mode])
    return Measured(
        "advmix_vs_loop",
        ratios[least],
        ", ".join(f"{mode} {fast:.0f} a second" for mode, (fast, _) in told.items()),
        "a sample at a time " + ", ".join(f"{slow:.1f}" for _, slow in told.values()),
        quality=quality,
        settings={"samples": len(arena.sources), "workers": cores, **SETTINGS["advmix"]},
    )
