"""Randomness comes from names, not from order."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.seeds import normal_rows, seed_of, torch_generator


@given(st.integers(0, 2**31), st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
def test_different_names_give_different_seeds(seed: int, purpose: str, a: str, b: str) -> None:
    assert seed_of(seed, purpose, a) == seed_of(seed, purpose, a)
    assert 0 <= seed_of(seed, purpose, a) < 2**63
    if a != b:
        assert seed_of(seed, purpose, a) != seed_of(seed, purpose, b)


def test_rows_depend_on_their_own_seed_alone() -> None:
    seeds = [seed_of(0, "test", i) for i in range(5)]
    together = normal_rows((7,), seeds)
    for i in (3, 0, 4):
        assert torch.equal(normal_rows((7,), [seeds[i]])[0], together[i])


def test_a_known_value_never_changes() -> None:
    assert seed_of(0, "train-generator", 17) == 6304298243017178032
    assert torch_generator(3, "x").initial_seed() == seed_of(3, "x")
