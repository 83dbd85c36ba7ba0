"""Side files: what is derived from the log and kept beside it, decoded and proven a block at a time.

Follows 12-side-files.md, 13-segment-index.md and 14-directory.md. `Bad` says that a file, a block or a row is as good as
missing. Nothing here knows the log: whether a file counts for it, and is true, is said by `side_check.py`.
"""

import re
import struct
from collections import namedtuple

from hashes import xxh64
from layout import NAME_MAX, NUMBER_MAX, Bad, Cursor

BLOCK, HEAD_AT, HEAD_MAX = 4096, 48, 4040
INDEX, RUN, CHECKPOINT = 1, 2, 3
KIND_NAMES = {INDEX: "segment index", RUN: "directory run", CHECKPOINT: "checkpoint"}
CHUNK, TOP, RUNS_MAX = 128, 256, 64
_NAMES = ((INDEX, re.compile(r"([0-9a-f]{16})\.index\Z")), (RUN, re.compile(r"directory-([0-9a-f]{16})\Z")),
          (CHECKPOINT, re.compile(r"checkpoint-([01])\Z")))


def kind_of_name(name):
    """Kind and number of a side file's name; None for other names."""
    for kind, form in _NAMES:
        if match := form.match(name):
            return kind, int(match[1], 16)
    return None


SideHeader = namedtuple("SideHeader", "kind store_id payload_length table_check head check")


def side_header(data, file_length):
    """The header of a side file, whose length is judged too (SID-1). Kind and store are for the caller to compare."""
    if len(data) < BLOCK or data[:8] != b"TRINGSID":
        raise Bad("not a side file")
    check = int.from_bytes(data[BLOCK - 8:BLOCK], "little")
    if xxh64(0, data[:BLOCK - 8]) != check:
        raise Bad("the header check is wrong (SID-1)")
    version, kind, length = struct.unpack_from("<HHI", data, 8)
    if version != 1:
        raise Bad(f"version {version} of side files (SID-1)")
    if kind not in KIND_NAMES:
        raise Bad(f"the unknown kind {kind} (SID-1)")
    if length > HEAD_MAX:
        raise Bad("the head is longer than the header")
    payload, table = struct.unpack_from("<QQ", data, 32)
    if any(data[HEAD_AT + length:BLOCK - 8]):
        raise Bad("a byte behind the head is set")
    blocks = -(-payload // BLOCK)
    if BLOCK + blocks * (BLOCK + 8) != file_length:
        raise Bad(f"{file_length} bytes instead of {BLOCK + blocks * (BLOCK + 8)} (SID-1)")
    return SideHeader(kind, bytes(data[16:32]), payload, table, bytes(data[HEAD_AT:HEAD_AT + length]), check)


class SideFile:
    """A side file whose header proves itself; its payload is proven as it is asked for (SID-2)."""

    def __init__(self, file):
        self.file, self.header = file, side_header(file.read(0, BLOCK), file.length)
        self.length, self._table, self._blocks = self.header.payload_length, None, {}

    def _block(self, number):
        if self._table is None:
            at = self.file.length - 8 * self.blocks
            table = self.file.read(at, self.file.length)
            if xxh64(0, table) != self.header.table_check:
                raise Bad("the table of checks is wrong (SID-2)")
            self._table = table
        if number not in self._blocks:
            data = self.file.read(BLOCK * (1 + number), BLOCK * (2 + number))
            if xxh64(number, data) != int.from_bytes(self._table[8 * number:8 * number + 8], "little"):
                raise Bad(f"block {number} is bad (SID-2)")
            self._blocks[number] = data
        return self._blocks[number]

    @property
    def blocks(self):
        return -(-self.length // BLOCK)

    def read(self, start, end):
        """Bytes of the payload, proven."""
        if not 0 <= start <= end <= self.length:
            raise Bad("a place behind the payload")
        if start == end:
            return b""
        first, last = start // BLOCK, (end - 1) // BLOCK
        data = b"".join(self._block(n) for n in range(first, last + 1))
        return data[start - first * BLOCK:end - first * BLOCK]

    def prove(self):
        """Every block, and the zeros behind the payload."""
        for number in range(self.blocks):
            self._block(number)
        if self.blocks and any(self._block(self.blocks - 1)[(self.length - 1) % BLOCK + 1:]):
            raise Bad("a byte behind the payload is set")


# --- segment indexes

IndexHead = namedtuple(
    "IndexHead", "ordinal span base end last_frame last_check salt first_number events frames batches sections "
                 "least_recorded greatest_recorded max_recorded streams stream_rows_at stream_tops_at types type_rows_at")
Record = namedtuple("Record", "stream number first last sections first_place reach_back jump chunk_rows postings")
TypeRecord = namedtuple("TypeRecord", "name events batches places")


def index_head(data, payload_length):
    if len(data) != 168:
        raise Bad(f"the head of a segment index with {len(data)} bytes")
    c = Cursor(data)
    ordinal, span = c.number(8), c.number(4)
    c.zeros(4, False)
    places = [c.number(8) for _ in range(4)]
    salt, counts = c.take(16), [c.number(8) for _ in range(5)]
    times, parts = [c.i64() for _ in range(3)], [c.number(8) for _ in range(5)]
    head = IndexHead(ordinal, span, *places, salt, *counts, *times, *parts)
    tops = -(-head.streams // TOP)
    if not (head.stream_rows_at + 12 * head.streams <= head.stream_tops_at
            and head.stream_tops_at + 8 * tops <= head.type_rows_at
            and head.type_rows_at + 4 * head.types == payload_length):
        raise Bad("the parts of a segment index do not lie in it in their order (SIX-1)")
    if not head.base <= head.last_frame < head.end <= NUMBER_MAX or head.base % 8:
        raise Bad("places of a segment index that contradict each other (SIX-1)")
    return head


class SegmentIndex:
    """What the index of a segment says."""

    def __init__(self, side):
        self.side, self.head = side, index_head(side.header.head, side.header.payload_length)

    def _number(self, at, size):
        return int.from_bytes(self.side.read(at, at + size), "little")

    def row(self, index):
        """Id and offset of the record of a stream."""
        at = self.head.stream_rows_at + 12 * index
        return self._number(at, 8), self._number(at + 8, 4)

    def tops(self):
        at = self.head.stream_tops_at
        return [self._number(at + 8 * i, 8) for i in range(-(-self.head.streams // TOP))]

    def streams(self):
        """Every record, in the order of the rows."""
        return [self.record(*self.row(i)) for i in range(self.head.streams)]

    def find(self, stream):
        """The record of a stream, looked up through the tops; None where the segment holds no section of it."""
        top = sum(1 for first in self.tops() if first <= stream) - 1
        if top < 0:
            return None
        for index in range(top * TOP, min((top + 1) * TOP, self.head.streams)):
            found, at = self.row(index)
            if found == stream:
                return self.record(found, at)
        return None

    def record(self, stream, at):
        head, end = self.head, self.head.stream_rows_at
        c = Cursor(self.side.read(at, max(at, min(at + 90, end))))
        number, first = c.var(head.ordinal), c.var(NUMBER_MAX)
        last, sections = first + c.var(NUMBER_MAX), c.var(head.sections)
        place = self.place(c.var())
        back = c.var(place // 8)
        jump = None
        if number:
            jump = head.ordinal - c.var(head.ordinal), first - c.var(first)
        length = c.var(end)
        rows = at + c.at
        postings = rows + 16 * (max(sections - 1, 0) // CHUNK)
        if sections == 0 or last - first < sections - 1 or postings + length > end:
            raise Bad("a record that contradicts itself (SIX-4)")
        return Record(stream, number, first, last, sections, place, place - 8 * back if back else None, jump,
                      (rows, postings), (postings, postings + length))

    def place(self, units):
        """The position of a place."""
        position = self.head.base + 8 * units
        if position >= self.head.end:
            raise Bad("a place behind the segment's end (SIX-4)")
        return position

    def chunk(self, record, number):
        """Mode and sections of a chunk, as (first revision, position of the frame). Mode None: it has one section."""
        start, end = record.postings
        count, revision, place, at = min(CHUNK, record.sections - number * CHUNK), record.first, record.first_place, 0
        row = record.chunk_rows[0] + 16 * (number - 1)
        if number:
            revision, place, at = self._number(row, 8), self.place(self._number(row + 8, 4)), self._number(row + 12, 4)
        to = self._number(row + 28, 4) if row + 16 < record.chunk_rows[1] else end - start
        if not at <= to <= end - start:
            raise Bad("postings that lie elsewhere (SIX-4)")
        if not record.first <= revision <= record.last:
            raise Bad("a chunk of revisions that its record does not have (SIX-4)")
        out, mode, c = [(revision, place)], None, Cursor(self.side.read(start + at, start + to))
        if count > 1:
            mode = c.number(1)
            if mode > 1:
                raise Bad(f"postings of the unknown mode {mode}")
            for _ in range(count - 1):
                distance, step = c.var(), c.var() if mode == 1 else 1
                revision, place = revision + step, place + 8 * distance
                if distance == 0 or step == 0 or revision > record.last or place >= self.head.end:
                    raise Bad("a distance that leads nowhere (SIX-4)")
                out.append((revision, place))
        c.finish()
        return mode, out

    def sections(self, record):
        """First revision and frame of every section of a stream."""
        return [s for n in range(-(-record.sections // CHUNK)) for s in self.chunk(record, n)[1]]

    def types(self):
        """Every type, in the order of names; `places` is None where they are not listed."""
        out = []
        for i in range(self.head.types):
            at, end = self._number(self.head.type_rows_at + 4 * i, 4), self.head.type_rows_at
            c = Cursor(self.side.read(at, max(at, min(at + 287, end))))
            name = c.text(c.var(), 1, 255)
            events, batches, length = c.var(self.head.events), c.var(self.head.batches), c.var(end)
            places = None
            if 4 * batches < self.head.batches:
                p, units, places = Cursor(self.side.read(at + c.at, at + c.at + length)), 0, []
                for _ in range(batches):
                    distance = p.var()
                    units += distance
                    if distance == 0:
                        raise Bad("a distance of 0 (SIX-4)")
                    places.append(self.place(units))
                p.finish()
            elif length:
                raise Bad("places of a type that is in a quarter of the batches")
            out.append(TypeRecord(name, events, batches, places))
        return out


# --- the stream directory

RunHead = namedtuple("RunHead", "start end name_bytes names heads retries segments")
NameRow = namedtuple("NameRow", "stream first name")
HeadRow = namedtuple("HeadRow", "stream head head_position last_place")
RetryRow = namedtuple("RetryRow", "batch frame")
SegmentRow = namedtuple("SegmentRow", "ordinal end last_index span salt incarnation")
_HEAD_ROW, _RETRY_ROW, _ORDER = struct.Struct("<QQQQ"), struct.Struct("<16sQ"), struct.Struct("<I")


def padded(length):
    return (length + 7) // 8 * 8


def run_tables(head):
    """Offset and length of the seven tables of a run, and where the last one ends."""
    lengths = (32 * head.names, head.name_bytes, 4 * head.names, 32 * head.heads, 24 * head.retries, 4 * head.retries,
               64 * head.segments)
    out, at = [], 0
    for length in lengths:
        out.append((at, length))
        at += padded(length)
    return out, at


class Run:
    """A run of the directory: its head, and each of its tables."""

    def __init__(self, side):
        self.side = side
        if len(side.header.head) != 64:
            raise Bad(f"the head of a run with {len(side.header.head)} bytes")
        c = Cursor(side.header.head)
        self.head = RunHead(*(c.number(8) for _ in range(3)), *(c.number(4) for _ in range(4)))
        c.zeros(24, False)
        self._tables, length = run_tables(self.head)
        if self.head.start >= self.head.end or self.head.end > NUMBER_MAX or length != side.header.payload_length:
            raise Bad("the head of a run that its payload does not fit")

    def _table(self, number):
        at, length = self._tables[number]
        return self.side.read(at, at + length)

    def prove(self):
        """Every block, the zeros between the tables, and that the names fill what the head says."""
        self.side.prove()
        for at, length in self._tables:
            if any(self.side.read(at + length, at + padded(length))):
                raise Bad("a byte behind a table is set")
        names = Cursor(self._table(0))
        if sum(Cursor(names.take(32), 24).number(4) for _ in range(self.head.names)) != self.head.name_bytes:
            raise Bad("names that do not fill their table")

    def _order(self, number, rows):
        order = [row for (row,) in _ORDER.iter_unpack(self._table(number))]
        if any(row >= rows for row in order):
            raise Bad("an order names a row behind the last")
        return order

    def names(self):
        """The streams that were made in the stretch, by id."""
        rows, texts, out = Cursor(self._table(0)), self._table(1), []
        for _ in range(self.head.names):
            stream, first, at, length = rows.number(8), rows.number(8), rows.number(8), rows.number(4)
            rows.zeros(4, False)
            if at + length > len(texts):
                raise Bad("a name behind the names")
            out.append(NameRow(stream, first, Cursor(texts, at).text(length, 1, NAME_MAX)))
        return out

    def name_order(self):
        return self._order(2, self.head.names)

    def heads(self):
        return [HeadRow(*row) for row in _HEAD_ROW.iter_unpack(self._table(3))]

    def retries(self):
        return [RetryRow(*row) for row in _RETRY_ROW.iter_unpack(self._table(4))]

    def retry_order(self):
        return self._order(5, self.head.retries)

    def segments(self):
        rows, out = Cursor(self._table(6)), []
        for _ in range(self.head.segments):
            ordinal, end, index, span = rows.number(8), rows.number(8), rows.number(8), rows.number(4)
            rows.zeros(4, False)
            out.append(SegmentRow(ordinal, end, index, span, rows.take(16), rows.take(16)))
        return out


RunName = namedtuple("RunName", "number start end check")
Checkpoint = namedtuple(
    "Checkpoint", "generation incarnation at last_frame last_check last_index segment number last_seal next_to_seal streams "
                  "coded_raw coded_stored max_recorded salt seal_hash takeover runs")


def checkpoint(data):
    """The head of a checkpoint; its runs follow each other up to its place (DIR-1)."""
    c = Cursor(data)
    generation, incarnation = c.number(8), c.take(16)
    numbers = [c.number(8) for _ in range(11)]
    greatest, salt, digest, takeover, count = c.i64(), c.take(16), c.take(32), c.number(2), c.number(2)
    c.zeros(4, False)
    if count > RUNS_MAX:
        raise Bad(f"a checkpoint of {count} runs")
    runs, covered = [], 0
    for _ in range(count):
        run = RunName(c.number(8), c.number(8), c.number(8), c.number(8))
        if run.start != covered or run.end <= run.start:
            raise Bad("runs that do not follow each other (DIR-1)")
        covered = run.end
        runs.append(run)
    c.finish()
    found = Checkpoint(generation, incarnation, *numbers, greatest, salt, digest, takeover, runs)
    if (covered != found.at or found.last_frame >= found.at or found.last_index > found.last_frame or found.at > NUMBER_MAX
            or found.number > NUMBER_MAX):
        raise Bad("places of a checkpoint that contradict each other (DIR-1)")
    return found
