"""Every command of `jukinet`, as help shows them, for the tests that call them in their own process."""

from jukinet.cli.app import build

app = build()
