"""Marks what is damaged in a build as not done, and says which commands do it again."""

from pathlib import Path

from pipeline.belongings import END, announce, read_end
from pipeline.build import Build
from pipeline.files import remove, remove_empty, typed
from pipeline.kept import restore_kept
from pipeline.outputs import problem_of_output
from pipeline.verify import Checked, Finding

COMMANDS = {
    "invert": "pipeline invert",
    "listing": "pipeline invert",
    "augment": "pipeline augment --name {}",
    "shard": "pipeline shard --name {}",
    "directions": "pipeline directions --name {}",
    "report": "pipeline report",
    "generator": "pipeline train-generator",
    "encoder": "pipeline train-encoder",
    "perceptual": "pipeline train-perceptual",
    "shifted": "pipeline shift-generator",
}


def repair_build(build: Build, checked: Checked) -> list[str]:
    """Restore what there is a copy of, and mark the rest as not done; return what was done, a sentence each.

    Raises:
        BuildError: build.toml or samples.parquet and its copy are damaged.
    """
    done: list[str] = []
    for finding in checked.findings:
        if finding.kept is not None:
            done.append(restore_kept(finding.kept))
        done += [undone(build, finding, path) for path in finding.spoilt]
    names = dict.fromkeys(finding.name for finding in checked.findings if finding.name)
    mends = dict.fromkeys(mend_of(build, name) for name in names)
    return [*done, *(f"run again, as it was run before: {mend}" for mend in mends)]


def undone(build: Build, finding: Finding, path: Path) -> str:
    """Mark a damaged record, or what it speaks of, as not done."""
    record = read_end(build, finding.name) if path.name == END else None
    if record is not None:
        announce(build, finding.name, ())
        for output in record["files"]:
            if problem_of_output(build.root, output) is not None:
                remove(build.root / output["file"])
    else:
        remove(path)
        if path.name != END:  # its folder tells that there was one
            remove_empty(path.parent, build.root)
    return f"{path} is marked as not done" if finding.name else f"{path} is deleted"


def mend_of(build: Build, name: str) -> str:
    """The command that does a stage or command again, but for the options it was given."""
    kind, _, rest = name.partition("/")
    if kind == "cache":
        kind = "augment" if rest.startswith("unrelated") else "invert"
        command = f"pipeline {kind}"
    elif kind.startswith("evaluate"):
        command = "pipeline evaluate" + (f" --name {kind.removeprefix('evaluate-')}" if "-" in kind else "")
    else:
        command = COMMANDS.get(kind, f"pipeline {kind}").format(rest)
    return f"{command} --build {typed(build.root)}"
