"""Near duplicates among the same rows are searched once, and every place that names them names the same."""

from __future__ import annotations

import json
import types
from dataclasses import replace

import numpy as np
import pytest
from calls import lengths
from made_stores import SPACE, make_rows

from featurekit import FeatureStore, TransferClassifier, duplicates
from featurekit.advisor.clock import Clock
from featurekit.advisor.looks import Looks
from featurekit.store import STORED, Ledger, LedgerEntry, decode, encode, publish

pytestmark = pytest.mark.filterwarnings("ignore::featurekit.errors.LabelWarning")

COPY = [{"paths": ["classe-é/0-0.jpg", "classe-é/0-7.jpg"], "labels": ["label 0", "label 1"]}]


@pytest.fixture
def store(tmp_path):
    """Thirty pictures of three classes, one without a label; two of them look the same under two labels."""
    columns, rows = make_rows(30)
    hashes = np.random.default_rng(0).integers(0, 256, (30, 64), dtype=np.uint8)
    hashes[7] = hashes[0]
    labels = ["" if i == 29 else f"label {i % 3}" for i in range(30)]
    columns = replace(columns, perceptual=hashes, label=encode(labels))
    ledger = Ledger.of(LedgerEntry(name, STORED, "", i) for i, name in enumerate(decode(columns.path)))
    publish(tmp_path / "rows.h5", SPACE, {"root": "/x"}, columns, ledger, [rows])
    return tmp_path / "rows.h5"


@pytest.fixture
def searches(monkeypatch):
    """The numbers of rows among which near duplicates were searched; the real search runs."""
    return lengths(monkeypatch, duplicates, "near_pairs")


def test_evaluate_of_a_head_searches_once(store, searches, run):
    code, out, _ = run("evaluate", store, "--head", "centroid", "--json")
    assert (code, json.loads(out)["near_contradictions"], searches) == (0, COPY, [29])


def test_fit_does_not_search_for_the_json_alone(store, searches, run):
    code, out, _ = run("fit", store, "--head", "centroid", "--cv", "0", "--json", "-o", "model")
    assert (code, json.loads(out)["near_contradictions"], searches) == (0, COPY, [29])


def test_fitted_classifier_keeps_what_looks_wrong_with_its_labels(store):
    with FeatureStore(store) as opened:
        found = TransferClassifier(head="centroid").fit(opened).label_findings_
    assert found.to_dict()["near_contradictions"] == COPY


@pytest.mark.parametrize("scored", [True, False], ids=["heads scored", "nothing to score"])
def test_advice_searches_once(store, searches, tmp_path, monkeypatch, scored):
    with FeatureStore(store) as opened:
        material = types.SimpleNamespace(
            extract=lambda *_: [opened],
            backbones=[opened.space.backbone],
            home=tmp_path,
            items=[],
            unlabelled=1,
            sampled_from=0,
        )
        looks = Looks(material, Clock(600), 0.01, 0, lambda line: None)
        monkeypatch.setattr(looks, "_affordable", lambda y, stores: ["centroid"] if scored else ["no such head"])
        assert (looks.heads() is not None) == scored
    assert looks.evidence.size.labels.to_dict()["near_contradictions"] == COPY
    assert searches == [29]
