"""Histories of a network that kept its promises."""

from tests.checker.story import ABROAD, BIRTH, CODE, DEATH, FAR, FROM_ABROAD, MOVE_IN, OUT, WITHIN, C, M, N, P, Q, Story


def one_birth(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH))
    story.say("quiet")


def a_correction(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH), story.change(M, 2, WITHIN))


def a_move_across(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH), story.change(M, 2, OUT, next_municipality=FAR))
    story.up(story.change(FAR, 3, MOVE_IN, previous_municipality=M))
    story.say("quiet")


def a_move_in_that_waits(story: Story) -> None:
    out = [story.change(M, 1, BIRTH), story.change(M, 2, OUT, next_municipality=FAR)]
    story.seal(*out)
    back = story.change(FAR, 3, MOVE_IN, previous_municipality=M)
    story.seal(back)
    story.arrive(Q, back)
    story.commit(C, parked=[back], marks={Q: [1, 1]})
    story.arrive(P, *out)
    story.commit(C, applied=[*out, back], marks={P: [1, 2]})
    story.say("quiet")


def a_late_stay(story: Story) -> None:
    """Born at M, moved far away, moved to N: to the prefecture M's move-out comes last."""
    born, out = story.change(M, 1, BIRTH), story.change(M, 2, OUT, next_municipality=FAR)
    story.seal(born, out)
    far = [
        story.change(FAR, 3, MOVE_IN, previous_municipality=M),
        story.change(FAR, 4, OUT, next_municipality=N),
    ]
    story.seal(*far)
    back = story.change(N, 5, MOVE_IN, previous_municipality=FAR)
    story.seal(back)
    story.arrive(P, back)
    story.arrive(P, born, out)


def a_new_code(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH), story.change(M, 2, CODE, "new", previous_code="r"))
    story.up(story.change(M, 3, WITHIN, "new"))
    rows = [
        {"resident": "r", "version": 2, "status": "RETIRED", "holder": M, "digest": "a"},
        {"resident": "new", "version": 3, "status": "ACTIVE", "holder": M, "digest": "b"},
    ]
    for node in (M, P, C):
        story.say("final", node=node, rows=rows)


def a_forgery_that_was_parked(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH))
    forged = story.change(N, 2, DEATH)
    story.seal(forged, applied=False, accepted=False, forged=True)
    story.commit(P, parked=[forged], marks={N: [1, 1]})
    story.commit(C, parked=[forged], marks={P: [1, 2]})
    story.say("quiet")


def an_honest_ack_and_a_restart(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH))
    story.say("acked", node=M, by=P, epoch=1, mark=1, center_mark=1)
    story.say("started", node=P, last=1, marks={M: [1, 1]})
    story.say("started", node=M, last=1, marks={})


def a_center_from_a_backup(story: Story) -> None:
    born = story.change(M, 1, BIRTH)
    story.up(born)
    story.lose(C)
    story.arrive(C, born)
    story.say("seen", node=C, resident="r", version=1)
    story.say("quiet")


def there_and_back_from_abroad(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH), story.change(M, 2, ABROAD))
    story.up(story.change(N, 3, FROM_ABROAD))
    story.say("quiet")


def a_cs_takes_back_what_it_lost(story: Story) -> None:
    born, moved = story.change(M, 1, BIRTH), story.change(M, 2, WITHIN)
    story.up(born, moved)
    story.lose(M)
    story.start(M, 0)
    story.commit(P, marks={M: [2, 2]})
    story.put_back(M, born, moved)
    story.whole(M, 2)
    story.accept(born)
    story.up({**story.change(M, 3, WITHIN), "epoch": 2})
    story.say("quiet")


def what_no_other_disk_held_is_submitted_again(story: Story) -> None:
    born, moved = story.change(M, 1, BIRTH), story.change(M, 2, WITHIN)
    story.up(born)
    story.seal(moved)
    story.lose(M, born)
    story.start(M, 1)
    story.commit(P, marks={M: [2, 1]})
    story.whole(M, 1)
    again = {**story.change(M, 2, WITHIN), "epoch": 2, "digest": "again"}
    story.seal(again, accepted=False)
    story.accept(again, message=moved["digest"])
    story.arrive(P, again)
    story.arrive(C, again)
    story.say("quiet")


def a_prefecture_without_its_disk(story: Story) -> None:
    born, other = story.change(M, 1, BIRTH), story.change(N, 1, BIRTH, "s")
    story.up(born)
    story.up(other)
    story.lose(P)
    story.start(P, 0)
    story.commit(C, marks={P: [2, 2]})
    story.commit(P, applied=[born, other], marks={M: [1, 1], N: [1, 1]}, last=2)
    story.whole(P, 2)
    story.say("quiet")


def a_disk_that_went_back_unnoticed_answers_anew(story: Story) -> None:
    """Its fork is taken by nobody and goes with its disk."""
    born, moved, again = story.change(M, 1, BIRTH), story.change(M, 2, WITHIN), story.change(M, 3, WITHIN)
    story.up(born, moved, again)
    story.lose(M, born)
    story.start(M, 1, restoring=False)
    other = {**story.change(M, 2, WITHIN), "digest": "other"}
    story.seal(other, accepted=False)
    story.accept(other, message=again["digest"])
    story.lose(M)
    story.start(M, 0)
    story.commit(P, marks={M: [2, 3]})
    story.put_back(M, born, moved, again)
    story.whole(M, 3)
    story.accept(again)
    story.say("quiet")


GOOD = [
    a_cs_takes_back_what_it_lost,
    what_no_other_disk_held_is_submitted_again,
    a_disk_that_went_back_unnoticed_answers_anew,
    a_prefecture_without_its_disk,
    one_birth,
    a_correction,
    a_move_across,
    a_move_in_that_waits,
    a_late_stay,
    a_new_code,
    a_forgery_that_was_parked,
    an_honest_ack_and_a_restart,
    a_center_from_a_backup,
    there_and_back_from_abroad,
]
