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


class LedgerCorrupt(LedgerError):
    """The ledger on disk is not the one that was signed: nothing is signed any more. Keep the disk as evidence and
    follow the ledger runbook."""

    def __init__(self, detail: str, *, first_bad_index: int | None = None) -> None:
        super().__init__(detail)
        self.first_bad_index = first_bad_index
