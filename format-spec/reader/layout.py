"""From bytes to fields: every structure of the pages, decoded and judged, one at a time.

Nothing here knows files or the order of frames. `Bad` says that bytes do not prove themselves or contradict a rule,
`Unsupported` that they are right and need a newer reader. No other exception leaves this module, whatever the bytes:
each length is compared with the bytes that are there before it is used.
"""

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import namedtuple

from hashes import crc, xxh64

K = 0x9E3779B97F4A7C15
U64 = (1 << 64) - 1
NONE = U64
HEAD_BLOCK, FIRST_FRAME, FRAME_HEADER, OPEN_LENGTH, OPEN_OFFSET = 4096, 8192, 72, 3840, 256
NAME_MAX, METADATA_MAX, BATCH_MAX, EVENTS_MAX, SECTIONS_MAX = 1024, 16 << 20, 1 << 30, 1 << 20, 1 << 16
FRAME_MAX, NUMBER_MAX = 2 << 30, 1 << 63
OPEN, BATCH, SEAL, INDEX = 1, 2, 3, 0x81


class Bad(Exception):
    """Bytes that are not what a writer of this format writes."""


class Unsupported(Exception):
    """Bytes that want a newer reader, or a key."""


class Cursor:
    """Reads fields one behind the other; `Bad` at the end of the bytes."""

    def __init__(self, data, at=0, end=None):
        self.data, self.at, self.end = data, at, len(data) if end is None else end

    def take(self, count):
        if count > self.end - self.at:
            raise Bad("a field reaches beyond its container")
        self.at += count
        return bytes(self.data[self.at - count:self.at])

    def number(self, size):
        return int.from_bytes(self.take(size), "little")

    def i64(self):
        return struct.unpack("<q", self.take(8))[0]

    def var(self, maximum=U64):
        value = 0
        for i in range(10):
            byte = self.number(1)
            value |= (byte & 0x7F) << (7 * i)
            if byte < 0x80:
                if (byte == 0 and i > 0) or value > U64:
                    raise Bad("a var is not in its shortest form (GEN-1)")
                if value > maximum:
                    raise Bad(f"the number {value} is beyond its limit {maximum}")
                return value
        raise Bad("a var has more than ten bytes (GEN-1)")

    def text(self, length, minimum, maximum):
        if not minimum <= length <= maximum:
            raise Bad(f"a text of {length} bytes, allowed are {minimum} to {maximum}")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise Bad("a text is not UTF-8") from None

    def zeros(self, count, newer):
        if any(self.take(count)):
            if newer:
                raise Unsupported("a reserved byte is set, in a store of a newer version")
            raise Bad("a reserved byte is set (GEN-2)")

    def finish(self):
        if self.at != self.end:
            raise Bad(f"{self.end - self.at} bytes too many")


class Seeds:
    """What the checks of one segment start from."""

    def __init__(self, salt):
        self.salt = salt
        self.low, self.high = struct.unpack("<QQ", salt)

    def short(self, position):
        return (((self.high ^ position) * K) & U64) >> 32

    def long(self, position):
        return self.low ^ ((position * K) & U64)


StoreBlock = namedtuple("StoreBlock", "raw minor compatible read_only store_id segment_size stride created_at newer")


def store_block(data):
    """Judged in the order of 01-store.md."""
    if len(data) != 128 or data[:8] != b"TREERING":
        raise Bad("not a store block")
    if xxh64(0, data[:120]) != int.from_bytes(data[120:], "little"):
        raise Bad("the store block's check is wrong")
    major, minor, length, compatible, read_only, incompatible = struct.unpack_from("<HHIQQQ", data, 8)
    if major != 1:
        raise Unsupported(f"the store has format version {major}.{minor}")
    if length != 128:
        raise Bad("the store block's length is not 128")
    if incompatible:
        raise Unsupported(f"the store uses the unknown features {incompatible:#x}")
    size, stride, created = struct.unpack_from("<QQq", data, 56)
    if size & (size - 1) or not 1 << 14 <= size <= 1 << 32:
        raise Bad(f"a segment size of {size} (STO-6)")
    if stride & (stride - 1) or not 1 << 12 <= stride <= size:
        raise Bad(f"an index stride of {stride} (STO-6)")
    newer = minor > 0 or compatible != 0 or read_only != 0
    Cursor(data, 80).zeros(40, newer)
    return StoreBlock(bytes(data), minor, compatible, read_only, bytes(data[40:56]), size, stride, created, newer)


SegmentHeader = namedtuple("SegmentHeader", "ordinal span salt created_at store")


def segment_header(data):
    if len(data) != 256 or data[:8] != b"TRINGSEG":
        raise Bad("not a segment header")
    if xxh64(0, data[:248]) != int.from_bytes(data[248:], "little"):
        raise Bad("the segment header's check is wrong")
    ordinal, span, first = struct.unpack_from("<QII", data, 8)
    block = store_block(data[120:248])
    if span < 1 or first != FIRST_FRAME or (ordinal + span) * block.segment_size > NUMBER_MAX:
        raise Bad("a span, first frame or ordinal that cannot be")
    Cursor(data, 48).zeros(72, block.newer)
    return SegmentHeader(ordinal, span, bytes(data[24:40]), struct.unpack_from("<q", data, 40)[0], block)


Header = namedtuple(
    "Header", "position kind flags takeover length plain witness events previous number recorded_at batch check")


def frame_header(read, offset, end, position, seeds):
    """The header at `offset`, proven with its plain part (FRM-1). `read(a, b)` gives bytes of the file; the frame must end
    at or before `end`. Returns the header and its plain part."""
    if end - offset < FRAME_HEADER:
        raise Bad("no room for a frame header")
    head = read(offset, offset + FRAME_HEADER)
    if len(head) != FRAME_HEADER:
        raise Bad("the file ends inside a frame header")
    check, kind, flags, takeover, length, plain, back, events, previous, number, recorded = struct.unpack_from(
        "<IBBHIIIIQQq", head)
    if kind in (0, 255) or length % 8 or FRAME_HEADER + plain > length or length > end - offset or length > FRAME_MAX:
        raise Bad("not a frame header")
    body = read(offset + FRAME_HEADER, offset + FRAME_HEADER + plain)
    if len(body) != plain or crc(crc(seeds.short(position), head[4:]), body) != check:
        raise Bad("the header check is wrong")
    witness = None if back == 0xFFFFFFFF else position - 8 * back
    if witness is not None and witness < 0:
        raise Bad("a witness before the log")
    if events > min(length, EVENTS_MAX) or (events and kind in (OPEN, SEAL, INDEX)) or number > NUMBER_MAX:
        raise Bad("a number of events that cannot be")
    header = Header(position, kind, flags, takeover, length, plain, witness, events, previous, number, recorded,
                    head[48:64], int.from_bytes(head[64:72], "little"))
    return header, body


def frame_check_right(read, offset, header, seeds):
    """Whether the frame is whole (FRM-2)."""
    data = read(offset, offset + header.length)
    return len(data) == header.length and xxh64(seeds.long(header.position), data[4:64] + data[72:]) == header.check


def require_known(header):
    """Unsupported for a required kind or flag that version 1.0 does not have."""
    if header.kind < 0x80 and header.kind not in (OPEN, BATCH, SEAL):
        raise Unsupported(f"a frame of the unknown kind {header.kind}")
    if header.flags & 0x0F:
        raise Unsupported(f"a frame with the unknown flags {header.flags & 15:#x}")


def _extensions(cursor):
    out = []
    for _ in range(cursor.var(cursor.end)):
        tag = cursor.number(1)
        out.append((tag, cursor.take(cursor.var(cursor.end))))
    return out


OpenPart = namedtuple(
    "OpenPart", "incarnation place boot predecessor end last_frame last_index salt newest_seal reason max_recorded extensions")


def open_part(plain, newer):
    c = Cursor(plain)
    incarnation = c.take(16)
    place = (c.number(8), c.number(8), c.i64())
    boot = c.take(16)
    predecessor, end, last_frame, last_index = (c.number(8) for _ in range(4))
    salt = c.take(16)
    seal = c.number(8)
    reason = c.number(1)
    c.zeros(7, newer)
    greatest = c.i64()
    c.zeros(32, newer)
    extensions = _extensions(c)
    c.finish()
    return OpenPart(incarnation, place, boot, predecessor, end, last_frame, last_index, salt, seal, reason, greatest,
                    extensions)


class Section:
    """One stream's part of a batch. `stream` is its id, `back` the position of the stream's previous frame."""

    __slots__ = ("flags", "creates", "coded", "name", "stream", "first", "back", "count", "body_length", "codec", "key",
                 "raw_length", "stored_check", "types", "entries", "first_position", "body_offset", "skips")


Entry = namedtuple("Entry", "flags type id occurred recorded tags digests metadata payload check own position raw_at at")


def _section(c, header, first_position):
    s = Section()
    s.flags = c.number(1)
    if s.flags & 0x1C:
        raise Unsupported("a section with an unknown required flag")
    s.creates, s.coded, s.first_position = bool(s.flags & 1), bool(s.flags & 2), first_position
    if s.creates:
        s.name = c.text(c.var(), 1, NAME_MAX)
        s.stream, s.first, s.back = first_position, 0, None
    else:
        s.name = None
        s.stream = header.position - c.var(header.position)
        s.first = c.var(NUMBER_MAX)
        s.back = header.position - 8 * c.var(header.position // 8)
    s.count = c.var(header.events)
    if s.count == 0:
        raise Bad("a section without events")
    s.body_length = c.var(FRAME_MAX)
    s.codec = s.key = s.stored_check = s.raw_length = None
    if s.coded:
        s.codec, s.key, s.raw_length, s.stored_check = c.number(1), c.var(), c.var(BATCH_MAX), c.number(4)
        if s.raw_length > 1024 * s.body_length:
            raise Bad("a raw length out of proportion (BAT-7)")
    types = c.var(c.end)
    if types == 0:
        raise Bad("a section without types")
    s.types = [c.text(c.number(1), 1, 255) for _ in range(types)]
    s.skips = [(c.number(4), c.number(4)) for _ in range((s.count - 1) // 16)]
    start, raw, s.entries = c.at, 0, []
    for i in range(s.count):
        if i and i % 16 == 0 and s.skips[i // 16 - 1] != (c.at - start, raw):
            raise Bad("a skip table that leads elsewhere (BAT-9)")
        entry = _entry(c, s, first_position + i, raw)
        raw += entry.metadata + entry.payload
        s.entries.append(entry)
    if raw != (s.raw_length if s.coded else s.body_length) or raw > BATCH_MAX:
        raise Bad("the lengths of a section do not add up (BAT-6)")
    return s


def _entry(c, section, position, raw_at):
    start = c.at
    flags = c.number(1)
    index = c.var()
    if index >= len(section.types):
        raise Bad("an event of a type that its section does not have")
    ident = c.text(c.number(1), 1, 255) if flags & 1 else None
    occurred = c.i64() if flags & 2 else None
    recorded = c.i64() if flags & 4 else None
    tags = c.take(c.var()) if flags & 8 else None
    digests = c.take(64) if flags & 16 else None
    if digests is not None and not section.key:
        raise Bad("digests outside an encrypted section")
    metadata, payload = c.var(METADATA_MAX), c.var(BATCH_MAX)
    own = bytes(c.data[start:c.at])
    check = c.number(4)
    return Entry(flags, section.types[index], ident, occurred, recorded, tags, digests, metadata, payload, check, own,
                 position, raw_at, start)


def event_check(entry, body, seeds):
    """The check of an event over the raw bytes metadata ++ payload."""
    value = crc(seeds.short(entry.position), entry.own)
    return crc(crc(value, entry.type.encode()), body)


Fork = namedtuple("Fork", "position name parent revision place depth jump jump_depth lowest")
Snapshot = namedtuple("Snapshot", "position section source first end place chain_first chain_end label version")
CursorItem = namedtuple("CursorItem", "position name token")
Claim = namedtuple("Claim", "position stream note")
Fence = namedtuple("Fence", "position stream claim")
Accept = namedtuple("Accept", "position ranges streams")
Batch = namedtuple("Batch", "sections items")


def batch_part(header, plain):
    """Sections and items of a batch frame; the places of the bodies are offsets in the frame."""
    c = Cursor(plain)
    section_count, item_count = c.var(SECTIONS_MAX), c.var(len(plain))
    if section_count + item_count == 0:
        raise Bad("an empty batch")
    sections, events, body = [], 0, FRAME_HEADER + header.plain
    for _ in range(section_count):
        s = _section(c, header, header.position + events)
        s.body_offset = body
        body += s.body_length
        events += s.count
        sections.append(s)
    if events != header.events:
        raise Bad("the sections do not add up to the frame's events (BAT-2)")
    if len({s.stream for s in sections}) != len(sections):
        raise Bad("two sections of one stream (BAT-3)")
    items = [_item(c, header, header.position + events + j, sections) for j in range(item_count)]
    c.finish()
    if (body + 7) // 8 * 8 != header.length:
        raise Bad("the bodies do not fill the frame (BAT-1)")
    return Batch(sections, items)


def _item(c, header, position, sections):
    kind, length = c.number(1), c.var()
    i = Cursor(c.take(length))
    frame = header.position

    def back(start, unit=1):
        distance = i.var(start // unit) * unit
        return start - distance

    if kind == 1:
        name, parent, revision = i.text(i.var(), 1, NAME_MAX), back(position), i.var(NUMBER_MAX)
        item = Fork(position, name, parent, revision, back(frame, 8), i.var(), back(position), i.var(), back(revision))
    elif kind == 2:
        index = i.var()
        if index >= len(sections):
            raise Bad("a snapshot of a section that is not there")
        item = Snapshot(position, index, back(frame), i.var(NUMBER_MAX), i.var(NUMBER_MAX), back(frame, 8), i.take(32),
                        i.take(32), i.text(i.var(), 0, i.end), i.text(i.var(), 0, i.end))
        if item.end <= item.first:
            raise Bad("a snapshot of an empty range")
    elif kind == 3:
        item = CursorItem(position, i.text(i.var(), 1, NAME_MAX), token(i.take(88)))
    elif kind == 4:
        item = Claim(position, back(frame), i.text(i.var(), 0, i.end))
    elif kind == 5:
        item = Fence(position, back(frame), back(frame))
    elif kind == 6:
        ranges = [(i.var(NUMBER_MAX), i.var(NUMBER_MAX), i.number(1)) for _ in range(i.var(i.end))]
        if any(not 1 <= r[2] <= 3 for r in ranges):
            raise Bad("an accept of an unknown class")
        item = Accept(position, ranges, [(i.var(), i.var()) for _ in range(i.var(i.end))])
    elif kind < 0x80:
        raise Unsupported(f"an item of the unknown kind {kind}")
    else:
        return None
    i.finish()
    return item


IndexStream = namedtuple("IndexStream", "stream name parent revision")
IndexFrame = namedtuple("IndexFrame", "position length kind sections")
Index = namedtuple("Index", "number first previous jump max_recorded streams frames extensions")


def index_part(header, plain):
    c = Cursor(plain)
    here = header.position
    number = c.var()
    first, previous, jump = (here - 8 * c.var(here // 8) for _ in range(3))
    greatest = c.i64()
    streams = []
    for _ in range(c.var(c.end)):
        flags = c.number(1)
        if flags & 0x1C:
            raise Unsupported("an index block with an unknown required flag")
        stream = here - c.var(here)
        name = c.text(c.var(), 1, NAME_MAX) if flags & 1 else None
        parent, revision = (here - c.var(here), c.var(NUMBER_MAX)) if flags & 2 else (None, None)
        streams.append(IndexStream(stream, name, parent, revision))
    frames, at = [], first
    for _ in range(c.var(c.end)):
        length, shape, kind, sections = c.var(FRAME_MAX) * 8, c.var(SECTIONS_MAX + 1), BATCH, []
        if shape == 0:
            kind = c.number(1)
        for _ in range(shape - 1):
            stream, revision, count = c.var(), c.var(NUMBER_MAX), c.var(EVENTS_MAX)
            if stream >= len(streams):
                raise Bad("an index block names a stream that it does not list")
            sections.append((streams[stream].stream, revision, count))
        frames.append(IndexFrame(at, length, kind, sections))
        at += length
    extensions = _extensions(c)
    c.finish()
    if at != here:
        raise Bad("the lengths of an index block do not add up (IDX-3)")
    return Index(number, first, None if previous == here else previous, None if jump == here else jump, greatest, streams,
                 frames, extensions)


SealPart = namedtuple("SealPart", "ordinal end previous span hash previous_hash")


def seal_part(plain, newer):
    c = Cursor(plain)
    ordinal, end, previous, span = c.number(8), c.number(8), c.number(8), c.number(4)
    c.zeros(4, newer)
    seal = SealPart(ordinal, end, previous, span, c.take(32), c.take(32))
    c.finish()
    return seal


Slot = namedtuple("Slot", "generation store_id incarnation durable last_check last_frame last_index number salt takeover "
                          "clean boot")


def watermark_slot(data):
    if len(data) != 128 or data[:8] != b"TRINGWMK":
        raise Bad("not a watermark slot")
    if xxh64(0, data[:120]) != int.from_bytes(data[120:], "little"):
        raise Bad("the slot's check is wrong")
    c = Cursor(data, 8)
    generation, store, incarnation = c.number(8), c.take(16), c.take(16)
    durable, check, frame, index, number = (c.number(8) for _ in range(5))
    salt, takeover, flags = c.take(16), c.number(2), c.number(1)
    c.zeros(5, False)
    if flags & ~1:
        raise Bad("a slot with an unknown flag")
    if frame >= durable or durable > NUMBER_MAX or index > frame or number > NUMBER_MAX:
        raise Bad("a slot that contradicts itself (WMK-6)")
    return Slot(generation, store, incarnation, durable, check, frame, index, number, salt, takeover, bool(flags & 1),
                int.from_bytes(data[112:120], "little"))


def token_text(data):
    """The text form of a token (CHN-4)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def token_of_text(text):
    """The token of a text; only the form that token_text gives is one (CHN-4)."""
    try:
        data = urlsafe_b64decode(text.encode("ascii") + b"==")
    except ValueError:
        raise Bad("not the text form of a cursor token (CHN-4)") from None
    if token_text(data) != text:
        raise Bad("not the text form of a cursor token (CHN-4)")
    return token(data)


Token = namedtuple("Token", "takeover store_id incarnation segment frame ordinal number check")


def token(data):
    if len(data) != 88 or data[:6] != b"TRCT\x01\x00" or xxh64(0, data[:80]) != int.from_bytes(data[80:], "little"):
        raise Bad("not a cursor token of version 1 (CHN-3)")
    c = Cursor(data, 6)
    takeover, store, incarnation, segment, frame = c.number(2), c.take(16), c.take(16), c.number(8), c.number(8)
    ordinal = c.number(4)
    c.zeros(4, False)
    return Token(takeover, store, incarnation, segment, frame, ordinal, c.number(8), c.number(8))
