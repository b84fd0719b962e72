"""FeatureExtractor: a frozen backbone as a scikit-learn transformer."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .backbones import DEFAULT_BACKBONE, LITE, Backbone, describe, find, short_name, with_rows
from .bundle import is_bundle
from .errors import DamagedRowsError, FeatureSpaceError, ImageError, Remedy, SourceError
from .fingerprint import FeatureSpace
from .folders import is_store_name, on_disk
from .images import Item, items_from
from .pipeline import Destination, Outcome, fill, progress_bar
from .store import (
    DTYPES,
    INDEX,
    FeatureStore,
    MemoryCache,
    RowCache,
    ShardCache,
    WriteLock,
    check_space,
    held_layer,
    lock_file,
    parts_folder,
)

_SHOWN_FAILURES = 5
_USUAL = (None, False, "avg")  # options that need not be told
_ROUNDING = 0.005  # a crop is a whole number of pixels


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """Images as a frozen backbone and their files describe them.

    Attributes
    ----------
    rows : ndarray of float32, shape (n, d)
    contents : ndarray of uint8, shape (n, 32)
        Hashes of the files, or of the pixels of images from memory.
    perceptual : ndarray of uint8, shape (n, 64)
        Perceptual hashes; zeros where there is none.
    """

    rows: NDArray[np.float32]
    contents: NDArray[np.uint8]
    perceptual: NDArray[np.uint8]


class FeatureExtractor(TransformerMixin, BaseEstimator):
    """Images in, rows of a frozen backbone out.

    Nothing is learned in `fit`: it finds the weights and notes the feature space. Making or cloning one
    loads nothing. All extractors of a process that use the same weights share one network, and with a
    `cache` the network runs once over each image, not once for each fold of a search.

    Parameters
    ----------
    backbone : str or torch.nn.Module, default="efficientnet_lite0"
        Its name, as ``featurekit models`` lists them; the folder of a saved model; or a network. See
        :func:`featurekit.extract`.
    layer : str, optional
        Where rows are taken: ``"stages"`` (the whole network in one row), ``"penultimate"``, or any layers joined by
        ``+``; see :func:`featurekit.extract`. Default: the layer of the store that `fit` is given or of the store that
        is the cache, else ``"stages"``, or ``"penultimate"`` where a network has no stages.
    pooling : str, default="avg"
        How the layer's feature map, or tokens, become a row; see :func:`featurekit.extract`.
    weights : str or path, optional
        A local weight file instead of the default weights, or the name of other weights of the library.
    cache : path, optional
        Where rows are kept, by content of the image. A folder (each feature space gets its own folder in
        it; several processes may share it), or a store, whose rows are used and whose published state is
        never changed (new rows go to ``<cache>.parts`` beside a file, or become shards of a folder store
        that its index does not name). None computes every time.
    precision : {"fp32", "bf16", "fp16", "tf32"}, default="fp32"
        Of the network's arithmetic; see :func:`featurekit.extract`.
    decoder : {"auto", "pillow", "scaled", "torchcodec"}, default="auto"
        What decodes and resizes; see :func:`featurekit.extract`.
    image_size : int, optional
        Pixels of a side of what the network sees. Default: as its weights were trained.
    crop : float, optional
        Share of the shorter side that is seen. Default: as the weights were trained.
    flip : bool, default=False
        A row is the mean of that of the image and that of its mirror image, in twice the time.
    l2 : bool, default=False
        Rows have the length 1.
    batch_size : int, optional
        Images in one call of the network. The rows do not depend on it. Default: what suits the runtime.
    workers : int, optional
        Threads that decode images. Default: the number of processors.
    device : str, default="auto"
        ``"auto"``, a torch device such as ``"cpu"`` or ``"cuda:0"``, or several: ``"cuda:0,cuda:1"``.
    runtime : {"auto", "openvino", "torch"}, default="auto"
        What runs the network. ``"auto"``: OpenVINO on a CPU, PyTorch elsewhere.
    progress : bool, default=False
        Show a progress bar on standard error.

    Attributes
    ----------
    space_ : FeatureSpace
        What the rows mean; set by `fit`.

    Notes
    -----
    An image that cannot be read raises, because rows and labels must not slip against each other. Use
    :func:`featurekit.extract` where bad files are to be expected: it leaves them out and says so.

    Examples
    --------
    >>> from featurekit import FeatureExtractor
    >>> paths = sorted(getfixture("digits_folder").glob("*/*.png"))[:3]
    >>> FeatureExtractor().fit_transform(paths).shape
    (3, 816)
    >>> FeatureExtractor(layer="penultimate").fit_transform(paths).shape
    (3, 1280)
    """

    def __init__(
        self,
        backbone: str = DEFAULT_BACKBONE,
        *,
        layer: str | None = None,
        pooling: str = "avg",
        weights: str | os.PathLike[str] | None = None,
        cache: str | os.PathLike[str] | None = None,
        precision: str = "fp32",
        decoder: str = "auto",
        image_size: int | None = None,
        crop: float | None = None,
        flip: bool = False,
        l2: bool = False,
        batch_size: int | None = None,
        workers: int | None = None,
        device: str = "auto",
        runtime: str = "auto",
        progress: bool = False,
    ) -> None:
        self.backbone = backbone
        self.layer = layer
        self.pooling = pooling
        self.weights = weights
        self.cache = cache
        self.precision = precision
        self.decoder = decoder
        self.image_size = image_size
        self.crop = crop
        self.flip = flip
        self.l2 = l2
        self.batch_size = batch_size
        self.workers = workers
        self.device = device
        self.runtime = runtime
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the weights and note the feature space.

        Parameters
        ----------
        X : sequence of images, or FeatureStore
            Looked at only if it is a store: then its feature space is taken.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        BackboneError, WeightsError
            If the backbone or its weights cannot be had.
        FeatureSpaceError
            If `X` is a store of another backbone.
        """
        if isinstance(X, FeatureStore):
            self._check_options(X)
            self.space_: FeatureSpace = X.space
        else:
            self.space_ = self._find(self.layer).space
        return self

    def _check_options(self, store: FeatureStore) -> None:
        """Raise if a store is of another backbone, or was made with other options. Weights are not looked at."""
        space = store.space
        if space.backbone != (mine := _full_name(self.backbone)):
            raise FeatureSpaceError(f"{store.path} holds rows of {space.backbone!r}, not of {mine!r}")
        for name, value in space.options.items():
            mine = getattr(self, name)
            if name == "layer" and mine is None:
                continue
            if name in {"image_size", "crop"} and mine is None and (self.image_size, self.crop) != (None, None):
                continue  # what follows from the other
            if name == "crop" and mine is not None and value is not None and abs(mine - value) < _ROUNDING:
                continue
            if value != mine:
                raise FeatureSpaceError(
                    f"{store.path} holds rows of {name} {value!r}, and this extractor's is {mine!r}"
                )

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Rows of the images.

        Parameters
        ----------
        X : sequence of images, or FeatureStore
            Paths, bytes of files, binary file objects, PIL images or uint8 arrays of shape (height, width[,
            channels]), in a list, an array, or a column of a table; or a store of the same feature space, whose rows
            are returned. PIL images are turned upright by their EXIF orientation, as files are; arrays are taken as
            they are.

        Returns
        -------
        ndarray of float32, shape (n, d)

        Raises
        ------
        ImageError
            If an image cannot be read: which ones, and why. The rows of the others are in the cache.
        FeatureSpaceError
            If the weights are not those that were found in `fit`, or the cache or `X` is of another
            feature space.
        """
        check_is_fitted(self, "space_")
        if isinstance(X, FeatureStore):
            self.check_store(X)
            return X.X[...].astype(np.float32, copy=False)
        return self._features(X, hashed=False).rows

    def _features(self, X: Any, *, hashed: bool = True) -> ImageFeatures:
        """Rows and hashes of images.

        Parameters
        ----------
        X : sequence of images
        hashed : bool
            Whether perceptual hashes are needed. Where not, those of rows in a cache of an older version stay zeros.
        """
        items = items_from(X)
        if not items:
            raise SourceError("expected at least one image, got none")
        backbone = self._find(self.space_.layer if self.layer is None else self.layer)
        if backbone.space != self.space_:
            changed = "; ".join(self.space_.differences(backbone.space))
            raise FeatureSpaceError(f"this extractor was fitted in another feature space: {changed}. Fit it again.")
        with _open_cache(self.cache, self.space_) as cache:
            while True:
                outcomes = self._fill(items, backbone, cache, hashed)
                contents = [outcome.content for outcome in outcomes]
                try:
                    rows = cache.gather(contents).astype(np.float32, copy=False)
                    break
                except DamagedRowsError:
                    if not cache.drop_damaged():
                        raise
            hashes = np.frombuffer(b"".join(contents), dtype=np.uint8).reshape(len(items), -1)
            perceptual = cache.perceptual(hashes)
        for row, outcome in enumerate(outcomes):
            if outcome.perceptual:
                perceptual[row] = np.frombuffer(outcome.perceptual, dtype=np.uint8)
        return ImageFeatures(rows, hashes, perceptual)

    def check_store(self, store: FeatureStore) -> None:
        """Raise if the rows of a store are of another feature space.

        Parameters
        ----------
        store : FeatureStore

        Raises
        ------
        FeatureSpaceError
            What differs.
        """
        always = ("layer", "precision", "decoder")
        chosen = self.space_.options.items()
        options = ", ".join(f"{name} {value}" for name, value in chosen if name in always or value not in _USUAL)
        check_space(store, self.space_, [Remedy(f"extract the images again with {self.backbone}, {options}")])

    def _fill(self, items: Sequence[Item], backbone: Backbone, cache: RowCache, hashed: bool) -> list[Outcome]:
        """Bring every row into the cache."""
        with progress_bar(len(items), self.progress) as advance:
            outcomes = fill(
                items,
                [Destination(backbone, cache, hashed=hashed)],
                batch_size=self.batch_size,
                workers=self.workers,
                device=self.device,
                runtime=self.runtime,
                advance=advance,
            )
        failures = [
            (index, item.path, outcome.reason)
            for index, (item, outcome) in enumerate(zip(items, outcomes, strict=True))
            if outcome.reason
        ]
        if failures:
            raise _unreadable(failures, items)
        return outcomes

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the columns: backbone, layer and number within the layer.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str objects, shape (d,)
        """
        check_is_fitted(self, "space_")
        names = [
            f"{self.space_.backbone}.{layer}.{i}"
            for layer, columns in self.space_.columns.items()
            for i in range(columns.stop - columns.start)
        ]
        return np.array(names, dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.no_validation = True
        return tags

    def _find(self, layer: str | None) -> Backbone:
        """The backbone with rows of a layer; for None, that of a cache that is a store, or else the default one."""
        options = ("precision", "decoder", "image_size", "crop", "flip")
        found = find(self.backbone, self.weights, **{name: getattr(self, name) for name in options})
        if layer is None and self.cache is not None and _is_store(path := on_disk(self.cache)):
            layer = held_layer(path, found.spec.name)
        return with_rows(found, layer, self.pooling, l2=self.l2)


def _full_name(backbone: Any) -> str:
    """A name as stores have it."""
    if not isinstance(backbone, str):
        return short_name(backbone)
    return backbone if backbone in LITE or is_bundle(backbone) else describe(backbone).name


@contextmanager
def _open_cache(cache: str | os.PathLike[str] | None, space: FeatureSpace) -> Iterator[RowCache]:
    if cache is None:
        yield MemoryCache(space.dim)
        return
    path = on_disk(cache)
    if _is_store(path):
        base = FeatureStore(path) if path.exists() else None
        folder, lock = parts_folder(path), lock_file(path)
    elif path.is_file():
        raise SourceError(f"the cache must be a folder, or a store, and {path} is another file")
    else:
        base, folder = None, path / space.fingerprint[:16]
        lock = folder / "lock"
    dtype = base.dtype if base is not None else DTYPES["float32"]
    shards = ShardCache(folder, space, base, dtype=dtype, lock=WriteLock(lock, wait=True))
    try:
        yield shards
    finally:
        shards.close()


def _is_store(cache: Path) -> bool:
    return is_store_name(cache) or (cache / INDEX).exists()


def _called(item: Item, index: int) -> str:
    """An image as a message on X names it."""
    return f"X[{index}] {item.path}" if item.has_name else item.shown(index)


def _unreadable(failures: list[tuple[int, str, str]], items: Sequence[Item]) -> ImageError:
    shown = "\n".join(f"  {_called(items[index], index)}: {reason}" for index, _, reason in failures[:_SHOWN_FAILURES])
    more = len(failures) - _SHOWN_FAILURES
    return ImageError(
        f"{len(failures)} of {len(items)} images could not be read:\n{shown}"
        + (f"\n  ... and {more} more (all in the attribute 'failures' of this error)" if more > 0 else "")
        + "\nRemove them from X and y; featurekit.extract leaves such files out by itself.",
        failures,
    )
