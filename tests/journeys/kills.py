"""The kill campaign: nodes die by SIGKILL, at random moments and at each named place of the program, under load.

A blow has two halves. A node is killed at a moment of chance; it starts again armed with a place
(`jukinet/mesh/failpoints.py`), dies there by itself at the N-th passing, and starts once more.
"""

import asyncio
import os
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from random import Random

from jukinet.mesh.failpoints import PLACES, VARIABLE
from tests.journeys.judges import changes_in, end_and_judge
from tests.journeys.load import GATEWAY, MUNICIPALITIES, SECONDS, Clients, Life, Network, under_load

ROLES = {
    "center": ["center"],
    "prefecture": ["prefecture-130001", "prefecture-140007"],
    "municipality": [f"municipality-{code}" for code in MUNICIPALITIES],
    "gateway": [GATEWAY],
}
_PARTS = {
    "center": ("writer", "apply", "link"),
    "prefecture": ("writer", "apply", "link", "uplink"),
    "municipality": ("writer", "intake", "uplink"),
    "gateway": ("writer", "ledger", "publish"),
}
# Passed once a stream, and a node that was started has one stream with each neighbour.
_ONCE = {"link.hello", "link.registered", "link.welcomed", "uplink.dialled", "uplink.welcomed"}
_PASSINGS = {"intake": 12, "writer": 12, "ledger": 12, "apply": 4, "link": 4, "uplink": 4, "publish": 3}
"""Largest N, by part: a link has some messages a second, and none while a neighbour is down; a ledger
is published once in one."""
_DEATH_SECONDS = 3 * SECONDS
"""For a start, for neighbours that wait up to 20 s before they dial again, at both hops, and for N passings."""
DOWN_AT_ONCE = 2
RANDOM = "random"


def places_of(role: str) -> list[str]:
    """The named places that nodes of a role pass."""
    return [place for place in PLACES if place.partition(".")[0] in _PARTS[role]]


class Killer:
    """Kills nodes and starts them again; counts what it did by role and place."""

    def __init__(self, network: Network, random: Random) -> None:
        self.network = network
        self.random = random
        self.killed: dict[str, Counter[str]] = {role: Counter() for role in ROLES}
        self.restart_seconds: list[float] = []
        self._down = asyncio.Semaphore(DOWN_AT_ONCE)
        self._in_hand: set[str] = set()

    def plan(self, role: str, blows: int) -> list[str]:
        """A place for each blow: every place of the role, again and again, in a random order."""
        places = places_of(role)
        rounds = [self.random.sample(places, len(places)) for _ in range(blows // len(places) + 1)]
        return [place for each in rounds for place in each][:blows]

    async def torment(self, role: str, blows: int, done: Callable[[], int]) -> None:
        """Deals a node of a role so many blows; `done` counts work that is done with the help of that role."""
        for place in self.plan(role, blows):
            name = self.random.choice(ROLES[role])
            before = done()
            async with self._down:
                self._in_hand.add(name)
                self.network.nodes.kill(name)
                self.killed[role][RANDOM] += 1
                await self._die_at(place, name)
                self.killed[role][place] += 1
                self.network.nodes.start(name)
                self._in_hand.remove(name)
                if self.random.random() < 0.2:
                    # The next blow may hit it before it is up.
                    await asyncio.sleep(self.random.uniform(0, 2.0))
                    continue
                started = time.monotonic()
                await self.network.nodes.wait_healthy([name], seconds=SECONDS)
                self.restart_seconds.append(time.monotonic() - started)
            async with asyncio.timeout(_DEATH_SECONDS):
                while done() <= before:
                    await self._look_after_others()
                    await asyncio.sleep(0.1)
            await asyncio.sleep(self.random.choice((0.0, self.random.uniform(0, 0.6))))

    async def _die_at(self, place: str, name: str) -> None:
        """Starts a node that ends itself at a place, and waits until it has."""
        passing = 1 if place in _ONCE else self.random.randint(1, _PASSINGS[place.partition(".")[0]])
        nodes = self.network.nodes
        nodes.start(name, {VARIABLE: f"{place}:{passing}:{os.getpid()}"})
        try:
            async with asyncio.timeout(_DEATH_SECONDS):
                while nodes.is_running(name):
                    await self._look_after_others()
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"{name} passed {place} less than {passing} times in {_DEATH_SECONDS:g} s") from None
        assert nodes.exit_code(name) == -signal.SIGKILL, f"{name} ended with {nodes.exit_code(name)} before {place}"

    async def _look_after_others(self) -> None:
        """Raises NodeDied for a node that ended by itself though nobody armed it."""
        nodes = self.network.nodes
        for name in self.network.mesh.names:
            if name not in self._in_hand and not nodes.is_running(name):
                await nodes.wait_healthy([name])


async def run_campaign(
    network: Network,
    folder: Path,
    *,
    seed: int,
    blows: int,
    changes: int = 0,
    residents: int = 1500,
    roles: Collection[str] = frozenset(ROLES),
) -> dict[str, object]:
    """Torments a network of three municipalities under load, and judges what is left of it.

    Args:
        network: nothing of it runs yet; all of it has ended when this returns.
        folder: for files of this campaign.
        seed: of the nation, the clients and the blows.
        blows: for each role; each is two kills.
        changes: so many are to be acknowledged at least.
        residents: of the nation in the beginning.
        roles: whose nodes are killed.

    Returns:
        What was done and found, for a line of the results; all promises but `lost`, `doubled`, `reordered` were held.
    """
    random, began = Random(seed), time.monotonic()
    life = Life(folder / "life", seed, residents)
    clients = Clients(network, life, seed)
    systems, agencies = clients.systems, clients.agencies
    killer = Killer(network, random)
    arrived = partial(changes_in, network.mesh.config("center").database)

    work: dict[str, Callable[[], int]] = {
        "municipality": lambda: clients.acknowledged,
        "prefecture": arrived,
        "center": arrived,
        "gateway": lambda: sum(len(agency.answers) for agency in clients.pension),
    }
    async with network.nodes:
        network.nodes.start_all()
        await network.nodes.wait_healthy(seconds=SECONDS)
        await asyncio.gather(*(systems[code].report(entries) for code, entries in life.residents.items()))
        async with under_load(life, systems, agencies, random):
            async with asyncio.TaskGroup() as group:
                for role in roles:
                    group.create_task(killer.torment(role, blows, work[role]))
            await network.nodes.wait_healthy(seconds=SECONDS)
            while clients.acknowledged < changes:
                await asyncio.sleep(0.5)
        verdict = await end_and_judge(network, life.nation, clients, folder)
    restarts = statistics.quantiles(killer.restart_seconds, n=100)
    return {
        "seed": seed,
        "kills": {role: killed.total() for role, killed in killer.killed.items()},
        "places": dict(sorted(sum(killer.killed.values(), Counter()).items())),
        "acknowledged": clients.acknowledged,
        **{name: verdict[name] for name in ("lost", "doubled", "reordered")},
        "streams_broken": sum(system.broken_streams for system in systems.values()),
        "answered_again": sum(system.repeated for system in systems.values()),
        "questions": sum(len(agency.answers) + len(agency.refusals) for agency in agencies),
        "unanswered": sum(len(agency.unanswered) for agency in agencies),
        "restart_seconds_p50": round(restarts[49], 2),
        "restart_seconds_p99": round(restarts[98], 2),
        "seconds": round(time.monotonic() - began),
    }
