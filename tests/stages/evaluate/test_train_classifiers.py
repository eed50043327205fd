"""Training and recipes on data whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.classifiers.architectures import build_network
from pipeline.errors import PipelineError
from pipeline.generators import open_generator
from pipeline.images import to_float
from stages.evaluate import sizes
from stages.evaluate.config import EvaluateConfig
from stages.evaluate.reading import Samples
from stages.evaluate.recipes import OM_PGD5, PGD5, RECIPES, Batch, OnManifoldTraining
from stages.evaluate.sizes import attack_slots, step_bytes, trained_slots
from stages.evaluate.training import batches, gradient_of, train
from tests.conftest import Tiny

CPU = torch.device("cpu")
CONFIG = EvaluateConfig(steps=40, train_batch=16, width=4)


def two_colours(count: int = 32, soft: np.ndarray | None = None) -> Samples:
    """Class 0 is red, class 1 is green."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    pixels = rng.integers(0, 60, (count, 16, 16, 3)).astype(np.uint8)
    pixels[np.arange(count), :, :, labels] += 150
    return Samples(pixels, labels, soft, [str(i) for i in range(count)], None, 2)


def accuracy(network: torch.nn.Module, samples: Samples) -> float:
    return float((network(to_float(samples.pixels)).argmax(dim=1).numpy() == samples.labels).mean())


@pytest.mark.parametrize("recipe", ["plain", "mixup", "at4"])
def test_it_learns_what_tells_the_classes_apart(recipe: str) -> None:
    network, loss = train(two_colours(), 16, CONFIG, RECIPES[recipe].recipe, 0, CPU)
    assert accuracy(network, two_colours()) == 1
    assert loss < 0.69
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


def test_a_training_that_diverges_is_told() -> None:
    with pytest.raises(PipelineError, match="the training of seed 0 has diverged: begin again with --fresh"):
        train(two_colours(), 16, replace(CONFIG, learning_rate=1e30), RECIPES["plain"].recipe, 0, CPU)


def test_mixed_colours_hide_it() -> None:
    network, _ = train(two_colours(), 16, CONFIG, RECIPES["oracle"].recipe, 0, CPU)
    assert accuracy(network, two_colours()) < 0.9


def test_the_seed_decides_everything() -> None:
    first, again, other = (train(two_colours(), 16, CONFIG, RECIPES["mixup"].recipe, s, CPU)[0] for s in (0, 0, 1))
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert any(not torch.equal(v, other.state_dict()[k]) for k, v in first.state_dict().items())


def test_soft_labels_are_what_it_learns() -> None:
    soft = np.full((32, 2), 0.5, np.float32)
    network, _ = train(two_colours(soft=soft), 16, CONFIG, RECIPES["plain"].recipe, 0, CPU)
    probabilities = network(to_float(two_colours().pixels)).softmax(dim=1)
    assert (probabilities - 0.5).abs().max() < 0.15


def test_each_pass_shows_every_image_once() -> None:
    rows = torch.cat(list(batches(10, 4, 6, seed=0)))  # two passes of 4 + 4 + 2
    assert sorted(rows[:10].tolist()) == list(range(10)) == sorted(rows[10:].tolist())
    assert rows[:10].tolist() != rows[10:].tolist()


def test_mixup_blends_images_and_targets_alike() -> None:
    images = torch.arange(8.0)[:, None, None, None].expand(8, 3, 2, 2) / 8
    made = RECIPES["mixup"].recipe(Batch(images, torch.eye(8)), torch.nn.Identity(), 3)
    torch.testing.assert_close(made.images[:, 0, 0, 0], made.targets @ images[:, 0, 0, 0])
    torch.testing.assert_close(made.targets.sum(dim=1), torch.ones(8))
    assert not torch.equal(made.targets, torch.eye(8))


def test_adversarial_training_stays_in_its_ball_and_leaves_the_network_training() -> None:
    torch.manual_seed(0)
    network = build_network("vgg5", 2, 16, 4).train()
    images = torch.zeros(4, 3, 16, 16)
    made = RECIPES["at8"].recipe(Batch(images, torch.eye(2)[[0, 1, 0, 1]]), network, 0)
    assert 0.9 * 16 / 255 < made.images.abs().max() <= 16 / 255 + 1e-6
    assert network.training


def on_manifold(tiny: Tiny) -> Batch:
    """Four renderings with the w+ they come from."""
    network = open_generator(str(tiny.generator)).network
    w = network.map(torch.randn(4, network.z_dim, generator=torch.Generator().manual_seed(0))).clone()
    with torch.no_grad():
        images = network.synthesize(w).clamp(-1, 1)
    return Batch(images, torch.eye(2)[[0, 1, 0, 1]], w, network)


def loss_of(network: torch.nn.Module, batch: Batch) -> float:
    with torch.no_grad():
        return float(torch.nn.functional.cross_entropy(network.eval()(batch.images), batch.targets))


def test_training_on_the_manifold_shows_worse_renderings_from_within_the_ball(tiny: Tiny) -> None:
    torch.manual_seed(0)
    batch = on_manifold(tiny)
    network = build_network("vgg5", 2, batch.images.shape[-1], 4).train()
    shown: list[torch.Tensor] = []
    assert batch.generator is not None
    synthesize = batch.generator.synthesize

    class Watched:
        def synthesize(self, w: torch.Tensor) -> torch.Tensor:
            shown.append(w.detach().clone())
            return synthesize(w)

    recipe = OnManifoldTraining(0.2, 0.05, 5)
    made = recipe(replace(batch, generator=Watched()), network, 0)  # type: ignore[arg-type]
    assert network.training
    distance = (shown[-1] - batch.w).abs()
    assert 0.1 < distance.max() <= 0.2 + 1e-6
    torch.testing.assert_close(made.images, synthesize(shown[-1]).clamp(-1, 1))
    assert loss_of(network, made) > loss_of(network, batch)


def test_both_manifolds_are_half_of_the_batch_each(tiny: Tiny) -> None:
    torch.manual_seed(0)
    batch = on_manifold(tiny)
    network = build_network("vgg5", 2, batch.images.shape[-1], 4).train()
    made = RECIPES["dmat"].recipe(batch, network, 0)
    apart = (PGD5, OM_PGD5)
    torch.testing.assert_close(made.images, torch.cat([one(batch, network, 0).images for one in apart]))
    assert torch.equal(made.targets, torch.cat([batch.targets, batch.targets]))
    assert 0 < (made.images[:4] - batch.images).abs().max() <= 8 / 255 + 1e-6


def test_renderings_are_shrunk_as_the_images_are(tiny: Tiny) -> None:
    batch = on_manifold(tiny)
    small = replace(batch, images=torch.nn.functional.avg_pool2d(batch.images, 2))
    network = build_network("vgg5", 2, batch.images.shape[-1], 4, input_size=16).train()
    assert RECIPES["dmat"].recipe(small, network, 0).images.shape == (8, 3, 16, 16)


def test_gradients_of_a_batch_may_be_summed_from_parts(tiny: Tiny) -> None:
    torch.manual_seed(0)
    batch = on_manifold(tiny)
    network = build_network("vgg5", 2, batch.images.shape[-1], 4)
    found = []
    for at_once in (64, 3, 1):
        network.zero_grad()
        loss = gradient_of(network, batch, at_once)
        found.append((loss, [p.grad.clone() for p in network.parameters() if p.grad is not None]))
    for loss, gradients in found[1:]:
        torch.testing.assert_close(loss, found[0][0])
        torch.testing.assert_close(gradients, found[0][1], atol=1e-6, rtol=1e-4)


def test_sizes_follow_the_memory(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    network, generator = build_network("vgg5", 2, 256, 8), open_generator(str(tiny.generator)).network
    assert attack_slots(build_network("vgg5", 2, 32), 32, CPU, generator) == 64
    assert attack_slots(network, 256, CPU) == 1
    each = step_bytes(network, 256)
    assert 8 * 256**2 * 4 < each < 100 * 8 * 256**2 * 4
    assert 0.2 < step_bytes(network, 128) / each < 0.3
    assert step_bytes(network, 32, generator) > step_bytes(network, 32)
    assert trained_slots(network, 32, CPU) > 64
    assert trained_slots(network, 256, CPU) == sizes.TRAINED_BYTES // each
    monkeypatch.setattr(sizes, "memory_share", lambda device: 10 * each)
    assert attack_slots(network, 128, CPU) == 4  # by pixels
    monkeypatch.setattr(sizes, "memory_share", lambda device: each)
    assert attack_slots(network, 128, CPU) == 3
    assert attack_slots(network, 256, CPU) == 1
