"""The files of a store, read and judged one by one: names, heads, watermark slots, the line of segments.

Follows 01-store.md, 02-segment.md and the table `recovery_file` of 11-recovery.md. Only reads; follows no link, opens
regular files only. What is found wrong becomes a `Finding`; `NotAStore` and `Unsupported` end the reading.
"""

import os
import re
import stat
import weakref
from collections import OrderedDict

from layout import (FIRST_FRAME, HEAD_BLOCK, NONE, OPEN, OPEN_LENGTH, OPEN_OFFSET, Bad, Seeds, Unsupported,
                    frame_check_right, frame_header, open_part, segment_header, store_block, watermark_slot)

SEGMENT_NAME = re.compile(r"([0-9a-f]{16})\.segment\Z")
OTHER_NAMES = re.compile(r"(identity|watermark|control|claims-[0-9a-f]{2}|[0-9a-f]{16}\.(prepared|index)|directory-[0-9a-f]{16}|checkpoint-[01]|.*\.new)\Z",
                         re.DOTALL)


class NotAStore(Exception):
    """The directory holds no store."""


class Finding:
    """One thing that is not as it should be. `kind` is one of: damage, missing, foreign, stale, copy_incomplete, torn_tail, note,
    unsupported."""

    def __init__(self, kind, file, start, end, detail, positions=None):
        self.kind, self.file, self.start, self.end, self.detail = kind, file, start, end, detail
        self.positions, self.accepted = positions, False

    def as_dict(self):
        out = {"class": self.kind, "file": self.file, "bytes": [self.start, self.end], "detail": self.detail}
        if self.positions:
            out["positions"] = list(self.positions)
        if self.accepted:
            out["accepted"] = True
        return out


class FileBytes:
    """A regular file's bytes; a read beyond its end is short, a failed one too. Few files are open at a time."""

    _open = OrderedDict()

    def __init__(self, path):
        self.path, self.fd = path, -1
        info = os.fstat(self._descriptor())
        self.length, self.inode = info.st_size, info.st_ino

    def _descriptor(self):
        """An open descriptor; the ones used longest ago are closed."""
        if self.fd < 0:
            self.fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            if not stat.S_ISREG(os.fstat(self.fd).st_mode):
                os.close(self.fd)
                self.fd = -1
                raise OSError("not a regular file")
            self._open[self.fd] = weakref.ref(self)
            while len(self._open) > 64:
                oldest = self._open[next(iter(self._open))]()
                oldest.close()
        self._open.move_to_end(self.fd)
        return self.fd

    def read(self, start, end):
        start, end, parts = max(0, start), min(end, self.length), []
        while start < end:
            try:
                part = os.pread(self._descriptor(), min(end - start, 1 << 24), start)
            except OSError:
                break
            if not part:
                break
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def last_set(self, floor, ceiling=None):
        """The offset behind the last byte at or behind `floor` that is not zero; `floor` if there is none."""
        at = self.length if ceiling is None else min(ceiling, self.length)
        while at > floor:
            start = max(floor, at - (1 << 20))
            rest = self.read(start, at).rstrip(b"\0")
            if rest:
                return start + len(rest)
            at = start
        return floor

    def close(self):
        if self.fd >= 0:
            del self._open[self.fd]
            os.close(self.fd)
        self.fd = -1

    __del__ = close


class Segment:
    """A segment file and what its head says. `header` and `open` are None where no head block proves itself."""

    def __init__(self, name, ordinal, file):
        self.name, self.ordinal, self.file = name, ordinal, file
        self.blocks, self.bad_block, self.header, self.open, self.open_header = "none", None, None, None, None
        self.newer, self.unsupported, self.salt, self.second = False, None, None, None

    def load_head(self):
        heads = [self._head(0), self._head(HEAD_BLOCK)]
        good = [i for i in (0, 1) if heads[i]]
        same = self.file.read(0, HEAD_BLOCK) == self.file.read(HEAD_BLOCK, 2 * HEAD_BLOCK)
        if good:
            self.header, self.open_header, self.open = heads[good[0]]
            self.newer = self.header.store.newer
            if len(good) == 2 and same:
                self.blocks = "both"
            else:
                self.blocks = "one"
                self.bad_block = 1 - good[0]
                self.second = heads[1] if len(good) == 2 else None
        elif self.file.last_set(0, FIRST_FRAME) == 0:
            self.blocks = "zero"

    def _head(self, at):
        """Segment header, open frame's header and plain part of the head block copy at offset `at` (SEG-2); None if bad."""
        def shifted(start, end):
            return self.file.read(start + at, min(end, HEAD_BLOCK) + at)
        try:
            header = segment_header(shifted(0, 256))
            base, seeds = header.ordinal * header.store.segment_size, Seeds(header.salt)
            frame, plain = frame_header(shifted, OPEN_OFFSET, HEAD_BLOCK, base + OPEN_OFFSET, seeds)
            if frame.kind != OPEN or frame.length != OPEN_LENGTH or not frame_check_right(shifted, OPEN_OFFSET, frame, seeds):
                return None
            if any(shifted(OPEN_OFFSET + 72 + frame.plain, HEAD_BLOCK)):
                return None
            return header, frame, open_part(plain, header.store.newer)
        except Unsupported as error:
            self.unsupported = str(error)
        except Bad:
            pass
        return None

    def span(self, size):
        if self.header:
            return self.header.span
        return max(1, (self.file.length + size - 1) // size) if self.file else 1


class Files:
    """Everything in the directory, and the line of segments."""

    def __init__(self, path):
        self.path, self.findings, self.rows = path, [], []
        try:
            names = sorted(os.listdir(path))
        except OSError as error:
            raise NotAStore(f"cannot list {path}: {error.strerror}") from None
        self.identity, self.identity_inode = None, None
        self.segments = {}
        for name in names:
            match = SEGMENT_NAME.match(name)
            if match:
                ordinal = int(match[1], 16)
                try:
                    self.segments[ordinal] = Segment(name, ordinal, FileBytes(os.path.join(path, name)))
                except OSError as error:
                    self.note(name, f"cannot be opened: {error}")
            elif not OTHER_NAMES.match(name):
                self.note(name, "is not of the store (STO-2)")
        self._read_identity()
        for segment in self.segments.values():
            segment.load_head()
        self._settle_store_block()
        for segment in self.segments.values():
            self._prefer_ours(segment)
        self._find_line()
        self._read_watermark()

    def note(self, file, detail):
        self.findings.append(Finding("note", file, 0, 0, detail))

    def damage(self, file, start, end, detail, kind="damage", positions=None):
        self.findings.append(Finding(kind, file, start, end, detail, positions))

    def _read_identity(self):
        data = b""
        self.identity_error = "is not there"
        try:
            file = FileBytes(os.path.join(self.path, "identity"))
            data, self.identity_inode = file.read(0, 129), file.inode
            file.close()
            self.identity = store_block(data)
            self.identity_error = None
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self.identity_error = f"cannot be opened: {error}"
        except Bad as error:
            self.identity_error = str(error)
        self.identity_bytes = data

    def _settle_store_block(self):
        magic = self.identity_bytes[:8] == b"TREERING" or any(
            s.file.read(at, at + 8) == b"TRINGSEG" for s in self.segments.values() for at in (0, HEAD_BLOCK))
        if not magic:
            raise NotAStore("neither the identity file nor any segment begins as one (STO-3)")
        self.block = self.identity
        if self.identity is None:
            for segment in self.segments.values():
                if segment.unsupported:
                    raise Unsupported(segment.unsupported)
            only = self.segments.get(0)
            if not self.identity_bytes and len(self.segments) == 1 and only and only.file.last_set(FIRST_FRAME) == FIRST_FRAME:
                raise NotAStore("a store that was never finished (STO-8)")
            self.damage("identity", 0, 128, f"the identity file {self.identity_error}")
            blocks = {s.header.store.raw for s in self.segments.values() if s.header}
            if len(blocks) == 1:
                self.block = next(s.header.store for s in self.segments.values() if s.header)

    def _prefer_ours(self, segment):
        """SEG-3: of two head blocks that prove themselves, not the first while only the second is of this store and name."""
        second = segment.second
        if second and self.block and self.owner(segment) != "ours":
            first = segment.header, segment.open_header, segment.open
            segment.header, segment.open_header, segment.open = second
            if self.owner(segment) == "ours":
                segment.bad_block = 0
            else:
                segment.header, segment.open_header, segment.open = first

    def owner(self, segment):
        header = segment.header
        if header.store.store_id != self.block.store_id:
            return "foreign"
        return "ours" if header.ordinal == segment.ordinal and header.store.raw == self.block.raw else "stale"

    def base(self, ordinal):
        return ordinal * self.block.segment_size

    def moved(self, segment):
        """Whether the identity file lies elsewhere than the open frame says; Python sees the inode only."""
        inode = segment.open.place[1]
        return bool(inode and self.identity_inode and inode != self.identity_inode)

    def _find_line(self):
        """The line, oldest first, as (segment or None, ordinal, stated end or None, the open frame that states it)."""
        self.line, self.void, self.lost = [], [], {}
        self.newest, self.place = None, "home"
        if self.block is None:
            for ordinal, segment in sorted(self.segments.items()):
                self.damage(segment.name, 0, segment.file.length, "nothing says of which store it is")
            return
        proven = sorted((o for o, s in self.segments.items() if s.header and self.owner(s) == "ours"), reverse=True)
        above = sorted(o for o in self.segments if not proven or o > proven[0])
        if not self.segments:
            self.damage("0" * 16 + ".segment", 0, self.block.segment_size, "the store lost all its segments", "missing")
        wanted, end, successor = (proven[0] if proven else None), None, None
        if wanted is not None:
            self.newest = self.segments[wanted]
            self.place = "moved" if self.moved(self.newest) else "home"
        taken, covered = set(), None
        while wanted is not None:
            segment = self.segments.get(wanted)
            usable = segment if segment and self.line_row(segment, successor) else None
            if usable is None and segment is None:
                self.missing(wanted, end)
            self.line.append((usable, wanted, end, successor))
            taken.add(wanted)
            if successor is not None and end is not None:
                for o in [o for o in self.segments if end <= self.base(o) and o < successor.ordinal and o not in taken]:
                    self.void.append((self.segments[o].name, 0, self.segments[o].file.length))
                    self.rows.append("F1")
                    taken.add(o)
            if usable is not None and usable.open:
                part = usable.open
                lower, end, successor = part.predecessor, part.end, usable
                if wanted == 0 and lower == NONE:
                    break
                if lower == NONE or lower >= wanted:
                    self.damage(usable.name, OPEN_OFFSET, HEAD_BLOCK, "a predecessor that cannot be (OPN-2, OPN-3)")
                    lower = None
            else:
                lower = None
            if lower is None:
                below = [o for o in proven if o < wanted]
                lower, end, successor = (below[0] if below else None), None, None
                if lower is None and wanted > 0 and not any(o < wanted for o in self.segments):
                    self.missing(0, None)
            wanted = lower
        self.line.reverse()
        if proven:
            for ordinal, segment in sorted(self.segments.items()):
                if ordinal not in taken and ordinal <= proven[0]:
                    self.damage(segment.name, 0, segment.file.length, "a segment that is not of the line", "stale")
        for ordinal in above:
            if not any(o == ordinal for _, o, _, _ in self.line):
                self.line_row(self.segments[ordinal], None)
                self.line.append((None, ordinal, None, None))

    def missing(self, ordinal, end):
        name, base = f"{ordinal:016x}.segment", self.base(ordinal)
        stop = end if end is not None else base + self.block.segment_size
        kind = "missing" if self.place == "home" else "copy_incomplete"
        self.rows.append("F2" if self.place == "home" else "F3")
        self.lost[ordinal] = kind
        self.damage(name, 0, stop - base, "the segment is not there", kind, (base, stop))

    def line_row(self, segment, successor):
        """Decides a present, named file by the table; returns whether its frames are read."""
        size = segment.file.length
        if segment.blocks in ("none", "zero"):
            copy = segment.blocks == "zero" and self.place == "moved"
            self.rows.append("F10" if copy else "F9" if segment.blocks == "zero" else "F8")
            self.lost[segment.ordinal] = kind = "copy_incomplete" if copy else "damage"
            self.damage(segment.name, 0, FIRST_FRAME, "no head block proves itself", kind)
            if not copy and successor is not None and successor.open.predecessor == segment.ordinal:
                segment.salt = successor.open.salt
                return True
            return False
        owner = self.owner(segment)
        if owner == "ours" and successor is not None and successor.open.salt != segment.header.salt:
            owner = "stale"
        if owner != "ours":
            self.rows.append("F6" if owner == "foreign" else "F7")
            self.damage(segment.name, 0, size, f"the file is {owner}", owner)
            self.lost[segment.ordinal] = owner
            return False
        segment.salt = segment.header.salt
        self.rows.append("F4" if segment.blocks == "both" else "F5")
        if segment.bad_block is not None:
            at = segment.bad_block * HEAD_BLOCK
            self.damage(segment.name, at, at + HEAD_BLOCK, "one copy of the head block is bad or different (SEG-3)")
        if size != segment.header.span * self.block.segment_size:
            self.note(segment.name, f"has {size} bytes instead of {segment.header.span * self.block.segment_size} (SEG-1)")
        return True

    def segment_at(self, position):
        """The usable segment of the line whose file holds `position`."""
        for segment, ordinal, _, _ in self.line:
            if segment and self.base(ordinal) <= position < self.base(ordinal + segment.span(self.block.segment_size)):
                return segment
        return None

    def _read_watermark(self):
        """The slot that counts with the highest generation (WMK-1, WMK-2)."""
        self.slot = None
        try:
            file = FileBytes(os.path.join(self.path, "watermark"))
        except OSError:
            return
        for at in (0, HEAD_BLOCK):
            data = file.read(at, at + 128)
            if not any(data):
                continue
            try:
                slot = watermark_slot(data)
            except Bad as error:
                self.note("watermark", f"the slot at {at}: {error}")
                continue
            if not self._counts(slot):
                self.note("watermark", f"the slot at {at} is not of this log (WMK-2)")
            elif self.slot is None or slot.generation > self.slot.generation:
                self.slot = slot
        file.close()

    def _counts(self, slot):
        if self.newest is None or slot.store_id != self.block.store_id or slot.incarnation != self.newest.open.incarnation:
            return False
        segment = self.segment_at(slot.last_frame)
        if segment is None:
            # A file that is not there cannot contradict; one that lies in void does.
            ordinal = slot.last_frame // self.block.segment_size
            segment = self.segments.get(ordinal)
            if ordinal <= self.newest.ordinal:
                return any(s is None and o == ordinal for s, o, _, _ in self.line)
            if segment is None:
                if ordinal in self.lost:
                    return True
                self.missing(ordinal, slot.durable)
                self.line.append((None, ordinal, slot.durable, None))
                return True
            if segment.header:
                return False
            segment.salt = slot.salt  # both head blocks are bad: the slot knows the salt (F8)
            self.line = [(segment if o == ordinal else s, o, e, n) for s, o, e, n in self.line]
        base, seeds = self.base(segment.ordinal), Seeds(segment.salt)
        offset = slot.last_frame - base
        try:
            header, _ = frame_header(segment.file.read, offset, segment.file.length, slot.last_frame, seeds)
        except Bad:
            return slot.salt == segment.salt
        end = base + FIRST_FRAME if header.kind == OPEN else slot.last_frame + header.length
        return header.check == slot.last_check and end == slot.durable
