"""`jukinet agencies`: what the agency directory (提供先の名簿) has to say of an agency."""

import json
from pathlib import Path
from typing import Annotated

import typer

from jukinet.cli.output import Exit, Failure, failures_told, show

app = typer.Typer(no_args_is_help=True, help="The agency directory (提供先の名簿): what stands in it.")


@app.command("key")
def key(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="Certificate, request for one (CSR) or public key, in PEM; of one agency."
        ),
    ],
) -> None:
    """Print the line that lists the keys of an agency's certificates; a certificate for another key gets no answer.

    The old and the new one together, while an agency changes its key. A certificate that is renewed for the same key
    needs no other line.

    Example: jukinet agencies key mesh/clients/agency-pension-service/tls.pem new.csr
    """
    with failures_told():
        from jukinet.mesh.key_digest import NoPublicKey, key_digest_in

        try:
            # A list of plain texts is the same in JSON and in TOML.
            show(f"certificates = {json.dumps(list(dict.fromkeys(map(key_digest_in, files))))}")
        except NoPublicKey as error:
            raise Failure(str(error), Exit.CONFIGURATION) from None
