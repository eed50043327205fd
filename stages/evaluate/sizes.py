"""How many images a classifier is asked about, attacked on or trained on at once: by their size, and by the memory."""

import torch
from torch import nn

from pipeline.footprint import peak_bytes_of
