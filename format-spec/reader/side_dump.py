"""A side file as stable text: what an index, a run of the directory or a checkpoint says, and which of its blocks are bad."""

from layout import Bad
from side_files import CHUNK, INDEX, KIND_NAMES, RUN, Run, SegmentIndex, SideFile, checkpoint


def fields(out, indent, record, skip=()):
    """The fields of a record, one a line."""
    for key, value in record._asdict().items():
        if key in skip:
            continue
        if isinstance(value, bytes):
            value = value.hex()
        print(f"{indent}{key}: {value}", file=out)


def dump(file, out):
    """Prints the file; 0 if all of it proves itself, 4 if something is bad. What a bad block hides is told in its place."""
    print("side file", file=out)
    try:
        side = SideFile(file)
        print(f"  {KIND_NAMES[side.header.kind]}", file=out)
        fields(out, "  ", side.header, ("kind", "head"))
        if side.header.kind == INDEX:
            parts = _index(side, out)
        elif side.header.kind == RUN:
            parts = _run(side, out)
        else:
            parts = _checkpoint(side, out)
    except Bad as error:
        print(f"  bad: {error}", file=out)
        return 4
    code = 0
    for part in [*parts, side.prove]:
        try:
            part()
        except Bad as error:
            print(f"  bad: {error}", file=out)
            code = 4
    return code


def _index(side, out):
    index = SegmentIndex(side)
    fields(out, "  ", index.head)

    def stream(number):
        record = index.record(*index.row(number))
        print(f"  stream {record.stream}: revisions {record.first}..{record.last}, {record.sections} sections, number {record.number}, "
              f"reaches back to {record.reach_back}, jump {record.jump}", file=out)
        for n in range(-(-record.sections // CHUNK)):
            mode, sections = index.chunk(record, n)
            print(f"    chunk {n}, mode {mode}: {' '.join(f'{r}@{p}' for r, p in sections)}", file=out)

    def types():
        for t in index.types():
            where = "not listed" if t.places is None else " ".join(map(str, t.places))
            print(f"  type {t.name!r}: {t.events} events in {t.batches} batches: {where}", file=out)
    return [lambda n=n: stream(n) for n in range(index.head.streams)] + [types]


def _run(side, out):
    run = Run(side)
    fields(out, "  ", run.head)

    def rows(what, read):
        def show():
            for row in read():
                said = (v.hex() if isinstance(v, bytes) else repr(v) for v in row)
                print(f"  {what}: {', '.join(f'{k} {v}' for k, v in zip(row._fields, said))}", file=out)
        return show
    return [run.prove, rows("name", run.names), rows("head", run.heads), rows("retry", run.retries), rows("segment", run.segments),
            lambda: print(f"  order of names: {run.name_order()}", file=out),
            lambda: print(f"  order of retries: {run.retry_order()}", file=out)]


def _checkpoint(side, out):
    made = checkpoint(side.header.head)
    fields(out, "  ", made, ("runs",))
    for run in made.runs:
        print(f"  run {run.number}: [{run.start}, {run.end}), header check {run.check}", file=out)
    return []
