"""Invert a dataset into W+: the latents whose rendering is each image."""
