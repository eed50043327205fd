"""Train a StyleGAN2 on a dataset: the generator every later stage inverts into."""
