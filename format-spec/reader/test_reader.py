"""Tests of the hashes, the reader, the vectors and the pages' tables: `python3 -m unittest` in this folder."""

import contextlib
import io
import itertools
import json
import pathlib
import random
import re
import tempfile
import unittest

import builder as b
import layout
import make_vectors
import treering_reader
from dump import dump
from hashes import blake3, crc, xxh64
from layout import Bad, Cursor
from vectors_whole import filled, more

PAGES = make_vectors.PAGES
FIRST, SECOND = (f"{i:016x}.segment" for i in range(2))


class Hashes(unittest.TestCase):
    """Against the values that the functions' own specifications publish."""

    def test_crc(self):
        self.assertEqual(crc(0, b"123456789"), 0xCBF43926)
        self.assertEqual(crc(crc(7, b"12345"), b"6789"), crc(7, b"123456789"))

    def test_xxh64(self):
        prime = 2654435761
        pattern, value = bytearray(), prime
        for _ in range(222):  # the sanity buffer of the reference implementation
            pattern.append(value >> 56 & 0xFF)
            value = value * 11400714785074694797 & (1 << 64) - 1
        for length, seed, want in (
                (0, 0, 0xEF46DB3751D8E999), (0, prime, 0xAC75FDA2929B17EF), (1, 0, 0xE934A84ADB052768),
                (1, prime, 0x5014607643A9B4C3), (4, 0, 0x9136A0DCA57457EE), (14, 0, 0x8282DCC4994E35C8),
                (14, prime, 0xC3BD6BF63DEB6DF0), (222, 0, 0xB641AE8CB691C174), (222, prime, 0x20CB8AB7AE10C14A)):
            self.assertEqual(xxh64(seed, bytes(pattern[:length])), want, (length, seed))
        self.assertEqual(xxh64(0, b"abc"), 0x44BC2CF5AD770999)

    def test_blake3(self):
        data = bytes(i % 251 for i in range(31744))  # the input of the published test vectors
        for length, want in (
                (0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
                (1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"),
                (1023, "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11"),
                (1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"),
                (1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"),
                (2048, "e776b6028c7cd22a4d0ba182a8bf62205d2ef576467e838ed6f2529b85fba24a"),
                (3072, "b98cb0ff3623be03326b373de6b9095218513e64f1ee2edd2525c7ad1e5cffd2"),
                (31744, "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47")):
            self.assertEqual(blake3(data[:length]).hex(), want, length)


class Jumps(unittest.TestCase):
    """The two ways in which 06-index-block.md tells the jump links are one."""

    def test_recursion_and_sum_of_terms_agree(self):
        links = [0]
        for number in range(1, 3000):
            q = number - 1
            links.append(links[links[q]] if q - links[q] == links[q] - links[links[q]] else q)
            rest, term = number, 0
            while rest:
                term = (1 << (rest + 1).bit_length() - 1) - 1
                rest -= term
            self.assertEqual(links[number], number - term)
        self.assertEqual(links[1:11], [0, 1, 0, 3, 4, 3, 0, 7, 8, 7])


class Var(unittest.TestCase):
    def test_round_trip_and_refusals(self):
        for value in (0, 1, 127, 128, 300, 2**32, 2**63, 2**64 - 1):
            self.assertEqual(Cursor(b.var(value)).var(), value)
        for bad in (b"", b"\x80", b"\x80\x00", b"\xff\x80\x00", b"\xff" * 9 + b"\x02", b"\xff" * 10 + b"\x00"):
            with self.assertRaises(Bad, msg=bad.hex()):
                Cursor(bad).var()


def read(files, verify=True):
    """What the reader says about a store of these files."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            (pathlib.Path(folder) / name).write_bytes(data)
        return treering_reader.Result(folder, verify)


def fits(found, wanted):
    """Whether a finding is the one that an expected.json wants."""
    start, end = found["bytes"]
    (low, high), (first, last) = wanted["within"], wanted["bytes"]
    return (found["class"] == wanted["class"] and found["file"] == wanted["file"] and low <= start <= first
            and last <= end <= high and found.get("accepted", False) == wanted.get("accepted", False))


class Tokens(unittest.TestCase):
    def test_text_form_round_trip_and_refusals(self):
        s = b.Store("tokens")
        s.batch(b.Section("s", [b.Event("note", b"x")]))
        data = b.join(s.token("s", 0))
        text = layout.token_text(data)
        self.assertEqual((len(text), layout.token_of_text(text)), (118, layout.token(data)))
        wrong = [text + "==", text[1:], text[:-1], text + "A", "é" * 118, text.replace(text[40], "+"), " " + text[1:]]
        last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".index(text[-1])
        wrong.append(text[:-1] + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last ^ 1])
        for bad in wrong:
            with self.assertRaises(Bad, msg=bad):
                layout.token_of_text(bad)


class Vectors(unittest.TestCase):
    def test_files_and_pages_are_what_the_maker_makes(self):
        self.assertEqual(make_vectors.check(), [])

    def test_reader_says_what_is_expected(self):
        folders = sorted(make_vectors.VECTORS.glob("*/*/expected.json"))
        self.assertGreater(len(folders), 40)
        for path in folders:
            with self.subTest(str(path.parent.relative_to(make_vectors.VECTORS))):
                want = json.loads(path.read_text())
                got = treering_reader.Result(str(path.parent / "store"))
                self.assertEqual([treering_reader.as_dict(e) for e in got.events], want["events"])
                self.assertEqual((got.exit, got.exit_code, got.end, got.opening),
                                 (want["exit"], want["exit_code"], want["end"], want["opening"]))
                self.assertEqual([r for r in got.rows if r != "F4"], want["decisions"])
                found = [f.as_dict() for f in got.findings if f.kind != "note"]
                self.assertEqual(len(found), len(want["findings"]), found)
                for one, wanted in zip(found, want["findings"]):
                    self.assertTrue(fits(one, wanted), (one, wanted))
                self.assertEqual([{"file": n, "bytes": [x, y]} for n, x, y in got.void], want["void"])

    def test_command_line(self):
        store = make_vectors.VECTORS / "valid" / "segments" / "store"
        want = json.loads((store.parent / "expected.json").read_text())["events"]
        for arguments in ([], ["--verify"], ["--verify", "--no-seals"]):
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                self.assertEqual(treering_reader.main([str(store), *arguments]), 0)
            lines = [json.loads(line) for line in out.getvalue().splitlines()]
            if arguments:
                self.assertEqual(lines[-1]["events"], len(want))
            else:
                self.assertEqual(lines, want)

    def test_dump_takes_every_file(self):
        for path in sorted(make_vectors.VECTORS.glob("*/*/store/*")):
            out = io.StringIO()
            self.assertIn(dump(str(path), out), (0, 1, 4), path)
            self.assertTrue(out.getvalue(), path)


class Rows(unittest.TestCase):
    """The rows of the recovery tables that no vector meets."""

    def test_heads_overwritten_with_zeros(self):
        for place, row, end in (((0, 0, 0), "F9", "damage"), ((1, 1, 1), "F10", "copy_incomplete")):
            s = filled("zero heads", 2, place=place)
            s.roll()
            more(s, 2)
            s.roll()
            s.segments[1].data[:8192] = bytes(8192)
            got = read(s.files())
            self.assertIn(row, got.rows)
            self.assertEqual(got.exit, end)
            # The damaged segment's frames are read with the salt that the next one knows; a copy ends before it.
            self.assertEqual(len(got.events), len(s.events) if row == "F9" else 4)

    def test_chain_that_misses_the_stated_end(self):
        s = filled("crossing", 3)
        first = s.segments[0]
        s.start(1, end=first.end - 8)
        got = read(s.files())
        self.assertIn("C3", got.rows)
        self.assertEqual((got.exit, len(got.events)), ("damage", 4))

    def test_copy_of_an_unsynced_roll(self):
        for keep, row in ((0, "C6"), (90, "C14")):
            s = filled("copied roll", 3, place=(1, 1, 1))
            end, first = s.segments[0].end, s.segments[0]
            more(s, 3, synced=False)
            s.start(1, witness=end)
            at = end - first.base
            first.data[at + keep:first.at] = bytes(first.at - at - keep)
            got = read(s.files())
            self.assertEqual((got.rows[-1], got.exit, got.end, len(got.events)), (row, "copy_incomplete", end, 6))


class Watermark(unittest.TestCase):
    """WMK-2: a slot that is not of this log changes nothing, whatever it says."""

    def test_slots_that_do_not_count(self):
        s = filled("slots", 3)
        segment = s.segments[0]
        ahead = b.u(8, segment.end + 8)
        for other in ({"store_id": bytes(16)}, {"incarnation": bytes(16)}, {"last_check": bytes(8)}, {"durable": ahead},
                      {"last_frame": b.u(8, segment.last + 8), "salt": bytes(16)}, {"reserved": b"\1"}, {"flags": b"\3"}):
            s.watermark(s.slot(9, **other), s.slot(8))
            got = read(s.files())
            self.assertEqual((got.exit, len(got.events), got.rows), ("clean", 6, ["F4", "C4"]), other)
            self.assertEqual([f.file for f in got.findings], ["watermark"], other)

    def test_the_older_slot_serves_when_the_newer_is_bad(self):
        s = filled("two slots", 3)
        s.watermark(s.slot(9), s.slot(8))
        s.extra["watermark"][100] ^= 1
        segment = s.segments[0]
        at = segment.frames[-1][0]
        segment.data[at:] = bytes(len(segment.data) - at)
        got = read(s.files())
        self.assertEqual((got.exit, len(got.events), got.rows), ("damage", 4, ["F4", "C7"]))

    def test_the_newer_slot_counts_in_either_place(self):
        for newer_first in (True, False):
            s = filled("slot order", 2)
            older = s.slot(8)
            more(s, 2)
            slots = (s.slot(9), older) if newer_first else (older, s.slot(9))
            s.watermark(*slots)
            segment = s.segments[0]
            at = segment.frames[-1][0]
            segment.data[at:] = bytes(len(segment.data) - at)
            self.assertEqual(read(s.files()).rows, ["F4", "C7"], newer_first)


class Contradictions(unittest.TestCase):
    """What no check can tell and only a rule forbids, under right checks."""

    def found(self, s, rule, kind="damage"):
        got = read(s.files())
        self.assertIn(rule, " ".join(f.detail for f in got.findings if f.kind == kind), [f.detail for f in got.findings])
        return got

    def test_each(self):
        def revision(s):
            s.streams["a"]["next"] += 1
            more(s, 0)

        def name(s):
            del s.streams["a"]
            more(s, 0)

        def place(s):
            s.streams["a"]["place"] -= 8
            more(s, 0)

        def depth(s):
            s.streams["a"]["depth"] = 4
            s.batch(items=[b.fork("side", "a", 0)])

        def jump(s):
            for depth, parent in enumerate(("a", "f1", "f2"), 1):
                if depth == 3:
                    s.streams["f2"]["jump"] = "a"
                s.batch(items=[b.fork(f"f{depth}", parent, 0)])

        def frame(s):
            wrong = s.events[-1][3]  # in another frame
            s.events = [e[:3] + (wrong,) + e[4:] if e is s.events[0] else e for e in s.events]
            s.batch(items=[b.fork("side", s.events[0][0].stream, 0)])

        def holder(s):
            s.batch(items=[b.fork("f1", "a", 0)])
            s.batch(b.Section("f1", [b.Event("t", b"own")]))
            # The parent has that revision too, as another event.
            s.streams["f1"]["fork"] = (s.streams["a"]["id"], 1, "a")
            s.batch(items=[b.fork("f2", "f1", 1)])

        def beyond(s):
            s.batch(items=[b.fork("side", "a", 1)])
            segment = s.segments[0]
            parts = bytearray(b.join(s.last_parts))
            where = parts.index(b"side") + 4 + 2  # behind the name and a parent_back of two bytes
            parts[where] = 9
            again = s._frame(segment, segment.last, 2, [("plain", bytes(parts[72:72 + parts[12]]))], b"",
                             int.from_bytes(parts[24:32], "little"), witness=segment.last)
            segment.data[segment.last - segment.base:segment.at] = b.join(again)

        def padding(s):
            s.batch(b.Section("c", [b.Event("t", b"12345")]), padding=b"\1")

        def witness(s):
            s.durable -= 360
            more(s, 0)

        def stride(s):
            s.stride = 1 << 20
            for i in range(20):
                more(s, i)

        def counts(s):
            length, kind, entry = s.segments[0].stretch[1]
            s.segments[0].stretch[1] = (length, kind, [(entry[0][0], entry[0][1], 1)])
            s.index()

        def unnamed(s):
            s.segments[0].known.add(s.streams["a"]["id"])
            s.index()

        def maximum(s):
            s.max_recorded += 1
            s.index()

        def no_last_index(s):
            s.start(1)

        def seal(s):
            s.roll()
            s.seal_hash = bytes(31) + b"\1"
            s.seal()

        def incarnation(s):
            s.incarnation = bytes(16)
            s.roll()

        def fence(s):
            held = s.batch(items=[b.claim("a", "one")])
            s.batch(items=[b.claim("a", "other")])
            s.batch(b.Section("a", [b.Event("t", b"late")]), items=[b.fence("a", held)])

        for make, rule in ((revision, "BAT-4"), (name, "BAT-5"), (place, "BAT-4"), (depth, "BAT-14"), (beyond, "BAT-14"),
                           (jump, "jump link"), (frame, "last shared revision"), (holder, "last shared revision"),
                           (padding, "FRM-6"), (witness, "FRM-9"), (stride, "IDX-1"), (counts, "IDX-4"),
                           (unnamed, "IDX-5"), (maximum, "running maximum"), (no_last_index, "IDX-2"), (seal, "SEA-4"),
                           (incarnation, "OPN-7"), (fence, "BAT-19")):
            with self.subTest(make.__name__):
                s = filled("contradiction", 4)
                self.assertEqual(read(s.files()).exit, "clean")
                make(s)
                self.found(s, rule)

    def test_a_snapshot_of_something_else_is_ignored(self):
        s = filled("snapshot", 4)
        s.batch(items=[b.fork("side", "a", 1)])
        s.chain = lambda stream, revision: bytes(32)
        s.batch(b.Section("side", [b.Event("summary", b"s")]), items=[b.snapshot(0, "a", 0, 2, "l", "1")])
        self.assertEqual(self.found(s, "BAT-16", "note").exit, "clean")


class Hostile(unittest.TestCase):
    """Whatever the bytes: no exception, and no other answer without a word."""

    def small(self):
        s = b.Store("small")
        s.batch(b.Section("a", [b.Event("t", b"first"), b.Event("t", b"second", b"m", id="x")]))
        s.batch(b.Section("b", [b.Event("u", b"z" * 60)], codec=1), items=[b.fork("side", "a", 0)])
        s.index()
        s.batch(b.Section("side", [b.Event("t", b"own")]))
        s.watermark(s.slot(3))
        return s

    def judge(self, files, whole, say):
        got = read(files, verify=False)
        events = [treering_reader.as_dict(e) for e in got.events]
        if events != whole:
            self.assertNotEqual(got.exit, "clean", say)
            for event in events:
                if event["stream"].startswith("$"):  # its name was in the frame that is lost
                    event["stream"] = next(w["stream"] for w in whole if w["position"] == event["position"])
                self.assertIn(event, whole, say)

    def test_every_byte_flipped(self):
        s = self.small()
        files, end = s.files(), s.segments[0].at
        whole = [treering_reader.as_dict(e) for e in read(files).events]
        self.assertEqual(len(whole), len(s.events))
        # Zero padding of the head block is one long run alike: every 13th byte of it.
        places = [(FIRST, i) for i in range(end) if not (500 < i < 4096 or 4600 < i < 8192) or i % 13 == 0]
        places += [("identity", i) for i in range(128)] + [("watermark", i) for i in range(128)]
        places += [(FIRST, i) for i in range(end, 16384, 211)]
        for name, at in places:
            bad = dict(files)
            bad[name] = bytearray(files[name])
            bad[name][at] ^= 1 << at % 8
            self.judge(bad, whole, f"{name} at {at}")

    def test_every_length(self):
        s = self.small()
        files, end = s.files(), s.segments[0].at
        whole = [treering_reader.as_dict(e) for e in read(files).events]
        for length in [*range(0, 8192, 97), *range(8192, end + 1, 3), end - 1]:
            self.judge({**files, FIRST: files[FIRST][:length]}, whole, f"{length} bytes")

    def test_garbage_under_right_checks(self):
        """Random changes inside the covered bytes, checks made right again: any answer, but always an answer."""
        dice = random.Random(5)
        for turn in range(1500):
            s = self.small()
            segment = s.segments[0]
            at, length, _ = dice.choice(segment.frames)
            data = segment.data
            for _ in range(dice.choice((1, 1, 1, 2, 8))):
                where = dice.choice((dice.randrange(4, 64), dice.randrange(72, length), dice.randrange(72, length)))
                data[at + where] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
            length = min(int.from_bytes(data[at + 8:at + 12], "little"), len(data) - at)
            plain = int.from_bytes(data[at + 12:at + 16], "little")
            body = bytes(data[at + 4:at + 64]) + bytes(data[at + 72:at + length])
            data[at + 64:at + 72] = b.u(8, xxh64(segment.seeds.long(segment.base + at), body))
            covered = bytes(data[at + 4:at + 72 + plain])
            data[at:at + 4] = b.u(4, crc(segment.seeds.short(segment.base + at), covered))
            got = read(s.files())
            self.assertIn(got.exit, make_vectors.EXIT_CODES, turn)

    def test_random_files(self):
        dice = random.Random(6)
        for turn in range(200):
            files = {n: dice.randbytes(dice.choice((0, 1, 127, 128, 4096, 9000)))
                     for n in ("identity", FIRST, SECOND, "watermark")}
            if turn % 2:
                files["identity"] = self.small().files()["identity"]
            got = read(files)
            self.assertIn(got.exit, ("not_a_store", "damage"), turn)

    def test_no_regular_file_is_followed(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder)
            for name, data in self.small().files().items():
                (path / f"real-{name}").write_bytes(data)
                (path / name).symlink_to(path / f"real-{name}")
            self.assertEqual(treering_reader.Result(folder).exit, "not_a_store")
        self.assertEqual(treering_reader.Result("/nonexistent").exit, "not_a_store")


class Pages(unittest.TestCase):
    """The machine-readable parts of the pages."""

    def text(self):
        return "\n".join(p.read_text() for p in sorted(PAGES.glob("*.md")))

    def test_decision_tables_are_exhaustive_and_do_not_overlap(self):
        tables = re.findall(r"<!-- table: (recovery\w*) -->\n<!-- observations: (.*?) -->\n((?:\|.*\n)+)", self.text())
        self.assertEqual([t[0] for t in tables], ["recovery_file", "recovery", "recovery_opening"])
        for name, domain, body in tables:
            domain = {k: v.split(",") for k, v in (x.split("=") for x in domain.split())}
            head, _, *rows = [[c.strip() for c in line.strip("|\n").split("|")] for line in body.splitlines()]
            self.assertEqual(head[1:-2], list(domain), name)
            met = set()
            for row in rows:
                for value, key in zip(row[1:-2], domain):
                    self.assertTrue(value == "*" or set(value.split("/")) <= set(domain[key]), (row[0], value))
            for seen in itertools.product(*domain.values()):
                hits = [r[0] for r in rows if all(c == "*" or s in c.split("/") for s, c in zip(seen, r[1:-2]))]
                self.assertEqual(len(hits), 1, (name, seen, hits))
                met.update(hits)
            self.assertEqual(len(met), len(rows), f"a row of {name} is never met")

    def test_byte_tables_have_one_shape_and_no_holes(self):
        tables = re.findall(r"<!-- table: (\w+) -->\n\| offset \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", self.text())
        self.assertGreater(len(tables), 15)
        for name, body in tables:
            at = 0
            for line in body.splitlines():
                cells = [c.strip() for c in line.strip("|").split("|")]
                self.assertEqual(len(cells), 5, (name, line))
                offset, size = cells[:2]
                if offset != "+":
                    self.assertEqual(int(offset), at, (name, line))
                at = at + int(size) if size != "*" and offset != "+" else at

    def test_rules_have_unique_ids_in_order(self):
        rules = re.findall(r"\*\*\[([A-Z]+)-(\d+)\]\*\*", self.text())
        self.assertGreater(len(rules), 60)
        for group, members in itertools.groupby(rules, key=lambda r: r[0]):
            self.assertEqual([int(n) for _, n in members], list(range(1, 1 + sum(r[0] == group for r in rules))), group)

    def test_anchors_and_links_lead_somewhere(self):
        for page in PAGES.glob("**/*.md"):
            for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
                self.assertTrue((page.parent / target).exists(), (page.name, target))


if __name__ == "__main__":
    unittest.main()
