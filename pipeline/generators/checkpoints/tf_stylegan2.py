"""From TensorFlow's StyleGAN2 (Karras et al. 2020) to the keys of StyleGAN2-ADA, whatever its settings.

Its configurations B to D, once grown, are networks of architecture "orig". Labels are of two kinds: StyleGAN2's
`LabelConcat`, scaled together with z, and StyleGAN2-ADA's `LabelEmbed`, scaled on its own.
"""

import re
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints.completing import MAPPING_RATE, with_filters, with_mapping_rate, without_noise
from pipeline.generators.checkpoints.conversions import (
    Array,
    Rule,
    check_grown,
    conv,
    dense,
    first,
    flipped,
    name_noises,
    plus_one,
    same,
    three_channels,
    translate,
)
from pipeline.generators.checkpoints.converted import Converted
from pipeline.generators.checkpoints.tensorflow import TFNetwork
from pipeline.generators.checkpoints.tf_settings import Settings
from pipeline.generators.layers import ACTIVATIONS, numbers

REVISED = "G_synthesis_stylegan_revised"  # configurations B to D
SYNTHESES = ("G_synthesis_stylegan2", "G_synthesis", REVISED)
LAYER: tuple[Rule, ...] = (
    ("bias", "bias", same),
    ("noise_strength", "noise_strength", same),
    ("mod_weight", "affine.weight", dense),
    ("mod_bias", "affine.bias", plus_one),
)


def rules() -> tuple[Rule, ...]:
    """List how the variables of a StyleGAN2 are called here."""
    places = (
        (r"synthesis/4x4/Conv", "synthesis.b4.conv1", conv),
        (r"synthesis/(\d+)x\1/Conv0_up", r"synthesis.b\1.conv0", flipped),
        (r"synthesis/(\d+)x\1/Conv1", r"synthesis.b\1.conv1", conv),
        (r"synthesis/(\d+)x\1/ToRGB", r"synthesis.b\1.torgb", conv),
    )
    return (
        ("dlatent_avg", "mapping.w_avg", same),
        (r"mapping/Dense(\d+)/weight", r"mapping.fc\1.weight", dense),
        (r"mapping/Dense(\d+)/bias", r"mapping.fc\1.bias", same),
        (r"mapping/Label(?:Embed|Concat)/weight", "mapping.embed.weight", dense),
        (r"mapping/LabelEmbed/bias", "mapping.embed.bias", same),
        (r"synthesis/4x4/Const/const", "synthesis.b4.const", first),
        (r"synthesis/noise(\d+)", r"noise\1", first),
        (r"synthesis/(\d+)x\1/Skip/weight", r"synthesis.b\1.skip.weight", conv),
        *((rf"{place}/weight", f"{key}.weight", layout) for place, key, layout in places),
        *(
            (rf"{place}/{name}", f"{key}.{ours}", layout)
            for place, key, _ in places
            for name, ours, layout in LAYER
        ),
    )


def from_stylegan2(network: TFNetwork) -> Converted:
    """Convert StyleGAN2's `Gs`, of any configuration but A, which is a StyleGAN.

    Raises:
        CheckpointError: it is damaged, still growing, or has a setting that is not rendered.
    """
    variables = finest_torgb(network.variables)
    state = name_noises(translate(TFNetwork(variables, {}), rules(), r"(synthesis/|mapping/)?lod", "StyleGAN2"))
    resolutions = numbers(r"synthesis\.b(\d{1,5})\.conv1\.weight", state)
    settings = Settings(network.settings)
    structure = settings.choice("structure", "auto", ("auto", "fixed", "linear", "recursive"))
    grows = any("ToRGB_lod" in name for name in network.variables)
    if grows and structure != "fixed":
        check_grown(network.variables.get("lod", network.variables.get("synthesis/lod")))
    settings.choice("mapping_func", "G_mapping", ("G_mapping",))
    if (settings.choice("synthesis_func", None, (None, *SYNTHESES)) == REVISED) > grows:
        raise CheckpointError("it is damaged: its setting 'synthesis_func' does not fit its variables")
    own = settings_of(settings, state, variables, resolutions[-1] if resolutions else 4)
    if "mapping/LabelConcat/weight" in variables:
        embedding = state["mapping.embed.weight"]  # our layer scales it by 1 / sqrt(c_dim), theirs does not
        state["mapping.embed.weight"] = embedding * embedding.shape[1] ** 0.5
        state["mapping.embed.bias"] = torch.zeros(len(embedding))
    if not settings.flag("use_noise", True):
        state = without_noise(state)
    state = with_mapping_rate(state, settings.number("mapping_lrmul", MAPPING_RATE))
    kernel = settings.kernel("resample_kernel", [1, 3, 3, 1], without=[1, 1])
    if kernel.shape[0] != kernel.shape[1]:
        settings.refuse("resample_kernel")
    state = with_filters(state, kernel)
    if settings.take("conv_clamp", None) is not None:
        settings.number("conv_clamp", 1)
    settings.finish()
    return Converted(three_channels(state, r"synthesis\.b\d+\.torgb\.(weight|bias)"), own)


def finest_torgb(variables: dict[str, Array]) -> dict[str, Array]:
    """Of a network that grew, keep the only ToRGB that renders, under the name that others have for it."""
    if not any("ToRGB_lod" in name for name in variables):
        return variables
    sizes = [int(m[1]) for m in (re.match(r"synthesis/(\d{1,5})x\1/", name) for name in variables) if m]
    last = f"synthesis/{max(sizes, default=4)}x{max(sizes, default=4)}/ToRGB"
    renamed = {name.replace("synthesis/ToRGB_lod0", last): array for name, array in variables.items()}
    return {name: array for name, array in renamed.items() if "ToRGB_lod" not in name}


def settings_of(
    settings: Settings, state: dict[str, Tensor], variables: dict[str, Array], resolution: int
) -> dict[str, Any]:
    """Return what our network must be told; hold the sizes that are said against those of the variables."""
    labels = state.get("mapping.embed.weight")
    widths = {
        key: len(state[key]) for key in ("mapping.w_avg", f"synthesis.b{resolution}.torgb.bias") if key in state
    }
    settings.agree("resolution", resolution)
    settings.agree("mapping_layers", len(numbers(r"mapping\.fc(\d+)\.", state)))
    settings.agree("label_size", 0 if labels is None else labels.shape[1])
    settings.agree("dlatent_size", widths.get("mapping.w_avg", 512))
    settings.agree("num_channels", widths.get(f"synthesis.b{resolution}.torgb.bias", 3))
    if "mapping.fc0.weight" in state:
        embedded = 0 if labels is None else len(labels)
        settings.agree("latent_size", state["mapping.fc0.weight"].shape[1] - embedded)
    skips = any(key.endswith("skip.weight") for key in state)
    found = "resnet" if skips else "skip" if "synthesis.b4.torgb.weight" in state and resolution > 4 else "orig"
    said = settings.choice("architecture", found, ("orig", "skip", "resnet"))
    if said != found and not any("ToRGB_lod" in name for name in variables):
        raise CheckpointError(
            f"it is damaged: its setting 'architecture' is {said!r}, but its variables are {found!r}"
        )
    norm = "joint" if "mapping/LabelConcat/weight" in variables else "each"
    if not settings.flag("normalize_latents", True):
        if "mapping/LabelEmbed/weight" in variables:
            settings.refuse("normalize_latents")
        norm = "none"
    chosen = {
        "activation": settings.choice("nonlinearity", "lrelu", ACTIVATIONS),
        "mapping_activation": settings.choice("mapping_nonlinearity", "lrelu", ACTIVATIONS),
        "latent_norm": norm,
    }
    usual = {"activation": "lrelu", "mapping_activation": "lrelu", "latent_norm": "each"}
    return {name: value for name, value in chosen.items() if value != usual[name]}
