"""Seven daemons, each in a network namespace of its own, through all that happens to a federation in some minutes.

Lines that delay and lose, hosts killed in waves, a network that parts and heals, a full disk, a clock that is a day
off, and a host that lies. After each, every site must have enough hosts again within a stated time. The story is told
line by line, and kept in the file that `FEDNODE_TIMELINE` names.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.integration import netns
from tests.integration.daemons import Site, daemon_folder, eventually
from tests.integration.netns import Lines, Namespace, PlacedDaemon
from tests.integration.netns_liar import running_liar
from tests.integration.netns_timeline import Hosts, Timeline, Watch

pytestmark = [pytest.mark.large, pytest.mark.timeout(2400)]

NODES = 7
SITES = 5
BAND = (3, 4)
GRACE_S = 60
# A host counts for the grace period after it was last there; those that are left wait as long again, for it may come
# back; then they ask in turns of 30 s. The rest is for fetching on two busy cores.
RESTORED_S = 2 * GRACE_S + 120.0
# Too many hosts for the grace period, looked at once a minute, with proofs asked for in between.
LET_GO_S = GRACE_S + 240.0
DISK_BYTES = 48 * 1024 * 1024
SMALL, ASTRAY, REFUSING = "node5", "node6", "node4"


def test_every_site_gets_its_hosts_again(tmp_path: Path) -> None:
    if reason := netns.why_not():
        pytest.skip(reason)
    if faketime() is None:
        pytest.skip("needs a clock that is off: apt-get install libfaketime")
    timeline = Timeline(Path(os.environ.get("FEDNODE_TIMELINE") or tmp_path / "timeline.txt"))
    with town(timeline) as here:
        here.publish(tmp_path)
        here.lie()
        here.kill_in_waves()
        here.part_and_heal()
        here.fill_a_disk()
        here.check_all()


class Town:
    """The daemons, their lines, and the sites that are published to them."""

    def __init__(self, timeline: Timeline, daemons: list[PlacedDaemon], lines: Lines, liar: str) -> None:
        self.timeline, self.daemons, self.lines, self.liar = timeline, daemons, lines, liar
        self.by_name = {daemon.name: daemon for daemon in daemons}
        self.watch = Watch(timeline, daemons, BAND)
        self.sites: dict[str, Site] = {}
        self.publishers: dict[str, str] = {}
        self.refused = ""

    def publish(self, folder: Path) -> None:
        for number, daemon in enumerate(self.daemons[:SITES]):
            site = Site(folder / f"site{number}")
            site.write("index.html", f"<!doctype html><title>Site {number}</title>")
            for page in range(5):
                site.write(f"pages/{page}.html", f"<p>Page {page} of site {number}</p>")
            site.write("picture.bin", os.urandom(1_500_000))
            self.sites[site.id], self.publishers[site.id] = site, daemon.name
            self.watch.sites[site.id] = f"site{number}"
            if daemon.name == "node0":
                self._refuse(site)
            site.publish(daemon, "--min-hosts", str(BAND[0]), "--max-hosts", str(BAND[1]))
            self.timeline.note(daemon.name, f"site{number} published here, for {BAND[0]} to {BAND[1]} hosts")
        self._enough("all sites have enough hosts", RESTORED_S)

    def _refuse(self, site: Site) -> None:
        self.refused = site.id
        with self.by_name[REFUSING].admin() as client:
            client.block(site.id, now=True)
        self.timeline.note(REFUSING, f"refuses {self.watch.sites[site.id]}")

    def lie(self) -> None:
        """Everybody who hosts something finds the liar out."""
        self.timeline.note("liar", "states that it hosts everything, takes all it is offered, and has nothing")
        began_s = time.monotonic()
        eventually(self._nobody_counts_the_liar, 240.0)
        self.timeline.note("-", f"the liar counts for nobody: after {time.monotonic() - began_s:.0f} s (at most 240)")

    def kill_in_waves(self) -> None:
        """So many that each site is left with one host at least, and with enough nodes that are willing."""
        for wave in (("node0", "node1", "node3"), ("node2", "node5", "node6")):
            for name in wave:
                self.by_name[name].kill()
                self.timeline.note(name, "kill -9")
            self._enough("all sites have enough hosts without them", RESTORED_S)
            for name in wave:
                self.by_name[name].start()
                self.timeline.note(name, "started again")
            self._check_files()
        self._not_too_many()

    def part_and_heal(self) -> None:
        """Each side repairs what it can read; an update that one side gets reaches the other afterwards."""
        one = {daemon.name for daemon in self.daemons[:4]}
        two = {daemon.name for daemon in self.daemons[4:]} | {"liar"}
        self.lines.part(one, two)
        self.timeline.note("lines", f"parted: {' '.join(sorted(one))} | {' '.join(sorted(two))}")
        changed = next(site for site in self.sites.values() if site.id == str(list(self.sites)[1]))
        changed.write("news.html", "while the network was parted")
        changed.publish(self.by_name["node1"])
        self.timeline.note("node1", "site1: release 2 published here")
        self.watch.wait("the larger side has enough hosts of all sites that it had", self._enough_on(one), RESTORED_S)
        self.lines.part()
        self.timeline.note("lines", "healed")
        self._same_heads(RESTORED_S)
        self._enough("all sites have enough hosts", RESTORED_S)
        self._check_files()
        self._not_too_many()

    def fill_a_disk(self) -> None:
        """What a host has stays readable; it takes no more, and others take over if it lets go."""
        daemon = self.by_name[SMALL]
        ballast = daemon.data_dir / "ballast"
        usage = os.statvfs(daemon.data_dir)
        ballast.write_bytes(bytes(max(0, usage.f_bavail * usage.f_bsize - 100_000)))
        self.timeline.note(SMALL, "its disk is full")
        gone = [self.by_name[name] for name in ("node0", "node3", "node4")]
        for daemon in gone:
            daemon.kill()
            self.timeline.note(daemon.name, "kill -9")
        self._enough("all sites have enough hosts without them", RESTORED_S)
        self._check_files()
        ballast.unlink()
        self.timeline.note(SMALL, "its disk has room again")
        for daemon in gone:
            daemon.start()
            self.timeline.note(daemon.name, "started again")

    def check_all(self) -> None:
        self._enough("all sites have enough hosts", RESTORED_S)
        self._not_too_many()
        self._check_files()
        self._same_heads(60.0)
        eventually(self._nobody_counts_the_liar, 60.0)
        self.timeline.note("-", "the liar counts for nobody")
        for daemon in self.daemons:
            assert daemon.running, f"{daemon.name} has ended"

    # --- checks --------------------------------------------------------------------------------------------

    def _enough(self, what: str, within_s: float) -> None:
        self.watch.wait(what, lambda hosts: all(len(on) >= BAND[0] for on in hosts.values()), within_s)

    def _enough_on(self, side: set[str]) -> Callable[[Hosts], bool]:
        had = {site for site, on in self.watch.hosts().items() if side & set(on)}
        return lambda hosts: all(len(side & set(hosts[site])) >= BAND[0] for site in had)

    def _not_too_many(self) -> None:
        """A site stays where it was published, whatever its place in the order is: so it may have one host more."""
        self.watch.wait(
            "no site has too many hosts",
            lambda hosts: all(len(set(on) - {self.publishers[site]}) <= BAND[1] for site, on in hosts.items()),
            LET_GO_S,
        )

    def _same_heads(self, within_s: float) -> None:
        self.watch.wait(
            "all hosts of a site have its last release",
            lambda hosts: all(len(set(on.values())) == 1 for on in hosts.values()),
            within_s,
        )

    def _check_files(self) -> None:
        """Each host serves what is in the folder, byte by byte; who refuses a site does not serve it."""
        read = 0
        for id_, on in self.watch.hosts().items():
            for name in on:
                self.sites[id_].check_on(self.by_name[name])
                read += len(self.sites[id_].files())
        refusing = self.by_name[REFUSING]
        if refusing.running:
            assert refusing.get(self.refused, "/index.html").status in (410, 451)
        still = f"{REFUSING} still refuses" if refusing.running else f"{REFUSING} is away"
        self.timeline.note("readers", f"{read} files read on all hosts, all equal; {still}")

    def _nobody_counts_the_liar(self) -> None:
        for daemon in self.daemons:
            if not daemon.running:
                continue
            with daemon.admin() as client:
                for row in client.sites():
                    if row["held"] is None:
                        continue
                    counted = [h["peer"] for h in client.resilience(row["site"])["hosts"] if h["counts"]]
                    assert self.liar not in counted, f"{daemon.name} counts the liar for {row['site']}"


def faketime() -> Path | None:
    """The library that gives a process another clock."""
    return next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)


@contextmanager
def town(timeline: Timeline) -> Iterator[Town]:
    with ExitStack() as stack:
        folder = stack.enter_context(daemon_folder())
        spaces = []
        for number, name in enumerate([*(f"node{number}" for number in range(NODES)), "liar"]):
            # Addresses of different providers, as far as a node can tell; nothing leaves the namespaces.
            spaces.append(Namespace(name, f"44.{number + 1}.0.1"))
            stack.callback(spaces[-1].remove)
        lines = stack.enter_context(Lines(spaces))
        lines.shape(delay_s=0.02, jitter_s=0.01, loss=0.01)
        timeline.note("lines", "20 to 30 ms each way, 1 % of packets lost")
        stack.enter_context(small_disk(folder / SMALL))
        daemons: list[PlacedDaemon] = []
        for space in spaces[:NODES]:
            daemons.append(placed(space, folder, daemons))
            stack.callback(daemons[-1].stop)
            daemons[-1].start()
        timeline.note("-", f"{NODES} daemons run; {ASTRAY}'s clock is a day ahead, {SMALL} has a small disk")
        with spaces[-1].inside():
            listen = f"/ip4/{spaces[-1].address}/tcp/4101"
            liar = stack.enter_context(running_liar(listen, [daemon.address for daemon in daemons]))
        found = Town(timeline, daemons, lines, liar)
        stack.enter_context(found.watch)
        yield found


def placed(space: Namespace, folder: Path, others: list[PlacedDaemon]) -> PlacedDaemon:
    environment = {}
    if space.name == ASTRAY:
        environment = {"LD_PRELOAD": str(faketime()), "FAKETIME": "+1d", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    return PlacedDaemon(
        space,
        folder,
        bootstrap=others[0].address if others else None,
        environment=environment,
        hosting_grace_s=str(GRACE_S),
        node_operator=f"operator {space.name}",
    )


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "fednode-test", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
