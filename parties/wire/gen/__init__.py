"""Code generated from the .proto files; see parties.wire.generate."""
