"""How long a replica's word that it is alive counts."""

from services.budget.use_cases.replica import HEARTBEAT_S, LEASE_S, LEASE_S_MAX, lease_after


def test_a_lease_is_short_while_beats_come_in_time() -> None:
    assert lease_after(LEASE_S, HEARTBEAT_S) == LEASE_S


def test_a_starved_replica_asks_for_more_time_up_to_a_bound() -> None:
    lease_s = LEASE_S
    for _ in range(10):
        lease_s = lease_after(lease_s, LEASE_S * 1.5)
    assert lease_s == LEASE_S_MAX


def test_one_late_beat_is_forgotten_within_seconds() -> None:
    lease_s, beats = lease_after(LEASE_S, 3.0), 0
    while lease_s > LEASE_S:
        lease_s, beats = lease_after(lease_s, HEARTBEAT_S), beats + 1
    assert beats * HEARTBEAT_S <= 2.0
