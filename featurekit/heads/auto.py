"""The head ``auto``: the best of three named heads by cross-validation on the same folds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _num_samples, check_is_fitted

from ..targets import is_table
from .classifier import PathClassifier
from .closed import LDAPath
from .descent import Array
from .kernel import SVMPath
from .linear import LogisticRegressionPath

_TIE = 1e-9
_MOST_FOR_SVM = 6_000  # The time of a kernel SVM grows with the square of the rows and more.


def _has_probabilities(auto: AutoHead) -> bool:
    """Tell if the chosen head gives probabilities; before fitting, a head usually does."""
    return not hasattr(auto, "estimator_") or hasattr(auto.estimator_, "predict_proba")


class AutoHead(ClassifierMixin, BaseEstimator):
    """The best of logistic regression, a kernel SVM and LDA, by cross-validated accuracy on the same folds.

    Which of the three is best differs from data set to data set, by up to six points. Each is fitted with its path;
    the one whose best candidate scores highest is kept. Equal scores: the first of logreg, svm, lda.

    Parameters
    ----------
    cv, class_weight, random_state, blocks
        As in `LogisticRegressionPath`.

    Attributes
    ----------
    name_ : {"logreg", "svm", "lda"}
        The head that was chosen.
    estimator_ : PathClassifier
        It, fitted on all rows.
    candidates_ : dict of str to float
        Cross-validated accuracy of each head that was tried. It is NaN where nothing could be cross-validated, and
        logistic regression is taken then. The highest of them is a little too high, as the best of several. LDA is
        not tried with labels that do not exclude each other, the SVM not with more than 6,000 rows
        (in cross-validation, of each training part).
    classes_, scores_, multilabel_
        Those of `estimator_`.

    Examples
    --------
    >>> from featurekit.heads import AutoHead
    >>> store = getfixture("digits_store")
    >>> head = AutoHead().fit(store.X, store.y)
    >>> list(head.candidates_), head.name_ in head.candidates_
    (['logreg', 'svm', 'lda'], True)
    """

    def __init__(
        self,
        *,
        cv: Any = 5,
        class_weight: Any = None,
        random_state: int = 0,
        blocks: Sequence[int] | None = None,
    ) -> None:
        self.cv = cv
        self.class_weight = class_weight
        self.random_state = random_state
        self.blocks = blocks

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> Self:
        """Fit each head with its path, and keep the best.

        Parameters
        ----------
        X : array-like, shape (n, d)
            Rows.
        y : array-like, shape (n,) or (n, k)
            Labels, as in `LogisticRegressionPath`.
        sample_weight : array-like, shape (n,), optional
            How much each row counts.
        groups : array-like, shape (n,), optional
            Rows of one group stay in one fold.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the rows or labels cannot be used.
        """
        options: dict[str, Any] = {
            name: getattr(self, name) for name in ("cv", "class_weight", "random_state", "blocks")
        }
        if hasattr(self.cv, "split"):
            options["cv"] = list(self.cv.split(X, y, groups))  # A splitter may draw other folds the next time.
        elif not isinstance(self.cv, int | np.integer):
            options["cv"] = list(self.cv)  # An iterator of splits would be used up by the first head.
        fitted = {
            name: kind(**options).fit(X, y, sample_weight=sample_weight, groups=groups)
            for name, kind in self._kinds(X, y).items()
        }
        self.candidates_ = {name: _score_of(head) for name, head in fitted.items()}
        scores = np.nan_to_num(list(self.candidates_.values()), nan=-np.inf)
        self.name_ = list(fitted)[int(np.flatnonzero(scores >= scores.max() - _TIE)[0])]
        self.estimator_ = fitted[self.name_]
        self.classes_, self.n_features_in_ = self.estimator_.classes_, self.estimator_.n_features_in_
        return self

    @staticmethod
    def _kinds(X: ArrayLike, y: ArrayLike) -> dict[str, type[PathClassifier]]:
        """The heads that these rows and labels can be given to."""
        kinds: dict[str, type[PathClassifier]] = {"logreg": LogisticRegressionPath}
        if _num_samples(X) <= _MOST_FOR_SVM:
            kinds["svm"] = SVMPath
        if not is_table(np.asarray(y)):
            kinds["lda"] = LDAPath
        return kinds

    @property
    def scores_(self) -> Array:
        """Scores of the chosen head, shape (folds, candidates of its path)."""
        check_is_fitted(self)
        scores: Array = self.estimator_.scores_
        return scores

    @property
    def best_scores_(self) -> Array:
        """Score of the chosen candidate of the chosen head in each fold, shape (folds,)."""
        check_is_fitted(self)
        return self.estimator_.best_scores_

    @property
    def multilabel_(self) -> bool:
        """True if it learned labels that do not exclude each other."""
        check_is_fitted(self)
        return self.estimator_.multilabel_

    def predict(self, X: ArrayLike) -> Array:
        """Predicted classes, shape (n,); of labels, 0 or 1, shape (n, k).

        Parameters
        ----------
        X : array-like, shape (n, d)
        """
        check_is_fitted(self)
        return self.estimator_.predict(X)

    def decision_function(self, X: ArrayLike) -> Array:
        """Decision values of the chosen head, shape (n, n_classes), or (n,) for two classes.

        Parameters
        ----------
        X : array-like, shape (n, d)
        """
        check_is_fitted(self)
        return self.estimator_.decision_function(X)

    @available_if(_has_probabilities)
    def predict_proba(self, X: ArrayLike) -> Array:
        """Calibrated probabilities of the chosen head, shape (n, n_classes).

        Parameters
        ----------
        X : array-like, shape (n, d)
        """
        check_is_fitted(self)
        probabilities: Array = self.estimator_.predict_proba(X)
        return probabilities

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.input_tags.sparse = False
        return tags


def _score_of(head: PathClassifier) -> float:
    """Mean score of the candidate that a path chose; NaN where there were no folds."""
    return float(head.best_scores_.mean()) if len(head.best_scores_) else np.nan
