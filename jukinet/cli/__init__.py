"""The `jukinet` command: everything that a person or a script does with the network."""

from jukinet.cli.app import main

__all__ = ["main"]
