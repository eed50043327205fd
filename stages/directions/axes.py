"""From samples to axes: reduce to few coordinates, then regress w on these (NaTra, eq. 11).

UMAP gives coordinates, not axes, and eq. 11 as printed cannot be solved well: some coordinates are nearly functions
of the others, and all share a large offset, so that plain least squares returns axes that are several times as long
as w is wide. UMAP's objective knows distances between coordinates only, so their orientation is arbitrary: we turn
the cloud of coordinates to its principal axes and scale these to unit variance. Then no coordinate predicts
another, eq. 11 falls into one well-posed regression for each, and a ridge would change lengths only, which are
normalised anyway.

The axes are not made orthogonal. Their coordinates are uncorrelated already, edits follow one axis at a time, and
orthogonalising would make each axis depend on those before it. With `pca` in the space of w they are the principal
components, which are orthogonal.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PipelineError
from pipeline.seeds import seed_of
from stages.directions.config import DirectionsConfig
from stages.directions.umap_import import import_umap

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
# Activations have thousands of entries; UMAP gets this many principal components of them.
MOST_FEATURES = 64
# A coordinate whose standard deviation is below this share of the largest is rounding error.
LEAST_SPREAD = 1e-5
# Beyond this, float64 cannot tell one condition number from another.
MOST_CONDITION = 1e16


@dataclass(frozen=True)
class Axes:
    """Result of eq. 11.

    Attributes:
        units: unit axes [K, w_dim], those whose coordinate explains most of w first.
        condition_plain: condition number of the coordinates as they came, which eq. 11 as printed would solve with.
        condition: condition number of the coordinates that were used.
        explained: share of the variance of w that all coordinates together explain, from 0 to 1.
        largest_cosine: of the angle between any two axes.
    """

    units: Floats
    condition_plain: float
    condition: float
    explained: float
    largest_cosine: float


def umap_coordinates(features: Floats, config: DirectionsConfig) -> Array:
    """UMAP coordinates [N, components] of features [N, D] (McInnes et al. 2018); the same for the same seed."""
    from sklearn.neighbors import NearestNeighbors

    most = min(MOST_FEATURES, len(features) - 1)
    if features.shape[1] > most:
        features = principal_coordinates(features, most, config.seed).astype(np.float32)
    # Exact neighbours by matrix products take a second; UMAP's own search compiles, or calls Python for each pair.
    neighbors = min(config.neighbors, len(features) - 1)
    distances, rows = NearestNeighbors(n_neighbors=neighbors, algorithm="brute").fit(features).kneighbors()
    own = np.arange(len(features))[:, None]
    rows = np.hstack([own, rows[:, :-1]]).astype(np.int32)  # UMAP counts a sample as its own first neighbour
    distances = np.hstack([np.zeros_like(distances[:, :1]), distances[:, :-1]]).astype(np.float32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="precomputed_knn")  # new samples cannot be added: none are
        reducer = import_umap()(
            n_components=config.components,
            n_neighbors=neighbors,
            n_epochs=config.epochs,
            init="pca",
            random_state=seed_of(config.seed, "umap") % 2**32,
            n_jobs=1,
            precomputed_knn=(rows, distances, None),
            force_approximation_algorithm=True,  # below 4,096 samples the neighbours given are ignored without
        )
        return np.asarray(reducer.fit_transform(features), np.float64)


def pca_coordinates(features: Floats, config: DirectionsConfig) -> Array:
    """Coordinates [N, components] along the principal components of features [N, D] (GANSpace)."""
    return principal_coordinates(features, config.components, config.seed)


def principal_coordinates(features: Floats, components: int, seed: int) -> Array:
    """Centred coordinates [N, components] along the principal components of features [N, D]."""
    from sklearn.decomposition import PCA

    solver = "full" if features.shape[1] <= 1024 else "randomized"
    reducer = PCA(components, svd_solver=solver, random_state=seed_of(seed, "pca") % 2**32)
    return np.asarray(reducer.fit_transform(features), np.float64)


REDUCTIONS: dict[str, Callable[[Floats, DirectionsConfig], Array]] = {
    "umap": umap_coordinates,
    "pca": pca_coordinates,
}


def find_axes(features: Floats, w: Floats, free: NDArray[np.bool_], config: DirectionsConfig) -> Axes:
    """Reduce features [N, D] and regress the entries of w [N, w_dim] that depend on z on the coordinates.

    Raises:
        PipelineError: more directions are wanted than there are dimensions.
    """
    most = min(int(free.sum()), features.shape[1], len(features) - 1)
    if config.components > most:
        raise PipelineError(f"--components {config.components}: at most {most} directions can be told apart here")
    return regress(REDUCTIONS[config.method](features, config), w.astype(np.float64), free)


def regress(coordinates: Array, w: Array, free: NDArray[np.bool_]) -> Axes:
    """Solve eq. 11, U = argmin sum_j |U b_j - (w_j - mean)|^2, for b the whitened coordinates [N, K]."""
    b = whiten(coordinates)
    centred = np.where(free, w - w.mean(axis=0), 0.0)
    u = b.T @ centred / len(b)  # b has unit covariance, so this is the least-squares solution
    u = u[np.argsort(-np.linalg.norm(u, axis=1), kind="stable")]
    units = u / np.linalg.norm(u, axis=1, keepdims=True)
    cosines = np.abs(units @ units.T) - np.eye(len(units))
    return Axes(
        units=units.astype(np.float32),
        condition_plain=min(float(np.linalg.cond(coordinates)), MOST_CONDITION),
        condition=float(np.linalg.cond(b)),
        explained=float(np.square(u).sum() / np.square(centred).mean(axis=0).sum()),
        largest_cosine=float(cosines.max()),
    )


def whiten(coordinates: Array) -> Array:
    """Turn coordinates [N, K] to their principal axes, at unit variance; what has no variance is left out."""
    centred = coordinates - coordinates.mean(axis=0)
    left, spread, _ = np.linalg.svd(centred, full_matrices=False)
    return np.asarray(left[:, spread > LEAST_SPREAD * spread[0]] * np.sqrt(len(centred)))
