"""What gateways declare of frozen operators is kept as the last one of each says, on both databases."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import permutations
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, event, select

from center_node.frozen import FrozenOperators, frozen_operators, read_frozen
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.provision.v1.frozen_pb2 import DeclaredOperator, DeclareFrozenRequest
from jukinet._pb.jukinet.provision.v1.provision_pb2 import Ticket
from jukinet.mesh.errors import Refused
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.migrate import REGISTER, migrate
from jukinet.store.writer import Writer

AGENCY = "spiffe://agencies.jukinet/agency/pension-service"
FIRST, SECOND = (f"spiffe://operators.jukinet/operator/{name}" for name in ("first", "second"))


class Center:
    """What a center keeps of the freezes; it can be started again."""

    def __init__(self, engine: Engine, reader: Engine, writer: Writer) -> None:
        self.engine, self.reader, self.writer = engine, reader, writer
        self.gateways = [f"spiffe://nodes.jukinet/gateway/{uuid4()}" for _ in range(2)]
        self.restart()

    def restart(self) -> None:
        self.frozen = FrozenOperators(self.reader, self.writer, token_key=bytes(32))

    async def declare(self, number: int, *operators: str, gateway: int = 0, known: bool = True) -> bool:
        declared = [
            DeclaredOperator(
                agency=AGENCY,
                operator_pseudonym=each.encode().ljust(32),
                operator=each if known else "",
                detector=1,  # type: ignore[arg-type]  # number of an enum
            )
            for each in operators
        ]
        request = DeclareFrozenRequest(number=number, frozen=declared)
        return (await self.frozen.declare(self.gateways[gateway], request)).taken

    def free(self, *operators: str) -> list[str]:
        """Those of them who may ask."""
        free = []
        for each in operators:
            with suppress(Refused):
                self.frozen.require_free(Ticket(agency=AGENCY, operator=each))
                free.append(each)
        return free

    def rows(self) -> list[Any]:
        with self.reader.connect() as connection:
            return [each for each in read_frozen(connection) if each.gateway in self.gateways]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    url = f"sqlite:///{tmp_path_factory.mktemp('center')}/register.db"
    if request.param == "postgresql":
        server = request.getfixturevalue("postgresql_server")
        server.create("frozen")
        url = server.url("frozen")
    engine, reader = open_writer(url), open_reader(url)
    migrate(engine, REGISTER)
    writer = Writer(engine)
    yield engine, reader, writer
    writer.close()
    reader.dispose()
    engine.dispose()


@pytest.fixture
def center(engines: Any) -> Iterator[Center]:
    made = Center(*engines)
    yield made
    with made.engine.begin() as connection:
        connection.execute(frozen_operators.delete())


async def test_a_declaration_takes_the_place_of_the_gateways_last_one_over_restarts_too(center: Center) -> None:
    everybody = ("op-1", "op-2", "op-3")
    assert center.free(*everybody) == [*everybody]
    await center.declare(1, "op-1", "op-2")
    await center.declare(1, "op-3", gateway=1)
    assert center.free(*everybody) == []
    await center.declare(2, "op-2")
    for _ in range(2):
        assert center.free(*everybody) == ["op-1"]
        center.restart()
    await center.declare(1)
    assert center.free(*everybody) == ["op-1", "op-2"]
    await center.declare(1, gateway=1)
    assert center.free(*everybody) == [*everybody]
    assert center.rows() == []


@pytest.mark.parametrize("order", list(permutations(range(1, 5))))
async def test_in_whatever_order_declarations_come_the_last_one_that_was_made_stands(
    center: Center, order: tuple[int, ...]
) -> None:
    made = {1: ("op-1",), 2: (), 3: ("op-1", "op-2"), 4: ("op-2",)}
    taken = [number for number in order if await center.declare(number, *made[number])]
    assert taken == [number for place, number in enumerate(order) if number == max(order[: place + 1])]
    assert center.free("op-1", "op-2") == ["op-1"]


async def test_the_same_again_writes_nothing_and_keeps_since_when(center: Center) -> None:
    await center.declare(1, "op-1")
    before, written = center.rows(), list[str]()

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.lstrip().upper().startswith("SELECT"):
            written.append(statement)

    event.listen(center.engine, "before_cursor_execute", note)
    try:
        assert await center.declare(2, "op-1")
    finally:
        event.remove(center.engine, "before_cursor_execute", note)
    assert (written, center.rows()) == ([], before)
    await center.declare(3, "op-1", "op-2")
    assert [each.declared_at for each in center.rows()][:1] == [before[0].declared_at]


async def test_whom_a_gateway_does_not_know_by_id_any_more_stays_who_he_was(center: Center) -> None:
    await center.declare(1, "op-1")
    await center.declare(2, "op-1", "op-2", known=False)
    center.restart()
    assert center.free("op-1", "op-2", "") == ["op-2", ""]
    assert len(center.rows()) == 2
    await center.declare(1)
    assert center.free("op-1") == ["op-1"]


async def test_what_one_gateway_declared_is_forgotten_by_two_operators(center: Center) -> None:
    lost, other = center.gateways
    await center.declare(1, "op-1")
    await center.declare(1, "op-2", gateway=1)
    assert await center.frozen.forget(lost, FIRST) == (FIRST, False)
    with pytest.raises(Refused) as caught:
        await center.frozen.forget(lost, FIRST)
    assert caught.value.reason == errors.ERROR_REASON_SECOND_OPERATOR_NEEDED
    assert center.free("op-1", "op-2") == []
    assert await center.frozen.forget(lost, SECOND) == (FIRST, True)
    assert center.free("op-1", "op-2") == ["op-1"]
    assert [each.gateway for each in center.rows()] == [other]
    with pytest.raises(Refused) as caught:
        await center.frozen.forget(lost, FIRST)
    assert caught.value.reason == errors.ERROR_REASON_OPERATOR_NOT_FROZEN


async def test_an_operator_of_the_same_name_in_another_agency_is_another_one(center: Center) -> None:
    await center.declare(1, "op-1")
    center.frozen.require_free(Ticket(agency=f"{AGENCY}-2", operator="op-1"))
    with center.reader.connect() as connection:
        assert b"op-1" not in connection.scalars(select(frozen_operators.c.operator)).one()
