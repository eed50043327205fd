"""Build an on-manifold dataset (w, g(w), x, y), as OM-ImageNet is (Lin et al., section 3)."""
