"""Leaves out, and binds to loopback, what Ray 2.60 offers no setting for; each line here is tied to that version.

tests/serving/test_app.py counts the processes and looks at every listening address, so a Ray that changes is noticed.
"""

from __future__ import annotations

import functools
from typing import Any


def leave_out_helpers() -> None:
    """Before ray.init: no autoscaler, no log forwarder, no dashboard server. They took 280 MB and start-up time."""
    from ray._private import node, parameter

    parameter.RayParams = functools.partial(parameter.RayParams, no_monitor=True, include_log_monitor=False)
    node.Node.start_api_server = _no_api_server


def _no_api_server(self: Any, **_: Any) -> None:
    self._webui_url = ""


def replica_grpc_on_loopback() -> None:
    """In a replica, before Serve starts its gRPC server: that one would listen on every interface."""
    from ray.serve._private import replica

    bind = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: bind(server, address.replace("[::]", "127.0.0.1"))
