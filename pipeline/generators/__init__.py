"""Generators behind one protocol, loaded by manifest name or from a safetensors file."""

from pipeline.generators.base import Generator, NoiseMode
from pipeline.generators.loading import LoadedGenerator, load_generator, open_generator
from pipeline.generators.stylegan2 import StyleGAN2

__all__ = [
    "Generator",
    "LoadedGenerator",
    "NoiseMode",
    "StyleGAN2",
    "load_generator",
    "open_generator",
]
