"""Ways of events to and from other systems, before a replica serves."""

from server.settings.model import Settings


async def check_connectors(settings: Settings) -> None:
    """Refuse the start if their topics are missing. Raises `StartRefused`."""
    topics = {}
    if settings.kafka_egress_topic is not None:
        topics["MARU_KAFKA_EGRESS_TOPIC"] = [settings.kafka_egress_topic]
    if settings.kafka_ingest_topic is not None:
        topics["MARU_KAFKA_INGEST_TOPIC"] = [settings.kafka_ingest_topic, settings.kafka_dead_topic]
    if topics:
        from server.bootstrap.kafka import check  # Kafka's client is imported only if it is needed

        await check(settings, topics)
