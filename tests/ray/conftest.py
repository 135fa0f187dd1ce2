"""A cluster of three nodes on this machine.

Its address is 127.0.0.2, so that it can be reached from this machine only. Ray replaces 127.0.0.1 by an address that others
can reach.
"""

from __future__ import annotations

import os

import pytest
import ray
from ray.cluster_utils import Cluster

import environment  # noqa: F401  before podium: it keeps tests away from the user's cache and keys

ADDRESS = "127.0.0.2"
NODES = 3


@pytest.fixture(scope="module")
def cluster():
    os.environ["RAY_DEDUP_LOGS"] = "0"
    os.environ["VOYAGE_API_KEY"] = "k"  # for the driver and the processes of the nodes
    node = {"num_cpus": 1, "node_ip_address": ADDRESS, "object_store_memory": 100_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    for _ in range(NODES - 1):
        cluster.add_node(**node)
    yield cluster
    ray.shutdown()
    cluster.shutdown()
