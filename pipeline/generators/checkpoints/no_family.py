"""Networks that people hold and that are of no family here, told by their keys, to be refused by name."""

from collections.abc import Iterable

from pipeline.generators.checkpoints.places import places_of

# What it is, and keys that it has under some prefix.
NETWORKS = (
    ("a FastGAN generator", ("init.init.0.weight_orig", "to_big.weight_orig")),
    ("a generator of PyTorch-StudioGAN", ("linear0.bias", "bn4.weight", "conv2d5.bias")),
    ("a lightweight-gan of lucidrains", ("G.initial_conv.0.weight", "G.out_conv.weight")),
    (
        "a StyleGAN of rosinality's style-based-gan-pytorch",
        ("generator.progression.0.conv1.input", "generator.progression.0.adain1.style.linear.weight_orig"),
    ),
    ("a VQGAN", ("quantize.embedding.weight", "decoder.conv_in.weight")),
    ("a diffusion model", ("time_embed.0.weight", "input_blocks.0.0.weight")),
    ("a diffusion model", ("time_embedding.linear_1.weight", "conv_in.weight")),
    ("a discriminator without its generator", ("b4.fc.weight", "b4.out.weight")),
    ("a discriminator without its generator", ("final_conv.0.weight", "final_linear.0.weight")),
)


def known_as(keys: Iterable[str]) -> str | None:
    """Say what the tensors of these keys are, if that is a known network of no family here."""
    names = list(keys)
    return next((what for what, marks in NETWORKS if places_of(names, marks)), None)
