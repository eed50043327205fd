"""Precompute variants of inverted samples: what changes an image and keeps its label."""
