"""Items that wait share a commit, and each hears of its own result."""

import asyncio
from collections.abc import Sequence

import pytest

from jukinet.store import grouping as grouping_module
from jukinet.store.grouping import SPACING, Grouping
from jukinet.store.writer import WriterClosed


class Commits:
    """Commits groups one at a time, each when it is allowed to."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.allowed = asyncio.Semaphore(0)
        self.begun = asyncio.Event()

    async def __call__(self, items: list[int]) -> Sequence[int | Exception]:
        self.groups.append(items)
        self.begun.set()
        await self.allowed.acquire()
        return [KeyError(item) if item < 0 else item * 10 for item in items]


async def test_what_comes_during_a_commit_shares_the_next_up_to_the_limit() -> None:
    commits = Commits()
    grouping: Grouping[int, int] = Grouping(commits, limit=3)
    task = asyncio.create_task(grouping.run())
    first = grouping.hand_in(1)
    await commits.begun.wait()
    others = [grouping.hand_in(item) for item in (2, -3, 4, 5)]
    for _ in range(3):
        commits.allowed.release()
    answers = await asyncio.gather(first, *others, return_exceptions=True)
    assert isinstance(answers.pop(2), KeyError)
    assert answers == [10, 20, 40, 50]
    assert commits.groups == [[1], [2, -3, 4], [5]]
    task.cancel()


async def test_an_item_counts_for_as_many_as_it_holds() -> None:
    commits = Commits()
    grouping: Grouping[int, int] = Grouping(commits, limit=3, size=lambda item: item % 10)
    items = (1, 12, 2, 9, 1, 21, 31)
    answers = [grouping.hand_in(item) for item in items]
    task = asyncio.create_task(grouping.run())
    for _ in items:
        commits.allowed.release()
    assert await asyncio.gather(*answers) == [item * 10 for item in items]
    assert commits.groups == [[1, 12], [2, 9], [1, 21, 31]]
    task.cancel()


async def test_an_item_that_was_cancelled_while_it_waited_is_left_out() -> None:
    commits = Commits()
    grouping: Grouping[int, int] = Grouping(commits)
    task = asyncio.create_task(grouping.run())
    first = grouping.hand_in(1)
    await commits.begun.wait()
    alone = grouping.hand_in(2)
    alone.cancel()
    commits.allowed.release()
    assert await first == 10
    dropped, kept = grouping.hand_in(3), grouping.hand_in(4)
    dropped.cancel()
    commits.allowed.release()
    assert await kept == 40
    assert commits.groups == [[1], [4]]
    task.cancel()


async def test_an_item_that_is_cancelled_during_its_commit_disturbs_nobody() -> None:
    commits = Commits()
    grouping: Grouping[int, int] = Grouping(commits)
    task = asyncio.create_task(grouping.run())
    gone, kept = grouping.hand_in(1), grouping.hand_in(2)
    await commits.begun.wait()
    gone.cancel()
    commits.allowed.release()
    assert await kept == 20
    task.cancel()


@pytest.mark.parametrize("results", [[1], [1, 2, 3], None])
async def test_when_a_commit_fails_every_one_of_the_group_hears_of_it(results: list[int] | None) -> None:
    async def commit(items: list[int]) -> Sequence[int | Exception]:
        if results is None:
            raise OSError
        return results

    grouping: Grouping[int, int] = Grouping(commit)
    task = asyncio.create_task(grouping.run())
    futures = [grouping.hand_in(1), grouping.hand_in(2)]
    answers = await asyncio.gather(*futures, return_exceptions=True)
    assert {type(answer) for answer in answers} == {ValueError if results else OSError}
    task.cancel()


async def turns(count: int = 10) -> None:
    """Lets everything that can go on go on."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_full_groups_begin_while_others_are_under_way_and_one_that_is_not_full_waits_for_all() -> None:
    commits = Commits()
    grouping: Grouping[int, int] = Grouping(commits, limit=3, ahead=4)
    task = asyncio.create_task(grouping.run())
    answers = [grouping.hand_in(item) for item in range(5)]
    await turns()
    assert commits.groups == [[0, 1, 2]]
    answers += [grouping.hand_in(item) for item in range(5, 10)]
    await turns()
    assert commits.groups == [[0, 1, 2], [3, 4, 5]]
    commits.allowed.release()
    await asyncio.gather(*answers[:3])
    await turns()
    assert commits.groups == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    commits.allowed.release()
    await asyncio.gather(*answers[:6])
    await turns()
    assert not answers[9].done()
    assert len(commits.groups) == 3
    for _ in range(2):
        commits.allowed.release()
    assert await asyncio.gather(*answers) == [item * 10 for item in range(10)]
    assert commits.groups[3:] == [[9]]
    task.cancel()


async def test_a_group_of_much_lets_none_begin_beside_it() -> None:
    commits = Commits()
    grouping: Grouping[int, int] = Grouping(commits, limit=3, ahead=3, size=lambda item: item)
    task = asyncio.create_task(grouping.run())
    answers = [grouping.hand_in(item) for item in (4, 1, 2, 1)]
    await turns()
    assert commits.groups == [[4]]
    for _ in range(3):
        commits.allowed.release()
    await asyncio.gather(*answers)
    assert commits.groups == [[4], [1, 2], [1]]
    task.cancel()


async def test_a_full_group_waits_out_no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping_module, "SPACING", 1e12)
    monkeypatch.setattr(grouping_module, "PAUSE_EACH", 3600.0)

    async def commit(items: list[int]) -> Sequence[int]:
        return items

    grouping: Grouping[int, int] = Grouping(commit, limit=3, pause=3600.0)
    task = asyncio.create_task(grouping.run())
    assert await grouping.hand_in(1) == 1
    async with asyncio.timeout(60):
        assert await asyncio.gather(*map(grouping.hand_in, range(3))) == [0, 1, 2]
    task.cancel()


@pytest.mark.parametrize("begun", [False, True])
async def test_nobody_of_several_groups_waits_for_ever_when_the_grouping_ends(*, begun: bool) -> None:
    commits = Commits()
    grouping: Grouping[int, int] = Grouping(commits, limit=2, ahead=2)
    task = asyncio.create_task(grouping.run())
    await asyncio.sleep(0)
    futures = [grouping.hand_in(item) for item in range(7)]
    while len(grouping._under_way) < 2:
        await asyncio.sleep(0)
    assert commits.groups == []  # they are about to begin
    if begun:
        await commits.begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    answers = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(answer) for answer in answers] == [WriterClosed] * 7


async def test_nobody_waits_for_ever_when_the_grouping_ends() -> None:
    commits = Commits()
    grouping: Grouping[int, int] = Grouping(commits)
    task = asyncio.create_task(grouping.run())
    futures = [grouping.hand_in(1)]
    await commits.begun.wait()
    futures.append(grouping.hand_in(2))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    futures.append(grouping.hand_in(3))
    answers = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(answer) for answer in answers] == [WriterClosed] * 3


async def test_what_comes_in_the_pause_between_two_commits_shares_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping_module, "PAUSE_EACH", 3600.0)
    begun: list[tuple[float, list[int]]] = []
    took: list[float] = []
    clock = asyncio.get_running_loop().time

    async def commit(items: list[int]) -> Sequence[int]:
        begun.append((clock(), items))
        await asyncio.sleep(0.02)
        took.append(clock() - begun[-1][0])
        return items

    grouping: Grouping[int, int] = Grouping(commit, pause=3600.0)
    first = [grouping.hand_in(item) for item in range(20)]
    task = asyncio.create_task(grouping.run())
    await asyncio.gather(*first)
    second = grouping.hand_in(20)
    for _ in range(5):
        await asyncio.sleep(0)
    third = grouping.hand_in(21)
    assert [await second, await third] == [20, 21]
    assert [items for _, items in begun] == [list(range(20)), [20, 21]]
    assert begun[1][0] - begun[0][0] >= SPACING * took[0]
    task.cancel()


@pytest.mark.parametrize(
    ("spacing", "each", "longest"), [(2, 3600.0, 3600.0), (1e12, 0.005, 3600.0), (1e12, 3600.0, 0.01)]
)
async def test_each_of_the_three_bounds_alone_keeps_a_pause_short(
    monkeypatch: pytest.MonkeyPatch, spacing: float, each: float, longest: float
) -> None:
    monkeypatch.setattr(grouping_module, "SPACING", spacing)
    monkeypatch.setattr(grouping_module, "PAUSE_EACH", each)

    async def commit(items: list[int]) -> Sequence[int]:
        return items

    grouping: Grouping[int, int] = Grouping(commit, pause=longest)
    task = asyncio.create_task(grouping.run())
    async with asyncio.timeout(60):
        assert [await grouping.hand_in(item) for item in range(5)] == list(range(5))
    task.cancel()


async def test_what_waits_out_a_pause_when_the_node_stops_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping_module, "SPACING", 1e12)
    monkeypatch.setattr(grouping_module, "PAUSE_EACH", 3600.0)

    async def commit(items: list[int]) -> Sequence[int]:
        return items

    grouping: Grouping[int, int] = Grouping(commit, pause=3600.0)
    task = asyncio.create_task(grouping.run())
    await grouping.hand_in(1)
    late = grouping.hand_in(2)
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(WriterClosed):
        await late
