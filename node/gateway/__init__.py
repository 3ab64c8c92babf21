"""HTTP for readers: an HTTP/1.1 server of our own, worker processes, and their way back to the daemon."""
