"""``featurekit store``: look at stores, check them, join them, take rows out, hand them to other programs."""

from __future__ import annotations

import argparse
import json
from typing import Any

from featurekit.escapes import printable

from . import _common

_DAMAGED = 1
_SHOWN = 20


def add_parser(verbs: Any) -> None:
    """Add the verb and its actions."""
    parser = verbs.add_parser(
        "store",
        help="info, verify, merge, remove and export: what a store holds, and work on it",
        description="Work on stores of features.",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True, title="actions", parser_class=_common.Parser)

    def action(name: str, run: Any, text: str, more: str = "") -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = actions.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}. {more}".strip()
        )
        added.set_defaults(run=run, wrong_usage=added.error)
        return added

    info = action("info", run_info, "show rows, classes, the feature space, where it comes from, and failed images")
    check = action(
        "verify",
        run_verify,
        "read every checksum and name the damaged rows",
        "Nothing is changed; extracting again computes damaged rows anew. Exits with 1 if anything is damaged.",
    )
    join = action(
        "merge",
        run_merge,
        "join stores of one feature space into a new one",
        "With one STORE: copy it into another kind, file or folder, or to another --dtype.",
    )
    prune = action(
        "remove",
        run_remove,
        "take rows out of a store",
        "Every row goes that a PATH, a --label or --damaged names. The ledger keeps their paths, as removed. An image "
        "that is still in its source comes back when that is extracted again. A folder store keeps the rows in its "
        "shards until it is merged into a new one.",
    )
    hand = action("export", run_export, "write rows, paths, labels and groups as .npz, .csv, .parquet or plain .h5")
    for parser in (info, check, prune, hand):
        parser.add_argument("store", metavar="STORE", help="the .h5 file, or the folder, here or behind a URL")
    join.add_argument("stores", metavar="STORE", nargs="+", help=".h5 files or folders")
    join.add_argument("-o", "--output", required=True, metavar="NEW", help="a new .h5 file, or a new folder")
    join.add_argument(
        "--dtype", choices=_common.DTYPES, help="type of the rows (default: float16 if all have it, else float32)"
    )
    prune.add_argument("patterns", metavar="PATH", nargs="*", help="a path of the store, or a pattern like 'dress/*'")
    prune.add_argument("--label", action="append", default=[], metavar="LABEL", help="all rows of a label; repeatable")
    prune.add_argument("--damaged", action="store_true", help="all rows that do not match their checksums")
    prune.add_argument("-n", "--dry-run", action="store_true", help="only say which rows would go")
    hand.add_argument("-o", "--output", required=True, metavar="FILE", help="its ending says what is written")
    for parser in (info, check, join, prune, hand):
        parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")


def run_info(arguments: argparse.Namespace) -> int:
    """Show what a store holds."""
    from featurekit import FeatureStore
    from featurekit.report import failures_text, table

    with FeatureStore(arguments.store) as store:
        failed, unread = _common.failed_images(store), _common.kept_images(store)
        if arguments.json:
            _common.print_json(
                {
                    "store": str(store.path),
                    "bytes": store.nbytes,
                    "rows": len(store),
                    "kind": "folder" if store.is_folder else "file",
                    "shards": store.shard_count,
                    "dim": store.space.dim,
                    "dtype": str(store.dtype),
                    "fingerprint": store.fingerprint,
                    "space": json.loads(store.space.to_json()),
                    "classes": store.class_counts,
                    "splits": store.split_counts,
                    "ledger": store.ledger_counts,
                    "failures": [{"path": path, "reason": why} for path, why in failed],
                    "unavailable": unread,
                    "provenance": store.provenance,
                }
            )
            return 0
        kept = f" in {_common.count(store.shard_count, 'shard')}" if store.is_folder else ""
        splits, blocks = store.split_counts, store.space.blocks
        facts = {
            "rows": f"{len(store)} x {store.space.dim} {store.dtype}, {store.nbytes / 1e6:.1f} MB{kept}",
            "backbone": f"{store.space.backbone}, layer {store.space.layer}, {store.space.precision}",
            **({"layers": ", ".join(f"{name} {width}" for name, width in store.space.blocks)} if blocks else {}),
            "weights": f"SHA-256 {store.space.weights[:16]}...",
            "images": str(store.space.preprocessing),
            "fingerprint": f"{store.fingerprint[:16]}...",
            "ledger": ", ".join(f"{count} {status}" for status, count in store.ledger_counts.items()),
            **({"split": ", ".join(f"{n} {part or 'in no part'}" for part, n in splits.items())} if splits else {}),
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
        if unread:
            named = [(each["path"], f"{each['reason']} (since {each['since']})") for each in unread]
            print(f"\n{len(unread)} images could not be read, and have rows:\n{failures_text(named, limit=len(named))}")
    return 0


def run_verify(arguments: argparse.Namespace) -> int:
    """Compare everything with its checksum."""
    from featurekit.store import verify

    found = verify(arguments.store)
    if arguments.json:
        _common.print_json(
            {
                "store": arguments.store,
                "rows": found.rows,
                "damaged": len(found.damaged),
                "damaged_rows": [
                    {"row": row, "path": path} for row, path in zip(found.damaged, found.paths, strict=True)
                ],
                "problems": found.problems,
            }
        )
    elif found.ok:
        print(f"{arguments.store}: {_common.count(found.rows, 'row')}, all as written")
    else:
        print(f"{arguments.store}: damaged rows: {len(found.damaged)} of {found.rows}")
        for problem in found.problems[:_SHOWN]:
            print(f"  {printable(problem)}")
        for row, path in list(zip(found.damaged, found.paths, strict=True))[:_SHOWN]:
            print(f"  row {row}  {printable(path)}")
        if len(found.damaged) > _SHOWN:
            print(f"  ... and {len(found.damaged) - _SHOWN} more (--json lists all)")
        print(
            "Extract the same source into it again: damaged rows are computed anew, the others are kept. Where the "
            f"images are gone: featurekit store remove {arguments.store} --damaged"
        )
    return 0 if found.ok else _DAMAGED


def run_merge(arguments: argparse.Namespace) -> int:
    """Join stores."""
    from featurekit import FeatureStore
    from featurekit.store import merge

    with merge(arguments.stores, arguments.output, dtype=arguments.dtype) as store:
        again = sum(len(FeatureStore(path)) for path in arguments.stores) - len(store)
        if arguments.json:
            _common.print_json(
                {
                    "store": str(store.path),
                    "sources": arguments.stores,
                    "rows": len(store),
                    "repeated": again,
                    "dtype": str(store.dtype),
                    "fingerprint": store.fingerprint,
                }
            )
        else:
            print(
                f"{store.path}: {_common.count(len(store), 'row')} of {store.space.backbone}, {store.dtype}, from "
                + _common.count(len(arguments.stores), "store")
                + (f"; {_common.count(again, 'image')} more than once, kept once" if again else "")
            )
    return 0


def run_remove(arguments: argparse.Namespace) -> int:
    """Take rows out."""
    from featurekit.store import remove

    if not (arguments.patterns or arguments.label or arguments.damaged):
        arguments.wrong_usage("name at least one PATH or --label, or --damaged")
    removed = remove(
        arguments.store,
        arguments.patterns,
        labels=arguments.label,
        damaged=arguments.damaged,
        dry_run=arguments.dry_run,
    )
    if arguments.json:
        _common.print_json({"store": arguments.store, "removed": removed, "dry_run": arguments.dry_run})
        return 0
    print(f"{arguments.store}: {_common.count(len(removed), 'row')} {'would be ' if arguments.dry_run else ''}removed")
    for path in removed if arguments.dry_run else ():
        print(f"  {printable(path)}")
    return 0


def run_export(arguments: argparse.Namespace) -> int:
    """Write another format."""
    from featurekit.store import export

    path = export(arguments.store, arguments.output)
    if arguments.json:
        _common.print_json({"file": str(path), "bytes": path.stat().st_size})
    else:
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return 0
