"""Rates, sizes, cutoffs and filter lengths of StyleGAN3's layers, worked out from a few settings (section 3.2)."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class LayerSampling:
    """How one layer reads and writes its signal; the names are those of the reference implementation.

    Sizes count pixels with the margin around the image, rates pixels a width of the image, cutoffs and half-widths
    of transition bands cycles a width of the image. Between the filters the signal is at `tmp_sampling_rate`.
    """

    is_torgb: bool
    is_critically_sampled: bool
    in_size: int
    out_size: int
    in_sampling_rate: int
    out_sampling_rate: int
    tmp_sampling_rate: int
    in_cutoff: float
    out_cutoff: float
    in_half_width: float
    out_half_width: float
    up_factor: int
    down_factor: int
    up_taps: int
    down_taps: int

    def padding(self, conv_kernel: int) -> tuple[int, int]:
        """Zeros before and after the upsampled signal, negative where it is cropped.

        The two filters and the convolution, which lets its kernel hang over the edges, then give `out_size` pixels.
        """
        total = (self.out_size - 1) * self.down_factor + 1 - (self.in_size + conv_kernel - 1) * self.up_factor
        total += self.up_taps + self.down_taps - 2
        before = (total + self.up_factor) // 2
        return before, total - before


@dataclass(frozen=True)
class Sampling:
    """What decides all layers' sampling beside the image's resolution and their number; defaults are official.

    Attributes:
        num_critical: layers at the end that are sampled critically.
        first_cutoff: cutoff frequency of the first layer, cycles a width of the image.
        first_stopband: where its stopband begins at the latest.
        last_stopband_rel: the same for the last layer, relative to its cutoff.
        margin_size: pixels that are computed beyond each edge of the image.
        filter_size: length of the filters in samples of the lower rate.
        lrelu_upsampling: how many times finer the signal is when the leaky ReLU is taken.
    """

    num_critical: int = 2
    first_cutoff: float = 2.0
    first_stopband: float = 2**2.1
    last_stopband_rel: float = 2**0.3
    margin_size: int = 10
    filter_size: int = 6
    lrelu_upsampling: int = 2

    def __post_init__(self) -> None:
        whole = {"num_critical": 0, "margin_size": 0, "filter_size": 1, "lrelu_upsampling": 1}
        for name, least in whole.items():
            check(name, getattr(self, name), least, 1024, int)
        for name in ("first_cutoff", "first_stopband", "last_stopband_rel"):
            check(name, getattr(self, name), 2**-10, 2**20, int | float)

    def layers(self, resolution: int, num_layers: int) -> list[LayerSampling]:
        """Return the layers L0, L1, … and, last, ToRGB, num_layers + 1 in all.

        Raises:
            ValueError: these settings give no network.
        """
        if num_layers <= self.num_critical:
            raise ValueError(f"num_critical = {self.num_critical}: it has {num_layers} layers only")
        last_cutoff = resolution / 2
        progress = np.minimum(np.arange(num_layers + 1) / (num_layers - self.num_critical), 1)
        cutoffs = self.first_cutoff * (last_cutoff / self.first_cutoff) ** progress
        last_stopband = last_cutoff * self.last_stopband_rel
        stopbands = self.first_stopband * (last_stopband / self.first_stopband) ** progress
        rates = np.exp2(np.ceil(np.log2(np.minimum(stopbands * 2, resolution))))
        half_widths = np.maximum(stopbands, rates / 2) - cutoffs
        sizes = rates + self.margin_size * 2
        sizes[-2:] = resolution
        if rates[-2] != resolution or rates[0] < 1:
            raise ValueError("its first_stopband and last_stopband_rel leave layers without a rate of their own")
        if (half_widths <= 0).any():
            raise ValueError("its first_cutoff, first_stopband and last_stopband_rel leave filters no transition")
        layers = []
        for index in range(num_layers + 1):
            before, is_torgb = max(index - 1, 0), index == num_layers
            in_rate, out_rate = int(rates[before]), int(rates[index])
            finer = max(in_rate, out_rate) * (1 if is_torgb else self.lrelu_upsampling)
            up, down = finer // in_rate, finer // out_rate
            if up * in_rate != finer or down * out_rate != finer:
                raise ValueError(f"lrelu_upsampling = {self.lrelu_upsampling} does not fit the layers' rates")
            layers.append(
                LayerSampling(
                    is_torgb=is_torgb,
                    is_critically_sampled=index >= num_layers - self.num_critical,
                    in_size=int(sizes[before]),
                    out_size=int(sizes[index]),
                    in_sampling_rate=in_rate,
                    out_sampling_rate=out_rate,
                    tmp_sampling_rate=finer,
                    in_cutoff=float(cutoffs[before]),
                    out_cutoff=float(cutoffs[index]),
                    in_half_width=float(half_widths[before]),
                    out_half_width=float(half_widths[index]),
                    up_factor=up,
                    down_factor=down,
                    up_taps=self.filter_size * up if up > 1 and not is_torgb else 1,
                    down_taps=self.filter_size * down if down > 1 and not is_torgb else 1,
                )
            )
        return layers


def check(name: str, value: Any, least: float, most: float, kind: Any) -> None:
    """Raise ValueError unless a setting is a number of this kind and in this range."""
    if (
        isinstance(value, bool)
        or not isinstance(value, kind)
        or not math.isfinite(value)
        or not least <= value <= most
    ):
        what = "a whole number" if kind is int else "a number"
        raise ValueError(f"{name} = {str(value)[:40]!r} must be {what} from {least:g} to {most:g}")
