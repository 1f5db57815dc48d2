"""A conversation finds the slot where it was read before."""

from voice_agent.stages.generator.slots import Slots


def test_a_conversation_comes_back_to_its_slot() -> None:
    slots = Slots(3)
    ann, bob = ["be brief", "I am Ann"], ["be brief", "I am Bob"]
    with slots.take(ann) as first:
        pass
    with slots.take(bob) as second:
        pass
    assert first != second
    with slots.take([*ann, "Hello Ann", "Who am I?"]) as slot:
        assert slot == first
    with slots.take([*bob, "Hello Bob", "Who am I?"]) as slot:
        assert slot == second


def test_a_new_conversation_takes_the_slot_that_is_longest_unused() -> None:
    slots = Slots(2)
    for expected, name in enumerate(["Ann", "Bob"]):
        with slots.take(["be brief", name]) as slot:
            assert slot == expected
    with slots.take(["be brief", "Ann", "Hello", "More"]) as slot:
        assert slot == 0
    with slots.take(["be brief", "Cid"]) as slot:
        assert slot == 1


def test_a_busy_slot_is_left_alone_and_the_server_queues_when_all_are() -> None:
    slots = Slots(2)
    messages = ["be brief", "I am Ann"]
    with slots.take(messages) as first, slots.take(messages) as second, slots.take(messages) as third:
        assert {first, second} == {0, 1}
        assert third == -1
    with slots.take(messages) as slot:
        assert slot in (0, 1)
