"""Near duplicates count once in intervals, whatever their class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from made_stores import SPACE, make_rows

from featurekit import FeatureStore, TransferClassifier, evaluate
from featurekit.store import STORED, Ledger, LedgerEntry, decode, encode, publish


def test_copies_of_a_class_that_is_a_single_picture_are_one_group(tmp_path):
    columns, rows = make_rows(30)
    hashes = np.random.default_rng(0).integers(0, 256, (30, 64), dtype=np.uint8)
    hashes[1:5] = hashes[0]
    columns = replace(columns, perceptual=hashes, label=encode(["single"] * 5 + ["other"] * 25))
    ledger = Ledger.of(LedgerEntry(name, STORED, "", i) for i, name in enumerate(decode(columns.path)))
    publish(tmp_path / "rows.h5", SPACE, {"root": "/x"}, columns, ledger, [rows])
    store = FeatureStore(tmp_path / "rows.h5")
    assert evaluate(TransferClassifier(head="centroid").fit(store), store).groups == 26
