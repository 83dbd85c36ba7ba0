#!/usr/bin/env python3
"""A reader for treering stores, written from the pages of format-spec/ alone. Python 3.11 or later, no other library.

    treering_reader.py STORE            every event as a JSON line, in the order of the log; findings on standard error
    treering_reader.py STORE --verify   checks everything that the pages let be checked; findings as JSON lines, then a summary
    treering_reader.py STORE --streams  every stream as a JSON line: its head, its parent, and where its events lie
    treering_reader.py STORE --side     holds every side file against the log: one JSON line a file, exit 4 if one lies
    treering_reader.py FILE --dump      one file of a store as text

It writes nothing and trusts no length. Exit: 0 whole, 1 not a store or not supported, 2 usage, 4 damage, 5 copy incomplete.
"""

import argparse
import base64
import json
import os
import sys

from dump import dump
from events import Reader
from files import NotAStore
from layout import Unsupported
from log import Log
from side_check import SideFiles
from verify import Verifier

DAMAGE = ("damage", "missing", "foreign", "stale")


def text_or_base64(out, key, data):
    try:
        out[key] = data.decode("utf-8")
    except UnicodeDecodeError:
        out[key + "_base64"] = base64.b64encode(data).decode()


def as_dict(event):
    """An event in the form of `treering export`."""
    out = {"stream": event.stream, "revision": event.revision, "position": event.position, "id": event.id,
           "type": event.type, "recorded_at": event.recorded_at, "occurred_at": event.occurred_at}
    if event.payload is None:
        out["coded"], out["metadata_length"], out["payload_length"] = event.coded, *event.lengths
    else:
        text_or_base64(out, "metadata", event.metadata)
        text_or_base64(out, "payload", event.payload)
    out["batch"] = event.batch.hex()
    return out


class Result:
    """All that a reading of a store came to."""

    def __init__(self, path, verify=True, seals=True):
        self.events, self.findings, self.rows, self.void, self.end, self.opening = [], [], [], [], 0, None
        try:
            log = Log(path)
        except NotAStore as error:
            self.exit, self.exit_code, self.error = "not_a_store", 1, str(error)
            return
        except Unsupported as error:
            self.exit, self.exit_code, self.error = "unsupported", 1, str(error)
            return
        reader = Reader(log)
        self.events = list(reader.events())
        if verify:
            Verifier(reader).run(self.events, seals)
        reader.mark_accepted()
        self.findings, self.rows, self.void, self.end, self.error = log.findings, log.rows, log.void, log.end, None
        for i, (segment, ordinal, stated, _, _) in enumerate(log.walks):
            following = next((w[0] for w in log.walks[i + 1:] if w[0]), None)
            if segment and stated is not None and following:
                start = stated - log.files.base(ordinal)
                stop = segment.file.last_set(start)
                if stop > start:
                    self.void.append((segment.name, start, stop))
        self.void.sort()
        kinds = {f.kind for f in self.findings if not f.accepted}
        if "unsupported" in kinds:
            self.exit, self.exit_code = "unsupported", 1
        elif kinds & set(DAMAGE):
            self.exit, self.exit_code = "damage", 4
        elif "copy_incomplete" in kinds:
            self.exit, self.exit_code = "copy_incomplete", 5
        else:
            self.exit, self.exit_code = "accepted" if any(f.accepted for f in self.findings) else "clean", 0
        self.opening = self._opening(log, kinds)

    def _opening(self, log, kinds):
        """The row of `recovery_opening` that a writer of another boot meets."""
        if "unsupported" in kinds or log.files.identity is None or log.files.block.read_only:
            return None
        if log.tail == "copy" or "copy_incomplete" in kinds:
            return "accept_first"
        guard = "_guarded" if kinds & set(DAMAGE) else ""
        return ("roll_incarnation" if log.files.place == "moved" else "roll") + guard


def streams(path, out):
    """Each stream, in the order of their making, as it reads: a fork's shared events with it (BAT-15)."""
    try:
        log = Log(path)
    except (NotAStore, Unsupported) as error:
        print(error, file=sys.stderr)
        return 1
    reader, own = Reader(log), {}
    for event in reader.events():
        own.setdefault(event.stream_id, []).append((event.revision, event.position))
    known, reads = reader.streams, {}
    # A parent is older than its forks.
    for stream in sorted(known.names):
        fork = known.forks.get(stream)
        before = [place for place in reads.get(fork.parent, ()) if place[0] <= fork.revision] if fork else []
        reads[stream] = before + own.get(stream, [])
        print(json.dumps({"stream": known.names[stream], "id": stream, "head": known.heads[stream] - 1,
                          "parent": fork and known.names.get(fork.parent), "fork_revision": fork and fork.revision,
                          "depth": fork.depth if fork else 0, "revisions": [r for r, _ in reads[stream]],
                          "positions": [p for _, p in reads[stream]]}, ensure_ascii=False), file=out)
    return 0


def side_files(path, out):
    """What each side file says, held against the log. Damage of the log itself is not told here."""
    try:
        log = Log(path)
    except (NotAStore, Unsupported) as error:
        print(error, file=sys.stderr)
        return 1
    found = SideFiles(log)
    for result in found.results:
        print(json.dumps(result, ensure_ascii=False), file=out)
    return 4 if found.lies else 0


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Reads a treering store, from its specification alone.")
    parser.add_argument("store", metavar="STORE|FILE")
    parser.add_argument("--verify", action="store_true", help="check everything; print findings and a summary")
    parser.add_argument("--no-seals", action="store_true", help="leave out the hashes of whole segments, which are slow here")
    parser.add_argument("--side", action="store_true", help="hold the side files against the log; print a line for each")
    parser.add_argument("--streams", action="store_true", help="print each stream: its head, its parent, where its events lie")
    parser.add_argument("--dump", action="store_true", help="print one file of a store as text")
    options = parser.parse_args(arguments)
    out = sys.stdout
    if options.dump:
        return dump(options.store, out)
    if options.streams:
        return streams(options.store, out)
    if options.side:
        return side_files(options.store, out)
    result = Result(options.store, options.verify, not options.no_seals)
    if options.verify:
        for finding in result.findings:
            print(json.dumps(finding.as_dict(), ensure_ascii=False), file=out)
        print(json.dumps({"exit": result.exit, "events": len(result.events), "end": result.end, "rows": result.rows,
                          "opening": result.opening, "error": result.error}), file=out)
        return result.exit_code
    for event in result.events:
        print(json.dumps(as_dict(event), ensure_ascii=False), file=out)
    for finding in result.findings:
        print(f"{finding.kind}: {finding.file}, bytes {finding.start}..{finding.end}: {finding.detail}", file=sys.stderr)
    if result.error:
        print(f"{result.exit}: {result.error}", file=sys.stderr)
    return result.exit_code


if __name__ == "__main__":
    try:
        sys.stdout.reconfigure(errors="surrogatepass")
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)
