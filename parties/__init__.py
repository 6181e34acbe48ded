"""Everything that touches the world: nodes, transports, data, coordinator, ledger, audit."""

__all__ = ["__version__"]

__version__ = "0.1.0"
