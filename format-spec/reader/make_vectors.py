#!/usr/bin/env python3
"""Makes the vectors and the hex examples of the pages.

    make_vectors.py                 writes ../vectors anew
    make_vectors.py --check         says whether ../vectors and the pages are what this program makes
    make_vectors.py --hex [NAME]    prints the hex examples, or one
    make_vectors.py --update-pages  puts the hex examples into the pages

The stores come from `builder.py`; the expected results are stated beside each vector, by hand and from the builder's own
record, never from a reader.
"""

import base64
import json
import pathlib
import sys

import examples
import vectors_broken
import vectors_side
import vectors_whole

HERE = pathlib.Path(__file__).resolve().parent
VECTORS, PAGES = HERE.parent / "vectors", HERE.parent
EXIT_CODES = {"clean": 0, "accepted": 0, "damage": 4, "copy_incomplete": 5, "unsupported": 1, "not_a_store": 1}


def text_or_base64(out, key, data):
    try:
        out[key] = data.decode()
    except UnicodeDecodeError:
        out[key + "_base64"] = base64.b64encode(data).decode()


def event(record):
    """The builder's record of an event in the form of `treering export`."""
    section, stream, revision, position, e, recorded, batch = record
    out = {"stream": section.stream, "revision": revision, "position": position, "id": e.id, "type": e.type,
           "recorded_at": recorded, "occurred_at": e.occurred}
    if section.stored is not None:
        out.update(coded="encrypted" if section.key else f"codec {section.codec}", metadata_length=len(e.metadata),
                   payload_length=len(e.payload))
    else:
        text_or_base64(out, "metadata", e.metadata)
        text_or_base64(out, "payload", e.payload)
    out["batch"] = batch.hex()
    return out


def expected(v):
    """expected.json of a vector."""
    events = [event(r) for r in v.store.events if r[3] < v.end and r[3] not in v.lost] if v.end else []
    out = {"describe": v.describe, "exit": v.exit, "exit_code": EXIT_CODES[v.exit], "end": v.end, "opening": v.opening,
           "decisions": v.decisions}
    if v.side:
        out["resumes_at"], out["side_files"] = v.resumes_at, dict(sorted(v.side.items()))
    for key, many in (("findings", v.findings), ("void", v.void), ("events", events)):
        out[key] = many

    def line(value):
        return json.dumps(value, ensure_ascii=False)
    rows = [f"{line(k)}: " + ("[\n  " + ",\n  ".join(map(line, x)) + "\n ]" if isinstance(x, list) and x and k != "decisions"
                             else line(x)) for k, x in out.items()]
    return "{\n " + ",\n ".join(rows) + "\n}\n"


def all_vectors():
    """Every vector, as (folder, name, Vector)."""
    for module in (vectors_whole, vectors_broken, vectors_side):
        for folder, name, make in module.VECTORS:
            yield folder, name, make()


def contents():
    """Every file under vectors/ but its README, as path -> bytes."""
    out = {}
    for folder, name, v in all_vectors():
        for file, data in v.files.items():
            out[f"{folder}/{name}/store/{file}"] = bytes(data)
        out[f"{folder}/{name}/expected.json"] = expected(v).encode()
    return out


def pages_with_examples():
    """Every page with its hex examples as this program makes them, as path -> text."""
    made, out = examples.all_examples(), {}
    for page in sorted(PAGES.glob("*.md")):
        text, at = page.read_text(), 0
        while (start := text.find("<!-- hex: ", at)) >= 0:
            name = text[start + 10:text.index(" -->", start)]
            stop = text.index("<!-- /hex -->", start)
            block = f"<!-- hex: {name} -->\n```text\n{made[name]}```\n"
            text = text[:start] + block + text[stop:]
            at = start + len(block)
        out[page] = text
    return out


def write():
    wanted = contents()
    for old in sorted(VECTORS.rglob("*"), reverse=True):
        relative = old.relative_to(VECTORS).as_posix()
        if old.is_file() and relative != "README.md" and relative not in wanted:
            old.unlink()
        elif old.is_dir() and not any(old.iterdir()):
            old.rmdir()
    for name, data in wanted.items():
        path = VECTORS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    print(f"{len(wanted)} files, {sum(map(len, wanted.values()))} bytes")


def check():
    """What differs from what this program makes."""
    wanted = contents()
    there = {p.relative_to(VECTORS).as_posix(): p for p in VECTORS.rglob("*") if p.is_file() and p.name != "README.md"}
    wrong = [f"vectors/{name} should not be there" for name in there.keys() - wanted.keys()]
    for name, data in wanted.items():
        if name not in there or there[name].read_bytes() != data:
            wrong.append(f"vectors/{name} is missing or different")
    wrong += [f"{page.name} has old hex examples" for page, text in pages_with_examples().items() if page.read_text() != text]
    return sorted(wrong)


def main(arguments):
    if arguments[:1] == ["--hex"]:
        made = examples.all_examples()
        for name in arguments[1:] or made:
            print(f"{name}:\n{made[name]}")
    elif arguments == ["--update-pages"]:
        for page, text in pages_with_examples().items():
            page.write_text(text)
    elif arguments == ["--check"]:
        wrong = check()
        print("\n".join(wrong) or "everything is as it should be")
        return 1 if wrong else 0
    elif not arguments:
        write()
    else:
        print(__doc__)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
