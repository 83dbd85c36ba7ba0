"""Builds stores byte by byte from the pages, with no engine involved: for the vectors and the hex examples.

Everything is deterministic: salts, ids and times come from names and counters. Each structure is a list of labelled parts,
so that a hex example shows the very bytes that a store is made of. The builder keeps its own record of what it appended;
the expected results of the vectors come from that record, not from a reader.
"""

import hashlib
import struct
from dataclasses import dataclass

from hashes import blake3, crc, xxh64

K, M64, NONE = 0x9E3779B97F4A7C15, (1 << 64) - 1, (1 << 64) - 1
NO_TIME = -(1 << 63)
START = 1_767_225_600_000_000_000  # 2026-01-01


def var(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def u(size, value):
    return value.to_bytes(size, "little")


def i64(value):
    return struct.pack("<q", value)


def sixteen(text):
    """Sixteen bytes that stand for `text`."""
    return hashlib.sha256(text.encode()).digest()[:16]


def join(parts):
    return b"".join(data for _, data in parts)


def counted(text):
    data = text.encode()
    return var(len(data)) + data


class Seeds:
    def __init__(self, salt):
        self.low, self.high = struct.unpack("<QQ", salt)

    def short(self, p):
        return ((self.high ^ p) * K & M64) >> 32

    def long(self, p):
        return self.low ^ (p * K & M64)


@dataclass
class Event:
    type: str
    payload: bytes
    metadata: bytes = b""
    id: str | None = None
    occurred: int | None = None
    recorded: int | None = None
    tags: bytes | None = None


@dataclass
class Section:
    stream: str
    events: list
    codec: int | None = None      # None: raw
    key: int = 0
    stored: bytes | None = None   # for codecs and keys of which nothing is known
    flags: int = 0


@dataclass
class Told:
    """A batch as the builder knows it, for what is derived from the log: each section with its stream as it was before (`id`,
    `first`, `place`; None where the section makes it) and the position of its first event; names of the forks."""
    position: int
    batch_id: bytes
    given: bool
    recorded: int
    sections: list
    forks: list


def zstd_raw_block(data):
    """A zstd frame of one raw block (RFC 8878): magic, single-segment descriptor, content size, block."""
    if len(data) < 256:
        head = b"\x20" + u(1, len(data))
    else:
        head = b"\x60" + u(2, len(data) - 256)
    return b"\x28\xb5\x2f\xfd" + head + u(3, 1 | len(data) << 3) + data


class Segment:
    """One segment file in the making."""

    def __init__(self, store, ordinal, span):
        self.ordinal, self.span, self.store = ordinal, span, store
        self.salt = sixteen(f"{store.seed} salt {ordinal} {store.life}")
        self.seeds, self.data = Seeds(self.salt), bytearray(span * store.size)
        self.base, self.at, self.check, self.last, self.takeover = ordinal * store.size, 8192, 0, 0, 0
        self.stretch, self.indexes, self.known, self.frames = [], [], set(), []
        self.index_end = 8192
        self.batches = []  # what the side files list: `Told`, in log order

    @property
    def name(self):
        return f"{self.ordinal:016x}.segment"

    @property
    def end(self):
        return self.base + self.at


class Store:
    """A store in memory: `files()` gives its bytes."""

    def __init__(self, seed, size=1 << 14, stride=1 << 12, place=(0, 0, 0), minor=0, features=(0, 0, 0), major=1):
        self.seed, self.size, self.stride, self.place, self.life = seed, size, stride, place, 0
        self.store_id, self.incarnation = sixteen(seed + " store"), sixteen(seed + " incarnation 0")
        self.time, self.batches, self.number, self.max_recorded = START, 0, 0, NO_TIME
        self.streams, self.events, self.segments, self.extra = {}, [], [], {}
        self.seal_last, self.seal_hash, self.sealed, self.durable = 0, bytes(32), 0, 0
        self.seals, self.side_indexes = [], {}
        self.block_parts = self._block(major, minor, features)
        self.block = join(self.block_parts)
        self.start(0)

    # --- store block, segment header, open frame

    def _block(self, major, minor, features):
        parts = [("magic", b"TREERING"), ("major", u(2, major)), ("minor", u(2, minor)), ("block_length", u(4, 128)),
                 ("features_compatible", u(8, features[0])), ("features_read_only", u(8, features[1])),
                 ("features_incompatible", u(8, features[2])), ("store_id", self.store_id),
                 ("segment_size", u(8, self.size)), ("index_stride", u(8, self.stride)), ("created_at", i64(START)),
                 ("reserved", bytes(40))]
        return parts + [("check", u(8, xxh64(0, join(parts))))]

    def start(self, reason, span=1, ordinal=None, end=None, witness="end"):
        """Starts a segment behind the newest one; `end` states another end than that one's last frame's."""
        before = self.segments[-1] if self.segments else None
        if ordinal is None:
            ordinal = before.ordinal + before.span if before else 0
        segment = Segment(self, ordinal, span)
        parts = [("magic", b"TRINGSEG"), ("ordinal", u(8, ordinal)), ("span", u(4, span)), ("first_frame", u(4, 8192)),
                 ("salt", segment.salt), ("created_at", i64(self.tick())), ("reserved", bytes(72)),
                 ("store_block", self.block)]
        segment.header_parts = parts + [("check", u(8, xxh64(0, join(parts))))]
        index = before.indexes[-1] if before and before.indexes else 0
        plain = [("incarnation", self.incarnation), ("place_file_system", u(8, self.place[0])),
                 ("place_inode", u(8, self.place[1])), ("place_birth", i64(self.place[2])), ("boot_id", bytes(16)),
                 ("predecessor", u(8, before.ordinal if before else NONE)),
                 ("predecessor_end", u(8, (end or before.end) if before else 0)),
                 ("predecessor_last_frame", u(8, (before.last or before.base + 256) if before else 0)),
                 ("predecessor_last_index", u(8, index)), ("predecessor_salt", before.salt if before else bytes(16)),
                 ("newest_seal", u(8, self.seal_last)), ("reason", u(1, reason)), ("reserved", bytes(7)),
                 ("max_recorded_at", i64(self.max_recorded)), ("reserved_2", bytes(32)), ("extensions: count", var(0))]
        if witness == "end":
            witness = before.end if before else 0
        segment.open_parts = self._frame(segment, segment.base + 256, 1, plain, b"", before.check if before else 0,
                                         witness=witness, length=3840)
        head = join(segment.header_parts) + join(segment.open_parts)
        segment.data[0:4096] = segment.data[4096:8192] = head
        segment.check = int.from_bytes(head[256 + 64:256 + 72], "little")
        self.durable = max(self.durable, witness or 0)
        self.segments.append(segment)
        return segment

    def tick(self):
        self.time += 1_000_000_007
        return self.time

    # --- frames

    def _frame(self, segment, position, kind, plain, bodies, previous, *, flags=0, events=0, batch=bytes(16), witness=0,
               length=None, recorded=None, padding=b""):
        """A frame as labelled parts."""
        plain_length = len(join(plain))
        used = 72 + plain_length + len(bodies)
        length = length or (used + 7) // 8 * 8
        back = 0xFFFFFFFF if witness is None else (position - witness) // 8
        middle = [("kind", u(1, kind)), ("flags", u(1, flags)), ("takeover", u(2, segment.takeover)),
                  ("frame_length", u(4, length)), ("plain_length", u(4, plain_length)), ("witness_back", u(4, back)),
                  ("events", u(4, events)), ("previous_check", u(8, previous)), ("global_number", u(8, self.number)),
                  ("recorded_at", i64(recorded if recorded is not None else self.tick())), ("batch_id", batch)]
        rest = plain + ([("bodies", bodies)] if bodies else []) + [("padding", padding.ljust(length - used, b"\0"))]
        check = u(8, xxh64(segment.seeds.long(position), join(middle) + join(rest)))
        head = crc(segment.seeds.short(position), join(middle) + check + join(plain))
        return [("header_check", u(4, head))] + middle + [("frame_check", check)] + [p for p in rest if p[1]]

    def _append(self, segment, parts, kind, entry, events=0):
        data = join(parts)
        assert segment.at + len(data) <= len(segment.data), "the segment is full"
        segment.data[segment.at:segment.at + len(data)] = data
        segment.last, segment.check = segment.end, int.from_bytes(data[64:72], "little")
        segment.frames.append((segment.at, len(data), kind))
        segment.at += len(data)
        if kind == 0x81:
            segment.indexes.append(segment.last)
            segment.stretch, segment.index_end = [], segment.at
        else:
            segment.stretch.append((len(data), kind, entry))
        self.number += events
        return segment.last

    def sync(self):
        self.durable = self.segments[-1].end

    def batch(self, *sections, items=(), given=False, synced=True, flags=0, kind=2, recorded=None, padding=b""):
        """Appends a batch, rolling to a new segment where it does not fit; returns the position of its frame."""
        batch_id = sixteen(f"{self.seed} batch {self.batches}")
        self.batches += 1
        recorded = recorded if recorded is not None else self.tick()
        segment = self._room(lambda s, at: self._encode(s, at, sections, items, recorded)[0])
        plain, bodies, commit, entry = self._encode(segment, segment.at, sections, items, recorded)
        events = sum(len(s.events) for s in sections)
        parts = self._frame(segment, segment.end, kind, plain, bodies, segment.check,
                            flags=flags | (16 if given else 0), events=events, batch=batch_id, witness=self.durable,
                            recorded=recorded, padding=padding)
        self.last_parts = parts
        position = self._append(segment, parts, kind, entry, events)
        segment.batches.append(Told(position, batch_id, given, recorded, *commit(position, batch_id)))
        if synced:
            self.sync()
        return position

    def raw_frame(self, kind, plain, **more):
        """A frame of any kind with this plain part."""
        segment = self.segments[-1]
        self.last_parts = self._frame(segment, segment.end, kind, [("plain", plain)], b"", segment.check,
                                      witness=self.durable, **more)
        position = self._append(segment, self.last_parts, kind, None)
        self.sync()
        return position

    def _room(self, encode):
        """The segment in which the batch goes; writes the index block that is due, or rolls (SEG-7, SEG-8, IDX-1)."""
        segment = self.segments[-1]
        for attempt in range(3):
            if segment.at - segment.index_end >= self.stride:
                self.index()
            plain, bodies, *_ = self._encode_sizes(encode, segment)
            need = (72 + plain + bodies + 7) // 8 * 8
            if segment.at + need + self._closing(segment, need) <= len(segment.data):
                return segment
            empty = 8192 + need + self._closing(segment, need)
            span = (empty + self.size - 1) // self.size
            self.roll(3 if span > 1 else 1, span)
            segment = self.segments[-1]
        raise AssertionError("no room")

    def _encode_sizes(self, encode, segment):
        self._bodies_length = 0
        plain = len(join(encode(segment, segment.at)))
        return plain, self._bodies_length

    @staticmethod
    def _closing(segment, need):
        """A bound on the index block that closes the segment behind a frame of `need` bytes."""
        return 72 + 64 + 24 * (len(segment.stretch) + 1) + 80 * (len(segment.known) + 4)

    def roll(self, reason=1, span=1):
        if reason in (1, 3) and self.segments[-1].stretch:
            self.index()
        self.sync()
        return self.start(reason, span)

    # --- batches

    def _encode(self, segment, at, sections, items, recorded):
        position, events = segment.base + at, 0
        total = sum(len(s.events) for s in sections)
        plain = [("section_count", var(len(sections))), ("item_count", var(len(items)))]
        bodies, after, entry, first = b"", [], [], position
        for s in sections:
            parts, body, stream = self._section(segment, position, first, s, recorded)
            plain += parts
            bodies += body
            entry.append((stream["id"], stream["first"], len(s.events)))
            after.append((s, stream, first))
            first += len(s.events)
        for j, item in enumerate(items):
            kind, body, done = item(self, position, position + total + j)
            plain += [(f"item {j}: kind", u(1, kind)), (f"item {j}: length", var(len(join(body))))]
            plain += [(f"item {j}: {label}", data) for label, data in body]
            if done:
                after.append(done)
                entry.append(done)
        self._bodies_length = len(bodies)

        def commit(frame, batch_id):
            told, forks = [], []
            for done in after:
                if callable(done):
                    done()
                    forks.append(done.name)
                    continue
                s, stream, start = done
                told.append((s, stream, start))
                self.streams[s.stream] = dict(stream, next=stream["first"] + len(s.events), place=frame)
                for i, e in enumerate(s.events):
                    when = recorded if e.recorded is None else e.recorded
                    self.max_recorded = max(self.max_recorded, when)
                    self.events.append((s, stream, stream["first"] + i, start + i, e, when, batch_id))
            return told, forks
        return plain, bodies, commit, entry

    def _section(self, segment, position, first, s, recorded):
        known = self.streams.get(s.stream)
        stream = {"id": known["id"], "first": known["next"], "fork": known.get("fork"), "depth": known["depth"],
                  "jump": known["jump"], "lowest": known["lowest"], "back": known["place"]} if known else {
                      "id": first, "first": 0, "fork": None, "depth": 0, "jump": s.stream, "lowest": None,
                      "back": None}
        raw = b"".join(e.metadata + e.payload for e in s.events)
        body = raw
        if s.codec is not None:
            body = s.stored if s.stored is not None else zstd_raw_block(raw)
        flags = s.flags | (0 if known else 1) | (2 if s.codec is not None else 0)
        parts = [("flags", u(1, flags))]
        if known:
            parts += [("stream_back", var(position - known["id"])), ("first_revision", var(known["next"])),
                      ("previous_back", var((position - known["place"]) // 8))]
        else:
            parts += [("name_length", var(len(s.stream.encode()))), ("name", s.stream.encode())]
        parts += [("count", var(len(s.events))), ("body_length", var(len(body)))]
        if s.codec is not None:
            parts += [("codec", u(1, s.codec)), ("key_id", var(s.key)), ("raw_length", var(len(raw))),
                      ("stored_check", u(4, crc(segment.seeds.short(first), body)))]
        types = list(dict.fromkeys(e.type for e in s.events))
        parts.append(("type_count", var(len(types))))
        for t in types:
            parts += [("type_length", u(1, len(t.encode()))), ("type", t.encode())]
        entries = [self._entry(segment, s, e, types.index(e.type), first + i) for i, e in enumerate(s.events)]
        sizes = [len(join(e)) for e in entries]
        for i in range(16, len(s.events), 16):
            parts += [("skip_entry", u(4, sum(sizes[:i]))),
                      ("skip_body", u(4, sum(len(e.metadata) + len(e.payload) for e in s.events[:i])))]
        for i, e in enumerate(entries):
            parts += [(f"event {i}: {label}", data) for label, data in e]
        return [(f"section {s.stream}: {label}", data) for label, data in parts], body, stream

    @staticmethod
    def _entry(segment, s, e, kind, position):
        flags = ((e.id is not None) | (e.occurred is not None) << 1 | (e.recorded is not None) << 2
                 | (e.tags is not None) << 3 | (s.key != 0) << 4)
        parts = [("flags", u(1, flags)), ("type_index", var(kind))]
        if e.id is not None:
            parts += [("id_length", u(1, len(e.id.encode()))), ("id", e.id.encode())]
        if e.occurred is not None:
            parts.append(("occurred_at", i64(e.occurred)))
        if e.recorded is not None:
            parts.append(("recorded_at", i64(e.recorded)))
        if e.tags is not None:
            parts += [("tags_length", var(len(e.tags))), ("tags", e.tags)]
        if s.key:
            parts.append(("digests", blake3(b"keyed" + e.metadata) + blake3(b"keyed" + e.payload)))
        parts += [("metadata_length", var(len(e.metadata))), ("payload_length", var(len(e.payload)))]
        check = crc(segment.seeds.short(position), join(parts) + e.type.encode() + e.metadata + e.payload)
        return parts + [("check", u(4, check))]

    # --- index blocks, seals, watermark

    def index(self):
        """Appends the index block of the stretch behind the last one."""
        segment = self.segments[-1]
        here, number = segment.end, len(segment.indexes)
        links = [0]
        for n in range(1, number + 1):
            q = n - 1
            links.append(links[links[q]] if q - links[q] == links[q] - links[links[q]] else q)
        jump = (here - segment.indexes[links[number]]) // 8 if number else 0
        previous = (here - segment.indexes[-1]) // 8 if number else 0
        streams = []
        names = {s["id"]: (name, s) for name, s in self.streams.items()}
        for _, _, entry in segment.stretch:
            for one in entry or ():
                ident = one.id if callable(one) else one[0]
                if ident not in streams:
                    streams.append(ident)
        plain = [("number", var(number)), ("stretch_back", var((here - segment.base - segment.index_end) // 8)),
                 ("previous_back", var(previous)), ("jump_back", var(jump)), ("max_recorded_at", i64(self.max_recorded)),
                 ("stream_count", var(len(streams)))]
        for ident in streams:
            name, stream = names[ident]
            new = ident not in segment.known
            fork = stream["fork"] if new else None
            plain += [(f"stream {name}: flags", u(1, new | (fork is not None) << 1)),
                      (f"stream {name}: id_back", var(here - ident))]
            if new:
                plain += [(f"stream {name}: name_length", var(len(name.encode()))), (f"stream {name}: name", name.encode())]
            if fork:
                plain += [(f"stream {name}: parent_back", var(here - fork[0])), (f"stream {name}: fork_revision", var(fork[1]))]
            segment.known.add(ident)
        plain.append(("frame_count", var(len(segment.stretch))))
        for i, (length, kind, entry) in enumerate(segment.stretch):
            sections = [one for one in entry or () if not callable(one)]
            plain += [(f"frame {i}: length", var(length // 8)), (f"frame {i}: shape", var(len(sections) + 1 if kind == 2 else 0))]
            if kind != 2:
                plain.append((f"frame {i}: kind", u(1, kind)))
            for ident, first, count in sections:
                plain += [(f"frame {i}: stream", var(streams.index(ident))), (f"frame {i}: first_revision", var(first)),
                          (f"frame {i}: count", var(count))]
        plain.append(("extensions: count", var(0)))
        self.last_parts = self._frame(segment, here, 0x81, plain, b"", segment.check, witness=self.durable)
        self._append(segment, self.last_parts, 0x81, None)
        self.sync()

    def seal(self):
        """Appends the seal of the oldest segment that has none."""
        target, segment = self.segments[self.sealed], self.segments[-1]
        digest = blake3(self.seal_hash + bytes(target.data[:target.at]))
        plain = [("ordinal", u(8, target.ordinal)), ("end", u(8, target.end)), ("previous_seal", u(8, self.seal_last)),
                 ("span", u(4, target.span)), ("reserved", bytes(4)), ("hash", digest), ("previous_hash", self.seal_hash)]
        self.last_parts = self._frame(segment, segment.end, 3, plain, b"", segment.check, witness=self.durable)
        self.seal_last = self._append(segment, self.last_parts, 3, None)
        self.seal_hash, self.sealed = digest, self.sealed + 1
        self.seals.append((self.seal_last, digest, target.ordinal + target.span))
        self.sync()

    def slot(self, generation, clean=True, **other):
        """The parts of a watermark slot at the end of the log."""
        segment = self.segments[-1]
        value = {"store_id": self.store_id, "incarnation": self.incarnation, "durable": u(8, segment.end),
                 "last_check": u(8, segment.check), "last_frame": u(8, segment.last or segment.base + 256),
                 "last_index": u(8, segment.indexes[-1] if segment.indexes else 0), "global_number": u(8, self.number),
                 "salt": segment.salt, "takeover": u(2, segment.takeover), "flags": u(1, clean), "reserved": bytes(1),
                 "reserved_2": bytes(4), "boot": u(8, 0)}
        value.update(other)
        parts = [("magic", b"TRINGWMK"), ("generation", u(8, generation))] + list(value.items())
        return parts + [("check", u(8, xxh64(0, join(parts))))]

    def watermark(self, *slots):
        data = bytearray(8192)
        for i, parts in enumerate(slots):
            data[4096 * i:4096 * i + 128] = join(parts)
        self.extra["watermark"] = data

    # --- results

    def files(self):
        out = {"identity": bytearray(self.block)}
        out.update((s.name, s.data) for s in self.segments)
        out.update(self.extra)
        return out

    def token(self, stream, revision):
        """The cursor token of an event."""
        index, (_, _, _, position, *_) = next(
            (i, e) for i, e in enumerate(self.events) if e[0].stream == stream and e[2] == revision)
        segment = next(s for s in self.segments if s.base <= position < s.base + len(s.data))
        at = max(a for a, _, _ in segment.frames if segment.base + a <= position)
        check = bytes(segment.data[at + 64:at + 72])
        parts = [("magic", b"TRCT"), ("version", u(2, 1)), ("takeover", u(2, segment.takeover)), ("store_id", self.store_id),
                 ("incarnation", self.incarnation), ("epoch_segment", u(8, segment.ordinal)),
                 ("frame_position", u(8, segment.base + at)), ("ordinal", u(4, position - segment.base - at)),
                 ("reserved", bytes(4)), ("global_number", u(8, index)), ("frame_check", check)]
        return parts + [("check", u(8, xxh64(0, join(parts))))]

    def chain(self, stream, revision):
        """H(revision) of a stream, by its lineage."""
        value = bytes(32)
        for r in range(revision + 1):
            name = stream
            while self.streams[name]["fork"] and r <= self.streams[name]["fork"][1]:
                name = self.streams[name]["fork"][2]
            _, _, _, _, e, when, _ = next(x for x in self.events if x[0].stream == name and x[2] == r)
            value = blake3(value + join(canonical_parts(e, r, when)))
        return value


def canonical_parts(e, revision, recorded):
    ident = (e.id or "").encode()
    return [("magic", b"TRE1"), ("revision", u(8, revision)), ("id_length", u(1, len(ident)))] + (
        [("id", ident)] if ident else []) + [
        ("type_length", u(1, len(e.type.encode()))), ("type", e.type.encode()), ("recorded_at", i64(recorded)),
        ("has_occurred", u(1, e.occurred is not None)), ("occurred_at", i64(e.occurred or 0)),
        ("metadata_length", u(8, len(e.metadata))), ("metadata_digest", blake3(e.metadata)),
        ("payload_length", u(8, len(e.payload))), ("payload_digest", blake3(e.payload))]


# --- items: each is a function of the store, the frame's position and the item's position

def fork(name, parent, revision):
    def build(store, frame, position):
        holder = parent
        while store.streams[holder]["fork"] and revision <= store.streams[holder]["fork"][1]:
            holder = store.streams[holder]["fork"][2]
        place = next(e[3] for e in store.events if e[0].stream == holder and e[2] == revision)
        segment = next(s for s in store.segments if s.base <= place < s.base + len(s.data))
        place = segment.base + max(a for a, _, _ in segment.frames if segment.base + a <= place)
        p = store.streams[parent]
        near = store.streams[p["jump"]]
        far = store.streams[near["jump"]]
        jump, lowest = parent, revision
        if p["depth"] - near["depth"] == near["depth"] - far["depth"]:
            jump, lowest = near["jump"], min([revision] + [s["lowest"] for s in (p, near) if s["fork"]])
        body = [("name_length", var(len(name.encode()))), ("name", name.encode()), ("parent_back", var(position - p["id"])),
                ("fork_revision", var(revision)), ("place_back", var((frame - place) // 8)), ("depth", var(p["depth"] + 1)),
                ("jump_back", var(position - store.streams[jump]["id"])), ("jump_depth", var(store.streams[jump]["depth"])),
                ("lowest_back", var(revision - lowest))]

        def done():
            store.streams[name] = {"id": position, "next": revision + 1, "place": frame, "depth": p["depth"] + 1,
                                   "fork": (p["id"], revision, parent), "jump": jump, "lowest": lowest}
        done.id, done.name = position, name
        return 1, body, done
    return build


def snapshot(section, source, first, end, label, version):
    def build(store, frame, position):
        place = next(e[3] for e in store.events if e[0].stream == source and e[2] == end - 1)
        segment = next(s for s in store.segments if s.base <= place < s.base + len(s.data))
        place = segment.base + max(a for a, _, _ in segment.frames if segment.base + a <= place)
        at_first = store.chain(source, first - 1) if first else bytes(32)
        return 2, [("section", var(section)), ("source_back", var(frame - store.streams[source]["id"])),
                   ("range_first", var(first)), ("range_end", var(end)), ("place_back", var((frame - place) // 8)),
                   ("chain_at_first", at_first), ("chain_at_end", store.chain(source, end - 1)),
                   ("label", counted(label)), ("version", counted(version))], None
    return build


def cursor(name, stream, revision):
    return lambda store, frame, position: (
        3, [("name", counted(name)), ("token", join(store.token(stream, revision)))], None)


def claim(stream, note):
    return lambda store, frame, position: (
        4, [("stream_back", var(frame - store.streams[stream]["id"])), ("note", counted(note))], None)


def fence(stream, claim_position):
    return lambda store, frame, position: (
        5, [("stream_back", var(frame - store.streams[stream]["id"])), ("claim_back", var(frame - claim_position))], None)


def accept(ranges, heads):
    def build(store, frame, position):
        body = [("range_count", var(len(ranges)))]
        for start, length, kind in ranges:
            body += [("start", var(start)), ("length", var(length)), ("class", u(1, kind))]
        body.append(("stream_count", var(len(heads))))
        for stream, head in heads:
            body += [("stream", var(store.streams[stream]["id"])), ("head", var(head))]
            store.streams[stream]["next"] = head + 1
        return 6, body, None
    return build


def unknown_item(kind, data):
    return lambda store, frame, position: (kind, [("body", data)], None)
