"""Encoded pictures of any origin to pixels: what is read, its colours, and bounds on what one may cost."""
