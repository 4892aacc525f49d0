"""A map made with the Python SDK that passes every message on as it is."""

from pynumaflow.mapper import Datum, MapAsyncServer, Message, Messages


async def handler(keys: list[str], datum: Datum) -> Messages:
    return Messages(Message(value=datum.value, keys=keys))


if __name__ == "__main__":
    MapAsyncServer(handler).start()
