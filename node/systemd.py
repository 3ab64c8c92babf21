"""sd_notify(3): tells the service manager that the daemon is ready or stops. Does nothing elsewhere."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Sends one state, such as "READY=1", to $NOTIFY_SOCKET if there is one; a manager that is gone is ignored."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto(state.encode(), address)
        except OSError:
            return
