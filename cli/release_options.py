"""The options that say what a release is to be, for the verbs that sign one of a folder."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

import click

Returned = TypeVar("Returned")

_OPTIONS = (
    click.option("--key", metavar="NAME|FILE", help="The site key, by its name in the keystore or as a PEM file."),
    click.option("--seq", type=click.IntRange(min=1), help="At least this sequence number for the release."),
    click.option("--min-hosts", type=click.IntRange(1, 10_000), help="Wish for so many hosts at least."),
    click.option("--max-hosts", type=click.IntRange(1, 10_000), help="Wish for so many hosts at most."),
    click.option(
        "--domain", "domains", metavar="NAME", multiple=True, help="Serve the site under this domain (repeatable)."
    ),
    click.option("--no-domains", is_flag=True, help="Serve the site under no domain any more."),
    click.option(
        "--host",
        "hosts",
        metavar="NODE",
        multiple=True,
        help="Name a node that hosts the site, to be found by (repeatable).",
    ),
    click.option("--no-hosts", is_flag=True, help="Name no host any more."),
    click.option("--hidden", is_flag=True, help="Publish names that begin with a dot, too."),
    click.option("--dereference", is_flag=True, help="Publish what symbolic links point to, not the links."),
)


def release_options(force_help: str) -> Callable[[Callable[..., Returned]], Callable[..., Returned]]:
    """Gives the verb `key`, `wishes` (cli.publishing.sequence) and `scan_options` (cli.publishing.scan)."""

    def decorate(verb: Callable[..., Returned]) -> Callable[..., Returned]:
        @functools.wraps(verb)
        def run(
            *,
            seq: int | None,
            min_hosts: int | None,
            max_hosts: int | None,
            domains: tuple[str, ...],
            no_domains: bool,
            hosts: tuple[str, ...],
            no_hosts: bool,
            hidden: bool,
            dereference: bool,
            force: bool,
            **others: object,
        ) -> Returned:
            from cli.publishing.scan import ScanOptions
            from cli.publishing.sequence import Wishes

            if domains and no_domains:
                raise click.UsageError("--domain and --no-domains exclude each other")
            if hosts and no_hosts:
                raise click.UsageError("--host and --no-hosts exclude each other")
            wishes = Wishes(
                seq=seq,
                min_hosts=min_hosts,
                max_hosts=max_hosts,
                force=force,
                domains=domains if domains or no_domains else None,
                hosts=hosts if hosts or no_hosts else None,
            )
            scan_options = ScanOptions(hidden=hidden, dereference=dereference)
            return verb(wishes=wishes, scan_options=scan_options, **others)

        with_force = click.option("--force", is_flag=True, help=force_help)(run)
        return functools.reduce(lambda made, option: option(made), reversed(_OPTIONS), with_force)

    return decorate
