"""Options that several commands share: which node to call, and as whom."""

from pathlib import Path
from typing import Annotated

import typer

MeshDirectory = Annotated[
    Path | None, typer.Option("--mesh", metavar="DIR", help="Folder of a mesh on this machine, instead of --to.")
]
To = Annotated[str | None, typer.Option("--to", metavar="HOST:PORT", help="Address of the node.")]
Server = Annotated[
    str | None,
    typer.Option("--server", metavar="URI", help="SPIFFE ID of the node there, where --certificate does not imply it."),
]
Certificate = Annotated[Path | None, typer.Option("--certificate", metavar="FILE", help="Own certificate, PEM.")]
Key = Annotated[Path | None, typer.Option("--key", metavar="FILE", help="Its private key, PEM.")]
NodesCa = Annotated[Path | None, typer.Option("--nodes-ca", metavar="FILE", help="CA of the nodes, PEM.")]
