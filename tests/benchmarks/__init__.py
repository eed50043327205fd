"""Ratios, each measured within one run, since machines are noisy. `make bench` prints and saves them."""
