"""fednode start: run a node in the foreground."""

from __future__ import annotations

import ipaddress
import json
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.common import config_options, load_config

if TYPE_CHECKING:
    from config import Config

EPILOG = """\b
The node runs until SIGTERM or Ctrl-C and then stops within 5 seconds.
It tells systemd when it is ready (Type=notify). Its log goes to stderr.

\b
Exit codes: 0 stopped as asked; 1 failed; 2 wrong usage or configuration;
6 the node key cannot be used.
"""


@click.command("start", epilog=EPILOG)
@config_options
@click.option("--public", is_flag=True, help="Open the gateway and libp2p to the network, not only to this machine.")
@click.option("--listen", multiple=True, metavar="MULTIADDR", help="Where other nodes connect (repeatable).")
@click.option("--gateway", multiple=True, metavar="HOST:PORT", help="Where readers connect by HTTP (repeatable).")
@click.option("--bootstrap", multiple=True, metavar="MULTIADDR", help="A node to connect to at start (repeatable).")
@click.option("--sample", is_flag=True, help="Publish the built-in sample site to this node and print its address.")
@click.option("--log-format", type=click.Choice(["auto", "human", "json"]), help="How the log looks.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="How much is logged.")
def command(
    config_file: Path | None,
    data_dir: Path | None,
    public: bool,
    listen: tuple[str, ...],
    gateway: tuple[str, ...],
    bootstrap: tuple[str, ...],
    sample: bool,
    log_format: str | None,
    log_level: str | None,
) -> int:
    """Run a node in the foreground.

    Works without a configuration file. By default everything listens on this machine only.
    """
    given: dict[str, tuple[str, Any]] = {
        "network.listen": ("--listen", listen),
        "gateway.listen": ("--gateway", gateway),
        "network.bootstrap": ("--bootstrap", bootstrap),
        "log.format": ("--log-format", log_format),
        "log.level": ("--log-level", log_level),
    }
    flags = {name: flag for name, flag in given.items() if flag[1]}
    config = load_config(config_file, data_dir, flags).config
    if public:
        config = load_config(config_file, data_dir, flags | open_flags(config, has_ipv6=has_ipv6())).config
    say_what_is_open(config)

    from config import RunOptions
    from node.runtime import run

    options = RunOptions()
    if sample:
        from cli.sample import publish_sample

        options = RunOptions(on_ready=lambda: publish_sample(config))
    return run(config, options)


def has_ipv6() -> bool:
    """Whether this machine can listen on IPv6 at all."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def open_flags(config: Config, *, has_ipv6: bool) -> dict[str, tuple[str, Any]]:
    """What --public sets: every address of this machine, on the ports that the settings name."""
    hosts = ["0.0.0.0", "::"] if has_ipv6 else ["0.0.0.0"]  # noqa: S104 - what the flag asks for
    http_ports = dict.fromkeys(address.rpartition(":")[2] for address in config.gateway.listen)
    p2p_ports = dict.fromkeys(address.split("/")[4] for address in config.network.listen)
    return {
        "gateway.listen": (
            "--public",
            [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for port in http_ports for host in hosts],
        ),
        "network.listen": (
            "--public",
            [f"/ip{6 if ':' in host else 4}/{host}/tcp/{port}" for port in p2p_ports for host in hosts],
        ),
    }


def open_addresses(config: Config) -> list[tuple[str, str]]:
    """(what, address) of everything that is not for this machine alone."""
    http = (("gateway", text, text.rpartition(":")[0].strip("[]")) for text in config.gateway.listen)
    p2p = (("libp2p", text, text.split("/")[2]) for text in config.network.listen)
    return [(what, text) for what, text, host in (*http, *p2p) if not ipaddress.ip_address(host).is_loopback]


def say_what_is_open(config: Config) -> None:
    """On stderr, in the log's own form."""
    opened = open_addresses(config)
    if not opened:
        return
    if _is_json(config.log.format):
        addresses = [{"what": what, "address": address} for what, address in opened]
        click.echo(json.dumps({"level": "warning", "message": "open to the network", "opened": addresses}), err=True)
        return
    click.echo("open to the network:\n" + _lines(opened), err=True)


def _is_json(log_format: str) -> bool:
    return log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())


def _lines(opened: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"  {what:8} {address}" for what, address in opened)
