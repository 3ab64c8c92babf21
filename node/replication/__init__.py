"""Carries out what the federation core decides: heads, fetches and publishes over streams, into the store."""
