"""What there is to learn from: how many images, of which classes, how large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..duplicates import Groups
from ..images import Item, open_origin
from ..labels import NO_FINDINGS, LabelFindings
from ..wording import count

_LOOKED_AT = 200


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is.

    Attributes
    ----------
    images : int
        With a label, and readable.
    classes : int
    smallest, largest : int
        Images of the class with the fewest, and with the most.
    commonest : float
        Share of the class with the most: the accuracy of naming it always.
    unlabelled, failed : int
        Images without a label, and those that cannot be read.
    equal, near : int
        Images whose file is there before, and near duplicates of another.
    side : int
        Median of the shorter sides, in pixels, of some of the images; 0 if these are not at hand.
    sampled_from : int
        How many labelled images the source has, if only a part was looked at; else 0.
    contradicting : int
        Images whose file is there under another label, too.
    odd : tuple of str
        Classes that are called as missing values are.
    labels : LabelFindings
        The images that contradict each other, by their paths, and names that differ in form only.
    """

    images: int
    classes: int
    smallest: int
    largest: int
    commonest: float
    unlabelled: int
    failed: int
    equal: int
    near: int
    side: int
    sampled_from: int = 0
    contradicting: int = 0
    odd: tuple[str, ...] = ()
    labels: LabelFindings = NO_FINDINGS

    def sentences(self) -> list[str]:
        """What this allows, and what it does not."""
        part = f" of {self.sampled_from}, a sample that the budget allows" if self.sampled_from else ""
        said = [f"{self.images} images{part}, {self.classes} classes of {self.smallest} to {self.largest}"]
        said[0] += f"; to name the commonest always would be right for {self.commonest:.1%}"
        if self.failed or self.unlabelled:
            said.append(f"{self.failed} images cannot be read, {self.unlabelled} have no label: left out")
        if self.equal or self.near:
            found = [count(self.equal, "equal file"), count(self.near, "near duplicate")]
            said.append(f"{' and '.join(found)}: kept on one side of every split")
        said += self.labels.sentences()
        if self.smallest < 5:
            said.append(
                f"the smallest class has {count(self.smallest, 'image')}: too few to say anything of it by itself"
            )
        if self.classes > 1 and self.largest > 10 * self.smallest:
            said.append("classes are of very unequal size: accuracy says little of the small ones")
        return said

    def to_dict(self) -> dict[str, Any]:
        """Plain Python objects, ready for JSON."""
        found = asdict(self)
        del found["labels"]
        return found | self.labels.to_dict()


def size_of(
    y: NDArray[Any],
    groups: Groups,
    *,
    items: Sequence[Item] = (),
    unlabelled: int = 0,
    failed: int = 0,
    sampled_from: int = 0,
    labels: LabelFindings = NO_FINDINGS,
) -> Size:
    """Count.

    Parameters
    ----------
    y : ndarray, shape (n,)
        Labels.
    groups : Groups
        Of the same images.
    items : sequence of Item
        Where images can be looked at for their size.
    unlabelled, failed, sampled_from : int
    labels : LabelFindings
    """
    counts = np.unique(y, return_counts=True)[1]
    return Size(
        images=len(y),
        classes=len(counts),
        smallest=int(counts.min()),
        largest=int(counts.max()),
        commonest=float(counts.max() / len(y)),
        unlabelled=unlabelled,
        failed=failed,
        equal=groups.exact,
        near=groups.near,
        side=_usual_side(items),
        sampled_from=sampled_from,
        contradicting=sum(len(each.paths) for each in labels.contradictions),
        odd=labels.odd,
        labels=labels,
    )


def _usual_side(items: Sequence[Item]) -> int:
    step = max(1, len(items) // _LOOKED_AT)
    sides = []
    for item in items[::step]:
        try:
            sides.append(min(open_origin(item.origin).size))
        except Exception:  # noqa: S112 (the ledger says what is wrong with it)
            continue
    return int(np.median(sides)) if sides else 0
