"""A Ray cluster of two machines' worth of processes on this one, told what to do through standard input.

    python tests/engines/cluster.py

Prints its address. ``kill`` ends the second node at once; the end of the input ends all.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Start, listen, end."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    second = cluster.add_node(num_cpus=1)
    print(cluster.address, flush=True)
    try:
        for line in sys.stdin:
            if line.strip() == "kill":
                cluster.remove_node(second, allow_graceful=False)
                print("killed", flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
