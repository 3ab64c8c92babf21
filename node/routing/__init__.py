"""Who has a block and what a name stands for, asked of DHT, peers and routers (docs/spec/routing.md)."""
