"""Watches what operators of agencies ask: who guesses, and whom many look at (不審な照会の検知).

Rules, over the answers of one day in Japan:

1. misses: of an operator's last fifty answers more than a fifth name nobody. Whoever has a case in hand knows whom he
   asks about; whoever guesses numbers or tries names does not.
2. crowd: five operators, of any agencies, were told of one person. So it was with the famous, and with the sick.

What follows stands in the directory, by agency: the operator is frozen, or the network is alarmed. All is seen in
entries of the ledger, so it is known again after a restart. Whose a sealed one (封印) of before it was is known when
somebody is told of the person again, by the tag beside it and the key that came with that answer.

Nothing here knows an operator or a person by more than stand-ins. Whether a case is live nobody but the agency knows;
that a case is named the contract demands.

Source: docs/threat-model.md, threats 14 to 16; the browsing of registers of 2004, 2015, 2021 and 2022.
"""

from collections import defaultdict, deque
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import INQUIRY_METHOD_INDIVIDUAL_NUMBER
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.ledger.seal import crowd_tag
from jukinet.mesh.clock import JAPAN

Detector = Literal["misses", "crowd"]

WINDOW: Final = 50
"""Answers of an operator that are looked at together."""
MOST_MISSES: Final = WINDOW // 5
CROWD: Final = 5
"""Operators who were told of one person."""
_NOBODY: Final = (
    {ledger.RESULT_NO_SINGLE_MATCH},
    # Whoever guesses a number while any municipality is behind hears this, and never "no match"; who is found is named.
    {ledger.RESULT_NO_SINGLE_MATCH, ledger.RESULT_NOT_PROVIDED},
)
"""Results that name nobody: of a question by the four items, of one by number."""


MOST_SEALED: Final = 1000
"""Sealed entries of before a restart that are tried with each key, the latest ones: in one or two milliseconds."""


class Seen(NamedTuple):
    """An entry that is in the ledger, and what is known beside it."""

    entry: ledger.Entry
    crowd_key: bytes = b""
    """The person's key of the day, as it came with the answer; empty where nobody can be known again."""
    crowd_tag: bytes = b""
    """Of a sealed entry that was made before a restart: what stands beside it. Its person token says nothing."""


class Finding(NamedTuple):
    """An operator who asked what nobody should."""

    detector: Detector
    agency: str
    operator: bytes
    """His pseudonym."""
    request_id: str = ""
    """Of the entry that brought it to light."""


class Detectors:
    """What was seen today."""

    def __init__(self) -> None:
        self._begin(0)

    def see(self, seen: Seen) -> list[Finding]:
        """Looks at an entry that is in the ledger; gives what it brought to light."""
        found: list[Finding] = []
        entry = seen.entry
        provided = entry.result == ledger.RESULT_PROVIDED
        named_nobody = not provided and entry.result in _NOBODY[entry.method == INQUIRY_METHOD_INDIVIDUAL_NUMBER]
        if not entry.operator_proof or not (named_nobody or provided):
            return found
        if entry.action == ledger.ACTION_TELL_CHANGE:  # nobody is guessed at by taking what changed
            return found
        if (seconds := entry.time.seconds) >= self._ends:
            self._begin(seconds)
        who, request_id = (entry.agency, entry.operator_pseudonym), entry.request_id
        answers = self._answers[who]
        answers.append(named_nobody)
        if len(answers) == WINDOW and sum(answers) > MOST_MISSES:
            answers.clear()
            found.append(Finding("misses", *who, request_id))
        if seen.crowd_tag:
            self._sealed.append((request_id, seen.crowd_tag, who[1]))
        elif provided and (token := entry.person_token):
            for operator in self._known_again(seen.crowd_key):
                self._tell(token, operator)
            if self._tell(token, who[1]) >= CROWD:
                found.append(Finding("crowd", *who, request_id))
        return found

    def _tell(self, person_token: bytes, operator: bytes) -> int:
        """Notes who was told of a person; gives how many were, 0 where this one was already."""
        told = self._told.get(person_token, ())
        if operator in told:
            return 0
        told = self._told[person_token] = (*told[:CROWD], operator)
        return len(told)

    def _known_again(self, key: bytes) -> list[bytes]:
        """Who was told of the person of a key before the restart, by sealed entries; each is known again once."""
        if not key or not self._sealed:
            return []
        known = [each for each in self._sealed if crowd_tag(key, each[0]) == each[1]]
        for each in known:
            self._sealed.remove(each)
        return [operator for _, _, operator in known]

    def _begin(self, seconds: int) -> None:
        day = datetime.fromtimestamp(seconds, JAPAN).replace(hour=0, minute=0, second=0)
        self._ends = (day + timedelta(days=1)).timestamp()
        """When the day in Japan is over, in seconds since 1970."""
        self._answers: defaultdict[tuple[str, bytes], deque[bool]] = defaultdict(lambda: deque(maxlen=WINDOW))
        self._told: dict[bytes, tuple[bytes, ...]] = {}
        self._sealed: deque[tuple[str, bytes, bytes]] = deque(maxlen=MOST_SEALED)
        """Request id, tag and operator of sealed entries of before a restart."""
