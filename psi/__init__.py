"""Entity alignment: private set intersection over ristretto255."""
