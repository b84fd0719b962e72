from __future__ import annotations

import json

import pytest


@pytest.mark.slow
def test_advice_and_its_page(run, digits_folder, tmp_path):
    options = ("--budget", "6s", "--image-size", 64, "--runtime", "torch")
    code, out, err = run("advise", digits_folder, *options, "--report", "report")
    assert code == 0, err
    assert "frozen features, efficientnet_lite0.stages with" in out
    assert "Next: featurekit" in out
    assert f"report: {tmp_path.name}" in out or "report: report/report.html" in out
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert page.index("<h2>Advice</h2>") < page.index("<h2>Heads</h2>")
    assert (tmp_path / "digits.advice").is_dir() or any(tmp_path.glob("*.advice"))
    code, out, err = run("advise", digits_folder, *options, "--json", "-q")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert {"verdict", "do", "sure", "reasons", "command", "gain", "untested", "heads", "seconds"} <= set(found)
    assert found["size"]["images"] == 60


def test_wrong_usage(run, digits_folder, digits_store_path):
    for arguments, message in (
        ((digits_store_path,), "is a store: advice needs the images themselves"),
        ((digits_folder, "--budget", "soon"), "is no time such as"),
        ((digits_folder, "--budget", "0s"), "is no time such as"),
        ((digits_folder, "--margin", "-1"), "no points of accuracy"),
        ((digits_folder, "--l2"), "advice tries other features by itself"),
    ):
        code, _, err = run("advise", *arguments)
        assert (code, message in err) == (2, True), err
    for arguments, message in (
        (("nothing",), "nothing"),
        ((digits_folder / "0",), "no image has a label"),
        ((digits_folder, "--backbone", "resnet18", "--offline"), "are not on this machine"),
    ):
        code, _, err = run("advise", *arguments)
        assert (code, message in err, "Traceback" in err) == (1, True, False), err


@pytest.mark.slow
def test_the_next_command_says_what_the_user_said(run, digits_folder, tmp_path):
    (tmp_path / "-photos.csv").write_text(
        "path,label\n" + "".join(f"{p.parent.name}/{p.name},{p.parent.name}\n" for p in digits_folder.glob("*/*.png"))
    )
    options = ("--root", digits_folder, "--image-size", "64", "--budget", "6s")
    code, out, err = run("advise", *options, "--", "-photos.csv")
    assert code == 0, err
    command = out.split("Next: featurekit ")[1].splitlines()[0]
    assert command.split()[1] == "./-photos.csv"
    assert f"--root {digits_folder}" in command
    assert "--image-size 64" in command
    if command.startswith("fit "):
        assert run(*command.split())[0] == 0


def test_a_report_that_cannot_be_written_is_said_before_the_work(run, digits_folder, tmp_path):
    (tmp_path / "afile").write_text("mine")
    code, out, err = run("advise", digits_folder, "--budget", "10s", "--report", "afile")
    assert (code, out) == (1, "")
    assert "File exists: afile" in err
    assert not any(tmp_path.glob("*.advice"))
    assert run("advise", digits_folder, "--margin", "abc")[0] == 2
