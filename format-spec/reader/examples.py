"""The hex examples of the pages: the very bytes of a small store, field by field."""

import builder as b
import side_builder as side
from layout import token_text


def hex_of(parts, start=0):
    """One line a field: offset, bytes, name. Long runs of one byte are shortened."""
    out, at = "", start
    for label, data in parts:
        rows = [data[i:i + 16] for i in range(0, len(data), 16)] or [b""]
        if len(data) > 16 and len(set(data)) == 1:
            rows = [data]
        for i, row in enumerate(rows):
            text = f"{row[0]:02x} × {len(row)}" if len(row) > 16 else row.hex(" ")
            out += f"{at:6}  {text:<48} {label if i == 0 else ''}".rstrip() + "\n"
            at += len(row)
    return out


def all_examples():
    s, out = b.Store("example"), {}
    values = (0, 1, 127, 128, 300, 16384, b.M64)
    out["var"] = "".join(f"{v:>20}  {b.var(v).hex(' ')}\n" for v in values) + "                 bad  80 00 (not the shortest form of 0)\n"
    segment = s.segments[0]
    out["seeds"] = (f"salt            {segment.salt.hex(' ')}\n" + "".join(
        f"position {p:<6} seed64 = {segment.seeds.long(p):#018x}  seed32 = {segment.seeds.short(p):#010x}\n"
        for p in (256, 8192, 8193)))
    out["store_block"] = hex_of(s.block_parts)
    out["segment_header"] = hex_of(segment.header_parts)
    out["open_frame"] = hex_of(segment.open_parts)
    s.batch(b.Section("s", [b.Event("note", b"hello"), b.Event("note", b"{}", b'{"k":1}', id="n2", occurred=b.START)]))
    out["frame_header"] = hex_of(s.last_parts[:13])
    out["batch_frame"] = hex_of(s.last_parts)
    out["watermark_slot"] = hex_of(s.slot(7))
    record = s.events[1]
    out["canonical_event"] = (hex_of(b.canonical_parts(record[4], record[2], record[5]))
                              + f"\nH(0) = {s.chain('s', 0).hex()}\nH(1) = {s.chain('s', 1).hex()}\n")
    out["cursor_token"] = hex_of(s.token("s", 1)) + "\n" + token_text(b.join(s.token("s", 1))) + "\n"
    t = b.Store("example")
    t.batch(b.Section("s", [b.Event("note", b"hello"), b.Event("note", b"{}", b'{"k":1}', id="n2", occurred=b.START)]))
    t.batch(items=[b.fork("side", "s", 0)])
    out["fork_item"] = hex_of(t.last_parts)
    s.index()
    out["index_block"] = hex_of(s.last_parts)
    out.update(side_examples(s))
    s.start(1)
    s.seal()
    out["seal_frame"] = hex_of(s.last_parts)
    return out


def side_examples(s):
    """Side files of the store that ends with the index block of the examples, and parts of the index of another segment."""
    out, end, segment = {}, s.segments[0].end, s.segments[0]
    parts = side.run_parts(s, 0, end)
    out["side_header"] = hex_of(parts[:-2])
    (stream,) = s.streams.values()
    out["name_row"] = hex_of(side.name_row(stream["id"], 0, 0, 1))
    out["head_row"] = hex_of(side.head_row(stream["id"], 1, stream["id"] + 1, stream["place"]))
    out["retry_row"] = hex_of(side.retry_row(segment.batches[0].batch_id, stream["place"]))
    out["segment_row"] = hex_of(side.segment_row(0, end, segment.last, 1, segment.salt, s.incarnation))
    check = side.header_check(b.join(parts))
    out["checkpoint"] = hex_of(side.checkpoint_parts(s, 1, [(1, 0, end, check)], end))
    base = 5 << 20
    sections = [(40 + i + max(0, i - 128), base + 8192 + 80 * i) for i in range(131)]
    out["segment_index_record"] = hex_of(side.record_parts(base, 5, sections, 175, base - 800, 3, (2, 7)))
    out["segment_index_type"] = hex_of(side.type_parts(base, "note", 3, [base + 8192, base + 8352], 9))
    return out
