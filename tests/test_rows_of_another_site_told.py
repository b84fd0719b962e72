"""Images of another site whose files have the sizes of those in the store: told after they were computed."""

from __future__ import annotations

import numpy as np
import pytest
from made_stores import make_rows, write
from PIL import Image
from small import extract

from featurekit import FeatureStore
from featurekit.errors import StoreError
from featurekit.extraction.rows import Old, check_contents_leaving
from featurekit.images import Source


def test_the_message_names_the_folder_of_computed_rows_if_there_is_one(tmp_path):
    columns, _ = write(tmp_path / "s.h5", 3)
    others, _ = make_rows(3, seed=1)
    listing = Source([], "class folders", "/y", "/y")
    with FeatureStore(tmp_path / "s.h5") as store:
        old = Old(store, columns, store.ledger)
        for parts, said in (
            (tmp_path / "s.h5.parts", "The rows that were computed meanwhile are in"),
            (None, "Nothing was changed"),
        ):
            with pytest.raises(StoreError, match=said) as caught:
                check_contents_leaving(old, listing, others, False, parts)
            assert ("computed meanwhile" in str(caught.value)) == (parts is not None)


@pytest.mark.slow
def test_computed_rows_that_are_refused_are_named_and_used_once_others_may_leave(tmp_path):
    for number, site in enumerate("ab"):
        (tmp_path / site).mkdir()
        pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / site / "1.bmp")
    store, parts = tmp_path / "s.h5", tmp_path / "s.h5.parts"
    extract(tmp_path / "a", output=store).close()
    before = store.read_bytes()
    with pytest.raises(StoreError) as caught:
        extract(tmp_path / "b", output=store)
    assert f"Nothing was changed. The rows that were computed meanwhile are in {parts}: delete it" in str(caught.value)
    assert (store.read_bytes() == before, parts.is_dir()) == (True, True)
    with extract(tmp_path / "b", output=store, replace=True) as found:
        assert (found.summary.computed, found.paths, parts.exists()) == (0, ["1.bmp"], False)
