"""Parts that several generators are made of."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LRELU_SLOPE = 0.2
LRELU_GAIN = math.sqrt(2)


@dataclass(frozen=True)
class Activation:
    """A pointwise function, which may overwrite what it is given, and the gain that comes after it.

    Attributes:
        homogeneous: f(a x) = a f(x) for all a > 0, so that the gain may as well come before.
    """

    function: Callable[[Tensor], Tensor]
    gain: float = 1.0
    homogeneous: bool = False


# By the names that NVIDIA's networks have for them, with the gains that these give them.
ACTIVATIONS = {
    "lrelu": Activation(lambda x: F.leaky_relu_(x, LRELU_SLOPE), LRELU_GAIN, homogeneous=True),
    "relu": Activation(torch.relu_, math.sqrt(2), homogeneous=True),
    "linear": Activation(lambda x: x, homogeneous=True),
    "tanh": Activation(torch.tanh),
    "sigmoid": Activation(torch.sigmoid),
    "elu": Activation(F.elu),
    "selu": Activation(F.selu),
    "softplus": Activation(F.softplus),
    "swish": Activation(F.silu, math.sqrt(2)),
}


def find_activation(name: str) -> Activation:
    """Return the activation of this name. Raises ValueError where there is none."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation '{name}' is none of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


class FullyConnected(nn.Module):
    """Linear layer with equalised learning rate: effective weight = weight * lr_mul / sqrt(in)."""

    def __init__(self, in_features: int, out_features: int, *, lr_mul: float = 1.0, bias_init: float = 0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        nn.init.normal_(self.weight, std=1 / lr_mul)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init / lr_mul))
        self.weight_gain = lr_mul / math.sqrt(in_features)
        self.bias_gain = lr_mul

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in] to [B, out]."""
        return F.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain)


def normalize_2nd_moment(x: Tensor, eps: float = 1e-8) -> Tensor:
    """Scale x [B, D, …] to unit mean square over D."""
    return x * (x.square().mean(dim=1, keepdim=True) + eps).rsqrt()


def truncate(w: Tensor, w_avg: Tensor, psi: float, cutoff: int | None, num_ws: int) -> Tensor:
    """Repeat w [B, D] as [B, num_ws, D] (which may be given), and truncate it.

    Its first `cutoff` (all, if None) are moved to w_avg + psi * (w - w_avg).
    """
    w = w[:, None].expand(-1, num_ws, -1) if w.dim() == 2 else w
    if psi == 1.0:
        return w
    count = num_ws if cutoff is None else cutoff
    return torch.cat([w_avg.lerp(w, psi)[:, :count], w[:, count:]], dim=1)


def replace_layers(w: Tensor, other: Tensor, layers: tuple[int, ...]) -> Tensor:
    """[w_coarse(w), w_fine(other)]: take `layers` from `other`, both [B, num_ws, w_dim]."""
    mask = torch.zeros(w.shape[1], dtype=torch.bool, device=w.device)
    mask[list(layers)] = True
    return torch.where(mask[None, :, None], other, w)


def fir_kernel(resample_filter: Tensor, channels: int, gain: float) -> Tensor:
    """Turn a filter [h, w] into a depthwise kernel [channels, 1, h, w]."""
    return (resample_filter * gain).expand(channels, 1, *resample_filter.shape)


def resample_filter_buffer(shape: tuple[int, ...] = (4, 4)) -> Tensor:
    """Return the binomial low-pass of this shape, [1, 3, 3, 1] x [1, 3, 3, 1] for 4 x 4, normalised to sum 1."""
    rows, columns = (
        torch.tensor([float(math.comb(taps - 1, i)) for i in range(taps)], device="cpu") for taps in shape
    )  # a constant, also in blank networks
    kernel = torch.outer(rows, columns)
    return kernel / kernel.sum()


def crop(x: Tensor, top: int, bottom: int, left: int, right: int) -> Tensor:
    """Take rows and columns off x [B, C, H, W]; negative numbers add zeros."""
    return x if top == bottom == left == right == 0 else F.pad(x, (-left, -right, -top, -bottom))


def upsample2d(x: Tensor, resample_filter: Tensor) -> Tensor:
    """Double the size of [B, C, H, W] by zero insertion and the low-pass filter [h, w] (gain 4)."""
    kernel = fir_kernel(resample_filter.to(x.dtype), x.shape[1], gain=4)
    # The transposed convolution gives n - 2 rows too many for n taps: so many go before, the others after.
    before = [n - 1 - (n + 1) // 2 for n in resample_filter.shape]
    after = [n - 2 - cut for n, cut in zip(resample_filter.shape, before, strict=True)]
    both = [max(min(cuts), 0) for cuts in zip(before, after, strict=True)]
    x = F.conv_transpose2d(x, kernel, stride=2, padding=both, groups=x.shape[1])
    (top, left), (bottom, right) = (
        [n - cut for n, cut in zip(ends, both, strict=True)] for ends in (before, after)
    )
    return crop(x, top, bottom, left, right)


def low_pass(x: Tensor, resample_filter: Tensor) -> Tensor:
    """Filter by [h, w] (gain 4) what a transposed convolution made: [B, C, 2H + 1, 2W + 1] to [B, C, 2H, 2W]."""
    kernel = fir_kernel(resample_filter.to(x.dtype).flip(0, 1), x.shape[1], gain=4)
    before = [(n + 1) // 2 - 1 for n in resample_filter.shape]
    after = [(n - 2) // 2 for n in resample_filter.shape]
    if before == after:
        return F.conv2d(x, kernel, padding=before, groups=x.shape[1])
    x = crop(x, -before[0], -after[0], -before[1], -after[1])
    return F.conv2d(x, kernel, groups=x.shape[1])


def double(x: Tensor) -> Tensor:
    """Double the size of [B, C, H, W] by repeating every pixel."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def self_attention(
    x: Tensor, theta: nn.Module, phi: nn.Module, g: nn.Module, o: nn.Module, gamma: Tensor
) -> Tensor:
    """Add to x [B, C, H, W] what its positions see of each other (Zhang et al. 2019, SAGAN, as BigGAN has it).

    theta, phi and g are 1x1 convolutions to C/8, C/8 and C/2 channels, o one back to C.
    """
    query = theta(x).flatten(2)
    key, value = (F.max_pool2d(f(x), 2).flatten(2) for f in (phi, g))
    seen = torch.softmax(query.transpose(1, 2) @ key, dim=-1)
    attended: Tensor = o((value @ seen.transpose(1, 2)).unflatten(2, x.shape[2:]))
    return torch.addcmul(x, gamma, attended)


def normalize_channels(x: Tensor, mean: Tensor, variance: Tensor, eps: float, gain: Tensor, bias: Tensor) -> Tensor:
    """Batch-normalise x [B, C, H, W] by stored statistics [C], with a gain and a bias [B, C] or [C]."""
    scale = (variance + eps).rsqrt() * gain
    return torch.addcmul((bias - mean * scale)[..., None, None], x, scale[..., None, None])


def numbers(pattern: str, state: Mapping[str, Tensor]) -> list[int]:
    """Return the different numbers that keys have at the pattern's group, in order."""
    return sorted({int(found[1]) for found in (re.match(pattern, key) for key in state) if found})


def fold_spectral_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Divide every weight by its spectral norm, which is constant in a trained network, as its file tells it.

    Two kinds of files are known. BigGAN-PyTorch stores `weight`, `u0` and `sv0`, and normalises by one power
    iteration from u0 (sv0 is for show); torch's own `spectral_norm` stores `weight_orig`, `weight_u` and
    `weight_v`, and normalises by u·W·v. A file with none of these is returned as it is.
    """
    left_out = re.compile(r".*\.(u\d+|sv\d+|weight_orig|weight_u|weight_v)$")
    folded = {key: tensor for key, tensor in state.items() if not left_out.match(key)}
    for key, tensor in state.items():
        stem, _, name = key.rpartition(".")
        if name == "u0":
            weight = state[f"{stem}.weight"].double()
            v = F.normalize(tensor.double() @ weight.flatten(1), dim=1, eps=1e-12)
            u = F.normalize(v @ weight.flatten(1).T, dim=1, eps=1e-12)
            folded[f"{stem}.weight"] = (weight / (v @ weight.flatten(1).T @ u.T).squeeze()).float()
        elif name == "weight_orig" and f"{stem}.weight" not in state:
            weight, u, v = (
                part.double() for part in (tensor, state[f"{stem}.weight_u"], state[f"{stem}.weight_v"])
            )
            folded[f"{stem}.weight"] = (weight / (u @ weight.flatten(1) @ v)).float()
    return folded


def weighted(psi: float, cutoff: int | None, num_ws: int) -> list[float]:
    """Return psi for the first `cutoff` layers (all, if None) and 1 for the others."""
    count = num_ws if cutoff is None else cutoff
    return [psi if layer < count else 1.0 for layer in range(num_ws)]


def embed_labels(embedding: Tensor, c: Tensor | None) -> Tensor:
    """Mix class embeddings [c_dim, D] by labels c [B, c_dim], one-hot or probabilities.

    Raises:
        ValueError: there are no labels.
    """
    if c is None:
        raise ValueError(f"this generator is conditional: pass labels c of shape [B, {embedding.shape[0]}]")
    return c @ embedding
