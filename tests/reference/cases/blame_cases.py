"""What sources are blamed for, and what they are asked for afterwards (rule 11; spec/fetching.md#blame).

Each case is a story; the outcome is what the reference makes of it. A case says itself whether a source has lied, and with
which code the fetch ends, if it does: the reference has to agree.
"""

import json
from typing import Optional

from weighbridge_ref import blame

from .common import Case, Cases, accepted, refused

KIB, MIB = 1 << 10, 1 << 20
SMALL = 16 * KIB  # so that two chunks are demanded within ten seconds, however slow the line


def cases() -> Cases:
    yield from honest()
    yield from waits()
    yield from denials()
    yield from time()
    yield from heads()
    yield from stale()
    yield from liars()
    yield from lengths_and_lists()
    yield from last_resort()
    yield from budget()
    yield from ends()


# --- the events -------------------------------------------------------------------------------------

def event(name: str, source: Optional[int] = None, **details) -> dict:
    return {"event": name} | ({} if source is None else {"source": source}) | details


def gives(source: int, file: int, begin: int, end: int) -> dict:
    return event("gives", source, file=file, chunks=[begin, end])


def wrong(source: int, file: int, begin: int, end: int, **late) -> dict:
    return event("wrong", source, file=file, chunks=[begin, end], **late)


def head(source: int, shows: str, name: str = "head", **other) -> dict:
    return event(name, source, shows=shows, **other)


def other(source: int, revision: str, *same: int, label: str = "B", name: str = "head") -> dict:
    return head(source, "other", name, head=label, revision=revision, same=list(same))


def convicted(source: int, file: int, begin: int, end: int) -> list[dict]:
    return [wrong(source, file, begin, end), head(source, "same")]


def passes(seconds: int, *gives: Optional[int], **details) -> dict:
    return event("passes", gives=list(gives), seconds=seconds, **details)


LATE = {"late": True}


def story(name: str, comment: str, *events: dict, lied: tuple[int, ...] = (), code: Optional[int] = None,
          files=(8, 8), sources: int = 1, chunk_size: int = 256 * KIB) -> Case:
    lines = "".join(json.dumps(event, separators=(",", ":"), sort_keys=True) + "\n" for event in events).encode()
    played = blame.play(chunk_size, list(files), sources, lines)
    liars = tuple(number for number, source in enumerate(played.sources) if source.blame == "lied")
    if (liars, played.code()) != (lied, code):
        raise SystemExit(f"blame/{name}: {liars} lied, and the code is {played.code()}")
    sections = {"story": lines, "outcome": played.outcome()}
    parameters = {"chunk_size": chunk_size, "files": " ".join(map(str, files)), "sources": sources}
    rule = {"rule": 11} if lied else {}
    if code is None:
        return accepted(f"blame/{name}", "blame", comment, sections, **rule, **parameters)
    return refused(f"blame/{name}", "blame", code, comment, sections, **rule, **parameters)


# --- honest sources ---------------------------------------------------------------------------------

def honest() -> Cases:
    yield story("untried", "nobody was asked yet", sources=2)
    yield story("all-given", "a source gives everything", gives(0, 0, 0, 8), gives(0, 1, 0, 8))
    yield story("odd-form", "an answer in an odd but true form, such as the whole file for a range", event("odd", 0),
                gives(0, 0, 0, 3))


def waits() -> Cases:
    yield story("broken", "the connection breaks: the source is left alone for a moment", gives(0, 0, 0, 2),
                event("breaks", 0))
    yield story("broken-and-back", "the connection broke, and the source is tried again", gives(0, 0, 0, 2),
                event("breaks", 0), passes(2, None), gives(0, 0, 2, 3))
    yield story("broken-seven-times", "seven failures in a row", gives(0, 0, 0, 2), event("breaks", 0, times=7),
                passes(120, None))
    yield story("broken-eight-times", "eight failures in a row", gives(0, 0, 0, 2), event("breaks", 0, times=8),
                code=9201)
    yield story("broken-between-chunks", "seven failures, a verified chunk, and seven more are no row",
                event("breaks", 0, times=2), passes(4, None), gives(0, 0, 0, 1), event("breaks", 0, times=7),
                passes(120, None), gives(0, 0, 1, 2), event("breaks", 0, times=7), passes(120, None))
    yield story("never-there", "the only source never answers: three failures are enough", event("breaks", 0, times=3),
                code=9201)
    yield story("never-there-beside-another", "a source that never answers is waited for beside one that does",
                gives(1, 0, 0, 1), event("breaks", 0, times=4), passes(30, None, None), sources=2)
    yield story("busy", "asks to be left alone for five minutes", event("busy", 0, seconds=300), passes(200, None))
    yield story("busy-and-back", "the five minutes have passed", event("busy", 0, seconds=300), passes(301, None))
    yield story("busy-too-long", "asks to be left alone for a second more", event("busy", 0, seconds=301), code=9201)


def denials() -> Cases:
    yield story("lacks-a-file", "has no such file, and is asked for others", event("lacks", 0, file=0))
    yield story("lacks-all", "lacks every file: nobody lied", event("lacks", 0, file=0), event("lacks", 0, file=1),
                code=9201)
    yield story("denies-three", "denies three files and has given nothing",
                *(event("denies", 0, file=file) for file in range(3)), files=(1, 1, 1, 1), code=9201)
    yield story("denies-one-thrice", "one file that is denied three times is one",
                *(event("denies", 0, file=0) for _ in range(3)), files=(1, 1, 1, 1))
    yield story("denies-three-and-gave", "denies three files, and has given another", gives(0, 3, 0, 1),
                *(event("denies", 0, file=file) for file in range(3)), files=(1, 1, 1, 1, 1))


def time() -> Cases:
    yield story("slow-line", "four mirrors behind one slow line", passes(600, *[25_000] * 4), sources=4,
                chunk_size=SMALL)
    yield story("slow-line-of-one", "the only source gives a kilobyte a second", passes(600, 1000), chunk_size=SMALL)
    yield story("slow-beside-others", "of four sources one gives next to nothing",
                passes(15, 25_000, 25_000, 25_000, 100), sources=4, chunk_size=SMALL)
    yield story("slow-thrice", "it does so each time that it is tried again",
                passes(120, 25_000, 25_000, 25_000, 100), sources=4, chunk_size=SMALL)
    yield story("slow-and-well-again", "it gives as much as the others when it is tried again",
                passes(15, 25_000, 25_000, 25_000, 100), passes(60, *[25_000] * 4), sources=4, chunk_size=SMALL)
    yield story("silent-briefly", "nothing for nine seconds", passes(9, 0), chunk_size=SMALL)
    yield story("silent", "nothing for ten seconds", passes(15, 0), chunk_size=SMALL)
    yield story("not-asked", "nothing for a minute in which it was not asked", passes(60, None), chunk_size=SMALL)
    yield story("slow-disk", "what it gave waits for this machine's disk", passes(60, 0, disk=[0]), chunk_size=SMALL)
    yield story("stood-still", "this machine stood still for an hour", passes(8, 0), event("stands still", seconds=3600),
                chunk_size=SMALL)


# --- heads that are read again ----------------------------------------------------------------------

def heads() -> Cases:
    yield story("judged", "a wrong chunk: the source is asked for nothing while its head is read again", wrong(0, 0, 2, 3))
    yield story("same-head", "it serves the head that it was to serve", *convicted(0, 0, 2, 3), lied=(0,))
    yield story("wrong-while-judged", "more wrong chunks, which were under way", wrong(0, 0, 2, 3),
                wrong(0, 0, 4, 5, **LATE), wrong(0, 1, 0, 2, **LATE), head(0, "same"), lied=(0,))
    yield story("broken-while-judged", "its other connections break, and it denies a file", wrong(0, 0, 2, 3),
                event("breaks", 0), event("denies", 0, file=1), event("busy", 0, seconds=1000), head(0, "same"), lied=(0,))
    yield story("odd-and-wrong", "wrong bytes in an odd form are wrong bytes", event("odd", 0), *convicted(0, 0, 2, 3),
                lied=(0,))
    for shows, what in (("malformed", "text that is no head"),
                        ("foreign", "a head of another model, or one that the policy does not accept"),
                        ("none", "no head any more"), ("denied", "a head no more: it denies it")):
        yield story(f"head-{shows}", f"it shows {what}", wrong(0, 0, 2, 3), head(0, shows), lied=(0,))
    for shows, what in (("breaks", "the connection breaks"), ("silence", "no answer comes"),
                        ("busy", "it asks to be left alone")):
        yield story(f"head-{shows}", f"its head does not come: {what}", wrong(0, 0, 2, 3), head(0, shows), code=9201)


def stale() -> Cases:
    for revision, end in (("earlier", 9201), ("later", 9203), ("same", 9203)):
        what = {"same": "another head of the same revision"}.get(revision, f"a head of an {revision} revision")
        what = what.replace("an later", "a later")
        yield story(f"stale-{revision}", f"it serves {what}, with one file that is the same", wrong(0, 0, 2, 3),
                    other(0, revision, 1))
        yield story(f"stale-{revision}-no-file", f"it serves {what}, with no file that is the same", wrong(0, 0, 2, 3),
                    other(0, revision), code=end)
    yield story("stale-in-the-chunk", "its list has the file of the wrong chunk: it is asked for the others of that file",
                wrong(0, 0, 2, 3), other(0, "later", 0, 1))
    yield story("stale-and-late", "what was under way when it was found to be stale says nothing new", wrong(0, 0, 2, 3),
                other(0, "later", 1), wrong(0, 0, 4, 5, **LATE), wrong(0, 1, 7, 8, **LATE))
    yield story("stale-belies-its-list", "it gives what its own list says it has not, and serves the same head still",
                wrong(0, 0, 2, 3), other(0, "earlier", 1), wrong(0, 1, 4, 5), other(0, "earlier", 1), gives(0, 1, 0, 4),
                lied=(0,))
    yield story("stale-moves-on", "it gets a third head, and is asked for what is the same in both of its own",
                wrong(0, 0, 2, 3), other(0, "earlier", 1, 2), wrong(0, 1, 4, 5), other(0, "later", 0, 1, label="C"),
                files=(8, 8, 8))
    yield story("stale-goes-back", "it goes back to a head whose list it has belied", wrong(0, 0, 2, 3),
                other(0, "earlier", 1, 2), wrong(0, 1, 4, 5), other(0, "later", 0, 1, label="C"), wrong(0, 1, 5, 6),
                other(0, "earlier", 1, 2), files=(8, 8, 8), lied=(0,))
    yield story("stale-catches-up", "it gives a wrong chunk again, and serves the wanted head by then", wrong(0, 0, 2, 3),
                other(0, "earlier", 1), wrong(0, 1, 4, 5), head(0, "same"), lied=(0,))
    yield story("stale-beside-a-liar", "who is left has a later revision", wrong(0, 0, 0, 2), head(0, "none"),
                wrong(1, 0, 0, 2), other(1, "later"), files=(2,), sources=2, lied=(0,), code=9203)
    yield story("stale-earlier-beside-a-liar", "who is left has an earlier revision", wrong(0, 0, 0, 2), head(0, "none"),
                wrong(1, 0, 0, 2), other(1, "earlier"), files=(2,), sources=2, lied=(0,), code=5501)


# --- liars ------------------------------------------------------------------------------------------

def liars() -> Cases:
    yield story("lied-and-broken", "a liar whose connection breaks is a liar still", *convicted(0, 0, 2, 3),
                event("breaks", 0), lied=(0,))
    yield story("lied-and-gone", "a liar that breaks off eight times is a liar still, and set aside",
                *convicted(0, 0, 2, 3), event("breaks", 0, times=8), lied=(0,), code=5501)
    yield story("lied-and-good", "its good chunks count, and it is asked for more", *convicted(0, 0, 2, 3),
                gives(0, 0, 0, 2), gives(0, 1, 0, 4), lied=(0,))
    yield story("lied-again", "it lies again, and its head is not read again for that", *convicted(0, 0, 2, 3),
                wrong(0, 1, 0, 1), lied=(0,))
    yield story("all-but-the-wrong", "everything comes but the chunk that it was wrong about", gives(0, 0, 0, 2),
                *convicted(0, 0, 2, 3), gives(0, 0, 3, 8), gives(0, 1, 0, 8), lied=(0,), code=5501)


def lengths_and_lists() -> Cases:
    yield story("other-length", "another length than the signed one: the file is not asked for again",
                event("other length", 0, file=1), head(0, "same"), lied=(0,))
    yield story("other-length-stale", "another length, and another revision", event("other length", 0, file=1),
                other(0, "later", 0))
    yield story("other-length-while-judged", "another length of a file, while its head is read again",
                wrong(0, 0, 2, 3), event("other length", 0, file=1, **LATE), head(0, "same"), lied=(0,))
    yield story("other-length-of-a-liar", "a liar has another length of the next file too", *convicted(0, 0, 2, 3),
                event("other length", 0, file=1), lied=(0,))
    yield story("wrong-layer", "a list or a layer that does not match", event("wrong metadata", 0, bytes=2048),
                head(0, "same"), lied=(0,))
    yield story("wrong-layer-stale", "the layer is that of another revision", event("wrong metadata", 0, bytes=2048),
                other(0, "earlier", 0))
    yield story("wrong-file", "a file without a layer does not match", event("wrong file", 0, file=0), head(0, "same"),
                lied=(0,))


def last_resort() -> Cases:
    yield story("liar-beside-good", "a source of good standing has everything", *convicted(0, 0, 2, 3), sources=2,
                lied=(0,))
    yield story("liar-beside-one-that-waits", "the source of good standing could not give anything now",
                *convicted(0, 0, 2, 3), event("busy", 1, seconds=60), sources=2, lied=(0,))
    yield story("liar-beside-one-that-lacks", "the source of good standing has one of two files", *convicted(0, 0, 2, 3),
                event("lacks", 1, file=1), sources=2, lied=(0,))
    yield story("liar-beside-stale", "a stale source has one of two files", *convicted(0, 0, 2, 3), wrong(1, 0, 0, 1),
                other(1, "later", 1), sources=2, lied=(0,))
    yield story("liar-beside-judged", "the other source is being judged", *convicted(0, 0, 2, 3), wrong(1, 0, 0, 1),
                sources=2, lied=(0,))
    yield story("two-liars", "with different bad chunks they have the whole model between them", *convicted(0, 0, 2, 3),
                *convicted(1, 0, 5, 6), sources=2, lied=(0, 1))
    yield story("two-liars-and-all-comes", "each gives what the other one was wrong about", *convicted(0, 0, 2, 3),
                *convicted(1, 0, 5, 6), gives(1, 0, 0, 5), gives(0, 0, 5, 8), gives(0, 1, 0, 8), sources=2, lied=(0, 1))
    yield story("two-liars-in-one-chunk", "what both were wrong about does not come", *convicted(0, 0, 2, 3),
                *convicted(1, 0, 2, 3), gives(1, 0, 0, 2), gives(1, 0, 3, 8), gives(0, 1, 0, 8), sources=2, lied=(0, 1),
                code=5501)


def budget() -> Cases:
    one = {"files": (64,), "chunk_size": MIB}
    yield story("spare-8-mib", "a liar may give 8 MiB of wrong chunks", *convicted(0, 0, 0, 1), wrong(0, 0, 1, 8), **one,
                lied=(0,))
    yield story("spare-spent", "and is set aside after one more", *convicted(0, 0, 0, 1), wrong(0, 0, 1, 8),
                wrong(0, 0, 8, 9), **one, lied=(0,), code=5501)
    yield story("spare-grows", "and as much again as it gave that was good", gives(0, 0, 20, 30), *convicted(0, 0, 0, 1),
                wrong(0, 0, 1, 8), gives(0, 0, 30, 32), wrong(0, 0, 8, 20), **one, lied=(0,))
    yield story("spare-grown-spent", "and not a chunk more", gives(0, 0, 20, 30), *convicted(0, 0, 0, 1),
                wrong(0, 0, 1, 8), gives(0, 0, 30, 32), wrong(0, 0, 8, 20), wrong(0, 0, 32, 33), **one, lied=(0,),
                code=5501)
    large = one | {"chunk_size": 2 * MIB}
    yield story("spare-8-chunks", "of chunks of 2 MiB there may be eight", *convicted(0, 0, 0, 1), wrong(0, 0, 1, 8),
                **large, lied=(0,))
    yield story("spare-8-chunks-spent", "and not nine", *convicted(0, 0, 0, 1), wrong(0, 0, 1, 9), **large, lied=(0,),
                code=5501)
    yield story("spare-spent-while-judged", "it has given too much that was under way, and is set aside when it is judged",
                wrong(0, 0, 0, 1), wrong(0, 0, 1, 9, **LATE), head(0, "same"), **one, lied=(0,), code=5501)
    yield story("spare-is-of-liars", "a stale source that has given as much is no liar", wrong(0, 0, 0, 1),
                wrong(0, 0, 1, 9, **LATE), other(0, "later", 1), files=(64, 8), chunk_size=MIB)
    yield story("spare-of-metadata", "wrong lists and layers count too", event("wrong metadata", 0, bytes=8 * MIB),
                head(0, "same"), wrong(0, 0, 0, 1), **one, lied=(0,), code=5501)


def ends() -> Cases:
    yield story("end-while-judged", "the fetch ends before its head has come", wrong(0, 0, 2, 3), event("ends"), code=9201)
    yield story("end-other-head", "at the end it has another head: a publisher in the middle of an upload",
                *convicted(0, 0, 2, 3), event("ends"), other(0, "later", 1, name="last head"))
    yield story("end-other-head-spent", "so has one that was set aside: it did not lie, and is not asked any more",
                *convicted(0, 0, 0, 1), wrong(0, 0, 1, 9), event("ends"), other(0, "later", 0, name="last head"),
                files=(64,), chunk_size=MIB, code=9203)
    yield story("end-same-head", "at the end it has the same head still", *convicted(0, 0, 2, 3), event("ends"),
                head(0, "same", "last head"), lied=(0,))
    yield story("end-no-head", "at the end it does not answer: a liar is a liar still", *convicted(0, 0, 2, 3),
                event("ends"), head(0, "silence", "last head"), lied=(0,))
    yield story("end-belied-head", "at the end it has the head whose list it has belied", wrong(0, 0, 2, 3),
                other(0, "earlier", 1), wrong(0, 1, 4, 5), other(0, "earlier", 1), event("ends"),
                other(0, "earlier", 1, name="last head"), lied=(0,))
