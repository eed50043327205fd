"""A gradient step of inversion at official sizes, as a share of what the card can do.

`python -m tests.benchmarks.gpu` on a machine with a GPU prints, for StyleGAN2 with random weights at 256 and 1024,
images and steps a second in fp32 and bf16, the arithmetic that is, and its share of the card's measured matrix
product. On a CPU it runs a small size, to show that it works.
"""

import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from pipeline.devices import channels_last
from pipeline.generators.stylegan2 import StyleGAN2

SIDE = 8192  # of the matrices
BYTES = 1 << 31  # moved to measure the memory
REPEATS = 10


def seconds(action: Callable[[], object], device: torch.device) -> float:
    """Mean time of a call, after three that warm up."""
    for _ in range(3):
        action()
    synchronize(device)
    began = time.perf_counter()
    for _ in range(REPEATS):
        action()
    synchronize(device)
    return (time.perf_counter() - began) / REPEATS


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ceilings(device: torch.device, dtype: torch.dtype, side: int, size: int) -> tuple[float, float]:
    """Multiply-adds of a matrix product as FLOP a second, and bytes a second of a copy."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    data = torch.empty(size, dtype=torch.uint8, device=device)
    return 2 * side**3 / seconds(lambda: a @ b, device), 2 * size / seconds(data.clone, device)


def official(resolution: int, device: torch.device) -> StyleGAN2:
    """StyleGAN2, configuration F, with random weights."""
    channels = {4 << i: min(512, 32768 // (4 << i)) for i in range((resolution // 4).bit_length())}
    network = channels_last(StyleGAN2(resolution, channels, conv_clamp=256).to(device))
    return network.eval().requires_grad_(False)


def step(network: StyleGAN2, batch: int) -> Callable[[], object]:
    """Render w+ and take the gradient of the pixels; the master w stays in fp32."""
    w = torch.randn(batch, network.num_ws, network.w_dim, device=network.device, requires_grad=True)
    return lambda: torch.autograd.grad(network.synthesize(w).square().mean(), w)


def main() -> None:
    """Print the table."""
    torch.manual_seed(0)
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    name = torch.cuda.get_device_name() if gpu else "CPU"
    sizes = {256: 32, 1024: 8} if gpu else {32: 4}
    side, moved = (SIDE, BYTES) if gpu else (512, 1 << 24)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for dtype in (torch.float32, torch.bfloat16):
        flops, bandwidth = ceilings(device, dtype, side, moved)
        print(f"{name}, {dtype}: {flops / 1e12:.1f} TFLOP/s matrix product, {bandwidth / 1e9:.0f} GB/s copy")
        for resolution, batch in sizes.items():
            network = official(resolution, device).set_precision(dtype, 4)
            with FlopCounterMode(display=False) as counter:
                step(network, 1)()
            taken = seconds(step(network, batch), device) / batch
            used = counter.get_total_flops() / taken
            print(f"  {resolution}x{resolution}: {1 / taken:.1f} image-steps/s, {used / flops:.0%} of the product")


if __name__ == "__main__":
    main()
