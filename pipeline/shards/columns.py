"""What is told of each sample, once: Arrow types, Hugging Face features and Croissant fields come from here.

The order and the exact types are what readers recognise an image by; do not reorder.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.shards.base import ShardInfo, ShardSample

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@dataclass(frozen=True)
class Column:
    """One column of the Parquet files.

    Attributes:
        feature: Hugging Face's feature type.
        field: Croissant's data type and what else its field needs.
        value: takes the column's value from a sample.
    """

    name: str
    arrow: pa.DataType
    feature: dict[str, Any]
    field: dict[str, Any]
    value: Callable[[ShardSample], Any]


def columns(info: ShardInfo) -> list[Column]:
    """The columns of a set, in order."""
    chosen = [
        image("image", lambda s: {"bytes": s.image, "path": f"{s.id}.png"}),
        Column(
            "label",
            pa.int64(),
            {"names": list(info.classes), "_type": "ClassLabel"},
            {"dataType": "sc:Integer"},
            lambda s: s.label,
        ),
        text("id", lambda s: s.id),
        text("source", lambda s: s.source),
        text("kind", lambda s: s.kind),
        text("partner", lambda s: s.partner),
        Column(
            "variant",
            pa.int64(),
            {"dtype": "int64", "_type": "Value"},
            {"dataType": "sc:Integer"},
            lambda s: s.variant,
        ),
    ]
    if info.soft_labels:
        chosen += [soft_label("soft_label", len(info.classes)), number("lam", lambda s: s.lam)]
    if info.latent_shape is not None:
        chosen.append(latent("w", info.latent_shape))
    if info.originals:
        chosen.append(image("original", lambda s: {"bytes": s.original, "path": f"{s.id}.original.png"}))
    return chosen


def image(name: str, value: Callable[[ShardSample], Any]) -> Column:
    """A column of encoded images."""
    field = {"dataType": "sc:ImageObject", "source": {"transform": {"jsonPath": "bytes"}}}
    return Column(name, IMAGE, {"_type": "Image"}, field, value)


def text(name: str, value: Callable[[ShardSample], Any]) -> Column:
    """A column of text."""
    return Column(name, pa.string(), {"dtype": "string", "_type": "Value"}, {"dataType": "sc:Text"}, value)


def number(name: str, value: Callable[[ShardSample], float]) -> Column:
    """A column of numbers."""
    return Column(name, pa.float32(), {"dtype": "float32", "_type": "Value"}, {"dataType": "sc:Float"}, value)


def soft_label(name: str, classes: int) -> Column:
    """A column of probabilities of the classes, in the order of their names."""
    return Column(
        name,
        pa.list_(pa.float32(), classes),
        {"feature": {"dtype": "float32", "_type": "Value"}, "length": classes, "_type": "List"},
        {"dataType": "cr:Float32", "isArray": True, "arrayShape": str(classes)},
        lambda s: None if s.soft_label is None else s.soft_label.tolist(),
    )


def latent(name: str, shape: tuple[int, int]) -> Column:
    """A column of w+ [num_ws, w_dim]."""
    layers, channels = shape
    row = {"feature": {"dtype": "float32", "_type": "Value"}, "length": channels, "_type": "List"}
    return Column(
        name,
        pa.list_(pa.list_(pa.float32(), channels), layers),
        {"feature": row, "length": layers, "_type": "List"},
        {"dataType": "cr:Float32", "isArray": True, "arrayShape": f"{layers},{channels}"},
        lambda s: None if s.latent is None else s.latent.tolist(),
    )
