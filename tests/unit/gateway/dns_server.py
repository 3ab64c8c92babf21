"""A DNS server of the tests' own, on loopback: real packets, records that a test sets."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from socket import AF_INET, SOCK_DGRAM, socket

import dns.flags
import dns.message
import dns.rcode
import dns.rrset


class DnsServer:
    """txt: name → records. A name that is not in it does not exist, one in `silent` gets no answer."""

    def __init__(self, sock: socket) -> None:
        self._sock = sock
        self.address = "{}:{}".format(*sock.getsockname())
        self.txt: dict[str, list[str]] = {}
        self.ttl_s = 300
        self.silent: set[str] = set()
        self.asked: Counter[str] = Counter()

    def serve(self) -> None:
        while True:
            raw, reader = self._sock.recvfrom(4096)
            if not raw:
                return
            query = dns.message.from_wire(raw)
            name = query.question[0].name.to_text(omit_final_dot=True).lower()
            self.asked[name] += 1
            if name not in self.silent:
                self._sock.sendto(self._answer(query, name).to_wire(), reader)

    def _answer(self, query: dns.message.Message, name: str) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA | dns.flags.RA
        found = query.question[0].name
        if name in self.txt:
            texts = [f'"{text}"' for text in self.txt[name]]
            response.answer.append(dns.rrset.from_text_list(found, self.ttl_s, "IN", "TXT", texts))
        else:
            response.set_rcode(dns.rcode.NXDOMAIN)
            soa = f"ns.example. root.example. 1 3600 600 86400 {self.ttl_s}"
            response.authority.append(dns.rrset.from_text("example.", 3600, "IN", "SOA", soa))
        return response


@contextmanager
def dns_server() -> Iterator[DnsServer]:
    with socket(AF_INET, SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        server = DnsServer(sock)
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            with socket(AF_INET, SOCK_DGRAM) as knock:
                knock.sendto(b"", sock.getsockname())
            thread.join()
