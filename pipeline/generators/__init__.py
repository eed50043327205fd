"""Generators behind one protocol, loaded by manifest name or from a safetensors file."""

from pipeline.generators.base import Generator, NoiseMode, layers_of_resolution
from pipeline.generators.loading import LoadedGenerator, load_generator, open_generator
from pipeline.generators.stylegan2 import StyleGAN2

__all__ = [
    "Generator",
    "LoadedGenerator",
    "NoiseMode",
    "StyleGAN2",
    "layers_of_resolution",
    "load_generator",
    "open_generator",
]
