"""Notices to publishers: what is or will be refused, until when the data is kept, and what becomes of appeals."""
