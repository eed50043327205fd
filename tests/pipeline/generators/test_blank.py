"""Blank networks: shapes without values, and nothing imported to make them."""

import subprocess
import sys

import torch

from pipeline.generators.blank import blank_network
from pipeline.generators.stylegan2 import StyleGAN2

LOAD = """
import sys
from pipeline.generators import load_generator
load_generator("color-digits")
load_generator("color-digits-stylegan1")
print([name for name in ("sympy", "torch._dynamo") if name in sys.modules])
"""


def test_a_blank_network_has_shapes_and_no_memory() -> None:
    with blank_network():
        network = StyleGAN2(8, {4: 3, 8: 2}, z_dim=4, w_dim=5)
    assert all(parameter.is_meta for parameter in network.parameters())
    assert network.synthesis.block(8).conv1.weight.shape == (2, 2, 3, 3)
    assert not torch.randn(2).is_meta  # only within


def test_loading_imports_no_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
