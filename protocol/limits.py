"""Every bound of the wire and disk formats, with unit and reason; their relations are asserted below."""
# ruff: noqa: S101 - a relation that fails is a bug of ours, found at the first import

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# Numbers
# unsigned-varint spec: 9 bytes hold 63 bits, so that values fit signed 64-bit columns
VARINT_MAX_BYTES: Final = 9
SEQ_MAX: Final = 2**63 - 1  # the largest integer that SQLite keeps exactly; only the end of a site bears it
SIZE_MAX_BYTES: Final = 2**63 - 1  # sums of sizes; same reason
# Unix time of 9999-12-31T23:59:59Z; later instants have no four-digit year
CREATED_MAX_S: Final = 253_402_300_799

# Identifiers
SITE_ID_BYTES: Final = 32  # an Ed25519 public key (RFC 8032)
SIGNATURE_BYTES: Final = 64  # an Ed25519 signature (RFC 8032)
CID_BYTES: Final = 36  # our own CIDs: version, one-byte codec, sha2-256 code and length, digest
DIGEST_MAX_BYTES: Final = 128  # longest digest in any CID; IPIP-512 bounds identity CIDs by it
CID_MAX_BYTES: Final = 1 + VARINT_MAX_BYTES + VARINT_MAX_BYTES + 2 + DIGEST_MAX_BYTES  # any CID that is read
# the longest text form (base16); decoding base58 is quadratic
CID_TEXT_MAX_CHARS: Final = 1 + 2 * CID_MAX_BYTES

# Blocks
# blocks that fednode makes, and blocks of a site (unixfs-v1-2025: 1 MiB chunks)
BLOCK_MAX_BYTES: Final = 1 * MIB
FOREIGN_BLOCK_MAX_BYTES: Final = 2 * MIB  # blocks of other makers that we read; the IPFS-wide limit

# UnixFS and dag-pb
CHUNK_BYTES: Final = 1 * MIB  # unixfs-v1-2025: fixed chunks
FILE_NODE_MAX_LINKS: Final = 1024  # unixfs-v1-2025: width of the file trees that we make
DIRECTORY_MAX_BYTES: Final = 256 * KIB  # unixfs-v1-2025: a larger directory block becomes a HAMT
HAMT_FANOUT: Final = 256  # unixfs-v1-2025
HAMT_MAX_FANOUT: Final = 1024  # UnixFS spec; protects from huge tables (CVE-2023-23625)
NODE_MAX_LINKS: Final = 65_536  # links of one node that is read; 2 MiB hold 55,000 with sha2-256 CIDs
NAME_MAX_BYTES: Final = 255  # one name in a directory that we make; NAME_MAX of Linux
SYMLINK_MAX_BYTES: Final = 4096  # target of a symbolic link; PATH_MAX of Linux
PATH_MAX_SEGMENTS: Final = 2048  # names in one path; PATH_MAX of Linux holds as many
# levels of one file; a balanced tree of 2^63 bytes needs 6, trickle trees some more
FILE_MAX_DEPTH: Final = 64
# blocks of one file that are known and not read yet; ours: 3 levels of 1024
FILE_MAX_PENDING: Final = 131_072
WALK_MAX_DEPTH: Final = 4096  # levels of a whole DAG: nested directories, HAMT shards and file nodes
WALK_MAX_BYTES: Final = 128 * MIB  # CIDs that a walk holds; deep and wide at once is an attack
WALK_AHEAD_BYTES: Final = 16 * MIB  # above this a walk no longer looks ahead
WALK_OPEN_NODES: Final = 64  # inner nodes under way at once; each answer may add a whole directory

# CAR
CAR_HEADER_MAX_BYTES: Final = 64 * KIB  # header of a CAR file that is read
CAR_MAX_ROOTS: Final = 256  # roots in it; ours have one or two
CAR_SECTION_MAX_BYTES: Final = CID_MAX_BYTES + FOREIGN_BLOCK_MAX_BYTES  # CID and block

# Canonical msgpack
CANONICAL_MAX_DEPTH: Final = 8  # nesting of arrays and maps; the deepest of our records needs 3
# entries of one array or map; the decoder allocates this before it reads them
CANONICAL_MAX_ITEMS: Final = 1024

# Releases
RELEASE_MAX_BYTES: Final = 5120  # a signed release; small enough that heads travel in one message
RELEASE_RECORD_MAX_BYTES: Final = 512  # the IPNS record in it; ours have about 400
DOMAINS_MAX: Final = 12  # domain names that one release may wish for; what fits the size above
DOMAIN_MAX_CHARS: Final = 253  # RFC 1035, 2.3.4, as text without the final dot
HOSTS_NAMED_MAX: Final = 4  # addresses of hosts that one release may name; what fits beside the domains
HOST_ADDRESS_MAX_CHARS: Final = 180  # one of them; /dns4/NAME/tcp/PORT/p2p/ID has 85 and the name
BAND_MAX_HOSTS: Final = 10_000  # replica band; more hosts than any federation is planned for

# IPNS
IPNS_RECORD_MAX_BYTES: Final = 10 * KIB  # IPNS spec, "Record Size Limit"
RSA_MIN_BITS: Final = 2048  # peer-id spec: shorter keys are not to be accepted
RSA_MAX_BITS: Final = 8192  # go-libp2p; verifying longer ones costs too much
CBOR_MAX_DEPTH: Final = 64  # nesting of lists and maps; our own need 1
RELEASE_RECORD_VALIDITY_S: Final = 100 * 31_557_600  # 100 years of 365.25 days: a site outlives its publisher
RELEASE_RECORD_TTL_S: Final = 3600  # how long resolvers may cache a site's name

# Frames and messages
FRAME_HEADER_BYTES: Final = 5  # u32 length and u8 kind
MESSAGE_MAX_BYTES: Final = 64 * KIB  # one message; holds the longest of each type, asserted below
FRAME_MAX_BYTES: Final = 1 + CID_BYTES + BLOCK_MAX_BYTES  # value of a frame's length field: kind, CID, block
WANT_MAX_CIDS: Final = 512  # CIDs in one want; at 1 MiB a block half a GiB in flight is more than enough
REFUSE_CODE_MAX_CHARS: Final = 32  # a refuse code; the longest has 14
REASON_MAX_CHARS: Final = 500  # a reason is read by people, in one line or two
SUBJECT_MAX_BYTES: Final = 64  # what a refusal is about: a site id or one of our CIDs

# Statements (docs/spec/membership.md)
STATEMENT_MAX_BYTES: Final = 56 * KIB  # a signed statement; travels in one message
STATEMENT_VALID_S: Final = 36 * 3600  # renewed every 12 h: two may get lost
SITE_FILTER_MAX_BYTES: Final = 48 * KIB  # which sites a node holds; 16,000 sites at 24 bits each
STATEMENT_ADDRESSES_MAX: Final = 8  # multiaddrs of one node
STATEMENT_ADDRESS_MAX_CHARS: Final = 256  # one of them; a DNS name has at most 253, and ours are far shorter
STATEMENT_TEXT_MAX_CHARS: Final = 64  # operator and region, each
STATEMENT_LISTS_MAX: Final = 16  # lists that a node names
SUMMARY_BUCKETS_MAX: Final = 4096  # sums of 8 bytes each; for 200,000 sites 50 in a bucket
LISTING_MAX_ENTRIES: Final = 1000  # entries of one page
AUDIT_BLOCKS_MAX: Final = 8  # blocks of one audit: up to 8 MiB to read, which takes a disk a blink
STATEMENT_LIST_BYTES: Final = 8  # the digest of a list in a statement; tells lists apart, proves nothing

# Notices and appeals (docs/spec/notice.md)
NOTICE_MAX_BYTES: Final = 14 * KIB  # a signed notice whose texts are as long as they may be
NOTICE_RULE_MAX_CHARS: Final = 1000  # a rule or the name of a list; longer ones are cut
NOTICE_CONTACT_MAX_CHARS: Final = 200  # an address
NOTICES_MAX: Final = 4  # notices in one message
APPEAL_MAX_BYTES: Final = 20 * KIB  # a signed appeal
APPEAL_TEXT_MAX_CHARS: Final = 4000  # about two pages; who has more to say can link it
EXPORT_NONCE_BYTES: Final = 32  # no two are ever the same
INVITATION_SECRET_BYTES: Final = 16  # nobody guesses one
REPORT_PROOF_BITS_MAX: Final = 28  # of work for a report: minutes of one core

# Bitswap (docs/spec/bitswap.md)
BITSWAP_MESSAGE_MAX_BYTES: Final = 4 * MIB  # one message that is read; what Kubo and Helia take
BITSWAP_SEND_MAX_BYTES: Final = 2 * MIB + 64 * KIB  # one that we send; the largest block has room, and little more
BITSWAP_WANTS_MAX: Final = 16_384  # entries of one wantlist, and presences; Kubo fills 512 KiB with 12,000
BITSWAP_BLOCKS_MAX: Final = 8192  # blocks in one message; Kubo sends small ones by the thousand

# Delegated routing (docs/spec/routing.md)
ROUTING_ANSWER_MAX_BYTES: Final = 1 * MIB  # one answer that is read; 100 records with ten addresses are 100 KB
ROUTING_RECORDS_MAX: Final = 100  # records of one answer that are looked at; the specification's cap
ROUTING_PEER_ADDRESSES_MAX: Final = 16  # addresses of one record; what the address book keeps

# Denylists (IPIP-383)
DENYLIST_MAX_BYTES: Final = 256 * MIB  # one file: over three million hashed rules
DENYLIST_HEADER_MAX_BYTES: Final = 1 * MIB  # IPIP-383
DENYLIST_LINE_MAX_BYTES: Final = 2 * MIB  # IPIP-383
DENYLIST_ERRORS_MAX: Final = 100  # faulty lines reported one by one; the rest are counted
DOMAIN_CSV_MAX_BYTES: Final = 16 * MIB  # domain blocks as CSV; the largest public ones have a few thousand lines
DOMAIN_BLOCKS_MAX: Final = 200_000  # lines of such a file
RULE_PATH_MAX_CHARS: Final = 4096  # path of one rule after decoding; PATH_MAX of Linux

# Files by which a site steers its answers
REDIRECTS_MAX_BYTES: Final = 64 * KIB  # `_redirects`; the IPFS specification
SITE_HEADERS_MAX_BYTES: Final = 64 * KIB  # `_headers`; as `_redirects`
SITE_HEADERS_VALUE_MAX_CHARS: Final = 2048  # a value; a Content-Security-Policy of a large site has about 1500
SITE_HEADERS_ANSWER_MAX_CHARS: Final = 3072  # all of them in one answer: proxies take heads of 4 KiB, ours included

_MAP_KEYS_BYTES = 256  # generous sum of a record's keys, small integers and headers

assert BLOCK_MAX_BYTES <= FOREIGN_BLOCK_MAX_BYTES
assert FRAME_MAX_BYTES < 2**32
assert MESSAGE_MAX_BYTES < FRAME_MAX_BYTES
assert (
    DOMAINS_MAX * (DOMAIN_MAX_CHARS + 2)
    + HOSTS_NAMED_MAX * (HOST_ADDRESS_MAX_CHARS + 2)
    + 4 * CID_BYTES
    + SIGNATURE_BYTES
    + 2 * _MAP_KEYS_BYTES
    <= RELEASE_MAX_BYTES - RELEASE_RECORD_MAX_BYTES
)
assert RELEASE_RECORD_MAX_BYTES <= IPNS_RECORD_MAX_BYTES
assert RELEASE_MAX_BYTES + _MAP_KEYS_BYTES <= MESSAGE_MAX_BYTES
assert WANT_MAX_CIDS * (CID_BYTES + 2) + _MAP_KEYS_BYTES <= MESSAGE_MAX_BYTES
assert (
    SITE_FILTER_MAX_BYTES
    + STATEMENT_ADDRESSES_MAX * (STATEMENT_ADDRESS_MAX_CHARS + 3)
    + STATEMENT_LISTS_MAX * (STATEMENT_LIST_BYTES + 2)
    + 2 * 4 * STATEMENT_TEXT_MAX_CHARS
    + SIGNATURE_BYTES
    + 2 * _MAP_KEYS_BYTES
    <= STATEMENT_MAX_BYTES
)
assert STATEMENT_MAX_BYTES + _MAP_KEYS_BYTES <= MESSAGE_MAX_BYTES
assert 8 * SUMMARY_BUCKETS_MAX + _MAP_KEYS_BYTES <= MESSAGE_MAX_BYTES
assert LISTING_MAX_ENTRIES * (1 + SITE_ID_BYTES + 2 + 9 + 8 + 2) + _MAP_KEYS_BYTES <= MESSAGE_MAX_BYTES
assert LISTING_MAX_ENTRIES <= CANONICAL_MAX_ITEMS
assert REASON_MAX_CHARS * 4 + SUBJECT_MAX_BYTES + _MAP_KEYS_BYTES <= MESSAGE_MAX_BYTES
assert (
    4 * (2 * NOTICE_RULE_MAX_CHARS + REASON_MAX_CHARS + NOTICE_CONTACT_MAX_CHARS) + 3 * _MAP_KEYS_BYTES
    < NOTICE_MAX_BYTES
)
assert NOTICES_MAX * (NOTICE_MAX_BYTES + 5) + _MAP_KEYS_BYTES <= MESSAGE_MAX_BYTES
assert 4 * (APPEAL_TEXT_MAX_CHARS + NOTICE_CONTACT_MAX_CHARS) + 2 * _MAP_KEYS_BYTES < APPEAL_MAX_BYTES
assert APPEAL_MAX_BYTES + _MAP_KEYS_BYTES <= MESSAGE_MAX_BYTES
assert WANT_MAX_CIDS <= CANONICAL_MAX_ITEMS
assert max(CID_BYTES, SITE_ID_BYTES) <= SUBJECT_MAX_BYTES
assert DENYLIST_HEADER_MAX_BYTES <= DENYLIST_LINE_MAX_BYTES <= DENYLIST_MAX_BYTES
assert CHUNK_BYTES <= BLOCK_MAX_BYTES
assert SITE_HEADERS_VALUE_MAX_CHARS <= SITE_HEADERS_ANSWER_MAX_CHARS
assert DIRECTORY_MAX_BYTES <= BLOCK_MAX_BYTES
# The longest entry of a HAMT shard or file node fits a block, as often as the node may have one.
assert HAMT_FANOUT * (NAME_MAX_BYTES + CID_BYTES + 32) < BLOCK_MAX_BYTES
assert FILE_NODE_MAX_LINKS * (CID_BYTES + 64) < BLOCK_MAX_BYTES
assert NODE_MAX_LINKS * CID_BYTES > FOREIGN_BLOCK_MAX_BYTES
assert SYMLINK_MAX_BYTES < BLOCK_MAX_BYTES
assert FILE_MAX_PENDING >= 2 * NODE_MAX_LINKS
assert WALK_AHEAD_BYTES + WALK_OPEN_NODES * BLOCK_MAX_BYTES < WALK_MAX_BYTES
assert FOREIGN_BLOCK_MAX_BYTES + 2 * CID_MAX_BYTES < BITSWAP_SEND_MAX_BYTES < BITSWAP_MESSAGE_MAX_BYTES
