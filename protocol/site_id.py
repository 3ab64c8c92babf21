"""Site ids: an Ed25519 public key, written as an IPNS name (docs/spec/site-id.md)."""

from typing import TYPE_CHECKING

from protocol import multibase
from protocol.cid import LIBP2P_KEY, Cid
from protocol.errors import Malformed, UnsupportedCodec, UnsupportedHash
from protocol.limits import CID_TEXT_MAX_CHARS, SITE_ID_BYTES

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_KEY_PREFIX = bytes.fromhex("08011220")  # libp2p PublicKey protobuf: type Ed25519, 32 bytes of data
_MULTIHASH_PREFIX = bytes.fromhex("0024") + _KEY_PREFIX  # identity hash of those 36 bytes
_CID_PREFIX = b"\x01" + bytes((LIBP2P_KEY,)) + _MULTIHASH_PREFIX

# The points of small order (y coordinates, non-reduced forms too, with either sign): under such a key anybody can
# sign.
_SMALL_ORDER = frozenset(
    bytes.fromhex(text[:62]) + bytes((int(text[62:], 16) | sign,))
    for text in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
    for sign in (0x00, 0x80)
)


class SiteId(bytes):
    """The 32 bytes of a site's public key; compares and hashes as them. `str()` gives the name, `k51…`."""

    __slots__ = ()

    @classmethod
    def from_public_bytes(cls, raw: bytes) -> "SiteId":
        """Site id of a public key from outside. Raises Malformed: not 32 bytes, or a key of small order."""
        if len(raw) != SITE_ID_BYTES:
            raise Malformed(f"a site id has {SITE_ID_BYTES} bytes, not {len(raw)}")
        if raw in _SMALL_ORDER:
            raise Malformed("a key of small order is no site id: anybody could sign for it")
        return cls(raw)

    @classmethod
    def of(cls, private_key: "Ed25519PrivateKey") -> "SiteId":
        return cls(private_key.public_key().public_bytes_raw())

    @classmethod
    def from_text(cls, text: str) -> "SiteId":
        """Site id of an IPNS name: CIDv1 in any supported base, or the bare base58 multihash (`12D3Koo…`).

        Raises DecodeError: UnsupportedCodec (a CID of something else), UnsupportedHash (another key type), …
        """
        if text.startswith("1") and len(text) <= CID_TEXT_MAX_CHARS:
            return cls.from_multihash(multibase.decode_bare("base58btc", text))
        cid = Cid.from_text(text)
        if cid.version != 1 or cid.codec != LIBP2P_KEY:
            raise UnsupportedCodec("a CID, but not of a libp2p key", hint="a site id begins with k51")
        return cls.from_multihash(cid.multihash)

    @classmethod
    def from_multihash(cls, multihash: bytes) -> "SiteId":
        """Site id of a peer-id multihash. Raises UnsupportedHash unless it holds an Ed25519 key itself."""
        if not multihash.startswith(_MULTIHASH_PREFIX):
            raise UnsupportedHash("not an Ed25519 key in an identity multihash")
        return cls.from_public_bytes(multihash[len(_MULTIHASH_PREFIX) :])

    @property
    def cid(self) -> Cid:
        return Cid(_CID_PREFIX + self)

    def verify_key(self) -> "Ed25519PublicKey":
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        return Ed25519PublicKey.from_public_bytes(self)

    def __str__(self) -> str:
        return multibase.encode("base36", self.cid)

    def __repr__(self) -> str:
        return f"SiteId({self})"
