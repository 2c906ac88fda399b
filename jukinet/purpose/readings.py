"""What entries of a ledger may stand for: the questions that can have been asked, as a gateway puts them to the law.

Rule: nothing is guessed. Where an entry does not say how a person was named, what was wanted or whether a seal was, it
stands for every question that it can have been. Where many persons are decided as one, all entries of the message are
read together.

What no entry says:

- In layout 1, how the person was named and, unless something was provided, which items were wanted.
- Of a message that was refused as a whole, how its other persons were named; of a list begun, how any of them was.
- Which items a list has whose changes were refused.
- Whether a seal (封印) was wanted, where nobody was found or the question was refused.
- On which day a recall of a sealed answer was acknowledged (`jukinet.purpose.replay`).
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, permutations
from typing import Final, NamedTuple, TypeAlias

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.purpose.kinds import NOT_READ

Method: TypeAlias = inquiry.InquiryMethod.ValueType
Fields: TypeAlias = tuple[inquiry.IdentityField.ValueType, ...]

SEALABLE: Final = frozenset({ledger.ACTION_INQUIRE, ledger.ACTION_VERIFY_IDENTITY, ledger.ACTION_INQUIRE_BATCH})

_ITEMS: Final = inquiry.INQUIRY_METHOD_FOUR_ITEMS
_NUMBER: Final = inquiry.INQUIRY_METHOD_INDIVIDUAL_NUMBER
_ALL_FIELDS: Final = tuple(map(inquiry.IdentityField.ValueType, filter(None, inquiry.IdentityField.values())))
_OF_MANY: Final = frozenset({ledger.ACTION_INQUIRE_BATCH, ledger.ACTION_WATCH})
"""One message of them is about many persons, and is refused if one of them is."""
_NAMES_NOBODY: Final = frozenset({ledger.ACTION_TELL_CHANGE, ledger.ACTION_ACKNOWLEDGE_RECALL})


class Reading(NamedTuple):
    """One way in which a message can have been put to the law: by each method in turn, for the same items."""

    methods: tuple[Method, ...]
    fields: Fields


def messages(entries: Iterable[ledger.Entry]) -> Iterator[list[ledger.Entry]]:
    """The entries of each message; those of one stand together in the ledger, under the same proof of an operator."""

    def message(entry: ledger.Entry) -> object:
        if entry.action in _OF_MANY and entry.operator_proof:
            return entry.action, entry.agency, entry.operator_proof
        return object()  # equal to no other

    for _, together in groupby(entries, key=message):
        yield list(together)


def readings(message: Sequence[ledger.Entry]) -> Iterator[Reading]:
    """The ways in which a message can have been put to the law.

    Args:
        message: its entries, of an action of `kinds.KINDS` that takes nothing away.
    """
    for methods in _methods(message):
        for fields in _fields(message[0]):
            yield Reading(methods, fields)


def _methods(message: Sequence[ledger.Entry]) -> Iterator[tuple[Method, ...]]:
    first = message[0]
    if first.action in _NAMES_NOBODY:
        yield (NOT_READ,)
        return
    # The gateway asks the law before it knows how the persons of handles were named, the center afterwards.
    before = (NOT_READ,) if first.action == ledger.ACTION_WATCH else ()
    for named in _named(message):
        yield before + named


def _named(message: Sequence[ledger.Entry]) -> Iterator[tuple[Method, ...]]:
    """How the persons of a message can have been named, in the order in which the law was asked."""
    first = message[0]
    said = _said(message)
    if said and (first.action not in _OF_MANY or _is_whole(message)):
        yield said
        return
    yield from [said] if said else [(_ITEMS,), (_NUMBER,)]
    if first.action in _OF_MANY:
        # The four items are refused only where the number is too: if they were refused, no number came before them.
        yield from [(_ITEMS, _NUMBER)] if _is_refused(first) else permutations((_ITEMS, _NUMBER))


def _said(message: Sequence[ledger.Entry]) -> tuple[Method, ...]:
    """How the entries say that persons were named; empty where one does not say it."""
    first = message[0]
    if first.action == ledger.ACTION_VERIFY_IDENTITY:
        return (_ITEMS,)
    if first.refusal == errors.ERROR_REASON_METHOD_NOT_ALLOWED:
        return (_NUMBER,)  # the four items are a method of every row
    methods = tuple(dict.fromkeys(inquiry.InquiryMethod.ValueType(entry.method) for entry in message))
    return methods if all(methods) else ()


def _is_whole(message: Sequence[ledger.Entry]) -> bool:
    """Whether all persons of a message have an entry here: those of one that was refused as a whole share one."""
    if _is_refused(message[0]) and message[0].action == ledger.ACTION_WATCH:
        return False
    return bool(message[0].operator_proof)


def _fields(entry: ledger.Entry) -> Iterable[Fields]:
    # More items are refused sooner and never later: if the fewest and the most come out the same, all others do.
    fewest_and_most: tuple[Fields, Fields] = (), _ALL_FIELDS
    if entry.version > 1:
        unsaid = entry.action == ledger.ACTION_TELL_CHANGE and _is_refused(entry) and not entry.wanted
        return fewest_and_most if unsaid else (_numbers(entry.wanted),)
    if entry.action == ledger.ACTION_VERIFY_IDENTITY or entry.result == ledger.RESULT_PROVIDED:
        return (_numbers(entry.fields),)
    return fewest_and_most


def _numbers(fields: Iterable[int]) -> Fields:
    return tuple(map(inquiry.IdentityField.ValueType, fields))


def _is_refused(entry: ledger.Entry) -> bool:
    return entry.result == ledger.RESULT_REFUSED
