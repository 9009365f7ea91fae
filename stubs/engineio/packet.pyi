from typing import Any

MESSAGE: int

class Packet:
    packet_type: int
    data: Any

    def __init__(self, packet_type: int = 6, data: Any = None, encoded_packet: str | bytes | None = None) -> None: ...
    def encode(self, b64: bool = False) -> str | bytes: ...
