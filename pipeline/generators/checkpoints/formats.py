"""Recognises what kind of checkpoint a file is by its content, and reads it as weights of one of our networks."""

import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline.errors import CheckpointError, WeightsError
from pipeline.generators.biggan_norms import SYNCHRONISED_NOTE, is_synchronised
from pipeline.generators.checkpoints import (
    cut,
    nvidia,
    nvidia_stylegan2,
    rosinality,
    strangers,
    tensorflow,
    tf_progan,
    tf_stylegan1,
    tf_stylegan2,
)
from pipeline.generators.checkpoints.converted import Converted
from pipeline.generators.checkpoints.pickles import Machine
from pipeline.generators.checkpoints.tensors import Tensors, is_tensor
from pipeline.generators.checkpoints.torchfiles import LEGACY_MAGIC, read_legacy, read_zip

State = Mapping[str, Tensor]


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


@dataclass(frozen=True)
class StateFormat:
    """A kind of state dict, told by the keys it must have."""

    name: str
    family: str
    marks: tuple[str, ...]
    convert: Callable[[State], dict[str, Tensor] | Converted] = dict


def with_norm_note(state: State) -> Converted:
    """Leave a BigGAN as it is, and say so where its norms are of a kind that two readings of its code differ in."""
    return Converted(dict(state), notes=(SYNCHRONISED_NOTE,) if is_synchronised(state) else ())


STATE_FORMATS = (
    StateFormat("StyleGAN2-ADA state dict", "stylegan2", ("synthesis.b4.const", "mapping.w_avg")),
    StateFormat("PyTorch port of StyleGAN", "stylegan1", ("synthesis.layer0.first_layer",)),
    StateFormat(
        "rosinality StyleGAN2", "stylegan2", ("input.input", "conv1.conv.weight"), rosinality.from_rosinality
    ),
    StateFormat("BigGAN-PyTorch", "biggan", ("shared.weight", "blocks.0.0.conv1.weight"), with_norm_note),
    StateFormat("pytorch-pretrained-BigGAN", "biggan-deep", ("embeddings.weight", "generator.conv_to_rgb.bias")),
    StateFormat("ProGAN state dict", "progan", ("b4.dense.weight",)),
    StateFormat("DCGAN of the PyTorch examples", "dcgan", ("main.0.weight", "main.1.running_mean")),
)


@dataclass(frozen=True)
class TFFormat:
    """A kind of TensorFlow network, told by a variable that only it has, one of several."""

    name: str
    family: str
    marks: tuple[str, ...]
    convert: Callable[[tensorflow.TFNetwork], Converted]


TF_FORMATS = (
    TFFormat("ProGAN pickle (TensorFlow)", "progan", ("4x4/Dense/weight",), tf_progan.from_progan),
    TFFormat(
        "StyleGAN pickle (TensorFlow)",
        "stylegan1",
        ("synthesis/4x4/Const/StyleMod/weight", "synthesis/4x4/Const/bias", "synthesis/4x4/Dense/weight"),
        tf_stylegan1.from_stylegan1,
    ),
    TFFormat(
        "StyleGAN2 pickle (TensorFlow)",
        "stylegan2",
        ("synthesis/4x4/Conv/mod_weight",),
        tf_stylegan2.from_stylegan2,
    ),
)

# Under which keys people save a generator; the averaged one comes first. Those below must hold one of these again.
WRAPPERS = (
    "g_ema",
    "G_ema",
    "params_ema",
    "generator_smooth",
    "state_dict",
    "generator",
    "netG",
    "model",
    "params",
)
MAX_WRAPPERS = 4
# No honest file holds much more numbers than bytes.
MAX_GROWTH = 4


def read_checkpoint(path: Path) -> Checkpoint:
    """Read somebody's weights. Nothing in the file is run, whatever it holds.

    Raises:
        CheckpointError: it cannot be read, is damaged, or is of no known kind.
    """
    try:
        if path.is_dir():
            raise CheckpointError(strangers.folder(path))
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
        raise CheckpointError(f"{path}: {strangers.unfinished(path) or error}") from error
    if sum(tensor.numel() for tensor in checkpoint.state.values()) > MAX_GROWTH * size + 2**20:
        raise CheckpointError(f"{path}: it is damaged or hostile: it holds more numbers than the file has bytes")
    return checkpoint


def read_buffer(buffer: memoryview, path: Path) -> Checkpoint:
    """Read a whole file's bytes by the kind of container they are."""
    if missing := cut.cut_safetensors(buffer):
        raise CheckpointError(missing)
    if int.from_bytes(buffer[:8], "little") < len(buffer) and bytes(buffer[8:9]) == b"{":
        return from_content(read_safetensors(path), Tensors())
    if answer := strangers.stranger(path, buffer):
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
        CheckpointError: there is none of a known kind.
    """
    beside: dict[str, Any] = {}
    for _ in range(MAX_WRAPPERS):
        if nvidia.is_module(content):
            return from_module(content, tensors)
        if isinstance(content, tuple) and len(content) == 3:
            content = content[2]  # G, D, Gs: the averaged generator is last
        if tensorflow.is_network(content):
            return from_tensorflow(tensorflow.read_network(content))
        if not isinstance(content, dict):
            break
        state = {str(k): v for k, v in content.items() if is_tensor(v) or isinstance(v, Tensor)}
        state = {k: v if isinstance(v, Tensor) else tensors.tensor(v) for k, v in state.items()}
        if len(state) > 2:
            state = without_prefix(state) | beside
            known = recognise(state)
            done = converted(known, state)
            return Checkpoint(known.family, known.name, real(done.state), None, done.settings, done.notes)
        beside |= {key: value for key, value in state.items() if key == "latent_avg"}
        inner = [content[key] for key in WRAPPERS if key in content]
        if not inner:
            break
        content = inner[0]
    raise CheckpointError("it holds no generator of a known kind (docs/generators.md lists them)")


def converted(known: StateFormat, state: State) -> Converted:
    """Convert a state dict of a known kind."""
    done = known.convert(state)
    return done if isinstance(done, Converted) else Converted(done)


def from_module(record: Any, tensors: Tensors) -> Checkpoint:
    """Convert a network of NVIDIA's PyTorch repositories."""
    network = nvidia.read_network(record, tensors)
    if any(key.startswith(("synthesis.L0_", "synthesis.input.")) for key in network.state):
        raise CheckpointError("it holds a StyleGAN3, which is no family here: StyleGAN2 pickles are read")
    done = nvidia_stylegan2.from_nvidia_stylegan2(network)
    clamp = done.settings.pop("conv_clamp", None)
    return Checkpoint("stylegan2", "StyleGAN2-ADA pickle", real(done.state), clamp, done.settings, done.notes)


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
    some = ", ".join(f"'{key[:60]}'" for key in list(state)[:3])
    raise CheckpointError(f"its weights are of no known generator: the first are {some} (docs/generators.md)")


def without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop the `module.` that torch puts before every key of a network trained on several GPUs."""
    if all(key.startswith("module.") for key in state):
        return {key.removeprefix("module."): tensor for key, tensor in state.items()}
    return state


def real(state: State) -> dict[str, Tensor]:
    """Give real numbers as float32, whatever they were saved in."""
    return {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in state.items()}
