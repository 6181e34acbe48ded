"""A party's own data: connectors and the point-in-time panel."""
