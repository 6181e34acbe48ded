"""Everything that touches the world: nodes, transports, data, coordinator, ledger, audit."""
