"""CelebA, aligned and cropped (Liu et al., 2015): 202,599 faces of 178x218, forty attributes, identities."""

from pathlib import Path
from typing import Literal

from pipeline.datasets.celeb_faces import FacesManifest, FacesReader, find_below
from pipeline.datasets.celeb_tables import IDENTITY, SPLITS, Table, read_attributes, read_pairs
from pipeline.errors import DatasetError

IMAGES = ("img_align_celeba", "img_align_celeba_png")
ATTRIBUTE_FILE, SPLIT_FILE, IDENTITY_FILE = "list_attr_celeba", "list_eval_partition", "identity_CelebA"


class CelebAManifest(FacesManifest):
    """Manifest of CelebA."""

    format: Literal["celeba"]


class CelebA(FacesReader):
    """Reader of CelebA as published, and as Kaggle carries it."""

    manifest_model = CelebAManifest
    manifest: CelebAManifest

    def images(self) -> Path | None:
        """The folder of the images; Kaggle's lies in one of the same name."""
        found = find_below(self.root, ("", "Img"), IMAGES)
        return found / found.name if found is not None and (found / found.name).is_dir() else found

    def table_path(self, name: str) -> Path | None:
        """A table beside the images, or where the official download keeps it."""
        return find_below(self.root, ("", "Anno", "Eval"), (f"{name}.{suffix}" for suffix in ("txt", "csv", "tsv")))

    def tables(self) -> list[Path]:
        """Attributes, splits and, where they are there, identities."""
        paths = map(self.table_path, (ATTRIBUTE_FILE, SPLIT_FILE, IDENTITY_FILE))
        return [path for path in paths if path is not None]

    def lacking(self) -> list[str]:
        """The images, and the two or three tables that are needed."""
        tables = [ATTRIBUTE_FILE, SPLIT_FILE]
        tables += [IDENTITY_FILE] if self.manifest.label == IDENTITY else []
        images = [] if self.images() else [f"{IMAGES[0]}/"]
        return images + [f"{name}.txt" for name in tables if self.table_path(name) is None]

    def read_tables(self) -> Table:
        """Attributes, split and, where its file is there, identity."""
        attributes, partition = self.table_path(ATTRIBUTE_FILE), self.table_path(SPLIT_FILE)
        assert attributes is not None
        assert partition is not None
        table = read_attributes(attributes)
        notes, columns = table.notes, table.values.copy()
        files = [("split", partition)]
        if (identity := self.table_path(IDENTITY_FILE)) is not None:
            files.append((IDENTITY, identity))
        for name, path in files:
            numbers = read_pairs(path, name)
            found = numbers.values[name].reindex(columns.index)
            if found.isna().any() or (name == "split" and not found.isin(list(SPLITS)).all()):
                raise DatasetError(
                    f"dataset '{self.manifest.name}': its tables do not fit together: '{name}' is not known for "
                    f"every image of {attributes}; download all of them again"
                )
            columns[name] = found.astype("int64")
            notes = notes + numbers.notes
            if more := len(numbers.values.index.difference(columns.index)):
                notes = [*notes, f"{path.name} lists {more:,} images that {attributes.name} does not"]
        return Table(table.names, columns.assign(split=columns["split"].map(SPLITS)), notes)
