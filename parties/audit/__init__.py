"""The audit log: a Merkle tree of what this node did, with heads that others hold it to."""
