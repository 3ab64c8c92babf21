"""What fednode reads and sets inside libp2p beyond its public interfaces, in one place.

The methods that `libp2p_host` and `libp2p_peerstore` override are the other reliance on internals. For both
tests/unit/net/test_libp2p_internals.py fails when an upgrade changed one of them: there, loudly, and not in an
odd corner at run time.
"""

from __future__ import annotations

import logging
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from libp2p.crypto.keys import KeyType
from libp2p.crypto.rsa import RSAPublicKey
from libp2p.crypto.serialization import key_type_to_public_key_deserializer
from libp2p.security.secure_session import SecureSession

LIBP2P_VERSION = "0.8.1"

_RSA_MAX_BITS = 4096
_RSA_MAX_EXPONENT = 2**32


def apply() -> None:
    """Settings of module globals, before the first host is made. Calling again changes nothing."""
    # libp2p formats and logs whole values and keys at its lower levels, and expected network churn as errors.
    logging.getLogger("libp2p").setLevel(logging.CRITICAL)
    logging.getLogger("multiaddr").setLevel(logging.WARNING)
    RSAPublicKey.from_bytes = classmethod(_plain_rsa_key)
    key_type_to_public_key_deserializer[KeyType.RSA.value] = RSAPublicKey.from_bytes


_rsa_key_of_libp2p: Any = RSAPublicKey.from_bytes


def _plain_rsa_key(_cls: Any, key_bytes: bytes) -> Any:
    """RSA keys as real ones are. libp2p bounds the modulus but not the exponent, which makes a signature cost 0.1 s."""
    key = load_der_public_key(key_bytes)
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size > _RSA_MAX_BITS:
        raise ValueError("not an RSA key of a usual size")
    if key.public_numbers().e > _RSA_MAX_EXPONENT:
        raise ValueError("an RSA key with an unusual exponent")
    return _rsa_key_of_libp2p(key_bytes)


def noise_keys(session: SecureSession) -> tuple[bytes, bytes]:
    """The (send, receive) keys that the handshake of this session agreed on; both nonces start at zero.

    The session is of no more use afterwards: its state refers to itself, and would wait for the garbage collector.
    """
    state: Any = session.conn
    protocol = state.noise_state.noise_protocol
    state.noise_state._next_fn = None
    return bytes(protocol.cipher_state_encrypt.k), bytes(protocol.cipher_state_decrypt.k)
