"""The tables of each case."""

from bench.cases import crowd, fanout, idle, replicas, sends
from bench.report.tables import Column, Layout

_RATIOS = (
    Column("Maru needs less CPU, x", "cpu_us", ratio=True, inverse=True),
    Column("Maru is faster, x", "deliveries_s", ratio=True),
)

_COSTS = (
    Column("server CPU, us a delivery", "cpu_us", ".2f"),
    Column("server CPU, us a message to all", "wave_us", ",.0f"),
    Column("deliveries/s", "deliveries_s"),
    Column("bytes each", "frame_bytes"),
    Column("lost", "lost"),
)

RIVALS = {
    **dict.fromkeys(("maru-sqlite", "maru-sqlite-before", "jetstream-always"), "maru-sqlite"),
    **dict.fromkeys(("maru-redis", "maru-redis-before", "centrifugo-redis"), "maru-redis"),
}
"""Acks are compared that promise the same: on disk, or in Redis; all others are of servers that keep nothing."""

LAYOUTS = (
    Layout(
        fanout.CASE,
        "Fan-out",
        (
            *_RATIOS,
            Column("server CPU, us each", "cpu_us", ".2f"),
            Column("deliveries/s", "deliveries_s"),
            Column("server busy, %", "server_share", ".0f", scale=100),
            Column("load busy, %", "load_share", ".0f", scale=100),
            Column("bytes each", "frame_bytes"),
            Column("lost", "lost"),
        ),
        split=("members", "in_flight", "size", "channels", "senders"),
    ),
    *(
        Layout(
            case,
            title,
            (
                *_RATIOS,
                Column("server CPU, us a message", "message_us", ",.1f"),
                Column("us a delivery", "cpu_us", ".2f"),
                Column("deliveries/s", "deliveries_s"),
                Column("server busy, %", "server_share", ".0f", scale=100),
                Column("bytes each", "frame_bytes"),
                Column("lost", "lost"),
            ),
            split=split,
        )
        for case, title, split in (
            (fanout.SMALL, "Small channels", ("members", "in_flight")),
            (fanout.DIRECT, "Direct messages", ("members", "channels")),
        )
    ),
    *(
        Layout(
            case,
            title,
            (*_RATIOS, *_COSTS),
            lines=lines,
        )
        for case, title, lines in (
            (fanout.MEMBERS, "Members of a channel, 1 message in flight", ("members",)),
            (fanout.SIZES, "Bytes of a message, 1,000 members, 1 in flight", ("size",)),
            (fanout.CHANNELS, "Channels that 1,000 members are spread over, a message to each", ("channels",)),
        )
    ),
    Layout(
        fanout.LATENCY,
        "Latency from due to delivered",
        (
            Column("p99: Maru is quicker, x", "p99_ms", ratio=True, inverse=True),
            Column("p50, ms", "p50_ms", ".2f"),
            Column("p99, ms", "p99_ms", ".2f"),
            Column("p99.9, ms", "p999_ms", ".2f"),
            Column("deliveries/s", "deliveries_s"),
            Column("server CPU, us each", "cpu_us", ".2f"),
            Column("lost", "lost"),
        ),
        split=("members", "load"),
    ),
    Layout(
        crowd.CASE,
        "Connections",
        (
            Column("memory: Maru needs less, x", "kib", ratio=True, inverse=True),
            Column("joined/s: Maru is faster, x", "joined_s", ratio=True),
            Column("KiB each", "kib", ".1f"),
            Column("CPU, ms each", "joined_cpu_ms", ".3f"),
            Column("joined/s", "joined_s"),
            Column("only connected: CPU, ms each", "plain_cpu_ms", ".3f"),
            Column("connected/s", "plain_s"),
            Column("longest wait, s", "longest_s", ".2f"),
            Column("load busy, %", "load_share", ".0f", scale=100),
        ),
        split=("clients",),
    ),
    Layout(
        crowd.CASE,
        "All leave at once",
        (
            Column("CPU: Maru needs less, x", "leave_cpu_s", ratio=True, inverse=True),
            Column("stall: Maru's is shorter, x", "leave_stall_ms", ratio=True, inverse=True),
            Column("server CPU, s", "leave_cpu_s", ".3f"),
            Column("longest stall, ms", "leave_stall_ms", ".1f"),
            Column("all gone, s", "leave_s", ".2f"),
        ),
        split=("clients",),
    ),
    Layout(
        crowd.HANDSHAKES,
        "Handshakes with token and join",
        (
            Column("Maru needs less CPU, x", "cpu_us", ratio=True, inverse=True),
            Column("Maru is faster, x", "joined_s", ratio=True),
            Column("server CPU, us each", "cpu_us", ".0f"),
            Column("joined/s", "joined_s"),
            Column("longest wait, s", "longest_s", ".3f"),
            Column("load busy, %", "load_share", ".0f", scale=100),
        ),
        split=("clients", "at_once"),
    ),
    Layout(
        crowd.STORM,
        "All arrive at once",
        (
            Column("all in: Maru is faster, x", "all_in_s", ratio=True, inverse=True),
            Column("all in, s", "all_in_s", ".2f"),
            Column("longest wait, s", "longest_s", ".2f"),
            Column("in", "in"),
        ),
        split=("clients",),
    ),
    Layout(
        crowd.HEARTBEAT,
        "Idle connections, a ping each 10 s",
        (
            Column("CPU: Maru needs less, x", "share", ratio=True, inverse=True),
            Column("share of a core, %", "share", ".1f", scale=100),
            Column("KiB each", "kib", ".1f"),
            Column("lost", "lost"),
        ),
        split=("clients",),
    ),
    Layout(
        idle.CASE,
        "As many idle connections as one process may hold",
        (
            Column("KiB each", "kib", ".2f"),
            Column("KiB each further one", "slope_kib", ".2f"),
            Column("MiB of 50,000", "mib_at_most"),
            Column("heartbeat: share of a core, %", "share", ".1f", scale=100),
            Column("us a ping and pong", "beat_us", ".1f"),
            Column("share of 50,000, %", "share_at_most", ".1f", scale=100),
            Column("lost", "lost"),
            Column("all gone, s", "leave_s", ".2f"),
            Column("longest stall, ms", "leave_stall_ms", ".1f"),
        ),
        split=("clients",),
    ),
    Layout(
        sends.CASE,
        "Acked sends",
        (
            Column("Maru needs less CPU, x", "cpu_us", ratio=True, inverse=True),
            Column("Maru is faster, x", "acks_s", ratio=True),
            Column("server CPU, us each", "cpu_us", ".1f"),
            Column("Redis' CPU, us each", "store_us", ".1f"),
            Column("acks/s", "acks_s"),
            Column("p50, ms", "p50_ms", ".2f"),
            Column("p99, ms", "p99_ms", ".2f"),
            Column("server busy, %", "server_share", ".0f", scale=100),
            Column("load busy, %", "load_share", ".0f", scale=100),
            Column("lost", "lost"),
        ),
        split=("load", "clients", "depth"),
        rivals=RIVALS,
    ),
    Layout(
        replicas.CASE,
        "Replicas behind one Redis, all on one core",
        (
            *_RATIOS,
            Column("server CPU, us a delivery", "cpu_us", ".2f"),
            Column("deliveries/s", "deliveries_s"),
            Column("CPU of one replica, us a message", "replica_us", ",.0f"),
            Column("servers busy, %", "server_share", ".0f", scale=100),
            Column("lost", "lost"),
        ),
        split=("members", "in_flight"),
        lines=("replicas",),
        baseline="maru-redis",
    ),
    Layout(
        replicas.IDLE,
        "A replica without a member, while another is busy",
        (
            Column("idle: Maru needs less, x", "idle_share", ratio=True, inverse=True),
            Column("idle replica, % of a core", "idle_share", ".2f", scale=100),
            Column("busy replica, % of a core", "busy_share", ".1f", scale=100),
            Column("messages/s", "messages_s"),
        ),
        baseline="maru-redis",
    ),
)
