"""Evidence packs: one signed file that says what a run did, checked offline and read by a committee or a regulator."""
