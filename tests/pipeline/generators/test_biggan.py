"""BigGAN against a plain recomputation, sample by sample, from the tensors of its file."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.errors import WeightsError
from pipeline.generators.biggan import BigGAN
from tests.pipeline.generators.tiny_states import State, biggan


def weight_of(state: State, name: str) -> Tensor:
    """W / sigma, where sigma comes from one power iteration on the stored u0."""
    weight, u = state[f"{name}.weight"], state[f"{name}.u0"][0]
    matrix = weight.reshape(len(weight), -1)
    v = matrix.T @ u
    v = v / v.norm()
    u = matrix @ v
    u = u / u.norm()
    return weight / (u @ matrix @ v)


def conv(state: State, name: str, x: Tensor) -> Tensor:
    weight = weight_of(state, name)
    return F.conv2d(x, weight, state.get(f"{name}.bias"), padding=weight.shape[-1] // 2)


def norm(state: State, name: str, x: Tensor, y: Tensor) -> Tensor:
    x = F.batch_norm(x, state[f"{name}.stored_mean"], state[f"{name}.stored_var"], eps=1e-5)
    gain, bias = (weight_of(state, f"{name}.{part}") @ y for part in ("gain", "bias"))
    return x * (1 + gain[:, None, None]) + bias[:, None, None]


def naive(state: State, z: Tensor, label: int, hierarchical: bool) -> Tensor:
    """One image from z [z_dim]."""
    chunks = z.split(4) if hierarchical else [z, *[z[:0]] * 3]
    embedding = state["shared.weight"][label]
    x = (weight_of(state, "linear") @ chunks[0] + state["linear.bias"]).reshape(1, -1, 4, 4)
    for i in range(3):
        y = torch.cat([embedding, chunks[i + 1]])
        name = f"blocks.{i}.0"
        h = F.interpolate(F.relu(norm(state, f"{name}.bn1", x, y)), scale_factor=2)
        h = conv(state, f"{name}.conv1", h)
        h = conv(state, f"{name}.conv2", F.relu(norm(state, f"{name}.bn2", h, y)))
        x = h + conv(state, f"{name}.conv_sc", F.interpolate(x, scale_factor=2))
        if i == 1:
            theta = conv(state, "blocks.1.1.theta", x)[0].flatten(1)
            phi = F.max_pool2d(conv(state, "blocks.1.1.phi", x), 2)[0].flatten(1)
            g = F.max_pool2d(conv(state, "blocks.1.1.g", x), 2)[0].flatten(1)
            seen = torch.softmax(theta.T @ phi, dim=1)
            x = x + state["blocks.1.1.gamma"] * conv(
                state, "blocks.1.1.o", (g @ seen.T).reshape(1, -1, *x.shape[2:])
            )
    output = "output_layer.0"
    x = F.batch_norm(x, state[f"{output}.stored_mean"], state[f"{output}.stored_var"],
                     state[f"{output}.gain"], state[f"{output}.bias"], eps=1e-5)  # fmt: skip
    return torch.tanh(conv(state, "output_layer.2", F.relu(x)))[0]


@pytest.mark.parametrize("hierarchical", [True, False])
def test_images_equal_the_recomputation(hierarchical: bool) -> None:
    state = biggan(hierarchical)
    network = BigGAN.from_state_dict(state)
    assert (network.z_dim, network.c_dim, network.num_ws) == (16 if hierarchical else 4, 5, 4)
    z, classes = torch.randn(3, network.z_dim), [0, 4, 2]
    image = network.synthesize(network.map(z, torch.eye(5)[classes]))
    expected = torch.stack([naive(state, row, label, hierarchical) for row, label in zip(z, classes, strict=True)])
    torch.testing.assert_close(image, expected, rtol=1e-4, atol=1e-4)


def test_a_w_is_what_its_layer_reads() -> None:
    state = biggan()
    network = BigGAN.from_state_dict(state)
    z, c = torch.randn(2, 16), torch.eye(5)[[1, 3]]
    w = network.map(z, c)
    assert torch.equal(w[:, 0, :4], z[:, :4])
    assert not w[:, 0, 4:].any()
    for layer in (1, 2, 3):
        expected = torch.cat([state["shared.weight"][[1, 3]], z.split(4, dim=1)[layer]], dim=1)
        torch.testing.assert_close(w[:, layer], expected)
    half = network.map(z, c.mean(dim=0, keepdim=True).expand(2, -1), truncation_psi=0.5, truncation_cutoff=2)
    torch.testing.assert_close(half[0, 1, :6], state["shared.weight"][[1, 3]].mean(dim=0))
    torch.testing.assert_close(half[:, 1, 6:], z[:, 4:8] / 2)
    assert torch.equal(half[:, 2, 6:], z[:, 8:12])


def renamed(state: State, mean: str, variance: str) -> State:
    return {k.replace("stored_mean", mean).replace("stored_var", variance): v for k, v in state.items()}


def norms(state: State) -> list[str]:
    return [key.removesuffix(".stored_mean") for key in state if key.endswith(".stored_mean")]


def test_the_codes_own_norm() -> None:
    state = biggan()
    own = renamed(state, "bn.stored_mean", "bn.stored_var")
    own |= {f"{norm}.bn.accumulation_counter": torch.zeros(1) for norm in norms(state)}
    w = torch.randn(2, 4, 10)
    torch.testing.assert_close(*(BigGAN.from_state_dict(s).synthesize(w) for s in (state, own)))
    # Standing statistics: sums over three batches.
    sums = {key: tensor * 3 if ".stored_" in key else tensor for key, tensor in own.items()}
    sums |= {f"{norm}.bn.accumulation_counter": torch.tensor([3.0]) for norm in norms(state)}
    torch.testing.assert_close(*(BigGAN.from_state_dict(s).synthesize(w) for s in (state, sums)))


@pytest.mark.parametrize("hierarchical", [True, False])
def test_the_synchronised_norm_adds_its_gain(hierarchical: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    state = biggan(hierarchical)
    synchronised = renamed(state, "bn.running_mean", "bn.running_var")
    synchronised |= {f"{norm}.bn.num_batches_tracked": torch.tensor(7) for norm in norms(state)}
    network = BigGAN.from_state_dict(synchronised)
    z, c = torch.randn(2, network.z_dim), torch.eye(5)[[1, 3]]
    image = network.synthesize(network.map(z, c))

    def added(state: State, name: str, x: Tensor, y: Tensor) -> Tensor:
        x = F.batch_norm(x, state[f"{name}.stored_mean"], state[f"{name}.stored_var"], eps=1e-5)
        gain, bias = (weight_of(state, f"{name}.{part}") @ y for part in ("gain", "bias"))
        return x + 1 + gain[:, None, None] + bias[:, None, None]

    monkeypatch.setitem(globals(), "norm", added)
    gain = "output_layer.0.gain"
    plain = state | {gain: torch.ones(8), "output_layer.0.bias": state["output_layer.0.bias"] + state[gain]}
    expected = torch.stack([naive(plain, row, label, hierarchical) for row, label in zip(z, [1, 3], strict=True)])
    torch.testing.assert_close(image, expected, rtol=1e-4, atol=1e-4)


def test_norms_without_statistics_are_refused() -> None:
    state = {key: t for key, t in biggan().items() if "stored_" not in key or key.startswith("output_layer")}
    with pytest.raises(
        WeightsError, match=r"'blocks\.0\.0\.bn1' has no statistics, as with norm_style gn or nonorm"
    ):
        BigGAN.from_state_dict(state)


def test_further_singular_vectors_change_nothing() -> None:
    state, w = biggan(), torch.randn(2, 4, 10)
    more = state | {
        key[:-1] + "1": torch.randn_like(t) for key, t in state.items() if key.endswith((".u0", ".sv0"))
    }
    torch.testing.assert_close(*(BigGAN.from_state_dict(s).synthesize(w) for s in (state, more)))


def test_labels_are_asked_for() -> None:
    network = BigGAN.from_state_dict(biggan())
    with pytest.raises(ValueError, match=r"pass labels c of shape \[B, 5\]"):
        network.map(torch.zeros(2, 16))


@pytest.mark.parametrize(
    ("resolution", "multiples", "attention"),
    [(128, (16, 16, 8, 4, 2, 1), 64), (256, (16, 16, 8, 8, 4, 2, 1), 64), (512, (16, 16, 8, 8, 4, 2, 1, 1), 64)],
)
def test_official_sizes_fit_together(resolution: int, multiples: tuple[int, ...], attention: int) -> None:
    with torch.device("meta"):
        blocks = len(multiples) - 1
        network = BigGAN([96 * m for m in multiples], [8 << i == attention for i in range(blocks)], 20, 128, 1000)
        image = network.synthesize(network.map(torch.randn(2, network.z_dim), torch.zeros(2, 1000)))
    assert image.shape == (2, 3, resolution, resolution)
    assert (network.z_dim, network.w_dim) == (20 * (blocks + 1), 148)
