"""Near duplicates on both sides of a split that is given are told, of whatever class they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from made_stores import SPACE, make_rows

from featurekit.store import STORED, Ledger, LedgerEntry, decode, encode, publish


def test_a_class_of_a_single_picture_on_both_sides_is_told(run, tmp_path):
    columns, rows = make_rows(30)
    hashes = np.random.default_rng(0).integers(0, 256, (30, 64), dtype=np.uint8)
    hashes[1] = hashes[0]
    columns = replace(
        columns,
        perceptual=hashes,
        label=encode(["single", "single", *(f"label {i % 2}" for i in range(28))]),
        split=encode(["train", "test", *["train"] * 14, *["test"] * 14]),
    )
    ledger = Ledger.of(LedgerEntry(name, STORED, "", i) for i, name in enumerate(decode(columns.path)))
    publish(tmp_path / "rows.h5", SPACE, {"root": "/x"}, columns, ledger, [rows])
    code, _, said = run("evaluate", "rows.h5", "--head", "logreg")
    assert code == 0, said
    assert "the split that is given is followed, and 1 of 15 scored images is a duplicate of images that" in said
