"""Histories of a network that broke one of its promises, each under the rule that it breaks."""

from collections.abc import Callable

from tests.checker.story import (
    BIRTH,
    CODE,
    DEATH,
    FAR,
    FROM_ABROAD,
    MOVE_IN,
    OUT,
    WITHIN,
    C,
    Event,
    M,
    Make,
    N,
    P,
    Q,
    Story,
)

BAD: list[tuple[str, Make]] = []


def bad(rule: str) -> Callable[[Make], Make]:
    """Registers a bad history and the rule that it breaks."""

    def note(make: Make) -> Make:
        BAD.append((rule, make))
        return make

    return note


@bad("A1")
def accepted_and_not_sealed(story: Story) -> None:
    story.accept(story.change(M, 1, BIRTH))


@bad("A1")
def accepted_and_gone_after_a_crash(story: Story) -> None:
    story.seal(story.change(M, 1, BIRTH))
    story.say("started", node=M, last=0, marks={})


@bad("A1")
def a_lawful_change_is_refused(story: Story) -> None:
    story.say("refused", node=M, message="m", reason="NOT_HOLDER", lawful=True)


@bad("A2")
def applied_twice(story: Story) -> None:
    born = story.change(M, 1, BIRTH)
    story.up(born)
    story.arrive(C, born)


@bad("A2")
def applied_and_parked(story: Story) -> None:
    born = story.change(M, 1, BIRTH)
    story.up(born)
    story.commit(P, parked=[born])


@bad("A2")
def a_change_is_skipped(story: Story) -> None:
    first, second = story.change(M, 1, BIRTH), story.change(M, 1, BIRTH, "s")
    story.seal(first, second)
    story.arrive(P, second)


@bad("A2")
def two_changes_under_one_number(story: Story) -> None:
    story.seal(story.change(M, 1, BIRTH))
    story.seal({**story.change(M, 1, BIRTH, "s"), "sequence": 1})


@bad("A3")
def versions_are_swapped(story: Story) -> None:
    born, moved, again = story.change(M, 1, BIRTH), story.change(M, 2, WITHIN), story.change(M, 3, WITHIN)
    story.seal(born, moved, again)
    story.arrive(P, born, again, moved)


@bad("A3")
def a_version_is_given_twice(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH), story.change(M, 2, WITHIN), story.change(M, 2, WITHIN))


@bad("A3")
def the_center_skips_a_version(story: Story) -> None:
    moved = story.change(FAR, 3, MOVE_IN, previous_municipality=M)
    story.seal(moved)
    story.arrive(Q, moved)
    story.arrive(C, moved)


@bad("A3")
def a_prefecture_takes_a_move_within_itself_too_early(story: Story) -> None:
    moved = story.change(N, 3, MOVE_IN, previous_municipality=M)
    story.seal(moved)
    story.arrive(P, moved)


@bad("A4")
def a_change_never_reaches_the_center(story: Story) -> None:
    born = story.change(M, 1, BIRTH)
    story.seal(born)
    story.arrive(P, born)
    story.say("quiet")


@bad("A4")
def a_lawful_change_stays_parked(story: Story) -> None:
    born = story.change(M, 1, BIRTH)
    story.seal(born)
    story.arrive(P, born)
    story.commit(C, parked=[born], marks={P: [1, 1]})
    story.say("quiet")


@bad("A5")
def applied_and_never_sealed(story: Story) -> None:
    story.arrive(P, story.change(M, 1, BIRTH))


@bad("A5")
def altered_on_the_way(story: Story) -> None:
    born = story.change(M, 1, BIRTH)
    story.seal(born)
    story.arrive(P, {**born, "digest": "other"})


@bad("A6")
def a_stranger_corrects(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH))
    story.up(story.change(N, 2, WITHIN))


@bad("A6")
def a_stranger_uses_a_ticket_of_another(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH), story.change(M, 2, OUT, next_municipality=FAR))
    story.up(story.change(N, 3, MOVE_IN, previous_municipality=M))


@bad("A6")
def the_dead_move(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH), story.change(M, 2, DEATH))
    story.up(story.change(N, 3, FROM_ABROAD))


@bad("A6")
def another_prefectures_change(story: Story) -> None:
    born = story.change(FAR, 1, BIRTH)
    story.seal(born)
    story.commit(P, applied=[born])


@bad("A7")
def two_holders(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH))
    story.up(story.change(FAR, 2, FROM_ABROAD))


@bad("A7")
def a_retired_code_lives_again(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH), story.change(M, 2, CODE, "new", previous_code="r"))
    story.up(story.change(M, 3, WITHIN))


@bad("A8")
def a_row_that_nothing_made(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH))
    row = {"resident": "r", "version": 1, "status": "DECEASED", "holder": M, "digest": "a"}
    story.say("final", node=C, rows=[row])


@bad("A9")
def an_ack_before_the_commit(story: Story) -> None:
    born = story.change(M, 1, BIRTH)
    story.seal(born)
    story.say("acked", node=M, by=P, epoch=1, mark=1, center_mark=0)
    story.arrive(P, born)


@bad("A9")
def the_center_mark_runs_ahead(story: Story) -> None:
    born = story.change(M, 1, BIRTH)
    story.seal(born)
    story.arrive(P, born)
    story.say("acked", node=M, by=P, epoch=1, mark=1, center_mark=1)


@bad("A9")
def an_ack_is_forgotten_by_a_crash(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH))
    story.say("acked", node=M, by=P, epoch=1, mark=1, center_mark=0)
    story.say("started", node=P, last=0, marks={})


@bad("A10")
def an_older_incarnation_speaks_after_a_newer(story: Story) -> None:
    born = story.change(M, 1, BIRTH)
    story.seal(born)
    story.lose(M)
    story.start(M, 0)
    story.commit(P, marks={M: [2, 0]})
    story.whole(M, 0)
    story.commit(P, applied=[born], marks={M: [2, 1]})


@bad("A2")
def a_restored_cs_gives_numbers_away_at_once(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH))
    story.lose(M)
    story.start(M, 0)
    story.seal({**story.change(M, 1, BIRTH, "s"), "epoch": 2, "digest": "other"})


@bad("A2")
def a_restored_prefecture_takes_a_stream_at_once(story: Story) -> None:
    born = story.change(M, 1, BIRTH)
    story.up(born)
    story.lose(P)
    story.start(P, 0)
    later = story.change(M, 2, WITHIN)
    story.seal(later)
    story.commit(P, applied=[born, later], marks={M: [1, 2]}, last=2)


@bad("A2")
def a_restored_cs_thinks_itself_whole_too_early(story: Story) -> None:
    born, moved = story.change(M, 1, BIRTH), story.change(M, 2, WITHIN)
    story.up(born, moved)
    story.lose(M, born)
    story.start(M, 1)
    story.whole(M, 1)


@bad("A2")
def one_message_makes_two_versions(story: Story) -> None:
    born, moved = story.change(M, 1, BIRTH), story.change(M, 2, WITHIN)
    story.up(born)
    story.seal(moved, accepted=False)
    story.accept(moved, message=born["digest"])


def _answers_anew(story: Story, *kept: int) -> Event:
    """A disk goes back unnoticed and seals another change for a message whose first one is above; not answered yet."""
    first = [story.change(M, 1, BIRTH), story.change(M, 2, WITHIN)]
    story.up(*first)
    story.lose(M, *(first[each] for each in kept))
    story.start(M, len(kept), restoring=False)
    again = {**story.change(M, 3, WITHIN), "epoch": 2, "sequence": 3, "digest": "again"}
    story.seal(again, accepted=False)
    return again


@bad("A2")
def a_message_is_taken_again_after_another_answer(story: Story) -> None:
    again = _answers_anew(story, 0)
    story.accept(again, message=f"{M} 2")
    story.arrive(P, again)


@bad("A2")
def a_message_is_taken_again_before_another_answer(story: Story) -> None:
    again = _answers_anew(story, 0)
    story.arrive(P, again)
    story.accept(again, message=f"{M} 2")


@bad("A2")
def a_disk_that_went_back_forgets_a_message_that_it_holds(story: Story) -> None:
    story.accept(_answers_anew(story, 0, 1), message=f"{M} 2")


@bad("A2")
def a_number_is_given_again_after_all_came_back(story: Story) -> None:
    born = story.change(M, 1, BIRTH)
    story.up(born)
    story.lose(M)
    story.start(M, 0)
    story.put_back(M, born)
    story.whole(M, 1)
    story.seal({**story.change(M, 1, BIRTH, "s"), "sequence": 1, "digest": "other"})


@bad("A4")
def what_the_neighbour_held_does_not_come_back(story: Story) -> None:
    born = story.change(M, 1, BIRTH)
    story.up(born)
    story.lose(M)
    story.start(M, 0, restoring=False)
    story.say("quiet")


@bad("A4")
def what_is_mended_breaks_again_and_again(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH))
    story.say("restless")


@bad("A11")
def a_forgery_is_dropped(story: Story) -> None:
    story.seal(story.change(N, 2, DEATH), applied=False, accepted=False, forged=True)
    story.say("quiet")


@bad("A12")
def the_same_version_is_another_record(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH))
    row = {"resident": "r", "version": 1, "status": "ACTIVE", "holder": M}
    story.say("final", node=M, rows=[{**row, "digest": "a"}])
    story.say("final", node=C, rows=[{**row, "digest": "b"}])


@bad("Q6")
def an_agency_sees_the_past(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH), story.change(M, 2, WITHIN))
    story.say("seen", node=C, resident="r", version=1)
