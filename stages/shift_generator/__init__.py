"""Shift a generator towards a dataset under a frozen encoder (NaTra, eq. 10)."""
