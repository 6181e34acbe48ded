"""The wire format: protobuf frames and the message codec."""
