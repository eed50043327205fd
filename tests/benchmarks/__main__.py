"""`make bench`: measure, print a table, write benchmarks.json (name -> ratio, quality, settings).

Names may be given: `python -m tests.benchmarks memory_growth`. What is not measured keeps its old entry. Those at
256x256 and 1024x1024 take an hour and run only where they are named: `python -m tests.benchmarks invert_256`.
"""

import json
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from pipeline.devices import use_one_thread
from tests.benchmarks.adversarial import bench_advmix_vs_loop
from tests.benchmarks.inversion import (
    bench_invert_vs_big_batch,
    bench_invert_vs_reference_100,
    bench_invert_vs_reference_final,
)
from tests.benchmarks.large import bench_invert_256, bench_invert_256_few, bench_invert_1024
from tests.benchmarks.parts import (
    bench_allocator,
    bench_batch,
    bench_fused,
    bench_modulation,
    bench_reading,
    bench_store,
    bench_target_features,
)
from tests.benchmarks.runs import bench_memory_growth, bench_overhead_share, bench_render_share, bench_two_workers

BENCHMARKS = (
    bench_invert_vs_reference_final,
    bench_invert_vs_reference_100,
    bench_invert_vs_big_batch,
    bench_overhead_share,
    bench_memory_growth,
    bench_two_workers,
    bench_render_share,
    bench_advmix_vs_loop,
    bench_allocator,
    bench_modulation,
    bench_batch,
    bench_fused,
    bench_target_features,
    bench_store,
    bench_reading,
)
LARGE = (bench_invert_256, bench_invert_256_few, bench_invert_1024)  # an hour: only where they are named
RESULTS = Path("benchmarks.json")


def main() -> None:
    """Run all, or those whose names are given."""
    use_one_thread()
    torch.manual_seed(0)
    wanted = sys.argv[1:]
    known = {bench.__name__.removeprefix("bench_"): bench for bench in BENCHMARKS + LARGE}
    if unknown := set(wanted) - set(known):
        sys.exit(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    found = json.loads(RESULTS.read_text()) if wanted and RESULTS.is_file() else {}
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__}
    print(f"{'name':<27}{'ratio':>8}  ours | other (one thread)")
    for name, bench in known.items():
        if name not in wanted and (wanted or bench in LARGE):
            continue
        measured = bench()
        content = asdict(measured)
        content["settings"] |= machine
        found[content.pop("name")] = content
        print(f"{measured.name:<27}{measured.ratio:>8.2f}  {measured.ours} | {measured.other}", flush=True)
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
