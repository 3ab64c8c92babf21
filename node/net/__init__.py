"""The network room: the only place that knows libp2p. Everything else knows its port, `node.net.port`."""
