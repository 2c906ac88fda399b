"""One run: three municipalities in two prefectures and the center, from a seed to its history.

Safety: any fault, and at no moment may a promise be broken. Liveness: faults that heal, by themselves or by a runbook,
end at a moment, and a minute after that and after the last runbook everything must be in step.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jukinet.checker import Judge, Violation
from jukinet.simulate.faults import Faults
from jukinet.simulate.network import Road
from jukinet.simulate.nodes import CENTER, MUNICIPALITIES, PREFECTURES, Node, forget_seals
from jukinet.simulate.observe import rows_of
from jukinet.simulate.offices import Offices
from jukinet.simulate.operators import Operators
from jukinet.simulate.serving import Serving
from jukinet.simulate.timeline import MS, SECOND, Timeline
from jukinet.store.current_rows import look_up

Mode = Literal["safety", "liveness"]

PEOPLE = 6
FAULTS_UNTIL = 20 * SECOND
HEALED_WITHIN = 60 * SECOND
MENDED_WITHIN = 10 * 60 * SECOND
"""Of the run: sound code needs its runbooks for less than a minute; what needs them for ever must come to an end."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one seed did."""

    seed: int
    mode: Mode
    event_hash: str
    violations: tuple[Violation, ...]
    counters: Mapping[str, int]


def run(seed: int, mode: Mode, tell: Callable[[Mapping[str, Any]], None] | None = None) -> Run:
    """Runs one seed to its end. `tell` is given each event of the history, for whoever wants to read it."""
    timeline = Timeline(f"{mode} {seed}")
    judge = Judge()

    def heard(entry: Mapping[str, Any]) -> None:
        if tell:
            tell(entry)
        judge.take(entry)

    timeline.tell = heard
    try:
        _simulate(timeline, mode)
        violations = judge.end()
    except Exception as error:  # whatever the product raises where it must not is a finding of this seed
        violations = [*judge.violations, Violation(0, "", f"the product raised {type(error).__name__}: {error}")]
    return Run(seed, mode, timeline.event_hash, tuple(violations), dict(timeline.counters))


def _simulate(timeline: Timeline, mode: Mode) -> None:
    forget_seals()
    nodes: dict[str, Node] = {}

    def serving(name: str) -> Callable[[], Serving | None]:
        return lambda: nodes[name].listening

    above = {CENTER: "", **dict.fromkeys(PREFECTURES, CENTER), **MUNICIPALITIES}
    for name, neighbour in above.items():
        road = Road(timeline, name, neighbour) if neighbour else None
        nodes[name] = Node(timeline, name, road, serving(neighbour))
        timeline.log("node", node=name, scope=nodes[name].scope, above=neighbour)
    offices = Offices(timeline, {name: nodes[name].ask for name in MUNICIPALITIES}, FAULTS_UNTIL)
    operators = Operators(timeline, nodes, offices)
    for node in nodes.values():
        node.start()
    offices.begin(PEOPLE)
    Faults(timeline, nodes, offices, operators, until=FAULTS_UNTIL, for_people=mode == "safety").begin()
    _look_up(timeline, nodes[CENTER], offices)
    timeline.run(FAULTS_UNTIL)
    if mode == "liveness":
        while (until := max(FAULTS_UNTIL, operators.acted_at) + HEALED_WITHIN) > timeline.now < MENDED_WITHIN:
            timeline.run(until)
        timeline.log("quiet" if until <= timeline.now else "restless")
    else:
        timeline.run(FAULTS_UNTIL + 5 * SECOND)
    for name, node in nodes.items():
        timeline.log("final", node=name, rows=node.disk.read(rows_of))
        node.disk.close()


def _look_up(timeline: Timeline, center: Node, offices: Offices) -> None:
    """A gateway asks the center for one resident after another."""
    if offices.people and center.listening:
        code = timeline.random.choice(offices.people).code
        rows = center.disk.read(lambda connection: look_up(connection, [code]))
        version = rows[code].version if code in rows else 0
        timeline.count("look-up at the center")
        timeline.log("seen", node=CENTER, resident=code, version=version)
    if timeline.now < FAULTS_UNTIL:
        timeline.after(timeline.between(500 * MS, 3 * SECOND), "looks up", lambda: _look_up(timeline, center, offices))
