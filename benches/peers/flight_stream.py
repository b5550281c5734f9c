"""Arrow's C++ Flight server over batches that lie in memory: 13 columns of whole numbers, sent over and over.

Prints its port; ends with its standard input.
"""

import sys

import pyarrow as pa
import pyarrow.flight as flight

BATCH_ROWS = 8_192


class Server(flight.FlightServerBase):
    def __init__(self, rows: int, times: int) -> None:
        super().__init__("grpc://127.0.0.1:0")
        numbers = [
            pa.array(range(start, min(start + BATCH_ROWS, rows)), pa.int64()) for start in range(0, rows, BATCH_ROWS)
        ]
        names = [f"c{i}" for i in range(13)]
        batches = [pa.record_batch([column] * len(names), names) for column in numbers]
        self.schema, self.batches = batches[0].schema, batches * times

    def get_flight_info(self, context, descriptor):
        return flight.FlightInfo(self.schema, descriptor, [flight.FlightEndpoint(b"all", [])], -1, -1)

    def do_get(self, context, ticket):
        return flight.RecordBatchStream(pa.RecordBatchReader.from_batches(self.schema, self.batches))


server = Server(int(sys.argv[1]), int(sys.argv[2]))
print(server.port, flush=True)
sys.stdin.read()
server.shutdown()
