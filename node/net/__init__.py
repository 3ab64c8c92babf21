"""The network room: the only place that knows libp2p. Everything else imports from here."""

from node.net.addresses import Address as Address
from node.net.channel import FrameChannel as FrameChannel
from node.net.channel import PeerGone as PeerGone
from node.net.channel import PeerTimeout as PeerTimeout
from node.net.memory import Air as Air
from node.net.memory import MemoryNetwork as MemoryNetwork
from node.net.memory import open_memory_network as open_memory_network
from node.net.opening import open_network as open_network
from node.net.peer_ids import parse_peer_id as parse_peer_id
from node.net.peer_ids import peer_id_of_seed as peer_id_of_seed
from node.net.port import BadAddress as BadAddress
from node.net.port import Handler as Handler
from node.net.port import ListenFailed as ListenFailed
from node.net.port import NetEvent as NetEvent
from node.net.port import NetHealth as NetHealth
from node.net.port import NetLimits as NetLimits
from node.net.port import NetSettings as NetSettings
from node.net.port import Network as Network
from node.net.port import NetworkStopped as NetworkStopped
from node.net.port import PeerConnected as PeerConnected
from node.net.port import PeerDisconnected as PeerDisconnected
from node.net.port import PeerId as PeerId
from node.net.port import PeerInfo as PeerInfo
from node.net.port import PeerUnreachable as PeerUnreachable
from node.net.port import ProtocolUnsupported as ProtocolUnsupported
from node.net.port import Stream as Stream
