"""The model card: what a saved model is, for people."""

from __future__ import annotations

from typing import Any


def model_card(manifest: dict[str, Any], head: Any) -> str:
    """Markdown that says what the model learned, from what, how well, and how it is used.

    Parameters
    ----------
    manifest : dict
        What is saved.
    head : scikit-learn estimator
        Fitted.

    Returns
    -------
    str
    """
    space, notes, target = manifest["space"], manifest["notes"], manifest["target"]
    pre, classes = space["preprocessing"], [_plain(name) for name in manifest["classes"]]
    training = manifest.get("training")
    how = "frozen" if not training or training["best_epoch"] == 0 else _trained(training)
    learned = {
        "class": f"one of {len(classes)} classes for each image: {', '.join(classes)}",
        "labels": f"which of {len(classes)} labels each image has: {', '.join(classes)}",
        "number": "a number for each image",
    }[target]
    lines = [
        f"# A featurekit image {'regressor' if target == 'number' else 'classifier'}",
        "",
        "## What it is",
        "",
        f"- It predicts {learned}",
        f"- Backbone: {space['backbone']}, {how}; layer {space['layer']}, {space['dim']} features",
        f"- Weights: SHA-256 {space['weights']}",
        f"- Images: {_sides(pre)} to {pre['resize']} ({pre['interpolation']}), centre crop {pre['crop']}",
        f"- Head: {manifest['head']} ({type(head).__name__})",
        *(f"- {name}: {_short(value)}" for name, value in _chosen(head)),
        "",
        "## What it was fitted on, and how well",
        "",
        *([f"- {key}: {value}" for key, value in notes.items()] or ["- nothing is noted"]),
        "",
        "## What to keep in mind",
        "",
        "- Scores hold for images like those it was fitted on. Score it on images of the place where it is used:",
        "  `featurekit evaluate PHOTOS --model THIS_FOLDER`",
        *_limits(target),
        "",
        "## How it is used",
        "",
        "    featurekit predict PHOTOS --model THIS_FOLDER",
        "",
        f"Made with featurekit {manifest['featurekit']}.",
    ]
    return "\n".join(lines) + "\n"


def _chosen(head: Any) -> list[tuple[str, Any]]:
    """What a path chose."""
    names = {
        "C_": "Strength C",
        "gamma_": "Width of the kernel",
        "k_": "Neighbours",
        "temperature_": "Temperature of the probabilities",
        "deviation_": "Root mean squared error in cross-validation",
    }
    chosen = [("Chosen by cross-validation", head.name_)] if hasattr(head, "candidates_") else []
    fitted = head.estimator_ if chosen else head
    return [*chosen, *((text, getattr(fitted, name)) for name, text in names.items() if hasattr(fitted, name))]


def _trained(training: dict[str, Any]) -> str:
    """How the network was trained, in a few words."""
    what = "all of it" if training["unfreeze"] == "all" else f"from the top: {training['unfreeze']}"
    started = "fine-tuned" if training["pretrained"] else "trained from scratch"
    comparison = training["comparison"]
    text = f"{started} ({what}; epoch {training['best_epoch']}, validation accuracy {comparison['accuracy']:.4f}"
    if "frozen_accuracy" in comparison:
        text += f", frozen {comparison['frozen_accuracy']:.4f}"
    return text + ")"


def _plain(name: str) -> str:
    """A label as text that Markdown and HTML take for nothing else."""
    printable = "".join(c if c.isprintable() else " " for c in name)
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|&" else c for c in printable)


def _short(value: Any) -> str:
    if isinstance(value, str):
        return value
    return ", ".join(f"{number:.4g}" for number in (value if hasattr(value, "__len__") else [value]))


def _limits(target: str) -> list[str]:
    if target == "number":
        return ["- It knows no number far outside of those it has seen."]
    one = target == "class"
    return [
        "- It knows nothing but these names: an image of anything else gets one of them, often with a low probability."
        if one
        else "- It knows nothing but these names.",
        *(["- `featurekit predict --abstain-below P` gives no label where the probability is below P;"] if one else []),
        *(["  `featurekit evaluate --abstain-below P` says what that costs and gains."] if one else []),
    ]


def _sides(pre: dict[str, Any]) -> str:
    return "both sides" if pre.get("squash") else "shorter side"
