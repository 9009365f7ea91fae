"""The ids of connections and sessions."""

import base64

from server.gateway.socketio.ids import ID_BYTES, IDS_AT_ONCE, RandomIds


def test_no_randomness_is_used_twice() -> None:
    """Over several fetches every id differs from every other, and shares none of its random bytes' places with it."""
    ids = RandomIds()
    made = [ids.new() for _ in range(3 * IDS_AT_ONCE)]
    assert len(set(made)) == len(made)
    # A third of an id has 48 random bits: 3,600 of these are equal by chance once in 40 million runs.
    thirds = [base64.urlsafe_b64decode(id)[at : at + 6] for id in made for at in range(0, ID_BYTES, 6)]
    assert len(set(thirds)) == len(thirds)


def test_an_id_holds_no_counter() -> None:
    """Successive ids have no bytes in common at any place more often than chance allows: nobody learns from an id how
    many there are, or which comes next."""
    ids = RandomIds()
    made = [base64.urlsafe_b64decode(ids.new()) for _ in range(1_000)]
    for place in range(ID_BYTES):
        assert len({id[place] for id in made}) > 200  # about 251 of 256 values


def test_an_id_fits_a_packet_as_it_is() -> None:
    """Twenty-four characters that neither JSON nor a URL has to escape."""
    id = RandomIds().new()
    assert len(id) == 24
    assert id.replace("-", "").replace("_", "").isalnum()
