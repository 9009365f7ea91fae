"""What users have not read, as SQL: counted by offsets, never kept as a number.

A message counts if it was created behind the mark, and is not deleted. Messages are counted from the mark to the next
row of `posts`, of which each tells the number of messages up to it, and from there by subtraction: 256 rows of an index
at most, however much is unread.
"""

from server.ports.marks import MENTIONS_COUNTED

# Of the channel `c`, and the mark `r` in it. A log that came back older may have a head before the mark.
MARK = """least(coalesce(r."offset", 0), c.head)"""

_BEHIND = """greatest(coalesce(r."offset", 0), c.floor)"""

UNREAD = f"""
coalesce((
    SELECT c.posts - p.posts + (
        SELECT count(*) FROM maru.events e WHERE e.channel_id = c.id AND e.message_id IS NOT NULL
        AND e."offset" > {_BEHIND} AND e."offset" <= p."offset"
    ) FROM maru.posts p WHERE p.channel_id = c.id AND p."offset" > {_BEHIND} ORDER BY p."offset" LIMIT 1
), (
    SELECT count(*) FROM maru.events e WHERE e.channel_id = c.id AND e.message_id IS NOT NULL AND e."offset" > {_BEHIND}
)) - (SELECT count(*) FROM maru.gone g WHERE g.channel_id = c.id AND g."offset" > {_BEHIND})
"""  # noqa: S608  # the texts above

# `$2` is the user.
UNREAD_MENTIONS = f"""
(SELECT count(*) FROM (
    SELECT DISTINCT m."offset" FROM maru.mentions m
    WHERE m.channel_id = c.id AND m."user" IN ($2, '*') AND m."offset" > {_BEHIND} LIMIT {2 * MENTIONS_COUNTED}
) named)
"""  # noqa: S608  # as above
