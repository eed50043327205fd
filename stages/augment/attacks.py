"""The attacks of the modes: `pipeline.attacks` with the settings of `pipeline augment`."""

import torch
from torch import Tensor

from pipeline.attacks.ascent import Attack, Outcome, ascend
from pipeline.attacks.balls import PIXELS, BallAttack, Seeds
from pipeline.attacks.mix import MixAttack
from pipeline.memory import in_batches
from pipeline.seeds import seed_of
from stages.augment.modes.base import Context, Sources, Variants, no_partner


def step_of(context: Context, radius: float) -> float:
    """Length of a step: as asked; else a quarter of the radius (OM-ImageNet), or what reaches its edge."""
    config = context.config
    return radius / min(4, config.attack_steps) if config.step_size is None else config.step_size


def attempt_seeds(context: Context, purpose: str, sources: Sources) -> Seeds:
    """A seed for each variant's attempt."""

    def seeds(items: Tensor, attempts: list[int]) -> list[int]:
        keys = [sources.keys[i] for i in items.tolist()]
        return [seed_of(context.config.seed, purpose, k, a) for k, a in zip(keys, attempts, strict=True)]

    return seeds


def attacked(sources: Sources, context: Context, attack: Attack) -> Outcome:
    """Run an attack against the context's classifier."""
    assert context.classify is not None
    return ascend(attack, sources.labels.to(sources.w.device), context.classify, context.slots)


def wrong_unchanged(sources: Sources, context: Context) -> Tensor:
    """Whether the classifier gets the rendering of each source's own w wrong, bool [B]."""
    assert context.classify is not None
    samples, back = sources.distinct()
    classify = context.classify

    def wrong(rows: slice) -> Tensor:
        places = samples[rows]
        images = context.render(sources.w[places], sources.codes(places))
        return classify(images).argmax(dim=1).cpu() != sources.labels[places]

    return torch.cat(in_batches(len(samples), context.slots, wrong))[back]


def mix_attack(sources: Sources, context: Context) -> MixAttack:
    """Algorithm 2 of AdvMix."""
    config = context.config
    return MixAttack(
        sources.w,
        context.map,
        lambda x, items: context.render(x, sources.codes(items)),
        context.z_dim,
        context.fine_layers,
        config.epsilon,
        step_of(context, config.epsilon),
        config.attack_steps,
        config.restarts,
        attempt_seeds(context, "advmix", sources),
        config.typical,
        generator=context.generator if sources.composition is None else None,
    )


def pixel_attack(sources: Sources, context: Context, images: Tensor, purpose: str) -> Variants:
    """PGD on images [B, 3, H, W] in [-1, 1]; the variants' w stays the source's."""
    config = context.config
    attack = BallAttack(
        images,
        config.pixel_epsilon,
        step_of(context, config.pixel_epsilon),
        config.attack_steps,
        attempt_seeds(context, purpose, sources),
        lambda x, items: x,
        config.restarts,
        PIXELS,
    )
    outcome = attacked(sources, context, attack)
    return Variants(sources.w, no_partner(sources), outcome.x, told(outcome, config.pixel_epsilon))


def latent_attack(sources: Sources, context: Context, purpose: str) -> Variants:
    """OM-PGD in all layers of w+ (OM-ImageNet)."""
    config = context.config
    attack = BallAttack(
        sources.w,
        config.epsilon,
        step_of(context, config.epsilon),
        config.attack_steps,
        attempt_seeds(context, purpose, sources),
        lambda w, items: context.render(w, sources.codes(items)),
        config.restarts,
    )
    outcome = attacked(sources, context, attack)
    return Variants(outcome.x, no_partner(sources), columns=told(outcome, config.epsilon))


def told(outcome: Outcome, epsilon: float) -> dict[str, Tensor]:
    """What an attack of one radius tells of its variants."""
    return {"epsilon": torch.full(outcome.attempt.shape, epsilon), "restarts": outcome.spent}
