"""The command line, as its users meet it: real arguments, real exit codes, what is printed where."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from featurekit_cli.main import main
from odd_files import encoded, picture, write_bad
from PIL import Image

from featurekit import FeatureStore, TransferClassifier, evaluate
from featurekit.store import verify


@pytest.fixture
def store(digits_store_path):
    return str(digits_store_path)


@pytest.fixture(scope="module")
def saved(digits_store_path, tmp_path_factory):
    """A saved model; not to be changed."""
    return TransferClassifier().fit(FeatureStore(digits_store_path)).save(tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture
def model(run, saved):
    """The name of a saved model in the folder of the test."""
    shutil.copytree(saved, "model")
    return "model"


def test_help_and_version(run):
    code, out, _ = run("--help")
    assert code == 0
    for verb in ("extract", "fit", "finetune", "predict", "evaluate", "export", "models", "store", "demo"):
        assert f"\n    {verb} " in out
        code, text, _ = run(verb, "--help")
        assert code == 0
        assert "usage: featurekit" in text
    assert run("--version")[1].startswith("featurekit 0.")


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["nonsense"], ["extract"], ["fit", "s.h5"], ["fit", "s.h5", "-o", "m", "--head", "tree"],
        ["extract", "x", "--batch-size", "0"], ["extract", "x", "--workers", "two"],
        ["extract", "x", "--max-failed", "-1"], ["store"], ["extract", "x", "--out", "y.h5"],
        ["evaluate", "s.h5"], ["evaluate", "s.h5", "--model", "m", "--head", "svm"],
        ["evaluate", "s.h5", "--head", "svm", "--test-size", "1"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_is_2(run, arguments):
    code, out, err = run(*arguments)
    assert code == 2
    assert err.startswith("featurekit: error: ")
    assert err.splitlines()[-1].startswith("See: featurekit ")
    assert not out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["extract", "none"], "no such source: none"),
        (["extract", "."], "the folder is empty"),
        (["store", "info", "none.h5"], "no such store: none.h5"),
        (["fit", "none.h5", "-o", "m"], "no such store"),
        (["predict", ".", "--model", "none"], "no saved model in none"),
        (["extract", ".", "--backbone", "resnet5O"], "the folder is empty"),
        (["demo", "--source", "none"], "no such source"),
    ],
)
def test_a_users_mistake_is_1_and_one_message(run, arguments, message):
    code, out, err = run(*arguments)
    assert code == 1
    assert err.startswith("featurekit: error: ")
    assert message in err
    assert "Traceback" not in err
    assert not out


def test_extract_says_what_it_did(run, digits_folder):
    code, out, err = run("extract", digits_folder)
    assert code == 0
    assert f"{digits_folder.name}.efficientnet_lite0.h5: 60 rows of efficientnet_lite0, stages (d = 816)," in out
    assert "60 images: 60 computed, 0 reused, 0 duplicates, 0 failed" in out
    assert not err


def test_extract_as_json(run, digits_folder, store):
    shutil.copy(store, "s.h5")
    data = json.loads(run("extract", digits_folder, "-o", "s.h5", "--json")[1])
    assert (data["store"], data["images"], data["computed"], data["reused"]) == ("s.h5", 60, 0, 60)
    assert {"fingerprint", "duplicates", "failed", "seconds", "images_per_second"} <= data.keys()
    assert data["fingerprint"] == FeatureStore("s.h5").fingerprint


def test_bad_files_and_the_exit_code(run, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    bad = write_bad(folder)
    (folder / "good.jpg").write_bytes(encoded(picture(0), "JPEG"))
    for policy, expected in ((None, 0), (len(bad), 0), (len(bad) - 1, 3), (0, 3)):
        options = [] if policy is None else ["--max-failed", policy]
        code, out, err = run("extract", folder, "-o", "s.h5", *options)
        assert code == expected
        assert f"1 reused, 0 duplicates, {len(bad)} failed" in out or "1 computed" in out
        assert "empty.jpg: empty file (0 bytes)" in err
    assert FeatureStore("s.h5").paths == ["good.jpg"]
    _, out, _ = run("store", "info", "s.h5")
    assert all(f"  {name}: " in out for name in bad)
    code, out, _ = run("extract", folder, "-o", "s.h5", "--json", "--max-failed", 0)
    assert code == 3
    assert len(json.loads(out)["failures"]) == len(bad)


def test_store_info(run, store, digits_folder):
    code, out, _ = run("store", "info", store)
    assert code == 0
    for text in ("60 x 816 float32", "efficientnet_lite0, layer stages", "60 stored", str(digits_folder)):
        assert text in out
    data = json.loads(run("store", "info", store, "--json")[1])
    assert data["classes"] == {"0": 20, "1": 20, "2": 20}
    assert data["ledger"] == {"stored": 60}


def test_fit(run, store):
    code, out, err = run("fit", store, "--head", "lda", "-o", "m")
    assert code == 0
    assert err.startswith("featurekit: note: 60 of 60 images have no perceptual hash (blank, smaller than 16 pixels")
    assert err.count("\n") == 1
    assert "m: lda on 60 images of 3 classes" in out
    assert "cross-validated accuracy " in out
    data = json.loads(run("fit", store, "--head", "lda", "-o", "m", "--json")[1])
    assert (data["model"], data["head"], data["classes"], data["n"]) == ("m", "lda", ["0", "1", "2"], 60)
    assert 0.8 < data["cv_score"] <= 1
    assert "cross-validated accuracy" in Path("m/README.md").read_text()


def test_fit_extracts_and_keeps(run, digits_folder):
    name = f"{digits_folder.name}.efficientnet_lite0.h5"
    assert run("fit", digits_folder, "-o", "m", "--head", "lda", "--cv", 0)[0] == 0
    assert len(FeatureStore(name)) == 60
    assert run("fit", digits_folder, "-o", "m2", "--head", "knn", "--cv", 0, "--store", name)[0] == 0


def test_evaluate_says_what_the_library_says(run, store, model):
    data = json.loads(run("evaluate", store, "--model", model, "--json")[1])
    opened = FeatureStore(store)
    found = {"contradictions": [], "near_contradictions": [], "alike_labels": []}
    assert data == evaluate(TransferClassifier().fit(opened), opened).to_dict() | found
    assert {"n", "accuracy", "balanced_accuracy", "macro_f1", "per_class", "confusion_matrix"} <= data.keys()


def test_evaluate_prints_scores_and_the_confusion_matrix(run, store):
    code, out, _ = run("evaluate", store, "--head", "lda")
    assert code == 0
    for text in ("accuracy ", "balanced accuracy", "macro F1", "precision", "true \\ predicted"):
        assert text in out


def test_evaluate_draws_the_confusion_matrix(run, store):
    assert run("evaluate", store, "--head", "lda", "--png", "cm.png")[0] == 0
    with Image.open("cm.png") as drawn:
        assert drawn.width > 300
    assert run("evaluate", store, "--head", "lda", "--png", "cm.nonsense")[0] == 1


@pytest.fixture
def ones(digits_folder, tmp_path):
    """A folder of the 20 images of the class 1, and one that cannot be read."""
    shutil.copytree(digits_folder / "1", tmp_path / "new")
    (tmp_path / "new" / "broken.png").write_bytes(b"")
    return tmp_path / "new"


def lines_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_predict_prints_a_line_for_each_image(run, model, ones):
    code, out, _ = run("predict", ones, "--model", model)
    lines = lines_of(out)
    assert code == 0
    assert [line["path"] for line in lines] == sorted(os.listdir(ones))
    assert [line["label"] for line in lines].count("1") >= 19


def test_predict_says_why_an_image_has_no_label(run, model, ones):
    _, out, err = run("predict", ones, "--model", model)
    assert "broken.png: empty file" in err
    (broken,) = [line for line in lines_of(out) if line["path"] == "broken.png"]
    assert (broken["label"], broken["error"]) == ("", "empty file (0 bytes)")


def test_predicted_probabilities_sum_to_one_and_the_largest_decides(run, model, ones):
    for line in lines_of(run("predict", ones, "--model", model)[1]):
        if line["path"] != "broken.png":
            probabilities = [float(line[f"p({name})"]) for name in "012"]
            assert sum(probabilities) == pytest.approx(1, abs=1e-5)
            assert float(line["probability"]) == max(probabilities) == float(line[f"p({line['label']})"])


def test_predict_keeps_no_rows_unless_asked(run, model, ones):
    run("predict", ones, "--model", model)
    assert not [name for name in os.listdir() if name.endswith(".h5")]
    assert run("predict", ones, "--model", model, "--store", "new.h5")[0] == 0
    assert len(FeatureStore("new.h5")) == 20


def test_predict_writes_files_as_it_prints(run, model, ones):
    printed = run("predict", ones, "--model", model)[1]
    data = json.loads(run("predict", ones, "--model", model, "--json")[1])
    assert len(data["predictions"]) == 21
    for target in ("out.csv", "out.json"):
        assert run("predict", ones, "--model", model, "-o", target)[0] == 0
    assert Path("out.csv").read_text() == printed
    assert json.loads(Path("out.json").read_text()) == data


def test_predict_reads_a_store_as_its_images(run, model, ones):
    printed = run("predict", ones, "--model", model, "--store", "new.h5")[1]
    assert run("predict", "new.h5", "--model", model)[1] == printed


@pytest.mark.parametrize(
    ("options", "code"), [(["-o", "out.txt"], 2), (["-o", "none/out.csv"], 1), (["--max-failed", 0], 3)], ids=str
)
def test_exit_codes_of_predict(run, model, ones, options, code):
    assert run("predict", ones, "--model", model, *options)[0] == code


def test_predict_one_image(run, model, digits_folder):
    code, out, _ = run("predict", digits_folder / "2" / "003.png", "--model", model)
    assert code == 0
    assert out.splitlines()[1].startswith("003.png,2,")


def test_missing_weights_say_which_file_to_copy(run, digits_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    code, _, err = run("extract", digits_folder, "--backbone", "resnet50", "--offline")
    assert code == 1
    assert "Copy resnet50-11ad3fa6.pth" in err


def test_another_backbone_into_the_same_file_is_refused(run, digits_folder, store, tmp_path):
    import torch
    import torchvision

    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "w.pth")
    shutil.copy(store, "s.h5")
    code, _, err = run("extract", digits_folder, "-o", "s.h5", "--backbone", "resnet18", "--weights", "w.pth")
    assert code == 1
    assert "backbone: 'efficientnet_lite0', not 'resnet18'" in err


@pytest.mark.slow
def test_names_that_are_not_utf8_are_printed(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / os.fsdecode(b"\xe9.jpg")).write_bytes(encoded(picture(0), "JPEG"))
    (folder / os.fsdecode(b"bad\xe9.jpg")).write_bytes(b"")
    command = [sys.executable, "-m", "featurekit_cli", "extract", str(folder), "-o", str(tmp_path / "s.h5")]
    out = subprocess.run(command, capture_output=True, check=True, env=os.environ | {"PYTHONIOENCODING": "utf-8"})
    assert b"1 computed" in out.stdout
    assert b"empty file" in out.stderr


@pytest.mark.slow
def test_a_closed_pipe_is_no_traceback(store, tmp_path, model):
    command = f"{sys.executable} -m featurekit_cli predict {store} --model {os.path.abspath(model)} | head -1"
    out = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert out.stdout.startswith("path,label")
    assert "Traceback" not in out.stderr
    assert "BrokenPipe" not in out.stderr


@pytest.mark.slow
def test_ctrl_c_keeps_the_work(tmp_path):
    """A person presses Ctrl-C in the middle of a run that watches a terminal."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(300):
        picture(i).save(folder / f"{i:04d}.png")
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "featurekit_cli", "extract", str(folder), "-o", str(tmp_path / "s.h5")]
    process = subprocess.Popen(command, stderr=end, stdout=subprocess.PIPE)
    os.close(end)
    seen = b""
    deadline = time.monotonic() + 120
    while b"96/300" not in seen and time.monotonic() < deadline:
        seen += os.read(terminal, 1000)
    assert b"images/s" in seen  # the progress bar has a rate
    process.send_signal(signal.SIGINT)
    try:
        while chunk := os.read(terminal, 1000):
            seen += chunk
    except OSError:  # the terminal's other end is closed
        pass
    assert process.wait() == 130
    process.stdout.close()
    os.close(terminal)
    assert b"interrupted. What was complete is kept" in seen
    assert b"Traceback" not in seen
    command += ["--json"]
    data = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert data["reused"] >= 32  # two more batches may have been under way
    assert data["computed"] + data["reused"] == 300


def test_help_needs_nothing_heavy():
    code = (
        "import sys\nfrom featurekit_cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "sklearn", "h5py", "PIL", "matplotlib"} & set(out.stderr.split())


@pytest.mark.slow
def test_verbs_on_stored_rows_never_import_torch(store, tmp_path):
    commands = [
        ["store", "info", store],
        ["evaluate", store, "--head", "svm"],
        ["fit", store, "-o", str(tmp_path / "m"), "--head", "lda"],
    ]
    code = (
        "import sys\nfrom featurekit_cli.main import main\n"
        f"for arguments in {commands!r}:\n"
        "    assert main(arguments) == 0, arguments\n"
        "    assert 'torch' not in sys.modules, arguments\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_probabilities_of_one_run_equal_the_librarys(run, store, model):
    lines = list(csv.DictReader(io.StringIO(run("predict", store, "--model", model)[1])))
    opened = FeatureStore(store)
    expected = TransferClassifier().fit(opened).predict_proba(opened)
    got = np.array([[float(line[f"p({name})"]) for name in "012"] for line in lines])
    assert np.abs(got - expected).max() < 1e-6


@pytest.mark.slow
def test_several_backbones_and_layers_in_one_command(digits_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    two = ["extract", str(digits_folder), "--backbone", "efficientnet_lite0,efficientnet_lite1"]
    two += ["--image-size", "64", "--runtime", "torch"]
    assert main([*two, "--layer", "blocks.0,penultimate", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [(s["backbone"], s["layer"], s["computed"]) for s in data["stores"]] == [
        ("efficientnet_lite0", "blocks.0", 60),
        ("efficientnet_lite0", "penultimate", 60),
        ("efficientnet_lite1", "blocks.0", 60),
        ("efficientnet_lite1", "penultimate", 60),
    ]
    name = digits_folder.name
    assert sorted(os.listdir()) == [
        f"{name}.efficientnet_lite{n}.{layer}.h5" for n in "01" for layer in ("blocks.0", "penultimate")
    ]
    assert main([*two, "-o", "s.h5"]) == 1
    assert "Say where backbone and layer go" in capsys.readouterr().err
    assert main([*two]) == 0
    out = capsys.readouterr().out
    assert f"{name}.efficientnet_lite1.h5: 60 rows of efficientnet_lite1, stages (d = 816), 3 classes" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--backbone", "efficientnet_lite0,resnet18", "--weights", "w.pth"], "write --weights NAME=FILE"),
        (["--weights", "a.pth", "--weights", "b.pth"], "given more than once"),
        (["--layer", "blocks.77"], "Did you mean"),
        (["--backbone", "efficientnet_lite0,"], "one of the names is empty"),
        (["--device", "nonsense"], "cannot run on the device 'nonsense'"),
        (["--device", "cpu", "--precision", "tf32"], "TF32 is a mode of NVIDIA's GPUs"),
        (["--runtime", "openvino", "--device", "cuda"], "OpenVINO runs on the CPU here"),
    ],
)
def test_impossible_options_are_refused_with_a_reason(digits_folder, tmp_path, capsys, arguments, said):
    try:
        code = main(["extract", str(digits_folder), "-o", str(tmp_path / "{backbone}.h5"), *arguments])
    except SystemExit as error:  # wrong usage
        code = error.code
    assert code in {1, 2}
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_model_remembers_layer_precision_and_decoder(digits_folder, tmp_path, capsys):
    store, model = str(tmp_path / "s.h5"), str(tmp_path / "model")
    options = ["--layer", "blocks.4", "--decoder", "pillow", "--image-size", "64", "--runtime", "torch"]
    assert main(["extract", str(digits_folder), "-o", store, *options]) == 0
    assert main(["fit", store, "-o", model, "--cv", "0"]) == 0
    capsys.readouterr()
    for source in (store, str(digits_folder)):  # rows that are there, and images that are extracted as they were
        assert main(["evaluate", source, "--model", model, "--json"]) == 0
        data = json.loads(capsys.readouterr().out)
        assert (data["n"], data["accuracy"]) == (60, 1.0)
    assert main(["predict", str(digits_folder), "--model", model, "--json"]) == 0
    predictions = json.loads(capsys.readouterr().out)["predictions"]
    assert all(line["label"] == line["path"][0] for line in predictions)


@pytest.mark.slow
def test_what_a_precision_costs_is_said(digits_folder, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    for path in sorted(digits_folder.glob("*/*.png"))[:3]:
        (tmp_path / "photos" / f"{path.parent.name}-{path.name}").write_bytes(path.read_bytes())
    command = ["extract", str(tmp_path / "photos"), "-o", str(tmp_path / "s.h5"), "--precision", "bf16"]
    assert main(command) == 0
    assert "bf16, decoder auto, against fp32 and Pillow: cosine 0.9" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fidelity"] is None  # nothing was computed now


@pytest.mark.slow
def test_the_installed_command_ends_the_process():
    """Its entry is not `main`: it spares the collector a last look at everything."""
    command = [sys.executable, "-m", "featurekit_cli", "store", "info", "nowhere.h5"]
    assert subprocess.run(command, capture_output=True).returncode == 1


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", "2>&-", ">&-"])
@pytest.mark.slow
def test_closed_standard_streams_do_not_damage_the_store(closed, digits_folder, tmp_path):
    """As under some daemons. What is printed must not end up in the store, whose file could have got number 1 or 2."""
    command = f"{sys.executable} -m featurekit_cli extract {digits_folder} -o {tmp_path}/s.h5 {closed}"
    assert subprocess.run(["bash", "-c", command]).returncode == 0
    assert verify(tmp_path / "s.h5").ok


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--backbone", "efficientnet_lite0,efficientnet_lite0"], 2, "--backbone names one twice"),
        (["--layer", "blocks.1,blocks.1"], 2, "--layer names one twice"),
        (["--device", "meta"], 1, "cannot run on the device 'meta'"),
        (["--device", "meta", "--decoder", "torchcodec"], 1, "cannot run on the device 'meta'"),
        (["-o", "s.{layers}.h5"], 1, "has {layers} in it; there are {backbone} and {layer}"),
        (["-o", "o/{layer}/../s.h5", "--layer", "blocks.1,blocks.2"], 1, "Say where backbone and layer go"),
        (["-o", "new/{layer}/s.h5", "--layer", "blocks.1,blocks.99"], 1, "no layer of efficientnet_lite0"),
    ],
)
def test_mistakes_with_backbones_layers_and_devices(run, digits_folder, tmp_path, options, code, message):
    result, _, said = run("extract", digits_folder, *options)
    assert result == code
    assert message in said.replace("\n", " ")
    assert "Traceback" not in said
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_rows_of_another_kind_say_so(run, digits_folder):
    _, out, _ = run("extract", digits_folder, "--decoder", "pillow", "-o", "pillow.h5")
    assert "(d = 816), decoder pillow, 3 classes" in out
    assert run("fit", "pillow.h5", "-o", "model", "--cv", 0)[0] == 0
    run("extract", digits_folder, "-o", "auto.h5")
    code, _, said = run("evaluate", "auto.h5", "--model", "model")
    assert code == 1
    assert "Extract the images again with efficientnet_lite0, layer stages, precision fp32, decoder pillow" in said
    assert "delete" not in said


@pytest.mark.slow
def test_outputs_never_overwrite_other_files(run, model, digits_folder, store, tmp_path):
    """Labels, photos, stores and models were overwritten where their name was given by mistake."""
    labels = tmp_path / "labels.csv"
    labels.write_text("path,label\n000.png,0\n")
    photo = tmp_path / "photo.png"
    shutil.copy(next(digits_folder.glob("0/*.png")), photo)
    shutil.copy(store, tmp_path / "s.h5")
    before = {path: path.read_bytes() for path in (labels, photo, tmp_path / "s.h5", tmp_path / "model" / "model.json")}
    for arguments in (
        ("compare", store, "--head", "centroid", "--csv", labels),
        ("compare", store, "--head", "centroid", "--csv", "s.h5"),
        ("evaluate", store, "-m", model, "--png", photo),
        ("predict", photo, "-m", model, "-o", labels),
        ("predict", photo, "-m", model, "-o", "model/model.json"),
    ):
        code, _, err = run(*arguments)
        assert (code, "is no earlier output of this kind" in err) == (1, True), (arguments, err)
    assert run("compare", store, "--head", "centroid", "--report", "model")[0] == 2
    assert {path: path.read_bytes() for path in before} == before
    for _ in range(2):  # its own are replaced
        assert run("compare", store, "--head", "centroid", "--csv", "t.csv")[0] == 0
        assert run("evaluate", store, "-m", model, "--png", "c.png")[0] == 0
        assert run("predict", photo, "-m", model, "-o", "p.csv")[0] == 0
        assert run("predict", photo, "-m", model, "-o", "p.json")[0] == 0


@pytest.mark.slow
def test_a_class_of_one_image_is_learned_and_not_scored(run, digits_folder, tmp_path):
    """It took the probabilities of all classes away, and a comparison was refused."""
    shutil.copytree(digits_folder, tmp_path / "photos")
    (tmp_path / "photos" / "hat").mkdir()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5).save(tmp_path / "photos" / "hat" / "h.png")
    code, out, err = run("fit", "photos", "-o", "m")
    assert code == 0
    assert "of a single image, learned but not scored: hat" in err
    assert "cross-validated accuracy " in out
    assert "probabilities" not in run("predict", "photos", "-m", "m")[2]
    code, out, err = run("compare", "photos", "--head", "centroid")
    assert code == 0
    assert "left out, as nothing would be left to learn it from: 1 images of hat" in err
    assert "60 images, 5 folds" in out


@pytest.mark.slow
def test_labels_that_look_like_another_target_are_mentioned(run, digits_folder, tmp_path):
    paths = sorted(str(path) for path in digits_folder.glob("*/*.png"))
    for name, label in (("number", lambda i: f"{i % 31}.5"), ("labels", lambda i: "a;b" if i % 2 else "a")):
        lines = [f"{path},{label(i)}" for i, path in enumerate(paths)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["path,label", *lines]) + "\n")
        run("extract", f"{name}.csv", "-o", f"{name}.h5", "--root", "/", "--image-size", 64)
        assert f"--target {name}" in run("fit", f"{name}.h5", "-o", "m", "--head", "centroid")[2]


def test_a_manifest_of_another_folder_asks_for_root(run, tmp_path):
    (tmp_path / "m.csv").write_text("path,label\nno/a.jpg,a\nno/b.jpg,b\n")
    said = run("extract", "m.csv", "-o", "s.h5")[2]
    assert "Name the folder that the paths of a manifest are relative to (--root DIR)." in said


def test_a_label_does_not_colour_the_terminal(run, digits_folder, tmp_path):
    lines = [f"{path},a\x1b[31mRED" for path in digits_folder.glob("0/*.png")]
    (tmp_path / "m.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    code, _, err = run("fit", "m.csv", "-o", "m", "--root", "/")
    assert code == 1
    assert "\x1b" not in err
    assert r"a\x1b[31mRED" in err
