"""The kinds of checkpoints that are known: what tells them, and what turns their tensors into a family's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from pipeline.generators.checkpoints import (
    biggan_pytorch,
    genforce,
    lucidrains,
    mmgeneration,
    pytorch_gan_zoo,
    rosinality,
    tensorflow,
    tf_progan,
    tf_stylegan1,
    tf_stylegan2,
)
from pipeline.generators.checkpoints.converted import Converted

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class StateFormat:
    """A kind of state dict, told by the keys it must have.

    Attributes:
        marks: keys that it has and no other kind.
        names: pattern of the first names of its keys; what else lies at the same place belongs to something else.
        beside: keys that may also lie further out, such as a mean of w.
        convert: from its keys to those of the family.
    """

    name: str
    family: str
    marks: tuple[str, ...]
    names: str
    convert: Callable[[State], dict[str, Tensor] | Converted] = dict
    beside: tuple[str, ...] = ()


BIGGAN_NAMES = "shared|linear|blocks|output_layer"

STATE_FORMATS = (
    StateFormat(
        "StyleGAN2-ADA state dict", "stylegan2", ("synthesis.b4.const", "mapping.w_avg"), "mapping|synthesis"
    ),
    StateFormat(
        "StyleGAN3 state dict", "stylegan3", ("synthesis.input.freqs", "mapping.w_avg"), "mapping|synthesis"
    ),
    StateFormat(
        "PyTorch port of StyleGAN", "stylegan1", ("synthesis.layer0.first_layer",), "mapping|truncation|synthesis"
    ),
    StateFormat(
        "rosinality StyleGAN2",
        "stylegan2",
        ("input.input", "conv1.conv.weight"),
        "latent_avg|style|input|conv1|to_rgb1|convs|to_rgbs|noises",
        rosinality.from_rosinality,
        beside=("latent_avg",),
    ),
    StateFormat(
        "mmgeneration StyleGAN2",
        "stylegan2",
        ("constant_input.input", "conv1.conv.weight_orig"),
        r"style_mapping|constant_input|conv1|to_rgb1|convs|to_rgbs|injected_noise_\d+",
        mmgeneration.from_mmgeneration,
    ),
    StateFormat(
        "BigGAN-PyTorch, deep",
        "biggan-deep",
        ("shared.weight", "blocks.0.0.conv4.weight", "output_layer.2.weight"),
        BIGGAN_NAMES,
        biggan_pytorch.from_deep,
    ),
    StateFormat(
        "BigGAN-PyTorch",
        "biggan",
        ("shared.weight", "blocks.0.0.conv1.weight"),
        BIGGAN_NAMES,
        biggan_pytorch.from_shared,
    ),
    StateFormat(
        "BigGAN-PyTorch, without shared embeddings",
        "biggan",
        ("linear.weight", "blocks.0.0.bn1.gain.weight", "blocks.0.0.conv1.weight", "output_layer.2.weight"),
        BIGGAN_NAMES,
        biggan_pytorch.from_unshared,
    ),
    StateFormat(
        "pytorch-pretrained-BigGAN",
        "biggan-deep",
        ("embeddings.weight", "generator.conv_to_rgb.bias"),
        "embeddings|generator",
    ),
    StateFormat(
        "genforce StyleGAN",
        "stylegan1",
        ("synthesis.layer0.const", "synthesis.layer0.style.weight", "mapping.dense0.weight", "truncation.w_avg"),
        "mapping|truncation|synthesis",
        genforce.from_stylegan1,
    ),
    StateFormat(
        "StyleGAN of genforce's relatives",
        "stylegan1",
        ("synthesis.layer0.const", "synthesis.layer0.epilogue.style_mod.dense.fc.weight", "truncation.w_avg"),
        "mapping|truncation|synthesis",
        genforce.from_stylegan1,
    ),
    StateFormat(
        "genforce StyleGAN2",
        "stylegan2",
        ("synthesis.early_layer.const", "truncation.w_avg"),
        "mapping|truncation|synthesis",
        genforce.from_stylegan2,
    ),
    StateFormat(
        "genforce ProGAN",
        "progan",
        ("lod", "layer0.weight", "layer1.bias", "output0.weight"),
        r"lod|layer\d+|output\d+",
        genforce.from_progan,
    ),
    StateFormat(
        "ProGAN of genforce's relatives",
        "progan",
        ("lod", "layer0.conv.weight", "layer0.wscale.bias", "output0.conv.weight"),
        r"lod|layer\d+|output\d+",
        genforce.from_progan,
    ),
    StateFormat(
        "pytorch_GAN_zoo ProGAN",
        "progan",
        ("formatLayer.module.weight", "groupScale0.0.module.weight", "toRGBLayers.0.module.weight"),
        "formatLayer|groupScale0|scaleLayers|toRGBLayers",
        pytorch_gan_zoo.from_progan,
    ),
    StateFormat(
        "lucidrains state dict", "lucidrains", ("S.w_avg", "G.blocks.0.to_style1.weight", "noise"), "S|G|noise"
    ),
    StateFormat(
        "lucidrains StyleGAN2",
        "lucidrains",
        ("SE.net.0.weight", "GE.blocks.0.to_style1.weight"),
        "SE|GE",
        lucidrains.from_averaged,
    ),
    StateFormat(
        "lucidrains StyleGAN2, not averaged",
        "lucidrains",
        ("S.net.0.weight", "G.blocks.0.to_style1.weight"),
        "S|G",
        lucidrains.from_trained,
    ),
    StateFormat("ProGAN state dict", "progan", ("b4.dense.weight",), r"b\d+"),
    StateFormat("DCGAN of the PyTorch examples", "dcgan", ("main.0.weight", "main.1.running_mean"), "main"),
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
