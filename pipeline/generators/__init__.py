"""Generators behind one protocol, loaded by manifest name or from a safetensors file."""

from pipeline.generators.base import Activations, Generator, NoiseMode
from pipeline.generators.loading import LoadedGenerator, load_generator, open_generator
from pipeline.generators.stylegan1 import StyleGAN1
from pipeline.generators.stylegan2 import StyleGAN2

__all__ = [
    "Activations",
    "Generator",
    "LoadedGenerator",
    "NoiseMode",
    "StyleGAN1",
    "StyleGAN2",
    "load_generator",
    "open_generator",
]
