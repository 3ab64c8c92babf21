"""Publishing: from a folder to blocks, from blocks to a bundle or to nodes. The verbs only talk to people."""
