"""User code of every kind, served by pynumaflow: `udf_python.py KIND DIRECTORY`."""

import sys
from datetime import datetime, timezone

KIND, DIRECTORY = sys.argv[1:]


def at(socket, info):
    return {"sock_path": f"{DIRECTORY}/{socket}", "server_info_file": f"{DIRECTORY}/{info}-server-info"}


def fails_once(value):
    """Raises for 13, once in the life of the directory."""
    if value == b"13":
        scar = f"{DIRECTORY}/scar"
        try:
            open(scar, "x").close()
        except FileExistsError:
            return
        raise RuntimeError("thirteen is too much")


def unary(synchronous):
    from pynumaflow.mapper import MapAsyncServer, MapServer, Message, Messages

    def answer(keys, datum):
        fails_once(datum.value)
        return Messages(Message(datum.value, keys=keys, tags=["seen"]))

    async def answer_soon(keys, datum):
        return answer(keys, datum)

    if synchronous:
        return MapServer(answer, **at("map.sock", "mapper"))
    return MapAsyncServer(answer_soon, **at("map.sock", "mapper"))


def batch():
    from pynumaflow.batchmapper import BatchMapAsyncServer, BatchResponse, BatchResponses, Message

    async def answer(datums):
        responses = BatchResponses()
        async for datum in datums:
            fails_once(datum.value)
            response = BatchResponse.from_id(datum.id)
            response.append(Message(datum.value, keys=datum.keys, tags=["seen"]))
            responses.append(response)
        return responses

    return BatchMapAsyncServer(answer, **at("batchmap.sock", "mapper"))


def stream():
    from pynumaflow.mapstreamer import MapStreamAsyncServer, Message

    async def answer(keys, datum):
        fails_once(datum.value)
        yield Message(datum.value, keys=keys, tags=["seen"])

    return MapStreamAsyncServer(answer, **at("mapstream.sock", "mapper"))


def transform():
    from pynumaflow.sourcetransformer import Message, Messages, SourceTransformAsyncServer

    async def answer(keys, datum):
        fails_once(datum.value)
        return Messages(Message(datum.value, datum.event_time, keys=keys, tags=["seen"]))

    return SourceTransformAsyncServer(answer, **at("sourcetransform.sock", "sourcetransformer"))


def sink(synchronous):
    from pynumaflow.sinker import Response, Responses, SinkAsyncServer, SinkServer

    def answer_one(datum):
        fails_once(datum.value)
        if datum.value.endswith(b"7"):
            return Response.as_failure(datum.id, "sevens fail")
        return Response.as_success(datum.id)

    async def answer_soon(datums):
        return Responses(*[answer_one(datum) async for datum in datums])

    def answer(datums):
        return Responses(*[answer_one(datum) for datum in datums])

    if synchronous:
        return SinkServer(answer, **at("sink.sock", "sinker"))
    return SinkAsyncServer(answer_soon, **at("sink.sock", "sinker"))


def source():
    from pynumaflow.sourcer import Message, Offset, PartitionsResponse, PendingResponse, SourceAsyncServer, Sourcer

    class Well(Sourcer):
        def __init__(self):
            self.waiting = list(range(1000))
            self.out = set()

        async def read_handler(self, datum, output):
            for number in self.waiting[: datum.num_records]:
                self.out.add(number)
                payload = str(number).encode()
                happened = datetime.fromtimestamp(number, timezone.utc)
                await output.put(Message(payload, Offset(payload, 1), happened, keys=[f"k{number}"]))
            del self.waiting[: datum.num_records]

        async def ack_handler(self, ack_request):
            self.out.difference_update(int(offset.offset) for offset in ack_request.offsets)

        async def nack_handler(self, nack_request):
            numbers = [int(offset.offset) for offset in nack_request.offsets]
            self.out.difference_update(numbers)
            self.waiting.extend(numbers)

        async def pending_handler(self):
            return PendingResponse(count=len(self.waiting) + len(self.out))

        async def active_partitions_handler(self):
            return PartitionsResponse(partitions=[1])

    return SourceAsyncServer(Well(), **at("source.sock", "sourcer"))


KINDS = {
    "map": lambda: unary(synchronous=False),
    "map-sync": lambda: unary(synchronous=True),
    "batch-map": batch,
    "stream-map": stream,
    "transform": transform,
    "sink": lambda: sink(synchronous=False),
    "sink-sync": lambda: sink(synchronous=True),
    "source": source,
}

if __name__ == "__main__":
    KINDS[KIND]().start()
