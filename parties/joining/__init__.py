"""How a party becomes a member: a one-use token, a pinned handshake, and the roster that follows."""
