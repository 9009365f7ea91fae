"""Whatever happens to a channel, what users have not read is exact after each step."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, Record, Revision
from server.domain.errors import Conflict, NotFound
from server.domain.identity import Author, UserId
from server.domain.messages import EVERYBODY, Position
from tests.contracts.conftest import LogStore
from tests.contracts.people_stores import Opened, opened, reaction
from tests.doubles.samples import NOW_MS, new_message, some_id

USERS = ("alice", "bob", "carol")
KEPT = 7
"""Events that a channel keeps: few, so that retention takes part."""

_channels = (ChannelName(f"marks:{number}") for number in count(1))


@dataclass
class Post:
    """A message: the offset of its creation, and the users that it names."""

    offset: int
    mentions: Sequence[str]
    deleted: bool = False


@dataclass
class Model:
    """All messages that were ever sent, the number of all events, and the marks."""

    head: int = 0
    posts: dict[int, Post] = field(default_factory=dict)  # by number
    marks: dict[str, int] = field(default_factory=dict)

    @property
    def floor(self) -> int:
        return max(0, self.head - KEPT)

    def kept(self, number: int) -> Post | None:
        """The message with this number, unless retention has taken it or it was deleted."""
        post = self.posts.get(number)
        return post if post and post.offset > self.floor and not post.deleted else None

    def counts(self, user: str) -> tuple[int, int, int]:
        mark = self.marks.get(user, 0)
        unread = [post for post in self.posts.values() if post.offset > max(mark, self.floor) and not post.deleted]
        return mark, len(unread), len([post for post in unread if {user, EVERYBODY} & set(post.mentions)])

    def mark(self, user: str, offset: int) -> bool:
        offset = min(offset, self.head)
        moved = offset > self.marks.get(user, 0)
        if moved:
            self.marks[user] = offset
        return moved


named = st.sampled_from([(), (), ("bob",), ("alice", "bob"), ("carol", "dave"), (EVERYBODY,)])
number = st.integers(0, 14)
steps = st.one_of(
    st.tuples(st.just("post"), st.sampled_from(USERS), named, st.booleans()),
    st.tuples(st.just("post"), st.sampled_from(USERS), named, st.booleans()),
    st.tuples(st.just("mark"), st.sampled_from(USERS), st.integers(0, 40)),
    st.tuples(st.just("delete"), number),
    st.tuples(st.sampled_from(["edit", "react"]), number),
    st.tuples(st.sampled_from(["record", "reopen"])),
)


@given(script=st.lists(steps, min_size=5, max_size=40))
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_unread_is_what_the_model_counts(people_store: LogStore, script: Sequence[tuple[object, ...]]) -> None:
    """Posts, edits, deletions, marks, trims, other events and reopenings: for each user the two counts are those of the
    model after each step, never negative, and no mark moves back."""
    if not people_store.tries():
        return
    channel, model = next(_channels), Model()
    async with AsyncExitStack() as closing:
        people = await closing.enter_async_context(opened(people_store, max_events=KEPT))
        for at, step in enumerate(script):
            before = dict(model.marks)
            if step == ("reopen",):
                await closing.aclose()
                people = await closing.enter_async_context(opened(people_store, max_events=KEPT))
            else:
                await take(people, model, channel, at, step)
            for user in (*USERS, "dave"):
                mark = await people.mark(user, channel)
                assert (mark.offset, mark.unread, mark.unread_mentions) == model.counts(user)
                assert mark.head == Position(mark.head.epoch, model.head)
                assert 0 <= mark.unread_mentions <= mark.unread
                assert mark.offset >= before.get(user, 0)
        furthest = sorted(model.marks.items(), key=lambda each: (-each[1], each[0]))
        assert [(each.user, each.offset) for each in await people.marks.receipts(channel, 10)] == furthest


async def take(people: Opened, model: Model, channel: ChannelName, at: int, step: tuple[object, ...]) -> None:
    """Do a step to both."""
    match step:
        case ("post", str(user), tuple() as mentions, bool(marks)):
            draft = replace(new_message(at, channel, user=user), mentions=mentions, marks=marks)
            model.head += 1
            assert (await people.log.append(draft)).event.offset == model.head
            model.posts[at] = Post(model.head, mentions)
            if marks:
                model.mark(user, model.head)
        case ("mark", str(user), int(offset)):
            marked = await people.marks.mark(channel, UserId(user), offset)
            assert marked.moved == model.mark(user, offset)
            assert (marked.mark.offset, marked.mark.unread, marked.mark.unread_mentions) == model.counts(user)
        case ("record",):
            model.head += 1
            await people.records.record(Record(channel, "n", Author(UserId("bot"), None), at, None, NOW_MS))
        case (str(kind), int(ago)):
            await change(people, model, channel, at - ago, kind)
        case _:
            raise AssertionError(step)


async def change(people: Opened, model: Model, channel: ChannelName, number: int, kind: str) -> None:
    """Change the message with this number, if there is one."""
    post = model.kept(number)
    try:
        match kind:
            case "delete":
                duplicate = (await people.log.append(Deletion(channel, some_id(number), NOW_MS))).duplicate
                if duplicate:
                    return
                assert post is not None
                post.deleted = True
            case "edit":
                await people.log.append(Revision(channel, some_id(number), "edited", None, keep_data=True, at=NOW_MS))
            case _:
                if (await people.reactions.react(reaction(number, channel))).duplicate:
                    return
    except (NotFound, Conflict):
        assert post is None
    else:
        model.head += 1
