"""Watches what operators of agencies ask: who guesses, and whom many look at (不審な照会の検知).

Rules, over one day in Japan; 1 to 3 over its answers:

1. misses: of an operator's last fifty answers more than a fifth name nobody, or of the last 256 persons of his batches
   (一括提供), which count for themselves. The miss that is one too many is found at once, be it his eleventh answer of
   the day, for no later answer takes it back. Whoever has a case in hand knows whom he asks about, and who keeps a list
   has most of it right; whoever guesses numbers or tries names does not. Where nothing is provided because the source
   is not fresh, the center says what it found: a miss is who was looked up and is not there.
2. crowd: five operators, of any agencies, were told of one person. So it was with the famous, and with the sick.
3. case: an agency asked about more than fifty different persons, one at a time, under one case. What stands for
   everything is no case. Whether one is live nobody but the agency knows. Batches do not count: that many persons stand
   under one affair is what they are for, and their own budget bounds them.
4. outside: more than ten times an operator named an address of which his row tells his agency nothing, whether it would
   have been answered or not.

Whoever goes on after 1, 3 or 4 found something is found again after as much once more.

What follows stands in the directory, by agency: the operator is frozen, or the network is alarmed. 1 to 3 see nothing
but entries of the ledger, so all is known again after a restart; only who was asked about before is not, so he counts
for his case once more (who was asked about under seal does not), and what was found where nothing was provided, which
counts no more. Whose a sealed entry (封印) of before was is known when somebody is told of the person again, by the tag
beside it and the key that came with that answer. An entry says nothing of the address: 4 begins anew.

Nothing here knows an operator, a case or a person by more than stand-ins.

Source: docs/threat-model.md, threats 14 to 16; docs/decisions/0086-the-center-says-who-was-missed.md; the browsing of
registers of 2004, 2015, 2021 and 2022.
"""

from collections import Counter, defaultdict, deque
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Literal, NamedTuple

from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet.ledger.seal import crowd_tag
from jukinet.mesh.clock import JAPAN

Detector = Literal["misses", "crowd", "case", "outside"]

WINDOW: Final = 50
"""Answers of an operator that are looked at together."""
BATCH_WINDOW: Final = 256
"""Persons of his batches that are, a full message: some fifty in a row of a hundred thousand are missed often."""
MOST_MISSES: Final = 1 / 5
"""Of either."""
CROWD: Final = 5
"""Operators who were told of one person."""
MOST_OF_A_CASE: Final = 50
"""Different persons under one case: the heirs of three generations are fewer."""
MOST_OUTSIDE: Final = 10
"""Persons whom an operator looked for where his agency may hear of nobody."""
_ANSWERED: Final = {ledger.RESULT_PROVIDED, ledger.RESULT_NO_SINGLE_MATCH, ledger.RESULT_NOT_PROVIDED}

MOST_SEALED: Final = 1000
"""Sealed entries of before a restart that are tried with each key, the latest ones: in one or two milliseconds."""


class Seen(NamedTuple):
    """An entry that is in the ledger, and what is known beside it."""

    entry: ledger.Entry
    crowd_key: bytes = b""
    """The person's key of the day, as it came with the answer; empty where nobody can be known again."""
    crowd_tag: bytes = b""
    """Of a sealed entry that was made before a restart: what stands beside it. Its person token says nothing."""
    look_up: "provision.LookUp.ValueType" = provision.LOOK_UP_UNSPECIFIED
    """What the center found, as it came with the answer: an entry where nothing is provided says the same of all."""
    known_under_seal: bool = False
    """Whether a sealed question was about somebody whom the agency asked about under seal before today: its entry says
    the same of all. Of one of before a restart nobody knows, so it counts for no case."""


class Finding(NamedTuple):
    """An operator who asked what nobody should."""

    detector: Detector
    agency: str
    operator: bytes
    """His pseudonym."""
    request_id: str = ""
    """Of the entry that brought it to light."""


class _Misses:
    """Which of an operator's last answers named nobody, by their number, as many as are too many.

    Args:
        window: answers that are looked at together.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._too_many = int(window * MOST_MISSES) + 1
        self._answers = 0
        self._last: deque[int] = deque(maxlen=self._too_many)

    def is_over(self, missed: bool) -> bool:
        """Counts an answer; whether too many name nobody. Then the count begins anew."""
        self._answers += 1
        if not missed:
            return False
        self._last.append(self._answers)
        if len(self._last) < self._too_many or self._answers - self._last[0] >= self._window:
            return False
        self._last.clear()
        return True


class Detectors:
    """What was seen today."""

    def __init__(self) -> None:
        self._begin(0)

    def see(self, seen: Seen) -> list[Finding]:
        """Looks at an entry that is in the ledger; gives what it brought to light."""
        found: list[Finding] = []
        entry = seen.entry
        result, action = entry.result, entry.action
        if result not in _ANSWERED or not entry.operator_proof:
            return found
        if action == ledger.ACTION_TELL_CHANGE:  # nobody is guessed at by taking what changed
            return found
        self._turn_to(entry.time.seconds)
        who, request_id = (entry.agency, entry.operator_pseudonym), entry.request_id
        case = entry.agency, entry.case_commitment
        if _is_about_another(seen) and self._is_over(self._cases, case, 1, MOST_OF_A_CASE):
            found.append(Finding("case", *who, request_id))
        if result == ledger.RESULT_NOT_PROVIDED and not seen.look_up:
            return found  # nobody was looked up
        misses = self._batch_misses if action == ledger.ACTION_INQUIRE_BATCH else self._misses
        if misses[who].is_over(_is_miss(seen)):
            found.append(Finding("misses", *who, request_id))
        if seen.crowd_tag:
            self._sealed.append((request_id, seen.crowd_tag, who[1]))
        elif result == ledger.RESULT_PROVIDED and (token := entry.person_token):
            for operator in self._known_again(seen.crowd_key):
                self._tell(token, operator)
            if self._tell(token, who[1]) >= CROWD:
                found.append(Finding("crowd", *who, request_id))
        return found

    def see_outside(self, agency: str, operator: bytes, request_id: str, persons: int, seconds: int) -> list[Finding]:
        """Looks at a question that is about to be answered, by how many persons it looks for outside."""
        self._turn_to(seconds)
        if not self._is_over(self._outside, (agency, operator), persons, MOST_OUTSIDE):
            return []
        return [Finding("outside", agency, operator, request_id)]

    @staticmethod
    def _is_over(counts: Counter[tuple[str, bytes]], key: tuple[str, bytes], persons: int, most: int) -> bool:
        """Counts persons; whether they are more than there may be. Then the count begins anew."""
        counts[key] += persons
        if counts[key] <= most:
            return False
        del counts[key]
        return True

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

    def _turn_to(self, seconds: int) -> None:
        if seconds >= self._ends:
            self._begin(seconds)

    def _begin(self, seconds: int) -> None:
        day = datetime.fromtimestamp(seconds, JAPAN).replace(hour=0, minute=0, second=0)
        self._ends = (day + timedelta(days=1)).timestamp()
        """When the day in Japan is over, in seconds since 1970."""
        self._misses: defaultdict[tuple[str, bytes], _Misses] = defaultdict(partial(_Misses, WINDOW))
        self._batch_misses: defaultdict[tuple[str, bytes], _Misses] = defaultdict(partial(_Misses, BATCH_WINDOW))
        self._told: dict[bytes, tuple[bytes, ...]] = {}
        self._cases: Counter[tuple[str, bytes]] = Counter()
        self._outside: Counter[tuple[str, bytes]] = Counter()
        self._sealed: deque[tuple[str, bytes, bytes]] = deque(maxlen=MOST_SEALED)
        """Request id, tag and operator of sealed entries of before a restart."""


def _is_about_another(seen: Seen) -> bool:
    """Whether a question is about one person more than its agency asked about today."""
    return seen.entry.new_subject and not seen.known_under_seal


def _is_miss(seen: Seen) -> bool:
    """Whether nobody is there; an answer that nothing is provided is none where only the record is too old."""
    if seen.entry.result == ledger.RESULT_NOT_PROVIDED:
        return seen.look_up == provision.LOOK_UP_NOBODY
    return seen.entry.result == ledger.RESULT_NO_SINGLE_MATCH
