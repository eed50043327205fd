"""The dataset card, README.md: what is in the set and how to read it."""

from collections.abc import Sequence

from pipeline.shards.base import ShardFile, ShardInfo


def dataset_card(info: ShardInfo, files: Sequence[ShardFile], kinds: dict[str, int]) -> str:
    """Write the card of a shard set with its YAML header."""
    counts = dict.fromkeys(dict.fromkeys(file.split for file in files), 0)
    first_folder = files[0].path.split("/")[0]
    for file in files:
        if file.path.startswith(first_folder + "/"):
            counts[file.split] += file.samples
    names = "\n".join(f"            '{i}': {name!r}" for i, name in enumerate(info.classes))
    has_parquet = any(file.path.startswith("parquet/") for file in files)
    configs = "\n".join(
        f"      - split: {split}\n        path: parquet/{split}-*.parquet" if has_parquet
        else f"      - split: {split}\n        path: wds/{split}-*.tar"
        for split in counts
    )  # fmt: skip
    split_rows = "\n".join(f"| {split} | {count:,} |" for split, count in counts.items())
    kind_rows = "\n".join(f"| {kind} | {count:,} |" for kind, count in kinds.items())
    latents = (
        f"`w` is the W+ latent behind the image, float32 {list(info.latent_shape)}. " if info.latent_shape else ""
    )
    soft = (
        "`soft_label` is the probability of each class, `lam` the source's weight in a mix. "
        if info.soft_labels
        else ""
    )
    return f"""---
pretty_name: {info.name} ({info.dataset})
license: other
license_name: {info.licence or "unknown"!r}
task_categories:
  - image-classification
configs:
  - config_name: default
    data_files:
{configs}
dataset_info:
  features:
    - name: image
      dtype: image
    - name: label
      dtype:
        class_label:
          names:
{names}
---

# {info.name}

{info.description or info.dataset}. {info.resolution}x{info.resolution} RGB, {len(info.classes)} classes. Written by
onmanifold. {latents}{soft}`kind` says what an image is, `source` which sample it was made from.

| split | samples |
|---|---|
{split_rows}

| kind | samples |
|---|---|
{kind_rows}

`manifest.json` lists every file with its number of samples, size and sha256.

```python
import webdataset as wds, datasets

wds.WebDataset("wds/train-000000.tar", shardshuffle=False).decode("rgb").to_tuple("png", "cls")
datasets.load_dataset("parquet", data_dir="parquet")
```
"""
