"""Side files held against the log that they were derived from.

For each side file of a store: whether it counts (SID-1, SIX-1, DIR-1), and, where it does, whether all that it says is what
the frames say. Nothing here changes what the log is: a side file that does not count, or that lies, is no damage.
"""

import os
from collections import Counter, namedtuple

from files import FileBytes
from layout import BATCH, FIRST_FRAME, INDEX, OPEN_OFFSET, SEAL, Bad, Fork, Unsupported, batch_part, seal_part
from side_files import (CHECKPOINT, INDEX as INDEX_KIND, KIND_NAMES, RUN, TOP, Run, SegmentIndex, SideFile, checkpoint,
                        kind_of_name)

GIVEN_ID, WINDOW, NO_TIME = 16, 65536, -(1 << 63)
Stream = namedtuple("Stream", "name first head position place")


class Lie(Exception):
    """A side file counts, and says what the log does not."""


def same(what, said, found):
    if said != found:
        raise Lie(f"{what}: it says {said}, the log {found}")


def jump_target(number):
    """The number that the jump link of `number` leads to (06-index-block.md); None for 0."""
    rest, term = number, 0
    while rest:
        term = (1 << (rest + 1).bit_length() - 1) - 1
        rest -= term
    return number - term if number else None


class Told:
    """What the frames of the log say, up to each place that somebody asks about."""

    def __init__(self, log):
        self.log, self.batches = log, {}
        self.by_position = {frame.position: frame for frame in log.frames}
        for frame in log.frames:
            if frame.header.kind == BATCH:
                try:
                    self.batches[frame.position] = batch_part(frame.header, frame.plain)
                except (Bad, Unsupported):
                    pass

    def times(self, frame):
        return [frame.header.recorded_at if e.recorded is None else e.recorded
                for s in self.batch(frame).sections for e in s.entries]

    def batch(self, frame):
        batch = self.batches.get(frame.position)
        if batch is None:
            raise Bad("a batch of the log that it covers is bad")
        return batch

    def walk_of(self, ordinal):
        return next((w for w in self.log.walks if w[1] == ordinal and w[0] is not None), None)

    def frames_of(self, segment):
        return [f for f in self.log.frames if f.segment is segment]

    def holder(self, position):
        """The frame of the log at this position."""
        return self.by_position.get(position)

    def streams(self, upto):
        """Every stream as it stands before a place."""
        out = {}
        for frame in self.log.frames:
            batch = self.batches.get(frame.position)
            if batch is None or frame.position >= upto:
                continue
            for s in batch.sections:
                last = s.first_position + s.count - 1
                old = out.get(s.stream)
                out[s.stream] = Stream(s.name if s.creates else old and old.name, old.first if old else s.first,
                                       s.first + s.count - 1, last, frame.position)
            for item in batch.items:
                if isinstance(item, Fork):
                    out[item.position] = Stream(item.name, item.revision + 1, item.revision, item.position, frame.position)
        return out


class SideFiles:
    """Every side file of a store. `results`: one dict a file, in the order of names, with `file`, `kind`, `state`, `detail`
    (why it does not count, what it lies about; of an index that counts how many older segments its streams reach by jumps).

    The states: `counts`, and all of it is true; `does_not_count`, as a whole or a block of it; `unneeded`, a run that no
    checkpoint names which counts; `lies`: it counts, and says what the log does not. What a run says is told of the checkpoint.
    """

    def __init__(self, log):
        self.log, self.files, self.told = log, log.files, Told(log)
        self.broken = {f.file for f in log.findings if f.kind not in ("note", "torn_tail")}
        self.sides, self.indexes, self.checkpoints, self.runs, self.states = {}, {}, {}, {}, {}
        for name in sorted(os.listdir(self.files.path)):
            if found := kind_of_name(name):
                self._open(name, *found)
        fitting = {}
        for name, (number, made) in self.checkpoints.items():
            self._judge(name, lambda m=made: fitting.setdefault(name, (m, self._fit(m))))
        for name in self.runs:
            self.states[name] = ("unneeded", "no checkpoint that fits names it")
        for name, (made, runs) in fitting.items():
            self._judge(name, lambda m=made, r=runs: self._hold_checkpoint(m, r))
            if self.states[name][0] != "does_not_count":
                self.states.update((f"directory-{run.number:016x}", ("counts", "")) for run in made.runs)
        for ordinal, (name, index) in self.indexes.items():
            self._judge(name, lambda o=ordinal, i=index: self._hold_index(o, i))
            if self.states[name][0] == "counts":
                greatest = max((record.number for record in index.streams()), default=0)
                self.states[name] = ("counts", f"numbers up to {greatest}")
        newest = max(fitting.values(), key=lambda f: f[0].generation, default=None)
        self.resumes_at = newest[0].at if newest else 0

    @property
    def results(self):
        return [{"file": name, "kind": KIND_NAMES[kind_of_name(name)[0]], "state": state, "detail": detail}
                for name, (state, detail) in sorted(self.states.items())]

    @property
    def lies(self):
        return any(state == "lies" for state, _ in self.states.values())

    def _judge(self, name, work):
        try:
            work()
            self.states[name] = ("counts", "")
        except (Bad, Unsupported) as error:
            self.states[name] = ("does_not_count", str(error))
        except Lie as error:
            self.states[name] = ("lies", str(error))

    def _open(self, name, kind, number):
        def work():
            try:
                side = SideFile(FileBytes(os.path.join(self.files.path, name)))
            except OSError as error:
                raise Bad(f"it cannot be opened: {error}") from None
            if side.header.kind != kind:
                raise Bad(f"a side file of kind {side.header.kind} (SID-1)")
            if self.files.block is None or side.header.store_id != self.files.block.store_id:
                raise Bad("a side file of another store (SID-1)")
            if kind == INDEX_KIND:
                index = SegmentIndex(side)
                self._fit_index(number, index.head)
                self.indexes[number] = (name, index)
            elif kind == CHECKPOINT:
                self.checkpoints[name] = (number, checkpoint(side.header.head))
            elif kind == RUN:
                self.runs[name] = Run(side)
        self._judge(name, work)

    # --- indexes

    def _fit_index(self, ordinal, head):
        """SIX-1."""
        walk = self.told.walk_of(ordinal)
        if walk is None or walk[2] is None:
            raise Bad("the index of no finished segment of the log")
        segment, _, stated, successor, _ = walk
        if (head.ordinal, head.base, head.salt, head.end) != (ordinal, self.files.base(ordinal), segment.salt, stated):
            raise Bad("an index of another segment, or of another end of it (SIX-1)")
        last = self.told.holder(head.last_frame)
        open_header = segment.open_header
        if head.last_frame == head.base + OPEN_OFFSET:
            said = (open_header.check, head.base + FIRST_FRAME) if open_header else None
        else:
            said = (last.header.check, last.end) if last and last.segment is segment else None
        if said != (head.last_check, head.end):
            raise Bad("an index that names another last frame (SIX-1)")

    def _hold_index(self, ordinal, index):
        segment, _, stated, _, _ = self.told.walk_of(ordinal)
        head, frames = index.head, self.told.frames_of(segment)
        index.side.prove()
        if segment.name in self.broken or segment.open_header is None:
            return  # frames are lost that the index may still know: what it says is used only where one proves itself
        batches = [f for f in frames if f.header.kind == BATCH]
        sections = [(f, s) for f in batches for s in self.told.batch(f).sections]
        times = [t for f in batches for t in self.told.times(f)]
        events = sum(f.header.events for f in frames)
        same("span", head.span, segment.header.span)
        same("counts", (head.first_number, head.events, head.frames, head.batches, head.sections),
             (segment.open_header.number, events, len(frames), len(batches), len(sections)))
        same("times", (head.least_recorded, head.greatest_recorded, head.max_recorded),
             (min(times, default=(1 << 63) - 1), max(times, default=NO_TIME), max([segment.open.max_recorded, *times])))
        by_stream = {}
        for frame, s in sections:
            by_stream.setdefault(s.stream, []).append((frame, s))
        records = index.streams()
        same("streams", [r.stream for r in records], sorted(by_stream))
        same("every 256th id", index.tops(), sorted(by_stream)[::TOP])
        for record in records:
            self._hold_record(index, record, by_stream[record.stream])
        self._hold_types(index, batches)

    def _hold_record(self, index, record, sections):
        what = f"stream {record.stream}"
        first, last = sections[0][1], sections[-1][1]
        same(f"{what}, sections", index.sections(record), [(s.first, f.position) for f, s in sections])
        same(f"{what}, revisions", (record.first, record.last), (first.first, last.first + last.count - 1))
        same(f"{what}, reach-back", record.reach_back, None if first.creates else first.back)
        if record.number == 0:
            return
        before = self._record_before(record)
        if before is not None:
            same(f"{what}, number", record.number, before.number + 1)
        ordinal, revision = record.jump
        walk = self.told.walk_of(ordinal)
        there = [s for f in (self.told.frames_of(walk[0]) if walk else ()) if f.header.kind == BATCH
                 for s in self.told.batch(f).sections if s.stream == record.stream]
        same(f"{what}, jump", revision, there[0].first if there else None)
        if ordinal in self.indexes:
            same(f"{what}, number behind the jump", self.indexes[ordinal][1].find(record.stream).number,
                 jump_target(record.number))

    def _record_before(self, record):
        """What the next older index of the stream says of it, by at most 64 links; None where there is none."""
        place = record.reach_back
        for _ in range(65):
            frame = self.told.holder(place)
            if frame is None:
                return None
            if frame.segment.ordinal in self.indexes:
                return self.indexes[frame.segment.ordinal][1].find(record.stream)
            place = next((s.back for s in self.told.batch(frame).sections if s.stream == record.stream), None)
        return None

    def _hold_types(self, index, batches):
        events, frames = Counter(), {}
        for frame in batches:
            for s in self.told.batch(frame).sections:
                events.update(e.type for e in s.entries)
                for name in s.types:
                    if frame.position not in frames.setdefault(name, []):
                        frames[name].append(frame.position)
        found = [(name, events[name], len(at), at if 4 * len(at) < len(batches) else None) for name, at in frames.items()]
        same("types", [tuple(t) for t in index.types()], sorted(found, key=lambda t: t[0].encode()))

    # --- checkpoints

    def _fit(self, made):
        """DIR-1, and the runs of a checkpoint that fits."""
        walk = self.told.walk_of(made.segment)
        if walk is None:
            raise Bad("its segment is not of the log (DIR-1)")
        segment, ordinal, _, _, _ = walk
        if segment.blocks != "both" or (segment.salt, segment.open.incarnation) != (made.salt, made.incarnation):
            raise Bad("its segment is not the one that it was made of (DIR-1)")
        base = self.files.base(ordinal)
        if not base + FIRST_FRAME <= made.last_frame < base + segment.span(self.log.size) * self.log.size:
            raise Bad("its last frame is not in its segment (DIR-1)")
        frame = self.told.holder(made.last_frame)  # none where a later segment states an end before it
        if frame is None or not frame.whole or (frame.end, frame.header.check) != (made.at, made.last_check):
            raise Bad("the frame that it names does not end there (DIR-1)")
        runs = []
        for named in made.runs:
            run = self.runs.get(f"directory-{named.number:016x}")
            if run is None or (run.head.start, run.head.end, run.side.header.check) != (named.start, named.end, named.check):
                raise Bad(f"the run {named.number} is not there, or another one (DIR-1)")
            runs.append(run)
        below = 0
        for row in (row for run in runs for row in run.segments()):
            start, stop = self.files.base(row.ordinal), self.files.base(row.ordinal + row.span)
            if not below <= start < stop <= base or not start <= row.end <= stop:
                raise Bad("segments that contradict each other (DIR-1)")
            below = stop
        return runs

    def _hold_checkpoint(self, made, runs):
        before = [f for f in self.log.frames if f.position < made.at]
        batches = [f for f in before if f.header.kind == BATCH]
        mine = [f for f in before if f.segment.ordinal == made.segment]
        seals = [(f, seal_part(f.plain, f.segment.newer)) for f in before if f.header.kind == SEAL]
        indexes = [f.position for f in mine if f.header.kind == INDEX]
        coded = [s for f in batches for s in self.told.batch(f).sections if s.coded]
        streams = self.told.streams(made.at)
        same("events before", made.number, mine[-1].header.number + mine[-1].header.events)
        same("last index block", made.last_index, indexes[-1] if indexes else 0)
        same("its last frame", made.last_frame, indexes[-1] if indexes else 0)
        same("newest seal", (made.last_seal, made.seal_hash, made.next_to_seal),
             (seals[-1][0].position, seals[-1][1].hash, seals[-1][1].ordinal + seals[-1][1].span) if seals else (0, bytes(32), 0))
        same("streams", made.streams, len(streams))
        same("coded bytes", (made.coded_raw, made.coded_stored),
             (sum(s.raw_length for s in coded), sum(s.body_length for s in coded)))
        same("greatest time", made.max_recorded, max((t for f in batches for t in self.told.times(f)), default=NO_TIME))
        same("takeover", made.takeover, max(f.header.takeover for f in mine))
        for named, run in zip(made.runs, runs):
            run.prove()
            self._hold_run(f"run {named.number}", run, batches)
        self._hold_directory(runs, streams, batches)

    def _hold_directory(self, runs, streams, batches):
        """What all runs together say: name, head and place of every stream, and every retry that can still be meant."""
        made = {row.stream: row for run in runs for row in run.names()}
        heads = {row.stream: row for run in runs for row in run.heads()}
        same("streams of the directory", sorted(made), sorted(streams))
        for ident, stream in streams.items():
            row = heads.get(ident)
            same(f"stream {ident}", (made[ident].name, made[ident].first) + (row[1:] if row else ()), tuple(stream))
        retries = [tuple(row) for run in runs for row in run.retries()][-WINDOW:]
        given = [(f.header.batch, f.position) for f in batches if f.header.flags & GIVEN_ID][-WINDOW:]
        same("retries", retries, given)

    def _hold_run(self, what, run, batches):
        start, end = run.head.start, run.head.end
        streams = self.told.streams(end)
        names, heads, retries = run.names(), run.heads(), run.retries()
        same(f"{what}, names", [(n.stream, n.name, n.first) for n in names],
             sorted((i, s.name, s.first) for i, s in streams.items() if i >= start))
        same(f"{what}, order of names", run.name_order(),
             sorted(range(len(names)), key=lambda i: names[i].name.encode()))
        same(f"{what}, heads", [tuple(h) for h in heads],
             sorted((i, s.head, s.position, s.place) for i, s in streams.items() if s.place >= start))
        given = [(f.header.batch, f.position) for f in batches if f.header.flags & GIVEN_ID and start <= f.position < end]
        same(f"{what}, retries", [tuple(r) for r in retries], given[len(given) - len(retries):])
        same(f"{what}, order of retries", run.retry_order(), sorted(range(len(retries)), key=lambda i: retries[i]))
        left = []
        for segment, ordinal, stated, successor, _ in self.log.walks:
            if segment is not None and successor is not None and start <= self.files.base(successor.ordinal) < end:
                indexes = [f.position for f in self.told.frames_of(segment) if f.header.kind == INDEX]
                left.append((ordinal, stated, indexes[-1] if indexes else 0, segment.header.span, segment.salt,
                             segment.open.incarnation))
        same(f"{what}, segments", [tuple(row) for row in run.segments()], left)
