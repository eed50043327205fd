"""Reads checkpoints of pSp, e4e and ReStyle: an encoder, the generator it was trained for, and how it was trained.

`torch.save` of `{state_dict: {encoder.*, decoder.*}, latent_avg, opts}`; nothing in the file is run. What `opts`
says is either done by `pipeline.encoders.psp` or refused by name.
"""

import mmap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.encoders.backbones import ImprovedResNet, ResNet
from pipeline.encoders.psp import RGB
from pipeline.errors import CheckpointError, WeightsError
from pipeline.generators.checkpoints.arrays import is_array, to_array
from pipeline.generators.checkpoints.recognition import MAX_GROWTH, Checkpoint, from_content, real
from pipeline.generators.checkpoints.records import Call
from pipeline.generators.checkpoints.tensors import Tensors, is_tensor
from pipeline.generators.checkpoints.torchfiles import LEGACY_MAGIC, TorchFile, read_legacy, read_zip

ENCODER, DECODER = "encoder.", "decoder."
BACKBONE = ("input_layer.", "body.", "conv1.", "bn1.", "relu.")
HEADS = {"pyramid": "styles.0.linear.weight", "flat": "output_layer_2.3.weight", "pooled": "linear.weight"}
DEFAULT_PASSES = 5  # of ReStyle's inference
MOST_PASSES = 100


@dataclass(frozen=True)
class Kind:
    """A class of encoder that checkpoints name in `encoder_type`.

    Attributes:
        backbone: a key that only this backbone has.
        head: a key of `HEADS`.
    """

    title: str
    backbone: str
    head: str
    progressive: bool = False


IRSE, RESNET = ImprovedResNet.first_key, ResNet.first_key
KINDS = {
    "GradualStyleEncoder": Kind("pSp", IRSE, "pyramid"),
    "BackboneEncoderUsingLastLayerIntoW": Kind("pSp", IRSE, "pooled"),
    "BackboneEncoderUsingLastLayerIntoWPlus": Kind("pSp", IRSE, "flat"),
    "Encoder4Editing": Kind("e4e", IRSE, "pyramid", progressive=True),
    "SingleStyleCodeEncoder": Kind("e4e", IRSE, "pooled"),
    "BackboneEncoder": Kind("pSp", IRSE, "pyramid"),
    "ResNetBackboneEncoder": Kind("pSp", RESNET, "pyramid"),
    "ResNetGradualStyleEncoder": Kind("pSp", RESNET, "pyramid"),
    "ProgressiveBackboneEncoder": Kind("e4e", IRSE, "pyramid", progressive=True),
    "ResNetProgressiveBackboneEncoder": Kind("e4e", RESNET, "pyramid", progressive=True),
}

# Trained to make something else of an image than the image: a start, but not a near one.
OTHER_TASKS = {
    "ffhq_frontalize": "it was trained to turn faces to the front, so it begins with a frontal face",
    "celebs_super_resolution": "it was trained to sharpen faces that were made small",
    "toonify": "it was trained to draw faces as cartoons",
}


@dataclass(frozen=True)
class EncoderCheckpoint:
    """An encoder as `pipeline.encoders.psp` takes it, and what came with it.

    Attributes:
        format: what the file was.
        state: tensors of the encoder.
        settings: what a manifest says of the network beside its weights.
        passes: corrections it makes.
        generator: the generator in the file, if there is one.
        layers: layers of w+ that options of the file tell, by the option.
        notes: what a user should know.
    """

    format: str
    state: dict[str, Tensor]
    settings: dict[str, Any]
    passes: int
    generator: Checkpoint | None
    layers: dict[str, int]
    notes: tuple[str, ...] = field(default=())


def read_encoder_checkpoint(path: Path) -> EncoderCheckpoint | None:
    """Read a file that holds an encoder; None if it is anything else, damaged torch files among it.

    Raises:
        CheckpointError: it holds an encoder that is damaged or of no known kind.
    """
    opened = open_torch_file(path)
    if opened is None or not isinstance(opened.content, dict):
        return None
    content = opened.content
    state = content.get("state_dict", content)
    if not isinstance(state, dict) or not any(is_encoder_key(key) for key in state):
        return None
    try:
        checkpoint = Reading(content, state, Tensors(opened.storages)).checkpoint()
    except (CheckpointError, WeightsError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    if sum(tensor.numel() for tensor in checkpoint.state.values()) > MAX_GROWTH * path.stat().st_size + 2**20:
        raise CheckpointError(f"{path}: it is damaged or hostile: it holds more numbers than the file has bytes")
    return checkpoint


def open_torch_file(path: Path) -> TorchFile | None:
    """Open a file of `torch.save`; None if it is none, or none that can be read."""
    try:
        with path.open("rb") as file:
            buffer = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        if bytes(buffer[:4]) == b"PK\x03\x04":
            return read_zip(buffer)
        if LEGACY_MAGIC.to_bytes(10, "little") in bytes(buffer[:32]):
            return read_legacy(buffer)
    except (OSError, ValueError, CheckpointError):
        return None
    return None


def is_encoder_key(key: object) -> bool:
    """Tell whether a key is of one of the two backbones."""
    return isinstance(key, str) and key.removeprefix("module.") in {f"{ENCODER}{IRSE}", f"{ENCODER}{RESNET}"}


class Reading:
    """One file that holds an encoder: its tensors by what they belong to, and its options."""

    def __init__(self, content: Mapping[Any, Any], state: Mapping[Any, Any], tensors: Tensors):
        self.tensors = tensors
        found = {str(key).removeprefix("module."): self.tensor(value) for key, value in state.items()}
        self.state = {key: tensor for key, tensor in found.items() if tensor is not None}
        opts = content.get("opts")
        opts = opts.state if isinstance(opts, Call) and opts.function == "argparse.Namespace" else opts
        self.options: dict[Any, Any] = opts if isinstance(opts, dict) else {}
        mean = self.tensor(content.get("latent_avg"))
        self.mean = self.state.get("latent_avg") if mean is None else mean

    def tensor(self, value: Any) -> Tensor | None:
        """Make the tensor that a record stands for, if it stands for one."""
        return self.tensors.tensor(value) if is_tensor(value) else None

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Tensors under a prefix, without it."""
        return {key.removeprefix(prefix): value for key, value in self.state.items() if key.startswith(prefix)}

    def checkpoint(self) -> EncoderCheckpoint:
        """Sort everything.

        Raises:
            CheckpointError: an option says what is not done here, or tensors are missing.
        """
        kind = self.kind()
        encoder = self.encoder_state()
        channels = encoder[f"backbone.{kind.backbone}"].shape[1]
        self.check_input(channels)
        restyle = channels == 2 * RGB
        decoder, mean = self.under(DECODER), self.mean_w()
        generator = self.generator(decoder, mean) if decoder else None
        notes = [OTHER_TASKS[task]] if (task := self.text("dataset_type")) in OTHER_TASKS else []
        from_mean = self.number("start_from_latent_avg")
        if not (restyle or (mean is not None if from_mean is None else from_mean)):
            mean = torch.zeros(1, encoder[f"head.{HEADS[kind.head]}"].shape[0])
        elif mean is None and generator is not None:
            mean = generator.state["mapping.w_avg"][None]
            notes.append("it lacks latent_avg: its codes are added to the mean w of the generator in it")
        elif mean is None:
            raise CheckpointError("it lacks latent_avg, the w that its codes are added to")
        encoder["start_w"] = mean
        settings: dict[str, Any] = {"progressive": True} if kind.progressive else {}
        if self.text("dataset_type") == "cars_encode":
            settings["height"] = 192
        return EncoderCheckpoint(
            format=f"ReStyle over {kind.title}" if restyle else kind.title,
            state=encoder,
            settings=settings,
            passes=self.passes() if restyle else 1,
            generator=generator,
            layers=self.layers(),
            notes=tuple(notes),
        )

    def kind(self) -> Kind:
        """The class of encoder, held against the tensors."""
        name = self.text("encoder_type")
        if not name:
            raise CheckpointError(
                "its options ('opts') do not say which encoder it is ('encoder_type'), and its weights alone do "
                "not tell: use the whole file as it was published"
            )
        if name not in KINDS:
            raise CheckpointError(f"its encoder_type is {name[:60]!r}: known are {', '.join(KINDS)}")
        kind = KINDS[name]
        for key, dimensions in ((kind.backbone, 4), (HEADS[kind.head], 2)):
            tensor = self.state.get(f"{ENCODER}{key}")
            if tensor is None:
                raise CheckpointError(f"it says that it is a {name}, but '{ENCODER}{key}' is missing")
            if tensor.dim() != dimensions:
                raise CheckpointError(f"it is damaged: '{ENCODER}{key}' is of shape {list(tensor.shape)}")
        return kind

    def encoder_state(self) -> dict[str, Tensor]:
        """The encoder's tensors under our names; counters that only training reads are left out."""
        result = {}
        for key, tensor in self.under(ENCODER).items():
            if key.endswith(".num_batches_tracked"):
                continue
            if not tensor.is_floating_point():
                raise CheckpointError(f"it is damaged: '{ENCODER}{key[:80]}' holds whole numbers")
            result[f"{'backbone' if key.startswith(BACKBONE) else 'head'}.{key}"] = tensor
        return real(result)

    def check_input(self, channels: int) -> None:
        """Refuse encoders of anything else than photographs."""
        labels, said = self.number("label_nc"), self.number("input_nc")
        if labels:
            raise CheckpointError(
                f"it encodes sketches or label maps (label_nc = {labels}), not photographs: it is of no use here"
            )
        if channels not in (RGB, 2 * RGB):
            raise CheckpointError(
                f"its images have {channels} channels (input_nc): encoders of 3, or of 6 as in ReStyle, are read"
            )
        if said not in (None, channels):
            raise CheckpointError(f"it says input_nc = {said}, but its first layer takes {channels} channels")

    def passes(self) -> int:
        """ReStyle's corrections."""
        passes = self.number("n_iters_per_batch") or DEFAULT_PASSES
        if not 1 <= passes <= MOST_PASSES:
            raise CheckpointError(f"its n_iters_per_batch is {passes}: it must be 1 to {MOST_PASSES}")
        return passes

    def mean_w(self) -> Tensor | None:
        """`latent_avg` as [1 or num_ws, w_dim], one row if all are the same."""
        if self.mean is None:
            return None
        mean = self.mean.float()
        if mean.dim() not in (1, 2) or 0 in mean.shape:
            raise CheckpointError(f"its latent_avg is of shape {list(mean.shape)} instead of [w_dim]")
        mean = mean.reshape(-1, mean.shape[-1])
        return mean[:1] if bool((mean == mean[:1]).all()) else mean

    def generator(self, decoder: dict[str, Tensor], mean: Tensor | None) -> Checkpoint:
        """Read the generator, whose mean w is `latent_avg` where all layers have the same."""
        beside = {"latent_avg": mean[0]} if mean is not None and len(mean) == 1 else {}
        try:
            return from_content({"g_ema": decoder, **beside}, self.tensors)
        except (CheckpointError, WeightsError) as error:
            raise CheckpointError(f"the generator in it ({DECODER}*) cannot be read: {error}") from error

    def layers(self) -> dict[str, int]:
        """How many layers of w+ its options tell, most of them by the size of images."""
        told = {name: self.number(name) for name in ("output_size", "stylegan_size", "n_styles")}
        return {
            name: number if name == "n_styles" else 2 * number.bit_length() - 4
            for name, number in told.items()
            if number
        }

    def text(self, name: str) -> str:
        """An option that is text, or nothing."""
        value = self.options.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> int | None:
        """An option that is a whole number; None where it is missing or None.

        Raises:
            CheckpointError: it is something else.
        """
        value = self.options.get(name)
        if is_array(value) and (array := to_array(value)).size == 1:
            value = array.item()
        if value is None or isinstance(value, int):
            return value
        raise CheckpointError(f"its option '{name}' is no whole number")
