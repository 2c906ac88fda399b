"""A node claims to hold all of a municipality only up to a sign of life of which everything is on disk."""

from jukinet._pb.jukinet.link.v1.link_pb2 import Heartbeat, Standing
from jukinet.assembly.register_node import may_bring
from jukinet.link.standings import Standings
from jukinet.mesh.identity import Identity

CHIYODA, TOKYO, KANAGAWA = (
    Identity("municipality", "131016"),
    Identity("prefecture", "130001"),
    Identity("prefecture", "140007"),
)


def of_chiyoda(sequence: int, at: int) -> Heartbeat:
    heartbeat = Heartbeat(sequence=sequence)
    heartbeat.complete_at.FromMicroseconds(at)
    return heartbeat


def of_prefecture(sequence: int, **complete: int) -> Heartbeat:
    heartbeat = Heartbeat(sequence=sequence)
    for name, at in complete.items():
        standing = Standing(municipality=name.removeprefix("m"))
        standing.complete_at.FromMicroseconds(at)
        heartbeat.standings.append(standing)
    return heartbeat


def test_a_sign_of_life_counts_when_what_was_reported_before_it_is_on_disk() -> None:
    standings = Standings(may_bring)
    standings.claimed(CHIYODA, of_chiyoda(5, 1000), now_us=1001)
    assert standings.complete_as_of("131016") is None
    standings.reached(CHIYODA.uri, 4)
    assert standings.complete_as_of("131016") is None
    standings.reached(CHIYODA.uri, 5)
    assert standings.complete_as_of("131016") == 1000


def test_of_several_that_wait_each_counts_in_its_turn() -> None:
    standings = Standings(may_bring)
    for sequence in (5, 7, 9):
        standings.claimed(CHIYODA, of_chiyoda(sequence, sequence * 100), now_us=1001)
    standings.reached(CHIYODA.uri, 8)
    assert standings.complete_as_of("131016") == 700
    standings.reached(CHIYODA.uri, 9)
    assert standings.complete_as_of("131016") == 900


def test_a_sender_that_stays_behind_fills_no_memory() -> None:
    standings = Standings(may_bring)
    for sequence in range(1, 1000):
        standings.claimed(CHIYODA, of_chiyoda(sequence, sequence), now_us=1001)
    assert sum(map(len, standings._claims.values())) <= 8


def test_a_prefecture_speaks_for_its_own_municipalities_alone() -> None:
    standings = Standings(may_bring)
    standings.claimed(KANAGAWA, of_prefecture(3, m131016=500, m142018=600), now_us=1000)
    standings.reached(KANAGAWA.uri, 3)
    assert standings.complete_as_of("131016") is None
    assert standings.complete_as_of("142018") == 600


def test_a_time_that_lies_ahead_is_not_taken_over() -> None:
    standings = Standings(may_bring)
    standings.claimed(TOKYO, of_prefecture(0, m131016=99_000), now_us=1000)
    standings.reached(TOKYO.uri, 0)
    assert standings.complete_as_of("131016") == 1000


def test_what_waited_is_forgotten_with_its_stream_and_what_counted_stays() -> None:
    standings = Standings(may_bring)
    standings.claimed(TOKYO, of_prefecture(3, m131016=500), now_us=1000)
    standings.reached(TOKYO.uri, 3)
    standings.claimed(TOKYO, of_prefecture(9, m131016=900), now_us=1000)
    standings.forget(TOKYO.uri)
    standings.reached(TOKYO.uri, 9)
    assert standings.complete_as_of("131016") == 500


def test_nothing_grows_younger_than_it_was() -> None:
    standings = Standings(may_bring)
    for at in (900, 500):
        standings.claimed(TOKYO, of_prefecture(3, m131016=at), now_us=1000)
        standings.reached(TOKYO.uri, 3)
    assert [(each.municipality, each.complete_at.ToMicroseconds()) for each in standings.told()] == [("131016", 900)]


def test_what_was_heard_before_the_clock_was_put_back_does_not_hide_who_is_silent_now() -> None:
    standings = Standings(may_bring)
    standings.claimed(CHIYODA, of_chiyoda(5, 9000), now_us=9000)
    standings.claimed(CHIYODA, of_chiyoda(6, 9500), now_us=9500)
    standings.reached(CHIYODA.uri, 5)
    standings.claimed(KANAGAWA, of_prefecture(3), now_us=4000)
    assert standings.complete_as_of("131016") is None
    standings.reached(CHIYODA.uri, 6)
    assert standings.complete_as_of("131016") is None
    standings.claimed(CHIYODA, of_chiyoda(7, 4100), now_us=4200)
    standings.reached(CHIYODA.uri, 7)
    assert standings.complete_as_of("131016") == 4100
