"""What sources are blamed for, and what they are asked for afterwards (rule 11; spec/fetching.md#blame).

A story is a list of events of a fetch whose head, lists and layers are known. Every chunk of every file is wanted, and
all chunks are of the same size.
"""

import json
from typing import Iterator, Optional

MIB = 1 << 20
SPARE, SPARE_CHUNKS = 8 * MIB, 8  # F8
LEAST_RATE, SHORTEST = 65_536, 10  # F9: bytes per second, seconds
STALLS = 3  # F9: tried again twice
FAILURES, FAILURES_UNHEARD, LONGEST_WAIT = 8, 3, 300  # F4
FIRST_WAIT = 0.5
DENIALS = 3  # F4
STEP = 0.1  # seconds

# What comes when the head of a source is read again, and does not come (F7).
NO_HEAD = {"breaks": "unreachable", "silence": "stalled", "busy": "refused"}
# What does come, and is not another head of the same model that the policy accepts.
NO_EXCUSE = {"same", "malformed", "foreign", "none", "denied"}

Chunk = tuple[int, int]  # its file, and its position in it


class Source:
    def __init__(self):
        self.standing = "good"
        self.blame: Optional[str] = None
        self.has_answered = False
        self.verified = self.wrong_bytes = 0
        self.wrong: set[Chunk] = set()
        self.wrong_files: set[int] = set()
        self.lacks: set[int] = set()
        self.denied: set[int] = set()
        self.heads: list[str] = []  # those that it had instead of the wanted one
        self.same: Optional[set[int]] = None  # the files that are the same in all of them
        self.is_later = False  # whether the last of them is of no earlier revision
        self.failures = self.stalls = 0
        self.waits_until = 0.0
        self.begin_window()

    def begin_window(self):
        self.asked = self.demanded = self.given = 0.0

    @property
    def is_asked(self) -> bool:
        """Whether anything is asked of it, now or later."""
        return self.standing in ("good", "last resort")

    def has(self, chunk: Chunk) -> bool:
        """Whether it may have a chunk, as far as is known."""
        file = chunk[0]
        return (file not in self.lacks | self.wrong_files and chunk not in self.wrong
                and (self.same is None or file in self.same))

    def set_aside(self, blame: str):
        self.set_blame(blame)
        self.standing = "set aside"

    def set_blame(self, blame: str):
        """A lie is not forgotten for what the liar does afterwards."""
        if self.blame != "lied":
            self.blame = blame


class Fetch:
    def __init__(self, chunk_size: int, files: list[int], sources: int):
        self.chunk_size = chunk_size
        self.sources = [Source() for _ in range(sources)]
        self.files = files
        self.missing = {(file, chunk) for file, count in enumerate(files) for chunk in range(count)}
        self.now = 0.0

    def play(self, event: dict):
        details = dict(event)
        getattr(self, "on_" + details.pop("event").replace(" ", "_"))(**details)
        self.give_up_on_the_unheard()

    # --- bytes ------------------------------------------------------------------------------------------

    def on_gives(self, source: int, file: int, chunks: list[int]):
        giver = self.hear(source)
        for chunk in self.chunks(source, file, chunks, late=False):
            self.missing.discard(chunk)
            giver.verified += self.chunk_size
            giver.failures = 0

    def on_wrong(self, source: int, file: int, chunks: list[int], late: bool = False):
        giver = self.hear(source)
        for chunk in self.chunks(source, file, chunks, late):
            giver.wrong.add(chunk)
            giver.wrong_bytes += self.chunk_size
        self.judge_wrong(giver, late)

    def on_wrong_file(self, source: int, file: int, late: bool = False):
        giver = self.hear(source)
        giver.wrong_files.add(file)
        giver.wrong_bytes += self.chunk_size * self.files[file]
        self.judge_wrong(giver, late)

    def on_wrong_metadata(self, source: int, bytes: int, late: bool = False):
        giver = self.hear(source)
        giver.wrong_bytes += bytes
        self.judge_wrong(giver, late)

    def on_other_length(self, source: int, file: int, late: bool = False):
        giver = self.hear(source)
        giver.wrong_files.add(file)
        self.judge_wrong(giver, late)

    def on_odd(self, source: int):
        self.hear(source)  # an odd form is no lie (F1)

    def chunks(self, source: int, file: int, span: list[int], late: bool) -> Iterator[Chunk]:
        """Those of an answer: an answer that is not late is to what the source is asked for."""
        chunks = [(file, chunk) for chunk in range(*span)]
        if not late and not set(chunks) <= self.asked_of(source):
            raise ValueError(f"source {source} gives chunks of file {file} for which it is not asked")
        return iter(chunks)

    def judge_wrong(self, giver: Source, late: bool):
        """F7 of a source that nothing was known of; F8 of one that lied before. What was under way when its head was read says
        nothing new."""
        if giver.standing == "good" and not late:
            giver.standing, giver.blame = "judged", None
        self.spend(giver)

    def spend(self, giver: Source):
        spare = max(SPARE, SPARE_CHUNKS * self.chunk_size)
        if giver.standing == "last resort" and giver.wrong_bytes > giver.verified + spare:
            giver.standing = "set aside"

    # --- heads ------------------------------------------------------------------------------------------

    def on_head(self, source: int, shows: str, **other):
        """What comes when the head of a source is read again."""
        judged = self.sources[source]
        if judged.standing != "judged":
            raise ValueError(f"the head of source {source} is not being read again")
        if shows in NO_HEAD:
            judged.has_answered |= shows == "busy"
            judged.set_aside(NO_HEAD[shows])
            return
        judged.has_answered = True
        if shows == "other":
            self.show_other(judged, **other)
        elif shows in NO_EXCUSE:
            self.convict(judged)
        else:
            raise ValueError(f"no head is {shows!r}")

    def on_ends(self):
        """The fetch ends: heads that did not come do not come any more."""
        for source in self.sources:
            if source.standing == "judged":
                source.set_aside("stalled")

    def on_last_head(self, source: int, shows: str, **other):
        """What comes at the end of the fetch, when the heads of those that lied are read once more."""
        if self.sources[source].blame != "lied":
            raise ValueError(f"source {source} did not lie, and is not asked for its head once more")
        if shows == "other":
            self.show_other(self.sources[source], **other)

    def show_other(self, source: Source, head: str, revision: str, same: list[int]):
        """`revision` is `earlier`, `later` or `same`, beside that of the wanted head."""
        if head in source.heads:
            self.convict(source)  # its own list said what it has
            return
        source.heads.append(head)
        source.is_later = revision != "earlier"
        source.same = set(same) if source.same is None else source.same & set(same)
        if source.standing != "set aside":
            source.standing = "good" if source.same else "set aside"
        source.blame = "stale"

    def convict(self, source: Source):
        source.blame = "lied"
        if source.standing != "set aside":
            source.standing = "last resort"
            self.spend(source)

    # --- answers without bytes, and none ----------------------------------------------------------------

    def on_breaks(self, source: int, times: int = 1):
        """Each time after it was tried again."""
        breaker = self.sources[source]
        for _ in range(times):
            if breaker.is_asked:
                self.now = max(self.now, breaker.waits_until)
                self.fail(breaker, "unreachable", 0)
                self.give_up_on_the_unheard()

    def on_busy(self, source: int, seconds: int):
        busy = self.hear(source)
        if busy.is_asked and seconds > LONGEST_WAIT:
            busy.set_aside("refused")
        elif busy.is_asked:
            self.fail(busy, "refused", seconds)

    def fail(self, source: Source, blame: str, seconds: float):
        source.failures += 1
        if source.failures >= FAILURES:
            source.set_aside(blame)
            return
        source.set_blame(blame)
        source.waits_until = self.now + max(seconds, FIRST_WAIT * 2 ** (source.failures - 1))

    def on_lacks(self, source: int, file: int):
        lacking = self.hear(source)
        if lacking.is_asked:
            lacking.lacks.add(file)
            lacking.set_blame("refused")

    def on_denies(self, source: int, file: int):
        denying = self.hear(source)
        if denying.is_asked:
            self.on_lacks(source, file)
            denying.denied.add(file)
            if len(denying.denied) >= DENIALS and denying.verified == 0:
                denying.set_aside("refused")

    def hear(self, source: int) -> Source:
        self.sources[source].has_answered = True
        return self.sources[source]

    def give_up_on_the_unheard(self):
        if any(source.has_answered and source.standing != "set aside" for source in self.sources):
            return
        for source in self.sources:
            if source.is_asked and not source.has_answered and source.failures >= FAILURES_UNHEARD:
                source.set_aside("unreachable")

    # --- time -------------------------------------------------------------------------------------------

    def on_passes(self, seconds: int, gives: list[Optional[int]], disk: list[int] = []):
        """`gives` are verified bytes per second, of files beside those of the story; of a source that is not asked meanwhile
        `null`. What sources in `disk` gave waits for this machine's disk."""
        for _ in range(round(seconds / STEP)):
            self.now += STEP
            asked = [(number, source) for number, source in enumerate(self.sources)
                     if gives[number] is not None and source.is_asked and self.now >= source.waits_until]
            share = sum(gives[number] for number, _ in asked) / max(len(asked), 1)
            for number, source in asked:
                if number in disk:
                    source.begin_window()
                else:
                    self.watch(source, gives[number] * STEP, min(LEAST_RATE, share / 2) * STEP)

    def on_stands_still(self, seconds: int):
        """This machine does: the time is nobody's, and passes all the same."""
        self.now += seconds

    def watch(self, source: Source, given: float, demanded: float):
        source.has_answered |= given > 0
        source.verified += given
        source.failures = 0 if given else source.failures
        source.asked += STEP
        source.given += given
        source.demanded += demanded
        if source.asked < SHORTEST:
            return
        if source.given >= max(source.demanded, 1):
            source.stalls = 0
            source.begin_window()
            return
        source.stalls += 1
        source.waits_until = self.now + SHORTEST
        source.begin_window()
        if source.stalls >= STALLS:
            source.set_aside("stalled")
        else:
            source.set_blame("stalled")

    # --- the outcome ------------------------------------------------------------------------------------

    def could_give(self, source: Source) -> set[Chunk]:
        """The missing chunks that it could give now."""
        if not source.is_asked or source.waits_until > self.now:
            return set()
        return {chunk for chunk in self.missing if source.has(chunk)}

    def asked_of(self, number: int) -> set[Chunk]:
        """The missing chunks for which it is asked now."""
        source = self.sources[number]
        asked = self.could_give(source)
        if source.standing == "last resort":
            for other in self.sources:
                if other.standing == "good":
                    asked -= self.could_give(other)
        return asked

    def outcome(self) -> bytes:
        lines = []
        for number, source in enumerate(self.sources):
            asked = self.asked_of(number)
            by_file = [runs({chunk for of, chunk in asked if of == file}) for file in range(len(self.files))]
            line = {"asked": by_file, "blame": source.blame, "source": number, "standing": source.standing}
            lines.append(json.dumps(line, separators=(",", ":"), sort_keys=True) + "\n")
        return "".join(lines).encode()

    def code(self) -> Optional[int]:
        """F10: the code with which the fetch ends, if nothing that is missing may come any more."""
        may_come = any(source.standing == "judged" or source.is_asked and any(map(source.has, self.missing))
                       for source in self.sources)
        if may_come or not self.missing:
            return None
        left = [source for source in self.sources if source.standing == "good" or source.blame == "stale"]
        if left and all(source.is_later for source in left):
            return 9203
        return 5501 if any(source.blame == "lied" for source in self.sources) else 9201


def runs(chunks: set[int]) -> list[list[int]]:
    found: list[list[int]] = []
    for chunk in sorted(chunks):
        if found and found[-1][1] == chunk:
            found[-1][1] += 1
        else:
            found.append([chunk, chunk + 1])
    return found


def play(chunk_size: int, files: list[int], sources: int, story: bytes) -> Fetch:
    fetch = Fetch(chunk_size, files, sources)
    for line in story.splitlines():
        fetch.play(json.loads(line))
    return fetch
