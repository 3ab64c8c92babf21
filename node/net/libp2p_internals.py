"""Everything that fednode relies on inside libp2p beyond its public interfaces, in one place.

tests/unit/net/test_libp2p_internals.py fails when an upgrade changed one of them: there, loudly, and not in an
odd corner at run time.
"""

from __future__ import annotations

import logging
from typing import Any

from libp2p.security.secure_session import SecureSession
from libp2p.stream_muxer.yamux import yamux

LIBP2P_VERSION = "0.8.1"

# A Yamux frame of libp2p's multiplexer then fits one Noise message; its 64 KiB spills 17 bytes into a second.
YAMUX_FRAME_MAX_BYTES = 65519


def apply() -> None:
    """Settings of module globals, before the first host is made. Calling again changes nothing."""
    yamux.MAX_MESSAGE_SIZE = YAMUX_FRAME_MAX_BYTES
    # libp2p formats and logs whole values and keys at its lower levels, and expected network churn as errors.
    logging.getLogger("libp2p").setLevel(logging.CRITICAL)


def noise_keys(session: SecureSession) -> tuple[bytes, bytes]:
    """The (send, receive) keys that the handshake of this session agreed on; both nonces start at zero."""
    state: Any = session.conn
    protocol = state.noise_state.noise_protocol
    return bytes(protocol.cipher_state_encrypt.k), bytes(protocol.cipher_state_decrypt.k)
