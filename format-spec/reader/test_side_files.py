"""Tests of side files: decoding, holding them against the log, the vectors, and whatever bytes they are made of."""

import contextlib
import io
import json
import pathlib
import random
import shutil
import tempfile
import unittest
import weakref

import builder as b
import make_vectors
import side_builder
import treering_reader
from builder import Store
from dump import dump
from events import Reader
from files import FileBytes
from hashes import xxh64
from layout import Bad
from log import Log
from side_check import SideFiles, jump_target
from side_files import SegmentIndex, SideFile, checkpoint, kind_of_name, side_header
from vectors_side import INDEX_0, NEWER, OLDER, RUN_1, RUN_2, one, small

STATES = {"counts", "does_not_count", "unneeded", "lies"}


class Folder:
    """A store's files in a folder; the log is read once, side files as often as somebody asks."""

    def __init__(self, files):
        self.path = pathlib.Path(tempfile.mkdtemp())
        weakref.finalize(self, shutil.rmtree, self.path)
        for name, data in files.items():
            (self.path / name).write_bytes(data)
        self.log = Log(self.path)
        self.reader = Reader(self.log)
        self.events = list(self.reader.events())

    def states(self, **changed):
        """The states of all side files, with others in the place of some."""
        kept = {name: (self.path / name).read_bytes() for name in changed}
        for name, data in changed.items():
            (self.path / name).write_bytes(data)
        found = SideFiles(self.log)
        for name, data in kept.items():
            (self.path / name).write_bytes(data)
        return {name: state for name, (state, _) in found.states.items()}


def again(data, head=None, payload=None):
    """A side file with another head or payload, under right checks."""
    length, size = int.from_bytes(data[12:16], "little"), int.from_bytes(data[32:40], "little")
    return side_builder.side_file(int.from_bytes(data[10:12], "little"), bytes(data[16:32]),
                                  bytes(head if head is not None else data[48:48 + length]),
                                  bytes(payload if payload is not None else data[4096:4096 + size]))


def head_and_payload(data):
    length, size = int.from_bytes(data[12:16], "little"), int.from_bytes(data[32:40], "little")
    return bytearray(data[48:48 + length]), bytearray(data[4096:4096 + size])


class Vectors(unittest.TestCase):
    def test_each_says_what_is_expected(self):
        met = set()
        for path in sorted(make_vectors.VECTORS.glob("*/*/expected.json")):
            want = json.loads(path.read_text())
            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
                code = treering_reader.main([str(path.parent / "store"), "--side"])
            found = {r["file"]: r["state"] for r in map(json.loads, out.getvalue().splitlines())}
            with self.subTest(path.parent.name):
                if "side_files" in want:
                    self.assertEqual(found, want["side_files"])
                    self.assertEqual(code, 4 if "lies" in found.values() else 0)
                    log = Log(path.parent / "store")
                    list(Reader(log).events())
                    self.assertEqual(SideFiles(log).resumes_at, want["resumes_at"])
                    met.update(found.values())
                else:
                    self.assertLessEqual(set(found.values()), {"does_not_count"})
        self.assertEqual(met, STATES)

    def test_their_names_are_of_the_store(self):
        result = treering_reader.Result(make_vectors.VECTORS / "valid" / "side-files" / "store")
        self.assertEqual([f.as_dict() for f in result.findings], [])

    def test_what_a_dump_says(self):
        for name, lines in (
                (INDEX_0, ("  segment index", "  type 'start': 2 events in 1 batches: 8192", "    chunk 1, mode 1: 128@")),
                (RUN_2, ("  directory run", "  name: stream 41640, first 0, name 'new/1'", "  order of names: [0, 1, 2]")),
                (NEWER, ("  checkpoint", "  generation: 2", "  run 2: [22208, 107688), header check "))):
            out = io.StringIO()
            self.assertEqual(dump(make_vectors.VECTORS / "valid" / "side-files" / "store" / name, out), 0)
            for line in lines:
                self.assertIn("\n" + line, out.getvalue())


class Indexes(unittest.TestCase):
    def test_numbers_and_jumps_over_many_segments(self):
        """SIX-3: an index that is missing when others are made lets the numbers begin anew behind 64 links, not before."""
        for without, anew in (((), None), ((5,), None), ((0, 1, 2), 3)):
            s = Store(f"many {without}")
            side = side_builder.Side(s)
            for i in range(13):
                for j in range(8):
                    s.batch(one("a", "quarter" if j in (2, 5) else "turn"), one("b", count=2))
                s.roll()
                if i not in without:
                    side.index(s.segments[i])
            folder = Folder(s.files())
            self.assertEqual(set(folder.states().values()), {"counts"}, without)
            there = [i for i in range(13) if i not in without]
            for number, i in enumerate(there):
                index = SegmentIndex(SideFile(FileBytes(folder.path / f"{i:016x}.index")))
                record = index.find(s.streams["a"]["id"])
                self.assertIn(("quarter", 2, 2, None), index.types())  # 4 × 2 is not less than 8
                self.assertEqual(record.number, number)
                if number:
                    self.assertEqual(record.jump, (there[jump_target(number)], 8 * there[jump_target(number)]))
                self.assertIsNone(index.find(s.streams["a"]["id"] + 5))

    def test_numbers_and_jumps_that_lie(self):
        """SIX-3: each byte of the records is held against the log and the older indexes, also where the first of them is gone."""
        for without in ((), (0,)):
            s = Store("lying jumps")
            side = side_builder.Side(s)
            for i in range(4):
                for _ in range(8):
                    s.batch(one("a"), one("b", count=2))
                s.roll()
                side.index(s.segments[i])
            for i in without:
                del s.extra[f"{i:016x}.index"]
            folder, name = Folder(s.files()), f"{3:016x}.index"
            self.assertEqual(set(folder.states().values()), {"counts"})
            head, payload = head_and_payload(s.extra[name])
            records = int.from_bytes(head[136:144], "little")
            for at in range(records):
                for bit in (1, 2, 16):
                    bad = bytearray(payload)
                    bad[at] ^= bit
                    self.assertNotEqual(folder.states(**{name: again(s.extra[name], head, bad)})[name], "counts", (without, at))

    def test_more_streams_than_a_top_has_rows(self):
        s = Store("tops", size=1 << 17, stride=1 << 17)
        side = side_builder.Side(s)
        s.batch(*(one(f"stream {i}", f"type {i % 50}") for i in range(600)))
        for i in range(60):
            s.batch(*(one(f"stream {j}", "again") for j in range(i, 600, 60)))
        s.roll()
        side.index(s.segments[0])
        side.cut()
        folder = Folder(s.files())
        self.assertEqual(folder.states(), {INDEX_0: "counts", RUN_1: "counts", OLDER: "counts"})
        index = SegmentIndex(SideFile(FileBytes(folder.path / INDEX_0)))
        self.assertEqual((len(index.tops()), index.side.blocks > 1), (3, True))
        for name in ("stream 0", "stream 255", "stream 256", "stream 599"):
            ident = s.streams[name]["id"]
            self.assertEqual([r for r, _ in index.sections(index.find(ident))], [0, 1])
            self.assertIsNone(index.find(ident + 1000000))
        self.assertIsNone(index.find(1))
        places = {t.name: t.places for t in index.types()}
        self.assertEqual((len(places), places["again"], places["type 7"]), (51, None, [8192]))

    def test_a_block_that_is_bad_makes_no_other_bad(self):
        """SID-2."""
        data = side_builder.side_file(1, bytes(16), b"", bytes(range(256)) * 40)
        data[4096 + 4096 + 7] ^= 1
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "x")
            path.write_bytes(data)
            side = SideFile(FileBytes(path))
            self.assertEqual(side.read(4000, 4096), (bytes(range(256)) * 16)[4000:])
            self.assertEqual(side.read(8192, 10240), bytes(range(256)) * 8)
            for start, end in ((4000, 4097), (8191, 8192), (10000, 10241), (5, 4)):
                with self.assertRaises(Bad):
                    side.read(start, end)


    def test_no_block_is_used_before_the_table_was_right(self):
        """SID-2: an entry of the table that is bad makes the table bad, and so every block."""
        data = side_builder.side_file(1, bytes(16), b"", bytes(9000))
        data[-1] ^= 1
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "x")
            path.write_bytes(data)
            with self.assertRaisesRegex(Bad, "table of checks"):
                SideFile(FileBytes(path)).read(0, 1)

    def test_headers_under_right_checks(self):
        """SID-1: what is right but of another version or kind, or not laid out as the page says."""
        whole = bytes(side_builder.side_file(1, bytes(16), b"head"))
        self.assertEqual(side_header(whole, 4096).head, b"head")
        for at, new in ((0, b"X"), (8, b"\2"), (10, b"\4"), (10, b"\0"), (12, b"\xc9\x0f"), (12, b"\3"), (32, b"\1"), (60, b"\1")):
            data = bytearray(whole)
            data[at:at + len(new)] = new
            data[4088:] = b.u(8, xxh64(0, bytes(data[:4088])))
            with self.assertRaises(Bad, msg=(at, new)):
                side_header(bytes(data), 4096)

    def test_chunks_of_every_length(self):
        for count in (1, 2, 127, 128, 129, 255, 256, 257, 300):
            s = Store(f"chunks {count}", size=1 << 16, stride=1 << 16)
            for i in range(count):
                s.batch(one("a", count=1 + i // 200))
            s.batch(one("b", count=3))
            s.roll()
            side_builder.Side(s).index(s.segments[0])
            self.assertEqual(Folder(s.files()).states(), {INDEX_0: "counts"}, count)

    def test_postings_that_lead_nowhere(self):
        """SIX-4: distances of 0, beyond the end, and to revisions that the record does not have."""
        base = 1 << 20
        places = [(4, base + 8192), (5, base + 8272), (7, base + 8352)]

        def sections(end, last, change=lambda record: None):
            record = bytearray(b.join(side_builder.record_parts(base, 1, places, last, None)))
            change(record)
            rows = b.u(8, 9) + b.u(4, 0)
            head = b"".join([b.u(8, 1), b.u(8, 1), *(b.u(8, n) for n in (base, end, end - 8, 0)), bytes(16),
                             *(b.u(8, n) for n in (0, 9, 9, 9, 3)), bytes(24),
                             *(b.u(8, n) for n in (1, len(record), len(record) + 12, 0, len(record) + 20))])
            path.write_bytes(side_builder.side_file(1, bytes(16), head, bytes(record) + rows + b.u(8, 9)))
            index = SegmentIndex(SideFile(FileBytes(path)))
            return index.sections(index.find(9))

        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "x")
            self.assertEqual(sections(base + 8360, 7), places)
            postings = len(b.join(side_builder.record_parts(base, 1, places, 7, None))) - 5
            for end, last, at, new in ((base + 8360, 7, 1, 0), (base + 8360, 7, 2, 0), (base + 8352, 7, 1, 10),
                                       (base + 8360, 6, 1, 10), (base + 8360, 7, 3, 11), (base + 8360, 7, 0, 2)):
                with self.assertRaises(Bad, msg=(end, last, at, new)):
                    sections(end, last, lambda record: record.__setitem__(postings + at, new))


class Checkpoints(unittest.TestCase):
    def test_runs_that_do_not_follow_each_other(self):
        """DIR-1."""
        s = small("runs")
        made = checkpoint(head_and_payload(s.extra[NEWER])[0])
        (n, a, z, c), (m, x, y, d) = made.runs
        at = made.at
        for runs in ([], [(n, a, z, c)], [(n, 8, z, c), (m, x, y, d)], [(n, a, z, c), (m, x + 8, y, d)],
                     [(n, a, z, c), (m, x, y + 8, d)], [(n, a, 0, c), (m, 0, y, d)], [*((n, 8 * i, 8 * i + 8, c) for i in range(64)), (n, 512, y, d)]):
            head = b.join(side_builder.checkpoint_parts(s, 9, runs, at))
            with self.assertRaises(Bad, msg=runs):
                checkpoint(head)
        self.assertEqual(checkpoint(b.join(side_builder.checkpoint_parts(s, 2, made.runs, at))), made)

    def test_retries_that_are_left_out(self):
        """What a run leaves out must be out of the window: a hole in front of its retries is found, though all it says is so."""
        s = Store("retries")
        for i in range(6):
            s.batch(one("a"), given=True)
        s.index()
        s.segments[0].batches[0].given = False
        side_builder.Side(s).cut()
        self.assertEqual(Folder(s.files()).states()[OLDER], "lies")
        s.segments[0].batches[0].given = True
        side_builder.Side(s).cut()
        self.assertEqual(Folder(s.files()).states()[OLDER], "counts")

    def test_a_checkpoint_wants_both_head_blocks(self):
        """DIR-1: where one copy is bad the checkpoint in that segment does not fit, so that opening tells of the damage."""
        for at in (300, 4096 + 300):
            s = small("heads")
            s.segments[1].data[at] ^= 1
            states = Folder(s.files()).states()
            self.assertEqual((states[NEWER], states[OLDER], states[RUN_2]), ("does_not_count", "counts", "unneeded"))

    def test_runs_that_many_stretches_made(self):
        """DIR-4: heads stand in every run, names in one; the streams of all runs together are those of the log."""
        s = Store("stretches")
        side = side_builder.Side(s)
        for i in range(40):
            s.batch(one("ab"[i % 2]), *([one(f"new {i}")] if i % 3 == 0 else []), given=i % 5 == 0)
            if i % 7 == 0:
                s.batch(items=[b.fork(f"fork {i}", "a", i // 2)])
                s.index()
                side.cut()
        folder = Folder(s.files())
        states = folder.states()
        self.assertEqual({kind_of_name(n)[0] for n, state in states.items() if state == "counts"}, {2, 3})
        self.assertEqual((set(states.values()), len(side.runs)), ({"counts"}, 6))
        found = SideFiles(folder.log)
        self.assertEqual(found.resumes_at, side.runs[-1][2])


class Hostile(unittest.TestCase):
    """Whatever the bytes: no exception; what is changed does not count, or is a lie that is found."""

    @classmethod
    def setUpClass(cls):
        cls.store = small("hostile")
        cls.files = cls.store.files()
        cls.folder = Folder(cls.files)

    def test_every_bit_that_is_not_zero_by_rule_is_covered(self):
        self.assertEqual(set(self.folder.states().values()), {"counts"})
        for name in (INDEX_0, RUN_2, NEWER):
            data = self.files[name]
            size = int.from_bytes(data[32:40], "little")
            places = [*range(160), *range(160, 4096, 97), 4087, 4095, *range(4096, 4096 + size + 3, 3),
                      *range(4096 + size, len(data), 111), len(data) - 8, len(data) - 1]
            for at in sorted({p for p in places if p < len(data)}):
                bad = bytearray(data)
                bad[at] ^= 1 << at % 8
                states = self.folder.states(**{name: bad})
                self.assertIn(states[name], ("does_not_count", "unneeded"), (name, at))
                self.assertNotIn("lies", states.values())

    def test_every_length(self):
        for name in (INDEX_0, RUN_2, NEWER):
            data = self.files[name]
            for length in (0, 1, 47, 48, 4095, 4096, len(data) - 4096, len(data) - 8, len(data) - 1, len(data) + 1):
                if length == len(data):
                    continue
                states = self.folder.states(**{name: bytes(data[:length]).ljust(length, b"\0")})
                self.assertEqual(states[name], "does_not_count", (name, length))

    def under_right_checks(self, name, change):
        """The states with a side file changed, its checks made right, and the checkpoint naming the changed run."""
        head, payload = head_and_payload(self.files[name])
        change(head, payload)
        changed = {name: again(self.files[name], head, payload)}
        if name in (RUN_1, RUN_2):
            named = head_and_payload(self.files[NEWER])[0]
            at = named.index(b.u(8, side_builder.header_check(self.files[name])))
            named[at:at + 8] = b.u(8, side_builder.header_check(changed[name]))
            changed[NEWER] = again(self.files[NEWER], named)
        return self.folder.states(**changed)

    def test_another_kind_under_right_checks(self):
        for name, kind in ((INDEX_0, 2), (RUN_2, 1), (NEWER, 2)):
            head, payload = head_and_payload(self.files[name])
            store = bytes(self.files[name][16:32])
            states = self.folder.states(**{name: side_builder.side_file(kind, store, bytes(head), bytes(payload))})
            self.assertEqual(states[name], "does_not_count", name)

    def test_segments_of_a_run_that_cannot_be(self):
        """DIR-1: such a checkpoint does not fit; one that could be and is not so is a lie."""
        rows = len(head_and_payload(self.files[RUN_2])[1]) - 64
        for at, new, state in ((0, 1, "does_not_count"), (0, 9, "does_not_count"), (24, 0, "does_not_count"),
                               (24, 2, "does_not_count"), (10, 1, "does_not_count"), (16, 1, "lies")):
            def change(head, payload):
                payload[rows + at] = new
            self.assertEqual(self.under_right_checks(RUN_2, change)[NEWER], state, (at, new))

    def test_a_dump_tells_of_bytes_between_the_tables(self):
        head, payload = head_and_payload(self.files[RUN_2])
        path = self.folder.path / "dumped"
        for change, code in ((0, 0), (1, 4)):
            payload[38] = change
            path.write_bytes(again(self.files[RUN_2], head, payload))
            self.assertEqual(dump(path, io.StringIO()), code)
        path.unlink()

    def test_no_byte_under_right_checks_is_believed(self):
        """Each byte of heads and payloads is held against the log, or must be what it is; but for the generation."""
        believed = set()
        for name in (INDEX_0, RUN_1, RUN_2, NEWER):
            for part, data in enumerate(head_and_payload(self.files[name])):
                for at in range(len(data)):
                    def change(head, payload):
                        (head, payload)[part][at] ^= 1
                    states = self.under_right_checks(name, change)
                    judged = states[NEWER if name in (RUN_1, RUN_2) else name]
                    self.assertIn(judged, STATES)
                    if judged == "counts":
                        believed.add((name, part, at))
        self.assertEqual(believed, {(NEWER, 0, at) for at in range(8)})

    def test_garbage_under_right_checks(self):
        dice = random.Random(14)
        for turn in range(600):
            name = dice.choice((INDEX_0, RUN_2, NEWER))

            def change(head, payload):
                for _ in range(dice.choice((1, 2, 8))):
                    part = dice.choice([p for p in (head, payload) if p])
                    part[dice.randrange(len(part))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
                if dice.random() < 0.2:
                    del payload[dice.randrange(len(payload) + 1):]
            self.assertLessEqual(set(self.under_right_checks(name, change).values()), STATES, turn)

    def test_random_files_and_their_dumps(self):
        dice = random.Random(15)
        for turn in range(60):
            data = bytearray(dice.choice([self.files[n] for n in (INDEX_0, RUN_2, NEWER)]))
            head, payload = bytearray(dice.randbytes(dice.choice((64, 168, 208)))), dice.randbytes(dice.choice((0, 9, 5000)))
            made = again(data, head, payload)
            states = self.folder.states(**{name: made for name in (INDEX_0, RUN_1, NEWER)})
            self.assertEqual({states[n] for n in (INDEX_0, RUN_1, NEWER)}, {"does_not_count"}, turn)
            path = self.folder.path / "dumped"
            path.write_bytes(made)
            self.assertEqual(dump(path, io.StringIO()), 4, turn)
            path.unlink()

    def test_no_side_file_changes_an_event(self):
        """STO-1: what is served is the same with all of them, with none, and with garbage in their places."""
        def read(files):
            folder = Folder(files)
            return [treering_reader.as_dict(e) for e in folder.events]
        whole = read(self.files)
        bare = {name: data for name, data in self.files.items() if not kind_of_name(name)}
        self.assertLess(len(bare), len(self.files))
        self.assertEqual(read(bare), whole)
        self.assertEqual(read({**bare, INDEX_0: b"?", NEWER: bytes(5000), RUN_1: self.files[INDEX_0]}), whole)


if __name__ == "__main__":
    unittest.main()
