"""Builds side files byte by byte from the pages 12 to 14, out of the builder's own record of a store.

`index` makes the index of a finished segment, `run` a run of the stream directory, `cut` a checkpoint. Structures are lists
of labelled parts, as in `builder.py`. Nothing here reads a frame again: what is said of the log is what was put into it.
"""

from builder import NO_TIME, i64, join, u, var, zstd_raw_block
from hashes import xxh64

CHUNK, TOP, LINKS_MAX, WINDOW = 128, 256, 64, 65536
INDEX, RUN, CHECKPOINT = 1, 2, 3


def padded(data, size):
    return data + bytes(-len(data) % size)


def header_parts(kind, store_id, head, payload_length=0, table_check=xxh64(0, b"")):
    """The 4096 bytes of a side file's header; `head` as bytes or as labelled parts."""
    head = head if isinstance(head, list) else [("head", head)]
    parts = [("magic", b"TRINGSID"), ("version", u(2, 1)), ("kind", u(2, kind)), ("head_length", u(4, len(join(head)))),
             ("store_id", store_id), ("payload_length", u(8, payload_length)), ("table_check", u(8, table_check)), *head]
    parts.append(("zeros", bytes(4088 - len(join(parts)))))
    return parts + [("header check", u(8, xxh64(0, join(parts))))]


def side_parts(kind, store_id, head, payload=b""):
    """A side file as labelled parts: those of its header, the blocks, the table of checks."""
    blocks = padded(payload, 4096)
    table = b"".join(u(8, xxh64(n, blocks[4096 * n:4096 * (n + 1)])) for n in range(len(blocks) // 4096))
    return header_parts(kind, store_id, head, len(payload), xxh64(0, table)) + [("blocks", blocks), ("table of checks", table)]


def side_file(kind, store_id, head, payload=b""):
    """The bytes of a side file."""
    return bytearray(join(side_parts(kind, store_id, head, payload)))


def header_check(data):
    return int.from_bytes(data[4088:4096], "little")


# --- segment indexes

def jump_target(number):
    links = [0]
    for n in range(1, number + 1):
        q = n - 1
        links.append(links[links[q]] if q - links[q] == links[q] - links[links[q]] else q)
    return links[number]


def record_parts(base, ordinal, sections, last, back, number=0, jump=None):
    """A stream's record. `sections`: first revision and place of each; `back`: place of the section before the first."""
    first, place = sections[0]
    rows, postings = [], []
    chunks = [sections[i:i + CHUNK] for i in range(0, len(sections), CHUNK)]
    for n, chunk in enumerate(chunks):
        if n:
            rows += [(f"chunk {n}: first_revision", u(8, chunk[0][0])), (f"chunk {n}: place", u(4, (chunk[0][1] - base) // 8)),
                     (f"chunk {n}: postings_at", u(4, len(join(postings))))]
        steps = [((b[1] - a[1]) // 8, b[0] - a[0]) for a, b in zip(chunk, chunk[1:])]
        if not steps:
            continue
        mode = int(any(step != 1 for _, step in steps))
        postings += [(f"chunk {n}: mode", u(1, mode)),
                     (f"chunk {n}: distances", b"".join(var(d) + (var(step) if mode else b"") for d, step in steps))]
    parts = [("number", var(number)), ("first_revision", var(first)), ("revisions", var(last - first)),
             ("section_count", var(len(sections))), ("first_place", var((place - base) // 8)),
             ("reach_back", var(0 if back is None else (place - back) // 8))]
    if number:
        parts += [("jump_ordinals", var(ordinal - jump[0])), ("jump_revisions", var(first - jump[1]))]
    return parts + [("postings_length", var(len(join(postings))))] + rows + postings


def type_parts(base, name, events, places, batches):
    """A type's record; `places`: of the frames that hold it."""
    listed = 4 * len(places) < batches
    units = [0] + [(p - base) // 8 for p in places]
    postings = b"".join(var(b - a) for a, b in zip(units, units[1:])) if listed else b""
    return [("name_length", var(len(name.encode()))), ("name", name.encode()), ("events", var(events)),
            ("batches", var(len(places))), ("postings_length", var(len(postings)))] + (
                [("distances", postings)] if listed else [])


def segment_of(store, position):
    return next(s for s in store.segments if s.base <= position < s.base + len(s.data))


def links(store, stream, first, back):
    """Number and jump of a stream's record, from the indexes that were made before."""
    for _ in range(LINKS_MAX + 1):
        if back is None:
            break
        segment = segment_of(store, back)
        if segment.ordinal in store.side_indexes:
            before = store.side_indexes[segment.ordinal].get(stream)
            if before is None:
                break
            number, ordinal = before["number"] + 1, segment.ordinal
            while before["number"] != jump_target(number):
                ordinal = before["jump"][0]
                before = store.side_indexes[ordinal][stream]
            return number, (ordinal, before["first"])
        told = next(t for t in segment.batches if t.position == back)
        back = next((s["back"] for _, s, _ in told.sections if s["id"] == stream), None)
    return 0, None


def index(store, segment):
    """The index of a segment that was left; also its head and records as parts."""
    streams, types, times, known = {}, {}, [], {}
    for told in segment.batches:
        for section, stream, _ in told.sections:
            found = streams.setdefault(stream["id"], {"sections": [], "back": stream["back"]})
            found["sections"].append((stream["first"], told.position))
            found["last"] = stream["first"] + len(section.events) - 1
            for e in section.events:
                events, places = types.setdefault(e.type, [0, []])
                types[e.type][0] = events + 1
                if told.position not in places:
                    places.append(told.position)
                times.append(told.recorded if e.recorded is None else e.recorded)
    payload, rows, tops = bytearray(), b"", b""
    for n, ident in enumerate(sorted(streams)):
        s = streams[ident]
        number, jump = links(store, ident, s["sections"][0][0], s["back"])
        known[ident] = {"number": number, "jump": jump, "first": s["sections"][0][0]}
        rows += u(8, ident) + u(4, len(payload))
        tops += u(8, ident) if n % TOP == 0 else b""
        payload += join(record_parts(segment.base, segment.ordinal, s["sections"], s["last"], s["back"], number, jump))
    stream_rows_at = len(payload)
    payload += rows
    stream_tops_at, rows = len(payload), b""
    payload += tops
    for name in sorted(types, key=str.encode):
        rows += u(4, len(payload))
        payload += join(type_parts(segment.base, name, *types[name], len(segment.batches)))
    type_rows_at = len(payload)
    payload += rows
    before = [e for s in store.segments if s.base < segment.base for e in told_times(s)]
    head = [("ordinal", u(8, segment.ordinal)), ("span", u(4, segment.span)), ("reserved", bytes(4)),
            ("base", u(8, segment.base)), ("end", u(8, segment.end)), ("last_frame", u(8, segment.last or segment.base + 256)),
            ("last_check", u(8, segment.check)), ("salt", segment.salt),
            ("first_number", u(8, sum(len(s.events) for o in store.segments if o.base < segment.base
                                      for t in o.batches for s, _, _ in t.sections))),
            ("events", u(8, len(times))), ("frames", u(8, len(segment.frames))), ("batches", u(8, len(segment.batches))),
            ("sections", u(8, sum(len(s["sections"]) for s in streams.values()))),
            ("least_recorded_at", i64(min(times, default=(1 << 63) - 1))),
            ("greatest_recorded_at", i64(max(times, default=NO_TIME))),
            ("max_recorded_at", i64(max(before + times, default=NO_TIME))), ("streams", u(8, len(streams))),
            ("stream_rows_at", u(8, stream_rows_at)), ("stream_tops_at", u(8, stream_tops_at)), ("types", u(8, len(types))),
            ("type_rows_at", u(8, type_rows_at))]
    store.side_indexes[segment.ordinal] = known
    return side_file(INDEX, store.store_id, join(head), bytes(payload))


def told_times(segment):
    return [t.recorded if e.recorded is None else e.recorded
            for t in segment.batches for s, _, _ in t.sections for e in s.events]


# --- the stream directory

def name_row(stream, first, name_at, name_length):
    return [("stream", u(8, stream)), ("first_revision", u(8, first)), ("name_at", u(8, name_at)),
            ("name_length", u(4, name_length)), ("reserved", bytes(4))]


def head_row(stream, head, position, place):
    return [("stream", u(8, stream)), ("head", u(8, head)), ("head_position", u(8, position)), ("last_place", u(8, place))]


def retry_row(batch_id, frame):
    return [("batch_id", batch_id), ("frame", u(8, frame))]


def segment_row(ordinal, end, last_index, span, salt, incarnation):
    return [("ordinal", u(8, ordinal)), ("end", u(8, end)), ("last_index", u(8, last_index)), ("span", u(4, span)),
            ("reserved", bytes(4)), ("salt", salt), ("incarnation", incarnation)]


def run(store, start, end):
    """The run of a stretch of the log, as a file."""
    return bytearray(join(run_parts(store, start, end)))


def run_parts(store, start, end):
    made, heads, retries = [], {}, []
    for told in (t for s in store.segments for t in s.batches if t.position < end):
        for section, stream, first in told.sections:
            if stream["back"] is None and told.position >= start:
                made.append((stream["id"], section.stream.encode(), 0))
            last = len(section.events) - 1
            heads[stream["id"]] = (stream["first"] + last, first + last, told.position)
        for name in told.forks:
            fork = store.streams[name]
            heads[fork["id"]] = (fork["fork"][1], fork["id"], told.position)
            if told.position >= start:
                made.append((fork["id"], name.encode(), fork["fork"][1] + 1))
        if told.given and told.position >= start:
            retries.append((told.batch_id, told.position))
    made.sort()
    heads = {i: h for i, h in sorted(heads.items()) if h[2] >= start}
    left = [(a.ordinal, a.end, a.indexes[-1] if a.indexes else 0, a.span, a.salt, store.incarnation)
            for a, b in zip(store.segments, store.segments[1:]) if start <= b.base < end]
    texts, names = b"", b""
    for stream, name, first in made:
        names += join(name_row(stream, first, len(texts), len(name)))
        texts += name
    order = sorted(range(len(made)), key=lambda i: made[i][1])
    again = sorted(range(len(retries)), key=lambda i: retries[i])
    tables = [names, texts, b"".join(u(4, i) for i in order), b"".join(join(head_row(i, *h)) for i, h in heads.items()),
              b"".join(join(retry_row(*r)) for r in retries), b"".join(u(4, i) for i in again),
              b"".join(join(segment_row(*row)) for row in left)]
    head = [("from", u(8, start)), ("to", u(8, end)), ("name_bytes", u(8, len(texts))), ("names", u(4, len(made))),
            ("heads", u(4, len(heads))), ("retries", u(4, len(retries))), ("segments", u(4, len(left))),
            ("reserved", bytes(24))]
    return side_parts(RUN, store.store_id, head, b"".join(padded(t, 8) for t in tables))


def blocks(store):
    """Where each index block of the log begins and ends."""
    return [(s.base + at, s.base + at + length) for s in store.segments for at, length, kind in s.frames if kind == 0x81]


def checkpoint_parts(store, generation, runs, at):
    """The head of the checkpoint behind the index block that ends at `at`. `runs`: number, from, to, header check of each."""
    segment = segment_of(store, at - 8)
    index = next(p for p, end in blocks(store) if end == at)
    check = bytes(segment.data[index - segment.base + 64:index - segment.base + 72])
    told = [t for s in store.segments for t in s.batches if t.position < at]
    sections = [s for t in told for s, _, _ in t.sections]
    coded = [s for s in sections if s.codec is not None]
    raw = sum(len(e.metadata) + len(e.payload) for s in coded for e in s.events)
    stored = sum(len(s.stored if s.stored is not None else _zstd(s)) for s in coded)
    seals = [s for s in store.seals if s[0] < at]
    seal = seals[-1] if seals else (0, bytes(32), 0)
    times = [t.recorded if e.recorded is None else e.recorded for t in told for s, _, _ in t.sections for e in s.events]
    parts = [("generation", u(8, generation)), ("incarnation", store.incarnation), ("at", u(8, at)),
             ("last_frame", u(8, index)), ("last_check", check), ("last_index", u(8, index)),
             ("segment", u(8, segment.ordinal)), ("global_number", u(8, len(times))), ("last_seal", u(8, seal[0])),
             ("next_to_seal", u(8, seal[2])), ("streams", u(8, len([s for s in store.streams.values() if s["id"] < at]))),
             ("coded_raw", u(8, raw)), ("coded_stored", u(8, stored)), ("max_recorded_at", i64(max(times, default=NO_TIME))),
             ("salt", segment.salt), ("seal_hash", seal[1]), ("takeover", u(2, segment.takeover)),
             ("run_count", u(2, len(runs))), ("reserved", bytes(4))]
    for n, (number, start, end, check) in enumerate(runs):
        parts += [(f"run {n}: number", u(8, number)), (f"run {n}: from", u(8, start)), (f"run {n}: to", u(8, end)),
                  (f"run {n}: header_check", u(8, check))]
    return parts


def _zstd(section):
    return zstd_raw_block(b"".join(e.metadata + e.payload for e in section.events))


class Side:
    """Puts side files beside a store's segments, into `store.extra`."""

    def __init__(self, store):
        self.store, self.runs, self.generation = store, [], 0

    def index(self, segment):
        self.store.extra[f"{segment.ordinal:016x}.index"] = index(self.store, segment)

    def cut(self):
        """A run up to the last index block of the log, and a checkpoint there."""
        store, end = self.store, blocks(self.store)[-1][1]
        number, start = len(self.runs) + 1, self.runs[-1][2] if self.runs else 0
        data = store.extra[f"directory-{number:016x}"] = run(store, start, end)
        self.runs.append((number, start, end, header_check(data)))
        self.checkpoint(end)

    def checkpoint(self, at):
        self.generation += 1
        head = join(checkpoint_parts(self.store, self.generation, self.runs, at))
        self.store.extra[f"checkpoint-{self.generation % 2}"] = side_file(CHECKPOINT, self.store.store_id, head)
