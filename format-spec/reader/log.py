"""The log of a store: chains, breaks, the highest witness, what is in the log and what is not.

Follows 03-frame.md and the table `recovery` of 11-recovery.md, in two passes: first every segment of the line is walked and
every break in its chain noted, with the next proven border behind it; then, with the highest witness known, each break
meets its row. Leaves names, revisions and events to `events.py`.
"""

from files import Files, Finding
from layout import (BATCH, FIRST_FRAME, FRAME_HEADER, INDEX, OPEN, OPEN_OFFSET, Bad, Seeds, Unsupported, batch_part,
                    frame_check_right, frame_header, index_part, require_known)

SEARCH_BUDGET, WINDOW = 1 << 28, 1 << 20


class Frame:
    """A frame of which at least the header proves itself."""

    __slots__ = ("segment", "offset", "header", "plain", "whole")

    def __init__(self, segment, offset, header, plain, whole):
        self.segment, self.offset, self.header, self.plain, self.whole = segment, offset, header, plain, whole

    @property
    def position(self):
        return self.header.position

    @property
    def end(self):
        return self.header.position + self.header.length


class Break:
    """A place where the chain stops: `at`, and the offset `resume` where a proven border lies behind it, or None."""

    def __init__(self, stop, at, resume=None):
        self.stop, self.at, self.resume, self.behind, self.gave_up = stop, at, resume, False, False


class Log:
    """Reads a store as far as it proves itself."""

    def __init__(self, path):
        self.files = Files(path)
        self.findings, self.rows, self.void = self.files.findings, self.files.rows, self.files.void
        self.size = self.files.block.segment_size if self.files.block else 0
        self.walks = []
        self.frames, self.end, self.unsupported, self.tail = [], 0, None, "end"
        for segment, ordinal, stated, successor in self.files.line:
            self.walks.append((segment, ordinal, stated, successor,
                               self._walk(segment, stated, successor) if segment else None))
        self._find_witness()
        self._decide()

    # --- one frame

    def frame_at(self, segment, offset, ceiling):
        """The frame at `offset` of the segment, or None where no header proves itself."""
        base, seeds = self.files.base(segment.ordinal), Seeds(segment.salt)
        try:
            header, plain = frame_header(segment.file.read, offset, ceiling, base + offset, seeds)
        except Bad:
            return None
        if header.kind == OPEN and offset != OPEN_OFFSET:
            return None
        return Frame(segment, offset, header, plain, frame_check_right(segment.file.read, offset, header, seeds))

    @staticmethod
    def continues(before, frame):
        """FRM-3, but for wholeness. `before` is (stored check, global number behind, takeover), parts None if unknown."""
        check, number, takeover = before
        return ((check is None or frame.header.previous == check) and (number is None or frame.header.number == number)
                and frame.header.takeover >= takeover)

    @staticmethod
    def behind(frame):
        return frame.header.check, frame.header.number + frame.header.events, frame.header.takeover

    # --- first pass

    def _walk(self, segment, stated, successor):
        """The frames and breaks behind the head block, in order, as far as borders are proven; and where they stop."""
        base = self.files.base(segment.ordinal)
        fixed = segment.span(self.size) * self.size
        ceiling = stated - base if stated is not None else fixed
        head = segment.open_header
        before = (head.check, head.number, 0) if head else (None, None, 0)
        steps, at, borders = [], FIRST_FRAME, None
        while at != ceiling:
            frame = self.frame_at(segment, at, fixed)
            if frame and self.continues(before, frame) and at + frame.header.length <= ceiling:
                if not frame.whole:
                    steps.append(Break("body", at, at + frame.header.length))
                steps.append(frame)
                before = self.behind(frame)
                at += frame.header.length
                continue
            stop = Break("bytes", at)
            steps.append(stop)
            if frame and self.continues(before, frame):
                stop.stop = "crossing"
            elif segment.file.last_set(at, ceiling) == at:
                stop.stop = "zero"
                break
            if borders is None:
                borders = self._borders(segment, stated, successor)
            self._next_border(segment, borders, stop, ceiling, stated, before[1])
            if stop.resume is None:
                break
            at, before = stop.resume, (None, None, 0)
        if at == ceiling and stated is not None and before[0] is not None and before[0] != successor.open_header.previous:
            steps.append(Break("crossing", at))
        return steps, at, fixed

    def _borders(self, segment, stated, successor):
        """Offsets where frames start or end, as index blocks and the open frame behind tell; and up to where they tell."""
        base, borders, queue, seen = self.files.base(segment.ordinal), set(), [], set()
        fixed, covered = segment.span(self.size) * self.size, FIRST_FRAME
        if stated is not None:
            queue.append(successor.open.last_index)
            borders.update((successor.open.last_frame, stated))
        if self.files.slot:
            queue.append(self.files.slot.last_index)
        while queue:
            position = queue.pop()
            if position in seen or not base + FIRST_FRAME <= position < base + fixed:
                continue
            seen.add(position)
            frame = self.frame_at(segment, position - base, fixed)
            if not frame or not frame.whole or frame.header.kind != INDEX:
                continue
            try:
                index = index_part(frame.header, frame.plain)
            except (Bad, Unsupported):
                continue
            borders.update(f.position for f in index.frames)
            borders.update((index.first, position, frame.end))
            covered = max(covered, frame.end - base)
            if index.previous:
                queue.append(index.previous)
        return sorted(b - base for b in borders if b >= base + FIRST_FRAME), covered

    def _next_border(self, segment, borders, stop, ceiling, stated, number):
        """Sets where reading goes on behind a break (11-recovery.md, "going on behind damage")."""
        known, covered = borders
        for border in known:
            if stop.at < border < ceiling and self.frame_at(segment, border, ceiling):
                stop.resume = border
                return
        if stated is not None:
            stop.resume = ceiling
        elif segment is self.files.line[-1][0]:
            self._search(segment, max(stop.at + 8, covered), stop, ceiling, number)

    def _search(self, segment, start, stop, ceiling, number):
        """REC-5: the first whole frame behind the break that a witness above the break or the slot proves, by itself or by
        its chain.

        `number` is the global number expected at the break; an event takes at least 8 bytes, which rules out nearly all
        other bytes before a check is computed."""
        base, seeds, budget = self.files.base(segment.ordinal), Seeds(segment.salt), SEARCH_BUDGET
        last, runs = segment.file.last_set(start, ceiling), {}
        low = number or 0
        for offset in range(start, last, WINDOW):
            window = segment.file.read(offset, min(offset + WINDOW + FRAME_HEADER, ceiling))
            for i in range(0, min(WINDOW, len(window) - FRAME_HEADER + 1), 8):
                if window[i + 4] in (0, OPEN, 255):
                    continue
                here = offset + i
                length, plain = int.from_bytes(window[i + 8:i + 12], "little"), int.from_bytes(window[i + 12:i + 16], "little")
                first = int.from_bytes(window[i + 32:i + 40], "little")
                if length % 8 or FRAME_HEADER + plain > length or here + length > ceiling:
                    continue
                if first < low or (number is not None and first > low + (here - stop.at) // 8):
                    continue
                budget -= length
                if budget < 0:
                    stop.gave_up = True
                    return
                try:
                    header, _ = frame_header(segment.file.read, here, ceiling, base + here, seeds)
                except Bad:
                    continue
                if not frame_check_right(segment.file.read, here, header, seeds):
                    continue
                stop.behind = True
                run, check = runs.get(here, (here, header.previous))
                run = run if check == header.previous else here
                slot = self.files.slot
                named = slot and (slot.last_frame, slot.last_check) == (header.position, header.check)
                if named or (header.witness is not None and header.witness > base + stop.at):
                    stop.resume = run
                    return
                runs[here + length] = (run, header.check)

    # --- the highest witness

    def _find_witness(self):
        self.witness = self.files.slot.durable if self.files.slot else 0
        for segment, _, _, _, walk in self.walks:
            if segment is None:
                continue
            headers = [segment.open_header] if segment.open_header else []
            headers += [s.header for s in walk[0] if isinstance(s, Frame) and s.whole]
            self.witness = max([self.witness] + [h.witness for h in headers if h.witness is not None])

    # --- second pass

    def _decide(self):
        """Every break meets its row, oldest first; the frames before the end of the log are taken."""
        for i, (segment, ordinal, stated, _, walk) in enumerate(self.walks):
            lost = self.files.lost.get(ordinal)
            if lost:
                self.tail = "copy" if lost == "copy_incomplete" else "damage"
            if lost == "copy_incomplete":
                self.walks = self.walks[:i]
                return
            if segment is None:
                self.end = max(self.end, stated or 0)
                continue
            if self._decide_segment(segment, stated, walk, i == len(self.walks) - 1):
                self.walks = self.walks[:i + 1]  # what lies behind is not in the log
                return

    def _decide_segment(self, segment, stated, walk, is_last):
        """Takes the frames of one segment; returns whether the log ends in it."""
        steps, stopped, fixed = walk
        base = self.files.base(segment.ordinal)
        self.end = base + FIRST_FRAME
        for i, step in enumerate(steps):
            if isinstance(step, Frame):
                if not self._take(step):
                    return True
                self.end = step.end
                continue
            step.behind = step.behind or any(isinstance(s, Frame) and s.whole and s.offset > step.at for s in steps[i:])
            result = self._row(segment, step, base, stated, fixed, is_last)
            if result in ("torn", "copy_incomplete"):
                self.tail = "copy" if result == "copy_incomplete" else "torn"
                return True
            if result == "damage":
                self.tail = "damage"
                if step.resume is None and step.stop != "crossing":
                    self.end = stated if stated is not None else max(self.end, min(self.witness, base + fixed))
        if stopped == (fixed if stated is None else stated - base):
            if not any(isinstance(s, Break) and s.stop == "crossing" for s in steps):
                self.rows.append("C1" if stated is not None else "C2")
        self.end = self.end if stated is None else stated
        return False

    def _take(self, frame):
        """Adds a frame to the log; False at one that wants a newer reader (GEN-5)."""
        try:
            require_known(frame.header)
            if frame.header.kind == BATCH:
                batch_part(frame.header, frame.plain)
        except Unsupported as error:
            self.unsupported = frame
            self.findings.append(Finding("unsupported", frame.segment.name, frame.offset,
                                         frame.offset + frame.header.length, str(error)))
            return False
        except Bad:
            pass  # `events.py` reports it with the frame
        self.frames.append(frame)
        return True

    def _row(self, segment, brk, base, stated, fixed, is_last):
        """The row of the table `recovery` that the break meets: reports it and returns its result."""
        at, moved = brk.at, self.files.place == "moved"
        limit = stated - base if stated is not None else fixed
        last_set = (segment.file.last_set(at, limit) + 7) // 8 * 8
        below = base + at < self.witness or brk.gave_up
        stop = brk.stop
        if stop in ("body", "bytes") and not brk.behind and last_set < min(self.witness - base, limit):
            stop = "cut"
        if stated is None and not is_last:
            # Below a segment that is not there: no row of its own.
            if stop != "zero":
                self._report("damage", segment, base, at, max(brk.resume or 0, last_set), "the chain stops here")
            return "end" if stop == "zero" else "damage"
        gone = max(at, brk.resume if brk.resume is not None else min(self.witness - base, limit))
        if stop == "crossing":
            self.rows.append("C3")
            self._report("damage", segment, base, min(at, limit), limit, "the chain does not meet the stated end")
            return "damage"
        if stop == "body" and below:
            self.rows.append("C9")  # each event of the frame is judged by its own check
            return "damage"
        if below and stop in ("zero", "cut") and not moved:
            self.rows.append("C7")
            self._report("damage", segment, base, at, gone, "bytes that were durable are zero or not there")
            return "damage"
        if below and stop == "bytes":
            self.rows.append("C10")
            self._report("damage", segment, base, at, gone, "bytes below the highest witness prove nothing")
            return "damage"
        if below or (stated is not None and moved):
            self.rows.append("C8" if below else "C6" if stop == "zero" else "C14")
            upto = limit if stated is not None else min(self.witness - base, limit)
            self._report("copy_incomplete", segment, base, at, max(at, upto), "the copy ends here")
            return "copy_incomplete"
        if stop == "zero" and stated is None:
            self.rows.append("C4")
            return "end"
        self.rows.append(("C5" if stop == "zero" else "C13") if stated is not None else "C12" if brk.behind else "C11")
        self._report("torn_tail", segment, base, at, max(at, last_set), "bytes behind the last whole frame")
        return "torn"

    def _report(self, kind, segment, base, start, end, detail):
        positions = (base + start, base + end) if kind != "torn_tail" else None
        self.findings.append(Finding(kind, segment.name, start, end, detail, positions))
