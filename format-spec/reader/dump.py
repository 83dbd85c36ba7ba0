"""Any one file of a store as stable text: what its bytes say, and where they prove nothing."""

import side_dump
from files import FileBytes, Segment
from layout import (BATCH, FIRST_FRAME, FRAME_HEADER, HEAD_BLOCK, INDEX, SEAL, Bad, Seeds, Unsupported, batch_part,
                    frame_check_right, frame_header, index_part, seal_part, store_block, watermark_slot)
from side_dump import fields as _fields

NAMES = {1: "open", 2: "batch", 3: "seal", 0x81: "index block"}


def dump(path, out):
    """Prints the file; 0 if everything in it proves itself, 1 if it is no file of a store, 4 if something is bad."""
    try:
        file = FileBytes(path)
    except OSError as error:
        print(f"cannot open {path}: {error}", file=out)
        return 1
    magic = {file.read(at, at + 8) for at in (0, HEAD_BLOCK)}
    if b"TREERING" in magic and file.length <= 256:
        return _block(file, out)
    if b"TRINGWMK" in magic:
        return _watermark(file, out)
    if b"TRINGSEG" in magic:
        return _segment(file, out)
    if file.read(0, 8) == b"TRINGSID":
        return side_dump.dump(file, out)
    print("not a file of a store", file=out)
    return 1


def _block(file, out):
    print("identity file", file=out)
    try:
        _fields(out, "  ", store_block(file.read(0, file.length)), ("raw", "newer"))
        return 0
    except (Bad, Unsupported) as error:
        print(f"  bad: {error}", file=out)
        return 4


def _watermark(file, out):
    code = 0
    for at in (0, HEAD_BLOCK):
        print(f"watermark slot at {at}", file=out)
        data = file.read(at, at + 128)
        try:
            if any(data):
                _fields(out, "  ", watermark_slot(data))
            else:
                print("  empty", file=out)
        except Bad as error:
            print(f"  bad: {error}", file=out)
            code = 4
    return code


def _segment(file, out):
    segment = Segment("", 0, file)
    segment.load_head()
    if segment.unsupported:
        print(f"segment, not supported: {segment.unsupported}", file=out)
        return 1
    print(f"segment, head blocks: {segment.blocks}", file=out)
    if segment.header is None:
        return 4
    _fields(out, "  ", segment.header, ("store",))
    _fields(out, "  store ", segment.header.store, ("raw", "newer"))
    _fields(out, "  open ", segment.open)
    size = segment.header.store.segment_size
    base, seeds, fixed = segment.header.ordinal * size, Seeds(segment.header.salt), segment.header.span * size
    at, check = FIRST_FRAME, segment.open_header.check
    while at < fixed:
        try:
            header, plain = frame_header(file.read, at, fixed, base + at, seeds)
        except Bad as error:
            last = file.last_set(at)
            print(f"{at}: zeros to the end" if last == at else f"{at}: no frame ({error}); bytes set up to {last}", file=out)
            return 0 if last == at and segment.blocks == "both" else 4
        whole = frame_check_right(file.read, at, header, seeds)
        chained = header.previous == check
        print(f"{at}: {NAMES.get(header.kind, f'kind {header.kind}')}, {header.length} bytes"
              f"{'' if whole else ', frame check wrong'}{'' if chained else ', not in the chain'}", file=out)
        _fields(out, "  ", header, ("kind", "length"))
        try:
            _plain(header, plain, out)
        except (Bad, Unsupported) as error:
            print(f"  plain part: {error}", file=out)
        at, check = at + header.length, header.check
    return 0 if segment.blocks == "both" else 4


def _plain(header, plain, out):
    if header.kind == SEAL:
        _fields(out, "  ", seal_part(plain, False))
    elif header.kind == INDEX:
        index = index_part(header, plain)
        _fields(out, "  ", index, ("streams", "frames"))
        for part in index.streams + index.frames:
            print(f"  {part}", file=out)
    elif header.kind == BATCH:
        batch = batch_part(header, plain)
        for s in batch.sections:
            print(f"  section of stream {s.stream}{f' {s.name!r}' if s.creates else ''}, revisions {s.first}.."
                  f"{s.first + s.count - 1}, {s.body_length} bytes at +{s.body_offset}"
                  f"{f', codec {s.codec}, key {s.key}, raw {s.raw_length}' if s.coded else ''}", file=out)
            for e in s.entries:
                print(f"    {e.position}: type {e.type!r} id {e.id!r} occurred {e.occurred} recorded {e.recorded}"
                      f" metadata {e.metadata} payload {e.payload}", file=out)
        for item in batch.items:
            print(f"  {item if item is not None else 'item of an unknown ignorable kind'}", file=out)
