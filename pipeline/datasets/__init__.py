"""Dataset readers, one for each on-disk layout."""

from importlib import import_module
from pathlib import Path

from pipeline.datasets.base import DatasetReader, LoadedImage
from pipeline.errors import ManifestError
from pipeline.manifest import DatasetManifest, find_manifest, parse_manifest, read_toml

__all__ = ["READERS", "DatasetReader", "LoadedImage", "load_dataset", "parse_dataset"]

# format -> reader class, imported when first used
READERS = {
    "color-digits": "pipeline.datasets.color_digits:ColorDigits",
    "folder": "pipeline.datasets.folder:Folder",
}


def parse_dataset(content: dict[str, object], path: Path) -> tuple[DatasetManifest, DatasetReader]:
    """Validate a dataset manifest's content by its format and return it with its reader."""
    layout = content.get("format")
    if layout not in READERS:
        raise ManifestError(
            f"{path}: key 'format' = {layout!r} (on-disk layout): known are {', '.join(sorted(READERS))}"
        )
    module, _, attribute = READERS[str(layout)].partition(":")
    reader_class = getattr(import_module(module), attribute)
    manifest = parse_manifest(reader_class.manifest_model, content, path)
    return manifest, reader_class(manifest)


def load_dataset(name_or_path: str) -> tuple[DatasetManifest, DatasetReader]:
    """Return the manifest and reader of a dataset given by name or by manifest path.

    Raises:
        ManifestError: unknown name, unreadable file, wrong key or type.
    """
    path = find_manifest("datasets", name_or_path)
    content = read_toml(path)
    if isinstance(root := content.get("root"), str):
        content["root"] = str((path.parent / Path(root).expanduser()).resolve())
    return parse_dataset(content, path)
