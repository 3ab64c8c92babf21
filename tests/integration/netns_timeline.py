"""What happens between several daemons, told as it happens: a line for each event, that a person can read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from protocol.errors import FednodeError
from tests.integration.daemons import Daemon

LOOK_S = 1.0
Hosts = dict[str, dict[str, int]]
"""Site id → the running daemons that hold it in full, and the sequence that each holds."""


class Timeline:
    """Adds a line to the file for each event: seconds since the start, who, what."""

    def __init__(self, file: Path) -> None:
        self._began_s = time.monotonic()
        self._file = file
        self._lock = threading.Lock()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")

    @property
    def now_s(self) -> float:
        return time.monotonic() - self._began_s

    def note(self, who: str, what: str) -> None:
        line = f"{self.now_s:7.1f} s  {who:<8}  {what}\n"
        with self._lock, open(self._file, "a", encoding="utf-8") as file:
            file.write(line)


class Watch:
    """Asks the daemons themselves who hosts what, and notes what changes; in a thread of its own.

    sites: names by site id. band: (min, max).
    """

    def __init__(self, timeline: Timeline, daemons: Sequence[Daemon], band: tuple[int, int]) -> None:
        self.sites: dict[str, str] = {}
        self._timeline = timeline
        self._daemons = daemons
        self._band = band
        self._hosts: Hosts = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def hosts(self) -> Hosts:
        """As the daemons say it themselves."""
        found: Hosts = {site: {} for site in self.sites}
        for daemon in self._daemons:
            if not daemon.running:
                continue
            try:
                with daemon.admin() as client:
                    rows = client.sites()
            except FednodeError:  # it is just starting or stopping
                continue
            for row in rows:
                if row["held"] is not None and row["site"] in found:
                    found[row["site"]][daemon.name] = row["held"]["seq"]
        return found

    def wait(self, what: str, check: Callable[[Hosts], bool], within_s: float) -> float:
        """Until `check` holds for `hosts()`; how long that took. AssertionError when it takes too long."""
        began_s = time.monotonic()
        while not check(hosts := self.hosts()):
            if time.monotonic() > began_s + within_s:
                self._timeline.note("FAILED", f"not within {within_s:.0f} s: {what}")
                named = {self.sites[site]: sorted(on) for site, on in hosts.items()}
                raise AssertionError(f"not within {within_s:.0f} s: {what}; {named}")
            time.sleep(LOOK_S / 2)
        took_s = time.monotonic() - began_s
        self._timeline.note("-", f"{what}: after {took_s:.0f} s (at most {within_s:.0f})")
        return took_s

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_S):
            for site, hosts in self.hosts().items():
                before = self._hosts.get(site)
                if before is None or set(hosts) != set(before):
                    self._tell(site, sorted(hosts), sorted(before or ()))
                self._hosts[site] = hosts

    def _tell(self, site: str, hosts: list[str], before: list[str]) -> None:
        least, most = self._band
        where = "below the band" if len(hosts) < least else "above the band" if len(hosts) > most else "in the band"
        came, went = sorted(set(hosts) - set(before)), sorted(set(before) - set(hosts))
        changes = [*(f"+{name}" for name in came), *(f"-{name}" for name in went)]
        self._timeline.note(self.sites[site], f"{len(hosts)} hosts, {where}: {' '.join(changes)}")
