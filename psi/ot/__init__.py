"""Entity alignment by oblivious transfer: fixed-key AES and few group operations, for sets of millions."""
