"""Everything beyond reading that the pages let be checked: links, index blocks, seals, witnesses, snapshots.

Works on a log whose events were read; what it finds is added to the log's findings.
"""

from files import Finding
from hashes import blake3
from layout import (BATCH, FIRST_FRAME, HEAD_BLOCK, INDEX, NONE, OPEN_OFFSET, SEAL, Bad, Claim, Fence, Fork, Snapshot,
                    Unsupported, batch_part, seal_part)

NO_TIME = -(1 << 63)


def canonical(event):
    """The canonical form of 09-chain-and-tokens.md."""
    ident = (event.id or "").encode()
    kind = event.type.encode()
    first, second = event.digests[:32] if event.digests else None, event.digests[32:] if event.digests else None
    occurred = event.occurred_at
    return b"".join((
        b"TRE1", event.revision.to_bytes(8, "little"), bytes([len(ident)]), ident, bytes([len(kind)]), kind,
        event.recorded_at.to_bytes(8, "little", signed=True), bytes([occurred is not None]),
        (occurred or 0).to_bytes(8, "little", signed=True),
        event.lengths[0].to_bytes(8, "little"), first or blake3(event.metadata),
        event.lengths[1].to_bytes(8, "little"), second or blake3(event.payload)))


class Verifier:
    """One pass over the frames of a log."""

    def __init__(self, reader):
        self.reader, self.log, self.files = reader, reader.log, reader.log.files
        self.broken = {f.file for f in self.log.findings if f.kind not in ("note", "torn_tail")}
        self.seals_checked = 0

    def damage(self, segment, start, end, detail):
        self.log.findings.append(Finding("damage", segment.name, start, end, detail))

    def run(self, events, seals=True):
        self._witnesses()
        self._opens()
        self._indexes(self._maxima())
        if seals:
            self._seals()
        self._snapshots(events)
        self._fences()

    def _frames_by_segment(self):
        out = {}
        for frame in self.log.frames:
            out.setdefault(frame.segment.ordinal, (frame.segment, []))[1].append(frame)
        return out

    def _witnesses(self):
        """FRM-9: along the chain a witness does not go down."""
        greatest, frames = 0, self._frames_by_segment()
        for segment, ordinal, _, _, walk in self.log.walks:
            if segment is None or (ordinal not in frames and segment.open_header is None):
                continue
            headers = [(OPEN_OFFSET, segment.open_header)] if segment.open_header else []
            headers += [(f.offset, f.header) for f in frames.get(ordinal, (0, []))[1]]
            for offset, header in headers:
                if header.witness is not None:
                    if header.witness < greatest:
                        self.damage(segment, offset, offset + header.length, "the witness goes down (FRM-9)")
                    greatest = max(greatest, header.witness)

    def _maxima(self):
        """The greatest recorded_at of all events before each frame, and at each segment's start; None where unknown."""
        greatest, out = NO_TIME, {}
        for segment, ordinal, _, _, walk in self.log.walks:
            if segment is None:
                continue
            if segment.open is not None:
                if greatest is not None and segment.open.max_recorded != greatest and not self.reader.lossy():
                    self.damage(segment, OPEN_OFFSET, HEAD_BLOCK, "a wrong running maximum (04-open.md)")
                greatest = segment.open.max_recorded
            for frame in self.log.frames:
                if frame.segment is not segment:
                    continue
                out[frame.position] = greatest
                if frame.header.kind == BATCH:
                    try:
                        for section in batch_part(frame.header, frame.plain).sections:
                            for entry in section.entries:
                                recorded = frame.header.recorded_at if entry.recorded is None else entry.recorded
                                greatest = max(greatest, recorded) if greatest is not None else None
                    except (Bad, Unsupported):
                        greatest = None
        return out

    def _opens(self):
        """OPN-2 to OPN-4 and OPN-7, between each pair of neighbours of the line."""
        frames, seal = self._frames_by_segment(), 0
        for i, (segment, ordinal, _, _, _) in enumerate(self.log.walks):
            if segment is None or segment.open is None:
                seal = None
                continue
            part, previous = segment.open, self.log.walks[i - 1][0] if i else None
            if seal is not None and part.newest_seal != seal and segment.name not in self.broken:
                self.damage(segment, OPEN_OFFSET, HEAD_BLOCK, "names another newest seal (04-open.md)")
            inside = frames.get(ordinal, (segment, []))[1]
            for frame in inside:
                seal = frame.position if frame.header.kind == SEAL else seal
            if previous is None or part.predecessor != previous.ordinal or previous.name in self.broken:
                continue
            before = frames.get(previous.ordinal, (previous, []))[1]
            indexes = [f.position for f in before if f.header.kind == INDEX]
            base = self.files.base(previous.ordinal)
            wanted = (before[-1].end, before[-1].position, before[-1].header.check) if before else (
                base + FIRST_FRAME, base + OPEN_OFFSET, previous.open_header.check if previous.open_header else 0)
            if (part.end, part.last_frame, segment.open_header.previous) != wanted:
                self.damage(segment, OPEN_OFFSET, HEAD_BLOCK, "does not name its predecessor's last frame (OPN-4)")
            if part.last_index != (indexes[-1] if indexes else 0):
                self.damage(segment, OPEN_OFFSET, HEAD_BLOCK, "does not name its predecessor's last index block")
            if previous.open and part.incarnation != previous.open.incarnation and part.reason != 5:
                self.damage(segment, OPEN_OFFSET, HEAD_BLOCK, "another incarnation without a reason (OPN-7)")

    def _indexes(self, maxima):
        """IDX-1 to IDX-5, in segments in which no frame is lost."""
        links = {0: 0}
        for segment, frames in self._frames_by_segment().values():
            if segment.name in self.broken:
                continue
            known, stretch, number, last = set(), [], 0, 0
            start, left = FIRST_FRAME, any(s is segment for s, *_ in self.log.walks[:-1])
            positions = []
            for frame in frames:
                if frame.header.kind != INDEX:
                    if frame.offset - start >= self.files.block.stride:
                        self.damage(segment, frame.offset, frame.offset + 72, "an index block is missing before it (IDX-1)")
                    stretch.append(frame)
                    continue
                index = self.reader.indexes.get(frame.position)
                if index is None:
                    continue
                if number not in links:
                    q = number - 1
                    links[number] = links[links[q]] if q - links[q] == links[q] - links[links[q]] else q
                jump = positions[links[number]] if number else None
                problem = self._index_problem(index, stretch, known, number, last or None, jump, segment, start)
                if problem is None and maxima.get(frame.position) not in (None, index.max_recorded):
                    problem = "a wrong running maximum"
                if problem:
                    self.damage(segment, frame.offset, frame.offset + frame.header.length, f"{problem} (06-index-block.md)")
                positions.append(frame.position)
                stretch, number, last, start = [], number + 1, frame.position, frame.offset + frame.header.length
            successor = next((w[3] for w in self.log.walks if w[0] is segment), None)
            if left and stretch and successor is not None and successor.open and successor.open.reason in (1, 3):
                self.damage(segment, start, start, "left without a last index block (IDX-2)")

    def _index_problem(self, index, stretch, known, number, previous, jump, segment, start):
        if (index.number, index.previous, index.jump) != (number, previous, jump):
            return "a wrong number or link"
        if index.first != self.files.base(segment.ordinal) + start:
            return "a stretch that starts elsewhere (IDX-3)"
        order, frames = [], []
        for frame in stretch:
            sections = []
            if frame.header.kind == BATCH:
                batch = batch_part(frame.header, frame.plain)
                sections = [(s.stream, s.first, s.count) for s in batch.sections]
                order += [(s.stream, None) for s in batch.sections]
                order += [(i.position, i) for i in batch.items if isinstance(i, Fork)]
            frames.append((frame.position, frame.header.length, frame.header.kind, sections))
        if [tuple(f) for f in index.frames] != frames:
            return "frames that are not those of its stretch (IDX-4)"
        listed = {}
        for stream, _ in order:
            listed.setdefault(stream, None)
        if [s.stream for s in index.streams] != list(listed):
            return "streams that are not those of its stretch (IDX-4)"
        for s in index.streams:
            fork = self.reader.streams.forks.get(s.stream)
            name = None if s.stream in known else self.reader.streams.names.get(s.stream)
            parent = (fork.parent, fork.revision) if fork and name is not None else (None, None)
            if fork is None and self.reader.lossy():
                parent = s.parent, s.revision  # its item may be among what is lost
            if (s.name, (s.parent, s.revision)) != (name, parent):
                return "a wrong name or parent (IDX-5)"
            known.add(s.stream)
        return None

    def _seals(self):
        line = [w for w in self.log.walks]
        expected, before = 0, None
        for frame in self.log.frames:
            if frame.header.kind != SEAL or not frame.whole:
                continue
            try:
                seal = seal_part(frame.plain, frame.segment.newer)
            except (Bad, Unsupported) as error:
                self.damage(frame.segment, frame.offset, frame.offset + frame.header.length, str(error))
                continue
            place = next((i for i, w in enumerate(line) if w[1] == seal.ordinal), None)
            known = before.hash if before else bytes(32)
            if not self.reader.lossy() and (place != expected or seal.ordinal >= frame.segment.ordinal
                                            or seal.previous_hash != known or line[place][2] != seal.end):
                self.damage(frame.segment, frame.offset, frame.offset + frame.header.length,
                            "a seal out of order or of another end (SEA-1, SEA-2, SEA-4)")
            expected, before = expected + 1, seal
            target = line[place][0] if place is not None else None
            if target is None:
                continue
            base = self.files.base(target.ordinal)
            length = seal.end - base
            if 0 <= length <= target.file.length:
                self.seals_checked += 1
                if blake3(seal.previous_hash + target.file.read(0, length)) != seal.hash:
                    self.damage(target, 0, length, "the bytes are not those that were sealed (SEA-3)")
            else:
                self.damage(target, 0, target.file.length, "shorter than its seal says (SEA-3)")

    def _fences(self):
        """BAT-19: each fence names the newest claim of its stream."""
        newest = {}
        for frame, item in self.reader.items:
            if isinstance(item, Claim):
                newest[item.stream] = item.position
            elif isinstance(item, Fence) and newest.get(item.stream) != item.claim and not self.reader.lossy():
                self.damage(frame.segment, frame.offset, frame.offset + frame.header.length,
                            "a fence of a claim that is not the stream's newest (BAT-19)")

    def _snapshots(self, events):
        """BAT-16: the chain values of each snapshot against its source."""
        snapshots = [(f, i) for f, i in self.reader.items if isinstance(i, Snapshot)]
        if not snapshots:
            return
        forks, by_stream = self.reader.streams.forks, {}
        for event in events:
            by_stream.setdefault(event.stream_id, {})[event.revision] = event
        for frame, item in snapshots:
            chain, values = bytes(32), {-1: bytes(32)}
            for revision in range(item.end):
                stream = item.source
                while stream in forks and revision <= forks[stream].revision:
                    stream = forks[stream].parent
                event = by_stream.get(stream, {}).get(revision)
                if event is None or (event.payload is None and not event.digests):
                    break
                chain = values[revision] = blake3(chain + canonical(event))
            else:
                if (item.chain_first, item.chain_end) != (values[item.first - 1], values[item.end - 1]):
                    self.log.findings.append(Finding(
                        "note", frame.segment.name, frame.offset, frame.offset + frame.header.length,
                        "a snapshot that does not match its source is ignored (BAT-16)"))
