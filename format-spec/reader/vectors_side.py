"""Vectors of stores with side files: whole ones, and such as must not count, where every answer stays what the log says."""

import builder as b
from builder import Event, Section, Store
from side_builder import Side, blocks, header_check, index, side_file
from vectors_whole import Vector, vector_of

VECTORS = []
vector = vector_of(VECTORS)
COUNTS, NOT, UNNEEDED, LIES = "counts", "does_not_count", "unneeded", "lies"
INDEX_0, RUN_1, RUN_2, OLDER, NEWER = (
    "0000000000000000.index", "directory-0000000000000001", "directory-0000000000000002", "checkpoint-1", "checkpoint-0")


def one(stream, kind="turn", count=1, **more):
    return Section(stream, [Event(kind, b"%d" % i, **more) for i in range(count)])


@vector("valid")
def side_files():
    s = Store("side files", size=1 << 15, stride=1 << 14)
    side = Side(s)
    s.batch(one("other/a", "start"), one("other/b", "start"), given=True)
    for _ in range(128):
        s.batch(one("long"))
    for i in range(6):
        s.batch(one("long", "pair", 2), given=i % 2 == 0)
    s.batch(items=[b.fork("long fork", "long", 130)])
    s.roll()
    side.index(s.segments[0])
    side.cut()
    for segment in (1, 2, 3):
        for i in range(5):
            s.batch(one("long"), one("long fork", recorded=b.START - i), given=i == 0)
        s.batch(Section(f"new/{segment}", [Event("start", b"z" * 40)], codec=1))
        s.seal()
        s.index()
        if segment == 3:
            break
        s.roll()
        side.index(s.segments[segment])
    side.cut()
    s.batch(one("long"))
    whole = {name: COUNTS for name in s.extra}
    assert len(whole) == 7
    return Vector("indexes of three segments, one with two chunks of a stream and jumps between them; two runs and two checkpoints",
                  s, decisions=["C1", "C1", "C1", "C4"], side=whole, resumes_at=blocks(s)[-1][1])


def first_segment(seed):
    s = Store(seed)
    for i in range(9):
        s.batch(one("ab"[i % 2], "turn" if i else "start"), given=i % 3 == 0)
    s.batch(items=[b.fork("fork", "a", 1)])
    return s


def small(seed):
    """Two segments, the first with an index; a run up to its end and one up to an index block of the second."""
    s = first_segment(seed)
    side = Side(s)
    s.roll()
    side.index(s.segments[0])
    side.cut()
    for i in range(3):
        s.batch(one("ab"[i % 2]))
    s.batch(one("late"), given=True)
    s.index()
    side.cut()
    s.batch(one("a"))
    return s


def beside(describe, s, block=None, **states):
    """`block`: the number of the index block behind which the newest checkpoint stands that fits."""
    resumes_at = 0 if block is None else blocks(s)[block][1]
    names = {"index_0": INDEX_0, "run_1": RUN_1, "run_2": RUN_2, "older": OLDER, "newer": NEWER}
    side = {name: states.get(key, COUNTS) for key, name in names.items() if name in s.extra}
    return Vector(describe, s, decisions=["C1", "C4"], side=side, resumes_at=resumes_at)


@vector("beside")
def bad_headers():
    s = small("bad headers")
    s.extra[INDEX_0][70] ^= 1
    s.extra[NEWER][4000] ^= 1
    return beside("one bit of the headers of an index and of the newer checkpoint, there in the zeros: the older one counts", s,
                  0, index_0=NOT, newer=NOT, run_2=UNNEEDED)


@vector("beside")
def bad_blocks():
    s = small("bad blocks")
    s.extra[INDEX_0][4096 + 20] ^= 1
    s.extra[RUN_1][-1] ^= 1
    s.extra[RUN_2][4096] ^= 1
    return beside("one bit of the only block of an index, of a run's block and of the other run's table of checks", s,
                  0, index_0=NOT, run_1=UNNEEDED, run_2=UNNEEDED, older=NOT, newer=NOT)


@vector("beside")
def bad_lengths():
    s = small("bad lengths")
    s.extra[INDEX_0] = s.extra[INDEX_0][:-8]
    s.extra[RUN_2] += b"\0"
    s.extra[NEWER] = s.extra[NEWER][:0]
    return beside("side files that are shorter or longer than they say", s, 0, index_0=NOT, run_2=NOT, newer=NOT)


@vector("beside")
def foreign():
    s, other = small("beside foreign"), small("beside foreign, another store")
    s.extra = other.extra
    return beside("the side files of another store", s, index_0=NOT, run_1=NOT, run_2=NOT, older=NOT, newer=NOT)


@vector("beside")
def other_kinds():
    s = small("other kinds")
    s.extra = {INDEX_0: s.extra[RUN_1], RUN_1: s.extra[INDEX_0], RUN_2: s.extra[NEWER], OLDER: s.extra[RUN_2], NEWER: s.extra[OLDER]}
    return beside("side files under each other's names; a checkpoint under the name of the other one still counts as what it is", s,
                  index_0=NOT, run_1=NOT, run_2=NOT, older=NOT, newer=NOT)


@vector("beside")
def stale():
    s, older, longer = (small("beside stale") for _ in range(3))
    older.segments[0].salt = b.sixteen("an older life of this file")
    s.extra[INDEX_0] = index(older, older.segments[0])
    longer.batch(one("a"))
    longer.index()
    side = Side(longer)
    side.generation = 3
    side.cut()
    s.extra[NEWER], s.extra[RUN_1] = longer.extra[NEWER], longer.extra[RUN_1]
    return beside("the index of an older life of a segment; a checkpoint of a log that went on further than this one", s,
                  index_0=NOT, newer=NOT, older=NOT, run_1=UNNEEDED, run_2=UNNEEDED)


@vector("beside")
def left_before():
    # What was made of this log stays, of which the index block and all behind it were lost: that place is void now.
    before, again = small("left before"), first_segment("left before")
    again.sync()
    stop = again.segments[0].at
    again.start(2)
    again.batch(one("b"))
    again.segments[0].data[stop:] = before.segments[0].data[stop:]
    again.extra = {INDEX_0: before.extra[INDEX_0], RUN_1: before.extra[RUN_1], OLDER: before.extra[OLDER]}
    return Vector("the log left a segment before the index block behind which a checkpoint stands: the block is void, and the "
                  "index tells of another end", again, decisions=["C1", "C4"],
                  void=[{"file": again.segments[0].name, "bytes": [stop, len(bytes(before.segments[0].data).rstrip(b'\0'))]}],
                  side={INDEX_0: NOT, RUN_1: UNNEEDED, OLDER: NOT})


def rewritten(data, at, new):
    """A side file with other bytes at a place of its payload, under right checks."""
    payload = data[4096:4096 + int.from_bytes(data[32:40], "little")]
    payload[at:at + len(new)] = new
    kind, length = int.from_bytes(data[10:12], "little"), int.from_bytes(data[12:16], "little")
    return side_file(kind, bytes(data[16:32]), bytes(data[48:48 + length]), bytes(payload))


def heads_at(run):
    """Where the heads of a run begin in its payload."""
    names, texts = int.from_bytes(run[72:76], "little"), int.from_bytes(run[64:72], "little")
    return 32 * names + (texts + 7) // 8 * 8 + (4 * names + 7) // 8 * 8


@vector("beside")
def lies():
    s = small("beside lies")
    made = s.extra[INDEX_0]
    rows = int.from_bytes(made[48 + 136:48 + 144], "little")
    record = 4096 + int.from_bytes(made[4096 + rows + 8:4096 + rows + 12], "little")
    units = bytes(made[record + 4:record + 6])
    s.extra[INDEX_0] = rewritten(made, record + 4 - 4096, b.var((units[0] & 127 | units[1] << 7) + 13))
    at = heads_at(s.extra[RUN_2]) + 8
    head = int.from_bytes(s.extra[RUN_2][4096 + at:4096 + at + 8], "little")
    s.extra[RUN_2] = rewritten(s.extra[RUN_2], at, b.u(8, head + 3))
    checkpoint = s.extra[NEWER]
    length = int.from_bytes(checkpoint[12:16], "little")
    head = bytes(checkpoint[48:48 + length - 8]) + b.u(8, header_check(s.extra[RUN_2]))
    s.extra[NEWER] = side_file(3, s.store_id, head)
    return beside("an index that names another place for a section, and a head three revisions too high, under right checks", s,
                  1, index_0=LIES, newer=LIES)
