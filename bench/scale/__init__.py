"""How the federation fares with many nodes, many sites and many years: a simulator of `node.core.keeping`."""
