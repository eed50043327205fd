"""What a stage will take on this machine, and how much of it makes a task: two minutes of one worker."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import click
import torch
from torch import nn

from pipeline.batches import image_bytes, pixel_slots, rendered_bytes, rendered_slots_of, slots_of
from pipeline.build import Build
from pipeline.devices import resolve_device
from pipeline.execute import Execution, on_a_worker
from pipeline.generators import open_generator
from pipeline.generators.layered import LayeredGenerator
from pipeline.measure import Rates, measure_rates
from pipeline.memory import OutOfMemoryError, available_memory, is_out_of_memory, memory_share
from pipeline.perceptual import PerceptualNet, load_perceptual

TASK_SECONDS = 120.0
MOST_IN_TASK = 64  # samples: what one kill costs, and what a report of a chunk's failures lists
HELD_BYTES = 2**28  # of a task's pixels
BASE_BYTES = 600 * 2**20  # of a process that has imported everything
MARGIN = 1.2  # what kernels take for themselves, over what tensors do


@dataclass(frozen=True)
class Work:
    """What an image costs: gradient steps, and renderings without gradient; the most, where it depends."""

    steps: float
    renders: float


@dataclass(frozen=True)
class Capacity:
    """What a worker on this machine can do.

    Attributes:
        slots: images it optimises at once.
        memory: bytes that it takes for that; of a GPU's memory, where there is one.
        rendering: bytes that it takes where it only renders.
    """

    rates: Rates
    slots: int
    memory: int
    rendering: int
    device: str

    def seconds(self, work: Work) -> float:
        """Of one image on one worker."""
        return work.steps * self.rates.gradient_step + work.renders * self.rates.render


def capacity(generator: str, perceptual: str, device: str, batch_size: int | None) -> Capacity:
    """Measure this machine with a few steps of these networks."""
    where = resolve_device(device)
    network, net = open_generator(generator, where.type).network, load_perceptual(perceptual, where.type)
    return capacity_of(network, net, where, batch_size)


def capacity_of(
    network: LayeredGenerator, net: PerceptualNet, device: torch.device, batch_size: int | None = None
) -> Capacity:
    """Measure this machine with networks that are open."""
    slots = batch_size or slots_of(network, net, device)
    rates = measure_rates(network, net, device, slots)
    rendering = (batch_size or rendered_slots_of(network, device)) * rendered_bytes(network)
    return Capacity(
        rates,
        slots,
        memory=worker_bytes((network, net), slots * image_bytes(network, net)),
        rendering=worker_bytes((network,), rendering),
        device=device.type,
    )


def worker_bytes(networks: Sequence[nn.Module], batch: int) -> int:
    """Bytes of a worker that holds some networks and a batch of so many bytes."""
    weights = sum(t.nbytes for network in networks for t in network.state_dict().values())
    return int(BASE_BYTES + weights + MARGIN * batch)


def wanted_memory(generator: str, perceptual: str, device: str, batch_size: int | None) -> int:
    """Bytes of this machine's memory that a worker wants; 0 where a GPU computes."""
    where = resolve_device(device)
    if where.type == "cuda":
        return 0
    network, net = open_generator(generator).network, load_perceptual(perceptual)
    slots = batch_size or pixel_slots(network.resolution)
    return worker_bytes((network, net), slots * image_bytes(network, net))


@contextmanager
def telling_what_fits(generator: str, perceptual: str | None, device: torch.device) -> Iterator[None]:
    """Out of memory with a single image inside, say what one needs, and where that is to be had.

    Args:
        generator: that renders.
        perceptual: net of the gradient steps; None if images are rendered only.
        device: that computes.

    Raises:
        OutOfMemoryError: with that sentence.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OutOfMemoryError) as error:
        if not (isinstance(error, OutOfMemoryError) or is_out_of_memory(error)):
            raise
        network = open_generator(generator, device.type).network
        if perceptual is None:
            networks: list[nn.Module] = [network]
            each, what = rendered_bytes(network), "one image"
        else:
            net = load_perceptual(perceptual, device.type)
            networks, each, what = [network, net], image_bytes(network, net), "one image with its gradient"
        wanted = worker_bytes(networks, each)
        size = f"{network.resolution}x{network.resolution}"
        raise OutOfMemoryError(
            f"out of memory with a single {size} image at once: {what} of generator '{generator}' takes about "
            f"{readable(MARGIN * each)}, a whole worker {readable(wanted)}, and "
            f"{readable(memory_share(device))} are free for this one: {what_fits(wanted, device)}"
        ) from error


def what_fits(wanted: int, device: torch.device) -> str:
    """What to do where a worker wants so many bytes."""
    if device.type == "cuda":
        return "use a GPU with more memory, end what else is on this one, or use --device cpu"
    fitting = available_memory() // wanted
    if fitting:
        return f"at most {fitting} of --workers fit this machine"
    return f"free some memory, or use a machine with {readable(wanted)} for each of --workers"


def readable(count: float) -> str:
    """Bytes as people read them."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def task_size(seconds_each: float, found: Capacity, resolution: int) -> int:
    """Samples of a task, a power of two: about two minutes of work, and no more than a worker can hold."""
    most = MOST_IN_TASK if found.device == "cpu" else max(MOST_IN_TASK, 2 * found.slots)
    most = min(most, HELD_BYTES // (3 * resolution**2))
    size = 1
    while 2 * size <= most and 2 * size * seconds_each <= TASK_SECONDS:
        size *= 2
    return size


def settled_size(asked: int, build: Build, stage: str, fresh: bool) -> int:
    """Samples of a task: as asked, or what the stage was begun with; 0 if that is still to be measured."""
    if asked or fresh:
        return asked
    begun = build.info().get("stages", {}).get(stage, {})
    return int(begun.get("settings", {}).get("chunk_size", 0))


def measure(execution: Execution, generator: str, perceptual: str, batch_size: int | None) -> Capacity:
    """Measure a machine that chunks would be computed on."""
    return on_a_worker(execution, capacity, generator, perceptual, execution.device, batch_size)


@dataclass(frozen=True)
class Estimate:
    """What one stage will take.

    Attributes:
        samples: images that are still to be done.
        steps: gradient steps of all of them, or renderings where there are none.
        bytes: on disk, an upper estimate.
        hours: of one worker (one GPU, or one CPU core); None if it could not be measured, and `note` says why.
        tasks: pieces that workers take; 0 where the work is not cut.
        workers: that would run.
        elapsed: hours until all of them are done.
        memory: bytes of each worker.
    """

    stage: str
    samples: int
    steps: int
    bytes: int
    hours: float | None
    note: str = ""
    tasks: int = 0
    workers: int = 1
    elapsed: float | None = None
    memory: int = 0


def elapsed_hours(hours: float, tasks: int, workers: int) -> float:
    """Hours until the last of the tasks, of about equal size, is done; of work that is not cut, shared evenly."""
    workers = max(1, workers)
    return hours * -(-tasks // workers) / tasks if tasks else hours / workers


def show_estimates(
    head: str, about: dict[str, Any], estimates: Sequence[Estimate], device: str, as_json: bool
) -> dict[str, Any]:
    """Print what stages will take, as one JSON object or a table, and return it."""
    content = {**about, "device": device, "stages": [asdict(each) for each in estimates]}
    if as_json:
        click.echo(json.dumps(content))
        return content
    unit = "GPU-hours" if device == "cuda" else "core-hours"
    click.echo(f"{head}; measured on {device}\n")
    click.echo(
        f"{'stage':<16}{'samples':>10}{'tasks':>8}{'steps':>14}{'disk':>13}{unit:>12}{'workers':>9}{'hours':>8}"
        f"{'memory each':>14}"
    )
    for each in estimates:
        click.echo(
            f"{each.stage:<16}{each.samples:>10,}{each.tasks or '-':>8}{each.steps:>14,}"
            f"{readable(each.bytes):>13}{shown(each.hours):>12}{each.workers:>9}{shown(each.elapsed):>8}"
            f"{readable(each.memory):>14}"
        )
    for note in dict.fromkeys(each.note for each in estimates if each.note):
        click.echo(f"\nNot measured: {note}")
    click.echo("\nNothing was written. Without --dry-run this begins; stopped, it goes on.")
    return content


def shown(hours: float | None) -> str:
    """Hours with two digits, or a question mark."""
    return "?" if hours is None else f"{hours:.2f}"
