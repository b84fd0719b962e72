"""``featurekit store``: look at a store."""

from __future__ import annotations

import argparse
from typing import Any

from . import _common


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("store", help="look at a store", description="Look at a store.")
    actions = parser.add_subparsers(metavar="ACTION", required=True, title="actions")
    info = actions.add_parser(
        "info",
        help="what a store holds",
        description="Show what a store holds: rows, classes, the feature space, where it comes from, and which "
        "images failed.",
    )
    info.add_argument("store", metavar="STORE", help="the .h5 file")
    info.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    info.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show it."""
    from featurekit import FeatureStore
    from featurekit.report import failures_text, table

    with FeatureStore(arguments.store) as store:
        failed = _common.failed_images(store)
        if arguments.json:
            _common.print_json(
                {
                    "store": str(store.path),
                    "bytes": store.path.stat().st_size,
                    "rows": len(store),
                    "dim": store.space.dim,
                    "fingerprint": store.fingerprint,
                    "classes": store.class_counts,
                    "ledger": store.ledger_counts,
                    "failures": [{"path": path, "reason": why} for path, why in failed],
                    "provenance": store.provenance,
                }
            )
            return 0
        pre = store.space.preprocessing
        facts = {
            "rows": f"{len(store)} x {store.space.dim} float32, {store.path.stat().st_size / 1e6:.1f} MB",
            "backbone": f"{store.space.backbone}, layer {store.space.layer}, {store.space.precision}",
            "weights": f"SHA-256 {store.space.weights[:16]}...",
            "images": f"shorter side {pre.resize} ({pre.interpolation}), centre crop {pre.crop}",
            "fingerprint": f"{store.fingerprint[:16]}...",
            "ledger": ", ".join(f"{count} {status}" for status, count in store.ledger_counts.items()),
            **{key: str(value) for key, value in store.provenance.items() if not key.startswith("version_")},
        }
        print(f"{store.path}")
        print(table(["", ""], ([f"  {key}", value] for key, value in facts.items()), left=2).lstrip("\n"))
        if store.class_counts:
            print(f"\n{table(['class', 'rows'], ([name, str(n)] for name, n in store.class_counts.items()))}")
        else:
            print("\nno labels")
        if failed:
            print(f"\n{len(failed)} images could not be read:\n{failures_text(failed, limit=len(failed))}")
    return 0
