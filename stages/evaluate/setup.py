"""From what was typed to the stages, one for each row; everything that can be refused is refused here."""

from pipeline.build import Build
from pipeline.classifiers.architectures import build_network
from pipeline.errors import PipelineError
from pipeline.generators import open_generator
from pipeline.latents import check_name, generator_of, has_composition
from pipeline.options import RunOptions
from stages.evaluate.attacks import ATTACKS
from stages.evaluate.config import EvaluateConfig
from stages.evaluate.rows import parse_rows
from stages.evaluate.stage import Evaluate


def make_stages(
    build: Build,
    run: RunOptions,
    config: EvaluateConfig,
    shards: str | None,
    seeds: int,
    attacks: str,
    name: str | None,
) -> list[Evaluate]:
    """The stages of a command.

    Raises:
        PipelineError: an unknown row, attack, set or size.
    """
    rows = parse_rows(shards, build)
    chosen = parse_attacks(attacks)
    latent = [attack for attack in chosen if ATTACKS[attack].latent] + [row.label for row in rows if row.latent]
    generator = generator_of(build) if latent else ""
    if "advmix" in chosen and open_generator(generator).network.c_dim:
        raise PipelineError(
            f"--attacks {attacks}: generator '{generator}' wants a label with each z, and this attack draws z's "
            f"without: leave out advmix"
        )
    if generator and has_composition(build):
        raise PipelineError(
            f"the samples of this build have several codes, which shards do not carry: use a build that was "
            f"inverted with --codes 1, or leave out {', '.join(latent)}"
        )
    loaded = open_generator(generator) if generator else None
    if "advmix" in chosen and loaded and len(loaded.fine_layers) == loaded.network.num_ws:
        raise PipelineError(
            f"--attacks {attacks}: all layers of generator '{generator}' count as fine, so what advmix mixes would "
            f"keep nothing of a sample: leave out advmix"
        )
    if config.test_set is not None:
        parse_rows(config.test_set, build)
    resolution = build.manifest.resolution
    build_network(config.architecture, 2, resolution, config.width, config.input_size)
    folder = f"evaluate-{check_name(name)}" if name else "evaluate"
    return [
        Evaluate(config, row, folder, seeds, chosen, resolution, generator, run.limit, run.device, run.batch_size)
        for row in rows
    ]


def parse_attacks(words: str) -> tuple[str, ...]:
    """Names of attacks, `clean` first among them. Raises PipelineError for an unknown one."""
    named = words.split(",")
    for name in named:
        if name not in ATTACKS:
            raise PipelineError(f"--attacks {words}: there is no attack '{name}'; known are {', '.join(ATTACKS)}")
    return tuple(name for name in ATTACKS if name == "clean" or name in named)
