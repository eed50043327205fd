"""Train a StyleGAN on a dataset: the generator every later stage inverts into."""
