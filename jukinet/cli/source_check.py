"""Whether what an answer says of its source is the center's word, for who asks a gateway (最新性の証明)."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jukinet.cli.layout import Mesh
from jukinet.cli.output import Exit, Failure, tell

if TYPE_CHECKING:
    from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import Freshness

FreshnessKey = Annotated[
    Path | None,
    typer.Option(
        "--freshness-key",
        metavar="FILE",
        help="The center's public key, by which the answer's word of its source is checked; with --mesh the one there.",
    ),
]


class SourceCheck:
    """One question's check, begun before it is sent.

    Args:
        mesh: folder of the mesh, whose key is taken where none is given.
        key: file of the center's public key.
    Raises Failure: the file is not such a key.
    """

    def __init__(self, mesh: Path | None, key: Path | None) -> None:
        from jukinet.mesh.pki import PkiError, load_public_key

        file = key or (Mesh.open(mesh).freshness_key if mesh else None)
        try:
            self._key = load_public_key(file) if file else None
        except PkiError as error:
            raise Failure(str(error), Exit.CONFIGURATION) from None
        self._asked_us = time.time_ns() // 1000

    def require(self, said: "Iterable[Freshness]", *, municipality: str) -> None:
        """Makes sure that the center said so, of this municipality (empty: of any), when it was asked.

        Raises:
            Failure: it did not, and the answer is not to be used.
        """
        from jukinet.purpose.freshness import objection_to

        if self._key is None:
            tell("Nobody checked that the center said how fresh this is: give its key by --freshness-key FILE.")
            return
        now_us = time.time_ns() // 1000
        wrong = objection_to(said, self._key, municipality=municipality, asked_us=self._asked_us, now_us=now_us)
        if wrong:
            raise Failure(
                f"The answer is on record but not to be used: of how fresh it is, {wrong}. Tell whoever runs the "
                "gateway.",
                Exit.REFUSED,
            )
