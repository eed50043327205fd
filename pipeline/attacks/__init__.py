"""Attacks on classifiers: what is varied and within what bounds; how one climbs is `ascent`."""
