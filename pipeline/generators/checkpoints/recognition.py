"""Recognises what kind of checkpoint a file is by its content, and reads it as weights of one of our networks."""

import mmap
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline.errors import CheckpointError, WeightsError
from pipeline.generators.checkpoints import (
    cut,
    nvidia,
    nvidia_stylegan2,
    nvidia_stylegan3,
    other_files,
    places,
    tensorflow,
)
from pipeline.generators.checkpoints.converted import Converted
from pipeline.generators.checkpoints.formats import STATE_FORMATS, TF_FORMATS, State, StateFormat
from pipeline.generators.checkpoints.no_family import known_as
from pipeline.generators.checkpoints.pickles import Machine
from pipeline.generators.checkpoints.tensors import Tensors, is_tensor
from pipeline.generators.checkpoints.torchfiles import LEGACY_MAGIC, read_legacy, read_zip

# No honest file holds much more numbers than bytes.
MAX_GROWTH = 4


@dataclass(frozen=True)
class Checkpoint:
    """Weights as one of our networks takes them.

    Attributes:
        family: network family, a key of `pipeline.generators.loading.FAMILIES`.
        format: what the file was.
        state: tensors, float32 where they are real; they may share the bytes of the file.
        conv_clamp: bound on activations that the file says the network has.
        settings: whatever else the file says that the network differs in from its family's usual one.
        notes: what the file lacks and was made up, or was found in an odd place: clauses without a full stop.
    """

    family: str
    format: str
    state: dict[str, Tensor]
    conv_clamp: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_checkpoint(path: Path) -> Checkpoint:
    """Read somebody's weights. Nothing in the file is run, whatever it holds.

    Raises:
        CheckpointError: it cannot be read, is damaged, or is of no known kind.
    """
    try:
        if path.is_dir():
            raise CheckpointError(other_files.folder(path))
        size = path.stat().st_size
        if not size:
            raise CheckpointError("it is empty: download it again")
        with path.open("rb") as file:
            # Private to this process, so that tensors may share the pages without reading the file twice.
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        checkpoint = read_buffer(memoryview(pages), path)
    except OSError as error:
        raise CheckpointError(f"{path}: it cannot be read ({error.strerror})") from error
    except (CheckpointError, WeightsError) as error:
        raise CheckpointError(f"{path}: {other_files.unfinished(path) or error}") from error
    if sum(tensor.numel() for tensor in checkpoint.state.values()) > MAX_GROWTH * size + 2**20:
        raise CheckpointError(f"{path}: it is damaged or hostile: it holds more numbers than the file has bytes")
    return checkpoint


def read_buffer(buffer: memoryview, path: Path) -> Checkpoint:
    """Read a whole file's bytes by the kind of container they are."""
    if missing := cut.cut_safetensors(buffer):
        raise CheckpointError(missing)
    if int.from_bytes(buffer[:8], "little") < len(buffer) and bytes(buffer[8:9]) == b"{":
        return from_content(read_safetensors(path), Tensors())
    if answer := other_files.stranger(path, buffer):
        raise CheckpointError(answer)
    if bytes(buffer[:4]) == b"PK\x03\x04":
        opened = read_zip(buffer)
        return from_content(opened.content, Tensors(opened.storages))
    if bytes(buffer[:1]) != b"\x80":
        kinds = "a pickle of NVIDIA's repositories, a torch file or safetensors"
        raise CheckpointError(f"it is neither {kinds} (docs/generators.md)")
    content = Machine(buffer).run()
    if content == LEGACY_MAGIC:
        opened = read_legacy(buffer)
        return from_content(opened.content, Tensors(opened.storages))
    return from_content(content, Tensors())


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read safetensors, which hold nothing but tensors."""
    from pipeline.weights import read_weights

    try:
        return read_weights(path)
    except WeightsError as error:
        raise CheckpointError("it is cut short or damaged: no whole safetensors") from error


def from_content(content: Any, tensors: Tensors) -> Checkpoint:
    """Find the generator in what a file holds.

    Raises:
        CheckpointError: there is none of a known kind, or there are several.
    """
    contents = places.gather(content, is_weights, is_network)
    if not contents.networks:
        return from_tensors(contents, tensors)
    place = places.best(list(contents.networks))
    snapshot = place in ("G_ema.", "Gs.")  # which always lie beside G and D
    notes = () if snapshot else places.place_notes(place, list(contents.networks))
    record = contents.networks[place]
    if nvidia.is_module(record):
        found = from_module(record, tensors)
    else:
        found = from_tensorflow(tensorflow.read_network(record))
    return replace(found, notes=notes + found.notes)


def is_weights(value: object) -> bool:
    """Tell whether something is a tensor, or stands for one."""
    return isinstance(value, Tensor) or is_tensor(value)


def is_network(value: object) -> bool:
    """Tell whether something stands for a whole network."""
    return nvidia.is_module(value) or tensorflow.is_network(value)


def from_module(record: Any, tensors: Tensors) -> Checkpoint:
    """Convert a network of NVIDIA's PyTorch repositories."""
    network = nvidia.read_network(record, tensors)
    if nvidia_stylegan3.is_stylegan3(network):
        family, kind, done = "stylegan3", "StyleGAN3 pickle", nvidia_stylegan3.from_nvidia_stylegan3(network)
    else:
        family, kind, done = "stylegan2", "StyleGAN2-ADA pickle", nvidia_stylegan2.from_nvidia_stylegan2(network)
    clamp = done.settings.pop("conv_clamp", None)
    return Checkpoint(family, kind, real(done.state), clamp, done.settings, done.notes)


def from_tensors(contents: places.Contents, tensors: Tensors) -> Checkpoint:
    """Find the keys of a known kind among a file's tensors, under any prefix, and convert them."""
    found = candidates(contents.tensors)
    if not found:
        raise CheckpointError(unknown(contents))
    place = places.best([place for place, _ in found])
    known = next(known for where, known in found if where == place)
    own = {key: contents.tensors[place + key] for key in own_keys(known, contents.tensors, place)}
    for key in known.beside:
        wholes = [around + key for around in places.above(place) if around + key in contents.tensors]
        if wholes:
            own[key] = contents.tensors[wholes[0]]
    state = {key: value if isinstance(value, Tensor) else tensors.tensor(value) for key, value in own.items()}
    done = converted(known, state)
    notes = places.place_notes(place, [place for place, _ in found])
    return Checkpoint(known.family, known.name, real(done.state), None, done.settings, notes + done.notes)


def candidates(keys: Iterable[str]) -> list[tuple[str, StateFormat]]:
    """Return the places of all known kinds, less those that are part of another one's network."""
    found = [(place, known) for known in STATE_FORMATS for place in places.places_of(keys, known.marks)]
    return [
        (place, known)
        for place, known in found
        if not any(place != outer and own_keys(other, [place], outer) for outer, other in found)
    ]


def own_keys(known: StateFormat, keys: Iterable[str], place: str) -> list[str]:
    """Return the keys of a kind at a place, without the place; others there are of a discriminator or the like."""
    names = re.compile(rf"({known.names})(\..*)?")
    inner = (key.removeprefix(place) for key in keys if key.startswith(place))
    return [key for key in inner if names.fullmatch(key)]


def converted(known: StateFormat, state: State) -> Converted:
    """Convert a state dict of a known kind.

    Raises:
        CheckpointError: it lacks a tensor, or one has another shape than it should.
    """
    try:
        done = known.convert(state)
    except KeyError as error:
        raise CheckpointError(f"it is no whole {known.name}: '{error.args[0]}' is missing") from error
    except (IndexError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"it is damaged: its tensors have other shapes than a {known.name}'s") from error
    return done if isinstance(done, Converted) else Converted(done)


def unknown(contents: places.Contents) -> str:
    """Say what a file holds in which there is no known generator."""
    if what := known_as(contents.tensors):
        return f"it holds {what}, which is of no family here (docs/generators.md lists them)"
    if len(contents.tensors) > 2:
        some = ", ".join(f"'{key[:60]}'" for key in list(contents.tensors)[:3])
        return f"its weights are of no known generator: the first are {some} (docs/generators.md)"
    if contents.nameless:
        where = places.shown_place(contents.nameless[0])
        return (
            f"it holds its weights at '{where}' as a list without names, from which no network can be told: copy "
            "them into the network and save its state_dict()"
        )
    return "it holds no generator of a known kind (docs/generators.md lists them)"


def from_tensorflow(network: tensorflow.TFNetwork) -> Checkpoint:
    """Convert a TensorFlow network of a known kind."""
    for known in TF_FORMATS:
        if any(mark in network.variables for mark in known.marks):
            made = known.convert(network)
            clamp = clamp_of(network.settings)
            return Checkpoint(known.family, known.name, made.state, clamp, made.settings, made.notes)
    raise CheckpointError("it is a TensorFlow network, but no ProGAN, StyleGAN or StyleGAN2 generator")


def clamp_of(settings: Mapping[Any, Any]) -> float | None:
    """Bound on activations among the settings of a TensorFlow network."""
    clamp = settings.get("conv_clamp")
    return float(clamp) if isinstance(clamp, int | float) else None


def recognise(state: Mapping[str, object]) -> StateFormat:
    """Tell the kind of a state dict by its keys.

    Raises:
        CheckpointError: it is none that is known.
    """
    for known in STATE_FORMATS:
        if all(mark in state for mark in known.marks):
            return known
    raise CheckpointError(unknown(places.Contents(dict(state))))


def real(state: State) -> dict[str, Tensor]:
    """Give real numbers as float32, whatever they were saved in."""
    return {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in state.items()}
