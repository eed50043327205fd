"""Soft labels: of mixup, and of NaTra's adaptive label smoothing."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def mixup_weights(alpha: float, seeds: list[int]) -> Tensor:
    """Lambda ~ Beta(alpha, alpha) [B], one from each seed (Zhang et al. 2018)."""
    return torch.tensor([np.random.default_rng(seed).beta(alpha, alpha) for seed in seeds], dtype=torch.float32)


def mixed_labels(labels: Tensor, others: Tensor, lam: Tensor, num_classes: int) -> Tensor:
    """Lambda y_A + (1 - lambda) y_B: float32 [B, num_classes] for labels [B] and lambda [B]."""
    own, other = (F.one_hot(each, num_classes).float() for each in (labels, others))
    return lam[:, None] * own + (1 - lam[:, None]) * other


def smoothed_labels(labels: Tensor, alpha: Tensor, num_classes: int, seeds: list[int]) -> Tensor:
    """(1 - alpha) y + alpha u with u ~ Dirichlet(1, ..., 1) [B, num_classes]; alpha [B] is clipped to [0, 1].

    NaTra, section 3.4.3, where alpha = c epsilon_i.
    """
    draws = [torch.rand(num_classes, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    exponential = -torch.log1p(-torch.stack(draws).double())  # normalised, they are uniform on the simplex
    u = (exponential / exponential.sum(dim=1, keepdim=True)).float()
    alpha = alpha.clamp(0, 1)[:, None]
    return (1 - alpha) * F.one_hot(labels, num_classes) + alpha * u
