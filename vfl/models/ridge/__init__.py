"""The joint ridge, solved from secure moments."""
