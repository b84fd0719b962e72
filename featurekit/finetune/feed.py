"""What training is fed with: batches of cached maps, or of pixels that are decoded again in each epoch.

Both draw the same images in the same views for the same seed and epoch. Importing this imports torch.
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

_EVALUATED = 64  # images at a time


class Feed(Protocol):
    """Batches, and the stage that they enter."""

    start: int

    def training(self, epoch: int) -> Iterator[tuple[Tensor, NDArray[np.intp]]]:
        """Inputs, and numbers of the images, of each batch of an epoch (from 1)."""
        ...

    def validation(self) -> Iterator[Tensor]:
        """Inputs of all validation images, in order."""
        ...


def drawn(
    epoch: int, codes: NDArray[np.intp], views: int, recipe: Recipe
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Numbers of images, and of their views, of each batch of an epoch.

    Parameters
    ----------
    epoch : int
    codes : ndarray of int, shape (n,)
        Class of each image.
    views : int
        Of each image.
    recipe : Recipe
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
    return batches[:-1] if len(batches) > 1 and len(batches[-1][0]) == 1 else batches


class CachedFeed:
    """Maps from the trunk cache.

    Parameters
    ----------
    start : int
        The stage that they enter.
    train, validation : ndarray of float16, shape (n, views, ...)
    codes : ndarray of int, shape (n,)
    recipe : Recipe
    """

    def __init__(
        self,
        start: int,
        train: NDArray[np.float16],
        validation: NDArray[np.float16],
        codes: NDArray[np.intp],
        recipe: Recipe,
    ) -> None:
        self.start = start
        self._train, self._validation, self._codes, self._recipe = train, validation, codes, recipe

    def training(self, epoch: int) -> Iterator[tuple[Tensor, NDArray[np.intp]]]:
        """Maps, and numbers of the images."""
        for numbers, views in drawn(epoch, self._codes, self._train.shape[1], self._recipe):
            yield _maps(self._train[numbers, views]), numbers

    def validation(self) -> Iterator[Tensor]:
        """Maps of the first view."""
        for i in range(0, len(self._validation), _EVALUATED):
            yield _maps(np.array(self._validation[i : i + _EVALUATED, 0]))


def _maps(rows: NDArray[np.float16]) -> Tensor:
    return channels_first(torch.from_numpy(rows).float())


class PictureFeed:
    """Pixels, decoded in each epoch: fixed views, or random crops and operations.

    Parameters
    ----------
    train, validation : Pictures
    views : sequence of View
        The first is that of prediction.
    codes : ndarray of int, shape (n,)
    recipe : Recipe
    """

    start = 0

    def __init__(
        self,
        train: Pictures,
        validation: Pictures,
        views: Sequence[View],
        codes: NDArray[np.intp],
        recipe: Recipe,
    ) -> None:
        self._train, self._validation, self._views = train, validation, views
        self._codes, self._recipe = codes, recipe

    def training(self, epoch: int) -> Iterator[tuple[Tensor, NDArray[np.intp]]]:
        """Pixels, and numbers of the images."""
        fixed = self._recipe.augment in VIEWS
        batches = drawn(epoch, self._codes, len(self._views) if fixed else 1, self._recipe)
        shown = self._views if fixed else [whole_square(self._views[0].wish)]
        wanted = [(numbers, [shown[i] for i in views]) for numbers, views in batches]
        for (numbers, _), pixels in zip(batches, self._train.batches(wanted), strict=True):
            images = torch.from_numpy(pixels)
            if not fixed:
                images = self._changed(images, epoch, numbers)
            yield images, numbers

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

    def validation(self) -> Iterator[Tensor]:
        """Pixels of the first view."""
        view = self._views[0]
        starts = range(0, len(self._validation), _EVALUATED)
        chunks = [np.arange(i, min(i + _EVALUATED, len(self._validation))) for i in starts]
        for pixels in self._validation.batches([(chunk, [view] * len(chunk)) for chunk in chunks]):
            yield torch.from_numpy(pixels)


def fixed_views(recipe: Recipe, wish: object) -> list[View]:
    """The fixed views of a recipe; of random augmentation only that of prediction."""
    return views_of(recipe.augment if recipe.augment in VIEWS else "none", wish)  # type: ignore[arg-type]
