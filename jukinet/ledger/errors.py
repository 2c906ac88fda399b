"""What can go wrong with a ledger, and what to do then. Each class's docstring is its message."""


class LedgerError(Exception):
    """The ledger refused."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(" ".join(f"{type(self).__doc__} {detail}".split()))


class EntryInvalid(LedgerError):
    """The entry breaks the layout of the ledger, so nothing was written: correct the field that is named."""


class NoteInvalid(LedgerError):
    """The signed note is malformed, or its signature is not by the expected key: do not trust it; fetch it again."""


class ProofImpossible(LedgerError):
    """No such proof exists: the index must lie below the tree size, and an old size may not exceed a new one."""


class LedgerDiverged(LedgerError):
    """The database holds another tree than this writer: nothing was signed. Stop the other writer and load again."""


class LedgerContradicted(LedgerError):
    """A witness holds a checkpoint that this ledger signed and this database does not lead to: it was put back, or its
    key signs elsewhere. Nothing is answered. Follow the runbook of a ledger that its witnesses contradict."""


class WitnessRetired(LedgerError):
    """This witness's key and database do not belong together: it could cosign two trees of one ledger. Do not start it
    again: give a new witness a new key and an empty database, and let the gateways name that one."""


class LedgerCorrupt(LedgerError):
    """The ledger on disk is not the one that was signed: nothing is signed any more. Keep the disk as evidence and
    follow the ledger runbook."""

    def __init__(self, detail: str, *, first_bad_index: int | None = None) -> None:
        super().__init__(detail)
        self.first_bad_index = first_bad_index


class BodyUnreadable(LedgerError):
    """A sealed body cannot be opened with what was given."""
