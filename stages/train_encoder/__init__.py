"""Train an encoder from images to w+ against a frozen generator: BIES (Wang et al., eq. 8-9)."""
