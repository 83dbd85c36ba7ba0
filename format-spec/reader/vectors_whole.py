"""Vectors of stores that are whole: every kind of frame, item and flag, and what a newer writer may have added."""

import builder as b
from builder import Event, Section, Store

VECTORS = []


class Vector:
    """A store's bytes and what a reader must say about them."""

    def __init__(self, describe, store, *, exit="clean", opening="roll", end=None, lost=(), findings=(), decisions=("C4",),
                 void=(), files=None, side=(), resumes_at=0):
        self.describe, self.store, self.exit, self.opening = describe, store, exit, opening
        self.end = store.segments[-1].end if end is None else end
        self.lost, self.findings, self.decisions = set(lost), list(findings), list(decisions)
        self.void, self.files = list(void), files or store.files()
        self.side, self.resumes_at = dict(side), resumes_at


def vector_of(vectors):
    """A decorator that adds a function as the vector of its name to a list."""
    def vector(folder):
        def add(function):
            vectors.append((folder, function.__name__.replace("_", "-"), function))
            return function
        return add
    return vector


vector = vector_of(VECTORS)


def filled(seed, batches=4, size=200, **options):
    """A store with some batches over the streams `a` and `b`, each synced."""
    s = Store(seed, **options)
    for i in range(batches):
        more(s, i, size)
    return s


def more(s, i, size=200, **options):
    text = f'{{"batch":{i},"text":"{"x" * size}"}}'.encode()
    s.batch(Section("ab"[i % 2], [Event("turn", text), Event("tool.result", b"result %d" % i)]), **options)


@vector("valid")
def empty():
    return Vector("a store with no event yet", Store("empty"))


@vector("valid")
def one_event():
    s = Store("one event")
    s.batch(Section("agent", [Event("user.message", b'{"text":"hello"}')]))
    return Vector("one stream, one event", s)


@vector("valid")
def several_streams():
    s = Store("several streams")
    s.batch(Section("a", [Event("x", b"a0")]), Section("b", [Event("x", b"b0"), Event("y", b"b1"), Event("x", b"b2")]),
            Section("ünïcode/…", [Event("x", b"c0")]))
    s.batch(Section("b", [Event("y", b"b3")]), Section("a", [Event("x", b"a1"), Event("x", b"a2")]), given=True)
    return Vector("batches over several streams; the second has an id given by the caller", s)


@vector("valid")
def fields():
    s = Store("fields")
    s.batch(Section("s", [
        Event("plain", b"payload"),
        Event("id", b"", id="native-1"),
        Event("times", b"p", occurred=-1, recorded=b.START - 5),
        Event("tags", b"p", tags=b"\x00\x01opaque"),
        Event("metadata", b"", b'{"model":"m"}'),
        Event("binary", bytes(range(256)), b"\xff\xfe"),
        Event("t" * 255, b"", id="i" * 255, occurred=2**63 - 1, recorded=-2**63, tags=b""),
        Event("lines", "a\u2028b\r\nc\0".encode())]))
    s.batch(Section("s", [Event("t%d" % (i % 3), b"%d" % i) for i in range(50)]))
    s.batch(Section("n" * 1024, [Event("t", b"longest name")]))
    return Vector("every field of an event, empty and longest ones; a section of 50 events with a skip table", s)


@vector("valid")
def segments():
    s = Store("segments")
    for i in range(30):
        more(s, i)
        if len(s.segments) > s.sealed + 1:
            s.seal()
    s.watermark(s.slot(12), s.slot(11, clean=False))
    return Vector("several segments with index blocks, jump links, seals and a clean watermark", s,
                  decisions=["C1"] * (len(s.segments) - 1) + ["C4"])


@vector("valid")
def index_jumps():
    s = Store("index-jumps")
    for i in range(9):
        s.batch(Section("ab"[i % 2], [Event("turn", b"%d" % i)]))
        s.index()
    s.watermark(s.slot(3))
    return Vector("nine index blocks in one segment, more often than the stride asks for, with their jump links", s)


@vector("valid")
def jumbo():
    s = filled("jumbo", 2)
    s.batch(Section("a", [Event("big", b"B" * 22000)]))
    more(s, 1)
    s.batch(Section("b", [Event("big", b"C" * 6000)]))
    more(s, 2)
    assert [x.span for x in s.segments] == [1, 2, 1] and s.segments[2].ordinal == 3
    return Vector("a frame that fits no segment of span 1, in a jumbo segment of span 2; the next segment has ordinal 3", s,
                  decisions=["C1", "C1", "C4"])


@vector("valid")
def newer_minor():
    s = filled("newer minor", 1, minor=3, features=(1 << 40, 0, 0))
    s.raw_frame(0x90, b"a kind of a later version", padding=b"and more", length=112)
    s.batch(Section("a", [Event("turn", b"behind it")], flags=0x20), flags=0x80,
            items=[b.unknown_item(0x81, b"an item of a later version"), b.fork("side", "a", 0)])
    s.batch(Section("side", [Event("turn", b"the item before counts for item positions")]))
    return Vector("a newer minor version: unknown ignorable kind, frame flag, section flag, item and feature bit, all passed over", s)


@vector("valid")
def read_only_feature():
    return Vector("an unknown read-only compatible feature: readable, not writable",
                  filled("read only feature", features=(0, 1, 0)), opening=None)


def unsupported(describe, s, end, file="0" * 16 + ".segment"):
    base = s.segments[-1].base
    return Vector(describe, s, exit="unsupported", opening=None, end=end, decisions=[], findings=[
        {"class": "unsupported", "file": file, "bytes": [end - base, end - base + 8],
         "within": [end - base, s.segments[-1].at]}])


def refused(describe, s):
    files = {"identity": s.files()["identity"]}
    return Vector(describe, s, exit="unsupported", opening=None, end=0, decisions=[], files=files)


@vector("valid")
def required_kind():
    s = filled("required kind", 2)
    end = s.raw_frame(9, b"who knows")
    more(s, 2)
    return unsupported("an unknown required kind of frame: what lies before it is served", s, end)


@vector("valid")
def required_flag():
    s = filled("required flag", 2)
    end = s.batch(Section("a", [Event("turn", b"unknown flag")]), flags=4)
    return unsupported("an unknown required flag of a frame", s, end)


@vector("valid")
def required_item():
    s = filled("required item", 2)
    end = s.batch(items=[b.unknown_item(0x33, b"?")])
    return unsupported("an unknown required kind of item", s, end)


@vector("valid")
def required_section_flag():
    s = filled("required section flag", 2)
    end = s.batch(Section("a", [Event("turn", b"unknown flag")], flags=8))
    return unsupported("an unknown required flag of a section", s, end)


@vector("valid")
def newer_major():
    return refused("another major version", Store("newer major", major=2))


@vector("valid")
def incompatible_feature():
    return refused("an unknown incompatible feature", Store("incompatible", features=(0, 0, 1 << 63)))


@vector("valid")
def items():
    s = Store("items")
    s.batch(Section("main", [Event("turn", b"m%d" % i) for i in range(5)]))
    s.batch(items=[b.fork("side", "main", 2)])
    s.batch(Section("side", [Event("summary", b"what m0 to m2 said")]), items=[b.snapshot(0, "main", 1, 3, "summary", "1")])
    s.batch(items=[b.cursor("mailer", "main", 3), b.cursor("mailer", "main", 4)])
    held = s.batch(items=[b.claim("main", "worker 7")])
    s.batch(Section("main", [Event("turn", b"m5")]), items=[b.fence("main", held)])
    s.batch(items=[b.accept([(100, 8, 1), (4000, 16, 3)], [("main", 5)])])
    s.batch(Section("main", [Event("turn", b"m6")]))
    s.index()
    return Vector("a fork, a snapshot, cursors, a claim, a fence and an accept", s)


@vector("valid")
def beside_streams():
    s = Store("beside streams")
    s.batch(Section("main", [Event("turn", b"m%d" % i) for i in range(5)]))
    summaries = "$snapshot/%016x/summary" % s.streams["main"]["id"]
    engine = 32
    s.batch(Section(summaries, [Event("summary", b"what m0 to m3 said")], flags=engine),
            items=[b.snapshot(0, "main", 0, 4, "summary", "1")])
    s.batch(Section("$cursor/mailer", [Event("$cursor", b"")], flags=engine), items=[b.cursor("mailer", "main", 2)])
    s.batch(Section("main", [Event("turn", b"m5")]))
    s.batch(Section("$cursor/mailer", [Event("$cursor", b"")], flags=engine), items=[b.cursor("mailer", "main", 5)])
    s.batch(Section(summaries, [Event("summary", b"what m4 said")], flags=engine),
            items=[b.snapshot(0, "main", 4, 5, "summary", "2")])
    s.index()
    return Vector("snapshots and a cursor in streams of the engine's own", s)


@vector("valid")
def forks():
    s = Store("forks")
    s.batch(Section("f0", [Event("turn", b"root %d" % i) for i in range(3)]))
    for depth in range(1, 12):
        s.batch(items=[b.fork(f"f{depth}", f"f{depth - 1}", depth + 1)])
        s.batch(Section(f"f{depth}", [Event("turn", b"own event of depth %d" % depth)]))
    s.batch(items=[b.fork("late", "f11", 1), b.fork("later", "f11", 12)])
    return Vector("forks eleven deep with their jump links; forks of revisions that an ancestor holds", s)


def family(seed):
    """Forks of forks over three segments: each is named FORKED by the block of the segment that made it, and of the next one in
    which it has events."""
    s = Store(seed)
    s.batch(Section("root", [Event("turn", b"root %d" % i) for i in range(4)]))
    s.batch(items=[b.fork("left", "root", 3), b.fork("early", "root", 1)])
    s.batch(Section("left", [Event("turn", b"left 4"), Event("turn", b"left 5")]), Section("root", [Event("turn", b"root 4")]))
    s.roll()
    s.batch(items=[b.fork("below", "left", 2)])
    s.batch(Section("below", [Event("turn", b"below 3")]), Section("early", [Event("turn", b"early 2")]))
    s.batch(Section("beside", [Event("turn", b"in one frame with a fork")]), items=[b.fork("leaf", "left", 5)])
    s.index()
    s.batch(Section("left", [Event("turn", b"left 6")]))
    s.roll()
    s.batch(Section("leaf", [Event("turn", b"leaf 6")]), Section("below", [Event("turn", b"below 4")]))
    s.batch(items=[b.fork("silent", "below", 4)])
    s.batch(items=[b.fork("of the silent one", "silent", 0)])
    return s


@vector("valid")
def forks_in_segments():
    s = family("forks in segments")
    s.index()
    return Vector("forks of forks over three segments, up and down a lineage, in frames with events and alone, with and without own",
                  s, decisions=["C1", "C1", "C4"])


@vector("valid")
def coded():
    s = Store("coded")
    s.batch(Section("z", [Event("turn", b"stored raw in a zstd frame", b"meta"), Event("turn", b"second")], codec=1))
    s.batch(Section("z", [Event("turn", b"y" * 700)], codec=1))
    s.batch(Section("z", [Event("turn", b"secret")], codec=1, key=7, stored=b"ciphertext of a key nobody has"))
    s.batch(Section("z", [Event("turn", b"future")], codec=9, stored=b"another codec"))
    s.batch(Section("z", [Event("turn", b"plain again")]))
    return Vector("compressed sections; an encrypted one and one of an unknown codec keep their places and revisions", s)


@vector("valid")
def other_files():
    s = filled("other files")
    other = filled("some other store")
    s.extra = {"0000000000000001.prepared": bytearray(other.segments[0].data[:9000]), "0000000000000007.index": bytearray(b"?"),
               "control": bytearray(b"anything"), "identity.new": bytearray(b"half"), "notes.txt": bytearray(b"not of the store"),
               "000000000000000A.segment": bytearray(b"upper case: not of the store")}
    other.watermark(other.slot(3))
    s.extra["watermark"] = other.extra["watermark"]
    return Vector("derived files with garbage, a prepared segment, another store's watermark, names that are not of the store", s)


@vector("valid")
def unsynced_adopted():
    s = filled("unsynced", 2)
    for i in range(3):
        more(s, i, synced=False)
    return Vector("whole frames in the chain above every witness: adopted", s)


@vector("valid")
def full():
    s = filled("full", 1)
    segment = s.segments[-1]
    for extra in range(4000, 8200):
        probe = 72 + 40 + extra
        if probe > len(segment.data) - segment.at - 80:
            break
    used = segment.at
    s.raw_frame(0x90, b"", length=len(segment.data) - used)
    return Vector("a segment that is full to its last byte", s, decisions=["C2"])
