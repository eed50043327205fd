"""Dataset readers, one for each on-disk layout."""

from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.datasets.base import DatasetReader, LoadedImage
from pipeline.datasets.files import find_root
from pipeline.errors import ManifestError
from pipeline.files import user_path
from pipeline.manifest import DatasetManifest, find_manifest, parse_manifest, read_toml

__all__ = ["READERS", "DatasetReader", "LoadedImage", "load_dataset", "parse_dataset"]

# format -> reader class, imported when first used
READERS = {
    "celeba": "pipeline.datasets.celeba:CelebA",
    "celeba-hq": "pipeline.datasets.celeba_hq:CelebAHQ",
    "color-digits": "pipeline.datasets.color_digits:ColorDigits",
    "color-mnist": "pipeline.datasets.color_mnist:ColorMNIST",
    "dmat": "pipeline.datasets.dmat:Dmat",
    "folder": "pipeline.datasets.folder:Folder",
    "imagenet-mixed10": "pipeline.datasets.mixed10:Mixed10",
    "lsun": "pipeline.datasets.lsun:LSUN",
    "parquet": "pipeline.datasets.hf_parquet:ParquetImages",
    "webdataset": "pipeline.datasets.tars:WebDataset",
}


def reader_class(content: dict[str, Any], path: Path) -> Any:
    """The reader of a manifest's format. Raises ManifestError if there is no such format."""
    layout = content.get("format")
    if layout not in READERS:
        raise ManifestError(
            f"{path}: key 'format' = {layout!r} (on-disk layout): known are {', '.join(sorted(READERS))}"
        )
    module, _, attribute = READERS[str(layout)].partition(":")
    return getattr(import_module(module), attribute)


def parse_dataset(
    content: dict[str, Any], path: Path, label: str | None = None
) -> tuple[DatasetManifest, DatasetReader]:
    """Validate a dataset manifest's content by its format and return it with its reader.

    `label` names the attribute that is the label, instead of the manifest's key of that name.
    """
    found = reader_class(content, path)
    if label is not None:
        content = {**content, "label": label}
    manifest = parse_manifest(found.manifest_model, content, path)
    return manifest, found(manifest)


def has_usual_place(model: type[DatasetManifest]) -> bool:
    """Whether a layout has files, and is looked for where datasets usually are if its manifest has no `root`."""
    return "root" in model.model_fields and not model.model_fields["root"].is_required()


def load_dataset(name_or_path: str, label: str | None = None) -> tuple[DatasetManifest, DatasetReader]:
    """Return the manifest and reader of a dataset given by name or by manifest path.

    A manifest's `root` is relative to it. Without one, the layouts of known datasets are looked for in
    `$ONMANIFOLD_DATA/NAME` (if that is not set, `~/.local/share/onmanifold/datasets/NAME`), then `./datasets/NAME`.

    Raises:
        ManifestError: unknown name, unreadable file, wrong key or type, unknown label.
    """
    path = find_manifest("datasets", name_or_path)
    content = read_toml(path)
    if isinstance(root := content.get("root"), str) and root:
        content["root"] = str(user_path(root, path.parent))
    elif has_usual_place(model := reader_class(content, path).manifest_model):
        folder = content.get("folder") or model.model_fields["folder"].default or content.get("name")
        found = find_root(str(folder))
        content |= {} if found is None else {"root": str(found)}
    return parse_dataset(content, path, label)
