"""Real photos end to end: the promised accuracy, the same by Python and by command, and an independent reference.

Skipped where `../shared/data` is absent.
"""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from featurekit_cli.main import main

from featurekit import FeatureExtractor, TransferClassifier, evaluate, extract
from featurekit.errors import LabelWarning
from featurekit.fidelity import Fidelity
from featurekit.labels import NO_FINDINGS

# One photo of the training set lies under two labels, in two sizes.
TWICE = "shorts/6075b4a5", "skirt/637a56e4"


@pytest.fixture(scope="module")
def stores(shared_data, tmp_path_factory):
    """Of every second training photo, and of all test photos."""
    folder, clothing = tmp_path_factory.mktemp("clothing"), shared_data / "clothing"
    for number, path in enumerate(sorted(clothing.glob("train/*/*.jpg"))):
        name = path.relative_to(clothing)
        if number % 2 == 0 or str(name).startswith(tuple(f"train/{photo}" for photo in TWICE)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / name)
    sources = {"train": folder / "train", "test": clothing / "test"}
    return {part: extract(source, output=folder / f"{part}.h5") for part, source in sources.items()}


@pytest.mark.slow
@pytest.mark.filterwarnings("default::featurekit.errors.LabelWarning")
def test_clothing_by_python_and_by_command(stores, tmp_path, capsys):
    with pytest.warns(LabelWarning, match=".*".join(TWICE)):
        classifier = TransferClassifier().fit(stores["train"])
    result = evaluate(classifier, stores["test"])
    assert (len(stores["train"]), result.n) == (1535, 372)
    assert result.accuracy >= 0.87
    model = str(tmp_path / "model")
    assert main(["fit", str(stores["train"].path), "-o", model, "--cv", "0", "-q"]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(stores["test"].path), "--model", model, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == result.to_dict() | NO_FINDINGS.to_dict()


@pytest.mark.slow
def test_32_photos_equal_timms_own_transform_and_network(shared_data):
    import timm
    import torch
    from PIL import Image

    from featurekit.backbones import find

    paths = sorted((shared_data / "clothing" / "test").glob("*/*.jpg"))[::11][:32]
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    state = torch.load(find("efficientnet_lite0").weights_path, weights_only=True)
    network.load_state_dict(dict(zip(network.state_dict(), state.values(), strict=True)))
    network.reset_classifier(0)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)
    with torch.no_grad():
        batch = torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])
        expected = network.eval()(batch).numpy()
    for runtime in ("auto", "torch"):
        got = FeatureExtractor(layer="penultimate", decoder="pillow", runtime=runtime).fit_transform(paths)
        largest = np.abs(got - expected).max()
        print(f"32 photos, {runtime}: largest difference {largest:.2e}, largest value {np.abs(expected).max():.2f}")
        assert got.shape == expected.shape == (32, 1280)
        assert largest < 2e-5 * np.abs(expected).max()
    fidelity = Fidelity.of(FeatureExtractor(layer="penultimate").fit_transform(paths), expected)
    print(f"32 photos, decoder auto: {fidelity}")
    assert fidelity.cosine > 0.9999
    assert fidelity.relative_error < 0.02
