"""IPFS trees that the operator keeps: taken from CAR files, listed, dropped; and IPNS records of others."""
