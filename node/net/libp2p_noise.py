"""Noise as libp2p uses it, with the record layer of our own: many Noise messages per socket call, both ways.

The handshake is libp2p's (`PatternXX`). What libp2p does after it costs a socket read of two bytes and one of
the rest for each message, and an empty message from a peer ends the session as if closed.
"""

from __future__ import annotations

import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from libp2p.connection_types import ConnectionType
from libp2p.crypto.keys import KeyPair
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.peer.id import ID
from libp2p.security.base_session import BaseSession
from libp2p.security.noise.patterns import PatternXX
from libp2p.security.secure_session import SecureSession
from multiaddr import Multiaddr

from node.net import libp2p_internals as internals
from node.net.libp2p_raw import RawConnection

_TAG_BYTES = 16
_MESSAGE_MAX_BYTES = 65535
PLAINTEXT_MAX_BYTES = _MESSAGE_MAX_BYTES - _TAG_BYTES
_LENGTH = struct.Struct(">H")
_NONCE = struct.Struct("<4xQ")


class NoiseSession(BaseSession):  # type: ignore[misc]
    """An authenticated, encrypted connection. One task may read or receive while another writes."""

    def __init__(self, session: SecureSession, raw: RawConnection) -> None:
        super().__init__(
            local_peer=session.get_local_peer(),
            local_private_key=session.get_local_private_key(),
            remote_peer=session.get_remote_peer(),
            remote_permanent_pubkey=session.get_remote_public_key(),
            is_initiator=session.is_initiator,
        )
        send_key, receive_key = internals.noise_keys(session)
        self._seal_into = ChaCha20Poly1305(send_key).encrypt_into
        self._open = ChaCha20Poly1305(receive_key).decrypt
        self._sent = 0
        self._received = 0
        self._raw = raw
        self._cipher = bytearray(raw.take_buffer())
        self._plain = bytearray()

    async def receive_messages(self) -> list[bytes]:
        """The plaintexts of the messages that have arrived, at least one; none at the end of the connection."""
        if self._plain:
            return [self._take(None)]
        while not (messages := self._decrypt_complete()):
            more = await self._raw.receive()
            if not more:
                if self._cipher:
                    raise ConnectionClosedError("the connection ended within a Noise message", transport="tcp")
                return []
            self._cipher += more
        return messages

    def _decrypt_complete(self) -> list[bytes]:
        parts: list[bytes] = []
        offset = 0
        view = memoryview(self._cipher)
        try:
            while len(view) - offset >= 2:
                end = offset + 2 + (view[offset] << 8 | view[offset + 1])
                if end > len(view):
                    break
                parts.append(self._open(_NONCE.pack(self._received), view[offset + 2 : end], None))
                self._received += 1
                offset = end
        except (InvalidTag, ValueError) as exc:
            raise ConnectionClosedError("a Noise message that does not decrypt", transport="tcp") from exc
        finally:
            view.release()
        del self._cipher[:offset]
        return parts

    async def read(self, n: int | None = None) -> bytes:
        while not self._plain:
            messages = await self.receive_messages()
            if not messages:
                return b""
            self._plain += b"".join(messages)
        return self._take(n)

    def _take(self, n: int | None) -> bytes:
        taken = bytes(self._plain if n is None else self._plain[:n])
        del self._plain[: len(taken)]
        return taken

    async def write(self, data: bytes | memoryview) -> None:
        """All of `data` in few socket calls. When cancelled within, the connection is useless."""
        await self._raw.write(self.seal(data))

    def seal(self, data: bytes | memoryview) -> bytearray:
        """`data` as a run of Noise messages. What is sealed must be sent, in this order, or nothing more."""
        view = memoryview(data)
        count = -(-len(view) // PLAINTEXT_MAX_BYTES)
        sealed = bytearray(len(view) + count * (_LENGTH.size + _TAG_BYTES))
        end = 0
        for offset in range(0, len(view), PLAINTEXT_MAX_BYTES):
            plain = view[offset : offset + PLAINTEXT_MAX_BYTES]
            _LENGTH.pack_into(sealed, end, len(plain) + _TAG_BYTES)
            begin, end = end + _LENGTH.size, end + _LENGTH.size + len(plain) + _TAG_BYTES
            self._seal_into(_NONCE.pack(self._sent), plain, None, memoryview(sealed)[begin:end])
            self._sent += 1
        return sealed

    async def close(self) -> None:
        await self._raw.close()

    def get_remote_address(self) -> tuple[str, int] | None:
        return self._raw.get_remote_address()

    def get_transport_addresses(self) -> list[Multiaddr]:
        return self._raw.get_transport_addresses()

    def get_connection_type(self) -> ConnectionType:
        return self._raw.get_connection_type()


async def secure(raw: RawConnection, keys: KeyPair, noise_key: object, remote_peer: ID | None) -> NoiseSession:
    """The XX handshake, as initiator when `remote_peer` is given. Whatever libp2p raises passes through."""
    pattern = PatternXX(ID.from_pubkey(keys.public_key), keys.private_key, noise_key)
    if remote_peer is None:
        session = await pattern.handshake_inbound(raw)
    else:
        session = await pattern.handshake_outbound(raw, remote_peer)
    return NoiseSession(session, raw)
