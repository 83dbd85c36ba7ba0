"""Events, streams and items of the log, in order.

Follows 05-batch.md. Each event is judged by its own check (BAT-10); what is wrong with a frame's bodies, a revision, a name
or an item becomes a `Finding` of the log, and reading goes on.
"""

from files import Finding
from hashes import crc
from layout import (BATCH, FRAME_HEADER, INDEX, NONE, Accept, Bad, Fork, Seeds, Unsupported, batch_part, event_check,
                    index_part)

try:
    from compression import zstd as _zstd  # Python 3.14 and later

    def _decompress(data, length):
        return _zstd.ZstdDecompressor().decompress(data, max_length=length + 1)
except ImportError:
    try:
        import zstandard as _zstd

        def _decompress(data, length):
            return _zstd.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data).read(length + 1)
    except ImportError:
        _zstd = _decompress = None


def decode_simple_zstd(data, length):
    """A zstd frame of raw and run-length blocks only, as RFC 8878 lays them out; None when it has others."""
    if data[:4] != b"\x28\xb5\x2f\xfd" or len(data) < 5 or data[4] & 0x1B:
        return None
    single = data[4] & 0x20
    at = 5 + (0 if single else 1) + ((1 if single else 0), 2, 4, 8)[data[4] >> 6]
    checksum, out = bool(data[4] & 4), b""
    while True:
        head = data[at:at + 3]
        if len(head) < 3:
            return None
        word = int.from_bytes(head, "little")
        last, kind, size = word & 1, (word >> 1) & 3, word >> 3
        at += 3
        if kind == 0:
            part = data[at:at + size]
            at += size
        elif kind == 1:
            part = data[at:at + 1] * min(size, length + 1)
            at += 1
            size = len(part)
        else:
            return None
        if len(part) != size or len(out) + size > length:
            return None
        out += part
        if last:
            return out if at + (4 if checksum else 0) == len(data) else None


class Event:
    """An event that proved itself, or, with `coded` set, the outside of one whose body cannot be decoded here."""

    __slots__ = ("stream", "stream_id", "revision", "position", "id", "type", "recorded_at", "occurred_at", "metadata",
                 "payload", "batch", "coded", "lengths", "digests", "tags")


class Streams:
    """What is known of names, heads and parents while the log is read in order."""

    def __init__(self):
        self.names, self.ids, self.heads, self.places, self.forks = {}, {}, {}, {}, {}
        self.owners, self.held = {}, {}

    def name(self, stream, name):
        """Whether the name is new, or this stream's own."""
        self.names[stream] = name
        return self.ids.setdefault(name, stream) == stream

    def depth(self, stream):
        return self.forks[stream].depth if stream in self.forks else 0

    def jump(self, stream):
        return self.forks[stream].jump if stream in self.forks else stream

    def lowest(self, stream):
        return self.forks[stream].lowest if stream in self.forks else NONE

    def owner(self, stream, revision):
        """The stream of the lineage to which the event was appended that a stream has at a revision."""
        while stream in self.forks and revision <= self.forks[stream].revision and self.owners[stream] < stream:
            stream = self.owners[stream]
        return stream


class Reader:
    """Hands out the events of a log. `streams`, `items` and the log's findings are complete once `events` is used up."""

    def __init__(self, log):
        self.log, self.streams, self.items, self.accepts = log, Streams(), [], []
        self.indexes = {}
        for frame in log.frames:
            if frame.header.kind == INDEX and frame.whole:
                try:
                    self.indexes[frame.position] = index_part(frame.header, frame.plain)
                except Unsupported:
                    pass
                except Bad as error:
                    self.damage(frame, 0, frame.header.length, str(error))
        listed = [s for i in self.indexes.values() for s in i.streams if s.name is not None]
        self.index_names = {s.stream: s.name for s in listed}
        self.index_forks = {s.stream: (s.parent, s.revision) for s in listed if s.parent is not None and s.parent < s.stream}

    def damage(self, frame, start, end, detail, positions=None):
        base = frame.offset
        self.log.findings.append(Finding("damage", frame.segment.name, base + start, base + end, detail, positions))

    def lossy(self):
        """Whether something is lost, so that a gap in revisions has a reason."""
        return any(f.kind in ("damage", "missing", "foreign", "stale") for f in self.log.findings)

    def events(self):
        for frame in self.log.frames:
            if frame.header.kind == BATCH:
                try:
                    batch = batch_part(frame.header, frame.plain)
                except (Bad, Unsupported) as error:
                    self.damage(frame, 0, frame.header.length, str(error), (frame.position, frame.end))
                    continue
                yield from self._frame(frame, batch)
            if not frame.whole and frame.header.kind != BATCH:
                self.damage(frame, FRAME_HEADER + frame.header.plain, frame.header.length, "the frame check is wrong")

    def mark_accepted(self):
        """Marks the findings that an accept names (BAT-17)."""
        for finding in self.log.findings:
            where = finding.positions
            if not where and finding.file.endswith(".segment"):
                base = self.log.files.base(int(finding.file[:16], 16))
                where = base + finding.start, base + finding.end
            if where and finding.kind not in ("note", "torn_tail"):
                finding.accepted = any(a <= where[0] and where[1] <= a + n for item in self.accepts for a, n, _ in item.ranges)

    def _frame(self, frame, batch):
        before = len(self.log.findings)
        for section in batch.sections:
            name = self._place_section(frame, section)
            yield from self._section(frame, section, name)
        if not frame.whole and len(self.log.findings) == before:
            self.damage(frame, FRAME_HEADER + frame.header.plain, frame.header.length,
                        "the frame check is wrong; every event in it is right")
        tail = frame.header.length - (frame.header.length - 7) // 8 * 8
        used = batch.sections[-1].body_offset + batch.sections[-1].body_length if batch.sections else (
            FRAME_HEADER + frame.header.plain)
        if frame.whole and any(self._read(frame, used, used + tail)[:frame.header.length - used]):
            self.damage(frame, used, frame.header.length, "the padding is not zero (FRM-6)")
        for item in batch.items:
            if item is not None:
                self._item(frame, item)

    def _read(self, frame, start, end):
        return frame.segment.file.read(frame.offset + start, frame.offset + end)

    def _place_section(self, frame, s):
        """Checks name, revision and place of a section against what came before; returns the stream's name."""
        streams, problem = self.streams, None
        if s.creates:
            if not streams.name(s.stream, s.name):
                problem = f"the name {s.name!r} is another stream's (BAT-5)"
        elif s.stream not in streams.heads:
            name = self.index_names.get(s.stream)
            if name is not None:
                streams.name(s.stream, name)
            if s.stream in self.index_forks:
                # The item is lost; that the jump leads to the parent is as good as any that leads upwards.
                parent, revision = self.index_forks[s.stream]
                streams.owners[s.stream] = streams.owner(parent, revision)
                streams.forks[s.stream] = Fork(s.stream, name, parent, revision, 0, streams.depth(parent) + 1, parent,
                                               streams.depth(parent), revision)
            if not self.lossy():
                problem = "a section of a stream that nothing made"
        else:
            expected = streams.heads[s.stream]
            if s.first != expected and not (s.first > expected and self.lossy()):
                problem = f"revision {s.first} where {expected} is next (BAT-4)"
            elif s.back != streams.places.get(s.stream, s.back) and not self.lossy():
                problem = "a previous place that is not the stream's (BAT-4)"
        if problem:
            self.damage(frame, 0, frame.header.length, problem, (s.first_position, s.first_position + s.count))
        streams.heads[s.stream], streams.places[s.stream] = s.first + s.count, frame.position
        streams.held.setdefault(frame.position, []).append((s.stream, s.first, s.count))
        return streams.names.get(s.stream, f"${s.stream}")

    def _section(self, frame, s, name):
        seeds = Seeds(frame.segment.salt)
        body, coded = self._read(frame, s.body_offset, s.body_offset + s.body_length), None
        if s.coded:
            if crc(seeds.short(s.first_position), body) != s.stored_check:
                self.damage(frame, s.body_offset, s.body_offset + s.body_length, "the stored check is wrong (BAT-7)",
                            (s.first_position, s.first_position + s.count))
                return
            body, coded = self._decode(s, body)
            if body is not None and len(body) != s.raw_length:
                self.damage(frame, s.body_offset, s.body_offset + s.body_length, "decodes to another length (BAT-7)",
                            (s.first_position, s.first_position + s.count))
                return
        for i, entry in enumerate(s.entries):
            event = Event()
            event.stream, event.stream_id, event.revision, event.position = name, s.stream, s.first + i, entry.position
            event.id, event.type, event.occurred_at, event.tags = entry.id, entry.type, entry.occurred, entry.tags
            event.recorded_at = frame.header.recorded_at if entry.recorded is None else entry.recorded
            event.batch, event.coded, event.digests = frame.header.batch, coded, entry.digests
            event.lengths, event.metadata, event.payload = (entry.metadata, entry.payload), None, None
            if body is not None:
                raw = body[entry.raw_at:entry.raw_at + entry.metadata + entry.payload]
                if event_check(entry, raw, seeds) != entry.check or len(raw) != entry.metadata + entry.payload:
                    start = s.body_offset + (0 if s.coded else entry.raw_at)
                    end = s.body_offset + s.body_length if s.coded else start + len(raw)
                    self.damage(frame, start, end, "the event's check is wrong (BAT-10)", (entry.position, entry.position + 1))
                    continue
                event.metadata, event.payload = raw[:entry.metadata], raw[entry.metadata:]
            yield event

    @staticmethod
    def _decode(s, body):
        """The raw body, or None and why it stays coded."""
        if s.key:
            return None, "encrypted"
        if s.codec != 1:
            return None, f"codec {s.codec}"
        raw = decode_simple_zstd(body, s.raw_length)
        if raw is None and _decompress:
            try:
                raw = _decompress(body, s.raw_length)
            except Exception:  # the libraries raise kinds of their own; what they refuse is damage
                return b"", None
        return (raw, None) if raw is not None else (None, "zstd")

    def _item(self, frame, item):
        self.items.append((frame, item))
        streams = self.streams
        if isinstance(item, Accept):
            self.accepts.append(item)
            for stream, head in item.streams:
                streams.heads[stream] = 0 if head == NONE else head + 1
        if isinstance(item, Fork):
            problem = self._fork_problem(item)
            if not streams.name(item.position, item.name):
                problem = f"the name {item.name!r} is another stream's (BAT-5)"
            if problem:
                self.damage(frame, 0, frame.header.length, problem, (item.position, item.position + 1))
            streams.owners[item.position] = streams.owner(item.parent, item.revision)
            streams.forks[item.position] = item
            streams.heads[item.position], streams.places[item.position] = item.revision + 1, frame.position

    def _fork_problem(self, fork):
        streams, parent = self.streams, fork.parent
        if parent >= fork.position:
            return "a fork older than its parent (BAT-14)"
        if parent not in streams.heads:
            return None if self.lossy() else "a fork of a stream that is not there (BAT-14)"
        if fork.revision >= streams.heads[parent]:
            return "a fork behind its parent's head (BAT-14)"
        near, d = streams.jump(parent), streams.depth
        far = streams.jump(near)
        jump, lowest = parent, fork.revision
        if d(parent) - d(near) == d(near) - d(far):
            jump, lowest = far, min(fork.revision, streams.lowest(parent), streams.lowest(near))
        if (fork.depth, fork.jump, fork.jump_depth, fork.lowest) != (d(parent) + 1, jump, d(jump), lowest):
            return None if self.lossy() else "a wrong depth or jump link (BAT-14)"
        owner, held = streams.owner(parent, fork.revision), streams.held.get(fork.place, ())
        if not any(s == owner and first <= fork.revision < first + count for s, first, count in held):
            return None if self.lossy() else "a place that does not hold the last shared revision (BAT-14)"
        return None
