"""Vectors of stores that a crash, a bad disk or a hasty copy left behind, and what is lost of each."""

import builder as b
from builder import Event, Section, Store
from vectors_whole import Vector, family, filled, more, vector_of

VECTORS = []
FIRST, SECOND = (f"{i:016x}.segment" for i in range(2))
vector = vector_of(VECTORS)


def finding(kind, file, start, end, within=None, verify=False):
    """`bytes`: what a reader's finding must at least hold. `within`: what it must not go beyond. `verify`: REC-11."""
    out = {"class": kind, "file": file, "bytes": [start, end]}
    out["within"] = list(within or (start, end))
    if verify:
        out["verify"] = True
    return out


def flip(segment, offset, mask=0x10):
    segment.data[offset] ^= mask


def frame(segment, index):
    """Offset and length of a frame."""
    return segment.frames[index][:2]


def lost_in(s, segment, index):
    """Positions of the events of a frame."""
    at, length = frame(segment, index)
    return {e[3] for e in s.events if segment.base + at <= e[3] < segment.base + at + length}


# --- torn tails

def torn(describe, s, at, last, decision, **more_options):
    segment = s.segments[-1]
    return Vector(describe, s, end=segment.base + at, decisions=[decision], findings=[
        finding("torn_tail", segment.name, at, last, (at, (last + 7) // 8 * 8))], **more_options)


def cut(seed, where):
    """A store whose last frame, never synced, has only its first `where(header, plain, length)` bytes."""
    s = filled(seed, 3)
    more(s, 3, synced=False)
    segment = s.segments[0]
    at, length = frame(segment, -1)
    plain = int.from_bytes(segment.data[at + 12:at + 16], "little")
    keep = where(72, 72 + plain, length)
    segment.data[at + keep:at + length] = bytes(length - keep)
    last = at + len(bytes(segment.data[at:at + keep]).rstrip(b"\0"))
    return s, at, last


@vector("torn")
def in_the_header():
    return torn("the last frame stops in its header", *cut("torn header", lambda h, p, n: 41), "C11")


@vector("torn")
def in_the_bodies():
    return torn("the last frame stops in its bodies; the header proves itself", *cut("torn bodies", lambda h, p, n: p + 50), "C11")


@vector("torn")
def hole_in_the_bodies():
    s = filled("torn hole", 3, size=1200)
    more(s, 3, 1200, synced=False)
    at, length = frame(s.segments[0], -1)
    start = at + 512
    s.segments[0].data[start:start + 512] = bytes(512)
    return torn("512 bytes in the middle of the last frame never reached the disk", s, at, at + length, "C11")


@vector("torn")
def garbage():
    s = filled("torn garbage", 3)
    segment = s.segments[0]
    segment.data[segment.at:segment.at + 600] = b.sixteen("garbage") * 37 + bytes(8)
    return torn("bytes behind the end that were never a frame", s, segment.at, segment.at + 592, "C11")


@vector("torn")
def whole_frames_behind():
    s = filled("torn order", 3)
    for i in range(3, 6):
        more(s, i, synced=False)
    at, _ = frame(s.segments[0], 3)
    s.segments[0].data[at:at + 64] = bytes(64)
    return torn("the first of three unsynced frames lost its header, the two behind it are whole", s, at, s.segments[0].at, "C12")


@vector("torn")
def second_frame_of_a_dead_writer():
    s = filled("dead writer", 4)
    segment = s.segments[0]
    at = segment.at
    segment.check ^= 1  # as if the frame before it were the dead writer's first, and not its successor's
    more(s, 4, synced=False)
    last, segment.at, s.events = segment.at, at, s.events[:-2]
    return torn("a whole frame right behind the end that continues another frame than the last one", s, at, last, "C11")


@vector("torn")
def old_segment_behind_roll():
    s = filled("torn roll", 3)
    end = s.segments[0].end
    for i in range(3, 5):
        more(s, i, synced=False)
    s.start(1, witness=end)
    more(s, 5, synced=False)
    first = s.segments[0]
    at, length = frame(first, 3)
    first.data[at:at + 100] = bytes(100)
    return Vector("loss of power after rolling, before the old segment was synced: the log ends in the old one", s, end=end,
                  decisions=["C13"], findings=[finding("torn_tail", FIRST, at, first.at)])


@vector("torn")
def old_segment_zero_behind_roll():
    s = filled("torn roll zero", 3)
    end = s.segments[0].end
    more(s, 3, synced=False)
    first = s.segments[0]
    at, length = frame(first, 3)
    s.start(1, witness=end)
    first.data[at:at + length] = bytes(length)
    return Vector("as before, with nothing of the lost frame on the disk", s, end=end, decisions=["C5"],
                  findings=[finding("torn_tail", FIRST, at, at)])


# --- void

def roll_over(s, segment, at):
    """Starts a new segment that states `at` as the end of `segment`, as a writer does behind a torn tail."""
    kept = [f for f in segment.frames if f[0] < at]
    segment.at, segment.last = at, segment.base + kept[-1][0]
    segment.check = int.from_bytes(segment.data[kept[-1][0] + 64:kept[-1][0] + 72], "little")
    segment.indexes = [i for i in segment.indexes if i < segment.base + at]
    gone = [e for e in s.events if e[3] >= segment.base + at]
    s.events = [e for e in s.events if e[3] < segment.base + at]
    s.number -= len(gone)
    s.max_recorded = max(e[5] for e in s.events)
    for name in {e[0].stream for e in gone}:
        kept_events = [e for e in s.events if e[0].stream == name]
        place = max(f[0] for f in segment.frames if segment.base + f[0] <= kept_events[-1][3])
        s.streams[name].update(next=kept_events[-1][2] + 1, place=segment.base + place)
    segment.frames = kept
    return s.start(2)


@vector("void")
def tear_then_roll():
    s, at, last = cut("void tear", lambda h, p, n: p + 50)
    roll_over(s, s.segments[0], at)
    more(s, 4)
    return Vector("a torn tail, a new segment behind it: what was torn is void and nothing is reported", s,
                  decisions=["C1", "C4"], void=[{"file": FIRST, "bytes": [at, last]}])


@vector("void")
def whole_frames_then_roll():
    s = filled("void frames", 3)
    for i in range(3, 6):
        more(s, i, synced=False)
    first = s.segments[0]
    (at, _), stop = frame(first, 3), len(bytes(first.data).rstrip(b"\0"))
    first.data[at:at + 64] = bytes(64)
    roll_over(s, first, at)
    more(s, 6)
    s.seal()
    return Vector("whole frames behind a tear, then a new segment: they stay void, also under a seal", s,
                  decisions=["C1", "C4"], void=[{"file": FIRST, "bytes": [at, stop]}])


@vector("void")
def whole_segment():
    s = filled("void segment", 3)
    first = s.segments[0]
    more(s, 3, synced=False)
    s.start(1, witness=first.base + frame(first, 3)[0])
    more(s, 4, synced=False)
    second = s.segments.pop()
    (at, length), stop = frame(first, 3), first.at
    first.data[at + 80:at + length] = bytes(length - 80)
    for e in [e for e in s.events if e[3] >= second.base]:
        s.events.remove(e)
        s.number -= 1
        s.streams[e[0].stream].update(next=2, place=first.base + frame(first, 0)[0])
    s.streams["a"].update(next=4, place=first.base + frame(first, 2)[0])
    roll_over_at(s, first, at)
    more(s, 5)
    files = s.files()
    files[SECOND] = second.data
    return Vector("a new segment that names the one before the last: the segment between is void as a whole", s, files=files,
                  decisions=["F1", "C1", "C4"], void=[{"file": FIRST, "bytes": [at, at + 80]},
                                                      {"file": SECOND, "bytes": [0, 16384]}])


def roll_over_at(s, first, at):
    """As `roll_over`, into the ordinal behind the void segment."""
    s.start, start = (lambda reason: start(reason, ordinal=2)), s.start
    roll_over(s, first, at)
    del s.start


# --- damage

def damaged(describe, s, findings, *, lost=(), decisions=(), opening="roll_guarded", exit="damage", **options):
    return Vector(describe, s, exit=exit, opening=opening, lost=lost, findings=findings, decisions=list(decisions), **options)


def one_segment(seed):
    return filled(seed, 6), FIRST


@vector("damaged")
def payload():
    s, name = one_segment("damaged payload")
    at, length = frame(s.segments[0], 2)
    plain = int.from_bytes(s.segments[0].data[at + 12:at + 16], "little")
    flip(s.segments[0], at + 72 + plain + 20)
    start = at + 72 + plain
    return damaged("one bit of a payload: that event is lost, the other one of its batch is served", s,
                   [finding("damage", name, start + 20, start + 21, (at, at + length))],
                   lost={s.segments[0].base + at}, decisions=["C9", "C4"])


@vector("damaged")
def tables():
    s, name = one_segment("damaged tables")
    at, length = frame(s.segments[0], 2)
    flip(s.segments[0], at + 80)
    return damaged("one bit of a section table: the frame is lost, those behind it are served", s,
                   [finding("damage", name, at, at + length)], lost=lost_in(s, s.segments[0], 2), decisions=["C10", "C4"])


@vector("damaged")
def header():
    s, name = one_segment("damaged header")
    at, length = frame(s.segments[0], 3)
    flip(s.segments[0], at + 9, 0x01)
    return damaged("one bit of a frame's length", s, [finding("damage", name, at, at + length)],
                   lost=lost_in(s, s.segments[0], 3), decisions=["C10", "C4"])


@vector("damaged")
def name_in_an_index_block():
    s = filled("damaged name", 20)
    at, length = frame(s.segments[0], 1)
    flip(s.segments[0], at + 75)
    return damaged("the only frame that names a stream is bad: an index block names it", s,
                   [finding("damage", FIRST, at, at + length)], lost=lost_in(s, s.segments[0], 1), decisions=["C10", "C4"])


@vector("damaged")
def forks_frame():
    s = family("damaged forks")
    at, length = frame(s.segments[0], 1)
    flip(s.segments[0], at + 80)
    return damaged("the frame of two forks is bad: index blocks name them, with their parents", s,
                   [finding("damage", FIRST, at, at + length)], decisions=["C10", "C1", "C1", "C4"])


@vector("damaged")
def padding():
    s = Store("damaged padding")
    s.batch(Section("a", [Event("t", b"12345")]))
    at, length = frame(s.segments[0], 0)
    used = 72 + int.from_bytes(s.segments[0].data[at + 12:at + 16], "little") + 5
    assert used < length
    flip(s.segments[0], at + length - 1)
    more(s, 0)
    return damaged("one bit of the padding: no event is lost", s,
                   [finding("damage", FIRST, at + length - 1, at + length, (at, at + length), verify=True)],
                   decisions=["C9", "C4"])


@vector("damaged")
def zeroed_block():
    s = filled("damaged block", 20, 20)
    s.roll()
    more(s, 1)
    segment = s.segments[0]
    start = segment.frames[3][0] // 512 * 512 + 512
    segment.data[start:start + 512] = bytes(512)
    hit = [i for i, f in enumerate(segment.frames) if f[0] < start + 512 and f[0] + f[1] > start]
    lost = set().union(*(lost_in(s, segment, i) for i in hit))
    low, high = segment.frames[hit[0]][0], sum(segment.frames[hit[-1]][:2])
    return damaged("512 bytes in the middle of an older segment are zero; the borders behind come from its index block", s,
                   [finding("damage", FIRST, start, start + 512, (low, high))], lost=lost, decisions=["C10", "C1", "C4"])


@vector("damaged")
def first_of_a_group():
    s = filled("damaged group", 2)
    for i in range(2, 5):
        more(s, i, synced=False)
    s.sync()
    s.watermark(s.slot(6, clean=False))
    segment = s.segments[0]
    at, length = frame(segment, 2)
    flip(segment, at + 16)
    return damaged("the first of three frames that one sync made durable is bad; the two behind it say no witness above it, but "
                   "lead to the frame that the watermark names", s, [finding("damage", FIRST, at, at + length)],
                   lost=lost_in(s, segment, 2), decisions=["C10", "C4"])


@vector("damaged")
def frame_in_a_payload():
    inside, at = 200, filled("damaged payload frame", 2).segments[0].at

    def build(zeros):
        """The store whose third frame has, behind so many zeros, a frame that is whole `inside` bytes behind its start."""
        s = filled("damaged payload frame", 2)
        segment, position = s.segments[0], s.segments[0].end + inside
        entry = b"\x00\x00\x00\x04"
        check = b.u(4, b.crc(segment.seeds.short(position), entry + b"t" + b"fake"))
        plain = b"\x01\x00" + b"\x01\x05other\x01\x04\x01\x01t" + entry + check
        fake = b.join(s._frame(segment, position, 2, [("plain", plain)], b"fake", 0, events=1, witness=segment.end))
        s.batch(Section("a", [Event("turn", bytes(zeros) + fake)]))
        more(s, 3)
        return s, bytes(segment.data).index(fake[:72], at) - at
    _, place = build(100)
    s, place = build(100 + inside - place)
    assert place == inside
    segment = s.segments[0]
    length = frame(segment, 2)[1]
    flip(segment, at + 8, 0x40)
    return damaged("a payload that holds a whole frame, made for the very place where it lies; the frame around it is bad", s,
                   [finding("damage", FIRST, at, at + length)], lost=lost_in(s, segment, 2), decisions=["C10", "C4"])


@vector("damaged")
def index_block():
    s = filled("damaged index", 20)
    segment = s.segments[0]
    i = next(i for i, f in enumerate(segment.frames) if f[2] == 0x81)
    at, length = frame(segment, i)
    flip(segment, at + 90)
    return damaged("a bad index block: no event is lost", s, [finding("damage", FIRST, at, at + length)],
                   decisions=["C10", "C4"])


@vector("damaged")
def head_block_first():
    s, name = one_segment("damaged head")
    flip(s.segments[0], 20)
    return damaged("the head block is bad, its copy serves", s, [finding("damage", name, 0, 4096)], decisions=["F5", "C4"])


@vector("damaged")
def head_block_copy():
    s, name = one_segment("damaged copy")
    flip(s.segments[0], 4096 + 300)
    return damaged("the copy of the head block is bad", s, [finding("damage", name, 4096, 8192)], decisions=["F5", "C4"])


@vector("damaged")
def head_block_misdirected():
    s = filled("damaged misdirected", 6)
    s.roll()
    more(s, 6)
    s.segments[0].data[:4096] = s.segments[1].data[:4096]
    return damaged("the first copy of the head block is that of the next segment, and proves itself", s,
                   [finding("damage", FIRST, 0, 4096)], decisions=["F5", "C1", "C4"])


@vector("damaged")
def head_blocks_both():
    s = filled("damaged heads", 6)
    s.roll()
    more(s, 6)
    flip(s.segments[0], 250)
    flip(s.segments[0], 4096 + 250)
    return damaged("both head blocks are bad; the next segment knows the salt, so every event is served", s,
                   [finding("damage", FIRST, 0, 8192)], decisions=["F8", "C1", "C4"])


@vector("damaged")
def seal_mismatch():
    s = filled("damaged seal", 6)
    s.roll()
    s.seal()
    first = s.segments[0]
    for at in (0, 4096):
        flip(first, at + 41)
        first.data[at + 248:at + 256] = b.u(8, b.xxh64(0, bytes(first.data[at:at + 248])))
    return damaged("a segment header changed together with its check: only the seal tells", s,
                   [finding("damage", FIRST, 41, 42, (0, first.at), verify=True)], decisions=["C1", "C4"])


def three_segments(seed, **options):
    s = filled(seed, 4, **options)
    s.roll()
    for i in range(4, 8):
        more(s, i)
    s.roll()
    more(s, 8)
    return s


def without_second(s):
    second = s.segments[1]
    return {e[3] for e in s.events if second.base <= e[3] < second.base + len(second.data)}


@vector("damaged")
def missing_middle():
    s = three_segments("missing middle")
    files = s.files()
    del files[SECOND]
    return damaged("a segment in the middle is not there; those on either side are served", s,
                   [finding("missing", SECOND, 0, s.segments[1].at, (0, 16384))], lost=without_second(s),
                   decisions=["F2", "C4"], files=files)


@vector("damaged")
def missing_newest():
    s = filled("missing newest", 4)
    s.roll()
    more(s, 4)
    s.watermark(s.slot(5))
    files = s.files()
    del files[SECOND]
    second = s.segments[1]
    return damaged("the newest segment is not there; the watermark knows of it", s,
                   [finding("missing", SECOND, 0, second.at, (0, 16384))], end=second.end,
                   lost={e[3] for e in s.events if e[3] >= second.base}, decisions=["F2"], files=files)


@vector("damaged")
def foreign_segment():
    s, other = filled("foreign", 4), filled("foreign, another store", 4)
    s.roll()
    more(s, 4)
    s.index()  # names the stream again
    files = s.files()
    files[FIRST] = other.segments[0].data
    return damaged("a segment of another store under the name of one of this store", s, [finding("foreign", FIRST, 0, 16384)],
                   lost={e[3] for e in s.events if e[3] < 16384}, decisions=["F6", "C4"], files=files)


@vector("damaged")
def stale_segment():
    s = three_segments("stale")
    before = three_segments("stale")
    before.segments[1].salt = b.sixteen("an older life of this file")
    again = filled("stale", 4)
    again.life = 1
    again.roll()
    more(again, 4)
    files = s.files()
    files[SECOND] = again.segments[1].data
    return damaged("a segment of another moment of the same store", s, [finding("stale", SECOND, 0, 16384)],
                   lost=without_second(s), decisions=["F7", "C4"], files=files)


@vector("damaged")
def lost_write():
    s = filled("lost write", 6)
    s.watermark(s.slot(4, clean=False))
    segment = s.segments[0]
    at, _ = frame(segment, 4)
    segment.data[at:] = bytes(len(segment.data) - at)
    return damaged("the watermark says more than the segment holds: everything behind is zero", s,
                   [finding("damage", FIRST, at, segment.at)], lost=lost_in(s, segment, 4) | lost_in(s, segment, 5),
                   decisions=["C7"])


@vector("damaged")
def short_file():
    s = filled("short file", 6)
    s.watermark(s.slot(4))
    segment = s.segments[0]
    at, _ = frame(segment, 3)
    lost = set().union(*(lost_in(s, segment, i) for i in (3, 4, 5)))
    files = s.files()
    files[FIRST] = segment.data[:at + 30]
    return damaged("the segment file was shortened", s, [finding("damage", FIRST, at, segment.at)], lost=lost,
                   decisions=["C7"], files=files)


@vector("damaged")
def identity():
    s, name = one_segment("damaged identity")
    files = s.files()
    files["identity"][45] ^= 1
    return damaged("the identity file is bad; the segments repeat it", s, [finding("damage", "identity", 0, 128)],
                   decisions=["C4"], files=files, opening=None)


@vector("damaged")
def coded_section():
    s = filled("damaged coded", 2)
    s.batch(Section("a", [Event("turn", b"in a coded section"), Event("turn", b"this too")], codec=1))
    more(s, 3)
    segment = s.segments[0]
    at, length = frame(segment, 2)
    plain = int.from_bytes(segment.data[at + 12:at + 16], "little")
    flip(segment, at + 72 + plain + 12)
    start = at + 72 + plain
    return damaged("one bit of a compressed body: its section is lost", s,
                   [finding("damage", FIRST, start + 12, start + 13, (at, at + length))], lost=lost_in(s, segment, 2),
                   decisions=["C9", "C4"])


@vector("damaged")
def accepted():
    s = filled("damaged accepted", 4)
    segment = s.segments[0]
    at, length = frame(segment, 3)
    lost = lost_in(s, segment, 3)
    s.batch(items=[b.accept([(segment.base + at, length, 1)], [("b", 3)])])
    more(s, 5)
    flip(segment, at + 9, 1)
    return damaged("damage that an accept names: still reported, marked as accepted", s,
                   [dict(finding("damage", FIRST, at, at + length), accepted=True)], lost=lost, decisions=["C10", "C4"],
                   opening="roll", exit="accepted")


@vector("damaged")
def accepted_heads():
    s = filled("damaged accepted heads", 4)
    segment = s.segments[0]
    at, length = frame(segment, 2)
    upto = sum(frame(segment, 3)) - at
    lost = lost_in(s, segment, 2) | lost_in(s, segment, 3)
    s.batch(items=[b.accept([(segment.base + at, upto, 1)], [("a", 5), ("b", 5)])])
    for i in range(4, 8):
        more(s, i)
    flip(segment, at + 9, 1)
    flip(segment, at + length + 9, 1)
    return damaged("two frames that nobody lists: the accept says where both streams go on, behind all that may have been", s,
                   [dict(finding("damage", FIRST, at, at + upto), accepted=True)], lost=lost, decisions=["C10", "C4"],
                   opening="roll", exit="accepted")


# --- copies

def copied(seed, batches=6):
    return filled(seed, batches, place=(1, 1, 1))


def incomplete(describe, s, end, findings, decisions, **options):
    return Vector(describe, s, exit="copy_incomplete", opening="accept_first", end=end, findings=findings,
                  decisions=decisions, **options)


@vector("copied")
def whole():
    return Vector("a whole copy: the identity file does not lie where the open frame says", copied("copy"),
                  opening="roll_incarnation")


@vector("copied")
def cut_short():
    s = copied("copy cut")
    s.watermark(s.slot(4, clean=False))
    segment = s.segments[0]
    at, _ = frame(segment, 4)
    segment.data[at + 130:] = bytes(len(segment.data) - at - 130)
    return incomplete("the copy of the segment stops in a frame, the rest is zero; the watermark was copied later", s,
                      segment.base + at, [finding("copy_incomplete", FIRST, at, segment.at, (at, 16384))], ["C8"])


@vector("copied")
def missing_file():
    s = three_segments("copy missing", place=(1, 1, 1))
    files = s.files()
    del files[SECOND]
    return incomplete("a segment was not copied: the log ends before it", s, s.segments[0].end,
                      [finding("copy_incomplete", SECOND, 0, s.segments[1].at, (0, 16384))], ["F3"], files=files)


@vector("copied")
def early_segment():
    s = filled("copy early", 5, place=(1, 1, 1))
    s.roll()
    more(s, 5)
    first = s.segments[0]
    at, _ = frame(first, 2)
    stop = first.at
    first.data[at:] = bytes(len(first.data) - at)
    return incomplete("one segment was copied before the later ones: the log ends in it", s, first.base + at,
                      [finding("copy_incomplete", FIRST, at, stop, (at, 16384))], ["C8"])


@vector("copied")
def torn_tail():
    s = copied("copy torn", 3)
    more(s, 3, synced=False)
    segment = s.segments[0]
    at, length = frame(segment, 3)
    segment.data[at + 100:at + length] = bytes(length - 100)
    return torn("a copy taken in the middle of a write that nobody had been promised", s, at, at + 100, "C11",
                opening="roll_incarnation")


@vector("copied")
def damaged_copy():
    s = copied("copy damaged")
    segment = s.segments[0]
    at, length = frame(segment, 2)
    flip(segment, at + 30)
    return damaged("a copy with a bad frame in the middle: damage, as anywhere", s, [finding("damage", FIRST, at, at + length)],
                   lost=lost_in(s, segment, 2), decisions=["C10", "C4"], opening="roll_incarnation_guarded")
