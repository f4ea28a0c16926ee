"""Wires and runs: command line, configuration, composition root, server."""
