"""Whether what an answer says of its source is the center's word and enough, for who asks a gateway (最新性の証明)."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jukinet.cli.layout import Mesh
from jukinet.cli.output import Exit, Failure, tell

if TYPE_CHECKING:
    from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import Freshness
    from jukinet.ledger.verify.freshness import Demand

FreshnessKey = Annotated[
    Path | None,
    typer.Option(
        "--freshness-key",
        metavar="FILE",
        help="The center's public key, by which the answer's word of its source is checked; with --mesh the one there.",
    ),
]


class SourceCheck:
    """Checks the answers of one command; made before anything is asked.

    Args:
        mesh: folder of the mesh, whose key is taken where none is given.
        key: file of the center's public key.
    Raises Failure: the file is not such a key.
    """

    def __init__(self, mesh: Path | None, key: Path | None) -> None:
        from jukinet.mesh.pki import PkiError, load_public_key

        file = key or (Mesh.open(mesh).freshness_key if mesh else None)
        if file is None:
            tell("Nobody checks that the center says how fresh this is: give its key by --freshness-key FILE.")
        try:
            self._key = load_public_key(file) if file else None
        except PkiError as error:
            raise Failure(str(error), Exit.CONFIGURATION) from None

    def require(self, said: "Iterable[Freshness]", demand: "Demand", *, asked_us: int) -> None:
        """Makes sure that the center said what is demanded, when it was asked.

        Args:
            said: of the answer.
            demand: as for `objection_to`.
            asked_us: when the question was sent, of `now_us`.
        Raises:
            Failure: it did not, and the answer is not to be used.
        """
        from jukinet.ledger.verify.freshness import objection_to

        if self._key is None:
            return
        wrong = objection_to(said, self._key, demand, asked_us=asked_us, now_us=now_us())
        if wrong:
            raise Failure(
                f"The answer is on record but not to be used: of how fresh it is, {wrong}. Tell whoever runs the "
                "gateway.",
                Exit.REFUSED,
            )


def now_us() -> int:
    """This moment, microseconds since 1970."""
    return time.time_ns() // 1000
