"""A row of the table: a shard set, and what is done to its images while training."""

from dataclasses import dataclass

from pipeline.build import Build
from pipeline.errors import BuildError, PipelineError
from stages.evaluate.recipes import RECIPES


@dataclass(frozen=True)
class Row:
    """Written SET or SET+RECIPE."""

    shards: str
    recipe: str = "plain"

    @property
    def label(self) -> str:
        """As it was written."""
        return self.shards if self.recipe == "plain" else f"{self.shards}+{self.recipe}"

    @property
    def latent(self) -> bool:
        """Whether training needs w+ and the generator."""
        return RECIPES[self.recipe].latent

    def file(self, seed: int) -> str:
        """Path below a folder, without a suffix: SET-SEED or RECIPE/SET-SEED."""
        return f"{self.shards}-{seed}" if self.recipe == "plain" else f"{self.recipe}/{self.shards}-{seed}"


def parse_rows(words: str | None, build: Build) -> list[Row]:
    """Rows for a comma-separated list; None takes every complete shard set.

    Raises:
        BuildError: there is no such set, or it is not complete.
        PipelineError: there is no such recipe, or a row stands there twice.
    """
    complete = [name for name in build.shard_names() if (build.shards_path(name) / "manifest.json").is_file()]
    if words is None and not complete:
        raise BuildError(f"there are no shards in {build.root}: make some with `pipeline shard --variants none`")
    rows = []
    for word in complete if words is None else words.split(","):
        name, plus, recipe = word.partition("+")
        rows.append(Row(name, recipe if plus else "plain"))
        if rows[-1].recipe not in RECIPES:
            raise PipelineError(f"--shards {word}: known recipes after + are {', '.join(RECIPES)}")
        if name not in complete:
            raise BuildError(
                f"there is no complete shard set named '{name}' in {build.root}; here are: "
                f"{', '.join(complete) or 'none'}; make one with `pipeline shard --name {name or 'NAME'}`"
            )
    if len(set(rows)) < len(rows):
        raise PipelineError(f"--shards {words}: name each row once")
    return rows
