"""The machine every stage runs on: manifests, builds, stores, execution, generators, shards."""

__version__ = "0.1.0"
