"""The three batch norms of BigGAN-PyTorch, told apart by their keys and turned into one kind.

Its plain norm has `stored_mean` and `stored_var`. Its own norm (`mybn`) has them under `bn.`; where
`bn.accumulation_counter` is not 0, they are sums over so many batches ("standing statistics"). Its synchronised
norm (`cross_replica`) has `bn.running_mean` and `bn.running_var`, and its code, when it evaluates, adds the gain to
the normalised features instead of multiplying by it. That is folded into the weights: (x - m) / s + 1 + g(y) + b(y)
= (x - (m - s)) / s + (g + b)(y).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

BATCH_NORM_EPS = 1e-5
SYNCHRONISED = ".bn.running_mean"
SYNCHRONISED_NOTE = (
    "its batch norms are of the synchronised kind, whose code adds gains where it evaluates and multiplies by them "
    "where several GPUs train: images are as its code evaluates"
)

State = Mapping[str, Tensor]


def is_synchronised(state: State) -> bool:
    """Tell whether the norms of a state dict are of the synchronised kind."""
    return any(key.endswith(SYNCHRONISED) for key in state)


def plain_norms(state: State) -> dict[str, Tensor]:
    """Give all norms the form of the plain one; spectral norms must be folded already.

    Raises:
        KeyError: a part of a norm is missing.
        ValueError: there are norms without statistics.
    """
    plain = {key: tensor for key, tensor in state.items() if ".bn." not in key}
    for key, tensor in state.items():
        stem, _, name = key.rpartition(".bn.")
        if name == "stored_mean":
            count = state.get(f"{stem}.bn.accumulation_counter", torch.zeros(1)).double().clamp(min=1)
            plain[f"{stem}.stored_mean"] = (tensor.double() / count).float()
            plain[f"{stem}.stored_var"] = (state[f"{stem}.bn.stored_var"].double() / count).float()
        elif name == "running_mean":
            plain |= evaluated(state, stem)
    gains = [key.removesuffix(".gain.weight") for key in state if key.endswith(".gain.weight")]
    if gains and not any(f"{stem}.stored_{part}" in plain for stem in gains for part in ("mean", "var")):
        raise ValueError(f"'{gains[0]}' has no statistics, as with norm_style gn or nonorm, which is not rendered")
    return plain


def evaluated(state: State, stem: str) -> dict[str, Tensor]:
    """Return a synchronised norm, as its code evaluates it, in terms of a plain norm."""
    mean, variance = (state[f"{stem}.bn.running_{part}"].double() for part in ("mean", "var"))
    if f"{stem}.gain" in state:  # of the output layer, without a condition
        gain = state[f"{stem}.gain"]
        parts = {"gain": torch.ones_like(gain), "bias": state[f"{stem}.bias"] + gain}
    else:
        gain = state[f"{stem}.gain.weight"]
        parts = {"gain.weight": torch.zeros_like(gain), "bias.weight": state[f"{stem}.bias.weight"] + gain}
        mean = mean - (variance + BATCH_NORM_EPS).sqrt()
    return {
        **{f"{stem}.{name}": tensor for name, tensor in parts.items()},
        f"{stem}.stored_mean": mean.float(),
        f"{stem}.stored_var": variance.float(),
    }
