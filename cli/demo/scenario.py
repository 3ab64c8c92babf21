"""The demo's story, step by step; each step checks what it claims."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from cli.demo.forger import try_to_forge
from cli.demo.nodes import DemoFailed, DemoNode, fednode
from cli.demo.show import Show
from config.keyfile import create_key
from protocol.errors import FednodeError
from protocol.site_id import SiteId

ARRIVAL_DEADLINE_S = 30.0
REFUSAL_DEADLINE_S = 1.0
SAMPLE = Path(__file__).parents[1] / "sample_site"


class Demo:
    """Owns the nodes and the temporary folder; leave the context to end everything."""

    def __init__(self, show: Show, *, logs: bool) -> None:
        self._show = show
        self._logs = logs
        self._folder = Path(tempfile.mkdtemp(prefix="fednode-demo-"))
        self._site_dir = self._folder / "my-site"
        self._key = self._folder / "site.pem"
        self._site = ""
        self._nodes: list[DemoNode] = []

    def __enter__(self) -> Demo:
        # Whatever ends the demo must end its nodes, too; a shell's background job ignores SIGINT unless told otherwise.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for node in self._nodes:
            node.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, *, stay: bool) -> bool:
        """All steps until one fails; True when every one held. `stay`: the addresses are worth showing."""
        steps: list[tuple[str, Callable[[], None]]] = [
            ("Three operators start three nodes", self._start),
            ("A publisher hands a site to the node anna", self._publish),
            ("The site arrives on the other two nodes, verified block by block", self._arrives),
            ("The operator of bela refuses the site: only bela stops serving it", self._block),
            ("The node anna dies (kill -9): the site stays", self._kill),
            ("The publisher updates the site: every willing node follows", self._update),
            ("Somebody without the key tries to replace the site", self._forge),
        ]
        held = True
        for title, step in steps:
            self._show.step(title)
            try:
                step()
            except FednodeError as error:
                self._show.outcome(str(error))
                held = False
                break
            self._show.outcome(None)
        self._show.end({node.name: node.url(self._site) for node in self._nodes} if held and stay else {})
        return held

    def stay_up(self) -> None:
        """Until Ctrl-C or SIGTERM."""
        try:
            signal.pause()
        except KeyboardInterrupt:
            self._show.fact("\nstopping")

    def _start(self) -> None:
        bootstrap = None
        for name in ("anna", "bela", "chloe"):
            node = DemoNode(name, self._folder, bootstrap=bootstrap, logs=self._logs)
            self._nodes.append(node)
            self._show.command(name, "fednode start" + (f" --bootstrap {bootstrap}" if bootstrap else ""))
            node.start()
            bootstrap = bootstrap or node.address
        for node in self._nodes:
            self._show.fact(f"{node.name}: readers on http://{node.gateway}/, nodes on {node.p2p}")

    def _publish(self) -> None:
        shutil.copytree(SAMPLE, self._site_dir)
        self._site = str(SiteId.of(create_key(self._key)))
        self._show.command("laptop", "fednode publish my-site")
        result = fednode("publish", str(self._site_dir), "--key", str(self._key), *_at(self._nodes[0]))
        self._show.fact(f"site {self._site}")
        self._show.fact(f"release {result['seq']}, root {result['root']}")
        self._check_same_bytes(self._nodes[0])

    def _arrives(self) -> None:
        for node in self._nodes[1:]:
            self._wait_same_bytes(node)
            self._show.fact(f"{node.name} serves the same {len(self._files())} files, byte for byte")

    def _block(self) -> None:
        anna, bela, chloe = self._nodes
        self._show.command("bela", f'fednode block {self._site[:12]}… --now --reason "not on my machine"')
        fednode("block", self._site, "--now", "--reason", "not on my machine", *_at(bela))
        self._wait_status(bela, 410, REFUSAL_DEADLINE_S)
        self._show.fact("bela answers 410 Gone and says why")
        for node in (anna, chloe):
            self._check_same_bytes(node)
            self._show.fact(f"{node.name} serves the same bytes as before")

    def _kill(self) -> None:
        anna, bela, chloe = self._nodes
        self._show.command("anna", "kill -9 …")
        anna.kill()
        self._check_same_bytes(chloe)
        self._show.fact("chloe still serves every file")
        self._wait_status(bela, 410, REFUSAL_DEADLINE_S)
        self._show.fact("bela still refuses")

    def _update(self) -> None:
        anna, bela, chloe = self._nodes
        page = self._site_dir / "index.html"
        page.write_bytes(page.read_bytes().replace(b"</main>", b"<p>Updated by its publisher.</p></main>"))
        (self._site_dir / "news.html").write_text("<!doctype html><title>News</title><p>A second release.\n")
        self._show.command("laptop", f"fednode publish my-site --to {chloe.address}")
        result = fednode("publish", str(self._site_dir), "--key", str(self._key), "--to", chloe.address)
        self._show.fact(f"release {result['seq']}, root {result['root']}")
        self._check_same_bytes(chloe)
        self._show.fact("chloe serves the new release")
        self._show.command("anna", "fednode start")
        anna.start()
        self._wait_same_bytes(anna)
        self._show.fact("anna is back and has caught up")
        self._wait_status(bela, 410, REFUSAL_DEADLINE_S)
        self._show.fact("bela refuses the new release, too")

    def _forge(self) -> None:
        anna, _, chloe = self._nodes
        for node in (anna, chloe):
            said = try_to_forge(node.address, SiteId.from_text(self._site))
            self._show.fact(f"{node.name} refuses the forged release: {said}")
            self._check_same_bytes(node)
        self._show.fact("both serve the publisher's bytes as before")

    def _files(self) -> dict[str, bytes]:
        """Path below the site → content, as the publisher's folder has it."""
        return {
            "/" + quote(path.relative_to(self._site_dir).as_posix()): path.read_bytes()
            for path in sorted(self._site_dir.rglob("*"))
            if path.is_file()
        }

    def _check_same_bytes(self, node: DemoNode) -> None:
        for path, content in self._files().items():
            answer = node.get(self._site, path)
            if answer.status != 200 or answer.body != content:
                raise DemoFailed(f"{node.name} answers {answer.status} for {path}, not the publisher's bytes")

    def _wait_same_bytes(self, node: DemoNode) -> None:
        _until(lambda: self._check_same_bytes(node), ARRIVAL_DEADLINE_S)

    def _wait_status(self, node: DemoNode, status: int, deadline_s: float) -> None:
        def check() -> None:
            answer = node.get(self._site, "/")
            if answer.status != status:
                raise DemoFailed(f"{node.name} answers {answer.status}, not {status}")

        _until(check, deadline_s)


def _at(node: DemoNode) -> list[str]:
    return ["--data-dir", str(node.data_dir)]


def _until(check: Callable[[], None], deadline_s: float) -> None:
    """Repeats a check until it holds; at the deadline its last complaint stands."""
    end_s = time.monotonic() + deadline_s
    while True:
        try:
            check()
        except DemoFailed:
            if time.monotonic() >= end_s:
                raise
            time.sleep(0.05)
        else:
            return
