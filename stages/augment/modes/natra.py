"""NaTra (eq. 2, 7, 13): edits along label-irrelevant directions, each sample as far as its own robustness tells.

An edit is a direction u and a range of layers j-k: D(u, j-k) adds r deviation(u) u to w there, and the r of all
edits are attacked together, in the l-infinity ball; `direction` and the layers tell which edit went furthest.
Adaptive Perturbation Tuning (eq. 13) widens the radius by rho until the classifier is fooled: epsilon_i is the
radius that it withstood. Label smoothing follows it, alpha = c epsilon_i (section 3.4.3). A sample that the
classifier gets wrong without any edit withstands nothing: its epsilon_i is 0, its label hard.
"""

import torch
from torch import Tensor

from pipeline.attacks.ascent import Outcome
from stages.augment.attacks import attacked, wrong_unchanged
from stages.augment.edits import EditAttack
from stages.augment.modes.base import Context, Sources, Variants, no_partner
from stages.augment.soft_labels import smoothed_labels


class NaTra:
    """The radius grows around the source until the classifier is fooled (NaTra-OL: one w+ code a sample)."""

    adaptive = True

    def __call__(self, sources: Sources, context: Context) -> Variants:
        """Attack each variant along its edits."""
        attack = EditAttack(sources, context, self.adaptive)
        outcome = attacked(sources, context, attack)
        everyone = torch.arange(len(sources), device=sources.w.device)
        w = attack.edited(outcome.x, everyone)
        epsilon = self.epsilon(attack, outcome)
        columns = {
            "epsilon": epsilon,
            "restarts": outcome.spent,
        }
        reached = attack.moves(outcome.x, everyone).abs().amax(dim=2).round(decimals=3)  # many share a bound
        furthest = reached.argmax(dim=1).cpu()
        for name in ("direction", "first_layer", "last_layer"):
            columns[name] = torch.tensor([getattr(edit, name) for edit in context.edits])[furthest]
        if context.config.smoothing > 0:
            columns["soft_label"] = smoothed_labels(
                sources.labels,
                context.config.smoothing * epsilon,
                context.num_classes,
                context.seeds("natra smoothing", sources.keys),
            )
        return Variants(w, no_partner(sources), columns=columns)

    def epsilon(self, attack: EditAttack, outcome: Outcome) -> Tensor:
        """epsilon_i [B]."""
        wrong = wrong_unchanged(attack.sources, attack.context)
        return torch.where(wrong, 0.0, attack.kept_epsilon(outcome))


class NaTraOA(NaTra):
    """Without adaptive tuning: a random edit by r ~ N(0, 1), and ascent within one epsilon of it."""

    adaptive = False

    def epsilon(self, attack: EditAttack, outcome: Outcome) -> Tensor:
        """The one epsilon [B]."""
        return torch.full(outcome.attempt.shape, attack.context.config.epsilon)
