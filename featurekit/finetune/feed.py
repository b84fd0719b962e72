"""What training is fed with: batches of cached maps, or of pixels that are decoded again in each epoch.

Importing this imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .pictures import Pictures, View, views_of, whole_square
from .recipe import VIEWS, Recipe
from .trunk import channels_first

Batches = list[tuple[NDArray[np.intp], NDArray[np.intp]]]


class Feed(Protocol):
    """Batches, the stage that they enter, and the number of views of an image to choose from."""

    start: int
    views: int

    def training(self, epoch: int, batches: Batches) -> Iterator[Tensor]:
        """Inputs of each batch of an epoch (from 1): numbers of images, and of their views."""
        ...

    def validation(self, chunks: Sequence[NDArray[np.intp]]) -> Iterator[Tensor]:
        """Inputs of validation images, by their numbers; by the first view."""
        ...


def drawn(epoch: int, codes: NDArray[np.intp], views: int, recipe: Recipe, least: int = 2) -> Batches:
    """Numbers of images, and of their views, of each batch of an epoch.

    Parameters
    ----------
    epoch : int
    codes : ndarray of int, shape (n,)
        Class of each image.
    views : int
        Of each image.
    recipe : Recipe
    least : int
        A last batch of fewer images is left out.
    """
    n = len(codes)
    rng = np.random.default_rng([recipe.seed, epoch])
    if recipe.balance == "sampling":
        share = 1 / np.bincount(codes)[codes]
        numbers = rng.choice(n, n, p=share / share.sum())
    else:
        numbers = rng.permutation(n)
    which = rng.integers(views, size=n)
    size = recipe.batch_size
    batches = [(numbers[i : i + size], which[i : i + size]) for i in range(0, n, size)]
    # Statistics of a single image are none.
    return batches[:-1] if len(batches) > 1 and len(batches[-1][0]) < least else batches


class CachedFeed:
    """Maps from the trunk cache.

    Parameters
    ----------
    start : int
        The stage that they enter.
    train, validation : ndarray of float16, shape (n, views, ...)
    """

    def __init__(self, start: int, train: NDArray[np.float16], validation: NDArray[np.float16]) -> None:
        self.start = start
        self.views = train.shape[1]
        self._train, self._validation = train, validation

    def training(self, epoch: int, batches: Batches) -> Iterator[Tensor]:
        """Maps of each batch."""
        for numbers, views in batches:
            yield _maps(self._train[numbers, views])

    def validation(self, chunks: Sequence[NDArray[np.intp]]) -> Iterator[Tensor]:
        """Maps of the first view."""
        for chunk in chunks:
            yield _maps(self._validation[chunk, 0])


def _maps(rows: NDArray[np.float16]) -> Tensor:
    return channels_first(torch.from_numpy(rows).float())


class PictureFeed:
    """Pixels, decoded in each epoch: fixed views, or random crops and operations.

    Parameters
    ----------
    train, validation : Pictures
    views : sequence of View
        The first is that of prediction.
    recipe : Recipe
    """

    start = 0

    def __init__(self, train: Pictures, validation: Pictures, views: Sequence[View], recipe: Recipe) -> None:
        self._train, self._validation, self._views, self._recipe = train, validation, views, recipe
        self._fixed = recipe.augment in VIEWS
        self.views = len(views) if self._fixed else 1

    def training(self, epoch: int, batches: Batches) -> Iterator[Tensor]:
        """Pixels of each batch."""
        shown = self._views if self._fixed else [whole_square(self._views[0].wish)]
        wanted = [(numbers, [shown[i] for i in views]) for numbers, views in batches]
        for (numbers, _), pixels in zip(batches, self._train.batches(wanted), strict=True):
            images = torch.from_numpy(pixels)
            yield images if self._fixed else self._changed(images, epoch, numbers)

    def _changed(self, images: Tensor, epoch: int, numbers: NDArray[np.intp]) -> Tensor:
        from torchvision.transforms import v2

        operation = v2.TrivialAugmentWide() if self._recipe.augment == "trivial" else v2.RandAugment()
        crop = v2.RandomResizedCrop(self._views[0].wish.crop, scale=(0.35, 1.0), antialias=True)
        change = v2.Compose([crop, v2.RandomHorizontalFlip(), operation])
        changed = []
        for image, number in zip(images.permute(0, 3, 1, 2), numbers.tolist(), strict=True):
            # An image's change depends on nothing but the seed, the epoch and its number.
            torch.manual_seed(int(np.random.default_rng([self._recipe.seed, epoch, number]).integers(2**62)))
            changed.append(change(image))
        return torch.stack(changed).permute(0, 2, 3, 1)

    def validation(self, chunks: Sequence[NDArray[np.intp]]) -> Iterator[Tensor]:
        """Pixels of the first view."""
        view = self._views[0]
        for pixels in self._validation.batches([(chunk, [view] * len(chunk)) for chunk in chunks]):
            yield torch.from_numpy(pixels)


def fixed_views(recipe: Recipe, wish: object) -> list[View]:
    """The fixed views of a recipe; of random augmentation only that of prediction."""
    return views_of(recipe.augment if recipe.augment in VIEWS else "none", wish)  # type: ignore[arg-type]
